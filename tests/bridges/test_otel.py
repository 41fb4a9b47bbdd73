"""Spans and metrics of sessions, as a collector of OpenTelemetry's own exporters gets them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from collector import Collector
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from claude_mpm.bridges.spans import Span, SpanFold, root_of, trace_of, traceparent
from claude_mpm.errors import SettingsError
from claude_mpm.processors.usage import UsageProcessor
from claude_mpm.redaction import Redactor
from claude_mpm.sessions.reader import read_events
from claude_mpm.sessions.store import Store
from claude_mpm.testing import Call, Delegate, Fail
from claude_mpm.wire import StreamJson
from claude_mpm.wire.framing import LineFramer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from claude_mpm.testing import ScriptedModel
    from command import Command

SECRET = "sk-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaa"
OURS, CLAUDES = "claude-mpm", "claude-code"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture
def command(command: Command, collector: Collector) -> Command:
    command.environ |= collector.environ
    return command


def attributes(span: Any) -> dict[str, Any]:
    """Return the attributes of a span as they were sent."""
    values = {each.key: each.value for each in span.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


def told(span: Any) -> tuple[Any, ...]:
    """Return all that a span says."""
    known = tuple(sorted((key, str(value)) for key, value in attributes(span).items()))
    times = span.start_time_unix_nano, span.end_time_unix_nano
    return span.name, span.trace_id, span.span_id, span.parent_span_id, *times, known


def test_live_and_exported_spans_agree_and_claudes_own_hang_below_ours(
    command: Command, model: ScriptedModel, collector: Collector
) -> None:
    model.on("look", Call("Bash", command="echo said-by-bash"),
             Delegate("general-purpose", "find it", does=[Call("Bash", command="ls"), "Found."]),
             "It says said-by-bash.")  # fmt: skip
    command(
        "run", "look", "--allowed-tools", "Bash", CLAUDE_MPM_OTEL="true",
        CLAUDE_CODE_ENABLE_TELEMETRY="1", CLAUDE_CODE_ENHANCED_TELEMETRY_BETA="1",
        OTEL_TRACES_EXPORTER="otlp", CLAUDE_CODE_OTEL_SHUTDOWN_TIMEOUT_MS="50000",
        CLAUDE_MPM_STOP_TIMEOUT="60",
    )  # fmt: skip
    session = command.session().path.name
    live = collector.wait(OURS, 5)
    assert sorted(span.name for span in live) == [
        "claude_mpm.session", "execute_tool Bash", "execute_tool Bash", "invoke_agent claude-code",
        "invoke_agent general-purpose",
    ]  # fmt: skip
    ids = {span.span_id: span for span in live}
    assert len(ids) == len(live)
    by_name = {span.name: span for span in live}
    root, turn = by_name["claude_mpm.session"], by_name["invoke_agent claude-code"]
    assert int.from_bytes(root.span_id) == root_of(session) and not root.parent_span_id
    assert {int.from_bytes(span.trace_id) for span in live} == {trace_of(session)}
    assert turn.parent_span_id == root.span_id
    agent = by_name["invoke_agent general-purpose"]
    assert agent.parent_span_id == turn.span_id
    tools = [span for span in live if span.name == "execute_tool Bash"]
    assert {span.parent_span_id for span in tools} == {turn.span_id, agent.span_id}
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in live)
    said = attributes(turn)
    assert said["gen_ai.conversation.id"] == session
    assert said["gen_ai.usage.output_tokens"] > 0 and said["gen_ai.request.model"]
    assert not any("said-by" in str(value) for span in live for value in attributes(span).values())
    theirs = collector.wait(CLAUDES, 1)
    assert {span.trace_id for span in theirs} == {root.trace_id}
    own = {span.span_id for span in theirs}
    tops = {span.parent_span_id for span in theirs if span.parent_span_id not in own}
    assert tops == {root.span_id}
    command("export", "otel", session)
    again = collector.wait(OURS, 10)[5:]
    assert sorted(map(told, again)) == sorted(map(told, live))


def test_what_failed_says_so_and_secrets_stay_here(
    command: Command, model: ScriptedModel, collector: Collector
) -> None:
    model.on("leak", Call("Bash", command=f"echo {SECRET}; false"), Fail(400, message="no"))
    command("run", "leak", "--allowed-tools", "Bash", status=1)
    command("export", "otel", "--content")
    spans = {span.name: span for span in collector.wait(OURS, 3)}
    tool, turn = spans["execute_tool Bash"], spans["invoke_agent claude-code"]
    assert attributes(tool)["error.type"] == "tool_error"
    assert "echo" in attributes(tool)["gen_ai.tool.call.arguments"]
    assert attributes(turn)["error.type"]
    assert turn.status.code == turn.status.STATUS_CODE_ERROR
    assert SECRET not in repr(spans)


def test_the_metrics_count_turns_tokens_cost_and_permission_requests(
    command: Command, model: ScriptedModel, collector: Collector
) -> None:
    model.on("write", Call("Write", file_path="/nowhere/x", content="x"), "No.")
    command("run", "write", "--permissions", "ask", "--question-timeout", "0.2",
            CLAUDE_MPM_OTEL="true")  # fmt: skip
    collector.wait(OURS, 3)
    assert collector.metrics["claude_mpm.turns"] == 1
    assert collector.metrics["gen_ai.client.token.usage"] > 0
    assert collector.metrics["claude_mpm.cost"] > 0
    assert collector.metrics["claude_mpm.permission_requests"] == 1
    assert collector.metrics["claude_mpm.permission_request.duration"] == 1


def test_a_permission_request_that_claude_withdraws_has_waited_too(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is open is what the session's state says, as for whoever answers."""
    from claude_mpm.bridges.otel import LiveExport

    for name, value in collector.environ.items():
        monkeypatch.setenv(name, value)
    asks = {"subtype": "can_use_tool", "tool_name": "Write", "tool_use_id": "c1"}
    request = {"type": "control_request", "request_id": "r1", "request": asks}
    lines = [request, {"type": "control_cancel_request", "request_id": "r1"}, request]
    export, wire = LiveExport("s"), StreamJson()
    for line in LineFramer().feed(b"".join(json.dumps(each).encode() + b"\n" for each in lines)):
        for event in wire.decode(line):
            export.observe(event)
    export.close(0.0)
    collector.wait(OURS, 1)
    assert collector.metrics["claude_mpm.permission_requests"] == 1
    assert collector.metrics["claude_mpm.permission_request.duration"] == 1


def test_a_collector_that_is_away_is_said_by_the_export_and_costs_a_run_nothing(
    command: Command,
) -> None:
    command.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    command.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = "1"
    assert "Claude heard: hello" in command("run", "hello", CLAUDE_MPM_OTEL="true").stdout
    failed = command("export", "otel", status=1)
    assert failed.stderr.splitlines()[-1].startswith("claude-mpm: the OpenTelemetry collector")


def test_nothing_is_imported_where_it_is_off() -> None:
    code = (
        "import sys; from claude_mpm.cli import app, main, run;"
        "import claude_mpm.orchestration.orchestrator;"
        "print([name for name in sys.modules if 'opentelemetry' in name or name == 'mcp'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_traceparent_has_the_form_of_w3c() -> None:
    version, trace, parent, flags = traceparent("a session").split("-")
    assert (version, len(trace), len(parent), flags) == ("00", 32, 16, "01")
    assert trace_of("a session") != trace_of("another")


def test_a_journal_makes_the_same_spans_wherever_the_reading_is_cut(
    command: Command, model: ScriptedModel
) -> None:
    model.on("one", Call("Bash", command="echo 1"), "One.")
    command("run", "one", "--allowed-tools", "Bash")
    store = Store(command.state)
    folder = command.session()
    flat = list(read_events(folder, store.index))
    store.close()
    whole = SpanFold("s", content=Redactor())
    spans = [span for event in flat for span in whole.observe(event)]
    assert [span.name for span in spans] == ["execute_tool Bash", "invoke_agent claude-code"]
    for cut in range(len(flat)):
        fold = SpanFold("s", content=Redactor())
        some = [span for event in flat[:cut] for span in fold.observe(event)]
        assert some == spans[: len(some)]


def refused(number: int, reason: str) -> bytes:
    """Return the answer of a collector that refuses some spans."""
    part = ExportTracePartialSuccess(rejected_spans=number, error_message=reason)
    data: bytes = ExportTraceServiceResponse(partial_success=part).SerializeToString()
    return data


@pytest.fixture
def environ(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what this process sends go to the collector."""
    for name, value in collector.environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def spans(environ: None) -> list[Span]:
    """Return three spans, for the collector."""
    return [Span("a tool", 1, n + 1, 0, n, n + 1, {"gen_ai.tool.name": "x"}) for n in range(3)]


@pytest.mark.parametrize(
    ("answer", "taken", "reason"),
    [
        (refused(2, "too long"), 1, "too long"),
        (refused(1, ""), 2, "no reason"),
        (refused(3, "a\x1b[2Jb\nc"), 0, "a\\x1b[2Jb c"),
        (refused(3, f"key {SECRET}"), 0, "key [redacted]"),
        (refused(1, "x" * 5000), 2, f"{'x' * 300}…"),
        (refused(10**18, "all"), 0, "all"),
        ({"partialSuccess": {"rejectedSpans": "2", "errorMessage": "too old"}}, 1, "too old"),
    ],
    ids=["some", "no reason", "control characters", "a secret", "long", "more than all", "JSON"],
)
def test_spans_that_a_collector_refuses_do_not_count_as_sent(
    collector: Collector, spans: list[Span], answer: object, taken: int, reason: str
) -> None:
    from claude_mpm.bridges.otel import ExportFailed, export_spans

    collector.answers["traces"] = 200, answer
    with pytest.raises(ExportFailed) as caught:
        export_spans(spans)
    assert str(caught.value) == (
        f"the OpenTelemetry collector took {taken} of 3 spans and refused {3 - taken}; correct what"
        f" it names, then send them again: what it has is not added twice. It says: {reason}"
    )


@pytest.mark.parametrize(
    "answer",
    [None, refused(0, "deprecated"), refused(-1, ""), b"OK", b"\xff" * 9, "OK", {},
     {"partialSuccess": None}, {"partialSuccess": {"rejectedSpans": "many"}}],
    ids=str,
)  # fmt: skip
def test_what_refuses_nothing_takes_all(
    collector: Collector, spans: list[Span], answer: object
) -> None:
    from claude_mpm.bridges.otel import export_spans

    collector.answers["traces"] = 200, answer
    assert export_spans(spans) == 3


def test_an_address_that_redirects_takes_nothing(collector: Collector, spans: list[Span]) -> None:
    from claude_mpm.bridges.otel import ExportFailed, export_spans

    collector.answers["traces"] = 308, None
    with pytest.raises(ExportFailed, match="take the spans; its address redirects; set OTEL_EXP"):
        export_spans(spans)


def test_a_refusal_in_part_ends_the_export_with_1_and_a_running_session_says_it_at_its_end(
    command: Command, collector: Collector
) -> None:
    part = ExportMetricsPartialSuccess(rejected_data_points=4, error_message="no histograms")
    metrics = ExportMetricsServiceResponse(partial_success=part).SerializeToString()
    collector.answers |= {"traces": (200, refused(1, "too old")), "metrics": (200, metrics)}
    live = command("run", "hello", CLAUDE_MPM_OTEL="true").stderr
    assert "the OpenTelemetry collector refused 4 data points and says: no histograms" in live
    assert re.search(r"the OpenTelemetry collector refused [12] spans and says: too old", live)
    failed = command("export", "otel", status=1)
    assert failed.stderr.startswith("claude-mpm: the OpenTelemetry collector took 1 of 2 spans")
    assert "sent\n" not in failed.stderr


def test_the_credential_provider_of_the_sdk_is_used(
    collector: Collector, spans: list[Span], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claude_mpm.bridges.otel import export_spans

    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER", "mine")
    with pytest.raises(SettingsError, match="credential provider 'mine' is not installed"):
        export_spans(spans)
    (tmp_path / "provided.py").write_text(
        "import requests\n"
        "def session():\n"
        "    made = requests.Session()\n"
        "    made.auth = ('me', 'secret')\n"
        "    return made\n"
    )
    package = tmp_path / "provided-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: provided\nVersion: 1\n")
    (package / "entry_points.txt").write_text(
        "[opentelemetry_otlp_credential_provider]\nmine = provided:session\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert export_spans(spans) == 3
    assert collector.headers["authorization"].startswith("Basic ")


def spans_where_every_text_is(text: str, calls: int, timestamp: str = "") -> list[Span]:
    """Return the spans of a conversation of so many calls, with its content."""
    lines: list[dict[str, Any]] = []
    for number in range(calls):
        given = {"type": "tool_use", "id": f"{text}{number}", "name": text, "input": {"x": text}}
        if number % 2:
            given |= {"name": "Agent", "input": {"subagent_type": text, "prompt": text}}
        got = {"type": "tool_result", "tool_use_id": given["id"], "content": text, "is_error": True}
        said = {"model": text, "content": [{"type": "text", "text": text}, given]}
        lines.append({"type": "assistant", "message": said, "timestamp": timestamp})
        lines.append({"type": "user", "message": {"role": "user", "content": [got]}})
    lines.append({"type": "result", "subtype": text, "is_error": True, "duration_ms": 10**15})
    fold, usage, wire = SpanFold("s", content=Redactor()), UsageProcessor("s"), StreamJson()
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    events = [event for line in LineFramer().feed(data) for event in wire.decode(line)]
    found = [one for event in events for one in (event, *usage(event))]
    return [span for event in found for span in fold.observe(event)]


def test_a_span_has_a_bound_and_says_where_it_is_cut() -> None:
    text = "x" * 1_000_000
    tool, agent, turn = spans_where_every_text_is(text, 2)
    name = f"{text[:200]}… (cut: 1000000 characters in all)"
    assert (tool.name, agent.name) == (f"execute_tool {name}", f"invoke_agent {name}")
    assert turn.error == turn.attributes["gen_ai.request.model"] == name
    said = f"{text[:10_000]}… (cut: 1000000 characters in all)"
    assert turn.attributes["gen_ai.output.messages"] == said
    result = str(tool.attributes["gen_ai.tool.call.result"])
    assert result == f'"{text[:9999]}… (cut: 1000002 characters in all)'
    for span in (tool, agent, turn):
        texts = [span.name, span.error, *map(str, span.attributes.values())]
        assert max(map(len, texts)) < 10_100
        assert len(span.attributes) < 20


def test_requests_have_a_bound_whatever_the_spans_say(collector: Collector, environ: None) -> None:
    from claude_mpm.bridges.otel import export_spans

    collector.largest = 2**20  # bytes, as a proxy has it
    spans = spans_where_every_text_is("\N{TIGER FACE}" * 20_000, 100)
    assert export_spans(spans) == len(spans) == 101
    sent = {span.span_id for span in collector.of(OURS)}
    assert sent == {span.id.to_bytes(8) for span in spans}


@pytest.mark.parametrize("timestamp", ["9999-12-31T23:59:59Z", "1970-01-01T00:00:00Z"])
def test_a_time_that_no_span_can_have_keeps_nothing_from_being_sent(
    collector: Collector, environ: None, timestamp: str
) -> None:
    from claude_mpm.bridges.otel import export_spans

    spans = spans_where_every_text_is("x", 2, timestamp)
    assert export_spans(spans) == 3
    assert all(s.start_time_unix_nano <= s.end_time_unix_nano for s in collector.of(OURS))


def test_a_long_session_is_sent_in_parts(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claude_mpm.bridges.otel import ExportFailed, export_spans

    for name, value in collector.environ.items():
        monkeypatch.setenv(name, value)
    spans = [Span("a tool", 1, n + 1, 0, n, n + 1, {"gen_ai.tool.name": "x"}) for n in range(3000)]
    collector.largest = 100_000  # bytes, of the 200,000 of all of them
    assert export_spans(spans) == 3000
    assert len({span.span_id for span in collector.of(OURS)}) == 3000
    long = [Span("x" * 100_000, 1, 5000, 0, 1.0, 2.0, {})]
    with pytest.raises(ExportFailed, match="after 512 of 513; "):
        export_spans([*spans[:512], *long])
