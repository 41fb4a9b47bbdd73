"""Starts one build of Claude Code against the scripted model and says what it can do.

It is a process of its own, `python -m claude_mpm.testing.build_probe PATH`, and prints a `Probe`.
"""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.capabilities.facts import by_version, parse_version, written
from claude_mpm.capabilities.probing import Probe
from claude_mpm.capabilities.strangers import fields_of
from claude_mpm.folders import temporary_folder
from claude_mpm.testing.script import Delegate, Say, Stall
from claude_mpm.testing.scripted_model import ScriptedModel
from claude_mpm.validation import error_line, nearest

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE = 15.0  # seconds for each thing that a build has to do
# Seconds for all of them: who is killed for its time leaves its Claude running.
LONGEST = 40.0
# Seconds after a result in which a build says that it is idle, if it does; more where it is slow.
_IDLE = 0.5
_AGENT = "mpm-probe"
_OPTIONS = {
    "prompt_snapshot": ("--system-prompt-snapshot", "off"),
    "permission_prompts": ("--permission-prompts", "none"),
}
# It would take more starts, a terminal or more turns, and nothing is started otherwise for these.
_BY_VERSION = {
    "cost_goes_on", "counts_rules", "names_commands", "names_ended", "tells_nested",
    "tells_overrides", "tells_refusals", "tells_rules", "tells_skills", "verbatim", "writes_costs",
}  # fmt: skip
_ARGUMENTS = (
    "-p", "--verbose", "--input-format", "stream-json", "--output-format", "stream-json",
)  # fmt: skip
_OPTION = re.compile(r"--[a-z][\w-]+")
_REFUSED = re.compile(r"unknown option '(--[\w-]+)")


class _Ended(Exception):
    """The build has ended, or did nothing for too long; the text says what it said."""


class _Late(_Ended):
    """The build did nothing for too long."""


class _Build:
    """One process of a build, and what it has written.

    Args:
        claude: the binary.
        arguments: beside those that every start has.
        environ: its whole environment.
        folder: the one to work in.
        deadline: when it is given up, on the monotonic clock.
    """

    def __init__(
        self,
        claude: str,
        arguments: list[str],
        environ: dict[str, str],
        folder: Path,
        deadline: float,
    ) -> None:
        self.messages: list[dict[str, Any]] = []
        self._deadline = deadline
        self._errors = (folder / "errors").open("w+b")
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [claude, *_ARGUMENTS, *arguments],
            stdin=pipe, stdout=pipe, stderr=self._errors, env=environ, cwd=folder,
            start_new_session=True,
        )  # fmt: skip
        # It hands on lines, so that nobody waits for a build that writes nothing for ever.
        threading.Thread(target=self._read, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._errors):
            with suppress(OSError):  # it has not taken everything
                assert stream is not None
                stream.close()

    def send(self, message: dict[str, Any]) -> None:
        """Write a message."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, which shows when it is read
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def ask(self, subtype: str) -> dict[str, Any] | None:
        """Send a control request and return its answer; None where the build refuses it.

        Raises:
            _Ended: no answer came.
        """
        name = f"{subtype}-{len(self.messages)}"
        request = {"subtype": subtype}
        self.send({"type": "control_request", "request_id": name, "request": request})
        while True:
            message = self.next(_PATIENCE)
            response = message.get("response")
            if not isinstance(response, dict) or response.get("request_id") != name:
                continue
            body = response.get("response")
            refused = response.get("subtype") == "error"
            return None if refused else body if isinstance(body, dict) else {}

    def prompt(self, text: str) -> str:
        """Send a prompt and return its uuid."""
        name = str(uuid.uuid4())
        message = {"role": "user", "content": text}
        self.send({"type": "user", "message": message, "parent_tool_use_id": None,
                   "session_id": "", "uuid": name})  # fmt: skip
        return name

    def wait_for(self, kind: str) -> dict[str, Any]:
        """Return the next message of a type.

        Raises:
            _Ended: it did not come.
        """
        while (message := self.next(_PATIENCE)).get("type") != kind:
            pass
        return message

    def becomes_idle(self, took: float) -> bool:
        """Return whether it says within a short time that it is idle.

        Args:
            took: seconds that its turn took, which are more on a busy machine.
        """
        deadline = time.monotonic() + max(_IDLE, took)
        while (left := deadline - time.monotonic()) > 0:
            try:
                message = self.next(left)
            except _Ended:
                return False
            if _is_system(message, "session_state_changed") and message["state"] == "idle":
                return True
        return False

    def next(self, timeout: float) -> dict[str, Any]:
        """Return the next message.

        Raises:
            _Ended: none came within `timeout` seconds, or the output has ended.
        """
        deadline = min(time.monotonic() + timeout, self._deadline)
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                is_up = time.monotonic() >= self._deadline
                why = "its time was up" if is_up else f"nothing came for {timeout:g} seconds"
                raise _Late(why) from None
            if not line:
                self._lines.put(b"")
                self._errors.seek(0)
                said = error_line(self._errors.read(10_000).decode("utf-8", "replace"))
                raise _Ended(said or f"it ended with status {self._process.wait()}")
            with suppress(ValueError):
                message = json.loads(line)
                if isinstance(message, dict):
                    self.messages.append(message)
                    return message

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.put(line)
        self._lines.put(b"")


def _is_system(message: dict[str, Any], subtype: str) -> bool:
    return message.get("type") == "system" and message.get("subtype") == subtype


def probe_build(claude: str, *, longest: float = LONGEST) -> Probe:
    """Start a build and return what it can do.

    Args:
        longest: seconds after which a build is given up that has not said all by then.
    """
    deadline = time.monotonic() + longest
    script = ([Say("probed")], [Delegate("general-purpose", "dig", [Stall()], background=True)])
    with (
        temporary_folder("probe") as folder,
        ScriptedModel(*script) as model,
    ):
        agents = folder / "agents.json"
        agents.write_text(json.dumps({_AGENT: {"description": "probes", "prompt": "Probe."}}))
        environ = model.environment(
            folder / "home",
            PATH=os.environ.get("PATH", os.defpath),
            CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS="1",
        )
        given = {**_OPTIONS, "agents_by_file": ("--agents", str(agents))}
        try:
            return _probe_with(claude, given, environ, folder, deadline)
        except (OSError, subprocess.TimeoutExpired, _Ended) as error:
            late = isinstance(error, (_Late, subprocess.TimeoutExpired))
            return Probe(error=str(error), late=late)


def _probe_with(
    claude: str,
    given: dict[str, tuple[str, str]],
    environ: dict[str, str],
    folder: Path,
    deadline: float,
) -> Probe:
    """Start a build with options, and again without those that it refuses."""
    hints: list[str] = []
    while True:
        arguments = [word for pair in given.values() for word in pair]
        build = _Build(claude, arguments, environ, folder, deadline)
        try:
            told = build.ask("initialize")
            found = _converse(build, told or {}, set(given))
            return msgspec.structs.replace(found, hints=tuple(hints))
        except _Ended as error:
            refused = _refused(str(error), given)
            if refused is None:
                raise
            if refused in _OPTIONS:
                hints += _hint(claude, _OPTIONS[refused][0], environ)
            given = {name: pair for name, pair in given.items() if name != refused}
        finally:
            build.close()


def _hint(claude: str, option: str, environ: dict[str, str]) -> list[str]:
    """Return what a build's help has that may be another name of an option; empty for nothing."""
    done = subprocess.run(
        [claude, "--help"], stdin=subprocess.DEVNULL, capture_output=True, env=environ,
        timeout=_PATIENCE, check=False,
    )  # fmt: skip
    listed = set(_OPTION.findall(done.stdout.decode("utf-8", "replace")))
    other = None if option in listed else nearest(option, listed, cutoff=0.75)
    return [f"it refuses {option}, and has {other}"] if other else []


def _refused(said: str, given: dict[str, tuple[str, str]]) -> str | None:
    """Return which of the options a build has ended for; None where that was another reason."""
    option = _REFUSED.search(said)
    for name, (word, _) in given.items():
        if option and word == option[1]:
            return name
    # A build that takes no file there says that the path is no JSON.
    return "agents_by_file" if "agents_by_file" in given and "JSON" in said else None


def _converse(build: _Build, told: dict[str, Any], taken: set[str]) -> Probe:
    """Give a build two prompts and return what it can do."""
    facts = taken - {"agents_by_file"}
    facts |= {"tells_version"} if told.get("claude_code_version") else set()
    facts |= {"tells_usage"} if build.ask("get_usage") is not None else set()
    began = time.monotonic()
    prompt = build.prompt("Probe.")
    result = build.wait_for("result")
    took = time.monotonic() - began
    facts |= {"tells_state"} if build.becomes_idle(took) else set()
    init = next((m for m in build.messages if _is_system(m, "init")), {})
    facts |= {"names_prompt"} if result.get("user_message_uuid") == prompt else set()
    facts |= {"numbers_results"} if isinstance(result.get("result_index"), int) else set()
    facts |= {"agents_by_file"} if _AGENT in _names(init.get("agents")) else set()
    if "interrupt_cancel_queued_v1" in _names(init.get("capabilities")):
        facts.add("cancel_queued")
    facts |= {"acknowledges"} if _acknowledged(build, prompt) else set()
    if facts >= {"acknowledges", "tells_state"}:
        build.prompt("Delegate.")
        build.wait_for("result")
        facts |= set() if build.becomes_idle(took) else {"idle_means_idle"}
    version = parse_version(str(init.get("claude_code_version") or ""))
    facts |= by_version(written(version) if version else "").facts & _BY_VERSION
    messages = fields_of(json.dumps(message).encode() for message in build.messages)
    return Probe(
        version=written(version) if version else "",
        facts=tuple(sorted(facts)),
        messages={name: sorted(fields) for name, fields in sorted(messages.items())},
    )


def _acknowledged(build: _Build, prompt: str) -> bool:
    said = (m for m in build.messages if m.get("type") == "command_lifecycle")
    return any(m.get("command_uuid") == prompt for m in said)


def _names(listed: Any) -> list[str]:
    """Return the names of what a message lists, as they are or as objects with a name."""
    named = listed if isinstance(listed, list) else []
    return [str(each.get("name") if isinstance(each, dict) else each) for each in named]


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(probe_build(sys.argv[1])) + b"\n")
