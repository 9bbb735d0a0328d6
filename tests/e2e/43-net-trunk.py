#!/usr/bin/python3
# tests/e2e/43-net-trunk.py - tasks on a physical network with MACs of their own, untagged and in VLANs
# SPDX-License-Identifier: Apache-2.0
#
# A switch is a namespace with a bridge; to it go two hosts, a machine and a router
# with a world behind it. What needs VLANs is skipped where the kernel has none
# (43-net-vm.py has a kernel that does).

import json
import socket

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
    return lab.connects(source, server, (address, port), timeout=1.0)


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
    assert not may(lab, machine, own, a.address, 80) and not may(lab, a, server, "10.20.0.9", 80)  # no groups yet
    group(net, "sg-a", "in=tcp,80,80,10.20.0.9/32", "out=tcp,80,80,sg-b", members=[a.address])
    group(net, "sg-b", "in=tcp,80,80,sg-a", *[f"out={ALL}0.0.0.0/0"], members=[b.address])
    assert may(lab, machine, own, a.address, 80) and not may(lab, world, own, a.address, 80)
    assert may(lab, a, other, b.address, 80) == a.address and not may(lab, b, own, a.address, 80)
    assert not may(lab, a, server, "10.20.0.9", 80) and may(lab, b, server, "10.20.0.9", 80)
    assert not may(lab, machine, other, b.address, 80)
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
    assert not may(lab, machine, ssh, "10.99.0.1", 22)
    assert not may(lab, machine, lab.listen(b, 80), b.address, 80)
    # A task that gives itself another's address or MAC.
    own = lab.listen(machine, 80)
    a.run("ip addr add 10.20.0.77/32 dev eth0; ip route replace default via " + a.gateway + " src 10.20.0.77")
    assert not may(lab, a, own, "10.20.0.9", 80)
    a.run("ip addr del 10.20.0.77/32 dev eth0; ip route replace default via " + a.gateway)
    machine.run("ip neigh flush all")
    a.run("ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:01; ip link set eth0 up; "
          f"ip route replace {a.gateway} dev eth0; ip route replace default via {a.gateway}; "
          f"ip neigh replace {a.gateway} lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent")
    may(lab, a, own, "10.20.0.9", 80)
    assert mac_of(machine, "10.20.0.100") in (None, "0a:58:0a:14:00:64"), machine.run("ip neigh")


def served(place, lab, service, to, source=None):
    """Who asked there by UDP, as the service sees it, and is answered; None: nobody does."""
    asker = lab.udp(place, source or "0.0.0.0")
    asker.settimeout(1.0)
    service.settimeout(1.0)
    asker.sendto(b"who am I", (to, 53))
    try:
        _, seen = service.recvfrom(64)
        service.sendto(seen[0].encode(), seen)
        assert asker.recv(64).decode() == seen[0]
    except socket.timeout:
        return None
    return seen[0]


def services_of_the_host_know_who_asks(lab, vlan=0):
    _, (host,), machine, router, world = lan(lab, vlan)
    net = lab.net(host, options="trunk=eth1")
    place = net.attach("resolver", f"service={SERVICE}")
    a, b = on_trunk(net, "a", 100, vlan), on_trunk(net, "b", 101, vlan)
    group(net, "sg-a", "in=tcp,80,80,10.20.0.9/32", members=[a.address])  # nothing may leave
    group(net, "sg-b", *OPEN, members=[b.address])
    service, stream = lab.udp(place, port=53), lab.listen(place, 53)
    for task in (a, b):
        assert served(task, lab, service, SERVICE) == task.address
        assert may(lab, task, stream, SERVICE, 53) == task.address
    # By its link-local address only, where the limit counts, and not another one of these.
    plain = net.attach("plain")
    assert served(plain, lab, service, SERVICE) == plain.address
    for task in (a, b, plain):
        assert not served(task, lab, service, place.address), task.name
        assert not served(task, lab, service, "169.254.169.254"), task.name
    # Nobody on the network finds it, be it as one of the tasks.
    device = "lan" if vlan else "eth1"
    machine.run(f"ip route add {SERVICE}/32 via {a.address} dev {device}; ip route add {place.address}/32 via {a.address}")
    assert not served(machine, lab, service, SERVICE) and not served(machine, lab, service, place.address)
    machine.run(f"ip addr add {a.address}/32 dev lo")
    assert not served(machine, lab, service, SERVICE, a.address)
    # Nor does a task as another one.
    b.run(f"ip addr add {a.address}/32 dev eth0")
    assert not served(b, lab, service, SERVICE, a.address)
    assert served(a, lab, service, SERVICE) == a.address


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
    assert served(b, lab, lab.udp(place, port=53), SERVICE) == b.address


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
                           (net, ("own=10.20.0.7", "own=fd00::7", "vpc=fd00::/56", place), "none of IPv6"),
                           (net, ("own=10.20.0.7", "public=10.99.0.77", place), "no public one"),
                           (net, ("own=10.20.0.7", f"wire=4095,{SUBNET},{GATEWAY}"), "VLAN 4095")]:
        try:
            n.attach("a", *words, f"vpc={VPC}", mode="awsvpc")
        except Refused as e:
            assert says in str(e), e
        else:
            raise AssertionError(words)
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
             an_address_moves_to_another_host, what_is_taken_away_comes_back_and_what_is_left_goes]
    with netlab.Lab() as probe:
        vlans = has_vlans(probe)
    if not vlans:
        print("skip VLANs: this kernel has none; 43-net-vm.py has a kernel with them", flush=True)
    check(cases + ([in_vlan(c) for c in cases] if vlans else [without_vlans_the_error_says_so])
          + [wrong_places_are_refused_by_name])
