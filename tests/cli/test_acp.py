"""Sessions for an editor: the client of the protocol's own SDK, and the real Claude Code."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import acp
import pytest
from acp.schema import AllowedOutcome, ClientCapabilities, DeniedOutcome, RequestPermissionResponse
from acp.stdio import spawn_agent_process

from claude_mpm.bridges.acp_updates import PromptBegun, UpdateFold
from claude_mpm.cli.acp_agent import EditorSession, text_of
from claude_mpm.conversation.question import Question
from claude_mpm.testing import Call, Stall, Usage
from claude_mpm.wire.framing import LineFramer
from claude_mpm.wire.stream_json import StreamJson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from claude_mpm.journal.answers import Answer
    from claude_mpm.testing import ScriptedModel
    from command import Command

SECONDS = 60.0
LONGEST = 110.0  # seconds for a whole conversation, where the machine has other work
START = "from claude_mpm.cli.main import main; main()"


class Editor:
    """The other side: keeps what it is shown, and answers as it was told.

    Args:
        decision: what it answers permission requests with; None to leave them.
    """

    def __init__(self, decision: str | None = "allow") -> None:
        self.decision = decision
        self.updates: list[Any] = []
        self.asked: list[Any] = []
        self.options: list[Any] = []
        self.changed = asyncio.Condition()

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        async with self.changed:
            self.updates.append(update)
            self.changed.notify_all()

    async def request_permission(
        self, session_id: str, tool_call: Any, options: Any, **_: Any
    ) -> RequestPermissionResponse:
        async with self.changed:
            self.asked.append(tool_call)
            self.options.append(options)
            self.changed.notify_all()
        if self.decision is None:
            await asyncio.Event().wait()
        if self.decision == "nonsense":
            return RequestPermissionResponse.model_validate({"outcome": {"outcome": "selected"}})
        if self.decision == "cancel":
            return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        chosen = AllowedOutcome(outcome="selected", option_id=str(self.decision))
        return RequestPermissionResponse(outcome=chosen)

    async def until(self, holds: Any) -> None:
        """Wait until something holds of what was shown."""
        async with self.changed, asyncio.timeout(SECONDS):
            await self.changed.wait_for(holds)

    @property
    def text(self) -> str:
        """What Claude said, as it was shown."""
        return "".join(
            update.content.text
            for update in self.updates
            if update.session_update == "agent_message_chunk"
        )

    @property
    def prompts(self) -> list[str]:
        """The prompts that it was shown."""
        return [update.content.text for update in self.of("user_message_chunk")]

    def of(self, kind: str) -> list[Any]:
        """Return the updates of a kind."""
        return [update for update in self.updates if update.session_update == kind]


@asynccontextmanager
async def opened(
    command: Command, editor: Editor, *, terminals: bool = False
) -> AsyncIterator[tuple[Any, Any]]:
    """Start the agent as an editor does; give the connection and the process."""
    shows = ClientCapabilities(field_meta={"terminal_output": terminals})
    started = spawn_agent_process(
        editor,  # type: ignore[arg-type]
        sys.executable, "-c", START, "acp", env=command.environ,
    )  # fmt: skip
    async with started as (connection, process), asyncio.timeout(LONGEST):
        made = await connection.initialize(
            protocol_version=acp.PROTOCOL_VERSION, client_capabilities=shows
        )
        assert made.protocol_version == acp.PROTOCOL_VERSION
        assert made.agent_capabilities is not None and made.agent_capabilities.load_session
        yield connection, process


def here() -> str:
    return str(Path.cwd())


def ask(connection: Any, session: str, text: str) -> Any:
    return connection.prompt(session_id=session, prompt=[acp.text_block(text)])


def test_a_conversation_with_tools_and_a_permission(command: Command, model: ScriptedModel) -> None:
    target = Path("out.txt").absolute()
    model.on("write", "I write.", Call("Write", file_path=str(target), content="new"), "Written.")

    async def main() -> None:
        editor = Editor()
        async with opened(command, editor) as (connection, _):
            session = (await connection.new_session(cwd=here())).session_id
            first = await ask(connection, session, "write")
            assert first.stop_reason == "end_turn" and first.usage.output_tokens > 0
            assert editor.text == "I write.Written."
            (call,) = editor.of("tool_call")
            assert (call.kind, call.title) == ("edit", f"Write: {target}")
            assert (call.content[0].path, call.content[0].new_text) == (str(target), "new")
            (done,) = editor.of("tool_call_update")
            assert (done.tool_call_id, done.status) == (call.tool_call_id, "completed")
            (asked,) = editor.asked
            assert asked.tool_call_id == call.tool_call_id
            assert target.read_text() == "new"
            assert (await ask(connection, session, "again")).stop_reason == "end_turn"
            assert editor.text.endswith("Claude heard: again")
            (listed,) = (await connection.list_sessions(cwd=here())).sessions
            assert (listed.session_id, listed.title) == (session, "again")
            assert (await connection.list_sessions(cwd="/")).sessions == []

    asyncio.run(main())


@pytest.mark.parametrize("decision", ["deny", "cancel"])
def test_what_is_not_allowed_is_not_done(
    command: Command, model: ScriptedModel, decision: str
) -> None:
    target = Path("out.txt").absolute()
    model.on("write", Call("Write", file_path=str(target), content="new"), "I may not.")

    async def main() -> None:
        editor = Editor(decision)
        async with opened(command, editor) as (connection, _):
            session = (await connection.new_session(cwd=here())).session_id
            done = await ask(connection, session, "write")
            assert done.stop_reason == ("end_turn" if decision == "deny" else "cancelled")
            assert [update.status for update in editor.of("tool_call_update")] == ["failed"]
            assert not target.exists()

    asyncio.run(main())


def test_a_turn_is_cancelled_and_the_next_one_runs(command: Command, model: ScriptedModel) -> None:
    model.on("stand still", "Now.", Stall())

    async def main() -> None:
        editor = Editor()
        async with opened(command, editor) as (connection, _):
            session = (await connection.new_session(cwd=here())).session_id
            turn = asyncio.create_task(ask(connection, session, "stand still"))
            await editor.until(lambda: "Now." in editor.text)
            await connection.cancel(session_id=session)
            assert (await turn).stop_reason == "cancelled"
            assert (await ask(connection, session, "next")).stop_reason == "end_turn"

    asyncio.run(main())


class SlowToTake:
    """A Claude that takes its prompt only when it is let, and whose turn ends by an interrupt."""

    session_id = uuid = "s"

    def __init__(self) -> None:
        self.asked, self.let, self.interrupted = (threading.Event() for _ in range(3))

    def ask(self, _: str) -> SlowToTake:
        self.asked.set()
        assert self.let.wait(SECONDS)
        return self

    def interrupt(self) -> None:
        self.interrupted.set()

    def __await__(self) -> Any:
        return asyncio.to_thread(self.interrupted.wait, SECONDS).__await__()


def test_a_prompt_that_is_cancelled_while_claude_is_given_it_is_interrupted() -> None:
    async def main() -> None:
        session, claude = EditorSession(None, UpdateFold()), SlowToTake()
        session.claude = claude  # type: ignore[assignment]
        prompt = asyncio.create_task(session.prompt("hello"))
        assert await asyncio.to_thread(claude.asked.wait, SECONDS)
        cancel = asyncio.create_task(session.cancel())
        asyncio.get_running_loop().call_soon(claude.let.set)  # once that has begun
        await cancel
        assert claude.interrupted.is_set()
        prompt.cancel()

    asyncio.run(main())


def test_an_editor_killed_in_mid_answer_finds_everything_once(
    command: Command, model: ScriptedModel
) -> None:
    model.on("long", "One. ", Call("Bash", command="echo 1"), "Two. ", Stall(), "Three.")

    async def begin() -> str:
        editor = Editor()
        async with opened(command, editor) as (connection, process):
            session: str = (await connection.new_session(cwd=here())).session_id
            await ask(connection, session, "before")
            asyncio.create_task(ask(connection, session, "long")).add_done_callback(
                lambda turn: turn.cancelled() or turn.exception()
            )
            await editor.until(lambda: "Two." in editor.text)
            process.kill()
            await process.wait()
        return session

    async def go_on(session: str) -> None:
        editor = Editor()
        async with opened(command, editor) as (connection, _):
            await connection.load_session(cwd=here(), session_id=session)
            model.wait_for_stall()
            model.release()
            await editor.until(lambda: editor.text.endswith("Three."))
            assert editor.text == "Claude heard: beforeOne. Two. Three."
            assert editor.prompts == ["before", "long"]
            assert len(editor.of("tool_call")) == len(editor.of("tool_call_update")) == 1
            assert (await ask(connection, session, "after")).stop_reason == "end_turn"

    asyncio.run(go_on(asyncio.run(begin())))


def test_two_editors_have_sessions_of_their_own(command: Command) -> None:
    async def main() -> None:
        one, two = Editor(), Editor()
        async with opened(command, one) as (first, _), opened(command, two) as (second, _):
            mine = (await first.new_session(cwd=here())).session_id
            other = (await second.new_session(cwd=here())).session_id
            await asyncio.gather(ask(first, mine, "a"), ask(second, other, "b"))
            assert (one.text, two.text) == ("Claude heard: a", "Claude heard: b")

    asyncio.run(main())


def test_two_editors_at_one_session_are_both_shown_all_of_it(
    command: Command, model: ScriptedModel
) -> None:
    model.on("long", "One. ", Stall(), "Two.")

    async def main() -> None:
        one, two = Editor(), Editor()
        async with opened(command, one) as (first, _), opened(command, two) as (second, _):
            session = (await first.new_session(cwd=here())).session_id
            turn = asyncio.create_task(ask(first, session, "long"))
            await one.until(lambda: "One." in one.text)
            await second.load_session(cwd=here(), session_id=session)
            model.wait_for_stall()
            model.release()
            assert (await turn).stop_reason == "end_turn"
            await two.until(lambda: two.text == "One. Two.")
            assert (await ask(second, session, "again")).stop_reason == "end_turn"
            await one.until(lambda: one.text == "One. Two.Claude heard: again")
            assert two.text == one.text
            # Each shows what was prompted elsewhere; its own prompts an editor shows itself.
            await one.until(lambda: one.prompts == ["again"])
            assert two.prompts == ["long"]

    asyncio.run(main())


def test_the_editor_chooses_claudes_permission_mode(command: Command, model: ScriptedModel) -> None:
    files = [Path(f"{name}.txt").absolute() for name in ("one", "two")]
    for file in files:
        model.on(file.stem, Call("Write", file_path=str(file), content="new"), "Written.")

    async def begin() -> str:
        editor = Editor("deny")
        async with opened(command, editor) as (connection, _):
            made = await connection.new_session(cwd=here())
            session: str = made.session_id
            assert made.modes.current_mode_id == "default"
            offered = [mode.id for mode in made.modes.available_modes]
            assert offered == ["default", "acceptEdits", "plan", "dontAsk"]
            await ask(connection, session, "one")
            assert (len(editor.asked), files[0].exists()) == (1, False)
            await connection.set_session_mode(session_id=session, mode_id="acceptEdits")
            await ask(connection, session, "two")
            assert (len(editor.asked), files[1].read_text()) == (1, "new")
            changed = [update.current_mode_id for update in editor.of("current_mode_update")]
            assert changed[-1] == "acceptEdits"
            with pytest.raises(acp.RequestError) as error:
                await connection.set_session_mode(session_id=session, mode_id="bypassPermissions")
            assert "no mode 'bypassPermissions'" in str(error.value.data)
        return session

    async def go_on(session: str) -> None:
        async with opened(command, Editor()) as (connection, _):
            loaded = await connection.load_session(cwd=here(), session_id=session)
            assert loaded.modes.current_mode_id == "acceptEdits"

    asyncio.run(go_on(asyncio.run(begin())))


def test_the_mode_of_the_settings_is_offered_as_well(command: Command) -> None:
    command.environ["CLAUDE_MPM_PERMISSION_MODE"] = "auto"

    async def main() -> None:
        async with opened(command, Editor()) as (connection, _):
            made = await connection.new_session(cwd=here())
            assert made.modes.current_mode_id == "auto"
            assert [mode.id for mode in made.modes.available_modes][-1] == "auto"

    asyncio.run(main())


@pytest.mark.parametrize("terminals", [False, True])
def test_a_command_is_shown_with_its_output_and_exit_status(
    command: Command, model: ScriptedModel, terminals: bool
) -> None:
    model.on("run", Call("Bash", command="echo out; echo err >&2; exit 3"), "It failed.")

    async def main() -> None:
        editor = Editor()
        async with opened(command, editor, terminals=terminals) as (connection, _):
            session = (await connection.new_session(cwd=here())).session_id
            await ask(connection, session, "run")
            (begun,), (ended,) = editor.of("tool_call"), editor.of("tool_call_update")
            assert (begun.kind, ended.status) == ("execute", "failed")
            output = "Exit code 3\nout\nerr"
            assert ended.raw_output == {"output": output, "exit_code": 3}
            name = begun.tool_call_id
            if not terminals:
                assert begun.content is None
                assert ended.content[0].content.text == f"```console\n{output}\n```"
                return
            assert (begun.content[0].type, begun.content[0].terminal_id) == ("terminal", name)
            assert begun.field_meta == {"terminal_info": {"terminal_id": name, "cwd": here()}}
            assert ended.content is None
            assert ended.field_meta == {
                "terminal_output": {"terminal_id": name, "data": output},
                "terminal_exit": {"terminal_id": name, "exit_code": 3, "signal": None},
            }

    asyncio.run(main())


def test_what_steers_a_terminal_reaches_none_of_the_editors() -> None:
    use = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "x"}}
    gave = {"type": "tool_result", "tool_use_id": "t1", "content": "a\x1b]52;c;eA==\x07b\r\nc"}
    said = [
        {"type": "assistant", "message": {"id": "m1", "role": "assistant", "content": [use]}},
        {"type": "user", "message": {"role": "user", "content": [gave]}},
    ]
    fold, wire = UpdateFold(terminals=True), StreamJson()
    lines = LineFramer().feed(b"".join(json.dumps(each).encode() + b"\n" for each in said))
    updates = [u for line in lines for event in wire.decode(line) for u in fold.observe(event)]
    shown = updates[-1].field_meta["terminal_output"]["data"]
    assert shown == "a\\x1b]52;c;eA==\\x07b\nc"


def test_what_a_turn_used_is_shown(command: Command, model: ScriptedModel) -> None:
    model.on("count", Usage(input_tokens=2400, output_tokens=160), "Counted.")

    async def main() -> None:
        editor = Editor()
        async with opened(command, editor) as (connection, _):
            session = (await connection.new_session(cwd=here())).session_id
            done = await ask(connection, session, "count")
            assert (done.usage.input_tokens, done.usage.output_tokens) == (2400, 160)
            (used,) = editor.of("usage_update")
            assert used.used == 2560 and used.size >= 200_000
            assert used.cost.currency == "USD" and used.cost.amount > 0

    asyncio.run(main())


@pytest.mark.parametrize("choice", ["choose-1", "choose-7", "cancel"])
def test_what_claude_lets_a_person_choose_is_chosen_in_the_editor(
    command: Command, model: ScriptedModel, choice: str
) -> None:
    def asked(text: str) -> dict[str, Any]:
        options = [{"label": label, "description": label} for label in ("red", "blue")]
        return {"question": text, "header": "h", "options": options, "multiSelect": False}

    choose = Call("AskUserQuestion", questions=[asked("Which colour?"), asked("And which car?")])
    model.on("choose", choose, lambda request: request.tool_results[0].text)

    async def main() -> None:
        editor = Editor(choice)
        async with opened(command, editor) as (connection, _):
            session = (await connection.new_session(cwd=here())).session_id
            await ask(connection, session, "choose")
            if choice != "choose-1":
                assert [call.title for call in editor.asked] == ["Which colour?"]
                assert "blue" not in editor.text
                return
            assert [call.title for call in editor.asked] == ["Which colour?", "And which car?"]
            assert [each.name for each in editor.options[0]] == ["red", "blue", "Deny"]
            assert editor.text.count("blue") == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("file:///a%20b/%C3%BC.py", "/a b/ü.py"),
        ("file:///100%25#L3:5", "/100%#L3:5"),
        ("https://example.org/a%20b", "https://example.org/a%20b"),
        ("notes.md", "notes.md"),
    ],
)
def test_a_file_in_a_prompt_is_named_by_its_path(uri: str, shown: str) -> None:
    link = acp.resource_link_block("a name", uri)
    whole = acp.embedded_text_resource(uri, "its text")
    assert text_of([link]) == shown
    assert text_of([acp.resource_block(whole)]) == f"\n{shown}:\n```\nits text\n```\n"


def test_a_session_is_closed_and_resumed_as_the_agent_announces(command: Command) -> None:
    async def main() -> None:
        editor = Editor()
        async with opened(command, editor) as (connection, _):
            session = (await connection.new_session(cwd=here())).session_id
            await ask(connection, session, "one")
            await connection.close_session(session_id=session)
            with pytest.raises(acp.RequestError) as error:
                await ask(connection, session, "two")
            assert "load it first" in f"{error.value} {error.value.data}"
            shown = len(editor.updates)
            await connection.resume_session(cwd=here(), session_id=session)
            assert len(editor.updates) == shown
            await ask(connection, session, "three")
            assert editor.text.endswith("Claude heard: three")

    asyncio.run(main())


class Answers:
    """Takes the answers to questions."""

    def __init__(self) -> None:
        self.given: list[Answer] = []

    def answer(self, answer: Answer) -> Answer:
        self.given.append(answer)
        return answer


def test_an_answer_that_is_late_or_of_no_use_is_no_traceback() -> None:
    async def main() -> None:
        editor, answers = Editor("allow"), Answers()
        session = EditorSession(editor, UpdateFold())
        session.claude = SimpleNamespace(session_id="s")  # type: ignore[assignment]
        late = Question("late", {"tool_name": "Write", "input": {}}, answers)
        late.withdraw()
        await asyncio.to_thread(session.ask, late)
        assert answers.given == []
        nonsense = Question("nonsense", {"tool_name": "Write", "input": {}}, answers)
        editor.decision = "nonsense"
        await asyncio.to_thread(session.ask, nonsense)
        assert answers.given.pop().response["behavior"] == "deny"
        editor.decision = "allow"
        malformed = Question("malformed", {"tool_name": "Write", "input": [1]}, answers)
        await asyncio.to_thread(session.ask, malformed)
        assert [option.name for option in editor.options[-1]] == ["Deny"]
        (given,) = answers.given
        assert given.response["behavior"] == "deny"

    asyncio.run(main())


def test_a_damaged_session_keeps_no_others_from_being_listed(command: Command) -> None:
    command("run", "hello")
    (command.state / "sessions" / "torn").mkdir()
    (command.state / "sessions" / "torn" / "meta.json").write_text("{")

    async def main() -> None:
        async with opened(command, Editor()) as (connection, _):
            (listed,) = (await connection.list_sessions(cwd=here())).sessions
            assert listed.title == "hello"

    asyncio.run(main())


def test_what_is_wrong_is_an_error_with_a_text(command: Command) -> None:
    async def main() -> None:
        async with opened(command, Editor()) as (connection, _):
            wrong: list[tuple[Any, str]] = [
                (connection.load_session(cwd=here(), session_id="none"), "no session 'none'"),
                (connection.new_session(cwd="/nowhere"), "/nowhere"),
                (ask(connection, "none", "hello"), "load it first"),
                (connection.list_sessions(cwd="a\0b"), "is no folder"),
            ]
            for call, said in wrong:
                with pytest.raises(acp.RequestError) as error:
                    await call
                assert said in f"{error.value} {error.value.data}"

    asyncio.run(main())


def test_a_session_that_was_recorded_is_shown_as_it_was_live(
    command: Command, model: ScriptedModel
) -> None:
    """The fold makes the same of a journal wherever it comes from."""
    model.on("look", "Let me look.", Call("Bash", command="echo 42"), "It is 42.")
    command("run", "look", "--allowed-tools", "Bash")
    from claude_mpm.sessions.reader import read_events
    from claude_mpm.sessions.store import Store

    store = Store(command.state)
    events = list(read_events(command.session(), store.index))
    store.close()
    fold = UpdateFold()
    updates = [update for event in events for update in fold.observe(event)]
    begun, *shown = sorted(updates, key=lambda update: not isinstance(update, PromptBegun))
    assert isinstance(begun, PromptBegun)
    assert [update.session_update for update in shown] == [
        "current_mode_update", "agent_message_chunk", "tool_call", "tool_call_update",
        "agent_message_chunk",
    ]  # fmt: skip
