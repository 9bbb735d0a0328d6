#!/usr/bin/env python3
# tests/bench/net.py - the network of one task: ours, netavark's, the CNI plugins'
# SPDX-License-Identifier: Apache-2.0
#
# One published port each, taken in turn, each in a network namespace that plays
# the host. Ours makes the namespace too; for the others it is there already,
# and what is timed is their processes. Prints the median of each and ratios.

import json
import os
import shutil
import statistics
import subprocess
import sys
import time

ROUNDS = 25
CNI = "/usr/lib/cni"
NETAVARK = "/usr/lib/podman/netavark"


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


def main(build):
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


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "build/release")
