"""A far session that is reached by a command in front of `sh`."""

from __future__ import annotations

import os
import secrets
import select
import shlex
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from claude_mpm.link.answer import BEGIN, END, MarkedOutput, last_line
from claude_mpm.link.command import run_short
from claude_mpm.link.far import TOO_OLD, FarFailed, FarState, LinkCut, far_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from claude_mpm.journal.layout import SessionFolder

_CHUNK = 1 << 18
_FIRST_FOLLOWER = 60.0  # seconds
_PATIENCE = 30.0  # seconds for one answer, beside what its data take
_SLOWEST = 20_000  # bytes a second
KILL = 'kill -s "$1" "$2"'
_HOST = Path(__file__).parents[1] / "journal" / "host.sh"
_FAR = Path(__file__).with_name("far.sh")
_LARGEST = 1 << 62  # bytes in a journal
_LONGEST_HEAD = 1 << 12


class ShellSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How a far session is reached; kept in the session's folder, so that any process can.

    Args:
        place: the name of the place, for messages.
        shell: the command of this machine that is `sh -s` there.
        far: the command of this machine that is `far.sh` there.
        folder: the session's folder there.
        cwd: the folder to work in; empty for the place's own choice.
        host: the command that starts the host there, in the folder's own shell.
        kill: a script that sends signal $1 to process $2 of the session.
        linger: seconds to wait for the next follower once the last one is gone.
        base: the byte of the near journal that is the first of the far one.
        secrets: a folder there that is in memory, for Claude's variables; empty for the session's.
        config: Claude's configuration folder there, whose records can be fetched; empty for none.
        reader: how this machine is known there, in digits, where another one has laid the session.
    """

    kind: str = "shell"
    place: str
    shell: list[str]
    far: list[str]
    folder: str
    cwd: str
    host: str
    kill: str = KILL
    linger: float = 0.0
    base: int = 0
    secrets: str = ""
    config: str = ""
    reader: str = ""


def open_far(spec: dict[str, Any], folder: SessionFolder) -> ShellFar:
    """Return the far session that a link's file tells of."""
    return ShellFar(msgspec.convert(spec, ShellSpec), folder)


class ShellFar:
    """Does everything by short commands, and follows by a long one.

    Args:
        spec: how it is reached.
        folder: the session's folder on this machine.
    """

    def __init__(self, spec: ShellSpec, folder: SessionFolder) -> None:
        self._spec = spec
        self._folder = folder

    def start(self) -> None:
        """Lay the folder and start its host."""
        answer = MarkedOutput()
        script = _start_script(self._spec, self._folder, answer.nonce)
        said = self._run(self._spec.shell, script.encode(), answer)
        lines = said.decode("utf-8", "replace").splitlines()
        if not lines or lines[-1] != "ok":
            raise FarFailed(f"{self._spec.place}: {lines[-1] if lines else 'no answer'}")
        self._folder.environ.remove()

    def state(self) -> FarState:
        """Return what the far folder says."""
        answer = self._ask(f"state {self._spec.reader}".rstrip())
        state = state_of(answer.decode("utf-8", "replace").splitlines())
        if self._spec.reader and not state.marked:
            raise FarFailed(f"{self._spec.place}: {TOO_OLD}")
        return state

    def follow(self, offset: int) -> ShellStream:
        """Read the far journal from a byte on."""
        return ShellStream(self._spec.far, offset)

    def fetch(self, file: str, offset: int) -> Iterator[bytes]:
        """Yield what one of the far files holds from a byte on."""
        answer = MarkedOutput()
        process = _start(self._spec.far)
        words, output = _pipes(process)
        try:
            words.write(f"{answer.nonce}\nfetch {file} {offset}\n".encode())
            yield from self._pieces(file, answer, output)
        except OSError as error:
            raise LinkCut(f"{self._spec.place}: {error}") from error
        finally:
            _end(process)

    def _pieces(self, file: str, answer: MarkedOutput, output: IO[bytes]) -> Iterator[bytes]:
        """Yield as many bytes as the first line says that there are."""
        head, left = b"", -1
        deadline = time.monotonic() + _PATIENCE
        while left:
            ready = select.select([output], [], [], _PATIENCE)[0]
            chunk = os.read(output.fileno(), _CHUNK) if ready else b""
            piece = answer.feed(chunk)
            if left < 0:
                head, newline, piece = (head + piece).partition(b"\n")
                left = self._announced(head) if newline else -1
            if left > 0 and piece:
                yield piece[:left]
                left -= len(piece[:left])
            is_late = left < 0 and time.monotonic() > deadline  # what comes before may never end
            is_cut = not chunk or answer.status is not None or len(head) > _LONGEST_HEAD
            if left and (is_late or is_cut):
                reason = last_line(b"" if answer.begun else answer.before) or "cut short"
                raise LinkCut(f"{self._spec.place}: {file} did not come whole: {reason}")

    def _announced(self, head: bytes) -> int:
        """Return the length that the first line of a file says."""
        word, _, size = head.decode("utf-8", "replace").partition(" ")
        if word == "gone":
            raise self._gone()
        return _number(size, _LARGEST)

    def put(self, name: str, message: bytes) -> None:
        """Give Claude a message."""
        self._ask(f"put {far_name(name, self._spec.reader)} {len(message)}", message)

    def signal(self, signum: int) -> None:
        """Send the far host a signal."""
        self._ask(f"signal {signal.Signals(signum).name[3:]}")

    def remove(self) -> None:
        """Remove the far folder, once no other machine reads it."""
        self._leave()

    def close(self) -> None:
        """Close nothing: each question has a command of its own."""

    def _leave(self) -> bool:
        """Remove the far folder, and return whether it is gone: others may read it still."""
        reader = self._spec.reader
        return self._ask(f"leave {reader}" if reader else "remove") != b"kept\n"

    def _ask(self, question: str, data: bytes = b"") -> bytes:
        marks = MarkedOutput()
        asked = f"{marks.nonce}\n{question}\n".encode()
        answer = self._run(self._spec.far, asked + data, marks)
        if answer == b"gone\n":
            raise self._gone()
        if not answer.endswith(b"ok\n"):
            raise LinkCut(f"{self._spec.place}: no whole answer to {question.split()[0]}")
        return answer[: -len(b"ok\n")]

    def _gone(self) -> FarFailed:
        return FarFailed(f"{self._spec.place}: the session's folder {self._spec.folder} is gone")

    def _run(self, command: Sequence[str], data: bytes, answer: MarkedOutput) -> bytes:
        patience = _PATIENCE + len(data) / _SLOWEST
        try:
            done = run_short(command, answer, data=data, timeout=patience)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LinkCut(f"{self._spec.place}: {error}") from error
        said = done.stdout
        if answer.status is None:
            reason = last_line(done.stderr, said or answer.before)
            raise LinkCut(f"{self._spec.place}: {reason} (status {done.returncode})")
        return said


def state_of(lines: Sequence[str]) -> FarState:
    """Return what an answer says; of its numbers, those that can be meant."""
    fields: dict[str, Any] = {}
    place: list[str] = []
    heard: dict[str, int] = {}
    for line in lines:
        word, _, rest = line.partition(" ")
        match word:
            case "pid":
                pids = [_number(each, 2**31) for each in rest.split()]
                if len(pids) == 2:
                    fields["host"], fields["claude"] = pids
            case "exit":
                fields["exit"] = _number(rest, 256)
            case "closed" | "dead":
                fields[word] = True
            case "reader":
                fields["marked"] = True
            case "size":
                fields["size"] = _number(rest, _LARGEST)
            case "place":
                place.append(rest)
            case "heard":
                follower, _, count = rest.partition(" ")
                heard[follower] = _number(count, 2**31)
    return FarState(place="\n".join(place), heard=heard, **fields)


def _number(text: str, below: int) -> int:
    """Return a number that the far side has sent; 0 if it is not valid."""
    text = text.strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    return number if number < below else 0


class ShellStream:
    """A far journal, through the standard output of a long-running command."""

    def __init__(self, command: Sequence[str], offset: int) -> None:
        self._process = _start(command)
        self._words, self._bytes = _pipes(self._process)
        # One thread of the link holds and releases, while the main thread reads and beats.
        self._writing = threading.Lock()
        self._answer = MarkedOutput()
        self._name = secrets.token_hex(4)
        self._said = self._said_before = 0  # words, by now and by the last beat
        try:
            self._say(self._answer.nonce)
            self._wait_for_mark()
            self._say(f"follow {offset} {self._name}")
            self._said = 0
        except LinkCut:
            self.close()
            raise

    def _wait_for_mark(self) -> None:
        """Take what the place says first; nothing comes behind the mark until we ask for it."""
        deadline = time.monotonic() + _PATIENCE
        while not self._answer.begun:
            left = deadline - time.monotonic()  # what comes before may never end
            ready = left > 0 and select.select([self], [], [], left)[0]
            chunk = os.read(self._bytes.fileno(), _CHUNK) if ready else b""
            if not chunk:
                reason = last_line(self._answer.before) or "no answer"
                raise LinkCut(f"the journal is not sent: {reason}")
            self._answer.feed(chunk)

    def fileno(self) -> int:
        """Return a descriptor that can be read when there are bytes."""
        return self._bytes.fileno()

    def read(self) -> bytes | None:
        """Return the next bytes; None where there are none yet, empty at the end."""
        chunk = os.read(self._bytes.fileno(), _CHUNK)
        piece = self._answer.feed(chunk)
        ended = not chunk or self._answer.status is not None
        return piece if piece or ended else None

    def beat(self) -> None:
        """Send the far side a sign of life."""
        self._said_before = self._said
        self._say("beat")

    def is_heard(self, state: FarState) -> bool:
        """Return whether all that was said before the last beat has arrived there."""
        return state.heard.get(self._name, 0) >= self._said_before

    def hold(self) -> None:
        """Keep the far session from being ended by its linger rule."""
        self._say("hold")

    def release(self) -> None:
        """Let the far session's linger rule run."""
        self._say("release")

    def close(self) -> None:
        """End the command."""
        _end(self._process)

    def _say(self, word: str) -> None:
        with self._writing:
            try:
                self._words.write(word.encode() + b"\n")
                self._said += 1
            except (OSError, ValueError) as error:
                raise LinkCut(str(error)) from error


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
    except OSError as error:
        raise LinkCut(str(error)) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command that has done its work, or never will."""
    words, output = _pipes(process)
    words.close()
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    output.close()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _start_script(spec: ShellSpec, folder: SessionFolder, nonce: str) -> str:
    """Return the script that lays a far folder and starts its host, or finds that it was started.

    It is one function that the last line calls: half of it does nothing.
    """
    files = _laid_files(spec, folder)
    laid = "\n".join(f"    printf %s {shlex.quote(text)} >{name}" for name, text in files.items())
    secrets = f"{spec.secrets}/environ-$$" if spec.secrets else ""
    return f"""start() {{
    mask=$(umask)
    umask 077
    export session={shlex.quote(spec.folder)}
    mkdir -p "${{session%/*}}" || return
    if mkdir "$session" 2>/dev/null; then lay || return; fi
    left=100
    until [ -f "$session/exchange/pid" ] || [ -f "$session/exchange/exit" ]; do
        [ "$left" -gt 0 ] || {{ tail -n 1 "$session/exchange/host.log"; echo "no host"; return; }}
        left=$((left - 1))
        sleep 0.1
    done
    [ -z "{secrets}" ] || rm -f "{secrets}"
    echo ok
}}
lay() {{
    cd "$session" || return
    mkdir given given/inbox exchange || return
    [ -z "{secrets}" ] || ln -s "{secrets}" exchange/environ || return
    : >exchange/out.jsonl && mkfifo exchange/feed exchange/lease || return
{laid}
    {_change_folder(spec.cwd)}
    umask "$mask"
    {spec.host}
}}
exec 2>&1
{BEGIN}{nonce}
start </dev/null
{END}{nonce} "$?"
exit 0
"""


def _laid_files(spec: ShellSpec, folder: SessionFolder) -> dict[str, str]:
    """Return what is written into a far folder, by the names there."""
    files = {"far.sh": _FAR.read_text(), "given/host.sh": _HOST.read_text()}
    files["kill.sh"] = spec.kill + "\n"
    files["config"] = spec.config
    files["given/patience"] = f"{_patience(spec)}\n"
    for near in (folder.framework, folder.agents, folder.expected_place):
        if near.exists():
            files[f"given/{near.name}"] = near.read_text()
    with suppress(FileNotFoundError):
        files["exchange/environ"] = b"".join(folder.environ.chunks()).decode()
    return files


def _patience(spec: ShellSpec) -> str:
    """Return how long the host waits for its first follower, who has a way to go, in seconds."""
    return f"{max(_FIRST_FOLLOWER, spec.linger):.0f}"


def _change_folder(cwd: str) -> str:
    where = shlex.quote(cwd) if cwd else '"${HOME:-/}"'
    return f"cd {where} || return"
