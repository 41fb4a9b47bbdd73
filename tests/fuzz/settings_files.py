"""Settings from files and variables, agent files, frameworks, trust, tokens."""

from __future__ import annotations

import os

import msgspec
from judging import Target
from workspace import at_home, workspace

from claude_mpm.config.agent_file import read_agent
from claude_mpm.config.framework import FrameworkLoader, agents_json
from claude_mpm.config.settings import Settings, load_settings, user_settings_file
from claude_mpm.config.trust import commands_of, is_trusted, trusted_file
from claude_mpm.errors import MPMError
from claude_mpm.server.tokens import Tokens

_TOML = (
    b'model = "opus"\ntimeout = 5\nuse_framework = false\n[ticket_markers]\nHACK = "task"\n',
    b'allowed_tools = ["Bash(git:*)", "Read"]\nlinger = 0.5\nclaude_args = ["--a"]\n',
    b'framework = "~/x"\nstate_dir = "/s"\nmax_budget_usd = 1e3\nlog_level = "DEBUG"\n',
)
_KEYS = tuple(f"{key} = ".encode() for key in Settings.__struct_fields__)
_ENVIRON = (
    b"CLAUDE_MPM_MODEL=opus\0CLAUDE_MPM_TIMEOUT=5\0CLAUDE_MPM_TICKETS=false",
    b"CLAUDE_MPM_ALLOWED_TOOLS=Bash(git log:*, x),Read\0CLAUDE_MPM_CLAUDE_ARGS=--a 'b c'",
    b"CLAUDE_MPM_TICKET_MARKERS=HACK=task,X=bug\0CLAUDE_PATH=/c\0CLAUDE_MPM_LINGER=1e3",
)
_NAMES = tuple(f"\0CLAUDE_MPM_{key.upper()}=".encode() for key in Settings.__struct_fields__)
_AGENTS = (
    b"---\nname: qa\ndescription: Tests things\ntools: Read, Bash(git log:*)\n---\nYou test.\n",
    b"---\nname: 'dev'\ndescription: >\n  Writes\n  code\nmodel: opus\nmaxTurns: 3\n"
    b"hooks: {a: [1]}\nmcpServers: [x, {y: {}}]\neffort: high\n---\nYou write.\n",
    b"---\nname: a\ndescription: &x b\ninitialPrompt: *x\nmemory: user\nbackground: yes\n---\np\n",
)
_YAML = (b"!!python/object:x ", b"&a [*a]", b": ", b"- ", b"? ", b"!!binary ", b"2001-01-01",
         b"<<: *x", b"%YAML 1.1", b"0x1f", b".inf", b"!!set", b"\t", b"|",
         b"---\n", b"1:30")  # fmt: skip
_CLAUDE = (b'{"projects":{"/p":{"hasTrustDialogAccepted":true}},"hooks":{},"env":{}}',)
_TOKENS = (
    b'[{"name":"a","id":"i","sha256":"x","created_at":1.0,"limits":{"sessions":1,"rate":2.0}}]',
)


def _one_line(error: MPMError) -> None:
    assert "\n" not in str(error), f"an error of several lines: {error}"


def user_toml(data: bytes) -> None:
    home = workspace() / "home"
    with at_home(home):
        file = user_settings_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        try:
            load_settings(environ={}, cwd=home)
        except MPMError as error:
            _one_line(error)
            assert str(file) in str(error), "an error that does not name the file"
        finally:
            file.unlink()


def project_toml(data: bytes) -> None:
    home, project = workspace() / "home", workspace() / "project"
    project.mkdir(exist_ok=True)
    (project / ".claude-mpm.toml").write_bytes(data)
    with at_home(home):
        try:
            settings = load_settings(environ={}, cwd=project).settings
        except MPMError as error:
            _one_line(error)
        else:
            assert settings.claude_path is None, "a project chose what is run"
            assert settings.permission_mode in (None, "plan", "dontAsk")


def environment(data: bytes) -> None:
    pairs = (os.fsdecode(each).partition("=") for each in data.split(b"\0"))
    with at_home(workspace() / "home"):
        try:
            load_settings(environ={name: value for name, _, value in pairs}, cwd=workspace())
        except MPMError as error:
            _one_line(error)


def agent_file(data: bytes) -> None:
    file = workspace() / "agent.md"
    file.write_bytes(data)
    found = read_agent(file)
    for line in (*found.errors, *found.notes):
        assert "\n" not in line
        assert str(file) in line
    if found.agent is None:
        assert found.errors or found.notes, "an agent is left out in silence"
    else:
        assert msgspec.json.decode(agents_json((found.agent,))) is not None
        assert found.agent.prompt


def framework(data: bytes) -> None:
    folder = workspace() / "framework"
    (folder / "agents").mkdir(parents=True, exist_ok=True)
    instructions, _, agent = data.partition(b"\0")
    (folder / "INSTRUCTIONS.md").write_bytes(instructions)
    (folder / "agents" / "a.md").write_bytes(agent)
    try:
        loaded = FrameworkLoader(folder).load()
    except MPMError as error:
        assert all(str(folder) in line for line in str(error).split("\n")), error
    else:
        assert loaded.instructions.strip()


def trust(data: bytes) -> None:
    home, project = workspace() / "home", workspace() / "project"
    (project / ".claude").mkdir(parents=True, exist_ok=True)
    home.mkdir(exist_ok=True)
    for file in (home / ".claude.json", project / ".claude" / "settings.json"):
        file.write_bytes(data)
    with at_home(home):
        trusted_file().parent.mkdir(parents=True, exist_ok=True)
        commands_of(project)
        trusted_file().write_bytes(data)
        try:
            is_trusted(project)
        except MPMError as error:
            _one_line(error)
        finally:
            trusted_file().unlink()


def tokens(data: bytes) -> None:
    file = workspace() / "tokens.json"
    file.write_bytes(data)
    file.chmod(0o600)
    kept = Tokens(workspace())
    try:
        for token in kept.all():
            assert kept.is_valid(token)
        kept.find("mpm_i_x")
    except MPMError as error:
        _one_line(error)


TARGETS = (
    Target("settings: user's file", user_toml, _TOML, _KEYS),
    Target("settings: project's file", project_toml, _TOML, _KEYS),
    Target("settings: environment", environment, _ENVIRON, _NAMES),
    Target("agent file", agent_file, _AGENTS, _YAML),
    Target("framework", framework, tuple(b"Do.\0" + each for each in _AGENTS), _YAML),
    Target("trust", trust, _CLAUDE, (b"projects", b"hooks")),
    Target("server: tokens", tokens, _TOKENS, (b"limits",)),
)
