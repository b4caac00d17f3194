"""Supabase's errors: the Data API's four fields, the gateway's own shapes, and which HTTP status a SQLSTATE becomes."""

from __future__ import annotations

import re
from typing import Any

import psycopg

from . import exact
from .wire import Response

# Whole states first, then classes: PostgREST's own table.
STATUS_OF_STATE = {
    "23503": 409,
    "23505": 409,
    "25006": 405,
    "21000": 500,
    "42883": 404,
    "42P01": 404,
    "42P17": 500,
    "53400": 500,
    "57P01": 503,
    "P0001": 400,
}
STATUS_OF_CLASS = {"0L": 403, "0P": 403, "28": 403, "08": 503, "53": 503} | dict.fromkeys(
    ("09", "25", "2D", "38", "39", "3B", "40", "54", "55", "57", "58", "F0", "HV", "P0", "XX"), 500
)
STATUS_OF_CODE = {
    "PGRST000": 503,
    "PGRST001": 503,
    "PGRST002": 503,
    "PGRST003": 504,
    "PGRST100": 400,
    "PGRST102": 400,
    "PGRST103": 416,
    "PGRST106": 406,
    "PGRST107": 406,
    "PGRST108": 400,
    "PGRST116": 406,
    "PGRST117": 405,
    "PGRST122": 400,
    "PGRST124": 400,
    "PGRST125": 404,
    "PGRST200": 400,
    "PGRST202": 404,
    "PGRST203": 300,
    "PGRST204": 400,
    "PGRST205": 404,
    "PGRST301": 401,
    "PGRST302": 401,
    "PGRST303": 401,
}
MEANINGS = {
    "PGRST000": "Could not connect with the database due to an incorrect db-uri or the PostgreSQL service not running.",
    "PGRST001": "Could not connect with the database due to an internal error.",
    "PGRST002": "Could not query the database for the schema cache. Retrying.",
    "PGRST003": "Timed out acquiring connection from connection pool.",
    "PGRST102": "Empty or invalid json",
    "PGRST301": "JWSError JWSInvalidSignature",
    "PGRST302": "Anonymous access is disabled",
    "PGRST303": "JWT expired",
    "40001": "could not serialize access due to concurrent update",
    "40P01": "deadlock detected",
    "55P03": "canceling statement due to lock timeout",
    "57014": "canceling statement due to statement timeout",
    "57P01": "terminating connection due to administrator command",
    "53300": "sorry, too many clients already",
    "53100": "could not extend file: No space left on device",
    "25006": "cannot execute INSERT in a read-only transaction",
}
GATEWAY = {
    401: "",
    402: '{"message":"Service for this project is restricted due to the following violations: exceed_egress_quota."}',
    429: '{"message":"API rate limit exceeded"}',
    502: '{"message":"An invalid response was received from the upstream server"}',
    503: '{"message":"name resolution failed"}',
    504: '{"message":"The upstream server is timing out"}',
    540: '{"message":"Project is paused"}',
    544: '{"message":"Project gateway timed out"}',
} | {
    status: f"<!DOCTYPE html><html><head><title>{status}: {title}</title></head><body><h1>Error {status}</h1></body></html>"
    for status, title in (
        (520, "Web server is returning an unknown error"),
        (521, "Web server is down"),
        (522, "Connection timed out"),
        (523, "Origin is unreachable"),
        (524, "A timeout occurred"),
    )
}


class ApiError(Exception):
    """An error in the Data API's own shape."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        details: Any = None,
        hint: str | None = None,
        status: int | None = None,
        headers: list[tuple[str, str]] | None = None,
    ):
        super().__init__(code)
        self.code = code
        self.status = status or STATUS_OF_CODE.get(code) or status_of(code)
        self.body = {
            "code": code,
            "details": details,
            "hint": hint,
            "message": MEANINGS.get(code, code) if message is None else message,
        }
        self.headers = headers or []

    def response(self) -> Response:
        headers = list(self.headers)
        if self.status == 401:
            headers.append(("WWW-Authenticate", "Bearer"))
        return Response(self.status, exact.dumps(self.body), "application/json; charset=utf-8", headers)


class GatewayError(Exception):
    """An answer of whatever stands before the Data API; its shape is not the Data API's."""

    def __init__(self, status: int, body: str | None = None, *, headers: list[tuple[str, str]] | None = None):
        super().__init__(status)
        self.status = status
        self.body = GATEWAY.get(status, '{"message":"An unexpected error occurred"}') if body is None else body
        self.headers = headers or []

    def response(self) -> Response:
        kind = "text/html; charset=UTF-8" if self.body.startswith("<") else "application/json"
        headers = list(self.headers)
        if self.status == 429 and not any(name == "Retry-After" for name, _ in headers):
            headers.append(("Retry-After", "1"))
        return Response(self.status, self.body.encode(), kind if self.body else "text/plain", headers)


def status_of(state: str, *, is_anonymous: bool = False, message: str = "") -> int:
    """The HTTP status of a SQLSTATE."""
    if state == "42501":
        return 401 if is_anonymous else 403
    if state == "21000" and message.endswith("requires a WHERE clause"):
        return 400
    if found := re.fullmatch(r"PT(\d{3})", state):
        return int(found[1])
    return STATUS_OF_STATE.get(state) or STATUS_OF_CLASS.get(state[:2], 400)


def from_database(error: psycopg.Error, *, role: str, is_anonymous: bool, prefix: str, schema: str) -> ApiError:
    """What PostgreSQL said, as the Data API passes it on. `prefix`: what our role names have and the real ones have not."""
    state = error.sqlstate
    if state is None:
        return ApiError("PGRST001", details=str(error).replace(prefix, ""))
    told = error.diag
    message, detail, hint = (
        text.replace(prefix, "") if text else None
        for text in (told.message_primary, told.message_detail, told.message_hint)
    )
    if state == "42501" and (
        found := re.match(r"permission denied for (table|sequence|function|view) (\S+)", message or "")
    ):
        needed = {"sequence": "USAGE ON SEQUENCE", "function": "EXECUTE ON FUNCTION"}.get(
            found[1], "SELECT, INSERT, UPDATE, DELETE ON"
        )
        hint = hint or (
            f"Grant the required privileges to the current role with: GRANT {needed} {schema}.{found[2]} TO {role};"
        )
    status = status_of(state, is_anonymous=is_anonymous, message=message or "")
    return ApiError(state, message or "", details=detail, hint=hint, status=status)
