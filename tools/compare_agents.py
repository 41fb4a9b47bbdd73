"""Compare what the real Claude Code makes of folders of agent files with what we make of them.

    python tools/compare_agents.py FOLDER…

Claude is started with a scripted model, on loopback alone: once it reads the folder itself, once it
is given the agents that we have read. Every file gets a line: `same`, or what differs and why. The
exit status is 1 where a difference has no reason.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_mpm.capabilities.asking import ask_version
from claude_mpm.capabilities.facts import by_version
from claude_mpm.claude_binary import find_claude
from claude_mpm.config.agent_file import Agent, AgentFile, agents_json
from claude_mpm.config.framework import read_agents
from claude_mpm.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SECONDS = 120
_WIRE = ("--input-format", "stream-json", "--output-format", "stream-json", "--verbose")
_PROMPT = {"type": "user", "message": {"role": "user", "content": "hello"}}
_TYPES = "Available agent types for the Agent tool:\n"


@dataclass(frozen=True)
class Seen:
    """An agent as Claude has it: what it tells its host, and the tools that it tells the model."""

    description: str
    model: str
    tools: str


@dataclass(frozen=True)
class Line:
    """What was found of a file.

    Args:
        outcome: "same", "differs" or "unexplained".
        reason: why it differs, or what both do.
    """

    file: str
    outcome: str
    reason: str


def listed(folder: Path | None, agents: Sequence[Agent] = ()) -> dict[str, Seen]:
    """Start Claude with a project's folder of agents, or with agents of ours; list what it has."""
    with tempfile.TemporaryDirectory() as made, ScriptedModel() as model:
        root = Path(made)
        project = root / "project"
        (project / ".claude").mkdir(parents=True)
        claude = find_claude()
        words = [str(claude), "-p", *_WIRE]
        first: dict[str, Any] = {"subtype": "initialize"}
        if folder is not None:
            (project / ".claude" / "agents").symlink_to(folder.absolute())
        elif by_version(ask_version(claude, os.environ, _SECONDS)[1]).can("agents_by_file"):
            (root / "agents.json").write_bytes(agents_json(tuple(agents)))
            words += ["--agents", str(root / "agents.json")]
        else:
            first["agents"] = json.loads(agents_json(tuple(agents)))
        initialize = {"type": "control_request", "request_id": "1", "request": first}
        done = subprocess.run(
            words,
            input="".join(f"{json.dumps(request)}\n" for request in (initialize, _PROMPT)),
            env=model.environment(root / "home"),
            cwd=project,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"claude ended with status {done.returncode}: {done.stderr}")
        told = "\n".join(request.text for request in model.requests if not request.is_side)
    return _seen(done.stdout, told)


def _seen(output: str, told: str) -> dict[str, Seen]:
    answers = [json.loads(line) for line in output.splitlines() if "control_response" in line]
    agents: list[dict[str, Any]] = answers[0]["response"]["response"]["agents"]
    _, _, types = told.partition(_TYPES)
    found = {}
    for agent in agents:
        begin = types.find(f"- {agent['name']}: ")
        tools = re.search(r"\(Tools: ([^\n]*)\)$", types[max(begin, 0) :], re.MULTILINE)
        known = tools[1] if begin >= 0 and tools else "not told"
        found[agent["name"]] = Seen(agent["description"], agent.get("model", ""), known)
    return found


def compare(folder: Path) -> list[Line]:
    """Return a line for each file of a folder, and for each agent that comes from none of them."""
    files = read_agents(folder)
    agents = {each.agent.name: each.agent for each in files if each.agent}
    theirs = listed(folder)
    ours = listed(None, list(agents.values()))
    built_in = set(listed(None))
    lines = [_line(each, folder, theirs, ours, built_in) for each in files]
    named = built_in.union(*map(_names, files))
    lines += [
        Line("?", "unexplained", f"Claude lists {name!r}, which is in none of the files")
        for name in theirs.keys() - named
    ]
    return lines


def _line(
    found: AgentFile,
    folder: Path,
    theirs: dict[str, Seen],
    ours: dict[str, Seen],
    built_in: set[str],
) -> Line:
    file = str(found.path.relative_to(folder))
    said = "; ".join((*found.errors, *found.notes)).replace(f"{found.path}, ", "")
    said = said.replace(f"{found.path}: ", "")
    if found.agent is None:
        is_theirs = any(name in theirs for name in _names(found) - built_in)
        if not is_theirs and said:
            return Line(file, "same", f"neither lists it: {said}")
        return Line(file, "differs" if said else "unexplained", f"Claude lists it; we: {said}")
    name = found.agent.name
    parts = _parts(theirs.get(name), ours[name])
    if not parts:
        return Line(file, "same", said)
    reason = _why_otherwise(found)
    told = f"{'; '.join(parts)}; {reason}: {said}"
    return Line(file, "differs" if reason else "unexplained", told)


def _parts(theirs: Seen | None, ours: Seen) -> list[str]:
    """Return in what an agent is another one for Claude than for us."""
    if theirs is None:
        return ["we list it, and Claude does not"]
    pairs = ((part, getattr(theirs, part), getattr(ours, part)) for part in Seen.__annotations__)
    return [f"{part}: Claude {one!r}, we {other!r}" for part, one, other in pairs if one != other]


def _why_otherwise(found: AgentFile) -> str:
    """Return why we read a file otherwise than Claude does; empty where nobody knows."""
    notes = " ".join(found.notes)
    if "this `---` is part of the text" in notes:
        return "Claude ends the head within a line"
    if "not YAML" in notes and b"\r\n" in found.path.read_bytes():
        return "Claude mends no head whose lines end with CR LF"
    return ""


def _names(found: AgentFile) -> set[str]:
    """Return what the name of a file's agent can be for Claude."""
    if found.agent is not None:
        return {found.agent.name}
    try:
        text = found.path.read_bytes()[: 1 << 20].decode("utf-8", "replace")
    except OSError:
        return set()
    names = set()
    for value in re.findall(r"^name:\s*(.*?)\s*$", text, re.MULTILINE):
        names |= {value, value.partition(" #")[0].strip(), value.strip("\"'")}
    return names


def main(folders: Iterable[str]) -> int:
    """Print the comparison of each folder; return the exit status."""
    status = 0
    for folder in map(Path, folders):
        lines = compare(folder)
        for line in lines:
            print(f"{line.outcome:12} {line.file}  {line.reason}")
        counts = {each: sum(line.outcome == each for line in lines) for each in _OUTCOMES}
        print(f"{folder}: " + ", ".join(f"{number} {each}" for each, number in counts.items()))
        status |= counts["unexplained"] > 0
    return status


_OUTCOMES = ("same", "differs", "unexplained")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
