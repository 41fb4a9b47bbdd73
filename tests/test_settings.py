"""Settings: where a value comes from, and what a wrong one says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from claude_mpm.config import settings
from claude_mpm.config.settings import Resolved, Settings, describe, load_settings
from claude_mpm.config.trust import set_trust
from claude_mpm.errors import SettingsError

DOCS = Path(__file__).parent.parent / "docs" / "settings.md"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A home with a repository in it, and the two settings files, not yet written."""
    repository = tmp_path / "home" / "repository"
    (repository / ".git").mkdir(parents=True)
    user = tmp_path / "home" / "config" / "settings.toml"
    user.parent.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(settings, "user_settings_file", lambda: user)
    monkeypatch.chdir(repository)
    return SimpleNamespace(
        home=tmp_path / "home",
        repository=repository,
        user=user,
        project=repository / ".claude-mpm.toml",
    )


def load(flags: dict[str, object] | None = None, **environ: str) -> Resolved:
    return load_settings(flags, environ=environ)


def failure(flags: dict[str, object] | None = None, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(flags, **environ)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_each_layer_hides_the_one_below(files: SimpleNamespace) -> None:
    seen = [load()]
    files.user.write_text('model = "user"\n')
    seen.append(load())
    files.project.write_text('model = "project"\n')
    seen.append(load())
    seen.append(load(CLAUDE_MPM_MODEL="environment"))
    seen.append(load({"model": "flag"}, CLAUDE_MPM_MODEL="environment"))
    assert [(found.settings.model, found.origin["model"]) for found in seen] == [
        (None, "default"),
        ("user", str(files.user)),
        ("project", str(files.project)),
        ("environment", "environment CLAUDE_MPM_MODEL"),
        ("flag", "flag"),
    ]


def test_every_setting_has_an_origin(files: SimpleNamespace) -> None:
    assert set(load().origin) == set(Settings.__struct_fields__)
    assert set(load().origin.values()) == {"default"}


def test_a_flag_that_was_not_given_hides_nothing(files: SimpleNamespace) -> None:
    found = load({"model": None, "plugins": ()}, CLAUDE_MPM_MODEL="m", CLAUDE_MPM_PLUGINS="a, b,")
    assert (found.settings.model, found.settings.plugins) == ("m", ["a", "b"])
    off = load({"use_framework": False}, CLAUDE_MPM_USE_FRAMEWORK="true")
    assert off.settings.use_framework is False


def test_flags_may_be_paths_and_tuples(files: SimpleNamespace) -> None:
    found = load({"framework": Path("a/b"), "claude_args": ("--x",), "timeout": 5}).settings
    assert (found.framework, found.claude_args, found.timeout) == ("a/b", ["--x"], 5.0)


def test_the_environment_is_text(files: SimpleNamespace) -> None:
    found = load(
        CLAUDE_MPM_TIMEOUT="2.5",
        CLAUDE_MPM_MAX_TURNS="3",
        CLAUDE_MPM_TICKETS="false",
        CLAUDE_MPM_BACKGROUND="0",
        CLAUDE_MPM_CLAUDE_ARGS="--name 'a b'",
        CLAUDE_MPM_TICKET_MARKERS="SPIKE=task, RISK = issue",
        CLAUDE_MPM_ALLOWED_TOOLS="Read, Bash(git log:*),Bash(sort -t, -k2)",
        CLAUDE_MPM_MODEL="",
    )
    assert found.settings == Settings(
        timeout=2.5,
        max_turns=3,
        tickets=False,
        background=False,
        claude_args=["--name", "a b"],
        ticket_markers={"SPIKE": "task", "RISK": "issue"},
        allowed_tools=["Read", "Bash(git log:*)", "Bash(sort -t, -k2)"],
    )
    assert found.origin["model"] == "default"


def test_claude_path_has_a_variable_of_its_own(files: SimpleNamespace) -> None:
    found = load(CLAUDE_PATH="/a/claude")
    assert found.settings.claude_path == "/a/claude"
    assert found.origin["claude_path"] == "environment CLAUDE_PATH"
    both = load(CLAUDE_PATH="/a/claude", CLAUDE_MPM_CLAUDE_PATH="/b/claude")
    assert both.settings.claude_path == "/b/claude"


def test_the_real_environment_is_the_default(
    files: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_MPM_MODEL", "from the process")
    assert load_settings().settings.model == "from the process"


def test_tables_and_lists_in_a_file(files: SimpleNamespace) -> None:
    files.user.write_text(
        'plugins = ["a"]\nlinger = 0\nlog_level = "DEBUG"\n[ticket_markers]\nSPIKE = "task"\n'
    )
    found = load().settings
    assert (found.plugins, found.linger, found.log_level) == (["a"], 0.0, "DEBUG")
    assert found.ticket_markers == {"SPIKE": "task"}


def test_a_path_in_a_file_is_meant_from_the_file(
    files: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = files.repository / "src" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    set_trust(files.repository, trusted=True)
    files.project.write_text('framework = "rules"\nlog_dir = "/logs"\nstate_dir = "~/state"\n')
    found = load().settings
    assert found.framework == str(files.repository / "rules")
    assert (found.log_dir, found.state_dir) == ("/logs", "~/state")


def test_the_nearest_project_file_wins(files: SimpleNamespace) -> None:
    below = files.repository / "src"
    below.mkdir()
    files.project.write_text('model = "root"\n')
    assert load_settings(environ={}, cwd=below).settings.model == "root"
    (below / ".claude-mpm.toml").write_text('model = "below"\n')
    assert load_settings(environ={}, cwd=below).settings.model == "below"
    assert load({"cwd": str(below)}).settings.model == "below"


def test_a_project_ends_at_its_repository(files: SimpleNamespace) -> None:
    (files.home / ".claude-mpm.toml").write_text('model = "home"\n')
    assert load().settings.model is None
    (files.repository / ".git").rmdir()
    assert load().settings.model == "home"


def test_a_file_planted_above_the_project_is_not_read(
    files: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "tmp" / "work"
    place.mkdir(parents=True)
    (tmp_path / "tmp" / ".claude-mpm.toml").write_text('model = "planted"\n')
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    assert load_settings(environ={}, cwd=place).settings.model is None


@pytest.mark.parametrize(
    "line",
    [
        'claude_path = "evil"',
        'plugins = ["evil"]',
        'claude_args = ["--mcp-config", "evil"]',
        'permission_mode = "bypassPermissions"',
        'permission_mode = "acceptEdits"',
        'permission_mode = "auto"',
        'allowed_tools = ["Bash"]',
        'disallowed_tools = ["Read"]',
    ],
)
def test_a_cloned_project_cannot_choose_what_is_run(files: SimpleNamespace, line: str) -> None:
    files.project.write_text(f"# hello\n{line}\n")
    message = failure()
    assert f"{files.project}, line 2: `{line.split(' ')[0]}`" in message
    assert str(files.user) in message
    files.project.unlink()
    files.user.write_text(line)
    assert load().settings != Settings()


def test_a_typo_names_the_nearest_setting(files: SimpleNamespace) -> None:
    files.project.write_text('model = "m"\n\npermision_mode = "plan"\n')
    message = failure()
    assert f"{files.project}, line 3: " in message
    assert "did you mean `permission_mode`?" in message
    files.project.write_text('[ticket_marker]\nSPIKE = "task"\n')
    assert "line 1: there is no setting `ticket_marker`; did you mean `ticket_markers`?" in (
        failure()
    )
    files.project.write_text("xyzzy = 1\n")
    assert "no setting `xyzzy`; remove it" in failure()
    files.project.unlink()
    assert "did you mean CLAUDE_MPM_MODEL?" in failure(CLAUDE_MPM_MODLE="m")
    assert "CLAUDE_MPM_QQQQ_ZZZZ_XXXX" in failure(CLAUDE_MPM_QQQQ_ZZZZ_XXXX="m")
    assert "--modle: there is no setting `modle`; did you mean `model`?" in failure({"modle": 1})


WRONG = {
    "text for a number": ('timeout = "soon"', "`timeout`: expected a number, got text"),
    "zero seconds": ("timeout = 0", "`timeout`: expected a number > 0"),
    "not a number": ("timeout = nan", "`timeout`: expected a number"),
    "for ever": ("timeout = inf", "`timeout`: expected a number <= 1"),
    "number for a text": ("model = 4", "`model`: expected text, got a whole number"),
    "date for a text": ("model = 2024-01-01", "`model`: expected text"),
    "text for yes or no": ('tickets = "no"', "`tickets`: expected true or false, got text"),
    "unknown choice": ('log_level = "LOUD"', "expected one of OFF, DEBUG, INFO, WARNING, ERROR"),
    "unknown mode": ('permission_mode = "yolo"', "expected one of acceptEdits, auto"),
    "text for a list": ('claude_args = "a"', "`claude_args`: expected a list, got text"),
    "list for a table": ("ticket_markers = []", "`ticket_markers`: expected a table, got a list"),
    "marker of two words": (
        'ticket_markers = { "TO DO" = "task" }',
        "`ticket_markers`: expected text",
    ),
    "empty text": ('model = ""', "`model`: expected text of length >= 1"),
}


@pytest.mark.parametrize(("line", "reason"), WRONG.values(), ids=WRONG)
def test_a_value_of_the_wrong_kind(files: SimpleNamespace, line: str, reason: str) -> None:
    files.user.write_text(f"# settings\n\n{line}\n")
    message = failure()
    assert f"{files.user}, line 3: " in message
    assert reason in message


def test_a_wrong_variable_is_named(files: SimpleNamespace) -> None:
    message = failure(CLAUDE_MPM_MAX_TURNS="many")
    assert message.startswith("CLAUDE_MPM_MAX_TURNS: ")
    assert "'many'" in message
    assert "close the quotation" in failure(CLAUDE_MPM_CLAUDE_ARGS="'open")
    assert "CLAUDE_MPM_TICKET_MARKERS: " in failure(CLAUDE_MPM_TICKET_MARKERS="SPIKE")
    assert failure({"max_turns": 0}).startswith("--max-turns: `max_turns`: expected a whole number")


def test_a_broken_file_is_named_with_its_line(files: SimpleNamespace) -> None:
    files.project.write_text('model = "m"\ntimeout = = 3\n')
    assert f"{files.project}, line 2: not TOML: " in failure()
    files.project.write_text('model = "m"\nplugins = [\n')
    assert f"{files.project}, line 3: not TOML: " in failure()
    files.project.write_bytes(b'model = "\xe9"\n')
    assert f"{files.project}, line 1: the byte at offset 9 is not UTF-8" in failure()
    files.project.unlink()
    files.project.mkdir()
    assert f"{files.project}: not a regular file" in failure()


def test_a_home_that_does_not_exist(files: SimpleNamespace) -> None:
    assert "no such home folder" in failure({"cwd": "~no-such-user/x"})


def test_a_current_folder_that_is_gone(
    files: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load().settings.model is None  # it has no project's file; what needs it, says so


def test_the_users_file_is_in_the_platforms_folder() -> None:
    path = settings.user_settings_file()
    assert path.is_absolute()
    assert path.parts[-2:] == ("claude-mpm", "settings.toml")


def test_every_setting_is_described_and_documented() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for setting in describe():
        assert setting.meaning.endswith(".")
        assert f"| `{setting.key}` |" in page
        assert setting.meaning in page


def test_nothing_is_parsed_where_there_is_no_file(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules.pop('tomllib', None)  # coverage itself may have imported it\n"
        "from claude_mpm.config.settings import load_settings; load_settings(environ={});"
        "sys.exit('tomllib' in sys.modules)"
    )
    environ = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environ, timeout=60, check=False
    )
    assert done.returncode == 0
