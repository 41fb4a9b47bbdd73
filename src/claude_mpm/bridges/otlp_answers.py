"""What an OpenTelemetry collector answers: it may take a request, and refuse some of what is in it.

The SDK looks at the status alone, so for it all was taken then
(https://opentelemetry.io/docs/specs/otlp/#partial-success-1).
"""

from __future__ import annotations

import logging
import os
from importlib.metadata import entry_points
from typing import Any, Literal

import msgspec
import requests
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from claude_mpm.errors import SettingsError
from claude_mpm.printable import one_line, shortened
from claude_mpm.redaction import Redactor, secrets_of
from claude_mpm.validation import NOT_JSON

REDIRECTS = "its address redirects; set OTEL_EXPORTER_OTLP_ENDPOINT to where it leads"
Signal = Literal["TRACES", "METRICS"]  # what is sent, as the SDK's variables name it

_logger = logging.getLogger("claude_mpm.otel")
_LONGEST_REASON, _MOST_READ = 301, 10_000  # characters; of a reason with the sign of a cut
_PROVIDERS = "opentelemetry_otlp_credential_provider"  # the SDK's group of entry points


class _Partly(msgspec.Struct, frozen=True, rename="camel"):
    rejected_spans: int = 0
    rejected_data_points: int = 0
    error_message: str = ""


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    partial_success: _Partly | None = None


class CollectorAnswers:
    """Reads what a collector answers one exporter; called by the thread that sends.

    Args:
        signal: what is sent.

    Attributes:
        session: what the exporter is to send with.
        refused: how many spans, or data points, the collector has refused of requests that it
            took otherwise.
        reason: the latest for that, as one line without secrets.
        redirects: whether the last answer names another address, so that nothing was taken.

    Raises:
        SettingsError: the SDK's variables name a credential provider that is not installed.
    """

    def __init__(self, signal: Signal) -> None:
        self.session = _session(signal)
        self.session.hooks["response"].append(self._take)
        self.refused = 0
        self.reason = "no reason"
        self.redirects = False
        self._signal = signal

    def warn(self, refused: int, what: str) -> None:
        """Log what a collector did not take, where there is something.

        Args:
            refused: how many it has refused.
            what: of what.
        """
        if self.redirects:
            _logger.warning("the OpenTelemetry collector took no %s: %s", what, REDIRECTS)
        if refused:
            _logger.warning(
                "the OpenTelemetry collector refused %d %s and says: %s", refused, what, self.reason
            )

    def _take(self, response: requests.Response, *_: Any, **_options: Any) -> None:
        self.redirects = 300 <= response.status_code < 400  # which the SDK takes for a success
        if response.ok and not self.redirects:
            said = self._part(response)
            refused = max(0, said.rejected_spans + said.rejected_data_points)
            if refused:
                self.refused += refused
                self.reason = _shown(said.error_message) or self.reason

    def _part(self, response: requests.Response) -> _Partly:
        """Return what an answer says of a part; nothing where it cannot be read."""
        try:
            if "json" in response.headers.get("Content-Type", ""):
                found = msgspec.json.decode(response.content, type=_Answer, strict=False)
                return found.partial_success or _Partly()
            if self._signal == "TRACES":
                spans = ExportTraceServiceResponse.FromString(response.content).partial_success
                return _Partly(spans.rejected_spans, 0, spans.error_message)
            points = ExportMetricsServiceResponse.FromString(response.content).partial_success
            return _Partly(0, points.rejected_data_points, points.error_message)
        except (DecodeError, *NOT_JSON):
            return _Partly()


def _shown(text: str) -> str:
    """Return a collector's text as a bounded line without secrets."""
    whole = one_line(Redactor(secrets=secrets_of(os.environ)).text(text[:_MOST_READ]))
    return shortened(whole, _LONGEST_REASON)


def _session(signal: Signal) -> requests.Session:
    """Return what the SDK would send with: of a credential provider, where its variables name one.

    Raises:
        SettingsError: that is not installed.
    """
    before, after = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_", "CREDENTIAL_PROVIDER"
    name = os.environ.get(f"{before}{after}") or os.environ.get(f"{before}{signal}_{after}")
    if not name:
        return requests.Session()
    found = next(iter(entry_points(group=_PROVIDERS, name=name)), None)
    session = found.load()() if found is not None else None
    if not isinstance(session, requests.Session):
        raise SettingsError(
            f"OpenTelemetry's credential provider {name!r} is not installed, or makes no session;"
            f" install it, or unset {before}{after} and {before}{signal}_{after}"
        )
    return session
