#!/usr/bin/python3
# tests/e2e/51-bridge.py - links, ranges of ports and names of tasks in mode bridge
# SPDX-License-Identifier: Apache-2.0

import base64
import json
import os
import re
import socket

from berth import Census, Daemon, Registry, Skip, contains, equal, main, page, run, wait_for

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
daemon = Daemon().start()


def cleanup():
    daemon.destroy()
    registry.__exit__()
    census.check()


def sh(name, script, **more):
    return dict(dict(name=name, image=IMAGE, memory=64, stopTimeout=2, entryPoint=["/bin/sh", "-c"],
                     command=[script]), **more)


def web(name="web", **more):
    return dict(dict(name=name, image=IMAGE, memory=32), **more)


def output(arn, container=None):
    status, doc = daemon.call("BerthV1.GetTaskLogs", dict(task=arn, **({"container": container} if container else {})))
    equal(status, 200)
    return b"".join(base64.b64decode(e["data"]) for e in doc["events"]).decode()


def stop(*arns):
    for arn in arns:
        daemon.ecs("StopTask", task=arn)
    for arn in arns:
        daemon.wait_stopped(arn)


def bindings(arn, container=0):
    return daemon.wait_status(arn, "RUNNING")["containers"][container].get("networkBindings", [])


def refusal(containers, **more):
    status, doc = daemon.call("AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition",
                              dict(family="refused", containerDefinitions=containers, **more))
    equal((status, doc.get("__type", "").rpartition("#")[2]), (400, "ClientException"))
    return doc["message"]


# ---- links ----

def test_a_link_leads_to_the_container_by_name_and_by_variables():
    see = ("until wget -qO- http://store/ >/dev/null 2>&1; do sleep 0.1; done; env; cat /etc/hosts; wget -qO- http://store/; wget -qO- http://db/ >/dev/null && echo by-name; "
           "wget -qO- $STORE_PORT_80_TCP_ADDR:$STORE_PORT_80_TCP_PORT >/dev/null && echo by-variable")
    # the one that links comes first in the definition, and waits all the same
    arn = daemon.run_task([
        sh("front", see, links=["db:store"]),
        web("db", essential=False, hostname="depot", environment=[dict(name="MODE", value="fast")],
            portMappings=[dict(containerPort=80), dict(containerPortRange="9000-9004", protocol="udp")])])
    t = daemon.wait_stopped(arn)
    out = output(arn, "front")
    equal([c.get("exitCode") for c in t["containers"] if c["name"] == "front"], [0])
    address = re.search(r"^STORE_PORT_80_TCP_ADDR=([0-9.]+)$", out, re.M).group(1)
    for line in (f"STORE_PORT=tcp://{address}:80", "STORE_NAME=/front/store", "STORE_ENV_MODE=fast",
                 f"STORE_PORT_80_TCP=tcp://{address}:80", "STORE_PORT_80_TCP_PROTO=tcp",
                 f"STORE_PORT_9000_UDP_START=udp://{address}:9000", f"STORE_PORT_9004_UDP_END=udp://{address}:9004",
                 "STORE_PORT_9002_UDP_PORT=9002"):
        assert line in out.split("\n"), line
    assert re.search(rf"^{address}\tstore depot db$", out, re.M), out
    contains(out, "Hello from Berth")
    contains(out, "by-name\nby-variable\n")


def test_links_order_the_start_in_a_chain():
    tell = "while true; do wget -qO- $ECS_CONTAINER_METADATA_URI_V4/task; echo; sleep 0.1; done"
    arn = daemon.run_task([sh("c", tell, links=["b"]), sh("b", "sleep 60", links=["a"]), sh("a", "sleep 60")])

    def started():
        for line in filter(None, output(arn, "c").split("\n")[-2:-1]):
            times = {c["Name"]: c.get("StartedAt") for c in json.loads(line)["Containers"]}
            return [times[n] for n in "abc"] if len(times) == 3 and all(times.values()) else None
    times = wait_for(started, what="three times")
    equal(times, sorted(times))
    stop(arn)


def test_names_of_links_are_the_tasks_own():
    first = daemon.run_task([sh("front", "sleep 60", links=["db"]), web("db")], family="own")
    daemon.wait_status(first, "RUNNING")
    arn = daemon.run_task([sh("lone", "wget -qO- http://db/ || echo unknown; grep -cw db /etc/hosts")])
    daemon.wait_stopped(arn)
    contains(output(arn), "unknown\n0\n")
    stop(first)


def test_links_are_refused_where_ecs_refuses_them():
    pair = [sh("front", "true", links=["db"]), web("db")]
    for mode in ("awsvpc", "host", "none"):
        equal(refusal(pair, networkMode=mode), f"Links are not supported when networkMode={mode}.")
    contains(refusal([sh("front", "true", links=["nobody"])]), "'nobody'")
    equal(refusal([sh("a", "true", links=["b"]), sh("b", "true", links=["a"])]),
          "Container links should not have a cycle")


def test_links_hold_over_a_restart_of_the_daemon():
    arn = daemon.run_task([sh("front", "while ! [ -e /stop ]; do wget -qO- http://db/ >/dev/null && echo seen; "
                              "sleep 0.2; done", links=["db"]), web("db")])
    daemon.wait_status(arn, "RUNNING")
    wait_for(lambda: "seen" in output(arn, "front"))
    daemon.kill()
    daemon.start()
    before = output(arn, "front").count("seen")
    wait_for(lambda: output(arn, "front").count("seen") > before + 2)
    equal(daemon.wait_status(arn, "RUNNING")["lastStatus"], "RUNNING")
    stop(arn)


# ---- ranges ----

def test_a_range_of_ports_is_one_binding():
    echo = "for p in 8000 8050 8100; do (while :; do echo port-$p | nc -l -p $p; done) & done; sleep 600"
    one, two = [daemon.run_task([sh("c", echo, portMappings=[
        dict(containerPortRange="8000-8100"), dict(containerPortRange="7000-7009", protocol="udp"),
        dict(containerPort=80)])]) for _ in range(2)]
    seen = []
    for arn in (one, two):
        tcp, udp, single = bindings(arn)
        equal({k: v for k, v in tcp.items() if k != "hostPortRange"},
              dict(bindIP="0.0.0.0", protocol="tcp", containerPortRange="8000-8100"))
        equal({k: v for k, v in udp.items() if k != "hostPortRange"},
              dict(bindIP="0.0.0.0", protocol="udp", containerPortRange="7000-7009"))
        equal(sorted(single), ["bindIP", "containerPort", "hostPort", "protocol"])
        first, last = map(int, tcp["hostPortRange"].split("-"))
        equal(last - first, 100)
        seen.append(range(first, last + 1))
        for n in (0, 50, 100):
            def answer():
                try:
                    with socket.create_connection(("127.0.0.1", first + n), 5) as s:
                        return s.recv(100).decode()
                except ConnectionError:  # who runs does not listen yet
                    return None
            wait_for(lambda: answer() == f"port-{8000 + n}\n", 20)
        for n in (1, 77):  # really held: nobody else gets it
            with socket.socket() as s:
                try:
                    s.bind(("", first + n))
                except OSError:
                    continue
            raise AssertionError(f"port {first + n} is free")
    assert not set(seen[0]) & set(seen[1]), seen
    stop(one, two)
    with socket.socket() as s:
        s.bind(("", seen[0][50]))


def test_what_a_range_needs_is_an_attribute():
    td = daemon.ecs("RegisterTaskDefinition", family="attribute", containerDefinitions=[
        sh("c", "true", portMappings=[dict(containerPortRange="8000-8100")])])["taskDefinition"]
    equal(td["requiresAttributes"], [dict(name="ecs.capability.network.container-port-range")])
    equal(td["containerDefinitions"][0]["portMappings"], [dict(containerPortRange="8000-8100", protocol="tcp")])
    contains(refusal([sh("c", "true", portMappings=[dict(containerPortRange="8000-8100", containerPort=8000)])]),
             "'containerPort' and 'containerPortRange' exclude each other.")
    many = [dict(containerPortRange=f"{i}-{i + 1}") for i in range(1000, 1202, 2)]
    contains(refusal([sh("c", "true", portMappings=many)]), "More than 100 port mappings")


def test_a_hundred_ranges_of_a_container():
    arn = daemon.run_task([sh("c", "sleep 60", portMappings=[
        dict(containerPortRange=f"{i}-{i + 9}") for i in range(10000, 11000, 10)])])
    got = bindings(arn)
    equal(len(got), 100)
    hosts = [range(int(a), int(b) + 1) for a, b in (x["hostPortRange"].split("-") for x in got)]
    equal(len(set().union(*hosts)), 1000)
    stop(arn)


# ---- copies, and who has a port ----

def test_copies_of_one_application_never_clash():
    arns = [daemon.run_task([web(portMappings=[dict(containerPort=80)])], family="copies") for _ in range(5)]
    ports = [bindings(a)[0]["hostPort"] for a in arns]
    equal(len(set(ports)), 5)
    for p in ports:
        contains(page(p), "Hello from Berth")
    stop(*arns)


def free_port():
    """Of none that the kernel gives out by itself."""
    for port in range(21000 + os.getpid() % 5000, 32000):
        with socket.socket() as s:
            try:
                s.bind(("", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port")


def test_a_second_copy_with_a_static_port_is_not_placed():
    port = free_port()
    arn = daemon.run_task([web(portMappings=[dict(containerPort=80, hostPort=port)])], family="static")
    daemon.wait_status(arn, "RUNNING")
    contains(page(port), "Hello from Berth")
    failures = daemon.ecs("RunTask", taskDefinition="static")["failures"]
    equal([f["reason"] for f in failures], ["RESOURCE:PORTS"])
    td = [web(portMappings=[dict(containerPort=80, hostPort=port, protocol="udp")])]
    udp = daemon.run_task(td, family="static-udp")  # of the other protocol it is another port
    daemon.wait_status(udp, "RUNNING")
    failures = daemon.ecs("RunTask", taskDefinition="static-udp")["failures"]
    equal([f["reason"] for f in failures], ["RESOURCE:PORTS_UDP"])
    stop(arn, udp)
    arn = daemon.run_task([web(portMappings=[dict(containerPort=80, hostPort=port)])], family="static")
    daemon.wait_status(arn, "RUNNING")
    stop(arn)


def test_a_port_that_somebody_else_has_is_told_as_docker_tells_it():
    with socket.socket() as s:
        port = free_port()
        s.bind(("", port))
        s.listen(1)
        arn = daemon.run_task([web(portMappings=[dict(containerPort=80, hostPort=port)])])
        t = daemon.wait_stopped(arn)
    equal(t["stopCode"], "TaskFailedToStart")
    reason = t["containers"][0]["reason"]
    assert reason.startswith("CannotStartContainerError: "), reason
    contains(reason, f"listen tcp 0.0.0.0:{port}: bind: address already in use")


# ---- IPv6 ----

def test_ports_are_reached_over_ipv6_where_the_host_has_it():
    found = re.findall(r"inet6 ([0-9a-f:]+)/", run("ip", "-6", "-o", "addr", "show", "scope", "global").stdout)
    if not found:
        raise Skip("the host has no address of IPv6")
    arn = daemon.run_task([sh("c", "ip -6 addr show dev eth0; busybox nc -ll -p 80 -e echo six",
                              portMappings=[dict(containerPort=80)])])
    binding, = bindings(arn)
    equal(binding["bindIP"], "0.0.0.0")

    def answer():
        try:
            with socket.create_connection((found[0], binding["hostPort"]), 5) as s:
                return s.recv(64)
        except ConnectionError:  # who runs does not listen yet
            return None
    wait_for(lambda: answer() == b"six\n", 20)
    contains(output(arn), "inet6 fd62:7274:43")
    stop(arn)


# ---- who changes our firewall ----

def test_a_table_that_somebody_deletes_is_back_at_once():
    arn = daemon.run_task([web(portMappings=[dict(containerPort=80)])])
    port = bindings(arn)[0]["hostPort"]
    contains(page(port), "Hello from Berth")
    run("nft", "delete", "table", "inet", daemon.name)
    # the sweep comes only every 30 s
    wait_for(lambda: daemon.name in run("nft", "list", "tables").stdout, 10, "the table")
    contains(page(port), "Hello from Berth")
    contains(daemon.logged(), "somebody else changed our firewall table")
    stop(arn)


# ---- names ----

def test_names_and_resolvers_are_those_of_the_definition():
    arn = daemon.run_task([sh("c", "hostname; cat /etc/hosts; cat /etc/resolv.conf; wget -qO- http://me:1/ 2>&1; true",
                              hostname="shop", dnsServers=["192.0.2.53", "2001:db8::53"],
                              dnsSearchDomains=["example.org", "example.com"],
                              extraHosts=[dict(hostname="me", ipAddress="127.0.0.1"),
                                          dict(hostname="six", ipAddress="2001:db8::1")])])
    t = daemon.wait_stopped(arn)
    out = output(arn)
    contains(out, "(127.0.0.1): Connection refused")
    assert out.startswith("shop\n"), out
    for line in ("127.0.0.1\tme", "2001:db8::1\tsix", "nameserver 192.0.2.53", "nameserver 2001:db8::53",
                 "search example.org example.com"):
        assert line in out.split("\n"), (line, out)
    assert re.search(r"^[0-9.]+\tshop$", out, re.M), out


if __name__ == "__main__":
    main()
