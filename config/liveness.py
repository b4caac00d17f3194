"""Signs of life: a process leaves a mark in Redis as it works, and readiness asks how old the mark is.

The worker marks itself with every heartbeat that reached the broker, beat with every message that it published: so a
worker whose pool is busy is still alive, and a beat whose messages nobody takes is not blamed for it.
"""

import time
from functools import cache
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

if TYPE_CHECKING:
    from redis import Redis

log = structlog.get_logger(__name__)

PATIENCE_S = 1.0
KEPT_S = 24 * 3600


def stale_after_s() -> float:
    """The age from which a mark no longer counts."""
    return max(15.0, 5 * settings.TICK_S)


def mark(name: str) -> None:
    """`name` is alive now. Never raises: a lost mark is only a mark that is older."""
    from redis.exceptions import RedisError

    try:
        _redis(settings.REDIS_URL).set(_key(name), repr(time.time()), ex=KEPT_S)
    except RedisError as error:
        log.warning("liveness_mark_lost", name=name, error=type(error).__name__)


def ages_s(*names: str) -> list[float | None]:
    """How long ago each was last marked; None where there is no mark. One round trip. Raises redis.RedisError."""
    found = _redis(settings.REDIS_URL).mget([_key(name) for name in names])
    now = time.time()
    return [None if value is None else max(0.0, now - float(value)) for value in found]


def age_s(name: str) -> float | None:
    """How long ago `name` was last marked, or None. Raises redis.RedisError."""
    return ages_s(name)[0]


def _key(name: str) -> str:
    return f"causeway:{settings.BUDGET_NAMESPACE}:alive:{name}"


@cache
def _redis(url: str) -> "Redis":
    """A few connections of our own, which give up quickly."""
    import redis

    pool = redis.ConnectionPool.from_url(
        url, max_connections=8, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S, retry=None
    )
    return redis.Redis(connection_pool=pool)
