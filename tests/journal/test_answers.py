"""Of several answers to one question, the first stands, whoever is killed meanwhile."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from claude_mpm.errors import StorageError
from claude_mpm.journal.answers import Answer, messages_to_resend, read_answers, settle
from claude_mpm.journal.inbox import Inbox
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.journal.prompts import answered_requests

if TYPE_CHECKING:
    from pathlib import Path

RACERS = 8
# One process that answers when it is told to, and says whose answer stands.
RACER = """
import sys
from pathlib import Path
from claude_mpm.journal.answers import Answer, settle
from claude_mpm.journal.inbox import Inbox
from claude_mpm.journal.layout import SessionFolder

folder = SessionFolder(Path(sys.argv[1]))
for line in sys.stdin:
    mine = Answer(question=line.strip(), tool="Write", decision="allow", by=sys.argv[2])
    print(settle(folder, Inbox(folder), mine)[0].by, flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> SessionFolder:
    folder = SessionFolder(tmp_path / "session")
    folder.create()
    return folder


def answer(question: str, by: str = "api", decision: str = "allow") -> Answer:
    response = {"behavior": decision}
    return Answer(question=question, tool="Write", decision=decision, by=by, response=response)


def test_the_first_answer_wins_between_threads(folder: SessionFolder) -> None:
    together = Barrier(RACERS)

    def race(racer: int) -> set[str]:
        stands = set()
        for number in range(20):
            together.wait()
            mine = answer(f"q{number}", by=str(racer))
            stands.add(f"q{number} {settle(folder, Inbox(folder), mine)[0].by}")
        return stands

    with ThreadPoolExecutor(RACERS) as pool:
        told = list(pool.map(race, range(RACERS)))
    assert all(each == told[0] for each in told), "all are told of the same answer"
    assert len(Inbox(folder).names()) == len(read_answers(folder)) == 20


def test_the_first_answer_wins_between_processes(folder: SessionFolder) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(folder.path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for number in range(30):
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write(f"q{number}\n")
            racer.stdin.flush()
    told = [racer.communicate(timeout=60)[0].split() for racer in racers]
    assert told[0] == told[1] == told[2]
    assert [a.by for a in read_answers(folder).values()] == told[0]
    assert len(Inbox(folder).names()) == 30


def test_what_one_who_died_had_kept_is_given_by_the_next(folder: SessionFolder) -> None:
    inbox = Inbox(folder)
    settle(folder, inbox, answer("q", by="dead"))
    (folder.inbox / inbox.names()[0]).unlink()
    stands, name = settle(folder, inbox, answer("q", by="late", decision="deny"))
    assert (stands.by, stands.decision) == ("dead", "allow")
    assert name is not None
    message = json.loads(inbox.read(name))["response"]
    assert (message["request_id"], message["response"]) == ("q", {"behavior": "allow"})
    assert settle(folder, inbox, answer("q")) == (stands, None), "it is put once"


def test_answers_that_may_not_have_been_heard_are_told_again(folder: SessionFolder) -> None:
    inbox = Inbox(folder)
    for question in ("kept", "put"):
        settle(folder, inbox, answer(question))
    (folder.inbox / inbox.names()[0]).unlink()
    told = list(messages_to_resend(folder, inbox, ["kept", "put", "open"]))
    assert len(told) == 2
    assert answered_requests(folder) == {"kept", "put"}
    assert {json.loads(inbox.read(n))["response"]["request_id"] for n in told} == {"kept", "put"}


def test_a_line_torn_by_a_crash_is_no_answer(folder: SessionFolder) -> None:
    settle(folder, Inbox(folder), answer("a"))
    with folder.answers.open("a") as file:
        file.write('{"question":"b","tool":"Wri')
    assert list(read_answers(folder)) == ["a"]
    settle(folder, Inbox(folder), answer("b", by="second"))
    assert [a.by for a in read_answers(folder).values()] == ["api", "second"]


def test_a_damaged_line_is_said_where_it_is(folder: SessionFolder) -> None:
    folder.answers.write_text("no answer\n")
    with pytest.raises(StorageError, match=r"answers\.jsonl: a line is damaged"):
        read_answers(folder)


def test_what_is_said_of_an_answer_is_one_line_that_steers_no_terminal() -> None:
    said = str(Answer(question="q", tool="Write", decision="deny", reason="no,\n\x1b[2Jnever"))
    assert said.startswith("denied by api at 19")
    assert said.endswith(": no, [2Jnever")


def test_answers_are_their_owners_alone(folder: SessionFolder) -> None:
    settle(folder, Inbox(folder), answer("a"))
    assert stat.S_IMODE(folder.answers.stat().st_mode) == 0o600
