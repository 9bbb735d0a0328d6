#!/usr/bin/python3
# tests/e2e/42-net-groups.py - tasks with addresses of their own, and who may talk to whom
# SPDX-License-Identifier: Apache-2.0

import concurrent.futures
import contextlib
import itertools
import socket
import subprocess

from netlab import SILENCE, WAIT, Net, Refused, check, elements, inside, our_links, our_routes, until

VPC, VPC6 = "10.7.0.0/16", "fd00:7::/56"
ALL = "-1,-1,-1,"


def attach(net, name, number, v6=False):
    words = [f"own=10.7.0.{number}", f"vpc={VPC}"]
    if v6:
        words += [f"own=fd00:7::{number:x}", f"vpc={VPC6}"]
    return net.attach(name, *words, mode="awsvpc")


def group(net, name, *rules, members=()):
    net.say(f"group {name} {' '.join(rules)} {' '.join('joined=' + m for m in members)}")


def open_egress(name="0.0.0.0/0"):
    return f"out={ALL}{name}"


def may(lab, source, server, address, port):
    return lab.connects(source, server, (address, port)) is not None


def held(lab, source, server, address, port):
    return lab.held(source, server, (address, port))


def an_interface_has_its_own_address_and_no_other(lab):
    host, client = lab.host()
    net = lab.net(host)
    task = attach(net, "a", 9)
    assert task.address == "10.7.0.9", task.address
    assert "10.7.0.9/32" in task.run("ip addr show eth0") and "0a:58:0a:07:00:09" in task.run("ip link show eth0")
    assert our_routes(host) == ["10.7.0.9"], our_routes(host)
    disabled = "cat /proc/sys/net/ipv6/conf/{}/disable_ipv6"
    assert host.run(disabled.format(task.link)) == "1\n"  # nobody there has an address of it
    assert host.run(disabled.format(attach(net, "b", 10, v6=True).link)) == "0\n"
    net.detach("b")
    net.detach("a")
    until(lambda: not our_links(host), "links are gone")
    assert our_routes(host) == [] and elements(host, "secured") == []
    net.say("destroy")


def addresses_that_are_taken_or_elsewhere_are_refused(lab):
    host, _ = lab.host()
    net = lab.net(host)
    attach(net, "a", 9)
    for words, says in [((f"own=10.7.0.9", f"vpc={VPC}"), "is that of a"),
                        (("own=10.8.0.9", f"vpc={VPC}"), "is not in its block"),
                        ((f"vpc={VPC}",), "no address"),
                        (("own=10.7.0.10", f"vpc={VPC}", "tcp:80:80"), "host ports")]:
        try:
            net.attach("b", *words, mode="awsvpc")
        except Refused as e:
            assert says in str(e), e
        else:
            raise AssertionError(f"{words} were accepted")
    assert our_routes(host) == ["10.7.0.9"]


def a_vpc_is_claimed_as_long_as_somebody_has_its_addresses(lab):
    host, client = lab.host()
    net = lab.net(host)
    host.run("ip route add 10.7.64.0/24 via 10.99.0.2")
    try:
        attach(net, "a", 9)
    except Refused as e:
        assert "VPC: block 10.7.0.0/16 overlaps the host's route to 10.7.64.0/24" in str(e), e
    else:
        raise AssertionError("it was accepted")
    assert our_routes(host) == [] and elements(host, "secured") == []
    host.run("ip route del 10.7.64.0/24")
    attach(net, "a", 9)
    assert "unreachable 10.7.0.0/16" in host.run("ip route")
    assert "10.7.0.1" in host.run("ip addr show lo")
    host.run("ip route del unreachable 10.7.0.0/16")
    net.say("sweep a")
    assert "unreachable 10.7.0.0/16" in host.run("ip route")
    net.detach("a")
    net.say("sweep")
    assert "10.7.0.0/16" not in host.run("ip route") and "10.7.0.1" not in host.run("ip addr show lo")
    attach(net, "a", 9)
    assert "unreachable 10.7.0.0/16" in host.run("ip route") and "10.7.0.1" in host.run("ip addr show lo")
    net.detach("a")
    attach(net, "a", 9)  # it is claimed still
    assert "unreachable 10.7.0.0/16" in host.run("ip route") and "10.7.0.1" in host.run("ip addr show lo")


def nothing_passes_before_the_groups_are_known(lab):
    host, client = lab.host()
    net = lab.net(host)
    a, b = attach(net, "a", 2), attach(net, "b", 3)
    server, outside = lab.listen(b, 80), lab.listen(client, 80)
    assert held(lab, a, server, "10.7.0.3", 80)
    assert held(lab, a, outside, "10.99.0.2", 80)
    group(net, "sg-1", f"in={ALL}sg-1", open_egress(), members=["10.7.0.2", "10.7.0.3"])
    assert held(lab, a, server, "10.7.0.3", 80)  # it was not sent yet
    net.say("commit")
    assert may(lab, a, server, "10.7.0.3", 80)
    assert lab.connects(a, outside, ("10.99.0.2", 80)) == "10.99.0.1"  # under the host's address


def who_may_talk_to_whom(lab):
    """web: 80 from anywhere; app: 8000-8010 from web; db: 5432 from app; all may go out but db."""
    host, client = lab.host()
    net = lab.net(host)
    tasks = {n: attach(net, n, i) for i, n in enumerate(["web1", "web2", "app1", "db1", "both"], 2)}
    address = {n: t.address for n, t in tasks.items()}
    groups = {"sg-web": ["web1", "web2", "both"], "sg-app": ["app1"], "sg-db": ["db1", "both"]}
    rules = {"sg-web": ["in=tcp,80,80,0.0.0.0/0", open_egress()],
             "sg-app": ["in=tcp,8000,8010,sg-web", open_egress()],
             "sg-db": ["in=tcp,5432,5432,sg-app", "in=udp,53,53,10.7.0.2/32"]}
    for name, members in groups.items():
        group(net, name, *rules[name], members=[address[m] for m in members])
    net.say("commit")

    def member(task, name):
        return task in groups[name]

    def expected(source, target, port):
        if member(source, "sg-db") and not member(source, "sg-web"):
            return False  # it has no egress
        return ((port == 80 and member(target, "sg-web"))
                or (port in (8000, 8010) and member(target, "sg-app") and member(source, "sg-web"))
                or (port == 5432 and member(target, "sg-db") and member(source, "sg-app")))
    ports = [80, 443, 8000, 8010, 8011, 5432]

    def wrong(target, port):
        """All try one server, one after the other."""
        server = lab.listen(tasks[target], port)
        return [(source, target, port) for source in tasks if source != target
                if held(lab, tasks[source], server, address[target], port) == expected(source, target, port)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = list(pool.map(wrong, *zip(*itertools.product(tasks, ports))))
    assert not any(found), found
    udp = lab.udp(tasks["db1"], port=53)
    assert lab.sends(tasks["web1"], udp, (address["db1"], 53)) == address["web1"]
    assert lab.sends(tasks["web2"], udp, (address["db1"], 53), timeout=SILENCE) is None


LOCAL_ROUTE = 0x80000000  # RTF_LOCAL of <linux/ipv6_route.h>


def an_address_of_ipv6_is_reached_as_soon_as_it_is_there(lab):
    host, _ = lab.host()
    net = lab.net(host)
    asker, numbers = attach(net, "asker", 2, v6=True), range(3, 253)
    group(net, "sg-all", open_egress("::/0"), f"in={ALL}::/0", members=[f"fd00:7::{n:x}" for n in (2, *numbers)])
    net.say("commit")
    busy = ["nsenter", f"--net={lab.namespace('busy').path}", "sh", "-c",
            "while :; do ip link add v0 type veth peer name v1; ip link del v0; done"]
    lab.processes.append(subprocess.Popen(busy, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
    for n in numbers:
        task = attach(net, f"t{n}", n, v6=True)
        with inside(task.fd), open("/proc/thread-self/net/ipv6_route", encoding="ascii") as f:
            rows = [l.split() for l in f]
        assert any(r[0] == f"fd000007{n:024x}" and int(r[8], 16) & LOCAL_ROUTE for r in rows), (n, rows)
        assert lab.sends(asker, lab.udp(task, "::", 53), (task.address6, 53)) == asker.address6


TASK_LINK = 64  # the index of eth0 in tasks
SERVICE, SERVICE6 = "169.254.169.253", "fd00:ec2::253"


def served(lab, task, places, to):
    """Who asks there by TCP and by UDP, as the service sees it."""
    stream, service = places
    seen = lab.sends(task, service, (to, 53))
    assert seen and lab.connects(task, stream, (to, 53)) == seen
    return seen


def unserved(lab, task, places, to, source=None):
    """Nobody who asks there is answered, or seen by the service."""
    stream, service = places
    asker = lab.udp(task, source or ("::" if ":" in to else "0.0.0.0"))
    with contextlib.suppress(OSError):
        asker.sendto(b"who am I", (to, 53))
    with contextlib.suppress(socket.timeout):
        service.recvfrom(64)
        return False
    return source or lab.held(task, stream, (to, 53))


def services(lab, net):
    place = net.attach("resolver", f"service={SERVICE}", f"service={SERVICE6}")
    return place, [(lab.listen(place, 53, a), lab.udp(place, a, 53)) for a in (place.address, place.address6)]


def services_of_the_host_are_found_by_ipv6(lab):
    host, client = lab.host()
    host.run("ip -6 addr add fd99::1/64 dev up0 nodad; ip -6 addr add fe80::77/64 dev up0 nodad")
    net = lab.net(host)
    router = "cat /proc/sys/net/ipv6/conf/all/forwarding"
    before = host.run(router)
    place, (v4, v6) = services(lab, net)
    assert host.run(router) == before == "0\n"  # not for a service that nobody can ask yet
    both, other = attach(net, "both", 2, v6=True), attach(net, "other", 3, v6=True)
    group(net, "sg", "in=tcp,80,80,10.7.0.9/32", members=[both.address, both.address6])  # nothing may leave
    group(net, "open", open_egress(), open_egress("::/0"), members=[other.address, other.address6])
    net.say("commit")
    for task in (both, other):
        assert served(lab, task, v6, SERVICE6) == task.address6
        assert served(lab, task, v4, SERVICE) == task.address
        # By its local address only, where the limit counts; and by no other one of these.
        assert unserved(lab, task, v6, place.address6) and unserved(lab, task, v6, "fd00:ec2::254")
    # A task as another one, be it as one that is not there.
    for address in (both.address6, "fd00:7::77", "fe80::5"):
        other.run(f"ip addr add {address}/128 dev eth0 nodad")
        assert unserved(lab, other, v6, SERVICE6, address), address
        other.run(f"ip addr del {address}/128 dev eth0")
    assert served(lab, both, v6, SERVICE6) == both.address6
    # One limit of packets for a task, whatever family they are of.
    assert elements(host, "askers") and all(e.startswith((f'"{both.link}"', f'"{other.link}"')) for e in elements(host, "askers"))
    assert len(elements(host, "askers")) == 2
    # Nobody else finds it, be it as one of the tasks.
    client.run("ip -6 addr add fd99::2/64 dev up0 nodad; ip -6 route add default via fd99::1")
    assert unserved(lab, client, v6, SERVICE6) and unserved(lab, client, v6, place.address6)
    client.run(f"ip addr add {both.address6}/128 dev lo")
    assert unserved(lab, client, v6, SERVICE6, both.address6)
    # What a cloud, or a link, has at such an address is the host's.
    host.run("ip -6 route add fd00:ec2::/32 via fd99::2")
    client.run("ip addr add fd00:ec2::254/128 dev lo; ip addr add fe80::99/64 dev up0 nodad")
    imds = lab.listen(client, 80, "::")
    assert lab.connects(host, imds, ("fd00:ec2::254", 80))
    beside = lab.listen(host, 80, "::")
    for address in ("fd00:ec2::254", "fe80::99", "fe80::77", "fe80::1"):
        for server in (imds, beside):
            assert lab.held(other, server, (address, 80, 0, TASK_LINK if address.startswith("fe80") else 0)), address
    assert lab.connects(other, imds, ("fd99::2", 80)) == "fd99::1"  # the rest of the world it reaches
    net.say("sweep resolver both other")
    assert served(lab, both, v6, SERVICE6) == both.address6
    net.detach("resolver")
    assert elements(host, "services6") == [] == elements(host, "serving6")


def a_task_with_ipv6_alone_has_ipv4_for_services_of_the_host_only(lab):
    host, client = lab.host6()
    host.run("ip addr add 169.254.7.1/24 dev up0")
    client.run("ip addr add 169.254.7.2/24 dev up0")
    net = lab.net(host)
    place, (v4, v6) = services(lab, net)
    alone, again = [net.attach(n, f"own=fd00:7::{i}", f"vpc={VPC6}", mode="awsvpc") for n, i in (("a", 9), ("b", 10))]
    task, plain = attach(net, "task", 2, v6=True), net.attach("plain", "tcp:80:8080")
    group(net, "sg", f"in={ALL}0.0.0.0/0", f"in={ALL}::/0", open_egress(), open_egress("::/0"),
          members=[alone.address6, again.address6, task.address, task.address6])
    net.say("commit")
    assert alone.address == "" and alone.source and alone.source != again.source
    for t in (alone, again):
        assert served(lab, t, v4, SERVICE) == t.source and served(lab, t, v6, SERVICE6) == t.address6
    again.run(f"ip addr add {alone.source}/32 dev eth0")
    assert unserved(lab, again, v4, SERVICE, alone.source)
    again.run(f"ip addr del {alone.source}/32 dev eth0")
    # Nothing else is there by it, whatever routes the task has, and it is nobody's to reach.
    alone.run(f"ip route add default via {alone.gateway} dev eth0")
    outside, own = lab.listen(client, 80), lab.listen(alone, 80)
    ssh = lab.listen(host, 22)
    for server, address, port in ((outside, "10.99.0.2", 80), (outside, "169.254.7.2", 80), (lab.listen(plain, 80), plain.address, 80),
                                  (lab.listen(task, 80), task.address, 80), (lab.listen(again, 80), again.source, 80),
                                  (ssh, "10.99.0.1", 22), (ssh, alone.gateway, 22), (lab.listen(plain, 81), "10.99.0.1", 8080)):
        assert held(lab, alone, server, address, port), address
    for source in (task, plain, again):
        assert held(lab, source, own, alone.source, 80), source.name
    client.run(f"ip route add {alone.source}/32 via 10.99.0.1")
    assert held(lab, client, own, alone.source, 80)
    assert may(lab, alone, lab.listen(task, 81, "::"), task.address6, 81)
    again.run("! ping -c1 -W1 10.99.0.2")
    found = net.find("a")
    assert (found["address"], found["source"]) == ("", alone.source)
    # It is found again after a crash.
    net.end()
    later = Net(lab, host, opened=False)
    later.say(f"open berth {net.dir} -")
    later.say("sweep a b task plain resolver")
    assert served(lab, alone, v4, SERVICE) == alone.source
    assert held(lab, alone, outside, "10.99.0.2", 80)
    assert alone.source in elements(host, "secured")
    later.say("detach a")
    assert alone.source not in elements(host, "secured") and alone.source not in our_routes(host)


def ping_is_let_in_by_type_and_code(lab):
    host, client = lab.host()
    net = lab.net(host)
    a, b = attach(net, "a", 2), attach(net, "b", 3)
    group(net, "sg-a", open_egress(), members=[a.address])
    group(net, "sg-b", "in=icmp,13,0,0.0.0.0/0", "in=tcp,1,65535,0.0.0.0/0", members=[b.address])
    net.say("commit")
    assert "1 packets received" not in a.run(f"busybox ping -c1 -W1 {b.address}", check=False)
    group(net, "sg-b", "in=icmp,8,-1,0.0.0.0/0", members=[b.address])
    net.say("commit")
    assert "1 packets received" in a.run(f"busybox ping -c1 -W5 {b.address}")


def ipv6_has_rules_of_its_own(lab):
    host, client = lab.host()
    net = lab.net(host)
    a, b = attach(net, "a", 2, v6=True), attach(net, "b", 3, v6=True)
    server = lab.listen(b, 80, "::")
    members = [["10.7.0.2", "fd00:7::2"], ["10.7.0.3", "fd00:7::3"]]
    group(net, "sg-a", open_egress(), open_egress("::/0"), members=members[0])
    group(net, "sg-b", "in=tcp,80,80,0.0.0.0/0", members=members[1])
    net.say("commit")
    assert may(lab, a, server, "10.7.0.3", 80)
    assert held(lab, a, server, "fd00:7::3", 80)
    group(net, "sg-b", "in=tcp,80,80,fd00:7::/64", members=members[1])
    net.say("commit")
    assert may(lab, a, server, "fd00:7::3", 80)
    assert held(lab, a, server, "10.7.0.3", 80)
    group(net, "sg-b", "in=tcp,80,80,sg-a", "in=icmpv6,128,0,sg-a", members=members[1])
    net.say("commit")
    assert may(lab, a, server, "fd00:7::3", 80) and may(lab, a, server, "10.7.0.3", 80)
    assert "1 packets received" in a.run("busybox ping -6 -c1 -W5 fd00:7::3")


def members_come_and_go_and_open_connections_stay(lab):
    host, client = lab.host()
    net = lab.net(host)
    a, b = attach(net, "a", 2), attach(net, "b", 3)
    server = lab.listen(b, 80)
    group(net, "sg-a", open_egress(), members=[a.address])
    group(net, "sg-b", "in=tcp,80,80,sg-a", members=[b.address])
    net.say("commit")
    with inside(a.fd):
        old = socket.create_connection((b.address, 80), 5)
    peer, _ = server.accept()
    net.say("group sg-none " + open_egress())
    net.say(f"change sg-a left={a.address}")
    net.say(f"change sg-none joined={a.address}")
    net.say("commit")
    assert held(lab, a, server, b.address, 80)
    old.sendall(b"still there")
    assert peer.recv(64) == b"still there"
    net.say(f"change sg-a joined={a.address}")
    net.say("commit")
    assert may(lab, a, server, b.address, 80)
    group(net, "sg-b", members=[b.address])
    net.say("commit")
    peer.sendall(b"and back")
    assert old.recv(64) == b"and back"
    assert held(lab, a, server, b.address, 80)
    for s in (old, peer):
        s.close()


def a_change_that_cuts_ends_what_it_does_not_allow(lab):
    host, client = lab.host()
    net = lab.net(host)
    a, b = attach(net, "a", 2), attach(net, "b", 3)
    group(net, "sg-a", open_egress(), f"in={ALL}0.0.0.0/0", members=[a.address])
    group(net, "sg-b", open_egress(), "in=tcp,80,81,sg-a", f"in={ALL}10.99.0.0/24", members=[b.address])
    net.say("commit")
    talks = {}
    for name, place, port in [("gone", a, 80), ("stays", a, 81), ("host", host, 82)]:
        server = lab.listen(b, port)
        with inside(place.fd):
            here = socket.create_connection((b.address, port), 5)
        there, _ = server.accept()
        talks[name] = (here, there)
        lab.sockets += [here, there]
    outside = lab.listen(client, 90)
    with inside(a.fd):
        talks["out"] = (socket.create_connection(("10.99.0.2", 90), 5), outside.accept()[0])
    lab.sockets += talks["out"]

    def goes_on(name):
        for one, other in (talks[name], talks[name][::-1]):
            other.settimeout(WAIT)
            one.sendall(b"x")
            assert other.recv(1) == b"x"
        return True

    def is_cut(name):
        for one, other in (talks[name], talks[name][::-1]):
            other.settimeout(SILENCE)
            one.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                other.recv(1)
                return False
        return True
    group(net, "sg-b", "cut", open_egress(), "in=tcp,81,81,sg-a", members=[b.address])
    net.say("commit")
    assert is_cut("gone") and goes_on("stays") and goes_on("host") and goes_on("out")
    # Nor does the other side bring it back, whose egress and whose peer's ingress would let it.
    assert is_cut("gone")
    group(net, "sg-a", "out=tcp,81,81,sg-b", members=[a.address])
    net.say("commit")
    assert goes_on("out")  # nobody asked
    group(net, "sg-a", "cut", "out=tcp,81,81,sg-b", members=[a.address])
    net.say("commit")
    assert is_cut("out") and goes_on("stays")


def a_task_can_not_take_an_address_that_is_not_its_own(lab):
    host, client = lab.host()
    net = lab.net(host)
    a, b = attach(net, "a", 2), attach(net, "b", 3)
    server = lab.listen(b, 80)
    group(net, "sg-a", open_egress(), members=["10.7.0.2", "10.7.0.77"])
    group(net, "sg-b", f"in={ALL}0.0.0.0/0", members=[b.address])
    net.say("commit")
    assert may(lab, a, server, b.address, 80)
    a.run("ip addr add 10.7.0.77/32 dev eth0; ip route replace default via "
          f"{a.gateway} src 10.7.0.77")
    assert held(lab, a, server, b.address, 80)
    a.run("ip addr del 10.7.0.77/32 dev eth0; "
          f"ip route replace default via {a.gateway} src 10.7.0.2")
    assert may(lab, a, server, b.address, 80)


def the_host_and_its_services_are_not_theirs(lab):
    host, client = lab.host()
    net = lab.net(host)
    a = attach(net, "a", 2)
    plain = net.attach("plain")
    group(net, "sg-a", open_egress(), f"in={ALL}0.0.0.0/0", members=[a.address])
    net.say("commit")
    server = lab.listen(host, 22)
    assert held(lab, a, server, a.gateway, 22) and held(lab, a, server, "10.99.0.1", 22)
    assert may(lab, plain, server, plain.gateway, 22)  # as it was in mode bridge
    own = lab.listen(a, 80)
    assert may(lab, host, own, a.address, 80)  # the host looks after its tasks


def a_bridge_task_is_a_stranger_like_any_other(lab):
    host, client = lab.host()
    net = lab.net(host)
    a, plain = attach(net, "a", 2), net.attach("plain")
    server, other = lab.listen(a, 80), lab.listen(plain, 80)
    group(net, "sg-a", "in=tcp,80,80,10.7.0.0/16", open_egress(), members=[a.address])
    net.say("commit")
    assert held(lab, plain, server, a.address, 80)
    assert may(lab, a, other, plain.address, 80)
    group(net, "sg-a", "in=tcp,80,80,0.0.0.0/0", members=[a.address])
    net.say("commit")
    assert may(lab, plain, server, a.address, 80)
    assert held(lab, a, other, plain.address, 80)
    client.run("ip route replace 10.7.0.0/16 via 10.99.0.1")
    assert may(lab, client, server, a.address, 80)  # by a route, and its own address is seen


def a_mark_that_others_set_is_nobody(lab):
    """Who is who is told by marks from one rule to another: those of the host's other rules are not taken for ours."""
    host, client = lab.host()
    net = lab.net(host)
    stranger, friend, task = net.attach("stranger"), attach(net, "friend", 9), attach(net, "a", 10)
    group(net, "sg-f", open_egress(), members=["10.7.0.9"])
    group(net, "sg-a", "in=tcp,80,80,sg-f", members=["10.7.0.10"])
    net.say("commit")
    s = lab.listen(task, 80)
    client.run("ip route add 10.7.0.10/32 via 10.99.0.1")
    assert may(lab, friend, s, "10.7.0.10", 80)
    host.run("nft 'table inet others { chain c { type filter hook prerouting priority -290; }; }'")
    for mark in range(1, 5):  # the first few that there are
        host.run(f"nft 'flush chain inet others c; add rule inet others c ip daddr 10.7.0.10 meta mark set {mark}'")
        assert held(lab, stranger, s, "10.7.0.10", 80) and held(lab, client, s, "10.7.0.10", 80), mark
        assert may(lab, friend, s, "10.7.0.10", 80), mark


def two_vpcs_do_not_reach_each_other(lab):
    host, client = lab.host()
    net = lab.net(host)
    open_door = [f"in={ALL}0.0.0.0/0", f"in={ALL}::/0", open_egress(), open_egress("::/0")]
    a, a2 = attach(net, "a", 2, v6=True), attach(net, "a2", 3, v6=True)
    b = net.attach("b", "own=10.8.0.2", "vpc=10.8.0.0/16", "own=fd00:8::2", "vpc=fd00:8::/56", "public=10.99.0.77",
                   mode="awsvpc")
    group(net, "sg-a", *open_door, members=[a.address, a.address6, a2.address, a2.address6])
    group(net, "sg-b", *open_door, members=[b.address, b.address6])
    net.say("commit")
    server, server6, near = lab.listen(b, 80), lab.listen(b, 81, "::"), lab.listen(a2, 80, "::")
    assert held(lab, a, server, "10.8.0.2", 80) and held(lab, a, server6, "fd00:8::2", 81)
    assert may(lab, a, near, "10.7.0.3", 80) and may(lab, a, near, "fd00:7::3", 80)
    assert may(lab, a, server, "10.99.0.77", 80)  # by its public address, as from anywhere
    # Nor on another host: what is led to a peer is of the VPC, or not reached.
    lab.wire(host, "up1", "10.98.0.1/24", client, "up1", "10.98.0.2/24")
    client.run("ip addr add 10.8.16.2/32 dev lo; ip addr add 10.7.16.2/32 dev lo; ip route add 10.7.0.0/24 via 10.98.0.1")
    net.say("peer p address=10.98.0.2 prefix=10.8.16.0/20 prefix=10.7.16.0/20")
    far = lab.listen(client, 80)
    assert may(lab, a, far, "10.7.16.2", 80) and held(lab, a, far, "10.8.16.2", 80)
    assert len(elements(host, "elsewhere")) == 2, elements(host, "elsewhere")
    net.say("unpeer p")
    assert elements(host, "elsewhere") == []


def rules_that_overlap_are_all_of_them_true(lab):
    host, client = lab.host()
    net = lab.net(host)
    a, b = attach(net, "a", 2), attach(net, "b", 3)
    group(net, "sg-a", open_egress(), members=[a.address])
    group(net, "sg-b", "in=tcp,80,90,10.0.0.0/8", "in=tcp,85,99,10.7.0.0/24", "in=tcp,85,85,0.0.0.0/0",
          f"in={ALL}10.7.0.2/32", "in=tcp,7,7,sg-a", "in=tcp,7,8,10.7.0.2/32", members=[b.address])
    group(net, "sg-c", "in=tcp,80,82,10.7.0.0/16", members=[b.address])
    net.say("commit")
    servers = {port: lab.listen(b, port) for port in (7, 8, 79, 80, 85, 90, 91, 95, 99, 100, 4000)}
    for port, server in servers.items():
        assert may(lab, a, server, b.address, port), port
    group(net, "sg-b", "in=tcp,80,90,10.0.0.0/8", "in=tcp,85,99,10.7.0.0/24", members=[b.address])
    net.say("ungroup sg-c")
    net.say("commit")
    for port, server in servers.items():
        assert held(lab, a, server, b.address, port) != (80 <= port <= 99), port


def a_public_address_stands_for_the_task(lab):
    host, client = lab.host()
    net = lab.net(host)
    a = net.attach("a", "own=10.7.0.2", f"vpc={VPC}", "public=10.99.0.77", mode="awsvpc")
    b = attach(net, "b", 3)
    group(net, "sg-a", "in=tcp,80,80,10.99.0.2/32", "in=tcp,80,80,sg-b", "in=tcp,80,80,sg-a", open_egress(),
          members=[a.address])
    group(net, "sg-b", open_egress(), members=[b.address])
    net.say("commit")
    server, outside, closed = lab.listen(a, 80), lab.listen(client, 80), lab.listen(a, 81)
    # The client asks for it on its own link, and the host answers.
    assert lab.connects(client, server, ("10.99.0.77", 80)) == "10.99.0.2"
    assert held(lab, client, closed, "10.99.0.77", 81)
    assert lab.connects(a, outside, ("10.99.0.2", 80)) == "10.99.0.77"
    assert lab.connects(b, outside, ("10.99.0.2", 80)) == "10.99.0.1"
    assert lab.connects(b, server, ("10.99.0.77", 80)) == "10.7.0.3"
    assert may(lab, host, server, "10.99.0.77", 80) and may(lab, a, server, "10.99.0.77", 80)
    host.run("ip addr del 10.99.0.77/32 dev lo")
    net.say("sweep a b")
    assert lab.connects(client, server, ("10.99.0.77", 80)) == "10.99.0.2"
    try:
        net.attach("c", "own=10.7.0.4", f"vpc={VPC}", "public=10.99.0.77", mode="awsvpc")
    except Refused as e:
        assert "the public address is that of a" in str(e), e
    else:
        raise AssertionError("given twice")
    net.detach("a")
    net.say("sweep b")
    assert "10.99.0.77" not in host.run("ip addr show lo; nft list table inet berth")
    net.say("destroy")


def what_others_took_away_comes_back(lab):
    host, client = lab.host()
    net = lab.net(host)
    a, b = attach(net, "a", 2), attach(net, "b", 3)
    server = lab.listen(b, 80)
    group(net, "sg-a", open_egress(), members=[a.address])
    group(net, "sg-b", "in=tcp,80,80,sg-a", "in=tcp,1,9,10.0.0.0/8", members=[b.address])
    net.say("commit")
    before = host.run("nft -s list table inet berth")
    for damage in ["nft flush ruleset", "nft flush set inet berth ingress_groups",
                   "nft flush map inet berth identities", "nft flush set inet berth secured",
                   "nft flush set inet berth ingress_ranges", "nft flush chain inet berth ingress",
                   "ip route del 10.7.0.3"]:
        host.run(damage)
        net.say("sweep a b")
        assert may(lab, a, server, b.address, 80), damage
        after = host.run("nft -s list table inet berth")
        assert sorted(after.split("\n")) == sorted(before.split("\n")), damage


def after_a_crash_the_groups_are_told_again(lab):
    host, client = lab.host()
    net = lab.net(host)
    a, b = attach(net, "a", 2), attach(net, "b", 3)
    server = lab.listen(b, 80)
    group(net, "sg-a", open_egress(), members=[a.address])
    group(net, "sg-b", "in=tcp,80,80,sg-a", members=[b.address])
    net.say("commit")
    net.end()
    assert may(lab, a, server, b.address, 80)  # the kernel goes on by itself
    again = lab.net(host, opened=False)
    again.say(f"open berth {net.dir} -")
    group(again, "sg-a", open_egress(), members=[a.address])
    group(again, "sg-b", "in=tcp,80,80,sg-a", members=[b.address])
    again.say("commit")
    again.say("sweep a b")
    assert may(lab, a, server, b.address, 80)
    a.close(), b.close()
    again.say("sweep")
    assert our_routes(host) == []
    again.say("destroy")
    assert "berth" not in host.run("nft list tables")


if __name__ == "__main__":
    check([an_interface_has_its_own_address_and_no_other, addresses_that_are_taken_or_elsewhere_are_refused,
           a_vpc_is_claimed_as_long_as_somebody_has_its_addresses,
           nothing_passes_before_the_groups_are_known, who_may_talk_to_whom, ping_is_let_in_by_type_and_code,
           ipv6_has_rules_of_its_own, an_address_of_ipv6_is_reached_as_soon_as_it_is_there, services_of_the_host_are_found_by_ipv6,
           a_task_with_ipv6_alone_has_ipv4_for_services_of_the_host_only, members_come_and_go_and_open_connections_stay,
           a_change_that_cuts_ends_what_it_does_not_allow, a_task_can_not_take_an_address_that_is_not_its_own, the_host_and_its_services_are_not_theirs,
           a_bridge_task_is_a_stranger_like_any_other, a_mark_that_others_set_is_nobody, two_vpcs_do_not_reach_each_other, rules_that_overlap_are_all_of_them_true,
           a_public_address_stands_for_the_task, what_others_took_away_comes_back, after_a_crash_the_groups_are_told_again])
