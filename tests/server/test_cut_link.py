"""A link that is cut again and again: what arrives is the server's journal, byte for byte, once."""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING

from claude_mpm.journal.layout import SessionFolder
from claude_mpm.testing import Stall
from claude_mpm.testing.cut_proxy import CutProxy
from claude_mpm.testing.subject import until
from command import SECONDS, said_in

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from claude_mpm.testing import ScriptedModel
    from served import Served

CUTS = 200
LINES = 150_000
COUNTING = f'n=0; while [ "$n" -lt {LINES} ]; do echo "line $n of a long answer"; n=$((n+1)); done'
# A shell would read its lines byte by byte.
COUNTING_BYTES = f"""exec {sys.executable} -c '
import sys
for line in sys.stdin: print(len(line) - 1, flush=True)'"""


class Cutter:
    """Says how much each connection may carry: everything, until `begin`.

    Args:
        amounts: of the connections from then on, in bytes; those after them carry everything.
    """

    def __init__(self, amounts: Iterable[int]) -> None:
        self._amounts = iter(amounts)
        self._begun = False

    def __call__(self) -> int | None:
        return next(self._amounts, None) if self._begun else None

    def begin(self, proxy: CutProxy) -> None:
        self._begun = True
        proxy.cut()


def random_amounts(smallest: int, largest: int) -> Iterable[int]:
    dice = random.Random(20261122)
    return (dice.randrange(smallest, largest) for _ in range(2 * CUTS))


def address_of(proxy: CutProxy) -> str:
    return "{}:{}".format(*proxy.address)


def near_and_far(served: Served, state: Path) -> tuple[SessionFolder, SessionFolder]:
    (near,) = (state / "sessions").iterdir()
    (far,) = served.sessions()
    return SessionFolder(near), SessionFolder(far)


def is_whole(near: SessionFolder, far: SessionFolder) -> bool:
    return near.journal.size() >= far.journal.size() > 0


def test_a_long_answer_over_a_link_that_is_cut_200_times(served: Served, tmp_path: Path) -> None:
    served.start("--anonymous")
    cutter = Cutter(random_amounts(5_000, 20_000))
    with (
        CutProxy(("127.0.0.1", served.port), cutter) as proxy,
        served.program(f"read -r go; {COUNTING}; cat", address_of(proxy), linger=SECONDS) as claude,
    ):
        near, far = near_and_far(served, tmp_path / "near")
        cutter.begin(proxy)
        claude.send_input("go")
        lines = [claude.get_output(SECONDS) for _ in range(LINES)]
        assert proxy.cuts >= CUTS
        until(lambda: is_whole(near, far), "the journal is not whole")
        assert near.journal.path.read_bytes() == far.journal.path.read_bytes()
        assert claude.get_output(0) is None, "something came twice"
        assert far.exit_status() is None, "a cut link ended the session"
    assert lines == [f"line {n} of a long answer" for n in range(LINES)]


def test_the_real_claude_never_notices_that_its_link_is_cut_200_times(
    served: Served, model: ScriptedModel, tmp_path: Path
) -> None:
    served.start("--anonymous")
    answer = "\n".join(f"Zeile {n} → einer langen Antwort, mit «Ünïcödé»." for n in range(20_000))
    model.on("at length", answer, Stall(), "\nThe end.")
    cutter = Cutter(random_amounts(4_500, 12_000))
    with (
        CutProxy(("127.0.0.1", served.port), cutter) as proxy,
        served.claude(
            address_of(proxy),
            environ=model.environment(tmp_path / "near-home"),
            linger=SECONDS,
            partial=True,
        ) as claude,
    ):
        near, far = near_and_far(served, tmp_path / "near")
        cutter.begin(proxy)
        turn = claude.ask("Speak at length.")
        assert proxy.wait_for_cuts(CUTS, 4 * SECONDS), f"{proxy.cuts} cuts"
        model.release()
        assert turn.wait(4 * SECONDS).text == f"{answer}\nThe end."
        assert turn.verdict.ok
        until(lambda: is_whole(near, far), "the journal is not whole")
        assert near.journal.path.read_bytes() == far.journal.path.read_bytes()
        assert said_in(near) == f"{answer}\nThe end.\n"
        assert claude.ask("And now?").text == "Claude heard: And now?"
    assert [request.prompt for request in model.requests] == ["Speak at length.", "And now?"]


def test_a_long_prompt_arrives_once_over_a_link_that_is_cut(served: Served) -> None:
    served.start("--anonymous")
    size = 6 << 20
    prompt = os.urandom(size // 2).hex()
    cutter = Cutter([100_000, 1_000_000, 8_000_000, 8_000_000])
    with (
        CutProxy(("127.0.0.1", served.port), cutter) as proxy,
        served.program(COUNTING_BYTES, address_of(proxy)) as claude,
    ):
        cutter.begin(proxy)
        for text in (prompt, "short", prompt[:-1]):
            claude.send_input(text)
        found = [claude.get_output(SECONDS) for _ in range(3)]
        assert claude.get_output(0.1) is None
        assert proxy.cuts > 1
    assert found == [str(size), "5", str(size - 1)]
