"""A batch over several places: its runner is killed, and every place is cut off or killed as well.

The places are those of the tests, which `make places` starts: a Docker Engine, and an sshd that
stands for two hosts.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.batches import MUST_NOT, KilledBatch, play_in
from chaos.beside import settled
from chaos.conversation import PATIENCE
from chaos.figures import Figures
from chaos.places import place_env, running
from chaos.world import RealWorld, StandInWorld, worlds
from claude_mpm.errors import StorageError
from claude_mpm.fleet.ledger import Ledger
from claude_mpm.sessions.store import Store
from claude_mpm.testing.faults import Killer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from chaos.world import World
    from claude_mpm.testing.faults import Dice

STAND_IN = Path(__file__).with_name("stand_in.sh")
_HOSTS = ("north", "south")
_AT_ONCE = {"here": 2, "box": 2, "north": 2, "south": 2}
_ATTEMPTS = 20  # of a task: every trouble of a place costs one
_WORKS = "2"  # seconds that the stand-in takes for a prompt


def fleet(number: int, dice: Dice, share: float) -> Figures:
    """Kill the runner of a batch over several places so many times, and disturb the places.

    Raises:
        UsageError: the places do not run.
    """
    figures = Figures(
        title="The runner of a batch is killed, and its places are cut off and killed",
        must_not=(*MUST_NOT, "containers left"),
    )
    kills = [count for _, count in worlds(number, share)]
    where = zip((_ShellWorld, _FarWorld), kills, strict=True)
    return play_in(where, _Fleet, dice, figures)


class _ShellWorld(StandInWorld):
    """Here the stand-in for any place with a shell plays Claude, and every account may enter."""

    def __init__(self) -> None:
        super().__init__()
        self.path.chmod(0o755)

    def cwd(self, session: str) -> Path:
        """Return the folder that a task works in, whoever it works as."""
        return _for_all(super().cwd(session))

    def environ(self) -> dict[str, str]:
        """Let the stand-in take its time."""
        return {**super().environ(), "STAND_IN_SECONDS": _WORKS}

    def claude(self) -> str:
        """Return the stand-in's path."""
        program = self.path / "claude"
        if not program.exists():
            program.write_bytes(STAND_IN.read_bytes())
            program.chmod(0o755)
        return str(program)


class _FarWorld(RealWorld):
    """Here it is the real Claude Code, in a file that every account can run."""

    def __init__(self) -> None:
        super().__init__()
        self.path.chmod(0o755)

    def cwd(self, session: str) -> Path:
        """Return the folder that a task works in, whoever it works as."""
        return _for_all(super().cwd(session))

    def claude(self) -> str:
        """Return the file's path."""
        return place_env("ssh")["CLAUDE"]


def _for_all(folder: Path) -> Path:
    folder.parent.chmod(0o755)
    folder.chmod(0o777)
    return folder


class _Fleet(KilledBatch):
    """The batch over all places; each time that its runner is killed, a place has trouble too."""

    def __init__(self, world: World, dice: Dice, figures: Figures, kills: int) -> None:
        super().__init__(world, dice, figures, kills)
        self.slow *= 1.5  # a place has to be reached, and a container to be made
        self._docker, self._ssh = place_env("docker"), place_env("ssh")
        self._config = world.path / "ssh_config"
        hosts = Path(self._ssh["SSH_CONFIG"]).read_text("utf-8")
        self._config.write_text(hosts.replace(self._ssh["SSH_HOST"], " ".join(_HOSTS)))

    def where(self) -> list[str]:
        """Name all places."""
        chosen = [
            word for name, number in _AT_ONCE.items() for word in ("--on", f"{name}:{number}")
        ]
        return [*chosen, "--attempts", str(_ATTEMPTS)]

    def settings(self) -> dict[str, str]:
        """Describe the places."""
        environ = {"environ": self.world.environ()}
        far = {**environ, "config": str(self._config), "claude_path": self.world.claude()}
        mount = f"{self.world.claude()}:/usr/local/bin/claude:ro"
        box = {
            "image": self._docker["IMAGE"], "network": "host", "mounts": [mount],
            "claude_path": "claude", **environ,
        }  # fmt: skip
        places: dict[str, Any] = {
            "here": {"options": environ},
            "box": {"orchestrator": "docker", "options": box},
            **{host: {"orchestrator": "ssh", "options": {**far, "host": host}} for host in _HOSTS},
        }
        docker = {"DOCKER_HOST": self._docker["DOCKER_HOST"]}
        return {"CLAUDE_MPM_PLACES": json.dumps(places), **docker}

    def trouble(self, moment: float | None) -> AbstractContextManager[object]:
        """Cut a place off, or kill what runs there, before the runner is killed."""
        if moment is None:
            return nullcontext()
        kinds = (self._clients, self._claudes, self._containers)
        choice = kinds[self.dice.number(0, len(kinds) - 1)]
        return Killer(self.dice.moment(0.2, moment), choice)

    def _clients(self) -> Iterable[int]:
        """Return the connections to the hosts."""
        return self._chosen("connections cut", running(str(self._config)), all_of_them=True)

    def _claudes(self) -> Iterable[int]:
        """Return one Claude, here or on a host."""
        return self._chosen("Claudes killed", running(self.world.claude()))

    def _containers(self) -> Iterable[int]:
        """Return the first process of one container, which ends with it."""
        return self._chosen("containers killed", list(filter(None, map(self._pid, self._boxes()))))

    def _chosen(self, what: str, found: list[int], *, all_of_them: bool = False) -> list[int]:
        chosen = found if all_of_them else found[:1]
        self.figures.counts[f"{what}, {self.world.kind}"] += bool(chosen)
        return chosen

    def _boxes(self) -> list[str]:
        """Return the containers that the engine has of this batch."""
        noted = [folder.container_file for folder in Store(self.world.state).folders()]
        known = []
        for file in noted:
            with suppress(FileNotFoundError, StorageError):
                known.append(json.loads(file.read_text("utf-8"))["id"])
        there = self._ask_docker("ps", "--all", "--quiet", "--no-trunc").split()
        return [box for box in known if box in there]

    def _pid(self, box: str) -> int:
        return int(self._ask_docker("inspect", "--format", "{{.State.Pid}}", box).strip() or 0)

    def _ask_docker(self, *words: str) -> str:
        environ = {**os.environ, "DOCKER_HOST": self._docker["DOCKER_HOST"]}
        done = subprocess.run(
            ["docker", *words], env=environ, capture_output=True, text=True, check=False
        )
        return done.stdout

    def left(self) -> list[int]:
        """Return the processes that are left, also those of the hosts' account."""
        return [*super().left(), *running(str(self.world.path))]

    def look(self) -> None:
        """Look at the containers as well."""
        super().look()
        for state in Ledger(self.folder).tasks.values():
            for began in state.began:
                self.figures.counts[f"attempts at {began.place}, {self.world.kind}"] += 1
        left = settled(self._boxes, PATIENCE)
        self.figures.found("containers left", len(left), str(left))
