"""Issues of Beads, which keeps them beside the code, by the user's own `bd`."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

from claude_mpm.bridges.program import call_program
from claude_mpm.bridges.trackers import (
    LABEL,
    ClosingTracker,
    Filed,
    Issue,
    TrackerFailed,
    fingerprint_in,
)
from claude_mpm.config.trust import is_trusted
from claude_mpm.errors import UsageError
from claude_mpm.printable import printable

_FOLDER = ".beads"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# The types that every `bd` knows. Others are a task, with the type as a label.
_TYPES = {"bug": "bug", "feature": "feature", "task": "task", "enhancement": "feature",
          "epic": "epic", "chore": "chore"}  # fmt: skip
_PRIORITIES = {"critical": "0", "high": "1", "medium": "2", "low": "3"}
_MOST_TITLE = 500  # characters that `bd` takes
_LABEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")


class Beads(ClosingTracker):
    """Files issues in the Beads of a folder, which has to be trusted.

    `bd` runs what its data name: the hooks in `.beads/hooks`, and those of its `config.yaml`.

    (Source: the pages of `bd create`, `list`, `comments` and `close`, and of its JSON, of bd 1.3.)

    Args:
        target: the folder; a relative one is below the current folder.

    Raises:
        UsageError: neither it nor a folder above has Beads.
    """

    default_target = "."

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self._cwd = Path(os.path.realpath(target))
        self._address = f"beads:{_database_of(self._cwd)}"

    @property
    def address(self) -> str:
        """The folder of its data."""
        return self._address

    def is_public(self) -> bool:
        """Return that it is not: it is a folder of this machine, until somebody shares it."""
        return False

    def filed(self) -> dict[str, Filed]:
        """Return the issues with our label; an issue without a fingerprint is somebody else's."""
        listed = self._call("list", "--label", LABEL, "--all", "--limit", "0", "--json")
        # Before it had a version for its JSON, it printed the list itself.
        items = listed.get("items") if isinstance(listed, dict) else listed
        if not isinstance(items, list):
            raise TrackerFailed(f"{self.address}: bd printed no list of issues")
        found: dict[str, Filed] = {}
        issues = [item for item in items if isinstance(item, dict)]
        for issue in sorted(issues, key=lambda item: str(item.get("created_at"))):
            name = fingerprint_in(str(issue.get("description") or ""))
            if name and name not in found:  # the oldest counts
                state = "closed" if issue.get("status") == "closed" else "open"
                found[name] = Filed(_id_of(issue, self.address), state)
        return found

    def create(self, issue: Issue) -> str:
        """File an issue with the label."""
        kind = _TYPES.get(issue.type, "task")
        labels = [LABEL]
        if issue.type not in (kind, "") and _LABEL.fullmatch(issue.type):
            labels.append(issue.type)
        # As text: no argument has a NUL, and `bd` shows on a terminal what it has.
        words = [
            f"--title={printable(issue.title)[:_MOST_TITLE]}",
            f"--type={kind}",
            f"--labels={','.join(labels)}",
        ]
        if issue.priority in _PRIORITIES:
            words.append(f"--priority={_PRIORITIES[issue.priority]}")
        made = self._call(
            "create", *words, "--body-file=-", "--json", data=printable(issue.marked_body)
        )
        return _id_of(made, self.address)

    def comment(self, number: str, text: str) -> None:
        """Add a comment to an issue."""
        self._call("comments", "add", number, text, "--json")

    def close(self, number: str) -> None:
        """Close an issue."""
        self._call("close", number, "--reason=closed in claude-mpm", "--json")

    def _call(self, *words: str, data: str | None = None) -> Any:
        return call_program(
            ["bd", *words],
            data,
            of=self.address,
            install="install Beads, https://github.com/gastownhall/beads",
            cwd=self._cwd,
            keeps_open=self.keeps_open,
        )


def _id_of(issue: Any, address: str) -> str:
    """Return the id of an issue.

    Raises:
        TrackerFailed: it has none that can be one.
    """
    name = issue.get("id") if isinstance(issue, dict) else None
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise TrackerFailed(f"{address}: bd gave an issue without an id; push again")
    return name


def _database_of(folder: Path) -> Path:
    """Return the folder of the data that `bd` uses there: the nearest above it, or `BEADS_DIR`.

    Raises:
        UsageError: there is none, or it came with a project that is not trusted.
    """
    if given := os.environ.get("BEADS_DIR"):
        return Path(os.path.realpath(given))
    for each in (folder, *folder.parents):
        if (each / _FOLDER).is_dir():
            if is_trusted(each):
                return each / _FOLDER
            raise UsageError(
                f"{each} is not trusted, and bd runs the hooks that its {_FOLDER} names; look at"
                f" them, then: claude-mpm trust {shlex.quote(str(each))}"
            )
    raise UsageError(
        f"beads:{folder} has no {_FOLDER}, there or above; `bd init` makes one, or name a folder"
        " with --to beads:FOLDER"
    )
