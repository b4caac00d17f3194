"""Whether a company can be worked with. A module with the capability `Verifies`.

Cheap, since reads are metered: five calls. The one write is refused by QuickBooks for want of a name, which it says only
to somebody who may write.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from django.conf import settings
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from connections.errors import CausewayError, NeedsReauth, NotSent, PermanentError, RateLimited, RejectedRecord
from connections.errors import TemporaryError as Temporary
from connections.http import Answer
from connections.providers.base import Access, Check, Json
from connections.providers.quickbooks import preferences as prefs
from connections.providers.quickbooks import reference_data
from connections.providers.quickbooks.client import QuickBooksClient, base_url
from connections.providers.quickbooks.company import PREFERENCES, client_of

SKEW_S = 300
CONNECT = "Connect it to a company: POST connections/{id}/oauth/authorize, or Sign in at the provider in the console."


def verify(access: Access) -> Iterator[Check]:
    """The company's name, country and preferences are remembered."""
    client = client_of(access)
    if not client.realm:
        yield _failed("authentication", "No company has been chosen at QuickBooks yet.", CONNECT)
        return
    try:
        access.fresh_token("")
    except CausewayError as error:
        yield _failed("authentication", error.detail, error.remediation)
        return
    try:
        info, answer = client.company_info()
    except CausewayError as error:
        yield from _not_in(access, error)
        return
    yield from _in(access, info, answer)
    reference_data.forget(access)
    yield _may_read(client)
    yield _may_write(client)
    yield from _preferences(access, client)
    yield _webhooks()


# --- the way in ---
def _not_in(access: Access, error: CausewayError) -> Iterator[Check]:
    """How far it came, and where it ended."""
    if isinstance(error, NotSent) and error.code == "tls_failed":
        yield Check("reachable", "passed")
        yield _failed("tls", error.detail, error.remediation)
    elif isinstance(error, Temporary) and not isinstance(error, RateLimited):
        yield _failed("reachable", error.detail, error.remediation)
    else:
        yield from _arrived(access)
        if isinstance(error, NeedsReauth):
            yield _failed("authentication", error.detail, error.remediation)
        elif isinstance(error, PermanentError):
            yield _failed("company", error.detail, error.remediation)
        elif error.provider_code in ("3100", "HTTP_403"):
            yield _other_environment(access)
        else:
            yield _failed("company", error.detail, error.remediation)


def _other_environment(access: Access) -> Check:
    """An installation has one pair of keys, and a pair opens the companies of one environment."""
    if access.environment == "production":
        return _failed(
            "environment",
            "This connection is for real companies, and QuickBooks does not let this installation's app into one: "
            "development keys open sandbox companies only.",
            "Have an operator set the app's production keys, or make the connection one for sandbox; then sign in again.",
        )
    return _failed(
        "environment",
        "This connection is for sandbox companies, and QuickBooks does not let this installation's app into one: "
        "production keys open real companies only.",
        "Have an operator set the app's development keys, or make the connection one for production; then sign in again.",
    )


def _arrived(access: Access) -> Iterator[Check]:
    yield Check("reachable", "passed")
    is_plain = urlsplit(base_url(access.environment)).scheme != "https"
    yield Check("tls", "skipped", cause="The address is not https.") if is_plain else Check("tls", "passed")


def _in(access: Access, info: Json, answer: Answer) -> Iterator[Check]:
    yield from _arrived(access)
    yield Check("authentication", "passed")
    yield Check("environment", "passed")
    name, country = str(info.get("CompanyName") or "")[:200], str(info.get("Country") or "")[:60]
    access.remember({"company_name": name, "country": country})
    yield Check("company", "passed")
    yield _clock(answer)


def _clock(answer: Answer) -> Check:
    told = _told_at(answer)
    if told is None:
        return Check("clock_skew", "skipped", cause="QuickBooks did not tell its time.")
    skew_s = round((timezone.now() - told).total_seconds())
    if abs(skew_s) <= SKEW_S:
        return Check("clock_skew", "passed")
    return Check(
        "clock_skew",
        "warning",
        cause=f"This server's clock and QuickBooks' are {abs(skew_s)} seconds apart.",
        remediation="Have this server's clock set by a time service.",
    )


def _told_at(answer: Answer) -> datetime | None:
    told: Any = answer.json().get("time")
    found = parse_datetime(told) if isinstance(told, str) else None
    return found if found and found.tzinfo else None


# --- what may be done there ---
def _may_read(client: QuickBooksClient) -> Check:
    try:
        client.count("Customer")
    except CausewayError as error:
        return _failed("permission_read", error.detail, error.remediation)
    return Check("permission_read", "passed")


def _may_write(client: QuickBooksClient) -> Check:
    try:
        client.write_probe(request_id=uuid4().hex)
    except RejectedRecord as refused:
        if refused.code != "feature_not_enabled":
            return Check("permission_write", "passed")
        why = refused.detail
        return _failed("permission_write", why, "Have somebody connect it who may make customers in this company.")
    except CausewayError as error:
        return _failed("permission_write", error.detail, error.remediation)
    return Check("permission_write", "passed")


def _preferences(access: Access, client: QuickBooksClient) -> Iterator[Check]:
    try:
        found = prefs.read(client.preferences())
    except CausewayError as error:
        yield _failed("preferences", error.detail, error.remediation)
        return
    access.remember({PREFERENCES: found})
    yield Check("preferences", "passed")
    yield from prefs.warnings(found)


def _webhooks() -> Check:
    if not settings.QUICKBOOKS_WEBHOOK_VERIFIER:
        return Check(
            "webhook",
            "warning",
            cause="QUICKBOOKS_WEBHOOK_VERIFIER is not set, so no webhook is believed: changes are found by looking.",
            remediation="An operator has to set the verifier token of the app's webhooks at Intuit.",
        )
    return Check("webhook", "passed")


def _failed(name: str, cause: str, remediation: str) -> Check:
    return Check(name, "failed", cause=cause, remediation=remediation)
