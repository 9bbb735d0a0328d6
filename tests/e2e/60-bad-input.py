#!/usr/bin/python3
# tests/e2e/60-bad-input.py - what is wrong ends in a reason, leaves nothing, and the next task runs
# SPDX-License-Identifier: Apache-2.0

import gzip
import hashlib
import http.server
import io
import json
import os
import re
import socket
import tarfile
import threading

from berth import Census, Daemon, Registry, contains, equal, main, run, wait_for

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
daemon = Daemon().start()


class Evil(http.server.ThreadingHTTPServer):
    """A registry that serves what it is told to: {path: (content type, bytes)}."""
    daemon_threads = True

    def __init__(self):
        self.files = {}
        super().__init__(("127.0.0.1", 0), EvilHandler)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def image(self, name, layers, manifest=None, config=None, cut=0):
        """An image of these layers (tar bytes); what is given instead is served as it is."""
        config = config or json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/true"]},
                                       "rootfs": {"type": "layers", "diff_ids": [digest(l) for l in layers]}}).encode()
        blobs = [gzip.compress(l) for l in layers]
        doc = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
               "config": descriptor("application/vnd.oci.image.config.v1+json", config),
               "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", b) for b in blobs]}
        body = manifest(doc) if manifest else json.dumps(doc).encode()
        kind = "application/vnd.oci.image.manifest.v1+json"
        self.files[f"/v2/{name}/manifests/latest"] = (kind, body)
        self.files[f"/v2/{name}/manifests/{digest(body)}"] = (kind, body)
        self.files[f"/v2/{name}/blobs/{digest(config)}"] = ("application/octet-stream", config)
        for b in blobs:
            self.files[f"/v2/{name}/blobs/{digest(b)}"] = ("application/octet-stream", b[:len(b) - cut])
        return f"{self.address}/{name}:latest"


class EvilHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        found = self.server.files.get(self.path)
        kind, body = found if found else ("application/json", b"{}")
        self.send_response(200 if found or self.path == "/v2/" else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if "/manifests/" in self.path:
            self.send_header("Docker-Content-Digest", digest(body))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(kind, data):
    return {"mediaType": kind, "digest": digest(data), "size": len(data)}


def tar(*entries):
    """A layer: (name, bytes) files, or TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for e in entries:
            if isinstance(e, tarfile.TarInfo):
                t.addfile(e)
            else:
                info = tarfile.TarInfo(e[0])
                info.size, info.mode = len(e[1]), 0o755
                t.addfile(info, io.BytesIO(e[1]))
    return out.getvalue()


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


evil = Evil()
BUSYBOX = open("/bin/busybox", "rb").read()
CANARY = os.path.join(daemon.dir, "canary")


def cleanup():
    daemon.destroy()
    registry.__exit__()
    evil.server_close()
    census.check()


def sh(script, **more):
    return dict(dict(name="c", image=IMAGE, memory=64, entryPoint=["/bin/sh", "-c"], command=[script]), **more)


def fails(image=None, reason="CannotPullContainerError", part="", **more):
    """The task fails so, and the next one runs."""
    arn = daemon.run_task([sh("true", **dict(dict(image=image) if image else {}, **more))])
    t = daemon.wait_stopped(arn)
    c = t["containers"][0]
    equal(t["stopCode"], "TaskFailedToStart")
    contains(c["reason"], reason)
    contains(c["reason"], part)
    equal(t["stoppedReason"], c["reason"])
    assert "exitCode" not in c
    parts = os.path.join(daemon.root, "var/lib/berth/tasks", arn.split("/")[-1], "0")
    equal([n for n in os.listdir(parts) if n != "log"] if os.path.exists(parts) else [], [])
    good = daemon.wait_stopped(daemon.run_task([sh("true")]))
    equal(good["containers"][0]["exitCode"], 0)


def test_images_that_are_not_what_they_say():
    whole = tar(("bin/true", BUSYBOX))
    fails(evil.image("ok/but/absent", [whole]).replace("ok/but/absent", "absent"), part="not found")
    fails(evil.image("truncated", [whole], cut=1000), part="")
    fails(evil.image("notjson", [whole], manifest=lambda d: b"<html>"), part="JSON")
    fails(evil.image("both", [whole], manifest=lambda d: json.dumps(dict(d, manifests=[])).encode()))

    def wrong_digest(d):
        d["layers"][0]["digest"] = "sha256:" + "0" * 64
        evil.files["/v2/wrong/blobs/sha256:" + "0" * 64] = ("application/octet-stream", gzip.compress(whole))
        return json.dumps(d).encode()
    fails(evil.image("wrong", [whole], manifest=wrong_digest), part="")
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                         "rootfs": {"type": "layers", "diff_ids": [digest(b"something else")]}}).encode()
    fails(evil.image("diffid", [whole], config=config), part="")
    arm = json.dumps({"architecture": "arm64", "os": "linux", "config": {},
                      "rootfs": {"type": "layers", "diff_ids": [digest(whole)]}}).encode()
    fails(evil.image("arm", [whole], config=arm), part="arm64")
    fails(evil.address + "/" + "Bad Name".replace(" ", "/") + "@sha256:xyz")


def test_archives_that_try_to_leave_their_root():
    before = sorted(os.listdir(daemon.dir))
    for name, entries in {
        "dotdot": [("../../../../../../" + CANARY, b"x")],
        "absolute": [(CANARY, b"x")],
        "symlink": [link("esc", daemon.dir), ("esc/canary", b"x")],
        "symlink-dotdot": [link("esc", "../" * 40 + daemon.dir[1:]), ("esc/canary", b"x")],
        "hardlink": [link("passwd", "../" * 40 + "etc/passwd", tarfile.LNKTYPE), ("passwd", b"x")],
        "hardlink-to-symlink": [link("s", "/etc/passwd"), link("h", "s", tarfile.LNKTYPE), ("h", b"x")],
        "root-is-a-link": [link(".", daemon.dir), ("canary", b"x")],
    }.items():
        passwd = open("/etc/passwd").read()
        arn = daemon.run_task([sh("true", image=evil.image("escape-" + name, [tar(*entries)]))])
        t = daemon.wait_stopped(arn)
        equal(t["stopCode"], "TaskFailedToStart")  # refused, or there is no /bin/sh in it
        equal(open("/etc/passwd").read(), passwd)
        equal(sorted(os.listdir(daemon.dir)), before)
    equal(daemon.wait_stopped(daemon.run_task([sh("true")]))["containers"][0]["exitCode"], 0)


def test_commands_and_paths_that_do_not_exist():
    fails(reason="CannotStartContainerError", part="executable file not found", entryPoint=["nosuch"])
    fails(reason="CannotStartContainerError", part="/no/such", entryPoint=["/no/such"])
    fails(reason="Cannot", part="nobodyhere", user="nobodyhere")


def test_a_host_port_in_use():
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        s.listen()
        port = s.getsockname()[1]
        fails(reason="CannotStartContainerError", part=str(port),
              portMappings=[dict(containerPort=80, hostPort=port)])


def test_a_memory_limit_under_the_minimum():
    status, doc = daemon.call("AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition",
                              dict(family="small", containerDefinitions=[sh("true", memory=4)]))
    equal((status, doc["__type"]), (400, "ClientException"))
    contains(doc["message"], "the minimum is 6 MiB")
    equal(daemon.wait_stopped(daemon.run_task([sh("true", memory=6)]))["containers"][0]["exitCode"], 0)


def test_limits_that_the_host_cannot_give():
    hard = 2 ** 30
    fails(reason="Cannot", part="RLIMIT_NOFILE", ulimits=[dict(name="nofile", softLimit=hard, hardLimit=hard)])


def test_containers_that_wait_for_one_image_that_does_not_come():
    missing = evil.image("ok/but/absent", [tar(("bin/true", BUSYBOX))]).replace("ok/but/absent", "missing")
    before = daemon.process.pid
    for count in (2, 5):
        arn = daemon.run_task([sh("true", name=f"c{i}", image=missing) for i in range(count)])
        equal(daemon.wait_stopped(arn)["stopCode"], "TaskFailedToStart")
    equal((daemon.process.poll(), daemon.process.pid), (None, before))


def test_a_full_disk():
    small = Daemon(name="full/host")
    mount = os.path.join(small.dir, "full")
    os.makedirs(mount, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=24m", "berth-e2e", mount)
    try:
        small.start()
        big = evil.image("big", [tar(("bin/big", os.urandom(40 << 20)))])
        arn = small.run_task([sh("true", image=big)])
        t = small.wait_stopped(arn)
        contains(t["containers"][0]["reason"], "CannotPullContainerError")
        assert re.search("space|full", t["containers"][0]["reason"])
        t = small.wait_stopped(small.run_task([sh("true")]))
        equal(t["containers"][0]["exitCode"], 0)
    finally:
        small.stop()
        from berth import BUILD
        run(os.path.join(BUILD, "berthd"), "destroy", "--root", small.root)
        run("umount", mount)
        import shutil
        shutil.rmtree(small.dir)


if __name__ == "__main__":
    main()
