"""Claude in a container of a real engine: what is kept, what is closed, and what is told."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm import Outcome
from claude_mpm.environments.docker import Docker
from claude_mpm.environments.ssh import SSH
from claude_mpm.errors import LaunchError, StorageError
from claude_mpm.orchestration.orchestrator import MPMOrchestrator
from claude_mpm.testing import Call, Stall
from claude_mpm.testing.processes import commands
from claude_mpm.testing.subject import until
from command import SECONDS, Command, said_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claude_mpm.testing import ScriptedModel
    from claude_mpm.testing.request import Request
    from conftest import MakeClaude
    from real_places import Engine, SSHServer

SECRET = f"sk-{secrets.token_hex(16)}"
BASH = ["--allowedTools=Bash"]
Make = Callable[..., Any]


def engine(*words: str) -> str:
    """Run the engine's command and return what it prints."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def containers(session: str) -> list[str]:
    """Return the containers of a session, also those that have ended."""
    found = engine("ps", "--all", "--quiet", "--filter", f"label=claude-mpm.session={session}")
    return found.split()


@pytest.fixture
def project() -> Path:
    """The folder to work in; it belongs to somebody who is not root."""
    if os.geteuid() == 0:
        os.chown(".", 4242, 4242)
    return Path.cwd()


@pytest.fixture
def claude_in_it(docker: Engine) -> str:
    """What brings Claude Code into a container of the tests' image."""
    return f"{docker.claude}:/usr/local/bin/claude:ro"


@pytest.fixture
def make(docker: Engine, claude_in_it: str, project: Path, make_claude: MakeClaude) -> Make:
    """Makes orchestrators of a new container."""
    defaults = {
        "image": docker.image,
        "network": "host",
        "mounts": claude_in_it,
        "claude_path": None,
        "claude_args": BASH,
        "permission_mode": "default",
    }
    return lambda **options: make_claude("docker", **{**defaults, **options})


@pytest.fixture
def command(
    docker: Engine, claude_in_it: str, project: Path, model: ScriptedModel, home: Path
) -> Iterator[Command]:
    """The command `claude-mpm`, whose every `run` needs `CONTAINER`."""
    command = Command(model, home, "")
    command.environ["DOCKER_HOST"] = docker.host
    yield command
    command.close()


@pytest.fixture
def in_a_container(docker: Engine, claude_in_it: str) -> list[str]:
    """The flags of `run` for a new container."""
    settings = {"image": docker.image, "network": "host", "mounts": claude_in_it}
    flags = [f"--option={name}={value}" for name, value in settings.items()]
    return ["--orchestrator=docker", *flags]


def test_a_turn_runs_in_a_container_that_is_gone_afterwards(make: Make, project: Path) -> None:
    with make() as claude:
        assert claude.ask("hello").check().text == "Claude heard: hello"
        (container,) = containers(claude.session_id)
        place = claude.store.folder(claude.session_id).read_place()
        assert place["container"].startswith(container)
        assert place["cwd"] == str(project)
    assert containers(claude.session_id) == []


def test_a_resume_in_a_new_container_keeps_the_conversation(
    make: Make, model: ScriptedModel
) -> None:
    with make(session_id="kept") as first:
        first.ask("the first thing").check()
        (container,) = containers("kept")
    with make(session_id="kept", resume=True) as second:
        assert second.ask("the second thing").check().text == "Claude heard: the second thing"
        assert containers("kept") != [container]
    assert "the first thing" in str(model.wait_for_request("the second thing").messages)


def looked(make: Make, model: ScriptedModel, script: str, **options: Any) -> str:
    """Return what a command prints that Claude runs in a container."""
    printed: list[str] = []

    def take(request: Request) -> str:
        printed.extend(result.text for result in request.tool_results)
        return "Done."

    model.on("look", Call("Bash", command=script), take)
    with make(**options) as claude:
        claude.ask("look").check()
    return printed[0]


def test_from_the_inside_there_is_nothing_to_break_out_with(
    make: Make, model: ScriptedModel
) -> None:
    script = (
        "id -u; grep -E '^(CapPrm|CapEff|CapBnd|NoNewPrivs):' /proc/self/status | tr -d '\\t';"
        " touch /here 2>&1; touch /usr/here 2>&1; tr '\\0' '\\n' </proc/1/cmdline | head -n 1;"
        ' touch "$HOME/it" && echo "$HOME"'
    )
    uid, *rest = looked(make, model, script).splitlines()
    assert int(uid) == (4242 if os.geteuid() == 0 else os.geteuid()) != 0
    none = "0" * 16
    assert rest[:4] == [f"CapPrm:{none}", f"CapEff:{none}", f"CapBnd:{none}", "NoNewPrivs:1"]
    assert all("Read-only file system" in line for line in rest[4:6])
    assert rest[6].endswith("init")
    assert rest[7] == "/tmp/home"


def test_from_the_outside_no_secret_is_seen(make: Make, model: ScriptedModel, home: Path) -> None:
    model.on("look", Call("Bash", command='echo "${#A_SECRET}"'), Stall(), "Done.")
    environ = model.environment(home, A_SECRET=SECRET, ANTHROPIC_API_KEY=f"{SECRET}-key")
    with make(environ=environ, variables={"ANOTHER": SECRET}) as claude:
        turn = claude.ask("look")
        model.wait_for_stall()
        results = [each.text for request in model.requests for each in request.tool_results]
        assert results == [str(len(SECRET))], "Claude itself has it"
        (container,) = containers(claude.session_id)
        seen = {
            "docker inspect": engine("inspect", container),
            "docker logs": engine("logs", container),
            "docker ps": engine("ps", "--no-trunc"),
            "a list of processes": commands(),
        }
        assert claude.session_id in seen["a list of processes"]
        assert not [where for where, text in seen.items() if SECRET in text]
        model.release()
        turn.check()
        folder = claude.store.folder(claude.session_id).path
    kept = [path for path in folder.rglob("*") if path.is_file() and SECRET in path.read_text()]
    assert not kept


def test_nothing_that_is_written_here_follows_a_link_that_was_made_inside(
    make: Make, tmp_path: Path
) -> None:
    target = tmp_path / "mine"
    target.write_text("mine\n")
    script = (
        'cd "${CLAUDE_CONFIG_DIR%/*}" && for name in err.log host.log decisions.jsonl; do'
        f' rm -f "$name"; ln -s {target} "$name"; done; cd ../given;'
        " touch inbox/1 || mv inbox other; ls inbox; ls ../meta.json; echo done; tail -f /dev/null"
    )
    options = {"wire": "plain-text", "claude_path": "/bin/sh", "claude_args": ["-c", script]}
    claude = make(**options, use_framework=False)
    with claude:
        assert claude.get_output(SECONDS) == "done"
        folder = claude.store.folder(claude.session_id)
        engine("kill", *containers(claude.session_id))
        claude.process.wait(SECONDS)
    assert folder.errors.path.is_symlink()
    assert not folder.decisions.exists()
    assert target.read_text() == "mine\n"
    assert list(folder.inbox.iterdir()) == []
    with pytest.raises(StorageError):
        make(session_id=claude.session_id, resume=True).start_or_raise()
    assert target.read_text() == "mine\n"


def test_what_was_asked_for_is_what_the_container_gets(
    make: Make, docker: Engine, tmp_path: Path, claude_in_it: str
) -> None:
    (tmp_path / "data").mkdir()
    mounts = [claude_in_it, f"{tmp_path}/data:/data:ro"]
    with make(cpus=1, memory="700m", mounts=mounts, engine_args=["--pids-limit", "300"]) as claude:
        (container,) = containers(claude.session_id)
        found = json.loads(engine("inspect", container))[0]
    host = found["HostConfig"]
    assert host["NanoCpus"] == 10**9
    assert host["Memory"] == host["MemorySwap"] == 700 * 2**20
    assert host["PidsLimit"] == 300
    assert host["NetworkMode"] == "host"
    data = next(each for each in found["Mounts"] if each["Destination"] == "/data")
    assert (data["Source"], data["RW"]) == (f"{tmp_path}/data", False)


def test_without_a_network_there_is_none(make: Make) -> None:
    script = 'read -r go; printf "%s " $(ls /sys/class/net); echo end'
    with make(
        network="none",
        wire="plain-text",
        claude_path="/bin/sh",
        claude_args=["-c", script],
        use_framework=False,
    ) as claude:
        claude.send_input("go")
        assert claude.get_output(SECONDS) == "lo end"


def test_the_work_that_is_done_in_the_container_is_here(
    make: Make, model: ScriptedModel, project: Path
) -> None:
    looked(make, model, "mkdir made && echo there >made/file")
    assert (project / "made" / "file").read_text() == "there\n"
    assert (project / "made").stat().st_uid == project.stat().st_uid


def killed_in_the_middle(command: Command, model: ScriptedModel, flags: list[str]) -> str:
    """Kill a controller in the middle of a turn; return the session's name."""
    model.on(
        "slowly", "The first half.", Call("Bash", command="echo working"), Stall(), "The rest."
    )
    controller = command.start("run", "slowly", *flags, "--", *BASH)
    model.wait_for_stall()
    controller.kill()
    assert controller.wait(SECONDS) == -signal.SIGKILL
    return command.session().path.name


def test_a_killed_controllers_container_goes_on_and_is_followed(
    command: Command, model: ScriptedModel, in_a_container: list[str]
) -> None:
    session = killed_in_the_middle(command, model, in_a_container)
    (container,) = containers(session)
    attached = command.start("attach")
    model.release()
    said, _ = attached.communicate(timeout=SECONDS)
    assert said == "The first half.\nThe rest.\n" == said_in(command.session())
    assert containers(session) == [container]
    assert command("resume", session, "and now?").stdout == "Claude heard: and now?\n"
    assert command("stop").stdout.startswith(session[:8])
    assert containers(session) == []


def test_another_controller_stops_what_a_killed_one_left(
    command: Command, model: ScriptedModel, in_a_container: list[str]
) -> None:
    session = killed_in_the_middle(command, model, in_a_container)
    command("stop")
    assert containers(session) == []
    left = {path.name for path in command.session().exchange.iterdir()}
    assert not left & {"feed", "lease", "alive", "pid", "environ"}


def test_nobody_follows_and_the_container_ends_by_itself(
    command: Command, model: ScriptedModel, in_a_container: list[str]
) -> None:
    session = killed_in_the_middle(command, model, ["--option=linger=0.5", *in_a_container])
    model.release()
    command("wait", session, status=None)
    subprocess.run(["docker", "wait", *containers(session)], capture_output=True, check=False)
    assert command.session().exit_status() == 0
    assert said_in(command.session()) == "The first half.\nThe rest.\n"


def test_a_container_that_is_killed_ends_the_turn_with_a_reason(
    make: Make, model: ScriptedModel
) -> None:
    model.on("slowly", "The first half.", Call("Bash", command="echo working"), Stall(), "no")
    with make() as claude:
        turn = claude.ask("slowly")
        model.wait_for_stall()
        engine("kill", *containers(claude.session_id))
        assert turn.wait(SECONDS)
        assert turn.text == "The first half."
        assert turn.verdict.outcome is Outcome.LOST
        assert "the container was killed with signal 9" in str(turn.verdict)
    assert containers(claude.session_id) == []


def test_a_claude_without_memory_says_so(make: Make, model: ScriptedModel) -> None:
    claude = make(memory="64m")
    with pytest.raises(LaunchError, match="the container ran out of memory; give it more"):
        claude.start_or_raise()
        claude.ask("hello").check()
    claude.stop()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": "no/such-image"}, "docker: there is no image .*: docker pull no/such-image"),
        ({"network": "no-such-network"}, "no such network: .*docker network ls"),
        ({"engine": "no-such-engine"}, "there is no command no-such-engine; install Docker"),
        ({"mounts": ()}, "docker: there is no command claude in the image"),
        ({"claude_path": "/no/claude"}, "docker: there is no command /no/claude in the image"),
        ({"cwd": "/no/such/folder"}, "docker: there is no folder /no/such/folder"),
        ({"mounts": "/no/such:/data"}, "bind source path does not exist: /no/such"),
        ({"cpus": 1000}, "Range of CPUs"),
        ({"engine_args": "--no-such-flag"}, "unknown flag: --no-such-flag"),
        ({"engine_args": "--entrypoint no-such-shell"}, "the image has no `sh`"),
    ],
)
def test_a_start_that_fails_says_why_in_one_line(
    make: Make, options: dict[str, Any], said: str
) -> None:
    claude = make(**options)
    with pytest.raises(LaunchError, match=said) as failed:
        claude.start_or_raise()
    assert "\n" not in str(failed.value)
    assert "Error" not in str(failed.value)
    assert containers(claude.session_id) == []


def test_an_engine_that_does_not_run_is_told(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(LaunchError, match="no engine answers; start it"):
        make().start_or_raise()


@pytest.fixture
def running(docker: Engine, claude_in_it: str) -> Iterator[str]:
    """A container of somebody else's that runs."""
    source, target, _ = claude_in_it.split(":")
    container = engine(
        *("run", "--detach", "--rm", "--pull=never", "--init", "--network=host", "--user=1000"),
        *("--env=HOME=/tmp", "--volume", f"{source}:{target}:ro"),
        *(docker.image, "tail", "-f", "/dev/null"),
    )
    yield container
    engine("kill", container)


def test_a_container_that_runs_is_used_and_left_as_it_was(
    running: str, make_claude: MakeClaude
) -> None:
    with make_claude("docker", container=running, claude_path=None) as claude:
        assert claude.ask("hello").check().text == "Claude heard: hello"
        place = claude.store.folder(claude.session_id).read_place()
        assert place["container"] == running

    def is_left_alone() -> bool:
        left = engine("exec", running, "ps", "-A", "-o", "args=").splitlines()
        return all("tail -f /dev/null" in line or line.startswith("ps ") for line in left)

    until(is_left_alone, "something of the session runs on in the container")
    assert engine("exec", running, "ls", "/tmp/.local/state/claude-mpm/far") == ""


def test_a_container_that_does_not_run_is_named(docker: Engine, make_claude: MakeClaude) -> None:
    with pytest.raises(LaunchError, match="no container no-such-one; `docker ps` lists"):
        make_claude("docker", container="no-such-one").start_or_raise()
    made = engine("create", "--pull=never", docker.image, "true")
    try:
        with pytest.raises(LaunchError, match=f"does not run; start it: docker start {made}"):
            make_claude("docker", container=made).start_or_raise()
    finally:
        engine("rm", made)


def test_a_container_on_another_machine(
    docker: Engine,
    sshd: SSHServer,
    claude_in_it: str,
    model: ScriptedModel,
    home: Path,
) -> None:
    place = Docker(
        docker.image,
        network="host",
        mounts=claude_in_it,
        inside=SSH(sshd.host, config=sshd.config),
    )
    options: dict[str, Any] = {
        "environment": place,
        "environ": model.environment(home),
        "state_dir": str(home / "state"),
        "session_id": "far-away",
    }
    with MPMOrchestrator(**options) as claude:
        assert claude.ask("the first thing").check().text == "Claude heard: the first thing"
        (container,) = containers("far-away")
        place_said = claude.store.folder("far-away").read_place()
        assert place_said["container"].startswith(container)
    assert containers("far-away") == []
    with MPMOrchestrator(**options, resume=True) as claude:
        claude.ask("the second thing").check()
    assert "the first thing" in str(model.wait_for_request("the second thing").messages)


def test_an_unknown_image_on_another_machine_is_named(
    docker: Engine, sshd: SSHServer, make_claude: MakeClaude
) -> None:
    inside = SSH(sshd.host, config=sshd.config)
    claude = make_claude("docker", image="no/such", network="none", inside=inside)
    with pytest.raises(LaunchError, match="docker pull no/such"):
        claude.start_or_raise()


def test_an_image_is_built_from_a_base_of_the_users_own(
    docker: Engine, claude_path: str, command: Command, make: Make
) -> None:
    tag = "claude-mpm-test-built"
    built = command("docker", "build", f"--base={docker.image}", f"--tag={tag}")
    try:
        assert built.stdout == f"{tag}\n"
        assert "-o image=claude-mpm-test-built" in built.stderr
        with make(image=tag, mounts=()) as claude:
            assert claude.ask("hello").check().text == "Claude heard: hello"
        assert engine("run", "--pull=never", "--rm", tag, "id", "-u") == "1000"
    finally:
        engine("rmi", tag)


def test_a_base_that_is_not_there_is_named(docker: Engine, command: Command) -> None:
    failed = command("docker", "build", "--base=no/such-base", status=1)
    assert failed.stderr.endswith("get it: docker pull no/such-base\n")
    assert failed.stdout == ""
