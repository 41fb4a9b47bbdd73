"""What is known of a binary: asked for once, and remembered by its path, size and time."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.capabilities.facts import (
    FLOOR,
    REQUIRED,
    Capabilities,
    by_version,
    parse_version,
    written,
)
from claude_mpm.claude_binary import in_wheel
from claude_mpm.errors import ClaudeTooOld, StorageError
from claude_mpm.folders import make_private
from claude_mpm.journal.storage import storage_errors, write_whole
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from claude_mpm.capabilities.probing import Probe

_logger = logging.getLogger("claude_mpm.capabilities")
_VERSION_TIMEOUT = 10.0  # seconds; a build that does not tell its version by then is asked again
_NOT_RUN = 127
_MOST = 200  # binaries that are remembered


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one binary.

    Args:
        size, changed: of the file, in bytes and in nanoseconds since the epoch.
        version: as it tells it; empty where it tells none.
        probed: the names of what a probe has found; None where there was none.
        error: why a probe found nothing.
        told: the promises it cannot keep, as they were told last.
        late: whether it did not answer in time, so that the next start asks it again.
    """

    size: int
    changed: int
    version: str = ""
    probed: tuple[str, ...] | None = None
    error: str = ""
    told: str = ""
    late: bool = False

    def capabilities(self) -> Capabilities:
        """Return what the binary can do."""
        if self.probed is not None:
            return Capabilities(self.version, frozenset(self.probed), "probe")
        return by_version(self.version)


class Memory:
    """The binaries that are known, in a file of the state folder.

    It is worth nothing: where it cannot be read or written, each start asks again.

    Args:
        folder: the state folder.
    """

    __slots__ = ("file",)

    def __init__(self, folder: Path) -> None:
        self.file = folder / "builds.json"

    def recall(self, claude: Path, now: Known) -> Known | None:
        """Return what is known of a binary; None where it is new, or another by now.

        Args:
            now: the binary as it is, before it is asked.
        """
        known = self._read().get(str(claude))
        if known is None or (known.size, known.changed) != (now.size, now.changed):
            return None
        return known

    def keep(self, claude: Path, known: Known) -> None:
        """Remember a binary."""
        builds = self._read()
        builds.pop(str(claude), None)
        builds[str(claude)] = known  # the last is the one that was asked for last
        newest = dict(list(builds.items())[-_MOST:])
        try:
            with storage_errors(self.file):
                make_private(self.file.parent)
                write_whole(self.file, msgspec.json.format(msgspec.json.encode(newest)) + b"\n")
        except StorageError as error:
            _logger.debug("not remembered: %s", error)

    def forget(self, claude: Path) -> None:
        """Have a binary asked again at its next start."""
        if str(claude) in self._read():
            self.keep(claude, Known(size=-1, changed=-1))

    def _read(self) -> dict[str, Known]:
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=dict[str, Known])
        except (OSError, *NOT_JSON):
            return {}


def known_build(claude: Path, memory: Memory, environ: Mapping[str, str] | None = None) -> Known:
    """Return what is known of a binary; it is asked where it is new, and probed where need be.

    One that did not answer in time is asked again by the next start: nothing is known of it. The
    user is warned once.

    Its version is enough where that was tried, or one older and one newer. A version that is newer
    than all that were tried, and a text that is no version, are probed.

    Args:
        claude: the binary.
        memory: what was asked before.
        environ: the variables of Claude; None for this process's.
    """
    try:
        known = _unasked(claude)
    except OSError:  # it is gone, or out of reach; its start says so
        return Known(size=-1, changed=-1)
    recalled = memory.recall(claude, known)
    if recalled is not None and not recalled.late:
        return recalled
    # Imported here: most starts need none of it.
    from claude_mpm.capabilities.releases import newest_tried

    status, said = _ask_version(claude, environ)
    if status == _NOT_RUN:  # perhaps only now; its start says why
        return known
    known = msgspec.structs.replace(known, version=said, late=status is None and not said)
    version = parse_version(said)
    if status == 0 and (version is None or version > newest_tried()):
        known = _probe(claude, known)[0]
    if known.late and recalled is None:
        what = known.error or "it did not tell its version"
        _logger.warning(
            "%s could not be asked what it can do: %s; the next start asks", claude, what
        )
    memory.keep(claude, known)
    return known


def probed_build(claude: Path, memory: Memory) -> tuple[Known, Probe]:
    """Probe a binary, whatever is known of it, and remember what was found."""
    known = msgspec.structs.replace(_unasked(claude), version=_ask_version(claude, None)[1])
    known, probe = _probe(claude, known)
    memory.keep(claude, known)
    return known, probe


def _unasked(claude: Path) -> Known:
    status = claude.stat()
    return Known(size=status.st_size, changed=status.st_mtime_ns)


def _probe(claude: Path, known: Known) -> tuple[Known, Probe]:
    """Probe a binary; return what is known of it then, and the probe."""
    from claude_mpm.capabilities.probing import probe

    found = probe(claude)
    if found.error:
        return msgspec.structs.replace(known, error=found.error, late=found.late), found
    version = known.version or found.version
    return msgspec.structs.replace(
        known, error="", probed=found.facts, version=version, late=False
    ), found


def _ask_version(claude: Path, environ: Mapping[str, str] | None) -> tuple[int | None, str]:
    """Return how a binary ended that was asked for its version, and which it told.

    The status is None where it took too long, or was ended, and 127 where it cannot be run.
    """
    from claude_mpm.capabilities.asking import QUIET, ask_version

    variables = {**(os.environ if environ is None else environ), **QUIET}
    try:
        status, said = ask_version(claude, variables, _VERSION_TIMEOUT)
    except (OSError, ValueError) as error:  # a NUL character
        _logger.debug("%s does not tell its version: %s", claude, error)
        return _NOT_RUN, ""
    version = parse_version(said)
    return status, written(version) if version else ""


def check_fit(capabilities: Capabilities, what: str) -> None:
    """Refuse a build that cannot be served honestly.

    What tells no version in any way is no Claude Code, but a program that stands in for it.

    Args:
        capabilities: what the build can do.
        what: the binary, for a person.

    Raises:
        ClaudeTooOld: it cannot.
    """
    if capabilities.version and not capabilities.is_fit:
        raise refusal(capabilities, what)


def refusal(capabilities: Capabilities, what: str) -> ClaudeTooOld:
    """Return the error with which a build is refused: what it lacks, and how that is mended."""
    version = parse_version(capabilities.version)
    claims = version is not None and version >= FLOOR
    says = "does not do what it should: it" if claims else "is too old: it"
    wheel = in_wheel()
    mend = f"; there is one in {wheel}" if wheel is not None and str(wheel) != what else ""
    return ClaudeTooOld(
        f"Claude Code {capabilities.version or 'of an unknown version'} ({what}) {says}"
        f" {REQUIRED.without}; needed is {written(FLOOR)} or newer;"
        f" run `claude update`, or set claude_path to a newer one{mend}"
    )
