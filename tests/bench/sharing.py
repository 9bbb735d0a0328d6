# tests/bench/sharing.py - one image on ten nodes: each from the registry, and from each other
# SPDX-License-Identifier: Apache-2.0
#
# All nodes, and the registry, are on this host: what is shared is not a link but processors and a
# disk, so the times say what each way costs and no more. What the registry sends is exact.

import io
import os
import re
import tarfile
import threading
import time

import berth
import imagelab as lab

NODES = int(os.environ.get("NODES", "10"))
LAYERS = ("/usr/lib/python3.11", "/usr/share/perl", "/usr/lib/python3", "/usr/share/doc")
CONFIG = "[server]\nnode-listen = 127.0.0.1:0\n"


def pack(path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        t.add(path, arcname=path.strip("/"))
    return out.getvalue()


def pull(server, node, image):
    def call(operation, **request):
        return server.call("BerthV1." + operation, dict(request, containerInstance=node.instance))[1]
    begin = time.monotonic()
    number = call("PullImage", image=image)["pullId"]
    version = 0
    while True:
        doc = call("DescribePull", pullId=number, version=version)
        version = doc["version"]
        if doc["status"] != "PULLING":
            assert doc["status"] == "DONE", doc
            return time.monotonic() - begin


def measure(registry, image, count, shares):
    server = berth.Daemon(role="server", config=CONFIG).start()
    nodes = []
    try:
        token = server.berth("node", "token", "--uses", str(count)).stdout.rstrip("\n").split("\n")[-1]
        for _ in range(count):
            config = f"[node]\nready-containers = 0\nshare-images = {shares}\nshare-listen = 127.0.0.1:0\n"
            nodes.append(berth.Node(server.node_address, token, config=config))
            nodes[-1].start()
        log = os.path.join(registry.dir, "log")
        before = os.path.getsize(log)
        times = [None] * count

        def one(i):
            times[i] = pull(server, nodes[i], image)
        threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
        begin = time.monotonic()
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        wall = time.monotonic() - begin
        time.sleep(0.2)  # the registry's log
        sent = re.findall(r"http.request.method=GET .*?/blobs/sha256:.*?http.response.written=(\d+)",
                          open(log).read()[before:])
        second = pull_next(server, token, nodes, image, shares)
        return wall, sum(map(int, sent)) / 1e6, second
    finally:
        for n in nodes:
            n.destroy()
        server.destroy()


def pull_next(server, token, nodes, image, shares):
    """One more node, when the others have it."""
    token = server.berth("node", "token").stdout.rstrip("\n").split("\n")[-1]
    config = f"[node]\nready-containers = 0\nshare-images = {shares}\nshare-listen = 127.0.0.1:0\n"
    nodes.append(berth.Node(server.node_address, token, config=config))
    nodes[-1].start()
    return pull(server, nodes[-1], image)


def main(build):
    made = lab.Image(*(pack(p) for p in LAYERS))
    with berth.Registry() as registry, lab.Lab() as source:
        reference = source.add(made)
        berth.run("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false",
                  f"docker://{reference}", f"docker://{registry.address}/bench:1")
        image = f"{registry.address}/bench:1"
        print(f"image: {len(made.layers)} layers, {sum(map(len, made.layers)) / 1e6:.0f} MB packed, "
              f"{sum(map(len, made.tars)) / 1e6:.0f} MB as tars")
        print(f"{'':24}{'all have it, s':>16}{'registry, MB':>14}{'one more, s':>13}")
        for count, shares in ((1, "no"), (NODES, "no"), (NODES, "yes")):
            wall, sent, second = measure(registry, image, count, shares)
            print(f"{count:3} nodes, sharing {shares:7}{wall:16.2f}{sent:14.1f}{second:13.2f}", flush=True)
