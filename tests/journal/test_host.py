"""The host script by itself: it owns Claude's standard streams, and leaves nothing behind."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from claude_mpm.environments.local import Local
from claude_mpm.environments.order import HOST_SCRIPT, Order
from claude_mpm.errors import LaunchError
from claude_mpm.journal import host_files
from claude_mpm.journal.folder_watch import subscribe
from claude_mpm.journal.host_files import make_host_files
from claude_mpm.journal.inbox import Inbox
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.journal.lease import Lease
from claude_mpm.terminal.host import write_place_statement
from claude_mpm.testing.subject import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Host = Callable[..., subprocess.Popen[bytes]]

SECONDS = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> SessionFolder:
    folder = SessionFolder(tmp_path / "session")
    folder.create()
    folder.prepare_host()
    return folder


@pytest.fixture
def start(folder: SessionFolder) -> Iterator[Host]:
    hosts = []

    def start(*command: str, linger: float = 60, limit: float = 60) -> subprocess.Popen[bytes]:
        argv = ["sh", HOST_SCRIPT, str(folder.path), str(linger), str(limit), *command]
        hosts.append(subprocess.Popen(argv, start_new_session=True))
        return hosts[-1]

    yield start
    for host in hosts:
        if host.poll() is None:
            host.terminate()
        host.wait(SECONDS)


def assert_nothing_left(host: subprocess.Popen[bytes]) -> None:
    """Fail unless the host's process group is gone; what was killed needs a moment for it."""
    deadline = time.monotonic() + SECONDS
    while left := group_of(host):
        assert time.monotonic() < deadline, f"processes of the host are left: {left}"


def group_of(host: subprocess.Popen[bytes]) -> list[str]:
    """Return the living processes of the host's process group."""
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
    )
    processes = [line.split() for line in listing.stdout.splitlines()]
    return [pid for pid, group, state in processes if group == str(host.pid) and state[0] != "Z"]


def test_messages_come_out_in_the_journal_and_the_end_of_input_ends_all(
    folder: SessionFolder, start: Host
) -> None:
    inbox = Inbox(folder)
    inbox.open_before_host()
    lease = Lease(folder)
    names = [inbox.put(b"one\n"), inbox.put(b"x" * 6_000_000 + b"\n"), inbox.put(b"three\n")]
    for name in names:
        inbox.announce(name)
    inbox.end()
    host = start("cat")
    assert host.wait(SECONDS) in (0, -15)
    assert folder.journal.path.read_bytes() == b"one\n" + b"x" * 6_000_000 + b"\nthree\n"
    assert folder.exit_status() == 0
    assert_nothing_left(host)
    assert not folder.stdin.exists()
    inbox.close()
    lease.release()


@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_the_exit_status_is_kept_and_so_is_what_was_said_on_standard_error(
    folder: SessionFolder, start: Host, command: str, status: int
) -> None:
    host = start("sh", "-c", f"echo said; echo wrong >&2; {command}")
    host.wait(SECONDS)
    assert folder.exit_status() == status
    assert folder.journal.path.read_text() == "said\n"
    assert folder.stderr_tail() == "wrong"
    assert_nothing_left(host)


def test_a_command_that_is_not_there_ends_with_127(folder: SessionFolder, start: Host) -> None:
    host = start("/no/such/claude")
    host.wait(SECONDS)
    assert folder.exit_status() == 127
    assert "no/such/claude" in folder.stderr_tail()
    assert_nothing_left(host)


def test_when_the_last_follower_is_gone_the_input_ends_after_the_linger_time(
    folder: SessionFolder, start: Host
) -> None:
    lease = Lease(folder)
    host = start("cat", linger=0.2)
    with pytest.raises(subprocess.TimeoutExpired):
        host.wait(0.8)
    lease.release()
    host.wait(SECONDS)
    assert folder.exit_status() == 0
    assert_nothing_left(host)


def test_a_follower_in_time_keeps_claude(folder: SessionFolder, start: Host) -> None:
    first = Lease(folder)
    host = start("cat", linger=30)
    first.release()
    second = Lease(folder)
    inbox = Inbox(folder)
    inbox.open_before_host()
    inbox.announce(inbox.put(b"still here\n"))
    inbox.end()
    host.wait(SECONDS)
    assert folder.journal.path.read_text() == "still here\n"
    second.release()
    inbox.close()


def test_a_folder_that_was_removed_leaves_no_claude_running(
    folder: SessionFolder, start: Host
) -> None:
    lease = Lease(folder)
    host = start("cat", linger=0.5)
    changes = subscribe(folder.exchange)
    while folder.pids() is None:
        changes.wait(SECONDS)
    changes.close()
    folder.path.rename(folder.path.with_name("removed"))  # at once, while the host writes there
    lease.release()
    host.wait(SECONDS)
    assert_nothing_left(host)


def test_without_any_follower_claude_is_not_left_running(
    folder: SessionFolder, start: Host
) -> None:
    host = start("cat", linger=0.1)
    host.wait(SECONDS)
    assert folder.exit_status() == 0


def test_a_question_waits_though_nobody_follows_and_its_answer_lets_the_linger_rule_run(
    folder: SessionFolder, start: Host
) -> None:
    said = '{"type":"system","subtype":"session_state_changed","state":'
    answers = f"""echo '{said}"requires_action"}}'; read -r x; echo '{said}"running"}}'; cat"""
    lease = Lease(folder)
    host = start("sh", "-c", answers, linger=0)
    until(lambda: "requires_action" in folder.journal.path.read_text(), "nothing is asked")
    lease.release()
    with pytest.raises(subprocess.TimeoutExpired):
        host.wait(3)
    inbox = Inbox(folder)
    inbox.announce(inbox.put(b"yes\n"))
    inbox.close()
    host.wait(SECONDS)
    assert folder.exit_status() == 0
    assert_nothing_left(host)


def test_what_ignores_the_end_of_input_is_terminated_after_the_limit(
    folder: SessionFolder, start: Host
) -> None:
    host = start(
        "sh", "-c", "while :; do read -r line || tail -f /dev/null; done", linger=0.1, limit=0.1
    )
    host.wait(SECONDS)
    assert folder.exit_status() == 143
    assert_nothing_left(host)


def test_a_terminated_host_terminates_claude_and_says_how_it_ended(
    folder: SessionFolder, start: Host
) -> None:
    host = start("sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; read -r line; read -r line")
    until(lambda: folder.journal.path.read_text() == "up\n", "it is not up")
    host.terminate()
    host.wait(SECONDS)
    assert folder.exit_status() in (3, 143)
    assert_nothing_left(host)


def test_a_host_takes_what_the_controller_has_made_and_removes_it(
    folder: SessionFolder, start: Host, tmp_path: Path
) -> None:
    base = tmp_path / "not there yet"
    make_host_files(folder, {"TMPDIR": str(base)}, str(tmp_path))
    made = Path(folder.temporary.path.read_text().strip())
    assert made.parent == base
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    stated = folder.read_place()
    host = start("sh", "-c", 'echo "$CLAUDE_CODE_TMPDIR"; : >"$CLAUDE_CODE_TMPDIR/file"')
    host.wait(SECONDS)
    assert folder.journal.path.read_text() == f"{made}\n"
    assert folder.read_place() == stated
    assert not made.exists()
    assert_nothing_left(host)


def test_the_controller_states_what_the_host_itself_would(
    folder: SessionFolder, start: Host, tmp_path: Path
) -> None:
    start("true").wait(SECONDS)
    by_the_host = folder.read_place()
    folder.prepare_host()
    make_host_files(folder, os.environ, str(Path.cwd()))
    assert folder.read_place() == by_the_host
    folder.remove_temporary()


def test_the_host_of_a_terminal_states_the_same(
    folder: SessionFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a user without a name, and of a folder whose name is no text."""

    def nameless(uid: int) -> NoReturn:
        raise KeyError(uid)

    work = tmp_path / os.fsdecode(b"no \xff text")
    work.mkdir()
    monkeypatch.setattr(pwd, "getpwuid", nameless)
    make_host_files(folder, {"TMPDIR": str(tmp_path)}, str(work))
    stated = folder.place.read()
    assert f"user={os.geteuid()}\n".encode() in stated
    folder.expect_place({"user": str(os.geteuid())})
    assert write_place_statement(folder, str(work)) == ""
    assert folder.place.read() == stated
    folder.expect_place({"user": "somebody"})
    assert "not user=somebody" in write_place_statement(folder, str(work))
    folder.remove_temporary()


@pytest.mark.parametrize(
    "where",
    [
        "/var/lib/docker/containers",
        "/containers/storage/overlay-containers",
        "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes",
    ],
)
def test_a_host_knows_its_container_whatever_runs_it(
    folder: SessionFolder, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    container, mounts, script = "0123456789abcdef" * 4, tmp_path / "mounts", tmp_path / "host.sh"
    mounts.write_text(f"1 2 0:1 / / rw\n3 4 8:1 {where}/{container}/hostname /etc/hostname rw\n")
    script.write_text(Path(HOST_SCRIPT).read_text().replace("/proc/self/mountinfo", str(mounts)))
    argv = ["sh", str(script), str(folder.path), "60", "60", "true"]
    subprocess.run(argv, start_new_session=True, check=False, timeout=SECONDS)
    assert folder.read_place()["container"] == container
    folder.prepare_host()
    monkeypatch.setattr(host_files, "_MOUNTS", str(mounts))
    make_host_files(folder, os.environ, str(Path.cwd()))
    assert folder.read_place()["container"] == container
    folder.remove_temporary()


def test_what_a_controller_has_made_is_made_again_for_the_next_host(
    folder: SessionFolder, start: Host, tmp_path: Path
) -> None:
    make_host_files(folder, {"TMPDIR": str(tmp_path)}, str(tmp_path))
    folder.note_base({"TMPDIR": str(tmp_path)})
    assert folder.remove_temporary()
    folder.prepare_host()
    assert not folder.made.exists()
    start("sh", "-c", 'echo "$CLAUDE_CODE_TMPDIR"').wait(SECONDS)
    assert folder.journal.path.read_text().strip() != ""
    assert not list(tmp_path.glob("mpm.*"))


@pytest.mark.parametrize("name", ["with blanks ", "\\backslash"])
def test_the_name_of_the_temporary_folder_is_taken_as_it_is(
    folder: SessionFolder, start: Host, tmp_path: Path, name: str
) -> None:
    make_host_files(folder, {"TMPDIR": str(tmp_path / name)}, str(tmp_path))
    start("sh", "-c", '[ -d "$CLAUDE_CODE_TMPDIR" ] && echo there').wait(SECONDS)
    assert folder.journal.path.read_text() == "there\n"
    assert not list((tmp_path / name).iterdir())


@pytest.mark.parametrize("base", ["relative", "/tmp/two\nlines"])
def test_a_temporary_folder_that_only_the_host_can_name_is_left_to_it(
    folder: SessionFolder, base: str, tmp_path: Path
) -> None:
    make_host_files(folder, {"TMPDIR": base}, str(tmp_path))
    assert not folder.made.exists()
    assert not folder.temporary.exists()
    assert not folder.stdin.exists()


def test_no_link_is_followed_in_the_place_of_the_process_ids(
    folder: SessionFolder, start: Host, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (folder.exchange / "pid").symlink_to(victim)
    start("true").wait(SECONDS)
    (folder.exchange / "pid").unlink(missing_ok=True)
    assert victim.read_text() == "untouched"
    assert folder.exit_status() == 0


def test_a_place_of_another_kind_is_left_to_its_own_host(tmp_path: Path) -> None:
    class Elsewhere(Local):
        def wrap(self, argv: Sequence[str]) -> list[str]:
            return ["env", *argv]

    for place, is_made in ((Local(), True), (Elsewhere(), False)):
        folder = SessionFolder(tmp_path / str(is_made))
        folder.create()
        folder.prepare_host()
        order = Order(
            folder=folder,
            claude="sh",
            arguments=("-c", f"[ -e '{folder.made}' ] && echo made; exit 0"),
            cwd=str(tmp_path),
            environ={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
            linger=60,
            linger_limit=60,
        )
        place.start(order).wait(SECONDS)
        assert folder.journal.path.read_text() == ("made\n" if is_made else "")
        assert folder.read_place()["cwd"] == str(tmp_path)
        assert not list(tmp_path.glob("mpm.*"))
    folder.remove_host()


def test_a_host_that_cannot_be_run_leaves_no_temporary_folder(tmp_path: Path) -> None:
    folder = SessionFolder(tmp_path / "session")
    folder.create()
    folder.prepare_host()
    order = Order(
        folder=folder,
        claude="true",
        arguments=(),
        cwd=str(tmp_path / "no such folder"),
        environ={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
        linger=60,
        linger_limit=60,
    )
    with pytest.raises(LaunchError, match="cannot run"):
        Local().start(order)
    assert not list(tmp_path.glob("mpm.*"))
