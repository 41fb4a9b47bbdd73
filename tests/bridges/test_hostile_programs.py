"""What `bd` and `gh` print is bounded, and shown as text: trackers repeat what strangers wrote."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.bridges import program
from claude_mpm.bridges.beads import Beads
from claude_mpm.bridges.github import GitHub
from claude_mpm.bridges.trackers import Issue, TrackerFailed
from claude_mpm.config.trust import set_trust

if TYPE_CHECKING:
    from collections.abc import Callable

    Says = Callable[[str], None]

ISSUE = Issue("0" * 16, "a title", "Why", "bug")
_LONGEST_ERROR = 1000  # characters


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Says:
    """Lets both programs be a script, whose body is given."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    Path(".beads").mkdir()
    set_trust(Path.cwd(), trusted=True)

    def says(body: str) -> None:
        for name in ("bd", "gh"):
            (programs / name).write_text(f"#!/bin/sh\n{body}\n")
            (programs / name).chmod(0o755)

    return says


def refusal(call: Callable[[], Any]) -> str:
    """Return the one line, fit for a terminal, with which a call is refused."""
    with pytest.raises(TrackerFailed) as failed:
        call()
    text = str(failed.value)
    assert text.isprintable() and len(text) < _LONGEST_ERROR
    return text


def test_an_answer_without_an_end_is_cut_and_the_program_ended(says: Says) -> None:
    says("exec cat /dev/zero")
    tracemalloc.start()
    try:
        assert "bd printed more than 64 MiB, and was ended" in refusal(Beads(".").filed)
        assert tracemalloc.get_traced_memory()[1] < 3 * program.LONGEST
    finally:
        tracemalloc.stop()
    assert "gh printed more than" in refusal(GitHub("me/project").filed)


def test_of_endless_errors_the_beginning_is_kept(says: Says) -> None:
    says("echo locked >&2; head -c 200000000 /dev/zero >&2; exit 3")
    tracemalloc.start()
    try:
        assert "locked" in refusal(Beads(".").filed)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exec cat /dev/zero >&2", "bd has not answered"),
        ("exec >/dev/null 2>&1; exec tail -f /dev/null", "bd has not"),
    ],
    ids=["errors without an end", "it closes its output and stays"],
)
def test_what_does_not_end_takes_no_longer_than_others(
    says: Says, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    says(script)
    monkeypatch.setattr(program, "PATIENCE", 1.0)
    assert said in refusal(Beads(".").filed)


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (r"printf '\377\376\033]0;title\007'", "printed no JSON"),
        (r"printf '\033]0;title\007\377\nnext\033[2J' >&2; exit 1", r"\x1b]0;title\x07"),
        (r"""printf '{"error": "\\u001b[2J\\ud800"}' >&2; exit 1""", r"\x1b[2J<U+D800>"),
        ("""head -c 900000 /dev/zero | tr '\\0' '[' """, "printed no JSON"),
        ("""head -c 900000 /dev/zero | tr '\\0' '[' >&2; exit 1""", "[[["),
        ("""head -c 9000 /dev/zero | tr '\\0' 7""", "printed no"),
    ],
    ids=["no text", "escapes", "escapes in JSON", "deep", "deep errors", "a long number"],
)
def test_what_is_printed_is_text(says: Says, printed: str, said: str) -> None:
    says(printed)
    assert said in refusal(Beads(".").filed)
    assert said in refusal(GitHub("me/project").filed)


@pytest.mark.parametrize(
    "name",
    ['"--all"', '"../x"', '"a b"', '""', '"a\\u001b[2J"', '"\\ud800"', "7", "null", "[]", '"-1"'],
)
def test_an_id_is_neither_a_path_nor_an_option(says: Says, name: str) -> None:
    says(f"""cat >/dev/null; printf '%s' '{{"id": {name}}}'""")
    assert "without an id" in refusal(lambda: Beads(".").create(ISSUE))


@pytest.mark.parametrize("number", ["true", "-1", "0", "1.5", '"7"', '"../7"', "9" * 1000, "NaN"])
def test_a_number_is_one_that_an_issue_can_have(says: Says, number: str) -> None:
    says(f"""cat >/dev/null; printf '%s' '{{"number": {number}}}'""")
    assert "without a number" in refusal(lambda: GitHub("me/project").create(ISSUE))


def test_a_bd_that_reads_nothing_is_not_waited_for(says: Says) -> None:
    says("""echo '{"id": "b-1"}'""")
    body = "\x1b" * 60_000  # as text, it is more than a pipe holds
    assert Beads(".").create(Issue("0" * 16, "a title", body, "bug")) == "b-1"


def test_a_title_that_no_argument_can_have_is_filed_as_text(says: Says, tmp_path: Path) -> None:
    log = tmp_path / "log"
    says(f"""printf '%s\\n' "$@" >{log}; cat >>{log}; echo '{{"id": "b-1"}}'""")
    Beads(".").create(Issue("0" * 16, "clean\0room\x1b[2J", "Why\x07", "bug"))
    told = log.read_text()
    assert r"--title=clean\x00room\x1b[2J" in told.splitlines()
    assert r"Why\x07" in told and "<!-- claude-mpm 0000000000000000 -->" in told
