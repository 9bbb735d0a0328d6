#!/usr/bin/env python3
# tests/e2e/34-image-old-kernel.py - pull and mount on Debian's own kernel, in a virtual machine
# SPDX-License-Identifier: Apache-2.0
#
# Linux 6.1 has none of what this machine's kernel may have: overlay's layers one
# at a time, user.* attributes on tmpfs, the newer parts of Landlock. The machine
# is one initramfs: our programs, docker-registry with an image, and a script.

import glob
import os
import re
import shutil
import subprocess

import berth
import imagelab as lab
from berth import equal

INIT = r"""#!/bin/sh
export PATH=/bin
mkdir -p /proc /sys /dev /tmp /t /e /root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in $(cat /modules); do insmod /lib/mod/$m; done
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
	check "$place names" "$(ls $place/target | tr '\n' ' ')" "both d o "
	check "$place merged" "$(ls $place/target/both | tr '\n' ' ')" "l m "
	check "$place whiteout" "$(ls $place/target/d | tr '\n' ' ')" "y "
	check "$place opaque" "$(ls $place/target/o | tr '\n' ' ')" "shown "
	echo new >$place/target/new; rm -r $place/target/d; mkdir $place/target/d
	check "$place written" "$(ls $place/target $place/target/d | tr '\n' ' ')" "$place/target: both d new o  $place/target/d: "
	umount $place/target
	image_tool $place/images /bin/berth-worker user 127.0.0.1:5000/app:1 $place/scratch2 5:6
	layers=
	for i in $(seq 127); do mkdir -p $place/l$i; echo $i >$place/l$i/same; echo $i >$place/l$i/f$i; layers="$layers $place/l$i"; done
	image_tool - - root $place/scratch3 $place/target volatile $layers || echo "no $place 127 layers"
	check "$place 127 layers" "$(ls $place/target | wc -l) $(cat $place/target/same)" "128 127"
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


def newest_kernel():
    kernels = sorted(glob.glob("/boot/vmlinuz-6.1*-amd64"))
    if not kernels or not shutil.which("qemu-system-x86_64"):
        raise berth.Skip("no Linux 6.1 of Debian, or no QEMU")
    return kernels[-1], kernels[-1].split("vmlinuz-")[1]


def add_program(tree, path, name=None):
    """A program and the libraries that it is linked with."""
    shutil.copy(path, os.path.join(tree, "bin", name or os.path.basename(path)))
    for library in re.findall(r"(/[^ ]+) \(0x", berth.run("ldd", path, check=False).stdout):
        target = os.path.join(tree, library.lstrip("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.exists(target):
            shutil.copy(os.path.realpath(library), target)


def add_modules(tree, release):
    os.makedirs(os.path.join(tree, "lib", "mod"), exist_ok=True)
    names = []
    for module in ("loop", "overlay"):
        out = berth.run("modprobe", "-S", release, "--show-depends", module, check=False).stdout
        for path in re.findall(r"^insmod (\S+)", out, re.M):
            shutil.copy(path, os.path.join(tree, "lib", "mod"))
            names.append(os.path.basename(path))
    with open(os.path.join(tree, "modules"), "w") as f:
        f.write("\n".join(dict.fromkeys(names)))


def make_tree(tree, release):
    os.makedirs(os.path.join(tree, "bin"))
    for applet in ("sh", "mount", "umount", "insmod", "ip", "uname", "wget", "sleep", "ls", "mkdir", "rm", "cat", "seq",
                   "grep", "wc", "dmesg", "tail", "tr", "poweroff", "cp"):
        os.symlink("busybox", os.path.join(tree, "bin", applet))
    for path in (shutil.which("busybox"), shutil.which("docker-registry"), lab.TOOL, lab.WORKER):
        add_program(tree, path)
    add_modules(tree, release)
    for name, text, mode in (("init", INIT, 0o755), ("registry.yml", REGISTRY, 0o644)):
        with open(os.path.join(tree, name), "w") as f:
            f.write(text)
        os.chmod(os.path.join(tree, name), mode)
    berth.run("truncate", "-s", "32m", os.path.join(tree, "ext4.img"))
    berth.run("mkfs.ext4", "-q", os.path.join(tree, "ext4.img"))
    image = lab.Image(lab.tar("both/", "both/l", "d/", "d/x", "d/y", "o/", "o/hidden", "gone"),
                      lab.tar("both/", "both/m", ("d/.wh.x", {}), "o/", ("o/.wh..wh..opq", {}), "o/shown", ".wh.gone"))
    with lab.Lab() as source, berth.Registry() as registry:
        berth.run("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false",
                  "docker://" + source.add(image), f"docker://{registry.address}/app:1")
        shutil.copytree(os.path.join(registry.dir, "data"), os.path.join(tree, "registry"))


def boot(directory, kernel):
    initrd = os.path.join(directory, "initrd")
    with open(initrd, "wb") as out:
        find = subprocess.Popen(["find", "."], cwd=os.path.join(directory, "tree"), stdout=subprocess.PIPE)
        cpio = subprocess.Popen(["cpio", "--quiet", "-o", "-H", "newc"], cwd=os.path.join(directory, "tree"),
                                stdin=find.stdout, stdout=subprocess.PIPE)
        subprocess.run(["gzip", "-1"], stdin=cpio.stdout, stdout=out, check=True)
    log = os.path.join(directory, "log")
    accel = "kvm" if os.access("/dev/kvm", os.W_OK) else "tcg"
    for how in dict.fromkeys([accel, "tcg"]):
        p = subprocess.run(["qemu-system-x86_64", "-machine", "q35", "-accel", how, "-cpu", "max", "-smp", "2", "-m", "768",
                            "-nodefaults", "-display", "none", "-no-reboot", "-kernel", kernel, "-initrd", initrd,
                            "-serial", f"file:{log}", "-append",
                            "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        with open(log, errors="replace") as f:
            text = f.read().replace("\r", "")
        if re.search(r"^kernel ", text, re.M):
            return text
    raise berth.Skip(f"the virtual machine did not start: {p.stdout[-300:]} {text[-300:]}")


def test_debians_kernel_pulls_and_mounts():
    kernel, release = newest_kernel()
    directory = lab.scratch("v")
    try:
        make_tree(os.path.join(directory, "tree"), release)
        text = boot(directory, kernel)
    finally:
        shutil.rmtree(directory)
    problems = re.findall(r"^(no .*|.* failed .*|error .*)$", text, re.M)
    if problems or not text.rstrip().endswith(("end", "Power down")) and "\nend\n" not in text:
        raise AssertionError(f"{problems}\n{text}")
    equal(len(re.findall(r"^yes ", text, re.M)), 16)
    equal(len(re.findall(r"^5:6 /$", text, re.M)), 2)
    assert re.search(r"^kernel 6\.1\.", text, re.M), text


if __name__ == "__main__":
    berth.main()
