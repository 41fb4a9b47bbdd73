"""Claude's transcripts become the journal: every line once, also when the host is killed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from claude_mpm.journal.layout import SessionFolder
from claude_mpm.terminal.transcript_copier import TranscriptCopier

if TYPE_CHECKING:
    from pathlib import Path

OWN = "11111111-1111-4111-8111-111111111111"
NEXT = "22222222-2222-4222-8222-222222222222"
LINES = [json.dumps({"n": n, "text": "ü" * n}) + "\n" for n in range(6)]


class Claude:
    """Writes transcripts as Claude does."""

    def __init__(self, configuration: Path) -> None:
        self.configuration = configuration
        self.project = configuration / "projects" / "-work-project"
        self.project.mkdir(parents=True)

    def writes(self, text: str, conversation: str = OWN, subagent: str = "") -> None:
        path = self.project / f"{conversation}.jsonl"
        if subagent:
            path = path.with_suffix("") / "subagents" / f"agent-{subagent}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as transcript:
            transcript.write(text)


@pytest.fixture
def claude(tmp_path: Path) -> Claude:
    return Claude(tmp_path / "configuration")


@pytest.fixture
def folder(tmp_path: Path) -> SessionFolder:
    folder = SessionFolder(tmp_path / "session")
    folder.create()
    return folder


def _copier(folder: SessionFolder, claude: Claude) -> TranscriptCopier:
    copier = TranscriptCopier(folder, claude.configuration, OWN)
    copier.follow(copier.conversation or OWN)
    return copier


def _copy(copier: TranscriptCopier, *, final: bool = False) -> bool:
    """Copy what is new; return whether there was anything."""
    copied = False
    for piece in copier.read_new(final=final):
        copier.copy(piece)
        copied = True
    return copied


def test_whole_lines_are_copied_and_the_rest_when_it_is_there(
    folder: SessionFolder, claude: Claude
) -> None:
    copier = _copier(folder, claude)
    assert not _copy(copier)  # there is no transcript before the first prompt
    claude.writes(LINES[0] + LINES[1][:5])
    assert _copy(copier)
    assert folder.journal.path.read_text() == LINES[0]
    assert not _copy(copier)
    claude.writes(LINES[1][5:])
    assert _copy(copier)
    assert folder.journal.path.read_text() == LINES[0] + LINES[1]


def test_subagents_and_the_next_conversation_are_copied_too(
    folder: SessionFolder, claude: Claude
) -> None:
    copier = _copier(folder, claude)
    claude.writes(LINES[0])
    claude.writes(LINES[1], subagent="a1")
    _copy(copier)
    copier.follow(NEXT)  # /clear
    claude.writes(LINES[2], NEXT)
    claude.writes(LINES[3])  # and the first is closed with its costs
    _copy(copier, final=True)
    lines = folder.journal.path.read_text().splitlines(keepends=True)
    assert sorted(lines) == LINES[:4]
    assert copier.conversation == NEXT


def test_what_a_subagent_said_stands_before_its_report(
    folder: SessionFolder, claude: Claude
) -> None:
    copier = _copier(folder, claude)
    claude.writes(LINES[0], subagent="a1")
    claude.writes(LINES[1])
    _copy(copier)
    claude.writes(LINES[2])  # the report, written just before what it reports
    _copy(copier)
    claude.writes(LINES[3], subagent="a1")
    _copy(copier)
    assert folder.journal.path.read_text() == LINES[0] + LINES[1] + LINES[3] + LINES[2]


def test_what_other_sessions_wrote_before_is_not_ours(
    folder: SessionFolder, claude: Claude
) -> None:
    claude.writes(LINES[0], NEXT)
    copier = _copier(folder, claude)
    copier.follow(NEXT)  # the person goes on with an older conversation
    claude.writes(LINES[1], NEXT)
    _copy(copier)
    assert folder.journal.path.read_text() == LINES[1]


@pytest.mark.parametrize("written", range(0, 60, 7))
def test_a_host_that_was_killed_in_the_middle_of_a_copy_repeats_nothing(
    folder: SessionFolder, claude: Claude, written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    copier = _copier(folder, claude)
    claude.writes(LINES[0])
    _copy(copier)
    copier.append_line(b'{"type":"host"}')
    claude.writes("".join(LINES[1:]))

    class Killed(Exception):
        pass

    def dies(data: bytes) -> None:
        with folder.journal.path.open("ab") as journal:
            journal.write(data[:written])
        raise Killed

    monkeypatch.setattr(copier, "_append", dies)
    with pytest.raises(Killed):
        _copy(copier)
    after = _copier(folder, claude)
    _copy(after)
    assert folder.journal.path.read_text() == LINES[0] + '{"type":"host"}\n' + "".join(LINES[1:])


def test_a_line_of_many_megabytes_passes(folder: SessionFolder, claude: Claude) -> None:
    long = json.dumps({"text": "x" * (5 << 20)}) + "\n"
    copier = _copier(folder, claude)
    claude.writes(long + LINES[0])
    _copy(copier)
    assert folder.journal.path.read_text() == long + LINES[0]
