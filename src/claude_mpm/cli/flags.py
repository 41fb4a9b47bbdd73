"""The options that set one setting each, as data, for click and for who reads them without it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Flag(NamedTuple):
    """An option of every command that sets a setting.

    Args:
        name: of the option.
        key: of the setting.
        help: in one sentence.
        metavar: what the help calls its value; empty where it takes none.
        kind: what its value is: `str`, `int` or `float`.
        many: whether it may be given several times, for a list.
        value: what one without a value sets.
    """

    name: str
    key: str
    help: str
    metavar: str = ""
    kind: type[str | int | float] = str
    many: bool = False
    value: Any = None


SETTINGS = (
    Flag("--orchestrator", "orchestrator", "What runs Claude.", "NAME"),
    Flag("--model", "model", "The model.", "MODEL"),
    Flag("--framework", "framework", "Framework file or folder.", "PATH"),
    Flag("--agents-dir", "agents_dir", "A folder of agent files.", "DIR"),
    Flag("--no-framework", "use_framework", "No framework.", value=False),
    Flag("--no-tickets", "tickets", "Take no tickets.", value=False),
    Flag("--permission-mode", "permission_mode", "As Claude's own option.", "MODE"),
    Flag("--permissions", "permissions", "What becomes of a question.", "deny|ask"),
    Flag("--question-timeout", "question_timeout", "Limit of the wait for an answer.", "SECONDS",
         float),
    Flag("--allowed-tools", "allowed_tools", "What Claude may do without asking.", "RULE",
         many=True),
    Flag("--disallowed-tools", "disallowed_tools", "What Claude may not do at all.", "RULE",
         many=True),
    Flag("--cwd", "cwd", "The folder Claude works in.", "DIR"),
    Flag("--timeout", "timeout", "Limit of a turn.", "SECONDS", float),
    Flag("--max-turns", "max_turns", "Limit of model calls.", "N", int),
    Flag("--max-budget-usd", "max_budget_usd", "Limit of cost.", "USD", float),
    Flag("--plugin", "plugins", "Import a plugin.", "MODULE", many=True),
)  # fmt: skip
BY_NAME = {flag.name: flag for flag in SETTINGS}
