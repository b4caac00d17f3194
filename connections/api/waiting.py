"""Answering a request when work elsewhere has finished, without holding what others need meanwhile.

Workers may all be at long syncs. A verification that somebody waits for and that none of them has begun is therefore
answered by the web process itself, which has nothing else to do with that thread.
"""

import threading
import time
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection as database

from connections.api import tenant
from connections.models import Membership, Verification
from connections.services.verifying import verification_answer

log = structlog.get_logger(__name__)

LIMIT_S = 30.0
PATIENCE_S = 1.0  # for a worker that is free
MOST_AT_ONCE = 2  # of a web process's threads: the others go on answering
_waiters = threading.BoundedSemaphore(MOST_AT_ONCE)
_answering = threading.BoundedSemaphore(MOST_AT_ONCE)  # a provider may take longer than anybody waits


def until_finished(verification: Verification, membership: Membership, *, limit_s: float | None = None) -> Verification:
    """The verification once it has finished; as it is then, where that takes too long or too many wait already.

    Between two looks the thread holds neither a transaction nor one of the pool's connections.
    """
    if not _waiters.acquire(blocking=False):
        return verification
    try:
        begun_at, pause_s, is_helped = time.monotonic(), 0.05, not settings.IS_WEB
        ends_at = begun_at + (LIMIT_S if limit_s is None else limit_s)
        while verification.status == Verification.Status.RUNNING and time.monotonic() < ends_at:
            _let_go()
            if not is_helped and time.monotonic() > begun_at + PATIENCE_S:
                is_helped = True
                _answer_here(verification)
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.5)
            tenant.enter(membership)
            verification = Verification.objects.get(pk=verification.pk)
        return verification
    finally:
        _waiters.release()


def _let_go() -> None:
    if not database.in_atomic_block:
        tenant.leave()
        database.close()


def _answer_here(verification: Verification) -> None:
    """In a thread of its own, as the app role: a worker's work. If this process dies over it, a worker begins anew."""
    if verification.attempts or not _answering.acquire(blocking=False):
        return
    threading.Thread(target=_answer, args=[verification.pk], name=f"verify {verification.pk}", daemon=True).start()


def _answer(verification_id: UUID) -> None:
    try:
        verification_answer(verification_id)
    except Exception as error:  # nobody is above this thread; the row is there, and a worker takes it
        log.exception("verification_broke", verification=str(verification_id), error=type(error).__name__)
    finally:
        database.close()
        _answering.release()
