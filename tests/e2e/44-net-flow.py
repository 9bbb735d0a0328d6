#!/usr/bin/python3
# tests/e2e/44-net-flow.py - what the kernel tells of flows of tasks
# SPDX-License-Identifier: Apache-2.0

import collections
import socket

from netlab import WAIT, check, inside, until

VPC, VPC6 = "10.7.0.0/16", "fd00:7::/56"
ALL = "-1,-1,-1,"
SETTINGS = ("nf_conntrack_acct", "nf_conntrack_timestamp")

Flow = collections.namedtuple("Flow", "at source destination sport dport protocol accepted packets bytes")


def attach(net, name, number, v6=False):
    words = [f"own=10.7.0.{number}", f"vpc={VPC}"] + ([f"own=fd00:7::{number:x}", f"vpc={VPC6}"] if v6 else [])
    return net.attach(name, *words, mode="awsvpc")


def group(net, name, *rules, members=()):
    net.say(f"group {name} {' '.join(rules)} {' '.join('joined=' + m for m in members)}")
    net.say("commit")


def read(net, sample=False):
    flows = []
    for word in net.say("flows-read" + (" sample" if sample else "")).split():
        if word != "lost":
            f = word.split(",")
            flows.append(Flow(f[0], f[1], f[2], *(int(x) for x in f[3:6]), f[6] == "1", *(int(x) for x in f[7:])))
    return flows


def gather(net, condition, what, sample=False):
    """Read until what came so far satisfies."""
    seen = []

    def look():
        seen.extend(read(net, sample))
        return condition(seen)
    until(look, what)
    return seen


def settings(host):
    return host.run(" ; ".join(f"cat /proc/sys/net/netfilter/{s}" for s in SETTINGS)).split()


def lab_of(lab, *, v6=False, rules=(f"in={ALL}10.7.0.2/32", f"out={ALL}0.0.0.0/0", f"in={ALL}::/0", f"out={ALL}::/0")):
    host, client = lab.host()
    net = lab.net(host)
    a, b = attach(net, "a", 2, v6), attach(net, "b", 3, v6)
    six = ["fd00:7::2", "fd00:7::3"] if v6 else []
    group(net, "sg-1", *rules, members=["10.7.0.2", "10.7.0.3"] + six)
    return host, client, net, a, b


def a_connection_is_told_at_both_its_ends_in_both_directions(lab):
    host, client, net, a, b = lab_of(lab)
    net.say("flows 10.7.0.2 10.7.0.3")
    server = lab.listen(b, 80)
    assert lab.connects(a, server, ("10.7.0.3", 80)) == "10.7.0.2"
    net.detach("b")  # its connections are forgotten, and told
    seen = gather(net, lambda s: len(s) >= 4, "four flows")
    assert len(seen) == 4, seen
    for at in ("10.7.0.2", "10.7.0.3"):
        there = next(f for f in seen if f.at == at and f.dport == 80)
        back = next(f for f in seen if f.at == at and f.sport == 80)
        assert (there.source, there.destination, there.protocol, there.accepted) == ("10.7.0.2", "10.7.0.3", 6, True)
        assert (back.source, back.destination, back.dport) == ("10.7.0.3", "10.7.0.2", there.sport)
        # syn, ack, "ping", and so on; a header of 20 + 32 bytes at least each
        assert 3 <= there.packets <= 10 and there.bytes >= there.packets * 52 + 4, there
    net.say("flows-end")
    net.say("destroy")


def open_connections_are_counted_piece_by_piece(lab):
    host, client, net, a, b = lab_of(lab)
    net.say("flows 10.7.0.2")
    with inside(a.fd):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server = lab.udp(b, "0.0.0.0", 53)
    server.settimeout(WAIT)
    total = 0
    with s:
        for size in (100, 200, 400):
            for _ in range(3):
                s.sendto(b"x" * size, ("10.7.0.3", 53))
                server.recvfrom(1000)
            seen = read(net, sample=True)
            assert [(f.packets, f.bytes) for f in seen if f.dport == 53] == [(3, 3 * (size + 28))], seen
        assert read(net, sample=True) == []
    net.say("flows-end")


def counters_of_connections_that_are_not_logged_are_left_alone(lab):
    host, client, net, a, b = lab_of(lab)
    net.say("flows 10.7.0.99")
    server = lab.udp(b, "0.0.0.0", 53)
    assert lab.sends(a, server, ("10.7.0.3", 53))
    assert read(net, sample=True) == []
    net.say("flows-close")
    net.say("flows 10.7.0.2")
    assert {f.packets for f in read(net, sample=True)} == {1}
    net.say("flows-end")


def what_a_translation_hides_is_told_as_the_task_saw_it(lab):
    host, client, net, a, b = lab_of(lab)
    net.say("flows 10.7.0.2")
    outside = lab.udp(client, "0.0.0.0", 53)
    assert lab.sends(a, outside, ("10.99.0.2", 53)) == "10.99.0.1"
    seen = read(net, sample=True)
    assert {(f.at, f.source, f.destination) for f in seen} == {
        ("10.7.0.2", "10.7.0.2", "10.99.0.2"), ("10.7.0.2", "10.99.0.2", "10.7.0.2")}, seen
    net.say("flows-end")


def what_no_group_allows_is_told_where_it_was_refused(lab):
    host, client, net, a, b = lab_of(lab)
    group(net, "sg-1", f"in={ALL}10.7.0.2/32", "out=udp,53,53,0.0.0.0/0", members=["10.7.0.2", "10.7.0.3"])
    net.say("flows 10.7.0.2 10.7.0.3")
    with inside(a.fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"12345678", ("10.7.0.3", 99))  # may not leave
    with inside(b.fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"1234", ("10.7.0.2", 53))      # may leave, may not enter
    seen = gather(net, lambda s: len(s) >= 3, "three refusals")
    assert {(f.at, f.source, f.destination, f.dport, f.protocol, f.accepted, f.packets, f.bytes) for f in seen} == {
        ("10.7.0.2", "10.7.0.2", "10.7.0.3", 99, 17, False, 1, 36),
        ("10.7.0.3", "10.7.0.3", "10.7.0.2", 53, 17, True, 1, 32),
        ("10.7.0.2", "10.7.0.3", "10.7.0.2", 53, 17, False, 1, 32)}, seen
    with inside(a.fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"12345678", (a.gateway, 22))  # a service of the host
    seen = gather(net, lambda s: len(s) >= 1, "a refusal")
    assert [(f.at, f.destination, f.accepted) for f in seen] == [("10.7.0.2", a.gateway, False)], seen
    net.say("flows-end")


def ipv6_is_told_too(lab):
    host, client, net, a, b = lab_of(lab, v6=True)
    net.say("flows fd00:7::2 fd00:7::3")
    server = lab.udp(b, "::", 53)
    assert lab.sends(a, server, ("fd00:7::3", 53)) == "fd00:7::2"
    seen = read(net, sample=True)
    assert {(f.at, f.source, f.packets, f.bytes) for f in seen} == {
        (at, source, 1, 52) for at in ("fd00:7::2", "fd00:7::3") for source in ("fd00:7::2", "fd00:7::3")}, seen
    net.say("flows-end")


def a_flood_of_refusals_is_cut_short_and_that_is_told(lab):
    host, client, net, a, b = lab_of(lab)
    group(net, "sg-1", members=["10.7.0.2", "10.7.0.3"])
    net.say("flows 10.7.0.2")
    with inside(a.fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for _ in range(20000):
            s.sendto(b"x", ("10.7.0.3", 9))
    words = []

    def lost():
        words.extend(net.say("flows-read").split())
        return "lost" in words
    until(lost, "the word that some are not told")
    told = sum(int(w.split(",")[7]) for w in words if w != "lost")
    assert 0 < told < 20000, told
    net.say("flows-end")


def settings_of_the_kernel_are_as_before(lab):
    host, client, net, a, b = lab_of(lab)
    host.run("echo 0 > /proc/sys/net/netfilter/nf_conntrack_acct; echo 1 > /proc/sys/net/netfilter/nf_conntrack_timestamp")
    net.say("flows 10.7.0.2")
    assert settings(host) == ["1", "1"]
    net.end()  # killed
    net = lab.net(host)
    assert settings(host) == ["1", "1"]
    net.say("flows 10.7.0.2")
    net.say("flows-end")
    assert settings(host) == ["0", "1"], settings(host)
    net.say("flows 10.7.0.2")
    net.say("flows-close")
    assert settings(host) == ["1", "1"]
    net.say("destroy")
    assert settings(host) == ["0", "1"], settings(host)


def two_berths_do_not_hear_each_other(lab):
    host, client = lab.host()
    one, two = lab.net(host), lab.net(host, name="berth-00abcd", block="10.6.0.0/16")
    a = attach(one, "a", 2)
    b = two.attach("b", "own=10.8.0.2", "vpc=10.8.0.0/16", mode="awsvpc")
    one.say("flows 10.7.0.2 10.8.0.2")
    two.say("flows 10.7.0.2 10.8.0.2")
    for task in (a, b):
        with inside(task.fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"x", ("10.99.0.2", 9))
    assert [f.at for f in gather(one, lambda s: s, "a refusal")] == ["10.7.0.2"]
    assert [f.at for f in gather(two, lambda s: s, "a refusal")] == ["10.8.0.2"]


if __name__ == "__main__":
    check([a_connection_is_told_at_both_its_ends_in_both_directions, open_connections_are_counted_piece_by_piece,
           counters_of_connections_that_are_not_logged_are_left_alone,
           what_a_translation_hides_is_told_as_the_task_saw_it, what_no_group_allows_is_told_where_it_was_refused,
           ipv6_is_told_too, a_flood_of_refusals_is_cut_short_and_that_is_told,
           settings_of_the_kernel_are_as_before, two_berths_do_not_hear_each_other])
