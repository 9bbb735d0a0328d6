#!/usr/bin/env python3
# tests/e2e/40-net-host.py - beside others on a host: forwarding, firewalls, flows, repairs
# SPDX-License-Identifier: Apache-2.0

import shutil
import socket
import struct

from netlab import SILENCE, Refused, check, elements, inside, our_links, our_routes, until

HOST, CLIENT = "10.99.0.1", "10.99.0.2"
TABLE_TEXT = "nft -s -t list table inet berth || true"


def forwarding6(host):
    return host.run("cat /proc/sys/net/ipv6/conf/all/forwarding").strip()


def forwarding(host):
    return host.run("cat /proc/sys/net/ipv4/ip_forward").strip()


def two_sides(lab):
    """A host between two clients, forwarding off."""
    host, client = lab.host()
    other = lab.namespace("other")
    lab.wire(host, "up1", "10.98.0.1/24", other, "up0", "10.98.0.2/24")
    other.run("ip route add default via 10.98.0.1")
    host.run("sysctl -qw net.ipv4.ip_forward=0")
    return host, client, other


def a_host_does_not_become_a_router(lab):
    host, client, other = two_sides(lab)
    server = lab.udp(other, port=53)
    net = lab.net(host)
    a = net.attach("a", "tcp:80:0")
    web = lab.listen(a, 80)
    assert forwarding(host) == "1"
    assert lab.sends(client, server, ("10.98.0.2", 53), timeout=SILENCE) is None, "between the clients"
    assert lab.sends(a, server, ("10.98.0.2", 53)) == "10.98.0.1"
    for place in (client, other):
        assert lab.connects(place, web, (HOST, a.ports[0]))

    # A link that comes later is its maker's business.
    late = lab.namespace("late")
    lab.wire(host, "late0", "10.97.0.1/24", late, "up0", "10.97.0.2/24")
    late.run("ip route add default via 10.97.0.1")
    assert lab.sends(late, server, ("10.98.0.2", 53)) == "10.97.0.2"
    net.end()
    again = lab.net(host)
    again.say("sweep a")
    assert lab.sends(client, server, ("10.98.0.2", 53), timeout=SILENCE) is None, "after a restart"
    host.run("ip link del late0")
    again.say("destroy")
    assert forwarding(host) == "0"


def forwarding_that_was_on_stays(lab):
    host, client, other = two_sides(lab)
    host.run("sysctl -qw net.ipv4.ip_forward=1")
    server = lab.udp(other, port=53)
    net = lab.net(host)
    assert lab.sends(client, server, ("10.98.0.2", 53)) == CLIENT
    net.say("destroy")
    assert forwarding(host) == "1"


def forwarding_stays_on_for_who_came_later(lab):
    host, _, _ = two_sides(lab)
    net = lab.net(host)
    host.run("ip link add later0 type veth peer name later1")
    net.say("destroy")
    assert forwarding(host) == "1"


def advertise(client, lifetime_s):
    """A router advertisement (RFC 4861, 4.2) to all on the link."""
    with inside(client.fd):
        s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        with s:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            s.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, lifetime_s, 0, 0),
                     ("ff02::1", 0, 0, socket.if_nametoindex("up0")))


def the_way_out_that_a_router_told_of_stays(lab):
    host, client = lab.host()
    for place in (host, client):
        until(lambda: "fe80" in place.run("ip -6 addr show up0 scope link") and "tentative" not in place.run("ip -6 addr"),
              "link-local addresses")
    host.run("ip -6 addr add fd99::1/64 dev up0 nodad")
    route = "ip -6 route show default"
    until(lambda: advertise(client, 1800) or "proto ra" in host.run(route), "a default route")
    net = lab.net(host)
    assert forwarding6(host) == "0"
    net.attach("a")
    assert forwarding6(host) == "1"
    assert "proto ra" in host.run(route), host.run("ip -6 route")
    # It goes on to be heeded: it goes when the router says so, and comes again.
    until(lambda: advertise(client, 0) or "proto ra" not in host.run(route), "the router resigned")
    until(lambda: advertise(client, 1800) or "proto ra" in host.run(route), "the router is back")
    # A link that comes later heeds routers as well, and what others set back is set again.
    host.run("ip link add later type veth peer name other")
    accepts = "cat /proc/sys/net/ipv6/conf/{}/accept_ra"
    assert host.run(accepts.format("later")) == "2\n"
    host.run("echo 1 >/proc/sys/net/ipv6/conf/up0/accept_ra")
    net.say("sweep a")
    assert host.run(accepts.format("up0")) == "2\n"
    host.run("ip link del later")
    net.say("destroy")
    assert forwarding6(host) == "0" and host.run(accepts.format("up0")) == "1\n" and "proto ra" in host.run(route)


def forwarding_of_ipv6_can_be_left_alone(lab):
    host, _ = lab.host6()
    net = lab.net(host, options="ipv6-forwarding=no")
    assert net.attach("a").address6 == "" and forwarding6(host) == "0"
    try:
        net.attach("b", "own=fd00:7::2", "vpc=fd00:7::/56", mode="awsvpc")
    except Refused as e:
        assert "ipv6-forwarding" in str(e), e
    else:
        raise AssertionError("it was given an address")
    host.run("sysctl -qw net.ipv6.conf.all.forwarding=1")
    net.say("sweep a")
    assert net.attach("c").address6 != ""


def a_firewall_that_drops_is_named(lab):
    host, client = lab.host()
    net = lab.net(host)
    a = net.attach("a", "tcp:80:0")
    server = lab.listen(a, 80)
    assert net.say("warnings") == ""
    host.run("nft add table inet strict; nft 'add chain inet strict drops { type filter hook forward priority 0; "
             "policy drop; }'")
    said = net.say("warnings")
    assert "chain drops of nftables table inet strict" in said and "brt-*" in said, said
    assert lab.held(client, server, (HOST, a.ports[0]))
    host.run("nft 'add rule inet strict drops iifname \"brt-*\" accept';"
             "nft 'add rule inet strict drops oifname \"brt-*\" accept'")
    assert lab.connects(client, server, (HOST, a.ports[0])) == CLIENT
    host.run("nft delete table inet strict")
    assert net.say("warnings") == ""


def iptables_policies_are_seen(lab):
    host, _ = lab.host()
    net = lab.net(host)
    for tool, words in (("iptables-nft", "chain FORWARD of nftables table ip filter"),
                        ("iptables-legacy", "chain FORWARD of iptables-legacy")):
        if not shutil.which(tool):
            continue
        host.run(f"{tool} -P FORWARD DROP")
        said = net.say("warnings")
        assert words in said, f"{tool}: {said}"
        host.run(f"{tool} -P FORWARD ACCEPT")
        assert net.say("warnings") == "", tool


def other_tables_are_left_alone(lab):
    host, _ = lab.host()
    host.run("nft add table ip theirs; nft 'add chain ip theirs c { type filter hook input priority 0; }';"
             "nft 'add rule ip theirs c tcp dport 22 counter accept'; nft add table inet berth2")
    before = host.run("nft list ruleset")
    net = lab.net(host)
    net.attach("a", "tcp:80:0")
    net.say("sweep a")
    net.say("destroy")
    assert host.run("nft list ruleset") == before
    assert our_links(host) == [] and our_routes(host) == []
    assert "172.28" not in host.run("ip addr; ip route")


def flush_everything(host):
    host.run("nft flush ruleset")


def drop_a_rule(host):
    handle = [l for l in host.run("nft -a list chain inet berth forward").split("\n") if "answers" in l]
    host.run(f"nft delete rule inet berth forward handle {handle[0].split()[-1]}")


def drop_elements(host):
    host.run("nft flush map inet berth ports; nft flush set inet berth hairpin")


def add_elements(host):
    host.run("nft 'add element inet berth ports { tcp . 9 : 172.28.0.200 . 9 }';"
             "nft 'add element inet berth hairpin { 1.2.3.4 . 1.2.3.4 }'")


def lead_a_port_elsewhere(host):
    key = [e for e in elements(host, "ports") if e.startswith("tcp")][0].split(":")[0]
    host.run(f"nft 'delete element inet berth ports {{ {key} }}';"
             f"nft 'add element inet berth ports {{ {key} : 172.28.0.200 . 9 }}'")


def drop_routes(host):
    host.run("ip route flush proto 190; ip neigh flush all; ip addr del 172.28.0.1/32 dev lo")


def spoil_settings(host):
    link = our_links(host)[0]
    host.run(f"ip link set {link} down; ip link set {link} group 7;"
             f"sysctl -qw net.ipv4.conf.{link}.route_localnet=0 net.ipv4.ip_forward=0")


def what_others_break_a_sweep_repairs(lab):
    host, client = lab.host()
    net = lab.net(host)
    a = net.attach("a", "tcp:80:0", "udp:53:0")
    server, udp = lab.listen(a, 80), lab.udp(a, port=53)

    def picture():
        return (host.run(TABLE_TEXT), elements(host, "ports"), elements(host, "hairpin"), our_routes(host),
                host.run("ip -o addr show lo; ip route show type unreachable"),
                host.run(f"ip -o link show {a.link}").replace("LOWERLAYERDOWN", "UP"))  # others wait for tasks

    before = picture()
    for harm in (flush_everything, drop_a_rule, drop_elements, add_elements, lead_a_port_elsewhere,
                 drop_routes, spoil_settings):
        harm(host)
        assert picture() != before, f"{harm.__name__} did nothing"
        net.say("sweep a")
        until(lambda: picture() == before, f"repair of {harm.__name__}")
        assert lab.connects(client, server, (HOST, a.ports[0])) == CLIENT, harm.__name__
        assert lab.connects(host, server, ("127.0.0.1", a.ports[0])), harm.__name__
        assert lab.sends(a, udp, (HOST, a.ports[1])), harm.__name__


def a_sweep_that_has_nothing_to_do_touches_nothing(lab):
    host, client = lab.host()
    net = lab.net(host)
    for i in range(40):
        net.attach(f"t{i}", *[f"tcp:{80 + p}:0" for p in range(5)])
    handles = host.run("nft -a list table inet berth")
    net.end()
    again = lab.net(host)
    again.say("sweep " + " ".join(f"t{i}" for i in range(40)))
    assert host.run("nft -a list table inet berth") == handles, "the table was made anew"
    assert len(our_links(host)) == 40 and len(our_routes(host)) == 40


def a_task_without_a_link_is_lost(lab):
    host, _ = lab.host()
    net = lab.net(host)
    a, b = net.attach("a", "tcp:80:0"), net.attach("b")
    host.run(f"ip link del {a.link}")
    net.say("sweep a b")
    assert net.find("a")["lost"] == "1" and net.find("b")["lost"] == "0"
    net.detach("a")
    assert elements(host, "ports") == [] and net.find("a") is None


def a_task_that_is_detached_is_cut_off(lab):
    host, client = lab.host()
    net = lab.net(host)
    a = net.attach("a", "tcp:80:0")
    server = lab.listen(client, 80)
    assert lab.connects(a, server, (CLIENT, 80))
    net.say("detach a")  # its namespace is still there
    assert lab.held(a, server, (CLIENT, 80))
    net.say("sweep")
    assert our_links(host) == []


def udp_clients_that_never_pause_find_the_new_task(lab):
    host, client = lab.host()
    one_task_after_the_other(lab, host, client, HOST, CLIENT, "0.0.0.0")


def so_do_those_by_ipv6(lab):
    host, client = lab.host6()
    one_task_after_the_other(lab, host, client, "fd99::1", "fd99::2", "::")


def one_task_after_the_other(lab, host, client, to, by, any_address):
    net = lab.net(host)
    with inside(client.fd):
        s = socket.socket(socket.AF_INET6 if ":" in by else socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        s.bind((by, 5000))
        s.settimeout(0.05)

        def who_answers(expected, server):
            def once():
                s.sendto(b"ping", (to, 5353))
                try:
                    _, seen = server.recvfrom(16)
                    server.sendto(expected, seen)
                    return s.recv(16) == expected
                except OSError:
                    return False
            return once

        for _ in range(3):
            s.sendto(b"ping", (to, 5353))  # to nobody, but the kernel remembers
        for i in range(5):
            name = f"t{i}"
            t = net.attach(name, "udp:53:5353")
            server = lab.udp(t, any_address, 53)
            server.settimeout(0.05)
            until(who_answers(name.encode(), server), f"the answer of {name}")
            net.detach(name)
            server.close()


def from_the_same_port(place, port, to):
    """A connection, or None."""
    with inside(place.fd):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # leaves by RST
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((CLIENT, port))
    s.settimeout(1)
    try:
        s.connect(to)
    except OSError:
        s.close()
        return None
    return s


def tcp_clients_that_use_their_port_again_find_the_new_task(lab):
    host, client = lab.host()
    net = lab.net(host)
    mute = ("nft add table ip mute; nft 'add chain ip mute out { type filter hook output priority 0; }';"
            "nft 'add rule ip mute out tcp flags rst drop'")
    for i in range(3):
        t = net.attach(f"t{i}", "tcp:80:8080")
        server = lab.listen(t, 80)
        s = until(lambda: from_the_same_port(client, 5001, (HOST, 8080)), f"connection to t{i}")
        peer, _ = server.accept()
        # Both go without a word: the host still thinks that they talk.
        client.run(mute)
        net.say(f"detach t{i}")
        net.let_go(f"t{i}")
        server.close()
        peer.close()
        s.close()
        client.run("nft delete table ip mute")


if __name__ == "__main__":
    check([a_host_does_not_become_a_router, forwarding_that_was_on_stays,
           forwarding_stays_on_for_who_came_later, the_way_out_that_a_router_told_of_stays,
           forwarding_of_ipv6_can_be_left_alone, a_firewall_that_drops_is_named,
           iptables_policies_are_seen, other_tables_are_left_alone, what_others_break_a_sweep_repairs,
           a_sweep_that_has_nothing_to_do_touches_nothing, a_task_without_a_link_is_lost,
           a_task_that_is_detached_is_cut_off, udp_clients_that_never_pause_find_the_new_task, so_do_those_by_ipv6,
           tcp_clients_that_use_their_port_again_find_the_new_task])
