"""Supabase's keys: the opaque ones, the legacy JWTs, and who a request that carries them is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .supabase_errors import ApiError, GatewayError

if TYPE_CHECKING:
    from .supabase_projects import Project

TEN_YEARS_S = 10 * 365 * 86400
BROWSERS = re.compile(r"Mozilla/|Chrome/|Safari/|Firefox/|Edg/|AppleWebKit", re.IGNORECASE)
ROLES = ("anon", "authenticated", "service_role")


def new_key(kind: str) -> str:
    """`kind`: publishable or secret."""
    body = secrets.token_urlsafe(16)
    return f"sb_{kind}_{body}_{base64.urlsafe_b64encode(hashlib.sha256(body.encode()).digest())[:8].decode()}"


def sign(claims: dict[str, Any], secret: str) -> str:
    """A JWT, HS256."""
    head = _encoded(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    text = f"{head}.{_encoded(json.dumps(claims).encode())}"
    return f"{text}.{_encoded(_mac(text, secret))}"


def legacy_key(role: str, ref: str, secret: str) -> str:
    now = int(time.time())
    return sign({"iss": "supabase", "ref": ref, "role": role, "iat": now, "exp": now + TEN_YEARS_S}, secret)


@dataclass(slots=True)
class Caller:
    """Who asks: the role the statement runs as, and with which kind of key it came."""

    role: str
    key_kind: str
    claims: dict[str, Any] = field(default_factory=dict)

    @property
    def is_anonymous(self) -> bool:
        return self.role == "anon"


def identify(project: Project, headers: dict[str, str], query: dict[str, str]) -> Caller:
    """The caller, or the error that gateway or Data API answer. Raises GatewayError, ApiError."""
    key = headers.get("apikey") or query.get("apikey", "")
    bearer = headers.get("authorization", "")
    token = bearer[7:].strip() if bearer.lower().startswith("bearer ") else ""
    if not key:
        raise GatewayError(
            401,
            '{"message":"No API key found in request","hint":"No `apikey` request header or url param was found."}',
        )
    if key.startswith("sb_"):
        caller = _opaque(project, key, headers.get("user-agent", ""))
        return _by_token(project, token, caller.key_kind) if token else caller
    if key not in (project.keys["anon"], project.keys["service_role"]):
        raise GatewayError(
            401,
            '{"message":"Invalid API key","hint":"Double check your Supabase `anon` or `service_role` API key."}',
        )
    if not project.switches["legacy_keys"]:
        raise GatewayError(
            401, '{"message":"Legacy API keys are disabled","hint":"Your legacy API keys were disabled by the owner."}'
        )
    kind = "anon" if key == project.keys["anon"] else "service_role"
    return _by_token(project, token, f"legacy {kind}") if token else Caller("anon", f"legacy {kind}")


def _opaque(project: Project, key: str, agent: str) -> Caller:
    """An opaque key's caller. What is refused here gets an empty 401."""
    for kind, role in (("publishable", "anon"), ("secret", "service_role")):
        if hmac.compare_digest(key.encode(), project.keys[kind].encode()):
            if kind == "secret" and BROWSERS.search(agent):
                raise GatewayError(401, "")
            return Caller(role, kind, {"role": role})
    raise GatewayError(401, "")


def _by_token(project: Project, token: str, kind: str) -> Caller:
    claims = _claims(token, project.jwt_secret)
    role = claims.get("role", "anon")
    if role not in ROLES:
        raise ApiError("22023", f'role "{role}" does not exist', status=401)
    return Caller(role, kind, claims)


def _claims(token: str, secret: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:
        raise ApiError("PGRST301", f"Expected 3 parts in JWT; got {len(parts)}")
    try:
        head = json.loads(_decoded(parts[0]))
        claims = json.loads(_decoded(parts[1]))
        given = _decoded(parts[2])
    except ValueError as error:
        raise ApiError("PGRST301", "JWT cryptographic operation failed") from error
    if not isinstance(claims, dict) or not isinstance(head, dict):
        raise ApiError("PGRST301", "JWT claims could not be parsed")
    if head.get("alg") != "HS256" or not hmac.compare_digest(given, _mac(f"{parts[0]}.{parts[1]}", secret)):
        raise ApiError("PGRST301", "No suitable key or wrong key type")
    if isinstance(claims.get("exp"), (int, float)) and claims["exp"] < time.time() - 30:
        raise ApiError("PGRST303", "JWT expired")
    return claims


def _mac(text: str, secret: str) -> bytes:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
