"""What is left of a session, looked at while it goes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.journal.layout import SessionFolder
from claude_mpm.testing.residue import Remains

if TYPE_CHECKING:
    import pytest


def test_what_goes_while_it_is_looked_at_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SessionFolder(tmp_path / "looked-at")
    folder.create()
    os.mkfifo(folder.feed.path)
    there = [folder.exchange / "draft-that-is-renamed", *folder.exchange.iterdir()]
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(there))
    assert Remains(folder).found() == ["FIFO feed"]


def test_of_a_session_that_was_never_made_nothing_is_left(tmp_path: Path) -> None:
    assert Remains(SessionFolder(tmp_path / "never-made")).found() == []
