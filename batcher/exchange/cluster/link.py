"""A connection between a run and one of its workers: both prove who they are, then messages go in groups.

Frames are eight bytes of length and a pickle of a list. Nothing is unpickled, and no key said, before each end has
shown that it has the secret that the run drew for this worker alone (HMAC over what the other end drew: RFC 2104). With
its proof the run says its version: a worker of another one becomes deaf, as it may not have what is pickled.
"""

from __future__ import annotations

import asyncio
import hmac
import pickle
import secrets
import struct
import sys
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from batcher.redaction import Secret

Message: TypeAlias = tuple[Any, ...]
Greeting: TypeAlias = "Generator[tuple[bytes, int], bytes, Any]"
"""Yields what is to be said, and how many bytes are wanted then; returns who the other end is."""

_LENGTH: Final = struct.Struct(">Q")
_NUMBER: Final = struct.Struct(">Q")
_NONCE: Final = 32
_PROOF: Final = 32
_VERSION: Final = 128
"""Bytes of the run's version, filled up with spaces."""
_LARGE: Final = 1 << 16
"""Bytes of a frame that are not copied to be sent together with its length."""
_DEEP: Final = 8192
"""Calls one within the other that pickling what a server said may need: orjson reads 1024 levels, of some each."""


class StrangerError(Exception):
    """Whoever is at the other end does not have the secret."""


def admits(secret_of: Callable[[int], Secret | None], version: str) -> Greeting:
    """The run's part of the greeting; returns the number of the worker. Raises StrangerError."""
    mine = secrets.token_bytes(_NONCE)
    number: int
    said = yield mine, _NUMBER.size + _NONCE + _PROOF
    theirs, proof = said[_NUMBER.size : -_PROOF], said[-_PROOF:]
    (number,) = _NUMBER.unpack_from(said)
    secret = secret_of(number)
    if secret is None or not hmac.compare_digest(proof, _proof(secret, b"worker", mine, said[:-_PROOF])):
        raise StrangerError
    spoken = version.encode()[:_VERSION].ljust(_VERSION)
    yield spoken + _proof(secret, b"run", theirs, mine, spoken), 0
    return number


def asks_in(number: int, secret: Secret) -> Greeting:
    """The worker's part of the greeting; returns the version of the run. Raises StrangerError."""
    theirs = yield b"", _NONCE
    mine = secrets.token_bytes(_NONCE)
    said = _NUMBER.pack(number) + mine
    heard = yield said + _proof(secret, b"worker", theirs, said), _VERSION + _PROOF
    spoken, proof = heard[:_VERSION], heard[_VERSION:]
    if not hmac.compare_digest(proof, _proof(secret, b"run", mine, theirs, spoken)):
        raise StrangerError
    return spoken.decode(errors="replace").rstrip()


def _proof(secret: Secret, who: bytes, *parts: bytes) -> bytes:
    return hmac.digest(secret.reveal().encode(), b"".join((who, *parts)), "sha256")


class Link(asyncio.Protocol):
    """One end of a connection. `opened` is told who the other end is once both are known, `take` of messages.

    `lost` is called once, when the connection is over, whoever ended it; a stranger is hung up on.
    """

    def __init__(
        self,
        greeting: Greeting,
        opened: Callable[[Link, Any], object],
        take: Callable[[Link, list[Message]], object],
        lost: Callable[[Link], object],
    ) -> None:
        self._greeting: Greeting | None = greeting
        self._opened, self.take, self._lost = opened, take, lost
        self._wanted = 0
        self._held = bytearray()
        self._out: list[Message] = []
        self._transport: asyncio.Transport | None = None
        self.instead: Callable[[Message, Exception], Message] | None = None
        """Makes what is said instead of a message that cannot be pickled."""
        self.is_deaf = False
        """What comes is not looked at."""
        self.owner: Any = None
        """Whoever the caller puts here: whose connection it is."""

    def send(self, message: Message) -> None:
        """Say it with all that is said in the same turn of the loop."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self.flush)
        self._out.append(message)

    def flush(self) -> None:
        """Say at once what is to be said."""
        out, self._out = self._out, []
        if not out or self._transport is None or self._transport.is_closing():
            return
        try:
            data = _pickled(out)
        except Exception:  # noqa: BLE001 - one message that cannot be said must not make this end mute
            data = _pickled([self._sayable(message) for message in out])
        head = _LENGTH.pack(len(data))
        if len(data) < _LARGE:
            self._transport.write(head + data)
        else:
            self._transport.writelines((head, data))

    def _sayable(self, message: Message) -> Message:
        """The message, or what is said instead; hangs up where that is nothing."""
        try:
            _pickled([message])
        except Exception as error:
            if self.instead is None:
                self.close()
                raise
            return self.instead(message, error)
        return message

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of TCP it is no other
        self._transport = transport
        self._greet(None)

    def data_received(self, data: bytes) -> None:
        if self.is_deaf:
            return
        if not self._held and self._greeting is None and len(data) >= _LENGTH.size:  # nearly always one whole frame
            (length,) = _LENGTH.unpack_from(data)
            if len(data) == _LENGTH.size + length:
                self.take(self, pickle.loads(memoryview(data)[_LENGTH.size :]))  # noqa: S301 - of who has the secret
                return
        self._held += data
        while self._greeting is not None:
            if len(self._held) < self._wanted:
                return
            said = bytes(self._held[: self._wanted])
            del self._held[: self._wanted]
            if not self._greet(said):
                return
        self._take_frames()

    def _take_frames(self) -> None:
        while self._transport is not None and not self.is_deaf and len(self._held) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._held)
            end = _LENGTH.size + length
            if len(self._held) < end:
                return
            frame = bytes(memoryview(self._held)[_LENGTH.size : end])
            del self._held[:end]
            self.take(self, pickle.loads(frame))  # noqa: S301 - as above

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base's signature
        self._transport = None
        self._held.clear()
        self._lost(self)

    def _greet(self, said: bytes | None) -> bool:
        """Take what was said, and say what comes next; false if the connection is of no use."""
        assert self._greeting is not None
        assert self._transport is not None
        try:
            reply, self._wanted = next(self._greeting) if said is None else self._greeting.send(said)
            self._transport.write(reply) if reply else None
            if not self._wanted:
                next(self._greeting)
        except StopIteration as end:
            self._greeting = None
            self._opened(self, end.value)
        except StrangerError:
            self.close()
            return False
        return True


def _pickled(messages: list[Message]) -> bytes:
    try:
        return pickle.dumps(messages, pickle.HIGHEST_PROTOCOL)
    except RecursionError:  # of what a server nested deep
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(limit + _DEEP)
        try:
            return pickle.dumps(messages, pickle.HIGHEST_PROTOCOL)
        finally:
            sys.setrecursionlimit(limit)
