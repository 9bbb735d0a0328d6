# tests/e2e/keeperlab.py - a keeper, its client and containers, for the 45-keeper tests
# SPDX-License-Identifier: Apache-2.0
#
# A Lab owns everything it makes: the keepers that it started (found by their
# lock), the client program, containers with their cgroups, a directory.

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from descriptors import descriptors

BUILD = os.path.abspath(os.environ.get("BERTH_BUILD", "build/release"))
TOOL = os.path.join(BUILD, "tests/e2e/tools/keeper")
KEEPER = os.path.join(BUILD, "berth-keeper")
OCI = os.path.join(BUILD, "berth-oci")
BUSYBOX = "/bin/busybox"
WAIT = 30.0


def until(condition, what, timeout=WAIT):
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(0.005)


class Refused(Exception):
    def __init__(self, errno, message):
        super().__init__(message)
        self.errno = errno


class Client:
    """The agent's side: one program on a string."""

    def __init__(self, lab):
        self.lab = lab
        self.process = subprocess.Popen([TOOL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        lab.processes.append(self.process)
        self.answers, self.events = [], []
        self.changed = threading.Condition()
        self.ended = False
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            line = line.rstrip("\n")
            with self.changed:
                if line.startswith("event "):
                    kind, _, rest = line[6:].partition(" ")
                    fields, _, message = rest.partition("message=")
                    event = dict(w.split("=", 1) for w in fields.split())
                    self.events.append(dict(event, kind=kind, message=message))
                else:
                    self.answers.append(line)
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def say(self, line):
        with self.changed:
            self.answers.clear()
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            if not self.changed.wait_for(lambda: self.answers or self.ended, WAIT) or not self.answers:
                raise AssertionError(f"{line}: no answer")
            answer = self.answers.pop(0)
        if answer.startswith("error "):
            number, _, message = answer[6:].partition(" ")
            raise Refused(int(number), message)
        return answer

    def see(self, kind, id=None, timeout=WAIT, **fields):
        """Wait for an event and take it out of the list; FAILED in its place raises."""
        def fits(e):
            return (e["kind"] in (kind, "failed") and (id is None or e.get("id") == id)
                    and all(e.get(k) == str(v) for k, v in fields.items() if e["kind"] == kind))

        with self.changed:
            found = lambda: next((e for e in self.events if fits(e)), None)
            self.changed.wait_for(lambda: found() or self.ended, timeout)
            event = found()
            if not event:
                raise AssertionError(f"no event {kind} {id or ''} within {timeout} s; there are {self.events}")
            self.events.remove(event)
        if event["kind"] != kind:
            raise Refused(int(event["errno"]), event["message"])
        return event

    def gone(self):
        """Wait until the keeper has hung up; what it said before is forgotten."""
        with self.changed:
            ok = self.changed.wait_for(lambda: any(e["kind"] == "gone" for e in self.events) or self.ended, WAIT)
            assert ok, "the keeper is still there"
            self.events.clear()

    def connect(self):
        self.say(f"connect {self.lab.run}")
        return self.see("hello")

    def list(self):
        self.say("list")
        self.see("end")
        with self.changed:
            rows = {e["id"]: e for e in self.events if e["kind"] == "listed"}
            self.events = [e for e in self.events if e["kind"] != "listed"]
        return rows

    def end(self):
        self.process.kill()
        self.process.wait()


class Lab:
    def __init__(self):
        self.processes = []
        self.dir = tempfile.mkdtemp(prefix="berth-keeper-")
        self.run = os.path.join(self.dir, "run")
        self.runtime = os.path.join(self.dir, "runtime")
        self.rootfs = os.path.join(self.dir, "rootfs")
        self.group = "/" + os.path.basename(self.dir)
        self.mounts = []
        os.makedirs(self.run)
        for d in ("bin", "proc", "dev", "sys", "tmp"):
            os.makedirs(os.path.join(self.rootfs, d))
        shutil.copy(BUSYBOX, os.path.join(self.rootfs, "bin/busybox"))
        for a in ("sh", "seq", "sleep", "cat", "kill", "true", "dd", "yes", "head"):
            os.symlink("busybox", os.path.join(self.rootfs, "bin", a))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for p in self.processes:
            if p.poll() is None:
                p.kill()
            p.wait()
        keeper = self.keeper_pid()
        if keeper:
            os.kill(keeper, signal.SIGKILL)
            until(lambda: self.keeper_pid() is None, "end of the keeper")
        if os.path.isdir(self.runtime):
            for id in os.listdir(self.runtime):
                subprocess.run([OCI, "--root", self.runtime, "delete", "--force", id], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        for m in reversed(self.mounts):
            subprocess.run(["umount", "-l", m])
        self.remove_cgroups()
        shutil.rmtree(self.dir, ignore_errors=True)

    def cgroups(self):
        found = []
        for top in ["/sys/fs/cgroup"] + [os.path.join("/sys/fs/cgroup", d) for d in os.listdir("/sys/fs/cgroup")]:
            path = top + self.group
            if os.path.exists(path + "/cgroup.procs"):
                found += [d for d, _, _ in os.walk(path, topdown=False)]
        return found

    def remove_cgroups(self):
        """Those whose last process is just ending are busy for a moment."""
        def removed():
            for d in self.cgroups():
                with contextlib.suppress(OSError):
                    os.rmdir(d)
            return not self.cgroups()
        until(removed, "the cgroups are removed")

    def workers(self):
        """Pids of the keeper's workers; when nothing is asked of it that is the spare one, if any."""
        keeper, found = self.keeper_pid(), []
        for pid in open(f"/proc/{keeper}/task/{keeper}/children", encoding="ascii").read().split():
            with contextlib.suppress(OSError):
                if open(f"/proc/{pid}/comm", encoding="ascii").read() == "keeper-worker\n":
                    found.append(int(pid))
        return found

    def keeper_pid(self):
        """The process that has the lock open; its workers have not."""
        lock = os.path.join(os.path.realpath(self.run), "keeper.lock")
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if lock in descriptors(pid):
                    return int(pid)
        return None

    def client(self, spawn=True, connect=True):
        c = Client(self)
        if spawn:
            c.say(f"spawn {KEEPER} {self.run}")
        if connect:
            c.connect()
        return c

    def kill_keeper(self):
        pid = self.keeper_pid()
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.keeper_pid() is None, "end of the keeper")
        return pid

    def log(self, id):
        return os.path.join(self.dir, "logs", id)

    def bundle(self, id, script, args=None, **changes):
        path = os.path.join(self.dir, "bundles", id)
        os.makedirs(path, exist_ok=True)
        os.makedirs(self.log(id), exist_ok=True)
        config = {
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": args or ["/bin/sh", "-c", script], "cwd": "/",
                        "env": ["PATH=/bin"], "noNewPrivileges": True},
            "root": {"path": self.rootfs, "readonly": True},
            "hostname": "test",
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                       {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}],
            "linux": {"cgroupsPath": f"{self.group}/{id}",
                      "namespaces": [{"type": t} for t in ("pid", "mount", "ipc", "uts", "network")]},
        }
        config.update(changes)
        with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as f:
            json.dump(config, f, separators=(",", ":"))  # as ours writes it
        return path

    def create(self, client, id, script, *ports, **changes):
        bundle = self.bundle(id, script, **changes)
        client.say(f"create {id} {bundle} {self.runtime} {self.log(id)} {' '.join(map(str, ports))}")
        return int(client.see("created", id)["pid"])

    def start(self, client, id, script, *ports, **changes):
        pid = self.create(client, id, script, *ports, **changes)
        client.say(f"start {id}")
        client.see("started", id)
        return pid

    def remove(self, client, id):
        client.say(f"remove {id}")
        client.see("removed", id)

    def execute(self, client, id, tag, script, **changes):
        """One more process in a container; where its two streams go."""
        files = [os.path.join(self.dir, f"exec-{tag}.{s}") for s in ("json", "out", "err")]
        process = {"args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "noNewPrivileges": True,
                   "user": {"uid": 0, "gid": 0}}
        with open(files[0], "w", encoding="utf-8") as f:
            json.dump(dict(process, **changes), f)
        client.say(f"exec {id} {tag} {' '.join(files)}")
        return files[1:]

    def output(self, client, id):
        """All of the output so far, both streams."""
        files = [os.path.join(self.dir, f"{id}.{s}") for s in ("out", "err")]
        client.say(f"read {self.log(id)} {files[0]} {files[1]}")
        return tuple(open(f, "rb").read() if os.path.exists(f) else b"" for f in files)


def check(cases):
    bad = 0
    for case in cases:
        name = case.__name__.replace("_", " ")
        try:
            with Lab() as lab:
                case(lab)
            print(f"ok {name}", flush=True)
        except Exception:
            bad += 1
            print(f"not ok {name}\n{traceback.format_exc()}", flush=True)
    sys.exit(1 if bad else 0)
