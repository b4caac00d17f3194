"""Plaid over HTTP: the official SDK's transport with raw answers, explicit timeouts and one way to fail.

The SDK's typed models cost about 4 ms a transaction, so they validate in tests and never run here. Every call is
logged without its bodies, carries the correlation id, and raises only errors of `connections.errors`.
"""

import json
import os
import time
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import orjson
import plaid
import urllib3
from django.conf import settings

from config import correlation
from connections import budgets
from connections.calls import log_call
from connections.errors import CausewayError, Misconfigured, RateLimited, TemporaryError
from connections.providers.base import Json, SyncPage
from connections.providers.plaid import records, transport
from connections.providers.plaid.errors import PROVIDER, classify

CONNECT_TIMEOUT_S = 3.05
CALL_TIMEOUT_S = 20  # a person may be waiting; only a page of history may take PLAID_TIMEOUT_S
PAGE_SIZE = 500  # the most that /transactions/sync gives
MAX_ANSWER_BYTES = 64 << 20  # decoded; a page of 500 rows is under one
READ_BYTES = 1 << 20
ITEM_GET_PER_ITEM_MINUTE = 15  # Plaid's published rates
ITEM_WEBHOOK_PER_ITEM_MINUTE = 15  # not published: what /item/get has
STRAIN_S = 60
INSTITUTIONS_PER_CLIENT_MINUTE = 400
RECURRING_PER_ITEM_MINUTE, RECURRING_PER_CLIENT_MINUTE = 20, 1000
_AUTH = ["clientId", "plaidVersion", "secret"]


@lru_cache(maxsize=8)
def _api(_pid: int, host: str, client_id: str, secret: str) -> plaid.ApiClient:
    """One pool a process and host: sockets must not cross a fork. Retries belong to the rows, not to the transport."""
    configuration = plaid.Configuration(
        host=host, api_key={"clientId": client_id, "secret": secret, "plaidVersion": "2020-09-14"}
    )
    configuration.retries = urllib3.Retry(connect=1, read=0, status=0, redirect=0)
    api = plaid.ApiClient(configuration)
    api.set_default_header("Accept-Encoding", "gzip")
    api.rest_client.pool_manager.pool_classes_by_scheme = transport.POOLS
    return api


def _decimals(raw: bytes) -> Any:
    """JSON with its numbers as Decimal; one beyond all bounds stays a text."""

    def number(text: str) -> Decimal | str:
        try:
            return Decimal(text)
        except InvalidOperation:
            return text

    return json.loads(raw, parse_float=number, parse_int=number, parse_constant=str)


def _request_id(answer: Any) -> str:
    """Plaid's name for the call: the one thing its support asks for."""
    return str(answer.get("request_id", "")) if isinstance(answer, dict) else getattr(answer, "request_id", "")


class PlaidClient:
    """Plaid's API for one environment.

    item_key: whose budget a call counts against (any stable name of the Item). timeout_s: for a caller who cannot wait
    as long as PLAID_TIMEOUT_S.
    """

    def __init__(self, environment: str, *, item_key: str = "", timeout_s: float | None = None) -> None:
        self._environment, self._item_key = (environment, item_key)
        self._timeout_s = timeout_s or settings.PLAID_TIMEOUT_S
        self._host = settings.PLAID_PRODUCTION_URL if environment == "production" else settings.PLAID_SANDBOX_URL
        if not (settings.PLAID_CLIENT_ID and settings.PLAID_SECRET):
            raise Misconfigured(
                code="provider_not_configured",
                provider=PROVIDER,
                operator_detail="PLAID_CLIENT_ID and PLAID_SECRET are not set",
            )

    # --- Link ---
    def link_token_create(self, body: Json) -> Json:
        """{link_token, expiration, hosted_link_url?}. Source: Plaid API, /link/token/create."""
        return self._json("/link/token/create", body)

    def link_token_get(self, link_token: str) -> Json:
        """{link_sessions[]}: what became of a Hosted Link session."""
        return self._json("/link/token/get", {"link_token": link_token})

    def public_token_exchange(self, public_token: str) -> Json:
        """{access_token, item_id, request_id}. Makes a billable Item: after an unknown outcome it must not be repeated."""
        return self._json("/item/public_token/exchange", {"public_token": public_token})

    # --- Items ---
    def item_get(self, access_token: str) -> Json:
        """{item, status}: free, and answers 200 with item.error for an Item in trouble."""
        self._take("item_get", ITEM_GET_PER_ITEM_MINUTE)
        return self._json("/item/get", {"access_token": self._own(access_token)})

    def item_remove(self, access_token: str) -> Json:
        """Ends the Item, its token and its billing. A second call raises what says that it is gone."""
        return self._json("/item/remove", {"access_token": self._own(access_token)})

    def item_webhook_update(self, access_token: str, url: str) -> Json:
        """{item}. From now on webhooks of the Item go to `url`, the first of them to acknowledge it. Safe to repeat."""
        self._take("item_webhook", ITEM_WEBHOOK_PER_ITEM_MINUTE)
        return self._json("/item/webhook/update", {"access_token": self._own(access_token), "webhook": url})

    def access_token_invalidate(self, access_token: str) -> Json:
        """{new_access_token}. The old token dies with the call: after an unknown outcome it must not be repeated."""
        return self._json("/item/access_token/invalidate", {"access_token": self._own(access_token)})

    def accounts_get(self, access_token: str) -> list[Json]:
        """accounts[], numbers as exact text. Only accounts that are open and shared now."""
        self._take("accounts", settings.PLAID_ACCOUNTS_PER_ITEM_MINUTE)
        accounts = self._exact("/accounts/get", {"access_token": self._own(access_token)}).get("accounts")
        if not isinstance(accounts, list):
            raise records.malformed("accounts/get without accounts")
        return accounts

    def institution_get(self, institution_id: str) -> Json:
        """{institution}. Source: Plaid API, /institutions/get_by_id."""
        self._take("institutions", 0, client_per_minute=INSTITUTIONS_PER_CLIENT_MINUTE)
        body = {
            "institution_id": institution_id,
            "country_codes": settings.PLAID_COUNTRY_CODES,
            "options": {"include_optional_metadata": True},
        }
        return self._json("/institutions/get_by_id", body)

    def webhook_verification_key(self, key_id: str) -> Json:
        """{key}: the JWK that signed a webhook."""
        return self._json("/webhook_verification_key/get", {"key_id": key_id})

    # --- Transactions ---
    def transactions_sync(self, access_token: str, cursor: str) -> SyncPage:
        """The page after `cursor` ("" = the beginning). Raises MutationDuringPagination, CursorDisowned, NeedsReauth, …"""
        self._take("sync", settings.PLAID_SYNC_PER_ITEM_MINUTE, client_per_minute=settings.PLAID_SYNC_PER_CLIENT_MINUTE)
        body = {"access_token": self._own(access_token), "cursor": cursor, "count": PAGE_SIZE}
        return self._call("/transactions/sync", body, records.sync_page, timeout_s=settings.PLAID_TIMEOUT_S)

    def recurring_get(self, access_token: str) -> Json:
        """{inflow_streams[], outflow_streams[]}, numbers as Decimal: all streams as they are now, of a paid add-on.

        Source: Plaid API, /transactions/recurring/get. Raises PermanentError(feature_not_enabled) where it is not paid
        for or the bank has none, NeedsReauth(bank_consent_required), TemporaryError while it is not ready, …
        """
        self._take("recurring", RECURRING_PER_ITEM_MINUTE, client_per_minute=RECURRING_PER_CLIENT_MINUTE)
        answer = self._call("/transactions/recurring/get", {"access_token": self._own(access_token)}, _decimals)
        if not all(isinstance(answer.get(name), list) for name in records.STREAMS):
            raise records.malformed("recurring/get without its streams", request_id=answer.get("request_id"))
        return answer

    # --- transport ---
    def _take(self, name: str, per_minute: int, *, client_per_minute: int = 0) -> None:
        """Keep to Plaid's published rates, shared by all processes, instead of running into its 429s.

        After one, all of an installation together goes at half its rates for a minute; the Item in question rests.
        """
        if client_per_minute and budgets.is_strained(PROVIDER, settings.PLAID_CLIENT_ID):
            client_per_minute = max(1, client_per_minute // 2)
        for key, rate in (
            ((name, "item", self._item_key), per_minute),
            ((name, "client", settings.PLAID_CLIENT_ID), client_per_minute),
        ):
            if rate and (wait := budgets.take("plaid", *key, per_minute=rate)):
                raise RateLimited(
                    provider=PROVIDER,
                    retry_after_s=wait,
                    operator_detail=f"our own budget for {name} is used up for {wait:.1f} s",
                )

    def _own(self, access_token: str) -> str:
        """The token, if it is of this client's environment: Plaid would call it invalid, as if the Item were gone."""
        named = access_token.split("-")[1] if access_token.count("-") >= 2 else ""
        if named in ("sandbox", "production") and named != self._environment:
            raise Misconfigured(
                provider=PROVIDER,
                operator_detail=f"an access token of {named} would have been sent to {self._environment}",
            )
        return access_token

    def _json(self, path: str, body: Json) -> Json:
        return self._call(path, body, orjson.loads)

    def _exact(self, path: str, body: Json) -> Json:
        return self._call(path, body, lambda raw: json.loads(raw, parse_float=str, parse_int=str))

    def _call(self, path: str, body: Json, parse: Callable[[bytes], Any], *, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        started = time.monotonic()
        error: CausewayError | None = None
        status, raw, answer = 0, b"", None
        try:
            status, raw = self._send(path, body, min(timeout_s, self._timeout_s))
            answer = parse(raw)
        except plaid.ApiException as refused:
            status, raw = refused.status or 0, refused.body or b""
            error = classify(status, refused.body) if status else self._unreachable("TLS failed")
        except urllib3.exceptions.HTTPError as lost:
            error = self._unreachable(type(lost).__name__, timed_out=isinstance(lost, urllib3.exceptions.TimeoutError))
        except (ValueError, RecursionError):
            error = records.malformed(f"{path} answered {status} with something that is not JSON")
        except CausewayError as malformed:
            error = malformed
        if isinstance(error, RateLimited):
            budgets.strain(PROVIDER, settings.PLAID_CLIENT_ID, for_s=STRAIN_S)
        log_call(
            provider=PROVIDER,
            method="POST",
            url=self._host + path,
            status=status,
            duration_ms=round((time.monotonic() - started) * 1000),
            request_bytes=len(json.dumps(body)),  # as the SDK writes it
            response_bytes=len(raw),
            request_id=error.request_id if error else _request_id(answer),
            error=error,
        )
        if error:
            raise error
        if isinstance(answer, dict | SyncPage):
            return answer
        raise records.malformed(f"{path} answered {status} with something that is not an object")

    def _send(self, path: str, body: Json, timeout_s: float) -> tuple[int, bytes]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "X-Correlation-ID": correlation.current(),
        }
        try:
            response = _api(os.getpid(), self._host, settings.PLAID_CLIENT_ID, settings.PLAID_SECRET).call_api(
                path,
                "POST",
                header_params={name: value for name, value in headers.items() if value},
                body=body,
                auth_settings=_AUTH,
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s),
            )
        except AttributeError as error:  # what the SDK makes of its own TLS error, whose body is None
            raise urllib3.exceptions.SSLError("TLS failed") from error
        return (response.status, self._read(path, response))

    @staticmethod
    def _read(path: str, response: urllib3.BaseHTTPResponse) -> bytes:
        """All of the answer, so that the socket goes back to the pool; too much of it closes the socket instead."""
        parts, size = [], 0
        is_packed = bool(response.headers.get("Content-Encoding"))  # else spare the copy through the decoder's buffer
        while part := response.read(READ_BYTES, decode_content=is_packed):
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                response.close()
                raise records.malformed(f"{path} answered more than {MAX_ANSWER_BYTES >> 20} MiB")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @staticmethod
    def _unreachable(what: str, *, timed_out: bool = False) -> TemporaryError:
        code = "provider_timeout" if timed_out else "provider_unavailable"
        return TemporaryError(code=code, provider=PROVIDER, operator_detail=f"Plaid could not be reached: {what}")
