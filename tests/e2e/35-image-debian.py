#!/usr/bin/env python3
# tests/e2e/35-image-debian.py - images of Debian's packages are shown as umoci unpacks them, entry by entry
# SPDX-License-Identifier: Apache-2.0
#
# A package's own tar is a layer. What maintainer scripts would do comes above as
# GNU tar writes it (file capabilities, attributes, ACLs, devices, holes), and above
# that what umoci makes of changes to the tree. make check-long compares all sets.

import os
import shutil
import stat
import struct
import subprocess
import tempfile

import berth
import imagelab as lab
import packages
from berth import equal

NOBODY = 0xffffffff
# Its owner rwx, the user 33 rwx, its group and others r-x.
ACL = struct.pack("<I" + "HHI" * 5, 2, 1, 7, NOBODY, 2, 7, 33, 4, 5, NOBODY, 16, 7, NOBODY, 32, 5, NOBODY)
SMALL = "base-files base-passwd dash login passwd mount iputils-ping sudo perl-base tzdata".split()
LARGE = {
    "python": "python3.11 python3.11-minimal libpython3.11-stdlib libpython3.11-minimal python3-minimal media-types".split(),
    "git": "git git-man liberror-perl less".split(),
    "web": "nginx nginx-common apache2-bin apache2-data libapache2-mod-php8.2 php8.2-common".split(),
    "database": "postgresql-15 postgresql-client-15 postgresql-common mariadb-common redis-tools".split(),
    "systemd": "systemd udev dbus kmod util-linux util-linux-extra bsdutils e2fsprogs".split(),
    "compiler": "gcc-12 cpp-12 libgcc-12-dev libc6-dev linux-libc-dev binutils-common".split(),
    "games": "bsdgames at cron screen man-db fortune-mod".split(),  # setgid, sticky
    "text": "vim-runtime locales perl-modules-5.36 tzdata-legacy unicode-data".split(),
}
SETS = dict({"small": SMALL}, **(LARGE if "RACES" in os.environ else {}))


def archives(names):
    """Debian's packages, kept for the next run; those that the mirror has."""
    directory = os.path.join(packages.PLACE, "debs")
    os.makedirs(directory, exist_ok=True)
    found = []
    for name in names:
        held = [n for n in os.listdir(directory) if n.startswith(name + "_")]
        if not held:
            subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name], cwd=directory,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
            held = [n for n in os.listdir(directory) if n.startswith(name + "_")]
        found += [os.path.join(directory, n) for n in held[:1]]
    if not found:
        raise berth.Skip("apt has none of the packages")
    return found


def tools():
    for name in ("umoci", "skopeo", "setcap", "dpkg-deb"):
        if not shutil.which(name):
            raise berth.Skip(f"{name} is not installed")


class Layout:
    """An OCI layout that umoci makes."""

    def __init__(self, directory):
        self.dir = directory
        self.path = os.path.join(directory, "layout")
        self.bundle = os.path.join(directory, "bundle")
        self.image = self.path + ":1"
        berth.run("umoci", "init", "--layout", self.path)
        berth.run("umoci", "new", "--image", self.image)

    def add_tar(self, write):
        """A layer: what a command writes to the file that it is given."""
        path = os.path.join(self.dir, "tar")
        write(path)
        berth.run("umoci", "raw", "add-layer", "--image", self.image, path)
        os.unlink(path)

    def change(self, how):
        """Another layer, of what becomes of the tree."""
        berth.run("umoci", "unpack", "--image", self.image, self.bundle)
        how(os.path.join(self.bundle, "rootfs"))
        berth.run("umoci", "repack", "--image", self.image, self.bundle)
        shutil.rmtree(self.bundle)


def write_package(deb):
    def write(path):
        with open(path, "wb") as out:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], stdout=out, check=True)
    return write


def set_up(root):
    """As maintainer scripts and people do."""
    for name in ("bin", "dev", "srv/data", "var/spool/mail", "etc"):
        os.makedirs(os.path.join(root, name), exist_ok=True)

    def at(name):
        return os.path.join(root, name)
    for name in ("bin/tool", "bin/other"):
        with open(at(name), "wb") as f:
            f.write(os.urandom(3000))
        os.chmod(at(name), 0o755)
    berth.run("setcap", "cap_net_raw,cap_net_admin=ep", at("bin/tool"))
    berth.run("setcap", "-n", "100000", "cap_net_bind_service=ep", at("bin/other"))  # of a user namespace
    os.setxattr(at("srv/data"), "user.comment", b"of a directory")
    os.setxattr(at("srv/data"), "trusted.note", b"\0\xff binary")
    os.setxattr(at("bin/other"), "system.posix_acl_access", ACL)
    for name, kind, number in (("null", stat.S_IFCHR, (1, 3)), ("sda", stat.S_IFBLK, (8, 0)), ("high", stat.S_IFCHR, (510, 70000)),
                               ("pipe", stat.S_IFIFO, (0, 0))):
        os.mknod(at("dev/" + name), kind | 0o640, os.makedev(*number))
    for i in range(4):
        os.link(at("bin/tool"), at(f"srv/tool-{i}"))
    os.symlink("/etc/passwd", at("srv/absolute"))
    os.symlink("../" * 40 + "etc", at("srv/far"))
    with open(at("srv/holes"), "wb") as f:
        f.truncate(3 << 20)
        f.seek(1 << 20)
        f.write(b"middle")
    os.chown(at("var/spool/mail"), 8, 8)
    os.chmod(at("var/spool/mail"), 0o3775)
    with open(at("etc/" + "n\u00e4me " * 30), "w") as f:
        f.write("a long name")
    os.utime(at("srv/holes"), ns=(0, -5 * 10 ** 9 + 123456789))  # before 1970


def write_set_up(directory):
    def write(path):
        root = os.path.join(directory, "set-up")
        os.mkdir(root)
        set_up(root)
        berth.run("tar", "-C", root, "--format=pax", "--xattrs", "--xattrs-include=*", "--acls", "-S", "--numeric-owner", "-cf",
                  path, ".")
        shutil.rmtree(root)
    return write


def change(root):
    """What a next layer has: whiteouts, other kinds, other attributes of the same content."""
    def at(name):
        return os.path.join(root, name)
    berth.run("setcap", "-r", at("bin/other"))
    os.unlink(at("srv/tool-1"))
    shutil.rmtree(at("usr/share/doc"), ignore_errors=True)
    os.makedirs(at("usr/share/doc/only"))
    os.unlink(at("srv/absolute"))
    os.mkdir(at("srv/absolute"))
    shutil.rmtree(at("srv/data"))
    with open(at("srv/data"), "w") as f:
        f.write("a file now")
    os.chmod(at("bin/tool"), 0o6755)
    os.chown(at("etc"), 5, 6)
    os.rename(at("dev/null"), at("dev/zero"))


def compare(name):
    tools()
    directory = lab.scratch("d")
    try:
        layout = Layout(directory)
        for deb in archives(SETS[name]):
            layout.add_tar(write_package(deb))
        layout.add_tar(write_set_up(directory))
        layout.change(change)
        with berth.Registry() as registry:
            reference = registry.push(layout.image, name + ":1")
            berth.run("umoci", "unpack", "--image", layout.image, layout.bundle, timeout=600)
            expected = lab.tree(os.path.join(layout.bundle, "rootfs"))
            for form in lab.forms():
                lab.compare(reference, form, expected)
        print(f"  {name}: {len(expected)} entries")
        return expected
    finally:
        shutil.rmtree(directory)


def test_a_small_set_of_packages():
    expected = compare("small")
    # It is not for want of anything to compare.
    modes = [what[1] for what in expected.values() if what[0] == stat.S_IFREG]
    assert any(m & 0o4000 for m in modes) and any(m & 0o2000 for m in modes), "no setuid, no setgid"
    kinds = {what[0] for what in expected.values()}
    equal(kinds, {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO})
    assert any(what[0] == stat.S_IFREG and what[6] > 1 for what in expected.values()), "no hard links"
    names = {name for what in expected.values() for name, _ in what[-1]}
    assert "security.capability" in names, names


def as_umoci(reference, directory):
    """Each form shows what umoci unpacks, which is returned."""
    work = tempfile.mkdtemp(dir=directory)
    berth.run("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", f"docker://{reference}", f"oci:{work}/layout:1")
    berth.run("umoci", "unpack", "--image", f"{work}/layout:1", f"{work}/bundle")
    expected = lab.tree(f"{work}/bundle/rootfs")
    for way in lab.forms():
        lab.compare(reference, way, expected)
    return expected


class Buildah:
    """What it builds lies below a directory."""

    def __init__(self, directory):
        if not shutil.which("buildah"):
            raise berth.Skip("buildah is not installed")
        self.argv = ["buildah", "--root", directory + "/storage", "--runroot", directory + "/run", "--storage-driver", "vfs"]

    def __call__(self, *words):
        return berth.run(*self.argv, *words, timeout=300).stdout.strip()


def test_images_that_buildah_makes():
    """Of two layers, as Docker's schema 2 and as OCI's, the upper one of changes."""
    tools()
    directory = lab.scratch("b")
    root, more = os.path.join(directory, "root"), os.path.join(directory, "more")
    try:
        buildah = Buildah(directory)
        for path in (root, more + "/srv"):
            os.makedirs(path)
        set_up(root)
        with open(more + "/srv/absolute", "w") as f:
            f.write("no link any more")
        with berth.Registry() as registry:
            for form in ("docker", "oci"):
                name, push = f"{registry.address}/buildah-{form}", ["commit", "--quiet", "--tls-verify=false", "--format", form]
                base = buildah("from", "scratch")
                buildah("add", base, root, "/")
                buildah("config", "--env", "A=b", "--entrypoint", '["/bin/tool"]', base)
                buildah(*push, base, f"docker://{name}:base")
                upper = buildah("from", "--tls-verify=false", "--pull-always", f"docker://{name}:base")
                buildah("add", upper, more, "/")
                buildah("config", "--author", "somebody", upper)
                buildah(*push, upper, f"docker://{name}:1")
                equal(as_umoci(f"{name}:1", directory)["srv/absolute"][0], stat.S_IFREG)
    finally:
        shutil.rmtree(directory)


class Docker:
    """A daemon that builds without running anything: in a network of its own, what it has below a directory."""

    def __init__(self, directory):
        try:
            path = packages.path_with("docker.io", "dockerd")
        except packages.Missing as e:
            raise berth.Skip(str(e)) from e
        self.env = dict(os.environ, PATH=path, HOME=directory, DOCKER_HOST=f"unix://{directory}/sock")
        self.log = open(directory + "/log", "w")
        self.daemon = subprocess.Popen(
            ["unshare", "-m", "-n", "--propagation", "private", "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none",
             "--data-root", directory + "/data", "--exec-root", directory + "/exec", "--pidfile", directory + "/pid",
             "--host", self.env["DOCKER_HOST"], "--storage-driver", "vfs"],
            env=self.env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        berth.wait_for(lambda: self.daemon.poll() is not None or self("version").returncode == 0, 60, "dockerd")
        if self.daemon.poll() is not None:
            raise berth.Skip(f"dockerd does not run here: {open(directory + '/log').read().strip()[-300:]}")

    def __call__(self, *words):
        return subprocess.run(["docker", *words], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=300)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.daemon.terminate()
        self.daemon.wait(60)
        self.log.close()


def test_images_that_docker_makes():
    tools()
    directory = lab.scratch("k")
    context, saved = os.path.join(directory, "context"), os.path.join(directory, "saved")
    try:
        for path in (context + "/root", context + "/more/srv"):
            os.makedirs(path)
        set_up(context + "/root")
        with open(context + "/more/srv/tool-1", "w") as f:
            f.write("no hard link any more")
        with open(context + "/Dockerfile", "w") as f:
            f.write("FROM scratch\nADD root /\nADD more /\n")
        with Docker(directory) as docker:
            for words in (["build", "--tag", "made:1", context], ["save", "--output", saved, "made:1"]):
                done = docker(*words)
                equal((done.returncode, done.returncode and done.stdout), (0, 0))
        with berth.Registry() as registry:
            expected = as_umoci(registry.push(saved, "made:1", kind="docker-archive"), directory)
            equal((expected["srv/tool-1"][6], expected["srv/tool-0"][7]), (1, "bin/tool"))
    finally:
        shutil.rmtree(directory)


if len(SETS) > 1:  # make check-long
    def test_large_sets_of_packages():
        for name in LARGE:
            compare(name)


if __name__ == "__main__":
    lab.private_mounts()
    berth.main()
