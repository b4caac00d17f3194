"""Claims: one worker reads one Item at a time, and proves at the end that it still may.

A claim is a token on the Item's row with an expiry. The worker renews it from a second database connection while it
works; a worker that dies stops renewing, and another takes over when the lease has run out. The final statement of any
claimed work is conditional on the token, so that a worker which slept through its lease changes nothing.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import Error, connection

from connections import vault
from connections.errors import LeaseLost
from connections.services.plaid_items import ACCESS_TOKEN
from connections.services.provider_pauses import NOT_PAUSED

log = structlog.get_logger(__name__)

SYNCABLE = "('active', 'failed', 'pending_cleanup')"


@dataclass(slots=True)
class Claim:
    """One Item, claimed, and the run that tells of it. `dirty_seq` was read before the first provider call."""

    item_id: UUID
    token: UUID
    workspace_id: UUID
    connection_id: UUID
    plaid_item_id: str
    environment: str
    cursor: str
    dirty_seq: int
    has_synced_before: bool
    is_new_history: bool
    is_details_due: bool
    trigger: str
    credential_id: UUID | None
    key_id: str
    ciphertext: bytes | memoryview | None

    def access_token(self) -> str:
        """The plaintext. Raises CredentialUnreadable."""
        place = f"connections_credential:{self.credential_id}:{ACCESS_TOKEN}"
        return vault.decrypt(bytes(self.ciphertext or b""), key_id=self.key_id, place=place).decode()


_CLAIM = f"""
    WITH claimed AS (
        UPDATE connections_plaiditem i
        SET lease_token = %(token)s, lease_expires_at = now() + %(lease_s)s * interval '1 second'
        FROM connections_connection c
        WHERE i.id = %(item)s AND c.id = i.connection_id AND i.dirty_seq > i.synced_seq AND i.removed_at IS NULL
          AND (i.lease_expires_at IS NULL OR i.lease_expires_at < now())
          AND c.status IN {SYNCABLE} AND (c.next_attempt_at IS NULL OR c.next_attempt_at <= now()) AND {NOT_PAUSED}
        RETURNING i.*, c.environment, c.failure_count
    )
    SELECT i.id, i.lease_token, i.workspace_id, i.connection_id, i.item_id, i.environment, i.cursor, i.dirty_seq,
           i.last_synced_at IS NOT NULL, i.is_new_history, i.details_at IS NULL OR i.details_at < now() - interval '1 day',
           CASE WHEN i.failure_count > 0 THEN 'retry'
                WHEN i.last_synced_at IS NULL THEN 'link'
                WHEN i.last_webhook_at > i.last_synced_at THEN 'webhook'
                ELSE 'schedule' END,
           k.id, coalesce(k.key_id, ''), k.ciphertext
    FROM claimed i LEFT JOIN connections_credential k ON k.connection_id = i.connection_id AND k.name = '{ACCESS_TOKEN}'
"""


def claim(item_id: UUID | str) -> Claim | None:
    """Claim the Item if it is dirty, due and free: one statement. None: there is nothing to do for this worker."""
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"item": str(item_id), "token": uuid4(), "lease_s": settings.LEASE_S})
        row = cursor.fetchone()
    return Claim(*row) if row else None


class Renewal:
    """Keeps one lease alive from a thread and a connection of its own; `check` tells the worker when it was lost."""

    def __init__(self, held: Claim) -> None:
        self._held = held
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lease-{held.item_id}", daemon=True)

    def check(self) -> None:
        """Raises LeaseLost once another worker may own the Item."""
        if self._lost.is_set():
            raise LeaseLost

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            # Most syncs end before the first renewal, and then no second connection is ever opened.
            while not self._stop.wait(settings.LEASE_S / 3):
                if not self._renew():
                    self._lost.set()
                    return
        finally:
            connection.close()

    def _renew(self) -> bool:
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE connections_plaiditem SET lease_expires_at = now() + %s * interval '1 second' WHERE id = %s AND lease_token = %s",
                    [settings.LEASE_S, self._held.item_id, self._held.token],
                )
                return cursor.rowcount == 1
        except Error as error:
            connection.close()
            log.warning("lease_renewal_failed", item=str(self._held.item_id), error=type(error).__name__)
            return True  # not proof of loss: the fence at the end decides


@contextmanager
def renewed(held: Claim) -> Iterator[Renewal]:
    """Renew the lease for the length of the block."""
    renewal = Renewal(held)
    renewal.start()
    try:
        yield renewal
    finally:
        renewal.stop()


def fence(held: Claim, assignments: str, parameters: dict | None = None) -> None:
    """The last statement of claimed work: change the Item and let go of it, if it is still ours. Raises LeaseLost.

    assignments: SQL for further columns, ending in a comma, or "".
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE connections_plaiditem SET {assignments} lease_token = NULL, lease_expires_at = NULL "
            "WHERE id = %(item)s AND lease_token = %(token)s",
            {"item": held.item_id, "token": held.token, **(parameters or {})},
        )
        if cursor.rowcount != 1:
            raise LeaseLost
