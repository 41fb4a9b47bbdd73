"""`@path` in a framework's instructions: the file is read with it, as that of a CLAUDE.md is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from claude_mpm.errors import FrameworkError
from claude_mpm.validation import exists, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DEEPEST = 5  # files behind one another, as Claude Code follows them (2.1.330)
_LARGEST = 1 << 20  # bytes of one file
_MOST = 4 << 20  # characters of all
# Where Claude Code looks for a path, and what it takes for the begin of one.
_IMPORT = re.compile(r"(?:^|\s)@((?:[^\s\\]|\\ )+)")
_BEGIN = re.compile(r"\./|~/|/.|[A-Za-z0-9._-]")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_FENCE = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(`{3,}|~{3,})([^\n]*)")
_SPAN = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
# What is missing is said of what can only be a file: `@engineer` and `@scope/package` are names.
_IS_FILE = re.compile(
    r"(?:\./|~/|/).+|.+\.(?:md|mdx|markdown|txt|rst|json|ya?ml|toml|xml|html?|csv)"
)


class Imports:
    """Reads what a framework's file imports, each file once.

    Args:
        folder: the framework's folder; what is outside of it is not read.

    Attributes:
        notes: what was not followed and why, a line each.
    """

    def __init__(self, folder: Path) -> None:
        self.notes: list[str] = []
        self._folder = folder.resolve()
        self._read: set[Path] = set()
        self._left = _MOST

    def follow(self, path: Path, text: str) -> str:
        """Return a text with all that it imports behind it; where it imports nothing, as it is.

        Args:
            path: the file of the text; what it names is relative to that file's folder.
        """
        self._read.add(path.resolve())
        return text + "".join(self._behind(path, text, 1))

    def _behind(self, path: Path, text: str, depth: int) -> Iterator[str]:
        for name in _imported(text):
            wanted = path.parent / name
            found = self._take(path, name, wanted, depth)
            if found is not None:
                yield f"\n\nContents of {name}, which {path.name} imports:\n\n{found}"
                yield from self._behind(wanted, found, depth + 1)

    def _take(self, path: Path, name: str, wanted: Path, depth: int) -> str | None:
        try:
            real = wanted.resolve()
        except (OSError, RuntimeError, ValueError):
            real = wanted
        if real in self._read:
            return None
        reason = self._refusal(name, wanted, real, depth)
        if reason is None:
            self._read.add(real)
            try:
                text = read_text(real, FrameworkError, largest=_LARGEST)
            except FrameworkError as problem:
                reason = str(problem)
            else:
                self._left -= len(text)
                if self._left >= 0:
                    return text
                reason = f"all imports have more than {_MOST} characters; import less"
        if reason:
            self.notes.append(f"{path}: @{name} is not followed: {reason}")
        return None

    def _refusal(self, name: str, wanted: Path, real: Path, depth: int) -> str | None:
        """Return why a file is not read: empty where the text names none, None where it is."""
        if not exists(real):
            return "there is no such file; check the path" if _IS_FILE.fullmatch(name) else ""
        if name.startswith("~") or not real.is_relative_to(self._folder):
            return f"it is outside of {self._folder}; put it there"
        if wanted.is_dir():
            return "it is a folder; name the files in it" if _IS_FILE.fullmatch(name) else ""
        if depth > _DEEPEST:
            return f"more than {_DEEPEST} files import one another; name it further up"
        return None


def _imported(text: str) -> Iterator[str]:
    """Yield the paths that a Markdown text imports, outside of code and comments."""
    if "@" not in text:
        return
    prose = _SPAN.sub(" ` ", _COMMENT.sub("\n", _without_blocks(text)))
    for match in _IMPORT.finditer(prose):
        name = match[1].partition("#")[0].replace("\\ ", " ")
        if _BEGIN.match(name):
            yield name


def _without_blocks(text: str) -> str:
    """Return a text without its blocks of code."""
    kept: list[str] = []
    fence = ""
    after_blank, in_list = True, False
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if fence:
            if match and match[1].startswith(fence) and not match[2].strip():
                fence = ""
            continue
        if match and not (match[1][0] == "`" and "`" in match[2]):
            fence = match[1]
            continue
        indented = line.startswith(("    ", "\t")) and not in_list
        if not (indented and after_blank):
            kept.append(line)
            after_blank = not line.strip()
            if _ITEM.match(line):
                in_list = True
            elif line[:1].strip():
                in_list = False
    return "\n".join(kept)
