"""A host over SSH: what is said before anything starts, and the copy of Claude Code."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from claude_mpm import MPMOrchestrator
from claude_mpm.environments import ssh
from claude_mpm.environments.ssh import SSH
from claude_mpm.errors import LaunchError, UsageError
from claude_mpm.testing.subject import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from real_places import SSHServer


@pytest.fixture
def host(sshd: SSHServer) -> Iterator[SSH]:
    """A place that installs Claude Code where it is missing; what it installed goes again."""
    place = SSH(sshd.host, config=sshd.config, install=True)
    yield place
    place.run(["sh", "-c", 'rm -rf "$HOME/.local/share/claude-mpm"'])


def test_claude_is_copied_to_a_host_that_has_none_and_only_once(host: SSH) -> None:
    installed = host.find_claude("claude-that-is-not-there")
    assert installed.endswith("/.local/share/claude-mpm/claude")
    assert b"Claude Code" in host.run([installed, "--version"])
    when = host.run(["stat", "-c", "%y", installed])
    assert host.find_claude("claude-that-is-not-there") == installed
    assert host.run(["stat", "-c", "%y", installed]) == when


class Cut(SSH):
    """A host, which is another home on this machine, to which no more comes than so many bytes."""

    def __init__(self, home: Path, size: int) -> None:
        super().__init__("host", install=True)
        self._words = ["env", f"HOME={home}", "sh", "-c", f'head -c {size} | "$@"', "cut"]

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return [*self._words, *argv]


def test_half_a_copy_of_claude_is_none(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="only a part of it has arrived; start the session again"):
        Cut(tmp_path, 100_000).find_claude("claude-that-is-not-there")
    assert [path for path in tmp_path.rglob("*") if path.name.startswith("claude.")] == []
    assert not (tmp_path / ".local/share/claude-mpm/claude").exists()


def test_two_who_copy_claude_at_once_do_not_write_into_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claude = tmp_path / "claude"
    claude.write_bytes(b"x" * 1_000_000)
    monkeypatch.setattr(ssh, "find_claude", lambda: claude)
    reader, slow = os.pipe()
    with (
        open(slow, "wb") as writer,
        subprocess.Popen(
            ["sh", "-c", ssh._COPY, tmp_path / "there", "1000000"],
            stdin=reader,
            stderr=subprocess.DEVNULL,
        ) as first,
    ):
        os.close(reader)
        writer.write(b"x")
        writer.flush()
        until(lambda: [*tmp_path.glob("there.*")], "the first does not begin")
        home = tmp_path / "there"
        assert Cut(tmp_path, 1_000_000)._copy_claude(str(home)) == str(home)
        assert home.read_bytes() == claude.read_bytes()
        writer.close()
        assert first.wait(60) == 1
    assert home.read_bytes() == claude.read_bytes()
    assert [*tmp_path.glob("there.*")] == []


def test_two_names_of_one_host_share_no_connection(sshd: SSHServer, tmp_path: Path) -> None:
    key = tmp_path / "another_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    known = Path(sshd.config).read_text("utf-8")
    other = re.sub(r"(?m)^(\s*IdentityFile) .*", rf"\1 {key}", known.replace(sshd.host, "other"))
    config = tmp_path / "config"
    config.write_text(f"{known}\n{other}")
    assert SSH(sshd.host, config=str(config)).run(["echo", "in"]) == b"in\n"
    with pytest.raises(LaunchError, match="Permission denied"):
        SSH("other", config=str(config)).run(["true"])


def test_a_claude_that_is_there_is_taken(host: SSH) -> None:
    assert host.find_claude("sh").endswith("/sh")


def test_what_is_missing_is_said_before_anything_starts(sshd: SSHServer) -> None:
    place = SSH(sshd.host, config=sshd.config)
    claude = MPMOrchestrator(environment=place, claude_path="claude-that-is-not-there")
    with pytest.raises(LaunchError, match="there is no command claude-that-is-not-there there"):
        claude.start_or_raise()
    claude.stop()


def test_a_host_that_does_not_exist_is_an_error_with_the_words_of_ssh(sshd: SSHServer) -> None:
    with pytest.raises(LaunchError, match=r"no-such-host.*try: ssh no-such-host true"):
        SSH("no-such-host", config=sshd.config).run(["true"])


def test_a_host_whose_key_is_not_known_is_refused(sshd: SSHServer, tmp_path: object) -> None:
    place = SSH(sshd.host, config=sshd.config, args=[
        "-o", f"UserKnownHostsFile={tmp_path}/none", "-o", "ControlPath=none",
    ])  # fmt: skip
    with pytest.raises(LaunchError, match="Host key verification failed"):
        place.run(["true"])


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch /tmp/x"])
def test_a_host_that_would_be_an_option_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="is no host"):
        SSH(host)
