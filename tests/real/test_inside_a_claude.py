"""A session that is started from inside Claude Code is nobody's child: it has a name of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from claude_mpm.environments.variables import carried, inherited
from claude_mpm.testing import Call

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude

# What any shell has, and what we set for every Claude anyway.
OF_A_SHELL = {"PWD", "OLDPWD", "SHLVL", "SHELL", "TERM", "_", "CLAUDE_CODE_FORWARD_SUBAGENT_TEXT"}
MADE_UP = {
    "CLAUDE_CODE_SESSION_ACCESS_TOKEN": "secret",
    "CLAUDE_CODE_HOST_SESSION_ID": "h",
    "CLAUDE_CODE_MESSAGING_SOCKET": "/tmp/x.sock",
    "CLAUDE_CODE_MESSAGING_TOKEN": "tok",
    "CLAUDE_CODE_PARENT_SESSION_ID": "p",
    "CLAUDE_CODE_REMOTE_SESSION_ID": "r",
    "CLAUDE_CODE_AGENT_ID": "a",
    "CLAUDE_CODE_WEBSOCKET_AUTH_FILE_DESCRIPTOR": "3",
    "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR": "4",
    "CLAUDE_CODE_RESUME_INTERRUPTED_TURN": "1",
    "CLAUDE_CODE_TMPDIR": "/tmp/mpm.Ab12Cd",
    "CLAUDE_EFFORT": "high",
    "AI_AGENT": "claude-code",
    "GIT_EDITOR": "true",
}


@pytest.mark.parametrize("place", ["local", "terminal"])
def test_nothing_that_claude_gives_its_tools_goes_on_to_another_claude(
    make_claude: MakeClaude, model: ScriptedModel, tmp_path: Path, place: str
) -> None:
    model.on("go", Call("Bash", command=f"env -0 >{tmp_path}/variables"), "done")
    environ = model.environment(tmp_path / "claude-home")
    settings: Mapping[str, object] = {"trust": True} if place == "terminal" else {}
    with make_claude(
        place, environ=environ, permission_mode="dontAsk", allowed_tools=["Bash"], **settings
    ) as claude:
        claude.ask("go", timeout=60).check()
    lines = (tmp_path / "variables").read_text().split("\0")
    outer = dict(line.split("=", 1) for line in lines if line)
    assert outer["CLAUDECODE"] == "1"
    assert outer.keys() - environ.keys() > {"AI_AGENT", "CLAUDE_CODE_SESSION_ID"}
    assert inherited(outer).keys() - environ.keys() <= OF_A_SHELL
    assert "CLAUDE_CODE_TMPDIR" not in inherited(outer), "it goes with the outer session"
    assert carried(outer).keys() <= environ.keys() | OF_A_SHELL


def test_the_secrets_of_an_outer_claude_go_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**MADE_UP, "CLAUDE_CODE_OAUTH_TOKEN": "mine"}.items():
        monkeypatch.setenv(name, value)
    for given in (inherited(None), carried(None), inherited(MADE_UP), carried(MADE_UP)):
        assert not given.keys() & MADE_UP.keys()
    assert inherited(None)["CLAUDE_CODE_OAUTH_TOKEN"] == "mine"
    assert inherited({"GIT_EDITOR": "vim", "CLAUDE_CODE_TMPDIR": "/mine"}) == {
        "GIT_EDITOR": "vim",
        "CLAUDE_CODE_TMPDIR": "/mine",
    }


def test_to_another_machine_go_named_variables_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    meant = {"ANTHROPIC_API_KEY": "k", "CLAUDE_CODE_OAUTH_TOKEN": "t", "LANG": "C.UTF-8",
             "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "9", "ANTHROPIC_DEFAULT_OPUS_MODEL": "o",
             "DISABLE_TELEMETRY": "1"}  # fmt: skip
    not_known = {"CLAUDE_CODE_WHATEVER_COMES": "x", "ANTHROPIC_WEBHOOK_SIGNING_KEY": "x",
                 "DISABLE_WHATEVER": "x", "CLAUDE_CODE_CLIENT_KEY_PASSPHRASE": "x"}  # fmt: skip
    for name, value in {**meant, **not_known}.items():
        monkeypatch.setenv(name, value)
    found = carried(None)
    assert meant.items() <= found.items()
    assert not found.keys() & not_known.keys()
    assert not_known.items() <= inherited(None).items(), "here it is the same user's machine"
