"""The host of a session on a terminal: it serves the session's folder as `host.sh` does.

It owns the terminal on which Claude shows its own interface. Screens connect and disconnect;
prompts from the inbox are typed; the journal is copied from Claude's transcripts, never read from
the screen. All of it runs in one thread, around one selector.
"""

from __future__ import annotations

import os
import selectors
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.errors import MPMError
from claude_mpm.folders import make_private
from claude_mpm.journal.host_files import container_id, place_statement
from claude_mpm.journal.inbox import END_OF_INPUT, Inbox
from claude_mpm.journal.orphans import MARK, end
from claude_mpm.terminal.claude_config import ClaudeStatus, configuration_folder, read_claude_status
from claude_mpm.terminal.fifos import Fifos, Linger
from claude_mpm.terminal.frames import Size
from claude_mpm.terminal.journal_writer import JournalWriter
from claude_mpm.terminal.modes import Modes, without_sequences
from claude_mpm.terminal.program import (
    NOT_STARTED,
    TERMINAL_SIGNALS,
    LaunchSpec,
    Program,
    take_launch_spec,
)
from claude_mpm.terminal.prompt_typer import PromptTyper
from claude_mpm.terminal.screens import Screens, socket_path
from claude_mpm.terminal.transcript_copier import TranscriptCopier

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

_DEFAULT_SIZE = Size(40, 120)
_FIRST_SCREEN_TIMEOUT = 15.0  # seconds that the start waits for the first screen
_ACTIVE_INTERVAL, _IDLE_INTERVAL = 0.05, 0.5  # seconds between updates, with output and without
_STAYS_ACTIVE = 2.0  # seconds after the last output
_KILL_DELAY = 10.0  # seconds between SIGTERM and SIGKILL
_REDRAW_TIME = 0.1  # seconds for which the terminal has another size, so that all is redrawn
_TAIL = 4000  # bytes of output that are kept to explain why a program did not start


def run_host(folder: SessionFolder) -> int:
    """Run a session's program to its end and return its exit status; called once per process."""
    status = NOT_STARTED
    signals = Signals()
    try:
        spec = take_launch_spec(folder)
        refusal = write_place_statement(folder, spec.cwd)
        if refusal:
            _log_error(folder, refusal)
        else:
            status = Host(folder, spec, signals).run()
    except (MPMError, OSError) as error:
        _log_error(folder, str(error))
    finally:
        end(folder.path)
        folder.remove_temporary()
        folder.remove_host()
        folder.exit_file.write(f"{status}\n".encode())
    return status


def _log_error(folder: SessionFolder, message: str) -> None:
    folder.host_errors.append(f"{message}\n".encode())


class Host:
    """One program on its terminal, from start to end.

    Args:
        folder: the session's.
        spec: how the program is started.
        signals: those of this process.
    """

    def __init__(self, folder: SessionFolder, spec: LaunchSpec, signals: Signals) -> None:
        self._folder = folder
        self._spec = spec
        self._signals = signals
        self._selector = selectors.DefaultSelector()
        self._modes = Modes()
        self._screens = Screens(socket_path(folder.path), self._selector, self._modes)
        self._fifos = Fifos(folder)
        self._inbox = Inbox(folder)
        self._linger = Linger(folder, spec.linger, spec.linger_limit)
        self._configuration = configuration_folder(spec.environ)
        copier = TranscriptCopier(folder, self._configuration, spec.conversation)
        copier.follow(copier.conversation or spec.conversation)
        self._copier = copier
        self._typer = PromptTyper(
            spec.first_event_timeout, folder.path.name, is_claude=bool(spec.conversation)
        )
        self._writer = JournalWriter(copier, self._typer, folder.host_errors)
        self._claude_status = ClaudeStatus()
        self._program: Program
        self._ready = False
        self._output_tail = b""
        self._last_output = self._last_update = 0.0
        self._full_size_at: float | None = None
        self._kill_at: float | None = None

    def run(self) -> int:
        """Run the program and return its exit status."""
        self._folder.write(self._folder.screen, f"{self._screens.path}\n".encode())
        self._selector.register(self._signals.descriptor, selectors.EVENT_READ, self._signals.drain)
        try:
            self._wait_for_screen()
            if self._signals.terminate_requested:
                return 128 + signal.SIGTERM
            self._program = self._start_program()
            self._selector.register(self._program.master, selectors.EVENT_READ, self._serve)
            self._selector.register(self._fifos.feed, selectors.EVENT_READ, _nothing)
            while self._program.status is None:
                self._wait(self._pause())
                self._update(time.monotonic())
            return self._finish(self._program.status)
        finally:
            self._screens.close()

    # --- beginning --------------------------------------------------------------------------

    def _wait_for_screen(self) -> None:
        """Wait for the first screen, since the program queries its terminal when it starts."""
        deadline = time.monotonic() + _FIRST_SCREEN_TIMEOUT
        while self._spec.screen and not self._screens and not self._signals.terminate_requested:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._wait(left)
        self._screens.take_joined()

    def _start_program(self) -> Program:
        environ = {"TERM": "xterm-256color", **self._spec.environ}
        environ["CLAUDE_MPM_SESSION"] = self._folder.path.name
        environ["CLAUDE_MPM_FOLDER"] = str(self._folder.path)
        environ[MARK.decode().rstrip("=")] = str(self._folder.path)
        environ["CLAUDE_CODE_TMPDIR"] = self._temporary_folder(environ)
        claude, *arguments = self._spec.command
        command = [claude, *self._conversation(), *arguments]
        return Program(command, self._spec.cwd, environ, self._screens.size or _DEFAULT_SIZE)

    def _temporary_folder(self, environ: dict[str, str]) -> str:
        """Make a folder for Claude's temporary files, removed with the host.

        Its path is short, because the paths of sockets are limited.
        """
        base = environ.get("CLAUDE_CODE_TMPDIR") or environ.get("TMPDIR") or "/tmp"
        make_private(Path(base))
        folder = tempfile.mkdtemp(prefix="mpm.", dir=base)
        self._folder.temporary.write(f"{folder}\n".encode())
        return folder

    def _conversation(self) -> list[str]:
        """Return the arguments that name the conversation which Claude begins or continues."""
        last = self._copier.conversation
        if not self._spec.conversation:
            return []
        if self._copier.has_transcript(last):
            return [f"--resume={last}", *self._spec.resuming]
        return ["--session-id", self._spec.conversation]

    # --- while it runs ----------------------------------------------------------------------

    def _pause(self) -> float:
        lively = time.monotonic() < self._last_output + _STAYS_ACTIVE
        return (
            _ACTIVE_INTERVAL
            if lively or self._typer.has_typed or self._full_size_at
            else _IDLE_INTERVAL
        )

    def _wait(self, seconds: float) -> None:
        for key, events in self._selector.select(seconds):
            key.data(events)

    def _serve(self, events: int) -> None:
        """Pass on the program's output, and keys for which the terminal had no room before."""
        if events & selectors.EVENT_READ:
            data = self._program.read()
            if data is None:  # no process has the other end open
                self._selector.unregister(self._program.master)
                return
            self._handle_output(data)
        self._program.write(b"")

    def _handle_output(self, data: bytes) -> None:
        self._last_output = time.monotonic()
        self._output_tail = (self._output_tail + data)[-_TAIL:]
        self._modes.feed(data)
        self._screens.show(data)

    def _update(self, now: float) -> None:
        """Do everything that is due at the time `now`."""
        self._note_stop()
        if self._screens.typed:
            self._program.write(bytes(self._screens.typed))
            self._screens.typed.clear()
            self._typer.share()
        self._resize(now)
        for name in self._fifos.names():
            self._receive_message(name)
        if now < self._last_update + _ACTIVE_INTERVAL:
            return  # a lot of output must not cause more updates
        self._last_update = now
        self._follow_claude(now)
        self._end_if_due(now)
        self._watch_program()

    def _follow_claude(self, now: float) -> None:
        """Read what Claude has written, then press keys; in this order."""
        status = self._read_claude_status()
        self._report_ready(status)
        self._writer.write_new(status, now)
        self._typer.act(status, now, self._last_output)
        self._program.write(bytes(self._typer.keys))
        self._typer.keys.clear()

    def _read_claude_status(self) -> ClaudeStatus:
        """Return Claude's status, or the last one if it cannot be read now."""
        status = read_claude_status(self._configuration, self._program.pid)
        if status is not None:
            self._claude_status = status
        return self._claude_status

    def _receive_message(self, name: str) -> None:
        try:
            message = b"" if name == END_OF_INPUT else self._inbox.read(name)
            self._typer.receive(name, message)
        except (OSError, msgspec.DecodeError, LookupError, TypeError) as error:
            _log_error(self._folder, f"message {name} cannot be typed: {error!r}")

    def _report_ready(self, status: ClaudeStatus) -> None:
        """Record that Claude accepts input, if only its first question; other programs just run."""
        has_begun = status.session_id or self._modes.takes_pastes or not self._spec.conversation
        if has_begun and not self._ready:
            self._ready = True
            self._folder.write_pids(os.getpid(), self._program.pid)

    def _watch_program(self) -> None:
        """Wait for room on the terminal only while there are keys to type."""
        wanted = selectors.EVENT_READ
        if self._program.unwritten:
            wanted |= selectors.EVENT_WRITE
        key = self._selector.get_map().get(self._program.master)
        if key is not None and key.events != wanted:
            self._selector.modify(self._program.master, wanted, key.data)

    def _resize(self, now: float) -> None:
        """Give the terminal the size of its screens; a new screen makes the program redraw."""
        size = self._screens.size or self._program.size
        if self._screens.take_joined():
            self._full_size_at = now + _REDRAW_TIME
            self._program.resize(Size(size.rows, max(1, size.columns - 1)))
        elif self._full_size_at is not None:
            if now < self._full_size_at:
                return
            self._full_size_at = None
        if self._full_size_at is None and size != self._program.size:
            self._program.resize(size)

    def _note_stop(self) -> None:
        """Stop the screens with a program that has stopped itself, until one of them continues."""
        before = self._program.stopped
        self._program.poll()
        if not self._program.stopped:
            self._screens.note_running()
        elif self._screens.continued or not self._screens:
            self._program.resume()
        elif not before:
            self._screens.send_stopped()

    # --- end --------------------------------------------------------------------------------

    def _end_if_due(self, now: float) -> None:
        # Ending a Claude that waits for a person's answer would be an answer.
        followed = (
            self._fifos.is_followed() or bool(self._screens) or self._writer.is_waiting_for_answer
        )
        self._linger.update(now, followed=followed)
        if self._linger.expired:
            self._typer.end()
        if (
            self._signals.terminate_requested
            or self._typer.gives_up
            or self._linger.limit_reached(now)
        ):
            self._terminate(now)

    def _terminate(self, now: float) -> None:
        if self._kill_at is None:
            self._kill_at = now + _KILL_DELAY
            self._program.signal(signal.SIGTERM)
            self._program.resume()
        elif now >= self._kill_at:
            self._program.signal(signal.SIGKILL)

    def _finish(self, status: int) -> int:
        """Write and show the rest of the output, once the program has ended."""
        while data := self._program.read():
            self._handle_output(data)
        self._writer.write_new(self._read_claude_status(), time.monotonic(), final=True)
        if status and not self._ready:
            text = without_sequences(self._output_tail)
            self._folder.errors.append(f"{text}\n".encode())
        self._screens.send_ended()
        return status


def _nothing(_: int) -> None:
    pass


class Signals:
    """Handles the signals of this process.

    Attributes:
        descriptor: readable when a signal was received.
        terminate_requested: whether SIGTERM was received.
    """

    def __init__(self) -> None:
        self.descriptor, write = os.pipe()
        for descriptor in (self.descriptor, write):
            os.set_blocking(descriptor, False)
        self.terminate_requested = False
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._note)
        for signum in TERMINAL_SIGNALS:
            signal.signal(signum, signal.SIG_IGN)

    def _note(self, *_: object) -> None:
        self.terminate_requested = True

    def drain(self, _: int) -> None:
        """Read all pending bytes of the wake-up descriptor."""
        with suppress(BlockingIOError):
            while os.read(self.descriptor, 512):
                pass


def write_place_statement(folder: SessionFolder, cwd: str) -> str:
    """Write the statement of where the host runs, as `host.sh` does.

    Returns:
        Why this is not the environment that was asked for; empty if it is.
    """
    statement = place_statement(container_id(), os.path.realpath(cwd))
    folder.place.write(statement)
    lines = statement.decode("utf-8", "replace").split("\n")[:-1]
    with suppress(FileNotFoundError):
        for line in folder.expected_place.read_text("utf-8", "replace").split("\n"):
            if line and line not in lines:
                return f"this is not the place that was asked for: not {line}, but {lines}"
    return ""
