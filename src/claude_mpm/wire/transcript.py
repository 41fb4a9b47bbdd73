"""The transcripts that Claude Code keeps of its conversations, read as one more journal.

They lie in `$CLAUDE_CONFIG_DIR/projects/<folder>/<session>.jsonl`. Their `user` and `assistant`
lines carry the same messages as the `stream-json` wire; the rest is book-keeping of Claude Code
and comes as events of an unknown kind.
"""

from __future__ import annotations

from claude_mpm.wire.stream_json import StreamJson


class Transcript(StreamJson):
    """Reads Claude Code's own record; nothing is ever written to it."""

    name = "transcript"
