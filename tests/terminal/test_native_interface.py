"""Claude Code's native interface in a real terminal, with the scripted model behind it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pane import Pane

from claude_mpm.journal.layout import SessionFolder
from claude_mpm.terminal.claude_config import answer_first_questions
from claude_mpm.testing import Call, ScriptedModel, Stall
from claude_mpm.testing.subject import until
from command import wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from claude_mpm.capabilities.facts import Capabilities

    Open = Callable[..., Pane]

PROGRAMS = Path(sys.executable).parent
# What a program leaves behind that did not give its terminal back.
MODES = ("alternate_on", "mouse_any_flag", "cursor_flag", "keypad_flag", "wrap_flag")
AT_REST = ("0", "0", "1", "0", "1")
SCREEN = MODES[:2]  # what a screen that Claude draws whole has; an older build writes in lines
BOX = "❯"  # Claude's line to type in
CHOSEN = re.compile("❯ (1[.] )?Yes")  # the answer that trusts a folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def open_pane(
    tmux: str, model: ScriptedModel, claude_path: str, tmp_path: Path, state: Path
) -> Iterator[Open]:
    """Opens terminals in which `claude-mpm` has the scripted model, and nothing left to ask."""
    environ = model.environment(
        tmp_path / "claude-home",
        PATH=f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        CLAUDE_PATH=claude_path,
        CLAUDE_MPM_STATE_DIR=str(state),
    )
    answer_first_questions(environ, str(Path.cwd()))
    opened: list[Pane] = []

    def open_pane(**size: int) -> Pane:
        folder = tmp_path / f"pane-{len(opened)}"
        opened.append(Pane(tmux, folder, environ, cwd=Path.cwd(), **size))
        return opened[-1]

    yield open_pane
    subprocess.run([PROGRAMS / "claude-mpm", "stop", "--all"], env=environ, check=False)
    for pane in opened:
        pane.close()


def _session(state: Path) -> SessionFolder:
    (path,) = (state / "sessions").iterdir()
    return SessionFolder(path)


def _client(pane: Pane) -> int:
    """Return the process that shows the screen: what runs in the pane's foreground."""
    shell = pane.tmux("display-message", "-p", "#{pane_pid}").strip()
    (child,) = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
    return int(child)


def _quit(pane: Pane) -> None:
    """Press Ctrl-C twice, and again where that has only ended the turn that was shown last."""

    def has_ended() -> bool:
        if pane.is_("pane_current_command") != ("bash",):
            pane.press("C-c", "C-c")
        return pane.is_shown("claude-mpm resume", 10.0)

    until(has_ended, lambda: f"Claude goes on:\n{pane.screen}")


def test_type_get_an_answer_and_quit(
    open_pane: Open, model: ScriptedModel, build: Capabilities
) -> None:
    model.on("Ship it", Call("Bash", command="echo checked"), "Shipped.\nTODO: Announce it")
    pane = open_pane()
    before = pane.run("stty -a")
    pane.enter("claude-mpm -- --allowedTools Bash")
    pane.expect(BOX)
    assert pane.is_(*MODES) != AT_REST
    pane.say("Ship it")
    pane.expect("Shipped.")
    _quit(pane)
    assert pane.is_(*MODES) == AT_REST
    assert pane.run("stty -a") == before
    assert "1 turn, $" in pane.screen
    assert "1 ticket; go on with: claude-mpm resume" in pane.screen
    assert "Announce it" in pane.run("claude-mpm tickets")
    (session,) = json.loads(pane.run("claude-mpm ps --all --json"))
    assert session["orchestrator"] == "terminal"
    assert (session["cost_usd"] > 0) is build.can("writes_costs")
    assert "Project manager" in model.requests[-1].system  # the framework


def test_the_window_may_change_its_size(open_pane: Open) -> None:
    pane = open_pane(columns=90, rows=30)
    pane.enter("claude-mpm")
    pane.expect("─" * 90)
    pane.resize(70, 24)
    pane.expect("─" * 70, gone="─" * 71)
    pane.resize(130, 40)
    pane.expect("─" * 130)
    _quit(pane)


def test_keys_and_pastes_reach_claude_as_they_are(open_pane: Open, model: ScriptedModel) -> None:
    pane = open_pane()
    pane.enter("claude-mpm")
    pane.expect(BOX)
    pane.paste("first line\nsecond «line»")  # a line end that is pasted sends nothing
    pane.expect("second «line»")
    pane.type(" and moer")
    pane.press("BSpace", "BSpace")
    pane.say("re", shown="and more")
    pane.expect("Claude heard: first line")
    assert model.requests[-1].prompt == "first line\nsecond «line» and more"
    _quit(pane)


def test_ctrl_c_interrupts_the_turn_and_not_the_session(
    open_pane: Open, model: ScriptedModel
) -> None:
    model.on("Talk", "The beginning\nof it", Stall(), "never said")
    pane = open_pane()
    pane.enter("claude-mpm")
    pane.expect(BOX)
    pane.say("Talk")
    pane.expect("The beginning")
    model.wait_for_stall()
    pane.press("C-c")
    pane.expect("Interrupted")
    pane.say("Again")
    pane.expect("Claude heard: Again")
    _quit(pane)
    assert "never said" not in pane.run("claude-mpm logs")


def test_kill_9_leaves_a_sane_terminal_and_the_session_goes_on(
    open_pane: Open, model: ScriptedModel, state: Path
) -> None:
    pane = open_pane()
    before = pane.run("stty -a")
    pane.enter("claude-mpm")
    pane.expect(BOX)
    pane.say("The first prompt")
    pane.expect("Claude heard: The first prompt")
    modes = pane.is_(*SCREEN)
    os.kill(_client(pane), signal.SIGKILL)
    pane.expect_flags(MODES, AT_REST)
    assert pane.run("stty -a") == before
    until(lambda: "idle" in pane.run("claude-mpm ps"), "Claude does not come to rest")
    pane.enter("clear; claude-mpm attach")
    pane.expect("Claude heard: The first prompt")  # drawn again, for a screen that comes late
    assert pane.is_(*SCREEN) == modes
    pane.say("The second prompt")
    pane.expect("Claude heard: The second prompt")
    _quit(pane)
    assert pane.run("stty -a") == before
    assert [r.prompt for r in model.requests if r.prompt and not r.is_side] == [
        "The first prompt",
        "The second prompt",
    ]
    assert _session(state).exit_status() == 0


def test_a_session_can_be_resumed_on_the_terminal(open_pane: Open, model: ScriptedModel) -> None:
    pane = open_pane()
    pane.enter("claude-mpm")
    pane.expect(BOX)
    pane.say("Remember the word plum")
    pane.expect("Claude heard: Remember")
    _quit(pane)
    pane.enter("clear; claude-mpm resume")
    pane.expect(BOX)
    pane.settle()  # an Enter is lost while Claude still takes up the conversation
    pane.say("Which word?")
    pane.expect("Claude heard: Which word?")
    assert "plum" in model.requests[-1].text
    _quit(pane)


def test_two_terminals_show_the_same_session(open_pane: Open) -> None:
    first, second = open_pane(), open_pane(columns=80, rows=24)
    first.enter("claude-mpm")
    first.expect(BOX)
    second.enter("claude-mpm attach")
    second.expect(BOX)
    second.say("From the second")
    first.expect("Claude heard: From the second")
    second.expect("Claude heard: From the second")
    _quit(first)
    second.expect("claude-mpm resume")
    assert second.is_(*MODES) == AT_REST


def test_a_program_sends_a_prompt_to_what_a_person_sees(open_pane: Open, state: Path) -> None:
    pane, beside = open_pane(), open_pane()
    pane.enter("claude-mpm")
    pane.expect(BOX)
    name = _session(state).path.name
    assert "Claude heard: One" in beside.run(f"claude-mpm send --wait {name} One")
    pane.expect("Claude heard: One")
    beside.run(f"claude-mpm send {name} Two")
    pane.expect("Claude heard: Two")
    assert "ended with status 0" in beside.run(f"claude-mpm stop {name}")
    pane.expect("claude-mpm resume")


def test_ctrl_z_gives_the_shell_its_turn(open_pane: Open) -> None:
    pane = open_pane()
    before = pane.run("stty -a")
    pane.enter("claude-mpm")
    pane.expect(BOX)
    pane.say("Before")
    pane.expect("Claude heard: Before")
    pane.press("C-z")
    pane.expect("Stopped")
    assert pane.run("stty -a") == before
    assert pane.is_(*MODES) == AT_REST
    pane.enter("fg")
    pane.expect("Claude heard: Before")
    pane.say("After")
    pane.expect("Claude heard: After")
    _quit(pane)


def test_the_first_questions_are_the_persons(
    open_pane: Open, tmp_path: Path, model: ScriptedModel
) -> None:
    pane = open_pane()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    config = tmp_path / "claude-home" / ".claude" / ".claude.json"
    pane.run(f"cd {elsewhere}")
    pane.enter("claude-mpm")
    pane.expect("Enter to confirm")
    pane.settle()  # Claude begins the question again while it starts
    assert str(elsewhere) not in config.read_text()

    def stays_chosen() -> bool:
        if not CHOSEN.search(pane.screen):
            pane.press("Down")
        pane.settle()
        return CHOSEN.search(pane.screen) is not None

    until(stays_chosen, lambda: f"the answer is not chosen:\n{pane.screen}")
    pane.press("Enter")
    pane.expect(BOX, gone="trust")
    pane.say("Here")
    pane.expect("Claude heard: Here")
    _quit(pane)


def test_closing_the_window_leaves_a_session_that_ends_when_nobody_comes(
    open_pane: Open, state: Path, tmp_path: Path
) -> None:
    keeper = open_pane()
    (tmp_path / "project" / ".claude-mpm.toml").write_text("linger = 1.0\n")
    pane = open_pane()
    pane.enter("claude-mpm")
    pane.expect(BOX)
    pane.settle()  # what is still starting does not hear what ends it
    folder = _session(state)
    pids = folder.pids()
    assert pids is not None
    pane.close()
    wait_until_gone(pids)
    assert folder.exit_status() == 0
    assert not folder.feed.exists()
    assert "ended" in keeper.run("claude-mpm ps --all")


def test_chosen_otherwise_it_is_a_conversation_in_lines(open_pane: Open) -> None:
    pane = open_pane()
    pane.enter("claude-mpm --orchestrator local")
    pane.expect("›")
    pane.enter("Hello")
    pane.expect("Claude heard: Hello")
    pane.enter("/quit")
    pane.expect("claude-mpm resume")


def test_the_guard_goes_with_the_client(open_pane: Open) -> None:
    pane = open_pane()
    pane.enter("claude-mpm")
    pane.expect(BOX)
    client = _client(pane)
    children = Path(f"/proc/{client}/task/{client}/children").read_text().split()
    _quit(pane)
    wait_until_gone([client, *map(int, children)])


def test_asked_to_end_it_ends_claude_and_gives_the_terminal_back(
    open_pane: Open, state: Path
) -> None:
    pane = open_pane()
    before = pane.run("stty -a")
    pane.enter("claude-mpm")
    pane.expect(BOX)
    os.kill(_client(pane), signal.SIGTERM)
    pane.expect("ended by signal 15")
    assert pane.run("stty -a") == before
    assert pane.is_(*MODES) == AT_REST
    assert _session(state).exit_status() is not None


def test_a_start_that_fails_shows_what_claude_says(open_pane: Open) -> None:
    pane = open_pane()
    before = pane.run("stty -a")
    pane.enter("claude-mpm -- --no-such-option; echo status $?")
    pane.expect("unknown option '--no-such-option'")
    pane.expect("status 1")
    assert pane.run("stty -a") == before


def test_kill_9_of_the_host_is_told_and_resume_goes_on(
    open_pane: Open, state: Path, model: ScriptedModel
) -> None:
    pane = open_pane()
    before = pane.run("stty -a")
    pane.enter("claude-mpm; echo status $?")
    pane.expect(BOX)
    pane.say("Remember plum")
    pane.expect("Claude heard: Remember plum")
    pids = _session(state).pids()
    assert pids is not None
    os.kill(pids[0], signal.SIGKILL)
    pane.expect("status 1")
    assert pane.run("stty -a") == before
    assert pane.is_(*MODES) == AT_REST
    pane.enter("clear; claude-mpm resume")
    pane.expect(BOX)
    pane.settle()  # an Enter is lost while Claude still takes up the conversation
    pane.say("Which word?")
    pane.expect("Claude heard: Which word?")
    assert "plum" in model.requests[-1].text
    _quit(pane)
