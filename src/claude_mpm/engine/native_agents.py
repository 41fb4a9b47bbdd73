"""The agents of Claude's native interface, which takes them by file in a way of its own.

`--agents FILE` is read with `-p` alone, and as an argument everybody on the machine could read it.
A folder that `--add-dir` names is asked about at each start. So they are a plugin of the session's
own, `--plugin-dir`, whose agents have its name in front. (Observed: Claude Code 2.1.330.)
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.folders import make_private
from claude_mpm.journal.storage import storage_errors, write_whole
from claude_mpm.patterns import lazy_pattern
from claude_mpm.records import NATIVE_PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.journal.layout import SessionFolder

_logger = logging.getLogger("claude_mpm.launch")
# Claude Code leaves these out of what a plugin brings.
_NOT_OF_A_PLUGIN = ("hooks", "mcpServers", "permissionMode")
# What JSON leaves as it is and YAML takes for the end of a line or for nothing that may be there.
_ESCAPED = lazy_pattern("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def lay_agents(folder: SessionFolder) -> Path:
    """Write the agents of a session as a plugin, in place of that of an earlier start.

    Returns:
        The folder for `--plugin-dir`.

    Raises:
        StorageError: it cannot be written.
    """
    import shutil  # here, since most starts lay none

    agents: dict[str, dict[str, Any]] = msgspec.json.decode(folder.agents.read_bytes())
    plugin = folder.given / "native"
    about = {"name": NATIVE_PREFIX[:-1], "version": "1.0.0", "description": "This session's agents"}
    with storage_errors(plugin):
        shutil.rmtree(plugin, ignore_errors=True)
        for part in (".claude-plugin", "agents"):
            make_private(plugin / part)
        write_whole(plugin / ".claude-plugin" / "plugin.json", msgspec.json.encode(about))
        for number, (name, definition) in enumerate(agents.items()):
            file = plugin / "agents" / f"{number}.md"  # a name may be too long for one of a file
            write_whole(file, _agent_file(name, definition).encode())
            if lost := [key for key in _NOT_OF_A_PLUGIN if key in definition]:
                _logger.warning("%s of agent %s has no effect on a terminal", ", ".join(lost), name)
    return plugin


def _agent_file(name: str, definition: dict[str, Any]) -> str:
    """Return an agent as Claude Code has it in a file: a head of YAML, which JSON is, and text."""
    head = {"name": name, **definition}
    prompt = head.pop("prompt")
    lines = "".join(f"{key}: {_json(value)}\n" for key, value in head.items())
    return f"---\n{lines}---\n{prompt}\n"


def _json(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
