"""Canonical records as JSON and as a hash."""

from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import get_args, get_origin, get_type_hints

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connections.errors import RejectedRecord
from sync.canonical import KINDS, Address, Line, LineTax, Order, content_hash, from_json, to_json

D = Decimal
ORDER = Order(
    source_id="49",
    number="WC-49",
    currency="CAD",
    total=D("31.84"),
    ordered_at=datetime(2026, 11, 22, 4, 24, 32, tzinfo=UTC),
    ordered_on=date(2026, 11, 21),
    billing=Address(first_name="Zoë", city="Edmonton"),
    lines=(
        Line(line_id="33", total=D("8.99"), taxes=(LineTax(rate_id="1", total=D("0.45")),), options=(("Size", "L"),)),
    ),
)


def test_a_record_told_in_json_is_the_same_record_when_it_is_read():
    assert from_json(orjson.loads(orjson.dumps(to_json(ORDER)))) == ORDER


def test_amounts_are_told_as_decimal_text_without_idle_zeros():
    told = to_json(replace(ORDER, total=D("1E+2"), tax_total=D("-0.00"), exchange_rate=D("1.10")))
    assert (told["total"], told["tax_total"], told["exchange_rate"]) == ("100", "0", "1.1")


@pytest.mark.parametrize(
    "change, path",
    [
        ({"entity": "invoices"}, "entity"),
        ({"entity": ["orders"]}, "entity"),
        ({"currency": None}, "currency"),
        ({"total": "NaN"}, "total"),
        ({"total": 1.5}, "total"),
        ({"total": True}, "total"),
        ({"total": "1e999999999"}, "total"),
        ({"number": "\ud800"}, "number"),
        ({"ordered_at": "2026-11-22T04:24:32"}, "ordered_at"),
        ({"ordered_at": "0001-01-01T00:00:00+14:00"}, "ordered_at"),
        ({"ordered_on": "22.11.2026"}, "ordered_on"),
        ({"is_voided": "no"}, "is_voided"),
        ({"lines": {}}, "lines"),
        ({"lines": [{"line_id": "1", "kind": "gift"}]}, "lines.0.kind"),
        ({"lines": [{}]}, "lines.0.line_id"),
        ({"lines": [{"line_id": "1", "options": [["Size"]]}]}, "lines.0.options.0"),
        ({"lines": [{"line_id": "1", "taxes": [{"rate_id": "1", "total": "x"}]}]}, "lines.0.taxes.0.total"),
        ({"billing": "Main St"}, "billing"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_no_record_is_refused_by_the_path_of_its_field(change, path):
    with pytest.raises(RejectedRecord) as refused:
        from_json(to_json(ORDER) | change)
    assert list(refused.value.fields or {}) == [path]


@pytest.mark.parametrize("told", [None, [], "order", 5, {}])
def test_what_says_no_kind_of_record_is_refused(told):
    with pytest.raises(RejectedRecord):
        from_json(told)


# --- the hash ---
def test_equal_records_have_one_hash_whatever_digits_and_zones_they_came_with():
    east = timezone(timedelta(hours=9))
    same = replace(
        ORDER, total=D("31.8400"), tax_total=D("0E-6"), ordered_at=datetime(2026, 11, 22, 13, 24, 32, tzinfo=east)
    )
    assert content_hash(same) == content_hash(ORDER)


def test_a_record_that_was_only_touched_keeps_its_hash():
    assert content_hash(replace(ORDER, modified_at=datetime.now(UTC))) == content_hash(ORDER)


def test_a_hash_is_the_same_in_every_version_of_ours():
    """Another one would have every record of every flow written again. Fields that are added later do not change it."""
    known = "95e6dd80cdf28aeb5541539bf8b567281e4cf567aa225799a3c77ae8fb9ee0c7"
    assert content_hash(ORDER) == known


def test_the_same_words_in_another_kind_of_record_have_another_hash():
    assert len({content_hash(kind(source_id="1", **_needed(kind))) for kind in KINDS.values()}) == len(KINDS)


def _needed(kind) -> dict:
    return {"currency": "EUR", "total": D(1)} if "total" in kind.__dataclass_fields__ else {}


def _another(kind, name):
    """A value that no record above has in this field."""
    hint = get_type_hints(kind)[name]
    hint = get_args(hint)[0] if type(None) in get_args(hint) else hint
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        return (("Colour", "Red"),) if get_origin(inner) is tuple else (_smallest(inner),)
    made = {str: "other", bool: None, D: D("77.7"), datetime: datetime(2020, 1, 1, tzinfo=UTC), date: date(2020, 1, 1)}
    if hint is bool:
        return not kind.__dataclass_fields__[name].default
    return made[hint] if hint in made else Address(city="Ulm") if hint is Address else get_args(hint)[-1]


def _smallest(kind):
    required = {
        one.name: _another(kind, one.name) for one in fields(kind) if type(one.default).__name__ == "_MISSING_TYPE"
    }
    return kind(**required)


@pytest.mark.parametrize("entity", KINDS)
def test_any_field_that_says_something_else_changes_the_hash(entity):
    kind = KINDS[entity]
    first = kind(source_id="1", **_needed(kind))
    for one in fields(kind):
        if one.name != "modified_at":
            assert content_hash(replace(first, **{one.name: _another(kind, one.name)})) != content_hash(first), one.name


@pytest.mark.parametrize("part", [one.name for one in fields(Line)])
def test_any_word_of_a_line_changes_the_hash(part):
    line = replace(ORDER.lines[0], **{part: _another(Line, part)})
    assert content_hash(replace(ORDER, lines=(line,))) != content_hash(ORDER)


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(text=st.text(), amount=st.decimals(allow_nan=False, allow_infinity=False, places=4), order=st.randoms())
def test_any_text_and_amount_come_back_and_the_order_of_keys_means_nothing(text, amount, order):
    record = replace(ORDER, memo=text.encode(errors="ignore").decode(), total=amount)
    told = list(to_json(record).items())
    order.shuffle(told)
    again = from_json(dict(told))
    assert again == record
    assert content_hash(again) == content_hash(record)
