"""`claude-mpm serve`: a server that hosts sessions for other machines, and its tokens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.options import common_options, state_dir_option
from claude_mpm.cli.output import echo, log_to_stderr, minute
from claude_mpm.errors import MPMError, UsageError

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.server.connection_handler import ServerContext
    from claude_mpm.server.tokens import Tokens

_file = click.Path(path_type=Path)
_state_dir = state_dir_option("The folder of the sessions and tokens.")


@click.group(invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=int, default=0, metavar="N", help="The port; 0, the default, for any.")
@click.option("--tls-cert", type=_file, metavar="FILE", help="The server's certificate.")
@click.option("--tls-key", type=_file, metavar="FILE", help="Its private key.")
@click.option("--client-ca", type=_file, metavar="FILE", help="Who signs clients' certificates.")
@click.option("--anonymous", is_flag=True, help="Let in clients without a token; loopback only.")
@click.option(
    "--root",
    "roots",
    multiple=True,
    metavar="DIR",
    help="A folder below which clients may work; again for more. The current one.",
)
@_state_dir
@common_options
@click.pass_context
def serve(
    context: click.Context,
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
    anonymous: bool,
    roots: tuple[str, ...],
) -> None:
    """Host sessions for other machines, until SIGTERM; its sessions stay.

    Who connects needs a token, made with `claude-mpm serve token add`. A token is as good as a
    shell in the place of its sessions. Without TLS, only this machine can connect.
    """
    if context.invoked_subcommand is not None:
        return
    from claude_mpm.server.admission import REPORTS_PEER_UID
    from claude_mpm.server.listening import listen, server_certificate

    app = context.ensure_object(App)
    tls = server_certificate(tls_cert, tls_key, client_ca)
    server_context = _server_context(app, tls, anonymous, roots)
    listener = listen(host, port, tls=tls is not None, anonymous=anonymous)
    level = "DEBUG" if app.verbose else "WARNING" if app.quiet else "INFO"
    log_to_stderr(level, "claude_mpm.server")
    if anonymous and not REPORTS_PEER_UID:
        echo("--anonymous: every user of this machine can run commands as you", err=True)
    _run(listener, app, server_context)


def _server_context(app: App, tls: Any, anonymous: bool, roots: Sequence[str]) -> ServerContext:
    """Return what the server's connections share, from the settings."""
    from claude_mpm.server.admission import Authenticator
    from claude_mpm.server.connection_handler import ServerContext
    from claude_mpm.server.session_manager import SessionManager

    store = app.store()

    def make_orchestrator(session_id: str, **settings: Any) -> MPMOrchestrator:
        session_app = app.copy(**settings, state_dir=str(store.path))
        session_app.options["session_id"] = session_id
        return session_app.orchestrator()

    sessions = SessionManager(
        store,
        app.orchestrator().environment,
        orchestrator=app.settings.orchestrator,
        claude_path=app.settings.claude_path,
        cwd=app.settings.cwd,
        roots=roots,
    )
    authenticator = Authenticator(_tokens(app), allow_anonymous=anonymous)
    return ServerContext(authenticator, sessions, make_orchestrator, tls)


def _run(listener: socket.socket, app: App, context: ServerContext) -> None:
    import asyncio

    from claude_mpm.folders import make_private
    from claude_mpm.server.server import Server

    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    state_dir = app.store().path
    make_private(state_dir)
    server = Server(listener, context, state_dir)
    asyncio.run(server.run(lambda: echo(f"listening on {shown}:{port}")))


def _tokens(app: App) -> Tokens:
    from claude_mpm.server.tokens import Tokens

    return Tokens(app.store().path)


@serve.group()
def token() -> None:
    """Make, list and revoke tokens."""


@token.command()
@click.argument("name")
@click.option("--sessions", type=int, metavar="N", help="How many may run at once; 8.")
@click.option("--message-bytes", type=int, metavar="N", help="The longest message; 16 MiB.")
@click.option("--rate", type=float, metavar="N", help="Messages a second; 200.")
@click.option("--idle", type=float, metavar="SECONDS", help="The longest silence; 3600.")
@click.option("--claude-config", metavar="DIR", help="Claude's own settings folder for it.")
@click.option("--output", type=_file, metavar="FILE", help="Write it to a new file of mode 0600.")
@_state_dir
@common_options
@click.pass_context
def add(
    context: click.Context,
    /,
    name: str,
    claude_config: str | None,
    output: Path | None,
    **limits: Any,
) -> None:
    """Make a token and print it, this once.

    NAME says whose it is. Give it to a client in a file that only its user can read.
    """
    import msgspec

    from claude_mpm.server.tokens import TokenLimits

    options = {key: value for key, value in limits.items() if value is not None}
    try:
        token_limits = msgspec.convert(options, TokenLimits)
    except msgspec.ValidationError as error:
        raise UsageError(f"no such limit: {error}") from error
    config = str(Path(claude_config).expanduser().absolute()) if claude_config else ""
    tokens = _tokens(context.ensure_object(App))
    if output is None:
        echo(tokens.add(name, token_limits, config))
        return
    with _new_file(output) as file:
        try:
            file.write(f"{tokens.add(name, token_limits, config)}\n")
        except MPMError:
            output.unlink()
            raise


def _new_file(path: Path) -> TextIO:
    """Open a file that was not there before, which this user alone can read under any umask.

    Raises:
        UsageError: it is there already, or cannot be made.
    """
    try:
        return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
    except OSError as error:
        raise UsageError(f"--output {path}: {error.strerror}; name a new file") from error


@token.command("list")
@_state_dir
@common_options
@click.pass_context
def list_(context: click.Context) -> None:
    """List the tokens, without what they are."""
    import msgspec

    app = context.ensure_object(App)
    tokens = _tokens(app).all()
    if app.json:
        kept = ("name", "id", "created_at", "limits", "claude_config")
        app.print_json(
            [{key: msgspec.to_builtins(getattr(t, key)) for key in kept} for t in tokens]
        )
        return
    rows = [
        (
            each.name,
            each.id,
            minute(each.created_at),
            *(f"{value:g}" for value in msgspec.structs.astuple(each.limits)),
        )
        for each in tokens
    ]
    app.print_table(
        ("name", "id", "made", "sessions", "message bytes", "messages/s", "idle seconds"), rows
    )


@token.command()
@click.argument("name")
@_state_dir
@common_options
@click.pass_context
def revoke(context: click.Context, name: str) -> None:
    """Make the token NAME invalid; its connections end, and its sessions by their linger rule."""
    _tokens(context.ensure_object(App)).revoke(name)
