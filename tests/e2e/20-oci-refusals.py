#!/usr/bin/env python3
# tests/e2e/20-oci-refusals.py - what is refused, in which words, and that nothing is left of it
# SPDX-License-Identifier: Apache-2.0

import json
import os
import sys

from oci import *


def set_path(config, path, value):
    """'linux.resources.cpu.shares' = value; None removes it."""
    at = config
    words = path.split(".")
    for w in words[:-1]:
        at = at.setdefault(w, {}) if isinstance(at, dict) else at[int(w)]
    if value is None:
        at.pop(words[-1], None)
    elif isinstance(at, list):
        at[int(words[-1])] = value
    else:
        at[words[-1]] = value


ONE = [{"containerID": 0, "hostID": 0, "size": 1}]
MAPS = {"uidMappings": ONE, "gidMappings": ONE}


def refused(h, rows):
    for path, value, says in rows:
        def change(c):
            set_path(c, path, value)
        with h.bundle(change) as b:
            try:
                said = b.fails()
            except AssertionError as e:
                raise AssertionError(f"{path}={value!r}: {e}") from None
            expect(says in said, f"{path}={value!r}: '{says}' is not in: {said}")


def missing_and_wrong(h):
    """Members that are missing or have the wrong type are named"""
    refused(h, [
        ("ociVersion", None, "ociVersion: missing"),
        ("ociVersion", "2.0.0", "ociVersion: '2.0.0'"),
        ("process.args", [], "process.args: empty"),
        ("process.args", [""], "process.args: empty"),
        ("process.args", "x", "process.args: expected a list"),
        ("process.cwd", None, "process.cwd: missing"),
        ("process.cwd", "relative", "process.cwd"),
        ("process.env", ["NOVALUE"], "process.env[0]"),
        ("process.user.uid", -1, "process.user.uid: expected an integer from 0"),
        ("process.user.uid", 4294967295, "4294967295 is not an id"),
        ("process.user.gid", 4294967295, "4294967295 is not an id"),
        ("process.user.uid", 4294967296, "process.user.uid"),
        ("process.user.uid", "0", "process.user.uid"),
        ("process.user.umask", 0o1000, "umask"),
        ("process.user.additionalGids", [4294967295], "additionalGids[0]"),
        ("process.rlimits", [{"type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1}], "RLIMIT_NOSUCH"),
        ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}], "soft is over hard"),
        ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}] * 2, "a second RLIMIT_CORE"),
        ("process.oomScoreAdj", 1001, "oomScoreAdj"),
        ("process.capabilities.effective", ["CAP_CHOWN"], "effective is more than permitted"),
        ("root", None, "root.path: missing"),
        ("mounts", [{"type": "tmpfs"}], "mounts[0].destination: missing"),
        ("mounts", [{"destination": "/x"}], "type: missing"),
        ("mounts", [{"destination": "/x", "type": "bind"}], "source: missing"),
        ("mounts", [{"destination": "/", "type": "tmpfs"}], "the root itself"),
        ("mounts", [{"destination": "/x/..", "type": "tmpfs"}], "the root itself"),
        ("mounts", [{"destination": "/tmp", "source": "/etc/hostname", "options": ["bind"]}],
         "destination /tmp is a directory, and the source is none"),
        ("process.capabilities", {"inheritable": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "bounding": []},
         "inheritable is more than bounding: CAP_CHOWN"),
        ("mounts", [{"destination": "/x", "type": "tmpfs", "options": ["remount"]}], "remount"),
        ("mounts", [{"destination": "/x", "type": "tmpfs", "options": ["nonsense"]}], "nonsense"),
        ("mounts", [{"destination": "/x", "type": "tmpfs", "options": ["size=lots"]}], "size"),
        ("mounts", [{"destination": "/x", "type": "nosuchfs"}], "nosuchfs"),
        ("linux.namespaces", [{"type": "nosuch"}], "nosuch"),
        ("linux.namespaces", [{"type": "pid"}] * 2, "a second pid namespace"),
        ("linux.namespaces", [{"type": "pid"}], "without a mount namespace"),
        ("linux.namespaces", [{"type": "mount"}], "hostname: without a uts namespace"),
        ("linux.uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}], "without a user namespace"),
        ("linux.timeOffsets", {"boottime": {"secs": 1}}, "without a new time namespace"),
        ("linux.devices", [{"type": "x", "path": "/dev/x"}], "type 'x'"),
        ("linux.devices", [{"type": "c", "path": "/dev/x"}], "major or minor"),
        ("linux.devices", [{"type": "c", "path": "dev/x", "major": 1, "minor": 1}], "not absolute"),
        ("linux.devices", [{"type": "c", "path": "/dev/x", "major": 99999, "minor": 1}], "99999"),
        ("linux.devices", [{"type": "b", "path": "/dev/null", "major": 1, "minor": 3}], "something else is there"),
        ("linux.resources.devices", [{"allow": True, "type": "z"}], "type 'z'"),
        ("linux.resources.devices", [{"allow": True, "access": "rwx"}], "access 'x'"),
        ("linux.resources.cpu.shares", 999999, "cpu.shares"),
        ("linux.resources.cpu.period", 1, "cpu.period"),
        ("linux.resources.cpu.cpus", "0;1", "cpu.cpus"),
        ("linux.resources.cpu.cpus", "4000", "cpu.cpus"),
        ("linux.resources.memory.swap", 1 << 20, "without a memory.limit"),
        ("linux.resources.memory.limit", -2, "memory.limit"),
        ("linux.resources.memory.limit", 4096, "memory.limit: too small"),
        ("linux.cgroupsPath", "/a/../b", "no name"),
        ("linux.cgroupsPath", "/", "cgroup path"),
        ("linux.cgroupsPath", "../x", "no name"),
        ("linux.rootfsPropagation", "sideways", "sideways"),
        ("linux.maskedPaths", ["proc/keys"], "maskedPaths[0]"),
        ("linux.readonlyPaths", ["x"], "readonlyPaths[0]"),
        ("linux.sysctl", {"kernel.panic": "1"}, "not a parameter of a namespace"),
        ("linux.sysctl", {"net/../kernel.panic": "1"}, "net/../kernel.panic"),
        ("linux.sysctl", {"net..ipv4": "1"}, "net..ipv4"),
        ("linux.sysctl", {"net.ipv4.nosuch": "1"}, "nosuch"),
        ("linux.sysctl", {"kernel.hostname": "x"}, "kernel.hostname"),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_NOSUCH"}, "SCMP_ACT_NOSUCH"),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTIFY"}, "listenerPath: missing"),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/nosuch"}, "listenerPath /nosuch"),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "x"}, "listenerPath: 'x'"),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}, "without a listenerPath"),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"]}, "SCMP_ARCH_Z80"),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}, "'X'"),
        ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["nosuchcall"], "action": "SCMP_ACT_ERRNO"}]}, "nosuchcall"),
        ("process.scheduler", {}, "scheduler.policy: missing"),
        ("process.scheduler", {"policy": "SCHED_NOSUCH"}, "SCHED_NOSUCH"),
        ("process.scheduler", {"policy": "SCHED_OTHER", "nice": 20}, "nice: 20"),
        ("process.scheduler", {"policy": "SCHED_RR", "priority": 100}, "priority: 100"),
        ("process.scheduler", {"policy": "SCHED_OTHER", "flags": ["X"]}, "'X'"),
        ("process.scheduler", {"policy": "SCHED_DEADLINE", "runtime": 9, "deadline": 8}, "at most the next"),
        ("process.scheduler", {"policy": "SCHED_DEADLINE", "deadline": 8}, "above zero"),
        ("process.scheduler", {"policy": "SCHED_ISO"}, "process.scheduler: SCHED_ISO"),
        ("process.ioPriority", {"class": "X"}, "ioPriority.class: 'X'"),
        ("process.ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 8}, "ioPriority.priority: 8"),
        ("process.execCPUAffinity", {"initial": "0-"}, "execCPUAffinity.initial: '0-'"),
        ("process.execCPUAffinity", {"final": "9000"}, "execCPUAffinity.final: '9000'"),
        ("linux.personality", {"domain": "SOLARIS"}, "personality.domain: 'SOLARIS'"),
        ("linux.personality", {"domain": "LINUX", "flags": ["X"]}, "personality.flags: 'X'"),
        ("linux.memoryPolicy", {"mode": "MPOL_X"}, "memoryPolicy.mode: 'MPOL_X'"),
        ("linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "63"}, "memoryPolicy: MPOL_BIND of nodes '63'"),
        ("linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "x"}, "memoryPolicy.nodes: 'x'"),
        ("linux.intelRdt", {"closID": "../x"}, "closID: '../x'"),
        ("linux.netDevices", {"a/b": {}}, "'a/b'"),
        ("linux.netDevices", {"a": {"name": "x" * 16}}, "no name of an interface"),
        ("linux.netDevices", {"a": {"name": "x"}, "b": {"name": "x"}}, "a second 'x'"),
        ("linux.netDevices", {"a%d": {}}, "no name of an interface"),
        ("linux.netDevices", {"a": {"name": "%d"}}, "no name of an interface"),
        ("linux.netDevices", {"a": {"name": "e%dx%d"}}, "no name of an interface"),
        ("linux.netDevices", {"a": {"name": "x" * 14 + "%d"}}, "no name of an interface"),
        ("linux.netDevices", {"berthnosuch": {}}, "berthnosuch: find it on the host"),
        ("mounts", [{"destination": "/x", "source": "/tmp", "options": ["bind", "idmap"]}], "neither the mount has"),
        ("mounts", [{"destination": "/x", "source": "/tmp", "options": ["bind"],
                     "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}], "both users and groups"),
        ("mounts", [{"destination": "/x", "type": "tmpfs", "options": ["idmap"]}], "for bind mounts only"),
        ("mounts", [{"destination": "/x", "source": "/proc", "options": ["bind", "idmap"], **MAPS}],
         "cannot map ids of this filesystem"),
        ("linux.resources.blockIO", {"weight": 9}, "blockIO.weight: 9"),
        ("linux.resources.blockIO", {"throttleReadBpsDevice": [{"major": 8, "minor": -1, "rate": 1}]}, "8:-1"),
        ("linux.resources.blockIO", {"throttleReadBpsDevice": [{"major": 511, "minor": 9, "rate": 1}]},
         "blockIO.throttleReadBpsDevice: "),
        ("linux.resources.hugepageLimits", [{"pageSize": "2", "limit": 1}], "pageSize: '2'"),
        ("linux.resources.hugepageLimits", [{"pageSize": "3MB", "limit": 1}], "hugepageLimits: "),
        ("linux.resources.rdma", {"nosuch0": {"hcaHandles": 1}}, "rdma: "),
        ("linux.resources.rdma", {"a b": {}}, "'a b'"),
        ("linux.resources.network", {"classID": 1}, "network.classID: this host has no net_cls controller"),
        ("linux.resources.network", {"priorities": [{"name": "lo", "priority": 1}]}, "no net_prio controller"),
        ("linux.resources.cpu", {"realtimeRuntime": 2000000, "realtimePeriod": 1000000}, "linux.resources.cpu.realtime"),
        ("hooks", {"prestart": [{"path": "relative"}]}, "hooks.prestart[0].path"),
        ("hooks", {"poststop": [{"path": "/x", "timeout": 0}]}, "hooks.poststop[0].timeout"),
        ("hooks", {"prestart": [{"path": "/nosuch"}]}, "/nosuch"),
    ])


def unmapped_ids(h):
    """A user, a group or the root that a new user namespace does not map is refused by its number"""
    def change(c):
        c["linux"]["namespaces"].append({"type": "user"})
        c["linux"].update(uidMappings=change.maps, gidMappings=change.maps)
        c["process"]["user"] = change.user
    whole, part = ([{"containerID": first, "hostID": 100000, "size": 1000}] for first in (0, 5))
    for change.maps, change.user, says in (
            (whole, {"uid": 1000, "gid": 0}, "process.user.uid: 1000 is not mapped"),
            (whole, {"uid": 0, "gid": 1000}, "process.user.gid: 1000 is not mapped"),
            (whole, {"uid": 0, "gid": 0, "additionalGids": [1, 1000]}, "additionalGids[1]: 1000 is not mapped"),
            (part, {"uid": 5, "gid": 5}, "user and group 0 are not mapped")):
        with h.bundle(change) as b:
            expect(says in b.fails(), says)
    # What is not used says nothing.
    with h.bundle(lambda c: c["process"].update(consoleSize={"height": 70000, "width": 1})) as b:
        b.run()


def known_and_not_honoured(h):
    """What the spec knows and we do not do is named, never passed over"""
    refused(h, [
        ("process.commandLine", "x", "process.commandLine: not supported"),
        ("windows", {"x": 1}, "windows: not supported"),
        ("vm", {"x": 1}, "vm: not supported"),
    ])
    if not os.path.exists("/sys/module/apparmor"):
        refused(h, [("process.apparmorProfile", "docker-default", "does not run AppArmor")])
    else:
        refused(h, [("process.apparmorProfile", "no-such-profile", "process.apparmorProfile")])
    if not os.path.isdir("/sys/fs/resctrl"):
        refused(h, [("linux.intelRdt", {"closID": "x", "schemata": ["L3:0=f"]}, "has no resctrl")])
    refused(h, [("process.selinuxLabel", "a:b:c:d", "does not run SELinux"),
                ("linux.mountLabel", "a:b:c:d", "does not run SELinux")])


def empty_is_nothing(h):
    """Members that say nothing are taken for absent, and unknown ones passed over"""
    def change(c):
        c["process"]["apparmorProfile"] = ""
        c["linux"]["netDevices"] = {}
        c["linux"]["resources"].update(blockIO={}, hugepageLimits=[], network={})
        c["linux"]["resources"]["memory"] = {"kernel": 0, "limit": None}
        c["linux"]["intelRdt"] = None
        c["linux"]["unheardOf"] = {"x": 1}
        c["extra"] = [1]
        c["hooks"] = {}
    with h.bundle(change) as b:
        b.run()


def not_json(h):
    """Text that is no JSON, or no config, is refused with its place"""
    for text, says in (("", "JSON line"), ("{", "JSON line"), ("[]", "expected an object"), ("{} x", "end of file"),
                       ("[" * 100, "nests deeper"), ('{"ociVersion":"1.0.0","ociVersion":"1.0.0"}', "duplicate"),
                       ("\xff", "JSON line"), ('{"a":"\\u0000"}', "JSON line"), (" " * (5 << 20), "more than")):
        with h.bundle() as b:
            with open(b.path + "/config.json", "w", encoding="latin-1") as f:
                f.write(text)
            said = b.fails()
            expect(says in said and "config.json" in said, repr(text[:20]), said)
    with h.bundle() as b:
        os.unlink(b.path + "/config.json")
        expect("config.json" in b.fails())
        os.mkfifo(b.path + "/config.json")
        expect("not a regular file" in b.fails())
        p = h.oci("create", "--bundle", "/nosuch", "x", check=False)
        expect(p.returncode == 1 and "/nosuch" in p.stderr, p.stderr)


def host_objects(h):
    """What the host lacks is named with its path"""
    file = os.path.join(h.dir, "plain")
    open(file, "w").close()
    refused(h, [
        ("root.path", "nosuch", "root.path: open nosuch: No such file"),
        ("root.path", file, "not a directory"),
        ("mounts", [{"destination": "/x", "source": "/nosuch/source", "options": ["bind"]}], "/nosuch/source"),
        ("mounts", [{"destination": "/x", "type": "ext4", "source": "/nosuch/device"}], "ext4"),
    ])
    os.unlink(file)


def programs(h):
    """A program that cannot be executed is refused by create, in the words that engines look for"""
    for args, says in ((["nosuch"], 'exec: "nosuch": executable file not found in $PATH'),
                       (["/nosuch"], 'exec: "/nosuch": stat /nosuch: no such file or directory'),
                       (["./nosuch"], "no such file or directory"),
                       (["/etc/passwd"], 'exec: "/etc/passwd": permission denied'),
                       (["/bin"], 'exec: "/bin": is a directory'),
                       (["passwd"], "executable file not found")):
        with h.bundle(lambda c: c["process"].update(args=args)) as b:
            said = b.fails()
            expect(says in said, args, said)
            said = b.fails(command="run")
            expect(says in said, args, said)
    with h.bundle(lambda c: c["process"].update(args=["probe", "exit", "0"], env=["PATH=/nosuch:bin::/bin"])) as b:
        b.run()
    with h.bundle(lambda c: c["process"].update(args=["probe", "exit", "0"], env=[])) as b:
        b.run()
    with h.bundle(lambda c: c["process"].update(cwd="/proc/no/such/place")) as b:
        said = b.fails()
        expect('cwd ("/proc/no/such/place")' in said and "No such file" in said, said)
    with h.bundle(lambda c: c["process"].update(cwd="/made/for/it"), own_rootfs=True) as b:
        equal(b.sh("pwd").stdout, "/made/for/it\n")


def programs_that_the_kernel_refuses(h):
    """What only execve finds out comes from start, and the container is stopped"""
    with h.bundle(own_rootfs=True) as b:
        with open(b.rootfs + "/bin/garbage", "w") as f:
            f.write("\x00\x01 no program")
        os.chmod(b.rootfs + "/bin/garbage", 0o755)
        b.args("/bin/garbage").create()
        p = h.oci("start", b.id, check=False)
        expect(p.returncode == 1 and 'exec: "/bin/garbage": Exec format error' in p.stderr, p.stderr)
        b.wait_status("stopped")


def console_and_pid_file(h):
    """A pid file that cannot be written undoes the container"""
    with h.bundle() as b:
        expect("/nosuch/pid" in b.fails("--pid-file", "/nosuch/pid"))


def forgotten_limits(h):
    """A limit that the kernel takes and forgets is told"""
    with h.bundle(lambda c: c["linux"]["resources"].update(memory={"kernel": 64 << 20})) as b:
        said = b.fails() if is_v2() else b.create().stderr
        file = b.cgroup_file("memory", "memory.kmem.limit_in_bytes")
        expect(is_v2() or open(file).read() == f"{64 << 20}\n" or "does not hold it" in said, said)


def limits_without_controller(h):
    """A limit that no controller of this host can hold is named"""
    if is_v2():
        refused(h, [("linux.resources.memory", {"swappiness": 10}, "swappiness: cgroup v2 has no such thing"),
                    ("linux.resources.memory", {"disableOOMKiller": True}, "disableOOMKiller"),
                    ("linux.resources.unified", {"memory.nosuch": "1"}, "memory.nosuch"),
                    ("linux.resources.unified", {"../x": "1"}, "'../x'")])
    else:
        refused(h, [("linux.resources.unified", {"memory.max": "1"}, "memory.max")])


sys.exit(main([missing_and_wrong, unmapped_ids, known_and_not_honoured, empty_is_nothing, not_json, host_objects, programs,
               programs_that_the_kernel_refuses, console_and_pid_file, forgotten_limits, limits_without_controller]))
