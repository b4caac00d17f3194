"""Putting every ciphertext under the newest key, while everything else goes on.

In batches, each its own short transaction of two statements, and each row judged by the key id that stands beside it: a
rotation that was killed goes on where it stopped, two at once share the work, and a reader sees either the old
ciphertext with its key id or the new one with its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import QuerySet

from connections import vault
from connections.audit import Action
from connections.models import (
    Credential,
    IdempotencyKey,
    PlaidExchange,
    PlaidLink,
    PlaidTokenRotation,
    RetiredPlaidItem,
)
from connections.services.audit import security_event_record

BATCH = 200
Sealed = Credential | PlaidLink | PlaidExchange | PlaidTokenRotation | RetiredPlaidItem | IdempotencyKey
SEALED: tuple[type[Sealed], ...] = (
    Credential,
    PlaidLink,
    PlaidExchange,
    PlaidTokenRotation,
    RetiredPlaidItem,
    IdempotencyKey,
)


@dataclass(slots=True)
class Rotation:
    """What a rotation did or would do.

    unreadable: rows that do not open with the keys at hand; they stay as they are. left: rows that came in under another
    key meanwhile, so that some process does not have the newest key first.
    """

    waiting: int = 0
    rotated: int = 0
    unreadable: int = 0
    left: int = 0


def keys_rotate(*, is_dry_run: bool = False, report: Callable[[Rotation], None] = lambda _rotation: None) -> Rotation:
    """Re-encrypt what is not under the newest key. report: called after each batch."""
    rotation = Rotation(waiting=_count())
    if is_dry_run:
        return rotation
    security_event_record(Action.KEYS_ROTATED, actor=None, to_key=vault.current_key_id(), waiting=rotation.waiting)
    for waits in (False, True):  # what somebody holds is left for the second round, which waits for it
        rotation.unreadable = 0
        for model in SEALED:
            _rotate_table(model, rotation, report, waits=waits)
        rotation.left = max(0, _count() - rotation.unreadable)
        if not rotation.left:
            break
    return rotation


def processes_behind() -> list[str]:
    """The kinds of process that are connected now and encrypt with another key: what is rotated they may not open.

    A worker between two tasks is not connected, so this finds a forgotten restart, and proves none.
    """
    query = r"""
        SELECT DISTINCT substring(application_name FROM 'causeway-(\S+) key ') FROM pg_stat_activity
        WHERE datname = current_database() AND usename = session_user AND pid <> pg_backend_pid()
          AND application_name LIKE 'causeway-%% key %%' AND substring(application_name FROM ' key (.*)$') <> %s
        ORDER BY 1
    """
    with connection.cursor() as cursor:
        cursor.execute(query, [vault.current_key_id()])
        return [name for (name,) in cursor.fetchall()]


def _rotate_table(model: type[Sealed], rotation: Rotation, report: Callable[[Rotation], None], *, waits: bool) -> None:
    after = None
    while pks := _batch(model, after):
        after = pks[-1]
        _rotate(model, pks, rotation, waits=waits)
        report(rotation)


def _count() -> int:
    return sum(_stale(model).count() for model in SEALED)


def _stale(model: type[Sealed]) -> QuerySet:
    """Rows under another key; those whose secret was destroyed have nothing to rotate."""
    return model._default_manager.exclude(key_id=vault.current_key_id()).exclude(ciphertext=None)


def _batch(model: type[Sealed], after: object) -> list:
    rows = _stale(model).order_by("pk")
    return list((rows.filter(pk__gt=after) if after else rows).values_list("pk", flat=True)[:BATCH])


@transaction.atomic
def _rotate(model: type[Sealed], pks: list, rotation: Rotation, *, waits: bool) -> None:
    """One batch, locked in the order of its keys, so that two rotations never wait for each other in a circle."""
    rows = _stale(model).filter(pk__in=pks).order_by("pk").select_for_update(skip_locked=not waits, no_key=True)
    opened = []
    for row in rows:
        try:
            plaintext = row.reveal()
        except vault.CredentialUnreadable:
            rotation.unreadable += 1
            continue
        row.key_id, row.ciphertext = vault.encrypt(plaintext.encode(), place=row.place)
        opened.append(row)
    model._default_manager.bulk_update(opened, ["key_id", "ciphertext"])
    rotation.rotated += len(opened)
