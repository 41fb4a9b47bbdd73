"""Package indexes made up of files: what the set-up is tried against."""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# Whoever installs it can start no Python any more, so that it cannot go unnoticed.
_POISON = "import sys; sys.exit('{name} {version} is installed, and nobody asked for it')\n"
_POISONED_VERSION = "99999.0"


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str] | None = None,
    requires: Iterable[str] = (),
) -> Path:
    """Write a wheel for every Python into `folder`, which is made; return its path.

    Args:
        files: what is installed, by its path, beside the metadata.
        requires: what it depends on, as in `Requires-Dist`; extras in it are declared.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    needs = [f"Requires-Dist: {each}\n" for each in requires]
    info = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{''.join(needs)}",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    content = {**(files or {}), **{f"{stem}.dist-info/{key}": text for key, text in info.items()}}
    record = [f"{path},{_digest(text)},{len(text.encode())}\n" for path, text in content.items()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in content.items():
            archive.writestr(inside, text)
        archive.writestr(
            f"{stem}.dist-info/RECORD", f"{''.join(record)}{stem}.dist-info/RECORD,,\n"
        )
    return path


def write_poison(folder: Path, name: str) -> Path:
    """Write a release of `name` that is newer than all others, and broken in two ways.

    It depends on what does not exist; and where it is installed, Python starts no more.
    """
    poison = _POISON.format(name=name, version=_POISONED_VERSION)
    files = {f"poisoned_{name.replace('-', '_')}.pth": poison}
    requires = ["a-package-that-nobody-has-published"]
    return write_wheel(folder, name, _POISONED_VERSION, files, requires)


def write_index(folder: Path, wheels: Iterable[Path]) -> str:
    """Write an index with `wheels`, which lie below `folder`; return its address."""
    links: dict[str, list[str]] = {}
    for wheel in wheels:
        name = re.sub(r"[-_.]+", "-", wheel.name.partition("-")[0]).lower()
        links.setdefault(name, []).append(
            f'<a href="../../{wheel.relative_to(folder).as_posix()}">{wheel.name}</a><br>\n'
        )
    for name, lines in links.items():
        page = folder / "simple" / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"<!DOCTYPE html><html><body>\n{''.join(lines)}</body></html>\n")
    return (folder / "simple").as_uri()


def pin(wheel: Path, extra: str = "") -> str:
    """Return the line of a lock for a wheel."""
    name, version = wheel.name.split("-")[:2]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{name.replace('_', '-')}{extra}=={version} --hash=sha256:{digest}\n"


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
