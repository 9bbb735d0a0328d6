#!/usr/bin/env python3
# tests/e2e/20-oci-rootless.py - berth-oci of an ordinary user, alone and as the runtime of his podman
# SPDX-License-Identifier: Apache-2.0
#
# The user is one of our own: the files that name him and his ids lie over the
# host's in a mount namespace that ends with each command.

import copy
import os
import sys

from oci import *

UID, FIRST, COUNT = 60123, 200000, 65536
NAME = "berthuser"
FILES = {"passwd": f"{NAME}:x:{UID}:{UID}::HOME:/bin/sh", "group": f"{NAME}:x:{UID}:",
         "subuid": f"{NAME}:{FIRST}:{COUNT}", "subgid": f"{NAME}:{FIRST}:{COUNT}"}
ENTER = """set -e
for f in passwd group subuid subgid; do mount --bind {dir}/etc/$f /etc/$f; done
cd {dir}/home
exec setpriv --reuid {uid} --regid {uid} --clear-groups --inh-caps=-all env -i HOME={dir}/home \\
  XDG_RUNTIME_DIR={dir}/run PATH=/usr/bin:/bin:/usr/sbin:/sbin USER={name} "$@"
"""


class User:
    def __init__(self, h):
        self.dir = os.path.join(h.dir, "user")
        for d in ("etc", "home", "run", "bin"):
            os.makedirs(f"{self.dir}/{d}")
        for d in ("home", "run"):
            os.chown(f"{self.dir}/{d}", UID, UID)
        os.chmod(h.dir, 0o755)
        os.chmod(self.dir + "/run", 0o700)
        for name, line in FILES.items():
            host = open(f"/etc/{name}").read() if name in ("passwd", "group") else ""
            with open(f"{self.dir}/etc/{name}", "w") as f:
                f.write(host + line.replace("HOME", self.dir + "/home") + "\n")
        with open(self.dir + "/enter", "w") as f:
            f.write(ENTER.format(dir=self.dir, uid=UID, name=NAME))
        self.oci = self.dir + "/bin/berth-oci"
        shutil.copy(OCI, self.oci)
        self.tar = self.dir + "/image.tar"
        subprocess.run(["tar", "-C", h.rootfs, "-cf", self.tar, "."], check=True)
        os.chmod(self.tar, 0o644)

    def sh(self, *words, check=True):
        p = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", self.dir + "/enter", *words],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           timeout=120)
        if check and p.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: exit {p.returncode}: {p.stderr}")
        return p

    def podman(self, *words, check=True):
        return self.sh("podman", "--runtime", self.oci, "--cgroup-manager", "cgroupfs", "--events-backend", "file",
                       "--storage-driver", "vfs", *words, check=check)

    def run(self, *words, check=True):
        at = words.index("--")
        return self.podman("run", "--rm", "--network", "none", *words[:at], "berth-test", *words[at + 1:], check=check)

    def report(self, *options):
        return json.loads(self.run(*options, "--", "/bin/probe", "report").stdout)


    def bundle(self, change=None):
        """One of his own: root is he, nobody else is there; no cgroup is asked for."""
        path = os.path.join(self.dir, "home", "bundle")
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path)
        make_rootfs(path + "/rootfs")
        config = copy.deepcopy(CONFIG)
        one = [{"containerID": 0, "hostID": 0, "size": 1}]
        config["linux"].update(uidMappings=one, gidMappings=one, resources={})
        config["linux"]["namespaces"].append({"type": "user"})
        config["mounts"] = [m for m in config["mounts"] if m["type"] != "cgroup"]
        for m in config["mounts"]:
            m["options"] = [o for o in m.get("options", []) if o != "gid=5"]  # he has no such group
        if change:
            change(config)
        with open(path + "/config.json", "w") as f:
            json.dump(config, f)
        subprocess.run(["chown", "-R", f"{UID}:{UID}", path], check=True)
        return path


user = None


def needs_user(case):
    def wrapped(h):
        if user is None:
            raise Skip("podman, newuidmap or setpriv is not installed")
        case(h)
    wrapped.__doc__, wrapped.__name__ = case.__doc__, case.__name__
    return wrapped


def prepare(h):
    """An ordinary user imports an image"""
    global user
    if not all(shutil.which(t) for t in ("podman", "newuidmap", "setpriv", "unshare")):
        raise Skip("podman, newuidmap or setpriv is not installed")
    if not all(os.path.exists(f"/etc/{f}") for f in FILES):
        raise Skip("this host has no /etc/subuid and /etc/subgid")
    made = User(h)
    made.podman("import", made.tar, "berth-test")
    user = made


@needs_user
def running(h):
    """run: root inside is the user outside; devices are there, cgroups not to be written to (CVE-2023-25809)"""
    r = user.report()
    equal((r["uid"][0], r["uid_map"].split()[:3]), (0, ["0", str(UID), "1"]))
    equal(status_of(r)["Seccomp"], "2")
    out = user.run("--", "/bin/probe", "try", "open", "/dev/null", "rw", "--", "mknod", "/tmp/x", "c", "1", "99", "--",
                   "open", "/proc/sys/kernel/hostname", "w", "--", "open", "/sys/fs/cgroup/x", "c").stdout.split()
    equal(out[:2] + out[3:], ["ok", "EPERM", "EROFS"])
    expect(out[2] in ("EROFS", "EACCES"), out)
    equal(user.run("--", "/bin/probe", "exit", "7", check=False).returncode, 7)
    equal(user.report("--user", "1000:100")["uid"][0], 1000)
    equal(user.report("--userns", "keep-id")["uid"][0], UID)
    expect("/dev/pts/0" in user.run("-t", "--", "/bin/tty").stdout)
    p = user.run("--memory", "64m", "--", "/bin/true", check=False)
    if not is_v2():
        expect(p.returncode == 0 or "resources" in p.stderr or "cgroup" in p.stderr, p.stderr)


@needs_user
def life(h):
    """create, start, exec, top, stop, logs, rm, and the state lies with the user"""
    user.podman("run", "-d", "--name", "c", "--network", "none", "berth-test", "/bin/probe", "signal")
    equal(len(os.listdir(user.dir + "/run/berth-oci")) > 0, True, "state")
    equal(user.podman("exec", "c", "/bin/echo", "in").stdout, "in\n")
    expect("/dev/pts/" in user.podman("exec", "-t", "c", "/bin/tty").stdout)
    expect("probe" in user.podman("top", "c").stdout)
    user.podman("stop", "c")
    equal(user.podman("inspect", "-f", "{{.State.ExitCode}}", "c").stdout.strip(), "55")
    equal(user.podman("logs", "c").stdout, "ready\n")
    user.podman("rm", "-f", "c")


@needs_user
def pods(h):
    """A pod shares its namespaces, a container those of another"""
    user.podman("pod", "create", "--name", "p", "--network", "none", "--infra-image", "berth-test", "--infra-command",
                "/bin/probe stay")
    a, b = (json.loads(user.podman("run", "--rm", "--pod", "p", "berth-test", "/bin/probe", "report").stdout)
            for _ in range(2))
    for kind in ("net", "ipc", "uts", "user"):
        equal(a["namespaces"][kind], b["namespaces"][kind], kind)
    user.podman("pod", "rm", "-f", "-t", "0", "p")
    user.podman("run", "-d", "--name", "first", "--network", "none", "berth-test", "/bin/probe", "stay")
    r = user.report("--pid", "container:first")
    expect(r["pid"] > 1, r["pid"])
    user.podman("rm", "-f", "-t", "0", "first")


# As podman does it for its user: ids of his own in a user namespace, where he may mount.
INSIDE = ("unshare", "--user", "--map-root-user", "--map-auto", "--mount", "sh", "-c")


@needs_user
def alone(h):
    """Without any engine, in a user namespace of his: run, create, start, exec, kill, delete; what he may not is told"""
    b = user.bundle(lambda c: c["process"].update(args=["/bin/probe", "report"]))
    r = json.loads(user.sh(*INSIDE, f"{user.oci} run -b {b} one").stdout)
    equal((r["uid"][0], r["uid_map"].split(), r["hostname"]), (0, ["0", "0", "1"], "berth"))
    for kind in ("user", "mnt", "pid", "net", "ipc", "uts"):
        expect(r["namespaces"][kind] != os.readlink(f"/proc/self/ns/{kind}"), kind)
    equal(status_of(r)["CapInh"], "0" * 16)

    b = user.bundle(lambda c: c["process"].update(args=["/bin/probe", "signal"]))
    said = user.sh(*INSIDE, f"""set -e; oci={user.oci}
        $oci create -b {b} two </dev/null >/dev/null 2>&1; $oci start two
        $oci exec two /bin/id -u; $oci exec two /bin/probe exit 3 || echo $?; $oci list -q
        $oci delete two 2>&1 || echo refused; $oci kill two TERM
        until $oci state two | grep -q stopped; do sleep 0.01; done
        $oci delete two; $oci list -q""").stdout.split("\n")
    equal(said[:3], ["0", "3", "two"])
    equal(said[4:], ["refused", ""])

    for change, says in ((lambda c: c["linux"]["uidMappings"][0].update(hostID=4000000), "uid"),
                         (lambda c: c["linux"]["resources"].update(memory={"limit": 64 << 20}), "cgroup")):
        p = user.sh(*INSIDE, f"{user.oci} run -b {user.bundle(change)} three", check=False)
        expect(p.returncode != 0 and says in p.stderr, says, p.stderr)
    equal(user.sh(user.oci, "list", "-q").stdout, "")
    shutil.rmtree(b)


def as_himself(config):
    for kind in ("uidMappings", "gidMappings"):
        config["linux"][kind][0]["hostID"] = UID


@needs_user
def plain(h):
    """With nothing around it: `spec --rootless` runs, and all commands serve the container"""
    home = user.dir + "/home/own"
    os.mkdir(home)
    make_rootfs(home + "/rootfs")
    subprocess.run(["chown", "-R", f"{UID}:{UID}", home], check=True)
    user.sh("sh", "-c", f"cd {home}; {user.oci} spec --rootless; sed -i 's/\"terminal\": true/\"terminal\": false/; "
            "s/\"sh\"/\"id\", \"-u\"/' config.json")
    equal(user.sh(user.oci, "run", "-b", home, "first").stdout.strip(), "0")

    b = user.bundle(lambda c: (as_himself(c), c["process"].update(args=["/bin/probe", "report"])))
    r = json.loads(user.sh(user.oci, "run", "-b", b, "one").stdout)
    equal((r["uid"][0], status_of(r)["CapInh"]), (0, "0" * 16))
    for kind in ("user", "mnt", "pid", "net", "ipc", "uts"):
        expect(r["namespaces"][kind] != os.readlink(f"/proc/self/ns/{kind}"), kind)

    b = user.bundle(lambda c: (as_himself(c), c["process"].update(args=["/bin/probe", "signal"])))
    said = user.sh("sh", "-c", f"""set -e; oci={user.oci}
        $oci create -b {b} two </dev/null >/dev/null 2>&1; $oci start two
        $oci exec two /bin/id -u; $oci exec two /bin/probe exit 3 || echo $?; $oci list -q
        $oci delete two 2>&1 || echo refused; $oci kill two TERM
        until $oci state two | grep -q stopped; do sleep 0.01; done
        $oci delete two; $oci list -q""").stdout.split("\n")
    equal(said[:3], ["0", "3", "two"])
    equal(said[4:], ["refused", ""])

    def others(config, first=FIRST, size=COUNT):
        for kind in ("uidMappings", "gidMappings"):
            config["linux"][kind] = config["linux"][kind][:1] + [{"containerID": 1, "hostID": first, "size": size}]
    b = user.bundle(lambda c: (as_himself(c), others(c), c["process"].update(
        args=["/bin/probe", "report"], user={"uid": 1000, "gid": 100, "additionalGids": [7]})))
    r = json.loads(user.sh(user.oci, "run", "-b", b, "one").stdout)
    equal(r["uid_map"].split(), ["0", str(UID), "1", "1", str(FIRST), str(COUNT)])
    equal((r["uid"][0], status_of(r)["Gid"].split()[0], status_of(r)["Groups"].split()), (1000, "100", ["7"]))
    b = user.bundle(lambda c: (as_himself(c), others(c), c["process"].update(args=["/bin/probe", "signal"])))
    said = user.sh("sh", "-c", f"""set -e; oci={user.oci}
        $oci create -b {b} two </dev/null >/dev/null 2>&1; $oci start two
        $oci exec --user 5:6 two /bin/id -u; cat /proc/$($oci state two | sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p')/gid_map
        $oci delete --force two""").stdout.split()
    equal(said, ["5", "0", str(UID), "1", "1", str(FIRST), str(COUNT)])
    for change, says in ((lambda c: others(c, FIRST - 1), "newuidmap: uid range"),
                         (lambda c: others(c, FIRST, COUNT + 1), "newuidmap: uid range"),
                         (lambda c: c["process"]["user"].update(additionalGids=[7]), "additionalGids[0]: 7 is not mapped"),
                         (lambda c: c["linux"].update(namespaces=[n for n in c["linux"]["namespaces"]
                                                                  if n["type"] != "user"]), "")):
        bad = user.bundle(lambda c: (as_himself(c), change(c)))
        p = user.sh(user.oci, "run", "-b", bad, "three", check=False)
        expect(p.returncode != 0 and says in p.stderr, says, p.stderr)
    equal(user.sh(user.oci, "list", "-q").stdout, "")
    shutil.rmtree(user.dir + "/home/bundle")
    shutil.rmtree(home)


@needs_user
def finish(h):
    """Nothing is left"""
    user.podman("rm", "-f", "-a", "-t", "0", check=False)
    user.podman("system", "reset", "-f", check=False)
    equal([n for n in os.listdir(user.dir + "/run/berth-oci") if not n.startswith(".")], [])
    # podman's own process that keeps the user namespace
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}").st_uid == UID:
                os.kill(int(pid), 9)
        except OSError:
            pass


sys.exit(main([prepare, alone, plain, running, life, pods, finish]))
