"""The files of the exchange: nothing else opens them, and what is in their place is harmless."""

from __future__ import annotations

import ast
import builtins
import io
import os
import stat
import sys
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import claude_mpm
from attacks import ACTS, ATTACKS, GIGABYTE, LOOKS, lay_outside, left_alone, looks, replace
from calls import make_session
from claude_mpm.errors import StorageError
from claude_mpm.journal.exchange import NOTE, ExchangeFile
from claude_mpm.journal.layout import ExchangeEntry, SessionFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SRC = Path(claude_mpm.__file__).parent
PARTS = {name for name, each in vars(SessionFolder).items() if isinstance(each, ExchangeEntry)}
NAMES = {SessionFolder.__dict__[name]._name for name in PARTS}
# What may be done with the exchange folder itself: it is watched, named, looked at, and passed on.
TAKE_THE_FOLDER = {
    *("ExchangeFile", "subscribe", "AsyncFolderWatch", "watch", "lstat", "str", "make_private"),
}
# Who may take the path of a file, and why: before a container is there to write it, its folder for
# Claude is made; the tests' own tools look at what is left when all has ended; the page asks lstat.
TAKE_A_PATH = {
    ("environments/container_host.py", "claude"),
    ("environments/docker.py", "claude"),  # moved as a whole; what is in it is read as hostile
    ("testing", "journal"),
    ("web/fleet.py", "journal"),
}
LIST_IT = ("journal/layout.py", "web/fleet.py")  # to be made, and for lstat
TAKE_ITS_FILES = {"testing/residue.py"}


@cache
def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        name = str(path.relative_to(SRC))
        if name != "journal/exchange.py":
            found[name] = ast.parse(path.read_text("utf-8"))
    return found


def with_parents(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.AST]]:
    for parent in ast.walk(tree):
        for child in ast.iter_child_nodes(parent):
            yield parent, child


def name_of(node: ast.AST) -> str:
    return str(getattr(node, "id", getattr(node, "attr", "")))


def exchange_files(tree: ast.Module) -> set[str]:
    """Return the names of parameters and attributes that are files of the exchange."""
    found = set(PARTS)
    for node in ast.walk(tree):
        annotation = getattr(node, "annotation", None)
        if annotation is not None and "ExchangeFile" in ast.unparse(annotation):
            target = getattr(node, "target", None)
            found.add(name_of(target) if target is not None else str(getattr(node, "arg", "")))
    return found


def paths_taken(name: str, tree: ast.Module) -> list[str]:
    """Return where the path of a file of the exchange is taken, by who is not allowed to."""
    known = exchange_files(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "path":
            whose = name_of(node.value)
            places = (name, name.partition("/")[0])
            if whose in known and not any((place, whose) in TAKE_A_PATH for place in places):
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
    return found


def folders_taken(name: str, tree: ast.Module) -> list[str]:
    """Return where something is done with the exchange folder that could open what is in it."""
    found = []
    for parent, node in with_parents(tree):
        if not (isinstance(node, ast.Attribute) and node.attr == "exchange"):
            continue
        is_call = isinstance(parent, ast.Call) and name_of(parent.func) in TAKE_THE_FOLDER
        is_looked_at = isinstance(parent, ast.Attribute) and parent.attr in ("stat", "is_dir")
        is_listed = isinstance(parent, ast.Tuple) and name in LIST_IT
        if not (is_call or is_looked_at or is_listed or isinstance(parent, ast.FormattedValue)):
            found.append(f"{name}:{node.lineno}: {ast.unparse(parent)}")
    return found if name not in TAKE_ITS_FILES else []


def names_joined(name: str, tree: ast.Module) -> list[str]:
    """Return where a path is made that ends in the name of a file of the exchange alone."""
    return [
        f"{name}:{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Div)
        and isinstance(node.right, ast.Constant)
        and str(node.right.value).rpartition("/")[2] in NAMES - {"claude", "environ"}
    ]


@pytest.mark.parametrize("rule", [paths_taken, folders_taken, names_joined])
def test_nothing_else_opens_a_file_of_the_exchange(
    rule: Callable[[str, ast.Module], list[str]],
) -> None:
    assert [each for name, tree in modules().items() for each in rule(name, tree)] == []


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (paths_taken, "open(folder.journal.path)"),
        (paths_taken, "def f(file: ExchangeFile): file.path.read_text()"),
        (paths_taken, "class A:\n    _file: ExchangeFile | None\n    def f(self): self._file.path"),
        (folders_taken, "open(folder.exchange / 'x')"),
        (folders_taken, "for each in folder.exchange.iterdir(): pass"),
        (folders_taken, "where = self.exchange"),
        (names_joined, "open(folder.path / 'exchange' / 'out.jsonl')"),
        (names_joined, "open(path / 'exchange/pid')"),
    ],
)
def test_the_rules_find_what_they_are_for(
    rule: Callable[[str, ast.Module], list[str]], code: str
) -> None:
    assert len(rule("cli/any.py", ast.parse(code))) == 1


# --- while it runs ------------------------------------------------------------------------------

_watched: list[Path] = []


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is opened by its path below a watched folder, and by whom.

    No audit hook: that would stay for ever, and run in all threads of all tests after this.
    """
    noted: list[str] = []

    def noting(original: Callable[..., Any]) -> Callable[..., Any]:
        def note(file: Any, *arguments: Any, **more: Any) -> Any:
            if _watched and isinstance(file, str | bytes | os.PathLike):
                path = Path(os.fsdecode(file))
                if path != _watched[0] and path.is_relative_to(_watched[0]):
                    noted.append(f"{path.name} by {sys._getframe(1).f_code.co_filename}")
            return original(file, *arguments, **more)

        return note

    for module in (os, io, builtins):
        monkeypatch.setattr(module, "open", noting(module.open))
    yield noted
    _watched.clear()


def test_no_command_opens_one_by_its_path(
    capsys: pytest.CaptureFixture[str], opened: list[str]
) -> None:
    folder = make_session("s", ["hello", "TODO: mend it"])
    with open(folder.exchange / "out.jsonl", "rb"):  # the hook sees it
        pass
    _watched.append(folder.exchange)
    with open(folder.exchange / "out.jsonl", "rb"):
        pass
    assert [each.split()[0] for each in opened] == ["out.jsonl"]
    opened.clear()
    for words in (*LOOKS, *ACTS, ("stop", "s"), ("doctor", "--sweep")):
        looks(capsys, *words)
    assert opened == []


# --- what may be in the place of a file ---------------------------------------------------------


@pytest.fixture
def exchange(tmp_path: Path) -> Path:
    folder = tmp_path / "exchange"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return lay_outside(tmp_path / "outside")


READS: dict[str, Callable[[ExchangeFile], object]] = {
    "open": lambda file: os.close(file.open()),
    "read": ExchangeFile.read,
    "tail": lambda file: file.tail(10),
    "size": ExchangeFile.size,
    "changed_at": ExchangeFile.changed_at,
    "chunks": lambda file: b"".join(file.chunks()),
    "append": lambda file: file.append(b"more"),
    "open_to_append": lambda file: os.close(file.open_to_append()),
}
NO_FILES = ("a link to a file", "a link to a folder", "a FIFO", "a folder")


@pytest.mark.parametrize("attack", NO_FILES)
@pytest.mark.parametrize("read", READS)
def test_what_is_no_file_is_refused_in_a_line(
    exchange: Path, outside: Path, attack: str, read: str
) -> None:
    file = ExchangeFile(exchange, "pid")
    replace(file.path, attack, outside)
    with left_alone(outside), pytest.raises(StorageError, match="not what it was made as"):
        READS[read](file)
    assert file.wrong() is not None
    assert "\n" not in str(file.wrong())
    file.remove()
    assert not file.exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_note_takes_the_place_of_whatever_is_there(
    exchange: Path, outside: Path, attack: str
) -> None:
    file = ExchangeFile(exchange, "exit")
    replace(file.path, attack, outside)
    with left_alone(outside):
        file.write(b"0\n")
    assert file.read() == b"0\n"
    assert stat.S_IMODE(file.path.lstat().st_mode) == 0o600
    assert [path.name for path in exchange.iterdir()] == ["exit"]


@pytest.mark.parametrize(
    "attack", [each for each in ATTACKS if each not in ("a FIFO", "nested folders")]
)
def test_what_is_no_fifo_is_refused(exchange: Path, outside: Path, attack: str) -> None:
    file = ExchangeFile(exchange, "lease")
    replace(file.path, attack, outside)
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        with left_alone(outside), pytest.raises((StorageError, FileNotFoundError)):
            file.open_fifo(flags)
    assert not file.is_fifo()


def test_a_fifo_keeps_nobody_waiting(exchange: Path) -> None:
    file = ExchangeFile(exchange, "feed")
    file.make_fifo()
    with pytest.raises(BrokenPipeError):
        file.open_fifo(os.O_WRONLY)
    os.close(file.open_fifo(os.O_RDONLY))


def test_of_a_huge_file_no_more_is_read_than_asked_for(exchange: Path) -> None:
    file = ExchangeFile(exchange, "place")
    replace(file.path, "a gigabyte", exchange)
    assert file.size() == GIGABYTE
    assert len(file.read()) == NOTE
    assert len(file.tail(10)) == 10
    assert file.read(10, GIGABYTE) == b""
    assert file.read(10, 1 << 62) == b""


def test_what_another_user_has_put_there_is_refused(exchange: Path) -> None:
    file = ExchangeFile(exchange, "pid")
    file.write(b"1 1\n")
    os.chown(file.path, 65534, 65534)
    if os.geteuid() == 0:  # to whom root's files are as its own
        os.chown(exchange, 65533, 65533)
    with pytest.raises(StorageError, match="another user's"):
        file.read()


@pytest.mark.parametrize("name", ["claude", "claude/projects", "claude/projects/x"])
def test_no_link_on_the_way_is_followed(exchange: Path, outside: Path, name: str) -> None:
    (exchange / name).parent.mkdir(parents=True, exist_ok=True)
    (exchange / name).symlink_to(outside)
    below = ExchangeFile(exchange, f"{name}/file")
    for act in (below.read, below.names, below.open, below.open_to_append):
        with left_alone(outside), pytest.raises(StorageError, match="not what it was made as"):
            act()


def test_the_folder_itself_may_be_replaced(exchange: Path, outside: Path) -> None:
    exchange.rmdir()
    exchange.symlink_to(outside)
    file = ExchangeFile(exchange, "file")
    for act in (file.read, file.make_fifo, file.remove, lambda: file.write(b""), file.names):
        with left_alone(outside), pytest.raises(StorageError):
            act()


def test_a_folder_of_very_many_names_is_read_in_part(exchange: Path) -> None:
    (exchange / "claude").mkdir()
    for number in range(10_100):
        (exchange / "claude" / str(number)).touch()
    assert len(ExchangeFile(exchange, "claude").names()) == 10_000


def test_a_file_that_is_swapped_all_the_time_never_leads_outside(
    exchange: Path, outside: Path
) -> None:
    """A check before the opening would be too early, and one behind it too late."""
    file = ExchangeFile(exchange, "pid")
    ended = threading.Event()

    def swap() -> None:
        link, plain = exchange / "link", exchange / "plain"
        while not ended.is_set():
            link.symlink_to(outside / "file")
            link.replace(file.path)
            plain.write_bytes(b"1 1\n")
            plain.replace(file.path)

    file.write(b"1 1\n")
    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        with left_alone(outside):
            for _ in range(3000):
                try:
                    assert file.read() == b"1 1\n"
                except StorageError:
                    continue
    finally:
        ended.set()
        attacker.join()
