"""What there is to set: every setting with its type, its default and its meaning."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

PREFIX = "CLAUDE_MPM_"

_Seconds = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
_Dollars = Annotated[float, msgspec.Meta(gt=0)]
_Tokens = Annotated[int, msgspec.Meta(ge=1)]
_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


_PlaceName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


def _meaning(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class NamedPlace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place that has a name in the settings.

    Args:
        orchestrator: the registered orchestrator that runs Claude there.
        options: its keyword arguments.
        at_once: how many sessions of a batch it takes at the same time.
        account: whose rate limit its sessions use up; places with the same word share one.
    """

    orchestrator: _Text = "local"
    options: dict[_Text, Any] = {}
    at_once: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 4
    account: _Text = "default"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting; `describe()` lists them with what they mean."""

    orchestrator: Annotated[_Text, _meaning("The registered orchestrator that runs Claude.")] = (
        "local"
    )
    model: Annotated[_Text | None, _meaning("The model; without it Claude's own choice.")] = None
    framework: Annotated[
        _Text | None,
        _meaning("A framework's file, or its folder; without it the packaged default."),
    ] = None
    agents_dir: Annotated[
        _Text | None, _meaning("A folder of agent files, added to those of the framework.")
    ] = None
    use_framework: Annotated[bool, _meaning("Whether Claude is given a framework at all.")] = True
    tickets: Annotated[bool, _meaning("Whether tickets are taken from what Claude says.")] = True
    ticket_markers: Annotated[
        dict[_Word, _Word],
        _meaning("More ticket markers, each with its type; added to the built-in ones."),
    ] = msgspec.field(default_factory=dict)
    permission_mode: Annotated[
        Literal["acceptEdits", "auto", "bypassPermissions", "default", "dontAsk", "manual", "plan"]
        | None,
        _meaning("What Claude may do without asking; without it Claude's own choice."),
    ] = None
    permissions: Annotated[
        Literal["deny", "ask"],
        _meaning("Whether Claude is refused what it would have to ask for, or its question waits."),
    ] = "deny"
    question_timeout: Annotated[
        _Seconds | None,
        _meaning("How long a question waits for its answer before it is denied, in seconds."),
    ] = None
    allowed_tools: Annotated[
        list[_Text], _meaning("Rules for what Claude may do without asking: `Bash(git status:*)`.")
    ] = msgspec.field(default_factory=list)
    disallowed_tools: Annotated[
        list[_Text], _meaning("Rules for what Claude may not do at all; they win over all else.")
    ] = msgspec.field(default_factory=list)
    cwd: Annotated[
        _Text | None, _meaning("The folder that Claude works in; without it the current one.")
    ] = None
    timeout: Annotated[
        _Seconds | None, _meaning("The longest that one turn may take, in seconds.")
    ] = None
    max_turns: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        _meaning("The most model calls that one prompt may lead to."),
    ] = None
    max_budget_usd: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        _meaning("The most that a session may cost, in US dollars."),
    ] = None
    turn_cost_limit_usd: Annotated[
        _Dollars | None,
        _meaning("The most that a turn may cost, in US dollars."),
    ] = None
    turn_token_limit: Annotated[
        _Tokens | None, _meaning("The most tokens that a turn may use.")
    ] = None
    session_cost_limit_usd: Annotated[
        _Dollars | None,
        _meaning("The most that all turns of a session may cost, in US dollars."),
    ] = None
    session_token_limit: Annotated[
        _Tokens | None, _meaning("The most tokens that a session may use.")
    ] = None
    day_cost_limit_usd: Annotated[
        _Dollars | None, _meaning("The most that all sessions may cost in a day, in US dollars.")
    ] = None
    day_token_limit: Annotated[
        _Tokens | None, _meaning("The most tokens that all sessions may use in a day.")
    ] = None
    wait_for_rate_limit: Annotated[
        _Seconds | None,
        _meaning("How long a turn may wait for the rate limit that refused it, in seconds."),
    ] = None
    plugins: Annotated[
        list[_Text], _meaning("Python modules to import at the start; they register orchestrators.")
    ] = msgspec.field(default_factory=list)
    claude_path: Annotated[
        _Text | None, _meaning("The `claude` to run; without it the first that is found.")
    ] = None
    claude_args: Annotated[
        list[str], _meaning("More arguments for the command line of `claude`.")
    ] = msgspec.field(default_factory=list)
    state_dir: Annotated[
        _Text | None,
        _meaning("The folder of sessions and index; without it the platform's own for state."),
    ] = None
    linger: Annotated[
        Annotated[float, msgspec.Meta(ge=0, le=1e9)],
        _meaning("How long a session that nobody follows waits for the next, in seconds."),
    ] = 30.0
    start_timeout: Annotated[_Seconds, _meaning("How long a start may take, in seconds.")] = 60.0
    stop_timeout: Annotated[
        _Seconds, _meaning("How long a stop waits before it is forced, in seconds.")
    ] = 10.0
    resume_lost: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=100)],
        _meaning("How often a turn whose Claude has died is taken up again in a fresh one."),
    ] = 0
    durability: Annotated[
        Literal["none", "turn", "event"],
        _meaning("What is on the disk itself when, so that a power cut does not take it."),
    ] = "turn"
    otel: Annotated[
        bool,
        _meaning("Whether spans and metrics of new sessions go to an OpenTelemetry collector."),
    ] = False
    log_level: Annotated[
        Literal["OFF", "DEBUG", "INFO", "WARNING", "ERROR"], _meaning("What is logged.")
    ] = "OFF"
    log_dir: Annotated[
        _Text | None, _meaning("The folder of log files; without it the log goes to stderr.")
    ] = None
    places: Annotated[
        dict[_PlaceName, NamedPlace],
        _meaning("Places with a name, which stands behind `--on`."),
    ] = msgspec.field(default_factory=dict)
    background: Annotated[
        bool, _meaning("Whether Claude may leave commands and agents running behind a turn.")
    ] = True


@dataclass(frozen=True)
class Setting:
    """One row of the list of settings."""

    key: str
    meaning: str
    default: object
    variable: str  # the environment variable


def describe() -> tuple[Setting, ...]:
    """List every setting with its meaning, for the documentation and for `doctor`."""
    hints = typing.get_type_hints(Settings, include_extras=True)
    defaults = msgspec.structs.asdict(Settings())
    return tuple(
        Setting(key, _description(hints[key]), default, PREFIX + key.upper())
        for key, default in defaults.items()
    )


def _description(annotation: Any) -> str:
    metas: tuple[msgspec.Meta, ...] = annotation.__metadata__
    return "".join(meta.description for meta in metas if meta.description)
