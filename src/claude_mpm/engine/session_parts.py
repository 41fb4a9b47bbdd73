"""What a session in this process has of its folder, each part made when it is first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_mpm.engine.input import Input
from claude_mpm.engine.session_record import SessionRecord
from claude_mpm.journal.lease import Ownership

if TYPE_CHECKING:
    from claude_mpm.engine.options import Options
    from claude_mpm.engine.roles import Face
    from claude_mpm.environments.base import Environment
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.sessions.store import Store


class SessionParts:
    """The folder of a session, and what works on it; a session's name may be chosen until then.

    Args:
        face: whoever holds the session for its user.
        options: what Claude is started with, and the limits.
        environment: the place where Claude runs.
        store: where the session is kept.
        kind: the orchestrator's name, for the record.
        place: what the environment was made with, for the record.
    """

    __slots__ = (
        "_folder", "_input", "_own_record", "_ownership", "environment", "face", "kind", "options",
        "place", "store",
    )  # fmt: skip

    def __init__(
        self,
        face: Face,
        options: Options,
        environment: Environment,
        store: Store,
        *,
        kind: str,
        place: dict[str, Any],
    ) -> None:
        self.face = face
        self.options = options
        self.environment = environment
        self.store = store
        self.kind = kind
        self.place = place
        self._forget_parts()

    def _forget_parts(self) -> None:
        """Forget what was made; it is made again, under the name that the session has then."""
        self._folder: SessionFolder | None = None
        self._input: Input | None = None
        self._ownership: Ownership | None = None
        self._own_record: SessionRecord | None = None

    @property
    def folder(self) -> SessionFolder:
        """The session's folder."""
        if self._folder is None:
            self._folder = self.store.folder(str(self.face.session_id))
        return self._folder

    @property
    def input(self) -> Input:
        """The way in."""
        if self._input is None:
            self._input = Input(self.folder, durable=self.options.durability != "none")
        return self._input

    @property
    def ownership(self) -> Ownership:
        """Who may start Claude."""
        if self._ownership is None:
            self._ownership = Ownership(self.folder)
        return self._ownership

    @property
    def _record(self) -> SessionRecord:
        if self._own_record is None:
            self._own_record = SessionRecord(
                self.folder,
                self.options,
                orchestrator=self.kind,
                environment=self.environment.name,
                place=self.place,
            )
        return self._own_record
