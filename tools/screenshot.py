"""Takes the pictures in docs/terminal.md: the real Claude Code in a real terminal, on a script."""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from pathlib import Path

from pane import Pane  # of the tests
from rich.console import CONSOLE_SVG_FORMAT, Console  # type: ignore[attr-defined]
from rich.terminal_theme import MONOKAI
from rich.text import Text

from claude_mpm.claude_binary import find_claude
from claude_mpm.terminal.claude_config import answer_first_questions
from claude_mpm.testing import Call, ScriptedModel

PICTURES = Path(__file__).parents[1] / "docs" / "images"
COLUMNS, ROWS = 100, 28
PROMPT = "The import of prices.csv loses rows. Find out why, and note what is left to do."
ANSWER = """The reader stops at an empty line, so whatever follows it is lost.

BUG: The import stops at the first empty line
TODO: Add a test with an empty line in the middle of the file
FEATURE: Import prices from a spreadsheet"""


def main() -> None:
    """Take the picture."""
    # The shell of the terminal, as it ends, may still write its history.
    folder = tempfile.TemporaryDirectory(prefix="claude-mpm-", ignore_cleanup_errors=True)
    with folder, ScriptedModel() as model:
        model.on(PROMPT, Call("Bash", command="wc -l prices.csv importer.py"), ANSWER)
        home = Path(folder.name)
        screens = _screens(home, _project(home), model)
    for name, screen in zip(("terminal.svg", "terminal-after.svg"), screens, strict=True):
        (PICTURES / name).write_text(_svg(screen), "utf-8")
        print(PICTURES / name)


def _project(home: Path) -> Path:
    project = home / "shop"
    project.mkdir()
    (project / "prices.csv").write_text("apple,1\n\npear,2\n")
    (project / "importer.py").write_text("rows = open('prices.csv').read().split('\\n\\n')[0]\n")
    return project


def _screens(home: Path, project: Path, model: ScriptedModel) -> tuple[str, str]:
    """Hold the conversation; return the screen in it and after it, with their colours."""
    programs = Path(sys.executable).parent
    environ = model.environment(
        home,
        PATH=f"{programs}{os.pathsep}{os.environ['PATH']}",
        CLAUDE_PATH=str(find_claude()),
        CLAUDE_MPM_STATE_DIR=str(home / "state"),
        COLORTERM="truecolor",
    )
    answer_first_questions(environ, str(project))
    pane = Pane("tmux", home / "pane", environ, cwd=project, columns=COLUMNS, rows=ROWS)
    try:
        pane.enter("claude-mpm --permission-mode manual -- --allowedTools Bash")
        pane.expect("? for shortcuts")
        pane.say(PROMPT)
        pane.expect("spreadsheet")
        pane.settle()
        during = pane.tmux("capture-pane", "-p", "-e")
        pane.press("C-c", "C-c")
        pane.expect("claude-mpm resume")
        pane.settle()
        pane.enter("claude-mpm tickets")
        pane.expect("spreadsheet")
        return during, pane.tmux("capture-pane", "-p", "-e")
    finally:
        pane.close()


def _svg(screen: str) -> str:
    """Return a picture of a screen; it fetches no fonts from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(screen.rstrip("\n")), soft_wrap=True)
    style = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    style = style.replace("Fira Code, monospace", "monospace")
    return console.export_svg(title="claude-mpm", theme=MONOKAI, code_format=style)


if __name__ == "__main__":
    main()
