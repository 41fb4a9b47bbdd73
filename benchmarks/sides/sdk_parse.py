"""claude-agent-sdk parses stream-json, and does nothing else: FILE."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from claude_agent_sdk._internal.message_parser import parse_message
from common import tell

lines = Path(sys.argv[1]).read_text().splitlines()
begun = time.perf_counter()
for line in lines:
    parse_message(json.loads(line))
tell(seconds=time.perf_counter() - begun, events=len(lines))
