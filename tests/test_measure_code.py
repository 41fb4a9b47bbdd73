"""The measures of the code count what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import measure_code

if TYPE_CHECKING:
    from pathlib import Path

ROOM = '''
class Reader:
    """Reads."""

    def __init__(self, notify: Callable[[int], None], size: int) -> None:
        self._stopping = False
        self.size = size  # bytes


@dataclass
class Value:
    make: Callable[[], str]
    name: str


def change(reader: Reader, event: Event) -> None:
    reader.size, other = 1, 2
    reader.size += 1
    if event.kind == "command_lifecycle":
        return
'''


def test_each_measure_counts_what_it_says(tmp_path: Path) -> None:
    room = tmp_path / "engine"
    room.mkdir()
    (room / "reader.py").write_text(ROOM)
    (tmp_path / "long.py").write_text("def long() -> None:\n" + "    pass\n" * 60)
    modules = measure_code.read(tmp_path)
    measured = {name: measure(modules) for name, measure in measure_code.MEASURES.items()}
    assert measured == {
        "files": 2,
        "files below 60 lines": 1,
        "lines of the median file": 40.5,
        "lines": 81,
        "functions over 40 lines": 1,
        "parameters of constructors that are functions": 2,
        "attributes set from outside": 2,
        "modules that say what a session's event means": 1,
        "fields of the end of a session": 1,
        "comments per 100 lines": 1.2,
    }


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no Python in"):
        measure_code.read(tmp_path)
