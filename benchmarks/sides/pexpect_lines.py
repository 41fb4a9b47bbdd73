"""pexpect reads the lines of a command. COMMAND..."""

from __future__ import annotations

import sys
import time

import pexpect
from common import tell

begun = time.perf_counter()
child = pexpect.spawn(sys.argv[1], sys.argv[2:], encoding="utf-8", timeout=None)
count = letters = 0
for line in child:
    count += 1
    letters += len(line) - 2
child.close()
tell(seconds=time.perf_counter() - begun, lines=count, letters=letters)
