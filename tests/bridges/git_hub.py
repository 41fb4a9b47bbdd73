"""A stand-in for the API of GitHub, on loopback with TLS, for the real `gh`."""

from __future__ import annotations

import json
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from loopback_http import LoopbackHttp

if TYPE_CHECKING:
    from certificates import Certificates


class GitHubStandIn(LoopbackHttp):
    """Has one repository.

    Args:
        certificates: for its TLS.

    Attributes:
        lag: seconds for which a new issue is not in a list.
        private: whether the repository is.
        failing: statuses with which the next creations end, after the issue was taken.
        refusing: statuses with which the next calls end, before anything is done.
        issues, comments: what it took.
    """

    def __init__(self, certificates: Certificates) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificates.server, certificates.server_key)
        super().__init__(tls)
        self.lag = 0.0
        self.private = True
        self.failing: list[int] = []
        self.refusing: list[int] = []
        self.issues: list[dict[str, Any]] = []
        self.comments: list[tuple[int, str]] = []
        self._lock = threading.Lock()  # the handlers' threads change all of it
        self._ca = certificates.ca

    @property
    def environ(self) -> dict[str, str]:
        """The variables with which `gh` talks to it and to nothing else."""
        return {
            "GH_HOST": f"localhost:{self.port}",
            "GH_ENTERPRISE_TOKEN": "a-token-of-the-test",
            "GH_NO_UPDATE_NOTIFIER": "1",
            "GH_PROMPT_DISABLED": "1",
            "SSL_CERT_FILE": self._ca,
        }

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Do what is asked, and return the status and what is said."""
        with self._lock:
            if self.refusing:
                return self.refusing.pop(0), {"message": "API rate limit exceeded"}
            if method == "GET" and "/issues?" in path:
                return 200, self._listed(parse_qs(urlsplit(path).query))
            if method == "GET":
                return 200, {"private": self.private}
            data = json.loads(body)
            if method == "PATCH":
                self.issues[int(path.rpartition("/")[2]) - 1].update(data)
                return 200, {}
            if path.endswith("/comments"):
                self.comments.append((int(path.split("/")[-2]), data["body"]))
                return 201, {"id": len(self.comments)}
            number = len(self.issues) + 1
            issue = {**data, "number": number, "state": "open", "at": time.monotonic()}
            self.issues.append(issue)
            return (self.failing.pop(0) if self.failing else 201), issue

    def _listed(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        assert query["labels"] == ["claude-mpm"] and query["state"] == ["all"]
        size, page = int(query["per_page"][0]), int(query["page"][0])
        shown = [i for i in self.issues if time.monotonic() - i["at"] >= self.lag]
        return shown[(page - 1) * size : page * size]
