"""The peers, each installed from the package index into an environment of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parent / ".peers"
# The package to install, and the module that it brings.
PEERS = {
    "claude-agent-sdk": "claude_agent_sdk",
    "pexpect": "pexpect",
    "claude-mpm": "claude_mpm",
}


def beside() -> dict[str, str]:
    """Return the peers that are installed beside this program, with its Python."""
    others = {name: module for name, module in PEERS.items() if name != "claude-mpm"}
    return {name: sys.executable for name in others if importlib.util.find_spec(others[name])}


def install() -> dict[str, str]:
    """Install what is missing, and return the Python of each peer that is there then."""
    for name in PEERS:
        ready = FOLDER / name / "ready"
        if ready.exists():
            continue
        print(f"installing {name} …", flush=True)
        venv.create(FOLDER / name, with_pip=True, clear=True)
        command = [_python(name), "-m", "pip", "install", "--quiet", "--no-input", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name} cannot be installed, and is left out: {done.stderr.strip()[-200:]}")
        else:
            ready.touch()
    return {name: str(_python(name)) for name in PEERS if (FOLDER / name / "ready").exists()}


def version(name: str, python: str) -> str:
    """Return the version of an installed peer."""
    code = f"from importlib.metadata import version; print(version({name!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _python(name: str) -> Path:
    return FOLDER / name / "bin" / "python"
