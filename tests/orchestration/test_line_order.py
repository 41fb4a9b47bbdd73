"""Lines and events, in the order in which Claude wrote them, however fast they come."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from claude_mpm import Event, MPMOrchestrator

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("stand_in")
SECONDS = 60.0


def said(text: str, *, is_error: bool = False) -> str:
    model = "<synthetic>" if is_error else "claude-model-1"
    content = [{"type": "text", "text": text}]
    message = {"role": "assistant", "model": model, "content": content}
    return json.dumps({"type": "assistant", "message": message, "is_api_error_message": is_error})


def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Have lines written at once before the first answer."""
    raw = tmp_path / "raw"
    raw.write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.setenv("STAND_IN_RAW", str(raw))


def gather(claude: MPMOrchestrator, count: int) -> list[str | None]:
    return [claude.get_output(SECONDS) for _ in range(count)]


def test_an_api_error_stands_where_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = "API Error: 500"
    written(tmp_path, monkeypatch, said("one\ntwo"), said(error, is_error=True), said("three"))
    with MPMOrchestrator() as claude:
        claude.send_input("go")
        assert gather(claude, 5) == ["one", "two", error, "three", "Claude heard: go"]


def test_a_subclass_that_observes_is_given_every_event_behind_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Observing(MPMOrchestrator):
        seen: list[str]

        def _observe(self, event: Event) -> None:
            super()._observe(event)
            if event.kind == "assistant":
                self.seen.append(event.data.message.blocks[0].text)

        def _process_output_line(self, line: str) -> None:
            super()._process_output_line(line)
            self.seen.append(f"line {line}")

    written(tmp_path, monkeypatch, said("one"), said("two"))
    claude = Observing()
    claude.seen = []
    with claude:
        claude.send_input("go")
        gather(claude, 3)
    heard = "Claude heard: go"
    assert claude.seen == ["line one", "one", "line two", "two", f"line {heard}", heard]


def test_a_blank_line_is_a_line_whether_it_comes_alone_or_with_others() -> None:
    slowly = "echo a; read x; echo; read x; echo b; read x"
    at_once = "printf 'a\\n\\nb\\n'; read x; read x; read x"
    for script in (slowly, at_once):
        claude = MPMOrchestrator(
            wire="plain-text", claude_path="/bin/sh", claude_args=["-c", script],
            use_framework=False,
        )  # fmt: skip
        with claude:
            found = []
            for _ in range(3):
                found += gather(claude, 1)
                claude.send_input("on")
        assert found == ["a", "", "b"]
