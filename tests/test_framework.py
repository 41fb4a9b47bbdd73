"""Frameworks: what reaches Claude, and what stops it from starting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from claude_mpm.config.framework import Agent, FrameworkLoader, agents_json
from claude_mpm.errors import FrameworkError

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
    "a blank line first": ("\n---\nname: qa\n---\nx\n", 1, "must be the first line"),
    "no mark at all": ("name: qa\ndescription: x\n\nYou are qa.\n", 1, "no front matter"),
    "no end": ("---\nname: qa\n", 1, "has no end"),
    "text that goes on": ("---\nname: qa\ndescription: a: b\n c: d\n---\nx\n", 3, "as a block"),
    "text at the margin": ("---\nname: qa\ndescription: a\nb c d\n---\nx\n", 4, "as a block"),
    "no blank but what looks so": ("---\nname: qa\ndescription:\u00a0x\n---\nx\n", 3, "colon"),
    "open list": ("---\nname: qa\ntools: [Read\ndescription: x\n---\nx\n", 3, "no tool"),
    "open quote": ('---\nname: qa\ntools: "Read, A\ndescription: x\n---\nx\n', 3, "not YAML"),
    "tab": ("---\nname: qa\ndescription:\n\t- x\n---\nx\n", 3, "got a list"),
    "control character": ("---\nname: qa\ndescription: \x07\n---\nx\n", 3, "remove"),
    "a tag of Python's": (
        "---\nname: !!python/object/apply:os.system [true]\ndescription: x\n---\nx\n",
        2,
        "Claude takes no `:`",
    ),
    "a loop": ("---\nname: qa\ndescription: x\nhooks: &a {b: *a}\n---\nx\n", 2, "simpler"),
    "a bomb": (
        "---\nname: qa\na: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\n"
        "c: &c [*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c]\n"
        "e: [*d,*d,*d,*d,*d,*d,*d]\n---\nx\n",
        2,
        "too large",
    ),
    "endless alias": ("---\nname: qa\ndescription: x\nhooks: &a [*a]\n---\nx\n", 2, "simpler"),
    "deep nesting": (f"---\nname: {'[' * 5000}\n---\nx\n", 2, "simpler"),
    "a list": ("---\n- name\n---\nx\n", 2, "key: value"),
    "nothing between the marks": ("---\n---\nx\n", 2, "key: value"),
    "no name": ("---\ndescription: x\n---\nx\n", 1, "`name` is missing"),
    "no description": ("---\nname: qa\n---\nx\n", 1, "`description` is missing"),
    "empty description": ("---\nname: qa\ndescription: ''\n---\nx\n", 3, "length >= 1"),
    "number as name": ("---\nname: 7\ndescription: x\n---\nx\n", 2, "expected text, got a whole"),
    "colon in a name": ("---\nname: q:a\ndescription: x\n---\nx\n", 2, "then use only letters"),
    "wide colon": ("---\nname: q：a\ndescription: x\n---\nx\n", 2, "no `:` in a name"),
    "endless name": (f"---\nname: {'q' * 257}\ndescription: x\n---\nx\n", 2, "256 characters"),
    "unseen in a name": ('---\nname: "q\\u202Ea"\ndescription: x\n---\nx\n', 2, "be seen"),
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
    "hook without an event": (
        "---\nname: qa\ndescription: x\nStop: []\n---\nx\n",
        4,
        "below `hooks:`",
    ),
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


SLIPS = {
    "tools": (
        "allowed-tools allowed_tools allowedTools TOOLS Tools tool allow-tools enabledTools toosl"
        " tools_allowed tool-whitelist ALLOWED_TOOL permitted_tools availableTools"
    ),
    "disallowedTools": (
        "disallowed-tools disallowed_tools DisallowedTools disallowedTool deniedTools denied-tools"
        " blocked_tools forbidden-tools excludeTools tool_blacklist no-tools disalowed_tools"
    ),
    "permissionMode": "permission-mode permission_mode PermissionMode permissionmode",
    "maxTurns": "max_turns max-turns MaxTurns maxTurn",
    "mcpServers": "mcp-servers mcp_servers MCPServers",
    "model": "Model MODEL modle",
    "hooks": "Hooks hook",
}


@pytest.mark.parametrize(
    ("meant", "key"), [(meant, key) for meant, keys in SLIPS.items() for key in keys.split()]
)
def test_a_slip_in_a_field_is_named_by_its_meaning(folder: Path, meant: str, key: str) -> None:
    text = f"---\nname: qa\ndescription: x\n{key}: Read\n---\nx\n"
    (folder / "agents" / "qa.md").write_text(text)
    message = failure(FrameworkLoader(folder))
    assert message.endswith(f"line 4: there is no field `{key}`; did you mean `{meant}`?")


FOREIGN = (
    "mode models names permission permissions temperature top_p version author tags tool_choice"
    " toolkit model_name steps hidden when_to_use descriptionLong argument-hint"
)


@pytest.mark.parametrize("key", FOREIGN.split())
def test_a_field_of_another_program_is_passed_over_with_a_note(folder: Path, key: str) -> None:
    text = f"---\nname: qa\ndescription: x\n{key}: [a, b]\n---\nx\n"
    (folder / "agents" / "qa.md").write_text(text)
    framework = FrameworkLoader(folder).load()
    (note,) = framework.notes
    assert note.endswith(f"qa.md, line 4: passed over, since Claude has no such field: `{key}`")
    assert framework.agents[0].fields == {"description", "prompt"}


WRONG_INSIDE = {
    "no event": ("hooks: {pre: []}", "`pre`"),
    "no list": ("hooks: {Stop: x}", "`Stop`"),
    "no hooks in it": ("hooks: {Stop: [{matcher: a}]}", "hooks"),
    "no type": ("hooks: {Stop: [{hooks: [{command: a}]}]}", "type"),
    "no such type": ("hooks: {Stop: [{hooks: [{type: shell}]}]}", "type"),
    "no command": ("hooks: {Stop: [{hooks: [{type: command}]}]}", "command"),
    "a time that is none": (
        "hooks: {Stop: [{hooks: [{type: command, command: a, timeout: 0}]}]}", "timeout",
    ),
    "an address that is none": ("hooks: {Stop: [{hooks: [{type: http, url: x}]}]}", "url"),
    "servers by name": ("mcpServers: {srv: {command: a}}", "a list"),
    "a number for a server": ("mcpServers: [{srv: 3}]", "[0]"),
    "a server without anything": ("mcpServers: [{srv: {}}]", "command"),
    "a server without an address": ("mcpServers: [{srv: {type: http}}]", "url"),
    "two servers in one": ("mcpServers: [{a: {command: x}, b: {command: x}}]", "length"),
    "arguments as a text": ("mcpServers: [{a: {command: x, args: y}}]", "args"),
    "a server of no known kind": ("mcpServers: [{a: {type: sdk, name: a}}]", "type"),
}  # fmt: skip


@pytest.mark.parametrize(("more", "reason"), WRONG_INSIDE.values(), ids=WRONG_INSIDE)
def test_hooks_and_servers_are_checked_to_their_inside(
    folder: Path, more: str, reason: str
) -> None:
    text = f"---\nname: qa\ndescription: x\n{more}\n---\nx\n"
    (folder / "agents" / "qa.md").write_text(text)
    message = failure(FrameworkLoader(folder))
    assert message.startswith(f"{folder}/agents/qa.md, line 4: `{more.partition(':')[0]}")
    assert reason in message


def test_hooks_and_servers_are_handed_on_as_they_are(folder: Path) -> None:
    head = """\
hooks:
  PreToolUse:
    - matcher: Bash
      hooks:
        - {type: command, command: ./check, timeout: 5, later: 1}
        - {type: prompt, prompt: is it well}
mcpServers:
  - github
  - files: {command: npx, args: [-y, files], env: {A: b}}
  - web: {type: http, url: "https://example.com/mcp", headers: {A: b}}
"""
    agent = one_agent(folder, f"---\nname: qa\ndescription: x\n{head}---\nx\n")
    assert agent.fields == {"description", "prompt", "hooks", "mcpServers"}
    assert agent.options["hooks"]["PreToolUse"][0]["hooks"][0]["later"] == 1
    assert agent.options["mcpServers"][1]["files"]["args"] == ["-y", "files"]


AS_CLAUDE_READS = {
    "a colon": ("description: for: this", {"description": "for: this"}),
    "quotes": ('description: say "it\'s": so', {"description": 'say "it\'s": so'}),
    "an open bracket": ("description: [draft", {"description": "[draft"}),
    "a sign first": ("description: *never*", {"description": "*never*"}),
    "a comma first": ("description: , x", {"description": ", x"}),
    "a tab inside": ("description: a\tb", {"description": "a\tb"}),
    "tools of such a head": ("description: a: b\ntools: Read", {"tools": ("Read",)}),
    "a comment in such a head": ("description: a: b\nmodel: x # y", {"model": "x # y"}),
    "a comment in a head": ("description: a\nmodel: x # y", {"model": "x"}),
    "a date": ("description: 2024-13-45", {"description": "2024-13-45"}),
    "a word of old YAML": ("description: no", {"description": "no"}),
    "a tag": ("description: !local text", {"description": "text"}),
    "a text for a switch": ("description: a\nbackground: 'true'", {"background": True}),
    "a text for a number": ("description: a\nmaxTurns: '5'", {"maxTurns": 5}),
    "an effort in upper case": ("description: a\neffort: HIGH", {"effort": "high"}),
    "a field without a value": ("description: a\nmodel:", {"description": "a"}),
    "a tab before a field's list": ("description: a: b\nskills:\n\t- x", {"skills": ["x"]}),
}


@pytest.mark.parametrize(("head", "expected"), AS_CLAUDE_READS.values(), ids=AS_CLAUDE_READS)
def test_what_claude_reads_means_the_same(
    folder: Path, head: str, expected: dict[str, object]
) -> None:
    definition = one_agent(folder, f"---\nname: qa\n{head}\n---\nx\n").definition()
    assert {key: definition[key] for key in expected} == expected


@pytest.mark.parametrize(
    "name",
    [
        "परीक्षक",
        "pru\u0308fer",
        "ผู้ตรวจ",
        "验收员",
        "مُراجِع",
        "two words",
        "a/b",
        "_x",
        "q" * 256,
        "v1.2",
    ],
)
def test_names_of_every_script(folder: Path, name: str) -> None:
    assert one_agent(folder, f"---\nname: {name}\ndescription: x\n---\nx\n").name == name


def test_all_mistakes_of_all_files_are_told_at_once(folder: Path, tmp_path: Path) -> None:
    (folder / "agents" / "qa.md").write_text(
        "---\nname: qa\ndescription: x\nTools: Read\neffort: fast\n---\nx\n"
    )
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "a.md").write_text("---\nname: a\n---\n")
    os.mkfifo(mine / "b.md")
    (mine / "c.md").symlink_to(mine / "nowhere")
    (mine / "d.md").write_bytes(b"---\nname: \xff\n---\n")
    (mine / "e.md").write_text(AGENT.format(name="e") + "x" * (1 << 20))
    with pytest.raises(FrameworkError) as caught:
        FrameworkLoader(folder, mine).load()
    found = [line.rpartition("/")[2].partition(": ") for line in str(caught.value).split("\n")]
    assert [(where, reason[:20]) for where, _, reason in found] == [
        ("qa.md, line 4", "there is no field `T"),
        ("qa.md, line 5", "`effort`: expected o"),
        ("a.md, line 1", "`description` is mis"),
        ("a.md, line 3", "no prompt; write wha"),
        ("b.md", "not a regular file; "),
        ("c.md", "there is no such fil"),
        ("d.md, line 2", "the byte at offset 1"),
        ("e.md", "more than 1048576 by"),
    ]


def test_folders_in_folders_are_read_and_what_is_no_agent_is_noted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agents = folder / "agents"
    (agents / "README.md").write_text("# Our agents\n")
    (agents / "empty.md").write_text("")
    (agents / ".hidden.md").write_text(AGENT.format(name="hidden"))
    (agents / "LOUD.MD").write_text(AGENT.format(name="loud"))
    (agents / "team" / "x.md").mkdir(parents=True)
    (agents / "team" / "deep.md").write_text(AGENT.format(name="deep"))
    (agents / "team" / "x.md" / "deeper.md").write_text(AGENT.format(name="deeper"))
    (agents / ".git").mkdir()
    (agents / ".git" / "no.md").write_text(AGENT.format(name="no"))
    (agents / "team" / "round").symlink_to(agents)
    loader = FrameworkLoader(folder)
    framework = loader.load()
    loader.load()
    assert [agent.name for agent in framework.agents] == ["deep", "deeper", "qa"]
    noted = [note.removeprefix(f"{agents}/").partition(":")[0] for note in framework.notes]
    assert noted == [".hidden.md", "LOUD.MD", "README.md, line 1", "empty.md, line 1"]
    assert [record.getMessage() for record in caplog.records] == list(framework.notes)


def test_agents_that_are_a_link_to_nowhere(folder: Path) -> None:
    (folder / "agents" / "qa.md").unlink()
    (folder / "agents").rmdir()
    (folder / "agents").symlink_to(folder / "nowhere")
    assert "agents: a link that leads nowhere" in failure(FrameworkLoader(folder))


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
        "import sys; sys.modules.pop('yaml', None); import claude_mpm.config.framework;"
        "sys.exit('yaml' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
