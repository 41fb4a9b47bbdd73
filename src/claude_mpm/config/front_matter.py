"""The front matter ("head") of an agent file, read as Claude Code reads it.

Claude reads YAML 1.2. If a head is not YAML, it quotes one-line values that contain characters with
a meaning in YAML, replaces a leading tab by two spaces, and tries again; a file that fails then has
no head (2.1.330, by experiment and by its code).
"""

from __future__ import annotations

import functools
import itertools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from claude_mpm.patterns import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARK = "---"
_MAX_NODES = 10_000  # with those that aliases repeat
_ADVICE = (
    "put quotes around a text, or write it as a block: `description: |`, the text indented below"
)
# The white space of JavaScript, which Claude accepts between a field and its value.
_BLANK = r"[\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]"
_FIELD = lazy_pattern(rf"([a-zA-Z_-]+):{_BLANK}+((?!{_BLANK}).+)")
_SIGNS = lazy_pattern(r"[{}\[\]*&#!|>%@`]|: ")
_EASE = lazy_pattern(r"^,|\t")
_TABS = lazy_pattern(r"^\t+", re.MULTILINE)
# Front matter without any character or word that has a special meaning in YAML.
_PLAIN = lazy_pattern(r"(name|description|tools|model): ([A-Za-z](?:[\w ,.;()/!?*'-]*[\w.)!?*'])?)")
_NO_TEXTS = frozenset({"yes", "no", "true", "false", "on", "off", "null"})
# What YAML 1.2 does not read as a string (its "core schema").
_CORE = {
    "null": (r"~|null|Null|NULL|", "~nN"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)"
        r"|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
}


class HeadError(Exception):
    """A head that cannot be read.

    Args:
        line: in the head, from 0.
        reason: what is wrong, and how to correct it.
        syntax: whether the head is not YAML.
    """

    def __init__(self, line: int, reason: str, *, syntax: bool = False) -> None:
        super().__init__(reason)
        self.line = line
        self.syntax = syntax


class Head(NamedTuple):
    """The fields of a head.

    Attributes:
        values: by their names.
        lines: the line of each in the head, from 0.
        quoted: the first line that is not YAML, and was read verbatim; None if all is YAML.
    """

    values: dict[Any, Any]
    lines: dict[str, int]
    quoted: int | None = None


def split_head(text: str) -> tuple[str, str] | None:
    """Return the head, with a final newline, and the rest; None if a text has no head.

    Raises:
        HeadError: the head has no end.
    """
    lines = text.split("\n")
    if lines[0].rstrip() != _MARK:
        return None
    for number, line in enumerate(lines[1:], 1):
        if line.rstrip() == _MARK:
            return "\n".join(lines[1:number]) + "\n", "\n".join(lines[number + 1 :])
    reason = f"the front matter has no end; write `{_MARK}` on a line of its own after it"
    raise HeadError(-1, reason)


def read_head(head: str) -> Head:
    """Return the fields of a head.

    Raises:
        HeadError: Claude cannot read it either, or it is ambiguous.
    """
    if plain := _read_plain(head):
        return plain
    head = "\n".join(map(_eased, head.split("\n")))
    try:
        return _load_yaml(head)
    except HeadError as problem:
        quoted, first = _quote(head)
        if quoted == head or not problem.syntax:
            raise
        try:
            return _load_yaml(quoted)._replace(quoted=first)
        except HeadError:
            raise problem from None


def _read_plain(head: str) -> Head | None:
    """Read a simple head without YAML, whose import takes 25 ms; None if it is not simple."""
    values: dict[Any, Any] = {}
    for line in head.splitlines():
        match = _PLAIN.fullmatch(line)
        if match is None or match[1] in values or match[2].lower() in _NO_TEXTS:
            return None
        values[match[1]] = match[2]
    if "name" not in values or "description" not in values:
        return None
    return Head(values, {key: number for number, key in enumerate(values)})


def _quote(head: str) -> tuple[str, int | None]:
    """Quote values as Claude does if a head is not YAML; also return the first changed line."""
    lines = head.split("\n")
    first = None
    for number, line in enumerate(lines):
        match = _FIELD.fullmatch(line)
        changed = match and _quote_value(match[1], match[2])
        if changed:
            lines[number] = changed
        if first is None and (changed or line.startswith("\t")):
            first = number
    return _TABS.sub(lambda tabs: "  " * len(tabs[0]), "\n".join(lines)), first


def _eased(line: str) -> str:
    """Return a line with quotes if only Python's YAML needs them, and Claude's does not."""
    match = _FIELD.fullmatch(line) if "\t" in line or ": ," in line else None
    if match is None or not _EASE.search(match[2]) or _SIGNS.search(match[2]):
        return line
    return line if match[2][0] in "\"'" else _quoted(*match.groups())


def _quote_value(field: str, value: str) -> str | None:
    is_quoted = value[-1] == value[0] and value[0] in "\"'"
    if is_quoted or _is_list(value) or not _SIGNS.search(value):
        return None
    return _quoted(field, value)


def _quoted(field: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{field}: "{escaped}"'


def _is_list(value: str) -> bool:
    if not (value.startswith("[") and value.endswith("]")):
        return False
    try:
        _load_yaml(f"x: {value}")
    except HeadError:
        return False
    return True


def _load_yaml(head: str) -> Head:
    import yaml  # only needed where there are agents

    try:
        loader = _loader()(head)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise HeadError(
                0, "the front matter is not a list of `key: value` lines; write it as one"
            )
        if next(itertools.islice(_nodes(node), _MAX_NODES, None), None) is not None:
            raise HeadError(0, "the front matter cannot be used (too large); make it simpler")
        return Head(loader.construct_document(node), _key_lines(node))
    except yaml.MarkedYAMLError as problem:
        quoted = (problem.context or "").startswith("while scanning a quoted")
        mark = problem.context_mark if quoted else problem.problem_mark or problem.context_mark
        reason = (problem.problem or problem.context or "no reason").replace("\n", " ")
        line, why = _odd_line(head) or (mark.line if mark else 0, reason)
        raise HeadError(line, f"not YAML: {why}; {_ADVICE}", syntax=True) from problem
    except yaml.reader.ReaderError as problem:
        line = head.count("\n", 0, problem.position)
        raise HeadError(line, f"{problem.reason}; remove the character") from problem
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as problem:
        reason = str(problem).replace("\n", " ")
        raise HeadError(
            0, f"the front matter cannot be used ({reason}); make it simpler"
        ) from problem


def _nodes(node: Any) -> Iterator[Any]:
    """Yield a node and all below it, repeated for each alias; endless for a cycle."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        if isinstance(current.value, list):
            for child in current.value:
                waiting += child if isinstance(child, tuple) else (child,)


def _key_lines(node: Any) -> dict[str, int]:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        name = str(key.value)
        if name in lines:
            raise HeadError(key.start_mark.line, f"`{name}` is there twice; keep one")
        lines[name] = key.start_mark.line
    return lines


def _odd_line(head: str) -> tuple[int, str] | None:
    """Return the first line that cannot be part of a head; YAML reports the next one."""
    for number, line in enumerate(head.split("\n")):
        if re.match(r"[\w-]+:[^\s\x00-\x7f]*[\u00a0\u2000-\u200b\u202f\u3000\ufeff]", line):
            return number, "no blank follows the colon, but a character that looks like one"
        if line and not re.match(r"[\s#'\"?{}\[\]-]|[^\s:][^:]*:(?:\s|$)", line):
            return number, "neither `field: value` nor indented below a field"
    return None


@functools.cache
def _loader() -> Any:
    """Return a loader of YAML 1.2, in which `no` and dates are strings."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {}  # noqa: RUF012 -- as the class above has it

    for tag, (pattern, first) in _CORE.items():
        signs = [*first, ""] if tag == "null" else list(first)
        Loader.add_implicit_resolver(
            f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{pattern})$"), signs
        )
    # Claude ignores unknown tags, which are words with a `!` before them.
    Loader.add_multi_constructor("!", lambda loader, _, node: _untagged(loader, node))
    Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: _number(node.value))
    return Loader


def _untagged(loader: Any, node: Any) -> Any:
    if node.id == "scalar":
        return loader.construct_scalar(node)
    is_list = node.id == "sequence"
    return (loader.construct_sequence if is_list else loader.construct_mapping)(node, deep=True)


def _number(text: str) -> int:
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
