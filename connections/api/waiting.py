"""Answering a request when work elsewhere has finished, without holding what others need meanwhile."""

import threading
import time

from django.db import connection as database

from connections.api import tenant
from connections.models import Membership, Verification

LIMIT_S = 30.0
MOST_AT_ONCE = 2  # of a web process's threads: the others go on answering
_waiters = threading.BoundedSemaphore(MOST_AT_ONCE)


def until_finished(verification: Verification, membership: Membership, *, limit_s: float | None = None) -> Verification:
    """The verification once it has finished; as it is then, where that takes too long or too many wait already.

    Between two looks the thread holds neither a transaction nor one of the pool's connections.
    """
    if not _waiters.acquire(blocking=False):
        return verification
    try:
        ends_at, pause_s = time.monotonic() + (LIMIT_S if limit_s is None else limit_s), 0.05
        while verification.status == Verification.Status.RUNNING and time.monotonic() < ends_at:
            _let_go()
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
