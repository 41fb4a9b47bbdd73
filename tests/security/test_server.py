"""What a client of a server can have it do: no more than its token, and the operator, allow."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from claude_mpm.environments.docker import Docker
from claude_mpm.environments.ssh import SSH
from claude_mpm.errors import LaunchError, StorageError, UsageError
from claude_mpm.link.connection import ServerAddress, ServerConnection
from claude_mpm.link.far import FarFailed, LinkCut
from claude_mpm.server.message_socket import Refused
from claude_mpm.server.quota import ByteQuota
from claude_mpm.server.roots import Roots
from claude_mpm.server.tokens import TokenLimits, Tokens
from claude_mpm.sessions.store import Store
from claude_mpm.testing.processes import resident_memory
from claude_mpm.testing.subject import until
from claude_mpm.wire.remote import CHUNK, InputMessage, StartParameters, encode
from command import PROGRAM
from served import raw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from served import Served

NOBODY = 65534
START = StartParameters(
    folder="/near", claude="/bin/sh", arguments=("-c", "cat"), wire="plain-text"
)


def start(connection: ServerConnection, **changes: Any) -> None:
    """Have a session started with what is like any other start but for some of its values."""
    connection.ask(
        InputMessage(do="start"), msgspec.json.encode(msgspec.structs.replace(START, **changes))
    )


# --- a client's folder --------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of the server's user, with a key, a project and the state folder in it."""
    for name in (".ssh", "project/part", "state/sessions"):
        (home / name).mkdir(parents=True)
    (home / "project" / "out").symlink_to(home / ".ssh")
    (home / "project" / "home").symlink_to(home)
    monkeypatch.chdir(home / "project")
    return home


@pytest.mark.parametrize(
    "asked",
    ["..", "../.ssh", "out", "home", "home/state", "/", "/tmp", "part/../../.ssh", "~", "/etc"],
)
def test_a_client_works_below_the_folder_of_the_server_alone(kept: Path, asked: str) -> None:
    roots = Roots((), str(kept / "project"), kept / "state", local=True)
    with pytest.raises(Refused, match="--root"):
        roots.resolve(os.path.join(kept / "project", os.path.expanduser(asked)))  # noqa: PTH118, PTH111
    assert roots.resolve(str(kept / "project")) == str(kept / "project")
    assert roots.resolve(str(kept / "project" / "part")) == str(kept / "project" / "part")


def test_home_and_state_are_left_out_unless_they_are_named(kept: Path) -> None:
    above = Roots((str(kept.parent),), "", kept / "state", local=True)
    assert above.resolve(str(kept / "project")) == str(kept / "project")
    assert above.resolve(str(kept.parent)) == str(kept.parent), "the operator has named it"
    for asked in (kept, kept / "state", kept / "state" / "sessions"):
        with pytest.raises(Refused):
            above.resolve(str(asked))
    assert Roots((str(kept),), "", kept / "state", local=True).resolve(str(kept)) == str(kept)


@pytest.mark.parametrize("default", ["", "..", "state"])
def test_a_server_that_would_open_its_home_does_not_start(kept: Path, default: str) -> None:
    with pytest.raises(UsageError, match="--root DIR"):
        Roots((), str(kept / default), kept / "state", local=True)
    environ = {**os.environ, "CLAUDE_MPM_STATE_DIR": str(kept / "state")}
    done = subprocess.run(
        [PROGRAM, "serve"], cwd=kept / default, env=environ, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--root DIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_not_there_cannot_be_named(kept: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        Roots((str(kept / "none"),), "", kept / "state", local=True)


def test_where_the_place_has_folders_of_its_own_their_names_are_compared(kept: Path) -> None:
    roots = Roots(("/srv",), "", kept / "state", local=False)
    assert roots.resolve("/srv/app/../web") == "/srv/web"
    for asked in ("/etc", "/srv/../etc", "srv", "~", "/srvx", "/"):
        with pytest.raises(Refused):
            roots.resolve(asked)
    with pytest.raises(Refused):
        Roots((), "", kept / "state", local=False).resolve("/srv")
    with pytest.raises(UsageError, match="whole path"):
        Roots(("srv",), "", kept / "state", local=False)


def test_a_start_elsewhere_is_refused_and_leaves_nothing(served: Served, tmp_path: Path) -> None:
    (tmp_path / "project" / "part").mkdir()
    token = served.token()
    served.start()
    with closing(served.connect("mine", token)) as client:
        for folder in (tmp_path, tmp_path / "far", tmp_path / "far-home", "/etc", "~", "/"):
            with pytest.raises(FarFailed, match="may not work in"):
                start(client, cwd=str(folder))
        assert served.sessions() == []
        start(client, cwd=str(tmp_path / "project" / "part"))
        (folder,) = served.sessions()
        client.ask(InputMessage(do="signal", signal=15))
    assert json.loads((folder / "meta.json").read_text())["cwd"] == str(
        tmp_path / "project" / "part"
    )


def test_several_folders_can_be_named(served: Served, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    served.start("--anonymous", "--root", str(tmp_path / "one"), "--root", str(tmp_path / "two"))
    with closing(served.connect("mine")) as client:
        with pytest.raises(FarFailed, match="may not work in"):
            start(client, cwd=str(tmp_path / "project"))
        start(client, cwd=str(tmp_path / "two"))
        client.ask(InputMessage(do="signal", signal=15))


# --- odd starts ---------------------------------------------------------------------------------

DEEP = b"[" * 100_000
ODD: tuple[Mapping[str, Any], ...] = (
    {"environ": {"A=B": "x"}},
    {"environ": {"A\0B": "x"}},
    {"environ": {"A": "x\0y"}},
    {"environ": {"A;touch M;": "x"}},
    {"environ": {"": "x"}},
    {"environ": {"1A": "x"}},
    {"environ": {"Ä": "x"}},
    {"environ": {"A": "x" * (1 << 20)}},
    {"expected": {"host\nuid": "x"}},
    {"expected": {"host": "x\nuid=0"}},
    {"arguments": ("-c", "echo \0")},
    {"arguments": ("x" * (1 << 20),)},
    {"claude": "/bin/\0sh"},
    {"claude": "/bin/none"},
    {"claude": "~nobodyhere/claude"},
    {"claude": "/"},
    {"cwd": "~nobodyhere"},
    {"cwd": "/none\0here"},
    {"cwd": "x" * 5000},
    {"cwd": "none/" * 3000},
    {"wire": "../../x"},
    {"wire": ""},
    {"conversation": "a\0b"},
    {"folder": "\0"},
)


def test_what_cannot_be_started_is_one_error_and_no_traceback(served: Served) -> None:
    token = served.token()
    served.start()
    with closing(served.connect("mine", token)) as client:
        for odd in ODD:
            with pytest.raises(FarFailed) as refused:
                start(client, **odd)
            assert "\n" not in str(refused.value), odd
            assert client.usable, f"the connection was closed for {str(odd)[:80]}"
        for data in (DEEP, b'{"folder":"/f","x":' + DEEP, b"[]", b"", b"\xff", b'{"folder":1}'):
            with pytest.raises(FarFailed, match="nothing that a session can be started with"):
                client.ask(InputMessage(do="start"), data)
        assert client.ask(InputMessage(do="beat")).id
    assert "Traceback" not in served.log
    assert served.sessions() == []


def test_a_record_with_an_unknown_wire_is_damaged(tmp_path: Path) -> None:
    folder = Store(tmp_path).folder("odd")
    folder.create()
    folder.meta_file.write_text(
        '{"session_id":"odd","claude_session_id":"","orchestrator":"local","environment":"local",'
        '"wire":"../../x","cwd":"/","created_at":0}'
    )
    with pytest.raises(StorageError, match=r"there is no wire '\.\./\.\./x'"):
        folder.read_meta()


@pytest.mark.parametrize("name", ["A;touch M;", "A B", "", "1A", "A=B", "Ä", "A\nB", "$(id)"])
def test_a_name_that_a_shell_would_read_is_no_variable(name: str) -> None:
    for place in (
        lambda: SSH("host", variables={name: "x"}),
        lambda: Docker("image", network="none", variables={name: "x"}),
        lambda: Docker(container="web", variables={name: "x"}),
    ):
        with pytest.raises(UsageError, match="no name of a variable"):
            place()
    assert name not in SSH("host").environ({name: "x", "A": "y"})


# --- how fast, and how much ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        [InputMessage(do="beat", id=100 + n, offset=7, data=b"x", size=9) for n in range(20)],
        [InputMessage(do="start", id=100, offset=n, data=b"x", size=1000) for n in range(20)],
    ],
    ids=["fields of a piece", "small pieces"],
)
def test_nothing_passes_the_rate_limit_by(served: Served, said: list[InputMessage]) -> None:
    token = served.token("ann", "--rate", "5")
    served.start()
    with closing(served.connect("mine", token)) as client:
        began = time.monotonic()
        for message in said:
            client.send(message)
        client.ask(InputMessage(do="beat"))
        # Five a second, after ten at once.
        assert time.monotonic() - began > 1.5


def test_a_long_message_in_whole_pieces_is_one_message(served: Served) -> None:
    token = served.token("ann", "--rate", "1")
    served.start()
    with closing(served.connect("mine", token)) as client:
        began = time.monotonic()
        start(client, framework=b"x" * (60 * CHUNK))
        assert time.monotonic() - began < 30, "each piece was counted"
        client.ask(InputMessage(do="signal", signal=15))


def test_unfinished_starts_of_one_token_take_a_bounded_memory(served: Served) -> None:
    token, other = served.token("ann"), served.token("bob")
    served.start()
    size = 15 << 20
    with ExitStack() as clients:
        before = resident_memory(served.pid)
        refused = 0
        for number in range(20):
            client = clients.enter_context(closing(served.connect(f"s{number}", token)))
            with suppress(LinkCut):  # it may have been refused before all of it was sent
                for at in range(0, size - CHUNK, CHUNK):
                    client.send(
                        InputMessage(do="start", id=1, offset=at, size=size, data=b"x" * CHUNK)
                    )
            try:
                client.ask(InputMessage(do="beat"))
            except LinkCut as error:
                assert "unfinished messages" in str(error)
                refused += 1
        assert refused == 16, "four of them fit"
        assert resident_memory(served.pid) - before < 100 << 20
        with closing(served.connect("mine", other)) as stays:
            start(stays)
            stays.ask(InputMessage(do="signal", signal=15))


def test_long_lines_of_one_token_take_a_bounded_memory(served: Served) -> None:
    token = served.token("ann")
    served.start()
    before = resident_memory(served.pid)
    with ExitStack() as clients:
        for number in range(20):
            client = clients.enter_context(raw(served.address))
            init = {"type": "init", "protocol": 1, "session": f"s{number}", "token": token}
            with suppress(ConnectionError):  # it may have heard enough before we have said all
                client.sendall(json.dumps(init).encode() + b"\n" + b" " * (15 << 20))
        until(lambda: served.log.count("unfinished messages") == 16, "all of them were kept")
        assert resident_memory(served.pid) - before < 200 << 20


def test_what_a_tokens_sessions_are_given_has_a_bound() -> None:
    quota = ByteQuota(TokenLimits(message_bytes=1 << 20))
    quota.stored = 0
    assert all(quota.store(1 << 20) for _ in range(64))
    assert not quota.store(1)
    assert quota.no_disk.endswith("remove some")


def test_messages_do_not_fill_the_disk(served: Served) -> None:
    token = served.token("ann", "--message-bytes", "1000000", "--rate", "10000")
    served.start()
    message = b"x" * 1_000_000
    with closing(served.connect("mine", token)) as client:
        start(client, arguments=("-c", "sleep 1000"))
        with pytest.raises(FarFailed, match="bytes already, of 67108864 that they may have"):
            for number in range(100):
                client.ask(InputMessage(do="put", name=f"{number:06}"), message)
        assert 60 < number < 68
        client.ask(InputMessage(do="signal", signal=9))
    stored = sum(path.stat().st_size for path in served.state.rglob("inbox/*"))
    assert stored < 70_000_000


# --- tokens -------------------------------------------------------------------------------------


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    tokens = Tokens(tmp_path / "state")
    tokens.add("ann", TokenLimits())
    assert tokens.all()
    return tokens


def test_the_mode_of_the_tokens_is_looked_at_each_time(tokens: Tokens) -> None:
    tokens.file.chmod(0o644)
    with pytest.raises(StorageError, match=r"can be read by others .*chmod 600"):
        tokens.all()
    tokens.file.chmod(0o620)
    with pytest.raises(StorageError, match="can be written by others"):
        tokens.all()
    tokens.file.chmod(0o600)
    assert tokens.all()


def test_a_link_or_another_users_file_holds_no_tokens(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tokens.file.rename(tokens.file.with_name("elsewhere"))
    tokens.file.symlink_to(elsewhere)
    with pytest.raises(StorageError, match="no regular file"):
        tokens.all()
    tokens.file.unlink()
    os.mkfifo(tokens.file)
    with pytest.raises(StorageError, match="no regular file"):
        tokens.all()
    tokens.file.unlink()
    elsewhere.rename(tokens.file)
    os.chown(tokens.file, NOBODY, NOBODY)
    with pytest.raises(StorageError, match=f"another user .uid {NOBODY}"):
        tokens.all()


def test_tokens_in_a_folder_that_others_can_write_are_not_believed(tokens: Tokens) -> None:
    tokens.file.parent.chmod(0o777)
    with pytest.raises(StorageError, match="can be written by others"):
        tokens.find("mpm_00000000_x")


def test_connections_that_stand_end_when_others_can_read_the_tokens(served: Served) -> None:
    token = served.token()
    served.start()
    with closing(served.connect("mine", token)) as client:
        (served.state / "tokens.json").chmod(0o644)
        with pytest.raises(FarFailed, match="revoked"):
            client.ask(InputMessage(do="beat"))
        with pytest.raises(LinkCut, match="cannot read its tokens"):
            served.connect("mine", token)


def test_a_token_goes_to_a_file_that_nobody_else_can_read(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "ann.token"
    before = os.umask(0)
    try:
        assert served.token("ann", "--output", str(file)) == ""
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "File exists; name a new file" in served(
        "token", "add", "bob", "--output", str(file), status=2
    )
    assert "ann" in served("token", "add", "ann", "--output", f"{file}2", status=2)
    assert not Path(f"{file}2").exists()
    served.start()
    connection = ServerConnection(
        ServerAddress(address=served.address, token_file=str(file), tls=False), "mine"
    )
    connection.close()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_token_file_that_others_can_read_is_not_used(
    served: Served, tmp_path: Path, mode: int
) -> None:
    file = tmp_path / "token"
    file.write_text(served.token())
    file.chmod(mode)
    served.start()
    with pytest.raises(LaunchError, match=f"the token is not used: {file} .*chmod 600 {file}"):
        served.program("cat", token_file=str(file)).start_or_raise()
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(LaunchError, match="no regular file"):
        served.program("cat", token_file=str(file)).start_or_raise()


# --- who may come without a token ---------------------------------------------------------------

_AS_SOMEBODY = """
import encodings.idna, os, socket, sys  # what is imported later cannot be read by then
os.setgid({uid}); os.setuid({uid})
host, _, port = sys.argv[1].rpartition(":")
client = socket.create_connection((host.strip("[]"), int(port)), 60)
client.sendall(sys.argv[2].encode())
client.shutdown(socket.SHUT_WR)
sys.stdout.buffer.write(client.makefile("rb").read())
"""


def say_as(uid: int, address: str, message: bytes) -> str:
    """Say something to a server as another user; return all that it answers."""
    script = _AS_SOMEBODY.format(uid=uid)
    words = [sys.executable, "-I", "-c", script, address, message.decode()]
    done = subprocess.run(words, cwd="/", capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_without_a_token_only_the_servers_own_user_comes_in(served: Served, host: str) -> None:
    address = served.start("--anonymous", "--host", host)
    init = encode(msgspec.convert({"protocol": 1, "session": "x"}, _init()))
    assert '"protocol":1' in say_as(os.getuid(), address, init)
    refused = say_as(NOBODY, address, init)
    assert f"only the server's own user may connect, not uid {NOBODY}" in refused
    for uid in (NOBODY, NOBODY - 1):
        text = say_as(uid, address, b'{"type":"init","model":"x"}\n')
        assert json.loads(text)["type"] == "error"
    assert served.sessions() == []


def test_another_user_with_a_token_comes_in_all_the_same(served: Served) -> None:
    token = served.token()
    address = served.start("--anonymous")
    init = {"type": "init", "protocol": 1, "session": "x", "token": token}
    assert '"protocol":1' in say_as(NOBODY, address, json.dumps(init).encode() + b"\n")


def _init() -> Any:
    from claude_mpm.wire.remote import InitMessage

    return InitMessage
