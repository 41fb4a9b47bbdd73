"""`claude-mpm orchestrators check`: whether an orchestrator keeps every contract."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.options import common_options
from claude_mpm.cli.output import echo, styled
from claude_mpm.errors import UsageError
from claude_mpm.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.testing.check import Result

_COLOURS = {"passed": "green", "failed": "red", "not meant": "yellow"}


@click.command()
@click.argument("name")
@click.option("--only", multiple=True, metavar="CONTRACT", help="Check this contract.")
@click.option(
    "--model-port", type=int, default=0, metavar="N",
    help="The port that the model listens on, where one is led there; any by default.",
)  # fmt: skip
@common_options
@click.pass_context
def check(context: click.Context, name: str, only: tuple[str, ...], model_port: int) -> None:
    """Run the real Claude Code many times, and say which contracts an orchestrator keeps.

    A model that plays a script on this machine's loopback interface stands behind Claude Code:
    there is no key and no cost. Arguments of the orchestrator are given with -o NAME=VALUE.
    """
    from claude_mpm.testing.check import attempt, chosen

    app = context.ensure_object(App)
    make = _maker(app, name)
    results = []
    for contract in chosen(only):
        results.append(attempt(contract, make, is_place=False, model_port=model_port))
        if not app.json:
            _print(results[-1], quiet=app.quiet)
    if app.json:
        app.print_json(results)
    failed = [result.contract for result in results if result.state == "failed"]
    kept = len(results) - len(failed)
    app.note(f"{name} keeps {kept} of {len(results)} contracts")
    context.exit(1 if failed else 0)


def _maker(app: App, name: str) -> Callable[..., Any]:
    """Return what makes the orchestrator, in another process as well.

    Raises:
        UsageError: it cannot be made of these options.
    """
    from claude_mpm.orchestration import factory

    factory.load_plugins(app.settings.plugins)
    given = {"claude_path": app.settings.claude_path, "cwd": app.settings.cwd}
    options = {name: value for name, value in given.items() if value is not None}
    make = functools.partial(factory.find_orchestrator(name).cls, **{**options, **app.options})
    try:
        make()
    except TypeError as error:
        raise UsageError(
            f"orchestrator {name!r} cannot be made: {error}; give what it needs with -o NAME=VALUE"
        ) from error
    return make


def _print(result: Result, *, quiet: bool) -> None:
    """Print a line as soon as there is something to say; failures alone where it is quiet."""
    if quiet and result.state != "failed":
        return
    cells = (result.state, result.contract, f"{result.seconds:.2f}", one_line(result.why))
    if not sys.stdout.isatty():
        echo("\t".join(cells))
        return
    state = styled(f"{result.state:9}", fg=_COLOURS[result.state])
    echo(state, f"  {result.contract}  ", styled(f"{result.seconds:.1f} s", dim=True))
    if result.why:
        echo(f"           {one_line(result.why)}")
