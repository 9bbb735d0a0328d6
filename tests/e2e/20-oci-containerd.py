#!/usr/bin/env python3
# tests/e2e/20-oci-containerd.py - containerd's shim and ctr with berth-oci as their runtime
# SPDX-License-Identifier: Apache-2.0

import os
import re
import subprocess
import sys
import tempfile

from oci import *

CONFIG_TOML = """version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "{dir}/sock"
[ttrpc]
address = "{dir}/sock.ttrpc"
"""


class Containerd:
    """A containerd with all its folders in ours."""

    def __init__(self, h):
        # Not below h.dir: it stays from one case to the next.
        self.h, self.dir, self.count = h, tempfile.mkdtemp(prefix="berth-cd-"), 0
        with open(self.dir + "/config.toml", "w") as f:
            f.write(CONFIG_TOML.format(dir=self.dir))
        self.log = open(self.dir + "/log", "w")
        self.daemon = subprocess.Popen(["containerd", "--config", self.dir + "/config.toml"], stdout=self.log,
                                       stderr=self.log)
        until(lambda: self("version", check=False).returncode == 0, "containerd answers", 30)

    def __call__(self, *words, check=True, **kw):
        kw = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **kw}
        p = subprocess.run(["ctr", "--address", self.dir + "/sock", "--namespace", "berthtest", *words], text=True,
                           timeout=60, **kw)
        if check and p.returncode != 0:
            raise AssertionError(f"ctr {' '.join(words)}: exit {p.returncode}: {p.stderr}")
        return p

    def name(self):
        self.count += 1
        return f"ctr{os.getpid()}-{self.count}"

    def usual(self, name):
        return ["--runc-binary", OCI, "--runc-root", self.dir + "/runc", "--rootfs",
                "--cgroup", f"{self.h.cgroup}/{name}"]

    def run(self, *words, check=True, **kw):
        """ctr run --rm with options up to '--', then the command."""
        at, name = words.index("--"), self.name()
        return self("run", "--rm", *self.usual(name), *words[:at], self.h.rootfs, name, *words[at + 1:], check=check,
                    **kw)

    def report(self, *options):
        return json.loads(self.run(*options, "--", "/bin/probe", "report").stdout)

    def close(self):
        self.daemon.terminate()
        self.daemon.wait(30)
        self.log.close()


ctr = None


def needs_containerd(case):
    def wrapped(h):
        if ctr is None:
            raise Skip("containerd is not installed")
        case(h)
    wrapped.__doc__, wrapped.__name__ = case.__doc__, case.__name__
    return wrapped


def prepare(h):
    """containerd starts with folders of its own"""
    global ctr
    if not shutil.which("containerd") or not shutil.which("ctr"):
        raise Skip("containerd is not installed")
    ctr = Containerd(h)


@needs_containerd
def running(h):
    """run: output, exit codes, environment, working directory, and what cannot be executed"""
    equal(ctr.run("--", "/bin/echo", "hello").stdout, "hello\n")
    equal(ctr.run("--", "/bin/probe", "exit", "7", check=False).returncode, 7)
    r = ctr.report("--env", "A=b", "--cwd", "/tmp", "--read-only")
    expect("A=b" in r["env"] and r["cwd"] == "/tmp" and "ro" in mounts_of(r)["/"][0], r["cwd"])
    p = ctr.run("--", "nosuch", check=False)
    expect(p.returncode == 1 and "executable file not found" in p.stderr, p.stderr)


@needs_containerd
def restrictions(h):
    """run: capabilities, filters, devices and limits arrive"""
    s = status_of(ctr.report("--seccomp", "--cap-add", "CAP_SYS_ADMIN", "--cap-drop", "CAP_CHOWN"))
    equal((s["Seccomp"], s["NoNewPrivs"], s["CapInh"]), ("2", "1", "0" * 16))
    expect(int(s["CapEff"], 16) >> 21 & 1 and not int(s["CapEff"], 16) & 1, s["CapEff"])
    equal(status_of(ctr.report("--allow-new-privs"))["NoNewPrivs"], "0")
    profile = os.path.join(h.dir, "profile.json")
    with open(profile, "w") as f:
        json.dump({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}]}, f)
    equal(ctr.run("--seccomp", "--seccomp-profile", profile, "--", "/bin/probe", "try", "unshare", "0").stdout.split(),
          ["EIO"])
    os.unlink(profile)
    equal(ctr.run("--memory-limit", str(16 << 20), "--", "/bin/probe", "eat", str(64 << 20), check=False).returncode,
          137)
    name = ctr.name()
    ctr("run", "-d", "--null-io", *ctr.usual(name), "--cpus", "0.5", "--memory-limit", str(32 << 20), h.rootfs, name,
        "/bin/probe", "stay")
    roots = cgroup_roots()
    read = lambda c, f: open(f"{roots.get(c, roots.get(''))}{h.cgroup}/{name}/{f}").read().split()
    if is_v2():
        equal((read("cpu", "cpu.max"), read("memory", "memory.max")), (["50000", "100000"], [str(32 << 20)]))
    else:
        equal((read("cpu", "cpu.cfs_quota_us"), read("memory", "memory.limit_in_bytes")), (["50000"], [str(32 << 20)]))
    ctr("task", "kill", "-s", "KILL", name)
    until(lambda: "STOPPED" in ctr("task", "ls").stdout, "stopped")
    ctr("task", "rm", name)
    ctr("container", "rm", name)


@needs_containerd
def mounts(h):
    """run: volumes with propagation words, the host's network, a user namespace"""
    volume = os.path.join(h.dir, "volume")
    os.makedirs(volume)
    for words in ("rbind:ro", "rbind:rw:rprivate", "rbind:rw:rslave", "rbind:rshared", "bind:shared"):
        m = mounts_of(ctr.report("--mount", f"type=bind,src={volume},dst=/data,options={words}"))["/data"]
        equal("ro" in m[0], "ro" in words.split(":"), words)
    os.rmdir(volume)
    equal(ctr.report("--net-host")["namespaces"]["net"], os.readlink("/proc/self/ns/net"))
    equal(ctr.report("--with-ns", f"ipc:/proc/{os.getpid()}/ns/ipc")["namespaces"]["ipc"],
          os.readlink("/proc/self/ns/ipc"))


@needs_containerd
def life(h):
    """run -d, exec, ps, metrics, pause, resume, kill, rm"""
    name = ctr.name()
    ctr("run", "-d", "--null-io", *ctr.usual(name), h.rootfs, name, "/bin/probe", "signal")
    equal(ctr("task", "exec", "--exec-id", "e1", name, "/bin/echo", "in").stdout, "in\n")
    equal(ctr("task", "exec", "--exec-id", "e2", name, "/bin/probe", "exit", "3", check=False).returncode, 3)
    p = ctr("task", "exec", "--exec-id", "e3", name, "nosuch", check=False)
    expect(p.returncode == 1 and "executable file not found" in p.stderr, p.stderr)
    pids = ctr("task", "ps", name).stdout
    expect(re.search(r"^\d+", pids, re.M), pids)
    expect("memory" in ctr("task", "metrics", name).stdout)
    ctr("task", "pause", name)
    expect("PAUSED" in ctr("task", "ls").stdout)
    ctr("task", "resume", name)
    expect("RUNNING" in ctr("task", "ls").stdout)
    ctr("task", "kill", "-s", "TERM", name)
    until(lambda: "STOPPED" in ctr("task", "ls").stdout, "stopped")
    said = ctr("task", "rm", name, check=False)
    expect("55" in said.stderr, said.stderr)
    ctr("container", "rm", name)
    name = ctr.name()
    ctr("run", "-d", "--null-io", *ctr.usual(name), h.rootfs, name, "/bin/probe", "stay")
    ctr("task", "rm", "-f", name, check=False)
    ctr("container", "rm", name)


@needs_containerd
def terminals(h):
    """run -t and exec -t have a terminal"""
    def in_terminal(*words):
        ours, theirs = os.openpty()
        p = subprocess.Popen(["ctr", "--address", ctr.dir + "/sock", "--namespace", "berthtest", *words], stdin=theirs,
                             stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        try:
            return read_until(ours, b"/dev/pts/")
        finally:
            p.wait(DEADLINE_S)
            os.close(ours)
    name = ctr.name()
    in_terminal("run", "--rm", "-t", *ctr.usual(name), h.rootfs, name, "/bin/tty")
    name = ctr.name()
    ctr("run", "-d", "--null-io", *ctr.usual(name), h.rootfs, name, "/bin/probe", "stay")
    in_terminal("task", "exec", "-t", "--exec-id", "t1", name, "/bin/tty")
    ctr("task", "kill", "-s", "KILL", name)
    until(lambda: "STOPPED" in ctr("task", "ls").stdout, "stopped")
    ctr("task", "rm", name, check=False)
    ctr("container", "rm", name)


@needs_containerd
def finish(h):
    """Nothing is left when containerd ends"""
    equal(ctr("task", "ls", "-q").stdout, "")
    ctr.close()
    equal([n for d in os.listdir(ctr.dir + "/runc") for n in os.listdir(f"{ctr.dir}/runc/{d}") if n[0] != "."], [])
    for line in open("/proc/self/mountinfo").read().split("\n"):
        if ctr.dir in line:
            subprocess.run(["umount", "-l", line.split()[4]], check=True)
    shutil.rmtree(ctr.dir)


sys.exit(main([prepare, running, restrictions, mounts, life, terminals, finish]))
