"""The protocol between a server of sessions and its clients: JSON lines over TCP.

The messages are the guide's: `init`, `input`, `output`, `error` and `terminate`. Fields that the
guide does not define are those of our own client; `docs/remote.md` describes them all.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

import msgspec

PROTOCOL = 1
# The bytes of a journal or of a file in one message.
CHUNK = 1 << 16
# The longest line that our client must accept, in bytes.
LONGEST_LINE = 4 * CHUNK
# Seconds after which an idle side sends a message, and after which a silent side counts as
# disconnected.
BEAT, PATIENCE = 15.0, 60.0

_Offset = Annotated[int, msgspec.Meta(ge=0)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
# The requests of our client, besides prompts.
Verb = Literal[
    "prompt", "start", "state", "put", "fetch", "signal", "remove", "hold", "release", "beat",
    "list", "records", "record", "keep",
]  # fmt: skip
# Those of them that come in pieces.
UPLOADS: tuple[Verb, ...] = ("start", "put", "keep")


class MalformedMessage(ValueError):
    """A line is not a valid message; the error says why, without quoting it."""


class _TaggedMessage(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"
):
    pass


class InitMessage(_TaggedMessage, frozen=True, tag="init"):
    """The first message of a client.

    Args:
        model, framework: the guide's; for the session that is started at once.
        token: authenticates the client.
        protocol: the version of our client's fields; 0 for a client that sends text alone.
        session: the name of our client's session.
        follow: the offset from which this connection carries the session's journal; None for a
            connection that carries requests and responses.
    """

    model: str | None = None
    framework: str | None = None
    token: str = ""
    protocol: int = 0
    session: str = ""
    follow: _Offset | None = None


class StartParameters(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The parameters of a session's start.

    Args:
        folder: the session's folder on the client's machine; paths in it among the arguments are
            replaced by those of the same files on the server.
        claude: the command; empty for the server's default.
        arguments: for Claude.
        cwd: the working folder; empty for the server's default.
        environ: variables for Claude, besides the server's own.
        expected: lines that the statement of where the session runs must contain.
        linger, linger_limit: seconds, as the options of an orchestrator.
        framework, agents: the contents of `framework.md` and `agents.json` in the folder.
        wire: how the journal is read.
        conversation: the UUID under which Claude stores the conversation.
    """

    folder: str
    claude: str = ""
    arguments: tuple[str, ...] = ()
    cwd: str = ""
    environ: dict[str, str] = {}
    expected: dict[str, str] = {}
    framework: bytes = b""
    agents: bytes = b""
    linger: _Seconds = 30.0
    linger_limit: _Seconds = 3600.0
    wire: str = "stream-json"
    conversation: str = ""


class InputMessage(_TaggedMessage, frozen=True, tag="input"):
    """A prompt, or another request of a client.

    Args:
        text, timestamp: the guide's: a prompt, and when it was written.
        id: the number of a request, repeated in its response, and in all pieces of an upload.
        do: the kind of request.
        name: of a file, or of a message of the inbox; of the machine that asks, in digits, where
            another one has started the session.
        data, offset, size: a piece of an uploaded message or of a `StartParameters`, its offset,
            and the size of the whole, in bytes. `fetch` reads from `offset`. `list` begins behind
            `offset` sessions, and returns `size` bytes of each journal's end.
        signal: the number of a signal.
    """

    text: str = ""
    timestamp: str = ""
    id: int = 0
    do: Verb = "prompt"
    name: str = ""
    data: bytes = b""
    offset: _Offset = 0
    size: _Offset = 0
    signal: int = 0


class FolderState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of a session's folder; the fields are those of `link.far.FarState`, but `heard`."""

    host: int = 0
    claude: int = 0
    exit: int | None = None
    closed: bool = False
    dead: bool = False
    size: int = 0
    place: str = ""
    marked: bool = False


class SessionSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session of the token that asks, as `list` returns it.

    Args:
        name: its name, as its client gave it.
        age: seconds since it was started.
        end: the last bytes of its journal.
    """

    name: str
    state: FolderState
    age: float = 0.0
    end: bytes = b""


class OutputMessage(_TaggedMessage, frozen=True, tag="output"):
    """A response, or a piece of the journal; without any field, a sign that the server runs.

    Args:
        text: the guide's: a line of Claude's answer.
        id: the number of the request.
        protocol: the server's version, in the response to `init`.
        journal, offset: a piece of the journal, and its offset in bytes.
        ended: whether the journal is complete.
        data: a piece of a file; empty at its end.
        state: the state of the session's folder.
        sessions: some of the token's sessions, the newest first; none behind the last.
    """

    text: str | None = None
    id: int = 0
    protocol: int = 0
    journal: bytes = b""
    offset: int = 0
    ended: bool = False
    data: bytes = b""
    state: FolderState | None = None
    sessions: list[SessionSummary] | None = None


class ErrorMessage(_TaggedMessage, frozen=True, tag="error"):
    """A request was refused, or has failed.

    Args:
        error: the reason, in one line.
        id: the number of the request; 0 for the connection, which is then closed.
        again: whether it may succeed if the client tries again.
    """

    error: str
    id: int = 0
    again: bool = False


class TerminateMessage(_TaggedMessage, frozen=True, tag="terminate"):
    """The end of the connection; from the server, with the reason."""

    reason: str = ""


RemoteMessage = InitMessage | InputMessage | OutputMessage | ErrorMessage | TerminateMessage
_decoder: msgspec.json.Decoder[RemoteMessage] = msgspec.json.Decoder(RemoteMessage)


def encode(message: RemoteMessage) -> bytes:
    """Return a message as one line.

    It is ASCII, since the guide's client decodes what it has received so far, wherever that is cut.
    """
    line = msgspec.json.encode(message)
    if not line.isascii():
        line = json.dumps(json.loads(line), separators=(",", ":")).encode("ascii")
    return line + b"\n"


def decode(line: bytes) -> RemoteMessage:
    """Return the message of a line.

    Raises:
        MalformedMessage: it is not one.
    """
    try:
        return _decoder.decode(line)
    except UnicodeDecodeError as error:
        raise MalformedMessage("a message is not UTF-8") from error
    except msgspec.ValidationError as error:
        raise MalformedMessage(f"a message has a wrong shape: {_shape(str(error))}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedMessage("a line is not JSON") from error


def decode_start(data: bytes) -> StartParameters:
    """Return the parameters of a start.

    Raises:
        MalformedMessage: the data are something else.
    """
    try:
        return msgspec.json.decode(data, type=StartParameters)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise MalformedMessage("this is nothing that a session can be started with") from error


def _shape(complaint: str) -> str:
    """Return an error message without the value that it may quote."""
    place = complaint.rpartition(" - at ")[2].strip("`") if " - at " in complaint else "$"
    return f"`{place}` is not what it must be" if "'" in complaint else complaint
