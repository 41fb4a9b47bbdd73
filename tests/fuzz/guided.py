"""One target under atheris, which looks for inputs that reach new code.

Arguments: the target, the seed, how long in seconds, and a folder for the result.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from random import Random

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["claude_mpm"]):
    from engines import all_targets

from judging import Judge, try_one, watch_for_hangs
from mutation import mutate


def main() -> None:
    name, seed, seconds, folder = sys.argv[1:]
    (target,) = [target for target in all_targets() if target.name == name]
    corpus, tokens = Path(folder) / "corpus", Path(folder) / "tokens"
    corpus.mkdir()
    for number, data in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(data)
    escaped = ["".join(f"\\x{byte:02x}" for byte in token) for token in target.tokens if token]
    tokens.write_text("".join(f'"{token}"\n' for token in escaped))
    judge = Judge(target)

    def one(data: bytes) -> None:
        try_one(judge, data)
        if judge.inputs % 500 == 0:
            write()

    def write() -> None:
        findings = [{**asdict(f), "data": f.data.hex()} for f in judge.findings.values()]
        told = {"inputs": judge.inputs, "slowest": judge.slowest, "findings": findings}
        draft = Path(folder) / "draft"
        draft.write_text(json.dumps(told))
        draft.rename(Path(folder) / "result.json")

    def custom(data: bytes, longest: int, number: int) -> bytes:
        random = Random(number)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(data, longest))
        return mutate(bytes(data), random, target.seeds, target.tokens)[:longest]

    watch_for_hangs()
    write()
    longest = max(1, round(float(seconds)))
    flags = [f"-seed={seed}", f"-max_total_time={longest}", "-max_len=8192", "-timeout=60"]
    flags += [f"-artifact_prefix={folder}/", "-rss_limit_mb=2048"]
    flags += [f"-dict={tokens}"] * bool(escaped)  # it takes no empty one
    atheris.Setup([sys.argv[0], *flags, str(corpus)], one, custom_mutator=custom)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
