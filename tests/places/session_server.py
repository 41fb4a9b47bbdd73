"""A server of sessions with TLS, for the tests of the place `remote`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from served import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from certificates import Certificates


class SessionServer(NamedTuple):
    """A `claude-mpm serve` on loopback.

    Args:
        address: where it listens.
        ca: the file of who signed its certificate.
        token_file: a file with a token that it takes.
        state: the folder in which it keeps its sessions.
    """

    address: str
    ca: str
    token_file: str
    state: Path


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, claude_path: str, certificates: Certificates
) -> Iterator[SessionServer]:
    """A server of sessions with TLS, in a process and with a home of its own."""
    folder = tmp_path_factory.mktemp("server")
    environ = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "CLAUDE_PATH": claude_path,
        "DISABLE_AUTOUPDATER": "1",
    }
    served = Served(environ, folder / "state")
    token = folder / "token"
    token.touch(0o600)
    token.write_text(served.token())
    tls = ("--tls-cert", certificates.server, "--tls-key", certificates.server_key)
    # The contracts work in the server's own folder, and in one that every place has.
    served.start(*tls, "--root", str(Path.cwd()), "--root", "/usr")
    yield SessionServer(served.address, certificates.ca, str(token), served.state)
    served.close()
