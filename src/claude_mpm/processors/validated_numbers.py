"""Validation of the numbers in a journal: impossible values count as missing.

JSON has numbers that fit neither into the index nor into a sum, and one of them must not make the
rest of a session unreadable.
"""

from __future__ import annotations

from datetime import datetime

_MAX_COUNT, _MAX_AMOUNT = 2**53, 1e15
# The counts of tokens in a record, with their names in the model's API.
USAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_input_tokens",
    "cache_write_tokens": "cache_creation_input_tokens",
}
_KINDS_OF_TOKENS = (
    "inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens",
)  # fmt: skip


def count(value: object) -> int:
    """Return a count, such as of tokens; 0 if it is not valid."""
    return value if isinstance(value, int) and 0 <= value <= _MAX_COUNT else 0


def amount(value: object) -> float | None:
    """Return an amount, such as of seconds or dollars; None if it is not valid."""
    return value if isinstance(value, (int, float)) and 0 <= value <= _MAX_AMOUNT else None


def time_of(timestamp: str | None) -> float | None:
    """Return a time such as "2026-11-22T10:47:26Z" in seconds since the epoch; None if invalid."""
    try:
        return datetime.fromisoformat(timestamp).timestamp() if timestamp else None
    except (ValueError, OverflowError):  # a year out of range
        return None


def moment(timestamp: str | None) -> float | None:
    """Return a time as `time_of` does; None if it is before the epoch."""
    return amount(time_of(timestamp))


def tokens(model_usage: object) -> int:
    """Return the sum of the tokens of all models, as Claude reports them; 0 if it does not."""
    models = model_usage.values() if isinstance(model_usage, dict) else ()
    usages = [model for model in models if isinstance(model, dict)]
    return count(sum(count(usage.get(name)) for usage in usages for name in _KINDS_OF_TOKENS))
