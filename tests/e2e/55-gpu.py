#!/usr/bin/python3
# tests/e2e/55-gpu.py - GPUs by the Container Device Interface: counted, given to one container, and seen in it
# SPDX-License-Identifier: Apache-2.0
#
# The devices are made up: their nodes are those of /dev/null and /dev/zero.

import json
import os
import re

from berth import Census, Daemon, Registry, contains, equal, main, refused, wait_for

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
# What is left of a task goes soon, and the specifications are looked at as often.
daemon = Daemon(config="[node]\ntask-cleanup-seconds = 4\n")
CDI = os.path.join(daemon.root, "etc/cdi")
HOOK = os.path.join(daemon.dir, "hook")
LIBRARY = os.path.join(daemon.dir, "libacme.so")
KIND = "acme.com/gpu"
G0, G1 = f"{KIND}=GPU-a", f"{KIND}=GPU-b"


def device(name, number, node=None):
    return dict(name=name, containerEdits=dict(
        env=[f"ACME_DEVICE={name}"],
        deviceNodes=[dict(path=f"/dev/acme{number}", hostPath=node or ("/dev/null", "/dev/zero")[number],
                          permissions="rw")]))


def specification(devices, version="0.6.0", kind=KIND, **edits):
    return json.dumps(dict(cdiVersion=version, kind=kind, devices=devices, containerEdits=dict(dict(
        env=["ACME_DRIVER=7"], additionalGids=[4711],
        deviceNodes=[dict(path="/dev/acmectl", type="c", major=1, minor=7, fileMode=0o666)],
        mounts=[dict(hostPath=LIBRARY, containerPath="/usr/lib/libacme.so",
                     options=["ro", "nosuid", "nodev", "rbind", "rprivate"])],
        hooks=[dict(hookName="createContainer", path=HOOK, args=["hook", "links"])]), **edits)))


def put(name, text):
    os.makedirs(CDI, exist_ok=True)
    with open(os.path.join(CDI, name + ".new"), "w") as f:
        f.write(text)
    os.rename(os.path.join(CDI, name + ".new"), os.path.join(CDI, name))


TWO = [device("0", 0), device("GPU-a", 0), device("1", 1), device("GPU-b", 1),
       dict(name="all", containerEdits=dict(deviceNodes=[dict(path="/dev/acme0"), dict(path="/dev/acme1")]))]

# As vendors' hooks do it: the root is where the bundle's config.json says.
with open(HOOK, "w") as f:
    f.write("""#!/usr/bin/python3
import json, os, sys
bundle = json.load(sys.stdin)["bundle"]
root = os.path.join(bundle, json.load(open(bundle + "/config.json"))["root"]["path"])
os.symlink("libacme.so", root + "/usr/lib/libacme.so.1")
open(root + "/hooked", "w").write(" ".join(sys.argv[1:]))
""")
os.chmod(HOOK, 0o755)
with open(LIBRARY, "w") as f:
    f.write("acme\n")
put("acme.json", specification(TWO))
put("other.yaml", "cdiVersion: 0.6.0")
daemon.start()


def cleanup():
    daemon.destroy()
    registry.__exit__()
    census.check()


def container(script, count=1, name="c", **more):
    needs = dict(resourceRequirements=[dict(type="GPU", value=str(count))]) if count else {}
    return dict(dict(name=name, image=IMAGE, memory=32, entryPoint=["/bin/sh", "-c"], command=[script]), **needs, **more)


def ids(name):
    node = daemon.ecs("DescribeContainerInstances", containerInstances=daemon.ecs(
        "ListContainerInstances")["containerInstanceArns"])["containerInstances"][0]
    return next((r["stringSetValue"] for r in node[name] if r["name"] == "GPU"), None)


def gpus(arn, index=0):
    return daemon.task(arn)["containers"][index].get("gpuIds")


def output(arn):
    task = daemon.wait_stopped(arn)
    out = daemon.berth("logs", arn).stdout
    if task["containers"][0].get("exitCode") != 0:
        raise AssertionError(f"{task.get('stoppedReason')} {task['containers']}: {out}")
    return out


def fails(count=1, **overrides):
    """RunTask, which finds no place; why."""
    td = daemon.ecs("RegisterTaskDefinition", family="f", containerDefinitions=[container("true", count)])
    reply = daemon.ecs("RunTask", taskDefinition=td["taskDefinition"]["taskDefinitionArn"], **overrides)
    equal(reply["tasks"], [])
    return reply["failures"][0]["reason"]


def why_not_started(arn):
    return daemon.wait_stopped(arn)["stoppedReason"]


def end(*arns):
    for arn in arns:
        daemon.ecs("StopTask", task=arn)
    for arn in arns:
        daemon.wait_stopped(arn)


def test_devices_are_counted_once_whatever_names_they_have():
    equal(ids("registeredResources"), [G0, G1])
    contains(daemon.berth("doctor").stdout, f"gpus: 2 for containers: {G0} {G1}")
    contains(daemon.berth("doctor").stdout, "other.yaml: Berth reads JSON only")


def test_a_container_has_what_its_device_needs():
    script = ("ls -l /dev/acme0 /dev/acmectl; ls /dev/acme1; echo x >/dev/acme0 && echo wrote; echo x >/dev/acmectl || "
              "echo full; env | grep ACME; id -G; cat /usr/lib/libacme.so.1 /hooked; "
              "echo x >/usr/lib/libacme.so || echo readonly")
    arn = daemon.run_task([container("exec 2>&1; " + script)])
    equal(gpus(arn), [G0])
    out = output(arn)
    # Its users are not the host's, whatever hooks did.
    ids_of = next(a["value"] for a in daemon.task(arn)["attributes"] if a["name"] == "berth.user-namespace")
    equal(ids_of.isdigit(), True)
    for part in (r"root +root +1, +3 .*/dev/acme0", r"1, +7 .*/dev/acmectl", "acme1: No such file", "^wrote", "^full",
                 "^ACME_DRIVER=7", "^ACME_DEVICE=GPU-a", r"\b4711\b", "^acme\nlinks", "^readonly"):
        if not re.search(part, out, re.M):
            raise AssertionError(f"{part}: {out}")


def test_without_a_gpu_there_is_nothing_of_it():
    out = output(daemon.run_task([container("ls /dev/acmectl /hooked 2>&1; env; true", 0)]))
    equal("ACME" in out, False)
    equal(out.count("No such file"), 2)


def test_a_user_of_a_container_can_use_its_device():
    contains(output(daemon.run_task([container("echo x >/dev/acme0 && ls -ln /dev/acme0", user="80:80")])),
             " 80       80 ")


def test_each_container_has_its_own_and_nobody_another_ones():
    arn = daemon.run_task([container("sleep 600", name="a"), container("sleep 600", name="b"),
                           container("ls /dev/acme0 /dev/acme1; sleep 600", 0, name="none")])
    equal([gpus(arn, i) for i in range(3)], [[G0], [G1], None])
    equal((ids("registeredResources"), ids("remainingResources")), ([G0, G1], []))
    equal(fails(), "RESOURCE:GPU")
    daemon.wait_status(arn, "RUNNING")
    contains(daemon.berth("describe", arn).stdout, f"{G0} of a")
    contains(daemon.berth("nodes").stdout, "0/2")
    contains(daemon.berth("top", "--once").stdout, "0 of 2 free")

    # Neither a server nor an agent that was killed forgets it.
    daemon.kill()
    daemon.start()
    equal(fails(), "RESOURCE:GPU")
    equal((ids("remainingResources"), daemon.task(arn)["lastStatus"]), ([], "RUNNING"))
    end(arn)
    equal(ids("remainingResources"), [G0, G1])


def test_overrides_count():
    td = daemon.ecs("RegisterTaskDefinition", family="o", containerDefinitions=[container("ls /dev/acme0 /dev/acme1")])
    overrides = dict(containerOverrides=[dict(name="c", resourceRequirements=[dict(type="GPU", value="2")])])
    arn = daemon.ecs("RunTask", taskDefinition=td["taskDefinition"]["taskDefinitionArn"],
                     overrides=overrides)["tasks"][0]["taskArn"]
    equal(gpus(arn), [G0, G1])
    equal(output(arn).split(), ["/dev/acme0", "/dev/acme1"])
    equal(fails(3), "RESOURCE:GPU")


def test_the_command_asks_for_gpus():
    out = daemon.berth("run", "--gpus", "1", IMAGE, "ls", "/dev/acme0").stdout
    contains(out, "/dev/acme0")
    p = daemon.berth("run", "--gpus", "3", IMAGE, "true", check=False)
    contains(p.stdout + p.stderr, "RESOURCE:GPU")


def test_what_ecs_refuses_is_refused():
    for needs, says in (([dict(type="InferenceAccelerator", value="d")], "InferenceAccelerator is not supported"),
                        ([dict(type="GPU", value="some")], "'some'"),
                        ([dict(type="GPU", value="1")] * 2, "a second resource requirement")):
        status, said = daemon.call("AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition", dict(
            family="f", containerDefinitions=[dict(container("true", 0), resourceRequirements=needs)]))
        equal(status, 400)
        contains(said["message"], says)
    refused("[node]\ngpu-kinds = nvidia", "VENDOR/CLASS")


def test_what_is_not_there_ends_the_task_with_its_name():
    for edits, says in ((dict(hooks=[dict(hookName="createContainer", path="/absent/hook")]), "/absent/hook"),
                        (dict(mounts=[dict(hostPath="/absent/lib", containerPath="/l")]), "/absent/lib"),
                        (dict(deviceNodes=[dict(path="/dev/absent")]), "/dev/absent")):
        put("acme.json", specification(TWO, **edits))
        contains(why_not_started(daemon.run_task([container("true")])), says)
        equal(ids("remainingResources"), [G0, G1])
    put("acme.json", specification(TWO, hooks=[dict(hookName="createContainer", path="/bin/false")]))
    contains(why_not_started(daemon.run_task([container("true")])), "/bin/false")
    put("acme.json", specification(TWO))


def test_a_driver_that_comes_or_goes_is_noticed():
    arn = daemon.run_task([container("sleep 600")])
    equal(gpus(arn), [G0])
    daemon.wait_status(arn, "RUNNING")
    os.rename(os.path.join(CDI, "acme.json"), os.path.join(CDI, "gone"))
    wait_for(lambda: ids("registeredResources") == [], what="no GPUs")
    equal(fails(), "RESOURCE:GPU")
    equal(daemon.task(arn)["lastStatus"], "RUNNING")
    put("acme.json", specification(TWO))
    wait_for(lambda: ids("remainingResources") == [G1], what="the one that nobody has")
    end(arn)
    equal(ids("remainingResources"), [G0, G1])


def test_which_kinds_are_gpus_can_be_said():
    daemon.stop()
    conf = os.path.join(daemon.root, "etc/berth/berth.conf")
    with open(conf, "a") as f:
        f.write("\n[node]\ngpu-kinds = acme.com/card\n")
    put("card.json", specification([device("x", 0)], kind="acme.com/card"))
    daemon.start()
    equal(ids("registeredResources"), ["acme.com/card=x"])


if __name__ == "__main__":
    main()
