"""Every error of claude-mpm.

    MPMError
    ├── UsageError            a call or command line that cannot be meant        (exit 2)
    │   ├── RegistrationError     a name that is taken, a class that is no orchestrator
    │   ├── UnknownOrchestrator   a name that nothing registered
    │   ├── UnknownSession        a session that is not on this machine
    │   ├── NotOwner              a session that another claude-mpm has
    │   └── QuestionOver          a question that is answered or withdrawn       (exit 1)
    ├── ClaudeNotFound        there is no `claude` to run                        (exit 3)
    ├── ClaudeTooOld          the `claude` there is cannot be served honestly    (exit 3)
    ├── SettingsError         a setting that is unknown or has a wrong value     (exit 4)
    ├── FrameworkError        instructions or agents that cannot be used         (exit 5)
    ├── LaunchError           the place refused to start Claude                  (exit 1)
    ├── BudgetExceeded        a prompt for which there is no money or token left  (exit 1)
    ├── SessionEnded          input for a session that takes none any more       (exit 1)
    ├── StorageError          a folder or disk that does not take what is kept   (exit 1)
    └── TurnFailed            `Turn.check()` on a turn that did not complete     (exit 1)

Each message says what happened, where, and what to do next; `exit_status` is what the command
line ends with.
"""

from __future__ import annotations


class MPMError(Exception):
    """The base of every error that claude-mpm raises."""

    exit_status = 1


class UsageError(MPMError, ValueError):
    """A call or a command line that cannot be meant."""

    exit_status = 2


class RegistrationError(UsageError, TypeError):
    """An orchestrator that cannot be registered, or a plugin that cannot be loaded."""


class UnknownOrchestrator(UsageError, LookupError):
    """A name under which no orchestrator is registered."""


class UnknownSession(UsageError, LookupError):
    """A session id that is not on this machine, or a prefix of several."""


class NotOwner(UsageError):
    """A session that another claude-mpm has, which alone may start its Claude."""


class QuestionOver(UsageError):
    """An answer to a question that has its answer already, or that Claude no longer asks."""

    exit_status = 1


class ClaudeNotFound(MPMError, FileNotFoundError):
    """There is no `claude` command where it was looked for."""

    exit_status = 3


class ClaudeTooOld(MPMError):
    """The build of Claude Code lacks what nothing can be promised without."""

    exit_status = 3


class SettingsError(MPMError, ValueError):
    """A setting that is unknown or has a value of the wrong kind."""

    exit_status = 4


class FrameworkError(MPMError, ValueError):
    """Framework instructions or agent files that are missing or cannot be used."""

    exit_status = 5


class LaunchError(MPMError, OSError):
    """The place refused to start Claude."""


class BudgetExceeded(MPMError):
    """The budget of a session or of the day is used up, and a prompt was not let in."""


class SessionEnded(MPMError, BrokenPipeError):
    """Input was given to a session that takes none any more."""


class StorageError(MPMError, OSError):
    """A folder or a disk did not take what had to be kept."""


class TurnFailed(MPMError):
    """A turn did not complete; the verdict says why."""
