#!/usr/bin/python3
# tests/e2e/56-ready.py - roots and containers that are made before anybody wants them
# SPDX-License-Identifier: Apache-2.0

import os
import re
import signal
import subprocess

from berth import Census, Daemon, Registry, Skip, equal, main, run, wait_for

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
DEBUG = "[log]\nlevel = debug\n"
ROOTS_ONLY = DEBUG + "[node]\nready-containers = 0\n"  # none is away while its container is made
daemon = Daemon(config=DEBUG).start()
LOOK = "ls -lnd / /dev /etc /proc /sys; ls -ln /etc; cat /etc/hostname; touch /x; ls -ln /x"


def cleanup():
    daemon.destroy()
    registry.__exit__()
    census.check()


def made(d):
    """Those that wait: the inode of the log directory of each, which stays the same when it is taken."""
    top = os.path.join(d.root, "var/lib/berth/ready")
    names = set(re.findall(r": the root (\w+) waits", d.logged())) & set(os.listdir(top) if os.path.isdir(top) else ())
    logs = [os.path.join(top, n, "0/log") for n in names]
    return {os.stat(p).st_ino for p in logs if os.path.isdir(p)}  # one that goes has none


def one_ready(d):
    return wait_for(lambda: len(made(d)) == 1 and made(d), 20, "a root that is ready").pop()


def run_task(d, script="true", **definition):
    arn = d.run_task([dict(name="c", image=IMAGE, memory=64, entryPoint=["/bin/sh", "-c"], command=[script])],
                     **definition)
    task = d.wait_stopped(arn)
    equal(task["containers"][0].get("exitCode"), 0)
    log = os.path.join(d.root, "var/lib/berth/tasks", arn.split("/")[-1], "0/log")
    return d.berth("logs", arn).stdout, os.stat(log).st_ino


def test_a_ready_root_is_taken_and_looks_like_one_that_was_made_for_its_container():
    plain = lambda text: re.sub(r"\b[0-9a-f]{12}\b|\w+ +\d+ +[\d:]+ ", "", text)
    with Daemon(config=ROOTS_ONLY) as d:
        first, inode = run_task(d, LOOK)
        ready = one_ready(d)
        assert inode != ready
        second, inode = run_task(d, LOOK)
        equal(inode, ready)
        equal(plain(second), plain(first))


def test_each_is_taken_once():
    run_task(daemon)
    one_ready(daemon)
    inodes = [run_task(daemon)[1] for _ in range(3)]
    equal(len(set(inodes)), 3)


def test_what_an_agent_that_was_killed_had_ready_is_gone():
    with Daemon(config=DEBUG) as d:
        run_task(d)
        before = one_ready(d)
        d.kill()
        d.start()
        equal(made(d) & {before}, set())
        run_task(d)
        one_ready(d)


def test_a_container_that_may_do_more_makes_its_own():
    ready = one_ready(daemon)
    arn = daemon.run_task([dict(name="c", image=IMAGE, memory=64, privileged=True, entryPoint=["/bin/true"])])
    daemon.wait_stopped(arn)
    equal(made(daemon), {ready})


def test_an_image_that_is_removed_takes_its_root_along():
    one_ready(daemon)
    equal(daemon.call("BerthV1.RemoveImage", dict(image=IMAGE))[0], 200)
    wait_for(lambda: not made(daemon), 20, "no root")
    run_task(daemon)
    one_ready(daemon)


# ---- containers ----


def pid_block():
    return 64 + os.getpid() % 60

CGROUPS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids", "/sys/fs/cgroup")


def places(d):
    """Cgroups of tasks, and of what waits for them, by name."""
    top = next(p for p in (os.path.join(c, d.name) for c in CGROUPS) if os.path.isdir(p))
    return {n: os.path.join(top, n, "0") for n in os.listdir(top) if len(n) in (16, 32) and os.path.isdir(os.path.join(top, n))}


def pids_in(path):
    try:
        return [int(p) for p in open(os.path.join(path, "cgroup.procs")).read().split()]
    except OSError:
        return []


def waiting(d):
    """The process of the container that waits, and the name of its place; both, once it is blocked."""
    def look():
        found = [(pids_in(p), n) for n, p in places(d).items() if len(n) == 16]
        found = [(pids[0], n) for pids, n in found if len(pids) == 1]
        if len(found) == 1 and os.path.isdir(os.path.join(d.root, "var/lib/berth/ready", found[0][1])):
            state = open(f"/proc/{found[0][0]}/stat").read().rpartition(")")[2].split()[0]
            return state == "S" and found[0]
        return None
    return wait_for(look, 20, "a container that waits")


def start(d, script="sleep 1000", **container):
    arn = d.run_task([dict(dict(name="c", image=IMAGE, memory=64, entryPoint=["/bin/sh", "-c"], command=[script]), **container)])
    d.wait_status(arn, "RUNNING")
    return arn


def stop(d, arn):
    d.ecs("StopTask", task=arn)
    d.wait_stopped(arn)


def command_of(pid):
    try:
        return open(f"/proc/{pid}/cmdline").read().replace("\0", " ")
    except OSError:
        return ""


def test_a_container_that_waits_becomes_the_tasks():
    same = dict(user="7:8", ulimits=[dict(name="nofile", softLimit=99, hardLimit=100)])
    stop(daemon, start(daemon, **same))
    pid, place = waiting(daemon)
    arn = start(daemon, "echo $COLOUR $HOSTNAME $(hostname) $(id -u):$(id -g) $(ulimit -n); exec sleep 1000",
                environment=[dict(name="COLOUR", value="blue")], hostname="mine", **same)
    assert "sleep" in wait_for(lambda: "sleep" in command_of(pid) and command_of(pid), 20, "it runs"), command_of(pid)
    equal(daemon.berth("logs", arn).stdout.strip(), "blue mine mine 7:8 99")
    stop(daemon, arn)
    wait_for(lambda: place not in places(daemon), 20, "its cgroup goes with the task")
    assert not os.path.exists(os.path.join(daemon.root, "run/berth/bundles", place))


def test_it_is_nowhere_to_be_seen():
    pid, place = waiting(daemon)
    listed = daemon.berth("ps", "-a").stdout
    assert place not in listed
    oci = os.path.join(os.environ["BERTH_BUILD"], "berth-oci")
    assert place not in run(oci, "--root", os.path.join(daemon.root, "run/berth/oci"), "list").stdout
    config = open(os.path.join(daemon.root, "run/berth/bundles", place, "config.json")).read()
    assert "COLOUR" not in config and "sleep" not in config, config


def test_one_without_a_network_is_made_ahead_too():
    with Daemon() as d:
        run_task(d, networkMode="none")
        pid, _ = waiting(d)
        arn = d.run_task([dict(name="c", image=IMAGE, memory=64, entryPoint=["/bin/sh", "-c"], command=["ls /sys/class/net; exec sleep 1000"])],
                         networkMode="none")
        wait_for(lambda: "sleep" in command_of(pid), 20, "it runs")
        wait_for(lambda: d.berth("logs", arn).stdout.split() == ["lo"], 20, "its loopback alone")
        assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
        stop(d, arn)


def a_task_makes_its_own(**unlike):
    run_task(daemon)
    pid, place = waiting(daemon)
    arn = start(daemon, **unlike)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 20, "the end of the one that waited")
    wait_for(lambda: place not in places(daemon), 20, "its cgroup goes, too")
    wait_for(lambda: place not in os.listdir(os.path.join(daemon.root, "run/berth/bundles")), 20, "its bundle goes, too")
    assert arn.split("/")[-1] in places(daemon)
    stop(daemon, arn)


def test_a_task_that_is_unlike_it_makes_its_own():
    a_task_makes_its_own(memory=65)
    a_task_makes_its_own(user="5")
    a_task_makes_its_own(systemControls=[dict(namespace="net.ipv4.ip_default_ttl", value="33")])


def test_one_that_was_killed_is_not_missed():
    pid, _ = waiting(daemon)
    os.kill(pid, signal.SIGKILL)
    out, _ = run_task(daemon, "echo here", memory="256")
    equal(out.strip(), "here")


def test_a_network_of_the_tasks_own_is_one_that_waited():
    ec2 = daemon.boto("ec2")
    block = f"10.{pid_block()}"
    vpc = ec2.create_vpc(CidrBlock=block + ".0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=block + ".0.0/24")["Subnet"]["SubnetId"]
    td = daemon.ecs("RegisterTaskDefinition", family="v", networkMode="awsvpc", containerDefinitions=[
        dict(name="c", image=IMAGE, memory=64, stopTimeout=2, entryPoint=["/bin/sh", "-c"], command=[
            "ip -o address show eth0 | grep -o 'inet [0-9.]*'; ls /sys/class/net; exec sleep 1000"])])["taskDefinition"]["taskDefinitionArn"]

    def begin():
        reply = daemon.ecs("RunTask", taskDefinition=td, networkConfiguration=dict(awsvpcConfiguration=dict(subnets=[subnet])))
        arn = reply["tasks"][0]["taskArn"]
        daemon.wait_status(arn, "RUNNING")
        return arn
    first = begin()
    stop(daemon, first)
    pid, _ = waiting(daemon)
    arn = begin()
    wait_for(lambda: "sleep" in command_of(pid), 20, "it runs")
    wait_for(lambda: "eth0" in daemon.berth("logs", arn).stdout, 20, "what it says")
    said = daemon.berth("logs", arn).stdout.split()
    assert said[1].startswith(block + ".0."), said
    equal(sorted(w for w in said[2:] if w in ("eth0", "lo")), ["eth0", "lo"])
    stop(daemon, arn)


def test_what_waited_ends_with_the_agent():
    for how in ("stop", "kill"):
        with Daemon() as d:
            run_task(d)
            pid, place = waiting(d)
            getattr(d, how)()
            wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 20, "the end of the one that waited")
            d.start()
            wait_for(lambda: place not in places(d), 20, "no cgroup of it")
            assert place not in os.listdir(os.path.join(d.root, "run/berth/bundles"))
            run_task(d)


def test_an_agent_that_is_stopped_while_it_makes_one_ends():
    with Daemon() as d:
        ready = os.path.join(d.root, "var/lib/berth/ready")
        for i in range(8):
            run_task(d)
            wait_for(lambda: os.path.isdir(ready) and os.listdir(ready), 20, "it has begun")
            d.stop()  # within a minute, or it raises
            d.start()


def keeper_of(d):
    for p in filter(str.isdigit, os.listdir("/proc")):
        line = command_of(p)
        if "berth-keeper" in line and d.root in line and "keeper-worker" not in open(f"/proc/{p}/comm").read():
            return int(p)
    return None


def test_what_waited_ends_with_the_keeper():
    with Daemon() as d:
        run_task(d)
        pid, place = waiting(d)
        os.kill(keeper_of(d), signal.SIGKILL)
        wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 20, "the end of the one that waited")
        wait_for(lambda: place not in places(d), 20, "no cgroup of it")
        run_task(d)
        waiting(d)


def pullers(d):
    images = os.path.join(d.root, "var/lib/berth/images")
    return {int(p) for p in filter(str.isdigit, os.listdir("/proc"))
            if command_of(p).replace("\0", " ").split()[:1] == ["berth-worker"] and images in command_of(p)}


def test_the_programs_of_the_next_pull_wait():
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 4000 << 20:
        raise Skip("they wait on hosts with 4 GB of memory only")
    for how in ("stop", "kill"):
        with Daemon() as d:
            first = wait_for(lambda: pullers(d), 20, "a puller that waits")
            run_task(d)  # whose image is pulled
            second = wait_for(lambda: len(pullers(d) - first) == 1 and pullers(d) - first, 20, "the next one")
            assert not first & pullers(d), (first, pullers(d))
            d.berth("pull", IMAGE)
            wait_for(lambda: len(pullers(d) - second) == 1 and not second & pullers(d), 20, "the one behind it")
            getattr(d, how)()
            wait_for(lambda: not pullers(d), 20, "its end")
            d.start()


def test_none_where_none_is_wanted():
    with Daemon(config=ROOTS_ONLY) as d:
        run_task(d)
        one_ready(d)
        equal([n for n in places(d) if len(n) == 16], [])
        equal(pullers(d), set())
    with Daemon() as d:
        d.stop()
        conf = os.path.join(d.root, "etc/berth/berth.conf")
        before = open(conf).read()
        open(conf, "a").write("\n[node]\nready-containers = 5\n")
        said = subprocess.run([os.path.join(os.environ["BERTH_BUILD"], "berthd"), "--root", d.root], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60)
        open(conf, "w").write(before)
        assert said.returncode and "ready-containers '5' is not a number up to 4" in said.stdout, said.stdout


if __name__ == "__main__":
    main()
