"""A certificate authority of the simulators' own, and a server certificate for every name they answer to."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
import ssl
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DOMAIN = "supabase.test"
DIRECT_HOST = re.compile(rf"db\.([a-z0-9]{{1,20}})\.{re.escape(DOMAIN)}")
COMMON_NAMES = ("localhost", f"*.pooler.{DOMAIN}")
ADDRESSES = ("127.0.0.1", "::1")
CA_DAYS, SERVER_DAYS = 3650, 397


class Authority:
    """The authority of one home, made once and kept: a certificate that was pasted somewhere stays good."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._contexts: dict[str, ssl.SSLContext] = {}
        file = folder / "ca.pem"
        if not file.exists():
            _write(file, _new_authority())
        text = file.read_bytes()
        self.certificate = x509.load_pem_x509_certificate(text)
        self.key = serialization.load_pem_private_key(text, None)
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def context(self) -> ssl.SSLContext:
        """For a listener: which certificate is shown follows from the name that the client asks for."""
        context = self._context(None)
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        connection.asked_for = name or ""  # type: ignore[attr-defined]
        if name and (found := DIRECT_HOST.fullmatch(name)):
            connection.context = self._context(found[1])

    def _context(self, ref: str | None) -> ssl.SSLContext:
        with self._lock:
            if (ref or "") not in self._contexts:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                file = self.folder / f"server-{os.getpid()}.pem"
                _write(file, self._issue([f"db.{ref}.{DOMAIN}"] if ref else [], SERVER_DAYS))
                context.load_cert_chain(file)
                file.unlink()
                self._contexts[ref or ""] = context
            return self._contexts[ref or ""]

    def _issue(self, names: list[str], days: int) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in (*names, *COMMON_NAMES)]
        alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
        made = (
            _builder((names or ["localhost"])[0], days)
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.certificate.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
            .sign(self.key, hashes.SHA256())  # type: ignore[arg-type]
        )
        return _pem(made, key)


def _new_authority() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    usage = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("encipher_only", "decipher_only"),
        ),
        False,
    )
    builder = _builder("Causeway Simulated Supabase Root", CA_DAYS)
    builder = builder.issuer_name(_named("Causeway Simulated Supabase Root")).public_key(key.public_key())
    made = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(made, key)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(name: str, days: int) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + secret


def _write(file: Path, text: bytes) -> None:
    """For the owner's eyes only (mode 600), at once or not at all."""
    draft = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
        handle.write(text)
    draft.replace(file)
