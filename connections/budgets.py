"""Shared budgets: how often something may happen a minute, counted in Redis for all processes together.

Provider calls and API throttles use the same windows. When Redis is away each process counts for itself with a quarter
of the budget, so that several processes together still stay near the real one.
"""

import threading
import time
from functools import cache

import structlog
from django.conf import settings
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

_ALONE_SHARE = 4
_RETRY_REDIS_S = 5
_away_until = 0.0
_lock = threading.Lock()


@cache
def _shared() -> MovingWindowRateLimiter:
    import redis

    pool = redis.BlockingConnectionPool.from_url(
        settings.REDIS_URL, max_connections=16, timeout=1, socket_timeout=1, socket_connect_timeout=0.2
    )
    # The URI only chooses the driver; the connections come from our own pool, which also speaks unix sockets.
    storage = RedisStorage("redis://", connection_pool=pool, key_prefix=f"causeway-{settings.BUDGET_NAMESPACE}")
    return MovingWindowRateLimiter(storage)


@cache
def _alone() -> MovingWindowRateLimiter:
    return MovingWindowRateLimiter(MemoryStorage())


def take(*key: str, per_minute: int) -> float:
    """Take one from the budget `key`. Returns 0 when it was there, else the seconds until the next one is."""
    global _away_until  # noqa: PLW0603 - one process has one broker, and it is away for all its threads
    if time.monotonic() >= _away_until:
        try:
            return _take(_shared(), per_minute, key)
        except RedisError as error:
            with _lock:
                _away_until = time.monotonic() + _RETRY_REDIS_S
            log.warning("budget_counts_alone", error=type(error).__name__)
    return _take(_alone(), max(1, per_minute // _ALONE_SHARE), key)


def _take(limiter: FixedWindowRateLimiter | MovingWindowRateLimiter, per_minute: int, key: tuple[str, ...]) -> float:
    item = RateLimitItemPerMinute(per_minute)
    if limiter.hit(item, *key):
        return 0.0
    return max(0.05, limiter.get_window_stats(item, *key).reset_time - time.time())
