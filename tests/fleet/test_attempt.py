"""What an attempt notes of the events of its turn."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_mpm.fleet.attempt import Seen
from claude_mpm.wire import StreamJson
from claude_mpm.wire.framing import Line

LIFTED = 1793848080.0  # when a limit is lifted, in seconds since the epoch
REFUSED = {"status": "rejected", "resetsAt": LIFTED}
ALLOWED = {"status": "allowed", "resetsAt": LIFTED + 1}


@pytest.mark.parametrize(
    ("reports", "until"),
    [
        ([], None),
        ([REFUSED], LIFTED),
        ([REFUSED, ALLOWED], None),
        ([REFUSED, {"status": "allowed_warning"}], None),
        ([REFUSED, ALLOWED, {**REFUSED, "resetsAt": LIFTED + 9}], LIFTED + 9),
    ],
    ids=["nothing", "refused", "allowed again", "allowed with a warning", "refused again"],
)
def test_the_latest_report_of_the_rate_limit_counts(
    reports: list[dict[str, Any]], until: float | None
) -> None:
    seen = Seen()
    for info in reports:
        data = json.dumps({"type": "rate_limit_event", "rate_limit_info": info}).encode()
        for event in StreamJson().decode(Line(0, data, len(data) + 1)):
            seen.observe(event)
    assert seen.until == until
