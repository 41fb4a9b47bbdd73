"""The command of a container engine, `docker` or one like it, and its errors in one line."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from claude_mpm.errors import LaunchError
from claude_mpm.link.answer import MarkedOutput, last_line
from claude_mpm.link.command import run_short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_mpm.environments.order import Reachable

_PATIENCE = 120.0  # seconds; a start pulls no image unless that was asked for
_PULLING = 3600.0
_OF_LATE = 600.0
_NOISE = re.compile(r"See '.* --help'|Run '.* --help'|Usage:|WARNING: |Error: failed to start cont")
_PREFIX = re.compile(r"^(\S*docker: )?(Error response from daemon: |Error: |Error: Error )+")
# What an engine says, docker's words first and then podman's, and what to do about it.
_ADVICE = (
    (
        r"permission denied while trying to connect|dial unix .* permission denied",
        "this user may not use the engine; join its group (usermod -aG docker USER),"
        " or set DOCKER_HOST to another engine",
    ),
    (
        r"Cannot connect to the Docker daemon|Cannot connect to Podman|error during connect",
        "no engine answers; start it (systemctl start docker),"
        " or set DOCKER_HOST to where it listens",
    ),
    (
        r"no such image|image not known|unable to find image|does not resolve to an image",
        "there is no image {subject} in the engine; get it: {engine} pull {subject}",
    ),
    (
        r"no such container|no container with name",
        "there is no container {subject}; `{engine} ps` lists those that run",
    ),
    (
        r"container .* is not running|can only create exec sessions on running",
        "the container {subject} does not run; start it: {engine} start {subject}",
    ),
    (
        r"network .* not found|unable to find network",
        "there is no such network: {said}; `{engine} network ls` lists those that there are",
    ),
    (
        r'exec: "?sh"?: executable file not found|crun: executable file `sh` not found',
        "the image {subject} has no `sh`, and a session needs one; take an image that has it",
    ),
)


class Engine:
    """Runs an engine's command, on this machine or in another place.

    Args:
        command: the command, with arguments of its own if it has any: "docker", "sudo podman".
        inside: where it is run.
    """

    def __init__(self, command: str, inside: Reachable) -> None:
        self.command = command
        self.words = shlex.split(command)
        self._inside = inside

    @property
    def is_podman(self) -> bool:
        """Whether it is podman's, which knows less of the user of a container."""
        return self.words[-1].rpartition("/")[2].startswith("podman")

    def wrap(self, *words: str) -> list[str]:
        """Return the command of this machine that runs a command of the engine."""
        return self._inside.wrap([*self.words, *words])

    def run(
        self, *words: str, subject: str = "", pulls: bool = False, timeout: float = _PATIENCE
    ) -> str:
        """Run a command of the engine and return what it prints.

        Args:
            subject: the image or container that it is about, for the message.
            pulls: whether it may take the time to load an image.
            timeout: seconds that it may take else.

        Raises:
            LaunchError: it failed; the message says what to do.
        """
        answer = MarkedOutput()
        far = not self._inside.shares_files
        engine = [*self.words, *words]
        command = self._inside.wrap(answer.command(engine) if far else engine)
        try:
            patience = _PULLING if pulls else timeout
            done = run_short(command, answer if far else None, data=b"", timeout=patience)
        except FileNotFoundError as error:
            raise LaunchError(self._missing(command[0])) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LaunchError(f"{self.command}: {error}; does its engine work?") from error
        printed = done.stdout
        status = answer.status if far else done.returncode
        stderr = done.stderr.decode("utf-8", "replace")
        if status is None and not stderr.strip():  # the place has not run it, and said why
            stderr = last_line(printed or answer.before)
        if status == 127 and "not found" in stderr:
            raise LaunchError(self._missing(f"{self.words[0]} there"))
        if status != 0:
            raise LaunchError(f"{self.command}: {self.explain(stderr, subject)}")
        return printed.decode("utf-8", "replace").strip()

    def show(self, *words: str, variables: Mapping[str, str]) -> None:
        """Run a command of the engine with its output on standard error.

        Args:
            variables: further variables of its environment.

        Raises:
            LaunchError: it failed, and has said why.
        """
        command = self.wrap(*words)
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                env={**os.environ, **variables},
                check=False,
            )
        except FileNotFoundError as error:
            raise LaunchError(self._missing(command[0])) from error
        if done.returncode:
            raise LaunchError(f"{self.command} {words[0]} failed; it says why above")

    def inspect(self, container: str, what: str) -> str:
        """Return something of a container, as a template of the engine names it."""
        return self.run("container", "inspect", "--format", what, container, subject=container)

    def runs(self, container: str) -> bool:
        """Return whether a container runs."""
        try:
            return self.inspect(container, "{{.State.Running}}") == "true"
        except LaunchError:
            return False

    def is_there(self, container: str) -> bool | None:
        """Return whether a container exists, running or not; None if the engine does not say."""
        which = ("--all", "--quiet", "--no-trunc", "--filter", f"id={container}")
        try:
            return container in self.run("ps", *which).split()
        except LaunchError:
            return None

    def signal(self, container: str, pid: int, signum: int) -> None:
        """Send a signal to a process of a container; one that is gone already is no error."""
        kill = f"kill -s {signal.Signals(signum).name[3:]} {pid}"
        self.quietly("exec", container, "sh", "-c", kill)

    def events(self, container: str) -> str:
        """Return what has happened to a container of late, a line for each; it may be gone."""
        line = "{{.Action}} {{.Actor.Attributes.signal}} {{.Actor.Attributes.exitCode}}"
        now = time.time()  # with its fraction: a whole number would leave the last second out
        window = ("--since", f"{now - _OF_LATE:.9f}", "--until", f"{now:.9f}")
        which = ("--filter", f"container={container}")
        return self.quietly("events", *window, *which, "--format", line)

    def quietly(self, *words: str, timeout: float = _PATIENCE) -> str:
        """Run a command on a container that may be gone; return what it prints, or nothing."""
        try:
            return self.run(*words, timeout=timeout)
        except LaunchError:
            return ""

    def explain(self, stderr: str, subject: str) -> str:
        """Return in one line what an engine's error means and what to do next."""
        lines = [line.strip() for line in stderr.splitlines() if not _NOISE.match(line.strip())]
        said = _PREFIX.sub("", next((line for line in reversed(lines) if line), "it failed"))
        for pattern, advice in _ADVICE:
            if re.search(pattern, stderr, re.IGNORECASE):
                return advice.format(said=said, subject=subject, engine=self.command)
        return said

    def _missing(self, command: str) -> str:
        return (
            f"{self.command}: there is no command {command}; install Docker or Podman,"
            " or name the engine's command with the option `engine`"
        )


def bind(source: str, target: str, *, read_only: bool = False) -> str:
    """Return the value of `--mount` for a folder or a file; the engine reads it as CSV."""
    fields = ["type=bind", f"src={source}", f"dst={target}"]
    fields += ["readonly"] if read_only else []
    return ",".join(map(_csv, fields))


def hide(target: str) -> str:
    """Return the value of `--mount` that shows an empty folder in the place of a mounted one."""
    # A temporary file system would take over the mode of what it hides, which is root's alone then.
    return ",".join(map(_csv, ("type=volume", f"dst={target}")))


def _csv(field: str) -> str:
    return '"' + field.replace('"', '""') + '"' if set(field) & set(',"\n') else field


def words_of(value: str | Sequence[str]) -> list[str]:
    """Return arguments, given one by one or as a line of a shell."""
    return shlex.split(value) if isinstance(value, str) else list(value)
