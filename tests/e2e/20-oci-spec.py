#!/usr/bin/env python3
# tests/e2e/20-oci-spec.py - what runtime-spec 1.1 to 1.3 have brought, seen from inside
# SPDX-License-Identifier: Apache-2.0

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading

from oci import *

NOTIF_SIZE, RESPONSE_SIZE = 80, 24
NOTIF_RECV = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV, _SEND
NOTIF_SEND = 0xC0182101


def stat_of(text):
    """/proc/PID/stat from the field behind the name on: [0] is the state."""
    return text.rpartition(")")[2].split()


def scheduling(h):
    """scheduler and ioPriority are those of the process, in run and in exec"""
    def change(c):
        c["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
        c["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    with h.bundle(change) as b:
        f = stat_of(b.args("/bin/cat", "/proc/self/stat").run().stdout)
        equal((f[16], f[38]), ("7", "3"), "nice, policy")
        equal(b.sh("busybox ionice -p 1").stdout.strip(), "best-effort: prio 6")
        b.args("/bin/probe", "stay").begin()
        f = stat_of(b.exec(b.id, "/bin/cat", "/proc/self/stat").stdout)
        equal((f[16], f[38]), ("7", "3"), "nice, policy")
        process = {"args": ["/bin/cat", "/proc/self/stat"], "cwd": "/", "scheduler": {"policy": "SCHED_IDLE"}}
        path = os.path.join(b.path, "process.json")
        with open(path, "w") as out:
            json.dump(process, out)
        equal(stat_of(b.exec("--process", path, b.id).stdout)[38], "5")


def processors(h):
    """execCPUAffinity is for exec alone, of the container's process and of the one given"""
    def change(c):
        c["process"]["execCPUAffinity"] = {"initial": "0", "final": "1"}
        c["linux"]["resources"]["cpu"] = {"cpus": "0-1"}
    if os.cpu_count() < 2:
        raise Skip("this host has one processor")
    with h.bundle(change) as b:
        equal(status_of(b.report())["Cpus_allowed_list"], "0-1")
        b.args("/bin/probe", "stay").begin()
        equal(status_of(json.loads(b.exec(b.id, "/bin/probe", "report").stdout))["Cpus_allowed_list"], "1")
        path = os.path.join(b.path, "process.json")
        for affinity, wanted in (({"final": "0"}, "0"), (None, "1")):
            process = {"args": ["/bin/probe", "report"], "cwd": "/"}
            if affinity:
                process["execCPUAffinity"] = affinity
            with open(path, "w") as out:
                json.dump(process, out)
            r = json.loads(b.exec("--process", path, b.id).stdout)
            equal(status_of(r)["Cpus_allowed_list"], wanted)


def personality(h):
    """The execution domain is set, in run and in exec"""
    with h.bundle(lambda c: c["linux"].update(personality={"domain": "LINUX32"})) as b:
        equal(b.sh("busybox uname -m").stdout.strip(), "i686")
        b.args("/bin/probe", "stay").begin()
        equal(b.exec(b.id, "/bin/busybox", "uname", "-m").stdout.strip(), "i686")


def memory_policy(h):
    """The memory policy is set, in run and in exec"""
    if not os.path.exists("/proc/self/numa_maps"):
        with h.bundle(lambda c: c["linux"].update(memoryPolicy={"mode": "MPOL_BIND", "nodes": "0"})) as b:
            expect("without NUMA" in b.fails())
        return
    with h.bundle(lambda c: c["linux"].update(memoryPolicy={
            "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]})) as b:
        expect("bind=static:0" in b.sh("cat /proc/self/numa_maps").stdout)
        b.args("/bin/probe", "stay").begin()
        expect("bind=static:0" in b.exec(b.id, "/bin/cat", "/proc/self/numa_maps").stdout)


def id_mapped_mounts(h):
    """A bind mount shows other owners: by its own mappings, or by those of the user namespace"""
    # Not on a tmpfs, whose ids older kernels do not map.
    top = tempfile.mkdtemp(prefix="mapped-", dir=os.path.dirname(OCI))
    src, other = top + "/src", top + "/other"
    os.makedirs(src + "/sub")
    os.mkdir(other)
    os.chown(src + "/sub", 1000, 1000)
    maps = [{"containerID": 0, "hostID": 5000, "size": 2000}]
    ours = [{"containerID": 0, "hostID": 100000, "size": 65536}]

    def own_maps(options):
        return lambda c: c["mounts"].append({"destination": "/m", "source": src, "options": options,
                                             "uidMappings": maps, "gidMappings": maps})

    def in_user_namespace(c):
        c["linux"]["namespaces"].append({"type": "user"})
        c["linux"].update(uidMappings=ours, gidMappings=ours)
        c["mounts"].append({"destination": "/m", "source": src, "options": ["bind", "idmap"]})
    os.chmod(h.dir, 0o755)
    for options in (["bind", "idmap"], ["rbind", "ridmap", "ro"], ["bind"]):
        with h.bundle(own_maps(options)) as b:
            equal(b.sh("stat -c %u:%g /m /m/sub").stdout.split(), ["5000:5000", "6000:6000"], options)
    with h.bundle(in_user_namespace) as b:
        equal(b.sh("stat -c %u:%g /m /m/sub; touch /m/new").stdout.split(), ["0:0", "1000:1000"])
        equal(os.stat(src + "/new").st_uid, 0)  # who writes as root there writes as root here
        b.args("/bin/probe", "stay").begin()

        def join(c):
            c["linux"]["namespaces"].append({"type": "user", "path": f"/proc/{b.pid()}/ns/user"})
            c["mounts"].append({"destination": "/m", "source": src, "options": ["bind", "idmap"]})
        with h.bundle(join) as second:
            equal(second.sh("stat -c %u:%g /m/sub").stdout.strip(), "1000:1000")
    # Of a tree, the top alone or all of it.
    subprocess.run(["mount", "--bind", other, src + "/sub"], check=True)
    try:
        for options, wanted in ((["rbind", "idmap"], "0:0"), (["rbind", "ridmap"], "5000:5000")):
            with h.bundle(own_maps(options)) as b:
                equal(b.sh("stat -c %u:%g /m /m/sub").stdout.split(), ["5000:5000", wanted], options)
    finally:
        subprocess.run(["umount", src + "/sub"], check=True)
    shutil.rmtree(top)


def recursive_options(h):
    """Options with an 'r' in front change the tree below, those without one the top"""
    src = os.path.join(h.dir, "tree")
    os.makedirs(src + "/sub")
    subprocess.run(["mount", "-t", "tmpfs", "none", src + "/sub"], check=True)
    try:
        for word, flag in (("ro", "ro"), ("nosuid", "nosuid"), ("nodev", "nodev"), ("noexec", "noexec"),
                           ("nodiratime", "nodiratime"), ("noatime", "noatime"), ("nosymfollow", "nosymfollow")):
            for prefix, below in (("", False), ("r", True)):
                with h.bundle(lambda c: c["mounts"].append(
                        {"destination": "/m", "source": src, "options": ["rbind", prefix + word]})) as b:
                    m = mounts_of(b.report())
                    equal((flag in m["/m"][0], flag in m["/m/sub"][0]), (True, below), prefix + word)
        subprocess.run(["mount", "-o", "remount,bind,ro,nosuid", src + "/sub"], check=True)
        with h.bundle(lambda c: c["mounts"].append(
                {"destination": "/m", "source": src, "options": ["rbind", "rrw", "rsuid"]})) as b:
            expect(not {"ro", "nosuid"} & set(mounts_of(b.report())["/m/sub"][0]))
    finally:
        subprocess.run(["umount", src + "/sub"], check=True)
    shutil.rmtree(src)


def network_devices(h):
    """An interface of the host becomes the container's, with its addresses, a new name, and up"""
    if not shutil.which("ip"):
        raise Skip("iproute2 is not installed")
    name = f"bt{os.getpid() % 100000}"
    ip = lambda *words: subprocess.run(["ip", *words], check=True)
    for inside in ("eth7", None):
        ip("link", "add", name, "type", "veth", "peer", "name", name + "p")
        try:
            ip("addr", "add", "192.0.2.7/24", "dev", name)
            ip("addr", "add", "2001:db8::7/64", "dev", name, "nodad")
            with h.bundle(lambda c: c["linux"].update(
                    netDevices={name: {"name": inside} if inside else {}})) as b:
                out = b.sh("ip addr").stdout
                expect(f" {inside or name}" in out and "192.0.2.7/24" in out and "2001:db8::7/64" in out, out)
                expect("UP" in [l for l in out.split("\n") if f" {inside or name}" in l][0], out)
            # A virtual one ends with its namespace, which may take the kernel a moment.
            until(lambda: not os.path.exists(f"/sys/class/net/{name}p"), "its peer gone")
        finally:
            subprocess.run(["ip", "link", "del", name], stderr=subprocess.DEVNULL)
    # By a template: the kernel finds a number for each.
    pairs = [name + "a", name + "b"]
    for n in pairs:
        ip("link", "add", n, "type", "veth", "peer", "name", n + "p")
    try:
        ip("addr", "add", "192.0.2.8/24", "dev", pairs[1])
        with h.bundle(lambda c: c["linux"].update(netDevices={n: {"name": "eth%d"} for n in pairs})) as b:
            out = b.sh("ip addr").stdout
            expect(" eth0@" in out and " eth1@" in out and "192.0.2.8/24" in out and out.count("UP") >= 3, out)
        until(lambda: not any(os.path.exists(f"/sys/class/net/{n}p") for n in pairs), "their peers gone")
    finally:
        for n in pairs:
            subprocess.run(["ip", "link", "del", n], stderr=subprocess.DEVNULL)
    with h.bundle(lambda c: c["linux"].update(netDevices={"lo": {"name": "other"}})) as b:
        expect("lo: move it into the container" in b.fails())


class Agent:
    """Listens at a path, answers each call that a filter asks about with one error."""

    def __init__(self, path, error):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.bind(path)
        self.sock.listen(4)
        self.error, self.states, self.calls = error, [], []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            text, fds, _, _ = socket.recv_fds(conn, 65536, 4)
            conn.close()
            self.states.append(json.loads(text))
            threading.Thread(target=self.answer, args=(fds[0],), daemon=True).start()

    def answer(self, fd):
        while True:
            notif = bytearray(NOTIF_SIZE)
            try:
                fcntl.ioctl(fd, NOTIF_RECV, notif)
                cookie, pid, flags, nr = struct.unpack_from("=QIIi", notif)
                self.calls.append(nr)
                fcntl.ioctl(fd, NOTIF_SEND, struct.pack("=QqiI", cookie, 0, -self.error, 0))
            except OSError as e:
                if e.errno == errno.ENOENT:
                    continue  # that process is gone
                os.close(fd)
                return

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def asking_filter(h):
    """SCMP_ACT_NOTIFY: the agent gets the listener and the state, and decides, for run and for exec"""
    path = os.path.join(h.dir, "agent.sock")
    agent = Agent(path, errno.EXDEV)

    def change(c):
        c["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "some words",
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_NOTIFY"}]}
    for nnp in (True, False):
        with h.bundle(change) as b:
            b.config["process"]["noNewPrivileges"] = nnp
            b.args("/bin/sh", "-c", "probe try personality 1; exec probe stay")
            b.begin()
            pid = b.pid()
            until(lambda: len(agent.states) == 1 and len(agent.calls) == 1, "one call")
            s = agent.states.pop()
            equal((s["pid"], s["fds"], s["metadata"], s["ociVersion"]), (pid, ["seccompFd"], "some words", "1.2.0"))
            equal((s["state"]["id"], s["state"]["pid"]), (b.id, pid))
            equal(b.exec(b.id, "/bin/probe", "try", "personality", "1").stdout.split(), ["EXDEV"])
            s = agent.states.pop()
            expect(s["pid"] != pid and s["state"]["status"] == "running", s)
            agent.calls.clear()
    agent.close()
    with h.bundle(change) as b:  # nobody listens any more
        b.create()
        p = h.oci("start", b.id, check=False)
        expect(p.returncode == 1 and "listenerPath" in p.stderr, p.stderr)
        equal(b.state()["status"], "created")
    os.unlink(path)


def disk():
    """major:minor of a whole disk of this host."""
    for name in sorted(os.listdir("/sys/block")):
        if os.path.exists(f"/sys/block/{name}/device") or name.startswith(("vd", "sd", "nvme")):
            return open(f"/sys/block/{name}/dev").read().strip().split(":")
    return None


def block_io(h):
    """Throttles of block devices are set"""
    numbers = disk()
    if not numbers:
        raise Skip("this host has no disk")
    at = {"major": int(numbers[0]), "minor": int(numbers[1])}
    with h.bundle(lambda c: c["linux"]["resources"].update(blockIO={
            "throttleReadBpsDevice": [{**at, "rate": 10485760}], "throttleWriteBpsDevice": [{**at, "rate": 20971520}],
            "throttleReadIOPSDevice": [{**at, "rate": 100}], "throttleWriteIOPSDevice": [{**at, "rate": 200}]})) as b:
        b.args("/bin/probe", "stay").begin()
        number = ":".join(numbers)
        if is_v2():
            equal(open(b.cgroup_file("io", "io.max")).read().strip(),
                  f"{number} rbps=10485760 wbps=20971520 riops=100 wiops=200")
            return
        for file, value in (("read_bps", 10485760), ("write_bps", 20971520), ("read_iops", 100), ("write_iops", 200)):
            equal(open(b.cgroup_file("blkio", f"blkio.throttle.{file}_device")).read().strip(), f"{number} {value}")


def huge_pages(h):
    """Limits of huge pages are set"""
    sizes = os.listdir("/sys/kernel/mm/hugepages") if os.path.isdir("/sys/kernel/mm/hugepages") else []
    if "hugepages-2048kB" not in sizes:
        raise Skip("this host has no huge pages of 2 MB")
    with h.bundle(lambda c: c["linux"]["resources"].update(
            hugepageLimits=[{"pageSize": "2MB", "limit": 4 << 20}])) as b:
        roots = cgroup_roots()
        if "hugetlb" not in roots and not any("hugetlb" in open(r + "/cgroup.controllers").read()
                                              for k, r in roots.items() if k == ""):
            expect("hugetlb controller" in b.fails())
            return
        b.args("/bin/probe", "stay").begin()
        name = "hugetlb.2MB.limit_in_bytes" if "hugetlb" in roots else "hugetlb.2MB.max"
        equal(open(b.cgroup_file("hugetlb", name)).read().strip(), str(4 << 20))


def processor_time(h):
    """Burst and idle are set"""
    with h.bundle(lambda c: c["linux"]["resources"].update(
            cpu={"quota": 50000, "period": 100000, "burst": 20000})) as b:
        b.args("/bin/probe", "stay").begin()
        equal(open(b.cgroup_file("cpu", "cpu.max.burst" if is_v2() else "cpu.cfs_burst_us")).read().strip(), "20000")
    with h.bundle(lambda c: c["linux"]["resources"].update(cpu={"idle": 1})) as b:
        b.args("/bin/probe", "stay").begin()
        equal(open(b.cgroup_file("cpu", "cpu.idle")).read().strip(), "1")


def unified(h):
    """Files of cgroup v2 are written by their names"""
    root = cgroup_roots().get("")
    controllers = open(root + "/cgroup.controllers").read().split() if root else []
    if "pids" in controllers:
        key, value = "pids.max", "77"
    elif "hugetlb" in controllers:
        key, value = "hugetlb.2MB.max", "2097152"
    else:
        raise Skip("this host has no cgroup v2 with controllers")
    with h.bundle(lambda c: c["linux"]["resources"].update(unified={key: value})) as b:
        b.args("/bin/probe", "stay").begin()
        equal(open(f"{root}{h.cgroup}/{b.id}/{key}").read().strip(), value)


def unlimited(h):
    """Both of the largest numbers mean no limit"""
    hard = "unlimited"
    for number in (18446744073709551615, 9223372036854775807):
        with h.bundle(lambda c: c["process"].update(rlimits=[
                {"type": "RLIMIT_FSIZE", "soft": number, "hard": number}])) as b:
            equal(b.sh("ulimit -f; ulimit -H -f").stdout.split(), [hard, hard])


sys.exit(main([scheduling, processors, personality, memory_policy, id_mapped_mounts, recursive_options, network_devices,
               asking_filter, block_io, huge_pages, processor_time, unified, unlimited]))
