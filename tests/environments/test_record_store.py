"""Claude's record of a conversation, in whatever place: found, fetched, put, undone."""

from __future__ import annotations

import io
import os
import uuid
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm import create_orchestrator
from claude_mpm.engine.claude_transcript import ClaudeRecord
from claude_mpm.engine.move import Move
from claude_mpm.environments.base import Environment
from claude_mpm.environments.local import Local
from claude_mpm.environments.record_store import (
    CommandRecords,
    LocalRecords,
    OwnRecords,
    RecordFile,
    RecordStore,
    is_file,
    project_name,
    restore,
)
from claude_mpm.environments.remote_records import RemoteRecords
from claude_mpm.errors import LaunchError, MPMError, StorageError
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.link.connection import ServerAddress
from claude_mpm.server.session_manager import list_records
from claude_mpm.wire.remote import InputMessage, OutputMessage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ID = str(uuid.UUID(int=7))
MAIN, AGENT = f"{ID}.jsonl", f"{ID}/subagents/agent-1.jsonl"
LINE = b'{"type":"user"}\n'


class Shell(Environment):
    """A place that is reached by commands alone, though it is this machine."""

    name = "shell"

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return list(argv)


STORES: dict[str, Any] = {
    "local": lambda config: LocalRecords(config),
    "shell": lambda config: CommandRecords(Shell(), str(config)),
    "own": lambda config: OwnRecords(config / "projects", config, config.with_name("aside")),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RecordStore:
    made: RecordStore = STORES[request.param](tmp_path / "config")
    return made


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    return tmp_path / "config" / "projects"


def put(store: RecordStore, name: str, data: bytes, project: str = "-work") -> None:
    store.put(RecordFile(project, name, len(data)), io.BytesIO(data))


def write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def test_what_is_put_is_found_and_read(store: RecordStore) -> None:
    long = LINE * 100_000
    put(store, MAIN, long)
    put(store, AGENT, LINE)
    store.keep(ID, "-work")
    files = store.files(ID)
    assert {file.name for file in files} == {MAIN, AGENT}
    (main,) = [file for file in files if file.name == MAIN]
    assert (main.project, main.size) == ("-work", len(long))
    assert b"".join(store.pieces(main)) == long
    assert store.files(str(uuid.UUID(int=8))) == []


def test_nothing_is_found_where_there_is_nothing(store: RecordStore) -> None:
    assert store.files(ID) == []
    with pytest.raises(MPMError):
        b"".join(store.pieces(RecordFile("-work", MAIN, 5)))


def test_what_was_put_can_be_undone(store: RecordStore, projects: Path) -> None:
    write(projects / "-work" / MAIN, b"something else\n")
    put(store, MAIN, LINE)
    put(store, AGENT, LINE)
    store.undo()
    assert (projects / "-work" / MAIN).read_bytes() == b"something else\n"
    assert not (projects / "-work" / AGENT).exists()


@pytest.mark.parametrize("name", ["local", "shell"])
def test_what_somebody_else_has_written_is_kept(name: str, tmp_path: Path, projects: Path) -> None:
    store = STORES[name](tmp_path / "config")
    write(projects / "-work" / MAIN, b"something else\n")
    put(store, MAIN, LINE)
    store.keep(ID, "-work")
    assert (projects / "-work" / MAIN).read_bytes() == LINE
    assert (projects / "-work" / f"{MAIN}.kept").read_bytes() == b"something else\n"


@pytest.mark.parametrize("name", ["local", "shell"])
def test_what_comes_back_without_the_words_of_the_place_replaces_what_is_there(
    name: str, tmp_path: Path, projects: Path
) -> None:
    store = STORES[name](tmp_path / "config")
    write(projects / "-work" / MAIN, LINE + b'{"type":"file-history-snapshot"}\n')
    put(store, MAIN, LINE * 2)
    store.keep(ID, "-work")
    assert [path.name for path in (projects / "-work").iterdir()] == [MAIN]
    assert (projects / "-work" / MAIN).read_bytes() == LINE * 2


@pytest.mark.parametrize("name", ["local", "shell"])
def test_an_older_copy_in_another_project_goes_and_another_story_stays(
    name: str, tmp_path: Path, projects: Path
) -> None:
    store = STORES[name](tmp_path / "config")
    write(projects / "-old" / MAIN, LINE)
    write(projects / "-other" / MAIN, b"something else\n")
    put(store, MAIN, LINE * 2)
    store.keep(ID, "-work")
    assert sorted(path.parent.name for path in projects.glob(f"*/{MAIN}")) == ["-other", "-work"]


class Broken(io.BytesIO):
    """Ends with an error behind its first piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        if piece := super().read(size):
            return piece
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("name", ["local", "shell"])
def test_nothing_is_left_of_a_file_that_did_not_come(
    name: str, tmp_path: Path, projects: Path
) -> None:
    store = STORES[name](tmp_path / "config")
    with pytest.raises(OSError, match="No space left"):
        store.put(RecordFile("-work", MAIN, 5), Broken(LINE))
    store.undo()
    assert [*(projects / "-work").iterdir()] == []


def test_links_and_other_names_are_no_record(
    store: RecordStore, projects: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret\n")
    write(projects / "-work" / MAIN, LINE)
    beside = projects / "-work" / ID / "subagents"
    beside.mkdir(parents=True)
    (beside / "agent-2.jsonl").symlink_to(secret)
    (beside / "a b.jsonl").write_text("{}")
    (beside / "-x;touch y").write_text("{}")
    os.mkfifo(beside / "agent-3.jsonl")
    write(projects / "-work" / ID / "memory" / "x.jsonl", LINE)
    (projects / "-link").mkdir()
    (projects / "-link" / MAIN).symlink_to(secret)
    assert [file.name for file in store.files(ID) if file.project == "-work"] == [MAIN]
    assert "a secret" not in str([list(store.pieces(file)) for file in store.files(ID)])


def test_nothing_is_written_through_what_a_place_has_left(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "config").symlink_to(outside)
    store = STORES["own"](tmp_path / "config")
    put(store, MAIN, LINE)
    store.keep(ID, "-work")
    assert list(outside.iterdir()) == []
    assert (tmp_path / "config" / "projects" / "-work" / MAIN).read_bytes() == LINE


def test_a_record_stays_whole_where_who_replaces_it_is_killed(
    tmp_path: Path, projects: Path
) -> None:
    whole, config = LINE * 100, tmp_path / "config"
    write(projects / "-work" / MAIN, whole)
    put(STORES["own"](config), MAIN, LINE)  # and no more of it comes
    assert (projects / "-work" / MAIN).read_bytes() == whole
    config.rename(config.with_name("aside"))  # as far as another one came
    (file,) = STORES["own"](config).files(ID)
    assert file.size == len(whole)
    store = STORES["own"](config)
    put(store, MAIN, LINE)
    store.settle()
    assert (projects / "-work" / MAIN).read_bytes() == LINE
    store.undo()
    assert (projects / "-work" / MAIN).read_bytes() == whole
    left = {path.name for path in tmp_path.iterdir()} - {"home", "project"}  # those of every test
    assert left == {"config"}


@pytest.mark.parametrize(
    "path",
    ["-work/../x.jsonl", f"../{MAIN}", f"-work/{ID}/memory/x", f"-work/{ID}/subagents/../../x",
     f"-work/{ID}/subagents/.x", f"/etc/{MAIN}", "-work/x.jsonl", "", f"-work/{ID}/subagents/"],
)  # fmt: skip
def test_a_path_is_never_a_file_of_a_record(path: str) -> None:
    assert not is_file(path)
    assert is_file(f"-work/{MAIN}")


@pytest.mark.parametrize("name", ["", "*", "**", "../../../../**/x", "../x", f"{ID}/../{ID}"])
def test_a_server_looks_for_no_pattern_of_a_client(name: str) -> None:
    assert list_records(Unasked(), name, 0) == b""
    with pytest.raises(AssertionError):
        list_records(Unasked(), ID, 0)


def test_a_server_that_sends_a_byte_at_a_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Slow:
        def ask(self, request: InputMessage) -> OutputMessage:
            asked.append(request)
            return OutputMessage(data=b"x")

    records = RemoteRecords(ServerAddress(address="here:1"))
    monkeypatch.setattr(records, "_connected", lambda: nullcontext(Slow()))
    with pytest.raises(LaunchError, match="did not come whole"):
        b"".join(records.pieces(RecordFile("-work", MAIN, 1 << 29)))
    assert len(asked) < 100


class Unasked(LocalRecords):
    """Records that nobody may look for."""

    def __init__(self) -> None:
        """Know no folder."""

    def files(self, conversation: str) -> list[RecordFile]:
        raise AssertionError(conversation)


def test_the_name_of_a_project_is_that_of_claude_code() -> None:
    assert project_name("/home/me/my.shop_2") == "-home-me-my-shop-2"
    long = "/tmp/tmpl8amyy88/" + "x" * 120 + "/" + "é😀" * 10 + "y" * 60
    assert project_name(long) == (  # as Claude Code 2.1.332 has made it
        "-tmp-tmpl8amyy88-" + "x" * 120 + "-" * 31 + "y" * 32 + "-pm958o"
    )


def test_whether_a_place_has_a_conversation_is_looked_for_where_its_claude_keeps_it(
    tmp_path: Path, projects: Path
) -> None:
    write(projects / "-work" / MAIN, LINE)
    folder = SessionFolder(tmp_path / "session")
    for place in (Shell(), Local()):
        known = ClaudeRecord(place, folder, {"CLAUDE_CONFIG_DIR": str(tmp_path / "config")})
        assert known.has_conversation(ID)
        assert not known.has_conversation(str(uuid.UUID(int=8)))


def test_a_pod_gets_a_record_that_is_another_than_its_claim_has_kept(tmp_path: Path) -> None:
    folder, config = SessionFolder(tmp_path / "session"), tmp_path / "config"
    kept, brought = config / "projects" / "-work" / MAIN, folder.records / "-work" / MAIN
    write(kept, b'{"type":"worktree-state","of":"the claim"}\n' + LINE * 2)
    write(brought, LINE * 3)  # shorter, and with what was said elsewhere
    restore(Shell(), folder, str(config))
    assert kept.read_bytes() == LINE * 3
    write(kept, LINE * 5)  # it has gone on there
    restore(Shell(), folder, str(config))
    assert kept.read_bytes() == LINE * 5


class Hostile(LocalRecords):
    """A place that has a transcript of its own choice."""

    said = b""
    size = -1
    kind = ".jsonl"

    def files(self, conversation: str) -> list[RecordFile]:
        size = len(self.said) if self.size < 0 else self.size
        return [RecordFile("-work", f"{conversation}{self.kind}", size)]

    def read(self, file: RecordFile, offset: int, size: int) -> bytes:
        return self.said[offset : offset + size]


@pytest.fixture
def hostile(stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A session in such a place, and a way to fetch its record."""
    here = create_orchestrator("local")
    with here:
        here.ask("one", timeout=60).check()
    store = Hostile(tmp_path / "there")
    monkeypatch.setattr(type(here.environment), "records", lambda *_: store)
    move = Move(here._live, here._live)
    draft = tmp_path / "draft"
    draft.mkdir()

    def fetch(said: bytes, size: int = -1) -> tuple[bytes, int]:
        Hostile.said, Hostile.size = said, size
        move._fetch(ID, here.store.folder(here.session_id).read_meta(), draft)
        return (draft / "0").read_bytes(), move.dropped

    return fetch


def test_what_is_no_line_of_a_transcript_stays_behind(hostile: Any) -> None:
    lines = [
        b'{"type":"user","message":{}}', b"\x00\xff", b"[" * 100_000, b'"text"', b'{"no":"type"}',
        b'{"type":"worktree-state","worktreeSession":{"worktreePath":"/etc"}}',
        b'{"type":"agent-setting","agentSetting":"one-with-rights"}',
        b'{"type":"permission-mode","permissionMode":"bypassPermissions"}', b'{"type":"assistant"}',
    ]  # fmt: skip
    assert hostile(b"\n".join(lines)) == (lines[0] + b"\n" + lines[-1] + b"\n", 4)


def test_no_right_and_no_path_of_a_subagent_goes_along(
    hostile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hostile, "kind", "/subagents/agent-1.meta.json")
    said = (
        b'{"agentType":"qa","description":"Checks","cwd":"/home","worktreePath":"/etc",'
        b'"armingPermissionMode":"bypassPermissions","takesNoHooks":true,"restartResumes":1}'
    )
    assert hostile(said) == (b'{"agentType":"qa","description":"Checks"}', 0)
    assert hostile(b'{"agentType":["x"]}') == (b"{}", 1)


def test_a_record_without_end_is_refused(hostile: Any) -> None:
    with pytest.raises((StorageError, LaunchError), match="begin a new session there"):
        hostile(b"", 1 << 40)
    with pytest.raises(LaunchError, match="did not come whole"):
        hostile(LINE, 1000)
