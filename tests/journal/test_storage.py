"""Folders are removed at any depth, whatever others do in them meanwhile."""

from __future__ import annotations

import errno
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.journal import storage
from claude_mpm.journal.storage import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Listed = list[tuple[str, bool]]


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[Listed], None]) -> None:
    """Have `act` called with what was listed, before any of it is removed."""
    list_folder: Any = vars(storage)["_entries"]

    def entries(folder: int) -> Listed:
        listed: Listed = list_folder(folder)
        act(listed)
        return listed

    monkeypatch.setattr(storage, "_entries", entries)


def test_what_is_written_meanwhile_is_removed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "top"
    (top / "in").mkdir(parents=True)
    names = iter(("in/late", "late", "in/later"))

    def write(_: Listed) -> None:
        if (top / "in").is_dir() and (name := next(names, None)):
            (top / name).touch()

    meanwhile(monkeypatch, write)
    remove_tree(top)
    assert not top.exists()


def test_what_is_removed_or_replaced_meanwhile_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top, outside = tmp_path / "top", tmp_path / "outside"
    (outside / "kept").mkdir(parents=True)
    for name in ("gone", "linked"):
        (top / name / "in").mkdir(parents=True)
    for name in ("file", "replaced"):
        (top / name).touch()

    def change(listed: Listed) -> None:
        if ("gone", True) in listed and (top / "gone").exists():
            for name in ("gone", "linked"):
                (top / name / "in").rmdir()
                (top / name).rmdir()
            for name in ("file", "replaced"):
                (top / name).unlink()
            (top / "linked").symlink_to(outside)
            (top / "replaced").mkdir()

    meanwhile(monkeypatch, change)
    remove_tree(top)
    assert not top.exists()
    assert (outside / "kept").is_dir()


def test_what_is_written_without_end_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "top"
    top.mkdir()
    names = itertools.count()
    meanwhile(monkeypatch, lambda _: (top / str(next(names))).touch())
    monkeypatch.setattr(storage, "_MAX_PASSES", 5)
    with pytest.raises(OSError, match="not empty") as raised:
        remove_tree(top)
    assert raised.value.errno == errno.ENOTEMPTY
