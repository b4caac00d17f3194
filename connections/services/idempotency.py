"""Requests that may come twice: whoever comes first does the work, whoever comes later gets its answer.

A claim is a lease on the key's row, and its token fences the answer: who lost the lease stores nothing, and where
the answer belongs to the transaction of the change, changes nothing either. docs/explanation/idempotency.md says why.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from config import correlation
from connections.errors import Conflict
from connections.models import IdempotencyKey

KEPT = timedelta(hours=24)
PURGE_BATCH = 5000
Status = IdempotencyKey.Status


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose key it is and where it counts; the same text anywhere else is another key."""

    workspace_id: UUID
    user_id: UUID
    method: str
    route: str
    key_hash: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do what was asked for. is_repeat: an earlier request began it, and nobody knows how far it came."""

    pk: UUID
    token: UUID
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, to be answered again."""

    status: int
    headers: Mapping[str, str]
    body: str


def key_claim(scope: Scope, *, body_hash: str) -> Claim | Answer:
    """The answer that is kept under this key, or the claim to make one.

    Raises Conflict: idempotency_mismatch for another request under the same key, idempotency_in_progress while the
    same one is at work.
    """
    while True:
        token = uuid4()
        found, created = IdempotencyKey.objects.get_or_create(
            **asdict(scope), defaults=_begun(token) | {"body_hash": body_hash}
        )
        if created:
            return Claim(found.pk, token)
        is_free = found.status == Status.FREE or _is_forgotten(found)
        if not is_free:
            if found.body_hash != body_hash:
                raise Conflict(code="idempotency_mismatch")
            if found.status == Status.DONE:
                return Answer(**json.loads(found.reveal()))
            if found.lease_expires_at > timezone.now():
                raise _in_progress(found)
        seen = IdempotencyKey.objects.filter(pk=found.pk, status=found.status, lease_token=found.lease_token)
        anew = {"body_hash": body_hash, "created_at": timezone.now(), "key_id": "", "ciphertext": None}
        if seen.update(**_begun(token) | (anew if is_free else {})):
            return Claim(found.pk, token, is_repeat=not is_free)


def key_keep(claim: Claim, answer: Answer) -> None:
    """Keep the answer for the next who asks. Raises Conflict where the lease was lost: what was done is to be undone."""
    row = IdempotencyKey(pk=claim.pk)
    row.seal(json.dumps(asdict(answer)))
    if not _held(claim).update(status=Status.DONE, key_id=row.key_id, ciphertext=row.ciphertext):
        raise Conflict(code="idempotency_in_progress", retry_after_s=1)


def key_free(claim: Claim) -> None:
    """Nothing was done under this key: whoever comes next begins anew, with whatever body."""
    _held(claim).update(status=Status.FREE, lease_expires_at=timezone.now())


def key_leave(claim: Claim) -> None:
    """Something was begun whose end is not known: a repeat may ask at once how it stands, another body is refused."""
    _held(claim).update(lease_expires_at=timezone.now())


def keys_purge() -> int:
    """Forget what is older than a day. Returns how many."""
    old = IdempotencyKey.objects.filter(created_at__lt=timezone.now() - KEPT, lease_expires_at__lt=timezone.now())
    count = 0
    while pks := list(old.order_by("created_at").values_list("pk", flat=True)[:PURGE_BATCH]):
        count += old.filter(pk__in=pks).delete()[0]
    return count


def _held(claim: Claim) -> QuerySet[IdempotencyKey]:
    return IdempotencyKey.objects.filter(pk=claim.pk, lease_token=claim.token, status=Status.IN_PROGRESS)


def _begun(token: UUID) -> dict[str, Any]:
    return {
        "status": Status.IN_PROGRESS,
        "lease_token": token,
        "lease_expires_at": timezone.now() + timedelta(seconds=settings.LEASE_S),
        "correlation_id": correlation.current(),
    }


def _is_forgotten(row: IdempotencyKey) -> bool:
    """Its day is over, whether or not housekeeping has been there."""
    now: datetime = timezone.now()
    return row.created_at < now - KEPT and row.lease_expires_at < now


def _in_progress(row: IdempotencyKey) -> Conflict:
    """Wait as long again as it has been going on, but not beyond the lease."""
    left_s = (row.lease_expires_at - timezone.now()).total_seconds()
    return Conflict(code="idempotency_in_progress", retry_after_s=max(1, min(left_s, settings.LEASE_S - left_s)))
