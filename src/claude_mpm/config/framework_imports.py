"""Imports with `@path` in a framework's instructions, which are read like those of a CLAUDE.md."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from claude_mpm.errors import FrameworkError
from claude_mpm.patterns import lazy_pattern
from claude_mpm.validation import exists, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_DEPTH = 5  # of imports in imported files, as in Claude Code (2.1.330)
_MAX_FILE = 1 << 20  # bytes
_MAX_TOTAL = 4 << 20  # characters of all imported files
# Where Claude Code searches for a path, and how a path may begin.
_IMPORT = lazy_pattern(r"(?:^|\s)@((?:[^\s\\]|\\ )+)")
_BEGIN = lazy_pattern(r"\./|~/|/.|[A-Za-z0-9._-]")
_COMMENT = lazy_pattern(r"<!--.*?-->", re.DOTALL)
_FENCE = lazy_pattern(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*(`{3,}|~{3,})([^\n]*)")
_SPAN = lazy_pattern(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_ITEM = lazy_pattern(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
# Only these are reported if they are missing: `@engineer` and `@scope/package` are names.
_IS_FILE = lazy_pattern(
    r"(?:\./|~/|/).+|.+\.(?:md|mdx|markdown|txt|rst|json|ya?ml|toml|xml|html?|csv)"
)


class Imports:
    """Reads the files that a framework's file imports, each of them once.

    Args:
        folder: the framework's folder; files outside of it are not read.

    Attributes:
        notes: which imports were not followed and why, one line each.
    """

    def __init__(self, folder: Path) -> None:
        self.notes: list[str] = []
        self._folder = folder.resolve()
        self._read: set[Path] = set()
        self._left = _MAX_TOTAL

    def follow(self, path: Path, text: str) -> str:
        """Return a text, followed by the files that it imports.

        Args:
            path: the file of the text; imports are relative to its folder.
        """
        self._read.add(path.resolve())
        return text + "".join(self._imports_of(path, text, 1))

    def _imports_of(self, path: Path, text: str, depth: int) -> Iterator[str]:
        for name in _imported(text):
            wanted = path.parent / name
            imported = self._read_import(path, name, wanted, depth)
            if imported is not None:
                yield f"\n\nContents of {name}, which {path.name} imports:\n\n{imported}"
                yield from self._imports_of(wanted, imported, depth + 1)

    def _read_import(self, path: Path, name: str, wanted: Path, depth: int) -> str | None:
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
                text = read_text(real, FrameworkError, largest=_MAX_FILE)
            except FrameworkError as problem:
                reason = str(problem)
            else:
                self._left -= len(text)
                if self._left >= 0:
                    return text
                reason = f"all imports have more than {_MAX_TOTAL} characters; import less"
        if reason:
            self.notes.append(f"{path}: @{name} is not followed: {reason}")
        return None

    def _refusal(self, name: str, wanted: Path, real: Path, depth: int) -> str | None:
        """Return why a file is not read; empty if the text means no file, None if it is read."""
        if not exists(real):
            return "there is no such file; check the path" if _IS_FILE.fullmatch(name) else ""
        if name.startswith("~") or not real.is_relative_to(self._folder):
            return f"it is outside of {self._folder}; put it there"
        if wanted.is_dir():
            return "it is a folder; name the files in it" if _IS_FILE.fullmatch(name) else ""
        if depth > _MAX_DEPTH:
            return f"more than {_MAX_DEPTH} files import one another; name it further up"
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
