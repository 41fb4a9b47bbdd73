"""The flow: turns, lines and events, and how long each is on its way."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import workload
from harness import Figure, Numbers, World, interleave, median, ratio, script, thousands
from harness import seconds as say

from claude_mpm.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def warm_turn(world: World) -> Iterator[Figure]:
    """b2: a turn of a Claude that runs."""
    with ScriptedModel() as model:
        folder = world.fresh()
        env = {**model.environment(folder / "home"), "PATH": os.environ["PATH"]}
        rounds, sdk = world.pick(60, 24, 2), world.peers.get("claude-agent-sdk")
        found = script("warm", folder / "state", world.claude, rounds, env=env)
        peer = script("sdk_warm", world.claude, rounds, python=sdk, env=env) if sdk else None
    yield Figure(
        "b2", "a warm turn through `ask`, over the same turn on raw pipes",
        found["ratio"], found["low"], found["high"], 1.10,
        sides={"by hand": say(found["hand"]), "`ask`": say(found["ours"])},
        note="Two real Claudes side by side; a turn ends where Claude says that it is idle. The"
        " spread is that of the middle half of the turns.",
    )  # fmt: skip
    if peer is not None:
        yield Figure(
            "b2 (sdk)", "… through the SDK's client, over the same turn on raw pipes",
            peer["ratio"], peer["low"], peer["high"], None,
            sides={"by hand": say(peer["hand"]), "`ClaudeSDKClient`": say(peer["sdk"])},
            note="Both end the turn at its result.",
        )  # fmt: skip


def events(world: World) -> Iterator[Figure]:
    """c: stream-json."""
    if world.emitter is None or "claude-agent-sdk" not in world.peers:
        return
    folder = world.fresh()
    file = folder / "session.jsonl"
    lines = workload.write(file, world.pick(60_000_000, 30_000_000, 300_000))
    state, sdk = folder / "state", world.peers["claude-agent-sdk"]
    runs = interleave(
        world.pick(5, 3, 1),
        sdk=lambda: script("sdk_parse", file, python=sdk),
        whole=lambda: script("sdk_events", world.emitter, file, lines, python=sdk),
        ours=lambda: script("our_events", state, world.emitter, file, lines),
    )
    yield Figure(
        "c", "stream-json events through everything, over the SDK's parsing alone",
        *ratio(_rates(runs["ours"], "events"), _rates(runs["sdk"], "events"), "rate"), 1.0,
        at_least=True,
        sides=_shown(runs, "events", {"SDK, `json.loads` and `parse_message`": "sdk"}),
        note="A session as Claude writes it, 25 lines a turn, 1.5 kB a line. Ours takes it from"
        " another process through the journal, decodes, extracts, indexes, calls the user's sink"
        " with each event, and the user reads the lines by `get_output`; the SDK's side has the"
        " lines in memory, parses them and does nothing else.",
    )  # fmt: skip
    yield Figure(
        "c", "… over the SDK's own way, from another process to its user",
        *ratio(_rates(runs["ours"], "events"), _rates(runs["whole"], "events"), "rate"), 3.0,
        at_least=True, sides=_shown(runs, "events", {"SDK, `receive_messages()`": "whole"}),
        note="The same lines from the same process; the SDK keeps no journal and finds nothing.",
    )  # fmt: skip


def lines(world: World) -> Iterator[Figure]:
    """d: plain lines."""
    folder = world.fresh()
    file, count = folder / "lines.txt", world.pick(1_000_000, 400_000, 2_000)
    with file.open("w") as stream:
        stream.writelines(
            f"line {n}: the cursor is kept in one transaction, so nothing is lost or twice\n"
            for n in range(count)
        )
    sides: dict[str, Callable[[], Numbers]] = {
        "split": lambda: script("bare_split", "cat", file),
        "bare": lambda: script("bare_lines", "cat", file),
        "ours": lambda: script("our_lines", folder / "state", count, "/bin/cat", file),
    }
    runs = interleave(world.pick(5, 3, 1), **sides)
    rates = {name: _rates(found, "lines") for name, found in runs.items()}
    shown = {"`os.read`, `split`": "split", "… and each line decoded": "bare"}
    yield Figure(
        "d", "plain lines through everything, over a bare `os.read` and `split`",
        *ratio(rates["ours"], rates["split"], "rate"), 0.12, at_least=True,
        sides=_shown(runs, "lines", shown),
        note="`cat` writes lines of 80 bytes. The bare loop splits and looks at no line; ours keeps"
        " the journal, looks for tickets and delegations, and the user reads each line as text by"
        " `get_output`.",
    )  # fmt: skip
    if pexpect := world.peers.get("pexpect"):
        few = folder / "few.txt"
        part = count // 5
        with file.open() as stream:
            few.write_text("".join(line for line, _ in zip(stream, range(part), strict=False)))
        peer = interleave(
            world.pick(3, 2, 1), it=lambda: script("pexpect_lines", "cat", few, python=pexpect)
        )["it"]
        peers = _rates(peer, "lines")
        theirs = median(peers, "rate")
        yield Figure(
            "d", "… over pexpect",
            median(rates["ours"], "rate") / theirs,
            min(run["rate"] for run in rates["ours"]) / max(run["rate"] for run in peers),
            max(run["rate"] for run in rates["ours"]) / min(run["rate"] for run in peers),
            15.0, at_least=True, sides={"pexpect, `for line in child`": thousands(theirs)},
        )  # fmt: skip


def delays(world: World) -> Iterator[Figure]:
    """e, f: out and in."""
    if world.emitter is None:
        return
    folder, count = world.fresh(), world.pick(1000, 500, 20)

    def run(side: str) -> Callable[[], Numbers]:
        return lambda: script("delay", side, folder / "state", world.emitter, count)

    runs = interleave(world.pick(5, 3, 1), bare=run("bare"), ours=run("ours"))
    for name, target in (("p50", 2.0), ("p99", 10.0)):
        each = [(a[name] - b[name]) * 1e3 for a, b in zip(runs["ours"], runs["bare"], strict=True)]
        ours, bare = median(runs["ours"], name), median(runs["bare"], name)
        yield Figure(
            "e", f"from Claude's write to `get_output`, more than a bare pipe in a thread, {name}",
            (ours - bare) * 1e3, min(each), max(each), target, unit=" ms",
            sides={"bare": say(bare), "ours": say(ours)},
            note="A line every 3 ms, which tells when it was written.",
        )  # fmt: skip
    inwards = [run["in50"] * 1e3 for run in runs["ours"]]
    yield Figure(
        "f", "from `send_input` to the byte on Claude's standard input, p50",
        median(runs["ours"], "in50") * 1e3, min(inwards), max(inwards), 5.0, unit=" ms",
        sides={"p99": say(median(runs["ours"], "in99"))},
        note="With the message synced to the disk before it is announced.",
    )  # fmt: skip


def long_line(world: World) -> Iterator[Figure]:
    """i2: one line of 64 MB."""
    file, size = world.fresh() / "long.jsonl", world.pick(64, 64, 2) << 20
    file.write_bytes(b"x" * (size - 1) + b"\n")
    found = script("long_line", file, world.pick(11, 5, 1))
    yield Figure(
        "i2", f"one line of {size >> 20} MB, over joining its chunks",
        found["ratio"], found["low"], found["high"], 2.0, sides={"joining": say(found["joined"])},
        note="Both read the file in the same chunks.",
    )  # fmt: skip


def _rates(runs: list[Numbers], name: str) -> list[Numbers]:
    return [{"rate": run[name] / run["seconds"]} for run in runs]


def _shown(runs: dict[str, list[Numbers]], name: str, sides: dict[str, str]) -> dict[str, str]:
    named = {**sides, "ours": "ours"}
    return {
        what: thousands(median(_rates(runs[side], name), "rate")) for what, side in named.items()
    }


FIGURES = {"b2": warm_turn, "c": events, "d": lines, "ef": delays, "i2": long_line}
