#!/usr/bin/python3
# tests/e2e/52-metadata.py - tasks ask what they are at 169.254.170.2
# SPDX-License-Identifier: Apache-2.0

import json
import os
import re
import signal
import subprocess

from berth import BUILD, Census, Daemon, Registry, Skip, contains, equal, main, page, run, wait_for

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
daemon = Daemon().start()
ec2 = daemon.boto("ec2")
ecs = daemon.boto("ecs")
V4 = "ECS_CONTAINER_METADATA_URI_V4"
VPC = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
SUBNET = ec2.describe_subnets()["Subnets"][0]
LINK_LOCAL = "169.254.77.77"


def cleanup():
    daemon.destroy()
    registry.__exit__()
    census.check()


def start(family, mode, containers=1, **more):
    ecs.register_task_definition(family=family, networkMode=mode, cpu="256", memory="128", containerDefinitions=[
        dict(name=f"c{i}", image=IMAGE, memory=32, stopTimeout=1, dockerLabels={"who": family},
             **({} if mode == "none" or i else dict(portMappings=[dict(containerPort=80)] if mode != "host" else [])),
             **({} if i == 0 and mode != "host" else dict(command=["sleep", "1000"]))) for i in range(containers)])
    reply = ecs.run_task(taskDefinition=family, **more)
    equal(reply["failures"], [])
    return daemon.wait_status(reply["tasks"][0]["taskArn"], "RUNNING")


def stop(*tasks):
    for task in tasks:
        ecs.stop_task(task=task["taskArn"])
    for task in tasks:
        daemon.wait_stopped(task["taskArn"])


def pid_of(task, index=0):
    states = json.loads(run(os.path.join(BUILD, "berth-oci"), "--root", daemon.root + "/run/berth/oci", "list",
                            "--format", "json").stdout)
    container = f"{task['taskArn'].split('/')[-1]}-{index}"
    return next(s["pid"] for s in states if s["id"] == container and s["status"] == "running")


def uri(task, index=0, name=V4):
    with open(f"/proc/{pid_of(task, index)}/environ") as f:
        return dict(v.split("=", 1) for v in f.read().split("\0") if v).get(name)


def curl(task, url, *more):
    """From the task's network; what curl printed, with the status in a last line."""
    return subprocess.run(["nsenter", f"--net=/proc/{pid_of(task)}/ns/net", "curl", "-s", "-m", "20", "-w", "\n%{http_code}",
                           *more, url], stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout


def get(task, url):
    body, status = curl(task, url).rsplit("\n", 1)
    equal(status, "200")
    return json.loads(body)


def status(task, url, *more):
    return curl(task, url, *more).rsplit("\n", 1)[1]


def servers():
    return [int(p) for p in filter(str.isdigit, os.listdir("/proc")) if os.path.exists(f"/proc/{p}/exe")
            and os.readlink(f"/proc/{p}/exe") == os.path.join(BUILD, "berth-metadata")]


def test_a_task_in_mode_bridge_is_told_what_it_is():
    task = start("bridged", "bridge")
    arn, here = task["taskArn"], uri(task)
    assert re.fullmatch(r"http://169\.254\.170\.2/v4/[0-9a-f-]+", here), here
    c = get(task, here)
    equal((c["Name"], c["Image"], c["ImageID"], c["ContainerARN"], c["KnownStatus"], c["DesiredStatus"], c["Type"]),
          ("c0", IMAGE, task["containers"][0]["imageDigest"], task["containers"][0]["containerArn"], "RUNNING", "RUNNING",
           "NORMAL"))
    equal(c["Labels"], {"who": "bridged", "com.amazonaws.ecs.cluster": "default", "com.amazonaws.ecs.container-name": "c0",
                        "com.amazonaws.ecs.task-arn": arn, "com.amazonaws.ecs.task-definition-family": "bridged",
                        "com.amazonaws.ecs.task-definition-version": "1"})
    equal(c["Limits"], dict(CPU=0, Memory=32))
    equal(c["Ports"], [dict(ContainerPort=80, Protocol="tcp", HostIp="0.0.0.0",
                            HostPort=task["containers"][0]["networkBindings"][0]["hostPort"])])
    equal((c["Networks"][0]["NetworkMode"], len(c["Networks"][0]["IPv4Addresses"])), ("bridge", 1))
    inside = run("nsenter", f"--net=/proc/{pid_of(task)}/ns/net", "ip", "-o", "addr", "show", "eth0").stdout
    contains(inside, c["Networks"][0]["IPv4Addresses"][0] + "/32")
    assert c["CreatedAt"] <= c["StartedAt"] < "2100", c
    t = get(task, here + "/task")
    equal((t["Cluster"], t["TaskARN"], t["Family"], t["Revision"], t["KnownStatus"], t["Limits"]),
          ("default", arn, "bridged", "1", "RUNNING", dict(CPU=0.25, Memory=128)))
    equal(t["Containers"], [c])
    assert t["PullStartedAt"] <= t["PullStoppedAt"]
    equal(get(task, uri(task, name="ECS_CONTAINER_METADATA_URI")), c)
    assert "/v3/" in uri(task, name="ECS_CONTAINER_METADATA_URI")
    # Its own server has the same port, on all addresses.
    contains(page(c["Ports"][0]["HostPort"]), "Hello from Berth")
    stop(task)


def test_tags_are_what_the_server_knows_when_they_are_asked_for():
    task, bare = start("tagged", "bridge", tags=[dict(key="a", value="b"), dict(key="empty", value="")]), start("bare", "bridge")
    arn, instance = task["taskArn"], task["containerInstanceArn"]
    here = uri(task) + "/taskWithTags"
    t = get(task, here)
    equal((t["TaskARN"], t["TaskTags"], "ContainerInstanceTags" in t, "Errors" in t), (arn, dict(a="b", empty=""), False, False))
    equal([c["Name"] for c in t["Containers"]], ["c0"])
    ecs.tag_resource(resourceArn=arn, tags=[dict(key="a", value="c")])
    ecs.tag_resource(resourceArn=instance, tags=[dict(key="rack", value="7")])
    t = get(task, here)
    equal((t["TaskTags"], t["ContainerInstanceTags"]), (dict(a="c", empty=""), dict(rack="7")))
    t = get(bare, uri(bare) + "/taskWithTags")
    equal(("TaskTags" in t, t["ContainerInstanceTags"]), (False, dict(rack="7")))
    assert "TaskTags" not in get(task, uri(task) + "/task")
    equal(status(bare, here), "404")  # it is another's
    # both together ask for more than the server is to be asked for
    asking = [subprocess.Popen(["nsenter", f"--net=/proc/{pid_of(who)}/ns/net", "curl", "-sZ", "--parallel-max", "10", "-m", "20",
                                *[uri(who) + "/taskWithTags"] * 55], stdout=subprocess.PIPE, text=True) for who in (task, bare)]
    told = "".join(p.communicate()[0] for p in asking)
    contains(told, '"ErrorCode":"ThrottlingException"')
    assert told.count('"ContainerInstanceTags":{"rack":"7"}') >= 20, told[-2000:]
    wait_for(lambda: "Errors" not in get(task, here), 30, "tags, after a rest")
    stop(task, bare)
    ecs.untag_resource(resourceArn=instance, tagKeys=["rack"])


def test_usage_is_told_in_the_words_of_docker():
    task = start("used", "bridge")
    here = uri(task)
    wait_for(lambda: status(task, "http://127.0.0.1/") == "200", what="its own server")
    first, second = get(task, here + "/stats"), get(task, here + "/stats")
    assert second["memory_stats"]["usage"] > 0 and second["memory_stats"]["limit"] == 32 << 20, second["memory_stats"]
    assert second["cpu_stats"]["cpu_usage"]["total_usage"] >= first["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    equal((second["precpu_stats"], second["preread"]), (first["cpu_stats"], first["read"]))
    assert second["cpu_stats"]["system_cpu_usage"] > 0 and second["cpu_stats"]["online_cpus"] == os.cpu_count()
    assert second["pids_stats"]["current"] >= 1
    assert second["networks"]["eth0"]["rx_bytes"] > first["networks"]["eth0"]["rx_bytes"] > 0
    assert second["network_rate_stats"]["rx_bytes_per_sec"] > 0
    both = get(task, here + "/task/stats")
    equal(list(both), [first["id"]])
    stop(task)


def test_a_task_with_an_interface_is_answered_whatever_its_groups_say():
    closed = ec2.create_security_group(GroupName="closed", Description="nothing leaves", VpcId=VPC)["GroupId"]
    ec2.revoke_security_group_egress(GroupId=closed, IpPermissions=[dict(
        IpProtocol="-1", IpRanges=[dict(CidrIp="0.0.0.0/0")])])
    task = start("own", "awsvpc", containers=2, networkConfiguration=dict(awsvpcConfiguration=dict(
        subnets=[SUBNET["SubnetId"]], securityGroups=[closed])))
    t = get(task, uri(task) + "/task")
    equal([c["Name"] for c in t["Containers"]], ["c0", "c1"])
    n = t["Containers"][0]["Networks"][0]
    shown = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
    equal((n["NetworkMode"], n["IPv4Addresses"], n["MACAddress"], n["IPv4SubnetCIDRBlock"], n["AttachmentIndex"]),
          ("awsvpc", [shown["privateIPv4Address"]], shown["macAddress"], SUBNET["CidrBlock"], 0))
    base, length = SUBNET["CidrBlock"].split("/")
    equal(n["SubnetGatewayIpv4Address"], f"{base.rsplit('.', 1)[0]}.1/{length}")
    equal((n["PrivateDNSName"], n["DomainNameServers"]), (shown["privateDnsName"], ["169.254.169.253"]))
    equal(get(task, uri(task, 1))["Name"], "c1")
    equal(get(task, uri(task) + "/stats")["networks"].keys(), {"eth0"})
    stop(task)
    ec2.delete_security_group(GroupId=closed)


def test_in_the_hosts_network_it_is_known_by_its_id():
    task, other = start("hosted", "host"), start("beside", "bridge")
    here = uri(task)
    assert not here.startswith("http://169.254."), here
    c = get(task, here)
    equal((c["Name"], c["Networks"]), ("c0", [dict(NetworkMode="host", IPv4Addresses=[])]))
    equal(status(other, here, "--connect-timeout", "2"), "000")  # whoever knows it and is not of the host
    stop(task, other)


def test_nobody_is_told_what_another_one_is():
    one, other = start("one", "bridge"), start("other", "bridge")
    assert uri(one) != uri(other)
    equal(get(one, uri(one))["Labels"]["who"], "one")
    equal(status(one, uri(other)), "404")
    equal(status(one, uri(other) + "/task"), "404")
    address = get(other, uri(other))["Networks"][0]["IPv4Addresses"][0]
    ns = f"--net=/proc/{pid_of(one)}/ns/net"
    run("nsenter", ns, "ip", "addr", "add", address + "/32", "dev", "eth0")
    equal(status(one, uri(other), "-m", "2", "--interface", address), "000")  # a false source gets nowhere
    stop(one, other)


def test_who_has_no_network_is_told_nothing():
    task = start("alone", "none")
    equal(uri(task), None)
    stop(task)


def test_wrong_questions_are_refused():
    task = start("wrong", "bridge")
    here = uri(task)
    for path in ("", "/", "/v4/", "/v4/..", "/v5/" + here.split("/")[-1], "/v2/metadata", "/v4/" + "a" * 64):
        equal(status(task, "http://169.254.170.2" + path), "404")
    for wrong in ("/tasks", "/task/", "/stats?x", "//task"):
        equal(status(task, here + wrong), "404")
    equal(status(task, here, "-X", "POST"), "405")
    equal(status(task, here, "-H", "X-Forwarded-For: 10.0.0.1"), "403")
    equal(status(task, here, "-H", "Host: example.com"), "403")
    equal(status(task, here, "-H", "Host: 169.254.170.2"), "200")
    equal(status(task, here, "-H", "X: " + "x" * 10000), "431")
    stop(task)


def test_a_task_that_asks_too_much_is_held_back_and_no_other():
    task, other = start("greedy", "bridge"), start("modest", "bridge")
    here = uri(task)
    said = subprocess.run(["nsenter", f"--net=/proc/{pid_of(task)}/ns/net", "curl", "-s", "-w", "%{http_code}\n", "-o",
                           "/dev/null", f"{here}?[1-500]"], capture_output=True, text=True).stdout.split()
    assert said.count("429") > 100, said
    equal(get(other, uri(other))["Name"], "c0")
    stop(task, other)


def test_other_link_local_addresses_lead_nowhere():
    task = start("near", "bridge")
    with subprocess.Popen(["unshare", "-n", "sleep", "1000"]) as neighbour:
        wait_for(lambda: os.readlink(f"/proc/{neighbour.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        name = f"ll{os.getpid()}"
        inside = ["nsenter", f"--net=/proc/{neighbour.pid}/ns/net"]
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(neighbour.pid))
        run("ip", "addr", "add", "169.254.77.1/24", "dev", name)
        run("ip", "link", "set", name, "up")
        run(*inside, "ip", "addr", "add", LINK_LOCAL + "/24", "dev", "eth0")
        run(*inside, "ip", "link", "set", "eth0", "up")
        run(*inside, "ip", "route", "add", "default", "via", "169.254.77.1")
        with subprocess.Popen([*inside, "busybox", "httpd", "-f", "-p", "80", "-h", "/usr/share"]) as server:
            url = f"http://{LINK_LOCAL}/"
            ask = ["curl", "-s", "-o", "/dev/null", "-m", "5", "-w", "%{http_code}", url]
            wait_for(lambda: subprocess.run(ask, capture_output=True, text=True).stdout == "404", what="the host is answered")
            equal(status(task, url, "-m", "2"), "000")
            server.kill()
        neighbour.kill()
    stop(task)


def test_the_server_has_no_rights():
    if BUILD.endswith("/san"):
        raise Skip("sanitizers know no filter of system calls")
    task = start("rights", "bridge")
    get(task, uri(task))
    [pid] = servers()
    said = dict(re.findall(r"^(\w+):\t(.*)$", open(f"/proc/{pid}/status").read(), re.M))
    equal((said["Uid"].split(), said["CapEff"], said["NoNewPrivs"], said["Seccomp"]), (["65534"] * 4, "0" * 16, "1", "2"))
    links = run("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-o", "link").stdout.split("\n")
    equal([link.split(":")[1].strip() for link in links if link and "UP" in link.split("<")[1].split(">")[0].split(",")], [])
    stop(task)


def test_it_comes_back_after_whatever_ends_it():
    task = start("again", "bridge")
    here = uri(task)
    get(task, here)
    [pid] = servers()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pid not in servers())
    equal(get(task, here)["Name"], "c0")
    daemon.kill()
    daemon.start()
    wait_for(lambda: status(task, here) == "200", what="the agent answers again")
    equal(get(task, here + "/task")["TaskARN"], task["taskArn"])
    stop(task)


if __name__ == "__main__":
    main()
