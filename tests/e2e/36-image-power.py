#!/usr/bin/env python3
# tests/e2e/36-image-power.py - the power goes while images are pulled and removed
# SPDX-License-Identifier: Apache-2.0
#
# A virtual machine pulls into an ext4 that promises nothing which was not asked
# for (data=writeback, no flush on rename); QEMU is killed at a random moment, and
# with it what the machine had not written. Then this host looks at the disk: an
# image that is there is whole to its last byte, one whose pull was told to have
# ended is there, and the next boot goes on with the same disk. CUTS says how often.

import os
import random
import re
import shutil
import subprocess
import time

import berth
import imagelab as lab
import vmlab
from berth import wait_for

SEED = int(os.environ.get("SEED", random.randrange(1 << 30)))
CUTS = int(os.environ.get("CUTS", "1000" if "RACES" in os.environ else "20"))

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
echo "ready"
while :; do
	for tag in 1 2; do
		image_tool /d/images /bin/berth-worker pull 127.0.0.1:5000/app:$tag >/dev/null || echo "no pull of $tag"
		echo "pulled $tag"
	done
	for tag in 1 2; do
		echo "removing $tag"
		image_tool /d/images /bin/berth-worker remove 127.0.0.1:5000/app:$tag >/dev/null
	done
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
    for applet in ("sh", "mount", "insmod", "ip", "wget", "sleep", "mkdir", "cat", "tr", "grep", "cut"):
        os.symlink("busybox", os.path.join(tree, "bin", applet))
    for path in (shutil.which("busybox"), shutil.which("docker-registry"), lab.TOOL, lab.WORKER, lab.FETCHER, lab.READER):
        vmlab.add_program(tree, path, "bin/" + os.path.basename(path))
    modules = vmlab.add_modules(tree, release, "virtio_pci", "virtio_blk", "overlay")
    vmlab.write(tree, "init", INIT.replace("MODULES", " ".join(modules)), 0o755)
    vmlab.write(tree, "registry.yml", REGISTRY)
    expected = {}
    with lab.Lab() as source, berth.Registry() as registry:
        for tag, image in zip("12", images()):
            reference = source.add(image, tag)
            berth.run("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false",
                      "docker://" + reference, f"docker://{registry.address}/app:{tag}")
            with lab.Store() as store:
                store.pull(reference)
                with store.mounted(reference) as root:
                    expected[tag] = lab.tree(root)
        shutil.copytree(os.path.join(registry.dir, "data"), os.path.join(tree, "registry"))
    vmlab.make_initrd(tree, os.path.join(directory, "initrd"))
    berth.run("truncate", "-s", "160m", os.path.join(directory, "disk"))
    berth.run("mkfs.ext4", "-q", os.path.join(directory, "disk"))
    return kernel, expected


def run_and_cut(directory, kernel, form, mark, after):
    """Boot, wait until it has come to a line, then so many seconds more; what the machine said."""
    log = os.path.join(directory, "log")
    if os.path.exists(log):
        os.unlink(log)
    argv = vmlab.qemu(kernel, os.path.join(directory, "initrd"), log, "-no-reboot", "-drive",
                      f"file={directory}/disk,if=virtio,format=raw,cache=writeback", append=f"berth.form={form}")
    machine = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def said():
        with open(log, errors="replace") as f:
            return f.read().replace("\r", "")
    try:
        wait_for(lambda: machine.poll() is not None or os.path.exists(log) and f"\n{mark}\n" in "\n" + said(), 120,
                 "a machine that pulls")
        time.sleep(after)
    finally:
        machine.kill()
        machine.wait()
    return said()


def check(directory, form, said, expected, no_index):
    """What the disk has; how many images were there. 'no_index': tags that came as directories."""
    there = 0
    if form == "index":
        no_index.difference_update(re.findall(r"^pulled (\d)$", said, re.M))
    target = os.path.join(directory, "mnt")
    os.makedirs(target, exist_ok=True)
    berth.run("mount", "-o", "loop", os.path.join(directory, "disk"), target)
    try:
        last = (re.findall(r"^(pulled|removing) (\d)$", said, re.M) or [("", "")])[-1]
        store = lab.Store(directory=os.path.join(target, "images"), form=form)
        if not os.path.exists(store.dir):
            return 0
        for tag in "12":
            reference = f"127.0.0.1:5000/app:{tag}"
            if store.find(reference) is None:
                assert last != ("pulled", tag), f"image {tag} was pulled, and is gone"
                continue
            there += 1
            if form != "index":
                no_index.add(tag)
            with store.mounted(reference) as root:
                lab.same_trees(lab.tree(root), expected[tag])
        if form == "index":
            p = berth.run(lab.WORKER, "fsck", store.dir, check=False)
            wrong = "damaged|pull" if no_index else "damaged|pull|renewed"
            assert p.returncode == 0 and not re.search(f"^({wrong}) ", p.stdout, re.M), p.stdout
            no_index.clear()  # they have one now
        store.settled()
        return there
    finally:
        berth.run("umount", target)


def go_on_cutting(seed, cuts):
    print(f"  seed {seed}, {cuts} cuts")
    r = random.Random(seed)
    directory = lab.scratch("v")
    forms = lab.forms()
    there, no_index = 0, set()
    try:
        kernel, expected = make_machine(directory)
        for cut in range(cuts):
            form = forms[-1] if cut % 4 else forms[0]
            after = r.uniform(0, 2.5)
            mark = "pulled 1" if cut % 3 == 0 else "ready"  # a slow machine would have nothing to lose
            said = run_and_cut(directory, kernel, form, mark, after)
            problems = re.findall(r"^no .*$", said, re.M)
            try:
                if problems or "ready" not in said:
                    raise AssertionError(f"{problems} {said[-500:]}")
                there += check(directory, form, said, expected, no_index)
            except AssertionError as error:
                raise AssertionError(f"cut {cut}, {form}, {after:.2f} s after {mark}: {error}") from None
        assert there > cuts // 5, f"only {there} images were there at all"
        print(f"  {there} images were whole")
    finally:
        shutil.rmtree(directory)


def test_the_power_goes_at_any_time():
    go_on_cutting(SEED, CUTS - CUTS // 2)


if CUTS > 1:
    @berth.meanwhile
    def test_and_so_does_that_of_a_second_machine():
        go_on_cutting(SEED + 1, CUTS // 2)


if __name__ == "__main__":
    lab.private_mounts()
    berth.main()
