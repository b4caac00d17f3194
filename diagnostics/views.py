"""For whoever supervises the processes: is this one alive, and is the installation ready for work?"""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from connections.audit import NotAudited, audit
from diagnostics import readiness


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
