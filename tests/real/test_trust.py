"""A repository that was just cloned runs nothing, before its folder is trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from claude_mpm.config.trust import is_trusted, set_trust

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude

SECONDS = 60.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The current folder, with a hook that leaves a mark."""
    folder = Path.cwd()
    hook = {"type": "command", "command": f"touch {tmp_path}/the-hook-ran"}
    hooks = {"UserPromptSubmit": [{"hooks": [hook]}]}
    (folder / ".claude").mkdir()
    (folder / ".claude" / "settings.json").write_text(json.dumps({"hooks": hooks}))
    return folder


def test_hooks_of_an_untrusted_project_do_not_run(
    make_claude: MakeClaude, project: Path, tmp_path: Path
) -> None:
    with make_claude() as claude:
        assert claude.ask("hello").wait(SECONDS).verdict.ok
    assert not (tmp_path / "the-hook-ran").exists()


def test_hooks_run_once_the_folder_is_trusted(
    make_claude: MakeClaude, project: Path, tmp_path: Path
) -> None:
    set_trust(project.parent, trusted=True)
    with make_claude() as claude:
        assert claude.ask("hello").wait(SECONDS).verdict.ok
    assert (tmp_path / "the-hook-ran").exists()


def test_what_was_accepted_in_claudes_own_dialog_counts(
    model: ScriptedModel, project: Path, tmp_path: Path
) -> None:
    environ = model.environment(tmp_path)
    assert not is_trusted(project, environ)
    config = Path(environ["CLAUDE_CONFIG_DIR"])
    config.mkdir(parents=True, exist_ok=True)
    projects = {str(project.resolve()): {"hasTrustDialogAccepted": True}}
    (config / ".claude.json").write_text(json.dumps({"projects": projects}))
    assert is_trusted(project / "below", environ)
    assert not is_trusted(project.parent, environ)
