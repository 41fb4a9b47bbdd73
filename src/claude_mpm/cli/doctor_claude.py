"""`claude-mpm doctor --claude`: what one build of Claude Code can do, found by starting it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from claude_mpm.capabilities.facts import FACTS, FLOOR, changes, parse_version, written
from claude_mpm.capabilities.memory import Memory, probed_build
from claude_mpm.capabilities.releases import newest_tried, read_releases
from claude_mpm.claude_binary import find_claude
from claude_mpm.cli.output import echo, styled

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.capabilities.memory import Known
    from claude_mpm.capabilities.probing import Probe
    from claude_mpm.cli.app import App

_TOO_OLD = 3  # the exit status of a build that is refused


def show(app: App, asked: str) -> int:
    """Probe a build, print what it can do, and return the exit status.

    Args:
        asked: its path, or its version where it is installed beside others; empty for the one that
            a session would have.

    Raises:
        ClaudeNotFound: there is no such build.
    """
    path = find_claude(asked or app.settings.claude_path)
    known, probe = probed_build(path, Memory(app.store().path))
    record = _record(path, known, probe)
    if app.json:
        app.print_json(record)
    else:
        _print(record)
    return 0 if record["fit"] else _TOO_OLD


def _record(path: Path, known: Known, probe: Probe) -> dict[str, Any]:
    """Return all that is known of a build, as `--json` prints it."""
    build = probe.capabilities(known.version)
    newest = written(newest_tried())
    seen = read_releases().messages
    unknown = [name for name in probe.messages if name not in seen]
    unknown += [
        f"{name}.{field}"
        for name, fields in probe.messages.items()
        for field in fields
        if name in seen and field not in seen[name]
    ]
    return {
        "path": str(path),
        "version": build.version,
        "says": known.version,
        "source": build.source,
        "error": probe.error,
        "fit": build.is_fit,
        "floor": written(FLOOR),
        "newest_tried": newest,
        "can": [
            {"name": fact.name, "since": written(fact.since), "does": fact.name in build.facts,
             "what": fact.can, "instead": fact.instead}
            for fact in FACTS
        ],
        "limits": build.limits(),
        "differs": changes(build.facts, newest),
        "lies": changes(build.facts, known.version) if known.version else [],
        "unknown": unknown,
        "hints": probe.hints,
        "pin": _pin(str(path)),
        "go_back": _go_back(newest),
    }  # fmt: skip


def _pin(path: str) -> str:
    return f"export CLAUDE_PATH={shlex.quote(path)} DISABLE_AUTOUPDATER=1"


def _go_back(newest: str) -> str:
    """Return the command that installs the newest release that was tried."""
    wheel = next((r.wheel for r in read_releases().releases if r.version == newest), "")
    return f"pip install claude-agent-sdk=={wheel}" if wheel else f"claude install {newest}"


def _print(record: dict[str, Any]) -> None:
    version, newest = record["version"], record["newest_tried"]
    _row("claude", f"{version or 'no version'}, {record['path']}")
    if record["says"] and record["says"] != version:
        _row("says", f"{record['says']} when it is asked, and {version} when it runs")
    _row("known by", _SOURCES[record["source"]].format(**record))
    for fact in record["can"]:
        mark = styled("yes", fg="green") if fact["does"] else styled("no ", fg="yellow")
        instead = "" if fact["does"] or not fact["instead"] else f"; {fact['instead']}"
        echo("  ", mark, f"  {fact['since']:8} it {fact['what']}{instead}")
    if not record["fit"]:
        _row("refused", f"needed is {record['floor']} or newer: claude update")
    if record["limits"]:
        _row("limits", record["limits"])
    for line in record["lies"]:
        _row("not as said", line)
    is_newer = (parse_version(version) or (0, 0, 0)) > (parse_version(newest) or (0, 0, 0))
    order = "newer than" if is_newer else "older than" if version != newest else "it is"
    _row("tried", f"{order} {newest}, the newest that was tried")
    for line in record["differs"]:
        _row("", line)
    for line in record["hints"]:
        _row("perhaps", line)
    if record["unknown"]:
        _row("unknown", ", ".join(record["unknown"]))
    _row("pin it", record["pin"])
    if version != newest:
        _row("go back", record["go_back"])


_SOURCES = {
    "probe": "what it did when it was started",
    "version": "its version",
    "assumed": "its version alone, since the probe came to nothing: {error}",
}


def _row(name: str, text: str) -> None:
    echo(styled(name.ljust(12), bold=True), f" {text}")
