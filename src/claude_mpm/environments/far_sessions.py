"""Sessions that are laid in a place, whoever started them: how they are listed, and reached."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.environments.linked import FAR, IS_OURS, STATE, is_far_folder
from claude_mpm.errors import LaunchError
from claude_mpm.journal.layout import is_session_name
from claude_mpm.link.far import FarState  # noqa: TC001 -- msgspec reads it
from claude_mpm.link.shell import ShellSpec, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from claude_mpm.environments.order import Reachable

MOST = 30  # sessions of one place; to look at one takes some 20 ms of a processor there
_LARGEST = 3 << 20  # bytes of the ends of all journals of one place
_LONGEST_ANSWER = 1 << 22  # bytes of a place; it sends no more
_LAID = Path(__file__).parents[1] / "link" / "far.sh"
_OLDEST = 10**9  # seconds

# Our own far.sh is run, whatever lies in the folders: it opens there only what it made.
_LIST = f"""far=$1 bytes=$2 most=$3
{IS_OURS}
{STATE}
for base in "$state/claude-mpm" "$temporary/claude-mpm-$(id -u)" "$temporary"/claude-mpm.??????; do
    is_ours "$base/far" 'd???--[S-]---' && ls -1td "$base"/far/*/*/ 2>/dev/null
done | while read -r folder; do
    folder=${{folder%/}}
    [ -d "$folder/given" ] || continue
    [ "$most" -gt 0 ] || {{ echo more; continue; }}
    most=$((most - 1))
    echo "session $folder"
    printf 'look %s\\n' "$bytes" | sh -c "$far" far.sh "$folder"
done
echo "now $(date +%s)"
echo done"""


class FarSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session that is laid in a place; every byte of it is the place's word.

    Args:
        name: its id, as whoever started it has it.
        key: what tells it from all others there: its folder, or its name at a server.
        state: what its folder says.
        age: seconds since it was started; None where the place does not say.
        end: the last bytes of its journal.
        messages: the newest messages of its inbox, the newest first; they may be cut short.
        reach: further fields of the link's file, beside those that all links of the place share.
        word: what it does, in a word, where its journal cannot be read.
        refusal: why it cannot be followed from this machine; empty where it can.
    """

    name: str
    key: str
    state: FarState
    age: float | None = None
    end: bytes = b""
    messages: tuple[bytes, ...] = ()
    reach: dict[str, Any] = {}
    word: str = ""
    refusal: str = ""


class Listed(msgspec.Struct, frozen=True):
    """What a place has listed.

    Args:
        more: how many sessions there are beside, which were not looked at.
    """

    sessions: list[FarSession]
    more: int = 0


def list_far(place: Reachable, end: int) -> Listed:
    """Return the sessions that are laid in a place which is reached by a command.

    Args:
        end: how many bytes of each journal's end are read.

    Raises:
        LaunchError: the place does not answer.
    """
    limit = str(min(end, _LARGEST // MOST))
    script = ["sh", "-c", _LIST, "list", _LAID.read_text("utf-8"), limit, str(MOST)]
    return read_list(place.name, place.run(script))


def read_list(place: str, answer: bytes) -> Listed:
    """Return what a listing says: of its lines and numbers, those that can be meant.

    Raises:
        LaunchError: it is cut short.
    """
    lines = answer[:_LONGEST_ANSWER].split(b"\n")
    if b"done" not in lines[-2:]:
        raise LaunchError(f"{place}: its list of sessions is cut short")
    sessions: dict[str, FarSession] = {}
    now = next((n for line in lines[-3:] if (n := _number(line, b"now")) is not None), None)
    for folder, said in _blocks(lines):
        name = folder.rpartition("/")[2]
        if len(sessions) < MOST and is_session_name(name) and is_far_folder(folder):
            sessions[folder] = _session(name, folder, said, now)
    return Listed([*sessions.values()], lines.count(b"more"))


def _blocks(lines: Sequence[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Yield each session's folder with its lines; what it wrote itself is indented, or named."""
    folder, said = "", list[bytes]()
    for line in [*lines, b"session "]:
        word, _, rest = line.partition(b" ")
        if word == b"session":
            if folder:
                yield folder, said
            folder, said = rest.decode("utf-8", "replace"), []
        else:
            said.append(line)


def _session(name: str, folder: str, said: Sequence[bytes], now: int | None) -> FarSession:
    journal = [line[1:] for line in said if line.startswith(b" ")]
    journal += [b""] if journal and said[-1] == b"" else []  # the last line was whole
    words = [line.decode("utf-8", "replace") for line in said if not line.startswith(b" ")]
    began = next((n for line in said if (n := _number(line, b"began")) is not None), None)
    return FarSession(
        name=name,
        key=folder,
        state=state_of(words),
        age=None if began is None or now is None else float(min(max(now - began, 0), _OLDEST)),
        end=b"\n".join(journal),
        messages=tuple(
            line.removeprefix(b"message ") for line in said if line.startswith(b"message ")
        ),
    )


def _number(line: bytes, word: bytes) -> int | None:
    """Return the number behind a word; None where the line is another, or that is none."""
    first, _, rest = line.partition(b" ")
    return int(rest) if first == word and rest.isdigit() and len(rest) < 12 else None


def shell_spec(place: Reachable, far: FarSession, reader: str) -> dict[str, Any]:
    """Return the link's file for a session that another machine has laid in a place.

    Args:
        reader: how this machine is known there, in digits.
    """
    spec = ShellSpec(
        place=place.name,
        shell=place.wrap(["sh", "-s"]),
        far=place.wrap(["sh", "-c", FAR, far.key]),
        folder=far.key,
        cwd="",
        host="echo gone >exchange/host.log",  # it is never laid by this machine
        reader=reader,
    )
    return {**msgspec.to_builtins(spec), **far.reach}
