"""A real terminal for tests: a pane of a tmux server of its own, with a shell in it."""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import time
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SECONDS = 60.0


class Pane:
    """Types into a shell on a terminal, and waits for what is on its screen.

    Args:
        tmux: the command.
        folder: an empty folder for what is needed beside it.
        environ: the shell's whole environment.
        cwd: the folder that it begins in.
        columns, rows: the size of the terminal.
    """

    def __init__(
        self,
        tmux: str,
        folder: Path,
        environ: Mapping[str, str],
        *,
        cwd: Path,
        columns: int = 100,
        rows: int = 30,
    ) -> None:
        folder.mkdir()
        self._folder = folder
        self._command = [tmux, "-L", f"mpm-{uuid.uuid4().hex[:12]}", "-f", "/dev/null"]
        self._environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        shell = ["env", "-i", *(f"{name}={value}" for name, value in environ.items())]
        # A shell with job control; tmux says what terminal it is.
        words = shlex.join([*shell, "PS1=ready$ ", "TERM=screen-256color", "bash", "--norc", "-i"])
        size = ("-x", str(columns), "-y", str(rows))
        self.tmux("new-session", "-d", *size, "-c", str(cwd), words)
        self._watch()

    def _watch(self) -> None:
        """Have all that is shown copied into a FIFO, so that we can wait for a change."""
        changes = self._folder / "changes"
        os.mkfifo(changes)
        self._changes = os.open(changes, os.O_RDONLY | os.O_NONBLOCK)
        self.tmux("pipe-pane", f"cat >{shlex.quote(str(changes))}")
        self.expect("ready$")

    def close(self) -> None:
        """Close the window, as a person does; safe to call twice."""
        if self._changes >= 0:
            self.tmux("kill-server")
            os.close(self._changes)
            self._changes = -1

    def tmux(self, *words: str) -> str:
        """Run a tmux command and return what it prints."""
        done = subprocess.run(
            [*self._command, *words],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        return done.stdout

    def type(self, text: str) -> None:
        """Type a text; it has no line ends."""
        self.tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Press keys by the names that tmux has for them: Enter, Escape, C-c."""
        self.tmux("send-keys", *keys)

    def paste(self, text: str) -> None:
        """Paste a text as a terminal does: between brackets, where the program asked for them."""
        self.tmux("set-buffer", text)
        self.tmux("paste-buffer", "-p")

    def enter(self, text: str) -> None:
        """Type a line."""
        self.type(text)
        self.press("Enter")

    def say(self, text: str, *, shown: str = "") -> None:
        """Type a prompt for Claude and send it, once it is shown: a quick Enter is a line end.

        Where a busy Claude has taken it for one all the same, it is pressed again.

        Args:
            text: the prompt, or the rest of it.
            shown: what is on the screen then, and not before; the text by default.
        """
        self.type(text)
        shown = shown or text
        deadline = time.monotonic() + SECONDS
        while shown not in self._line_to_type_in:
            assert time.monotonic() < deadline, f"{shown!r} is not shown:\n{self.screen}"
            self._wait_for_change()
        self.settle(0.1)
        self.press("Enter")
        while not self._is_sent(shown):
            assert time.monotonic() < deadline, f"{text!r} is not sent:\n{self.screen}"
            self.press("Enter")

    def _is_sent(self, text: str, seconds: float = 5.0) -> bool:
        """Return whether a text leaves the line to type in."""
        deadline = time.monotonic() + seconds
        while text in self._line_to_type_in:
            if time.monotonic() > deadline:
                return False
            self._wait_for_change()
        return True

    @property
    def _line_to_type_in(self) -> str:
        """Claude's, with what is below; empty where there is none, and the shell's line is shown.

        What an earlier Claude has left on the screen is above that.
        """
        _, mark, below = self.screen.rpartition("❯")
        return below if mark and "ready$" not in below else ""

    @property
    def screen(self) -> str:
        """What can be read on the screen."""
        return self.tmux("capture-pane", "-p")

    def is_(self, *flags: str) -> tuple[str, ...]:
        """Return what tmux knows of the terminal, such as `alternate_on`; `1` is yes."""
        wanted = ",".join(f"#{{{flag}}}" for flag in flags)
        return tuple(self.tmux("display-message", "-p", wanted).strip().split(","))

    def expect(self, text: str, *, gone: str = "") -> str:
        """Wait until a text is on the screen, and another is not; return the screen."""
        deadline = time.monotonic() + SECONDS
        while True:
            screen = self.screen
            if text in screen and not (gone and gone in screen):
                return screen
            assert time.monotonic() < deadline, f"{text!r} is not shown:\n{screen}"
            self._wait_for_change()

    def is_shown(self, text: str, seconds: float) -> bool:
        """Return whether a text is on the screen, or comes there within some seconds."""
        deadline = time.monotonic() + seconds
        while text not in self.screen:
            if time.monotonic() > deadline:
                return False
            self._wait_for_change()
        return True

    def expect_flags(self, flags: Sequence[str], values: Sequence[str]) -> None:
        """Wait until tmux knows this of the terminal."""
        deadline = time.monotonic() + SECONDS
        while (known := self.is_(*flags)) != tuple(values):
            assert time.monotonic() < deadline, f"{flags} are {known}"
            self._wait_for_change()

    def settle(self, seconds: float = 1.0) -> None:
        """Wait until nothing more is shown for a while."""
        while self._wait_for_change(seconds):
            pass

    def _wait_for_change(self, seconds: float = 0.2) -> bool:
        """Wait until something is shown; the end of a program, for one, may show nothing."""
        if not select.select([self._changes], [], [], seconds)[0]:
            return False
        return bool(os.read(self._changes, 1 << 16))

    def run(self, command: str) -> str:
        """Run a command in the shell to its end, and return what it prints."""
        output = self._folder / uuid.uuid4().hex
        done = f"done-{output.name}"
        signal = shlex.join([*self._command, "wait-for", "-S", done])
        self.enter(f"{command} >{shlex.quote(str(output))} 2>&1; {signal}")
        self.tmux("wait-for", done)
        return output.read_text("utf-8")

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal."""
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))
