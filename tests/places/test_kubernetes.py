"""A session in a pod of a real cluster: what it may do, what is seen of it, how it is lost."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from claude_mpm.conversation.verdict import Outcome
from claude_mpm.environments.pod import pod_name
from claude_mpm.errors import LaunchError
from claude_mpm.testing import Call, ScriptedModel, Stall

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import MakeClaude
    from real_places import Cluster

    Make = Callable[..., Any]

SECONDS = 60.0
SECRET = "the-secret-of-this-test"


@pytest.fixture
def make(cluster: Cluster, pod_template: str, make_claude: MakeClaude) -> Make:
    """Makes orchestrators of new pods."""

    def make(**options: Any) -> Any:
        place = {"image": cluster.image, "pull": "Never", "template": pod_template}
        return make_claude("kubernetes", **{"claude_path": None, **place, **options})

    return make


def kubectl(*words: str) -> str:
    return subprocess.run(["kubectl", *words], capture_output=True, text=True, check=True).stdout


def there_is(pod: str) -> bool:
    return pod in kubectl("get", "pods", "-o", "name")


def test_from_inside_it_may_do_as_little_as_possible(make: Make, model: ScriptedModel) -> None:
    look = (
        "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -s '\\t' ' ';"
        " ls /var/run/secrets/kubernetes.io 2>&1 | wc -w; touch /x 2>/dev/null || echo read-only"
    )
    model.on("look", Call("Bash", command=look), "Done.")
    with make() as claude:
        claude.ask("look", timeout=SECONDS).check()
        (result,) = [each.text for request in model.requests for each in request.tool_results]
    uid, *status, _, root = result.splitlines()
    assert uid == "1000"
    assert root == "read-only"
    assert {"CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1"} <= set(status)
    assert "Seccomp: 2" in status


def test_from_outside_no_secret_is_seen(make: Make, model: ScriptedModel, home: Path) -> None:
    model.on("look", Call("Bash", command='echo "${#A_SECRET}"'), Stall(), "Done.")
    environ = model.environment(home, A_SECRET=SECRET, ANTHROPIC_API_KEY=f"{SECRET}-key")
    with make(environ=environ, variables={"ANOTHER": SECRET}) as claude:
        turn = claude.ask("look")
        model.wait_for_stall()
        pod = pod_name(claude.session_id)
        seen = {
            "the pod": kubectl("get", "pod", pod, "-o", "yaml"),
            "the events": kubectl("get", "events", "-o", "yaml"),
            "the logs": kubectl("logs", pod),
            "the memory": kubectl("exec", pod, "--", "sh", "-c", "cat /run/claude-mpm/* || :"),
        }
        assert not [where for where, text in seen.items() if SECRET in text]
        model.release()
        turn.check()


def test_a_pod_that_is_deleted_is_a_verdict_and_the_conversation_goes_on_in_the_next(
    make: Make, model: ScriptedModel
) -> None:
    model.on("remember", "I shall remember PELICAN.")
    model.on("slowly", "The first half.", Call("Bash", command="echo working"), Stall(), "no")
    claude = make()
    claude.start_or_raise()
    pod = pod_name(claude.session_id)
    claude.ask("remember", timeout=SECONDS).check()
    turn = claude.ask("slowly")
    model.wait_for_stall()
    kubectl("delete", "pod", pod, "--wait=false")
    assert turn.wait(SECONDS)
    assert turn.verdict.outcome is Outcome.LOST
    assert f"the pod {pod} is gone" in str(turn.verdict)
    assert turn.text == "The first half."
    claude.stop()
    again = make(session_id=claude.session_id, resume=True)
    again.start_or_raise()
    again.ask("and now?", timeout=SECONDS).check()
    assert "PELICAN" in model.requests[-1].text
    again.stop()
    assert not there_is(pod) or json.loads(kubectl("get", "pod", pod, "-o", "json"))[
        "metadata"
    ].get("deletionTimestamp")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": "no/such-image"}, "ErrImageNeverPull"),
        ({"context": "no-such-context"}, "kubectl config get-contexts"),
        ({"namespace": "no-such-namespace"}, "kubectl create namespace"),
        ({"cpu": 1000, "wait": 3}, "no node takes it: .*Insufficient cpu"),
        ({"claim": "no-such-claim", "wait": 3}, 'no node takes it: .*"no-such-claim" not found'),
        ({"runtime_class": "no-such-class"}, "no-such-class"),
        ({"claude_path": "/no/claude"}, "there is no command /no/claude there"),
    ],
)
def test_a_start_that_fails_says_why_in_one_line_and_leaves_no_pod(
    make: Make, options: dict[str, Any], said: str
) -> None:
    claude = make(**options)
    with pytest.raises(LaunchError, match=said) as failed:
        claude.start_or_raise()
    assert "\n" not in str(failed.value)


def test_a_quota_is_said(make: Make) -> None:
    kubectl("create", "namespace", "narrow")
    try:
        kubectl("create", "quota", "one", "--hard=pods=0", "--namespace", "narrow")
        with pytest.raises(
            LaunchError, match=r"quota does not allow the pod: .*exceeded quota: one"
        ):
            make(namespace="narrow").start_or_raise()
    finally:
        kubectl("delete", "namespace", "narrow", "--wait=false")
