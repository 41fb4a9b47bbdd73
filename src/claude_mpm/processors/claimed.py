"""Numbers as a journal claims them: what no turn can have counts as not told.

JSON has numbers that neither the index nor a sum can hold, and one of them must not cost a session
all that comes after.
"""

from __future__ import annotations

_MOST_COUNTED, _MOST = 2**53, 1e15


def count(value: object) -> int:
    """Return a count, such as that of tokens; 0 where it cannot be one."""
    return value if isinstance(value, int) and 0 <= value <= _MOST_COUNTED else 0


def amount(value: object) -> float | None:
    """Return an amount, such as that of seconds or dollars; None where it cannot be one."""
    return value if isinstance(value, int | float) and 0 <= value <= _MOST else None
