"""What a build of Claude Code can do: the table of facts, and what follows from a version.

The code asks for a fact by its name, never for a version. Each was measured with real builds behind
the scripted model; `docs/claude-versions.md` has the results.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.patterns import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable

Version = tuple[int, int, int]
_VERSION = lazy_pattern(r"\s*v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?!\d)")


class Fact(msgspec.Struct, frozen=True):
    """One thing that a build of Claude Code can do.

    Args:
        name: by which the code asks for it.
        since: the release that brought it.
        can: what such a build does, in words that follow "it".
        instead: what is done where the build does not.
        without: the promise that is not kept then, in words that follow the build's name; empty
            where all are.
        lost: the same, of a newer build that does it no longer; empty where it is as `without`.
    """

    name: str
    since: Version
    can: str
    instead: str = ""
    without: str = ""
    lost: str = ""


FACTS = (
    Fact(
        "tells_state",
        (2, 1, 139),
        "says when it is idle (`session_state_changed`)",
        "a turn ends with its result",
        "does not say when it is idle, so a turn ends with its result",
    ),
    Fact(
        "tells_usage",
        (2, 1, 176),
        "answers what was used (`get_usage`)",
        "budgets count the tokens of messages",
        "does not answer what was used, so a budget in dollars counts at the end of a turn",
    ),
    Fact(
        "acknowledges",
        (2, 1, 211),
        "acknowledges each prompt (`command_lifecycle`)",
        "it is refused",
        "does not acknowledge prompts, so none can be given again safely",
    ),
    Fact(
        "cancel_queued",
        (2, 1, 222),
        "drops queued prompts at an interrupt (`cancel_queued`)",
        "they run",
        "does not drop queued prompts at an interrupt, so one that was sent meanwhile runs first",
    ),
    Fact(
        "names_prompt",
        (2, 1, 222),
        "names in a result the prompt that it answers (`user_message_uuid`)",
        "the acknowledgement tells",
    ),
    Fact(
        "tells_refusals",
        (2, 1, 235),
        "says at once which tool it refuses (`permission_denied`)",
        "the end of the turn says it",
    ),
    Fact(
        "tells_nested",
        (2, 1, 235),
        "tells what the subagents of subagents say",
        "",
        "does not tell what the subagents of subagents say, so their tickets are not found",
    ),
    Fact(
        "writes_costs",
        (2, 1, 247),
        "writes down what a conversation on the terminal cost (`cost-state`)",
        "it counts as nothing",
        "does not write down what a conversation on the terminal cost, which counts as nothing",
    ),
    Fact(
        "prompt_snapshot",
        (2, 1, 257),
        "takes `--system-prompt-snapshot off`",
        "an edited framework counts at a resume without it, up to 2.1.274",
        lost="no longer takes `--system-prompt-snapshot`, so an edited framework may have no effect"
        " on a conversation that is resumed",
    ),
    Fact(
        "names_ended",
        (2, 1, 257),
        "names the prompt also in the result of a turn that was ended",
        "the verdict alone knows why it was ended",
        "does not name the prompt of a turn that was ended, so its record does not say which limit"
        " ended it",
    ),
    Fact(
        "tells_skills",
        (2, 1, 257),
        "tells what a skill with a context of its own says",
        "",
        "does not tell what a skill with a context of its own says, so its tickets are not found",
    ),
    Fact(
        "permission_prompts",
        (2, 1, 259),
        "takes `--permission-prompts none`",
        "it refuses what would ask, in other words",
    ),
    Fact(
        "numbers_results",
        (2, 1, 275),
        "numbers its results (`result_index`)",
        "nobody notices one that is lost",
        "does not number its results, so one that is lost is not noticed",
    ),
    Fact(
        "counts_rules",
        (2, 1, 275),
        "counts in a result what a rule refused",
        "",
        "does not say that a rule refused a tool",
    ),
    Fact(
        "names_commands",
        (2, 1, 275),
        "names the command of its own that a prompt was (`local_command`)",
        "",
        "does not say that a prompt was a command of its own",
    ),
    Fact(
        "idle_means_idle",
        (2, 1, 275),
        "is idle only when its background subagents have handed back",
        "claude-mpm waits for them",
    ),
    Fact(
        "cost_goes_on",
        (2, 1, 277),
        "carries the sum of its costs over a resume",
        "claude-mpm asks for the sum at the resume",
    ),
    Fact(
        "agents_by_file",
        (2, 1, 281),
        "reads `--agents FILE`",
        "agents go with `initialize`",
    ),
    Fact(
        "verbatim",
        (2, 1, 281),
        "takes a prompt as it is, with its agents and skills beside it (`client_composed`)",
        "it is given as typed; between 2.1.248 and 2.1.280, the model would not be told of agents",
        "takes a prompt that begins with / for a command, and @FILE in one for the file",
    ),
    Fact(
        "tells_overrides",
        (2, 1, 283),
        "says that it overrode a hook",
        "",
        "does not say that it overrode a hook",
    ),
    Fact(
        "tells_version",
        (2, 1, 300),
        "answers `initialize` with its version",
        "it is asked, or tells it with its first turn",
    ),
    Fact(
        "tells_rules",
        (2, 1, 307),
        "says at once which tool a rule refuses (`tool_result_meta`)",
        "the end of the turn says it",
    ),
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

    def less(self, names: frozenset[str]) -> Capabilities:
        """Return the same without some facts, for what is not to be made use of."""
        return msgspec.structs.replace(self, facts=self.facts - names)

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
        version = parse_version(self.version)
        told: list[str] = []
        for fact in self.missing:
            is_lost = version is not None and version >= fact.since
            said = (fact.lost if is_lost else "") or fact.without
            told += [said] if said else []
        name = f"Claude Code {self.version or 'of an unknown version'}"
        return f"{name} {'; it '.join(told)}" if told else ""


ALL = frozenset(_BY_NAME)
ASSUMED = Capabilities(facts=ALL)


def parse_version(text: str) -> Version | None:
    """Return the version at the beginning of a text; None where it begins with none."""
    found = _VERSION.match(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def written(version: Version) -> str:
    """Return a version as it is written."""
    return ".".join(map(str, version))


@lru_cache(maxsize=16)  # the sessions of a process share it: mostly, one version is installed
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
    table = {"lacks": expected - found, "has": found - expected}
    return [
        f"{verb}, other than {version}: it {fact.can}"
        for verb, names in table.items()
        for fact in FACTS
        if fact.name in names
    ]
