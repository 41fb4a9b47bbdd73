"""Measures how long the page needs to draw a thousand sessions, in a real browser."""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import Page, expect, sync_playwright

from opened_page import OpenedPage, record, result  # of the tests

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SESSIONS, ROUNDS = 1000, 7
SECONDS = 60
# Milliseconds from the click on the view to the frame in which the last row is there.
CLICKED = """async (sessions) => {
    const begun = performance.now();
    document.querySelector('#views a[href="#/sessions"]').click();
    return await drawn(sessions) - begun;
}"""
# And from the moment at which the page was asked for.
LOADED = "(sessions) => drawn(sessions)"
LOOK = """window.drawn = async (sessions) => {
    const frame = () => new Promise(requestAnimationFrame);
    while (document.querySelectorAll('.rows tbody tr').length < sessions) await frame();
    await frame();
    return performance.now();
}"""


def main() -> None:
    """Print the times from each way to the list until its last row is drawn."""
    with tempfile.TemporaryDirectory(prefix="claude-mpm-") as name:
        state = Path(name) / "state"
        for number in range(SESSIONS):
            record(state, f"session-{number:04}", result(), cwd=f"/projects/{number % 7}")
        page = OpenedPage({**os.environ, "HOME": name}, state)
        page.start()
        try:
            times = list(_measured(page))
        finally:
            page.close()
    ways = ("the view is opened first", "the view is opened again", "the page is loaded again")
    for way, values in zip(ways, zip(*times, strict=True), strict=True):
        middle = statistics.median(values)
        print(f"{way}: {middle:.0f} ms ({min(values):.0f} to {max(values):.0f})")


def _measured(page: OpenedPage) -> Iterator[tuple[float, ...]]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        for _ in range(ROUNDS):
            context = browser.new_context()
            context.add_init_script(LOOK)
            tab = context.new_page()
            tab.goto(page.command("link"))
            _wait_for_rows(tab)
            opened = []
            for _ in range(2):
                tab.goto(f"{page.url}/#/needs")
                expect(tab.locator(".rows")).to_have_count(0)
                opened.append(tab.evaluate(CLICKED, SESSIONS))
            tab.reload()
            yield *opened, tab.evaluate(LOADED, SESSIONS)
            context.close()
        browser.close()


def _wait_for_rows(tab: Page) -> None:
    """Wait until the page has heard of all sessions, without drawing them."""
    script = """async (sessions) => {
        const { fleet } = await import('/fleet.js');
        while (!fleet.complete || fleet.rows.size < sessions)
            await new Promise((done) => setTimeout(done, 20));
    }"""
    tab.set_default_timeout(SECONDS * 1000)
    tab.evaluate(script, SESSIONS)


if __name__ == "__main__":
    main()
