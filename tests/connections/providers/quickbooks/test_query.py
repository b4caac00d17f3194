"""No value becomes a part of a statement: whatever is looked up is read back exactly."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connections.providers.quickbooks.query import count, literal, select, updated_between, where

printable = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=60).filter(str.isprintable)


def read_back(statement: str) -> tuple[str, list[str]]:
    """(the statement with every quoted text replaced by ?, the texts): a reader of its own, by the published rules."""
    outside, texts, inside, position = "", [], None, 0
    while position < len(statement):
        char = statement[position]
        if inside is None:
            inside = "" if char == "'" else None
            outside += "?" if char == "'" else char
        elif char == "\\":
            position += 1
            inside += statement[position]
        elif char == "'":
            texts.append(inside)
            inside = None
        else:
            inside += char
        position += 1
    assert inside is None, "a text that does not end"
    return outside, texts


@given(printable)
def test_any_text_is_read_back_as_it_was(value):
    assert read_back(select("Customer", where("DisplayName", "=", value), limit=1)) == (
        "SELECT * FROM Customer WHERE DisplayName = ? AND Active IN (true, false) STARTPOSITION 1 MAXRESULTS 1",
        [value],
    )


@given(st.lists(printable, min_size=1, max_size=5), printable)
def test_several_conditions_stay_apart(names, note):
    statement = count("Invoice", where("Id", "IN", names), where("DocNumber", "LIKE", note))
    outside, texts = read_back(statement)
    assert texts == [*names, note]
    assert outside == f"SELECT COUNT(*) FROM Invoice WHERE Id IN ({', '.join('?' * len(names))}) AND DocNumber LIKE ?"


@given(st.text(max_size=20).filter(lambda text: not text.isprintable()))
def test_a_text_with_control_characters_is_refused(value):
    with pytest.raises(ValueError, match="control"):
        where("DisplayName", "=", value)


@given(st.text(max_size=30).filter(lambda text: not re.fullmatch(r"[A-Z][A-Za-z]{1,40}", text)))
def test_names_of_entities_and_fields_are_never_free_text(name):
    with pytest.raises(ValueError, match="not an entity"):
        select(name)
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]{0,60}(\.[A-Z][A-Za-z0-9]{0,60})?", name):
        with pytest.raises(ValueError, match="not a field"):
            where(name, "=", "x")


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12))
def test_numbers_are_written_without_an_exponent(number):
    written = literal(number)
    assert "E" not in written
    assert Decimal(written.strip("'")) == number


def test_moments_days_and_truths_have_their_forms():
    west = timezone(timedelta(hours=-8))
    assert literal(datetime(2026, 11, 1, tzinfo=west)) == "'2026-11-01T00:00:00-08:00'"
    assert literal(date(2026, 11, 2)) == "'2026-11-02'"
    assert where("Active", "IN", [True, False]) == "Active IN (true, false)"
    assert updated_between(None, datetime(2026, 11, 2, tzinfo=UTC)) == [
        "MetaData.LastUpdatedTime <= '2026-11-02T00:00:00+00:00'"
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: where("Id", "!=", "1"),
        lambda: where("Id", "IN", []),
        lambda: where("Id", "=", ["1"]),
        lambda: where("TotalAmt", "=", 1.5),
        lambda: where("TxnDate", "=", datetime(2026, 1, 1)),
        lambda: select("Customer", limit=1001),
        lambda: select("Customer", start=0),
    ],
)
def test_what_the_language_does_not_know_is_refused(wrong):
    with pytest.raises(ValueError, match="."):
        wrong()


def test_only_lists_are_asked_for_their_inactive_records():
    assert "Active" not in select("Invoice")
    assert "Active" not in select("Customer", with_inactive=False)
    assert select("Invoice", order_by="MetaData.LastUpdatedTime", start=3, limit=5) == (
        "SELECT * FROM Invoice ORDERBY MetaData.LastUpdatedTime ASC STARTPOSITION 3 MAXRESULTS 5"
    )
