"""Writes a Markdown report of how well the finder of tickets does on the labelled lines."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claude_mpm.processors.ticket_text import TicketFinder

_ROOT = Path(__file__).resolve().parent.parent
_DEFAULT_DATA = _ROOT.parent / "shared" / "data"
_OWN_DATA = _ROOT / "tests" / "data"

Pair = tuple[str, str]


@dataclass
class Score:
    """Counts of tickets: found and expected, found only, expected only."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    def add(self, found: Counter[Pair], expected: Counter[Pair]) -> None:
        """Count one labelled text; a ticket is right if type and title are exactly as expected."""
        self.right += (found & expected).total()
        self.wrong += (found - expected).total()
        self.missed += (expected - found).total()

    @property
    def precision(self) -> float:
        """Share of what was found that is expected."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        """Share of what is expected that was found."""
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0

    def row(self, name: str, cases: int) -> str:
        """Return the row of a Markdown table."""
        return (
            f"| {name} | {cases} | {self.right} | {self.wrong} | {self.missed} "
            f"| {self.precision:.3f} | {self.recall:.3f} |"
        )


@dataclass
class Report:
    """Scores of one file of labelled lines."""

    name: str
    cases: int = 0
    total: Score = field(default_factory=Score)
    tags: defaultdict[str, Score] = field(default_factory=lambda: defaultdict(Score))
    tag_cases: Counter[str] = field(default_factory=Counter)
    misses: list[str] = field(default_factory=list)

    def add(self, case: dict[str, Any], finder: TicketFinder) -> None:
        """Run the finder over one labelled text and count the outcome."""
        found = Counter((ticket.type, ticket.title) for ticket in finder.find(case["text"]))
        expected = Counter((ticket["type"], ticket["title"]) for ticket in case["expected"])
        self.cases += 1
        self.total.add(found, expected)
        for tag in case["tags"]:
            self.tag_cases[tag] += 1
            self.tags[tag].add(found, expected)
        if found != expected:
            self.misses.append(
                f"- `{json.dumps(case['text'], ensure_ascii=False)}`: "
                f"expected {_shown(expected)}, found {_shown(found)}"
            )

    def markdown(self) -> str:
        """Return the section of the report on this file."""
        lines = [
            f"## {self.name}",
            "",
            f"Precision **{self.total.precision:.3f}**, recall **{self.total.recall:.3f}**.",
            "",
            "| tag | texts | right | wrong | missed | precision | recall |",
            "| --- | --: | --: | --: | --: | --: | --: |",
            self.total.row("all", self.cases),
        ]
        lines += [self.tags[tag].row(tag, self.tag_cases[tag]) for tag in sorted(self.tags)]
        lines += ["", "### Misses", "", *(self.misses or ["None."]), ""]
        return "\n".join(lines)


def _shown(tickets: Counter[Pair]) -> str:
    return ", ".join(f"{kind} “{title}”" for kind, title in tickets.elements()) or "nothing"


def read_report(path: Path, finder: TicketFinder) -> Report:
    """Return the scores of the labelled lines in the JSON file `path`."""
    report = Report(path.name)
    for case in json.loads(path.read_text(encoding="utf-8")):
        report.add(case, finder)
    return report


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with labelled_lines.json")
    parser.add_argument("--output", type=Path, help="file to write as well, parents are made")
    parser.add_argument(
        "--bar", type=float, default=0.98, help="precision and recall below it: exit status 1"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Print the report; return 1 if precision or recall is below the bar anywhere."""
    options = _parsed(arguments)
    default = _DEFAULT_DATA if (_DEFAULT_DATA / "labelled_lines.json").is_file() else _OWN_DATA
    given = (options.data or default) / "labelled_lines.json"
    if not given.is_file():
        sys.stderr.write(f"ticket_report: {given} does not exist; name its folder with --data\n")
        return 2
    finder = TicketFinder()
    reports = [read_report(path, finder) for path in (given, _OWN_DATA / "ticket_lines.json")]
    text = "\n".join(["# Tickets found in labelled lines", "", *(r.markdown() for r in reports)])
    print(text)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text, encoding="utf-8")
    scores = [score for r in reports for score in (r.total.precision, r.total.recall)]
    return int(min(scores) < options.bar)


if __name__ == "__main__":
    sys.exit(main())
