"""The way out: what Claude writes, as lines and events, through the hooks that see them."""

from __future__ import annotations

import subprocess
import threading
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.engine.output import ClaudeOutput
from claude_mpm.engine.shared_reader import ReaderThread, SharedReading
from claude_mpm.environments.process import AdoptedHost
from claude_mpm.errors import MPMError
from claude_mpm.orchestration.conversation import Conversation
from claude_mpm.wire.text_lines import reported_error

if TYPE_CHECKING:
    from claude_mpm.engine.live_session import LiveSession
    from claude_mpm.engine.shared_reader import Reader
    from claude_mpm.wire.events import Event

# What a subclass may put something in the place of that takes its time, on the way of a line.
_HOOKS = (
    "_start_io_threads", "_output_reader", "_process_output_line", "_flush_buffer", "_observe",
    "_on_idle", "_on_end",
)  # fmt: skip
# Hosts whose `poll` waits for nobody.
_QUICK_HOSTS = (subprocess.Popen, AdoptedHost)


class _Hooks:
    """The hooks of the output, as whoever reads it calls them.

    Args:
        claude: has them, as they are or as a subclass made them.
        live: its session.
    """

    __slots__ = ("_claude", "_live", "_watches_all")

    def __init__(self, claude: Reading, live: LiveSession) -> None:
        self._claude = claude
        self._live = live
        self._watches_all = not claude._has_default("_observe")

    def observe(self, event: Event) -> None:
        """Take an event after its lines were given out."""
        self._claude._observe(event)

    def is_watched(self) -> bool:
        """Return whether that means something for events that only turns and questions heed."""
        return self._watches_all or self._live.is_watched()

    def on_idle(self) -> None:
        """Called about once a second while nothing comes."""
        self._claude._on_idle()

    def on_end(self) -> None:
        """Called once, when the output has ended and was read."""
        self._claude._on_end()

    def on_over(self) -> None:
        """Called once after that, by whoever has read it to the end."""
        self._claude._on_over()

    def on_failure(self, error: BaseException) -> None:
        """Called in their place by who reads no further, because of an error or `SystemExit`."""
        self._claude._on_failure(error)


class Reading(Conversation):
    """The hooks of the output, in the order in which what Claude writes goes through them."""

    _reader: Reader | None
    _output: ClaudeOutput | None

    @abstractmethod
    def _let_go(self) -> None:
        """Close everything, once all that Claude wrote was read."""

    def _start_io_threads(self) -> None:
        """Start to read; called by `start`, and by subclasses that made `process` themselves."""
        live = self._live
        if live.session is None:
            live.adopt(self.process, self._cwd())
        hooks = _Hooks(self, live)
        self._output = ClaudeOutput(live, hooks)
        live.show(self._output)
        name = f"claude-mpm-{self.session_id[:8]}"
        if self._can_be_shared(live):
            self._reader = SharedReading(live, self._output, hooks, name=name)
        else:
            self._reader = ReaderThread(target=self._read_output, name=name, daemon=True)
        self._reader.start()

    def _can_be_shared(self, live: LiveSession) -> bool:
        """Return whether the way of a line has nothing on it that takes its time."""
        options, session = self.options, live.session
        return (
            session is not None
            and session.can_be_served
            and live.hosted
            and type(self.process) in _QUICK_HOSTS
            and all(map(self._has_default, _HOOKS))
            and not options.sinks
            and not options.processors
            and options.durability != "event"
            and not live.may_block()
        )

    def _read_output(self) -> None:
        try:
            self._output_reader()
        except BaseException as error:  # noqa: BLE001 -- a hook of a subclass may raise anything
            self._on_failure(error)
            return
        self._on_over()

    def _on_failure(self, error: BaseException) -> None:
        """End the turns, which nobody else would, and the session; called by who has read it.

        The error is printed first, as that of a thread: who waits for a turn may end the process.
        """
        thread = threading.current_thread()
        found = (type(error), error, error.__traceback__, thread)
        threading.excepthook(threading.ExceptHookArgs(found))
        self.logger.critical("what Claude says is read no further: %r", error)
        said = f"what Claude says is read no further: {error!r}"
        self._live.turns.end_all(ended=False, stderr=said)
        if self._output is not None:
            self._output.finished.set()
        try:
            self.stop()
        finally:
            self._on_over()

    def _on_over(self) -> None:
        """Called once when all was read, and `_on_end` was called."""
        if self._live.life.ends:  # a hook stopped the session, and the rest is read now
            try:
                self._let_go()
            except MPMError as error:  # whoever stops it from without tries again, and gets it
                self.logger.error("not all is kept of session %s: %s", self.session_id, error)

    def _output_reader(self) -> None:
        """Hand each line of Claude's text to `_process_output_line`; runs in the reader thread."""
        output, errors = self.process.stdout, 0
        if isinstance(output, ClaudeOutput) and self._has_default("_process_output_line"):
            output.hand_on(self._live.lines)
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
        live = self._live
        if live.session is None:
            for event in live.record(line, self._cwd()):
                live.state.apply(event)
                live.turns.observe(event)
        live.lines.add(line)

    def _has_default(self, hook: str) -> bool:
        """Return whether nobody has put something else in a hook's place."""
        default = getattr(Reading, hook)
        return hook not in vars(self) and getattr(type(self), hook) is default

    def _flush_buffer(self) -> None:
        """Hand on the lines that wait for their batch; called at the end of a turn and of all."""
        self._live.lines.flush()

    def _observe(self, event: Event) -> None:
        """Take an event in its place between the lines; called by whatever reads the output."""
        live = self._live
        if event.kind == "turn":
            self._flush_buffer()
        elif live.turns.active is None and (error := reported_error(event)):
            live.lines.put(error)
        live.observe(event)

    def _on_idle(self) -> None:
        """Called about once a second while nothing comes, where it may have something to do."""
        self._live.act()

    def _on_end(self) -> None:
        """Called once when the output has ended and was read."""
        self._flush_buffer()
        self.running = False
        self._live.end_output()

    def _cwd(self) -> str:
        return str(Path(self.options.cwd or ".").expanduser().absolute())
