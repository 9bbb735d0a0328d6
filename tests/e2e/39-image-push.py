#!/usr/bin/env python3
# tests/e2e/39-image-push.py - images go to registries, as they came from one
# SPDX-License-Identifier: Apache-2.0

import json
import os
import shutil
import urllib.request
import warnings

import berth
import imagelab as lab
from berth import Census, contains, equal, main

warnings.simplefilter("ignore")
census = Census()
work = lab.scratch("p")
source = lab.Lab().__enter__()
LARGE = lab.tar(("large", {"data": os.urandom(20 << 20)}))
image = lab.Image(lab.tar("bin/", ("bin/sh", {"data": b"#!", "mode": 0o755})), LARGE)
REFERENCE = source.add(image)


def cleanup():
    source.__exit__()
    shutil.rmtree(work)
    census.check()


class Registry(berth.Registry):
    """docker-registry that has a log to look at."""

    def logged(self):
        return open(os.path.join(self.dir, "log")).read()


def manifest(address, name, tag, **headers):
    request = urllib.request.Request(f"http://{address}/v2/{name}/manifests/{tag}", headers=dict(headers, Accept=lab.MANIFEST))
    with urllib.request.urlopen(request) as r:
        return r.read()


def fails(daemon, says, *words, code=1):
    p = daemon.berth("push", *words, check=False)
    equal(p.returncode, code)
    contains(p.stderr, says)


def test_what_is_pushed_is_what_was_pulled():
    with Registry() as registry, berth.Daemon() as daemon:
        daemon.berth("pull", "-q", "--keep-blobs", REFERENCE)
        p = daemon.berth("push", REFERENCE, registry.address + "/copy:1")
        contains(p.stderr, lab.digest(image.layers[1])[:19] + " UPLOADING")
        contains(p.stderr, lab.digest(image.layers[1])[:19] + " DONE 21")
        equal(manifest(registry.address, "copy", "1"), image.manifest_bytes())
        berth.run("skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false",
                  f"docker://{registry.address}/copy:1", f"oci:{work}/copy:x")
        for blob in image.layers:
            equal(open(f"{work}/copy/blobs/sha256/{lab.digest(blob)[7:]}", "rb").read(), blob)
        p = daemon.berth("push", REFERENCE, registry.address + "/copy:2")
        contains(p.stderr, lab.digest(image.layers[1])[:19] + " EXISTS")
        equal(daemon.berth("push", "-q", REFERENCE, registry.address + "/copy:2").stderr, "")
        # By the name that it has been given.
        daemon.berth("image", "tag", REFERENCE, registry.address + "/copy:3")
        daemon.berth("image", "push", registry.address + "/copy:3")
        equal(manifest(registry.address, "copy", "3"), image.manifest_bytes())


def test_blobs_are_mounted_from_where_they_came():
    """Nothing is kept here, and nothing is sent."""
    with Registry() as registry, berth.Daemon() as daemon:
        berth.run("skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false",
                  f"docker://{REFERENCE}", f"docker://{registry.address}/team/one:1")
        daemon.berth("pull", "-q", f"{registry.address}/team/one:1")
        daemon.berth("push", f"{registry.address}/team/one:1", f"{registry.address}/team/two:1")
        equal(manifest(registry.address, "team/two", "1"), image.manifest_bytes())
        assert "mount=" in registry.logged() and "PATCH /v2/team/two" not in registry.logged()


def lent(daemon):
    return os.listdir(os.path.join(daemon.root, "var/lib/berth/images/partial"))


def test_what_is_not_kept_is_fetched_again():
    with Registry() as registry, berth.Daemon() as daemon:
        daemon.berth("pull", "-q", REFERENCE)
        daemon.berth("image", "tag", REFERENCE, "mine:1")
        for tag, name in enumerate((REFERENCE, "mine:1", lab.digest(image.config_bytes))):
            to = f"{registry.address}/fetched-{tag}"
            p = daemon.berth("push", name, to + ":1")
            contains(p.stderr, "layers are not kept as they were packed: they are fetched again")
            equal(manifest(registry.address, f"fetched-{tag}", "1"), image.manifest_bytes())
            equal(lent(daemon), [])
        equal(daemon.berth("push", "-q", REFERENCE, registry.address + "/quiet:1").stderr, "")
        fails(daemon, "no image none: not found", "none", registry.address + "/x:1", code=3)
        # What is there need not be fetched, nor what is kept.
        before = len(source.requests)
        daemon.berth("push", "-q", REFERENCE, registry.address + "/quiet:2")
        equal(len(source.requests), before)
        daemon.berth("pull", "-q", "--keep-blobs", REFERENCE)
        before = len(source.requests)
        daemon.berth("push", REFERENCE, registry.address + "/kept:1")
        equal(len(source.requests), before)


def test_what_cannot_be_fetched_can_be_sent_as_plain_tars():
    with Registry() as registry, berth.Daemon() as daemon:
        with lab.Lab() as other:
            gone = other.add(image)
            daemon.berth("pull", "-q", gone)
        fails(daemon, "it cannot be fetched; --uncompressed pushes plain tars", gone, registry.address + "/x:1")
        equal(berth.run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{registry.address}/x:1",
                        check=False).returncode, 1)
        fails(daemon, "--uncompressed is for one platform", "--uncompressed", "--all-platforms", gone, code=2)
        daemon.berth("push", "-q", "--uncompressed", gone, registry.address + "/plain:1")
        sent = json.loads(manifest(registry.address, "plain", "1"))
        equal(sent["config"], dict(mediaType=lab.CONFIG, digest=lab.digest(image.config_bytes), size=len(image.config_bytes)))
        equal([(l["digest"], l["size"]) for l in sent["layers"]], [(lab.digest(t), len(t)) for t in image.tars])
        # The same image for others, and for us.
        podman = ("podman", "--root", f"{work}/podman", "--runroot", f"{work}/podman-run", "--storage-driver", "vfs",
                  "--cgroup-manager", "cgroupfs")
        berth.run(*podman, "pull", "-q", "--tls-verify=false", registry.address + "/plain:1")
        equal(berth.run(*podman, "images", "-q", "--no-trunc").stdout.strip(), lab.digest(image.config_bytes))
        daemon.berth("pull", "-q", registry.address + "/plain:1")
        described = json.loads(daemon.berth("image", "inspect", registry.address + "/plain:1").stdout)
        equal(described[0]["RootFS"]["Layers"], [lab.digest(t) for t in image.tars])
        # The image here is what it was.
        described = json.loads(daemon.berth("image", "inspect", gone).stdout)
        equal(described[0]["Digest"], image.digest())


def test_a_loaded_image_is_pushed_whole():
    with Registry() as registry, berth.Daemon() as daemon:
        daemon.berth("pull", "-q", REFERENCE)
        daemon.berth("image", "save", "-o", f"{work}/image.tar", REFERENCE)
        daemon.berth("image", "prune", "-a")
        daemon.berth("image", "load", "-q", "-i", f"{work}/image.tar")
        daemon.berth("push", REFERENCE, registry.address + "/plain:1")
        sent = json.loads(manifest(registry.address, "plain", "1"))
        equal(sent["config"]["digest"], lab.digest(image.config_bytes))
        equal([l["digest"] for l in sent["layers"]], [lab.digest(t) for t in image.tars])
        daemon.berth("pull", "-q", registry.address + "/plain:1")


# ---- images for several platforms ----

ARM = lab.Image(lab.tar("bin/", ("bin/arm", {"data": b"arm"})), image.tars[1], architecture="arm64")
OLD_ARM = lab.Image(lab.tar(("old", {"data": b"old"})), architecture="arm")
INDEX, _ = lab.index(image.descriptor(os="linux", architecture="amd64"),
                     ARM.descriptor(os="linux", architecture="arm64", variant="v8"),
                     OLD_ARM.descriptor(os="linux", architecture="arm", variant="v6"))


def serve_index(registry, data=INDEX):
    for each in (image, ARM, OLD_ARM):
        registry.add(each, tag=None)
    return registry.add_manifest(data, lab.INDEX, "many")


def raw(address, name):
    return berth.run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{address}/{name}").stdout.encode()


def see_all(registry, name):
    """The index is there bit for bit, and so is all that it names."""
    equal(lab.digest(raw(registry.address, name)), lab.digest(INDEX))
    target = f"{work}/{name.replace('/', '-').replace(':', '-')}"
    berth.run("skopeo", "--insecure-policy", "copy", "-q", "--all", "--src-tls-verify=false",
              f"docker://{registry.address}/{name}", f"oci:{target}:x")
    for each in (image, ARM, OLD_ARM):
        for blob in each.layers + [each.config_bytes, each.manifest_bytes()]:
            equal(open(f"{target}/blobs/sha256/{lab.digest(blob)[7:]}", "rb").read(), blob)


def names(daemon):
    return sorted(i["reference"] for i in json.loads(daemon.berth("--output", "json", "images").stdout))


def test_an_image_for_several_platforms_is_pushed_whole():
    many = serve_index(source)
    with Registry() as registry, berth.Daemon() as daemon:
        daemon.berth("pull", "-q", many)
        fails(daemon, "linux/arm64/v8: berth pull --all-platforms brings it: ", "--all-platforms", many,
              registry.address + "/many:1", code=3)
        equal(daemon.berth("pull", "-q", "--all-platforms", many).stdout.strip(), lab.digest(INDEX))
        daemon.berth("push", "-q", "--all-platforms", many, registry.address + "/many:1")
        see_all(registry, "many:1")
        # The name is still that of this machine's.
        described = json.loads(daemon.berth("--output", "json", "image", "inspect", many).stdout)
        equal(described[0]["Architecture"], "amd64")
        # One of another platform is pushed by its name, and is nothing for a task.
        other = f"{source.address}/app@{ARM.digest()}"
        daemon.berth("push", "-q", other, registry.address + "/arm:1")
        equal(manifest(registry.address, "arm", "1"), ARM.manifest_bytes())
        task = daemon.run_task([dict(name="c", image=other, memory=32)])
        contains(daemon.wait_stopped(task)["containers"][0]["reason"], "CannotPullContainerError")
        # What is damaged comes again for its own platform.
        images = os.path.join(daemon.root, "var/lib/berth/images/tars")
        shutil.rmtree(os.path.join(images, lab.digest(OLD_ARM.tars[0])[7:]))
        contains(daemon.berth("image", "fsck").stdout, f"pulled {source.address}/app@{OLD_ARM.digest()}")
        # Without an index there is nothing more to push.
        daemon.berth("pull", "-q", "--keep-blobs", REFERENCE)
        daemon.berth("push", "-q", "--all-platforms", REFERENCE, registry.address + "/one:1")
        equal(manifest(registry.address, "one", "1"), image.manifest_bytes())
        # By its name all of it goes, unless another name of the repository stands for it, too.
        two = f"{source.address}/app:two"
        daemon.berth("image", "tag", many, two)
        daemon.berth("image", "rm", many)
        equal(names(daemon), sorted([REFERENCE, two, other, f"{source.address}/app@{OLD_ARM.digest()}"]))
        daemon.berth("image", "rm", two)
        equal(names(daemon), [REFERENCE])


def test_an_index_that_is_not_known_whole_is_not_pushed_in_part():
    wide, _ = lab.index(image.descriptor(os="linux", architecture="amd64"),
                        *[ARM.descriptor(os="linux", architecture="arm64", variant=f"v{n}") for n in range(64)])
    wide = serve_index(source, wide)
    with Registry() as registry, berth.Daemon() as daemon:
        daemon.berth("pull", "-q", "--keep-blobs", wide)
        fails(daemon, "what its index lists is not known here", "--all-platforms", wide, registry.address + "/wide:1")
        daemon.berth("push", "-q", wide, registry.address + "/wide:1")
        equal(manifest(registry.address, "wide", "1"), image.manifest_bytes())


def test_a_loaded_image_for_several_platforms_is_pushed_whole():
    serve_index(source)
    berth.run("skopeo", "--insecure-policy", "copy", "-q", "--all", "--src-tls-verify=false",
              f"docker://{source.address}/app:many", f"oci:{work}/layout:named/many:1")
    berth.run("tar", "-C", f"{work}/layout", "-cf", f"{work}/layout.tar", ".")
    with Registry() as registry, berth.Daemon() as daemon:
        for path, name in ((f"{work}/layout", None), (f"{work}/layout.tar", "other/name:2")):
            daemon.berth("image", "load", "-q", "--all-platforms", "-i", path, *(["--name", name] if name else []))
            to = f"{registry.address}/{(name or 'named/many:1')}"
            daemon.berth("push", "-q", "--all-platforms", name or "named/many:1", to)
            see_all(registry, name or "named/many:1")


class Attestation:
    """As BuildKit makes them: a manifest whose layers are statements about an image."""

    def __init__(self, *statements):
        self.config = b'{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":[]}}'
        self.statements = statements
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": lab.MANIFEST,
            "config": {"mediaType": lab.CONFIG, "digest": lab.digest(self.config), "size": len(self.config)},
            "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": lab.digest(s), "size": len(s)}
                       for s in statements]}).encode()

    def descriptor(self):
        return dict(mediaType=lab.MANIFEST, digest=lab.digest(self.manifest), size=len(self.manifest),
                    platform=dict(os="unknown", architecture="unknown"))

    def serve(self, registry):
        for blob in (self.config, *self.statements):
            registry.blobs[lab.digest(blob)] = blob
        registry.add_manifest(self.manifest, lab.MANIFEST, None)


ATTESTATIONS = [Attestation(b'{"sbom": 1}', b'{"provenance": "x"}'), Attestation(b'{"sbom": 2}')]
ATTESTED, _ = lab.index(image.descriptor(os="linux", architecture="amd64"), ATTESTATIONS[0].descriptor(),
                        ARM.descriptor(os="linux", architecture="arm64"), ATTESTATIONS[1].descriptor())


def see_attested(registry, name):
    equal(lab.digest(raw(registry.address, name)), lab.digest(ATTESTED))
    for a in ATTESTATIONS:
        equal(manifest(registry.address, name.split(":")[0], lab.digest(a.manifest)), a.manifest)
        for blob in (a.config, *a.statements):
            url = f"http://{registry.address}/v2/{name.split(':')[0]}/blobs/{lab.digest(blob)}"
            equal(urllib.request.urlopen(url).read(), blob)


def test_attestations_go_with_their_index():
    many = serve_index(source, ATTESTED)
    for a in ATTESTATIONS:
        a.serve(source)
    with Registry() as registry, berth.Daemon() as daemon:
        daemon.berth("pull", "-q", "--all-platforms", many)
        daemon.berth("push", "-q", "--all-platforms", many, registry.address + "/attested:1")
        see_attested(registry, "attested:1")
        # And by way of an archive.
        berth.run("skopeo", "--insecure-policy", "copy", "-q", "--all", "--src-tls-verify=false",
                  f"docker://{registry.address}/attested:1", f"oci:{work}/attested:named/attested:1")
        daemon.berth("image", "prune", "-a")
        daemon.berth("image", "load", "-q", "--all-platforms", "-i", f"{work}/attested")
        daemon.berth("push", "-q", "--all-platforms", "named/attested:1", registry.address + "/loaded:1")
        see_attested(registry, "loaded:1")


def test_an_index_with_what_is_missing_is_not_pushed():
    many = serve_index(source, ATTESTED)
    ATTESTATIONS[0].serve(source)
    source.manifests.pop(lab.digest(ATTESTATIONS[1].manifest), None)
    with Registry() as registry, berth.Daemon() as daemon:
        daemon.berth("pull", "-q", "--all-platforms", many)  # an image is as good without
        fails(daemon, f"the index names {lab.digest(ATTESTATIONS[1].manifest)}, which is not kept", "--all-platforms", many,
              registry.address + "/many:1")
        equal(berth.run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{registry.address}/many:1",
                        check=False).returncode, 1)


def openssl(*argv):
    berth.run("openssl", *argv)


def test_tls_certificates_and_logins_are_those_of_pulls():
    import crypt
    ca, key, server, client = (os.path.join(work, n) for n in ("ca.pem", "ca.key", "server", "client"))
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
            "/CN=ca", "-keyout", key, "-out", ca)
    for name, more in ((server, "subjectAltName=IP:127.0.0.1\n"), (client, "extendedKeyUsage=clientAuth\n")):
        open(name + ".ext", "w").write(more)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-keyout",
                name + ".key", "-out", name + ".csr")
        openssl("x509", "-req", "-in", name + ".csr", "-CA", ca, "-CAkey", key, "-CAcreateserial", "-days", "2",
                "-extfile", name + ".ext", "-out", name + ".pem")
    users = os.path.join(work, "htpasswd")
    with open(users, "w") as f:
        f.write("ann:" + crypt.crypt("secret", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)).replace("$2b$", "$2y$") + "\n")
    http = f", tls: {{certificate: {server}.pem, key: {server}.key, clientcas: [{ca}]}}"
    with Registry(http, f"auth: {{htpasswd: {{realm: x, path: {users}}}}}\n") as registry:
        config = (f"[registry {registry.address}]\nca-file = {ca}\nclient-certificate = {client}.pem\n"
                  f"client-key = {client}.key\n")
        with berth.Daemon(config=config) as daemon:
            daemon.berth("pull", "-q", "--keep-blobs", REFERENCE)
            fails(daemon, "access denied: credentials are needed", REFERENCE, registry.address + "/tls:1")
            daemon.berth("login", "-u", "ann", "--password-stdin", registry.address, input="secret\n")
            daemon.berth("push", REFERENCE, registry.address + "/tls:1")
            daemon.berth("image", "rm", REFERENCE)
            equal(daemon.berth("pull", "-q", registry.address + "/tls:1").stdout.strip(), image.digest())
        with berth.Daemon(config=config.split("client")[0]) as daemon:
            daemon.berth("pull", "-q", "--keep-blobs", REFERENCE)
            equal(daemon.berth("push", REFERENCE, registry.address + "/tls:1", check=False).returncode, 1)


class Uploads:
    """A hook for lab.Lab: takes uploads; breaks the connection in the middle of some."""

    def __init__(self, breaks, loses=False):
        self.data, self.breaks, self.loses, self.ranges, self.manifests = b"", breaks, loses, [], {}

    def __call__(self, h, kind, name):
        method, length = h.command, int(h.headers.get("Content-Length", 0))
        if method == "HEAD":
            return h.answer(404)
        if method == "GET" and "uploads" in h.path:
            return h.answer(204, Range=f"0-{len(self.data) - 1}" if self.data else "0-0", Location=h.path)
        if method == "POST":
            self.data = b""
            return h.answer(202, Location="/v2/app/blobs/uploads/one?state=1")
        if method == "PATCH":
            if self.breaks:
                self.breaks -= 1
                if int(h.headers["Content-Range"].split("-")[0]) == len(self.data):
                    self.data = b"" if self.loses else self.data + h.rfile.read(length // 3)
                h.close_connection = True
                h.connection.close()
                return True
            if int(h.headers["Content-Range"].split("-")[0]) != len(self.data):
                h.rfile.read(length)
                return h.answer(416)
            self.ranges.append(h.headers["Content-Range"])
            self.data += h.rfile.read(length)
            return h.answer(202, Location=h.path, Range=f"0-{len(self.data) - 1}")
        if method == "PUT" and "uploads" in h.path:
            assert "state=1&digest=" in h.path
            ok = h.path.split("digest=")[1] == lab.digest(self.data)
            return h.answer(201 if ok else 400)
        if method == "PUT":
            self.manifests[h.path] = h.rfile.read(length)
            return h.answer(201)
        return h.answer(200, b"{}")


for name in ("POST", "PATCH", "PUT"):
    setattr(lab.Handler, "do_" + name, lab.Handler.do_GET)


def test_an_upload_that_breaks_goes_on():
    with lab.Lab() as registry, berth.Daemon() as daemon:
        daemon.berth("pull", "-q", "--keep-blobs", REFERENCE)
        uploads = Uploads(breaks=2)
        registry.hooks.append(uploads)
        daemon.berth("push", "-q", REFERENCE, registry.address + "/app:1")
        equal(uploads.manifests, {"/v2/app/manifests/1": image.manifest_bytes()})
        assert not all(r.startswith("0-") or int(r.split("-")[0]) % (8 << 20) == 0 for r in uploads.ranges), uploads.ranges


def test_a_registry_that_keeps_breaking_is_given_up():
    with lab.Lab() as registry, berth.Daemon() as daemon:
        daemon.berth("pull", "-q", "--keep-blobs", REFERENCE)
        uploads = Uploads(breaks=1000, loses=True)
        registry.hooks.append(uploads)
        p = daemon.berth("push", "-q", REFERENCE, registry.address + "/app:1", check=False)
        equal((p.returncode, uploads.manifests), (1, {}))
        registry.hooks[:] = [lambda h, kind, name: h.answer(403, b"no")]
        fails(daemon, "the registry answered 403", "-q", REFERENCE, registry.address + "/app:1")


if __name__ == "__main__":
    main()
