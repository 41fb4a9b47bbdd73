"""What a framework imports is read with it, as Claude Code does for a CLAUDE.md."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from claude_mpm.config.framework import FrameworkLoader

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    framework = tmp_path / "framework"
    (framework / "rules").mkdir(parents=True)
    (framework / "RULES.md").write_text("RULES\n")
    (framework / "rules" / "more.md").write_text("MORE @../RULES.md @deep.md\n")
    (framework / "rules" / "deep.md").write_text("DEEP @more.md\n")
    (framework / "a b.txt").write_text("BLANK\n")
    (tmp_path / "outside.md").write_text("OUTSIDE\n")
    return framework


def loaded(folder: Path, text: str) -> tuple[str, list[str]]:
    """Return what stands behind a text, and what is noted, without the file's name."""
    file = folder / "CLAUDE.md"
    file.write_text(text)
    framework = FrameworkLoader(file).load()
    assert framework.instructions.startswith(text)
    begin = f"{file}: "
    return framework.instructions[len(text) :], [n.removeprefix(begin) for n in framework.notes]


FOLLOWED = {
    "alone": ("@RULES.md\n", "RULES"),
    "with a dot": ("see @./RULES.md for more\n", "RULES"),
    "in a list": ("- first\n- @RULES.md\n\n    @rules/deep.md\n", "RULES DEEP MORE"),
    "with a heading": ("@RULES.md#top\n", "RULES"),
    "with a blank": ("@a\\ b.txt\n", "BLANK"),
    "further ones, each once": ("@rules/more.md\n@RULES.md\n", "MORE RULES DEEP"),
}


@pytest.mark.parametrize(("text", "found"), FOLLOWED.values(), ids=FOLLOWED)
def test_what_is_imported_stands_behind(folder: Path, text: str, found: str) -> None:
    behind, notes = loaded(folder, text)
    capitals = [w for w in behind.split() if w.isupper() and w.isalpha()]
    assert (capitals, notes) == (found.split(), [])


NOT_FOLLOWED = (
    "no import\n",
    "`@RULES.md`\n",
    "``a ` @RULES.md``\n",
    "```\n@RULES.md\n```\n",
    "~~~ sh\n@RULES.md\n```\n@RULES.md\n~~~\n",
    "text\n\n    @RULES.md\n",
    "<!-- @RULES.md -->\n",
    "me@RULES.md\n",
    "@engineer and @scope/package and @\n",
    "@CLAUDE.md\n",
)


@pytest.mark.parametrize("text", NOT_FOLLOWED)
def test_other_texts_stay_byte_for_byte(folder: Path, text: str) -> None:
    assert loaded(folder, text) == ("", [])


def test_what_cannot_be_followed_is_said_each_in_a_line(folder: Path, tmp_path: Path) -> None:
    (folder / "link.md").symlink_to(tmp_path / "outside.md")
    os.mkfifo(folder / "pipe.md")
    (folder / "bytes.md").write_bytes(b"\xff")
    (folder / "large.md").write_text("x" * ((1 << 20) + 1))
    text = (
        "@missing.md @../outside.md @~/x.md @/etc/hostname @link.md @pipe.md @bytes.md @large.md"
        " @./rules @loop.md\n"
    )
    (folder / "loop.md").symlink_to(folder / "loop.md")
    behind, notes = loaded(folder, text)
    assert behind == ""
    assert [note.partition(" is not followed: ")[0] for note in notes] == text.split()
    assert all("\n" not in note for note in notes)
    assert [note for note in notes if "outside of" in note] == [notes[n] for n in (1, 3, 4)]


def test_imports_are_followed_so_deep_and_no_deeper(folder: Path) -> None:
    for number in range(1, 8):
        (folder / f"{number}.md").write_text(f"LEVEL{number} @{number + 1}.md\n")
    behind, notes = loaded(folder, "@1.md\n")
    assert [f"LEVEL{n}" in behind for n in range(1, 8)] == [True] * 5 + [False] * 2
    (note,) = notes
    assert "@6.md is not followed: more than 5 files" in note


def test_the_hash_is_over_what_is_imported(folder: Path) -> None:
    file = folder / "CLAUDE.md"
    file.write_text("@RULES.md\n")
    loader = FrameworkLoader(file)
    before = loader.load().sha256
    (folder / "RULES.md").write_text("OTHER\n")
    assert loader.load().sha256 != before
    assert "OTHER" in loader.get_framework_instructions()
