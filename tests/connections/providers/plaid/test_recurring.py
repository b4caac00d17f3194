"""Recurring streams as typed values: exact, and total over whatever comes."""

import json
from typing import Any

import pytest

from connections.providers.plaid import records
from connections.providers.plaid.client import _decimals

STREAM: dict[str, Any] = {
    "stream_id": "s-1",
    "account_id": "a-1",
    "description": "COPPERLINE GYM",
    "merchant_name": "Copperline",
    "first_date": "2026-01-02",
    "last_date": "2026-05-02",
    "predicted_next_date": "2026-06-01",
    "frequency": "MONTHLY",
    "transaction_ids": ["t-1"],
    "average_amount": {"amount": 39.9, "iso_currency_code": "USD", "unofficial_currency_code": None},
    "last_amount": {"amount": 41, "iso_currency_code": "USD", "unofficial_currency_code": None},
    "is_active": True,
    "status": "MATURE",
    "personal_finance_category": {"primary": "PERSONAL_CARE"},
}


def answer(*streams: object, inflow: bool = False) -> dict[str, Any]:
    names = ("inflow_streams", "outflow_streams") if inflow else ("outflow_streams", "inflow_streams")
    return _decimals(json.dumps({names[0]: list(streams), names[1]: []}).encode())


def only(**fields: Any):
    (found,) = records.recurring_streams(answer(STREAM | fields))
    return found


def test_a_stream_keeps_what_the_bank_tells():
    found = only()
    assert (found.external_id, found.external_account_id, found.direction) == ("s-1", "a-1", "outflow")
    assert (found.average_amount, found.last_amount, found.iso_currency) == ("39.9", "41", "USD")
    assert (found.first_date, found.last_date, found.predicted_next_date) == ("2026-01-02", "2026-05-02", "2026-06-01")
    assert (found.frequency, found.source_status, found.category) == ("MONTHLY", "MATURE", "PERSONAL_CARE")
    assert records.recurring_streams(answer(STREAM, inflow=True))[0].direction == "inflow"


def test_numbers_are_kept_digit_for_digit():
    text = json.dumps({"outflow_streams": [STREAM], "inflow_streams": []})
    raw = text.replace("39.9", "0.10000000000000000000001").replace("41", "123456789012345678901.50")
    (found,) = records.recurring_streams(_decimals(raw.encode()))
    assert (found.average_amount, found.last_amount) == ("0.10000000000000000000001", "123456789012345678901.50")
    assert '"amount":0.10000000000000000000001' in found.raw
    assert '"amount":123456789012345678901.50' in found.raw


@pytest.mark.parametrize("number", ["1e400000000000000000000", "1e5000", "1" * 5000, "NaN", "-Infinity"])
def test_a_number_beyond_all_bounds_is_no_money_and_stays_a_text(number):
    raw = json.dumps({"outflow_streams": [STREAM], "inflow_streams": []}).replace("39.9", number)
    (found,) = records.recurring_streams(_decimals(raw.encode()))
    assert found.average_amount is None
    assert isinstance(json.loads(found.raw)["average_amount"]["amount"], str)


@pytest.mark.parametrize("value", [None, 7, True, [], {}, "", "x\0y", "\ud800", "x" * 129])
@pytest.mark.parametrize("name", ["stream_id", "account_id"])
def test_a_stream_that_cannot_be_told_apart_hides_none_of_the_others(name, value):
    assert [found.external_id for found in records.recurring_streams(answer(STREAM | {name: value}, STREAM, 7))] == [
        "s-1"
    ]


@pytest.mark.parametrize("value", [None, 7, True, [], {}, [[]], "soon", "2026-02-30", "\0", "\ud800", {"amount": {}}])
@pytest.mark.parametrize("name", sorted(set(STREAM) - {"stream_id", "account_id"}))
def test_odd_values_become_none_or_text_that_can_be_held(name, value):
    found = only(**{name: value})
    assert found.external_id == "s-1"
    assert "\\u0000" not in found.raw
    json.loads(found.raw)


def test_an_average_in_another_currency_is_not_told_as_this_one():
    other = {"amount": 5, "iso_currency_code": "EUR"}
    assert (only(average_amount=other).average_amount, only(average_amount=other).iso_currency) == (None, "USD")
    nameless = {"amount": 5}
    assert (only(average_amount=nameless).average_amount, only(last_amount=nameless).iso_currency) == ("5", "USD")


def test_depth_is_bounded():
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    assert only(transaction_ids=deep).raw.count("[") < 50
