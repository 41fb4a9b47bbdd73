"""Where `claude` is found, and what is said where it is not."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

import pytest

from claude_mpm.claude_binary import find_claude
from claude_mpm.errors import ClaudeNotFound

if TYPE_CHECKING:
    from pathlib import Path


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def wheel(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    """Make `folder` the place of the wheel that carries `claude`, or take the wheel away."""
    spec = ModuleSpec("claude_agent_sdk", None, is_package=True)
    if folder:
        spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if folder else None)


def test_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, variable = program(tmp_path / "asked"), program(tmp_path / "variable")
    on_path = program(tmp_path / "bin" / "claude")
    bundled = program(tmp_path / "wheel" / "_bundled" / "claude")
    wheel(monkeypatch, tmp_path / "wheel")
    environ = {"CLAUDE_PATH": str(variable), "PATH": str(on_path.parent)}
    assert find_claude(str(asked), environ) == asked
    assert find_claude(None, environ) == variable
    assert find_claude(None, {**environ, "CLAUDE_PATH": ""}) == on_path
    assert find_claude(None, {"PATH": str(tmp_path)}) == bundled
    assert find_claude(None, {"PATH": ""}) == bundled


def test_no_claude_at_all_names_the_two_ways_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (None, tmp_path):
        wheel(monkeypatch, folder)
        with pytest.raises(ClaudeNotFound) as caught:
            find_claude(None, {"PATH": str(tmp_path)})
        message = str(caught.value)
        assert "install Claude Code" in message
        assert "pip install claude-agent-sdk" in message
        assert "\n" not in message


def test_a_path_that_was_asked_for_is_never_replaced(tmp_path: Path) -> None:
    on_path = program(tmp_path / "bin" / "claude")
    plain = tmp_path / "plain"
    plain.write_text("")
    wrong = {
        str(tmp_path / "missing"): "no such file",
        str(tmp_path): "not a file",
        str(plain): "not executable",
        "~no-such-user/claude": "no such file",
        "x" * 5000: "no such file",
    }
    for path, reason in wrong.items():
        environ = {"PATH": str(on_path.parent)}
        with pytest.raises(ClaudeNotFound, match=f"^claude_path names .*{reason}"):
            find_claude(path, environ)
        with pytest.raises(ClaudeNotFound, match=f"^CLAUDE_PATH names .*{reason}"):
            find_claude(None, {**environ, "CLAUDE_PATH": path})
        with pytest.raises(ClaudeNotFound, match=r"^CLAUDE_PATH names "):
            find_claude(path, {**environ, "CLAUDE_PATH": path})


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "claude")
    monkeypatch.chdir(tmp_path)
    assert find_claude("claude", {}) == tmp_path / "claude"
    assert find_claude(None, {"PATH": "."}) == tmp_path / "claude"


def test_a_file_on_path_that_cannot_run_is_passed_over(tmp_path: Path) -> None:
    first, second = tmp_path / "first", program(tmp_path / "second" / "claude")
    program(first / "claude").chmod(0o644)
    assert find_claude(None, {"PATH": f"{first}:{second.parent}"}) == second


def test_the_sdk_is_found_without_importing_it(tmp_path: Path) -> None:
    package = tmp_path / "claude_agent_sdk"
    program(package / "_bundled" / "claude")
    (package / "__init__.py").write_text("raise SystemExit('imported')\n")
    code = (
        "from claude_mpm.claude_binary import find_claude; print(find_claude(None, {'PATH': ''}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == str(package / "_bundled" / "claude"), done.stderr


def test_the_default_is_the_environment_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_PATH", str(program(tmp_path / "claude")))
    assert find_claude() == tmp_path / "claude"


def test_a_version_is_found_among_those_that_are_installed(home: Path) -> None:
    versions = home / ".local" / "share" / "claude" / "versions"
    versions.mkdir(parents=True)
    for name in ("2.1.331", "2.1.332"):
        (versions / name).write_text("#!/bin/sh\n")
        (versions / name).chmod(0o755)
    assert find_claude("2.1.331") == versions / "2.1.331"
    assert find_claude(environ={"CLAUDE_PATH": "2.1.332"}) == versions / "2.1.332"
    with pytest.raises(
        ClaudeNotFound, match=r"there are 2\.1\.331, 2\.1\.332; run `claude install"
    ):
        find_claude("2.1.300")


def test_where_none_is_installed_by_version_that_is_said(home: Path) -> None:
    with pytest.raises(ClaudeNotFound, match="there is none"):
        find_claude("2.1.300")
