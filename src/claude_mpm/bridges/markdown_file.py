"""A list of tasks in a Markdown file, as a tracker: `- [ ]` is open, `- [x]` is closed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.bridges.trackers import ClosingTracker, Filed, Issue, TrackerFailed, fingerprint_in
from claude_mpm.errors import UsageError
from claude_mpm.printable import printable

if TYPE_CHECKING:
    from io import FileIO

_MARKDOWN = (".md", ".markdown", ".mdown", ".txt")
_TASK = re.compile(r"^\s*[-*+] \[([ xX])\] ")


class MarkdownFile(ClosingTracker):
    """Adds tasks to the end of a file; it is made if it is missing.

    Args:
        target: its path. It may be a link that came with a repository, so one to a file that is
            not Markdown is refused: what Claude wrote would be in a file that something obeys.

    Raises:
        UsageError: it is no file, or such a link.
    """

    def __init__(self, target: str) -> None:
        super().__init__(target)
        try:
            self._file = Path(target).expanduser().absolute()
        except RuntimeError as error:  # `~NAME` of nobody
            raise UsageError(f"file:{target}: {error}; name the file by its path") from error
        there = self._file.resolve()
        if self._file.is_symlink() and there.suffix.lower() not in _MARKDOWN:
            raise UsageError(
                f"{self._file} is a link to {there}, which is no Markdown file, so nothing is"
                f" written to it; if it is meant: --to file:{there}"
            )
        if there.exists() and not there.is_file():
            raise UsageError(f"{self._file} is no file; name a Markdown file, new or old")

    @property
    def address(self) -> str:
        """The file, with links followed."""
        return f"file:{self._file.resolve()}"

    def is_public(self) -> bool:
        """Return whether strangers can read it: no."""
        return False

    def filed(self) -> dict[str, Filed]:
        """Return the tasks with a fingerprint; a task's number is the fingerprint itself."""
        found = {}
        for line in self._read().splitlines():
            task, name = _TASK.match(line), fingerprint_in(line)
            if task and name:
                found[name] = Filed(name, "open" if task[1] == " " else "closed")
        return found

    def create(self, issue: Issue) -> str:
        """Add a task, whose description is indented below it."""
        mark = f"<!-- claude-mpm {issue.fingerprint} -->"
        lines = [f"- [ ] {issue.type}: {_plain(issue.title)} {mark}"]
        lines += [f"      {_plain(line)}".rstrip() for line in issue.body.splitlines()]
        self._append("\n".join(lines))
        return issue.fingerprint

    def comment(self, number: str, text: str) -> None:
        """Add nothing: a list has no room for it."""

    def close(self, number: str) -> None:
        """Tick a task: one character of the file changes."""
        at = 0
        for line in self._read().splitlines(keepends=True):
            task = _TASK.match(line)
            if task and task[1] == " " and fingerprint_in(line) == number:
                self._tick(at + len(line[: task.start(1)].encode()))
            at += len(line.encode())

    def _tick(self, at: int) -> None:
        try:
            with self._file.open("r+b", buffering=0) as file:
                file.seek(at)
                if file.read(1) != b" ":
                    raise TrackerFailed(f"{self._file}: it was changed meanwhile; push again")
                file.seek(at)
                file.write(b"x")
        except OSError as error:
            raise TrackerFailed(f"{self._file}: cannot be written ({error})") from error

    def _read(self) -> str:
        try:
            return self._file.read_bytes().decode("utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise TrackerFailed(f"{self._file}: cannot be read ({error})") from error

    def _append(self, text: str) -> None:
        before = self._read()
        gap = "" if not before or before.endswith("\n") else "\n"
        try:
            with self._file.open("ab", buffering=0) as file:  # its mode stays
                _write_whole(file, f"{gap}{text}\n".encode())
        except OSError as error:
            raise TrackerFailed(f"{self._file}: cannot be written ({error})") from error


def _write_whole(file: FileIO, data: bytes) -> None:
    """Append all of it, or nothing, as on a disk that takes a part alone.

    Raises:
        OSError: it takes no more.
    """
    before = os.fstat(file.fileno()).st_size
    try:
        while data:
            data = data[file.write(data) or 0 :]
    except OSError:
        os.ftruncate(file.fileno(), before)
        raise


def _plain(text: str) -> str:
    """Return text that makes no mark of its own, and steers no terminal that shows the file."""
    return printable(text).replace("<!--", "<! --")
