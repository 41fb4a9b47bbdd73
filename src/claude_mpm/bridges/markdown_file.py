"""A list of tasks in a Markdown file, as a tracker: `- [ ]` is open, `- [x]` is closed."""

from __future__ import annotations

import re
from pathlib import Path

from claude_mpm.bridges.trackers import ClosingTracker, Filed, Issue, TrackerFailed, fingerprint_in

_TASK = re.compile(r"^\s*[-*+] \[([ xX])\] ")


class MarkdownFile(ClosingTracker):
    """Adds tasks to the end of a file; it is made if it is missing."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self._file = Path(target).expanduser().absolute()

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
            with self._file.open("ab", buffering=0) as file:  # in one piece; its mode stays
                file.write(f"{gap}{text}\n".encode())
        except OSError as error:
            raise TrackerFailed(f"{self._file}: cannot be written ({error})") from error


def _plain(text: str) -> str:
    """Return text that neither ends the mark nor makes another one."""
    return text.replace("<!--", "<! --")
