"""Many sessions, long sessions, and the record of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import workload
from harness import Figure, Numbers, World, alone, files_open, interleave, median, ratio, script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_LINES = 10  # a second, of each busy session


def many(world: World) -> Iterator[Figure]:
    """g, h: a thousand sessions in one process, idle and busy."""
    if world.emitter is None or "claude-agent-sdk" not in world.peers:
        return
    count, wait, rounds = world.pick(1000, 150, 3), world.pick(10, 5, 1), world.pick(2, 1, 1)
    folder = world.fresh()
    sdk = world.peers["claude-agent-sdk"]
    env = {**os.environ, "EMIT_PAUSE": str(1 / _LINES), "EMIT_TIMES": "100000"}
    words = (world.emitter, count, wait)
    with files_open(16 * count):
        runs = interleave(
            rounds,
            sdk=lambda: script("sdk_many", *words, python=sdk, env=env),
            ours=lambda: script("our_many", folder / "state", *words, env=env),
            bare=lambda: script("bare_many", *words, folder / "bare", env=env),
        )
    yield from _idle(count, runs)
    yield from _busy(count, runs)


def _idle(count: int, runs: Mapping[str, list[Numbers]]) -> Iterator[Figure]:
    memory = {name: f"{median(runs[name], 'memory') / 1024:.1f} KiB" for name in ("sdk", "ours")}
    yield Figure(
        "g", f"memory of each of {count} idle sessions, over the SDK",
        *ratio(runs["ours"], runs["sdk"], "memory"), 0.4, sides=memory,
        note="Private memory of the one process that holds them.",
    )  # fmt: skip
    yield Figure(
        "g", f"processor time of {count} idle sessions, of a core",
        *alone(runs["ours"], "idle", 100), 1.0, unit=" %",
        sides={"SDK": f"{median(runs['sdk'], 'idle') * 100:.2f} %"},
    )  # fmt: skip


def _busy(count: int, runs: Mapping[str, list[Numbers]]) -> Iterator[Figure]:
    per_line = {
        name: [{"each": run["busy"] / run["lines"]} for run in found]
        for name, found in runs.items()
    }
    lines = {name: f"{median(found, 'lines'):,.0f} lines/s" for name, found in runs.items()}
    used = {name: f"{median(found, 'busy') * 100:.0f} % of a core" for name, found in runs.items()}
    sides = {name: f"{used[name]}, {lines[name]}" for name in runs}
    bare = {"bare": sides.pop("bare")}
    yield Figure(
        "h", f"{count} sessions at {_LINES} lines a second each: processor time, over the SDK",
        *ratio(per_line["ours"], per_line["sdk"], "each"), 0.25, sides=sides,
        note="Processor time for each line that its user was given, so that a side that falls"
        " behind gains nothing by it. Ours keeps the journal, and looks for tickets, on the way.",
    )  # fmt: skip
    yield Figure(
        "h (bare)", "… a bare loop over as many files that grow, over the SDK",
        *ratio(per_line["bare"], per_line["sdk"], "each"), None, sides=bare,
        note="It sleeps until a file grows, reads what has come and decodes each line; it looks"
        " at none, and has no user.",
    )  # fmt: skip


def memory(world: World) -> Iterator[Figure]:
    """i: a session of a million events."""
    if world.emitter is None:
        return
    folder = world.fresh()
    lines = workload.write(folder / "part.jsonl", world.pick(15_000_000, 15_000_000, 150_000))
    times = world.pick(1_000_000, 200_000, 300) // lines + 1
    run = script("our_memory", folder / "state", world.emitter, folder / "part.jsonl", lines, times)
    yield Figure(
        "i", f"memory after {run['events']:,.0f} events, more than after a tenth of them",
        *alone([run], "grown", 1 / 2**20), 20.0, unit=" MB",
        sides={"after a tenth": f"{run['early'] / 2**20:.0f} MB"},
    )  # fmt: skip


def rebuild(world: World) -> Iterator[Figure]:
    """k, j: the index again from journals; taking up one of them."""
    if world.emitter is None:
        return
    folder = world.fresh()
    size = world.pick(1 << 30, 1 << 28, 1 << 20)
    state = folder / "state"
    cursor = _long_session(state, world.emitter, folder / "part.jsonl", size)
    runs = interleave(world.pick(3, 2, 1), it=lambda: script("our_rebuild", state))["it"]
    rates = [{"rate": run["size"] / run["seconds"] / 1e6} for run in runs]
    yield Figure(
        "k", f"the index rebuilt from {size / 1e9:.2g} GB of journals",
        *alone(rates, "rate"), 150.0, at_least=True, unit=" MB/s",
        sides={"tickets found": f"{median(runs, 'tickets'):,.0f}"},
        note="In one file each byte is decoded, and every ticket, delegation and turn kept.",
    )  # fmt: skip
    yield from _take_up(world, state, cursor, size)


def _take_up(world: World, state: object, cursor: int, size: int) -> Iterator[Figure]:
    runs = interleave(
        world.pick(9, 5, 1),
        it=lambda: script("our_take_up", state, "long", world.emitter, cursor),
    )["it"]
    for name, what in (
        ("cursor", "the first event at a cursor"),
        ("end", "`start()` on the session that still runs, at its end"),
    ):
        yield Figure(
            "j", f"taking up a journal of {size / 1e9:.2g} GB: {what}",
            *alone(runs, name, 1e3), 50.0, unit=" ms",
        )  # fmt: skip
    script("our_end", state, "long")


def _long_session(state: object, emitter: str, part: object, size: int) -> int:
    """Let the emitter write a journal and wait behind it; return the offset of its middle."""
    found = script("our_long_session", state, emitter, part, size)
    return int(found["cursor"])


def store(world: World) -> Iterator[Figure]:
    """n, o: the commands, and the index again, over many small sessions."""
    sessions, tickets = world.pick(10_000, 2000, 20), world.pick(100_000, 20_000, 100)
    state = world.fresh() / "state"
    script("our_store", state, sessions, tickets)
    runs = interleave(world.pick(3, 2, 1), it=lambda: script("our_rebuild", state))["it"]
    each = [{"each": run["seconds"] / sessions} for run in runs]
    yield Figure(
        "o", f"the index rebuilt from {sessions:,} sessions, for each",
        *alone(each, "each", 1e3), 1.5, unit=" ms",
        sides={"tickets found": f"{median(runs, 'tickets'):,.0f}"},
        note="One turn each, which names ten tickets.",
    )  # fmt: skip
    for command, target in (("ps", 0.3), ("ps --all --json", 1.0), ("tickets", 1.0)):
        run = command_over(state, command.split())
        run()  # what is looked at for the first time is remembered
        found = interleave(world.pick(7, 5, 1), it=run)["it"]
        yield Figure(
            "n", f"`claude-mpm {command}` over {sessions:,} sessions with {tickets:,} tickets",
            *alone(found, "seconds"), target, unit=" s",
        )  # fmt: skip


def command_over(state: Path, words: list[str]) -> Callable[[], Numbers]:
    """Return a side that runs a command over a state folder to its end."""
    program = str(Path(sys.executable).parent / "claude-mpm")
    home = str(state.parent)
    env = {"PATH": os.environ["PATH"], "HOME": home, "CLAUDE_MPM_STATE_DIR": str(state)}

    def run() -> Numbers:
        begun = time.perf_counter()
        subprocess.run([program, *words], env=env, cwd=home, capture_output=True, check=True)
        return {"seconds": time.perf_counter() - begun}

    return run


FIGURES = {"gh": many, "i": memory, "jk": rebuild, "no": store}
