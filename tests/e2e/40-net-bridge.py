#!/usr/bin/env python3
# tests/e2e/40-net-bridge.py - who reaches whom over the routed path, and who does not
# SPDX-License-Identifier: Apache-2.0

import errno
import os
import socket
import struct

from netlab import (MADE_AHEAD, SILENCE, Refused, check, family_of, elements, inside, namespaces_held, our_links, our_routes, until)

HOST, CLIENT = "10.99.0.1", "10.99.0.2"


def everyone_reaches_a_task_by_its_ports(lab):
    host, client = lab.host()
    net = lab.net(host)
    a = net.attach("a", "tcp:80:0", "udp:53:0", "tcp:81:8081")
    b = net.attach("b")
    tcp, udp, static = lab.listen(a, 80), lab.udp(a, port=53), lab.listen(a, 81)

    # from, by, the source that the task sees
    cases = [
        (client, HOST, CLIENT),
        (host, HOST, HOST),
        (host, "127.0.0.1", a.gateway),
        (b, HOST, b.address),
        (b, a.gateway, b.address),
        (a, HOST, a.gateway),
        (host, a.gateway, None),
    ]
    for place, by, source in cases:
        for seen in (lab.connects(place, tcp, (by, a.ports[0])), lab.sends(place, udp, (by, a.ports[1])),
                     lab.connects(place, static, (by, 8081))):
            assert seen and source in (None, seen), f"{place.name} by {by}: {seen} instead of {source}"


def retransmissions(s):
    """tcpi_total_retrans of struct tcp_info."""
    return struct.unpack_from("I", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0]


def the_first_packet_to_a_new_task_is_not_lost(lab):
    host, _ = lab.host()
    net = lab.net(host)
    for i in range(150):
        t = net.attach(f"t{i}")
        server = lab.listen(t, 80)
        with inside(host.fd):
            s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with s, server:
            s.settimeout(10)
            s.connect((t.address, 80))
            assert retransmissions(s) == 0, f"of task {i}"
        net.detach(f"t{i}")


def tasks_and_the_host_reach_tasks_by_address(lab):
    host, _ = lab.host()
    net = lab.net(host)
    a, b = net.attach("a"), net.attach("b")
    tcp = lab.listen(a, 80)
    assert lab.connects(b, tcp, (a.address, 80)) == b.address
    assert lab.connects(host, tcp, (a.address, 80)) == a.gateway
    assert lab.connects(a, tcp, (a.address, 80)) == a.address


def tasks_reach_the_world_as_the_host(lab):
    host, client = lab.host()
    net = lab.net(host)
    a = net.attach("a")
    tcp, udp = lab.listen(client, 80), lab.udp(client, port=53)
    assert lab.connects(a, tcp, (CLIENT, 80)) == HOST
    assert lab.sends(a, udp, (CLIENT, 53)) == HOST
    on_host = lab.listen(host, 9000)
    assert lab.connects(a, on_host, (HOST, 9000)) == a.address
    assert lab.connects(a, on_host, (a.gateway, 9000)) == a.address


def nobody_outside_reaches_a_task_by_its_address(lab):
    host, client = lab.host()
    net = lab.net(host)
    a = net.attach("a", "tcp:80:0")
    udp = lab.udp(a, port=53)
    assert lab.held(client, lab.listen(a, 80), (a.address, 80))
    assert lab.sends(client, udp, (a.address, 53), timeout=SILENCE) is None


def a_task_cannot_reach_the_hosts_loopback(lab):
    host, _ = lab.host()
    net = lab.net(host)
    a = net.attach("a", "tcp:80:0")
    lab.listen(a, 80)
    secret = lab.udp(host, "127.0.0.1", 9999)
    a.run("sysctl -qw net.ipv4.conf.all.route_localnet=1; ip rule add pref 10 to 127.0.0.2 lookup 100;"
          f"ip rule del pref 0; ip rule add pref 20 lookup local; ip route add 127.0.0.2 via {a.gateway} "
          f"dev eth0 src {a.address} table 100; nft add table ip n; nft 'add chain ip n o {{ type nat hook "
          "output priority 0; }'; nft 'add rule ip n o ip daddr 127.0.0.3 dnat to 127.0.0.2'")
    until(lambda: "127.0.0.2" in a.run("ip route get 127.0.0.2"), "route")
    dropped = "iifname brt* ip daddr 127.0.0.0/8 counter"
    host.run("nft add table ip see; nft 'add chain ip see c { type filter hook prerouting priority -400; }';"
             f"nft 'add rule ip see c {dropped}'")
    with inside(a.fd):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        s.bind((a.address, 0))
        s.sendto(b"x", ("127.0.0.2", 9999))
    until(lambda: "packets 0 " not in host.run("nft list chain ip see c"), "the packet on the link")
    # As from the host itself it would arrive: 127.0.0.2 is the host's too.
    secret_any = lab.udp(host, "0.0.0.0", 9998)
    with inside(a.fd):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        s.bind((a.address, 0))
        s.sendto(b"x", ("127.0.0.2", 9998))
    for listener in (secret, secret_any):
        try:
            listener.recv(16)
        except socket.timeout:
            continue
        raise AssertionError("the host's loopback was reached")


def only_the_true_address_arrives(lab, a, false, servers):
    """From each false address of a task to all servers; then, and alone, from the true one."""
    for address in false:
        add = f"{address}/128 dev eth0 nodad" if ":" in address else f"{address}/32 dev eth0"
        a.run(f"ip addr add {add}")
        for _, to in servers:
            if to[0] == address:
                continue
            with inside(a.fd):
                s = socket.socket(family_of(address), socket.SOCK_DGRAM)
            with s:
                s.bind((address, 0))
                s.sendto(b"false", to)
        a.run(f"ip addr del {add.removesuffix(' nodad')}")
    for server, to in servers:
        assert lab.sends(a, server, to), f"the true address to {to}"


def a_task_cannot_take_another_address(lab):
    host, client = lab.host()
    net = lab.net(host)
    a, b = net.attach("a"), net.attach("b")
    only_the_true_address_arrives(
        lab, a, [b.address, HOST, a.gateway, CLIENT, "8.8.8.8", a.address.rsplit(".", 1)[0] + ".250"],
        [(lab.udp(client, port=53), (CLIENT, 53)), (lab.udp(b, port=53), (b.address, 53)),
         (lab.udp(host, port=54), (HOST, 54))])


def a_task_speaks_no_ipv6(lab):
    host, _ = lab.host()
    if not os.path.exists("/proc/net/if_inet6"):
        return
    net = lab.net(host)
    a = net.attach("a")
    host.run("ip -6 addr add fd99::1/128 dev lo; sysctl -qw net.ipv6.conf.all.forwarding=1")
    host.run(f"sysctl -qw net.ipv6.conf.{a.link}.disable_ipv6=0; ip -6 route add fd99::2/128 dev {a.link}")
    assert "inet6" not in a.run("ip -6 addr show dev eth0"), "an address was made"
    a.run("ip -6 addr add fd99::2/128 dev eth0 nodad; ip -6 route add fd99::1/128 dev eth0;"
          "ip -6 neigh add fd99::1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent")
    with inside(host.fd):
        server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with inside(a.fd):
        s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with server, s:
        server.bind(("fd99::1", 53))
        server.settimeout(SILENCE)
        s.sendto(b"x", ("fd99::1", 53))
        try:
            server.recv(16)
        except socket.timeout:
            return
    raise AssertionError("IPv6 went through")


def ipv6_is_there_where_the_host_has_it(lab):
    host, client = lab.host6()
    net = lab.net(host)
    a, b = net.attach("a", "tcp:80:0", "udp:53:0", "tcp:8000-8009:0"), net.attach("b")
    assert a.address6 and a.address6 != b.address6
    tcp, udp, ranged = lab.listen(a, 80, "::"), lab.udp(a, "::", 53), lab.listen(a, 8005, "::")
    # from, by, the source that the task sees
    cases = [
        (client, "fd99::1", "fd99::2"),
        (host, "fd99::1", "fd99::1"),
        (b, "fd99::1", b.address6),
        (a, "fd99::1", None),
    ]
    for place, by, source in cases:
        for seen in (lab.connects(place, tcp, (by, a.ports[0])), lab.sends(place, udp, (by, a.ports[1])),
                     lab.connects(place, ranged, (by, a.ports[2] + 5))):
            assert seen and source in (None, seen), f"{place.name} by {by}: {seen} instead of {source}"
    with inside(host.fd):  # whoever tries ::1 for localhost goes on to 127.0.0.1 without waiting
        s = socket.socket(socket.AF_INET6)
    with s:
        s.settimeout(5)
        assert s.connect_ex(("::1", a.ports[0])) == errno.ECONNREFUSED
    assert lab.connects(b, tcp, (a.address6, 80)) == b.address6
    outside = lab.listen(client, 80, "::")
    assert lab.connects(a, outside, ("fd99::2", 80)) == "fd99::1", "to the world as the host"
    client.run(f"ip -6 route add {a.address6} via fd99::1")
    assert lab.held(client, tcp, (a.address6, 80)), "by its address"


def ipv6_stays_over_a_restart_and_goes(lab):
    host, client = lab.host6()
    net = lab.net(host)
    a = net.attach("a", "tcp:80:0")
    tcp = lab.listen(a, 80, "::")
    net.end()
    host.run("nft flush ruleset; ip -6 route flush proto 190")
    again = lab.net(host)
    again.say("sweep a")
    assert again.find("a")["address6"] == a.address6
    assert lab.connects(client, tcp, ("fd99::1", a.ports[0])) == "fd99::2"
    again.detach("a")
    assert elements(host, "ports6") == elements(host, "hairpin6") == []
    again.say("destroy")
    assert host.run("sysctl -n net.ipv6.conf.all.forwarding").strip() == "0"


def a_false_address_of_ipv6_is_dropped(lab):
    host, client = lab.host6()
    net = lab.net(host)
    a, b = net.attach("a"), net.attach("b")
    only_the_true_address_arrives(
        lab, a, [b.address6, "fd99::2", "fd99::77", a.address6[:-1] + "f"],
        [(lab.udp(client, "::", 53), ("fd99::2", 53)), (lab.udp(b, "::", 53), (b.address6, 53))])


def none_has_a_loopback_only(lab):
    host, _ = lab.host()
    net = lab.net(host)
    a = net.attach("a", mode="none")
    links = a.run("ip -o link show up")
    assert links.count("\n") == 1 and " lo: " in links, links
    assert a.address == "" and not our_links(host)
    try:
        net.attach("b", "tcp:80:0", mode="none")
    except Refused as e:
        assert e.errno == errno.EINVAL
    else:
        raise AssertionError("ports without a network")


def binds(place, kind, port, family=socket.AF_INET, reuse=False):
    with inside(place.fd):
        s = socket.socket(family, kind)
    with s:
        if reuse:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        except OSError as e:
            assert e.errno == errno.EADDRINUSE
            return False
        return True


def a_port_in_use_is_refused_by_name(lab):
    host, _ = lab.host()
    net = lab.net(host)
    lab.listen(host, 8080, "127.0.0.1")
    lab.udp(host, "10.99.0.1", 5353)
    before = (our_links(host), elements(host, "ports"), os.listdir(net.dir + "/endpoints"))
    for port, text in (("tcp:80:8080", "listen tcp 0.0.0.0:8080: bind: address already in use"),
                       ("udp:53:5353", "listen udp 0.0.0.0:5353: bind: address already in use")):
        try:
            net.attach("a", "tcp:1:0", port)
        except Refused as e:
            assert e.errno == errno.EADDRINUSE and text in str(e), e
        else:
            raise AssertionError(port)
        assert before == (our_links(host), elements(host, "ports"), os.listdir(net.dir + "/endpoints"))
    net.attach("a", "udp:80:8080", "tcp:53:5353")  # of the other protocol they are free


def a_port_is_held_while_the_task_lives(lab):
    host, _ = lab.host()
    net = lab.net(host)
    a = net.attach("a", "tcp:80:0", "udp:80:0")
    for kind, port in ((socket.SOCK_STREAM, a.ports[0]), (socket.SOCK_DGRAM, a.ports[1])):
        for family in (socket.AF_INET, socket.AF_INET6):
            for reuse in (False, True):
                assert not binds(host, kind, port, family, reuse), f"{kind} {family} {reuse}"
    net.detach("a")
    assert binds(host, socket.SOCK_STREAM, a.ports[0]) and binds(host, socket.SOCK_DGRAM, a.ports[1])


def ports_are_held_anew_when_their_holder_died(lab):
    host, client = lab.host()
    net = lab.net(host)
    a = net.attach("a", "tcp:80:0", "udp:53:0")
    try:
        net.say("hold a")
    except Refused as e:
        assert e.errno == errno.EADDRINUSE, e
    else:
        raise AssertionError("held twice")
    net.say("drop a")  # the namespace lives on by our own descriptor
    assert binds(host, socket.SOCK_STREAM, a.ports[0])
    net.say("hold a")
    assert not binds(host, socket.SOCK_STREAM, a.ports[0]) and not binds(host, socket.SOCK_DGRAM, a.ports[1])
    assert lab.connects(client, lab.listen(a, 80), (HOST, a.ports[0])) == CLIENT
    assert net.say("hold none") == "absent"


def dynamic_ports_come_from_the_range_until_it_is_used_up(lab):
    host, _ = lab.host()
    net = lab.net(host, ports=(40000, 40009))
    lab.listen(host, 40004)
    got = [net.attach(f"t{i}", "tcp:80:0").ports[0] for i in range(9)]
    assert sorted(got) == [40000, 40001, 40002, 40003, 40005, 40006, 40007, 40008, 40009], got
    try:
        net.attach("more", "tcp:80:0")
    except Refused as e:
        assert e.errno == errno.EADDRINUSE and "no host port of 40000-40009/tcp is free" in str(e), e
    else:
        raise AssertionError("an eleventh port")
    net.detach("t4")
    assert net.attach("more", "tcp:80:0").ports == [got[4]]


def a_range_of_ports_is_one_row(lab):
    host, client = lab.host()
    net = lab.net(host, ports=(40000, 40999))
    lab.listen(host, 40500)
    a = net.attach("a", "tcp:8000-8199:0", "udp:8000-8299:0", "tcp:80:9000")
    b = net.attach("b", "tcp:8000-8199:0")
    for first, kind, count in ((a.ports[0], socket.SOCK_STREAM, 200), (a.ports[1], socket.SOCK_DGRAM, 300),
                               (b.ports[0], socket.SOCK_STREAM, 200)):
        assert 40000 <= first and first + count <= 41000, first
        assert not any(binds(host, kind, p) for p in range(first, first + count)), "not held"
    assert not set(range(a.ports[0], a.ports[0] + 200)) & set(range(b.ports[0], b.ports[0] + 200))
    assert len(elements(host, "ports")) == 701
    for n in (0, 1, 117, 199):
        for t in (a, b):
            tcp = lab.listen(t, 8000 + n)
            assert lab.connects(client, tcp, (HOST, t.ports[0] + n)) == CLIENT, n
        assert lab.sends(client, lab.udp(a, port=8000 + n), (HOST, a.ports[1] + n)) == CLIENT, n
    try:
        net.attach("c", "tcp:1-700:0")
    except Refused as e:
        assert e.errno == errno.EADDRINUSE and "700 contiguous host ports are unavailable" in str(e), e
    else:
        raise AssertionError("700 of 1000 with one in the middle taken")
    net.say("drop a")
    net.say("hold a")  # anew, as after a keeper's end
    assert not binds(host, socket.SOCK_STREAM, a.ports[0] + 199)
    net.end()
    again = lab.net(host, ports=(40000, 40999))
    assert again.find("a")["ports"] == f"{a.ports[0]}-{a.ports[0] + 199},{a.ports[1]}-{a.ports[1] + 299},9000"
    again.say("sweep a")
    assert len(elements(host, "ports")) == 501
    again.detach("a")
    assert elements(host, "ports") == []


def the_block_is_used_up_and_free_again(lab):
    host, _ = lab.host()
    net = lab.net(host, block="10.77.0.0/28")
    addresses = [net.attach(f"t{i}").address for i in range(13)]
    assert sorted(addresses) == sorted(f"10.77.0.{i}" for i in range(2, 15)), addresses
    try:
        net.attach("more")
    except Refused as e:
        assert e.errno == errno.EADDRNOTAVAIL and "no address of block 10.77.0.0/28 is left" in str(e), e
    else:
        raise AssertionError("a fourteenth address")
    net.detach("t3")
    assert until(lambda: attach_or_none(net, "more"), "the address that rested").address == addresses[3]


def attach_or_none(net, name):
    try:
        return net.attach(name)
    except Refused:
        return None


def an_address_rests(lab):
    host, _ = lab.host()
    net = lab.net(host)
    seen = set()
    for i in range(20):
        a = net.attach("a")
        assert a.address not in seen
        seen.add(a.address)
        net.detach("a")
    net.end()
    again = lab.net(host)
    assert again.attach("a").address not in seen, "the rest was forgotten at a restart"


def five_hundred_leave_nothing(lab):
    host, client = lab.host()
    net = lab.net(host)
    keep = net.attach("keep", "tcp:80:0")
    server = lab.listen(keep, 80)

    def picture():
        return (our_links(host), our_routes(host), elements(host, "ports"), elements(host, "hairpin"),
                sorted(os.listdir(net.dir + "/endpoints")), len(os.listdir(f"/proc/{net.pid}/fd")),
                host.run("ip neigh show nud permanent"))

    until(lambda: namespaces_held(net.pid) == MADE_AHEAD + 1, "its own, and those made ahead", 60)
    before = picture()
    for _ in range(10):
        for i in range(50):
            net.attach(f"t{i}", "tcp:80:0", "udp:53:0")
        for i in range(50):
            net.detach(f"t{i}")
    until(lambda: picture() == before, "what was there before", 60)
    assert lab.connects(client, server, (HOST, keep.ports[0])) == CLIENT


def two_berths_do_not_meet(lab):
    host, client = lab.host()
    one, two, three = lab.net(host), lab.net(host, "berth-00a001"), lab.net(host, "berth-00a002")
    a, b, c = one.attach("a", "tcp:80:0"), two.attach("a", "tcp:80:0"), three.attach("a", "tcp:80:0")
    blocks = {t.address.rsplit(".", 2)[0] for t in (a, b)} | {c.address}
    assert len(blocks) == 3 and len({a.gateway, b.gateway, c.gateway}) == 3
    servers = [lab.listen(t, 80) for t in (a, b, c)]
    for t, server in zip((a, b, c), servers):
        assert lab.connects(client, server, (HOST, t.ports[0])) == CLIENT
        assert lab.connects(host, server, ("127.0.0.1", t.ports[0]))
    assert lab.connects(a, servers[1], (HOST, b.ports[0])), "by the host's port"
    assert lab.held(a, servers[1], (b.address, 80)), "by its address"
    try:
        two.attach("b", f"tcp:80:{a.ports[0]}")
    except Refused as e:
        assert e.errno == errno.EADDRINUSE
    else:
        raise AssertionError("a port of the other's")
    one.say("destroy")
    assert lab.connects(client, servers[1], (HOST, b.ports[0])) == CLIENT
    assert our_links(host, "brt-") == [] and len(our_links(host, "brt00a001-")) == 1


def a_block_that_the_host_uses_is_refused_or_passed_over(lab):
    host, _ = lab.host()
    host.run("ip route add 172.28.64.0/20 via 10.99.0.2; ip addr add 172.29.3.1/24 dev up0")
    try:
        lab.net(host, block="172.28.0.0/16")
    except Refused as e:
        assert e.errno == errno.EADDRINUSE and "172.28.64.0/20" in str(e), e
    else:
        raise AssertionError("an overlapping block")
    assert lab.net(host).attach("a").address.startswith("172.30.")


def a_block_stays_over_restarts(lab):
    host, _ = lab.host()
    host.run("ip route add 172.28.64.0/20 via 10.99.0.2")
    net = lab.net(host)
    a = net.attach("a")
    net.end()
    host.run("ip route del 172.28.64.0/20")
    again = lab.net(host)
    again.say("sweep a")
    assert again.find("a")["address"] == a.address and a.address.startswith("172.29.")
    again.end()
    try:
        lab.net(host, block="10.77.0.0/24")
    except Refused as e:
        assert e.errno == errno.EBUSY and "is in use by 1 endpoints" in str(e), e
    else:
        raise AssertionError("the block was changed under an endpoint")
    last = lab.net(host)
    last.say("sweep")
    last.end()
    assert lab.net(host, block="10.77.0.0/24").attach("b").address == "10.77.0.2"
    assert "172.29" not in host.run("ip addr; ip route")


if __name__ == "__main__":
    check([everyone_reaches_a_task_by_its_ports, the_first_packet_to_a_new_task_is_not_lost, tasks_and_the_host_reach_tasks_by_address,
           tasks_reach_the_world_as_the_host, nobody_outside_reaches_a_task_by_its_address,
           a_task_cannot_reach_the_hosts_loopback, a_task_cannot_take_another_address,
           a_task_speaks_no_ipv6, ipv6_is_there_where_the_host_has_it,
           ipv6_stays_over_a_restart_and_goes, a_false_address_of_ipv6_is_dropped, none_has_a_loopback_only, a_port_in_use_is_refused_by_name,
           a_port_is_held_while_the_task_lives, ports_are_held_anew_when_their_holder_died,
           dynamic_ports_come_from_the_range_until_it_is_used_up,
           a_range_of_ports_is_one_row, the_block_is_used_up_and_free_again, an_address_rests, five_hundred_leave_nothing,
           two_berths_do_not_meet, a_block_that_the_host_uses_is_refused_or_passed_over,
           a_block_stays_over_restarts])
