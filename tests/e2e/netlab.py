# tests/e2e/netlab.py - hosts as network namespaces, for the 40-net tests
# SPDX-License-Identifier: Apache-2.0
#
# A Lab owns everything it makes (namespaces held by processes, the programs
# under test, a directory) and ends it all, whatever happened.

import ctypes
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from descriptors import descriptors

BUILD = os.environ.get("BERTH_BUILD", "build/release")
TOOL = os.path.join(BUILD, "tests/e2e/tools/net")
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
HOME = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
WAIT = 20.0
SILENCE = 0.4  # how long nothing must come, where nothing should


def until(condition, what, timeout=WAIT):
    """Poll a condition; its last value, or an AssertionError that says what was awaited."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(0.005)


@contextlib.contextmanager
def inside(fd):
    """Sockets opened in this block belong to the namespace of the descriptor."""
    if LIBC.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    try:
        yield
    finally:
        if LIBC.setns(HOME, CLONE_NEWNET):
            os._exit(99)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Namespace:
    def __init__(self, lab, name):
        self.name = name
        self.process = subprocess.Popen(["unshare", "-n", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        lab.processes.append(self.process)
        self.path = f"/proc/{self.process.pid}/ns/net"
        until(lambda: os.stat(self.path).st_ino != os.fstat(HOME).st_ino, "namespace")
        self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        self.run("ip link set lo up")

    def run(self, command, check=True):
        return run_in(self.path, command, check)


class Task(Namespace):
    """What attach made: the descriptors of the program are opened once more here."""

    def __init__(self, name, program, answer):
        self.name = name
        self.address = answer["address"]
        self.address6 = answer["address6"]
        self.source = answer["source"]  # as services of the host see it
        self.link = answer["link"]
        self.gateway = answer["gateway"]
        self.ports = [int(p.partition("-")[0]) for p in answer["ports"].split(",") if p]  # of a range the first
        self.fd = os.open(f"/proc/{program.pid}/fd/{answer['netns']}", os.O_RDONLY | os.O_CLOEXEC)
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


def run_in(path, command, check=True):
    p = subprocess.run(["nsenter", f"--net={path}", "sh", "-c", command], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and p.returncode:
        raise AssertionError(f"{command}: {p.returncode}: {p.stdout}")
    if "nodad" in command:
        until(lambda: has_routes_to_itself(path), "routes to its own addresses")
    return p.stdout


def has_routes_to_itself(path):
    """An address of IPv6 that was just added receives nothing before the kernel's work queue has had its turn."""
    addresses = run_in(path, "ip -6 -o addr show up")
    routes = {line.split()[1] for line in run_in(path, "ip -6 -o route show table local type local").splitlines()}
    return {line.split()[3].split("/")[0] for line in addresses.splitlines() if "tentative" not in line} <= routes


class Refused(Exception):
    def __init__(self, errno, message):
        super().__init__(message)
        self.errno = errno


MADE_AHEAD = 4  # network namespaces that wait for tasks once none was asked for in a while


def namespaces_held(pid):
    """How many network namespaces a process has open, its own not counted."""
    spaces = {d for d in descriptors(pid) if d.startswith("net:")}
    return len(spaces - {os.readlink(f"/proc/{pid}/ns/net")})


class Net:
    """The net module in a host, driven by lines."""

    def __init__(self, lab, host, name="berth", block="", ports=None, wrap=(), opened=True, options=""):
        self.host, self.name, self.lab = host, name, lab
        self.dir = os.path.join(lab.dir, host.name, name)
        self.tasks = {}
        self.process = subprocess.Popen(["nsenter", f"--net={host.path}", *wrap, TOOL],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        lab.processes.append(self.process)
        if opened:
            words = f"open {name} {self.dir} {block or '-'}"
            self.say(words + (f" {ports[0]} {ports[1]}" if ports else "") + " " + options)

    @property
    def pid(self):
        return self.process.pid

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().rstrip("\n")
        if not answer:
            raise EOFError(f"{line}: the program ended")
        word, _, rest = answer.partition(" ")
        if word == "error":
            number, _, message = rest.partition(" ")
            raise Refused(int(number), message)
        return rest

    def attach(self, name, *ports, mode="bridge"):
        answer = dict(w.split("=", 1) for w in self.say(f"attach {name} {mode} {' '.join(ports)}").split())
        self.tasks[name] = Task(name, self, answer)
        return self.tasks[name]

    def find(self, name):
        answer = self.say(f"find {name}")
        return None if answer == "absent" else dict(w.split("=", 1) for w in answer.split())

    def detach(self, name):
        self.say(f"detach {name}")
        self.let_go(name)

    def let_go(self, name):
        self.say(f"drop {name}")
        if name in self.tasks:
            self.tasks.pop(name).close()

    def end(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait()

    def quit(self):
        self.process.stdin.close()
        self.process.wait()


class Lab:
    def __init__(self):
        self.processes = []
        self.dir = tempfile.mkdtemp(prefix="berth-net-", dir="/run")  # a tmpfs, as states of networks are on
        self.sockets = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for s in self.sockets:
            s.close()
        for p in reversed(self.processes):
            if p.poll() is None:
                p.kill()
            p.wait()
            for f in (p.stdin, p.stdout):
                if f:
                    with contextlib.suppress(OSError):
                        f.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def namespace(self, name):
        return Namespace(self, name)

    def wire(self, a, a_name, a_address, b, b_name, b_address):
        """A cable between two namespaces."""
        a.run(f"ip link add {a_name} type veth peer name {b_name} netns {b.process.pid}")
        a.run(f"ip addr add {a_address} dev {a_name}; ip link set {a_name} up")
        b.run(f"ip addr add {b_address} dev {b_name}; ip link set {b_name} up")

    def host(self, name="host"):
        """A host with an uplink 10.99.0.1/24 and a client behind it at 10.99.0.2."""
        host, client = self.namespace(name), self.namespace("client")
        self.wire(host, "up0", "10.99.0.1/24", client, "up0", "10.99.0.2/24")
        host.run("ip route add default via 10.99.0.2")
        client.run("ip route add default via 10.99.0.1")
        return host, client

    def host6(self, name="host"):
        """The same with IPv6: fd99::1 and fd99::2."""
        host, client = self.host(name)
        for place, address, other in ((host, "fd99::1", "fd99::2"), (client, "fd99::2", "fd99::1")):
            place.run(f"ip -6 addr add {address}/64 dev up0 nodad; ip -6 route add default via {other}")
        return host, client

    def net(self, host, *args, **kwargs):
        return Net(self, host, *args, **kwargs)

    # ---- traffic ----

    def udp(self, place, address="0.0.0.0", port=0):
        with inside(place.fd):
            s = socket.socket(family_of(address), socket.SOCK_DGRAM)
            s.bind((address, port, 0, 64) if address.startswith("fe80") else (address, port))  # eth0 of a task
        s.settimeout(SILENCE)
        self.sockets.append(s)
        return s

    def listen(self, place, port, address="0.0.0.0"):
        with inside(place.fd):
            s = socket.socket(family_of(address), socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, port))
        s.listen(64)
        s.settimeout(WAIT)
        self.sockets.append(s)
        return s

    def connects(self, place, server, to, timeout=WAIT):
        """Open a connection; the address that the server sees, or None."""
        with inside(place.fd):
            s = socket.socket(family_of(to[0]), socket.SOCK_STREAM)
        with s:
            s.settimeout(timeout)
            try:
                s.connect(to)
            except OSError:
                return None
            peer, seen = server.accept()
            with peer:
                s.sendall(b"ping")
                assert peer.recv(16) == b"ping"
                peer.sendall(b"pong")
                assert s.recv(16) == b"pong"
            return seen[0]

    def held(self, place, server, to):
        """No connection comes about."""
        return self.connects(place, server, to, timeout=SILENCE) is None

    def sends(self, place, server, to, timeout=WAIT):
        """Send a datagram and answer it; the address that the server sees, or None."""
        with inside(place.fd):
            s = socket.socket(family_of(to[0]), socket.SOCK_DGRAM)
        with s:
            s.settimeout(timeout)
            server.settimeout(timeout)
            try:
                s.sendto(b"ping", to)
                data, seen = server.recvfrom(16)
                server.sendto(b"pong", seen)
                assert data == b"ping" and s.recv(16) == b"pong"
            except OSError:
                return None
            finally:
                server.settimeout(SILENCE)
            return seen[0]

    def carries(self, place, server, to, size=300000):
        """So many bytes there and back over one connection, each end reading while the other writes."""
        with inside(place.fd):
            s = socket.socket(family_of(to[0]), socket.SOCK_STREAM)
        with s:
            s.settimeout(WAIT)
            s.connect(to)
            peer, _ = server.accept()
            with peer:
                peer.settimeout(WAIT)
                for source, target in ((s, peer), (peer, s)):
                    writer = threading.Thread(target=source.sendall, args=(b"x" * size,))
                    writer.start()
                    got = 0
                    while got < size:
                        got += len(target.recv(65536))
                    writer.join()


# ---- what is there ----

def our_links(host, prefix="brt"):
    """Those of tasks have an alias; the few that wait for tasks have none yet."""
    lines = host.run("ip -o link").split("\n")
    names = [l.split(":")[1].strip().split("@")[0] for l in lines if l and (not prefix.startswith("brt") or "alias" in l)]
    return sorted(n for n in names if n.startswith(prefix))


def our_routes(host):
    return sorted(l.split()[0] for l in host.run("ip route show proto 190").split("\n")
                  if l and not l.startswith("unreachable"))


def elements(host, set_name, table="berth"):
    text = host.run(f"nft list set inet {table} {set_name} || nft list map inet {table} {set_name}", check=False)
    inner = text.partition("elements = {")[2].partition("}")[0]
    return sorted(" ".join(e.split()) for e in inner.split(",") if e.strip())


def check(cases):
    """Run functions that each take a Lab; print a line for each. Words filter by name."""
    bad, only = 0, sys.argv[1:]
    for case in cases:
        name = case.__name__.replace("_", " ")
        if only and not any(o in case.__name__ for o in only):
            continue
        try:
            with Lab() as lab:
                case(lab)
            print(f"ok {name}", flush=True)
        except Exception:
            bad += 1
            print(f"not ok {name}\n{traceback.format_exc()}", flush=True)
    sys.exit(1 if bad else 0)
