"""Servers on loopback that answer as told, byte for byte: what a client meets when the other side is broken or hostile."""

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def whole(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A complete answer with this body."""
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, lines, len(body), body)


def redirect(location: str, status: bytes = b"302 Found") -> bytes:
    return whole(b"", b"Location: " + location.encode(), status=status)


@dataclass
class Request:
    """What arrived."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def target(self) -> str:
        return self.line.split()[1]


@dataclass
class Peer:
    """answer: bytes for every request, a list of them (the last one repeats), or a function of the socket."""

    answer: bytes | list[bytes] | Callable[[socket.socket], object] = OK
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    names: list[str | None] = field(default_factory=list)  # what TLS clients asked for

    def __post_init__(self) -> None:
        self._listener = socket.create_server((self.host, self.port))
        self.port = self._listener.getsockname()[1]
        self.origin = f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"
        if self.tls:
            self.tls.sni_callback = lambda _socket, name, _context: self.names.append(name)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                taken, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=[taken], daemon=True).start()

    def _talk(self, taken: socket.socket) -> None:
        with suppress(OSError), taken:
            if self.tls:
                taken = self.tls.wrap_socket(taken, server_side=True)
            with taken:
                while request := self._read(taken):
                    self.requests.append(request)
                    self._reply(taken)

    def _reply(self, taken: socket.socket) -> None:
        if callable(self.answer):
            self.answer(taken)
        elif isinstance(self.answer, list):
            taken.sendall(self.answer[min(len(self.requests), len(self.answer)) - 1])
        else:
            taken.sendall(self.answer)

    @staticmethod
    def _read(taken: socket.socket) -> Request | None:
        received = b""
        while b"\r\n\r\n" not in received:
            if not (part := taken.recv(65536)):
                return None
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += taken.recv(65536)
        return Request(line, headers, body)


# --- certificates ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, both as PEM; `context` serves it."""

    pem: str
    key_pem: bytes
    signed: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def context(self, folder: Path) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        file = folder / f"{self.signed.serial_number}.pem"
        file.write_bytes(self.pem.encode() + self.key_pem)
        made.load_cert_chain(file)
        return made


def certificate(*names: str, by: Certificate | None = None, is_expired: bool = False) -> Certificate:
    """Signed by `by`, else by itself; an authority where it has no names."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, f"Test {names or key.private_numbers().private_value}"[:64])]
    )
    now = datetime.datetime.now(datetime.UTC)
    begins, ends = (
        (now - datetime.timedelta(days=9), now - datetime.timedelta(days=2))
        if is_expired
        else (now - datetime.timedelta(days=1), now + datetime.timedelta(days=1))
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.signed.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), False)
    signed = builder.sign(by.key if by else key, hashes.SHA256())
    return Certificate(
        pem=signed.public_bytes(serialization.Encoding.PEM).decode(),
        key_pem=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        signed=signed,
        key=key,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
