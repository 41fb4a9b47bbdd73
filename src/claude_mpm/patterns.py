"""Regular expressions that are compiled when they are first used.

To compile those of a module may take longer than to import it, on the processor that a Claude needs
that is just starting, and most sessions use few of them.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, Generic, cast


def lazy_pattern(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """Return what `re.compile` returns, or as good as that: it is compiled at its first use.

    Args:
        pattern: a valid one; an error in it is raised at its first use.
        flags: as for `re.compile`.
    """
    return cast("re.Pattern[AnyStr]", _LazyPattern(pattern, flags))


class _LazyPattern(Generic[AnyStr]):
    """A regular expression whose methods are looked up once, when they are first called."""

    def __init__(self, pattern: AnyStr, flags: int) -> None:
        self._pattern: AnyStr = pattern
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the compiled expression, and keep it for the next call."""
        if name.startswith("__"):  # such as what `copy` looks for
            raise AttributeError(name)
        found = getattr(re.compile(self._pattern, self._flags), name)
        setattr(self, name, found)
        return found
