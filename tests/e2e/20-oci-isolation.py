#!/usr/bin/env python3
# tests/e2e/20-oci-isolation.py - what a container sees and may do, seen from inside
# SPDX-License-Identifier: Apache-2.0

import json
import os
import resource
import socket
import subprocess
import sys

from descriptors import descriptors
from oci import *

NAMESPACES = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "cgroup": "cgroup",
              "user": "user", "time": "time"}


def own_namespaces():
    return {f: os.readlink(f"/proc/self/ns/{f}") for f in NAMESPACES.values()}


def new_namespaces(h):
    """Every namespace that is asked for is new, and no other is"""
    with h.bundle() as b:
        inside, ours = b.report()["namespaces"], own_namespaces()
        for kind in ("pid", "net", "ipc", "uts", "mnt", "cgroup"):
            expect(inside[kind] != ours[kind], kind)
        for kind in ("user", "time"):
            equal(inside[kind], ours[kind], kind)
    with h.bundle(lambda c: c["linux"].update(namespaces=[{"type": "mount"}]) or c.pop("hostname")
                  or c["linux"].pop("readonlyPaths") or c["mounts"].pop()) as b:
        inside = b.report()["namespaces"]
        for kind in ("pid", "net", "ipc", "uts", "cgroup"):
            equal(inside[kind], ours[kind], kind)


def no_mount_namespace(h):
    """Without a mount namespace the root is entered, exec finds it, and nothing is mounted for the host"""
    def change(c):
        c.update(mounts=[], linux={"namespaces": change.namespaces, "cgroupsPath": c["linux"]["cgroupsPath"]})
        c.pop("hostname")
    for change.namespaces in ([], [{"type": "pid"}], [{"type": "mount", "path": "/proc/self/ns/mnt"}]):
        with h.bundle(change, own_rootfs=True) as b:
            b.args("/bin/probe", "stay").begin()
            inside = {f: os.readlink(f"/proc/{b.pid()}/ns/{f}") for f in NAMESPACES.values()}
            different = {"pid"} if change.namespaces == [{"type": "pid"}] else set()
            equal({f for f, ns in own_namespaces().items() if inside[f] != ns}, different)
            equal(os.readlink(f"/proc/{b.pid()}/root"), b.rootfs)
            said = b.exec(b.id, "/bin/sh", "-c", "ls /; pwd; echo x > /tmp/here; cat /dev/null; cd ../..; pwd").stdout
            equal(said.split(), sorted(os.listdir(b.rootfs)) + ["/", "/"])
            equal(open(b.rootfs + "/tmp/here").read(), "x\n")
            expect(b.rootfs not in open("/proc/self/mountinfo").read(), "mounted")
    with h.bundle(change) as b:
        b.config["root"]["path"] = "/"
        ptmx = os.lstat("/dev/ptmx").st_ino
        equal(b.args("/bin/true").run().returncode, 0)
        equal(os.lstat("/dev/ptmx").st_ino, ptmx, "the host's /dev/ptmx")


def joined_namespaces(h):
    """Namespaces are joined by path: of another container, and the host's"""
    with h.bundle() as first:
        first.args("/bin/probe", "stay").begin()
        pid = first.pid()

        def change(c):
            c["linux"]["namespaces"] = [{"type": "mount"}] + [
                {"type": t, "path": f"/proc/{pid}/ns/{NAMESPACES[t]}"} for t in ("network", "ipc", "uts", "pid")]
            c.pop("hostname")
        with h.bundle(change) as b:
            r = b.report()
            for kind in ("net", "ipc", "uts", "pid"):
                equal(r["namespaces"][kind], os.readlink(f"/proc/{pid}/ns/{kind}"), kind)
            equal(r["hostname"], "berth")
            expect(r["pid"] > 1, r["pid"])

    # All of a container with a user namespace: the new one's process is its own, by its pid here.
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    os.chmod(h.dir, 0o755)

    def with_user(c):
        c["linux"]["namespaces"].append({"type": "user"})
        c["linux"].update(uidMappings=maps, gidMappings=maps)
    with h.bundle(with_user) as first:
        first.args("/bin/probe", "stay").begin()
        pid = first.pid()

        def change(c):
            c["linux"]["namespaces"] = [{"type": "mount"}] + [
                {"type": t, "path": f"/proc/{pid}/ns/{NAMESPACES[t]}"} for t in change.joined] + [
                {"type": t} for t in ("pid", "network", "ipc", "uts") if t not in change.joined]
            c.pop("hostname")
        for change.joined in (("user", "pid"), ("pid", "user", "network", "ipc", "uts"), ("user", "network")):
            with h.bundle(change) as b:
                b.args("/bin/probe", "stay").begin()
                expect(b.path not in open(f"/proc/{b.pid()}/cmdline").read() and b.pid() not in (pid, 1), b.pid())
                expect(f"{h.cgroup}/{b.id}" in open(f"/proc/{b.pid()}/cgroup").read(), change.joined)
                for t in change.joined:
                    equal(os.readlink(f"/proc/{b.pid()}/ns/{NAMESPACES[t]}"),
                          os.readlink(f"/proc/{pid}/ns/{NAMESPACES[t]}"), t)
                h.oci("kill", b.id, "KILL")
                b.wait_status("stopped")
            with h.bundle(change) as b:
                equal(b.args("/bin/probe", "exit", "7").run(check=False).returncode, 7, change.joined)
        expect(first.state()["status"] == "running")

    def host_network(c):
        for n in c["linux"]["namespaces"]:
            if n["type"] == "network":
                n["path"] = f"/proc/{os.getpid()}/ns/net"
    with h.bundle(host_network) as b:
        equal(b.report()["namespaces"]["net"], own_namespaces()["net"])


def joined_mount_namespace(h):
    """A mount namespace is joined by path, and the root is mounted there; never in the host's"""
    holder = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sleep", "1000"])
    try:
        path = f"/proc/{holder.pid}/ns/mnt"
        until(lambda: os.readlink(path) != os.readlink("/proc/self/ns/mnt"), "a mount namespace")
        ours = os.readlink(path)

        def change(c):
            for n in c["linux"]["namespaces"]:
                if n["type"] == "mount":
                    n["path"] = path
        with h.bundle(change) as b:
            r = b.report()
            equal(r["namespaces"]["mnt"], ours)
            equal(mounts_of(r)["/proc"][1], "proc")
    finally:
        holder.kill()
        holder.wait()

    def hosts(c):
        for n in c["linux"]["namespaces"]:
            if n["type"] == "mount":
                n["path"] = "/proc/self/ns/mnt"
    with h.bundle(hosts) as b:
        expect("mounts: without a mount namespace of its own" in b.fails())


def wrong_namespace_path(h):
    """A path that is no namespace of its kind is refused"""
    for path, says in (("/nosuch", "/nosuch"), ("/proc/self/ns/uts", "no network namespace"),
                       ("/etc/passwd", "no network namespace"), ("relative", "absolute")):
        def change(c):
            for n in c["linux"]["namespaces"]:
                if n["type"] == "network":
                    n["path"] = path
        with h.bundle(change) as b:
            said = b.fails()
            expect(says in said, said)


def names(h):
    """Hostname and domainname are the container's own"""
    before = os.uname().nodename
    with h.bundle(lambda c: c.update(hostname="inside", domainname="example.org")) as b:
        r = b.report()
        equal((r["hostname"], r["domainname"]), ("inside", "example.org"))
    equal(os.uname().nodename, before)


def loopback(h):
    """A new network namespace has a loopback that is up, and nothing else"""
    with h.bundle() as b:
        out = b.sh("ip addr").stdout
        expect("LOOPBACK,UP" in out and "127.0.0.1/8" in out and "2: " not in out, out)


def user(h):
    """User, groups, umask and home are as configured"""
    def change(c):
        c["process"]["user"] = {"uid": 1000, "gid": 100, "additionalGids": [10, 20], "umask": 0o77}
        c["process"]["cwd"] = "/tmp"
    with h.bundle(change) as b:
        r = b.report()
        equal((r["uid"], r["gid"], r["groups"], r["umask"], r["cwd"]),
              ([1000, 1000], [100, 100], [10, 20], 0o77, "/tmp"))
        expect("HOME=/home/user" in r["env"], r["env"])
        equal(status_of(r)["CapEff"], "0000000000000000")
    with h.bundle() as b:
        r = b.report()
        equal((r["groups"], r["umask"]), ([], 0o22))
        expect("HOME=/root" in r["env"], r["env"])
    with h.bundle(lambda c: c["process"]["env"].extend(["A=1", "AB=2", "A=3", "PATH=/nosuch", "PATH=/bin"])) as b:
        env = b.args("probe", "report").run().stdout  # the last of one name counts, and is the only one
        equal([e for e in json.loads(env)["env"] if e[:2] in ("A=", "AB", "PA")], ["PATH=/bin", "A=3", "AB=2"])
    with h.bundle(lambda c: c["process"]["env"].append("HOME=/elsewhere")) as b:
        equal([e for e in b.report()["env"] if e.startswith("HOME=")], ["HOME=/elsewhere"])


def capabilities(h):
    """All five sets are as configured, for root and for others"""
    bits = lambda *n: f"{sum(1 << i for i in n):016x}"

    def change(c):
        c["process"]["user"] = {"uid": 1000, "gid": 100}
        c["process"]["capabilities"] = {
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"], "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"]}
    with h.bundle(change) as b:
        s = status_of(b.report())
        # execve(2) of a program without file capabilities leaves the ambient ones.
        equal((s["CapBnd"], s["CapPrm"], s["CapEff"], s["CapInh"], s["CapAmb"]),
              (bits(0, 5, 7), bits(5), bits(5), bits(5), bits(5)))
    with h.bundle() as b:
        s = status_of(b.report())
        equal((s["CapBnd"], s["CapPrm"], s["CapEff"], s["CapInh"], s["CapAmb"]),
              (bits(5, 10, 29), bits(5, 10, 29), bits(5, 10, 29), bits(), bits()))
    with h.bundle(lambda c: c["process"].pop("capabilities")) as b:
        s = status_of(b.report())
        equal((s["CapBnd"], s["CapPrm"]), (bits(), bits()))


def capabilities_we_lack(h):
    """A capability that the runtime lacks, or that there is none of, is told and left out"""
    def with_one_more(name):
        def change(c):
            for s in c["process"]["capabilities"].values():
                s.append(name)
        return change
    for name, says in (("CAP_SYS_RESOURCE", "does not have: CAP_SYS_RESOURCE"), ("CAP_NOSUCH", "'CAP_NOSUCH' is unknown"),
                       ("cap_chown", "'cap_chown' is unknown")):
        with h.bundle(with_one_more(name)) as b:
            p = b.args("/bin/probe", "report").run(preexec_fn=drop_sys_resource)
            expect(says in p.stderr, name, p.stderr)
            s = status_of(json.loads(p.stdout))
            equal((s["CapBnd"], s["CapPrm"], s["CapEff"]), ("0000000020000420",) * 3, name)
    with h.bundle() as b:
        b.args("/bin/sleep", "100").begin()
        p = b.exec("--cap", "CAP_NOSUCH", "--cap", "CAP_CHOWN", b.id, "/bin/probe", "report")
        expect("'CAP_NOSUCH' is unknown" in p.stderr, p.stderr)
        equal(status_of(json.loads(p.stdout))["CapEff"], "0000000020000421")


def no_new_privileges(h):
    """noNewPrivileges is set when asked for"""
    with h.bundle() as b:
        equal(status_of(b.report())["NoNewPrivs"], "1")
    with h.bundle(lambda c: c["process"].update(noNewPrivileges=False)) as b:
        equal(status_of(b.report())["NoNewPrivs"], "0")


def rlimits(h):
    """Resource limits are set, the smallest too; the ones that cannot be are named"""
    def change(c):
        c["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3},
                                   {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                                   {"type": "RLIMIT_FSIZE", "soft": 1 << 20, "hard": 18446744073709551615}]
    with h.bundle(change) as b:
        b.args("/bin/sh", "-c", "ulimit -n; ulimit -c; ulimit -H -f")
        equal(b.run().stdout.split(), ["3", "0", "unlimited"])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    over = [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": hard + 1}]
    with h.bundle(lambda c: c["process"].update(rlimits=over)) as b:
        said = b.fails(preexec_fn=drop_sys_resource)
        expect("RLIMIT_NOFILE" in said and "CAP_SYS_RESOURCE" in said, said)


def oom_score(h):
    """oomScoreAdj is set; lowering it without the right is named"""
    with h.bundle(lambda c: c["process"].update(oomScoreAdj=321)) as b:
        equal(b.report()["oom_score_adj"].strip(), "321")
    with h.bundle(lambda c: c["process"].update(oomScoreAdj=-5)) as b:
        expect("oomScoreAdj" in b.fails(preexec_fn=drop_sys_resource))


def standard_mounts(h):
    """proc, sys, dev and their kin are mounted with the options given, all of them private"""
    with h.bundle() as b:
        m = mounts_of(b.report())
        for where, kind, flags in (("/proc", "proc", ["rw"]),
                                   ("/dev", "tmpfs", ["rw", "nosuid"]),
                                   ("/dev/pts", "devpts", ["rw", "nosuid", "noexec", "relatime"]),
                                   ("/dev/shm", "tmpfs", ["rw", "nosuid", "nodev", "noexec", "relatime"]),
                                   ("/dev/mqueue", "mqueue", ["rw", "nosuid", "nodev", "noexec", "relatime"]),
                                   ("/sys", "sysfs", ["ro", "nosuid", "nodev", "noexec", "relatime"])):
            equal(m[where][1], kind, where)
            expect(set(flags) <= set(m[where][0]), where, m[where])
        expect("size=65536k" in m["/dev/shm"][3] and "mode=755" in m["/dev"][3], m)
        expect("relatime" not in m["/dev"][0], "strictatime", m["/dev"])
        # Nothing of the host is in there, and nothing goes back.
        expect(not any("shared:" in " ".join(v[4]) for v in m.values()), m)
        expect(all(k in ("/",) or k.startswith(("/proc", "/dev", "/sys")) for k in m), list(m))
        equal(b.sh("stat -c %a /dev/shm /dev /dev/mqueue").stdout.split(), ["1777", "755", "1777"])


def devices(h):
    """/dev has the standard nodes and links, and those of linux.devices"""
    def change(c):
        c["linux"]["devices"] = [
            {"type": "c", "path": "/dev/sub/kmsg", "major": 1, "minor": 11, "fileMode": 0o640, "uid": 3, "gid": 4},
            {"type": "p", "path": "/dev/fifo", "fileMode": 0o010600}]  # with the type, as some engines write it
        c["linux"]["resources"]["devices"].append(
            {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"})
    with h.bundle(change) as b:
        out = b.sh("cd /dev; for n in null zero full random urandom tty sub/kmsg fifo; do "
                   "stat -c '%n %F %a %u:%g %t,%T' $n; done; "
                   "for n in fd stdin stdout stderr ptmx core; do readlink $n; done").stdout.split("\n")
        equal(out[:6], ["null character special file 666 0:0 1,3", "zero character special file 666 0:0 1,5",
                        "full character special file 666 0:0 1,7", "random character special file 666 0:0 1,8",
                        "urandom character special file 666 0:0 1,9", "tty character special file 666 0:0 5,0"])
        equal(out[6:8], ["sub/kmsg character special file 640 3:4 1,b", "fifo fifo 600 0:0 0,0"])
        equal(out[8:14], ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx",
                          "/proc/kcore"])


def devices_of_others(h):
    """A node that a mount brings into /dev stays whose it is; one of the config takes the place of a default one"""
    node = os.path.join(h.dir, "full")
    os.mknod(node, 0o20600, os.makedev(1, 7))
    os.chown(node, 5, 7)

    def change(c):
        c["mounts"].append({"destination": "/dev/full", "source": node, "options": ["bind"] + change.options})
        c["linux"]["devices"] = [{"type": "c", "path": "/dev/zero", "major": 1, "minor": 5, "uid": 3, "gid": 4,
                                  "fileMode": 0o640}] + change.devices
    for change.options in ([], ["ro"]):
        for change.devices in ([], [{"type": "c", "path": "/dev/full", "major": 1, "minor": 7, "uid": 3}]):
            with h.bundle(change) as b:
                equal(b.sh("stat -c '%u:%g %a' /dev/full /dev/zero").stdout.split("\n")[:2], ["5:7 600", "3:4 640"])
            st = os.stat(node)
            equal((st.st_uid, st.st_gid, st.st_mode), (5, 7, 0o20600), "the host's node")
    os.unlink(node)
    place = os.path.join(h.dir, "devices")
    os.mkdir(place)
    for name in ("dev", "/dev/", "//dev"):  # bound, it is left alone however it is written
        with h.bundle(lambda c: c["mounts"].__setitem__(slice(1, 5), [
                {"destination": name, "source": place, "options": ["bind"]}])) as b:
            equal(b.args("/bin/ls", "/dev").run().stdout, "")
    os.rmdir(place)


def device_access(h):
    """Only devices on the list can be opened, and only as it says"""
    # No driver has these numbers: ENXIO says that the rule let it through.
    def change(c):
        for s in c["process"]["capabilities"].values():
            s += ["CAP_MKNOD", "CAP_DAC_OVERRIDE"]
        c["linux"]["resources"]["devices"] += [
            {"allow": True, "type": "c", "major": 1, "minor": 99, "access": "r"},
            {"allow": True, "type": "c", "major": 1, "minor": 98, "access": "rw"},
            {"allow": False, "type": "c", "major": 1, "minor": 98, "access": "w"},
            {"allow": True, "type": "b", "major": 7, "access": "r"}]
    with h.bundle(change) as b:
        got = b.tries("mknod /dev/m c 1 1", "open /dev/m r", "mknod /dev/k c 1 99", "open /dev/k r", "open /dev/k w",
                      "open /dev/k rw", "mknod /dev/l c 1 98", "open /dev/l r", "open /dev/l w",
                      "open /dev/null rw", "open /dev/zero r", "open /dev/random r", "mknod /dev/d b 254 0",
                      "open /dev/d r", "mknod /dev/e b 7 99", "open /dev/e w")
        equal(got, ["ok", "EPERM", "ok", "ENXIO", "EPERM", "EPERM", "ok", "ENXIO", "EPERM", "ok", "ok", "ok", "ok",
                    "EPERM", "ok", "EPERM"])


def all_devices(h):
    """A rule for all devices allows all, but for what is denied after it"""
    def change(c):
        for s in c["process"]["capabilities"].values():
            s += ["CAP_MKNOD", "CAP_DAC_OVERRIDE"]
        c["linux"]["resources"]["devices"] = [{"allow": True, "access": "rwm"},
                                              {"allow": False, "type": "c", "major": 1, "minor": 98, "access": "w"}]
    with h.bundle(change) as b:
        equal(b.tries("mknod /dev/k c 1 99", "open /dev/k w", "mknod /dev/l c 1 98", "open /dev/l r", "open /dev/l w",
                      "open /dev/null w"), ["ok", "ENXIO", "ok", "ENXIO", "EPERM", "ok"])


def masked_paths(h):
    """Masked files are empty, masked directories too; read-only paths refuse writes"""
    with h.bundle() as b:
        files = [p for p in ("/proc/kcore", "/proc/keys", "/proc/timer_list") if os.path.exists(p)]
        equal(b.tries(*[f"read {p}" for p in files]), ["ENODATA"] * len(files))
        got = b.tries("open /sys/firmware/x c", "open /proc/sys/kernel/hostname w",
                      "open /proc/sys/net/ipv4/ip_forward w", "open /proc/self/oom_score_adj w")
        equal(got, ["EROFS", "EROFS", "EROFS", "ok"])
        equal(b.sh("ls -A /sys/firmware").stdout, "")


def readonly_root(h):
    """A read-only root refuses writes, its mounts do not"""
    with h.bundle(lambda c: c["root"].update(readonly=True)) as b:
        equal(b.tries("open /x c", "open /etc/passwd w", "open /dev/shm/x c", "open /dev/x c"),
              ["EROFS", "EROFS", "ok", "ok"])
    expect(not os.path.exists(h.rootfs + "/x"))


def bind_mounts(h):
    """Bind mounts: files and directories, options, made where nothing is, host flags kept"""
    src = os.path.join(h.dir, "src")
    os.makedirs(src + "/sub")
    open(src + "/file", "w").write("content\n")

    def change(c):
        c["mounts"] += [
            {"destination": "/data", "type": "bind", "source": src, "options": ["rbind", "rw", "nosuid", "rprivate"]},
            {"destination": "/ro", "source": src, "options": ["bind", "ro"]},
            {"destination": "/deep/in/file", "source": src + "/file", "options": ["bind", "noexec", "nodev"]},
            {"destination": "/etc/passwd", "source": src + "/file", "options": ["bind"]},
            {"destination": "relative", "source": "../src", "options": ["bind"]}]
    with h.bundle(change, own_rootfs=True) as b:
        r = b.report()
        m = mounts_of(r)
        expect({"rw", "nosuid"} <= set(m["/data"][0]), m["/data"])
        expect("ro" in m["/ro"][0], m["/ro"])
        expect({"noexec", "nodev"} <= set(m["/deep/in/file"][0]), m["/deep/in/file"])
        equal(b.tries("open /data/new c", "open /ro/new2 c", "open /deep/in/file r", "open /relative/file r"),
              ["ok", "EROFS", "ok", "ok"])
        equal(b.sh("cat /etc/passwd /deep/in/file").stdout, "content\ncontent\n")
    expect(os.path.exists(src + "/new"))
    # A source that is mounted nosuid on the host stays so.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid,nodev,noexec", "none", src + "/sub"], check=True)
    try:
        with h.bundle(lambda c: c["mounts"].append(
                {"destination": "/m", "source": src + "/sub", "options": ["rbind", "ro"]})) as b:
            expect({"ro", "nosuid", "nodev", "noexec"} <= set(mounts_of(b.report())["/m"][0]))
        for word, wanted in (("ro", "ok"), ("rro", "EROFS")):
            with h.bundle(lambda c: c["mounts"].append(
                    {"destination": "/m", "source": src, "options": ["rbind", word]})) as b:
                equal(b.tries("open /m/sub/x c"), [wanted], word)
        with h.bundle(lambda c: c["mounts"].append(
                {"destination": "/m", "source": src + "/sub", "options": ["bind", "exec", "suid", "dev"]})) as b:
            expect(not {"nosuid", "nodev", "noexec"} & set(mounts_of(b.report())["/m"][0]))
    finally:
        subprocess.run(["umount", src + "/sub"], check=True)
    shutil.rmtree(src)


def changed_mounts(h):
    """remount changes what is mounted there: the mount, or its filesystem; and nothing else is touched"""
    src = os.path.join(h.dir, "again")
    os.makedirs(src)

    def change(c):
        c["mounts"] += [
            {"destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "nosuid"]},
            {"destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "ro", "size=64k"]},
            {"destination": "/b", "type": "bind", "source": src, "options": ["rbind", "nodev"]},
            {"destination": "/b", "type": "none", "options": ["remount", "bind", "ro", "noexec", "size=1"]},
            {"destination": "/proc", "type": "proc", "options": ["remount", "nosuid"]}]
    with h.bundle(change) as b:
        m = mounts_of(b.report())
        expect({"ro", "nosuid"} <= set(m["/a"][0]) and "size=64k" in m["/a"][3], m["/a"])
        expect({"ro", "nodev", "noexec"} <= set(m["/b"][0]), m["/b"])
        expect("nosuid" in m["/proc"][0], m["/proc"])
        equal(b.tries("open /b/x c"), ["EROFS"])
    open(src + "/written", "w").close()
    shutil.rmtree(src)
    with h.bundle(lambda c: c["mounts"].append({"destination": "/tmp", "options": ["remount", "ro"]})) as b:
        expect("mounts[7] (/tmp): remount: nothing is mounted there" in b.fails())
    with h.bundle(lambda c: c["mounts"].append({"destination": "/nosuch", "options": ["remount", "ro"]})) as b:
        expect("mounts[7] (/nosuch): remount: " in b.fails())


def words_of_any_filesystem(h):
    """What the spec has of options is known, whether a filesystem says it of itself or not"""
    for word, shown in (("sync", "sync"), ("dirsync", "dirsync"), ("lazytime", "lazytime"), ("iversion", None),
                        ("noiversion", None), ("nolazytime", None), ("async", None), ("loud", None), ("silent", None)):
        for mount in ({"type": "tmpfs", "options": [word]}, {"type": "bind", "source": "/etc", "options": ["bind", word]}):
            with h.bundle(lambda c: c["mounts"].append({"destination": "/m", **mount})) as b:
                options = mounts_of(b.report())["/m"][3]
                expect(not shown or mount["type"] == "bind" or shown in options, word, options)


def readonly_in_the_end(h):
    """A tmpfs that is read-only takes what is to be made in it first: mount points, nodes, links"""
    def change(c):
        c["mounts"][1]["options"].append("ro")
        c["mounts"] += [{"destination": "/a", "type": "tmpfs", "options": ["ro"]},
                        {"destination": "/a/b", "type": "tmpfs", "options": ["rro"]},
                        {"destination": "/a/b/file", "type": "bind", "source": "/etc/hostname", "options": ["bind"]},
                        {"destination": "/a/rw", "type": "tmpfs"}]
    with h.bundle(change) as b:
        m = mounts_of(b.report())
        equal([p for p in ("/dev", "/a", "/a/b", "/a/rw", "/dev/shm") if "ro" in m[p][0]], ["/dev", "/a", "/a/b"])
        equal(b.tries("open /dev/x c", "open /a/x c", "open /a/b/x c", "open /a/rw/x c", "open /dev/shm/x c",
                      "open /dev/null rw"), ["EROFS"] * 3 + ["ok"] * 3)


def cgroups_in_many_places(h):
    """Cgroups can be mounted more than once, and the v2 tree by itself"""
    root = cgroup_roots().get("")

    def change(c):
        c["mounts"] += [{"destination": "/cg", "type": "cgroup", "options": ["nosuid"]}]
        if root:
            c["mounts"] += [{"destination": "/v2", "type": "cgroup2"}]
    with h.bundle(change) as b:
        m = mounts_of(b.report())
        first = sorted(p[len("/sys/fs/cgroup"):] for p in m if p.startswith("/sys/fs/cgroup"))
        equal(sorted(p[len("/cg"):] for p in m if p.startswith("/cg")), first)
        for place, flag in (("/sys/fs/cgroup", "ro"), ("/cg", "rw")):
            expect(all(flag in m[place + p][0] for p in first), place, m)
        equal(b.sh("cat /proc/self/cgroup | wc -l; ls /sys/fs/cgroup /cg | wc -l").returncode, 0)
        if root:
            equal((m["/v2"][1], "rw" in m["/v2"][0]), ("cgroup2", True))
            expect("0" in b.sh("cat /v2/cgroup.procs").stdout.split() or "1" in b.sh("cat /v2/cgroup.procs").stdout)


def new_filesystems(h):
    """tmpfs with options, read-only, and with what the image has there"""
    def change(c):
        c["mounts"] += [
            {"destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "mode=1770", "noatime"]},
            {"destination": "/b", "type": "tmpfs", "options": ["ro"]},
            {"destination": "/c", "type": "tmpfs", "options": ["size=64k,mode=700", "", "nr_inodes=9,"]},  # as mount(2)
            {"destination": "/etc", "type": "tmpfs", "options": ["tmpcopyup", "ro"]},
            {"destination": "/root", "type": "tmpfs", "options": ["tmpcopyup"]}]
    with h.bundle(change, own_rootfs=True) as b:
        os.makedirs(b.rootfs + "/root/d")
        open(b.rootfs + "/root/d/f", "w").write("x")
        os.chmod(b.rootfs + "/root/d/f", 0o4711)
        os.chown(b.rootfs + "/root/d/f", 5, 6)
        os.chmod(b.rootfs + "/root/d/f", 0o4711)
        os.symlink("../target", b.rootfs + "/root/l")
        os.chmod(b.rootfs + "/root", 0o711)
        m = mounts_of(b.report())
        expect({"size=64k", "mode=700", "nr_inodes=9"} <= set(m["/c"][3]), m["/c"])
        expect("size=1024k" in m["/a"][3] and "noatime" in m["/a"][0], m["/a"])
        equal(b.tries("open /b/x c", "open /etc/passwd r", "open /etc/x c", "open /root/new c"),
              ["EROFS", "ok", "EROFS", "ok"])
        out = b.sh("stat -c '%a %u:%g %s' /root /root/d/f; readlink /root/l; stat -c %a /a").stdout.split("\n")
        equal(out[1:4], ["4711 5:6 1", "../target", "1770"])
        expect(out[0].startswith("711 0:0"), out[0])
        expect(not os.path.exists(b.rootfs + "/root/new"))


def propagation(h):
    """Mounts travel as the options say: not at all, inwards, or both ways"""
    src = os.path.join(h.dir, "shared")
    os.mkdir(src)
    os.mkdir(src + "/sub")
    subprocess.run(["mount", "-t", "tmpfs", "none", src], check=True)
    try:
        subprocess.run(["mount", "--make-shared", src], check=True)
        os.mkdir(src + "/sub")
        for word, inwards in (("rprivate", False), ("rslave", True), (None, True)):
            with h.bundle(lambda c: c["mounts"].append({"destination": "/m", "source": src, "options": ["rbind"] + (
                    [word] if word else [])})) as b:
                b.args("/bin/probe", "stay").begin()
                subprocess.run(["mount", "-t", "tmpfs", "none", src + "/sub"], check=True)
                m = mounts_of(json.loads(b.exec(b.id, "/bin/probe", "report").stdout))
                equal("/m/sub" in m, inwards, word)
                subprocess.run(["umount", src + "/sub"], check=True)

        def outwards(c):
            c["linux"]["rootfsPropagation"] = "rshared"
            c["mounts"].append({"destination": "/m", "source": src, "options": ["rbind", "rshared"]})
            for s in c["process"]["capabilities"].values():
                s.append("CAP_SYS_ADMIN")
        with h.bundle(outwards) as b:
            b.sh("mount -t tmpfs none /m/sub")
            expect(any(src + "/sub" in l for l in open("/proc/self/mountinfo")), "it did not come out")
            subprocess.run(["umount", src + "/sub"], check=True)
    finally:
        subprocess.run(["umount", "-R", src], check=True)
    os.rmdir(src + "/sub")
    os.rmdir(src)


def sysctls(h):
    """Parameters of the container's namespaces are set, in both spellings, and the host's stay"""
    before = open("/proc/sys/net/ipv4/ip_default_ttl").read()
    with h.bundle(lambda c: c["linux"].update(sysctl={
            "net.ipv4.ip_default_ttl": "77", "net/ipv4/conf/lo/forwarding": "1", "kernel.shmmni": "99",
            "fs.mqueue.msg_max": "20"})) as b:
        out = b.sh("cd /proc/sys; cat net/ipv4/ip_default_ttl net/ipv4/conf/lo/forwarding kernel/shmmni "
                   "fs/mqueue/msg_max").stdout.split()
        equal(out, ["77", "1", "99", "20"])
    equal(open("/proc/sys/net/ipv4/ip_default_ttl").read(), before)


def cgroup_view(h):
    """With a cgroup namespace its own cgroup is the root, read-only"""
    with h.bundle() as b:
        r = b.report()
        expect(all(l.endswith(":/") for l in r["cgroup"].strip().split("\n")), r["cgroup"])
        m = mounts_of(r)
        if is_v2():
            equal(m["/sys/fs/cgroup"][1], "cgroup2")
            file = "/sys/fs/cgroup/memory.max"
        else:
            equal(m["/sys/fs/cgroup/memory"][1], "cgroup")
            file = "/sys/fs/cgroup/memory/memory.limit_in_bytes"
        equal(b.tries(f"open {file} r", f"open {file} w", "open /sys/fs/cgroup/x c"), ["ok", "EROFS", "EROFS"])
        equal(b.sh("ls -d /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/release_agent", check=False).stdout, "")


@only_where(is_v2)
def own_cgroups(h):
    """On v2 a cgroup belongs to who runs in it if he sees no more than it and may write to it, and to root if not"""
    def change(c, read_only=False, private=True, ids=True):
        mount = next(m for m in c["mounts"] if m["destination"] == "/sys/fs/cgroup")
        mount["options"] = ["nosuid", "noexec", "nodev"] + ["ro"] * read_only
        if not private:
            c["linux"]["namespaces"] = [n for n in c["linux"]["namespaces"] if n["type"] != "cgroup"]
        if ids:
            maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
            c["linux"]["namespaces"].append({"type": "user"})
            c["linux"].update(uidMappings=maps, gidMappings=maps)
    os.chmod(h.dir, 0o755)
    with h.bundle(change) as b:
        b.args("/bin/sh", "-c", "cd /sys/fs/cgroup; mkdir mine; echo 1 > mine/cgroup.procs; exec probe stay").begin()
        until(lambda: "/mine" in open(f"/proc/{b.pid()}/cgroup").read(), "in its own one")
        top = os.path.dirname(b.cgroup_file("", "cgroup.procs"))
        for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            equal(os.stat(f"{top}/{name}").st_uid, 100000, name)
        for name in ("cgroup.freeze", "memory.max", "pids.max"):
            equal(os.stat(f"{top}/{name}").st_uid, 0, name)
        equal(b.exec(b.id, "/bin/true").returncode, 0)
    with h.bundle(lambda c: change(c, ids=False) or c["process"].update(user={"uid": 1000, "gid": 0})) as b:
        b.args("/bin/probe", "stay").begin()
        equal(os.stat(b.cgroup_file("", "cgroup.procs")).st_uid, 1000)
    for options in ({"read_only": True}, {"private": False}):
        with h.bundle(lambda c: change(c, **options)) as b:
            b.args("/bin/probe", "stay").begin()
            equal(os.stat(b.cgroup_file("", "cgroup.procs")).st_uid, 0, options)


@only_where(is_v2)
def cgroups_below(h):
    """exec enters a container whose own cgroups lie below, as those of an init system do"""
    def change(c):
        c["mounts"][-1]["options"].remove("ro")
        for s in c["process"]["capabilities"].values():
            s.append("CAP_DAC_OVERRIDE")
    with h.bundle(change) as b:
        b.args("/bin/sh", "-c", "cd /sys/fs/cgroup; mkdir inner; echo 1 > inner/cgroup.procs; "
                                "echo +pids > cgroup.subtree_control; touch /tmp/done; exec sleep 1000").begin()
        until(lambda: os.path.exists(h.rootfs + "/tmp/done"), "cgroups made inside")
        os.unlink(h.rootfs + "/tmp/done")
        equal(b.exec(b.id, "/bin/cat", "/proc/self/cgroup").stdout, "0::/inner\n")


def cgroup_limits(h):
    """Limits of cpu, memory and pids are in the cgroup files"""
    def change(c):
        c["linux"]["resources"].update(
            cpu={"shares": 512, "quota": 50000, "period": 200000}, pids={"limit": 33},
            memory={"limit": 64 << 20, "reservation": 32 << 20})
    with h.bundle(change) as b:
        b.args("/bin/probe", "stay").begin()
        read = lambda controller, name: open(b.cgroup_file(controller, name)).read().strip()
        if is_v2():
            equal(read("cpu", "cpu.weight"), str(1 + (512 - 2) * 9999 // 262142))
            equal(read("cpu", "cpu.max"), "50000 200000")
            equal(read("memory", "memory.max"), str(64 << 20))
            equal(read("memory", "memory.low"), str(32 << 20))
        else:
            equal(read("cpu", "cpu.shares"), "512")
            equal(read("cpu", "cpu.cfs_quota_us"), "50000")
            equal(read("cpu", "cpu.cfs_period_us"), "200000")
            equal(read("memory", "memory.limit_in_bytes"), str(64 << 20))
            equal(read("memory", "memory.soft_limit_in_bytes"), str(32 << 20))
        equal(read("pids", "pids.max"), "33")
        init = str(b.pid())
        for controller in ("cpu", "memory", "pids", "devices"):
            if controller in cgroup_roots() or is_v2():
                expect(init in read(controller, "cgroup.procs").split(), controller)


def cpu_sets(h):
    """cpus and mems limit where it runs"""
    with h.bundle(lambda c: c["linux"]["resources"].update(cpu={"cpus": "0", "mems": "0"})) as b:
        equal(status_of(b.report())["Cpus_allowed_list"], "0")


def limits_hold(h):
    """A fork bomb is held by the pids limit, a memory hog is killed"""
    def change(c):
        c["linux"]["resources"].update(pids={"limit": 10}, memory={"limit": 16 << 20})
    with h.bundle(change) as b:
        out = b.sh("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo end", check=False)
        expect("can't fork" in out.stderr, out.stdout, out.stderr)
        equal(b.args("/bin/probe", "eat", str(64 << 20)).run(check=False).returncode, 137)
        equal(b.args("/bin/probe", "eat", str(4 << 20)).run().stdout, "ate\n")


def small_memory(h):
    """A container starts under the smallest limits that ECS has"""
    with h.bundle(lambda c: c["linux"]["resources"].update(memory={"limit": 4 << 20})) as b:
        equal(b.args("/bin/probe", "exit", "0").run().returncode, 0)


def cgroup_is_taken(h):
    """A cgroup in use is refused, with what is in it left alone"""
    with h.bundle() as first:
        first.args("/bin/probe", "stay").begin()
        with h.bundle(lambda c: c["linux"].update(cgroupsPath=f"{h.cgroup}/{first.id}")) as b:
            expect("in use" in b.fails())
        with h.bundle(lambda c: c["linux"].update(cgroupsPath=h.cgroup)) as b:
            expect("in use" in b.fails())
        equal(first.state()["status"], "running")


def default_cgroup(h):
    """Without cgroupsPath the cgroup has the container's name"""
    with h.bundle() as b:
        b.config["linux"].pop("cgroupsPath")
        b.args("/bin/probe", "stay").begin()
        expect(f":/{b.id}\n" in open(f"/proc/{b.pid()}/cgroup").read())


def filters(h):
    """The system call filter holds, with and without no_new_privs, and is loaded from its cache the second time"""
    def change(c):
        c["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77,
                          "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
                         {"names": ["unshare"], "action": "SCMP_ACT_ERRNO"},
                         {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2, "args": [
                             {"index": 0, "value": 0xff, "valueTwo": 0x11, "op": "SCMP_CMP_MASKED_EQ"}]}]}
    for nnp in (True, False):
        with h.bundle(change) as b:
            b.config["process"]["noNewPrivileges"] = nnp
            for _ in range(2):
                got = b.tries("socket 2 1 0", "socket 1 1 0", "unshare 0", "personality 0x11", "personality 0x111",
                              "personality 0x110")
                equal(got, ["EBADFD", "ok", "EPERM", "ENOENT", "ENOENT", "ok"])
            s = status_of(b.report())
            equal((s["Seccomp"], s["NoNewPrivs"]), ("2", "1" if nnp else "0"))
    expect(os.listdir(h.root + "/.filters"), "nothing in the cache")


def filter_for_exec(h):
    """A process that is exec'ed has the container's filter"""
    with h.bundle(lambda c: c["linux"].update(seccomp={
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}]})) as b:
        b.args("/bin/probe", "stay").begin()
        equal(b.exec(b.id, "/bin/probe", "try", "unshare", "0").stdout.split(), ["EIO"])


def user_namespace(h):
    """In a user namespace root is nobody outside; devices are the host's nodes"""
    def change(c):
        c["linux"]["namespaces"].append({"type": "user"})
        c["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
        c["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
        c["process"]["user"] = {"uid": 5, "gid": 6}
        c["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "66"}
        c["linux"]["devices"] = [{"type": "c", "path": "/dev/own/null", "major": 1, "minor": 3, "fileMode": 0o640,
                                  "uid": 5, "gid": 6}]
    os.chmod(h.dir, 0o755)
    with h.bundle(change) as b:
        r = b.report()
        equal((r["uid"][0], r["gid"][0]), (5, 6))
        equal(r["uid_map"].split(), ["0", "100000", "1000"])
        expect(r["namespaces"]["user"] != own_namespaces()["user"])
        equal(b.tries("open /dev/null rw", "open /dev/zero r", "open /dev/own/null rw"), ["ok", "ok", "ok"])
        equal(b.sh("stat -c '%a %u:%g %t,%T' /dev/own/null").stdout.strip(), "640 5:6 1,3")
        expect({"nosuid", "noexec"} <= set(mounts_of(r)["/dev/null"][0]), mounts_of(r)["/dev/null"])
        b.config["process"]["user"] = {"uid": 0, "gid": 0}
        b.args("/bin/probe", "stay").begin()
        s = open(f"/proc/{b.pid()}/status").read()
        expect("Uid:\t100000\t100000" in s and "Gid:\t100000" in s, s)
        r = json.loads(b.exec(b.id, "/bin/probe", "report").stdout)
        equal((r["uid"][0], r["namespaces"]["user"]), (0, os.readlink(f"/proc/{b.pid()}/ns/user")))
        for words, says in ((["-u", "1000"], "user 1000 is not mapped"), (["-u", "0:1000"], "group 1000 is not mapped"),
                            (["-g", "5", "-g", "1000"], "additional group 1000 is not mapped")):
            p = b.exec(*words, b.id, "/bin/id", check=False)
            expect(p.returncode == 255 and says in p.stderr, words, p.stderr)
        # A second container joins it, as those of a pod do.

        def join(c):
            c["linux"]["namespaces"].append({"type": "user", "path": f"/proc/{b.pid()}/ns/user"})
        with h.bundle(join) as second:
            r = second.report()
            equal(r["namespaces"]["user"], os.readlink(f"/proc/{b.pid()}/ns/user"))
            equal(r["uid_map"].split(), ["0", "100000", "1000"])
            equal(r["pid"], 1)
            second.args("/bin/probe", "stay").begin()
            expect("Uid:\t100000" in open(f"/proc/{second.pid()}/status").read())


@only_where(lambda: os.path.exists("/sys/module/apparmor"))
def apparmor(h):
    """A profile is taken on, in a user namespace too, and by exec"""
    maps = [{"containerID": 0, "hostID": 100000, "size": 1000}]

    def in_user_namespace(c):
        c["linux"]["namespaces"].append({"type": "user"})
        c["linux"].update(uidMappings=maps, gidMappings=maps)
    for change in (lambda c: None, in_user_namespace):
        with h.bundle(change) as b:
            b.config["process"]["apparmorProfile"] = "unconfined"
            b.args("/bin/probe", "stay").begin()
            equal(open(f"/proc/{b.pid()}/attr/current").read().strip(), "unconfined")
            equal(b.exec(b.id, "/bin/cat", "/proc/self/attr/current").stdout.strip(), "unconfined")


def time_namespace(h):
    """Clocks of a time namespace are set off"""
    def change(c):
        c["linux"]["namespaces"].append({"type": "time"})
        c["linux"]["timeOffsets"] = {"boottime": {"secs": 1000000}, "monotonic": {"secs": 2000000}}
    with h.bundle(change) as b:
        r = b.report()
        expect(r["boottime"] > 1000000 and r["monotonic"] > 2000000, r["boottime"], r["monotonic"])


def no_pivot(h):
    """--no-pivot gives the same view"""
    with h.bundle() as b:
        r = b.report("--no-pivot")
        m = mounts_of(r)
        expect("/proc" in m and m["/"][1], list(m))
        b.args("/bin/probe", "stay").begin("--no-pivot")
        equal(b.exec(b.id, "/bin/ls", "/").stdout.split(), sorted(os.listdir(h.rootfs)))


def no_mounts_on_the_host(h):
    """Nothing is mounted on the host while a container runs"""
    # In a mount namespace of our own: others mount things meanwhile.
    with h.bundle() as b:
        b.args("/bin/probe", "stay")
        out = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", f"""
            cat /proc/self/mountinfo > {h.dir}/before
            {OCI} --root {h.root} run -d -b {b.path} {b.id} > /dev/null 2>&1 < /dev/null
            cat /proc/self/mountinfo > {h.dir}/after"""])
        equal(out.returncode, 0)
        equal(b.state()["status"], "running")
        equal(open(h.dir + "/after").read(), open(h.dir + "/before").read())


def keyring(h):
    """A container has a session keyring of its own, unless it is to keep the caller's"""
    with h.bundle(lambda c: c["linux"].update(maskedPaths=[])) as b:
        expect(f"_ses.{b.id}" in b.sh("cat /proc/keys").stdout)
    with h.bundle(lambda c: c["linux"].update(maskedPaths=[])) as b:
        b.args("/bin/cat", "/proc/keys")
        expect(f"_ses.{b.id}" not in b.run("--no-new-keyring").stdout)


def closed_descriptors(h):
    """A container that waits to be started holds no descriptor of its creator"""
    r, w = os.pipe()
    os.set_inheritable(w, True)
    with h.bundle() as b:
        b.args("/bin/probe", "stay").create(close_fds=False)
        os.close(w)
        os.set_blocking(r, False)
        equal(os.read(r, 1), b"", "the pipe's other end is held")

        def held():
            return descriptors(b.pid())
        until(lambda: len(held()) == 4, "it waits")
        equal(len([l for l in held() if l.startswith("socket:")]), 1)
    os.close(r)


def closed_standard_descriptors(h):
    """A caller without standard descriptors gives the container /dev/null, and nothing of ours"""
    with h.bundle() as b:
        b.args("/bin/sh", "-c", "readlink /proc/self/fd/0 > /tmp/out; ls /proc/self/fd >> /tmp/out")
        subprocess.run([OCI, "--root", h.root, "run", "-b", b.path, b.id], close_fds=True, check=True,
                       preexec_fn=lambda: os.closerange(0, 3), stderr=subprocess.DEVNULL)
        expect(open(h.rootfs + "/tmp/out").read().startswith("/dev/null\n0\n1\n2\n3\n"), open(h.rootfs + "/tmp/out").read())


def signals_reset(h):
    """The program has default signal dispositions whatever the caller ignored"""
    import signal
    with h.bundle() as b:
        b.args("/bin/probe", "report")
        ignored = (signal.SIGPIPE, signal.SIGUSR1, signal.SIGCHLD)
        p = h.oci("run", "--bundle", b.path, b.id, restore_signals=False,
                  preexec_fn=lambda: [signal.signal(s, signal.SIG_IGN) for s in ignored])
        equal(json.loads(p.stdout)["ignored_signals"], [])


sys.exit(main([new_namespaces, no_mount_namespace, joined_namespaces, joined_mount_namespace, wrong_namespace_path, names, loopback, user, capabilities,
               capabilities_we_lack, no_new_privileges, rlimits, oom_score, standard_mounts, devices, devices_of_others, device_access,
               all_devices, masked_paths, readonly_root, bind_mounts, changed_mounts, words_of_any_filesystem, readonly_in_the_end,
               cgroups_in_many_places,
               new_filesystems, propagation, sysctls,
               cgroup_view, own_cgroups, cgroups_below, cgroup_limits, cpu_sets, limits_hold, small_memory, cgroup_is_taken, default_cgroup,
               filters, filter_for_exec, user_namespace, apparmor, time_namespace, no_pivot, no_mounts_on_the_host, keyring,
               closed_descriptors, closed_standard_descriptors, signals_reset]))
