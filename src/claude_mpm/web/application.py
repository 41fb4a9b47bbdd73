"""The page and its API as one application."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from claude_mpm import __version__
from claude_mpm.errors import UnknownSession, UsageError
from claude_mpm.web import models
from claude_mpm.web.api import Operation, description, number, routes, streamed, waiting
from claude_mpm.web.batches import read_batch, read_batches
from claude_mpm.web.elsewhere import Elsewhere
from claude_mpm.web.events import read_page
from claude_mpm.web.fleet import Fleet
from claude_mpm.web.guard import LOGIN, Guard
from claude_mpm.web.rows import read_detail, read_prompts, read_requests
from claude_mpm.web.steering import Steering
from claude_mpm.web.streams import JournalStream, fleet_messages
from claude_mpm.web.tokens import BROWSER_SECONDS, Admission, WebToken, WebTokens
from claude_mpm.web.watches import Watches

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.redaction import Redactor
    from claude_mpm.sessions.store import Store
    from claude_mpm.web.guard import Place
    from claude_mpm.web.steering import TakesUp

_MOST_JOURNAL = 8 << 20  # bytes of a journal in one answer
_MEDIA = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_REFUSED = {"error": "UsageError", "message": "there is nothing here"}


class Page:
    """Everything that is served.

    Args:
        store: the sessions.
        tokens: who may use it.
        place: where it is reached.
        take_up: makes orchestrators of sessions.
        redactor: takes what is secret here out of errors.
        elsewhere: knows the sessions of other machines.

    Attributes:
        visited: set as soon as a browser has been let in; others wait for it.
    """

    def __init__(
        self,
        store: Store,
        tokens: WebTokens,
        place: Place,
        take_up: TakesUp,
        redactor: Redactor,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._place = place
        self._redactor = redactor
        self.visited = threading.Event()
        self._elsewhere = elsewhere or Elsewhere(store, (), ())
        self._watches = Watches()
        self.fleet = Fleet(store, self._watches)
        self.steering = Steering(store, take_up)
        self.operations = [*_looks(self), *_changes(self)]

    def application(self) -> ASGIApp:
        """Return the application, behind its guard."""
        described = description(self.operations, __version__)
        known = [
            *routes(self.operations, self._redactor),
            Route("/api/openapi.json", _Fixed(described)),
            *_static_routes(),
        ]
        inner = Starlette(routes=known, exception_handlers={404: _nothing, 405: _nothing})
        return Guard(inner, self._place, self._tokens)

    async def keep(self) -> None:
        """Keep the rows true until it is cancelled."""
        with suppress(asyncio.CancelledError):
            await self.fleet.run()

    def end(self) -> None:
        """Let every stream end."""
        self._watches.end()

    # --- looking ----------------------------------------------------------------------------

    async def whoami(self, request: Request, _: None) -> models.Whoami:
        """Say who asks."""
        token = _token(request)
        return models.Whoami(name=token.name, role=token.role, version=__version__)

    async def sessions(self, request: Request, _: None) -> models.SessionList:
        """List the sessions."""
        return models.SessionList(sessions=self.fleet.rows(), complete=self.fleet.complete)

    async def elsewhere(self, request: Request, _: None) -> models.ElsewhereList:
        """List the sessions of other machines."""
        return await self._elsewhere.known()

    async def session_changes(self, request: Request, _: None) -> Response:
        """Stream the rows that change."""
        last = request.headers.get("last-event-id", "")
        messages = fleet_messages(self.fleet, self._watches, last, self._admission(request))
        return streamed(messages)

    async def session(self, request: Request, _: None) -> Any:
        """Show one session."""
        return await waiting(read_detail, self._store, self._folder(request))

    async def events(self, request: Request, _: None) -> Any:
        """Read lines of a journal."""
        given = {name: number(request, name) for name in ("since", "before", "limit")}
        named = {name: value for name, value in given.items() if value is not None}
        pieces = request.query_params.get("pieces", "yes") != "no"
        return await waiting(read_page, self._folder(request), pieces=pieces, **named)

    async def prompts(self, request: Request, _: None) -> models.PromptList:
        """List the prompts of a session."""
        return models.PromptList(prompts=await waiting(read_prompts, self._folder(request)))

    async def event_stream(self, request: Request, _: None) -> Response:
        """Stream a journal."""
        last = request.headers.get("last-event-id", "")
        since = int(last) if last.isascii() and last.isdecimal() else number(request, "since")
        stream = JournalStream(self._folder(request), since or 0, self._admission(request))
        return streamed(stream.messages(self._watches))

    async def journal(self, request: Request, _: None) -> Response:
        """Give a part of a journal as it is."""
        folder = self._folder(request)
        begin, end = number(request, "begin") or 0, number(request, "end")
        size = folder.journal.size() if end is None else end
        most = min(max(0, size - begin), _MOST_JOURNAL)
        data = await waiting(folder.journal.read, most, begin)
        headers = {"content-disposition": "attachment; filename=journal.txt"}
        return Response(data, media_type="text/plain", headers=headers)

    async def requests(self, request: Request, _: None) -> models.PermissionRequestList:
        """List what Claude waits for."""
        found: list[models.PermissionRequest] = []
        for row in self.fleet.rows():
            if row.permission_requests:
                folder = self._store.folder(row.session)
                found += await waiting(read_requests, self._store, folder)
        return models.PermissionRequestList(permission_requests=found)

    async def tickets(self, request: Request, _: None) -> models.TicketList:
        """List tickets."""
        query = request.query_params
        state, session = query.get("state") or None, query.get("session") or None
        found = await waiting(self._store.index.tickets, session, state)
        kind = query.get("type")
        return models.TicketList(tickets=[t for t in found if not kind or t.type == kind])

    async def batches(self, request: Request, _: None) -> Any:
        """List batches."""
        return await waiting(read_batches, self._store)

    async def batch(self, request: Request, _: None) -> Any:
        """Show one batch."""
        return await waiting(read_batch, self._store, request.path_params["batch"])

    # --- changing ---------------------------------------------------------------------------

    async def login(self, request: Request, body: models.Login) -> Response:
        """Let a browser in, once for each link."""
        taken = await waiting(self._tokens.redeem, body.code)
        if taken is None:
            refused = {
                "error": "Refused",
                "message": "this link was used or is too old; claude-mpm web link prints another",
            }
            return JSONResponse(refused, 401)
        secret, key, token = taken
        self.visited.set()
        answer = Response(
            msgspec.json.encode(models.LoggedIn(key=key, role=token.role)),
            media_type="application/json",
        )
        answer.set_cookie(
            self._place.cookie,
            secret,
            max_age=int(BROWSER_SECONDS),
            httponly=True,
            samesite="strict",
            secure=self._place.scheme == "https",
        )
        return answer

    async def logout(self, request: Request, _: None) -> Response:
        """Let a browser in no more."""
        await waiting(self._tokens.revoke, _token(request).id)
        answer = Response(
            msgspec.json.encode(models.Done(message="left")), media_type="application/json"
        )
        answer.delete_cookie(self._place.cookie, httponly=True, samesite="strict")
        return answer

    async def prompt(self, request: Request, body: models.NewPrompt) -> Any:
        """Give a prompt."""
        folder = self._folder(request)
        put = await waiting(self.steering.prompt, folder, body.text, command=body.command)
        self.fleet.touch(folder.path.name)
        return put

    async def interrupt(self, request: Request, _: None) -> models.Done:
        """Interrupt a turn."""
        folder = self._folder(request)
        await waiting(self.steering.interrupt, folder)
        return models.Done(message="asked to stop its turn")

    async def stop(self, request: Request, _: None) -> models.Done:
        """End a session's Claude."""
        folder = self._folder(request)
        how = await waiting(self.steering.stop, folder)
        self.fleet.touch(folder.path.name)
        return models.Done(message=how)

    async def answer(self, request: Request, body: models.GivenAnswer) -> Any:
        """Answer a permission request."""
        folder = self._folder(request)
        name = request.path_params["request"]
        try:
            return await waiting(self.steering.answer, folder, name, body)
        finally:
            self.fleet.touch(folder.path.name)

    async def set_ticket_state(self, request: Request, body: models.TicketState) -> models.Done:
        """Close a ticket, or open it again."""
        folder, key = self._folder(request), request.path_params["key"]
        known = await waiting(self._store.index.tickets, folder.path.name)
        ticket = next((each for each in known if each.key == key), None)
        if ticket is None:
            raise UsageError(f"no ticket {key[:100]!r} in this session")
        if ticket.state != body.state:
            await waiting(self._store.set_ticket_state, ticket, body.state)
        self.fleet.touch(folder.path.name)
        return models.Done(message=f"{key} {body.state}")

    def _folder(self, request: Request) -> SessionFolder:
        """Return the folder of the session that a path names whole.

        Raises:
            UnknownSession: there is none.
        """
        name = request.path_params["session"]
        try:
            folder = self._store.folder(name)
        except UsageError as error:
            raise UnknownSession(f"no session {name[:100]!r} here") from error
        if not folder.meta_file.exists() or folder.path.is_symlink():
            raise UnknownSession(f"no session {name[:100]!r} here")
        return folder

    def _admission(self, request: Request) -> Admission:
        return Admission(self._tokens, _token(request))


def _token(request: Request) -> WebToken:
    token: WebToken = request.scope["web_token"]
    return token


_AT = "/api/sessions/{session}"


def _looks(page: Page) -> list[Operation]:
    cursor = {
        "since": "the byte to begin at: 0, or the end of an event",
        "before": "the byte to end at",
        "limit": "how many lines; 200",
        "pieces": "no leaves out the pieces of messages in the making",
    }
    wanted = {"session": "of this session", "state": "open or closed", "type": "of this type"}
    part = {"begin": "the first byte", "end": "the first byte behind"}
    events = "text/event-stream"
    return [
        Operation("GET", "/api/whoami", "whoami", "Who asks", page.whoami, gives=models.Whoami),
        Operation("GET", "/api/sessions", "sessions", "All sessions", page.sessions,
                  gives=models.SessionList),
        Operation("GET", "/api/elsewhere", "elsewhere", "Sessions of other machines, as seen last",
                  page.elsewhere, gives=models.ElsewhereList),
        Operation("GET", "/api/session-changes", "sessionChanges",
                  "The rows of all sessions, and then those that change, as they change",
                  page.session_changes, media=events),
        Operation("GET", _AT, "session", "One session", page.session,
                  gives=models.SessionDetail),
        Operation("GET", f"{_AT}/events", "events", "Lines of its journal, by byte offset",
                  page.events, gives=models.EventPage, query=cursor),
        Operation("GET", f"{_AT}/event-stream", "eventStream",
                  "Lines of its journal as they come; the id of each is where the next begins",
                  page.event_stream, media=events, query={"since": cursor["since"]}),
        Operation("GET", f"{_AT}/prompts", "prompts", "The prompts that it was given",
                  page.prompts, gives=models.PromptList),
        Operation("GET", f"{_AT}/journal", "journal", "Bytes of its journal as they are",
                  page.journal, media="text/plain", query=part),
        Operation("GET", "/api/permission-requests", "permissionRequests",
                  "What Claude waits for an answer to, in all sessions", page.requests,
                  gives=models.PermissionRequestList),
        Operation("GET", "/api/tickets", "tickets", "Tickets", page.tickets,
                  gives=models.TicketList, query=wanted),
        Operation("GET", "/api/batches", "batches", "All batches", page.batches,
                  gives=models.BatchList),
        Operation("GET", "/api/batches/{batch}", "batch", "One batch with its tasks", page.batch,
                  gives=models.BatchDetail),
    ]  # fmt: skip


def _changes(page: Page) -> list[Operation]:
    return [
        Operation("POST", LOGIN, "login", "Exchange a one-time link for a cookie", page.login,
                  body=models.Login, gives=models.LoggedIn, is_open=True),
        Operation("POST", "/api/logout", "logout", "Let this browser in no more", page.logout,
                  gives=models.Done),
        Operation("POST", f"{_AT}/prompts", "prompt",
                  "Give it a prompt; Claude is started where none runs", page.prompt,
                  body=models.NewPrompt, gives=models.PromptPut),
        Operation("POST", f"{_AT}/interrupt", "interrupt", "Interrupt the turn that runs",
                  page.interrupt, gives=models.Done),
        Operation("POST", f"{_AT}/stop", "stop", "End its Claude; it can be taken up again",
                  page.stop, gives=models.Done),
        Operation("POST", f"{_AT}/permission-requests/{{request}}", "answer",
                  "Answer a permission request; the first answer stands", page.answer,
                  body=models.GivenAnswer, gives=models.AnswerKept),
        Operation("POST", f"{_AT}/tickets/{{key}}", "setTicketState",
                  "Close a ticket, or open it again", page.set_ticket_state,
                  body=models.TicketState, gives=models.Done),
    ]  # fmt: skip


class _Fixed:
    """Gives the same JSON to everybody who is let in."""

    def __init__(self, value: Any) -> None:
        self._body = msgspec.json.encode(value)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await Response(self._body, media_type="application/json")(scope, receive, send)


class _Static:
    """Gives one packaged file."""

    def __init__(self, body: bytes, media: str) -> None:
        self._body = body
        self._media = media

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await Response(self._body, media_type=self._media)(scope, receive, send)


def _static_routes() -> list[Route]:
    found = []
    for file in files("claude_mpm.web").joinpath("page").iterdir():
        media = _MEDIA.get(file.name[file.name.rfind(".") :])
        if media is None:
            continue
        path = "/" if file.name == "index.html" else f"/{file.name}"
        found.append(Route(path, _Static(file.read_bytes(), media)))
    return found


async def _nothing(request: Request, error: Exception) -> Response:
    return JSONResponse(_REFUSED, getattr(error, "status_code", 404))
