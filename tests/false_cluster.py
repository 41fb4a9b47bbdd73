"""A cluster that the package's fake `kubectl` plays, for the tests of the place `kubernetes`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claude_mpm.environments import kubernetes
from claude_mpm.testing.fake_kubectl import install

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def lay_cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a cluster whose `kubectl` is the one on PATH; its pods' folders are in `folder`."""
    install(folder)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for name in ("CONFIG", "SECRETS", "WORK"):
        (folder / name).mkdir()
        monkeypatch.setattr(kubernetes, name, str(folder / name))
    return folder
