"""Whether a session's link runs is looked at by several at once, and none is taken for the link."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from claude_mpm.folders import close_lock
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.link import lock
from claude_mpm.link.lock import become_link, is_linked
from claude_mpm.own_python import own_environ, own_python

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LINK = """
import sys
from pathlib import Path
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.link.lock import become_link
print(become_link(SessionFolder(Path(sys.argv[1]))), flush=True)
sys.stdin.read()
"""


def test_two_that_look_at_the_same_time_find_no_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SessionFolder(tmp_path / "one")
    folder.create()
    folder.link_file.write_text("{}")
    found: list[bool] = []

    def look_before(descriptor: int) -> None:
        """Look once more before the first who looks lets go."""
        monkeypatch.setattr(lock, "close_lock", close_lock)
        found.append(is_linked(folder))
        close_lock(descriptor)

    monkeypatch.setattr(lock, "close_lock", look_before)
    found.append(is_linked(folder))
    assert found == [False, False]


def test_a_link_is_found_and_is_the_only_one_until_it_has_ended(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path / "one")
    folder.create()
    folder.link_file.write_text("{}")
    words = own_python("-c", LINK, str(folder.path))
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=own_environ(), stdin=pipe, stdout=pipe) as link:
        try:
            assert link.stdout is not None
            assert link.stdout.readline() == b"True\n"
            assert is_linked(folder)
            assert not become_link(folder)
        finally:
            link.kill()
    assert not is_linked(folder)
