#!/usr/bin/python3
# tests/e2e/43-net-vm.py - networks of several hosts, flow logs and shortcuts on Debian's own kernel, which has WireGuard
# SPDX-License-Identifier: Apache-2.0
#
# A QEMU machine boots Debian's cloud kernel from a disk that holds a busybox,
# Python, the net module's tool and tests, and tells by its serial port.

import os
import re
import shutil
import tempfile

import vmlab
from berth import BUILD, Skip

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT_S = int(os.environ.get("VM_TIMEOUT", "900"))
DISK_MB = 160
MODULES = ("virtio_pci virtio_blk nf_tables nft_fib_inet nft_ct nft_nat nft_masq nft_chain_nat nft_limit nft_log "
           "nfnetlink_log nf_log_syslog nf_conntrack_netlink veth vxlan wireguard bridge 8021q sch_ingress cls_bpf").split()
TOOLS = ("/usr/bin/python3.11", "/usr/bin/nsenter", "/usr/bin/unshare", "/usr/bin/mount", "/usr/bin/ip",
         "/usr/sbin/bridge", "/usr/sbin/nft", "/usr/sbin/tc")
TESTS = (("43-net-wireguard.py", []),
         ("43-net-trunk.py", []),
         ("44-net-flow.py", []),
         ("44-net-shortcut.py", ["busy_flow", "counters", "frame"]),
         ("43-net-hosts.py", ["share_a_link", "fits", "peers_only", "claim"]))
SUITE = """#!/bin/busybox sh
export PATH=/usr/bin:/bin:/usr/sbin BERTH_BUILD=/build PYTHONDONTWRITEBYTECODE=1 HOME=/root
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
exec < /dev/null > /dev/ttyS0 2>&1
mount -t tmpfs tmpfs /tmp; mount -t tmpfs tmpfs /run
ip link set lo up
echo "kernel $(uname -r)"
TESTS
echo finished
reboot -f
"""


def make_disk(work):
    root = work + "/root"
    for d in ("proc", "sys", "dev", "tmp", "run", "root", "tests"):
        os.makedirs(f"{root}/{d}")
    vmlab.add_busybox(root, "mount", "unshare", "nsenter", "ip", "tc")
    for tool in TOOLS:
        if not os.path.exists(tool):
            raise Skip(f"{tool} is not installed")
        vmlab.add_program(root, tool)
    os.unlink(root + "/bin/sh")  # busybox's would take its own ip
    vmlab.add_program(root, "/usr/bin/dash", "/bin/sh")
    vmlab.add_python(root)
    vmlab.add_program(root, os.path.join(BUILD, "tests/e2e/tools/net"), "/build/tests/e2e/tools/net")
    for name in [n for n, _ in TESTS] + ["netlab.py", "descriptors.py"]:
        shutil.copy(f"{HERE}/{name}", root + "/tests")
    vmlab.write(root, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
    lines = "\n".join(f"echo running {n}; python3.11 -B /tests/{n} {' '.join(a)}; echo exit $?" for n, a in TESTS)
    vmlab.write(root, "suite", SUITE.replace("TESTS", lines), 0o755)
    vmlab.make_disk(root, work + "/disk", DISK_MB)


def tell(log):
    test = "boot"
    for line in log.split("\n"):
        m = re.match(r"running (\S+)\.py", line)
        test = m.group(1) if m else test
        m = re.match(r"(ok|not ok|skip) (.*)", line)
        if m:
            print(f"{m.group(1)} vm {test}: {m.group(2)}")
        elif re.match(r"exit [1-9]", line) or line.startswith(("  ", "Assert", "Trace")):
            print(f"  {line}")
    print("ok vm ran to its end" if "\nfinished" in log else f"not ok vm ran to its end\n{log[-2000:]}")


if __name__ == "__main__":
    try:
        kernel, release = vmlab.kernel()
        with tempfile.TemporaryDirectory(prefix="berth-vm-") as work:
            vmlab.make_disk_initrd(work, release, MODULES, "/suite")
            make_disk(work)
            tell(vmlab.run_disk(work, kernel, TIMEOUT_S))
    except Skip as reason:
        print(f"skip 43-net-vm: {reason}")
