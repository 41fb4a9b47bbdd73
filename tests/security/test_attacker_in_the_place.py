"""What a program in a place writes decides nothing outside: all replaced, every command run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from attacks import (
    ACTS,
    ATTACKS,
    ENDS,
    EXCHANGE,
    LOOKS,
    SEND,
    acts,
    is_unfollowed,
    lay_outside,
    left_alone,
    looks,
    private,
    replace,
)  # fmt: skip
from calls import call
from chaos.world import StandInWorld
from claude_mpm import MPMOrchestrator
from claude_mpm.journal import orphans
from claude_mpm.journal.storage import remove_tree
from claude_mpm.testing.subject import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder

SECONDS = 60.0
# What would be believed, if it lay where it does not.
WRITTEN = (*EXCHANGE, "meta.json", "link.json", "owner", "answers.jsonl")
DEEP = ("exit", "claude")  # these are nested deep, which takes its time; the others become folders
FILES = tuple(name for name in EXCHANGE[:-1] if name not in ("feed", "lease", "stdin", "alive"))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInWorld]:
    with StandInWorld() as world:
        monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(world.state))
        monkeypatch.setenv("CLAUDE_PATH", world.claude())
        for name in ("CLAUDE_CONFIG_DIR", "CLAUDE_CODE_TMPDIR"):
            monkeypatch.setenv(name, world.environ()[name])
        yield world
        for path in list(orphans.marked()):
            if path.is_relative_to(world.path):
                orphans.end(path)
        remove_tree(world.state)  # deeper than the world itself can


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return lay_outside(tmp_path / "outside")


def running(world: StandInWorld) -> SessionFolder:
    """Start a session, and release it."""
    claude = MPMOrchestrator(**world.options("s"))
    claude.start_or_raise()
    assert claude.ask("hello").wait(SECONDS).text
    claude.detach()
    folder = world.folder("s")
    until(lambda: is_unfollowed(folder), "its host does not notice that nobody follows")
    return folder


def ended(world: StandInWorld) -> SessionFolder:
    """Start a session, and end it."""
    with MPMOrchestrator(**world.options("s")) as claude:
        assert claude.ask("hello").wait(SECONDS).text
    return world.folder("s")


def replace_all(folder: SessionFolder, attack: str, outside: Path, but: str = "") -> None:
    for name in WRITTEN:
        if name != but:
            is_shallow = attack == "nested folders" and name not in DEEP
            replace(folder.exchange / name, "a folder" if is_shallow else attack, outside)


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_file_is_replaced_and_every_command_runs(
    world: StandInWorld, outside: Path, capsys: pytest.CaptureFixture[str], attack: str
) -> None:
    folder = running(world)
    before = private(folder)
    replace_all(folder, attack, outside)
    with left_alone(outside):
        for words in LOOKS:
            looks(capsys, *words)
        for words in (*ACTS, SEND):
            acts(*words)
        assert private(folder) == before
        for words in ENDS:
            acts(*words)
    assert folder.path not in orphans.marked(), "Claude runs on"
    until(folder.has_ended, "the session has not ended")


@pytest.mark.timeout(600)  # 70 commands
@pytest.mark.parametrize("attack", ATTACKS)
def test_each_file_alone_is_replaced_in_a_session_that_has_ended(
    world: StandInWorld, outside: Path, capsys: pytest.CaptureFixture[str], attack: str
) -> None:
    folder = ended(world)
    for name in DEEP if attack == "nested folders" else WRITTEN:
        file = folder.exchange / name
        kept = file.read_bytes() if file.exists() else None
        replace(file, attack, outside)
        with left_alone(outside):
            for words in (("ps", "--all"), ("show", "s"), ("doctor", "--json")):
                looks(capsys, *words)
        if attack not in ("other words", "a gigabyte", "nested JSON", "nothing"):
            said = call(capsys, "doctor", "--json").out
            is_damage = name in (FILES if attack == "a FIFO" else EXCHANGE[:-1])
            assert ("was made as" in said) == is_damage, (name, said)
        replace(file, "nothing", outside)
        if kept is not None:
            file.write_bytes(kept)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_damaged_session_is_resumed_or_refused_in_a_line(
    world: StandInWorld, outside: Path, attack: str
) -> None:
    folder = ended(world)
    replace_all(folder, attack, outside, but="out.jsonl")
    with left_alone(outside):
        is_resumed = attack in ("nothing", "other words")
        done = acts("resume", "s", "go on", "--timeout", "60" if is_resumed else "20")
        acts("stop", "s")
    if is_resumed:
        assert done.returncode == 0, done
    assert folder.path not in orphans.marked()
