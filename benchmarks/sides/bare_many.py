"""What a journal for each of many sessions costs at least: EMITTER SESSIONS SECONDS FOLDER.

A bare loop over files that grow: it sleeps until one does, reads what has come, and decodes each
line. Nothing is looked at, kept or handed on.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
from common import FLAGS, tell

emitter, sessions, wait, folder = sys.argv[1], *map(int, sys.argv[2:4]), Path(sys.argv[4])
_MODIFIED = 0x2
_EVENT = struct.Struct("iIII")  # of a file: it is followed by no name
_GATHERING = 0.02  # seconds, as long as ours waits with as many sessions
said = 0
decode = msgspec.json.Decoder().decode


def start(number: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start one session, whose output goes to a file; return it, and what reads the file."""
    path = folder / f"{number}.jsonl"
    with path.open("wb") as journal:
        process = subprocess.Popen([emitter, *FLAGS], stdin=subprocess.PIPE, stdout=journal)
    return process, os.open(path, os.O_RDONLY)


def follow(notices: int, watched: dict[int, int]) -> None:
    """Read each file that has grown, for ever."""
    global said
    while True:
        grown = {event[0] for event in _EVENT.iter_unpack(os.read(notices, 1 << 16))}
        for watch in grown:
            lines = os.read(watched[watch], 1 << 16).splitlines()
            for line in lines:
                decode(line)
            said += len(lines)
        time.sleep(_GATHERING)


folder.mkdir(exist_ok=True)
many = [start(number) for number in range(sessions)]
libc = ctypes.CDLL(None, use_errno=True)
notices = libc.inotify_init1(os.O_CLOEXEC)
watched = {
    libc.inotify_add_watch(notices, os.fsencode(folder / f"{number}.jsonl"), _MODIFIED): reader
    for number, (_, reader) in enumerate(many)
}
threading.Thread(target=follow, args=(notices, watched), daemon=True).start()
for process, _ in many:
    assert process.stdin
    process.stdin.write(b'{"type":"user"}\n')
    process.stdin.flush()
time.sleep(1)
begun, cpu, lines = time.perf_counter(), time.process_time(), said
time.sleep(wait)
took = time.perf_counter() - begun
tell(busy=(time.process_time() - cpu) / took, lines=(said - lines) / took)
for process, _ in many:
    process.kill()
for process, _ in many:
    process.wait()
