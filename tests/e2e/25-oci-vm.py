#!/usr/bin/env python3
# tests/e2e/25-oci-vm.py - the tests of berth-oci on Debian's own kernel, with cgroup v2 and with v1
# SPDX-License-Identifier: Apache-2.0
#
# A QEMU machine boots Debian's cloud kernel from a disk that holds a busybox,
# Python and the tests, runs them once with the cgroup v2 tree alone and a short
# form with v1 hierarchies, and writes what they print to its serial port.

import os
import re
import shutil
import subprocess
import sys
import tempfile

from oci import BUILD, BUSYBOX, OCI, PROBE

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT_S = int(os.environ.get("VM_TIMEOUT", "900"))
DISK_MB = 160
MODULES = ("virtio_pci virtio_blk overlay nf_tables veth tun unix_diag inet_diag tcp_diag udp_diag netlink_diag "
           "af_packet_diag").split()
TOOLS = ("/usr/bin/python3.11", "/usr/bin/strace", "/usr/bin/mount", "/usr/bin/umount", "/usr/bin/unshare",
         "/usr/sbin/criu", "/usr/bin/tar")
PYTHON = "/usr/lib/python3.11"
PYTHON_LEFT_OUT = ("idlelib", "lib2to3", "ensurepip", "distutils", "pydoc_data", "tkinter", "turtledemo", "unittest",
                   "dist-packages", "asyncio", "email", "xml", "sqlite3", "test", "wsgiref", "xmlrpc")
SPEC = ["scheduling", "processors", "personality", "memory_policy", "id_mapped", "recursive", "asking", "block_io",
        "huge_pages", "processor_time", "unified", "unlimited"]
V2 = (("20-oci-isolation.py", []),
      ("20-oci-spec.py", SPEC),
      ("20-oci-life.py", ["life_cycle", "nothing_runs", "exit_codes", "delete", "kill_all", "exec", "console", "terminal",
                          "preserved", "hooks", "pausing", "updating", "events", "no_c", "checkpointing", "many"]),
      ("20-oci-cve.py", ["overwriting", "self_protection", "symlinked", "swapped", "release_agent", "replaced",
                         "redirected", "without_openat2"]),
      ("20-oci-refusals.py", ["host_objects", "known_", "without_controller"]))
# Without any v2 tree: what depends on the kind of cgroups.
V1 = (("20-oci-isolation.py", ["cgroup", "limits", "device", "cpu_sets", "small"]),
      ("20-oci-spec.py", ["block_io", "processor_time"]),
      ("20-oci-life.py", ["life_cycle", "kill_all", "delete", "exec_basic", "exec_places", "pausing", "updating",
                          "events"]))

if os.environ.get("VM_WHOLE"):  # every case of these files, for make check-vm
    V2, V1 = ([(name, []) for name, _ in tests] for tests in (V2, V1))

INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
for m in MODULES; do /bin/busybox insmod /modules/$m; done
/bin/busybox mount -t ext4 /dev/vda /root
exec /bin/busybox switch_root /root /suite
"""

SUITE = """#!/bin/busybox sh
export PATH=/usr/bin:/bin:/usr/sbin BERTH_BUILD=/build RACES=RACE_COUNT PYTHONDONTWRITEBYTECODE=1 HOME=/root
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
exec < /dev/null > /dev/ttyS0 2>&1
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /tmp; mount -t tmpfs tmpfs /run
mount --make-rshared /
ip link set lo up
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo "kernel $(uname -r)"
V2_TESTS
rm -f /run/criu*
umount /sys/fs/cgroup
mount -t tmpfs tmpfs /sys/fs/cgroup
for c in cpu,cpuacct cpuset memory devices freezer pids blkio; do
  mkdir /sys/fs/cgroup/$c
  # The v2 tree lets go of a controller when the last page that it counted for a cgroup is gone.
  for try in $(seq 200); do
    mount -t cgroup -o $c cgroup /sys/fs/cgroup/$c 2> /dev/null && break
    echo 3 > /proc/sys/vm/drop_caches; sleep 0.1
  done
done
V1_TESTS
echo finished
reboot -f
"""


def need(path):
    if not os.path.exists(path):
        print(f"skip vm: {path} is not there")
        sys.exit(0)
    return path


def libraries(path):
    out = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return re.findall(r"(/\S+) \(0x", out)


def put(root, path, to=None):
    """A file of the host, where it lies there, with the libraries that it needs."""
    target = root + (to or path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy(path, target)
    for lib in libraries(path):
        if not os.path.exists(root + lib):
            put(root, lib)


def make_initrd(work, release):
    tree = work + "/initrd"
    for d in ("bin", "proc", "sys", "dev", "root", "modules"):
        os.makedirs(f"{tree}/{d}")
    shutil.copy(BUSYBOX, tree + "/bin/busybox")
    names = []
    for module in MODULES:
        out = subprocess.run(["modprobe", "-S", release, "--show-depends", module], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
        for path in re.findall(r"^insmod (\S+)", out, re.M):
            if os.path.basename(path) not in names:
                names.append(os.path.basename(path))
                shutil.copy(path, tree + "/modules")
    with open(tree + "/init", "w") as f:
        f.write(INIT.replace("MODULES", " ".join(names)))
    os.chmod(tree + "/init", 0o755)
    with open(work + "/initrd.cpio", "wb") as f:
        find = subprocess.Popen(["find", "."], cwd=tree, stdout=subprocess.PIPE)
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, stdin=find.stdout, stdout=f, check=True)
        find.wait()


def make_disk(work):
    root = work + "/root"
    for d in ("bin", "proc", "sys", "dev", "tmp", "run", "root", "etc", "tests"):
        os.makedirs(f"{root}/{d}")
    shutil.copy(BUSYBOX, root + "/bin/busybox")
    for applet in subprocess.run([BUSYBOX, "--list"], check=True, stdout=subprocess.PIPE, text=True).stdout.split():
        if not os.path.lexists(f"{root}/bin/{applet}") and applet not in ("mount", "umount", "unshare"):
            os.symlink("busybox", f"{root}/bin/{applet}")
    for tool in TOOLS:
        put(root, need(tool))
    shutil.copytree(PYTHON, root + PYTHON, ignore=shutil.ignore_patterns("config-*", "_sysconfig*", *PYTHON_LEFT_OUT))
    for name in os.listdir(PYTHON + "/lib-dynload"):
        for lib in libraries(f"{PYTHON}/lib-dynload/{name}"):
            if not os.path.exists(root + lib):
                put(root, lib)
    put(root, OCI, "/build/berth-oci")
    put(root, PROBE, "/build/tests/e2e/root/probe")
    for name in {n for n, _ in V2 + V1} | {"oci.py"}:
        shutil.copy(f"{HERE}/{name}", root + "/tests")
    for line, name in (("root:x:0:0:root:/root:/bin/sh", "passwd"), ("vm", "hostname")):
        with open(f"{root}/etc/{name}", "w") as f:
            f.write(line + "\n")

    def lines(kind, tests):
        return "\n".join(f"echo kind {kind} {n}; python3.11 -B /tests/{n} {' '.join(a)}; echo exit $?" for n, a in tests)
    with open(root + "/suite", "w") as f:
        f.write(SUITE.replace("V2_TESTS", lines("v2", V2)).replace("V1_TESTS", lines("v1", V1))
                .replace("RACE_COUNT", os.environ.get("RACES", "5")))
    os.chmod(root + "/suite", 0o755)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", root, work + "/disk", f"{DISK_MB}M"],
                   check=True, stdout=subprocess.DEVNULL)


def has_kvm():
    """Is the processor's own virtualisation there, or only the device?"""
    flags = open("/proc/cpuinfo").read()
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and re.search(r"\b(vmx|svm)\b", flags) is not None


def tsc_khz():
    m = re.search(r"^cpu MHz\s*: ([\d.]+)", open("/proc/cpuinfo").read(), re.M)
    return int(float(m.group(1)) * 1000) if m else 2000000


def boot(work, release):
    accel = "kvm" if has_kvm() else "tcg,thread=multi,tb-size=256"
    serial = work + "/serial.log"
    argv = ["qemu-system-x86_64", "-machine", "q35", "-accel", accel, "-cpu", "max", "-smp", "2", "-m", "768",
            "-nodefaults", "-display", "none", "-no-reboot", "-kernel", f"/boot/vmlinuz-{release}",
            "-initrd", work + "/initrd.cpio", "-drive", f"file={work}/disk,if=virtio,format=raw,cache=unsafe",
            "-serial", f"file:{serial}", "-append",
            f"console=ttyS0 quiet panic=-1 no_timer_check tsc_early_khz={tsc_khz()} tsc=reliable mitigations=off "
            "random.trust_cpu=on audit=0"]
    try:
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                       timeout=TIMEOUT_S, check=True)
    except subprocess.TimeoutExpired:
        print(f"not ok vm: still running after {TIMEOUT_S} s")
    except subprocess.CalledProcessError as e:
        print(f"not ok vm: {e.stderr.decode()}")
    return open(serial, errors="replace").read().replace("\r", "") if os.path.exists(serial) else ""


def tell(log):
    """The lines of the tests, each with the kind of cgroups in front."""
    kind = "boot"
    for line in log.split("\n"):
        m = re.match(r"kind (\S+) (\S+)", line)
        if m:
            kind = f"{m.group(1)} {m.group(2)[:-3]}"
        m = re.match(r"(ok|not ok|skip) (.*)", line)
        if m:
            print(f"{m.group(1)} vm {kind}: {m.group(2)}")
        elif re.match(r"exit [1-9]", line):
            print(f"  {kind}: {line}")
        elif line.startswith("  "):
            print(line)
    if "\nfinished" not in log:
        print("not ok vm: it did not finish")
        print("  " + log[-3000:].replace("\n", "\n  "))


def main():
    if os.geteuid() != 0 or not shutil.which("qemu-system-x86_64"):
        print("skip vm: needs root and qemu-system-x86")
        return
    kernels = sorted(n[8:] for n in os.listdir("/boot") if re.match(r"vmlinuz-.*-cloud-amd64$", n))
    if not kernels or not os.path.isdir(f"/lib/modules/{kernels[-1]}"):
        print("skip vm: linux-image-cloud-amd64 is not installed")
        return
    for path in (OCI, PROBE, BUSYBOX, PYTHON, *TOOLS):
        need(path)
    with tempfile.TemporaryDirectory(prefix="berth-vm-") as work:
        make_initrd(work, kernels[-1])
        make_disk(work)
        tell(boot(work, kernels[-1]))


if __name__ == "__main__":
    main()
