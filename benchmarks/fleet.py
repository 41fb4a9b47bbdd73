"""Lists of tasks whose runner is killed in the middle: ours, and what else one picks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness import HERE, PATIENCE, Figure, World
from harness import seconds as say

from claude_mpm.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_PROGRAM = str(Path(sys.executable).parent / "claude-mpm")
_AT_ONCE = 4
_LOOK = 0.05  # seconds between two looks at what the model was asked
_LINES = {"ours": "1 command", "GNU parallel": "1 command", "a pool over the SDK": "25 lines"}


class _Side:
    """One way to run the tasks; run until half of them are asked for, killed, and run again.

    Args:
        first, again: the command, and the one that goes on after a kill.
        results: returns how many results are there.
    """

    def __init__(
        self, first: Sequence[str], again: Sequence[str], results: Callable[[], int]
    ) -> None:
        self._commands = (first, again)
        self._results = results

    def play(self, model: ScriptedModel, env: Mapping[str, str], tasks: int) -> dict[str, float]:
        """Return how long both runs took, and what the kill cost."""
        begin = time.monotonic()
        runner = self._start(0, env)
        while _asked(model) < tasks // 2 and not _has_ended(runner):
            continue
        runner.send_signal(signal.SIGKILL)
        runner.wait()
        found: dict[str, float] = {"seconds": time.monotonic() - begin, "kept": self._results()}
        found["running"] = _claudes(env)
        begin = time.monotonic()
        self._start(1, env).wait(PATIENCE)
        found["seconds"] += time.monotonic() - begin
        found["results"], found["asked"] = self._results(), _asked(model)
        return found

    def _start(self, number: int, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._commands[number], env=dict(env), cwd=env["HOME"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def _has_ended(runner: subprocess.Popen[bytes]) -> bool:
    """Return whether a runner ends until it is time for the next look."""
    with suppress(subprocess.TimeoutExpired):
        runner.wait(_LOOK)
    return runner.returncode is not None


def _asked(model: ScriptedModel) -> int:
    """Return how many prompts the model was asked to answer, each time that it was."""
    return sum("number" in str(request.messages[-1:]) for request in tuple(model.requests))


def _claudes(env: Mapping[str, str]) -> int:
    """Return how many Claudes with these variables run, of whom nobody may know any more."""
    mark = f"CLAUDE_CONFIG_DIR={env['CLAUDE_CONFIG_DIR']}".encode()
    count = 0
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            count += b"claude" in Path(os.fsdecode(words[0])).name.encode() and mark in (
                folder / "environ"
            ).read_bytes().split(b"\0")
        except OSError:
            continue
    return count


def killed_runner(world: World) -> Iterator[Figure]:
    """q: a list of tasks whose runner is killed in the middle and started again."""
    tasks = world.pick(100, 20, 4)
    folder = world.fresh()
    file = folder / "tasks.jsonl"
    lines = [{"id": f"t{n}", "prompt": f"Answer number {n}."} for n in range(tasks)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = {}
    for name, make in (
        ("ours", _ours),
        ("GNU parallel", _parallel),
        ("a pool over the SDK", _pool),
    ):
        with ScriptedModel() as model:
            home = folder / name.replace(" ", "-")
            more = {"CLAUDE_PATH": world.claude, "CLAUDE_MPM_STATE_DIR": str(home / "state")}
            env = model.environment(home, **more)
            home.mkdir(exist_ok=True)
            if side := make(world, file, home):
                found[name] = side.play(model, env, tasks)
    ours = found.pop("ours")
    for name, theirs in found.items():
        value = ours["seconds"] / theirs["seconds"]
        yield Figure(
            "q", f"{tasks} tasks, {_AT_ONCE} at once, the runner killed in the middle, over {name}",
            value, value, value, None,
            sides={"ours": _said("ours", ours), name: _said(name, theirs)},
            note="Real Claude Code. The runner gets SIGKILL when half of the prompts have reached"
            " the model, and is started again with what it has to go on.",
        )  # fmt: skip


def _said(name: str, side: Mapping[str, float]) -> str:
    return (
        f"{say(side['seconds'])}; {side['kept']:.0f} results and {side['running']:.0f} Claudes at"
        f" the kill, {side['results']:.0f} results in the end for {side['asked']:.0f} prompts;"
        f" {_LINES[name]}"
    )


def _ours(world: World, file: Path, home: Path) -> _Side | None:
    batch = [_PROGRAM, "batch"]
    flags = ["--on", f"local:{_AT_ONCE}", "--no-framework", "--quiet"]
    listed = [*batch, "results", "bench", "--json"]

    def results() -> int:
        env = {**os.environ, "CLAUDE_MPM_STATE_DIR": str(home / "state")}
        done = subprocess.run(listed, env=env, capture_output=True, text=True, check=True)
        return len(json.loads(done.stdout))

    first = [*batch, "run", str(file), "--name", "bench", *flags]
    return _Side(first, [*batch, "resume", "bench", *flags], results)


def _parallel(world: World, file: Path, home: Path) -> _Side | None:
    program = shutil.which("parallel")
    if program is None:
        print("no GNU `parallel`: it is left out")
        return None
    prompts = home / "prompts"
    prompts.write_text(
        "".join(json.loads(line)["prompt"] + "\n" for line in file.read_text().splitlines())
    )
    command = [program, "--will-cite", f"-j{_AT_ONCE}", "--joblog", str(home / "log"), "--resume"]
    command += ["--results", str(home / "out"), "--arg-file", str(prompts), world.claude, "-p"]
    log = home / "log"

    def results() -> int:
        return max(0, len(log.read_text().splitlines()) - 1) if log.exists() else 0

    return _Side(command, command, results)


def _pool(world: World, file: Path, home: Path) -> _Side | None:
    python = world.peers.get("claude-agent-sdk")
    if python is None:
        return None
    results = home / "results.jsonl"
    script = str(HERE / "sides" / "sdk_pool.py")
    command = [python, script, world.claude, str(file), str(results), str(_AT_ONCE)]
    return _Side(
        command, command, lambda: len(results.read_text().splitlines()) if results.exists() else 0
    )


FIGURES = {"q": killed_runner}
