#!/usr/bin/env python3
# tests/run.py - runs every suite and counts; the last line is the verdict
# SPDX-License-Identifier: Apache-2.0
#
# A suite is a program that prints one line for each case. Unit tests are
# cmocka's, end-to-end files print "ok NAME", "not ok NAME" or
# "skip NAME: REASON". What a suite printed is shown only when something in it
# failed; skips are shown always, with their reason.

import argparse
import concurrent.futures
import contextlib
import glob
import os
import re
import subprocess
import sys
import time

SEEDS = 20  # of the simulation; make sim SEEDS=N runs more
SEEDS_OF_LIARS = 6
# One after the other beside the rest: what they do is in virtual machines, and in a network and mounts of their own.
BESIDE = ("25-oci-vm.py", "34-image-old-kernel.py", "36-image-power.py", "43-net-vm.py", "56-storage.py", "58-vms.py",
          "95-systemd-vm.py")

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Counts:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, name, passed, failed, skips, output, seconds):
        self.passed += passed
        self.failed += failed
        self.skipped += len(skips)
        mark = "FAIL" if failed else "ok"
        print(f"{mark:5} {name}: {passed} passed, {failed} failed, {len(skips)} skipped ({seconds:.1f} s)")
        for skip in skips:
            print(f"      skipped {skip}")
        if failed:
            print(output.rstrip())
        sys.stdout.flush()


def run(argv, timeout, env=None):
    start = time.monotonic()
    try:
        p = subprocess.run(argv, cwd=TOP, env=env, timeout=timeout, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        code, out = p.returncode, p.stdout
    except subprocess.TimeoutExpired as e:
        code, out = 124, (e.stdout or b"") + f"\nended after {timeout} s\n".encode()
    return code, out.decode(errors="replace"), time.monotonic() - start


def lint(counts, build):
    code, out, seconds = run([sys.executable, "tests/lint/lint.py"], 600)
    passed = len(re.findall(r"^ok ", out, re.M))
    failed = len(re.findall(r"^not ok ", out, re.M)) or (1 if code else 0)
    counts.add("lint", passed, failed, re.findall(r"^skip (.*)$", out, re.M), out, seconds)


def unit(counts, build, program):
    code, out, seconds = run([program], 120)
    passed = len(re.findall(r"^\[       OK \]", out, re.M))
    failed = len(set(re.findall(r"^\[  FAILED  \] (\w+)$", out, re.M)))
    skips = re.findall(r"^\[  SKIPPED \] (\w+)$", out, re.M)
    if code and not failed:
        failed = 1
    counts.add(os.path.relpath(program, build), passed, failed, skips, out, seconds)


def fuzz(counts, build, program):
    corpus = os.path.join("tests/fuzz/corpus", os.path.basename(program))
    inputs = sorted(glob.glob(os.path.join(TOP, corpus, "*")))
    code, out, seconds = run([program] + inputs, 300)
    name = f"fuzz {os.path.basename(program)} ({len(inputs)} inputs)"
    ok = code == 0 and inputs
    if not inputs:
        out += f"no corpus in {corpus}\n"
    counts.add(name, 1 if ok else 0, 0 if ok else 1, [], out, seconds)


def sim(counts, build, seeds):
    code, out, seconds = run([os.path.join(build, "tests/sim/sim"), str(seeds)], 600)
    counts.add(f"sim ({out.rstrip().split(chr(10))[-1]})" if not code else "sim", 0 if code else seeds, 1 if code else 0,
               [], out[-8000:], seconds)


def sim_notices(counts, build, seeds):
    """With disks whose syncs do nothing seeds must fail: else the simulator would notice nothing."""
    env = dict(os.environ, LIES="1", DISK="1")
    code, out, seconds = run([os.path.join(build, "tests/sim/sim"), str(seeds)], 600, env)
    ok = code == 1 and "BROKEN" in out
    counts.add("sim notices what a disk loses", int(ok), int(not ok), [], out[-8000:], seconds)


def run_e2e(build, script, inside=()):
    env = dict(os.environ, BERTH_BUILD=os.path.abspath(build))
    return run([*inside, sys.executable, script], int(os.environ.get("E2E_TIMEOUT", "1200")), env)


@contextlib.contextmanager
def place_beside():
    """Words that run a command where the host's network and mounts are not seen, nor it by those who look at them."""
    with subprocess.Popen(["unshare", "--net", "--mount", "sh", "-c", "ip link set lo up && echo up && read end"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        if holder.stdout.readline() != b"up\n":
            raise SystemExit("tests/e2e: no network and mounts of their own; they run as root")
        os.environ["MOUNTS_BESIDE"] = os.readlink(f"/proc/{holder.pid}/ns/mnt")  # whose processes a census leaves out
        yield "nsenter", f"--net=/proc/{holder.pid}/ns/net", f"--mount=/proc/{holder.pid}/ns/mnt", "--wd=" + TOP


def count_e2e(counts, script, result):
    code, out, seconds = result
    passed = len(re.findall(r"^ok ", out, re.M))
    failed = len(re.findall(r"^not ok ", out, re.M))
    skips = re.findall(r"^skip (.*)$", out, re.M)
    if code and not failed or not (passed or failed or skips):
        failed += 1
    counts.add(os.path.relpath(script, TOP), passed, failed, skips, out, seconds)


def e2e(counts, build, scripts):
    with place_beside() as inside, concurrent.futures.ThreadPoolExecutor(1) as lane:
        debian = lane.submit(run, [sys.executable, "tests/e2e/vmlab.py"], 1200)  # fetched by the host's network
        beside = {s: lane.submit(run_e2e, build, s, inside) for s in scripts if os.path.basename(s) in BESIDE}
        for script in scripts:
            if script not in beside:
                count_e2e(counts, script, run_e2e(build, script))
        code, out, seconds = debian.result()
        if code:
            counts.add("Debian for virtual machines", 0, 1, [], out, seconds)
        for script, result in beside.items():
            count_e2e(counts, script, result.result())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--san", action="store_true")
    parser.add_argument("only", nargs="*", help="parts of names: unit, fuzz, lint, e2e, 10-api ...")
    args = parser.parse_args()
    wanted = lambda name: not args.only or any(o in name for o in args.only)
    counts = Counts()

    os.environ["ASAN_OPTIONS"] = "abort_on_error=1:detect_leaks=1"
    if wanted("lint") and not args.san:
        lint(counts, args.build)
    for source in sorted(glob.glob("tests/unit/*/*.c")):
        if wanted(source):
            unit(counts, args.build, os.path.join(args.build, source[:-2]))
    for source in sorted(glob.glob("tests/fuzz/*.c")):
        if wanted(source):
            fuzz(counts, args.build, os.path.join(args.build, source[:-2]))
    if wanted("tests/sim"):
        sim(counts, args.build, SEEDS)
        sim_notices(counts, args.build, SEEDS_OF_LIARS)
    scripts = [s for s in sorted(glob.glob("tests/e2e/[0-9]*.py")) if wanted(s)]
    if scripts:
        e2e(counts, args.build, scripts)

    print(f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped")
    return 1 if counts.failed or not counts.passed else 0


if __name__ == "__main__":
    sys.exit(main())
