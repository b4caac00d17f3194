"""What every simulator shares about HTTP: requests, responses, and ways to leave a client without an answer."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qs

stopping = threading.Event()  # set on SIGTERM: whatever waits, waits on this


@dataclass(slots=True)
class Request:
    """One HTTP request, its body already read. `headers` has lower-case names; `origin` is scheme://host:port.

    `path` is what follows the simulator's own prefix, `mount`.
    """

    method: str
    mount: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    origin: str
    socket: Any
    query_string: str = ""  # as it came, for whoever needs repeated or blank parameters

    @classmethod
    def from_environ(cls, environ: dict[str, Any], mount: str, path: str) -> Request:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        headers = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key[:5] == "HTTP_"}
        headers["content-type"] = environ.get("CONTENT_TYPE", "")
        return cls(
            method=environ["REQUEST_METHOD"],
            mount=mount,
            path=path,
            query={key: values[-1] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()},
            headers=headers,
            body=environ["wsgi.input"].read(length) if length else environ["wsgi.input"].read(),
            origin=f"{environ['wsgi.url_scheme']}://{headers.get('host') or environ['SERVER_NAME']}",
            socket=environ["gunicorn.socket"],
            query_string=environ.get("QUERY_STRING", ""),
        )

    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True)


@dataclass(slots=True)
class Response:
    """An answer. `body` is whole; Content-Length is set from it."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)


class Simulator(Protocol):
    """One provider, mounted under its own path prefix."""

    def handle(self, request: Request) -> Response: ...

    def stop(self) -> None: ...


def dropped() -> OSError:
    """The error to raise after the socket was dealt with: the server then forgets the connection, without an answer."""
    return ConnectionResetError(errno.ECONNRESET, "dropped on purpose")


def hang_up(client: socket.socket, *, reset: bool) -> OSError:
    """Close the client's connection now, with RST (`reset`) or FIN, and return the error to raise.

    The descriptor is replaced instead of closed, because the server still holds the socket object and will close it.
    """
    if reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with socket.socket(client.family) as spare:
        os.dup2(spare.fileno(), client.fileno())
    return dropped()


def send_whole(client: socket.socket, response: Response, *, has_body: bool = True) -> OSError:
    """Send the answer past the server, which would put its own Date on it, and hang up. Returns the error to raise."""
    lines = [f"HTTP/1.1 {response.status} Whole", f"Content-Type: {response.content_type}", "Connection: close"]
    lines += [f"Content-Length: {len(response.body)}", *(f"{name}: {value}" for name, value in response.headers)]
    client.sendall("\r\n".join([*lines, "", ""]).encode() + (response.body if has_body else b""))
    return hang_up(client, reset=False)


def send_truncated(client: socket.socket, response: Response) -> OSError:
    """Announce the whole body, send the first half, hang up. Returns the error to raise."""
    head = f"HTTP/1.1 {response.status} OK\r\nContent-Type: {response.content_type}\r\n"
    head += f"Content-Length: {len(response.body)}\r\n\r\n"
    client.sendall(head.encode() + response.body[: len(response.body) // 2])
    return hang_up(client, reset=False)
