"""Notifications that a session needs a person: by a command, on the desktop, to a webhook."""

from __future__ import annotations

import hashlib
import hmac
import html
import logging
import os
import queue
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

from claude_mpm.errors import MPMError, StorageError, UsageError
from claude_mpm.folders import check_secret
from claude_mpm.journal.secrets import redactor_of
from claude_mpm.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_mpm.journal.layout import SessionFolder

SECRET_VARIABLE = "CLAUDE_MPM_NOTIFY_SECRET"
SIGNATURE = "X-Claude-MPM-Signature"
_PATIENCE = 30.0  # seconds for a command
_CLOSING = 10.0  # seconds that the end of a session waits for notifications that are being sent
_ANSWERING = 10.0  # seconds for a webhook
_LONGEST = 500  # characters of a reason
_LONGEST_SECRET = 1 << 12  # bytes
_MOST_WAITING = 100  # notifications; what comes beyond is left out, and logged
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_log = logging.getLogger("claude_mpm.notify")

Kind = Literal["permission-request", "ended-badly", "budget-near"]


class Notify(msgspec.Struct, frozen=True, kw_only=True):
    """Who is notified when a session needs a person, and how.

    Args:
        command: a command and its arguments, which gets the event as JSON on standard input.
        desktop: whether `notify-send` shows it.
        webhook: a URL to which the event is posted; https, or http of this machine.
        secret_file: a file with the secret that signs what is posted; without it, the secret is
            that of CLAUDE_MPM_NOTIFY_SECRET, and without one of the two nothing is signed.
    """

    command: tuple[str, ...] = ()
    desktop: bool = False
    webhook: str = ""
    secret_file: str = ""

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            UsageError: the webhook is no URL of https, nor of http of this machine.
        """
        if not self.webhook:
            return
        try:
            url = urlsplit(self.webhook)
            safe = url.scheme == "https" or (url.scheme == "http" and url.hostname in _LOOPBACK)
        except ValueError:
            safe = False
        if not safe or not url.hostname:
            raise UsageError(
                f"notify_webhook is an https URL, or an http one of this machine, not"
                f" {one_line(self.webhook)[:200]!r}"
            )


def check_notify(value: object) -> None:
    """Refuse what cannot be meant.

    Raises:
        UsageError: it is no `Notify`, or its webhook no URL that it may have.
    """
    if not isinstance(value, Notify):
        raise UsageError(f"notify is a claude_mpm.engine.notification.Notify, not {value!r:.100}")
    value.check()


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One event of which somebody is notified, as a command and a webhook get it.

    Args:
        event: what it is.
        id: what distinguishes it from all others of the session.
        session: the session's id.
        reason: why, in one line.
        command: the command that answers it.
        at: when it was found, in seconds since the epoch.
        environment: the name of the place.
        cwd: the folder that Claude works in; empty where that is not known.
        tool: the tool that is asked for; empty for other events.
    """

    event: Kind
    id: str
    session: str
    reason: str
    command: str
    at: float
    environment: str = ""
    cwd: str = ""
    tool: str = ""


class Notifications:
    """Sends the notifications of a session, each once, in a thread of its own: `send` never waits.

    Args:
        folder: the session's, in which it is noted what was sent.
        notify: who is notified, and how.
    """

    def __init__(self, folder: SessionFolder, notify: Notify) -> None:
        self._folder = folder
        self._notify = notify
        self._queue: queue.Queue[Notification | None] = queue.Queue(_MOST_WAITING)
        # Guards whether there is a thread: taken by the reader of the session, in `send`, and by
        # whoever closes it.
        self._beginning = threading.Lock()
        self._thread: threading.Thread | None = None

    def send(self, notification: Notification) -> bool:
        """Send a notification soon; return at once whether there was room for it."""
        with self._beginning:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="claude-mpm-notify", daemon=True
                )
                self._thread.start()
        try:
            self._queue.put_nowait(notification)
        except queue.Full:
            _log.warning("too many notifications at once: %s is left out", notification.event)
            return False
        return True

    def close(self, timeout: float = _CLOSING) -> None:
        """Wait until all have been sent; safe to call twice.

        Args:
            timeout: seconds to wait for room in the queue, and then for the thread, at most.
        """
        with self._beginning:
            thread, self._thread = self._thread, None
        if thread is not None:
            with suppress(queue.Full):
                self._queue.put(None, timeout=timeout)
            thread.join(timeout)

    def _run(self) -> None:
        while (notification := self._queue.get()) is not None:
            try:
                self.send_now(notification)
            except (MPMError, OSError) as error:
                _log.warning("the notification of %s is not sent: %s", notification.event, error)

    def send_now(self, notification: Notification) -> bool:
        """Send a notification, unless another process has; return whether it was sent here.

        Raises:
            StorageError: the session's record cannot be read.
        """
        if not _claim(self._folder, notification):
            return False
        redactor = redactor_of(self._folder, self._folder.read_meta())
        known = msgspec.structs.replace(
            notification,
            id=redactor.text(one_line(notification.id))[:_LONGEST],
            reason=redactor.text(one_line(notification.reason))[:_LONGEST],
            tool=one_line(notification.tool)[:_LONGEST],
        )
        for way in (_run_command, _show_on_desktop, _post):
            try:
                way(self._notify, known)
            except (OSError, ValueError, MPMError, subprocess.SubprocessError) as error:
                _log.warning("%s: %s", known.event, one_line(redactor.text(str(error))))
        return True


def _claim(folder: SessionFolder, notification: Notification) -> bool:
    """Note that an event is notified of; return whether nobody has noted that before.

    What concerns the budget of a day is noted once for all sessions.
    """
    daily = notification.id.startswith("day ")
    noted = (folder.path.parents[1] if daily else folder.path) / "notified"
    name = hashlib.sha256(f"{notification.event}\0{notification.id}".encode()).hexdigest()[:32]
    try:
        noted.mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(noted / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    except OSError as error:  # a full disk: twice is better than never
        _log.warning(
            "it is not noted that the notification of %s was sent: %s", notification.event, error
        )
    return True


def _run_command(notify: Notify, notification: Notification) -> None:
    """Run the command; no text of the session's is among its words, and no shell is between."""
    if not notify.command:
        return
    further = {
        "NOTIFY_EVENT": notification.event,
        "NOTIFY_SESSION": notification.session,
        "NOTIFY_COMMAND": notification.command,
    }
    _run(notify.command, msgspec.json.encode(notification) + b"\n", further)


def _show_on_desktop(notify: Notify, notification: Notification) -> None:
    if not notify.desktop:
        return
    title = f"claude-mpm: {notification.event} in {notification.session[:8]}"
    body = f"{notification.reason}\n{notification.command}"
    # The body is markup to a desktop.
    words = ("notify-send", "--app-name=claude-mpm", "--", title, html.escape(body, quote=False))
    _run(words)


def _run(words: Sequence[str], data: bytes = b"", further: Mapping[str, str] | None = None) -> None:
    """Run a program, with this process's variables but for the secret, and with further ones."""
    environ = {name: value for name, value in os.environ.items() if name != SECRET_VARIABLE}
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**environ, **(further or {})},
        start_new_session=True,  # so that what it has started ends with it
    ) as process:
        try:
            _, stderr = process.communicate(data, timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        said = stderr.decode("utf-8", "replace").strip()[-_LONGEST:]
        raise OSError(f"{words[0]} ended with status {process.returncode}: {said}")


def _post(notify: Notify, notification: Notification) -> None:
    if not notify.webhook:
        return
    from http.client import HTTPException
    from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

    class NoRedirects(HTTPRedirectHandler):
        """Follows none: the event is for the server that was named."""

        def redirect_request(self, *_: object) -> None:
            """Return nothing, so that a redirect is an error."""

    data = msgspec.json.encode(notification)
    headers = {"Content-Type": "application/json", "User-Agent": "claude-mpm"}
    if secret := read_secret(notify):
        headers[SIGNATURE] = "sha256=" + hmac.new(secret, data, hashlib.sha256).hexdigest()
    request = Request(notify.webhook, data=data, headers=headers, method="POST")
    # What is plain stays on this machine, whatever proxy its user has.
    proxies = [ProxyHandler({})] if request.type == "http" else []
    try:
        with build_opener(NoRedirects, *proxies).open(request, timeout=_ANSWERING):
            pass
    except HTTPException as error:  # what answers speaks no HTTP
        raise OSError(f"the webhook gave no answer of HTTP: {error!r:.100}") from error


def read_secret(notify: Notify) -> bytes:
    """Return what signs a post; empty for none.

    Raises:
        StorageError: the file cannot be read, or others can.
    """
    if not notify.secret_file:
        return os.environ.get(SECRET_VARIABLE, "").encode()
    path = Path(notify.secret_file).expanduser()
    try:
        with path.open("rb") as file:
            check_secret(path, os.fstat(file.fileno()))
            return file.read(_LONGEST_SECRET).strip()
    except OSError as error:
        raise StorageError(f"{path}: the secret cannot be read: {error.strerror}") from error
