"""A task of a batch, and how it can end."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

LONGEST_PROMPT = 8_000_000  # characters
_LONGEST_TEXT = 32_768  # characters of a path, a rule, a command

# A piece of a file's name and of a git branch: no two dots, and no `.lock` at the end.
ID_PATTERN = r"^(?!.*\.lock$)[A-Za-z0-9]+((\.|[_-]+)[A-Za-z0-9]+)*$"
_Id = Annotated[str, msgspec.Meta(pattern=ID_PATTERN, max_length=100)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_TEXT, pattern=r"^[^\x00]*$")]
_Rules = Annotated[list[_Text], msgspec.Meta(max_length=1000)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
_Argv = Annotated[list[_Text], msgspec.Meta(min_length=1, max_length=1000)]


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One prompt, where it is run, and by what its success is measured.

    Args:
        id: the task's name in its batch; a number where it has none.
        prompt: what Claude is to do; it reaches the model as it is.
        cwd: the folder that Claude works in; on this machine, a relative one is meant from the
            folder of the task file.
        repository: a git repository of the place; the task has a checkout of its own.
        revision: what is checked out; None for the repository's HEAD.
        worktree: whether the checkout has a branch of its own, on which what was changed is kept;
            without `repository`, that of `cwd` is meant.
        model, framework, permission_mode, permissions, allowed_tools, disallowed_tools, max_turns:
            as the options of an orchestrator.
        timeout: seconds that the turn may take.
        budget_usd, token_budget: what the task may cost, and use.
        check: a command, of words or for `sh`, that is run in the task's place and folder when
            Claude is done; its exit status is the outcome.
        check_timeout: seconds that it may take.
    """

    id: _Id
    prompt: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_PROMPT)]
    cwd: _Text | None = None
    repository: _Text | None = None
    revision: _Text | None = None
    worktree: bool = False
    model: _Text | None = None
    framework: _Text | None = None
    permission_mode: _Text | None = None
    permissions: Literal["deny", "ask"] | None = None
    allowed_tools: _Rules = []
    disallowed_tools: _Rules = []
    max_turns: Annotated[int, msgspec.Meta(ge=1)] | None = None
    timeout: _Seconds | None = None
    budget_usd: Annotated[float, msgspec.Meta(gt=0)] | None = None
    token_budget: Annotated[int, msgspec.Meta(ge=1)] | None = None
    check: _Text | _Argv | None = None
    check_timeout: _Seconds = 600.0

    @property
    def has_checkout(self) -> bool:
        """Whether a checkout is made for the task alone."""
        return self.worktree or self.repository is not None

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of an orchestrator that the task has."""
        names = (
            "model", "permission_mode", "permissions", "max_turns",
            "allowed_tools", "disallowed_tools",
        )  # fmt: skip
        found: dict[str, Any] = {name: getattr(self, name) for name in names}
        found["framework_path"] = self.framework
        found["session_cost_limit_usd"] = self.budget_usd
        found["session_token_limit"] = self.token_budget
        return {name: value for name, value in found.items() if value not in (None, [])}


class Outcome(StrEnum):
    """How a task can end.

    PASSED is a check that ended with status 0, or, without one, a turn that completed. LOST is one
    whose place did not answer or whose Claude died; STOPPED one that somebody ended.
    """

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    LOST = "lost"
    STOPPED = "stopped"
    OVER_BUDGET = "over budget"


class Trouble(StrEnum):
    """What infrastructure does to an attempt; it can be tried again."""

    PLACE_LOST = "place-lost"
    RATE_LIMIT = "rate-limit"
    OVERLOADED = "overloaded"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt at a task ended.

    Args:
        task: its id.
        attempt: which one, from 1.
        outcome: how it ended.
        reason: one line for a person; empty where it passed.
        trouble: what infrastructure did to it; None where that was nothing.
        verdict: that of the turn; empty where there was none.
        check: the exit status of the check; None where none was run to its end.
        cost_usd, tokens: what the session cost, and used.
        seconds: from the attempt's beginning to its end.
        tickets: how many were named.
        session: its id.
        place: the name of the place.
        branch: of the worktree; empty where nothing was changed, or there is none.
        folder: of the checkout that was kept; empty where there is none.
    """

    task: str
    attempt: int
    outcome: Outcome
    reason: str = ""
    trouble: Trouble | None = None
    verdict: str = ""
    check: int | None = None
    cost_usd: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    tickets: int = 0
    session: str = ""
    place: str = ""
    branch: str = ""
    folder: str = ""

    @property
    def ok(self) -> bool:
        """Whether the task passed."""
        return self.outcome is Outcome.PASSED
