"""What Claude is sent is whole, in order and kept."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from claude_mpm.errors import SessionEnded, StorageError, UsageError
from claude_mpm.journal.inbox import Inbox
from claude_mpm.journal.layout import SessionFolder, session_path

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> SessionFolder:
    folder = SessionFolder(tmp_path / "session")
    folder.create()
    folder.prepare_host()
    return folder


def test_messages_are_numbered_in_order_also_by_two_controllers_at_once(
    folder: SessionFolder,
) -> None:
    def put_many(mark: bytes) -> None:
        inbox = Inbox(folder)
        for number in range(50):
            inbox.put(mark + str(number).encode())

    threads = [threading.Thread(target=put_many, args=(mark,)) for mark in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    inbox = Inbox(folder)
    assert inbox.names() == [f"{n:06}" for n in range(1, 101)]
    messages = [inbox.read(name) for name in inbox.names()]
    for mark in (b"a", b"b"):
        own = [m for m in messages if m.startswith(mark)]
        assert own == [mark + str(n).encode() for n in range(50)]
    assert not list(folder.path.glob(".message-*")), "no drafts are left"


def test_names_can_be_announced_before_the_host_is_there(folder: SessionFolder) -> None:
    inbox = Inbox(folder)
    inbox.open_before_host()
    inbox.announce("000001")
    assert folder.has_host(), "the own hold counts, until the host is there"
    with folder.feed.path.open() as host:
        assert host.readline() == "000001\n"
        inbox.host_is_there()
        assert folder.has_host()
        inbox.end()
        assert host.readline() == "EOF\n"
    with pytest.raises(SessionEnded, match="has ended"):
        inbox.announce("000002")
    assert not folder.has_host()
    inbox.close()
    inbox.close()


def test_a_feed_that_is_closed_while_names_are_announced_loses_none(folder: SessionFolder) -> None:
    inbox = Inbox(folder)
    names = [f"{number:06}" for number in range(5000)]
    heard: list[str] = []
    done = threading.Event()

    def listen() -> None:
        with folder.feed.path.open() as host:
            heard.extend(line.strip() for _, line in zip(names, host, strict=False))

    def close_again_and_again() -> None:
        while not done.is_set():
            inbox.close()

    inbox.open_before_host()
    with os.fdopen(os.open(folder.feed.path, os.O_RDWR)):  # a host never releases its feed
        threads = [threading.Thread(target=work) for work in (listen, close_again_and_again)]
        for thread in threads:
            thread.start()
        for name in names:
            inbox.announce(name)
        done.set()
        for thread in threads:
            thread.join()
    inbox.close()
    assert heard == names


def test_without_a_host_there_is_nobody_to_tell(folder: SessionFolder) -> None:
    with pytest.raises(SessionEnded):
        Inbox(folder).announce("000001")


def test_everything_is_for_its_owner_alone(folder: SessionFolder) -> None:
    Inbox(folder).put(b"secret")
    folder.write(folder.framework, b"rules")
    for path in [folder.path, *folder.path.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_session_id_cannot_leave_the_state_folder(tmp_path: Path) -> None:
    for name in ("../up", "a/b", "", ".hidden", "x" * 200, "a\nb"):
        with pytest.raises(UsageError, match="session id"):
            session_path(tmp_path, name)


def test_a_damaged_record_is_named(folder: SessionFolder) -> None:
    folder.meta_file.write_text("{")
    with pytest.raises(StorageError, match="not a session's record"):
        folder.read_meta()


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot keep the session in .*: Not a directory"):
        SessionFolder(tmp_path / "file" / "session").create()
