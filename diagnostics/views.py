"""For whoever supervises the processes: is this one alive, and is the installation ready for work?"""

import hmac

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from config import problems
from connections.audit import NotAudited, audit
from connections.errors import CausewayError
from diagnostics import readiness
from diagnostics.metrics import CONTENT_TYPE, exposition


@audit(NotAudited("only reads"))
@never_cache
@require_safe
def healthz(_request: HttpRequest) -> JsonResponse:
    """This process answers. It asks nobody else: restarting it would not mend a database."""
    return JsonResponse({"status": "ok"})


@audit(NotAudited("only reads"))
@never_cache
@require_safe
def readyz(_request: HttpRequest) -> JsonResponse:
    """200 where every part is there, else 503; either way what each part said."""
    checks = readiness.checks()
    is_ready = all(check.is_ok for check in checks)
    body = {"status": "ok" if is_ready else "unavailable", "checks": {check.name: check.shown for check in checks}}
    response = JsonResponse(body, status=200 if is_ready else 503)
    response._has_been_logged = True  # type: ignore[attr-defined]  # "not yet" is an answer, not an error for the log
    return response


@audit(NotAudited("only reads"))
@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For Prometheus, `Authorization: Bearer` METRICS_TOKEN. Without one configured there is no such page."""
    if not settings.METRICS_TOKEN:
        raise Http404
    given = request.headers.get("Authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {settings.METRICS_TOKEN}".encode()):
        return problems.problem_response(request, CausewayError(code="not_authenticated"))
    return HttpResponse(exposition(), content_type=CONTENT_TYPE)
