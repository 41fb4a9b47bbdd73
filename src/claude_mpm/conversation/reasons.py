"""Why turns were ended from here, kept for whoever judges their record later.

Claude's own results say no more than that a turn was interrupted. Each reason is a line of
`reasons.jsonl` in the part of the session's folder that no place sees.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.conversation.verdict import Circumstances, judge
from claude_mpm.errors import StorageError
from claude_mpm.journal.line_log import append_line, open_log, whole_lines
from claude_mpm.journal.storage import storage_errors
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping
    from pathlib import Path

    from claude_mpm.conversation.verdict import Verdict
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.records import TurnRecord


class _Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was known of a turn when it was ended; the fields are those of `Circumstances`."""

    prompt: str
    timed_out: bool = False
    stalled: str = ""
    exceeded: str = ""
    budget: str = ""


REASONS = frozenset(_Reason.__struct_fields__) - {"prompt"}


def keep_reason(
    folder: SessionFolder, prompt: str, known: Mapping[str, Any], logger: logging.Logger
) -> None:
    """Keep why a turn is ended; where the disk does not take it, the turn is ended anyway.

    Args:
        prompt: the identity of its prompt.
        known: what is known of it; what is no reason is left out.
        logger: for what could not be kept.
    """
    reason = _Reason(prompt, **{name: known[name] for name in REASONS & known.keys()})
    try:
        with storage_errors(folder.reasons):
            _add(folder.reasons, msgspec.json.encode(reason) + b"\n")
    except StorageError as error:
        logger.warning("why a turn was ended is not kept: %s", error)


def _add(file: Path, line: bytes) -> None:
    log = open_log(file)
    try:
        append_line(log, line)
    finally:
        os.close(log)


def kept_reasons(folder: SessionFolder) -> dict[str, dict[str, Any]]:
    """Return why turns were ended, each as fields of `Circumstances`, by the identity of a prompt.

    Raises:
        StorageError: the file cannot be read.
    """
    lines: list[bytes] = []
    with storage_errors(folder.reasons), suppress(FileNotFoundError):
        lines = whole_lines(folder.reasons.read_bytes())
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        try:
            reason = msgspec.json.decode(line, type=_Reason)
        except NOT_JSON:  # of a later release, which has other kinds
            continue
        known = msgspec.structs.asdict(reason)
        prompt = known.pop("prompt")
        given = {name: value for name, value in known.items() if value}
        found.setdefault(prompt, {}).update(given)
    return found


def recorded_verdict(
    turn: TurnRecord, reasons: Mapping[str, Mapping[str, Any]], *, schema: bool
) -> Verdict:
    """Judge a turn by its record, and by why it was ended.

    Args:
        reasons: as `kept_reasons` returns them.
        schema: whether a value for a JSON schema was asked for.
    """
    known: dict[str, Any] = {}
    for prompt in turn.prompts:
        known |= reasons.get(prompt, {})
    return judge([turn], Circumstances(schema=schema, **known))
