"""`claude-mpm tickets`."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pytest

from calls import agent_call, agent_result, call, journal, make_session, said
from claude_mpm.cli.export import render
from claude_mpm.errors import StorageError
from claude_mpm.records import Ticket
from claude_mpm.sessions.index import Index
from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from calls import Ended

    Capture = pytest.CaptureFixture[str]


@pytest.fixture
def sessions() -> None:
    make_session("first", ["TODO: write tests\nPriority: high", "BUG: the list is empty"], "/a/b")
    make_session("second", ["TODO: write tests", "FEATURE: export as PDF"], "/c")


def titles(ended: Ended) -> list[str]:
    return sorted(row[4] for row in ended.rows)


def key_of(title: str, session: str) -> str:
    (key,) = (t.key for t in Store().index.tickets(session) if t.title == title)
    return key


def test_a_run_leaves_its_tickets_in_the_list(capsys: Capture, stand_in: Path) -> None:
    assert call(capsys, "run", "--session", "mine", "TODO: fix the door").status == 0
    assert call(capsys, "tickets").rows == [
        [key_of("fix the door", "mine"), "open", "task", "", "fix the door", "mine"]
    ]


@pytest.mark.usefixtures("stand_in")
def test_what_the_index_could_not_take_is_told_and_taken_up_later(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("cannot keep the index: the disk is full")

    with monkeypatch.context() as full:
        full.setattr(Index, "store", refuse)
        ended = call(capsys, "run", "TODO: fix the door")
    assert (ended.status, ended.out) == (0, "Claude heard: TODO: fix the door\n")
    assert "claude-mpm: cannot keep the index: the disk is full\n" in ended.err
    assert titles(call(capsys, "tickets")) == ["fix the door"]


@pytest.mark.usefixtures("sessions")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), ["export as PDF", "the list is empty", "write tests", "write tests"]),
        (("list", "--session", "fir"), ["the list is empty", "write tests"]),
        (("--type", "feature"), ["export as PDF"]),
        (("--project", "/a"), ["the list is empty", "write tests"]),
        (("--project", "/a/bc"), []),
        (("--state", "closed"), []),
    ],
)
def test_the_list_is_narrowed(capsys: Capture, words: tuple[str, ...], found: list[str]) -> None:
    assert titles(call(capsys, "tickets", *words)) == found


@pytest.mark.usefixtures("sessions")
def test_closing_and_opening_again_lasts_longer_than_the_index(capsys: Capture) -> None:
    call(capsys, "tickets")
    bug = key_of("the list is empty", "first")
    todo = key_of("write tests", "first")
    assert call(capsys, "tickets", "close", bug[:6], todo).status == 0
    assert call(capsys, "tickets", "reopen", todo).status == 0
    for _ in range(2):
        assert titles(call(capsys, "tickets", "--state", "closed")) == ["the list is empty"]
        Store().index.path.unlink()
        assert call(capsys, "doctor", "--rebuild-index").status == 0


@pytest.mark.usefixtures("sessions")
def test_one_wrong_key_among_several_changes_nothing(capsys: Capture) -> None:
    call(capsys, "tickets")
    ended = call(capsys, "tickets", "close", key_of("the list is empty", "first"), "zzz")
    assert ended.status == 2
    assert "no ticket 'zzz'" in ended.err
    assert titles(call(capsys, "tickets", "--state", "closed")) == []


@pytest.mark.usefixtures("sessions")
def test_a_key_that_several_begin_with_is_refused_with_their_names(capsys: Capture) -> None:
    many = make_session("many", [f"TODO: thing {n}" for n in range(40)])
    call(capsys, "tickets")
    keys = [ticket.key for ticket in Store().index.tickets("many")]
    letter = next(key[0] for key in keys if sum(other[0] == key[0] for other in keys) > 1)
    ended = call(capsys, "tickets", "show", letter, "--session", many.path.name)
    assert ended.status == 2
    assert f"tickets begin with '{letter}'" in ended.err


@pytest.mark.usefixtures("sessions")
def test_show_tells_all_that_is_known(capsys: Capture) -> None:
    call(capsys, "tickets")
    key = key_of("write tests", "first")
    assert "priority: high" in call(capsys, "tickets", "show", key).out
    assert call(capsys, "tickets", "--json", "show", key).status == 2
    assert call(capsys, "tickets", "show", "--json", key).json["session"] == "first"


@pytest.mark.usefixtures("sessions")
def test_a_damaged_session_is_named_and_the_others_are_listed(capsys: Capture) -> None:
    Store().folder("second").meta_file.write_text("{")
    missing = make_session("third", [])
    missing.journal.path.unlink()
    ended = call(capsys, "tickets", "--project", "/a")
    assert (ended.status, titles(ended)) == (0, ["the list is empty", "write tests"])
    lines = ended.err.splitlines()
    assert sorted(line.split()[2] for line in lines) == ["second", "third"]


@pytest.mark.usefixtures("sessions")
def test_every_ticket_is_exported_in_each_format(capsys: Capture, tmp_path: Path) -> None:
    rows = call(capsys, "tickets", "export", "--format", "json").json
    assert len(rows) == 4
    assert call(capsys, "tickets", "export", "--json").json == rows
    file = tmp_path / "tickets.csv"
    assert call(capsys, "tickets", "export", "--format", "csv", "--output", file).out == ""
    with file.open(newline="") as stream:
        assert [row["title"] for row in csv.DictReader(stream)] == [r["title"] for r in rows]
    markdown = call(capsys, "tickets", "export", "--format", "markdown").out.splitlines()
    assert markdown[0] == "| key | state | type | priority | title | session |"
    assert len(markdown) == 6
    assert len(call(capsys, "tickets", "export").out.splitlines()) == 5


def ticket(title: str) -> Ticket:
    return Ticket(key="k", session="s", type="task", title=title, tags=("a", "b"))


def exported(title: str, form: str) -> str:
    return render([ticket(title)], ("key", "title"), form)


@pytest.mark.parametrize("title", ['=HYPERLINK("x")', "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_a_title_is_no_formula_in_a_spreadsheet(title: str) -> None:
    (row,) = csv.DictReader(io.StringIO(exported(title, "csv"), newline=""))
    assert row["title"] == f"'{title}"
    assert row["offset"] == "0"
    assert row["tags"] == "a, b"


def test_csv_keeps_quotes_commas_and_line_breaks() -> None:
    title = 'say "no", then\nleave'
    (row,) = csv.DictReader(io.StringIO(exported(title, "csv"), newline=""))
    assert row["title"] == title


def test_markdown_cells_stay_in_their_cell() -> None:
    assert exported("a|b \\ <i>\nc", "markdown").splitlines()[2] == ("| k | a\\|b \\\\ &lt;i> c |")


def test_a_title_cannot_steer_the_terminal(capsys: Capture) -> None:
    make_session("evil", ["TODO: red \x1b[31m alert [bold]now[/red]"])
    assert titles(call(capsys, "tickets")) == ["red [31m alert [bold]now[/red]"]
    assert "\x1b" not in call(capsys, "tickets", "export").out


# --- scan -----------------------------------------------------------------------------------


def scan(capsys: Capture, file: Path) -> Ended:
    ended = call(capsys, "tickets", "scan", "--json", file)
    assert not Store().path.exists(), "scan keeps nothing"
    return ended


def test_scan_reads_a_text_as_one_text(capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "notes.md"
    file.write_bytes(
        b"Intro\r\n\r\nTODO: write tests\r\nPriority: high\r\n```\nBUG: code is none\n"
        b"Delegating to qa: nothing\n```\nTODO: Write tests\nDelegating to qa: check it"
    )
    found = scan(capsys, file).json
    (taken,) = found["tickets"]
    assert (taken["line"], taken["offset"], taken["priority"]) == (3, 9, "high")
    (delegation,) = found["delegations"]
    assert (delegation["line"], delegation["agent"]) == (10, "qa")
    assert (found["kind"], found["lines"]) == ("text", 10)


def test_scan_reads_a_journal(capsys: Capture, tmp_path: Path) -> None:
    events = [
        {"type": "user", "message": {"content": "TODO: not said by the assistant"}},
        "TODO: one",
        agent_call("toolu_1", "qa", "Check"),
        agent_result("toolu_1", "BUG: not said by the assistant"),
        "TODO: one",
    ]
    file = tmp_path / "out.jsonl"
    file.write_bytes(b"a warning\n" + journal(events))
    found = scan(capsys, file).json
    assert [(t["line"], t["title"]) for t in found["tickets"]] == [(3, "one")]
    (delegation,) = found["delegations"]
    assert (delegation["line"], delegation["state"], delegation["duration"]) == (4, "completed", 7)
    assert (found["kind"], found["not_json"]) == ("journal", 1)


def test_scan_reads_glued_lines(capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "glued.jsonl"
    file.write_bytes(journal(["TODO: one", "BUG: two"]).replace(b"\n", b"") + b"\n")
    assert [t["title"] for t in scan(capsys, file).json["tickets"]] == ["one", "two"]


def test_scan_takes_markers_of_the_settings(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_MPM_TICKET_MARKERS", "CHORE=task")
    file = tmp_path / "notes.md"
    file.write_text("CHORE: sweep\n")
    assert [t["title"] for t in scan(capsys, file).json["tickets"]] == ["sweep"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00", b'{"type"', b'{"type": 5}\n'])
def test_scan_reads_anything(capsys: Capture, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    ended = scan(capsys, file)
    assert (ended.status, ended.json["kind"], ended.json["tickets"]) == (0, "text", [])


def test_scan_reads_standard_input(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"TODO: piped\n")))
    assert [row[4] for row in call(capsys, "tickets", "scan", "-").rows] == ["piped"]


def test_scan_prints_a_table(capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "notes.md"
    file.write_text("Delegating to qa: check\nTODO: write tests\n")
    ended = call(capsys, "tickets", "scan", file)
    assert ended.rows == [
        ["1", "0", "delegation", "qa", "check"],
        ["2", "24", "ticket", "task", "write tests"],
    ]
    assert ended.err == "text, 2 lines: 1 tickets, 1 delegations\n"


def test_scan_agrees_with_what_a_session_keeps(capsys: Capture) -> None:
    folder = make_session("kept", ["TODO: one", said("BUG: two\n- FEATURE: three")])
    kept = {row[4] for row in call(capsys, "tickets").rows}
    found = call(capsys, "tickets", "scan", "--json", folder.journal.path).json
    assert {taken["title"] for taken in found["tickets"]} == kept
