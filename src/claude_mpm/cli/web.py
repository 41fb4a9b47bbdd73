"""`claude-mpm web`: a page to watch and steer all sessions, and who may open it."""

from __future__ import annotations

import hashlib
import webbrowser
from contextlib import closing, contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.options import common_options, state_dir_option
from claude_mpm.cli.output import echo, log_to_stderr, minute
from claude_mpm.errors import UsageError

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.web.application import Page
    from claude_mpm.web.guard import Place
    from claude_mpm.web.tokens import Role, WebTokens

_file = click.Path(path_type=Path)
_read_only = click.option("--read-only", is_flag=True, help="To look, and to change nothing.")
_state_dir = state_dir_option("The folder of the sessions.")


@click.group(invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=int, default=0, metavar="N", help="The port; 0, the default, for any.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@click.option("--tls-cert", type=_file, metavar="FILE", help="The server's certificate.")
@click.option("--tls-key", type=_file, metavar="FILE", help="Its private key.")
@click.option(
    "--behind-proxy", is_flag=True, help="A proxy of yours speaks TLS and hands on `Host`."
)
@click.option(
    "--allow-host", "names", multiple=True, metavar="NAME",
    help="A further name under which the page is reached.",
)  # fmt: skip
@_read_only
@_state_dir
@common_options
@click.pass_context
def web(context: click.Context, /, opens: bool, read_only: bool, **where: Any) -> None:
    """Open a page over all sessions, until Ctrl-C; the sessions stay.

    It prints a link that lets one browser in, once. Whoever is let in can do what you can do with
    `claude-mpm`, so only this machine can connect, unless there is TLS.
    """
    if context.invoked_subcommand is not None:
        return
    _check_extra()
    from claude_mpm.server.listening import server_certificate

    app = context.ensure_object(App)
    tls = server_certificate(where["tls_cert"], where["tls_key"], None)
    listener, place = _listen(app, tls, **where)
    log_to_stderr("DEBUG" if app.verbose else "WARNING", "claude_mpm.web", "uvicorn.error")
    _serve(app, listener, place, tls, role="read" if read_only else "steer", opens=opens)


def _check_extra() -> None:
    """Raise a `UsageError` where the packages of the page are not installed."""
    try:
        import starlette
        import uvicorn  # noqa: F401 -- asked for its presence alone
    except ImportError as error:
        raise UsageError(
            f"the page needs {error.name}, which the extra `web` brings:"
            " from a checkout, pip install '.[web]'"
        ) from error
    del starlette


def _listen(
    app: App,
    tls: ssl.SSLContext | None,
    *,
    host: str,
    port: int,
    behind_proxy: bool,
    names: tuple[str, ...],
    **_: Any,
) -> tuple[socket.socket, Place]:
    from claude_mpm.server.listening import listen
    from claude_mpm.web.guard import Place, allowed_hosts

    if behind_proxy and not names:
        raise UsageError("--behind-proxy needs --allow-host NAME: under which name it is reached")
    listener = listen(host, port, tls=tls is not None or behind_proxy, anonymous=False)
    address, number = listener.getsockname()[:2]
    state = hashlib.sha256(str(app.store().path).encode()).hexdigest()[:8]
    place = Place(
        hosts=allowed_hosts(address, number, names),
        scheme="https" if tls is not None or behind_proxy else "http",
        cookie=f"claude_mpm_{state}",
    )
    return listener, place


def _serve(
    app: App,
    listener: socket.socket,
    place: Place,
    tls: ssl.SSLContext | None,
    *,
    role: Role,
    opens: bool,
) -> None:
    import asyncio

    from claude_mpm.cli.elsewhere import named_places
    from claude_mpm.web.application import Page
    from claude_mpm.web.elsewhere import Elsewhere
    from claude_mpm.web.running import listed
    from claude_mpm.web.serving import serve

    store, tokens, url = app.store(), _tokens(app), _url(listener, place)
    elsewhere = Elsewhere(store, named_places(app), app.settings.plugins)
    page = Page(store, tokens, place, _Sessions(app), app.redactor, elsewhere)
    link = f"{url}/#{tokens.make_link_code(role)}"

    def ready() -> None:
        echo(f"the page is at {url}; this link lets one browser in, once, within 5 minutes:")
        echo(link)

    with listed(tokens.file.parent, url), _opened(tokens.file.parent, link if opens else ""):
        try:
            asyncio.run(serve(page, listener, tls, ready))
        finally:
            store.close()


@contextmanager
def page_beside(app: App) -> Iterator[tuple[Page, str]]:
    """Serve the page on this machine within the block; yield it, and a link for one browser.

    Raises:
        UsageError: its packages are not installed.
    """
    _check_extra()
    from claude_mpm.web.application import Page
    from claude_mpm.web.running import listed
    from claude_mpm.web.serving import served_beside

    listener, place = _listen(app, None, host="127.0.0.1", port=0, behind_proxy=False, names=())
    url, tokens = _url(listener, place), _tokens(app)
    with closing(app.store()) as store, listed(tokens.file.parent, url):
        page = Page(store, tokens, place, _Sessions(app), app.redactor)
        with served_beside(page, listener):
            yield page, f"{url}/#{tokens.make_link_code('steer')}"


def _url(listener: socket.socket, place: Place) -> str:
    host, port = listener.getsockname()[:2]
    return f"{place.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


@contextmanager
def _opened(folder: Path, link: str) -> Iterator[None]:
    """Open a link in the browser; it goes by a file, since others see what a command is given."""
    if not link:
        yield
        return
    from claude_mpm.journal.storage import write_whole

    file = folder / "open.html"
    safe = escape(link, quote=True)
    text = f'<!doctype html><meta http-equiv="refresh" content="0; url={safe}"><title></title>'
    write_whole(file, text.encode())
    if not webbrowser.open(file.as_uri()):
        echo("there is no browser to open; use the link", err=True)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


class _Sessions:
    """Takes sessions up as the commands do, with what each was started with."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._state_dir = str(app.store().path)

    def __call__(self, folder: SessionFolder, **options: object) -> MPMOrchestrator:
        """Return an orchestrator for a session."""
        from claude_mpm.cli.session_arg import taken_up

        one = self._app.copy(silent=True, state_dir=self._state_dir)
        return taken_up(one, folder, **options)


def _tokens(app: App) -> WebTokens:
    from claude_mpm.web.tokens import WebTokens

    return WebTokens(app.store().path / "web")


@web.command("list")
@_state_dir
@common_options
@click.pass_context
def list_(context: click.Context) -> None:
    """List the pages that are open on this machine."""
    from claude_mpm.web.running import running_servers

    app = context.ensure_object(App)
    found = running_servers(_tokens(app).file.parent)
    if app.json:
        app.print_json(found)
    elif found:
        rows = [(each.url, each.pid, minute(each.started_at)) for each in found]
        app.print_table(("page", "process", "since"), rows)
    else:
        app.note("no page is open; claude-mpm web opens one")


@web.command()
@_read_only
@_state_dir
@common_options
@click.pass_context
def link(context: click.Context, read_only: bool) -> None:
    """Print a link that lets one more browser into the page, once."""
    from claude_mpm.web.running import running_servers

    app = context.ensure_object(App)
    tokens = _tokens(app)
    servers = running_servers(tokens.file.parent)
    if not servers:
        raise UsageError("no page is open; claude-mpm web opens one")
    code = tokens.make_link_code("read" if read_only else "steer")
    echo(f"{servers[-1].url}/#{code}")


@web.group()
def token() -> None:
    """Make, list and revoke tokens for programs, and let browsers in no more."""


@token.command()
@click.argument("name")
@_read_only
@_state_dir
@common_options
@click.pass_context
def add(context: click.Context, name: str, read_only: bool) -> None:
    """Make a token for a program and print it, this once; NAME says whose it is."""
    echo(_tokens(context.ensure_object(App)).add(name, "read" if read_only else "steer"))


@token.command("list")
@_state_dir
@common_options
@click.pass_context
def list_tokens(context: click.Context) -> None:
    """List the tokens and the browsers that are let in, without what they are."""
    app = context.ensure_object(App)
    tokens = _tokens(app).all()
    if app.json:
        kept = ("name", "id", "role", "created_at", "expires_at")
        app.print_json([{key: getattr(each, key) for key in kept} for each in tokens])
        return
    rows = [
        (each.name, each.id, each.role, minute(each.created_at), minute(each.expires_at))
        for each in tokens
    ]
    app.print_table(("name", "id", "may", "made", "until"), rows)


@token.command()
@click.argument("name", metavar="NAME|ID")
@_state_dir
@common_options
@click.pass_context
def revoke(context: click.Context, name: str) -> None:
    """Make a token invalid, by its name or id; "browser" stands for all browsers."""
    _tokens(context.ensure_object(App)).revoke(name)
