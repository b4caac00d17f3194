"""Counting calls that a provider meters, by account and month. No model here: a provider's code may use it."""

from datetime import date
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.db import DatabaseError
from django.db import connection as database
from django.utils import timezone

log = structlog.get_logger(__name__)

_COUNT = """
    INSERT INTO connections_meteredcalls AS known
        (id, workspace_id, connection_id, provider, environment, account, month, metered, free, last_at)
    SELECT %(id)s, workspace_id, id, %(provider)s, environment, %(account)s, %(month)s, %(metered)s, %(free)s, now()
    FROM connections_connection WHERE id = %(connection_id)s
    ON CONFLICT (connection_id, environment, account, month) DO UPDATE SET
        metered = known.metered + excluded.metered, free = known.free + excluded.free, last_at = excluded.last_at
"""


def calls_count(connection_id: UUID, *, provider: str, account: str, metered: int, free: int) -> None:
    """So many more this month (UTC): one statement. Never raises: the call has succeeded, whether it is counted or not."""
    values: dict[str, Any] = {"id": uuid4(), "connection_id": connection_id, "provider": provider, "account": account}
    month: date = timezone.now().date().replace(day=1)
    try:
        with database.cursor() as cursor:
            cursor.execute(_COUNT, values | {"month": month, "metered": metered, "free": free})
    except DatabaseError as error:
        log.warning("calls_uncounted", error=type(error).__name__, metered=metered, free=free)
