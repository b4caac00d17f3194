"""Wake-up calls: the message that says "look now". Losing one costs a tick, so nothing here may fail or wait.

What has to be done is a row already; beat's sweeps find it without any message.
"""

import threading
import time
from typing import Any

import structlog
from celery import current_app
from django.db import transaction

log = structlog.get_logger(__name__)

BROKER_PATIENCE_S = 0.2
BROKER_REST_S = 1
_local = threading.local()


def wake(task: str, *arguments: Any, queue: str | None = None, expires_s: float = 60) -> None:
    """Send the message after the commit of the transaction under way. Best effort: the broker has 200 ms, its errors are swallowed."""
    transaction.on_commit(lambda: _send(task, arguments, queue, expires_s), robust=True)


def _send(task: str, arguments: tuple, queue: str | None, expires_s: float) -> None:
    if time.monotonic() < getattr(_local, "away_until", 0):
        return  # of many messages in a row only the first waits for a broker that is away
    try:
        current_app.send_task(
            task, args=arguments, queue=queue, connection=_connection(), retry=False, expires=expires_s
        )
    except Exception as error:  # noqa: BLE001 - whatever the broker does, the rows are safe and the sweep finds them
        _local.connection, _local.away_until = None, time.monotonic() + BROKER_REST_S
        log.warning("wake_up_lost", task=task, error=type(error).__name__)


def _connection():
    """This thread's broker connection, which gives up quickly."""
    if getattr(_local, "connection", None) is None:
        connection = current_app.connection_for_write()
        patience = {
            "socket_connect_timeout": BROKER_PATIENCE_S,
            "socket_timeout": BROKER_PATIENCE_S,
            "max_retries": 0,
            "interval_start": 0,
        }
        connection.transport_options = {**(connection.transport_options or {}), **patience}
        _local.connection = connection
    return _local.connection
