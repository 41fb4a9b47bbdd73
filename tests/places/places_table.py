"""The table of places and contracts, as the documentation has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.testing import Contract, Result, contracts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SIGNS = {"passed": "✓", "failed": "✗"}
_HEAD = """# The check, place by place

Every place that comes with claude-mpm is held to the same [contracts](checks.md), each against the
real thing: the real Claude Code, a Docker Engine, an `sshd`, a server with TLS, a Kubernetes of one
node. The tests run them all, and this page is written by their last run (`make places-table`).

"""


def page(places: Sequence[str], results: Mapping[tuple[str, str], Result]) -> str:
    """Return the page; an empty cell is a contract that was not tried.

    Args:
        places: their names, in the order of the columns.
        results: the outcome of each contract, by place and contract.
    """
    rows = [("contract", *places), ("---", *("---" for _ in places))]
    reasons: list[str] = []
    for contract in contracts():
        cells = (_cell(results.get((place, contract.name)), reasons) for place in places)
        rows.append((f"`{contract.name}`", *cells))
    seconds = (
        sum(each.seconds for (where, _), each in results.items() if where == place)
        for place in places
    )
    rows.append(("seconds, in all", *(f"{total:.0f}" for total in seconds)))
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = "".join(f"\n{number}. {reason}" for number, reason in enumerate(reasons, 1))
    return f"{_HEAD}{table}\n" + (f"\nNot meant there:\n{notes}\n" if notes else "")


def _cell(result: Result | None, reasons: list[str]) -> str:
    if result is None:
        return ""
    if result.state in _SIGNS:
        return _SIGNS[result.state]
    if result.why not in reasons:
        reasons.append(result.why)
    return f"({reasons.index(result.why) + 1})"


def is_complete(places: Sequence[str], results: Mapping[tuple[str, str], Result]) -> bool:
    """Return whether every place was held to every contract."""
    every: list[Contract] = contracts()
    return all((place, contract.name) in results for place in places for contract in every)
