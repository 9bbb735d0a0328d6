#!/usr/bin/env python3
# tests/lint/lint.py - what a tool can check of docs/HACKING.md
# SPDX-License-Identifier: Apache-2.0
#
# Each check is a function that yields "file:line: what is wrong". It prints
# "ok CHECK" or "not ok CHECK" with the findings; the exit code counts them.

import os
import re
import shutil
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILE_LINES_MAX = 1000
FACADE_LINES_MAX = 300
BASE_FILES_MAX = 25
LOGGERS = ("agent", "scheduler", "keeper", "cmd", "base/log.")


def files(*endings):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP, check=True,
                         stdout=subprocess.PIPE, text=True).stdout.split("\n")
    return [f for f in out if f.endswith(endings) and os.path.exists(os.path.join(TOP, f))]


def lines(name):
    with open(os.path.join(TOP, name), encoding="utf-8") as f:
        return list(enumerate(f.read().split("\n"), 1))


def uses():
    """The Makefile's table: module or cmd/program to the modules that it may use."""
    out = subprocess.run(["make", "-s", "print-uses"], cwd=TOP, check=True, stdout=subprocess.PIPE,
                         text=True).stdout
    return {k.strip(): v.split() for k, _, v in (l.partition(":") for l in out.split("\n") if l)}


def room_of(name, table):
    """The line of the table that a source file is judged by; None: not judged."""
    parts = name.split("/")
    if parts[0] == "cmd":
        return "cmd/" + re.sub(r"\.c$", "", parts[1]).replace("_", "-")
    if parts[0] in table:
        return parts[0]
    if parts[:2] == ["tests", "unit"] and len(parts) == 4:
        return parts[2]
    if parts[:2] == ["tests", "fuzz"] and len(parts) == 3:
        return parts[2].split("_")[0]
    return None


def check_layers():
    """Includes go down only, and from outside a module is one header."""
    table = uses()
    for name in files(".c", ".h"):
        room = room_of(name, table)
        if room is None:
            continue
        inside = room if not room.startswith("cmd/") else None
        for number, line in lines(name):
            m = re.match(r'\s*#\s*include "([^"]+)"', line)
            if not m:
                continue
            target = m.group(1)
            module = target.split("/")[0]
            if "/" not in target:
                yield f'{name}:{number}: include "{target}" without its module'
            elif module in ("tests", "cmd") or module == inside:
                continue
            elif module not in table.get(room, []):
                yield f"{name}:{number}: {room} may not use {module} (USES_ table in the Makefile)"
            elif module not in ("base", "ecs") and target != f"{module}/{module}.h":
                yield f"{name}:{number}: from outside, {module} is {module}/{module}.h"


def check_headers():
    """A header says #pragma once; files say what they are and their licence."""
    for name in files(".c", ".h"):
        text = [l for _, l in lines(name)]
        if not text[0].startswith(f"/* {name}"):
            yield f"{name}:1: the first line is not '/* {name} - what it is'"
        if not any("SPDX-License-Identifier: Apache-2.0" in l for l in text[:3]):
            yield f"{name}:2: no SPDX line"
        if name.endswith(".h") and "#pragma once" not in text:
            yield f"{name}:1: no #pragma once"


def check_sizes():
    facades = {f"{m}/{m}.h" for m in uses()}
    for name in files(".c", ".h"):
        count = len(lines(name))
        if count > FILE_LINES_MAX:
            yield f"{name}: {count} lines, the wall is {FILE_LINES_MAX}"
        if name in facades and count > FACADE_LINES_MAX:
            yield f"{name}: {count} lines, a facade has {FACADE_LINES_MAX}"
    count = len([f for f in files(".c") if f.startswith("base/")])
    if count > BASE_FILES_MAX:
        yield f"base: {count} files, the ceiling is {BASE_FILES_MAX}"


def check_functions():
    """No function over 100 lines: from a '{' in the first column to its '}'."""
    for name in files(".c"):
        start = 0
        for number, line in lines(name):
            if line == "{":
                start = number
            elif line == "}" and start:
                if number - start > 100:
                    yield f"{name}:{start}: function of {number - start} lines"
                start = 0


def check_logs():
    """Only agent, scheduler, keeper and cmd log; libraries return."""
    for name in files(".c"):
        if name.startswith(LOGGERS) or name.startswith("tests/"):
            continue
        for number, line in lines(name):
            if re.search(r"\blog_(error|warn|info|debug)\(", line):
                yield f"{name}:{number}: logs; return an err instead"


def check_words():
    """No // comments, no auto_ without a value, no paths of a build machine."""
    for name in files(".c", ".h"):
        for number, line in lines(name):
            bare = re.sub(r'"(\\.|[^"\\])*"', '""', line)
            if re.search(r"(^|\s)//", bare):
                yield f"{name}:{number}: // comment"
            if re.match(r"\s+auto_\w+ (struct )?\w+ \**\w+( = |;)", bare) and bare.rstrip().endswith(";") \
                    and "=" not in bare:
                yield f"{name}:{number}: an auto_ local without a value"


def check_format():
    tool = shutil.which("clang-format")
    names = files(".c", ".h")
    if not tool:
        yield "SKIP clang-format is not installed"
        return
    p = subprocess.run([tool, "--dry-run", "-Werror"] + names, cwd=TOP, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True)
    for name in sorted(set(re.findall(r"^([^\s:]+):\d+:\d+: error: code should be", p.stdout, re.M))):
        yield f"{name}: run make format"


def check_cppcheck():
    tool = shutil.which("cppcheck")
    if not tool:
        yield "SKIP cppcheck is not installed"
        return
    names = [f for f in files(".c") if not f.startswith("tests/")]
    cache = os.path.join(TOP, "build", "cppcheck")
    os.makedirs(cache, exist_ok=True)
    p = subprocess.run([tool, "--quiet", "--enable=warning,performance,portability", "--inline-suppr",
                        "--suppress=missingInclude", "--suppress=nullPointerRedundantCheck",
                        f"--cppcheck-build-dir={cache}", "-j2", "-D_GNU_SOURCE",
                        "--include=tests/lint/macros.h",
                        "-I.", "--template={file}:{line}: {id}: {message}"] + names,
                       cwd=TOP, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in p.stderr.split("\n"):
        if line and not line.startswith("nofile"):
            yield line


CHECKS = [check_layers, check_headers, check_sizes, check_functions, check_logs, check_words,
          check_format, check_cppcheck]


def main():
    bad = 0
    for check in CHECKS:
        name = check.__name__.replace("check_", "lint ")
        found = list(check())
        if found and found[0].startswith("SKIP "):
            print(f"skip {name}: {found[0][5:]}")
        elif found:
            bad += 1
            print(f"not ok {name}")
            for f in found:
                print(f"  {f}")
        else:
            print(f"ok {name}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
