"""The floor for lines: read, split, and take each line in hand as text. COMMAND..."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from common import tell

begun = time.perf_counter()
with subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, bufsize=0) as process:
    assert process.stdout
    descriptor, tail, count, letters = process.stdout.fileno(), b"", 0, 0
    while chunk := os.read(descriptor, 1 << 16):
        *lines, tail = (tail + chunk).split(b"\n")
        for line in lines:
            text = line.decode()
            count += 1
            letters += len(text)
tell(seconds=time.perf_counter() - begun, lines=count, letters=letters)
