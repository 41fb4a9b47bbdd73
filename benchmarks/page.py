"""Writes the figures down: one Markdown page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness import Figure

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
OURS = "claude-mpm run"  # the bar that stands out


def write(
    path: Path, figures: Sequence[Figure], machine: Mapping[str, str], peers: Mapping[str, str]
) -> None:
    """Put the figures between the two marks of a page; what stands around them stays."""
    text = path.read_text() if path.exists() else f"# Benchmarks\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    shown = [_picture(path, figure) for figure in figures if figure.bars]
    parts = [_machine(machine, peers), _table(figures), *shown, _sides(figures)]
    path.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{after}")


def said(figure: Figure) -> str:
    """Return a figure as one line for the terminal."""
    target = "" if figure.target is None else f"  (target {_target(figure)})"
    mark = " " if figure.reached else "!"
    return f"{mark} {figure.row:4} {_value(figure):>12}{target}  {figure.what}"


def _machine(machine: Mapping[str, str], peers: Mapping[str, str]) -> str:
    rows = [*machine.items(), *((f"peer {name}", version) for name, version in peers.items())]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in rows)])


def _table(figures: Sequence[Figure]) -> str:
    head = ["| | measure | measured | spread | target | |", "| --- | --- | --- | --- | --- | --- |"]
    rows = [
        f"| {f.row} | {f.what} | {_value(f)} | {_number(f.low)} to {_number(f.high)}{f.unit} |"
        f" {_target(f)} | {_verdict(f)} |"
        for f in figures
    ]
    return "\n".join(head + rows)


def _picture(page: Path, figure: Figure) -> str:
    """Draw a figure beside the page, and return what shows it there."""
    file = page.parent / "images" / f"benchmark-{figure.row}.svg"
    file.parent.mkdir(exist_ok=True)
    told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in figure.bars.items())
    picture.bars(file, f"{figure.row}: {told}", figure.bars, OURS)
    return f"How long it took, **{figure.row}**:\n\n![{told}](images/{file.name})"


def _sides(figures: Sequence[Figure]) -> str:
    lines = []
    for figure in figures:
        sides = "; ".join(f"{name}: {value}" for name, value in figure.sides.items())
        parts = [part for part in (f"{sides}." if sides else "", figure.note) if part]
        if parts:
            lines.append(f"* **{figure.row}** {' '.join(parts)}")
    return "What each side took, and did:\n\n" + "\n".join(lines)


def _verdict(figure: Figure) -> str:
    if figure.target is None:
        return ""
    return "reached" if figure.reached else "**missed**"


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    return f"{'≥' if figure.at_least else '≤'} {figure.target:g}{figure.unit}"


def _value(figure: Figure) -> str:
    return f"{_number(figure.value)}{figure.unit}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
