"""The way out: what Claude writes, as lines and events, through the hooks that see them."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.engine.output import ClaudeOutput
from claude_mpm.engine.shared_reader import ReaderThread, SharedReading
from claude_mpm.environments.process import AdoptedHost
from claude_mpm.orchestration.conversation import Conversation
from claude_mpm.wire.text_lines import reported_error

if TYPE_CHECKING:
    import threading

    from claude_mpm.engine.controller import Controller
    from claude_mpm.engine.handshake import Handshake
    from claude_mpm.engine.shared_reader import Reader
    from claude_mpm.engine.supervision.supervisor import Supervisor
    from claude_mpm.wire.events import Event

# What a subclass may put something in the place of that takes its time, on the way of a line.
_HOOKS = (
    "_start_io_threads", "_output_reader", "_process_output_line", "_flush_buffer", "_observe",
    "_on_idle", "_on_end",
)  # fmt: skip
# Hosts whose `poll` waits for nobody.
_QUICK_HOSTS = (subprocess.Popen, AdoptedHost)


class Reading(Conversation, ABC):
    """The hooks of the output, in the order in which what Claude writes goes through them."""

    _supervision: Supervisor
    _stopped: threading.Event
    _reader: Reader | None
    _output: ClaudeOutput | None
    _handshake: Handshake | None
    _detached: bool

    @abstractmethod
    def stop(self) -> None:
        """End Claude."""

    @abstractmethod
    def _let_go(self) -> None:
        """Close everything, once all that Claude wrote was read."""

    def _start_io_threads(self) -> None:
        """Start to read; called by `start`, and by subclasses that made `process` themselves."""
        controller = self._control()
        if controller.session is None:
            controller.adopt(self.process, self._cwd())
        assert controller.session is not None
        self._state.restart(controller.session.begin)
        if controller.begin > controller.session.begin:
            self._state.expect_start(controller.begin)
        self._output = self.process.stdout = ClaudeOutput(
            controller.session,
            self._state,
            observe=self._observe,
            is_watched=self._is_watched if self._has_default("_observe") else lambda: True,
            on_idle=self._on_idle,
            on_end=self._on_end,
        )
        name = f"claude-mpm-{self.session_id[:8]}"
        if self._can_be_shared(controller):
            self._reader = SharedReading(
                controller.session,
                self._output,
                self._lines.add_all,
                name=name,
                may_be_over=controller.may_be_over,
                is_due=self._is_due,
                stays=self._questions.any_open,
                on_idle=self._on_idle,
                on_over=self._on_over,
            )
        else:
            self._reader = ReaderThread(target=self._read_output, name=name, daemon=True)
        self._reader.start()

    def _can_be_shared(self, controller: Controller) -> bool:
        """Tell whether the way of a line has nothing on it that takes its time."""
        options, session = self.options, controller.session
        return (
            session is not None
            and session.can_be_served
            and controller.hosted
            and type(self.process) in _QUICK_HOSTS
            and all(map(self._has_default, _HOOKS))
            and not options.sinks
            and not options.processors
            and options.durability != "event"
            and not self._supervision.may_block
        )

    def _read_output(self) -> None:
        self._output_reader()
        self._on_over()

    def _on_over(self) -> None:
        """Called once when all was read, and `_on_end` was called."""
        if self._stopped.is_set():  # a hook stopped the session, and the rest is read now
            self._let_go()

    def _output_reader(self) -> None:
        """Hand each line of Claude's text to `_process_output_line`; runs in the reader thread."""
        output, errors = self.process.stdout, 0
        if isinstance(output, ClaudeOutput) and self._has_default("_process_output_line"):
            output.hand_on(self._lines.add_all)
            return
        for line in output:
            try:
                self._process_output_line(line.rstrip("\r\n"))
                errors = 0
            except Exception as error:  # noqa: BLE001 -- a hook of a subclass may raise anything
                errors += 1
                self.logger.error("output hook failed (%d): %r", errors, error)
                if errors >= self.options.max_output_errors:
                    self.logger.critical("too many errors in a row, stopping")
                    self.stop()
                    return

    def _process_output_line(self, line: str) -> None:
        """Hand on one line; called by the reader, or by a subclass that reads by itself."""
        controller = self._control()
        if controller.session is None:
            for event in controller.record(line, self._cwd()):
                self._state.apply(event)
                self._turns.observe(event)
        self._lines.add(line)

    def _has_default(self, hook: str) -> bool:
        """Tell whether nobody has put something else in a hook's place."""
        default = getattr(Reading, hook)
        return hook not in vars(self) and getattr(type(self), hook) is default

    def _flush_buffer(self) -> None:
        """Hand on the lines that wait for their batch; called at the end of a turn and of all."""
        self._lines.flush()

    def _observe(self, event: Event) -> None:
        """Take an event in its place between the lines; called by whatever reads the output."""
        if event.kind == "control_response" and (handshake := self._handshake) is not None:
            handshake.note_answer(event.data.response)
        elif event.kind == "turn":
            self._flush_buffer()
        elif self._turns.active is None and (error := reported_error(event)):
            self._lines.put(error)
        self._questions.observe(event)
        self._turns.observe(event)
        self._supervision.observe(event)

    def _is_watched(self) -> bool:
        """Tell whether `_observe` has something to do with events of a turn, or of a question."""
        return (
            self._turns.active is not None
            or self._questions.any_open()
            or self._supervision.heeds_all
        )

    def _is_due(self) -> bool:
        """Tell whether `_on_idle` has something to do, without waiting for anything."""
        return self._turns.active is not None and (
            self._turns.is_due()
            or self._supervision.is_due()
            or self._control().full_disk() is not None
        )

    def _on_idle(self) -> None:
        """Called about once a second while nothing comes, where it may have something to do."""
        controller = self._control()
        full = controller.full_disk() if self._turns.active is not None else None
        if full is not None and controller.session is not None:
            controller.session.failure = full
            self._turns.end(None, str(full), ended=False)
        self._turns.keep_time()
        self._questions.keep_time()
        self._supervision.check()

    def _on_end(self) -> None:
        """Called once when the output is over and was read."""
        self._flush_buffer()
        controller = self._control()
        self.running = False
        if (handshake := self._handshake) is not None:
            handshake.note_end()
        self._turns.end(
            controller.exit_status(), controller.folder.stderr_tail(), ended=not self._detached
        )

    def _cwd(self) -> str:
        return str(Path(self.options.cwd or ".").expanduser().absolute())
