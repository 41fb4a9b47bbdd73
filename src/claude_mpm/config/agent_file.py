"""One agent file of Claude Code: front matter between `---` lines, then the prompt.

What Claude Code (2.1.330) accepts is accepted, with the same meaning. Where it silently ignores a
mistake that gives an agent more than was written, or leaves an agent out, there is an error.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from claude_mpm.config.front_matter import Head, HeadError, read_head, split_head
from claude_mpm.errors import FrameworkError
from claude_mpm.patterns import lazy_pattern
from claude_mpm.validation import explain, nearest, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

LARGEST = 1 << 20  # bytes; Claude ignores a larger file
_LONGEST_NAME = 256  # as JavaScript counts it
_MIN_TYPO_LENGTH = 4  # letters; in shorter words, one letter makes another word
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Tokens = Annotated[int, msgspec.Meta(ge=100_000)]
_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Words = str | list[str]
_Unset = msgspec.UnsetType
_UNSET = msgspec.UNSET


class _Hook(msgspec.Struct, rename="camel", kw_only=True, tag_field="type"):
    """The common fields of hooks, in the shapes that `claude --agents` checks."""

    if_: str | _Unset = msgspec.field(name="if", default=_UNSET)
    timeout: _Seconds | _Unset = _UNSET
    status_message: str | _Unset = _UNSET
    once: bool | _Unset = _UNSET


class _Command(_Hook, tag="command"):
    command: str
    args: list[str] | _Unset = _UNSET
    shell: Literal["bash", "powershell"] | _Unset = _UNSET
    is_async: bool | _Unset = msgspec.field(name="async", default=_UNSET)
    async_rewake: bool | _Unset = _UNSET
    on_failure: Literal["continue", "block"] | _Unset = _UNSET


class _Prompt(_Hook, tag="prompt"):
    prompt: str
    model: str | _Unset = _UNSET
    continue_on_block: bool | _Unset = _UNSET


class _Verifier(_Hook, tag="agent"):
    prompt: str
    model: str | _Unset = _UNSET


class _Http(_Hook, tag="http"):
    url: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][\w+.-]*:\S+$")]
    headers: dict[str, str] | _Unset = _UNSET
    allowed_env_vars: list[str] | _Unset = _UNSET
    on_failure: Literal["continue", "block"] | _Unset = _UNSET


class _McpTool(_Hook, tag="mcp_tool"):
    server: str
    tool: str
    input: dict[str, Any] | _Unset = _UNSET


class _Matcher(msgspec.Struct, kw_only=True):
    hooks: list[_Command | _Prompt | _Verifier | _Http | _McpTool]
    matcher: str | _Unset = _UNSET


_EVENTS = frozenset(
    {
    "PreToolUse", "PostToolUse", "PostToolUseFailure", "PostToolBatch", "Notification",
    "UserPromptSubmit", "UserPromptExpansion", "SessionStart", "SessionEnd", "Stop", "StopFailure",
    "SubagentStart", "SubagentStop", "PreCompact", "PostCompact", "PreModelSwitch",
    "PostModelSwitch", "PermissionRequest", "PermissionDenied", "Setup", "TeammateIdle",
    "TaskCreated", "TaskCompleted", "Elicitation", "ElicitationResult", "ConfigChange",
    "WorktreeCreate", "WorktreeRemove", "InstructionsLoaded", "CwdChanged", "FileChanged",
    "DirectoryAdded", "MessageDisplay",
    }
)  # fmt: skip


class _McpServer(msgspec.Struct, kw_only=True):
    """An MCP server: a program, or an address."""

    type: Literal["stdio", "http", "streamable-http", "sse", "ws"] = "stdio"
    command: _Text | _Unset = _UNSET
    args: list[str] | _Unset = _UNSET
    env: dict[str, str] | _Unset = _UNSET
    url: str | _Unset = _UNSET
    headers: dict[str, str] | _Unset = _UNSET
    timeout: _Count | _Unset = _UNSET

    def __post_init__(self) -> None:
        wanted = "command" if self.type == "stdio" else "url"
        if getattr(self, wanted) is _UNSET:
            raise ValueError(f"a server of type {self.type} needs `{wanted}`")


_Servers = Annotated[dict[_Text, _McpServer], msgspec.Meta(min_length=1, max_length=1)]


class _FrontMatter(msgspec.Struct, rename="camel", kw_only=True):
    """The fields of the CLI's own schema of `--agents` (2.1.330), and `color`."""

    name: _Text
    description: _Text
    tools: _Words | _Unset = _UNSET
    model: _Text | _Unset = _UNSET
    disallowed_tools: _Words | _Unset = _UNSET
    permission_mode: (
        Literal["acceptEdits", "auto", "bypassPermissions", "default", "dontAsk", "manual", "plan"]
        | _Unset
    ) = _UNSET
    effort: Literal["low", "medium", "high", "xhigh", "max"] | int | _Unset = _UNSET
    mcp_servers: list[str | _Servers] | _Unset = _UNSET
    hooks: dict[str, list[_Matcher]] | _Unset = _UNSET
    skills: _Words | _Unset = _UNSET
    max_turns: _Count | _Unset = _UNSET
    auto_compact_window: _Tokens | _Unset = _UNSET
    initial_prompt: str | _Unset = _UNSET
    memory: Literal["user", "project", "local"] | _Unset = _UNSET
    background: bool | _Unset = _UNSET
    omit_claude_md: bool | _Unset = _UNSET
    isolation: Literal["worktree", "remote"] | _Unset = _UNSET
    observer: str | _Unset = _UNSET
    observer_message: str | _Unset = _UNSET
    observe_subagents: bool | _Unset = _UNSET
    observe_tool_results: bool | _Unset = _UNSET
    color: str | _Unset = _UNSET


_FIELDS = _FrontMatter.__struct_encode_fields__
_USUAL = frozenset({"name", "description", "tools", "model"})
_LISTS = ("tools", "disallowedTools", "skills")
_NEVER_EMPTY = frozenset({"name", "description", "tools", "disallowedTools"})
_SWITCHES = frozenset({"background", "omitClaudeMd", "observeSubagents", "observeToolResults"})
_NUMBERS = frozenset({"maxTurns", "autoCompactWindow", "effort"})
_LIKE_A_HEAD = lazy_pattern(r"^(?:name|description)[ \t]*:", re.MULTILINE)
# Line ends, and characters that change the direction of a text; joiners are part of some scripts.
_INVISIBLE = lazy_pattern(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")
_TORN = lazy_pattern(r"[\[\]{}\"']")
_NAME_RULE = "begin with a letter or digit, then use only letters, digits, `-`, `_` and `.`"

# What people write instead of `tools` and `disallowedTools`: one of these before or after "tool".
_ALLOW_WORDS = frozenset(
    {
        "", "allow", "allowed", "allowing", "allowlist", "allowlisted", "available", "can",
        "enable", "enabled", "granted", "include", "included", "list", "only", "permit",
        "permitted", "set", "use", "used", "uses", "using", "white", "whitelist", "whitelisted",
    }
)  # fmt: skip
_DENY_WORDS = frozenset(
    {
        "ban", "banned", "black", "blacklist", "blacklisted", "block", "blocked", "blocklist",
        "cannot", "denied", "deny", "denylist", "disable", "disabled", "disallow", "disallowed",
        "disallowlist", "disallows", "except", "exclude", "excluded", "forbid", "forbidden", "no",
        "not", "notallowed", "prohibited", "remove", "removed", "restricted", "unavailable",
        "without",
    }
)  # fmt: skip
# Fields of other programs' agent files that look like one of Claude's, with another meaning.
_FOREIGN = frozenset(
    {
        "hidden", "maxsteps", "mode", "modelname", "models", "modes", "names", "nickname",
        "permission", "permissions", "steps",
    }
)  # fmt: skip
# The field for a word in plain lower case.
_BY_WORD = {
    **{field.lower(): field for field in _FIELDS},
    "permissionsmode": "permissionMode",
    "maxturn": "maxTurns",
}


class Agent(msgspec.Struct, frozen=True):
    """One subagent that Claude can delegate to."""

    name: str
    description: str
    prompt: str
    tools: tuple[str, ...] | None  # None: all tools
    model: str | None  # None: Claude's choice
    path: Path
    options: Mapping[str, Any] = {}  # the rest, in Claude's spelling

    @property
    def fields(self) -> frozenset[str]:
        """The names of its fields, in Claude's spelling, such as `hooks` or `permissionMode`."""
        return frozenset(self.definition())

    def definition(self) -> dict[str, Any]:
        """Return the value for this agent's name in the JSON of `claude --agents`."""
        fields: dict[str, Any] = {"description": self.description, "prompt": self.prompt}
        if self.tools is not None:
            fields["tools"] = self.tools
        if self.model is not None:
            fields["model"] = self.model
        return {**fields, **self.options}


class AgentFile(msgspec.Struct):
    """The content of an agent file.

    Args:
        path: the file.
        agent: the agent; None if there is none, or an invalid one.
        lines: the line of each of its fields.
        errors: one line each, which names the file and mostly the line.
        notes: what is ignored or has another meaning than it seems, one line each.
    """

    path: Path
    agent: Agent | None = None
    lines: dict[str, int] = {}
    errors: list[str] = []
    notes: list[str] = []

    @property
    def name_line(self) -> int:
        """The line of its name; the first line where it has none."""
        return self.lines.get("name", 1)

    def accept(self, agent: Agent) -> None:
        """Set the agent, once it is known to be valid."""
        self.agent = agent

    def fail(self, line: int, reason: str) -> None:
        """Add an error."""
        self.errors.append(f"{self.path}, line {line}: {reason}")

    def note(self, line: int, what: str) -> None:
        """Add a note."""
        self.notes.append(f"{self.path}, line {line}: {what}")


def agents_json(agents: tuple[Agent, ...]) -> bytes:
    """Return the content of the file for `claude --agents FILE`.

    The CLI reads a file only together with `-p`; the names then appear in the `agents` of the
    `init` event.
    """
    return msgspec.json.encode({agent.name: agent.definition() for agent in agents})


def read_agent(path: Path) -> AgentFile:
    """Read and check one agent file."""
    file = AgentFile(path)
    try:
        text = read_text(path, FrameworkError, largest=LARGEST)
    except FrameworkError as problem:
        file.errors.append(str(problem))
        return file
    try:
        parts = split_head(text)
        if parts is None:
            _report_without_head(file, text)
            return file
        head = read_head(parts[0])
    except HeadError as problem:
        file.fail(problem.line + 2, str(problem))
        return file
    file.lines.update((name, line + 2) for name, line in head.lines.items())
    inside = next((n for n, line in enumerate(parts[0].split("\n")) if "---" in line), None)
    if inside is not None:
        file.note(inside + 2, "this `---` is part of the text; Claude itself ends the head there")
    if head.quoted is not None:
        file.note(head.quoted + 2, "not YAML; the text is taken word for word, as Claude does")
    fields = _check(file, head, file.lines)
    prompt = parts[1].strip()
    if not prompt:
        line = parts[0].count("\n") + 2
        file.fail(line, "no prompt; write what the agent is to do below `---`")
    if not file.errors:
        file.accept(_make(file, fields, prompt))
    return file


def _report_without_head(file: AgentFile, text: str) -> None:
    """Report a file without front matter: an error if it seems to be meant as an agent."""
    first, _, rest = text.lstrip().partition("\n")
    has_mark = first.rstrip() == "---"
    if _LIKE_A_HEAD.match(first) or (has_mark and _LIKE_A_HEAD.search(rest)):
        file.fail(1, "no front matter; `---` must be the first line, without anything before it")
    else:
        file.note(1, "no front matter, so this is no agent; passed over")


def _make(file: AgentFile, fields: dict[str, Any], prompt: str) -> Agent:
    tools = fields.pop("tools", None)
    return Agent(
        name=fields.pop("name"),
        # Claude reads the two characters `\n` in a description as the end of a line.
        description=fields.pop("description").replace("\\n", "\n"),
        prompt=prompt,
        tools=None if tools is None or "*" in tools else tuple(tools),
        model=fields.pop("model", None),
        path=file.path,
        options=fields,
    )


def _check(file: AgentFile, head: Head, lines: dict[str, int]) -> dict[str, Any]:
    """Return the known fields with their types checked and their lists split."""
    _check_keys(file, lines)
    fields = _usual_fields(head, lines) or _checked_fields(file, head, lines)
    if "name" in fields:
        _check_name(file, fields["name"])
    for key in ("tools", "disallowedTools"):
        _check_tools(file, key, fields.get(key, ()), lines)
    return fields


def _usual_fields(head: Head, lines: dict[str, int]) -> dict[str, Any] | None:
    """Return the fields of an agent that has only the usual ones, each of them text; else None.

    It is a shortcut: to resolve the types of all fields takes longer than all else that an agent
    needs.
    """
    values = {key: _lenient(key, value) for key, value in head.values.items()}
    is_usual = {"name", "description"} <= lines.keys() <= _USUAL and values.keys() == lines.keys()
    if not is_usual or not all(isinstance(each, str) and each for each in values.values()):
        return None
    return {key: _words(value) if key in _LISTS else value for key, value in values.items()}


def _checked_fields(file: AgentFile, head: Head, lines: dict[str, int]) -> dict[str, Any]:
    """Return the valid fields, and report the others."""
    fields: dict[str, Any] = {}
    for info in msgspec.structs.fields(_FrontMatter):
        key = info.encode_name
        value = _lenient(key, head.values.get(key))
        if value is None and key not in _NEVER_EMPTY:
            continue  # for Claude, a field without a value is not there
        if key not in lines:
            if info.required:
                file.fail(1, f"`{key}` is missing; write a `{key}:` line in the front matter")
            continue
        if wrong := _wrong(info, value):
            file.fail(lines[key], f"{wrong}; correct the value")
        else:
            fields[key] = _words(value) if key in _LISTS else value
    return fields


def _wrong(info: msgspec.structs.FieldInfo, value: Any) -> str:
    """Return what is wrong with a value, and where in it; empty if it is valid."""
    key = info.encode_name
    parts = [("", value, info.type)]
    if key == "hooks" and isinstance(value, dict):
        if unknown := [event for event in value if event not in _EVENTS]:
            return f"`hooks`: `{unknown[0]}` is no event of Claude's, as `PreToolUse` is one"
        parts = [(event, matchers, list[_Matcher]) for event, matchers in value.items()]
    for where, part, type_ in parts:
        try:
            msgspec.convert(part, type_)
        except msgspec.ValidationError as problem:
            place = re.search(r" - at `\$([^`]*)`", str(problem))
            where += place[1].replace("[...]", "") if place else ""
            inside = f", `{where.lstrip('.')}`" if where else ""
            return f"`{key}`{inside}: {explain(problem, _FrontMatter, info.name)}"
    return ""


def _lenient(key: str, value: Any) -> Any:
    """Return a value in one form, where Claude accepts several."""
    if not isinstance(value, str):
        return None if key == "color" else value
    if key == "model":
        return value.strip()
    if key == "effort":
        value = {"med": "medium"}.get(value.lower(), value.lower())
    if key in _SWITCHES and value in ("true", "false"):
        return value == "true"
    return int(value) if key in _NUMBERS and re.fullmatch(r"[0-9]{1,15}", value) else value


def _check_keys(file: AgentFile, lines: dict[str, int]) -> None:
    foreign = []
    for key, line in lines.items():
        if key in _FIELDS:
            continue
        if key in _EVENTS:
            file.fail(line, f"`{key}` is a hook; write it below `hooks:`")
        elif meant := _meant(key):
            file.fail(line, f"there is no field `{key}`; did you mean `{meant}`?")
        else:
            foreign.append(key)
    if foreign:
        passed = ", ".join(f"`{key}`" for key in foreign)
        file.note(lines[foreign[0]], f"passed over, since Claude has no such field: {passed}")


def _meant(key: str) -> str | None:
    """Return the field of Claude that a key seems to mean; None if none."""
    word = _plain_word(key)
    if word in _BY_WORD:
        return _BY_WORD[word]
    if word in _FOREIGN:
        return None
    for tool in ("tools", "tool"):
        for rest in (word.removeprefix(tool), word.removesuffix(tool)):
            expected = (
                rest
                if rest in _ALLOW_WORDS
                else nearest(rest, _ALLOW_WORDS | _DENY_WORDS, cutoff=0.8)
            )
            if rest != word and expected is not None:
                return "disallowedTools" if expected in _DENY_WORDS else "tools"
    return next((field for expected, field in _BY_WORD.items() if _is_typo(word, expected)), None)


def _is_typo(word: str, expected: str) -> bool:
    """Return whether a word differs by one letter: missing, added, replaced or swapped."""
    if min(len(word), len(expected)) < _MIN_TYPO_LENGTH:
        return False
    same = next((n for n, (a, b) in enumerate(zip(word, expected, strict=False)) if a != b), None)
    if same is None:
        return abs(len(word) - len(expected)) <= 1
    ours, theirs = word[same:], expected[same:]
    return (
        ours[1:] in (theirs, theirs[1:])
        or ours == theirs[1:]
        or (ours[:2] == theirs[1::-1] and ours[2:] == theirs[2:])
    )


def _plain_word(key: str) -> str:
    """Return a key in lower case, without dashes, blanks and invisible characters."""
    text = unicodedata.normalize("NFKC", key).casefold()
    return "".join(sign for sign in text if sign.isalnum())


def _check_name(file: AgentFile, name: str) -> None:
    """Check a name by Claude's rules; names with control characters are refused too."""
    reason = ""
    if name.startswith("-"):
        reason = "Claude takes no name that begins with `-`"
    elif ":" in unicodedata.normalize("NFKC", name):
        reason = "Claude takes no `:` in a name"
    elif len(name.encode("utf-16-le", "replace")) > 2 * _LONGEST_NAME:
        reason = f"Claude takes no name with more than {_LONGEST_NAME} characters"
    elif _INVISIBLE.search(name) or not name.strip():
        reason = "the name has signs that cannot be seen"
    if reason:
        file.fail(file.name_line, f"name {name[:80]!r}: {reason}; {_NAME_RULE}")
    elif re.search(r"\s", name):
        file.note(file.name_line, f"name {name!r}: taken with its blanks, as Claude does")


def _check_tools(file: AgentFile, key: str, words: Iterable[str], lines: dict[str, int]) -> None:
    """Refuse the rest of a list that was not closed, in which Claude finds no tool."""
    for word in words:
        if _TORN.search(re.sub(r"\(.*\)", "", word)):
            file.fail(lines[key], f"`{key}`: {word!r} is no tool; write them as `Read, Grep`")


def _words(value: str | list[str]) -> list[str]:
    """Split on commas and blanks outside of parentheses, as Claude does."""
    texts = [value] if isinstance(value, str) else value
    return [word for text in texts for word in re.findall(r"(?:[^\s,(]|\([^)]*\)?)+", text)]
