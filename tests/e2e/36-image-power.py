#!/usr/bin/env python3
# tests/e2e/36-image-power.py - the power goes while images are pulled and removed
# SPDX-License-Identifier: Apache-2.0
#
# A virtual machine pulls into an ext4 that promises nothing which was not asked
# for (data=writeback, no flush on rename). What it writes is written down, and
# each place in this log is a cut: the host makes the disk that may be left of it
# (writelog.py) and looks: an image that is there is whole to its last byte, one
# whose pull was told to have ended is there, one that was told to be removed is not.
# A machine then goes on with the last such disk. CUTS says how many.
#
# The machine says what it does behind the end of its file system: so what was told
# has its place among the writes. Nothing flushes this, or it would flush the rest too.
#
# KILLS times QEMU itself is killed, and the next boot goes on with what is there.

import copy
import os
import random
import re
import shutil
import subprocess
import time

import berth
import imagelab as lab
import vmlab
import writelog
from berth import wait_for

SEED = int(os.environ.get("SEED", random.randrange(1 << 30)))
LONG = "RACES" in os.environ
CUTS = int(os.environ.get("CUTS", 1000 if LONG else 60))
KILLS = int(os.environ.get("KILLS", 40 if LONG else 6))
CUTS_OF_A_LOG = 100
ROUNDS_OF_A_LOG = 6
DISK_MIB = 160
SAID = DISK_MIB << 8  # the page behind the file system: what is smaller is cached, O_DIRECT or not
TAGS = "12"

INIT = r"""#!/bin/sh
export PATH=/bin
mkdir -p /proc /sys /dev /tmp /d
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in MODULES; do insmod /modules/$m; done
ip link set lo up
docker-registry serve /registry.yml >/registry.log 2>&1 &
mount -t ext4 -o data=writeback,noauto_da_alloc,commit=300 /dev/vda /d || echo "no disk"
n=0; while [ $n -lt 100 ] && ! wget -q -O /dev/null http://127.0.0.1:5000/v2/; do n=$((n+1)); sleep 0.1; done
export FORM=$(cat /proc/cmdline | tr ' ' '\n' | grep ^berth.form= | cut -d= -f2)
say() { echo "$*" | dd of=/dev/vda bs=4096 seek=SAID conv=sync,notrunc oflag=direct 2>/dev/null; echo "$*"; }
pull() {
	for tag; do say "pulling $tag"; done
	image_tool /d/images /bin/berth-worker pull $(for tag; do echo 127.0.0.1:5000/app:$tag; done) >/dev/null || echo "no pull of $*"
	for tag; do say "pulled $tag"; done
}
remove() {
	say "removing $1"
	image_tool /d/images /bin/berth-worker remove 127.0.0.1:5000/app:$1 >/dev/null || echo "no removal of $1"
	say "removed $1"
}
say "ready"
while :; do
	pull 1; pull 2; remove 1; remove 2
	pull 1 2; remove 1; remove 2
done
"""

REGISTRY = """version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: /registry}}
http: {addr: "127.0.0.1:5000"}
"""


def images():
    r = random.Random(1)

    def layer(l, files, size):
        return lab.tar(f"d{l}/", *[(f"d{l}/f{i}", {"data": r.randbytes(r.randrange(size)), "mtime": i})
                                   for i in range(files)])
    shared = layer(0, 40, 9000)
    return lab.Image(shared, layer(1, 4, 400000)), lab.Image(shared, lab.tar("d0/", ("d0/.wh.f1", {})), layer(2, 60, 2000))


def make_machine(directory):
    kernel, release = vmlab.kernel()
    tree = os.path.join(directory, "tree")
    os.makedirs(os.path.join(tree, "bin"))
    for applet in ("sh", "mount", "insmod", "ip", "wget", "sleep", "mkdir", "cat", "tr", "grep", "cut",
                   "dd"):
        os.symlink("busybox", os.path.join(tree, "bin", applet))
    for path in (shutil.which("busybox"), shutil.which("docker-registry"), lab.TOOL, lab.WORKER, lab.FETCHER, lab.READER):
        vmlab.add_program(tree, path, "bin/" + os.path.basename(path))
    modules = vmlab.add_modules(tree, release, "virtio_pci", "virtio_blk", "overlay")
    vmlab.write(tree, "init", INIT.replace("MODULES", " ".join(modules)).replace("SAID", str(SAID)), 0o755)
    vmlab.write(tree, "registry.yml", REGISTRY)
    expected = {}
    with lab.Lab() as source, berth.Registry() as registry:
        for tag, image in zip(TAGS, images()):
            reference = source.add(image, tag)
            berth.run("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false",
                      "docker://" + reference, f"docker://{registry.address}/app:{tag}")
            with lab.Store() as store:
                store.pull(reference)
                with store.mounted(reference) as root:
                    expected[tag] = lab.tree(root)
        shutil.copytree(os.path.join(registry.dir, "data"), os.path.join(tree, "registry"))
    vmlab.make_initrd(tree, os.path.join(directory, "initrd"))
    berth.run("truncate", "-s", f"{DISK_MIB + 1}m", os.path.join(directory, "disk"))
    berth.run("mkfs.ext4", "-q", os.path.join(directory, "disk"), f"{DISK_MIB}m")
    return kernel, expected


def boot(directory, kernel, form, *drive):
    """A machine on its way, and a function that tells what it has said."""
    console = os.path.join(directory, "console")
    open(console, "w").close()
    argv = vmlab.qemu(kernel, os.path.join(directory, "initrd"), console, "-no-reboot", *drive, append=f"berth.form={form}")
    with open(console, "a") as complaints:  # of QEMU itself
        machine = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaints)

    def said():
        with open(console, errors="replace") as f:
            return f.read().replace("\r", "").split("\n")
    return machine, said


def kill(machine):
    machine.kill()
    machine.wait()


class Told:
    """What the machine has told of its images, and so what the disk must have."""

    def __init__(self):
        self.there = {tag: False for tag in TAGS}  # None: perhaps
        self.form = None
        self.no_index = set()  # tags of images that came as directories

    def boot(self, form):
        """A store of directories does not show what came as an index, until it is pulled again."""
        unsure = form == "unpacked"
        if self.form and form != self.form:
            self.there = {tag: None if there == unsure else there for tag, there in self.there.items()}
        self.form = form

    def hear(self, line, form):
        word, _, tag = line.partition(" ")
        if word == "pulled":
            self.there[tag] = True
            if form == "index":
                self.no_index.discard(tag)
        elif word == "removing" or (word == "pulling" and not self.there[tag]):
            self.there[tag] = None
        elif word == "removed":
            self.there[tag] = False
        elif word == "no":
            raise AssertionError(line)


def check_images(store, form, told, expected):
    """What there is; how many images."""
    for tag in TAGS:
        reference = f"127.0.0.1:5000/app:{tag}"
        there = store.find(reference) is not None
        if told.there[tag] not in (None, there):
            raise AssertionError(f"image {tag} was {'pulled, and is gone' if told.there[tag] else 'removed, and is there'}")
        told.there[tag] = there
        if there and form != "index":
            told.no_index.add(tag)
        if there:
            with store.mounted(reference) as root:
                lab.same_trees(lab.tree(root), expected[tag])
    if form == "index":
        p = berth.run(lab.WORKER, "fsck", store.dir, check=False)
        wrong = "damaged|pull" if told.no_index else "damaged|pull|renewed"
        assert p.returncode == 0 and not re.search(f"^({wrong}) ", p.stdout, re.M), p.stdout
    store.settled()
    return sum(told.there.values())


def check(disk, form, told, expected):
    target = disk + "-mounted"
    os.makedirs(target, exist_ok=True)
    berth.run("mount", "-o", "loop", disk, target)
    try:
        store = lab.Store(directory=os.path.join(target, "images"), form=form)
        assert os.path.exists(store.dir) or not any(told.there.values()), "there is no store"
        return check_images(store, form, told, expected) if os.path.exists(store.dir) else 0
    finally:
        berth.run("umount", target)


class Workplace:
    """A directory with a machine, its disk, and what the images in it are; all of it in memory."""

    def __init__(self):
        self.memory = lab.FileSystem("tmpfs", size="2g")

    def __enter__(self):
        self.dir = self.memory.__enter__()
        try:
            self.kernel, self.expected = make_machine(self.dir)
        except BaseException:
            self.memory.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.memory.__exit__()

    def path(self, name):
        return os.path.join(self.dir, name)

    def copy(self, source, target):
        berth.run("cp", "--sparse=always", self.path(source), self.path(target))


# ---- cuts in a log of all that is written ----

def record(work, form):
    """Let the machine pull and remove for a while; what it wrote."""
    open(work.path("log"), "w").close()
    machine, said = boot(work.dir, work.kernel, form, *writelog.drive(work.path("disk"), work.path("log")))
    try:
        wait_for(lambda: machine.poll() is not None or said().count("removed 2") >= ROUNDS_OF_A_LOG, 600, "rounds of pulls")
    finally:
        kill(machine)
    problems = [line for line in said() if line.startswith("no ")]
    assert not problems and "ready" in said(), (machine.returncode, said()[-20:])
    return writelog.read(work.path("log"))


def check_log(work, form, log, told, cuts, r):
    """Cut the power at so many places; how many images there were. Leaves the last disk, as nobody has seen it."""
    lines = {at: w.data.rstrip(b"\0\n").decode() for at, w in enumerate(log) if w.offset == SAID * 4096}
    disk = writelog.Disk(work.path("before"), log)
    told.boot(form)
    there = heard = 0
    behind_a_line = [at + 1 for at in lines]  # what was just told has to be true
    for cut in sorted(r.choice(behind_a_line if r.random() < 0.25 else range(min(lines), len(log))) for _ in range(cuts)):
        chance = r.choice((0, 0.1, 0.5, 0.9, 1))
        pieces = disk.cut(cut, chance, r)
        work.copy("before", "disk")
        with open(work.path("disk"), "r+b") as f:
            writelog.put(f, pieces)
        for at in range(heard, cut):
            told.hear(lines.get(at, ""), form)
        heard = cut
        work.copy("disk", "seen")
        now = copy.deepcopy(told)
        try:
            there += check(work.path("seen"), form, now, work.expected)
        except AssertionError as error:
            raise AssertionError(f"{form}, cut before write {cut} of {len(log)}, chance {chance}, "
                                 f"told {told.there}: {error}") from None
    return there, now


def go_on_cutting(lane, cuts):
    seed = SEED + lane
    print(f"  seed {seed}, {cuts} cuts")
    r = random.Random(seed)
    forms = lab.forms()
    told, there, done = Told(), 0, 0
    with Workplace() as work:
        while done < cuts:
            form = forms[0] if (lane + done // CUTS_OF_A_LOG) % 3 == 0 else forms[-1]
            count = min(CUTS_OF_A_LOG, cuts - done)
            work.copy("disk", "before")
            images, told = check_log(work, form, record(work, form), told, count, r)
            there += images
            done += count
    assert there > cuts // 5, f"only {there} images were there at all"
    print(f"  {there} images were whole")


def test_the_power_goes_at_any_write():
    go_on_cutting(0, CUTS - CUTS // 2)


@berth.meanwhile
def test_and_so_does_that_of_a_second_machine():
    go_on_cutting(1, CUTS // 2)


# ---- QEMU is killed ----

def run_and_kill(work, form, mark, after):
    """Boot, wait until it has come to a line, then so many seconds more; what the machine said."""
    machine, said = boot(work.dir, work.kernel, form, "-drive",
                         f"file={work.path('disk')},if=virtio,format=raw,cache=writeback")
    try:
        wait_for(lambda: machine.poll() is not None or mark in said(), 120, "a machine that pulls")
        time.sleep(after)
    finally:
        kill(machine)
    assert "ready" in said(), said()[-20:]
    return said()[:-1]  # the last is no whole line


def test_a_machine_that_is_killed_goes_on_with_what_there_is():
    r = random.Random(SEED)
    forms = lab.forms()
    told = Told()
    with Workplace() as work:
        for n in range(KILLS):
            form = forms[-1] if n % 4 else forms[0]
            after = r.uniform(0, 2.5)
            mark = "pulled 1" if n % 3 == 0 else "ready"  # a slow machine would have nothing to lose
            told.boot(form)
            for line in run_and_kill(work, form, mark, after):
                told.hear(line, form)
            try:
                check(work.path("disk"), form, told, work.expected)
            except AssertionError as error:
                raise AssertionError(f"seed {SEED}, kill {n}, {form}, {after:.2f} s after {mark}: {error}") from None
            if form == "index":
                told.no_index.clear()  # they have one now


if __name__ == "__main__":
    lab.private_mounts()
    berth.main()
