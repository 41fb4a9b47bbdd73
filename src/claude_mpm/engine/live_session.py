"""One running session: its process, its inbox, its lease, its turns, its phase, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import uuid
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, cast

import msgspec

from claude_mpm.capabilities.facts import ASSUMED
from claude_mpm.config.trust import is_scheduled
from claude_mpm.conversation.questions import QuestionDesk
from claude_mpm.conversation.reasons import keep_reason
from claude_mpm.conversation.turn_tracker import TurnTracker
from claude_mpm.engine.claude_transcript import GO_ON, ClaudeRecord
from claude_mpm.engine.command_line import (
    claude_arguments,
    claude_environment,
    left_out,
    order_of,
    wire_of,
)
from claude_mpm.engine.input import new_request_id
from claude_mpm.engine.journal_reader import open_reader
from claude_mpm.engine.lifecycle import Lifecycle, Phase
from claude_mpm.engine.line_queue import LineQueue
from claude_mpm.engine.negotiation import Negotiation
from claude_mpm.engine.options import without_conversation
from claude_mpm.engine.session_parts import SessionParts
from claude_mpm.engine.session_record import stamped
from claude_mpm.engine.shutdown import Shutdown, wait_for_host
from claude_mpm.errors import BudgetExceeded, MPMError, SessionEnded, SettingsError
from claude_mpm.journal import orphans
from claude_mpm.journal.answers import read_answers
from claude_mpm.journal.lease import Lease
from claude_mpm.journal.recorder import Recorder
from claude_mpm.printable import exact_line
from claude_mpm.processors.usage import SUM_REQUEST
from claude_mpm.sessions.state import MOST, SessionState
from claude_mpm.validation import error_line, is_text
from claude_mpm.wire import WIRES, PlainLines, Wire

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Mapping, Sequence
    from io import TextIOBase

    from claude_mpm.capabilities.facts import Capabilities
    from claude_mpm.config.framework import Framework, FrameworkLoader
    from claude_mpm.conversation.observer import Observer
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.engine.options import Options
    from claude_mpm.engine.roles import Face, Supervision
    from claude_mpm.environments.base import Environment
    from claude_mpm.environments.order import HostProcess
    from claude_mpm.journal.answers import Answer
    from claude_mpm.journal.layout import Meta
    from claude_mpm.journal.lease import Owner
    from claude_mpm.journal.prompts import Prompt
    from claude_mpm.sessions.reader import Growing, Session, Source
    from claude_mpm.sessions.store import Store
    from claude_mpm.wire.events import Event


class LiveSession(SessionParts):
    """One session in this process: its Claude, what goes in, what comes out, and who watches.

    Args:
        face: whoever holds it for its user.
        options: what Claude is started with, and the limits.
        environment: the place where Claude runs.
        store: where the session is kept.
        logger: where failures and warnings go.
        kind: the orchestrator's name, for the record.
        place: what the environment was made with, for the record.
        loader: of the framework; None for none.

    Attributes:
        process: the host, or the process with pipes that a subclass started.
        session: reads the journal.
        hosted: whether the process is a host.
        attached: whether it ran before this start.
        kind, place: as given.
        begin: where in the journal Claude's last start begins, in bytes; 0 where it was started by
            another controller.
        state: what the session's events say; each is applied before anybody observes it.
        life: the phase.
        observers: all that watch the events, in their order.
    """

    __slots__ = (
        "_asked", "_claude", "_growing", "_heeds_all", "_lease", "_output", "_recorder", "_resumed",
        "_told", "attached", "begin", "hosted", "life", "lines", "loader", "logger", "negotiation",
        "observers", "process", "questions", "session", "state", "supervision", "turns", "wire",
    )  # fmt: skip

    def __init__(
        self,
        face: Face,
        options: Options,
        environment: Environment,
        store: Store,
        logger: logging.Logger,
        *,
        kind: str,
        place: dict[str, Any],
        loader: FrameworkLoader | None = None,
    ) -> None:
        super().__init__(face, options, environment, store, kind=kind, place=place)
        self.logger = logger
        self.loader = loader
        self._asked = options
        self.state = SessionState(most=MOST)
        self.life = Lifecycle()
        self.turns = TurnTracker(self)
        self.questions = QuestionDesk(self, options)
        self.lines = LineQueue(options.batch_size, self.turns)
        self.supervision: Supervision | None = None
        # Replaced, and not changed, by whoever starts Claude, while others go through it.
        self.observers: tuple[Observer, ...] = (self.questions, self.turns)
        self._heeds_all = False
        self._forget()

    def _forget(self) -> None:
        """Forget an earlier start."""
        self.options = self._asked
        self.process: HostProcess | None = None
        self.session: Session | None = None
        self.wire: Wire = WIRES[self.options.wire]
        self.hosted = False
        self.attached = False
        self.begin = 0
        self._lease: Lease | None = None
        self._recorder: Recorder | None = None
        self._told: Session | None = None
        self._growing: Growing | None = None  # the journal of the lines that a subclass read
        self._output: TextIOBase | None = None
        self._claude = "Claude"  # the command that was started last
        self._resumed = False  # whether that start goes on with a conversation
        self.negotiation = Negotiation(self.store.path)
        self._forget_parts()

    def supervise(self, supervision: Supervision) -> None:
        """Let others watch, too, after the questions and the turns."""
        self.supervision = supervision
        self.watch_start(None)
        self._heeds_all = any(each.heeds_all for each in self.observers)

    @property
    def owner(self) -> Owner | None:
        """Who alone may start Claude here; None before the first start."""
        return None if self._ownership is None else self._ownership.owner

    def watch_start(self, handshake: Observer | None) -> None:
        """Let somebody watch before all others until Claude is there; None for nobody."""
        first = () if handshake is None else (handshake,)
        watching = self.supervision.observers if self.supervision is not None else ()
        self.observers = (*first, self.questions, self.turns, *watching)

    def watch_resources(self) -> None:
        """Watch what a Claude uses that is there now, if there are limits."""
        if self.supervision is not None:
            self.supervision.begin()

    def close(self) -> None:
        """Watch no more, and release everything; safe to call twice."""
        if self.supervision is not None:
            self.supervision.close(keep=self.life.phase is Phase.DETACHED)
        self.release()

    def renew(self) -> None:
        """Begin with a start, whatever was before."""
        self._forget()
        self.watch_start(None)
        self.life.begin_start()

    # --- what happens in it -----------------------------------------------------------------

    def observe(self, event: Event) -> None:
        """Let everybody observe an event; called by whoever reads, once the state has it."""
        for each in self.observers:
            each.observe(event)

    def is_watched(self) -> bool:
        """Return whether events of a turn, or of a question, mean something to anybody."""
        return self.turns.active is not None or self.questions.may_block or self._heeds_all

    def may_block(self) -> bool:
        """Return whether anybody who observes may wait for something."""
        return any(each.may_block for each in self.observers)

    def look(self) -> bool:
        """Note the time; return whether there is something to do. Nothing in it may wait."""
        if self.turns.active is None:
            return False
        due = [each.look() for each in self.observers]  # all of them, since they note the time
        return any(due) or self.folder.full_disk() is not None

    def act(self) -> None:
        """Do what there is to do by now; called about once a second while nothing comes."""
        full = self.folder.full_disk() if self.turns.active is not None else None
        if full is not None and self.session is not None:
            self.session.fail(full)
            self.turns.end_all(ended=False, stderr=str(full))
        for each in self.observers:
            each.act()

    def end_output(self) -> None:
        """Tell everybody that the output has ended."""
        for each in self.observers:
            each.end()

    # --- its turns and questions ------------------------------------------------------------

    def send(self, text: str, turn: Turn | None, *, command: bool = False) -> None:
        """Keep a prompt, and give it to Claude, at once or when its turn has come.

        Args:
            text: the prompt.
            turn: the turn that was asked for; None for none.
            command: whether Claude Code takes a prompt without a turn as typed.

        Raises:
            SessionEnded: Claude takes no input any more.
            BudgetExceeded: that of the session or of the day is used up.
            StorageError: the disk did not take it.
        """
        self.admit()
        if turn is None:
            self.input.announce(self.keep(text, str(uuid.uuid4()), command=command))
        else:
            turn.kept_as(self.keep(text, turn.uuid, command=turn.command))
            self.turns.add(turn)

    def keep(self, text: str, prompt: str, *, command: bool) -> str:
        """Keep a prompt for Claude by its identity, and return its name in the inbox."""
        return self.input.put(self.wire, text, prompt, command=command or self.negotiation.typed)

    def announce(self, turn: Turn) -> None:
        """Give a turn's prompt to Claude; called when those before it have ended."""
        if self.supervision is not None:
            self.supervision.watch(turn)
        if not turn.name:
            if self.supervision is not None:
                self.supervision.take_up(turn)
            return
        try:
            self.ownership.check()
            self.admit()
            self.input.announce(turn.name)
        except BudgetExceeded as error:
            if turn.known.resumed:  # a fresh Claude goes on with it by itself
                self.interrupt()
            self.logger.warning("prompt not delivered: %s", error)
            turn.finish(budget=str(error))
        except MPMError as error:
            self.logger.error("prompt not delivered: %s", error)
            turn.finish(ended=True, stderr=str(error))

    def take_back(self, turn: Turn) -> None:
        """Take back the prompt of a start that failed, unless Claude has acknowledged it.

        Else a later start of the session would run what its user was told has failed.
        """
        from claude_mpm.sessions.status import was_taken

        gone = turn.name and not self.folder.has_host()
        if gone and not was_taken(self.folder, self.store.index, turn.uuid):
            self.input.take_back(turn.name)

    def admit(self) -> None:
        """Let a prompt in.

        Raises:
            BudgetExceeded: that of the session or of the day is used up.
        """
        if self.supervision is not None:
            self.supervision.admit()

    def parks(self, turn: Turn) -> bool:
        """Let a turn wait for the rate limit that seems to be over; return whether it waits."""
        return self.supervision is not None and self.supervision.parks(turn)

    def interrupt(self) -> None:
        """Ask Claude to stop what it is doing, as the session's user would."""
        self.face.interrupt()

    def send_interrupt(self) -> None:
        """Send Claude the request to stop what it is doing, where it can be sent one."""
        if self.process is not None and self.wire.structured:
            self.input.control("interrupt")

    def stop(self) -> None:
        """End the session, as its user would."""
        self.face.stop()

    def unread(self) -> Iterable[Event]:
        """Return the events of whole lines beyond what was read."""
        return self.session.unread() if self.session is not None else ()

    def keep_reason(self, prompt: str, known: Mapping[str, Any]) -> None:
        """Keep why a turn is ended, for whoever judges its record later."""
        keep_reason(self.folder, prompt, known, self.logger)

    def answer(self, answer: Answer) -> Answer:
        """Answer a question of Claude's that has no answer; return the answer that it has then."""
        return self.input.answer(answer)

    def refuse(self, request_id: str, subtype: str) -> None:
        """Answer a request of an unknown kind with an error, so that Claude does not wait."""
        with suppress(MPMError):  # it has ended, and waits no more
            self.input.refuse(request_id, subtype)

    def answers(self) -> Mapping[str, Answer]:
        """Return the answers there are, whoever gave them, by the question's name."""
        return read_answers(self.folder)

    def outcome(self) -> dict[str, Any]:
        """Return how the output has ended."""
        return {
            "ended": self.life.phase is not Phase.DETACHED,
            "exit_status": self.exit_status(),
            "stderr": self.folder.stderr_tail(),
        }

    # --- beginning --------------------------------------------------------------------------

    def launch(
        self, framework: Framework | None, *, cut: Sequence[Prompt] = (), since: int | None = None
    ) -> None:
        """Start the host, and Claude with it.

        Args:
            cut: prompts whose turns Claude did not live to end; it is to go on with them.
            since: where in the journal to read from; None for the beginning of this start.

        Raises:
            MPMError: Claude, its framework, the folder or the place is not fit for it.
        """
        meta = self._start(framework, cut)
        self.session = self._read(meta, start=meta.starts[-1].offset if since is None else since)

    def relaunch(self, framework: Framework | None, cut: Prompt) -> None:
        """Start Claude again that has died in a turn; whoever reads the session goes on reading.

        Raises:
            MPMError: it cannot be started.
        """
        if self._lease is not None:
            self._lease.release()
        with suppress(subprocess.TimeoutExpired):  # its host has told the end, and has but to go
            self._host.wait(self.options.stop_timeout)
        self._start(framework, (cut,))
        self.state.expect_start(self.begin)
        if self.gives_agents_at_first:
            self.begin_input()
        else:
            self.ask_sum()
        self.input.announce(cut.name)
        wait_for_host(self.folder, self._host, self.options.start_timeout)
        self.input.host_is_there()
        if self._output is not None:
            self.show(self._output)

    def _start(self, framework: Framework | None, cut: Sequence[Prompt]) -> Meta:
        place = self.environment
        claude = place.find_claude(self.options.claude_path)
        cwd = place.working_folder(self.options.cwd)
        kept_out = left_out(self.options, place, cwd)
        environ = claude_environment(self.options, place, scheduled=is_scheduled(kept_out))
        build = self._negotiate(claude, environ)
        self._prepare(framework)
        record = ClaudeRecord(place, self.folder, environ)
        meta = self._record.with_start(self.wire, cwd, framework, self.store.index, record, environ)
        start = meta.starts[-1] = stamped(meta.starts[-1], build)
        if cut and record.has_prompt(meta.claude_session_id, cut[0].uuid):
            environ[GO_ON] = "1"
        arguments = claude_arguments(
            self.options,
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
        order = order_of(self.options, self.folder, claude, arguments, cwd, environ, build)
        self.ownership.check()
        try:
            self.process = place.start(order)
        except MPMError as error:
            self.folder.note_failed_start(str(error))
            raise
        self.hosted = True
        further = without_conversation(self.options.claude_args)  # another start goes on with it
        if further != [*self.options.claude_args]:
            self.options = msgspec.structs.replace(self.options, claude_args=further)
        return meta

    def _negotiate(self, claude: str, environ: Mapping[str, str]) -> Capabilities:
        """Return what the build can do that is about to be started; plain text needs nothing.

        Raises:
            ClaudeTooOld: it cannot be served honestly.
        """
        if self.wire.name == PlainLines.name:
            return ASSUMED
        starts = self.folder.read_meta().starts if self.folder.meta_file.exists() else []
        told = ""
        if starts:
            from claude_mpm.sessions.status import held_version

            told = starts[-1].claude_version or held_version(self.folder)
        build = self.negotiation.begin(self.environment, claude, environ, told)
        return build.less(self.negotiation.unused)

    def note_version(self, version: str) -> None:
        """Take the version that Claude tells in its first answers; empty where it tells none.

        Raises:
            ClaudeTooOld: it cannot be served honestly.
        """
        if not self.negotiation.hear(version):
            return
        self.state.know_build(self.negotiation.build)
        meta = self.folder.read_meta()
        meta.starts[-1] = stamped(meta.starts[-1], self.negotiation.build)
        self.folder.write_meta(meta)

    @property
    def gives_agents_at_first(self) -> bool:
        """Whether Claude gets its agents with `initialize`, as its build reads no file of them."""
        return self.folder.agents.exists() and not self.negotiation.build.can("agents_by_file")

    def begin_input(self, request_id: str | None = None) -> None:
        """Send Claude what it is to know before the first prompt, and ask what is to be known.

        Args:
            request_id: the name of the request `initialize`.

        Raises:
            SessionEnded: Claude takes no input.
        """
        fields: dict[str, Any] = {}
        if self.gives_agents_at_first:
            fields["agents"] = msgspec.json.decode(self.folder.agents.read_bytes())
        self.input.control("initialize", request_id, **fields)
        self.ask_sum()

    def ask_sum(self) -> None:
        """Ask a Claude that resumes for the sum of its costs so far: some start it from zero.

        Raises:
            SessionEnded: Claude takes no input.
        """
        if self._resumed:
            self.input.control("get_usage", f"{SUM_REQUEST}{new_request_id()}", skip_behaviors=True)

    def _prepare(self, framework: Framework | None) -> None:
        self.folder.check()
        if not is_text(str(self.folder.path)):
            raise SettingsError(
                f"the name of {exact_line(str(self.folder.path))} is not UTF-8, and Claude Code"
                " finds nothing there; set `state_dir` to another folder"
            )
        self.folder.create()
        self.store.index.position(self.folder.path.name)  # one that cannot be opened stops it here
        if not self.claim():
            raise self.ownership.refusal()
        if self.folder.pids() is not None:  # the last host went without a word
            orphans.end(self.folder.path)
        self.folder.remove_temporary()  # also where its controller died before there was a host
        self.folder.end_torn_line()
        self._record.write_framework(framework)
        self.folder.prepare_host()
        self.folder.expect_place(self.environment.expected())

    def attach(self, start: int) -> None:
        """Follow a session whose host still runs, from an offset.

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
        # Before the process: whoever is interrupted here leaves what ran before.
        self.hosted = self.attached = True
        self.process = self.environment.join(self.folder)
        meta = self.folder.read_meta()
        self.wire = WIRES[meta.wire]
        self.negotiation.follow(meta.last_start.claude_version)
        self.session = self._read(meta, start=start)

    def rejoin(self) -> None:
        """Bring back the link of a session that lives elsewhere, where it has died.

        Raises:
            StorageError: others may have written what the folder says.
        """
        self.folder.check()
        self.environment.rejoin(self.folder, self.options.start_timeout)

    def claim(self) -> bool:
        """Try to own the session, and with it the start of Claude; return whether we do."""
        return self.ownership.claim()

    def detach(self) -> None:
        """Read no more of a Claude that goes on; its host is still reaped when it ends."""
        if self.session is not None:
            self.session.let_go()
        if isinstance(self.process, subprocess.Popen):
            # It waits for nothing else, and changes nothing: without it, the host stays a zombie.
            threading.Thread(target=self.process.wait, name="claude-mpm-reap", daemon=True).start()

    def show(self, output: TextIOBase) -> None:
        """Let the process's `stdout` read as Claude's text, also that of the next one."""
        self._output = output
        self._host.stdout = cast("IO[str]", output)

    def replace_process(self, process: Any) -> None:
        """Take another process in the place of the one there is."""
        if self.process is not None:
            self.process = process

    @property
    def _host(self) -> HostProcess:
        assert self.process is not None
        return self.process

    def adopt(self, process: Any, cwd: str) -> None:
        """Keep the journal of a process with pipes that a subclass started."""
        self.process = process
        self.wire = wire_of(getattr(process, "args", None))
        self.folder.check()
        meta = self._record.with_start(self.wire, cwd, None, self.store.index)
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
            from claude_mpm.sessions.reader import Growing

            self._growing = Growing()
            self._told = self._read(meta, start=start, source=self._growing)
        self.folder.journal.append(line.encode() + b"\n")
        return self._told.read(0)

    def _read(self, meta: Meta, *, start: int, source: Source | None = None) -> Session:
        self.state.restart(start)
        self.state.know_build(self.negotiation.build)
        if self.begin > start:
            self.state.expect_start(self.begin)
        return open_reader(self, meta, start, source or self)

    def may_be_over(self) -> bool:
        """Return, without waiting for anything, whether it is worth while to look for the end."""
        return self._host.poll() is not None or self.folder.exit_file.exists()

    def check_end(self) -> bool:
        """Check whether nothing more will be written to the journal; called by whoever reads.

        The feed of a host that is gone is closed: our own hold on it must not count as a host.
        """
        if self.folder.exit_file.exists():
            return True
        if self._recorder is not None or self._host.poll() is None:
            return False
        if self.folder.host_is_dead():
            return self.folder.has_ended()
        self.input.close()
        return not self.folder.has_host()

    def recover(self) -> bool:
        """Begin the output again that has ended, if it can be; return whether more is to come."""
        return any(each.recover() for each in self.observers)

    # --- end --------------------------------------------------------------------------------

    def ending(self) -> str:
        """Say in one line how Claude ended."""
        ending = self.folder.ending(self.exit_status()) or "Claude ended with status unknown"
        full = None if ": " in ending else self.folder.full_disk()
        return f"{ending}: {full}" if full else ending

    def stillbirth(self) -> str:
        """Say in one line how a Claude ended that has not answered yet: which, and what it said."""
        status = self.exit_status()
        how = "ended" if status is None else f"ended with status {status}"
        printed = self.folder.stderr_tail() or self.folder.printed(self.begin)
        full = self.folder.full_disk()
        why = str(full) if full else error_line(printed)
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
            over: set when the output has ended; None where nobody reads it now.
        """
        if self.supervision is not None:
            self.supervision.cancel()
        with self.life.alone():  # it may be started again just now
            shutdown = Shutdown(self)
        shutdown.run(over)

    def release(self) -> None:
        """Release everything; the folder keeps what is to be kept. Safe to call twice."""
        if self._folder is None:  # it was never used
            return
        self.input.close()
        if self._lease is not None:
            self._lease.release()
            self._lease = None
        self.ownership.release()
        if self._recorder is not None:
            self._recorder.join(self.options.stop_timeout)
        for name in ("stdin", "stdout", "stderr"):
            stream = getattr(self.process, name, None)
            if stream is not None:
                with suppress(OSError, ValueError):
                    stream.close()
        if self._told is not None and self._growing is not None:
            self._growing.close()
            self._growing = None
            self._told.read(0)
            self._told.close()
        if self.session is not None:
            self.session.close()
        over = self.process is not None and self.process.poll() is not None
        if over and self.folder.exit_file.exists():
            self.folder.remove_host()

    def kill(self) -> None:
        """End Claude at once, but not its host, which tells the end and clears up."""
        if self.process is None:
            return
        if not self.hosted:
            self.process.kill()
            return
        pids = self.folder.pids()
        if pids is not None:
            with suppress(MPMError):  # it is gone, or cannot be reached
                self.environment.signal_in(self.folder, pids[1], signal.SIGKILL)
