"""Writes a Markdown report of how well tickets are found in labelled lines and in whole texts."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claude_mpm.processors.file_scan import scan_file

_ROOT = Path(__file__).resolve().parent.parent
_DEFAULT_DATA = _ROOT.parent / "shared" / "data"
_OWN_DATA = _ROOT / "tests" / "data"
# What precision and recall must reach on whole texts, by their kind.
_TEXTS = "ticket_texts.json"
_TEXT_BARS = {"answer": (0.95, 0.95)}
_OTHER_TEXT_BARS = (0.9, 0.95)

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

    def add(self, case: dict[str, Any]) -> None:
        """Scan one labelled text and count the outcome."""
        scan = scan_file(io.BytesIO(case["text"].encode()), {})
        found = Counter((ticket["type"], ticket["title"]) for ticket in scan.tickets)
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


def read_report(path: Path) -> Report:
    """Return the scores of the labelled texts in the JSON file `path`."""
    report = Report(path.name)
    for case in json.loads(path.read_text(encoding="utf-8")):
        report.add(case)
    return report


def _reaches(report: Report, bar: float) -> bool:
    """Return whether precision and recall are high enough, for whole texts in each kind."""
    if report.name != _TEXTS:
        return min(report.total.precision, report.total.recall) >= bar
    for kind, score in report.tags.items():
        precision, recall = _TEXT_BARS.get(kind, _OTHER_TEXT_BARS)
        if score.precision < precision or score.recall < recall:
            return False
    return True


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with labelled_lines.json")
    parser.add_argument("--output", type=Path, help="file to write as well, parents are made")
    parser.add_argument(
        "--bar", type=float, default=0.98, help="of labelled lines; below it: exit status 1"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Print the report; return 1 where precision or recall is below its bar."""
    options = _parsed(arguments)
    default = _DEFAULT_DATA if (_DEFAULT_DATA / "labelled_lines.json").is_file() else _OWN_DATA
    given = (options.data or default) / "labelled_lines.json"
    if not given.is_file():
        sys.stderr.write(f"ticket_report: {given} does not exist; name its folder with --data\n")
        return 2
    files = [given, _OWN_DATA / "ticket_lines.json", _OWN_DATA / _TEXTS]
    reports = [read_report(path) for path in files]
    text = "\n".join(["# Tickets found in labelled texts", "", *(r.markdown() for r in reports)])
    print(text)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text, encoding="utf-8")
    return int(not all(_reaches(report, options.bar) for report in reports))


if __name__ == "__main__":
    sys.exit(main())
