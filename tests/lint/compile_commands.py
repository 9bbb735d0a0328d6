#!/usr/bin/env python3
# tests/lint/compile_commands.py CC FLAGS... - compile_commands.json on standard output
# SPDX-License-Identifier: Apache-2.0

import glob
import json
import os
import sys

top = os.getcwd()
out = [{"directory": top, "file": f, "arguments": sys.argv[1:] + ["-c", f]}
       for pattern in ("*/*.c", "*/*/*.c", "tests/*/*/*.c") for f in sorted(glob.glob(pattern))]
json.dump(out, sys.stdout, indent=1)
