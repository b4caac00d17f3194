"""Shared budgets: how often something may happen a minute, and how much of it at once, counted in Redis for all processes.

Provider calls and API throttles use the same windows. When Redis is away each process counts for itself with a quarter
of the budget, so that several processes together still stay near the real one.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from uuid import uuid4

import redis
import structlog
from django.conf import settings
from limits import RateLimitItem, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

_ALONE_SHARE = 4
_RETRY_REDIS_S = 5
_STRAIN_SEEN_S = 1.0  # how long a process goes by what it was told
_away_until = 0.0
_lock = threading.Lock()


@cache
def _pool(url: str) -> redis.BlockingConnectionPool:
    return redis.BlockingConnectionPool.from_url(
        url, max_connections=16, timeout=1, socket_timeout=1, socket_connect_timeout=0.2
    )


@cache
def _shared() -> MovingWindowRateLimiter:
    # The URI only chooses the driver; the connections come from our own pool, which also speaks unix sockets.
    storage = RedisStorage(
        "redis://", connection_pool=_pool(settings.REDIS_URL), key_prefix=f"causeway-{settings.BUDGET_NAMESPACE}"
    )
    return MovingWindowRateLimiter(storage)


@cache
def _alone() -> MovingWindowRateLimiter:
    return MovingWindowRateLimiter(MemoryStorage())


_SEAT = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
"""
_SEAT_AGAIN_S = 0.05


@contextmanager
def seat(*key: str, at_most: int, held_s: float, wait_s: float) -> Iterator[bool]:
    """Hold one of `at_most` seats for the block. False: none became free within `wait_s`; the block runs all the same.

    held_s: after which a seat whose holder died is free again. When Redis is away nobody counts: True.
    """
    name, mine, ends_at = (
        ":".join(("causeway", settings.BUDGET_NAMESPACE, "seat", *key)),
        uuid4().hex,
        time.monotonic() + wait_s,
    )
    while not (is_seated := _sit(name, mine, at_most, held_s)) and time.monotonic() < ends_at:
        time.sleep(_SEAT_AGAIN_S)
    try:
        yield is_seated
    finally:
        if is_seated:
            _stand(name, mine)


def _sit(name: str, mine: str, at_most: int, held_s: float) -> bool:
    now = time.time()
    arguments = (now, now + held_s, at_most, mine, round(held_s * 1000))
    try:
        return bool(redis.Redis(connection_pool=_pool(settings.REDIS_URL)).eval(_SEAT, 1, name, *map(str, arguments)))
    except RedisError as error:
        log.warning("budget_counts_alone", error=type(error).__name__)
        return True


def _stand(name: str, mine: str) -> None:
    try:
        redis.Redis(connection_pool=_pool(settings.REDIS_URL)).zrem(name, mine)
    except RedisError as error:
        log.warning("budget_seat_kept", error=type(error).__name__)


def strain(*key: str, for_s: float) -> None:
    """Whoever grants `key` says that it was too much: all processes are to hold back for a while. Best effort."""
    _strained[key] = (time.monotonic() + _STRAIN_SEEN_S, True)
    try:
        redis.Redis(connection_pool=_pool(settings.REDIS_URL)).set(_strain_name(key), 1, px=round(for_s * 1000))
    except RedisError as error:
        log.warning("budget_counts_alone", error=type(error).__name__)


def is_strained(*key: str) -> bool:
    """Whether it was told so lately, as of a second ago. Without Redis nobody knows: False."""
    seen_until, answer = _strained.get(key, (0.0, False))
    if time.monotonic() < max(seen_until, _away_until):
        return answer
    try:
        answer = bool(redis.Redis(connection_pool=_pool(settings.REDIS_URL)).exists(_strain_name(key)))
    except RedisError as error:
        log.warning("budget_counts_alone", error=type(error).__name__)
        answer = False
    _strained[key] = (time.monotonic() + _STRAIN_SEEN_S, answer)
    return answer


_strained: dict[tuple[str, ...], tuple[float, bool]] = {}  # a few keys: one for each provider's client


def _strain_name(key: tuple[str, ...]) -> str:
    return ":".join(("causeway", settings.BUDGET_NAMESPACE, "strain", *key))


def take(*key: str, per_minute: int) -> float:
    """Take one from the budget `key`. Returns 0 when it was there, else the seconds until the next one is."""
    return _take_anywhere(RateLimitItemPerMinute, per_minute, key)


def take_this_second(*key: str, per_second: int) -> float:
    """The same for a budget of so many a second."""
    return _take_anywhere(RateLimitItemPerSecond, per_second, key)


def _take_anywhere(kind: type[RateLimitItem], amount: int, key: tuple[str, ...]) -> float:
    global _away_until  # noqa: PLW0603 - one process has one broker, and it is away for all its threads
    if time.monotonic() >= _away_until:
        try:
            return _take(_shared(), kind(amount), key)
        except RedisError as error:
            with _lock:
                _away_until = time.monotonic() + _RETRY_REDIS_S
            log.warning("budget_counts_alone", error=type(error).__name__)
    return _take(_alone(), kind(max(1, amount // _ALONE_SHARE)), key)


def _take(
    limiter: FixedWindowRateLimiter | MovingWindowRateLimiter, item: RateLimitItem, key: tuple[str, ...]
) -> float:
    if limiter.hit(item, *key):
        return 0.0
    return max(0.05, limiter.get_window_stats(item, *key).reset_time - time.time())
