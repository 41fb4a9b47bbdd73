"""Certificates for TLS, made by `openssl`."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from pathlib import Path


class Certificates(NamedTuple):
    """Files for TLS.

    Args:
        ca: the authority of the server and of our client.
        server, server_key: for 127.0.0.1 and localhost.
        client, client_key: of our client.
        other_ca, foreign, foreign_key: another authority, and what it has signed.
    """

    ca: str
    server: str
    server_key: str
    client: str
    client_key: str
    other_ca: str
    foreign: str
    foreign_key: str


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates of two authorities."""
    folder = tmp_path_factory.mktemp("certificates")
    ca, other = _authority(folder, "ca"), _authority(folder, "other")
    return Certificates(
        ca,
        *_signed(folder, "ca", "server"),
        *_signed(folder, "ca", "client"),
        other,
        *_signed(folder, "other", "foreign"),
    )


def _openssl(folder: Path, *words: str) -> None:
    done = subprocess.run(
        ["openssl", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _authority(folder: Path, name: str) -> str:
    _openssl(
        folder,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
    )
    return str(folder / f"{name}.pem")


def _signed(folder: Path, authority: str, name: str) -> tuple[str, str]:
    _openssl(
        folder,
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"),
    )
    extensions = folder / f"{name}.ext"
    extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    _openssl(
        folder,
        *("x509", "-req", "-days", "2", "-in", f"{name}.csr", "-out", f"{name}.pem"),
        *("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial"),
        *("-extfile", extensions.name),
    )
    return str(folder / f"{name}.pem"), str(folder / f"{name}.key")
