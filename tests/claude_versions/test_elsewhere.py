"""A Claude that is elsewhere is asked what it is once it runs; until then it gets nothing new."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from builds import make_build

from claude_mpm import MPMOrchestrator
from claude_mpm.environments.base import Environment
from claude_mpm.errors import ClaudeTooOld

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Elsewhere(Environment):
    """A place with files of its own, as another machine has them."""

    name = "elsewhere"

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Return the command as it is."""
        return list(argv)


def claude_of(folder: Path, version: str, **options: Any) -> MPMOrchestrator:
    """Return an orchestrator of a stand-in elsewhere, which logs what it is given."""
    options = {"state_dir": str(folder / "state"), "session_id": "kept", **options}
    build = make_build(folder / "far", version, STAND_IN_LOG=str(folder / "log"), **_told(version))
    return MPMOrchestrator(environment=Elsewhere(), claude_path=str(build), **options)


def _told(version: str) -> dict[str, str]:
    return {"STAND_IN_OLD": "1"} if version.startswith("2.0") else {}


def starts(folder: Path) -> list[list[str]]:
    """Return the arguments of each start."""
    lines = (folder / "log").read_text().splitlines()
    return [record["argv"] for record in map(json.loads, lines) if "argv" in record]


@pytest.mark.parametrize("version", ["2.1.139", "2.0.45"])
def test_one_that_is_too_old_is_refused_when_it_answers(version: str, tmp_path: Path) -> None:
    claude = claude_of(tmp_path, version)
    assert not claude.start()
    assert isinstance(claude.error, ClaudeTooOld)
    assert "does not acknowledge prompts" in str(claude.error)
    claude.stop()


@pytest.mark.parametrize(("version", "takes"), [("2.1.211", False), ("2.1.332", True)])
def test_its_version_counts_from_the_next_start_on(
    version: str, takes: bool, tmp_path: Path
) -> None:
    for resume in (False, True):
        with claude_of(tmp_path, version, resume=resume) as claude:
            claude.ask("hello").check()
    first, second = starts(tmp_path)
    assert not any(word in first for word in ("--agents", "--permission-prompts"))
    for word in ("--agents", "--permission-prompts", "--system-prompt-snapshot"):
        assert (word in second) is takes
    told = [start.claude_version for start in claude.store.folder("kept").read_meta().starts]
    assert told == [version, version]
