"""A conversation in a pod that something befalls, and what is there of it in the end."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from chaos.beside import settled, until
from chaos.evidence import gather
from chaos.figures import Clock
from chaos.kubernetes_world import PATIENCE, VARIABLE, told
from claude_mpm.environments.pod import pod_name
from claude_mpm.errors import MPMError
from claude_mpm.orchestration.factory import create_orchestrator
from claude_mpm.testing.residue import Remains

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.figures import Figures
    from chaos.kubernetes_world import KubernetesWorld
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.testing.faults import Dice

NOT_GONE_ON = "sessions that could not go on"
# Where the record ends in a call of a tool, Claude Code may end the turn without asking the model.
_GIVEN_UP = "a fresh one had nothing to add"
_TO_END = 10.0  # seconds
MUST_NOT = (
    "bytes of the journal that differ here and there", "lost events", "prompts the model never saw",
    "prompts the model saw twice", "prompts with two results", "wrong answers", "tickets missing",
    "repeated tickets", "wrong verdicts", NOT_GONE_ON, "left behind",
)  # fmt: skip


class _Asked(NamedTuple):
    token: str
    turn: Turn


class PodTalk:
    """A conversation in one pod after the other.

    Args:
        world: where it takes place.
        dice: by which it is named.
        figures: where the outcome is noted.
        trouble: what befalls it.
        place: further options of the place.
    """

    def __init__(
        self, world: KubernetesWorld, dice: Dice, figures: Figures, trouble: str, **place: Any
    ) -> None:
        number = dice.number(0, (1 << 128) - 1)
        self.session = f"{number:032x}"
        self.pod = pod_name(self.session)
        self._world = world
        self._figures = figures
        self._where = f"{trouble}, session {self.session}"
        self._place = place
        self._word = f"w{dice.number(0, (1 << 40) - 1):010x}"
        self._asked: list[_Asked] = []
        self._lost = ""  # the token of the prompt whose pod was lost
        self._given_up: set[str] = set()  # the turns that Claude Code did not go on with
        self._claude: MPMOrchestrator | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """End it in any case, and note what keeps it from going on."""
        self._figures.played[self._world.kind] += 1
        try:
            yield
        except (MPMError, TimeoutError, subprocess.CalledProcessError) as error:
            self._figures.found(NOT_GONE_ON, 1, f"{self._where}: {error}")
            self._world.keep = True
        finally:
            self.claude.stop()

    @property
    def claude(self) -> MPMOrchestrator:
        """The orchestrator; a new one is made, and not started, where there is none."""
        if self._claude is None:
            options = {**self._world.options(self.session), **self._place}
            resume = self._world.folder(self.session).meta_file.exists()
            self._claude = create_orchestrator("kubernetes", **options, resume=resume)
        return self._claude

    def start(self) -> None:
        """Start it."""
        clock = Clock()
        self.claude.start_or_raise()
        self._figures.measure("the first pod runs", clock.seconds)

    def start_again(self) -> None:
        """Go on in the next pod, at first with the turn that was lost."""
        clock = Clock()
        self.claude.stop()
        self._claude = None
        self.claude.start_or_raise()
        self._figures.measure("the next pod runs", clock.seconds)
        last = self._asked[-1]
        self._lost = last.token
        again = [turn for turn in self.claude.turns_before if turn.uuid == last.turn.uuid]
        self._figures.found(NOT_GONE_ON, int(not again), f"{self._where}: the turn is forgotten")
        for turn in again:
            self._asked[-1] = _Asked(last.token, turn)
            self._taken_up(turn)

    def _taken_up(self, turn: Turn) -> None:
        """See that a turn that was lost is answered, unless Claude Code itself gives it up."""
        if _GIVEN_UP in turn.wait(PATIENCE).verdict.reason:
            self._given_up.add(turn.uuid)
            self._figures.counts["turns that Claude Code gave up, as a tool was cut off"] += 1
        else:
            self.told(turn)

    # --- what is asked -------------------------------------------------------------------

    def begin(self) -> None:
        """Say the word that is to be remembered, and see that the made-up key has arrived."""
        turn = self._ask(f"my word is {self._word}, count what ${VARIABLE} has")
        self._answered(turn, f"{len(self._world.key)} characters")

    def ask(self, what: str = "tell") -> Turn:
        """Ask for something, and return when the answer, or what is done for it, has begun."""
        turn = self._ask(f"{what} it at length")
        self._world.model.wait_for_request(self._asked[-1].token)
        if what == "tell":
            next(iter(turn))
        return turn

    def _ask(self, text: str) -> Turn:
        token = f"{self.session[:8]}-{len(self._asked)}"
        self._asked.append(_Asked(token, self.claude.ask(f"{token}: {text}")))
        self._figures.counts["prompts"] += 1
        return self._asked[-1].turn

    def told(self, turn: Turn) -> None:
        """Wait for the end of an answer, which must be whole, and know the first word."""
        token = next(each.token for each in self._asked if each.turn is turn)
        self._answered(turn, told(self._word, token), again=token == self._lost)

    def _answered(self, turn: Turn, text: str, *, again: bool = False) -> None:
        verdict = turn.wait(PATIENCE).verdict
        self._verdict(turn, right=verdict.ok)
        if verdict.ok:
            # What was said of a turn before its pod was lost stands before the whole answer.
            is_whole = turn.text.endswith(text) if again else turn.text == text
            wrong = f"{self._where}: {turn.text[-200:]!r} in place of {text[-60:]!r}"
            self._figures.found("wrong answers", int(not is_whole), wrong)

    def lost(self, turn: Turn, because: str, since: Clock) -> None:
        """Wait until a turn is lost, and see that its verdict says why."""
        verdict = turn.wait(PATIENCE).verdict
        self._figures.measure("a lost pod is known", since.seconds)
        said = "; ".join((verdict.reason, *verdict.evidence))
        self._verdict(turn, right=verdict.outcome == "lost" and bool(re.search(because, said)))

    def _verdict(self, turn: Turn, *, right: bool) -> None:
        said = f"{self._where}: {turn.verdict}, {turn.verdict.evidence}"
        self._figures.found("wrong verdicts", int(not right), said)

    # --- what is there in the end ---------------------------------------------------------

    def end(self) -> None:
        """End it, and compare what is there with what was promised."""
        self._compare_journals()
        self.claude.stop()
        before = len(self._figures.problems)
        self._check_prompts()
        self._see_that_nothing_is_left()
        self._world.keep = self._world.keep or len(self._figures.problems) > before

    def _see_that_nothing_is_left(self) -> None:
        """Nothing of it is left on this machine, once its link has had its moment to end."""
        clock = Clock()
        left = settled(Remains(self._world.folder(self.session)).found, _TO_END)
        if not left:
            self._figures.measure("nothing is left after a stop", clock.seconds)
        self._figures.found("left behind", len(left), f"{self._where}: {left}")

    def _compare_journals(self) -> None:
        """Compare the journal here with the one in the pod, once both are still."""
        folder = self._world.folder(self.session)
        spec = json.loads(folder.link_file.read_bytes())
        there = f"{spec['folder']}/exchange/out.jsonl"
        far = b""

        def alike() -> bool:
            nonlocal far
            words = ["kubectl", "exec", self.pod, "--", "cat", there]
            far = subprocess.run(words, capture_output=True, check=False).stdout
            return bool(far) and far == folder.journal.path.read_bytes()[spec["base"] :]

        try:
            until(alike, "", 30.0)
        except TimeoutError:
            here = folder.journal.path.read_bytes()[spec["base"] :]
            differ = sum(a != b for a, b in zip(here, far, strict=False))
            differ += abs(len(here) - len(far))
            self._figures.found(MUST_NOT[0], differ, self._where)
        self._figures.counts["bytes of journals compared"] += len(far)

    def _check_prompts(self) -> None:
        figures, where = self._figures, self._where
        found = gather(self._world, self.session, self._world.path / "none")
        lost = "; ".join(found.lost_events)
        figures.found("lost events", len(found.lost_events), f"{where}: {lost}")
        for asked in self._asked:
            check_prompt(
                self._world,
                figures,
                f"{where}, {asked.token}",
                begin=f"{asked.token}:",
                results=len(found.results.get(asked.turn.uuid, ())),
                most=2 if asked.token == self._lost else 1,
                given_up=asked.turn.uuid in self._given_up,
            )
        told_of = [each for each in self._asked[1:] if each.turn.uuid not in self._given_up]
        done = {f"Do {each.token}" for each in told_of}
        figures.counts["tickets"] += len(found.tickets)
        figures.found("tickets missing", len(done - set(found.tickets)), where)
        figures.found("repeated tickets", len(found.tickets) - len(set(found.tickets)), where)


def check_prompt(
    world: KubernetesWorld,
    figures: Figures,
    where: str,
    *,
    begin: str,
    results: int,
    most: int = 1,
    given_up: bool = False,
) -> None:
    """Note whether the model saw a prompt, and not too often, and whether it has one result.

    Args:
        where: what a problem is reported of.
        begin: how the prompt begins.
        results: how many it has.
        most: how often the model may have seen it.
        given_up: whether Claude Code may have ended its turn without a result.
    """
    requests = (each for each in world.model.requests if not each.is_side)
    seen = sum(each.prompt.startswith(begin) for each in requests)
    figures.found("prompts the model never saw", int(not seen), where)
    figures.found("prompts the model saw twice", max(0, seen - most), where)
    figures.found("prompts with two results", max(0, results - 1), where)
    figures.found(NOT_GONE_ON, int(not results and not given_up), f"{where}: no result")
    figures.counts["prompts answered"] += results
