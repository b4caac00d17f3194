"""The Data API's connections to its database: a few, kept, each handed to one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from .supabase_errors import ApiError

SIZE = 10
PATIENCE_S = 10


class Pool:
    """Connections of the login `authenticator`. A request that waits too long for one answers PGRST003."""

    def __init__(self, dsn: str, size: int = SIZE, patience_s: float = PATIENCE_S):
        self.dsn = dsn
        self.patience_s = patience_s
        self._free = threading.BoundedSemaphore(size)
        self._idle: list[psycopg.Connection] = []
        self._lock = threading.Lock()

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """A connection outside of any transaction. Raises ApiError: none is free, or the database does not answer."""
        if not self._free.acquire(timeout=self.patience_s):
            raise ApiError("PGRST003")
        try:
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._free.release()

    def _take(self) -> psycopg.Connection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connect()
            try:
                connection.execute("")  # the server may have gone and come back meanwhile
            except psycopg.Error:
                connection.close()
            else:
                return connection

    def _connect(self) -> psycopg.Connection:
        try:
            return psycopg.connect(self.dsn, autocommit=True, prepare_threshold=None, cursor_factory=psycopg.RawCursor)
        except psycopg.Error as error:
            raise ApiError("PGRST000", details=str(error).strip().splitlines()[-1]) from None

    def _give_back(self, connection: psycopg.Connection) -> None:
        if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.close()
            return
        with self._lock:
            self._idle.append(connection)

    def close(self) -> None:
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()
