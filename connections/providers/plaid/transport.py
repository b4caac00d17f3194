"""urllib3's connections, with a deadline over the whole answer.

A read timeout is one of silence: a peer that sends a byte now and then holds a worker for ever. Here every read from the
socket, of head or body, gets only what is left of the time that the answer as a whole may take.
"""

import io
import socket
import time
from http.client import HTTPResponse

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

MAX_RAW_BYTES = 64 << 20  # also for what nobody counts while reading: the body of an error


class _Source(io.RawIOBase):
    """The socket's bytes until the deadline. Raises TimeoutError after it, OSError for an answer without end."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, total_s: float) -> None:
        self._raw, self._sock = raw, sock
        self._deadline = time.monotonic() + total_s
        self._left = MAX_RAW_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int | None:  # type: ignore[no-untyped-def]  # any writable buffer
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the answer took longer than all of its time")
        self._sock.settimeout(remaining)
        count = self._raw.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise OSError("the answer is too long")
        return count

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """The time of the answer begins when the request is sent; how long it is, is the socket's read timeout then."""

    def __init__(self, sock: socket.socket, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
        super().__init__(sock, *args, **kwargs)
        if total_s := sock.gettimeout():
            self.fp = io.BufferedReader(_Source(self.fp.detach(), sock, total_s), 1 << 16)


class _Plain(HTTPConnection):
    response_class = _Response


class _Secure(HTTPSConnection):
    response_class = _Response


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


POOLS = {"http": _PlainPool, "https": _SecurePool}
