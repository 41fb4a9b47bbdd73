"""A conversation that goes from place to place: it stays one, and knows what it was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm import create_orchestrator
from claude_mpm.engine.move import Move
from claude_mpm.environments.record_store import project_name
from claude_mpm.errors import MPMError

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm import MPMOrchestrator
    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude
    from real_places import Engine, SSHServer

SECONDS = 60.0
WORD = "PLUM-4711"


@pytest.fixture(autouse=True)
def told(model: ScriptedModel) -> None:
    """The model says whether it was told the word; it is asked so in each place."""
    model.on(f"the word is {WORD}", "TICKET: keep the word")


def tell(claude: MPMOrchestrator) -> None:
    claude.ask(f"the word is {WORD}", timeout=SECONDS).check()


def assert_knows(claude: MPMOrchestrator, model: ScriptedModel, place: str) -> None:
    """Ask something new, and look whether the model gets the word with it."""
    claude.ask(f"and in {place}?", timeout=SECONDS).check()
    request = model.wait_for_request(f"and in {place}?")
    assert WORD in str(request.body)


@pytest.fixture
def places(docker: Engine, sshd: SSHServer, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """What an orchestrator of each place is made with."""
    return {
        "ssh": {
            "host": sshd.host, "config": sshd.config, "claude_path": sshd.claude, "cwd": "/tmp",
        },
        "docker": {
            "image": docker.image, "network": "host", "claude_path": "claude",
            "mounts": [f"{docker.claude}:/usr/local/bin/claude:ro"], "cwd": "/opt",
        },
        "local": {"cwd": str(tmp_path)},
    }  # fmt: skip


def test_a_conversation_goes_over_ssh_into_a_container_and_back(
    make_claude: MakeClaude, model: ScriptedModel, places: dict[str, dict[str, Any]]
) -> None:
    here = make_claude()
    here.start_or_raise()
    tell(here)
    for name in ("ssh", "docker", "local"):
        there = make_claude(name, **places[name])
        here.move_to(there)
        assert_knows(there, model, name)
        assert there.store.folder(there.session_id).read_meta().orchestrator == name
        here = there
    here.stop()
    turns = here.store.index.turns(here.session_id)
    assert [turn.prompts for turn in turns if len(turn.prompts) != 1] == []
    assert len(turns) == 4
    (ticket,) = here.store.index.tickets(here.session_id)
    assert ticket.title == "keep the word"
