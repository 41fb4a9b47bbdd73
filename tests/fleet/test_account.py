"""One refusal parks an account, and its sessions return one after another."""

from __future__ import annotations

import asyncio
import time

from claude_mpm.fleet.account import UNTOLD, Account

SECONDS = 60.0


def test_nobody_waits_where_nothing_was_refused() -> None:
    async def enter() -> None:
        await asyncio.wait_for(Account().enter("a"), SECONDS)

    asyncio.run(enter())


def test_a_refusal_without_a_moment_parks_for_a_while() -> None:
    async def park() -> float:
        return Account().park(None)

    assert 0 < asyncio.run(park()) - time.time() <= UNTOLD


def test_they_return_one_after_another() -> None:
    entered: list[int] = []

    async def session(account: Account, number: int) -> None:
        await account.enter(number)
        entered.append(number)

    async def scenario() -> list[list[int]]:
        account, seen = Account(), []
        lifted = account.park(time.time() + 0.3)
        sessions = [asyncio.create_task(session(account, n)) for n in range(3)]
        await asyncio.wait(sessions, return_when=asyncio.FIRST_COMPLETED)
        assert time.time() >= lifted
        for number in range(3):
            await asyncio.wait([sessions[number]], timeout=SECONDS)
            seen.append(list(entered))
            account.heard(number)
        return seen

    assert asyncio.run(scenario()) == [[0], [0, 1], [0, 1, 2]]


def test_who_is_refused_again_parks_those_behind_it() -> None:
    async def scenario() -> bool:
        account = Account()
        account.park(time.time() + 0.05)
        await account.enter("first")
        account.park(time.time() + 60)
        account.heard("first")
        behind = asyncio.create_task(account.enter("second"))
        done, _ = await asyncio.wait([behind], timeout=0.3)
        behind.cancel()
        await asyncio.wait([behind])
        return not done

    assert asyncio.run(scenario())
