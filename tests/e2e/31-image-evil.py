#!/usr/bin/env python3
# tests/e2e/31-image-evil.py - what a registry or an image may try, and where it ends
# SPDX-License-Identifier: Apache-2.0
#
# Each case fails for its reason, with a sentence that says what is wrong, leaves
# the store as it was, and the next pull works.

import gzip
import json
import os
import random
import socket
import subprocess
import threading
import time
import zlib

import berth
import imagelab as lab
from berth import contains, equal

GOOD = lab.tar("bin/", ("bin/sh", {"data": b"#!", "mode": 0o755}))
SYM, LNK = lab.tarfile.SYMTYPE, lab.tarfile.LNKTYPE
CHR, BLK, FIFO = lab.tarfile.CHRTYPE, lab.tarfile.BLKTYPE, lab.tarfile.FIFOTYPE


class Case:
    """A registry and a store; after each refusal a good image is pulled."""

    def __init__(self, form=None):
        self.form = form

    def __enter__(self):
        self.registry = lab.Lab().__enter__()
        self.store = lab.Store(form=self.form).__enter__()
        self.good = lab.Image(GOOD, config={"Cmd": ["good"]})
        self.good_reference = self.registry.add(self.good, "good")
        return self

    def refuses(self, reason, says, reference, *argv):
        out = self.store.refuses(reason, says, reference, *argv)
        self.registry.hooks.clear()
        for blob in (self.good.layers[0], self.good.config_bytes):
            self.registry.blobs[lab.digest(blob)] = blob
        self.store.pull(self.good_reference)
        contains(self.store.tool("remove", self.good_reference).text, "removed")
        berth.wait_for(lambda: not any(self.store.content().values()), 20, "an empty store")
        return out

    def __exit__(self, *_):
        self.store.__exit__()
        self.registry.__exit__()


# ---- documents ----

def test_bad_manifests():
    image = lab.Image(GOOD)
    both = dict(image.manifest, manifests=[])
    deep = b'{"schemaVersion":2,"a":' + b"[" * 100 + b"]" * 100 + b"}"
    cases = [
        (b"<html>not json</html>", lab.MANIFEST, "malformed", "JSON line 1"),
        (b"", lab.MANIFEST, "malformed", "manifest: JSON"),
        (image.manifest_bytes()[:-10], lab.MANIFEST, "malformed", "manifest: JSON"),
        (image.manifest_bytes() + b"x", lab.MANIFEST, "malformed", "JSON"),
        (deep, lab.MANIFEST, "malformed", "nests deeper"),
        (b'{"schemaVersion":2,"schemaVersion":2}', lab.MANIFEST, "malformed", "duplicate"),
        (json.dumps(both).encode(), lab.MANIFEST, "malformed", "both an index and a manifest"),
        (json.dumps(both).encode(), lab.INDEX, "malformed", "calls itself"),
        (image.manifest_bytes(), lab.INDEX, "malformed", "calls itself"),
        (image.manifest_bytes(), "text/html", "malformed", "calls itself"),
        (b'{"schemaVersion":1,"name":"x","fsLayers":[]}', lab.V2 + "distribution.manifest.v1+prettyjws", "unsupported",
         "schema 1"),
        (json.dumps(dict(image.manifest, layers=image.manifest["layers"] * 128)).encode(), lab.MANIFEST, "too large",
         "128 layers, the limit is 127"),
        (b" " * (4 << 20) + b"{}", lab.MANIFEST, "too large", "the limit is 4194304"),
        (json.dumps(dict(image.manifest, config=dict(image.manifest["config"], mediaType="application/vnd.x"))).encode(),
         lab.MANIFEST, "unsupported", "not a container image"),
    ]
    with Case() as case:
        for data, kind, reason, says in cases:
            case.registry.add(image)
            case.refuses(reason, says, case.registry.add_manifest(data, kind))


def test_bad_layers_in_manifests():
    cases = [
        ({"mediaType": lab.V2 + "image.rootfs.foreign.diff.tar.gzip", "urls": ["http://127.0.0.1:1/x"]}, "unsupported",
         "fetched from elsewhere"),
        ({"mediaType": lab.LAYER + "+gzip+encrypted"}, "unsupported", "encrypted"),
        ({"mediaType": "application/zip"}, "unsupported", "media type 'application/zip'"),
        ({"digest": "sha256:../../../../etc/passwd"}, "unsupported", "is not sha256:"),
        ({"digest": "sha512:" + "0" * 128}, "unsupported", "is not sha256:"),
        ({"size": -1}, "malformed", "negative size"),
        ({"size": 1 << 62}, "too large", "the limit is"),
    ]
    with Case() as case:
        for change, reason, says in cases:
            image = lab.Image(GOOD)
            image.manifest["layers"][0].update(change)
            case.refuses(reason, says, case.registry.add(image))


def test_wrong_architecture():
    with Case() as case:
        arm = lab.Image(GOOD, architecture="arm64")
        case.refuses("platform", "no image for linux/amd64, this one is for linux/arm64", case.registry.add(arm))
        document, kind = lab.index(arm.descriptor(os="linux", architecture="arm64", variant="v8"),
                                   arm.descriptor(os="linux", architecture="s390x"))
        case.registry.add(arm)
        case.refuses("platform", "no image for linux/amd64, the index has linux/arm64/v8, linux/s390x",
                     case.registry.add_manifest(document, kind))


def test_indexes_that_never_end():
    """Each says that the next has what is wanted."""
    with Case() as case:
        document, kind = lab.index(lab.Image(GOOD).descriptor(os="linux", architecture="amd64"))
        for _ in range(5):
            case.registry.add_manifest(document, kind, None)
            document, kind = lab.index({"mediaType": kind, "digest": lab.digest(document), "size": len(document)})
        case.refuses("too large", "more than 3 indexes", case.registry.add_manifest(document, kind))


def test_bad_configurations():
    with Case() as case:
        for config, reason, says in (
                (b"nonsense", "malformed", "configuration: JSON"),
                ({"rootfs": {"diff_ids": []}}, "malformed", "0 diff-ids, but the manifest has 1 layers"),
                ({"rootfs": {"diff_ids": ["sha256:x"]}}, "unsupported", "diff-id 'sha256:x'"),
                ({"rootfs": {"diff_ids": [lab.digest(GOOD)]}, "config": {"Volumes": {"../../etc": {}}}}, "malformed",
                 "volume '../../etc'"),
                ({"rootfs": {"diff_ids": [lab.digest(GOOD)]}, "config": {"Env": ["A=" + "x" * (1 << 20)]}}, "too large",
                 "configuration of more than")):
            image = lab.Image(GOOD)
            image.set_config(config)
            case.refuses(reason, says, case.registry.add(image))


# ---- bytes ----

def test_wrong_bytes():
    """Another blob, manifest or configuration than the digest says."""
    with Case() as case:
        image = lab.Image(GOOD)
        reference = case.registry.add(image)
        blob = lab.digest(image.layers[0])
        other = lab.pack(lab.tar("evil"))
        same_size = bytes(reversed(image.layers[0]))
        case.registry.blobs[blob] = same_size
        case.refuses("digest mismatch", "layer 0: its digest is " + lab.digest(same_size), reference)
        case.registry.blobs[blob] = image.layers[0][:-1] + bytes([image.layers[0][-1] ^ 1])
        case.refuses("digest mismatch", "layer 0: its digest is", reference)
        case.registry.blobs[blob] = other + bytes(len(image.layers[0]))
        case.refuses("digest mismatch", "bytes, the manifest says", reference)
        case.registry.blobs[blob] = image.layers[0]
        case.registry.blobs[lab.digest(image.config_bytes)] = image.config_bytes.replace(b"sh", b"xx")
        case.refuses("digest mismatch", "configuration: its digest is", reference)
        case.registry.add(image)
        case.registry.manifests[image.digest()] = (image.manifest_bytes() + b" ", lab.MANIFEST)
        case.refuses("digest mismatch", "its digest is", f"{case.registry.address}/app@{image.digest()}")
        # A tag whose answer is not what its own header says.
        case.registry.hooks.append(lambda handler, kind, name: kind == "manifests" and handler.answer(
            200, image.manifest_bytes(), lab.MANIFEST, Docker_Content_Digest=lab.digest(b"other")))
        case.refuses("digest mismatch", "instead of " + lab.digest(b"other"), reference)


def test_wrong_diff_id():
    """The blob is the right one, the tar in it is not."""
    with Case() as case:
        image = lab.Image(GOOD)
        image.set_config(dict(image.config, rootfs={"type": "layers", "diff_ids": [lab.digest(b"other")]}))
        case.refuses("digest mismatch", "layer 0: its diff-id is " + lab.digest(GOOD), case.registry.add(image))


@berth.meanwhile
def test_truncated_layers():
    """The registry has less; it sends less; what it has was cut before it was pushed."""
    with Case() as case:
        image = lab.Image(lab.tar(("big", {"data": os.urandom(200000)})))
        blob = image.layers[0]

        reference = case.registry.add(image)
        case.registry.blobs[lab.digest(blob)] = blob[:-1000]
        case.refuses("truncated", f"the registry has {len(blob) - 1000} bytes, the manifest says {len(blob)}", reference)

        case.registry.add(image)
        case.registry.ranges = False
        case.registry.hooks.append(lambda handler, kind, name: name == lab.digest(blob) and handler.answer(
            200, blob[:50000], length=len(blob)))
        case.refuses("truncated", "layer 0: ", reference)
        case.registry.ranges = True

        manifest = image.manifest_bytes()
        case.registry.add(image)
        case.registry.hooks.append(lambda handler, kind, name: kind == "manifests" and handler.answer(
            200, manifest[:100], lab.MANIFEST, length=len(manifest)))
        case.refuses("truncated", "manifest 1: ", reference)

        cut = lab.Image(*image.tars)
        cut.layers = [blob[:-1000]]
        cut.manifest["layers"][0].update(digest=lab.digest(cut.layers[0]), size=len(cut.layers[0]))
        case.refuses("truncated", "gzip: it ends too early", case.registry.add(cut))


def test_bodies_that_never_end():
    """More than was said, for ever: stopped at the limit."""
    with Case() as case:
        image = lab.Image(GOOD)
        reference = case.registry.add(image)

        def endless(wanted):
            def hook(handler, kind, name):
                if kind != wanted:
                    return False
                handler.send_response(200)
                handler.send_header("Content-Type", lab.MANIFEST)
                handler.end_headers()
                handler.close_connection = True
                try:
                    while True:
                        handler.wfile.write(b" " * 65536)
                except OSError:
                    return True
            return hook
        case.registry.hooks.append(endless("manifests"))
        case.refuses("too large", "more than 4194304 bytes", reference)
        case.registry.add(image)
        case.registry.hooks.append(endless("blobs"))
        case.refuses("digest mismatch", "more than", reference)


def test_bombs():
    """A gigabyte of zeros in a few kilobytes; memory stays small."""
    with Case() as case:
        zeros = bytes(1 << 20)
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        header = lab.tar(("zeros", {"size": 1 << 32}))[:512]
        blob = packer.compress(header) + b"".join(packer.compress(zeros) for _ in range(1200)) + packer.flush()
        for data in (blob, subprocess.run(["zstd", "-q", "-c", "-19", "--zstd=wlog=23"], input=header + zeros * 1200,
                                          stdout=subprocess.PIPE, check=True).stdout):
            image = lab.Image(GOOD)
            image.layers = [data]
            image.manifest["layers"][0].update(digest=lab.digest(data), size=len(data))
            case.refuses("too large", "layer 0: it unpacks to more than 1000 times its size", case.registry.add(image))


def test_bad_packings():
    noise = random.Random(1).randbytes(5000)  # always the same: some noise is the beginning of something longer
    with Case() as case:
        plain = lab.tar("x")
        for data, reason, says in (
                (b"\x1f\x8b" + noise, "malformed", "layer 0: gzip: "),
                (gzip.compress(plain) + b"garbage behind the end", "malformed", "gzip: "),
                (b"\x28\xb5\x2f\xfd" + noise, "malformed", "layer 0: zstd: "),
                (subprocess.run(["zstd", "-qc", "--ultra", "-22", "--long=30"], input=os.urandom(3 << 20),
                                stdout=subprocess.PIPE, check=True).stdout, "malformed", "layer 0: "),
                (subprocess.run(["xz", "-c"], input=plain, stdout=subprocess.PIPE, check=True).stdout, "unsupported",
                 "packed by xz"),
                (b"<html>502</html>" * 100, "malformed", "layer 0: tar: "),
                (noise, "malformed", "layer 0: ")):
            image = lab.Image(plain)
            image.layers = [data]
            image.manifest["layers"][0].update(digest=lab.digest(data), size=len(data))
            case.refuses(reason, says, case.registry.add(image))


# ---- archives ----

ARCHIVES = [
    ([("../evil", {"data": b"x"})], "unsafe", "'..' in a path: '../evil'"),
    ([("a/../../evil", {"data": b"x"})], "unsafe", "'..' in a path"),
    ([("/../evil", {"data": b"x"})], "unsafe", "'..' in a path"),
    ([("s", {"type": SYM, "link": "/"}), ("s/tmp/evil", {"data": b"x"})], "unsafe", "path through a symbolic link: 's'"),
    ([("s", {"type": SYM, "link": "../../../../.."}), ("s/evil", {"data": b"x"})], "unsafe", "through a symbolic link"),
    ([("a/", {}), ("a/s", {"type": SYM, "link": ".."}), ("a/s/a/s/evil", {"data": b"x"})], "unsafe", "through a symbolic"),
    ([("s", {"type": SYM, "link": "/etc"}), ("s/", {"mode": 0o777}), ("t", {"type": SYM, "link": "/etc"}),
      ("t/passwd", {"data": b"x"})], "unsafe", "through a symbolic link: 't'"),
    ([("s", {"type": SYM, "link": "/etc"}), ("s/.wh.passwd", {})], "unsafe", "through a symbolic link"),
    ([("s", {"type": SYM, "link": "/etc"}), ("s/.wh..wh..opq", {})], "unsafe", "through a symbolic link"),
    ([("h", {"type": LNK, "link": "/etc/shadow"})], "malformed", "does not have"),
    ([("h", {"type": LNK, "link": "../../../../../../etc/shadow"})], "unsafe", "'..' in a path"),
    ([("s", {"type": SYM, "link": "/etc"}), ("h", {"type": LNK, "link": "s/shadow"})], "malformed", "does not have"),
    ([("h", {"type": LNK, "link": "etc/shadow"})], "malformed", "does not have"),
    ([(".", {"type": SYM, "link": "/etc"}), ("passwd", {"data": b"x"})], "unsafe", "the root is not a directory"),
    ([("./", {"type": LNK, "link": "x"})], "unsafe", "the root is not a directory"),
    ([(".wh..", {})], "unsafe", "whiteout of nothing"),
    ([(".wh...", {})], "unsafe", "whiteout of nothing"),
    ([(".wh.", {})], "unsafe", "whiteout of nothing"),
    ([(".wh..wh..opq/x", {})], "unsafe", "reserved name"),
    ([("a/.wh..wh.plnk", {})], "unsafe", "whiteout of nothing"),
    ([("white", {"type": CHR, "dev": (0, 0)})], "unsafe", "character device 0:0"),
    ([("dev", {"type": CHR, "dev": (70000, 1)})], "malformed", "device number out of range"),
    ([("f", {"pax": {"uid": "4294967295"}})], "malformed", "owner out of range"),
    ([("f", {"pax": {"uid": "-2"}})], "malformed", "owner out of range"),
    ([("f", {"pax": {"size": "1125899906842624"}})], "too large", "GiB"),
    ([("f", {"pax": {"size": "-1"}})], "malformed", "tar: "),
    ([("f", {"pax": {"size": "18446744073709551615"}})], "malformed", "tar: "),
    ([("s", {"type": SYM, "link": "x", "pax": {"size": "512"}})], "malformed", "data behind what is no file"),
    ([("f", {"data": b"x"}), ("h", {"type": LNK, "link": "f", "pax": {"size": "1024"}})], "malformed", "data behind"),
    ([("x", {"pax": {"path": "n" * 256}})], "too large", "name too long"),
    ([("x", {"pax": {"path": "/".join(["n" * 250] * 17)}})], "too large", "path too long"),
    ([("x", {"pax": {"path": "/".join(["d"] * 600)}})], "too large", "nested too deep"),
    ([("x", {"pax": {"comment": "c" * 1100000}})], "malformed", "tar: "),
    ([("x", {"pax": {"SCHILY.xattr.user.a": "v" * 70000}})], "too large", "attribute too large"),
    ([("x", {"pax": {f"SCHILY.xattr.user.a{i}": "v" for i in range(65)}})], "too large", "too many attributes"),
    ([("f", {"data": b"x"}), ("f/x", {"data": b"x"})], "malformed", "path through a file"),
    ([("f", {"data": b"x", "size": 100000})], "malformed", "tar: "),
]


def test_archives_that_try_to_get_out():
    canary = "/tmp/evil"
    assert not os.path.exists(canary)
    host = {path: (open(path, "rb").read(), os.stat(path)) for path in ("/etc/passwd", "/etc/shadow")}
    etc = sorted(os.listdir("/etc"))
    for form in lab.forms():
        with Case(form) as case:
            for i, (entries, reason, says) in enumerate(ARCHIVES):
                try:
                    case.refuses(reason, says, case.registry.add(lab.Image(lab.tar(*entries)), f"a{i}"))
                except AssertionError as error:
                    raise AssertionError(f"{form}: archive {i}, {entries!r:.200}: {error}") from None
    assert not os.path.exists(canary)
    equal(sorted(os.listdir("/etc")), etc)
    for path, (data, st) in host.items():
        equal(open(path, "rb").read(), data)
        equal((os.stat(path).st_mode, os.stat(path).st_nlink, os.stat(path).st_mtime), (st.st_mode, st.st_nlink, st.st_mtime))


def test_a_second_layer_does_not_reach_through_the_first():
    """A link in a lower layer is not a way for a higher one."""
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(lab.Image(lab.tar(("way", {"type": SYM, "link": "/tmp"})),
                                           lab.tar(("way/evil-canary", {"data": b"x"}))))
        store.pull(reference)
        with store.mounted(reference) as root:
            assert os.path.isdir(os.path.join(root, "way"))
            equal(os.listdir(os.path.join(root, "way")), ["evil-canary"])
        assert not os.path.exists("/tmp/evil-canary")


def test_marks_of_overlay_in_an_image_have_no_effect():
    with lab.Lab() as registry, lab.Store() as store:
        marks = {f"SCHILY.xattr.{space}.overlay.{name}": value for space in ("trusted", "user")
                 for name, value in (("opaque", "y"), ("redirect", "/etc"), ("whiteout", "y"), ("metacopy", ""))}
        reference = registry.add(lab.Image(lab.tar("d/", ("d/below", {"data": b"1"})),
                                           lab.tar(("d/", {"pax": marks}), ("d/f", {"data": b"2", "pax": marks}))))
        store.pull(reference)
        with store.mounted(reference) as root:
            equal(sorted(os.listdir(os.path.join(root, "d"))), ["below", "f"])
            equal(open(os.path.join(root, "d/f")).read(), "2")
            for path in ("d", "d/f"):
                equal(os.listxattr(os.path.join(root, path)), [])


def test_devices_and_setuid_files_of_a_layer_are_inert_for_the_unpacker():
    """They are made, because a privileged task may want them; whoever unpacks cannot open one."""
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(lab.Image(lab.tar(("mem", {"type": CHR, "dev": (1, 1)}),
                                                   ("su", {"data": b"x", "mode": 0o4755}))))
        store.pull(reference)
        with store.mounted(reference) as root:
            equal(os.stat(os.path.join(root, "mem")).st_rdev, os.makedev(1, 1))
            equal(os.stat(os.path.join(root, "su")).st_mode & 0o7777, 0o4755)


# ---- the registry ----

def test_answers_that_say_no():
    with Case() as case:
        reference = case.registry.add(lab.Image(GOOD))
        address = case.registry.address
        case.refuses("not found", "manifest 9: not found (MANIFEST_UNKNOWN: not here)", f"{address}/app:9")
        for status, reason, says in ((403, "unauthorized", "access denied"), (418, "registry", "the registry answered 418"),
                                     (204, "registry", "the registry answered 204"), (404, "not found", "not found")):
            case.registry.hooks.append(lambda handler, kind, name, status=status: handler.answer(status))
            case.refuses(reason, says, reference)
        blob = lab.digest(lab.Image(GOOD).layers[0])
        case.registry.hooks.append(lambda handler, kind, name: name == blob and handler.answer(404))
        case.refuses("not found", "layer 0: not found", reference)


def test_messages_are_made_harmless():
    """Text of a registry or a name in an archive ends in logs and on terminals."""
    with Case() as case:
        text = json.dumps({"errors": [{"code": "X", "message": "\u001b[31mred\u0007\n\u009b second line"}]}).encode()
        reference = case.registry.add(lab.Image(GOOD))
        case.registry.hooks.append(lambda handler, kind, name: handler.answer(404, text))
        out = case.refuses("not found", "?[31mred??", reference)
        out2 = case.refuses("unsafe", "'..' in a path", case.registry.add(lab.Image(lab.tar("../\x1b[2J\udcff"))))
        for o in (out, out2):
            assert all(c == "\n" or c.isprintable() for c in o.text), repr(o.text)


@berth.meanwhile
def test_a_registry_that_stays_busy_is_given_up():
    with Case() as case:
        reference = case.registry.add(lab.Image(GOOD))
        for status, says in ((503, "the registry answered 503"), (429, "too many requests")):
            case.registry.hooks.append(lambda handler, kind, name, status=status: handler.answer(status))
            case.refuses("registry", says, reference)


def test_redirects_that_are_not_followed():
    with Case() as case:
        reference = case.registry.add(lab.Image(GOOD))
        for target, says in ((f"http://{case.registry.address}/v2/app/manifests/1", "redirected more than 5 times"),
                             ("file:///etc/passwd", "not an http or https URL"), ("ftp://x/", "not an http or https URL"),
                             ("http://user:word@127.0.0.1/", "a user in it"), ("relative", "not an http or https URL")):
            case.registry.hooks.append(lambda handler, kind, name, target=target: handler.answer(307, Location=target))
            case.refuses("registry", says, reference)
        case.registry.hooks.append(lambda handler, kind, name: handler.answer(302))
        case.refuses("registry", "redirected to nowhere", reference)


def test_only_the_registry_gets_the_credentials():
    """Whom it redirects to may ask for them, and gets none."""
    with Case() as case, lab.Lab() as thief:
        for scheme in ('Basic realm="x"', f'Bearer realm="http://{thief.address}/token",service="x"'):
            reference = case.registry.add(lab.Image(GOOD))
            case.registry.hooks.append(lambda handler, kind, name: kind == "blobs" and handler.answer(
                307, Location=f"http://{thief.address}{handler.path}"))
            thief.hooks[:] = [lambda handler, kind, name, scheme=scheme: handler.answer(401, WWW_Authenticate=scheme)]
            case.refuses("unauthorized", "access denied where it was redirected to", reference, "-u", "me:secret")
        assert not any("Authorization" in headers for _, headers in thief.requests), thief.requests
        assert not any("token" in path for path, _ in thief.requests), thief.requests


@berth.meanwhile
def test_logins_that_lead_astray():
    with Case() as case:
        reference = case.registry.add(lab.Image(GOOD))
        for header, reason, says in (
                ("Negotiate", "unauthorized", "access denied"), ("Bearer service=x", "unauthorized", "access denied"),
                ('Bearer realm="file:///etc/passwd"', "registry", "the login is at 'file:///etc/passwd'"),
                ('Bearer realm="http://me:word@127.0.0.1/"', "registry", "the login is at"),
                ('Bearer realm="http://127.0.0.1:1/"', "unreachable", "127.0.0.1:1")):
            case.registry.hooks.append(lambda handler, kind, name, header=header: handler.answer(
                401, WWW_Authenticate=header))
            case.refuses(reason, says, reference, "-u", "me:secret")
        for answer, says in ((b"{}", "token: none"), (b"<html>", "token: JSON"), (b'{"token":"a\\r\\nX: y"}', "token: none"),
                             (b'{"token":"%s"}' % (b"x" * 300000), "")):
            def login(handler, kind, name, answer=answer):
                if handler.path.startswith("/token"):
                    return handler.answer(200, answer)
                return handler.answer(401, WWW_Authenticate=f'Bearer realm="http://{case.registry.address}/token"')
            case.registry.hooks.append(login)
            out = case.store.tool("pull", reference)
            assert out.reason in ("registry", "unreachable") and says in out.says, out.text
            case.registry.hooks.clear()


def test_ranges_that_lie():
    with Case() as case:
        image = lab.Image(lab.tar(("big", {"data": os.urandom(300000)})), packing="plain")
        reference = case.registry.add(image)
        data = image.layers[0]

        def hook(handler, kind, name):
            if name != lab.digest(data):
                return False
            if "Range" not in handler.headers:
                return handler.answer(200, data[:100000], length=len(data))
            return handler.answer(206, data[5:], Content_Range=f"bytes 5-{len(data) - 1}/{len(data)}")
        case.registry.hooks.append(hook)
        case.refuses("registry", "another range than was asked for", reference)


def test_nobody_there():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % s.getsockname()[1]
    with Case() as case:
        out = case.refuses("unreachable", "Failed to connect", f"{address}/app:1")
        contains(out.says, "http://")
        case.refuses("unreachable", "Could not resolve host", "registry.invalid/app:1")


@berth.meanwhile
def test_a_stalled_registry_is_noticed():
    """One byte a second is no more than none."""
    ended = threading.Event()
    with Case() as case:
        image = lab.Image(lab.tar(("big", {"data": os.urandom(300000)})), packing="plain")
        reference = case.registry.add(image)
        requests = []

        def hook(handler, kind, name):
            if name != lab.digest(image.layers[0]):
                return False
            requests.append(name)
            if len(requests) > 1:
                return False
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(image.layers[0])))
            handler.end_headers()
            handler.close_connection = True
            try:
                for byte in image.layers[0]:
                    handler.wfile.write(bytes([byte]))
                    handler.wfile.flush()
                    if ended.wait(1):
                        break
            except OSError:
                pass
            return True
        case.registry.hooks.append(hook)
        try:
            case.store.pull(reference)  # it goes on with a second request
        finally:
            ended.set()
        equal(len(requests), 2)


def test_memory_stays_small():
    """Of every worker, whatever the size of the image: 32 MB, libraries included; sanitizers take more."""
    with lab.Lab() as registry, lab.Store() as store:
        image = lab.Image(*[lab.tar((f"f{i}", {"data": os.urandom(12 << 20)})) for i in range(4)])
        reference = registry.add(image)
        p = subprocess.run(["/usr/bin/time", "-f", "%M", lab.TOOL, store.dir, lab.WORKER, "pull", reference],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) \
            if os.path.exists("/usr/bin/time") else None
        if p is None:
            raise berth.Skip("no /usr/bin/time")
        equal(p.returncode, 0)
        assert int(p.stderr.split()[-1]) < (96 if os.path.basename(berth.BUILD) == "san" else 32) << 10, p.stderr


if __name__ == "__main__":
    berth.main()
