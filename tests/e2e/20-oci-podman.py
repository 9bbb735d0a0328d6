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
        # No file of the host says what is usual; the infra container of a pod takes no option for limits.
        self.env = dict(os.environ, CONTAINERS_CONF=h.dir + "/containers.conf")
        with open(h.dir + "/containers.conf", "w") as f:
            f.write('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n')
        tar = subprocess.run(["tar", "-C", h.rootfs, "-c", "."], check=True, stdout=subprocess.PIPE)
        subprocess.run([*self.base, "import", "-", "berth-test"], input=tar.stdout, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.env)

    def __call__(self, *words, check=True):
        p = subprocess.run([*self.base, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, timeout=120, env=self.env,
                           cwd=self.h.dir)  # conmon writes a file there when memory runs out
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
    equal((s["Seccomp"], s["CapEff"], s["CapInh"]), ("2", "00000000a80425fb", "0" * 16))
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
    # podman 4.3 gives conmon a mount namespace of its own when ids are mapped. If conmon's clean-up comes before that of
    # "podman rm", it unmounts the container's /dev/shm there, and it stays in the host's: so these have none of podman's.
    mapped = ["--uidmap", "0:100000:2000", "--gidmap", "0:100000:2000", "--ipc", "none"]
    r = podman.report(*mapped)
    equal(r["uid_map"].split(), ["0", "100000", "2000"])
    equal(r["uid"][0], 0)
    equal(podman.report("--userns", "host")["namespaces"]["user"], os.readlink("/proc/self/ns/user"))
    podman("run", "-d", "--name", "mapped", *podman.usual, *mapped, "berth-test", "/bin/probe", "stay")
    pid = podman("inspect", "-f", "{{.State.Pid}}", "mapped").stdout.strip()
    r = podman.report("--userns", "container:mapped", "--ipc", "none")
    equal(r["namespaces"]["user"], os.readlink(f"/proc/{pid}/ns/user"))
    podman("rm", "-f", "-t", "0", "mapped")


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
def volumes(h):
    """run -v: every word of propagation, and options of mounts"""
    volume = os.path.join(h.dir, "volume")
    os.makedirs(volume, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", volume], check=True)
    subprocess.run(["mount", "--make-shared", volume], check=True)
    try:
        words_of_volumes(volume)
    finally:
        subprocess.run(["umount", volume], check=True)


def words_of_volumes(volume):
    for word, tag in (("private", None), ("rprivate", None), ("slave", "master:"), ("rslave", "master:"),
                      ("shared", "shared:"), ("rshared", "shared:"), ("unbindable", "unbindable"),
                      ("runbindable", "unbindable")):
        options, mode, kind, source, tags = mounts_of(podman.report("-v", f"{volume}:/data:{word}"))["/data"]
        expect(not tags if tag is None else any(t.startswith(tag) for t in tags), word, tags)
    os.makedirs(volume + "/below", exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", volume + "/below"], check=True)
    for word, seen in (("bind", False), ("rbind", True)):
        equal("/data/below" in mounts_of(podman.report("-v", f"{volume}:/data:{word}")), seen, word)
    subprocess.run(["umount", volume + "/below"], check=True)
    for words, flag in (("ro", "ro"), ("nosuid", "nosuid"), ("noexec", "noexec"), ("nodev", "nodev"), ("U", "rw")):
        expect(flag in mounts_of(podman.report("-v", f"{volume}:/data:{words}"))["/data"][0], words)
    podman("volume", "create", "named")
    equal(podman.run("-v", "named:/data", "--", "/bin/sh", "-c", "echo kept > /data/file").returncode, 0)
    equal(podman.run("-v", "named:/data:ro", "--", "/bin/cat", "/data/file").stdout, "kept\n")
    podman("volume", "rm", "named")


@needs_podman
def limits(h):
    """run and update: --memory, --cpus, --cpu-shares, --pids-limit, --blkio-weight, ulimits are in the cgroup"""
    podman("run", "-d", "--name", "l", *podman.usual, "--memory", "64m", "--memory-reservation", "32m", "--cpus", "0.5",
           "--cpu-shares", "512", "--pids-limit", "33", "--cpuset-cpus", "0", "berth-test", "/bin/probe", "stay")
    pid = podman("inspect", "-f", "{{.State.Pid}}", "l").stdout.strip()
    lines = [l.split(":", 2) for l in open(f"/proc/{pid}/cgroup").read().split()]
    roots = cgroup_roots()

    def read(controller, name):
        for _, names, path in lines:
            if controller in names.split(",") or (is_v2() and names == ""):
                return open(roots.get(controller, roots.get("")) + path + "/" + name).read().strip()
    if is_v2():
        equal((read("memory", "memory.max"), read("cpu", "cpu.max")), (str(64 << 20), "50000 100000"))
    else:
        equal((read("memory", "memory.limit_in_bytes"), read("cpu", "cpu.cfs_quota_us"), read("cpu", "cpu.shares")),
              (str(64 << 20), "50000", "512"))
    equal((read("pids", "pids.max"), status_of({"status": open(f"/proc/{pid}/status").read()})["Cpus_allowed_list"]),
          ("33", "0"))
    podman("update", "--cpus", "0.25", "l")
    equal(read("cpu", "cpu.max" if is_v2() else "cpu.cfs_quota_us").split()[0], "25000")
    podman("rm", "-f", "-t", "0", "l")
    profile = os.path.join(h.dir, "profile.json")
    with open(profile, "w") as f:
        json.dump({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}]}, f)
    equal(podman.run("--security-opt", f"seccomp={profile}", "--", "/bin/probe", "try", "unshare", "0").stdout.split(),
          ["EIO"])
    os.unlink(profile)


@needs_podman
def health(h):
    """A health check is run in the container, and its outcome told"""
    podman("run", "-d", "--name", "hc", *podman.usual, "--health-interval", "disable", "--health-cmd",
           "test -e /tmp/well", "berth-test", "/bin/probe", "stay")
    equal(podman("healthcheck", "run", "hc", check=False).returncode, 1)
    podman("exec", "hc", "/bin/touch", "/tmp/well")
    equal(podman("healthcheck", "run", "hc", check=False).returncode, 0)
    podman("rm", "-f", "-t", "0", "hc")


@needs_podman
def pods(h):
    """The containers of a pod share its namespaces"""
    podman("pod", "create", "--name", "pod", "--network", "none", "--cgroup-parent", h.cgroup + "-podman",
           "--infra-image", "berth-test", "--infra-command", "/bin/probe stay")
    a, b = (json.loads(podman("run", "--rm", "--pod", "pod", "--ulimit", "nofile=1024:1024", "--ulimit",
                              "nproc=1000:1000", "berth-test", "/bin/probe", "report").stdout) for _ in range(2))
    for kind in ("net", "ipc", "uts"):
        equal(a["namespaces"][kind], b["namespaces"][kind], kind)
        expect(a["namespaces"][kind] != os.readlink(f"/proc/self/ns/{kind}"), kind)
    podman("pod", "stop", "-t", "1", "pod")
    podman("pod", "start", "pod")
    podman("pod", "rm", "-f", "-t", "0", "pod")


@needs_podman
def restarts(h):
    """A restart policy starts it again"""
    podman("run", "-d", "--name", "again", *podman.usual, "--restart", "on-failure:2", "berth-test", "/bin/sh", "-c",
           "echo tried; exit 3")
    until(lambda: podman("logs", "again").stdout.count("tried") == 3, "three attempts")
    podman("rm", "-f", "-t", "0", "again")


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


sys.exit(main([prepare, running, restrictions, users_and_files, namespaces, volumes, limits, life,
               health, pods, restarts, terminals, out_of_memory, finish]))
