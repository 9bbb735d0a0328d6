#!/usr/bin/python3
# tests/e2e/57-sharing.py - nodes of a cluster get images from each other
# SPDX-License-Identifier: Apache-2.0
#
# Nodes are daemons with roots of their own on this host. A liar is a node whose channel we speak
# by hand, and whose server is one of ours that does what it is told.

import contextlib
import hashlib
import os
import re
import signal
import ssl
import subprocess
import threading
import urllib.error
import urllib.request

import imagelab
from berth import BUILD, Census, Daemon, Node, Registry, Skip, Wire, contains, equal, hello, main, refused, run, wait_for
from descriptors import descriptors

NODES = 10
CONFIG = "[server]\nnode-listen = 127.0.0.1:0\n"
SHARES = "[node]\nready-containers = 0\nshare-listen = 127.0.0.1:0\n"

census = Census()
registry = Registry().__enter__()
lab = imagelab.Lab().__enter__()
server = Daemon(role="server", config=CONFIG).start()
scratch = imagelab.scratch()
nodes, liars = [], []


def cleanup():
    for liar in liars:
        liar.close()
    together(lambda n: n.destroy(), nodes)
    server.destroy()
    lab.__exit__(None, None, None)
    registry.__exit__()
    run("rm", "-rf", scratch)
    census.check()


def together(function, items):
    """For all items at once; what each came to."""
    results, failed = [None] * len(items), []

    def one(i, item):
        try:
            results[i] = function(item)
        except BaseException as e:
            failed.append(e)
    threads = [threading.Thread(target=one, args=(i, item)) for i, item in enumerate(items)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failed:
        raise failed[0]
    return results


def token(uses=1):
    return server.token("--uses", str(uses))


def start_nodes():
    """Ten of them, when the first test wants them."""
    if not nodes:
        shared = token(NODES)
        nodes.extend(Node(server.node_address, shared, config=SHARES) for _ in range(NODES))
        together(lambda n: n.start(), nodes)
    return nodes


def berth(operation, **request):
    status, doc = server.call("BerthV1." + operation, request)
    equal((status, doc if status != 200 else 0), (200, 0))
    return doc


def begin(node, image, **more):
    return berth("PullImage", containerInstance=node.instance, image=image, **more)["pullId"]


def end(node, pull, seconds=60):
    def over():
        doc = berth("DescribePull", containerInstance=node.instance, pullId=pull)
        return doc if doc["status"] != "PULLING" else None
    doc = wait_for(over, seconds, "the end of a pull")
    equal((doc["status"], doc.get("reason")), ("DONE", None))
    return doc


def pull(node, image, **more):
    return end(node, begin(node, image, **more))


def origins(doc):
    """Of each layer: the node that it came from, or None."""
    return [l.get("node") for l in doc["layers"]]


def noise(size, seed):
    return b"".join(hashlib.sha256(f"{seed} {i}".encode()).digest() for i in range(size // 32))


def image(tag, size=300000, layers=1):
    """One that nobody has seen, in the registry that counts; the image, and its reference."""
    made = imagelab.Image(*(imagelab.tar((f"bin/{tag}-{i}", {"data": noise(size, f"{tag} {i}")}))
                            for i in range(layers)))
    return made, lab.add(made, tag)


def fetched(what):
    return len(lab.gets("blobs", imagelab.digest(what)))


# ---- nodes that we speak for ----

class Key:
    """A key with a certificate that nobody signed."""

    def __init__(self, name):
        self.file = os.path.join(scratch, name + ".pem")
        key, crt = self.file + ".key", self.file + ".crt"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
            "30", "-subj", "/CN=node", "-keyout", key, "-out", crt)
        with open(self.file, "w") as f:
            f.write(open(key).read() + open(crt).read())
        der = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], check=True,
                             stdout=subprocess.PIPE).stdout
        self.id = hashlib.sha256(der).hexdigest()

    def server(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file)
        return context

    def client(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self.file)
        return context


class Liar:
    """A member of the cluster that says what we want, and serves what 'hook' does."""

    count = 0

    def __init__(self, hook=None, other_key=False, deaf=False):
        Liar.count += 1
        self.name = f"liar{Liar.count}"
        self.key = Key(self.name)
        self.lab = imagelab.Lab(tls=(Key(self.name + "x") if other_key else self.key).server()).__enter__()
        if hook:
            self.lab.hooks.append(hook)
        if deaf:
            self.lab.server.socket.close()
        self.join()
        liars.append(self)

    def join(self):
        directory = os.path.join(scratch, self.name)
        os.makedirs(directory)
        key, request = os.path.join(directory, "key.pem"), os.path.join(directory, "request.pem")
        run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
            "/CN=x", "-keyout", key, "-out", request)
        activation, code = token().split(".")
        wire = Wire(server.node_address)
        wire.say(dict(type="join", protocol=1, activationId=activation, code=code, hostname=self.name,
                      request=open(request).read()))
        answer = wire.hear()
        equal(answer["type"], "certificate")
        wire.socket.close()
        with open(os.path.join(directory, "certificate.pem"), "w") as f:
            f.write(answer["certificate"])
        self.instance = answer["instanceId"]
        self.wire = Wire(server.node_address, directory)
        port = int(self.lab.address.rsplit(":", 1)[1])
        self.wire.say(dict(hello(self.instance), sharePort=port, shareKey=self.key.id))
        self.heard("tasks")
        self.stop = threading.Event()
        self.messages = []
        threading.Thread(target=self.listen, daemon=True).start()

    def heard(self, kind):
        while True:
            message = self.wire.hear()
            assert message, f"the server hung up before '{kind}'"
            if message["type"] == kind:
                return message

    def listen(self):
        """Heartbeats are answered; all else is kept."""
        while not self.stop.is_set():
            message = self.wire.hear()
            if not message:
                return
            if message["type"] == "heartbeat":
                try:
                    self.wire.say({"type": "heartbeat"})
                except OSError:
                    return
            else:
                self.messages.append(message)

    def told(self, kind):
        return wait_for(lambda: next((m for m in self.messages if m["type"] == kind), None), 20, f"'{kind}'")

    def holds(self, *digests):
        self.wire.say(dict(type="holds", full=True, digests=list(digests)))

    def close(self):
        self.stop.set()
        self.wire.socket.close()
        if self.lab.server.socket.fileno() >= 0:
            self.lab.__exit__(None, None, None)


def wait_until_known(digest, known=True):
    """The server knows that some node holds this, or that none does."""
    witness = Liar()

    def is_so():
        witness.messages.clear()
        witness.wire.say(dict(type="want", digest=digest, size=1))
        return ("instanceId" in witness.told("source")) == known
    wait_for(is_so, 30, "the server to hear of it")


# ---- the tests ----

def test_ten_nodes_fetch_each_blob_once():
    start_nodes()
    demo = registry.demo()
    td = server.ecs("RegisterTaskDefinition", family="s", containerDefinitions=[
        dict(name="c", image=demo, memory=16, command=["sh", "-c", "exit 0"])])
    reply = server.ecs("StartTask", containerInstances=[n.instance for n in nodes],
                       taskDefinition=td["taskDefinition"]["taskDefinitionArn"])
    equal(reply["failures"], [])
    for t in reply["tasks"]:
        equal(server.wait_stopped(t["taskArn"], 120)["containers"][0].get("exitCode"), 0)
    log = open(os.path.join(registry.dir, "log")).read()
    gets = re.findall(r'http.request.method=GET .*?http.request.uri="?/v2/demo/blobs/(sha256:\w+)"?', log)
    equal(sorted(gets), sorted(set(gets)))
    equal(len(gets), 2)  # a layer and the configuration
    equal(sum(n.logged().count("came from there") for n in nodes), 2 * (NODES - 1))  # the two may be two nodes


def test_many_layers_and_each_once_too():
    made, reference = image("many", layers=12)
    documents = together(lambda n: pull(n, reference), nodes)
    for l in made.layers:
        equal(fetched(l), 1)
    equal(fetched(made.config_bytes), 1)
    equal(sum(o is None for d in documents for o in origins(d)), 12)
    equal({d["imageDigest"] for d in documents}, {made.digest()})


def test_kept_blobs_come_as_they_were():
    made, reference = image("kept")
    equal(origins(pull(nodes[0], reference, keepBlobs=True)), [None])
    equal(origins(pull(nodes[1], reference, keepBlobs=True)), [nodes[0].instance])
    equal(fetched(made.layers[0]), 1)
    out = os.path.join(scratch, "kept")
    run(os.path.join(BUILD, "berth"), "--root", nodes[1].root, "image", "save", "--format", "oci-dir", "-o", out,
        reference)
    blob = imagelab.digest(made.layers[0]).replace(":", "/")
    equal(open(os.path.join(out, "blobs", blob), "rb").read(), made.layers[0])


def test_blobs_that_a_save_lacks_come_from_a_node_that_keeps_them():
    made = imagelab.Image(imagelab.tar(("lent", {"data": noise(100000, "lent")})))
    with imagelab.Lab() as other:
        reference = other.add(made)
        pull(nodes[0], reference, keepBlobs=True)
        pull(nodes[1], reference)
    wait_until_known(made.digest())
    wait_until_known(imagelab.digest(made.layers[0]))
    blob = imagelab.digest(made.layers[0]).replace(":", "/")
    for out in (os.path.join(scratch, "lent"), os.path.join(scratch, "lent-again")):
        p = nodes[1].berth("image", "save", "--format", "oci-dir", "-o", out, reference)
        contains(p.stderr, f"DONE 100.2 kB from node {nodes[0].instance[:12]}")
        equal(open(os.path.join(out, "blobs", blob), "rb").read(), made.layers[0])


def test_liars_are_passed_over():
    """Each kind of lie to a node of its own: all of them have the image from the registry in the end."""
    held = {}

    def respond(data=None, **more):
        def hook(handler, kind, name):
            return handler.answer(200, held[name] if data is None else data(held[name]),
                                  "application/octet-stream", **more)
        return hook

    def trickle(first, pause):
        def hook(handler, kind, name):
            data = held[name]
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            try:
                handler.wfile.write(data[:first])
                for i in range(first, len(data)):
                    if handler.server.lab.ended.wait(pause):
                        break
                    handler.wfile.write(data[i:i + 1])
            except OSError:
                pass
            handler.close_connection = True
            return True
        return hook

    def endless(handler, kind, name):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"10000\r\n" + bytes(65536) + b"\r\n")
        except OSError:
            handler.close_connection = True
        return True

    def elsewhere(handler, kind, name):
        return handler.answer(302, Location=f"http://{lab.address}/stolen")

    def wants_login(handler, kind, name):
        return handler.answer(401, WWW_Authenticate=f'Bearer realm="http://{lab.address}/stolen",service="x"')

    kinds = {
        "wrong": respond(lambda d: d[:5000] + b"x" + d[5001:]),
        "garbage": respond(lambda d: b"x" * len(d)),
        "short": respond(lambda d: d[:5000], length=300000),
        "cut": respond(lambda d: d[:-1024]),
        "long": respond(length=1 << 50),
        "endless": endless,
        "slow": trickle(5000, 0.05),
        "stalled": trickle(5000, 3600),
        "elsewhere": elsewhere,
        "login": wants_login,
    }
    liars_of, images = {}, {}
    for kind, hook in kinds.items():
        images[kind] = image(kind)
        tar = images[kind][0].tars[0]
        liars_of[kind] = Liar(hook)
        liars_of[kind].lab.ended = threading.Event()
        held[imagelab.digest(tar)] = tar
        liars_of[kind].holds(imagelab.digest(tar))

    def check(pair):
        n, kind = pair
        made, reference = images[kind]
        doc = pull(n, reference)
        equal((kind, origins(doc), fetched(made.layers[0])), (kind, [None], 1))
        contains(n.logged(), f"node={liars_of[kind].instance} digest={imagelab.digest(made.tars[0])}: passed over")
        equal((kind, len(liars_of[kind].lab.gets("blobs", imagelab.digest(made.tars[0])))), (kind, 1))
    try:
        together(check, list(zip(nodes, kinds)))
    finally:
        for liar in liars_of.values():
            liar.lab.ended.set()
    equal([p for p, _ in lab.requests if "stolen" in p], [])
    # what a registry is told is not for nodes
    for liar in liars_of.values():
        equal([h for _, h in liar.lab.requests if "Authorization" in h], [])


def test_who_is_not_there_or_is_another_is_passed_over():
    gone, other, config = Liar(deaf=True), Liar(other_key=True), Liar(
        lambda h, kind, name: h.answer(200, b'{"os": "linux"}', "application/octet-stream"))
    images = [image("deaf"), image("other"), image("config")]
    gone.holds(imagelab.digest(images[0][0].tars[0]))
    other.holds(imagelab.digest(images[1][0].tars[0]))
    config.holds(imagelab.digest(images[2][0].config_bytes))

    def check(i):
        equal(origins(pull(nodes[i], images[i][1])), [None])
        contains(nodes[i].logged(), f"node={(gone, other, config)[i].instance} ")
    together(check, range(3))
    equal(len(other.lab.requests), 0)
    equal(fetched(images[2][0].config_bytes), 1)


def test_who_promises_and_does_not_deliver_is_waited_for_a_while():
    liar, (made, reference) = Liar(), image("promised")
    liar.wire.say(dict(type="want", digest=imagelab.digest(made.tars[0]), size=1, serves=True))
    assert "instanceId" not in liar.told("source")
    number = begin(nodes[4], reference)
    wait_for(lambda: fetched(made.config_bytes), 30, "the configuration")
    equal(fetched(made.layers[0]), 0)
    equal(origins(end(nodes[4], number)), [None])


def test_what_is_removed_is_not_looked_for_there():
    made, reference = image("removed")
    pull(nodes[5], reference)
    berth("RemoveImage", containerInstance=nodes[5].instance, image=reference)
    tar = os.path.join(nodes[5].root, "var/lib/berth/images/tars", imagelab.digest(made.tars[0])[7:])
    wait_for(lambda: not os.path.exists(tar), 30, "the layer to go")
    wait_until_known(imagelab.digest(made.tars[0]), False)
    equal(origins(pull(nodes[6], reference)), [None])


def test_without_any_registry_a_digest_is_had_from_nodes():
    made = imagelab.Image(imagelab.tar(("alone", {"data": noise(100000, "alone")})))
    with imagelab.Lab() as other:
        other.add(made)
        listed, kind = imagelab.index(made.descriptor(architecture="amd64", os="linux"))
        reference = other.add_manifest(listed, kind, tag=None)
        tagged = other.add_manifest(listed, kind, tag="2")
        pull(nodes[0], reference)
    wait_until_known(imagelab.digest(listed))
    equal(origins(pull(nodes[1], reference)), [nodes[0].instance])
    assert origins(pull(nodes[2], reference.split("@")[0] + "@" + made.digest()))[0]
    number = begin(nodes[3], tagged)  # what a name stands for nobody else knows
    wait_for(lambda: berth("DescribePull", containerInstance=nodes[3].instance, pullId=number)["status"] == "FAILED", 60,
             "a pull that fails")


def test_a_node_that_is_killed_while_it_fetches_is_replaced():
    made, reference = image("killed")
    layer = imagelab.digest(made.layers[0])
    may_go = threading.Event()

    def hold(handler, kind, name):
        if name == layer and not may_go.is_set():
            handler.server.lab.held = True
            may_go.wait(60)
        return False
    lab.hooks.append(hold)
    try:
        begin(nodes[9], reference)
        wait_for(lambda: fetched(made.layers[0]) == 1, 30, "the first to fetch it")
        others = [(n, begin(n, reference)) for n in nodes[:3]]
        # they have the configuration from the first, and wait for it
        wait_for(lambda: all(f"digest={imagelab.digest(made.config_bytes)}: came" in n.logged() for n in nodes[:3]), 30,
                 "the configuration")
        equal(fetched(made.layers[0]), 1)
        os.kill(nodes[9].process.pid, signal.SIGKILL)
        nodes[9].process.wait()
        wait_for(lambda: fetched(made.layers[0]) == 2, 30, "the next to fetch it")
    finally:
        may_go.set()
        lab.hooks.remove(hold)
    documents = [end(n, p) for n, p in others]
    equal(fetched(made.layers[0]), 2)
    equal(sum(o is None for d in documents for o in origins(d)), 1)
    nodes[9].start()


def test_a_node_that_dies_while_it_serves_is_passed_over():
    made, reference = image("dies", size=3000000)
    pull(nodes[8], reference)
    digest = imagelab.digest(made.tars[0])
    # its agent does not open what is asked for: the visitor is let in and gets nothing
    os.kill(nodes[8].process.pid, signal.SIGSTOP)
    try:
        number = begin(nodes[7], reference)
    finally:
        os.kill(nodes[8].process.pid, signal.SIGKILL)
        nodes[8].process.wait()
    equal(origins(end(nodes[7], number)), [None])
    assert f"node={nodes[8].instance} digest={digest}: came" not in nodes[7].logged()
    nodes[8].start()


def half_of(data, goes):
    """A hook: sends the first half of the data, whatever it should be, and is gone; calls 'goes' before."""
    def hook(handler, kind, name):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:len(data) // 2])
        handler.wfile.flush()
        goes()
        handler.close_connection = True
        return True
    return hook


def begins(liar, digest):
    """Where the answers began that were asked of it."""
    return [int(re.match(r"bytes=(\d+)-$", h.get("Range", "bytes=0-")).group(1)) for h in liar.lab.gets("blobs", digest)]


def vanishes(tag, first=None, **more):
    """A node is lost in the middle of a layer that another one has: both, what the pull came to, the layer's size."""
    made, reference = image(tag, size=3000000)
    what = made.layers[0] if more else made.tars[0]
    digest = imagelab.digest(what)
    next_node = Liar(lambda h, kind, name: False)
    next_node.lab.blobs[digest] = what
    lost = Liar(half_of(first or what, lambda: (next_node.holds(digest), wait_until_known(digest))))
    lost.holds(digest)
    wait_until_known(digest)
    return lost, next_node, pull(nodes[2], reference, **more), begins(next_node, digest), made


def test_the_next_node_sends_the_rest_of_what_a_lost_one_began():
    _, next_node, document, asked, made = vanishes("rest")
    equal(origins(document), [next_node.instance])
    equal(len(asked), 1)
    assert asked[0] > len(made.tars[0]) // 3, asked
    equal(fetched(made.layers[0]), 0)


def test_what_a_lost_node_made_up_is_not_blamed_on_the_next():
    _, next_node, document, asked, made = vanishes("made-up", first=bytes(3000000))
    equal(origins(document), [next_node.instance])
    equal((asked[0] > 0, asked[1:]), (True, [0]))
    assert f"node={next_node.instance} " not in "".join(l for l in nodes[2].logged().splitlines(True) if "came" not in l)


def test_the_registry_sends_the_rest_of_a_kept_blob():
    made, reference = image("rest-of-kept", size=3000000)
    digest = imagelab.digest(made.layers[0])
    lost = Liar(half_of(made.layers[0], lambda: None))
    lost.holds(digest)
    wait_until_known(digest)
    equal(origins(pull(nodes[3], reference, keepBlobs=True)), [None])
    asked = [h.get("Range") for h in lab.gets("blobs", digest)]
    equal(len(asked), 1)
    assert int(asked[0][len("bytes="):-1]) > len(made.layers[0]) // 3, asked


def ask(at, key, path, method="GET", **headers):
    """Status, headers and body; 0: no answer."""
    context = key.client() if key else ssl._create_unverified_context()
    request = urllib.request.Request(f"https://{at['address']}:{at['port']}{path}", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as r:
            return r.status, r.headers, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


def test_members_are_served_by_digest_and_nobody_else_is():
    made, reference = image("served", size=2000000)
    pull(nodes[0], reference)
    visitor, tar = Liar(), made.tars[0]
    visitor.wire.say(dict(type="want", digest=imagelab.digest(tar), size=1))
    at = visitor.told("source")
    equal(at["instanceId"], nodes[0].instance)
    blob = f"/v2/any/name/blobs/{imagelab.digest(tar)}"
    manifest = made.manifest_bytes()

    status, headers, body = ask(at, visitor.key, blob)
    equal((status, headers["Docker-Content-Digest"], headers["Content-Length"]),
          (200, imagelab.digest(tar), str(len(tar))))
    assert body == tar
    equal(ask(at, visitor.key, "/v2/")[::2], (200, b"{}"))
    status, headers, body = ask(at, visitor.key, f"/v2/app/manifests/{made.digest()}")
    equal((status, headers["Content-Type"], body), (200, made.type, manifest))
    equal(ask(at, visitor.key, f"/v2/app/blobs/{imagelab.digest(made.config_bytes)}")[2], made.config_bytes)
    status, headers, body = ask(at, visitor.key, blob, "HEAD")
    equal((status, headers["Content-Length"], body), (200, str(len(tar)), b""))
    status, headers, body = ask(at, visitor.key, blob, Range="bytes=1000-1999")
    equal((status, headers["Content-Range"], body), (206, f"bytes 1000-1999/{len(tar)}", tar[1000:2000]))
    equal(ask(at, visitor.key, blob, Range="bytes=1999000-")[2], tar[1999000:])
    equal(ask(at, visitor.key, blob, Range="bytes=99999999-")[0], 416)
    for path in ("/v2/app/manifests/served", "/v2/app/tags/list", "/v2/_catalog", "/", "/v2/app/blobs/sha256:../../etc",
                 f"/v2/app/blobs/sha256:{64 * '0'}"):
        equal((path, ask(at, visitor.key, path)[0]), (path, 404))
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        equal(ask(at, visitor.key, blob, method)[0], 405)

    # strangers: without a certificate, with one of their own, with the certificate of a node
    equal(ask(at, None, blob)[0], 403)
    equal(ask(at, Key("stranger"), blob)[0], 403)
    member = Key("member")
    with open(member.file, "w") as f:
        for name in ("key.pem", "certificate.pem"):
            f.write(open(os.path.join(nodes[1].root, "var/lib/berth/node", name)).read())
    equal(ask(at, member, blob)[0], 403)

    # and whoever is none any more
    server.berth("node", "remove", "--force", visitor.instance)
    wait_for(lambda: ask(at, visitor.key, blob)[0] == 403, 20, "a removed node to be refused")


def test_who_serves_has_few_rights_and_is_small():
    if BUILD.endswith("/san"):
        raise Skip("sanitizers take memory, and no filter of system calls")
    pids = [p for p in filter(str.isdigit, os.listdir("/proc"))
            if b"serve" in (open(f"/proc/{p}/cmdline", "rb").read().split(b"\0") if os.path.exists(f"/proc/{p}") else [])
            and os.readlink(f"/proc/{p}/exe") == os.path.join(BUILD, "berth-worker")]
    assert pids
    for pid in pids:
        status = dict(re.findall(r"^(\w+):\t(.*)$", open(f"/proc/{pid}/status").read(), re.M))
        equal((status["Uid"].split(), status["CapEff"], status["CapBnd"] and status["NoNewPrivs"], status["Seccomp"]),
              (["65534"] * 4, "0" * 16, "1", "2"))
        assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
        kinds = sorted(d.split(":")[0] for d in descriptors(pid))
        equal([k for k in kinds if k.startswith("/") and k != "/dev/null" and "berthd.log" not in k], [])
        rollup = open(f"/proc/{pid}/smaps_rollup").read()
        own = sum(int(v) for v in re.findall(r"Private_\w+:\s+(\d+) kB", rollup))
        assert own < 6000, rollup


def test_sharing_can_be_switched_off():
    contains(nodes[0].berth("doctor").stdout, "sharing: images come from other nodes, and go to them")
    apart = Node(server.node_address, token(), config=SHARES + "share-images = no\n")
    nodes.append(apart)
    apart.start()
    made, reference = image("apart")
    pull(nodes[0], reference)
    equal(origins(pull(apart, reference)), [None])
    equal(fetched(made.layers[0]), 2)
    contains(apart.berth("doctor").stdout, "sharing: this node shares no images with others")
    refused("[node]\nshare-rate = 3\n", "[node] share-rate '3' is neither 0 nor a number of MiB a second, 4 at least")
    refused("[node]\nshare-images = perhaps\n", "[node] share-images 'perhaps' is neither yes nor no")
    refused("[server]\nnode-listen = 127.0.0.1:0\n[node]\nshare-listen = everywhere\n", "[node] share-listen")


def test_what_a_node_sends_may_be_limited():
    """How fast each connection may be, the kernel is told: tests/unit/base/http.c."""
    slow = Node(server.node_address, token(), config=SHARES + "share-rate = 5\n")
    nodes.append(slow)
    slow.start()
    made, reference = image("limited")
    pull(slow, reference)
    equal(origins(pull(nodes[0], reference)), [slow.instance])
    equal(fetched(made.layers[0]), 1)
    words = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
            words.append(f.read())
    assert b"berth-worker\0serve\0%d\0" % (5 << 20) in words, [w for w in words if b"serve" in w]


def test_a_store_of_directories_takes_and_does_not_give():
    flat = Node(server.node_address, token(), config=SHARES + "image-index = no\n")
    nodes.append(flat)
    flat.start()
    made, reference = image("flat")
    pull(nodes[0], reference)
    equal(origins(pull(flat, reference)), [nodes[0].instance])
    layer = os.path.join(flat.root, "var/lib/berth/images/layers", imagelab.digest(made.tars[0])[7:], "fs/bin/flat-0")
    equal(open(layer, "rb").read(), noise(300000, "flat 0"))
    made, reference = image("flatter")
    pull(flat, reference)
    equal(origins(pull(nodes[0], reference)), [None])
    equal((fetched(made.layers[0]), fetched(made.config_bytes)), (2, 1))


def test_a_port_that_is_taken_is_no_reason_not_to_be_a_node():
    port = lab.address
    taker = Node(server.node_address, token(), config=SHARES.replace("127.0.0.1:0", port))
    nodes.append(taker)
    taker.start()
    contains(taker.logged(), "[node] share-listen: other nodes get no images here")
    _, reference = image("taker")
    pull(nodes[0], reference)
    equal(origins(pull(taker, reference)), [nodes[0].instance])


def test_the_machine_of_the_server_shares_where_it_takes_nodes():
    both = Daemon(config=CONFIG + SHARES + "[network]\nnode-address = 127.0.0.1\n").start()
    try:
        own = both.ecs("ListContainerInstances")["containerInstanceArns"][0].split("/")[-1]
        words = both.token()
        guest = Node(both.node_address, words, config=SHARES)
        guest.start()
        made, reference = image("both")
        try:
            for instance, daemon in ((own, both), (guest.instance, guest)):
                both.call("BerthV1.PullImage", dict(containerInstance=instance, image=reference))
                wait_for(lambda: imagelab.digest(made.tars[0])[7:] in os.listdir(
                    os.path.join(daemon.root, "var/lib/berth/images/tars")), 30, "the layer")
            came = f"node={own} digest={imagelab.digest(made.tars[0])}: came from there"
            wait_for(lambda: came in guest.logged(), 30, "a word of where it came from")
            equal(fetched(made.layers[0]), 1)
        finally:
            guest.destroy()
    finally:
        both.destroy()
    alone = Daemon(config="[node]\nshare-listen = 127.0.0.1:0\n").start()
    try:
        contains(alone.berth("doctor").stdout, "sharing: this node shares no images with others")
    finally:
        alone.destroy()


if __name__ == "__main__":
    main()
