"""A collector on loopback: it decodes what OpenTelemetry's own exporters send."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from loopback_http import LoopbackHttp

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(LoopbackHttp):
    """Takes spans and metrics over OTLP/HTTP with protobuf.

    Attributes:
        spans: all that came, in their order, each with the name of the service it is from.
        metrics: the last value of each, by its name.
        answers: with which status it answers what it takes, and what it says then, by the end of
            the path; 200 and nothing else.
        largest: bytes of a request beyond which it is refused; None for no limit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[tuple[str, Span]] = []
        self.metrics: dict[str, float] = {}
        self.answers: dict[str, tuple[int, Any]] = {}
        self.largest: int | None = None
        self._arrived = threading.Condition()  # notified by the handlers' threads

    @property
    def environ(self) -> dict[str, str]:
        """The variables that send everything here."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }

    def of(self, service: str) -> list[Span]:
        """Return the spans of a service."""
        return [span for name, span in self.spans if name == service]

    def wait(self, service: str, number: int, timeout: float = 60.0) -> list[Span]:
        """Wait for so many spans of a service, and return them."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.of(service)) >= number, timeout), [
                (name, span.name) for name, span in self.spans
            ]
            return self.of(service)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Take what was sent."""
        if self.largest is not None and len(body) > self.largest:
            return 413, {"message": "too large"}
        with self._arrived:
            if path.endswith("/traces"):
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    names = {a.key: a.value.string_value for a in group.resource.attributes}
                    for scope in group.scope_spans:
                        self.spans += [(names["service.name"], span) for span in scope.spans]
            elif path.endswith("/metrics"):
                for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for scope in group.scope_metrics:
                        for metric in scope.metrics:
                            points = metric.sum.data_points
                            values = [p.as_double or p.as_int for p in points]
                            counts = [p.count for p in metric.histogram.data_points]
                            self.metrics[metric.name] = float(sum(values) + sum(counts))
            self._arrived.notify_all()
        return self.answers.get(path.rpartition("/")[2], (200, None))
