"""Folders and files of ours are this user's alone, whatever the umask and whoever was first."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from claude_mpm import MPMOrchestrator, folders
from claude_mpm.environments.base import Environment
from claude_mpm.environments.ssh import SSH
from claude_mpm.errors import LaunchError, StorageError
from claude_mpm.folders import check_private, make_private, runtime_folder
from claude_mpm.sessions.store import Store
from claude_mpm.terminal.screens import socket_path
from command import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OURS = f"claude-mpm-{os.getuid()}"
SOMEBODY = 65534
AN_SSH_SUFFIX = ".0123456789abcdef"  # what ssh adds to the name while it binds a socket


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the disk belongs to another user: we are somebody else from now on."""
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY + 1)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files whose path is short, which is the second choice for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    folders._log_once.cache_clear()
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


# --- what is made -------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_every_folder_that_is_made_is_closed_under_any_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_private(tmp_path / "a" / "b" / "c")
        make_private(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    assert [mode(tmp_path / part) for part in ("a", "a/b", "a/b/c")] == [0o700] * 3


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    make_private(tmp_path / "there" / "new")
    assert mode(tmp_path / "there") == 0o755
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        make_private(tmp_path / "file")


def test_a_command_under_umask_0_opens_nothing_to_others(home: Path, stand_in: Path) -> None:
    for words in (["run", "hello"], ["trust"], ["serve", "token", "add", "ann"]):
        subprocess.run([PROGRAM, *words], umask=0, check=True, capture_output=True)
    made = [path for path in home.rglob("*") if not path.is_symlink()]
    assert home / ".local/state/claude-mpm/sessions" in made
    assert home / ".config/claude-mpm/trusted" in made
    assert [str(path) for path in made if mode(path) & 0o077] == []


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("open_one", ["", "sessions"])
@pytest.mark.parametrize("bits", [0o020, 0o002])
def test_sessions_that_others_could_have_written_are_not_obeyed(
    tmp_path: Path, open_one: str, bits: int
) -> None:
    store = Store(tmp_path / "state")
    store.folder("planted").create()
    (tmp_path / "state" / open_one).chmod(0o700 | bits)
    for obeys in (lambda: list(store.sessions()), lambda: store.folder("planted")):
        with pytest.raises(StorageError, match=r"can be written by others .*`chmod go-w"):
            obeys()
    words = ["ps", "stop --all", "doctor", "tickets", "resume"]
    environ = {**os.environ, "CLAUDE_MPM_STATE_DIR": str(tmp_path / "state")}
    for each in words:
        done = subprocess.run(
            [PROGRAM, *each.split()], env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1, each
        assert "can be written by others" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_a_state_folder_that_others_can_only_list_is_taken(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    assert list(Store(tmp_path / "state").sessions()) == []
    check_private(tmp_path / "none")


def test_a_state_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, SOMEBODY, SOMEBODY)
    with pytest.raises(StorageError, match=f"belongs to another user .uid {SOMEBODY}"):
        list(Store(folder).sessions())


@pytest.mark.parametrize("linked", ["", "sessions"])
def test_a_state_folder_may_be_a_link_of_the_users_own(tmp_path: Path, linked: str) -> None:
    store = Store(tmp_path / "state")
    store.folder("one").create()
    link = tmp_path / "state" / linked
    link.rename(tmp_path / "elsewhere")
    link.symlink_to(tmp_path / "elsewhere")
    store.folder("two").create()
    assert sorted(path.name for path in (tmp_path / "state" / "sessions").iterdir()) == [
        "one", "two"
    ]  # fmt: skip
    os.chown(link, SOMEBODY, SOMEBODY, follow_symlinks=False)
    with pytest.raises(StorageError, match=f"a link that belongs to another user .uid {SOMEBODY}"):
        store.folder("one")
    link.unlink()
    link.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").chmod(0o770)
    with pytest.raises(StorageError, match="can be written by others"):
        store.folder("one")


# --- where sockets are --------------------------------------------------------------------------


def test_sockets_are_in_the_runtime_folder_of_the_session(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = temporary / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert runtime_folder() == runtime / OURS
    assert mode(runtime / OURS) == 0o700
    assert Path(socket_path(Path("/a/session"))).parent == runtime / OURS


def file(path: Path) -> None:
    path.touch()


def dangling(path: Path) -> None:
    path.symlink_to("/nowhere")


def anybodys(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def with_another(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / OURS).mkdir(mode=0o700)
    os.chown(path / OURS, SOMEBODY, SOMEBODY)


def with_an_open_one(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / OURS).mkdir()
    (path / OURS).chmod(0o755)


def with_a_link(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "elsewhere").mkdir(mode=0o700)
    (path / OURS).symlink_to(path / "elsewhere")


def with_a_file(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / OURS).touch()


def nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    "made",
    [nothing, file, dangling, anybodys, with_another, with_an_open_one, with_a_link, with_a_file],
)
def test_a_runtime_folder_that_cannot_be_used_is_passed_by_with_one_note(
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    made: object,
) -> None:
    runtime = temporary / "run"
    made(runtime)  # type: ignore[operator]
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    with caplog.at_level(logging.WARNING):
        assert [runtime_folder() for _ in range(3)] == [temporary / OURS] * 3
    (note,) = caplog.messages
    assert "XDG_RUNTIME_DIR" in note
    assert str(temporary / OURS) in note


def test_a_relative_runtime_folder_is_no_runtime_folder(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Path("run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "run")
    assert runtime_folder() == temporary / OURS
    assert "not an absolute path" in caplog.text
    assert list(Path("run").iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 90, "ü" * 20, "y" * 35])
@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "TMPDIR"])
def test_the_path_of_a_socket_is_short_in_bytes(
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    variable: str,
) -> None:
    (temporary / name).mkdir(mode=0o700)
    monkeypatch.setenv(variable, str(temporary / name))
    folder = runtime_folder()
    assert folder in (temporary / OURS, Path("/tmp") / OURS)
    longest = f"{folder}/{'c' * 40}{AN_SSH_SUFFIX}"
    assert len(os.fsencode(longest)) < 104
    assert caplog.messages == [], "a long path is nobody's mistake"


def test_where_no_folder_can_be_used_each_is_named(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, anothers: None
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    monkeypatch.setattr(folders, "_bases", lambda: [("XDG_RUNTIME_DIR", "/nowhere"),
                                                   ("TMPDIR", str(temporary))])  # fmt: skip
    with pytest.raises(LaunchError, match=r"XDG_RUNTIME_DIR .*; TMPDIR .*; set XDG_RUNTIME_DIR"):
        runtime_folder()
    assert "ControlPath=none" in SSH("host").wrap(["true"]), "no sharing, rather than no session"


@pytest.mark.parametrize("name", ["a b", "a%b", "a%%h b", "a'b", "ü"])
def test_ssh_takes_the_path_of_its_socket_as_it_is(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    runtime = temporary / name
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert _control_path().parent == runtime / OURS


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a${HOME}b"])
def test_a_path_that_ssh_would_read_otherwise_is_not_given_to_it(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (temporary / name).mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(temporary / name))
    assert _control_path().parent == temporary / OURS


def _control_path() -> Path:
    """Return the socket of the shared connection as OpenSSH itself has read it."""
    ssh, *words, _command = SSH("host").wrap(["true"])
    done = subprocess.run([ssh, "-G", *words], capture_output=True, text=True, check=True)
    (found,) = [line for line in done.stdout.splitlines() if line.startswith("controlpath ")]
    return Path(found.removeprefix("controlpath "))


# --- far folders --------------------------------------------------------------------------------


class Homeless(Environment):
    """A place whose account has no home, so that sessions are kept with the temporary files."""

    name = "homeless"

    def __init__(self, temporary: Path) -> None:
        self._variables = ["HOME=/proc/none", f"TMPDIR={temporary}"]

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return ["env", *self._variables, "sh", "-c", 'umask 000; exec "$@"', "sh", *argv]


def open_far(path: Path) -> None:
    path.mkdir(mode=0o700)
    anybodys(path / "far")


def linked_far(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "elsewhere").mkdir(mode=0o700)
    (path / "far").symlink_to(path / "elsewhere")


def of_another(path: Path) -> None:
    path.mkdir(mode=0o700)
    (path / "far").mkdir(mode=0o700)
    os.chown(path, SOMEBODY, SOMEBODY)


@pytest.mark.parametrize("planted", [nothing, anybodys, dangling, open_far, linked_far, of_another])
def test_a_far_folder_that_others_can_change_is_not_used(
    temporary: Path, stand_in: Path, planted: object
) -> None:
    temporary.chmod(0o1777)
    shared = temporary / OURS
    planted(shared)  # type: ignore[operator]
    with MPMOrchestrator(environment=Homeless(temporary), cwd="/tmp") as claude:
        assert claude.ask("hello", timeout=60).check().text == "Claude heard: hello"
        spec = json.loads(claude.store.folder(claude.session_id).link_file.read_bytes())
        base = Path(spec["folder"]).parents[2]
        used = [base, base / "far", Path(spec["folder"]).parent, Path(spec["folder"])]
        assert [mode(path) for path in used] == [0o700] * 4
        assert {path.lstat().st_uid for path in used} == {os.getuid()}
    assert (base == shared) == (planted is nothing)
    assert not Path(spec["folder"]).exists()
    assert base.exists() == (planted is nothing), "what was made for one session goes with it"


def test_doctor_names_the_variables_that_a_killed_start_has_left(home: Path) -> None:
    folder = Store().folder("killed")
    folder.create()
    folder.meta_file.write_text("{}")
    folder.environ.path.write_text("export ANTHROPIC_API_KEY=secret\n")

    def doctor(*words: str) -> str:
        done = subprocess.run(
            [PROGRAM, "doctor", *words], capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    assert f"{folder.environ} has keys" in doctor()
    doctor("--sweep")
    assert not folder.environ.exists()
    assert "has keys" not in doctor()
