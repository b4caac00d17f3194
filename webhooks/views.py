"""Where providers deliver. Verify, keep, answer; the work itself comes afterwards."""

from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import MethodNotAllowed

from config import correlation
from config.problems import problem_response
from connections.audit import NotAudited, audit
from connections.errors import CausewayError, TemporaryError
from connections.models.connection import Provider
from connections.providers.plaid import webhooks as plaid_webhooks
from connections.waking import wake
from webhooks import inbox
from webhooks.services import refusals

RETRY_AFTER_S = 30


class KeptResponse(JsonResponse):
    """200 for a webhook that is in the database. Whoever does the work is woken once the answer is on its way."""

    def __init__(self, receipt: inbox.Receipt) -> None:
        super().__init__({"id": str(receipt.event_id), "status": "received" if receipt.is_new else "duplicate"})
        self._task = _task_for(receipt)
        self._correlation_id = correlation.current()

    def close(self) -> None:
        task, self._task = self._task, ""
        if task:
            with correlation.bound(self._correlation_id):
                wake(task)
        super().close()


def _task_for(receipt: inbox.Receipt) -> str:
    if receipt.is_dirty:
        return "sync.tasks.dispatch"
    return "webhooks.tasks.sweep" if receipt.is_new and receipt.is_waiting else ""


@audit(NotAudited("a provider's message, kept as a WebhookEvent"))
@csrf_exempt
def plaid(request: HttpRequest) -> HttpResponse:
    """200: it is in the database. 401: not Plaid's, and not kept. 413: too large. 503: cannot be verified or kept now."""
    if request.method != "POST":
        refused = problem_response(request, MethodNotAllowed(str(request.method)))
        refused.headers["Allow"] = "POST"
        return refused
    try:
        raw = request.body
        verified = plaid_webhooks.check_signature(request.headers, raw)
        event = plaid_webhooks.parse(raw)
        return KeptResponse(inbox.receive(raw=raw, headers=request.headers, verified=verified, event=event))
    except plaid_webhooks.UnverifiedWebhook as error:
        refusals.refusal_count(provider=Provider.PLAID, reason=error.operator_detail)
        return problem_response(request, error)
    except (CausewayError, RequestDataTooBig) as error:
        return problem_response(request, error)
    except DatabaseError as error:
        return problem_response(request, _not_kept(error))


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
