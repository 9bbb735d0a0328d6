#!/usr/bin/python3
# tests/e2e/45-keeper-rcu.py - no start waits for a grace period of RCU
# SPDX-License-Identifier: Apache-2.0
#
# The kernel records where the keeper, its workers and the processes that they
# make go to sleep (a tracefs instance of our own, of these processes only): from
# the command to the execve of the program, none of these stacks may be a wait for
# RCU. Nothing here depends on how long anything takes. That the recorder would
# have seen one is shown by containers that have to unmount the host's tree.
#
# STARTS=: how many (50).

import os
import re
import signal
import subprocess
import sys
import tempfile

from keeperlab import Lab, until

STARTS = int(os.environ.get("STARTS", "50"))
# synchronize_rcu() in its forms, and the writer of a percpu_rw_semaphore that waits for it.
WAITS = re.compile(r"synchronize_rcu|wait_rcu_gp|rcu_sync_enter|synchronize_srcu|exp_funnel_lock|rcu_barrier")
LINE = re.compile(r"\s*.+-(\d+)\s+\[\d+\] \S+ +[\d.]+: (sched_\w+|<stack trace>):?(.*)")


class Recorder:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="berth-trace-")
        subprocess.run(["mount", "-t", "tracefs", "tracefs", self.dir], check=True)
        self.instance = os.path.join(self.dir, "instances", f"berth-{os.getpid()}")
        os.mkdir(self.instance)

    def set(self, name, value):
        with open(os.path.join(self.instance, name), "w", encoding="ascii") as f:
            f.write(value)

    def follow(self, pid):
        self.keeper = pid
        self.set("buffer_size_kb", "16384")
        self.set("set_event_pid", str(pid))
        self.set("options/event-fork", "1")
        self.set("options/stacktrace", "1")
        self.set("events/sched/sched_switch/filter", "prev_state != 0")
        for event in ("switch", "process_exec", "process_fork"):
            self.set(f"events/sched/sched_{event}/enable", "1")

    def take(self):
        with open(os.path.join(self.instance, "trace"), encoding="utf-8", errors="replace") as f:
            text = f.read()
        self.set("trace", "")
        return text

    def close(self):
        if os.path.isdir(self.instance):
            os.rmdir(self.instance)
        subprocess.run(["umount", self.dir], check=True)
        os.rmdir(self.dir)


def sleeps(text, ours):
    """The stacks of all sleeps of ours until a program was executed, and how many were."""
    asleep, stacks, executed, stack = set(), [], 0, None
    for line in text.splitlines():
        m = LINE.match(line)
        if m:
            pid, stack = int(m[1]), None
            if m[2] == "sched_process_fork" and pid in ours:
                ours.add(int(re.search(r"child_pid=(\d+)", m[3])[1]))
            elif m[2] == "sched_process_exec" and pid in ours:
                ours.remove(pid)
                executed += 1
            elif m[2] == "sched_switch" and pid in ours:  # also told is who was switched to
                asleep.add(pid)
            elif m[2] == "<stack trace>" and pid in asleep:
                asleep.remove(pid)
                stack = [m[0].split("[")[0].strip()]
                stacks.append(stack)
        elif "=>" in line and stack is not None:
            stack.append(line.replace("=>", "").strip())
    return stacks, executed


def changes(privileged):
    """As the agent's own: masks, limits, a cgroup mount; who may mount gets the usual way in."""
    caps = ["CAP_CHOWN", "CAP_KILL"] + (["CAP_SYS_ADMIN"] if privileged else [])
    return {
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "cwd": "/", "env": ["PATH=/bin"],
                    "noNewPrivileges": True, "capabilities": {s: caps for s in ("bounding", "effective", "permitted")}},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                   {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                   {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
                   {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}],
    }


def start(lab, client, id, privileged):
    more = changes(privileged)
    config = dict(more, linux={
        "cgroupsPath": f"{lab.group}/{id}", "namespaces": [{"type": t} for t in ("pid", "mount", "ipc", "uts", "network")],
        "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"},
        "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"], "readonlyPaths": ["/proc/sys", "/proc/irq"],
        "resources": {"memory": {"limit": 64 << 20}, "pids": {"limit": 100}, "cpu": {"shares": 256}},
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                    "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]}})
    path = lab.bundle(id, "", **config)
    client.say(f"create {id} {path} {lab.runtime} {lab.log(id)} start")
    client.see("started", id)


def record(lab, client, recorder, count, privileged):
    """All sleeps of so many starts, one at a time; what follows a start is not recorded."""
    stacks, executed = [], 0
    for i in range(count):
        id = f"{'p' if privileged else 'c'}{i}"
        spare = until(lab.workers, "a worker that waits for it")
        if i % 4 == 0:  # for each fourth one is forked
            os.kill(spare[0], signal.SIGKILL)
            until(lambda: lab.workers() == [], "its end")
        ours = {recorder.keeper, *lab.workers()}
        recorder.take()
        recorder.set("tracing_on", "1")
        start(lab, client, id, privileged)
        recorder.set("tracing_on", "0")
        found, n = sleeps(recorder.take(), ours)
        stacks += found
        executed += n
        client.see("exited", id)
        lab.remove(client, id)
    return stacks, executed


def waits_of(stacks):
    """Each time that 512 KiB of the whole machine's routing tables were given back, whoever adds the next route waits
    (fib_trie.c, net.ipv4.fib_sync_mem): here that is one interface 'lo' in hundreds, and nobody's doing."""
    texts = ["\n".join(s) for s in stacks]
    return [t for t in texts if WAITS.search(t) and "fib_insert_alias" not in t]


def main():
    name = "No start waits for a grace period of RCU"
    recorder = None
    try:
        with Lab() as lab:
            recorder = Recorder()
            client = lab.client()
            start(lab, client, "first", False)  # what is made once is made
            client.see("exited", "first")
            lab.remove(client, "first")
            recorder.follow(lab.keeper_pid())
            usual, _ = record(lab, client, recorder, 5, True)
            stacks, executed = record(lab, client, recorder, STARTS, False)
        if not waits_of(usual):
            print(f"skip {name}: this kernel shows no such wait where there is one")
            return
        assert executed == STARTS and stacks, f"{executed} programs, {len(stacks)} sleeps"
        waits = waits_of(stacks)
        assert not waits, f"{len(waits)} waits in {STARTS} starts, the first:\n{waits[0][:2000]}"
        print(f"ok {name}")
    except Exception as e:  # noqa: one line says it
        print(f"not ok {name}\n{e}")
        sys.exit(1)
    finally:
        if recorder:
            recorder.close()


if __name__ == "__main__":
    main()
