"""The host of a session on a terminal: it stands behind the session's folder as `host.sh` does.

It owns the terminal on which Claude shows its own interface. Screens come and go; prompts that are
put into the inbox are typed; the journal is made of Claude's transcripts, never of the screen.
"""

from __future__ import annotations

import os
import pwd
import re
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
from claude_mpm.journal.inbox import END_OF_INPUT, Inbox
from claude_mpm.journal.orphans import MARK, end
from claude_mpm.terminal.claude_config import Activity, configuration_folder, read_activity
from claude_mpm.terminal.fifos import Fifos, Linger
from claude_mpm.terminal.frames import Size
from claude_mpm.terminal.journal_writer import JournalWriter
from claude_mpm.terminal.launch_spec import NOT_STARTED, TerminalOrder, take_order
from claude_mpm.terminal.modes import Modes, without_sequences
from claude_mpm.terminal.program import OF_THE_TERMINAL, Program
from claude_mpm.terminal.prompt_typer import PromptTyper
from claude_mpm.terminal.runtime_dir import socket_path
from claude_mpm.terminal.screens import Screens
from claude_mpm.terminal.transcript_copier import TranscriptCopier

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

_DEFAULT_SIZE = Size(40, 120)
_FIRST_SCREEN = 15.0  # seconds to wait for one, where the program is to wait for it
_LIVELY, _CALM = 0.05, 0.5  # seconds between looks: while something is shown, and else
_STAYS_LIVELY = 2.0  # seconds after the last that was shown
_UNTIL_KILLED = 10.0  # seconds between SIGTERM and SIGKILL
_REDRAWN = 0.1  # seconds for which the terminal has another size, so that all is drawn anew
_CONTAINER = re.compile(r"containers/([0-9a-f]{64})/.*hostname ")
_TAIL = 4000  # bytes of what was shown that are kept to say why a program did not begin


def run_host(folder: SessionFolder) -> int:
    """Run what is ordered to its end and return its exit status; called once a process."""
    status = NOT_STARTED
    signals = Signals()
    try:
        order = take_order(folder)
        refusal = state_place(folder, order.cwd)
        if refusal:
            _complain(folder, refusal)
        else:
            status = Host(folder, order, signals).run()
    except (MPMError, OSError) as error:
        _complain(folder, str(error))
    finally:
        end(folder.path)
        folder.remove_temporary()
        folder.remove_host()
        folder.exit_file.write(f"{status}\n".encode())
    return status


def _complain(folder: SessionFolder, message: str) -> None:
    folder.host_errors.append(f"{message}\n".encode())


class Host:
    """One program on its terminal, from start to end.

    Args:
        folder: the session's.
        order: what is to be run.
        signals: of this process.
    """

    def __init__(self, folder: SessionFolder, order: TerminalOrder, signals: Signals) -> None:
        self._folder = folder
        self._order = order
        self._signals = signals
        self._selector = selectors.DefaultSelector()
        self._modes = Modes()
        self._screens = Screens(socket_path(folder.path), self._selector, self._modes.entering)
        self._fifos = Fifos(folder)
        self._inbox = Inbox(folder)
        self._linger = Linger(folder, order.linger, order.linger_limit)
        self._configuration = configuration_folder(order.environ)
        copier = TranscriptCopier(folder, self._configuration, order.conversation)
        copier.follow(copier.conversation or order.conversation)
        self._copier = copier
        self._typer = PromptTyper(
            order.first_event_timeout, folder.path.name, is_claude=bool(order.conversation)
        )
        self._writer = JournalWriter(
            copier, self._typer, lambda message: _complain(folder, message)
        )
        self._activity = Activity()
        self._program: Program
        self._ready = False
        self._shown = b""
        self._last_shown = self._looked = 0.0
        self._full_size_at: float | None = None
        self._kill_at: float | None = None

    def run(self) -> int:
        """Run the program and return its exit status."""
        self._folder.write(self._folder.screen, f"{self._screens.path}\n".encode())
        self._selector.register(self._signals.descriptor, selectors.EVENT_READ, self._signals.hear)
        try:
            self._wait_for_screen()
            if self._signals.asked_to_end:
                return 128 + signal.SIGTERM
            self._program = self._started()
            self._selector.register(self._program.master, selectors.EVENT_READ, self._serve)
            self._selector.register(self._fifos.feed, selectors.EVENT_READ, _nothing)
            while self._program.status is None:
                self._wait(self._pause())
                self._look(time.monotonic())
            return self._finished(self._program.status)
        finally:
            self._screens.close()

    # --- beginning --------------------------------------------------------------------------

    def _wait_for_screen(self) -> None:
        """Let the program begin on the terminal that it will be seen on: it asks what that can."""
        deadline = time.monotonic() + _FIRST_SCREEN
        while self._order.screen and not self._screens and not self._signals.asked_to_end:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._wait(left)
        self._screens.joined = False

    def _started(self) -> Program:
        environ = {"TERM": "xterm-256color", **self._order.environ}
        environ["CLAUDE_MPM_SESSION"] = self._folder.path.name
        environ["CLAUDE_MPM_FOLDER"] = str(self._folder.path)
        environ[MARK.decode().rstrip("=")] = str(self._folder.path)
        environ["CLAUDE_CODE_TMPDIR"] = self._temporary_folder(environ)
        claude, *arguments = self._order.command
        command = [claude, *self._conversation(), *arguments]
        return Program(command, self._order.cwd, environ, self._screens.size or _DEFAULT_SIZE)

    def _temporary_folder(self, environ: dict[str, str]) -> str:
        """Make a folder for Claude's temporary files, which goes with it; sockets want it short."""
        base = environ.get("CLAUDE_CODE_TMPDIR") or environ.get("TMPDIR") or "/tmp"
        make_private(Path(base))
        folder = tempfile.mkdtemp(prefix="mpm.", dir=base)
        self._folder.temporary.write(f"{folder}\n".encode())
        return folder

    def _conversation(self) -> list[str]:
        """Return the arguments that say which conversation Claude is to begin or to go on with."""
        known = self._copier.conversation
        if not self._order.conversation:
            return []
        if self._copier.has_transcript(known):
            # Claude keeps the first framework of a conversation unless it is told not to.
            return [f"--resume={known}", "--system-prompt-snapshot", "off"]
        return ["--session-id", self._order.conversation]

    # --- while it runs ----------------------------------------------------------------------

    def _pause(self) -> float:
        lively = time.monotonic() < self._last_shown + _STAYS_LIVELY
        return _LIVELY if lively or self._typer.has_typed or self._full_size_at else _CALM

    def _wait(self, seconds: float) -> None:
        for key, events in self._selector.select(seconds):
            key.data(events)

    def _serve(self, events: int) -> None:
        """Pass on what the program shows, and what it had no room for before."""
        if events & selectors.EVENT_READ:
            data = self._program.read()
            if data is None:  # nobody has the other end
                self._selector.unregister(self._program.master)
                return
            self._take_shown(data)
        self._program.write(b"")

    def _take_shown(self, data: bytes) -> None:
        self._last_shown = time.monotonic()
        self._shown = (self._shown + data)[-_TAIL:]
        self._modes.feed(data)
        self._screens.show(data)

    def _look(self, now: float) -> None:
        """Do all that is to be done at this moment."""
        self._note_stop()
        if self._screens.typed:
            self._program.write(bytes(self._screens.typed))
            self._screens.typed.clear()
            self._typer.others_type = True
        self._fit(now)
        for name in self._fifos.names():
            self._hear(name)
        if now < self._looked + _LIVELY:
            return  # a program that shows much must not make us look more often
        self._looked = now
        self._follow_claude(now)
        self._end_if_due(now)
        self._watch_program()

    def _follow_claude(self, now: float) -> None:
        """Read what Claude has written, and press what is to be pressed; in this order."""
        activity = self._read_activity()
        self._tell_ready(activity)
        self._writer.keep(activity, now)
        self._typer.act(activity, now, self._last_shown)
        self._program.write(bytes(self._typer.keys))
        self._typer.keys.clear()

    def _read_activity(self) -> Activity:
        """Return what Claude says of itself, or said last where that cannot be read now."""
        activity = read_activity(self._configuration, self._program.pid)
        if activity is not None:
            self._activity = activity
        return self._activity

    def _hear(self, name: str) -> None:
        try:
            message = b"" if name == END_OF_INPUT else self._inbox.read(name)
            self._typer.hear(name, message)
        except (OSError, msgspec.DecodeError, LookupError, TypeError) as error:
            _complain(self._folder, f"message {name} cannot be typed: {error!r}")

    def _tell_ready(self, activity: Activity) -> None:
        """Note that Claude can be talked with, if it is by its first question; others just run."""
        has_begun = activity.session_id or self._modes.takes_pastes or not self._order.conversation
        if has_begun and not self._ready:
            self._ready = True
            self._folder.write_pids(os.getpid(), self._program.pid)

    def _watch_program(self) -> None:
        """Wait for room on the terminal only while there is something to type."""
        wanted = selectors.EVENT_READ
        if self._program.unwritten:
            wanted |= selectors.EVENT_WRITE
        key = self._selector.get_map().get(self._program.master)
        if key is not None and key.events != wanted:
            self._selector.modify(self._program.master, wanted, key.data)

    def _fit(self, now: float) -> None:
        """Give the terminal the size of its screens; a new screen has all drawn anew."""
        size = self._screens.size or self._program.size
        if self._screens.joined:
            self._screens.joined = False
            self._full_size_at = now + _REDRAWN
            self._program.resize(Size(size.rows, max(1, size.columns - 1)))
        elif self._full_size_at is not None:
            if now < self._full_size_at:
                return
            self._full_size_at = None
        if self._full_size_at is None and size != self._program.size:
            self._program.resize(size)

    def _note_stop(self) -> None:
        """Let the screens stop with a program that has stopped itself, until one goes on."""
        before = self._program.stopped
        self._program.look()
        if not self._program.stopped:
            self._screens.continued = False
        elif self._screens.continued or not self._screens:
            self._program.go_on()
        elif not before:
            self._screens.tell_stopped()

    # --- end --------------------------------------------------------------------------------

    def _end_if_due(self, now: float) -> None:
        # Who ends a Claude that asks a person has answered for that person.
        followed = self._fifos.followed() or bool(self._screens) or self._writer.waits
        self._linger.look(now, followed=followed)
        if self._linger.expired:
            self._typer.ended = True
        if self._signals.asked_to_end or self._typer.gives_up or self._linger.is_over(now):
            self._terminate(now)

    def _terminate(self, now: float) -> None:
        if self._kill_at is None:
            self._kill_at = now + _UNTIL_KILLED
            self._program.signal(signal.SIGTERM)
            self._program.go_on()
        elif now >= self._kill_at:
            self._program.signal(signal.SIGKILL)

    def _finished(self, status: int) -> int:
        """Keep and show what is left, once the program has ended."""
        while data := self._program.read():
            self._take_shown(data)
        self._writer.keep(self._read_activity(), time.monotonic(), to_the_end=True)
        if status and not self._ready:
            said = without_sequences(self._shown)
            self._folder.errors.write(f"{said}\n".encode())
        self._screens.tell_ended()
        return status


def _nothing(_: int) -> None:
    pass


class Signals:
    """Takes the signals of this process from now on.

    Attributes:
        descriptor: it can be read when a signal has come.
        asked_to_end: whether one of them was SIGTERM.
    """

    def __init__(self) -> None:
        self.descriptor, write = os.pipe()
        for descriptor in (self.descriptor, write):
            os.set_blocking(descriptor, False)
        self.asked_to_end = False
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._note)
        for signum in OF_THE_TERMINAL:
            signal.signal(signum, signal.SIG_IGN)

    def _note(self, *_: object) -> None:
        self.asked_to_end = True

    def hear(self, _: int) -> None:
        """Read what woke us up."""
        with suppress(BlockingIOError):
            while os.read(self.descriptor, 512):
                pass


def state_place(folder: SessionFolder, cwd: str) -> str:
    """Write the statement; return why this is not the place that was asked for, empty if it is."""
    uid = os.getuid()
    user = ""
    with suppress(KeyError):  # a number without a name
        user = pwd.getpwuid(uid).pw_name
    place = {
        "host": os.uname().nodename,
        "container": _container(),
        "user": user,
        "uid": str(uid),
        "cwd": os.path.realpath(cwd),
    }
    lines = [f"{key}={value}" for key, value in place.items()]
    folder.place.write("".join(f"{line}\n" for line in lines).encode())
    with suppress(FileNotFoundError):
        for line in folder.expected_place.read_text("utf-8").splitlines():
            if line not in lines:
                return f"this is not the place that was asked for: not {line}, but {lines}"
    return ""


def _container() -> str:
    with suppress(OSError):
        found = _CONTAINER.search(Path("/proc/self/mountinfo").read_text("utf-8", "replace"))
        return found[1] if found else ""
    return ""
