"""What stands before every request: which host, which origin, whose token, what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from claude_mpm.errors import StorageError
from claude_mpm.web.tokens import holds_key

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from claude_mpm.web.tokens import WebToken, WebTokens

HEADER = "x-claude-mpm"
LOGIN = "/api/login"
_LOOKS = ("GET", "HEAD")
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
SAFETY = {
    "content-security-policy": _CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Place:
    """Where the page is reached.

    Args:
        hosts: what a request's `Host` may be, in lower case, with the port where it is needed.
        scheme: "http", or "https" with TLS here or in the proxy before it.
        cookie: the name of the browser's cookie; the same for every server of one state folder.
    """

    hosts: frozenset[str]
    scheme: str
    cookie: str


class Refused(Exception):
    """A request that is not let in.

    Args:
        status: of HTTP.
        reason: one line.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Guard:
    """Lets in what may come in, and marks every answer as safe to be shown.

    Args:
        app: what it stands before.
        place: where the page is reached.
        tokens: who may use it.
    """

    def __init__(self, app: ASGIApp, place: Place, tokens: WebTokens) -> None:
        self._app = app
        self._place = place
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return  # neither web sockets nor anything else is spoken here

        async def mark_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SAFETY)
            await send(message)

        try:
            self._check(scope)
        except (Refused, StorageError) as refused:
            body = {"error": type(refused).__name__, "message": str(refused)}
            status = getattr(refused, "status", 500)
            await JSONResponse(body, status)(scope, receive, mark_safe)
            return
        await self._app(scope, receive, mark_safe)

    def _check(self, scope: Scope) -> None:
        """Refuse a request, or keep its token in `scope`.

        Raises:
            Refused: it is not let in.
            StorageError: the tokens cannot be read.
        """
        headers = Headers(scope=scope)
        host = _only(headers, "host")
        if host.lower() not in self._place.hosts:
            raise Refused(421, f"no page for the host {host[:100]!r}; use the printed address")
        path: str = scope["path"]
        if not path.startswith("/api/"):
            if scope["method"] not in _LOOKS:
                raise Refused(405, "this can only be looked at")
            return
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refused(403, "another site asked for this")
        origin = _only(headers, "origin")
        if origin and origin != f"{self._place.scheme}://{host.lower()}":
            raise Refused(403, f"the origin {origin[:100]!r} is not this page")
        changes = scope["method"] not in _LOOKS
        if changes and not headers.get(HEADER):
            raise Refused(403, f"a change needs the header {HEADER}")
        if path == LOGIN:
            if not origin:
                raise Refused(403, "a change from a browser needs an origin")
            return
        token = self._token(headers, changes=changes, has_origin=bool(origin))
        if changes and token.role == "read":
            raise Refused(403, "this token may look, and change nothing")
        scope["web_token"] = token

    def _token(self, headers: Headers, *, changes: bool, has_origin: bool) -> WebToken:
        """Return the token of a request: a program's own, or a browser's cookie with its key."""
        scheme, _, given = _only(headers, "authorization").partition(" ")
        if scheme.lower() == "bearer":
            token = self._tokens.find(given.strip())
            if token is None or token.is_browser:
                raise Refused(401, "the token is not valid; claude-mpm web token add NAME")
            return token
        token = self._tokens.find(_cookie(headers, self._place.cookie))
        if token is None or not holds_key(token, headers.get(HEADER, "")):
            raise Refused(401, "you are not let in; claude-mpm web link prints a way in")
        if changes and not has_origin:
            raise Refused(403, "a change from a browser needs an origin")
        return token


def _only(headers: Headers, name: str) -> str:
    """Return a header that may stand there once at most.

    Raises:
        Refused: it stands there twice.
    """
    values = headers.getlist(name)
    if len(values) > 1:
        raise Refused(400, f"the header {name} is given twice")
    return values[0] if values else ""


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def allowed_hosts(address: str, port: int, names: tuple[str, ...]) -> frozenset[str]:
    """Return what `Host` may be for a server.

    Args:
        address: where it listens.
        names: further names under which it is reached, with a port where that is another.
    """
    own = f"[{address}]" if ":" in address else address
    hosts = [own, "localhost", "127.0.0.1", "[::1]"]
    given = [name.lower() for name in names]
    found = {f"{host}:{port}".lower() for host in hosts}
    for name in given:
        has_port = urlsplit(f"//{name}").port is not None
        found |= {name} if has_port else {name, f"{name}:{port}"}
    return frozenset(found)
