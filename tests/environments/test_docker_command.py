"""What an engine is told, and what its errors come to: without an engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.environments.container_host import _check_access
from claude_mpm.environments.docker import Docker
from claude_mpm.environments.engine import Engine, bind
from claude_mpm.environments.local import Local
from claude_mpm.environments.order import Order
from claude_mpm.environments.ssh import SSH
from claude_mpm.errors import LaunchError, MPMError, UsageError
from claude_mpm.journal.layout import SessionFolder

if TYPE_CHECKING:
    from pathlib import Path


def run_words(**settings: Any) -> list[str]:
    """Return the engine's command for a container that is alike a session's."""
    return Docker("image", network="bridge", **settings).wrap(["id", "-u"])


def after(words: list[str], flag: str) -> list[str]:
    """Return what stands behind each use of a flag."""
    return [words[at + 1] for at, word in enumerate(words) if word == flag]


def test_a_new_container_may_do_as_little_as_possible() -> None:
    words = run_words(user="1234")
    assert words[:2] == ["docker", "run"]
    assert {"--rm", "--init", "--read-only"} <= set(words)
    for flag, value in (
        ("--cap-drop", "ALL"),
        ("--security-opt", "no-new-privileges"),
        ("--pull", "never"),
        ("--network", "bridge"),
        ("--user", "1234:1234"),
    ):
        assert after(words, flag) == [value]
    assert words[-2:] == ["image", "-u"]
    assert after(words, "--entrypoint")[-1] == "id"


def test_what_is_asked_for_wins() -> None:
    words = run_words(
        cpus=1.5,
        memory="2g",
        pull="missing",
        mounts=["/data:/srv/data:ro", "/tools"],
        engine_args="--pids-limit 64 --label 'two words'",
    )
    assert after(words, "--cpus") == ["1.5"]
    assert after(words, "--memory") == after(words, "--memory-swap") == ["2g"]
    assert after(words, "--pull") == ["missing"]
    assert after(words, "--mount") == [
        "type=bind,src=/data,dst=/srv/data,readonly",
        "type=bind,src=/tools,dst=/tools",
    ]
    assert after(words, "--pids-limit")[-1] == "64"
    assert after(words, "--label") == ["two words"]


def test_podman_needs_but_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    words = run_words(engine="podman")
    assert words[:2] == ["podman", "run"]
    assert "--userns=keep-id" in words, "or its root would be this user, and nobody else"
    assert "--userns=keep-id" not in run_words(), "docker knows no such thing"
    assert run_words(engine="sudo /usr/bin/podman")[:3] == ["sudo", "/usr/bin/podman", "run"]


def test_a_path_with_a_comma_is_one_field() -> None:
    assert bind("/a,b", '/c"d') == 'type=bind,"src=/a,b","dst=/c""d"'


def test_a_container_that_runs_is_entered_by_name() -> None:
    assert Docker(container="web", user=33).wrap(["sh", "-s"]) == [
        *("docker", "exec", "--interactive", "--user", "33", "web", "sh", "-s")
    ]
    assert not Docker(container="web").shares_files
    assert Docker("image", network="none").shares_files


def test_the_engine_can_be_on_another_machine() -> None:
    for inside in ("ssh://me@host:2222", SSH("ssh://me@host:2222")):
        words = Docker(container="web", inside=inside).wrap(["true"])
        assert words[0] == "ssh"
        assert words[-1] == "docker exec --interactive web true"
    assert not Docker("image", network="none", inside="ssh://host").shares_files


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "name either an image"),
        ({"image": "a", "container": "b"}, "name either an image"),
        ({"image": "a"}, "-o network=bridge"),
        ({"image": "--privileged", "network": "none"}, "begin with a hyphen"),
        ({"container": "b", "memory": "1g"}, "memory is set when a container is made"),
        ({"image": "a", "network": "none", "pull": "often"}, "never, missing, always"),
        ({"image": "a", "network": "none", "user": "root"}, "in numbers"),
        ({"image": "a", "network": "none", "mounts": "data:/data"}, "absolute paths"),
        ({"image": "a", "network": "none", "mounts": "/data:/data:rx"}, "SOURCE:TARGET:ro"),
        ({"image": "a", "network": "none", "inside": "far.example.org"}, "ssh://USER@HOST:PORT"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        Docker(**settings)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        (
            "permission denied while trying to connect to the Docker daemon socket at"
            ' unix:///var/run/docker.sock: Get "http://…": connect: permission denied',
            "usermod -aG docker USER",
        ),
        (
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?",
            "systemctl start docker",
        ),
        (
            "Unable to find image 'it:latest' locally\ndocker: Error response from daemon:"
            " No such image: it:latest.\nSee 'docker run --help'.",
            "podman pull it",
        ),
        ("Error: it: image not known", "podman pull it"),
        ("Error response from daemon: No such container: it", "podman ps"),
        ("Error response from daemon: Container 0f is not running", "podman start it"),
        ("Error response from daemon: network far not found", "podman network ls"),
        ('… exec: "sh": executable file not found in $PATH: unknown', "has no `sh`"),
        ("WARNING: slow\nError response from daemon: Minimum memory limit is 6MB", "Minimum"),
        ("", "it failed"),
    ],
)
def test_an_engines_error_says_what_to_do(stderr: str, said: str) -> None:
    line = Engine("podman", Local()).explain(stderr, "it")
    assert said in line
    assert "\n" not in line
    assert "Error" not in line


def test_an_engine_that_is_not_there_is_named() -> None:
    with pytest.raises(LaunchError, match="no command no-such-engine; install Docker or Podman"):
        Engine("no-such-engine", Local()).run("ps")


def test_folders_of_the_image_stay_the_images_own(tmp_path: Path) -> None:
    place = Docker("image", network="none", mounts="/srv/code:/code")
    assert place.working_folder("/usr") == "/usr"
    assert place.working_folder("/code/part") == "/code/part", "it is there by `mounts`"
    assert place.working_folder(f"{tmp_path}/a/..") == str(tmp_path)
    with pytest.raises(LaunchError, match=f"no folder {tmp_path}/none"):
        place.working_folder(f"{tmp_path}/none")
    for folder, mounted in (("/usr", []), ("/code/part", []), (str(tmp_path), [str(tmp_path)])):
        mounts = place._recipe(folder).mounts
        assert [each for each in mounts if "/code" not in each] == [
            bind(path, path) for path in mounted
        ]


def test_one_place_for_two_sessions_signals_neither_by_mistake(tmp_path: Path) -> None:
    place = Docker("image", network="none", engine="no-such-engine")
    for name in ("one", "two"):
        folder = SessionFolder(tmp_path / name)
        folder.create()
        order = Order(
            folder=folder,
            claude="claude",
            arguments=(),
            cwd="/usr",
            environ={},
            linger=1,
            linger_limit=1,
        )
        with pytest.raises(MPMError, match="no-such-engine"):
            place.start(order)
    with pytest.raises(LaunchError, match="which of the containers"):
        place.signal(7, 9)


def test_a_folder_of_roots_that_the_containers_user_may_not_enter_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    cwd, session = tmp_path / "work", tmp_path / "work" / "state" / "session"
    session.mkdir(parents=True)
    cwd.chmod(0o755)
    for mode in (0o711, 0o700):
        session.parent.chmod(mode)
        with pytest.raises(LaunchError, match=f"user 4242:4242 may not enter {session.parent};"):
            _check_access(str(cwd), session, "4242:4242")
    session.parent.chmod(0o755)
    _check_access(str(cwd), session, "4242:4242")
    _check_access(str(cwd), session, "0:0")
