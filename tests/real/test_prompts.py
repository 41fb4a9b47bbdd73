"""What bare `claude -p` prints is printed; a prompt is text unless it is to be a command."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm import Outcome
from claude_mpm.testing import Call

if TYPE_CHECKING:
    from claude_mpm.capabilities.facts import Capabilities
    from claude_mpm.testing import ScriptedModel
    from command import Command
    from conftest import MakeClaude

SCHEMA = json.dumps(
    {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
)  # fmt: skip
SKILL = """---
name: deep
description: Looks deeper.
context: fork
---

LOOK DEEPER
"""


@pytest.fixture
def forked_skill(model: ScriptedModel) -> None:
    skill = Path(".claude/skills/deep/SKILL.md")
    skill.parent.mkdir(parents=True)
    skill.write_text(SKILL)
    model.on("LOOK DEEPER", "It is deep.\nTODO: paint the fork")


def bare(command: Command, claude_path: str, *words: str) -> str:
    return subprocess.run(
        [claude_path, "-p", *words], env=command.environ, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip


def test_a_value_for_a_schema_is_printed_and_handed_through(
    command: Command, model: ScriptedModel
) -> None:
    model.on("go", Call("StructuredOutput", n=42))
    schema = ("--", "--json-schema", SCHEMA)
    done = command("run", "go", *schema)
    assert done.stdout == '{"n":42}\n'
    turn = json.loads(command("run", "--json", "go", *schema).stdout)
    assert turn["text"] == '{"n":42}'
    assert turn["structured_output"] == {"n": 42}
    assert turn["results"][0]["structured_output"] == {"n": 42}


def test_without_a_value_for_the_schema_the_turn_has_failed(
    command: Command, model: ScriptedModel
) -> None:
    model.on("enforce", "Still no value.")
    model.on("go", "No value.")
    done = command("run", "go", "--", f"--json-schema={SCHEMA}", status=1)
    assert done.stdout == "No value.\nStill no value.\n"
    assert "failed (Claude gave no value for the JSON schema)" in done.stderr
    (turn,) = command.json("show")["turns"]
    assert turn["outcome"] == "failed"
    assert "Claude gave no value for the JSON schema" in turn["evidence"]


def test_python_has_the_value(make_claude: MakeClaude, model: ScriptedModel) -> None:
    model.on("go", Call("StructuredOutput", n=7))
    with make_claude(claude_args=["--json-schema", SCHEMA]) as claude:
        turn = claude.ask("go")
        assert (turn.structured_output, turn.text) == ({"n": 7}, '{"n":7}')
        assert turn.check().results[0].structured_output == {"n": 7}


@pytest.mark.usefixtures("forked_skill")
def test_a_forked_skill_answers_and_its_tickets_count(
    command: Command, claude_path: str, build: Capabilities
) -> None:
    done = command("run", "--as-command", "/deep")
    assert done.stdout == "It is deep.\nTODO: paint the fork\n"
    assert done.stdout == bare(command, claude_path, "/deep")
    tells = build.can("tells_skills")
    assert ("does not tell what a skill with a context of its own" in done.stderr) is not tells
    # Said by the skill, and again by its answer.
    assert done.stderr.count("✎") == int(tells)
    found = [ticket["title"] for ticket in command.json("tickets")]
    assert found == ["paint the fork"] * tells


@pytest.mark.parametrize("text", ["/cost", "/context", "/model opus", "/help", "/exit", "/login x"])
def test_a_command_of_claude_code_answers(
    command: Command, model: ScriptedModel, text: str
) -> None:
    done = command("run", "--as-command", text)
    assert done.stdout.strip()
    assert model.requests == ()


def test_a_command_that_was_no_prompt_is_in_the_evidence(
    make_claude: MakeClaude, build: Capabilities
) -> None:
    with make_claude(session_id="s") as claude:
        evidence = claude.ask("/cost", command=True).verdict.evidence
        limits = claude.store.folder("s").read_meta().starts[0].claude_limits
    names = build.can("names_commands")
    assert ("a command of Claude Code ran, and no prompt (cost)" in evidence) is names
    assert ("does not say that a prompt was a command" in limits) is not names


# What a build that does not take a prompt as it is takes for something else.
TAKEN = [
    "/context is slow, find out why",
    "/login returns 500",
    "/clear",
    "/deep",
    "look at @secret.txt",
    "@secret.txt",
]
COST = re.compile("(Estimated|Total) cost: ")  # how the answer of `/cost` begins
# A note that some builds do not add to a prompt that they take as it is.
TOKENS_LEFT = re.compile(r"<total_tokens>[\w ]+</total_tokens>(\\n)*")
NOT_TAKEN = ["  /cost\n", "/etc/passwd is world-readable", "!ls", "ultrathink about it"]


@pytest.mark.usefixtures("forked_skill")
@pytest.mark.parametrize("text", TAKEN + NOT_TAKEN)
def test_a_prompt_reaches_the_model_as_it_is(
    make_claude: MakeClaude, model: ScriptedModel, build: Capabilities, text: str
) -> None:
    Path("secret.txt").write_text("MARK-OF-THE-FILE")
    with make_claude(session_id="s") as claude:
        turn = claude.ask(text).check()
        (start,) = claude.store.folder("s").read_meta().starts
    bodies = json.dumps([request.body for request in model.requests])
    as_it_is = (
        [request.prompt.strip() for request in model.requests] == [text.strip()]
        and "MARK-OF-THE-FILE" not in bodies
        and turn.text.startswith("Claude heard: ")
    )
    assert as_it_is is (build.can("verbatim") or text in NOT_TAKEN)
    assert ("begins with / for a command" in start.claude_limits) is not build.can("verbatim")


def test_verbatim_leaves_the_context_as_it_is(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    """Skills, `CLAUDE.md` and all else that Claude Code adds to a prompt stay."""
    Path("CLAUDE.md").write_text("MARK-OF-THE-PROJECT")

    def context(prompt: str, **how: Any) -> str:
        with make_claude() as claude:
            claude.ask(prompt, **how).check()
        messages = json.dumps(model.requests[-1].body["messages"])
        return TOKENS_LEFT.sub("", messages)

    asked, typed = context("hello"), context("hello", command=True)
    assert "MARK-OF-THE-PROJECT" in asked
    assert "Available agent types" in asked
    assert asked == typed


def test_every_way_in_is_verbatim_unless_it_is_asked_for_as_a_command(
    command: Command, model: ScriptedModel, build: Capabilities
) -> None:
    # Of a build that takes nothing as it is, that is said, and a blank before it is text for it.
    cost = "/cost" if build.can("verbatim") else " /cost"
    ran = command("run", "--detach", "--session", "s", f"{cost} first")
    assert ("begins with / for a command" in ran.stderr) is not build.can("verbatim")
    command("send", "--wait", "s", f"{cost} second")
    command("send", "s", f"{cost} third")
    model.wait_for_request("/cost third")
    assert COST.search(command("send", "--wait", "--as-command", "s", "/cost").stdout)
    command("stop", "s")
    fourth = command("resume", "s", f"{cost} fourth")
    assert fourth.stdout == f"Claude heard: {cost} fourth\n"
    assert COST.search(command("resume", "--as-command", "s", "/cost").stdout)
    said = " ".join(request.prompt for request in model.requests)
    assert all(f"/cost {each}" in said for each in ("first", "second", "third", "fourth"))


def test_refused_tools_are_in_the_evidence_the_summary_and_show(
    command: Command, model: ScriptedModel, build: Capabilities
) -> None:
    write = Call("Write", file_path=str(Path("note.txt").absolute()), content="x")
    model.on("go", write, "All is done.")
    done = command("run", "go")
    assert done.stdout == "All is done.\n"
    assert "completed (1 use of a tool was refused: Write)" in done.stderr
    assert done.stderr.count("✗ Write denied") == int(build.can("tells_refusals"))
    shown = command("show").stdout
    assert "refused" in shown
    (turn,) = command.json("show")["turns"]
    assert "1 use of a tool was refused (Write)" in turn["evidence"]
    assert turn["denied_tools"] == ["Write"]


def test_what_a_rule_of_the_project_refuses_is_told_as_well(
    command: Command, model: ScriptedModel, build: Capabilities
) -> None:
    secret = Path("secret.txt")
    secret.write_text("x")
    Path(".claude").mkdir()
    rules = {"permissions": {"deny": ["Read(./secret.txt)"]}}
    Path(".claude/settings.json").write_text(json.dumps(rules))
    model.on("go", Call("Read", file_path=str(secret.absolute())), "All is done.")
    done = command("run", "go")
    denied = "✗ Read denied: File is in a directory that is denied"
    assert done.stderr.count(denied) == int(build.can("tells_rules"))
    counts = build.can("counts_rules")
    assert ("completed (1 use of a tool was refused: Read)" in done.stderr) is counts
    assert ("does not say that a rule refused a tool" in done.stderr) is not counts


def test_that_claude_code_overrode_a_hook_is_told(
    command: Command, model: ScriptedModel, build: Capabilities
) -> None:
    Path(".claude").mkdir()
    hook = {"hooks": [{"type": "command", "command": "echo no >&2; exit 2"}]}
    Path(".claude/settings.json").write_text(json.dumps({"hooks": {"Stop": [hook]}}))
    command("trust", ".")
    model.on("go", "TODO: paint")
    done = command("run", "--json", "go")
    turn = json.loads(done.stdout)
    assert turn["outcome"] == "completed"
    told = [line for line in turn["evidence"] if line.startswith("Claude Code says: ")]
    tells = build.can("tells_overrides")
    assert ["overriding" in line for line in told] == [True] * tells
    assert ("does not say that it overrode a hook" in done.stderr) is not tells
    done = command("run", "go")
    assert done.stderr.count("! A hook blocked the turn") == int(tells)


def test_a_prompt_that_a_hook_blocks_is_answered_by_claude_code(make_claude: MakeClaude) -> None:
    hook = {"hooks": [{"type": "command", "command": "echo not today >&2; exit 2"}]}
    settings = json.dumps({"hooks": {"UserPromptSubmit": [hook]}})
    with make_claude(claude_args=["--settings", settings]) as claude:
        turn = claude.ask("go").wait(60)
    assert "not today" in turn.text
    assert turn.verdict.outcome is Outcome.COMPLETED
    assert any("blocked by hook" in line for line in turn.verdict.evidence)
