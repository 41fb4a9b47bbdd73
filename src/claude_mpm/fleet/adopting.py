"""Following a session that another machine has started in a named place."""

from __future__ import annotations

import secrets
import time
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.engine.session_record import as_uuid
from claude_mpm.environments.linked import LinkedHost
from claude_mpm.errors import LaunchError, UsageError
from claude_mpm.fleet.asking import environment_of
from claude_mpm.journal.exchange import NOTE
from claude_mpm.journal.folder_watch import subscribe
from claude_mpm.journal.layout import Meta, Start
from claude_mpm.journal.storage import remove_tree
from claude_mpm.link.far import FarFailed, LinkCut
from claude_mpm.link.link import read_far
from claude_mpm.orchestration.place_settings import recorded, take_place_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.environments.base import Environment
    from claude_mpm.environments.far_sessions import FarSession
    from claude_mpm.fleet.elsewhere import SessionElsewhere
    from claude_mpm.fleet.places import Place
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.link.far import FarState
    from claude_mpm.sessions.store import Store

_PATIENCE = 30.0  # seconds for the link to begin, and then without any new byte of the journal


def adopt(
    place: Place, session: SessionElsewhere, store: Store, plugins: Sequence[str] = ()
) -> SessionFolder:
    """Make a session of another machine one that is followed from here, too.

    Its folder here gets the journal from the first byte on, and a link that keeps it in step. The
    machine that started it goes on as before; what is laid in the place is removed when both have
    read it to its end.

    Args:
        place: where it is.
        plugins: modules that register orchestrators.

    Returns:
        Its folder here, once the journal has come.

    Raises:
        LaunchError: the place does not answer, or lets nobody follow it.
        UsageError: it cannot be followed from another machine.
    """
    if session.refusal:
        raise UsageError(f"session {session.session[:8]} in {session.place}: {session.refusal}")
    environment = environment_of(place, plugins)
    far = next((f for f in environment.far_sessions(0).sessions if f.key == session.key), None)
    if far is None:
        raise LaunchError(f"{place.name}: session {session.session[:8]} is there no more")
    folder = _free_folder(store, far)
    folder.create()
    try:
        state = _lay(folder, place, far, environment)
    except BaseException:
        remove_tree(folder.path)
        raise
    host = LinkedHost(folder)
    host.wait_for_state(_PATIENCE)
    _wait_for_journal(folder, host, state.size)
    return folder


def _free_folder(store: Store, far: FarSession) -> SessionFolder:
    """Return a folder with the name that the session has, or one like it where that is taken."""
    folder = store.folder(far.name)
    while folder.path.exists():
        folder = store.folder(f"{far.name[:100]}.{secrets.token_hex(4)}")
    return folder


def _lay(
    folder: SessionFolder, place: Place, far: FarSession, environment: Environment
) -> FarState:
    """Write the record and the link's file, and return the state that the far side tells by it.

    Raises:
        LaunchError: it tells none.
    """
    folder.prepare_host()
    folder.write_meta(_meta(folder, place, far, environment))
    reader = f"9{secrets.randbelow(10**5):05}"
    folder.place.write(far.state.place.encode()[:NOTE] + b"\n")  # so that it is not begun again
    spec = environment.link_to(far, reader)
    folder.write(folder.link_file, msgspec.json.format(msgspec.json.encode(spec)))
    try:
        with closing(read_far(folder)[0]) as known:
            return known.state()
    except (LinkCut, FarFailed) as error:
        raise LaunchError(str(error)) from error


def _meta(folder: SessionFolder, place: Place, far: FarSession, environment: Environment) -> Meta:
    began = time.time() - (far.age or 0.0)
    return Meta(
        session_id=folder.path.name,
        claude_session_id=as_uuid(far.name),
        orchestrator=place.orchestrator,
        environment=environment.name,
        wire=environment.wire,
        cwd=far.state.facts.get("cwd", ""),
        created_at=began,
        options=place.settings(),
        place=recorded(take_place_settings(type(environment), dict(place.options))),
        starts=[Start(at=began, offset=0)],
    )


def _wait_for_journal(folder: SessionFolder, host: LinkedHost, size: int) -> None:
    """Wait until what was in the far journal is here, or the session has ended.

    Raises:
        LaunchError: nothing comes any more.
    """
    changes = subscribe(folder.exchange)
    came, deadline = -1, 0.0
    try:
        while (here := folder.journal.size()) < size and host.poll() is None:
            if here > came:
                came, deadline = here, time.monotonic() + _PATIENCE
            elif time.monotonic() > deadline:
                raise LaunchError(f"session {folder.path.name}: its journal does not come whole")
            changes.wait(0.5)
    finally:
        changes.close()
