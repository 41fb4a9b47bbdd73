"""Answering a question of a session that somebody else follows, or nobody."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from claude_mpm.conversation.question import Question

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.engine.live_session import LiveSession


@contextmanager
def reach(live: LiveSession) -> Iterator[list[Question]]:
    """Hold a session's Claude meanwhile, and give the questions that it waits with.

    Prompts that others left undelivered are not given to Claude: that is for whoever follows.

    Raises:
        MPMError: the session has ended, or cannot be reached.
    """
    from claude_mpm.sessions.status import read_status

    folder = live.folder
    try:
        live.rejoin()
        live.attach(folder.journal.size())
        live.store.catch_up(folder)
        asked = read_status(folder, live.store.index).questions
        yield [Question(each.request_id, each.request, live) for each in asked]
    finally:
        live.release()
