"""PostgreSQL's wire protocol, as much of it as a proxy needs: packets at the start, messages, an error of our own."""

from __future__ import annotations

import asyncio
import struct

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
MOST_BYTES = 1 << 30


async def read_startup(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The code (or protocol version) of a first packet, and what follows it. Raises ValueError for anything else."""
    length, code = struct.unpack("!II", await reader.readexactly(8))
    if not 8 <= length <= 10_000:
        raise ValueError("no startup packet")
    return code, await reader.readexactly(length - 8)


def parse_parameters(packet: bytes) -> dict[str, str]:
    words = packet.rstrip(b"\0").split(b"\0")
    return {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in zip(words[::2], words[1::2], strict=False)
    }


def startup(version: int, parameters: dict[str, str]) -> bytes:
    words = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items()) + b"\0"
    return struct.pack("!II", len(words) + 8, version) + words


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Type and body. Raises ValueError for an impossible length."""
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!I", head[1:])
    if not 4 <= length <= MOST_BYTES:
        raise ValueError("no message")
    return head[:1], await reader.readexactly(length - 4)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def fatal(code: str, text: str) -> bytes:
    fields = {"S": "FATAL", "V": "FATAL", "C": code, "M": text}
    return message(b"E", b"".join(f"{name}{value}\0".encode() for name, value in fields.items()) + b"\0")
