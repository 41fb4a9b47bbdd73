"""A container: a new one from an image for each session, or one that runs already."""

from __future__ import annotations

import os
import shlex
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.config.trust import real, trusted_file
from claude_mpm.environments.base import Environment
from claude_mpm.environments.container import Recipe
from claude_mpm.environments.container_host import ContainerHost, check_container, start_container
from claude_mpm.environments.engine import Engine, bind, hide, words_of
from claude_mpm.environments.linked import probe
from claude_mpm.environments.local import Local
from claude_mpm.environments.variables import checked
from claude_mpm.errors import LaunchError, UsageError
from claude_mpm.validation import is_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_mpm.environments.far_sessions import FarSession, Listed
    from claude_mpm.environments.order import HostProcess, Order
    from claude_mpm.environments.record_store import RecordStore
    from claude_mpm.journal.layout import SessionFolder

# Folders that are the image's own: this machine's in their place would take its programs away.
_OF_THE_IMAGE = frozenset(
    ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "run", "sbin", "sys", "usr")
)
_SOMEBODY = "1000:1000"  # who Claude is in a container that root starts
_PULL = ("never", "missing", "always")


class Docker(Environment):
    """Runs Claude in a container, by the command of the container engine.

    A new container may do as little as possible: it has no capability and gets none, its user is
    not root, its root file system is read-only with a temporary home, and it has an init process.
    It sees the session's folder and the folder to work in, each under its path here, and is
    removed when Claude has ended. Arguments of the new container alone are marked with *.

    Args:
        image: * the image; it has `sh` and Claude Code.
        container: a container that runs, in place of a new one; its name or id.
        mounts: * further folders or files: "SOURCE", "SOURCE:TARGET" or "SOURCE:TARGET:ro".
        network: * the network; Claude reaches its model through "bridge", or what there is.
        cpus: * how many processors at most.
        memory: * how much memory at most, as in "2g"; there is no swap beyond it.
        user: who Claude is there, "UID:GID"; None for this user, or, where that is root, for the
            owner of the folder to work in, or else 1000.
        pull: * when the engine may load the image: "never", "missing" or "always".
        engine: the engine's command: "docker", "podman".
        engine_args: * further arguments of the engine; they win over what is set here.
        variables: what else Claude gets as environment.
        inside: the place where the engine's command is run: an environment, or ssh://USER@HOST.
    """

    name = "docker"

    def __init__(
        self,
        image: str = "",
        *,
        container: str = "",
        mounts: str | Sequence[str] = (),
        network: str = "",
        cpus: str | float = "",
        memory: str | int = "",
        user: str | int | None = None,
        pull: str = "never",
        engine: str = "docker",
        engine_args: str | Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        inside: Environment | str | None = None,
    ) -> None:
        self._image = image
        self._container = container
        self._mounts = tuple(map(_mount, [mounts] if isinstance(mounts, str) else mounts))
        self._network = network
        self._cpus = str(cpus)
        self._memory = str(memory)
        self._user = "" if user is None else str(user)
        self._pull = pull
        self._arguments = tuple(words_of(engine_args))
        self._variables = checked(variables or {}, self.name)
        self._inside = place_of(inside)
        self._engine = Engine(engine, self._inside)
        self._sessions: dict[Path, SessionFolder] = {}
        self.shares_files = not container and self._inside.shares_files
        self.keeps_files = bool(container)
        self._check()

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` in the container, or in a new one that is alike."""
        if self._container:
            user = ["--user", self._user] if self._user else []
            return self._engine.wrap("exec", "--interactive", *user, self._container, *argv)
        command, *arguments = argv
        recipe = self._recipe("")
        words = ["run", "--interactive", *recipe.hardened(), *recipe.arguments]
        return self._engine.wrap(*words, "--entrypoint", command, self._image, *arguments)

    def wrap_in(self, folder: SessionFolder, argv: Sequence[str]) -> list[str]:
        """Return the command that runs `argv` in the container of a session."""
        made = folder.read_container()
        if made is None:
            return self.wrap(argv)
        return self._engine.wrap("exec", "--interactive", made.id, *argv)

    def working_folder(self, asked: str | None) -> str:
        """Return the folder, which a new container sees under the same path.

        Raises:
            LaunchError: there is no such folder here.
        """
        if not self.shares_files:
            return asked or ""
        folder = os.path.normpath(self.absolute(asked))
        there = _is_of_the_image(folder) or self._is_mounted(folder)
        if not (there or is_folder(Path(folder))):
            raise LaunchError(f"{self.name}: there is no folder {folder} to work in")
        return folder

    def folder_here(self, cwd: str) -> Path | None:
        """Return the folder that is mounted there; None for one of the image or the container."""
        folder, inside = super().folder_here(cwd), PurePosixPath(cwd)
        if folder is None:
            return None
        mounted = [mount for mount in self._mounts if inside.is_relative_to(mount[1])]
        if mounted:
            source, target, _ = max(mounted, key=lambda mount: len(mount[1]))
            return Path(source, inside.relative_to(target))
        return None if _is_of_the_image(cwd) else folder

    def environ(self, asked: Mapping[str, str] | None) -> dict[str, str]:
        """Return what is taken along, and the variables that were given to the place."""
        return {**super().environ(asked), **self._variables}

    def expected(self) -> dict[str, str]:
        """Return the id of the container that runs; of a new one it is known when it is made."""
        if not self._container:
            return {}
        state = self._engine.inspect(self._container, "{{.State.Running}} {{.Id}}")
        runs, _, container = state.partition(" ")
        if runs != "true":
            raise LaunchError(
                f"{self.name}: the container {self._container} does not run;"
                f" start it: {self._engine.command} start {self._container}"
            )
        return {"container": container}

    def start(self, order: Order) -> HostProcess:
        """Start the host in the container that there is, or make one for it."""
        if self._container:
            return super().start(order)
        self._check_working_folder(order)
        self._sessions[order.folder.path] = order.folder
        recipe = self._recipe(order.cwd)
        if self.shares_files:
            hidden = self._hidden(order.folder.path.parents[1])
            recipe = msgspec.structs.replace(recipe, mounts=(*recipe.mounts, *map(hide, hidden)))
            return start_container(self._engine, recipe, order, self.expected())
        from claude_mpm.environments.container_far import start_far_container

        shown = [(source, target) for source, target, _ in self._mounts]
        shown += [(order.cwd, order.cwd)] if self._mounts_unasked(order.cwd) else []
        return start_far_container(self._inside, self._engine, recipe, order, shown)

    def join(self, folder: SessionFolder) -> HostProcess:
        """Return the host of a session that another controller started."""
        if self._container or not self.shares_files:
            return super().join(folder)
        self._sessions[folder.path] = folder
        made = folder.read_container()
        if made is None:
            raise LaunchError(
                f"{self.name}: nobody knows which container was session"
                f" {folder.path.name}'s: {folder.container_file} is gone"
            )
        check_container(self._engine, made.id, folder.path.name)
        return ContainerHost(folder, self._engine, made.id)

    def signal_in(self, folder: SessionFolder, pid: int, signum: int) -> None:
        """Send a signal to a process of the session's container, from inside.

        On another machine, SIGKILL ends the container: of its processes only what runs in it tells.

        Raises:
            LaunchError: the other machine cannot be reached.
        """
        if not self._container and folder.link_file.exists():
            from claude_mpm.environments.container_far import signal_far_container

            signal_far_container(folder, signum)
            return
        made = folder.read_container()
        if made is None:
            super().signal_in(folder, pid, signum)
            return
        check_container(self._engine, made.id, folder.path.name)
        self._engine.signal(made.id, pid, signum)

    def signal(self, pid: int, signum: int) -> None:
        """Send a signal to a process of the container; one that is gone is no error.

        Raises:
            LaunchError: several sessions run in containers that this object made.
        """
        if self._container:
            super().signal(pid, signum)
            return
        running = [session for session in self._sessions.values() if session.exit_status() is None]
        containers = [folder.read_container() for folder in running]
        if len(containers) > 1:
            raise LaunchError(f"{self.name}: which of the containers has process {pid}?")
        for container in filter(None, containers):
            self._engine.signal(container.id, pid, signum)

    def reach(self) -> None:
        """Make sure that the engine answers, and has the container or the image.

        Raises:
            LaunchError: it does not.
        """
        if self._container:
            super().reach()
        elif self._pull == "never":
            words = ("image", "inspect", "--format", "ok", self._image)
            self._engine.run(*words, subject=self._image)
        else:
            self._engine.run("version")

    def records(self, folder: SessionFolder, environ: Mapping[str, str]) -> RecordStore:
        """Return where Claude keeps its records: for a new container, beside its session."""
        if self._container:
            return super().records(folder, environ)
        from claude_mpm.environments.record_store import CommandRecords, OwnRecords

        if self.shares_files:
            folder.create()
            own = folder.claude.path
            return OwnRecords(own / "projects", own, folder.record_before)
        kept = probe(self._inside, "", "").removesuffix("/far")
        return CommandRecords(self._inside, f"{kept}/claude/{folder.path.name}")

    def far_sessions(self, end: int) -> Listed:
        """Return the sessions in the container that there is, or those with one of their own."""
        from claude_mpm.environments.container_list import list_containers

        if self._container:
            return super().far_sessions(end)
        if not self._inside.shares_files:
            return self._inside.far_sessions(end)
        return list_containers(self._engine, end)

    def link_to(self, far: FarSession, reader: str) -> dict[str, Any]:
        """Return the link's file for a session that another machine has started there."""
        if self._container:
            return super().link_to(far, reader)
        return self._inside.link_to(far, reader)

    def _hidden(self, state: Path) -> list[str]:
        """Return where a folder that is mounted by request would show the state folder inside.

        Raises:
            UsageError: it is the state folder, or lies in it.
        """
        ours, targets = os.path.realpath(state), []
        for source, target, _ in self._mounts:
            folder = os.path.realpath(source).rstrip("/")
            if ours.startswith(f"{folder}/"):
                targets.append(target.rstrip("/") + ours[len(folder) :])
            elif f"{folder}/".startswith(f"{ours}/"):
                raise UsageError(
                    f"{self.name}: {source} is not mounted, as all sessions are kept in {ours};"
                    " name another folder, with a copy of what Claude needs of this one"
                )
        return targets

    def _recipe(self, cwd: str) -> Recipe:
        mounts = self._mounts
        if self._mounts_unasked(cwd):
            mounts = (*mounts, (cwd, cwd, False))
        keep_id = self._engine.is_podman and self.shares_files and os.geteuid() != 0
        arguments = ("--userns=keep-id", *self._arguments) if keep_id else self._arguments
        return Recipe(
            image=self._image,
            user=self._user_for(cwd),
            mounts=tuple(bind(source, target, read_only=ro) for source, target, ro in mounts),
            network=self._network,
            cpus=self._cpus,
            memory=self._memory,
            pull=self._pull,
            arguments=arguments,
        )

    def _mounts_unasked(self, cwd: str) -> bool:
        """Return whether a new container sees a folder only because it is the one to work in."""
        return bool(cwd) and not (_is_of_the_image(cwd) or self._is_mounted(cwd))

    def _check_working_folder(self, order: Order) -> None:
        """Refuse to mount unasked what the user's keys, or all that this machine obeys, lie in.

        Raises:
            UsageError: it is the home or a folder above it, or has to do with our own folders.
        """
        if not (self.shares_files and self._mounts_unasked(order.cwd)):
            return
        folder, home = real(Path(order.cwd)), real(Path(os.path.expanduser("~")))  # noqa: PTH111
        ours = (real(order.folder.path.parent.parent), real(trusted_file().parent))
        held = [path for path in (home, *ours) if path.is_relative_to(folder)]
        held += [path for path in ours if folder.is_relative_to(path)]
        if held:
            raise UsageError(
                f"{self.name}: {order.cwd} is not mounted unasked, as Claude could write {held[0]}"
                " from within; work in a folder of its own (--cwd), or say"
                f" -o mounts={shlex.quote(order.cwd)}"
            )

    def _user_for(self, cwd: str) -> str:
        """Return the user as "uid:gid"; empty where only another machine can tell."""
        if self._user:
            uid, _, gid = self._user.partition(":")
            return f"{uid}:{gid or uid}"
        if not self.shares_files:
            return ""
        if os.geteuid() != 0:
            return f"{os.geteuid()}:{os.getegid()}"
        owner = Path(cwd).stat() if cwd and Path(cwd).is_dir() else None
        return f"{owner.st_uid}:{owner.st_gid}" if owner and owner.st_uid else _SOMEBODY

    def _is_mounted(self, folder: str) -> bool:
        return any(PurePosixPath(folder).is_relative_to(target) for _, target, _ in self._mounts)

    def _check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            UsageError: it cannot.
        """
        if bool(self._image) == bool(self._container):
            raise UsageError(
                f"{self.name}: name either an image for a new container, as in -o image=NAME,"
                " or a container that runs, as in -o container=NAME"
            )
        if (self._image or self._container).startswith("-"):
            raise UsageError(f"{self.name}: a name does not begin with a hyphen")
        if self._container:
            self._check_existing()
            return
        if not self._network:
            raise UsageError(
                f"{self.name}: Claude reaches its model over a network, and a container gets none"
                " unasked; choose one, as in -o network=bridge, or say -o network=none"
            )
        if self._pull not in _PULL:
            raise UsageError(f"{self.name}: pull is one of {', '.join(_PULL)}, not {self._pull!r}")
        if not all(part.isdecimal() for part in self._user.split(":")) and self._user:
            raise UsageError(
                f"{self.name}: user is UID or UID:GID, in numbers, not {self._user!r};"
                " the session's folder is given to it"
            )

    def _check_existing(self) -> None:
        settings = {
            "mounts": self._mounts,
            "network": self._network,
            "cpus": self._cpus,
            "memory": self._memory,
            "engine_args": self._arguments,
        }
        for name, value in settings.items():
            if value:
                raise UsageError(
                    f"{self.name}: {name} is set when a container is made,"
                    f" and {self._container} is there already; leave one of the two out"
                )


def place_of(inside: Environment | str | None) -> Environment:
    """Return the place where the engine's command is run.

    Raises:
        UsageError: a text that names none.
    """
    if isinstance(inside, Environment):
        return inside
    if inside is None:
        return Local()
    if inside.startswith("ssh://"):
        from claude_mpm.environments.ssh import SSH

        return SSH(inside)
    raise UsageError(f"docker: inside is ssh://USER@HOST:PORT or an environment, not {inside!r}")


def _mount(text: str) -> tuple[str, str, bool]:
    """Read "SOURCE[:TARGET[:ro]]"."""
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    source = str(Path(source).expanduser())
    target = target or source
    if not (source.startswith("/") and target.startswith("/")) or mode not in ("", "ro", "rw"):
        raise UsageError(
            f"docker: a mount is SOURCE, SOURCE:TARGET or SOURCE:TARGET:ro with absolute paths,"
            f" not {text!r}"
        )
    return source, target, mode == "ro"


def _is_of_the_image(folder: str) -> bool:
    parts = PurePosixPath(folder).parts
    return len(parts) < 2 or parts[1] in _OF_THE_IMAGE or folder == "/tmp"
