# tests/e2e/packages.py - programs of Debian's packages, where installing them would start services
# SPDX-License-Identifier: Apache-2.0

import glob
import os
import shutil
import subprocess

PLACE = os.path.join(os.path.dirname(os.path.abspath(os.environ.get("BERTH_BUILD", "build/release"))), "packages")
TIME = 600  # s, to get and unpack them


class Missing(Exception):
    """apt does not have them here."""


def unpack(archives, tree):
    """Into a tree of their own, with a merged /usr, and without what only people read."""
    for name in ("bin", "sbin", "lib", "lib64"):
        os.makedirs(f"{tree}/usr/{name}")
        os.symlink("usr/" + name, f"{tree}/{name}")
    for archive in archives:
        data = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", tree, "--keep-directory-symlink"]
                       + [f"--exclude=./usr/share/{d}" for d in ("doc", "man", "locale", "i18n", "info", "lintian")]
                       + ["--exclude=./usr/lib/udev/hwdb.d"], stdin=data.stdout, check=True, timeout=TIME)
        data.stdout.close()
        if data.wait():
            raise AssertionError(f"dpkg-deb {archive}: {data.returncode}")


def unpacked(*names):
    """The root of a tree with these packages and all of their dependencies that the host has not.

    Nothing of it runs but what the caller starts: no maintainer's script, no unit.  It is kept
    below build/ for the next run.
    """
    tree = os.path.join(PLACE, "+".join(names))
    if os.path.exists(tree):
        return tree
    work = tree + ".new"
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work + "/debs/partial")
    p = subprocess.run(["apt-get", "-qq", "-y", "-o", "APT::Sandbox::User=root", "-o", f"Dir::Cache::archives={work}/debs",
                        "--no-install-recommends", "--download-only", "--reinstall", "install", *names],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       timeout=TIME)
    debs = glob.glob(work + "/debs/*.deb")
    if p.returncode or not debs:
        shutil.rmtree(work)
        raise Missing(f"{' '.join(names)} cannot be had from apt: {p.stdout.strip()[-200:]}")
    unpack(debs, work)
    shutil.rmtree(work + "/debs")
    os.rename(work, tree)
    return tree


def path_with(package, *programs):
    """A PATH that has these programs: the host's, or one that begins with the unpacked package."""
    if all(shutil.which(program) for program in programs):
        return os.environ["PATH"]
    tree = unpacked(package)
    return f"{tree}/usr/sbin:{tree}/usr/bin:" + os.environ["PATH"]
