#!/usr/bin/python3
# tests/e2e/55-start.py - what makes starts fast leaves the host as its operator wants it
# SPDX-License-Identifier: Apache-2.0

from berth import *


def test_favordynmods_is_set_and_told_unless_refused():
    with CgroupOptions() as options:
        if not options.path or options.path == "/sys/fs/cgroup":
            raise Skip("this host has no cgroup v1 hierarchies beside a v2 one")
        if "favordynmods" in options.before[1]:
            raise Skip("this host has the option already")
        with Daemon(config="[node]\nfavordynmods = no\n") as d:
            equal(options.now(), options.before)
            equal("favordynmods" in d.logged(), False)
        with Daemon(config="[node]\nfavordynmods = yes\n") as d:
            after = options.now()
            equal(after[0], options.before[0])
            equal(set(after[1].split(",")) - set(options.before[1].split(",")), {"favordynmods"})
            contains(d.logged(), "favordynmods")
            d.kill()  # whoever comes after it knows that the option is its own
            d.start()
        equal(options.now(), options.before)
    equal(options.now(), options.before)


main()
