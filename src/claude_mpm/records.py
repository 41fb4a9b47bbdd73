"""What is found in a journal and kept in the index."""

from __future__ import annotations

from typing import Any

import msgspec

# What Claude's native interface puts in front of the names of the agents that it got from us.
NATIVE_PREFIX = "mpm:"


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """Work that the assistant named with a marker such as `TODO:`.

    Args:
        key: stable: the same ticket said twice in a session has the same key.
        session: the session in which it was said.
        type: "task", "bug", "feature", "issue", "enhancement", or what the settings add.
        priority: "low", "medium", "high", "critical", or empty.
        agent: the subagent that said it; empty for the main conversation.
        offset: where in the journal, in bytes.
        state: "open" or "closed".
    """

    key: str
    session: str
    type: str
    title: str
    description: str = ""
    priority: str = ""
    tags: tuple[str, ...] = ()
    agent: str = ""
    offset: int = 0
    state: str = "open"


class Delegation(msgspec.Struct, frozen=True, kw_only=True):
    """Work that was handed to a subagent.

    Args:
        key: the id of the tool call, or a hash of the phrase for source "text".
        state: "running", "completed", "failed", "stopped" or "rejected"; "announced" where
            there is only a phrase.
        source: "tool" where Claude called its Task/Agent tool, "text" for a phrase.
        background: whether Claude went on without waiting for it.
        started_at: seconds since the epoch; None where the journal does not say.
        duration: seconds; None until it ended, or where the journal does not say.
        offset: where in the journal it began, in bytes.
    """

    key: str
    session: str
    agent: str = ""
    description: str = ""
    prompt: str = ""
    state: str = "running"
    source: str = "tool"
    background: bool = False
    started_at: float | None = None
    duration: float | None = None
    result: str = ""
    offset: int = 0


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Costs that Claude tells apart from its turns, as it does on a terminal.

    Args:
        cost_usd: what was added since it told last.
        total_cost_usd: the session's sum.
        told_at: seconds since the epoch; None where the journal does not say.
    """

    session: str
    cost_usd: float
    total_cost_usd: float
    told_at: float | None = None


class Spending(msgspec.Struct, frozen=True):
    """What was used.

    Args:
        cost_usd: in US dollars, as Claude reckons it.
        tokens: read and written, of every kind.
    """

    cost_usd: float = 0.0
    tokens: int = 0

    def __add__(self, other: Spending) -> Spending:
        return Spending(self.cost_usd + other.cost_usd, self.tokens + other.tokens)


class TurnRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One `result` of Claude: the outcome of a turn, and its cost.

    Args:
        offset: where its result line begins in the journal, in bytes.
        end: where the next line begins.
        uuid: of the result; empty where it has none, as on a terminal.
        prompts: the uuids of the prompts that it answered.
        subtype: Claude's own word, such as "success"; "withdrawn" where the record came too early:
            the prompt counted as not taken, and Claude took it after all.
        origin: what started it, where that was no prompt: "task-notification", "peer".
        cost_usd: of this turn alone; Claude reports the sum over the session.
        total_cost_usd: the session's sum, as Claude reported it.
        tokens: all that this turn used, of every kind and of its subagents, too; the four counts
            beside it are those of the main conversation.
        total_tokens: the session's sum of them.
        duration: seconds.
        ended_at: seconds since the epoch; None where the journal does not say.
        denials: how often the use of a tool was refused.
        denied_tools: the names of these tools, the first twenty.
        framework: hash of the framework that was in effect.
        structured_output: the value for a JSON schema; None if there is none.
        local_command: the command of Claude Code that was run in the model's place.
        notices: what Claude Code told of itself, such as that it overrode a hook.
        number: how many results its process wrote before it, by its own count; None where it does
            not count.
        missing: how many of them, since the last one here, are not in the journal.
        queued_turns: how many prompts waited in Claude Code when it ended.
        resume_reason: why it goes on with an earlier turn, in Claude Code's words.
        api_error: what kind of an API error it ended with, in Claude Code's word.
        preempted: why Claude Code ended it for what came behind it, in its words.
    """

    session: str
    offset: int
    end: int
    uuid: str = ""
    prompts: tuple[str, ...] = ()
    origin: str = ""
    subtype: str = ""
    is_error: bool = False
    terminal_reason: str = ""
    message: str = ""
    api_error_status: int | None = None
    cost_usd: float = 0.0
    total_cost_usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    tokens: int = 0
    total_tokens: int = 0
    duration: float = 0.0
    ended_at: float | None = None
    denials: int = 0
    denied_tools: tuple[str, ...] = ()
    framework: str = ""
    structured_output: Any = None
    local_command: str = ""
    notices: tuple[str, ...] = ()
    number: int | None = None
    missing: int = 0
    queued_turns: int = 0
    resume_reason: str = ""
    api_error: str = ""
    preempted: str = ""

    @property
    def total(self) -> Spending:
        """What the session had used with this turn, as Claude reported it."""
        return Spending(self.total_cost_usd, self.total_tokens)

    @property
    def withdrawn(self) -> bool:
        """Whether it does not count any more."""
        return self.subtype == "withdrawn"
