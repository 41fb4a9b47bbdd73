"""What a traced session has left to send is sent at the end of the command, without a traceback."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

from claude_mpm.cli.tracing import _close
from claude_mpm.journal.layout import SessionFolder

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SECONDS = 60.0


class Exporter:
    """A collector that never answers: who waits for it presses Ctrl-C, or lets it be."""

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.closed: list[float | None] = []

    def close(self, created_at: float | None) -> None:
        self.closed.append(created_at)
        if not self.answers:
            raise KeyboardInterrupt


def test_ctrl_c_says_how_the_rest_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _close(cast("Any", Exporter(answers=False)), SessionFolder(tmp_path / "one"))
    (said,) = capsys.readouterr().err.split("\n")[1:-1]
    assert said.startswith("claude-mpm: interrupted before all spans were sent; claude-mpm export")


def test_a_damaged_record_is_one_line_and_the_rest_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = SessionFolder(tmp_path / "one")
    folder.create()
    folder.meta_file.write_text("no JSON")
    folder.exit_file.write(b"0\n")
    exporter = Exporter(answers=True)
    _close(cast("Any", exporter), folder)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("claude-mpm: the span of session one is not sent: ")
    assert exporter.closed == [None]


AT_THE_END = """
from opentelemetry.sdk.metrics import MeterProvider
from claude_mpm.bridges import otel

def interrupted(processor):
    raise KeyboardInterrupt

MeterProvider.shutdown = lambda provider: print("begun again")
otel.BatchSpanProcessor.shutdown = interrupted
exporter = otel.LiveExport("one")
try:
    exporter.close(None)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_what_was_interrupted_is_not_begun_again_at_the_exit() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END],
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
