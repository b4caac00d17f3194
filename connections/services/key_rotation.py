"""Putting every ciphertext under the newest key, while everything else goes on.

In batches, each its own short transaction, and each row judged by the key id that stands beside it: a rotation that
was killed goes on where it stopped, two at once share the work, and a reader sees either the old ciphertext with its
key id or the new one with its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import QuerySet

from connections import vault
from connections.models import Credential, PlaidExchange, PlaidLink, RetiredPlaidItem

BATCH = 200
Sealed = Credential | PlaidLink | PlaidExchange | RetiredPlaidItem
SEALED: tuple[type[Sealed], ...] = (Credential, PlaidLink, PlaidExchange, RetiredPlaidItem)


@dataclass(slots=True)
class Rotation:
    """What a rotation did or would do. unreadable: rows whose own key is not in ENCRYPTION_KEYS; they stay as they are."""

    waiting: int = 0
    rotated: int = 0
    unreadable: int = 0


def keys_rotate(*, is_dry_run: bool = False, report: Callable[[Rotation], None] = lambda _rotation: None) -> Rotation:
    """Re-encrypt what is not under the newest key. report: called after each batch."""
    rotation = Rotation(waiting=sum(_stale(model).count() for model in SEALED))
    if is_dry_run:
        return rotation
    for model in SEALED:
        after = None
        while pks := _batch(model, after):
            after = pks[-1]
            with transaction.atomic():
                rows = _stale(model).select_for_update(skip_locked=True, no_key=True).filter(pk__in=pks)
                for row in rows:
                    _rotate(row, rotation)
            report(rotation)
    return rotation


def _stale(model: type[Sealed]) -> QuerySet:
    """Rows under another key; those whose secret was destroyed have nothing to rotate."""
    return model._default_manager.exclude(key_id=vault.current_key_id()).exclude(ciphertext=None)


def _batch(model: type[Sealed], after: object) -> list:
    rows = _stale(model).order_by("pk")
    return list((rows.filter(pk__gt=after) if after else rows).values_list("pk", flat=True)[:BATCH])


def _rotate(row: Sealed, rotation: Rotation) -> None:
    try:
        plaintext = row.reveal()
    except vault.CredentialUnreadable:
        rotation.unreadable += 1
        return
    row.key_id, row.ciphertext = vault.encrypt(plaintext.encode(), place=row.place)
    row.save(update_fields=["key_id", "ciphertext"])
    rotation.rotated += 1
