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
import tempfile

import vmlab
from berth import Skip
from keeperlab import KEEPER, TOOL
from oci import BUSYBOX, OCI, PROBE

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT_S = int(os.environ.get("VM_TIMEOUT", "900"))
DISK_MB = 160
MODULES = ("virtio_pci virtio_blk overlay nf_tables veth tun unix_diag inet_diag tcp_diag udp_diag netlink_diag "
           "af_packet_diag").split()
TOOLS = ("/usr/bin/python3.11", "/usr/bin/strace", "/usr/bin/mount", "/usr/bin/umount", "/usr/bin/unshare",
         "/usr/sbin/criu", "/usr/bin/tar", "/usr/bin/ip")
SPEC = ["scheduling", "processors", "personality", "memory_policy", "id_mapped", "recursive", "asking", "block_io",
        "huge_pages", "processor_time", "unified", "unlimited"]
V2 = (("20-oci-isolation.py", []),
      ("20-oci-spec.py", SPEC),
      ("20-oci-life.py", ["life_cycle", "nothing_runs", "exit_codes", "delete", "kill_all", "exec", "console", "terminal",
                          "preserved", "hooks", "pausing", "updating", "events", "no_c", "checkpointing", "many"]),
      ("20-oci-cve.py", ["overwriting", "self_protection", "symlinked", "swapped", "release_agent", "replaced",
                         "redirected", "without_openat2"]),
      ("20-oci-refusals.py", ["host_objects", "known_", "without_controller"]),
      ("45-keeper-rcu.py", []))
# Without any v2 tree: what depends on the kind of cgroups.
V1 = (("20-oci-isolation.py", ["cgroup", "limits", "device", "cpu_sets", "small"]),
      ("20-oci-spec.py", ["block_io", "processor_time"]),
      ("20-oci-life.py", ["life_cycle", "kill_all", "delete", "exec_basic", "exec_places", "pausing", "updating",
                          "events"]),
      ("45-keeper-rcu.py", []))

if os.environ.get("VM_WHOLE"):  # every case of these files, for make check-vm
    V2, V1 = ([(name, []) for name, _ in tests] for tests in (V2, V1))

SUITE = """#!/bin/busybox sh
export PATH=/usr/bin:/bin:/usr/sbin BERTH_BUILD=/build RACES=RACE_COUNT STARTS=8 PYTHONDONTWRITEBYTECODE=1 HOME=/root
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


def suite():
    def lines(kind, tests):
        return "\n".join(f"echo kind {kind} {n}; python3.11 -B /tests/{n} {' '.join(a)}; echo exit $?" for n, a in tests)
    return (SUITE.replace("V2_TESTS", lines("v2", V2)).replace("V1_TESTS", lines("v1", V1))
            .replace("RACE_COUNT", os.environ.get("RACES", "5")))


def make_disk(work):
    root = work + "/root"
    for d in ("proc", "sys", "dev", "tmp", "run", "root", "tests"):
        os.makedirs(f"{root}/{d}")
    vmlab.add_busybox(root, "mount", "umount", "unshare", "ip")
    for tool in TOOLS:
        vmlab.add_program(root, need(tool))
    vmlab.add_python(root)
    for program, to in ((OCI, "berth-oci"), (KEEPER, "berth-keeper"), (PROBE, "tests/e2e/root/probe"),
                        (TOOL, "tests/e2e/tools/keeper")):
        vmlab.add_program(root, program, "/build/" + to)
    for name in {n for n, _ in V2 + V1} | {"oci.py", "keeperlab.py", "descriptors.py"}:
        shutil.copy(f"{HERE}/{name}", root + "/tests")
    vmlab.write(root, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
    vmlab.write(root, "etc/hostname", "vm\n")
    vmlab.write(root, "suite", suite(), 0o755)
    vmlab.make_disk(root, work + "/disk", DISK_MB)


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


def need(path):
    if not os.path.exists(path):
        raise Skip(f"{path} is not there")
    return path


def main():
    try:
        if os.geteuid() != 0:
            raise Skip("needs root")
        kernel, release = vmlab.kernel()
        for path in (OCI, KEEPER, PROBE, TOOL, BUSYBOX, vmlab.PYTHON, *TOOLS):
            need(path)
    except Skip as reason:
        print(f"skip vm: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="berth-vm-") as work:
        vmlab.make_disk_initrd(work, release, MODULES, "/suite")
        make_disk(work)
        tell(vmlab.run_disk(work, kernel, TIMEOUT_S, processors=2))


if __name__ == "__main__":
    main()
