"""Claude Code's own record of a conversation: whether a start can go on with it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from claude_mpm.environments.local import Local
from claude_mpm.errors import MPMError, StorageError
from claude_mpm.journal.exchange import ExchangeFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_mpm.environments.base import Environment
    from claude_mpm.journal.layout import SessionFolder

# With it, `claude --resume` goes on with a turn that it did not live to end, unasked.
GO_ON = "CLAUDE_CODE_RESUME_INTERRUPTED_TURN"
_LOOK = """
for record in "${1:-${CLAUDE_CONFIG_DIR:-${HOME:-/nowhere}/.claude}}"/projects/*/"$2.jsonl"; do
    [ ! -s "$record" ] || { echo conversation; [ -z "$3" ] || grep -oF "$3" "$record" || :; }
done
"""


class ClaudeRecord:
    """Looks at it, where it is; Claude writes it some tenths of a second after what it says.

    Args:
        place: where Claude runs.
        folder: the session's.
        environ: Claude's environment.
    """

    def __init__(
        self, place: Environment, folder: SessionFolder, environ: Mapping[str, str]
    ) -> None:
        self._place = place
        self._folder = folder
        self._environ = environ

    def has_conversation(self, conversation: str) -> bool | None:
        """Return whether Claude knows a conversation; None where nobody can look."""
        found = self._look(conversation, "")
        return None if found is None else bool(found)

    def has_prompt(self, conversation: str, uuid: str) -> bool | None:
        """Return whether it knows a prompt of a conversation; None where nobody can look."""
        found = self._look(conversation, uuid)
        return None if found is None else uuid in found

    def _look(self, conversation: str, text: str) -> list[str] | None:
        if self._folder.claude.exists():  # of a container that is made for each start
            return _look_in(self._folder, conversation, text)
        config = self._config
        if config is None:
            return None
        place = Local() if self._place.shares_files else self._place
        try:
            said = place.run(["sh", "-c", _LOOK, "look", config, conversation, text])
        except (MPMError, NotImplementedError):
            return None
        return said.decode("utf-8", "replace").split()

    @cached_property
    def _config(self) -> str | None:
        """Claude's folder; empty: that of the place's own variables; None: it is out of reach."""
        given = self._environ.get("CLAUDE_CONFIG_DIR", "")
        if self._place.shares_files:
            return given or f"{self._environ.get('HOME', '/nowhere')}/.claude"
        return given if self._place.keeps_files else None


def _look_in(folder: SessionFolder, conversation: str, text: str) -> list[str] | None:
    """Do the same in what a container has left, of which nothing is believed."""
    found = []
    wanted = text.encode()
    try:
        for project in ExchangeFile(folder.exchange, f"{folder.claude.name}/projects").names():
            name = f"{folder.claude.name}/projects/{project}/{conversation}.jsonl"
            record = ExchangeFile(folder.exchange, name)
            if record.exists():
                found.append("conversation")
                found += [text] if wanted and _holds(record, wanted) else []
    except FileNotFoundError:
        return found
    except StorageError:  # something else was put in its place
        return None
    return found


def _holds(record: ExchangeFile, wanted: bytes) -> bool:
    """Return whether a file has some bytes anywhere."""
    before = b""
    for chunk in record.chunks():
        if wanted in before + chunk:
            return True
        before = chunk[-len(wanted) :]
    return False
