#!/usr/bin/env python3
# tests/e2e/56-storage.py - ephemeralStorage: how much a task may write, where the file system can limit it
# SPDX-License-Identifier: Apache-2.0
#
# This machine's kernel may have no project quotas, which is a case of its own;
# Debian's has, so what they do is seen in a virtual machine, on ext4 and on XFS.

import os
import re
import shutil
import tempfile

import berth
import vmlab
from berth import BUILD, TOP, Daemon, Registry, Skip, contains, equal, run

API, SLOW, GIB = 4566, 240, 1 << 30
IMAGE = "127.0.0.1:5000/demo:1"
PROGRAMS = ("berth", "berthd", "berth-keeper", "berth-worker", "berth-fetcher", "berth-reader")
DISK = "40G"  # sparse, and so is what tasks take of it


def definition(script, image=IMAGE, **more):
    return dict(dict(name="c", image=image, memory=32, stopTimeout=1, entryPoint=["/bin/sh", "-c"], command=[script]),
                **more)


def run_limited(daemon, *containers, gib=21, overrides=None, **more):
    td = daemon.ecs("RegisterTaskDefinition", family="limited", containerDefinitions=list(containers),
                    ephemeralStorage=dict(sizeInGiB=gib), **more)["taskDefinition"]
    return daemon.ecs("RunTask", taskDefinition=td["taskDefinitionArn"], overrides=overrides or {})


# ---- where the host cannot ----

def cannot(daemon):
    if "ephemeralStorage: refused: " not in daemon.berth("doctor").stdout:
        raise Skip("this host has project quotas")


def test_a_host_that_cannot_is_not_chosen():
    with Daemon() as daemon:
        cannot(daemon)
        reply = run_limited(daemon, definition("true"))
        equal((reply["tasks"], [f["reason"] for f in reply["failures"]]), ([], ["ATTRIBUTE"]))
        contains(daemon.berth("doctor").stdout, "project quota")


def test_sizes_are_those_of_ecs():
    with Daemon() as daemon:
        for size in (20, 201):
            status, said = daemon.call("AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition", dict(
                family="f", containerDefinitions=[definition("true")], ephemeralStorage=dict(sizeInGiB=size)))
            equal(status, 400)
            contains(said["message"], "must be from 21 to 200")
        td = daemon.ecs("RegisterTaskDefinition", family="f", containerDefinitions=[definition("true")])
        contains(str(daemon.call("AmazonEC2ContainerServiceV20141113.RunTask", dict(
            taskDefinition="f", overrides=dict(ephemeralStorage=dict(sizeInGiB=30))))), "the task definition has none")
        equal("ephemeralStorage" in td["taskDefinition"], False)


# ---- where it can ----

class Machine(Daemon):
    """A client of a berthd in a machine, whose root is a disk with project quotas."""

    def __init__(self, make, options):
        os.makedirs(os.path.join(TOP, "build", "e2e"), exist_ok=True)
        self.root = self.dir = tempfile.mkdtemp(prefix="q", dir=os.path.join(TOP, "build", "e2e"))
        self.make, self.options, self.guest = make, options, None

    def __enter__(self):
        tree, data = os.path.join(self.dir, "tree"), os.path.join(self.dir, "data")
        for name in PROGRAMS:
            os.makedirs(tree + "/bin", exist_ok=True)
            run("strip", "-o", f"{tree}/bin/{name}", os.path.join(BUILD, name))
        for name in ("xfs_quota", "xfs_io"):
            vmlab.add_program(tree, shutil.which(name), "bin/" + name)
        vmlab.write(tree, "registry.yml", vmlab.REGISTRY)
        with Registry() as registry:
            registry.demo()
            shutil.copytree(os.path.join(registry.dir, "data"), os.path.join(tree, "registry"))
        vmlab.make_disk(tree, self.dir + "/disk", 128)
        shutil.rmtree(tree)
        run("truncate", "-s", DISK, data)
        run(*self.make, data)
        try:
            self.guest = vmlab.debian_guest(self.dir + "/disk", (API,), (data,))
            self.begin()
        except BaseException:
            self.__exit__(True, None, None)
            raise
        return self

    def begin(self):
        self.sh = self.guest.sh
        self.endpoint = f"http://127.0.0.1:{self.guest.ports[API]}"
        self.sh("mkdir -p /mnt /data && mount -r /dev/vdb /mnt && cp /mnt/bin/berth* /usr/sbin\n"
                f"modprobe quota_v2; mount -o {self.options} /dev/vdc /data\n"
                "systemd-run --quiet --unit=registry docker-registry serve /mnt/registry.yml")
        self.start()
        vmlab.write(self.root, "etc/berth/credentials", self.sh("cat /data/b/etc/berth/credentials"), 0o600)
        self.client = self.boto("ecs")

    def start(self):
        self.sh(f"setsid berthd --root /data/b --listen 0.0.0.0:{API} >/run/berthd.log 2>&1 </dev/null &")
        berth.wait_for(lambda: " ready: " in self.sh("cat /run/berthd.log"), SLOW, "the daemon", pause=0.3)

    def ecs(self, operation, **body):
        return getattr(self.client, re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower())(**body)

    def berth(self, *argv):
        return self.sh("berth --root /data/b " + " ".join(argv))

    def quota(self, command):
        return self.sh(f"LD_LIBRARY_PATH=/mnt/lib/x86_64-linux-gnu /mnt/bin/xfs_quota -f -x -c '{command}' /data")

    def projects(self):
        """Of our range: the limit in bytes and what is taken of it, by what the file system says."""
        said = self.quota("report -p -n -N -b")
        found = {}
        for number, used, _, hard in re.findall(r"^#(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", said, re.M):
            if int(number) >= 1 << 30 and (int(used) or int(hard)):
                found[int(number)] = (int(hard) << 10, int(used) << 10)
        return found

    def exit_code(self, reply):
        equal(reply["failures"], [])
        container = self.wait_stopped(reply["tasks"][0]["taskArn"], SLOW)["containers"][0]
        return container.get("exitCode", container.get("reason"))

    def __exit__(self, kind, value, trace):
        if self.guest:
            if kind and not self.guest.silent:
                print(self.guest.sh("tail -n 40 /run/berthd.log | sed 's/^/  /'", check=False))
            self.guest.end()
        shutil.rmtree(self.dir)


# All but a little is reserved at once, so that the rest is quickly written. A volume has the same limit.
FILL = """set -e
test "$(df -k / | tail -n 1 | awk '{print $2}')" -le %d
fallocate -l %d /most
if dd if=/dev/zero of=/rest bs=64k count=512; then echo it is not limited; exit 3; fi
if dd if=/dev/zero of=/volume/rest bs=64k count=512; then echo a volume is not limited; exit 4; fi
rm /most
dd if=/dev/zero of=/volume/more bs=64k count=16
"""


def fill(gib):
    return definition(FILL % (gib * GIB >> 10, (gib * GIB) - (16 << 20)), mountPoints=[
        dict(sourceVolume="v", containerPath="/volume")])


def see_limits(machine):
    contains(machine.berth("doctor"), "ephemeralStorage: limited by project quotas")
    volumes = [dict(name="v", host={})]
    equal(machine.exit_code(run_limited(machine, fill(21), volumes=volumes)), 0)
    override = dict(ephemeralStorage=dict(sizeInGiB=25))
    reply = run_limited(machine, fill(25), volumes=volumes, overrides=override)
    equal(reply["tasks"][0]["ephemeralStorage"], dict(sizeInGiB=25))
    equal(machine.exit_code(reply), 0)
    equal(machine.projects(), {})


def see_the_hosts_users_and_two_containers(machine):
    """A container that is the host's root has no more; two have one limit together."""
    first = definition(f"fallocate -l {20 * GIB} /most; sleep 1000", name="first", essential=False)
    second = definition(f"while [ $(df -k / | tail -n 1 | awk '{{print $4}}') -gt {GIB >> 10} ]; do sleep 0.2; done; "
                        f"! fallocate -l {2 * GIB} /more", name="second")
    reply = run_limited(machine, first, second, networkMode="host")
    task = machine.wait_stopped(reply["tasks"][0]["taskArn"], SLOW)
    equal([c.get("exitCode") for c in task["containers"] if c["name"] == "second"], [0])
    equal(machine.projects(), {})


LEAVE = """io() { /m/lib64/ld-linux-x86-64.so.2 --library-path /m/lib/x86_64-linux-gnu /m/bin/xfs_io "$@"; }
echo x >/f; io -c 'chproj 7' /f; io -c lsproj /f
test "$(io -c lsproj /f | sed 's/.*= //')" %s
"""


def see_no_way_out(machine):
    """Who is in a user namespace cannot give a file to another project."""
    leave = LEAVE % "-ge 1073741824"
    points = [dict(sourceVolume="m", containerPath="/m", readOnly=True)]
    volumes = [dict(name="m", host=dict(sourcePath="/mnt"))]
    equal(machine.exit_code(run_limited(machine, definition(leave, mountPoints=points), volumes=volumes)), 0)


def see_a_crash(machine):
    arn = run_limited(machine, definition(f"fallocate -l {GIB} /some; exec sleep 1000"))["tasks"][0]["taskArn"]
    machine.wait_status(arn, "RUNNING", SLOW)
    berth.wait_for(lambda: [u > GIB for _, u in machine.projects().values()] == [True], SLOW, "its file")
    before = machine.projects()
    machine.sh("kill -9 $(pgrep -f 'berthd --root /data/b')")
    machine.start()
    equal(machine.projects(), before)
    equal([limit for limit, _ in before.values()], [21 * GIB])
    machine.ecs("StopTask", task=arn)
    machine.wait_stopped(arn, SLOW)
    equal(machine.projects(), {})


def see_a_refusal(machine):
    """The file system limits nothing any more, and the server does not know. (XFS can be told so.)"""
    machine.quota("disable -p")
    try:
        contains(machine.exit_code(run_limited(machine, definition("true"))), "CannotCreateContainerError: ephemeralStorage: "
                 "/data/b/var/lib/berth/tasks: ")
    finally:
        machine.quota("enable -p")


def see_the_end(machine):
    arn = run_limited(machine, definition("exec sleep 1000"))["tasks"][0]["taskArn"]
    machine.wait_status(arn, "RUNNING", SLOW)
    equal(len(machine.projects()), 1)
    machine.sh("kill $(pgrep -f 'berthd --root /data/b'); while pgrep -f 'berthd --root /data/b'; do sleep 0.1; done\n"
               "berthd destroy --root /data/b")
    equal(machine.projects(), {})


def look_at(make, options, *what):
    if os.path.basename(BUILD) == "san":
        raise Skip("the machine has no libraries of sanitizers")
    vmlab.kernel()
    for program in (make[0], "xfs_quota", "xfs_io"):
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")
    with Machine(make, options) as machine:
        for see in what:
            see(machine)


def test_ext4_limits_what_a_task_writes():
    look_at(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "quota,project", "-E", "lazy_itable_init=1,lazy_journal_init=1"],
            "prjquota", see_limits, see_the_hosts_users_and_two_containers, see_no_way_out, see_a_crash, see_the_end)


def test_xfs_limits_what_a_task_writes():
    look_at(["mkfs.xfs", "-q"], "pquota", see_limits, see_a_refusal)


if __name__ == "__main__":
    berth.main()
