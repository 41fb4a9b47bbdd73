"""`claude-mpm doctor --sweep`: ending and removing what nobody sees to any more."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.cli.list_commands import warn
from claude_mpm.cli.output import echo
from claude_mpm.errors import StorageError
from claude_mpm.folders import sweep_temporary
from claude_mpm.journal import orphans
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.journal.lease import SessionLock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.cli.app import App
    from claude_mpm.sessions.store import Store

_PATIENCE = 60.0  # seconds for an answer of a container engine
_LABEL = "claude-mpm.session"


class Swept(msgspec.Struct, frozen=True):
    """What was left of one session.

    Args:
        session: its id.
        what: how much of what, as "processes", "FIFOs", "temporary folders", "files with keys",
            "containers".
    """

    session: str
    what: dict[str, int]


def sweep(store: Store) -> list[Swept]:
    """End what sessions without a host, without a folder or without an end have left.

    A session that somebody follows or starts is left alone, and so is one whose Claude has a host:
    the linger rule ends it.
    """
    found: dict[str, Counter[str]] = {}
    processes = orphans.marked()
    folders = {folder.path: folder for folder in store.sessions()}
    for path in {*folders, *processes}:
        folder = folders.get(path) or SessionFolder(path)
        if path not in folders and path.exists():
            continue  # of another state folder
        try:
            left = _sweep_session(folder, has_processes=path in processes)
        except (StorageError, OSError) as error:  # the others are swept anyway
            warn(folder, error)
            continue
        found.setdefault(path.name, Counter()).update(left)
    for session in _sweep_containers(store):
        found.setdefault(session, Counter())["containers"] += 1
    from claude_mpm.cli.doctor_kubernetes import sweep_pods

    for session in sweep_pods(store):
        found.setdefault(session, Counter())["pods"] += 1
    return [Swept(name, dict(+left)) for name, left in sorted(found.items()) if +left]


def _sweep_session(folder: SessionFolder, *, has_processes: bool) -> Counter[str]:
    left: Counter[str] = Counter()
    if not os.path.lexists(folder.path):
        # In a container, it may well exist.
        if all(map(orphans.sees_our_files, orphans.marked().get(folder.path, ()))):
            left["processes"] = orphans.end(folder.path)
        return left
    fifos = [f for f in (folder.feed, folder.lease, folder.stdin, folder.alive) if f.is_fifo()]
    keeps = has_processes or folder.temporary.exists() or folder.environ.exists()
    if not (fifos or keeps) or folder.link_file.exists():
        return left
    lock = SessionLock(folder)
    if not lock.held:
        return left
    try:
        if folder.has_host() and not folder.host_is_dead():
            return left
        if has_processes:
            left["processes"] = orphans.end(folder.path)
        left["temporary folders"] = int(folder.remove_temporary())
        left["FIFOs"] = len(fifos)
        left["files with keys"] = int(folder.environ.exists())
        folder.note_killed()  # once its traces are gone, nothing else tells of its end
        folder.remove_host()
    finally:
        lock.release()
    return left


def _sweep_containers(store: Store) -> Iterator[str]:
    """Remove containers of sessions of this store that have ended; yield the sessions' ids."""
    engines = {"docker"}
    over = {}
    for folder in store.sessions():
        try:
            folder.check()
            meta = folder.read_meta()
        except StorageError:
            continue  # nobody can tell where it ran; the check of sessions names it
        elsewhere = meta.environment != "docker" or meta.place.get("inside")
        if not elsewhere and folder.has_ended():
            over[meta.session_id] = folder
            engines.add(str(meta.place.get("engine", "docker")))
    for engine in sorted(engines) if over else ():
        for container, session in _containers(engine):
            if session in over:
                _ask(engine, "rm", "--force", container)
                yield session


def _containers(engine: str) -> list[tuple[str, str]]:
    form = '{{.ID}} {{.Label "%s"}}' % _LABEL  # noqa: UP031 - braces are the engine's own
    said = _ask(engine, "ps", "--all", "--filter", f"label={_LABEL}", "--format", form)
    return [(words[0], words[1]) for words in map(str.split, said.splitlines()) if len(words) == 2]


def _ask(engine: str, *words: str) -> str:
    program = shutil.which(engine)
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *words], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:  # all else is swept anyway
        left = f"containers are left: {engine} {words[0]} has not answered for {_PATIENCE:g} s"
        echo(f"claude-mpm: {left}; does its engine work?", err=True)
        return ""
    return done.stdout


def show(app: App) -> None:
    """Sweep, and say what was found."""
    store = app.store()
    try:
        swept = sweep(store)
    finally:
        store.close()
    temporary = sweep_temporary()
    if app.json:
        app.print_json({"swept": swept, "temporary_folders": temporary})
        return
    rows = [(each.session, _said(each.what)) for each in swept]
    if rows:
        app.print_table(("session", "ended and removed"), rows)
    said = [f"{len(rows)} sessions had left something"] if rows else []
    said += [f"{temporary} temporary folders of killed commands are removed"] if temporary else []
    app.note("; ".join(said) or "nothing was left")


def _said(what: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in what.items())
