#!/usr/bin/env python3
# tests/e2e/38-image-registries.py - registries as operators have them: mirrors, certificates, proxies
# SPDX-License-Identifier: Apache-2.0

import os
import shutil
import socket
import ssl
import threading

import berth
import imagelab as lab
from berth import contains, equal

TREE = lab.tar("bin/", ("bin/sh", {"data": b"#!", "mode": 0o755}), "tmp/")
LARGE = lab.tar(("large", {"data": os.urandom(3 << 20)}))


def openssl(*argv):
    berth.run("openssl", *argv)


class Authority:
    """A certificate authority of our own, in a directory; certificates for servers and clients."""

    def __init__(self):
        self.dir = lab.scratch("c")
        self.ca = self.path("ca.pem")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", "/CN=lab authority", "-keyout", self.path("ca.key"), "-out", self.ca)

    def path(self, name):
        return os.path.join(self.dir, name)

    def certificate(self, name, alternative=None):
        """Paths of a certificate and its key, which is for root alone."""
        cert, key, request, more = (self.path(name + s) for s in (".pem", ".key", ".csr", ".ext"))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", key, "-out", request)
        with open(more, "w") as f:
            f.write(f"subjectAltName={alternative}\n" if alternative else "extendedKeyUsage=clientAuth\n")
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.path("ca.key"), "-CAcreateserial",
                "-days", "2", "-extfile", more, "-out", cert)
        os.chmod(key, 0o600)
        return cert, key

    def server(self, alternative="IP:127.0.0.1", clients=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate("server" + str(clients), alternative))
        if clients:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir)


class TlsRegistry(berth.Registry):
    """Debian's docker-registry that speaks TLS with a certificate of the authority; and asks for one, if wanted."""

    def __init__(self, authority, clients=False):
        cert, key = authority.certificate("registry", "IP:127.0.0.1")
        super().__init__(f", tls: {{certificate: {cert}, key: {key}" +
                         (f", clientcas: [{authority.ca}]" if clients else "") + "}")

    def push(self, layout, name):
        certs = os.path.join(self.dir, "client")
        berth.run("skopeo", "copy", "-q", "--insecure-policy", "--dest-cert-dir", certs, f"oci:{layout}",
                  f"docker://{self.address}/{name}")
        return f"{self.address}/{name}"


def certs_for_skopeo(registry, authority, client=None):
    directory = os.path.join(registry.dir, "client")
    os.makedirs(directory)
    shutil.copy(authority.ca, os.path.join(directory, "ca.crt"))
    if client:
        shutil.copy(client[0], os.path.join(directory, "client.cert"))
        shutil.copy(client[1], os.path.join(directory, "client.key"))


def down():
    """An address of this host where nobody listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{s.getsockname()[1]}"


# ---- certificates ----

def test_a_registry_with_a_certificate_of_an_own_authority():
    with Authority() as authority, TlsRegistry(authority) as registry, lab.Store() as store:
        certs_for_skopeo(registry, authority)
        reference = registry.demo()
        store.refuses("unreachable", "certificate", reference)
        store.pull("-a", authority.ca, reference)
        out = store.tool("pull", "-a", "/nonexistent/ca", reference)
        contains(out.says, "trusted certificates: open /nonexistent/ca: No such file")


def test_what_the_system_trusts_is_enough():
    """As SSL_CERT_FILE says it, which may lie where nobody else may read."""
    with Authority() as authority, lab.Lab(tls=authority.server()) as registry, lab.Store() as store:
        store.env = dict(os.environ, SSL_CERT_FILE=authority.ca)
        os.chmod(authority.ca, 0o600)
        reference = registry.add(lab.Image(TREE))
        store.pull(reference)
        store.env["SSL_CERT_FILE"] = "/nonexistent/bundle"
        contains(store.tool("pull", reference).says, "trusted certificates: open /nonexistent/bundle: No such file")
    with Authority() as authority, lab.Lab(tls=authority.server()) as registry, lab.Store() as store:
        # Without the variable: the system's own file, which for this moment is ours.
        env = {k: v for k, v in os.environ.items() if k != "SSL_CERT_FILE"}
        script = f"mount --bind {authority.ca} /etc/ssl/certs/ca-certificates.crt && exec \"$@\""
        p = berth.run("unshare", "-m", "sh", "-c", script, "sh", lab.TOOL, store.dir, store.worker, "pull",
                      registry.add(lab.Image(TREE)), env=env)
        contains(p.stdout, " done sha256:")


def test_a_registry_that_wants_to_see_a_certificate():
    with Authority() as authority, TlsRegistry(authority, clients=True) as registry, lab.Store() as store:
        client = authority.certificate("client")
        certs_for_skopeo(registry, authority, client)
        reference = registry.demo()
        out = store.tool("pull", "-a", authority.ca, reference)
        equal(out.code, 1)
        store.pull("-a", authority.ca, "-c", *client, reference)
        out = store.tool("pull", "-a", authority.ca, "-c", client[0], "/nonexistent", reference)
        contains(out.says, "client key: open /nonexistent: No such file")


def test_our_certificate_is_not_shown_where_a_redirect_leads():
    seen = []
    with Authority() as authority:
        client, other = authority.certificate("client"), authority.server()
        other.load_verify_locations(authority.ca)
        other.verify_mode = ssl.CERT_OPTIONAL
        with lab.Lab(tls=authority.server(clients=True)) as registry, lab.Lab(tls=other) as elsewhere, \
                lab.Store() as store:
            image = lab.Image(TREE)
            reference = registry.add(image)
            elsewhere.add(image)
            elsewhere.hooks.append(lambda h, kind, name: seen.append(h.connection.getpeercert()))
            registry.hooks.append(lambda h, kind, name: kind == "blobs" and h.answer(
                307, Location=f"https://{elsewhere.address}{h.path}"))
            store.pull("-a", authority.ca, "-c", *client, reference)
    assert seen and not any(seen), seen


# ---- mirrors ----

def test_mirrors_are_asked_in_their_order():
    with lab.Lab() as first, lab.Lab() as second, lab.Lab() as registry, lab.Store() as store:
        image = lab.Image(TREE)
        for each in (first, second):
            each.add(image)
        reference = registry.add(image)
        store.pull("-m", first.address + "/hub", "-m", second.address, reference)
        equal(second.requests + registry.requests, [])
        equal({p.split("/v2/")[1].split("/")[0] for p, _ in first.requests}, {"hub"})
        contains(store.find(reference)["reference"][0], registry.address)


def test_a_mirror_that_is_down_or_does_not_have_it_is_passed_over():
    with lab.Lab() as empty, lab.Lab() as broken, lab.Lab() as registry, lab.Store() as store:
        broken.hooks.append(lambda h, kind, name: h.answer(503, Retry_After="60"))
        reference = registry.add(lab.Image(TREE))
        store.pull("-m", down(), "-m", empty.address, "-m", broken.address, reference)
        equal(len(empty.requests), 1)  # what does not have the manifest is not asked for blobs
        equal(len(broken.requests), 1)
        out = store.tool("pull", "-m", empty.address, registry.address + "/app:none")
        contains(out.says, "not found")
        contains(out.says, "a mirror before: manifest none: not found")


def test_a_mirror_that_lacks_a_blob_is_passed_over_for_it():
    with lab.Lab() as mirror, lab.Lab() as registry, lab.Store() as store:
        image = lab.Image(TREE, LARGE)
        mirror.add(image)
        reference = registry.add(image)
        del mirror.blobs[lab.digest(image.layers[0])]
        store.pull("-m", mirror.address, reference)
        equal([p.rsplit("/", 1)[1] for p, _ in registry.requests], [lab.digest(image.layers[0])])


def test_a_mirror_that_lies_is_found_out_and_the_next_one_asked():
    other = lab.pack(lab.tar(("large", {"data": os.urandom(3 << 20)})))
    image = lab.Image(TREE, LARGE)
    blob = image.layers[1]
    bomb = lab.pack(lab.tar(("../../evil", {"data": b"x"})))
    lies = {"others": (other + bytes(len(blob)))[:len(blob)], "noise": os.urandom(len(blob)),
            "unsafe": (bomb + os.urandom(len(blob)))[:len(blob)], "short": blob[:-1], "long": blob + b"x",
            "last bit": blob[:-1] + bytes([blob[-1] ^ 1])}
    for form in lab.forms():
        for name, lie in lies.items():
            with lab.Lab() as mirror, lab.Lab() as registry, lab.Store(form=form) as store:
                mirror.add(image)
                mirror.blobs[lab.digest(blob)] = lie
                reference = registry.add(image)
                out = store.tool("pull", "-m", mirror.address, reference)
                assert out.code == 0, (name, out.text)
                equal(len(mirror.gets("blobs", lab.digest(blob))), 1)
                with store.mounted(reference) as root:
                    equal(open(os.path.join(root, "large"), "rb").read(), LARGE[512:512 + (3 << 20)])
                store.settled()
    with lab.Lab() as mirror, lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(image)
        mirror.manifests["1"] = (b"<html>log in</html>", "text/html")
        store.pull("-m", mirror.address, reference)
        mirror.add(lab.Image(TREE))
        mirror.manifests[image.digest()] = mirror.manifests["1"]
        store.pull("-m", mirror.address, f"{registry.address}/app@{image.digest()}")


def test_a_mirror_that_breaks_off_for_good_is_followed_by_the_next():
    image = lab.Image(TREE, LARGE)
    blob = image.layers[1]
    with lab.Lab() as mirror, lab.Lab() as registry, lab.Store() as store:
        mirror.add(image)
        reference = registry.add(image)

        def half(h, kind, name):
            if name != lab.digest(blob):
                return False
            if h.headers.get("Range"):
                return h.answer(503)
            return h.answer(200, blob[:1 << 20], length=len(blob))
        mirror.hooks.append(half)
        store.pull("-m", mirror.address, reference)


def test_all_sources_lie():
    image = lab.Image(TREE)
    with lab.Lab() as mirror, lab.Lab() as registry, lab.Store() as store:
        mirror.add(image)
        reference = registry.add(image)
        for each in (mirror, registry):
            each.blobs[lab.digest(image.layers[0])] = bytes(len(image.layers[0]))
        store.refuses("digest mismatch", "its digest is", "-m", mirror.address, reference)


def test_what_a_tag_stands_for_may_be_for_the_registry_alone_to_say():
    new, old = lab.Image(TREE), lab.Image(lab.tar("old"))
    with lab.Lab() as mirror, lab.Lab() as registry, lab.Store() as store:
        mirror.add(new)
        mirror.add(old)
        reference = registry.add(new)
        store.pull("-t", "-m", mirror.address, reference)
        equal(store.find(reference)["manifest"], [new.digest()])
        equal([p for p, _ in registry.requests], ["/v2/app/manifests/1"])
        equal(len(mirror.gets("manifests")), 0)
        assert mirror.gets("blobs", lab.digest(new.layers[0]))
        store.pull("-m", mirror.address, reference)
        equal(store.find(reference)["manifest"], [old.digest()])


# ---- as berth.conf has it ----

class Proxy:
    """CONNECT to wherever we want."""

    def __init__(self, target):
        self.target, self.asked = target, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.connect, args=(connection,), daemon=True).start()

    def connect(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            more = client.recv(65536)
            if not more:
                return
            head += more
        self.asked.append(head.split(b"\r\n")[0].decode())
        host, port = self.target.split(":")
        server = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 ok\r\n\r\n")

        def pump(a, b):
            try:
                while True:
                    data = a.recv(65536)
                    if not data:
                        break
                    b.sendall(data)
                b.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        threading.Thread(target=pump, args=(server, client), daemon=True).start()
        pump(client, server)

    def close(self):
        self.socket.close()


def test_berth_conf_names_mirrors_certificates_and_proxies():
    image = lab.Image(TREE)
    with Authority() as authority, lab.Lab(tls=authority.server("DNS:mirror.test", clients=True)) as mirror, \
            lab.Lab() as registry:
        client = authority.certificate("client")
        port = mirror.address.split(":")[1]
        reference = registry.add(image)
        mirror.add(image)
        config = (f"[registry {registry.address}]\nmirrors = {down()}, https://mirror.test:{port}/hub\n"
                  f"[registry mirror.test:{port}]\nca-file = {authority.ca}\n"
                  f"client-certificate = {client[0]}\nclient-key = {client[1]}\n")
        proxy = Proxy(mirror.address)
        names = {"HTTPS_PROXY": "http://" + proxy.address, "NO_PROXY": "elsewhere.test"}
        try:
            os.environ.update(names)
            with berth.Daemon(config=config) as daemon:
                p = daemon.berth("pull", reference)
                contains(p.stdout, image.digest())
                equal(set(proxy.asked), {f"CONNECT mirror.test:{port} HTTP/1.1"})
                equal(registry.requests, [])
                assert mirror.requests and mirror.requests[0][0].startswith("/v2/hub/app/"), mirror.requests
            proxy.asked.clear()
            os.environ["NO_PROXY"] = ".test"
            with berth.Daemon(config=config) as daemon:
                daemon.berth("pull", reference)  # the mirror's name is nobody's then
                equal(proxy.asked, [])
                assert registry.requests
        finally:
            for name in names:
                os.environ.pop(name, None)
            proxy.close()


def test_a_mirror_has_a_login_of_its_own():
    image = lab.Image(TREE)
    with lab.Lab() as mirror, lab.Lab() as registry:
        mirror.add(image)
        reference = registry.add(image)
        mirror.hooks.append(lambda h, kind, name: h.headers.get("Authorization") != "Basic YW5uOnBhc3M=" and h.answer(
            401, WWW_Authenticate='Basic realm="mirror"'))
        config = f"[registry {registry.address}]\nmirrors = {mirror.address}\nmirrors-for-tags = yes\n"
        with berth.Daemon(config=config) as daemon:
            daemon.berth("login", "-u", "ann", "--password-stdin", mirror.address, input="pass\n")
            daemon.berth("pull", reference)
            equal(registry.requests, [])
            equal([h.get("Authorization") for p, h in mirror.requests][-1], "Basic YW5uOnBhc3M=")


def test_what_is_wrong_in_berth_conf_is_told_at_the_start():
    for text, says in (("[registry a.test]\nmirrors = https://x y\n", "[registry a.test]: mirrors: 'x' is no"),
                       ("[registry a.test]\nmirrors = just-a-word/x\n", "'just-a-word/x' is no HOST[:PORT][/PATH]"),
                       ("[registry a.test]\ninsecure = perhaps\n", "insecure 'perhaps' is neither yes nor no"),
                       ("[registry a.test]\nclient-key = /x\n", "client-certificate and client-key: both or none"),
                       ("[registry a.test]\nca-file = x\n", "ca-file 'x' is not an absolute path"),
                       ("[registry a.test/team]\ninsecure = yes\n", "'a.test/team' is no HOST[:PORT]"),
                       ("[registry a.test]\nmirror = b.test\n", "the nearest is [registry] mirrors")):
        berth.refused(text, says)


if __name__ == "__main__":
    berth.main()
