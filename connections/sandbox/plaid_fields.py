"""What each endpoint accepts: strict bodies, as the real ones are."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from .plaid_errors import PlaidError

Shape = dict[str, Any]  # field -> type, tuple of types, nested Shape, or [type of elements]; "!" in front: required

ANY = object
NULLABLE_STR = (str, type(None))
NULLABLE_LIST = (list, type(None))
NUMBER = (int, Decimal)
PFC_VERSION = {"personal_finance_category_version": str}

SHAPES: dict[str, Shape] = {
    "/link/token/create": {
        "!client_name": str,
        "!language": str,
        "!country_codes": [str],
        "user": {"!client_user_id": str, "*": ANY},
        "user_id": str,
        "products": NULLABLE_LIST,
        "required_if_supported_products": NULLABLE_LIST,
        "optional_products": NULLABLE_LIST,
        "additional_consented_products": NULLABLE_LIST,
        "webhook": str,
        "access_token": NULLABLE_STR,
        "link_customization_name": str,
        "redirect_uri": NULLABLE_STR,
        "android_package_name": str,
        "institution_data": {"routing_number": str, "institution_id": str},
        "institution_id": str,
        "account_filters": dict,
        "update": {
            "account_selection_enabled": bool,
            "reauthorization_enabled": bool,
            "user": bool,
            "item_ids": NULLABLE_LIST,
        },
        "hosted_link": {
            "delivery_method": str,
            "completion_redirect_uri": str,
            "url_lifetime_seconds": int,
            "is_mobile_app": bool,
        },
        "transactions": {"days_requested": int},
        "appearance_mode": str,
        "eu_config": dict,
        "auth": dict,
        "identity": dict,
        "investments": dict,
        "statements": dict,
        "enable_multi_item_link": bool,
        "user_token": str,
    },
    "/link/token/get": {"!link_token": str},
    "/item/public_token/exchange": {"!public_token": str},
    "/item/get": {"!access_token": str},
    "/item/remove": {"!access_token": str, "reason_code": str, "reason_note": NULLABLE_STR},
    "/item/access_token/invalidate": {"!access_token": str},
    "/item/webhook/update": {"!access_token": str, "webhook": NULLABLE_STR},
    "/accounts/get": {"!access_token": str, "options": {"account_ids": [str]}},
    "/institutions/get_by_id": {
        "!institution_id": str,
        "!country_codes": [str],
        "options": {
            "include_optional_metadata": bool,
            "include_status": bool,
            "include_auth_metadata": bool,
            "include_payment_initiation_metadata": bool,
        },
    },
    "/transactions/sync": {
        "!access_token": str,
        "cursor": str,
        "count": int,
        "options": {
            "include_original_description": (bool, type(None)),
            "include_personal_finance_category": bool,
            "include_logo_and_counterparty_beta": bool,
            **PFC_VERSION,
            "days_requested": int,
            "account_id": str,
        },
    },
    "/transactions/refresh": {"!access_token": str},
    "/transactions/recurring/get": {
        "!access_token": str,
        "account_ids": [str],
        "options": {"include_personal_finance_category": bool, **PFC_VERSION},
    },
    "/webhook_verification_key/get": {"!key_id": str},
    "/sandbox/public_token/create": {
        "!institution_id": str,
        "!initial_products": [str],
        "options": {
            "webhook": str,
            "override_username": NULLABLE_STR,
            "override_password": NULLABLE_STR,
            "transactions": {"start_date": str, "end_date": str, "days_requested": int},
            "statements": dict,
            "income_verification": dict,
        },
        "user_token": str,
        "user_id": str,
    },
    "/sandbox/item/fire_webhook": {
        "!access_token": str,
        "!webhook_code": str,
        "webhook_type": str,
        "options": {"new_transactions": int},
    },
    "/sandbox/item/reset_login": {"!access_token": str},
    "/sandbox/transactions/create": {"!access_token": str, "!transactions": list},
}

SANDBOX_TRANSACTION: Shape = {
    "!date_transacted": str,
    "!date_posted": str,
    "!amount": NUMBER,
    "!description": str,
    "iso_currency_code": str,
    "account_id": str,
}


def check(given: dict[str, Any], shape: Shape) -> None:
    """Raises PlaidError UNKNOWN_FIELDS, MISSING_FIELDS or INVALID_FIELD."""
    unknown: list[str] = []
    missing: list[str] = []
    wrong: list[str] = []
    _walk(given, shape, "", unknown, missing, wrong)
    for code, names, words in (
        ("MISSING_FIELDS", missing, "the following required fields are missing"),
        ("UNKNOWN_FIELDS", unknown, "the following fields are not recognized by this endpoint"),
        ("INVALID_FIELD", wrong, "the following fields have an invalid type"),
    ):
        if names:
            raise PlaidError(code, f"{words}: {', '.join(names)}")


def _walk(given: dict, shape: Shape, prefix: str, unknown: list[str], missing: list[str], wrong: list[str]) -> None:
    kinds = {name.lstrip("!"): kind for name, kind in shape.items()}
    missing += [prefix + name[1:] for name in shape if name[0] == "!" and name[1:] not in given]
    for name, value in given.items():
        kind = kinds.get(name, kinds.get("*"))
        where = prefix + name
        if kind is None:
            unknown.append(where)
        elif isinstance(kind, dict):
            if isinstance(value, dict):
                _walk(value, kind, where + ".", unknown, missing, wrong)
            elif value is not None:
                wrong.append(where)
        elif isinstance(kind, list):
            if not isinstance(value, list) or not all(isinstance(one, kind[0]) for one in value):
                wrong.append(where)
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            wrong.append(where)
