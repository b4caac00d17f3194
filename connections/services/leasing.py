"""Holding on to claimed work: a lease that is renewed from a thread and a database connection of its own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from django.conf import settings
from django.db import Error, connection

from connections.errors import LeaseLost

log = structlog.get_logger(__name__)


class Lease:
    """renew: one conditional statement; False where the work is somebody else's by now."""

    def __init__(self, renew: Callable[[], bool], *, name: str) -> None:
        self._renew, self._name = renew, name
        self._stop, self._lost = threading.Event(), threading.Event()

    def check(self) -> None:
        """Raises LeaseLost once somebody else may be at it."""
        if self._lost.is_set():
            raise LeaseLost

    def _run(self) -> None:
        try:
            while not self._stop.wait(settings.LEASE_S / 3):
                try:
                    if not self._renew():
                        return self._lost.set()
                except Error as error:  # not proof of loss: the fence at the end decides
                    connection.close()
                    log.warning("lease_renewal_failed", work=self._name, error=type(error).__name__)
        finally:
            connection.close()


@contextmanager
def renewed(renew: Callable[[], bool], *, name: str) -> Iterator[Lease]:
    """Renew for the length of the block, a third of LEASE_S apart; short work never opens the second connection."""
    lease = Lease(renew, name=name)
    thread = threading.Thread(target=lease._run, name=f"lease of {name}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        lease._stop.set()
        thread.join(timeout=5)
