"""Where providers deliver. Verify, keep, answer; the work itself comes afterwards."""

import hashlib
from collections.abc import Mapping
from uuid import UUID

import orjson
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import MethodNotAllowed

from config import correlation
from config.problems import problem_response
from connections.audit import NotAudited, audit
from connections.errors import CausewayError, RequestError, TemporaryError
from connections.models.connection import Provider
from connections.providers.plaid import webhooks as plaid_webhooks
from connections.providers.quickbooks import webhooks as quickbooks_webhooks
from connections.providers.woocommerce import webhooks as shop_webhooks
from connections.waking import wake
from webhooks import hints, inbox, shop_inbox
from webhooks.services import refusals

RETRY_AFTER_S = 30


class _Kept(HttpResponse):
    """200 for a webhook that is in the database. Whoever does the work is woken once the answer is on its way."""

    def __init__(self, told: Mapping[str, object], task: str) -> None:
        super().__init__(orjson.dumps(told), content_type="application/json")
        self._task = task
        self._correlation_id = correlation.current()

    def close(self) -> None:
        task, self._task = self._task, ""
        if task:
            with correlation.bound(self._correlation_id):
                wake(task)
        super().close()


class KeptResponse(_Kept):
    """For one message."""

    def __init__(self, receipt: inbox.Receipt) -> None:
        status = "received" if receipt.is_new else "duplicate"
        super().__init__({"id": str(receipt.event_id), "status": status}, _task_for(receipt))


class KeptEventsResponse(_Kept):
    """For a message of several events."""

    def __init__(self, receipt: hints.Receipt) -> None:
        told = {"events": receipt.events, "new": receipt.waiting}
        super().__init__(told, "webhooks.tasks.sweep" if receipt.waiting else "")


def _task_for(receipt: inbox.Receipt) -> str:
    if receipt.is_dirty:
        return "sync.tasks.dispatch"
    return "webhooks.tasks.sweep" if receipt.is_new and receipt.is_waiting else ""


@audit(NotAudited("a provider's message, kept as a WebhookEvent"))
@csrf_exempt
def plaid(request: HttpRequest) -> HttpResponse:
    """200: it is in the database. 401: not Plaid's, and not kept. 413: too large. 503: cannot be verified or kept now."""
    if request.method != "POST":
        return _not_a_post(request)
    try:
        raw = request.body
        event = plaid_webhooks.parse(raw)
        verified = plaid_webhooks.check_signature(request.headers, raw, event)
        return KeptResponse(inbox.receive(raw=raw, headers=request.headers, verified=verified, event=event))
    except plaid_webhooks.UnverifiedWebhook as error:
        refusals.refusal_count(provider=Provider.PLAID, reason=error.operator_detail)
        return problem_response(request, error)
    except (CausewayError, RequestDataTooBig) as error:
        return problem_response(request, error)
    except DatabaseError as error:
        return problem_response(request, _not_kept(error))


@audit(NotAudited("a provider's message, kept as a WebhookEvent"))
@csrf_exempt
def woocommerce(request: HttpRequest, connection_id: UUID) -> HttpResponse:
    """200: what it hints at is in the database, or it is a ping. 401: not this shop's, and not kept. 404: nobody's.

    410: the connection is disconnected; a shop gives up a webhook that is answered so. 413: too large. 503: not kept now.
    """
    if request.method != "POST":
        return _not_a_post(request)
    try:
        subject = shop_inbox.hooked(connection_id)
        raw = request.body
        if shop_webhooks.is_ping(raw, {name.lower(): value for name, value in request.headers.items()}):
            return JsonResponse({"status": "ping"})
        return KeptResponse(shop_inbox.receive(subject, raw=raw, headers=request.headers))
    except shop_inbox.Unsigned as error:
        refusals.refusal_count(provider=Provider.WOOCOMMERCE, reason=error.operator_detail)
        return problem_response(request, error)
    except (CausewayError, RequestDataTooBig) as error:
        return problem_response(request, error)
    except DatabaseError as error:
        return problem_response(request, _not_kept(error))


@audit(NotAudited("a provider's message, kept as WebhookEvents"))
@csrf_exempt
def quickbooks(request: HttpRequest) -> HttpResponse:
    """200: it is in the database, also where nobody can read it: whatever comes later waits for this answer at Intuit.

    401: not Intuit's, and not kept. 413: too large. 503: cannot be kept now.
    """
    if request.method != "POST":
        return _not_a_post(request)
    try:
        raw = request.body
        headers = {name.lower(): value for name, value in request.headers.items()}
        if not quickbooks_webhooks.is_signed(raw, headers, secret=settings.QUICKBOOKS_WEBHOOK_VERIFIER):
            return _refused(request, Provider.QUICKBOOKS, _why_unsigned(headers))
        return KeptEventsResponse(_quickbooks_kept(raw, headers))
    except RequestDataTooBig as error:
        return problem_response(request, error)
    except DatabaseError as error:
        return problem_response(request, _not_kept(error))


def _quickbooks_kept(raw: bytes, headers: dict[str, str]) -> hints.Receipt:
    try:
        events = quickbooks_webhooks.parse(raw, headers)
    except ValueError as error:
        key = f"quickbooks:raw:{hashlib.sha256(raw).hexdigest()}"
        return hints.receive_unreadable(
            provider=Provider.QUICKBOOKS, raw=raw, headers=headers, dedupe_key=key, why=str(error)
        )
    return hints.receive(provider=Provider.QUICKBOOKS, headers=headers, events=events)


def _why_unsigned(headers: dict[str, str]) -> str:
    if not settings.QUICKBOOKS_WEBHOOK_VERIFIER:
        return "QUICKBOOKS_WEBHOOK_VERIFIER is not set"
    if quickbooks_webhooks.SIGNATURE not in headers:
        return "no signature"
    return "the signature does not fit the body"


def _refused(request: HttpRequest, provider: Provider, why: str) -> HttpResponse:
    refusals.refusal_count(provider=provider, reason=why)
    refused = RequestError(code="webhook_unverified", provider=provider.value, operator_detail=why)
    return problem_response(request, refused)


def _not_a_post(request: HttpRequest) -> HttpResponse:
    refused = problem_response(request, MethodNotAllowed(str(request.method)))
    refused.headers["Allow"] = "POST"
    return refused


def _not_kept(error: DatabaseError) -> TemporaryError:
    """The provider sends it again."""
    made = TemporaryError(
        "The webhook could not be kept; send it again.",
        code="not_ready",
        retry_after_s=RETRY_AFTER_S,
        operator_detail=f"{type(error).__name__} while keeping a webhook",
    )
    made.__cause__ = error
    return made
