#!/usr/bin/env python3
# tests/e2e/20-oci-podman.py - Debian's podman with berth-oci as its runtime
# SPDX-License-Identifier: Apache-2.0

import json
import os
import subprocess
import sys

from oci import *


class Podman:
    """podman with all its folders in ours, and the image that every case uses."""

    def __init__(self, h):
        self.h = h
        self.base = ["podman", "--root", h.dir + "/pm", "--runroot", h.dir + "/pmrun", "--tmpdir", h.dir + "/pmtmp",
                     "--runtime", OCI, "--cgroup-manager", "cgroupfs", "--events-backend", "file",
                     "--storage-driver", "vfs"]
        self.usual = ["--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000",
                      "--cgroup-parent", h.cgroup + "-podman"]
        tar = subprocess.run(["tar", "-C", h.rootfs, "-c", "."], check=True, stdout=subprocess.PIPE)
        subprocess.run([*self.base, "import", "-", "berth-test"], input=tar.stdout, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __call__(self, *words, check=True):
        p = subprocess.run([*self.base, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, timeout=120)
        if check and p.returncode != 0:
            raise AssertionError(f"podman {' '.join(words)}: exit {p.returncode}: {p.stderr}")
        return p

    def run(self, *words, check=True):
        """podman run --rm with options up to '--', then the command."""
        at = words.index("--") if "--" in words else 0
        return self("run", "--rm", *self.usual, *words[:at], "berth-test", *words[at + 1 if "--" in words else 0:],
                    check=check)

    def report(self, *options):
        return json.loads(self.run(*options, "--", "/bin/probe", "report").stdout)

    def close(self):
        self("rm", "-f", "-a", "-t", "0", check=False)
        self("rmi", "-f", "-a", check=False)
        self("system", "reset", "-f", check=False)
        for root in set(cgroup_roots().values()):
            for path, _, _ in os.walk(root + self.h.cgroup + "-podman", topdown=False):
                until(lambda: not os.path.exists(path) or os.rmdir(path) is None, "podman's own cgroup gone")


podman = None


def prepare(h):
    """podman accepts the runtime and imports an image"""
    global podman
    if not shutil.which("podman"):
        raise Skip("podman is not installed")
    podman = Podman(h)


def needs_podman(case):
    def wrapped(h):
        if podman is None:
            raise Skip("podman is not installed")
        case(h)
    wrapped.__doc__, wrapped.__name__ = case.__doc__, case.__name__
    return wrapped


@needs_podman
def running(h):
    """run: output, exit codes, and errors that podman understands"""
    equal(podman.run("--", "/bin/echo", "hello").stdout, "hello\n")
    for words, code in ((["/bin/probe", "exit", "7"], 7), (["nosuch"], 127), (["/nosuch"], 127), (["/etc/passwd"], 126)):
        p = podman.run("--", *words, check=False)
        equal(p.returncode, code, words)
    expect("executable file not found" in podman.run("--", "nosuch", check=False).stderr)


@needs_podman
def restrictions(h):
    """run: podman's default filter, capabilities, masks and limits arrive"""
    r = podman.report("--memory", "64m", "--cpus", "0.5", "--pids-limit", "44")
    s = status_of(r)
    equal((s["Seccomp"], s["CapEff"], s["CapInh"]), ("2", "00000000800405fb", "0" * 16))
    expect("/proc/kcore" in mounts_of(r) or not os.path.exists("/proc/kcore"), list(mounts_of(r)))
    expect("ro" in mounts_of(r)["/proc/sys"][0])
    equal(podman.run("--", "/bin/probe", "try", "bpf").stdout.split(), ["EPERM"])
    r = podman.report("--cap-drop", "all", "--cap-add", "chown", "--security-opt", "no-new-privileges")
    s = status_of(r)
    equal((s["CapEff"], s["CapBnd"], s["NoNewPrivs"]), ("0000000000000001", "0000000000000001", "1"))
    equal(status_of(podman.report("--security-opt", "seccomp=unconfined"))["Seccomp"], "0")


@needs_podman
def users_and_files(h):
    """run: users, working directory, environment, volumes, tmpfs, read-only roots"""
    volume = os.path.join(h.dir, "volume")
    os.makedirs(volume, exist_ok=True)
    r = podman.report("--user", "1000:100", "--workdir", "/tmp", "--env", "A=b", "--hostname", "name",
                      "-v", f"{volume}:/data:ro,rslave", "--tmpfs", "/etc", "--read-only")
    equal((r["uid"][0], r["gid"][0], r["cwd"], r["hostname"]), (1000, 100, "/tmp", "name"))
    expect("A=b" in r["env"])
    m = mounts_of(r)
    expect("ro" in m["/data"][0] and "ro" in m["/"][0] and m["/etc"][1] == "tmpfs", m)
    equal(podman.run("-v", f"{volume}:/data", "--", "/bin/touch", "/data/file").stdout, "")
    expect(os.path.exists(volume + "/file"))
    equal(podman.run("--tmpfs", "/etc", "--", "/bin/head", "-n", "1", "/etc/passwd").stdout.split(":")[0], "root")


@needs_podman
def namespaces(h):
    """run: host namespaces, shared ones, and a user namespace"""
    equal(podman.report("--ipc", "host")["namespaces"]["ipc"], os.readlink("/proc/self/ns/ipc"))
    equal(podman.report("--uts", "host")["namespaces"]["uts"], os.readlink("/proc/self/ns/uts"))
    equal(podman.report("--pid", "host")["namespaces"]["pid"], os.readlink("/proc/self/ns/pid"))
    podman("run", "-d", "--name", "first", *podman.usual, "berth-test", "/bin/probe", "stay")
    pid = podman("inspect", "-f", "{{.State.Pid}}", "first").stdout.strip()
    r = podman.report("--pid", "container:first")
    equal(r["namespaces"]["pid"], os.readlink(f"/proc/{pid}/ns/pid"))
    podman("rm", "-f", "-t", "0", "first")
    r = podman.report("--uidmap", "0:100000:2000", "--gidmap", "0:100000:2000")
    equal(r["uid_map"].split(), ["0", "100000", "2000"])
    equal(r["uid"][0], 0)


@needs_podman
def life(h):
    """create, start, exec, top, stats, pause, kill, stop, restart, logs, rm"""
    podman("run", "-d", "--name", "c", *podman.usual, "berth-test", "/bin/sh", "-c", "echo said; exec probe signal")
    equal(podman("exec", "c", "/bin/echo", "in").stdout, "in\n")
    equal(podman("exec", "-e", "X=y", "-w", "/tmp", "-u", "1000", "c", "/bin/sh", "-c", "echo $X $PWD; id -u").stdout,
          "y /tmp\n1000\n")
    equal(podman("exec", "c", "/bin/probe", "exit", "3", check=False).returncode, 3)
    equal(podman("exec", "c", "nosuch", check=False).returncode, 127)
    expect("/dev/pts/" in podman("exec", "-t", "c", "/bin/tty").stdout)
    expect("probe" in podman("top", "c").stdout)
    expect("c" in podman("stats", "--no-stream", "c").stdout)
    podman("pause", "c")
    equal(podman("inspect", "-f", "{{.State.Status}}", "c").stdout.strip(), "paused")
    podman("unpause", "c")
    podman("stop", "c")
    equal(podman("inspect", "-f", "{{.State.ExitCode}}", "c").stdout.strip(), "55")  # 40 + SIGTERM
    podman("start", "c")
    podman("kill", "-s", "USR1", "c")
    podman("wait", "c")
    equal(podman("inspect", "-f", "{{.State.ExitCode}}", "c").stdout.strip(), "50")
    expect(podman("logs", "c").stdout.count("said") == 2)
    podman("restart", "c")
    podman("rm", "-f", "-t", "0", "c")


@needs_podman
def terminals(h):
    """run -t has a terminal, exec -t too"""
    expect("/dev/pts/0" in podman.run("-t", "--", "/bin/tty").stdout)


@needs_podman
def out_of_memory(h):
    """A container that eats its memory is killed"""
    equal(podman.run("--memory", "16m", "--", "/bin/probe", "eat", str(64 << 20), check=False).returncode, 137)


@needs_podman
def finish(h):
    """Nothing is left when podman has removed its containers"""
    equal(h.oci("list", "-q").stdout, "")
    podman.close()


sys.exit(main([prepare, running, restrictions, users_and_files, namespaces, life, terminals, out_of_memory, finish]))
