"""What settings, frameworks and agent files share: reading a text file and naming what is wrong."""

from __future__ import annotations

import os
import re
import stat
import time
import typing
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from claude_mpm.errors import UsageError
from claude_mpm.patterns import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from claude_mpm.errors import MPMError

# What msgspec raises for bytes that are not the JSON that they should be.
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}


def exists(path: Path) -> bool:
    """Whether there is something; what may not be looked at counts as nothing."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises where a parent is closed


def is_folder(path: Path) -> bool:
    """Whether there is a folder; what may not be looked at counts as none."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises where a parent is closed


def disk_is_full(path: Path) -> bool:
    """Whether nothing more can be written where `path` is, as far as there is something."""
    try:
        disk = os.statvfs(path)
    except FileNotFoundError:
        return False
    return (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail) == 0


def read_text(
    path: Path,
    error: type[MPMError],
    missing: str = "check the path",
    *,
    largest: int | None = None,
) -> str:
    """Read a UTF-8 file, without its byte order mark and with `\\n` at the end of each line.

    Raises `error` where the file is missing (`missing` is the advice for that), not a regular
    file, unreadable, larger than `largest` bytes or not UTF-8.
    """
    try:
        data = _read_regular(path, largest)
    except _NotTaken as problem:
        raise error(f"{path}: {problem}") from problem
    except FileNotFoundError as problem:
        raise error(f"{path}: there is no such file; {missing}") from problem
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"{path}: cannot be read ({reason}); mend the path or its mode") from problem
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        # With "utf-8-sig" the offset is counted after the mark.
        start = problem.start + len(data) - len(problem.object)
        line = data.count(b"\n", 0, start) + 1
        raise error(
            f"{path}, line {line}: the byte at offset {start} is not UTF-8; save the file as UTF-8"
        ) from problem
    return text.replace("\r\n", "\n").replace("\r", "\n")


class _NotTaken(Exception):
    """A file that is not read; it says why, and what to do."""


def _read_regular(path: Path, largest: int | None) -> bytes:
    # A FIFO or a device would block for ever or never end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _NotTaken("not a regular file; name a text file")
    with open(descriptor, "rb") as file:
        data = file.read(-1 if largest is None else largest + 1)
    if largest is not None and len(data) > largest:
        raise _NotTaken(f"more than {largest} bytes, which Claude does not read; make it shorter")
    return data


# Lines around an error message: source code, the stack, the error's fields, and the version of the
# runtime, such as Bun, with which Claude is compiled.
_AROUND = lazy_pattern(
    r"\d+ \|.*|[\^~ ]+|at\s.*|(?:syscall|errno|code|path|dest): .*"
    r"|Bun v[\d.]+ \(.*\)|Node\.js v[\d.]+"
)
_ERROR = lazy_pattern(
    r"(?:error|fatal|panic|[A-Z]\w*(?:Error|Exception)|E[A-Z]{3,})\b", re.IGNORECASE
)
_MAX_MESSAGE = 400  # characters


def error_line(printed: str) -> str:
    """Return the error message in a program's output, in one line.

    It is the text from the last line that begins like an error, or else the last line.
    """
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    lines = [line for line in lines if line and not _AROUND.fullmatch(line)]
    begins = [number for number, line in enumerate(lines) if _ERROR.match(line)]
    message = " ".join(lines[begins[-1] if begins else -1 :])
    return message if len(message) <= _MAX_MESSAGE else f"{message[: _MAX_MESSAGE - 1]}…"


def local_time(seconds: float) -> str:
    """Return a time in seconds since the epoch, which may be invalid, as local time."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g} s"


def check_prompt(prompt: str) -> None:
    """Raise `UsageError` if a prompt is empty, or not UTF-8."""
    if not prompt.strip():
        raise UsageError("the prompt is empty; say what Claude is to do")
    if not is_text(prompt):
        raise UsageError("the prompt is not UTF-8; convert it with iconv")


def is_text(value: object) -> bool:
    """Return whether a value, also in lists and tables, can be written as UTF-8.

    Of an argument, a variable or a file's name, Python keeps the bytes that are no text as lone
    surrogates (PEP 383). Neither JSON nor Claude Code takes them.
    """
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in value)
    if isinstance(value, dict):
        return all(map(is_text, value)) and all(map(is_text, value.values()))
    return not isinstance(value, list | tuple) or all(map(is_text, value))


def as_text(argument: str) -> str:
    """Return an argument as it was typed, where the locale is too narrow for it.

    Raises:
        UsageError: its bytes are no UTF-8 either.
    """
    if is_text(argument):
        return argument
    try:
        return os.fsencode(argument).decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"the prompt is not UTF-8: the byte at offset {error.start}; convert it with iconv"
        ) from error


def split_rules(text: str) -> list[str]:
    """Return the rules for tools of a text, as in `Read, Bash(git log:*)`.

    Commas part them outside of parentheses, which may be nested; a backslash takes the meaning from
    the sign behind it, as Claude Code has it.

    Raises:
        ValueError: a parenthesis is not closed, or closes nothing: what the rule would allow then
            is something else than what was meant.
    """
    rules, depth, start = [], 0, 0
    for found in re.finditer(r"\\.|[(),]", text, re.DOTALL):
        sign = found[0]
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            raise ValueError(f"`{text[start:].strip()}` closes a parenthesis that was not opened")
        if sign == "," and not depth:
            rules.append(text[start : found.start()])
            start = found.end()
    if depth:
        raise ValueError(f"`{text[start:].strip()}` opens a parenthesis that is not closed")
    return [rule.strip() for rule in [*rules, text[start:]] if rule.strip()]


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known word that is most like `word`, or None where nothing is."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return found[0] if found else None


def failed_key(problem: msgspec.ValidationError) -> str:
    """Return the top-level key that a validation error is about, or an empty string."""
    found = re.search(r" - at `(?:key in )?\$\.(\w+)", str(problem))
    return found[1] if found else ""


def explain(problem: msgspec.ValidationError, struct: type[msgspec.Struct], key: str) -> str:
    """Return in plain words what the value of a field of `struct` should have been."""
    reason = re.sub(r" - at `.*`$", "", str(problem))
    allowed = _choices(typing.get_type_hints(struct).get(key))
    if reason.startswith("Invalid enum value") and allowed:
        return f"expected one of {', '.join(allowed)}"
    reason = reason.replace(" | null`", "`", 1)
    reason = re.sub(r"`([\w |]+)`", lambda types: _in_words(types[1]), reason)
    return reason[:1].lower() + reason[1:]


def _in_words(types: str) -> str:
    return " or ".join(_WORDS.get(name, name) for name in types.split(" | "))


def _choices(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is Literal:
        return [str(choice) for choice in typing.get_args(annotation)]
    return [choice for part in typing.get_args(annotation) for choice in _choices(part)]
