"""The options of an orchestrator, besides its framework and its log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from claude_mpm.errors import UsageError
from claude_mpm.validation import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from claude_mpm.conversation.question import Question
    from claude_mpm.engine.notification import Notify
    from claude_mpm.environments.base import Environment
    from claude_mpm.journal.durability import Durability
    from claude_mpm.wire.events import Event

Permissions = Literal["deny", "ask"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The keyword arguments of every orchestrator.

    Args:
        environment: the place; None for the one that the orchestrator stands for.
        cwd: the folder that Claude works in, as the place knows it; None for the current one, and
            elsewhere for the place's own choice.
        environ: Claude's environment; None for this process's. On this machine it is the whole of
            it; another place gets of it what means something there.
        model: the model; None for Claude's own choice.
        permission_mode: what Claude may do without asking, as `claude --permission-mode`.
        permissions: who answers Claude's questions: "deny" leaves them to Claude, which then
            refuses the tool and goes on; "ask" gives them out as `Question`s; a function is
            called with each `Question`, in a thread of its own, and answers it.
        question_timeout: seconds after which a question that nobody answered is denied, by whoever
            follows the session; None to let it wait.
        allowed_tools: rules for what Claude may do without asking, as `claude --allowedTools`.
        disallowed_tools: rules for what it may not do at all, as `claude --disallowedTools`.
        max_turns: the most model calls that one prompt may lead to.
        max_budget_usd: the most that the conversation may cost.
        background: whether Claude may leave subagents and commands running behind a turn.
        partial: whether lines are given out while the answer is still being made.
        claude_path: the `claude` to run; None to look for it.
        claude_args: further arguments for it.
        wire: how the journal is read: "stream-json", "transcript" or "plain-text"; empty for what
            Claude speaks in its place.
        session_id: the session's name; None for a new one.
        resume: take up the session `session_id` again: follow it where it still runs, else
            start Claude on the same conversation.
        state_dir: the folder of sessions and index; None for the platform's own.
        linger: seconds that Claude waits for the next follower once nobody follows it.
        linger_limit: seconds that it then has to finish its turn before it is terminated.
        start_timeout: seconds until Claude must have answered the first message.
        stop_timeout: seconds that each step of a stop waits before the next, harder one.
        first_event_timeout: seconds for Claude to take a prompt; None for no limit, as for all of
            the next ones.
        silence_timeout: seconds within a turn without any event; a retried request is none.
        tool_timeout: seconds for one tool.
        end_timeout: seconds after a result until Claude says that it is idle.
        on_stall: what is done at them: "warn" in the log, "interrupt" the turn, "end" the session,
            or "resume": end Claude and go on with the turn in a fresh one, `resume_lost` times,
            and then end the session. After a result, the turn just counts as over.
        memory_warning_mb: megabytes of Claude's whole process tree at which the log warns.
        memory_limit_mb: megabytes at which Claude is ended; its turn goes on in a fresh one,
            `resume_lost` times.
        cpu_warning_percent: mean use of processors over a minute by Claude's whole process tree at
            which the log warns; 100 is one processor.
        cpu_limit_percent: the same, at which Claude is ended as for `memory_limit_mb`.
        turn_cost_limit_usd: what one turn may cost; it is interrupted at it. None for no limit, as
            for all of the next ones.
        turn_token_limit: how many tokens it may use, of every kind.
        session_cost_limit_usd: what the session may cost, whoever runs it; the turn is interrupted
            at it, and no further prompt is let in.
        session_token_limit: how many tokens it may use.
        day_cost_limit_usd: what all sessions of `state_dir` may cost together from midnight on.
        day_token_limit: how many tokens they may use.
        wait_for_rate_limit: seconds that a turn may wait for the rate limit that refused it, to go
            on by itself then; None for not at all.
        resume_lost: how often a turn is taken up again, in a fresh Claude, whose Claude has died.
        durability: what is on the disk itself when, so that a power cut does not take it: "none"
            leaves that to the operating system, "turn" has each prompt there before Claude hears of
            it, and the journal at the end of each turn, "event" the journal before anything of it
            is handed on.
        notify: who is notified when the session needs a person; None for nobody.
        start_retries: how often a start that failed is tried again.
        retry_backoff: seconds before the first new try; doubled before each further one.
        batch_size: how many lines are handed on together; 1 for each at once.
        max_output_errors: after how many errors in a row in a hook for output the session stops.
        quiet: on a wire without turns, seconds of silence after which an answer counts as over.
        tickets: whether tickets are taken from what Claude says.
        ticket_markers: further markers, each with its ticket type.
        processors: functions that make further events of an event.
        sinks: functions that are given every event.
        metadata: kept in the session's `metadata.json`, with start and end; None to keep none.
        use_framework: whether Claude is given the framework.
        confined_to: the folder of a project whose own settings name the framework or the agents; as
            long as it is not trusted, they may do no more than the user has allowed.
    """

    environment: Environment | None = None
    cwd: str | None = None
    environ: Mapping[str, str] | None = None
    model: str | None = None
    permission_mode: str | None = None
    permissions: Permissions | Callable[[Question], None] = "deny"
    question_timeout: float | None = None
    allowed_tools: Sequence[str] = ()
    disallowed_tools: Sequence[str] = ()
    max_turns: int | None = None
    max_budget_usd: float | None = None
    background: bool = True
    partial: bool = False
    claude_path: str | None = None
    claude_args: Sequence[str] = ()
    wire: str = ""
    session_id: str | None = None
    resume: bool = False
    state_dir: str | None = None
    linger: float = 30.0
    linger_limit: float = 3600.0
    start_timeout: float = 60.0
    stop_timeout: float = 10.0
    first_event_timeout: float | None = 60.0
    silence_timeout: float | None = 600.0
    tool_timeout: float | None = None
    end_timeout: float | None = 60.0
    on_stall: Literal["warn", "interrupt", "end", "resume"] = "warn"
    memory_warning_mb: float | None = None
    memory_limit_mb: float | None = None
    cpu_warning_percent: float | None = None
    cpu_limit_percent: float | None = None
    turn_cost_limit_usd: float | None = None
    turn_token_limit: int | None = None
    session_cost_limit_usd: float | None = None
    session_token_limit: int | None = None
    day_cost_limit_usd: float | None = None
    day_token_limit: int | None = None
    wait_for_rate_limit: float | None = None
    resume_lost: int = 0
    durability: Durability = "turn"
    notify: Notify | None = None
    start_retries: int = 0
    retry_backoff: float = 1.0
    batch_size: int = 1
    max_output_errors: int = 5
    quiet: float = 5.0
    tickets: bool = True
    ticket_markers: Mapping[str, str] = {}
    processors: Sequence[Callable[[Event], Iterable[Event]]] = ()
    sinks: Sequence[Callable[[Event], None]] = ()
    metadata: Mapping[str, Any] | None = None
    use_framework: bool = True
    confined_to: str | None = None

    @property
    def budgets(self) -> dict[tuple[str, str], float]:
        """The budgets that are set, by their span and by what they count: "cost" or "tokens"."""
        found = {key: getattr(self, name) for key, name in _BUDGETS.items()}
        return {key: limit for key, limit in found.items() if limit is not None}


_VALUES = {
    "durability": ("none", "turn", "event"),
    "on_stall": ("warn", "interrupt", "end", "resume"),
}
_BUDGETS = {
    ("turn", "cost"): "turn_cost_limit_usd",
    ("turn", "tokens"): "turn_token_limit",
    ("session", "cost"): "session_cost_limit_usd",
    ("session", "tokens"): "session_token_limit",
    ("day", "cost"): "day_cost_limit_usd",
    ("day", "tokens"): "day_token_limit",
}
# What a resume in another process needs to know; the rest is that process's own business.
KEPT = (
    "model",
    "permission_mode",
    "question_timeout",
    "allowed_tools",
    "disallowed_tools",
    "max_turns",
    "max_budget_usd",
    "background",
    "claude_path",
    "claude_args",
    "tickets",
    "ticket_markers",
    "use_framework",
    "confined_to",
)


_FORK = "--fork-session"
# Arguments that choose the conversation, and whether a value follows.
_CHOOSES = {
    "--resume": True, "-r": True, "--session-id": True,
    "--continue": False, "-c": False, _FORK: False,
}  # fmt: skip


def make_options(given: Mapping[str, Any]) -> Options:
    """Return the options, or say which keyword is none.

    Raises:
        UsageError: a keyword that no option has, or a value that is none of its option's.
    """
    for name in given:
        if name not in Options.__struct_fields__:
            near = nearest(name, Options.__struct_fields__)
            hint = f"did you mean {near!r}?" if near else "see the list of options"
            raise UsageError(f"an orchestrator has no option {name!r}; {hint}")
    for name, values in _VALUES.items():
        if name in given and given[name] not in values:
            raise UsageError(f"{name} is one of {', '.join(values)}, not {given[name]!r}")
    if given.get("notify") is not None:
        from claude_mpm.engine.notification import check_notify

        check_notify(given["notify"])
    return Options(**given)


def without_conversation(claude_args: Sequence[str], *, forks: bool = False) -> list[str]:
    """Return arguments of `claude` without those that choose a conversation, which count once.

    Args:
        claude_args: the arguments.
        forks: whether the one stays that goes on with the conversation under another identity.
    """
    kept: list[str] = []
    value = False  # whether what comes next may be the value of what was left out
    for each in claude_args:
        name, equals, _ = each.partition("=")
        if name in _CHOOSES and not (forks and name == _FORK):
            value = not equals and _CHOOSES[name]
        elif not value or each.startswith("-"):
            kept.append(each)
            value = False
        else:
            value = False
    return kept


def kept_options(options: Options) -> dict[str, Any]:
    """Return the options that `meta.json` keeps, without those that have their default."""
    default = Options()
    values = {name: getattr(options, name) for name in KEPT}
    values["claude_args"] = without_conversation(options.claude_args) or default.claude_args
    return {name: value for name, value in values.items() if value != getattr(default, name)}
