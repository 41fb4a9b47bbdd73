"""Claude starts where and with what it was asked for, and says so; or it does not start."""

from __future__ import annotations

import secrets
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from claude_mpm.environments.local import Local
from claude_mpm.errors import LaunchError
from claude_mpm.testing.processes import commands
from claude_mpm.testing.subject import over, shown

if TYPE_CHECKING:
    from claude_mpm.environments.base import Environment
    from claude_mpm.testing.subject import Subject

_FOLDER = "/usr"  # in every place, and no symbolic link
_AWKWARD = "two words, 'single', \"double\", $HOME `id` \\n ü →\nand a second line"


def the_folder_to_work_in_arrives(subject: Subject) -> None:
    """Claude would work on other files than those that it was given."""
    claude = subject.started(cwd=_FOLDER)
    found = subject.runs(claude, "pwd -P")
    assert found == _FOLDER, f"cwd was {_FOLDER}, and Claude works in {found}"


def the_environment_arrives(subject: Subject) -> None:
    """Claude would use another model, another proxy or another key than it was told."""
    claude = subject.started(environ={"CHECK_VALUE": _AWKWARD})
    found = subject.runs(claude, 'printf "%s" "$CHECK_VALUE"')
    assert found == _AWKWARD, f"a variable was {_AWKWARD!r}, and arrived as {shown(found)}"


def what_claude_makes_has_the_rights_of_its_place(subject: Subject) -> None:
    """What Claude makes would be closed to your team and your web server, or open to strangers."""
    claude = subject.started()
    found = subject.runs(claude, "umask")
    wanted = {_umask(claude.environment), _umask(Local())} - {""}
    assert found in wanted, f"Claude's umask is {found}, and the place's {' or '.join(wanted)}"
    folder = subject.session_folder(claude)
    rights = [stat.S_IMODE(path.stat().st_mode) for path in (folder.path, folder.journal.path)]
    assert rights == [0o700, 0o600], f"the session's folder and journal have {rights}"


def _umask(place: Environment) -> str:
    """Return the umask in a place; that of images, where nothing can be run before a start."""
    try:
        return place.run(["sh", "-c", "umask"]).decode().strip()
    except (LaunchError, NotImplementedError):
        return "0022"


def secrets_stay_hidden(subject: Subject) -> None:
    """All users of the machine, and all later readers of the records, could use your keys."""
    secret = f"secret-{secrets.token_hex(16)}"
    with _Lookout(secret) as lookout:
        claude = subject.started(environ={"CHECK_SECRET": secret})
        inside = subject.runs(
            claude,
            'case "$(cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" " ")" in'
            ' *"$CHECK_SECRET"*) echo seen;; *) echo "${#CHECK_SECRET} hidden";; esac',
        )
        claude.stop()
    assert inside == f"{len(secret)} hidden", f"in the place, a process list: {shown(inside)}"
    assert not lookout.seen, "the value of a variable was in a list of processes"
    files = [path for path in subject.state_dir.rglob("*") if path.is_file()]
    holding = [path.name for path in files if secret.encode() in _content(path)]
    assert not holding, f"the value of a variable was kept in {', '.join(holding)}"


def _content(path: Path) -> bytes:
    """Return what is in a file; nothing where it has just gone, as a database's own ones do."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


class _Lookout:
    """Watches the list of this machine's processes for a word, without a pause."""

    def __init__(self, word: str) -> None:
        self._word = word
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="check-lookout")
        self.seen = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self.seen = self.seen or self._word in commands()


def a_missing_command_is_named(subject: Subject) -> None:
    """A start that fails would leave you guessing, or waiting."""
    _fails_with(subject, "/no/such/claude", claude_path="/no/such/claude")


def a_missing_folder_is_named(subject: Subject) -> None:
    """Claude would work somewhere else, or fail without a reason."""
    _fails_with(subject, "/no/such/folder", cwd="/no/such/folder")


def _fails_with(subject: Subject, name: str, **options: Any) -> None:
    claude = subject.claude(**options)
    assert claude.start() is False, "start() returned True"
    message = str(claude.error)
    assert name in message, f"the message does not name {name}: {message}"
    assert "\n" not in message, f"the message has more than one line: {message!r}"
    assert not subject.model.requests, "Claude was started anyway"


def the_statement_of_the_place_is_true(subject: Subject) -> None:
    """You could not know where a session really ran."""
    claude = subject.started()
    stated = subject.session_folder(claude).read_place()
    said = subject.runs(claude, "uname -n; id -u; pwd -P; id -un 2>/dev/null || :").splitlines()
    inside = dict(zip(("host", "uid", "cwd", "user"), said, strict=False))
    told = {key: stated.get(key) for key in inside}
    assert told == inside, f"the session states {told}, and inside it is {inside}"
    missing = {"host", "container", "user", "uid", "cwd"} - stated.keys()
    assert not missing, f"the statement does not say {', '.join(sorted(missing))}"


def a_wrong_place_is_refused(subject: Subject) -> None:
    """What was to run in a container could run on your own machine, and nobody would notice."""
    claude = subject.claude()
    # What no place says of itself; a fresh object, so nobody else sees the change.
    setattr(claude.environment, "expected", lambda: {"host": "no.such.host"})  # noqa: B010
    assert claude.start() is False, "it was expected on no.such.host, and started elsewhere"
    message = str(claude.error)
    assert "no.such.host" in message, f"the message does not say what was expected: {message}"
    assert "\n" not in message, f"the message has more than one line: {message!r}"
    assert not subject.model.requests, "Claude was started anyway"


def the_framework_arrives(subject: Subject) -> None:
    """Claude would work without the instructions of your team."""
    framework = Path(subject.folder, "framework.md")
    rules = "".join(f"Rule {n}: be kind.\n" for n in range(10_000))
    framework.write_text(f"THE FIRST RULE\n{rules}THE LAST RULE")
    claude = subject.started(framework_path=framework)
    over(subject.asks(claude, "Yes."))
    request = subject.model.wait_for_request("check-")
    assert framework.read_text() in request.system, "the model did not see the whole framework"
