#!/usr/bin/env python3
# tests/e2e/39-image-commands.py - berth image, and images that go by themselves
# SPDX-License-Identifier: Apache-2.0

import json
import os
import pty
import re
import time

import berth
import imagelab as lab
from berth import Census, contains, equal, main, wait_for

census = Census()
registry = lab.Lab().__enter__()
busybox = open("/bin/busybox", "rb").read()
SHELL = lab.tar("bin/", ("bin/busybox", {"data": busybox, "mode": 0o755}),
                *((f"bin/{n}", {"type": b"2", "link": "busybox"}) for n in ("sh", "sleep", "true")))


def image(text, tag, history=None):
    """An image of its own, served; reference and Image."""
    made = lab.Image(SHELL, lab.tar(("text", {"data": text.encode()})), config={
        "Cmd": ["/bin/true"], "Env": ["PATH=/bin"], "Labels": {"of": text}, "ExposedPorts": {"80/tcp": {}}})
    made.config["created"] = "2024-05-06T07:08:09Z"
    made.config["history"] = history or [
        {"created": "2024-05-06T07:08:07Z", "created_by": "COPY / / # shell"},
        {"created": "2024-05-06T07:08:08Z", "created_by": "ENV PATH=/bin", "empty_layer": True},
        {"created": "2024-05-06T07:08:09Z", "created_by": "COPY text / # " + "long " * 20, "comment": "buildkit"}]
    made.set_config(made.config)
    return registry.add(made, tag), made


def config_id(made):
    return lab.digest(made.config_bytes)


def rows(text):
    lines = text.rstrip("\n").split("\n")
    return [re.split(r"\s{2,}", line) for line in lines]


daemon = berth.Daemon(config="[node]\nimage-high-water = 0\n").start()


def cleanup():
    daemon.destroy()
    registry.__exit__()
    census.check()


def test_images_has_the_columns_of_docker():
    reference, made = image("a", "a")
    daemon.berth("pull", "-q", reference)
    found = rows(daemon.berth("images").stdout)
    equal(found[0], ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"])
    row = next(r for r in found if r[1] == "a")
    equal(row[:3], [registry.address + "/app", "a", config_id(made)[7:19]])
    assert re.match(r"\d+ days ago$", row[3]), row
    equal(daemon.berth("images", "-q", "--no-trunc", "app:a").stdout, config_id(made) + "\n")
    equal(rows(daemon.berth("image", "ls", "--digests", "app").stdout)[1][2], made.digest())
    equal(len(rows(daemon.berth("images", "other").stdout)), 1)


def test_inspect_tells_what_docker_tells():
    reference, made = image("a", "a")
    daemon.berth("pull", "-q", reference)
    for name in (reference, config_id(made), config_id(made)[7:19], made.digest(), made.digest()[7:15]):
        found, = json.loads(daemon.berth("image", "inspect", name).stdout)
        equal(found["Id"], config_id(made))
    equal(found["RepoTags"], [reference])
    equal(found["RepoDigests"], [f"{registry.address}/app@{made.digest()}"])
    equal(found["Created"], "2024-05-06T07:08:09Z")
    equal((found["Os"], found["Architecture"]), ("linux", "amd64"))
    equal(found["RootFS"], {"Type": "layers", "Layers": [lab.digest(t) for t in made.tars]})
    equal({k: found["Config"][k] for k in ("Cmd", "Env", "Labels", "ExposedPorts", "Volumes")},
          {"Cmd": ["/bin/true"], "Env": ["PATH=/bin"], "Labels": {"of": "a"}, "ExposedPorts": {"80/tcp": {}},
           "Volumes": {}})
    p = daemon.berth("image", "inspect", "none", check=False)
    equal((p.returncode, json.loads(p.stdout)), (3, []))
    contains(p.stderr, "no image none: not found")


def test_history_is_that_of_the_image():
    reference, made = image("a", "a")
    daemon.berth("pull", "-q", reference)
    found = rows(daemon.berth("image", "history", reference).stdout)
    equal(found[0], ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"])
    equal([r[0] for r in found[1:]], [config_id(made)[7:19], "<missing>", "<missing>"])
    assert found[1][2].startswith("COPY text / # long") and found[1][2].endswith("..."), found[1]
    equal(found[2][2:4], ["ENV PATH=/bin", "0 B"])
    equal(found[1][4], "buildkit")
    assert found[3][3] != "0 B"
    contains(daemon.berth("image", "history", "--no-trunc", reference).stdout, "long " * 20)
    equal([s["emptyLayer"] for s in json.loads(daemon.berth("image", "history", "-o", "json", reference).stdout)],
          [False, True, False])


def test_names_are_given_and_taken():
    reference, made = image("a", "a")
    daemon.berth("pull", "-q", reference)
    daemon.berth("image", "tag", config_id(made)[7:19], "mine:1", "other.example/x")
    for name in ("docker.io/library/mine:1", "other.example/x:latest"):
        equal(json.loads(daemon.berth("image", "inspect", name).stdout)[0]["Id"], config_id(made))
    equal(daemon.berth("image", "rm", "mine:1", reference).stdout,
          f"Untagged: docker.io/library/mine:1\nUntagged: {reference}\n")
    equal(json.loads(daemon.berth("image", "inspect", "other.example/x").stdout)[0]["RepoTags"],
          ["other.example/x:latest"])
    equal(daemon.berth("image", "rm", config_id(made)).stdout, f"Deleted: {made.digest()}\n")
    for words, code in ((["rm", "mine:1"], 3), (["tag", "mine:1", "x"], 3), (["rm"], 2), (["tag", "x"], 2),
                        (["frobnicate"], 2), (["rm", "--digests", "x"], 2), (["prune", "--filter", "label=x"], 2)):
        equal(daemon.berth("image", *words, check=False).returncode, code)
    daemon.berth("pull", "-q", reference)
    p = daemon.berth("image", "tag", reference, "x@" + made.digest(), check=False)
    contains(p.stderr, "a name with a digest")


def test_the_beginning_of_an_id_has_four_digits_at_least():
    reference, made = image("a", "a")
    daemon.berth("pull", "-q", reference)
    equal(daemon.berth("image", "inspect", config_id(made)[7:11], check=False).returncode, 0)
    equal(daemon.berth("image", "inspect", config_id(made)[7:10], check=False).returncode, 3)


def test_what_a_task_uses_stays():
    reference, made = image("used", "used")
    other, _ = image("unused", "unused")
    arn = daemon.run_task([dict(name="c", image=reference, memory=32, command=["sleep", "1000"])])
    daemon.wait_status(arn, "RUNNING")
    daemon.berth("pull", "-q", other)
    p = daemon.berth("image", "rm", reference, check=False)
    equal(p.returncode, 1)
    contains(p.stderr, "in use by a task")
    contains(daemon.berth("image", "prune", "-a", "--filter", "until=1h").stdout, "Total reclaimed space: 0 B")
    out = daemon.berth("image", "prune", "-af").stdout
    contains(out, f"Untagged: {other}\n")
    assert reference not in out
    equal(len(rows(daemon.berth("images").stdout)), 2)
    daemon.ecs("StopTask", task=arn)
    daemon.wait_stopped(arn)
    # Without a name, and not in use any more: now it goes, and its layers are told by their size.
    image("new", "used")
    daemon.berth("pull", "-q", reference)
    before = json.loads(daemon.berth("images", "-o", "json").stdout)
    pruned = json.loads(daemon.berth("image", "prune", "-o", "json").stdout)
    equal([i["digest"] for i in pruned["images"]], [made.digest()])
    equal(pruned["spaceReclaimed"], 4)  # the text; the shell is still needed
    equal(len(before) - 1, len(json.loads(daemon.berth("images", "-o", "json").stdout)))


def test_progress_is_told_as_it_is_wanted():
    reference, made = image("progress", "progress")
    blob = lab.digest(made.layers[0])

    def fresh(*words):
        daemon.berth("image", "rm", reference, check=False)
        daemon.berth("image", "prune", "-a")
        return daemon.berth(*words)
    p = fresh("pull", reference)
    assert re.search(rf"^{blob[:19]} DONE [\d.]+ [kM]B$", p.stderr, re.M), p.stderr
    equal(p.stdout, made.digest() + "\n")
    p = fresh("pull", "--quiet", reference)
    equal(p.stderr, "")
    p = fresh("pull", "--progress", "json", reference)
    layers = [json.loads(line) for line in p.stderr.split("\n") if line]
    equal({l["digest"] for l in layers}, {lab.digest(l) for l in made.layers})
    equal(layers[-1]["bytes"], layers[-1]["totalBytes"])
    equal(daemon.berth("pull", "--progress", "x", reference, check=False).returncode, 2)


def test_a_terminal_shows_rate_and_time_left():
    made = lab.Image(lab.tar(("large", {"data": os.urandom(4 << 20)})))
    reference = registry.add(made, "slow")

    def slowly(h, kind, name):
        if name != lab.digest(made.layers[0]):
            return False
        data = made.layers[0]
        h.send_response(200)
        h.send_header("Content-Length", str(len(data)))
        h.end_headers()
        for i in range(0, len(data), 1 << 18):
            h.wfile.write(data[i:i + (1 << 18)])
            h.wfile.flush()
            time.sleep(0.05)
        return True
    registry.hooks.append(slowly)
    master, slave = pty.openpty()
    pid = os.fork()
    if pid == 0:
        os.dup2(slave, 1)
        os.dup2(slave, 2)
        os.execv(os.path.join(berth.BUILD, "berth"), ["berth", "--root", daemon.root, "pull", reference])
    os.close(slave)
    seen = b""
    try:
        while True:
            seen += os.read(master, 65536)
    except OSError:
        pass
    equal(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
    registry.hooks.clear()
    assert re.search(rb"\[=+>? *\] [\d.]+ [kM]?B / [\d.]+ MB DOWNLOADING [\d.]+ [kM]?B/s, \d+ s left", seen), seen[-500:]
    contains(seen.decode(), made.digest())


# ---- images that go by themselves ----

def names(d):
    return sorted(i["reference"].rsplit(":", 1)[1] for i in json.loads(d.berth("images", "-o", "json").stdout))


def use(d, reference):
    """A task has had it, and is over."""
    d.wait_stopped(d.run_task([dict(name="c", image=reference, memory=32)]))


def age(d, reference, seconds):
    """As if pulled and used so long ago; the daemon is stopped."""
    folder = os.path.join(d.root, "var/lib/berth/images/names")
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        text = open(path).read()
        if f"reference {reference}\n" not in text:
            continue
        then, used = time.time() - seconds, os.stat(path).st_mtime
        with open(path, "w") as f:
            f.write(re.sub(r"pulled \d+", f"pulled {int(then * 1000)}", text))
        os.utime(path, (0, 0) if used == 0 else (then, then))
        return
    raise AssertionError(f"{reference} is not held")


def held(config, environment, *prepared):
    """A daemon that holds images of these tags: (tag, seconds ago, used); started with the settings."""
    d = berth.Daemon(config="[node]\nimage-high-water = 0\nimage-cleanup-interval = 0\n").start()
    try:
        references = {}
        for tag, seconds, used in prepared:
            references[tag], _ = image(tag, tag)
            if used:
                use(d, references[tag])
            else:
                d.berth("pull", "-q", references[tag])
        d.stop()
        for tag, seconds, _ in prepared:
            age(d, references[tag], seconds)
        with open(os.path.join(d.root, "etc/berth/berth.conf"), "w") as f:
            f.write("[node]\n" + config.replace("ADDRESS", registry.address))
        os.environ.update(environment)
        try:
            d.start()
        finally:
            for name in environment:
                del os.environ[name]
    except BaseException:
        d.destroy()
        raise
    return d


def test_the_oldest_go_by_cycles():
    d = held("image-high-water = 0\nimage-cleanup-interval = 1s\nimage-cleanup-age = 1h\nimage-cleanup-count = 1\n", {},
             ("oldest", 9000, True), ("older", 8000, True), ("young", 60, True), ("pulled", 9000, False))
    try:
        wait_for(lambda: names(d) == ["pulled", "young"], 30, "the old ones gone")
        order = re.findall(r"app:(\w+): removed, no task has used it", d.logged())
        equal(order, ["oldest", "older"])
        assert len(set(re.findall(r"(\S+) .*removed, no task", d.logged()))) == 2  # one in a cycle
    finally:
        d.destroy()


def test_the_environment_of_the_agent_of_ecs_counts():
    environment = {"ECS_IMAGE_CLEANUP_INTERVAL": "1s", "ECS_IMAGE_MINIMUM_CLEANUP_AGE": "2h",
                   "ECS_NUM_IMAGES_DELETE_PER_CYCLE": "3", "ECS_ENABLE_UNTRACKED_IMAGE_CLEANUP": "true",
                   "ECS_EXCLUDE_UNTRACKED_IMAGE": f"{registry.address}/app:kept,other"}
    d = held("image-high-water = 0\nimage-cleanup-interval = 0\n", environment,
             ("kept", 90000, True), ("pulled", 9000, False), ("used", 9000, True), ("young", 7000, True))
    try:
        wait_for(lambda: names(d) == ["kept", "young"], 30, "the old ones gone")
    finally:
        d.destroy()
    d = held("", {"ECS_DISABLE_IMAGE_CLEANUP": "true", "ECS_IMAGE_CLEANUP_INTERVAL": "1s"}, ("used", 9000, True))
    try:
        equal(names(d), ["used"])
    finally:
        d.destroy()


def test_a_full_file_system_makes_room():
    d = held("image-high-water = 1\nimage-cleanup-interval = 0\n", {}, ("old", 100, True), ("young", 0, True),
             ("pulled", 100, False))
    try:
        wait_for(lambda: names(d) == ["pulled", "young"], 30, "the old one gone")
        contains(d.logged(), "above the high-water mark")
    finally:
        d.destroy()


def test_what_is_preferred_from_here_stays_here():
    d = held("image-pull-behavior = prefer-cached\nimage-high-water = 1\nimage-cleanup-interval = 1s\nimage-cleanup-age = 1s\n",
             {}, ("old", 9000, True), ("other", 9000, True))
    try:
        reference, _ = image("old", "old")
        with registry.lock:
            registry.requests.clear()
        use(d, reference)  # longer than a cycle
        equal((names(d), registry.requests), (["old", "other"], []))
    finally:
        d.destroy()


def test_once_asks_for_what_no_task_has_had():
    d = held("image-pull-behavior = once\n", {}, ("used", 0, True), ("pulled", 0, False))
    try:
        with registry.lock:
            registry.requests.clear()
        use(d, f"{registry.address}/app:used")
        equal(registry.requests, [])
        for _ in range(2):
            use(d, f"{registry.address}/app:pulled")
            equal(len(registry.gets("manifests")), 1)
    finally:
        d.destroy()


def test_always_and_default_ask_and_differ_when_nobody_answers():
    for behavior, code in (("always", None), ("default", 0)):
        d = held(f"image-pull-behavior = {behavior}\n", {}, ("gone", 0, True))
        try:
            with registry.lock:
                registry.requests.clear()
            registry.hooks.append(lambda h, kind, name: h.answer(404))
            stopped = d.wait_stopped(d.run_task([dict(name="c", image=f"{registry.address}/app:gone", memory=32)]))
            registry.hooks.clear()
            assert registry.requests
            equal(stopped["containers"][0].get("exitCode"), code)
            if code is None:
                contains(stopped["containers"][0]["reason"], "CannotPullContainerError")
        finally:
            registry.hooks.clear()
            d.destroy()


def test_settings_that_make_no_sense_are_refused():
    for line, says in (("image-cleanup-interval = soon", "is not a time such as 30m"),
                       ("image-cleanup-age = 1h2h", "is not a time such as 30m"),
                       ("image-cleanup-count = 0", "is not a number from 1 on"),
                       ("image-high-water = 100", "is not a percentage from 0 to 99"),
                       ("image-cleanup-untracked = maybe", "is neither yes nor no"),
                       ("image-cleanup-exclude = A/b/C", "image-cleanup-exclude"),
                       ("image-pull-behavior = never", "is none of default, always, once, prefer-cached")):
        berth.refused(f"[node]\n{line}\n", says)


if __name__ == "__main__":
    main()
