"""Wake-up calls: the message that says "look now". Losing one costs a tick, so nothing here may fail or wait.

What has to be done is a row already; beat's sweeps find it without any message. In a process that answers requests one
call stands for all of a moment: under a storm of webhooks, publishing a message each would cost more than the rest.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from celery import current_app
from django.conf import settings
from django.db import connection, transaction

from config import correlation

log = structlog.get_logger(__name__)

BROKER_PATIENCE_S = 0.2
BROKER_REST_S = 1
MOMENT_S = 0.1
_local = threading.local()


def wake(task: str, *arguments: Any, queue: str | None = None, expires_s: float = 60) -> None:
    """Send the message after the commit of the transaction under way. Best effort: the broker has 200 ms, its errors are swallowed."""
    if settings.IS_WEB and not arguments and queue is None:
        _after_commit(lambda: _bell.ring(task))
    else:
        _after_commit(lambda: _send(task, arguments, queue, expires_s))


def _after_commit(call: Callable[[], None]) -> None:
    if connection.in_atomic_block:
        transaction.on_commit(call, robust=True)
    else:  # on_commit would first connect to the database to learn that
        call()


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
        broker = current_app.connection_for_write()
        patience = {
            "socket_connect_timeout": BROKER_PATIENCE_S,
            "socket_timeout": BROKER_PATIENCE_S,
            "max_retries": 0,
            "interval_start": 0,
        }
        broker.transport_options = {**(broker.transport_options or {}), **patience}
        _local.connection = broker
    return _local.connection


class _Bell:
    """Sends from a thread of its own: at once when it is quiet, else once for everything of a moment.

    No request waits for the broker. A process that dies takes at most a moment's calls along.
    """

    def __init__(self) -> None:
        self._rung: dict[str, str] = {}  # task → the correlation id of the first that rang
        self._changed = threading.Condition()
        self._pid = 0

    def ring(self, task: str) -> None:
        if task in self._rung and self._pid == os.getpid():
            return  # not sent yet, so it will be from now on: no need to queue up for saying so again
        with self._changed:
            if self._pid != os.getpid():  # threads do not survive a fork
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="wake-up calls", daemon=True).start()
            self._rung.setdefault(task, correlation.current())
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._rung:
                    self._changed.wait()
                rung, self._rung = self._rung, {}
            for task, correlation_id in rung.items():
                with correlation.bound(correlation_id or None):
                    _send(task, (), None, 60)
            time.sleep(MOMENT_S)


_bell = _Bell()
