"""A session in a container of its own: its start, and its process as a controller sees it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.environments.container import LABEL
from claude_mpm.environments.engine import Engine
from claude_mpm.environments.linked import write_variables
from claude_mpm.environments.local import Local
from claude_mpm.environments.order import HOST_SCRIPT
from claude_mpm.environments.process import AdoptedHost
from claude_mpm.errors import LaunchError, StorageError
from claude_mpm.journal.folder_watch import subscribe
from claude_mpm.journal.layout import Container
from claude_mpm.validation import error_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_mpm.environments.container import Recipe
    from claude_mpm.environments.order import Order
    from claude_mpm.journal.layout import SessionFolder

_TO_BEGIN = 60.0  # seconds
_TO_BE_REMOVED = 30.0
_LOOK_AGAIN = 0.1
_TO_END = 15.0
_LABELLED = '{{index .Config.Labels "%s"}}' % LABEL  # noqa: UP031 - braces are the engine's own
_NO_MEMORY = "the container ran out of memory; give it more"
_KILLED = 128 + signal.SIGKILL


class ContainerHost(AdoptedHost):
    """The host of a session in a container of its own, which ends and is removed with it.

    Args:
        folder: the session's; the container sees it, too.
        engine: whose container it is.
        container: its id.
    """

    def __init__(self, folder: SessionFolder, engine: Engine, container: str) -> None:
        super().__init__(folder)
        self._engine = engine
        self._container = container

    def poll(self) -> int | None:
        """Return the exit status once the container is gone; None while it runs."""
        if self.returncode is None and (self._folder.exit_status() is not None or self._is_dead()):
            self.returncode = self._end()
        return self.returncode

    def kill(self) -> None:
        """End the container at once, with all that is in it."""
        if self.poll() is None:
            self._engine.quietly("kill", self._container)

    def _signal(self, pid: int, signum: int) -> None:
        self._engine.signal(self._container, pid, signum)

    def _is_dead(self) -> bool:
        if self._folder.alive.exists():
            return self._folder.host_is_dead()
        # It is removed right before the exit status is written.
        return not self._engine.runs(self._container)

    def _end(self) -> int:
        """Wait until the container is gone, and return how Claude ended."""
        code = self._engine.quietly("wait", self._container, timeout=_TO_END)
        if self._engine.runs(self._container):  # though what runs in it says that it has ended
            self._engine.quietly("kill", self._container)
        wait_until_removed(self._engine, self._container)
        if self._engine.is_there(self._container) is False:
            made = Container(self._container, self._engine.command, gone=True)
            with suppress(StorageError):  # a full disk; it is asked for again
                self._folder.note_container(made)
        status = self._folder.exit_status()
        if status is not None:
            return status
        self._note_reason()
        return int(code) if code.isdigit() and code != "0" else _KILLED

    def _note_reason(self) -> None:
        """Keep why the container died, beside what Claude itself had to say."""
        happened = self._engine.events(self._container)
        signals = re.findall(r"^kill (\d+)", happened, re.MULTILINE)
        by = f" with signal {signals[-1]}" if signals else ""
        reason = _NO_MEMORY if "oom" in happened else f"the container was killed{by}"
        with suppress(StorageError):  # what ran in it may have put a link in the file's place
            self._folder.errors.append(f"{reason}\n".encode())


def end_container(folder: SessionFolder) -> bool:
    """End the container of a session, if one runs; return whether one did.

    What runs in it may say that it has ended, and its host's files may be gone: the engine knows.

    Raises:
        StorageError: others may have written what the session's folder says.
        LaunchError: the container is another session's, or the engine does not end it.
    """
    made = folder.read_container()
    if made is None or made.gone:
        return False
    folder.check()
    engine = Engine(made.engine, Local())
    ran = engine.is_there(made.id)
    if ran:
        check_container(engine, made.id, folder.path.name)
        engine.run("rm", "--force", made.id)
        wait_until_removed(engine, made.id)
    if ran is not None:
        folder.note_container(msgspec.structs.replace(made, gone=True))
    return bool(ran)


def start_container(
    engine: Engine, recipe: Recipe, order: Order, expected: Mapping[str, str]
) -> ContainerHost:
    """Make a session's container and start the host in it.

    Raises:
        LaunchError: the engine refused, or there is no Claude in the image.
    """
    folder = order.folder
    _check_access(order.cwd, folder.path, recipe.user)
    if folder.is_flat:
        raise LaunchError(
            f"{engine.command}: an earlier release made session {folder.path.name}, and a container"
            " would see all of its folder; begin a new session"
        )
    with suppress(FileExistsError):
        folder.claude.path.mkdir(mode=0o700)
    folder.write(folder.host_script, Path(HOST_SCRIPT).read_bytes())
    write_variables(order)
    made = engine.run(
        *recipe.create(order, str(folder.path), str(folder.claude)),
        subject=recipe.image,
        pulls=recipe.pull != "never",
    )
    container = made.split()[-1]
    try:
        folder.note_container(Container(container, engine.command))
        uid = recipe.user.partition(":")[0]
        folder.expect_place({**expected, "uid": uid, "container": container})
        hand_over(folder, recipe.user)
        engine.run("start", container, subject=recipe.image)
        _wait_for_host(folder, engine, container)
    except BaseException:
        engine.quietly("rm", "--force", container)
        wait_until_removed(engine, container)
        raise
    return ContainerHost(folder, engine, container)


def hand_over(folder: SessionFolder, user: str) -> None:
    """Let the container's user own what it shares; only a privileged controller needs to."""
    uid = int(user.partition(":")[0])
    if os.geteuid() == 0 != uid and folder.exchange.stat().st_uid != uid:
        shared = (str(folder.given), str(folder.exchange))
        subprocess.run(["chown", "-Rh", user, *shared], check=True)  # no link is followed


def check_container(engine: Engine, container: str, session: str) -> None:
    """Make sure that a container is a session's own, as its label says.

    Raises:
        LaunchError: it is another's.
    """
    named = engine.quietly("container", "inspect", "--format", _LABELLED, container)
    if named and named != session:
        raise LaunchError(f"{engine.command}: the container {container} is not session {session}'s")


def _check_access(cwd: str, session: Path, user: str) -> None:
    """Refuse folders on the container's way that its user may not enter; root may have made them.

    Raises:
        LaunchError: it may not.
    """
    if os.geteuid() != 0 or not cwd:
        return
    uid, gid = map(int, user.split(":"))
    for folder in (Path(cwd), *(each for each in session.parents if each.is_relative_to(cwd))):
        if folder.is_dir() and not _may_enter(folder, uid, gid):
            raise LaunchError(
                f"docker: the container's user {user} may not enter {folder};"
                " choose another folder with `cwd`, or another `user`"
            )


def _may_enter(folder: Path, uid: int, gid: int) -> bool:
    found = folder.stat()
    shift = 6 if uid == found.st_uid else 3 if gid == found.st_gid else 0
    return uid == 0 or (found.st_mode >> shift) & 0o5 == 0o5


def wait_until_removed(engine: Engine, container: str) -> None:
    """Wait until the engine has removed a container that has ended, unless it is to be kept."""
    deadline = time.monotonic() + _TO_BE_REMOVED
    nobody = threading.Event()
    question = ("container", "inspect", "--format", "{{.HostConfig.AutoRemove}}", container)
    while engine.quietly(*question) == "true" and time.monotonic() < deadline:
        nobody.wait(_LOOK_AGAIN)


def _wait_for_host(folder: SessionFolder, engine: Engine, container: str) -> None:
    """Wait until the host has started Claude, or refused to.

    Raises:
        LaunchError: it refused, or did not start.
    """
    deadline = time.monotonic() + _TO_BEGIN
    changes = subscribe(folder.exchange)
    try:
        while not _has_begun(folder):
            changes.wait(_LOOK_AGAIN)
            runs = engine.runs(container)  # looked at first: it says how it went before it ends
            if not runs and not _has_begun(folder):
                raise LaunchError(f"{engine.command}: {_stillborn(folder, engine, container)}")
            if time.monotonic() > deadline:
                raise LaunchError(
                    f"{engine.command}: the container did nothing for {_TO_BEGIN:g} s"
                )
    finally:
        changes.close()
    if folder.exit_file.exists() and not folder.place.exists():
        raise LaunchError(f"{engine.command}: {error_line(folder.stderr_tail())}")


def _stillborn(folder: SessionFolder, engine: Engine, container: str) -> str:
    wait_until_removed(engine, container)  # by then the engine has told all that happened
    happened = engine.events(container)
    if "oom" in happened:
        return _NO_MEMORY
    if re.search(r"^die .*\b127$", happened, re.MULTILINE):
        return "the image has no `sh`, and a session needs one; take an image that has it"
    return (
        f"the container ended before its host could write to {folder.exchange};"
        " check the options `user` and `engine_args`"
    )


def _has_begun(folder: SessionFolder) -> bool:
    return folder.pids() is not None or folder.exit_file.exists()
