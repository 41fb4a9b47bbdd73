"""What there is to set: each setting with its type, default, meaning, and what a project may do."""

from __future__ import annotations

import functools
import typing
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec

PREFIX = "CLAUDE_MPM_"

_Seconds = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
_Dollars = Annotated[float, msgspec.Meta(gt=0)]
_Tokens = Annotated[int, msgspec.Meta(ge=1)]
_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


_PlaceName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class InProject(Enum):
    """What the file of a project that is not trusted may do with a setting.

    A project's file comes with a cloned repository. Any other value ends the command.
    """

    NOTHING = "nothing"
    ANY = "any value"
    INSIDE = "a path in its folder"
    SMALLER = "a value; the smaller of it and the user's applies"
    NARROWER = "a value that is more restrictive, or safer, than the user's"


class Setting(msgspec.Struct, frozen=True):
    """One row of the list of settings.

    Args:
        key: its name in a file.
        meaning: one sentence.
        default: its value where nobody gives one.
        variable: the environment variable.
        in_project: what the file of a project that is not trusted may do with it.
        order: where that is `NARROWER`, the values that it may have, the more restrictive first.
        is_path: whether a relative value in a file is meant from the file's folder.
    """

    key: str
    meaning: str
    default: object
    variable: str
    in_project: InProject
    order: tuple[str, ...]
    is_path: bool


def _meaning(
    text: str,
    project: InProject = InProject.NOTHING,
    *,
    order: tuple[str, ...] = (),
    path: bool = False,
) -> msgspec.Meta:
    """Return what `describe` says of a setting beside its type, its name and its default."""
    rest = {"in_project": project, "order": order, "is_path": path}
    return msgspec.Meta(description=text, extra=rest)


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
    model: Annotated[
        _Text | None, _meaning("The model; without it Claude's own choice.", InProject.ANY)
    ] = None
    framework: Annotated[
        _Text | None,
        _meaning(
            "A framework's file, or its folder; without it the packaged default.",
            InProject.INSIDE,
            path=True,
        ),
    ] = None
    agents_dir: Annotated[
        _Text | None,
        _meaning(
            "A folder of agent files, added to those of the framework.", InProject.INSIDE, path=True
        ),
    ] = None
    use_framework: Annotated[
        bool, _meaning("Whether Claude is given a framework at all.", InProject.ANY)
    ] = True
    tickets: Annotated[
        bool, _meaning("Whether tickets are taken from what Claude says.", InProject.ANY)
    ] = True
    ticket_markers: Annotated[
        dict[_Word, _Word],
        _meaning(
            "More ticket markers, each with its type; added to the built-in ones.", InProject.ANY
        ),
    ] = msgspec.field(default_factory=dict)
    permission_mode: Annotated[
        Literal["acceptEdits", "auto", "bypassPermissions", "default", "dontAsk", "manual", "plan"]
        | None,
        _meaning(
            "What Claude may do without asking; without it Claude's own choice.",
            InProject.NARROWER,
            order=("plan", "dontAsk"),
        ),
    ] = None
    permissions: Annotated[
        Literal["deny", "ask"],
        _meaning(
            "Whether Claude is refused what it would have to ask for, or its question waits.",
            InProject.NARROWER,
            order=("deny", "ask"),
        ),
    ] = "deny"
    question_timeout: Annotated[
        _Seconds | None,
        _meaning(
            "How long a question waits for its answer before it is denied, in seconds.",
            InProject.SMALLER,
        ),
    ] = None
    allowed_tools: Annotated[
        list[_Text], _meaning("Rules for what Claude may do without asking: `Bash(git status:*)`.")
    ] = msgspec.field(default_factory=list)
    disallowed_tools: Annotated[
        list[_Text], _meaning("Rules for what Claude may not do at all; they win over all else.")
    ] = msgspec.field(default_factory=list)
    cwd: Annotated[
        _Text | None,
        _meaning(
            "The folder that Claude works in; without it the current one.",
            InProject.INSIDE,
            path=True,
        ),
    ] = None
    timeout: Annotated[
        _Seconds | None,
        _meaning("The longest that one turn may take, in seconds.", InProject.SMALLER),
    ] = None
    max_turns: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        _meaning("The most model calls that one prompt may lead to.", InProject.SMALLER),
    ] = None
    max_budget_usd: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        _meaning("The most that a session may cost, in US dollars.", InProject.SMALLER),
    ] = None
    turn_cost_limit_usd: Annotated[
        _Dollars | None,
        _meaning("The most that a turn may cost, in US dollars.", InProject.SMALLER),
    ] = None
    turn_token_limit: Annotated[
        _Tokens | None, _meaning("The most tokens that a turn may use.", InProject.SMALLER)
    ] = None
    session_cost_limit_usd: Annotated[
        _Dollars | None,
        _meaning(
            "The most that all turns of a session may cost, in US dollars.", InProject.SMALLER
        ),
    ] = None
    session_token_limit: Annotated[
        _Tokens | None, _meaning("The most tokens that a session may use.", InProject.SMALLER)
    ] = None
    day_cost_limit_usd: Annotated[
        _Dollars | None, _meaning("The most that all sessions may cost in a day, in US dollars.")
    ] = None
    day_token_limit: Annotated[
        _Tokens | None, _meaning("The most tokens that all sessions may use in a day.")
    ] = None
    wait_for_rate_limit: Annotated[
        _Seconds | None,
        _meaning(
            "How long a turn may wait for the rate limit that refused it, in seconds.",
            InProject.SMALLER,
        ),
    ] = None
    plugins: Annotated[
        list[_Text], _meaning("Python modules to import at the start; they register orchestrators.")
    ] = msgspec.field(default_factory=list)
    claude_path: Annotated[
        _Text | None,
        _meaning("The `claude` to run; without it the first that is found.", path=True),
    ] = None
    claude_args: Annotated[
        list[str], _meaning("More arguments for the command line of `claude`.")
    ] = msgspec.field(default_factory=list)
    state_dir: Annotated[
        _Text | None,
        _meaning(
            "The folder of sessions and index; without it the platform's own for state.", path=True
        ),
    ] = None
    linger: Annotated[
        Annotated[float, msgspec.Meta(ge=0, le=1e9)],
        _meaning(
            "How long a session that nobody follows waits for the next, in seconds.",
            InProject.SMALLER,
        ),
    ] = 30.0
    start_timeout: Annotated[
        _Seconds, _meaning("How long a start may take, in seconds.", InProject.SMALLER)
    ] = 60.0
    stop_timeout: Annotated[
        _Seconds,
        _meaning("How long a stop waits before it is forced, in seconds.", InProject.SMALLER),
    ] = 10.0
    resume_lost: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=100)],
        _meaning(
            "How often a turn whose Claude has died is taken up again in a fresh one.",
            InProject.SMALLER,
        ),
    ] = 0
    durability: Annotated[
        Literal["none", "turn", "event"],
        _meaning(
            "What is on the disk itself when, so that a power cut does not take it.",
            InProject.NARROWER,
            order=("event", "turn", "none"),
        ),
    ] = "turn"
    otel: Annotated[
        bool,
        _meaning("Whether spans and metrics of new sessions go to an OpenTelemetry collector."),
    ] = False
    notify: Annotated[
        _Text | None,
        _meaning("The command that is run when a session needs a person; no shell reads it."),
    ] = None
    notify_desktop: Annotated[
        bool,
        _meaning("Whether the desktop shows, by `notify-send`, that a session needs a person."),
    ] = False
    notify_webhook: Annotated[
        _Text | None, _meaning("The URL to which it is posted that a session needs a person.")
    ] = None
    notify_secret_file: Annotated[
        _Text | None,
        _meaning("The file with the secret that signs what is posted there.", path=True),
    ] = None
    log_level: Annotated[
        Literal["OFF", "DEBUG", "INFO", "WARNING", "ERROR"],
        _meaning("What is logged.", InProject.ANY),
    ] = "OFF"
    log_dir: Annotated[
        _Text | None,
        _meaning("The folder of log files; without it the log goes to stderr.", path=True),
    ] = None
    places: Annotated[
        dict[_PlaceName, NamedPlace],
        _meaning("Places with a name, which stands behind `--on`."),
    ] = msgspec.field(default_factory=dict)
    background: Annotated[
        bool,
        _meaning(
            "Whether Claude may leave commands and agents running behind a turn.", InProject.SMALLER
        ),
    ] = True


@functools.cache
def describe() -> tuple[Setting, ...]:
    """Return every setting, in the order of the documentation."""
    hints = typing.get_type_hints(Settings, include_extras=True)
    return tuple(
        Setting(key, meaning.description or "", default, PREFIX + key.upper(), **meaning.extra)
        for key, default in msgspec.structs.asdict(Settings()).items()
        for meaning in hints[key].__metadata__
        if meaning.extra is not None
    )
