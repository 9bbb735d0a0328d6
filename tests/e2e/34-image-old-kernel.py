#!/usr/bin/env python3
# tests/e2e/34-image-old-kernel.py - pull and mount on Debian's own kernel, in a virtual machine
# SPDX-License-Identifier: Apache-2.0
#
# Linux 6.1 has none of what this machine's kernel may have: overlay's layers one
# at a time, user.* attributes on tmpfs, the newer parts of Landlock. The machine
# is one initramfs: our programs, docker-registry with an image, and a script.

import os
import re
import shutil
import subprocess

import berth
import imagelab as lab
import vmlab
from berth import equal

INIT = r"""#!/bin/sh
export PATH=/bin
mkdir -p /proc /sys /dev /tmp /t /e /root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in MODULES; do insmod /modules/$m; done
ip link set lo up
echo "kernel $(uname -r)"
docker-registry serve /registry.yml >/registry.log 2>&1 &
mount -t tmpfs tmpfs /t
mount -o loop /ext4.img /e
n=0; while [ $n -lt 100 ] && ! wget -q -O /dev/null http://127.0.0.1:5000/v2/; do n=$((n+1)); sleep 0.1; done
check() { if [ "$2" = "$3" ]; then echo "yes $1"; else echo "no $1: '$2' is not '$3'"; fi; }
cd /
for place in /t /e; do
	mkdir $place/target
	image_tool $place/images /bin/berth-worker pull 127.0.0.1:5000/app:1 || echo "no $place pull"
	image_tool $place/images /bin/berth-worker mount 127.0.0.1:5000/app:1 $place/scratch $place/target || echo "no $place mount"
	check "$place names" "$(ls $place/target | tr '\n' ' ')" "both d links o "
	check "$place merged" "$(ls $place/target/both | tr '\n' ' ')" "l m n "
	check "$place said below" "$(ls -ld $place/target/both | while read mode links owner rest; do echo $mode $owner; done)" "drwxrwx--T 7"
	check "$place whiteout" "$(ls $place/target/d | tr '\n' ' ')" "y "
	check "$place links" "$(ls -i $place/target/links | while read inode name; do echo $inode; done | uniq | wc -l)" "1"
	check "$place opaque" "$(ls $place/target/o | tr '\n' ' ')" "shown "
	echo new >$place/target/new; rm -r $place/target/d; mkdir $place/target/d
	check "$place written" "$(ls $place/target $place/target/d | tr '\n' ' ')" "$place/target: both d links new o  $place/target/d: "
	umount $place/target
	image_tool $place/images /bin/berth-worker user 127.0.0.1:5000/app:1 $place/scratch2 5:6
	layers=
	for i in $(seq 128); do mkdir -p $place/l$i; echo $i >$place/l$i/same; echo $i >$place/l$i/f$i; layers="$layers $place/l$i"; done
	image_tool - - root $place/scratch3 $place/target volatile $layers || echo "no $place 128 layers"
	check "$place 128 layers" "$(ls $place/target | wc -l) $(cat $place/target/same)" "129 128"
	umount $place/target
	image_tool - - root $place/scratch3 $place/target volatile $layers || echo "no $place again"
	umount $place/target
	check "$place mounts" "$(grep -c overlay /proc/mounts)" "0"
	image_tool $place/images /bin/berth-worker remove 127.0.0.1:5000/app:1
	sleep 1
	check "$place removed" "$(ls $place/images/layers $place/images/ingest | wc -w)" "2"
done
dmesg | grep -i overlay | tail -5
echo "end"
poweroff -f
"""

REGISTRY = """version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: /registry}}
http: {addr: "127.0.0.1:5000"}
"""


def make_tree(tree, release):
    os.makedirs(os.path.join(tree, "bin"))
    for applet in ("sh", "mount", "umount", "insmod", "ip", "uname", "wget", "sleep", "ls", "mkdir", "rm", "cat", "seq",
                   "grep", "wc", "uniq", "dmesg", "tail", "tr", "poweroff", "cp"):
        os.symlink("busybox", os.path.join(tree, "bin", applet))
    for path in (shutil.which("busybox"), shutil.which("docker-registry"), lab.TOOL, lab.WORKER, lab.FETCHER, lab.READER):
        vmlab.add_program(tree, path, "bin/" + os.path.basename(path))
    modules = vmlab.add_modules(tree, release, "loop", "overlay")
    vmlab.write(tree, "init", INIT.replace("MODULES", " ".join(modules)), 0o755)
    vmlab.write(tree, "registry.yml", REGISTRY)
    berth.run("truncate", "-s", "32m", os.path.join(tree, "ext4.img"))
    berth.run("mkfs.ext4", "-q", os.path.join(tree, "ext4.img"))
    both = ("both/", {"mode": 0o1770, "uid": 7})
    image = lab.Image(lab.tar(both, "both/l", "d/", "d/x", "d/y", "o/", "o/hidden", "gone"),
                      lab.tar(both, "both/m", ("d/.wh.x", {}), "o/", ("o/.wh..wh..opq", {}), "o/shown", ".wh.gone"),
                      lab.tar("both/n", ("links/", {}), ("links/first", {"data": b"1"})),
                      lab.tar(("links/second", {"type": lab.tarfile.LNKTYPE, "link": "links/first"})))
    with lab.Lab() as source, berth.Registry() as registry:
        berth.run("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false",
                  "docker://" + source.add(image), f"docker://{registry.address}/app:1")
        shutil.copytree(os.path.join(registry.dir, "data"), os.path.join(tree, "registry"))


def boot(directory, kernel):
    initrd, log = os.path.join(directory, "initrd"), os.path.join(directory, "log")
    vmlab.make_initrd(os.path.join(directory, "tree"), initrd)
    p = subprocess.run(vmlab.qemu(kernel, initrd, log, "-no-reboot"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, timeout=600)
    with open(log, errors="replace") as f:
        text = f.read().replace("\r", "")
    if not re.search(r"^kernel ", text, re.M):
        raise AssertionError(f"the virtual machine did not start: {p.stdout[-300:]} {text[-300:]}")
    return text


def test_debians_kernel_pulls_and_mounts():
    kernel, release = vmlab.kernel()
    directory = lab.scratch("v")
    try:
        make_tree(os.path.join(directory, "tree"), release)
        text = boot(directory, kernel)
    finally:
        shutil.rmtree(directory)
    problems = re.findall(r"^(no .*|.* failed .*|error .*)$", text, re.M)
    if problems or not text.rstrip().endswith(("end", "Power down")) and "\nend\n" not in text:
        raise AssertionError(f"{problems}\n{text}")
    equal(len(re.findall(r"^yes ", text, re.M)), 20)
    equal(len(re.findall(r"^5:6 /$", text, re.M)), 2)
    assert re.search(r"^kernel 6\.1\.", text, re.M), text


if __name__ == "__main__":
    berth.main()
