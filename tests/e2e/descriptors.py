# tests/e2e/descriptors.py - what a process has open
# SPDX-License-Identifier: Apache-2.0

import contextlib
import os


def descriptors(pid, first=0):
    """What its descriptors from 'first' on lead to; those that it closes meanwhile are left out."""
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            if int(number) >= first:
                found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return found
