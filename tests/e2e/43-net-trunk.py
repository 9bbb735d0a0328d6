#!/usr/bin/python3
# tests/e2e/43-net-trunk.py - tasks on a physical network with MACs of their own, untagged and in VLANs
# SPDX-License-Identifier: Apache-2.0
#
# A switch is a namespace with a bridge; to it go two hosts, a machine and a router
# with a world behind it. What needs VLANs is skipped where the kernel has none
# (43-net-vm.py has a kernel that does).

import contextlib
import json
import socket
import sys

import netlab
from netlab import Net, Refused, check, elements, our_links, until

VPC, SUBNET, GATEWAY = "10.20.0.0/16", "10.20.0.0/24", "10.20.0.1"
SERVICE = "169.254.169.253"
ALL = "-1,-1,-1,"
OPEN = [f"in={ALL}0.0.0.0/0", f"out={ALL}0.0.0.0/0"]


def has_vlans(lab):
    place = lab.namespace("try")
    place.run("ip link add name v0 type veth peer name v1")
    return "No" not in place.run("ip link add link v0 name v7 type vlan id 7 2>&1 || echo No", check=False)


def lan(lab, vlan=0, count=1):
    """The switch's places: hosts with eth1 in it, a machine 10.20.0.9, a router, and who is behind it."""
    switch = lab.namespace("switch")
    switch.run("ip link add br0 type bridge; ip link set br0 up")

    def plug(place, port, name="eth1"):
        place.run(f"ip link add {name} type veth peer name {port} netns {switch.process.pid}; ip link set {name} up")
        switch.run(f"ip link set {port} master br0; ip link set {port} up")

    def address(place, text, port):
        plug(place, port)
        if vlan:
            place.run(f"ip link add link eth1 name lan type vlan id {vlan}; ip link set lan up; ip addr add {text} dev lan")
        else:
            place.run(f"ip addr add {text} dev eth1")
    hosts = [lab.host(f"host{i}")[0] for i in range(count)]
    for i, h in enumerate(hosts):
        plug(h, f"h{i}")
    machine, router, world = (lab.namespace(n) for n in ("machine", "router", "world"))
    address(machine, "10.20.0.9/24", "pm")
    address(router, GATEWAY + "/24", "pr")
    lab.wire(router, "up1", "192.0.2.1/24", world, "up1", "192.0.2.2/24")
    router.run("sysctl -qw net.ipv4.ip_forward=1")
    machine.run(f"ip route add default via {GATEWAY}")
    world.run("ip route add default via 192.0.2.1")
    until(lambda: switch.run("bridge link").count("forwarding") == count + 2, "the switch's ports")
    for h in hosts:  # a host that is strict about where packets come from
        h.run("sysctl -qw net.ipv4.conf.all.rp_filter=1")
    return switch, hosts, machine, router, world


def on_trunk(net, name, number, vlan=0):
    return net.attach(name, f"own=10.20.0.{number}", f"vpc={VPC}", f"wire={vlan},{SUBNET},{GATEWAY}", mode="awsvpc")


def group(net, name, *rules, members=()):
    net.say(f"group {name} {' '.join(rules)} {' '.join('joined=' + m for m in members)}")
    net.say("commit")


def mac_of(place, address):
    words = place.run(f"ip neigh show {address}").split()
    return words[words.index("lladdr") + 1] if "lladdr" in words else None


def may(lab, source, server, address, port):
    return lab.connects(source, server, (address, port))


def held(lab, source, server, address, port):
    return lab.held(source, server, (address, port))


def a_task_stands_on_the_network(lab, vlan=0):
    _, (host,), machine, router, world = lan(lab, vlan)
    net = lab.net(host, options="trunk=eth1")
    task = on_trunk(net, "a", 100, vlan)
    group(net, "sg-a", *OPEN, members=[task.address])
    server, away, own = lab.listen(machine, 80), lab.listen(world, 80), lab.listen(task, 80)
    # Under its own address, to the network and, by the network's router, to the world.
    assert may(lab, task, server, "10.20.0.9", 80) == "10.20.0.100"
    assert may(lab, task, away, "192.0.2.2", 80) == "10.20.0.100"
    assert may(lab, machine, own, "10.20.0.100", 80) == "10.20.0.9"
    assert may(lab, world, own, "10.20.0.100", 80) == "192.0.2.2"
    for place in (machine, router):  # and under its own MAC
        assert mac_of(place, "10.20.0.100") == "0a:58:0a:14:00:64", place.run("ip neigh")
    machine.run("ip neigh flush all")
    assert may(lab, machine, own, "10.20.0.100", 80) and mac_of(machine, "10.20.0.100") == "0a:58:0a:14:00:64"
    assert may(lab, host, own, "10.20.0.100", 80)  # a macvlan would not be
    net.say("destroy")
    left = host.run("ip rule; ip neigh show proxy; ip route show table all; ip -br link; nft list tables; bridge fdb show dev eth1")
    for word in ("10.20.0", "proto 190", "brl", "netdev", "0a:58"):
        assert word not in left, (word, left)


def groups_hold_on_the_network_too(lab, vlan=0):
    _, (host,), machine, router, world = lan(lab, vlan)
    net = lab.net(host, options="trunk=eth1")
    a, b, plain = on_trunk(net, "a", 100, vlan), on_trunk(net, "b", 101, vlan), net.attach("plain")
    server, own, other = lab.listen(machine, 80), lab.listen(a, 80), lab.listen(b, 80)
    assert held(lab, machine, own, a.address, 80) and held(lab, a, server, "10.20.0.9", 80)  # no groups yet
    group(net, "sg-a", "in=tcp,80,80,10.20.0.9/32", "out=tcp,80,80,sg-b", members=[a.address])
    group(net, "sg-b", "in=tcp,80,80,sg-a", *[f"out={ALL}0.0.0.0/0"], members=[b.address])
    assert may(lab, machine, own, a.address, 80) and held(lab, world, own, a.address, 80)
    assert may(lab, a, other, b.address, 80) == a.address and held(lab, b, own, a.address, 80)
    assert held(lab, a, server, "10.20.0.9", 80) and may(lab, b, server, "10.20.0.9", 80)
    assert held(lab, machine, other, b.address, 80)
    group(net, "sg-a", *OPEN, members=[a.address])
    assert may(lab, plain, own, a.address, 80)  # a task of the host's own block is reached and answered as ever


def nobody_reaches_the_host_or_is_another(lab, vlan=0):
    _, (host,), machine, router, world = lan(lab, vlan)
    net = lab.net(host, options="trunk=eth1")
    a, b = on_trunk(net, "a", 100, vlan), on_trunk(net, "b", 101, vlan)
    group(net, "sg-a", *OPEN, members=[a.address, b.address])
    ssh = lab.listen(host, 22)
    # Frames for a task's MAC with the host's address, or another task's, in them.
    assert may(lab, machine, lab.listen(a, 80), a.address, 80)
    device = "lan" if vlan else "eth1"
    machine.run(f"ip route add 10.99.0.1/32 via 10.20.0.100 dev {device}; "
                f"ip neigh replace 10.20.0.101 lladdr 0a:58:0a:14:00:64 dev {device}")
    assert held(lab, machine, ssh, "10.99.0.1", 22)
    assert held(lab, machine, lab.listen(b, 80), b.address, 80)
    # A task that gives itself another's address or MAC.
    own = lab.listen(machine, 80)
    a.run("ip addr add 10.20.0.77/32 dev eth0; ip route replace default via " + a.gateway + " src 10.20.0.77")
    assert held(lab, a, own, "10.20.0.9", 80)
    a.run("ip addr del 10.20.0.77/32 dev eth0; ip route replace default via " + a.gateway)
    machine.run("ip neigh flush all")
    a.run("ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:01; ip link set eth0 up; "
          f"ip route replace {a.gateway} dev eth0; ip route replace default via {a.gateway}; "
          f"ip neigh replace {a.gateway} lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent")
    held(lab, a, own, "10.20.0.9", 80)
    assert mac_of(machine, "10.20.0.100") in (None, "0a:58:0a:14:00:64"), machine.run("ip neigh")


def unserved(place, lab, service, to, source=None):
    """Nobody who asks there is seen by the service."""
    lab.udp(place, source or "0.0.0.0").sendto(b"who am I", (to, 53))
    with contextlib.suppress(socket.timeout):
        service.recvfrom(64)
        return False
    return True


def services_of_the_host_know_who_asks(lab, vlan=0):
    _, (host,), machine, router, world = lan(lab, vlan)
    net = lab.net(host, options="trunk=eth1")
    place = net.attach("resolver", f"service={SERVICE}")
    a, b = on_trunk(net, "a", 100, vlan), on_trunk(net, "b", 101, vlan)
    group(net, "sg-a", "in=tcp,80,80,10.20.0.9/32", members=[a.address])  # nothing may leave
    group(net, "sg-b", *OPEN, members=[b.address])
    service, stream = lab.udp(place, port=53), lab.listen(place, 53)
    for task in (a, b):
        assert lab.sends(task, service, (SERVICE, 53)) == task.address
        assert may(lab, task, stream, SERVICE, 53) == task.address
    # By its link-local address only, where the limit counts, and not another one of these.
    plain = net.attach("plain")
    assert lab.sends(plain, service, (SERVICE, 53)) == plain.address
    for task in (a, b, plain):
        assert unserved(task, lab, service, place.address), task.name
        assert unserved(task, lab, service, "169.254.169.254"), task.name
    # Nobody on the network finds it, be it as one of the tasks.
    device = "lan" if vlan else "eth1"
    machine.run(f"ip route add {SERVICE}/32 via {a.address} dev {device}; ip route add {place.address}/32 via {a.address}")
    assert unserved(machine, lab, service, SERVICE) and unserved(machine, lab, service, place.address)
    machine.run(f"ip addr add {a.address}/32 dev lo")
    assert unserved(machine, lab, service, SERVICE, a.address)
    # Nor does a task as another one.
    b.run(f"ip addr add {a.address}/32 dev eth0")
    assert unserved(b, lab, service, SERVICE, a.address)
    assert lab.sends(a, service, (SERVICE, 53)) == a.address


def who_asks_services_too_often_is_held_back(lab, vlan=0):
    _, (host,), machine, router, world = lan(lab, vlan)
    net = lab.net(host, options="trunk=eth1")
    place = net.attach("resolver", f"service={SERVICE}")
    a, b = on_trunk(net, "a", 100, vlan), on_trunk(net, "b", 101, vlan)
    group(net, "sg", *OPEN, members=[a.address, b.address])
    service, greedy = lab.udp(place, port=53), lab.udp(a)

    def seen():
        return json.loads(host.run(f"ip -s -j link show {place.link}"))[0]["stats64"]["tx"]["packets"]
    before = seen()
    for _ in range(20000):
        greedy.sendto(b"?", (SERVICE, 53))
    assert a.link in host.run("nft list set inet berth askers") and seen() - before < 18000
    service.close()
    assert lab.sends(b, lab.udp(place, port=53), (SERVICE, 53)) == b.address


VPC6, SUBNET6, GATEWAY6 = "fd00:20::/56", "fd00:20::/64", "fd00:20::1"
OPEN6 = OPEN + [f"in={ALL}::/0", f"out={ALL}::/0"]


def lan6(lab, vlan=0, count=1):
    """The same with IPv6: a machine fd00:20::9, a router fd00:20::1, who is behind it fd00:99::2."""
    switch, hosts, machine, router, world = places = lan(lab, vlan, count)
    device = "lan" if vlan else "eth1"
    machine.run(f"ip addr add fd00:20::9/64 dev {device} nodad; ip route add default via {GATEWAY6}")
    router.run(f"ip addr add {GATEWAY6}/64 dev {device} nodad; ip addr add fd00:99::1/64 dev up1 nodad; "
               "sysctl -qw net.ipv6.conf.all.forwarding=1")
    world.run("ip addr add fd00:99::2/64 dev up1 nodad; ip route add default via fd00:99::1")
    for place in hosts + [machine, router]:  # its link-local address is asked for by then
        until(lambda: "tentative" not in place.run("ip -6 addr"), "addresses")
    return places


def on_trunk6(net, name, number, vlan=0, alone=False):
    own = [] if alone else [f"own=10.20.0.{number}", f"vpc={VPC}", f"wire={vlan},{SUBNET},{GATEWAY}"]
    return net.attach(name, *own, f"own=fd00:20::{number:x}", f"vpc={VPC6}", f"wire={vlan},{SUBNET6},{GATEWAY6}", mode="awsvpc")


def tasks_stand_on_the_network_by_ipv6(lab, vlan=0):
    _, (host,), machine, router, world = lan6(lab, vlan)
    device = "lan" if vlan else "eth1"
    net = lab.net(host, options="trunk=eth1")
    both, alone = on_trunk6(net, "a", 100, vlan), on_trunk6(net, "b", 101, vlan, alone=True)
    members = [both.address, both.address6, alone.address6]
    server, away = lab.listen(machine, 80, "::"), lab.listen(world, 80, "::")
    owns = {t: lab.listen(t, 80, "::") for t in (both, alone)}
    host.run("ip addr add fd98::1/128 dev lo")
    for task in owns:  # no groups yet
        assert held(lab, task, server, "fd00:20::9", 80) and held(lab, machine, owns[task], task.address6, 80)
    group(net, "sg-a", *OPEN6, members=members)
    for task, own in owns.items():
        mac = "0a:58:0a:14:00:64" if task is both else "0a:59:00:00:00:65"
        assert may(lab, task, server, "fd00:20::9", 80) == task.address6
        assert may(lab, task, away, "fd00:99::2", 80) == task.address6
        assert may(lab, machine, own, task.address6, 80) == "fd00:20::9"
        assert may(lab, world, own, task.address6, 80) == "fd00:99::2"
        for place in (machine, router):
            assert mac_of(place, task.address6) == mac, place.run("ip neigh")
        # Who knows it asks it alone whether it is still there; who does not asks all.
        machine.run(f"ip neigh change {task.address6} lladdr {mac} dev {device} nud probe")
        until(lambda: "REACHABLE" in machine.run(f"ip neigh show {task.address6}"), "an answer")
        machine.run("ip neigh flush all")
        assert may(lab, machine, own, task.address6, 80) and mac_of(machine, task.address6) == mac
        assert "router" not in machine.run(f"ip neigh show {task.address6}")
        assert may(lab, host, own, task.address6, 80)
        assert mac in task.run("ip link show eth0")
    # Nobody else can take the address: it is defended.
    machine.run(f"ip addr add {both.address6}/64 dev {device}")
    until(lambda: "dadfailed" in machine.run(f"ip addr show dev {device}"), "it is somebody's")
    assert may(lab, both, owns[alone], alone.address6, 80) and may(lab, both, lab.listen(machine, 81), "10.20.0.9", 81)
    net.say("destroy")
    left = host.run("ip -6 rule; ip -6 neigh show proxy; ip -6 route show table all; ip -br link; nft list tables; bridge fdb show dev eth1")
    for word in ("fd00:20", "proto 190", "brl", "netdev", "0a:58", "0a:59"):
        assert word not in left, (word, left)


def groups_hold_on_the_network_by_ipv6_too(lab, vlan=0):
    _, (host,), machine, router, world = lan6(lab, vlan)
    net = lab.net(host, options="trunk=eth1")
    a, b = on_trunk6(net, "a", 100, vlan), on_trunk6(net, "b", 101, vlan, alone=True)
    server, own, other = lab.listen(machine, 80, "::"), lab.listen(a, 80, "::"), lab.listen(b, 80, "::")
    group(net, "sg-a", "in=tcp,80,80,fd00:20::9/128", "out=tcp,80,80,sg-b", members=[a.address, a.address6])
    group(net, "sg-b", "in=tcp,80,80,sg-a", f"out={ALL}::/0", members=[b.address6])
    assert may(lab, machine, own, a.address6, 80) and held(lab, world, own, a.address6, 80)
    assert may(lab, a, other, b.address6, 80) == a.address6 and held(lab, b, own, a.address6, 80)
    assert held(lab, a, server, "fd00:20::9", 80) and may(lab, b, server, "fd00:20::9", 80)
    assert held(lab, machine, other, b.address6, 80)
    place = net.attach("resolver", f"service={SERVICE}", "service=fd00:ec2::253")
    v6, v4 = lab.listen(place, 53, place.address6), lab.listen(place, 53, place.address)
    for task in (a, b):
        assert may(lab, task, v6, "fd00:ec2::253", 53) == task.address6
        assert may(lab, task, v4, SERVICE, 53) == task.source
    machine.run(f"ip route add fd00:ec2::253/128 via {a.address6}; ip route add {place.address6}/128 via {a.address6}")
    assert held(lab, machine, v6, "fd00:ec2::253", 53) and held(lab, machine, v6, place.address6, 53)


SAYS = """
import socket, struct, sys
target, to, mac, limit, kind = sys.argv[1:6]
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, int(limit))
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, int(limit))
body = struct.pack("!BBHI", int(kind), 0, 0, 0xe0000000) + socket.inet_pton(socket.AF_INET6, target)
s.sendto(body + bytes([2, 1]) + bytes.fromhex(mac.replace(":", "")), (to, 0, 0, int(sys.argv[6])))
"""


def says(place, *words):
    place.run(f"{sys.executable} -c '{SAYS}' {' '.join(map(str, words))}")


def no_task_and_no_neighbour_is_another_by_ipv6(lab, vlan=0):
    _, (host,), machine, router, world = lan6(lab, vlan)
    device = "lan" if vlan else "eth1"
    net = lab.net(host, options="trunk=eth1")
    a, b = on_trunk6(net, "a", 100, vlan), on_trunk6(net, "b", 101, vlan)
    group(net, "sg-a", *OPEN6, members=[a.address, b.address, a.address6, b.address6])
    host.run("ip addr add fd98::1/128 dev lo")
    ssh, own = lab.listen(host, 22, "::"), lab.listen(machine, 80, "::")
    # Frames for a task's MAC with the host's address, or another task's, in them.
    assert may(lab, machine, lab.listen(a, 80, "::"), a.address6, 80)
    mac = mac_of(machine, a.address6)
    machine.run(f"ip route add fd98::1/128 via {a.address6} dev {device}; ip neigh replace {b.address6} lladdr {mac} dev {device}")
    assert held(lab, machine, ssh, "fd98::1", 22)
    assert held(lab, machine, lab.listen(b, 80, "::"), b.address6, 80)
    # A task that gives itself another's address.
    for address in ("fd00:20::77", b.address6):
        a.run(f"ip addr add {address}/128 dev eth0 nodad; ip -6 route replace default via fe80::1 dev eth0 src {address}")
        assert held(lab, a, own, "fd00:20::9", 80), address
        a.run(f"ip addr del {address}/128 dev eth0; ip -6 route replace default via fe80::1 dev eth0")
    assert may(lab, a, own, "fd00:20::9", 80) == a.address6
    # A task that tells a neighbour, or all, that it is the router, or advises as one.
    assert may(lab, machine, lab.listen(world, 80, "::"), "fd00:99::2", 80)
    right = mac_of(machine, GATEWAY6)
    for limit in (255, 64):
        for to in ("fd00:20::9", "ff02::1", machine_address(machine, device)):
            for kind in (136, 134, 135):
                for target in (GATEWAY6, b.address6):
                    says(a, target, to, mac, limit, kind, 64)
    assert may(lab, machine, lab.listen(world, 81, "::"), "fd00:99::2", 81)
    assert mac_of(machine, GATEWAY6) == right and mac_of(machine, b.address6) == mac  # as it was put there
    if not vlan:
        return
    # The host is there to find neighbours, and for nothing else.
    link = host.run(f"ip -6 addr show dev brl-{vlan:03x}").split()
    lan_local = link[link.index("inet6") + 1].split("/")[0]
    assert lan_local.startswith("fe80"), link
    index = json.loads(machine.run(f"ip -j link show {device}"))[0]["ifindex"]
    with netlab.inside(machine.fd):
        s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    s.settimeout(1.0)
    try:
        s.connect((lan_local, 22, 0, index))
        raise AssertionError("the host answers there")
    except OSError:
        s.close()
    before = host.run("ip -6 route; ip -6 addr")
    machine.run("sysctl -qw net.ipv6.conf.all.forwarding=1")
    says(machine, GATEWAY6, "ff02::1", mac, 255, 134, index)
    assert host.run("ip -6 route; ip -6 addr") == before


def machine_address(place, device):
    words = place.run(f"ip -6 addr show dev {device} scope link").split()
    return words[words.index("inet6") + 1].split("/")[0]


def an_address_of_ipv6_moves_and_comes_back(lab, vlan=0):
    switch, hosts, machine, router, world = lan6(lab, vlan, 2)
    nets = [lab.net(h, options="trunk=eth1") for h in hosts]
    away = lab.listen(world, 80, "::")
    place_of = "bridge fdb show | grep -i 0a:59:00:00:00:64 | grep -o 'dev [a-z0-9]*' | sort -u"
    for i in (0, 1, 0):
        task = on_trunk6(nets[i], "a", 100, vlan, alone=True)
        group(nets[i], "sg-a", *OPEN6, members=[task.address6])
        until(lambda: switch.run(place_of).split() == ["dev", f"h{i}"], "the switch knows")
        assert may(lab, machine, lab.listen(task, 80, "::"), task.address6, 80), i
        if i:
            nets[i].detach("a")
            nets[i].say("ungroup sg-a")
            continue
        host, net = hosts[i], nets[i]
        own = lab.listen(task, 81, "::")
        for damage in ("nft delete table netdev berth", "nft flush ruleset", "ip -6 rule flush; ip -6 rule add pref 32766 table main",
                       "ip -6 route flush table 2147483648", f"ip -6 neigh del proxy {task.address6} dev {'brl-02a' if vlan else 'eth1'}",
                       *(["ip link del brl-02a", "sysctl -qw net.ipv6.conf.brl-02a.disable_ipv6=1"] if vlan else [])):
            host.run(damage)
            net.say("sweep a")
            machine.run("ip neigh flush all")
            assert may(lab, machine, own, task.address6, 81), damage
            assert may(lab, task, away, "fd00:99::2", 80) == task.address6, damage
        nets[i].detach("a")
        nets[i].say("ungroup sg-a")
        nets[i].say("sweep")
        left = host.run("ip -6 rule; ip -6 neigh show proxy; ip -6 route show table all; bridge fdb show dev eth1; ip -br link")
        for word in ("fd00:20", "brl", "0a:59"):
            assert word not in left, (word, left)


def an_address_moves_to_another_host(lab, vlan=0):
    switch, (first, second), machine, router, world = lan(lab, vlan, 2)
    nets = [lab.net(h, options="trunk=eth1") for h in (first, second)]
    place_of = "bridge fdb show | grep -i 0a:58:0a:14:00:64 | grep -o 'dev [a-z0-9]*' | sort -u"
    for i in (0, 1, 0):
        task = on_trunk(nets[i], "a", 100, vlan)
        group(nets[i], "sg-a", *OPEN, members=[task.address])
        # The switch has heard where it is now before anybody talks to it.
        until(lambda: switch.run(place_of).split() == ["dev", f"h{i}"], "the switch knows")
        assert may(lab, machine, lab.listen(task, 80), task.address, 80), i
        nets[i].detach("a")
        nets[i].say("ungroup sg-a")


def what_is_taken_away_comes_back_and_what_is_left_goes(lab, vlan=0):
    _, (host,), machine, router, world = lan(lab, vlan)
    net = lab.net(host, options="trunk=eth1")
    a, b = on_trunk(net, "a", 100, vlan), on_trunk(net, "b", 101, vlan)
    group(net, "sg-a", *OPEN, members=[a.address, b.address])
    own, away = lab.listen(a, 80), lab.listen(world, 80)

    def whole():
        machine.run("ip neigh flush all")
        return may(lab, machine, own, a.address, 80) and may(lab, a, away, "192.0.2.2", 80)
    assert whole()
    damages = ["nft delete table netdev berth", "nft flush ruleset", "ip rule flush; ip rule add pref 32766 table main",
               "ip route flush table 169082880", f"ip neigh del proxy {a.address} dev {'brl-02a' if vlan else 'eth1'}"]
    for damage in damages + (["ip link del brl-02a"] if vlan else []):
        host.run(damage)
        net.say("sweep a b")
        assert whole(), damage
    net.end()  # killed, and one of them ends meanwhile
    assert whole()
    b.close()
    again = Net(lab, host, opened=False)
    again.say(f"open berth {net.dir} - trunk=eth1")
    again.say("sweep a")
    group(again, "sg-a", *OPEN, members=[a.address])
    assert whole() and "10.20.0.101" not in host.run("ip neigh show proxy; nft list table netdev berth")
    a.close()
    again.say("sweep")
    left = host.run("ip rule; ip neigh show proxy; ip route show table all; ip -br link; nft list tables; bridge fdb show dev eth1")
    for word in ("10.20.0", "brl", "netdev", "0a:58"):
        assert word not in left, (word, left)


def wrong_places_are_refused_by_name(lab):
    _, (host,), machine, router, world = lan(lab)
    nowhere = lab.net(lab.host("other")[0])
    gone = lab.net(lab.host("third")[0], options="trunk=eth7")
    net = lab.net(host, options="trunk=eth1")
    place = f"wire=0,{SUBNET},{GATEWAY}"
    for n, words, says in [(nowhere, ("own=10.20.0.7", place), "no trunk to it"),
                           (gone, ("own=10.20.0.7", place), "there is no link eth7"),
                           (net, ("own=10.20.1.7", place), "not in its subnet on the trunk"),
                           (net, ("own=10.20.0.7", "own=fd00::7", "vpc=fd00::/56", place), "not in its subnet on the trunk"),
                           (net, ("own=fd00:20::7", "vpc=fd00:20::/56", place), "not in its subnet on the trunk"),
                           (net, ("own=fd00:21::7", "vpc=fd00:21::/56", "wire=0,fd00:20::/64,fd00:20::1"), "not in its subnet"),
                           (net, ("own=10.20.0.7", "public=10.99.0.77", place), "no public one"),
                           (net, ("own=10.20.0.7", f"wire=4095,{SUBNET},{GATEWAY}"), "VLAN 4095")]:
        try:
            n.attach("a", *words, f"vpc={VPC}", mode="awsvpc")
        except Refused as e:
            assert says in str(e), e
        else:
            raise AssertionError(words)
    host.run("sysctl -qw net.ipv6.conf.eth1.disable_ipv6=1")
    try:
        on_trunk6(net, "a", 100)
    except Refused as e:
        assert "IPv6 is off there (net.ipv6.conf.eth1.disable_ipv6)" in str(e), e
    else:
        raise AssertionError("nobody would find it")
    until(lambda: our_links(host) == [], "its link is gone")
    on_trunk(net, "a", 100)
    try:
        net.attach("b", "own=10.20.9.5", f"vpc={VPC}", mode="awsvpc")
    except Refused as e:
        assert "is the gateway of VLAN 0" in str(e), e
    else:
        raise AssertionError("the router's address was taken")
    assert our_links(host) and elements(host, "trunked") == ["10.20.0.100"]


def without_vlans_the_error_says_so(lab):
    _, (host,), machine, router, world = lan(lab)
    net = lab.net(host, options="trunk=eth1")
    try:
        on_trunk(net, "a", 100, 42)
    except Refused as e:
        assert "this kernel has no VLANs (8021q)" in str(e), e
    else:
        raise AssertionError("there are some")
    until(lambda: our_links(host) == [], "its link is gone")
    net.say("sweep")
    assert "10.20.0" not in host.run("ip rule; ip neigh show proxy; ip route")


def in_vlan(case):
    def run(lab):
        case(lab, 42)
    run.__name__ = case.__name__ + "_in_a_VLAN"
    return run


if __name__ == "__main__":
    cases = [a_task_stands_on_the_network, groups_hold_on_the_network_too, nobody_reaches_the_host_or_is_another,
             services_of_the_host_know_who_asks, who_asks_services_too_often_is_held_back,
             tasks_stand_on_the_network_by_ipv6, groups_hold_on_the_network_by_ipv6_too,
             no_task_and_no_neighbour_is_another_by_ipv6, an_address_of_ipv6_moves_and_comes_back,
             an_address_moves_to_another_host, what_is_taken_away_comes_back_and_what_is_left_goes]
    with netlab.Lab() as probe:
        vlans = has_vlans(probe)
    if not vlans:
        print("skip VLANs: this kernel has none; 43-net-vm.py has a kernel with them", flush=True)
    check(cases + ([in_vlan(c) for c in cases] if vlans else [without_vlans_the_error_says_so])
          + [wrong_places_are_refused_by_name])
