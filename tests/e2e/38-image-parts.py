#!/usr/bin/env python3
# tests/e2e/38-image-parts.py - a large layer of a registry that gives each connection only so much
# SPDX-License-Identifier: Apache-2.0

import os
import re
import threading
import time

import imagelab as lab
from berth import Census, equal, main

census = Census()
MB = 1 << 20
RATE = 40 * MB  # a second and connection: a fraction of what the reader takes
DATA = os.urandom(96 * MB)
image = lab.Image(lab.tar(("large", {"data": DATA})))
BLOB = image.layers[0]
DIGEST = lab.digest(BLOB)


def cleanup():
    census.check()


class Slow:
    """A hook: gives the blob at RATE. 'part' may answer those that ask for a part, and is told which: True if it did."""

    def __init__(self, part=None):
        self.part, self.lock, self.asked, self.now, self.most = part, threading.Lock(), [], 0, 0

    def __call__(self, h, kind, name):
        if name != DIGEST:
            return False
        m = re.match(r"bytes=(\d+)-(\d*)$", h.headers.get("Range", "bytes=0-"))
        begin, end = int(m[1]), int(m[2]) + 1 if m[2] else None
        with self.lock:
            self.asked.append((begin, end))
            number = len([1 for _, e in self.asked if e])
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            return bool(end and self.part and self.part(h, number, begin, end)) or self.give(h, begin, end or len(BLOB))
        except OSError:
            h.close_connection = True  # it has enough
            return True
        finally:
            with self.lock:
                self.now -= 1

    def give(self, h, begin, end, stop=None):
        h.send_response(206 if end - begin < len(BLOB) else 200)
        h.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(BLOB)}")
        h.send_header("Content-Length", str(end - begin))
        h.end_headers()
        began, at = time.monotonic(), begin
        while at < (stop or end):
            h.wfile.write(BLOB[at:min(at + MB // 4, stop or end)])
            at += MB // 4
            time.sleep(max(0, began + (at - begin) / RATE - time.monotonic()))
        if stop:
            h.close_connection = True
        return True

    def parts(self):
        return sorted(a for a in self.asked if a[1])

    def whole(self):
        """Where those begin that go to the end."""
        return [b for b, e in self.asked if not e]


def pulled(slow, registry, store):
    reference = registry.add(image)
    registry.hooks.append(slow)
    store.pull(reference)
    with store.mounted(reference) as root:
        equal(open(os.path.join(root, "large"), "rb").read() == DATA, True)


def test_several_requests_get_it_and_each_byte_once():
    together = threading.Barrier(3)

    def part(h, number, begin, end):
        if number <= 3:
            together.wait(30)  # nobody is given anything before three have asked
        return False
    slow = Slow(part)
    with lab.Lab() as registry, lab.Store() as store:
        pulled(slow, registry, store)
    equal(slow.whole(), [0])
    parts = slow.parts()
    equal([b for b, _ in parts[1:]], [e for _, e in parts[:-1]])
    equal(parts[-1][1], len(BLOB))
    assert slow.most <= 4, slow.most  # the first, which is near its end, and three


def test_a_registry_without_ranges_gives_it_as_ever():
    slow = Slow(lambda h, *_: h.answer(200, BLOB, "application/octet-stream"))
    with lab.Lab() as registry, lab.Store() as store:
        pulled(slow, registry, store)
    equal(len(slow.parts()), 3)
    assert len(slow.whole()) <= 2, slow.asked  # the first had what it was to bring by then, or had not


def test_where_a_part_fails_one_request_gets_the_rest():
    for answer in (lambda h, begin, end: h.answer(404, b"gone"),
                   lambda h, begin, end: h.answer(206, BLOB[begin:end + 1], Content_Range=f"bytes {begin}-{end}/{len(BLOB)}")):
        failed = []  # which part comes fifth is chance: three are asked for side by side
        slow = Slow(lambda h, number, begin, end: number == 5 and (failed.append(begin) or answer(h, begin, end)))
        with lab.Lab() as registry, lab.Store() as store:
            pulled(slow, registry, store)
        equal(len(slow.whole()), 2)
        assert 0 < slow.whole()[1] <= failed[0], (failed, slow.asked)


def test_a_part_that_breaks_off_goes_on_where_it_was():
    broken = []

    def part(h, number, begin, end):
        if number == 2:
            broken.append((begin, end))
            return slow.give(h, begin, end, begin + MB)
        return False
    slow = Slow(part)
    with lab.Lab() as registry, lab.Store() as store:
        pulled(slow, registry, store)
    equal(slow.whole(), [0])
    equal([a for a in slow.parts() if a[1] == broken[0][1]], [broken[0], (broken[0][0] + MB, broken[0][1])])


def test_a_part_with_other_bytes_is_refused():
    slow = Slow(lambda h, number, begin, end: number == 4 and h.answer(
        206, bytes(end - begin), Content_Range=f"bytes {begin}-{end - 1}/{len(BLOB)}"))
    with lab.Lab() as registry, lab.Store() as store:
        reference = registry.add(image)
        registry.hooks.append(slow)
        store.refuses("digest mismatch", DIGEST, reference)


def test_parts_are_asked_for_where_the_registry_sent_us():
    """What it sent us to may be good for a while only: then the registry says it anew."""
    for expires in (False, True):
        with lab.Lab() as registry, lab.Lab() as elsewhere, lab.Store() as store:
            slow = Slow(lambda h, number, *_: expires and number >= 5 and h.answer(403, b"expired"))
            elsewhere.hooks.append(slow)
            reference = registry.add(image)
            registry.hooks.append(lambda h, kind, name: name == DIGEST and h.answer(
                307, Location=f"http://{elsewhere.address}/v2/x/blobs/{name}"))
            store.pull(reference)
            equal(len(registry.gets("blobs", DIGEST)), 2 if expires else 1)
            equal(len(slow.whole()), 2 if expires else 1)
            assert len(slow.parts()) >= 5, slow.asked


def test_no_more_is_asked_for_where_the_reader_is_the_slower_one():
    with lab.Lab() as registry, lab.Store() as store:
        store.pull(registry.add(image))
        equal(len(registry.gets("blobs", DIGEST)), 1)


main()
