"""What counts as a delegation that the assistant announces in plain text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mpm.processors.delegation_text import (
    DelegationFinder,
    FoundDelegation,
    find_delegation,
)


@pytest.mark.parametrize(
    ("line", "agent", "task"),
    [
        ("Delegating to engineer: Fix the parser", "engineer", "Fix the parser"),
        ("**Delegating to engineer**: Fix the parser", "engineer", "Fix the parser"),
        ("**Delegating to engineer:** Fix the parser", "engineer", "Fix the parser"),
        ("**Delegating to engineer: Fix the parser**", "engineer", "Fix the parser"),
        ("→ Delegating to the QA agent: run the tests", "QA", "run the tests"),
        ("- Delegating to research: find the cause", "research", "find the cause"),
        ("* Delegating to **research**: find the cause", "research", "find the cause"),
        ("2. Delegating to `code-reviewer`: read the diff", "code-reviewer", "read the diff"),
        ("  Delegating to @docs: write  it   down", "docs", "write it down"),
        ("Delegating to version control agent: tag v1", "version control", "tag v1"),
        ("Delegating to QA: check **both** paths", "QA", "check **both** paths"),
        ("Delegating to Engineer Agent: fix: the colon", "Engineer", "fix: the colon"),
    ],
)
def test_a_delegation_in_the_words_of_the_framework(line: str, agent: str, task: str) -> None:
    assert find_delegation(line) == FoundDelegation(agent, task)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Delegating to engineer",
        "Delegating to engineer:",
        "Delegating to engineer: ...",
        "**Delegating to engineer:**",
        "I am delegating to engineer: fix it",
        "Delegating: fix it",
        "Delegating to whoever happens to be free today: fix it",
        "Delegating to: fix it",
        '"Delegating to engineer: fix it"',
        "`Delegating to engineer: fix it`",
        "Delegating to https://example.com: fix it",
        "Delegated to engineer: fix it",
        "Undelegating to engineer: fix it",
        "I'm here and ready to work on any tasks you delegate.",
        "Here's what needs updating for the `cto` or another agent with broader access:",
    ],
)
def test_prose_about_delegating_is_no_delegation(line: str) -> None:
    assert find_delegation(line) is None


def test_code_and_quotations_announce_nothing() -> None:
    finder = DelegationFinder()
    lines = ["```", "Delegating to a: x", "```", "> Delegating to b: y", "Delegating to c: z\r\n"]
    assert [found for line in lines if (found := finder.feed(line))] == [FoundDelegation("c", "z")]


@given(st.text(alphabet="→*_`@- :.Delegating to the QA agent\t>", max_size=60))
def test_any_line_is_read_without_an_error(line: str) -> None:
    found = find_delegation(line)
    assert found is None or (found.agent and found.task)
