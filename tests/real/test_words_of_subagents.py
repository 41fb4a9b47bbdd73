"""What subagents say counts as theirs: their tickets are kept, the answer is the main Claude's."""

from __future__ import annotations

import asyncio
import csv
from typing import TYPE_CHECKING, Any

import pytest
from claude_agent_sdk import AssistantMessage, ClaudeAgentOptions, ClaudeSDKClient, TextBlock

from claude_mpm.sdk import PlaceTransport
from claude_mpm.sessions.store import Store
from claude_mpm.testing import Call, Delegate, Stall
from command import Command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from claude_mpm.capabilities.facts import Capabilities
    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude
    from served import Served

ANSWER = "It is looked at.\nBUG: the roof leaks"
SECONDS = 60.0


@pytest.fixture
def command(model: ScriptedModel, tmp_path: Path, claude_path: str) -> Iterator[Command]:
    command = Command(model, tmp_path / "claude-home", claude_path)
    yield command
    command.close()


def said_by(found: list[Any]) -> dict[str, str]:
    return {ticket.title: ticket.agent for ticket in found}


IN_BACKGROUND = Delegate(
    "Explore", "Look", does="TODO: clean the gutter", background=True, when_done="Back."
)
NESTED = Delegate(
    "general-purpose",
    "Look",
    does=["TODO: first", Delegate("Explore", "Deeper", does="BUG: deep"), "TODO: last"],
)
SCRIPTS: dict[str, tuple[list[Delegate], int, dict[str, str]]] = {
    "in the foreground": (
        [Delegate("Explore", "Look", does=[Call("Glob", pattern="*"), "TODO: clean it"])],
        1,
        {"clean it": "Explore", "the roof leaks": ""},
    ),
    "in the background": (
        [IN_BACKGROUND],
        1,
        {"clean the gutter": "Explore", "the roof leaks": ""},
    ),
    "several at once": (
        [Delegate("Explore", f"Look {n}", does=f"TODO: clean {n}") for n in ("one", "two")],
        2,
        {"clean one": "Explore", "clean two": "Explore", "the roof leaks": ""},
    ),
    "one below another": (
        [NESTED],
        2,
        {"first": "general-purpose", "deep": "Explore", "last": "general-purpose",
         "the roof leaks": ""},
    ),
    "the same said by both": (
        [Delegate("Explore", "Look", does="BUG: The roof leaks")],
        1,
        {"The roof leaks": "Explore"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("calls", "delegations", "tickets"), SCRIPTS.values(), ids=SCRIPTS)
def test_tickets_of_subagents_have_their_name(
    make_claude: MakeClaude,
    model: ScriptedModel,
    calls: list[Delegate],
    delegations: int,
    tickets: dict[str, str],
    build: Capabilities,
) -> None:
    model.on("Go", *calls, ANSWER)
    if not build.can("tells_nested"):
        tickets = {title: agent for title, agent in tickets.items() if title != "deep"}
    with make_claude(session_id="s") as claude:
        turn = claude.ask("Go").check()
        limits = claude.store.folder("s").read_meta().starts[0].claude_limits
    assert ("what the subagents of subagents say" in limits) is not build.can("tells_nested")
    assert said_by(turn.tickets) == tickets
    assert said_by(claude.store.index.tickets(claude.session_id)) == tickets
    assert turn.text.removesuffix("\nBack.") == ANSWER
    assert len(turn.delegations) == delegations
    # What each request of the main conversation used, and nothing twice.
    asked = [each for each in model.requests if not (each.is_subagent or each.is_side)]
    assert sum(result.input_tokens for result in turn.results) == 10 * len(asked)


def test_run_send_and_the_lists_tell_who_said_it(command: Command, model: ScriptedModel) -> None:
    model.on("Go", Delegate("Explore", "Look", does="TODO: clean the gutter"), ANSWER)
    model.on("More", Delegate("Plan", "Plan it", does="TODO: buy a ladder"), "Planned.")
    ran = command("run", "--session", "one", "Go")
    assert ran.stdout == f"{ANSWER}\n"
    assert "✎ task by Explore: clean the gutter" in ran.stderr
    command("run", "--session", "two", "--detach", "hi")
    assert command("send", "two", "--wait", "More").stdout == "Planned.\n"
    expected = {"clean the gutter": "Explore", "the roof leaks": "", "buy a ladder": "Plan"}
    assert {t["title"]: t["agent"] for t in command.json("tickets")} == expected
    rows = csv.DictReader(command("tickets", "export", "--format", "csv").stdout.splitlines())
    assert {row["title"]: row["agent"] for row in rows} == expected
    listed = [line.split("\t") for line in command("tickets").stdout.splitlines()]
    assert {row[4]: row[6] for row in listed} == {"title": "agent", **expected}
    assert "clean the gutter\tExplore" in command("show", "one").stdout
    assert command("logs", "one").stdout == f"{ANSWER}\n"
    command("doctor", "--rebuild-index")
    assert {t["title"]: t["agent"] for t in command.json("tickets")} == expected


def test_a_conversation_that_is_gone_on_with_is_heard_too(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("Go", Delegate("Explore", "Look", does="TODO: clean the gutter"), "Done.")
    with make_claude() as claude:
        claude.ask("hi").check()
    with make_claude(session_id=claude.session_id, resume=True) as again:
        assert said_by(again.ask("Go").check().tickets) == {"clean the gutter": "Explore"}


def test_a_server_s_claude_is_heard_here(
    served: Served, model: ScriptedModel, tmp_path: Path
) -> None:
    token = served.token()
    served.start()
    model.on("Go", Delegate("Explore", "Look", does="TODO: clean the gutter"), "Done.")
    environ = model.environment(tmp_path / "near-home")
    with served.claude(token=token, environ=environ) as claude:
        turn = claude.ask("Go").check()
        assert (turn.text, said_by(turn.tickets)) == ("Done.", {"clean the gutter": "Explore"})


def test_a_claude_that_is_started_again_in_a_turn_is_heard_too(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("Go", "Half", Stall())
    model.on("Continue", Delegate("Explore", "Look", does="TODO: clean the gutter"), "Whole.")
    with make_claude(on_stall="resume", silence_timeout=10.0, resume_lost=1) as claude:
        turn = claude.ask("Go").wait(SECONDS)
        assert turn.text.endswith("Whole.")
        assert said_by(turn.tickets) == {"clean the gutter": "Explore"}


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_the_official_client_gets_the_words_that_it_asked_for(
    model: ScriptedModel, tmp_path: Path, claude_path: str, asked: bool, background: bool
) -> None:
    # One in the background has to outlast the turn, or else there is no second one.
    does: list[Any] = [Stall(), "TODO: clean"] if background else ["TODO: clean"]
    model.on(
        "Go",
        Delegate("Explore", "Look", does=does, background=background, when_done="Back."),
        "Done.",
    )
    environ = model.environment(tmp_path / "claude-home")
    options = ClaudeAgentOptions(
        cli_path=claude_path, forward_subagent_text=asked, env=dict(environ)
    )
    transport = PlaceTransport(options, environ=environ, state_dir=str(tmp_path / "s"))

    async def talk(transport: PlaceTransport | None) -> list[str]:
        said: list[str] = []
        async with ClaudeSDKClient(options, transport=transport) as client:
            await client.query("Go")
            for follows in (True, False) if background else (False,):
                async for message in client.receive_response():
                    if isinstance(message, AssistantMessage):
                        said.extend(b.text for b in message.content if isinstance(b, TextBlock))
                if follows:
                    await asyncio.to_thread(model.wait_for_stall)
                    model.release()
        return said

    # What bare Claude does: a build that goes on meanwhile may tell a subagent's words unasked.
    bare, ours = (asyncio.run(asyncio.wait_for(talk(t), SECONDS)) for t in (None, transport))
    assert ours == bare
    assert "TODO: clean" in ours or not asked
    assert "TODO: clean" not in ours or asked or background
    found = Store(str(tmp_path / "s")).index.tickets(transport.session_id)
    assert said_by(found) == {"clean": "Explore"}
