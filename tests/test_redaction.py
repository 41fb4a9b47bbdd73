"""A planted secret is found in no log, no index and no export."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_mpm.cli.main import main
from claude_mpm.errors import StorageError
from claude_mpm.journal.secrets import redactor_of, secrets_key
from claude_mpm.records import TurnRecord
from claude_mpm.redaction import MARK, Fingerprint, Redactor, fingerprints, secrets_of
from claude_mpm.sessions.store import Store
from claude_mpm.testing import Call

if TYPE_CHECKING:
    from claude_mpm.testing import ScriptedModel
    from conftest import MakeClaude

SECONDS = 60.0
PLANTED = "hunter2-but-longer"
WEAK = "summer2024"


KEY = b"k" * 32
ALNUM = "7f3Kq9Zt2LmXw8Rb4Vy6Nc1Hd5Jg0PsAeUoIiTzQ"
BASE64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-api03-abcdefghijklmnopqrstuvwx",
        "sk-proj-abc_DEF-0123456789abcdef",
        f"sk-{ALNUM}",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        f"github_pat_{ALNUM}",
        f"glpat-{ALNUM[:20]}",
        "AKIAIOSFODNN7EXAMPLE",
        f"AIza{ALNUM[:35]}",
        f"GOCSPX-{ALNUM[:28]}",
        "xoxb-1234567890-abcdefghij",
        "xoxe.xoxp-1-Mi0yLTEyMzQ1Njc4OTAtMTIzNDU2Nzg5MA",
        "xapp-1-A0123456789-1234567890123-abcdef0123456789",
        f"npm_{ALNUM[:36]}",
        f"pypi-AgEIcHlwaS5vcmc{ALNUM[:20]}",
        f"dckr_pat_{ALNUM[:27]}",
        f"sk_live_{ALNUM[:24]}",
        f"whsec_{ALNUM[:32]}",
        f"SG.{ALNUM[:22]}.{ALNUM}",
        f"dop_v1_{'0123456789abcdef' * 4}",
        f"hvs.{ALNUM[:24]}",
        f"shpat_{'0123456789abcdef' * 2}",
        f"mpm_0a1b2c3d_{'0123456789abcdef' * 4}",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        "eyJhbGciOiJSU0EtT0FFUCJ9.OKOawDo13gRp2ojaHV7L.48V1_ALb6US04U3b.5eym8TW_c8SuK0lt.XFBoMYU",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{BASE64}\nabc=\n-----END OPENSSH PRIVATE KEY-----",
        f"-----BEGIN RSA PRIVATE KEY-----\\n{BASE64}\\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN EC PRIVATE KEY----- {BASE64} abc= -----END EC PRIVATE KEY-----",
        f"-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n{BASE64}\n=aBcD\n"
        "-----END PGP PRIVATE KEY BLOCK-----",
    ],
)
def test_keys_are_known_by_their_form(secret: str) -> None:
    for text in (f"({secret})", f'"{secret}"', f"use {secret} here", f"see:\n{secret}\n"):
        assert Redactor().text(text) == text.replace(secret, MARK)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("https://me:s3cret@host/", "s3cret"),
        ("redis://:pw@cache:6379/0", "pw"),
        ("postgres://u:p@ss/w0rd@db:5432/x", "p@ss/w0rd"),
        ("amqp://u:1:2@3@mq", "1:2@3"),
        (f"https://{ALNUM[:30]}@github.com/a/b", ALNUM[:30]),
        ("curl -H 'Authorization: Bearer abcdefghijklmnopqrst' x", "abcdefghijklmnopqrst"),
        ("authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA=="),
        ("a Bearer 0123abcd4567efgh", "0123abcd4567efgh"),
        ("PASSWORD=hunter2", "hunter2"),
        ("password: s3cret-Horse", "s3cret-Horse"),
        ("set DB_PASS=tr0ub4dor now", "tr0ub4dor"),
        ("MYSQL_PWD='tr0ub4dor&3'", "tr0ub4dor&3"),
        ('{"client_secret": "a1b2c3d4e5"}', "a1b2c3d4e5"),
        (r'{"x": "{\"apiKey\": \"a1b2c3d4e5\"}"}', "a1b2c3d4e5"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI/K7MDENG"),
        ("tool --token 9f8e7d6c5b4a --fast", "9f8e7d6c5b4a"),
        ("https://hooks.slack.com/services/T0/B0/abcdefgh", "T0/B0/abcdefgh"),
    ],
)
def test_a_secret_is_known_by_what_stands_before_it(text: str, secret: str) -> None:
    clean = Redactor().text(text)
    assert secret not in clean
    assert MARK in clean
    assert clean.startswith(text[: text.index(secret)].rpartition("u:")[0][:8])


@pytest.mark.parametrize(
    "text",
    [
        "commit 5020681a7e9c4f6d8b1e2a3c4d5e6f708192a3b4",
        "session 80eba125-3b10-4e82-a078-86d818991071",
        "see https://example.org:8080/path and user@example.org",
        "http://localhost:4873/@types/node",
        "git clone ssh://git@example.org/a.git",
        "TODO: rename the key of the token table",
        "TODO: task-based-scheduling-and-more",
        "disk-usage-of-everything and risk-assessment-of-the-project-plan-2",
        "sk-learn and ghp are words; so is sk-learn_pipeline_for_the_project_v2",
        "password: required, at least eight characters",
        "Password: at-least-8-characters",
        "token: string, key: value, secret: my-secret-v2",
        "max_tokens: 200000, MAX_TOKENS=64000",
        "password = os.environ[2] or password=get_password2(user)",
        "TOKEN=$GITHUB_TOKEN1 PASSWORD=${PASSWORD1} SECRET=****",
        "the basic authentication of the bearer",
        "src/claude_mpm/orchestration/supervision/rate_limit_of_every_Session2.py",
        "test_that_a_very_long_name_of_a_Test_with_the_Number_42_stays_as_it_is",
        "-----BEGIN PUBLIC KEY-----",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert Redactor().text(text) == text


def test_a_key_without_an_end_ends_with_its_last_line_of_base64() -> None:
    text = f"-----BEGIN PRIVATE KEY-----\n{BASE64}\n{BASE64}\nand so on\nTODO: mend it"
    assert Redactor().text(text) == f"{MARK}\nand so on\nTODO: mend it"


def test_our_own_documentation_holds_nothing_that_looks_secret() -> None:
    pages = [*Path(__file__).parents[1].glob("*.md"), *Path(__file__).parents[1].glob("docs/*.md")]
    assert len(pages) > 20
    for page in pages:
        text = page.read_text("utf-8")
        assert Redactor().text(text) == text, page


def test_a_secret_is_taken_out_of_a_value_for_a_schema() -> None:
    """However deep it lies; all else stays as it is."""
    secret = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
    value = {"n": 1, "deep": [{"key": f"it is {secret}"}, None, 1.5, True], secret: 2}
    record = TurnRecord(session="s", offset=0, end=1, structured_output=value)
    clean = Redactor().record(record)
    assert isinstance(clean, TurnRecord)
    assert clean.structured_output == {
        "n": 1, "deep": [{"key": f"it is {MARK}"}, None, 1.5, True], MARK: 2,
    }  # fmt: skip


@given(st.text(), st.text(min_size=8, max_size=40), st.text())
def test_a_known_value_is_taken_out_wherever_it_stands(
    before: str, secret: str, after: str
) -> None:
    text = before + secret + after
    assert MARK in Redactor(fingerprints([secret], KEY), KEY).text(text)
    assert MARK in Redactor(secrets=[secret]).text(text)


@given(st.binary(max_size=5), st.text(min_size=12, max_size=40), st.binary(max_size=5))
def test_a_known_value_in_base64_is_taken_out(before: bytes, secret: str, after: bytes) -> None:
    packed = base64.b64encode(before + secret.encode() + after).decode()
    assert MARK in Redactor(fingerprints([secret], KEY), KEY).text(f"x {packed} y")


def test_without_the_key_nothing_is_told_of_a_secret() -> None:
    one, *_ = fingerprints([PLANTED], KEY)
    other, *_ = fingerprints([PLANTED], b"o" * 32)
    assert one.digest != other.digest
    assert one.shape != other.shape
    text = f"x{PLANTED}y"
    assert Redactor([one], KEY).text(text) == f"x{MARK}y"
    assert Redactor([one], b"o" * 32).text(text) == text
    assert Redactor([one]).text(text) == text
    old = Fingerprint(len(PLANTED), "0" * 32)  # as it was kept without a key
    assert Redactor([old], KEY).text(text) == text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, PLANTED) for name in ("MY_API_KEY", "DB_PASS", "MYSQL_PWD", "REDISCLI_AUTH")),
        *((name, PLANTED) for name in ("SENTRY_DSN", "COOKIE", "GPG_PASSPHRASE", "PGPASSWORD")),
        ("AWS_SECRET_ACCESS_KEY", "/alrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ],
)
def test_what_is_secret_in_an_environment_is_known_by_its_name(name: str, value: str) -> None:
    assert secrets_of({name: value}) == [value]


def test_the_password_of_a_url_is_secret_under_every_name() -> None:
    url = f"postgres://u:{PLANTED}@db/x"
    assert secrets_of({"DATABASE_URL": url}) == [url, PLANTED]
    assert secrets_of({"QUEUE": url}) == [PLANTED]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOME", "/home/somebody"),
        ("DB_PASSWORD", "short"),
        ("GIT_AUTHOR_NAME", "Jonathan Livingston"),
        ("TOKEN_KIND", "permanent"),
        ("MAX_TOKENS", "128000000"),
        ("KEYBOARD", "us-international"),
        ("PWD", "/srv/project-1"),
        ("SSH_AUTH_SOCK", "/run/user/1000/keyring/ssh"),
        ("XAUTHORITY", "/root/.Xauthority"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/home/u/google.json"),
    ],
)
def test_what_is_no_secret_in_an_environment(name: str, value: str) -> None:
    assert secrets_of({name: value}) == []


@pytest.mark.parametrize(
    "piece",
    [
        "x", "aB1/", "://", "://a:", ":a@", "-----BEGIN PRIVATE KEY-----", "eyJ", "eyJaaaaaaaa.",
        "sk-", "mpm_aaaaaa_", "SG.", "password=", "api key = ", "Bearer ", "Authorization: ",
        "--token ", " ", "\n", "\\n", "Version: a\n", "hooks.slack.com/services/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", ["", "-----BEGIN PRIVATE KEY-----", "://a:", "eyJaaaaaaaa."])
def test_the_time_is_in_proportion_to_the_length(before: str, piece: str) -> None:
    secrets = [f"{ALNUM[n:]}{n}" for n in range(6)]
    redactor = Redactor(fingerprints(secrets, KEY), KEY)

    def seconds(size: int) -> float:
        text = before + piece * (size // len(piece)) + secrets[0]
        return min(_seconds(redactor, text) for _ in range(3))

    seconds(1000)
    small = seconds(10_000)
    assert seconds(160_000) < 80 * small + 0.05  # sixteen times as much; squared it were 256


def _seconds(redactor: Redactor, text: str) -> float:
    """Return how long a text takes, in seconds of the processor for this thread alone."""
    begin = time.thread_time()
    assert redactor.text(text) != text
    return time.thread_time() - begin


def test_a_megabyte_without_blanks_takes_no_time() -> None:
    secrets = [f"{ALNUM[n:]}{n}" for n in range(6)]
    redactor = Redactor(fingerprints(secrets, KEY), KEY)
    letters = random.Random(1).choices(string.ascii_letters + string.digits, k=1_000_000)
    text = "".join(letters) + secrets[3]
    assert redactor.text(text).endswith(MARK)
    assert min(_seconds(redactor, text) for _ in range(3)) < 0.3


def test_a_session_s_record_has_the_keyed_form_and_the_key_is_in_no_session(
    make_claude: MakeClaude, model: ScriptedModel, tmp_path: Path
) -> None:
    environ = model.environment(tmp_path / "claude", DB_PASSWORD=WEAK)
    with make_claude(environ=environ) as claude:
        claude.ask("go").wait(SECONDS)
    store = Store()
    folder = store.folder(claude.session_id)
    (key,) = store.path.glob("*.key")
    assert key.stat().st_mode & 0o777 == 0o600
    meta = folder.read_meta()
    assert redactor_of(folder, meta).text(f"mind {WEAK}") == f"mind {MARK}"
    record = folder.meta_file.read_bytes()
    for salt in ("", meta.claude_session_id, f"{meta.claude_session_id}\0"):
        for made in (hashlib.sha256, hashlib.blake2b, hashlib.md5):
            assert made(f"{salt}{WEAK}".encode()).hexdigest()[:32].encode() not in record
    for file in folder.path.rglob("*"):
        if file.is_file():
            assert key.read_bytes() not in file.read_bytes(), file


def test_a_key_that_others_can_read_or_that_is_damaged_is_refused(home: Path) -> None:
    folder = Store().folder("s1")
    folder.create()
    key = secrets_key(folder)
    assert secrets_key(folder) == key
    (file,) = Store().path.glob("*.key")
    file.chmod(0o644)
    with pytest.raises(StorageError, match="chmod 600"):
        secrets_key(folder)
    file.chmod(0o600)
    file.write_bytes(b"torn")
    with pytest.raises(StorageError, match="remove it"):
        secrets_key(folder)
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(StorageError, match="remove it"):
        secrets_key(folder)


def test_the_key_is_made_once_by_whoever_is_first(home: Path) -> None:
    folder = Store().folder("s1")
    folder.create()
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(lambda _: secrets_key(folder), range(32)))
    assert len(keys) == 1
    assert [file.name for file in Store().path.iterdir()] != []
    assert not list(Store().path.glob(".*"))


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
    folder = Store().folder(claude.session_id)
    assert PLANTED in folder.journal.path.read_text(), "the journal is whole"
    state = Store().path
    for file in [
        *state.glob("index*"),
        *(tmp_path / "log").rglob("*"),
        folder.meta_file,
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


def test_show_prints_nothing_of_what_secrets_are_recognised_by(
    make_claude: MakeClaude,
    model: ScriptedModel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environ = model.environment(tmp_path / "claude", DB_PASSWORD=WEAK)
    with make_claude(environ=environ) as claude:
        claude.ask("go").wait(SECONDS)
    (first, *_) = Store().folder(claude.session_id).read_meta().secrets
    with pytest.raises(SystemExit):
        main(["show", claude.session_id, "--json"])
    shown = capsys.readouterr().out
    assert json.loads(shown)["session"] == claude.session_id
    assert "secrets" not in json.loads(shown)
    assert first.digest not in shown
