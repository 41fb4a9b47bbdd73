"""End the Claude of a session: STATE SESSION."""

from __future__ import annotations

import sys

from common import tell

from claude_mpm import create_orchestrator

create_orchestrator("local", state_dir=sys.argv[1], session_id=sys.argv[2]).end_session()
tell()
