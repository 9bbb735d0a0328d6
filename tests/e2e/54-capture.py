#!/usr/bin/python3
# tests/e2e/54-capture.py - packets and counters of a task, by the command
# SPDX-License-Identifier: Apache-2.0

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile

import netlab
import packages
from berth import BUILD, Census, Daemon, Registry, contains, equal, main, page, run, wait_for

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
daemon = Daemon().start()
BERTH = os.path.join(BUILD, "berth")


def cleanup():
    daemon.destroy()
    registry.__exit__()
    census.check()


def packets(data):
    """pcap-savefile(5): (seconds, bytes kept, length) of each packet."""
    magic, major, minor, _, _, snaplen, link = struct.unpack("<IHHIIII", data[:24])
    equal((magic, major, minor, link), (0xa1b23c4d, 2, 4, 1))
    data, found = data[24:], []
    while data:
        seconds, ns, kept, length = struct.unpack("<IIII", data[:16])
        assert kept == min(length, snaplen) and ns < 10 ** 9, (kept, length, snaplen)
        found.append((seconds + ns / 1e9, data[16:16 + kept], length))
        data = data[16 + kept:]
    return found


def tcpdump_of_debian():
    """Its words; installed, or unpacked from its package. None: it cannot be had."""
    if shutil.which("tcpdump"):
        return ["tcpdump"]
    try:
        tree = packages.unpacked("tcpdump")
    except packages.Missing as e:
        print(f"skip the capture read by tcpdump: {e}")
        return None
    libraries = f"{tree}/usr/lib/{os.uname().machine}-linux-gnu"
    return ["env", f"LD_LIBRARY_PATH={libraries}", f"{tree}/usr/bin/tcpdump", "-Z", "root"]


class Task:
    def __init__(self, **more):
        port = dict(containerPort=80, protocol="tcp") if more.get("networkMode") == "awsvpc" else \
            dict(containerPort=80, hostPort=0)
        containers = [dict(name="web", memory=32, image=IMAGE, stopTimeout=2, portMappings=[port])]
        if more.get("networkMode") == "host":
            containers[0].pop("portMappings")
            containers[0].update(entryPoint=["/bin/sh", "-c"], command=["sleep 600"])
        self.arn = daemon.run_task(containers, family="cap", **more)
        self.task = daemon.wait_status(self.arn, "RUNNING")
        self.id = self.arn.split("/")[-1]
        if more.get("networkMode") != "host":
            page(80, self.interface()["address"])  # a refusal would be captured, too

    def interface(self):
        return json.loads(daemon.berth("inspect", self.id).stdout)[0]["berthNetwork"][0]

    def fetch(self):
        with socket.create_connection((self.interface()["address"], 80), timeout=5) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            contains(b"".join(iter(lambda: s.recv(65536), b"")).decode(), "Hello from Berth")

    def stop(self):
        daemon.ecs("StopTask", task=self.arn)
        daemon.wait_stopped(self.arn)


@contextlib.contextmanager
def inside(task):
    """Sockets opened in this block belong to the task's network."""
    with open(f"/proc/{task.interface()['pid']}/ns/net", "rb") as f, netlab.inside(f.fileno()):
        yield


class Capture:
    """berth capture into a file, begun when its header is there."""

    def __init__(self, *words):
        self.file = tempfile.NamedTemporaryFile()
        self.process = subprocess.Popen([BERTH, "--root", daemon.root, "capture", *words], stdin=subprocess.DEVNULL,
                                        stdout=self.file, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: os.path.getsize(self.file.name) >= 24 or self.process.poll() is not None, 20, "its header")

    def end(self, how=None):
        if how:
            self.process.send_signal(how)
        _, told = self.process.communicate(timeout=30)
        return self.process.returncode, told, open(self.file.name, "rb").read()


def test_packets_of_a_task_come_in_the_format_of_tcpdump():
    t = Task()
    c = Capture(t.id)
    status = open(f"/proc/{c.process.pid}/status").read()
    contains(status, "Uid:\t65534\t65534\t65534")
    contains(status, "CapPrm:\t0000000000000000")
    t.fetch()
    wait_for(lambda: b"Hello from Berth" in open(c.file.name, "rb").read(), 20, "the page")
    code, told, data = c.end(signal.SIGINT)
    found = packets(data)
    equal(code, 0)
    contains(told, f"{len(found)} packets captured, 0 dropped by the kernel")
    frames = [f for _, f, _ in found if f[12:14] == b"\x08\x00" and f[23] == 6]
    address = socket.inet_aton(t.interface()["address"])
    mac = bytes.fromhex(t.interface()["macAddress"].replace(":", ""))
    assert any(b"GET / HTTP" in f and f[30:34] == address and f[:6] == mac for f in frames)
    assert any(b"Hello from Berth" in f and f[26:30] == address and f[6:12] == mac for f in frames)
    assert all(a[0] <= b[0] for a, b in zip(found, found[1:]))
    tcpdump = tcpdump_of_debian()
    if tcpdump:
        contains(run(*tcpdump, "-nr", c.file.name).stdout, "HTTP: GET / HTTP/1.0")
    t.stop()


def test_a_capture_ends_by_count_time_and_with_its_task():
    t = Task()
    c = Capture("-c", "3", "--snaplen", "40", t.id)
    t.fetch()
    code, told, data = c.end()
    equal((code, [len(f) for _, f, _ in packets(data)]), (0, [40, 40, 40]))
    code, told, data = Capture("--seconds", "1", t.id).end()
    equal(code, 0)
    c = Capture(t.id)
    t.stop()
    equal(c.end()[0], 0)


def test_awsvpc_tasks_are_captured_too():
    vpc = daemon.boto("ec2")
    block = f"10.{64 + os.getpid() % 128}"
    v = vpc.create_vpc(CidrBlock=block + ".0.0/16")["Vpc"]["VpcId"]
    subnet = vpc.create_subnet(VpcId=v, CidrBlock=block + ".0.0/24")["Subnet"]["SubnetId"]
    ecs = daemon.boto("ecs")
    ecs.register_task_definition(family="v", networkMode="awsvpc", containerDefinitions=[
        dict(name="web", memory=32, image=IMAGE, stopTimeout=2, portMappings=[dict(containerPort=80)])])
    arn = ecs.run_task(taskDefinition="v", networkConfiguration=dict(
        awsvpcConfiguration=dict(subnets=[subnet])))["tasks"][0]["taskArn"]
    daemon.wait_status(arn, "RUNNING")
    t = Task.__new__(Task)
    t.arn, t.id = arn, arn.split("/")[-1]
    c = Capture("-c", "1", t.id)
    subprocess.run(["nsenter", f"--net=/proc/{t.interface()['pid']}/ns/net", "busybox", "ping", "-c1", "-W1", block + ".0.9"],
                   capture_output=True)
    code, _, data = c.end()
    equal(code, 0)
    equal(packets(data)[0][1][30:34], socket.inet_aton(block + ".0.9"))
    t.stop()


def test_counters_of_the_link_are_shown():
    t = Task()
    before = t.interface()
    t.fetch()
    after = t.interface()
    assert after["rxPackets"] - before["rxPackets"] >= 4, (before, after)
    assert after["txBytes"] - before["txBytes"] > after["rxBytes"] - before["rxBytes"] > 200, (before, after)
    equal((after["rxDropped"], after["txDropped"], after["device"]), (0, 0, "eth0"))
    t.stop()


def test_a_busy_flow_has_a_shortcut_and_is_captured_and_counted_as_before():
    contains(daemon.berth("doctor").stdout, "shortcuts: as they should be\n")
    a, b = Task(), Task()
    with inside(b):
        server = socket.create_server((b.interface()["address"], 81))
    with inside(a):
        client = socket.create_connection(server.getsockname())
    peer = server.accept()[0]

    def rounds(count):
        for _ in range(count):
            client.sendall(b"ask" * 8)
            peer.recv(64)
            peer.sendall(b"answer" * 8)
            client.recv(64)

    def is_bound():
        rounds(500)
        return "berth_receive" in run("tc", "filter", "show", "dev", b.interface()["link"], "ingress").stdout
    wait_for(is_bound, 20, "a shortcut")
    rounds(500)
    c = Capture(b.id)
    before = b.interface()
    rounds(300)
    after = b.interface()
    for way in ("rxPackets", "txPackets"):
        assert 300 <= after[way] - before[way] <= 700, (way, before, after)
    wait_for(lambda: open(c.file.name, "rb").read().count(b"answer" * 8) == 300, 20, "the answers")
    _, _, data = c.end(signal.SIGINT)
    frames = [f for _, f, _ in packets(data)]
    equal((sum(b"ask" * 8 in f for f in frames), sum(b"answer" * 8 in f for f in frames)), (300, 300))
    for s in (client, peer, server):
        s.close()
    a.stop()
    b.stop()


def test_what_can_not_be_captured_is_said():
    t = Task(networkMode="host")
    for words, code, says in [((t.id,), 3, "has no running container with a network of its own"),
                              (("-c", "0", t.id), 2, "--count '0' is not a number from 1"),
                              (("--snaplen", "x", t.id), 2, "--snaplen 'x'"),
                              (("nobody-knows",), 3, "no task 'nobody-knows'")]:
        p = run(BERTH, "--root", daemon.root, "capture", *words, check=False)
        equal(p.returncode, code)
        contains(p.stderr, says)
    t.stop()


if __name__ == "__main__":
    main()
