"""One agent file of Claude Code: YAML front matter between `---` lines, then the prompt."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import msgspec

from claude_mpm.checks import explain, failed_key, nearest, read_text
from claude_mpm.errors import FrameworkError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_Count = Annotated[int, msgspec.Meta(ge=1)]
_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Words = str | list[str]


class _FrontMatter(msgspec.Struct, rename="camel", kw_only=True):
    """The fields that the CLI's own schema of `--agents` takes (2.1.330), and `color`."""

    name: _Text
    description: _Text
    tools: _Words | msgspec.UnsetType = msgspec.UNSET
    model: _Text | msgspec.UnsetType = msgspec.UNSET
    disallowed_tools: _Words | msgspec.UnsetType = msgspec.UNSET
    permission_mode: (
        Literal["acceptEdits", "auto", "bypassPermissions", "default", "dontAsk", "manual", "plan"]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    effort: Literal["low", "medium", "high", "xhigh", "max"] | int | msgspec.UnsetType = (
        msgspec.UNSET
    )
    mcp_servers: list[str | dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET
    hooks: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    skills: _Words | msgspec.UnsetType = msgspec.UNSET
    max_turns: _Count | msgspec.UnsetType = msgspec.UNSET
    auto_compact_window: _Count | msgspec.UnsetType = msgspec.UNSET
    initial_prompt: str | msgspec.UnsetType = msgspec.UNSET
    memory: Literal["user", "project", "local"] | msgspec.UnsetType = msgspec.UNSET
    background: bool | msgspec.UnsetType = msgspec.UNSET
    omit_claude_md: bool | msgspec.UnsetType = msgspec.UNSET
    isolation: Literal["worktree", "remote"] | msgspec.UnsetType = msgspec.UNSET
    observer: str | msgspec.UnsetType = msgspec.UNSET
    observer_message: str | msgspec.UnsetType = msgspec.UNSET
    observe_subagents: bool | msgspec.UnsetType = msgspec.UNSET
    observe_tool_results: bool | msgspec.UnsetType = msgspec.UNSET
    color: str | msgspec.UnsetType = msgspec.UNSET


_FIELDS = _FrontMatter.__struct_encode_fields__
_NAME_RULE = "begin with a letter or digit, then use only letters, digits, `-`, `_` and `.`"
_LISTS = ("tools", "disallowedTools", "skills")
# Front matter that means in YAML just what it says: no sign or word in it has a meaning of its own.
_PLAIN = re.compile(r"(name|description|tools|model): ([A-Za-z](?:[\w ,.;()/!?*'-]*[\w.)!?*'])?)")
_NO_TEXTS = frozenset({"yes", "no", "true", "false", "on", "off", "null"})


@dataclass(frozen=True)
class Agent:
    """One subagent that Claude can delegate to."""

    name: str
    description: str
    prompt: str
    tools: tuple[str, ...] | None  # None: all tools
    model: str | None  # None: Claude's choice
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)  # the rest, in Claude's spelling

    def definition(self) -> dict[str, Any]:
        """Return the value that `claude --agents` takes under this agent's name."""
        found: dict[str, Any] = {"description": self.description, "prompt": self.prompt}
        if self.tools is not None:
            found["tools"] = self.tools
        if self.model is not None:
            found["model"] = self.model
        return {**found, **self.options}


def agents_json(agents: tuple[Agent, ...]) -> bytes:
    """Return what the file named by `claude --agents FILE` holds.

    The CLI reads a file only together with `-p`; its names then appear in the `agents` of the
    `init` event.
    """
    return msgspec.json.encode({agent.name: agent.definition() for agent in agents})


def read_agent(path: Path, taken: Mapping[str, Agent]) -> Agent:
    """Read and check one agent file whose name must not be one of those taken.

    Raises FrameworkError, which names the file and the line.
    """
    head, prompt = _split(path, read_text(path, FrameworkError))
    values, lines = _parse(path, head)
    fields = _check(path, values, lines)
    name, description = fields.pop("name"), fields.pop("description")
    if not re.fullmatch(r"[^\W_][\w.-]*", name):
        _fail(path, lines["name"], f"name {name!r}: {_NAME_RULE}")
    if name in taken:
        _fail(path, lines["name"], f"{taken[name].path.name} has the name {name!r} too; rename one")
    if not prompt:
        _fail(path, head.count("\n") + 2, "no prompt; write what the agent is to do below `---`")
    # Claude reads a written-out `\n` in a description of an agent file as the end of a line.
    return Agent(
        name=name,
        description=description.replace("\\n", "\n"),
        prompt=prompt,
        tools=_tools(fields.pop("tools", None)),
        model=fields.pop("model", None),
        path=path,
        options=fields,
    )


def _fail(path: Path, line: int, reason: str, cause: Exception | None = None) -> NoReturn:
    raise FrameworkError(f"{path}, line {line}: {reason}") from cause


def _split(path: Path, text: str) -> tuple[str, str]:
    """Return the front matter, ended by a newline, and the prompt."""
    lines = text.split("\n")
    marks = [number for number, line in enumerate(lines) if line.rstrip() == "---"]
    if not marks or marks[0] != 0:
        _fail(path, 1, "no front matter; begin the file with `---`, `name:`, `description:`, `---`")
    if len(marks) == 1:
        _fail(path, 1, "the front matter has no end; write `---` on a line of its own after it")
    return "\n".join(lines[1 : marks[1]]) + "\n", "\n".join(lines[marks[1] + 1 :]).strip()


def _parse(path: Path, head: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the front matter and the line in the file of each of its keys."""
    if plain := _parse_plain(head):
        return plain
    node, values = _load_yaml(path, head)
    if not isinstance(values, dict):
        _fail(path, 2, "the front matter is not a list of `key: value` lines; write it as one")
    return values, _key_lines(path, node)


def _parse_plain(head: str) -> tuple[dict[str, Any], dict[str, int]] | None:
    """Return what `_parse` does where no YAML is needed to read it: that takes 25 ms to import."""
    values: dict[str, Any] = {}
    for line in head.splitlines():
        match = _PLAIN.fullmatch(line)
        if match is None or match[1] in values or match[2].lower() in _NO_TEXTS:
            return None
        values[match[1]] = match[2]
    if "name" not in values or "description" not in values:
        return None
    return values, {key: number + 2 for number, key in enumerate(values)}


def _load_yaml(path: Path, head: str) -> tuple[Any, Any]:
    """Return the root node, which knows its lines, and the value that it stands for."""
    import yaml  # only needed where there are agents

    try:
        loader = yaml.SafeLoader(head)
        node = loader.get_single_node()
        value = loader.construct_document(node) if node else None
        msgspec.json.encode(value)  # refuses what cannot be handed on, such as an endless alias
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        reason = (problem.problem or problem.context or "not YAML").replace("\n", " ")
        advice = "correct it, or put quotes around a text that holds `: `, `#` or quotes"
        _fail(path, mark.line + 2 if mark else 2, f"not YAML: {reason}; {advice}", problem)
    except yaml.reader.ReaderError as problem:
        line = head.count("\n", 0, problem.position) + 2
        _fail(path, line, f"{problem.reason}; remove the character", problem)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as problem:
        reason = str(problem).replace("\n", " ")
        _fail(path, 2, f"the front matter cannot be used ({reason}); make it simpler", problem)
    return node, value


def _key_lines(path: Path, node: Any) -> dict[str, int]:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line, name = key.start_mark.line + 2, str(key.value)
        if name in lines:
            _fail(path, line, f"`{name}` is there twice; keep one")
        likely = None if name in _FIELDS else nearest(name, _FIELDS, cutoff=0.8)
        if likely:
            _fail(path, line, f"there is no field `{name}`; did you mean `{likely}`?")
        lines[name] = line
    for name in ("name", "description"):
        if name not in lines:
            _fail(path, 1, f"`{name}` is missing; write a `{name}:` line in the front matter")
    return lines


def _check(path: Path, values: dict[str, Any], lines: dict[str, int]) -> dict[str, Any]:
    """Return the known fields with their types checked and their lists split."""
    try:
        checked = msgspec.convert(values, _FrontMatter)
    except msgspec.ValidationError as problem:
        key = failed_key(problem)
        attribute = _FrontMatter.__struct_fields__[_FIELDS.index(key)] if key in _FIELDS else key
        reason = explain(problem, _FrontMatter, attribute)
        _fail(path, lines.get(key, 2), f"`{key}`: {reason}; correct the value", problem)
    found: dict[str, Any] = msgspec.to_builtins(checked)
    return {key: _words(value) if key in _LISTS else value for key, value in found.items()}


def _words(value: str | list[str]) -> list[str]:
    """Split on commas and spaces outside of parentheses, as Claude does."""
    texts = [value] if isinstance(value, str) else value
    return [word for text in texts for word in re.findall(r"(?:[^\s,(]|\([^)]*\)?)+", text)]


def _tools(words: list[str] | None) -> tuple[str, ...] | None:
    return None if words is None or "*" in words else tuple(words)
