"""What is read without YAML is read as YAML would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from claude_mpm.config import agent_file, front_matter

if TYPE_CHECKING:
    from pathlib import Path

_LINE = st.builds(
    "{}: {}".format,
    st.sampled_from(["name", "description", "tools", "model", "color"]),
    st.text(alphabet="abNoOfy 0.,;:#()'\"-_*?!/[]{}&|>%@`~\\é\t", max_size=12)
    | st.sampled_from(["yes", "No", "null", "TRUE", "on", "1e3", "0x1", "n", "Read, Grep", "it's"]),
)


@given(st.lists(_LINE, min_size=2, max_size=4))
def test_plain_front_matter_means_the_same(lines: list[str]) -> None:
    head = "\n".join(lines) + "\n"
    plain = front_matter._read_plain(head)
    if plain is not None:
        assert plain.values == yaml.safe_load(head)


def test_the_packaged_agents_need_no_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    from claude_mpm.config.framework import FrameworkLoader

    monkeypatch.setattr(front_matter, "_load_yaml", None)
    assert len(FrameworkLoader().load().agents) == 4


def test_what_yaml_alone_understands_is_left_to_it() -> None:
    for head in ("name: a\n", "name: a\nname: b\n", "name: no\ndescription: d\n", "- a\n"):
        assert front_matter._read_plain(head) is None


@pytest.mark.parametrize(
    "head",
    [
        "name: digger\ndescription: digs",
        "name: digger\ndescription: digs\ntools: Read, Grep\nmodel: ' opus '",
        "name: digger\ndescription: digs\nmodel: inherit\ntools: '*'",
        "description: digs\nname: a b",
        "name: digger\ndescription: two\\nlines",
    ],
)
def test_what_is_usual_comes_out_as_what_is_checked_field_by_field(
    tmp_path: Path, head: str
) -> None:
    read = front_matter.read_head(head)
    lines = {key: line + 2 for key, line in read.lines.items()}
    file = agent_file.AgentFile(tmp_path / "digger.md")
    usual = agent_file._usual_fields(read, lines)
    assert usual is not None
    assert usual == agent_file._checked_fields(file, read, lines)
    assert not file.errors


@pytest.mark.parametrize(
    "head",
    [
        "name: digger",
        "name: digger\ndescription: digs\ncolor: red",
        "name: digger\ndescription: 3",
        "name: digger\ndescription: ''",
        "name: digger\ndescription: digs\ntools: [Read]",
        "name: digger\ndescription: digs\nmodel:",
    ],
)
def test_what_is_not_usual_is_checked_field_by_field(head: str) -> None:
    read = front_matter.read_head(head)
    lines = {key: line + 2 for key, line in read.lines.items()}
    assert agent_file._usual_fields(read, lines) is None
