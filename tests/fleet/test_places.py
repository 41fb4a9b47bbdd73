"""Named places: where they may be named, how a command takes one, whether they answer."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from calls import call
from claude_mpm.cli.app import App
from claude_mpm.config.fields import NamedPlace
from claude_mpm.config.settings import load_settings
from claude_mpm.config.trust import set_trust
from claude_mpm.errors import SettingsError, UsageError
from claude_mpm.fleet import reach
from claude_mpm.fleet.places import choose_places, find_place
from claude_mpm.sessions.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILD = NamedPlace(orchestrator="ssh", options={"host": "build.example", "model": "opus"})
LOCAL = '[places.here]\norchestrator = "local"\n'


def write_settings(home: Path, text: str) -> Path:
    file = home / ".config" / "claude-mpm" / "settings.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_place_is_read_from_the_users_settings(home: Path) -> None:
    write_settings(
        home,
        '[places.build]\norchestrator = "ssh"\nat_once = 7\naccount = "team"\n'
        '[places.build.options]\nhost = "build.example"\n',
    )
    place = find_place("build", load_settings(environ={}).settings.places)
    assert (place.orchestrator, place.at_once, place.account) == ("ssh", 7, "team")
    assert place.options == {"host": "build.example"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[places.build]\norchestrater = 'ssh'\n", "orchestrater"),
        ("[places.build]\nat_once = 0\n", "`int` >= 1"),
        ("[places.'a b']\n", "matching regex"),
        ("places = 3\n", "expected a table"),
    ],
)
def test_a_place_that_cannot_be_meant_is_one_line(home: Path, text: str, said: str) -> None:
    file = write_settings(home, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={})
    message = str(caught.value)
    assert message.startswith(f"{file}, line 1: `places`: ")
    assert said in message.replace("a number", "`int`").replace("a whole number", "`int`")


def test_an_untrusted_project_names_no_place(home: Path) -> None:
    write_settings(home, LOCAL)
    Path(".claude-mpm.toml").write_text('[places.here]\norchestrator = "docker"\n')
    with pytest.raises(SettingsError, match=r"`places` gives a project power over what is run"):
        load_settings(environ={})
    set_trust(Path.cwd(), trusted=True)
    assert load_settings(environ={}).settings.places["here"].orchestrator == "docker"


def test_the_environment_gives_places_as_json() -> None:
    environ = {"CLAUDE_MPM_PLACES": '{"a": {"orchestrator": "docker"}}'}
    assert load_settings(environ=environ).settings.places["a"].orchestrator == "docker"
    with pytest.raises(SettingsError, match="CLAUDE_MPM_PLACES: not JSON"):
        load_settings(environ={"CLAUDE_MPM_PLACES": "a=b"})


def test_numbers_win_over_the_settings_and_an_orchestrator_is_a_place() -> None:
    build, local = choose_places(["build:9", "local"], {"build": BUILD})
    assert (build.name, build.orchestrator, build.at_once) == ("build", "ssh", 9)
    assert (local.name, local.orchestrator, local.options) == ("local", "local", {})


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (
            ["biuld"],
            "there is no place 'biuld'; did you mean 'build'? named in the settings: build",
        ),
        (["build:x"], "--on build:x: that is not NAME or NAME:NUMBER"),
        (["build", "build:2"], "'build' is named twice"),
        ([""], "that is not NAME"),
    ],
)
def test_a_choice_that_cannot_be_meant_is_one_line(choice: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_places(choice, {"build": BUILD})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_place_does_not_choose_the_state_folder() -> None:
    with pytest.raises(UsageError, match="`state_dir` is no option of a place"):
        find_place("a", {"a": NamedPlace(options={"state_dir": "/tmp/x"})})


def test_a_flag_wins_over_the_place(home: Path) -> None:
    write_settings(
        home,
        '[places.b]\norchestrator = "ssh"\n[places.b.options]\n'
        'host = "h"\nport = 1\nmodel = "opus"\ncwd = "/srv"\n',
    )
    app = App()
    app.on, app.flags, app.options = ("b",), {"model": "haiku"}, {"port": 2}
    assert (app.settings.orchestrator, app.settings.model, app.settings.cwd) == (
        "ssh", "haiku", "/srv",
    )  # fmt: skip
    assert app.options == {"host": "h", "port": 2}
    assert app.resolved.origin["orchestrator"] == "flag"


def test_a_command_runs_where_it_is_told(
    home: Path, stand_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(home, f'{LOCAL}[places.here.options]\nmetadata = {{ticket = "A-17"}}\n')
    done = call(capsys, "run", "--on", "here", "Hello")
    assert (done.status, done.out) == (0, "Claude heard: Hello\n")
    (session,) = Store().sessions()
    assert json.loads(session.metadata.read_text())["ticket"] == "A-17"
    assert call(capsys, "run", "--on", "here", "--orchestrator", "local", "x").status == 2
    wrong = call(capsys, "run", "--on", "there", "x")
    assert wrong.status == 2
    assert "claude-mpm: there is no place 'there'; did you mean 'here'?" in wrong.err


def test_all_places_are_asked_side_by_side_and_none_hangs(
    home: Path,
    silent: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reach, "PATIENCE", 8.0)  # for eight processes of a machine that is busy
    hanging = "".join(
        f'[places.hung{n}]\norchestrator = "remote"\n[places.hung{n}.options]\n'
        f'address = "127.0.0.1:{silent}"\ntoken = "hidden-token-{n}"\ntls = false\n'
        for n in range(5)
    )
    write_settings(home, f'{LOCAL}{hanging}[places.odd]\norchestrator = "ssh"\n')
    begin = time.monotonic()
    done = call(capsys, "places")
    assert time.monotonic() - begin < 39  # one after another would take forty
    answers = {row[0]: row[4] for row in done.rows}
    assert done.status == 1
    assert answers["here"].endswith(" s")
    assert answers["hung4"] == "no answer in 8 s"
    assert "host" in answers["odd"]  # it needs one
    assert "hidden" not in done.out + done.err
    assert call(capsys, "places", "here").status == 0
    listed = call(capsys, "places", "--no-check", "--json")
    assert [row["place"] for row in listed.json] == ["here", *(f"hung{n}" for n in range(5)), "odd"]


def test_no_option_of_a_place_is_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_settings(home, f'{LOCAL}[places.here.options]\nvariables = {{X = "hidden-word"}}\n')
    done = call(capsys, "doctor", "--json")
    assert "hidden-word" not in done.out + done.err
    assert '"here"' in done.out


def test_what_a_place_is_asked_with_is_no_argument(silent: int, home: Path) -> None:
    token = "a-token-that-nobody-sees"
    place = find_place(
        "r",
        {
            "r": NamedPlace(
                orchestrator="remote",
                options={"address": f"127.0.0.1:{silent}", "token": token, "tls": False},
            )
        },
    )
    seen: list[bytes] = []
    asked = threading.Thread(target=reach.reach_places, args=([place],), kwargs={"patience": 5.0})
    asked.start()
    while asked.is_alive():
        for each in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = each.read_bytes()
            except OSError:
                continue
            if b"claude_mpm.fleet.reach" in line:
                seen.append(line)
    assert seen
    assert not [line for line in seen if token.encode() in line]
