#!/usr/bin/python3
# tests/e2e/43-net-hosts.py - tasks of several hosts, by routes and by VXLAN
# SPDX-License-Identifier: Apache-2.0
#
#   a, b    share a link, 10.99.1.0/24
#   c       is behind a router: 10.99.2.0/24
#
# The hosts' tasks have addresses of 10.7.1.0/24, 10.7.2.0/24, 10.7.3.0/24 in one VPC.

import os
import re
import signal
import socket

from netlab import SILENCE, Refused, check, elements, inside, our_links, until

VPC, VPC6 = "10.7.0.0/16", "fd00:7::/56"
ALL = "-1,-1,-1,"
HOSTS = ("a", "b", "c")
ADDRESS = {"a": "10.99.1.1", "b": "10.99.1.2", "c": "10.99.2.3"}
ADDRESS6 = {"a": "fd99:1::1", "b": "fd99:1::2", "c": "fd99:2::3"}


def number(name):
    return HOSTS.index(name) + 1


class Cluster:
    def __init__(self, lab, options="", v6=False, told=True):
        self.lab, self.v6, self.options = lab, v6, options
        self.hosts = {n: lab.namespace(n) for n in HOSTS}
        self.net, self.router, self.segment = {}, lab.namespace("router"), lab.namespace("segment")
        self.segment.run("ip link add sw type bridge; ip link set sw up; sysctl -qw net.bridge.bridge-nf-call-iptables=0"
                         " || true")
        for name, place, address, address6 in [("a", self.segment, "10.99.1.1/24", "fd99:1::1/64"),
                                               ("b", self.segment, "10.99.1.2/24", "fd99:1::2/64"),
                                               ("c", self.router, "10.99.2.3/24", "fd99:2::3/64")]:
            self.cable(self.hosts[name], place, address, address6, "to" + name)
        self.cable(self.router, self.segment, "10.99.1.254/24", "fd99:1::ff/64", "tor", "ab0")
        self.router.run("ip addr add 10.99.2.254/24 dev toc; ip -6 addr add fd99:2::ff/64 dev toc nodad;"
                        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        for name, via in [("a", "1"), ("b", "1"), ("c", "2")]:
            self.hosts[name].run(f"ip route add default via 10.99.{via}.254; ip -6 route add default via fd99:{via}::ff")
        for name in HOSTS:
            self.open(name)
        if told:
            self.tell_all()

    def cable(self, end, place, address, address6, far, near="up0"):
        end.run(f"ip link add {near} type veth peer name {far} netns {place.process.pid}")
        end.run(f"ip addr add {address} dev {near}; ip -6 addr add {address6} dev {near} nodad; ip link set {near} up")
        place.run(f"ip link set {far} up" + (f"; ip link set {far} master sw" if place is self.segment else ""))

    def open(self, name):
        n = number(name)
        self.net[name] = self.lab.net(self.hosts[name], options=self.options)
        self.net[name].say(f"self 10.7.{n}.254" + (f" fd00:7::{n}:fffe" if self.v6 else ""))

    def peer(self, at, name, more=""):
        n = number(name)
        return self.net[at].say(f"peer {name} address={ADDRESS[name]} prefix=10.7.{n}.0/24"
                                + (f" address={ADDRESS6[name]} prefix=fd00:7::{n}:0/112" if self.v6 else "") + more)

    def tell_all(self):
        return {(at, name): self.peer(at, name) for at in HOSTS for name in HOSTS if at != name}

    def attach(self, host, last=9):
        n = number(host)
        words = [f"own=10.7.{n}.{last}", f"vpc={VPC}"]
        words += [f"own=fd00:7::{n}:{last:x}", f"vpc={VPC6}"] if self.v6 else []
        return self.net[host].attach(f"{host}{last}", *words, mode="awsvpc")

    def groups(self, *rules, members=None):
        members = members or [f"10.7.{n}.9" for n in (1, 2, 3)] + [f"fd00:7::{n}:9" for n in (1, 2, 3)]
        rules = rules or (f"in={ALL}sg-1", f"out={ALL}0.0.0.0/0", f"out={ALL}::/0")
        for net in self.net.values():
            net.say(f"group sg-1 {' '.join(rules)} {' '.join('joined=' + m for m in members)}")
            net.say("commit")

    def tasks(self):
        tasks = {h: self.attach(h) for h in HOSTS}
        self.groups()
        return tasks


def talk(lab, tasks, address="10.7.{}.9", port=80):
    """Each to each, by TCP and UDP; whom the server sees."""
    family = "::" if ":" in address else "0.0.0.0"
    listening = {h: (lab.listen(t, port, family), lab.udp(t, family, port)) for h, t in tasks.items()}
    for source in tasks:
        for target in tasks:
            to, own = (address.format(number(target)), port), address.format(number(source))
            tcp, udp = lab.connects(tasks[source], listening[target][0], to), \
                lab.sends(tasks[source], listening[target][1], to)
            assert (tcp, udp) == (own, own), (source, target, tcp, udp)
    for pair in listening.values():
        for s in pair:
            s.close()


def mtu_of(task):
    return int(re.search(r"mtu (\d+)", task.run("ip link show eth0")).group(1))


def where_hosts_share_a_link_there_are_routes_else_a_vxlan(lab):
    c = Cluster(lab, told=False)
    told = c.tell_all()
    assert told[("a", "b")] == told[("b", "a")] == "routes", told
    assert {v for k, v in told.items() if "c" in k} == {"vxlan"}, told
    talk(lab, c.tasks())
    routes = c.hosts["a"].run("ip route show proto 191")
    assert re.search(r"10.7.2.0/24 via 10.99.1.2 dev up0", routes), routes
    assert re.search(r"10.7.3.0/24 via 10.99.2.3 dev brx src 10.7.1.254 .*onlink", routes), routes
    for net in c.net.values():
        net.say("destroy")
    for host in c.hosts.values():
        until(lambda: not our_links(host, "br"), "links are gone")
        assert host.run("ip route show proto 191; ip -6 route show proto 191; ip route show proto 190") == ""


def a_vxlan_carries_everything_if_told_so(lab):
    c = Cluster(lab, options="transport=vxlan", v6=True)
    tasks = c.tasks()
    talk(lab, tasks)
    talk(lab, tasks, "fd00:7::{}:9", 81)
    assert " from 10.7.2.9" in tasks["a"].run("busybox ping -c1 -W2 10.7.2.9")
    fdb = c.hosts["a"].run("bridge fdb show dev brx")
    assert sorted(re.findall(r"dst (\S+)", fdb)) == ["10.99.1.2", "10.99.2.3"], fdb
    assert "nolearning" in c.hosts["a"].run("ip -d link show brx")


def ipv6_goes_by_routes_too(lab):
    c = Cluster(lab, options="transport=auto", v6=True)
    tasks = c.tasks()
    talk(lab, tasks, "fd00:7::{}:9")
    assert "fd00:7::2:0/112 via fd99:1::2 dev up0" in c.hosts["a"].run("ip -6 route show proto 191")


def a_vxlan_over_ipv6_hosts(lab):
    c = Cluster(lab, options="transport=vxlan", told=False)
    for at in HOSTS:
        for name in HOSTS:
            if at != name:
                c.net[at].say(f"peer {name} address={ADDRESS6[name]} prefix=10.7.{number(name)}.0/24")
    tasks = c.tasks()
    talk(lab, tasks)
    assert mtu_of(c.attach("a", 10)) == 1430


def security_groups_hold_across_hosts(lab):
    c = Cluster(lab)
    tasks = c.tasks()
    server = lab.listen(tasks["c"], 80)
    assert lab.connects(tasks["a"], server, ("10.7.3.9", 80)) == "10.7.1.9"
    c.groups(members=["10.7.2.9", "10.7.3.9"])  # a's task is a stranger now
    assert lab.held(tasks["a"], server, ("10.7.3.9", 80))
    assert lab.connects(tasks["b"], server, ("10.7.3.9", 80)) == "10.7.2.9"


def what_is_sent_fits_whoever_was_made_first(lab):
    c = Cluster(lab, told=False)
    early = {h: c.attach(h, 5) for h in HOSTS}
    assert mtu_of(early["a"]) == 1500
    c.tell_all()
    late = {h: c.attach(h) for h in HOSTS}
    assert mtu_of(late["a"]) == mtu_of(late["c"]) == 1450
    c.groups(members=[f"10.7.{n}.{k}" for n in (1, 2, 3) for k in (5, 9)])
    lab.carries(early["a"], lab.listen(early["c"], 5000), ("10.7.3.5", 5000))
    lab.carries(late["a"], lab.listen(late["c"], 5000), ("10.7.3.9", 5000))
    lab.carries(early["c"], lab.listen(late["b"], 5000), ("10.7.2.9", 5000))
    # A datagram that does not fit is cut, or refused where it must not be.
    server = lab.udp(early["c"], "0.0.0.0", 53)
    with inside(early["a"].fd):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        s.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: never
        s.sendto(b"x" * 4000, ("10.7.3.5", 53))
        assert len(server.recvfrom(65536)[0]) == 4000
    for net in c.net.values():
        net.say("destroy")


def vxlan_packets_come_from_peers_only(lab):
    c = Cluster(lab, options="transport=vxlan")
    tasks = c.tasks()
    server = lab.udp(tasks["b"], "0.0.0.0", 53)
    mac = re.search(r"link/ether (\S+)", c.hosts["b"].run("ip link show brx")).group(1)

    def forge(place, number=4226):
        """From outside: a datagram of a's task inside a VXLAN packet to b."""
        udp = (1000).to_bytes(2, "big") + (53).to_bytes(2, "big") + (12).to_bytes(2, "big") + b"\0\0" + b"evil"
        ip = bytearray(b"\x45\0" + (20 + len(udp)).to_bytes(2, "big") + b"\0\0\0\0\x40\x11\0\0"
                       + socket.inet_aton("10.7.1.9") + socket.inet_aton("10.7.2.9"))
        total = sum(int.from_bytes(ip[i:i + 2], "big") for i in range(0, 20, 2))
        total = (total & 0xffff) + (total >> 16)
        ip[10:12] = (0xffff - (total & 0xffff) - (total >> 16)).to_bytes(2, "big")
        frame = bytes.fromhex(mac.replace(":", "")) + b"\x0a\x59\0\0\0\1" + b"\x08\0" + bytes(ip) + udp
        packet = b"\x08\0\0\0" + number.to_bytes(3, "big") + b"\0" + frame
        with inside(place.fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(packet, ("10.99.1.2", 4789))

    forge(c.hosts["a"])  # a peer may
    assert server.recvfrom(100)[0] == b"evil"
    forge(c.router)
    try:
        raise AssertionError(f"{server.recvfrom(100)} came in")
    except TimeoutError:
        pass
    c.net["b"].say("unpeer a")
    forge(c.hosts["a"])
    try:
        raise AssertionError(f"{server.recvfrom(100)} came in")
    except TimeoutError:
        pass
    c.peer("b", "a")
    forge(c.hosts["a"])
    assert server.recvfrom(100)[0] == b"evil"


def nobody_else_can_claim_to_be_a_task(lab):
    c = Cluster(lab)
    tasks = c.tasks()
    server = lab.udp(tasks["b"], "0.0.0.0", 53)
    assert lab.sends(tasks["a"], server, ("10.7.2.9", 53)) == "10.7.1.9"
    # The router sends as c's task, whose way is the tunnel; and as a task that there is not.
    for source in ("10.7.3.9", "10.7.9.9", "10.7.2.5"):
        c.router.run(f"ip addr add {source}/32 dev lo; ip route replace 10.7.2.0/24 via 10.99.1.2")
        with inside(c.router.fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind((source, 0))
            s.sendto(b"evil", ("10.7.2.9", 53))
    try:
        raise AssertionError(f"{server.recvfrom(100)} came in")
    except TimeoutError:
        pass


def hosts_reach_tasks_of_each_other(lab):
    for options in ("transport=auto", "transport=vxlan"):
        c = Cluster(lab, options=options)
        tasks = {h: c.attach(h) for h in "bc"}  # and a has none
        c.groups(f"in={ALL}10.99.0.0/16", f"in={ALL}{VPC}", f"out={ALL}0.0.0.0/0")
        server = lab.listen(tasks["c"], 80)
        assert lab.connects(c.hosts["a"], server, ("10.7.3.9", 80)) == "10.7.1.254"
        server = lab.listen(tasks["b"], 80)
        assert lab.connects(c.hosts["a"], server, ("10.7.2.9", 80)) in ("10.99.1.1", "10.7.1.254")
        for net in c.net.values():
            net.say("destroy")
            net.quit()


def a_hosts_own_address_changes_and_lets_nothing_in(lab):
    c = Cluster(lab, options="transport=vxlan")
    tasks = {h: c.attach(h) for h in HOSTS}
    c.groups(f"in={ALL}0.0.0.0/0", f"out={ALL}0.0.0.0/0")
    service, server = lab.listen(c.hosts["a"], 8080), lab.listen(tasks["c"], 80)
    for place in (tasks["c"], c.hosts["c"]):
        assert lab.held(place, service, ("10.7.1.254", 8080))
    c.net["a"].say("self 100.64.0.5")
    c.peer("c", "a", " prefix=100.64.0.5/32")
    assert lab.connects(c.hosts["a"], server, ("10.7.3.9", 80)) == "100.64.0.5"
    assert re.findall(r"inet (\S+)", c.hosts["a"].run("ip -4 addr show brx")) == ["100.64.0.5/32"]
    c.net["a"].quit()
    c.net["a"] = lab.net(c.hosts["a"], options="transport=vxlan")
    assert lab.connects(c.hosts["a"], server, ("10.7.3.9", 80)) == "100.64.0.5"
    c.net["a"].say("self")
    assert "inet " not in c.hosts["a"].run("ip -4 addr show brx")


def what_the_host_has_itself_stays_its_own(lab):
    c = Cluster(lab)
    tasks = c.tasks()
    assert lab.connects(tasks["a"], lab.listen(tasks["b"], 80), ("10.7.2.9", 80)) == "10.7.1.9"
    c.net["a"].say("unpeer c")
    c.hosts["a"].run("ip route add 10.7.0.0/17 via 10.99.1.254")
    try:
        c.peer("a", "c", " prefix=10.8.3.0/24")
        raise AssertionError("led to c what is the host's")
    except Refused as e:
        assert "10.7.3.0/24 are not reached from here" in str(e) and "route to 10.7.0.0/17" in str(e), e
    routes = c.hosts["a"].run("ip route show proto 191")
    assert "10.7.3.0/24" not in routes and "10.8.3.0/24" in routes and "10.7.2.0/24" in routes, routes
    try:
        c.net["a"].say("sweep a9")
        raise AssertionError("nothing is wrong")
    except Refused as e:
        assert "route to 10.7.0.0/17" in str(e), e
    c.hosts["a"].run("ip route del 10.7.0.0/17 via 10.99.1.254")
    c.net["a"].say("sweep a9")
    assert lab.connects(tasks["a"], lab.listen(tasks["c"], 80), ("10.7.3.9", 80)) == "10.7.1.9"


def thousands_of_hosts_are_told_at_once(lab):
    c = Cluster(lab)
    tasks = c.tasks()
    a = c.hosts["a"]
    a.run("ip addr add 10.99.128.0/17 dev up0")
    for again in range(2):
        assert c.net["a"].say("peers-many 2000") == "0"
        routes = a.run("ip route show proto 191")
        assert len(re.findall(r"^10\.1[67]\.\S+ via 10\.99\.1\d\d\.", routes, re.M)) == 2000
    assert "10.16.0.0/28 via 10.99.128.1 " in routes, routes[:500]
    assert c.net["a"].say("peers-many 2000 1") == "0"  # each has what was another one's
    routes = a.run("ip route show proto 191")
    assert "10.16.0.0/28 via 10.99.135.208 " in routes and "10.16.0.16/28 via 10.99.128.1 " in routes
    assert lab.connects(tasks["a"], lab.listen(tasks["b"], 80), ("10.7.2.9", 80)) == "10.7.1.9"
    c.net["a"].say("peers-only b c")
    assert a.run("ip route show proto 191").count("\n") == 2
    assert lab.connects(tasks["a"], lab.listen(tasks["c"], 80), ("10.7.3.9", 80)) == "10.7.1.9"


def a_peer_moves_changes_and_goes(lab):
    c = Cluster(lab)
    tasks = c.tasks()
    server = lab.listen(tasks["c"], 80)
    # c is on the shared link now, under another address
    c.segment.run("ip link add toc2 type veth peer name up1 netns " + str(c.hosts["c"].process.pid)
                  + "; ip link set toc2 master sw up")
    c.hosts["c"].run("ip addr add 10.99.1.3/24 dev up1; ip link set up1 up")
    assert c.net["a"].say("peer c address=10.99.1.3 prefix=10.7.3.0/24 prefix=10.7.33.0/24") == "routes"
    c.net["c"].say("sweep c9")
    assert lab.connects(tasks["a"], server, ("10.7.3.9", 80)) == "10.7.1.9"
    assert "10.7.33.0/24 via 10.99.1.3" in c.hosts["a"].run("ip route show proto 191")
    assert not our_links(c.hosts["a"], "brx")  # nobody needs it any more
    c.net["a"].say("peer c address=10.99.1.3 prefix=10.7.33.0/24")
    assert "10.7.3.0/24" not in c.hosts["a"].run("ip route show proto 191")
    c.net["a"].say("peers-only b")
    assert c.hosts["a"].run("ip route show proto 191").count("\n") == 1
    c.net["a"].say("unpeer b")
    c.net["a"].say("unpeer b")
    assert c.hosts["a"].run("ip route show proto 191") == "" and elements(c.hosts["a"], "peers") == []


def a_cut_link_comes_back(lab):
    c = Cluster(lab)
    tasks = c.tasks()
    server = lab.udp(tasks["c"], "0.0.0.0", 53)
    assert lab.sends(tasks["a"], server, ("10.7.3.9", 53)) == "10.7.1.9"
    c.router.run("ip link set toc down")
    assert lab.sends(tasks["a"], server, ("10.7.3.9", 53), timeout=SILENCE) is None
    c.net["a"].say("sweep a9")
    c.router.run("ip link set toc up; ip addr add 10.99.2.254/24 dev toc 2>/dev/null || true")
    until(lambda: lab.sends(tasks["a"], server, ("10.7.3.9", 53), timeout=SILENCE) == "10.7.1.9", "the way back")
    # The host's own link: its routes go with it.
    c.hosts["a"].run("ip link set up0 down; ip link set up0 up; ip route add default via 10.99.1.254")
    try:
        c.net["a"].say("sweep a9")
    except Refused:
        pass
    c.net["a"].say("sweep a9")
    until(lambda: lab.sends(tasks["a"], server, ("10.7.3.9", 53), timeout=SILENCE) == "10.7.1.9", "the way back")
    server = lab.udp(tasks["b"], "0.0.0.0", 53)
    until(lambda: lab.sends(tasks["a"], server, ("10.7.2.9", 53), timeout=SILENCE) == "10.7.1.9", "the way back")


def what_others_took_away_comes_back(lab):
    c = Cluster(lab, options="transport=vxlan")
    tasks = c.tasks()
    for harm in ("ip link del brx", "ip route flush proto 191", "bridge fdb del {mac} dev brx dst 10.99.1.2 self",
                 "ip neigh flush nud permanent dev brx", "nft flush set inet berth peers", "ip link set brx down",
                 "ip link del brx; ip link add brx type vxlan id 99 dstport 4789", "nft flush ruleset",
                 "ip link set brx mtu 1500"):
        mac = "0a:59:0a:63:01:02"
        c.hosts["a"].run(harm.format(mac=mac))
        c.net["a"].say("sweep a9")
        talk(lab, tasks)
    assert "mtu 1450" in c.hosts["a"].run("ip link show brx")
    c.hosts["a"].run("ip route add 10.7.77.0/24 dev lo proto 191 metric 1107296256")  # of a life before
    c.net["a"].say("sweep a9")
    assert "10.7.77.0" not in c.hosts["a"].run("ip route")


def after_a_crash_everything_goes_on_and_is_known(lab):
    c = Cluster(lab)
    tasks = c.tasks()
    c.net["a"].end(signal.SIGKILL)
    talk(lab, {h: tasks[h] for h in HOSTS})
    c.hosts["a"].run("ip link del brx; ip route flush proto 191")
    c.open("a")
    c.groups()
    talk(lab, tasks, port=81)
    c.net["a"].say("peers-only b")
    assert not our_links(c.hosts["a"], "brx")


def told_again_nothing_is_interrupted(lab):
    c = Cluster(lab, options="transport=vxlan")
    tasks = c.tasks()
    server = lab.udp(tasks["c"], "0.0.0.0", 53)
    with inside(tasks["a"].fd):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        s.sendto(b"x", ("10.7.3.9", 53))
        assert server.recvfrom(10)[0] == b"x"
        index = c.hosts["a"].run("cat /sys/class/net/brx/ifindex || ip -o link show brx").split(":")[0]
        for i in range(50):
            c.peer("a", "c", more=f" prefix=10.7.{50 + i}.0/24")
            s.sendto(b"%d" % i, ("10.7.3.9", 53))
            assert server.recvfrom(10)[0] == b"%d" % i
    assert index == c.hosts["a"].run("cat /sys/class/net/brx/ifindex || ip -o link show brx").split(":")[0]


def what_can_not_be_is_refused(lab):
    c = Cluster(lab, options="transport=routes", told=False)
    c.peer("a", "b")
    for words, says in [("peer c address=10.99.2.3 prefix=10.7.3.0/24", "is on no link that we share"),
                        ("peer d address=10.99.1.9 prefix=10.7.2.128/25", "10.7.2.128/25 of peer d is one of peer b"),
                        ("peer e address=10.99.1.9 prefix=fd00::/64", "has no IPv6 address"),
                        ("peer f prefix=10.8.0.0/24", "has no address"),
                        ("peer ../x address=10.99.1.9", "id of a peer"),
                        ("key", "transport is not wireguard")]:
        try:
            c.net["a"].say(words)
        except Refused as e:
            assert says in str(e), e
        else:
            raise AssertionError(f"{words} was accepted")
    c.net["b"].say("destroy")
    c.net["b"].quit()
    if not os.path.exists("/sys/module/wireguard"):
        try:
            lab.net(c.hosts["b"], options="transport=wireguard")
        except Refused as e:
            assert "this kernel has no wireguard" in str(e), e
        else:
            raise AssertionError("wireguard was there all the same")


if __name__ == "__main__":
    check([where_hosts_share_a_link_there_are_routes_else_a_vxlan, a_vxlan_carries_everything_if_told_so,
           ipv6_goes_by_routes_too, a_vxlan_over_ipv6_hosts, security_groups_hold_across_hosts,
           what_is_sent_fits_whoever_was_made_first, vxlan_packets_come_from_peers_only,
           nobody_else_can_claim_to_be_a_task, hosts_reach_tasks_of_each_other,
           a_hosts_own_address_changes_and_lets_nothing_in, what_the_host_has_itself_stays_its_own,
           thousands_of_hosts_are_told_at_once, a_peer_moves_changes_and_goes,
           a_cut_link_comes_back, what_others_took_away_comes_back, after_a_crash_everything_goes_on_and_is_known,
           told_again_nothing_is_interrupted, what_can_not_be_is_refused])
