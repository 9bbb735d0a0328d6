# tests/bench/image.py - pulling and unpacking, against podman and skopeo with umoci
# SPDX-License-Identifier: Apache-2.0
#
# One registry on loopback, every pull into an empty store on an ext4 that was
# made a moment ago (one that has deleted many files is slow for minutes, and
# unfairly so for who comes second). Ours is on disk when it says so; the others
# leave that to the kernel. Wall and processor time, the best of ROUNDS.

import os
import resource
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

import berth
import imagelab as lab

ROUNDS = int(os.environ.get("ROUNDS", "3"))
LAYERS = [["usr/sbin", "usr/share/zoneinfo"], ["usr/lib/python3.11", "usr/share/perl", "usr/lib/x86_64-linux-gnu/perl"],
          ["usr/lib/python3"], ["usr/share/doc"]]


def timed(*argv, **env):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, **env))
    wall = time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if p.returncode:
        raise AssertionError(f"{' '.join(argv)}: {p.stdout[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def large_image(directory):
    """Layers of this host's own files, gzip at 6, as an OCI layout by umoci."""
    layout = os.path.join(directory, "large")
    berth.run("umoci", "init", "--layout", layout)
    berth.run("umoci", "new", "--image", layout + ":1")
    total = 0
    for paths in LAYERS:
        tar = os.path.join(directory, "layer.tar")
        berth.run("tar", "-C", "/", "--numeric-owner", "-cf", tar, *[p for p in paths if os.path.isdir("/" + p)],
                  timeout=600)
        total += os.path.getsize(tar)
        berth.run("umoci", "raw", "add-layer", "--image", layout + ":1", tar, timeout=600)
        os.unlink(tar)
    return layout, total


def ours(reference, directory):
    return timed(lab.TOOL, os.path.join(directory, "images"), lab.WORKER, "pull", reference)


def podman(reference, directory):
    return timed("podman", "--root", os.path.join(directory, "root"), "--runroot", os.path.join(directory, "run"),
                 "--storage-driver", "overlay", "pull", "-q", "--tls-verify=false", reference)


def skopeo_umoci(reference, directory):
    copy = timed("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", "docker://" + reference,
                 f"oci:{directory}/layout:1")
    unpack = timed("umoci", "unpack", "--image", f"{directory}/layout:1", f"{directory}/bundle")
    return copy[0] + unpack[0], copy[1] + unpack[1]


def measure(name, reference):
    peers = [("berth", ours), ("podman", podman), ("skopeo+umoci", skopeo_umoci)]
    best = {}
    for _ in range(ROUNDS):
        for peer, pull in peers:
            if peer != "berth" and not shutil.which(peer.split("+")[0]):
                continue
            with lab.FileSystem("ext4", "8g", "-m0 -E lazy_itable_init=0,lazy_journal_init=0") as directory:
                wall, cpu = pull(reference, directory)
                old = best.get(peer, (1e9, 1e9))
                best[peer] = (min(wall, old[0]), min(cpu, old[1]))
    for peer, (wall, cpu) in best.items():
        print(f"image pull {name} {peer}: {wall:.2f} s, {cpu:.2f} s of processor, "
              f"{best['berth'][0] / wall:.2f} of it is ours")


def main(build):
    lab.private_mounts()
    lab.TOOL, lab.WORKER = os.path.join(build, "tests/e2e/tools/image_tool"), os.path.join(build, "berth-worker")
    directory = lab.scratch("b")
    try:
        with berth.Registry() as registry:
            measure("demo", registry.demo())
            layout, total = large_image(directory)
            reference = registry.push(layout + ":1", "large:1")
            shutil.rmtree(layout)
            measure(f"{len(LAYERS)} layers, {total >> 20} MB of tar", reference)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else berth.BUILD))
