"""`claude-mpm trust`: which project folders may run commands of theirs."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.options import common_options
from claude_mpm.cli.output import echo
from claude_mpm.config.trust import (
    acts_of,
    real,
    set_trust,
    trusted_by,
    trusted_file,
    trusted_folders,
    untrusted_acts,
)
from claude_mpm.errors import UsageError
from claude_mpm.printable import exact_line


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--remove", is_flag=True, help="Trust it no longer.")
@click.option("--list", "list_", is_flag=True, help="Show what is trusted.")
@common_options
@click.pass_context
def trust(context: click.Context, folder: Path | None, remove: bool, list_: bool) -> None:
    """Trust FOLDER, or the current one, and all below it.

    Hooks, servers and permissions of its Claude Code settings count only then, and its
    .claude-mpm.toml may choose what is run. The real path counts, whatever link leads there.
    """
    app = context.ensure_object(App)
    if list_:
        found = [str(each) for each in trusted_folders()]
        listed = "\n".join(map(exact_line, found)) or "no folder"
        app.print_json(found) if app.json else echo(listed)
        return
    chosen = real((folder or Path()).expanduser().absolute())
    if remove:
        context.exit(_remove(app, chosen))
    if not chosen.is_dir():
        raise UsageError(f"there is no folder {exact_line(str(chosen))} to trust")
    set_trust(chosen, trusted=True)
    app.note(f"{exact_line(str(chosen))} is trusted")
    left = untrusted_acts(chosen)
    for act in acts_of(chosen):
        app.note(f"  {'left out still' if act in left else 'runs now'}: {act.seen_from(chosen)}")


def _remove(app: App, folder: Path) -> int:
    """Trust a folder no longer; return 1 where it is trusted still, and say by what."""
    set_trust(folder, trusted=False)
    still = trusted_by(folder)
    if still is None:
        app.note(f"{exact_line(str(folder))} is no longer trusted")
        return 0
    above, file = still
    by = exact_line(str(above))
    if file == str(trusted_file()):
        mend = f"claude-mpm trust --remove {shlex.quote(by)}"
    else:
        mend = f"remove hasTrustDialogAccepted of that folder from {file}"
    where = "through" if above != folder else "in Claude Code's own dialog, as"
    echo(f"claude-mpm: {exact_line(str(folder))} is still trusted {where} {by}; {mend}", err=True)
    return 1
