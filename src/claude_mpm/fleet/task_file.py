"""Task files: JSON Lines, YAML and CSV, each mistake named by its line.

A file may come with a repository that others wrote: it is bounded, its prompts are taken as they
are, and what it says of commands and rights counts only where its folder is trusted.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.config.trust import is_trusted, real, repository_root
from claude_mpm.errors import SettingsError, UsageError
from claude_mpm.fleet.task import LONGEST_PROMPT, Task
from claude_mpm.validation import NOT_JSON, explain, failed_key, is_text, nearest, split_rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LARGEST_FILE = 64 << 20  # bytes
MOST_TASKS = 100_000
MOST_TEXT = 1 << 28  # characters of all tasks: templates make many of few
_RULES = ("allowed_tools", "disallowed_tools")
_FIELDS = Task.__struct_fields__
# What a file of a repository may not choose: what is run, and what is allowed.
_OF_THE_USER = ("check", "allowed_tools", "repository")
_NARROW_MODES = ("plan", "dontAsk")
_HOLE = re.compile(r"\{(\w+)\}")


class _Row(msgspec.Struct, frozen=True):
    """One task as it stands in a file.

    Args:
        line: where it begins.
        values: what it says.
        strict: whether a number must be one, and may not be a text.
    """

    line: int
    values: dict[str, Any]
    strict: bool = True


def read_tasks(
    source: str, *, common: Mapping[str, Any] | None = None, prompt: str | None = None
) -> list[Task]:
    """Return the tasks of a file.

    Args:
        source: its path; "-" for standard input, as JSON Lines or YAML.
        common: fields for every task that does not say otherwise.
        prompt: a template for tasks without a prompt: `{name}` stands for their field `name`.

    Raises:
        UsageError: it cannot be read, has a mistake, or has no task; the line is named.
        SettingsError: it lies in a repository that is not trusted, and says what is run or allowed.
    """
    name = "standard input" if source == "-" else source
    data = _read(source)
    kind = Path(source).suffix.lower()
    rows = itertools.islice(_rows(name, data, kind), MOST_TASKS + 1)
    tasks = list(_tasks(name, rows, dict(common or {}), prompt))
    if not tasks:
        raise UsageError(f"{name}: there is no task in it; give one JSON object on each line")
    if len(tasks) > MOST_TASKS:
        raise UsageError(f"{name}: more than {MOST_TASKS} tasks; split the file")
    if source != "-":
        _check_source(Path(source), tasks, dict(common or {}))
    return tasks


def make_tasks(
    prompt: str, matrix: Mapping[str, Sequence[str]], common: Mapping[str, Any] | None = None
) -> list[Task]:
    """Return one task for each combination of values, of which each has its place in a prompt.

    Args:
        prompt: a template: `{name}` stands for the value of `name`; other braces are text.
        matrix: the values of each name.
        common: fields of every task; those that are texts are templates, too.

    Raises:
        UsageError: a task is none.
    """
    row = _Row(1, {"prompt": prompt, "matrix": {k: list(v) for k, v in matrix.items()}})
    return list(_tasks("the matrix", _expanded("the matrix", row), dict(common or {}), None))


def _read(source: str) -> bytes:
    try:
        if source == "-":
            data = sys.stdin.buffer.read(LARGEST_FILE + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror or error}; check the path") from error
    if len(data) > LARGEST_FILE:
        raise UsageError(f"{source}: larger than {LARGEST_FILE >> 20} MiB; split the file")
    return data


def _rows(name: str, data: bytes, kind: str) -> Iterator[_Row]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name}, line {line}: not UTF-8; save the file as UTF-8") from error
    if kind == ".csv":
        return _csv_rows(name, text)
    is_json = kind in (".jsonl", ".ndjson", ".json") or text.lstrip().startswith("{")
    return _json_rows(name, text) if is_json else _yaml_rows(name, text)


def _json_rows(name: str, text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = msgspec.json.decode(line)
        except NOT_JSON as error:
            raise UsageError(f"{name}, line {number}: not JSON: {error}; correct it") from error
        yield from _expanded(name, _Row(number, _table(name, number, values)))


def _csv_rows(name: str, text: str) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begin = 1
    head: list[str] = []
    try:
        for cells in reader:
            if not head:
                head = [cell.strip() for cell in cells]
            elif cells:
                if len(cells) != len(head):
                    raise UsageError(
                        f"{name}, line {begin}: {len(cells)} cells under {len(head)} columns;"
                        " put a cell with a comma between quotes"
                    )
                filled = {k: cell for k, cell in zip(head, cells, strict=True) if cell}
                yield _Row(begin, filled, strict=False)
            begin = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{name}, line {reader.line_num}: not CSV: {error}; correct it") from error


def _yaml_rows(name: str, text: str) -> Iterator[_Row]:
    import yaml

    class Loader(yaml.SafeLoader):
        """Knows no aliases: nine lines of them can stand for a billion values."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()  # type: ignore[no-untyped-call]
                raise yaml.composer.ComposerError(
                    None, None, "an alias; write it out", event.start_mark
                )
            return super().compose_node(parent, index)

    try:
        loader = Loader(text)
        root = loader.get_single_node()
        if root is None:
            return
        rows = list(_of_node(name, loader, root))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        said = " ".join(str(error.problem).split())
        raise UsageError(f"{name}, line {line}: not YAML: {said}; correct it") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise UsageError(f"{name}: not YAML: {said}; correct it") from error
    for row in rows:
        yield from _expanded(name, row)


def _of_node(name: str, loader: Any, root: Any) -> Iterator[_Row]:
    """Yield the rows of a list of tasks, or of a table whose `tasks` is one."""
    common: dict[str, Any] = {}
    if root.id == "mapping":
        listed = next((value for key, value in root.value if key.value == "tasks"), None)
        if listed is None:
            yield _Row(root.start_mark.line + 1, loader.construct_document(root))
            return
        rest = [(key, value) for key, value in root.value if value is not listed]
        root.value = rest
        common, root = loader.construct_document(root), listed
    if root.id != "sequence":
        line = root.start_mark.line + 1
        raise UsageError(f"{name}, line {line}: that is no list of tasks; begin each with `- `")
    for node in root.value:
        line = node.start_mark.line + 1
        yield _Row(line, {**common, **_table(name, line, loader.construct_document(node))})


def _table(name: str, line: int, values: object) -> dict[str, Any]:
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UsageError(f'{name}, line {line}: that is no task; write {{"prompt": "…"}}')
    return values


def _expanded(name: str, row: _Row) -> Iterator[_Row]:
    """Yield a row for each combination of the values of its matrix."""
    matrix = row.values.get("matrix")
    if matrix is None:
        yield row
        return
    where = f"{name}, line {row.line}"
    if not isinstance(matrix, dict) or not all(isinstance(v, list) for v in matrix.values()):
        raise UsageError(f"{where}: `matrix` is a table of lists, as in {{module: [a, b]}}")
    rest = {key: value for key, value in row.values.items() if key != "matrix"}
    rest.setdefault("id", "-".join(f"{{{key}}}" for key in matrix))
    for values in itertools.product(*matrix.values()):
        holes = {str(key): str(value) for key, value in zip(matrix, values, strict=True)}
        filled = {key: _filled(where, key, value, holes) for key, value in rest.items()}
        filled["id"] = re.sub(r"[^A-Za-z0-9]+", "-", str(filled["id"])).strip("-")[:100]
        yield _Row(row.line, filled)


def _filled(where: str, key: str, value: Any, holes: Mapping[str, str]) -> Any:
    """Return a field with values in its holes; in a command for `sh`, each is one word."""
    if isinstance(value, list):
        return [_fill(where, each, holes) if isinstance(each, str) else each for each in value]
    if not isinstance(value, str):
        return value
    quoted = {name: shlex.quote(text) for name, text in holes.items()}
    return _fill(where, value, quoted if key == "check" else holes)


def _fill(where: str, text: str, holes: Mapping[str, str]) -> str:
    """Return a text with values in its holes.

    Raises:
        UsageError: it would be longer than any prompt.
    """
    size = len(text)
    for found in _HOLE.finditer(text):
        size += len(holes.get(found[1], found[0])) - len(found[0])
        if size > LONGEST_PROMPT:
            raise UsageError(
                f"{where}: with its values, a text has more than {LONGEST_PROMPT} characters;"
                " shorten it"
            )
    return _HOLE.sub(lambda found: holes.get(found[1], found[0]), text)


def _tasks(
    name: str, rows: Iterator[_Row], common: dict[str, Any], prompt: str | None
) -> Iterator[Task]:
    seen: dict[str, int] = {}
    size = 0
    for number, row in enumerate(rows, 1):
        task = _task(name, row, number, common, prompt)
        size += _size(task)
        if size > MOST_TEXT:
            raise UsageError(
                f"{name}, line {row.line}: the tasks have more than {MOST_TEXT >> 20} million"
                " characters together; split the file"
            )
        if task.id in seen:
            raise UsageError(
                f"{name}, line {row.line}: the id {task.id!r} is that of line {seen[task.id]};"
                " give each task its own"
            )
        seen[task.id] = row.line
        yield task


def _size(task: Task) -> int:
    """Return how many characters a task has, and words of lists, each of which takes room."""
    values = [getattr(task, field) for field in _FIELDS]
    lists = [value for value in values if isinstance(value, list)]
    texts = [value for value in values if isinstance(value, str)]
    return sum(map(len, texts)) + sum(len(each) + 8 for words in lists for each in words)


def _task(name: str, row: _Row, number: int, common: dict[str, Any], prompt: str | None) -> Task:
    where, values = f"{name}, line {row.line}", dict(row.values)
    if prompt is not None and "prompt" not in values:
        holes = {key: str(value) for key, value in values.items()}
        values = {key: value for key, value in values.items() if key in _FIELDS}
        values["prompt"] = _fill(where, prompt, holes)
    if wrong := next((key for key in values if key not in _FIELDS), None):
        near = nearest(wrong, _FIELDS)
        hint = f"did you mean `{near}`?" if near else "remove it, or use it in --prompt"
        raise UsageError(f"{where}: a task has no `{wrong!s:.80}`; {hint}")
    for key in _RULES:
        if isinstance(values.get(key), str):
            values[key] = _split(where, key, values[key])
    values = {"id": f"{number:04d}", **common, **values}
    if not is_text(values):
        raise UsageError(f"{where}: a text that is not UTF-8; correct it")
    try:
        task = msgspec.convert(values, Task, strict=row.strict)
    except msgspec.ValidationError as error:
        key = failed_key(error)
        said = explain(error, Task, key)
        raise UsageError(f"{where}: {f'`{key}`: ' if key else ''}{said}; correct it") from error
    if not task.prompt.strip():
        raise UsageError(f"{where}: the prompt is empty; say what Claude is to do")
    return task


def _split(where: str, key: str, text: str) -> list[str]:
    try:
        return split_rules(text)
    except ValueError as error:
        raise UsageError(f"{where}: `{key}`: {error}; correct the rule") from error


def _check_source(file: Path, tasks: list[Task], common: dict[str, Any]) -> None:
    """Refuse what a repository that nobody trusts says of what is run and allowed.

    Args:
        common: what the user has said; that counts.
    """
    folder = real(file.absolute()).parent
    root = repository_root(folder)
    if root is None or is_trusted(folder):
        return
    for task in tasks:
        wrong = next((key for key in _OF_THE_USER if _says(task, key, common)), "")
        if _says(task, "permission_mode", common) and task.permission_mode not in _NARROW_MODES:
            wrong = "permission_mode"
        for key in ("cwd", "framework"):
            path = getattr(task, key)
            there = folder / os.path.expanduser(path or "")  # noqa: PTH111 -- it may be no home's
            outside = path and not real(there).is_relative_to(real(root))
            if outside and _says(task, key, common):
                wrong = key
        if wrong:
            raise SettingsError(
                f"{file}: task {task.id!r}: `{wrong}` gives a project power over what is run;"
                " give it by a flag, or trust the folder:"
                f" claude-mpm trust {shlex.quote(str(root))}"
            )


def _says(task: Task, key: str, common: dict[str, Any]) -> bool:
    """Return whether the file itself sets a field."""
    value = getattr(task, key)
    return value not in (None, []) and value != common.get(key)
