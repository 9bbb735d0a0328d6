#!/usr/bin/python3
# tests/e2e/59-credentials.py - registries that want to know who asks
# SPDX-License-Identifier: Apache-2.0

import base64
import json
import os
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from berth import Census, Daemon, Registry, contains, equal, main, wait_for

USER, PASSWORD = "ann", "pass:word/1"
AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
WRONG = base64.b64encode(b"x:y").decode()
census = Census()
registry = Registry().__enter__()
registry.demo()
asked = []


class Guard(BaseHTTPRequestHandler):
    """The registry behind a lock: Basic, for one name and password."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked.append(self.headers.get("Authorization"))
        if self.headers.get("Authorization") != "Basic " + AUTH:
            self.reply(401, b"{}", {"WWW-Authenticate": 'Basic realm="guard"'})
            return
        request = urllib.request.Request(f"http://{registry.address}{self.path}",
                                         headers={"Accept": self.headers.get("Accept", "*/*")})
        try:
            with urllib.request.urlopen(request) as r:
                names = ("Content-Type", "Docker-Content-Digest")
                self.reply(200, r.read(), {n: r.headers[n] for n in names if r.headers[n]})
        except urllib.error.HTTPError as e:
            self.reply(e.code, e.read(), {})

    def reply(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


guard = ThreadingHTTPServer(("127.0.0.1", 0), Guard)
threading.Thread(target=guard.serve_forever, daemon=True).start()
HOST = "127.0.0.1:%d" % guard.server_port
IMAGE = HOST + "/demo:1"
programs = os.path.join(registry.dir, "bin")
docker = os.path.join(registry.dir, "docker")
os.makedirs(programs)
os.makedirs(docker)
os.environ["PATH"] = programs + ":" + os.environ["PATH"]
os.environ["DOCKER_CONFIG"] = docker
daemon = Daemon().start()
OURS = os.path.join(daemon.root, "etc/berth/auth.json")


def cleanup():
    daemon.destroy()
    guard.shutdown()
    guard.server_close()
    registry.__exit__()
    census.check()


def configure(**members):
    """What docker has; and nothing of berth's."""
    if os.path.exists(OURS):
        os.unlink(OURS)
    with open(os.path.join(docker, "config.json"), "w") as f:
        json.dump(members, f)


def helper(name, script):
    path = os.path.join(programs, "docker-credential-" + name)
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + script)
    os.chmod(path, 0o755)


def pulls():
    p = daemon.berth("pull", IMAGE, check=False)
    equal((p.returncode, p.stderr if p.returncode else ""), (0, ""))


def fails(says):
    p = daemon.berth("pull", IMAGE, check=False)
    equal(p.returncode, 1)
    contains(p.stderr, says)


def test_without_credentials_a_task_says_why_it_cannot_be():
    configure()
    stopped = daemon.wait_stopped(daemon.run_task([dict(name="c", image=IMAGE, memory=32)]))
    contains(stopped["stoppedReason"], "CannotPullContainerError")
    equal(set(asked), {None})


def test_login_is_kept_for_root_alone_and_used_by_tasks():
    configure()
    p = daemon.berth("login", "--username", USER, "--password-stdin", HOST, input=PASSWORD + "\n")
    equal(p.stderr, "")
    equal(os.stat(OURS).st_mode & 0o777, 0o600)
    equal(json.load(open(OURS)), {"auths": {HOST: {"auth": AUTH}}})
    arn = daemon.run_task([dict(name="c", image=IMAGE, memory=32, command=["true"])])
    equal(daemon.wait_stopped(arn)["containers"][0]["exitCode"], 0)
    assert PASSWORD not in daemon.logged() and AUTH not in daemon.logged()
    daemon.berth("logout", HOST)
    fails("access denied")
    equal(daemon.berth("logout", HOST, check=False).returncode, 3)


def test_files_of_docker_and_podman_are_read():
    for auths in ({HOST: {"auth": AUTH}}, {f"http://{HOST}/v1/": {"auth": AUTH}},
                  {HOST + "/demo": {"auth": AUTH}, HOST: {"auth": WRONG}},
                  {HOST: {"username": USER, "password": PASSWORD}}):
        configure(auths=auths)
        pulls()
    for auths, says in (({HOST: {"auth": WRONG}}, "access denied"), ({HOST + "x": {"auth": AUTH}}, "access denied"),
                        ({HOST + "/dem": {"auth": AUTH}}, "access denied"),
                        ({HOST: {"auth": "no base64"}}, "is not the base64 of user:password")):
        configure(auths=auths)
        fails(says)


def test_a_helper_is_asked_for_the_registry():
    helper("test", f"read host; [ \"$host\" = {HOST} ] && [ \"$1\" = get ] || exit 1\n"
                   f"echo '{{\"ServerURL\":\"x\",\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n")
    for members in (dict(credHelpers={HOST: "test"}), dict(credsStore="test"),
                    dict(auths={HOST: {}}, credsStore="test")):
        configure(**members)
        pulls()
    helper("empty", "echo credentials not found in native keychain; exit 1\n")
    helper("broken", "echo '{'\n")
    for name, says in (("empty", "access denied"), ("broken", "credential helper docker-credential-broken"),
                       ("absent", "docker-credential-absent: is not in PATH"), ("../x", "credential helper '../x'")):
        configure(credHelpers={HOST: name})
        fails(says)


def test_nobody_waits_for_a_helper_that_hangs_but_who_asked():
    pid_file = os.path.join(registry.dir, "hanging")
    helper("hang", f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 1000\n")
    configure(credHelpers={HOST: "hang"})
    hanging = daemon.run_task([dict(name="c", image=IMAGE, memory=32)])
    wait_for(lambda: os.path.exists(pid_file), 30, "the helper")
    other = daemon.run_task([dict(name="c", image=registry.address + "/demo:1", memory=32, command=["true"])])
    stopped = daemon.wait_stopped(other)
    equal((stopped["stoppedReason"], stopped["containers"][0].get("exitCode")), ("Essential container in task exited", 0))
    daemon.ecs("StopTask", task=hanging)
    daemon.wait_stopped(hanging)
    os.kill(int(open(pid_file).read()), signal.SIGKILL)


def test_a_task_definition_names_a_secret_of_the_node():
    configure()
    secrets = os.path.join(daemon.root, "etc/berth/secrets/team")
    os.makedirs(secrets)

    def run(parameter):
        return daemon.wait_stopped(daemon.run_task([dict(name="c", image=IMAGE, memory=32, command=["true"],
                                                         repositoryCredentials=dict(credentialsParameter=parameter))]))

    def secret(name, text):
        with open(os.path.join(secrets, name), "w") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(text)
    secret("hub", json.dumps(dict(username=USER, password=PASSWORD)))
    secret("wrong", json.dumps(dict(username=USER, password="x")))
    secret("broken", json.dumps(dict(username=USER)))
    for parameter in ("team/hub", "arn:aws:secretsmanager:us-east-1:123456789012:secret:team/hub-AbCdEf"):
        stopped = run(parameter)["containers"][0]
        equal((stopped.get("reason"), stopped.get("exitCode")), (None, 0))
    for parameter, says in (("team/none", "secret team/none of this node: open "), ("team/broken", "has no \"username\""),
                            ("team/wrong", "access denied")):
        daemon.call("BerthV1.RemoveImage", dict(image=IMAGE))  # else it would do when the registry does not
        stopped = run(parameter)
        contains(stopped["containers"][0]["reason"], "CannotPullContainerError: ")
        contains(stopped["containers"][0]["reason"], says)
    assert PASSWORD not in daemon.logged() and PASSWORD not in json.dumps(daemon.ecs("ListTaskDefinitions"))


def test_wrong_words_of_login_are_refused():
    for words, says in ((["login"], "--username"), (["login", "-u", "a:b"], "without a colon"),
                        (["login", "-u", "a", "https://x"], "not 'https://x'"),
                        (["login", "-u", "a", "x"], "--password-stdin")):
        p = daemon.berth(*words, check=False, input="")
        assert p.returncode in (1, 2), p
        contains(p.stderr, says)


if __name__ == "__main__":
    main()
