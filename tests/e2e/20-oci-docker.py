#!/usr/bin/env python3
# tests/e2e/20-oci-docker.py - Docker's daemon with berth-oci as one of its runtimes
# SPDX-License-Identifier: Apache-2.0
#
# The package is unpacked below build/ and not installed: no service of the host
# is started. The daemon has mount and network namespaces of its own, with its
# bridge in there, and leaves nftables and iptables alone.

import json
import os
import subprocess
import sys
import tempfile

import packages
from oci import *


def programs():
    """Where dockerd and docker are."""
    try:
        return packages.path_with("docker.io", "dockerd", "docker")
    except packages.Missing as e:
        raise Skip(str(e)) from e


class Docker:
    def __init__(self, h):
        self.h, path = h, programs()
        for tool in ("containerd", "runc"):
            if not shutil.which(tool):
                raise Skip(f"{tool} is not installed")
        self.dir = tempfile.mkdtemp(prefix="berth-dk-")  # not below h.dir: it stays from one case to the next
        self.env = dict(os.environ, PATH=path, DOCKER_HOST=f"unix://{self.dir}/sock", HOME=self.dir)
        self.log = open(self.dir + "/log", "w")
        self.parent = h.cgroup + "-docker"
        self.daemon = subprocess.Popen(
            ["unshare", "-m", "-n", "--propagation", "private", "dockerd", "--iptables=false", "--ip6tables=false",
             "--data-root", self.dir + "/data", "--exec-root", self.dir + "/exec", "--pidfile", self.dir + "/pid",
             "--host", f"unix://{self.dir}/sock", "--storage-driver", "vfs", "--add-runtime", "berth=" + OCI,
             "--default-runtime", "berth", "--cgroup-parent", self.parent, "--bip", "192.0.2.1/24"],
            env=self.env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        until(lambda: self.daemon.poll() is not None or self("version", check=False).returncode == 0,
              "dockerd answers", 60)
        if self.daemon.poll() is not None:
            raise Skip(f"dockerd does not run here: {open(self.dir + '/log').read().strip()[-300:]}")
        tar = subprocess.run(["tar", "-C", h.rootfs, "-c", "."], check=True, stdout=subprocess.PIPE)
        subprocess.run(["docker", "import", "-", "berth-test"], input=tar.stdout, env=self.env, check=True,
                       stdout=subprocess.DEVNULL)

    def __call__(self, *words, check=True):
        p = subprocess.run(["docker", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, timeout=120, env=self.env)
        if check and p.returncode != 0:
            raise AssertionError(f"docker {' '.join(words)}: exit {p.returncode}: {p.stderr}")
        return p

    def run(self, *words, check=True):
        """docker run --rm with options up to '--', then the command."""
        at = words.index("--")
        return self("run", "--rm", *words[:at], "berth-test", *words[at + 1:], check=check)

    def report(self, *options):
        return json.loads(self.run(*options, "--", "/bin/probe", "report").stdout)

    def inspect(self, name, field):
        return self("inspect", "-f", "{{." + field + "}}", name).stdout.strip()

    def close(self):
        ids = self("ps", "-aq").stdout.split()
        if ids:
            self("rm", "-f", *ids)
        self.daemon.terminate()
        self.daemon.wait(60)
        self.log.close()
        for root in set(cgroup_roots().values()):
            for path, _, _ in os.walk(root + self.parent, topdown=False):
                until(lambda: not os.path.exists(path) or os.rmdir(path) is None, "its own cgroup gone")
        shutil.rmtree(self.dir)


docker = None


def needs_docker(case):
    def wrapped(h):
        if docker is None:
            raise Skip("no Docker here")
        case(h)
    wrapped.__doc__, wrapped.__name__ = case.__doc__, case.__name__
    return wrapped


def prepare(h):
    """dockerd takes the runtime as its default one"""
    global docker
    docker = Docker(h)
    equal(docker("info", "-f", "{{.DefaultRuntime}}").stdout.strip(), "berth")


@needs_docker
def running(h):
    """run: output, exit codes, and errors that Docker understands"""
    equal(docker.run("--", "/bin/echo", "hello").stdout, "hello\n")
    for words, code in ((["/bin/probe", "exit", "7"], 7), (["nosuch"], 127), (["/etc/passwd"], 126)):
        equal(docker.run("--", *words, check=False).returncode, code, words)


@needs_docker
def restrictions(h):
    """run: filter, capabilities, users, limits, read-only roots, volumes, tmpfs, hosts' namespaces"""
    r = docker.report("--memory", "64m", "--cpus", "0.5", "--pids-limit", "44", "--user", "1000:100", "--read-only",
                      "--tmpfs", "/run", "-v", f"{h.rootfs}:/data:ro", "--hostname", "name", "--env", "A=b",
                      "--workdir", "/tmp", "--ulimit", "core=0:0", "--sysctl", "net.ipv4.ip_default_ttl=33")
    s, m = status_of(r), mounts_of(r)
    equal((s["Seccomp"], s["CapInh"], s["CapEff"]), ("2", "0" * 16, "0" * 16))
    equal((r["uid"][0], r["gid"][0], r["cwd"], r["hostname"]), (1000, 100, "/tmp", "name"))
    expect("A=b" in r["env"] and "ro" in m["/"][0] and "ro" in m["/data"][0] and m["/run"][1] == "tmpfs", m)
    s = status_of(docker.report("--cap-drop", "all", "--cap-add", "chown", "--security-opt", "no-new-privileges",
                                "--security-opt", "seccomp=unconfined"))
    equal((s["CapEff"], s["NoNewPrivs"], s["Seccomp"]), ("0000000000000001", "1", "0"))
    equal(docker.report("--pid", "host")["namespaces"]["pid"], os.readlink("/proc/self/ns/pid"))
    equal(docker.run("--memory", "16m", "--", "/bin/probe", "eat", str(64 << 20), check=False).returncode, 137)


@needs_docker
def network(h):
    """A container on Docker's bridge has an address: its prestart hook finds the network namespace"""
    expect("192.0.2." in docker.run("--", "/bin/ip", "addr", "show", "dev", "eth0").stdout)


@needs_docker
def life(h):
    """create, start, exec, top, stats, pause, update, stop, restart, kill, logs, healthcheck, rm"""
    docker("run", "-d", "--name", "cc", "--health-cmd", "test -e /tmp/well", "--health-interval", "1s", "berth-test",
           "/bin/sh", "-c", "echo said; exec probe signal")
    equal(docker("exec", "cc", "/bin/echo", "in").stdout, "in\n")
    equal(docker("exec", "-e", "X=y", "-w", "/tmp", "-u", "1000", "cc", "/bin/sh", "-c", "echo $X $PWD; id -u").stdout,
          "y /tmp\n1000\n")
    equal(docker("exec", "cc", "/bin/probe", "exit", "3", check=False).returncode, 3)
    equal(docker("exec", "cc", "nosuch", check=False).returncode, 126)
    docker("exec", "cc", "/bin/touch", "/tmp/well")
    until(lambda: docker.inspect("cc", "State.Health.Status") == "healthy", "healthy", 60)
    expect("probe" in docker("top", "cc").stdout)
    docker("stats", "--no-stream", "cc")
    docker("pause", "cc")
    equal(docker.inspect("cc", "State.Status"), "paused")
    docker("unpause", "cc")
    docker("update", "--cpus", "0.25", "cc")
    docker("stop", "cc")
    equal(docker.inspect("cc", "State.ExitCode"), "55")  # 40 + SIGTERM
    docker("start", "cc")
    docker("kill", "-s", "USR1", "cc")
    docker("wait", "cc")
    equal(docker.inspect("cc", "State.ExitCode"), "50")
    equal(docker("logs", "cc").stdout.count("said"), 2)
    docker("restart", "-t", "0", "cc")
    equal(docker.inspect("cc", "State.Status"), "running")
    docker("rm", "-f", "cc")


@needs_docker
def terminals(h):
    """run -t has a terminal"""
    expect("/dev/pts/0" in docker.run("-t", "--", "/bin/tty").stdout)


@needs_docker
def finish(h):
    """Nothing is left when dockerd ends"""
    docker.close()


sys.exit(main([prepare, running, restrictions, network, life, terminals, finish]))
