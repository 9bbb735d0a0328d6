#!/usr/bin/env python3
# tests/e2e/32-image-crash.py - a store stays true when processes die and disks fill up
# SPDX-License-Identifier: Apache-2.0
#
# Whenever it happens: what the store holds is whole, the next pull works, and
# nothing is left of what was under way.

import collections
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import berth
import imagelab as lab
from berth import equal, wait_for

SEED = int(os.environ.get("SEED", random.randrange(1 << 30)))
ROLES = ("pull", "fetch", "nursery", "unpack", "list", "index")
ROUNDS = int(os.environ.get("ROUNDS", "25"))


def big_image(layers=3, files=300):
    r = random.Random(1)
    return lab.Image(*[lab.tar(f"d{l}/", *[(f"d{l}/f{i}", {"data": r.randbytes(r.randrange(9000)), "mtime": i})
                                          for i in range(files)]) for l in range(layers)])


def workers(store, role):
    """Pids of this store's puller and of its workers."""
    found = []
    pullers = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                argv = f.read().split(b"\0")
            with open(f"/proc/{pid}/stat") as f:
                parent = int(f.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if argv[0] == b"berth-worker" and argv[1] in (b"pull", b"pull-unpacked") and argv[2].decode() == store.dir:
            pullers.add(int(pid))
        if argv[0] == b"berth-worker":
            found.append((int(pid), parent, argv[1].decode().replace("-unpacked", "")))
    return [pid for pid, parent, r in found
            if r == role and (pid in pullers if role == "pull" else parent in pullers)]


def check_whole(store, reference, expected):
    """Every layer that is there is one that an image may be made of; the image is right once it is pulled."""
    for form, files in (("layers", {"fs", "bytes"}), ("tars", {"tar", "table", "sparse", "bytes"})):
        place = os.path.join(store.dir, form)
        for name in os.listdir(place) if os.path.isdir(place) else []:
            directory = os.path.join(store.dir, form, name)
            equal(set(os.listdir(directory)), files)
            size = open(os.path.join(directory, "bytes")).read()
            assert re.match(r"\d+ \d+$", size), (name, size)
            if form == "tars":
                with open(os.path.join(directory, "tar"), "rb") as f:
                    equal(lab.digest(f.read()), "sha256:" + name)
    store.pull(reference)
    with store.mounted(reference) as root:
        lab.same_trees(lab.tree(root), expected)
    store.settled()


def test_any_process_may_be_killed_at_any_time():
    rng = random.Random(SEED)
    print(f"  seed {SEED}")
    image = big_image()
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(image)
        begin = time.monotonic()
        store.pull(reference)
        whole = time.monotonic() - begin
        with store.mounted(reference) as root:
            expected = lab.tree(root)
        for round_ in range(ROUNDS):
            shutil.rmtree(store.dir)
            victim = rng.choice(["caller", "pull", "fetch", "nursery", "list", "index"])
            process = store.start("pull", reference)
            time.sleep(rng.uniform(0, whole))
            pids = [process.pid] if victim == "caller" else workers(store, victim)
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            out = process.communicate(timeout=60)[0]
            if victim != "caller" and process.returncode:
                assert " failed other|" in out, (round_, victim, out)
            wait_for(lambda: not any(workers(store, r) for r in ROLES), 20,
                     "the end of all workers")
            check_whole(store, reference, expected)


def test_the_next_pull_works_while_the_caller_lives_on():
    """The puller is killed below a caller that has more pulls to make."""
    image = big_image(layers=1)
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(image)
        process = store.start("pull", reference, "-i", reference)
        wait_for(lambda: workers(store, "pull") or process.poll() is not None, 20, "a puller")
        for pid in workers(store, "pull"):
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=60)
        store.pull(reference)


def test_a_nursery_that_was_killed_is_replaced():
    """Four layers come at once; the fifth is read by a fork of another one."""
    go_on = threading.Event()
    image = big_image(layers=5, files=100)
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(image)

        def wait(_handler, kind, name):
            if kind == "blobs" and name in map(lab.digest, image.layers):
                go_on.wait(60)
            return False
        registry.hooks.append(wait)
        process = store.start("pull", reference)
        try:
            wait_for(lambda: len(workers(store, "list")) == 4, 20, "four layers on their way")
            for pid in workers(store, "nursery"):
                os.kill(pid, signal.SIGKILL)
        finally:
            go_on.set()
        out = process.communicate(timeout=60)[0]
        equal(process.returncode, 0)
        assert " done " in out, out


def begin_when_told(store, reference):
    p = subprocess.Popen([lab.TOOL, store.dir, lab.WORKER, "pull-when-told", reference], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
    wait_for(lambda: all(workers(store, role) for role in ("pull", "fetch", "nursery")), 30, "what waits")
    return p


def test_what_waits_for_a_pull_is_in_nobodys_way_and_not_missed():
    image = big_image()
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(image)
        for killed in ((), ("fetch",), ("nursery",), ("fetch", "nursery"), ("pull",)):
            p = begin_when_told(store, reference)
            waiting = {role: workers(store, role)[0] for role in ("pull", "fetch", "nursery")}
            store.pull(reference)  # another process has the store meanwhile
            for role in killed:
                os.kill(waiting[role], signal.SIGKILL)
                wait_for(lambda: not workers(store, role) or not alive(waiting[role]), 30, f"the end of {role}")
            out = p.communicate("\n", timeout=60)[0]
            assert p.returncode == 0 and "0 done " in out, (killed, out)
            assert not any(alive(pid) for pid in waiting.values()), (killed, waiting)
            equal(store.content()["names"] != [], True)
        # What waits ends with its caller, told or not.
        for how in (signal.SIGKILL, signal.SIGTERM):
            p = begin_when_told(store, reference)
            waiting = [workers(store, role)[0] for role in ("pull", "fetch", "nursery")]
            p.send_signal(how)
            p.communicate()
            wait_for(lambda: not any(map(alive, waiting)), 30, "the end of what waited")


def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_cancelled_pull_ends_at_once():
    stop = []
    with lab.Lab() as registry, lab.Store() as store:
        image = big_image(layers=1, files=1000)
        reference = registry.add(image)

        def slow(handler, kind, name):
            if name != lab.digest(image.layers[0]):
                return False
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(image.layers[0])))
            handler.end_headers()
            handler.wfile.write(image.layers[0][:1000000])
            handler.close_connection = True
            wait_for(lambda: stop, 60)
            return True
        registry.hooks.append(slow)
        process = store.start("pull", reference)
        wait_for(lambda: any(files for _, _, files in os.walk(os.path.join(store.dir, "ingest"))
                             if files and files != ["bytes"]), 20, "files under way")
        process.kill()
        process.wait()
        wait_for(lambda: not workers(store, "pull"), 20, "the puller's end")
        stop.append(True)
        store.settled()
        assert not any(store.content().values()), store.content()


def fill_up(make, sizes, reason_words, enough):
    """On each size the pull works or says that the disk is full; then there is room, and it works."""
    image = big_image(layers=2, files=150)
    full = 0
    with lab.Lab() as registry, make() as directory:
        reference = registry.add(image)
        for size in sizes:
            size(directory)
            with lab.Store(os.path.join(directory, "images")) as store:
                out = store.tool("pull", reference)
                if out.code:
                    assert out.reason == "disk full" or "error 28 " in out.text, out.text
                    assert any(w in out.text for w in reason_words), out.text
                    full += 1
                    if os.path.exists(os.path.join(store.dir, "ingest")):
                        store.settled()
                    assert not store.content()["names"] and not store.content()["images"], store.content()
            enough(directory)
            with lab.Store(os.path.join(directory, "images")) as store:
                store.pull(reference)
                with store.mounted(reference) as root:
                    equal(len(lab.tree(root)), 302)
                store.tool("remove", reference)
                wait_for(lambda: not any(store.content().values()), 20, "an empty store")
            shutil.rmtree(os.path.join(directory, "images"))
    assert full, "it never was full"


def test_a_full_disk():
    fs = lab.FileSystem("tmpfs", "32m")
    sizes = [lambda d, s=s: fs.resize(f"{s}k") for s in (16, 200, 600, 1000, 1200, 1600, 2200, 4000)]
    fill_up(lambda: fs, sizes, ("No space left", "MB are needed"), lambda d: fs.resize("32m"))


def test_no_inodes_left():
    fs = lab.FileSystem("tmpfs", "32m", ",nr_inodes=4000")
    sizes = [lambda d, s=s: fs.resize("32m", f",nr_inodes={s}") for s in (3, 9, 14, 40, 200, 310, 330)]
    fill_up(lambda: fs, sizes, ("No space left",), lambda d: fs.resize("32m", ",nr_inodes=4000"))


def test_a_full_ext4():
    ballast = []

    def leave(directory, size):
        free = os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize
        ballast.append(os.path.join(directory, "ballast"))
        with open(ballast[0], "wb") as f:
            os.posix_fallocate(f.fileno(), 0, max(free - size, 4096))

    def enough(directory):
        os.unlink(ballast.pop())
    fill_up(lambda: lab.FileSystem("ext4", "24m", "-m0"),
            [lambda d, s=s: leave(d, s << 10) for s in (4, 100, 700, 1400, 2000, 3000)],
            ("No space left", "MB are needed"), enough)


def damage(path, how):
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        if how == "bit":
            f.seek(size // 2)
            byte = f.read(1)
            f.seek(size // 2)
            f.write(bytes([byte[0] ^ 1]))
        elif how == "short":
            f.truncate(size // 2)
        else:
            f.truncate(0)


def test_fsck_finds_damage_and_puts_right_what_it_can():
    """A tar that is not its name's goes, and its images are to be pulled; all else is made of the tars again."""
    if "index" not in lab.forms():
        raise berth.Skip("this kernel mounts no index")
    image = big_image(layers=2, files=50)
    with lab.Lab() as registry, lab.Store(form="index") as store:
        reference = registry.add(image)
        store.pull(reference)
        with store.mounted(reference) as root:
            expected = lab.tree(root)

        def fsck():
            p = berth.run(lab.WORKER, "fsck", store.dir, check=False)
            equal(os.listdir(os.path.join(store.dir, "ingest")) if "damaged" not in p.stdout else [], [])
            return p
        p = fsck()
        equal((p.returncode, p.stdout), (0, "checked 2 layers: 0 damaged, 0 renewed; 0 images of unpacked layers, "
                                         "which nothing tells about\n"))
        tar = os.path.join(store.dir, "tars", lab.digest(image.tars[0])[7:])
        index = os.path.join(store.dir, "indexes", os.listdir(os.path.join(store.dir, "indexes"))[0])
        for path, how in [(p, h) for p in (tar + "/table", index) for h in ("bit", "short", "empty")] + \
                [(tar + "/bytes", "empty")]:
            damage(path, how)
            p = fsck()
            assert p.returncode == 0 and "renewed sha256:" in p.stdout, (path, how, p.stdout)
            check_whole(store, reference, expected)
        for how in ("bit", "short", "empty", "none"):
            damage(tar + "/tar", how) if how != "none" else os.unlink(tar + "/tar")
            p = fsck()
            equal(p.returncode, 1)
            assert f"damaged {lab.digest(image.tars[0])}: " in p.stdout and f"pull {reference} linux/amd64\n" in p.stdout, p.stdout
            equal(store.find(reference), None)
            check_whole(store, reference, expected)


def test_two_processes_share_a_store():
    """Each layer comes once, whoever asks; neither sees the other's half."""
    image = big_image(layers=2)
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(image)
        processes = [store.start("pull", reference) for _ in range(4)]
        for p in processes:
            out = p.communicate(timeout=60)[0]
            equal((p.returncode, out if p.returncode else ""), (0, ""))
        for blob in image.layers:
            equal(len(registry.gets("blobs", lab.digest(blob))), 1)


def test_death_at_each_system_call_that_writes():
    """The worker dies at its N-th rename, sync, mkdir or open for writing; N grows until it lives."""
    image = lab.Image(lab.tar("d/", *[(f"d/f{i}", {"data": b"x" * 100}) for i in range(5)]), lab.tar("e"))
    calls = "renameat,fsync,fdatasync,syncfs,mkdirat,unlinkat"
    if not shutil.which("strace"):
        raise berth.Skip("no strace")
    if "/san" in berth.BUILD:
        raise berth.Skip("the leak check does not run under strace")
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(image)
        store.pull(reference)
        with store.mounted(reference) as root:
            expected = lab.tree(root)
        kills = 0
        for call in calls.split(","):
            for n in range(1, 60):
                shutil.rmtree(store.dir, ignore_errors=True)
                log = os.path.join(os.path.dirname(store.dir), "strace")
                p = subprocess.run(["strace", "-f", "-qq", "-o", log, "-e", f"trace={call}", "-e",
                                    f"inject={call}:signal=KILL:when={n}", lab.TOOL, store.dir, lab.WORKER, "pull",
                                    reference], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
                wait_for(lambda: not any(workers(store, r) for r in ROLES), 20,
                         "the end of all workers")
                counts = collections.Counter(line.split()[0] for line in open(log) if f" {call}(" in line)
                killed = max(counts.values(), default=0) >= n  # each process has its own N
                if os.path.exists(os.path.join(store.dir, "layers")):
                    check_whole(store, reference, expected)
                if not killed:
                    equal(p.returncode, 0)
                    break
                kills += 1
            else:
                raise AssertionError(f"{call}: still killed at the {n}th")
        assert kills > 20, kills


if __name__ == "__main__":
    lab.private_mounts()
    berth.main()
