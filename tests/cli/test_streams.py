"""Bytes that are no text, readers that have gone, full disks, dumb terminals: no traceback."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from calls import call, make_session
from claude_mpm.sessions.store import Store
from claude_mpm.testing import Call
from claude_mpm.testing.subject import until
from command import PROGRAM, SECONDS, Command
from terminal import CTRL_D, Terminal

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel

    Capture = pytest.CaptureFixture[str]

HALF = 1 << 15  # of the bytes that a pipe holds
NARROW = {"PYTHONIOENCODING": "latin-1"}
# A locale whose encoding is ASCII, which Python would otherwise take for UTF-8.
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
BAD = "caf\udce9"  # as Python has the bytes b"caf\xe9" of an argument
LISTS = (["ps"], ["tickets"], ["show", "one"], ["logs", "one"], ["doctor"], ["--help"])


@pytest.fixture
def told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session whose words and tickets no narrow encoding has, and more than a pipe holds."""
    monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(home / "state"))
    lines = [f"TODO: mend № {n} — now ☂\n{'so it is. ' * 50}" for n in range(300)]
    make_session("one", lines)


def shell(line: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, in which `mpm` is the command; its status is that of the command."""
    start = f'mpm() {{ {shlex.quote(str(PROGRAM))} "$@"; }}; {line}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", start], env={**os.environ, **environ}, capture_output=True, text=True,
        errors="replace", stdin=subprocess.DEVNULL, timeout=100, check=False,
    )  # fmt: skip
    said = done.stderr.splitlines(keepends=True)
    # Of a folder that is gone, bash itself says something.
    done.stderr = "".join(each for each in said if not each.startswith("shell-init: "))
    return done


def is_one_line(text: str) -> bool:
    return text.startswith("claude-mpm: ") and text.count("\n") == 1


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("locale", [NARROW, ASCII, {"PYTHONIOENCODING": "ascii"}])
@pytest.mark.parametrize(
    "words",
    [*LISTS, ["tickets", "export", "--format", "csv"], ["ps", "--json"], ["logs", "--json"]],
)
def test_a_narrow_locale_has_escapes_and_no_traceback(
    words: list[str], locale: dict[str, str]
) -> None:
    done = shell(f"mpm {shlex.join(words)}", **locale)
    assert done.returncode == 0
    assert done.stdout
    assert done.stderr == ""


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("words", ["tickets --json", "tickets export --format json"])
def test_json_is_whole_in_a_narrow_locale(words: str) -> None:
    found = json.loads(shell(f"mpm {words}", **NARROW).stdout)
    assert found[0]["title"].startswith("mend № ")


def test_an_answer_in_a_narrow_locale(command: Command, model: ScriptedModel) -> None:
    model.on("Go", "Done — all of it.")
    done = shell("mpm run Go", **command.environ, **NARROW)
    assert done.stdout == "Done \\u2014 all of it.\n"


@pytest.mark.parametrize("way", [["ü?"], ["-i", "ü?"]])
def test_a_prompt_is_read_as_utf8_in_any_locale(
    command: Command, model: ScriptedModel, way: list[str]
) -> None:
    assert shell(f"mpm run {shlex.join(way)}", **command.environ, **ASCII).returncode == 0
    assert model.wait_for_request("ü?").prompt == "ü?"


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["run", BAD], 2),
        (["run", "-i", BAD], 2),
        (["run", "Go", "--", BAD], 2),
        (["run", "Go", "-o", f"image={BAD}"], 2),
        (["run", "Go", "--model", BAD], 4),
        (["run", "Go", "--cwd", BAD], 4),
        (["run", "Go", "--framework", BAD], 4),
        (["run", "Go", "--agents-dir", BAD], 4),
        (["run", "Go", "--allowed-tools", f"Bash({BAD})"], 4),
        (["run", "Go", "--plugin", BAD], 4),
        (["run", "Go", "--session", BAD], 2),
        (["show", BAD], 2),
        (["stop", BAD], 2),
        (["resume", BAD, "Go"], 2),
        (["tickets", "scan", BAD], 2),
        ([BAD], 2),
    ],
)
def test_an_argument_that_is_no_text_is_one_line(words: list[str], status: int) -> None:
    done = shell(f"mpm {' '.join(shlex.quote(word) for word in words)}")
    assert is_one_line(done.stderr), done.stderr
    assert done.returncode == status


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("name", ["CLAUDE_MPM_MODEL", "CLAUDE_MPM_STATE_DIR", f"CLAUDE_MPM_{BAD}"])
def test_a_variable_that_is_no_text_is_one_line(name: str) -> None:
    done = shell("mpm ps", **{name: BAD})
    assert is_one_line(done.stderr), done.stderr
    assert done.returncode == 4


def test_a_variable_of_somebody_elses_is_nobodys_business(command: Command) -> None:
    assert command("run", "hello", SOME_NAME=BAD).stdout == "Claude heard: hello\n"


@pytest.mark.usefixtures("stand_in")
def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    folder = tmp_path / BAD
    folder.mkdir()
    os.chdir(folder)
    done = shell("mpm run Go")
    assert is_one_line(done.stderr), done.stderr
    assert "not UTF-8" in done.stderr
    for words in ("ps", "tickets", "ps --json", "tickets --project .", "doctor", "doctor --json"):
        assert "Traceback" not in shell(f"mpm {words}").stderr
    assert shell("mpm trust").returncode == 0
    assert json.loads(shell("mpm trust --list --json").stdout) == [str(folder)]
    assert shell("mpm trust --remove .").returncode == 0
    assert shell("mpm trust --list").stdout == "no folder\n"


@pytest.mark.usefixtures("stand_in")
def test_a_home_whose_name_is_no_text(tmp_path: Path) -> None:
    (tmp_path / BAD).mkdir()
    done = shell("mpm run Go", HOME=str(tmp_path / BAD))
    assert is_one_line(done.stderr), done.stderr
    assert "state_dir" in done.stderr


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("words", LISTS, ids=lambda words: words[0])
def test_a_full_disk_behind_standard_output_is_one_line(words: list[str]) -> None:
    done = shell(f"mpm {shlex.join(words)} >/dev/full")
    assert done.returncode == 1
    assert is_one_line(done.stderr), done.stderr
    assert "No space left" in done.stderr


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("reader", ["head -1", "true"])
@pytest.mark.parametrize("words", LISTS, ids=lambda words: words[0])
def test_a_reader_that_has_seen_enough_is_no_error(words: list[str], reader: str) -> None:
    for _ in range(3):
        done = shell(f"mpm {shlex.join(words)} | {reader}")
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("told")
@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("words", [["logs", "one"], ["logs", "one", "--json"]], ids=" ".join)
def test_ctrl_c_ends_a_command_whose_reader_reads_no_further(words: list[str]) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([PROGRAM, *words], stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        pipe_end = process.stdout.fileno()
        until(
            lambda: _unread(pipe_end) > HALF and _sleeps(process.pid), "the pipe does not get full"
        )
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(SECONDS) == 130
        finally:
            process.kill()
        assert process.stderr.read().strip() == "claude-mpm: interrupted"


def _sleeps(pid: int) -> bool:
    """Return whether a process waits for something, such as for its reader."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("S")


def _unread(pipe: int) -> int:
    """Return how many bytes nobody has read yet."""
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0])


AT_THE_END = """
import sys
from claude_mpm.cli import main, streams

def interrupted(stream, data):
    if stream._lost:
        return len(data)
    raise KeyboardInterrupt

streams._StandardOutput.write = interrupted
main._run = lambda app, words: sys.stdout.write("x") - 1
main.main([])
"""


def test_ctrl_c_in_the_last_write_is_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END],
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nclaude-mpm: interrupted\n")


def test_a_full_disk_behind_standard_error_changes_nothing() -> None:
    done = shell("mpm show nobody 2>/dev/full")
    assert done.returncode == 2
    assert shell("mpm ps 2>/dev/full").returncode == 0


def test_an_answer_that_nobody_reads_is_given_to_its_end(
    command: Command, model: ScriptedModel
) -> None:
    model.on("Go", "first\nsecond", Call("Bash", command="true"), "TODO: clean the gutter")
    for end in ("| true", ">/dev/full", "2>/dev/full"):
        done = shell(f"mpm run --quiet Go {end}", **command.environ)
        assert done.returncode == (end == ">/dev/full"), done.stderr
        assert is_one_line(done.stderr) if done.returncode else done.stderr == ""
    assert len(command.json("tickets")) == 3


@pytest.mark.parametrize("end", [">&$gone", ">/dev/full"])
@pytest.mark.parametrize("form", ["", "--json"])
def test_a_detached_session_that_nobody_can_name_is_stopped(
    command: Command, end: str, form: str
) -> None:
    without_reader = "exec {gone}> >(:); wait $!"  # a pipe whose reader has ended
    done = shell(f"{without_reader}; mpm run --detach {form} hello {end}", **command.environ)
    assert done.returncode == 1
    assert is_one_line(done.stderr), done.stderr
    assert "is stopped" in done.stderr
    [session] = command.json("ps", "--all")
    assert session["state"] == "ended"


@pytest.mark.parametrize("term", ["dumb", "", "unknown"])
def test_a_dumb_terminal_gets_no_escapes(command: Command, model: ScriptedModel, term: str) -> None:
    model.on("Go", Call("Bash", command="true"), "TODO: clean the gutter")
    command("run", "Go")
    environ = {**command.environ, "TERM": term}
    for words in (["ps"], ["tickets"], ["show"], ["doctor"], ["logs"], ["run", "Go"], ["attach"]):
        with Terminal([str(PROGRAM), *words], environ) as terminal:
            terminal.wait()
        assert "\x1b" not in terminal.shown, words


def test_a_dumb_terminal_has_a_plain_conversation(command: Command) -> None:
    with Terminal([str(PROGRAM)], {**command.environ, "TERM": "dumb"}) as terminal:
        terminal.expect("› ")
        terminal.type("hello\r")
        terminal.expect("Claude heard: hello")
        terminal.expect("› ")
        terminal.type(CTRL_D)
        terminal.wait()
    assert "\x1b" not in terminal.shown


def nameless(words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user without a name and without a home."""
    front = "unshare --user --map-user=54321 --map-group=54321 env -u HOME"
    return subprocess.run(
        [*front.split(), str(PROGRAM), *words.split()], env={**os.environ, **environ},
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=100, check=False,
    )  # fmt: skip


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("words", ["ps", "show", "run Go", "tickets", "stop --all", "trust ."])
def test_a_user_without_a_name_and_a_home_is_one_line(words: str) -> None:
    done = nameless(words)
    assert is_one_line(done.stderr), done.stderr
    assert "set HOME" in done.stderr
    assert done.returncode == 4


@pytest.mark.usefixtures("stand_in")
def test_a_user_without_a_home_can_use_a_state_folder(tmp_path: Path) -> None:
    named = {"CLAUDE_MPM_STATE_DIR": str(tmp_path / "state")}
    assert nameless("run Go", **named).returncode == 0
    assert nameless("ps --all", **named).stdout.count("\n") == 2
    assert nameless("trust --list", **named).stdout == "no folder\n"


@pytest.mark.usefixtures("stand_in")
def test_doctor_says_that_there_is_no_home(tmp_path: Path) -> None:
    for named in ({}, {"CLAUDE_MPM_STATE_DIR": str(tmp_path / "state")}):
        done = nameless("doctor", **named)
        assert done.returncode == 1
        assert "problem home" in done.stdout
        assert "export HOME=" in done.stdout


def test_doctor_says_that_there_is_no_shell_for_claude(
    capsys: Capture, stand_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_mpm.cli.doctor_checks._SHELLS_ARE_IN", ())
    monkeypatch.setenv("PATH", str(stand_in.parent))
    checks = {each["name"]: each for each in call(capsys, "doctor", "--json").json["checks"]}
    assert checks["shell"]["status"] == "problem"
    assert "no bash and no zsh" in checks["shell"]["found"]


@pytest.fixture
def gone(tmp_path: Path, stand_in: Path) -> Path:
    """The current folder, which is removed."""
    folder = tmp_path / "gone"
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()
    return folder


@pytest.mark.usefixtures("told", "gone")
@pytest.mark.parametrize(
    "words",
    [
        "ps", "show one", "logs one", "wait one", "stop one", "stop --all", "tickets",
        "delegations", "tickets export", "questions", "trust --list", "orchestrators", "--help",
        "completion bash", "doctor", "doctor --sweep", "doctor --rebuild-index",
    ],
)  # fmt: skip
def test_a_command_that_needs_no_folder_works_from_one_that_is_gone(words: str) -> None:
    done = shell(f"mpm {words}")
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("told", "gone")
def test_a_file_with_its_whole_path_is_scanned_from_a_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("TODO: clean the gutter\n")
    assert "clean the gutter" in shell(f"mpm tickets scan {tmp_path / 'notes.txt'}").stdout


@pytest.mark.usefixtures("gone")
@pytest.mark.parametrize("words", ["run Go", "trust", "trust .", "tickets --project ."])
def test_what_needs_the_folder_says_that_it_is_gone(words: str) -> None:
    done = shell(f"mpm {words}")
    assert is_one_line(done.stderr), done.stderr
    assert "the current folder is gone; change to one that exists" in done.stderr
    assert done.returncode != 0


@pytest.mark.usefixtures("gone")
def test_a_run_elsewhere_needs_no_current_folder(home: Path) -> None:
    assert shell(f"mpm run --cwd {home} Go").returncode == 0


def test_a_state_folder_is_found_from_a_folder_that_is_gone(gone: Path) -> None:
    assert not gone.exists()
    assert Store().path.is_absolute()
