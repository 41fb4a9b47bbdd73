"""`claude-mpm demo`: the real Claude Code with a scripted model, without key and network."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.demo_script import PROMPT, demo_model, write_project
from claude_mpm.cli.options import common_options
from claude_mpm.cli.output import echo, styled
from claude_mpm.cli.turn_view import show_turn, turn_record
from claude_mpm.errors import UsageError
from claude_mpm.folders import temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.config.framework import Framework
    from claude_mpm.conversation.turn import Turn
    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.testing import ScriptedModel
    from claude_mpm.web.application import Page

_TIMEOUT = 60.0  # seconds; it takes about five
_PATIENCE = 300.0  # seconds for which a browser is waited for; as long as its link counts
_HASH = 12  # characters of a hash that are shown
_NEXT = (
    ("show {session}", "the session that you have just seen"),
    ("logs {session}", "what was said in it"),
    ("tickets --session {session}", "its tickets: list, show, close, export"),
    ("delegations --session {session}", "what was handed to subagents"),
    ("doctor", "whether all is ready for the real model"),
    ('run "What does this project do?"', "one prompt to the real model"),
    ("web", "the page: all sessions in your browser"),
)


class Reach(NamedTuple):
    """How many of the main conversation's requests contain the framework."""

    found: int
    requests: int

    def __bool__(self) -> bool:
        return 0 < self.found == self.requests


@click.command()
@click.option("--web", "in_page", is_flag=True, help="Show it in the page, in your browser, live.")
@common_options
@click.pass_context
def demo(context: click.Context, in_page: bool) -> None:
    """Run the real Claude Code against a model that plays a script.

    It needs no key and no network. Claude gets a home and a project folder that are removed
    afterwards; the session stays, so that the other commands have something to show.

    With --web, the conversation begins when you open the link, and goes on until Ctrl-C: a prompt
    in the page is answered with an echo.
    """
    app = context.ensure_object(App)
    if not in_page:
        context.exit(run_demo(app))
    if app.json:
        raise UsageError("--web and --json do not go together: the page is for a person")
    from claude_mpm.cli.web import page_beside

    with page_beside(app) as (page, link):
        context.exit(run_demo(app, page, link))


def run_demo(app: App, page: Page | None = None, link: str = "") -> int:
    """Run the demo and return the exit status.

    Args:
        page: where it is shown, until Ctrl-C; None for the terminal alone.
        link: lets a browser into the page.
    """
    app.end_signals.catch()
    with temporary_folder("demo") as folder:
        write_project(folder / "project")
        with _conversation(app, folder) as (model, framework, claude):
            _title(app, claude)
            if page is not None:
                _await_browser(app, page, f"{link}/session/{claude.session_id}")
            turn = claude.ask(PROMPT, timeout=app.settings.timeout or _TIMEOUT)
            show_turn(app, turn)
            reach = framework_reach(framework, model)
            _report(app, turn, framework, reach)
            if page is not None:
                _stay(app)
    if app.json:
        reached = {"framework_found_in": reach.found, "requests": reach.requests}
        app.print_json({**turn_record(turn, claude.session_id), **reached})
    elif page is None:
        _advise(claude.session_id)
    needed = bool(framework.instructions)
    return turn.verdict.exit_status or int(needed and not reach)


def _await_browser(app: App, page: Page, link: str) -> None:
    echo("It begins when you open this link, which lets one browser in, once, within 5 minutes:")
    echo(f"{link}\n")
    if not page.visited.wait(_PATIENCE):
        app.note("nobody has opened the link; it begins anyway")


def _stay(app: App) -> None:
    """Wait for Ctrl-C."""
    app.note("\nthe page stays open, and Claude answers a prompt in it, until Ctrl-C")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()  # nobody sets it


@contextmanager
def _conversation(
    app: App, folder: Path
) -> Iterator[tuple[ScriptedModel, Framework, MPMOrchestrator]]:
    """Start Claude with the model of the demo, in folders of its own."""
    options: dict[str, Any] = {
        "session_id": f"demo-{uuid.uuid4().hex[:6]}",
        "cwd": str(folder / "project"),
        "partial": True,
        # Whatever the settings say: these would keep it from what it is to show.
        "background": True,
        "permission_mode": None,
        "max_turns": None,
        "max_budget_usd": None,
    }
    framework = app.orchestrator(**options).framework_loader.load()
    with demo_model([agent.name for agent in framework.agents]) as model:
        # Claude's tools need a shell, wherever this machine keeps it.
        environ = model.environment(folder / "home", PATH=os.environ.get("PATH", os.defpath))
        with app.orchestrator(environ=environ, **options) as claude:
            yield model, framework, claude


def framework_reach(framework: Framework, model: ScriptedModel) -> Reach:
    """Search the framework's instructions in the requests that the model received."""
    wanted = framework.instructions.strip()
    asked = [each for each in model.requests if not (each.is_subagent or each.is_side)]
    found = sum(bool(wanted) and wanted in request.system for request in asked)
    return Reach(found, len(asked))


def _title(app: App, claude: MPMOrchestrator) -> None:
    if app.json:
        return
    echo(f"claude-mpm demo · session {claude.session_id}", bold=True)
    echo("The real Claude Code, a scripted model: no key, no network, no cost.\n", dim=True)
    echo(f"› {PROMPT}\n", fg="cyan")


def _report(app: App, turn: Turn, framework: Framework, reach: Reach) -> None:
    if app.json:
        return
    lines = framework.instructions.strip().splitlines()
    where = f"found in the system prompt of {reach.found} of {reach.requests} requests"
    about = f"“{lines[0]}”, sha256 {framework.sha256[:_HASH]}: {where}" if lines else "none"
    echo()
    _fact("framework", about, good=bool(reach) or not lines)
    _fact("verdict", str(turn.verdict), good=turn.verdict.ok)
    for evidence in turn.verdict.evidence:
        echo(f"            {evidence}", dim=True)
    _fact("cost", f"${turn.cost_usd:.4f} as Claude Code reckons it; nothing was spent")
    echo(f"\n{len(turn.tickets)} tickets", bold=True)
    tickets = [(t.type, t.priority or "-", t.title) for t in turn.tickets]
    app.print_table(("type", "priority", "title"), tickets)
    echo(f"\n{len(turn.delegations)} delegations", bold=True)
    delegations = [
        (d.agent, "background" if d.background else "foreground", d.state, d.description)
        for d in turn.delegations
    ]
    app.print_table(("agent", "where", "state", "task"), delegations)


def _fact(name: str, text: str, *, good: bool = True) -> None:
    mark = styled("✓", fg="green") if good else styled("✗", fg="red")
    echo(mark, " ", styled(name.ljust(9), bold=True), f" {text}")


def _advise(session: str) -> None:
    echo("\nTry next", bold=True)
    program = _own_name()
    commands = [(f"{program} {rest.format(session=session)}", why) for rest, why in _NEXT]
    width = max(len(command) for command, _ in commands)
    for command, why in commands:
        echo(f"  {command.ljust(width)}  ", styled(why, dim=True))


def _own_name() -> str:
    """Return how this program can be called again from here."""
    name, called = "claude-mpm", Path(sys.argv[0])
    found = shutil.which(name)
    if called.name != name or (found and Path(found).resolve() == called.resolve()):
        return name
    return str(called)
