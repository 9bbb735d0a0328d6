#!/usr/bin/env python3
# tests/bench/net.py - networks of tasks: made by us, netavark, the CNI plugins; and what crosses them
# SPDX-License-Identifier: Apache-2.0
#
# First the making of one.
# One published port each, taken in turn, each in a network namespace that plays
# the host. Ours makes the namespace too; for the others it is there already,
# and what is timed is their processes. Prints the median of each and ratios. Then traffic: paths are
# taken in turn, round by round, and what is printed are ratios of time per round trip (rr),
# connection (crr) and MiB (stream), beside them the same of the CPU time of both ends.

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import netlab

ROUNDS = 25
POOL = 4  # networks that wait: net/netns.c
CNI = "/usr/lib/cni"
NETAVARK = "/usr/lib/podman/netavark"
TRAFFIC = os.path.abspath(os.path.join(netlab.BUILD, "tests/e2e/tools/traffic"))


class Place:
    """A network and mount namespace with a /run of its own, and a shell in it."""

    def __init__(self):
        self.shell = subprocess.Popen(["unshare", "-n", "-m", "--propagation", "private", "sh"], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.run("mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/lib; ip link set lo up; mkdir -p /run/netns;"
                 "ip link add up0 type veth peer name up1; ip addr add 10.99.0.1/24 dev up0; ip link set up0 up")

    def run(self, command):
        self.shell.stdin.write(f"{{ {command}; }} </dev/null 2>&1; code=$?; echo; echo done-$code\n")
        self.shell.stdin.flush()
        lines = []
        for line in self.shell.stdout:
            if line.startswith("done-"):
                return int(line[5:]), "".join(lines)
            lines.append(line)
        raise RuntimeError(f"{command}: the shell ended: {''.join(lines)}")

    def timed(self, command):
        start = time.monotonic()
        code, out = self.run(command)
        seconds = time.monotonic() - start
        if code:
            raise RuntimeError(f"{command}: {out}")
        return seconds * 1000

    def close(self):
        self.shell.stdin.close()
        self.shell.wait()


class Ours:
    name = "berth"

    def __init__(self, build):
        self.place = Place()
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/proc/{self.place.shell.pid}/ns/net", f"--mount=/proc/{self.place.shell.pid}/ns/mnt",
             os.path.abspath(os.path.join(build, "tests/e2e/tools/net"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.say("open berth /run/berth/net")

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer.startswith("ok"):
            raise RuntimeError(answer)
        return answer[3:]

    def once(self, i):
        attach, detach = self.say("bench 1").split("/")
        return int(attach) / 1000, int(detach) / 1000

    def close(self):
        self.say("destroy")
        self.process.stdin.close()
        self.process.wait()
        self.place.close()


class Other:
    def __init__(self):
        self.place = Place()

    def once(self, i):
        self.place.run(f"ip netns add t{i}")
        add, remove = self.commands(i)
        times = self.place.timed(add), self.place.timed(remove)
        self.place.run(f"ip netns del t{i}")
        return times

    def close(self):
        self.place.close()


class Netavark(Other):
    name = "netavark"

    def commands(self, i):
        config = {"container_id": f"t{i}", "container_name": f"t{i}",
                  "port_mappings": [{"container_port": 80, "host_ip": "", "host_port": 20000 + i,
                                     "protocol": "tcp", "range": 1}],
                  "networks": {"podman": {"interface_name": "eth0", "static_ips": [f"10.88.0.{i + 2}"]}},
                  "network_info": {"podman": {"name": "podman", "id": "2f25", "driver": "bridge",
                                              "network_interface": "podman0", "internal": False,
                                              "ipv6_enabled": False, "dns_enabled": False,
                                              "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}],
                                              "ipam_options": {"driver": "host-local"},
                                              "created": "2026-01-01T00:00:00Z"}}}
        with open(f"/proc/{self.place.shell.pid}/root/run/t{i}.json", "w", encoding="utf-8") as f:
            json.dump(config, f)
        return (f"{NETAVARK} setup /run/netns/t{i} </run/t{i}.json",
                f"{NETAVARK} teardown /run/netns/t{i} </run/t{i}.json")


class Cni(Other):
    name = "CNI bridge+portmap"

    def commands(self, i):
        run = f"/proc/{self.place.shell.pid}/root/run"
        bridge = {"cniVersion": "0.4.0", "name": "n", "type": "bridge", "bridge": "cni0", "isGateway": True,
                  "ipMasq": True, "ipam": {"type": "host-local", "subnet": "10.87.0.0/16", "dataDir": "/run/ipam"}}
        result = {"cniVersion": "0.4.0", "interfaces": [{"name": "eth0", "sandbox": f"/run/netns/t{i}"}],
                  "ips": [{"version": "4", "interface": 0, "address": f"10.87.0.{i + 2}/16", "gateway": "10.87.0.1"}]}
        portmap = {"cniVersion": "0.4.0", "name": "n", "type": "portmap", "prevResult": result,
                   "runtimeConfig": {"portMappings": [{"hostPort": 20000 + i, "containerPort": 80,
                                                       "protocol": "tcp"}]}}
        for name, config in (("b", bridge), ("p", portmap)):
            with open(f"{run}/{name}{i}.json", "w", encoding="utf-8") as f:
                json.dump(config, f)
        env = f"CNI_CONTAINERID=t{i} CNI_NETNS=/run/netns/t{i} CNI_IFNAME=eth0 CNI_PATH={CNI}"
        return (f"{env} CNI_COMMAND=ADD {CNI}/bridge </run/b{i}.json && {env} CNI_COMMAND=ADD {CNI}/portmap </run/p{i}.json",
                f"{env} CNI_COMMAND=DEL {CNI}/portmap </run/p{i}.json && {env} CNI_COMMAND=DEL {CNI}/bridge </run/b{i}.json")


# ---- traffic ----

RR, CRR, STREAM = 6000, 1500, 512  # round trips, connections, MiB of one measurement
TRAFFIC_ROUNDS = 9
MANY = 10000


def on_cpu(pid):
    """Nanoseconds that a process has had, those of its threads that have ended included: clock_getcpuclockid(3)."""
    return time.clock_gettime_ns(~pid << 3 | 2)


class Path:
    """From a place to a server in another; all on one CPU, so that wall time is the path's."""

    def __init__(self, name, lab, place, to, server, proxy=None):
        self.name, self.place, self.to, self.server, self.proxy = name, place, to, server, proxy
        self.wall, self.cpu = {}, {}

    def once(self, kind, count):
        served = [p for p in (self.server, self.proxy) if p]
        before = sum(on_cpu(p.pid) for p in served)
        out = subprocess.run(["taskset", "-c", "1", "nsenter", f"--net={self.place.path}", TRAFFIC, kind, self.to[0],
                              str(self.to[1]), str(count)], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        cpu = int(out[1]) + (sum(on_cpu(p.pid) for p in served) - before) / count
        self.wall.setdefault(kind, []).append(int(out[0]))
        self.cpu.setdefault(kind, []).append(cpu)


def serve(lab, place, *words):
    p = subprocess.Popen(["taskset", "-c", "1", "nsenter", f"--net={place.path}", TRAFFIC, *map(str, words)],
                         stdin=subprocess.DEVNULL)
    lab.processes.append(p)
    port = int(words[1])
    netlab.until(lambda: f":{port:04X} 00000000:0000 0A" in open(f"/proc/{p.pid}/net/tcp", encoding="ascii").read(),
                 "a listener")
    return p


def compare(title, goal, path, base, kinds=("rr", "crr", "stream")):
    """Times of a path over times of another, round by round: the median, and the best of each."""
    print(f"net {title}:", end="")
    for kind in kinds:
        ratios = [statistics.median(x / y for x, y in zip(a, b))
                  for a, b in ((path.wall[kind], base.wall[kind]), (path.cpu[kind], base.cpu[kind]))]
        best = min(path.wall[kind]) / min(base.wall[kind])
        print(f" {kind} {statistics.median(path.wall[kind]) / 1000:.1f} us, {ratios[0]:.3f} (best {best:.3f}, CPU "
              f"{ratios[1]:.3f});", end="")
    print(f" goal {goal}", flush=True)


def measure(paths, kinds=("rr", "crr", "stream")):
    count = {"rr": RR, "crr": CRR, "stream": STREAM}
    for _ in range(TRAFFIC_ROUNDS):
        for kind in kinds:
            for p in paths:
                p.once(kind, count[kind])


def ports_and_tasks():
    with netlab.Lab() as lab:
        host, client = lab.host()
        net = lab.net(host, ports=(20000, 59999))
        a, b = net.attach("a", "tcp:80:18080"), net.attach("b")
        server = serve(lab, a, "serve", 80)
        proxy = serve(lab, host, "proxy", 18081, a.address, 80)
        many_host = lab.namespace("many")
        lab.wire(many_host, "up1", "10.98.0.1/24", client, "up1", "10.98.0.2/24")
        many = lab.net(many_host, ports=(20000, 59999))
        c, d = many.attach("c", f"tcp:1-{MANY}:0"), many.attach("d")
        many_server = serve(lab, c, "serve", 80)
        one, other = lab.namespace("one"), lab.namespace("other")
        lab.wire(one, "v0", "10.97.0.1/24", other, "v0", "10.97.0.2/24")
        bare_server = serve(lab, other, "serve", 80)

        long_host = lab.namespace("long")
        long_net = lab.net(long_host, options="shortcuts=no")
        e, f = long_net.attach("a"), long_net.attach("b")

        direct = Path("direct", lab, b, (a.address, 80), server)
        long_way = Path("long", lab, f, (e.address, 80), serve(lab, e, "serve", 80))
        published = Path("published", lab, b, ("10.99.0.1", 18080), server)
        outside = Path("outside", lab, client, ("10.99.0.1", 18080), server)
        outside_many = Path("of 10,000", lab, client, ("10.98.0.1", c.ports[0] + 79), many_server)
        proxied = Path("proxied", lab, client, ("10.99.0.1", 18081), server, proxy)
        bare = Path("bare", lab, one, ("10.97.0.2", 80), bare_server)
        measure([direct, long_way, published, outside, outside_many, proxied, bare])
        compare("a published port over direct", "1/0.95 = 1.053 in stream", published, direct)
        compare("the same over direct without its shortcut", "the same", published, long_way)
        compare("one of 10,000 published ports over one of one", "1.05", outside_many, outside)
        compare("a userland proxy over a published port", "2.4 in crr", proxied, outside)
        compare("task to task over a bare veth pair", "1/0.95 = 1.053", direct, bare)
        start = time.monotonic()
        many.attach("e", f"tcp:1-{MANY}:0")
        middle = time.monotonic()
        many.detach("e")
        print(f"net a range of {MANY} ports: attach {(middle - start) * 1000:.0f} ms, detach "
              f"{(time.monotonic() - middle) * 1000:.0f} ms")
        del d


# ---- security groups ----

def address(block, n):
    """The n-th of a VPC's; the first few of it are nobody's, as on AWS."""
    return f"10.{block}.{n // 240}.{n % 240 + 10}"


def router(lab, name, rules):
    """Two namespaces and a host between them, as our links are, with a table of its own or none."""
    host, one, two = lab.namespace(name), lab.namespace(name + "1"), lab.namespace(name + "2")
    lab.wire(host, "t1", "10.96.1.1/24", one, "eth0", "10.96.1.2/24")
    lab.wire(host, "t2", "10.96.2.1/24", two, "eth0", "10.96.2.2/24")
    host.run("sysctl -qw net.ipv4.ip_forward=1")
    one.run("ip route add default via 10.96.1.1")
    two.run("ip route add default via 10.96.2.1")
    if rules:
        host.run(f"nft '{rules}'")
    return one, two


CONNTRACK = "chain f { type filter hook forward priority 0; ct state established,related accept; }; "
# What any firewall must do that asks for sender, receiver and port, with no other task and no
# other rule; and one that also publishes ports and takes from a link only its own address.
ONE_SET = ("set s { typeof ip saddr . ip daddr . tcp dport; elements = { 10.96.1.2 . 10.96.2.2 . 80 }; }; "
           "chain f { type filter hook forward priority 0; policy drop; ct state established,related accept; "
           "ip saddr . ip daddr . tcp dport @s accept; }; ")
SOURCE_AND_NAT = ("chain r { type filter hook prerouting priority -300; fib saddr . iif oif missing drop; }; "
                  "chain p { type nat hook prerouting priority -100; }; "
                  "chain q { type nat hook postrouting priority 100; }; ")


def groups():
    """10,000 members of 100 groups, 10,000 rules, and two of them that talk; and two that have no busy flow."""
    with netlab.Lab() as lab:
        host, _ = lab.host()
        net = lab.net(host)
        ours = [net.attach(f"m{i}", f"own={address(95, i)}", "vpc=10.95.0.0/16", mode="awsvpc") for i in range(4)]
        for g in range(100):
            members = " ".join(f"joined={address(95, n)}" for n in range(g * 100, g * 100 + 100))
            rules = " ".join([f"in=tcp,{p},{p},sg-{(g + p) % 100}" for p in range(1000, 1050)] +
                             [f"in=tcp,{p},{p},10.{p % 200}.0.0/16" for p in range(2000, 2049)])
            net.say(f"group sg-{g} out=-1,-1,-1,0.0.0.0/0 in=tcp,80,80,sg-0 {rules} {members}")
        start = time.monotonic()
        net.say("commit")
        print(f"net security groups: 100 groups of 100 members and 101 rules each told in "
              f"{(time.monotonic() - start) * 1000:.0f} ms")
        secured = Path("groups", lab, ours[0], (ours[1].address, 80), serve(lab, ours[1], "serve", 80))
        rare = Path("rare", lab, ours[2], (ours[3].address, 80), serve(lab, ours[3], "serve", 80))
        floors = {}
        for name, rules in (("nothing", ""), ("conntrack", CONNTRACK), ("set", ONE_SET), ("least", ONE_SET + SOURCE_AND_NAT)):
            one, two = router(lab, name[0], rules and f"table inet t {{ {rules} }}")
            floors[name] = Path(name, lab, one, ("10.96.2.2", 80), serve(lab, two, "serve", 80))
        nothing, tracked = floors["nothing"], floors["conntrack"]
        for _ in range(TRAFFIC_ROUNDS):
            for p in (secured, nothing, tracked):
                p.once("rr", RR)
            for p in (secured, rare, *floors.values()):
                p.once("crr", CRR)
        for name, what in (("set", "one member and one rule"), ("least", "the same with a check of sources and NAT")):
            compare(f"floor, {what}, over conntrack alone", "none", floors[name], tracked, ("crr",))
        compare("floor, conntrack alone over no firewall", "none", tracked, nothing, ("crr",))
        for base, what, goal in ((tracked, "conntrack alone", "1.05"), (nothing, "no firewall", "1.15")):
            compare(f"10,000 members and 10,100 rules over {what}, with busy flows", f"{goal} in crr", secured, base,
                    ("rr", "crr"))
            compare(f"the same without busy flows over {what}", goal, rare, base, ("crr",))


# ---- many ----

ENDPOINTS = 4000


def many_descriptors():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def slab_kib():
    with open("/proc/meminfo", encoding="ascii") as f:
        return next(int(l.split()[1]) for l in f if l.startswith("Slab:"))


def four_thousand():
    many_descriptors()
    with netlab.Lab() as lab:
        host, _ = lab.host()
        net = lab.net(host)
        net.say("group sg-all in=udp,7,7,sg-all out=-1,-1,-1,0.0.0.0/0 "
                + " ".join(f"joined={address(94, i)}" for i in range(ENDPOINTS)))
        net.say("commit")
        before, tasks, times = slab_kib(), [], []
        for i in range(ENDPOINTS):
            start = time.monotonic()
            tasks.append(net.attach(f"e{i}", f"own={address(94, i)}", "vpc=10.94.0.0/16", mode="awsvpc"))
            times.append((time.monotonic() - start) * 1000)
        print(f"net {ENDPOINTS} awsvpc tasks up in {sum(times) / 1000:.1f} s: p50 {statistics.median(times[:500]):.2f} ms "
              f"of the first 500, {statistics.median(times[-500:]):.2f} ms of the last; slab "
              f"{(slab_kib() - before) / ENDPOINTS:.0f} KiB each", flush=True)
        reached = 0
        asking = lab.udp(tasks[0])
        asking.settimeout(5)
        start = time.monotonic()
        for t in tasks:
            echo = lab.udp(t, t.address, 7)
            asking.sendto(b"echo", (t.address, 7))
            echo.settimeout(5)
            data, who = echo.recvfrom(16)
            echo.sendto(data, who)
            reached += asking.recvfrom(16) == (b"echo", (t.address, 7))
            lab.sockets.remove(echo)
            echo.close()
        print(f"net {reached} of {ENDPOINTS} answered an echo, in {time.monotonic() - start:.1f} s", flush=True)
        for t in tasks:
            t.close()
        start = time.monotonic()
        for i in range(1, 1001):
            net.say(f"detach e{i}")
        print(f"net 1,000 of them removed: {time.monotonic() - start:.3f} ms each", flush=True)
        for i in range(1, 1001):
            net.say(f"drop e{i}")
        start = time.monotonic()
        # Those that wait for tasks have no alias.
        netlab.until(lambda: int(host.run("ip -o link 2>&1 | grep -c ' brt.* alias '")) <= ENDPOINTS - 1000, "their links gone", 120)
        print(f"net their links are gone {time.monotonic() - start:.1f} s later", flush=True)


def one_among_many():
    """With none up and with 1,000: those of the pool, the first of which finds everything asleep, and without the pool."""
    many_descriptors()
    with netlab.Lab() as lab:
        host, _ = lab.host()
        net = lab.net(host)
        p50 = {}

        def look(when):
            cold = [int(x.split("/")[0]) for x in net.say("bench 200").split()[100:]]
            ready = []
            for _ in range(25):
                time.sleep(0.2)  # the pool fills when none was taken for a quarter of that
                ready.append([int(x.split("/")[0]) for x in net.say(f"bench {POOL}").split()])
            p50[when] = (statistics.median(cold) / 1000, statistics.median(x for r in ready for x in r) / 1000,
                         statistics.median(r[0] for r in ready) / 1000)
        look("none")
        for i in range(1000):
            net.attach(f"t{i}", "tcp:80:0")
        look("1,000")
        for when, (cold, ready, first) in p50.items():
            print(f"net one network with {when} up: p50 {cold:.3f} ms without the pool, {ready:.3f} ms from the pool "
                  f"({POOL} in a row), {first:.3f} ms the first of them after a rest")
        print("net with 1,000 up over with none: " + ", ".join(
            f"{p50['1,000'][i] / p50['none'][i]:.2f} {what}"
            for i, what in enumerate(("without the pool", "from the pool", "the first"))) + "; goal 1.2")


def setups(build):
    subjects = [Ours(build)]
    for peer, there in ((Netavark, os.path.exists(NETAVARK)),
                        (Cni, os.path.exists(CNI + "/portmap") and shutil.which("iptables"))):
        if there:
            subjects.append(peer())
        else:
            print(f"net: {peer.name} is not installed")
    times = {s.name: ([], []) for s in subjects}
    try:
        for i in range(ROUNDS):
            for s in subjects:
                for series, value in zip(times[s.name], s.once(i)):
                    series.append(value)
    finally:
        for s in subjects:
            s.close()

    for what, k in (("attach", 0), ("detach", 1)):
        ours = statistics.median(times[subjects[0].name][k])
        print(f"net {what}: berth {ours:.3f} ms", end="")
        for s in subjects[1:]:
            theirs = statistics.median(times[s.name][k])
            print(f", {s.name} {theirs:.1f} ms (ratio {ours / theirs:.4f})", end="")
        print()


def main(build):
    setups(build)
    one_among_many()
    ports_and_tasks()
    groups()
    four_thousand()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "build/release")
