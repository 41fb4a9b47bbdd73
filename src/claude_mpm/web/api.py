"""The HTTP API: what each path does, and the description of all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from claude_mpm.errors import (
    BudgetExceeded,
    ClaudeNotFound,
    LaunchError,
    MPMError,
    NotOwner,
    QuestionOver,
    SessionEnded,
    UnknownSession,
    UsageError,
)
from claude_mpm.printable import one_line
from claude_mpm.validation import NOT_JSON
from claude_mpm.web.models import Problem

if TYPE_CHECKING:
    from starlette.requests import Request

    from claude_mpm.redaction import Redactor

MOST_BODY = 16 << 20  # bytes of a request
_JSON = "application/json"
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (UnknownSession, 404),
    (QuestionOver, 409),
    (NotOwner, 409),
    (SessionEnded, 409),
    (BudgetExceeded, 409),
    (UsageError, 400),
    (ClaudeNotFound, 502),
    (LaunchError, 502),
    (MPMError, 500),
    (FileNotFoundError, 404),
    (OSError, 500),
)
Handler = Callable[["Request", Any], Awaitable[Any]]


@dataclass(frozen=True)
class Operation:
    """One path with one method.

    Args:
        method: of HTTP.
        path: with names in braces.
        name: of the operation.
        summary: one line.
        does: takes the request and its body, and returns what is answered.
        body: the type of the request's body; None for none.
        gives: the type of the answer; None where it is no JSON.
        media: what the answer is.
        query: what may stand in the query, with its meaning.
        is_open: whether no token is needed.
    """

    method: str
    path: str
    name: str
    summary: str
    does: Handler
    body: type[msgspec.Struct] | None = None
    gives: type[msgspec.Struct] | None = None
    media: str = _JSON
    query: dict[str, str] = field(default_factory=dict)
    is_open: bool = False

    @property
    def changes(self) -> bool:
        """Whether it needs the right to steer."""
        return self.method != "GET"


def routes(operations: list[Operation], redactor: Redactor) -> list[Route]:
    """Return what answers the operations."""
    return [
        Route(each.path, _Endpoint(each, redactor), methods=[each.method], name=each.name)
        for each in operations
    ]


class _Endpoint:
    """Answers one operation: reads the body, calls, encodes, and turns errors into answers."""

    def __init__(self, operation: Operation, redactor: Redactor) -> None:
        self._operation = operation
        self._redactor = redactor

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        from starlette.requests import Request

        response = await self._answer(Request(scope, receive, send))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        operation = self._operation
        if not operation.is_open and "web_token" not in request.scope:  # whatever path led here
            refused = Problem(error="Refused", message="you are not let in")
            return Response(msgspec.json.encode(refused), 401, media_type=_JSON)
        try:
            unknown = sorted(set(request.query_params) - set(operation.query))
            if unknown:
                raise UsageError(f"no such parameter: {', '.join(unknown)[:200]}")
            body = await read_body(request, operation.body) if operation.body else None
            found = await operation.does(request, body)
        except (MPMError, OSError) as error:
            return self._problem(error)
        if isinstance(found, Response):
            return found
        return Response(msgspec.json.encode(found), media_type=_JSON)

    def _problem(self, error: Exception) -> Response:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        message = one_line(self._redactor.text(str(error)))
        problem = Problem(error=type(error).__name__, message=message)
        return Response(msgspec.json.encode(problem), status, media_type=_JSON)


async def read_body(request: Request, kind: type[msgspec.Struct]) -> Any:
    """Return the body of a request.

    Raises:
        UsageError: it is none of that kind.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise UsageError(f"the body must be {_JSON}")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BODY:
            raise UsageError(f"the body has more than {MOST_BODY} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    except (UnicodeDecodeError, *NOT_JSON) as error:
        raise UsageError(f"the body cannot be read: {error}") from error


async def waiting(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call what may wait in a thread, and return what it returns."""
    return await run_in_threadpool(function, *arguments, **named)


def streamed(messages: AsyncIterator[bytes]) -> Response:
    """Return an answer of server-sent events."""
    headers = {"x-accel-buffering": "no"}  # a proxy must not gather them
    return StreamingResponse(_quiet(messages), media_type="text/event-stream", headers=headers)


async def _quiet(messages: Any) -> AsyncIterator[bytes]:
    """Yield messages; where the journal cannot be read any more, say so and end."""
    async with aclosing(messages):
        try:
            async for message in messages:
                yield message
        except (MPMError, OSError) as error:
            text = msgspec.json.encode({"message": one_line(error)})
            yield b"event: problem\ndata: %b\n\n" % text


def number(request: Request, name: str) -> int | None:
    """Return a number of the query; None where it is not given.

    Raises:
        UsageError: it is none.
    """
    given = request.query_params.get(name)
    if given is None or given == "":
        return None
    if not given.isascii() or not given.isdecimal() or len(given) > 15:
        raise UsageError(f"{name} is not a number: {given[:40]!r}")
    return int(given)


def description(operations: list[Operation], version: str) -> dict[str, Any]:
    """Return the OpenAPI description of operations."""
    kinds = [k for each in operations for k in (each.body, each.gives) if k is not None]
    found, components = msgspec.json.schema_components(
        [*dict.fromkeys(kinds), Problem], ref_template="#/components/schemas/{name}"
    )
    schemas = dict(zip([*dict.fromkeys(kinds), Problem], found, strict=True))
    paths: dict[str, Any] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _describe(each, schemas)
    bearer = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "claude-mpm web",
            "version": version,
            "description": "Everything that is recorded, and what can be done to it.",
        },
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": bearer}},
        "security": [{"token": []}],
    }


def _describe(operation: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    text: dict[str, Any] = {"type": "string"}
    parameters = [{"name": n, "in": "path", "required": True, "schema": text} for n in names]
    parameters += [
        {"name": n, "in": "query", "description": meaning, "schema": text}
        for n, meaning in operation.query.items()
    ]
    if operation.changes:
        parameters.append(
            {"name": "X-Claude-MPM", "in": "header", "required": True, "schema": text}
        )
    content = {operation.media: {"schema": schemas[operation.gives]} if operation.gives else {}}
    problem = {"description": "Why not", "content": {_JSON: {"schema": schemas[Problem]}}}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {"200": {"description": "Done", "content": content}, "default": problem},
    }
    if operation.body is not None:
        body = {_JSON: {"schema": schemas[operation.body]}}
        described["requestBody"] = {"required": True, "content": body}
    if operation.is_open:
        described["security"] = []
    return described
