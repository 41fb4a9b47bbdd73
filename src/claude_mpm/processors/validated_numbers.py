"""Numbers as a journal claims them: what no turn can have counts as not told.

JSON has numbers that neither the index nor a sum can hold, and one of them must not cost a session
all that comes after.
"""

from __future__ import annotations

from datetime import datetime

_MOST_COUNTED, _MOST = 2**53, 1e15
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
    """Return a count, such as that of tokens; 0 where it cannot be one."""
    return value if isinstance(value, int) and 0 <= value <= _MOST_COUNTED else 0


def amount(value: object) -> float | None:
    """Return an amount, such as that of seconds or dollars; None where it cannot be one."""
    return value if isinstance(value, int | float) and 0 <= value <= _MOST else None


def time_of(timestamp: str | None) -> float | None:
    """Return a time such as "2026-11-22T10:47:26Z" in seconds since the epoch; None if none."""
    try:
        return datetime.fromisoformat(timestamp).timestamp() if timestamp else None
    except (ValueError, OverflowError):  # a year that no clock has
        return None


def moment(timestamp: str | None) -> float | None:
    """Return a time as `time_of` does; None where nothing can have happened then."""
    return amount(time_of(timestamp))


def tokens(model_usage: object) -> int:
    """Return the sum of all tokens in what Claude tells of each model; 0 where it tells nothing."""
    models = model_usage.values() if isinstance(model_usage, dict) else ()
    used = [model for model in models if isinstance(model, dict)]
    return count(sum(count(each.get(name)) for each in used for name in _KINDS_OF_TOKENS))
