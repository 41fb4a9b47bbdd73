"""The files of a session's folder that another program writes, or a power cut damages."""

from __future__ import annotations

import os
import shutil
from functools import cache
from typing import TYPE_CHECKING

import msgspec
from judging import Target
from samples import JSON_TOKENS, STREAM_JSON
from workspace import SEPARATOR, section, sections, workspace

from claude_mpm.cli.session_view import cells, read_record, read_row
from claude_mpm.errors import MPMError, StorageError
from claude_mpm.journal.answers import Answer, read_answers, settle
from claude_mpm.journal.inbox import Inbox
from claude_mpm.journal.layout import Meta, SessionFolder
from claude_mpm.journal.lease import read_owner
from claude_mpm.journal.prompts import answer_messages, interrupts, last_prompt, prompts
from claude_mpm.link.link import read_far
from claude_mpm.sessions.status import read_status, undelivered
from claude_mpm.sessions.store import Store
from claude_mpm.wire import StreamJson

if TYPE_CHECKING:
    from collections.abc import Callable

_FILES = ("place", "pid", "exit", "meta.json", "answers.jsonl", "link.json", "owner", "err.log",
          "decisions.jsonl", "reasons.jsonl", "out.jsonl", "inbox/000001", "transcripts.json",
          "temporary", "inbox/000002", "inbox/x", "announced", "delivered")  # fmt: skip
_OURS = ("meta.json", "answers.jsonl", "link.json", "owner", "decisions.jsonl", "reasons.jsonl",
         "transcripts.json", "announced", "delivered")  # fmt: skip
_META = Meta(session_id="s", claude_session_id="c", orchestrator="local", environment="local",
             wire="stream-json", cwd="/", created_at=1.0, options={"tickets": True})  # fmt: skip
_META_JSON = msgspec.json.encode(_META)
_WITH_STARTS = (
    b'{"session_id":"s","claude_session_id":"c","orchestrator":"o","environment":"e","wire":'
    b'"transcript","cwd":"/","created_at":1.0,"options":{"ticket_markers":{"HACK":"task"}},'
    b'"starts":[{"at":1.0,"offset":0,"framework_sha256":"x"}],'
    b'"secrets":[{"length":9,"digest":"d"}]}'
)
_LINK = (
    b'{"kind":"shell","place":"p","shell":["sh"],"far":["sh"],"folder":"/f","cwd":"","host":"h"}'
)
_ANSWER = (
    b'{"question":"q","tool":"Bash","decision":"allow","reason":"r","at":1.0,"response":{"a":1}}\n'
)
_WIRE = StreamJson()
_PROMPT = _WIRE.prompt("hello", "u1")
_INTERRUPT = _WIRE.control("i1", "interrupt")
_TOLD = _WIRE.answer("r1", {"behavior": "allow"})
_GOOD = b'{"type":"result","subtype":"success","user_message_uuid":"g","total_cost_usd":1.0}\n'


def _input(**files: bytes) -> bytes:
    named = {
        _FILES.index(name.replace("__", "/").replace("_", ".")): data
        for name, data in files.items()
    }
    return SEPARATOR.join(section(number, data) for number, data in named.items())


_SEEDS = (
    _input(meta_json=_META_JSON, place=b"host=a\ncwd=/\n", pid=b"99999999 99999998\n", exit=b"0\n"),
    _input(meta_json=_META_JSON, pid=b"0 0\n", answers_jsonl=_ANSWER,
           owner=b'{"number":1,"pid":1}\n'),
    _input(meta_json=_META_JSON, link_json=_LINK, exit=b"137\n", err_log=b"bad\n", temporary=b"/x"),
    _input(meta_json=_WITH_STARTS, out_jsonl=STREAM_JSON[0], inbox__000001=_PROMPT,
           decisions_jsonl=b'{"at":1.0,"ticket":"k","state":"closed"}\n'),
    _input(meta_json=_META_JSON, inbox__000001=_PROMPT,
           inbox__000002=_INTERRUPT, out_jsonl=STREAM_JSON[1]),
    _input(meta_json=_META_JSON, inbox__000001=_TOLD, inbox__000002=_PROMPT, inbox__x=b"{}"),
)  # fmt: skip


@cache
def _store() -> Store:
    """Return a store with a session that is well, and beside which the others are."""
    store = Store(workspace() / "state")
    good = store.folder("good")
    good.create()
    good.write_meta(msgspec.structs.replace(_META, session_id="good"))
    good.journal.path.write_bytes(_GOOD)
    good.exit_file.write(b"0\n")
    return store


def _laid(data: bytes) -> tuple[Store, SessionFolder]:
    store = _store()
    store.index.forget("s")
    folder = store.folder("s")
    shutil.rmtree(folder.path, ignore_errors=True)
    folder.create()
    folder.write(folder.meta_file, _META_JSON)
    for number, content in sections(data):
        (folder.path / _path(_FILES[(number - ord("0")) % len(_FILES)])).write_bytes(content)
    return store, folder


def _path(name: str) -> str:
    """Return where in a session's folder a file is."""
    return (
        f"given/{name}"
        if name.startswith("inbox/")
        else name
        if name in _OURS
        else f"exchange/{name}"
    )


def _refused(read: Callable[[SessionFolder], object], folder: SessionFolder) -> None:
    try:
        read(folder)
    except StorageError as error:
        assert "\n" not in str(error), f"an error of several lines: {error}"


def host_files(data: bytes) -> None:
    """Each file by itself, as the engine reads it."""
    _, folder = _laid(data)
    folder.read_place()
    pids = folder.pids()
    assert pids is None or all(0 <= pid < 2**31 for pid in pids), "no number of a process"
    folder.exit_status()
    folder.has_ended()
    folder.host_is_dead()
    folder.ending()
    if folder.link_file.exists():
        _refused(read_far, folder)
    owner = read_owner(folder)
    str(owner)
    try:
        answers = read_answers(folder)
        assert [str(answer).count("\n") for answer in answers.values()] == [0] * len(answers)
        answer = Answer(question="q", tool="t", decision="deny", response={"behavior": "deny"})
        stands, _ = settle(folder, Inbox(folder, durable=False), answer)
        again, name = settle(folder, Inbox(folder, durable=False), answer)
        assert (again, name) == (stands, None), "answered twice"
    except StorageError as error:
        assert "\n" not in str(error)
    folder.read_meta()


def inbox(data: bytes) -> None:
    """What is in the inbox, under names that are numbers or not."""
    _, folder = _laid(b"")
    for number, (kind, content) in enumerate(sections(data)):
        name, _, message = content.partition(b"|")
        name = bytes(b for b in name[:100] if b not in b"/\0") if kind == ord("n") else b""
        text = os.fsdecode(name)
        name_or_number = text if text not in ("", ".", "..") else f"{number + 1:06}"
        (folder.inbox / name_or_number).write_bytes(message if kind == ord("n") else content)
    put = Inbox(folder, durable=False)
    before = put.names()
    for read in (prompts, last_prompt, interrupts, answer_messages):
        read(folder)
    new = put.put(b"one more\n")
    assert put.read(new) == b"one more\n"
    assert put.names() == [*before, new], "a new message is not the last one"


def beside_others(data: bytes) -> None:
    """Whatever a session's folder holds, the others are read and listed."""
    store, _ = _laid(data)
    refused: list[str] = []
    store.index.forget("good")
    store.catch_up_all(lambda folder, error: refused.append(folder.path.name))
    assert "good" not in refused
    assert [turn.prompts for turn in store.index.turns("good")] == [("g",)], "others are not read"
    for folder in store.sessions():
        try:
            assert len(cells(read_row(store, folder))) > 1
            read_record(store, folder)
            read_status(folder, store.index)
            undelivered(folder, store.index)
        except MPMError as error:
            assert folder.path.name == "s", f"another session is not read: {error}"
            assert "\n" not in str(error)
    store.rebuild(lambda folder, error: refused.append(folder.path.name))
    assert "good" not in refused


_MESSAGES = (
    SEPARATOR.join(b"n000007|" + each for each in (_PROMPT, _INTERRUPT, _TOLD)),
    SEPARATOR.join((b"0" + _PROMPT, b"0" + _INTERRUPT, b"nx|{}", "n²|1".encode())),
    SEPARATOR.join((b"n1000000|" + _PROMPT, b"n999999|" + _TOLD)),
)
TARGETS = (
    Target("files of a host", host_files, _SEEDS, (*JSON_TOKENS, SEPARATOR)),
    Target("inbox", inbox, _MESSAGES, (*JSON_TOKENS, SEPARATOR, b"n00", b"|", "²".encode())),
    Target("one session beside others", beside_others, _SEEDS, (*JSON_TOKENS, SEPARATOR)),
)
