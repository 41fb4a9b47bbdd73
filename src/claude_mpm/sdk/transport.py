"""The transport of the official SDK, over a session of ours."""

from __future__ import annotations

import logging
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.to_thread import run_sync
from claude_agent_sdk import (
    ClaudeAgentOptions,
    CLIConnectionError,
    CLINotFoundError,
    ProcessError,
    Transport,
)

from claude_mpm.engine.options import make_options
from claude_mpm.environments.local import Local
from claude_mpm.errors import ClaudeNotFound, MPMError, UsageError
from claude_mpm.sdk.arguments import check, session_options, system_prompt, variables
from claude_mpm.sdk.connection import Connection
from claude_mpm.wire import StreamJson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from claude_mpm.environments.base import Environment

T = TypeVar("T")
_logger = logging.getLogger(__name__)
_THREADS = 3  # one reads, one writes, one closes
_SHOWS_STATE = "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS"


class PlaceTransport(Transport):
    """Lets the SDK's client drive a Claude in any place, in a session that is kept.

    Give the client the same options: those that are no arguments of `claude`, such as hooks, it
    applies by itself over any transport.

    Args:
        options: the SDK's options; the SDK applies most of them to its own transport only.
        environment: the place; None for this machine.
        session_id: the session's name. One that exists is gone on with: followed where its Claude
            runs still, else its conversation is started again. None for the `resume` or the
            `session_id` of the options, or else a new one.
        environ: Claude's environment but for the `env` of the options; None for this process's, of
            which another place gets what means something there.
        state_dir: the folder of sessions and index; None for the platform's own.
        linger: seconds that Claude waits for the next follower once this process has died.
        stop_timeout: seconds that each step of `close` waits before the next, harder one.

    Raises:
        UsageError: an option of the SDK that would have no effect, or a place that is a terminal.
    """

    def __init__(
        self,
        options: ClaudeAgentOptions | None = None,
        *,
        environment: Environment | None = None,
        session_id: str | None = None,
        environ: Mapping[str, str] | None = None,
        state_dir: str | None = None,
        linger: float = 30.0,
        stop_timeout: float = 10.0,
    ) -> None:
        self._asked = options or ClaudeAgentOptions()
        check(self._asked)
        named = session_id or self._asked.resume or self._asked.session_id
        self.session_id = named or str(uuid.uuid4())
        self._environment = environment or Local()
        if self._environment.wire != StreamJson.name:
            raise UsageError(f"the SDK needs lines of JSON, and {self._environment.name} has none")
        self._environ = environ
        self._own = {"state_dir": state_dir, "linger": linger, "stop_timeout": stop_timeout}
        self._connection: Connection | None = None

    async def connect(self) -> None:
        """Start Claude, or follow the session where it runs still; called by the SDK, as all is.

        Raises:
            CLIConnectionError: the place, the folder or Claude is not fit for it.
        """
        if self._connection is not None:
            return
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._writing = anyio.Lock()
        with _errors_of_the_sdk():
            self._connection = connection = self._make_connection()
        try:
            await self._in_thread(connection.open)
        except BaseException:  # a start that was cancelled has a Claude, too
            await self.close()
            raise

    def _make_connection(self) -> Connection:
        place = self._environment
        given = {**session_options(self._asked), **self._own, "resume": bool(self._asked.resume)}
        given["wire"] = StreamJson.name
        given["environ"] = {**place.environ(self._environ), **variables(self._asked)}
        return Connection(
            self.session_id,
            make_options(given),
            place,
            first=system_prompt(self._asked),
            shows_state=_SHOWS_STATE in self._asked.env,
        )

    async def write(self, data: str) -> None:
        """Give Claude lines of JSON.

        Raises:
            CLIConnectionError: Claude takes no input, or would end at a line that is no JSON.
        """
        async with self._writing:
            await self._in_thread(self._connected().write, data)

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what Claude writes, in the order of the journal; a line has any length.

        Raises:
            ProcessError: Claude ended badly.
        """
        connection = self._connected()
        while (messages := await self._in_thread(connection.read, abandon=True)) is not None:
            await self._tell_errors(connection)
            for message in messages:
                yield message
        await self._tell_errors(connection)
        status, said = connection.ending()
        if status != 0 and self._connection is connection:  # else we have ended it
            raise ProcessError("Claude ended badly", exit_code=status, stderr=said)

    async def _tell_errors(self, connection: Connection) -> None:
        if self._asked.stderr is None:
            return
        for line in await self._in_thread(connection.read_errors):
            try:
                self._asked.stderr(line)
            except Exception as error:  # noqa: BLE001 -- a function of the user's may raise anything
                _logger.error("stderr %r failed: %r", self._asked.stderr, error)

    async def end_input(self) -> None:
        """End Claude's input; it finishes what it was given, and ends."""
        if self._connection is not None:
            async with self._writing:
                await self._in_thread(self._connection.end_input)

    async def close(self) -> None:
        """End Claude, where it does not so by itself; safe before `connect`, and twice."""
        with anyio.CancelScope(shield=True):
            connection, self._connection = self._connection, None
            if connection is not None:
                await self._in_thread(connection.close)

    def is_ready(self) -> bool:
        """Return whether Claude is there."""
        return self._connection is not None and self._connection.runs

    def _connected(self) -> Connection:
        if self._connection is None:
            raise CLIConnectionError("there is no connection to Claude: call connect() first")
        return self._connection

    async def _in_thread(self, do: Callable[..., T], *values: Any, abandon: bool = False) -> T:
        """Run what waits for a disk or a place beside the loop."""
        with _errors_of_the_sdk():
            return await run_sync(do, *values, abandon_on_cancel=abandon, limiter=self._threads)


@contextmanager
def _errors_of_the_sdk() -> Iterator[None]:
    """Let programs that were written for the SDK meet the errors that they know."""
    try:
        yield
    except ClaudeNotFound as error:
        raise CLINotFoundError(str(error)) from error
    except MPMError as error:
        raise CLIConnectionError(str(error)) from error
