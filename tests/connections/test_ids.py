"""Ids sort by age, in Python and as the database makes them."""

import time
import uuid

import pytest
from django.db import connection

from connections.ids import uuid7


def age_s(made: uuid.UUID) -> float:
    return time.time() - (made.int >> 80) / 1000


def test_ids_are_version_7_unique_and_in_order():
    made = []
    for _ in range(1000):
        made.append(uuid7())
        time.sleep(0.000001)
    assert len(set(made)) == 1000
    assert made == sorted(made)
    assert {(i.version, i.variant) for i in made} == {(7, uuid.RFC_4122)}
    assert 0 <= age_s(made[-1]) < 5


@pytest.mark.django_db
def test_the_databases_own_are_of_the_same_kind():
    with connection.cursor() as cursor:
        cursor.execute("SELECT causeway_uuid7() FROM generate_series(1, 100)")
        made = [row[0] for row in cursor.fetchall()]
    assert len(set(made)) == 100
    assert {(i.version, i.variant) for i in made} == {(7, uuid.RFC_4122)}
    assert -1 < age_s(made[0]) < 5
