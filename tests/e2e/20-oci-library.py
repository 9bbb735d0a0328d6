#!/usr/bin/env python3
# tests/e2e/20-oci-library.py - the runtime as a library, in the way of the node agent
# SPDX-License-Identifier: Apache-2.0

import os
import subprocess
import sys

from oci import *

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def library(h):
    """A keeper's workers create, start, exec and delete; the keeper reaps; its cgroup has the limits"""
    if not shutil.which("gcc"):
        raise Skip("gcc is not installed")
    program = os.path.join(h.dir, "keeper")
    build = os.path.abspath(BUILD)
    san = ["-fsanitize=address,undefined"] if build.endswith("san") else []
    p = subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-I.", "-include", "base/banned.h", "-o", program,
                        "tests/e2e/lib/keeper.c", f"{build}/libruntime.a", f"{build}/libbase.a", *san,
                        "-lcap", "-ljansson"], cwd=TOP, stderr=subprocess.PIPE, text=True)
    equal(p.returncode, 0, p.stderr)
    with h.bundle() as b, h.bundle() as eater:
        parent = f"{h.cgroup}/task"
        b.config["linux"]["cgroupsPath"] = f"{parent}/lib"
        b.config["root"]["path"] = "/nowhere"
        b.config["hostname"] = "lib"
        b.args("/bin/probe", "signal")
        eater.config["linux"]["cgroupsPath"] = f"{parent}/eat"
        eater.args("/bin/probe", "eat", str(100 << 20))
        p = subprocess.run([program, h.root, b.path, eater.path, h.rootfs, parent], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        expect(p.returncode == 0 and p.stdout.strip().endswith("all held"), p.stdout)
    for root in set(cgroup_roots().values()):
        expect(not os.path.exists(root + parent), root + parent)
        os.rmdir(root + h.cgroup)


sys.exit(main([library]))
