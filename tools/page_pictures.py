"""Takes the pictures in docs/web.md: the page in a real browser, over sessions on a script."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from claude_mpm.claude_binary import find_claude
from claude_mpm.testing import Call, Delegate, Say, ScriptedModel, Think
from command import Command  # of the tests
from opened_page import OpenedPage, record, result, said

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURES = Path(__file__).parents[1] / "docs" / "images"
DESKTOP: ViewportSize = {"width": 1200, "height": 760}
PHONE: ViewportSize = {"width": 390, "height": 780}
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PLACES = ("local", "docker", "ssh")
ASKED, MEND = (
    "Find out why the import of prices.csv loses rows",
    "Mend it, and keep the tests green",
)
BEFORE = "    rows = open(path).read().split('\\n\\n')[0]\n    return rows"
AFTER = "    with open(path) as file:\n        return [line for line in file if line.strip()]"
FOUND = """The reader stops at the **first empty line**, so whatever follows it is lost:

```python
rows = open(path).read().split("\\n\\n")[0]
```

| file | rows read | rows there |
| --- | --- | --- |
| `prices.csv` | 12 | 340 |
| `stock.csv` | 88 | 88 |

BUG: The import stops at the first empty line
TODO: Add a test with an empty line in the middle
FEATURE: Import prices from a spreadsheet"""


def main() -> None:
    """Take the pictures, each in both themes."""
    folder = tempfile.TemporaryDirectory(prefix="claude-mpm-", ignore_cleanup_errors=True)
    with folder, ScriptedModel() as model:
        home = Path(folder.name)
        command = Command(model, home, str(find_claude()))
        page = OpenedPage(command.environ, command.state)
        try:
            _hold(command, model, _project(home))
            page.start()
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
                )
                for path in _pictures(browser, page, command):
                    print(path)
                browser.close()
        finally:
            command("stop", "--all", status=None)
            page.close()
            command.close()


def _project(home: Path) -> Path:
    project = home / "shop"
    project.mkdir()
    (project / "importer.py").write_text(f"def read(path):\n{BEFORE}\n")
    os.chdir(project)
    return project


def _hold(command: Command, model: ScriptedModel, project: Path) -> None:
    """Hold two conversations, one of which waits, and record others."""
    file = str(project / "importer.py")
    other = Delegate(
        "general-purpose",
        "Look whether stock.py has the same fault",
        does=[Call("Bash", command="ls"), "There is no stock.py."],
    )
    model.on(
        ASKED, Think("The split looks odd."), "Let me look.", Call("Read", file_path=file),
        Call("Bash", command="wc -l importer.py"), other, Say(FOUND, chunk=40),
    )  # fmt: skip
    edit = Call("Edit", file_path=file, old_string=BEFORE, new_string=AFTER)
    model.on(MEND, "I will read it line by line.", edit)
    command("run", ASKED)
    command("run", "--detach", "--permissions", "ask", MEND)
    error = result(is_error=True, result="API Error: 529 overloaded", terminal_reason="api_error")
    record(command.state, "nightly-site", error, cwd="/srv/projects/site")
    for number, name in enumerate(("parser", "shop", "docs", "mobile", "billing", "search") * 3):
        at = time.time() - 4000 * (number + 1)
        events = said("Done."), result(total_cost_usd=0.1 * number)
        where: dict[str, Any] = {
            "cwd": f"/srv/projects/{name}",
            "environment": PLACES[number % len(PLACES)],
        }
        folder = record(command.state, f"{name}-{number:02}", *events, created_at=at, **where)
        os.utime(folder.journal.path, (at, at))


def _pictures(browser: Browser, page: OpenedPage, command: Command) -> Iterator[Path]:
    session = next(each for each in command.json("ps", "--all") if each["prompt"] == ASKED)
    views = (
        ("needs", DESKTOP, "needs", ".permission"),
        ("sessions", DESKTOP, "sessions", ".rows tbody tr"),
        ("session", DESKTOP, f"session/{session['session']}", ".turn-end .outcome"),
        ("phone", PHONE, "needs", ".permission"),
    )
    for theme in ("light", "dark"):
        for name, size, path, there in views:
            context = browser.new_context(viewport=size, color_scheme=theme)
            tab = context.new_page()
            tab.goto(page.command("link"))
            expect(tab.locator(".link-state.live")).to_be_visible()
            yield _picture(tab, f"{page.url}/#/{path}", there, f"web-{name}-{theme}.png")
            context.close()


def _picture(tab: Page, url: str, there: str, name: str) -> Path:
    tab.goto(url)
    expect(tab.locator(there).first).to_be_visible(timeout=30_000)
    tab.wait_for_function("document.querySelectorAll('.loading').length === 0")
    tab.screenshot(path=PICTURES / name, animations="disabled")
    return PICTURES / name


if __name__ == "__main__":
    main()
