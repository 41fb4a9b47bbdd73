"""What a build of Claude Code can do: the table of facts, and what follows from a version.

The code asks for a fact by its name, never for a version. Each was measured with real builds behind
the scripted model; `docs/claude-versions.md` has the results.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

Version = tuple[int, int, int]
_VERSION = re.compile(r"\s*v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?!\d)")


class Fact(msgspec.Struct, frozen=True):
    """One thing that a build of Claude Code can do.

    Args:
        name: by which the code asks for it.
        since: the release that brought it.
        can: what such a build does, in words that follow "it".
        without: what follows for a session where the build does not; empty where nothing does.
    """

    name: str
    since: Version
    can: str
    without: str = ""


FACTS = (
    Fact(
        "tells_state",
        (2, 1, 139),
        "says when it is idle",
        "does not say when it is idle: a turn ends with its result",
    ),
    Fact("tells_usage", (2, 1, 176), "answers what was used (`get_usage`)"),
    Fact(
        "acknowledges",
        (2, 1, 211),
        "acknowledges each prompt (`command_lifecycle`)",
        "does not acknowledge prompts: nothing can be given again safely",
    ),
    Fact(
        "cancel_queued",
        (2, 1, 222),
        "drops queued prompts at an interrupt (`cancel_queued`)",
        "does not drop queued prompts at an interrupt: one that was sent meanwhile runs before a"
        " stop",
    ),
    Fact("names_prompt", (2, 1, 222), "names in a result the prompt that it answers"),
    Fact(
        "prompt_snapshot",
        (2, 1, 257),
        "takes `--system-prompt-snapshot`; below it, an edited framework counts without",
    ),
    Fact("permission_prompts", (2, 1, 259), "takes `--permission-prompts none`"),
    Fact(
        "numbers_results",
        (2, 1, 275),
        "numbers its results (`result_index`)",
        "does not number its results: one that is lost is not noticed",
    ),
    Fact(
        "idle_means_idle",
        (2, 1, 275),
        "is idle only when its background subagents have handed back; below it, they are counted",
    ),
    Fact(
        "cost_goes_on",
        (2, 1, 277),
        "carries the sum of its costs over a resume; below it, claude-mpm adds them up",
    ),
    Fact(
        "agents_by_file",
        (2, 1, 281),
        "reads `--agents FILE`; below it, agents go with `initialize`",
    ),
    Fact("tells_version", (2, 1, 300), "answers `initialize` with its version"),
)
_BY_NAME = {fact.name: fact for fact in FACTS}
# Without it, after the death of a controller, one prompt's turn has another prompt's answer.
REQUIRED = _BY_NAME["acknowledges"]
FLOOR = REQUIRED.since


class Capabilities(msgspec.Struct, frozen=True):
    """What is known of one build.

    Args:
        version: as the build tells it; empty where nobody knows.
        facts: the names of what it can do.
        source: what that rests on: "version", "probe", or "assumed" where nothing is known.
    """

    version: str = ""
    facts: frozenset[str] = frozenset()
    source: str = "assumed"

    def can(self, name: str) -> bool:
        """Return whether the build can do what a fact of the table names."""
        assert name in _BY_NAME, name
        return name in self.facts

    @property
    def is_fit(self) -> bool:
        """Whether it can be served honestly."""
        return REQUIRED.name in self.facts

    @property
    def missing(self) -> list[Fact]:
        """What it cannot do, oldest first."""
        return [fact for fact in FACTS if fact.name not in self.facts]

    def limits(self) -> str:
        """Return in one line which promises the build cannot keep; empty where it keeps all."""
        told = [fact.without for fact in self.missing if fact.without]
        return f"Claude Code {self.version or 'of an unknown version'} {'; '.join(told)}" * bool(
            told
        )


ALL = frozenset(_BY_NAME)
ASSUMED = Capabilities(facts=ALL)


def parse_version(text: str) -> Version | None:
    """Return the version at the beginning of a text; None where it begins with none."""
    found = _VERSION.match(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def written(version: Version) -> str:
    """Return a version as it is written."""
    return ".".join(map(str, version))


def by_version(text: str) -> Capabilities:
    """Return what the table says of a version; all of it where the text is none."""
    version = parse_version(text)
    if version is None:
        return ASSUMED
    names = (fact.name for fact in FACTS if fact.since <= version)
    return Capabilities(written(version), frozenset(names), "version")


def changes(facts: Iterable[str], version: str) -> list[str]:
    """Return how what was found differs from what the table says of a version, a line each."""
    expected, found = by_version(version).facts, frozenset(facts)
    lost = [
        f"does not do what {version} does: {_BY_NAME[n].can}" for n in _sorted(expected - found)
    ]
    return lost + [
        f"does what {version} does not: {_BY_NAME[n].can}" for n in _sorted(found - expected)
    ]


def _sorted(names: Iterable[str]) -> list[str]:
    known = set(names)
    return [fact.name for fact in FACTS if fact.name in known]
