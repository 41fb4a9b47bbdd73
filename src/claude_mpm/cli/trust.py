"""`claude-mpm trust`: which project folders may run commands of theirs."""

from __future__ import annotations

from pathlib import Path

import click

from claude_mpm.cli.app import App, common_options
from claude_mpm.errors import UsageError
from claude_mpm.trust import commands_of, set_trust, trusted_folders


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--remove", is_flag=True, help="Trust it no longer.")
@click.option("--list", "list_", is_flag=True, help="Show what is trusted.")
@common_options
@click.pass_context
def trust(context: click.Context, folder: Path | None, remove: bool, list_: bool) -> None:
    """Trust FOLDER, or the current one, and all below it.

    Hooks and other commands of its .claude/settings.json run only then, and its .claude-mpm.toml
    may choose what is run.
    """
    app = context.ensure_object(App)
    if list_:
        found = [str(each) for each in trusted_folders()]
        app.print_json(found) if app.json else click.echo("\n".join(found) or "no folder")
        return
    chosen = (folder or Path()).expanduser().absolute()
    if not remove and not chosen.is_dir():
        raise UsageError(f"there is no folder {chosen} to trust")
    set_trust(chosen, trusted=not remove)
    app.note(f"{chosen} is {'no longer ' if remove else ''}trusted")
    if not remove:
        for command in commands_of(chosen):
            app.note(f"  runs now: {command}")
