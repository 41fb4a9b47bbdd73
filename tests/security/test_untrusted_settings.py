"""A project's own settings file, before it is trusted: what counts of it, and what is said."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from calls import call
from claude_mpm.config.framework import FrameworkLoader
from claude_mpm.config.settings import Resolved, Settings, load_settings, user_settings_file
from claude_mpm.config.trust import set_trust
from claude_mpm.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

AGENT = "---\nname: ev\ndescription: does it\n{}\n---\nDo it.\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository, which is the current folder."""
    folder = Path.cwd()
    (folder / ".git").mkdir()
    return folder


def write(project: Path, text: str) -> None:
    (project / ".claude-mpm.toml").write_text(text)


def user(text: str) -> None:
    file = user_settings_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def load(**flags: object) -> Resolved:
    return load_settings(flags, environ={})


REFUSED = (
    'state_dir = ".state"',
    'log_dir = "logs"',
    'orchestrator = "local"',
    'claude_path = "claude"',
    'claude_args = ["--x"]',
    'plugins = ["json"]',
    'allowed_tools = ["Bash"]',
    'disallowed_tools = ["Bash"]',
    "day_cost_limit_usd = 0.1",
    "day_token_limit = 1",
    "otel = true",
    'notify = "touch /tmp/x"',
    "notify_desktop = true",
    'notify_webhook = "https://example.org/x"',
    'notify_secret_file = "secret"',
    'places = { build = { orchestrator = "docker" } }',
    'permission_mode = "acceptEdits"',
    'cwd = "~"',
    'cwd = ".."',
    'cwd = "/"',
    'cwd = "out"',
    'framework = "../fw"',
    'framework = "~/fw"',
    'agents_dir = "/etc"',
    'agents_dir = "out"',
)


@pytest.mark.parametrize("line", REFUSED)
def test_what_gives_power_is_refused_until_the_folder_is_trusted(
    project: Path, line: str, tmp_path: Path
) -> None:
    (project / "out").symlink_to(tmp_path)
    write(project, f"# mine\n{line}\n")
    with pytest.raises(SettingsError) as caught:
        load()
    said = str(caught.value)
    assert f"{project / '.claude-mpm.toml'}, line 2: `{line.split()[0]}`" in said
    assert f"claude-mpm trust {project}" in said
    assert "\n" not in said
    set_trust(project, trusted=True)
    assert load().origin[line.split()[0]] == str(project / ".claude-mpm.toml")


def test_every_setting_is_on_a_list_or_refused(project: Path) -> None:
    """A setting that the next version brings is refused, unless somebody has thought about it."""
    free = {"model", "framework", "agents_dir", "use_framework", "tickets", "ticket_markers"}
    free |= {"cwd", "log_level"}
    bounded = {"timeout", "question_timeout", "start_timeout", "stop_timeout", "linger"}
    bounded |= {"wait_for_rate_limit", "max_turns", "max_budget_usd", "turn_cost_limit_usd"}
    bounded |= {"turn_token_limit", "session_cost_limit_usd", "session_token_limit"}
    bounded |= {"resume_lost", "background", "permission_mode", "permissions", "durability"}
    refused = {line.split()[0] for line in REFUSED}
    assert free | bounded | refused == set(Settings.__struct_fields__)


SMALLER = [
    ("max_budget_usd", "0.5", "1000"),
    ("turn_cost_limit_usd", "0.1", "1000"),
    ("session_cost_limit_usd", "0.1", "1000"),
    ("turn_token_limit", "10", "1000"),
    ("session_token_limit", "10", "1000"),
    ("max_turns", "3", "1000"),
    ("timeout", "5", "1000"),
    ("question_timeout", "5", "1000"),
    ("wait_for_rate_limit", "5", "1000"),
    ("linger", "5", "1000"),
    ("start_timeout", "5", "1000"),
    ("stop_timeout", "5", "1000"),
    ("resume_lost", "1", "100"),
    ("background", "false", "true"),
    ("permission_mode", '"plan"', '"dontAsk"'),
    ("permissions", '"deny"', '"ask"'),
    ("durability", '"event"', '"none"'),
]


@pytest.mark.parametrize(("key", "small", "large"), SMALLER)
def test_the_smaller_counts_and_that_is_said(
    project: Path, key: str, small: str, large: str
) -> None:
    user(f"{key} = {small}\n")
    mine = getattr(load().settings, key)
    write(project, f"{key} = {large}\n")
    found = load()
    assert getattr(found.settings, key) == mine
    assert found.origin[key] == str(user_settings_file())
    (note,) = found.notes
    assert f"{project / '.claude-mpm.toml'}, line 1: `{key}`" in note
    assert f"claude-mpm trust {project}" in note
    set_trust(project, trusted=True)
    assert getattr(load().settings, key) != mine
    set_trust(project, trusted=False)
    user(f"{key} = {large}\n")
    write(project, f"{key} = {small}\n")
    assert getattr(load().settings, key) == mine
    assert load().notes == ()


def test_the_users_default_is_a_value_as_well(project: Path) -> None:
    write(project, "linger = 1e9\nresume_lost = 100\nmax_turns = 7\n")
    found = load()
    assert (found.settings.linger, found.settings.resume_lost) == (30.0, 0)
    assert found.settings.max_turns == 7
    assert len(found.notes) == 2


def test_nothing_is_said_of_what_a_flag_has_decided(project: Path) -> None:
    user("max_turns = 3\n")
    write(project, "max_turns = 1000\n")
    assert load(max_turns=5).notes == ()
    assert load(max_turns=5).settings.max_turns == 5


def test_the_command_says_it_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    user("max_turns = 3\n")
    write(project, "max_turns = 1000\n")
    said = call(capsys, "ps").err
    assert said.count("`max_turns` is 1000, but yours counts, 3") == 1


POWERS = (
    "hooks: {Stop: []}",
    "mcpServers: [x]",
    "permissionMode: acceptEdits",
    "permissionMode: plan",
    "memory: user",
    "skills: x",
    "isolation: remote",
    "initialPrompt: x",
    "background: true",
)


@pytest.mark.parametrize("how", ['agents_dir = "ag"', 'framework = "fw"'])
@pytest.mark.parametrize("power", POWERS)
def test_an_agent_with_power_that_a_project_names_is_refused(
    project: Path, how: str, power: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / ("ag" if "ag" in how else "fw/agents")
    folder.mkdir(parents=True)
    (folder / "ev.md").write_text(AGENT.format(power))
    (folder.parent / "INSTRUCTIONS.md").write_text("Do.")
    write(project, f"{how}\n")
    refused = call(capsys, "run", "hello")
    assert refused.status == 4
    assert f"{folder / 'ev.md'}, line 4: `{power.partition(':')[0]}`" in refused.err
    assert f"claude-mpm trust {project}" in refused.err
    found = load()
    given = (found.settings.framework, found.settings.agents_dir)
    set_trust(project, trusted=True)
    assert FrameworkLoader(*given, confined_to=found.confined_to).load().agents
    set_trust(project, trusted=False)
    assert FrameworkLoader(*given).load().agents  # as the user names them, by a flag


def test_an_agent_of_mere_words_is_taken(project: Path) -> None:
    (project / "ag").mkdir()
    (project / "ag" / "ev.md").write_text(AGENT.format("tools: Read\nmodel: opus"))
    write(project, 'agents_dir = "ag"\n')
    found = load()
    assert found.confined_to == str(project)
    loader = FrameworkLoader(None, found.settings.agents_dir, confined_to=found.confined_to)
    assert "ev" in [agent.name for agent in loader.load().agents]


@pytest.mark.parametrize("name", ["fw/INSTRUCTIONS.md", "ag/ev.md"])
def test_a_link_in_a_framework_does_not_lead_out_of_the_project(
    project: Path, name: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(AGENT.format("tools: Read"))
    (project / name).parent.mkdir()
    (project / name).symlink_to(secret)
    loader = FrameworkLoader(
        project / "fw" if "fw" in name else None,
        project / "ag" if "ag" in name else None,
        confined_to=project,
    )
    with pytest.raises(SettingsError, match="leads out of the project"):
        loader.load()


@pytest.mark.parametrize("writer", ["group", "others", "sticky"])
@pytest.mark.parametrize("what", [".claude-mpm.toml", ".", "sub", ".git"])
def test_a_file_that_others_could_have_written_does_not_count(
    project: Path, what: str, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = project / "sub"
    below.mkdir()
    file = (below if what == "sub" else project) / ".claude-mpm.toml"
    file.write_text('model = "planted"\n')
    monkeypatch.chdir(below)
    assert load().settings.model == "planted"
    mode = {"group": 0o775, "others": 0o757, "sticky": 0o1777}[writer]
    changed = project / what
    changed.chmod(mode)
    found = load()
    assert found.settings.model is None
    (note,) = found.notes
    assert str(file) in note
    assert str(changed) in note
    assert "\n" not in note


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a file or folder another user's; without the right to, be another user."""
    if os.geteuid() == 0:
        os.lchown(path, 54321, 54321)
    else:
        somebody = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: somebody)


@pytest.mark.parametrize("what", [".claude-mpm.toml", ".", ".git"])
def test_a_file_of_another_user_does_not_count(
    project: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, 'model = "planted"\n')
    give_away(project / what, monkeypatch)
    found = load()
    assert found.settings.model is None
    assert "belongs to another user (uid " in found.notes[0]


def test_a_link_of_another_user_does_not_count(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "mine.toml").write_text('model = "planted"\n')
    (project / ".claude-mpm.toml").symlink_to("mine.toml")
    assert load().settings.model == "planted"
    give_away(project / ".claude-mpm.toml", monkeypatch)
    assert load().settings.model is None


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder like /tmp, in which everybody may write and everybody may look."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o1777)
        yield folder


@contextmanager
def acting_as(user: int) -> Iterator[None]:
    """Be another user for a while, where that is allowed."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(me)


@pytest.mark.parametrize("victim", [65534, 54321])
def test_what_somebody_left_above_ones_folder_has_no_say(shared: Path, victim: int) -> None:
    """An attacker makes a repository of a folder like /tmp; a victim works below it."""
    planted, mine = shared / ".claude-mpm.toml", shared / "mine"
    (shared / ".git").mkdir()
    planted.write_text('model = "planted"\n')
    mine.mkdir()
    if os.geteuid() == 0:
        os.chown(planted, 1234, 1234)
        os.chown(mine, victim, victim)
    with acting_as(victim):
        found = load_settings(environ={}, cwd=mine)
        (mine / ".claude-mpm.toml").write_text('model = "my own"\n')
        own = load_settings(environ={}, cwd=mine)
    assert found.settings.model is None
    assert str(planted) in found.notes[0]
    assert own.settings.model is None  # the root of what counts as its repository is not his
    (shared / ".git").rmdir()
    with acting_as(victim):
        assert load_settings(environ={}, cwd=mine).settings.model == "my own"


RULES = {
    "Read, Bash(git log:*)": ["Read", "Bash(git log:*)"],
    "Bash(echo (a), b), Read": ["Bash(echo (a), b)", "Read"],
    "Bash(sort -t, -k2),,": ["Bash(sort -t, -k2)"],
    r"Bash(echo \(a), Read": [r"Bash(echo \(a)", "Read"],
    "Edit(docs/**)": ["Edit(docs/**)"],
}
BROKEN = ["Bash(git status:*", "Bash(a))", "Read, Bash((a)", ")", "(", "Bash(a,Read", r"Bash(a\)"]


@pytest.mark.parametrize("key", ["allowed_tools", "disallowed_tools"])
@pytest.mark.parametrize("text", RULES)
def test_rules_are_read_in_one_way(home: Path, key: str, text: str) -> None:
    name = f"CLAUDE_MPM_{key.upper()}"
    assert getattr(load_settings(environ={name: text}).settings, key) == RULES[text]
    assert getattr(load_settings({key: [text]}, environ={}).settings, key) == RULES[text]
    user(f"{key} = ['{text}']\n")
    assert getattr(load_settings(environ={}).settings, key) == RULES[text]


@pytest.mark.parametrize("text", BROKEN)
def test_a_rule_that_is_not_closed_is_an_error(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, variable in (((), text), (("--allowed-tools", text), "")):
        monkeypatch.setenv("CLAUDE_MPM_DISALLOWED_TOOLS", variable)
        refused = call(capsys, "run", "hello", *words)
        assert refused.status == 4
        assert "parenthesis" in refused.err
        assert len(refused.err.splitlines()) == 1
    monkeypatch.delenv("CLAUDE_MPM_DISALLOWED_TOOLS")
    user(f"model = 'm'\nallowed_tools = ['Read', '{text}']\n")
    refused = call(capsys, "run", "hello")
    assert refused.status == 4
    assert "line 2: `allowed_tools`" in refused.err
