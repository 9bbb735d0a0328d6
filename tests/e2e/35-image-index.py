#!/usr/bin/env python3
# tests/e2e/35-image-index.py - what the kernel shows of an index is what the layers say
# SPDX-License-Identifier: Apache-2.0
#
# Trees come from seeds; umoci's unpacking is what is expected, of both forms.

import os
import random
import shutil
import stat

import berth
import imagelab as lab
from berth import contains, equal

SEED = int(os.environ.get("SEED", random.randrange(1 << 30)))
TREES = int(os.environ.get("TREES", "6"))
SYM, LNK, CHR, BLK, FIFO = (lab.tarfile.SYMTYPE, lab.tarfile.LNKTYPE, lab.tarfile.CHRTYPE, lab.tarfile.BLKTYPE,
                            lab.tarfile.FIFOTYPE)


def indexed():
    if "index" not in lab.forms():
        raise berth.Skip("this kernel mounts no index")


def check(layers, *forms, ignore=lambda path: False, umoci=True):
    """Each form shows what umoci unpacks; the last tree."""
    directory = lab.scratch()
    try:
        with lab.Lab() as registry:
            reference = registry.add(lab.Image(*layers))
            berth.run("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", f"docker://{reference}",
                      f"oci:{directory}/layout:1")
            berth.run("umoci", "unpack", "--image", f"{directory}/layout:1", f"{directory}/bundle")
            expected = lab.tree(f"{directory}/bundle/rootfs")
            for form in forms or ("index", "unpacked"):
                found = lab.compare(reference, form, expected, ignore)
        return found
    finally:
        shutil.rmtree(directory)


# ---- trees from seeds ----

class Trees:
    """Layers that make, change, hide and link what is there; each path at most once in a layer."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.held = {"": "d"}  # path to kind, of all layers

    def name(self):
        r = self.r
        letters = r.choice(["ab", "ab.-_", "abcdefgh", "\u00e9x\u0301"])
        return "".join(r.choice(letters) for _ in range(r.choice([1, 2, 3, 8, 60, 80]))).strip(".") or "x"

    def attributes(self, how):
        r = self.r
        how.update(uid=r.choice([0, 1000, 65534, 70000, 3000000000]), gid=r.choice([0, 5, 100000]),
                   mtime=r.choice([0, 1, 1700000000, 1700000000.123456789, 2 ** 33]))
        if r.random() < .1:
            how["pax"] = {f"SCHILY.xattr.user.{'n' * r.choice([1, 100])}": "v" * r.choice([1, 3, 600])}
        return how

    def remove(self, path):
        for other in [p for p in self.held if p == path or p.startswith(path + "/")]:
            del self.held[other]

    def layer(self):
        r, entries, mine = self.r, [], {""}
        old = set(self.held)

        def parent_of(path):
            """Directories are mentioned before what is in them."""
            for i, c in enumerate(path + "/"):
                part = path[:i]
                if c == "/" and part and part not in mine:
                    entries.append((part + "/", self.attributes({"mode": r.choice([0o755, 0o700, 0o2775])})))
                    mine.add(part)

        for _ in range(r.randrange(5, 60)):
            directories = [p for p, kind in self.held.items() if kind == "d"]
            base = r.choice(directories)
            path = (base + "/" if base else "") + self.name()
            if path in mine or any(m.startswith(path + "/") for m in mine):
                continue
            kind = r.choice("fffffffddslnpwo")
            if kind == "w":
                victims = [p for p in old if p and p in self.held and p not in mine and
                           not any(m.startswith(p + "/") for m in mine)]
                if not victims:
                    continue
                path = r.choice(victims)
                base, _, leaf = path.rpartition("/")
                parent_of(base)
                entries.append(((base + "/" if base else "") + ".wh." + leaf, {}))
                mine.add(path)
                self.remove(path)
                continue
            if kind == "o":
                if not base or base in mine or any(m.startswith(base + "/") for m in mine):
                    continue
                parent_of(base)
                entries.append((base + "/.wh..wh..opq", {}))
                for p in [p for p in self.held if p.startswith(base + "/")]:
                    self.remove(p)
                old = {p for p in old if not p.startswith(base + "/")}
                continue
            parent_of(base)
            if path in self.held and self.held[path] == "d" and kind != "d":
                self.remove(path)
            elif path in self.held and self.held[path] != "d":
                self.remove(path)
            how = self.attributes({"mode": r.choice([0o644, 0o600, 0o4755, 0o1777])})
            if kind == "f":
                how["data"] = r.randbytes(r.choice([0, 1, 511, 512, 513, 5000, 70000]))
            elif kind == "s":
                how.update(type=SYM, link=r.choice(["x", "../y", "/etc/passwd", "l" * 3000]))
                how.pop("pax", None)
            elif kind == "n":
                how.update(type=r.choice([CHR, BLK]), dev=(r.randrange(1, 200), r.randrange(300)))
                how.pop("pax", None)
            elif kind == "p":
                how["type"] = FIFO
                how.pop("pax", None)
            elif kind == "l":
                files = [p for p in mine if self.held.get(p) == "f"]
                if not files:
                    continue
                how = {"type": LNK, "link": r.choice(sorted(files)), "mode": 0o644}
                kind = "f"
            entries.append((path + "/" if kind == "d" else path, how))
            mine.add(path)
            self.held[path] = kind
        return lab.tar(("./", {"mode": 0o755, "mtime": 3}), *entries)




def test_trees_from_seeds():
    indexed()
    print(f"  seed {SEED}")
    for i in range(TREES):
        trees = Trees(SEED + i)
        layers = [trees.layer() for _ in range(trees.r.randrange(1, 7))]
        try:
            check(layers)
        except AssertionError as error:
            raise AssertionError(f"seed {SEED + i}: {error}") from None


# ---- what is worth a name ----

def test_a_directory_of_many_names():
    indexed()
    names = [f"d/{'n' * (i % 230)}{i}" for i in range(3000)] + ["d/!", "d/-", "d/...", "d/.a", "d/..a"]
    equal(len(check([lab.tar("d/", *[(n, {"data": n.encode()}) for n in names])], "index")), 3006)


def link(name, target):
    return (name, {"type": LNK, "link": target})


def test_hard_links_reach_into_lower_layers():
    """As in umoci, which unpacks layer upon layer, in both forms."""
    layers = [lab.tar(("a", {"data": b"x", "mode": 0o4711, "uid": 7}), ("d/", {"mode": 0o1770}), ("d/gone", {"data": b"y"})),
              lab.tar(link("b", "a"), link("c", "d/gone"), "d/", ("d/.wh.gone", {}))]
    found = check(layers)
    equal((found["a"][6], found["b"][7]), (2, "a"))


def test_hard_links_to_links_below_and_under_what_hides_them():
    low = lab.tar(("a", {"data": b"x"}), ("s", {"type": SYM, "link": "/etc"}), ("dev", {"type": CHR, "dev": (1, 3)}),
                  ("d/", {"mode": 0o1770, "uid": 5, "mtime": 77}), ("d/e/", {"mode": 0o711, "mtime": 78}),
                  ("d/old", {"data": b"o"}), ("w", {"data": b"w"}), ("t/", {}), ("t/x", {"data": b"t"}))
    layers = [low,
              lab.tar(link("d/e/b", "a"), link("l", "s"), link("dev2", "dev"), link("d/old", "a"), link("hid", "w"), link("o/x", "w"),
                      link("repl", "a"), ("repl", {"data": b"mine"})),
              lab.tar(link("chain", "d/e/b"), link("same", "chain"), ("a", {"data": b"new"}), (".wh.hid", {}), link("y", "o/x"),
                      "o/", ("o/.wh..wh..opq", {})),
              lab.tar(link("t", "chain"), link("last", "same"))]
    found = check(layers)
    equal((found["a"][6], found["y"][0], found["t"][0]), (1, stat.S_IFREG, stat.S_IFREG))
    assert "hid" not in found and "o/x" not in found, found.keys()


def test_a_directory_in_the_place_of_what_its_layer_had_shows_nothing_below():
    low = lab.tar(("a", {"data": b"x"}), *(e for d in "flw" for e in (d + "/", (d + "/in", {"data": b"i"}))))
    top = lab.tar(("f", {"data": b"f"}), link("l", "a"), ".wh.w", *(e for d in "flw" for e in (d + "/", (d + "/new", {}))))
    found = check([low, top])
    equal(sorted(found), ["a", "f", "f/new", "l", "l/new", "w", "w/new"])


def test_hard_links_to_nothing_are_refused():
    low = lab.tar(("a", {"data": b"x"}), "d/", ("s", {"type": SYM, "link": "d"}), ("d/f", {}))
    for form in lab.forms():
        with lab.Lab() as registry, lab.Store(form=form) as store:
            for target in ("no", "d", "s/f", "gone"):
                bad = registry.add(lab.Image(low, lab.tar(("gone", {"data": b"x"})), lab.tar(".wh.gone"),
                                             lab.tar(link("b", target))))
                out = store.tool("pull", bad)
                equal(out.reason, "malformed")
                contains(out.says, f"layer 3: hard link 'b' to '{target}', which this layer does not have, nor one below")
            out = store.tool("pull", registry.add(lab.Image(lab.tar(link("b", "a")))))
            equal(out.reason, "malformed")
            contains(out.says, "layer 0: hard link 'b' to 'a', which this layer does not have, nor one below")
            berth.wait_for(lambda: not any(store.content().values()), 20, "an empty store")


def test_hard_links_lead_nowhere_else():
    """A link that is one more name of a symbolic link is no way for the next one."""
    canary = f"/tmp/berth-canary-{os.getpid()}"
    os.mkdir(canary)
    try:
        low = lab.tar(("s", {"type": SYM, "link": canary}), ("f", {"data": b"x"}))
        for form in lab.forms():
            with lab.Lab() as registry, lab.Store(form=form) as store:
                bad = registry.add(lab.Image(low, lab.tar(link("x", "s"), link("x/y", "f"))))
                equal(store.tool("pull", bad).reason, "malformed")
                store.pull(registry.add(lab.Image(low, lab.tar(link("x", "s")), lab.tar(link("x/y", "f")))))
        equal(os.listdir(canary), [])
    finally:
        shutil.rmtree(canary)


def test_names_may_begin_at_the_root():
    """As ko and kaniko write them; a tar that somebody made of a whole system, too."""
    below, above = f"/etc/{os.getpid()}", f"/tmp/{os.getpid()}-evil"
    layers = [lab.tar(("/", {"mode": 0o711}), "/etc/", ("/etc/a", {"data": b"x"}), (below, {"data": b"y"}), "/d/",
                      ("/d/h", {"type": LNK, "link": "/etc/a"})),
              lab.tar(("/etc/.wh.a", {}), "/tmp/", (above, {"data": b"z"}))]
    found = check(layers)
    equal((found["d/h"][1], found[above[1:]][0]), (0o644, stat.S_IFREG))
    assert not os.path.exists(below) and not os.path.exists(above)


def test_files_with_holes():
    """GNU tar's three formats and old GNU's; content is not in one piece in those."""
    indexed()
    directory = lab.scratch()
    try:
        with open(f"{directory}/holes", "wb") as f:
            f.truncate(5 << 20)
            for at in (0, 1 << 20, (3 << 20) + 4096):
                f.seek(at)
                f.write(os.urandom(5000))
        with open(f"{directory}/empty", "wb") as f:
            f.truncate(1 << 20)
        with open(f"{directory}/plain", "wb") as f:
            f.write(b"plain" * 999)
        for how in (["--format=gnu"], ["--format=pax", "--sparse-version=0.0"], ["--format=pax", "--sparse-version=0.1"],
                    ["--format=pax", "--sparse-version=1.0"]):
            berth.run("tar", "-C", directory, "-S", *how, "-cf", f"{directory}/tar", "holes", "empty", "plain")
            with open(f"{directory}/tar", "rb") as f, lab.Lab() as registry, lab.Store(form="index") as store:
                reference = registry.add(lab.Image(f.read()))
                store.pull(reference)
                with store.mounted(reference) as root:
                    for name in ("holes", "empty", "plain"):
                        with open(f"{directory}/{name}", "rb") as a, open(f"{root}/{name}", "rb") as b:
                            assert a.read() == b.read(), (how, name)
    finally:
        shutil.rmtree(directory)


def test_file_capabilities_and_acls_are_kept():
    indexed()
    capability = "\x01\0\0\x02\0\x20" + "\0" * 14  # cap_net_raw=ep
    found = check([lab.tar(("ping", {"data": b"x", "pax": {"SCHILY.xattr.security.capability": capability}}))], "index")
    equal(found["ping"][-1], [("security.capability", capability.encode())])


def both_forms(layers):
    """The trees that the two forms show, with the root's own attributes."""
    found = {}
    with lab.Lab() as registry:
        reference = registry.add(lab.Image(*layers))
        for form in ("index", "unpacked"):
            with lab.Store(form=form) as store:
                store.pull(reference)
                with store.mounted(reference) as root:
                    st = os.stat(root)
                    found[form] = dict(lab.tree(root), root=[st.st_mode, st.st_uid, st.st_gid])
    return found["index"], found["unpacked"]


def test_a_layer_may_leave_its_parents_out():
    """What lower layers say of a directory stays, as if the layer were unpacked upon them."""
    indexed()
    layers = [lab.tar(("./", {"mode": 0o750, "gid": 3, "mtime": 4}), ("d/", {"mode": 0o711, "uid": 7, "mtime": 5}),
                      ("d/e/", {"mode": 0o1777, "mtime": 6, "pax": {"SCHILY.xattr.user.note": "kept"}}),
                      ("gone/", {"mode": 0o700, "uid": 9}), ("gone/x", {"data": b"x"}), ("cleared/", {"mode": 0o700, "uid": 9}),
                      ("file", {"data": b"a file"}), ("said/", {"mode": 0o700, "uid": 9})),
              lab.tar(("d/e/f", {"data": b"1"}), ("new/file", {"data": b"2"}), (".wh.gone", {}), ("cleared/.wh..wh..opq", {}),
                      ("cleared/y", {"data": b"y"}), ("said/", {"mode": 0o755, "uid": 8}), ("said/z", {"data": b"z"})),
              lab.tar(("d/e/g/h", {"data": b"3"}), ("gone/new", {"data": b"4"}), ("said/zz", {"data": b"5"}),
                      ("a/b/c/d", {"data": b"6"}))]
    silent = ("d", "d/e", "new", "gone", "cleared", "said", "d/e/g", "a", "a/b", "a/b/c")
    check(layers, ignore=lambda path: path in silent)
    index, unpacked = both_forms(layers)
    lab.same_trees(lab.without_links(index), lab.without_links(unpacked))
    for found in (index, unpacked):
        equal(found["root"], [stat.S_IFDIR | 0o750, 0, 3])
        equal(found["d"], [stat.S_IFDIR, 0o711, 7, 0, 5 * 10 ** 9, []])
        equal(found["d/e"], [stat.S_IFDIR, 0o1777, 0, 0, 6 * 10 ** 9, [("user.note", b"kept")]])
        equal(found["said"][:3], [stat.S_IFDIR, 0o755, 8])
        for path in ("new", "gone", "a/b/c", "d/e/g"):
            equal((path, found[path][:4]), (path, [stat.S_IFDIR, 0o755, 0, 0]))
        assert "gone/x" not in found


def test_what_lies_on_top_of_unpacked_layers_comes_and_goes_with_them():
    layers = [lab.tar(("d/", {"mode": 0o711})), lab.tar(("d/e", {"data": b"1"}))]
    with lab.Lab() as registry, lab.Store(form="unpacked") as store:
        reference = registry.add(lab.Image(*layers))
        store.pull(reference)
        held = os.path.join(store.dir, "layers")
        digests = {lab.digest(t)[7:] for t in layers}
        top, = set(os.listdir(held)) - digests
        # Without it the image is not whole, and its layers need not be fetched again.
        shutil.rmtree(os.path.join(held, top))
        equal(store.find(reference), None)
        registry.requests.clear()
        store.pull(reference)
        equal([registry.gets("blobs", lab.digest(l)) for l in lab.Image(*layers).layers], [[], []])
        with store.mounted(reference) as root:
            equal(stat.S_IMODE(os.stat(f"{root}/d").st_mode), 0o711)
        store.tool("remove", reference)
        berth.wait_for(lambda: not any(store.content().values()), 20, "an empty store")


def test_an_image_without_any_file():
    indexed()
    equal(check([lab.tar()], "index"), {})


def test_127_layers():
    indexed()
    layers = [lab.tar(("same", {"data": b"%d" % i}), (f"f{i}", {"data": b"%d" % i})) for i in range(127)]
    with lab.Lab() as registry, lab.Store(form="index") as store:
        reference = registry.add(lab.Image(*layers))
        store.pull(reference)
        with store.mounted(reference) as root:
            equal(len(os.listdir(root)), 128)
            for i in (0, 63, 126):
                equal(open(f"{root}/f{i}").read(), str(i))
            equal(open(f"{root}/same").read(), "126")


def test_the_kernel_is_given_nothing_that_a_tar_brings():
    """An image that holds a file system image is a file to us."""
    indexed()
    directory = lab.scratch()
    try:
        with lab.Lab() as registry, lab.Store(form="index") as store:
            reference = registry.add(lab.Image(lab.tar(("x", {"data": b"1"}))))
            store.pull(reference)
            index = os.listdir(os.path.join(store.dir, "indexes"))[0]
            with open(os.path.join(store.dir, "indexes", index), "rb") as f:
                data = f.read()
            with lab.Store(form="index") as other:
                reference = registry.add(lab.Image(lab.tar(("erofs", {"data": data}))), "2")
                other.pull(reference)
                with other.mounted(reference) as root:
                    equal(os.listdir(root), ["erofs"])
    finally:
        shutil.rmtree(directory)


def test_unpacked_layers_stay_good_when_the_kernel_learns_more():
    """A store of directories, opened by a berth that makes indexes; the next pull brings tars."""
    indexed()
    with lab.Lab() as registry, lab.Store(form="unpacked") as store:
        reference = registry.add(lab.Image(lab.tar(("x", {"data": b"1"}))))
        store.pull(reference)
        name = os.listdir(os.path.join(store.dir, "layers"))[0]
        with open(os.path.join(store.dir, "layers", name, "bytes"), "w") as f:
            f.write("1")  # as older ones wrote it
        again = lab.Store(directory=store.dir, form="index")
        equal(again.find(reference)["form"], ["unpacked"])
        with again.mounted(reference) as root:
            equal(os.listdir(root), ["x"])
        again.pull("-i", reference)
        equal(again.find(reference)["form"], ["unpacked"])
        again.pull(reference)
        equal(again.find(reference)["form"], ["index"])
        equal(store.find(reference)["form"], ["unpacked"])


def test_tars_are_unpacked_when_the_kernel_forgets():
    """A store of tars, opened by a berth that makes directories: what is held is not fetched again."""
    indexed()
    image = lab.Image(lab.tar(("x", {"data": b"1"})), lab.tar(("y", {"data": b"2"})))
    with lab.Lab() as registry, lab.Store(form="index") as store:
        reference = registry.add(image)
        store.pull(reference)
        again = lab.Store(directory=store.dir, form="unpacked")
        equal(again.find(reference), None)
        again.pull(reference)
        equal(again.find(reference)["form"], ["unpacked"])
        with again.mounted(reference) as root:
            equal(sorted(os.listdir(root)), ["x", "y"])
        for layer in image.layers:
            equal(len(registry.gets("blobs", lab.digest(layer))), 1)
    with lab.Lab() as registry, lab.Store(form="index") as store:  # unless it is damaged
        reference = registry.add(image)
        store.pull(reference)
        path = os.path.join(store.dir, "tars", lab.digest(image.tars[0])[7:], "tar")
        with open(path, "r+b") as f:
            f.seek(512)
            f.write(b"3")
        again = lab.Store(directory=store.dir, form="unpacked")
        again.pull(reference)
        with again.mounted(reference) as root:
            equal(open(root + "/x").read(), "1")
        equal([len(registry.gets("blobs", lab.digest(layer))) for layer in image.layers], [2, 1])


if __name__ == "__main__":
    lab.private_mounts()
    berth.main()
