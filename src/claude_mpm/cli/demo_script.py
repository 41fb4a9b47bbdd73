"""What the model says in `claude-mpm demo`, and the little project that it says it about.

Only the words are scripted: Claude Code runs the tools and the subagents, and where an answer
quotes a tool, it quotes what the tool has really returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.testing import Call, Delegate, Say, ScriptedModel, Stall, Usage

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from claude_mpm.testing import Request

PROMPT = "The import of prices.csv loses rows. Find out why, and note what is left to do."

FILES = {
    "prices.csv": "apple,1.20\npear,1.40\n\nplum,0.90\nquince,2.10\n",
    "importer.py": (
        "def rows(lines):\n"
        "    for line in lines:\n"
        "        if not line.strip():\n"
        "            break\n"
        "        yield line.split(',')\n"
    ),
}

# Seconds before each piece of text, and characters in it: about the pace of a real model.
_DELAY, _CHUNK = 0.03, 7
_FALLBACK = "general-purpose"


def write_project(folder: Path) -> None:
    """Make the project that the demo works on."""
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")


def demo_model(agents: Collection[str]) -> ScriptedModel:
    """Return the model of the demo.

    Args:
        agents: the names of the agents that the framework brings.
    """
    researcher, qa = (name if name in agents else _FALLBACK for name in ("researcher", "qa"))
    return ScriptedModel(
        [
            Usage(input_tokens=2400, output_tokens=160),
            _say("Let me see what there is to import."),
            Call("Bash", command="wc -l prices.csv importer.py"),
            _say(
                "The file is small, so two agents can look at once.",
                f"Delegating to {researcher}: find where the importer stops reading.",
                f"Delegating to {qa}: find the rows that get lost.",
            ),
            _research(researcher),
            _check(qa),
            Usage(input_tokens=3100, output_tokens=240),
            _say(
                "The lost rows are found. What is left to do:",
                "",
                "BUG: The import stops at the first empty line",
                "  Description: An empty line is taken for the end of the file.",
                "  Priority: high",
                "TODO: Add a test with an empty line in the middle of the file",
                "FEATURE: Import prices from a spreadsheet",
            ),
        ]
    )


def _research(agent: str) -> Delegate:
    return Delegate(
        agent,
        "Read importer.py and say where it stops reading. Change nothing.",
        description="Where the importer stops",
        # It takes longer than the other agent, so that it is seen to come back by itself.
        does=[Call("Bash", command="cat importer.py"), Stall(seconds=1.5), "Line 4: `break`."],
        background=True,
        when_done=_say(
            "The researcher is back: `rows` breaks off at an empty line.",
            "ENHANCEMENT: The importer should say how many rows it has read",
        ),
    )


def _check(agent: str) -> Delegate:
    def report(request: Request) -> str:
        line = request.tool_results[0].text.strip().rstrip(":")
        return f"Line {line} has no price, and the two rows after it are lost."

    return Delegate(
        agent,
        "Find the lines of prices.csv without a price, and count the rows after the first.",
        description="Which rows get lost",
        does=[Call("Bash", command="grep -nv , prices.csv"), report],
    )


def _say(*lines: str) -> Say:
    return Say("".join(f"{line}\n" for line in lines), chunk=_CHUNK, delay=_DELAY)
