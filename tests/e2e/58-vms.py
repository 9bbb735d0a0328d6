#!/usr/bin/python3
# tests/e2e/58-vms.py - three machines with kernels of their own, one cluster over WireGuard
# SPDX-License-Identifier: Apache-2.0
#
# QEMU machines with Debian's kernel and cgroup v2 alone, on one switch. On the
# first are the server and a node, on the others nodes. What is on their disks is
# a busybox and Berth; all is done in them through their channels.

import json
import os
import re
import shutil
import socket
import tempfile

import berth
import netlab
import vmlab
from berth import BUILD, Registry, Skip, contains, equal, main, run

SLOW = 120
IMAGE = "127.0.0.1:5000/demo:1"
PROGRAMS = ("berth", "berthd", "berth-keeper", "berth-oci", "berth-worker", "berth-fetcher", "berth-reader",
            "berth-uplink", "berth-metadata", "berth-resolver")
TOOLS = ("/usr/bin/curl", "/usr/bin/docker-registry")
MODULES = ("virtio_pci virtio_blk virtio_net virtio_console virtio_rng overlay nf_tables nft_fib_inet nft_ct nft_nat nft_masq "
           "nft_chain_nat nft_limit nft_log nft_reject_inet nfnetlink_log nf_log_syslog nf_conntrack_netlink veth vxlan "
           "wireguard tun").split()
DISK_MIB = 256

START = """#!/bin/busybox sh
export PATH=/build:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /tmp; mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --make-rshared /
n=$(sed 's/.*host=\\([0-9]\\).*/\\1/' /proc/cmdline)
hostname host$n
ip link set lo up; ip addr add 10.99.0.$n/24 dev eth0; ip link set eth0 up
docker-registry serve /registry.yml >/dev/null 2>&1 &
until [ -c /dev/vport0p1 ]; do sleep 0.05; done # it comes a little later than its driver
exec 3<>/dev/vport0p1
echo ready >&3
while true; do
	read -r seconds script <&3 || { sleep 0.1; continue; }
	echo "$script" | base64 -d >/run/script
	timeout -k 1 "$seconds" sh /run/script >/run/output 2>&1 </dev/null
	echo "$? $(stat -c %s /run/output)" >&3
	cat /run/output >&3
done
"""

REGISTRY = """version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: /registry}, maintenance: {uploadpurging: {enabled: false}}}
http: {addr: "127.0.0.1:5000"}
"""

CONFIG = "[server]\nnode-heartbeat-seconds = 1\n[network]\ntransport = wireguard\nnode-address = 10.99.0.%d\n"


def wait_for(condition, what):
    return berth.wait_for(condition, SLOW, what, pause=0.2)


def make_disk(work):
    tree = os.path.join(work, "root")
    for name in "proc sys dev tmp run root build var etc".split():
        os.makedirs(os.path.join(tree, name))
    vmlab.add_busybox(tree)
    for tool in TOOLS:
        vmlab.add_program(tree, tool)
    for name in PROGRAMS:
        vmlab.add_program(tree, os.path.join(BUILD, name), "/build/" + name)
        run("strip", os.path.join(tree, "build", name))
    vmlab.write(tree, "etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    vmlab.write(tree, "etc/group", "root:x:0:\nnogroup:x:65534:\n")
    vmlab.write(tree, "registry.yml", REGISTRY)
    vmlab.write(tree, "start", START, 0o755)
    with Registry() as registry:
        registry.demo()
        shutil.copytree(os.path.join(registry.dir, "data"), os.path.join(tree, "registry"))
    vmlab.make_disk(tree, os.path.join(work, "disk"), DISK_MIB)


class Machine:
    """One of the three; what it writes to its disk stays when its power goes."""

    def __init__(self, number):
        self.number, self.guest = number, None
        self.disk = os.path.join(work, f"disk-{number}")
        run("cp", "--sparse=always", os.path.join(work, "disk"), self.disk)
        switch.run(f"ip tuntap add dev t{number} mode tap; ip link set t{number} master br0 up")

    def boot(self):
        self.guest = vmlab.Guest(
            vmlinuz, os.path.join(work, "initrd.cpio"), "-drive", f"file={self.disk},if=virtio,format=raw,cache=unsafe",
            "-netdev", f"tap,id=n,ifname=t{self.number},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=n,mac=52:54:00:00:00:0{self.number}",
            append=f"host={self.number}", memory=512, inside=["nsenter", "--net=" + switch.path])
        self.sh = self.guest.sh
        return self

    def begin(self, words):
        self.sh("mkdir -p /etc/berth; cat >/etc/berth/berth.conf <<EOF\n" + CONFIG % self.number + "EOF\n"
                f"setsid berthd {words} >>/var/berthd.log 2>&1 &")

    def log(self):
        return self.sh("tail -n 30 /var/berthd.log")

    def end(self):
        if self.guest:
            self.guest.end()


def cleanup():
    for m in machines:
        m.end()
    lab.__exit__()
    shutil.rmtree(work)


def call(target, **body):
    """A call of the API on the first machine."""
    text = server.sh("curl -s --unix-socket /run/berth/api.sock -H 'Content-Type: application/x-amz-json-1.1' "
                     f"-H 'X-Amz-Target: {target}' --data-binary @- http://berth/ <<'EOF'\n{json.dumps(body)}\nEOF")
    doc = json.loads(text)
    assert "__type" not in doc, f"{target}: {doc}"
    return doc


def ecs(operation, **body):
    return call("AmazonEC2ContainerServiceV20141113." + operation, **body)


def ec2(form):
    text = server.sh("curl -s --unix-socket /run/berth/api.sock --data-binary @- http://berth/ <<'EOF'\n"
                     f"{form}&Version=2016-11-15\nEOF")
    assert "<Error>" not in text, text
    return text


def instances():
    """Container instances by the name of their host."""
    arns = ecs("ListContainerInstances")["containerInstanceArns"]
    found = ecs("DescribeContainerInstances", containerInstances=arns)["containerInstances"] if arns else []
    return {next(a["value"] for a in i["attributes"] if a["name"] == "berth.hostname"): i for i in found}


def task(arn):
    return ecs("DescribeTasks", tasks=[arn])["tasks"][0]


def start(host, *groups):
    reply = ecs("StartTask", containerInstances=[instances()[host]["containerInstanceArn"]], taskDefinition="web",
                networkConfiguration=dict(awsvpcConfiguration=dict(subnets=[subnet], securityGroups=list(groups))))
    equal(reply["failures"], [])
    return reply["tasks"][0]["taskArn"]


def wait_running(arn):
    def running():
        t = task(arn)
        assert t["lastStatus"] != "STOPPED", t
        return t["lastStatus"] == "RUNNING" and t
    return wait_for(running, arn)


def address_of(arn):
    return task(arn)["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]


def reaches(machine, arn, address):
    """From within a task's network to port 80 of an address."""
    script = (f"pid=$(berth-oci --root /run/berth/oci list | awk '/^{arn.split('/')[-1]}/ {{print $2; exit}}')\n"
              f"nsenter -t $pid -n curl -s -o /dev/null --connect-timeout 3 -m 10 http://{address}/")
    return machine.sh("(" + script + ") && echo yes || echo no").strip() == "yes"


try:
    vmlinuz, release = vmlab.kernel()
except Skip as reason:
    print(f"skip 58-vms: {reason}")
    raise SystemExit(0) from None

os.makedirs(vmlab.VM, exist_ok=True)
work = tempfile.mkdtemp(prefix="vms-", dir=vmlab.VM)
lab = netlab.Lab()
machines, tasks = [], {}
try:
    make_disk(work)
    vmlab.make_disk_initrd(work, release, MODULES, "/start")
    switch = lab.namespace("switch")
    switch.run("ip link set lo up; ip link add br0 type bridge; ip link set br0 up")
    for number in (1, 2, 3):
        machines.append(Machine(number))
    for m in machines:
        m.boot()
    server = machines[0]
except BaseException:
    cleanup()
    raise


def test_three_machines_become_one_cluster():
    global subnet, group
    server.begin("--node-listen 10.99.0.1:4567")
    wait_for(lambda: "ready:" in server.log(), "the server")
    for m in machines[1:]:
        token = server.sh("berth node token").strip().split("\n")[-1]
        m.begin(f"agent --server 10.99.0.1:4567 --token {token}")
    wait_for(lambda: sum(i["agentConnected"] for i in instances().values()) == 3, "three nodes")
    equal(sorted(instances()), ["host1", "host2", "host3"])
    subnet = re.search(r"<subnetId>(\S+?)</subnetId>", ec2("Action=DescribeSubnets")).group(1)
    vpc = re.search(r"<vpcId>(\S+?)</vpcId>", ec2("Action=DescribeVpcs")).group(1)
    group = re.search(r"<groupId>(\S+?)</groupId>", ec2(
        f"Action=CreateSecurityGroup&GroupName=web&GroupDescription=web&VpcId={vpc}")).group(1)
    ec2(f"Action=AuthorizeSecurityGroupIngress&GroupId={group}&IpPermissions.1.IpProtocol=tcp"
        f"&IpPermissions.1.FromPort=80&IpPermissions.1.ToPort=80&IpPermissions.1.Groups.1.GroupId={group}")
    ecs("RegisterTaskDefinition", family="web", networkMode="awsvpc", containerDefinitions=[
        dict(name="c", image=IMAGE, memory=32, stopTimeout=2, portMappings=[dict(containerPort=80)])])


def test_tasks_reach_each_other_and_the_wire_shows_nothing():
    for host in ("host1", "host2", "host3"):
        tasks[host] = start(host, group)
    for arn in tasks.values():
        wait_running(arn)
    addresses = {host: address_of(arn) for host, arn in tasks.items()}
    with netlab.inside(switch.fd):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind(("t1", 0))
    wire.setblocking(False)
    for m in machines:
        own = f"host{m.number}"
        for host, address in addresses.items():
            wait_for(lambda: reaches(m, tasks[own], address), f"{own} to {host}")
    frames = []
    try:
        while True:
            frames.append(wire.recv(4000))
    except BlockingIOError:
        wire.close()
    assert any(f[12:14] == b"\x08\x00" and f[23] == 17 and f[36:38] == (51820).to_bytes(2, "big") for f in frames)
    assert not any(b"GET / HTTP" in f for f in frames)
    alone = start("host2", re.search(r"<groupId>(\S+?)</groupId>", ec2(
        "Action=DescribeSecurityGroups&Filter.1.Name=group-name&Filter.1.Value.1=default")).group(1))
    wait_running(alone)
    assert not reaches(machines[1], alone, addresses["host3"])
    ecs("StopTask", task=alone)


def test_a_host_itself_reaches_tasks_of_others_if_their_group_lets_it():
    address = address_of(tasks["host2"])

    def reached():
        script = f"curl -s -o /dev/null --connect-timeout 3 -m 10 http://{address}/ && echo yes || echo no"
        return machines[2].sh(script).strip() == "yes"
    assert not reached()
    ec2(f"Action=AuthorizeSecurityGroupIngress&GroupId={group}&IpPermissions.1.IpProtocol=tcp"
        "&IpPermissions.1.FromPort=80&IpPermissions.1.ToPort=80&IpPermissions.1.IpRanges.1.CidrIp=100.64.0.0/16")
    wait_for(reached, "host3 itself to host2's task")
    contains(machines[2].sh("ip route get " + address), "src 100.64.0.")


def test_a_machine_whose_link_is_cut_goes_on_and_comes_back():
    switch.run("ip link set t3 down")
    wait_for(lambda: not instances()["host3"]["agentConnected"], "disconnected")
    equal(task(tasks["host3"])["lastStatus"], "RUNNING")
    contains(machines[2].sh("berth-oci --root /run/berth/oci list"), "running")
    switch.run("ip link set t3 up")
    wait_for(lambda: instances()["host3"]["agentConnected"], "connected")
    equal(task(tasks["host3"])["lastStatus"], "RUNNING")
    address = address_of(tasks["host1"])
    wait_for(lambda: reaches(machines[2], tasks["host3"], address), "host3 to host1")


def test_a_machine_that_lost_its_power_is_the_same_node_and_tells_what_ended():
    before = instances()["host2"]["containerInstanceArn"]
    machines[1].sh("sync")
    machines[1].end()
    wait_for(lambda: not instances()["host2"]["agentConnected"], "disconnected")
    machines[1].boot()
    machines[1].begin("agent --server 10.99.0.1:4567")
    wait_for(lambda: instances()["host2"]["agentConnected"], "connected")
    equal(instances()["host2"]["containerInstanceArn"], before)
    ended = wait_for(lambda: task(tasks["host2"])["lastStatus"] == "STOPPED" and task(tasks["host2"]), "the end")
    print(f"  {ended.get('stopCode')}: {ended.get('stoppedReason')}")
    again = start("host2", group)
    wait_running(again)
    wait_for(lambda: reaches(machines[1], again, address_of(tasks["host3"])), "host2 to host3")


if __name__ == "__main__":
    main()
