"""The sockets below `connections.http`: connected to a checked address, and never waited for beyond their call's time."""

import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore

from connections import egress

CONNECT_TIMEOUT_S = 5.0
_ends_at: ContextVar[float] = ContextVar("call_ends_at")


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Every wait for a socket within the block ends by then. A read timeout alone is one of silence: a peer that sends
    a byte now and then would hold a worker for ever."""
    token = _ends_at.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)


def _left(limit_s: float | None = None) -> float:
    """Seconds that a wait may take. Raises TimeoutError where there are none."""
    left = _ends_at.get() - time.monotonic()
    if left <= 0:
        raise TimeoutError("the call has used up all of its time")
    return left if limit_s is None else min(left, limit_s)


class Backend(httpcore.NetworkBackend):
    """Connects to addresses instead of names. TLS and Host keep the name: they are made from the URL, above."""

    def __init__(self, *, is_guarded: bool) -> None:
        self._is_guarded = is_guarded
        self._system = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """To the first address that answers, all of them within one time limit. The name is not looked up again."""
        try:
            ends_at = time.monotonic() + _left(CONNECT_TIMEOUT_S)
            find = egress.checked_addresses if self._is_guarded else egress.resolve
            addresses = find(host, port, timeout_s=_left(CONNECT_TIMEOUT_S))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        for number, address in enumerate(addresses):
            share = max(ends_at - time.monotonic(), 0.05) / (len(addresses) - number)
            try:
                stream = self._system.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return Stream(stream)
        raise failure


class Stream(httpcore.NetworkStream):
    """A connection whose every operation ends with the time of the call that is using it."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return self._stream.read(max_bytes, _left(timeout))
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """In pieces, so that a peer which takes a byte now and then does not hold us either."""
        for start in range(0, len(buffer), 1 << 16):
            try:
                self._stream.write(buffer[start : start + (1 << 16)], _left(timeout))
            except TimeoutError as error:
                raise httpcore.WriteTimeout(str(error)) from error

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            return Stream(self._stream.start_tls(ssl_context, server_hostname, _left(timeout)))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
