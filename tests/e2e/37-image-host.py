#!/usr/bin/env python3
# tests/e2e/37-image-host.py - how a host shows images, and says so
# SPDX-License-Identifier: Apache-2.0

import os

import berth
import imagelab as lab
from berth import contains, equal

DIRECTORIES = "[node]\nimage-index = no\n"


def output_of(daemon, image, script):
    arn = daemon.run_task([{"name": "c", "image": image, "memory": 64, "entryPoint": ["/bin/sh", "-c"],
                            "command": [script]}])
    t = daemon.wait_stopped(arn)
    equal(t["containers"][0].get("exitCode"), 0)


def test_directories_where_the_configuration_wants_them():
    with berth.Registry() as registry, berth.Daemon(config=DIRECTORIES) as daemon:
        contains(daemon.berth("doctor").stdout, "images: layers are unpacked, as berth.conf wants it\n")
        output_of(daemon, registry.demo(), "test -x /bin/serve")
        images = os.path.join(daemon.root, "var/lib/berth/images")
        equal((len(os.listdir(images + "/layers")), os.listdir(images + "/tars")), (1, []))


def test_tars_where_the_kernel_can_and_damage_is_repaired():
    if "index" not in lab.forms():
        raise berth.Skip("this kernel mounts no index")
    with berth.Registry() as registry, berth.Daemon() as daemon:
        contains(daemon.berth("doctor").stdout, "images: layers are mounted as they are (EROFS)\n")
        image = registry.demo()
        output_of(daemon, image, "test -x /bin/serve && echo x >/new && test -f /new")
        images = os.path.join(daemon.root, "var/lib/berth/images")
        equal((os.listdir(images + "/layers"), len(os.listdir(images + "/indexes"))), ([], 1))
        contains(daemon.berth("image", "fsck").stdout, "checked 1 layers: 0 damaged, 0 renewed")
        layer = os.path.join(images, "tars", os.listdir(images + "/tars")[0])
        os.truncate(layer + "/tar", 100000)
        p = daemon.berth("image", "fsck")
        contains(p.stdout, "damaged sha256:" + os.path.basename(layer))
        contains(p.stdout, f"pulled {image}\n")
        contains(daemon.berth("image", "fsck").stdout, "checked 1 layers: 0 damaged, 0 renewed")
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")  # what an old mount has of it is gone
        output_of(daemon, image, "test -x /bin/serve")
        p = daemon.berth("image", "scrub", check=False)
        contains(p.stderr, "is not a command of berth image")


if __name__ == "__main__":
    berth.main()
