#!/usr/bin/python3
# tests/e2e/10-api.py - the AWS APIs, by the real aws command, by boto3, and by hand
# SPDX-License-Identifier: Apache-2.0

import datetime
import json
import os
import signal
import socket
import threading
import time

from berth import AWS, Census, Daemon, contains, equal, error_of, main, meanwhile, run, wait_for

census = Census()
daemon = Daemon(role="server").start()


def cleanup():
    daemon.destroy()
    census.check()


DEFINITION = dict(family="web", containerDefinitions=[dict(name="web", image="nginx", memory=64, command=["a b", "ü"],
                                                           environment=[dict(name="K", value="v")])])


def test_settings_of_cluster_and_account_are_what_is_true():
    aws = daemon.aws
    off = [{"name": "containerInsights", "value": "disabled"}]
    equal(aws("ecs", "update-cluster-settings", "--cluster", "default", "--settings",
              "name=containerInsights,value=disabled")["cluster"]["clusterName"], "default")
    equal(aws("ecs", "describe-clusters", "--include", "SETTINGS")["clusters"][0]["settings"], off)
    contains(aws("ecs", "update-cluster", "--cluster", "default", "--settings", "name=containerInsights,value=enabled",
                 check=False).stderr, "containerInsights can only be 'disabled'")
    effective = aws("ecs", "list-account-settings", "--effective-settings")["settings"]
    equal({s["name"]: s["value"] for s in effective}["taskLongArnFormat"], "enabled")
    equal(aws("ecs", "list-account-settings")["settings"], [])
    made = aws("ecs", "put-account-setting", "--name", "taskLongArnFormat", "--value", "enabled")["setting"]
    equal((made["value"], made["principalArn"]), ("enabled", "arn:aws:iam::123456789012:root"))
    equal(aws("ecs", "list-account-settings")["settings"], [made])
    contains(aws("ecs", "put-account-setting-default", "--name", "taskLongArnFormat", "--value", "disabled",
                 check=False).stderr, "taskLongArnFormat can only be 'enabled'")
    aws("ecs", "delete-account-setting", "--name", "taskLongArnFormat")
    equal(aws("ecs", "list-account-settings")["settings"], [])


def test_the_aws_command_lists_the_default_cluster():
    equal(daemon.aws("ecs", "list-clusters"),
          {"clusterArns": ["arn:aws:ecs:us-east-1:123456789012:cluster/default"]})


def test_the_credentials_file_is_ours_alone():
    path = os.path.join(daemon.root, "etc/berth/credentials")
    equal(oct(os.stat(path).st_mode & 0o7777), "0o600")
    equal(oct(os.stat(os.path.join(daemon.root, "run/berth/api.sock")).st_mode & 0o7777), "0o600")


def test_the_server_has_no_rights():
    status = open(f"/proc/{daemon.process.pid}/status").read()
    contains(status, "CapEff:\t0000000000000000")
    contains(status, "NoNewPrivs:\t1")
    assert "Uid:\t0\t" not in status
    equal(os.readlink(f"/proc/{daemon.process.pid}/root"), daemon.root + "/var/lib/berth/server")


def test_a_definition_is_given_back_in_full():
    ecs = daemon.boto("ecs")
    made = ecs.register_task_definition(**DEFINITION, tags=[dict(key="a", value="b")])
    td = made["taskDefinition"]
    equal(td["containerDefinitions"][0]["command"], ["a b", "ü"])
    equal(td["containerDefinitions"][0]["essential"], True)
    equal(td["containerDefinitions"][0]["portMappings"], [])
    equal((td["status"], td["revision"], td["compatibilities"]), ("ACTIVE", 1, ["EXTERNAL", "EC2"]))
    assert isinstance(td["registeredAt"], datetime.datetime)
    again = ecs.describe_task_definition(taskDefinition="web", include=["TAGS"])
    equal(again["taskDefinition"], td)
    equal(again["tags"], [dict(key="a", value="b")])
    equal(daemon.aws("ecs", "list-task-definitions")["taskDefinitionArns"], [td["taskDefinitionArn"]])
    equal(daemon.aws("ecs", "list-task-definition-families")["families"], ["web"])
    out = ecs.deregister_task_definition(taskDefinition="web:1")["taskDefinition"]
    equal(out["status"], "INACTIVE")
    equal(daemon.ecs("DeleteTaskDefinitions", taskDefinitions=["web:1"])["taskDefinitions"][0]["status"],
          "DELETE_IN_PROGRESS")


def test_faults_are_those_of_ecs():
    ecs = daemon.boto("ecs")
    for code, part, function, arguments in [
        ("ClientException", "Unable to describe task definition", ecs.describe_task_definition,
         dict(taskDefinition="nope")),
        ("ClusterNotFoundException", "Cluster not found", ecs.list_tasks, dict(cluster="nope")),
        ("ServiceNotFoundException", "Service not found.", ecs.list_tasks, dict(serviceName="nope")),
        ("InvalidParameterException", "Invalid cluster", ecs.list_tasks,
         dict(cluster="arn:aws:ecs:us-east-1:999999999999:cluster/x")),
        ("ClientException", "TaskDefinition not found", ecs.run_task, dict(taskDefinition="nope")),
        ("InvalidParameterException", "task was not found", ecs.stop_task, dict(task="f" * 32)),
        ("ClientException", "healthCheck is not supported", ecs.register_task_definition,
         dict(family="f", containerDefinitions=[dict(name="a", image="i", memory=8,
                                                     healthCheck=dict(command=["CMD", "true"]))])),
        ("ClientException", "At least one of 'memory' or 'memoryReservation'", ecs.register_task_definition,
         dict(family="f", containerDefinitions=[dict(name="a", image="i")])),
        ("UnsupportedFeatureException", "CreateService is not supported", ecs.create_service,
         dict(serviceName="s", taskDefinition="t")),
        # of ECS's own agent, which has no business here
        ("UnsupportedFeatureException", "DiscoverPollEndpoint is not supported", ecs.discover_poll_endpoint, {}),
        ("UnsupportedFeatureException", "RegisterContainerInstance is not", ecs.register_container_instance, {}),
        ("UnsupportedFeatureException", "SubmitTaskStateChange is not", ecs.submit_task_state_change, {}),
        ("UnsupportedFeatureException", "UpdateContainerAgent is not", ecs.update_container_agent,
         dict(containerInstance="f" * 32)),
    ]:
        found = error_of(function, **arguments)
        equal((found[0], found[2]), (code, 400))
        contains(found[1], part)


def test_what_is_missing_is_a_failure_not_an_error():
    ecs = daemon.boto("ecs")
    reply = ecs.describe_tasks(tasks=["f" * 32])
    equal(reply["failures"][0], dict(arn=f"arn:aws:ecs:us-east-1:123456789012:task/default/{'f' * 32}",
                                     reason="MISSING"))
    equal(ecs.describe_container_instances(containerInstances=["a" * 32])["failures"][0]["reason"], "MISSING")


def test_pages_follow_each_other():
    ecs = daemon.boto("ecs")
    for i in range(7):
        ecs.create_cluster(clusterName=f"page{i}")
    pages = list(ecs.get_paginator("list_clusters").paginate(PaginationConfig=dict(PageSize=3)))
    equal([len(p["clusterArns"]) for p in pages], [3, 3, 2])
    equal(len({a for p in pages for a in p["clusterArns"]}), 8)
    equal(error_of(ecs.list_clusters, nextToken="bogus")[0], "InvalidParameterException")
    for i in range(7):
        ecs.delete_cluster(cluster=f"page{i}")


# ---- logs ----

def test_log_groups_streams_and_events():
    logs = daemon.boto("logs")
    logs.create_log_group(logGroupName="/a/b")
    equal(error_of(logs.create_log_group, logGroupName="/a/b")[0], "ResourceAlreadyExistsException")
    equal(error_of(logs.create_log_stream, logGroupName="/nope", logStreamName="s")[0],
          "ResourceNotFoundException")
    logs.create_log_stream(logGroupName="/a/b", logStreamName="s1")
    logs.create_log_stream(logGroupName="/a/b", logStreamName="s2")
    now = int(time.time() * 1000)
    logs.put_log_events(logGroupName="/a/b", logStreamName="s1",
                        logEvents=[dict(timestamp=now - 3 + i, message=f"one {i}") for i in range(3)])
    logs.put_log_events(logGroupName="/a/b", logStreamName="s2",
                        logEvents=[dict(timestamp=now - 2, message="two error")])
    got = logs.get_log_events(logGroupName="/a/b", logStreamName="s1", startFromHead=True, limit=2)
    equal([e["message"] for e in got["events"]], ["one 0", "one 1"])
    more = logs.get_log_events(logGroupName="/a/b", logStreamName="s1", nextToken=got["nextForwardToken"])
    equal([e["message"] for e in more["events"]], ["one 2"])
    end = logs.get_log_events(logGroupName="/a/b", logStreamName="s1", nextToken=more["nextForwardToken"])
    equal((end["events"], end["nextForwardToken"]), ([], more["nextForwardToken"]))
    back = logs.get_log_events(logGroupName="/a/b", logStreamName="s1", nextToken=more["nextBackwardToken"])
    equal([e["message"] for e in back["events"]], ["one 0", "one 1"])
    both = logs.filter_log_events(logGroupName="/a/b")
    equal([e["message"] for e in both["events"]], ["one 0", "one 1", "two error", "one 2"])
    equal([e["message"] for e in logs.filter_log_events(logGroupName="/a/b", filterPattern="error")["events"]],
          ["two error"])
    equal([e["message"] for e in logs.filter_log_events(logGroupName="/a/b", filterPattern="-error -1",
                                                        logStreamNamePrefix="s1")["events"]], ["one 0", "one 2"])
    equal(error_of(logs.filter_log_events, logGroupName="/a/b", filterPattern="{ $.x = 1 }")[0],
          "InvalidParameterException")
    streams = logs.describe_log_streams(logGroupName="/a/b", orderBy="LastEventTime", descending=True)
    equal([s["logStreamName"] for s in streams["logStreams"]], ["s1", "s2"])
    logs.put_retention_policy(logGroupName="/a/b", retentionInDays=7)
    equal(error_of(logs.put_retention_policy, logGroupName="/a/b", retentionInDays=2)[0],
          "InvalidParameterException")
    groups = logs.describe_log_groups(logGroupNamePrefix="/a/")["logGroups"]
    equal([(g["logGroupName"], g["retentionInDays"]) for g in groups], [("/a/b", 7)])
    logs.delete_log_group(logGroupName="/a/b")
    equal(error_of(logs.get_log_events, logGroupName="/a/b", logStreamName="s1")[0], "ResourceNotFoundException")


def test_the_rules_of_put_log_events():
    logs = daemon.boto("logs")
    logs.create_log_group(logGroupName="rules")
    logs.create_log_stream(logGroupName="rules", logStreamName="s")
    now = int(time.time() * 1000)
    put = lambda events: logs.put_log_events(logGroupName="rules", logStreamName="s", logEvents=events)
    contains(error_of(put_with(put), events=[dict(timestamp=now, message="b"), dict(timestamp=now - 1, message="a")])[1],
             "chronological order")
    contains(error_of(put_with(put), events=[dict(timestamp=now, message="x" * 262144)])[1], "too large")
    day = 24 * 3600 * 1000
    reply = put([dict(timestamp=now - 15 * day, message="old")])
    equal(reply["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"], 1)
    reply = put([dict(timestamp=now, message="ok"), dict(timestamp=now + day // 4, message="new")])
    equal(reply["rejectedLogEventsInfo"]["tooNewLogEventStartIndex"], 1)
    equal([e["message"] for e in logs.get_log_events(logGroupName="rules", logStreamName="s")["events"]], ["ok"])


def put_with(put):
    return lambda events: put(events)


def test_aws_logs_tail_shows_what_was_put():
    logs = daemon.boto("logs")
    logs.create_log_group(logGroupName="tail")
    logs.create_log_stream(logGroupName="tail", logStreamName="s")
    logs.put_log_events(logGroupName="tail", logStreamName="s",
                        logEvents=[dict(timestamp=int(time.time() * 1000), message="seen by tail")])
    p = run(AWS, "--endpoint-url", daemon.endpoint, "logs", "tail", "tail", "--since", "1h", env=daemon.env())
    contains(p.stdout, "s seen by tail")


# ---- signatures ----

def signed_with(key=None, secret=None, region="us-east-1", service="ecs", age=0, change=None, body=b"{}",
                target="AmazonEC2ContainerServiceV20141113.ListClusters", of=None):
    """A request signed by botocore, changed afterwards; status, type and message of the answer."""
    import http.client
    import botocore.auth
    import botocore.awsrequest
    import botocore.credentials
    fields = dict(l.split(" = ") for l in open((of or daemon).root + "/etc/berth/credentials").read().split("\n") if "=" in l)
    credentials = botocore.credentials.Credentials(key or fields["aws_access_key_id"],
                                                   secret or fields["aws_secret_access_key"])
    request = botocore.awsrequest.AWSRequest("POST", (of or daemon).endpoint + "/", data=body, headers={
        "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target})
    auth = botocore.auth.SigV4Auth(credentials, service, region)
    real = datetime.datetime

    class Clock(real):
        @classmethod
        def utcnow(cls):
            return real.utcnow() - datetime.timedelta(seconds=age)
    botocore.auth.datetime.datetime = Clock
    try:
        auth.add_auth(request)
    finally:
        botocore.auth.datetime.datetime = real
    prepared = request.prepare()
    headers = dict(prepared.headers)
    sent = change(headers) if change else None
    host = (of or daemon).endpoint.split("//")[1]
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request("POST", "/", body=sent if sent is not None else body, headers=headers)
    answer = connection.getresponse()
    doc = json.loads(answer.read())
    return answer.status, doc.get("__type"), doc.get("message", "")


def test_signatures_are_checked_in_every_part():
    def without(name):
        return lambda h: h.pop(name) and None

    def with_header(name, value):
        return lambda h: h.update({name: value})
    equal(signed_with()[0], 200)
    for arguments, status, kind, part in [
        (dict(change=without("Authorization")), 403, "MissingAuthenticationTokenException", ""),
        (dict(change=with_header("Authorization", "AWS4-HMAC-SHA256 x")), 400, "IncompleteSignatureException", ""),
        (dict(key="AKIAXXXXXXXXXXXXXXXX"), 400, "UnrecognizedClientException", "security token"),
        (dict(secret="wrong"), 400, "InvalidSignatureException", "does not match"),
        (dict(region="eu-west-1"), 400, "InvalidSignatureException", "valid region"),
        (dict(service="logs"), 400, "InvalidSignatureException", "correct service: 'ecs'"),
        (dict(age=960), 400, "InvalidSignatureException", "Signature expired"),
        (dict(age=-960), 400, "InvalidSignatureException", "not yet current"),
        (dict(change=lambda h: b'{"maxResults":1}'), 400, "InvalidSignatureException", "does not match"),
        (dict(change=with_header("X-Amz-Target", "AmazonEC2ContainerServiceV20141113.CreateCluster")), 400,
         "InvalidSignatureException", "does not match"),
        (dict(change=with_header("X-Amz-Security-Token", "t")), 400, "UnrecognizedClientException", ""),
    ]:
        got = signed_with(**arguments)
        equal((list(arguments.items())[0][0], *got[:2]), (list(arguments.items())[0][0], status, kind))
        contains(got[2], part)
    equal(signed_with(age=890)[0], 200)


# ---- what is not a request ----

def test_a_caller_over_his_rate_is_told_so_and_root_is_not():
    """Two calls at once for one a second: six in a row are more than that."""
    limited = Daemon(role="server", config="[server]\ncaller-requests-per-second = 1\n").start()
    try:
        ours = [signed_with(of=limited) for _ in range(6)]
        equal(ours[0][0], 200)
        contains(ours, (400, "ThrottlingException", "Rate exceeded"))
        for _ in range(6):
            limited.ecs("ListClusters")
    finally:
        limited.destroy()


def raw(data, half_close=False):
    """Bytes to the TCP port; the answer until the server hangs up or a second of silence."""
    host, _, port = daemon.endpoint.split("//")[1].partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as s:
        s.sendall(data)
        if half_close:
            s.shutdown(socket.SHUT_WR)
        return s.recv(65536)


def test_bad_requests_are_told_and_the_daemon_goes_on():
    for target, body, status, kind in [
        ("AmazonEC2ContainerServiceV20141113.Fly", {}, 400, "UnknownOperationException"),
        ("Nobody.Fly", {}, 400, "UnknownOperationException"),
        ("", {}, 400, "UnknownOperationException"),
        ("AmazonEC2ContainerServiceV20141113.ListTasks", b"{", 400, "SerializationException"),
        ("AmazonEC2ContainerServiceV20141113.ListTasks", b"[]", 400, "SerializationException"),
        ("AmazonEC2ContainerServiceV20141113.ListTasks", b'{"a":1,"a":2}', 400, "SerializationException"),
        ("AmazonEC2ContainerServiceV20141113.ListTasks", b"[" * 100000, 400, "SerializationException"),
        ("AmazonEC2ContainerServiceV20141113.ListTasks", b'{"cluster":"\xff"}', 400, "SerializationException"),
        ("AmazonEC2ContainerServiceV20141113.ListTasks", {"maxResults": "5"}, 400, "SerializationException"),
        ("AmazonEC2ContainerServiceV20141113.RunTask", {}, 400, "InvalidParameterException"),
    ]:
        got = daemon.call(target, body)
        equal((got[0], got[1]["__type"]), (status, kind))
    head = b"POST / HTTP/1.1\r\nHost: x\r\n"
    contains(raw(head + b"Content-Length: 3000000\r\n\r\n").decode(), "413")
    contains(raw(head + b"".join(b"X-%d: y\r\n" % i for i in range(100)) + b"\r\n").decode(), "431")
    contains(raw(head + b"X-Long: " + b"y" * 40000 + b"\r\n\r\n").decode(), "431")
    contains(raw(b"not HTTP at all\r\n\r\n").decode(), "400")
    contains(raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").decode(), "MissingAuthenticationToken")
    equal(daemon.ecs("ListClusters")["clusterArns"][0].rsplit("/")[-1], "default")


@meanwhile
def test_a_slow_client_is_let_go_and_holds_nobody_up():
    host, _, port = daemon.endpoint.split("//")[1].partition(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(50)]
    for s in slow:
        s.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Le")
    done = threading.Event()

    def trickle():
        while not done.wait(1):
            for s in slow:
                try:
                    s.send(b"n")
                except OSError:
                    pass
    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        daemon.aws("ecs", "list-clusters")  # meanwhile others are served
        slow[0].settimeout(60)
        contains(slow[0].recv(1000).decode(), "408")
    finally:
        done.set()
        thread.join()
        for s in slow:
            s.close()


# ---- crashes ----

def test_what_was_acknowledged_survives_kill_9_under_a_storm_of_writes():
    acknowledged, stop = [], threading.Event()

    def storm(n):
        i = 0
        while not stop.is_set():
            try:
                name = f"storm-{n}-{i}"
                reply = daemon.ecs("RegisterTaskDefinition", family=name,
                                   containerDefinitions=[dict(name="a", image="i", memory=8)])
                acknowledged.append(reply["taskDefinition"]["taskDefinitionArn"])
                i += 1
            except (OSError, AssertionError, ValueError, IndexError):
                time.sleep(0.01)
    for _ in range(5):
        stop.clear()
        threads = [threading.Thread(target=storm, args=(f"{len(acknowledged)}x{n}",)) for n in range(8)]
        start = len(acknowledged)
        for t in threads:
            t.start()
        wait_for(lambda: len(acknowledged) > start + 100, 60, "100 writes")
        daemon.kill()
        stop.set()
        for t in threads:
            t.join()
        daemon.start()
        found = set()
        for page in daemon.boto("ecs").get_paginator("list_task_definitions").paginate():
            found.update(page["taskDefinitionArns"])
        missing = [a for a in acknowledged if a not in found]
        equal(missing, [])


if __name__ == "__main__":
    main()
