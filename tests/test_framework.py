"""Frameworks: what reaches Claude, and what stops it from starting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from claude_mpm.errors import FrameworkError
from claude_mpm.framework import Agent, FrameworkLoader, agents_json

if TYPE_CHECKING:
    from pathlib import Path

AGENT = "---\nname: {name}\ndescription: Checks things.\n---\nYou are {name}.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A framework with one agent, `qa`."""
    framework = tmp_path / "framework"
    (framework / "agents").mkdir(parents=True)
    (framework / "INSTRUCTIONS.md").write_text("# Rules\n")
    (framework / "agents" / "qa.md").write_text(AGENT.format(name="qa"))
    return framework


def failure(loader: FrameworkLoader) -> str:
    with pytest.raises(FrameworkError) as caught:
        loader.load()
    message = str(caught.value)
    assert "\n" not in message
    return message


def one_agent(folder: Path, text: str) -> Agent:
    (folder / "agents" / "qa.md").write_text(text)
    (agent,) = FrameworkLoader(folder).load().agents
    return agent


def test_the_packaged_default_is_complete() -> None:
    framework = FrameworkLoader().load()
    assert framework.source == "packaged default"
    assert [a.name for a in framework.agents] == ["documentation", "engineer", "qa", "researcher"]
    for word in ("Delegating to", "TODO:", "BUG:", "FEATURE:", "ISSUE:", "ENHANCEMENT:"):
        assert word in framework.instructions
    assert all(f"`{agent.name}`" in framework.instructions for agent in framework.agents)


def test_a_file_or_a_folder(folder: Path) -> None:
    from_folder = FrameworkLoader(folder).load()
    from_file = FrameworkLoader(str(folder / "INSTRUCTIONS.md")).load()
    assert from_folder.instructions == from_file.instructions == "# Rules\n"
    assert [agent.name for agent in from_folder.agents] == ["qa"]
    assert from_file.agents == ()
    assert from_folder.source == str(folder)


def test_a_folder_needs_no_agents(folder: Path) -> None:
    (folder / "agents" / "qa.md").unlink()
    (folder / "agents").rmdir()
    assert FrameworkLoader(folder).load().agents == ()


def test_agents_dir_adds_and_replaces(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "a.md").write_text(AGENT.format(name="qa").replace("Checks", "Breaks"))
    (mine / "b.md").write_text(AGENT.format(name="scribe"))
    (mine / ".#a.md").write_text("left behind by an editor")
    framework = FrameworkLoader(folder, mine).load()
    assert [(a.name, a.description) for a in framework.agents] == [
        ("qa", "Breaks things."),
        ("scribe", "Checks things."),
    ]
    with_default = FrameworkLoader(agents_dir=mine).load()
    assert {a.name for a in with_default.agents} >= {"engineer", "qa", "scribe"}


def test_without_a_framework_only_the_agents_asked_for_remain(folder: Path) -> None:
    off = FrameworkLoader(folder, enabled=False)
    assert off.get_framework_instructions() == ""
    assert (off.load().agents, off.load().source) == ((), "none")
    asked = FrameworkLoader(agents_dir=folder / "agents", enabled=False).load()
    assert [agent.name for agent in asked.agents] == ["qa"]


def test_an_edited_framework_takes_effect(folder: Path) -> None:
    loader = FrameworkLoader(folder)
    before = loader.load()
    (folder / "INSTRUCTIONS.md").write_text("# Other rules\n")
    after = loader.load()
    assert after.instructions == "# Other rules\n" == loader.get_framework_instructions()
    assert after.sha256 != before.sha256


def test_the_hash_is_of_the_contents_not_of_the_place(folder: Path, tmp_path: Path) -> None:
    first = FrameworkLoader(folder).load().sha256
    moved = folder.rename(tmp_path / "moved")
    assert FrameworkLoader(moved).load().sha256 == first
    (moved / "INSTRUCTIONS.md").write_bytes(b"\xef\xbb\xbf# Rules\r\n")
    assert FrameworkLoader(moved).load().sha256 == first
    (moved / "agents" / "qa.md").write_text(AGENT.format(name="qa") + "More.\n")
    assert FrameworkLoader(moved).load().sha256 != first


@pytest.mark.parametrize("size", [200_000, 20_000_000])
def test_a_framework_of_any_size(folder: Path, size: int) -> None:
    (folder / "INSTRUCTIONS.md").write_text("x" * size)
    assert len(FrameworkLoader(folder).load().instructions) == size


def test_a_relative_path_stays_what_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    loader = FrameworkLoader("framework", "framework/agents")
    monkeypatch.chdir(folder / "agents")
    assert loader.load().instructions == "# Rules\n"


def test_an_agent_file_with_everything(folder: Path) -> None:
    agent = one_agent(
        folder,
        '---\r\nname: qa\r\ndescription: "One\\\\ntwo"\r\ntools: Read, Bash(git log:*, -p) Grep\r\n'
        "disallowedTools: [Write]\r\nmodel: sonnet\r\npermissionMode: plan\r\neffort: high\r\n"
        "skills: a, b\r\nmaxTurns: 5\r\nbackground: true\r\ncolor: red\r\nversion: 3\r\n"
        "hooks: {Stop: []}\r\nmcpServers: [one]\r\n---\r\n\r\nYou check.\r\n---\r\nAlways.\r\n",
    )
    assert agent.tools == ("Read", "Bash(git log:*, -p)", "Grep")
    assert agent.prompt == "You check.\n---\nAlways."
    assert json.loads(agents_json((agent,))) == {
        "qa": {
            "description": "One\ntwo",
            "prompt": "You check.\n---\nAlways.",
            "tools": ["Read", "Bash(git log:*, -p)", "Grep"],
            "model": "sonnet",
            "disallowedTools": ["Write"],
            "permissionMode": "plan",
            "effort": "high",
            "skills": ["a", "b"],
            "maxTurns": 5,
            "background": True,
            "color": "red",
            "hooks": {"Stop": []},
            "mcpServers": ["one"],
        }
    }


@pytest.mark.parametrize(
    ("line", "tools"),
    [("", None), ("tools: []\n", ()), ("tools: '*'\n", None), ("tools: Read\n", ("Read",))],
)
def test_which_tools_an_agent_has(folder: Path, line: str, tools: tuple[str, ...] | None) -> None:
    agent = one_agent(folder, f"---\nname: qa\ndescription: x\n{line}---\nprompt\n")
    assert agent.tools == tools
    assert ("tools" in agent.definition()) == (tools is not None)


BROKEN_AGENTS = {
    "no front matter": ("You are qa.\n", 1, "no front matter"),
    "empty file": ("", 1, "no front matter"),
    "no end": ("---\nname: qa\n", 1, "has no end"),
    "colon in a text": ("---\nname: qa\ndescription: for: this\n---\nx\n", 3, "quotes"),
    "open list": ("---\nname: qa\ntools: [Read\ndescription: x\n---\nx\n", 4, "not YAML"),
    "tab": ("---\nname: qa\ndescription:\n\t- x\n---\nx\n", 4, "not YAML"),
    "control character": ("---\nname: qa\ndescription: \x07\n---\nx\n", 3, "remove"),
    "impossible date": ("---\nname: qa\ndescription: 2024-13-45\n---\nx\n", 2, "month"),
    "a tag of Python's": (
        "---\nname: !!python/object/apply:os.system [true]\ndescription: x\n---\nx\n",
        2,
        "could not determine a constructor",
    ),
    "endless alias": ("---\nname: qa\ndescription: x\nhooks: &a [*a]\n---\nx\n", 2, "simpler"),
    "deep nesting": (f"---\nname: {'[' * 5000}\n---\nx\n", 2, "simpler"),
    "a list": ("---\n- name\n---\nx\n", 2, "key: value"),
    "nothing between the marks": ("---\n---\nx\n", 2, "key: value"),
    "no name": ("---\ndescription: x\n---\nx\n", 1, "`name` is missing"),
    "no description": ("---\nname: qa\n---\nx\n", 1, "`description` is missing"),
    "empty description": ("---\nname: qa\ndescription: ''\n---\nx\n", 3, "length >= 1"),
    "number as name": ("---\nname: 7\ndescription: x\n---\nx\n", 2, "expected text, got a whole"),
    "blank in a name": ("---\nname: q a\ndescription: x\n---\nx\n", 2, "then use only letters"),
    "option as name": ("---\nname: -p\ndescription: x\n---\nx\n", 2, "then use only letters"),
    "key twice": ("---\nname: qa\ndescription: x\nname: qb\n---\nx\n", 4, "there twice"),
    "typo in a key": ("---\nname: qa\ndescription: x\ntool: Read\n---\nx\n", 4, "`tools`"),
    "empty tools": ("---\nname: qa\ndescription: x\ntools:\n---\nx\n", 4, "text or a list"),
    "number in tools": ("---\nname: qa\ndescription: x\ntools: [1]\n---\nx\n", 4, "`tools`"),
    "text for a number": (
        "---\nname: qa\ndescription: x\nmaxTurns: a\n---\nx\n",
        4,
        "whole number",
    ),
    "unknown mode": ("---\nname: qa\ndescription: x\nmemory: all\n---\nx\n", 4, "user, project"),
    "no prompt": ("---\nname: qa\ndescription: x\n---\n \n", 4, "no prompt"),
}


@pytest.mark.parametrize(("text", "line", "reason"), BROKEN_AGENTS.values(), ids=BROKEN_AGENTS)
def test_a_broken_agent_is_named_with_its_line(
    folder: Path, text: str, line: int, reason: str
) -> None:
    (folder / "agents" / "qa.md").write_text(text)
    message = failure(FrameworkLoader(folder))
    assert message.startswith(f"{folder}/agents/qa.md, line {line}: ")
    assert message.count("qa.md") == 1
    assert reason in message


def test_two_agents_of_one_name(folder: Path) -> None:
    (folder / "agents" / "tester.md").write_text(AGENT.format(name="qa"))
    message = failure(FrameworkLoader(folder))
    assert "agents/tester.md, line 2: " in message
    assert "qa.md" in message


@pytest.mark.parametrize("text", ["", " \n\t\r\n", "\ufeff \n"])
def test_empty_instructions_are_no_framework(folder: Path, text: str) -> None:
    (folder / "INSTRUCTIONS.md").write_text(text)
    assert "INSTRUCTIONS.md: the file is empty" in failure(FrameworkLoader(folder))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_instructions_that_are_not_utf8(folder: Path, mark: bytes) -> None:
    (folder / "INSTRUCTIONS.md").write_bytes(mark + b"# Rules\ncaf\xe9\n")
    message = failure(FrameworkLoader(folder))
    assert f"INSTRUCTIONS.md, line 2: the byte at offset {11 + len(mark)} is not UTF-8" in message


def test_an_agent_that_is_not_utf8(folder: Path) -> None:
    (folder / "agents" / "qa.md").write_bytes(b"\xff\xfe-\x00")
    assert "agents/qa.md, line 1: the byte at offset 0" in failure(FrameworkLoader(folder))


def test_paths_that_lead_nowhere(folder: Path, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "there is no such file; name" in failure(FrameworkLoader(tmp_path / "missing"))
    assert "INSTRUCTIONS.md: there is no such file" in failure(FrameworkLoader(empty))
    assert "cannot be read" in failure(FrameworkLoader(loop))
    assert "not a regular file" in failure(FrameworkLoader(pipe))
    assert "cannot be read" in failure(FrameworkLoader("x" * 5000))
    assert "there is no such folder" in failure(FrameworkLoader(folder, tmp_path / "missing"))
    assert "not a folder" in failure(FrameworkLoader(folder, folder / "INSTRUCTIONS.md"))
    assert "no agent file" in failure(FrameworkLoader(folder, empty))
    assert "cannot be read" in failure(FrameworkLoader(folder, "x" * 5000))


def test_agents_of_a_framework_must_be_a_folder(folder: Path) -> None:
    (folder / "agents" / "qa.md").unlink()
    (folder / "agents").rmdir()
    (folder / "agents").write_text("qa")
    assert "agents: not a folder" in failure(FrameworkLoader(folder))


@pytest.mark.parametrize("path", ["", "~no-such-user/framework"])
def test_a_path_that_cannot_be_meant(path: str) -> None:
    with pytest.raises(FrameworkError, match=r"is empty|no such home"):
        FrameworkLoader(path)


def test_yaml_is_not_imported_before_an_agent_is_read() -> None:
    program = (
        "import sys; sys.modules.pop('yaml', None); import claude_mpm.framework;"
        "sys.exit('yaml' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
