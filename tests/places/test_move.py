"""A conversation that goes from place to place: it stays one, and knows what it was told."""

from __future__ import annotations

import json
import os
import uuid
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from session_server import server  # noqa: F401 - a fixture

from claude_mpm.environments.docker import Docker
from claude_mpm.environments.record_store import LocalRecords, project_name
from claude_mpm.environments.ssh import SSH
from claude_mpm.errors import LaunchError, MPMError, UsageError
from claude_mpm.journal.folder_watch import subscribe
from claude_mpm.journal.layout import Meta, Start
from claude_mpm.testing import Delegate, Stall
from false_cluster import lay_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from session_server import SessionServer

    from claude_mpm import MPMOrchestrator
    from claude_mpm.testing import ScriptedModel
    from command import Command
    from conftest import MakeClaude
    from real_places import Cluster, Engine, SSHServer

SECONDS = 60.0
WORD = "PLUM-4711"
TELL = f"the word is {WORD}"
Places = dict[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def told(model: ScriptedModel) -> None:
    model.on(TELL, "TODO: keep the word")


@pytest.fixture
def places(docker: Engine, sshd: SSHServer, tmp_path: Path) -> Places:
    """What an orchestrator of each place is made with."""
    (tmp_path / "local").mkdir()
    return {
        "ssh": {
            "host": sshd.host, "config": sshd.config, "claude_path": sshd.claude, "cwd": "/tmp",
        },
        "docker": {
            "image": docker.image, "network": "host", "claude_path": "claude", "cwd": "/opt",
            "mounts": [f"{docker.claude}:/usr/local/bin/claude:ro"],
        },
        "local": {"cwd": str(tmp_path / "local")},
    }  # fmt: skip


def words(name: str, options: dict[str, Any]) -> list[str]:
    """Return the words of a command line that name a place."""
    given = {key: value for key, value in options.items() if key != "cwd"}
    pairs = [
        f"{key}={value if type(value) is str else json.dumps(value)}"
        for key, value in given.items()
    ]
    line = ["--orchestrator", name, "--cwd", options["cwd"]]
    return line + [word for pair in pairs for word in ("-o", pair)]


def knows(model: ScriptedModel, prompt: str) -> bool:
    """Return whether the model got the word with a prompt."""
    return WORD in str(model.wait_for_request(prompt).body["messages"])


def ask(claude: MPMOrchestrator, model: ScriptedModel, prompt: str) -> bool:
    """Ask something new; return whether the model got the word with it."""
    claude.ask(prompt, timeout=SECONDS).check()
    return knows(model, prompt)


def moved(
    here: MPMOrchestrator, way: Places, make_claude: MakeClaude, model: ScriptedModel
) -> MPMOrchestrator:
    """Move a session from place to place; in each, Claude knows the word. Return the last."""
    for name, options in way.items():
        there = make_claude(name, **options)
        here.move_to(there)
        assert ask(there, model, f"and in {name}?"), name
        here = there
    return here


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Go there and back; through a pod as well where `--cluster` asks for it."""
    if "way" in metafunc.fixturenames:
        ways: list[tuple[str, ...]] = [("ssh", "docker", "local")]
        if metafunc.config.getoption("--cluster"):
            ways.append(("ssh", "docker", "kubernetes", "local"))
        metafunc.parametrize("way", ways, ids=", ".join)


def test_a_conversation_goes_from_place_to_place_and_back(
    way: tuple[str, ...],
    command: Command,
    model: ScriptedModel,
    places: Places,
    claude_path: str,
    request: pytest.FixtureRequest,
) -> None:
    command.environ["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
    if "kubernetes" in way:
        cluster: Cluster = request.getfixturevalue("cluster")
        command.environ["KUBECONFIG"] = cluster.config
        places["kubernetes"] = {
            "image": cluster.image, "pull": "Never", "claude_path": "claude",
            "template": request.getfixturevalue("pod_template"), "cwd": "/session/work",
        }  # fmt: skip
    command("run", TELL)
    name = command.session().path.name
    places["local"]["claude_path"] = claude_path
    for place in way:
        done = command("move", name[:8], *words(place, places[place]))
        assert f"is in {place} now, and works in {places[place]['cwd']}" in done.stderr
        assert "its files did not move" in done.stderr
        command("resume", name, f"and in {place}?")
        assert knows(model, f"and in {place}?"), place
        assert command.json("show", name)["orchestrator"] == place
    shown = command.json("show", name)
    assert [ticket["title"] for ticket in shown["tickets"]] == ["keep the word"]
    assert len(shown["turns"]) == 1 + len(way)
    assert len({prompt for turn in shown["turns"] for prompt in turn["prompts"]}) == 1 + len(way)
    assert shown["cost_usd"] == pytest.approx(sum(turn["cost_usd"] for turn in shown["turns"]))
    ran_in = [start["orchestrator"] for start in shown["starts"]]
    assert list(dict.fromkeys(ran_in[:-2])) == ["local", *way[:-1]]
    assert ran_in[-2:] == ["local", "local"]
    assert shown["cwd"] == places["local"]["cwd"]
    asked = [request for request in model.requests if request.prompt == TELL]
    assert len(asked) == 1


def test_a_session_that_runs_is_left_running_in_the_other_place(
    command: Command, model: ScriptedModel, places: Places
) -> None:
    command.environ["DOCKER_HOST"] = os.environ["DOCKER_HOST"]
    command("run", "--detach", TELL)
    name = command.session().path.name
    done = command("move", name, "--json", *words("docker", places["docker"]))
    told = json.loads(done.stdout)
    assert (told["from"], told["to"], told["running"]) == ("local", "docker", True)
    assert command.json("ps")[0]["state"] == "idle"
    command("send", name, "and now?", "--wait")
    assert knows(model, "and now?")
    command("stop", name)


def test_the_end_of_a_turn_is_waited_for(
    command: Command, model: ScriptedModel, tmp_path: Path
) -> None:
    model.on("take long", "so", Stall(), " far")
    command("run", "--detach", "take long")
    model.wait_for_stall()
    name = command.session().path.name
    moving = command.start("move", name, "--orchestrator", "local", "--cwd", str(tmp_path))
    assert moving.stderr is not None
    assert "is working: it moves when its turn is over" in moving.stderr.readline()
    model.release()
    assert moving.wait(SECONDS) == 0
    (turn,) = command.json("show", name)["turns"]
    assert (turn["outcome"], command.json("ps")[0]["state"]) == ("completed", "idle")
    assert len([each for each in model.requests if each.prompt == "take long"]) == 1


def test_a_turn_is_interrupted_where_it_is_to_be_now(
    make_claude: MakeClaude, model: ScriptedModel, tmp_path: Path
) -> None:
    model.on("take long", "so", Stall(), "far")
    here = make_claude()
    here.start_or_raise()
    turn = here.ask("take long")
    model.wait_for_stall()
    there = make_claude(cwd=str(tmp_path))
    here.move_to(there, now=True)
    assert str(turn.wait(SECONDS).verdict.outcome) == "interrupted"
    assert there.turns_before == []
    assert there.ask("go on", timeout=SECONDS).check()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("ssh", {"host": "no-such-host"}, "no-such-host"),
        ("ssh", {"claude_path": "no-such-claude"}, "no command no-such-claude there"),
        ("ssh", {"cwd": "/no/such/folder"}, "no folder /no/such/folder to work in there"),
        ("docker", {"image": "no-such-image"}, "no-such-image"),
        ("docker", {"mounts": []}, "no command claude in the image"),
        ("local", {"claude_path": "/no/such/claude"}, "/no/such/claude"),
    ],
)
def test_a_move_that_fails_leaves_the_session_where_it_was(
    name: str, options: dict[str, Any], said: str,
    make_claude: MakeClaude, model: ScriptedModel, places: Places,
) -> None:  # fmt: skip
    here = make_claude()
    here.start_or_raise()
    here.ask(TELL, timeout=SECONDS).check()
    folder = here.store.folder(here.session_id)
    before = folder.read_meta()
    there = make_claude(name, **{**places[name], **options})
    with pytest.raises(MPMError, match=said):
        here.move_to(there)
    here.stop()
    after = folder.read_meta()
    assert (after.orchestrator, after.cwd, after.place) == ("local", before.cwd, before.place)
    assert not folder.claude.exists()
    again = make_claude(session_id=here.session_id, resume=True)
    again.start_or_raise()
    assert ask(again, model, "are you there?")


@pytest.mark.parametrize("pod", [{"image": "some"}, {"image": "some", "claim": "kept"}])
def test_a_conversation_goes_into_a_pod_and_back(
    pod: dict[str, Any],
    make_claude: MakeClaude,
    model: ScriptedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = lay_cluster(tmp_path / "cluster", monkeypatch)
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(cluster / "CONFIG"))  # as the pod has it
    here = make_claude()
    here.start_or_raise()
    here.ask(TELL, timeout=SECONDS).check()
    way = {"kubernetes": pod, "local": {"cwd": str(tmp_path)}}
    here = moved(here, way, make_claude, model)
    here.stop()
    assert len(here.store.index.turns(here.session_id)) == 3
    assert not here.store.folder(here.session_id).records.exists()


def test_a_conversation_goes_to_a_server_and_back(
    make_claude: MakeClaude, model: ScriptedModel, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    served: SessionServer = request.getfixturevalue("server")
    remote = {"address": served.address, "ca": served.ca, "token_file": served.token_file}
    here = make_claude()
    here.start_or_raise()
    here.ask(TELL, timeout=SECONDS).check()
    with pytest.raises(MPMError, match="may not work in '/etc'"):
        here.move_to(make_claude("remote", cwd="/etc", claude_path="", **remote))
    here = make_claude(session_id=here.session_id, resume=True)
    there = {**remote, "cwd": "/usr", "claude_path": ""}
    way = {"remote": there, "local": {"cwd": str(tmp_path)}}
    here = moved(here, way, make_claude, model)
    here.stop()
    assert len(here.store.index.turns(here.session_id)) == 3


def test_what_subagents_have_said_goes_along(
    make_claude: MakeClaude, model: ScriptedModel, places: Places, tmp_path: Path
) -> None:
    model.on("Ship it", Delegate("qa", "Check the release", does=["All green"]), "It is checked.")
    here = make_claude()
    here.start_or_raise()
    here.ask("Ship it", timeout=SECONDS).check()
    there = make_claude("docker", **places["docker"])
    here.move_to(there)
    claude = there.store.folder(there.session_id).claude.path
    (said,) = claude.glob(f"projects/-opt/{there.session_id}/subagents/agent-*.jsonl")
    assert "All green" in said.read_text()
    there.ask("and now?", timeout=SECONDS).check()
    home = make_claude(environ=model.environment(tmp_path / "third"), cwd=str(tmp_path))
    there.move_to(home)
    (copy,) = (tmp_path / "third").rglob(said.name)
    assert "All green" in copy.read_text()
    assert not claude.exists()


def test_what_is_not_recorded_of_the_old_place_is_given_again(
    command: Command, model: ScriptedModel, places: Places, sshd: SSHServer, claude_path: str
) -> None:
    config = f"/tmp/claude-mpm-test-{uuid.uuid4()}"
    variables = f"variables={json.dumps({'CLAUDE_CONFIG_DIR': config})}"
    try:
        command("run", *words("ssh", places["ssh"]), "-o", variables, TELL)
        name = command.session().path.name
        here = ("move", name, *words("local", {**places["local"], "claude_path": claude_path}))
        refused = command(*here, status=1)
        assert "record of session" in refused.stderr
        assert f"it is in ssh, where claude-mpm resume {name[:8]} goes on" in refused.stderr
        command(*here, "--from-option", variables)
        command("resume", name, "and at home?")
        assert knows(model, "and at home?")
    finally:
        SSH(sshd.host, config=sshd.config).run(["rm", "-rf", config])


@pytest.mark.parametrize("point", ["fetched", "noted", "started"])
def test_a_move_that_is_killed_leaves_the_session_in_one_of_the_two(
    point: str, command: Command, model: ScriptedModel, tmp_path: Path
) -> None:
    command("run", TELL)
    folder = command.session()
    name, before = folder.path.name, folder.read_meta()
    project = project_name(str(tmp_path))
    target = Path(command.environ["CLAUDE_CONFIG_DIR"], "projects", project)
    draft = target / f"{before.claude_session_id}.jsonl.moving"
    if point == "fetched":  # nobody reads it, so that the move stands still there
        target.mkdir()
        os.mkfifo(draft)
    points: dict[str, Callable[[], bool]] = {
        "fetched": lambda: any(folder.path.glob("moving-*")),
        "noted": lambda: folder.read_meta().cwd != before.cwd,
        "started": lambda: len(folder.read_meta().starts) > 1 and folder.has_host(),
    }
    moving = command.start("move", name, "--orchestrator", "local", "--cwd", str(tmp_path))
    with closing(subscribe(folder.path)) as changes:
        while not points[point]():
            assert moving.poll() is None
            changes.wait(0.02)
    moving.kill()
    moving.wait()
    draft.unlink(missing_ok=True)
    command("resume", name, "are you there?")
    assert knows(model, "are you there?")
    shown = command.json("show", name)
    assert len(shown["turns"]) == 2
    if point != "fetched":
        assert shown["cwd"] == str(tmp_path)
    command("move", name, "--orchestrator", "local", "--cwd", before.cwd)
    assert not [*folder.path.glob("moving-*")]


def test_a_claude_that_does_not_find_its_record_is_no_success(
    make_claude: MakeClaude, model: ScriptedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_claude()
    here.start_or_raise()
    here.ask(TELL, timeout=SECONDS).check()
    elsewhere = {"environ": model.environment(tmp_path / "other"), "cwd": str(tmp_path)}
    with monkeypatch.context() as lost, pytest.raises(MPMError, match="No conversation found"):
        lost.setattr(LocalRecords, "put", lambda *_: None)
        here.move_to(make_claude(**elsewhere))
    here = make_claude(session_id=here.session_id, resume=True)
    there = make_claude(**elsewhere)
    here.move_to(there)
    assert ask(there, model, "and in another home?")
    (record,) = (tmp_path / "other").rglob(f"{here.session_id}.jsonl")
    assert record.parent.name == project_name(str(tmp_path))


def test_a_conversation_goes_into_a_container_on_another_machine_and_back(
    make_claude: MakeClaude, model: ScriptedModel, places: Places, sshd: SSHServer, tmp_path: Path
) -> None:
    here = make_claude()
    here.start_or_raise()
    here.ask(TELL, timeout=SECONDS).check()
    made = {name: places["docker"][name] for name in ("image", "network", "mounts")}
    inside = Docker(**made, inside=SSH(sshd.host, config=sshd.config))
    there = make_claude(environment=inside, claude_path="claude")
    here.move_to(there)
    assert ask(there, model, "and in there?")
    back = make_claude(cwd=str(tmp_path))
    there.move_to(back)
    assert ask(back, model, "and here?")


def test_what_cannot_be_meant_is_refused(make_claude: MakeClaude, tmp_path: Path) -> None:
    here = make_claude()
    with pytest.raises(UsageError, match="there is no session"):
        here.move_to(make_claude())
    with pytest.raises(UsageError, match="the same state_dir"):
        here.move_to(make_claude(state_dir=str(tmp_path / "another")))
    with pytest.raises(UsageError, match="was not started"):
        here.move_to(here)


def test_a_place_chooses_no_folder_of_this_machine(
    make_claude: MakeClaude, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_claude()
    folder = here.store.folder(here.session_id)
    folder.create()
    folder.write_meta(
        Meta(  # as that of a session of another machine, which is followed from here
            session_id=here.session_id, claude_session_id="", orchestrator="ssh",
            environment="ssh", wire="stream-json", cwd="/etc", created_at=1.0,
            starts=[Start(at=1.0, offset=0)],
        )
    )  # fmt: skip
    monkeypatch.setattr(here.environment, "shares_files", False)
    with pytest.raises(UsageError, match="as its place alone says"):
        here.move_to(make_claude())
    make_claude(cwd="/tmp")._join(here)


def test_a_record_that_is_gone_is_not_moved(
    make_claude: MakeClaude, home: Path, tmp_path: Path
) -> None:
    here = make_claude()
    with here:
        here.ask(TELL, timeout=SECONDS).check()
    for record in tmp_path.rglob(f"{here.session_id}.jsonl"):
        record.unlink()
    with pytest.raises(LaunchError, match=r"record of session .* is not there"):
        here.move_to(make_claude(cwd=str(tmp_path)))
