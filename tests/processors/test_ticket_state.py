"""What says that a ticket is done, that there is none, or that a text is no text of its own."""

from __future__ import annotations

import pytest

from claude_mpm.processors.tickets.finder import TicketFinder
from claude_mpm.processors.tickets.state import is_no_title, phrases, says_done

DONE = {
    "a field below": "BUG: it crashes\nStatus: fixed\n",
    "a field in bold with a sign": "## BUG 1: it crashes\n**STATUS:** ✅ mended\n",
    "a field among others": "TODO: write tests\nPriority: high\nStatus: done\n",
    "a field that says so by its name": "BUG: it crashes\nFixed: 2024-01-02\n",
    "a field in German": "BUG: Absturz beim Start\nErledigt: ja\n",
    "a field in French": "BUG: plantage\nÉtat : corrigé\n",
    "a field in Chinese": "BUG: 程序崩溃\n状态：已修复\n",
    "a line below": "BUG: it crashes\n  - fixed in 1.2\n",
    "a line below in German": "- BUG: Absturz\n  → behoben am 3.5.\n",
    "a sign and a word": "TODO: rename the bucket ✅ done",
    "who did it, in a sentence": "BUG: the tap drips (fixed it myself!)",
    "an answer": "ISSUE: Who owns the domain? -> answered: Ops",
    "a sentence over a list": "These are resolved now:\n- BUG: slow search\n",
    "a heading that begins so": "### Fixed in the parser\n**Issue**: stale lock",
    "a heading that ends so": "### The parser is fixed\n**Issue**: stale lock",
    "a heading in the plural": "## Cancelados\n- TODO: curso de piano\n",
    "a line with a joint in Japanese": "**修正済みの問題**\n- BUG：null 参照\n",
    "a participle in the plural": "ISSUE: conti doppi — risolte",
    "a label in Hindi": "पूर्ण:\n- TODO: परीक्षण लिखें\n",
    "a box of Claude Code's list": "  ☒ TODO: remove the flag",
    "said behind the bracket": "Das frühere Problem (BUG: falsche Zeitzone) ist behoben.",
    "a line of what is done": "済んだこと\n- TODO：歯医者\n",
    "brackets at the beginning": "BUG: (fixed) it crashes",
    "what was done": "TASK: Implemented the parser",
    "a field with a word that became so": "BUG: 程序崩溃\n状态：已上架\n",
    "when, behind a dash": "TASK: docs — finished this morning",
    "behind a colon": "BUG: сломан стул: починили",
    "a label in brackets": "【完了】\n- TODO：予約の確認\n",
    "a heading with a sign": "### ✅ The parser\n**Issue**: stale lock",
    "beside the marker": "BUG (fixed): it crashes",
    "beside the marker, with a date": "BUG (behoben am 3.5.): Absturz",
    "struck through whole": "~~TODO: paint the door~~",
    "struck through behind the marker": "TODO: ~~paint the door~~",
    "struck through in a list": "- ~~BUG: it crashes~~ moved",
    "who did it, behind a dash": "BUG: a leak — resolved by #12",
    "who did it, in brackets": "BUG: a leak (resolved by commit abc)",
    "a remark with a reason": "BUG: a leak (fixed: see abc)",
    "a sentence of its own": "BUG: Absturz. Erledigt.",
    "behind a comma": "BUG: Absturz beim Start, erledigt",
    "a heading": "## Erledigt\n- TODO: Zaun streichen\n",
    "a heading with a count": "## ✅ Done (3)\n- BUG: it crashes",
    "a label": "Done:\n- TODO: paint the door\n",
    "a label in bold": "**Erledigt:**\n\n- BUG: Absturz\n",
    "a heading of defects": "## Behobene Fehler\n- BUG: Absturz beim Start\n",
    "a label of defects": "Errores corregidos:\n- BUG: se cierra al imprimir\n",
    "a line of defects": "已修复的问题\n- BUG: 窗口无法缩小\n",
    "a line over a list": "Pendente\n- nada\n\nConcluído\n- TODO: migrar o banco\n",
    "a line over a list, in Chinese": "已完成\n- TODO: 购买服务器\n",
    "a line in bold behind a sign": "✅ **Completed**\n- FEATURE: pages\n",
    "a line over lines": "Erledigt\nTODO: Rasen mähen\nTODO: Hecke schneiden\n",
    "a heading in Japanese": "## 完了したタスク\n- TODO：サーバー移転\n",
    "behind the bold title": "**BUG: it crashes** ✅ fixed in 1.2",
    "a line in bold": "**Fixed issues**\n\n- BUG: it crashes\n",
    "an underlined heading": "Abgeschlossen\n-------------\nTODO: Vertrag\nTODO: Strom\n",
    "a label with a time": "Resolved this week:\n- TODO: write tests\n",
    "a heading of a changelog": "### Added\n- FEATURE: dark mode\n",
    "behind a comma, with a version": "BUG: Absturz beim Start, behoben in 4.1",
    "behind a comma, with a commit": "BUG: it crashes, fixed in a91bc2e",
    "cancelled": "TODO: voice notes -- cancelled",
    "given up": "FEATURE : mode sombre (abandonné)",
    "a word that became so": "BUG: 会员名单已更新",
    "German": "TODO: Zaun streichen — erledigt",
    "German in capitals": "BUG: Absturz (BEHOBEN)",
    "French": "TODO: peindre la porte — terminé",
    "Spanish": "BUG: falla al iniciar (corregido)",
    "Portuguese": "TODO: pintar a porta → concluído",
    "Russian": "TODO: написать тесты — выполнено",
    "Chinese": "TODO：写测试（已完成）",
    "Japanese": "TODO: テストを書く — 完了",
    "Hindi": "TODO: परीक्षण लिखें — पूर्ण",
    "Arabic": "TODO: اكتب الاختبارات (تم)",
    "Bengali": "BUG: ক্র্যাশ (ঠিক করা হয়েছে)",
    "Urdu": "BUG: crash — حل ہو گیا",
}
NOTHING = [
    "BUG: keine",
    "TODO: nichts",
    "BUG: derzeit keine bekannt",
    "BUG: aucun",
    "BUG: aucun pour le moment",
    "TODO: keins",
    "BUG: no critical bugs",
    "TODO: None at this time",
    "TODO: and FIXME: comments are ignored",
    "TODO: nada",
    "BUG: нет",
    "TODO: пока нет",
    "BUG：无",
    "TODO：なし",
    "BUG: कोई नहीं",
    "TODO: لا شيء",
    "BUG: কিছুই না",
    "TODO: nenhum",
    "BUG: کوئی نہیں",
    "TODO: offen",
    "TODO: siehe #12",
    "TODO #461: first try",
    "- BUG #14538: second try",
]
NOT_SAID = {
    "a comment over several lines": "/*\n * TODO: sort the imports\n */",
    "a comment of Markdown": "<!--\nTODO: fill this in\n\nBUG: this too\n-->",
    "a documentation string": '"""\nTODO: describe it\n"""',
    "a test in Gherkin": "Feature: Show the list\n  Scenario: Empty\n    Given no items\n",
    "Gherkin with a story": "Feature: A list\n  As a user\n\n  Background:\n    Given x",
    "a tool's result": "  ⎿  TODO: in a result",
    "a longer result": "  ⎿  Read 2 lines\n     TODO: in a result",
    "a tool's call": '⏺ Bash(git commit -m "Sort TODO: by size…',
    "a tool of a server": '⏺ files - read (MCP)(path: "TODO: x")',
    "an older sign": "● Update(a.md)\n  ⎿  Updated a.md\n       12 + TODO: in a diff",
    "a line of docker compose": "web-1    | TODO: replace the key",
    "a line of git's log": "a1b2c3d BUG: fix the crash at start",
    "a line with a time in seconds": "1719835200 TODO: reload the file",
    "a line with a level and a name": "WARN  [main] TODO: reload the file",
    "a command of a traced shell": "+ echo TODO: reload the file",
    "a warning": "Warning: TODO: an old call in foo.php",
    "a panic": "thread 'main' panicked at 'not yet implemented: TODO: z', src/main.rs:4",
    "a sentence": "The FIXME: in parser.c was resolved.",
    "a line with a short time": "10:22 INFO TODO: worker started",
    "a line with its number": "12: TODO: drop this",
    "words in bold that end in a marker": "The **last TODO**: it is gone",
    "a line with a level and a date": "ERROR 2026-11-30 BUG: disk",
    "a line of TAP": "ok 3 - BUG: regression 211 stays away",
    "a line of pytest": "E   BUG: coupon ignored",
    "a box": "│ TODO: in a box │",
    "a line of a diff with its number": "       12 + TODO: in a diff",
}
OPEN = {
    "BUG: it crashes\nStatus: not fixed\n": "it crashes",
    "BUG: Absturz\nStatus: nicht behoben": "Absturz",
    "BUG: plantage\nStatut : pas corrigé": "plantage",
    "- BUG: it crashes\n  Fixed: no\n": "it crashes",
    "BUG: it crashes\n  fixed columns overflow": "it crashes",
    "TODO: complete the docs": "complete the docs",
    "TODO: close the file (and the socket)": "close the file (and the socket)",
    "BUG: Closed sockets leak": "Closed sockets leak",
    "BUG: kein Login möglich": "kein Login möglich",
    "BUG: no retry here": "no retry here",
    "BUG: 完成度が低い": "完成度が低い",
    "TODO: Fertige Seiten prüfen": "Fertige Seiten prüfen",
    "TODO\u00a0: peindre la porte": "peindre la porte",
    "12/04 TODO : relire": "relire",
    "### Not yet fixed\n**Issue**: stale lock": "stale lock",
    "BUG：用户名已存在": "用户名已存在",
    "TODO：支払い未済": "支払い未済",
    "TODO: move the server\n  - [x] copy the data\n  - [ ] switch over": "move the server",
    "09:10 TODO: call Mike": "call Mike",
    "The old one (BUG: wrong zone) was reported again": "wrong zone",
    "（TODO：写测试）": "写测试",
    "BUG #2: the second one": "the second one",
    "⏺ BUG: it leaks": "it leaks",
    "● TODO(ann): paint the door": "paint the door",
    "  ⎿  ```\n     code\n\n⏺ TODO: go on": "go on",
    "/* one line */\nTODO: sort the imports": "sort the imports",
    "Done:\n- this\n\nOpen:\n- TODO: that other thing": "that other thing",
    "  Fixed:\n  - BUG: it leaks\n\n  Open:\n  - TODO: tell the users": "tell the users",
    "Done.\n\n- TODO: tell the users": "tell the users",
    "Done:\n- this\nTODO: tell the users": "tell the users",
    "Done\nTODO: this\n\nTODO: tell the users": "tell the users",
    "Done:\nI wrote it.\nTODO: tell the users": "tell the users",
    "BUG: fixed\n- TODO: tell the users": "tell the users",
    "- done\n- TODO: tell the users": "tell the users",
    "Done\n====\nTODO: a\n\nOpen\n====\nTODO: tell the users": "tell the users",
    "## Done\n- TODO: a\n---\n- TODO: b\n\nNext\n---\nTODO: tell the users": "tell the users",
    "## Fixed bugs\n- TODO: tell the users": "tell the users",
    "Feature: Export as CSV\n  with all columns\n\nText": "Export as CSV",
}


def test_every_phrase_of_the_table_is_found() -> None:
    assert [phrase for phrase in phrases("DONE") if not says_done(phrase)] == []
    assert [phrase for phrase in phrases("NONE") if not is_no_title(phrase)] == []


@pytest.mark.parametrize("text", [*DONE.values(), *NOTHING], ids=[*DONE, *NOTHING])
def test_what_is_done_or_nothing_is_no_ticket(text: str) -> None:
    assert TicketFinder().find(text) == []


@pytest.mark.parametrize("text", NOT_SAID.values(), ids=NOT_SAID)
def test_what_only_shows_a_marker_is_no_ticket(text: str) -> None:
    assert TicketFinder().find(text) == []


@pytest.mark.parametrize(("text", "title"), OPEN.items())
def test_what_only_looks_done_is_a_ticket(text: str, title: str) -> None:
    assert [ticket.title for ticket in TicketFinder().find(text)] == [title]


def test_what_is_said_below_a_done_ticket_is_not_said_of_the_one_before() -> None:
    text = "- BUG: one\n- BUG: two\n  Status: fixed\n  more of two\n- BUG: three"
    found = [(ticket.title, ticket.description) for ticket in TicketFinder().find(text)]
    assert found == [("one", ""), ("three", "")]
