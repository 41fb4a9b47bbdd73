"""What is read without YAML is read as YAML would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml
from hypothesis import given
from hypothesis import strategies as st

from claude_mpm.config import front_matter

if TYPE_CHECKING:
    import pytest

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
