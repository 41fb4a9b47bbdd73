"""The face of an orchestrator in an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio


class _Face(Protocol):
    """What `MPMOrchestrator` has and the methods here build on."""

    process: Any
    running: bool
    read_task: asyncio.Task[None] | None
    write_task: asyncio.Task[None] | None
    outgoing: asyncio.Queue[str] | None

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    def start(self) -> bool: ...
    def start_or_raise(self) -> None: ...
    def stop(self) -> None: ...
    def __exit__(self, error: type[BaseException] | None, *_: object) -> None: ...
    def send_input(self, text: str) -> None: ...
    def _process_output_line(self, line: str) -> None: ...
    async def _setup_async_io(self) -> None: ...
    async def _async_reader(self) -> None: ...
    async def _async_writer(self) -> None: ...


class AsyncFace:
    """Starting, reading, writing and stopping without blocking the loop."""

    read_task: asyncio.Task[None] | None = None
    write_task: asyncio.Task[None] | None = None
    outgoing: asyncio.Queue[str] | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running event loop."""
        import asyncio

        return asyncio.get_running_loop()

    async def start_async(self: _Face) -> bool:
        """Start Claude, then read and write in tasks of this loop; false where it did not start."""
        import asyncio

        if not await asyncio.to_thread(self.start):
            return False
        await self._setup_async_io()
        return True

    async def stop_async(self: _Face) -> None:
        """Stop, and end the tasks."""
        import asyncio

        await asyncio.to_thread(self.stop)
        for task in (self.read_task, self.write_task):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    async def _setup_async_io(self: _Face) -> None:
        """Make the tasks; called by `start_async` once Claude runs."""
        import asyncio

        self.outgoing = asyncio.Queue()
        self.read_task = asyncio.create_task(self._async_reader())
        self.write_task = asyncio.create_task(self._async_writer())

    async def _async_reader(self: _Face) -> None:
        """Hand each line of output to `_process_output_line`; ends with the output."""
        import asyncio

        reader = asyncio.StreamReader(limit=1 << 30)
        transport, _ = await self.loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self.process.stdout
        )
        try:
            while line := await reader.readline():
                self._process_output_line(line.decode().rstrip("\r\n"))
        finally:
            transport.close()

    async def _async_writer(self: _Face) -> None:
        """Give Claude what is put into `outgoing`; runs until it is cancelled."""
        import asyncio

        if self.outgoing is None:
            self.outgoing = asyncio.Queue()
        while True:
            await asyncio.to_thread(self.send_input, await self.outgoing.get())

    async def __aenter__(self: _Face) -> Any:
        """Start Claude.

        Raises:
            MPMError: it did not start.
        """
        import asyncio

        await asyncio.to_thread(self.start_or_raise)
        return self

    async def __aexit__(self: _Face, error: type[BaseException] | None, *more: object) -> None:
        """Stop Claude as `with` does."""
        import asyncio

        await asyncio.to_thread(self.__exit__, error, *more)
