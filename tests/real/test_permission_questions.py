"""Questions of the real Claude Code that wait: for hours, without a controller, for anybody."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm import Question
from claude_mpm.errors import QuestionOver
from claude_mpm.journal.answers import Answer, read_answers
from claude_mpm.journal.inbox import Inbox
from claude_mpm.testing import Call, Delegate
from claude_mpm.wire.stream_json import StreamJson
from command import SECONDS, Command, wait_until_gone

if TYPE_CHECKING:
    import subprocess

    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude

WHICH = {
    "question": "Which?",
    "header": "Which",
    "options": [{"label": "A", "description": "a"}, {"label": "B", "description": "b"}],
    "multiSelect": False,
}


def wants_to_write(model: ScriptedModel) -> Path:
    target = Path("out.txt").absolute()
    model.on("write", Call("Write", file_path=str(target), content="written"), "Answered.")
    return target


def asked(process: subprocess.Popen[str]) -> None:
    """Wait until a command says that Claude asks."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("? Claude"):
            return
    raise AssertionError(f"ended with {process.wait(SECONDS)} before Claude asked")


def orphaned(command: Command, **environ: str) -> SessionFolder:
    """Kill a controller while Claude asks, and return the session."""
    controller = command.start("run", "write", "--permissions", "ask", **environ)
    asked(controller)
    controller.kill()
    assert controller.wait(SECONDS) == -signal.SIGKILL
    session: SessionFolder = command.session()
    return session


def waiting(command: Command, number: int = 1) -> list[dict[str, Any]]:
    """Return the questions once there are so many."""
    deadline = time.monotonic() + SECONDS
    while len(found := command.json("questions")) != number:
        assert time.monotonic() < deadline, found
    return list(found)


def tool_results(model: ScriptedModel) -> str:
    return " ".join(r.text for request in model.requests for r in request.tool_results)


def test_a_question_survives_its_controller_and_the_linger_rule_and_is_answered_by_command(
    command: Command, model: ScriptedModel
) -> None:
    target = wants_to_write(model)
    folder = orphaned(command, CLAUDE_MPM_LINGER="0")
    (question,) = command.json("questions")
    assert (question["tool"], question["session"]) == ("Write", folder.path.name)
    assert question["input"]["file_path"] == str(target)
    assert question["suggestions"]
    assert abs(time.time() - question["asked_at"]) < SECONDS
    row = command("questions").stdout.splitlines()[1].split("\t")
    assert row[3:] == ["Write", f'{target} {{"content":"written"}}', "mode acceptEdits"]
    assert command.json("ps")[0]["state"] == "waiting for an answer"
    pids = folder.pids()
    unnamed = command("answer", folder.path.name[:8], "allow", status=2).stderr
    assert f"answer {folder.path.name[:8]} {question['question'][:8]} allow" in unnamed
    assert unnamed.count("\n") == 1
    assert not target.exists()
    done = command("answer", folder.path.name[:8], question["question"][:8], "allow")
    assert "Write" in done.stdout
    assert "allowed by command" in done.stdout
    assert pids is not None
    wait_until_gone(pids)  # nobody follows, and now nothing is waited for
    assert target.read_text() == "written"
    assert command("attach").stdout == "Answered.\n"
    assert command.json("questions") == []
    (kept,) = command.json("questions", folder.path.name, "--answered")
    assert (kept["decision"], kept["by"], kept["tool"]) == ("allow", "command", "Write")


def test_a_question_of_a_killed_controller_is_seen_by_whoever_follows_next(
    command: Command, make_claude: MakeClaude, model: ScriptedModel
) -> None:
    target = wants_to_write(model)
    folder = orphaned(command)
    claude = make_claude(
        state_dir=str(command.state), session_id=folder.path.name, resume=True, permissions="ask"
    )
    claude.start_or_raise()
    assert claude.attached
    (turn,) = claude.turns_before
    question = next(item for item in turn.stream() if isinstance(item, Question))
    assert claude.questions() == [question]
    question.allow({**question.input, "content": "changed"})
    assert turn.check().text == "Answered."
    assert target.read_text() == "changed"
    assert [a.by for a in claude.answers()] == ["api"]


def test_a_detached_session_keeps_its_question_waiting_and_is_told_why_not(
    command: Command, model: ScriptedModel
) -> None:
    target = wants_to_write(model)
    session = command("run", "--detach", "write", "--permissions", "ask").stdout.strip()
    (question,) = waiting(command)
    command("answer", session, question["question"][:6], "deny", "--message", "not on a Friday")
    assert command("wait", session).returncode == 0
    assert "not on a Friday" in tool_results(model)
    assert not target.exists()
    assert command.json("ps")[0]["state"] == "idle", "it is not ended by the answer"


def test_approved_elsewhere_the_waiting_command_goes_on(
    command: Command, model: ScriptedModel
) -> None:
    wants_to_write(model)
    runs = command.start("run", "write", "--permissions", "ask")
    asked(runs)
    (question,) = command.json("questions")
    command("answer", command.session().path.name, question["question"], "allow")
    assert runs.stdout is not None
    assert runs.stdout.read() == "Answered.\n"
    assert runs.wait(SECONDS) == 0


def test_the_first_answer_wins_and_the_others_are_told_whose_it_was(
    command: Command, make_claude: MakeClaude, model: ScriptedModel
) -> None:
    target = wants_to_write(model)
    with make_claude(state_dir=str(command.state), permissions="ask") as claude:
        turn = claude.ask("write")
        question = next(item for item in turn.stream() if isinstance(item, Question))
        racers = [
            command.start(
                "answer",
                claude.session_id,
                question.request_id,
                verb,
                "--message",
                f"said {number}",
            )
            for number, verb in enumerate(("allow", "deny", "allow"))
        ]
        ended = [(racer.communicate(timeout=SECONDS), racer.returncode) for racer in racers]
        turn.check()
        with pytest.raises(QuestionOver, match=r"answered already: \w+ by command at .*: said \d"):
            question.deny()
        (kept,) = claude.answers()
        assert question.answer == kept
    assert sorted(status for _, status in ended) == [0, 1, 1]
    losers = [err for (_, err), status in ended if status]
    assert all(err.count("\n") == 1 and f"{kept}" in err for err in losers), losers
    assert target.exists() is (kept.decision == "allow")
    put = [json.loads(each.read_bytes()) for each in sorted(command.session().inbox.iterdir())]
    assert sum(message["type"] == "control_response" for message in put) == 1


def test_a_deadline_denies_with_a_reason(make_claude: MakeClaude, model: ScriptedModel) -> None:
    target = wants_to_write(model)
    with make_claude(permissions="ask", question_timeout=0.5) as claude:
        turn = claude.ask("write")
        question = next(item for item in turn.stream() if isinstance(item, Question))
        turn.check()
        assert question.answer is not None
        assert (question.answer.decision, question.answer.by) == ("deny", "deadline")
        with pytest.raises(QuestionOver, match="by deadline"):
            question.allow()
    assert "Nobody answered within 0.5 seconds." in tool_results(model)
    assert not target.exists()


def test_questions_of_parallel_subagents_are_answered_one_by_one(
    command: Command, model: ScriptedModel
) -> None:
    targets = [Path(f"{name}.txt").absolute() for name in ("one", "two")]
    model.on(
        "both",
        *(
            Delegate(
                "general-purpose",
                f"agent {target.stem}",
                does=[Call("Write", file_path=str(target), content="x"), "It is written."],
            )
            for target in targets
        ),
        "Both are back.",
    )
    session = command("run", "--detach", "both", "--permissions", "ask").stdout.strip()
    first, second = waiting(command, 2)
    several = command("answer", session, "allow", status=2).stderr
    assert first["question"][:8] in several
    assert second["question"][:8] in several
    command("answer", session, second["question"], "allow")
    assert [q["question"] for q in waiting(command)] == [first["question"]]
    assert command.json("ps")[0]["state"] == "waiting for an answer"
    again = command("answer", session, second["question"][:8], "deny", status=1)
    assert "answered already: allowed by command" in again.stderr
    command("answer", session, "deny", "--message", "one is enough")
    assert command("wait", session).returncode == 0
    assert command.json("ps")[0]["state"] == "idle", "`needs you` does not stick"
    assert [t.exists() for t in targets].count(True) == 1


def test_a_subagent_in_the_background_still_asks_after_the_turn(
    command: Command, model: ScriptedModel
) -> None:
    target = Path("late.txt").absolute()
    writes = Call("Write", file_path=str(target), content="x")
    late = Delegate(
        "general-purpose", "do it", background=True, does=[writes, "Done."], when_done="Heard."
    )
    model.on("go", late, "It is under way.")
    session = command("run", "--detach", "go", "--permissions", "ask").stdout.strip()
    (question,) = waiting(command)
    deadline = time.monotonic() + SECONDS
    while command.json("ps")[0]["turns"] == 0:  # its result is there
        assert time.monotonic() < deadline
    assert command.json("ps")[0]["state"] == "waiting for an answer"
    command("answer", session, question["question"], "allow")
    assert command("wait", session).returncode == 0
    assert target.exists()


def test_a_withdrawn_question_disappears_and_an_answer_to_it_says_so(
    command: Command, make_claude: MakeClaude, model: ScriptedModel
) -> None:
    wants_to_write(model)
    with make_claude(state_dir=str(command.state), permissions="ask") as claude:
        turn = claude.ask("write")
        question = next(item for item in turn.stream() if isinstance(item, Question))
        waiting(command)
        turn.interrupt()
        turn.wait()
        waiting(command, 0)
        late = command("answer", claude.session_id, question.request_id, "allow", status=1)
        assert "Claude no longer asks" in late.stderr
        assert late.stderr.count("\n") == 1
        none = command("answer", claude.session_id, "allow", status=1)
        assert "waits with no question" in none.stderr
        with pytest.raises(QuestionOver, match="no longer asks"):
            question.allow()
        assert claude.answers() == []
        assert (
            "no question 'x'" in command("answer", claude.session_id, "x", "deny", status=2).stderr
        )
    ended = command("answer", claude.session_id, "allow", status=1)
    assert "has ended" in ended.stderr


@pytest.mark.parametrize("put", [True, False], ids=["it is in the inbox", "it was only kept"])
def test_an_answer_whose_giver_was_killed_before_claude_heard_it_is_given_by_the_next(
    command: Command, model: ScriptedModel, put: bool
) -> None:
    target = wants_to_write(model)
    folder = orphaned(command)
    (question,) = command.json("questions")
    response = {"behavior": "allow", "updatedInput": question["input"]}
    answer = Answer(
        question=question["question"], tool="Write", decision="allow", by="dead", response=response
    )
    folder.answers.write_text(json.dumps({k: getattr(answer, k) for k in answer.__struct_fields__}))
    with folder.answers.open("a") as file:
        file.write("\n")
    if put:
        Inbox(folder).put(StreamJson().answer(answer.question, response))
    assert command("attach").stdout == "Answered.\n"
    assert target.read_text() == "written"
    assert [a.by for a in read_answers(folder).values()] == ["dead"]


def test_a_choice_of_claudes_is_made_by_command(command: Command, model: ScriptedModel) -> None:
    model.on("which", Call("AskUserQuestion", questions=[WHICH]), "Chosen.")
    session = command("run", "--detach", "which", "--permissions", "ask").stdout.strip()
    (question,) = waiting(command)
    row = command("questions").stdout.splitlines()[1].split("\t")
    assert row[3:5] == ["AskUserQuestion", "Which? [A | B]"]
    few = command("answer", session, "allow", "--choose", "A", "--choose", "B", status=2)
    assert "takes 1 choices, not 2" in few.stderr
    assert "'A, B'" in few.stderr
    for named in ([question["question"]], []):
        nothing = command("answer", session, *named, "allow", status=2).stderr
        assert "--choose" in nothing
        assert nothing.count("\n") == 1
    assert waiting(command) == [question], "it is not spent"
    done = command("answer", session, "allow", "--choose", "B").stdout
    assert "Which? [A | B]: allowed by command" in done
    assert done.endswith(": B\n")
    assert command("wait", session).returncode == 0
    assert '"Which?"="B"' in tool_results(model)


def test_a_plan_is_approved_and_claude_goes_on(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    model.on("plan", Call("ExitPlanMode", plan="1. do it"), "Under way.")
    with make_claude(permissions="ask", permission_mode="plan") as claude:
        turn = claude.ask("plan")
        for item in turn.stream():
            if isinstance(item, Question):
                assert item.tool == "ExitPlanMode"
                item.allow()
        assert turn.check().text == "Under way."
    assert "approved" in tool_results(model)


def test_rules_allow_and_deny_without_a_question_and_nothing_beyond_them(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    commands = ("touch a", "touch a; touch b", "rm a", "touch a && rm a", "mkdir c")
    model.on("all", *(Call("Bash", command=each) for each in commands), "Done.")
    asked: list[str] = []

    def answer(question: Question) -> None:
        asked.append(question.input["command"])
        question.deny("only by rule")

    with make_claude(
        permissions=answer,
        allowed_tools=["Bash(touch a:*)", "Bash(mkdir:*)"],
        disallowed_tools=["Bash(rm:*)"],
    ) as claude:
        claude.ask("all").check()
        rules = claude.store.folder(claude.session_id).read_meta().options
    assert asked == ["touch a; touch b"]
    assert {each for each in "abc" if Path(each).exists()} == {"a", "c"}
    assert rules["disallowed_tools"] == ["Bash(rm:*)"], "a resume keeps them"


def test_without_rules_and_answers_nothing_is_allowed_that_claude_would_ask_about(
    make_claude: MakeClaude, model: ScriptedModel
) -> None:
    target = wants_to_write(model)
    with make_claude() as claude:
        turn = claude.ask("write").check()
    assert turn.results[0].denials == 1
    assert not target.exists()
