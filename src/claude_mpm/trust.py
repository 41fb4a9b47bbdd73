"""Which project folders the user trusts to run commands of theirs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_mpm.errors import SettingsError
from claude_mpm.folders import make_private

if TYPE_CHECKING:
    from collections.abc import Mapping

# What in Claude Code's own settings makes it run something, or changes what it reaches.
_RUNS_SOMETHING = frozenset(
    ("hooks", "statusLine", "apiKeyHelper", "awsAuthRefresh", "awsCredentialExport", "env",
     "otelHeadersHelper", "enabledPlugins", "extraKnownMarketplaces", "enableAllProjectMcpServers",
     "enabledMcpjsonServers")
)  # fmt: skip
_SETTINGS = (".claude/settings.json", ".claude/settings.local.json")


def trusted_file() -> Path:
    """Return the path of the list of trusted folders."""
    import platformdirs

    return Path(platformdirs.user_config_dir("claude-mpm", appauthor=False)) / "trusted"


def trusted_folders() -> list[Path]:
    """Return the folders that `trust` was called with.

    Raises:
        SettingsError: the list cannot be read.
    """
    try:
        lines = trusted_file().read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{trusted_file()}: {error}; mend it or remove it") from error
    return [Path(line) for line in lines if line]


def set_trust(folder: Path, *, trusted: bool) -> None:
    """Trust a folder and all below it, or no longer.

    Raises:
        SettingsError: the list cannot be kept.
    """
    folder = folder.resolve()
    left = [each for each in trusted_folders() if each != folder]
    file = trusted_file()
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        make_private(file.parent)
        draft.write_text("".join(f"{each}\n" for each in [*left, *[folder] * trusted]), "utf-8")
        draft.chmod(0o600)
        draft.replace(file)
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}; check the folder") from error


def is_trusted(folder: Path, environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether the user trusts a folder: here, or in Claude Code's own dialog."""
    folder = folder.resolve()
    here = {folder, *folder.parents}
    if here.intersection(trusted_folders()):
        return True
    accepted = _accepted_in_claude(os.environ if environ is None else environ)
    return any(str(each) in accepted for each in here)


def commands_of(folder: Path) -> list[str]:
    """Return what of a project folder would make Claude Code run a command of its own."""
    found = []
    for name in _SETTINGS:
        settings = _read(folder / name)
        keys = _RUNS_SOMETHING.intersection(settings or {})
        found += [f"{key} in {name}" for key in sorted(keys)]
    return found


def _accepted_in_claude(environ: Mapping[str, str]) -> set[str]:
    """Return the folders for which Claude Code's trust dialog was answered with yes."""
    configured = environ.get("CLAUDE_CONFIG_DIR")
    base = Path(configured) if configured else Path(environ.get("HOME", "~")).expanduser()
    projects = (_read(base / ".claude.json") or {}).get("projects")
    if not isinstance(projects, dict):
        return set()
    accepted = "hasTrustDialogAccepted"
    return {
        name for name, each in projects.items() if isinstance(each, dict) and each.get(accepted)
    }


def _read(file: Path) -> dict[str, Any] | None:
    """Return a file's JSON object; None where Claude Code would not take it for settings either."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
