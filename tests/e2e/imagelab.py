# tests/e2e/imagelab.py - what the tests of images share
# SPDX-License-Identifier: Apache-2.0
#
# Images made by hand, a store driven by tools/image_tool, a registry that does
# what it is told to (good or bad), and trees compared entry by entry.

import gzip
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import socketserver
import stat
import subprocess
import tarfile
import tempfile
import threading
import time

import berth

TOOL = os.path.join(berth.BUILD, "tests/e2e/tools/image_tool")
WORKER, FETCHER, READER = (os.path.join(berth.BUILD, "berth-" + name) for name in ("worker", "fetcher", "reader"))
SCRATCH = os.path.join(berth.TOP, "build", "e2e")

OCI = "application/vnd.oci.image."
V2 = "application/vnd.docker."
INDEX = OCI + "index.v1+json"
MANIFEST = OCI + "manifest.v1+json"
CONFIG = OCI + "config.v1+json"
LAYER = OCI + "layer.v1.tar"


def scratch(prefix="i"):
    os.makedirs(SCRATCH, exist_ok=True)
    return tempfile.mkdtemp(prefix=prefix, dir=SCRATCH)


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def private_mounts():
    """What this process mounts from now on, nobody else sees, and it ends with us."""
    import ctypes
    if ctypes.CDLL(None, use_errno=True).unshare(0x00020000):
        raise OSError(ctypes.get_errno(), "unshare")
    berth.run("mount", "--make-rprivate", "/")


class FileSystem:
    """A small file system of our own; as a context, its directory."""

    def __init__(self, kind, size="64m", options=""):
        self.kind, self.size, self.options = kind, size, options
        self.dir = scratch("f")

    def __enter__(self):
        self.target = os.path.join(self.dir, "mnt")
        os.mkdir(self.target)
        if self.kind == "tmpfs":
            self.mount("-t", "tmpfs", "-o", f"size={self.size}{self.options}", "tmpfs")
        else:
            if not shutil.which("mkfs." + self.kind):
                shutil.rmtree(self.dir)
                raise berth.Skip(f"no mkfs.{self.kind}")
            image = os.path.join(self.dir, "image")
            berth.run("truncate", "-s", self.size, image)
            berth.run("mkfs." + self.kind, "-q", *self.options.split(), image)
            self.mount("-o", "loop", image)
        return self.target

    def mount(self, *argv):
        p = berth.run("mount", *argv, self.target, check=False)
        if p.returncode:
            shutil.rmtree(self.dir)
            raise berth.Skip(f"no {self.kind}: {p.stderr.strip()}")

    def resize(self, size, options=""):
        berth.run("mount", "-o", f"remount,size={size}{options}", self.target)

    def be_a_disk(self):
        """Not one whose writes end in this host's memory, copied once more, as a loop device's do."""
        device = berth.run("findmnt", "-no", "SOURCE", self.target).stdout.strip()
        berth.run("losetup", "--direct-io=on", device)

    def __exit__(self, *_):
        berth.run("umount", self.target)
        shutil.rmtree(self.dir)


# ---- images by hand ----

def tar(*entries, form=tarfile.PAX_FORMAT, end=True):
    """Entries: a name, or (name, {member: value}); data, type, link, mode, uid, gid, mtime, pax, dev."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as t:
        for entry in entries:
            name, how = (entry, {}) if isinstance(entry, str) else entry
            info = tarfile.TarInfo(name)
            data = how.get("data", b"")
            info.type = how.get("type", tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE)
            info.linkname = how.get("link", "")
            info.mode = how.get("mode", 0o755 if info.type == tarfile.DIRTYPE else 0o644)
            info.uid, info.gid = how.get("uid", 0), how.get("gid", 0)
            info.mtime = how.get("mtime", 0)
            info.pax_headers = how.get("pax", {})
            info.devmajor, info.devminor = how.get("dev", (0, 0))
            info.size = how.get("size", len(data))
            t.addfile(info)
            if data:
                out.write(data + bytes(-len(data) % 512))
                t.offset = out.tell()
    return out.getvalue() if end else out.getvalue().rstrip(b"\0") + bytes(512)


def pack(data, how="gzip"):
    if how == "gzip":
        return gzip.compress(data, 1, mtime=0)
    if how == "zstd":
        return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


class Image:
    """Layers (tars) become blobs, a configuration and a manifest; each can be changed before it is served."""

    def __init__(self, *tars, packing="gzip", architecture="amd64", config=None, family="oci"):
        oci = family == "oci"
        suffix = {"gzip": "gzip", "zstd": "zstd", "plain": ""}[packing]
        layer_type = LAYER + ("+" + suffix if suffix else "") if oci else \
            V2 + "image.rootfs.diff.tar" + ("." + suffix if suffix else "")
        self.type = MANIFEST if oci else V2 + "distribution.manifest.v2+json"
        self.tars = tars
        self.layers = [pack(t, packing) for t in tars]
        self.config = {"architecture": architecture, "os": "linux", "config": config or {"Cmd": ["/bin/sh"]},
                       "rootfs": {"type": "layers", "diff_ids": [digest(t) for t in tars]}}
        self.config_bytes = json.dumps(self.config).encode()
        self.manifest = {
            "schemaVersion": 2, "mediaType": self.type,
            "config": {"mediaType": CONFIG if oci else V2 + "container.image.v1+json",
                       "digest": digest(self.config_bytes), "size": len(self.config_bytes)},
            "layers": [{"mediaType": layer_type, "digest": digest(l), "size": len(l)} for l in self.layers]}

    def set_config(self, config):
        """Other bytes for the configuration, and the manifest that goes with them."""
        self.config_bytes = config if isinstance(config, bytes) else json.dumps(config).encode()
        self.manifest["config"].update(digest=digest(self.config_bytes), size=len(self.config_bytes))

    def manifest_bytes(self):
        return json.dumps(self.manifest).encode()

    def digest(self):
        return digest(self.manifest_bytes())

    def descriptor(self, **platform):
        data = self.manifest_bytes()
        d = {"mediaType": self.type, "digest": digest(data), "size": len(data)}
        return dict(d, platform=platform) if platform else d


def index(*descriptors, family="oci"):
    kind = INDEX if family == "oci" else V2 + "distribution.manifest.list.v2+json"
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": list(descriptors)}).encode(), kind


# ---- a registry that does what it is told ----

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        lab = self.server.lab
        with lab.lock:
            lab.requests.append((self.path, dict(self.headers)))
        m = re.match(r"/v2/(.+)/(manifests|blobs)/([^/]+)$", self.path)
        kind, name = (m.group(2), m.group(3)) if m else ("other", self.path)
        for hook in lab.hooks:
            if hook(self, kind, name):
                return
        self.serve(kind, name)

    do_HEAD = do_GET

    def find(self, kind, name):
        lab = self.server.lab
        if kind == "manifests":
            return lab.manifests.get(name, (None, None))
        return lab.blobs.get(name), "application/octet-stream"

    def serve(self, kind, name):
        data, content_type = self.find(kind, name)
        if self.path == "/v2/":
            return self.answer(200, b"{}", "application/json")
        if data is None:
            return self.answer(404, json.dumps({"errors": [
                {"code": "MANIFEST_UNKNOWN" if kind == "manifests" else "BLOB_UNKNOWN",
                 "message": "not here"}]}).encode(), "application/json")
        begin = 0
        wanted = re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        if wanted and kind == "blobs" and self.server.lab.ranges:
            begin = int(wanted.group(1))
            return self.answer(206, data[begin:], content_type,
                               **{"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"})
        return self.answer(200, data, content_type)

    def answer(self, status, data=b"", content_type="text/plain", length=None, **headers):
        self.send_response(status)
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        try:
            self.wfile.write(data)
        except OSError:
            self.close_connection = True
        if length is not None and length != len(data):
            self.close_connection = True
        return True

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass


class Lab:
    """The registry: manifests and blobs by name, hooks that answer before it does."""

    def __init__(self, tls=None, address="127.0.0.1"):
        self.lock = threading.Lock()
        self.manifests, self.blobs, self.hooks, self.requests = {}, {}, [], []
        self.ranges = True
        self.server = Server((address, 0), Handler)
        self.server.lab = self
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.address = f"{address}:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def add(self, image, tag="1"):
        """Serve an image under a tag and its digest; the reference."""
        for l in image.layers:
            self.blobs[digest(l)] = l
        self.blobs[digest(image.config_bytes)] = image.config_bytes
        return self.add_manifest(image.manifest_bytes(), image.type, tag)

    def add_manifest(self, data, content_type, tag="1"):
        self.manifests[digest(data)] = (data, content_type)
        if tag:
            self.manifests[tag] = (data, content_type)
        return f"{self.address}/app:{tag}" if tag else f"{self.address}/app@{digest(data)}"

    def gets(self, kind, name=None):
        with self.lock:
            return [h for p, h in self.requests if f"/{kind}/" in p and (name is None or p.endswith(name))]


# ---- a store ----

class Outcome:
    def __init__(self, process):
        self.code = process.returncode
        self.text = process.stdout
        self.lines = process.stdout.split("\n")
        found = re.search(r"^\d+ failed ([^|]*)\|(.*)$", process.stdout, re.M)
        self.reason, self.says = found.groups() if found else (None, None)


def forms():
    """In which forms a store may hold layers here."""
    with Store() as store:
        return ["unpacked", "index"] if store.tool("form").text.startswith("index") else ["unpacked"]


class Store:
    """An image store in a directory of its own, driven by image_tool."""

    def __init__(self, directory=None, worker=WORKER, form=None):
        self.dir = directory or os.path.join(scratch("s"), "images")
        self.own = directory is None
        self.worker = worker
        self.env = dict(os.environ, FORM=form) if form else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.own:
            shutil.rmtree(os.path.dirname(self.dir))

    def tool(self, *argv, timeout=120, **kw):
        p = subprocess.run([TOOL, self.dir, self.worker, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           stdin=subprocess.DEVNULL, text=True, errors="replace", timeout=timeout, env=self.env,
                           **kw)
        return Outcome(p)

    def start(self, *argv):
        return subprocess.Popen([TOOL, self.dir, self.worker, *argv], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, env=self.env)

    def pull(self, *argv, **kw):
        out = self.tool("pull", *argv, **kw)
        if out.code:
            raise AssertionError(f"pull {argv}: exit {out.code}: {out.text}")
        return out

    def refuses(self, reason, says, *argv, **kw):
        """The pull fails for this reason, with these words, and leaves nothing."""
        before = self.content()
        out = self.tool("pull", *argv, **kw)
        if out.reason != reason or says not in (out.says or ""):
            raise AssertionError(f"expected '{reason}|…{says}…': exit {out.code}: {out.text}")
        self.settled()
        berth.equal(self.content(), before)
        return out

    def settled(self):
        """Children that remove things have ended."""
        berth.wait_for(lambda: not os.path.exists(self.dir) or not os.listdir(os.path.join(self.dir, "ingest")), 30,
                       "an empty ingest/")

    def content(self):
        """What is held; layers in either form."""
        found = {part: sorted(os.listdir(os.path.join(self.dir, part)))
                 if os.path.exists(os.path.join(self.dir, part)) else []
                 for part in ("names", "images", "indexes", "tars", "layers")}
        found["layers"] += found.pop("tars")
        return found

    def find(self, reference):
        out = self.tool("find", reference)
        if out.code:
            return None
        found = {}
        for line in out.lines:
            key, _, value = line.partition(" ")
            found.setdefault(key, []).append(value)
        return found

    def mounted(self, reference):
        return Mounted(self, reference)


class Mounted:
    """The image's root, mounted; as a context, its path."""

    def __init__(self, store, reference):
        self.dir = scratch("m")
        self.store, self.reference = store, reference

    def __enter__(self):
        self.target = os.path.join(self.dir, "root")
        os.mkdir(self.target)
        out = self.store.tool("mount", self.reference, os.path.join(self.dir, "scratch"), self.target)
        if out.code:
            shutil.rmtree(self.dir)
            raise AssertionError(f"mount {self.reference}: {out.text}")
        return self.target

    def __exit__(self, *_):
        berth.run("umount", self.target)
        shutil.rmtree(self.dir)


# ---- trees ----

def tree(root, times=True):
    """What there is below a directory: path to all that can be told about it."""
    found = {}
    inodes = {}
    for base, dirs, files in os.walk(root):
        dirs.sort()  # the first name of an inode is the same in like trees
        for name in sorted(dirs + files):
            path = os.path.join(base, name)
            st = os.lstat(path)
            what = [stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid]
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    what += [st.st_size, hashlib.sha256(f.read()).hexdigest(), st.st_nlink]
                first = inodes.setdefault((st.st_dev, st.st_ino), path) if st.st_nlink > 1 else path
                what.append(os.path.relpath(first, root))
            elif stat.S_ISLNK(st.st_mode):
                what.append(os.readlink(path))
            elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
                what.append(st.st_rdev)
            if times:
                what.append(st.st_mtime_ns)
            what.append(sorted((a, os.getxattr(path, a, follow_symlinks=False))
                               for a in os.listxattr(path, follow_symlinks=False)
                               if not a.startswith("security.selinux")))
            found[os.path.relpath(path, root)] = what
    return found


def same_trees(a, b, ignore=lambda path: False):
    """Both dictionaries of tree(); says what differs."""
    problems = []
    for path in sorted(set(a) | set(b)):
        if a.get(path) != b.get(path) and not ignore(path):
            problems.append(f"{path}: {a.get(path)} / {b.get(path)}")
    if problems:
        raise AssertionError(f"{len(problems)} differences: " + "; ".join(problems[:10]))


def without_links(tree):
    """Overlay counts the names of a layer's inode, those that higher layers hide among them."""
    return {path: what[:6] + what[7:] if what[0] == stat.S_IFREG else what for path, what in tree.items()}


def compare(reference, form, expected, ignore=lambda path: False):
    """An image, pulled in a form, is the tree that is expected; the tree."""
    with Store(form=form) as store:
        store.pull(reference)
        berth.equal(store.find(reference)["form"], [form])
        with store.mounted(reference) as root:
            found = tree(root)
    like = (lambda tree: tree) if form == "index" else without_links
    try:
        same_trees(like(found), like(expected), ignore)
    except AssertionError as error:
        raise AssertionError(f"{form}: {error}") from None
    return found
