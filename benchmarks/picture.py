"""Draws bars: how long each side took."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_WIDTH, _LEFT, _RIGHT, _ROW, _BAR = 760, 230, 90, 38, 22
_STYLE = """
    svg { font: 14px ui-sans-serif, system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
    text { fill: #37474f; } .bar { fill: #b0bec5; } .ours { fill: #e0673a; }
    @media (prefers-color-scheme: dark) {
      text { fill: #cfd8dc; } .bar { fill: #546e7a; } .ours { fill: #ff8a65; }
    }
"""


def bars(path: Path, title: str, seconds: Mapping[str, float], ours: str) -> None:
    """Write an SVG with a bar for each side.

    Args:
        path: the file.
        title: what a reader who cannot see it is told.
        seconds: of each side, from the top down.
        ours: the side that stands out.
    """
    scale = (_WIDTH - _LEFT - _RIGHT) / max(seconds.values())
    rows = [
        _row(number, name, took, took * scale, "ours" if name == ours else "bar")
        for number, (name, took) in enumerate(seconds.items())
    ]
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_ROW * len(rows)}"'
        f' role="img">\n  <title>{escape(title)}</title>\n  <style>{_STYLE}  </style>\n'
        + "".join(rows)
        + "</svg>\n"
    )


def _row(number: int, name: str, took: float, length: float, look: str) -> str:
    top = number * _ROW + (_ROW - _BAR) // 2
    line = top + _BAR - 6
    return (
        f'  <text x="{_LEFT - 10}" y="{line}" text-anchor="end">{escape(name)}</text>\n'
        f'  <rect class="{look}" x="{_LEFT}" y="{top}" width="{length:.0f}" height="{_BAR}"/>\n'
        f'  <text x="{_LEFT + length + 8:.0f}" y="{line}">{took:.2f} s</text>\n'
    )
