#!/usr/bin/env python3
# tests/e2e/39-image-archives.py - images come from archives and go to them, by digest
# SPDX-License-Identifier: Apache-2.0

import io
import json
import os
import shutil
import subprocess
import tarfile
import threading

import berth
import imagelab as lab
from berth import Census, contains, equal, main

census = Census()
work = lab.scratch("a")
registry = lab.Lab().__enter__()
daemon = berth.Daemon(config="[node]\nimage-high-water = 0\n").start()
TREE = lab.tar("bin/", ("bin/sh", {"data": b"#!", "mode": 0o755}), "tmp/", "dir/", ("dir/gone", {"data": b"x"}))
TOP = lab.tar("dir/", ("dir/.wh.gone", {}), ("more", {"data": os.urandom(70000)}))
made = lab.Image(TREE, TOP, config={"Cmd": ["/bin/sh"], "Env": ["A=b"]})
REFERENCE = registry.add(made)
ID = lab.digest(made.config_bytes)
SKOPEO = ("skopeo", "--insecure-policy", "copy", "-q")


def cleanup():
    daemon.destroy()
    registry.__exit__()
    shutil.rmtree(work)
    census.check()


def path(name):
    return os.path.join(work, name)


def fresh(*words):
    """Nothing is held but what this pulls."""
    daemon.berth("image", "prune", "-a")
    equal(json.loads(daemon.berth("images", "-o", "json").stdout), [])
    if words:
        daemon.berth("pull", "-q", *words)


def one(name):
    return json.loads(daemon.berth("image", "inspect", name).stdout)[0]


def blobs(layout):
    """Digest to bytes of a layout's blobs; each is what its name says."""
    folder = os.path.join(layout, "blobs/sha256")
    found = {"sha256:" + n: open(os.path.join(folder, n), "rb").read() for n in os.listdir(folder)}
    for name, data in found.items():
        equal(lab.digest(data), name)
    return found


def tree_of(layout, name):
    """What umoci unpacks of it."""
    target = path("bundle")
    shutil.rmtree(target, ignore_errors=True)
    berth.run("umoci", "unpack", "--image", f"{layout}:{name}", target)
    return lab.tree(os.path.join(target, "rootfs"))


def load(*words, check=True, **kw):
    return daemon.berth("image", "load", *words, check=check, **kw)


# ---- out ----

def test_a_docker_archive_has_the_same_id():
    fresh(REFERENCE)
    daemon.berth("image", "save", "-o", path("docker.tar"), REFERENCE)
    with tarfile.open(path("docker.tar")) as t:
        listed, = json.load(t.extractfile("manifest.json"))
        equal(listed["RepoTags"], [REFERENCE])
        equal(listed["Config"], ID[7:] + ".json")
        equal([lab.digest(t.extractfile(n).read()) for n in listed["Layers"]], [lab.digest(t) for t in made.tars])
    with open(path("again.tar"), "wb") as f:
        p = subprocess.run([os.path.join(berth.BUILD, "berth"), "--root", daemon.root, "image", "save", REFERENCE],
                           stdout=f)
    equal((p.returncode, open(path("again.tar"), "rb").read()), (0, open(path("docker.tar"), "rb").read()))
    config = subprocess.run(["skopeo", "inspect", "--raw", "--config", f"docker-archive:{path('docker.tar')}"],
                            stdout=subprocess.PIPE, check=True).stdout
    equal(lab.digest(config), ID)


def test_podman_takes_what_we_save():
    fresh(REFERENCE)
    daemon.berth("image", "save", "-o", path("podman.tar"), REFERENCE)
    daemon.berth("image", "save", "--format", "oci-archive", "--uncompressed", "-o", path("podman-oci.tar"), REFERENCE)
    podman = ("podman", "--root", path("podman"), "--runroot", path("podman-run"), "--storage-driver", "vfs",
              "--cgroup-manager", "cgroupfs")
    for archive in ("podman.tar", "podman-oci.tar"):
        berth.run(*podman, "load", "-q", "-i", path(archive))
        equal(berth.run(*podman, "images", "-q", "--no-trunc").stdout.strip(), ID)
        berth.run(*podman, "rmi", "-f", ID)


def test_a_layout_is_bit_for_bit_what_was_pulled():
    fresh("--keep-blobs", REFERENCE)
    daemon.berth("image", "save", "--format", "oci-dir", "-o", path("layout"), REFERENCE)
    found = blobs(path("layout"))
    equal(found, {made.digest(): made.manifest_bytes(), ID: made.config_bytes,
                  **{lab.digest(l): l for l in made.layers}})
    listed, = json.load(open(path("layout/index.json")))["manifests"]
    equal((listed["digest"], listed["mediaType"], listed["annotations"]),
          (made.digest(), lab.MANIFEST, {"org.opencontainers.image.ref.name": REFERENCE}))
    berth.run(*SKOPEO, f"oci:{path('layout')}", f"dir:{path('dir')}")
    equal(open(path("dir/manifest"), "rb").read() if os.path.exists(path("dir/manifest"))
          else open(path("dir/manifest.json"), "rb").read(), made.manifest_bytes())
    daemon.berth("image", "save", "--format", "oci-archive", "-o", path("layout.tar"), REFERENCE)
    with tarfile.open(path("layout.tar")) as t:
        equal(sorted(n for n in t.getnames() if n.startswith("blobs/")), sorted("blobs/sha256/" + d[7:] for d in found))


def images_of(daemon):
    return os.path.join(daemon.root, "var/lib/berth/images")


def nothing_is_kept(daemon, image):
    """No blob is left of a save, nor anything on its way; the store is whole."""
    store = images_of(daemon)
    berth.wait_for(lambda: not os.listdir(store + "/ingest"), 30, "an empty ingest/")
    equal(os.listdir(store + "/partial"), [])
    names = {lab.digest(l)[7:] for l in image.layers}
    for base, _, files in os.walk(store):
        assert not names & set(files), (base, files)
    p = daemon.berth("image", "fsck", check=False)
    equal(p.returncode, 0)
    contains(p.stdout, ": 0 damaged")


def test_blobs_that_are_not_kept_are_fetched_for_the_save():
    fresh(REFERENCE)
    daemon.berth("image", "tag", REFERENCE, "mine:1")
    for name, form in ((REFERENCE, "oci-dir"), (ID, "oci-dir"), ("mine:1", "oci-dir"), (REFERENCE, "oci-archive")):
        target = path("fetched")
        p = daemon.berth("image", "save", "--format", form, "-o", target, name)
        for l in made.layers:
            contains(p.stderr, f"{lab.digest(l)[:19]} DONE")
        out = f"{'oci' if form == 'oci-dir' else form}:{target}"
        if form == "oci-dir":
            raw = subprocess.run(["skopeo", "inspect", "--raw", out], stdout=subprocess.PIPE, check=True).stdout
            equal(raw, made.manifest_bytes())
        berth.run(*SKOPEO, out, f"oci:{path('copied')}:it")
        equal(blobs(path("copied")), {made.digest(): made.manifest_bytes(), ID: made.config_bytes,
                                      **{lab.digest(l): l for l in made.layers}})
        berth.run("rm", "-r", target, path("copied"))
        nothing_is_kept(daemon, made)
    names = [i["reference"] for i in json.loads(daemon.berth("images", "-o", "json").stdout)]
    equal(sorted(names), sorted([REFERENCE, "docker.io/library/mine:1"]))
    equal(daemon.berth("image", "save", "-q", "--format", "oci-dir", "-o", path("quiet"), REFERENCE).stderr, "")
    daemon.berth("pull", "-q", "--keep-blobs", REFERENCE)
    daemon.berth("image", "save", "-q", "--format", "oci-dir", "-o", path("after"), REFERENCE)
    before = len(registry.requests)
    daemon.berth("image", "save", "-q", "--format", "oci-dir", "-o", path("again"), REFERENCE)
    equal(len(registry.requests), before)  # those that were asked for stay


def test_a_save_takes_what_the_tag_was_when_it_was_pulled():
    with lab.Lab() as other:
        old, new = lab.Image(TREE), lab.Image(TREE, TOP)
        reference = other.add(old)
        fresh(reference)
        other.add(new)
        daemon.berth("image", "save", "-q", "--format", "oci-dir", "-o", path("old"), reference)
        assert old.digest() in blobs(path("old"))
        equal(one(reference)["Digest"], old.digest())


def test_only_what_is_missing_is_fetched_and_for_all_images_at_once():
    with lab.Lab() as other:
        one_layer = other.add(lab.Image(TREE), "one")
        two_layers = other.add(lab.Image(TREE, TOP), "two")
        fresh("--keep-blobs", one_layer)
        daemon.berth("pull", "-q", two_layers)
        other.requests.clear()
        daemon.berth("image", "save", "-q", "--format", "oci-archive", "-o", path("both.tar"), one_layer, two_layers)
        equal([len(other.gets("blobs", lab.digest(l))) for l in made.layers], [0, 1])


def test_without_blobs_and_registry_it_says_so_and_offers_tars():
    with lab.Lab() as other:
        reference = other.add(made)
        fresh(reference)
        other.hooks.append(lambda handler, kind, name: kind == "blobs" and name == lab.digest(made.layers[1])
                           and handler.answer(404, b"gone"))
        for form in ("oci-dir", "oci-archive"):
            p = daemon.berth("image", "save", "--format", form, "-o", path("none"), reference, check=False)
            equal(p.returncode, 1)
            contains(p.stderr, "is not kept as the registry packed it")
            contains(p.stderr, "it cannot be fetched; ")
            contains(p.stderr, "layer 1: ")
            contains(p.stderr, "--uncompressed")
            assert not [n for n in os.listdir(work) if n.startswith("none")]
    p = daemon.berth("image", "save", "--format", "oci-dir", "-o", path("none"), reference, check=False)
    equal(p.returncode, 1)
    contains(p.stderr, "it cannot be fetched; ")
    contains(p.stderr, "connect")
    daemon.berth("image", "save", "--format", "oci-dir", "--uncompressed", "-o", path("plain"), reference)
    listed, = json.load(open(path("plain/index.json")))["manifests"]
    manifest = json.loads(blobs(path("plain"))[listed["digest"]])
    equal(manifest["config"]["digest"], ID)
    equal([l["digest"] for l in manifest["layers"]], [lab.digest(t) for t in made.tars])
    fresh("--keep-blobs", REFERENCE)
    daemon.berth("image", "save", "--format", "oci-dir", "-o", path("now"), REFERENCE)
    lab.same_trees(tree_of(path("now"), REFERENCE), tree_of(path("plain"), reference))


def test_a_full_disk_leaves_the_store_whole():
    lab.private_mounts()
    other = berth.Daemon(config="[node]\nimage-high-water = 0\n")
    os.makedirs(images_of(other))
    berth.run("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", images_of(other))
    big = lab.Image(lab.tar("f/", ("f/big", {"data": os.urandom(4 << 20)})))
    filler = os.path.join(images_of(other), "filler")

    def fill(handler, kind, name):
        if kind == "blobs" and name == lab.digest(big.layers[0]) and not os.path.exists(filler):
            with open(filler, "wb", buffering=0) as f:
                while True:
                    try:
                        f.write(bytes(1 << 16))
                    except OSError:
                        return False
    try:
        other.start()
        with lab.Lab() as small:
            reference = small.add(big)
            other.berth("pull", "-q", reference)
            small.hooks.append(fill)
            p = other.berth("image", "save", "--format", "oci-dir", "-o", path("full"), reference, check=False)
            equal(p.returncode, 1)
            contains(p.stderr, "No space left on device")
            assert not os.path.exists(path("full"))
            os.unlink(filler)
            small.hooks.clear()
            nothing_is_kept(other, big)
            other.berth("image", "save", "--format", "oci-dir", "-o", path("full"), reference)
            assert big.digest() in blobs(path("full"))
            nothing_is_kept(other, big)
    finally:
        other.stop()
        berth.run("umount", "-l", images_of(other))
        other.destroy()


def test_two_save_the_same_at_once():
    fresh(REFERENCE)
    words = [os.path.join(berth.BUILD, "berth"), "--root", daemon.root, "image", "save", "-q", "--format", "oci-dir", "-o"]
    begun = [subprocess.Popen([*words, path(f"at-once-{i}"), REFERENCE]) for i in range(4)]
    equal([p.wait() for p in begun], [0] * 4)
    for i in range(4):
        assert made.digest() in blobs(path(f"at-once-{i}"))


def test_who_wants_blobs_gets_them_beside_who_does_not():
    """One download serves both only if it keeps the blob."""
    with lab.Lab() as other:
        reference = other.add(made)
        fresh()
        berth.wait_for(lambda: not os.listdir(images_of(daemon) + "/tars"), 30, "a store that was swept")
        go = threading.Event()
        other.hooks.append(lambda handler, kind, name: kind == "blobs" and name == lab.digest(made.layers[1])
                           and go.wait(30) and False)
        words = [os.path.join(berth.BUILD, "berth"), "--root", daemon.root, "pull", "-q"]
        plain = subprocess.Popen([*words, reference])
        berth.wait_for(lambda: other.gets("blobs", lab.digest(made.layers[1])), 30, "a download")
        keeping = subprocess.Popen([*words, "--keep-blobs", reference])
        berth.wait_for(lambda: len(other.gets("blobs", lab.digest(made.layers[0]))) == 2, 30, "a second pull")
        go.set()
        equal((plain.wait(), keeping.wait()), (0, 0))
    daemon.berth("image", "save", "-q", "--format", "oci-dir", "-o", path("beside"), reference)  # no registry any more
    assert made.digest() in blobs(path("beside"))


def test_a_store_can_keep_all_blobs():
    other = berth.Daemon(config="[node]\nkeep-blobs = yes\n")
    with other:
        other.berth("pull", "-q", REFERENCE)
        other.berth("image", "save", "--format", "oci-dir", "-o", path("kept"), REFERENCE)
        equal(set(blobs(path("kept"))), {made.digest(), ID, *(lab.digest(l) for l in made.layers)})


def test_directories_have_no_tars_to_save():
    other = berth.Daemon(config="[node]\nimage-index = no\n")
    with other:
        other.berth("pull", "-q", "--keep-blobs", REFERENCE)
        p = other.berth("image", "save", "-o", path("unpacked.tar"), REFERENCE, check=False)
        contains(p.stderr, "is held as a directory")
        assert not [n for n in os.listdir(work) if n.startswith("unpacked")]
        other.berth("image", "save", "--format", "oci-dir", "-o", path("unpacked"), REFERENCE)
        equal(set(blobs(path("unpacked"))), {made.digest(), ID, *(lab.digest(l) for l in made.layers)})
        other.berth("image", "prune", "-a")
        load("-i", path("unpacked"))


def test_what_is_damaged_is_not_saved():
    fresh(REFERENCE)
    tars = os.path.join(daemon.root, "var/lib/berth/images/tars")
    tar = os.path.join(tars, lab.digest(TOP)[7:], "tar")
    data = open(tar, "rb").read()
    try:
        with open(tar, "wb") as f:
            f.write(data[:-1] + b"x")
        p = daemon.berth("image", "save", "-o", path("damaged.tar"), REFERENCE, check=False)
        equal(p.returncode, 1)
        contains(p.stderr, "is damaged in the store")
        assert not os.path.exists(path("damaged.tar")) and not os.path.exists(path("damaged.tar.berth-tmp"))
    finally:
        with open(tar, "wb") as f:
            f.write(data)


def test_wrong_words_of_save_are_refused():
    fresh(REFERENCE)
    for words, code, says in (
            (["-o", path("x"), "none"], 3, "no image none: not found"), (["--format", "zip", REFERENCE], 2, "is none of"),
            (["--uncompressed", REFERENCE], 2, "is for OCI layouts"), (["--format", "oci-dir", REFERENCE], 1, "has to be named"),
            (["--format", "oci-dir", "-o", work, REFERENCE], 1, "File exists")):
        p = daemon.berth("image", "save", *words, check=False)
        equal(p.returncode, code)
        contains(p.stderr, says)
    assert not os.path.exists(path("x"))
    assert os.listdir(work), "what was there is gone"


# ---- in ----

def test_round_trips_with_skopeo_by_digest():
    berth.run(*SKOPEO, "--src-tls-verify=false", f"docker://{REFERENCE}", f"oci:{path('in')}:in:1")
    berth.run(*SKOPEO, f"oci:{path('in')}:in:1", f"oci-archive:{path('in-oci.tar')}:in:1")
    berth.run(*SKOPEO, f"oci:{path('in')}:in:1", f"docker-archive:{path('in-docker.tar')}:in:1")
    name = "docker.io/library/in:1"
    for archive in ("in", "in-oci.tar"):
        fresh()
        p = load("-i", path(archive))
        equal(p.stdout, f"Loaded image: {name}\n")
        contains(p.stderr, lab.digest(made.layers[1]) + " done")
        found = one(name)
        equal((found["Id"], found["Digest"]), (ID, made.digest()))
        daemon.berth("image", "save", "--format", "oci-dir", "-o", path("out"), name)
        equal(blobs(path("out")), blobs(path("in")))
        shutil.rmtree(path("out"))
    fresh()
    equal(load("-q", "-i", path("in-docker.tar")).stderr, "")
    equal(one(name)["Id"], ID)
    daemon.berth("image", "save", "-o", path("out.tar"), name)
    fresh()
    with open(path("out.tar"), "rb") as f:  # and through a pipe
        p = subprocess.run(f"cat | {berth.BUILD}/berth --root {daemon.root} image load -q", shell=True, stdin=f,
                           stdout=subprocess.PIPE, text=True)
    equal(p.stdout, f"Loaded image: {name}\n")
    equal(one(name)["Id"], ID)


def test_podmans_archives_are_taken():
    podman = ("podman", "--root", path("podman"), "--runroot", path("podman-run"), "--storage-driver", "vfs",
              "--cgroup-manager", "cgroupfs")
    berth.run(*podman, "pull", "-q", "--tls-verify=false", REFERENCE)
    for kind in ("docker-archive", "oci-archive"):
        berth.run(*podman, "save", "-q", "--format", kind, "-o", path(kind), REFERENCE)
        fresh()
        equal(load("-q", "-i", path(kind)).stdout, f"Loaded image: {REFERENCE}\n")
        equal(one(REFERENCE)["Id"], ID)
    berth.run(*podman, "rmi", "-f", ID)


def test_umocis_layouts_are_taken_and_run():
    fresh("--keep-blobs", REFERENCE)
    daemon.berth("image", "save", "--format", "oci-dir", "-o", path("umoci"), REFERENCE)
    berth.run("umoci", "config", "--image", f"{path('umoci')}:{REFERENCE}", "--tag", "changed:2", "--config.env", "C=d")
    fresh()
    names = sorted(load("-q", "-i", path("umoci")).stdout.split("\n")[:-1])
    equal(names, sorted([f"Loaded image: {REFERENCE}", "Loaded image: docker.io/library/changed:2"]))
    contains(json.dumps(one("changed:2")["Config"]["Env"]), "C=d")
    with lab.Store(os.path.join(daemon.root, "var/lib/berth/images")) as store:
        lab.same_trees({k: v for k, v in tree_of(path("umoci"), "changed:2").items()}, mounted(store, "changed:2"))


def mounted(store, name):
    lab.private_mounts()
    with store.mounted(name) as root:
        return lab.tree(root)


def layout(name, *images, files=None, index=None):
    """An OCI layout by hand."""
    folder = os.path.join(path(name), "blobs/sha256")
    os.makedirs(folder)
    entries = []
    for image, annotations in images:
        for data in (image.manifest_bytes(), image.config_bytes, *image.layers):
            open(os.path.join(folder, lab.digest(data)[7:]), "wb").write(data)
        entries.append(dict(image.descriptor(), annotations=annotations))
    for data in files or []:
        open(os.path.join(folder, lab.digest(data)[7:]), "wb").write(data)
    with open(os.path.join(path(name), "index.json"), "w") as f:
        json.dump(index or {"schemaVersion": 2, "manifests": entries}, f)
    return path(name)


def test_names_are_those_of_the_archive_or_the_callers():
    ref = "org.opencontainers.image.ref.name"
    a, b = lab.Image(TREE), lab.Image(TOP)
    where = layout("names", (a, {ref: "1", "io.containerd.image.name": "docker.io/some/a:1"}), (b, {}))
    fresh()
    equal(load("-q", "-i", where).stdout,
          f"Loaded image: docker.io/some/a:1\nLoaded image ID: {lab.digest(b.config_bytes)}\n")
    equal([i.get("reference") for i in json.loads(daemon.berth("images", "-o", "json").stdout)],
          ["docker.io/some/a:1", None])
    fresh()
    equal(load("-q", "--name", "mine:2", "-i", where).stdout, "Loaded image: docker.io/library/mine:2\n")
    equal(len(json.loads(daemon.berth("images", "-o", "json").stdout)), 1)


def test_an_index_gives_the_image_for_the_platform():
    ours, other = lab.Image(TREE), lab.Image(TOP, architecture="arm64")
    document, kind = lab.index(other.descriptor(os="linux", architecture="arm64"),
                               ours.descriptor(os="linux", architecture="amd64"))
    where = layout("multi", (ours, {}), (other, {}), files=[document],
                   index={"schemaVersion": 2, "manifests": [{"mediaType": kind, "digest": lab.digest(document),
                                                              "size": len(document)}]})
    fresh()
    load("-q", "--name", "multi:1", "-i", where)
    equal((one("multi:1")["Architecture"], one("multi:1")["Digest"]), ("amd64", lab.digest(document)))
    load("-q", "--name", "multi:2", "--platform", "linux/arm64", "-i", where)
    equal((one("multi:2")["Architecture"], one("multi:2")["ManifestDigest"]), ("arm64", other.digest()))


def archive(name, *members):
    """A tar by hand: (name, bytes) or (name, target of a link)."""
    with tarfile.open(path(name), "w") as t:
        for member, data in members:
            info = tarfile.TarInfo(member)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                t.addfile(info)
            else:
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
    return path(name)


def docker_files(image, layers=None, config="config.json"):
    return [("manifest.json", json.dumps([{"Config": config, "RepoTags": ["x:1"],
                                           "Layers": layers or [f"{i}/layer.tar" for i in range(len(image.tars))]}]).encode()),
            ("config.json", image.config_bytes)]


PACKERS = {"gz": ["gzip", "-1"], "zst": ["zstd", "-q"], "xz": ["xz", "-0"]}


def packed(name, how):
    """The file, packed as people do it."""
    target = f"{name}.{how}"
    with open(name, "rb") as f, open(target, "wb") as out:
        subprocess.run([*PACKERS[how], "-c"], stdin=f, stdout=out, check=True)
    return target


def test_packed_archives_are_loaded():
    fresh(REFERENCE)
    daemon.berth("image", "save", "-o", path("to-pack.tar"), REFERENCE)
    daemon.berth("image", "save", "--format", "oci-archive", "--uncompressed", "-o", path("to-pack-oci.tar"), REFERENCE)
    for how in PACKERS:
        for name in ("to-pack.tar", "to-pack-oci.tar"):
            fresh()
            load("-q", "-i", packed(path(name), how))
            equal(one(REFERENCE)["Id"], ID)
        fresh()
        with open(packed(path("to-pack.tar"), how), "rb") as f:
            p = subprocess.run(f"cat | {berth.BUILD}/berth --root {daemon.root} image load -q", shell=True, stdin=f,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        equal((p.returncode, one(REFERENCE)["Id"]), (0, ID))
    equal([n for n in os.listdir(os.path.join(daemon.root, "var/lib/berth")) if "tmp" in n], [])


def test_older_dockers_link_layers_that_repeat():
    twice = lab.Image(TREE, TOP, TREE)
    fresh()
    load("-q", "-i", archive("links.tar", *docker_files(twice), ("0/layer.tar", TREE), ("1/layer.tar", TOP),
                             ("2/layer.tar", "../0/layer.tar")))
    equal(one("x:1")["Id"], lab.digest(twice.config_bytes))


def test_hostile_archives_are_refused_and_leave_nothing():
    image, evil = lab.Image(TREE), lab.Image(lab.tar(("../../etc/evil", {"data": b"x"})))
    short = layout("short", (image, {}))
    os.truncate(os.path.join(short, "blobs/sha256", lab.digest(image.layers[0])[7:]), 10)
    lies = layout("lies", (image, {}))
    blob = os.path.join(lies, "blobs/sha256", lab.digest(image.layers[0])[7:])
    open(blob, "r+b").write(b"x")
    lost = layout("lost", (image, {}))
    os.unlink(os.path.join(lost, "blobs/sha256", image.manifest["config"]["digest"][7:]))
    outside = layout("outside", (image, {}))
    os.unlink(os.path.join(outside, "blobs/sha256", lab.digest(image.layers[0])[7:]))
    os.symlink("/etc/hostname", os.path.join(outside, "blobs/sha256", lab.digest(image.layers[0])[7:]))
    for name, data in (("noise.tar.gz", lab.pack(b"x" * 1000)), ("short.tar.gz", lab.pack(os.urandom(1000))[:-20]),
                       ("damaged.tar.xz", b"\xfd7zXZ\0" + bytes(100)), ("bzip2.tar", b"BZh91AY&SY" + bytes(100)),
                       ("bomb.tar.gz", lab.pack(bytes(80 << 20)))):
        with open(path(name), "wb") as f:
            f.write(data)
    rows = [
        (path("noise.tar.gz"), "Unrecognized archive format"), (path("short.tar.gz"), "the archive: gzip: it ends too early"),
        (path("damaged.tar.xz"), "the archive: xz: damaged"), (path("bzip2.tar"), "the archive: packed by bzip2"),
        (path("bomb.tar.gz"), "neither an OCI layout"),
        ("/etc/hostname", "Unrecognized archive format"), (archive("no.tar", ("x", b"x")), "neither an OCI layout"),
        (path("nothing"), "No such file"), (short, "the archive has 10 bytes"), (lies, "its digest is"),
        (lost, "the archive has no blobs/sha256/"), (outside, "blobs/sha256/"), (layout("evil", (evil, {})), "'..' in a path"),
        (archive("up.tar", *docker_files(image), ("0/layer.tar", "../../../etc/hostname")), "the archive has no 0/layer.tar"),
        (archive("climb.tar", *docker_files(image, ["../../x"]), ("0/layer.tar", TREE)), "the archive has no ../../x"),
        (archive("other.tar", *docker_files(image), ("0/layer.tar", TOP)), "its digest is"),
        (archive("loop.tar", *docker_files(image), ("0/layer.tar", "layer.tar")), "the archive has no 0/layer.tar"),
        (archive("json.tar", ("manifest.json", b"[")), "manifest.json"), (archive("empty.tar", ("manifest.json", b"[]")), "0 images"),
        (archive("config.tar", *docker_files(image, config="../config.json")), "the archive has no ../config.json"),
        (archive("deep.tar", ("manifest.json", b"[" * 100000)), "manifest.json"),
        (archive("name.tar", ("../manifest.json", b"[]")), "'..' in a path"),
    ]
    fresh()
    with lab.Store(os.path.join(daemon.root, "var/lib/berth/images")) as store:
        store.settled()
        before = store.content()
        for where, says in rows:
            p = load("-i", where, check=False)
            assert p.returncode in (1, 3), (where, p)
            contains(p.stderr, says)
        store.settled()
        equal(store.content(), before)


def test_a_tree_is_imported_as_an_image():
    with open(path("tree.tar"), "wb") as f:
        f.write(TREE)
    fresh()
    p = daemon.berth("image", "import", "-q", "-c", 'CMD ["/bin/sh", "-c", "x"]', "-c", "ENV A=b c", "-c", "label x=y=z",
                     "-c", "EXPOSE 80", "-c", "WORKDIR /tmp", "-m", "by hand", path("tree.tar"), "tree:1")
    equal(p.stdout, "Loaded image: docker.io/library/tree:1\n")
    found = one("tree:1")
    equal({k: found["Config"][k] for k in ("Cmd", "Env", "Labels", "ExposedPorts", "WorkingDir")},
          {"Cmd": ["/bin/sh", "-c", "x"], "Env": ["A=b c"], "Labels": {"x": "y=z"}, "ExposedPorts": {"80/tcp": {}},
           "WorkingDir": "/tmp"})
    equal(found["RootFS"]["Layers"], [lab.digest(TREE)])
    contains(daemon.berth("image", "history", "tree:1").stdout, "by hand")
    daemon.berth("image", "save", "--format", "oci-dir", "-o", path("tree"), "tree:1")  # a plain tar needs no packed blob
    contains(str(sorted(blobs(path("tree")))), lab.digest(TREE))
    with open(path("tree.tar.gz"), "wb") as f:
        f.write(lab.pack(TREE))
    daemon.berth("image", "import", "-q", path("tree.tar.gz"), "tree:2")
    equal(one("tree:2")["RootFS"]["Layers"], [lab.digest(TREE)])
    for words, says in ((["/nonexistent", "x"], "No such file"),
                        (["-c", "RUN make", path("tree.tar"), "x"], "is none of the instructions"),
                        (["-c", "CMD x", path("tree.tar"), "x"], "x")):
        p = daemon.berth("image", "import", *words, check=False)
        equal(p.returncode in (1, 3), True)
        contains(p.stderr, says)
    assert not [n for n in os.listdir(os.path.join(daemon.root, "var/lib/berth")) if n.startswith("import")]


if __name__ == "__main__":
    main()
