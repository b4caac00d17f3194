"""Intuit's OAuth 2.0: consent, tokens, revocation."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import secrets
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from . import exact, quickbooks_pages
from .quickbooks_world import SCOPE, App, Grant, new_refresh_token
from .wire import Request, Response

if TYPE_CHECKING:
    from .quickbooks import QuickBooksSimulator

SCOPES = frozenset((SCOPE, "com.intuit.quickbooks.payment", "openid", "profile", "email", "phone", "address"))


class OAuthError(Exception):
    """An error of the token endpoint: RFC 6749 §5.2."""

    def __init__(self, error: str, description: str = "", status: int = 400):
        super().__init__(error)
        self.error, self.description, self.status = error, description, status

    def response(self) -> Response:
        body = {"error": self.error} | ({"error_description": self.description} if self.description else {})
        return Response(self.status, exact.dumps(body))


def invalid_grant(description: str = "Incorrect or invalid refresh token") -> OAuthError:
    return OAuthError("invalid_grant", description)


class OAuth:
    """The endpoints below /oauth2 and the discovery documents."""

    def __init__(self, simulator: QuickBooksSimulator):
        self.simulator = simulator
        self.world = simulator.world

    def answer(self, request: Request, entry: dict[str, Any]) -> Response:
        name = request.path.rstrip("/").rpartition("/")[2]
        if name == "authorize" and request.method in ("GET", "POST"):
            return Consent(self, request).answer(entry)
        if request.method != "POST" or name not in ("tokens", "revoke"):
            return Response(405, b'{"error":"method_not_allowed"}')
        try:
            app = self._client(request)
            if name == "revoke":
                self._revoke(app, request, entry)
                return Response()
            shown = self._tokens(app, request, entry)
        except OAuthError as error:
            entry["fault_code"] = error.error
            return error.response()
        no_store = [("Cache-Control", "no-cache, no-store"), ("Pragma", "no-cache")]
        return Response(body=exact.dumps(shown), headers=no_store)

    def discovery(self, request: Request) -> Response:
        base = f"{request.origin}{request.mount}/oauth2"
        return Response(
            body=exact.dumps(
                {
                    "issuer": f"{request.origin}{request.mount}/op/v1",
                    "authorization_endpoint": f"{base}/authorize",
                    "token_endpoint": f"{base}/tokens",
                    "revocation_endpoint": f"{base}/revoke",
                    "response_types_supported": ["code"],
                    "scopes_supported": sorted(SCOPES),
                    "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                }
            )
        )

    def _client(self, request: Request) -> App:
        """The app whose keys stand in the Basic header. Raises OAuthError invalid_client."""
        scheme, _space, encoded = request.headers.get("authorization", "").partition(" ")
        try:
            client_id, _colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            client_id = secret = ""
        app = self.world.apps.get(client_id)
        if scheme.lower() != "basic" or not app or not hmac.compare_digest(secret.encode(), app.secret.encode()):
            raise OAuthError("invalid_client", status=401)
        return app

    # --- tokens ---

    def _tokens(self, app: App, request: Request, entry: dict[str, Any]) -> dict[str, Any]:
        if "application/x-www-form-urlencoded" not in request.headers["content-type"]:
            raise OAuthError("invalid_request", "the body must be a form")
        form = {name: values[-1] for name, values in request.form().items()}
        kind = entry["grant_type"] = form.get("grant_type", "")
        if kind == "authorization_code":
            grant, token = self._exchange(app, form)
        elif kind == "refresh_token":
            grant, token = self._refresh(app, form)
        else:
            raise OAuthError("unsupported_grant_type")
        entry["realm"], entry["grant_id"] = grant.realm, grant.id
        return self._shown(grant, token, request)

    def _exchange(self, app: App, form: dict[str, str]) -> tuple[Grant, str]:
        with self.world.lock:
            known = self.world.codes.pop(form.get("code", ""), None)  # single use, also where the rest is wrong
            if known is None or known["client_id"] != app.client_id or known["expires_at"] < time.time():
                raise invalid_grant("Invalid authorization code")
            if form.get("redirect_uri") != known["redirect_uri"]:
                raise invalid_grant("Invalid redirect uri")
            grant = self.world.grant(app.client_id, known["realm"], known["scope"])
        return grant, next(iter(grant.access))

    def _refresh(self, app: App, form: dict[str, str]) -> tuple[Grant, str]:
        """A new access token; the refresh value stays for a day, then a new one replaces it."""
        given, now, policy = form.get("refresh_token", ""), time.time(), self.world.policy
        with self.world.lock:
            grant = self.world.by_refresh.get(given)
            if grant is None or grant.client_id != app.client_id or grant.is_revoked:
                raise invalid_grant()
            if given != grant.refresh_token and grant.old_refresh.get(given, 0) <= now:
                raise invalid_grant()
            if min(grant.refresh_expires_at, grant.hard_expires_at) <= now:
                raise invalid_grant("Token expired")
            if now - grant.refresh_issued_at >= policy.rotate_after_s:
                self.rotate(grant, now)
            grant.refresh_expires_at = now + policy.refresh_life_s
            return grant, self.world.new_access(grant, now)

    def rotate(self, grant: Grant, now: float) -> None:
        """Replace the refresh value; the former one dies, at once or after the grace."""
        grant.old_refresh[grant.refresh_token] = now + self.world.policy.grace_s
        grant.refresh_token = new_refresh_token()
        grant.refresh_issued_at = now
        self.world.by_refresh[grant.refresh_token] = grant

    def _shown(self, grant: Grant, token: str, request: Request) -> dict[str, Any]:
        now = time.time()
        hard = int(grant.hard_expires_at - now)
        shown: dict[str, Any] = {
            "token_type": "bearer",
            "access_token": token,
            "expires_in": int(self.world.policy.access_life_s),
            "refresh_token": grant.refresh_token,
            "x_refresh_token_expires_in": min(int(grant.refresh_expires_at - now + 0.5), hard),
        }
        if request.headers.get("x-include-refresh-token-hard-expires-in", "").lower() == "true":
            shown["x_refresh_token_hard_expires_in"] = hard
        return shown

    def _revoke(self, app: App, request: Request, entry: dict[str, Any]) -> None:
        """A refresh token takes the whole grant with it, an access token only itself."""
        try:
            body = exact.parse(request.body)
            token = body["token"]
        except (ValueError, TypeError, KeyError):
            raise OAuthError("invalid_request", "token is missing") from None
        with self.world.lock:
            grant = self.world.by_refresh.get(token) or self.world.by_access.get(token)
            if grant is None or grant.client_id != app.client_id or grant.is_revoked:
                raise OAuthError("invalid_request", "Token is incorrect")
            entry["realm"], entry["grant_id"] = grant.realm, grant.id
            if token in grant.access:
                grant.access[token] = 0
            else:
                grant.is_revoked = True
            self.world.save(grant)


class Consent:
    """The consent page: plain forms that carry the query along."""

    def __init__(self, oauth: OAuth, request: Request):
        self.world = oauth.world
        self.simulator = oauth.simulator
        self.request = request
        self.query = request.query

    def answer(self, entry: dict[str, Any]) -> Response:
        app = self.world.apps.get(self.query.get("client_id", ""))
        redirect = self.query.get("redirect_uri", "")
        if app is None or not _may_redirect(app, redirect):  # nobody to send the browser back to
            what = "redirect_uri" if app else "client_id"
            entry["fault_code"] = f"invalid {what}"
            return _page(quickbooks_pages.refusal(what), 400)
        entry["client_id"] = app.client_id
        if error := self._error():
            entry["fault_code"] = error
            return self._back({"error": error})
        companies = [one for one in self.world.companies.values() if one.environment == app.environment]
        if self.request.method == "GET":
            choices = [(one.realm, one.info["CompanyName"], one.country) for one in companies]
            return _page(quickbooks_pages.consent(app.name, choices, self._scopes()))
        return self._decide(app, {one.realm for one in companies}, entry)

    def _scopes(self) -> list[str]:
        return self.query.get("scope", "").split()

    def _error(self) -> str | None:
        if self.query.get("response_type") != "code" or not self.query.get("state"):
            return "invalid_request"
        return None if self._scopes() and set(self._scopes()) <= SCOPES else "invalid_scope"

    def _decide(self, app: App, realms: set[str], entry: dict[str, Any]) -> Response:
        form = {name: values[-1] for name, values in self.request.form().items()}
        realm = form.get("realm", "")
        if form.get("decision") != "approve":
            return self._back({"error": "access_denied"})
        if realm not in realms:
            return _page(quickbooks_pages.refusal("company"), 400)
        entry["realm"] = realm
        code = "XAB" + secrets.token_hex(22)
        with self.world.lock:
            self.world.codes[code] = {
                "client_id": app.client_id,
                "realm": realm,
                "scope": self.query["scope"],
                "redirect_uri": self.query["redirect_uri"],
                "expires_at": time.time() + self.world.policy.code_life_s,
            }
        return self._back({"code": code, "realmId": realm})

    def _back(self, more: dict[str, str]) -> Response:
        """To the app, with its state."""
        parts = urlsplit(self.query["redirect_uri"])
        state = {"state": self.query["state"]} if self.query.get("state") else {}
        query = urlencode([*parse_qsl(parts.query), *(state | more).items()])
        where = urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
        return Response(302, b"", "text/html", [("Location", where), ("Cache-Control", "no-store")])


def _may_redirect(app: App, url: str) -> bool:
    """Exactly one of those registered; https, but for this machine while developing."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if not parts.hostname or parts.fragment:
        return False
    is_safe = parts.scheme == "https" or (
        parts.scheme == "http" and app.environment == "sandbox" and _is_local(parts.hostname)
    )
    return is_safe and (app.redirect_uris is None or url in app.redirect_uris)


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _page(body: bytes, status: int = 200) -> Response:
    headers = [("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer")]
    return Response(status, body, "text/html; charset=utf-8", headers)
