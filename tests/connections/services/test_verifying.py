"""Verifications are kept while something rests on them, and a while longer."""

from datetime import timedelta

import pytest
from django.utils import timezone

from connections.models import Verification
from connections.services.verifying import verifications_purge
from tests.connections.api.scene import make_shop

pytestmark = pytest.mark.django_db


def test_old_verifications_go_and_the_latest_of_each_version_stays(alice, settings):
    settings.VERIFICATION_DAYS = 30
    shop, other = make_shop(alice), make_shop(alice, "Other")

    def verification(connection, version: int, days: int | None) -> Verification:
        """days: None for one that is under way."""
        at = None if days is None else timezone.now() - timedelta(days=days)
        status = "running" if days is None else "passed"
        given = {"config_version": version, "finished_at": at, "status": status}
        return Verification.objects.create(workspace=alice.workspace, connection=connection, **given)

    [verification(shop, 1, days) for days in (90, 80, 70)]
    kept = [verification(shop, 1, 60)]
    verification(shop, 2, 40)
    kept += [verification(shop, 2, 35), verification(shop, 2, None)]  # what is under way may yet fail
    kept += [verification(other, 1, 50)]
    verification(other, 2, 31)
    kept += [verification(other, 2, 29), verification(other, 2, 1)]
    assert verifications_purge(batch=2) == 5
    assert set(Verification.objects.all()) == set(kept)
    assert verifications_purge() == 0
