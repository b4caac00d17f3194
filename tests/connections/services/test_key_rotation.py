"""Every ciphertext gets under the newest key, once, and stays readable all the time."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from connections.models import Connection, Credential, IdempotencyKey, PlaidExchange, PlaidLink, RetiredPlaidItem
from connections.services import key_rotation
from connections.services.key_rotation import keys_rotate

pytestmark = pytest.mark.django_db


@pytest.fixture
def secrets(alice) -> dict:
    """Five credentials, a link token, and the tokens of an exchange and of an Item left behind, and an answer kept for repeats, under the old key."""
    sealed = {}
    for number in range(5):
        connection = Connection.objects.create(
            workspace=alice.workspace, owner=alice.user, provider="plaid", name="Bank"
        )
        row = Credential(workspace=alice.workspace, connection=connection, name="access_token")
        row.seal(f"access-sandbox-{number}")
        row.save()
        sealed[row] = f"access-sandbox-{number}"
    link = PlaidLink(
        workspace=alice.workspace, user=alice.user, environment="sandbox", digest="d", expires_at=timezone.now()
    )
    link.seal("link-sandbox-1")
    link.save()
    exchange = PlaidExchange(workspace=alice.workspace, user=alice.user, environment="sandbox", digest="d")
    retired = RetiredPlaidItem(
        workspace=alice.workspace, connection=connection, environment="sandbox", item_id="i", key_id=""
    )
    answer = IdempotencyKey(workspace=alice.workspace, user=alice.user, key_hash="k")
    answer.lease_token, answer.lease_expires_at = answer.pk, timezone.now()
    for row in (exchange, retired, answer):
        row.seal("access-sandbox-9")
        row.save()
    # Two whose token is destroyed have nothing to rotate.
    PlaidExchange.objects.create(workspace=alice.workspace, user=alice.user, environment="sandbox", digest="e")
    RetiredPlaidItem.objects.create(
        workspace=alice.workspace, connection=connection, environment="sandbox", item_id="j"
    )
    return sealed | {
        link: "link-sandbox-1",
        exchange: "access-sandbox-9",
        retired: "access-sandbox-9",
        answer: "access-sandbox-9",
    }


@pytest.fixture
def newer(settings, secrets):
    settings.ENCRYPTION_KEYS = {"newer": b"n" * 32} | settings.ENCRYPTION_KEYS


def test_all_are_rotated_and_open_without_the_old_key(secrets, newer, settings, monkeypatch):
    monkeypatch.setattr(key_rotation, "BATCH", 2)
    seen = []
    done = keys_rotate(report=lambda rotation: seen.append(rotation.rotated))
    assert (done.waiting, done.rotated, done.unreadable) == (9, 9, 0)
    assert seen == sorted(seen)
    assert len(seen) >= 4
    settings.ENCRYPTION_KEYS = {"newer": b"n" * 32}
    for row, secret in secrets.items():
        row.refresh_from_db()
        assert (row.key_id, row.reveal()) == ("newer", secret)


def test_a_second_rotation_finds_nothing(newer):
    keys_rotate()
    assert keys_rotate().waiting == 0


def test_one_that_was_cut_short_is_gone_on_with(newer, monkeypatch):
    monkeypatch.setattr(key_rotation, "BATCH", 2)

    def cut(_rotation):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keys_rotate(report=cut)
    assert Credential.objects.filter(key_id="newer").count() == 2
    assert keys_rotate().rotated == 7


def test_a_dry_run_changes_nothing(newer):
    out = StringIO()
    call_command("rotate_keys", "--dry-run", stdout=out)
    assert "9 credentials are not under key newer" in out.getvalue()
    assert not Credential.objects.filter(key_id="newer").exists()


def test_what_comes_in_under_another_key_meanwhile_is_told(newer, settings):
    """A process that still has the old key first, and writes after each table was done."""
    rounds = iter([None, None, None, None, PlaidLink, Credential])

    def write(_rotation):
        if model := next(rounds):
            row = model.objects.first()
            both, settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS, dict(reversed(settings.ENCRYPTION_KEYS.items()))
            row.seal("access-sandbox-late")
            settings.ENCRYPTION_KEYS = both
            row.save()

    assert keys_rotate(report=write).left == 1
    assert (keys_rotate().left, Credential.objects.first().reveal()) == (0, "access-sandbox-late")


def test_what_cannot_be_read_stays_and_is_told(secrets, settings):
    settings.ENCRYPTION_KEYS = {"newer": b"n" * 32}
    with pytest.raises(SystemExit, match="9 credentials could not be read"):
        call_command("rotate_keys", stdout=StringIO())
    assert not Credential.objects.filter(key_id="newer").exists()
