"""The page in a real browser, with the real Claude Code behind a scripted model."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error, Page, expect, sync_playwright

from claude_mpm.testing import Call, Delegate, Say, Stall, Think
from claude_mpm.testing.subject import until
from command import SECONDS, Command
from opened_page import OpenedPage, record, result, said, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext

    from claude_mpm.testing import ScriptedModel

    Enter = Callable[..., Page]

PHONE = {"width": 390, "height": 844}
EVIL = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'
NOTE_TIMES = """() => {
    window.seen = {};
    new MutationObserver(() => {
        for (const node of document.querySelectorAll('.written'))
            window.seen[node.textContent] ??= Date.now() / 1000;
    }).observe(document.querySelector('.conversation'), {childList: true, subtree: true});
}"""
# Keeps every node that `selector` ever finds, since some are there for seconds only:
# `window.kept()` returns the texts that they have, or had when they went.
KEEP = """(selector) => {
    const nodes = new Set();
    const look = () => document.querySelectorAll(selector).forEach((node) => nodes.add(node));
    window.kept = () => [...nodes].map((node) => node.textContent);
    look();
    new MutationObserver(look).observe(document.body, {childList: true, subtree: true});
}"""
# Goes to all sessions, and returns in how many milliseconds a thousand rows are drawn.
DRAW = """() => new Promise((done) => {
    const begun = performance.now();
    document.querySelector('#views a[href="#/sessions"]').click();
    const look = () => document.querySelectorAll('.rows tbody tr').length === 1000
        ? requestAnimationFrame(() => done(performance.now() - begun))
        : requestAnimationFrame(look);
    look();
})"""
# Asks for something else so often that whoever asks without end has done so meanwhile.
ASK_MEANWHILE = "async () => { for (let n = 0; n < 30; n += 1) await fetch('/') }"
# How long a turn may take, and Claude may take to end, where the machine has other work.
SLOW = {"CLAUDE_MPM_TIMEOUT": "100", "CLAUDE_MPM_STOP_TIMEOUT": "60"}
expect.set_options(timeout=SECONDS * 1000)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A real browser, which is shared by the tests of this file."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        yield browser
        browser.close()


@pytest.fixture
def enter(browser: Browser, page: OpenedPage) -> Iterator[Enter]:
    """Opens the page by a fresh link, in a browser of its own; nothing may go wrong in it."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def open_page(path: str = "", *, read_only: bool = False, **options: Any) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(SECONDS * 1000)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("console", lambda said: wrong.append(said.text) if is_wrong(said) else None)
        tab.goto(page.command("link", *(("--read-only",) if read_only else ())))
        expect(tab.locator(".link-state.live")).to_be_visible()
        if path:
            tab.goto(f"{page.url}/#/{path}")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def is_wrong(said: Any) -> bool:
    """Return whether a message is more than a lost server, or text that was kept from markup."""
    known = ("Failed to load resource", "requires 'TrustedHTML'")
    return said.type == "error" and not any(each in said.text for each in known)


def piece(**event: Any) -> dict[str, Any]:
    return {"type": "stream_event", "event": event}


def newest(command: Command) -> str:
    """Return the session that was started last."""
    return str(command.json("ps", "--all")[0]["session"])


def as_written(tab: Page) -> list[str]:
    """Return the texts of Claude's that are shown, in their order, as they were written."""
    return tab.locator(".conversation > .said > .written").all_text_contents()


def until_live(tab: Page, text: str) -> None:
    """Wait until what Claude is saying is a text, but for blanks: the page draws it bit by bit."""
    live = tab.locator(".said.live")

    def is_shown() -> bool:
        return re.sub(r"\s", "", live.text_content() or "") == re.sub(r"\s", "", text)

    until(is_shown, lambda: f"not {text!r}, but {live.text_content()!r}")


def until_kept(tab: Page, text: str) -> None:
    """Wait until a node that `KEEP` keeps has a text."""
    until(lambda: any(text in each for each in tab.evaluate("window.kept()")), f"no {text!r}")


def journal_texts(command: Command, session: str) -> list[str]:
    """Return the texts of Claude's that the journal has."""
    lines = (command.state / "sessions" / session / "exchange" / "out.jsonl").read_text()
    events = [json.loads(line) for line in lines.splitlines()]
    blocks = [b for e in events if e["type"] == "assistant" for b in e["message"]["content"]]
    return [block["text"] for block in blocks if block["type"] == "text"]


def test_an_answer_is_seen_as_it_comes(
    page: OpenedPage, command: Command, model: ScriptedModel, enter: Enter
) -> None:
    command("run", "hello")
    session = newest(command)
    model.on("tell me", Think("Hm."), Say("It was a dark night. "), Stall(), Say("The end."))
    page.start()
    tab = enter(f"session/{session}")
    expect(tab.locator(".said")).to_contain_text("hello")
    tab.get_by_label("Prompt", exact=True).last.fill("tell me")
    tab.get_by_role("button", name="Send").click()
    model.wait_for_stall()
    expect(tab.locator(".said.live")).to_have_text("It was a dark night. ")
    expect(tab.locator(".pill.working").first).to_be_visible()
    model.release()
    expect(tab.locator(".said.live")).to_have_count(0)
    expect(tab.locator(".said .written").last).to_have_text("It was a dark night. The end.")
    expect(tab.locator(".turn-end .outcome").last).to_have_text("completed")
    expect(tab.locator(".prompt")).to_have_text(["hello", "tell me"])
    until(lambda: as_written(tab) == journal_texts(command, session), "the page is not the journal")


def test_the_demo_begins_in_the_page_when_its_link_is_opened(
    command: Command, browser: Browser, home: Path
) -> None:
    demo = command.start("demo", "--web", **SLOW)
    assert demo.stdout is not None
    link = next(filter(None, (re.search(r"http://\S+", line) for line in demo.stdout)))[0]
    context = browser.new_context()
    context.set_default_timeout(SECONDS * 1000)
    tab = context.new_page()
    tab.goto(link)
    expect(tab.locator(".prompt")).to_have_text([re.compile("The import of prices.csv loses rows")])
    expect(tab.locator(".said", has_text="Let me see what there is to import.")).to_be_visible()
    expect(tab.locator(".jump", has_text="bug: The import stops")).to_be_visible()
    tab.get_by_label("Prompt", exact=True).last.fill("are you there?")
    tab.get_by_role("button", name="Send").click()
    expect(tab.locator(".said .written").last).to_have_text("Claude heard: are you there?")
    context.close()
    assert demo.stderr is not None
    assert any("until Ctrl-C" in line for line in demo.stderr)
    demo.send_signal(signal.SIGINT)
    assert "✓ verdict   completed" in demo.stdout.read()
    assert demo.wait(SECONDS) == 0, demo.stderr.read()
    assert command.session().exit_file.read() == b"0\n"
    assert list((home / "tmp").iterdir()) == []


def test_a_demo_that_nobody_opens_ends_with_ctrl_c(command: Command, home: Path) -> None:
    demo = command.start("demo", "--web", **SLOW)
    assert demo.stdout is not None
    assert any("http://" in line for line in demo.stdout)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(SECONDS) != 0
    assert command.session().exit_file.read() == b"0\n"
    assert list((home / "tmp").iterdir()) == []


def test_a_page_reloaded_and_a_server_restarted_in_an_answer_lose_and_repeat_nothing(
    page: OpenedPage, command: Command, model: ScriptedModel, enter: Enter
) -> None:
    parts = [f"Part {n} — ünï ✓ “{'x' * n}”\n" for n in range(6)]
    script: list[Any] = [item for part in parts for item in (Say(part, chunk=7), Stall())]
    model.on("tell me", *script)
    command("run", "hello")
    session = newest(command)
    page.start()
    tab = enter(f"session/{session}")
    tab.get_by_label("Prompt", exact=True).last.fill("tell me")
    tab.get_by_role("button", name="Send").click()
    for number in range(len(parts)):
        model.wait_for_stall()
        expect(tab.locator(".said.live")).to_contain_text(f"Part {number}")
        if number % 2:
            tab.reload()
        else:
            page.restart()
        until_live(tab, "".join(parts[: number + 1]))
        model.release()
    expect(tab.locator(".turn-end .outcome")).to_have_count(2)
    until(lambda: as_written(tab) == journal_texts(command, session), "the page is not the journal")
    assert as_written(tab)[-1] == "".join(parts)


def test_a_permission_is_answered_in_the_page_while_a_terminal_watches(
    page: OpenedPage, command: Command, model: ScriptedModel, enter: Enter
) -> None:
    target = Path("notes.txt").absolute()
    target.write_text("one\ntwo\n")
    edit = Call("Edit", file_path=str(target), old_string="two", new_string="three")
    model.on("mend", Call("Read", file_path=str(target)), edit, "Mended.")
    page.start()
    tab = enter("needs")
    expect(tab.get_by_text("Nothing needs you.")).to_be_visible()
    terminal = command.start("run", "--permissions", "ask", "mend it")
    card = tab.locator(".permission")
    expect(card.locator(".removed")).to_have_text("- two\n")
    expect(card.locator(".added")).to_have_text("+ three\n")
    expect(tab.locator("#count")).to_have_text("1")
    tab.evaluate(KEEP, ".answered")
    card.get_by_role("button", name="Allow once").click()
    until_kept(tab, "Allowed by you.")
    out, err = terminal.communicate(timeout=SECONDS)
    assert terminal.returncode == 0, err
    assert "Mended." in out
    assert target.read_text() == "one\nthree\n"
    expect(tab.get_by_text("Nothing needs you.")).to_be_visible()


def test_what_was_answered_elsewhere_says_so(
    page: OpenedPage, command: Command, model: ScriptedModel, enter: Enter, tmp_path: Path
) -> None:
    model.on("write", Call("Write", file_path=str(tmp_path / "x"), content="x"), "Done.")
    command("run", "--detach", "--permissions", "ask", "write it")
    session = newest(command)
    page.start()
    tab = enter(f"session/{session}")
    card = tab.locator(".requests .permission")
    expect(card).to_be_visible()
    tab.evaluate(KEEP, ".answered")
    command("answer", session, "deny", "--message", "not now")
    until_kept(tab, "answered elsewhere")
    expect(tab.locator(".turn-end .outcome")).to_be_visible()


def test_a_question_of_claudes_is_answered_by_choosing(
    page: OpenedPage, command: Command, model: ScriptedModel, enter: Enter
) -> None:
    options = [{"label": "Red", "description": "warm"}, {"label": "Blue", "description": "cold"}]
    question = {"question": "Which?", "header": "W", "options": options, "multiSelect": False}
    model.on("choose", Call("AskUserQuestion", questions=[question]), "Chosen.")
    command("run", "--detach", "--permissions", "ask", "choose one")
    page.start()
    tab = enter("needs")
    tab.get_by_label("Blue").check()
    tab.get_by_role("button", name="Answer").click()
    until(lambda: any("Blue" in r.text for q in model.requests for r in q.tool_results), "no Blue")


def test_tools_subagents_and_tickets_have_their_place(
    page: OpenedPage, command: Command, model: ScriptedModel, enter: Enter
) -> None:
    does: list[Any] = [Call("Bash", command="echo inner"), "It is so.\nTODO: ask again"]
    model.on(
        "look", Call("Bash", command="echo outer"), Delegate("general-purpose", "Check", does=does),
        "# Found\n\nBUG: **It** stops\n\n```sh\nls\n```",
    )  # fmt: skip
    command("run", "look at it")
    page.start()
    tab = enter(f"session/{newest(command)}")
    outer = tab.locator(".conversation > .tool", has_text="echo outer")
    outer.locator("summary").click()
    expect(outer.locator(".result")).to_have_text("outer")
    agent = tab.locator(".conversation > .tool", has_text="Agent")
    agent.locator("> summary").click()
    expect(agent.locator(".nested .said .markdown")).to_contain_text("It is so.")
    expect(tab.locator(".markdown h3")).to_have_text("Found")
    expect(tab.locator(".markdown pre code")).to_have_text("ls")
    expect(tab.locator(".facts")).to_contain_text("general-purpose")
    agent.locator("> summary").click()
    tab.locator(".facts .jump", has_text="ask again").click()
    expect(tab.locator(".flash")).to_be_visible()
    tab.goto(f"{page.url}/#/tickets")
    expect(tab.locator(".ticket")).to_have_count(2)
    tab.locator(".ticket", has_text="stops").get_by_role("button", name="Close").click()
    expect(tab.locator(".ticket")).to_have_count(1)
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Export").click()
    assert "ask again" in download.value.path().read_text()
    tab.locator(".ticket a").click()
    expect(tab.locator(".flash")).to_be_visible()


def test_a_turn_is_interrupted_and_a_session_stopped_in_the_page(
    page: OpenedPage, command: Command, model: ScriptedModel, enter: Enter
) -> None:
    model.on("count", "One.", Stall())
    command("run", "--detach", "count")
    model.wait_for_stall()
    page.start()
    tab = enter(f"session/{newest(command)}")
    tab.get_by_role("button", name="Interrupt").click()
    expect(tab.locator(".turn-end .outcome")).to_have_text("interrupted")
    tab.get_by_role("button", name="Stop").click()
    expect(tab.locator(".title .pill")).to_have_text("ended")
    expect(tab.locator(".hint").first).to_contain_text("starts Claude again")


def test_a_batch_is_followed_to_its_end(
    page: OpenedPage, command: Command, model: ScriptedModel, enter: Enter, tmp_path: Path
) -> None:
    model.on("first", "Done.")
    model.on("second", Say("Begun. "), Stall(), Say("Done."))
    tasks = tmp_path / "night.jsonl"
    tasks.write_text('{"id": "a", "prompt": "first"}\n{"id": "b", "prompt": "second"}\n')
    page.start()
    tab = enter("batches")
    expect(tab.get_by_text("There is no batch yet.")).to_be_visible()
    runs = command.start("batch", "run", str(tasks))
    model.wait_for_stall()
    tab.get_by_role("link", name="night").click()
    expect(tab.locator(".tasks .pill.passed")).to_have_count(1)
    expect(tab.locator(".tasks .pill.running")).to_have_count(1)
    model.release()
    assert runs.wait(SECONDS) == 0
    expect(tab.locator(".tasks .pill.passed")).to_have_count(2)
    tab.get_by_role("link", name="second").click()
    expect(tab.locator(".said .written").last).to_have_text("Begun. Done.")


def test_whatever_is_said_is_text(page: OpenedPage, enter: Enter) -> None:
    """Script in an answer, a tool's name, input and result, a ticket, a path, a record."""
    bad = "[go](javascript:window.pwned=1) <a href='javascript:window.pwned=1'>x</a>"
    use = {"type": "tool_use", "id": "t1", "name": EVIL, "input": {EVIL: EVIL, "command": EVIL}}
    done = {"type": "tool_result", "tool_use_id": "t1", "content": EVIL}
    asked = {
        "type": "control_request", "request_id": f"r-{EVIL}",
        "request": {"subtype": "can_use_tool", "tool_name": EVIL, "input": {"file_path": EVIL},
                    "description": EVIL},
    }  # fmt: skip
    events = [
        said(f"{EVIL}\n\nBUG: {EVIL}\n\n{bad}\n\n```{EVIL}\n{EVIL}\n```\n\n| {EVIL} |\n|-|\n| a |"),
        {"type": "assistant", "message": {"role": "assistant", "content": [use]}},
        {"type": "user", "message": {"role": "user", "content": [done]}},
        piece(type="message_start"),
        piece(type="content_block_start", content_block={"type": "text"}),
        piece(type="content_block_delta", delta={"text": EVIL}),
        {"type": EVIL, "subtype": EVIL, "text": EVIL},
        asked,
        result(is_error=True, result=EVIL, subtype=EVIL),
    ]  # fmt: skip
    record(page.state, "evil", *events, cwd=f"/{EVIL}", environment=EVIL, orchestrator=EVIL)
    folder = record(page.state, "damaged")
    folder.meta_file.write_text(EVIL)
    page.start()
    tab = enter()
    views = {
        "needs": "Needs me", "sessions": "All sessions", "tickets": "Tickets",
        "session/evil": "evil", f"session/{EVIL}": EVIL[:5],
    }  # fmt: skip
    for path, title in views.items():
        tab.goto(f"{page.url}/#/{path}")
        expect(tab).to_have_title(re.compile(re.escape(title)))
        expect(tab.locator("main")).to_contain_text("onerror" if "session/<" not in path else "no")
        closed = tab.locator("details:not([open]) > summary:visible")
        while closed.count():  # what is opened is no longer among them, but shows others
            closed.first.click()
        assert tab.evaluate("window.pwned") is None
        assert tab.locator("main img, main script, a[href^='javascript']").count() == 0
    with pytest.raises(Error, match="TrustedHTML"):  # nor could a slip of ours make it markup
        tab.evaluate("document.body.innerHTML = '<b>x</b>'")


def test_what_cannot_be_seen_is_shown_where_it_is_decided_on(
    page: OpenedPage, command: Command, model: ScriptedModel, enter: Enter, tmp_path: Path
) -> None:
    content = "a\u202e\u200b\x1b[2K\u2028b"
    model.on("write", Call("Write", file_path=str(tmp_path / "x"), content=content), "Done.")
    command("run", "--detach", "--permissions", "ask", "write it")
    page.start()
    tab = enter("needs")
    shown = tab.locator(".permission .hidden-sign")
    expect(shown).to_have_text(["<U+202E>", "<U+200B>", "\\x1b", "<U+2028>"])


def test_it_works_with_the_keyboard_alone(
    page: OpenedPage, command: Command, model: ScriptedModel, enter: Enter, tmp_path: Path
) -> None:
    target = tmp_path / "out.txt"
    model.on("write", Call("Write", file_path=str(target), content="written"), "Written.")
    command("run", "hello")
    page.start()
    tab = enter()
    keys = tab.keyboard
    keys.press("s")
    expect(tab.locator(".rows tbody tr")).to_have_count(1)
    keys.press("/")
    keys.type("hello")
    expect(tab.locator(".sum")).to_contain_text("1 of 1")
    keys.press("Escape")
    keys.press("j")
    keys.press("Enter")
    expect(tab.locator(".said")).to_contain_text("hello")
    keys.press("p")
    keys.type("write it")
    keys.press("Enter")
    allow = tab.get_by_role("button", name="Allow once")
    expect(allow).to_be_visible()
    keys.press("Escape")
    for _ in range(60):
        keys.press("Tab")
        if allow.evaluate("node => node === document.activeElement"):
            break
    keys.press("Enter")
    expect(tab.locator(".said .written").last).to_have_text("Written.")
    assert target.read_text() == "written"
    keys.press("t")
    expect(tab.get_by_role("heading", name="Tickets", exact=True)).to_be_visible()
    keys.press("?")
    expect(tab.get_by_role("dialog")).to_be_visible()
    keys.press("Escape")
    expect(tab.get_by_role("dialog")).not_to_be_visible()


def test_it_fits_a_phone(
    page: OpenedPage, command: Command, model: ScriptedModel, enter: Enter, tmp_path: Path
) -> None:
    wide = "x" * 300
    model.on("write", wide, Call("Write", file_path=str(tmp_path / wide[:80]), content=wide), "Ok.")
    command("run", "--detach", "--permissions", "ask", f"write {wide}")
    session = newest(command)
    record(page.state, "old", said(f"TODO: {wide}"), result(), cwd=f"/{wide}")
    page.start()
    tab = enter(viewport=PHONE, has_touch=True, is_mobile=True)
    for path, there in (
        ("sessions", ".rows tbody tr"), ("tickets", ".ticket"),
        (f"session/{session}", ".permission"), ("needs", ".permission"),
    ):  # fmt: skip
        tab.goto(f"{page.url}/#/{path}")
        expect(tab.locator(there).first).to_be_visible()
        assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
        assert tab.evaluate("document.querySelector('main').scrollWidth") <= PHONE["width"], path
    tab.evaluate(KEEP, ".answered")
    tab.get_by_role("button", name="Allow once").tap()
    until_kept(tab, "Allowed by you.")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    page: OpenedPage,
    command: Command,
    model: ScriptedModel,
    enter: Enter,
    tmp_path: Path,
    theme: str,
) -> None:
    edit = Call("Edit", file_path=str(tmp_path / "a"), old_string="a", new_string="b")
    model.on("look", "# Found\n\n- a\n- b\n\n```sh\nls\n```\n\n| a | b |\n| - | - |\n| 1 | 2 |")
    model.on("mend", Call("Write", file_path=str(tmp_path / "b"), content="b"), edit)
    command("run", "look at it")
    looked = newest(command)
    command("run", "--detach", "--permissions", "ask", "mend it")
    asked = newest(command)
    record(page.state, "old", said("BUG: It stops"), result(is_error=True, result="Refused"))
    page.start()
    tab = enter(color_scheme=theme)
    found = []
    for path, there in (
        ("needs", ".permission"), ("sessions", ".rows tbody tr"), ("tickets", ".ticket"),
        (f"session/{looked}", ".turn-end .outcome"), (f"session/{asked}", ".requests .permission"),
        ("session/no-such", ".empty"),
    ):  # fmt: skip
        tab.goto(f"{page.url}/#/{path}")
        expect(tab.locator(there).first).to_be_visible()
        for each in Axe().run(tab).response["violations"]:
            if each["impact"] in ("serious", "critical"):
                found += [f"{path}: {each['id']}: {n['html'][:200]}" for n in each["nodes"]]
    assert found == []


def test_a_thousand_sessions_are_drawn_at_once(page: OpenedPage, enter: Enter) -> None:
    for number in range(1000):
        record(page.state, f"session-{number:04}", result(), cwd=f"/projects/{number % 7}")
    page.start()
    tab = enter("sessions")
    expect(tab.locator(".sum")).to_contain_text("1,000 of 1,000 sessions")
    tab.get_by_label("Search sessions").fill("session-0777")
    expect(tab.locator(".rows tbody tr")).to_have_count(1)
    tab.get_by_label("Search sessions").fill("")
    expect(tab.locator(".rows tbody tr")).to_have_count(1000)
    drawn: list[float] = []
    for _ in range(5):
        tab.goto(f"{page.url}/#/needs")
        expect(tab.get_by_role("heading", name="Needs me")).to_be_visible()
        drawn.append(tab.evaluate(DRAW))
    # tools/page_speed.py measures; here others work, too, so that the quickest time counts.
    assert min(drawn) < 1000, f"{drawn} ms"
    folder = page.state / "sessions" / "session-0777"
    assert folder.is_dir()


def test_a_long_journal_is_scrolled_without_loading_it_whole(
    page: OpenedPage, enter: Enter
) -> None:
    number = 15_000
    folder = record(page.state, "long", said("The first word.", uuid="a"))
    lines = (json.dumps(said(f"Line {n}")).encode() + b"\n" for n in range(number))
    with folder.journal.path.open("ab") as journal:
        journal.writelines(lines)
    write(folder, result(), said("The last word."), result("u2", total_cost_usd=0.5))
    page.start()
    tab = enter("session/long")
    last = tab.locator(".said .written").last
    expect(last).to_have_text("The last word.")
    pane = tab.locator(".pane")
    for _ in range(9):
        before = tab.locator(".conversation > *").first.get_attribute("data-offset")
        pane.evaluate("node => { node.scrollTop = 0 }")
        expect(tab.locator(".conversation > *").first).not_to_have_attribute("data-offset", before)
    assert tab.locator(".conversation > *").count() < 2000
    write(folder, said("The newest word."))
    tab.get_by_role("button", name="To the end").click()
    expect(last).to_have_text("The newest word.")
    tab.goto(f"{page.url}/#/session/long/0")
    expect(tab.locator(".said .written").first).to_have_text("The first word.")
    for _ in range(3):
        pane.evaluate("node => { node.scrollTop = node.scrollHeight }")
        until(lambda: tab.locator(".conversation > *").count() > 390, "nothing more was read")
    texts = as_written(tab)
    assert texts == ["The first word.", *(f"Line {n}" for n in range(len(texts) - 1))]


def test_a_torn_last_line_and_a_refusal_are_not_asked_for_again_and_again(
    page: OpenedPage, enter: Enter
) -> None:
    folder = record(page.state, "long", *(said(f"Line {n}") for n in range(600)), result())
    with folder.journal.path.open("ab") as journal:
        journal.write(b'{"type": "assistant", "mess')  # its writer was killed
    page.start()
    tab = enter()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.evaluate(KEEP, ".note.error")
    tab.goto(f"{page.url}/#/session/long")
    pane = tab.locator(".pane")
    expect(tab.locator(".said .written").last).to_have_text("Line 599")
    for _ in range(3):
        pane.evaluate("node => { node.scrollTop = node.scrollHeight - node.clientHeight - 100 }")
        pane.evaluate("node => { node.scrollTop = node.scrollHeight }")
    tab.route("**/events?*before=*", lambda route: route.fulfill(status=500, body="{}"))
    pane.evaluate("node => { node.scrollTop = 0 }")
    until(lambda: tab.evaluate("window.kept()"), "the refusal is not shown")
    tab.evaluate(ASK_MEANWHILE)
    assert len([each for each in asked if "/events?" in each]) <= 3
    assert len(tab.evaluate("window.kept()")) == 1


@pytest.mark.parametrize("view", ["session/one", "batches"])
def test_a_view_that_is_left_while_it_loads_does_not_come_back(
    page: OpenedPage, enter: Enter, view: str
) -> None:
    record(page.state, "one", said("Hello."), result())
    page.start()
    tab = enter("tickets")
    path = "**/api/sessions/one" if view == "session/one" else "**/api/batches"
    held: list[Any] = []
    tab.route(path, lambda route: held.append(route))
    tab.evaluate(f"location.hash = '#/{view}'")
    until(lambda: tab.evaluate("1") and held, "nothing was asked for")
    tab.evaluate("location.hash = '#/sessions'")
    expect(tab.get_by_role("heading", name="All sessions")).to_be_visible()
    with tab.expect_response(path):
        held[0].continue_()
    tab.evaluate(ASK_MEANWHILE)
    expect(tab.get_by_role("heading", name="All sessions")).to_be_visible()


def test_many_pages_of_one_browser_are_all_live(page: OpenedPage, enter: Enter) -> None:
    """A browser has six connections for one server, and the seventh page must not wait for one."""
    folder = record(page.state, "one", said("Hello."), result())
    page.start()
    first = enter("sessions")
    tabs = [first]
    for _ in range(8):
        tab = first.context.new_page()
        tab.goto(f"{page.url}/#/sessions")
        tabs.append(tab)
    for tab in tabs:
        expect(tab.locator(".link-state.live")).to_be_visible()
        expect(tab.locator("td[data-label=Turns]")).to_have_text("1")
    first.close()  # it had the stream, and another goes on with it
    write(folder, result("u2", total_cost_usd=0.5))
    for tab in tabs[1:]:
        expect(tab.locator("td[data-label=Turns]")).to_have_text("2")


def test_who_may_look_is_offered_nothing_else(page: OpenedPage, enter: Enter) -> None:
    record(page.state, "one", said("TODO: look"), result())
    page.start()
    tab = enter("session/one", read_only=True)
    expect(tab.locator(".said")).to_be_visible()
    expect(tab.get_by_role("button", name="Send")).to_have_count(0)
    tab.goto(f"{page.url}/#/tickets")
    expect(tab.locator(".ticket")).to_be_visible()
    expect(tab.get_by_role("button", name="Close", exact=True)).to_have_count(0)


def test_who_is_not_let_in_is_told_the_way(page: OpenedPage, browser: Browser) -> None:
    record(page.state, "one", said("A secret answer."), result())
    page.start()
    context = browser.new_context()
    context.set_default_timeout(SECONDS * 1000)
    tab = context.new_page()
    tab.goto(page.url)
    expect(tab.get_by_text("claude-mpm web link")).to_be_visible()
    tab.goto(f"{page.url}/#{'0' * 64}")
    tab.reload()
    expect(tab.get_by_text("claude-mpm web link").first).to_be_visible()
    assert "secret" not in tab.content()
    context.close()


def test_first_text_is_seen_soon_after_the_journal_has_it(page: OpenedPage, enter: Enter) -> None:
    folder = record(page.state, "one", said("Hello."), ended=False)
    page.start()
    tab = enter("session/one")
    expect(tab.locator(".said")).to_have_count(1)
    tab.evaluate(NOTE_TIMES)
    times = {}
    for number in range(20):
        times[f"Text {number}"] = time.time()
        write(folder, said(f"Text {number}"))
        expect(tab.locator(".said .written").last).to_have_text(f"Text {number}")
    seen = tab.evaluate("window.seen")
    delays = sorted(seen[text] - at for text, at in times.items())
    assert delays[len(delays) // 2] < 1, [f"{1000 * delay:.0f} ms" for delay in delays]


def test_sessions_of_other_machines_are_listed_below_with_their_age(
    page: OpenedPage, home: Path, enter: Enter
) -> None:
    settings = home / ".config" / "claude-mpm" / "settings.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('[places.odd]\norchestrator = "ssh"\n')
    session = {
        "place": "odd", "session": "c41b77d0-1", "key": "k", "state": "working",
        "seen_at": time.time() - 5.5 * 3600, "prompt": EVIL, "cwd": "/srv/api",
        "questions": [{"question": "q1", "tool": "Bash", "input": {"command": "ls"}}],
    }  # fmt: skip
    seen = {"place": "odd", "sessions": [session], "seen_at": session["seen_at"]}
    page.state.mkdir(mode=0o700, exist_ok=True)
    (page.state / "elsewhere").mkdir(mode=0o700)
    (page.state / "elsewhere" / "odd.json").write_text(json.dumps(seen))
    page.start()
    tab = enter("sessions")
    row = tab.locator("#elsewhere tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("onerror")
    expect(row).to_contain_text("5 h")
    expect(row.locator("img")).to_have_count(0)
    expect(tab.locator(".elsewhere-problem")).to_contain_text("odd does not answer: ")
    tab.goto(f"{page.url}/#/needs")
    waits = tab.locator(".need.permission")
    expect(waits).to_contain_text("claude-mpm attach --on odd c41b77d0")
    expect(waits.locator("img")).to_have_count(0)
    assert tab.evaluate("window.pwned") is None
