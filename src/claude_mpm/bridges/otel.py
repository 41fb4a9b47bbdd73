"""Spans and metrics for an OpenTelemetry collector, by the SDK of OpenTelemetry.

Where they go, and with which headers, is said by the variables `OTEL_EXPORTER_OTLP_*`, as
everywhere (https://opentelemetry.io/docs/specs/otel/protocol/exporter/).
"""

from __future__ import annotations

import atexit
import time
from typing import TYPE_CHECKING

from claude_mpm.bridges.spans import Span, SpanFold, attributes_without_empty, cut
from claude_mpm.errors import MPMError, SettingsError
from claude_mpm.sessions.state import MOST, SessionState

try:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    from claude_mpm.bridges.otlp_answers import REDIRECTS, CollectorAnswers
except ImportError as error:
    raise SettingsError(
        "OpenTelemetry is missing; install the extra `otel` of this program,"
        " or pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from claude_mpm.redaction import Redactor
    from claude_mpm.wire.events import Event

_SCOPE = InstrumentationScope("claude_mpm")
_NANOSECONDS = 1_000_000_000
_AT_ONCE = 512  # spans of one request
_LARGEST = 1_000_000  # bytes of it: collectors bound them, and proxies before them at 1 MiB
_FRAME, _FIELD = 200, 32  # bytes around the texts of a span, and of an attribute, at most
_LATEST = 2**63 - 1  # nanoseconds since the epoch
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class ExportFailed(MPMError):
    """A collector did not take the spans."""


def export_spans(spans: Iterable[Span]) -> int:
    """Give spans to the collector and return how many there were.

    Raises:
        ExportFailed: it could not be reached, or did not take all of them.
    """
    resource = _resource()
    readable = [_readable(span, resource) for span in spans]
    exporter = SpanExporter()
    try:
        if exporter.export(readable) is not SpanExportResult.SUCCESS:
            raise ExportFailed(_failure(exporter, len(readable)))
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]
    if exporter.refused:
        raise ExportFailed(
            f"the OpenTelemetry collector took {exporter.taken} of {len(readable)} spans and"
            f" refused {exporter.refused}; correct what it names, then send them again: what it has"
            f" is not added twice. It says: {exporter.answers.reason}"
        )
    return exporter.taken


def _failure(exporter: SpanExporter, number: int) -> str:
    """Return why spans were not taken, how many were, and what to do."""
    answers, taken = exporter.answers, f" after {exporter.taken} of {number}"
    ask = "is OTEL_EXPORTER_OTLP_ENDPOINT right, and does it run? Then"
    advice = f"{REDIRECTS}, then" if answers.redirects else ask
    refused = f". It refused {exporter.refused} and says: {answers.reason}"
    return (
        f"the OpenTelemetry collector did not take the spans{taken if exporter.taken else ''};"
        f" {advice} send them again: what it has is not added twice"
        f"{refused if exporter.refused else ''}"
    )


class SpanExporter(OTLPSpanExporter):
    """Sends spans in requests of a bounded size and counts what the collector takes.

    It is used by one thread at a time.

    Attributes:
        answers: what the collector says.
        taken: how many spans it has.
        refused: how many it does not have, of requests that it took otherwise.

    Raises:
        SettingsError: as `CollectorAnswers`.
    """

    def __init__(self) -> None:
        self.answers = CollectorAnswers("TRACES")
        super().__init__(session=self.answers.session)
        self.taken = 0
        self.refused = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans, until a request is not taken."""
        for part in _parts(spans):
            if self._send(part) is not SpanExportResult.SUCCESS:
                return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def _send(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        before = self.answers.refused
        result = super().export(spans)
        if self.answers.redirects or result is not SpanExportResult.SUCCESS:
            return SpanExportResult.FAILURE
        refused = min(self.answers.refused - before, len(spans))  # it may say anything
        self.taken += len(spans) - refused
        self.refused += refused
        return result


class LiveExport:
    """A sink that gives spans and metrics of a session to the collector as they come.

    `observe` is called by the thread that reads the session; what is sent is sent by threads of the
    SDK, so a slow collector holds nothing up, and one that is away costs only what it would get.

    Args:
        session: the session's id.
        content: as for `SpanFold`.
    """

    def __init__(self, session: str, *, content: Redactor | None = None) -> None:
        self._fold = SpanFold(session, content=content)
        self._state = SessionState(most=MOST)
        self._resource = _resource()
        self._exporter = SpanExporter()
        self._spans = BatchSpanProcessor(self._exporter)
        self._answers = CollectorAnswers("METRICS")
        exporter = OTLPMetricExporter(session=self._answers.session)
        self._metrics = MeterProvider(
            [PeriodicExportingMetricReader(exporter)], resource=self._resource
        )
        meter = self._metrics.get_meter(_SCOPE.name)
        self._turns = meter.create_counter("claude_mpm.turns", description="turns that ended")
        self._tokens = meter.create_counter(
            "gen_ai.client.token.usage", unit="{token}", description="tokens used"
        )
        self._cost = meter.create_counter("claude_mpm.cost", unit="USD", description="cost")
        self._asked = meter.create_counter(
            "claude_mpm.permission_requests", description="permission requests of Claude"
        )
        self._waited = meter.create_histogram(
            "claude_mpm.permission_request.duration", unit="s",
            description="time until Claude went on",
        )  # fmt: skip
        self._waiting: dict[str, float] = {}  # permission requests, with when they were seen

    def observe(self, event: Event) -> None:
        """Take one event."""
        self._state.apply(event)
        if self._state.asked or self._waiting:
            self._look_at_requests()
        for span in self._fold.observe(event):
            self._spans.on_end(_readable(span, self._resource))
        if event.kind == "turn":
            record = event.data
            outcome = {"gen_ai.operation.name": "invoke_agent", "subtype": cut(record.subtype)}
            self._turns.add(1, outcome)
            self._cost.add(record.cost_usd)
            self._tokens.add(record.input_tokens, {"gen_ai.token.type": "input"})
            self._tokens.add(record.output_tokens, {"gen_ai.token.type": "output"})

    def close(self, created_at: float | None) -> None:
        """Send what is left.

        Args:
            created_at: when the session was made, in seconds since the epoch, whose own span is
                sent then; None while it goes on.
        """
        atexit.unregister(self._metrics.shutdown)  # where Ctrl-C ends this, it is not begun again
        if created_at is not None:
            self._spans.on_end(_readable(self._fold.root(created_at), self._resource))
        self._spans.shutdown()  # type: ignore[no-untyped-call]
        self._metrics.shutdown()
        self._exporter.answers.warn(self._exporter.refused, "spans")
        self._answers.warn(self._answers.refused, "data points")

    def _look_at_requests(self) -> None:
        """Count the permission requests that are new, and how long those waited that are closed."""
        now, asked = time.monotonic(), self._state.asked.keys()
        for name in self._waiting.keys() - asked:
            self._waited.record(now - self._waiting.pop(name))
        for name in asked - self._waiting.keys():
            self._asked.add(1)
            self._waiting[name] = now


def _resource() -> Resource:
    return Resource.create({"service.name": "claude-mpm"})


def _readable(span: Span, resource: Resource) -> ReadableSpan:
    return ReadableSpan(
        span.name,
        context=_context(span, span.id),
        parent=_context(span, span.parent) if span.parent else None,
        resource=resource,
        attributes=attributes_without_empty(span),
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
        start_time=_nanoseconds(span.start),
        end_time=_nanoseconds(span.end),
        instrumentation_scope=_SCOPE,
    )


def _nanoseconds(seconds: float) -> int:
    """Return a time as a span has it; one out of its range, as Claude may name it, is its end."""
    return max(0, min(round(seconds * _NANOSECONDS), _LATEST))


def _parts(spans: Sequence[ReadableSpan]) -> Iterator[list[ReadableSpan]]:
    """Divide spans into requests, in their order."""
    part: list[ReadableSpan] = []
    size = 0
    for span in spans:
        length = _size(span)
        if part and (len(part) >= _AT_ONCE or size + length > _LARGEST):
            yield part
            part, size = [], 0
        part.append(span)
        size += length
    if part:
        yield part


def _size(span: ReadableSpan) -> int:
    """Return how many bytes a span has in a request, at most."""
    texts = [span.name, span.status.description or ""]
    for name, value in (span.attributes or {}).items():
        texts += [name, str(value)]
    return _FRAME + sum(_FIELD + len(text.encode("utf-8", "replace")) for text in texts)


def _context(span: Span, identity: int) -> SpanContext:
    return SpanContext(span.trace, identity, is_remote=False, trace_flags=_SAMPLED)
