#!/usr/bin/env python3
# tests/bench/oci.py - berth-oci against runc and crun, interleaved in one run
# SPDX-License-Identifier: Apache-2.0
#
# Each command is started by posix_spawn and reaped by wait4, one runtime after
# the other, so that all see the same load. CPU is the runtime's own and its
# container's. On a busy machine CPU medians and wall minima are what to trust.
#
# RUNC=, CRUN=: the peers (from PATH otherwise). ROUNDS=: how many (30).
#
# crun refuses hosts whose cgroup v2 tree beside v1 hierarchies has controllers.
# There all is measured in a mount namespace without that tree.

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

ROUNDS = int(os.environ.get("ROUNDS", "30"))
GAP_S = 0.15  # between cold runs: the kernel's RCU fast path is off by then
MEMORY = "/dev/shm"  # state lies in memory, as below /run: a disk's inodes cost more than a container
PODMAN_FILTER = "/usr/share/containers/seccomp.json"


class Runtime:
    def __init__(self, name, path, work):
        self.name, self.path = name, path
        self.base = [path, "--root", os.path.join(work, "state-" + name)]
        if name == "crun":
            self.base.append("--cgroup-manager=cgroupfs")
        self.count = 0

    def argv(self, *words):
        return self.base + list(words)

    def new_id(self):
        self.count += 1
        return f"bench-{self.name}-{os.getpid()}-{self.count}"

    def works(self, bundle):
        """None, or why it cannot run the bundle here."""
        p = subprocess.run(self.argv("run", "-b", bundle, self.new_id()), stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return None if p.returncode == 0 else p.stdout.strip().split("\n")[-1]


def measure(argv):
    """Wall and CPU in milliseconds."""
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    begin = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=null)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - begin
    if status:
        raise RuntimeError(f"{' '.join(argv)}: status {status:#x}")
    return wall * 1000, (usage.ru_utime + usage.ru_stime) * 1000


def make_rootfs(path, build):
    for d in ("bin", "proc", "sys", "dev", "etc", "tmp"):
        os.makedirs(os.path.join(path, d))
    shutil.copy("/bin/busybox", os.path.join(path, "bin/busybox"))
    for applet in ("true", "sleep", "sh"):
        os.symlink("busybox", os.path.join(path, "bin", applet))


def runc_default(runc, work):
    """What `runc spec` writes."""
    d = tempfile.mkdtemp(dir=work)
    subprocess.run([runc, "spec"], cwd=d, check=True)
    return json.load(open(os.path.join(d, "config.json")))


def podman_filter():
    """podman's default profile as podman resolves it for its default capabilities."""
    profile = json.load(open(PODMAN_FILTER))
    caps = {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
            "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"}
    rules = []
    for s in profile["syscalls"]:
        inc, exc = s.get("includes") or {}, s.get("excludes") or {}
        if set(inc.get("caps") or []) - caps or (inc.get("arches") and "amd64" not in inc["arches"]):
            continue
        if set(exc.get("caps") or []) & caps or "amd64" in (exc.get("arches") or []):
            continue
        rules.append({k: s[k] for k in ("names", "action", "args", "errnoRet") if s.get(k)})
    return {"defaultAction": profile["defaultAction"], "defaultErrnoRet": profile.get("defaultErrnoRet", 1),
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": rules}, sorted(caps)


def like_podman(config):
    """All namespaces but user, filter, masks, limits."""
    config = json.loads(json.dumps(config))
    config["linux"]["seccomp"], caps = podman_filter()
    config["process"]["capabilities"] = {s: caps for s in ("bounding", "effective", "permitted")}
    config["linux"]["namespaces"].append({"type": "cgroup"})
    config["linux"]["resources"].update(memory={"limit": 256 << 20}, pids={"limit": 2048},
                                        cpu={"shares": 1024, "quota": 100000, "period": 100000})
    return config


def bundle(work, name, config, args):
    d = os.path.join(work, name)
    os.mkdir(d)
    config = json.loads(json.dumps(config))
    config["process"].update(terminal=False, args=args, rlimits=[])
    config["root"] = {"path": os.path.join(work, "rootfs")}
    with open(os.path.join(d, "config.json"), "w") as f:
        json.dump(config, f)
    return d


def at(values, part):
    return sorted(values)[int(len(values) * part)]


def show(title, results, base="berth-oci"):
    print(f"\n{title}")
    print(f"  {'':12} {'wall min':>9} {'p25':>8} {'median':>8} {'CPU med':>8}   {'CPU ratio':>9} {'wall ratio':>10}")
    own_wall, own_cpu = (list(x) for x in zip(*results[base]))
    for name, rows in results.items():
        wall, cpu = (list(x) for x in zip(*rows))
        ratios = "" if name == base else f"   {at(own_cpu, .5) / at(cpu, .5):9.2f} {min(own_wall) / min(wall):10.2f}"
        print(f"  {name:12} {min(wall):9.2f} {at(wall, .25):8.2f} {at(wall, .5):8.2f} {at(cpu, .5):8.2f}{ratios}")


def bench_run(title, runtimes, path, rounds, gap=0.0):
    results = {r.name: [] for r in runtimes}
    for _ in range(rounds):
        for r in runtimes:
            time.sleep(gap)
            results[r.name].append(measure(r.argv("run", "-b", path, r.new_id())))
    show(title, results)


def bench_life(runtimes, path, rounds):
    steps = ("create", "start", "state", "exec", "kill", "delete")
    results = {s: {r.name: [] for r in runtimes} for s in steps}
    for _ in range(rounds):
        for r in runtimes:
            cid = r.new_id()
            words = {"create": ["create", "-b", path, cid], "start": ["start", cid], "state": ["state", cid],
                     "exec": ["exec", cid, "/bin/true"], "kill": ["kill", cid, "KILL"], "delete": ["delete", "-f", cid]}
            for s in steps:
                results[s][r.name].append(measure(r.argv(*words[s])))
    for s in steps:
        show(f"{s}, podman-like bundle", results[s])


def all_at_once(argvs):
    """Milliseconds until the last of them has ended, and how many failed."""
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    begin = time.perf_counter()
    pids = [os.posix_spawn(a[0], a, os.environ, file_actions=null) for a in argvs]
    failed = sum(os.waitpid(p, 0)[1] != 0 for p in pids)
    return (time.perf_counter() - begin) * 1000, failed


def bench_crowd(runtimes, path, count=100):
    print(f"\n{count} started at once (run --detach), then deleted at once, podman-like bundle")
    totals = {}
    for r in runtimes:
        ids = [r.new_id() for _ in range(count)]
        started, f1 = all_at_once([r.argv("run", "--detach", "-b", path, i) for i in ids])
        deleted, f2 = all_at_once([r.argv("delete", "-f", i) for i in ids])
        totals[r.name] = started + deleted
        ratio = totals["berth-oci"] / totals[r.name]
        print(f"  {r.name:12} started in {started:8.1f} ms, deleted in {deleted:8.1f} ms, {f1 + f2} failed; "
              f"ratio of the sums {ratio:5.2f}")


def bench_memory(runtimes, work, config):
    print("\nsmallest memory limit that runs true three times of three, KiB")
    for r in runtimes:
        for kib in (64, 128, 256, 512, 1024, 2048, 4096, 8192):
            path = os.path.join(work, f"memory-{r.name}-{kib}")
            config["linux"]["resources"]["memory"] = {"limit": kib << 10}
            bundle(work, os.path.basename(path), config, ["/bin/true"])
            if all(r.works(path) is None for _ in range(3)):
                print(f"  {r.name:12} {kib}")
                break


def bench_move(hierarchy="/sys/fs/cgroup/memory"):
    """What the cold figures hold of the kernel's own wait, for whoever moves another process."""
    place = f"{hierarchy}/berth-bench-{os.getpid()}"
    if not os.path.exists(hierarchy):
        return
    process = subprocess.Popen(["sleep", "1000"])
    os.mkdir(place)
    took = []
    for to in (place, hierarchy) * 4:
        with open(to + "/cgroup.procs", "w") as f:
            time.sleep(GAP_S)
            begin = time.perf_counter()
            f.write(str(process.pid))
            f.flush()
            took.append((time.perf_counter() - begin) * 1000)
    process.kill()
    process.wait()
    os.rmdir(place)
    print(f"(moving another process between cgroups, {GAP_S} s apart, takes {at(took, .5):.2f} ms on this host)")


def without_unified(build):
    """All of it again, in a mount namespace where the host has v1 only."""
    script = "mount --make-rprivate / && umount /sys/fs/cgroup/unified && exec \"$@\""
    print("(without /sys/fs/cgroup/unified, for crun's sake)", flush=True)
    subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", sys.executable, os.path.abspath(__file__), build],
                   env=dict(os.environ, WITHOUT_UNIFIED="1"), check=True)


def main(build):
    """Prints tables; the ratios are berth-oci's figure divided by the peer's."""
    if os.path.ismount("/sys/fs/cgroup/unified") and not os.environ.get("WITHOUT_UNIFIED"):
        without_unified(build)
        return
    work = tempfile.mkdtemp(prefix="berth-bench-", dir=MEMORY)
    try:
        make_rootfs(os.path.join(work, "rootfs"), build)
        runc = os.environ.get("RUNC") or shutil.which("runc")
        crun = os.environ.get("CRUN") or shutil.which("crun")
        if not runc:
            print("runc is not installed: nothing to compare with")
            return
        plain = runc_default(runc, work)
        runtimes = [Runtime("berth-oci", os.path.abspath(os.path.join(build, "berth-oci")), work)]
        b1 = bundle(work, "b1", plain, ["/bin/true"])
        for name, path in (("runc", runc), ("crun", crun)):
            peer = Runtime(name, path, work) if path else None
            why = peer.works(b1) if peer else "not installed"
            if why:
                print(f"without {name}: {why}")
            else:
                runtimes.append(peer)
        bench_run("run true, `runc spec` bundle", runtimes, b1, ROUNDS)
        if os.path.exists(PODMAN_FILTER):
            b2 = bundle(work, "b2", like_podman(plain), ["/bin/true"])
            bench_run("run true, podman-like bundle", runtimes, b2, ROUNDS)
            bench_run(f"the same, {GAP_S} s apart", runtimes, b2, max(ROUNDS // 2, 1), GAP_S)
            bench_move()
            bench_crowd(runtimes, bundle(work, "b4", like_podman(plain), ["/bin/sleep", "1000"]))
            bench_memory(runtimes, work, like_podman(plain))
            bench_life(runtimes, bundle(work, "b3", like_podman(plain), ["/bin/sleep", "1000"]), ROUNDS)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "build/release")
