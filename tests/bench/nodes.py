#!/usr/bin/python3
# tests/bench/nodes.py - what an idle node channel costs the server, and how long joining and greeting take
# SPDX-License-Identifier: Apache-2.0
#
# Nodes that only speak the protocol: each has a key and a certificate of its own.

import os
import re
import subprocess
import tempfile
import time

from berth import Daemon, Wire, hello, run

COUNT = 300


def memory_kib(pid):
    text = open(f"/proc/{pid}/smaps_rollup").read()
    return int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])


def make_identity(directory, number):
    os.makedirs(directory)
    run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN=n{number}",
        "-keyout", directory + "/key.pem", "-out", directory + "/request.pem")
    return open(directory + "/request.pem").read()


def join(address, token, directory, request):
    activation, code = token.split(".", 1)
    w = Wire(address)
    w.say(dict(type="join", protocol=1, activationId=activation, code=code, request=request, hostname="bench"))
    reply = w.hear()
    with open(directory + "/certificate.pem", "w") as f:
        f.write(reply["certificate"])
    return reply["instanceId"]


def main(build):
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as place, \
            Daemon(role="server", config="[server]\nnode-listen = 127.0.0.1:0\n") as server:
        token = server.berth("node", "token", "--uses", str(COUNT)).stdout.rstrip("\n").split("\n")[-1]
        directories = [os.path.join(place, str(n)) for n in range(COUNT)]
        requests = [make_identity(d, n) for n, d in enumerate(directories)]
        begin = time.monotonic()
        names = [join(server.node_address, token, d, r) for d, r in zip(directories, requests)]
        joined = time.monotonic()
        before, channels = memory_kib(server.process.pid), []
        for directory, name in zip(directories, names):
            w = Wire(server.node_address, directory)
            w.say(hello(name))
            assert w.hear()["type"] == "welcome"
            channels.append(w)
        greeted = time.monotonic()
        after = memory_kib(server.process.pid)
        print(f"nodes                                 {COUNT}")
        print(f"joining, ms each                      {(joined - begin) * 1000 / COUNT:.2f}")
        print(f"dialling and hello, ms each           {(greeted - joined) * 1000 / COUNT:.2f}")
        print(f"channel and record of a node, KiB     {(after - before) / COUNT:.1f}")
        for w in channels:
            w.socket.close()
