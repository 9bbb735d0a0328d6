#!/usr/bin/env python3
# tests/e2e/41-net-coexist.py - tasks beside other firewalls of the same host
# SPDX-License-Identifier: Apache-2.0
#
# Each host here is a network namespace, and for programs that keep files or
# speak over D-Bus a mount and process namespace too: /run and /etc are its own,
# and what is not installed lies over /usr.

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import traceback

import packages
from netlab import Lab, Refused, elements, inside, until

HOST, CLIENT = "10.99.0.1", "10.99.0.2"
OURS = ["-A FORWARD -i brt-+ -j ACCEPT", "-A FORWARD -o brt-+ -j ACCEPT"]
NETAVARK = "/usr/lib/podman/netavark"


class Skip(Exception):
    pass


def need(*programs):
    for p in programs:
        if not shutil.which(p) and not os.path.exists(p):
            raise Skip(f"{os.path.basename(p)} is not installed")


def tree_of(names, programs):
    if all(shutil.which(p) for p in programs):
        return ""
    try:
        return packages.unpacked(*names)
    except packages.Missing as e:
        raise Skip(str(e)) from e


class Machine:
    """Files and processes of a host's own; all of them end with it."""

    def __init__(self, lab, host, names=(), programs=()):
        tree = tree_of(names, programs)
        over = (f"cp -a {tree}/etc/. /run/etc && mount -t overlay -o lowerdir={tree}/usr:/usr overlay /usr &&"
                if tree else "")
        self.outer = subprocess.Popen(
            ["nsenter", f"--net={host.path}", "unshare", "-m", "-p", "--fork", "--kill-child=SIGKILL", "--mount-proc",
             "--propagation", "private", "sh", "-c",
             "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib/misc 2>/dev/null;"
             "mkdir -p /run/etc /run/dbus /run/lock /run/log && cp -a /etc/. /run/etc && "
             f"{over} mount --bind /run/etc /etc && mount --bind /run/log /var/log && echo ready && exec sleep infinity"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        lab.processes.append(self.outer)
        assert self.outer.stdout.readline() == "ready\n"
        with open(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children", encoding="ascii") as f:
            self.pid = f.read().split()[0]
        self.lab = lab

    def argv(self, command):
        return ["nsenter", "-t", self.pid, "-n", "-m", "-p", "sh", "-c", command]

    def run(self, command, check=True):
        p = subprocess.run(self.argv(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=120)
        if check and p.returncode:
            raise AssertionError(f"{command}: {p.returncode}: {p.stdout[-3000:]}")
        return p.stdout

    def start(self, command):
        p = subprocess.Popen(self.argv(f"exec {command} >/run/log/started 2>&1"), stdin=subprocess.DEVNULL)
        self.lab.processes.append(p)
        return p


class World:
    """A host with two tasks, a client outside, and who talks to whom."""

    def __init__(self, lab):
        self.lab = lab
        self.host, self.client = lab.host()
        self.net = lab.net(self.host)
        self.a, self.b = self.net.attach("a", "tcp:80:0"), self.net.attach("b", "tcp:80:0")
        self.server, self.server_b = lab.listen(self.a, 80), lab.listen(self.b, 80)
        self.outside = lab.listen(self.client, 80)

    def paths(self):
        return {
            "from outside": (self.client, self.server, (HOST, self.a.ports[0])),
            "to outside": (self.a, self.outside, (CLIENT, 80)),
            "to another task": (self.a, self.server_b, (self.b.address, 80)),
            "to a port of the host": (self.a, self.server_b, (HOST, self.b.ports[0])),
            "from the host": (self.host, self.server, ("127.0.0.1", self.a.ports[0])),
            "to itself by its port": (self.a, self.server, (HOST, self.a.ports[0])),
        }

    def works(self, why):
        for name, (place, server, to) in self.paths().items():
            if not self.lab.connects(place, server, to):
                rules = self.host.run("nft list ruleset")
                raise AssertionError(f"{why}: {name}: no connection; {rules[-3000:]}")

    def is_cut(self, name):
        place, server, to = self.paths()[name]
        return self.lab.held(place, server, to)

    def see(self):
        """Changes of others are seen to until there are no more."""
        said = []
        while True:
            try:
                said.append(int(self.net.say("change-seen 200")))
            except Refused as e:
                assert e.errno == errno.ETIMEDOUT, e
                return said


def says(place, to):
    """What a server says to who says nothing."""
    with inside(place.fd):
        s = socket.socket()
    with s:
        s.settimeout(2)
        try:
            s.connect(to)
            return s.recv(64).decode().strip()
        except OSError:
            return None


def saved(host, tool="iptables-nft"):
    """iptables-save without times and counters."""
    return [l for l in host.run(f"{tool}-save").split("\n") if l and l[0] != "#" and not l.startswith(":")] + sorted(
        l.split(" [")[0] for l in host.run(f"{tool}-save").split("\n") if l.startswith(":"))


# ---- iptables ----

def iptables_that_drops_lets_tasks_pass(lab):
    need("iptables-nft")
    w = World(lab)
    w.works("alone")
    w.host.run("iptables-nft -A FORWARD -s 192.0.2.1 -j DROP")
    w.see()
    assert not set(OURS) & set(saved(w.host)), "rules that nobody needs"
    w.host.run("iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP")
    assert w.is_cut("from outside") and w.is_cut("to outside"), "iptables does not drop"
    w.see()
    w.works("policy DROP")
    for tool in ("iptables-nft", "ip6tables-nft"):
        assert sorted(OURS) == sorted(l for l in saved(w.host, tool) if "brt-" in l), saved(w.host, tool)
        w.host.run(f"{tool} -L -v -n >/dev/null && {tool} -S")  # not "incompatible, use nft"
    w.host.run("iptables-nft-save >/tmp/berth-rules.$$ && iptables-nft-restore </tmp/berth-rules.$$; rm /tmp/berth-rules.$$")
    w.see()
    assert sorted(OURS) == sorted(l for l in saved(w.host) if "brt-" in l), "saved and restored"
    assert w.net.say("warnings") == ""


def rules_that_are_taken_away_come_back(lab):
    need("iptables-nft")
    w = World(lab)
    w.host.run("iptables-nft -P FORWARD DROP")
    w.see()
    w.host.run("iptables-nft -F FORWARD")
    assert w.is_cut("from outside")
    w.see()
    w.works("flushed")
    w.host.run("iptables-nft -D FORWARD -o brt-+ -j ACCEPT")
    w.net.say("sweep a b")  # as well as by the event
    assert sorted(OURS) == sorted(l for l in saved(w.host) if "brt-" in l)
    w.works("swept")


def what_somebody_puts_before_ours_stays_before(lab):
    need("iptables-nft")
    w = World(lab)
    w.host.run("iptables-nft -P FORWARD DROP")
    w.see()
    w.host.run(f"iptables-nft -I FORWARD -s {CLIENT} -j DROP")
    w.see()
    w.net.say("sweep a b")
    assert saved(w.host)[[l.startswith("-A FORWARD") for l in saved(w.host)].index(True)].endswith("-j DROP")
    assert w.is_cut("from outside")


def a_rule_that_rejects_the_rest_is_passed(lab):
    need("iptables-nft")
    w = World(lab)
    w.host.run("iptables-nft -A FORWARD -m comment --comment 'the rest' -j REJECT --reject-with icmp-host-prohibited")
    assert w.is_cut("from outside")
    w.see()
    w.works("REJECT at the end")
    w.host.run("iptables-nft -F FORWARD")
    w.see()
    assert not [l for l in saved(w.host) if "brt-" in l], "they stay for nothing"


def nothing_of_ours_stays_in_iptables(lab):
    need("iptables-nft")
    host, _ = lab.host()
    host.run("iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -i up0 -p tcp --dport 9 -j ACCEPT")
    before = saved(host)
    net = lab.net(host)
    assert set(OURS) <= set(saved(host)), "at the start"
    net.attach("a")
    net.say("destroy")
    assert saved(host) == before
    again = lab.net(host)
    assert set(OURS) <= set(saved(host))
    again.say("close")
    host.run("iptables-nft -P FORWARD ACCEPT")
    last = lab.net(host)
    assert not [l for l in saved(host) if "brt-" in l]
    last.say("destroy")


def two_berths_have_rules_of_their_own(lab):
    need("iptables-nft")
    host, _ = lab.host()
    host.run("iptables-nft -P FORWARD DROP")
    one, two = lab.net(host), lab.net(host, "berth-00a001")
    assert len([l for l in saved(host) if "brt" in l]) == 4
    one.say("destroy")
    assert [l.split()[3] for l in saved(host) if "brt" in l] == ["brt00a001-+"] * 2
    two.say("destroy")


def a_table_that_people_wrote_is_left_and_named(lab):
    w = World(lab)
    w.host.run("nft add table inet mine; nft 'add chain inet mine f { type filter hook forward priority 0; policy drop; }'")
    w.see()
    before = w.host.run("nft list table inet mine")
    w.net.say("sweep a b")
    assert w.host.run("nft list table inet mine") == before
    said = w.net.say("warnings")
    assert "chain f of nftables table inet mine" in said and "brt-*" in said, said
    w.host.run("nft 'add rule inet mine f iifname \"brt-*\" accept'; nft 'add rule inet mine f oifname \"brt-*\" accept'")
    assert w.net.say("warnings") == ""
    w.works("as the warning says")


# ---- what is ours is put back at once ----

def a_flushed_ruleset_is_back_at_once(lab):
    w = World(lab)
    before = w.host.run("nft list table inet berth")
    w.host.run("nft flush ruleset")
    assert w.is_cut("from outside")
    assert 2 in w.see(), "it was not said"
    assert sorted(w.host.run("nft list table inet berth")) == sorted(before)
    w.works("flushed")
    for spoil in ("nft flush chain inet berth forward", "nft flush map inet berth ports",
                  "nft add element inet berth hairpin '{ 10.0.0.1 . 10.0.0.1 }'", "nft delete table inet berth"):
        w.host.run(spoil)
        assert 2 in w.see(), spoil
        w.works(spoil)
    assert len(elements(w.host, "hairpin")) == 2


def what_we_do_ourselves_wakes_nobody(lab):
    need("iptables-nft")
    w = World(lab)
    w.host.run("iptables-nft -P FORWARD DROP")
    w.see()
    for i in range(20):
        w.net.attach(f"t{i}", "tcp:8000-8099:0")
    for i in range(20):
        w.net.detach(f"t{i}")
    w.net.say("sweep a b")
    assert w.see() == []
    w.host.run("nft add table ip other; nft add chain ip other c; nft add rule ip other c accept")
    assert set(w.see()) <= {0}


def a_storm_of_changes_is_lived_through(lab):
    w = World(lab)
    with open(os.path.join(lab.dir, "storm"), "w", encoding="ascii") as f:
        f.write("add table ip filter\nadd set ip filter s { type ipv4_addr; }\n")
        for i in range(20000):
            f.write(f"add element ip filter s {{ 10.1.{i // 250}.{i % 250} }}\n")
    w.host.run(f"nft -f {f.name}; nft flush ruleset")
    w.see()
    w.works("after a storm")


# ---- ufw ----

def ufw_lets_tasks_pass(lab):
    w = World(lab)
    m = Machine(lab, w.host, ["ufw"], ["ufw"])
    # as its package does when it is installed
    m.run("cp -n /usr/share/ufw/*.rules /usr/share/ufw/iptables/*.rules /usr/share/ufw/ufw.conf /etc/ufw")
    # ufw looks at processes up to init for ssh, which are of another namespace here
    m.run("ufw --force enable")
    assert "Status: active" in m.run("ufw status")
    w.see()
    w.works("ufw enabled")
    m.run("ufw reload")
    w.see()
    w.works("ufw reloaded")
    m.run("ufw default deny routed; ufw allow 22/tcp")
    w.see()
    w.works("ufw: deny routed")
    assert w.net.say("warnings") == ""
    w.net.say("destroy")
    assert "brt-" not in w.host.run("iptables-nft-save; ip6tables-nft-save")
    assert "Status: active" in m.run("ufw status")


# ---- firewalld ----

def firewalld_lets_tasks_pass(lab):
    w = World(lab)
    m = Machine(lab, w.host, ["firewalld", "dbus"], ["firewalld", "dbus-daemon", "firewall-cmd"])
    m.run("id messagebus || useradd --system messagebus")  # as the package dbus does when it is installed
    m.run("dbus-daemon --system --fork")
    m.start("firewalld --nofork --nopid")
    until(lambda: "running" == m.run("firewall-cmd --state 2>/dev/null", check=False).strip(), "firewalld", 60)
    w.see()
    w.works("firewalld started")
    m.run("firewall-cmd --reload")
    w.see()
    w.works("firewalld reloaded")
    m.run("firewall-cmd --complete-reload; firewall-cmd --zone=public --add-port=9/tcp")
    w.see()
    w.works("firewalld completely reloaded")
    assert w.net.say("warnings") == ""
    w.net.say("destroy")
    assert "brt-" not in w.host.run("nft list ruleset")
    assert m.run("firewall-cmd --state").strip() == "running"


# ---- Docker ----

def docker_and_we_share_a_host(lab):
    w = World(lab)
    m = Machine(lab, w.host, ["docker.io"], ["dockerd", "containerd"])
    command = ("dockerd --data-root /run/docker-data --exec-root /run/docker --pidfile /run/docker.pid "
               "--storage-driver vfs -H unix:///run/docker.sock --iptables=true --userland-proxy=false")
    for turn in ("started", "started again"):
        w.host.run("sysctl -qw net.ipv4.ip_forward=0")  # where Docker turns it on it drops what it does not know
        p = m.start(command)

        def ready():
            if p.poll() is not None:
                raise Skip("dockerd does not run here: " + m.run("tail -n 2 /run/log/started")[-300:].replace("\n", " "))
            return "DOCKER-USER" in w.host.run("iptables-nft -S", check=False)
        until(ready, "dockerd", 60)
        until(lambda: "-P FORWARD DROP" in w.host.run("iptables-nft -S FORWARD"), "Docker's policy")
        w.see()
        w.works("Docker " + turn)
        m.run("kill $(cat /run/docker.pid)")
        p.wait(60)
    assert w.net.say("warnings") == ""
    w.net.say("destroy")
    assert "brt-" not in w.host.run("iptables-nft-save")
    assert "DOCKER-USER" in w.host.run("iptables-nft -S")


# ---- podman ----

def netavark_and_we_share_a_host(lab):
    need(NETAVARK, "iptables-nft", "busybox")
    w = World(lab)
    m = Machine(lab, w.host)
    config = {"container_id": "c", "container_name": "c",
              "port_mappings": [{"container_port": 80, "host_ip": "", "host_port": 20080, "protocol": "tcp", "range": 1}],
              "networks": {"podman": {"interface_name": "eth0", "static_ips": ["10.88.0.2"]}},
              "network_info": {"podman": {"name": "podman", "id": "2f25", "driver": "bridge", "network_interface": "podman0",
                                          "internal": False, "ipv6_enabled": False, "dns_enabled": False,
                                          "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}],
                                          "ipam_options": {"driver": "host-local"}, "created": "2026-01-01T00:00:00Z"}}}
    m.run(f"mkdir -p /run/netns && ip netns add c && echo '{json.dumps(config)}' >/run/c.json && "
          f"{NETAVARK} setup /run/netns/c </run/c.json >/dev/null")
    w.see()
    w.works("a container of podman's")
    m.start("ip netns exec c busybox nc -ll -p 80 -e echo podman")
    until(lambda: says(w.client, (HOST, 20080)) == "podman", "podman's port")
    w.net.say("sweep a b")
    assert says(w.client, (HOST, 20080)) == "podman"
    m.run(f"{NETAVARK} teardown /run/netns/c </run/c.json")
    w.see()
    w.works("podman's container gone")


def check(cases):
    bad = 0
    for case in cases:
        name = case.__name__.replace("_", " ")
        try:
            with Lab() as lab:
                case(lab)
            print(f"ok {name}", flush=True)
        except Skip as reason:
            print(f"skip {name}: {reason}", flush=True)
        except Exception:
            bad += 1
            print(f"not ok {name}\n{traceback.format_exc()[-6000:]}", flush=True)
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    CASES = [iptables_that_drops_lets_tasks_pass, rules_that_are_taken_away_come_back,
             what_somebody_puts_before_ours_stays_before, a_rule_that_rejects_the_rest_is_passed,
             nothing_of_ours_stays_in_iptables, two_berths_have_rules_of_their_own,
             a_table_that_people_wrote_is_left_and_named, a_flushed_ruleset_is_back_at_once,
             what_we_do_ourselves_wakes_nobody, a_storm_of_changes_is_lived_through, ufw_lets_tasks_pass,
             firewalld_lets_tasks_pass, docker_and_we_share_a_host, netavark_and_we_share_a_host]
    check([c for c in CASES if not sys.argv[1:] or any(a in c.__name__ for a in sys.argv[1:])])
