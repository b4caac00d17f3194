"""Keeping every error that somebody met, so that its correlation id leads an operator to it.

Recording happens on the way out of a failure, so it never raises, never waits for a database that is away, and never
writes without limit: of errors alike (same code and route, and person where one is signed in) so many a minute get a
row; the rest have their log line, and the next row says how many there were.
"""

import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import CharField, UUIDField, Value
from django.db.models.expressions import Func
from django.db.models.functions import Cast, NullIf
from django.http import HttpRequest
from django.utils import timezone

from config import correlation
from config.logs import scrub
from connections import budgets
from connections.errors import CausewayError
from diagnostics.models import ErrorEvent

log = structlog.get_logger(__name__)

KEPT_FOR = timedelta(days=30)
PERSON_PER_MINUTE, ANYBODY_PER_MINUTE = 600, 120
STACK_LIMIT = 20_000
_unrecorded: Counter[tuple[str, ...]] = Counter()
_UNRECORDED_KEYS = 10_000
# The workspace this database connection works for, null outside of any: what row-level security will compare it with.
_CURRENT_WORKSPACE = Cast(
    NullIf(
        Func(Value("app.workspace_id"), Value(True), function="current_setting", output_field=CharField()), Value("")
    ),
    UUIDField(),
)


def answer_record(*, request: HttpRequest, error: BaseException, problem: dict[str, Any]) -> None:
    """Record an answer of 400 or above. Runs as whatever role the request runs as; never raises."""
    with _never_raising(code=problem["code"], path=request.path):
        user = getattr(request, "user", None)
        user_id = user.pk if user is not None and user.is_authenticated else None
        match = request.resolver_match
        _record(
            error,
            key=(problem["code"], match.route if match else "", str(user_id or "")),
            per_minute=PERSON_PER_MINUTE if user_id else ANYBODY_PER_MINUTE,
            code=problem["code"],
            status=problem["status"],
            method=_text(request.method, 16),
            path=_text(scrub(request.path), 500),
            user_id=user_id,
            workspace_id=_CURRENT_WORKSPACE,
        )


def task_record(*, task: str, error: BaseException) -> None:
    """Record a task that failed; never raises."""
    code = error.code if isinstance(error, CausewayError) else "internal_error"
    with _never_raising(code=code, path=task):
        per_minute = PERSON_PER_MINUTE
        _record(
            error, key=(code, task), per_minute=per_minute, code=code, status=500, method="TASK", path=_text(task, 500)
        )


def error_events_purge(*, batch: int = 5_000) -> int:
    """Delete what is older than the retention, a batch a statement. Returns how many."""
    before, count = timezone.now() - KEPT_FOR, 0
    while True:
        oldest = ErrorEvent.objects.filter(created_at__lt=before).order_by("created_at").values("pk")[:batch]
        deleted, _ = ErrorEvent.objects.filter(pk__in=list(oldest.values_list("pk", flat=True))).delete()
        count += deleted
        if deleted < batch:
            return count


@contextmanager
def _never_raising(**facts: str) -> Iterator[None]:
    """A face of its own: the answer under way must not become another error."""
    try:
        yield
    except Exception as failure:
        log.warning("error_event_lost", error=type(failure).__name__, exc_info=failure, **facts)


def _record(error: BaseException, *, key: tuple[str, ...], per_minute: int, status: int, **fields: Any) -> None:
    if _is_database_away(error):
        return  # asking it again would only make the person wait twice
    if budgets.take("errors", *key, per_minute=per_minute):
        _count_unrecorded(key)
        return
    fields |= _facts(error, status=status)
    unrecorded = _unrecorded.pop(key, 0)
    event = ErrorEvent(correlation_id=correlation.current(), status=status, unrecorded_before=unrecorded, **fields)
    with transaction.atomic():  # a savepoint, where somebody's transaction is under way
        event.save(force_insert=True)


def _is_database_away(error: BaseException | None) -> bool:
    """Refused, timed out or cut off, somewhere down the chain of causes: then no SQLSTATE came with the error."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # an error can be raised as its own cause
        seen.add(id(error))
        if isinstance(error, OperationalError | InterfaceError):
            return getattr(error.__cause__, "sqlstate", None) is None
        error = error.__cause__
    return False


def _count_unrecorded(key: tuple[str, ...]) -> None:
    if key in _unrecorded or len(_unrecorded) < _UNRECORDED_KEYS:
        _unrecorded[key] += 1


def _facts(error: BaseException, *, status: int) -> dict[str, str]:
    facts = {"operator_detail": "", "provider": "", "provider_code": "", "provider_request_id": "", "stack": ""}
    if isinstance(error, CausewayError):
        facts |= {
            "operator_detail": _text(scrub(error.operator_detail), 2_000),
            "provider": _text(error.provider, 20),
            "provider_code": _text(error.provider_code, 100),
            "provider_request_id": _text(error.request_id, 100),
        }
    elif status >= 500:
        facts["operator_detail"] = _text(scrub(f"{type(error).__name__}: {error}"), 2_000)
    if status >= 500:
        facts["stack"] = _text(_stack(error), STACK_LIMIT)
    return facts


def _stack(error: BaseException) -> str:
    """The traceback without its values. A handler's stand-in has none: then it is that of the exception being handled."""
    shown = error if error.__traceback__ else sys.exc_info()[1] or error
    lines = scrub("".join(traceback.format_exception(shown)))  # before it is cut: half a token is not known any more
    return lines if len(lines) <= STACK_LIMIT else "…\n" + lines[-STACK_LIMIT + 2 :]


def _text(value: object, limit: int) -> str:
    return str(value or "").replace("\0", "")[:limit]
