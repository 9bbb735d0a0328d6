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
    os.mkdir(work + "/usr")
    for directory in ("bin", "sbin", "lib", "lib64"):
        os.makedirs(f"{work}/usr/{directory}", exist_ok=True)
        os.symlink("usr/" + directory, f"{work}/{directory}")
    p = subprocess.run(["apt-get", "-qq", "-y", "-o", "APT::Sandbox::User=root", "-o", f"Dir::Cache::archives={work}/debs",
                        "--no-install-recommends", "--download-only", "--reinstall", "install", *names],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       timeout=TIME)
    debs = glob.glob(work + "/debs/*.deb")
    if p.returncode or not debs:
        shutil.rmtree(work)
        raise Missing(f"{' '.join(names)} cannot be had from apt: {p.stdout.strip()[-200:]}")
    for deb in debs:
        tar = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", work, "--keep-directory-symlink"], stdin=tar.stdout, check=True,
                       timeout=TIME)
        tar.stdout.close()
        assert tar.wait() == 0, deb
    shutil.rmtree(work + "/debs")
    os.rename(work, tree)
    return tree
