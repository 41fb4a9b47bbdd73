"""What users of such systems suffer from, each case played: hangs, missing ends, wrong verdicts."""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

from chaos.cases import PATIENCE, Case, Played, play
from chaos.figures import Figures
from chaos.world import RealWorld
from claude_mpm.journal import orphans
from claude_mpm.own_python import own_python
from claude_mpm.testing.processes import processes
from claude_mpm.testing.script import Call, Delegate, Fail, Say, Stall

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claude_mpm.testing.faults import Dice

_AT_ONCE: Mapping[str, Any] = {"silence_timeout": 1.0, "on_stall": "end", "stop_timeout": 2.0}
# Seconds of silence that a Claude that works does not come to, however busy the machine is.
_LONG_SILENCE = 10.0
_PATIENTLY: Mapping[str, Any] = {
    "silence_timeout": _LONG_SILENCE, "on_stall": "interrupt", "partial": True,
}  # fmt: skip
_REVIVE: Mapping[str, Any] = {"silence_timeout": 3.0, "on_stall": "resume", "resume_lost": 10}
_BASH = {"claude_args": ["--allowedTools=Bash"]}
_SILENT, _REVIVED = "Claude was silent for", "taken up by a fresh Claude"
# A server of tools that neither the end of its input nor a signal ends.
_DEAF_SERVER = """
import json, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
for line in sys.stdin:
    asked = json.loads(line)
    version = (asked.get("params") or {}).get("protocolVersion", "2025-06-18")
    about = {"name": "deaf", "version": "1"}
    known = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about}
    answer = {"initialize": known, "tools/list": {"tools": []}}.get(asked.get("method"), {})
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answer}), flush=True)
while True:
    signal.pause()
"""
_COMMAND, *_ARGUMENTS = own_python("-c", _DEAF_SERVER)
_SERVERS = {"mcpServers": {"deaf": {"command": _COMMAND, "args": _ARGUMENTS}}}
_SEARCH = Delegate(
    "general-purpose", "Search", does=[Stall()], background=True, when_done="It is over."
)
_UNTIL_TOLD = "until [ -e go ]; do sleep 0.1; done; echo made >made"
_MAKE = Call("Bash", command=_UNTIL_TOLD, run_in_background=True)
_FIND = Delegate(
    "general-purpose", "Find", does=[Stall(), "Found."], background=True, when_done="It is found."
)


def _stand_still(played: Played) -> None:
    """Let Claude's process stand still in the middle of its answer."""
    next(iter(played.turn))
    pids = played.world.folder(played.claude.session_id).pids()
    assert pids is not None
    os.kill(pids[1], signal.SIGSTOP)


def _stop_while_it_searches(played: Played) -> None:
    played.until(lambda: any(each.background for each in _delegations(played)))
    played.until(lambda: played.turn.results)
    threading.Thread(target=played.claude.stop, name="claude-mpm-chaos-stop").start()


def _delegations(played: Played) -> list[Any]:
    return played.claude.store.index.delegations(played.claude.session_id)


def _lift_the_stall(played: Played) -> None:
    """Let whoever goes on with the turn get an answer."""
    played.until(lambda: played.turn.known.resumed)
    _release(played)


def _let_it_find(played: Played) -> None:
    """Let the subagent hand back when the turn has its first result."""
    played.until(lambda: played.turn.results)
    _release(played)


def _release(played: Played) -> None:
    """Lift every stall of the model's until the turn has ended."""
    assert isinstance(played.world, RealWorld)
    model = played.world.model

    def is_over() -> bool:
        model.release()
        return played.turn.done

    played.until(is_over)


def _server_runs(played: Played) -> None:
    path = played.world.folder(played.claude.session_id).path

    def there() -> bool:
        mine, known = orphans.marked().get(path, []), processes()
        return any(_DEAF_SERVER.strip() in known[pid].command for pid in mine if pid in known)

    played.until(there)


def _takes_the_next_prompt(played: Played) -> None:
    if not played.claude.ask("hello").wait(PATIENCE).verdict.ok:
        raise TimeoutError("the next prompt has no answer")


def _ends_by_itself(played: Played) -> None:
    played.until(lambda: not played.claude.running)


def _is_made(played: Played) -> None:
    folder = played.world.cwd(played.claude.session_id)
    (folder / "go").touch()
    played.until((folder / "made").exists)


CASES = (
    Case(
        name="the result never comes",
        prompt="hang", options=_AT_ONCE, expected="stalled", because=_SILENT,
    ),
    Case(
        name="it hangs after the result with stdout open",
        prompt="deaf", options={"end_timeout": 1.0, "stop_timeout": 1.0},
        expected="completed", because="Claude has not said that it is idle",
    ),
    Case(
        name="the stream stops in the middle",
        script=(Say("line\n" * 10_000, chunk=5, delay=0.02),), during=_stand_still,
        options={**_AT_ONCE, "silence_timeout": _LONG_SILENCE, "partial": True},
        expected="stalled", because=_SILENT,
    ),
    Case(
        name="the stream stops in the middle of a line",
        prompt="half", options=_AT_ONCE, expected="stalled", because=_SILENT,
    ),
    Case(
        name="the stream stops in the middle, with exit 0",
        prompt="leave", expected="lost", because="Claude ended with status 0 without a result",
    ),
    Case(
        name="silent stdout while the work goes on",
        prompt="mute", options=_REVIVE, expected="completed", because=_REVIVED,
    ),
    Case(
        name="a half-dead API connection",
        script=("Half", Stall()), options=_PATIENTLY, after=_takes_the_next_prompt,
        expected="stalled", because=_SILENT,
    ),
    Case(
        name="an API that takes the request and never answers",
        script=(Stall(),), options=_AT_ONCE, expected="stalled", because=_SILENT,
    ),
    Case(
        name="minutes of silence before the result",
        script=(Call("Bash", command="echo done"), Stall(), "It is done."), during=_lift_the_stall,
        options=_REVIVE, expected="completed", because=_REVIVED,
    ),
    Case(
        name="claude cannot be started: there is none",
        options={"claude_path": "/no/such/claude"},
        expected="ClaudeNotFound", because="claude_path",
    ),
    Case(
        name="claude cannot be started: it ends at once",
        script=(), options={"claude_args": ["--no-such-option"]},
        expected="LaunchError", because="unknown option",
    ),
    Case(
        name="claude cannot be started: PATH is empty",
        environ={"PATH": ""}, expected="LaunchError", because="cannot run sh",
    ),
    Case(
        name="children hold the output open",
        prompt="hold", after=_ends_by_itself, expected="completed", because="result at byte",
    ),
    Case(
        name="a server of tools outlives the result",
        script=("It is done.",), after=_server_runs,
        expected="completed", because="result at byte",
        options={"claude_args": [f"--mcp-config={json.dumps(_SERVERS)}"], "stop_timeout": 2.0},
    ),
    Case(
        name="success with is_error",
        script=(Fail(429),), environ={"CLAUDE_CODE_MAX_RETRIES": "0"},
        expected="failed", because="success, error, api_error",
    ),
    Case(
        name="exit 0 while background agents were stopped",
        script=(_SEARCH, "It searches."), during=_stop_while_it_searches,
        expected="incomplete", because="1 background subagents were stopped",
    ),
    Case(
        name="background work killed at the end of the turn: an agent",
        script=(_FIND, "It searches."), during=_let_it_find,
        expected="completed", because="woken by task-notification",
    ),
    Case(
        name="background work killed at the end of the turn: a command",
        script=(_MAKE, "It runs."), options=_BASH, after=_is_made,
        expected="completed", because="1 commands at work in the background",
    ),
)  # fmt: skip


def pains(number: int, _: Dice, share: float) -> Figures:
    """Play every case once, whatever the number; without a share for it, none with Claude Code."""
    figures = Figures(
        title="What users of such systems suffer from",
        must_not=("wrong verdicts", "hung", "left behind"),
    )
    play([case for case in CASES if share or case.script is None], figures)
    return figures
