"""`--on PLACE` and `--everywhere` of the commands that look: sessions of other machines, too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from claude_mpm.cli.output import age
from claude_mpm.cli.session_arg import pick_session
from claude_mpm.errors import UnknownSession, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from claude_mpm.cli.app import App
    from claude_mpm.fleet.elsewhere import PlaceSeen, SessionElsewhere
    from claude_mpm.fleet.places import Place
    from claude_mpm.journal.layout import Meta, SessionFolder
    from claude_mpm.sessions.store import Store

everywhere_option = click.option(
    "--everywhere", is_flag=True, help="Also those of other machines, in all named places."
)


def asked_places(app: App, *, everywhere: bool) -> list[Place] | None:
    """Return the places to look in; None where the command line names none.

    It is called first: the settings would take a place for the one that Claude is to run in.

    Raises:
        UsageError: there is no such place, or both flags are given.
    """
    from claude_mpm.fleet.places import choose_places
    from claude_mpm.orchestration.factory import load_plugins

    named = app.take_places()
    if named and everywhere:
        raise UsageError("say --on PLACE or --everywhere, not both")
    if not named and not everywhere:
        return None
    if named:
        load_plugins(app.settings.plugins)
        return choose_places(named, app.settings.places)
    if not app.settings.places:
        raise UsageError("no place has a name yet; add [places.NAME] to your settings.toml")
    return named_places(app)


def named_places(app: App) -> list[Place]:
    """Return all places of the settings, whose orchestrators are registered then."""
    from claude_mpm.fleet.places import find_place
    from claude_mpm.orchestration.factory import load_plugins

    known = app.settings.places
    load_plugins(app.settings.plugins if known else ())
    return [find_place(name, known) for name in known]


def look_in(app: App, store: Store, places: Sequence[Place], *, end: int = 0) -> list[PlaceSeen]:
    """Ask places for the sessions of other machines; those that do not answer are named.

    Args:
        end: how many bytes of each journal's end are read; 0 for as much as a glance needs.
    """
    from claude_mpm.fleet.elsewhere import GLANCE, look

    seen = look(store, places, app.settings.plugins, end=end or GLANCE)
    for each in seen:
        if each.reason:
            known = "nothing is known of it"
            if each.seen_at is not None:
                known = f"what is listed of it is {age(time.time() - each.seen_at)} old"
            app.print_error(f"place {each.place} does not answer: {each.reason}; {known}")
        elif each.more:
            app.print_error(f"place {each.place}: {each.more} older sessions are not listed")
    return seen


def place_of(meta: Meta, places: Sequence[Place]) -> str | None:
    """Return the name of the place in which a session of this machine was started, if any is it."""
    from claude_mpm.orchestration.place_settings import recorded

    for place in places:
        options = recorded(place.arguments())
        if meta.orchestrator == place.orchestrator and all(
            meta.place.get(name) == value for name, value in options.items() if name in meta.place
        ):
            return place.name
    return None


def pick_anywhere(
    app: App, store: Store, prefix: str | None, places: Sequence[Place] | None
) -> SessionFolder:
    """Return a session of this machine, or of another one, which is then followed from here.

    Args:
        places: as `asked_places` returns them, before anything else of the app is used; without
            any, this is as `pick_session`.

    Raises:
        UnknownSession: there is none, or several.
        MPMError: it cannot be followed from here.
    """
    if places is None:
        return pick_session(store, prefix)
    if prefix is None:
        raise UsageError("name the session: claude-mpm ps --everywhere lists them")
    if store.named(prefix):
        return store.find(prefix)
    return bring(app, store, places, _only(prefix, look_in(app, store, places)))


def _only(prefix: str, seen: Sequence[PlaceSeen]) -> SessionElsewhere:
    """Return the session of another machine whose id is, or alone begins with, `prefix`.

    Raises:
        UnknownSession: there is none, or several.
    """
    found = [each for each in sessions_of(seen) if prefix and each.session.startswith(prefix)]
    found = [each for each in found if each.session == prefix] or found
    if not found:
        places = ", ".join(each.place for each in seen)
        raise UnknownSession(f"no session {prefix!r} here, nor in {places}")
    if len(found) > 1:
        several = ", ".join(f"{each.session[:8]} in {each.place}" for each in found[:5])
        raise UnknownSession(f"{len(found)} sessions begin with {prefix!r}: {several}")
    return found[0]


def bring(
    app: App, store: Store, places: Sequence[Place], session: SessionElsewhere
) -> SessionFolder:
    """Follow a session of another machine from here, and return its folder.

    Raises:
        MPMError: that cannot be.
    """
    from claude_mpm.fleet.adopting import adopt

    (place,) = [each for each in places if each.name == session.place]
    folder = adopt(place, session, store, app.settings.plugins)
    app.note(f"session {folder.path.name[:8]} in {place.name} is followed from here, too", dim=True)
    return folder


def sessions_of(seen: Sequence[PlaceSeen]) -> Iterator[SessionElsewhere]:
    """Yield the sessions of other machines in all places."""
    for place in seen:
        yield from place.sessions


def silent_places(seen: Sequence[PlaceSeen]) -> list[dict[str, Any]]:
    """Return the places that have not answered, as the commands print them with `--json`."""
    return [
        {"place": each.place, "reason": each.reason, "seen_at": each.seen_at}
        for each in seen
        if each.reason
    ]
