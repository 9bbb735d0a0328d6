#!/usr/bin/env python3
# tests/e2e/39-image-nodes.py - images of the nodes of a cluster: at the node itself, and from its server
# SPDX-License-Identifier: Apache-2.0

import json
import os
import shutil
import subprocess
import threading

import berth
import imagelab as lab
from berth import Census, contains, equal, main, wait_for

census = Census()
work = lab.scratch("n")
registry = lab.Lab().__enter__()
CONFIG = "[node]\nimage-high-water = 0\nshare-images = no\n"
server = berth.Daemon(role="server", config="[server]\nnode-listen = 127.0.0.1:0\n").start()
server.words = ["--node-listen", server.node_address]
one, two = (berth.Node(server.node_address, server.token(), config=CONFIG) for _ in range(2))
busybox = open("/bin/busybox", "rb").read()
made = lab.Image(lab.tar("bin/", ("bin/busybox", {"data": busybox, "mode": 0o755}), ("bin/sleep", {"type": b"2", "link": "busybox"})),
                 lab.tar(("more", {"data": os.urandom(70000)})), config={"Cmd": ["/bin/sleep", "1000"]})
REFERENCE = registry.add(made)
one.start()


def cleanup():
    for d in (one, two, server):
        d.destroy()
    registry.__exit__()
    shutil.rmtree(work)
    census.check()


def held(daemon, *words):
    return [i["reference"] for i in json.loads(daemon.berth(*words, "images", "-o", "json").stdout)]


def fails(code, says, daemon, *words):
    p = daemon.berth(*words, check=False)
    equal(p.returncode, code)
    contains(p.stderr, says)


def every_command(node):
    """All that is done with images, where a node is and nothing else."""
    node.berth("image", "prune", "-a")
    equal(node.berth("pull", "-q", REFERENCE).stdout, made.digest() + "\n")
    contains(node.berth("images").stdout, registry.address + "/app")
    equal(json.loads(node.berth("image", "inspect", REFERENCE).stdout)[0]["Id"], lab.digest(made.config_bytes))
    node.berth("image", "history", REFERENCE)
    node.berth("image", "tag", REFERENCE, "mine:1")
    layout = os.path.join(work, "layout")
    p = node.berth("image", "save", "--format", "oci-dir", "-o", layout, REFERENCE)
    contains(p.stderr, lab.digest(made.layers[1])[:19] + " DONE")  # it was not kept as it came
    for layer in made.layers:
        equal(open(f"{layout}/blobs/sha256/{lab.digest(layer)[7:]}", "rb").read(), layer)
    node.berth("image", "rm", REFERENCE)
    equal(held(node), ["docker.io/library/mine:1"])
    node.berth("image", "rm", "mine:1")
    equal(held(node), [])
    node.berth("image", "load", "-i", layout)
    contains(held(node), REFERENCE)
    node.berth("image", "import", os.path.join(work, "tree.tar"), "imported:1")
    contains(held(node), "docker.io/library/imported:1")
    contains(node.berth("image", "prune", "-a").stdout, "Untagged: docker.io/library/imported:1")
    shutil.rmtree(layout)


def test_a_node_has_the_command():
    with open(os.path.join(work, "tree.tar"), "wb") as f:
        f.write(lab.tar("dir/"))
    every_command(one)
    contains(one.logged(), "and answers for its images at " + one.root + "/run/berth/api.sock")


def test_a_node_pushes():
    with berth.Registry() as other:
        one.berth("pull", "-q", REFERENCE)
        one.berth("push", "-q", REFERENCE, other.address + "/copy:1")
        equal(one.berth("pull", "-q", other.address + "/copy:1").stdout, made.digest() + "\n")
        one.berth("image", "prune", "-a")


def test_damage_at_a_node_is_put_right_from_the_registry():
    one.berth("pull", "-q", REFERENCE)
    images = os.path.join(one.root, "var/lib/berth/images")
    if not os.listdir(images + "/tars"):
        raise berth.Skip("this kernel mounts no index")
    layer = os.path.join(images, "tars", os.listdir(images + "/tars")[0])
    os.truncate(layer + "/tar", 100)
    said = one.berth("image", "fsck").stdout
    contains(said, "damaged sha256:" + os.path.basename(layer))
    contains(said, f"pulled {REFERENCE}\n")
    contains(one.berth("image", "fsck").stdout, ": 0 damaged")


def test_without_its_server_it_has_all_of_it():
    server.stop()
    every_command(one)
    one.stop()
    one.spawn()
    wait_for(lambda: one.berth("images", check=False).returncode == 0, 60, "an answer of a node without a server")
    every_command(one)
    server.start()
    wait_for(lambda: server.ecs("DescribeContainerInstances", containerInstances=[one.instance])["containerInstances"][0]
             ["agentConnected"], 60, "the node at its server")


def test_a_server_has_the_images_of_the_node_that_is_named():
    equal(held(server), held(one))  # the only one
    two.start()
    one.berth("image", "prune", "-a")
    server.berth("--node", two.instance[:12], "pull", "-q", REFERENCE)
    equal((held(one), held(two)), ([], [REFERENCE]))
    equal(held(server, "--node", two.instance), [REFERENCE])
    equal(held(server, "--node", one.instance), [])
    server.berth("image", "tag", "--node", two.instance, REFERENCE, "mine:1")
    equal(json.loads(server.berth("image", "inspect", "--node", two.instance, "mine:1").stdout)[0]["RepoTags"],
          ["docker.io/library/mine:1", REFERENCE])
    server.berth("image", "history", "--node", two.instance, "mine:1")
    server.berth("image", "rm", "--node", two.instance, "mine:1")
    contains(server.berth("--node", two.instance, "image", "prune", "-a").stdout, "Untagged: " + REFERENCE)
    equal(held(two), [])


def test_who_is_not_named_is_asked_for():
    says = "cluster default has 2 container instances and none beside this server: one must be named"
    fails(1, says, server, "images")
    fails(1, says, server, "pull", REFERENCE)
    fails(3, "no node 'nobody'", server, "--node", "nobody", "images")
    fails(1, "could be any of 2 nodes", server, "--node", os.uname().nodename, "images")
    for words in (["logs", "x"], ["nodes"], ["image", "save", "x"], ["image", "fsck"]):
        fails(2, "there is no --node for it", server, "--node", "x", *words)


def test_tasks_of_one_node_are_listed():
    td = server.ecs("RegisterTaskDefinition", family="sleeper", containerDefinitions=[
        dict(name="c", image=REFERENCE, memory=32, stopTimeout=2)])["taskDefinition"]["taskDefinitionArn"]
    tasks = [server.ecs("StartTask", taskDefinition=td, containerInstances=[n.instance])["tasks"][0]["taskArn"]
             for n in (one, two)]
    for n, arn in zip((one, two), tasks):
        equal([l.split()[0] for l in server.berth("ps", "--node", n.instance).stdout.splitlines()[1:]],
              [arn.split("/")[-1][:12]])
    equal(len(server.berth("ps").stdout.splitlines()), 3)
    for arn in tasks:
        server.ecs("StopTask", task=arn)
    for arn in tasks:
        server.wait_stopped(arn)


def test_the_node_beside_a_server_is_meant_where_none_is_named():
    """And not the one that comes first, wherever that is."""
    both = berth.Daemon(config="[server]\nnode-listen = 127.0.0.1:0\n" + CONFIG).start()
    others = []
    try:
        for _ in range(3):
            others.append(berth.Node(both.node_address, both.token(), config=CONFIG).start())
        beside, = {a.split("/")[-1] for a in both.ecs("ListContainerInstances")["containerInstanceArns"]} - {
            n.instance for n in others}
        both.ecs("DeregisterContainerInstance", containerInstance=beside, force=True)
        # The server starts anew, and the node gets another name.
        wait_for(lambda: len(both.berth("nodes", check=False).stdout.splitlines()) == 5, 60, "a new name of it")
        both.berth("pull", "-q", REFERENCE)
        equal([held(n) for n in (both, *others)], [[REFERENCE], [], [], []])
        both.berth("image", "save", "--format", "oci-dir", "-o", os.path.join(work, "beside"), REFERENCE)
        equal(both.call("BerthV1.ListImages", dict(containerInstance=others[0].instance)), (200, dict(images=[])))
    finally:
        for d in (*others, both):
            d.destroy()


def test_a_node_answers_for_itself_and_for_its_images():
    fails(1, "This host is a node and answers for its own images; for 'AmazonEC2ContainerServiceV20141113."
             f"ListContainerInstances' ask its server, {server.node_address}.", one, "nodes")
    for target in ("BerthV1.GetEvents", "BerthV1.Nothing", "", "Logs_20140328.PutLogEvents"):
        status, doc = one.call(target)
        equal((status, doc["__type"]), (400, "UnknownOperationException"))
    for body in (dict(containerInstance=two.instance), dict(cluster="other"), dict(image=7), b"{", b"[]", b"{}"):
        status, doc = one.call("BerthV1.DescribeImage", dict(body, image="x") if isinstance(body, dict) and
                               "image" not in body else body)
        equal(status, 400)
        assert doc["__type"] in ("InvalidParameterException", "SerializationException"), doc
    fails(1, f"cluster 'other': this host answers for itself, which is default; ask its server, {server.node_address}.",
          one, "--cluster", "other", "images")
    arn = f"arn:aws:ecs:us-east-1:123456789012:container-instance/default/{one.instance}"
    equal(one.call("BerthV1.ListImages", dict(cluster="default", containerInstance=arn)), one.call("BerthV1.ListImages"))
    equal(one.call("BerthV1.DescribeImage", dict(image="x")),
          (400, {"__type": "ClientException", "message": "no image x: not found"}))
    fails(3, "no image x: not found", one, "image", "inspect", "x")


def test_help_is_that_of_the_command():
    equal(one.berth("help", "pull").stdout, one.berth("pull", "--help").stdout)
    equal(one.berth("help", "image", "rm").stdout, one.berth("image", "rm", "--help").stdout)
    contains(one.berth("help").stdout, "commands:")
    fails(2, "'nope' is not a command of berth", one, "help", "nope")


def test_only_root_may_ask_a_node():
    equal(os.stat(os.path.join(one.root, "run/berth/api.sock")).st_mode & 0o777, 0o600)


def test_who_waits_does_not_wait_for_a_node_that_ended():
    arrived, release = threading.Event(), threading.Event()

    def hold(handler, kind, name):
        if kind == "blobs":
            arrived.set()
            release.wait(60)
        return False
    registry.hooks.append(hold)
    try:
        p = subprocess.Popen([os.path.join(berth.BUILD, "berth"), "--root", one.root, "pull", REFERENCE],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert arrived.wait(60)
        one.stop()
        out, err = p.communicate(timeout=60)
        equal(out, "")
        assert p.returncode in (1, 6) and err.splitlines()[-1].startswith("berth: "), (p.returncode, err)
    finally:
        release.set()
        registry.hooks.clear()
    fails(6, "no berthd answers at", one, "images")
    one.start()
    equal(one.berth("pull", "-q", REFERENCE).stdout, made.digest() + "\n")
    one.berth("image", "prune", "-a")


if __name__ == "__main__":
    main()
