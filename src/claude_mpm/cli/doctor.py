"""`claude-mpm doctor`: what would stop it from working here, and the command that mends it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.list_commands import warn
from claude_mpm.cli.options import common_options
from claude_mpm.cli.output import echo, styled
from claude_mpm.errors import SettingsError, StorageError

if TYPE_CHECKING:
    from claude_mpm.cli.doctor_checks import Check
    from claude_mpm.config.settings import Resolved
    from claude_mpm.sessions.store import Store


@click.command()
@click.option("--rebuild-index", is_flag=True, help="Build the index again from the journals.")
@click.option(
    "--sweep", is_flag=True, help="End and remove what sessions that were killed have left."
)
@click.option(
    "--claude",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[PATH]",
    help="Start a build of Claude Code once, and show what it can do.",
)
@common_options
@click.pass_context
def doctor(context: click.Context, *, rebuild_index: bool, sweep: bool, claude: str | None) -> None:
    """Look for what would stop claude-mpm from working here.

    Nothing is sent anywhere, and no key is looked at. Below the checks stands every setting with
    where it came from. Exit status 1 where there is a problem.
    """
    app = context.ensure_object(App)
    if rebuild_index:
        _rebuild(app)
        return
    if sweep:
        from claude_mpm.cli.doctor_sweep import show

        show(app)
        return
    if claude is not None:
        from claude_mpm.cli import doctor_claude

        context.exit(doctor_claude.show(app, claude))
    resolved, problem = _settings(app)
    checks = [*([problem] if problem else []), *_checks(resolved)]
    if resolved.settings.orchestrator == "kubernetes":
        from claude_mpm.cli.doctor_kubernetes import check_kubernetes

        checks += check_kubernetes(app.options)
    _show(app, checks, resolved)
    context.exit(int(any(check.status == "problem" for check in checks)))


def _settings(app: App) -> tuple[Resolved, Check | None]:
    """Return the settings; the defaults, with what is wrong, where they cannot be read."""
    import msgspec

    from claude_mpm.cli.doctor_checks import Check
    from claude_mpm.config.settings import Resolved, Settings

    try:
        return app.resolved, None
    except SettingsError as error:
        place = str(error).partition(": ")[0].partition(", line ")[0]
        remedy = f"${{EDITOR:-vi}} {shlex.quote(place)}"
        if place.isupper():
            remedy = f"unset {place}"
        defaults = dict.fromkeys(Settings.__struct_fields__, "default; see the problem above")
        problem = Check("settings", "problem", str(error), remedy)
        return Resolved(msgspec.convert({}, Settings), defaults), problem


def _checks(resolved: Resolved) -> list[Check]:
    from claude_mpm.cli import doctor_checks as look
    from claude_mpm.sessions.store import Store

    try:
        store = Store(resolved.settings.state_dir)
    except SettingsError as error:
        return [*look.check_home(), look.Check("state folder", "problem", str(error))]
    return [
        *look.check_home(),
        look.check_python(),
        look.check_package(),
        look.check_claude(resolved),
        look.check_programs(),
        look.check_shell(),
        look.check_state(store),
        look.check_sockets(),
        look.check_index(store),
        look.check_sessions(store),
        *look.check_secrets(store),
        *look.check_unknown(store),
        look.check_framework(resolved),
        *look.check_plugins(resolved),
        *look.check_orchestrators(resolved),
        *look.check_notify(resolved),
        look.check_watching(),
    ]


def _show(app: App, checks: list[Check], resolved: Resolved) -> None:
    from claude_mpm.cli.doctor_checks import settings_rows

    settings = settings_rows(resolved)
    if app.json:
        app.print_json({"checks": checks, "settings": settings})
        return
    for check in checks:
        colour = {"ok": "green", "note": "yellow"}.get(check.status, "red")
        echo(styled(f"{check.status:8}", fg=colour), f"{check.name:14}{check.found}")
        if check.remedy:
            echo(f"{'':22}→ {check.remedy}")
    if not app.quiet:
        echo()
        app.print_table(("setting", "value", "from"), [tuple(row.values()) for row in settings])


def _rebuild(app: App) -> None:
    store = app.store()
    try:
        _rebuild_or_replace(app, store)
        count = sum(1 for _ in store.sessions())
    finally:
        store.close()
    app.note(f"the index of {count} sessions is built again")


def _rebuild_or_replace(app: App, store: Store) -> None:
    """Rebuild the index; one that is no index any more is put aside first."""
    try:
        store.rebuild(on_error=warn)
    except StorageError as error:
        store.close()
        app.note(f"{error}; it is made again")
        for name in ("index.sqlite", "index.sqlite-wal", "index.sqlite-shm"):
            (store.path / name).unlink(missing_ok=True)
        store.rebuild(on_error=warn)
