"""The agents of the native interface: known to Claude, of any size, and in no list of processes."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.engine.native_agents import lay_agents
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.testing import Delegate

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude

SECRET = "what only the checker is told"
LONG = 200_000  # bytes; an argument has at most 131,072
AGENT = f"""---
name: checker
description: "checks: a # sign, [brackets], ä, \\u2028 and 'quotes'"
tools: [Read, "Bash(git log:*)"]
---
You are {SECRET}.
--- no head
{"x" * LONG}
"""


def test_an_agent_of_any_size_is_delegated_to_and_is_in_no_list_of_processes(
    make_claude: MakeClaude, model: ScriptedModel, tmp_path: Path
) -> None:
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "checker.md").write_text(AGENT)
    model.on("Ship it", Delegate("mpm:checker", "Look", does=["All is well."]), "It is checked.")
    claude = make_claude(
        "terminal", trust=True, agents_dir=str(folder), permission_mode="dontAsk",
        allowed_tools=["Agent"],
    )  # fmt: skip
    with claude:
        turn = claude.ask("Ship it", timeout=90).check()
        (delegation,) = turn.delegations
        shown = b"".join(_arguments())
        laid = claude.store.folder(claude.session_id).given / "native"
        modes = {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in laid.rglob("*")}
    assert (delegation.agent, delegation.result) == ("checker", "All is well.")
    assert SECRET.encode() not in shown
    assert modes == {0}
    asked = [json.dumps(request.body) for request in model.requests]
    assert [request for request in asked if SECRET in request and "x" * LONG in request]


def _arguments() -> list[bytes]:
    """Return the arguments of every process, as each user of the machine can read them."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                found.append(Path("/proc", entry, "cmdline").read_bytes())
            except OSError:  # it has ended
                continue
    return found


def test_agents_of_an_earlier_start_are_gone(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path / "session")
    folder.create()
    for names in (("one", "two"), ("two",)):
        agents: dict[str, Any] = {
            name: {"description": "d", "prompt": "p", "tools": ["Bash"], "maxTurns": 3}
            for name in names
        }
        folder.write(folder.agents, json.dumps(agents).encode())
        laid = lay_agents(folder)
    (file,) = laid.rglob("*.md")
    assert file.read_text() == (
        '---\nname: "two"\ndescription: "d"\ntools: ["Bash"]\nmaxTurns: 3\n---\np\n'
    )


@pytest.mark.parametrize(
    "text", ["a\nb", 'say "x"', "\\", "\u0085", "\u2028", "\U0001f600", "#: -"]
)
def test_a_head_says_to_yaml_what_it_says_to_json(tmp_path: Path, text: str) -> None:
    import yaml

    folder = SessionFolder(tmp_path / "session")
    folder.create()
    given = {"description": text, "hooks": {"Stop": [{"hooks": []}]}, "background": True}
    folder.write(folder.agents, json.dumps({"it": {**given, "prompt": "p"}}).encode())
    (file,) = lay_agents(folder).rglob("*.md")
    _, head, _ = file.read_text().split("---\n")
    assert yaml.safe_load(head) == {"name": "it", **given}
