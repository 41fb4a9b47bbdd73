"""A planted secret is found in no log, no index and no export."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_mpm.redaction import (
    _FORMS,
    _SIGNS,
    MARK,
    Fingerprint,
    Redactor,
    fingerprints,
    secrets_of,
)
from claude_mpm.store import Store
from claude_mpm.testing import Call

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude

SECONDS = 60.0
PLANTED = "hunter2-but-longer"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-api03-abcdefghijklmnopqrstuvwx",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "AKIAIOSFODNN7EXAMPLE",
        "xoxb-1234567890-abcdefghij",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\ndef\n-----END OPENSSH PRIVATE KEY-----",
        "me:s3cret",
    ],
)
def test_keys_are_known_by_their_form(secret: str) -> None:
    text = f"https://{secret}@host/" if ":" in secret and " " not in secret else f"({secret})"
    clean = Redactor().text(text)
    assert secret not in clean
    assert MARK in clean


@pytest.mark.parametrize(
    "text",
    [
        "commit 5020681a7e9c4f6d8b1e2a3c4d5e6f708192a3b4",
        "see https://example.org:8080/path and user@example.org",
        "TODO: rename the key of the token table",
        "sk-learn and ghp are words",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert Redactor().text(text) == text


@given(st.text(), st.text(min_size=8, max_size=40), st.text())
def test_a_known_value_is_taken_out_wherever_it_stands(
    before: str, secret: str, after: str
) -> None:
    redactor = Redactor(fingerprints([secret], "salt"), "salt")
    assert MARK in redactor.text(before + secret + after)


def test_what_was_kept_of_a_secret_by_an_older_release_finds_it_too() -> None:
    (known,) = fingerprints([PLANTED], "salt")
    redactor = Redactor([Fingerprint(known.length, known.digest)], "salt")
    assert redactor.text(f"x{PLANTED}y") == f"x{MARK}y"


@pytest.mark.parametrize("form", _FORMS)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_every_form_of_a_key_has_one_of_the_signs_of_keys(form: str, data: st.DataObject) -> None:
    plain = form.replace("(?<=://)", "://").replace("(?=@)", "@")
    key = data.draw(st.from_regex(plain))
    assert any(sign in key for sign in _SIGNS)


def test_what_is_secret_in_an_environment_is_told_by_its_name() -> None:
    environ = {"MY_API_KEY": PLANTED, "HOME": "/home/somebody", "DB_PASSWORD": "short"}
    assert secrets_of(environ) == [PLANTED]


def test_a_planted_secret_is_in_the_journal_and_nowhere_else(
    make_claude: MakeClaude, model: ScriptedModel, tmp_path: Path
) -> None:
    model.on(
        "go",
        Call("Bash", command="echo $PLANTED_SECRET"),
        f"TODO: replace {PLANTED} in the settings\nDelegating to engineer: rotate {PLANTED}",
    )
    environ = model.environment(tmp_path / "claude", PLANTED_SECRET=PLANTED)
    options = {"environ": environ, "claude_args": ["--allowedTools", "Bash"]}
    claude = make_claude(**options, log_level="DEBUG", log_dir=tmp_path / "log")
    with claude:
        turn = claude.ask(f"go, and mind {PLANTED}").wait(SECONDS)
        listed = subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    assert [ticket.title for ticket in turn.tickets] == [f"replace {MARK} in the settings"]
    assert PLANTED not in listed
    journal = Store().folder(claude.session_id).journal
    assert PLANTED in journal.read_text(), "the journal is whole"
    state = Store().path
    for file in [
        *state.glob("index*"),
        *(tmp_path / "log").rglob("*"),
        journal.parent / "meta.json",
    ]:
        assert PLANTED.encode() not in file.read_bytes(), file


def test_an_index_that_is_made_anew_elsewhere_holds_no_secret_either(
    make_claude: MakeClaude, model: ScriptedModel, tmp_path: Path
) -> None:
    model.on("go", f"TODO: replace {PLANTED}")
    environ = model.environment(tmp_path / "claude", PLANTED_SECRET=PLANTED)
    with make_claude(environ=environ) as claude:
        claude.ask("go").wait(SECONDS)
    store = Store()
    store.rebuild()
    assert [ticket.title for ticket in store.index.tickets()] == [f"replace {MARK}"]
    store.close()
