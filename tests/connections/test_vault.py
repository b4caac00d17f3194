"""Ciphertext opens with its key, at its place, unaltered; and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connections import vault
from connections.models import Connection, Credential
from connections.vault import CredentialUnreadable

PLACE = "connections_credential:1:access_token"


@given(st.binary(max_size=500), st.text(min_size=1, max_size=50))
def test_what_was_sealed_opens(plaintext, place):
    key_id, token = vault.encrypt(plaintext, place=place)
    assert vault.decrypt(token, key_id=key_id, place=place) == plaintext
    assert plaintext == b"" or len(plaintext) < 8 or plaintext not in token


def test_the_same_secret_never_looks_the_same():
    assert vault.encrypt(b"x", place=PLACE)[1] != vault.encrypt(b"x", place=PLACE)[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda token, key, place: (token, key, place + "x"),
        lambda token, key, place: (token[:-1] + bytes([token[-1] ^ 1]), key, place),
        lambda token, key, place: (b"", key, place),
        lambda token, key, place: (token, "missing", place),
    ],
)
def test_moved_altered_or_keyless_it_does_not_open(change):
    key_id, token = vault.encrypt(b"secret", place=PLACE)
    token, key_id, place = change(token, key_id, PLACE)
    with pytest.raises(CredentialUnreadable) as caught:
        vault.decrypt(token, key_id=key_id, place=place)
    assert "secret" not in str(caught.value)


def test_new_secrets_use_the_newest_key_and_old_ones_still_open(settings):
    old = settings.ENCRYPTION_KEYS
    key_id, token = vault.encrypt(b"secret", place=PLACE)
    settings.ENCRYPTION_KEYS = {"newer": b"n" * 32} | old
    assert vault.encrypt(b"x", place=PLACE)[0] == "newer"
    assert vault.decrypt(token, key_id=key_id, place=PLACE) == b"secret"


@pytest.mark.django_db
def test_a_credential_row_opens_only_as_itself(alice):
    connection = Connection.objects.create(workspace=alice.workspace, owner=alice.user, provider="plaid", name="Bank")
    rows = [
        Credential(workspace=alice.workspace, connection=connection, name=name) for name in ("access_token", "other")
    ]
    for row in rows:
        row.seal("access-sandbox-0123456789abcdef")
        row.save()
    first, second = (Credential.objects.get(pk=row.pk) for row in rows)
    assert first.reveal() == "access-sandbox-0123456789abcdef"
    assert first.last_four == "cdef"
    assert first.fingerprint == second.fingerprint
    assert b"access-sandbox" not in bytes(first.ciphertext)
    first.ciphertext = second.ciphertext
    with pytest.raises(CredentialUnreadable):
        first.reveal()
