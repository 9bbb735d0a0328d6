#!/usr/bin/env python3
# tests/e2e/40-net-crash.py - killed at each step, then started again
# SPDX-License-Identifier: Apache-2.0

import os
import shutil

from netlab import TOOL, Refused, check, elements, our_links, our_routes, until

HOST, CLIENT = "10.99.0.1", "10.99.0.2"
# The calls by which something outside the process changes.
CALLS = ("sendmsg", "renameat", "unlinkat", "mkdirat", "bind", "unshare", "write")
STEPS_MAX = 250
STEPS_DONE_WITHOUT = 6  # in a row: where they fail there are no shortcuts


def picture(host, net):
    return (host.run("nft -s -t list table inet berth"), elements(host, "ports"), elements(host, "hairpin"),
            our_links(host), our_routes(host), sorted(os.listdir(net.dir + "/endpoints")),
            host.run("ip -o addr show lo; ip route show type unreachable; cat /proc/sys/net/ipv4/ip_forward"))


def run_until_killed(net, lines):
    """True: it came to the end."""
    try:
        for line in lines:
            net.say(line)
        return True
    except (EOFError, BrokenPipeError):
        return False
    finally:
        net.end()


def kill_at_each_step(lab, host, settle, lines, look, still_works, options=""):
    """Killed at each call while it does some lines, it starts again, settles, and all looks as before."""
    before, kills = look(), 0
    for call in CALLS:
        for step in range(1, STEPS_MAX):
            inject = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                      "-e", f"inject={call}:signal=KILL:when={step}"]
            survived = run_until_killed(lab.net(host, wrap=inject, opened=False), lines)
            again = lab.net(host, options=options)
            for line in settle:
                again.say(line)
            until(lambda: look() == before, f"order after the kill at {call} {step}")
            assert again.find("live")["lost"] == "0" and again.find("new") is None
            again.end()
            if survived:
                break
            kills += 1
        else:
            raise AssertionError(f"{call}: no end after {STEPS_MAX} steps")
        assert still_works(), call
    assert kills > 30, f"only {kills} kills"


def killed_at_any_step_of_an_endpoint_the_rest_is_swept(lab):
    host, client = lab.host()
    net = lab.net(host)
    live = net.attach("live", "tcp:80:0", "udp:53:0")
    server = lab.listen(live, 80)
    net.end()
    lines = [f"open berth {net.dir} -", "sweep live", "attach new bridge tcp:80:0 udp:53:0 tcp:81:8081", "detach new"]
    kill_at_each_step(lab, host, ["sweep live"], lines, lambda: picture(host, net),
                      lambda: lab.connects(client, server, (HOST, live.ports[0])) == CLIENT)


GROUPS = ["group sg-live in=tcp,80,80,0.0.0.0/0 in=tcp,1,9,sg-live out=-1,-1,-1,0.0.0.0/0 joined=10.7.0.2", "commit"]
SETS = ("secured", "secured6", "routed", "identities", "ingress_groups", "ingress_ranges", "egress_ranges", "within",
        "trunked")


def an_interface(lab, more, options, look):
    """A task in groups lives while another comes, joins, leaves and goes."""
    host, client = lab.host()
    if options:
        lab.wire(client, "eth2", "10.7.0.9/24", host, "eth1", "10.98.0.1/24")
    else:
        client.run("ip route replace 10.7.0.0/16 via 10.99.0.1")
    net = lab.net(host, options=options)
    live = net.attach("live", "own=10.7.0.2", "vpc=10.7.0.0/16", *more.format(2).split(), mode="awsvpc")
    for line in GROUPS + ["sweep live"]:
        net.say(line)
    server = lab.listen(live, 80)
    net.end()
    lines = [f"open berth {net.dir} - {options}", *GROUPS, "sweep live",
             "attach new awsvpc own=10.7.0.3 vpc=10.7.0.0/16 " + more.format(3),
             "change sg-live joined=10.7.0.3", "commit", "change sg-live left=10.7.0.3", "commit", "detach new"]
    kill_at_each_step(lab, host, GROUPS + ["sweep live"], lines,
                      lambda: (picture(host, net), [elements(host, s) for s in SETS], host.run(look)),
                      lambda: lab.connects(client, server, ("10.7.0.2", 80)) in (CLIENT, "10.7.0.9"), options)


def killed_at_any_step_of_an_interface_the_rest_is_swept(lab):
    an_interface(lab, "own=fd00:7::{0} vpc=fd00:7::/56", "", "ip -6 route show proto 190")


def killed_at_any_step_of_one_on_a_trunk_the_rest_is_swept(lab):
    an_interface(lab, "wire=0,10.7.0.0/24,10.7.0.1", "trunk=eth1",
                 "ip rule; ip route show table 168230912; ip neigh show proxy; nft -s list table netdev berth;"
                 "bridge fdb show dev eth1 | grep 0a:58")


def killed_at_any_step_of_the_first_open_it_opens_again(lab):
    whole = None
    for call in CALLS:
        for step in range(1, STEPS_MAX):
            host, _ = lab.host(f"host-{call}-{step}")
            host.run("sysctl -qw net.ipv4.ip_forward=0")
            inject = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                      "-e", f"inject={call}:signal=KILL:when={step}"]
            net = lab.net(host, wrap=inject, opened=False)
            survived = run_until_killed(net, [f"open berth {net.dir} -", "sweep"])
            again = lab.net(host)
            again.say("sweep")
            now = picture(host, again)
            whole = whole or now
            assert now == whole, f"killed at {call} {step}: {now} instead of {whole}"
            again.say("destroy")
            assert "172.28" not in host.run("ip addr; ip route; nft list tables")
            assert host.run("cat /proc/sys/net/ipv4/ip_forward").strip() == "0"
            for p in lab.processes:
                p.kill()
            if survived:
                break


def killed_at_any_step_of_destroy_it_is_destroyed_the_next_time(lab):
    for call in CALLS:
        for step in range(1, STEPS_MAX):
            host, _ = lab.host(f"host-{call}-{step}")
            net = lab.net(host)
            net.attach("a", "tcp:80:0")
            inject = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                      "-e", f"inject={call}:signal=KILL:when={step}"]
            other = lab.net(host, wrap=inject, opened=False)
            survived = run_until_killed(other, [f"open berth {net.dir} -", "destroy"])
            if not survived:
                lab.net(host).say("destroy")
            assert our_links(host) == []
            assert "172.28" not in host.run("ip addr; ip route; nft list tables")
            for p in lab.processes:
                p.kill()
            if survived:
                break


def a_failed_step_leaves_nothing_behind(lab):
    host, _ = lab.host()
    first = lab.net(host)
    before = picture(host, first)
    first.end()
    failures = 0
    for call, error in (("sendmsg", "ENOBUFS"), ("renameat", "ENOSPC"), ("unshare", "ENOSPC"), ("socket", "EMFILE")):
        done = 0
        for step in range(1, STEPS_MAX):
            inject = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                      "-e", f"inject={call}:error={error}:when={step}"]
            net = lab.net(host, wrap=inject, opened=False)
            try:
                net.say(f"open berth {net.dir} -")
            except Refused:
                net.end()
                continue
            try:
                net.say("attach a bridge tcp:80:0 tcp:81:8081 udp:53:0")
                net.say("detach a")
                net.say("drop a")
                done += 1
            except Refused as e:
                assert str(e), "without a word"
                failures += 1
                done = 0
                if net.find("a"):  # the detach failed: it is tried again
                    net.say("detach a")
                    net.say("drop a")
            until(lambda: picture(host, net) == before, f"nothing left after {call} {step}")
            net.end()
            if done > STEPS_DONE_WITHOUT:
                break
    assert failures > 8, f"only {failures} failures"


if __name__ == "__main__":
    if not shutil.which("strace"):
        print("skip 40-net-crash: strace is not installed")
    else:
        assert os.path.exists(TOOL)
        check([killed_at_any_step_of_an_endpoint_the_rest_is_swept,
               killed_at_any_step_of_an_interface_the_rest_is_swept,
               killed_at_any_step_of_one_on_a_trunk_the_rest_is_swept,
               killed_at_any_step_of_the_first_open_it_opens_again,
               killed_at_any_step_of_destroy_it_is_destroyed_the_next_time,
               a_failed_step_leaves_nothing_behind])
