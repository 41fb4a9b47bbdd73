"""A host over SSH, by OpenSSH's own client."""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.claude_binary import find_claude
from claude_mpm.environments.base import Environment, said
from claude_mpm.environments.variables import checked
from claude_mpm.errors import LaunchError, UsageError
from claude_mpm.folders import runtime_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_logger = logging.getLogger("claude_mpm.ssh")
_ALIVE = 5  # seconds between questions whether the link still stands
_PERSIST = 5  # seconds for which the connection stays after its last use
_INSTALLED = ".local/share/claude-mpm/claude"
# Prints the command that is there, if any, and then where it would be copied to.
_FIND = """
target=$HOME/$2
command -v "$1" || { [ ! -x "$target" ] || echo "$target"; }
echo "$target"
"""
# Puts standard input where $0 says, if all $1 bytes of it come: of a connection that is cut, the
# end looks like any other. The draft is its own, since another start may copy at the same time.
_COPY = """draft=$0.$$
mkdir -p "${0%/*}" && cat >"$draft" || { rm -f "$draft"; exit 1; }
if [ "$(wc -c <"$draft")" -ne "$1" ]; then
    rm -f "$draft"
    echo "only a part of it has arrived; start the session again" >&2
    exit 1
fi
chmod 755 "$draft" && mv "$draft" "$0"
"""


class SSH(Environment):
    """Runs commands on another machine; the user's own configuration, agent and keys apply.

    One connection is shared by all that goes to the same host. Host keys are checked, and nothing
    is ever asked: a host that wants a password or is not known is an error.

    Args:
        host: a name of the user's configuration, `user@host`, or `ssh://user@host:port`.
        port: the port, where neither says it.
        config: a configuration file in place of the user's.
        args: further arguments of `ssh`, as they are; they win over what is set here.
        variables: what else Claude gets there as environment.
        install: whether to copy this machine's `claude` there, where it has none.
    """

    name = "ssh"

    def __init__(
        self,
        host: str,
        *,
        port: int | None = None,
        config: str | None = None,
        args: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        install: bool = False,
    ) -> None:
        if not host or host.startswith("-"):
            raise UsageError(f"ssh: {host!r} is no host; give a name, user@host or ssh://…")
        self.host = host
        self._variables = checked(variables or {}, self.name)
        self._install = install
        # The first word on an option counts for `ssh`, so the user's own come first.
        given = ["-F", str(Path(config).expanduser())] if config else []
        given += ["-p", str(port)] if port else []
        self._options = [*args, *_OPTIONS, *_sharing(host, *args, *given), *given]

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Return the command with `ssh` in front; the shell there sees every word whole."""
        return ["ssh", *self._options, "--", self.host, shlex.join(argv)]

    def environ(self, asked: Mapping[str, str] | None) -> dict[str, str]:
        """Return what is taken along, and the variables that were given to the place."""
        return {**super().environ(asked), **self._variables}

    def find_claude(self, asked: str | None) -> str:
        """Return the command; it is copied there first, where that was asked for and is needed."""
        claude = asked or "claude"
        if not self._install:
            return claude
        answer = self.run(["sh", "-c", _FIND, "find", claude, _INSTALLED]).decode()
        found, _, target = answer.rstrip("\n").rpartition("\n")
        return found or self._copy_claude(target)

    def expected(self) -> dict[str, str]:
        """Return what the host itself says of its name, and whose account it is."""
        return self._host_and_user(f"{self.host} does not run commands: it answered")

    def run(self, argv: Sequence[str], *, data: bytes = b"") -> bytes:
        """Run a short command there.

        Raises:
            LaunchError: it failed, or the host cannot be reached; with what `ssh` says.
        """
        try:
            return super().run(argv, data=data)
        except LaunchError as error:
            raise LaunchError(f"{error}; try: ssh {self.host} true") from error

    def _copy_claude(self, target: str) -> str:
        with Path(find_claude()).open("rb") as binary:
            size = os.fstat(binary.fileno()).st_size
            done = subprocess.run(
                self.wrap(["sh", "-c", _COPY, target, str(size)]),
                stdin=binary,
                capture_output=True,
                check=False,
            )
        if done.returncode:
            raise LaunchError(f"ssh: cannot install claude: {said(done.stderr, done.returncode)}")
        return target


_OPTIONS = [
    "-T",
    *("-o", "BatchMode=yes"),
    *("-o", "ConnectTimeout=15"),
    *("-o", f"ServerAliveInterval={_ALIVE}"),
    *("-o", "ServerAliveCountMax=3"),
]


def _sharing(*asked: str) -> list[str]:
    """Return the options that share one connection, where there is a folder for its socket.

    Args:
        asked: the host and how it is reached. The name that `ssh` makes by itself (`%C`) is the
            same for two names of one host, of which each may have its own key, and be allowed
            something else there.
    """
    try:
        folder = str(runtime_folder()).replace("%", "%%")
    except LaunchError as error:
        _logger.warning("ssh: each command makes a connection of its own: %s", error)
        return ["-o", "ControlPath=none"]
    name = hashlib.blake2b(os.fsencode("\0".join(asked)), digest_size=20).hexdigest()
    return [
        *("-o", "ControlMaster=auto"),
        *("-o", f"ControlPersist={_PERSIST}"),
        *("-o", f'ControlPath="{folder}/{name}"'),
    ]
