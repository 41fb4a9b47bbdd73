"""Starting: whole processes, imports, and the wait for Claude's first answer."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness import Figure, Numbers, World, difference, interleave, median, ratio, script
from harness import seconds as say

from claude_mpm.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PROGRAM = str(Path(sys.executable).parent / "claude-mpm")


def whole_process(world: World) -> Iterator[Figure]:
    """a: `claude-mpm run` over bare `claude -p`."""
    with ScriptedModel() as model:
        folder = world.fresh()

        def env(side: str) -> dict[str, str]:
            # A home and a project of its own: a peer leaves hooks and settings where it ran.
            home = folder / side
            more = {"CLAUDE_PATH": world.claude, "CLAUDE_MPM_STATE_DIR": str(home / "state")}
            return model.environment(home, **more)

        heard = "Claude heard:"
        sides = {
            "bare": _process([world.claude, "-p", "hi"], env("bare"), heard),
            "ours": _process([_PROGRAM, "run", "--quiet", "hi"], env("ours"), heard),
        }
        if sdk := world.peers.get("claude-agent-sdk"):
            query = str(Path(__file__).parent / "sides" / "sdk_query.py")
            sides["sdk"] = _process([sdk, query, world.claude, "hi"], env("sdk"), heard)
        if ancestor := world.peers.get("claude-mpm"):
            sides["ancestor"] = _ancestor(ancestor, world.claude, env("ancestor"))
        for side in sides.values():  # what is made once
            side()
        runs = interleave(world.pick(9, 5, 1), **sides)
    said = {
        "bare `claude -p`": "bare", "`claude-mpm run`": "ours", "SDK `query()`": "sdk",
        "the index's `claude-mpm`": "ancestor",
    }  # fmt: skip
    took = {name: median(runs[side], "seconds") for name, side in said.items() if side in runs}
    yield Figure(
        "a", "`claude-mpm run` over bare `claude -p`, whole process",
        *ratio(runs["ours"], runs["bare"], "seconds"), 1.15,
        sides={name: say(seconds) for name, seconds in took.items()},
        bars={name.replace("`", ""): seconds for name, seconds in took.items()},
        note="Real Claude Code, one prompt, a model that answers at once. Ours also gives Claude"
        " the default framework and keeps the journal and the index.",
    )  # fmt: skip
    yield Figure(
        "a (cpu)", "… and processor time, of all processes",
        *ratio(runs["ours"], runs["bare"], "cpu"), 1.2,
        sides={name: say(median(runs[side], "cpu")) for name, side in said.items() if side in runs},
    )  # fmt: skip
    for side, what in (("sdk", "claude-agent-sdk `query()`"), ("ancestor", "the index's release")):
        if side in runs:
            yield Figure(
                f"a ({side})", f"{what} over bare `claude -p`",
                *ratio(runs[side], runs["bare"], "seconds"), None,
            )  # fmt: skip


def imports(world: World) -> Iterator[Figure]:
    """b: what Python needs before anything is done."""
    folder = world.fresh()
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    python = sys.executable
    runs = interleave(
        world.pick(25, 9, 1),
        bare=_process([python, "-c", "pass"], env),
        imported=_process([python, "-c", "import claude_mpm"], env),
        version=_process([_PROGRAM, "--version"], env, "claude-mpm"),
    )
    bare = say(median(runs["bare"], "seconds"))
    for name, what, target in (
        ("imported", "`import claude_mpm`", 40.0),
        ("version", "`claude-mpm --version`", 120.0),
    ):
        yield Figure(
            "b", f"{what} more than `python -c pass`",
            *difference(runs[name], runs["bare"], "seconds"), target, unit=" ms",
            sides={"`python -c pass`": bare, what: say(median(runs[name], "seconds"))},
        )  # fmt: skip


def handshake(world: World) -> Iterator[Figure]:
    """l: from `start()` until Claude has answered."""
    with ScriptedModel() as model:
        folder = world.fresh()
        env = {**model.environment(folder / "home"), "PATH": os.environ["PATH"]}
        rounds = world.pick(11, 5, 1)
        found = script("start", folder / "state", world.claude, rounds, env=env)
    yield Figure(
        "l", "`start()` until `initialize` is answered, over a bare spawn",
        found["ratio"], found["low"], found["high"], 1.10,
        sides={"by hand": say(found["hand"]), "`start()`": say(found["ours"])},
        note="Both spawn the real Claude Code and send `initialize`; ours makes the session folder,"
        " starts the host and gives Claude the default framework.",
    )  # fmt: skip


def crowd(world: World) -> Iterator[Figure]:
    """m: many at once."""
    count = world.pick(30, 8, 2)
    with ScriptedModel() as model:
        folder = world.fresh()
        env = {**model.environment(folder / "home"), "PATH": os.environ["PATH"]}

        def run(side: str) -> Callable[[], Numbers]:
            return lambda: script("crowd", side, folder / "state", world.claude, count, env=env)

        runs = interleave(world.pick(3, 2, 1), ours=run("ours"), hand=run("hand"))
    yield Figure(
        "m", f"{count} real Claudes started by us, over {count} by hand at once",
        *ratio(runs["ours"], runs["hand"], "seconds"), 1.0,
        sides={
            "by hand": say(median(runs["hand"], "seconds")),
            "ours": say(median(runs["ours"], "seconds")),
        },
        note="The time until all have answered `initialize`. We let only a few start at a time.",
    )  # fmt: skip


def _process(command: list[str], env: dict[str, str], said: str = "") -> Callable[[], Numbers]:
    """Return a side that runs a command to its end, and checks that it did its work."""
    folder = Path(env["HOME"]) / "project"  # a peer may write where it is started
    folder.mkdir(parents=True, exist_ok=True)

    def run() -> Numbers:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode or said not in done.stdout:
            raise RuntimeError(f"{command}: {done.returncode}: {done.stdout}{done.stderr}")
        user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
        return {"seconds": took, "cpu": user + system}

    return run


def _ancestor(python: str, claude: str, env: dict[str, str]) -> Callable[[], Numbers]:
    """Return a side that runs one prompt through the package index's `claude-mpm`.

    It looks for news on the network and skips Claude's permissions: the one is cut off, the other
    allowed, as it would not start otherwise.
    """
    folder = Path(python).parent
    programs = Path(env["HOME"]) / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    (programs / "claude").symlink_to(claude)
    nowhere = "http://127.0.0.1:9"
    more = {
        "PATH": f"{programs}:{folder}:/usr/bin:/bin",
        "IS_SANDBOX": "1",
        "TMPDIR": env["HOME"],
        "HTTPS_PROXY": nowhere,
        "HTTP_PROXY": nowhere,
        "NO_PROXY": "127.0.0.1",
    }
    command = [str(folder / "claude-mpm"), "run", "--non-interactive", "-i", "hi"]
    return _process(command, {**env, **more}, "Claude heard:")


FIGURES = {"a": whole_process, "b": imports, "l": handshake, "m": crowd}
