"""Telling sound pages from poisoned ones, exactly."""

import json
from decimal import Decimal

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connections.errors import TemporaryError
from sync import poison, staging

SOUND = {"transaction_id": "t1", "name": "Café 🦆", "amount": 12.30}
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | texts
    | st.integers(-(10**20), 10**20)
    | st.decimals(-(10**9), 10**9, allow_nan=False, places=4).map(float),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=8,
)


def page(*records: str) -> bytes:
    return f'{{"added":[{",".join(records)}],"modified":[],"removed":[],"next_cursor":"c","has_more":false}}'.encode()


@pytest.mark.parametrize(
    ("fragment", "reason"),
    [
        ('{"transaction_id":"p","name":"a\\u0000b"}', "NUL"),
        ('{"transaction_id":"p","name":"\\ud800"}', "surrogate"),
        ('{"transaction_id":"p","deep":{"x":["\\udfff"]}}', "surrogate"),
        ('{"transaction_id":"p","a\\u0000":1}', "NUL"),
        ('{"transaction_id":"p","amount":1e999999}', "range"),
        ('{"transaction_id":"p","amount":NaN}', "range"),
    ],
)
def test_the_bad_record_is_taken_out_and_the_good_ones_stay_exact(fragment, reason):
    raw, found = poison.extract(page('{"transaction_id":"t1","amount":0.10000000000000000555}', fragment))
    assert [(p.external_id, reason in p.reason) for p in found] == [("p", True)]
    assert b"0.10000000000000000555" in raw
    assert b'"t1"' in raw
    assert b'"p"' not in raw
    assert "\0" not in found[0].payload
    found[0].payload.encode("ascii")


def test_a_record_without_a_usable_name_gets_one_that_repeats():
    fragments = ['{"transaction_id":7,"name":"\\u0000"}', '{"transaction_id":"\\u0000"}', '["\\u0000"]']
    first = [p.external_id for p in poison.extract(page(*fragments))[1]]
    assert first == [p.external_id for p in poison.extract(page(*fragments))[1]]
    assert len(set(first)) == 3
    assert all(name.startswith("unnamed-") for name in first)


def test_deep_nesting_is_a_page_that_nobody_reads():
    deep = '{"transaction_id":"p","name":"\\u0000","x":' + "[" * 5000 + "]" * 5000 + "}"
    with pytest.raises((ValueError, RecursionError)):
        poison.extract(page(deep))


@given(st.lists(values, max_size=4))
def test_sound_values_come_through_unchanged(records):
    texts = [json.dumps(record) for record in records]
    raw, found = poison.extract(page(*texts))
    assert found == []
    assert json.loads(raw, parse_float=Decimal)["added"] == json.loads(f"[{','.join(texts)}]", parse_float=Decimal)


@pytest.mark.django_db
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.text(st.characters(), max_size=5), st.text(st.characters(), max_size=10) | st.floats(), max_size=3
        ),
        max_size=4,
    )
)
def test_whatever_comes_postgresql_takes_what_is_left(db, records):
    """Any text at all, NUL and lone surrogates included, and any float, NaN included."""
    raw = page(*(json.dumps(record) for record in records))
    try:
        kept, found = staging.without_poison(raw)
    except TemporaryError:
        pytest.fail("a page of small records can always be read")
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::text::jsonb IS NOT NULL", [kept.decode()])
        assert cursor.fetchone() == (True,)
    assert len(found) <= len(records)
    for record in found:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s::text, %s::text", [record.payload, record.external_id])
