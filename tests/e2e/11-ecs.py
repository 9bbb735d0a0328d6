#!/usr/bin/python3
# tests/e2e/11-ecs.py - the operations of a cluster, each by boto3 and by the aws command, and its errors
# SPDX-License-Identifier: Apache-2.0
#
# What is read first by an operation is read twice, by boto3 and by the aws command (which takes half a
# second to start), and is the same; so is the first error of each kind. Each reply that boto3 gets is
# held against the service's own model (berth.py).

import datetime
import json
import re

from berth import Census, Daemon, Node, Registry, contains, equal, error_of, main, wait_for

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
server = Daemon(role="server", config="[server]\nnode-listen = 127.0.0.1:0\n").start()
ecs = server.boto("ecs")
nodes, told = [], set()
ACCOUNT = "arn:aws:ecs:us-east-1:123456789012:"


def cleanup():
    for n in nodes:
        n.destroy()
    server.destroy()
    registry.__exit__()
    census.check()


def plain(value):
    """Times are one thing to boto3, and another to the aws command."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "ResponseMetadata"}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value.timestamp() if isinstance(value, datetime.datetime) else value


def of_aws(value):
    if isinstance(value, dict):
        return {k: of_aws(v) for k, v in value.items()}
    if isinstance(value, list):
        return [of_aws(v) for v in value]
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*[+-]\d\d:\d\d", value):
        return datetime.datetime.fromisoformat(value).timestamp()
    return value


def aws(operation, **request):
    """The real command, with the same request."""
    return of_aws(server.aws("ecs", operation.replace("_", "-"), "--cli-input-json", json.dumps(request)))


def is_first(what):
    if what in told:
        return False
    told.add(what)
    return True


def both(operation, **request):
    """What is read, by boto3 and by the aws command."""
    one = plain(getattr(ecs, operation)(**request))
    if is_first(operation):
        equal(aws(operation, **request), one)
    return one


def refused(code, part, operation, **request):
    """By boto3, and by the aws command, in the words of the service."""
    found = error_of(getattr(ecs, operation), **request)
    equal((operation, request, found[0], found[2]), (operation, request, code, 400))
    contains(found[1], part)
    if is_first(code):
        p = server.aws("ecs", operation.replace("_", "-"), "--cli-input-json", json.dumps(request), check=False)
        assert p.returncode != 0, p.stdout
        contains(p.stderr, f"An error occurred ({code})")


def join(**config):
    text = "[node]\nready-containers = 0\n" + "".join(f"{k} = {v}\n" for k, v in config.items())
    nodes.append(Node(server.node_address, server.token(), config=text).start())
    return nodes[-1]


def arn(node):
    return f"{ACCOUNT}container-instance/default/{node.instance}"


def define(family, *command, **more):
    return ecs.register_task_definition(family=family, containerDefinitions=[
        dict(name="c", image=IMAGE, memory=16, stopTimeout=2, command=list(command))], **more)["taskDefinition"]


# ---- clusters ----

def test_clusters():
    made = ecs.create_cluster(clusterName="one", tags=[dict(key="k", value="v")])["cluster"]
    equal((made["clusterArn"], made["status"]), (ACCOUNT + "cluster/one", "ACTIVE"))
    equal(plain(ecs.create_cluster(clusterName="one"))["cluster"]["clusterArn"], made["clusterArn"])  # it is there
    equal(aws("create_cluster", clusterName="two")["cluster"]["clusterName"], "two")
    equal(sorted(both("list_clusters")["clusterArns"]), [ACCOUNT + "cluster/" + c for c in ("default", "one", "two")])
    read = both("describe_clusters", clusters=["one", "nope"], include=["TAGS", "STATISTICS", "SETTINGS"])
    equal([(c["clusterName"], c["tags"]) for c in read["clusters"]], [("one", [dict(key="k", value="v")])])
    equal(read["clusters"][0]["settings"], [dict(name="containerInsights", value="disabled")])
    contains([s["name"] for s in read["clusters"][0]["statistics"]], "runningExternalTasksCount")
    equal(read["failures"], [dict(arn=ACCOUNT + "cluster/nope", reason="MISSING")])
    assert "tags" not in both("describe_clusters", clusters=["one"])["clusters"][0]
    changed = dict(cluster="one", settings=[dict(name="containerInsights", value="disabled")])
    equal(ecs.update_cluster(**changed)["cluster"]["clusterName"], "one")
    equal(aws("update_cluster_settings", **changed)["cluster"]["clusterName"], "one")
    for operation in ("update_cluster", "update_cluster_settings"):
        refused("ClusterNotFoundException", "Cluster not found.", operation, **dict(changed, cluster="nope"))
    refused("InvalidParameterException", "", "create_cluster", clusterName="a b")
    off = [dict(name="containerInsights", value="disabled")]
    for more in (dict(), dict(settings=off)):  # those that change a cluster tell it whole
        made = ecs.create_cluster(clusterName="whole", tags=[dict(key="k", value="v")], **more)["cluster"]
        equal((made["settings"], made["tags"]), (off, [dict(key="k", value="v")]))
    for operation, more in (("update_cluster", {}), ("update_cluster_settings", dict(settings=off)),
                            ("put_cluster_capacity_providers", dict(capacityProviders=[],
                                                                    defaultCapacityProviderStrategy=[])),
                            ("delete_cluster", {})):
        told = getattr(ecs, operation)(cluster="whole", **more)["cluster"]
        equal((told["settings"], told["tags"]), (off, [dict(key="k", value="v")]))
    refused("InvalidParameterException", "Duplicate tag keys", "create_cluster", clusterName="t",
            tags=[dict(key="k", value="1"), dict(key="k", value="2")])
    refused("ClusterNotFoundException", "Cluster not found.", "delete_cluster", cluster="nope")
    equal(ecs.delete_cluster(cluster="one")["cluster"]["status"], "INACTIVE")
    equal(aws("delete_cluster", cluster=ACCOUNT + "cluster/two")["cluster"]["status"], "INACTIVE")
    equal(both("list_clusters")["clusterArns"], [ACCOUNT + "cluster/default"])
    refused("ClusterNotFoundException", "Cluster not found.", "run_task", cluster="one", taskDefinition="x")


# ---- container instances ----

def test_container_instances():
    one, two = join(), join()
    listed = both("list_container_instances")["containerInstanceArns"]
    equal(sorted(listed), sorted([arn(one), arn(two)]))
    pages = list(ecs.get_paginator("list_container_instances").paginate(PaginationConfig=dict(PageSize=1)))
    equal(sorted(a for p in pages for a in p["containerInstanceArns"]), sorted(listed))
    read = both("describe_container_instances", containerInstances=[one.instance, arn(two), "e" * 32],
                include=["TAGS"])
    equal(read["failures"], [dict(arn=f"{ACCOUNT}container-instance/default/{'e' * 32}", reason="MISSING")])
    for i, n in zip(read["containerInstances"], (one, two)):
        equal((i["containerInstanceArn"], i["status"], i["agentConnected"], i["runningTasksCount"], i["tags"]),
              (arn(n), "ACTIVE", True, 0, []))
        names = {r["name"] for r in i["registeredResources"]}
        equal(names & {"CPU", "MEMORY", "PORTS", "PORTS_UDP"}, {"CPU", "MEMORY", "PORTS", "PORTS_UDP"})
        equal({r["name"] for r in i["remainingResources"]}, names)
        said = {a["name"]: a.get("value") for a in i["attributes"]}
        equal((said["ecs.os-type"], said["ecs.cpu-architecture"]), ("linux", "x86_64"))
        contains(said, "ecs.availability-zone")
        contains(i["versionInfo"], "agentVersion")
    for health in [i["healthStatus"] for i in ecs.describe_container_instances(
            containerInstances=listed, include=["CONTAINER_INSTANCE_HEALTH"])["containerInstances"]]:
        equal((health["overallStatus"], health["details"][0]["type"]), ("OK", "CONTAINER_RUNTIME"))
        assert health["details"][0]["lastStatusChange"] <= health["details"][0]["lastUpdated"]
    refused("ClusterNotFoundException", "Cluster not found.", "list_container_instances", cluster="nope")
    refused("InvalidParameterException", "", "describe_container_instances", containerInstances=[])
    refused("InvalidParameterException", "", "list_container_instances", filter="attribute:x ==")
    refused("InvalidParameterException", "", "list_container_instances", nextToken="bogus")


def test_the_status_of_container_instances():
    one, two = nodes
    read = plain(ecs.update_container_instances_state(containerInstances=[arn(one), "e" * 32], status="DRAINING"))
    equal([i["status"] for i in read["containerInstances"]], ["DRAINING"])
    equal(read["failures"], [dict(arn=f"{ACCOUNT}container-instance/default/{'e' * 32}", reason="MISSING")])
    equal(both("list_container_instances", status="DRAINING")["containerInstanceArns"], [arn(one)])
    equal(both("list_container_instances", status="ACTIVE")["containerInstanceArns"], [arn(two)])
    back = aws("update_container_instances_state", containerInstances=[one.instance], status="ACTIVE")
    equal([i["status"] for i in back["containerInstances"]], ["ACTIVE"])
    for code, part, more in [
        ("InvalidParameterException", "status", dict(status="INACTIVE")),
        ("InvalidParameterException", "", dict(containerInstances=[])),
        ("InvalidParameterException", "", dict(containerInstances=["e" * 32] * 11)),
        ("ClusterNotFoundException", "Cluster not found.", dict(cluster="nope")),
    ]:
        refused(code, part, "update_container_instances_state",
                **dict(dict(containerInstances=[arn(one)], status="DRAINING"), **more))


def test_attributes():
    one, two = nodes
    rack = dict(name="rack", value="r1", targetType="container-instance", targetId=one.instance)
    made = ecs.put_attributes(attributes=[rack, dict(name="ssd", targetId=arn(two))])["attributes"]
    equal([(a["name"], a["targetId"]) for a in made], [("rack", arn(one)), ("ssd", arn(two))])
    equal(aws("put_attributes", attributes=[dict(rack, value="r2")])["attributes"][0]["value"], "r2")
    listed = both("list_attributes", targetType="container-instance", attributeName="rack")["attributes"]
    equal([(a["name"], a["value"], a["targetId"]) for a in listed], [("rack", "r2", arn(one))])
    equal(both("list_attributes", targetType="container-instance", attributeName="rack",
               attributeValue="r1")["attributes"], [])
    equal(both("list_container_instances", filter="attribute:rack == r2")["containerInstanceArns"], [arn(one)])
    equal(both("list_container_instances", filter="attribute:ssd exists")["containerInstanceArns"], [arn(two)])
    everything = both("list_attributes", targetType="container-instance")["attributes"]
    pages = list(ecs.get_paginator("list_attributes").paginate(targetType="container-instance",
                                                               PaginationConfig=dict(PageSize=3)))
    equal([a for p in pages for a in p["attributes"]], everything)
    equal(len(ecs.delete_attributes(attributes=[dict(name="rack", targetId=arn(one))])["attributes"]), 1)
    equal(len(aws("delete_attributes", attributes=[dict(name="ssd", targetId=two.instance)])["attributes"]), 1)
    equal(both("list_attributes", targetType="container-instance", attributeName="ssd")["attributes"], [])
    for operation in ("put_attributes", "delete_attributes"):
        for code, more in [
            ("TargetNotFoundException", dict(attributes=[dict(name="x", targetId="e" * 32)])),
            ("InvalidParameterException", dict(attributes=[])),
            ("ClusterNotFoundException", dict(cluster="nope", attributes=[rack])),
        ]:
            refused(code, "", operation, **more)
    refused("InvalidParameterException", "reserved", "put_attributes",
            attributes=[dict(name="ecs.os-type", value="x", targetId=arn(one))])
    refused("InvalidParameterException", "", "put_attributes",
            attributes=[dict(name="a|b", value="x", targetId=arn(one))])
    many = [dict(name=f"a{i}", value="x", targetId=arn(one)) for i in range(11)]
    ecs.put_attributes(attributes=many[:10])
    refused("AttributeLimitExceededException", "", "put_attributes", attributes=many[10:])
    ecs.delete_attributes(attributes=[dict(name=a["name"], targetId=arn(one)) for a in many[:10]])
    refused("InvalidParameterException", "", "list_attributes", targetType="moon")
    refused("InvalidParameterException", "attributeName", "list_attributes", targetType="container-instance",
            attributeValue="r1")


# ---- tasks ----

def test_tasks_are_run_described_listed_and_stopped():
    one, two = nodes
    made = define("forever", "sleep", "1000")
    reply = ecs.run_task(taskDefinition="forever", count=2, startedBy="me", group="g", launchType="EXTERNAL",
                         placementConstraints=[dict(type="distinctInstance")],
                         placementStrategy=[dict(type="spread", field="instanceId")],
                         tags=[dict(key="k", value="v")], enableECSManagedTags=True)
    equal(reply["failures"], [])
    arns = sorted(t["taskArn"] for t in reply["tasks"])
    third = aws("start_task", taskDefinition=made["taskDefinitionArn"], containerInstances=[one.instance],
                startedBy="you")
    equal((third["failures"], third["tasks"][0]["containerInstanceArn"]), ([], arn(one)))
    third = third["tasks"][0]["taskArn"]
    for t in [*arns, third]:
        server.wait_status(t, "RUNNING")
    read = both("describe_tasks", tasks=[*arns, "e" * 32], include=["TAGS"])
    equal(read["failures"], [dict(arn=f"{ACCOUNT}task/default/{'e' * 32}", reason="MISSING")])
    equal({t["containerInstanceArn"] for t in read["tasks"]}, {arn(one), arn(two)})
    for t in read["tasks"]:
        equal((t["group"], t["startedBy"], t["launchType"], t["desiredStatus"], t["lastStatus"], t["memory"]),
              ("g", "me", "EXTERNAL", "RUNNING", "RUNNING", "16"))
        equal({x["key"]: x["value"] for x in t["tags"]}, {"k": "v", "aws:ecs:clusterName": "default"})
        equal((t["containers"][0]["name"], t["containers"][0]["image"]), ("c", IMAGE))
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", t["containers"][0]["imageDigest"])
        assert t["createdAt"] <= t["pullStartedAt"] <= t["pullStoppedAt"] <= t["startedAt"]
    for more, want in [
        (dict(), [*arns, third]), (dict(startedBy="me"), arns), (dict(startedBy="you"), [third]),
        (dict(family="forever"), [*arns, third]), (dict(family="f"), []), (dict(desiredStatus="STOPPED"), []),
        (dict(launchType="EXTERNAL"), arns), (dict(launchType="EC2"), [third]), (dict(launchType="FARGATE"), []),
        (dict(containerInstance=arn(two)), [t["taskArn"] for t in read["tasks"] if t["containerInstanceArn"] == arn(two)]),
    ]:
        equal(sorted(both("list_tasks", **more)["taskArns"]), sorted(want))
    pages = list(ecs.get_paginator("list_tasks").paginate(PaginationConfig=dict(PageSize=2)))
    equal([len(p["taskArns"]) for p in pages], [2, 1])
    stopped = plain(ecs.stop_task(task=arns[0], reason="enough"))["task"]
    equal((stopped["desiredStatus"], stopped["stoppedReason"]), ("STOPPED", "enough"))
    aws("stop_task", task=arns[1].rsplit("/", 1)[1])
    ecs.stop_task(task=third)
    ecs.get_waiter("tasks_stopped").wait(tasks=[*arns, third], WaiterConfig=dict(Delay=1, MaxAttempts=60))
    ended = both("describe_tasks", tasks=[arns[0]])["tasks"][0]
    equal((ended["lastStatus"], ended["stopCode"], ended["stoppedReason"]), ("STOPPED", "UserInitiated", "enough"))
    assert ended["stoppingAt"] <= ended["executionStoppedAt"] <= ended["stoppedAt"]
    equal(sorted(both("list_tasks", desiredStatus="STOPPED")["taskArns"]), sorted([*arns, third]))
    equal(both("list_tasks")["taskArns"], [])
    both("stop_task", task=arns[0])  # once more is no error, and changes nothing


def test_what_is_wrong_with_a_task():
    one, two = nodes
    define("small", "true")
    ecs.deregister_task_definition(taskDefinition="small:1")
    define("small", "true")
    for code, part, more in [
        ("InvalidParameterException", "", dict(count=0)),
        ("InvalidParameterException", "", dict(count=11)),
        ("ClientException", "TaskDefinition not found", dict(taskDefinition="nope")),
        ("ClientException", "", dict(taskDefinition="small:9")),
        ("ClusterNotFoundException", "Cluster not found.", dict(cluster="nope")),
        ("InvalidParameterException", "", dict(launchType="EXTERNAL", capacityProviderStrategy=[
            dict(capacityProvider="x", weight=1)])),
        ("InvalidParameterException", "", dict(placementConstraints=[dict(type="memberOf", expression="a ==")])),
        ("InvalidParameterException", "", dict(placementConstraints=[dict(type="distinctInstance", expression="x")])),
        ("InvalidParameterException", "", dict(placementStrategy=[dict(type="binpack", field="moon")])),
        ("InvalidParameterException", "", dict(placementStrategy=[dict(type="random")] * 6)),
        ("InvalidParameterException", "", dict(placementConstraints=[dict(type="distinctInstance")] * 11)),
        ("InvalidParameterException", "", dict(overrides=dict(containerOverrides=[dict(name="d", command=["x"])]))),
        ("InvalidParameterException", "Container Overrides length must be at most", dict(overrides=dict(
            containerOverrides=[dict(name="c", environment=[dict(name="A", value="x" * 65536)])]))),
        ("InvalidParameterException", "TaskDefinition is inactive", dict(taskDefinition="small:1")),
        ("InvalidParameterException", "", dict(startedBy="x" * 129)),
        ("InvalidParameterException", "", dict(tags=[dict(key="aws:x", value="y")])),
        ("InvalidParameterException", "", dict(networkConfiguration=dict(awsvpcConfiguration=dict(subnets=["subnet-1"])))),
    ]:
        refused(code, part, "run_task", **dict(dict(taskDefinition="small"), **more))
    for code, part, more in [
        ("InvalidParameterException", "", dict(containerInstances=[])),
        ("InvalidParameterException", "", dict(containerInstances=["e" * 32] * 11)),
        ("ClientException", "TaskDefinition not found", dict(taskDefinition="nope")),
        ("ClusterNotFoundException", "Cluster not found.", dict(cluster="nope")),
    ]:
        refused(code, part, "start_task", **dict(dict(taskDefinition="small", containerInstances=[arn(one)]), **more))
    reply = both("start_task", taskDefinition="small", containerInstances=["e" * 32])
    equal((reply["tasks"], reply["failures"]),
          ([], [dict(arn=f"{ACCOUNT}container-instance/default/{'e' * 32}", reason="MISSING")]))
    refused("InvalidParameterException", "", "describe_tasks", tasks=[])
    elsewhere = "Invalid identifier: Identifier is for cluster other. Your cluster is default"
    for operation, more in (("describe_tasks", dict(tasks=[f"{ACCOUNT}task/other/{'e' * 32}"])),
                            ("stop_task", dict(task=f"{ACCOUNT}task/other/{'e' * 32}")),
                            ("describe_container_instances", dict(
                                containerInstances=[arn(one), f"{ACCOUNT}container-instance/other/{one.instance}"])),
                            ("list_tasks", dict(containerInstance=f"{ACCOUNT}container-instance/other/{one.instance}"))):
        refused("InvalidParameterException", elsewhere, operation, **more)
    refused("InvalidParameterException", "", "describe_tasks", tasks=["e" * 32] * 101)
    refused("InvalidParameterException", "The referenced task was not found.", "stop_task", task="e" * 32)
    refused("ClusterNotFoundException", "Cluster not found.", "stop_task", cluster="nope", task="e" * 32)
    equal(both("list_tasks", desiredStatus="PENDING")["taskArns"], [])  # as AWS documents it
    refused("InvalidParameterException", "", "list_tasks", maxResults=101)
    reply = both("run_task", taskDefinition=define("big", "true", memory="99999999")["taskDefinitionArn"])
    equal((reply["tasks"], sorted(f["arn"] for f in reply["failures"]), {f["reason"] for f in reply["failures"]}),
          ([], sorted([arn(one), arn(two)]), {"RESOURCE:MEMORY"}))
    reply = both("run_task", taskDefinition="small", placementConstraints=[
        dict(type="memberOf", expression="attribute:planet == moon")])
    equal((reply["tasks"], {f["reason"] for f in reply["failures"]}), ([], {"MemberOf placement constraint unsatisfied."}))


def newer(**shapes):
    """boto3 with what the service has since Debian's botocore: members of shapes, and new ones."""
    client = server.boto("ecs")
    known = client.meta.service_model._shape_resolver._shape_map
    for name, shape in shapes.items():
        if name in known:
            known[name]["members"].update(shape)
        else:
            known[name] = shape
    return client


def test_a_call_that_is_repeated_is_done_once():
    text = dict(shape="String")
    client = newer(RunTaskRequest=dict(clientToken=text), ResourceIds=dict(type="list", member=text),
                   ConflictException=dict(type="structure", exception=True, members=dict(
                       resourceIds=dict(shape="ResourceIds"), message=text)))
    define("once", "sleep", "1000")
    call = dict(taskDefinition="once", count=2, clientToken="t-1", startedBy="me")
    first = [t["taskArn"] for t in client.run_task(**call)["tasks"]]
    equal([t["taskArn"] for t in client.run_task(**call)["tasks"]], first)
    for more in (dict(count=1), dict(startedBy="you"), dict(taskDefinition="small")):
        try:
            client.run_task(**dict(call, **more))
            raise AssertionError(f"{more}: it was accepted")
        except client.exceptions.ConflictException as e:
            equal((e.response["resourceIds"], e.response["ResponseMetadata"]["HTTPStatusCode"]), (first, 400))
    for token in ("", " ", "x" * 65, "\u00e9"):
        equal(error_of(client.run_task, **dict(call, clientToken=token))[0], "InvalidParameterException")
    equal(sorted(both("list_tasks", family="once")["taskArns"]), sorted(first))
    for t in first:
        ecs.stop_task(task=t)
        server.wait_stopped(t)


# ---- capacity providers, tags, settings ----

def test_capacity_providers():
    made = ecs.create_capacity_provider(name="edge", autoScalingGroupProvider=dict(autoScalingGroupArn="edge"),
                                        tags=[dict(key="k", value="v")])["capacityProvider"]
    equal((made["status"], made["capacityProviderArn"]), ("ACTIVE", ACCOUNT + "capacity-provider/edge"))
    equal(both("describe_capacity_providers", include=["TAGS"])["capacityProviders"][0]["tags"],
          [dict(key="k", value="v")])
    nope = ACCOUNT + "capacity-provider/nope"
    read = both("describe_capacity_providers", capacityProviders=["edge", "nope", nope])
    equal([p["name"] for p in read["capacityProviders"]], ["edge"])
    equal(read["failures"], [dict(arn=nope, reason="MISSING")] * 2)
    changed = aws("update_capacity_provider", name="edge",
                  autoScalingGroupProvider=dict(managedScaling=dict(status="DISABLED")))["capacityProvider"]
    equal(changed["updateStatus"], "UPDATE_COMPLETE")
    strategy = [dict(capacityProvider="edge", weight=1, base=2)]
    cluster = ecs.put_cluster_capacity_providers(cluster="default", capacityProviders=["edge"],
                                                 defaultCapacityProviderStrategy=strategy)["cluster"]
    equal((cluster["capacityProviders"], cluster["defaultCapacityProviderStrategy"]), (["edge"], strategy))
    refused("ClientException", "already exists", "create_capacity_provider", name="edge",
            autoScalingGroupProvider=dict(autoScalingGroupArn="edge"))
    refused("InvalidParameterException", "prefixed", "create_capacity_provider", name="awsome",
            autoScalingGroupProvider=dict(autoScalingGroupArn="edge"))
    refused("ClientException", "was not found", "update_capacity_provider", name="nope", autoScalingGroupProvider={})
    refused("ClientException", "was not found", "delete_capacity_provider", capacityProvider="nope")
    refused("ClientException", "default", "delete_capacity_provider", capacityProvider="edge")
    for code, more in [
        ("ClusterNotFoundException", dict(cluster="nope")),
        ("ClientException", dict(capacityProviders=["nope"])),
        ("InvalidParameterException", dict(capacityProviders=[])),  # the strategy names one
        ("InvalidParameterException", dict(defaultCapacityProviderStrategy=[
            dict(capacityProvider="edge", weight=1001)])),
    ]:
        refused(code, "", "put_cluster_capacity_providers", **dict(dict(
            cluster="default", capacityProviders=["edge"], defaultCapacityProviderStrategy=strategy), **more))
    aws("put_cluster_capacity_providers", cluster="default", capacityProviders=[], defaultCapacityProviderStrategy=[])
    aws("delete_capacity_provider", capacityProvider="edge")
    equal(both("describe_capacity_providers")["capacityProviders"], [])
    refused("InvalidParameterException", "between 1 and 10", "describe_capacity_providers", maxResults=11)


def test_tags_are_of_everything():
    one = nodes[0]
    definition = define("tagged", "sleep", "1000")["taskDefinitionArn"]
    task = ecs.run_task(taskDefinition=definition)["tasks"][0]["taskArn"]
    provider = ecs.create_capacity_provider(name="tagged", autoScalingGroupProvider=dict(
        autoScalingGroupArn="x"))["capacityProvider"]["capacityProviderArn"]
    for thing in (ACCOUNT + "cluster/default", arn(one), definition, task, provider):
        ecs.tag_resource(resourceArn=thing, tags=[dict(key="a", value="1"), dict(key="b", value="2")])
        aws("tag_resource", resourceArn=thing, tags=[dict(key="a", value="3")])
        equal(both("list_tags_for_resource", resourceArn=thing)["tags"], [dict(key="a", value="3"), dict(key="b", value="2")])
        ecs.untag_resource(resourceArn=thing, tagKeys=["a"])
        aws("untag_resource", resourceArn=thing, tagKeys=["nope"])
        equal(both("list_tags_for_resource", resourceArn=thing)["tags"], [dict(key="b", value="2")])
        refused("InvalidParameterException", "aws:", "tag_resource", resourceArn=thing, tags=[dict(key="aws:x", value="")])
        refused("InvalidParameterException", "50", "tag_resource", resourceArn=thing,
                tags=[dict(key=f"k{i}", value="") for i in range(50)])
    nobody = f"{ACCOUNT}task/default/{'e' * 32}"
    for operation, more in (("tag_resource", dict(tags=[])), ("untag_resource", dict(tagKeys=[])),
                            ("list_tags_for_resource", {})):
        refused("InvalidParameterException", "", operation, resourceArn=nobody, **more)
    ecs.stop_task(task=task)
    server.wait_stopped(task)
    ecs.delete_capacity_provider(capacityProvider="tagged")


def test_account_settings():
    equal(ecs.put_account_setting(name="taskLongArnFormat", value="enabled")["setting"]["value"], "enabled")
    equal(aws("put_account_setting_default", name="serviceLongArnFormat", value="enabled")["setting"]["name"],
          "serviceLongArnFormat")
    equal(len(both("list_account_settings")["settings"]), 2)
    pages = list(ecs.get_paginator("list_account_settings").paginate(PaginationConfig=dict(PageSize=1)))
    equal([len(p["settings"]) for p in pages], [1, 1])
    equal({s["value"] for s in both("list_account_settings", effectiveSettings=True, name="taskLongArnFormat")["settings"]},
          {"enabled"})
    for name in ("taskLongArnFormat", "serviceLongArnFormat"):
        ecs.delete_account_setting(name=name)
    equal(both("list_account_settings")["settings"], [])
    refused("InvalidParameterException", "between 1 and 10", "list_account_settings", maxResults=11)
    refused("InvalidParameterException", "name", "list_account_settings", value="enabled")
    refused("InvalidParameterException", "", "put_account_setting", name="moon", value="enabled")
    for principal in ("me", "arn:aws:iam::999999999999:user/me", "arn:aws:iam::123456789012:user/"):
        refused("InvalidParameterException", "principalArn", "put_account_setting", name="taskLongArnFormat",
                value="enabled", principalArn=principal)
    refused("ClientException", "can only be 'enabled'", "put_account_setting", name="taskLongArnFormat", value="disabled")


# ---- the end of both ----

def test_instances_and_clusters_end_when_nothing_runs_there():
    one, two = nodes
    task = server.run_task([dict(name="c", image=IMAGE, memory=16, command=["sleep", "1000"])], "last")
    at = server.wait_status(task, "RUNNING")["containerInstanceArn"]
    refused("InvalidParameterException", "Found running tasks on the instance.", "deregister_container_instance",
            containerInstance=at)
    refused("ClusterContainsTasksException", "", "delete_cluster", cluster="default")
    gone = plain(ecs.deregister_container_instance(containerInstance=at, force=True))["containerInstance"]
    equal((gone["status"], gone["containerInstanceArn"]), ("INACTIVE", at))
    stopped = server.wait_stopped(task)
    equal(stopped["stoppedReason"], "Container instance deregistration forced by user")
    refused("ClusterContainsContainerInstancesException", "", "delete_cluster", cluster="default")
    other = arn(two if at == arn(one) else one)
    equal(aws("deregister_container_instance", containerInstance=other)["containerInstance"]["status"], "INACTIVE")
    equal(both("list_container_instances")["containerInstanceArns"], [])
    refused("InvalidParameterException", "", "deregister_container_instance", containerInstance="e" * 32)
    for n in nodes:
        equal(n.process.wait(60), 1)
    wait_for(lambda: not ecs.list_tasks()["taskArns"], 30, "no task")
    equal(ecs.delete_cluster(cluster="default")["cluster"]["status"], "INACTIVE")
    ecs.create_cluster(clusterName="default")


main()
