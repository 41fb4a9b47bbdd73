"""Fuzzes every target for a while and writes the outcome: `make fuzz MINUTES=40 SEED=1`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from engines import all_targets, by_generator, by_hypothesis
from judging import Finding, Judge, Target, watch_for_hangs
from workspace import IN_MEMORY

HERE = Path(__file__).parent
_NOTHING: dict[str, Any] = {"inputs": 0, "slowest": 0.0, "findings": []}


@dataclass
class Outcome:
    """What one engine did with one target."""

    inputs: int = 0
    slowest: float = 0.0
    findings: list[Finding] = field(default_factory=list)


def outcome(judge: Judge) -> Outcome:
    return Outcome(judge.inputs, judge.slowest, list(judge.findings.values()))


def by_atheris(name: str, seed: int, seconds: float) -> Outcome:
    """Let the coverage-guided fuzzer work, in a process of its own: libFuzzer ends its process."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, str(HERE / "guided.py"), name, str(seed), str(seconds), folder]
        environ = {**os.environ, "FUZZ_FOLDER": folder}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
        told = json.loads(result.read_text()) if result.exists() else _NOTHING
        artifacts = [file.read_bytes() for file in Path(folder).glob("*-*")]
    found = [Finding(**{**each, "data": bytes.fromhex(each["data"])}) for each in told["findings"]]
    if done.returncode:
        last = " ".join(done.stderr.strip().split("\n")[-6:])
        found.append(Finding("crash", f"the fuzzer died: {last}", name, b"".join(artifacts)))
    return Outcome(told["inputs"], told["slowest"], found)


def fuzz(target: Target, seed: int, seconds: float, *, guided: bool) -> dict[str, Outcome]:
    """Give each engine its share of the time."""
    done: dict[str, Outcome] = {}
    share = seconds / 4
    judge = Judge(target)
    by_hypothesis(judge, seed, share)
    done["hypothesis"] = outcome(judge)
    judge = Judge(target)
    by_generator(judge, Random(f"{seed} {target.name}"), share if guided else 3 * share)
    done["mutation"] = outcome(judge)
    if guided:
        done["atheris"] = by_atheris(target.name, seed, 2 * share)
    return done


def report(done: dict[str, dict[str, Outcome]], command: str, took: float) -> str:
    engines = sorted({engine for each in done.values() for engine in each})
    total = sum(o.inputs for each in done.values() for o in each.values())
    rows = [f"| target | {' | '.join(engines)} | crashes | hangs | slowest |",
            "| --- |" + " ---: |" * (len(engines) + 3)]  # fmt: skip
    broken = []
    for name, each in done.items():
        found = [f for o in each.values() for f in o.findings]
        hangs = sum(f.kind == "hang" for f in found)
        counts = " | ".join(f"{each[e].inputs:,}" if e in each else "" for e in engines)
        slow = max(o.slowest for o in each.values())
        rows.append(f"| {name} | {counts} | {len(found) - hangs} | {hangs} | {slow:.3f} s |")
        broken += [f"- {name}: {f.kind} in {f.where}, {f.times} times: {f.what}; "
                   f"input {f.data[:400]!r}" for f in found]  # fmt: skip
    return "\n".join(
        [
            "# Fuzzing", "", f"`{command}`: {total:,} inputs in {took / 60:.1f} minutes.",
            "Inputs of each engine, ways to break a target, and the slowest input in processor",
            "seconds; more than one is a hang.", "", *rows, "",
            "## What was found", "", *(broken or ["Nothing."]), "",
            "What earlier runs found is in `tests/fuzz/test_found.py`, each as a test.", "",
        ]
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="targets whose name has this in it")
    parser.add_argument("--no-guided", action="store_true", help="leave atheris out")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    os.nice(10)
    watch_for_hangs()
    guided = importlib.util.find_spec("atheris") is not None and not given.no_guided
    targets = [target for target in all_targets() if given.only in target.name]
    began, done = time.monotonic(), {}
    for target in targets:
        seconds = given.minutes * 60 / len(targets)
        each = done[target.name] = fuzz(target, given.seed, seconds, guided=guided)
        found = sum(len(o.findings) for o in each.values())
        counts = ", ".join(f"{o.inputs:,} {engine}" for engine, o in each.items())
        sys.stderr.write(f"{target.name}: {counts}; {found} found\n")
        command = f"make fuzz MINUTES={given.minutes:g} SEED={given.seed}"
        text = report(done, command, time.monotonic() - began)
        if given.output is not None:
            given.output.parent.mkdir(parents=True, exist_ok=True)
            given.output.write_text(text)
    sys.stdout.write(text)
    sys.exit(any(o.findings for each in done.values() for o in each.values()))


if __name__ == "__main__":
    main()
