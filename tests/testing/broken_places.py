"""Places and orchestrators that each break one promise; the check has to find it."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from claude_mpm import MPMOrchestrator
from claude_mpm.environments.base import spawn
from claude_mpm.environments.local import Local
from claude_mpm.environments.order import host_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_mpm.environments.order import Order


class Forgetful(Local):
    """Does not hand on every variable."""

    def environ(self, asked: Mapping[str, str] | None) -> dict[str, str]:
        known = super().environ(asked)
        return {name: value for name, value in known.items() if not name.startswith("CHECK_")}


class Talkative(Local):
    """Hands variables on as arguments, which everybody can read."""

    def start(self, order: Order) -> Any:
        pairs = [f"{name}={value}" for name, value in order.environ.items()]
        command = ["env", *pairs, "sh", "-c", 'sleep 0.2; exec "$@"', "sh", *host_command(order)]
        return spawn(self.name, ["sh", "-c", '"$@"; exit', "sh", *command], order)


class Wilful(Local):
    """Works where it likes."""

    def working_folder(self, asked: str | None) -> str:
        return "/"


class Careless(Local):
    """Starts Claude wherever it is."""

    def start(self, order: Order) -> Any:
        order.folder.expected_place.unlink()
        return super().start(order)


# A parent that waits, and a child that the kernel kills when the parent dies.
_HANGS_ON_ITS_PARENT = """
import ctypes, os, signal, sys
if os.fork():
    os.wait()
else:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    os.execvp(sys.argv[1], sys.argv[1:])
"""


class Frail(Local):
    """Keeps the host below a client, and takes it along when it dies."""

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return [sys.executable, "-c", _HANGS_ON_ITS_PARENT, *argv]


class OnAScreen(Local):
    """Declares what it may, and what it may not."""

    not_meant: ClassVar[dict[str, str]] = {
        "standard-error-arrives": "a screen shows it",
        "claude-answers": "no wish to",
    }


class Selective(MPMOrchestrator):
    """Loses lines."""

    def _process_output_line(self, line: str) -> None:
        if not line.endswith("9999"):
            super()._process_output_line(line)


class Untidy(MPMOrchestrator):
    """Leaves a thread and a descriptor behind with each session."""

    left: ClassVar[list[int]] = []
    go_on = threading.Event()

    def stop(self) -> None:
        super().stop()
        threading.Thread(target=self.go_on.wait, name="left-behind", daemon=True).start()
        self.left.append(os.open("/dev/null", os.O_RDONLY))


class Impatient(MPMOrchestrator):
    """Cannot be stopped twice."""

    def stop(self) -> None:
        if self.process is not None and not self.running:
            raise RuntimeError("stopped already")
        super().stop()


class Hopeless(MPMOrchestrator):
    """Says nothing of why it does not start."""

    def start(self) -> bool:
        return False
