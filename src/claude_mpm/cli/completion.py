"""`claude-mpm completion`: the script that lets a shell complete the command."""

from __future__ import annotations

import os
from pathlib import PurePath

import click

from claude_mpm.cli.options import common_options
from claude_mpm.cli.output import echo
from claude_mpm.errors import UsageError

_HINTS = {
    "bash": "claude-mpm completion bash > ~/.local/share/bash-completion/completions/claude-mpm",
    "zsh": "claude-mpm completion zsh > DIR/_claude-mpm, where DIR is one of your $fpath",
    "fish": "claude-mpm completion fish > ~/.config/fish/completions/claude-mpm.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_HINTS)), required=False)
@common_options
@click.pass_context
def completion(context: click.Context, shell: str | None) -> None:
    """Print the completion script of a shell: yours, unless one is named."""
    from click.shell_completion import get_completion_class

    shell = shell or PurePath(os.environ.get("SHELL", "")).name
    maker = get_completion_class(shell)
    if shell not in _HINTS or maker is None:
        raise UsageError(f"name the shell: claude-mpm completion {'|'.join(_HINTS)}")
    source = maker(context.find_root().command, {}, "claude-mpm", "_CLAUDE_MPM_COMPLETE").source()
    # zsh wants its #compdef on the first line.
    echo(f"{source.strip()}\n# To keep it: {_HINTS[shell]}")
