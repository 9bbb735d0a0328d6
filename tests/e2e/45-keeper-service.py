#!/usr/bin/env python3
# tests/e2e/45-keeper-service.py - the keeper as a service manager starts it
# SPDX-License-Identifier: Apache-2.0
#
# Here the test is the service manager. What only systemd can show (the scope)
# is in 95-systemd-vm.py.

import os
import signal
import socket
import subprocess

from keeperlab import KEEPER, WAIT, check, until


def notify_socket(lab):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(os.path.join(lab.dir, "notify"))
    s.settimeout(WAIT)
    return s


def start(lab, *prefix):
    env = dict(os.environ, NOTIFY_SOCKET=os.path.join(lab.dir, "notify"))
    process = subprocess.Popen([*prefix, KEEPER, "--run-dir", lab.run], env=env)
    lab.processes.append(process)
    return process


def it_says_when_it_is_ready_and_when_it_ends(lab):
    with notify_socket(lab) as notify:
        keeper = start(lab)
        assert notify.recv(64) == b"READY=1"
        c = lab.client(spawn=False, connect=False)
        assert c.connect()["base"] == ""
        c.say("disconnect")
        keeper.terminate()
        assert notify.recv(64) == b"STOPPING=1"
        assert keeper.wait(WAIT) == 0


def asked_to_end_it_goes_with_its_last_container_and_client(lab):
    with notify_socket(lab) as notify:
        keeper = start(lab)
        notify.recv(64)
        c = lab.client(spawn=False)
        lab.start(c, "a", "read x < /dev/fd/0; while [ ! -e /proc/1/root/tmp/end ]; do sleep 0.05; done; exit 3")
        keeper.terminate()
        assert c.list()["a"]["phase"] == "3" and keeper.poll() is None
        open(os.path.join(lab.rootfs, "tmp/end"), "w").close()
        assert c.see("exited", "a")["code"] == "3"
        lab.remove(c, "a")
        c.say("disconnect")
        assert notify.recv(64) == b"STOPPING=1"
        assert keeper.wait(WAIT) == 0


def asked_to_end_it_goes_with_one_that_it_found_again(lab):
    with notify_socket(lab) as notify:
        start(lab)
        notify.recv(64)
        lab.start(lab.client(spawn=False), "a", "while [ ! -e /proc/1/root/tmp/end ]; do sleep 0.05; done")
        lab.kill_keeper()
        keeper = start(lab)
        assert notify.recv(64) == b"READY=1"
        keeper.terminate()
        open(os.path.join(lab.rootfs, "tmp/end"), "w").close()
        assert keeper.wait(WAIT) == 0  # nobody has brought the pipes: not long after its end


def a_reload_is_another_program_in_the_same_process(lab):
    with notify_socket(lab) as notify:
        keeper = start(lab)
        notify.recv(64)
        c = lab.client(spawn=False)
        keeper.send_signal(signal.SIGHUP)
        c.see("resumed")
        assert [notify.recv(64), notify.recv(64)] == [b"RELOADING=1", b"READY=1"]
        assert keeper.poll() is None


def steps_that_wait_at_a_reload_are_taken_after_it(lab):
    with notify_socket(lab) as notify:
        keeper = start(lab)
        notify.recv(64)
        c = lab.client(spawn=False)
        names = [f"c{i}" for i in range(40)]  # sixteen are taken at a time
        bundles = [lab.bundle(name, "sleep 1000") for name in names]
        for name, bundle in zip(names, bundles):
            c.say(f"create {name} {bundle} {lab.runtime} {lab.log(name)} ")
        keeper.send_signal(signal.SIGHUP)
        assert [notify.recv(64), notify.recv(64)] == [b"RELOADING=1", b"READY=1"]
        assert keeper.poll() is None
        again = lab.client(spawn=False)  # the first may have had more to hear, and is sent away then

        def all_made():
            rows = again.list()
            return sorted(rows) == sorted(names) and all(int(row["pid"]) > 0 for row in rows.values())
        until(all_made, "forty containers")
        for name in names:
            lab.remove(again, name)


def without_standard_descriptors_it_and_its_containers_have_some(lab):
    with notify_socket(lab) as notify:
        keeper = start(lab, "sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
        notify.recv(64)
        c = lab.client(spawn=False)
        lab.start(c, "a", "echo out; echo err >&2; read x; echo end=$?")
        assert c.see("exited", "a")["code"] == "0"
        assert lab.output(c, "a") == (b"out\nend=1\n", b"err\n")
        assert keeper.poll() is None
        lab.remove(c, "a")


def started_where_one_lives_it_names_that_one_and_ends(lab):
    with notify_socket(lab) as notify:
        first = start(lab)
        notify.recv(64)
        c = lab.client(spawn=False)
        lab.start(c, "a", "sleep 1000")
        first.terminate()  # as a restart does: it stays
        until(lambda: c.list()["a"]["phase"] == "3", "a list")

        second = start(lab)
        c.see("resumed")
        said = b"\n".join(notify.recv(64) for _ in range(3)).split(b"\n")
        assert b"MAINPID=%d" % first.pid in said, said
        assert second.wait(WAIT) == 0 and first.poll() is None
        lab.remove(c, "a")  # nor is it about to end any more
        assert c.list() == {} and first.poll() is None


def its_rank_for_the_memory_killer_is_not_its_containers(lab):
    with notify_socket(lab) as notify:
        keeper = start(lab, "sh", "-c", 'echo 500 > /proc/self/oom_score_adj; exec "$@"', "sh")
        notify.recv(64)
        c = lab.client(spawn=False)
        lab.start(c, "a", "cat /proc/self/oom_score_adj")
        c.see("exited", "a")
        assert lab.output(c, "a")[0] == b"0\n"
        assert open(f"/proc/{keeper.pid}/oom_score_adj", encoding="ascii").read() == "500\n"


if __name__ == "__main__":
    check([it_says_when_it_is_ready_and_when_it_ends, asked_to_end_it_goes_with_its_last_container_and_client,
           asked_to_end_it_goes_with_one_that_it_found_again,
           a_reload_is_another_program_in_the_same_process, steps_that_wait_at_a_reload_are_taken_after_it,
           without_standard_descriptors_it_and_its_containers_have_some, started_where_one_lives_it_names_that_one_and_ends,
           its_rank_for_the_memory_killer_is_not_its_containers])
