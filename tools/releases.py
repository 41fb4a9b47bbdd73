"""Tries releases of Claude Code: `python tools/releases.py [--quick] [WHEEL ...]`.

Each is taken from a wheel of claude-agent-sdk, probed, and held to the contracts of the place
`local` and to the tests with the real Claude Code. Without WHEEL: the floor, the newest, what the
lock has, and six between; with --quick: the first three of these, a part of the tests, and nothing
is written.

Wheels are downloaded where they are missing, and kept in the user's cache. The outcome of each is
kept in `reports/releases/`; the table of the documentation and the package's own are made of it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import msgspec

from claude_mpm.capabilities.facts import FACTS, parse_version, written
from claude_mpm.capabilities.probing import probe
from claude_mpm.capabilities.releases import FILE, Release, Releases, read_releases, written_down
from claude_mpm.capabilities.strangers import fields_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "claude-versions.md"
REPORTS = ROOT / "reports" / "releases"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "claude-mpm" / "builds"
FLOOR = "0.2.120"
BETWEEN = ("0.2.140", "0.2.150", "0.2.155", "0.2.160", "0.2.175", "0.2.187")
_NEXT = 5  # wheels that are tried instead of one that is unavailable
_QUICK = ["served", "quick"]
_BAD = {"failure", "error", "skipped"}
_BEGIN, _END = "<!-- made by make releases -->", "<!-- until here -->"
# Each group of tests: what pytest is given.
GROUPS: dict[str, tuple[str, ...]] = {
    "served": ("tests/claude_versions/test_served.py",),
    "quick": (
        "tests/real/test_framework_injection.py", "tests/real/test_interrupt.py",
        "tests/real/test_subagents.py", "tests/real/test_ten_turns.py",
    ),
    "contracts": ("tests/places/test_contracts.py", "-k", "keeps_a_contract and local"),
    "real": ("tests/real",),
    "demo": ("tests/cli/test_demo.py",),
    "sdk": ("tests/sdk",),
    "terminal": ("tests/terminal/test_native_interface.py", "tests/terminal/test_native_agents.py"),
}  # fmt: skip


class Tried(msgspec.Struct):
    """The result of one release, as it is stored in a report."""

    release: Release
    messages: dict[str, list[str]] = {}
    failed: dict[str, list[str]] = {}
    seconds: float = 0.0


def main() -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("wheels", nargs="*", metavar="WHEEL", help="versions of claude-agent-sdk")
    parser.add_argument("--quick", action="store_true", help="the floor, the lock's and the newest")
    parser.add_argument("--groups", default="", help=f"some of: {', '.join(GROUPS)}")
    parser.add_argument("--jobs", default="2", help="how many tests at once")
    parser.add_argument("--again", action="store_true", help="only the tests that failed before")
    parser.add_argument("--write", action="store_true", help="only write down what was found")
    given = parser.parse_args()
    if given.write:
        write_down()
        return 0
    named = given.groups.split(",") if given.groups else _QUICK if given.quick else [*GROUPS]
    wheels = given.wheels or (
        [FLOOR, locked(), newest()] if given.quick else [FLOOR, *BETWEEN, locked(), newest()]
    )
    tried = [
        try_wheel(each, named, given.jobs, again=given.again) for each in dict.fromkeys(wheels)
    ]
    if not given.quick:
        write_down()
    for each in tried:
        print(f"{each.release.version}: {each.release.results} in {each.seconds:.0f} s")
        for name, tests in each.failed.items():
            print("".join(f"  {name}: {test}\n" for test in tests), end="")
    return int(given.quick and any(each.failed.values() for each in tried))


def locked() -> str:
    """Return the wheel that the lock has."""
    found = re.search(r"^claude-agent-sdk==(\S+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert found is not None
    return found[1]


def newest() -> str:
    """Return the newest wheel that the index offers; without one, the newest that is here."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "index", "versions", "claude-agent-sdk"], capture_output=True, text=True, check=False
    )
    found = re.search(r"\(([\d.]+)\)", done.stdout)
    if found:
        return found[1]
    here = [path.name for path in CACHE.glob("*/") if parse_version(path.name)]
    print("the index cannot be asked: the newest build that is here is taken", file=sys.stderr)
    return max((*here, locked()), key=lambda each: parse_version(each) or (0, 0, 0))


def build_of(wheel: str) -> tuple[str, Path]:
    """Return a wheel's `claude`, or that of the next wheel that is to be had, and which that is."""
    major, minor, patch = parse_version(wheel) or (0, 0, 0)
    for number in range(patch, patch + _NEXT):
        name = written((major, minor, number))
        claude = CACHE / name / "claude"
        if claude.is_file() or _download(name, claude):
            if name != wheel:
                print(f"{wheel} is not to be had: {name} stands for it", file=sys.stderr)
            return name, claude
    raise SystemExit(f"{wheel} and the {_NEXT - 1} behind it are not to be had")


def _download(wheel: str, claude: Path) -> bool:
    claude.parent.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    asked = ["--no-deps", "--only-binary=:all:", "--dest", str(claude.parent)]
    done = subprocess.run([*pip, *asked, f"claude-agent-sdk=={wheel}"], check=False)
    files = list(claude.parent.glob("*.whl"))
    if done.returncode or not files:
        return False
    draft = claude.with_name("draft")
    with zipfile.ZipFile(files[0]) as archive:
        draft.write_bytes(archive.read("claude_agent_sdk/_bundled/claude"))
    draft.chmod(0o755)
    draft.rename(claude)
    files[0].unlink()
    return True


def try_wheel(wheel: str, named: Sequence[str], jobs: str, *, again: bool = False) -> Tried:
    """Probe a release, run the tests on it, and store the result.

    Args:
        named: the groups of tests.
        jobs: how many tests at once.
        again: whether only those tests of the groups are run that failed before.
    """
    wheel, claude = build_of(wheel)
    began = time.monotonic()
    found = probe(claude)
    if found.error:
        raise SystemExit(f"{wheel} cannot be probed, so nothing was run: {found.error}")
    messages = {name: set(fields) for name, fields in found.messages.items()}
    report = REPORTS / f"{wheel}.json"
    given = {name: GROUPS[name] for name in named}
    if again:
        before = _reported(report, Release(found.version, wheel)).failed
        given = {name: tuple(before[name]) for name in named if name in before}
    ran = {name: _run(claude, tests, jobs, messages) for name, tests in given.items()}
    # Other groups of tests may have been run before, or meanwhile.
    known = _reported(report, Release(found.version, wheel))
    for name, fields in known.messages.items():
        messages.setdefault(name, set()).update(fields)
    passed, failed = dict(known.release.results), dict(known.failed)
    for name, (number, bad) in ran.items():
        number = _number(passed[name], number, given[name]) if again else number
        passed[name], failed[name] = f"{number - len(bad)} of {number}", bad
    tried = Tried(
        Release(found.version, wheel, found.facts, passed),
        {name: sorted(fields) for name, fields in messages.items()},
        {name: tests for name, tests in failed.items() if tests},
        time.monotonic() - began,
    )
    REPORTS.mkdir(parents=True, exist_ok=True)
    report.write_bytes(msgspec.json.format(msgspec.json.encode(tried)))
    return tried


def _reported(report: Path, release: Release) -> Tried:
    """Return what is known of a release; nothing but its name where there is no report."""
    if not report.exists():
        return Tried(release)
    return msgspec.json.decode(report.read_bytes(), type=Tried)


def _number(before: str, ran: int, tests: Sequence[str]) -> int:
    """Return how many tests a group has of which only those that had failed were run."""
    if ran != len(tests):
        raise SystemExit(f"{ran} of {len(tests)} tests are there: run the group without --again")
    return int(before.split()[-1])


def _run(
    claude: Path, tests: Sequence[str], jobs: str, messages: dict[str, set[str]]
) -> tuple[int, list[str]]:
    """Run tests on a build; return how many there are, and which failed."""
    with tempfile.TemporaryDirectory(prefix="mpm-") as name:  # sockets want it short
        made = Path(name)
        xml = made / "results.xml"
        words = ["-q", "-n", jobs, "--dist", "loadfile", "-p", "no:cacheprovider"]
        words += [f"--basetemp={made / 'files'}", f"--junitxml={xml}"]
        environ = {**os.environ, "PATH": f"{claude.parent}{os.pathsep}{os.environ['PATH']}"}
        environ.pop("CLAUDE_PATH", None)
        command = [sys.executable, "-m", "pytest", *words, *tests]
        subprocess.run(command, cwd=ROOT, env=environ, check=False)
        _harvest(made / "files", messages)
        good: dict[str, bool] = {}
        for case in ElementTree.parse(xml).iter("testcase"):  # two where it fails at its end, too
            file = case.get("classname", "").replace(".", "/")
            test = f"{file}.py::{case.get('name', '')}"
            good[test] = good.get(test, True) and not {part.tag for part in case} & _BAD
    return len(good), [test for test, is_good in good.items() if not is_good]


def _harvest(folder: Path, messages: dict[str, set[str]]) -> None:
    """Take down which messages are in the journals of real builds, and with which fields."""
    for meta in folder.glob("**/meta.json"):
        journal = meta.parent / "exchange" / "out.jsonl"
        if b'"wire": "stream-json"' not in meta.read_bytes() or not journal.exists():
            continue
        lines = journal.read_bytes().splitlines()
        if any(
            b'"init"' in line and b'"claude_code_version"' in line for line in lines
        ):  # else it is a stand-in's
            for name, fields in fields_of(lines).items():
                messages.setdefault(name, set()).update(fields)


def write_down() -> None:
    """Make the package's table and the page of the documentation of what is in the reports."""
    found = sorted(_reports(), key=lambda each: parse_version(each.release.version) or (0, 0, 0))
    if not found:
        raise SystemExit("nothing was tried yet")
    messages = {name: set(fields) for name, fields in read_releases().messages.items()}
    for each in found:
        for name, fields in each.messages.items():
            messages.setdefault(name, set()).update(fields)
    FILE.write_bytes(
        written_down(
            Releases(
                date.today().isoformat(),
                tuple(each.release for each in found),
                {name: frozenset(fields) for name, fields in sorted(messages.items())},
            )
        )
    )
    before, _, rest = PAGE.read_text("utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    PAGE.write_text(f"{before}{_BEGIN}\n{page(found)}{_END}{after}", "utf-8")


def _reports() -> Iterator[Tried]:
    for report in sorted(REPORTS.glob("*.json")):
        yield msgspec.json.decode(report.read_bytes(), type=Tried)


def page(tried: Sequence[Tried]) -> str:
    """Return the tables of the page: what was run, what each build can do, and what failed."""
    names = [group for group in GROUPS if any(group in each.release.results for each in tried)]
    lines = [f"\nTried on {date.today():%Y-%m-%d}, on Linux x86-64, one build of a wheel each.\n"]
    lines += _table(("Claude Code", "wheel", *names), [
        (each.release.version, each.release.wheel,
         *(each.release.results.get(name, "not run") for name in names))
        for each in tried
    ])  # fmt: skip
    lines.append("")
    lines += _table(("a build", "since", *(each.release.version for each in tried), "without"), [
        (fact.can, written(fact.since),
         *("✓" if fact.name in each.release.facts else "–" for each in tried),
         fact.without or fact.instead)
        for fact in FACTS
    ])  # fmt: skip
    failed = [
        f"- {each.release.version}, {group}: `{test}`"
        for each in tried
        for group, tests in each.failed.items()
        for test in tests
    ]
    lines += ["", "Failed:", "", *failed] if failed else []
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    sys.exit(main())
