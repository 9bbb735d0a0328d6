#!/usr/bin/python3
# tests/e2e/43-net-wireguard.py - tasks of two hosts over WireGuard, where the kernel has it
# SPDX-License-Identifier: Apache-2.0

import ipaddress
import signal
import socket

from netlab import Refused, check, inside, our_links, until

VPC, VPC6 = "10.7.0.0/16", "fd00:7::/56"
ALL = "-1,-1,-1,"


class Pair:
    def __init__(self, lab):
        self.lab = lab
        self.hosts = [lab.namespace("a"), lab.namespace("b")]
        lab.wire(self.hosts[0], "up0", "10.99.0.1/24", self.hosts[1], "up0", "10.99.0.2/24")
        self.net = [self.open(i) for i in (0, 1)]
        self.keys = [n.say("key") for n in self.net]
        for i in (0, 1):
            self.tell(i)

    def open(self, i):
        net = self.lab.net(self.hosts[i], options="transport=wireguard")
        net.say(f"self 10.7.{i}.254")
        return net

    def tell(self, i, key=None):
        j = 1 - i
        return self.net[i].say(f"peer p{j} address=10.99.0.{j + 1} prefix=10.7.{j}.0/24 prefix=fd00:7::{j}:0/112 "
                               f"key={key or self.keys[j]}")

    def tasks(self):
        tasks = [self.net[i].attach("t", f"own=10.7.{i}.9", f"vpc={VPC}", f"own=fd00:7::{i}:9", f"vpc={VPC6}",
                                    mode="awsvpc") for i in (0, 1)]
        self.groups()
        return tasks

    def groups(self):
        members = " ".join(f"joined=10.7.{i}.9 joined=fd00:7::{i}:9" for i in (0, 1))
        for net in self.net:
            net.say(f"group sg-1 in={ALL}sg-1 out={ALL}0.0.0.0/0 out={ALL}::/0 {members}")
            net.say("commit")


def talk(lab, tasks, port=80):
    for i in (0, 1):
        for text in ("10.7.{}.9", "fd00:7::{}:9"):
            family = "::" if ":" in text else "0.0.0.0"
            server, udp = lab.listen(tasks[i], port, family), lab.udp(tasks[i], family, port)
            to, own = (text.format(i), port), str(ipaddress.ip_address(text.format(1 - i)))
            seen = until(lambda: lab.connects(tasks[1 - i], server, to, timeout=1), f"a connection to {to}")
            datagram = lab.sends(tasks[1 - i], udp, to)
            assert (seen, datagram) == (own, own), (to, seen, datagram)
            server.close()
            udp.close()


def tasks_talk_and_nobody_can_read_it(lab):
    p = Pair(lab)
    tasks = p.tasks()
    talk(lab, tasks)
    assert "mtu 1440" in tasks[0].run("ip link show eth0")
    with inside(p.hosts[1].fd):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind(("up0", 0))
    wire.settimeout(1)
    server = lab.udp(tasks[1], "0.0.0.0", 53)
    with inside(tasks[0].fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"in the clear?", ("10.7.1.9", 53))
    assert server.recvfrom(100)[0] == b"in the clear?"
    seen = []
    try:
        while True:
            seen.append(wire.recv(4000))
    except TimeoutError:
        wire.close()
    assert any(f[23] == 17 and f[36:38] == (51820).to_bytes(2, "big") for f in seen), seen
    assert not any(b"in the clear?" in f for f in seen)
    for net in p.net:
        net.say("destroy")
    for host in p.hosts:
        until(lambda: not our_links(host, "br"), "links are gone")
        assert host.run("ip route show proto 191; ip -6 route show proto 191") == ""


def a_key_that_is_not_the_peers_opens_nothing(lab):
    p = Pair(lab)
    tasks = p.tasks()
    server = lab.listen(tasks[1], 80)
    assert until(lambda: lab.connects(tasks[0], server, ("10.7.1.9", 80), timeout=1), "a connection") == "10.7.0.9"
    p.tell(0, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    assert lab.held(tasks[0], server, ("10.7.1.9", 80))
    p.tell(0)
    assert until(lambda: lab.connects(tasks[0], server, ("10.7.1.9", 80), timeout=1), "a connection") == "10.7.0.9"
    try:
        p.tell(0, "short")
    except Refused as e:
        assert "has no key of WireGuard" in str(e), e
    else:
        raise AssertionError("it was accepted")


def large_packets_fit(lab):
    p = Pair(lab)
    tasks = p.tasks()
    server = lab.listen(tasks[1], 80)
    assert until(lambda: lab.connects(tasks[0], server, ("10.7.1.9", 80), timeout=1), "a connection")
    lab.carries(tasks[0], server, ("10.7.1.9", 80))


def after_a_crash_and_harm_it_comes_back_with_the_same_key(lab):
    p = Pair(lab)
    tasks = p.tasks()
    p.net[0].end(signal.SIGKILL)
    talk(lab, tasks)
    p.hosts[0].run("ip link del brw")
    p.net[0] = p.open(0)
    assert p.net[0].say("key") == p.keys[0]
    p.groups()
    talk(lab, tasks, 81)
    p.hosts[0].run("ip route flush proto 191; ip link set brw down")
    p.net[0].say("sweep t")
    talk(lab, tasks, 82)
    p.net[0].say("unpeer p1")
    assert p.hosts[0].run("ip route show proto 191") == ""


if __name__ == "__main__":
    from netlab import Lab
    with Lab() as probe:
        there = "Unknown device" not in probe.namespace("probe").run("ip link add w type wireguard", check=False)
    if not there:
        print("skip 43-net-wireguard: this kernel has no WireGuard (43-net-vm has)")
    else:
        check([tasks_talk_and_nobody_can_read_it, a_key_that_is_not_the_peers_opens_nothing, large_packets_fit,
               after_a_crash_and_harm_it_comes_back_with_the_same_key])
