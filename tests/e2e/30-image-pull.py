#!/usr/bin/env python3
# tests/e2e/30-image-pull.py - images come from registries as they should
# SPDX-License-Identifier: Apache-2.0

import os
import re
import shutil
import ssl
import subprocess
import threading

import berth
import imagelab as lab
from berth import contains, equal, wait_for
from descriptors import descriptors

SMALL = lab.tar("bin/", ("bin/sh", {"data": b"#!", "mode": 0o755}), "tmp/")


def test_the_demo_image_comes_from_docker_registry_and_runs():
    with berth.Registry() as registry, lab.Store() as store:
        reference = registry.demo()
        out = store.pull(reference)
        contains(out.text, "resolved sha256:")
        contains(out.text, "layer 0/1 done")
        found = store.find(reference)
        equal(found["cmd"], ["/bin/serve"])
        equal(found["port"], ["80/tcp"])
        equal(found["signal"], ["SIGTERM"])
        with store.mounted(reference) as root:
            p = berth.run("chroot", root, "/bin/echo", "hello")
            equal(p.stdout, "hello\n")


def test_both_families_and_all_packings_give_the_same_tree():
    trees = []
    with lab.Lab() as registry:
        for family in ("oci", "docker"):
            for packing in ("gzip", "zstd", "plain"):
                with lab.Store() as store:
                    reference = registry.add(lab.Image(SMALL, packing=packing, family=family))
                    store.pull(reference)
                    with store.mounted(reference) as root:
                        trees.append(lab.tree(root))
    for t in trees[1:]:
        lab.same_trees(trees[0], t)


def test_an_index_gives_the_image_for_the_platform():
    ours, other = lab.Image(SMALL), lab.Image(SMALL, architecture="arm64")
    with lab.Lab() as registry, lab.Store() as store:
        for family in ("oci", "docker"):
            registry.add(ours, None)
            registry.add(other, None)
            document, kind = lab.index(other.descriptor(os="linux", architecture="arm64", variant="v8"),
                                       ours.descriptor(os="linux", architecture="amd64"),
                                       {"mediaType": lab.MANIFEST, "digest": lab.digest(b"x"), "size": 1,
                                        "platform": {"os": "unknown", "architecture": "unknown"}}, family=family)
            reference = registry.add_manifest(document, kind, family)
            out = store.pull(reference)
            contains(out.text, "resolved " + lab.digest(document))
            found = store.find(reference)
            equal(found["digest"], [lab.digest(document)])
            equal(found["manifest"], [ours.digest()])
            equal(found["platform"], ["linux/amd64"])
            store.pull("-p", "linux/arm64", reference)
            equal(store.find(reference)["platform"], ["linux/arm64"])
        # An index in an index.
        inner, kind = lab.index(ours.descriptor(os="linux", architecture="amd64"))
        registry.add_manifest(inner, kind, None)
        outer, kind = lab.index({"mediaType": kind, "digest": lab.digest(inner), "size": len(inner)})
        store.pull(registry.add_manifest(outer, kind, "nested"))


def test_a_digest_pins_the_image():
    image = lab.Image(SMALL)
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(image)
        registry.manifests["1"] = (b"moved", "text/plain")
        by_digest = f"{registry.address}/app@{image.digest()}"
        store.pull(by_digest)
        store.pull(f"{registry.address}/app:1@{image.digest()}")
        equal(store.find(by_digest)["digest"], [image.digest()])
        equal(store.find(f"{registry.address}/app:9@{image.digest()}")["reference"], [by_digest])
        equal(store.find(reference), None)


def test_what_is_held_is_not_fetched_again():
    other = lab.Image(SMALL, lab.tar(("more", {"data": b"x"})))
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(lab.Image(SMALL))
        store.pull(reference)
        count = len(registry.requests)
        out = store.pull("-i", reference)
        equal(len(registry.requests), count)
        contains(out.text, "0 done sha256:")
        out = store.pull(registry.add(other, "2"))
        contains(out.text, "layer 0/2 exists")
        contains(out.text, "layer 1/2 done")
        equal(len(registry.gets("blobs", lab.digest(other.layers[0]))), 1)


def test_ten_pulls_at_once_fetch_each_layer_once():
    layers = [lab.tar((f"f{i}", {"data": os.urandom(300000)})) for i in range(5)]
    with lab.Lab() as registry, lab.Store() as store:
        images = [lab.Image(*layers, config={"Cmd": [str(i)]}) for i in range(10)]
        references = [registry.add(image, str(i)) for i, image in enumerate(images)]
        out = store.pull(*references)
        equal(len(re.findall(r"^\d+ done ", out.text, re.M)), 10)
        for blob in images[0].layers:
            equal(len(registry.gets("blobs", lab.digest(blob))), 1)
        store.settled()
        equal(len(store.content()["layers"]), 5)
        equal(len(store.content()["images"]), 10)


def test_an_image_may_name_a_layer_twice():
    with lab.Lab() as registry, lab.Store() as store:
        a, b = lab.tar(("a", {"data": b"1"})), lab.tar((".wh.a", {}), ("b", {"data": b"2"}))
        reference = registry.add(lab.Image(a, b, a))
        store.pull(reference)
        with store.mounted(reference) as root:
            equal(sorted(os.listdir(root)), ["a", "b"])


def test_trees_equal_umocis():
    """A tree of every kind of entry, in layers that change and hide one another."""
    first = lab.tar(
        ("./", {"mode": 0o755}), ("etc/", {"mtime": 5}), ("etc/passwd", {"data": b"root:x:0:0::/root:/bin/sh\n", "mtime": 1}),
        ("etc/shadow", {"data": b"secret", "mode": 0o640, "gid": 42}), ("bin/", {}),
        ("bin/su", {"data": b"x" * 100000, "mode": 0o4755}), ("bin/link", {"type": lab.tarfile.SYMTYPE, "link": "su"}),
        ("bin/hard", {"type": lab.tarfile.LNKTYPE, "link": "bin/su"}), ("dev/", {}),
        ("dev/null", {"type": lab.tarfile.CHRTYPE, "dev": (1, 3), "mode": 0o666}),
        ("dev/loop0", {"type": lab.tarfile.BLKTYPE, "dev": (7, 0), "mode": 0o660, "gid": 6}),
        ("run/", {}), ("run/pipe", {"type": lab.tarfile.FIFOTYPE, "mode": 0o600}), ("tmp/", {"mode": 0o1777}),
        ("home/", {}), ("home/user/", {"uid": 1000, "gid": 1000, "mode": 0o2750}),
        ("home/user/big-id", {"uid": 3000000000, "gid": 4294967294}), ("old/", {}), ("old/a", {"data": b"a"}),
        ("old/b/", {}), ("old/b/c", {"data": b"c"}), ("gone", {"data": b"gone"}), ("kept/", {}),
        ("kept/below", {"data": b"below"}), ("becomes-dir", {"data": b"file"}), ("becomes-file/", {}),
        ("becomes-file/x", {"data": b"x"}), ("be\u0301/", {}), ("b\u00e9/", {}), ("be\u0301/\u00e9", {"data": b"nfc"}),
        ("n" * 200 + "/", {}), ("n" * 200 + "/" + "m" * 250, {"data": b"long"}),
        ("xattr", {"data": b"x", "pax": {"SCHILY.xattr.user.note": "hello"}}),
        ("ns", {"data": b"t", "mtime": 1234567890.5}), ("before-1970", {"mtime": -100}), ("late", {"mtime": 2 ** 33 + 1}),
        ("sym-abs", {"type": lab.tarfile.SYMTYPE, "link": "/etc/passwd"}), ("empty/", {"mtime": 77}))
    second = lab.tar(
        (".wh.gone", {}), ("old/", {}), ("old/.wh..wh..opq", {}), ("old/d", {"data": b"d"}), ("kept/", {"mode": 0o700}),
        ("kept/.wh.below", {}), (".wh.becomes-dir", {}), ("becomes-dir/", {}), ("becomes-dir/y", {"data": b"y"}),
        (".wh.becomes-file", {}), ("becomes-file", {"data": b"now a file"}), ("etc/", {"mtime": 9}),
        ("etc/passwd", {"data": b"changed", "mtime": 2}))
    third = lab.tar((".wh.kept", {}), ("kept/", {"mode": 0o755}), ("kept/new", {"data": b"new"}), ("new/", {}),
                    ("new/file", {"data": b"1", "uid": 7}))
    directory = lab.scratch()
    try:
        with berth.Registry() as registry, lab.Lab() as source:
            reference = source.add(lab.Image(first, second, third))
            berth.run("skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", f"docker://{reference}",
                      f"oci:{directory}/layout:1")
            berth.run("umoci", "unpack", "--image", f"{directory}/layout:1", f"{directory}/bundle")
            pushed = registry.push(f"{directory}/layout:1", "tree:1")
            for form in lab.forms():
                with lab.Store(form=form) as store:
                    store.pull(pushed)
                    equal(store.find(pushed)["form"], [form])
                    equal(store.find(pushed)["ids"], ["4294967294"])
                    with store.mounted(pushed) as root:
                        lab.same_trees(lab.tree(root), lab.tree(f"{directory}/bundle/rootfs"))
    finally:
        shutil.rmtree(directory)


def test_names_are_bytes():
    """Two spellings of one word are two files, and so they stay."""
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(lab.Image(lab.tar(("caf\u00e9", {"data": b"1"}), ("cafe\u0301", {"data": b"2"}),
                                                   ("latin-\udce9", {"data": b"3"}))))
        store.pull(reference)
        with store.mounted(reference) as root:
            equal(sorted(os.listdir(os.fsencode(root))), [b"cafe\xcc\x81", b"caf\xc3\xa9", b"latin-\xe9"])


# ---- logins ----

def basic(handler, kind, name):
    import base64
    if handler.headers.get("Authorization") == "Basic " + base64.b64encode(b"me:secret").decode():
        return False
    return handler.answer(401, b"", WWW_Authenticate='Basic realm="lab"')


def test_basic_login():
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(lab.Image(SMALL))
        registry.hooks.append(basic)
        store.refuses("unauthorized", "credentials are needed", reference)
        store.refuses("unauthorized", "access denied", "-u", "me:wrong", reference)
        store.pull("-u", "me:secret", reference)


class Tokens:
    """A token server in the registry; tokens are good for some requests."""

    def __init__(self, registry, uses=1000, realm=None, user=None):
        self.registry, self.uses, self.user = registry, uses, user
        self.realm = realm or f"http://{registry.address}/token"
        self.issued, self.left, self.asked = 0, {}, []

    def __call__(self, handler, kind, name):
        if handler.path.startswith("/token"):
            self.asked.append((handler.path, handler.headers.get("Authorization")))
            if self.user and handler.headers.get("Authorization") != self.user:
                return handler.answer(401)
            self.issued += 1
            self.left[f"t{self.issued}"] = self.uses
            return handler.answer(200, b'{"token":"t%d","expires_in":60}' % self.issued, "application/json")
        given = (handler.headers.get("Authorization") or "").replace("Bearer ", "")
        if self.left.get(given, 0) > 0:
            self.left[given] -= 1
            return False
        return handler.answer(401, b"", WWW_Authenticate=f'Bearer realm="{self.realm}",service="lab",'
                              'scope="repository:app:pull"')


def test_token_login():
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(lab.Image(SMALL, lab.tar("x"), lab.tar("y")))
        tokens = Tokens(registry)
        registry.hooks.append(tokens)
        store.pull(reference)
        equal(tokens.issued, 1)
        equal(tokens.asked, [("/token?scope=repository%3Aapp%3Apull&service=lab", None)])


def test_a_token_that_expires_is_renewed():
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(lab.Image(SMALL, lab.tar("x"), lab.tar("y")))
        tokens = Tokens(registry, uses=2)
        registry.hooks.append(tokens)
        store.pull(reference)
        assert tokens.issued >= 2


def test_the_credentials_go_to_the_token_server():
    import base64
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(lab.Image(SMALL))
        tokens = Tokens(registry, user="Basic " + base64.b64encode(b"AWS:a:b").decode())
        registry.hooks.append(tokens)
        store.refuses("unauthorized", "credentials are needed", reference)
        store.refuses("unauthorized", "the credentials are not accepted", "-u", "AWS:other", reference)
        store.pull("-u", "AWS:a:b", reference)


# ---- what registries do ----

def test_redirects_lose_the_login():
    """The storage behind a registry gets the request, not the token; and ranges, too."""
    with lab.Lab() as registry, lab.Lab() as storage, lab.Store() as store:
        image = lab.Image(SMALL)
        reference = registry.add(image)
        storage.blobs.update(registry.blobs)

        def redirect(handler, kind, name):
            return kind == "blobs" and handler.answer(307, b"", Location=f"http://{storage.address}{handler.path}?sig=1")
        registry.hooks += [Tokens(registry), redirect]
        storage.hooks.append(lambda handler, kind, name: handler.serve(
            "blobs", re.search(r"sha256:\w+", handler.path).group(0)) or True)
        store.pull(reference)
        equal(len(storage.requests), 2)
        assert all("Authorization" not in headers for _, headers in storage.requests), storage.requests
        assert any("Authorization" in headers for _, headers in registry.requests)


def test_a_broken_connection_goes_on_where_it_broke():
    data = lab.tar(("big", {"data": os.urandom(3 << 20)}))
    for ranges in (True, False):
        with lab.Lab() as registry, lab.Store() as store:
            image = lab.Image(data, packing="plain")
            reference = registry.add(image)
            registry.ranges = ranges
            broken = []

            def cut(handler, kind, name):
                if name != lab.digest(image.layers[0]) or len(broken) == 2:
                    return False
                broken.append(handler.headers.get("Range"))
                begin = int(re.search(r"\d+", broken[-1]).group(0)) if broken[-1] and ranges else 0
                length = len(data) - begin
                status = 206 if begin else 200
                headers = {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if begin else {}
                return handler.answer(status, data[begin:begin + (1 << 20) * len(broken)], length=length, **headers)
            registry.hooks.append(cut)
            store.pull(reference)
            equal(broken[0], None)
            contains(broken[1], "bytes=")


def test_busy_registries_are_asked_again():
    for status, headers in ((429, {"Retry_After": "1"}), (503, {}), (500, {"Retry_After": "Fri, 31 Dec 1999 23:59:59 GMT"})):
        with lab.Lab() as registry, lab.Store() as store:
            reference = registry.add(lab.Image(SMALL))
            seen = set()

            def busy(handler, kind, name):
                if handler.path in seen:
                    return False
                seen.add(handler.path)
                return handler.answer(status, b"busy", **headers)
            registry.hooks.append(busy)
            store.pull(reference)
            equal(len(seen), 3)


def certificate(directory):
    path = os.path.join(directory, "pem")
    berth.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
              "-subj", "/CN=lab", "-keyout", path + ".key", "-out", path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, path + ".key")
    return context


def test_tls_is_checked_unless_the_registry_is_insecure():
    directory = lab.scratch()
    try:
        with lab.Lab(tls=certificate(directory)) as registry, lab.Store() as store:
            reference = registry.add(lab.Image(SMALL))
            store.refuses("unreachable", "certificate", reference)
            store.pull("-k", reference)
    finally:
        shutil.rmtree(directory)


def test_an_insecure_registry_may_speak_plain_http():
    """Not on loopback by its name, which is what the host's own address is for."""
    address = re.search(r"inet (\d+\.\d+\.\d+\.\d+)/\d+ .*scope global", berth.run("ip", "-4", "addr").stdout)
    if not address:
        raise berth.Skip("the host has no address but loopback")
    with lab.Lab(address=address.group(1)) as registry, lab.Store() as store:
        reference = registry.add(lab.Image(SMALL))
        out = store.tool("pull", reference)
        assert out.reason in ("registry", "unreachable"), out.text
        equal(registry.requests, [])
        store.pull("-k", reference)


# ---- taking away ----

def test_an_image_and_its_layers_go():
    with lab.Lab() as registry, lab.Store() as store:
        a = registry.add(lab.Image(SMALL, lab.tar("a")), "a")
        b = registry.add(lab.Image(SMALL, lab.tar("b")), "b")
        store.pull(a, b)
        equal(len(store.content()["layers"]), 3)
        digest_a = store.find(a)["digest"][0]
        contains(store.tool("remove", a, digest_a).text, "in use")
        contains(store.tool("remove", a).text, "removed")
        store.settled()
        wait_for(lambda: len(store.content()["layers"]) == 2, 10, "two layers")
        equal(store.find(a), None)
        with store.mounted(b) as root:
            assert os.path.exists(os.path.join(root, "b"))
        contains(store.tool("remove", store.find(b)["digest"][0]).text, "removed")
        wait_for(lambda: not any(store.content().values()), 10, "an empty store")
        contains(store.tool("remove", b).text, "absent")


def test_a_tag_that_moved_leaves_the_old_image_nameless():
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(lab.Image(SMALL))
        store.pull(reference)
        old = store.find(reference)["digest"][0]
        registry.add(lab.Image(lab.tar("new")))
        store.pull("-i", reference)
        equal(store.find(reference)["digest"], [old])
        store.pull(reference)
        listed = store.tool("list").text
        contains(listed, f"- {old}")
        contains(listed, f"{reference} {store.find(reference)['digest'][0]}")


# ---- users ----

def test_users_are_looked_up_below_the_root_only():
    passwd = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"
    symlink, fifo = lab.tarfile.SYMTYPE, lab.tarfile.FIFOTYPE
    cases = {
        "plain": (lab.tar("etc/", ("etc/passwd", {"data": passwd}), ("etc/group", {"data": b"g:x:5:app\n"})), "app",
                  "1000:1000 /home/app 5\n"),
        "none": (lab.tar("etc/"), "5:6", "5:6 /\n"),
        "no etc": (lab.tar("x"), "5", "5:0 /\n"),
        "inside": (lab.tar("etc/", ("etc/passwd", {"type": symlink, "link": "/usr/passwd"}),
                           ("usr/passwd", {"data": passwd})), "app", "1000:1000 /home/app\n"),
        "outside": (lab.tar("etc/", ("etc/passwd", {"type": symlink, "link": "/../../../../etc/passwd"})), "root",
                    "no such user|ELOOP|levels of symbolic links"),
        "proc": (lab.tar("etc/", ("etc/passwd", {"type": symlink, "link": "/proc/self/environ"})), "root", "no such user"),
        "fifo": (lab.tar("etc/", ("etc/passwd", {"type": fifo})), "0", "not a regular file"),
        "device": (lab.tar("etc/", ("etc/passwd", {"type": lab.tarfile.CHRTYPE, "dev": (1, 5)})), "0",
                   "not a regular file"),
        "large": (lab.tar("etc/", ("etc/passwd", {"data": b"x" * ((1 << 20) + 1)})), "0", "more than 1048576 bytes"),
        "NUL": (lab.tar("etc/", ("etc/passwd", {"data": b"a\0b"})), "0", "a NUL"),
        "too large an id": (lab.tar("x"), "4294967295", "ids end at"),
    }
    for name, (layer, user, expected) in cases.items():
        with lab.Lab() as registry, lab.Store() as store:
            reference = registry.add(lab.Image(layer))
            store.pull(reference)
            directory = lab.scratch()
            out = store.tool("user", reference, os.path.join(directory, "scratch"), user)
            shutil.rmtree(directory)
            if not any(part in out.text for part in expected.split("|")):
                raise AssertionError(f"{name}: {out.text}")


# ---- the processes ----

def has_no_rights(status):
    equal(status["Uid"].split(), ["65534"] * 4)
    equal(status["Groups"].strip(), "")
    for caps in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        equal(status[caps], "0000000000000000")
    equal(status["NoNewPrivs"], "1")


def has_rights_over_its_tree(pid, status):
    six = sum(1 << c for c in (0, 1, 3, 4, 27, 31))  # chown dac_override fowner fsetid mknod setfcap
    equal(int(status["CapEff"], 16), six)
    equal(int(status["CapBnd"], 16), six)
    equal(status["NoNewPrivs"], "1")
    root = os.stat(f"/proc/{pid}/root")
    assert root.st_ino != os.stat("/").st_ino or root.st_dev != os.stat("/").st_dev
    for namespace in ("net", "ipc"):
        assert os.readlink(f"/proc/{pid}/ns/{namespace}") != os.readlink(f"/proc/self/ns/{namespace}")


def test_workers_have_few_rights():
    """What each of them may do, told by the kernel while a slow pull goes on."""
    if "/san" in berth.BUILD:
        raise berth.Skip("sanitizers leave the filter of system calls out")
    for form in lab.forms():
        check_rights(form)


def check_rights(form):
    go_on = threading.Event()
    with lab.Lab() as registry, lab.Store(form=form) as store:
        image = lab.Image(lab.tar(("big", {"data": os.urandom(1 << 20)})), packing="plain")
        reference = registry.add(image)

        def slow(handler, kind, name):
            if name != lab.digest(image.layers[0]):
                return False
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(image.layers[0])))
            handler.end_headers()
            handler.wfile.write(image.layers[0][:300000])
            handler.wfile.flush()
            go_on.wait(60)
            handler.wfile.write(image.layers[0][300000:])
            return True
        registry.hooks.append(slow)
        process = store.start("pull", reference)

        def role(name):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open(f"/proc/{pid}/cmdline", "rb") as f:
                        if f.read().startswith(b"berth-worker\0" + name.encode() + b"\0"):
                            with open(f"/proc/{pid}/status") as s:
                                status = dict(l.split(":\t", 1) for l in s.read().split("\n") if ":\t" in l)
                            if status["Seccomp"] == "2" or name == "pull":
                                return pid, status
                except (OSError, KeyError):
                    pass
            return None
        try:
            fetcher, status = wait_for(lambda: role("fetch"), 20, "a confined fetcher")
            has_no_rights(status)
            unpacker, status = wait_for(lambda: role("list" if form == "index" else "unpack"), 20,
                                        "a confined worker for the layer")
            if form == "index":
                has_no_rights(status)
            else:
                has_rights_over_its_tree(unpacker, status)
            for pid in (fetcher, unpacker):
                names = descriptors(pid)
                assert not any(n.endswith("/lock") for n in names), names
        finally:
            go_on.set()
        process.communicate(timeout=60)
        equal(process.returncode, 0)


def test_a_pull_leaves_no_process():
    with lab.Lab() as registry, lab.Store() as store:
        store.pull(registry.add(lab.Image(SMALL)))

        def none():
            found = subprocess.run(["ps", "-eo", "args"], stdout=subprocess.PIPE, text=True).stdout
            return f"berth-worker pull {store.dir}" not in found
        wait_for(none, 10, "the puller's end")


if __name__ == "__main__":
    berth.main()
