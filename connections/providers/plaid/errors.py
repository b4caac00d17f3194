"""Plaid's errors, translated by one table that is closed: what it does not name is `ProviderError`, never "probably fine".

Decided by `error_type` and `error_code`, never by HTTP status or text. Source: Plaid docs, "Errors".
"""

from dataclasses import dataclass
from typing import Any

import orjson

from config.logs import scrub
from connections import errors
from connections.errors import CausewayError, ProviderError

PROVIDER = "plaid"


@dataclass(frozen=True, slots=True)
class _Policy:
    kind: type[CausewayError]
    code: str = ""
    retry_after_s: float | None = None


_REAUTH = _Policy(errors.NeedsReauth)
_BANK_ACTION = _Policy(errors.NeedsReauth, "bank_action_required")
_NO_ACCOUNTS = _Policy(errors.NeedsReauth, "bank_no_accounts")
_CONSENT = _Policy(errors.NeedsReauth, "bank_consent_required")
_REVOKED = _Policy(errors.AccessWithdrawn)
_NOT_SUPPORTED = _Policy(errors.PermanentError, "bank_not_supported")
_NOT_ENABLED = _Policy(errors.PermanentError, "feature_not_enabled")
_BANK_DOWN = _Policy(errors.TemporaryError, "bank_unavailable", 15 * 60)
_DOWN = _Policy(errors.TemporaryError)
_RATE_LIMITED = _Policy(errors.RateLimited, retry_after_s=60)
_KEYS_REFUSED = _Policy(errors.KeysRefused)
_NOT_REGISTERED = _Policy(errors.Misconfigured, "bank_not_registered")
_OUR_BUG = _Policy(errors.PermanentError, "internal_error")
_LINK_AGAIN = _Policy(errors.RequestError, "invalid_public_token")

TABLE: dict[tuple[str, str], _Policy] = {
    **{
        ("ITEM_ERROR", code): _REAUTH
        for code in (
            "ITEM_LOGIN_REQUIRED",
            "INVALID_CREDENTIALS",
            "INVALID_MFA",
            "INSUFFICIENT_CREDENTIALS",
            "INVALID_UPDATED_USERNAME",
        )
    },
    **{
        ("ITEM_ERROR", code): _BANK_ACTION for code in ("ITEM_LOCKED", "USER_SETUP_REQUIRED", "PASSWORD_RESET_REQUIRED")
    },
    **{("ITEM_ERROR", code): _NO_ACCOUNTS for code in ("ACCESS_NOT_GRANTED", "NO_ACCOUNTS")},
    ("ITEM_ERROR", "ITEM_NOT_FOUND"): _REVOKED,
    ("ITEM_ERROR", "ITEM_CONCURRENTLY_DELETED"): _Policy(errors.RemovedMeanwhile),
    ("INVALID_INPUT", "USER_PERMISSION_REVOKED"): _REVOKED,
    **{("ITEM_ERROR", code): _NOT_SUPPORTED for code in ("ITEM_NOT_SUPPORTED", "MFA_NOT_SUPPORTED")},
    **{
        ("INSTITUTION_ERROR", code): _NOT_SUPPORTED
        for code in ("INSTITUTION_NO_LONGER_SUPPORTED", "UNSUPPORTED_RESPONSE")
    },
    ("ITEM_ERROR", "PRODUCT_NOT_READY"): _Policy(errors.TemporaryError, retry_after_s=120),
    **{("ITEM_ERROR", code): _NOT_ENABLED for code in ("PRODUCTS_NOT_SUPPORTED", "PRODUCT_NOT_ENABLED")},
    **{("INVALID_INPUT", code): _NOT_ENABLED for code in ("INVALID_PRODUCT", "UNAUTHORIZED_ROUTE_ACCESS")},
    ("INVALID_INPUT", "ADDITIONAL_CONSENT_REQUIRED"): _CONSENT,
    ("TRANSACTIONS_ERROR", "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION"): _Policy(errors.MutationDuringPagination),
    **{
        ("INSTITUTION_ERROR", code): _BANK_DOWN
        for code in ("INSTITUTION_DOWN", "INSTITUTION_NOT_RESPONDING", "INSTITUTION_NOT_AVAILABLE")
    },
    **{
        ("INSTITUTION_ERROR", code): _NOT_REGISTERED
        for code in (
            "UNAUTHORIZED_INSTITUTION",
            "INSTITUTION_REGISTRATION_REQUIRED",
            "INSTITUTION_NOT_ENABLED_IN_ENVIRONMENT",
        )
    },
    ("RATE_LIMIT_EXCEEDED", "CREDITS_EXHAUSTED"): _Policy(errors.Misconfigured, "provider_credits_exhausted"),
    ("API_ERROR", "INTERNAL_SERVER_ERROR"): _DOWN,
    ("API_ERROR", "PLANNED_MAINTENANCE"): _Policy(errors.Maintenance),
    ("INVALID_INPUT", "INVALID_API_KEYS"): _KEYS_REFUSED,
    ("INVALID_INPUT", "UNAUTHORIZED_ENVIRONMENT"): _KEYS_REFUSED,
    # The client has compared the token's environment before the call: the Item is gone, or the token was rotated away.
    ("INVALID_INPUT", "INVALID_ACCESS_TOKEN"): _Policy(errors.PermanentError, "bank_token_refused"),
    ("INVALID_INPUT", "INVALID_PUBLIC_TOKEN"): _LINK_AGAIN,
    ("INVALID_INPUT", "INVALID_LINK_TOKEN"): _LINK_AGAIN,
    ("INVALID_INPUT", "INVALID_ACCOUNT_ID"): _Policy(errors.AccountsChanged),
    **{
        ("INVALID_REQUEST", code): _OUR_BUG
        for code in (
            "MISSING_FIELDS",
            "UNKNOWN_FIELDS",
            "INVALID_BODY",
            "INVALID_HEADERS",
            "INVALID_CONFIGURATION",
            "NOT_FOUND",
            "SANDBOX_ONLY",
        )
    },
    **{
        ("SANDBOX_ERROR", code): _OUR_BUG
        for code in (
            "SANDBOX_PRODUCT_NOT_ENABLED",
            "SANDBOX_WEBHOOK_INVALID",
            "SANDBOX_TRANSACTIONS_CREATE_INVALID",
            "SANDBOX_ACCOUNT_SELECT_V2_NOT_ENABLED",
            "SANDBOX_BANK_TRANSFER_EVENT_TRANSITION_INVALID",
            "SANDBOX_TRANSFER_EVENT_TRANSITION_INVALID",
        )
    },
}


def classify(status: int, body: bytes | str | None) -> CausewayError:
    """The error that Plaid's non-2xx answer means. Never raises, whatever the body is."""
    try:
        answer = orjson.loads(body or b"")
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("error_code"), str):
        code = "provider_unavailable" if status >= 500 else "provider_malformed"
        told: dict[str, Any] = {"provider": PROVIDER, "operator_detail": f"HTTP {status} without a Plaid error"}
        if status == 429:
            return errors.RateLimited(provider_code="HTTP_429", **told)  # by somebody in between
        return errors.TemporaryError(code=code, **told)
    return classify_error(answer)


def classify_error(answer: dict[str, Any]) -> CausewayError:
    """The same from a PlaidError object, as answers, Items and webhooks carry it."""
    error_type, error_code = (str(answer.get("error_type") or ""), str(answer.get("error_code") or ""))
    message, request_id = (str(answer.get("error_message") or ""), scrub(str(answer.get("request_id") or "")))
    asked_for = f" (request_id {request_id[:64]})" if request_id else ""  # what Plaid's support asks for
    facts: dict[str, Any] = {  # an answer may quote what it was asked with
        "provider": PROVIDER,
        "provider_code": scrub(error_code),
        "provider_type": scrub(error_type),
        "request_id": request_id,
        "operator_detail": scrub(f"{error_type}/{error_code}: {message}")[:500] + asked_for,
    }
    if (error_type, error_code) == ("INVALID_REQUEST", "INVALID_FIELD"):
        return (
            errors.CursorDisowned(**facts)
            if "cursor" in message.lower()
            else errors.PermanentError(code="internal_error", **facts)
        )
    policy = TABLE.get((error_type, error_code))
    if policy is None and (error_type == "RATE_LIMIT_EXCEEDED" or error_code.endswith("RATE_LIMIT")):
        policy = _RATE_LIMITED
    if policy is None and error_type == "API_ERROR":
        policy = _DOWN
    if policy is None:
        return ProviderError(**facts)
    return policy.kind(code=policy.code, retry_after_s=policy.retry_after_s, **facts)
