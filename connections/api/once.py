"""`Idempotency-Key`: what is asked for twice under one key is done once and answered twice.

`WorkspaceView` sends every POST of a view with `idempotency` through `answered_once`.
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast

import orjson
import structlog
from django.conf import settings
from django.db import DatabaseError, transaction
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from config.rendering import JSONRenderer
from connections.errors import RequestError
from connections.services.idempotency import Answer, Claim, Scope, key_claim, key_free, key_keep, key_leave

if TYPE_CHECKING:
    from connections.api.base import WorkspaceView

log = structlog.get_logger(__name__)

HEADER, FIELD, REPLAYED = "Idempotency-Key", "idempotency_key", "Idempotency-Replayed"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_WORDS = "A key is 1 to 255 visible ASCII characters, without spaces."
_KEPT_HEADERS = ("Location",)  # the others are made anew for every answer


class Idempotency(Enum):
    """How a POST makes sure that its answer is stored if and only if its change is.

    ONE_TRANSACTION: all of it is one transaction, opened around the method; it may not call a provider.
    STEPS: it calls a provider, so the service owns the transactions. It keeps the answer in that of the change
    (`WorkspaceView.keep`), or its own rows tell a repeat (`WorkspaceView.is_repeat`) what came of it.
    """

    ONE_TRANSACTION = auto()
    STEPS = auto()


def answered_once(
    view: "WorkspaceView", method: Callable[..., Response], request: Request, *args: Any, **kwargs: Any
) -> HttpResponse:
    """The method's answer, or the one that was kept under the request's key. Without a key: the method's, as ever.

    Raises RequestError, Conflict.
    """
    key = key_of(request)
    if key is None:
        return method(request, *args, **kwargs)
    scope = Scope(
        view.membership.workspace_id, view.user.pk, str(request.method), route_of(request), keyed(key.encode())
    )
    found = key_claim(scope, body_hash=body_hash(request, kwargs))
    if isinstance(found, Answer):
        return _replayed(found)
    view.claim = found
    try:
        with _transaction(view):
            response = method(request, *args, **kwargs)
            if view.claim:  # else the view has kept its answer already
                _settle(found, response)
    except Exception as error:  # noqa: BLE001 - the view's own handler makes a problem of whatever it was, and reports it
        response = view.handle_exception(error)
        _settle_failed(found, response)
    return response


def keep(claim: Claim | None, response: Response) -> None:
    """Store the answer; nothing to do without a key. Raises Conflict where another request has taken over."""
    if claim:
        headers = {"Content-Type": response.content_type or JSONRenderer.media_type}
        headers |= {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        key_keep(claim, Answer(response.status_code, headers, JSONRenderer().render(response.data).decode()))


def key_of(request: Request) -> str | None:
    """The key in the header or the body. Raises RequestError for one that is malformed, and for two that differ."""
    in_header, in_body = request.headers.get(HEADER), _body(request).get(FIELD)
    for name, given in ((HEADER, in_header), (FIELD, in_body)):
        if given is not None and not (isinstance(given, str) and _KEY.fullmatch(given)):
            raise RequestError(_WORDS, fields={name: [_WORDS]})
    if None not in (in_header, in_body) and in_header != in_body:
        words = f"Differs from the {HEADER} header."
        raise RequestError("The request names two idempotency keys.", fields={FIELD: [words]})
    return in_body if in_header is None else in_header


def route_of(request: Request) -> str:
    """The same under both mounts: connections/<uuid:connection_id>/refresh."""
    match = request._request.resolver_match
    return match.route.removeprefix("api/").removeprefix("v1/") if match else request.path


def body_hash(request: Request, kwargs: dict[str, Any]) -> str:
    """Equal for equal requests: ids in the path, query and body, however its fields are ordered and spaced.

    Keyed: a body may hold a password.
    """
    body = {name: value for name, value in _body(request).items() if name != FIELD}
    ids = {name: str(value) for name, value in kwargs.items()}
    asked = orjson.dumps([ids, request.META.get("QUERY_STRING", ""), body], option=orjson.OPT_SORT_KEYS)
    return keyed(asked)


def keyed(text: bytes) -> str:
    """A digest that only this installation can make."""
    return hmac.new(settings.SECRET_KEY.encode(), text, hashlib.sha256).hexdigest()


def _body(request: Request) -> dict[str, Any]:
    return cast(dict, request.data)  # the parser takes nothing but objects


def _transaction(view: "WorkspaceView") -> AbstractContextManager:
    return transaction.atomic() if view.idempotency is Idempotency.ONE_TRANSACTION else nullcontext()


def _settle(claim: Claim, response: Response) -> None:
    """Keep what is final; of the rest, a repeat is to find out anew."""
    code = response.data.get("code") if response.status_code >= 400 and isinstance(response.data, dict) else ""
    if code == "outcome_unknown":
        key_leave(claim)
    elif response.status_code in (401, 429) or response.status_code >= 500 or (code and response.data["retryable"]):
        key_free(claim)
    else:
        keep(claim, response)


def _settle_failed(claim: Claim, response: Response) -> None:
    try:
        _settle(claim, response)
    except Exception as error:  # noqa: BLE001 - the answer is a failure anyway; the lease ends by itself
        level = log.warning if isinstance(error, DatabaseError) else log.info
        level("idempotency_key_not_settled", error=type(error).__name__)


def _replayed(answer: Answer) -> HttpResponse:
    log.info("idempotency_replayed", status=answer.status)
    response = HttpResponse(answer.body, status=answer.status, headers={**answer.headers, REPLAYED: "true"})
    response._has_been_logged = True  # type: ignore[attr-defined] # an error was, and recorded, when it happened
    return response
