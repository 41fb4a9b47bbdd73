"""`claude-mpm batch`: a list of tasks to its end, in several places at once."""

from __future__ import annotations

import re
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from claude_mpm.cli.app import App, orchestrator_options
from claude_mpm.cli.batch_view import LiveView, counts_line, print_results, status_of
from claude_mpm.cli.list_commands import ListGroup
from claude_mpm.cli.options import common_options
from claude_mpm.cli.output import echo
from claude_mpm.cli.streams import Progress
from claude_mpm.errors import LaunchError, UsageError
from claude_mpm.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from claude_mpm.fleet.batch import Batch
    from claude_mpm.fleet.places import Place
    from claude_mpm.fleet.task import Task

    Command = TypeVar("Command", bound=Callable[..., Any])

# Flags that are a task's own as well: so they hold for a batch whoever goes on with it.
_OF_TASKS = (
    "model", "framework", "permission_mode", "permissions", "allowed_tools", "disallowed_tools",
    "cwd", "timeout", "max_turns",
)  # fmt: skip
_HALTED = {"interrupted": 130, "ended by a signal": 143, "time": 124}

_LIMITS = (
    click.option(
        "--attempts", type=int, metavar="N",
        help="How often a task is begun where infrastructure ended the one before.",
    ),
    click.option(
        "--retry-on", metavar="TROUBLE,...",
        help="Of place-lost, rate-limit, overloaded; all of them unless it is given.",
    ),
    click.option("--budget", type=float, metavar="USD", help="What all tasks may cost together."),
    click.option("--token-budget", type=int, metavar="N", help="Tokens they may use together."),
    click.option(
        "--max-failures", type=int, metavar="N", help="Begin no more after so many have failed."
    ),
    click.option(
        "--batch-timeout", type=float, metavar="SECONDS", help="Interrupt what runs after them."
    ),
)  # fmt: skip


def _limit_options(command: Command) -> Command:
    for option in reversed(_LIMITS):
        command = option(command)
    return command


def _limits(given: dict[str, Any]) -> dict[str, Any]:
    """Take the limits of a batch from the options of a command."""
    retry_on = given.pop("retry_on")
    found = {
        "attempts": given.pop("attempts"),
        "retry_on": None if retry_on is None else [w for w in retry_on.split(",") if w],
        "budget_usd": given.pop("budget"),
        "token_budget": given.pop("token_budget"),
        "max_failures": given.pop("max_failures"),
        "timeout": given.pop("batch_timeout"),
    }
    return {name: value for name, value in found.items() if value is not None}


@click.group(cls=ListGroup)
def batch() -> None:
    """Run a list of tasks in several places at once, and lose none."""


@batch.command()
@click.argument("tasks", metavar="TASKS")
@click.option("--name", metavar="NAME", help="Name the batch.")
@click.option(
    "--prompt", metavar="TEMPLATE", help="For tasks without one: {name} is their field `name`."
)
@click.option("--check", metavar="COMMAND", help="Run when Claude is done; its status decides.")
@click.option("--check-timeout", type=float, metavar="SECONDS", help="Limit of a check.")
@click.option("--worktree", is_flag=True, help="A git worktree with a branch for each task.")
@click.option("--dry-run", is_flag=True, help="Only say what would run where.")
@_limit_options
@common_options
@click.pass_context
def run(context: click.Context, /, tasks: str, name: str | None, **given: Any) -> None:
    """Run TASKS, a file of JSON Lines, YAML or CSV; "-" reads it from standard input.

    --on NAME:NUMBER says where, and how many at once; it may be given several times. What runs goes
    on if this command is killed: `batch resume` takes it up again.
    """
    from claude_mpm.fleet.batch import Batch
    from claude_mpm.fleet.task_file import read_tasks

    app = context.ensure_object(App)
    limits = _limits(given)
    places = _places(app, app.take_places(), None)
    common = {key: app.flags[key] for key in _OF_TASKS if key in app.flags}
    common |= {key: given[key] for key in ("check", "check_timeout", "worktree") if given[key]}
    found = read_tasks(tasks, common=common, prompt=given["prompt"])
    check_places(found, places)
    if given["dry_run"]:
        _show_plan(app, found, places)
        return
    base = Path.cwd() if tasks == "-" else Path(tasks).absolute().parent
    begun = Batch(
        found,
        _reached(app, places),
        name=name or _name_of(tasks),
        state_dir=app.settings.state_dir,
        options=_options(app),
        base=base,
        **limits,
    )
    context.exit(_run(app, begun))


@batch.command()
@click.argument("name", required=False, metavar="[NAME]")
@_limit_options
@common_options
@click.pass_context
def resume(context: click.Context, /, name: str | None, **given: Any) -> None:
    """Go on with the batch NAME, or with the newest one, where it was left.

    Sessions that still run are taken up; nothing is run twice. Limits that are given hold from now
    on. The places are those of before, as the settings have them now, unless --on names others.
    """
    context.exit(_go_on(context.ensure_object(App), name, _limits(given), retry=False))


@batch.command()
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--failed", is_flag=True, required=True, help="The tasks that have not passed.")
@_limit_options
@common_options
@click.pass_context
def retry(context: click.Context, /, name: str | None, failed: bool, **given: Any) -> None:
    """Begin tasks of the batch NAME, or of the newest one, again."""
    context.exit(_go_on(context.ensure_object(App), name, _limits(given), retry=failed))


@batch.command("list")
@common_options
@click.pass_context
def list_(context: click.Context) -> None:
    """List all batches."""
    from claude_mpm.fleet.ledger import batch_names, batches_folder

    app = context.ensure_object(App)
    state = _state(app)
    found = [status_of(batches_folder(state) / name) for name in batch_names(state)]
    if app.json:
        app.print_json(found)
    elif found:
        columns = ("batch", "state", "tasks", "passed", "failed", "cost")
        app.print_table(columns, [[each[c] for c in columns] for each in found])
    else:
        app.note("there is no batch yet; claude-mpm batch run TASKS begins one")


@batch.command()
@click.argument("name", required=False, metavar="[NAME]")
@common_options
@click.pass_context
def status(context: click.Context, name: str | None) -> None:
    """Say how far the batch NAME is, or the newest one."""
    from claude_mpm.cli.batch_view import print_status
    from claude_mpm.fleet.ledger import find_batch

    app = context.ensure_object(App)
    found = status_of(find_batch(_state(app), name))
    if app.json:
        app.print_json(found)
    else:
        print_status(app, found)


@batch.command()
@click.argument("name", required=False, metavar="[NAME]")
@click.option(
    "--format",
    "form",
    type=click.Choice(("table", "json", "jsonl", "csv", "markdown")),
    help="Without it: table, or --json.",
)
@click.option("--failed", is_flag=True, help="Only what has not passed.")
@common_options
@click.pass_context
def results(context: click.Context, name: str | None, form: str | None, failed: bool) -> None:
    """Print the outcome of each task of the batch NAME, or of the newest one."""
    from claude_mpm.fleet.ledger import Ledger, find_batch

    app = context.ensure_object(App)
    ledger = Ledger(find_batch(_state(app), name))
    print_results(ledger, form or ("json" if app.json else "table"), failed=failed)


@batch.command()
@click.argument("name", required=False, metavar="[NAME]")
@common_options
@click.pass_context
def stop(context: click.Context, name: str | None) -> None:
    """Interrupt what runs of the batch NAME, or of the newest one; `batch resume` can go on."""
    from claude_mpm.fleet.ledger import find_batch
    from claude_mpm.fleet.stop import stop_batch

    app = context.ensure_object(App)
    chosen = app.take_places()
    folder = find_batch(_state(app), name)
    places = _places(app, chosen, folder)
    ended, run_on = stop_batch(folder, places, app.store(), _options(app))
    if app.json:
        app.print_json({"batch": folder.name, "stopped": ended, "not_stopped": run_on})
    else:
        echo(f"{folder.name}: {ended} sessions stopped; claude-mpm batch resume goes on")
    for task, problem in run_on.items():
        said = app.redactor.text(f"task {task} may run on: {problem}")
        echo(f"claude-mpm: {one_line(said)}", err=True)
    context.exit(1 if run_on else 0)


# --- what they share --------------------------------------------------------------------------


def _state(app: App) -> Path:
    with closing(app.store()) as store:
        return store.path


def _name_of(source: str) -> str:
    stem = "tasks" if source == "-" else Path(source).stem
    word = re.sub(r"[^A-Za-z0-9]+", "-", stem).strip("-")[:40] or "tasks"
    return f"{word}-{time.strftime('%m%d-%H%M%S')}"


def _places(app: App, chosen: Sequence[str], folder: Path | None) -> list[Place]:
    """Return where a batch runs: what is asked for, what it had, or what the settings say."""
    from claude_mpm.fleet.ledger import Ledger
    from claude_mpm.fleet.places import choose_places, find_place
    from claude_mpm.orchestration.factory import load_plugins

    load_plugins(app.settings.plugins)
    if not chosen and folder is not None:
        chosen = Ledger(folder).plan.places
    if chosen:
        if "orchestrator" in app.flags:
            raise UsageError("the place is given twice: with --on and with --orchestrator")
        return choose_places(chosen, app.settings.places)
    return [find_place(app.settings.orchestrator, {})]


def _options(app: App) -> dict[str, Any]:
    """Return the arguments of an orchestrator that hold for every task."""
    settings = app.settings
    options = {
        **orchestrator_options(settings, app.claude_args),
        "framework": settings.framework,
        "agents_dir": settings.agents_dir,
        "log_level": "DEBUG" if app.verbose > 1 else settings.log_level,
        "log_dir": settings.log_dir,
        "timeout": settings.timeout,
        **app.options,
    }
    if app.resolved.confined_to:
        options["confined_to"] = app.resolved.confined_to
    return options


def check_places(tasks: Sequence[Task], places: Sequence[Place]) -> None:
    """Refuse tasks that want more of a place than it can do.

    Raises:
        UsageError: one wants a check where no commands run, or a checkout where none stays.
    """
    from claude_mpm.orchestration.factory import find_orchestrator
    from claude_mpm.orchestration.place_settings import take_place_settings

    checked = next((task for task in tasks if task.check is not None), None)
    own = next((task for task in tasks if task.has_checkout), None)
    for place in places:
        cls = find_orchestrator(place.orchestrator).cls.place()
        try:
            environment = cls(**take_place_settings(cls, dict(place.options)))
        except TypeError as error:
            raise UsageError(f"place {place.name!r} cannot be made: {error}") from error
        if checked and not environment.runs_commands:
            raise UsageError(
                f"task {checked.id!r} has a check, and the place {place.name!r} runs no commands"
                " beside Claude; name another place, or leave the check out"
            )
        if own and not (environment.runs_commands and environment.keeps_files):
            raise UsageError(
                f"task {own.id!r} wants a checkout of its own, and the place {place.name!r} keeps"
                " none; give the task a `cwd`, or name another place"
            )


def _reached(app: App, places: list[Place]) -> list[Place]:
    """Return the places that answer; the others are named.

    Raises:
        LaunchError: none does.
    """
    from claude_mpm.fleet.reach import reach_places

    if all(place.orchestrator == "local" for place in places):
        return places
    answers = reach_places(places, app.settings.plugins)
    said = "; ".join(f"{each.place}: {each.reason}" for each in answers if not each.ok)
    found = [place for place, each in zip(places, answers, strict=True) if each.ok]
    if not found:
        raise LaunchError(f"no place answers, so nothing was begun: {said}")
    if said:
        app.note(f"left out: {said}")
    return found


def _show_plan(app: App, tasks: Sequence[Task], places: Sequence[Place]) -> None:
    slots = [place.name for place in places for _ in range(place.at_once)]
    if not slots:
        raise UsageError("no place takes a session; give one room, as in --on local:4")
    rows = [
        {
            "task": task.id,
            "place": slots[number % len(slots)],
            "folder": task.repository or task.cwd or "",
            "check": "yes" if task.check is not None else "",
            "prompt": one_line(task.prompt)[:60],
        }
        for number, task in enumerate(tasks)
    ]
    if app.json:
        app.print_json(rows)
        return
    app.print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    app.note(f"{len(tasks)} tasks, {len(slots)} at once; nothing was run")


def _go_on(app: App, name: str | None, limits: dict[str, Any], *, retry: bool) -> int:
    from claude_mpm.fleet.batch import Batch
    from claude_mpm.fleet.ledger import find_batch

    chosen = app.take_places()
    folder = find_batch(_state(app), name)
    places = _places(app, chosen, folder)
    batch = Batch.resume(
        folder.name,
        places,
        state_dir=app.settings.state_dir,
        options=_options(app),
        retry_failed=retry,
        **limits,
    )
    return _run(app, batch)


def _run(app: App, batch: Batch) -> int:
    """Run a batch to its end, and say on the way what happens; return the exit status."""
    import asyncio

    view, progress = LiveView(app, batch), Progress()
    reason = asyncio.run(_follow(batch, view, progress))
    ledger = batch.ledger
    if view.is_live and not app.json:
        print_results(ledger, "table", failed=False)
    name = batch.folder.name
    if ledger.done:
        app.note(f"{counts_line(ledger)} · claude-mpm batch results {name}")
        progress.finish()
        return 0 if all(result.ok for result in ledger.results()) else 1
    app.note(f"{counts_line(ledger)} · {reason} · claude-mpm batch resume {name} goes on")
    return _HALTED.get(reason, 1)


async def _follow(batch: Batch, view: LiveView, progress: Progress) -> str:
    """Show what happens until the runner is done, and return why it was left.

    The tasks go on where nobody reads what is shown, as behind `head`.
    """
    import asyncio
    import signal

    from claude_mpm.fleet.runner import How

    def leave(reason: str) -> None:
        from claude_mpm.fleet.batch import STOP_FILE

        if (batch.folder / STOP_FILE).exists():
            batch.stop()
        else:
            batch.runner.halt(How.LEAVE, reason)

    loop = asyncio.get_running_loop()
    async with batch:
        loop.add_signal_handler(signal.SIGINT, leave, "interrupted")
        loop.add_signal_handler(signal.SIGTERM, leave, "ended by a signal")
        with view:
            async for entry in batch.entries():
                with progress.printing():
                    view.show(entry)
        return batch.runner.reason
