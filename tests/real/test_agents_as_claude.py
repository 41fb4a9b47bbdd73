"""Folders of agents mean for us what they mean for the real Claude Code, file by file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent_heads import made_up

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from claude_mpm.capabilities.facts import Capabilities

TOOLS = Path(__file__).parents[2] / "tools"
MORE = "we list it, and Claude does not"
AGENT = "---\nname: {name}\ndescription: Checks things.\n---\nYou are {name}.\n"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(TOOLS))
    import compare_agents

    yield compare_agents
    sys.modules.pop("compare_agents")


def test_a_corpus_of_oddities_is_read_alike_or_the_difference_is_explained(
    tool: ModuleType, tmp_path: Path, build: Capabilities
) -> None:
    files = made_up(220, seed=11)
    folder = tmp_path / "agents"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    lines = tool.compare(folder)
    assert {line.file for line in lines} == files.keys()
    reasons = [line.reason for line in lines if line.outcome == "unexplained"]
    # We read as a build of today does; an older one lists less of them, and nothing else.
    newer = [] if build.can("agents_by_file") else [r for r in reasons if MORE in r]
    assert reasons == newer
    assert len(reasons) < 10
    assert all(line.reason for line in lines if line.outcome == "differs")
    # Without them, the comparison would show nothing.
    assert sum(line.outcome == "same" and not line.reason for line in lines) > 30
    assert sum("not YAML; the text" in line.reason for line in lines) > 10


def test_folders_and_links_are_read_alike(tool: ModuleType, tmp_path: Path) -> None:
    agents = tmp_path / "agents"
    (agents / "team" / "x.md").mkdir(parents=True)
    for place in ("one.md", "team/two.md", "team/x.md/three.md"):
        (agents / place).write_text(AGENT.format(name=Path(place).stem))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "four.md").write_text(AGENT.format(name="four"))
    (agents / "linked").symlink_to(tmp_path / "elsewhere")
    (agents / "five.md").symlink_to(agents / "nowhere.md")
    (agents / "README.md").write_text("# Our agents\n")
    (agents / "large.md").write_text(AGENT.format(name="large") + "x" * (1 << 20))
    lines = {line.file: line.outcome for line in tool.compare(agents)}
    assert lines == dict.fromkeys(
        ["one.md", "team/two.md", "team/x.md/three.md", "linked/four.md", "five.md", "README.md",
         "large.md"],
        "same",
    )  # fmt: skip


def test_a_difference_that_nobody_explains_ends_with_1(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.md").write_text(AGENT.format(name="a"))
    seen = {"a": tool.Seen("Checks things.", "", "Read")}
    other = {"a": tool.Seen("Checks things.", "", "All tools")}
    answers = iter([seen, other, {}])
    monkeypatch.setattr(tool, "listed", lambda *_: next(answers))
    assert tool.main([str(tmp_path)]) == 1
