"""Registration: one clear line for whatever is wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from claude_mpm import MPMOrchestrator, create_orchestrator, register_orchestrator
from claude_mpm.errors import RegistrationError, UnknownOrchestrator, UsageError
from claude_mpm.orchestration import factory

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "_registered", dict(factory._registered))


class Mine(MPMOrchestrator):
    """Does what the base does."""


def test_a_registered_class_is_made_by_its_name() -> None:
    register_orchestrator("mine", Mine)
    claude = create_orchestrator("mine", model="opus")
    assert isinstance(claude, Mine)
    assert claude.options.model == "opus"
    register_orchestrator("mine", Mine)


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(RegistrationError, match=r"'local' is registered already \(built in\)"):
        register_orchestrator("local", Mine)


@pytest.mark.parametrize("thing", [dict, Mine, 5], ids=["class", "instance", "number"])
def test_what_is_no_orchestrator_is_refused(thing: object) -> None:
    thing = thing() if thing is Mine else thing
    with pytest.raises(RegistrationError, match="no class derived from MPMOrchestrator"):
        register_orchestrator("bad", thing)  # type: ignore[arg-type]


def test_an_unknown_name_names_the_nearest_and_all() -> None:
    with pytest.raises(
        UnknownOrchestrator,
        match=r"did you mean 'local'\? there are: docker, kubernetes, local, remote, ssh",
    ):
        create_orchestrator("locl")


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no option 'modle'; did you mean 'model'"):
        create_orchestrator("local", modle="opus")


def test_a_plugin_that_raises_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_plugin.py").write_text("raise ValueError('no luck')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RegistrationError, match=r"plugin 'broken_plugin' .*ValueError: no luck"):
        factory.load_plugins(["broken_plugin"])
    with pytest.raises(RegistrationError, match=r"plugin 'not_there' .*ModuleNotFoundError"):
        factory.load_plugins(["not_there"])


def test_a_plugin_registers_when_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good_plugin.py").write_text(
        "from claude_mpm import MPMOrchestrator, register_orchestrator\n"
        "class Plugged(MPMOrchestrator): pass\n"
        "register_orchestrator('plugged', Plugged)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    factory.load_plugins(["good_plugin"])
    assert factory.find_orchestrator("plugged").source == "good_plugin"
    assert "plugged" in [registration.name for registration in factory.orchestrators()]
    del sys.modules["good_plugin"]
