"""Which folders are trusted, how that is taken back, and what of a project counts."""

from __future__ import annotations

import grp
import json
import os
import pwd
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from calls import call, make_session
from claude_mpm.config.trust import (
    commands_of,
    is_scheduled,
    is_trusted,
    set_trust,
    trusted_file,
    trusted_folders,
    untrusted_acts,
)
from claude_mpm.engine.command_line import claude_environment, left_out
from claude_mpm.engine.options import Options
from claude_mpm.environments.docker import Docker
from claude_mpm.environments.local import Local
from claude_mpm.environments.order import Order
from claude_mpm.environments.ssh import SSH
from claude_mpm.errors import SettingsError, UsageError
from claude_mpm.folders import of_others
from claude_mpm.journal.layout import SessionFolder

ODD = ("a\n/tmp/x", "a\u2028b", "a\x85b\x0c", "a\r", '"quoted"', "with blank ", "\x1b[2J", b"\xff")


@pytest.mark.parametrize("name", ODD)
def test_a_folder_of_any_name_is_trusted_and_no_other(
    tmp_path: Path, name: str | bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / (name if isinstance(name, str) else os.fsdecode(name))
    folder.mkdir(parents=True)
    said = call(capsys, "trust", str(folder))
    assert said.status == 0
    assert len(said.err.splitlines()) == 1
    assert trusted_folders() == [folder]
    assert is_trusted(folder / "below")
    assert not is_trusted(Path("/tmp/x"))
    listed = call(capsys, "trust", "--list").out
    assert len(listed.splitlines()) == 1
    assert "\x1b" not in listed
    assert call(capsys, "trust", "--remove", str(folder)).status == 0
    assert trusted_folders() == []


def test_a_list_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    trusted_file().parent.mkdir(parents=True)
    trusted_file().write_text(f"{tmp_path}/a\n\n{tmp_path}/b\u2028c\n")
    assert trusted_folders() == [tmp_path / "a", tmp_path / "b\u2028c"]
    set_trust(tmp_path / "d", trusted=True)
    assert trusted_folders() == [tmp_path / "a", tmp_path / "b\u2028c", tmp_path / "d"]


def test_a_list_that_cannot_be_read_is_named_with_the_line() -> None:
    trusted_file().parent.mkdir(parents=True)
    trusted_file().write_text('/a\n"/b\n')
    with pytest.raises(SettingsError, match="trusted, line 2: no path"):
        trusted_folders()


def test_of_several_who_trust_at_once_each_is_kept(tmp_path: Path) -> None:
    several = [tmp_path / f"project-{number}" for number in range(8)]
    at_once = threading.Barrier(len(several))

    def change(folder: Path) -> None:
        at_once.wait()
        for trusted in (True, False, True):
            set_trust(folder, trusted=trusted)

    with ThreadPoolExecutor(len(several)) as pool:
        list(pool.map(change, several))
    assert sorted(trusted_folders()) == sorted(several)


def test_trust_follows_the_real_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert call(capsys, "trust", str(tmp_path / "link")).status == 0
    assert trusted_folders() == [tmp_path / "real"]
    assert is_trusted(tmp_path / "link" / ".." / "real")
    (tmp_path / "link").unlink()
    (tmp_path / "link").mkdir()
    assert not is_trusted(tmp_path / "link")


def test_what_is_trusted_still_is_said(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = tmp_path / "par" / "ch"
    child.mkdir(parents=True)
    set_trust(tmp_path / "par", trusted=True)
    set_trust(child, trusted=True)
    said = call(capsys, "trust", "--remove", str(child))
    assert said.status == 1
    assert f"still trusted through {tmp_path / 'par'}" in said.err
    assert f"claude-mpm trust --remove {tmp_path / 'par'}" in said.err
    accepted = {"projects": {str(child): {"hasTrustDialogAccepted": True}}}
    (home / ".claude.json").write_text(json.dumps(accepted))
    said = call(capsys, "trust", "--remove", str(child), "--quiet")
    assert said.status == 1
    assert "Claude Code's own dialog" in said.err
    assert str(home / ".claude.json") in said.err
    assert len(said.err.splitlines()) == 1
    (home / ".claude.json").unlink()
    call(capsys, "trust", "--remove", str(tmp_path / "par"))
    assert call(capsys, "trust", "--remove", str(child)).status == 0


def put(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    file.write_bytes(data)


HARMLESS: tuple[object, ...] = (
    {},
    {"$schema": "x", "model": "opus", "outputStyle": "x", "language": "Danish"},
    {"permissions": {"deny": ["Bash"], "ask": ["Read"], "defaultMode": "plan"}},
    {"permissions": {"disableBypassPermissionsMode": "disable"}},
    b"",
    b" \n",
)
DOUBTFUL: tuple[object, ...] = (
    *(
        {key: "x"}
        for key in ("hooks", "env", "proxyAuthHelper", "processWrapper", "fileSuggestion")
    ),
    *({key: False} for key in ("disableAllHooks", "sandbox", "whatTheNextReleaseBrings")),
    *({key: {}} for key in ("enabledPlugins", "additionalMarketplaces", "subagentStatusLine")),
    {"permissions": {"allow": []}},
    {"permissions": {"defaultMode": "acceptEdits"}},
    {"permissions": {"defaultMode": "dontAsk"}},
    {"permissions": {"additionalDirectories": ["/"]}},
    {"permissions": ["x"]},
    [],
    b"{",
    b'{"language": "\xff"}',
    b'{"permissions": {}, "permissions": {"deny": []}}',
    b"[" * 100_000,
    b" " * (1 << 20) + b"{ }",
)


@pytest.mark.parametrize("name", ["settings.json", "settings.local.json"])
@pytest.mark.parametrize("content", HARMLESS)
def test_what_is_known_to_be_harmless_counts(name: str, content: object) -> None:
    put(Path(".claude", name), content)
    assert commands_of(Path()) == []


@pytest.mark.parametrize("name", ["settings.json", "settings.local.json"])
@pytest.mark.parametrize("content", DOUBTFUL, ids=lambda each: str(each)[:40])
def test_what_is_not_known_to_be_harmless_is_left_out(name: str, content: object) -> None:
    put(Path(".claude", name), content)
    (found,) = commands_of(Path())
    assert found.endswith(f"in .claude/{name}")


def test_a_pipe_in_the_place_of_settings_holds_nothing_up() -> None:
    Path(".claude").mkdir()
    for name in (".claude/settings.json", ".claude/settings.local.json", ".mcp.json"):
        os.mkfifo(name)
    assert len(commands_of(Path())) == 3


def test_the_users_own_settings_are_not_the_projects(home: Path) -> None:
    put(home / ".claude" / "settings.json", {"hooks": {}})
    put(home / ".claude" / "commands" / "x.md", b"---\nallowed-tools: Bash\n---\nDo.")
    assert commands_of(home) == []
    assert commands_of(home / "project") == []


def test_servers_above_a_trusted_repository_are_the_users_where_nobody_else_wrote_them(
    tmp_path: Path,
) -> None:
    repository = tmp_path / "above" / "repository"
    (repository / ".git").mkdir(parents=True)
    put(tmp_path / "above" / ".mcp.json", {"mcpServers": {"e": {"command": "x"}}})
    assert [act.what for act in untrusted_acts(repository)] == ["server e"]
    set_trust(repository, trusted=True)
    assert untrusted_acts(repository) == []
    (tmp_path / "above").chmod(0o1777)
    assert [act.what for act in untrusted_acts(repository)] == ["server e"]


HEADS = {
    "name: x\ndescription: >\n  hooks: no\n  more": [],
    "name: x\ntools: Read\nmodel: opus": [],
    "name: x\nhooks:\n  Stop: []": ["hooks"],
    "name: x\nallowed-tools: Bash\nhooks: {}": ["allowed-tools", "hooks"],
    '"hooks": {}': ["a front matter that is not understood"],
    "{name: x, hooks: {}}": ["a front matter that is not understood"],
    "? hooks\n: {}": ["a front matter that is not understood"],
    " name: x\n hooks: {}": ["a front matter that is not understood"],
    "<<: *x": ["a front matter that is not understood"],
    "whatComesNext: x": ["whatComesNext"],
}


@pytest.mark.parametrize("begin", ["", "\ufeff", "\n"])
@pytest.mark.parametrize("head", HEADS)
def test_agents_commands_and_skills_are_words_or_left_out(head: str, begin: str) -> None:
    for kind in ("agents", "commands/deep", "skills/s"):
        put(Path(".claude", kind, "x.md"), f"{begin}---\n{head}\n---\nDo.".encode())
    found = commands_of(Path())
    assert [each.partition(" in ")[0] for each in found] == HEADS[head] * 3


def test_tasks_that_begin_by_themselves_are_kept_from_beginning() -> None:
    put(Path(".claude", "scheduled_tasks.json"), {"tasks": [{"cron": "* * * * *"}]})
    options, place = Options(environ={}, wire="stream-json"), Local()
    acts = left_out(options, place, str(Path.cwd()))
    assert is_scheduled(acts)
    environ = claude_environment(options, place, scheduled=is_scheduled(acts))
    assert environ["CLAUDE_CODE_DISABLE_CRON"] == "1"
    assert "CLAUDE_CODE_DISABLE_CRON" not in claude_environment(options, place)


def test_nothing_of_this_machine_decides_for_a_place_with_files_of_its_own(tmp_path: Path) -> None:
    cwd = str(Path.cwd())
    put(Path(".claude", "settings.json"), {"hooks": {}})
    options = Options(environ={}, wire="stream-json")
    places = {
        "local": Local(),
        "container": Docker("image", network="none"),
        "mounted elsewhere": Docker("image", network="none", mounts=f"{tmp_path}/other:{cwd}"),
        "mounted here": Docker("image", network="none", mounts=f"{cwd}:/work"),
        "there": Docker(container="there"),
        "inside": Docker("image", network="none", inside="ssh://host"),
        "ssh": SSH("host"),
    }
    at = {"mounted here": "/work"}
    found = {
        name: bool(left_out(options, each, at.get(name, cwd))) for name, each in places.items()
    }
    assert {name for name, there_is in found.items() if there_is} == {
        "local",
        "container",
        "mounted here",
    }


@pytest.mark.parametrize(
    "words", [("--setting-sources", "project"), ("--setting-sources=project",)]
)
def test_who_names_the_sources_has_decided(words: tuple[str, ...]) -> None:
    put(Path(".claude", "settings.json"), {"hooks": {}})
    options = Options(environ={}, wire="stream-json", claude_args=words)
    assert left_out(options, Local(), str(Path.cwd())) == []


@pytest.mark.parametrize("where", ["~", "~/..", "/", "~/.config", "~/state", "~/state/sessions"])
def test_a_container_does_not_get_the_home_unasked(home: Path, where: str) -> None:
    cwd = Path(where).expanduser()
    cwd = Path(os.path.normpath(cwd))
    cwd.mkdir(parents=True, exist_ok=True)
    folder = SessionFolder(home / "state" / "sessions" / "one")
    order = Order(
        folder=folder, claude="claude", arguments=(), cwd=str(cwd), environ={}, linger=1,
        linger_limit=1, first_event_timeout=None,
    )  # fmt: skip
    if where == "/":  # the image's own, which nothing is mounted over
        Docker("image", network="none")._check_working_folder(order)
        return
    with pytest.raises(UsageError, match=f"-o mounts={cwd}"):
        Docker("image", network="none")._check_working_folder(order)
    Docker("image", network="none", mounts=str(cwd))._check_working_folder(order)


@pytest.mark.parametrize("spelling", ["real", "link", "real/sub/..", "link/../real"])
def test_the_sessions_of_a_folder_are_found_by_any_of_its_names(
    tmp_path: Path, spelling: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    make_session("one", ["TODO: by the real path"], cwd=str(tmp_path / "real"))
    make_session("two", ["TODO: by a link"], cwd=str(tmp_path / "link"))
    make_session("three", ["TODO: elsewhere"], cwd=str(tmp_path))
    found = call(capsys, "tickets", "--project", tmp_path / spelling, "--json").json
    assert {each["title"] for each in found} == {"by the real path", "by a link"}


def test_the_private_group_of_a_user_is_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a umask of 002, as most systems have it, what a user makes is open to that group."""
    file = tmp_path / "file"
    file.touch()
    file.chmod(0o664)
    me, group = file.stat().st_uid, file.stat().st_gid
    monkeypatch.setattr(os, "geteuid", lambda: me or 4242)
    os.chown(file, me or 4242, -1)
    users = pwd.struct_passwd(("ann", "x", me or 4242, group, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: users)
    for name, members, is_hers in (("ann", [], True), ("ann", ["bob"], False), ("team", [], False)):
        found = grp.struct_group((name, "x", group, members))
        monkeypatch.setattr(grp, "getgrgid", lambda _, found=found: found)
        assert (of_others(file) == "") is is_hers
    file.chmod(0o666)
    assert "can be written by others" in of_others(file)
