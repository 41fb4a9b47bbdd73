"""`claude-mpm trust`: which folders may run commands of theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calls import call
from claude_mpm.config.trust import set_trust, trusted_folders


@pytest.fixture
def project() -> Path:
    """The current folder, with a hook."""
    folder = Path.cwd()
    (folder / ".claude").mkdir()
    (folder / ".claude" / "settings.json").write_text(json.dumps({"hooks": {"Stop": []}}))
    return folder


def test_the_command_trusts_lists_and_takes_back(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = call(capsys, "trust")
    assert f"{project} is trusted" in told.err
    assert "runs now: hooks in .claude/settings.json" in told.err
    assert str(project) in call(capsys, "trust", "--list").out
    assert call(capsys, "trust", "--remove").status == 0
    assert trusted_folders() == []
    missing = call(capsys, "trust", "no-such-folder")
    assert missing.status == 2
    assert "there is no folder" in missing.err


def test_a_trusted_project_may_choose_what_is_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / ".claude-mpm.toml").write_text('plugins = ["json"]\n')
    refused = call(capsys, "orchestrators")
    assert refused.status != 0
    assert f"claude-mpm trust {project}" in refused.err
    set_trust(project, trusted=True)
    assert call(capsys, "orchestrators").status == 0
