"""Sessions of other machines for the page: what is known of them, at once."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from claude_mpm.errors import MPMError
from claude_mpm.fleet.elsewhere import last_known, look
from claude_mpm.printable import one_line
from claude_mpm.web.models import ElsewhereList, ElsewhereRow, PlaceView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.fleet.elsewhere import PlaceSeen, SessionElsewhere
    from claude_mpm.fleet.places import Place
    from claude_mpm.sessions.store import Store

_log = logging.getLogger(__name__)
_INTERVAL = 10.0  # seconds between two looks
_PROMPT = 200  # characters of a prompt in the list


class Elsewhere:
    """What places have said last; it belongs to the event loop, and looks in a thread.

    Args:
        store: the sessions of this machine.
        places: where it is looked.
        plugins: modules that register their orchestrators.
    """

    def __init__(self, store: Store, places: Sequence[Place], plugins: Sequence[str]) -> None:
        self._store = store
        self._places = tuple(places)
        self._plugins = tuple(plugins)
        self._seen: list[PlaceSeen] | None = None
        self._look: asyncio.Task[None] | None = None
        self._next = 0.0  # when it is looked again, on the monotonic clock

    async def known(self) -> ElsewhereList:
        """Return what is known, at once; a look begins where the last one is some time ago."""
        if self._seen is None:
            self._seen = await asyncio.to_thread(last_known, self._store, self._places)
        is_idle = self._look is None or self._look.done()
        if self._places and is_idle and time.monotonic() >= self._next:
            self._look = asyncio.create_task(self._look_again())
        looking = self._look is not None and not self._look.done()
        return ElsewhereList(
            places=[_place(each) for each in self._seen],
            sessions=[_row(each) for place in self._seen for each in place.sessions],
            looking=looking,
        )

    async def _look_again(self) -> None:
        try:
            self._seen = await asyncio.to_thread(look, self._store, self._places, self._plugins)
        except (MPMError, OSError) as error:  # what was known stays
            _log.warning("the places are not asked: %s", error)
        finally:
            self._next = time.monotonic() + _INTERVAL


def _place(seen: PlaceSeen) -> PlaceView:
    return PlaceView(
        place=seen.place, seen_at=seen.seen_at, reason=one_line(seen.reason), more=seen.more
    )


def _row(session: SessionElsewhere) -> ElsewhereRow:
    return ElsewhereRow(
        place=session.place,
        session=session.session,
        state=session.state,
        seen_at=session.seen_at,
        created_at=session.created_at,
        cwd=session.cwd,
        cost_usd=session.cost_usd,
        tickets=len(session.tickets),
        permission_requests=len(session.questions),
        prompt=one_line(session.prompt)[:_PROMPT],
        refusal=one_line(session.refusal),
    )
