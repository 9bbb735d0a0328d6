#!/usr/bin/python3
# tests/bench/run.py - runs the benchmarks and prints their tables
# SPDX-License-Identifier: Apache-2.0
#
# Each file beside this one has main(build), which measures ours and its peers in
# the same minute and prints ratios. Nothing passes or fails here.

import argparse
import glob
import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("only", nargs="*", help="names: oci, tasks, net, image")
    args = parser.parse_args()
    os.environ["BERTH_BUILD"] = os.path.abspath(args.build)
    sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "e2e")]
    for path in sorted(glob.glob(os.path.join(HERE, "*.py"))):
        name = os.path.basename(path)[:-3]
        if name in ("run", "measure") or (args.only and name not in args.only):
            continue
        print(f"== {name}", flush=True)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main(os.path.abspath(args.build))
        print(flush=True)


if __name__ == "__main__":
    main()
