#!/usr/bin/python3
# tests/e2e/50-task.py - tasks on this host, from `aws ecs run-task` to what the container sees
# SPDX-License-Identifier: Apache-2.0

import json
import os
import re
import socket
import subprocess
import threading
import time

from berth import BUILD, Census, Daemon, Registry, Skip, contains, equal, main, page, run, wait_for

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
daemon = Daemon().start()


def cleanup():
    daemon.destroy()
    registry.__exit__()
    census.check()


def sh(script, **more):
    return dict(dict(name="c", image=IMAGE, memory=64, entryPoint=["/bin/sh", "-c"], command=[script]), **more)


def output(arn, stream=None, **more):
    """What a task has written so far."""
    import base64
    status, doc = daemon.call("BerthV1.GetTaskLogs", dict(task=arn, **more))
    equal(status, 200)
    return b"".join(base64.b64decode(e["data"]) for e in doc["events"]
                    if stream in (None, e["stream"])).decode()


def run_sh(script, expect=0, definition=None, **more):
    """Run a script to its end; its output."""
    arn = daemon.run_task([sh(script, **more)], **(definition or {}))
    t = daemon.wait_stopped(arn)
    c = t["containers"][0]
    if c.get("exitCode") != expect:
        raise AssertionError(f"exit {c.get('exitCode')}: {c.get('reason')} {t.get('stoppedReason')}: {output(arn)}")
    return output(arn)


def host_address():
    """An address of this machine that is not loopback, or None."""
    out = run("ip", "-o", "-4", "addr", "show", "scope", "global").stdout
    found = [a for a in re.findall(r"inet ([0-9.]+)/", out) if not a.startswith("172.")]
    return found[0] if found else None


# ---- the main job ----

def test_aws_runs_a_task_whose_page_is_fetched_through_its_dynamic_port():
    definition = [dict(name="web", image=IMAGE, memory=32, portMappings=[dict(containerPort=80)])]
    daemon.aws("ecs", "register-task-definition", "--family", "page", "--container-definitions",
               json.dumps(definition))
    reply = daemon.aws("ecs", "run-task", "--task-definition", "page")
    equal(reply["failures"], [])
    task = reply["tasks"][0]
    equal((task["lastStatus"], task["desiredStatus"], task["launchType"], task["group"]),
          ("PENDING", "RUNNING", "EC2", "family:page"))
    task = daemon.wait_status(task["taskArn"], "RUNNING")
    binding = task["containers"][0]["networkBindings"][0]
    equal((binding["containerPort"], binding["protocol"], binding["bindIP"]), (80, "tcp", "0.0.0.0"))
    assert re.match(r"sha256:[0-9a-f]{64}$", task["containers"][0]["imageDigest"])
    contains(page(binding["hostPort"]), "Hello from Berth")
    equal(daemon.aws("ecs", "list-tasks", "--family", "page")["taskArns"], [task["taskArn"]])
    stopped = daemon.aws("ecs", "stop-task", "--task", task["taskArn"], "--reason", "seen enough")["task"]
    equal(stopped["desiredStatus"], "STOPPED")
    task = daemon.wait_stopped(task["taskArn"])
    equal((task["stopCode"], task["stoppedReason"]), ("UserInitiated", "seen enough"))
    times = [task[k] for k in ("createdAt", "pullStartedAt", "pullStoppedAt", "startedAt", "stoppingAt",
                               "stoppedAt")]
    equal(times, sorted(times))


def test_boto3_waits_for_tasks():
    ecs = daemon.boto("ecs")
    ecs.register_task_definition(family="waits", containerDefinitions=[sh("sleep 60", stopTimeout=2)])
    task = ecs.run_task(taskDefinition="waits", count=2, startedBy="me",
                        tags=[dict(key="k", value="v")])["tasks"]
    equal(len(task), 2)
    arns = [t["taskArn"] for t in task]
    ecs.get_waiter("tasks_running").wait(tasks=arns, WaiterConfig=dict(Delay=1, MaxAttempts=60))
    equal(sorted(ecs.list_tasks(startedBy="me")["taskArns"]), sorted(arns))
    equal(ecs.list_tags_for_resource(resourceArn=arns[0])["tags"], [dict(key="k", value="v")])
    for arn in arns:
        ecs.stop_task(task=arn)
    ecs.get_waiter("tasks_stopped").wait(tasks=arns, WaiterConfig=dict(Delay=1, MaxAttempts=60))


def test_the_instance_tells_how_much_is_free():
    ecs = daemon.boto("ecs")
    arn = ecs.list_container_instances()["containerInstanceArns"][0]

    def resources():
        i = ecs.describe_container_instances(containerInstances=[arn])["containerInstances"][0]
        return i, {r["name"]: r for r in i["remainingResources"]}
    instance, before = resources()
    equal((instance["status"], instance["agentConnected"]), ("ACTIVE", True))
    task = daemon.run_task([sh("sleep 60", cpu=128, memory=100,
                               portMappings=[dict(containerPort=80, hostPort=28080)])])
    _, during = resources()
    equal(before["CPU"]["integerValue"] - during["CPU"]["integerValue"], 128)
    equal(before["MEMORY"]["integerValue"] - during["MEMORY"]["integerValue"], 100)
    assert "28080" in during["PORTS"]["stringSetValue"]
    daemon.ecs("StopTask", task=task)
    daemon.wait_stopped(task)
    equal(resources()[1], before)
    reply = ecs.run_task(taskDefinition=ecs.register_task_definition(
        family="huge", containerDefinitions=[sh("true", memory=2 ** 30)])["taskDefinition"]["taskDefinitionArn"])
    equal(reply["failures"][0]["reason"], "RESOURCE:MEMORY")


# ---- networks ----

def test_ports_are_reached_from_everywhere():
    arn = daemon.run_task([dict(name="web", image=IMAGE, memory=32, portMappings=[
        dict(containerPort=80, hostPort=28081), dict(containerPort=80)])])
    t = daemon.wait_status(arn, "RUNNING")
    ports = sorted(b["hostPort"] for b in t["containers"][0]["networkBindings"])
    assert 28081 in ports and len(ports) == 2
    for port in ports:
        contains(page(port), "Hello from Berth")
    if host_address():
        contains(page(28081, host_address()), "Hello from Berth")
    # another container by the host's port, and the port is really held
    gateway = "$(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p')"
    contains(run_sh(f"wget -q -O - http://{gateway}:28081/"), "Hello from Berth")
    with socket.socket() as s:
        try:
            s.bind(("0.0.0.0", 28081))
            raise AssertionError("port 28081 is not held")
        except OSError:
            pass
    daemon.ecs("StopTask", task=arn)
    daemon.wait_stopped(arn)


def test_udp_is_mapped_too():
    tools = os.path.join(BUILD, "tests/e2e/root")
    arn = daemon.run_task([dict(name="c", image=IMAGE, memory=32, entryPoint=["/tools/udp", "5000"],
                                mountPoints=[dict(sourceVolume="tools", containerPath="/tools", readOnly=True)],
                                portMappings=[dict(containerPort=5000, protocol="udp")])],
                          volumes=[dict(name="tools", host=dict(sourcePath=tools))])
    t = daemon.wait_status(arn, "RUNNING")
    port = t["containers"][0]["networkBindings"][0]["hostPort"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("127.0.0.1", port))
        s.settimeout(1)

        def answered():
            try:
                s.send(b"over udp\n")
                return s.recv(100) == b"over udp\n"
            except OSError:
                return False  # it does not listen yet
        wait_for(answered, 20, "the answer")
    wait_for(lambda: "over udp\n" in output(arn), 20, "its output")
    daemon.ecs("StopTask", task=arn)
    daemon.wait_stopped(arn)


def test_network_modes_host_and_none():
    links = set(re.findall(r"^\d+: ([^:@]+)", run("ip", "-o", "link").stdout, re.M))
    seen = set(run_sh("ls /sys/class/net", definition=dict(networkMode="host", family="h")).split())
    assert "lo" in seen and not {l for l in seen if l not in links and not l.startswith("brt")}
    equal(run_sh("ls /sys/class/net", definition=dict(networkMode="none", family="n")).split(), ["lo"])
    equal(sorted(run_sh("ls /sys/class/net").split()), ["eth0", "lo"])
    equal(run_sh("ls /sys/class/net", disableNetworking=True).split(), ["lo"])


def test_names_are_resolved_as_the_definition_says():
    out = run_sh("cat /etc/resolv.conf /etc/hosts /etc/hostname; hostname", hostname="berthed",
                 dnsServers=["192.0.2.53"], dnsSearchDomains=["example.org"],
                 extraHosts=[dict(hostname="there", ipAddress="192.0.2.1")])
    contains(out, "nameserver 192.0.2.53\nsearch example.org\n")
    contains(out, "192.0.2.1\tthere\n")
    contains(out, "berthed\nberthed\n")
    contains(out, "127.0.0.1\tlocalhost\n")


# ---- what the container is ----

def test_the_container_is_confined():
    out = run_sh("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; cat /proc/1/comm; id; pwd; ls -d /proc/kcore;"
                 "head -c 1 /proc/kcore | wc -c; (echo 1 > /proc/sys/kernel/panic) 2>&1; cat /proc/self/cgroup;"
                 "mount -t tmpfs x /tmp 2>&1; ls /dev; echo $PATH")
    contains(out, "CapEff:\t00000000800405fb")
    contains(out, "CapInh:\t0000000000000000")
    contains(out, "NoNewPrivs:\t1")
    contains(out, "Seccomp:\t2")
    contains(out, "uid=0(root) gid=0(root)")
    contains(out, "Read-only file system")
    contains(out, "\n/bin\n")
    contains(out, "\nsh\n")
    assert "Operation not permitted" in out or "permission denied" in out
    equal([l for l in out.split("\n") if re.match(r"^\d+:memory:", l) and not l.endswith(":/")], [])


def test_capabilities_are_added_and_dropped():
    caps = lambda **k: int(re.search(r"CapEff:\t(\w+)", run_sh(
        "cat /proc/self/status", linuxParameters=dict(capabilities=k)))[1], 16)
    default = 0x800405fb
    equal(caps(add=["SYS_PTRACE"]), default | 1 << 19)
    equal(caps(drop=["CHOWN", "NET_RAW"]), default & ~(1 | 1 << 13))
    equal(caps(drop=["ALL"], add=["CHOWN"]), 1)


def test_environment_command_user_and_directory():
    out = run_sh("env; id -u; id -g; pwd", user="1000:2000", workingDirectory="/tmp",
                 environment=[dict(name="A", value="1 2"), dict(name="PATH", value="/bin")])
    contains(out, "A=1 2\n")
    contains(out, "PATH=/bin\n")
    contains(out, "1000\n2000\n/tmp\n")


def test_a_working_directory_that_the_image_has_not_is_made():
    equal(run_sh("pwd; stat -c '%u %a' . ..", workingDirectory="/new/deep"), "/new/deep\n0 755\n0 755\n")
    equal(run_sh("pwd", workingDirectory="/new", readonlyRootFilesystem=True), "/new\n")


def test_ulimits_and_read_only_root():
    equal(run_sh("ulimit -n; ulimit -c", ulimits=[dict(name="nofile", softLimit=512, hardLimit=1024),
                                                  dict(name="core", softLimit=0, hardLimit=0)]), "512\n0\n")
    contains(run_sh("touch /x 2>&1; touch /tmp/x && echo tmp", readonlyRootFilesystem=True,
                    linuxParameters=dict(tmpfs=[dict(containerPath="/tmp", size=1)])), "Read-only file system\ntmp\n")


def test_volumes_of_the_host_and_of_the_task():
    source = os.path.join(daemon.dir, "volume")
    os.makedirs(source)
    with open(os.path.join(source, "in"), "w") as f:
        f.write("from the host\n")
    definition = dict(volumes=[dict(name="h", host=dict(sourcePath=source)), dict(name="s")], family="vol")
    out = run_sh("cat /h/in; echo back > /h/out; touch /ro/x 2>&1; echo shared > /s/f; cat /s/f",
                 definition=definition,
                 mountPoints=[dict(sourceVolume="h", containerPath="/h"), dict(sourceVolume="s", containerPath="/s"),
                              dict(sourceVolume="h", containerPath="/ro", readOnly=True)])
    contains(out, "from the host\n")
    contains(out, "Read-only file system")
    contains(out, "shared\n")
    equal(open(os.path.join(source, "out")).read(), "back\n")


def test_memory_cpu_and_pids_are_limited():
    v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    script = ("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory.low /sys/fs/cgroup/pids.max" if v2 else
              "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes "
              "pids/pids.max cpu/cpu.shares")
    out = run_sh(script, memory=64, memoryReservation=32, cpu=256).split()
    equal(out[:3], [str(64 << 20), str(32 << 20), "4096"])
    if not v2:
        equal(out[3], "256")


def test_privileged_has_all_capabilities_and_devices():
    out = run_sh("grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; ls /dev | wc -l", privileged=True)
    mine = int(re.search(r"CapEff:\t(\w+)", open("/proc/self/status").read())[1], 16)
    equal(int(re.search(r"CapEff:\t(\w+)", out)[1], 16), mine)
    contains(out, "Seccomp:\t0")
    assert int(out.split()[-1]) > 20


def test_system_controls():
    equal(run_sh("cat /proc/sys/net/core/somaxconn", systemControls=[
        dict(namespace="net.core.somaxconn", value="77")]), "77\n")


# ---- how it ends ----

def test_exit_codes_and_signals_are_told():
    arn = daemon.run_task([sh("exit 3")])
    t = daemon.wait_stopped(arn)
    equal(t["containers"][0]["exitCode"], 3)
    equal((t["stopCode"], t["stoppedReason"]), ("EssentialContainerExited", "Essential container in task exited"))
    arn = daemon.run_task([sh("kill -USR1 $$")])
    equal(daemon.wait_stopped(arn)["containers"][0].get("exitCode") in (138, 0, 10), True)


def test_a_task_over_its_memory_says_so():
    arn = daemon.run_task([sh("head -c 200000000 /dev/zero | tail", memory=16)])
    t = daemon.wait_stopped(arn)
    c = t["containers"][0]
    contains(c.get("reason", "") + str(c.get("exitCode")), "137" if c.get("exitCode") == 137 else "OutOfMemory")


def test_a_container_killed_for_its_memory_has_the_reason():
    # the shell itself grows: it is the init that is killed
    arn = daemon.run_task([sh("a=x; while true; do a=$a$a; done", memory=16)])
    c = daemon.wait_stopped(arn)["containers"][0]
    equal(c["exitCode"], 137)
    contains(c["reason"], "OutOfMemoryError: Container killed due to memory usage")


def test_stop_sends_the_stop_signal_then_kills():
    arn = daemon.run_task([sh("trap 'echo got TERM; exit 7' TERM; echo up; while true; do sleep 0.1; done")])
    wait_for(lambda: "up" in output(arn), 30, "up")
    daemon.ecs("StopTask", task=arn)
    t = daemon.wait_stopped(arn)
    equal(t["containers"][0]["exitCode"], 7)
    contains(output(arn), "got TERM")
    arn = daemon.run_task([sh("trap '' TERM; echo up; while true; do sleep 0.1; done", stopTimeout=1)])
    wait_for(lambda: "up" in output(arn), 30, "up")
    daemon.ecs("StopTask", task=arn)
    equal(daemon.wait_stopped(arn)["containers"][0]["exitCode"], 137)


def test_several_containers_share_a_task():
    arn = daemon.run_task([sh("sleep 1; exit 4", name="main"), sh("exit 0", name="aside", essential=False),
                           sh("sleep 600", name="beside")])
    t = daemon.wait_stopped(arn)
    codes = {c["name"]: c.get("exitCode") for c in t["containers"]}
    equal((codes["main"], codes["aside"]), (4, 0))
    assert codes["beside"] in (143, 137)
    equal(t["stopCode"], "EssentialContainerExited")


def test_states_pass_in_order():
    arn = daemon.run_task([sh("sleep 0.3")])
    order = ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"]
    seen, version = [], 0
    while not seen or seen[-1] != "STOPPED":
        status, doc = daemon.call("BerthV1.WaitTask", dict(task=arn, version=version))
        equal(status, 200)
        version = doc["task"]["version"]
        seen.append(doc["task"]["lastStatus"])
    ranks = [order.index(s) for s in seen]
    equal(ranks, sorted(ranks))
    assert "RUNNING" in seen


# ---- logs ----

def test_awslogs_reach_the_log_group():
    options = {"awslogs-group": "/t/logs", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p",
               "awslogs-create-group": "true"}
    arn = daemon.run_task([sh("for i in 1 2 3; do echo line $i; echo err $i >&2; done; printf 'no end'",
                              logConfiguration=dict(logDriver="awslogs", options=options))])
    daemon.wait_stopped(arn)
    logs = daemon.boto("logs")

    def messages():
        events = logs.filter_log_events(logGroupName="/t/logs")["events"]
        return sorted(e["message"] for e in events) if len(events) >= 7 else None
    equal(wait_for(messages, 20, "seven lines"),
          ["err 1", "err 2", "err 3", "line 1", "line 2", "line 3", "no end"])
    stream = logs.describe_log_streams(logGroupName="/t/logs")["logStreams"][0]["logStreamName"]
    equal(stream, f"p/c/{arn.split('/')[-1]}")
    tail = run("/usr/bin/aws", "--endpoint-url", daemon.endpoint, "logs", "tail", "/t/logs", "--since", "1h",
               env=daemon.env()).stdout
    contains(tail, "line 2")


def test_aws_logs_tail_follows_a_running_container():
    options = {"awslogs-group": "/t/follow", "awslogs-create-group": "true"}
    arn = daemon.run_task([sh("i=0; while true; do echo tick $i; i=$((i+1)); sleep 0.2; done",
                              logConfiguration=dict(logDriver="awslogs", options=options))])
    daemon.wait_status(arn, "RUNNING")
    wait_for(lambda: daemon.aws("logs", "describe-log-groups", "--log-group-name-prefix", "/t/follow")["logGroups"], 10)
    p = subprocess.Popen(["/usr/bin/aws", "--endpoint-url", daemon.endpoint, "logs", "tail", "/t/follow", "--follow"],
                         stdout=subprocess.PIPE, text=True, env=daemon.env())
    try:
        seen = [p.stdout.readline() for _ in range(10)]
    finally:
        p.kill()
        p.wait()
    numbers = [int(l.split("tick ")[1]) for l in seen]
    equal(numbers, list(range(numbers[0], numbers[0] + len(numbers))))
    daemon.ecs("StopTask", task=arn)
    daemon.wait_stopped(arn)


def test_a_missing_log_group_is_told():
    arn = daemon.run_task([sh("true", logConfiguration=dict(logDriver="awslogs",
                                                            options={"awslogs-group": "/not/there"}))])
    t = daemon.wait_stopped(arn)
    equal(t["stopCode"], "TaskFailedToStart")
    contains(t["containers"][0]["reason"], "CannotStartContainerError: failed to create the log stream: "
                                           "ResourceNotFoundException: The specified log group does not exist")


# ---- the command ----

def test_berth_run_is_the_command_it_runs():
    p = daemon.berth("run", IMAGE, "/bin/sh", "-c", "echo out; echo err >&2; exit 5", check=False)
    equal((p.returncode, p.stdout, p.stderr), (5, "out\n", "err\n"))
    p = daemon.berth("run", IMAGE, "/nonexistent", check=False)
    equal(p.returncode, 127)
    contains(p.stderr, "CannotStartContainerError")
    p = daemon.berth("run", registry.address + "/nope:1", check=False)
    equal(p.returncode, 125)
    contains(p.stderr, "CannotPullContainerError")
    p = daemon.berth("run", "-e", "A=b c", "-e", "HOME", "-v", daemon.dir + ":/d:ro", "--name", "named", IMAGE,
                     "/bin/sh", "-c", "echo $A $HOME; touch /d/x 2>&1", check=False)
    contains(p.stdout, f"b c {os.environ['HOME']}\n")
    contains(p.stdout, "Read-only")


def test_berth_run_publishes_ports_in_each_spelling():
    arn = daemon.berth("run", "-d", "-p", "80", "-p", "28085:80", "-p", "81/udp", "-p", "8000-8003", "-p", "9000-9001/udp", "--name",
                       "published", IMAGE).stdout.strip()
    daemon.wait_status(arn, "RUNNING")
    definition = daemon.ecs("DescribeTaskDefinition", taskDefinition="published")["taskDefinition"]["containerDefinitions"][0]
    equal(definition["portMappings"], [
        dict(containerPort=80, hostPort=0, protocol="tcp"), dict(containerPort=80, hostPort=28085, protocol="tcp"),
        dict(containerPort=81, hostPort=0, protocol="udp"), dict(containerPortRange="8000-8003", protocol="tcp"),
        dict(containerPortRange="9000-9001", protocol="udp")])
    contains(page(28085), "Hello from Berth")
    daemon.ecs("StopTask", task=arn)
    daemon.wait_stopped(arn)
    for wrong, says in [("80/sctp", "neither tcp nor udp"), ("127.0.0.1:80:80", "all addresses of the host"),
                        ("8003-8000", "is not PORT"), ("1-2:3-4", "is not PORT"), (":80", "is not PORT"), ("65536", "is not PORT")]:
        p = daemon.berth("run", "-d", "-p", wrong, IMAGE, check=False)
        equal((wrong, p.returncode), (wrong, 2))
        contains(p.stderr, says)


def test_berth_ps_logs_inspect_stop():
    arn = daemon.berth("run", "-d", "-p", "80", "--name", "served", IMAGE).stdout.strip()
    daemon.wait_status(arn, "RUNNING")
    table = daemon.berth("ps").stdout
    contains(table, arn.split("/")[-1][:12])
    assert re.search(r"served:1 .* RUNNING .*\d+->80/tcp", table)
    tasks = json.loads(daemon.berth("ps", "--output", "json").stdout)
    equal([t["taskArn"] for t in tasks], [arn])
    for name in ("served", arn, arn.split("/")[-1], arn.split("/")[-1][:12]):
        equal(json.loads(daemon.berth("inspect", name).stdout)[0]["taskArn"], arn)
    for name in ("e" * 32, "e" * 31 + "x", "serve"):
        p = daemon.berth("inspect", name, check=False)
        equal((p.returncode, p.stderr), (3, f"berth: no task '{name}'\n"))
    wait_for(lambda: daemon.berth("logs", arn.split("/")[-1][:8]).stdout, 10, "its output")
    equal(daemon.berth("stop", "served").stdout.strip(), arn.split("/")[-1])
    equal(daemon.task(arn)["lastStatus"], "STOPPED")
    contains(daemon.berth("ps", "-a").stdout, "STOPPED")
    equal(daemon.berth("stop", "nobody", check=False).returncode, 3)
    equal(daemon.berth("ps", "--nonsense", check=False).returncode, 2)
    equal(run(os.path.join(BUILD, "berth"), "--root", "/nonexistent", "ps", check=False).returncode, 6)


def test_berth_interrupted_stops_the_task():
    p = subprocess.Popen([os.path.join(BUILD, "berth"), "--root", daemon.root, "run", "--name", "interrupted", IMAGE,
                          "/bin/sh", "-c", "trap 'exit 9' TERM; echo up; while true; do sleep 0.1; done"],
                         stdout=subprocess.PIPE, text=True)
    equal(p.stdout.readline(), "up\n")
    p.send_signal(2)
    equal(p.wait(60), 9)


def test_a_daemon_without_standard_descriptors_runs_tasks():
    other = Daemon().start("sh", "-c", 'exec "$@" <&- >&-', "sh")
    try:
        t = other.wait_stopped(other.run_task([sh("read x; echo $? >&2; test -e /proc/self/fd/0 && exit 4")]))
        equal(t["containers"][0].get("exitCode"), 4)
    finally:
        other.destroy()


def test_berth_pull_and_images():
    p = daemon.berth("pull", IMAGE)
    assert re.match(r"sha256:[0-9a-f]{64}\n$", p.stdout)
    contains(daemon.berth("images").stdout, IMAGE.rsplit(":", 1)[0])
    images = json.loads(daemon.berth("images", "-o", "json").stdout)
    equal([i["digest"] for i in images if i.get("reference") == IMAGE], [p.stdout.strip()])
    p = daemon.berth("pull", registry.address + "/demo:absent", check=False)
    equal(p.returncode, 1)
    contains(p.stderr, "not found")


def test_berth_over_http_is_signed():
    env = dict(daemon.env())
    p = run(os.path.join(BUILD, "berth"), "--endpoint", daemon.endpoint, "ps", env=env)
    contains(p.stdout, "TASK")
    env["AWS_SHARED_CREDENTIALS_FILE"] = "/dev/null"
    env.update(AWS_ACCESS_KEY_ID="AKIAX", AWS_SECRET_ACCESS_KEY="y")
    equal(run(os.path.join(BUILD, "berth"), "--endpoint", daemon.endpoint, "ps", env=env, check=False).returncode, 5)


if __name__ == "__main__":
    main()
