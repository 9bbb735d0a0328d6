# tests/e2e/berth.py - what end-to-end tests share
# SPDX-License-Identifier: Apache-2.0
#
# A test file defines functions whose names begin with "test_" and ends with
# main(). Each prints one line: "ok NAME", "not ok NAME" with the traceback, or
# "skip NAME: REASON". Waits are for conditions with a deadline; nothing sleeps
# for a fixed time or judges by the clock.

import concurrent.futures
import json
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BERTH_BUILD", os.path.join(TOP, "build/release")))
AWS = "/usr/bin/aws"  # Debian's


class Skip(Exception):
    pass


def wait_for(condition, seconds=30, what="a condition", pause=0.02):
    """What condition() returns, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} was not met in {seconds} s")
        time.sleep(pause)


def page(port, host="127.0.0.1"):
    """What a web server says, as soon as it listens: a task that runs does not yet."""
    def fetched():
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/", timeout=5) as r:
                return r.read().decode()
        except OSError:
            return None
    return wait_for(fetched, 30, f"a page at {host}:{port}")


def run(*argv, check=True, env=None, input=None, timeout=120):
    p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, input=input,
                       timeout=timeout)
    if check and p.returncode:
        raise AssertionError(f"{' '.join(argv)}: exit {p.returncode}: {p.stdout}{p.stderr}")
    return p


def error_of(function, **arguments):
    """What a boto3 call fails with: code, message, HTTP status."""
    import botocore.exceptions
    try:
        function(**arguments)
    except botocore.exceptions.ClientError as e:
        r = e.response
        return r["Error"]["Code"], r["Error"]["Message"], r["ResponseMetadata"]["HTTPStatusCode"]
    raise AssertionError("it was accepted")


# What our replies have beside the model of Debian's botocore, which is of 2022.
NEWER = {"AutoScalingGroupProvider.managedDraining", "LogGroup.logGroupArn", "LogGroup.logGroupClass", "Setting.type"}


def check_shape(shape, value, path):
    """A value of a reply is what the service's own model says; boto3 itself drops what it does not know."""
    kind = shape.type_name
    wanted = {"structure": dict, "map": dict, "list": list, "string": str, "boolean": bool, "integer": int, "long": int,
              "double": (int, float), "float": (int, float), "timestamp": (int, float)}[kind]
    assert isinstance(value, wanted) and (kind == "boolean" or not isinstance(value, bool)), f"{path}: {value!r}: no {kind}"
    if kind == "structure":
        for name, member in value.items():
            if name in shape.members:
                check_shape(shape.members[name], member, f"{path}.{name}")
            else:
                assert f"{shape.name}.{name}" in NEWER, f"{path}.{name}: {shape.name} has no such member"
    elif kind == "list":
        for i, member in enumerate(value):
            check_shape(shape.member, member, f"{path}[{i}]")
    elif kind == "map":
        for name, member in value.items():
            check_shape(shape.value, member, f"{path}.{name}")
    elif kind == "string" and shape.enum:
        assert value in shape.enum, f"{path}: {value!r} is none of {shape.enum}"


def reply_is_of_the_model(client, event_name, response_dict, **_):
    if response_dict and response_dict["status_code"] == 200 and response_dict["body"]:
        operation = event_name.rsplit(".", 1)[1]
        shape = client.meta.service_model.operation_model(operation).output_shape
        if shape:
            check_shape(shape, json.loads(response_dict["body"]), operation)


def equal(a, b):
    if a != b:
        a, b = repr(a), repr(b)
        same = len(os.path.commonprefix([a, b]))  # of long values, what lies around the difference
        skip = same - 100 if same > 200 else 0
        raise AssertionError(f"{'...' if skip else ''}{a[skip:skip + 1000]} is not {b[skip:skip + 1000]}")


def contains(text, part):
    if part not in text:
        raise AssertionError(f"{text[-4000:]!r} does not contain {part!r}")


# ---- a daemon of our own ----

class Daemon:
    """berthd below a root of its own; ended by pid, all of it taken away at the end."""

    READY = r" ready: (\S+) .*(http://[^ ]*)"
    programs = BUILD  # where berthd is, and what it starts

    def __init__(self, role=None, config=None, name="host"):
        os.makedirs(os.path.join(TOP, "build", "e2e"), exist_ok=True)
        self.dir = tempfile.mkdtemp(prefix="t", dir=os.path.join(TOP, "build", "e2e"))
        self.root = os.path.join(self.dir, name)
        self.role = role
        self.log = os.path.join(self.dir, "berthd.log")
        self.process = None
        self.endpoint = None
        self.words = []  # behind the others, on the command line
        os.makedirs(os.path.join(self.root, "etc", "berth"))
        with open(os.path.join(self.root, "etc", "berth", "berth.conf"), "w") as f:
            f.write(config or "")

    def spawn(self, *prefix):
        """Start it; where its log goes on."""
        argv = [*prefix, os.path.join(self.programs, "berthd")] + ([self.role] if self.role else [])
        start = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(argv + ["--root", self.root, "--listen", self.listen(), *self.words],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        return start

    def start(self, *prefix):
        start = self.spawn(*prefix)

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"berthd ended with {self.process.returncode}: {self.logged(start)}")
            return re.search(self.READY, self.logged(start))
        self.take_ready(wait_for(ready, 60, "ready"))
        return self

    def take_ready(self, match):
        self.name, self.endpoint = match.groups()
        taken = re.findall(r" nodes are taken at (\S+)", self.logged())
        self.node_address = taken[-1] if taken else None

    def listen(self):
        # the same port again after a restart, so that clients find it
        return re.sub(r"^http://", "", self.endpoint) if self.endpoint else "127.0.0.1:0"

    def logged(self, start=0):
        with open(self.log, "rb") as f:
            f.seek(start)
            return f.read().decode(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def destroy(self):
        self.stop()
        if self.role != "server":
            run(os.path.join(BUILD, "berthd"), "destroy", "--root", self.root)
        shutil.rmtree(self.dir)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if kind and kind is not Skip:
            sys.stdout.write("".join(f"  berthd: {l}\n" for l in self.logged().split("\n")[-40:] if l))
        self.destroy()

    # clients

    def env(self):
        return dict(os.environ, AWS_SHARED_CREDENTIALS_FILE=os.path.join(self.root, "etc/berth/credentials"),
                    AWS_PROFILE="berth", AWS_DEFAULT_REGION="us-east-1", AWS_PAGER="", AWS_MAX_ATTEMPTS="1",
                    AWS_CONFIG_FILE="/nonexistent")

    def aws(self, *argv, check=True):
        p = run(AWS, "--endpoint-url", self.endpoint, "--output", "json", *argv, env=self.env(), check=check)
        return (json.loads(p.stdout) if p.stdout.strip() else {}) if check else p

    def boto(self, service):
        import boto3
        import botocore.config
        e = self.env()
        os.environ.update({k: e[k] for k in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE", "AWS_CONFIG_FILE")})
        config = botocore.config.Config(retries={"max_attempts": 0}, read_timeout=60)
        client = boto3.session.Session().client(service, endpoint_url=self.endpoint, region_name="us-east-1",
                                                config=config)
        if client.meta.service_model.metadata["protocol"] == "json":
            client.meta.events.register("response-received", lambda **k: reply_is_of_the_model(client, **k))
        return client

    def berth(self, *argv, check=True, **kw):
        return run(os.path.join(BUILD, "berth"), "--root", self.root, *argv, check=check, **kw)

    def token(self, *words):
        """That lets a node in."""
        return self.berth("node", "token", *words).stdout.rstrip("\n").split("\n")[-1]

    def post(self, header, data):
        """A request over the local socket, as it is; status and body."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)
            directory = os.open(os.path.join(self.root, "run/berth"), os.O_PATH)
            try:
                s.connect(f"/proc/self/fd/{directory}/api.sock")
            finally:
                os.close(directory)
            s.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + header.encode()
                      + b"\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            answer = b"".join(iter(lambda: s.recv(65536), b""))
        head, _, text = answer.partition(b"\r\n\r\n")
        if not head:
            raise ConnectionError(f"{header}: the server hung up without an answer")
        return int(head.split()[1]), text.decode()

    def call(self, target, body=None):
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        status, text = self.post("X-Amz-Target: " + target, data)
        return status, json.loads(text) if text else {}

    def form(self, body):
        return self.post("Content-Type: application/x-www-form-urlencoded", body.encode())

    def ecs(self, operation, **body):
        status, doc = self.call("AmazonEC2ContainerServiceV20141113." + operation, body)
        if status != 200:
            raise AssertionError(f"{operation}: {doc}")
        return doc

    def task(self, arn):
        return self.ecs("DescribeTasks", tasks=[arn])["tasks"][0]

    def run_task(self, containers, family="t", **more):
        """Register a definition and run one task of it; its ARN. What ignores SIGTERM is not waited for long."""
        containers = [dict(dict(stopTimeout=2), **c) for c in containers]
        td = self.ecs("RegisterTaskDefinition", family=family, containerDefinitions=containers,
                      **{k: v for k, v in more.items() if k in ("networkMode", "volumes", "cpu", "memory")})
        reply = self.ecs("RunTask", taskDefinition=td["taskDefinition"]["taskDefinitionArn"])
        equal(reply["failures"], [])
        return reply["tasks"][0]["taskArn"]

    def wait_status(self, arn, status, seconds=60):
        def reached():
            t = self.task(arn)
            if t["lastStatus"] == "STOPPED" and status != "STOPPED":
                raise AssertionError(f"task stopped: {t.get('stoppedReason')}: {t['containers']}")
            return t if t["lastStatus"] == status else None
        return wait_for(reached, seconds, f"{status} of {arn}")

    def wait_stopped(self, arn, seconds=60):
        return self.wait_status(arn, "STOPPED", seconds)


def refused(config, says):
    """berthd does not start with a configuration, and says so."""
    daemon = Daemon(config=config)
    try:
        daemon.start()
    except AssertionError as e:
        contains(str(e), says)
    else:
        raise AssertionError(f"accepted: {config}")
    finally:
        daemon.stop()
        shutil.rmtree(daemon.dir)


class Node(Daemon):
    """berthd agent: a node of a server elsewhere."""

    READY = r" ready: (\S+) is a node of"

    def __init__(self, server, token=None, config=None, name="node"):
        super().__init__("agent", config, name)
        self.words = ["--server", server] + (["--token", token] if token else [])

    def take_ready(self, match):
        self.name = match.group(1)
        self.instance = open(os.path.join(self.root, "var/lib/berth/node/instance")).read()

    def fails(self, *more):
        """It does not become a node; what it says."""
        p = subprocess.run([os.path.join(BUILD, "berthd"), "agent", "--root", self.root, *self.words, *more],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           timeout=60)
        equal(p.returncode, 1)
        return p.stdout


class Wire:
    """The node channel, spoken by hand."""

    def __init__(self, address, identity=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if identity:
            context.load_cert_chain(os.path.join(identity, "certificate.pem"), os.path.join(identity, "key.pem"))
        host, port = address.rsplit(":", 1)
        plain = socket.create_connection((host, int(port)), 30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(plain)

    def say(self, message):
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.socket.sendall(struct.pack(">I", len(data)) + data)

    def hear(self):
        """The next message; None: it has hung up."""
        try:
            head = self.take(4)
            return json.loads(self.take(struct.unpack(">I", head)[0]))
        except (EOFError, OSError):
            return None

    def take(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data


def hello(name):
    return dict(type="hello", protocol=1, instanceId=name, hostname="h", bootId="b", version="1", cpu=1024, memory=64)


# ---- a registry of our own ----

class Registry:
    """Debian's docker-registry on a free loopback port; 'http' and 'more' stand in its configuration, too."""

    def __init__(self, http="", more=""):
        self.http, self.more = http, more
        os.makedirs(os.path.join(TOP, "build", "e2e"), exist_ok=True)
        self.dir = tempfile.mkdtemp(prefix="r", dir=os.path.join(TOP, "build", "e2e"))
        self.process = None

    def __enter__(self):
        config = os.path.join(self.dir, "config.yml")
        with open(config, "w") as f:
            f.write("version: 0.1\nlog: {level: info}\n"
                    f"storage: {{filesystem: {{rootdirectory: {self.dir}/data}}, delete: {{enabled: true}}}}\n"
                    f"http: {{addr: \"127.0.0.1:0\"{self.http}}}\n{self.more}")
        log = os.path.join(self.dir, "log")
        with open(log, "wb") as out:
            self.process = subprocess.Popen(["docker-registry", "serve", config], stdout=out, stderr=out,
                                            stdin=subprocess.DEVNULL, start_new_session=True)
        port = wait_for(lambda: re.search(r"listening on 127\.0\.0\.1:(\d+)", open(log).read()), 30, "registry")
        self.address = f"127.0.0.1:{port.group(1)}"
        return self

    def push(self, path, name, kind="oci"):
        """An OCI layout (directory or directory:tag), or what else skopeo knows, under a name; its reference."""
        run("skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", f"{kind}:{path}",
            f"docker://{self.address}/{name}")
        return f"{self.address}/{name}"

    def demo(self):
        layout = os.path.join(TOP, "build", "e2e", "demo-image")
        if not os.path.exists(os.path.join(layout, "index.json")):
            run(os.path.join(TOP, "rootfs/recipes/busybox/make"), layout, "demo:1")
        return self.push(layout + ":demo:1", "demo:1")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.dir)


# ---- what is left behind ----

class Census:
    """What of this machine a test must leave as it was."""

    def __init__(self):
        self.before = self.take()

    @staticmethod
    def take():
        netns = {}
        for pid in sorted(Census.pids(), key=int):
            try:
                netns.setdefault(os.readlink(f"/proc/{pid}/ns/net"), open(f"/proc/{pid}/comm").read().strip())
            except OSError:
                pass
        mounts, cgroups = [], set()
        for line in open("/proc/self/mountinfo"):
            fields = line.split()
            kind, _, options = fields[fields.index("-") + 1:]
            mounts.append(f"{fields[4]} {options}" if kind == "cgroup2" else fields[4])
            if kind in ("cgroup", "cgroup2"):
                for base, dirs, _ in os.walk(fields[4]):
                    cgroups.update(os.path.join(base, d) for d in dirs)
        return {
            "mounts": sorted(mounts),
            "links": sorted(re.findall(r"^\d+: ([^:@]+)", run("ip", "-o", "link").stdout, re.M)),
            "routes": sorted(run("ip", "route").stdout.split("\n")),
            "addresses": sorted(re.findall(r"inet6? (\S+)", run("ip", "-o", "addr").stdout)),
            "nft": sorted(run("nft", "list", "tables").stdout.split("\n")),
            "cgroups": sorted(cgroups),
            "netns": sorted(f"{ns} of {comm}" for ns, comm in netns.items()),
            "listening": sorted(l.split()[3] for l in run("ss", "-Hltn").stdout.split("\n") if l),
            "processes": sorted(Census.processes()),
        }

    @staticmethod
    def pids():
        """Of all but those suites that run beside this one (tests/run.py)."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/ns/mnt") != os.environ.get("MOUNTS_BESIDE"):
                    yield pid
            except OSError:
                pass

    @staticmethod
    def processes():
        for pid in Census.pids():
            try:
                exe = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
            except OSError:
                continue
            if exe.startswith("berth") or exe in ("busybox", "docker-registry"):
                yield exe

    # What others may take away meanwhile: of these only what is new counts.
    OTHERS_TOO = ("cgroups", "netns", "listening", "processes")

    def difference(self):
        now, lines = self.take(), []
        for key, before in self.before.items():
            left = list(now[key])
            missing = [v for v in before if v not in left or left.remove(v)]
            if left:
                lines.append(f"left behind: {key}: {left}")
            if missing and key not in self.OTHERS_TOO:
                lines.append(f"taken away: {key}: {missing}")
        return lines

    def check(self, seconds=30):
        """The kernel frees namespaces and links some time after their last user has gone."""
        try:
            wait_for(lambda: not self.difference(), seconds, "the machine as it was before")
        except AssertionError:
            raise AssertionError("; ".join(self.difference()) or "the machine changed for long") from None


def meanwhile(test):
    """A test that waits for most of its time: it begins with the first one, in a thread of its own."""
    test.meanwhile = True
    return test


def main():
    module = sys.modules["__main__"]
    failed = 0
    only = sys.argv[1:]
    tests = {name: function for name, function in vars(module).items()
             if name.startswith("test_") and (not only or any(o in name for o in only))}
    pool = concurrent.futures.ThreadPoolExecutor()
    begun = {name: pool.submit(function) for name, function in tests.items() if hasattr(function, "meanwhile")}
    for name, function in tests.items():
        try:
            begun[name].result() if name in begun else function()
            print(f"ok {name}")
        except Skip as reason:
            print(f"skip {name}: {reason}")
        except BaseException as error:
            failed += 1
            print(f"not ok {name}: {error}")
            traceback.print_exc(file=sys.stdout)
            if isinstance(error, KeyboardInterrupt):
                break
        sys.stdout.flush()
    try:
        getattr(module, "cleanup", lambda: None)()
        print("ok nothing_is_left_behind")
    except BaseException as error:
        failed += 1
        print(f"not ok nothing_is_left_behind: {error}")
    sys.exit(1 if failed else 0)
