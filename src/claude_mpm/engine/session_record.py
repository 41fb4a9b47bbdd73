"""What is written down about a session when Claude is started in it."""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.config.framework import agents_json
from claude_mpm.engine.options import kept_options
from claude_mpm.errors import StorageError, UsageError
from claude_mpm.journal.layout import Meta, Start
from claude_mpm.journal.secrets import secrets_key
from claude_mpm.redaction import fingerprints, secrets_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_mpm.capabilities.facts import Capabilities
    from claude_mpm.config.framework import Framework
    from claude_mpm.engine.claude_transcript import ClaudeRecord
    from claude_mpm.engine.options import Options
    from claude_mpm.journal.exchange import ExchangeFile
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.redaction import Fingerprint
    from claude_mpm.sessions.index import Index
    from claude_mpm.wire import Wire


class SessionRecord:
    """Makes the record of a session, and of each start in it.

    Args:
        folder: the session's folder.
        options: what Claude is started with.
        orchestrator: the orchestrator's name.
        environment: the name of the place.
        place: what the place was made with.
    """

    __slots__ = ("_environment", "_folder", "_options", "_orchestrator", "_place")

    def __init__(
        self,
        folder: SessionFolder,
        options: Options,
        *,
        orchestrator: str,
        environment: str,
        place: dict[str, Any],
    ) -> None:
        self._folder = folder
        self._options = options
        self._orchestrator = orchestrator
        self._environment = environment
        self._place = place

    def new(self, wire: Wire, cwd: str) -> Meta:
        """Return the record of a session in which nothing was started yet."""
        name = self._folder.path.name
        return Meta(
            session_id=name,
            claude_session_id=as_uuid(name),
            orchestrator=self._orchestrator,
            environment=self._environment,
            wire=wire.name,
            cwd=cwd,
            created_at=time.time(),
            options=kept_options(self._options),
            place=self._place,
        )

    def with_start(
        self,
        wire: Wire,
        cwd: str,
        framework: Framework | None,
        index: Index,
        record: ClaudeRecord | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Meta:
        """Return the session's record with one more start.

        Args:
            record: Claude's own record, where it may be asked whether there is a conversation.
            environ: the variables that reach Claude; None for the option `environ`.

        Raises:
            UsageError: a session is to be resumed that there is not.
        """
        known = self._folder.read_meta() if self._folder.meta_file.exists() else None
        if self._options.resume and known is None:
            raise UsageError(f"there is no session {self._folder.path.name} to resume")
        meta = known or self.new(wire, cwd)
        conversation = meta.claude_session_id
        goes_on = False
        if meta.starts:
            from claude_mpm.sessions.status import held_conversation

            conversation = (wire.greets and held_conversation(self._folder)) or conversation
            goes_on = self._goes_on(meta, conversation, index, record)
        start = self._start(known, framework, resumed=goes_on)
        secrets = self._known_secrets(meta, self._environ() if environ is None else environ)
        return msgspec.structs.replace(
            meta,
            claude_session_id=conversation,
            wire=wire.name,
            secrets=secrets,
            starts=[*_cut_back(meta.starts, start.offset), start],
        )

    def _start(self, known: Meta | None, framework: Framework | None, *, resumed: bool) -> Start:
        return Start(
            at=time.time(),
            offset=self._folder.journal.size() if known else 0,
            errors=_length(self._folder.errors),
            host_errors=_length(self._folder.host_errors),
            resumed=resumed,
            framework_sha256=framework.sha256 if framework else "",
            framework_source=framework.source if framework else "",
            agents_source=framework.agents_source if framework else "",
            orchestrator=self._orchestrator,
        )

    def _goes_on(
        self, meta: Meta, conversation: str, index: Index, record: ClaudeRecord | None
    ) -> bool:
        """Return whether Claude can go on with the conversation that it held last.

        It keeps it on the disk with the end of its first turn at the latest; what was begun before
        may be lost with a Claude that was killed.
        """
        is_first = conversation == meta.claude_session_id
        if is_first and any(turn.prompts for turn in index.newest_turns(meta.session_id)):
            return True
        from claude_mpm.sessions.status import has_conversation

        if not has_conversation(self._folder, index):
            return False
        known = record.has_conversation(conversation) if record is not None else None
        return known is not False

    def _environ(self) -> Mapping[str, str]:
        return os.environ if self._options.environ is None else self._options.environ

    def _known_secrets(self, meta: Meta, environ: Mapping[str, str]) -> list[Fingerprint]:
        secrets = secrets_of(environ)
        found = fingerprints(secrets, secrets_key(self._folder)) if secrets else []
        # Those of older releases could be guessed by whoever reads the record.
        return list(dict.fromkeys([*(each for each in meta.secrets if each.shape), *found]))

    def write_framework(self, framework: Framework | None) -> None:
        """Put what Claude is given by file into the session's folder."""
        for file in (self._folder.framework, self._folder.agents):
            file.unlink(missing_ok=True)
        if framework is not None and framework.instructions:
            self._folder.write(self._folder.framework, framework.instructions.encode())
        if framework is not None and framework.agents:
            self._folder.write(self._folder.agents, agents_json(framework.agents))


def _cut_back(starts: list[Start], end: int) -> list[Start]:
    """Return the starts within a journal: a power cut may have taken its end, and their begin."""
    return [msgspec.structs.replace(each, offset=min(each.offset, end)) for each in starts]


def _length(file: ExchangeFile) -> int:
    """Return how long a file is; nothing where what is there is none."""
    try:
        return file.size()
    except (FileNotFoundError, StorageError):  # whoever quotes it says what is wrong
        return 0


def stamped(start: Start, build: Capabilities) -> Start:
    """Return the record of a start with what is known of its build."""
    return msgspec.structs.replace(
        start, claude_version=build.version, claude_limits=build.limits() if build.version else ""
    )


def as_uuid(session_id: str) -> str:
    """Return the UUID for Claude's own record of a new session; Claude takes nothing else."""
    try:
        return str(uuid.UUID(session_id))
    except ValueError:  # a name that another machine may have given to a session there, too
        return str(uuid.uuid4())
