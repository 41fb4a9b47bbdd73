"""Who is at the other end of a connection from this machine, as the kernel knows it."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.server.message_socket import Refused

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    Ends = tuple[tuple[ipaddress.IPv6Address, int], tuple[ipaddress.IPv6Address, int]]

CAN_TELL = sys.platform.startswith("linux")
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))  # proc_pid_net(5)


def check_neighbour(sock: socket.socket) -> None:
    """Let only this user and root connect without a token, where the system tells who it is.

    Raises:
        Refused: it is another user, or is gone already.
    """
    if not CAN_TELL:
        return
    ends = _end(*sock.getpeername()[:2]), _end(*sock.getsockname()[:2])
    owner = next((uid for found, uid in _connections() if found == ends), None)
    if owner is None:
        raise Refused("it cannot be seen whose connection this is; use a token")
    if owner not in (os.geteuid(), 0):
        raise Refused(f"without a token, only the server's own user may connect, not uid {owner}")


def _connections() -> Iterator[tuple[Ends, int]]:
    """Yield the ends of this machine's connections and who has each; none that nobody has open."""
    for table in _TABLES:
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except OSError:  # no IPv6
            continue
        for line in lines:
            fields = line.split()
            if fields[9] != "0":  # the inode: without one, the kernel says 0 for the user as well
                yield (_read(fields[1]), _read(fields[2])), int(fields[7])


def _read(end: str) -> tuple[ipaddress.IPv6Address, int]:
    """Read an address and port as the kernel prints them: words of 32 bits in the host's order."""
    address, _, port = end.partition(":")
    words = [bytes.fromhex(address[at : at + 8]) for at in range(0, len(address), 8)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return _end(str(ipaddress.ip_address(b"".join(words))), int(port, 16))


def _end(address: str, port: int) -> tuple[ipaddress.IPv6Address, int]:
    """Return an end with its address as IPv6 has it, which both families can be written in."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        found = ipaddress.IPv6Address(f"::ffff:{found}")
    return found, port
