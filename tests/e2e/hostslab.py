# tests/e2e/hostslab.py - hosts of one cluster as network namespaces on one switch
# SPDX-License-Identifier: Apache-2.0

import os
import shutil
import subprocess

import netlab
from berth import BUILD, run


class Hosts:
    """A host for each letter, 10.99.0.1/24 and so on at up0; the registry is on the loopback of each."""

    def __init__(self, names, registry):
        self.names, self.nodes, self.places = names, {}, {}
        self.lab = netlab.Lab()
        self.switch = self.lab.namespace("switch")
        self.switch.run("ip link add br0 type bridge; ip link set br0 up")
        for n, name in enumerate(names, 1):
            self.plug(name, f"10.99.0.{n}/24")
            self.serve(name, registry)

    def plug(self, name, address):
        """A namespace at the switch, by its up0."""
        place = self.places[name] = self.lab.namespace(name)
        self.switch.run(f"ip link add to-{name} type veth peer name up0 netns {place.process.pid}; "
                        f"ip link set to-{name} master br0 up")
        place.run(f"ip addr add {address} dev up0; ip link set up0 up")
        return place

    def plug_behind_nat(self, name, address):
        """A namespace with 192.168.7.2 that reaches the switch by a router, which hides it behind its own address."""
        router = self.plug(f"{name}-nat", address)
        place = self.places[name] = self.lab.namespace(name)
        self.lab.wire(router, "in0", "192.168.7.1/24", place, "up0", "192.168.7.2/24")
        place.run("ip route add default via 192.168.7.1")
        router.run("sysctl -qw net.ipv4.ip_forward=1; nft add table ip nat; "
                   "nft add chain ip nat out '{ type nat hook postrouting priority srcnat; }'; "
                   "nft add rule ip nat out oifname up0 masquerade")

    def serve(self, name, registry):
        config = os.path.join(self.lab.dir, name + ".yml")
        with open(config, "w") as f:
            f.write("version: 0.1\nlog: {level: error}\n"
                    f"storage: {{filesystem: {{rootdirectory: {registry.dir}/data}}}}\n"
                    f"http: {{addr: \"{registry.address}\"}}\n")
        self.lab.processes.append(subprocess.Popen(
            [*self.inside(name), "docker-registry", "serve", config], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def inside(self, name):
        return ["nsenter", "--net=" + self.places[name].path]

    def run(self, name, command):
        return self.places[name].run(command)

    def link(self, name, state):
        """The cable of a host: "up" or "down"."""
        self.switch.run(f"ip link set to-{name} {state}")

    def add(self, name, node):
        """A daemon that lives in a host, started there."""
        self.nodes[name] = node
        node.start(*self.inside(name))

    def end(self):
        """As Daemon.destroy(), in the host's own namespace: there its networks are."""
        for name, node in reversed(list(self.nodes.items())):
            node.stop()
            run(*self.inside(name), os.path.join(BUILD, "berthd"), "destroy", "--root", node.root)
            shutil.rmtree(node.dir)
        self.lab.__exit__()
