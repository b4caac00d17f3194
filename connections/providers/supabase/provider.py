"""Supabase: data stores, over REST or over PostgreSQL itself."""

import base64
import binascii
import json
import re
import ssl

from connections.providers.base import Field, Provider
from connections.providers.cleaning import web_address
from connections.providers.supabase import dsn, verification
from connections.providers.supabase.contract import DEFAULTS
from connections.providers.supabase.writing import WRITING


def _always() -> str:
    return ""


def _project_url(value: str) -> str:
    url = web_address(value).partition("/rest/v1")[0].rstrip("/")
    if re.fullmatch(r"https://supabase\.com/dashboard/project/([a-z0-9]+).*", url):
        raise ValueError("This is the dashboard's address. The project's own is https://<project>.supabase.co.")
    return url


def _schema(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$]{0,62}", value):
        raise ValueError("Not the name of a schema: letters, digits and _, at most 63, such as public.")
    return value


def _secret_key(value: str) -> str:
    if value.startswith("sb_publishable_"):
        raise ValueError(
            "This is the publishable key, which may not write. Use the secret key: it begins with sb_secret_."
        )
    if value.startswith("eyJ") and _role(value) != "service_role":
        raise ValueError("This key is not of the role service_role, so it may not write. Use the secret key.")
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ValueError("Not a key: it holds spaces or other characters that no key has.")
    return value


def _role(jwt: str) -> str:
    """What a legacy key says of itself; "" where it cannot be read."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(jwt.split(".")[1] + "=="))
    except (IndexError, ValueError, binascii.Error):
        return ""
    return claims.get("role", "") if isinstance(claims, dict) else ""


def _dsn(value: str) -> str:
    dsn.parsed(value)
    return value


def _ca_pem(value: str) -> str:
    if "-----BEGIN CERTIFICATE-----" not in value:
        raise ValueError("Not a certificate in PEM. Paste the whole file, from its BEGIN to its END line.")
    if "PRIVATE KEY" in value:
        raise ValueError("This holds a private key. Paste the certificate of the authority alone.")
    try:
        ssl.create_default_context(cadata=value)
    except (ssl.SSLError, ValueError):
        raise ValueError("The certificate cannot be read. Paste the whole file as it was downloaded.") from None
    return value


def _entities(value: str) -> str:
    names = list(dict.fromkeys(re.split(r"[\s,]+", value.strip(" ,"))))
    if unknown := [name for name in names if name not in DEFAULTS]:
        raise ValueError(f"Not known: {', '.join(unknown)[:100]}. Choose from {', '.join(DEFAULTS)}.")
    return ", ".join(name for name in DEFAULTS if name in names)


FIELDS = (
    Field(
        "kind",
        "Kind",
        kind="choice",
        choices=(("rest", "REST (project URL and secret key)"), ("postgres", "PostgreSQL (connection string)")),
        help="REST works wherever HTTPS does; PostgreSQL can write only what changed, and look before it writes.",
    ),
    Field(
        "project_url",
        "Project URL",
        kind="url",
        only_if=("kind", ("rest",)),
        help="https://<project>.supabase.co, or the address of a Supabase of your own.",
        clean=_project_url,
    ),
    Field(
        "schema",
        "Schema",
        is_required=False,
        default="public",
        help="Where the tables are.",
        clean=_schema,
        max_length=63,
    ),
    Field(
        "entities",
        "Entities",
        is_required=False,
        help=f"What the store keeps, with commas between; all of them if empty: {', '.join(DEFAULTS)}.",
        clean=_entities,
    ),
    Field(
        "secret_key",
        "Secret key",
        is_secret=True,
        only_if=("kind", ("rest",)),
        help="Project settings › API keys. It begins with sb_secret_; a legacy service_role key works as well.",
        clean=_secret_key,
    ),
    Field(
        "dsn",
        "Connection string",
        is_secret=True,
        only_if=("kind", ("postgres",)),
        help="postgresql://user:password@host:port/database, from Connect in Supabase's dashboard.",
        clean=_dsn,
    ),
    Field(
        "tls",
        "Server's certificate",
        kind="choice",
        is_required=False,
        only_if=("kind", ("postgres",)),
        choices=(
            ("verify-full", "Verified (with the certificate below)"),
            ("require", "Encrypted, but not verified: whoever is on the way may pretend to be the server"),
        ),
        help="Verified, unless the server cannot be.",
    ),
    Field(
        "ca_pem",
        "Certificate of the server's authority",
        kind="multiline",
        is_secret=True,
        is_required=False,
        only_if=("kind", ("postgres",)),
        help="PEM, from Project settings › Database › SSL: Supabase signs its servers with a root of its own.",
        clean=_ca_pem,
        max_length=64_000,
    ),
)

PROVIDER = Provider(
    key="supabase", label="Supabase", unavailable=_always, fields=FIELDS, verifies=verification, upserts=WRITING
)
