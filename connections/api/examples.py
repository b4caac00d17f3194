"""One example an operation, for the API's documentation."""

from typing import Any

from drf_spectacular.utils import OpenApiExample

_CONNECTION_ID = "019a2f6e-7c1d-7b52-9a4e-3f1c5d7e9b20"
_TIME = "2026-05-12T14:03:09Z"


def asked(value: dict[str, Any], name: str = "Request") -> OpenApiExample:
    return OpenApiExample(name, value, request_only=True)


def answered(value: Any, name: str = "Answer", status: str = "200") -> OpenApiExample:
    return OpenApiExample(name, value, response_only=True, status_codes=[status])


def listed(value: dict[str, Any]) -> OpenApiExample:
    """Of a list: spectacular wraps one row into the page."""
    return OpenApiExample("Answer", value, response_only=True, status_codes=["200"])


SECURITY_EVENTS = [
    listed(
        {
            "id": "019a2f74-5e6f-7081-92a3-b4c5d6e7f809",
            "action": "connection_linked",
            "actor": {"id": "019a2f6d-0b1c-7d2e-8f30-415263748596", "username": "alice"},
            "object_type": "connection",
            "object_id": _CONNECTION_ID,
            "ip": "203.0.113.7",
            "user_agent": "Mozilla/5.0",
            "correlation_id": "4b1f0c6e5d1f4f0e9a57c8f3d2b1a096",
            "details": {"environment": "sandbox"},
            "at": _TIME,
        }
    )
]
_INSTITUTION = {"id": "ins_109508", "name": "First Platypus Bank", "color": "#1f1f1f"}
_CONNECTION = {
    "id": _CONNECTION_ID,
    "provider": "plaid",
    "name": "First Platypus Bank",
    "institution": _INSTITUTION,
    "environment": "sandbox",
    "status": "active",
    "status_reason": "",
    "sync_needed": False,
    "last_sync_at": _TIME,
    "last_verified_at": None,
    "next_attempt_at": None,
    "reauth_due_at": None,
    "account_selection_available": False,
    "error": None,
    "config": {},
    "config_version": 1,
    "owner": "019a2f6e-1b2c-7d3e-8f40-5a6b7c8d9e0f",
    "created_at": _TIME,
}
_DETAIL = _CONNECTION | {
    "institution": _INSTITUTION | {"logo": "iVBORw0KGgo="},
    "credentials": {},
    "verification": None,
    "oauth": None,
}
_KEY = {"fingerprint": "5f2a9c01d4e7", "last_four": "9c1e", "updated_at": _TIME}
_SHOP = _DETAIL | {
    "provider": "woocommerce",
    "name": "Corner shop",
    "institution": None,
    "environment": "production",
    "status": "draft",
    "last_sync_at": None,
    "config": {"store_url": "https://shop.example.com"},
    "credentials": {"consumer_key": _KEY, "consumer_secret": _KEY | {"fingerprint": "0b77e3a1c2d4"}},
}
_SHOP_GIVEN = {
    "provider": "woocommerce",
    "name": "Corner shop",
    "environment": "production",
    "config": {"store_url": "https://shop.example.com"},
    "credentials": {"consumer_key": "ck_…", "consumer_secret": "cs_…"},
}
_STORE = {"kind": "rest", "project_url": "https://abcd.supabase.co", "schema": "public"}
DRAFT = [
    asked(_SHOP_GIVEN, "A shop"),
    asked({"provider": "quickbooks", "name": "Books"}, "Books, whose company is chosen at Intuit next"),
    asked({"provider": "supabase", "config": _STORE, "credentials": {"secret_key": "sb_secret_…"}}, "A data store"),
    answered(_SHOP, status="201"),
]
CHANGE = [
    asked({"name": "Corner shop"}, "Rename"),
    asked({"credentials": {"consumer_key": "ck_…", "consumer_secret": "cs_…"}}, "Replace the keys"),
    answered(_SHOP | {"config_version": 2}),
]

TOKEN = [
    asked({"username": "alice", "password": "correct horse battery staple"}),
    answered({"token": "cwt_3q2-7wEXAMPLE", "expires_at": "2026-06-11T14:03:09Z"}),
]
ME = [
    answered(
        {
            "user": {"id": _CONNECTION["owner"], "username": "alice", "email": "", "is_staff": False},
            "memberships": [
                {
                    "workspace": {
                        "id": "019a2f6e-0a1b-7c2d-8e3f-4a5b6c7d8e9f",
                        "slug": "acme",
                        "name": "Acme",
                        "sandbox_mode": False,
                    },
                    "role": "owner",
                }
            ],
            "token": {"name": "api", "scope": "full", "expires_at": "2026-06-11T14:03:09Z"},
        }
    )
]
AUTHORIZE = [
    answered(
        {
            "authorize_url": "https://appcenter.intuit.com/connect/oauth2?client_id=AB…&response_type=code&scope=com.intuit.quickbooks.accounting&redirect_uri=https%3A%2F%2Fhub.example.com%2Fapi%2Fv1%2Foauth%2Fquickbooks%2Fcallback&state=…",
            "expires_at": "2026-05-12T14:13:00Z",
            "redirect_uri": "https://hub.example.com/api/v1/oauth/quickbooks/callback",
        }
    )
]
_AUTHORIZED = {"connection_id": _CONNECTION_ID, "provider": "quickbooks", "status": "draft"}
AUTHORIZED_BACK = [answered(_AUTHORIZED), answered(_AUTHORIZED | {"provider": "woocommerce"}, status="202")]
KEYS = [
    asked(
        {
            "key_id": 1,
            "user_id": "the state",
            "consumer_key": "ck_…",
            "consumer_secret": "cs_…",
            "key_permissions": "read_write",
        }
    ),
    answered(_AUTHORIZED | {"provider": "woocommerce"}),
]
CONNECTIONS = [listed(_CONNECTION)]
CONNECTION = [answered(_DETAIL)]
_VERIFICATION = {
    "id": "019a2f70-11aa-7bb2-8cc3-4dd5ee6ff701",
    "status": "failed",
    "config_version": 2,
    "checks": [
        {"name": "settings", "status": "passed", "duration_ms": 1, "cause": "", "remediation": ""},
        {"name": "reachable", "status": "passed", "duration_ms": 212, "cause": "", "remediation": ""},
        {
            "name": "authentication",
            "status": "failed",
            "duration_ms": 187,
            "cause": "The shop knows the consumer key, but not this secret.",
            "remediation": "Copy the consumer secret again, or make a new key.",
        },
    ],
    "created_at": _TIME,
    "finished_at": _TIME,
}
VERIFICATION = [
    answered(_VERIFICATION),
    answered(_VERIFICATION | {"status": "running", "checks": [], "finished_at": None}, status="202"),
]
_ACCOUNT = {
    "id": "019a2f6e-8d2e-7c63-8b5f-4e2d6c8f0a31",
    "external_id": "BxBXxLj1m4HMXBm9WZZmCWVbPjX16EHwv99vp",
    "name": "Plaid Checking",
    "official_name": "Plaid Gold Standard 0% Interest Checking",
    "mask": "0000",
    "type": "depository",
    "subtype": "checking",
    "currency": "USD",
    "balance_current": "110.00",
    "balance_available": "100.00",
    "balance_limit": None,
    "balances_at": _TIME,
    "status": "active",
}
ACCOUNTS = [listed(_ACCOUNT)]
_CONFIRMED = {"confirmed": True}
DISCONNECT = [
    asked(_CONFIRMED),
    answered(
        _DETAIL | {"status": "disconnecting", "status_reason": "Disconnected by alice on 12 May 2026, 14:03 UTC"},
        status="202",
    ),
]
REMOVE_ACCOUNT = [asked(_CONFIRMED), answered(_ACCOUNT | {"status": "archived"}, status="202")]
LINK_TOKEN = [
    asked({}, "A new bank"),
    asked({"hosted_link": True, "redirect_uri": "https://app.example.com/done"}, "A new bank, on a page of Plaid's"),
    asked({"connection_id": _CONNECTION_ID}, "Repair a connection"),
    answered(
        {
            "link_token": "link-sandbox-af1a0311-da53-4636-b754-dd15cc058176",
            "expiration": "2026-05-12T18:03:09Z",
            "link_id": "019a2f6e-9e3f-7d74-9c60-5f3e7d901b42",
        }
    ),
]
EXCHANGE = [
    asked(
        {
            "public_token": "public-sandbox-b0e2c4ee-a763-4df5-bfe9-46a46bce993d",
            "metadata": {
                "institution": {"institution_id": "ins_109508", "name": "First Platypus Bank"},
                "accounts": [{"name": "Plaid Checking", "mask": "0000"}],
            },
        }
    ),
    answered(_DETAIL | {"sync_needed": True, "last_sync_at": None}, status="201"),
]
