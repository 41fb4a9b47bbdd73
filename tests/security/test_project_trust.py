"""Each setting of a project that Claude Code acts on: nothing before trust, and after it as bare.

Every row is played three times with the real Claude Code: by itself, through claude-mpm in a folder
that nobody has trusted, and through claude-mpm once it is trusted. What ran or was permitted leaves
a file behind.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.config.trust import set_trust
from claude_mpm.environments.ssh import SSH
from claude_mpm.testing import Call, Delegate
from claude_mpm.testing.subject import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from claude_mpm.testing import ScriptedModel
    from claude_mpm.testing.request import Request
    from conftest import MakeClaude
    from real_places import Engine, SSHServer

SECONDS = 60.0


@dataclass(frozen=True)
class Folder:
    """A project that was just cloned, below a folder that holds others as well.

    Attributes:
        expected: the marks that the Claude that plays now is to leave.
    """

    path: Path
    marks: Path
    expected: set[str] = field(default_factory=set)

    def write(self, name: str, content: object) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            file.write_text(content if isinstance(content, str) else json.dumps(content))

    def mark(self, name: str = "ran") -> str:
        """Return a command that leaves a mark."""
        return f"touch {self.marks}/{name}"

    def wait(self) -> None:
        """Wait until all that are expected are there: not all that Claude starts is waited for."""
        until(
            lambda: self.expected <= {mark.name for mark in self.marks.iterdir()},
            f"not all of {self.expected} ran",
        )

    def marked(self) -> set[str]:
        """Return the marks, and take them away, once all that are expected are there."""
        self.wait()
        found = set()
        for mark in self.marks.iterdir():
            found.add(mark.name)
            mark.unlink()
        return found


@dataclass(frozen=True)
class Row:
    """A setting.

    Args:
        write: puts it into the project.
        bare: the marks that bare Claude Code leaves, as it was observed.
        does: what the model does, beside its answer.
        at: the folder below the project in which Claude works.
        prompt: what it is told.
        variables: of its environment; None takes one away.
    """

    write: Callable[[Folder], None]
    bare: set[str] = field(default_factory=lambda: {"ran"})
    does: Callable[[Folder], list[Any]] = lambda _: []
    at: str = "."
    prompt: str = "hello"
    variables: Mapping[str, str | None] = field(default_factory=dict)


def hooks(command: str) -> dict[str, Any]:
    return {"hooks": {"UserPromptSubmit": [{"hooks": [{"type": "command", "command": command}]}]}}


def servers(command: str) -> dict[str, Any]:
    return {"mcpServers": {"e": {"command": "sh", "args": ["-c", command]}}}


def settings(name: str, make: Callable[[Folder], object]) -> Callable[[Folder], None]:
    return lambda folder: folder.write(f".claude/{name}", make(folder))


def hooks_in(name: str) -> Callable[[Folder], None]:
    return lambda folder: folder.write(name, hooks(folder.mark()))


def helper(key: str) -> Callable[[Folder], None]:
    return settings("settings.json", lambda folder: {key: folder.mark()})


def permissions(name: str, **rules: object) -> Callable[[Folder], None]:
    return settings(name, lambda _: {"permissions": rules})


def servers_at(name: str) -> Callable[[Folder], None]:
    return lambda folder: folder.write(name, servers(folder.mark()))


def raw(encode: Callable[[str], bytes]) -> Callable[[Folder], None]:
    """Write hooks as bytes that not every reader takes for JSON."""
    return settings("settings.json", lambda folder: encode(json.dumps(hooks(folder.mark()))))


def words(name: str, head: str, body: str = "Do it.") -> Callable[[Folder], None]:
    """Write an agent, a command or a skill."""

    def write(folder: Folder) -> None:
        front = head.replace("MARK", folder.mark())
        text = f"---\nname: s\ndescription: what it does\n{front}\n---\n"
        folder.write(name, text + body.replace("MARK", folder.mark()) + "\n")

    return write


def linked(folder: Folder) -> None:
    folder.write("elsewhere/settings.json", hooks(folder.mark()))
    (folder.path / ".claude").symlink_to("elsewhere")


def of_the_main_work_tree(folder: Folder) -> None:
    main, git = folder.path.parent / "main", ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q", main], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], cwd=main, check=True)
    (folder.path / ".git").rmdir()
    subprocess.run([*git, "worktree", "add", "-q", folder.path / "tree"], cwd=main, check=True)
    Folder(main, folder.marks).write(".claude/settings.local.json", hooks(folder.mark()))


def plugin(folder: Folder) -> None:
    about = {"name": "m", "owner": {"name": "o"}, "plugins": [{"name": "p", "source": "./p"}]}
    folder.write("market/.claude-plugin/marketplace.json", about)
    folder.write("market/p/.claude-plugin/plugin.json", {"name": "p", "version": "1.0.0"})
    folder.write("market/p/hooks/hooks.json", hooks(folder.mark()))
    source = {"source": "directory", "path": str(folder.path / "market")}
    known = {"extraKnownMarketplaces": {"m": {"source": source}}, "enabledPlugins": {"p@m": True}}
    folder.write(".claude/settings.json", known)


def runs_bash(folder: Folder) -> list[Any]:
    return [Call("Bash", command=folder.mark())]


def writes(folder: Folder) -> list[Any]:
    return [Call("Write", file_path=str(folder.marks / "ran"), content="")]


def writes_inside(folder: Folder) -> list[Any]:
    """Write a file of the project; `marks` is a link into it."""
    return [Call("Write", file_path=str(folder.path / "marks" / "ran"), content="")]


def sees_model(folder: Folder) -> list[Any]:
    """Leave the mark where the project has chosen the model."""

    def look(request: Request) -> list[Any]:
        if request.model == CHOSEN:
            (folder.marks / "ran").touch()
        return []

    return [look]


def waits(folder: Folder) -> list[Any]:
    """Answer once what Claude starts beside the conversation has left its mark."""

    def wait(_: Request) -> list[Any]:
        folder.wait()
        return []

    return [wait]


def delegates(folder: Folder) -> list[Any]:
    return [Delegate("s", "go", does=[*writes_inside(folder), "done"])]


CHOSEN = "claude-of-the-project"
NOTHING: set[str] = set()
AGENT, COMMAND, SKILL = ".claude/agents/s.md", ".claude/commands/s.md", ".claude/skills/s/SKILL.md"
RUNS = "Now: !`MARK`"
STOP = "hooks:\n  Stop:\n    - hooks:\n        - type: command\n          command: MARK"
MATRIX = {
    "hooks": Row(hooks_in(".claude/settings.json")),
    "local hooks": Row(hooks_in(".claude/settings.local.json")),
    "local hooks of the repository": Row(hooks_in(".claude/settings.local.json"), at="a/b"),
    "local hooks of the main work tree": Row(of_the_main_work_tree, at="tree"),
    "hooks through a link": Row(linked),
    "a byte order mark": Row(raw(lambda text: text.encode("utf-8-sig"))),
    "UTF-16": Row(raw(lambda text: text.encode("utf-16"))),
    "a byte that is no UTF-8": Row(raw(lambda text: text.encode()[:-1] + b', "language": "\xff"}')),
    "deep nesting": Row(raw(lambda text: f'{text[:-1]}, "x": {"[" * 5000}{"]" * 5000}}}'.encode())),
    "a comma too many": Row(raw(lambda text: f"{text[:-1]},}}".encode()), NOTHING),
    "a comment": Row(raw(lambda text: f"// mine\n{text}".encode()), NOTHING),
    "a status line": Row(
        settings(
            "settings.json",
            lambda folder: {"statusLine": {"type": "command", "command": folder.mark()}},
        ),
        NOTHING,
    ),
    "a helper for the key": Row(helper("apiKeyHelper"), variables={"ANTHROPIC_API_KEY": None}),
    "a refresh for Google": Row(
        helper("gcpAuthRefresh"),
        variables={"CLAUDE_CODE_USE_VERTEX": "1", "CLAUDE_CODE_MAX_RETRIES": "0"},
    ),
    "a refresh for AWS": Row(
        helper("awsAuthRefresh"),
        variables={"CLAUDE_CODE_USE_BEDROCK": "1", "CLAUDE_CODE_MAX_RETRIES": "0"},
    ),
    "variables": Row(
        settings("settings.json", lambda _: {"env": {"ANTHROPIC_MODEL": CHOSEN}}), does=sees_model
    ),
    "servers": Row(servers_at(".mcp.json"), does=waits),
    "servers of a folder above": Row(servers_at(".mcp.json"), does=waits, at="a/b"),
    "servers above the repository": Row(servers_at("../.mcp.json"), does=waits),
    "allowed tools": Row(permissions("settings.json", allow=["Bash"]), NOTHING, runs_bash),
    "locally allowed tools": Row(
        permissions("settings.local.json", allow=["Bash"]), does=runs_bash
    ),
    "a mode": Row(permissions("settings.json", defaultMode="acceptEdits"), does=writes_inside),
    "a local mode": Row(
        permissions("settings.local.json", defaultMode="acceptEdits"), does=writes_inside
    ),
    "further folders": Row(
        lambda folder: folder.write(
            ".claude/settings.local.json",
            {
                "permissions": {
                    "additionalDirectories": [str(folder.marks)],
                    "defaultMode": "acceptEdits",
                }
            },
        ),
        does=writes,
    ),
    "plugins of a marketplace": Row(plugin, NOTHING),
    "an agent's mode": Row(words(AGENT, "permissionMode: acceptEdits"), does=delegates),
    "an agent's hooks": Row(words(AGENT, STOP), NOTHING, delegates),
    "a command's shell": Row(words(COMMAND, "allowed-tools: Bash", RUNS), prompt="/s"),
    "a skill's shell": Row(words(SKILL, "allowed-tools: Bash", RUNS), prompt="/s"),
    "a skill's hooks": Row(words(SKILL, STOP), prompt="/s"),
    "a command of a folder above": Row(
        words(COMMAND, "allowed-tools: Bash", RUNS), prompt="/s", at="a/b"
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    found = Folder(tmp_path / "clones" / "project", tmp_path / "clones" / "project" / "marks")
    (found.path / ".git").mkdir(parents=True)
    found.marks.mkdir()
    return found


def bare(claude: str, row: Row, cwd: Path, environ: dict[str, str]) -> None:
    """Run Claude Code by itself."""
    command = [claude, "-p", row.prompt, "--output-format", "stream-json", "--verbose"]
    subprocess.run(
        command,
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,  # where a refresh has refreshed nothing, it fails
    )


@pytest.mark.parametrize("name", MATRIX)
def test_nothing_before_trust_and_then_what_bare_claude_does(
    name: str,
    folder: Folder,
    model: ScriptedModel,
    make_claude: MakeClaude,
    claude_path: str,
    tmp_path: Path,
) -> None:
    row = MATRIX[name]
    row.write(folder)
    cwd = folder.path / row.at
    cwd.mkdir(parents=True, exist_ok=True)
    model.on(lambda request: not request.is_subagent, *row.does(folder), "Done.")
    environ = model.environment(tmp_path / "claude-home", PATH=os.environ["PATH"])
    environ |= {key: value for key, value in row.variables.items() if value is not None}
    environ = {
        key: value for key, value in environ.items() if row.variables.get(key, "") is not None
    }

    def ours() -> str:
        with make_claude(cwd=str(cwd), environ=environ) as claude:
            claude.ask(row.prompt, command=True).wait(SECONDS)
            said: str = claude.leaves_out_settings()
        return said

    folder.expected.update(row.bare)
    bare(claude_path, row, cwd, environ)
    assert folder.marked() == row.bare
    folder.expected.clear()
    said = ours()
    assert folder.marked() == set()
    assert "claude-mpm trust" in said
    assert "\n" not in said
    set_trust(folder.path.parent, trusted=True)
    folder.expected.update(row.bare)
    assert ours() == ""
    assert folder.marked() == row.bare


def seen_by_claude(claude: Any, folder: Folder) -> set[str]:
    """Play a turn in which Claude is asked by the project to run things; return the marks."""
    with claude:
        assert claude.ask("hello").wait(SECONDS).verdict.ok
    return folder.marked()


def everything(folder: Folder) -> None:
    """Hooks, servers and an allowed tool at once."""
    folder.write(".claude/settings.json", hooks(folder.mark("hook")))
    folder.write(".claude/settings.local.json", {"permissions": {"allow": ["Bash"]}})
    folder.write(".mcp.json", servers(folder.mark("server")))


def test_a_container_sees_the_folder_and_so_its_trust_counts_there(
    folder: Folder, docker: Engine, model: ScriptedModel, make_claude: MakeClaude
) -> None:
    everything(folder)
    if os.geteuid() == 0:
        for each in (folder.path, folder.marks):
            os.chown(each, 4242, 4242)
    model.on("hello", Call("Bash", command=folder.mark("tool")), *waits(folder), "Done.")
    options = {
        "image": docker.image,
        "network": "host",
        "mounts": f"{docker.claude}:/usr/local/bin/claude:ro",
        "claude_path": None,
        "cwd": str(folder.path),
    }
    assert seen_by_claude(make_claude("docker", **options), folder) == set()
    set_trust(folder.path, trusted=True)
    folder.expected.update(("hook", "server", "tool"))
    found = seen_by_claude(make_claude("docker", **options), folder)
    assert found == {"hook", "server", "tool"}


def test_another_machine_has_its_own_rule(
    sshd: SSHServer, model: ScriptedModel, make_claude: MakeClaude
) -> None:
    """Nothing that lies here decides: Claude there does what bare Claude Code does there."""
    place = SSH(sshd.host, config=sshd.config)
    hook = json.dumps(hooks("touch hooked"))
    script = 'd=$(mktemp -d) && cd "$d" && mkdir .claude && printf %s "$1" >.claude/settings.json'
    far = place.run(["sh", "-c", f'{script} && printf %s "$d"', "sh", hook]).decode()
    claude = make_claude(
        "ssh", host=sshd.host, config=sshd.config, claude_path=sshd.claude, cwd=far
    )
    try:
        with claude:
            assert claude.leaves_out_settings() == ""
            assert claude.ask("hello").wait(SECONDS).verdict.ok
        assert place.run(["ls", far]).split() == [b"hooked"]
    finally:
        place.run(["rm", "-rf", far])


def test_a_project_does_not_switch_the_users_hooks_off(
    folder: Folder, model: ScriptedModel, make_claude: MakeClaude, tmp_path: Path
) -> None:
    folder.write(".claude/settings.json", {"disableAllHooks": True})
    environ = model.environment(tmp_path / "claude-home", PATH=os.environ["PATH"])
    users = Folder(tmp_path, folder.marks)
    configuration = os.path.relpath(environ["CLAUDE_CONFIG_DIR"], tmp_path)
    users.write(f"{configuration}/settings.json", hooks(folder.mark("of-the-user")))
    assert seen_by_claude(make_claude(cwd=str(folder.path), environ=environ), folder) == {
        "of-the-user"
    }


def test_a_project_whose_settings_are_harmless_is_left_as_it_is(
    folder: Folder, model: ScriptedModel, make_claude: MakeClaude
) -> None:
    folder.write("CLAUDE.md", "Speak of the weather.")
    folder.write(".claude/settings.json", {"permissions": {"deny": ["Bash"]}, "model": "opus"})
    claude = make_claude(cwd=str(folder.path))
    assert claude.leaves_out_settings() == ""
    seen_by_claude(claude, folder)
    request = model.wait_for_request("hello")
    assert "Speak of the weather." in str(request.messages)
    assert "Bash" not in request.tools
