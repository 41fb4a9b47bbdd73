"""What plays Claude for batches: it starts fast, or its account has a rate limit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import chaos.stand_in

HERE = Path(__file__).parent


def program(folder: Path, name: str, script: Path) -> Path:
    """Make a `claude` of a script."""
    file = folder / name
    file.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "{script}" "$@"\n')
    file.chmod(0o755)
    return file


@pytest.fixture
def fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that starts fast, keeps its conversations, and costs a cent a turn."""
    claude = program(tmp_path, "fast-claude", Path(chaos.stand_in.__file__))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "claude-config"))
    monkeypatch.setenv("CLAUDE_PATH", str(claude))
    return claude


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Claude whose account is refused for two seconds from its first prompt on."""
    claude = program(tmp_path, "limited-claude", HERE / "limited_claude.py")
    monkeypatch.setenv("LIMITED", str(tmp_path / "limit"))
    monkeypatch.setenv("CLAUDE_PATH", str(claude))
    return claude
