#!/usr/bin/python3
# tests/e2e/94-install.py - what `make install` puts where, and `make uninstall` takes away
# SPDX-License-Identifier: Apache-2.0

import os
import re
import shutil
import stat
import tempfile

from berth import BUILD, TOP, Census, Daemon, equal, main, run

census = Census()
work = tempfile.mkdtemp(prefix="i", dir=os.path.join(TOP, "build"))

INSTALLED = {
    "usr/bin/berth": 0o755, "usr/bin/berth-oci": 0o755, "usr/sbin/berthd": 0o755,
    "usr/libexec/berth/berth-keeper": 0o755, "usr/libexec/berth/berth-worker": 0o755,
    "usr/libexec/berth/berth-fetcher": 0o755, "usr/libexec/berth/berth-reader": 0o755,
    "usr/libexec/berth/berth-uplink": 0o755, "usr/libexec/berth/berth-metadata": 0o755,
    "usr/libexec/berth/berth-resolver": 0o755,
    "lib/systemd/system/berthd.service": 0o644, "lib/systemd/system/berth-node.service": 0o644, "lib/systemd/system/berth-tasks.service": 0o644,
    "lib/systemd/system/berth.slice": 0o644, "usr/lib/sysusers.d/berth.conf": 0o644,
    "usr/share/doc/berth/berth.conf": 0o644, "usr/share/doc/berth/README.md": 0o644,
    "usr/share/doc/berth/LICENSE": 0o644,
}


def cleanup():
    shutil.rmtree(work)
    census.check()


def make(target, destination, *variables):
    san = ["SAN=1"] if os.path.basename(BUILD) == "san" else []
    return run("make", "-C", TOP, target, f"DESTDIR={destination}", *variables, *san, timeout=600).stdout


def files(top):
    return {os.path.relpath(os.path.join(d, f), top): stat.S_IMODE(os.lstat(os.path.join(d, f)).st_mode)
            for d, _, names in os.walk(top) for f in names}


def text(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return f.read()


def test_only_who_speaks_to_the_world_has_the_library_for_it():
    """libcurl comes with thirty libraries more, LDAP and Kerberos among them."""
    with_curl = {name for name in ("berth", "berthd", "berth-keeper", "berth-oci", "berth-uplink", "berth-worker", "berth-fetcher",
                                  "berth-reader", "berth-metadata", "berth-resolver")
                 if "libcurl" in run("ldd", os.path.join(BUILD, name), check=False).stdout}
    equal(with_curl, {"berth", "berth-uplink", "berth-fetcher"})


def test_all_is_installed_and_all_is_taken_away():
    destination = os.path.join(work, "a")
    make("install", destination)
    equal(files(destination), INSTALLED)
    for name in ("berth", "berth-oci"):
        assert run(os.path.join(destination, "usr/bin", name), "--help").stdout
    make("install", destination)  # an upgrade
    equal(files(destination), INSTALLED)
    said = make("uninstall", destination)
    equal(files(destination), {})
    assert "/var/lib/berth" in said, said
    make("uninstall", destination)  # again


def test_units_name_the_programs_where_they_are():
    for variables in ([], ["SBINDIR=/opt/berth/sbin", "LIBEXECDIR=/opt/berth/libexec"]):
        destination = os.path.join(work, "b")
        make("install", destination, *variables)
        for unit in ("berthd.service", "berth-node.service", "berth-tasks.service"):
            program = re.search(r"^ExecStart=(\S+)", text(destination, "lib/systemd/system", unit), re.M)[1]
            assert os.access(destination + program, os.X_OK), program
        make("uninstall", destination, *variables)
        equal(files(destination), {})


def test_the_example_is_a_configuration_with_every_key():
    example = text(TOP, "docs/berth.conf")
    host = text(TOP, "cmd/berthd/host.c") + text(TOP, "cmd/berthd/registries.c")
    equal(sorted(re.findall(r"^(?:; )?([a-z-]+) = ", example, re.M)),
          sorted(re.findall(r'^\t\{"[a-z]+", "([a-z-]+)", offsetof', host, re.M)))
    with Daemon(config=example) as daemon:
        daemon.ecs("ListClusters")


if __name__ == "__main__":
    main()
