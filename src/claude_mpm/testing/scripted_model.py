"""A model that plays a script: the Messages API on the loopback interface, for tests and demos."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from claude_mpm.testing.loopback import LoopbackServer
from claude_mpm.testing.playbook import Pattern, Playbook, echo, matches

if TYPE_CHECKING:
    from types import TracebackType

    from claude_mpm.testing.request import Request
    from claude_mpm.testing.script import Fail, Item, Script
    from claude_mpm.testing.sse import Reply

DEFAULT_TIMEOUT = 60.0
_API_KEY = "sk-ant-scripted-model"


class ScriptedModel:
    """A loopback server of the Messages API that answers real Claude Code from a script.

    Each of `turns` is the script for one prompt of the main conversation, in order. Rules given by
    `on()` come first; `default` answers what nothing else does, and is an echo unless given. A
    request that comes again, as a retry does, gets the same reply again. It listens on `port`, or
    on any that is free.

    Use it as a context manager, or call `start()` and `stop()`.
    """

    def __init__(self, *turns: Script, default: Script = echo, port: int = 0) -> None:
        self._port = port
        self._playbook = Playbook(turns, default)
        self._server: LoopbackServer | None = None
        self._requests: list[Request] = []
        self._other_requests: list[Request] = []
        self._arrived = threading.Condition()

    def on(self, pattern: Pattern, *script: Item) -> Self:
        """Play a script whenever the prompt, or the tool results, of a request match a pattern.

        The pattern is a substring, a compiled regular expression, or a function of the `Request`;
        subagents are matched by the prompt that they were given. The first rule that matches
        counts.
        """
        self._playbook.on(pattern, script)
        return self

    def start(self) -> Self:
        """Listen on 127.0.0.1."""
        if self._server is not None:
            raise RuntimeError("The scripted model runs already: call stop() before start()")
        self._server = LoopbackServer(self._answer, self._port)
        return self

    def stop(self) -> None:
        """End all connections, also those that stall, and raise what the script raised, if any."""
        server, self._server = self._server, None
        if server is None:
            return
        server.stop()
        if server.errors:
            raise server.errors[0]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address to give as `ANTHROPIC_BASE_URL`."""
        return f"http://127.0.0.1:{self._running.server_port}"

    def environment(self, home: str | Path, **more: str) -> dict[str, str]:
        """Return the whole environment for a `claude` that talks to this model and nothing else.

        `home` becomes its home folder and is made if missing; `more` adds variables or changes
        them. Nothing is taken over from this process, so no credentials are either.
        """
        home = Path(home).absolute()
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "CLAUDE_CONFIG_DIR": str(home / ".claude"),
            "CLAUDE_CODE_TMPDIR": str(home / "tmp"),
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": _API_KEY,
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            **more,
        }

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request for a message so far, in order of arrival, retries included."""
        with self._arrived:
            return tuple(self._requests)

    @property
    def other_requests(self) -> tuple[Request, ...]:
        """Every other request so far: token counts, and whether the server is there."""
        with self._arrived:
            return tuple(self._other_requests)

    def wait_for_request(self, pattern: Pattern = "", timeout: float = DEFAULT_TIMEOUT) -> Request:
        """Return the first request that matches a pattern, past or to come.

        `TimeoutError` is raised after `timeout` seconds and names the prompts that did come.
        """
        with self._arrived:
            self._arrived.wait_for(lambda: self._find(pattern) is not None, timeout)
            found = self._find(pattern)
            if found is None:
                prompts = [request.prompt for request in self._requests if request.prompt]
                raise TimeoutError(f"No such request within {timeout:g} s; prompts: {prompts}")
            return found

    def wait_for_stall(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Wait until a reply stands at a `Stall`; raise `TimeoutError` after `timeout` seconds."""
        if not self._running.stalls.wait_for_one(timeout):
            raise TimeoutError(f"No reply has reached a Stall within {timeout:g} s")

    def release(self) -> None:
        """Let every reply that stands at a `Stall` go on."""
        self._running.stalls.release()

    @property
    def _running(self) -> LoopbackServer:
        if self._server is None:
            raise RuntimeError("The scripted model does not run: use it in `with`, or call start()")
        return self._server

    def _find(self, pattern: Pattern) -> Request | None:
        return next((each for each in self._requests if matches(pattern, each)), None)

    def _answer(self, request: Request) -> Fail | Reply | None:
        wanted = request.method == "POST" and request.path.partition("?")[0] == "/v1/messages"
        with self._arrived:
            (self._requests if wanted else self._other_requests).append(request)
            self._arrived.notify_all()
        return self._playbook.answer(request) if wanted else None
