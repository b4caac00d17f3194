"""WooCommerce's errors, translated by one table that is closed: what it does not name is `ProviderError`.

Decided by the body's `code`, which is what the shop means; the status counts only where something else than WooCommerce
answered. Source: WooCommerce REST API v3 documentation and the plugin's REST controllers.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.logs import scrub
from connections import errors
from connections.errors import CausewayError, ProviderError, RejectedRecord
from connections.http import Answer
from connections.providers.woocommerce import answers

PROVIDER = "woocommerce"


class Gone(RejectedRecord):
    """The shop does not have this record any more, or has it in the bin."""


class Exists(RejectedRecord):
    """The shop has a record with this natural key already. external_id: which, where it tells; else ""."""

    external_id = ""


class Overloaded(errors.TemporaryError):
    """The shop broke down over this request: less of it at once may get through."""


@dataclass(frozen=True, slots=True)
class _Policy:
    kind: type[CausewayError]
    code: str = ""


_KEYS = _Policy(errors.NeedsReauth, "shop_keys_refused")
_REJECTED = _Policy(RejectedRecord)
_GONE = _Policy(Gone)
_EXISTS = _Policy(Exists)
_NO_API = _Policy(errors.PermanentError, "shop_api_missing")
_OUR_BUG = _Policy(errors.PermanentError, "internal_error")

TABLE: dict[str, _Policy] = {
    # the keys, or the role of their user
    **dict.fromkeys(
        (
            "woocommerce_rest_authentication_error",
            "woocommerce_rest_authentication_missing_parameter",
            "rest_forbidden",
            "rest_cannot_access",
            *(f"woocommerce_rest_cannot_{verb}" for verb in ("view", "edit", "create", "delete", "batch")),
        ),
        _KEYS,
    ),
    # what was sent
    **dict.fromkeys(
        (
            "rest_invalid_param",
            "rest_missing_callback_param",
            "woocommerce_rest_invalid_customer_id",
            "woocommerce_rest_invalid_product_id",
            "woocommerce_rest_invalid_coupon",
            "woocommerce_rest_invalid_id",
            "woocommerce_rest_cannot_create_order_refund",
            "woocommerce_rest_invalid_order_refund",
            "woocommerce_rest_shop_webhook_invalid_topic",
            "woocommerce_rest_trash_not_supported",
        ),
        _REJECTED,
    ),
    "rest_invalid_json": _OUR_BUG,
    "woocommerce_rest_request_entity_too_large": _OUR_BUG,
    # what is there already, and what is not there any more
    **dict.fromkeys(
        (
            "product_invalid_sku",
            "woocommerce_rest_product_sku_already_exists",
            "registration-error-email-exists",
            "woocommerce_rest_customer_exists",
        ),
        _EXISTS,
    ),
    **dict.fromkeys(
        (
            "woocommerce_rest_shop_order_invalid_id",
            "woocommerce_rest_shop_order_refund_invalid_id",
            "woocommerce_rest_product_invalid_id",
            "woocommerce_rest_product_variation_invalid_id",
            "woocommerce_rest_shop_coupon_invalid_id",
            "woocommerce_rest_shop_webhook_invalid_id",
            "woocommerce_rest_tax_invalid_id",
            "wc_user_invalid_id",
            "woocommerce_rest_already_trashed",
        ),
        _GONE,
    ),
    "rest_no_route": _NO_API,
    # the shop itself
    "internal_server_error": _Policy(Overloaded),
    "wp_die": _Policy(Overloaded),
}


def classify(answer: Answer) -> CausewayError | None:
    """The error that an answer means; None where it is a good one. Never raises, whatever the body is."""
    told = answers.body_of(answer)
    if answer.is_success and told is not None and not _is_error(told):
        return None
    if isinstance(told, dict) and isinstance(told.get("code"), str):
        return classify_body(told, status=answer.status, retry_after_s=retry_after_s(answer))
    return _without_code(answer)


def classify_body(told: Mapping[str, Any], *, status: int = 0, retry_after_s: float | None = None) -> CausewayError:
    """The same from an error object, as answers and the items of a batch have it."""
    code, message = str(told.get("code") or ""), str(told.get("message") or "")
    data = told.get("data")
    data = data if isinstance(data, dict) else {"status": data}  # an error of refunds has its status alone there
    status = status or _status(data.get("status"))
    facts: dict[str, Any] = {  # an answer may quote what it was asked with
        "provider": PROVIDER,
        "provider_code": scrub(code)[:100],
        "provider_type": f"HTTP {status}" if status else "",
        "operator_detail": scrub(f"{code}: {message}")[:500],
    }
    policy = TABLE.get(code)
    if policy is None and status == 429:
        return errors.RateLimited(retry_after_s=retry_after_s, **facts)
    if policy is None and status >= 500:
        return errors.TemporaryError(retry_after_s=retry_after_s, **facts)
    if policy is None:
        return ProviderError(**facts)
    error = policy.kind(_for_people(policy, message), code=policy.code, fields=_fields(data), **facts)
    if isinstance(error, Exists):
        error.external_id = str(data.get("resource_id") or "")
    return error


def retry_after_s(answer: Answer) -> float | None:
    """What Retry-After asks for, where it is a number of seconds."""
    given = answer.headers.get("retry-after", "").strip()
    return float(given) if re.fullmatch(r"\d{1,6}", given) else None


def is_refused(error: CausewayError) -> bool:
    """Whether the keys, or what they may do, are the matter."""
    return error.code == "shop_keys_refused"


def _is_error(told: Any) -> bool:
    """A body of success that is an error object all the same: some plugins answer so."""
    return isinstance(told, dict) and isinstance(told.get("code"), str) and "message" in told and "id" not in told


def _without_code(answer: Answer) -> CausewayError:
    """Not WooCommerce's own words: a firewall, a login wall, a cache, a web server, a PHP that died."""
    kind = answer.headers.get("content-type", "no type").partition(";")[0][:60]
    facts: dict[str, Any] = {
        "provider": PROVIDER,
        "provider_code": f"HTTP_{answer.status}",
        "retry_after_s": retry_after_s(answer),
        "operator_detail": f"HTTP {answer.status} with {len(answer.body)} bytes of {kind}, not WooCommerce's",
    }
    if answer.status == 429:
        return errors.RateLimited(**facts)
    if 300 <= answer.status < 400:
        return errors.PermanentError(code="shop_moved", **facts)
    if answer.status in (500, 502, 504, 520, 522, 524):
        return Overloaded(**facts)
    if answer.status >= 500:
        return errors.TemporaryError(**facts)
    if answer.status == 404:
        return errors.PermanentError(code="shop_api_missing", **facts)
    if answer.is_success and not answers.is_page(answer):
        return Overloaded(code="provider_malformed", **facts)  # cut off, or garbled
    return errors.TemporaryError(code="shop_blocked", **facts)


def _for_people(policy: _Policy, message: str) -> str:
    """A rejected record is told in the shop's own words; whatever else in ours."""
    if not issubclass(policy.kind, RejectedRecord) or not message:
        return ""
    return f"The shop answered: {scrub(message)[:300]}"


def _fields(data: Mapping[str, Any]) -> dict[str, list[str]] | None:
    params = data.get("params")
    if not isinstance(params, dict):
        return None
    return {str(name): [scrub(str(text))[:300]] for name, text in params.items()}


def _status(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0
