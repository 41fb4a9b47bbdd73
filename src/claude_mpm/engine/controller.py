"""The live side of one session: its process, its inbox, its lease, and its end."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.capabilities.facts import ASSUMED
from claude_mpm.config.trust import is_scheduled
from claude_mpm.engine.claude_transcript import GO_ON, ClaudeRecord
from claude_mpm.engine.command_line import (
    anew,
    claude_arguments,
    claude_environment,
    left_out,
    wire_of,
)
from claude_mpm.engine.input import Input, new_request_id
from claude_mpm.engine.negotiation import Negotiation
from claude_mpm.engine.options import without_conversation
from claude_mpm.engine.session_record import SessionRecord, stamped
from claude_mpm.engine.shutdown import Ending, wait_for_host
from claude_mpm.engine.user_callbacks import GuardedProcessor, guard_sink
from claude_mpm.environments.order import Order
from claude_mpm.errors import MPMError, SessionEnded, SettingsError, StorageError
from claude_mpm.journal import orphans
from claude_mpm.journal.durability import JournalSync
from claude_mpm.journal.lease import Lease, Ownership
from claude_mpm.journal.recorder import Recorder
from claude_mpm.printable import exact_line
from claude_mpm.processors.usage import SUM_REQUEST
from claude_mpm.sessions.status import held_version
from claude_mpm.validation import disk_is_full, is_text, telling
from claude_mpm.wire import WIRES, PlainLines, Wire

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from claude_mpm.capabilities.facts import Capabilities
    from claude_mpm.config.framework import Framework
    from claude_mpm.engine.options import Options
    from claude_mpm.environments.base import Environment
    from claude_mpm.journal.layout import Meta, SessionFolder
    from claude_mpm.journal.prompts import Prompt
    from claude_mpm.sessions.reader import Session
    from claude_mpm.sessions.store import Store
    from claude_mpm.wire.events import Event


class Controller:
    """Starts, feeds and ends the Claude of one session.

    Args:
        session_id: the session's name.
        options: the orchestrator's options.
        environment: the place where Claude runs.
        store: where the session is kept.
        logger: where the failures of the user's functions go.
        kind: the orchestrator's name, for the record.
        place: what the environment was made with, for the record.
    """

    def __init__(
        self,
        session_id: str,
        options: Options,
        environment: Environment,
        store: Store,
        logger: logging.Logger,
        *,
        kind: str,
        place: dict[str, Any],
    ) -> None:
        self.folder: SessionFolder = store.folder(session_id)
        self.process: Any = None
        self.session: Session | None = None
        self.wire: Wire = WIRES[options.wire]
        self.hosted = False
        # Asked when Claude's output is over: whether it was started again, and there is more.
        self.revive: Callable[[], bool] = lambda: False
        self.starting = threading.Lock()  # held while it is
        self._options = options
        self._environment = environment
        self._store = store
        self._logger = logger
        self._record = SessionRecord(
            self.folder, options, orchestrator=kind, environment=environment.name, place=place
        )
        self.input = Input(self.folder, durable=options.durability != "none")
        self.ownership = Ownership(self.folder)
        self._lease: Lease | None = None
        self._recorder: Recorder | None = None
        self._told: Session | None = None
        self._released = False
        self._claude = "Claude"  # the command that was started last
        self.begin = 0  # where the journal of its start begins
        self._resumed = False  # whether that start goes on with a conversation
        self.negotiation = Negotiation(store.path)

    # --- beginning --------------------------------------------------------------------------

    def launch(
        self, framework: Framework | None, *, cut: Sequence[Prompt] = (), since: int | None = None
    ) -> Any:
        """Start the host, and Claude with it; return the host's process.

        Args:
            cut: prompts whose turns Claude did not live to end; it is to go on with them.
            since: where in the journal to read from; None for the beginning of this start.

        Raises:
            MPMError: Claude, its framework, the folder or the place is not fit for it.
        """
        meta = self._start(framework, cut)
        self.session = self._read(meta, start=meta.starts[-1].offset if since is None else since)
        return self.process

    def relaunch(self, framework: Framework | None, cut: Prompt) -> None:
        """Start Claude again that has died in a turn; whoever reads the session goes on reading.

        Raises:
            MPMError: it cannot be started.
        """
        if self._lease is not None:
            self._lease.release()
        with suppress(subprocess.TimeoutExpired):  # its host has told the end, and has but to go
            self.process.wait(self._options.stop_timeout)
        self._start(framework, (cut,))
        if self.folder.agents.exists() and not self.negotiation.build.can("agents_by_file"):
            self.begin_input()
        else:
            self.ask_sum()
        self.input.announce(cut.name)
        wait_for_host(self.folder, self.process, self._options.start_timeout)
        self.input.host_is_there()

    def _start(self, framework: Framework | None, cut: Sequence[Prompt]) -> Meta:
        place = self._environment
        claude = place.find_claude(self._options.claude_path)
        cwd = place.working_folder(self._options.cwd)
        kept_out = left_out(self._options, place, cwd)
        environ = claude_environment(self._options, place, scheduled=is_scheduled(kept_out))
        build = self._negotiate(claude, environ)
        self._prepare(framework)
        record = ClaudeRecord(place, self.folder, environ)
        meta = self._record.with_start(
            self.wire, cwd, framework, self._store.index, record, environ
        )
        start = meta.starts[-1] = stamped(meta.starts[-1], build)
        if cut and record.has_prompt(meta.claude_session_id, cut[0].uuid):
            environ[GO_ON] = "1"
        arguments = claude_arguments(
            self._options,
            self.folder,
            meta.claude_session_id,
            resumed=start.resumed,
            untrusted=bool(kept_out),
            build=build,
        )
        self.folder.write_meta(meta)
        self._claude, self.begin = claude or self._claude, start.offset
        self._resumed = start.resumed
        self.input.open_before_host()
        self._lease = Lease(self.folder)
        order = self._order(claude, arguments, cwd, environ, anew(build))
        self.ownership.check()
        try:
            self.process = place.start(order)
        except MPMError as error:
            self.folder.note_failed_start(str(error))
            raise
        self.hosted = True
        further = without_conversation(self._options.claude_args)  # another start goes on with it
        self._options = msgspec.structs.replace(self._options, claude_args=further)
        return meta

    def _negotiate(self, claude: str, environ: Mapping[str, str]) -> Capabilities:
        """Return what the build can do that is about to be started; plain text needs nothing.

        Raises:
            ClaudeTooOld: it cannot be served honestly.
        """
        if self.wire.name == PlainLines.name:
            return ASSUMED
        starts = self.folder.read_meta().starts if self.folder.meta_file.exists() else []
        told = (starts[-1].claude_version or held_version(self.folder)) if starts else ""
        return self.negotiation.begin(self._environment, claude, environ, told)

    def note_version(self, version: str) -> None:
        """Take the version that Claude tells in its first answers; empty where it tells none.

        Raises:
            ClaudeTooOld: it cannot be served honestly.
        """
        if not self.negotiation.hear(version):
            return
        meta = self.folder.read_meta()
        meta.starts[-1] = stamped(meta.starts[-1], self.negotiation.build)
        self.folder.write_meta(meta)

    def begin_input(self, request_id: str | None = None) -> None:
        """Send Claude what it is to know before the first prompt, and ask what is to be known.

        Args:
            request_id: the name of the request `initialize`.

        Raises:
            SessionEnded: Claude takes no input.
        """
        build, agents = self.negotiation.build, self.folder.agents
        fields: dict[str, Any] = {}
        if agents.exists() and not build.can("agents_by_file"):
            fields["agents"] = msgspec.json.decode(agents.read_bytes())
        self.input.control("initialize", request_id, **fields)
        self.ask_sum()

    def ask_sum(self) -> None:
        """Ask a Claude that resumes for the sum of its costs so far: some begin it anew.

        Raises:
            SessionEnded: Claude takes no input.
        """
        if self._resumed:
            self.input.control("get_usage", f"{SUM_REQUEST}{new_request_id()}", skip_behaviors=True)

    def _order(
        self,
        claude: str,
        arguments: Sequence[str],
        cwd: str,
        environ: Mapping[str, str],
        resuming: Sequence[str],
    ) -> Order:
        options = self._options
        return Order(
            folder=self.folder,
            claude=claude,
            arguments=tuple(arguments),
            cwd=cwd,
            environ=environ,
            linger=options.linger,
            linger_limit=options.linger_limit,
            first_event_timeout=options.first_event_timeout,
            resuming=tuple(resuming),
        )

    def _prepare(self, framework: Framework | None) -> None:
        self.folder.check()
        if not is_text(str(self.folder.path)):
            raise SettingsError(
                f"the name of {exact_line(str(self.folder.path))} is not UTF-8, and Claude Code"
                " finds nothing there; set `state_dir` to another folder"
            )
        self.folder.create()
        self._store.index.position(self.folder.path.name)  # one that cannot be opened stops it here
        if not self.claim():
            raise self.ownership.refusal()
        if self.folder.pids() is not None:  # the last host went without a word
            orphans.end(self.folder.path)
            self.folder.remove_temporary()
        self.folder.end_torn_line()
        self._record.write_framework(framework)
        self.folder.prepare_host()
        self.folder.expect_place(self._environment.expected())

    def attach(self, start: int) -> Any:
        """Follow a session whose host still runs, from an offset; return the host's process.

        Raises:
            SessionEnded: it has none.
            StorageError: others may have written what the folder says, or the place has damaged it.
        """
        self.folder.check()
        try:
            self._lease = Lease(self.folder)
        except FileNotFoundError as error:
            name = self.folder.path.name
            raise SessionEnded(f"session {name} has ended; claude-mpm resume {name}") from error
        self.process = self._environment.join(self.folder)
        self.hosted = True
        meta = self.folder.read_meta()
        self.wire = WIRES[meta.wire]
        self.negotiation.follow(meta.starts[-1].claude_version if meta.starts else "")
        self.session = self._read(meta, start=start)
        return self.process

    def rejoin(self) -> None:
        """Bring back the link of a session that lives elsewhere, where it has died.

        Raises:
            StorageError: others may have written what the folder says.
        """
        self.folder.check()
        self._environment.rejoin(self.folder, self._options.start_timeout)

    def claim(self) -> bool:
        """Try to become the one who starts Claude and gives it what was put; tell if we are."""
        return self.ownership.claim()

    def let_go(self) -> None:
        """Read no more of a Claude that goes on; its host is still reaped when it ends."""
        if self.session is not None:
            self.session.let_go()
        if isinstance(self.process, subprocess.Popen):
            threading.Thread(target=self.process.wait, name="claude-mpm-reap", daemon=True).start()

    def adopt(self, process: Any, cwd: str) -> None:
        """Keep the journal of a process with pipes that a subclass started."""
        self.process = process
        self.wire = wire_of(getattr(process, "args", None))
        self.folder.check()
        meta = self._record.with_start(self.wire, cwd, None, self._store.index)
        self.folder.create()
        self.input.use_pipe(process.stdin)
        self.folder.exit_file.remove()
        self.folder.hosted.unlink(missing_ok=True)
        self.folder.write_meta(meta)
        self.folder.write_pids(os.getpid(), getattr(process, "pid", 0))
        self._recorder = Recorder(process, self.folder)
        self._recorder.start()
        self.session = self._read(meta, start=meta.starts[-1].offset)

    def record(self, line: str, cwd: str) -> list[Event]:
        """Keep a line that a subclass read by itself, and return what is found in it."""
        if self._told is None:
            self.folder.create()
            self.wire = WIRES["plain-text"]
            meta = self._record.new(self.wire, cwd)
            if not self.folder.meta_file.exists():
                self.folder.write_meta(meta)
            start = self.folder.journal.size()
            self._told = self._read(meta, start=start, is_over=lambda: self._released)
        self.folder.journal.append(line.encode() + b"\n")
        return self._told.read(0)

    def _read(
        self, meta: Meta, *, start: int, is_over: Callable[[], bool] | None = None
    ) -> Session:
        # Here, since Claude is starting beside us by now.
        from claude_mpm.sessions.pipeline import built_in_processors
        from claude_mpm.sessions.reader import Session

        index = self._store.index
        built_in = built_in_processors(
            meta,
            self.folder,
            index,
            start,
            tickets=self._options.tickets,
            markers=self._options.ticket_markers,
        )
        return Session(
            self.folder,
            self.wire,
            index,
            processors=[
                *built_in,
                *(GuardedProcessor(process, self._logger) for process in self._options.processors),
            ],
            sinks=[guard_sink(sink, self._logger) for sink in self._options.sinks],
            start=start,
            is_over=is_over or self._is_over,
            joins=True,
            sync=JournalSync(self.folder, self._options.durability, self._note_failure),
        )

    def _note_failure(self, error: StorageError) -> None:
        if self.session is not None:
            self.session.failure = error

    def may_be_over(self) -> bool:
        """Tell, without waiting for anything, whether it is worth while to look for the end."""
        return self.process.poll() is not None or self.folder.exit_file.exists()

    def _is_over(self) -> bool:
        """Tell whether nothing more will be written to the journal."""
        if self.folder.exit_file.exists():
            return not self.revive()
        if self._recorder is not None or self.process.poll() is None:
            return False
        if not self.folder.host_is_dead():
            self.input.close()  # our own hold on the feed must not count as a host
            over = not self.folder.has_host()
        else:
            over = self.folder.has_ended()
        return over and not self.revive()

    # --- end --------------------------------------------------------------------------------

    def full_disk(self) -> StorageError | None:
        """Tell of a full disk: Claude goes on there without what it cannot write."""
        if not disk_is_full(self.folder.path):
            return None
        return StorageError(f"the disk of {self.folder.path} is full; free some space")

    def ending(self) -> str:
        """Say in one line how Claude ended."""
        ending = self.folder.ending(self.exit_status()) or "Claude ended with status unknown"
        full = None if ": " in ending else self.full_disk()
        return f"{ending}: {full}" if full else ending

    def stillbirth(self) -> str:
        """Say in one line how a Claude ended that has not answered yet: which, and what it said."""
        status = self.exit_status()
        how = "ended" if status is None else f"ended with status {status}"
        printed = self.folder.stderr_tail() or self.folder.printed(self.begin)
        full = self.full_disk()
        why = str(full) if full else telling(printed)
        return f"{self._claude} {how} before it answered{f': {why}' if why else ''}"

    def exit_status(self) -> int | None:
        """Return how Claude ended; None while it runs, and where nobody knows."""
        status = self.folder.exit_status()
        if status is None and self.process is not None:
            status = getattr(self.process, "returncode", None)
        return status if isinstance(status, int) else None

    def end(self, over: threading.Event | None) -> None:
        """End Claude: interrupt, end of input, terminate, kill; each step bounded.

        Args:
            over: set when the output is over; None where nobody reads it now.
        """
        timeout = self._options.stop_timeout
        with self.starting:
            ending = Ending(self.folder, self._environment, self.process, timeout, self._end_input)
        ending.run(over, hosted=self.hosted)

    def release(self) -> None:
        """Let go of everything; the folder keeps what is to be kept. Safe to call twice."""
        self.input.close()
        if self._lease is not None:
            self._lease.release()
            self._lease = None
        self.ownership.release()
        if self._recorder is not None:
            self._recorder.join(self._options.stop_timeout)
        for name in ("stdin", "stdout", "stderr"):
            stream = getattr(self.process, name, None)
            if stream is not None:
                with suppress(OSError, ValueError):
                    stream.close()
        if self._told is not None and not self._released:
            self._released = True
            self._told.read(0)
            self._told.close()
        if self.session is not None:
            self.session.close()
        over = self.process is not None and self.process.poll() is not None
        if over and self.folder.exit_file.exists():
            self.folder.remove_host()

    def _end_input(self) -> None:
        with suppress(MPMError):  # it has ended, which is what is wanted, or the disk is full
            if self.wire.structured:
                self.input.control("interrupt", cancel_queued=True)
        with suppress(MPMError):
            self.input.end()
