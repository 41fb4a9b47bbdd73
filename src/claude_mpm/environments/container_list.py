"""Containers of sessions that an engine has, whichever state folder they are kept in."""

from __future__ import annotations

import re
import shlex
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.environments.container import LABEL
from claude_mpm.environments.far_sessions import MOST, FarSession, Listed
from claude_mpm.errors import StorageError
from claude_mpm.journal.layout import SessionFolder, is_session_name
from claude_mpm.link.far import FarState
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from claude_mpm.environments.engine import Engine

_FORM = (
    '{"id":{{json .Id}},"runs":{{json .State.Running}},"created":{{json .Created}},'
    f'"session":{{{{json (index .Config.Labels "{LABEL}")}}}},"mounts":{{{{json .Mounts}}}}}}'
)
_ID = re.compile(r"[0-9a-f]{12,64}")


class _Mount(msgspec.Struct, rename="pascal"):
    source: str = ""


class _Container(msgspec.Struct):
    id: str
    runs: bool
    created: str
    session: str
    mounts: list[_Mount] = []


def list_containers(engine: Engine, end: int) -> Listed:
    """Return the sessions whose containers an engine has.

    What is in one is read in the folder that it sees, where this account may.

    Args:
        end: how many bytes of each journal's end are read.

    Raises:
        LaunchError: the engine does not answer.
    """
    which = ("--all", "--quiet", "--no-trunc", "--filter", f"label={LABEL}")
    known = [word for word in engine.run("ps", *which).split() if _ID.fullmatch(word)]
    # One that goes meanwhile is an error of the engine's, and the others are printed.
    printed = engine.quietly("container", "inspect", "--format", _FORM, *known[:MOST])
    found = []
    for line in printed.splitlines() if known else ():
        try:
            container = msgspec.json.decode(line, type=_Container)
        except NOT_JSON:
            continue
        if is_session_name(container.session):
            found.append(_session(container, end))
    return Listed(found, max(0, len(known) - MOST))


def _session(container: _Container, end: int) -> FarSession:
    folders = [Path(m.source) for m in container.mounts if Path(m.source).name == "exchange"]
    folder = SessionFolder(folders[0].parent) if folders else None
    known = _known(folder, end) if folder is not None else None
    state, journal = known or (FarState(), b"")
    if folder is not None and known is not None:
        kept = folder.path.parents[1]
        setting = f"CLAUDE_MPM_STATE_DIR={shlex.quote(str(kept))}"
        refusal = (
            f"it is kept on this machine, in {kept}:"
            f" {setting} claude-mpm attach {container.session[:8]}"
        )
    else:
        refusal = "its folder is another account's, damaged, or on the machine of its engine"
    return FarSession(
        name=container.session,
        key=container.id,
        state=state,
        age=_age(container.created),
        end=journal,
        refusal=refusal,
        word="" if state.size else ("running" if container.runs else "ended"),
    )


def _known(folder: SessionFolder, end: int) -> tuple[FarState, bytes] | None:
    """Return what a folder says; None where it cannot be read, which is no other session's loss."""
    try:
        return _state(folder), _end(folder, end)
    except (OSError, StorageError):
        return None


def _state(folder: SessionFolder) -> FarState:
    status, dead = folder.how_it_ended()
    size, place = folder.journal.size(), folder.stated_place()
    return FarState(exit=status, dead=dead, size=size, place=place)


def _end(folder: SessionFolder, size: int) -> bytes:
    try:
        return folder.journal.read(size, max(0, folder.journal.size() - size))
    except (OSError, StorageError):  # it went meanwhile
        return b""


def _age(created: str) -> float | None:
    try:
        return max(0.0, time.time() - datetime.fromisoformat(created[:19] + "+00:00").timestamp())
    except ValueError:
        return None
