"""The peers, each installed into an environment of its own, as its file in `locks` pins it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parent / ".peers"
LOCKS = Path(__file__).parent / "locks"
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
        lock, ready = LOCKS / f"{name}.lock", FOLDER / name / "ready"
        if ready.exists() and ready.read_bytes() == lock.read_bytes():
            continue
        print(f"installing {name} …", flush=True)
        venv.create(FOLDER / name, with_pip=True, clear=True)
        command = [_python(name), "-m", "pip", "install", "--quiet", "--no-input"]
        pinned = ["--no-deps", "--require-hashes", "--requirement", lock]
        done = subprocess.run([*command, *pinned], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name} cannot be installed, and is left out: {done.stderr.strip()[-200:]}")
        else:
            ready.write_bytes(lock.read_bytes())
    return {name: str(_python(name)) for name in PEERS if (FOLDER / name / "ready").exists()}


def version(name: str, python: str) -> str:
    """Return the version of an installed peer."""
    code = f"from importlib.metadata import version; print(version({name!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _python(name: str) -> Path:
    return FOLDER / name / "bin" / "python"
