"""Whether places answer."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.errors import MPMError
from claude_mpm.fleet.asking import NO_ANSWER, PATIENCE, Question, ask_each, environment_of
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.fleet.asking import Answer
    from claude_mpm.fleet.places import Place


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a place has answered.

    Args:
        seconds: how long that took.
        reason: why it counts as not reached; empty where it has answered.
    """

    place: str
    seconds: float
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether it has answered."""
        return not self.reason


def reach_places(
    places: Sequence[Place], plugins: Sequence[str] = (), *, patience: float | None = None
) -> list[Reached]:
    """Ask all places at the same time, and return what they answered, in their order.

    Args:
        plugins: modules that register their orchestrators.
        patience: seconds after which a place counts as not reached; two by default.
    """
    questions = [Question(place, list(plugins)) for place in places]
    reached = []
    for place, answer in zip(
        places, ask_each("reach", questions, patience or PATIENCE), strict=True
    ):
        reached.append(_reached(place, answer))
    return reached


def _reached(place: Place, answer: Answer) -> Reached:
    reason = answer.reason
    if not reason:
        try:
            return msgspec.json.decode(answer.data, type=Reached)
        except NOT_JSON:  # such as what a plugin has printed
            reason = NO_ANSWER
    return Reached(place=place.name, seconds=answer.seconds, reason=reason)


def reach(place: Place, plugins: Sequence[str] = ()) -> Reached:
    """Ask one place, for as long as that takes."""
    begin = time.monotonic()
    reason = ""
    try:
        environment_of(place, plugins).reach()
    except (MPMError, TypeError, ValueError, OSError) as error:
        reason = str(error).strip() or type(error).__name__
    return Reached(place=place.name, seconds=time.monotonic() - begin, reason=reason)


def main() -> None:
    """Answer the question on standard input."""
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    answer = reach(question.place, question.plugins)
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
