#!/usr/bin/python3
# tests/e2e/52-resolver.py - tasks ask for names at 169.254.169.253
# SPDX-License-Identifier: Apache-2.0
#
# The host's resolv.conf is a file of the test's own, bound over it in a mount namespace of the
# daemon. The resolvers that it names are servers of the test, on addresses of the loopback, which
# no task could reach itself.

import collections
import concurrent.futures
import ctypes
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading

from berth import BUILD, Census, Daemon, Registry, Skip, contains, equal, main, run, wait_for
from descriptors import descriptors

RESOLVER, RESOLVER6 = "169.254.169.253", "fd00:ec2::253"
A, PTR, TXT, AAAA, OPT = 1, 12, 16, 28, 41
NOERROR, FORMERR, SERVFAIL, NOTIMP = 0, 1, 2, 4
TRUNCATED = 0x0200


# ---- messages ----

def query(name, kind=A, ident=0x1234, flags=0x0100, more=b"", others=0):
    labels = b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0"
    return struct.pack(">HHHHHH", ident, flags, 1, 0, 0, others) + labels + struct.pack(">HH", kind, 1) + more


def end_of_question(message):
    at = 12
    while message[at]:
        at += 1 + message[at]
    return at + 5


def question(message):
    return message[12:end_of_question(message)]


def name_of(message):
    at, labels = 12, []
    while message[at]:
        labels.append(message[at + 1:at + 1 + message[at]].decode())
        at += 1 + message[at]
    return ".".join(labels)


def kind_of(message):
    return struct.unpack(">H", message[end_of_question(message) - 4:][:2])[0]


def answer(to, records=(), flags=0x8180):
    """With records of (type, data)."""
    return (to[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0) + question(to)
            + b"".join(struct.pack(">HHHIH", 0xc00c, kind, 1, 60, len(data)) + data for kind, data in records))


def address(message):
    """The one that an answer has."""
    equal(struct.unpack(">H", message[6:8])[0], 1)
    return socket.inet_ntoa(message[-4:])


def code(message):
    return message[3] & 15


def ident(message):
    return struct.unpack(">H", message[:2])[0]


# ---- resolvers of the host ----

Seen = collections.namedtuple("Seen", "message source stream")


class Server:
    """What it answers depends on the first label that it is asked for; 'address' is in all that it says."""

    def __init__(self, at, address, silent=False):
        self.at, self.address, self.silent = at, address, silent
        self.seen = []
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.udp.bind((at, 53))
        self.tcp.bind((at, 53))
        self.other.bind((at, 0))
        self.tcp.listen()
        for work in (self.hear, self.accept):
            threading.Thread(target=work, daemon=True).start()

    def close(self):
        for s in (self.udp, self.tcp):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def asked(self, name):
        return [s for s in self.seen if name_of(s.message).lower() == name.lower()]

    def hear(self):
        try:
            while True:
                message, source = self.udp.recvfrom(65536)
                if not message:
                    return  # it is closed
                self.seen.append(Seen(message, source, False))
                if not self.silent:
                    self.say(message, source)
        except OSError:
            pass

    def say(self, m, source):
        word = name_of(m).split(".")[0].lower()
        right = answer(m, [(A, socket.inet_aton(self.address))])
        if word == "big":
            self.udp.sendto(answer(m, [(TXT, bytes([200]) + b"x" * 200)] * 18), source)
        elif word == "long":
            self.udp.sendto(answer(m, flags=0x8180 | TRUNCATED), source)
        elif word == "forged":
            false = [(A, socket.inet_aton("203.0.113.66"))]
            for i in range(5):  # ids that it does not have
                self.udp.sendto(struct.pack(">H", ident(m) ^ (i + 1)) + answer(m, false)[2:], source)
            self.other.sendto(answer(m, false), source)  # another source
            self.udp.sendto(answer(query("other.test", ident=ident(m)), false), source)
            self.udp.sendto(answer(query(name_of(m).swapcase(), ident=ident(m)), false), source)
            self.udp.sendto(answer(query(name_of(m), kind=AAAA, ident=ident(m)), false), source)
            self.udp.sendto(m[:2] + b"\x01\x00" + answer(m, false)[4:], source)  # no answer
            for n in (0, 1, 11, 12, len(m) - 1):
                self.udp.sendto(answer(m)[:n], source)
            self.udp.sendto(right, source)
        elif word == "guessed":
            port = source[1]
            if len(self.asked(name_of(m))) == 1:
                for i in range(1, 100):
                    self.udp.sendto(struct.pack(">H", ident(m) ^ i) + right[2:], source)
            else:
                assert port != self.asked(name_of(m))[0].source[1]
                self.udp.sendto(right, source)
        elif word == "never":
            pass
        elif word == "twice" and len(self.asked(name_of(m))) == 1:
            pass
        else:
            self.udp.sendto(right, source)

    def accept(self):
        try:
            while True:
                connection, source = self.tcp.accept()
                threading.Thread(target=self.serve, args=(connection, source), daemon=True).start()
        except OSError:
            pass

    def serve(self, connection, source):
        with connection:
            while True:
                m = hear_frame(connection)
                if not m:
                    return
                self.seen.append(Seen(m, source, True))
                word = name_of(m).split(".")[0]
                if word in ("big", "long"):
                    text = answer(m, [(TXT, bytes([200]) + b"x" * 200)] * 300)
                else:
                    text = answer(m, [(A, socket.inet_aton(self.address))])
                frame = struct.pack(">H", len(text)) + text
                connection.sendall(frame[:1])
                connection.sendall(frame[1:])


def hear_frame(connection):
    def take(size):
        data = b""
        while len(data) < size:
            more = connection.recv(size - len(data))
            if not more:
                return None
            data += more
        return data
    head = take(2)
    return head and take(struct.unpack(">H", head)[0])


# ---- this host ----

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
NET = f"127.53.{os.getpid() % 256}"
ONE, TWO, NOBODY, STUB, DNSMASQ = (f"{NET}.{i}" for i in (1, 2, 3, 4, 5))
one, two = Server(ONE, "192.0.2.1"), Server(TWO, "192.0.2.2")
daemon = Daemon()
RESOLV = os.path.join(daemon.dir, "resolv.conf")
BIND = ["unshare", "-m", "sh", "-c", f'mount --bind {RESOLV} "$(readlink -f /etc/resolv.conf)" && exec "$@"', "sh"]


def resolvers(*addresses, more=""):
    with open(RESOLV, "w") as f:
        f.write("# of the test\n" + "".join(f"nameserver {a}\n" for a in addresses) + more)


resolvers(ONE, more="search one.test\noptions ndots:2\n")
daemon.start(*BIND)
ec2 = daemon.boto("ec2")
ecs = daemon.boto("ecs")
VPC = ec2.describe_vpcs()["Vpcs"][0]
SUBNET = ec2.describe_subnets()["Subnets"][0]


def cleanup():
    daemon.destroy()
    registry.__exit__()
    for server in (one, two):
        server.close()
    census.check()


def start(family, mode="bridge", container=None, **more):
    ecs.register_task_definition(family=family, networkMode=mode, containerDefinitions=[
        dict(dict(name="c", image=IMAGE, memory=32, stopTimeout=1, command=["sleep", "1000"]), **(container or {}))])
    if mode == "awsvpc":
        more = dict(networkConfiguration=dict(awsvpcConfiguration={"subnets": [SUBNET["SubnetId"]], **more}))
    reply = ecs.run_task(taskDefinition=family, **more)
    equal(reply["failures"], [])
    return daemon.wait_status(reply["tasks"][0]["taskArn"], "RUNNING")


def stop(*tasks):
    for task in tasks:
        ecs.stop_task(task=task["taskArn"])
    for task in tasks:
        daemon.wait_stopped(task["taskArn"])


def pid_of(task):
    states = json.loads(run(os.path.join(BUILD, "berth-oci"), "--root", daemon.root + "/run/berth/oci", "list",
                            "--format", "json").stdout)
    container = f"{task['taskArn'].split('/')[-1]}-0"
    return next(s["pid"] for s in states if s["id"] == container and s["status"] == "running")


def socket_in(task, kind, family=socket.AF_INET):
    """A socket of the task's network."""
    made = []

    def make():
        with open(f"/proc/{pid_of(task)}/ns/net") as f:
            assert ctypes.CDLL(None, use_errno=True).setns(f.fileno(), 0x40000000) == 0
        made.append(socket.socket(family, kind))
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    made[0].settimeout(20)
    return made[0]


def family_of(at):
    return socket.AF_INET6 if ":" in at else socket.AF_INET


def ask(task, message, port=None, at=RESOLVER):
    with socket_in(task, socket.SOCK_DGRAM, family_of(at)) as s:
        if port:
            s.bind(("0.0.0.0", port))
        s.connect((at, 53))
        s.send(message)
        return s.recv(65536)


def ask_stream(task, *messages, at=RESOLVER):
    with socket_in(task, socket.SOCK_STREAM, family_of(at)) as s:
        s.connect((at, 53))
        s.sendall(b"".join(struct.pack(">H", len(m)) + m for m in messages))
        return [hear_frame(s) for _ in messages]


def nslookup(task, *words):
    return subprocess.run(["nsenter", "-t", str(pid_of(task)), "--net", "--mount", "--root", "/bin/busybox", "nslookup", *words],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60).stdout


def resolv_conf(task):
    return open(f"/proc/{pid_of(task)}/root/etc/resolv.conf").read()


def processes():
    """The one that the agent began, first."""
    found = {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{p}/exe") == os.path.join(BUILD, "berth-resolver"):
                found[int(p)] = dict(re.findall(r"^(\w+):\t(.*)$", open(f"/proc/{p}/status").read(), re.M))
        except OSError:
            pass
    return sorted(found, key=lambda p: int(found[p]["PPid"]) in found), found


bridge = start("bridged")
closed = ec2.create_security_group(GroupName="closed", Description="nothing leaves", VpcId=VPC["VpcId"])["GroupId"]
ec2.revoke_security_group_egress(GroupId=closed, IpPermissions=[dict(IpProtocol="-1", IpRanges=[dict(CidrIp="0.0.0.0/0")])])
own = start("own", "awsvpc", securityGroups=[closed])
OWN = {d["name"]: d["value"] for d in own["attachments"][0]["details"]}


def test_a_task_finds_the_resolver_where_it_looks():
    for task in (bridge, own):
        equal(resolv_conf(task), "# of the test\nsearch one.test\noptions ndots:2\nnameserver 169.254.169.253\n")
        contains(nslookup(task, "-type=a", "web.test."), "192.0.2.1")
        equal(address(ask(task, query("web.test"))), "192.0.2.1")
        equal([address(a) for a in ask_stream(task, query("web.test"), query("mail.test"))], ["192.0.2.1"] * 2)


def test_what_is_asked_arrives_as_it_is_but_for_its_id():
    option = b"\0" + struct.pack(">HHIH", OPT, 1232, 0x8000, 12) + struct.pack(">HH", 10, 8) + b"cookie!!"
    m = query("MiXed.CaSe.test", ident=0xbeef, more=option, others=1)
    a = ask(bridge, m)
    equal((ident(a), question(a)), (0xbeef, question(m)))
    [seen] = one.asked("mixed.case.test")
    equal(seen.message[2:], m[2:])
    [a] = ask_stream(bridge, query("again.test", ident=0xbeef, more=option, others=1))
    equal(ident(a), 0xbeef)
    [seen] = one.asked("again.test")
    equal((seen.stream, seen.message[2:]), (True, query("again.test", more=option, others=1)[2:]))


def test_large_answers_and_truncated_ones_go_on_as_they_are():
    for task in (bridge, own):
        assert len(ask(task, query("big.test", TXT))) > 3600
        a = ask(task, query("long.test", TXT))
        equal((a[2] & 2, a[6:8]), (2, b"\0\0"))
        [a] = ask_stream(task, query("long.test", TXT))
        assert len(a) > 60000, len(a)


def test_each_query_has_a_port_and_an_id_of_its_own():
    for i in range(40):
        equal(ident(ask(bridge, query(f"n{i}.ports.test", ident=7))), 7)
    seen = [s for i in range(40) for s in one.asked(f"n{i}.ports.test")]
    equal(len(seen), 40)
    assert len({s.source[1] for s in seen}) > 36 and len({ident(s.message) for s in seen}) > 36
    ports = [s.source[1] for s in seen]
    assert not all(0 < b - a < 8 for a, b in zip(ports, ports[1:])), ports


def test_tasks_with_the_same_id_and_port_get_each_its_own_answer():
    other = start("other")
    askers = {name: socket_in(task, socket.SOCK_DGRAM) for name, task in (("a", bridge), ("b", other), ("c", own))}
    for s in askers.values():
        s.bind(("0.0.0.0", 4444))
        s.connect((RESOLVER, 53))

    def answers(name):
        got = []
        for i in range(20):
            askers[name].send(query(f"{name}{i}.same.test", ident=99))
            got.append(askers[name].recv(65536))
        return got
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for name, got in zip(askers, pool.map(answers, askers)):
            equal([(ident(a), name_of(a)) for a in got], [(99, f"{name}{i}.same.test") for i in range(20)])
    for s in askers.values():
        s.close()
    stop(other)


def test_what_is_no_answer_is_not_taken_for_one():
    for task in (bridge, own):
        equal(address(ask(task, query("forged.test"))), "192.0.2.1")
    equal(len(one.asked("forged.test")), 2)
    equal(address(ask(bridge, query("guessed.test"))), "192.0.2.1")
    equal(len(one.asked("guessed.test")), 2)


def test_a_datagram_that_is_lost_is_sent_again():
    equal(address(ask(bridge, query("twice.test"))), "192.0.2.1")
    a, b = one.asked("twice.test")
    assert ident(a.message) != ident(b.message)


def test_who_asks_again_waits_for_the_same_answer():
    with socket_in(bridge, socket.SOCK_DGRAM) as s:
        s.connect((RESOLVER, 53))
        for _ in range(5):
            s.send(query("twice.again.test"))
        equal(address(s.recv(65536)), "192.0.2.1")
    equal(len(one.asked("twice.again.test")), 2)
    with socket_in(bridge, socket.SOCK_DGRAM) as s:  # another question is one, whatever its id
        s.connect((RESOLVER, 53))
        for i in range(5):
            s.send(query(f"n{i}.id.test"))
        equal({name_of(s.recv(65536)) for _ in range(5)}, {f"n{i}.id.test" for i in range(5)})


def test_the_next_resolver_is_asked_where_one_is_not_there_or_silent():
    for first in (NOBODY, "192.0.2.250"):
        resolvers(first, TWO)
        for task in (bridge, own):
            equal(address(ask(task, query("fail.over.test"))), "192.0.2.2")
            equal(address(ask_stream(task, query("fail.over.test"))[0]), "192.0.2.2")
    quiet = Server(STUB, "192.0.2.4", silent=True)
    resolvers(STUB, TWO)
    for i in range(6):
        equal(address(ask(bridge, query(f"s{i}.silent.test"))), "192.0.2.2")
    assert 3 <= len(quiet.seen) < 6, quiet.seen  # then it is asked last
    quiet.close()
    resolvers(ONE)
    equal(address(ask(bridge, query("changed.test"))), "192.0.2.1")


def test_without_a_resolver_a_task_is_told_so():
    resolvers(NOBODY)
    for task in (bridge, own):
        equal(code(ask(task, query("nobody.test"))), SERVFAIL)
        equal(code(ask_stream(task, query("nobody.test"))[0]), SERVFAIL)
        contains(nslookup(task, "-type=a", "nobody.test."), "SERVFAIL")
    resolvers(ONE)
    a = ask(bridge, query("never.test", ident=77))
    equal((ident(a), code(a), question(a)), (77, SERVFAIL, question(query("never.test"))))


def test_dnsmasq_is_such_a_resolver():
    with subprocess.Popen(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                           "--bind-interfaces", f"--listen-address={DNSMASQ}", "--address=/masq.test/192.0.2.53",
                           "--txt-record=big.masq.test," + ",".join(["y" * 200] * 12), "--user=root", "--pid-file="],
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as p:
        try:
            resolvers(DNSMASQ)
            wait_for(lambda: code(ask(bridge, query("up.masq.test"))) == NOERROR, what="dnsmasq")
            for task in (bridge, own):
                contains(nslookup(task, "-type=a", "web.masq.test."), "192.0.2.53")
                a = ask(task, query("big.masq.test", TXT))
                assert a[2] & 2, a
                assert len(ask_stream(task, query("big.masq.test", TXT))[0]) > 2400
        finally:
            p.terminate()
            resolvers(ONE)


def test_tasks_with_ipv6_find_it_at_its_address_in_ec2_too():
    before = subprocess.run(["ip", "-6", "route", "get", RESOLVER6], capture_output=True).stdout
    vpc = ec2.create_vpc(CidrBlock=f"10.{64 + os.getpid() % 128}.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    block = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("::/56", "::/64")
    subnet = ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock=vpc["CidrBlock"].replace("/16", "/24"), Ipv6CidrBlock=block)
    mute = ec2.create_security_group(GroupName="mute", Description="nothing leaves", VpcId=vpc["VpcId"])["GroupId"]
    ec2.revoke_security_group_egress(GroupId=mute, IpPermissions=[dict(
        IpProtocol="-1", IpRanges=[dict(CidrIp="0.0.0.0/0")])])
    six = start("six", "awsvpc", subnets=[subnet["Subnet"]["SubnetId"]], securityGroups=[mute])
    shown = {d["name"]: d["value"] for d in six["attachments"][0]["details"]}
    for at in (RESOLVER, RESOLVER6):
        equal(address(ask(six, query("web.test"), at=at)), "192.0.2.1")
        equal([address(a) for a in ask_stream(six, query("web.test"), query("mail.test"), at=at)], ["192.0.2.1"] * 2)
        assert len(ask(six, query("big.test", TXT), at=at)) > 3600
        # Whose VPC it is follows from either address.
        equal(address(ask(six, query(shown["privateDnsName"]), at=at)), shown["privateIPv4Address"])
        equal(address(ask(six, query(OWN["privateDnsName"]), at=at)), "192.0.2.1")
    contains(resolv_conf(six), "\nnameserver 169.254.169.253\n")
    contains(nslookup(six, "-type=a", "web.test.", RESOLVER6), "192.0.2.1")
    equal(subprocess.run(["ip", "-6", "route", "get", RESOLVER6], capture_output=True).stdout, before)  # no route of the host's
    # The agent goes, the resolver does not.
    daemon.kill()
    equal(address(ask(six, query("web.test"), at=RESOLVER6)), "192.0.2.1")
    daemon.start(*BIND)
    wait_for(lambda: address(ask(six, query(shown["privateDnsName"]), at=RESOLVER6)) == shown["privateIPv4Address"],
             what="the agent's word on names")
    stop(six)


def test_names_of_the_vpc_are_answered_here_and_to_its_tasks():
    asked = len(one.seen)
    ip = OWN["privateIPv4Address"]
    name = OWN["privateDnsName"]
    equal(name, "ip-" + ip.replace(".", "-") + ".ec2.internal")
    equal(address(ask(own, query(name))), ip)
    equal(address(ask(own, query(name.upper()))), ip)
    equal(address(ask_stream(own, query(name))[0]), ip)
    a = ask(own, query(name, AAAA))
    equal((code(a), a[6:8]), (NOERROR, b"\0\0"))
    back = ".".join(reversed(ip.split("."))) + ".in-addr.arpa"
    contains(ask(own, query(back, PTR)), b"\x08internal\0")
    contains(nslookup(own, name + "."), ip)
    contains(nslookup(own, "-type=ptr", back + "."), name)
    equal(len(one.seen), asked)
    # Who is in no VPC asks the host's resolvers, and so does who asks for what is not in his.
    equal(address(ask(bridge, query(name))), "192.0.2.1")
    for other in ("ip-203-0-113-9.ec2.internal", "ip-" + ip.replace(".", "-") + ".eu-west-1.compute.internal",
                  "x" + name, name.replace("ip-", "ip-0")):
        equal(address(ask(own, query(other))), "192.0.2.1")
        equal(len(one.asked(other)), 1)


def test_wrong_queries_are_refused_or_left():
    good = query("wrong.test")
    for wrong, wanted in ((good[:2] + b"\x29\x00" + good[4:], NOTIMP),        # an update
                          (good[:4] + b"\0\2" + good[6:], FORMERR),           # two questions
                          (good[:4] + b"\0\0" + good[6:12], FORMERR),
                          (good[:-1], FORMERR), (good[:14], FORMERR),
                          (good[:12] + b"\xc0\x0c\0\1\0\1", FORMERR),         # a name that points to itself
                          (query(".".join(["x" * 60] * 5)), FORMERR),
                          (query("wrong.test", 252), NOTIMP),
                          (good + b"\0" * 4096, FORMERR)):
        a = ask(bridge, wrong)
        equal((ident(a), code(a), len(a) <= len(wrong)), (0x1234, wanted, True))
    with socket_in(bridge, socket.SOCK_DGRAM) as s:
        s.connect((RESOLVER, 53))
        for silent in (b"", b"\x12", good[:11], good[:2] + b"\x81\x80" + good[4:]):
            s.send(silent)
        s.send(query("right.test", ident=5))
        equal(ident(s.recv(65536)), 5)
    equal(one.asked("wrong.test"), [])
    for broken in (b"\0\0", b"\xff\xff" + good, struct.pack(">H", 4097) + good * 200):
        with socket_in(bridge, socket.SOCK_STREAM) as s:
            s.connect((RESOLVER, 53))
            s.sendall(broken)
            try:
                equal(s.recv(1), b"")
            except ConnectionResetError:
                pass


def test_a_false_source_gets_nothing():
    victim = start("victim")
    theirs = re.search(r"inet (\S+)/32", run("nsenter", f"--net=/proc/{pid_of(victim)}/ns/net", "ip", "-o", "-4", "addr",
                                             "show", "eth0").stdout).group(1)
    run("nsenter", f"--net=/proc/{pid_of(bridge)}/ns/net", "ip", "addr", "add", theirs + "/32", "dev", "eth0")
    with socket_in(bridge, socket.SOCK_DGRAM) as s, socket_in(victim, socket.SOCK_DGRAM) as there:
        there.bind((theirs, 5353))
        there.setblocking(False)
        s.bind((theirs, 5353))
        s.sendto(query("spoofed.test"), (RESOLVER, 53))
        s.close()
        equal(address(ask(bridge, query("true.test"))), "192.0.2.1")
        try:
            raise AssertionError(there.recv(65536))
        except BlockingIOError:
            pass
    equal(one.asked("spoofed.test"), [])
    run("nsenter", f"--net=/proc/{pid_of(bridge)}/ns/net", "ip", "addr", "del", theirs + "/32", "dev", "eth0")
    stop(victim)


def packets_there():
    """That the host has sent to the resolver's network."""
    with open(f"{daemon.root}/run/berth/net/endpoints/resolver") as f:
        there = json.load(f)["address"]
    link = re.search(r" dev (\S+)", run("ip", "route", "get", there).stdout).group(1)
    return json.loads(run("ip", "-s", "-j", "link", "show", link).stdout)[0]["stats64"]["tx"]["packets"]


def test_a_task_that_asks_too_much_is_held_back_and_no_other():
    resolvers(ONE)
    with socket_in(bridge, socket.SOCK_DGRAM) as s:
        s.connect((RESOLVER, 53))
        before, there = len(one.seen), packets_there()
        for i in range(20000):
            s.send(query(f"never.n{i}.test", ident=i))
            if i % 2000 == 1999:
                equal(address(ask_again(own, f"modest{i}.test")), "192.0.2.1")
    assert len(one.seen) - before < 20000
    assert packets_there() - there < 18000  # what is too much does not get that far
    contains(run("nft", "list", "chain", "inet", daemon.name, "raw").stdout,
             "ip daddr 169.254.0.0/16 update @askers { iif limit rate over 1024/second burst 1024 packets } drop")
    streams = [socket_in(bridge, socket.SOCK_STREAM) for _ in range(70)]
    for s in streams:
        s.connect((RESOLVER, 53))
    equal(address(ask_stream(own, query("modest.test"))[0]), "192.0.2.1")
    for s in streams:
        s.close()
    wait_for(lambda: not code(ask(bridge, query("later.test"))), what="the greedy one is answered again")


def test_who_says_whom_to_ask_asks_them():
    resolvers(ONE, more="search one.test\noptions ndots:2\n")
    task = start("named", container=dict(dnsServers=["192.0.2.53"], dnsSearchDomains=["mine.test"]))
    equal(resolv_conf(task), "# of the test\noptions ndots:2\nnameserver 192.0.2.53\nsearch mine.test\n")
    equal(address(ask(task, query("all.the.same.test"))), "192.0.2.1")
    stop(task)


def test_the_hosts_network_has_the_hosts_resolvers():
    task = start("hosted", "host")
    equal(resolv_conf(task), open(RESOLV).read())
    stop(task)


def test_who_reads_what_tasks_send_has_no_rights():
    if BUILD.endswith("/san"):
        raise Skip("sanitizers know no filter of system calls")
    equal(address(ask(bridge, query("rights.test"))), "192.0.2.1")
    (relay, dialer), status = processes()
    for pid in (relay, dialer):
        said = status[pid]
        equal((said["Uid"].split(), said["CapEff"], said["NoNewPrivs"], said["Seccomp"]),
              (["65534"] * 4, "0" * 16, "1", "2"))
    links = run("nsenter", f"--net=/proc/{relay}/ns/net", "ip", "-o", "link").stdout.split("\n")
    equal([link.split(":")[1].strip() for link in links if link and "UP" in link.split("<")[1].split(">")[0].split(",")], [])
    equal(os.readlink(f"/proc/{dialer}/ns/net"), os.readlink("/proc/self/ns/net"))
    fds = descriptors(dialer)
    equal(len([fd for fd in fds if fd.startswith("socket:")]), 1)


def test_doctor_says_that_it_is_there():
    contains(daemon.berth("doctor", check=False).stdout, "resolver: tasks ask the resolvers of this host")


def test_it_comes_back_after_whatever_ends_it():
    equal(address(ask(bridge, query("before.test"))), "192.0.2.1")
    for which in (0, 1):
        pids, _ = processes()
        os.kill(pids[which], signal.SIGKILL)
        wait_for(lambda: not set(pids) & set(processes()[0]))
        equal(address(ask(bridge, query("after.test"))), "192.0.2.1")


def test_tasks_ask_for_names_while_there_is_no_agent():
    for end in (daemon.kill, daemon.stop):
        before, _ = processes()
        end()
        for task in (bridge, own):
            equal(address(ask(task, query("alone.test"))), "192.0.2.1")
            equal(address(ask_stream(task, query("alone.test"))[0]), "192.0.2.1")
        equal(code(ask(own, query(OWN["privateDnsName"]))), NOERROR)  # as the host's resolver has it
        equal(processes()[0], before)
        daemon.start(*BIND)
        wait_for(lambda: len(processes()[0]) == 2 and not set(processes()[0]) & set(before), what="another one")
        for task in (bridge, own):
            equal(code(ask_again(task)), NOERROR)
        equal(address(ask_again(own, OWN["privateDnsName"])), OWN["privateIPv4Address"])


def ask_again(task, name="again.test"):
    """What a client does: a datagram that nobody answers in time is sent again."""
    for _ in range(60):
        with socket_in(task, socket.SOCK_DGRAM) as s:
            s.settimeout(1)
            s.connect((RESOLVER, 53))
            try:
                s.send(query(name))
                return s.recv(65536)
            except OSError:
                pass
    raise AssertionError("nobody answers")


def test_with_the_last_task_and_the_agent_it_ends():
    """And with an agent that finds no task any more."""
    other = Daemon(name="other").start()
    try:
        here = set(processes()[0])
        arn = other.run_task([dict(name="c", image=IMAGE, memory=32, command=["sleep", "1000"])])
        other.wait_status(arn, "RUNNING")
        mine = wait_for(lambda: len(set(processes()[0]) - here) == 2 and set(processes()[0]) - here)
        other.kill()
        assert mine <= set(processes()[0])
        other.start()
        wait_for(lambda: not mine & set(processes()[0]), what="the end of the former one")
        other.ecs("StopTask", task=arn)
        other.wait_stopped(arn)
        other.stop()
        equal(set(processes()[0]), here)
    finally:
        other.destroy()


def test_where_it_does_not_live_tasks_have_what_they_can_reach():
    broken = Daemon(name="broken")
    broken.programs = os.path.join(broken.dir, "programs")
    os.makedirs(broken.programs)
    for name in os.listdir(BUILD):
        if name.startswith("berth"):
            os.link(os.path.join(BUILD, name), os.path.join(broken.programs, name))
    program = os.path.join(broken.programs, "berth-resolver")
    os.unlink(program)
    with open(program, "w") as f:
        f.write("#!/bin/sh\nexit 3\n")
    os.chmod(program, 0o755)
    resolvers("127.0.0.1", "192.0.2.77", "192.0.2.78")
    try:
        broken.start(*BIND)

        def begin():
            arn = broken.run_task([dict(name="c", image=IMAGE, memory=32, command=["sh", "-c", "cat /etc/resolv.conf"])])
            broken.wait_stopped(arn)
            return broken.berth("logs", arn.split("/")[-1]).stdout

        def said():
            return broken.berth("doctor", check=False).stdout
        begin()
        wait_for(lambda: "berth-resolver has ended with 3" in said(), what="doctor says why")
        contains(said(), "resolver: tasks have what resolv.conf of this host names and they can reach: ")
        equal(begin(), "# of the test\nnameserver 192.0.2.77\nnameserver 192.0.2.78\n")
        os.unlink(program)
        os.link(os.path.join(BUILD, "berth-resolver"), program)
        wait_for(lambda: "tasks ask the resolvers of this host" in said(), 90, what="it lives")
        equal(begin(), "# of the test\nnameserver 169.254.169.253\n")
    finally:
        resolvers(ONE)
        broken.destroy()


def test_who_is_no_task_of_this_host_is_not_answered():
    """Somebody on a link of the host, which is a router to him."""
    with open(f"{daemon.root}/run/berth/net/endpoints/resolver") as f:
        there = json.load(f)["address"]
    name = f"dn{os.getpid()}"
    neighbour = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
    try:
        wait_for(lambda: os.readlink(f"/proc/{neighbour.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        inside = ["nsenter", f"--net=/proc/{neighbour.pid}/ns/net"]
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(neighbour.pid))
        run("ip", "addr", "add", "192.0.2.129/30", "dev", name)
        run("ip", "link", "set", name, "up")
        run(*inside, "ip", "addr", "add", "192.0.2.130/30", "dev", "eth0")
        run(*inside, "ip", "link", "set", "eth0", "up")
        run(*inside, "ip", "route", "add", "default", "via", "192.0.2.129")
        for to in (there, RESOLVER):
            run(*inside, "python3", "-c", "import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                "for _ in range(5): s.sendto(bytes.fromhex(sys.argv[2]), (sys.argv[1], 53))",
                to, query("stranger.test").hex())
        wait_for(lambda: json.loads(run("ip", "-s", "-j", "link", "show", name).stdout)[0]["stats64"]["rx"]["packets"] >= 10,
                 what="the host has them")
        equal(address(ask(bridge, query("behind.test"))), "192.0.2.1")
        equal(one.asked("stranger.test"), [])
    finally:
        neighbour.kill()
        neighbour.wait()


def test_its_network_comes_back_when_somebody_takes_it_away():
    run("nft", "delete", "table", "inet", daemon.name)
    wait_for(lambda: daemon.name in run("nft", "list", "tables").stdout, 10, "the table")
    equal(code(ask_again(own)), NOERROR)
    with open(f"{daemon.root}/run/berth/net/endpoints/resolver") as f:
        there = json.load(f)["address"]
    run("ip", "link", "del", re.search(r" dev (\S+)", run("ip", "route", "get", there).stdout).group(1))
    for task in (bridge, own):
        equal(code(wait_for(lambda: ask_again(task), 90, "it is there again")), NOERROR)


if __name__ == "__main__":
    main()
