"""What the tests share: a home of their own, the real Claude Code, a scripted model, a stand-in."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from certificates import certificates  # noqa: F401 - a fixture
from claude_mpm.capabilities.asking import ask_version
from claude_mpm.capabilities.facts import Capabilities, by_version
from claude_mpm.claude_binary import find_claude
from claude_mpm.orchestration.factory import create_orchestrator
from claude_mpm.testing import ScriptedModel
from command import Command
from fast_claude import fast, limited  # noqa: F401 - fixtures
from opened_page import page  # noqa: F401 - a fixture
from real_places import (  # noqa: F401 - fixtures and hooks
    _cluster,
    _engine,
    chromium,
    cluster,
    docker,
    gh,
    pod,
    pod_template,
    pytest_configure,
    pytest_sessionfinish,
    sshd,
    tmux,
)
from served import served  # noqa: F401 - a fixture

HERE = Path(__file__).parent
# Variables of the machine that would change what is tested.
_LEAKING = ("CLAUDE", "ANTHROPIC", "XDG_", "NO_COLOR", "FORCE_COLOR", "PYTEST_ADDOPTS")
Orchestrator = Any
# On a busy machine everything takes long; that says nothing of what is tried.
settings.register_profile(
    "busy", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")
MakeClaude = Callable[..., Orchestrator]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a real Kubernetes be among the places; it takes long to build, and is built once."""
    parser.addoption("--cluster", action="store_true", help="also on a real Kubernetes")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what needs a real Kubernetes where none is asked for."""
    return True if collection_path == HERE / "cluster" and not config.option.cluster else None


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_works() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C; what we start must not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def claude_path() -> str:
    """The real Claude Code: the tests need it, and installing the extra `claude` brings it."""
    return str(find_claude())


@pytest.fixture(scope="session")
def build(claude_path: str) -> Capabilities:
    """What the real Claude Code can do; where it cannot, a test holds to what the session says."""
    return by_version(ask_version(Path(claude_path), os.environ, 60)[1])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a project folder of the test's own; nothing leaks in from the machine."""
    for name in list(os.environ):
        if name.startswith(_LEAKING):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    project = tmp_path / "project"
    home.mkdir()
    project.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(project)
    return home


class MeasuredModel(ScriptedModel):
    """Where coverage is measured, lets it into the environments that tests start commands with."""

    def environment(self, home: str | Path, **more: str) -> dict[str, str]:
        measuring = {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_")}
        return super().environment(home, **measuring, **more)


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    """A scripted model, ready to be told what to say with `model.on`."""
    with MeasuredModel() as model:
        yield model


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for `claude` on PATH, for speed and for faults; see `stand_in.py`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    script = programs / "claude"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "stand_in.py"}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "stand-in.jsonl"))
    return script


@pytest.fixture
def make_claude(model: ScriptedModel, claude_path: str, tmp_path: Path) -> Iterator[MakeClaude]:
    """Makes orchestrators of the real Claude Code with the scripted model; all are stopped."""
    made: list[Orchestrator] = []

    def make(name: str = "local", **options: Any) -> Orchestrator:
        options.setdefault("environ", model.environment(tmp_path / "claude-home"))
        options.setdefault("claude_path", claude_path)
        claude = create_orchestrator(name, **options)
        made.append(claude)
        return claude

    yield make
    for claude in made:
        claude.stop()


@pytest.fixture
def command(model: ScriptedModel, home: Path, claude_path: str) -> Iterator[Command]:
    """The command `claude-mpm` with the scripted model; what it started is ended."""
    command = Command(model, home, claude_path)
    yield command
    command.close()
