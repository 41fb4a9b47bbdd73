"""The check: the same list of contracts, for every place."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from claude_mpm.errors import UsageError
from claude_mpm.folders import temporary_folder
from claude_mpm.testing.contract_tests import FOR_EVERY_PLACE, NEED_OUTPUT
from claude_mpm.testing.driver import orchestrator_of
from claude_mpm.testing.subject import Subject
from claude_mpm.validation import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from claude_mpm.environments.base import Environment
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator

State = Literal["passed", "failed", "not meant"]


class Result(msgspec.Struct, frozen=True):
    """The result of one contract.

    Args:
        contract: its name.
        why: what happened, where it failed; the place's reason, where it is not meant.
        seconds: how long it took.
    """

    contract: str
    state: State
    why: str
    seconds: float


class Report(msgspec.Struct, frozen=True):
    """The result of a check."""

    results: tuple[Result, ...]

    @property
    def failures(self) -> list[Result]:
        """The contracts that are broken."""
        return [result for result in self.results if result.state == "failed"]

    def raise_for_failures(self) -> Report:
        """Return the report.

        Raises:
            AssertionError: a contract is broken; the message has a line for each.
        """
        if self.failures:
            raise AssertionError(
                "\n".join(f"{each.contract}: {each.why}" for each in self.failures)
            )
        return self


class Contract(msgspec.Struct, frozen=True):
    """One promise that every place keeps.

    Args:
        name: words with hyphens between them.
        loss: what a user loses where it is broken.
        needs_output: whether it has to read what a program prints: what a place may say in
            `not_meant` counts for these contracts alone.
        function: tries it on a place, and raises AssertionError where it is broken.
    """

    name: str
    loss: str
    needs_output: bool
    function: Callable[[Subject], None]

    def check_environment(self, make: Callable[[], Environment]) -> Result:
        """Check a place for this contract alone; see the function of this name.

        Raises:
            AssertionError: it is broken.
        """
        return Report((attempt(self, make, is_place=True),)).raise_for_failures().results[0]

    def check_orchestrator(self, make: Callable[..., MPMOrchestrator]) -> Result:
        """Check an orchestrator for this contract alone; see the function of this name.

        Raises:
            AssertionError: it is broken.
        """
        return Report((attempt(self, make, is_place=False),)).raise_for_failures().results[0]


def contracts() -> list[Contract]:
    """Return all contracts, in the order in which they are checked."""
    return [
        Contract(
            name=function.__name__.replace("_", "-"),
            loss=(function.__doc__ or "").partition("\n")[0],
            needs_output=function in NEED_OUTPUT,
            function=function,
        )
        for function in (*FOR_EVERY_PLACE, *NEED_OUTPUT)
    ]


def check_environment(
    make: Callable[[], Environment], *, only: Collection[str] = (), model_port: int = 0
) -> Report:
    """Check a place: Claude Code runs in it many times, with a model that plays a script.

    Args:
        make: returns a fresh place. It is a function or class at the top of a module, or
            `functools.partial` of one, because another process has to make the same place.
        only: names of contracts; all by default.
        model_port: the port of this machine's loopback interface that the model listens on, where
            something leads there from the place; any by default.

    Raises:
        UsageError: there is no such contract, or Python runs without assertions.
    """
    tried = (attempt(each, make, is_place=True, model_port=model_port) for each in chosen(only))
    return Report(tuple(tried))


def check_orchestrator(
    make: Callable[..., MPMOrchestrator], *, only: Collection[str] = (), model_port: int = 0
) -> Report:
    """Check an orchestrator as `check_environment` checks a place.

    Args:
        make: returns a fresh orchestrator of the options that it is given, such as its class.
        only, model_port: as there.

    Raises:
        UsageError: there is no such contract, or Python runs without assertions.
    """
    tried = (attempt(each, make, is_place=False, model_port=model_port) for each in chosen(only))
    return Report(tuple(tried))


def chosen(only: Collection[str] = ()) -> list[Contract]:
    """Return the contracts of these names; all where there are none.

    Raises:
        UsageError: there is no such contract.
    """
    known = {contract.name: contract for contract in contracts()}
    for name in only:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else "`contracts()` lists them"
            raise UsageError(f"there is no contract {name!r}; {hint}")
    return [contract for name, contract in known.items() if not only or name in only]


def attempt(
    contract: Contract, make: Callable[..., Any], *, is_place: bool, model_port: int = 0
) -> Result:
    """Try a contract, and return the result.

    Args:
        make: makes a fresh place, or a fresh orchestrator of options.
        is_place: which of the two.
        model_port: the port of the model; 0 for any.

    Raises:
        UsageError: Python runs without assertions.
    """
    if not __debug__:
        raise UsageError("the check is made of assertions; run Python without -O")
    began = time.monotonic()
    state: State = "passed"
    why = ""
    try:
        reason = not_meant(make, is_place).get(contract.name) if contract.needs_output else None
        if reason:
            state, why = "not meant", reason
        else:
            _try(contract, make, is_place, model_port)
    except AssertionError as error:
        # What follows is pytest's, which takes an assertion to pieces; the message says it all.
        state, why = "failed", str(error).partition("\nassert ")[0]
    except Exception as error:  # noqa: BLE001 -- whatever a place of somebody else's raises
        state, why = "failed", f"{type(error).__name__}: {error}"
    return Result(contract.name, state, why, time.monotonic() - began)


def not_meant(make: Callable[..., Any], is_place: bool) -> Mapping[str, str]:
    """Return what a place, or else its orchestrator, declares meaningless, with its reasons."""
    claude = orchestrator_of(make, is_place, {})
    for declaring in (claude, claude.environment):
        if declared := getattr(declaring, "not_meant", None):
            return dict(declared)
    return {}


def _try(contract: Contract, make: Callable[..., Any], is_place: bool, model_port: int) -> None:
    with (
        temporary_folder("check") as kept,
        Subject(make, is_place=is_place, folder=kept, model_port=model_port) as subject,
    ):
        contract.function(subject)
