#!/usr/bin/env python3
# tests/e2e/33-rootfs.py - layers become roots
# SPDX-License-Identifier: Apache-2.0

import os
import stat
import subprocess

import berth
import imagelab as lab
from berth import contains, equal


class Place:
    """A directory with layers, a scratch and a target on some file system."""

    def __init__(self, fs=None):
        self.fs = fs
        self.mounted = 0

    def __enter__(self):
        self.dir = self.fs.__enter__() if self.fs else lab.scratch("p")
        self.target = os.path.join(self.dir, "target")
        self.scratch = os.path.join(self.dir, "scratch")
        os.mkdir(self.target)
        return self

    def layer(self, name, **files):
        """A layer with these files; None is a whiteout, a dict a directory, "opaque" in it marks it."""
        path = os.path.join(self.dir, name)
        os.mkdir(path)
        self.fill(path, files)
        return path

    def fill(self, path, files):
        for name, content in files.items():
            below = os.path.join(path, name)
            if name == "opaque":
                try:
                    os.setxattr(path, "user.overlay.opaque", b"y")
                except OSError:
                    os.setxattr(path, "trusted.overlay.opaque", b"y")
            elif content is None:
                os.mknod(below, stat.S_IFCHR, 0)
            elif isinstance(content, dict):
                os.mkdir(below)
                self.fill(below, content)
            else:
                with open(below, "w") as f:
                    f.write(content)

    def mount(self, *layers, how=(), check=True):
        p = subprocess.run([lab.TOOL, "-", "-", "root", self.scratch, self.target, *how, *layers],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if check and p.returncode:
            raise AssertionError(p.stdout)
        self.mounted += p.returncode == 0
        return p.stdout

    def umount(self):
        berth.run("umount", self.target)
        self.mounted -= 1

    def read(self, path):
        with open(os.path.join(self.target, path)) as f:
            return f.read()

    def list(self, path=""):
        return sorted(os.listdir(os.path.join(self.target, path)))

    def __exit__(self, *_):
        while self.mounted:
            self.umount()
        if self.fs:
            self.fs.__exit__()
        else:
            berth.run("rm", "-rf", self.dir)


def check_root(place):
    """Merging, whiteouts, opaque directories, writing, and writing again after a new mount."""
    low = place.layer("low", a="low", gone="x", d={"x": "1", "y": "1"}, o={"hidden": "x"}, both={"l": "l"})
    mid = place.layer("mid", a="mid", gone=None, d={"x": None}, o={"opaque": 1, "shown": "y"}, both={"m": "m"})
    top = place.layer("top", t="top", both={"h": "h"})
    os.chmod(top, 0o1755)
    os.chown(top, 7, 8)
    place.mount(low, mid, top)
    equal(place.list(), ["a", "both", "d", "o", "t"])
    equal(place.read("a"), "mid")
    equal(place.list("d"), ["y"])
    equal(place.list("o"), ["shown"])
    equal(place.list("both"), ["h", "l", "m"])
    st = os.stat(place.target)
    equal((stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid), (0o1755, 7, 8))
    with open(os.path.join(place.target, "new"), "w") as f:
        f.write("n")
    os.unlink(os.path.join(place.target, "t"))
    berth.run("rm", "-r", os.path.join(place.target, "d"))
    os.mkdir(os.path.join(place.target, "d"))
    equal(place.list("d"), [])
    place.umount()
    place.mount(low, mid, top)
    equal(place.list(), ["a", "both", "d", "new", "o"])
    equal(place.list("d"), [])
    equal(sorted(os.listdir(top)), ["both", "t"])


def test_a_root_on_the_file_system_here():
    with Place() as place:
        check_root(place)


def test_a_root_on_each_kind_of_file_system():
    for kind, size in (("tmpfs", "32m"), ("ext4", "32m"), ("xfs", "320m"), ("btrfs", "128m")):
        try:
            with Place(lab.FileSystem(kind, size)) as place:
                check_root(place)
        except berth.Skip as reason:
            print(f"  {reason}")
        except AssertionError as error:
            raise AssertionError(f"{kind}: {error}") from None


def test_what_lies_below_an_opaque_root_is_not_seen():
    with Place() as place:
        layers = [place.layer("low", a="low"), place.layer("mid", opaque=1, b="mid"), place.layer("top", c="top")]
        place.mount(*layers)
        equal(place.list(), ["b", "c"])


def test_128_layers():
    with Place() as place:
        layers = [place.layer(f"{'long-name-' * 20}{i}", **{f"f{i}": str(i), "same": str(i)}) for i in range(128)]
        place.mount(*layers)
        equal(len(place.list()), 129)
        equal(place.read("same"), "127")
        place.umount()
        contains(place.mount(*layers, layers[0], check=False), "129 layers: 1 to 128 make a root")


def test_paths_may_have_any_character():
    with Place() as place:
        place.scratch = os.path.join(place.dir, "s:c,r\\a tch")
        layers = [place.layer("a:b,c\\d=e f", a="1"), place.layer("lowerdir=x", b="2")]
        place.mount(*layers)
        equal(place.list(), ["a", "b"])


def test_a_read_only_root():
    with Place() as place:
        place.mount(place.layer("low", a="1"), how=["ro"])
        equal(place.read("a"), "1")
        p = berth.run("touch", os.path.join(place.target, "x"), check=False)
        contains(p.stderr, "Read-only file system")


def test_a_volatile_scratch_is_good_until_the_host_restarts():
    with Place() as place:
        low = place.layer("low", a="1")
        place.mount(low, how=["volatile"])
        contains(open("/proc/self/mountinfo").read(), "volatile")
        with open(os.path.join(place.target, "new"), "w") as f:
            f.write("n")
        place.umount()
        place.mount(low, how=["volatile"])
        equal(place.list(), ["a", "new"])
        place.umount()
        contains(place.mount(low, check=False), "it was mounted volatile before")
        with open(os.path.join(place.scratch, "boot"), "w") as f:
            f.write("another\n")
        contains(place.mount(low, how=["volatile"], check=False), "not synced before the host restarted")


def test_a_scratch_on_an_overlay_is_refused_clearly():
    with Place() as place:
        low = place.layer("low", a="1")
        place.mount(low)
        outer, place.scratch = place.target, os.path.join(place.target, "scratch")
        place.target = os.path.join(place.dir, "inner")
        os.mkdir(place.target)
        out = place.mount(low, check=False)
        place.target = outer
        assert out.startswith("error ") and "overlay" in out, out


def test_a_root_shows_no_path_of_the_host():
    with Place() as place:
        place.mount(place.layer("low", a="1"))
        line = [l for l in open("/proc/self/mountinfo") if f" {place.target} " in l][0]
        assert place.dir not in line.split(" - ")[1], line


def test_layers_are_not_changed_and_the_mount_goes_with_its_last_user():
    with Place() as place:
        low = place.layer("low", a="1", d={"x": "1"})
        before = lab.tree(low)
        place.mount(low)
        berth.run("rm", "-rf", os.path.join(place.target, "d"), os.path.join(place.target, "a"))
        with open(os.path.join(place.target, "a"), "w") as f:
            f.write("2")
        place.umount()
        lab.same_trees(lab.tree(low), before)
        berth.run("rm", "-rf", place.scratch)  # nothing holds it


if __name__ == "__main__":
    lab.private_mounts()
    berth.main()
