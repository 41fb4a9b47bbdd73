"""Sessions that live elsewhere: what is asked of the place first, and the process of their link."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.environments.order import host_command
from claude_mpm.environments.process import AdoptedHost
from claude_mpm.environments.variables import checked
from claude_mpm.errors import LaunchError
from claude_mpm.journal.folder_watch import subscribe
from claude_mpm.link.answer import BEGIN, END
from claude_mpm.link.lock import is_linked
from claude_mpm.link.shell import KILL, ShellSpec
from claude_mpm.own_python import own_environ, own_python
from claude_mpm.validation import error_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_mpm.environments.order import Order, Reachable
    from claude_mpm.journal.layout import SessionFolder

_TOOLS = (
    *("mkfifo", "setsid", "tail", "cat", "mv", "rm", "sed", "grep", "sleep", "wc", "mkdir"),
    *("ls", "id", "head"),
)
_FOLDER = re.compile(r"/[^\0-\x1f\x7f]{1,1000}")
_MOST_DEATHS = 5  # of a link that is started again and again
_PATIENCE = 20.0  # seconds for a link to begin
_KILLED = -9

# For POSIX sh: whether a folder is this account's, no link, and of modes like these.
IS_OURS = r"""is_ours() { # FOLDER MODES
    read -r modes _ owner _ <<END
$(LC_ALL=C ls -ldn "$1" 2>/dev/null)
END
    [ "$owner" = "$(id -u)" ] && [ -w "$1" ] || return
    case ${modes%[.@]} in
    $2) ;;
    *) return 1 ;;
    esac
}"""
# For POSIX sh: the folders in which a place keeps sessions, in $state and $temporary.
STATE = r"""state=${XDG_STATE_HOME-} temporary=${TMPDIR-}
[ "$state" != "${state#/}" ] || state=${HOME:-/nowhere}/.local/state
[ "$temporary" != "${temporary#/}" ] || temporary=/tmp"""
_PROBE = (
    r"""
claude=$1 cwd=$2
shift 2
fail() { echo "failed: $*"; exit 0; }
missing=
for tool; do command -v "$tool" >/dev/null || missing="$missing $tool"; done
[ -z "$missing" ] || fail "these commands are missing there:$missing"
[ -z "$claude" ] || command -v "$claude" >/dev/null || fail "there is no command $claude there"
[ -z "$cwd" ] || [ -d "$cwd" ] || fail "there is no folder $cwd to work in there"
"""
    + IS_OURS
    + r"""
sole() { # FOLDER MODES: makes it; whether it is ours
    (umask 077 && mkdir -p "$1") 2>/dev/null
    is_ours "$1" "$2"
}
"""
    + STATE
    + r"""
for base in "$state/claude-mpm" "$temporary/claude-mpm-$(id -u)" ''; do
    [ -n "$base" ] || base=$(umask 077 && mktemp -d "$temporary/claude-mpm.XXXXXX")
    sole "$base" 'd????-??-?' && sole "$base/far" 'd???--[S-]---' && break
    base=
done
[ -n "$base" ] || fail "no folder of one's own can be made there: neither at home nor in $temporary"
echo "folder $base/far"
"""
)


def start_linked(
    place: Reachable,
    order: Order,
    *,
    host: str | None = None,
    kill: str | None = None,
    needs: Sequence[str] = (),
    secrets: str = "",
    further: Mapping[str, Any] | None = None,
) -> LinkedHost:
    """Start a session in a place that does not see the files of this machine.

    Args:
        place: where the session's folder is laid, and `host` is run.
        order: what is asked for.
        host: the place's command that starts the host elsewhere; `$session` is the folder there.
        kill: a script that sends signal $1 to process $2 of the session.
        needs: further commands that the place must have.
        secrets: a folder there in memory, for Claude's variables; the session's own by default.
        further: for the link, where its `kind` is another than "shell".

    Raises:
        LaunchError: the place cannot be reached, or lacks something.
    """
    claude = "" if host else order.claude
    folder = f"{probe(place, claude, order.cwd, needs)}/{_unique(order)}"
    spec = ShellSpec(
        place=place.name,
        shell=place.wrap(["sh", "-s"]),
        far=place.wrap(["sh", "-c", FAR, folder]),
        folder=folder,
        cwd=order.cwd,
        host=host or _host(order, folder),
        kill=kill or KILL,
        linger=order.linger,
        base=order.folder.journal.size(),
        secrets=secrets,
    )
    write_variables(order)
    return launch_link(order.folder, {**msgspec.to_builtins(spec), **(further or {})})


# The first line is the nonce of the marks; `read` takes no more of the input than that.
FAR = f"""read -r mark
{BEGIN}"$mark"
if [ -f "$0/far.sh" ]; then sh "$0/far.sh" "$0"; else echo gone; fi
{END}"$mark" "$?\""""


def _host(order: Order, folder: str) -> str:
    command = shlex.join(host_command(order, f"{folder}/given/host.sh", folder))
    return f"setsid {command} </dev/null >/dev/null 2>&1 &"


def _unique(order: Order) -> str:
    """Return a path that no other machine's session of the same name has there."""
    return f"{os.urandom(4).hex()}/{order.folder.path.name}"


def probe(place: Reachable, claude: str, cwd: str, needs: Sequence[str] = ()) -> str:
    """Return the folder of a place to keep sessions in, once it has said that nothing is missing.

    Args:
        claude, cwd: the command and the folder that must be there; empty for none.
        needs: further commands that must be.

    Raises:
        LaunchError: something is missing, or the place does not answer.
    """
    answer = place.run(["sh", "-c", _PROBE, "probe", claude, cwd, *_TOOLS, *needs])
    word, _, rest = answer.decode("utf-8", "replace").rstrip("\n").partition(" ")
    if word != "folder":
        raise LaunchError(f"{place.name}: {error_line(rest[-1000:]) or 'no answer to a question'}")
    if not is_far_folder(rest):
        raise LaunchError(f"{place.name}: its folder for sessions is no path: {rest[:200]!a}")
    return rest


def is_far_folder(path: str) -> bool:
    """Return whether a path that a place has named may become part of a command there."""
    return bool(_FOLDER.fullmatch(path))


def write_variables(order: Order) -> None:
    """Put Claude's variables where the host reads them once: no process list shows them so.

    Raises:
        UsageError: a name is not a valid variable name in a shell.
    """
    checked(order.environ, "environ")
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in order.environ.items())
    order.folder.environ.write("".join(lines).encode())


def launch_link(folder: SessionFolder, spec: dict[str, Any]) -> LinkedHost:
    """Note how a session is reached, and start its link.

    Args:
        spec: for the link; its `kind` is the module of `claude_mpm.link` that can read it.
    """
    folder.write(folder.link_file, msgspec.json.format(msgspec.json.encode(spec)))
    return LinkedHost(folder)


class LinkedHost(AdoptedHost):
    """The link of a session, which acts as the far host; one that was killed is started again.

    Args:
        folder: the session's, with its link file.
    """

    def __init__(self, folder: SessionFolder) -> None:
        super().__init__(folder)
        self._deaths = 0
        if not is_linked(folder):
            self._start_link()

    def poll(self) -> int | None:
        """Return the exit status; None while Claude runs, or may run, where it lives."""
        if self.returncode is None:
            linked = is_linked(self._folder)  # looked at first: the status is written before
            self.returncode = self._folder.exit_status()
            if self.returncode is None and not linked:
                self._deaths += 1
                if self._deaths > _MOST_DEATHS:
                    self.returncode = _KILLED
                else:
                    self._start_link()
        return self.returncode

    def wait_for_state(self, timeout: float) -> None:
        """Wait until it is known whether Claude runs.

        Raises:
            LaunchError: the place did not answer within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        changes = subscribe(self._folder.exchange)
        try:
            while self.poll() is None and not self._is_known():
                if time.monotonic() > deadline:
                    raise LaunchError(
                        f"the place of session {self._folder.path.name} does not answer:"
                        f" {error_line(self._folder.stderr_tail()) or 'nothing was said'}"
                    )
                changes.wait(0.5)
        finally:
            changes.close()

    def _is_known(self) -> bool:
        """Return whether the running link has seen Claude."""
        pids = self._folder.pids()
        return pids is not None and pids[1] > 0 and self._folder.has_host()

    def kill(self) -> None:
        """End the link at once; what cannot be reached there is left to its linger rule."""
        super().kill()
        if self.returncode is None and self._folder.exit_status() is None:
            self.returncode = _KILLED

    def _signal(self, pid: int, signum: int) -> None:
        if is_linked(self._folder):  # else the number is another process's by now
            with suppress(ProcessLookupError):
                os.kill(pid, signum)

    def _start_link(self) -> None:
        with open(self._folder.host_errors.open_to_append(), "ab") as log:
            link = subprocess.Popen(
                own_python("-m", "claude_mpm.link", str(self._folder.path)),
                env=own_environ(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        # It may outlive this object, and is reaped even then.
        threading.Thread(target=link.wait, name="claude-mpm-link", daemon=True).start()
        changes = subscribe(self._folder.exchange)
        try:
            while link.poll() is None and self.pid != link.pid:  # it does not take input yet
                changes.wait(0.1)
        finally:
            changes.close()
