#!/usr/bin/python3
# tests/e2e/55-userns.py - users of containers are not the host's: ids, files, volumes, and what excludes it
# SPDX-License-Identifier: Apache-2.0

import hashlib
import json
import os
import re

from berth import BUILD, Census, Daemon, Registry, contains, equal, main, run, wait_for
from imagelab import Image, scratch, tar

FIRST, COUNT, LAST = 524288, 65536, 1879048191
NO_MAP = ["0", "0", "4294967295"]

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
daemon = Daemon().start()
TOOLS = dict(name="tools", host=dict(sourcePath=os.path.join(BUILD, "tests/e2e/root")))
AT_TOOLS = dict(sourceVolume="tools", containerPath="/tools", readOnly=True)


def cleanup():
    daemon.destroy()
    registry.__exit__()
    census.check()


def sh(script, name="c", **more):
    return dict(dict(name=name, image=IMAGE, memory=64, entryPoint=["/bin/sh", "-c"], command=[script]), **more)


def shown(task):
    """What DescribeTasks says of the ids."""
    return next(a["value"] for a in task["attributes"] if a["name"] == "berth.user-namespace")


def run_sh(script, definition=None, d=None, **more):
    """A script to its end: its output, and what is told of the ids."""
    d = d or daemon
    arn = d.run_task([sh("exec 2>&1; " + script, **more)], **(definition or {}))
    t = d.wait_stopped(arn)
    out = d.berth("logs", arn).stdout
    if t["containers"][0].get("exitCode") != 0:
        raise AssertionError(f"{t['containers'][0]}: {out}")
    return out, shown(t)


def long_task(*containers, d=None, **more):
    d = d or daemon
    arn = d.run_task(list(containers) or [sh("sleep 600")], **more)
    return arn, d.wait_status(arn, "RUNNING")


def end(arn, d=None):
    d = d or daemon
    d.ecs("StopTask", task=arn)
    return d.wait_stopped(arn)


def oci(task, *argv, d=None, index=0, check=True):
    d = d or daemon
    name = next(c["runtimeId"] for c in task["containers"] if c["runtimeId"].endswith(f"-{index}"))
    return run(os.path.join(BUILD, "berth-oci"), "--root", os.path.join(d.root, "run/berth/oci"), argv[0],
               *[name if a == "ID" else a for a in argv[1:]], check=check)


def pid_of(task, d=None, index=0):
    return json.loads(oci(task, "state", "ID", d=d, index=index).stdout)["pid"]


def uid_of(pid):
    return int(re.search(r"^Uid:\t(\d+)", open(f"/proc/{pid}/status").read(), re.M)[1])


def pushed(name, *entries, **config):
    """An image of the demo's tree with one more layer."""
    layout = scratch("u")
    run("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", f"docker://{IMAGE}", f"oci:{layout}:x")
    blobs = os.path.join(layout, "blobs/sha256")
    manifest = json.load(open(os.path.join(layout, "index.json")))["manifests"][0]
    old = json.load(open(os.path.join(blobs, manifest["digest"][7:])))
    old_config = json.load(open(os.path.join(blobs, old["config"]["digest"][7:])))
    image = Image(tar(*entries), config=dict(old_config["config"], **config))
    image.config["rootfs"]["diff_ids"][:0] = old_config["rootfs"]["diff_ids"]
    image.set_config(image.config)
    image.manifest["layers"][:0] = old["layers"]
    for data in (image.manifest_bytes(), image.config_bytes, image.layers[0]):
        with open(os.path.join(blobs, hashlib.sha256(data).hexdigest()), "wb") as f:
            f.write(data)
    with open(os.path.join(layout, "index.json"), "w") as f:
        f.write(json.dumps(dict(schemaVersion=2, manifests=[dict(
            image.descriptor(), annotations={"org.opencontainers.image.ref.name": "x"})])))
    reference = registry.push(layout + ":x", name)
    run("rm", "-r", layout)
    return reference


# ---- ids ----

def test_each_task_has_ids_of_its_own_and_its_containers_share_them():
    one, first = long_task(sh("sleep 600", "a"), sh("sleep 600", "b", user="80:80"))
    two, second = long_task()
    firsts = [int(shown(first)), int(shown(second))]
    equal(len(set(firsts)), 2)
    for value in firsts:
        equal((value % COUNT, FIRST <= value <= LAST - COUNT + 1), (0, True))
    equal([uid_of(pid_of(first, index=i)) for i in (0, 1)], [firsts[0], firsts[0] + 80])
    equal(uid_of(pid_of(second)), firsts[1])
    equal(open(f"/proc/{pid_of(first)}/uid_map").read().split(), ["0", str(firsts[0]), str(COUNT)])
    equal(open(f"/proc/{pid_of(first)}/gid_map").read().split(), ["0", str(firsts[0]), str(COUNT)])
    contains(daemon.berth("inspect", one).stdout, f'"{firsts[0]}"')
    contains(daemon.logged(), f"user namespace, ids from {firsts[0]} on")
    for arn in (one, two):
        end(arn)
    _, third = long_task()
    equal(int(shown(third)) in firsts, False)  # ranges go round
    end(third["taskArn"])


def test_a_lease_lives_over_a_restart_of_the_agent():
    with Daemon() as d:
        arn, before = long_task(d=d)
        pid = pid_of(before, d=d)
        d.kill()
        d.start()
        after = d.wait_status(arn, "RUNNING")
        equal((shown(after), uid_of(pid)), (shown(before), int(shown(before))))
        other, task = long_task(d=d)
        equal(int(shown(task)), int(shown(before)) + COUNT)
        for a in (arn, other):
            end(a, d=d)
        d.kill()
        d.start()  # nothing lives: the last one that was leased is known all the same
        arn, task = long_task(d=d)
        equal(int(shown(task)), int(shown(before)) + 2 * COUNT)
        end(arn, d=d)


def test_users_by_name_and_number():
    equal(run_sh("id -u; id -g; cat /proc/self/uid_map | head -1", user="www")[0].split()[:2], ["80", "80"])
    equal(run_sh("id -u; id -g", user="65535:65535")[0].split(), ["65535"] * 2)


def test_a_process_that_is_executed_later_has_the_same_ids():
    arn, task = long_task(sh("sleep 600", user="80", ulimits=[dict(name="nofile", softLimit=512, hardLimit=1024)]))
    out = oci(task, "exec", "ID", "/bin/sh", "-c", "id -u; cat /proc/self/uid_map; ulimit -n; hostname").stdout.split()
    equal(out[:5], ["80", "0", shown(task), str(COUNT), "512"])
    equal(oci(task, "exec", "--user", "0", "ID", "id", "-u").stdout, "0\n")
    pid_file = os.path.join(daemon.dir, "pid")
    oci(task, "exec", "--user", "0", "--detach", "--pid-file", pid_file, "ID", "sh", "-c", "exec sleep 599 >/dev/null 2>&1")
    equal(uid_of(open(pid_file).read()), int(shown(task)))
    end(arn)


# ---- files ----

def test_files_belong_to_whom_the_image_says():
    image = pushed("owners", ("usr/tool", dict(data=b"x", mode=0o4755, uid=0, gid=0)),
                   ("usr/www", dict(data=b"y", mode=0o640, uid=80, gid=81)),
                   ("usr/last", dict(data=b"z", uid=65535, gid=7)))
    out, value = run_sh("cd /usr; stat -c '%n %a %u %g' tool www last; chown 33:44 www; stat -c '%u %g' www;"
                        "chmod 2711 tool; stat -c '%a %u' tool; ls", image=image)
    equal(out.split("\n")[:-1], ["tool 4755 0 0", "www 640 80 81", "last 644 65535 7", "33 44", "2711 0",
                                 "last", "tool", "www"])
    assert value.isdigit()


def run_inside(pid, user, path):
    """What a program prints that is executed in the container without no_new_privs."""
    import ctypes
    pidfd, (r, w) = os.pidfd_open(pid), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            flags = 0x10000000 | 0x00020000  # CLONE_NEWUSER, CLONE_NEWNS
            if ctypes.CDLL(None, use_errno=True).setns(pidfd, flags):
                raise OSError(ctypes.get_errno(), "setns")
            os.dup2(w, 1)
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            os.execv(path, [path])
        finally:
            os._exit(1)
    os.close(w)
    os.close(pidfd)
    with os.fdopen(r) as f:
        out = f.read()
    equal(os.waitpid(child, 0)[1], 0)
    return out


def test_a_setuid_program_of_the_image_is_roots_of_the_container():
    with open(os.path.join(BUILD, "tests/e2e/root/ids"), "rb") as f:
        program = f.read()
    image = pushed("setuid", ("usr/ids", dict(data=program, mode=0o4755)),
                   ("usr/foreign", dict(data=program, mode=0o4755, uid=80)))
    arn, task = long_task(sh("cp /usr/ids /own; chmod 4755 /own; chown 80 /own; chmod 4755 /own; touch /ready; sleep 600",
                             image=image))
    pid = pid_of(task)
    wait_for(lambda: os.path.exists(f"/proc/{pid}/root/ready"), 30, "its files")
    equal([run_inside(pid, 1000, p) for p in ("/usr/ids", "/usr/foreign", "/own")],
          ["1000 0\n", "1000 80\n", "1000 80\n"])
    equal(oci(task, "exec", "--user", "1000", "ID", "/usr/ids").stdout, "1000 1000\n")  # no_new_privs
    end(arn)


def test_what_is_made_belongs_to_root_of_the_container():
    script = ("for f in / /bin /etc/hosts /etc/hostname /etc/resolv.conf /dev /dev/null /dev/tty /dev/shm /dev/pts "
              "/dev/mqueue /new /new/deep /t /u; do stat -c '%n %u:%g' $f; done")
    out, _ = run_sh(script, workingDirectory="/new/deep", linuxParameters=dict(tmpfs=[
        dict(containerPath="/t", size=1), dict(containerPath="/u", size=1, mountOptions=["uid=5", "gid=6"])]))
    equal([l for l in out.split("\n") if l and not l.endswith(" 0:0")], ["/u 5:6"])


def test_what_is_written_is_nobodys_of_the_host():
    arn, task = long_task(sh("cp /bin/busybox /tool; chmod 4755 /tool; touch /x; chown 5:6 /x; touch /ready; sleep 600"))
    root = f"/proc/{pid_of(task)}/root"
    wait_for(lambda: os.path.exists(root + "/ready"), 30, "its files")
    upper = os.path.join(daemon.root, "var/lib/berth/tasks", arn.split("/")[-1], "0/root/upper")
    first = int(shown(task))
    for name, uid, gid in (("tool", 0, 0), ("x", 5, 6)):
        st = os.stat(os.path.join(upper, name))
        equal((st.st_uid, st.st_gid), (first + uid, first + gid))
    equal(os.stat(os.path.join(upper, "tool")).st_mode & 0o7777, 0o4755)
    end(arn)


def test_output_can_be_opened_by_its_name():
    for user in ("0", "80"):
        contains(run_sh("echo out > /dev/stdout; echo err > /proc/self/fd/2", user=user)[0], "out\n")


# ---- volumes ----

def test_a_volume_shows_the_hosts_ids_and_takes_them():
    source = os.path.join(daemon.dir, "volume")
    os.makedirs(source)
    for name, uid in (("root", 0), ("user", 1000), ("high", 100000)):
        with open(os.path.join(source, name), "w") as f:
            f.write(name)
        os.chown(os.path.join(source, name), uid, uid + 1)
    out, value = run_sh("cd /v; stat -c '%n %u:%g' *; touch new; touch given; chown 7:8 given; mkdir -m 777 d; ls /ro;"
                        "touch /ro/x || true", mountPoints=[
                            dict(sourceVolume="v", containerPath="/v"),
                            dict(sourceVolume="v", containerPath="/ro", readOnly=True)],
                        definition=dict(volumes=[dict(name="v", host=dict(sourcePath=source))], family="v"))
    equal(out.split("\n")[:3], ["high 65534:65534", "root 0:1", "user 1000:1001"])
    contains(out, "Read-only file system")
    assert value.isdigit()
    owners = {n: (os.stat(os.path.join(source, n)).st_uid, os.stat(os.path.join(source, n)).st_gid)
              for n in ("new", "given", "d")}
    equal(owners, {"new": (0, 0), "given": (7, 8), "d": (0, 0)})


def test_a_volume_of_the_task_is_the_same_to_containers_with_and_without():
    volumes = [dict(name="s")]
    points = [dict(sourceVolume="s", containerPath="/s")]
    arn, task = long_task(
        sh("touch /s/a; chown 5:5 /s/a; touch /s/ready; sleep 600", "a", mountPoints=points),
        sh("while [ ! -e /s/ready ]; do sleep 0.1; done; stat -c %u:%g /s/a /s/ready; touch /s/seen; sleep 600", "b",
           mountPoints=points, privileged=True), volumes=volumes)
    first = shown(task).split(";")[0]
    equal(shown(task), f"{first}; off for b: privileged")
    wait_for(lambda: "0:0" in daemon.berth("logs", arn).stdout, 30, "its words")
    contains(daemon.berth("logs", arn).stdout, "5:5")
    equal([uid_of(pid_of(task, index=i)) for i in (0, 1)], [int(first), 0])
    end(arn)


def test_a_volume_whose_file_system_cannot_says_which():
    source = os.path.join(daemon.dir, "on-overlay")
    parts = [os.path.join(daemon.dir, n) for n in ("lower", "upper", "work")]
    for d in [os.path.join(source, "deep")] + parts:
        os.makedirs(d)
    place = os.path.join(source, "deep")
    run("mount", "-t", "overlay", "-o", "lowerdir={},upperdir={},workdir={}".format(*parts), "x", place)
    try:
        for path in (source, place):  # below the volume, and as the volume
            out, value = run_sh("cat /proc/self/uid_map; touch /v/x", definition=dict(
                volumes=[dict(name="data", host=dict(sourcePath=path))], family="o"),
                mountPoints=[dict(sourceVolume="data", containerPath="/v")])
            equal(out.split()[:3], NO_MAP)
            equal(value, f"off: volume data: ids of overlay at {place} cannot be mapped: Invalid argument")
    finally:
        run("umount", place)


# ---- network, limits ----

def test_low_ports_ping_and_parameters_need_no_capability():
    for more in (dict(user="80"), dict(linuxParameters=dict(capabilities=dict(drop=["ALL"])))):
        out, value = run_sh("httpd -p 80 -h /www && wget -q -O - http://127.0.0.1:80/; /tools/ping;"
                            "cat /proc/sys/net/core/somaxconn", mountPoints=[AT_TOOLS],
                            definition=dict(volumes=[TOOLS], family="p"),
                            systemControls=[dict(namespace="net.core.somaxconn", value="77")], **more)
        contains(out, "Hello from Berth")
        contains(out, "answered\n77\n")
        assert value.isdigit()


def pings(pid):
    """How many have come."""
    names, values = [l.split() for l in open(f"/proc/{pid}/net/snmp") if l.startswith("Icmp:")]
    return int(values[names.index("InEchos")])


def test_rights_over_its_network_are_rights_over_nothing_else():
    rights = dict(linuxParameters=dict(capabilities=dict(add=["NET_ADMIN", "NET_RAW"])))
    to, other = long_task(), long_task()
    arn, task = long_task(sh("sleep 600", systemControls=[dict(namespace="net.ipv4.ip_default_ttl", value="42")], **rights))
    assert shown(task).isdigit()
    equal(uid_of(pid_of(task)), int(shown(task)))
    go = lambda script, t=task: oci(t, "exec", "ID", "/bin/sh", "-ec", script).stdout
    theirs, others = (re.search(r"inet ([0-9.]+)", go("ip -4 addr show dev eth0", t[1]))[1] for t in (to, other))
    ping = f"ping -c 1 -W 1 {theirs}"
    equal(go("cat /proc/sys/net/ipv4/ip_default_ttl"), "42\n")
    contains(go("ip link set lo mtu 1000; ip addr add 192.0.2.1/32 dev lo; ip addr show dev lo"), "192.0.2.1/32")
    contains(oci(to[1], "exec", "ID", "/bin/busybox", "ip", "link", "set", "lo", "mtu", "1000", check=False).stderr,
             "not permitted")
    contains(go(ping), "1 packets received")
    contains(go(f"ip addr add {others}/32 dev eth0; {ping} -I {others} || true"), "0 packets received")
    contains(go(f"ip addr del {others}/32 dev eth0; {ping}"), "1 packets received")
    equal(pings(pid_of(to[1])), 2)
    for a in (arn, to[0], other[0]):
        end(a)


def test_limits_are_as_without():
    script = "ulimit -n; ulimit -Hn; ulimit -Hc; cat /proc/self/oom_score_adj; grep -E 'Cap|NoNew|Seccomp:' /proc/self/status"
    with Daemon(config="[node]\nuser-namespaces = no\n") as d:
        for ulimits in ([], [dict(name="nofile", softLimit=100, hardLimit=200), dict(name="core", softLimit=0, hardLimit=0)]):
            equal(run_sh(script, ulimits=ulimits)[0], run_sh(script, ulimits=ulimits, d=d)[0])


# ---- what excludes it ----

def test_what_excludes_it_is_told():
    caps = lambda *names: dict(linuxParameters=dict(capabilities=dict(add=list(names))))
    named = pushed("high", ("etc/passwd", dict(data=b"root:x:0:0::/:/bin/sh\nhigh:x:70000:5::/:/bin/sh\n")))
    cases = [
        (dict(privileged=True), {}, "off: privileged"),
        ({}, dict(networkMode="host"), "off: networkMode host"),
        (caps("SYS_ADMIN"), {}, "off: capability SYS_ADMIN"),
        (caps("NET_ADMIN", "SYS_NICE"), {}, "off: capability SYS_NICE"),
        (caps("ALL"), {}, "off: capability ALL"),
        (dict(user="70000"), {}, "off: user 70000:0 is over 65535"),
        (dict(user="0:65536"), {}, "off: user 0:65536 is over 65535"),
        (dict(user="high", image=named), {}, "off: user 70000:5 is over 65535"),
        (dict(image=pushed("theirs", ("x", dict(uid=65536)))), {}, "off: files of the image belong to ids up to 65536, over 65535"),
        (dict(image=pushed("groups", ("y", dict(gid=70000)), ("z", {}))), {},
         "off: files of the image belong to ids up to 70000, over 65535"),
    ]
    for n, (more, definition, expected) in enumerate(cases):
        out, value = run_sh("cat /proc/self/uid_map; touch /tmp/x", definition=dict(definition, family=f"x{n}"), **more)
        equal((value, out.split()), (expected, NO_MAP))
        contains(daemon.logged(), f"no user namespace: {expected[5:]}")
    assert run_sh("true", **caps("SYS_PTRACE", "DAC_READ_SEARCH"))[1].isdigit()
    out, value = run_sh("cat /proc/sys/net/core/somaxconn", **caps("NET_RAW"),
                        systemControls=[dict(namespace="net.core.somaxconn", value="77")])
    equal((out, value), ("77\n", "off: capability NET_RAW beside systemControls net.core.somaxconn"))


def test_it_can_be_switched_off():
    with Daemon(config="[node]\nuser-namespaces = no\n") as d:
        out, value = run_sh("cat /proc/self/uid_map", d=d)
        equal((out.split(), value), (NO_MAP, "off: switched off in berth.conf"))
    bad = Daemon(config="[node]\nuser-namespaces = maybe\n")
    try:
        bad.start()
        raise AssertionError("it started")
    except AssertionError as e:
        contains(str(e), "[node] user-namespaces 'maybe' is neither yes nor no")
    run("rm", "-r", bad.dir)


if __name__ == "__main__":
    main()
