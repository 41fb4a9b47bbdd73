"""The agent of `claude-mpm acp`: what an editor calls, and what it is shown."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import CancelledError
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import acp as protocol
from acp.schema import (
    AgentCapabilities,
    Implementation,
    InitializeResponse,
    ListSessionsResponse,
    LoadSessionResponse,
    NewSessionResponse,
    PermissionOption,
    PromptCapabilities,
    PromptResponse,
    ResumeSessionResponse,
    SessionCapabilities,
    SessionCloseCapabilities,
    SessionInfo,
    SessionListCapabilities,
    SessionModeState,
    SessionResumeCapabilities,
    SetSessionModeResponse,
    StopReason,
    ToolCallUpdate,
    Usage,
)

from claude_mpm import __version__
from claude_mpm.bridges.acp_updates import (
    PromptBegun,
    UpdateFold,
    changes_of,
    labels_of,
    modes_of,
    title_of,
)
from claude_mpm.cli.end_signals import ends_in_order
from claude_mpm.cli.list_commands import warn
from claude_mpm.cli.session_arg import taken_up
from claude_mpm.conversation.verdict import Outcome
from claude_mpm.errors import MPMError, QuestionOver, StorageError, UsageError
from claude_mpm.journal.prompts import last_prompt, prompts
from claude_mpm.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from claude_mpm.cli.app import App
    from claude_mpm.conversation.question import Question
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.wire.events import Event

_MOST_LISTED = 100  # sessions
_PATIENCE = 30.0  # seconds for Claude to answer a request for another mode
_TERMINALS = "terminal_output"  # in the `_meta` of an editor that shows commands in terminals
_ALLOW = PermissionOption(option_id="allow", name="Allow once", kind="allow_once")
_DENY = PermissionOption(option_id="deny", name="Deny", kind="reject_once")


async def serve(app: App) -> None:
    """Serve one editor on standard input and output, until it goes or a signal comes.

    Raises:
        Terminated, KeyboardInterrupt: a signal came.
    """
    agent = AcpAgent(app)
    served: Any = agent  # its methods take what they use of their parameters, and any others
    # What the agent announces, the protocol has by now; this SDK calls closing a session and
    # resuming one unstable still, and refuses both without being asked for it.
    serving = asyncio.ensure_future(protocol.run_agent(served, use_unstable_protocol=True))
    wake_and_call = asyncio.get_running_loop().call_soon_threadsafe
    with ends_in_order(partial(wake_and_call, serving.cancel)):
        await asyncio.wait({serving})
        await agent.release_all()
    if not serving.cancelled():
        serving.result()


class EditorSession:
    """One session that the editor has open.

    Events come in the thread that reads the session, and permission requests in threads of their
    own; both are handed to the loop, in which everything else runs.

    Args:
        client: the editor.
        fold: what makes updates of events.
        shown: the byte of the journal up to which the editor has been shown everything.
    """

    def __init__(self, client: Any, fold: UpdateFold, shown: int = 0) -> None:
        self.claude: MPMOrchestrator
        self.turn: Turn | None = None
        self._client = client
        self._fold = fold
        self._shown = shown
        self._loop = asyncio.get_running_loop()
        self._updates: asyncio.Queue[Any] = asyncio.Queue()
        self._pump = asyncio.create_task(self._send_updates())
        self._responses: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._setting_mode = asyncio.Lock()  # held by the loop's tasks: one request at a time
        # Held while a prompt is put, until it is known to be this editor's, which shows it already.
        self._asking = asyncio.Lock()
        self._own: set[str] = set()  # the uuids of its prompts that Claude has not begun with

    async def begin(self, claude: MPMOrchestrator) -> None:
        """Start a Claude, or take up one that runs, with the turn that it is at.

        Raises:
            MPMError: it does not start.
        """
        self.claude = claude
        await asyncio.to_thread(claude.start_or_raise)
        self.turn = next((turn for turn in claude.turns_before if not turn.done), None)

    @property
    def modes(self) -> SessionModeState:
        """The permission modes that the editor may choose, and the current one."""
        return modes_of(self._fold.mode, self.claude.options.permission_mode)

    async def set_mode(self, mode: str) -> None:
        """Have Claude work in another permission mode.

        Raises:
            RequestError: Claude refused, or did not answer in time.
            MPMError: it takes no input any more.
        """
        async with self._setting_mode:
            name = await asyncio.to_thread(self.claude.set_permission_mode, mode)
            try:
                async with asyncio.timeout(_PATIENCE):
                    while (response := await self._responses.get()).get("request_id") != name:
                        pass
            except TimeoutError as error:
                message = f"Claude has not answered within {_PATIENCE:.0f} s"
                raise protocol.RequestError(-32000, message) from error
        if response.get("subtype") != "success":
            raise protocol.RequestError.invalid_params({"error": str(response.get("error"))})

    def observe(self, event: Event) -> None:
        """Take an event; called by the thread that reads the session."""
        if event.kind == "control_response" and self._setting_mode.locked():
            response = event.data.response
            self._loop.call_soon_threadsafe(self._responses.put_nowait, response)
        if event.end > self._shown:
            for update in self._fold.observe(event):
                self._loop.call_soon_threadsafe(self._updates.put_nowait, update)

    def ask(self, question: Question) -> None:
        """Let the person at the editor answer a permission request; called in a thread of its own.

        Without an answer, because the editor has gone, the request stays open for whoever comes.
        """
        with suppress(protocol.RequestError, ConnectionError, CancelledError, QuestionOver):
            if question.choosing:
                self._let_choose(question)
                return
            title = title_of(question.tool, question.input)
            if self._choice(question, title, [] if question.malformed else [_ALLOW]):
                question.allow(by="acp")

    def _let_choose(self, question: Question) -> None:
        """Have the person choose what Claude lets a person choose, one choice after the other."""
        chosen: list[str] = []
        for each in question.choosing:
            options = [
                PermissionOption(option_id=f"choose-{number}", name=label, kind="allow_once")
                for number, label in enumerate(labels_of(each))
            ]
            choice = self._choice(question, one_line(each.get("question")), options)
            if choice is None:
                return
            chosen.append(choice.name)
        question.choose(*chosen, by="acp")

    def _choice(
        self, question: Question, title: str, options: list[PermissionOption]
    ) -> PermissionOption | None:
        """Return the option that the person has chosen; None once the question is denied."""
        asking = self._request(question, title, [*options, _DENY])
        try:
            outcome = asyncio.run_coroutine_threadsafe(asking, self._loop).result().outcome
        except ValueError:  # of pydantic
            question.deny("The editor gave no answer that can be read.", by="acp")
            return None
        if outcome.outcome != "selected":
            question.deny("The user cancelled.", interrupt=True, by="acp")
            return None
        chosen = next((each for each in options if each.option_id == outcome.option_id), None)
        if chosen is None:
            question.deny(by="acp")
        return chosen

    async def _request(
        self, question: Question, title: str, options: list[PermissionOption]
    ) -> Any:
        await self.flush()
        call = ToolCallUpdate(
            tool_call_id=question.tool_use_id or question.request_id,
            title=title,
            content=changes_of(question.tool, question.input),
            raw_input=question.input,
        )
        return await self._client.request_permission(
            session_id=self.claude.session_id, tool_call=call, options=options
        )

    async def flush(self) -> None:
        """Wait until the editor has been sent all that came so far."""
        handed_over = self._loop.create_future()
        self._loop.call_soon(handed_over.set_result, None)  # behind what threads handed over
        await handed_over
        await self._updates.join()

    async def prompt(self, text: str) -> PromptResponse:
        """Give Claude a prompt, wait for the end of its turn, and return the editor's response.

        Raises:
            MPMError: Claude takes no prompt.
            RequestError: the turn failed.
        """
        async with self._asking:
            turn = await asyncio.to_thread(self.claude.ask, text)
            self._own.add(turn.uuid)
        return await self.finish(turn)

    async def finish(self, turn: Turn) -> PromptResponse:
        """Wait for the end of a turn, and return the response for the editor."""
        self.turn = turn
        try:
            await turn
        finally:
            self.turn = None
        await self.flush()
        return _response(turn)

    async def cancel(self) -> None:
        """Interrupt the turn at work, also that of a prompt which is being put just now."""
        async with self._asking:
            turn = self.turn
        if turn is not None:
            await asyncio.to_thread(turn.interrupt)

    async def release(self) -> None:
        """Let the session go on without the editor."""
        await asyncio.to_thread(self.claude.detach)
        self._pump.cancel()

    async def _send_updates(self) -> None:
        while True:
            update = await self._updates.get()
            try:
                if isinstance(update, PromptBegun):
                    update = await self._prompt_of_others(update.uuid)
                if update is not None:
                    name = self.claude.session_id
                    await self._client.session_update(session_id=name, update=update)
            finally:
                self._updates.task_done()

    async def _prompt_of_others(self, uuid: str) -> Any:
        """Return the update with a prompt of others; None for one of the editor's."""
        async with self._asking:
            if uuid in self._own:
                self._own.discard(uuid)
                return None
        folder = self.claude.store.folder(self.claude.session_id)
        known = await asyncio.to_thread(lambda: {each.uuid: each.text for each in prompts(folder)})
        return protocol.update_user_message_text(known[uuid]) if known.get(uuid) else None


class AcpAgent:
    """What an editor calls; the methods are those of the protocol.

    Args:
        app: the settings and flags with which sessions are started.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._client: Any = None
        self._open: dict[str, EditorSession] = {}
        self._terminals = False

    def on_connect(self, conn: Any) -> None:
        """Take the connection to the editor."""
        self._client = conn

    async def initialize(
        self, protocol_version: int, client_capabilities: Any = None, **_: Any
    ) -> InitializeResponse:
        """Say which version of the protocol is spoken, and what there is."""
        extensions = getattr(client_capabilities, "field_meta", None) or {}
        self._terminals = extensions.get(_TERMINALS) is True
        return InitializeResponse(
            protocol_version=min(protocol_version, protocol.PROTOCOL_VERSION),
            agent_info=Implementation(name="claude-mpm", version=__version__),
            agent_capabilities=AgentCapabilities(
                load_session=True,
                prompt_capabilities=PromptCapabilities(embedded_context=True),
                session_capabilities=SessionCapabilities(
                    list=SessionListCapabilities(),
                    resume=SessionResumeCapabilities(),
                    close=SessionCloseCapabilities(),
                ),
            ),
        )

    async def new_session(self, cwd: str, **given: Any) -> NewSessionResponse:
        """Start Claude in a folder."""
        _refuse_servers(given)
        app = self._app.copy()
        app.flags["cwd"] = cwd
        fold = UpdateFold(terminals=self._terminals, cwd=cwd)
        session = EditorSession(self._client, fold)
        with _as_errors():
            claude = app.orchestrator(
                sinks=[session.observe], permissions=session.ask, partial=True
            )
            await self._begin(session, claude)
        return NewSessionResponse(session_id=claude.session_id, modes=session.modes)

    async def load_session(self, session_id: str, **given: Any) -> LoadSessionResponse:
        """Show a session from its beginning, and go on with it where it stands."""
        _refuse_servers(given)
        session = await self._take_up(session_id, shows=True)
        return LoadSessionResponse(modes=session.modes)

    async def resume_session(self, session_id: str, **given: Any) -> ResumeSessionResponse:
        """Go on with a session without showing what was."""
        _refuse_servers(given)
        session = await self._take_up(session_id, shows=False)
        return ResumeSessionResponse(modes=session.modes)

    async def set_session_mode(
        self, session_id: str, mode_id: str, **_: Any
    ) -> SetSessionModeResponse:
        """Have Claude work in another permission mode."""
        session = self._session(session_id)
        offered = [mode.id for mode in session.modes.available_modes]
        if mode_id not in offered:
            message = f"no mode {mode_id!r}; there are: {', '.join(offered)}"
            raise protocol.RequestError.invalid_params({"error": message})
        with _as_errors():
            await session.set_mode(mode_id)
        return SetSessionModeResponse()

    async def list_sessions(self, cwd: str | None = None, **_: Any) -> ListSessionsResponse:
        """List sessions, the newest first."""
        with _as_errors():
            return ListSessionsResponse(sessions=await asyncio.to_thread(self._infos, cwd))

    async def prompt(self, session_id: str, prompt: Sequence[Any], **_: Any) -> PromptResponse:
        """Give Claude a prompt; the answer comes as updates, and this ends with the turn."""
        session = self._session(session_id)
        with _as_errors():
            return await session.prompt(text_of(prompt))

    async def cancel(self, session_id: str, **_: Any) -> None:
        """Interrupt the turn at work."""
        await self._session(session_id).cancel()

    async def close_session(self, session_id: str, **_: Any) -> None:
        """Let a session go on without the editor."""
        session = self._session(session_id)
        del self._open[session_id]
        await session.release()

    async def authenticate(self, method_id: str, **_: Any) -> None:
        """Refuse: Claude has its credentials, or has none."""
        raise protocol.RequestError.invalid_params({"error": f"no method {method_id!r}"})

    async def ext_method(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Refuse a method that is none of the protocol's."""
        raise protocol.RequestError.method_not_found(method)

    async def ext_notification(self, method: str, params: dict[str, Any]) -> None:
        """Pass over a notification that is none of the protocol's."""

    async def release_all(self) -> None:
        """Let all sessions go on without the editor."""
        while self._open:
            await self.close_session(next(iter(self._open)))

    def _session(self, session_id: str) -> EditorSession:
        try:
            return self._open[session_id]
        except KeyError:
            message = f"no session {session_id!r} is open; load it first"
            raise protocol.RequestError.invalid_params({"error": message}) from None

    async def _begin(self, session: EditorSession, claude: MPMOrchestrator) -> None:
        await session.begin(claude)
        self._open[claude.session_id] = session

    async def _take_up(self, session_id: str, *, shows: bool) -> EditorSession:
        if session_id in self._open:
            await self.close_session(session_id)
        with _as_errors():
            with closing(self._app.store()) as store:
                folder = store.find(session_id)
                texts = {each.uuid: each.text for each in prompts(folder)}
                shown = folder.journal.size()
                fold = UpdateFold(texts, terminals=self._terminals, cwd=folder.read_meta().cwd)
                session = EditorSession(self._client, fold, shown)
                claude = taken_up(
                    self._app.copy(), folder, sinks=[session.observe], permissions=session.ask,
                    partial=True,
                )  # fmt: skip
                events = takewhile(lambda event: event.end <= shown, claude.events())
                while some := await asyncio.to_thread(_next_updates, events, fold):
                    for update in some if shows else ():
                        await self._client.session_update(session_id=session_id, update=update)
            if folder.has_ended():
                fold.start_again()
            await self._begin(session, claude)
        return session

    def _infos(self, cwd: str | None) -> list[SessionInfo]:
        found: list[SessionInfo] = []
        if "\0" in (cwd or ""):
            raise UsageError(f"{cwd!r} is no folder")
        with closing(self._app.store()) as store:
            for folder in store.sessions():
                try:
                    found += _info(folder, cwd)
                except StorageError as error:
                    warn(folder, error)
                if len(found) == _MOST_LISTED:
                    break
        return found


def _info(folder: SessionFolder, cwd: str | None) -> list[SessionInfo]:
    """Return what an editor lists of a session; nothing where that works in another folder.

    Args:
        cwd: the folder; None for any.
    """
    meta = folder.read_meta()
    if cwd is not None and os.path.realpath(meta.cwd) != os.path.realpath(cwd):
        return []
    last = last_prompt(folder)
    return [
        SessionInfo(
            session_id=meta.session_id,
            cwd=meta.cwd,
            title=one_line(last.text)[:80] if last else None,
            updated_at=datetime.fromtimestamp(meta.created_at, UTC).isoformat(),
        )
    ]


@contextmanager
def _as_errors() -> Iterator[None]:
    """Turn an error of ours into one of the protocol, with its text."""
    try:
        yield
    except (MPMError, OSError) as error:
        raise protocol.RequestError(-32000, str(error)) from error


def _next_updates(events: Iterator[Event], fold: UpdateFold) -> list[Any]:
    """Return the updates of the next events that make any; none at their end."""
    for event in events:
        updates = [each for each in fold.observe(event) if not isinstance(each, PromptBegun)]
        if updates:
            return updates
    return []


def _refuse_servers(given: dict[str, Any]) -> None:
    if given.get("mcp_servers"):
        message = "MCP servers of the editor are not handed on; give Claude its own"
        raise protocol.RequestError.invalid_params({"error": message})


def text_of(blocks: Sequence[Any]) -> str:
    """Return the text of a prompt: files that are linked by their path, embedded ones whole."""
    parts = []
    for block in blocks:
        if block.type == "text":
            parts.append(block.text)
        elif block.type == "resource_link":
            parts.append(_path_of(block.uri))
        elif block.type == "resource" and hasattr(block.resource, "text"):
            name = _path_of(block.resource.uri)
            parts.append(f"\n{name}:\n```\n{block.resource.text}\n```\n")
        else:
            message = f"a prompt cannot have a block of the type {block.type}"
            raise protocol.RequestError.invalid_params({"error": message})
    return "".join(parts)


def _path_of(uri: str) -> str:
    """Return the path of a file, as Claude's tools take it; another address as it is."""
    if not uri.startswith("file://"):
        return uri
    parts = urlsplit(uri)
    lines = f"#{parts.fragment}" if parts.fragment else ""  # which of them, as editors say it
    return unquote(parts.path) + lines


_STOP_REASONS: dict[Outcome, StopReason] = {
    Outcome.COMPLETED: "end_turn",
    Outcome.INTERRUPTED: "cancelled",
}


def _response(turn: Turn) -> PromptResponse:
    """Return how a turn ended.

    Raises:
        RequestError: it failed.
    """
    verdict = turn.verdict
    reason = _STOP_REASONS.get(verdict.outcome)
    last = turn.results[-1] if turn.results else None
    if last is not None and last.subtype == "error_max_turns":
        reason = "max_turn_requests"
    if reason is None:
        raise protocol.RequestError(-32000, str(verdict))
    usage = None
    if last is not None:
        usage = Usage(
            total_tokens=last.tokens,
            input_tokens=last.input_tokens,
            output_tokens=last.output_tokens,
            cached_read_tokens=last.cache_read_tokens,
            cached_write_tokens=last.cache_write_tokens,
        )
    return PromptResponse(stop_reason=reason, usage=usage)
