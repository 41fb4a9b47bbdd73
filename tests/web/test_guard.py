"""The page is no remote shell for strangers: whoever is none of ours learns and changes nothing."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from claude_mpm.journal.layout import SessionFolder
from claude_mpm.web.tokens import WebTokens
from opened_page import HEADER, OpenedPage, record, result, said

SESSION = "recorded"
# Every change that there is, with a body that would do something.
CHANGES = (
    ("/api/sessions/recorded/prompts", {"text": "hello"}),
    ("/api/sessions/recorded/interrupt", None),
    ("/api/sessions/recorded/stop", None),
    ("/api/sessions/recorded/permission-requests/r1", {"decision": "allow"}),
    ("/api/sessions/recorded/tickets/t1", {"state": "closed"}),
    ("/api/logout", None),
)
LOOKS = (
    "/api/whoami",
    "/api/sessions",
    "/api/session-changes",
    "/api/sessions/recorded",
    "/api/sessions/recorded/events",
    "/api/sessions/recorded/event-stream",
    "/api/sessions/recorded/journal",
    "/api/sessions/recorded/prompts",
    "/api/permission-requests",
    "/api/tickets",
    "/api/elsewhere",
    "/api/batches",
    "/api/batches/b1",
    "/api/openapi.json",
)


@pytest.fixture
def opened(page: OpenedPage) -> OpenedPage:
    record(page.state, SESSION, said("A secret answer."), result())
    page.start()
    return page


def test_the_lists_of_this_test_are_whole(opened: OpenedPage) -> None:
    described = opened.call("GET", "/api/openapi.json", opened.token()).json["paths"]
    paths = {
        (method, path.format(session=SESSION, request="r1", key="t1", batch="b1"))
        for path, methods in described.items()
        for method in methods
    }
    changes = {("post", path) for path, _ in CHANGES} | {("post", "/api/login")}
    looks = {("get", path) for path in LOOKS} - {("get", "/api/openapi.json")}
    assert paths == changes | looks


def test_without_a_token_nothing_is_said(opened: OpenedPage) -> None:
    replies = [opened.call("GET", path) for path in LOOKS]
    replies += [opened.call("POST", path, body=body) for path, body in CHANGES]
    assert {reply.status for reply in replies} == {401}
    assert not [reply for reply in replies if b"secret answer" in reply.body]


@pytest.mark.parametrize(
    "given",
    ["mpmw_0000000000000000_" + "0" * 64, "mpmw__", "x", "mpm_\xff", "mpmw_0_" + "9" * 60_000],
)
def test_a_wrong_token_is_none(opened: OpenedPage, given: str) -> None:
    assert opened.call(
        "GET", "/api/sessions", given.encode("latin-1").decode("latin-1")
    ).status in (
        400,
        401,
    )


def test_the_token_of_another_server_is_none(opened: OpenedPage, tmp_path: Path) -> None:
    other = WebTokens(tmp_path / "other")
    foreign = other.add("me", "steer")
    assert opened.call("GET", "/api/sessions", foreign).status == 401
    code = other.make_link_code("steer")
    reply = opened.call("POST", "/api/login", body={"code": code}, Origin=opened.url)
    assert reply.status == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1.evil.example:{port}", ""],
)
def test_a_foreign_host_is_refused_though_the_token_is_right(opened: OpenedPage, host: str) -> None:
    """A name that is made to lead here, as DNS rebinding does it."""
    token, port = opened.token(), opened.url.rpartition(":")[2]
    for path in ("/", "/api/sessions"):
        reply = opened.call("GET", path, token, Host=host.format(port=port))
        assert reply.status in (400, 421), reply
        assert b"secret" not in reply.body


def test_localhost_is_us(opened: OpenedPage) -> None:
    host = f"localhost:{opened.url.rpartition(':')[2]}"
    assert opened.call("GET", "/api/sessions", opened.token(), Host=host).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", ""])
def test_a_change_of_a_foreign_origin_is_refused(opened: OpenedPage, origin: str) -> None:
    browser = opened.enter()
    for path, body in CHANGES:
        reply = opened.call("POST", path, body=body, **{**browser, "Origin": origin})
        assert reply.status == 403, reply
    assert opened.call("GET", "/api/whoami", **browser).status == 200


def test_a_foreign_origin_reads_nothing(opened: OpenedPage) -> None:
    browser = opened.enter()
    for path in LOOKS:
        reply = opened.call("GET", path, **{**browser, "Origin": "https://evil.example"})
        assert reply.status == 403
        assert not [name for name in reply.headers if name.lower().startswith("access-control")]


def test_what_another_site_asks_for_is_refused(opened: OpenedPage) -> None:
    browser = opened.enter()
    for site in ("cross-site", "same-site"):
        reply = opened.call("GET", "/api/sessions", **browser, Sec_Fetch_Site=site)
        assert reply.status == 403


def test_a_form_of_another_site_changes_nothing(opened: OpenedPage) -> None:
    """What a browser can send without asking: no header of ours, and no JSON."""
    browser = opened.enter()
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"):
        form = {"Cookie": browser["Cookie"], HEADER: "", "Content-Type": kind}
        body = json.dumps({"text": "rm -rf /"}).encode()
        path = "/api/sessions/recorded/prompts"
        assert opened.call("POST", path, body=body, Origin=opened.url, **form).status == 403
        own = {**browser, "Content-Type": kind}
        assert opened.call("POST", path, body=body, **own).status == 400
    assert opened.call("OPTIONS", "/api/sessions", Origin="https://evil.example").status == 403


def test_a_change_without_our_header_is_refused_from_programs_too(opened: OpenedPage) -> None:
    token = opened.token()
    for path, body in CHANGES:
        assert opened.call("POST", path, token, body=body, **{HEADER: ""}).status == 403


def test_a_token_to_look_changes_nothing(opened: OpenedPage) -> None:
    token = opened.token("looker", "--read-only")
    for path, body in CHANGES:
        reply = opened.call("POST", path, token, body=body)
        assert reply.status == 403
        assert "may look" in reply.json["message"]
    assert opened.call("GET", "/api/sessions", token).status == 200


def test_a_link_to_look_lets_in_to_look(opened: OpenedPage) -> None:
    browser = opened.enter(opened.command("link", "--read-only"))
    assert opened.call("GET", "/api/whoami", **browser).json["role"] == "read"
    assert opened.call("POST", CHANGES[0][0], body=CHANGES[0][1], **browser).status == 403


def test_a_link_lets_one_in(opened: OpenedPage) -> None:
    opened.enter()
    code = opened.link.rpartition("#")[2]
    again = opened.call("POST", "/api/login", body={"code": code}, Origin=opened.url)
    assert again.status == 401


def test_a_link_grows_old(page: OpenedPage, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = WebTokens(page.state / "web")
    code = tokens.make_link_code("steer")
    later = time.time() + 301
    monkeypatch.setattr(time, "time", lambda: later)
    assert tokens.redeem(code) is None


def test_a_link_is_made_while_another_one_is_used(
    page: OpenedPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = WebTokens(page.state / "web")
    tokens.make_link_code("steer")
    (used,) = (page.state / "web" / "links").iterdir()
    used.unlink()
    monkeypatch.setattr(Path, "iterdir", lambda _: iter([used]))
    assert tokens.redeem(tokens.make_link_code("read")) is not None


def test_a_cookie_is_for_this_browser_and_this_page_alone(opened: OpenedPage) -> None:
    """Cookies know no port: another server on this machine may be shown ours."""
    browser = opened.enter()
    for key in ("", "1", "0" * 64):
        assert opened.call("GET", "/api/sessions", **{**browser, HEADER: key}).status == 401
    bearer = browser["Cookie"].partition("=")[2]
    assert opened.call("GET", "/api/sessions", bearer).status == 401


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(opened: OpenedPage) -> None:
    code = opened.link.rpartition("#")[2]
    reply = opened.call("POST", "/api/login", body={"code": code}, Origin=opened.url)
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_a_revoked_token_ends_its_stream_too(opened: OpenedPage) -> None:
    token = opened.token()
    with opened.stream("/api/sessions/recorded/event-stream", token) as stream:
        messages = stream.messages()
        size = SessionFolder(opened.state / "sessions" / SESSION).journal.size()
        assert next(last for last, *_ in messages if last == str(size))
        opened.command("token", "revoke", "me")
        record(opened.state, SESSION, said("More."))
        assert list(messages) == []
    assert opened.call("GET", "/api/sessions", token).status == 401


def test_leaving_makes_the_cookie_worthless(opened: OpenedPage) -> None:
    browser = opened.enter()
    assert opened.call("POST", "/api/logout", **browser).status == 200
    assert opened.call("GET", "/api/sessions", **browser).status == 401


@pytest.mark.parametrize(
    "name",
    [
        "..", "../recorded", "%2e%2e", "..%2f..%2fetc%2fpasswd", "recorded%2f..%2frecorded", ".",
        "", "%00", "recorded%0a", "-x", "x" * 300, "%ff", "<script>", "recorde",
    ],
)  # fmt: skip
def test_a_path_is_no_session(opened: OpenedPage, name: str) -> None:
    token = opened.token()
    for rest in ("", "/events", "/event-stream", "/journal"):
        quoted = name.replace("<", "%3C").replace(">", "%3E")
        reply = opened.call("GET", f"/api/sessions/{quoted}{rest}", token)
        if not name and not rest:
            continue
        assert reply.status == 404, (name, rest, reply)


@pytest.mark.parametrize(
    "path",
    ["//api/sessions", "/./api/sessions", "/x/../api/sessions", "/%61pi/sessions", "/API/sessions"],
)
def test_no_spelling_of_a_path_goes_round_the_token(opened: OpenedPage, path: str) -> None:
    for rest in ("", "/recorded", "/recorded/events"):
        reply = opened.call("GET", path + rest)
        assert reply.status in (401, 404), reply
        assert b"recorded" not in reply.body


def test_a_session_that_is_a_link_elsewhere_is_none(opened: OpenedPage, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    record(outside, SESSION, said("From elsewhere."))
    (opened.state / "sessions" / "linked").symlink_to(outside / "sessions" / SESSION)
    assert opened.call("GET", "/api/sessions/linked/events", opened.token()).status == 404


def test_every_answer_is_marked_as_safe(opened: OpenedPage) -> None:
    token = opened.token()
    replies = [opened.call("GET", path, token) for path in ("/", "/api/sessions", "/no", "/api/no")]
    replies += [opened.call("GET", "/api/sessions"), opened.call("GET", "/", Host="evil.example")]
    for reply in replies:
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"


def test_a_header_that_is_given_twice_is_refused(opened: OpenedPage) -> None:
    host, _, port = opened.host.rpartition(":")
    with socket.create_connection((host, int(port)), 60) as client:
        lines = ["GET /api/sessions HTTP/1.1", f"Host: {opened.host}", "Origin: a", "Origin: b"]
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        assert b" 400 " in client.recv(100)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--host", "0.0.0.0"), "without TLS"),
        (("--behind-proxy",), "--allow-host"),
        (("--tls-cert", "no-such-file"), "needs both"),
    ],
)
def test_off_this_machine_only_with_tls(
    page: OpenedPage, words: tuple[str, ...], told: str
) -> None:
    assert told in page.command(*words, status=2)


def test_others_can_read_no_file_of_it(opened: OpenedPage) -> None:
    opened.enter()
    folder = opened.state / "web"
    found = [folder, *folder.rglob("*")]
    assert len(found) > 3
    assert {path.stat().st_mode & 0o077 for path in found} == {0}


def test_no_secret_is_kept(opened: OpenedPage) -> None:
    token, browser = opened.token(), opened.enter()
    kept = "".join(path.read_text() for path in (opened.state / "web").rglob("*.json"))
    secrets = (token, browser[HEADER], browser["Cookie"].partition("=")[2], opened.link[-64:])
    assert not [secret for secret in secrets if secret[-32:] in kept]
