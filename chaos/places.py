"""The real places of the tests, as `tools/places.sh` has started them, and what runs in them."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from claude_mpm.errors import UsageError

_PLACES = Path(__file__).parents[1] / ".places"


def place_env(name: str) -> dict[str, str]:
    """Return what `tools/places.sh` says of a place of the tests.

    Raises:
        UsageError: it does not run.
    """
    try:
        lines = (_PLACES / f"{name}.env").read_text("utf-8").splitlines()
    except FileNotFoundError as error:
        raise UsageError(
            f"the place {name} of the tests does not run; tools/places.sh start {name}"
        ) from error
    return dict(line.split("=", 1) for line in lines)


def pod_template(claude: str) -> str:
    """Return a pod's template that mounts Claude, and shares the network with the model.

    Args:
        claude: the file of Claude Code, on the node.
    """
    mount = {"name": "claude", "mountPath": "/usr/local/bin/claude", "readOnly": True}
    volume = {"name": "claude", "hostPath": {"path": claude, "type": "File"}}
    container = {"name": "claude", "volumeMounts": [mount]}
    spec = {"hostNetwork": True, "containers": [container], "volumes": [volume]}
    return json.dumps({"spec": spec})


def running(text: str) -> list[int]:
    """Return the processes with a text in their arguments, but for this one.

    Args:
        text: arguments are separated by NUL characters in it.
    """
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            with suppress(OSError):
                if text.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
    return found
