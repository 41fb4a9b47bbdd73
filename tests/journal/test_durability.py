"""What is on the disk itself when, and what a power cut leaves of a line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from claude_mpm.journal import durability
from claude_mpm.journal.cursor import read_lines
from claude_mpm.journal.durability import JournalSync
from claude_mpm.journal.inbox import Inbox
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.testing.faults import Dice, tear
from claude_mpm.wire import WIRES

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.journal.durability import Durability

LINES = (
    b'{"type":"system","subtype":"init"}\n'
    b'{"type":"assistant","message":{"id":"1","content":[]}}\n'
    b'{"type":"result","subtype":"success","is_error":false}\n'
)


@pytest.fixture
def folder(tmp_path: Path) -> SessionFolder:
    folder = SessionFolder(tmp_path / "session")
    folder.create()
    folder.journal.path.write_bytes(LINES)
    return folder


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes at which a file was brought to the disk."""
    sizes: list[int] = []
    monkeypatch.setattr(durability, "_sync", lambda file: sizes.append(os.fstat(file).st_size))
    return sizes


def read(folder: SessionFolder, sync: JournalSync) -> None:
    for line in read_lines(folder.journal):
        sync(WIRES["stream-json"].decode(line))


@pytest.mark.parametrize(("choice", "times"), [("none", 0), ("turn", 1), ("event", 1)])
def test_a_journal_is_synced_as_often_as_was_chosen(
    folder: SessionFolder, synced: list[int], choice: Durability, times: int
) -> None:
    sync = JournalSync(folder, choice)
    read(folder, sync)
    assert synced == [len(LINES)] * times, "what was read together is synced together"
    with folder.journal.path.open("ab") as journal:
        journal.write(LINES)
    read(folder, sync)
    assert synced == [len(LINES) * n for n in range(1, 2 * times + 1)]
    assert sync.failure is None


def test_a_disk_that_does_not_take_it_is_told_once(
    folder: SessionFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def refuse(file: int) -> None:
        tried.append(file)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(durability, "_sync", refuse)
    sync = JournalSync(folder, "event")
    read(folder, sync)
    assert "Input/output error" in str(sync.failure)
    assert len(tried) == 1


@pytest.mark.parametrize(("durable", "times"), [(False, 0), (True, 2)])
def test_a_prompt_is_on_the_disk_before_claude_hears_of_it_unless_that_is_not_wanted(
    folder: SessionFolder, monkeypatch: pytest.MonkeyPatch, durable: bool, times: int
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    Inbox(folder, durable=durable).put(b"message\n")
    assert len(calls) == times, "the message, and its name"


def test_a_torn_last_line_is_set_apart_from_what_the_next_start_writes(
    folder: SessionFolder,
) -> None:
    assert not folder.end_torn_line()
    whole = list(read_lines(folder.journal))
    tear(folder.journal.path, Dice(4))
    torn = folder.journal.path.read_bytes()
    assert folder.end_torn_line()
    assert folder.journal.path.read_bytes() == torn + b"\n"
    start = folder.journal.size()
    with folder.journal.path.open("ab") as journal:
        journal.write(LINES)
    decode = WIRES["stream-json"].decode
    kinds = [event.kind for line in read_lines(folder.journal) for event in decode(line)]
    assert kinds == ["system", "assistant", "not-json", "system", "assistant", "result"]
    assert [line.data for line in read_lines(folder.journal, start)] == [n.data for n in whole]


def test_an_empty_journal_has_no_torn_line(folder: SessionFolder) -> None:
    folder.journal.path.write_bytes(b"")
    assert not folder.end_torn_line()
    assert folder.journal.path.read_bytes() == b""
