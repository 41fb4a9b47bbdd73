"""Files of lines that only grow."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from claude_mpm.journal.line_log import append_line, open_log, whole_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


@pytest.fixture
def log(file: Path) -> Iterator[int]:
    log = open_log(file)
    yield log
    os.close(log)


def test_a_line_that_was_cut_is_none_and_goes_with_the_next(file: Path, log: int) -> None:
    append_line(log, b"1\n")
    file.write_bytes(b"1\nto")
    assert whole_lines(file.read_bytes()) == [b"1"]
    append_line(log, b"2\n")
    assert whole_lines(file.read_bytes()) == [b"1", b"2"]


def test_what_the_disk_takes_in_part_is_taken_back(
    file: Path, log: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_line(log, b"1\n")
    write = os.write
    monkeypatch.setattr(os, "write", lambda log, line: write(log, line[:2]))
    with pytest.raises(OSError, match="No space"):
        append_line(log, b"two\n")
    assert file.read_bytes() == b"1\n"
