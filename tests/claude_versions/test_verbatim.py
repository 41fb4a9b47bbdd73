"""A prompt is marked as one that is text where the build keeps its context then, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from builds import make_build

from command import Command

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.testing import ScriptedModel


@pytest.mark.parametrize(("version", "marked"), [("2.1.280", False), ("2.1.281", True)])
def test_a_build_that_would_lose_its_agents_by_the_mark_gets_a_prompt_as_typed(
    version: str, marked: bool, model: ScriptedModel, tmp_path: Path
) -> None:
    command = Command(model, tmp_path / "home", str(make_build(tmp_path / "b", version)))
    ran = command("run", "--session", "s", "/hello")
    (prompt,) = (
        path for path in (command.session().path / "given" / "inbox").iterdir()
        if b'"/hello"' in path.read_bytes()
    )  # fmt: skip
    assert (b'"client_composed"' in prompt.read_bytes()) is marked
    assert ("begins with / for a command" in ran.stderr) is not marked
    command.close()
