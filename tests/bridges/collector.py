"""A collector on loopback: it decodes what OpenTelemetry's own exporters send."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """Takes spans and metrics over OTLP/HTTP with protobuf.

    Attributes:
        spans: all that came, in their order, each with the name of the service it is from.
        metrics: the last value of each, by its name.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        self.metrics: dict[str, float] = {}
        self._arrived = threading.Condition()  # notified by the handlers' threads
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def environ(self) -> dict[str, str]:
        """The variables that send everything here."""
        port = self._server.server_address[1]
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def of(self, service: str) -> list[Span]:
        """Return the spans of a service."""
        return [span for name, span in self.spans if name == service]

    def wait(self, service: str, number: int, timeout: float = 30.0) -> list[Span]:
        """Wait for so many spans of a service, and return them."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.of(service)) >= number, timeout), [
                (name, span.name) for name, span in self.spans
            ]
            return self.of(service)

    def _take(self, path: str, body: bytes) -> None:
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

    def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector._take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        return Handler
