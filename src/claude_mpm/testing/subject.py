"""What a contract works with: sessions of one place, and what is left of them."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Self

from claude_mpm.journal.layout import SessionFolder, session_path
from claude_mpm.testing.driver import Drive, orchestrator_of, spawn
from claude_mpm.testing.import_spec import name_of
from claude_mpm.testing.residue import Remains
from claude_mpm.testing.script import Call
from claude_mpm.testing.scripted_model import ScriptedModel

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from claude_mpm.orchestration.orchestrator import MPMOrchestrator
    from claude_mpm.testing.request import Request

PATIENCE = 60.0  # seconds until something that has to happen counts as not happening
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25  # seconds before it is looked at again


class Subject:
    """Makes sessions of the place that is checked, and ends them all.

    Args:
        make: makes a fresh place, or a fresh orchestrator of the options that it is given.
        is_place: which of the two.
        folder: an empty folder for everything that is kept.
        model_port: the port of the model; 0 for any.

    Attributes:
        model: what the real Claude Code talks to.
    """

    def __init__(
        self, make: Callable[..., Any], *, is_place: bool, folder: Path, model_port: int = 0
    ) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self.model = ScriptedModel(port=model_port)
        self._make = make
        self._is_place = is_place
        self._made: list[MPMOrchestrator] = []
        self._complaints = folder / "complaints"
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.model.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as ends:  # each of them, whatever the others raise
            ends.callback(self.model.stop)
            for claude in self._made:
                ends.callback(claude.stop)
            for child in self._children:
                ends.callback(child.wait)
                ends.callback(child.kill)

    # --- sessions ---------------------------------------------------------------------------

    def claude(self, *, environ: Mapping[str, str] | None = None, **options: Any) -> Any:
        """Return an orchestrator of the real Claude Code that may use Bash; it is not started."""
        made = orchestrator_of(self._make, self._is_place, self._options(environ, options))
        self._made.append(made)
        return made

    def program(self, script: str, **options: Any) -> Any:
        """Return a started orchestrator of a shell script in the place of Claude Code."""
        program = {
            "wire": "plain-text",
            "claude_path": "/bin/sh",
            "claude_args": ["-c", script],
            "use_framework": False,
        }
        return self.started(**{**program, **options})

    def started(self, **options: Any) -> Any:
        """Return an orchestrator that runs."""
        claude = self.claude(**options)
        assert claude.start(), f"start() returned False: {claude.error}"
        return claude

    def driven(self, prompt: str, **options: Any) -> tuple[subprocess.Popen[bytes], str]:
        """Start a session in another process; return it and the session's name."""
        session = str(uuid.uuid4())
        try:
            make = name_of(self._make)
        except ValueError as error:
            raise AssertionError(str(error)) from error
        drive = Drive(
            path=sys.path,
            make=make,
            is_place=self._is_place,
            options=self._options(None, {"session_id": session, **options}),
            prompt=prompt,
        )
        with self._complaints.open("ab") as errors:
            self._children.append(spawn(drive, errors))
        return self._children[-1], session

    def complaint(self) -> str:
        """Return the last line of what other processes wrote to standard error."""
        lines = self._complaints.read_text("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it did not say why"

    def _options(
        self, environ: Mapping[str, str] | None, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        defaults = {
            "state_dir": str(self.state_dir),
            "environ": self.model.environment(
                self.folder / "home", CLAUDE_CODE_MAX_RETRIES="1", **(environ or {})
            ),
            "claude_args": ["--allowedTools=Bash"],
            "permission_mode": "default",
        }
        return {**defaults, **options}

    # --- what happens in them ---------------------------------------------------------------

    def asks(self, claude: Any, *script: Any) -> Any:
        """Give Claude a prompt that the model answers with a script; return the turn."""
        word = f"check-{uuid.uuid4().hex}"
        self.model.on(word, *script)
        return claude.ask(f"Please do {word}.", timeout=PATIENCE)

    def says(self, claude: Any, text: str) -> None:
        """Let Claude answer a prompt with a text, and see that it arrives."""
        turn = self.asks(claude, text)
        over(turn)
        assert turn.verdict.ok, f"a turn did not complete: {turn.verdict}{self._unheard()}"
        assert turn.text == text, f"Claude said {text!r}, and {shown(turn.text)} arrived"

    def released(self, turn: Any) -> Any:
        """Continue the model whenever it stalls, until a turn has ended; return the turn."""

        def over_at_last() -> bool:
            self.model.release()
            return bool(turn.done)

        until(over_at_last, "a turn was not over")
        return turn

    def runs(self, claude: Any, command: str) -> str:
        """Let Claude run a command with its Bash tool, and return what it printed."""
        printed: list[str] = []

        def take(request: Request) -> str:
            printed.extend(result.text for result in request.tool_results)
            return "Done."

        turn = self.asks(claude, Call("Bash", command=command), take)
        over(turn)
        assert turn.verdict.ok, f"a turn did not complete: {turn.verdict}{self._unheard()}"
        assert printed, "Claude ran no command"
        return printed[0]

    def _unheard(self) -> str:
        if self.model.requests:
            return ""
        return (
            f"; no request came to {self.model.url}, where the scripted model of the check"
            " listens: the place has to reach this machine's loopback interface"
        )

    def session_folder(self, claude: Any) -> SessionFolder:
        """Return the folder of an orchestrator's session."""
        return self.folder_of(claude.session_id)

    def folder_of(self, session_id: str) -> SessionFolder:
        """Return the folder of a session by its name."""
        return SessionFolder(session_path(self.state_dir, session_id))

    def remains(self, claude: Any) -> Remains:
        """Return what there is of a session outside its journal."""
        return Remains(self.session_folder(claude))


def until(happened: Callable[[], object], what: str | Callable[[], str]) -> None:
    """Wait until something has happened; fail with `what` when it takes too long."""
    deadline = time.monotonic() + PATIENCE
    never, pause = threading.Event(), _FIRST_PAUSE
    while not happened():
        late = time.monotonic() > deadline
        assert not late, f"{what if isinstance(what, str) else what()} (waited {PATIENCE:g} s)"
        never.wait(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def over(turn: Any) -> Any:
    """Wait for the end of a turn and return it."""
    try:
        return turn.wait(PATIENCE)
    except TimeoutError as error:
        raise AssertionError(f"a turn was not over after {PATIENCE:g} s") from error


def lines_to_the_end(claude: Any) -> list[str]:
    """Return all lines until the output has ended."""
    until(lambda: not claude.running, "the end of the output was not told")
    found = []
    while (line := claude.get_output(timeout=0)) is not None:
        found.append(line)
    return found


def ended(folder: SessionFolder) -> None:
    """Wait until it is known how Claude ended."""
    until(lambda: folder.exit_status() is not None, f"there is no exit status in {folder.path}")


def shown(value: object, length: int = 200) -> str:
    """Return a value as a message shows it: not longer than a few lines."""
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}… ({len(text)} characters)"
