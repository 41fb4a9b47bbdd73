"""The real Claude Code is given a framework."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from claude_mpm.errors import FrameworkError

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude


def test_a_framework_of_200_kb_reaches_the_model_whole_and_is_in_no_argument(
    make_claude: MakeClaude, model: ScriptedModel, tmp_path: Path
) -> None:
    text = "FRAMEWORK BEGINS\n" + "A rule to follow.\n" * 12_000 + "FRAMEWORK ENDS"
    assert len(text) > 200_000
    (tmp_path / "framework.md").write_text(text)
    with make_claude(framework_path=tmp_path / "framework.md") as claude:
        claude.ask("hello").check()
        pid = claude._live.folder.pids()[1]
        command = subprocess.run(
            ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=True
        )
        assert b"framework.md" in command.stdout
        assert b"A rule to follow" not in command.stdout
    assert text in model.wait_for_request("hello").system


def test_an_edited_framework_takes_effect_on_resume_and_its_hash_is_on_every_turn(
    make_claude: MakeClaude, model: ScriptedModel, tmp_path: Path
) -> None:
    framework = tmp_path / "framework.md"
    hashes = []
    for round_, rule in enumerate(("RULE-ONE", "RULE-TWO")):
        framework.write_text(f"Follow {rule}.")
        session = {"session_id": "edited", "resume": round_ > 0}
        with make_claude(framework_path=framework, **session) as claude:
            hashes.append(claude.ask(f"prompt {round_}").check().framework)
    first, second = model.wait_for_request("prompt 0"), model.wait_for_request("prompt 1")
    assert "RULE-ONE" in first.system
    assert "RULE-TWO" in second.system
    assert "RULE-ONE" not in second.system
    assert "prompt 0" in str(second.body["messages"]), "the same conversation goes on"
    assert hashes[0] != hashes[1]
    starts = claude.store.folder("edited").read_meta().starts
    assert [start.framework_sha256 for start in starts] == hashes
    assert [turn.framework for turn in claude.store.index.turns("edited")] == hashes


def test_agents_of_the_framework_are_known_to_claude(make_claude: MakeClaude) -> None:
    with make_claude() as claude:
        claude.ask("hello").check()
        (init,) = (event.data for event in claude.events() if event.type == "system/init")
    assert {"engineer", "qa", "researcher", "documentation"} <= set(init.agents)


@pytest.mark.parametrize(
    "content", [b"", b"  \n ", b"\xff\xfe broken"], ids=["empty", "blank", "no text"]
)
def test_a_framework_that_cannot_be_used_stops_the_start(
    make_claude: MakeClaude, model: ScriptedModel, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "framework.md").write_bytes(content)
    claude = make_claude(framework_path=tmp_path / "framework.md")
    assert claude.start() is False
    assert isinstance(claude.error, FrameworkError)
    assert str(tmp_path / "framework.md") in str(claude.error)
    assert model.requests == ()
