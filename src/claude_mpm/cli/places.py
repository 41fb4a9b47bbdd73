"""`claude-mpm places`: the named places, and whether they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.options import common_options
from claude_mpm.errors import UsageError

if TYPE_CHECKING:
    from claude_mpm.fleet.places import Place
    from claude_mpm.fleet.reach import Reached


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--no-check", is_flag=True, help="Only list them.")
@common_options
@click.pass_context
def places(context: click.Context, names: tuple[str, ...], no_check: bool) -> None:
    """List the places of the settings, or those called NAME, and check that they answer.

    All are asked at the same time, and each has two seconds. The status is 1 where one does not
    answer.
    """
    from claude_mpm.fleet.places import choose_places
    from claude_mpm.fleet.reach import reach_places
    from claude_mpm.orchestration.factory import load_plugins

    app = context.ensure_object(App)
    known, plugins = app.settings.places, app.settings.plugins
    load_plugins(plugins)
    chosen = choose_places(names or known, known)
    if not chosen:
        raise UsageError("no place has a name yet; add [places.NAME] to your settings.toml")
    answers = None if no_check else reach_places(chosen, plugins)
    rows = [_row(app, n, place, answers) for n, place in enumerate(chosen)]
    if app.json:
        app.print_json(rows)
    else:
        columns = [column for column in rows[0] if column != "ok"]
        app.print_table(columns, [[row[column] for column in columns] for row in rows])
    context.exit(int(any(not answer.ok for answer in answers or ())))


def _row(app: App, number: int, place: Place, answers: list[Reached] | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "place": place.name,
        "orchestrator": place.orchestrator,
        "at once": place.at_once,
        "account": place.account,
    }
    if answers is not None:
        answer = answers[number]
        said = app.redactor.text(answer.reason)
        row["answer"] = f"{answer.seconds:.2f} s" if answer.ok else said
        row["ok"] = answer.ok
    return row
