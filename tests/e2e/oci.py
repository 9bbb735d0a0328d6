# tests/e2e/oci.py - what the tests of berth-oci have in common
# SPDX-License-Identifier: Apache-2.0
#
# A Host is a folder of its own with a state root, bundles and a cgroup name
# that nobody else uses. After every case it must be as it was: no container, no
# cgroup, no mount, no process.

import copy
import ctypes
import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

BUILD = os.environ.get("BERTH_BUILD", "build/release")
OCI = os.path.abspath(os.path.join(BUILD, "berth-oci"))
PROBE = os.path.abspath(os.path.join(BUILD, "tests/e2e/root/probe"))
BUSYBOX = "/bin/busybox"
APPLETS = ("sh cat echo ls sleep id true false mount umount grep touch ps env stat readlink rm mkdir ln "
           "chroot mknod dd tty stty hostname ip test head").split()
DEADLINE_S = 20
TRACED = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")  # LeakSanitizer cannot be traced
TIMES = bool(os.environ.get("TIMES"))

CONFIG = {
    "ociVersion": "1.2.0",
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/probe", "true"],
        "env": ["PATH=/usr/bin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {s: ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
                         for s in ("bounding", "effective", "permitted")},
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": False},
    "hostname": "berth",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
         "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
    ],
    "linux": {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
}


class Skip(Exception):
    pass


def expect(what, *context):
    if not what:
        raise AssertionError(" ".join(str(c) for c in context))


def equal(got, wanted, what=""):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, wanted {wanted!r}")


def until(condition, what, seconds=DEADLINE_S):
    """Poll until the condition holds; returns what it gave."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def cgroup_roots():
    """Mount point of each hierarchy, by its controllers; v2 is ''."""
    roots = {}
    for line in open("/proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        kind, _, options = right.split()[:3]
        if kind == "cgroup2":
            roots[""] = left.split()[4]
        elif kind == "cgroup":
            for word in options.split(","):
                roots[word] = left.split()[4]
    return roots


def is_v2():
    return "memory" not in cgroup_roots()


def only_where(condition):
    """A case that has no meaning on other hosts: it is not run there, and 25-oci-vm.py has a host where it is."""
    def mark(case):
        case.applies = condition
        return case
    return mark


def drop_sys_resource():
    """For preexec_fn: what is executed next lacks CAP_SYS_RESOURCE, whatever this host's root has."""
    ctypes.CDLL(None).prctl(24, 24, 0, 0, 0)  # PR_CAPBSET_DROP


class Host:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="berth-oci-")
        self.root = os.path.join(self.dir, "state")
        self.cgroup = f"/berth-test-{os.getpid()}"
        self.count = 0
        self.rootfs = os.path.join(self.dir, "image")
        make_rootfs(self.rootfs)

    def close(self):
        for name in os.listdir(self.root) if os.path.isdir(self.root) else []:
            self.oci("delete", "--force", name, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def oci(self, *args, check=True, **kw):
        """Run berth-oci; stdout and stderr as text."""
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        kw.setdefault("timeout", 60)
        p = subprocess.run([OCI, "--root", self.root, *args], text=True, **kw)
        if check and p.returncode != 0:
            raise AssertionError(f"berth-oci {' '.join(args)}: exit {p.returncode}: {p.stderr}")
        return p

    def quiet(self, *args, **kw):
        """For create and detached runs: no pipe of ours may stay in the container."""
        err = tempfile.TemporaryFile("w+")
        p = self.oci(*args, check=False, stdout=subprocess.DEVNULL, stderr=err, **kw)
        err.seek(0)
        p.stderr = err.read()
        if p.returncode != 0:
            raise AssertionError(f"berth-oci {' '.join(args)}: exit {p.returncode}: {p.stderr}")
        return p

    def bundle(self, change=None, own_rootfs=False):
        self.count += 1
        return Bundle(self, f"t{os.getpid()}-{self.count}", change, own_rootfs)

    def left_over(self):
        """What a case has left behind, as text; '' when nothing."""
        found = []
        if os.path.isdir(self.root):
            found += [f"container {n}" for n in os.listdir(self.root) if not n.startswith(".")]
        for root in set(cgroup_roots().values()):
            if os.path.exists(root + self.cgroup):
                found.append(f"cgroup {root}{self.cgroup}")
        found += [f"mount {l.split()[4]}" for l in open("/proc/self/mountinfo") if self.dir in l]
        found += [f"process {p}" for p in self.processes()]
        return ", ".join(found)

    def processes(self):
        """Those whose root or command line lies in our folder."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                cmd = open(f"/proc/{pid}/cmdline").read()
                cgroup = open(f"/proc/{pid}/cgroup").read()
                if open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z":
                    continue  # dead, and its reaper's affair
            except OSError:
                continue
            if self.cgroup + "/" in cgroup or (self.dir in cmd and int(pid) != os.getpid()):
                yield f"{pid} {cmd[:80]!r}"


def make_rootfs(path):
    for d in ("bin", "proc", "sys", "dev", "etc", "tmp", "root"):
        os.makedirs(os.path.join(path, d))
    os.chmod(os.path.join(path, "tmp"), 0o1777)
    shutil.copy(BUSYBOX, os.path.join(path, "bin/busybox"))
    shutil.copy(PROBE, os.path.join(path, "bin/probe"))
    for a in APPLETS:
        os.symlink("busybox", os.path.join(path, "bin", a))
    with open(os.path.join(path, "etc/passwd"), "w") as f:
        f.write("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:A User:/home/user:/bin/sh\n")


class Bundle:
    """A bundle and the container made of it; used as `with host.bundle(...) as b`."""

    def __init__(self, host, name, change, own_rootfs):
        self.host, self.id = host, name
        self.path = os.path.join(host.dir, name)
        os.mkdir(self.path)
        if own_rootfs:
            make_rootfs(os.path.join(self.path, "rootfs"))
        self.config = copy.deepcopy(CONFIG)
        self.rootfs = os.path.join(self.path, "rootfs") if own_rootfs else host.rootfs
        self.config["root"]["path"] = "rootfs" if own_rootfs else host.rootfs
        self.config["linux"]["cgroupsPath"] = f"{host.cgroup}/{name}"
        if change:
            change(self.config)
        self.write()

    def write(self):
        with open(os.path.join(self.path, "config.json"), "w") as f:
            json.dump(self.config, f)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.host.oci("delete", "--force", self.id, check=False)
        shutil.rmtree(self.path, ignore_errors=True)

    def args(self, *args):
        self.config["process"]["args"] = list(args)
        self.write()
        return self

    def create(self, *options, **kw):
        return self.host.quiet("create", "--bundle", self.path, *options, self.id, **kw)

    def start(self):
        return self.host.oci("start", self.id)

    def begin(self, *options, **kw):
        """Created and started, detached."""
        self.create(*options, **kw)
        self.start()
        return self

    def begin_in_terminal(self):
        """The same with process.terminal; nobody reads the terminal."""
        console = Console(self.host)
        self.create("--console-socket", console.path)
        os.close(console.take())
        console.close()
        self.start()

    def run(self, *options, check=True, **kw):
        return self.host.oci("run", "--bundle", self.path, *options, self.id, check=check, **kw)

    def fails(self, *options, command="create", **kw):
        """It must be refused; returns what was said. Nothing may be left behind."""
        err = tempfile.TemporaryFile("w+")
        p = self.host.oci(command, "--bundle", self.path, *options, self.id, check=False,
                          stdout=subprocess.DEVNULL, stderr=err, **kw)
        err.seek(0)
        said = err.read()
        expect(p.returncode == 1, "not refused:", p.returncode, said)
        expect(not os.path.exists(os.path.join(self.host.root, self.id)), "its state is left behind")
        return said

    def report(self, *options, **kw):
        """What the probe sees in a container of this config."""
        return json.loads(self.args("/bin/probe", "report").run(*options, **kw).stdout)

    def tries(self, *calls, **kw):
        """The outcome of each call ('open /x r') made inside."""
        words = []
        for c in calls:
            words += (["--"] if words else []) + c.split()
        return self.args("/bin/probe", "try", *words).run(**kw).stdout.split()

    def sh(self, script, check=True, **kw):
        return self.args("/bin/sh", "-c", script).run(check=check, **kw)

    def exec(self, *args, check=True, **kw):
        return self.host.oci("exec", *args, check=check, **kw)

    def state(self):
        return json.loads(self.host.oci("state", self.id).stdout)

    def pid(self):
        return self.state()["pid"]

    def wait_status(self, status):
        return until(lambda: self.state()["status"] == status, f"status {status}")

    def cgroup_file(self, controller, name):
        roots = cgroup_roots()
        root = roots.get(controller, roots.get(""))
        return f"{root}{self.host.cgroup}/{self.id}/{name}"


def status_of(report):
    """/proc/self/status as a dictionary."""
    return dict(l.split(":\t", 1) for l in report["status"].strip().split("\n"))


def mounts_of(report):
    """Mount point to (options, kind, source, super options, tags), the last one on top."""
    table = {}
    for line in report["mountinfo"].strip().split("\n"):
        left, _, right = line.partition(" - ")
        fields, tail = left.split(), right.split()
        table[fields[4]] = (fields[5].split(","), tail[0], tail[1], tail[2].split(","), fields[6:])
    return table


class Console:
    """A listening console socket; take() gives the master side of the terminal."""

    def __init__(self, host):
        self.path = os.path.join(host.dir, "console.sock")
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.bind(self.path)
        self.sock.listen(1)
        self.sock.settimeout(DEADLINE_S)

    def take(self):
        conn, _ = self.sock.accept()
        conn.settimeout(DEADLINE_S)
        _, fds, _, _ = socket.recv_fds(conn, 256, 4)
        conn.close()
        equal(len(fds), 1, "descriptors on the console socket")
        return fds[0]

    def close(self):
        self.sock.close()
        os.unlink(self.path)


def read_until(fd, text, seconds=DEADLINE_S):
    """Read a terminal until the text has come."""
    got = b""
    os.set_blocking(fd, False)

    def look():
        nonlocal got
        try:
            got += os.read(fd, 4096)
        except BlockingIOError:
            pass
        except OSError as e:
            if e.errno != errno.EIO:
                raise
        return text in got
    try:
        until(look, f"{text!r} on the terminal", seconds)
    except AssertionError:
        raise AssertionError(f"{text!r} did not come, but {got!r}") from None
    return got


def main(cases):
    if os.geteuid() != 0:
        print("skip oci: needs root")
        return 0
    for tool in (OCI, PROBE, BUSYBOX):
        if not os.path.exists(tool):
            print(f"not ok {tool} is not there")
            return 1
    only = sys.argv[1:]
    host, failed = Host(), 0
    for case in cases:
        name = case.__doc__.strip().split("\n")[0].rstrip(".")
        if only and not any(o in case.__name__ for o in only):
            continue
        if not getattr(case, "applies", lambda: True)():
            continue
        begin = time.monotonic()
        try:
            case(host)
            left = ""
            try:
                until(lambda: not host.left_over(), "clean", 5)
            except AssertionError:
                left = host.left_over()
            expect(not left, "left behind:", left)
            print(f"ok {name} ({time.monotonic() - begin:.2f} s)" if TIMES else f"ok {name}")
        except Skip as s:
            print(f"skip {name}: {s}")
        except BaseException:
            failed += 1
            print(f"not ok {name}")
            print("  " + traceback.format_exc().replace("\n", "\n  "))
            for n in os.listdir(host.root) if os.path.isdir(host.root) else []:
                if not n.startswith("."):
                    host.oci("delete", "--force", n, check=False)
        sys.stdout.flush()
    host.close()
    return 1 if failed else 0
