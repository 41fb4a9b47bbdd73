"""The protocol between a server of sessions and its clients: JSON lines over TCP.

The messages are the guide's: `init`, `input`, `output`, `error` and `terminate`. The fields that
the guide does not have are those of our own client; `docs/remote.md` describes them all.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

import msgspec

PROTOCOL = 1
# How much of a journal or of a file goes into one message, in bytes.
CHUNK = 1 << 16
# The longest line that a client of ours has to take, in bytes.
LONGEST_LINE = 4 * CHUNK
# Seconds after which a side that has nothing to say says so, and without a word of the other side
# takes it for gone.
BEAT, PATIENCE = 15.0, 60.0

_Offset = Annotated[int, msgspec.Meta(ge=0)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
# What our client asks for beside prompts.
Verb = Literal[
    "prompt", "start", "state", "put", "fetch", "signal", "remove", "hold", "release", "beat"
]


class Malformed(ValueError):
    """A line that is no message; the words say what is wrong with it, and quote none of it."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    pass


class Init(_Message, frozen=True, tag="init"):
    """The first message of a client.

    Args:
        model, framework: the guide's; for the session that is started at once.
        token: who the client is.
        protocol: the version of our client's fields; 0 for a client that has text alone.
        session: the name of our client's session.
        follow: the byte from which this connection carries the session's journal; None for a
            connection that carries questions and answers.
    """

    model: str | None = None
    framework: str | None = None
    token: str = ""
    protocol: int = 0
    session: str = ""
    follow: _Offset | None = None


class Start(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a session is started with.

    Args:
        folder: the session's folder on the client's machine; arguments that are paths in it mean
            the same file in the folder on the server's.
        claude: the command; empty for the server's choice.
        arguments: for Claude.
        cwd: the folder to work in; empty for the server's choice.
        environ: variables for Claude, beside the server's own.
        expected: lines that the statement of where the session runs must have.
        linger, linger_limit: seconds, as the options of an orchestrator.
        framework, agents: the contents of `framework.md` and `agents.json` in the folder.
        wire: how the journal is read.
        conversation: the UUID under which Claude keeps the conversation.
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


class Input(_Message, frozen=True, tag="input"):
    """A prompt, or what else a client asks for.

    Args:
        text, timestamp: the guide's: a prompt, and when it was written.
        id: the number of a question; its answer bears the same. All pieces of a whole have one.
        do: what is asked for.
        name: of a file, or of a message of the inbox.
        data, offset, size: a piece of a message, or of a `Start`; where it stands, and how long
            the whole is, in bytes. `fetch` reads from `offset` on.
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


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the folder of a session says; the fields are those of `link.far.FarState`."""

    host: int = 0
    claude: int = 0
    exit: int | None = None
    closed: bool = False
    dead: bool = False
    size: int = 0
    place: str = ""


class Output(_Message, frozen=True, tag="output"):
    """What a client asked for or follows; one without any field says that the server is there.

    Args:
        text: the guide's: a line of Claude's answer.
        id: the question that this answers.
        protocol: the server's version, in the answer to `init`.
        journal, offset: a piece of the journal, and where it stands, in bytes.
        ended: nothing will be added to the journal.
        data: a piece of a file; empty at its end.
        state: what the session's folder says.
    """

    text: str | None = None
    id: int = 0
    protocol: int = 0
    journal: bytes = b""
    offset: int = 0
    ended: bool = False
    data: bytes = b""
    state: State | None = None


class Error(_Message, frozen=True, tag="error"):
    """What was refused, and why.

    Args:
        error: the reason, in one line.
        id: the question; 0 for the connection, which is closed then.
        again: whether it may be otherwise if the client tries again.
    """

    error: str
    id: int = 0
    again: bool = False


class Terminate(_Message, frozen=True, tag="terminate"):
    """The end of a conversation; from the server with the reason."""

    reason: str = ""


Message = Init | Input | Output | Error | Terminate
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """Return a message as one line.

    It has no byte above 127: the guide's client decodes what it has received so far, wherever that
    was cut.
    """
    line = msgspec.json.encode(message)
    if not line.isascii():
        line = json.dumps(json.loads(line), separators=(",", ":")).encode("ascii")
    return line + b"\n"


def decode(line: bytes) -> Message:
    """Return the message of a line.

    Raises:
        Malformed: it has none.
    """
    try:
        return _decoder.decode(line)
    except UnicodeDecodeError as error:
        raise Malformed("a message is not UTF-8") from error
    except msgspec.ValidationError as error:
        raise Malformed(f"a message has a wrong shape: {_shape(str(error))}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed("a line is not JSON") from error


def decode_start(data: bytes) -> Start:
    """Return what a session is to be started with.

    Raises:
        Malformed: it is not that.
    """
    try:
        return msgspec.json.decode(data, type=Start)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise Malformed("this is nothing that a session can be started with") from error


def _shape(complaint: str) -> str:
    """Return a complaint without the value that it may quote."""
    place = complaint.rpartition(" - at ")[2].strip("`") if " - at " in complaint else "$"
    return f"`{place}` is not what it must be" if "'" in complaint else complaint
