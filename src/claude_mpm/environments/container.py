"""What a container for one session is made of: it may do as little as possible."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from claude_mpm.environments.engine import bind
from claude_mpm.environments.order import host_command

if TYPE_CHECKING:
    from claude_mpm.environments.order import Order

LABEL = "claude-mpm.session"
_HOME = "/tmp/home"  # below the temporary file system, which is all that can be written
_TMPFS = "/tmp:rw,exec,nosuid,nodev,mode=1777,size=1g"
_PIDS = 1024  # processes and threads
_AT_HOME = 'mkdir -p "$HOME" && cd "$HOME"\n'
# Starts the host after a check for Claude, so that a missing Claude differs from one that fails.
_BEGIN = """mkdir -p "$HOME"
command -v "$4" >/dev/null && exec sh "$0" "$@"
echo "there is no command $4 in the image" >>"$1/exchange/host.log"
echo 127 >"$1/exchange/.exit" && mv "$1/exchange/.exit" "$1/exchange/exit\""""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What a new container is made of.

    Args:
        image: its image.
        user: "uid:gid".
        mounts: values of the engine's `--mount`.
        network: its network.
        cpus, memory: limits, as the engine writes them; empty for none.
        pull: when the engine may load the image: "never", "missing" or "always".
        arguments: further arguments; they win over what is set here.
    """

    image: str
    user: str
    mounts: tuple[str, ...]
    network: str
    cpus: str
    memory: str
    pull: str
    arguments: tuple[str, ...]

    def hardened(self) -> list[str]:
        """Return the engine's arguments for a container that may do as little as possible."""
        words = ["--pull", self.pull, "--rm", "--init", "--user", self.user, "--network"]
        words += [self.network, "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        words += ["--read-only", "--tmpfs", _TMPFS, "--pids-limit", str(_PIDS)]
        words += ["--env", f"HOME={_HOME}", "--entrypoint", "sh"]
        words += ["--cpus", self.cpus] if self.cpus else []
        words += ["--memory", self.memory, "--memory-swap", self.memory] if self.memory else []
        for mount in self.mounts:
            words += ["--mount", mount]
        return words

    def create(self, order: Order, session: str, config: str) -> list[str]:
        """Return the engine's command that makes the container of a session.

        Args:
            session: the session's folder where the engine is.
            config: where Claude keeps its conversation; it outlives the container.
        """
        name = order.folder.path.name
        words = ["create", *self.hardened()]
        given, exchange = f"{session}/given", f"{session}/exchange"
        words += [
            "--mount",
            bind(given, given, read_only=True),
            "--mount",
            bind(exchange, exchange),
        ]
        if not config.startswith(f"{exchange}/"):
            words += ["--mount", bind(config, config)]
        # The name is free, though an earlier container of the session may be about to go.
        words += ["--name", f"claude-mpm-{name}-{os.urandom(2).hex()}"]
        words += ["--label", f"{LABEL}={name}", "--env", f"CLAUDE_CONFIG_DIR={config}"]
        words += ["--workdir", order.cwd] if order.cwd else []
        host = host_command(order, f"{session}/given/host.sh", session)
        begin = _BEGIN if order.cwd else _AT_HOME + _BEGIN
        return [*words, *self.arguments, self.image, "-c", begin, *host[1:]]
