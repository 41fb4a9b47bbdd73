"""`claude-mpm orchestrators`: what is registered, from where, and whether it keeps its promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.check_orchestrator import check
from claude_mpm.cli.list_commands import ListGroup
from claude_mpm.cli.new_orchestrator import new
from claude_mpm.cli.options import common_options
from claude_mpm.cli.output import echo
from claude_mpm.printable import one_line

if TYPE_CHECKING:
    from claude_mpm.orchestration.factory import Registration


@click.group(cls=ListGroup)
def orchestrators() -> None:
    """List what can stand behind --orchestrator, check it, and make a new one."""


@orchestrators.command("list")
@common_options
@click.pass_context
def list_(context: click.Context) -> None:
    """List what is registered, and where it comes from."""
    from claude_mpm.orchestration import factory

    app = context.ensure_object(App)
    factory.load_plugins(app.settings.plugins)
    rows = [_row(registration) for registration in factory.orchestrators()]
    for error in factory.failed_orchestrators().values():
        echo(f"claude-mpm: {one_line(error)}", err=True)
    if app.json:
        app.print_json(rows)
    else:
        app.print_table(("name", "class", "from", "what"), [tuple(row.values()) for row in rows])


orchestrators.add_command(check)
orchestrators.add_command(new)


def _row(registration: Registration) -> dict[str, Any]:
    cls = registration.cls
    return {
        "name": registration.name,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "from": registration.source,
        # Not inspect.getdoc: a class without words of its own must not borrow its parent's.
        "what": (cls.__doc__ or "").strip().partition("\n")[0],
    }
