"""The face that users subclass: every hook is one arrow of the flow."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import msgspec

from claude_mpm.config.framework import FrameworkLoader
from claude_mpm.engine.handshake import Handshake
from claude_mpm.engine.lifecycle import Phase
from claude_mpm.engine.options import make_options
from claude_mpm.environments.local import Local
from claude_mpm.errors import LaunchError, MPMError, UsageError
from claude_mpm.orchestration.asyncio_api import AsyncFace
from claude_mpm.orchestration.log import close_logger, make_logger
from claude_mpm.orchestration.place_settings import take_place_settings
from claude_mpm.orchestration.reading import Reading
from claude_mpm.orchestration.start_limiter import in_turn

if TYPE_CHECKING:
    import os

    from claude_mpm.conversation.turn import Turn
    from claude_mpm.engine.live_session import LiveSession
    from claude_mpm.engine.move import Move
    from claude_mpm.engine.output import ClaudeOutput
    from claude_mpm.engine.shared_reader import Reader
    from claude_mpm.environments.base import Environment


class MPMOrchestrator(Reading, AsyncFace):
    """Runs Claude Code in a place, and hands on what goes in and comes out.

    A subclass overrides any hook; each default calls the next hook through `self`.

    Args:
        framework_path: the framework's file or folder; None for the packaged default.
        agents_dir: a folder of Claude's own subagent files, added to those of the framework.
        log_level: "OFF", or the least level that is logged.
        log_dir: the folder of the log file; None logs to standard error.
        options: see `Options`, and what the place is made with.

    Attributes:
        process: the running process; its `stdout` reads as Claude's text.
        running: whether there is, or may still come, output.
        error: why the last `start` returned False.
        attached: whether a Claude was taken up that ran already.
        turns_before: the turns of prompts that somebody gave before this session was taken up: the
            one that runs, or else was the last, then those that Claude is given again.

    Raises:
        UsageError: an option that there is not.
    """

    def __init__(
        self,
        framework_path: str | os.PathLike[str] | None = None,
        agents_dir: str | os.PathLike[str] | None = None,
        log_level: str = "OFF",
        log_dir: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        settings = take_place_settings(self.place(), options)
        super().__init__(make_options(options))
        self.place_settings = settings
        self.session_id = self.options.session_id or self._generate_session_id()
        self.session_metadata: dict[str, Any] = dict(self.options.metadata or {})
        self.logger = make_logger(type(self).__name__, log_level, log_dir)
        self.framework_loader = FrameworkLoader(
            framework_path,
            agents_dir,
            enabled=self.options.use_framework,
            confined_to=self.options.confined_to,
        )
        self.environment = self.make_environment()
        if not self.options.wire:
            wire = self.environment.wire
            self.options = msgspec.structs.replace(self.options, wire=wire)
        self.error: MPMError | None = None
        self.attached = False
        self.turns_before: list[Turn] = []
        self._reader: Reader | None = None
        self._output: ClaudeOutput | None = None
        self._move: Move | None = None  # that brings the session here, while it is started

    @classmethod
    def place(cls) -> type[Environment]:
        """Return the class of the place; its arguments are options of the orchestrator."""
        return Local

    def make_environment(self) -> Environment:
        """Return the place where Claude runs; called by the constructor."""
        return self.options.environment or self.place()(**self.place_settings)

    # --- start ------------------------------------------------------------------------------

    def start(self) -> bool:
        """Start Claude, again where that is asked for; False, with `error` set, where it fails."""
        pause = self.options.retry_backoff
        for attempt in range(self.options.start_retries + 1):
            try:
                with in_turn(self.options.start_timeout):
                    self._start_once()
                return True
            except MPMError as error:
                self.error = error
                self.logger.error("start failed: %s", error)
                self._abandon()
            if self._live.folder.given_up.exists():
                break
            if attempt < self.options.start_retries and self._live.life.pause(pause * 2**attempt):
                break
        return False

    def start_or_raise(self) -> None:
        """Start Claude.

        Raises:
            MPMError: it did not start.
        """
        if not self.start():
            raise self.error or LaunchError(f"{self.name}: start() returned False")

    def _start_once(self) -> None:
        self._renew()
        live = self._live
        if self.options.resume:
            self._take_over(live)
        else:
            live.launch(self.framework_loader.load())
        if not self.attached:
            live.folder.check_start()
        self.running = True
        handshake: Handshake | None = None
        if live.wire.greets and not self.attached:
            handshake = Handshake(live)
            live.watch_start(handshake)
        elif live.wire.structured and not self.attached:
            live.input.host_is_there()  # its place has waited for it
        self._start_io_threads()
        if handshake is not None and self._reader is not None:
            handshake.begin()
            if handshake.lets_prompts_through:
                self._open_conversation()
            handshake.wait(self.options.start_timeout)
            live.watch_start(None)
            self._limit_opening()
        if not live.life.finish_start() and self.process.poll() is None:
            self._end_late()
        live.watch_resources()
        if self.options.metadata is not None:
            self.session_metadata["start_time"] = datetime.now()
            self._save_session_metadata()

    def _take_over(self, live: LiveSession) -> None:
        from claude_mpm.engine.resume import take_over, turns_of  # of no use to a first start

        if self._move is not None:
            self._move.carry(live)
        try:
            taken = take_over(live)
        finally:  # also where that is interrupted: what ran before is left running
            self.attached = self.running = live.attached
        live.questions.skip(taken.over)
        self.turns_before = turns_of(taken, live)
        for turn in self.turns_before:
            live.turns.add(turn)

    def _end_late(self) -> None:
        """End what was started beside a `stop`, which may have looked for it too early.

        Raises:
            LaunchError: always.
        """
        self._live.life.wait_for_stop(10 * self.options.stop_timeout)
        self._end_once()
        raise LaunchError(f"session {self.session_id} was stopped while it started")

    def _abandon(self) -> None:
        if self._live.process is not None and not self._live.attached:
            self._live.end(None)
            self._take_back_opening()
        self._live.release()
        self._live.life.fail_start()
        self.running = False

    def _renew(self) -> None:
        """Forget an earlier run of this object."""
        self._live.renew()
        self._reader = None
        self.turns_before = []

    # --- stop -------------------------------------------------------------------------------

    def stop(self) -> None:
        """Interrupt, end the input, terminate, kill, until Claude is gone; then release all.

        It is safe before `start`, twice, from a hook and from any thread. Where another thread is
        at it already, as the watchdog may be, it waits for that.
        """
        life = self._live.life
        try:
            if life.begin_stop():
                self._end_for_all()
            else:
                self._wait_for_stop()
        except BaseException:  # Ctrl-C, also on the way here: another call goes on with it
            life.give_up_stop()
            raise

    def _wait_for_stop(self) -> None:
        """Wait until the one who stops is done, unless that one waits for this thread."""
        life = self._live.life
        if self._in_reader() or life.is_stopper():
            return
        if life.phase is Phase.DETACHED:
            self._leave()
            return
        life.wait_for_stop(10 * self.options.stop_timeout)  # each step of it is bounded
        self._join_reader()  # where it is the one, it closes all when it ends

    def _end_for_all(self) -> None:
        """End Claude, and notify whoever waits for that."""
        life = self._live.life
        try:
            self._end_once()
        except Exception:
            life.finish_stop()
            raise
        life.finish_stop()

    def _end_once(self) -> None:
        live, in_a_hook = self._live, self._in_reader()
        if live.process is not None:
            output = self._output if not in_a_hook else None
            live.end(output.finished if output is not None else None)
            if output is not None and self._reader is not None:
                output.finished.wait(self.options.stop_timeout)
                self._join_reader()
        elif self.process is not None:
            self._end_foreign()
        elif live.life.starts:
            live.folder.give_up_start()
        self.running = False
        if not in_a_hook:
            self._let_go()

    def _in_reader(self) -> bool:
        """Return whether this is the thread that reads the output."""
        return self._reader is not None and self._reader.is_current()

    def _join_reader(self) -> None:
        """Wait for the thread that reads, unless the user reads through a descriptor instead."""
        handed_over = self._output is not None and self._output.handed_over
        if self._reader is not None and not handed_over:
            self._reader.join(self.options.stop_timeout)

    def _let_go(self) -> None:
        """Close everything, once all that Claude wrote was read; safe to call twice."""
        live = self._live
        with live.life.alone():  # the reader does so at the end of the output, others in `stop`
            self._flush_buffer()
            live.close()
            try:
                if self.options.metadata is not None:
                    self.session_metadata.setdefault("end_time", datetime.now())
                    self._save_session_metadata()
            finally:  # also on a full disk
                self.store.close()
                close_logger(self.logger)

    def detach(self) -> None:
        """Release Claude without ending it: it goes on, and the linger rule begins to count.

        Raises:
            UsageError: Claude hangs on pipes of this process, or was never started.
        """
        live = self._live
        if not live.hosted:
            raise UsageError(f"{self.name}: this Claude has no host, so it cannot be let go of")
        live.life.detach()
        self._leave()

    def _leave(self) -> None:
        """Release a Claude that was left to itself; another call goes on after Ctrl-C in one."""
        if self._live.life.phase is not Phase.DETACHED or not self.running:
            return
        self._live.detach()
        if self._reader is not None and not self._in_reader():
            self._reader.join(self.options.stop_timeout)
        self._let_go()
        self.running = False

    # --- another place ----------------------------------------------------------------------

    def move_to(self, there: MPMOrchestrator, *, now: bool = False) -> Move:
        """End this session's Claude, and go on with the session in another place.

        Claude's record of the conversation goes along; the files of the folder that it works in
        do not. The session stays one: its turns, cost and tickets go on in the same journal.

        Args:
            there: an orchestrator of the other place, not started; it takes up this session, and
                is started. Without `cwd`, it works in the same folder as here.
            now: whether a turn that runs is interrupted; else its end is waited for.

        Raises:
            MPMError: the session is not moved, and has ended here, or still runs; it can be
                resumed here.
        """
        from claude_mpm.engine.move import Move

        there._join(self)
        move = Move(self._live, there._live)
        move.check()
        self._come_to_rest(now=now)
        try:
            there._start_moved(move)
        except BaseException:
            there.stop()
            move.undo()
            raise
        move.keep()
        return move

    def _start_moved(self, move: Move) -> None:
        """Start with the record that a move brings here."""
        self._move = move
        try:
            self.start_or_raise()
        finally:
            self._move = None

    def _join(self, here: MPMOrchestrator) -> None:
        """Take up another orchestrator's session, before anything of this one was used.

        Raises:
            UsageError: this one keeps its sessions elsewhere, or runs, or its folder would be one
                that a place has chosen.
        """
        if self.running or self.store.path != here.store.path or self is here:
            raise UsageError(
                f"{self.name}: a session is moved to an orchestrator that was not started, with"
                f" the same state_dir, {here.store.path}"
            )
        place, cwd = self.environment, self.options.cwd
        folder = here.store.folder(here.session_id)
        if cwd is None and folder.meta_file.exists() and (place.shares_files or place.keeps_files):
            meta = folder.read_meta()
            cwd = meta.cwd or None
            # Of a session that another machine has begun, the place said in which folder it works.
            begun_here = bool(meta.starts and meta.starts[0].orchestrator)
            if cwd and place.shares_files and not (here.environment.shares_files or begun_here):
                raise UsageError(
                    f"session {here.session_id[:8]} works in {cwd}, as its place alone says; name"
                    " the folder that it is to work in here, with cwd (--cwd DIR)"
                )
        self.session_id = here.session_id
        self.options = msgspec.structs.replace(self.options, resume=True, cwd=cwd)
        vars(self).pop("_live", None)

    def _come_to_rest(self, *, now: bool) -> None:
        """End Claude, when its turn is over or at once, whoever started it."""
        if self.running:
            if not now:
                self._live.turns.wait_for_all()
            self.stop()
            return
        from claude_mpm.engine.follow import SETTLED, settled
        from claude_mpm.sessions.status import State

        folder = self.store.folder(self.session_id)
        if not now:
            settled(self.store, folder, float("inf"), over=SETTLED | {State.PARKED})
        if folder.exit_status() is None and not folder.has_ended():
            self.end_session()
        self.stop()

    def _end_foreign(self) -> None:
        """End a process that a subclass set and never gave to `_start_io_threads`."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=self.options.stop_timeout)

    def __enter__(self) -> Self:
        """Start Claude.

        Raises:
            MPMError: it did not start.
        """
        try:
            self.start_or_raise()
        except MPMError:
            raise
        except BaseException:  # Ctrl-C: `__exit__` is not called, and Claude may have a prompt
            self.stop()
            raise
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Stop Claude.

        Where there is no error, it has `stop_timeout` seconds before that for prompts from `ask`
        that nobody has waited for.
        """
        if error is None and not self._live.life.ends and not self._in_reader():
            self._live.turns.wait_for_unwatched(self.options.stop_timeout)
        self.stop()

    def _generate_session_id(self) -> str:
        """Return a new name for a session; called by the constructor and by subclasses."""
        return str(uuid.uuid4())
