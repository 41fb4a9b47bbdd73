"""`claude-mpm orchestrators new`: the package of an orchestrator, ready to install."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

import click

from claude_mpm.cli.app import App
from claude_mpm.cli.options import common_options
from claude_mpm.errors import UsageError

_TEMPLATES = Path(__file__).with_name("plugin_template")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@click.command()
@click.argument("name")
@click.option(
    "--directory", type=click.Path(path_type=Path), metavar="DIR",
    help="The folder to make; by default claude-mpm-NAME.",
)  # fmt: skip
@common_options
@click.pass_context
def new(context: click.Context, name: str, directory: Path | None) -> None:
    """Write a package that brings an orchestrator: its class, its tests, its entry point."""
    _check_name(name)
    words = {
        "name": name,
        "project": f"claude-mpm-{name}",
        "module": f"claude_mpm_{name.replace('-', '_')}",
        "cls": f"{name.title().replace('-', '')}Orchestrator",
    }
    folder = directory or Path(words["project"])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already; name another folder with --directory")
    for template, target in {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "src/module.py": f"src/{words['module']}/__init__.py",
        "tests/test.py": f"tests/test_{name.replace('-', '_')}.py",
    }.items():
        file = folder / target
        file.parent.mkdir(parents=True, exist_ok=True)
        text = (_TEMPLATES / f"{template}.tmpl").read_text("utf-8")
        file.write_text(Template(text).substitute(words), "utf-8")
    context.ensure_object(App).note(
        f"{folder}: try it with pip install -e '{folder}[test]' && pytest {folder}"
    )


def _check_name(name: str) -> None:
    from claude_mpm.orchestration import factory

    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be an orchestrator's name: use small letters, digits and hyphens"
        )
    taken = next((each for each in factory.orchestrators() if each.name == name), None)
    if taken is not None:
        raise UsageError(f"the orchestrator {name!r} is there already ({taken.source})")
