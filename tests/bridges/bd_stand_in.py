"""A stand-in for `bd`, the program of Beads, written from its documentation (bd 1.3).

It knows `create`, `list`, `close`, `show` and `comments`, with the options that its pages have, and
keeps issues in `.beads/issues.json`. The real one is a program that the npm package fetches from a
place that tests do not reach.

BD_BARE prints lists as they were before there was an envelope around them. A file `.beads/failing`
makes the next `create` fail after it has taken the issue.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

TYPES = (
    "bug", "feature", "task", "epic", "chore", "decision", "spike", "story", "milestone",
    "enhancement", "feat", "dec", "adr",
)  # fmt: skip


def fail(message: str, code: str) -> NoReturn:
    said = {"schema_version": 1, "error": message, "code": code}
    sys.stderr.write(f"{json.dumps(said)}\n")
    sys.exit(1)


def say(found: Any) -> None:
    if isinstance(found, list) and "BD_BARE" not in os.environ:
        found = {"schema_version": 1, "items": found}
    elif isinstance(found, dict):
        found = {"schema_version": 1, **found}
    sys.stdout.write(f"{json.dumps(found)}\n")


def database() -> Path:
    given = os.environ.get("BEADS_DIR")
    here = Path.cwd()
    candidates = [Path(given)] if given else [each / ".beads" for each in (here, *here.parents)]
    for folder in candidates:
        if folder.is_dir():
            return folder
    fail("no beads database found; run 'bd init'", "no_database")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bd", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", allow_abbrev=False)
    create.add_argument("words", nargs="*")
    create.add_argument("--title")
    create.add_argument("-t", "--type", default="task", choices=TYPES)
    create.add_argument("-p", "--priority", default="2", choices=[*"01234"])
    create.add_argument("-l", "--labels", default="")
    create.add_argument("--body-file")
    listing = commands.add_parser("list", allow_abbrev=False)
    listing.add_argument("-l", "--label", default="")
    listing.add_argument("--all", action="store_true")
    listing.add_argument("-n", "--limit", type=int, default=50)
    close = commands.add_parser("close", allow_abbrev=False)
    close.add_argument("id")
    close.add_argument("-r", "--reason", default="")
    comments = commands.add_parser("comments", allow_abbrev=False)
    comments.add_argument("words", nargs="+")
    for each in (create, listing, close, comments):
        each.add_argument("--json", action="store_true")
    return parser


def create(given: argparse.Namespace, issues: list[dict[str, Any]]) -> dict[str, Any]:
    title = given.title or " ".join(given.words)
    if not title:
        fail("title required", "invalid")
    if len(title) > 500:
        fail("title must be 500 characters or less", "invalid")
    issue = {
        "id": f"shop-{len(issues):03x}",
        "title": title,
        "description": sys.stdin.read() if given.body_file == "-" else "",
        "status": "open",
        "priority": int(given.priority),
        "issue_type": given.type,
        "labels": [label for label in given.labels.split(",") if label],
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "comments": [],
    }
    issues.append(issue)
    return issue


def named(issues: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for issue in issues:
        if issue["id"] == name:
            return issue
    fail(f"issue not found: {name}", "not_found")


def listed(given: argparse.Namespace, issues: list[dict[str, Any]]) -> list[dict[str, Any]]:
    wanted = {label for label in given.label.split(",") if label}
    found = [
        issue
        for issue in reversed(issues)
        if wanted <= set(issue["labels"]) and (given.all or issue["status"] != "closed")
    ]
    shown = found[: given.limit] if given.limit else found
    return [{name: value for name, value in each.items() if name != "comments"} for each in shown]


def answer(given: argparse.Namespace, issues: list[dict[str, Any]]) -> Any:
    match given.command:
        case "create":
            return create(given, issues)
        case "list":
            return listed(given, issues)
        case "close":
            issue = named(issues, given.id)
            issue.update(status="closed", close_reason=given.reason)
            return issue
        case _ if given.words[0] == "add":
            comment = {"text": " ".join(given.words[2:]), "author": "me"}
            named(issues, given.words[1])["comments"].append(comment)
            return comment
        case _:
            return named(issues, given.words[0])["comments"]


def main() -> None:
    given = parser().parse_args()
    folder = database()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file, failing = folder / "issues.json", folder / "failing"
        issues = json.loads(file.read_text()) if file.exists() else []
        said = answer(given, issues)
        whole = folder / "issues.json.new"
        whole.write_text(json.dumps(issues))
        whole.replace(file)
        if given.command == "create" and failing.exists():
            failing.unlink()
            fail("database is locked", "internal")
    say(said)


if __name__ == "__main__":
    main()
