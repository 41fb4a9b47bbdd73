"""Prompts as a person's terminal would send them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTER, ESCAPE, CTRL_C = b"\r", b"\x1b", b"\x03"

# Claude Code takes what is pasted as the person's own words as long as it is short. Longer pieces
# it shows as "[Pasted text]", and marks them for the model as something quoted. So a prompt comes
# in short pieces. (Observed: 2.1.330 marks what has more than 800 characters, or many lines.)
_PIECE_CHARACTERS, _PIECE_LINES = 600, 2
# A prompt that is longer than this is one paste all the same: thousands of pieces take their time.
_MOST_IN_PIECES = 40_000
# Control characters would be keys, and end the paste or do worse.
_NO_KEYS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def typed(prompt: str) -> bytes:
    """Return a prompt as bracketed pastes; it is not sent before `ENTER`."""
    text = prompt.replace("\r\n", "\n").replace("\r", "\n").translate(_NO_KEYS)
    if text.startswith("!"):
        text = f" {text}"  # at the beginning, it would be a command for the shell
    return b"".join(f"\x1b[200~{piece}\x1b[201~".encode() for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    if len(text) > _MOST_IN_PIECES:
        yield text
        return
    piece: list[str] = []
    lines = 0
    for character in text:
        piece.append(character)
        lines += character == "\n"
        if len(piece) >= _PIECE_CHARACTERS or lines >= _PIECE_LINES:
            yield "".join(piece)
            piece, lines = [], 0
    if piece:
        yield "".join(piece)
