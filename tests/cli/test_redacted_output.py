"""A secret is in the journal and in Claude's answer, and in nothing else that a command prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.testing import Call
from claude_mpm.testing.subject import until
from command import SECONDS, Command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.testing import ScriptedModel

PLANTED = "hunter2-but-longer"
FORM = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
URL = "postgres://u:w0rd/p@ss@db/x"
ALL = f"{PLANTED} {FORM} {URL} PASSWORD=tr0ub4dor"
SECRETS = (PLANTED, FORM, "w0rd/p@ss", "tr0ub4dor")


def told(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def waiting(command: Command) -> list[dict[str, Any]]:
    until(lambda: command.json("questions"), "Claude never asks")
    return list(command.json("questions"))


@pytest.fixture
def command(model: ScriptedModel, home: Path, claude_path: str) -> Iterator[Command]:
    command = Command(model, home, claude_path)
    command.environ["DB_PASS"] = PLANTED
    yield command
    command.close()


def test_nothing_but_the_answer_tells_a_secret(command: Command, model: ScriptedModel) -> None:
    model.on(
        "go",
        Call("Bash", command=f"true {ALL}", description="x"),
        f"The answer is {ALL}\nTODO: rotate {ALL}\nDelegating to engineer: rotate {ALL}",
    )
    ran = command("run", f"go {ALL}", "-v", "-v", "--allowed-tools", "Bash")
    assert set(told(ran.stdout)) == set(SECRETS), "the answer is as Claude gave it"
    assert told(ran.stderr) == []
    assert "⚙ Bash true [redacted]" in ran.stderr
    del command.environ["DB_PASS"]  # what the session knows is enough
    for words in (
        ["ps", "--all"],
        ["ps", "--all", "--json"],
        ["show"],
        ["show", "--json"],
        ["tickets"],
        ["tickets", "--json"],
        ["tickets", "export", "--format", "csv"],
        ["delegations"],
        ["delegations", "--json"],
    ):
        printed = command(*words)
        assert told(printed.stdout + printed.stderr) == [], words
    attached = command("attach")
    assert told(attached.stderr) == []
    assert set(told(attached.stdout)) == set(SECRETS)
    assert set(told(command("logs").stdout)) == set(SECRETS)


def test_a_scan_tells_no_secret(command: Command) -> None:
    Path("notes.txt").write_text(f"TODO: rotate {ALL}\nDelegating to engineer: rotate {ALL}\n")
    for words in ([], ["--json"]):
        printed = command("tickets", "scan", "notes.txt", *words)
        assert told(printed.stdout + printed.stderr) == []
        assert "rotate [redacted]" in printed.stdout


def test_a_list_of_questions_tells_no_secret_and_the_answer_still_works(
    command: Command, model: ScriptedModel
) -> None:
    model.on("go", Call("Bash", command=f"touch marker.txt # {ALL}"), "Answered.")
    session = command("run", "--detach", "go", "--permissions", "ask").stdout.strip()
    found = waiting(command)
    assert told(json.dumps(found)) == []
    assert told(command("questions").stdout) == []
    unnamed = command("answer", session, "allow", status=2)
    assert told(unnamed.stderr) == []
    done = command("answer", session, found[0]["question"], "allow", "--json")
    assert told(done.stdout) == []
    assert command("wait", session).returncode == 0
    assert Path("marker.txt").exists()
    assert told(command("questions", "--answered", "--json").stdout) == []


def test_a_question_in_a_pipe_tells_no_secret(command: Command, model: ScriptedModel) -> None:
    model.on("go", Call("Bash", command=f"touch x # {ALL}"), "Answered.")
    runs = command.start("run", "go", "--permissions", "ask")
    found = waiting(command)
    command("answer", found[0]["session"], "deny")
    _, errors = runs.communicate(timeout=SECONDS)
    assert "? Claude wants to use Bash: touch x # [redacted]" in errors
    assert told(errors) == []
