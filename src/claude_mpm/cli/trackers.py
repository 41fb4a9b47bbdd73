"""`claude-mpm tickets push` and `pull`: tickets in a tracker, once each."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.list_commands import SESSION_OPTION, caught_up, session_id
from claude_mpm.cli.options import common_options
from claude_mpm.cli.output import echo
from claude_mpm.cli.streams import Progress
from claude_mpm.errors import UsageError
from claude_mpm.journal.secrets import redactor_of
from claude_mpm.printable import one_line
from claude_mpm.validation import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from claude_mpm.bridges.trackers import Issue, Ledger, Step, Tracker
    from claude_mpm.records import Ticket
    from claude_mpm.sessions.store import Store

    Command = TypeVar("Command", bound=Callable[..., Any])

_WORDS = {"create": "file", "comment": "comment on", "close": "close", "known": "is filed",
          "left": "left for later"}  # fmt: skip
_DONE = {**_WORDS, "create": "filed", "comment": "commented on", "close": "closed"}

_ENTRY_POINT_GROUP = "claude_mpm.trackers"

_to = click.option(
    "--to", required=True, metavar="TRACKER", help="github:OWNER/REPO, beads, or file:PATH.md."
)


@click.command()
@_to
@SESSION_OPTION
@click.option("--yes", is_flag=True, help="Do it; without this, only say what would be done.")
@click.option(
    "--max",
    "most",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="The most issues to file.",
)
@click.option("--public", is_flag=True, help="Also where strangers can read it.")
@common_options
@click.pass_context
def push(
    context: click.Context, to: str, session: str | None, yes: bool, most: int, public: bool
) -> None:
    """File the open tickets in a tracker, each of them once.

    What is filed has no secrets, and no paths of this machine. A ticket that another session names
    again becomes a comment, once. An issue whose ticket was closed is closed. What dies in between
    files nothing twice: push again.
    """  # fmt: skip
    from claude_mpm.bridges.trackers import ClosingTracker, closings, plan

    app = context.ensure_object(App)
    tracker = tracker_of(to)
    with caught_up(app) as store:
        name = session_id(store, session)
        with _ledger(store, tracker) as ledger:
            filed, said = tracker.filed(), _said(store, name, "open")
            steps = plan(said, ledger, filed, most=most)
            if isinstance(tracker, ClosingTracker):
                everywhere = said if name is None else _said(store, None, "open")
                still_open = {issue.fingerprint for issue, _ in everywhere}
                steps += closings(_said(store, name, "closed"), still_open, ledger, filed)
            if yes and not public and _files(steps) and tracker.is_public():
                raise UsageError(
                    f"strangers can read {to}; look at what would be filed, then say --public"
                )
            _report(app, _done(tracker, ledger, steps) if yes else steps, done=yes)
    if not yes and any(step.what in ("create", "comment", "close") for step in steps):
        app.note("nothing was filed: --yes does it")


@click.command()
@_to
@SESSION_OPTION
@common_options
@click.pass_context
def pull(context: click.Context, to: str, session: str | None) -> None:
    """Close the tickets whose issue is closed in a tracker."""
    from claude_mpm.bridges.trackers import Entry
    from claude_mpm.bridges.trackers import pull as closed_in

    app = context.ensure_object(App)
    tracker = tracker_of(to)
    with caught_up(app) as store, _ledger(store, tracker) as ledger:
        tickets = _issues(store, store.index.tickets(session_id(store, session), "open"))
        found = closed_in(tickets, tracker.filed())
        names = {(ticket.session, ticket.key): issue.fingerprint for issue, ticket in tickets}
        progress = Progress()
        for ticket, number in found:
            name = names[ticket.session, ticket.key]
            # First: who dies in between is to know that it was closed once.
            ledger.write(Entry("closed", name, time.time(), number))
            store.set_ticket_state(ticket, "closed")
            if not app.json:
                with progress.printing():
                    echo(f"{ticket.key} closed, as {number}: {one_line(ticket.title)}")
        progress.finish()
    if app.json:
        app.print_json([{"key": ticket.key, "number": number} for ticket, number in found])
    elif not found:
        app.note("no ticket has been closed there")


def tracker_of(to: str) -> Tracker:
    """Return the tracker that `NAME:TARGET` names.

    Raises:
        UsageError: there is none.
    """
    from importlib.metadata import entry_points

    from claude_mpm.bridges.beads import Beads
    from claude_mpm.bridges.github import GitHub
    from claude_mpm.bridges.markdown_file import MarkdownFile

    name, colon, target = to.partition(":")
    known: dict[str, type[Tracker]] = {"github": GitHub, "beads": Beads, "file": MarkdownFile}
    registered = {entry.name: entry for entry in entry_points(group=_ENTRY_POINT_GROUP)}
    if name in registered and name not in known:
        known[name] = registered[name].load()
    target = target if colon or name not in known else known[name].default_target or ""
    if name not in known or not target:
        near = nearest(name, {**registered, **known}) if name not in known else None
        hint = f"did you mean {near}? " if near else ""
        others = "".join(f", {each}:…" for each in sorted(registered))
        raise UsageError(
            f"no tracker {to!r}; {hint}there are github:OWNER/REPO, beads or beads:FOLDER, and"
            f" file:PATH.md{others}"
        )
    return known[name](target)


def _ledger(store: Store, tracker: Tracker) -> Ledger:
    from claude_mpm.bridges.trackers import Ledger

    return Ledger(store.path / "trackers", tracker.address)


def _issues(store: Store, tickets: Iterable[Ticket]) -> list[tuple[Issue, Ticket]]:
    """Return tickets as trackers get them: without secrets, and without paths of this machine."""
    from claude_mpm.bridges.trackers import issue_of

    known: dict[str, Any] = {}
    issues = []
    for ticket in tickets:
        if ticket.session not in known:
            folder = store.folder(ticket.session)
            meta = folder.read_meta()
            folders = {str(Path(meta.cwd)) + os.sep: "", meta.cwd: "."} if meta.cwd else {}
            home = os.path.expanduser("~")  # noqa: PTH111 -- Path.home() raises without a home
            known[ticket.session] = redactor_of(folder, meta), {**folders, home: "~"}
        issues.append((issue_of(ticket, *known[ticket.session]), ticket))
    return issues


def _said(store: Store, session: str | None, state: str) -> list[tuple[Issue, str]]:
    """Return the tickets in a state as trackers get them, with the session of each."""
    tickets = _issues(store, store.index.tickets(session, state))
    return [(issue, ticket.session) for issue, ticket in tickets]


def _files(steps: Iterable[Step]) -> bool:
    return any(step.what in ("create", "comment") for step in steps)


def _done(tracker: Tracker, ledger: Ledger, steps: list[Step]) -> Iterable[Step]:
    from claude_mpm.bridges.trackers import push as carry_out

    return carry_out(tracker, ledger, steps)


def _report(app: App, steps: Iterable[Step], *, done: bool) -> None:
    """Print each step as it is done, or what would be done, with the text that is filed."""
    words, listed, progress = _DONE if done else _WORDS, [], Progress()
    for step in steps:
        issue = step.issue
        if app.json:
            listed.append({"what": step.what, "number": step.number, **_fields(issue)})
            continue
        with progress.printing():
            echo(f"{words[step.what]} {step.number} {one_line(f'{issue.type}: {issue.title}')}")
            if not done and step.what == "create" and issue.body:
                for line in issue.body.splitlines():
                    echo(f"    {one_line(line)}")
    progress.finish()
    if app.json:
        app.print_json(listed)


def _fields(issue: Issue) -> dict[str, Any]:
    return {"fingerprint": issue.fingerprint, "type": issue.type, "title": issue.title,
            "body": issue.body}  # fmt: skip
