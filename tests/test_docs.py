"""What the documentation says is so: its examples run, its commands parse, nothing is left out."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

import claude_mpm
from claude_mpm import MPMOrchestrator, errors
from claude_mpm.cli.app import App
from claude_mpm.cli.commands import cli
from claude_mpm.config.settings import describe
from claude_mpm.conversation.question import Question
from claude_mpm.conversation.turn import Turn
from claude_mpm.conversation.verdict import Outcome, Verdict
from claude_mpm.engine.options import Options
from claude_mpm.environments.image import build_image
from claude_mpm.orchestration import factory
from claude_mpm.orchestration.built_in import BUILT_IN
from claude_mpm.testing import contracts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.testing import ScriptedModel
    from real_places import Engine, SSHServer

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
for _name in ("README.md", "examples/README.md"):
    PAGES[_name] = (ROOT / _name).read_text("utf-8")
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What a subclass overrides or calls by name, although Python counts most of it as private.
HOOKS = (
    "make_environment",
    "start",
    "_start_io_threads",
    "_output_reader",
    "_process_output_line",
    "_flush_buffer",
    "get_output",
    "send_input",
    "stop",
    "_generate_session_id",
    "_save_session_metadata",
    "start_async",
    "stop_async",
    "_setup_async_io",
    "_async_reader",
    "_async_writer",
)


def _blocks(page: str, *languages: str) -> Iterator[tuple[int, str]]:
    """Yield the blocks of code of a page, each with the number of lines before it."""
    for match in BLOCK.finditer(PAGES[page]):
        if match[1] in languages:
            yield PAGES[page].count("\n", 0, match.start(2)), match[2]


def _command_lines() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for _, block in _blocks(page, "console", "sh", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                if re.match(r"(\$ )?(\S+=\S+ |[^|]*\| )?claude-mpm\b", line):
                    yield page, line.removeprefix("$ ")


@pytest.fixture
def reader(
    home: Path, model: ScriptedModel, claude_path: str, monkeypatch: pytest.MonkeyPatch
) -> ScriptedModel:
    """The machine of somebody who tries the examples: `claude` on PATH, its model is scripted."""
    programs = home / "bin"
    programs.mkdir()
    (programs / "claude").symlink_to(claude_path)
    for name, value in model.environment(home).items():
        monkeypatch.setenv(name, value)
    path = (programs, Path(sys.executable).parent, "/usr/bin", "/bin")
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, path)))
    monkeypatch.syspath_prepend(".")
    monkeypatch.setattr(factory, "_registered", dict(factory._registered))
    return model


@pytest.fixture
def readers_docker(
    reader: ScriptedModel, docker: Engine, home: Path, claude_path: str
) -> Iterator[None]:
    """The image that the page has built, and a network from which the scripted model is reached."""
    image = f"claude-mpm-test-reader-{uuid.uuid4().hex[:12]}"  # another run may have its own
    build_image(docker.image, image, Path(claude_path))
    # The model listens on the loopback interface, which only the network `host` reaches.
    command = home / "bin" / "docker"
    command.write_text(
        "#!/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin\nfor word; do\n    shift\n"
        f"    case $word in bridge) word=host ;; claude-mpm) word={image} ;; esac\n"
        '    set -- "$@" "$word"\ndone\nexec docker "$@"\n'
    )
    command.chmod(0o755)
    yield
    subprocess.run(["docker", "rmi", image], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def readers_ssh(reader: ScriptedModel, sshd: SSHServer, home: Path) -> None:
    """A host `build` that the reader's `ssh` knows."""
    command = home / "bin" / "ssh"
    command.write_text(
        "#!/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin\nfor word; do\n    shift\n"
        f'    [ "$word" = build ] && word={sshd.host}\n'
        f'    set -- "$@" "$word"\ndone\nexec ssh -F "{sshd.config}" "$@"\n'
    )
    command.chmod(0o755)


NEEDS = {"docker.md": "readers_docker", "moving.md": "readers_ssh", "ssh.md": "readers_ssh"}


@pytest.mark.timeout(600)  # a page may start Claude a dozen times, each a second of a processor
@pytest.mark.parametrize("page", [page for page in PAGES if any(_blocks(page, "python"))])
@pytest.mark.usefixtures("reader")
def test_the_examples_of_a_page_run_as_they_stand(
    page: str, request: pytest.FixtureRequest
) -> None:
    if page in NEEDS:
        request.getfixturevalue(NEEDS[page])
    names: dict[str, Any] = {"__name__": Path(page).stem.replace("-", "_")}
    try:
        for before, block in _blocks(page, "python"):
            # The blank lines make an error show the line of the page.
            code = compile("\n" * before + block, str(ROOT / "docs" / page), "exec")
            exec(code, names)
    finally:
        for value in names.values():
            if isinstance(value, MPMOrchestrator):
                value.stop()


def _parse(words: list[str]) -> None:
    """Parse a command line as the command does, down to the last subcommand."""
    context = cli.make_context("claude-mpm", words, obj=App())
    while isinstance(context.command, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, command, rest = context.command.resolve_command(context, rest)
        assert command is not None
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize(("page", "line"), list(_command_lines()))
def test_the_command_lines_of_a_page_parse(page: str, line: str) -> None:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|><;&")
    lexer.whitespace_split = True
    words = list(lexer)
    words = words[words.index("claude-mpm") + 1 :]
    ends = [n for n, word in enumerate(words) if set(word) <= set("|><;&") or word == "--"]
    try:
        _parse(words[: ends[0]] if ends else words)
    except click.exceptions.Exit as asked_for_help:
        assert asked_for_help.exit_code == 0


def _headings(page: str) -> str:
    return "\n".join(re.findall(r"^#+ .*$", PAGES[page], re.MULTILINE))


def _rows(page: str) -> str:
    """Return the first column of every table of a page."""
    return "\n".join(re.findall(r"^\| ([^|]*)", PAGES[page], re.MULTILINE))


def _words(quoted: str) -> list[str]:
    return [quoted, *re.findall(r"\w+", quoted)]


def _missing(names: object, text: str) -> list[str]:
    assert isinstance(names, (list, tuple, set, dict))
    words = {word for quoted in re.findall(r"`([^`\n]*)`", text) for word in _words(quoted)}
    return [name for name in sorted(names) if name not in words]


def _public(cls: type) -> list[str]:
    return [name for name in vars(cls) if not name.startswith("_")]


def test_every_public_name_has_a_heading() -> None:
    assert not _missing(claude_mpm.__all__, _headings("api.md"))


def test_every_error_has_a_heading() -> None:
    tree = [name for name, value in vars(errors).items() if isinstance(value, type)]
    assert not _missing(tree, _headings("api.md"))


def test_every_verb_is_in_the_reference() -> None:
    by_the_tracker = {"begin", "add_line", "add_question", "add_event", "finish", "keep_time"}
    by_the_tracker |= {"withdraw", "told_when_over"}
    by_the_tracker |= {"add_stray", "is_due", "kept_as", "note", "park", "set_aside"}
    by_the_tracker |= {"unpark", "limit"}
    for cls in (MPMOrchestrator, Turn, Question, Verdict):
        verbs = {*_public(cls)} - by_the_tracker - {*HOOKS}
        assert not _missing(verbs, PAGES["api.md"]), cls
    assert not _missing([outcome.name for outcome in Outcome], _rows("api.md"))


def test_every_hook_has_a_heading() -> None:
    assert all(hasattr(MPMOrchestrator, hook) for hook in HOOKS)
    assert not _missing(HOOKS, _headings("orchestrators.md"))


def test_every_option_has_a_row() -> None:
    assert not _missing(Options.__struct_fields__, _rows("orchestrators.md"))


def test_every_built_in_orchestrator_has_a_row() -> None:
    assert not _missing(list(BUILT_IN), _rows("orchestrators.md"))


def test_every_setting_has_a_row() -> None:
    assert not _missing([setting.key for setting in describe()], _rows("settings.md"))


def test_every_command_has_a_row_and_its_options_are_generated() -> None:
    context = click.Context(cli)
    commands = [f"claude-mpm {name}" for name in cli.list_commands(context)]
    assert not _missing(commands, _rows("commands.md"))
    assert (
        "::: mkdocs-click\n    :module: claude_mpm.cli.commands\n    :command: cli\n"
        in (PAGES["commands.md"])
    )


def test_every_exit_status_has_a_row() -> None:
    tree = [value for value in vars(errors).values() if isinstance(value, type)]
    statuses = {getattr(error, "exit_status", 0) for error in tree}
    statuses |= {Verdict(outcome).exit_status for outcome in Outcome}
    assert not _missing([str(status) for status in statuses], _rows("commands.md"))


def test_every_contract_has_a_row_with_what_it_is_for() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", PAGES["checks.md"], re.MULTILINE)
    assert rows == [(contract.name, contract.loss) for contract in contracts()]


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    pages = [page for page in PAGES if not page.endswith("README.md")]
    assert not [page for page in pages if f" {page}\n" not in navigation]
