"""What `claude-mpm doctor` looks at, one function each."""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import ClaudeNotFound, LaunchError, MPMError, StorageError
from claude_mpm.validation import error_line, exists

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.config.settings import Resolved
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.sessions.store import Store

_VERSION_TIMEOUT = 30.0  # seconds; the first start of a big binary from a cold disk is slow
_LOOKED_AT = 10  # sessions that are looked at for what is not known
_NAMED = 8  # of what is not known
_NEEDED_SPACE = 50 << 20  # bytes
# What the host is made of, beside what the shell has in it.
_PROGRAMS = ("sh", "mkfifo", "cat", "sleep", "mv", "rm")
_OLDEST_PYTHON = (3, 11)
_SHELLS_ARE_IN = ("/bin", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Args:
        status: "ok"; "note" for what is slower or missing, but stops nothing; "problem".
        found: what was found, in one line.
        remedy: the command that mends it; empty where there is nothing to mend.
    """

    name: str
    status: str
    found: str
    remedy: str = ""


def check_python() -> Check:
    """The Python that runs this."""
    found = f"{sys.version.split()[0]} in {sys.prefix}"
    if sys.version_info >= _OLDEST_PYTHON:
        return Check("python", "ok", found)
    return Check("python", "problem", f"{found} is too old", "python3.11 -m venv .venv")


def check_package() -> Check:
    """Whether another program of the same name is installed here, or is what PATH leads to."""
    import shutil
    from importlib.metadata import distributions

    from claude_mpm import __version__

    found = f"{__version__} in {Path(__file__).parents[1]}"
    others = {
        f"release {each.version} in {each.locate_file('')}"
        for each in distributions(name="claude-mpm")
        if each.version != __version__
    }
    command = shutil.which("claude-mpm")
    python = _interpreter(Path(command)) if command else None
    if python is not None and python.parent.parent != Path(sys.prefix):
        others.add(f"{command} of {python.parent.parent}")
    if not others:
        return Check("package", "ok", found)
    found += f"; there is also {', '.join(sorted(others))}: on the package index, another program"
    remedy = f"{shlex.quote(str(python or sys.executable))} -I -m pip uninstall claude-mpm"
    return Check("package", "note", f"{found} has this name", remedy)


def _interpreter(script: Path) -> Path | None:
    """Return the Python that is named in the first line of a script; None for anything else."""
    with script.open("rb") as file:
        first = file.readline(4096)
    named = Path(os.fsdecode(first.removeprefix(b"#!").strip()))
    is_python = first.startswith(b"#!/") and named.name.startswith("python")
    return named if is_python else None


def check_claude(resolved: Resolved) -> Check:
    """Whether there is a `claude`, which one, and that it runs."""
    from claude_mpm.claude_binary import find_claude

    asked = resolved.settings.claude_path
    try:
        path = find_claude(asked)
    except ClaudeNotFound as error:
        remedy = _unset(resolved.origin["claude_path"]) if asked else ""
        remedy = remedy or "pip install claude-agent-sdk"
        return Check("claude", "problem", str(error), remedy)
    if asked:
        way = f"named by {resolved.origin['claude_path']}"
    else:
        way = "in the wheel" if path.parent.name == "_bundled" else "on PATH"
    return _check_version(path, way)


def _unset(origin: str) -> str:
    kind, _, name = origin.partition(" ")
    if kind == "environment":
        return f"unset {name}"
    return f"${{EDITOR:-vi}} {shlex.quote(origin)}" if kind.startswith("/") else ""


def _check_version(path: Path, way: str) -> Check:
    import subprocess

    from claude_mpm.capabilities.asking import QUIET

    remedy = f"{shlex.quote(str(path))} --version"
    try:
        ended = subprocess.run(
            [path, "--version"], env={**os.environ, **QUIET}, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=_VERSION_TIMEOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        found = f"{path} ({way}) did not tell its version in {_VERSION_TIMEOUT:g} s"
        return Check("claude", "problem", found, remedy)
    except OSError as error:
        found = f"{path} ({way}) cannot be run: {error.strerror}"
        return Check("claude", "problem", found, remedy)
    said = ended.stdout.decode("utf-8", "replace").strip().partition("\n")[0]
    if ended.returncode != 0:
        printed = ended.stderr.decode("utf-8", "replace") or said
        why = f": {error_line(printed)}" if printed.strip() else ""
        found = f"{path} ({way}) ended with status {ended.returncode}{why}"
        return Check("claude", "problem", found, remedy)
    return _judge_version(said, f"{said or 'no version'}, {path} ({way})", path)


def _judge_version(said: str, found: str, path: Path) -> Check:
    """Return whether a version is old enough to be refused, or new enough to be unknown."""
    from claude_mpm.capabilities.facts import FLOOR, by_version, parse_version, written
    from claude_mpm.capabilities.releases import newest_tried

    version, newest = parse_version(said), newest_tried()
    build = by_version(said)
    probe = f"claude-mpm doctor --claude {shlex.quote(str(path))}"
    if not build.is_fit:
        found = f"{found} is too old: needed is {written(FLOOR)} or newer"
        return Check("claude", "problem", found, "claude update")
    if version is None or version > newest:
        return Check("claude", "note", f"{found}; tried is up to {written(newest)}", probe)
    if limits := build.limits():
        return Check("claude", "note", f"{found}: {limits}", "claude update")
    return Check("claude", "ok", found)


def check_programs() -> Check:
    """The small programs of which the host is made."""
    import shutil

    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if not missing:
        return Check("programs", "ok", ", ".join(_PROGRAMS))
    found = f"not on PATH: {', '.join(missing)}"
    return Check("programs", "problem", found, "export PATH=/usr/bin:/bin:$PATH")


def check_shell() -> Check:
    """Whether there is a shell that Claude Code's own Bash tool takes: it wants bash or zsh."""
    import shutil

    places = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SHELLS_ARE_IN))
    found = [path for name in ("bash", "zsh") if (path := shutil.which(name, path=places))]
    if found:
        return Check("shell", "ok", found[0])
    missing = "no bash and no zsh: Claude's Bash tool will not work"
    return Check("shell", "problem", missing, "apt-get install bash")


def check_home() -> Iterator[Check]:
    """Whether the user has a home, which Claude Code does not start without."""
    from claude_mpm.folders import config_folder

    if config_folder() is None:
        found = f"user {os.getuid()} has none: Claude Code does not start, no user's settings count"
        yield Check("home", "problem", found, "export HOME=/a/folder/of/yours")


def check_state(store: Store) -> Check:
    """Whether sessions can be kept: files and FIFOs in the state folder, and free space."""
    import shutil

    folder = next(path for path in (store.path, *store.path.parents) if os.path.lexists(path))
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as probe:
            os.mkfifo(Path(probe) / "fifo")
            (Path(probe) / "file").write_bytes(b"written")
    except OSError as error:
        found = f"{store.path} does not take sessions: {error.strerror}"
        return Check("state folder", "problem", found, _remedy(error, folder))
    free = shutil.disk_usage(folder).free
    found = f"{store.path}, {free >> 20} MB free"
    if free < _NEEDED_SPACE:
        return Check("state folder", "problem", found, f"df -h {shlex.quote(str(folder))}")
    return Check("state folder", "ok", found)


def _remedy(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"df -h {shlex.quote(str(folder))}"
    if error.errno == errno.EACCES:
        return f"chmod u+rwx {shlex.quote(str(folder))}"
    return "export CLAUDE_MPM_STATE_DIR=$HOME/.local/state/claude-mpm"


def check_sockets() -> Check:
    """Whether there is a folder for the sockets of screens and of shared connections."""
    from claude_mpm.folders import find_runtime_folder

    try:
        folder, note = find_runtime_folder()
    except LaunchError as error:
        return Check("sockets", "problem", str(error), "export XDG_RUNTIME_DIR=/run/user/$(id -u)")
    if note:
        return Check("sockets", "note", note, f"unset {note.split()[0]}")
    return Check("sockets", "ok", str(folder))


def check_index(store: Store) -> Check:
    """Whether the index can be read; it is only looked at, not made."""
    import sqlite3

    from claude_mpm.sessions.index import SCHEMA_VERSION

    path = store.path / "index.sqlite"
    if not exists(path):
        return Check("index", "ok", "none yet")
    try:
        database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            sound = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            count = database.execute("SELECT count(*) FROM sessions").fetchone()[0]
        finally:
            database.close()
    except sqlite3.Error as error:
        version, sound, count = SCHEMA_VERSION, str(error), 0
    if sound != "ok" or version != SCHEMA_VERSION:
        why = sound if sound != "ok" else f"its schema is {version}, wanted is {SCHEMA_VERSION}"
        return Check("index", "problem", f"{path}: {why}", "claude-mpm doctor --rebuild-index")
    return Check("index", "ok", f"{count} sessions, schema {version}")


def check_sessions(store: Store) -> Check:
    """Whether every session's record can be read, and its files are what they were made as."""
    damaged: list[tuple[SessionFolder, str]] = []
    count = 0
    try:
        folders = list(store.sessions())
    except StorageError as error:
        return Check("sessions", "problem", str(error), f"ls -ld {shlex.quote(str(store.path))}")
    for folder in folders:
        count += 1
        try:
            folder.read_meta()
            damaged += [(folder, found) for found in folder.damage()[:1]]
        except StorageError as error:
            damaged.append((folder, str(error)))
    if damaged:
        first, why = damaged[0]
        found = f"{len(damaged)} of {count} are damaged, the first is {first.path}: {why}"
        remedy = f"mv {shlex.quote(str(first.path))} /tmp"
        return Check("sessions", "problem", found, remedy)
    return Check("sessions", "ok", str(count))


def check_secrets(store: Store) -> Iterator[Check]:
    """Whether a start that was killed has left the variables of its Claude, with their keys."""
    try:
        left = [each for each in store.sessions() if each.environ.exists() and not each.has_host()]
    except StorageError:  # the check of the sessions says so
        return
    if left:
        found = f"{left[0].environ} has keys, and nobody is to read it any more ({len(left)} such)"
        linked = left[0].link_file.exists()
        remedy = f"claude-mpm stop {left[0].path.name}" if linked else "claude-mpm doctor --sweep"
        yield Check("secrets", "problem", found, remedy)


def check_unknown(store: Store) -> Iterator[Check]:
    """Whether the newest sessions have messages or fields that are not known."""
    from collections import Counter

    from claude_mpm.capabilities.strangers import strangers_of
    from claude_mpm.wire import StreamJson

    found: Counter[str] = Counter()
    sessions = 0
    for folder in _newest(store):
        try:
            if folder.read_meta().wire != StreamJson.name:
                continue
            unknown = strangers_of(folder.journal)
        except (StorageError, FileNotFoundError):  # the check of the sessions says so
            continue
        found.update(unknown)
        sessions += bool(unknown)
    if found:
        named = ", ".join(f"{name} ({n})" for name, n in found.most_common(_NAMED))
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        told = f"not known, in {sessions} of the last {_LOOKED_AT} sessions: {named}{more}"
        yield Check("unknown", "note", told, "claude-mpm doctor --claude")


def _newest(store: Store) -> list[SessionFolder]:
    """Return the sessions that were started last."""
    try:
        folders = [folder for folder in store.sessions() if folder.meta_file.exists()]
        newest = sorted(folders, key=lambda each: each.meta_file.stat().st_mtime, reverse=True)
    except (StorageError, OSError):  # the check of the sessions says so
        return []
    return newest[:_LOOKED_AT]


def check_framework(resolved: Resolved) -> Check:
    """Whether the framework can be read, and what is in it."""
    from claude_mpm.config.framework import FrameworkLoader

    wanted = resolved.settings
    try:
        loader = FrameworkLoader(
            wanted.framework,
            wanted.agents_dir,
            enabled=wanted.use_framework,
            confined_to=resolved.confined_to,
        )
        framework = loader.load()
    except MPMError as error:
        path = str(error).partition(": ")[0].partition(", line ")[0]
        return Check("framework", "problem", str(error), f"${{EDITOR:-vi}} {shlex.quote(path)}")
    agents = ", ".join(agent.name for agent in framework.agents) or "none"
    found = f"{framework.source}, sha256 {framework.sha256[:12]}, agents: {agents}"
    return Check("framework", "ok", found)


def check_plugins(resolved: Resolved) -> Iterator[Check]:
    """Whether each plugin can be imported."""
    from claude_mpm.orchestration.factory import load_plugins

    for module in resolved.settings.plugins:
        try:
            load_plugins([module])
        except MPMError as error:
            remedy = f"{shlex.quote(sys.executable)} -P -c 'import {module}'"
            yield Check("plugin", "problem", str(error), remedy)
        else:
            yield Check("plugin", "ok", module)


def check_notify(resolved: Resolved) -> Iterator[Check]:
    """Whether the notification settings can be used; no notification is sent."""
    import shutil

    from claude_mpm.cli.app import notify_of
    from claude_mpm.engine.notification import read_secret

    try:
        notify = notify_of(resolved.settings)
        if notify is None:
            return
        signed = bool(notify.webhook and read_secret(notify))
    except MPMError as error:
        yield Check("notify", "problem", str(error), "${EDITOR:-vi} " + _user_file())
        return
    programs = [*notify.command[:1], *(["notify-send"] if notify.desktop else [])]
    if missing := [program for program in programs if shutil.which(program) is None]:
        found = f"there is no command {', '.join(missing)}: it notifies nobody"
        yield Check("notify", "problem", found, "${EDITOR:-vi} " + _user_file())
        return
    hook = f"a webhook, {'signed' if signed else 'not signed'}"
    yield Check("notify", "ok", ", ".join([*programs, *([hook] if notify.webhook else [])]))


def _user_file() -> str:
    from claude_mpm.config.settings import user_settings_file

    return shlex.quote(str(user_settings_file()))


def check_orchestrators(resolved: Resolved) -> Iterator[Check]:
    """Whether the orchestrator of the settings is there, and those of installed packages load."""
    from claude_mpm.orchestration import factory

    remedy = "claude-mpm orchestrators"
    for error in factory.failed_orchestrators().values():
        yield Check("orchestrators", "note", str(error), remedy)
    try:
        chosen = factory.find_orchestrator(resolved.settings.orchestrator)
    except MPMError as error:
        yield Check("orchestrators", "problem", str(error), remedy)
        return
    names = ", ".join(each.name for each in factory.orchestrators())
    yield Check("orchestrators", "ok", f"{chosen.name} ({chosen.source}) of: {names}")


def check_watching() -> Check:
    """Whether the kernel tells of changes, so that nobody has to look again and again."""
    from claude_mpm.journal.folder_watch import POLL_INTERVAL, subscribe

    with tempfile.TemporaryDirectory() as folder:
        subscription = subscribe(Path(folder))
        subscription.close()
    if not subscription.polls:
        return Check("watching", "ok", "inotify")
    found = f"no inotify: journals are looked at every {POLL_INTERVAL:g} s"
    remedy = "sudo sysctl fs.inotify.max_user_instances=1024"
    return Check("watching", "note", found, remedy if sys.platform.startswith("linux") else "")


def settings_rows(resolved: Resolved) -> list[dict[str, Any]]:
    """Return every setting with its value and where that came from.

    What may be secret is left out: the options of places, and what follows the host of a webhook.
    """
    values = msgspec.structs.asdict(resolved.settings)
    values["places"] = {name: place.orchestrator for name, place in values["places"].items()}
    if hook := values["notify_webhook"]:
        scheme, _, rest = hook.partition("://")
        host = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
        values["notify_webhook"] = f"{scheme}://{host}/…"
    return [
        {"setting": key, "value": value, "from": resolved.origin[key]}
        for key, value in values.items()
    ]
