"""Contracts of output and input: both arrive completely and unchanged."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from claude_mpm.testing.processes import resident_memory
from claude_mpm.testing.subject import PATIENCE, ended, lines_to_the_end, shown, until

if TYPE_CHECKING:
    from claude_mpm.testing.residue import Remains
    from claude_mpm.testing.subject import Subject

_MEGABYTE = 1 << 20
_LONG = 64 * _MEGABYTE
_UNREAD = 128 * _MEGABYTE
_GROWTH = 56 * _MEGABYTE  # more than a program's own start, kubectl's too; much less than is unread
_COUNTING = 'n=0; while [ "$n" -lt {count} ]; do echo "line $n"; n=$((n + 1)); done'


def everything_arrives_before_the_end(subject: Subject) -> None:
    """The last lines of an answer would be lost, most of all where Claude ends right after them."""
    claude = subject.program(_COUNTING.format(count=20_000))
    lines = lines_to_the_end(claude)
    assert len(lines) == 20_000, f"of 20000 lines, {len(lines)} came before the end was told"
    assert lines == [f"line {n}" for n in range(20_000)], "lines came changed, or in another order"


def a_character_cut_in_two_arrives_whole(subject: Subject) -> None:
    """Text in any language but English would be damaged now and then."""
    claude = subject.program(r"printf 'caf\303'; read -r go; printf '\251 \342\206\222\nno end'")
    folder = subject.session_folder(claude)
    until(lambda: folder.journal.size() >= 4, "the first half did not arrive")
    claude.send_input("go on")
    lines = lines_to_the_end(claude)
    assert lines == ["café →", "no end"], f"it arrived as {lines}"


def a_line_of_64_mb_passes(subject: Subject) -> None:
    """One big result of a tool, an image for instance, would end the session."""
    claude = subject.program(
        "dd if=/dev/zero bs=1048576 count=64 2>/dev/null | tr '\\0' x; echo; echo end"
    )
    lines = lines_to_the_end(claude)
    assert [len(line) for line in lines] == [_LONG, 3], (
        f"lines of {_LONG} and 3 characters were written, {[len(line) for line in lines]} came"
    )
    assert lines[0].count("x") == _LONG, "the line came changed"


def input_of_6_mb_passes(subject: Subject) -> None:
    """A long prompt, with a file pasted into it, would arrive cut off or not at all."""
    claude = subject.program("head -n 1")
    prompt = "".join(f"{n:07} " for n in range(6 * _MEGABYTE // 8))
    claude.send_input(prompt)
    lines = lines_to_the_end(claude)
    assert [len(line) for line in lines] == [len(prompt)], (
        f"{len(prompt)} characters were sent, lines of {[len(line) for line in lines]} came back"
    )
    assert lines[0] == prompt, "the prompt arrived changed"


def a_reader_that_does_not_read_holds_nothing_up(subject: Subject) -> None:
    """A slow program would make Claude wait, or fill the memory, or lose what it has not read."""
    gate = threading.Event()
    claude = subject.program(
        f"read -r go; yes {'x' * 1024} | head -n {_UNREAD // 1024}",
        sinks=[lambda _: gate.wait(PATIENCE)],
    )
    folder, memory = subject.session_folder(claude), _Memory(subject.remains(claude))

    def has_ended() -> bool:
        memory.look()
        return folder.exit_status() is not None

    claude.send_input("go on")
    try:
        until(has_ended, "Claude waits for a reader that does not read")
    finally:
        gate.set()
    growth, who = memory.most
    assert growth < _GROWTH, f"{_UNREAD} bytes wait to be read, and {who} grew by {growth} bytes"
    said = sum(len(line) for line in lines_to_the_end(claude))
    assert said == _UNREAD, f"of {_UNREAD} characters that were not read at first, {said} came"


class _Memory:
    """How much this process, and each between it and the place, has grown at most."""

    def __init__(self, remains: Remains) -> None:
        self._remains = remains
        self._before: dict[int, int] = {}
        self.most = (0, "")
        self.look()

    def look(self) -> None:
        """Look at all of them."""
        watched = {process.pid: process.command for process in self._remains.between()}
        for pid, command in {**watched, os.getpid(): "this process"}.items():
            holds = resident_memory(pid)
            grown = holds - self._before.setdefault(pid, holds)
            self.most = max(self.most, (grown, shown(command, 80)))


def the_exit_status_arrives(subject: Subject) -> None:
    """A Claude that failed would look like one that did its work."""
    folder = subject.session_folder(subject.program("exit 7"))
    ended(folder)
    assert folder.exit_status() == 7, f"it ended with 7, and {folder.exit_status()} was told"


def standard_error_arrives(subject: Subject) -> None:
    """Nobody could say why Claude failed."""
    folder = subject.session_folder(subject.program("echo 'what was wrong' >&2; exit 1"))
    ended(folder)
    said = folder.stderr_tail()
    assert said == "what was wrong", f"of what it wrote to standard error, {shown(said)} arrived"
