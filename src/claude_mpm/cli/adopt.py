"""`claude-mpm adopt`: conversations that were held without it become part of the record."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.options import common_options
from claude_mpm.cli.output import echo, echo_answer
from claude_mpm.cli.turn_view import count
from claude_mpm.errors import MPMError, StorageError, UsageError
from claude_mpm.printable import one_line

if TYPE_CHECKING:
    from claude_mpm.bridges.adopt import AdoptableConversation
    from claude_mpm.cli.session_view import SessionRow
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.sessions.store import Store
    from claude_mpm.wire.text_lines import LineAssembler

_LOOK = 1.0  # seconds after which it is looked whether Claude still runs


@click.command()
@click.argument("transcripts", nargs=-1, metavar="[TRANSCRIPT]...")
@click.option("--all", "all_", is_flag=True, help="Those of every project, not of this one alone.")
@click.option("-f", "--follow", is_flag=True, help="Follow one as it is written, to Claude's end.")
@common_options
@click.pass_context
def adopt(context: click.Context, transcripts: tuple[str, ...], all_: bool, follow: bool) -> None:
    """Take conversations of a Claude that you started yourself into the record.

    TRANSCRIPT is a file, or the id of a conversation. Without one, all conversations of the
    current folder are taken. What was taken before is brought up to date.
    """
    from claude_mpm.terminal.claude_config import configuration_folder

    app = context.ensure_object(App)
    if all_ and transcripts:
        raise UsageError("name transcripts or say --all, not both")
    configuration = configuration_folder(os.environ)
    if transcripts:
        chosen, unread = [_named(configuration, name) for name in transcripts], False
    else:
        chosen, unread = _found(configuration, all_=all_)
    if follow and len(chosen) != 1:
        raise UsageError(f"--follow is for one conversation, not for {len(chosen)}; name it")
    with closing(app.store()) as store:
        rows, failed = _adopt_all(app, store, chosen, configuration)
        _show(app, rows)
        if follow and rows:
            _follow(store, chosen[0], configuration)
    context.exit(1 if failed or unread else 0)


def _found(configuration: Path, *, all_: bool) -> tuple[list[AdoptableConversation], bool]:
    """Return the conversations of the current folder, or all, and whether one cannot be read."""
    from claude_mpm.bridges.adopt import find_transcripts, read_conversation

    here, found, unread = os.path.realpath(os.curdir), [], False
    for path in find_transcripts(configuration):
        try:
            each = read_conversation(path)
        except StorageError as error:  # it keeps no other from being taken
            unread = True
            echo(f"claude-mpm: {one_line(error)}", err=True)
            continue
        if each is not None and (all_ or os.path.realpath(each.cwd) == here):
            found.append(each)
    return found, unread


def _named(configuration: Path, name: str) -> AdoptableConversation:
    """Return the conversation of a file, or with an id.

    Raises:
        UsageError: there is none.
    """
    from claude_mpm.bridges.adopt import read_conversation

    path = Path(name)
    if not os.path.lexists(path):
        path = next(configuration.glob(f"projects/*/{_plain(name)}.jsonl"), path)
    conversation = read_conversation(Path(os.path.normpath(path.absolute())))
    if conversation is None:
        raise UsageError(f"{name} is no transcript of Claude Code's, and no conversation of it")
    return conversation


def _plain(name: str) -> str:
    """Return a name that matches nothing but itself."""
    return "".join(letter for letter in name if letter.isalnum() or letter == "-")


def _adopt_all(
    app: App, store: Store, chosen: list[AdoptableConversation], configuration: Path
) -> tuple[list[SessionRow], bool]:
    """Take conversations; one that cannot be taken keeps no other from it."""
    from claude_mpm.bridges.adopt import adopt as take
    from claude_mpm.bridges.adopt import held_conversations
    from claude_mpm.cli.session_view import read_row

    rows, failed, held = [], False, held_conversations(store)
    for conversation in chosen:
        try:
            folder = take(store, conversation, configuration, held)
            if folder is not None:
                rows.append(read_row(store, folder))
        except (MPMError, OSError) as error:
            failed = True
            echo(f"claude-mpm: {one_line(f'{conversation.path}: {error}')}", err=True)
    if len(rows) < len(chosen) and not failed:
        ours = count(len(chosen) - len(rows), "conversation")
        app.note(f"{ours} left out: claude-mpm has held it, so it is in the record")
    return rows, failed


def _show(app: App, rows: list[SessionRow]) -> None:
    from claude_mpm.cli.session_view import COLUMNS, cells

    if app.json:
        app.print_json(rows)
    elif rows:
        app.print_table(COLUMNS, map(cells, rows))
    else:
        app.note("there is no conversation to take; --all looks in every project")


def _follow(store: Store, conversation: AdoptableConversation, configuration: Path) -> None:
    """Copy what comes and print what Claude says, as long as a Claude holds the conversation."""
    from claude_mpm.bridges.adopt import adopt as take
    from claude_mpm.bridges.adopt import is_running
    from claude_mpm.journal.folder_watch import subscribe
    from claude_mpm.wire.text_lines import LineAssembler

    folder = store.folder(conversation.id)
    shown, assembler = folder.journal.size(), LineAssembler()
    with closing(subscribe(conversation.path.parent)) as changes:
        runs = True
        while runs:
            runs = is_running(conversation, configuration)
            if runs:
                changes.wait(_LOOK)
            try:
                take(store, conversation, configuration)
            except OSError as error:
                raise StorageError(
                    f"the transcript {conversation.path} cannot be copied: {error.strerror}; mend"
                    " it and follow it again: what was copied stays"
                ) from error
            shown = _print_new(store, folder, shown, assembler)


def _print_new(store: Store, folder: SessionFolder, shown: int, assembler: LineAssembler) -> int:
    """Print what was said behind a byte of the journal; return where it ends."""
    from claude_mpm.sessions.reader import read_events

    for event in read_events(folder, store.index, since=shown):
        for line in assembler.feed(event):
            echo_answer(line)
        shown = max(shown, event.end)
    return shown
