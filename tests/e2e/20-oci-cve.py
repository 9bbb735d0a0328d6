#!/usr/bin/env python3
# tests/e2e/20-oci-cve.py - what has broken other runtimes, tried on this one
# SPDX-License-Identifier: Apache-2.0
#
# Each case names the reports that it comes from. Races run RACES rounds.

import hashlib
import json
import os
import re
import subprocess
import sys

from oci import *

RACES = int(os.environ.get("RACES", "2000"))
MARK = "/berth-host-mark"  # what a process of a container must not see


def digest(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest()


def spawn(*words, **files):
    """Many times: berth-oci without the price of subprocess. Returns the exit code."""
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    pid = os.posix_spawn(OCI, [OCI, *words], os.environ, file_actions=null)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def add_caps(*names):
    def change(c):
        for s in c["process"]["capabilities"].values():
            s.extend(names)
    return change


def overwriting_the_runtime(h):
    """CVE-2019-5736, CVE-2016-9962: nobody inside gets hold of the runtime's binary or of the host"""
    before = digest(OCI)

    def change(c):
        add_caps("CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN")(c)
        c["linux"]["resources"]["devices"] = [{"allow": True, "access": "rwm"}]
    open(MARK, "w").close()
    try:
        with h.bundle(change, own_rootfs=True) as b:
            with open(b.rootfs + "/evil", "w") as f:
                f.write("#!/proc/self/exe\n")
            os.chmod(b.rootfs + "/evil", 0o755)
            out = os.path.join(b.path, "out")
            with open(out, "w") as f:
                h.oci("run", "-d", "-b", b.args("/bin/probe", "hunt").path, b.id, stdout=f, stderr=f)
            until(lambda: "ready" in open(out).read(), "the hunter")
            codes = set()  # 255: the hunter holds the container's own file open for writing
            programs = ("/bin/true", "/evil", "/proc/self/exe")
            for i in range(RACES):
                codes.add(spawn("--root", h.root, "exec", b.id, programs[i % len(programs)]))
            expect(0 in codes, codes)
            h.oci("kill", b.id, "KILL")
            b.wait_status("stopped")
            equal(open(out).read().strip(), "ready")
    finally:
        os.unlink(MARK)
    equal(digest(OCI), before, "the binary")
    # As the container's own program.
    with h.bundle(change, own_rootfs=True) as b:
        with open(b.rootfs + "/evil", "w") as f:
            f.write("#!/proc/self/exe\n")
        os.chmod(b.rootfs + "/evil", 0o755)
        for program in ("/evil", "/proc/self/exe"):
            b.args(program).run(check=False)
    equal(digest(OCI), before, "the binary")


def self_protection(h):
    """CVE-2019-5736: the process that waits to be started is executed from what nobody can write to"""
    def look(b):
        exe = f"/proc/{b.pid()}/exe"
        try:
            os.close(os.open(exe, os.O_WRONLY))
            raise AssertionError("it can be opened for writing")
        except OSError as e:
            expect(e.errno in (errno.EROFS, errno.ETXTBSY, errno.EPERM), e)
        # Not the host's inode: else who tries to write keeps the host from executing it.
        a, b = os.stat(exe), os.stat(OCI)
        expect((a.st_dev, a.st_ino) != (b.st_dev, b.st_ino), "it is the host's file")
        return os.readlink(exe)
    with h.bundle() as b:
        b.args("/bin/probe", "stay").create()
        look(b)
    strace = shutil.which("strace")
    if not strace:
        return
    trace = os.path.join(h.dir, "trace")
    for inject, times, copied in (("prctl:error=EPERM:when=1", 2, False),  # put into the overlay: executed from it
                                  ("fsopen:error=ENODEV:when=1..2", 2, True)):  # no overlay: a sealed copy
        with h.bundle() as b:
            b.args("/bin/probe", "stay")
            subprocess.run([strace, "-o", trace, "-e", "trace=execve,execveat,prctl,fsopen", "-e", "inject=" + inject,
                            OCI, "--root", h.root, "create", "-b", b.path, b.id], check=True, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=TRACED)
            equal("memfd:berth" in look(b), copied)
            equal(len(re.findall(r"^execve.* = 0$", open(trace).read(), re.M)), times)


def before_the_library(h):
    """What runs before the C library has begun needs nothing of it"""
    path = os.path.join(os.path.dirname(OCI), "runtime/protect_entry.o")
    if "build/release" not in path:
        raise Skip("a sanitizer's build begins with the library")
    undefined = subprocess.run(["nm", "-u", path], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[1::2]
    expect(set(undefined) <= {"__ehdr_start", "_start"}, undefined)


def symlinked_proc(h):
    """CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: proc and sys go onto real directories only"""
    for name, target in (("proc", "/tmp/x"), ("proc", "../../.."), ("sys", "/tmp"), ("dev", "/tmp/x")):
        with h.bundle(own_rootfs=True) as b:
            os.rmdir(b.rootfs + "/" + name)
            os.makedirs(b.rootfs + "/tmp/x")
            os.symlink(target, b.rootfs + "/" + name)
            if name == "dev":  # a tmpfs may follow it; nodes may not
                b.config["mounts"] = [m for m in b.config["mounts"] if not m["destination"].startswith("/dev")]
                b.write()
            said = b.fails()
            expect("Too many levels of symbolic links" in said, name, said)


def symlinked_targets(h):
    """CVE-2019-18837, CVE-2025-24965: mount targets, and all that is made, lie in the container behind symlinks too"""
    outside = os.path.join(h.dir, "outside")
    os.mkdir(outside)
    for target in (outside, "../../../../../../../../.." + outside, "/proc/self/root" + outside):
        def change(c):
            c["mounts"].insert(0, {"destination": "/esc/made", "type": "tmpfs"})
            c["mounts"].insert(0, {"destination": "/esc/file", "source": "/etc/hostname", "options": ["bind"]})
        with h.bundle(change, own_rootfs=True) as b:
            os.symlink(target, b.rootfs + "/esc")
            b.run()
            equal(os.listdir(outside), [], target)
            b.config["process"]["cwd"] = "/esc/cwd"
            b.args("/bin/true").run(check=False)
            equal(os.listdir(outside), [], target)
    os.rmdir(outside)


def swapped_targets(h):
    """CVE-2021-30465, -2024-45310, -2025-31133, -2025-52565: what is swapped for a symlink meanwhile stays inside"""
    volume, outside = os.path.join(h.dir, "volume"), os.path.join(h.dir, "outside")
    os.makedirs(volume + "/dir/secret")
    os.makedirs(volume + "/dev/pts")
    os.mkdir(outside)
    os.mkdir(outside + "/secret")
    trap = os.path.join(outside, "trap")
    open(trap, "w").write("untouched")
    pairs = []
    for name, kind in (("dir", None), ("dev/null", "null"), ("dev/console", "file")):
        path = f"{volume}/{name}"
        if kind == "null":
            os.mknod(path, 0o20666, os.makedev(1, 3))
        elif kind == "file":
            open(path, "w").close()
        os.symlink(trap if kind else outside, path + "-link")
        pairs += [path, path + "-link"]
    swapper = subprocess.Popen([PROBE, "swap", *pairs], stdout=subprocess.DEVNULL)

    def change(c):
        c["process"]["terminal"] = True
        # No more than the race is about: a round takes half as long.
        c.pop("hostname")
        c["linux"]["namespaces"] = [{"type": "mount"}, {"type": "pid"}]
        c["mounts"] = [m for m in c["mounts"] if m["destination"] == "/proc"]
        c["mounts"] += [{"destination": "/dev", "source": volume + "/dev", "options": ["rbind"]},
                        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                         "options": ["ptmxmode=0666", "mode=0620"]},
                        {"destination": "/v", "source": volume, "options": ["rbind"]},
                        {"destination": "/v/dir/a/b", "type": "tmpfs"},
                        {"destination": "/v/dir/f", "source": "/etc/hostname", "options": ["bind"]}]
        c["linux"]["maskedPaths"] = ["/v/dir/secret", "/v/dev/null", "/proc/keys"]
        c["linux"]["readonlyPaths"] = ["/v/dir", "/proc/sys"]
    codes = set()
    before = {p: os.lstat(p).st_ino for p in ("/dev/null", "/dev/console") if os.path.lexists(p)}
    try:
        with h.bundle(change, own_rootfs=True) as b:
            b.args("/bin/true")
            rounds = 0
            while rounds < RACES or (0 not in codes and rounds < RACES + 200):  # one comes through, sooner or later
                codes.add(spawn("--root", h.root, "--cgroup-manager", "disabled", "run", "-b", b.path, b.id))
                rounds += 1
                if rounds % 50 == 1 or rounds >= RACES:
                    equal(sorted(os.listdir(outside)), ["secret", "trap"])
                    equal((os.listdir(outside + "/secret"), open(trap).read()), ([], "untouched"))
                    expect(outside not in open("/proc/self/mountinfo").read())
            expect(codes <= {0, 1} and 0 in codes, codes)
    finally:
        swapper.kill()
        swapper.wait()
        shutil.rmtree(volume)
        shutil.rmtree(outside)
    equal({p: os.lstat(p).st_ino for p in before}, before)


def oversized_members(h):
    """CVE-2021-43784: no length overflows"""
    maps = [{"containerID": i, "hostID": 100000 + i, "size": 1} for i in range(5000)]

    def many_maps(c):
        c["linux"]["namespaces"].append({"type": "user"})
        c["linux"].update(uidMappings=maps, gidMappings=maps)
    long = "/" + "x/" * 40000
    for change, says in (
            (many_maps, "mappings"),
            (lambda c: c["mounts"].append({"destination": "/x", "source": long, "options": ["bind"]}), "File name too long"),
            (lambda c: c["mounts"].append({"destination": long, "type": "tmpfs"}), "File name too long"),
            (lambda c: c["mounts"].append({"destination": "/" + "y" * 300, "type": "tmpfs"}), "File name too long"),
            (lambda c: c["mounts"].extend({"destination": f"/{i}", "type": "tmpfs"} for i in range(2000)), "more than"),
            (lambda c: c["linux"].update(cgroupsPath="/" + "z" * 300), "cgroup path"),
            (lambda c: c["linux"].update(cgroupsPath=long), "cgroup path"),
            (lambda c: c.update(hostname="h" * 65), "hostname"),
            (lambda c: c["process"].update(args=["/bin/true", "a" * (3 << 20)]), None)):
        with h.bundle(change) as b:
            if says:
                said = b.fails()
                expect(says in said, said[:200])
            else:
                b.create()
                expect("Argument list too long" in h.oci("start", b.id, check=False).stderr)


def inheritable_capabilities(h):
    """CVE-2022-24769, CVE-2022-27650, CVE-2022-29162: nothing is inheritable unasked, in run and in exec"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        for options in ([], ["--cap", "CAP_CHOWN"], ["--user", "1000"]):
            s = status_of(json.loads(b.exec(*options, b.id, "/bin/probe", "report").stdout))
            equal((s["CapInh"], s["CapAmb"]), ("0" * 16, "0" * 16), options)


def release_agent(h):
    """CVE-2022-0492: no release_agent can be reached"""
    with h.bundle(add_caps("CAP_DAC_OVERRIDE")) as b:
        found = b.sh("find / -xdev -name release_agent; ls /sys/fs/cgroup/*/release_agent; "
                     "ls /sys/fs/cgroup/release_agent", check=False).stdout
        equal(found, "")
        if not is_v2():
            equal(b.tries("open /sys/fs/cgroup/memory/notify_on_release w",
                          "mount cgroup /tmp cgroup 0"), ["EROFS", "EPERM"])


def leaked_working_directory(h):
    """CVE-2024-21626: no working directory leads outside, in run and in exec"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        for fd in range(3, 20):
            cwd = f"/proc/self/fd/{fd}"
            with h.bundle(lambda c: c["process"].update(cwd=cwd)) as other:
                p = other.sh("pwd; ls ../../../../", check=False)
                expect(p.returncode == 1 and "cwd" in p.stderr, cwd, p.stdout, p.stderr)
            p = b.exec("--cwd", cwd, b.id, "/bin/ls", "../../../..", check=False)
            expect(p.returncode == 255 and "cwd" in p.stderr, cwd, p.stdout, p.stderr)
            with h.bundle(own_rootfs=True) as other:
                os.symlink(cwd, other.rootfs + "/cwd")
                other.config["process"]["cwd"] = "/cwd"
                p = other.sh("ls ../../../../", check=False)
                expect(p.returncode == 1, p.stdout)


def replaced_null_device(h):
    """CVE-2025-31133: masked files are covered by our own null device, whatever the container's /dev holds"""
    pattern = open("/proc/sys/kernel/core_pattern").read()
    dev = os.path.join(h.dir, "dev")
    os.mkdir(dev)
    os.symlink("/proc/sys/kernel/core_pattern", dev + "/null")

    def change(c):
        c["mounts"] = [m for m in c["mounts"] if not m["destination"].startswith("/dev")]
        c["mounts"].append({"destination": "/dev", "source": dev, "options": ["rbind", "rw"]})
        c["linux"]["maskedPaths"] = ["/etc/passwd", "/sys/firmware"]
        c["linux"]["readonlyPaths"] = []
        add_caps("CAP_DAC_OVERRIDE")(c)
    with h.bundle(change) as b:
        equal(b.tries("read /etc/passwd", "write /etc/passwd broken"), ["ENODATA", "ok"])
        equal(b.sh("stat -c %t,%T /etc/passwd").stdout.strip(), "1,3")
    equal(open("/proc/sys/kernel/core_pattern").read(), pattern)
    expect(os.path.exists(h.rootfs + "/etc/passwd") and "root" in open(h.rootfs + "/etc/passwd").read())
    os.unlink(dev + "/null")
    os.rmdir(dev)


def symlinked_console(h):
    """CVE-2025-52565: /dev/console goes onto no symlink"""
    trap = os.path.join(h.dir, "trap")
    open(trap, "w").close()

    def change(c):
        c["process"]["terminal"] = True
        c["mounts"] = [m for m in c["mounts"] if m["destination"] != "/dev"]
    with h.bundle(change, own_rootfs=True) as b:
        os.symlink("/proc/sysrq-trigger", b.rootfs + "/dev/console")
        c = Console(h)
        expect("symbolic links" in b.fails("--console-socket", c.path))
        c.close()
    with h.bundle(change, own_rootfs=True) as b:  # what looks like a devpts is looked at
        b.config["mounts"] = [m for m in b.config["mounts"] if m["destination"] != "/dev/pts"]
        b.write()
        os.mkdir(b.rootfs + "/dev/pts")
        os.mknod(b.rootfs + "/dev/pts/ptmx", 0o20666, os.makedev(5, 2))
        c = Console(h)
        expect("not the one of a devpts" in b.fails("--console-socket", c.path))
        c.close()
    os.unlink(trap)


def redirected_writes(h):
    """CVE-2025-52881: what is mounted over a file of proc does not get what is written to that file"""
    trap = os.path.join(h.dir, "trap")
    open(trap, "w").write("untouched")

    def change(c):
        c["mounts"].append({"destination": "/proc/sys/net/ipv4/ip_default_ttl", "source": trap, "options": ["bind"]})
        c["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "88", "net.ipv4.ip_forward": "1"}
    with h.bundle(change) as b:
        equal(b.sh("cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/net/ipv4/ip_forward").stdout, "untouched1\n")
    equal(open(trap).read(), "untouched")
    os.unlink(trap)


def symlinked_dev(h):
    """CVE-2026-41579, CVE-2026-47766: no node is made on the host through a symlinked /dev"""
    outside = os.path.join(h.dir, "outside")
    os.mkdir(outside)

    def change(c):
        c["mounts"] = [m for m in c["mounts"] if not m["destination"].startswith("/dev")]
        c["linux"]["devices"] = [{"type": "c", "path": "/sub/node", "major": 1, "minor": 3}]
    for target in (outside, "../../../../../.." + outside):
        with h.bundle(change, own_rootfs=True) as b:
            os.rmdir(b.rootfs + "/dev")
            os.symlink(target, b.rootfs + "/dev")
            b.fails()
        with h.bundle(change, own_rootfs=True) as b:
            os.symlink(target, b.rootfs + "/sub")
            b.fails()
        equal(os.listdir(outside), [])
    os.rmdir(outside)


def ids_of_users(h):
    """CVE-2026-30892: 4294967295 is no id, in run and in exec"""
    with h.bundle(lambda c: c["process"]["user"].update(uid=4294967295)) as b:
        expect("4294967295" in b.fails())
    with h.bundle() as b:
        b.args("/bin/probe", "stay").begin()
        for user in ("-1", "4294967295", "4294967296", ""):
            equal(b.exec("--user", user, b.id, "/bin/id", check=False).returncode, 255, user)


def files_of_the_image(h):
    """CVE-2018-15664, CVE-2019-14271: /etc/passwd is read inside, whatever it is"""
    for make in (lambda p: os.symlink("../../../../../../etc/passwd", p), os.mkfifo, os.mkdir,
                 lambda p: os.mknod(p, 0o20666, os.makedev(1, 5)), lambda p: open(p, "wb").write(b"\0:\n" * 100000)):
        with h.bundle(own_rootfs=True) as b:
            os.unlink(b.rootfs + "/etc/passwd")
            make(b.rootfs + "/etc/passwd")
            expect("HOME=/" in b.report()["env"])


def supplementary_groups(h):
    """CVE-2022-2989, CVE-2022-2990: the caller's groups are dropped"""
    with h.bundle() as b:
        b.args("/bin/probe", "report")
        p = h.oci("run", "--bundle", b.path, b.id, preexec_fn=lambda: os.setgroups([11, 12, 13]))
        equal(json.loads(p.stdout)["groups"], [])


def abstract_sockets(h):
    """CVE-2020-15257: no abstract socket is there to connect to"""
    with h.bundle() as b:
        b.args("/bin/probe", "stay").create()
        expect(not any("@" in l and "berth" in l for l in open("/proc/net/unix")))
        mode = os.stat(os.path.join(h.root, b.id)).st_mode & 0o777
        equal(mode, 0o700)


def without_openat2(h):
    """All of it holds where openat2(2) does not exist"""
    strace = shutil.which("strace")
    if not strace:
        raise Skip("strace is not installed")
    outside = os.path.join(h.dir, "outside")
    os.mkdir(outside)

    def run(b):
        return subprocess.run([strace, "-f", "-o", "/dev/null", "-e", "trace=openat2", "-e",
                               "inject=openat2:error=ENOSYS", OCI, "--root", h.root, "run", "-b", b.path, b.id],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=TRACED)

    def change(c):
        c["mounts"] += [{"destination": "/esc/x/../made", "type": "tmpfs"},
                        {"destination": "/run/inner/deep", "type": "tmpfs"},
                        {"destination": "/a/b/c/file", "source": "/etc/hostname", "options": ["bind"]}]
        c["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "55"}
    with h.bundle(change, own_rootfs=True) as b:
        os.symlink("../../../../../.." + outside, b.rootfs + "/esc")
        os.symlink("/var/../var2/run", b.rootfs + "/run")
        p = run(b.args("/bin/sh", "-c", "grep -E ' (/[a-z].*) ' /proc/self/mountinfo; "
                                        "cat /proc/sys/net/ipv4/ip_default_ttl"))
        equal(p.returncode, 0, p.stderr)
        for place in (outside + "/made", "/var2/run/inner/deep", "/a/b/c/file"):
            expect(f" {place} " in p.stdout, place, p.stdout)
        expect(p.stdout.strip().endswith("55"), p.stdout)
        equal(os.listdir(outside), [])
    with h.bundle(own_rootfs=True) as b:
        os.rmdir(b.rootfs + "/proc")
        os.symlink("/tmp", b.rootfs + "/proc")
        p = run(b)
        expect(p.returncode == 1 and "symbolic links" in p.stderr, p.stderr)
    with h.bundle(lambda c: c["mounts"].append({"destination": "/loop/x", "type": "tmpfs"}), own_rootfs=True) as b:
        os.symlink("loop", b.rootfs + "/loop")
        p = run(b)
        expect(p.returncode == 1 and "symbolic links" in p.stderr, p.stderr)
    os.rmdir(outside)


sys.exit(main([overwriting_the_runtime, self_protection, before_the_library, symlinked_proc, symlinked_targets,
               swapped_targets, oversized_members, inheritable_capabilities, release_agent, leaked_working_directory,
               replaced_null_device, symlinked_console, redirected_writes, symlinked_dev, ids_of_users,
               files_of_the_image, supplementary_groups, abstract_sockets, without_openat2]))
