# tests/e2e/writelog.py - what a disk may hold after a power cut, from the log of its writes
# SPDX-License-Identifier: Apache-2.0
#
# QEMU's blklogwrites notes every write with its data, and every flush, in the order
# in which they ended, before the machine hears of it (the format of the kernel's
# dm-log-writes). A cut is a place in this log. All writes before the last flush are
# on the disk; of those since then each one may be there or not, whatever came after
# it, and one of them only in part: sectors are whole, writes are not.

import struct

SECTOR = 512
MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD = 1, 2, 4
SUPERBLOCK = 4096  # ext4 looks at its checksum before its journal: no disk of 512-byte sectors may tear it


def drive(disk, log):
    """Words for QEMU: a virtio disk that is written down; neither file need be safe from a cut of our own."""
    file = "driver=file,cache.no-flush=on"
    return ["-blockdev", f"{file},node-name=disk,filename={disk}", "-blockdev", f"{file},node-name=log,filename={log}",
            "-blockdev", "driver=blklogwrites,node-name=logged,file=disk,log=log,log-super-update-interval=1",
            "-device", "virtio-blk-pci,drive=logged"]


class Write:
    def __init__(self, offset, data, flags):
        self.offset, self.data, self.flags = offset, data, flags


def read(path):
    with open(path, "rb") as f:
        magic, _, count, sector_size = struct.unpack("<QQQI", f.read(28))
        assert (magic, sector_size) == (MAGIC, SECTOR), (magic, sector_size)
        at, found = SECTOR, []
        for _ in range(count):
            f.seek(at)
            sector, sectors, flags, _ = struct.unpack("<QQQQ", f.read(32))
            assert not flags & DISCARD, "what a discarded sector holds, nobody knows"
            f.seek(at + SECTOR)
            found.append(Write(sector * SECTOR, f.read(sectors * SECTOR), flags))
            at += (1 + sectors) * SECTOR
    return found


class Disk:
    """Goes along a log, from cut to cut; 'path' is as it was when the log began, and then has what is certain."""

    def __init__(self, path, log):
        self.path, self.log, self.next = path, log, 0

    def cut(self, at, chance, random):
        """What a cut before write 'at' leaves above self.path: (offset, data)... 'chance': that a write is there."""
        flushed = max((i for i in range(self.next, at) if self.log[i].flags & FLUSH), default=self.next)
        with open(self.path, "r+b") as f:
            put(f, [(w.offset, w.data) for w in self.log[self.next:flushed]])
        self.next = flushed
        since = [w for w in self.log[flushed:at] if w.data]
        torn = random.choice([w for w in since if not w.flags & FUA and w.offset >= SUPERBLOCK] or [None])
        left = []
        for w in since:
            if w is torn:
                left += tear(w, random)
            elif w.flags & FUA or random.random() < chance:
                left.append((w.offset, w.data))
        return left


def tear(write, random):
    return [(write.offset + i, write.data[i:i + SECTOR]) for i in range(0, len(write.data), SECTOR)
            if random.random() < 0.5]


def put(file, pieces):
    for offset, data in pieces:
        file.seek(offset)
        file.write(data)
