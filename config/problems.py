"""Any error becomes problem details (RFC 9457) with a code, what to do about it, and the correlation id.

Used by the API for its own errors and the framework's alike, and by plain Django views and handlers.
"""

import sys
from collections.abc import Callable
from http import HTTPStatus
from math import ceil
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django.core.exceptions import (
    BadRequest,
    DisallowedHost,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.db import InterfaceError, OperationalError
from django.dispatch import Signal
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.shortcuts import render
from rest_framework import exceptions
from rest_framework.response import Response

from config import correlation
from config.logs import scrub
from config.rendering import JSONRenderer
from connections.errors import CATALOGUE, CausewayError

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
Answer = TypeVar("Answer", bound=HttpResponse)
# Sent by the face, after the rollback, so that the record of a failure survives it. Arguments: request, error, problem.
error_reported = Signal()

_FRAMEWORK: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.ValidationError, "validation_failed"),
    (exceptions.ParseError, "malformed_request"),
    (exceptions.AuthenticationFailed, "not_authenticated"),
    (exceptions.NotAuthenticated, "not_authenticated"),
    (exceptions.PermissionDenied, "permission_denied"),
    (exceptions.NotFound, "not_found"),
    (exceptions.MethodNotAllowed, "method_not_allowed"),
    (exceptions.NotAcceptable, "not_acceptable"),
    (exceptions.UnsupportedMediaType, "unsupported_media_type"),
    (exceptions.Throttled, "throttled"),
    (Http404, "not_found"),
    (PermissionDenied, "permission_denied"),
    (RequestDataTooBig, "request_too_large"),
    (SuspiciousOperation, "malformed_request"),
    (BadRequest, "malformed_request"),
    (UnreadablePostError, "malformed_request"),
    (OperationalError, "not_ready"),
    (InterfaceError, "not_ready"),
)


def translate(error: Exception) -> CausewayError:
    """The error of our taxonomy that says the same; an unknown exception is `internal_error`."""
    if isinstance(error, CausewayError):
        return error
    code = next((code for kind, code in _FRAMEWORK if isinstance(error, kind)), "internal_error")
    if isinstance(error, exceptions.ValidationError):
        return CausewayError(code=code, fields=field_messages(error.detail))
    if isinstance(error, exceptions.Throttled):
        return CausewayError(code=code, retry_after_s=error.wait)  # type: ignore[attr-defined]
    if isinstance(error, exceptions.ParseError | exceptions.UnsupportedMediaType | exceptions.MethodNotAllowed):
        return CausewayError(str(error.detail), code=code)
    if isinstance(error, DisallowedHost):
        words = "Use the installation's own address; an operator sets it as PUBLIC_URL."
        return CausewayError("This installation does not answer for that host name.", code=code, remediation=words)
    return CausewayError(code=code)


def field_messages(detail: Any, path: str = "") -> dict[str, list[str]]:
    """DRF's nested error detail → {"items.0.amount": ["…"]}; "" names the object itself."""
    if isinstance(detail, dict):
        pairs = [(f"{path}.{key}" if path else str(key), value) for key, value in detail.items()]
    elif isinstance(detail, list) and any(isinstance(item, dict | list) for item in detail):
        pairs = [(f"{path}.{number}" if path else str(number), value) for number, value in enumerate(detail) if value]
    else:
        name = path.removesuffix("non_field_errors").removesuffix(".")
        return {name: [str(item) for item in (detail if isinstance(detail, list) else [detail])]}
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        for key, messages in field_messages(value, name).items():
            found.setdefault(key, []).extend(messages)
    return found


def problem(error: CausewayError, *, instance: str) -> dict[str, Any]:
    """The body: type, title, status, detail, instance, code, remediation, retryable, correlation_id, errors?"""
    body = {
        "type": f"/docs/errors/{error.code}",
        "title": error.entry.title,
        "status": error.entry.status,
        "detail": scrub(error.detail),
        "instance": scrub(instance),
        "code": error.code,
        "remediation": error.remediation,
        "retryable": error.entry.is_retryable,
        "fixed_by": error.entry.fixed_by.value,
        "correlation_id": correlation.current(),
    }
    if error.fields is not None:
        body["errors"] = {scrub(name): scrub(messages) for name, messages in error.fields.items()}
    return body | error.extra


def headers(error: CausewayError) -> dict[str, str]:
    found = {}
    if error.retry_after_s is not None:
        found["Retry-After"] = str(max(1, ceil(error.retry_after_s)))
    if error.entry.status == HTTPStatus.UNAUTHORIZED:
        found["WWW-Authenticate"] = 'Bearer realm="causeway"'
    return found


def report(request: HttpRequest, original: Exception, error: CausewayError) -> dict[str, Any]:
    """Log it, tell who listens, and return the body."""
    body = problem(error, instance=request.path)
    fields = {"code": error.code, "path": request.path, "method": request.method}
    fields |= {
        "operator_detail": error.operator_detail,
        "provider": error.provider,
        "provider_code": error.provider_code,
    }
    fields = {key: value for key, value in fields.items() if value}
    if error.entry.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(original, CausewayError):
        log.error("request_failed", exc_info=original, **fields)
    else:
        log.info("request_refused", status=error.entry.status, **fields)
    error_reported.send(sender=None, request=request, error=original, problem=body)
    return body


def exception_handler(original: Exception, context: dict[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER."""
    error = translate(original)
    request = context["request"]
    request.accepted_renderer, request.accepted_media_type = JSONRenderer(), MEDIA_TYPE  # whatever the view renders
    response = Response(report(request._request, original, error), status=error.entry.status, headers=headers(error))
    response.content_type = MEDIA_TYPE
    return _logged(response)


def problem_response(request: HttpRequest, original: Exception) -> HttpResponse:
    """The same answer from a plain Django view."""
    error = translate(original)
    return _answer(error, report(request, original, error))


def _answer(error: CausewayError, body: dict[str, Any]) -> HttpResponse:
    text = JSONRenderer().render(body)
    return _logged(HttpResponse(text, status=error.entry.status, content_type=MEDIA_TYPE, headers=headers(error)))


def _logged(response: Answer) -> Answer:
    """`report` has written its line; Django would write another one, at ERROR for a provider that is away."""
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


# --- handler400 … handler500: for addresses that no API view answers ---
_API = ("/api/", "/webhook/", "/healthz/", "/readyz/")


def _handler(code: str) -> Callable[..., HttpResponse]:
    def handle(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
        if exception:
            return refusal(request, translate(exception))
        error = CausewayError(code=code)
        bug = sys.exc_info()[1]  # handler500 is not given it, but called while it is handled
        return refusal(request, error, original=bug if isinstance(bug, Exception) else error)

    return handle


def refusal(request: HttpRequest, error: CausewayError, *, original: Exception | None = None) -> HttpResponse:
    """A problem for a machine, text for a person."""
    body = report(request, original or error, error)
    if f"{request.path}/".startswith(_API):
        return _answer(error, body)
    text = f"{body['title']}\n{body['detail']}\nCorrelation id: {body['correlation_id']}\n"
    return _logged(HttpResponse(text, status=body["status"], content_type="text/plain; charset=utf-8"))


bad_request, permission_denied, page_not_found, server_error = map(
    _handler, ("malformed_request", "permission_denied", "not_found", "internal_error")
)


class BodyLimitMiddleware:
    """413 by the length that a request declares, before anything reads it. Bodies in chunks are counted where they are read."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        digits = request.META.get("CONTENT_LENGTH", "").strip().lstrip("0")
        limit = str(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        if digits.isdecimal() and (len(digits), digits) > (len(limit), limit):  # too long for int() it may be, too
            return refusal(request, CausewayError(code="request_too_large"))
        return self.get_response(request)


def error_page(request: HttpRequest, code: str) -> HttpResponse:
    """What a problem's `type` leads to: the catalogue's words for the code."""
    if code not in CATALOGUE:
        raise Http404
    return render(request, "docs/error.html", {"code": code, "entry": CATALOGUE[code]})
