"""Where real output of Claude Code lies, and what a person found in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def _folder() -> Path:
    asked = os.environ.get("RECORDINGS")
    beside = HERE.parent.parent / "shared" / "data"
    return Path(asked).absolute() if asked else beside if beside.is_dir() else HERE / "data"


DATA = _folder()
RECORDINGS = sorted(DATA.glob("*.jsonl")) + sorted(DATA.glob("transcripts/*/*.jsonl"))
_truth = DATA / "transcripts" / "truth.json"
TRUTH: dict[str, Any] = json.loads(_truth.read_text())["files"] if _truth.exists() else {}
