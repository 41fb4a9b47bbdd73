"""What others may have written is not obeyed, and a damaged session holds up no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from claude_mpm.journal.layout import Container, Meta
from claude_mpm.sessions.store import Store
from command import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder

SOMEBODY = 65534
ACTS = (
    "attach planted", "send planted hello", "stop planted", "stop --all", "resume planted hello",
    "wait planted --timeout 1", "answer planted deny", "doctor --sweep",
)  # fmt: skip
LOOKS = ("ps", "show planted", "logs planted", "questions", "tickets", "doctor")


def run(words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [PROGRAM, *words.split()], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, words
    return done


def plant(tmp_path: Path, marker: Path) -> SessionFolder:
    """Make a session that looks as if it ran, each of whose commands leaves a marker."""
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {marker}\n")
    evil.chmod(0o755)
    folder = Store().folder("planted")
    folder.create()
    folder.write_meta(
        Meta(
            session_id="planted", claude_session_id="planted", orchestrator="docker",
            environment="docker", wire="stream-json", cwd=str(tmp_path), created_at=0.0,
            options={"claude_path": str(evil), "claude_args": ["--x"]},
            place={"image": "x", "network": "none", "engine": str(evil)},
        )
    )  # fmt: skip
    spec = {
        "kind": "shell", "place": "x", "shell": [str(evil)], "far": [str(evil)], "folder": "/x",
        "cwd": "", "host": "x",
    }  # fmt: skip
    folder.link_file.write_text(json.dumps(spec))
    folder.note_container(Container("0" * 64, str(evil)))
    for fifo in (folder.feed, folder.lease):
        fifo.make_fifo()
    return folder


def as_a_link(folder: Path) -> None:
    shutil.move(folder, folder.parents[2] / "elsewhere")
    folder.symlink_to(folder.parents[2] / "elsewhere")


def as_anothers(folder: Path) -> None:
    os.chown(folder, SOMEBODY, SOMEBODY)


def as_anybodys(folder: Path) -> None:
    folder.chmod(0o777)


HOW: dict[Callable[[Path], None], str] = {
    as_a_link: "no session ",
    as_anothers: f"belongs to another user (uid {SOMEBODY})",
    as_anybodys: "can be written by others (mode 0777)",
}


@pytest.mark.parametrize("how", HOW)
def test_a_session_that_others_may_have_written_is_not_obeyed(
    tmp_path: Path, stand_in: Path, how: Callable[[Path], None]
) -> None:
    marker = tmp_path / "marker"
    folder = plant(tmp_path, marker)
    how(folder.path)
    kept = {path: path.lstat() for path in folder.path.rglob("*")}
    for words in (*ACTS, *LOOKS):
        done = run(words)
        assert not marker.exists(), f"`{words}` ran what somebody planted"
        if words in ("stop planted", "stop --all", "resume planted hello"):
            assert HOW[how] in done.stderr, (words, done)
            assert done.returncode or how is as_a_link, (words, done)
    assert {path for path in kept if not os.path.lexists(path)} == set(), "it was swept away"


def test_what_is_planted_would_act_in_a_session_of_ones_own(tmp_path: Path, stand_in: Path) -> None:
    """The test above looks at something: the same files in a folder of this user's act."""
    plant(tmp_path, tmp_path / "marker")
    run("stop planted")
    assert (tmp_path / "marker").exists()


# --- a damaged session and the others ------------------------------------------------------------


def no_record(folder: SessionFolder) -> None:
    folder.meta_file.unlink()


def no_json(folder: SessionFolder) -> None:
    folder.meta_file.write_text("{")


def nested(folder: SessionFolder) -> None:
    folder.meta_file.write_text("[" * 100_000)


def unknown_wire(folder: SessionFolder) -> None:
    text = folder.meta_file.read_text()
    folder.meta_file.write_text(text.replace('"stream-json"', '"../../x"'))


def unknown_orchestrator(folder: SessionFolder) -> None:
    text = folder.meta_file.read_text()
    folder.meta_file.write_text(text.replace('"local"', '"nosuch"'))


def a_folder(folder: SessionFolder) -> None:
    folder.meta_file.unlink()
    folder.meta_file.mkdir()


@pytest.mark.parametrize(
    "damage", [no_record, no_json, nested, unknown_wire, unknown_orchestrator, a_folder]
)
def test_a_damaged_session_is_no_obstacle_to_the_end_of_the_others(
    stand_in: Path, damage: Callable[[SessionFolder], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_MPM_LINGER", "600")  # none ends by itself meanwhile
    for name in ("a", "b", "c"):
        done = run(f"run --detach --session {name} hello")
        assert done.returncode == 0, done
        assert run(f"wait {name} --timeout 55").returncode == 0
    folders = {name: Store().folder(name) for name in ("a", "b", "c")}
    whole = folders["b"].meta_file.read_bytes()
    damage(folders["b"])
    try:
        done = run("stop --all")
        assert done.returncode == 1, done
        assert "session b: " in done.stderr, done
        assert [name for name in "ac" if not folders[name].has_ended()] == []
    finally:
        shutil.rmtree(folders["b"].meta_file, ignore_errors=True)
        folders["b"].write(folders["b"].meta_file, whole)
        run("stop b")
    assert folders["b"].has_ended()
