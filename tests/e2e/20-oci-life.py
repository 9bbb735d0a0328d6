#!/usr/bin/env python3
# tests/e2e/20-oci-life.py - the life of a container, command by command
# SPDX-License-Identifier: Apache-2.0

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios

from oci import *

# Commands are killed at each of their system calls; where races are short, as in machines, at some of them.
SWEEP_STEP = 1 if int(os.environ.get("RACES", "2000")) >= 2000 else 11


def life_cycle(h):
    """A container is created, started, seen, killed and deleted"""
    with h.bundle() as b:
        b.args("/bin/probe", "signal").create()
        s = b.state()
        equal(s["status"], "created")
        equal(s["id"], b.id)
        equal(s["bundle"], b.path)
        equal(s["rootfs"], h.rootfs)
        equal(s["ociVersion"], "1.2.0")
        expect(s["pid"] > 1 and os.path.exists(f"/proc/{s['pid']}"), s)
        expect(re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$", s["created"]), s["created"])
        equal(s["owner"], "root")
        b.start()
        equal(b.state()["status"], "running")
        h.oci("kill", b.id, "KILL")
        b.wait_status("stopped")
        equal(b.state()["pid"], 0)
        h.oci("delete", b.id)
        p = h.oci("state", b.id, check=False)
        equal(p.returncode, 1)
        expect("does not exist" in p.stderr, p.stderr)


def nothing_runs_before_start(h):
    """The program is executed by start and not before"""
    with h.bundle(own_rootfs=True) as b:
        b.args("/bin/touch", "/ran").create()
        expect(not os.path.exists(b.rootfs + "/ran"))
        b.state(), b.state()  # asking does not start it
        expect(not os.path.exists(b.rootfs + "/ran"))
        b.start()
        until(lambda: os.path.exists(b.rootfs + "/ran"), "the file that it makes")


def no_process(h):
    """A container without a process can be created, joined and deleted, and not be started"""
    with h.bundle(lambda c: c.pop("process")) as b:
        expect("process: missing" in b.fails(command="run"))
        b.create()
        b.wait_status("created")
        expect("no process" in h.oci("start", b.id, check=False).stderr)
        b.wait_status("created")
        expect("no process" in b.exec(b.id, "/bin/true", check=False).stderr)
        path = os.path.join(b.path, "process.json")
        with open(path, "w") as f:
            json.dump({"args": ["/bin/hostname"], "cwd": "/"}, f)
        equal(b.exec("--process", path, b.id).stdout, "berth\n")
        h.oci("delete", b.id)


def exit_codes(h):
    """run gives the exit code of the program, 128 + n for signal n"""
    with h.bundle() as b:
        equal(b.args("/bin/probe", "exit", "7").run(check=False).returncode, 7)
        # As pid 1 of its namespace it is only killed by what it cannot handle; so without one.
    with h.bundle(lambda c: c["linux"]["namespaces"].pop(0)) as b:
        equal(b.args("/bin/probe", "die", "15").run(check=False).returncode, 143)


def signals_by_any_name(h):
    """kill takes TERM, SIGTERM, 15 and lower case; the default is TERM"""
    for words, number in ((["TERM"], 15), (["SIGUSR1"], 10), (["12"], 12), (["hup"], 1), ([], 15), (["SIGIO"], 29),
                          (["POLL"], 29), (["IOT"], 6), (["CLD"], 17), (["SIGRTMIN"], 34), (["rtmin+3"], 37),
                          (["RTMAX-1"], 63), (["RTMAX"], 64)):
        with h.bundle() as b:
            out = os.path.join(b.path, "out")
            with open(out, "w") as f:
                b.args("/bin/probe", "signal")
                p = subprocess.Popen([OCI, "--root", h.root, "run", "-b", b.path, b.id], stdout=f)
            until(lambda: "ready" in open(out).read(), "ready")
            h.oci("kill", b.id, *words)
            equal(p.wait(DEADLINE_S), 40 + number, words)


def bad_signals(h):
    """kill refuses what is no signal"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        for word in ("NOSUCH", "65", "-1", "15x", "", "RTMIN+31", "RTMIN-1", "SIG"):
            p = h.oci("kill", b.id, word, check=False)
            expect(p.returncode == 1 and "no signal" in p.stderr, word, p.stderr)
        equal(b.state()["status"], "running")
        h.oci("kill", b.id, "0")  # of kill(2): is somebody there?
        h.oci("kill", b.id, "KILL")
        b.wait_status("stopped")
        expect("not running" in h.oci("kill", b.id, "0", check=False).stderr)


def second_start(h):
    """A running or stopped container cannot be started"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        expect("already running" in h.oci("start", b.id, check=False).stderr)
        h.oci("kill", b.id, "KILL")
        b.wait_status("stopped")
        expect("has stopped" in h.oci("start", b.id, check=False).stderr)
        p = h.oci("kill", b.id, "TERM", check=False)
        expect("container not running" in p.stderr, p.stderr)
        p = h.oci("exec", b.id, "/bin/true", check=False)
        expect(p.returncode == 255 and "stopped container" in p.stderr, p.returncode, p.stderr)


def ids(h):
    """Ids are names of directories and nothing else; one is given once"""
    with h.bundle() as b:
        for bad in ("a b", "../x", ".hidden", "a/b", "", "x" * 256, "ü", "a\nb"):
            p = h.oci("create", "--bundle", b.path, bad, check=False)
            expect(p.returncode == 1 and "container id" in p.stderr, bad, p.stderr)
        b.args("/bin/probe", "stay").create()
        p = h.oci("create", "--bundle", b.path, b.id, check=False)
        expect(p.returncode == 1 and "already exists" in p.stderr, p.stderr)
        equal(b.state()["status"], "created")


def delete_running(h):
    """delete leaves a running container alone, delete --force does not; twice is fine"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        p = h.oci("delete", b.id, check=False)
        expect(p.returncode == 1 and "not stopped" in p.stderr, p.stderr)
        pid = b.pid()
        h.oci("delete", "--force", b.id)
        expect(not os.path.exists(f"/proc/{pid}/root"), "its process is still there")
        h.oci("delete", "--force", b.id)
        p = h.oci("delete", b.id, check=False)
        expect(p.returncode == 1 and "does not exist" in p.stderr, p.stderr)


def delete_created(h):
    """A created container is deleted without force"""
    with h.bundle() as b:
        b.create()
        h.oci("delete", b.id)


def ended_before_it_began(h):
    """A container that waits to be started ends by the signals that end others, as the first of its pid namespace too"""
    for sig in ("TERM", "INT", "QUIT"):
        with h.bundle(own_rootfs=True) as b:
            b.args("/bin/touch", "/ran").create()
            h.oci("kill", b.id, sig)
            b.wait_status("stopped")
            expect("has stopped" in h.oci("start", b.id, check=False).stderr)
            expect(not os.path.exists(b.rootfs + "/ran"))
            h.oci("delete", b.id)


def delete_leftovers(h):
    """delete ends processes that have outlived their init"""
    def change(c):
        c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "pid"]
    with h.bundle(change) as b:
        b.args("/bin/sh", "-c", "sleep 1000 & sleep 1000 & exit 0").begin()
        b.wait_status("stopped")
        pids = [int(p) for p in h.oci("ps", "--format", "json", b.id).stdout.strip("[]\n ").split(",")]
        equal(len(pids), 2, "processes left")
        h.oci("delete", b.id)
        for p in pids:
            until(lambda: not os.path.exists(f"/proc/{p}/root"), f"process {p} gone")


def kill_all(h):
    """kill --all reaches every process"""
    def change(c):
        c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "pid"]
    with h.bundle(change) as b:
        b.args("/bin/sh", "-c", "sleep 1000 & exec sleep 1000").begin()
        until(lambda: len(json.loads(h.oci("ps", "--format", "json", b.id).stdout)) == 2, "two of them")
        h.oci("kill", "--all", b.id, "KILL")
        until(lambda: json.loads(h.oci("ps", "--format", "json", b.id).stdout) == [], "none of them")


def pidfd_socket(h):
    """A pidfd of the process goes to --pidfd-socket, of create and of exec"""
    with h.bundle() as b:
        c = Console(h)
        b.args("/bin/probe", "stay").create("--pidfd-socket", c.path)
        fd = c.take()
        expect(f"Pid:\t{b.pid()}\n" in open(f"/proc/self/fdinfo/{fd}").read())
        os.close(fd)
        b.start()
        h.quiet("exec", "-d", "--no-subreaper", "--pidfd-socket", c.path, b.id, "/bin/sleep", "1000")
        os.close(c.take())
        c.close()


def pid_file(h):
    """The pid file is there when create returns, with the pid and nothing else"""
    with h.bundle() as b:
        path = os.path.join(b.path, "pid")
        b.create("--pid-file", path)
        equal(open(path).read(), str(b.pid()))


def listing(h):
    """list prints containers as a table, as JSON, and as ids"""
    with h.bundle() as x, h.bundle() as y:
        x.create(), y.args("/bin/probe", "stay").begin()
        equal(h.oci("list", "-q").stdout.split(), sorted([x.id, y.id]))
        table = h.oci("list").stdout.split("\n")
        expect(table[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"], table[0])
        equal([l.split()[2] for l in table[1:3]], ["created", "running"])
        docs = json.loads(h.oci("list", "--format", "json").stdout)
        equal([(d["id"], d["status"]) for d in docs], [(x.id, "created"), (y.id, "running")])
    equal(json.loads(h.oci("list", "-f", "json").stdout), [])


def processes(h):
    """ps shows the lines of the host's ps that are its processes, as runc does; words behind the id are for ps"""
    if not shutil.which("ps"):
        raise Skip("the host has no ps")
    with h.bundle() as b:
        b.args("/bin/sh", "-c", "sleep 1000 & exec sleep 1000").begin()
        until(lambda: len(json.loads(h.oci("ps", "--format", "json", b.id).stdout)) == 2, "two of them")
        pids = sorted(str(p) for p in json.loads(h.oci("ps", "-f", "json", b.id).stdout))
        lines = h.oci("ps", b.id).stdout.splitlines()
        expect(lines[0].split()[:3] == ["UID", "PID", "PPID"], lines)
        equal(sorted(l.split()[1] for l in lines[1:]), pids)
        lines = h.oci("ps", b.id, "-e", "-o", "comm,pid").stdout.splitlines()
        equal(lines[0].split(), ["COMMAND", "PID"])
        equal(sorted(l.split()[1] for l in lines[1:]), pids)
        equal(h.oci("ps", b.id, "-p", "1").stdout.count("\n"), 1)
        for words, says in ((["--nosuch"], "ps: exit status"), (["-e", "-o", "comm"], "no column PID")):
            p = h.oci("ps", b.id, *words, check=False)
            expect(p.returncode == 1 and says in p.stderr, words, p.stderr)
        lines = h.oci("ps", b.id, env=dict(os.environ, PATH="/nosuch")).stdout.splitlines()
        equal(lines[0].split(), ["PID", "CMD"])
        equal(sorted(l.split()[0] for l in lines[1:]), pids)
        p = h.oci("ps", b.id, "-ef", env=dict(os.environ, PATH="/nosuch"), check=False)
        expect(p.returncode == 1 and "ps is not installed" in p.stderr, p.stderr)


def exec_basic(h):
    """exec runs one more process with the container's namespaces, cgroup, rights and environment"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        inside = json.loads(b.exec(b.id, "/bin/probe", "report").stdout)
        init = b.pid()
        for kind, value in inside["namespaces"].items():
            equal(value, os.readlink(f"/proc/{init}/ns/{kind}"), kind)
        expect(all(l.endswith("/") for l in inside["cgroup"].strip().split("\n")), inside["cgroup"])
        s = status_of(inside)
        equal(s["CapEff"], "0000000020000420")
        equal(s["CapInh"], "0000000000000000")
        equal(s["NoNewPrivs"], "1")
        equal(inside["groups"], [])
        expect("PATH=/usr/bin:/bin" in inside["env"] and "HOME=/root" in inside["env"], inside["env"])
        equal(sorted(inside["fds"]), ["0", "1", "2"])
        equal(inside["sid"], inside["pid"])


def exec_exit_codes(h):
    """exec gives the exit code of its program, and 255 when it could not run one"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        equal(b.exec(b.id, "/bin/probe", "exit", "5", check=False).returncode, 5)
        equal(b.exec(b.id, "/bin/probe", "die", "9", check=False).returncode, 137)
        for words, says in ((["nosuch"], "executable file not found in $PATH"),
                            (["/nosuch"], "no such file or directory"),
                            (["/etc/passwd"], "permission denied"),
                            (["/bin"], "is a directory")):
            p = b.exec(b.id, *words, check=False)
            expect(p.returncode == 255 and says in p.stderr, words, p.returncode, p.stderr)


def exec_options(h):
    """exec takes user, cwd, environment and capabilities"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        r = json.loads(b.exec("--user", "1000:100", "--cwd", "/tmp", "--env", "A=1", "-e", "B=2",
                              "--cap", "CAP_CHOWN", b.id, "/bin/probe", "report").stdout)
        equal((r["uid"], r["gid"], r["cwd"]), ([1000, 1000], [100, 100], "/tmp"))
        r2 = json.loads(b.exec("--env", "TERM=dumb", b.id, "/bin/probe", "report").stdout)
        equal([v for v in r2["env"] if v.startswith("TERM=")], ["TERM=dumb"])
        expect("A=1" in r["env"] and "B=2" in r["env"] and "HOME=/home/user" in r["env"], r["env"])
        s = status_of(r)
        expect(int(s["CapBnd"], 16) & 1, s["CapBnd"])
        equal(s["CapInh"], "0000000000000000")
        for bad in ("-1", "4294967295", "4294967296", "", "x", "1:", "1:-1", "1:4294967295",
                    "00000000000000001", "1x", " 1"):
            p = b.exec("--user", bad, b.id, "/bin/id", check=False)
            expect(p.returncode == 255 and "user" in p.stderr, repr(bad), p.returncode, p.stdout, p.stderr)


def exec_places(h):
    """exec takes more groups, and a cgroup below the container's"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        r = json.loads(b.exec("-g", "7", "--additional-gids", "8", b.id, "/bin/probe", "report").stdout)
        equal(r["groups"], [7, 8])
        roots, inner = sorted(set(cgroup_roots().values())), f"{h.cgroup}/{b.id}/inner"
        if not is_v2():  # each by itself
            p = b.exec("--cgroup", "memory:inner", b.id, "/bin/true", check=False)
            expect(p.returncode == 255 and "inner" in p.stderr, p.stderr)
        for root in roots:
            os.mkdir(root + inner)
            if os.path.exists(root + inner + "/cpuset.cpus") and "cpuset" in root:
                for name in ("cpuset.cpus", "cpuset.mems"):
                    open(f"{root}{inner}/{name}", "w").write(open(f"{root}{h.cgroup}/{b.id}/{name}").read())
        lines = b.exec("--cgroup", "inner", b.id, "/bin/cat", "/proc/self/cgroup").stdout.split()
        expect(all(l.endswith("/inner") for l in lines if os.path.isdir(
            cgroup_roots().get(l.split(":")[1].split(",")[0].replace("name=", ""), "/nosuch"))), lines)
        expect(any(l.endswith(":/inner") for l in lines), lines)
        if not is_v2():
            lines = b.exec("--cgroup", "memory:inner", b.id, "/bin/cat", "/proc/self/cgroup").stdout.split()
            equal([l.split(":")[1] for l in lines if l.endswith("/inner")], ["memory"])
        for bad, says in (("../..", "no name"), ("nosuch", "nosuch"), ("nosuch:inner", "no hierarchy")):
            p = b.exec("--cgroup", bad, b.id, "/bin/true", check=False)
            expect(p.returncode == 255 and says in p.stderr, bad, p.stderr)


def updating(h):
    """update changes limits, by options and by a file, keeps the others, and undoes what fails"""
    with h.bundle(lambda c: c["linux"]["resources"].update(
            memory={"limit": 32 << 20}, cpu={"quota": 50000, "period": 100000}, pids={"limit": 30})) as b:
        b.args("/bin/probe", "stay").begin()
        v2 = is_v2()
        memory = lambda: open(b.cgroup_file("memory", "memory.max" if v2 else "memory.limit_in_bytes")).read().strip()
        cpu = lambda: (open(b.cgroup_file("cpu", "cpu.max")).read().split() if v2 else
                       [open(b.cgroup_file("cpu", f"cpu.cfs_{n}_us")).read().strip() for n in ("quota", "period")])
        pids = lambda: open(b.cgroup_file("pids", "pids.max")).read().strip()
        for words, wanted in (("1.5g", 3 << 29), ("48.125mb", 50462720), ("0.5G", 1 << 29)):
            h.oci("update", "--memory", words, b.id)
            equal(memory(), str(wanted))
        for words in ("1.g", ".5g", "1.5.5g", "-1.5g", "1.5x", "1.12345678g", ""):
            p = h.oci("update", "--memory", words, b.id, check=False)
            expect(p.returncode == 1 and "not a number" in p.stderr, words, p.stderr)
        h.oci("update", b.id)  # nothing to change is no failure
        with open(os.path.join(b.path, "none.json"), "w") as f:
            f.write("{}")
        h.oci("update", "--resources", f.name, b.id)
        h.oci("update", "--memory", "64m", "--cpu-quota", "20000", b.id)
        equal((memory(), cpu(), pids()), (str(64 << 20), ["20000", "100000"], "30"))
        path = os.path.join(b.path, "resources.json")
        with open(path, "w") as f:
            json.dump({"pids": {"limit": 44}, "memory": {"limit": 48 << 20}}, f)
        h.oci("update", "--resources", path, b.id)
        equal((memory(), cpu(), pids()), (str(48 << 20), ["20000", "100000"], "44"))
        with open(path) as f:
            h.oci("update", "--resources", "-", "--pids-limit", "-1", b.id, stdin=f)
        equal(pids(), "max")
        h.oci("update", "--cpu-quota", "10000", "--cpu-burst", "10000", b.id)  # the burst may not be over the quota
        h.oci("update", "--cpu-quota", "5000", "--cpu-burst", "5000", b.id)
        p = h.oci("update", "--cpuset-cpus", "4000", "--pids-limit", "9", b.id, check=False)
        expect(p.returncode == 1 and "cpu.cpus" in p.stderr, p.stderr)
        h.oci("update", "--memory", str(40 << 20), b.id)
        equal((memory(), cpu(), pids()), (str(40 << 20), ["5000", "100000"], "max"))
        for words, says in ((["--memory", "12q"], "not a number"), (["--memory", "-2"], "not a number"),
                            (["--cpu-share", "-5"], "cpu.shares"), (["--resources", "/nosuch"], "/nosuch")):
            p = h.oci("update", *words, b.id, check=False)
            expect(p.returncode == 1 and says in p.stderr, words, p.stderr)
        with open(path, "w") as f:
            json.dump({"memory": {"limit": 65536, "checkBeforeUpdate": True}}, f)
        p = h.oci("update", "--resources", path, b.id, check=False)
        expect(p.returncode == 1 and "checkBeforeUpdate" in p.stderr, p.stderr)
        h.oci("kill", b.id, "KILL")
        b.wait_status("stopped")
        expect("not running" in h.oci("update", "--memory", "64m", b.id, check=False).stderr)
        expect("does not exist" in h.oci("update", "--memory", "64m", "absent", check=False).stderr)


def updating_devices(h):
    """update changes the devices that may be opened, in both directions"""
    def change(c):
        for s in c["process"]["capabilities"].values():
            s += ["CAP_MKNOD", "CAP_DAC_OVERRIDE"]
    with h.bundle(change) as b:
        b.args("/bin/probe", "stay").begin()
        look = lambda: b.exec(b.id, "/bin/probe", "try", "mknod", "/dev/k", "c", "1", "99", "--", "open", "/dev/k",
                              "r").stdout.split()[-1]
        path = os.path.join(b.path, "resources.json")
        rules = [{"allow": False, "access": "rwm"}]
        for extra, wanted in (([], "EPERM"), ([{"allow": True, "type": "c", "major": 1, "minor": 99, "access": "r"}],
                                              "ENXIO"), ([], "EPERM"), ([{"allow": True, "access": "rwm"}], "ENXIO")):
            with open(path, "w") as f:
                json.dump({"devices": rules + extra}, f)
            h.oci("update", "--resources", path, b.id)
            equal(look(), wanted, extra)


def events(h):
    """events prints numbers until the container ends, and when it had too little memory"""
    with h.bundle(lambda c: c["linux"]["resources"].update(memory={"limit": 16 << 20}, pids={"limit": 20})) as b:
        b.args("/bin/probe", "stay").begin()
        doc = json.loads(h.oci("events", "--stats", b.id).stdout)
        equal((doc["type"], doc["id"]), ("stats", b.id))
        d = doc["data"]
        expect(d["cpu"]["usage"]["total"] > 0 and d["memory"]["usage"]["usage"] > 0, d)
        equal((d["memory"]["usage"]["limit"], d["pids"]), (16 << 20, {"current": 1, "limit": 20}))
        expect("raw" in d["memory"] and "throttling" in d["cpu"] and "blkio" in d, d)
        out = os.path.join(b.path, "events")
        with open(out, "w") as f:
            p = subprocess.Popen([OCI, "--root", h.root, "events", "--interval", "50ms", b.id], stdout=f)
        try:
            lines = lambda: [json.loads(l)["type"] for l in open(out).read().split("\n")[:-1]]
            until(lambda: lines().count("stats") >= 3, "three of them")
            b.exec(b.id, "/bin/probe", "eat", str(64 << 20), check=False)
            until(lambda: "oom" in lines(), "the event")
            h.oci("kill", b.id, "KILL")
            equal(p.wait(DEADLINE_S), 0)
        finally:
            p.kill()
        expect("does not exist" in h.oci("events", "absent", check=False).stderr)
        expect("not running" in h.oci("events", b.id, check=False).stderr)


def no_criu(h):
    """checkpoint says what it lacks, and what it cannot do"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        p = h.oci("checkpoint", "--image-path", b.path + "/images", b.id, check=False,
                  env=dict(os.environ, PATH="/nosuch"))
        expect(p.returncode == 1 and "criu is not installed" in p.stderr, p.stderr)
        equal(b.state()["status"], "running")
        expect("does not exist" in h.oci("checkpoint", "absent", check=False).stderr)
        with h.bundle() as other:
            p = h.oci("restore", "--image-path", "/nosuch", "-b", other.path, "-d", other.id, check=False)
            expect(p.returncode == 1 and "/nosuch" in p.stderr, p.stderr)
        expect("does not exist" in h.oci("state", other.id, check=False).stderr)
    if not shutil.which("criu"):
        return
    with h.bundle(lambda c: c["process"].update(terminal=True)) as b:
        b.args("/bin/probe", "stay").begin_in_terminal()
        p = h.oci("checkpoint", "--image-path", b.path + "/images", b.id, check=False)
        expect(p.returncode == 1 and "with a terminal is not supported" in p.stderr, p.stderr)


def criu_works():
    return bool(shutil.which("criu")) and subprocess.run(["criu", "check"], stdout=subprocess.DEVNULL,
                                                         stderr=subprocess.DEVNULL).returncode == 0


@only_where(criu_works)
def checkpointing(h):
    """A container is kept in files, and goes on from them where it was"""
    def change(c):
        c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "network"]
        c["linux"]["readonlyPaths"] = []
        for s in c["process"]["capabilities"].values():
            s += ["CAP_DAC_OVERRIDE"]
    with h.bundle(change, own_rootfs=True) as b:
        count = os.path.join(b.rootfs, "tmp/count")
        number = lambda: int(open(count).read() or "0") if os.path.exists(count) else 0
        b.args("/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /tmp/new; mv /tmp/new /tmp/count; sleep 0.1; done")
        null = {n: subprocess.DEVNULL for n in ("stdin", "stdout", "stderr")}
        h.oci("create", "-b", b.path, b.id, **null)
        b.start()
        until(lambda: number() > 3, "it counts")
        images = b.path + "/images"
        p = h.oci("checkpoint", "--image-path", images, "--work-path", b.path + "/work", b.id, check=False, timeout=120)
        if p.returncode:
            raise AssertionError(p.stderr + open(b.path + "/work/dump.log").read()[-1500:])
        b.wait_status("stopped")
        h.oci("delete", b.id)
        seen = number()
        p = h.oci("restore", "--image-path", images, "--work-path", b.path + "/work", "-d", "--pid-file",
                  b.path + "/pid", "-b", b.path, b.id, timeout=120, check=False, **null)
        if p.returncode:
            raise AssertionError(open(b.path + "/work/restore.log").read()[-1500:])
        equal((b.state()["status"], open(b.path + "/pid").read()), ("running", str(b.pid())))
        until(lambda: number() > seen, "it goes on")
        equal(b.exec(b.id, "/bin/echo", "in").stdout, "in\n")
        expect(f"/{b.id}" in open(f"/proc/{b.pid()}/cgroup").read())


def no_cgroup(h):
    """--cgroup-manager disabled makes a container without a cgroup, if it needs none"""
    with h.bundle(lambda c: c["mounts"].pop()) as b:
        b.args("/bin/probe", "stay")
        h.quiet("--cgroup-manager", "disabled", "create", "-b", b.path, b.id)
        b.start()
        expect(b.id not in open(f"/proc/{b.pid()}/cgroup").read())
        equal(b.exec(b.id, "/bin/echo", "in").stdout, "in\n")
        expect("freezer" in h.oci("pause", b.id, check=False).stderr)
        h.oci("kill", "--all", b.id, "KILL")
        b.wait_status("stopped")
        h.oci("delete", b.id)
        b.config["linux"]["resources"]["pids"] = {"limit": 5}
        b.write()
        p = h.oci("--cgroup-manager", "disabled", "create", "-b", b.path, b.id, check=False)
        expect(p.returncode == 1 and "no cgroup for them" in p.stderr, p.stderr)


def exec_process_file(h):
    """exec takes an OCI process object"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        path = os.path.join(b.path, "process.json")

        def go(process):
            with open(path, "w") as f:
                json.dump(process, f)
            return b.exec("--process", path, b.id, check=False)
        p = go({"args": ["/bin/probe", "report"], "cwd": "/tmp", "env": ["X=y"],
                "user": {"uid": 7, "gid": 8, "additionalGids": [9, 10], "umask": 0o27},
                "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]})
        r = json.loads(p.stdout)
        equal((r["uid"][0], r["gid"][0], r["groups"], r["cwd"]), (7, 8, [9, 10], "/tmp"))
        equal(r["env"], ["X=y", "HOME=/"])
        equal(r["umask"], 0o27)
        equal(r["rlimits"]["7"], [77, 88])
        equal(status_of(r)["CapPrm"], "0000000000000000")
        for process, says in (({"args": ["x"]}, "cwd"), ({"args": [], "cwd": "/"}, "args"),
                              ({"args": ["x"], "cwd": "/", "user": {"uid": 4294967295}}, "4294967295"),
                              ({"args": ["x"], "cwd": "/", "scheduler": {"policy": "X"}}, "scheduler")):
            p = go(process)
            expect(p.returncode == 255 and says in p.stderr, process, p.stderr)


def exec_oom_score(h):
    """A process that is exec'ed is as likely to be killed for want of memory as the container's, or as it says"""
    with h.bundle(lambda c: c["process"].update(oomScoreAdj=300)) as b:
        b.args("/bin/probe", "stay").begin()
        equal(b.exec(b.id, "/bin/cat", "/proc/self/oom_score_adj").stdout, "300\n")
        path = os.path.join(b.path, "process.json")
        for score, wanted in ((None, "300\n"), (700, "700\n")):
            process = {"args": ["/bin/cat", "/proc/self/oom_score_adj"], "cwd": "/"}
            if score:
                process["oomScoreAdj"] = score
            with open(path, "w") as f:
                json.dump(process, f)
            equal(b.exec("--process", path, b.id).stdout, wanted)


def exec_detached(h):
    """exec --detach returns at once and writes the pid file"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        path = os.path.join(b.path, "pid")
        h.quiet("exec", "--detach", "--pid-file", path, b.id, "/bin/sleep", "1000")
        pid = int(open(path).read())
        equal(os.readlink(f"/proc/{pid}/ns/pid"), os.readlink(f"/proc/{b.pid()}/ns/pid"))
        expect(str(pid) in h.oci("ps", b.id).stdout)


def console_socket(h):
    """create sends the terminal to the console socket; it is the program's"""
    def change(c):
        c["process"]["terminal"] = True
        c["process"]["consoleSize"] = {"height": 33, "width": 44}
    with h.bundle(change) as b:
        c = Console(h)
        b.args("/bin/sh", "-c", "tty; stty size; readlink /proc/self/fd/0; read x; echo got $x")
        b.create("--console-socket", c.path)
        fd = c.take()
        b.start()
        out = read_until(fd, b"33 44")
        expect(b"/dev/pts/0" in out, out)
        os.write(fd, b"word\n")
        read_until(fd, b"got word")
        os.close(fd)
        c.close()


def console_rules(h):
    """A terminal needs a console socket, and a console socket a terminal"""
    with h.bundle(lambda c: c["process"].update(terminal=True)) as b:
        expect("console socket" in b.fails())
        expect("nosuch" in b.fails("--console-socket", "/nosuch.sock"))
    with h.bundle() as b:
        c = Console(h)
        expect("terminal is not set" in b.fails("--console-socket", c.path))
        c.close()


def exec_terminal(h):
    """exec --tty has a terminal of its own"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        c = Console(h)
        h.quiet("exec", "--tty", "--detach", "--console-socket", c.path, b.id, "/bin/sh", "-c", "tty; sleep 1")
        fd = c.take()
        read_until(fd, b"/dev/pts/0")
        os.close(fd)
        c.close()


def foreground_terminal(h):
    """run and exec without a console socket pass their own terminal through, and its size"""
    with h.bundle(lambda c: c["process"].update(terminal=True)) as b:
        b.args("/bin/sh", "-c", "stty size; read x; echo got $x; exit 3")
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 21, 43, 0, 0))
        p = subprocess.Popen([OCI, "--root", h.root, "run", "-b", b.path, b.id], stdin=theirs, stdout=theirs,
                             stderr=theirs, start_new_session=True)
        read_until(ours, b"21 43")
        os.write(ours, b"word\r")
        read_until(ours, b"got word")
        equal(p.wait(DEADLINE_S), 3)
        b.args("/bin/probe", "stay").begin_in_terminal()
        p = subprocess.Popen([OCI, "--root", h.root, "exec", "-t", b.id, "/bin/sh", "-c", "stty size; exit 4"],
                             stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        read_until(ours, b"21 43")
        equal(p.wait(DEADLINE_S), 4)
        os.close(ours), os.close(theirs)


def preserved_descriptors(h):
    """--preserve-fds passes descriptors on, and no other leaks"""
    with h.bundle() as b, tempfile.TemporaryFile() as f3, tempfile.TemporaryFile() as f9:
        def place():
            os.dup2(f3.fileno(), 3), os.dup2(f3.fileno(), 4), os.dup2(f9.fileno(), 20)
            for fd in (3, 4, 20):
                os.set_inheritable(fd, True)

        def run(*options):
            return h.oci("run", "--bundle", b.path, *options, b.id, close_fds=False, preexec_fn=place,
                         check=False)
        b.args("/bin/probe", "report")
        equal(sorted(json.loads(run().stdout)["fds"]), ["0", "1", "2"])
        equal(sorted(json.loads(run("--preserve-fds", "2").stdout)["fds"]), ["0", "1", "2", "3", "4"])
        p = run("--preserve-fds", "1000")
        expect(p.returncode == 1 and "preserved descriptor" in p.stderr, p.stderr)
        for words in (["run", "--bundle", b.path], ["exec"]):  # a number that is free when we begin is not passed on
            if words == ["exec"]:
                b.args("/bin/probe", "stay").begin()
            shell = ["sh", "-c", 'exec "$@" 3</dev/null 4<&- 5</dev/null', "sh", OCI, "--root", h.root, *words]
            p = subprocess.run([*shell, "--preserve-fds", "3", b.id, *(["/bin/true"] if words == ["exec"] else [])],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            expect(p.returncode in (1, 255) and "preserved descriptor 4: it is not open" in p.stderr, words, p.stderr)


def sweep(h, name, before, *words):
    """Kill a command at every system call in turn; each time delete --force must leave nothing. How many there are."""
    n = 1
    while True:
        before()
        p = subprocess.run(["strace", "-o", "/dev/null", "-e", f"inject=all:signal=KILL:when={n}", OCI, "--root", h.root,
                            *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=TRACED)
        h.oci("delete", "--force", name)
        try:
            until(lambda: not h.left_over(), "clean")
        except AssertionError:
            raise AssertionError(f"{words[0]} killed at system call {n} leaves {h.left_over()}") from None
        if p.returncode >= 0:
            equal(p.returncode, 0, f"{words[0]} with {n} system calls")
            return n
        n += SWEEP_STEP


def crash_of_the_creator(h):
    """delete --force leaves nothing when create, start, exec, kill or delete was killed, at any system call"""
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    limits = {"pids": {"limit": 64}, "memory": {"limit": 64 << 20}}
    with h.bundle(lambda c: c["linux"]["resources"].update(limits)) as b:
        b.args("/bin/probe", "stay")
        for at_least, before, *words in ((50, lambda: None, "create", "--bundle", b.path, b.id),
                                         (5, b.create, "start", b.id), (20, b.begin, "exec", b.id, "/bin/true"),
                                         (5, b.begin, "kill", b.id, "KILL"), (20, b.begin, "delete", "--force", b.id)):
            calls = sweep(h, b.id, before, *words)
            expect(calls > at_least, f"{words[0]} makes {calls} system calls only")


def crash_after_create(h):
    """A container lives on without the process that made it"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        equal(b.state()["status"], "running")


def hooks(h):
    """Hooks run at their points, with the state on their input"""
    log = os.path.join(h.dir, "hooks.log")

    def hook(kind, inside=False):
        shell = "/bin/sh" if inside else "/bin/sh"
        target = "/hooks.log" if inside else log
        return {"path": shell, "args": ["sh", "-c", f"read -r x; echo {kind} $PWD $K \"$x\" >> {target}"],
                "env": ["PATH=/usr/bin:/bin", "K=v"]}

    def change(c):
        c["annotations"] = {"org.x": "y"}
        c["hooks"] = {k: [hook(k, k == "startContainer")] for k in
                      ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")}
    with h.bundle(change, own_rootfs=True) as b:
        b.create()
        b.start()
        b.wait_status("stopped")
        h.oci("delete", b.id)
        lines = open(log).read().split("\n")
        equal([l.split()[0] for l in lines if l],
              ["prestart", "createRuntime", "createContainer", "poststart", "poststop"])
        want = {"prestart": "created", "createRuntime": "creating", "createContainer": "creating",
                "poststart": "running", "poststop": "stopped"}
        for l in filter(None, lines):
            s = json.loads(l[l.index("{"):])
            equal(s["status"], want[l.split()[0]], l)
            equal((s["id"], s["bundle"], s["annotations"]), (b.id, b.path, {"org.x": "y"}))
            expect(" v " in l, l)
        inner = open(b.rootfs + "/hooks.log").read()
        equal(json.loads(inner[inner.index("{"):])["status"], "created")
    os.unlink(log)


def failing_hooks(h):
    """A hook that fails or does not end undoes the container, and tells what it said"""
    for kind in ("prestart", "createRuntime", "createContainer"):
        def change(c):
            c["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo reason >&2; exit 3"]}]}
        with h.bundle(change) as b:
            said = b.fails()
            expect(f"{kind} hook 0" in said and "exit status 3" in said and "reason" in said, said)

    def slow(c):
        c["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]}
    with h.bundle(slow) as b:
        expect("still running after 1 s" in b.fails())

    def poststart(c):
        c["hooks"] = {"poststart": [{"path": "/bin/false"}]}
    with h.bundle(poststart) as b:
        b.args("/bin/probe", "stay").create()
        p = h.oci("start", b.id, check=False)
        expect(p.returncode == 1 and "poststart hook 0" in p.stderr, p.stderr)
        expect("does not exist" in h.oci("state", b.id, check=False).stderr)

    def poststop(c):
        c["hooks"] = {"poststop": [{"path": "/bin/false"}]}
    with h.bundle(poststop) as b:  # told, and nothing more
        b.create()
        expect("poststop hook 0" in h.oci("delete", b.id).stderr)
    log = os.path.join(h.dir, "poststop.log")
    told = {"path": "/bin/sh", "args": ["sh", "-c", f"read -r x; echo \"$x\" >> {log}"]}

    def all_of_them(c):
        c["hooks"] = {"poststop": [{"path": "/bin/false"}, told, {"path": "/nosuch"}, told]}
    with h.bundle(all_of_them) as b:
        b.create()
        said = h.oci("delete", b.id).stderr
        expect("poststop hook 0" in said and "poststop hook 2" in said, said)
        equal([json.loads(l)["status"] for l in open(log)], ["stopped"] * 2)
    os.unlink(log)
    # Of the spec: when one of the others has failed, it is destroyed and they are run.
    for kind in ("prestart", "createRuntime", "createContainer", "poststart"):
        with h.bundle(lambda c: c.update(hooks={kind: [{"path": "/bin/false"}], "poststop": [told]})) as b:
            said = b.args("/bin/probe", "stay").fails(command="run")
            expect(f"{kind} hook 0" in said, said)
            equal([json.loads(l)["status"] for l in open(log)], ["stopped"], kind)
        os.unlink(log)
    with h.bundle(lambda c: c.update(hooks={"createRuntime": [told], "poststop": [told]}, mounts=[
            {"destination": "/x", "type": "bind", "source": "/nosuch"}])) as b:
        b.fails()
        expect(not os.path.exists(log), "a hook ran before anything was made")
    with h.bundle(lambda c: c.update(hooks={"createRuntime": [
            {"path": "/bin/sh", "args": ["sh", "-c", "test $OURS = x"]}]})) as b:  # without an env: ours
        b.create(env=dict(os.environ, OURS="x"))


def frozen_elsewhere(h):
    """delete ends a process that somebody has moved to a frozen cgroup of his own"""
    root = cgroup_roots().get("freezer")
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        place = f"{root}{h.cgroup}-frozen"
        os.mkdir(place)
        with open(place + "/cgroup.procs", "w") as f:
            f.write(str(b.pid()))
        with open(place + "/freezer.state", "w") as f:
            f.write("FROZEN")
        h.oci("delete", "--force", b.id)
        until(lambda: not open(place + "/cgroup.procs").read(), "the process gone")
        os.rmdir(place)


def start_while_created(h):
    """start waits for a create that is under way"""
    with h.bundle(lambda c: c.update(hooks={"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "0.5"]}]})) as b:
        b.args("/bin/probe", "stay")
        p = subprocess.Popen([OCI, "--root", h.root, "create", "-b", b.path, b.id], stdout=subprocess.DEVNULL,
                             stdin=subprocess.DEVNULL)
        until(lambda: os.path.exists(f"{h.root}/{b.id}/state.json"), "its state")
        b.start()
        equal((p.wait(), b.state()["status"]), (0, "running"))


def listening_sockets(h):
    """What systemd has passed to us is passed on, and said to be"""
    with h.bundle() as b, tempfile.TemporaryFile() as f:
        def place():
            os.dup2(f.fileno(), 3)
            os.set_inheritable(3, True)
        b.args("/bin/probe", "report")
        r = json.loads(h.oci("run", "-b", b.path, b.id, close_fds=False, preexec_fn=place,
                             env=dict(os.environ, LISTEN_FDS="1")).stdout)
        expect("LISTEN_FDS=1" in r["env"] and "LISTEN_PID=1" in r["env"] and "3" in r["fds"], r["env"])
        # Somebody else's, left in the environment, are none: sd_listen_fds(3).
        r = json.loads(h.oci("run", "-b", b.path, b.id, env=dict(os.environ, LISTEN_FDS="1", LISTEN_PID="1")).stdout)
        expect(not any(v.startswith("LISTEN_") for v in r["env"]) and sorted(r["fds"]) == ["0", "1", "2"], r)


def create_container_hook_finds_the_root(h):
    """A createContainer hook finds the mounted root at the path that the state names"""
    out = os.path.join(h.dir, "seen")

    def change(c):
        c["hooks"] = {"createContainer": [{"path": "/bin/sh", "args": [
            "sh", "-c", f"ls {h.rootfs}/proc/self/ns {h.rootfs}/dev/null > {out} 2>&1"]}]}
    with h.bundle(change) as b:
        b.create()
        expect("pid_for_children" in open(out).read(), open(out).read())
    os.unlink(out)


def pausing(h):
    """pause freezes, resume thaws, and state says so"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        h.oci("pause", b.id)
        equal(b.state()["status"], "paused")
        p = h.oci("exec", b.id, "/bin/true", check=False)
        expect("paused" in p.stderr, p.stderr)
        p = h.oci("delete", b.id, check=False)
        expect(p.returncode == 1 and "not stopped: paused" in p.stderr, p.stderr)
        h.oci("resume", b.id)
        equal(b.state()["status"], "running")
        h.oci("pause", b.id)
        h.oci("delete", "--force", b.id)
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        h.oci("pause", b.id)
        h.oci("kill", b.id, "KILL")
        b.wait_status("stopped")
    with h.bundle() as b:  # before it is started; and who cannot answer keeps nobody waiting
        b.args("/bin/probe", "stay").create()
        h.oci("pause", b.id)
        for _ in range(10):
            equal(b.state()["status"], "paused")
        expect("paused" in h.oci("list").stdout)
        expect("not stopped: paused" in h.oci("delete", b.id, check=False).stderr)
        h.oci("resume", b.id)
        equal(b.state()["status"], "created")
        b.start()
        equal(b.state()["status"], "running")


def logs(h):
    """Errors go to --log as JSON or text, and to standard error"""
    path = os.path.join(h.dir, "log")
    p = h.oci("--log", path, "--log-format", "json", "start", "absent", check=False)
    line = json.loads(open(path).read())
    equal((line["level"], line["msg"]), ("error", "container 'absent' does not exist"))
    expect(re.match(r"^\d{4}-\d\d-\d\dT", line["time"]), line)
    equal(p.stderr.strip(), line["msg"])
    os.unlink(path)
    h.oci("--log", path, "start", "absent", check=False)
    expect('level=error msg="container \'absent\' does not exist"' in open(path).read())
    os.unlink(path)
    expect("log-format" in h.oci("--log-format", "xml", "list", check=False).stderr)


def command_line(h):
    """The command line is read strictly, in runc's forms"""
    for words in (["nosuch"], ["create"], ["create", "a", "b"], ["start", "--nosuch", "x"], ["--nosuch"],
                  ["create", "--preserve-fds", "x", "a"], ["create", "--bundle"], ["list", "-f", "xml"],
                  ["--cgroup-manager", "x", "list"], ["--rootless", "x", "list"],
                  ["update", "x"], ["update", "--memory", "x", "y"], ["events", "--interval", "0", "y"]):
        expect(h.oci(*words, check=False).returncode == 1, words)
    expect("berth-oci" in h.oci("--help").stdout)
    expect("--console-socket" in h.oci("create", "--help").stdout)
    version = h.oci("--version").stdout
    expect(re.search(r"^spec: 1\.\d+\.\d+$", version, re.M), version)
    with h.bundle() as b:
        h.quiet(f"-root={h.root}", "create", f"--bundle={b.path}", b.id)
        h.oci("--debug", "--rootless=auto", "delete", "-f", b.id)
    for word in ("1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"):  # as Go reads them
        h.oci(f"--debug={word}", f"--rootless={word}", "list", f"--quiet={word}")
    for word in ("yes", "2", "tRUE", ""):
        expect(word in h.oci(f"--debug={word}", "list", check=False).stderr, word)


def full_output(h):
    """What cannot be printed is no success"""
    with h.bundle() as b, open("/dev/full", "w") as full:
        b.args("/bin/probe", "stay").begin()
        for words in (["state", b.id], ["list"], ["list", "-q"], ["list", "-f", "json"], ["ps", b.id],
                      ["ps", "-f", "json", b.id], ["events", "--stats", b.id], ["features"], ["--version"], ["--help"]):
            p = h.oci(*words, check=False, stdout=full)
            expect(p.returncode == 1 and "No space left" in p.stderr, words, p.returncode, p.stderr)


def spec_and_features(h):
    """spec writes a config that runs, features an honest document"""
    d = os.path.join(h.dir, "spec")
    os.mkdir(d)
    h.oci("spec", "--bundle", d)
    expect("exists" in h.oci("spec", "--bundle", d, check=False).stderr)
    c = json.load(open(os.path.join(d, "config.json")))
    c["process"].update(terminal=False, args=["/bin/true"])
    c["root"]["path"] = h.rootfs
    json.dump(c, open(os.path.join(d, "config.json"), "w"))
    h.oci("run", "--bundle", d, "from-spec")
    os.unlink(os.path.join(d, "config.json"))
    h.oci("spec", "--rootless", "--bundle", d)
    c = json.load(open(os.path.join(d, "config.json")))
    c["process"].update(terminal=False, args=["/bin/id", "-u"])
    c["root"]["path"] = h.rootfs
    json.dump(c, open(os.path.join(d, "config.json"), "w"))
    equal(h.oci("run", "--bundle", d, "from-spec").stdout, "0\n")
    shutil.rmtree(d)
    f = json.loads(h.oci("features").stdout)
    expect(f["ociVersionMin"] == "1.0.0" and f["linux"]["seccomp"]["enabled"], f)
    expect("rro" in f["mountOptions"] and "CAP_SYS_ADMIN" in f["linux"]["capabilities"], f)
    expect({"remount", "sync", "dirsync", "iversion", "noiversion", "lazytime"} <= set(f["mountOptions"]), f)
    equal(f["linux"]["cgroup"], {k: True for k in ("v1", "v2", "systemd", "systemdUser", "rdma")})
    equal(f["linux"]["mountExtensions"]["idmap"]["enabled"], True)


def damaged_state(h):
    """A damaged state file stops nothing but its own container, and delete --force removes it"""
    os.makedirs(os.path.join(h.root, "broken"))
    with open(os.path.join(h.root, "broken", "state.json"), "w") as f:
        f.write('{"pid": 1, "cgroup": "/')
    h.oci("list")
    expect("state.json" in h.oci("state", "broken", check=False).stderr)
    equal(h.oci("delete", "broken", check=False).returncode, 1)
    h.oci("delete", "--force", "broken")


def many_at_once(h):
    """Twenty containers are made and removed at the same time"""
    bundles = [h.bundle().args("/bin/probe", "stay") for _ in range(20)]
    go = lambda *w: subprocess.Popen([OCI, "--root", h.root, *w], stdout=subprocess.DEVNULL)
    for p in [go("run", "-d", "-b", b.path, b.id) for b in bundles]:
        equal(p.wait(60), 0)
    equal(len(h.oci("list", "-q").stdout.split()), 20)
    for p in [go("delete", "-f", b.id) for b in bundles]:
        equal(p.wait(60), 0)
    for b in bundles:
        shutil.rmtree(b.path)
    # What they share stays: the one that made it went before the others did.
    for root in set(cgroup_roots().values()):
        os.rmdir(root + h.cgroup)


sys.exit(main([life_cycle, nothing_runs_before_start, no_process, exit_codes, signals_by_any_name, bad_signals,
               second_start, ids, delete_running, delete_created, ended_before_it_began, delete_leftovers, kill_all, pid_file, pidfd_socket,
               listing, processes, exec_basic, exec_exit_codes, exec_options, exec_places, exec_process_file, exec_oom_score, exec_detached,
               console_socket, console_rules, exec_terminal, foreground_terminal,
               preserved_descriptors, crash_of_the_creator, crash_after_create, hooks, failing_hooks,
               create_container_hook_finds_the_root, start_while_created, listening_sockets,
               *([] if is_v2() else [frozen_elsewhere]), pausing, updating, updating_devices, events, no_criu, checkpointing, no_cgroup, logs, command_line, full_output, spec_and_features,
               damaged_state, many_at_once]))
