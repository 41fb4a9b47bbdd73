"""An orchestrator that looks and does not touch."""

from __future__ import annotations

from typing import Any

from claude_mpm import MPMOrchestrator

__all__ = ["ReviewOrchestrator"]


class ReviewOrchestrator(MPMOrchestrator):
    """Runs Claude in plan mode: it reads and says what it would do, and changes nothing."""

    name = "reviewer"

    def __init__(self, *args: Any, **options: Any) -> None:
        # The command gives every option, with None for those that nobody set.
        options["permission_mode"] = options.get("permission_mode") or "plan"
        super().__init__(*args, **options)

    def send_input(self, text: str) -> None:
        """Give Claude a prompt, with what a review has to hold."""
        super().send_input(f"{text}\n\nName the file and the line of each finding.")
