"""What really happened in a session, as its journal says, read without the engine that wrote it."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.sessions.status import prompt_fates
from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.world import World
    from claude_mpm.sessions.delivery import Fate


class Evidence(msgspec.Struct, frozen=True):
    """The traces of one session.

    Args:
        texts: every prompt that was put, by its uuid.
        results: where in the journal each prompt has results without an error.
        ran: how often the command of each turn ran.
        torn: lines of the journal that are none.
        tickets: the titles of the tickets in the index.
        lost_events: what the index has and one that is rebuilt has not, or the reverse.
        fates: what the engine says has become of each prompt.
        verdicts: every verdict on each prompt, with how long the journal was then.
    """

    texts: dict[str, str]
    results: dict[str, list[int]]
    ran: Counter[str]
    torn: int
    tickets: list[str]
    lost_events: list[str]
    fates: dict[str, Fate]
    verdicts: dict[str, list[tuple[str, int]]]


def gather(world: World, session: str, verdicts: Path) -> Evidence:
    """Look at all that a session has left."""
    folder = world.folder(session)
    events, torn = _events(folder.journal.path)
    results: dict[str, list[int]] = {}
    for offset, event in events:
        if event["type"] == "result" and not event["is_error"]:
            for prompt in event.get("user_message_uuids") or ():
                results.setdefault(prompt, []).append(offset)
    ran = world.cwd(session) / "ran"
    store = Store(world.state)
    try:
        store.catch_up(folder)
        before = _indexed(store, session)
        tickets = [ticket.title for ticket in store.index.tickets(session)]
        fates = {prompt.uuid: fate for prompt, fate in prompt_fates(folder, store.index)}
        store.index.forget(session)
        store.catch_up(folder)
        again = _indexed(store, session)
        lost = [f"only before: {each.decode()}" for each in (before - again).elements()]
        lost += [f"only again: {each.decode()}" for each in (again - before).elements()]
    finally:
        store.close()
    return Evidence(
        texts=_texts(folder.inbox),
        results=results,
        ran=Counter(ran.read_text().split() if ran.exists() else ()),
        torn=torn,
        tickets=tickets,
        lost_events=lost,
        fates=fates,
        verdicts=_verdicts(verdicts),
    )


def _events(journal: Path) -> tuple[list[tuple[int, dict[str, Any]]], int]:
    events, torn, offset = [], 0, 0
    for line in journal.read_bytes().splitlines(keepends=True):
        try:
            events.append((offset, json.loads(line)))
        except ValueError:
            torn += bool(line.strip())
        offset += len(line)
    return events, torn


def _texts(inbox: Path) -> dict[str, str]:
    texts = {}
    for file in sorted(inbox.iterdir()):
        message = json.loads(file.read_bytes())
        if message["type"] == "user":
            texts[message["uuid"]] = message["message"]["content"]
    return texts


def _indexed(store: Store, session: str) -> Counter[bytes]:
    index = store.index
    found: list[msgspec.Struct] = [
        *index.tickets(session),
        *index.delegations(session),
        *index.turns(session),
    ]
    position = index.position(session)
    # A sum of the same costs depends on how many are added at once, in its last digit.
    cost = round(position.cost_usd, 9)
    found.append(msgspec.structs.replace(position, cost_usd=cost))
    return Counter(map(msgspec.json.encode, found))


def _verdicts(file: Path) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    for line in file.read_bytes().splitlines() if file.exists() else ():
        note = json.loads(line)
        found.setdefault(note["uuid"], []).append((note["outcome"], note["size"]))
    return found
