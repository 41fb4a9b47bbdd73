"""Images with Claude Code in them, built from a base that the user names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from claude_mpm.environments.engine import Engine
from claude_mpm.environments.local import Local
from claude_mpm.folders import temporary_folder

DOCKERFILE = Path(__file__).with_name("Dockerfile")


def build_image(base: str, tag: str, claude: Path, engine: str = "docker") -> None:
    """Build an image with Claude Code; what the engine says goes to standard error.

    Args:
        base: an image of the engine, with glibc and bash.
        tag: the new image's name.
        claude: the command that is copied into it.
        engine: the engine's command.

    Raises:
        LaunchError: there is no such engine or base, or the engine could not build it.
    """
    builder = Engine(engine, Local())
    builder.run("image", "inspect", "--format", "ok", base, subject=base)
    with temporary_folder("image") as folder:
        shutil.copy(DOCKERFILE, folder)
        _lay(claude.resolve(), folder / "claude")
        words = ("build", "--build-arg", f"BASE={base}", "--tag", tag, str(folder))
        builder.show(*words, variables=_without_buildx(builder))


def _lay(claude: Path, target: Path) -> None:
    try:
        os.link(claude, target)  # it is large, and mostly on the same disk
    except OSError:
        shutil.copy(claude, target)


def _without_buildx(builder: Engine) -> dict[str, str]:
    """Return the variables with which a docker without the BuildKit client builds anyway."""
    return {} if builder.quietly("buildx", "version") else {"DOCKER_BUILDKIT": "0"}
