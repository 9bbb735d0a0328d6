# tests/bench/image.py - pulling and unpacking, against podman, containerd, Docker and skopeo with umoci
# SPDX-License-Identifier: Apache-2.0
#
# One registry on loopback, every pull into an empty store on an ext4 that was
# made a moment ago (one that has deleted many files is slow for minutes, and
# unfairly so for who comes second), on a loop device that writes past this host's
# memory, as a disk does. Ours is on disk when it says so; the others leave that to
# the kernel, which is counted apart: "synced" has a sync in it. The floor is what
# nobody can leave out: download, the digest of the blob, inflating, the digest of
# the tar, for two layers at a time; that the manifest and the configuration are
# asked for before, one after the other, is left out of it, and counts in a small
# image. "disk alone" is the writing of as many bytes as the tars have. Best of
# ROUNDS; memory is that of the largest process of all; disk is what the store takes.
# Daemons are started before the clock, and so is what ours does when it starts: it
# finds out what the kernel can, and has the programs of the next pull loaded.
# "Delete and pull again" is the time that both take with the image of small files, on
# the file system that it was pulled to before. What punishes peers there is ext4 without
# a journal: it passes over inodes that were freed in the last minutes, one by one
# (recently_deleted() in the kernel's fs/ext4/ialloc.c, which is asked only where there is
# no journal). So that is the row to look at; with a journal peers are as fast as before.
# A daemon that is not installed is unpacked from Debian's package.
# ONE=busybox (debian, files, noise) is that image alone.

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

import berth
import imagelab as lab
import packages
import peers

ROUNDS = int(os.environ.get("ROUNDS", "3"))
ONE = os.environ.get("ONE", "")
LAYERS = [["usr/sbin", "usr/share/zoneinfo"], ["usr/lib/python3.11", "usr/share/perl", "usr/lib/x86_64-linux-gnu/perl"],
          ["usr/lib/python3"], ["usr/share/doc"]]


class Run:
    """Seconds of wall and processor, of wall with a sync behind, KiB of the largest process, MiB of disk."""

    def __init__(self, wall, cpu, synced, rss, disk):
        self.wall, self.cpu, self.synced, self.rss, self.disk = wall, cpu, synced, rss, disk

    def best(self, other):
        return Run(*map(min, vars(self).values(), vars(other).values())) if other else self


def rss_of(argv):
    """Under GNU time, whose children are waited for in turn: the largest of all."""
    return ["/usr/bin/time", "-f", "%M", "-o", "/proc/self/fd/2", *argv] if os.path.exists("/usr/bin/time") else argv


def timed(directory, *commands, ready_s=0, first=None):
    """One that is ready after so many seconds is told to begin, after 'first', and is done when it says so."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    rss = wall = 0
    for argv in commands:
        p = subprocess.Popen(rss_of(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
        if ready_s:
            time.sleep(ready_s)
            begin = time.monotonic()
            if first:
                berth.run(*first)
            p.stdin.write("\n")
            p.stdin.flush()
            while (line := p.stdout.readline()) and not line.startswith("0 done "):
                pass
            wall = time.monotonic() - begin
        said = p.communicate()[1]
        if p.returncode:
            raise AssertionError(f"{' '.join(argv)}: {said[-2000:]}")
        rss = max(rss, int((said.split() or ["0"])[-1]))
    wall = wall or time.monotonic() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    fd = os.open(directory, os.O_RDONLY)
    os.sync()
    os.close(fd)
    synced = time.monotonic() - begin
    disk = int(subprocess.run(["du", "-sxk", directory], stdout=subprocess.PIPE, text=True).stdout.split()[0]) / 1024
    return Run(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, synced, rss, disk)


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


def add_layer(layout, directory, fill):
    """A layer of what 'fill' puts into a tar."""
    path = os.path.join(directory, "layer.tar")
    with tarfile.open(path, "w") as t:
        fill(t)
    size = os.path.getsize(path)
    berth.run("umoci", "raw", "add-layer", "--image", layout + ":1", path, timeout=900)
    os.unlink(path)
    return size


def made_image(directory, name, fill):
    layout = os.path.join(directory, name)
    berth.run("umoci", "init", "--layout", layout)
    berth.run("umoci", "new", "--image", layout + ":1")
    return layout, add_layer(layout, directory, fill)


def small_files(t):
    """50,000 files in 5,000 directories, of text, like what npm installs."""
    import io
    r = random.Random(1)
    text = b"".join(open(os.path.join(base, f), "rb").read() for base, _, files in os.walk("/usr/lib/python3.11")
                    for f in sorted(files) if f.endswith(".py"))[:20 << 20]
    for d in range(5000):
        info = tarfile.TarInfo(f"node_modules/package-{d // 7}/lib-{d}")
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        t.addfile(info)
        for f in range(10):
            size = int(min(r.lognormvariate(8.2, 1.4), 400000))
            begin = r.randrange(len(text) - size)
            info = tarfile.TarInfo(f"node_modules/package-{d // 7}/lib-{d}/module-{f}.js")
            info.size = size
            t.addfile(info, io.BytesIO(text[begin:begin + size]))


def small_image(directory):
    return made_image(directory, "small", small_files)


def one_large_file(t):
    class Random:
        def read(self, size):
            return os.urandom(size)
    info = tarfile.TarInfo("data")
    info.size = 1 << 30
    t.addfile(info, Random())


# ---- who pulls: (reference, directory, whether it has been there already) ----

def ours(reference, directory, again):
    tool = [lab.TOOL, os.path.join(directory, "images"), lab.WORKER]
    if again:
        berth.run(*tool, "pull", reference)
        os.sync()
    return timed(directory, [*tool, "pull-when-told", reference], ready_s=0.5,
                 first=[*tool, "remove", reference] if again else None)


def podman(reference, directory, again):
    tool = ["podman", "--root", os.path.join(directory, "root"), "--runroot", os.path.join(directory, "run"),
            "--storage-driver", "overlay"]
    pull = [*tool, "pull", "-q", "--tls-verify=false", reference]
    return peers.pull_again(directory, [pull], [*tool, "rmi", reference], timed) if again else timed(directory, pull)


def skopeo(reference, directory, again):
    pull = ["skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", "docker://" + reference,
            f"oci:{directory}/layout:1"]
    return peers.pull_again(directory, [pull], ["rm", "-r", directory + "/layout"], timed) if again else \
        timed(directory, pull)


def skopeo_umoci(reference, directory, again):
    pull = [["skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", "docker://" + reference,
             f"oci:{directory}/layout:1"],
            ["umoci", "unpack", "--image", f"{directory}/layout:1", f"{directory}/bundle"]]
    remove = ["rm", "-r", directory + "/layout", directory + "/bundle"]
    return peers.pull_again(directory, pull, remove, timed) if again else timed(directory, *pull)


def blobs_of(reference):
    host, _, rest = reference.partition("/")
    name, _, tag = rest.rpartition(":")
    get = urllib.request.Request(f"http://{host}/v2/{name}/manifests/{tag}", headers={
        "Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"})
    manifest = json.load(urllib.request.urlopen(get))
    return [f"http://{host}/v2/{name}/blobs/{layer['digest']}" for layer in manifest["layers"]]


def floor(reference, directory, _):
    """Two layers at a time, to nowhere."""
    left, failures = blobs_of(reference), []

    def work():
        while left and not failures:
            url = left.pop(0)
            curl = subprocess.Popen(["curl", "-s", url], stdout=subprocess.PIPE)
            if subprocess.run([lab.TOOL, "-", "-", "floor"], stdin=curl.stdout, stdout=subprocess.DEVNULL).returncode or \
                    curl.wait():
                failures.append(url)
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures
    wall, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall, 0, 0)


def disk_alone(total):
    """As many bytes as the tars have, past the memory, and synced: what only who unpacks has to wait for."""
    def write(_reference, directory, _again):
        return timed(directory, ["dd", "if=/dev/zero", f"of={directory}/x", "bs=1M", f"count={max(total >> 20, 1)}",
                                 "oflag=direct", "conv=fdatasync"])
    return write


PEERS = [("floor", floor, "curl"), ("berth", ours, None), ("podman", podman, "podman"),
         ("containerd", lambda *of: peers.containerd(*of, timed), "ctr"),
         ("docker", lambda *of: peers.docker(*of, timed), "dockerd"),
         ("skopeo+umoci", skopeo_umoci, "umoci"), ("skopeo, no unpacking", skopeo, "skopeo")]


def measure(name, reference, total, again=False, mkfs=""):
    best, skipped = {}, {}
    everybody = PEERS[1:] if again else [("disk alone", disk_alone(total), None), *PEERS]
    for _ in range(ROUNDS):
        for peer, pull, program in everybody:
            if program and not shutil.which(program):
                skipped[peer] = f"{program} is not installed"
            if peer in skipped:
                continue
            disk = lab.FileSystem("ext4", "8g", "-m0 -E lazy_itable_init=0,lazy_journal_init=0 " + mkfs)
            with disk as directory:
                disk.be_a_disk()
                try:
                    best[peer] = pull(reference, directory, again).best(best.get(peer))
                except berth.Skip as reason:
                    skipped[peer] = str(reason)
    what = f"image {'delete and pull again' if again else 'pull'} {name}"
    for peer, reason in skipped.items():
        print(f"{what} {peer}: skipped: {reason}", flush=True)
    mine = best["berth"]
    for peer, run in best.items():
        print(f"{what} {peer}: {run.wall:.2f} s, {run.synced:.2f} synced, {run.cpu:.2f} of processor, "
              f"{run.rss >> 10} MB, {run.disk:.0f} MB of disk; berth's time is {mine.wall / run.wall:.2f} of it, "
              f"synced {mine.synced / run.synced:.2f}", flush=True)


def measure_root(reference):
    """A further root of an image that is held, as the agent makes one; without what waits ready."""
    with lab.Store() as store:
        store.pull(reference)
        out = store.tool("roots", reference, os.path.join(os.path.dirname(store.dir), "scratch"), "500")
        print(f"image root of a held image: {out.text.strip()}", flush=True)


def find_form(directory):
    words = berth.run(lab.TOOL, os.path.join(directory, "images"), lab.WORKER, "form").stdout.split(":")
    os.environ["FORM"] = words[0].strip()


def find_docker():
    try:
        os.environ["PATH"] = packages.path_with("docker.io", "dockerd", "docker")
    except packages.Missing:
        pass  # its rows are skipped


def main(build):
    lab.private_mounts()
    lab.TOOL, lab.WORKER = os.path.join(build, "tests/e2e/tools/image_tool"), os.path.join(build, "berth-worker")
    directory = lab.scratch("b")
    try:
        find_docker()
        find_form(directory)
        with berth.Registry() as registry:
            reference = registry.demo()
            measure_root(reference)
            if ONE in ("", "busybox"):
                measure("busybox", reference, 2 << 20)
            for tag, make in (("debian", large_image),
                              ("50,000 files", small_image),
                              ("1 GB of noise", lambda d: made_image(d, "noise", one_large_file))):
                if ONE not in tag:
                    continue
                layout, total = make(directory)
                reference = registry.push(layout + ":1", f"i{abs(hash(tag)) % 9999}:1")
                shutil.rmtree(layout)
                measure(f"{tag} ({total >> 20} MB of tar)", reference, total)
                if make is small_image:
                    for ext4, mkfs in (("without a journal", "-O ^has_journal"), ("with a journal", "")):
                        measure(f"{tag}, ext4 {ext4}", reference, total, again=True, mkfs=mkfs)
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else berth.BUILD))
