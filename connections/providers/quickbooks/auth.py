"""Getting in at Intuit: OAuth 2.0 with this installation's own keys. One grant opens one company, its realm.

Sources: Intuit developer docs "Set up OAuth 2.0", "OAuth 2.0 FAQ"; Intuit blog "Important changes to refresh token
policy", 2025-11-12. RFC 6749 names the errors.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.utils import timezone

from config.logs import HIDDEN, scrub
from connections.errors import (
    CausewayError,
    KeysRefused,
    Misconfigured,
    NeedsReauth,
    ProviderError,
    RateLimited,
    RequestError,
    TemporaryError,
)
from connections.http import Answer, Http, malformed
from connections.providers.base import Access, Grant

PROVIDER = "quickbooks"
SCOPE = "com.intuit.quickbooks.accounting"
REALM = "realm_id"
ACCESS_TOKEN, REFRESH_TOKEN, WHOLE = "access_token", "refresh_token", "grant"
_HARD_EXPIRY = {"x-include-refresh-token-hard-expires-in": "true"}
_CODE = re.compile(r"[a-z_]{1,40}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_LONGEST_S = 100 * 366 * 86_400


class Authorizer:
    """The company is chosen, and the access given, on Intuit's page."""

    def start(self, access: Access, *, state: str, redirect_uri: str) -> str:
        asked = {
            "client_id": settings.QUICKBOOKS_CLIENT_ID,
            "response_type": "code",
            "scope": SCOPE,
            "redirect_uri": redirect_uri,
            "state": state,
        }
        return f"{settings.INTUIT_AUTHORIZE_URL}?{urlencode(asked)}"

    def account(self, answer: Mapping[str, str]) -> str:
        """The realm, which only the way back names. A text of digits; people are never asked for it."""
        realm = answer.get("realmId", "")
        return realm if re.fullmatch(r"[0-9]{1,30}", realm) else ""

    def complete(self, access: Access, *, answer: Mapping[str, str], redirect_uri: str) -> Grant:
        if error := answer.get("error"):
            raise _not_given(error)
        code, realm = answer.get("code", ""), self.account(answer)
        if not code or not realm:
            raise RequestError("The way back from Intuit lacks its code or its company.", code="authorization_expired")
        asked = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        return _grant(_ask(asked, _code_refused), facts={REALM: realm})

    def refresh(self, access: Access) -> Grant:
        """The refresh token comes back, the same or another: another one puts an end to the one that was sent."""
        held = access.secret(REFRESH_TOKEN)
        answer = _ask({"grant_type": "refresh_token", "refresh_token": held}, _token_refused)
        return _grant(answer, facts={}, held=held)

    def revoke(self, access: Access) -> None:
        """With the refresh token goes the whole grant, its access tokens too."""
        token = access.secret(REFRESH_TOKEN)
        answer = _http(settings.INTUIT_REVOKE_URL).request("POST", json={"token": token}, auth=_keys())
        if answer.is_success or _named(answer)[0] in ("invalid_grant", "invalid_token"):
            return
        refusal = _refusal(answer, _token_refused, sent=[token])
        if refusal.provider_code == "invalid_request" and self._opens_nothing(access):
            return
        raise refusal

    def _opens_nothing(self, access: Access) -> bool:
        """Intuit does not document how it refuses to revoke what is revoked; how it refuses to renew it, it does."""
        try:
            grant = self.refresh(access)
        except NeedsReauth:
            return True
        for name, secret in grant.secrets.items():
            access.keep_secret(name, secret)
        return False

    def probe(self, environment: str) -> None:
        """Raises KeysRefused while Intuit does not take our keys: asked with a refresh token that nobody has."""
        try:
            _ask({"grant_type": "refresh_token", "refresh_token": "are-our-keys-taken"}, _token_refused)
        except NeedsReauth:
            return


# --- asking ---
def _http(url: str) -> Http:
    """Nothing is repeated by itself, and a redirect is not followed: what is sent opens somebody's books."""
    return Http(
        provider=PROVIDER,
        base_url=url,
        guard=False,
        timeout_s=settings.OAUTH_TIMEOUT_S,
        request_id_header="intuit_tid",
        is_confidential=True,
    )


def _keys() -> tuple[str, str]:
    if not (settings.QUICKBOOKS_CLIENT_ID and settings.QUICKBOOKS_CLIENT_SECRET):
        raise Misconfigured(code="provider_not_configured", provider=PROVIDER)
    return settings.QUICKBOOKS_CLIENT_ID, settings.QUICKBOOKS_CLIENT_SECRET


def _ask(form: Mapping[str, str], refused: Callable[[dict[str, Any]], CausewayError]) -> tuple[Answer, datetime]:
    """Intuit's answer, and the moment before it was asked: what it says ends so many seconds later, or after."""
    asked_at = timezone.now()
    answer = _http(settings.INTUIT_TOKEN_URL).request("POST", form=form, headers=_HARD_EXPIRY, auth=_keys())
    if answer.is_success:
        return answer, asked_at
    raise _refusal(answer, refused, sent=form.values())


# --- reading ---
def _grant(asked: tuple[Answer, datetime], *, facts: dict[str, Any], held: str = "") -> Grant:
    answer, asked_at = asked
    told = answer.json()
    if not isinstance(told, dict):
        raise malformed(PROVIDER, "the answer with tokens is no object", request_id=answer.request_id)
    secrets: dict[str, Any] = {ACCESS_TOKEN: told.get("access_token"), REFRESH_TOKEN: told.get("refresh_token") or held}
    for name, token in secrets.items():
        if not (isinstance(token, str) and _TOKEN.fullmatch(token)):
            raise malformed(PROVIDER, f"the answer has no {name}", request_id=answer.request_id)
    ends = {
        ACCESS_TOKEN: _end(asked_at, told.get("expires_in")) or asked_at,
        REFRESH_TOKEN: _end(asked_at, told.get("x_refresh_token_expires_in")),
        WHOLE: _end(asked_at, told.get("x_refresh_token_hard_expires_in")),
    }
    return Grant(secrets, {name: end for name, end in ends.items() if end}, facts)


def _end(since: datetime, seconds: Any) -> datetime | None:
    """None for what is not told, or is no number of seconds."""
    try:
        left_s = float(seconds)
    except (TypeError, ValueError):
        return None
    return since + timedelta(seconds=left_s) if 0 < left_s < _LONGEST_S else None


# --- errors ---
def _code(told: Any) -> str:
    """An error's name as RFC 6749 writes them; anything else could be anything."""
    if not told:
        return ""
    return str(told) if _CODE.fullmatch(str(told)) else "unreadable"


def _named(answer: Answer) -> tuple[str, str]:
    """RFC 6749's error and its description; "" where the answer is something else, such as a proxy's page."""
    try:
        told = answer.json()
    except TemporaryError:
        return "", ""
    if not isinstance(told, dict):
        return "", ""
    return _code(told.get("error")), scrub(str(told.get("error_description") or ""))


def _refusal(
    answer: Answer, refused: Callable[[dict[str, Any]], CausewayError], *, sent: Iterable[str]
) -> CausewayError:
    """What an answer that is no success means. refused: for a code or token that is not taken.

    sent: what was sent, which nothing else knows for a secret; an answer may quote it.
    """
    error, description = _named(answer)
    for secret in (*sent, settings.QUICKBOOKS_CLIENT_SECRET):
        description = description.replace(secret, HIDDEN) if secret else description
    asked_for = f" (intuit_tid {answer.request_id})" if answer.request_id else ""
    facts: dict[str, Any] = {
        "provider": PROVIDER,
        "provider_code": error,
        "request_id": answer.request_id,
        "operator_detail": f"HTTP {answer.status} {error} {description}".strip()[:400] + asked_for,
    }
    if answer.status == 429:
        return RateLimited(retry_after_s=_retry_after_s(answer), **facts | {"provider_code": error or "HTTP_429"})
    if answer.status >= 500:
        return TemporaryError(**facts)
    if error == "invalid_client":
        return KeysRefused(**facts)
    if error == "invalid_grant":
        return refused(facts)
    if error:  # unauthorized_client, invalid_scope, redirect_uri…: how the app is set up at Intuit, or how we ask
        return Misconfigured(**facts)
    return ProviderError(**facts)


def _retry_after_s(answer: Answer) -> float:
    told = answer.headers.get("retry-after", "")
    return float(told) if told.isdecimal() and len(told) < 6 else 60.0


def _token_refused(facts: dict[str, Any]) -> CausewayError:
    return NeedsReauth(code="access_refused", **facts)


def _code_refused(facts: dict[str, Any]) -> CausewayError:
    return NeedsReauth(code="authorization_refused", **facts)


def _not_given(error: str) -> CausewayError:
    code = "authorization_denied" if error == "access_denied" else "authorization_refused"
    return NeedsReauth(code=code, provider=PROVIDER, provider_code=_code(error), operator_detail=_code(error))
