"""Where Claude keeps its record of a conversation, so that it can be taken to another place.

A record is the transcript of a conversation, `projects/PROJECT/UUID.jsonl` below Claude's
configuration folder, and what lies in the folder `UUID` beside it: those of subagents, and long
outputs of tools. PROJECT is made from the folder that Claude works in. All of it was written by
Claude, or by whatever ran in the place: a name of it is used only if it looks like one.
"""

from __future__ import annotations

import hashlib
import os
import re
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from claude_mpm.errors import LaunchError
from claude_mpm.journal.exchange import ExchangeFile
from claude_mpm.journal.storage import give_to_owner, remove_tree, storage_errors
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.environments.order import Reachable
    from claude_mpm.journal.layout import SessionFolder

LARGEST = 1 << 29  # bytes of one record
MOST = 1000  # files
DRAFT = "moving-"  # how the names begin of what one that is killed leaves in a session's folder
_PIECE = 1 << 20  # bytes at once
_LARGE_PIECE = 1 << 22  # bytes at once for a new pod, where each command takes its time
_END = 4096  # bytes by which a record is known that goes on where another one ends
_LONGEST_PROJECT = 200
_PROJECT = re.compile(r"[\w-]{1,255}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SIZE = re.compile(r"[0-9]{1,12}")
_BESIDE = re.compile(r"(subagents|tool-results)/[\w-][\w.-]{0,127}", re.ASCII)
# What a transcript says of the place where it was written: a path, a right or a connection there.
# It means nothing elsewhere, and what runs in a place must not choose it for another.
OF_THE_PLACE = frozenset((
    "agent-setting", "artifact-autoreact-ledger", "artifact-comment-monitor", "bridge-session",
    "dev-mods", "file-history-snapshot", "frame-link", "permission-mode", "relocated",
    "worktree-state",
))  # fmt: skip
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class RecordFile(msgspec.Struct, frozen=True):
    """One file of a record.

    Args:
        project: the name of the project folder that it is in.
        name: of the file, below the project folder.
        size: in bytes.
    """

    project: str
    name: str
    size: int


class _Line(msgspec.Struct):
    """What every line of a transcript has."""

    type: str


_decode = msgspec.json.Decoder(_Line).decode


def kind_of(line: bytes) -> str | None:
    """Return what kind of line of a transcript a line is; None where it is none."""
    try:
        return _decode(line).type
    except NOT_JSON:
        return None


def is_name(name: str, conversation: str) -> bool:
    """Return whether a file below a project folder may be of a conversation's record."""
    if name == f"{conversation}.jsonl":
        return True
    folder, _, beside = name.partition("/")
    return folder == conversation and bool(_BESIDE.fullmatch(beside))


def is_conversation(name: str) -> bool:
    """Return whether a name may be that of a conversation."""
    return bool(_UUID.fullmatch(name))


def is_file(path: str) -> bool:
    """Return whether a path below `projects` may be a file of some conversation's record."""
    project, _, name = path.partition("/")
    conversation = name.partition("/")[0].removesuffix(".jsonl")
    is_known = is_conversation(conversation) and is_name(name, conversation)
    return bool(_PROJECT.fullmatch(project)) and is_known


def project_name(cwd: str) -> str:
    """Return what Claude Code calls the project folder of a folder that it works in.

    Every character but letters and digits of ASCII is a hyphen; of a long name, what is cut off is
    replaced by a hash. (Observed: Claude Code 2.1.332.)
    """
    units = [
        int.from_bytes(pair, "little") for pair in _pairs(cwd.encode("utf-16-le", "surrogatepass"))
    ]
    name = re.sub(r"[^a-zA-Z0-9]", "-", "".join(map(chr, units)))
    if len(name) <= _LONGEST_PROJECT:
        return name
    number = 0
    for unit in units:
        number = ((number << 5) - number + unit) & 0xFFFFFFFF
    number = abs(number - (1 << 32) if number >> 31 else number)
    return f"{name[:_LONGEST_PROJECT]}-{_base36(number)}"


def _pairs(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 2] for at in range(0, len(data), 2))


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text or "0"


class RecordStore(ABC):
    """The records of one place; what is put there is undone unless it is kept."""

    @abstractmethod
    def files(self, conversation: str) -> list[RecordFile]:
        """Return the files of a conversation's record, those of the project written last first.

        Raises:
            MPMError: the place does not answer, or has damaged them.
        """

    @abstractmethod
    def read(self, file: RecordFile, offset: int, size: int) -> bytes:
        """Return bytes of a file from `offset` on, `size` of them; fewer at its end.

        Raises:
            MPMError: the place does not answer, or it is no file.
        """

    def pieces(self, file: RecordFile) -> Iterator[bytes]:
        """Yield what a file holds, up to the size that it was listed with.

        Raises:
            MPMError: the place does not answer, or the file has become shorter.
        """
        for offset in range(0, file.size, _PIECE):
            size = min(_PIECE, file.size - offset)
            piece = self.read(file, offset, size)
            if len(piece) != size:
                raise LaunchError(f"{file.name}, of Claude's record, did not come whole")
            yield piece

    @abstractmethod
    def real_folder(self, cwd: str) -> str:
        """Return a folder that Claude is to work in by the path that Claude finds it under.

        Raises:
            MPMError: the place does not answer, or has no such folder.
        """

    @abstractmethod
    def put(self, file: RecordFile, source: BinaryIO) -> None:
        """Write a file; one that is there and says something else is kept as `NAME.kept`.

        Raises:
            MPMError: it did not arrive.
        """

    def settle(self) -> None:  # noqa: B027 -- most put each file where it belongs
        """Let what was put be in its place, now that all of it has come."""

    @abstractmethod
    def undo(self) -> None:
        """Remove what was put, as far as the place can be reached."""

    def keep(self, conversation: str, project: str) -> None:  # noqa: B027 -- most have no more
        """Let what was put be the record from now on.

        Args:
            conversation: whose record it is.
            project: the only project folder that is to have it; older copies elsewhere go.
        """

    def leave(self, new: RecordStore | None) -> None:  # noqa: B027 -- a user's own files stay
        """Drop the record where it is the session's alone, as another store keeps it from now on.

        Args:
            new: that store; None where there was no record.
        """


class LocalRecords(RecordStore):
    """Claude's configuration folder on this machine.

    Args:
        config: the folder.
    """

    def __init__(self, config: Path) -> None:
        self._projects = config / "projects"
        self._made: list[Path] = []

    def files(self, conversation: str) -> list[RecordFile]:
        """Return the files of a conversation's record."""
        found = []
        for main in self._transcripts(conversation):
            beside = (main, *sorted(main.with_suffix("").glob("*/*")))
            for path in beside:
                name = str(path.relative_to(main.parent))
                if is_name(name, conversation) and path.is_file() and not path.is_symlink():
                    found.append(RecordFile(main.parent.name, name, path.stat().st_size))
        return found

    def _transcripts(self, conversation: str) -> list[Path]:
        paths = [each for each in self._projects.glob(f"*/{conversation}.jsonl") if each.is_file()]
        return sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)

    def read(self, file: RecordFile, offset: int, size: int) -> bytes:
        """Return bytes of a file."""
        project = Path(os.path.realpath(self._projects / file.project))
        with _missing(file):
            return ExchangeFile(project, file.name).read(size, offset)

    def real_folder(self, cwd: str) -> str:
        """Return the folder without links."""
        return os.path.realpath(cwd)

    def put(self, file: RecordFile, source: BinaryIO) -> None:
        """Write a file."""
        target = self._projects / file.project / file.name
        with storage_errors(target):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = target.with_name(f"{target.name}.moving")
            try:
                copy_to(draft, source)
            except BaseException:  # such as on a full disk
                draft.unlink(missing_ok=True)
                raise
            if target.exists() and _says_more(target, draft):
                target.replace(_kept(target))
            if not target.exists():
                self._made.append(target)
            draft.replace(target)

    def undo(self) -> None:
        """Remove what was put, and put back what was kept; a longer record stays."""
        for path in self._made:
            with storage_errors(path):
                path.unlink(missing_ok=True)
                if _kept(path).exists():
                    _kept(path).rename(path)
            with suppress(OSError):  # there is more in it
                path.parent.rmdir()
        self._made.clear()

    def keep(self, conversation: str, project: str) -> None:
        """Remove older copies in other project folders, if the one that was put has all of them."""
        self._made.clear()
        new = self._projects / project / f"{conversation}.jsonl"
        for path in self._transcripts(conversation):
            if path != new and not _says_more(path, new):
                path.unlink()


@contextmanager
def _missing(file: RecordFile) -> Iterator[None]:
    """Say which file of a record is gone."""
    try:
        yield
    except FileNotFoundError as error:
        raise LaunchError(f"{file.name}, of Claude's record, is gone") from error


def copy_to(path: Path, source: BinaryIO) -> None:
    """Write a file of its owner alone with all that another holds.

    Raises:
        OSError: the disk did not take it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as target:
        give_to_owner(target.fileno(), path.parent)
        while piece := source.read(_PIECE):
            target.write(piece)


def _kept(path: Path) -> Path:
    """Return where a file is kept that says something else than the one in its place."""
    return path.with_name(f"{path.name}.kept")


def _says_more(old: Path, new: Path) -> bool:
    """Return whether a transcript has lines that another lacks, but for those of its place."""
    with new.open("rb") as lines:
        known = {hashlib.blake2b(line).digest() for line in lines}
    with old.open("rb") as lines:
        return any(
            hashlib.blake2b(line).digest() not in known and kind_of(line) not in OF_THE_PLACE
            for line in lines
        )


class OwnRecords(RecordStore):
    """Records in the session's own folder: of containers, or of pods that are made for a start.

    Another record is put beside what is there, which is set aside once all of it has come, and goes
    when that is kept. So a process that is killed leaves a whole record.

    Args:
        folder: which has PROJECT/UUID.jsonl; the place may have written all of it.
        top: the part of it that is replaced as a whole; no place writes its parent's names while
            no Claude runs.
        aside: where that is set aside; on the same file system, and seen by no place.
    """

    def __init__(self, folder: Path, top: Path, aside: Path) -> None:
        self._folder = folder
        self._top = top
        self._aside = aside
        self._draft = aside.with_name(f"{DRAFT}{aside.name}")
        self._begun = False  # there is something in the draft
        self._fresh = False

    def files(self, conversation: str) -> list[RecordFile]:
        """Return the files of a conversation's record."""
        if not os.path.lexists(self._top):  # who set it aside was killed right then
            with storage_errors(self._top), suppress(FileNotFoundError):
                self._aside.rename(self._top)
        found: list[tuple[float, RecordFile]] = []
        for project in filter(_PROJECT.fullmatch, self._names("")):
            changed = 0.0
            for name in self._beside(project, conversation):
                file = self._file(f"{project}/{name}")
                if is_name(name, conversation) and file.exists() and not file.wrong():
                    changed = changed or file.changed_at()
                    found.append((changed, RecordFile(project, name, file.size())))
        return [file for _, file in sorted(found, key=lambda each: each[0], reverse=True)]

    def _beside(self, project: str, conversation: str) -> list[str]:
        """Return what may belong to a conversation, the transcript first."""
        main = f"{conversation}.jsonl"
        if not self._file(f"{project}/{main}").exists():
            return []
        kinds = ("subagents", "tool-results")
        below = [f"{conversation}/{kind}" for kind in kinds]
        return [main, *(f"{at}/{name}" for at in below for name in self._names(f"{project}/{at}"))]

    def _names(self, folder: str) -> list[str]:
        try:
            return sorted(self._file(folder).names())
        except FileNotFoundError:
            return []

    def _file(self, name: str) -> ExchangeFile:
        below = self._folder.relative_to(self._top.parent)
        return ExchangeFile(self._top.parent, f"{below}/{name}".rstrip("/"))

    def read(self, file: RecordFile, offset: int, size: int) -> bytes:
        """Return bytes of a file."""
        with _missing(file):
            return self._file(f"{file.project}/{file.name}").read(size, offset)

    def real_folder(self, cwd: str) -> str:
        """Return the folder as it is named."""
        return cwd

    def put(self, file: RecordFile, source: BinaryIO) -> None:
        """Write a file into a folder that is made for it, where no place can have put anything."""
        with storage_errors(self._top):
            if not self._begun:
                _remove(self._draft)
                self._begun = True
            below = self._draft / self._folder.relative_to(self._top)
            target = below / file.project / file.name
            for path in reversed(target.relative_to(self._draft).parents):
                self._make(self._draft / path)
            copy_to(target, source)

    def settle(self) -> None:
        """Set aside what is there, and let what was put take its place."""
        if self._begun:
            with storage_errors(self._top):
                if os.path.lexists(self._top):
                    _remove(self._aside)
                    self._top.rename(self._aside)
                self._begun, self._fresh = False, True
                self._draft.rename(self._top)

    def _make(self, folder: Path) -> None:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                give_to_owner(descriptor, (self._top if folder == self._draft else folder).parent)
            finally:
                os.close(descriptor)

    def undo(self) -> None:
        """Put back what was set aside."""
        if self._begun:
            with storage_errors(self._draft):
                _remove(self._draft)
            self._begun = False
        if self._fresh:
            with storage_errors(self._top):
                _remove(self._top)
                with suppress(FileNotFoundError):
                    self._aside.rename(self._top)
            self._fresh = False

    def keep(self, conversation: str, project: str) -> None:
        """Remove what was set aside."""
        self.settle()
        self._fresh = False
        with storage_errors(self._aside):
            _remove(self._aside)

    def leave(self, new: RecordStore | None) -> None:
        """Remove the record, and with it all that the place's Claude had beside it."""
        if not (isinstance(new, OwnRecords) and new._top == self._top):
            with storage_errors(self._top):
                _remove(self._top)
                _remove(self._aside)


def _remove(folder: Path) -> None:
    """Remove a folder, or what a place has put there instead."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    with suppress(FileNotFoundError):
        remove_tree(folder)


class CommandRecords(RecordStore):
    """Records that are reached by commands in a place.

    Args:
        place: where they are.
        config: Claude's configuration folder there; empty for that of its environment.
        home: whose configuration folder it is by default; empty for that of the environment.
    """

    def __init__(self, place: Reachable, config: str = "", home: str = "") -> None:
        self._place = place
        self._where = (config, home)
        self._made: list[str] = []
        self._half: list[str] = []  # files that have not come whole

    def files(self, conversation: str) -> list[RecordFile]:
        """Return the files of a conversation's record."""
        return list(listed(self._run(_LIST, conversation), conversation))

    def read(self, file: RecordFile, offset: int, size: int) -> bytes:
        """Return bytes of a file."""
        return self._run(_READ, f"{file.project}/{file.name}", str(offset + 1), str(size))

    def real_folder(self, cwd: str) -> str:
        """Return the folder without links."""
        said = self._run(_FOLDER, cwd).decode("utf-8", "surrogateescape").removesuffix("\n")
        if not said.startswith("/") or len(said) > _PIECE:
            raise LaunchError(f"{self._place.name}: its folder to work in is no path")
        return said

    def put(self, file: RecordFile, source: BinaryIO) -> None:
        """Write a file."""
        name, offset = f"{file.project}/{file.name}", 0
        self._half.append(name)
        while piece := source.read(_PIECE):
            self._run(_PUT, name, str(offset), str(len(piece)), data=piece)
            offset += len(piece)
        if offset and self._run(_SETTLE, name, str(offset)) == b"made\n":
            self._made.append(name)
        self._half.remove(name)

    def undo(self) -> None:
        """Remove what was put where nothing was."""
        if self._half:
            self._run(_DROP, *self._half)
        if self._made:
            self._run(_REMOVE, *self._made)
        self._half.clear()
        self._made.clear()

    def keep(self, conversation: str, project: str) -> None:
        """Remove older copies in other project folders, if the one that was put has all of them."""
        self._made.clear()
        self._run(_KEEP, f"{project}/{conversation}.jsonl", f"{conversation}.jsonl")

    def _run(self, script: str, *words: str, data: bytes = b"") -> bytes:
        command = ["sh", "-c", _CONFIG + script, "record", *self._where, *words]
        return self._place.run(command, data=data)


def restore(place: Reachable, folder: SessionFolder, config: str) -> None:
    """Bring the record of a session's conversation to where Claude looks for it.

    Args:
        place: where it is brought.
        folder: the session's; the record is what its link has mirrored.
        config: Claude's configuration folder there.

    Raises:
        LaunchError: it did not arrive.
    """
    root = folder.records
    for file in sorted(each for each in root.rglob("*") if each.is_file()):
        target = f"{config}/projects/{file.relative_to(root)}"
        if _has(place, target, file):
            continue  # a claim has kept it
        with file.open("rb") as record:
            offset = 0
            while piece := record.read(_LARGE_PIECE):
                words = [target, str(offset), str(len(piece))]
                place.run(["sh", "-c", _RESTORE, "put", *words], data=piece)
                offset += len(piece)


def _has(place: Reachable, target: str, file: Path) -> bool:
    """Return whether a place has all of a record already: one may have grown since elsewhere."""
    size = file.stat().st_size
    words = [target, str(size), str(min(size, _END))]
    with file.open("rb") as record:
        record.seek(max(0, size - _END))
        return place.run(["sh", "-c", _END_OF, "before", *words]) == record.read() and size > 0


def listed(said: bytes, conversation: str) -> Iterator[RecordFile]:
    """Yield what a place has listed: a size and a path in each line, of which none is believed."""
    for line in said.decode("utf-8", "replace").splitlines()[: MOST + 1]:
        size, _, path = line.partition(" ")
        project, _, name = path.partition("/")
        if _PROJECT.fullmatch(project) and is_name(name, conversation) and _SIZE.fullmatch(size):
            yield RecordFile(project, name, int(size))


_CONFIG = """config=${1:-${CLAUDE_CONFIG_DIR:-${2:-${HOME:-/nowhere}}/.claude}}/projects
shift 2
umask 077
"""
_LIST = """cd "$config" 2>/dev/null || exit 0
for main in $(ls -1td -- */"$1.jsonl" 2>/dev/null); do
    project=${main%%/*}
    for file in "$main" "$project/$1"/subagents/* "$project/$1"/tool-results/*; do
        [ ! -f "$file" ] || [ -L "$file" ] || echo "$(($(wc -c <"$file"))) $file"
    done
done"""
_READ = """tail -c "+$2" "$config/$1" | head -c "$3\""""
_FOLDER = """cd -- "${1:-${HOME:-/}}" && pwd -P"""
_PUT = """file=$config/$1.moving
mkdir -p "${file%/*}" || exit
[ "$2" -gt 0 ] || : >"$file"
[ "$(wc -c <"$file")" -eq "$2" ] && head -c "$3" >>"$file" || exit
[ "$(wc -c <"$file")" -eq "$(($2 + $3))" ]"""
# Without the commands that it takes, nobody can tell, and nothing is thrown away.
_SAYS_MORE = f"""says_more() {{ # OLD NEW: whether it has lines that the other lacks
    command -v sort >/dev/null && command -v comm >/dev/null || return 0
    LC_ALL=C sort "$1" >"$2.old" && LC_ALL=C sort "$2" >"$2.new" || return 0
    LC_ALL=C comm -23 "$2.old" "$2.new" | grep -qEv '"type":"({"|".join(sorted(OF_THE_PLACE))})"'
    set -- "$2" $?
    rm -f "$1.old" "$1.new"
    return "$2"
}}
"""
_SETTLE = f"""{_SAYS_MORE}file=$config/$1
[ "$(wc -c <"$file.moving")" -eq "$2" ] || exit
[ ! -f "$file" ] || ! says_more "$file" "$file.moving" || mv "$file" "$file.kept"
[ -e "$file" ] || echo made
mv "$file.moving" "$file\""""
_DROP = """for name; do rm -f "$config/$name.moving"; done"""
_REMOVE = """for name; do
    file=$config/$name
    rm -f "$file"
    [ ! -f "$file.kept" ] || mv "$file.kept" "$file"
    rmdir "${file%/*}" 2>/dev/null || :
done"""
_KEEP = f"""{_SAYS_MORE}for other in "$config"/*/"$2"; do
    if [ "$other" != "$config/$1" ] && [ -f "$other" ]; then
        says_more "$other" "$config/$1" || rm -f "$other"
    fi
done"""
# Writes what comes from a byte on; of standard input no more than that is read.
_RESTORE = """umask 077
mkdir -p "${1%/*}" && { [ "$2" -gt 0 ] || : >"$1"; } || exit
[ "$(wc -c <"$1")" -ge "$2" ] || exit
head -c "$2" "$1" >"$1.new" && head -c "$3" >>"$1.new" && mv "$1.new" "$1"
[ "$(wc -c <"$1")" -eq "$(($2 + $3))" ]"""
_END_OF = """[ ! -f "$1" ] || head -c "$2" "$1" | tail -c "$3\""""
