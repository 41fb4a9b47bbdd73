"""Claude's own record of a conversation, which goes with it from one pod to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.environments.base import Environment
    from claude_mpm.journal.layout import SessionFolder

_PIECE = 1 << 22  # bytes at once
# Writes what comes from a byte on; of standard input no more than that is read.
_PUT = """umask 077
mkdir -p "${1%/*}" && { [ "$2" -gt 0 ] || : >"$1"; } || exit
[ "$(wc -c <"$1")" -ge "$2" ] || exit
head -c "$2" "$1" >"$1.new" && head -c "$3" >>"$1.new" && mv "$1.new" "$1"
[ "$(wc -c <"$1")" -eq "$(($2 + $3))" ]"""

_END = 4096  # bytes by which a record is known that goes on where another one ends
_BEFORE = """[ ! -f "$1" ] || head -c "$2" "$1" | tail -c "$3\""""


def restore(place: Environment, folder: SessionFolder, config: str) -> None:
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
            while piece := record.read(_PIECE):
                words = [target, str(offset), str(len(piece))]
                place.run(["sh", "-c", _PUT, "put", *words], data=piece)
                offset += len(piece)


def _has(place: Environment, target: str, file: Path) -> bool:
    """Return whether a place has all of a record already: one may have grown since elsewhere."""
    size = file.stat().st_size
    words = [target, str(size), str(min(size, _END))]
    with file.open("rb") as record:
        record.seek(max(0, size - _END))
        return place.run(["sh", "-c", _BEFORE, "before", *words]) == record.read() and size > 0
