"""Authenticated encryption of what must never be read from the database alone.

AES-256-GCM. A token is `nonce (12 bytes) + ciphertext + tag`; the id of its key is stored beside it. The associated
data names table, row and field, so that a ciphertext copied to another place does not decrypt there.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from connections.errors import CausewayError

_NONCE_BYTES = 12


class CredentialUnreadable(CausewayError):
    """The key is not at hand, or the ciphertext was altered or moved."""

    default_code = "credential_unreadable"


def current_key_id() -> str:
    """The newest key: what is encrypted now is encrypted with it."""
    return next(iter(settings.ENCRYPTION_KEYS))


def encrypt(plaintext: bytes, *, place: str) -> tuple[str, bytes]:
    """(key id, token). place: "table:row id:field"."""
    key_id = current_key_id()
    nonce = os.urandom(_NONCE_BYTES)
    return key_id, nonce + AESGCM(settings.ENCRYPTION_KEYS[key_id]).encrypt(nonce, plaintext, place.encode())


def decrypt(token: bytes, *, key_id: str, place: str) -> bytes:
    """The plaintext. Raises CredentialUnreadable."""
    key = settings.ENCRYPTION_KEYS.get(key_id)
    if key is None:
        raise CredentialUnreadable(operator_detail=f"encryption key {key_id!r} is not in ENCRYPTION_KEYS")
    try:
        return AESGCM(key).decrypt(token[:_NONCE_BYTES], token[_NONCE_BYTES:], place.encode())
    except (InvalidTag, ValueError):
        raise CredentialUnreadable(operator_detail=f"ciphertext at {place} does not match its key and place") from None
