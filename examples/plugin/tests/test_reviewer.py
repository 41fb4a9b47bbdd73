"""The reviewer, with the real Claude Code and a model that plays a script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm import create_orchestrator
from claude_mpm.testing import ScriptedModel

if TYPE_CHECKING:
    from pathlib import Path


def test_it_looks_and_does_not_touch(tmp_path: Path) -> None:
    with ScriptedModel("BUG: a.py, line 3: divides by zero") as model:
        places = {"environ": model.environment(tmp_path / "home"), "state_dir": tmp_path / "state"}
        with create_orchestrator("reviewer", cwd=tmp_path, **places) as claude:
            turn = claude.ask("Review this", timeout=60).check()
            began = next(event for event in claude.events() if event.type == "system/init")
        assert began.data.permissionMode == "plan"
        assert "Name the file and the line" in model.requests[0].prompt
        assert [ticket.type for ticket in turn.tickets] == ["bug"]
