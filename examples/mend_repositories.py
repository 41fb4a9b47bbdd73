"""A batch over twelve small repositories, each with a test that fails; the tests say what passed.

python examples/mend_repositories.py FOLDER

makes the repositories in FOLDER and lets Claude mend each in a git worktree of its own. What it
changed is on a branch of each repository; the check, `pytest -q`, decides and not what Claude says.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

from claude_mpm.fleet.batch import Batch

REPOSITORIES = 12
MODULE = "def total(numbers):\n    return sum(numbers) + {number}\n"
TEST = "from sums import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n"


def git(folder: Path, *words: str) -> None:
    """Run git as somebody of its own."""
    who = ("-c", "user.name=Example", "-c", "user.email=example@localhost")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def make_repository(folder: Path, number: int) -> None:
    """Make a repository whose test fails."""
    folder.mkdir(parents=True)
    (folder / "sums.py").write_text(MODULE.format(number=number))
    (folder / "test_sums.py").write_text(TEST)
    (folder / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=A sum that is wrong")


def task(folder: Path) -> dict[str, Any]:
    """Return what is to be done for a repository, and how it is known that it was done."""
    return {
        "id": folder.name,
        "prompt": f"The test of {folder.name} fails. Mend the code, and leave the test as it is.",
        "repository": str(folder),
        "worktree": True,
        "permission_mode": "acceptEdits",
        "check": [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        "check_timeout": 60,
        "budget_usd": 1.0,
    }


async def main(root: Path) -> int:
    """Make the repositories, run the batch, print a line for each; return the exit status."""
    folders = [root / f"repo-{number:02d}" for number in range(1, REPOSITORIES + 1)]
    for number, folder in enumerate(folders, 1):
        make_repository(folder, number)
    async with Batch(map(task, folders), ["local:4"], budget_usd=10.0) as batch:
        results = [result async for result in batch]
    for result in sorted(results, key=lambda result: result.task):
        print(f"{result.task}  {result.outcome}  {result.branch}  {result.reason}".rstrip())
    passed = sum(result.ok for result in results)
    print(f"{passed} passed, {len(results) - passed} failed")
    return 0 if len(results) == REPOSITORIES else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]).absolute())))
