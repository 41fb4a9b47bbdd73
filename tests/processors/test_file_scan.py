"""Tickets in files of every kind: each line is read by its own rule."""

from __future__ import annotations

import codecs
import io
import json
from typing import Any

import pytest

from claude_mpm.processors.file_scan import Scan, scan_file

SAID = "TODO: paint the door\nBUG: it squeaks"


def said(text: str) -> dict[str, Any]:
    return {"type": "assistant", "message": {"role": "assistant", "content": [{"type": "text", "text": text}]}}  # fmt: skip  # noqa: E501


def prompted(text: str) -> dict[str, Any]:
    return {"type": "user", "message": {"role": "user", "content": text}}


RESULT = {"type": "result", "subtype": "success", "is_error": False, "result": SAID}
EVENTS = [{"type": "system", "subtype": "init"}, prompted("TODO: asked"), said(SAID), RESULT]


def scan(data: bytes | str) -> Scan:
    return scan_file(io.BytesIO(data if isinstance(data, bytes) else data.encode()), {})


def titles(found: Scan) -> list[str]:
    return [ticket["title"] for ticket in found.tickets]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(RESULT),
        json.dumps(RESULT, indent=2),
        json.dumps(RESULT, indent="\t"),
        json.dumps(EVENTS),
        json.dumps(EVENTS, indent=2),
        "\n".join(json.dumps(event, indent=2) for event in EVENTS),
        "\n".join(map(json.dumps, EVENTS)),
        "npm warn deprecated thing\n" * 30 + json.dumps(EVENTS, indent=2) + "\nbye\n",
    ],
)
def test_what_claude_prints_is_read_in_every_form(text: str) -> None:
    found = scan(text)
    assert (found.kind, titles(found)) == ("journal", ["paint the door", "it squeaks"])


def test_lines_between_those_of_a_journal_are_read_as_text_and_counted() -> None:
    lines = ["a warning", json.dumps(prompted("TODO: asked")), "TODO: from a log", json.dumps(said(SAID))]  # fmt: skip  # noqa: E501
    found = scan("\n".join(lines * 3))
    assert titles(found) == ["from a log", "paint the door", "it squeaks"]
    assert (found.not_json, found.damaged, found.tickets[1]["line"]) == (6, 0, 4)


def test_an_error_is_no_answer() -> None:
    assert titles(scan(json.dumps({**RESULT, "is_error": True}))) == []


@pytest.mark.parametrize(
    "text",
    ['{"name": "x",\n "version": "1"\n}\nTODO: one\n', "[ ] a box,\nTODO: one\n", "{\nTODO: one\n"],
)
def test_other_brackets_are_text(text: str) -> None:
    found = scan(text)
    assert (found.kind, titles(found)) == ("text", ["one"])


def test_a_damaged_line_of_json_is_counted() -> None:
    found = scan(f'{json.dumps(said("TODO: one"))}\n{{"type": "assistant", "mess\n')
    assert (titles(found), found.not_json, found.damaged) == (["one"], 1, 1)


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
        (codecs.BOM_UTF8, "utf-8"),
    ],
)
def test_the_encoding_of_a_file_is_noticed(mark: bytes, encoding: str) -> None:
    data = mark + "TODO: Tür streichen\r\nBUG: sie klemmt\r\n".encode(encoding)
    found = scan(data)
    assert (found.encoding, titles(found)) == (encoding, ["Tür streichen", "sie klemmt"])
    offset = found.tickets[1]["offset"]
    assert data[offset:].decode(encoding).startswith("BUG: sie klemmt")


def test_lines_in_another_encoding_are_counted() -> None:
    assert scan("TODO: größer\nTODO: plain\n".encode("cp1252")).not_utf8 == 1
    assert scan("TODO: a \ufffd stands here\n").not_utf8 == 0


def test_a_delegation_without_an_end_does_not_run_for_ever() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "Task", "input": {"description": "d"}}
    event = {"type": "assistant", "message": {"role": "assistant", "content": [call]}}
    assert [each["state"] for each in scan(json.dumps(event)).delegations] == ["lost"]
