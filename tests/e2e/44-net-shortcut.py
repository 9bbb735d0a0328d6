#!/usr/bin/env python3
# tests/e2e/44-net-shortcut.py - busy flows between tasks of a host, past its network stack
# SPDX-License-Identifier: Apache-2.0
#
# That a packet took the shortcut is known by what did not see it: a rule that counts what
# the host forwards, in a table of the test's own.

import os
import re
import socket
import struct
import sys

import netlab

ROUNDS = 2000  # enough for a flow to be seen to be busy, some times over
COUNTING = ("table ip seen { chain f { type filter hook forward priority 10; counter; }; };"
            "table ip6 seen { chain f { type filter hook forward priority 10; counter; }; }")

ETH_P_ALL = 3
# Runs a program for which bpf(2) fails with EPERM (seccomp(2)).
REFUSED = """
import ctypes, os, struct, sys
rules = struct.pack("HBBI" * 4, 0x20, 0, 0, 0, 0x15, 0, 1, %d, 6, 0, 0, 0x50001, 6, 0, 0, 0x7fff0000)
text = ctypes.create_string_buffer(rules)
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("HxxxxxxQ", 4, ctypes.addressof(text))) == 0
os.execv(sys.argv[1], sys.argv[1:])
""" % (280 if os.uname().machine == "aarch64" else 321)


def forwarded(host):
    """Packets that went the long way since it was asked last."""
    text = host.run("nft list chain ip seen f; nft list chain ip6 seen f; nft flush chain ip seen f; nft flush chain ip6 seen f;"
                    "nft add rule ip seen f counter; nft add rule ip6 seen f counter")
    return sum(int(n) for n in re.findall(r"packets (\d+)", text))


class Talk:
    """A connection, or datagrams, there and back; both ends here."""

    def __init__(self, lab, a, b, port=80, kind=socket.SOCK_STREAM, to=None):
        to = to or b.address
        family = netlab.family_of(to)
        with netlab.inside(b.fd):
            server = socket.socket(family, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((to, port))
        with netlab.inside(a.fd):
            self.a = socket.socket(family, kind)
        self.a.settimeout(5)
        if kind == socket.SOCK_STREAM:
            server.listen(1)
            self.a.connect((to, port))
            self.b = server.accept()[0]
            server.close()
        else:
            self.a.connect((to, port))
            self.a.send(b"x")
            _, who = server.recvfrom(9)
            server.connect(who)
            self.b = server
            self.b.send(b"x")
            self.a.recv(9)
        self.b.settimeout(5)
        lab.sockets += [self.a, self.b]

    def rounds(self, count=ROUNDS):
        for _ in range(count):
            self.a.send(b"x" * 64)
            self.b.recv(64)
            self.b.send(b"y" * 64)
            self.a.recv(64)

    def close(self):
        self.a.close()
        self.b.close()


def is_short(host, talk, count=200):
    """Does it take the shortcut by now?"""
    forwarded(host)
    talk.rounds(count)
    return forwarded(host) < count


def shorten(host, talk):
    netlab.until(lambda: is_short(host, talk), "a shortcut")


def counting(lab, name="host", six=False):
    host, client = lab.host6(name) if six else lab.host(name)
    host.run(f"nft '{COUNTING}'")
    return host, client


def programs(host, task):
    return "berth" in host.run(f"tc filter show dev {task.link} ingress; tc filter show dev {task.link} egress")


def conntrack(host, what):
    return [l for l in host.run("cat /proc/net/nf_conntrack").split("\n") if what in l]


def a_busy_flow_gets_a_shortcut(lab):
    host, _ = counting(lab)
    net = lab.net(host)
    a, b = net.attach("a"), net.attach("b")
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        talk = Talk(lab, a, b, kind=kind)
        shorten(host, talk)
        talk.close()


def and_so_does_one_of_ipv6(lab):
    host, _ = counting(lab, six=True)
    net = lab.net(host)
    a, b = net.attach("a"), net.attach("b")
    shorten(host, Talk(lab, a, b, to=b.address6))


def what_is_rare_or_short_has_none(lab):
    host, _ = counting(lab)
    net = lab.net(host)
    a, b = net.attach("a"), net.attach("b")
    server = lab.listen(b, 80)
    for _ in range(300):
        assert lab.connects(a, server, (b.address, 80)) == a.address
    assert not programs(host, a) and not programs(host, b)


def its_end_is_tracked(lab):
    """FIN and RST are seen, though what came before was not, and the same ports can be used again at once."""
    host, _ = counting(lab)
    net = lab.net(host)
    a, b = net.attach("a"), net.attach("b")
    for _ in range(2):
        talk = Talk(lab, a, b)
        shorten(host, talk)
        assert any("ESTABLISHED" in l for l in conntrack(host, "dport=80 "))
        talk.a.shutdown(socket.SHUT_WR)
        assert talk.b.recv(9) == b""
        talk.b.close()
        assert talk.a.recv(9) == b""
        talk.a.close()
        netlab.until(lambda: not any("ESTABLISHED" in l for l in conntrack(host, "dport=80 ")), "an end that is tracked")
        states = [l.split()[5] for l in conntrack(host, "dport=80 ")]
        assert all(s in ("TIME_WAIT", "CLOSE", "LAST_ACK") for s in states), states
    talk = Talk(lab, a, b)
    shorten(host, talk)
    talk.a.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    talk.a.close()
    netlab.until(lambda: not any("ESTABLISHED" in l for l in conntrack(host, "dport=80 ")), "a reset that is tracked")


def members(net, *tasks, rules):
    net.say(f"group sg-a {rules} " + " ".join(f"joined={t.address}" for t in tasks))
    net.say("commit")


def pair(lab, host, **kwargs):
    net = lab.net(host, **kwargs)
    a, b = (net.attach(f"m{i}", f"own=10.95.0.{i + 10}", "vpc=10.95.0.0/16", mode="awsvpc") for i in range(2))
    members(net, a, b, rules="out=-1,-1,-1,0.0.0.0/0 in=tcp,80,80,sg-a in=udp,80,80,sg-a")
    return net, a, b


def change(net, *tasks, rules, cut):
    net.say(f"group sg-a {'cut ' if cut else ''}{rules} " + " ".join(f"joined={t.address}" for t in tasks))
    net.say("commit")


def a_cut_takes_it_away_and_a_change_does_not(lab):
    host, _ = counting(lab)
    net, a, b = pair(lab, host)
    talk = Talk(lab, a, b)
    shorten(host, talk)
    change(net, a, b, rules="out=-1,-1,-1,0.0.0.0/0 in=tcp,81,81,sg-a", cut=False)
    assert is_short(host, talk), "an ordinary change lets it go on"
    change(net, a, b, rules="out=-1,-1,-1,0.0.0.0/0 in=tcp,81,81,sg-a", cut=True)
    talk.a.settimeout(netlab.SILENCE)
    talk.b.settimeout(netlab.SILENCE)
    for s, other in ((talk.a, talk.b), (talk.b, talk.a)):
        s.send(b"late")
        try:
            raise AssertionError(f"{other.recv(9)} after the cut")
        except TimeoutError:
            pass


def another_firewall_has_its_word(lab):
    """Not at once, but as often as a way has to be seen to: then no packet passes any more."""
    host, _ = counting(lab)
    net, a, b = pair(lab, host)
    talk = Talk(lab, a, b)
    shorten(host, talk)
    host.run("nft 'table ip other { chain f { type filter hook forward priority 200; tcp dport 80 drop; }; }'")
    talk.b.settimeout(netlab.SILENCE)

    def arrives():
        talk.a.send(b"late")
        try:
            return talk.b.recv(64)
        except TimeoutError:
            return b""
    netlab.until(lambda: not arrives(), "a packet that is dropped", 60)
    assert not arrives()
    host.run("nft delete table ip other")
    talk.b.settimeout(10)
    assert talk.b.recv(4) == b"late"


def forged_addresses_are_dropped(lab):
    """A third task with the addresses and ports of a flow that has a shortcut; and one of the two to a third."""
    host, _ = counting(lab)
    net = lab.net(host)
    a, b, c = net.attach("a"), net.attach("b"), net.attach("c")
    shorten(host, Talk(lab, c, b, port=81))  # so that its link has the programs, too
    talk = Talk(lab, a, b, kind=socket.SOCK_DGRAM)
    netlab.until(lambda: is_short(host, talk), "a shortcut for datagrams")
    source, target = talk.a.getsockname(), talk.b.getsockname()
    udp = struct.pack("!HHHH", source[1], target[1], 12, 0) + b"evil"
    packet = (struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 7, 0, 64, 17, 0) + socket.inet_aton(source[0]) +
              socket.inet_aton(target[0]) + udp)
    talk.b.settimeout(netlab.SILENCE)
    for place, comes in ((c, False), (a, True)):
        with netlab.inside(place.fd):
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with raw:
            raw.sendto(packet, (target[0], 0))
        try:
            assert talk.b.recv(9) == b"evil"
            assert comes
        except TimeoutError:
            assert not comes


def published_ports_and_the_world_go_the_long_way(lab):
    host, client = counting(lab)
    net = lab.net(host, ports=(20000, 59999))
    a, b = net.attach("a", "tcp:80:18080"), net.attach("b")
    shorten(host, Talk(lab, b, a, port=81))
    for place in (b, client):
        server = lab.listen(a, 80)
        with netlab.inside(place.fd):
            s = socket.create_connection(("10.99.0.1", 18080), 5)
        peer = server.accept()[0]
        lab.sockets += [s, peer]
        server.close()
        forwarded(host)
        for _ in range(ROUNDS):
            s.send(b"x")
            peer.recv(1)
            peer.send(b"y")
            s.recv(1)
        assert forwarded(host) >= 2 * ROUNDS
        s.close()
        peer.close()


def counters_have_all_of_it(lab):
    host, _ = counting(lab)
    net = lab.net(host)
    a, b = net.attach("a"), net.attach("b")
    talk = Talk(lab, a, b)
    shorten(host, talk)
    before = [net.say(f"counters {n}").split() for n in "ab"]
    talk.rounds(1000)
    after = [net.say(f"counters {n}").split() for n in "ab"]
    for old, new in zip(before, after):
        grown = [int(y) - int(x) for x, y in zip(old, new)]
        assert grown[1] >= 1000 and grown[3] >= 1000 and grown[0] >= 1000 * 64 and grown[2] >= 1000 * 64, grown
        assert grown[1] <= 2100 and grown[3] <= 2100, grown


def a_frame_is_as_if_it_had_been_routed(lab):
    host, _ = counting(lab)
    net = lab.net(host)
    a, b = net.attach("a"), net.attach("b")
    talk = Talk(lab, a, b)

    def one():
        """The frame that brings a certain byte."""
        mark = os.urandom(16)
        with netlab.inside(b.fd):
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        with tap:
            tap.bind(("eth0", 0))
            tap.settimeout(5)
            talk.a.send(mark)
            talk.b.recv(64)
            while mark not in (frame := tap.recv(2048)):
                pass
        return frame
    long_way = one()
    shorten(host, talk)
    forwarded(host)
    short_way = netlab.until(lambda: (f := one()) and forwarded(host) == 0 and f, "a frame by the shortcut")
    assert short_way[:14] == long_way[:14], (short_way[:14], long_way[:14])
    assert short_way[22] == long_way[22] == 63
    words = struct.unpack("!10H", short_way[14:34])
    total = sum(words)
    assert (total & 0xffff) + (total >> 16) in (0xffff, 0x1fffe), hex(total)


def the_agent_may_end_and_come_again(lab):
    host, _ = counting(lab)
    net, a, b = pair(lab, host)
    talk = Talk(lab, a, b)
    shorten(host, talk)
    net.end()
    assert is_short(host, talk), "what is there goes on"
    again = lab.net(host)
    members(again, a, b, rules="out=-1,-1,-1,0.0.0.0/0 in=tcp,80,80,sg-a")
    shorten(host, talk)
    change(again, a, b, rules="out=-1,-1,-1,0.0.0.0/0 in=tcp,81,81,sg-a", cut=True)
    talk.a.send(b"late")
    talk.b.settimeout(netlab.SILENCE)
    try:
        raise AssertionError(f"{talk.b.recv(9)} after the cut")
    except TimeoutError:
        pass
    assert programs(host, a)
    again.end()
    lab.net(host)
    assert not programs(host, a), "those of an agent that has ended"


def what_is_logged_has_none(lab):
    host, _ = counting(lab)
    net, a, b = pair(lab, host)
    talk = Talk(lab, a, b)
    shorten(host, talk)
    net.say(f"flows {a.address}")
    forwarded(host)
    talk.rounds()
    assert forwarded(host) >= 2 * ROUNDS
    net.say("flows-end")
    shorten(host, talk)


def without(lab, says, **options):
    host, _ = counting(lab)
    net = lab.net(host, **options)
    a, b = net.attach("a"), net.attach("b")
    talk = Talk(lab, a, b)
    forwarded(host)
    talk.rounds()
    assert forwarded(host) >= 2 * ROUNDS
    why = net.say("shortcut")
    assert says in why, why


def a_kernel_without_bpf_has_none_and_says_why(lab):
    without(lab, "BPF", wrap=(sys.executable, "-c", REFUSED))


def who_wants_none_has_none(lab):
    without(lab, "shortcuts = no", options="shortcuts=no")


def a_flow_without_its_way_goes_on(lab):
    """Though connection tracking has seen nothing of its windows for megabytes."""
    host, _ = counting(lab)
    net, a, b = pair(lab, host)
    talk = Talk(lab, a, b)
    shorten(host, talk)
    for _ in range(40):
        talk.a.sendall(b"z" * 65536)
        got = 0
        while got < 65536:
            got += len(talk.b.recv(65536))
    forwarded(host)
    net.say("shortcut forget")
    talk.rounds(20)
    assert forwarded(host)
    shorten(host, talk)


netlab.check([a_busy_flow_gets_a_shortcut, and_so_does_one_of_ipv6, what_is_rare_or_short_has_none,
              its_end_is_tracked, a_cut_takes_it_away_and_a_change_does_not, another_firewall_has_its_word,
              forged_addresses_are_dropped, published_ports_and_the_world_go_the_long_way, counters_have_all_of_it,
              a_frame_is_as_if_it_had_been_routed, the_agent_may_end_and_come_again, what_is_logged_has_none,
              a_kernel_without_bpf_has_none_and_says_why, who_wants_none_has_none, a_flow_without_its_way_goes_on])
