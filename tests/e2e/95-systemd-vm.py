#!/usr/bin/python3
# tests/e2e/95-systemd-vm.py - installed on a Debian with systemd and cgroup v2 alone, in a virtual machine
# SPDX-License-Identifier: Apache-2.0
#
# The tests come in an order, each on the machine as the one before left it: an
# installation, tasks, restarts and crashes, a reboot, an uninstallation. The API
# and a page are reached from outside, by the real `aws` and by boto3; the rest
# is looked at in the machine.

import json
import os
import re
import shutil
import tempfile
import urllib.request

import botocore.exceptions

import berth
import vmlab
from berth import BUILD, TOP, Daemon, Registry, Skip, contains, equal, main, run

API, PAGE = 4566, 8080
SLOW = 240  # seconds that anything may take in a machine without hardware to run it
CHURN = int(os.environ.get("CHURN", "30"))
SCOPE = "/sys/fs/cgroup/berth.slice/berth-tasks.scope"
IMAGE = "127.0.0.1:5000/demo:1"
PROGRAMS = ("berth", "berthd", "berth-keeper", "berth-oci", "berth-worker", "berth-fetcher", "berth-reader",
            "berth-uplink", "berth-metadata", "berth-resolver")

REGISTRY_UP = """mkdir -p /mnt && mount -r /dev/vdb /mnt
systemd-run --quiet --unit=registry docker-registry serve /mnt/registry.yml"""

# What an operator would find of us, by the tools that he has.
TRACES = r"""
nft list tables; ip -o link | grep -v 'lo:\|eth0:'; ls /run/netns /var/run/netns 2>/dev/null
grep berth /proc/mounts; ls -d /sys/fs/cgroup/*berth* /sys/fs/cgroup/*/*berth* 2>/dev/null
for p in /proc/[0-9]*; do readlink $p/exe | grep berth; done
lsns -n -t net -o NS | wc -l
"""


def wait_for(condition, what):
    """Looking is work for the machine, too."""
    return berth.wait_for(condition, SLOW, what, pause=0.3)


def make_runtime_files(tree):
    """A root for containers, and podman with its libraries, where this host has it."""
    root = os.path.join(tree, "rootfs")
    for name in ("bin", "proc", "sys", "dev", "etc", "run", "tmp", "var"):
        os.makedirs(os.path.join(root, name))
    shutil.copy(shutil.which("busybox"), os.path.join(root, "bin/busybox"))
    for name in ("sh", "sleep", "cat", "echo"):
        os.symlink("busybox", os.path.join(root, "bin", name))
    for name in ("resolv.conf", "hosts", "hostname"):  # podman mounts its own there
        vmlab.write(root, "etc/" + name, "")
    if all(shutil.which(name) for name in ("podman", "conmon")):
        for name in ("podman", "conmon"):
            vmlab.add_program(os.path.join(tree, "podman"), shutil.which(name))
        vmlab.write(tree, "podman/etc/policy.json", '{"default": [{"type": "insecureAcceptAnything"}]}')


class Machine(Daemon):
    """A client of the berthd in the machine."""

    def __init__(self):
        os.makedirs(os.path.join(TOP, "build", "e2e"), exist_ok=True)
        self.root = tempfile.mkdtemp(prefix="s", dir=os.path.join(TOP, "build", "e2e"))
        self.guest = self.failed = None

    def boot(self):
        self.guest = vmlab.debian_guest(self.make_disk(), (API, PAGE), memory=1280)
        self.sh = self.guest.sh
        self.endpoint = f"http://127.0.0.1:{self.guest.ports[API]}"
        self.sh(REGISTRY_UP)

    def make_disk(self):
        tree, path = os.path.join(self.root, "tree"), os.path.join(self.root, "disk")
        source = os.path.join(tree, "berth")
        os.makedirs(os.path.join(source, "build/release"))
        for name in ("Makefile", "README.md", "LICENSE"):
            shutil.copy(os.path.join(TOP, name), source)
        shutil.copytree(os.path.join(TOP, "docs"), os.path.join(source, "docs"))
        for name in PROGRAMS:
            run("strip", "-o", os.path.join(source, "build/release", name), os.path.join(BUILD, name))
        vmlab.write(tree, "registry.yml", vmlab.REGISTRY)
        make_runtime_files(tree)
        with Registry() as registry:
            registry.demo()
            shutil.copytree(os.path.join(registry.dir, "data"), os.path.join(tree, "registry"))
        vmlab.make_disk(tree, path, 192)
        shutil.rmtree(tree)
        return path

    def login(self):
        text = self.sh("cat /etc/berth/credentials")
        vmlab.write(self.root, "etc/berth/credentials", text, 0o600)
        self.client = self.boto("ecs")

    def ecs(self, operation, **body):
        """As aws would, but from this process; a daemon that comes back is waited for."""
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        function = getattr(self.client, name)

        def answer():
            try:
                return function(**body)
            except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError):
                return None
        return wait_for(answer, operation)

    def wait_status(self, arn, status, seconds=SLOW):
        return super().wait_status(arn, status, seconds)

    def pid(self, unit):
        return int(self.sh(f"systemctl show -P MainPID {unit}"))

    def wait_new_pid(self, unit, old):
        def new():
            state, pid = self.sh(f"systemctl is-active {unit}; systemctl show -P MainPID {unit}").split()
            return state == "active" and int(pid) not in (0, old) and int(pid)
        return wait_for(new, f"another process of {unit}")

    def page(self):
        def fetch():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.guest.ports[PAGE]}/", timeout=30) as r:
                    return r.read().decode()
            except OSError:
                return None
        return wait_for(fetch, "the page")

    def traces(self):
        return self.sh(TRACES)

    def end(self):
        if self.guest:
            self.guest.end()
        shutil.rmtree(self.root)


machine = Machine()
web = None
told = {}  # for who measures


def cleanup():
    machine.end()


def one_after_the_other(function):
    """Nothing can be said after a failure, but what the machine has logged."""
    def test():
        if machine.failed:
            raise Skip(f"{machine.failed} failed")
        try:
            function()
        except BaseException:
            machine.failed = function.__name__
            if machine.guest and not machine.guest.silent:
                print(machine.sh("journalctl -b --no-pager -o cat -u berthd -u berth-tasks -u berth-tasks.scope -n 60 | "
                                 "sed 's/^/  /'; sed 's/^/  /' /run/berth/keeper.log", check=False))
            raise
    return test


def at_rest():
    """What is there when nothing is being made ahead any more."""
    seen = []

    def same():
        seen.append(machine.traces())
        return len(seen) > 1 and seen[-1] == seen[-2]
    wait_for(same, "a machine at rest")
    return seen[-1]


def as_before(traces):
    try:
        wait_for(lambda: machine.traces() == traces, "what was before")
    except AssertionError:
        equal(machine.traces(), traces)


def sh(script, **more):
    return dict(dict(name="c", image=IMAGE, memory=32, entryPoint=["/bin/sh", "-c"], command=[script]), **more)


def group():
    """The cgroup of the web server's container."""
    return f"{SCOPE}/{web.split('/')[-1]}/0"


def web_pid():
    return machine.sh(f"head -n 1 {group()}/cgroup.procs").strip()


def lives(pid):
    """The task's process is the same, and it serves."""
    contains(machine.page(), "Hello from Berth")
    equal((machine.task(web)["lastStatus"], web_pid()), ("RUNNING", pid))


# ---- what an operator does first ----

def test_it_installs_and_starts():
    machine.boot()
    told["before"] = machine.traces()
    machine.sh("make -s -C /mnt/berth install >/dev/null")
    machine.sh("systemd-analyze verify /lib/systemd/system/berth{d,-tasks}.service /lib/systemd/system/berth.slice")
    machine.sh("mkdir -p /etc/berth && sed 's/^listen = [^ ]*/listen = 0.0.0.0:4566/' "
               "/usr/share/doc/berth/berth.conf > /etc/berth/berth.conf")
    begin = machine.sh("systemctl enable --quiet berth-tasks berthd; cut -d' ' -f1 /proc/uptime; "
                       "systemctl start berth-tasks berthd; cut -d' ' -f1 /proc/uptime").split()
    told["start to ready"] = f"{float(begin[1]) - float(begin[0]):.2f} s"
    equal(machine.sh("systemctl is-active berthd berth-tasks berth-tasks.scope").split(), ["active"] * 3)
    machine.login()
    equal(machine.aws("ecs", "list-tasks")["taskArns"], [])


def test_a_task_runs_and_its_page_is_fetched_from_outside():
    global web
    definition = [dict(name="web", image=IMAGE, cpu=64, memory=32,
                       portMappings=[dict(containerPort=80, hostPort=PAGE), dict(containerPort=81)])]
    machine.aws("ecs", "register-task-definition", "--family", "web", "--container-definitions",
                json.dumps(definition))
    web = machine.aws("ecs", "run-task", "--task-definition", "web")["tasks"][0]["taskArn"]
    machine.wait_status(web, "RUNNING")
    contains(machine.page(), "Hello from Berth")


def ids_of(task):
    return next(a["value"] for a in task["attributes"] if a["name"] == "berth.user-namespace")


def test_users_of_its_containers_are_not_the_hosts():
    first = int(ids_of(machine.task(web)))
    equal(machine.sh(f"stat -c '%u %g' /proc/{web_pid()}").split(), [str(first)] * 2)
    equal(machine.sh(f"stat -c '%u' /proc/{web_pid()}/root/bin /proc/{web_pid()}/root/dev").split(), [str(first)] * 2)
    machine.sh("mkdir -p /srv/volume /run/volume; touch /srv/volume/given; chown 7:8 /srv/volume/given")
    # Linux 6.1 can do it with ext4 and not with tmpfs.
    for place, expected in (("/srv/volume", None), ("/run/volume", "off: volume v: ids of tmpfs at /run/volume cannot "
                                                    "be mapped: Invalid argument")):
        task = machine.run_task([sh("touch /v/new; chown 5:6 /v/new; stat -c %u:%g /v/*", mountPoints=[
            dict(sourceVolume="v", containerPath="/v")])], volumes=[dict(name="v", host=dict(sourcePath=place))])
        ended = machine.wait_stopped(task)
        equal(ended["containers"][0].get("exitCode"), 0)
        if expected:
            equal(ids_of(ended), expected)
        else:
            equal(ids_of(ended).isdigit(), True)
        equal(machine.sh(f"stat -c %u:%g {place}/*").split()[-1], "5:6")


def test_its_limits_are_in_the_scope_that_systemd_gave():
    values = machine.sh(f"cd {group()} && cat cpu.weight memory.max pids.max").split()
    equal(values, ["3", str(32 << 20), "4096"])  # 64 shares of 1024
    keeper = machine.pid("berth-tasks")
    equal(machine.sh(f"cat /proc/{keeper}/cgroup").strip(), "0::/berth.slice/berth-tasks.scope/keeper")
    equal(machine.sh(f"cat /proc/{web_pid()}/oom_score_adj /proc/{keeper}/oom_score_adj").split(), ["0", "-999"])
    equal(set(machine.sh("for p in $(cat /sys/fs/cgroup/system.slice/berthd.service/cgroup.procs); do "
                         "readlink /proc/$p/exe; done").split()), {"/usr/sbin/berthd"})


def test_it_is_told_what_it_is_and_uses():
    uri = machine.sh(f"tr '\\0' '\\n' </proc/{web_pid()}/environ | sed -n 's/^ECS_CONTAINER_METADATA_URI_V4=//p'").strip()

    def ask(path):
        return json.loads(machine.sh(f"nsenter -t {web_pid()} -m -n /bin/busybox wget -q -O - {uri}{path}"))
    equal(ask("/task")["TaskARN"], web)
    used = ask("/stats")
    equal((used["memory_stats"]["limit"], used["pids_stats"]["limit"]), (32 << 20, 4096))
    assert used["memory_stats"]["usage"] > 0 and used["cpu_stats"]["cpu_usage"]["total_usage"] > 0, used


def test_it_is_told_names_while_berthd_is_stopped():
    def ask():
        return machine.sh(f"nsenter -t {web_pid()} -m -n /bin/busybox nslookup a.test 169.254.169.253 2>&1", check=False)

    contains(ask(), "SERVFAIL")  # of this machine, which knows nobody to ask
    machine.sh("systemctl stop berthd")
    contains(ask(), "SERVFAIL")
    contains(machine.sh(f"for p in $(cat {SCOPE}/keeper/cgroup.procs); do readlink /proc/$p/exe; done"), "/berth-resolver")
    machine.sh("systemctl start berthd")
    contains(ask(), "SERVFAIL")


def test_who_takes_too_much_memory_is_told_so():
    arn = machine.run_task([sh("exec tail /dev/zero", memory=16)])
    container = machine.wait_stopped(arn)["containers"][0]
    equal((container.get("exitCode"), container.get("reason")),
          (137, "OutOfMemoryError: Container killed due to memory usage"))


def test_a_container_that_waits_becomes_the_tasks():
    def waiting():
        return machine.sh(f"cd {SCOPE} && for d in */; do [ ${{#d}} = 17 ] && cat $d/0/cgroup.procs; done; true").split()

    machine.wait_stopped(machine.run_task([sh("true")]))
    wait_for(lambda: len(waiting()) == 1, "a container that waits")
    pid, = waiting()
    arn = machine.run_task([sh("exec sleep 1000")])
    machine.wait_status(arn, "RUNNING")
    wait_for(lambda: "sleep" in machine.sh(f"cat /proc/{pid}/cmdline", check=False), "it is the one that waited")
    machine.aws("ecs", "stop-task", "--task", arn)
    machine.wait_stopped(arn)


# ---- berth-oci with the systemd cgroup driver ----

OCI_SPEC = {
    "ociVersion": "1.2.0", "root": {"path": "/mnt/rootfs", "readonly": True},
    "process": {"args": ["/bin/sleep", "1000"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
    "mounts": [{"destination": "/" + name, "type": type, "source": type} for name, type in (("proc", "proc"), ("dev", "tmpfs"))],
    "linux": {"cgroupsPath": "oci-pod.slice:oci:one", "namespaces": [{"type": t} for t in ("pid", "mount", "ipc", "network")],
              "resources": {"memory": {"limit": 64 << 20}, "pids": {"limit": 50},
                            "cpu": {"quota": 50000, "period": 100000}}}}
OCI_SCOPE = "/oci.slice/oci-pod.slice/oci-one.scope"


def of_unit(unit, *names):
    """Properties, as systemd tells them."""
    return [machine.sh(f"systemctl show {unit} -P {name}").strip() for name in names]


def test_a_container_is_a_scope_of_systemd():
    machine.sh(f"mkdir -p /run/oci-one && cat >/run/oci-one/config.json <<'EOF'\n{json.dumps(OCI_SPEC)}\nEOF")
    machine.sh("berth-oci --systemd-cgroup create -b /run/oci-one one && berth-oci start one")
    equal(of_unit("oci-one.scope", "ActiveState", "Slice", "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec"),
          ["active", "oci-pod.slice", str(64 << 20), "50", "500ms"])
    equal(machine.sh("berth-oci exec one cat /proc/self/cgroup").strip(), "0::" + OCI_SCOPE)
    look = f"cd /sys/fs/cgroup{OCI_SCOPE} && cat memory.max pids.max cpu.max"
    equal(machine.sh(look).split(), [str(64 << 20), "50", "50000", "100000"])
    machine.sh("berth-oci update --memory 33554432 --pids-limit 40 one && systemctl daemon-reload")
    equal(of_unit("oci-one.scope", "MemoryMax", "TasksMax"), [str(32 << 20), "40"])
    equal(machine.sh(look).split(), [str(32 << 20), "40", "50000", "100000"])
    machine.sh("berth-oci pause one && berth-oci resume one && berth-oci kill one KILL")
    wait_for(lambda: '"stopped"' in machine.sh("berth-oci state one"), "its end")
    machine.sh("berth-oci delete one")
    nothing_of_the_scope("oci-*.scope", OCI_SCOPE)


def nothing_of_the_scope(pattern, path):
    wait_for(lambda: not machine.sh(f"systemctl list-units --all --plain --no-legend '{pattern}'").strip(), "no scope")
    machine.sh(f"! test -e /sys/fs/cgroup{path}")


def test_podman_has_systemd_make_the_cgroups():
    if not machine.sh("ls /mnt/podman 2>/dev/null", check=False):
        raise Skip("podman is not installed")
    podman = ("/mnt/podman/usr/bin/podman --runtime /usr/bin/berth-oci --conmon /mnt/podman/usr/bin/conmon "
              "--cgroup-manager systemd --events-backend file --root /run/pm --runroot /run/pmrun --storage-driver vfs ")
    machine.sh("find /mnt/podman -name '*.so.*' -printf '%h\\n' | sort -u >/etc/ld.so.conf.d/podman.conf && ldconfig")
    machine.sh("mkdir -p /etc/containers && cp /mnt/podman/etc/policy.json /etc/containers && cp -r /mnt/rootfs /run/rootfs")
    name = machine.sh(podman + "run -d --network none --memory 32m --pids-limit 30 --rootfs /run/rootfs sleep 1000").strip()
    scope = f"libpod-{name}.scope"
    equal(of_unit(scope, "ActiveState", "Slice", "MemoryMax", "TasksMax"),
          ["active", "machine.slice", str(32 << 20), "30"])
    equal(machine.sh(podman + f"exec {name} cat /proc/self/cgroup").strip(), "0::/")  # in a namespace of its own
    machine.sh(podman + f"update --memory 48m {name}")
    equal(of_unit(scope, "MemoryMax"), [str(48 << 20)])
    machine.sh(podman + f"rm -f -t 0 {name}")
    nothing_of_the_scope("libpod-*.scope", f"/machine.slice/{scope}")
    machine.sh("rm -r /run/berth-oci /etc/containers /run/rootfs /etc/ld.so.conf.d/podman.conf; ldconfig; umount /run/pm/vfs /run/pm 2>/dev/null; rm -rf /run/pm /run/pmrun", check=False)


# ---- what happens to the daemon and to the keeper ----

def test_restart_and_stop_of_the_daemon_leave_tasks_alone():
    pid = web_pid()
    old = machine.pid("berthd")
    machine.sh("systemctl restart berthd")
    assert machine.pid("berthd") != old
    lives(pid)
    machine.sh("systemctl stop berthd")
    contains(machine.page(), "Hello from Berth")
    machine.sh("systemctl start berthd")
    lives(pid)


def test_an_upgrade_leaves_tasks_alone():
    pid, keeper = web_pid(), machine.pid("berth-tasks")
    running = f"readlink /proc/{machine.pid('berthd')}/exe"
    machine.sh("make -s -C /mnt/berth install >/dev/null")
    equal(machine.sh(running).strip(), "/usr/sbin/berthd (deleted)")
    machine.sh("systemctl restart berthd && systemctl reload berth-tasks")
    equal(machine.sh(f"readlink /proc/{machine.pid('berthd')}/exe").strip(), "/usr/sbin/berthd")
    equal(machine.pid("berth-tasks"), keeper)
    lives(pid)


def test_restart_and_stop_of_the_keeper_leave_tasks_alone():
    pid, keeper = web_pid(), machine.pid("berth-tasks")
    machine.sh("systemctl restart berth-tasks")
    equal(machine.pid("berth-tasks"), keeper)  # only the parent knows how a process ends
    lives(pid)
    machine.sh("systemctl stop berth-tasks")
    lives(pid)
    machine.sh("systemctl start berth-tasks")
    equal(machine.pid("berth-tasks"), keeper)
    lives(pid)


def test_a_killed_daemon_comes_back():
    pid = web_pid()
    for _ in range(2):
        old = machine.pid("berthd")
        machine.sh(f"kill -9 {old}")
        machine.wait_new_pid("berthd", old)
    lives(pid)


def test_a_killed_keeper_comes_back_and_has_the_tasks():
    pid = web_pid()
    for _ in range(2):
        old = machine.pid("berth-tasks")
        machine.sh(f"kill -9 {old}")
        new = machine.wait_new_pid("berth-tasks", old)
        equal(machine.sh(f"cat /proc/{new}/cgroup").strip(), "0::/berth.slice/berth-tasks.scope/keeper")
    lives(pid)
    another = machine.run_task([sh("exit 5")])
    equal(machine.wait_stopped(another)["containers"][0].get("exitCode"), 5)


def test_a_reload_of_systemd_takes_no_limit_away():
    pid = web_pid()
    look = f"cd {group()} && cat cpu.weight memory.max pids.max cgroup.controllers"
    before = machine.sh(look)
    machine.sh("systemctl daemon-reload && systemctl daemon-reexec")
    equal(machine.sh(look), before)
    lives(pid)


def test_another_one_without_units_has_a_scope_of_its_own():
    before = at_rest()
    machine.sh("setsid berthd --root /second --listen 127.0.0.1:0 >/run/second 2>&1 </dev/null &")
    wait_for(lambda: " ready: " in machine.sh("cat /run/second"), "the second daemon")
    name = re.search(r"/(berth-[0-9a-f]+)-tasks.scope$",
                     machine.sh("cat /proc/$(pgrep -f 'berth-keeper.*/second')/cgroup").replace("/keeper\n", ""))[1]
    machine.sh(f"berth --root /second run -d {IMAGE}")
    wait_for(lambda: machine.sh(f"cat /sys/fs/cgroup/berth.slice/{name}-tasks.scope/*/0/cgroup.procs", check=False).strip(),
             "its task")
    machine.sh("kill -9 $(pgrep -f 'berthd --root /second'); berthd destroy --root /second; rm -r /second")
    as_before(before)


def test_figures():
    """Not judged but by the order of magnitude: idle daemon and keeper, one task."""
    at_rest()
    pids = machine.sh("cat /sys/fs/cgroup/system.slice/berthd.service/cgroup.procs "
                      f"{SCOPE}/keeper/cgroup.procs").split()
    sizes = {}
    for pid in pids:
        name, kib = re.search(r"Name:\s*(\S+).*\nPss:\s*(\d+)",
                              machine.sh(f"cat /proc/{pid}/status /proc/{pid}/smaps_rollup"), re.S).groups()
        sizes[f"{name}.{pid}"] = int(kib)
    told["PSS in KiB"] = sizes
    print(f"  measured: {told['start to ready']} from systemctl start to ready; PSS in KiB {sizes}")
    assert sum(sizes.values()) < 24 << 10, sizes


# ---- many tasks, a reboot, the end ----

def test_a_churn_leaves_nothing():
    # A container that waits has another name each time.
    look = (f"(ls -A {SCOPE}; ls -A /run/berth/keeper /run/berth/oci) | sed -E 's/^[0-9a-f]{{16}}\\b/waits/' | sort; "
            "grep -c overlay /proc/mounts; ip -o link | wc -l")
    machine.wait_stopped(machine.run_task([sh("true")]))
    wait_for(lambda: machine.sh(look) == machine.sh(f"sleep 1; {look}"), "nothing that changes")
    before = machine.sh(look)
    definition = machine.ecs("RegisterTaskDefinition", family="short", containerDefinitions=[
        sh("exit 0", memory=8, portMappings=[dict(containerPort=80)])])["taskDefinition"]["taskDefinitionArn"]
    arns = []
    for _ in range(0, CHURN, 10):
        reply = machine.ecs("RunTask", taskDefinition=definition, count=10)
        equal(reply["failures"], [])
        batch = [t["taskArn"] for t in reply["tasks"]]
        wait_for(lambda: all(t["lastStatus"] == "STOPPED"
                             for t in machine.ecs("DescribeTasks", tasks=batch)["tasks"]), "the end of ten tasks")
        arns += batch
    for first in range(0, len(arns), 100):
        for task in machine.ecs("DescribeTasks", tasks=arns[first:first + 100])["tasks"]:
            equal((task["containers"][0].get("exitCode"), task["stoppedReason"]),
                  (0, "Essential container in task exited"))
    wait_for(lambda: machine.sh(look) == before, "the machine as it was")


def test_after_a_reboot_it_is_there_and_says_what_became_of_tasks():
    boot = machine.sh("cat /proc/sys/kernel/random/boot_id")
    machine.guest.reboot()
    machine.sh(REGISTRY_UP)
    assert machine.sh("cat /proc/sys/kernel/random/boot_id") != boot
    wait_for(lambda: machine.sh("systemctl is-active berthd berth-tasks", check=False).split() == ["active"] * 2,
             "the daemon")
    task = machine.wait_stopped(web)
    equal((task["stoppedReason"], task["containers"][0].get("reason")),
          ("Essential container in task exited", "Container was lost: its host was started again"))
    again = machine.run_task([sh("exit 6", portMappings=[dict(containerPort=80, hostPort=PAGE)])])
    equal(machine.wait_stopped(again)["containers"][0].get("exitCode"), 6)


def test_destroyed_and_uninstalled_nothing_is_left():
    machine.wait_status(machine.run_task([sh("sleep 1000")]), "RUNNING")
    machine.sh("systemctl disable --now --quiet berthd berth-tasks; berthd destroy")
    said = machine.sh("make -s -C /mnt/berth uninstall")
    contains(said, "/var/lib/berth")
    as_before(told["before"])
    equal(machine.sh("find / /run -xdev -name '*berth*' -not -path '/mnt/*' -not -path '/proc/*' | sort").split(),
          ["/etc/berth", "/etc/berth/berth.conf", "/var/lib/berth"])
    equal(machine.sh("systemctl list-units --all --plain --no-legend '*berth*'").strip(), "")


if __name__ == "__main__":
    try:
        if os.path.basename(BUILD) == "san":
            raise Skip("the machine has no libraries of sanitizers")
        vmlab.kernel()
    except Skip as reason:
        print(f"skip systemd in a machine: {reason}")
    else:
        for name in [n for n in globals() if n.startswith("test_")]:
            globals()[name] = one_after_the_other(globals()[name])
        main()
