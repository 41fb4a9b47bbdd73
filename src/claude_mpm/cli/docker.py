"""`claude-mpm docker`: images with Claude Code."""

from __future__ import annotations

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.options import common_options
from claude_mpm.cli.output import echo


@click.group()
def docker() -> None:
    """Make images in which Claude can run."""


@docker.command()
@click.option("--base", required=True, metavar="IMAGE", help="The image to build from.")
@click.option(
    "--tag", default="claude-mpm", show_default=True, metavar="NAME", help="Name the new image."
)
@click.option("--claude", metavar="PATH", help="The claude to put into it.")
@click.option(
    "--engine", default="docker", show_default=True, metavar="COMMAND", help="docker or podman."
)
@common_options
@click.pass_context
def build(context: click.Context, base: str, tag: str, claude: str | None, engine: str) -> None:
    """Build an image with Claude Code from a base image, and print its name.

    The base has glibc and bash, and is in the engine already.
    """
    from claude_mpm.claude_binary import find_claude
    from claude_mpm.environments.image import build_image

    app = context.ensure_object(App)
    build_image(base, tag, find_claude(claude or app.settings.claude_path), engine)
    app.note(
        "use it: claude-mpm run --orchestrator docker"
        f' -o image={tag} -o network=bridge "what Claude is to do"'
    )
    if app.json:
        app.print_json({"image": tag, "base": base})
    else:
        echo(tag)
