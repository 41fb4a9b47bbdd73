"""The place `kubernetes` on a fake cluster: what it asks for, what it says, what it leaves."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from calls import call
from claude_mpm import MPMOrchestrator
from claude_mpm.cli.doctor_kubernetes import sweep_pods
from claude_mpm.conversation.verdict import Outcome
from claude_mpm.environments import pod, pod_network
from claude_mpm.environments.kubernetes import Kubernetes
from claude_mpm.environments.pod import PodRecipe, merged, pod_name
from claude_mpm.errors import LaunchError, UsageError
from claude_mpm.fleet.adopting import adopt
from claude_mpm.fleet.elsewhere import SessionElsewhere
from claude_mpm.fleet.places import Place
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.link.far import FarFailed, LinkCut
from claude_mpm.link.kubectl import Kubectl, explained
from claude_mpm.link.kubernetes import PodFar, PodSpec
from claude_mpm.link.pod_status import fate, waits_for
from claude_mpm.sessions.store import Store
from claude_mpm.testing.fake_kubectl import (
    delete_pod,
    fail_pod,
    make_pod,
    read_pod,
    set_cluster,
    write_pod,
)
from claude_mpm.testing.processes import processes
from claude_mpm.testing.subject import until
from command import PROGRAM, wait_until_gone
from false_cluster import lay_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from claude_mpm.conversation.turn import Turn

SECONDS = 60.0
VERBS = ("create", "get", "config", "exec", "delete")
QUICKLY = 10.0  # seconds: less than any step of an end may take
SECRET = "the-secret-of-this-test"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake cluster whose `kubectl` is the one on PATH; its pods' folders are in it."""
    return lay_cluster(tmp_path / "cluster", monkeypatch)


@pytest.fixture
def make(cluster: Path, stand_in: Path) -> Iterator[Callable[..., MPMOrchestrator]]:
    made: list[MPMOrchestrator] = []

    def make(place: dict[str, Any] | None = None, **options: Any) -> MPMOrchestrator:
        settings = place or {"image": "some"}
        made.append(MPMOrchestrator(environment=Kubernetes(**settings), **options))
        return made[-1]

    yield make
    for claude in made:
        claude.stop()


def ask_the_silent(claude: MPMOrchestrator) -> Turn:
    """Stop Claude, give it a prompt, which it does not answer so, and return the turn."""
    folder = claude.store.folder(claude.session_id)
    until(lambda: (folder.pids() or (0, 0))[1] > 0, "it is not known which process Claude is")
    _, pid = folder.pids() or (0, 0)
    os.kill(pid, signal.SIGSTOP)
    return claude.ask("hang")


def pods(cluster: Path) -> list[str]:
    return [file.stem for file in cluster.glob("pods/*.json")]


def test_each_session_has_a_pod_of_its_own_which_goes_with_it(
    make: Callable[..., MPMOrchestrator], cluster: Path
) -> None:
    with make() as claude:
        assert claude.ask("one", timeout=SECONDS).check().text == "Claude heard: one"
        assert pods(cluster) == [pod_name(claude.session_id)]
    assert pods(cluster) == []


def test_a_start_asks_the_cluster_for_no_more_than_it_needs(
    make: Callable[..., MPMOrchestrator], cluster: Path
) -> None:
    (cluster / "kubectl").rename(cluster / "real")
    log = cluster / "log"
    write = f'printf "%s\\036" "$*" >>"{log}"'
    (cluster / "kubectl").write_text(f'#!/bin/sh\n{write}\nexec "{cluster / "real"}" "$@"\n')
    (cluster / "kubectl").chmod(0o755)
    make().start_or_raise()
    commands = [command.split() for command in log.read_text().split("\036")]
    verbs = [next(word for word in words if word in VERBS) for words in commands if words]
    begun = next(number for number, words in enumerate(commands) if words[-2:] == ["sh", "-s"])
    assert verbs[: begun + 1] == ["create", "get", "config", "exec", "exec", "exec"]


def test_another_machine_follows_a_session_in_a_pod_which_goes_with_the_last_of_them(
    make: Callable[..., MPMOrchestrator], cluster: Path, tmp_path: Path
) -> None:
    claude = make()
    claude.start_or_raise()
    assert claude.ask("one", timeout=SECONDS).check().text == "Claude heard: one"
    (found,) = Kubernetes("some").far_sessions(1 << 15).sessions
    assert found.name == claude.session_id
    assert b"Claude heard: one" in found.end
    row = SessionElsewhere(
        place="lab", session=found.name, key=found.key, state="idle", seen_at=0.0
    )
    place = Place(name="lab", orchestrator="kubernetes", options={"image": "some"})
    with closing(Store(tmp_path / "near")) as store:
        near = adopt(place, row, store)
    other = claude.store.folder(claude.session_id)
    until(
        lambda: near.journal.path.read_bytes() == other.journal.path.read_bytes(),
        "the journals of the two machines are not the same",
    )
    claude.stop()
    pids = near.pids()
    wait_until_gone([pids[0]] if pids is not None else [])
    assert near.exit_status() == other.exit_status() == 0
    assert near.journal.path.read_bytes() == other.journal.path.read_bytes()
    assert pods(cluster) == []


def test_who_only_reads_deletes_no_pod_of_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl = Kubectl(command=("false",), context="", namespace="")
    spec = PodSpec(
        place="kubernetes", shell=["false"], far=["false"], folder="/far/s", cwd="", host="",
        reader="900001", kubectl=kubectl, pod="p", uid="u", owned=True,
    )  # fmt: skip
    far, deleted = PodFar(spec, SessionFolder(tmp_path / "session")), list[str]()
    monkeypatch.setattr(far, "_delete", lambda: deleted.append("pod"))
    monkeypatch.setattr(far, "_look_at_pod", lambda: None)
    monkeypatch.setattr(far, "_ask", lambda *_: b"size 0\n")  # as an older release answers
    with pytest.raises(FarFailed, match="lets no second machine follow"):
        far.state()

    def cut(*_: object) -> bytes:
        raise LinkCut("cut")

    monkeypatch.setattr(far, "_ask", cut)
    with pytest.raises(LinkCut):
        far.remove()
    assert deleted == []


def test_a_pod_that_runs_is_used_and_left(
    make: Callable[..., MPMOrchestrator], cluster: Path
) -> None:
    made = make_pod(cluster, "mine")
    with make({"pod": "mine"}) as claude:
        assert claude.ask("one", timeout=SECONDS).check().text == "Claude heard: one"
    assert read_pod(cluster, "mine")["metadata"]["uid"] == made["metadata"]["uid"]


def test_a_new_pod_may_do_as_little_as_possible() -> None:
    made = PodRecipe(image="some", cpu="1", memory="2Gi").manifest("One_Session", "owner")
    spec, (container,) = made["spec"], made["spec"]["containers"]
    assert spec["restartPolicy"] == "Never"
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["activeDeadlineSeconds"] > 0
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "2Gi"}


def test_no_secret_is_in_what_the_cluster_keeps(
    make: Callable[..., MPMOrchestrator], cluster: Path
) -> None:
    with make(environ={"A_SECRET": SECRET}) as claude:
        claude.ask("one", timeout=SECONDS).check()
        assert SECRET not in json.dumps(read_pod(cluster, pod_name(claude.session_id)))
        assert SECRET not in claude.store.folder(claude.session_id).link_file.read_text()
        assert list((cluster / "SECRETS").iterdir()) == []


@pytest.mark.parametrize("session", ["a", "A", "a_b", "a.b", "x" * 200, "0" * 36, "-x-"])
def test_the_name_of_a_pod_is_one_that_a_cluster_takes_and_is_the_sessions_alone(
    session: str,
) -> None:
    name = pod_name(session)
    assert len(name) <= 63
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not name.endswith("-")
    assert name != pod_name(f"{session}_")


def test_a_template_is_merged_by_name() -> None:
    ours = {"a": 1, "list": [{"name": "x", "v": 1}, {"name": "y"}]}
    theirs = {"b": 2, "list": [{"name": "x", "v": 2}, {"name": "z"}]}
    both = [{"name": "x", "v": 2}, {"name": "y"}, {"name": "z"}]
    assert merged(ours, theirs) == {"a": 1, "b": 2, "list": both}


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        ('error: context "x" does not exist', "kubectl config get-contexts"),
        (
            'Error from server (Forbidden): pods is forbidden: User "u" cannot create resource'
            ' "pods" in API group "" in the namespace "team"',
            "may not create pods in namespace team",
        ),
        (
            'Error from server (Forbidden): pods "x" is forbidden: exceeded quota: q, requested:'
            " cpu=2, used: cpu=1, limited: cpu=2",
            "ask for less with cpu and memory",
        ),
        (
            'Error from server (Forbidden): pods "x" is forbidden: violates PodSecurity'
            ' "restricted:latest": host namespaces',
            "refused to admit the pod",
        ),
        ('Error from server (NotFound): namespaces "t" not found', "kubectl create namespace"),
        ("error: You must be logged in to the server (Unauthorized)", "log in as"),
        ("The connection to the server 127.0.0.1:1 was refused", "does `kubectl get pods` work"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line_with_its_mend(
    said: str, mend: str, make: Callable[..., MPMOrchestrator], cluster: Path
) -> None:
    set_cluster(cluster, refusal=said)
    with pytest.raises(LaunchError) as failed:
        make().start_or_raise()
    assert mend in str(failed.value)
    assert "\n" not in str(failed.value)


def pending(reason: str, message: str = "") -> dict[str, Any]:
    waiting = {"reason": reason, "message": message}
    return {"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]}


@pytest.mark.parametrize("reason", ["ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName"])
def test_an_image_that_cannot_be_had_is_said_and_the_pod_removed(
    reason: str, make: Callable[..., MPMOrchestrator], cluster: Path
) -> None:
    set_cluster(cluster, status=pending(reason, "some words"))
    with pytest.raises(LaunchError, match=f"image.*{reason}: some words"):
        make().start_or_raise()
    assert pods(cluster) == []


def test_what_a_pod_waits_for_is_told_while_it_waits(
    make: Callable[..., MPMOrchestrator], cluster: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = "0/1 nodes are available: 1 Insufficient cpu."
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    set_cluster(
        cluster, status={"phase": "Pending", "conditions": [{**scheduled, "message": said}]}
    )
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(LaunchError, match=f"no node takes it: {said}"),
    ):
        make({"image": "some", "wait": 0.01}).start_or_raise()
    assert said in caplog.text
    assert pods(cluster) == []


def test_an_api_server_that_is_away_while_a_pod_waits_is_waited_for(
    make: Callable[..., MPMOrchestrator], cluster: Path, caplog: pytest.LogCaptureFixture
) -> None:
    set_cluster(cluster, status=pending("ContainerCreating"))
    claude = make()
    starting = threading.Thread(target=claude.start_or_raise)
    with caplog.at_level(logging.WARNING):
        starting.start()
        until(lambda: "its container is being made" in caplog.text, "it does not wait")
        set_cluster(cluster, refusal="The connection to the server 127.0.0.1:1 was refused")
        until(lambda: "the API server does not answer" in caplog.text, "it does not say so")
    name = pod_name(claude.session_id)
    running = {"name": "claude", "ready": True, "state": {"running": {}}}
    status = {"phase": "Running", "containerStatuses": [running]}
    write_pod(cluster, name, {**read_pod(cluster, name), "status": status})
    set_cluster(cluster)
    starting.join(SECONDS)
    assert claude.ask("one", timeout=SECONDS).check().text == "Claude heard: one"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_is_given_up_while_its_pod_waits_leaves_none(
    cluster: Path, tmp_path: Path, signum: int
) -> None:
    set_cluster(cluster, status=pending("ContainerCreating"))
    words = ["run", "--detach", "--orchestrator", "kubernetes", "-o", "image=some", "hello"]
    state = str(tmp_path / "cli-state")
    environ = {**os.environ, "HOME": str(tmp_path), "CLAUDE_MPM_STATE_DIR": state}
    with subprocess.Popen([PROGRAM, *words], env=environ, stderr=subprocess.PIPE) as starting:
        assert starting.stderr is not None
        assert b"its container is being made" in starting.stderr.readline()
        assert len(pods(cluster)) == 1
        until(lambda: children(starting.pid), "it does not look at its pod again")
        starting.send_signal(signum)
        assert starting.wait(SECONDS) == 128 + signum
    assert pods(cluster) == []


@pytest.mark.parametrize("inside", [True, False], ids=["by its own program", "by another"])
def test_a_session_whose_pod_waits_is_stopped_at_once_and_leaves_none(
    make: Callable[..., MPMOrchestrator],
    cluster: Path,
    caplog: pytest.LogCaptureFixture,
    inside: bool,
) -> None:
    set_cluster(cluster, status=pending("ContainerCreating"))
    claude = make(start_retries=3, retry_backoff=0.0)
    started: list[bool] = []
    starting = threading.Thread(target=lambda: started.append(claude.start()))
    starting.start()
    until(lambda: "its container is being made" in caplog.text, "it does not wait")
    other = claude if inside else make(session_id=claude.session_id, resume=True)
    asked = time.monotonic()
    if inside:
        claude.stop()
    else:
        assert "was stopped while it started" in other.end_session()
    starting.join(SECONDS)
    assert time.monotonic() - asked < QUICKLY
    assert started == [False]
    assert pods(cluster) == []
    assert claude.store.folder(claude.session_id).has_ended()
    assert "was stopped while it started" in str(claude.error)


@pytest.mark.parametrize("words", [["stop", "waits"], ["doctor", "--sweep"]], ids=["stop", "sweep"])
def test_the_pod_of_a_start_that_was_killed_is_deleted(
    cluster: Path, tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_cluster(cluster, status=pending("ContainerCreating"))
    monkeypatch.setenv("CLAUDE_MPM_STATE_DIR", str(tmp_path / "cli-state"))
    start = ["run", "--session", "waits", "--orchestrator", "kubernetes", "-o", "image=some", "go"]
    with subprocess.Popen([PROGRAM, *start], stderr=subprocess.PIPE) as starting:
        assert starting.stderr is not None
        assert b"its container is being made" in starting.stderr.readline()
        starting.kill()
    assert pods(cluster) == [pod_name("waits")]
    subprocess.run([PROGRAM, *words], check=words[0] == "stop", timeout=SECONDS)
    assert pods(cluster) == []


def children(pid: int) -> list[str]:
    return [each.command for each in processes().values() if each.parent == pid]


def test_the_longer_a_pod_has_waited_the_more_rarely_it_is_looked_at() -> None:
    pauses = [pod._pause(waited) for waited in (0.0, 1.0, 4.0, 8.0, 1000.0)]
    assert pauses == [0.5, 0.5, 1.0, 2.0, 5.0]


def test_a_pod_of_another_state_folder_is_never_touched(
    make: Callable[..., MPMOrchestrator], cluster: Path
) -> None:
    make_pod(cluster, pod_name("mine"))
    with pytest.raises(LaunchError, match="another state folder's"):
        make(session_id="mine").start_or_raise()
    assert pods(cluster) == [pod_name("mine")]


def test_a_pod_that_is_deleted_is_a_verdict_with_its_evidence_and_the_next_goes_on(
    make: Callable[..., MPMOrchestrator], cluster: Path
) -> None:
    claude = make()
    claude.start_or_raise()
    claude.ask("one", timeout=SECONDS).check()
    turn = ask_the_silent(claude)
    delete_pod(cluster, pod_name(claude.session_id))
    assert turn.wait(SECONDS)
    assert turn.verdict.outcome is Outcome.LOST
    assert "is gone: it was deleted" in str(turn.verdict)
    claude.stop()
    again = make(session_id=claude.session_id, resume=True)
    again.start_or_raise()
    assert again.ask("two", timeout=SECONDS).check().text == "Claude heard: two"


def test_a_pod_that_is_evicted_says_so(make: Callable[..., MPMOrchestrator], cluster: Path) -> None:
    claude = make()
    claude.start_or_raise()
    turn = ask_the_silent(claude)
    name = pod_name(claude.session_id)
    fail_pod(cluster, name, reason="Evicted", message="low on resource: memory")
    assert turn.wait(SECONDS)
    assert "it is Failed: Evicted, low on resource: memory" in str(turn.verdict)


@pytest.mark.parametrize(
    "options",
    [{}, {"image": "a", "pod": "b"}, {"pod": "b", "cpu": 1}, {"image": "a", "pull": "often"},
     {"pod": "b", "network": "none"}, {"image": "a", "network": "-x"},
     {"image": "a", "network_probe": "host:1"},
     {"image": "a", "network": "none", "network_probe": "host"},
     {"pod": "-x"}, {"image": "a", "labels": "x"}, {"image": "a", "template": "/no/such"}],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="kubernetes: "):
        Kubernetes(**options)


def test_what_has_become_of_a_pod_is_said_from_its_status() -> None:
    killed = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    pod = {"status": {"phase": "Failed", "containerStatuses": [{"state": killed}]}}
    assert fate(pod) == "it is Failed: the container ran out of memory; give it more"
    ended = {"terminated": {"reason": "Completed", "exitCode": 0}}
    status = {"phase": "Succeeded", "containerStatuses": [{"state": ended}]}
    deleted = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": status}
    ends = "it was deleted, the container ended with status 0, Completed"
    assert fate(deleted) == f"it is Succeeded: {ends}"
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    preempted = {**deleted, "status": {**status, "conditions": [disrupted]}}
    assert fate(preempted) == f"it is Succeeded: PreemptionByScheduler, {ends}"
    assert waits_for({}) == ("its container is being made", False)
    assert str(explained("")) == "kubernetes: kubectl failed"


def test_the_record_of_a_conversation_goes_with_it_into_the_next_pod(
    make: Callable[..., MPMOrchestrator], cluster: Path
) -> None:
    projects = cluster / "CONFIG" / "projects"
    record = projects / "-work" / "0-1.jsonl"
    script = f"""mkdir -p {record.parent}
while read -r line; do
    cat {record} 2>/dev/null
    echo "$line" >>{record}
    echo '{{"type":"result"}}'
done"""
    options = {
        "wire": "plain-text",
        "claude_path": "/bin/sh",
        "claude_args": ["-c", script],
        "use_framework": False,
    }
    claude = make(**options)
    claude.start_or_raise()
    claude.send_input("a word")
    assert claude.get_output(SECONDS) == '{"type":"result"}'
    kept = claude.store.folder(claude.session_id).records / "-work" / "0-1.jsonl"
    until(lambda: kept.exists() and kept.read_text() == "a word\n", "nothing is kept")
    delete_pod(cluster, pod_name(claude.session_id))
    claude.process.wait(SECONDS)
    claude.stop()
    shutil.rmtree(projects)  # the next pod has none
    again = make(session_id=claude.session_id, resume=True, **options)
    again.start_or_raise()
    assert record.read_text() == "a word\n"
    again.send_input("another")
    assert again.get_output(SECONDS) == "a word"


def test_nothing_but_records_of_conversations_is_brought_here(
    make: Callable[..., MPMOrchestrator], cluster: Path
) -> None:
    projects = cluster / "CONFIG" / "projects"
    for name in ("-work/0-1.jsonl", "-work/..jsonl", "-work/a b.jsonl", "a/b/c.jsonl", "x.txt"):
        (projects / name).parent.mkdir(parents=True, exist_ok=True)
        (projects / name).write_text("{}\n")
    (projects / "-work" / "link.jsonl").symlink_to("/etc/hostname")
    with make() as claude:
        claude.ask("one", timeout=SECONDS).check()
        folder = claude.store.folder(claude.session_id)
    found = {str(each.relative_to(folder.records)) for each in folder.records.rglob("*.jsonl")}
    assert found == {"-work/0-1.jsonl"}


@pytest.fixture
def listener() -> Iterator[str]:
    """An address of this machine that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


NO_NAME = "db.example: Temporary failure in name resolution"


@pytest.mark.parametrize(
    ("network", "enforces"),
    [
        ("none", True),
        ("model-only", True),
        ("model-only", "connect: No route to host"),
        ("none", NO_NAME),
    ],
    ids=["dropped", "dropped by name", "out of reach", "not resolved"],
)
def test_a_policy_that_holds_lets_the_session_start(
    network: str,
    enforces: Any,
    make: Callable[..., MPMOrchestrator],
    cluster: Path,
    listener: str,
) -> None:
    set_cluster(cluster, enforces=enforces)
    with make({"image": "some", "network": network, "network_probe": listener}) as claude:
        assert claude.ask("one", timeout=SECONDS).check().text == "Claude heard: one"


@pytest.mark.parametrize(
    ("network", "enforces", "said"),
    [
        ("none", None, "the network policy none does not hold"),
        ("model-only", "connect: Connection refused", "does not hold: .* refuses the connection"),
        ("model-only", NO_NAME, "cannot be seen from inside: its name is not resolved"),
        ("model-only", "", "cannot be seen from inside: the pod is too slow to try"),
    ],
    ids=["not enforced", "refused", "not resolved", "slow"],
)
def test_a_policy_that_is_not_proven_is_an_error_that_says_what_was_seen(
    network: str,
    enforces: str | None,
    said: str,
    make: Callable[..., MPMOrchestrator],
    cluster: Path,
    listener: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pod_network, "_TO_HOLD", 1.0)
    set_cluster(cluster, enforces=enforces)
    with pytest.raises(LaunchError, match=said):
        make({"image": "some", "network": network, "network_probe": listener}).start_or_raise()
    assert pods(cluster) == []


class TriedPlace:
    """A place in which connections are tried: the outcome of each, in how many seconds."""

    def __init__(self, *tries: tuple[str, float]) -> None:
        self._tries = list(tries)
        self.now = 0.0
        self.patience: list[float] = []

    def run(self, argv: list[str]) -> bytes:
        said, took = self._tries.pop(0)
        self.now += took
        self.patience.append(float(argv[-1]))
        return said.encode()


def test_a_silence_is_believed_that_is_longer_than_an_open_network_is_slow(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Any = make_pod(cluster, "mine")
    place: Any = TriedPlace(("open", 4.0), ("open", 1.0), ("silent", 20.0))
    monkeypatch.setattr(pod_network, "time", SimpleNamespace(monotonic=lambda: place.now))
    pod_network.restrict(Kubectl(), place, made, "none", "10.0.0.1:443")
    assert place.patience == [10.0, 20.0, 20.0]
    never: Any = TriedPlace(("silent", 10.0))
    with pytest.raises(LaunchError, match="without a policy, it does not answer in time"):
        pod_network.restrict(Kubectl(), never, made, "none", "10.0.0.1:443")


def test_a_policy_that_cannot_be_checked_is_not_believed(
    make: Callable[..., MPMOrchestrator], cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(LaunchError, match="cannot be seen from inside: no address to try"):
        make({"image": "some", "network": "none"}).start_or_raise()
    assert pods(cluster) == []


def test_doctor_says_which_verb_is_missing(
    cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pod(cluster, "mine")
    set_cluster(cluster, forbidden=["create pods/exec"])
    which = ["--orchestrator", "kubernetes", "-o", "pod=mine"]
    ended = call(capsys, "doctor", "--json", *which)
    found = [each for each in ended.json["checks"] if each["name"] == "kubernetes"]
    assert [each["status"] for each in found] == ["ok", "problem"]
    assert "create pods/exec" in found[-1]["found"]


def test_doctor_looks_into_a_pod_and_leaves_none(
    cluster: Path, stand_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    which = ["--orchestrator", "kubernetes", "-o", "image=some"]
    ended = call(capsys, "doctor", "--json", *which)
    found = [each["found"] for each in ended.json["checks"] if each["name"] == "kubernetes"]
    assert found[-1] == "the image some has what a session needs"
    assert pods(cluster) == []


def test_a_sweep_deletes_the_pods_of_sessions_that_have_ended_and_no_others(
    make: Callable[..., MPMOrchestrator], cluster: Path
) -> None:
    with make() as claude:
        claude.ask("one", timeout=SECONDS).check()
        store = claude.store
        pod = read_pod(cluster, pod_name(claude.session_id))
        assert list(sweep_pods(store)) == []
    make_pod(cluster, pod["metadata"]["name"], pod)
    make_pod(cluster, "mine")
    assert list(sweep_pods(store)) == [claude.session_id]
    assert pods(cluster) == ["mine"]


def test_a_check_runs_in_the_pod_of_its_session(cluster: Path, fast: Path) -> None:
    """It is the session's own pod, and not one of another name."""
    import asyncio

    from claude_mpm.fleet.batch import Batch
    from claude_mpm.fleet.places import Place
    from claude_mpm.fleet.reach import reach

    place = Place(name="k", orchestrator="kubernetes", at_once=2, options={"image": "some"})
    assert reach(place).ok
    options = {"use_framework": False, "claude_path": str(fast)}
    tasks = [{"prompt": "step 1", "check": 'grep -x 1 ran && test "$CLAUDE_MPM_SESSION"'}] * 2

    async def run() -> list[Any]:
        async with Batch(tasks, [place], options=options, attempts=1) as batch:
            return [result async for result in batch]

    results = asyncio.run(run())
    assert [(each.outcome, each.check) for each in results] == [("passed", 0)] * 2, results
