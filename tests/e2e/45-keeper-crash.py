#!/usr/bin/env python3
# tests/e2e/45-keeper-crash.py - keeper and client killed and replaced, no line and no exit code lost
# SPDX-License-Identifier: Apache-2.0

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time

from keeperlab import KEEPER, OCI, check, until

LINES = 60000
GENERATOR = ("i=0; while [ $i -lt %d ]; do i=$((i+1)); echo $i; [ $((i %% 97)) = 0 ] && echo $i >&2; done; exit %d")


def wanted(lines):
    return ("".join(f"{i}\n" for i in range(1, lines + 1)).encode(),
            "".join(f"{i}\n" for i in range(97, lines + 1, 97)).encode())


def adopt_all(client):
    """As the agent does it after it has started a new keeper."""
    rows = client.list()
    for id, row in rows.items():
        if row["pipes"] == "0":
            client.say(f"adopt {id}")
            client.see("adopted", id)
    return rows


def new_keeper(lab, client):
    client.gone()
    client.say(f"spawn {KEEPER} {lab.run}")
    client.connect()
    return adopt_all(client)


def has_ended(pid):
    try:
        return open(f"/proc/{pid}/stat", encoding="ascii").read().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def an_exit_code_waits_for_a_client_that_was_killed(lab):
    c = lab.client()
    lab.start(c, "a", "read x < /dev/fd/0; sleep 0.2; echo last; exit 9")
    lab.create(c, "b", "exit 8")
    c.end()
    until(lambda: os.path.exists(os.path.join(lab.run, "keeper/a/exit")), "the record")
    again = lab.client(spawn=False)
    rows = until(lambda: (r := again.list())["a"]["complete"] == "1" and r, "complete output")
    assert (rows["a"]["phase"], rows["a"]["known"], rows["a"]["code"]) == ("4", "1", "9"), rows
    assert rows["b"]["phase"] == "2" and int(rows["b"]["pid"]) > 0
    assert lab.output(again, "a") == (b"last\n", b"")
    again.say("start b")
    assert again.see("exited", "b")["code"] == "8"


def a_killed_keeper_is_replaced_and_knows_how_they_end(lab):
    c = lab.client()
    lab.start(c, "a", "trap 'echo bye; exit 33' TERM; echo ready; while :; do sleep 0.05; done")
    ends = lab.start(c, "gone", "sleep 1; exit 4")
    lab.create(c, "waits", "exit 5")
    until(lambda: lab.output(c, "a")[0] == b"ready\n", "ready")
    lab.kill_keeper()
    until(lambda: has_ended(ends), "the end that nobody looks at")
    rows = new_keeper(lab, c)
    assert rows["a"]["phase"] == "3" and rows["waits"]["phase"] == "2"
    # Of what nobody saw nothing is made up; but as long as it is not reaped the kernel may tell.
    gone = until(lambda: (r := c.list()["gone"])["phase"] == "4" and r, "the end of the other")
    assert (gone["known"], gone["code"]) in (("0", "0"), ("1", "4")), gone
    c.say("kill a 15")
    event = c.see("exited", "a")
    if event["known"] == "1":
        assert event["code"] == "33", event
    else:
        print("skip exit status of adopted containers: the kernel does not keep it")
    assert lab.output(c, "a")[0] == b"ready\nbye\n"
    c.say("start waits")
    c.see("started", "waits")
    event = c.see("exited", "waits")
    assert event["known"] == "0" or event["code"] == "5", event
    for id in rows:
        lab.remove(c, id)
    assert os.listdir(os.path.join(lab.run, "keeper")) == []


def start_of(pid):
    return open(f"/proc/{pid}/stat", encoding="utf-8").read().rpartition(")")[2].split()[19]


def a_pid_that_is_another_process_now_is_not_adopted(lab):
    c = lab.client()
    lab.start(c, "a", "sleep 100")
    lab.kill_keeper()
    row = os.path.join(lab.run, "keeper/a/row")
    text = open(row, encoding="utf-8").read()
    pid = int(text.partition('"pid":')[2].partition(",")[0])

    def later():
        """A process is known by pid and start, which is counted in steps of 10 ms: not in the same one."""
        lab.processes.append(subprocess.Popen(["sleep", "100"]))
        return start_of(lab.processes[-1].pid) != start_of(pid)

    until(later, "a process that started later")
    other = lab.processes[-1]
    open(row, "w", encoding="utf-8").write(text.replace(f'"pid":{pid}', f'"pid":{other.pid}'))
    rows = new_keeper(lab, c)
    assert rows["a"]["phase"] == "4" and rows["a"]["known"] == "0"
    c.say("kill a 9")
    with contextlib.suppress(Exception):
        c.see("exited", "a")
    assert other.poll() is None, "a stranger was killed"
    os.kill(pid, signal.SIGKILL)


def records_without_sense_are_dropped(lab):
    c = lab.client()
    lab.start(c, "a", "sleep 100")
    c.say("shutdown force")
    until(lambda: lab.keeper_pid() is None, "end of the keeper")
    rows = os.path.join(lab.run, "keeper")
    for name, text in (("cut", '{"id":"cut","bun'), ("other", open(rows + "/a/row", encoding="utf-8").read()),
                       ("empty", ""), ("numbers", '{"id":"numbers","bundle":"/","runtimeRoot":"/","logDir":"/",'
                                                  '"phase":77,"pid":-5}')):
        os.makedirs(os.path.join(rows, name))
        open(os.path.join(rows, name, "row"), "w", encoding="utf-8").write(text)
    os.makedirs(os.path.join(rows, "none"))
    assert list(new_keeper(lab, c)) == ["a"]
    assert os.listdir(rows) == ["a"]


def lines_survive_kills_of_both(lab):
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    chance = random.Random(seed)
    c = lab.client()
    ids = [f"g{i}" for i in range(3)]
    for i, id in enumerate(ids):
        lab.start(c, id, GENERATOR % (LINES, 20 + i))
    kills = 0
    end = time.monotonic() + 90
    done = {}
    while len(done) < len(ids):
        assert time.monotonic() < end, f"not done after 90 s (seed {seed}, {kills} kills)"
        time.sleep(chance.uniform(0.02, 0.12))
        if kills < 25:
            lab.kill_keeper()
            kills += 1
            new_keeper(lab, c)
        if chance.random() < 0.3:
            cursors = {id: c.say(f"seek {lab.log(id)}").split()[1:] for id in ids}
            # The agent's own death: another one takes the pipes from the keeper.
            other = lab.client(spawn=False)
            adopt_all(other)
            c.end()
            c = other
            for id in ids:
                c.say(f"from {lab.log(id)} {' '.join(cursors[id])}")
        for id in ids:
            lab.output(c, id)
        done = {id: r for id, r in adopt_all(c).items() if r["phase"] == "4" and r["complete"] == "1"}
    for i, id in enumerate(ids):
        out, err = lab.output(c, id)
        assert (out, err) == wanted(LINES), f"{id}: {len(out)}, {len(err)} bytes (seed {seed}, {kills} kills)"
        assert done[id]["known"] == "0" or int(done[id]["code"]) == 20 + i, f"{done[id]} (seed {seed})"
    assert kills > 3, "too fast to be killed"


def killed_at_any_step_of_the_spool_nothing_is_lost(lab):
    """SIGKILL at the n-th call by which output moves."""
    if not shutil.which("strace"):
        print("skip killed at any step of the spool: strace is not installed")
        return
    c = lab.client()
    lab.start(c, "a", GENERATOR % (3000, 0))
    script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; [ $((i % 97)) = 0 ] && echo $i >&2; sleep 0.01; done"
    lab.start(c, "b", script)
    for call in ("pwrite64", "splice", "ftruncate"):
        for when in (1, 2, 3, 7):
            tracer = subprocess.Popen(["strace", "-qq", "-o", "/dev/null", "-p", str(lab.keeper_pid()), "-e",
                                       f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            lab.processes.append(tracer)
            try:
                until(lambda: lab.keeper_pid() is None, "the kill", 1)
            except AssertionError:
                tracer.terminate()  # no such call any more
                tracer.wait()
                continue
            tracer.wait()
            new_keeper(lab, c)
    for id, lines in (("a", 3000), ("b", 300)):
        until(lambda: adopt_all(c)[id]["complete"] == "1", f"the end of {id}")
        assert lab.output(c, id) == wanted(lines), id


def upgrades_under_load_lose_nothing(lab):
    c = lab.client()
    keeper = lab.keeper_pid()
    ids = [f"g{i}" for i in range(3)]
    for i, id in enumerate(ids):
        lab.start(c, id, GENERATOR % (LINES, 40 + i))
    for n in range(12):
        extra = f"e{n}"
        c.say(f"create {extra} {lab.bundle(extra, f'exit {n}')} {lab.runtime} {lab.log(extra)}")
        if n % 2:
            c.say(f"reexec {KEEPER}")
        else:
            os.kill(keeper, signal.SIGHUP)
        c.see("resumed")
        c.see("created", extra)
        c.say(f"start {extra}")
        assert c.see("exited", extra)["code"] == str(n)
        lab.remove(c, extra)
        for id in ids:
            lab.output(c, id)
    assert lab.keeper_pid() == keeper, "it is another process"
    for i, id in enumerate(ids):
        event = c.see("exited", id, timeout=90)
        assert (event["known"], event["code"]) == ("1", str(40 + i)), event
        assert lab.output(c, id) == wanted(LINES), id
        lab.remove(c, id)
    until(lambda: len(os.listdir(f"/proc/{keeper}/fd")) < 16, "descriptors are let go")


def an_upgrade_to_nothing_is_refused_and_it_goes_on(lab):
    c = lab.client()
    lab.start(c, "a", "sleep 100")
    keeper = lab.keeper_pid()
    broken = os.path.join(lab.dir, "broken")
    open(broken, "w", encoding="ascii").write("\x7fELF no program")
    os.chmod(broken, 0o755)
    c.say(f"reexec {broken}")
    try:
        c.see("resumed")
    except Exception as e:
        assert "Exec format error" in str(e), e
    assert lab.keeper_pid() == keeper and list(c.list()) == ["a"]
    c.say("kill a 9")
    assert c.see("exited", "a")["signal"] == "9"


def steps_broken_off_by_a_kill_leave_nothing(lab):
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    chance = random.Random(seed)
    c = lab.client()
    rows = os.path.join(lab.run, "keeper")
    for n in range(40):
        id = f"s{n}"
        c.say(f"create {id} {lab.bundle(id, 'sleep 100')} {lab.runtime} {lab.log(id)}")
        if chance.random() < 0.5:
            c.see("created", id)
            c.say(f"start {id}")
            if chance.random() < 0.5:
                c.see("started", id)
                c.say(f"remove {id}")
        time.sleep(chance.uniform(0, 0.03))
        lab.kill_keeper()
        for found in new_keeper(lab, c):
            lab.remove(c, found)
        if n % 2 == 0:  # what was not on record any more is in the runtime's, if at all
            subprocess.run([OCI, "--root", lab.runtime, "delete", "--force", id], stderr=subprocess.DEVNULL)
        assert os.listdir(rows) == [], f"{id} (seed {seed})"
        left = [d for d in lab.cgroups() if d.endswith("/" + id)]
        assert not left and not os.path.exists(os.path.join(lab.runtime, id)), f"{id}: {left} (seed {seed})"


def a_full_disk_makes_the_container_wait(lab):
    disk = os.path.join(lab.dir, "logs")
    os.makedirs(disk)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=True)
    lab.mounts.append(disk)
    c = lab.client()
    keeper = lab.keeper_pid()
    lab.start(c, "a", GENERATOR % (200000, 6))  # 1.3 MB
    got = 0
    end = time.monotonic() + 120
    waited = False
    while True:
        assert time.monotonic() < end, "not done"
        full = until(lambda: shutil.disk_usage(disk).free < 8192 or c.list()["a"]["complete"] == "1", "a full disk")
        if not waited and full:
            # It waits without work: hardly any time is used while it does.
            ticks = lambda: sum(map(int, open(f"/proc/{keeper}/stat", encoding="ascii").read().split()[13:15]))
            before = ticks()
            time.sleep(1.0)
            assert ticks() - before < 20, "it is busy"
            waited = True
        out = lab.output(c, "a")
        assert len(out[0]) > got or c.list()["a"]["complete"] == "1"
        got = len(out[0])
        c.say(f"discard {lab.log('a')}")
        row = c.list()["a"]
        if row["phase"] == "4" and row["complete"] == "1":
            break
    assert waited and row["code"] == "6"
    assert lab.output(c, "a") == wanted(200000)


def a_spool_that_is_read_stays_small(lab):
    c = lab.client()
    lab.start(c, "a", "yes 0123456789abcdef | head -n 600000")  # 10 MB
    most = 0
    while True:
        row = c.list()["a"]
        lab.output(c, "a")
        c.say(f"discard {lab.log('a')}")
        most = max(most, sum(os.stat(os.path.join(lab.log("a"), f)).st_blocks * 512 for f in ("data", "index")))
        if row["complete"] == "1":
            break
    assert lab.output(c, "a")[0] == b"0123456789abcdef\n" * 600000
    c.say(f"discard {lab.log('a')}")
    left = sum(os.stat(os.path.join(lab.log("a"), f)).st_blocks * 512 for f in ("data", "index"))
    assert left <= 16384, f"{left} bytes are left, at most there were {most}"


if __name__ == "__main__":
    check([an_exit_code_waits_for_a_client_that_was_killed, a_killed_keeper_is_replaced_and_knows_how_they_end,
           a_pid_that_is_another_process_now_is_not_adopted, records_without_sense_are_dropped,
           lines_survive_kills_of_both, killed_at_any_step_of_the_spool_nothing_is_lost,
           upgrades_under_load_lose_nothing, an_upgrade_to_nothing_is_refused_and_it_goes_on,
           steps_broken_off_by_a_kill_leave_nothing,
           a_full_disk_makes_the_container_wait, a_spool_that_is_read_stays_small])
