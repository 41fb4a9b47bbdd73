"""What plays Claude in any place that has a shell."""

from __future__ import annotations

from chaos.fleet import STAND_IN

CLAUDE = STAND_IN.read_text("utf-8")  # it adds a line to a file where it works, and answers
