#!/usr/bin/env python3
# tests/e2e/38-image-resume.py - a pull that is broken off goes on where it was
# SPDX-License-Identifier: Apache-2.0

import os
import re
import shutil
import signal
import time

import berth
import imagelab as lab
from berth import Census, equal, main, wait_for

census = Census()
LARGE = os.urandom(48 << 20)
SHELL = lab.tar("bin/", ("bin/busybox", {"data": open("/bin/busybox", "rb").read(), "mode": 0o755}),
                *((f"bin/{n}", {"type": b"2", "link": "busybox"}) for n in ("sh", "true")))
image = lab.Image(SHELL, lab.tar(("large", {"data": LARGE})), config={"Cmd": ["/bin/true"]})
BLOB = image.layers[1]
PART = 12 << 20  # less than what is kept however fast it comes


def cleanup():
    census.check()


class Broken:
    """A hook: sends the first 12 MB and then nothing, until it is repaired; the ranges that it was asked for."""

    def __init__(self, ranges=True):
        self.sent, self.whole, self.asked, self.ranges = False, False, [], ranges

    def __call__(self, h, kind, name):
        if name != lab.digest(BLOB):
            return False
        self.asked.append(h.headers.get("Range"))
        if self.whole:
            return False
        h.send_response(200)
        h.send_header("Content-Length", str(len(BLOB)))
        h.end_headers()
        h.wfile.write(BLOB[:PART])
        h.wfile.flush()
        self.sent = True
        while not self.whole:
            time.sleep(0.05)
            try:
                h.connection.getpeername()
            except OSError:
                break
        h.close_connection = True
        return True


def partial(directory):
    """What is kept of blobs: bytes by name."""
    folder = os.path.join(directory, "partial")
    return {n: os.path.getsize(os.path.join(folder, n)) for n in os.listdir(folder)} if os.path.exists(folder) else {}


def arrived(directory):
    return sum(partial(directory).values()) > PART - (2 << 20)


def begin_at(asked):
    return int(asked[-1].split("=")[1].rstrip("-")) if asked[-1] else 0


def check(store, reference):
    with store.mounted(reference) as root:
        equal(open(os.path.join(root, "large"), "rb").read(), LARGE)


def test_a_caller_that_died_and_a_puller_that_was_killed():
    for form in lab.forms():
        for victim in ("caller", "all"):
            broken = Broken()
            with lab.Lab() as registry, lab.Store(form=form) as store:
                reference = registry.add(image)
                registry.hooks.append(broken)
                p = store.start("pull", reference)
                wait_for(lambda: arrived(store.dir), 60, "12 MB")
                pullers = [int(pid) for pid in filter(str.isdigit, os.listdir("/proc")) if is_worker(pid, store.dir)]
                for pid in pullers if victim == "all" else []:
                    os.kill(pid, signal.SIGKILL)
                p.kill()
                p.communicate()
                wait_for(lambda: not any(alive(pid) for pid in pullers), 30, "the puller's end")
                broken.whole = True
                store.pull(reference)
                assert begin_at(broken.asked) > PART - (2 << 20), broken.asked
                check(store, reference)
                equal(partial(store.dir), {})


def is_worker(pid, directory):
    try:
        words = open(f"/proc/{pid}/cmdline").read().split("\0")
    except OSError:
        return False
    return words[0] == "berth-worker" and directory in words


def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_what_is_kept_may_be_anything():
    """Noise, too much, or of a registry that knows no ranges: the image comes all the same."""
    for kept, ranges in ((os.urandom(PART), True), (BLOB + b"x", True), (BLOB[:PART], False), (b"", True),
                         (BLOB[:PART - 1] + b"x", True)):
        with lab.Lab() as registry, lab.Store() as store:
            registry.ranges = ranges
            reference = registry.add(image)
            store.tool("list")  # makes the store
            with open(os.path.join(store.dir, "partial", lab.digest(BLOB)[7:]), "wb") as f:
                f.write(kept)
            store.pull(reference)
            check(store, reference)
            equal(partial(store.dir), {})


def test_small_blobs_leave_nothing():
    with lab.Lab() as registry, lab.Store() as store:
        store.pull(registry.add(lab.Image(SHELL)))
        equal(partial(store.dir), {})


def test_what_nobody_comes_back_for_goes():
    with lab.Lab() as registry, lab.Store() as store:
        store.tool("list")
        old, young = (os.path.join(store.dir, "partial", c * 64) for c in "ab")
        for path in (old, young):
            open(path, "w").close()
        os.utime(old, (0, 0))
        store.pull(registry.add(lab.Image(SHELL)))
        wait_for(lambda: list(partial(store.dir)) == ["b" * 64], 10, "the old one gone")


def store_of(daemon):
    return os.path.join(daemon.root, "var/lib/berth/images")


def test_a_task_goes_on_when_its_agent_does():
    for end in ("kill", "stop"):
        broken = Broken()
        with lab.Lab() as registry, berth.Daemon() as daemon:
            reference = registry.add(image)
            registry.hooks.append(broken)
            arn = daemon.run_task([dict(name="c", image=reference, memory=32)])
            wait_for(lambda: arrived(store_of(daemon)), 60, "12 MB")
            getattr(daemon, end)()
            broken.whole = True
            daemon.start()
            equal(daemon.wait_stopped(arn)["containers"][0].get("exitCode"), 0)
            assert begin_at(broken.asked) > PART - (2 << 20), (end, broken.asked)
            equal(partial(store_of(daemon)), {})


def install(directory):
    """Put programs in place as a package does: new files under the old names."""
    for name in os.listdir(berth.BUILD):
        if re.match(r"berth(d|-\w+)?$", name):
            shutil.copy2(os.path.join(berth.BUILD, name), os.path.join(directory, "new"))
            os.rename(os.path.join(directory, "new"), os.path.join(directory, name))


class Installed(berth.Daemon):
    def __init__(self):
        super().__init__()
        self.programs = os.path.join(self.dir, "lib")
        os.mkdir(self.programs)
        install(self.programs)


def test_a_pull_goes_on_when_all_programs_are_upgraded():
    """Replaced before the daemon is stopped, as packages do, or behind."""
    for order in ("first", "last"):
        broken = Broken()
        with lab.Lab() as registry, Installed() as daemon:
            reference = registry.add(image)
            registry.hooks.append(broken)
            arn = daemon.run_task([dict(name="c", image=reference, memory=32)])
            wait_for(lambda: arrived(store_of(daemon)), 60, "12 MB")
            before = {n: os.stat(os.path.join(daemon.programs, n)).st_ino for n in os.listdir(daemon.programs)}
            if order == "first":
                install(daemon.programs)
            daemon.stop()
            if order == "last":
                install(daemon.programs)
            equal([n for n in before if os.stat(os.path.join(daemon.programs, n)).st_ino == before[n]], [])
            broken.whole = True
            daemon.start()
            equal(daemon.wait_stopped(arn)["containers"][0].get("exitCode"), 0)
            assert begin_at(broken.asked) > PART - (2 << 20), (order, broken.asked)
            equal(partial(store_of(daemon)), {})


def test_a_task_that_is_stopped_stops_its_pull_at_once():
    broken = Broken()
    with lab.Lab() as registry, berth.Daemon() as daemon:
        reference = registry.add(image)
        registry.hooks.append(broken)
        arn = daemon.run_task([dict(name="c", image=reference, memory=32)])
        wait_for(lambda: arrived(store_of(daemon)), 60, "12 MB")
        begun = time.monotonic()
        daemon.ecs("StopTask", task=arn)
        daemon.wait_stopped(arn, 20)
        wait_for(lambda: not any(is_worker(pid, store_of(daemon)) for pid in filter(str.isdigit, os.listdir("/proc"))),
                 20, "the end of its workers")
        assert time.monotonic() - begun < 20  # a stalled registry is noticed after 25 s: it was not that
        equal(partial(store_of(daemon)), {})
        broken.whole = True


if __name__ == "__main__":
    main()
