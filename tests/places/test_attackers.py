"""A program beside the real Claude Code replaces all it can reach, and every command runs here."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from session_server import server  # noqa: F401 - a fixture
from test_contracts import PLACES, Real

from attacks import (
    ACTS,
    ATTACKS,
    EXCHANGE,
    LOOKS,
    SEND,
    acts,
    lay_outside,
    left_alone,
    looks,
    private,
)  # fmt: skip
from claude_mpm.journal import orphans
from claude_mpm.journal.storage import remove_tree
from claude_mpm.sessions.store import Store
from claude_mpm.testing.subject import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.testing import ScriptedModel

SECONDS = 60.0
ENDINGS = {  # what a program in a container says, which hears of no end of its input then
    "that it has ended": "rm feed pid; echo 0 >exit; (while :; do "
    "echo x >>out.jsonl; echo >out.jsonl; done) >/dev/null 2>&1 &",
    "nothing": "rm feed pid alive",
}
DEEP = ("exit", "closed")  # nested deep, which takes its time; the others become folders
# Each file of a folder, `$1`, but for `$2` of ours on the way, is attacked; `$3` is outside.
# A folder whose session ended, by what was written there, and was removed, is made again.
# Where the word of a program that all has ended ends it, so that it attacks no more.
SPARED = {"docker over ssh": ("exit", "alive")}
SCRIPT = """mkdir -p "$1" && cd "$1" || exit
outside=$2
shift 2
for name; do (set -- "$PWD/$name" "$outside"; {attack}); done 2>/dev/null
:"""


class Attacker:
    """Runs programs in a session's place, as a tool of Claude's there does.

    Args:
        session: the session's folder here.
        command: what runs `sh` there.
        folder: the session's folder there.

    Attributes:
        exchange: the path of the exchange there.
    """

    def __init__(self, session: SessionFolder, command: Sequence[str], folder: str) -> None:
        self.session = session
        self._command = list(command)
        self.exchange = f"{folder}/exchange"

    def attacks(self, names: Sequence[str], attack: str, outside: Path) -> None:
        """Replace files of the exchange."""
        script = SCRIPT.format(attack=ATTACKS[attack])
        self.runs("-c", script, "attacker", self.exchange, str(outside), *names)

    def runs(self, *words: str) -> str:
        """Run `sh` there, and return what it prints."""
        done = subprocess.run(
            [*self._command, *words], capture_output=True, text=True, timeout=SECONDS, check=True
        )
        return done.stdout


def container_of(exchange: str) -> str:
    """Return the container that runs with an exchange, as others have sessions of this name."""
    found = subprocess.run(
        ["docker", "ps", "--quiet", "--filter", f"volume={exchange}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return found.stdout.strip()


def in_a_container(real: Real, session: SessionFolder) -> Attacker:
    is_far = session.link_file.exists()
    folder = json.loads(session.link_file.read_bytes())["folder"] if is_far else str(session.path)
    return Attacker(session, ["docker", "exec", container_of(f"{folder}/exchange"), "sh"], folder)


def on_the_host(real: Real, session: SessionFolder) -> Attacker:
    folder = json.loads(session.link_file.read_bytes())["folder"]
    words = ["ssh", "-F", real.sshd.config, real.sshd.host]

    # What ssh is given is put together for a shell there.
    return Attacker(session, ["python3", "-c", _QUOTED, *words], folder)


_QUOTED = (
    "import os, shlex, sys; n = sys.argv.index('-c', 1);"
    "os.execvp(sys.argv[1], [*sys.argv[1:n], 'sh ' + shlex.join(sys.argv[n:])])"
)


def beside_us(real: Real, session: SessionFolder) -> Attacker:
    return Attacker(session, ["sh"], str(session.path))


def beside_the_server(real: Real, session: SessionFolder) -> Attacker:
    name = json.loads(session.link_file.read_bytes())["session"]
    (folder,) = (real.server.state / "sessions").glob(f"{name}.*")
    return Attacker(session, ["sh"], str(folder))


ATTACKERS: dict[str, Callable[[Real, SessionFolder], Attacker]] = {
    "docker": in_a_container,
    "docker over ssh": in_a_container,
    "ssh": on_the_host,
    "terminal": beside_us,
    "remote": beside_the_server,
}


@pytest.fixture
def make(
    request: pytest.FixtureRequest, place: str, model: ScriptedModel, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, claude_path: str,
) -> Iterator[Callable[..., Any]]:  # fmt: skip
    """Makes orchestrators of a place, with a folder that others may enter."""
    real = Real(request)
    if os.geteuid() == 0:
        os.chown(".", 4242, 4242)
    monkeypatch.setenv("CLAUDE_PATH", claude_path)
    create = PLACES[place](real)
    environ = model.environment(tmp_path / "claude-home")
    options = {"environ": environ, "permission_mode": "default", "linger": 600.0}
    options |= {"cwd": "/usr"} if place in ("ssh", "remote") else {}
    yield partial(create, **options)
    acts("stop", "--all")
    state = Store().path
    for path in list(orphans.marked()):
        if path.is_relative_to(state):
            orphans.end(path)
    with suppress(FileNotFoundError):
        remove_tree(state / "sessions")


@pytest.mark.timeout(600)  # 150 commands, each bounded
@pytest.mark.parametrize("place", ATTACKERS)
def test_a_program_in_the_place_replaces_all_and_every_command_runs_here(
    request: pytest.FixtureRequest, make: Callable[..., Any], place: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    claude = make(session_id="s")
    claude.start_or_raise()
    assert claude.ask("hello", timeout=SECONDS).check().text
    claude.detach()
    folder = Store().folder("s")
    outside = lay_outside(tmp_path / "outside")
    attacker = ATTACKERS[place](Real(request), folder)
    before = private(folder)
    with left_alone(outside):
        for attack in ATTACKS:
            is_deep = attack == "nested folders"
            names = [
                name
                for name in (DEEP if is_deep else EXCHANGE)
                if name not in SPARED.get(place, ())
            ]
            attacker.attacks(names, attack, outside)
            for words in LOOKS:
                looks(capsys, *words)
            for words in ACTS:
                acts(*words)
            assert private(folder) == before, attack
        if place in SPARED:
            attacker.attacks(SPARED[place], "other words", outside)
        acts(*SEND)
        acts("stop", "s")
        acts("stop", "--all")
        acts("doctor", "--sweep")
    assert folder.path not in orphans.marked(), "Claude runs on"
    until(folder.has_ended, "the session has not ended")
    if "docker" in place:
        assert container_of(attacker.exchange) == "", "the container runs on"
    another = make(session_id="another")
    another.start_or_raise()
    assert another.ask("hello", timeout=SECONDS).check().text
    another.stop()


@pytest.mark.parametrize("place", ["docker over ssh"])
@pytest.mark.parametrize("says", ENDINGS)
def test_a_container_there_ends_whatever_it_says(
    request: pytest.FixtureRequest, make: Callable[..., Any], place: str, says: str
) -> None:
    claude = make(session_id="s", stop_timeout=6.0)
    claude.start_or_raise()
    assert claude.ask("hello", timeout=SECONDS).check().text
    folder = Store().folder("s")
    attacker = in_a_container(Real(request), folder)
    attacker.runs("-c", f"cd {attacker.exchange} && {ENDINGS[says]}")
    claude.stop()
    assert folder.has_ended()
    assert container_of(attacker.exchange) == "", "the container runs on"
