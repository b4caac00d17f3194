"""Plaid's payloads become typed values, whatever is in them: an odd value costs itself, never the rest."""

import contextlib
import json
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connections.errors import TemporaryError
from connections.models import Account
from connections.providers.plaid import records

GOOD = {
    "account_id": "a1",
    "name": "Checking",
    "official_name": None,
    "mask": "1234",
    "type": "depository",
    "subtype": "checking",
    "balances": {"current": "10.10", "available": "9", "limit": None, "iso_currency_code": "USD"},
}
PAGE = {"added": [], "modified": [], "removed": [], "next_cursor": "c", "has_more": False, "request_id": "r1"}
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["\ud800", "\0x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def of(**changes) -> records.BankAccount:
    found = records.bank_account(GOOD | changes)
    assert found
    return found


def with_balances(**changes) -> records.BankAccount:
    return of(balances=GOOD["balances"] | changes)


@pytest.mark.parametrize("balances", ["12.00", None, 7, [], True])
def test_balances_that_are_no_object_are_no_balances(balances):
    found = of(balances=balances)
    assert (found.name, found.balance_current, found.iso_currency) == ("Checking", None, None)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("1234567890123456789.10", "1234567890123456789.10"),
        ("-0.5", "-0.5"),
        ("1E+3", "1000"),
        (12, "12"),
        ("1e24", "1" + 24 * "0"),
        ("1e25", None),
        ("1e999999", None),
        ("9e99999999999999999999999", None),
        ("1e-25", None),
        ("NaN", None),
        ("Infinity", None),
        (float("nan"), None),
        ("about ten", None),
        ([], None),
        (True, None),
    ],
)
def test_a_balance_is_exact_or_none(sent, kept):
    assert with_balances(current=sent).balance_current == kept


@pytest.mark.parametrize("code", ["TOO-LONG-FOR-A-CODE", "U\0D", "\ud800", 7, [], ""])
def test_a_currency_that_cannot_be_kept_is_none(code):
    found = with_balances(iso_currency_code=code, unofficial_currency_code=code)
    assert (found.iso_currency, found.unofficial_currency) == (None, None)


def test_texts_fit_their_columns_and_hold_nothing_that_postgresql_refuses():
    long = "n\0\ud83d" + "x" * 5000
    found = of(name=long, official_name=long, mask=long, type=long, subtype=long, persistent_account_id=long)
    for name in ("name", "official_name", "mask", "type", "subtype", "persistent_id"):
        value = getattr(found, name)
        assert len(value) <= Account._meta.get_field(name).max_length
        assert value.encode().count(b"\0") == 0
    assert found.persistent_id == ""  # a shortened id would be another account's
    assert of(mask=12).mask == "12"
    assert of(name={}).name == "Account"


@pytest.mark.parametrize("account_id", [None, 7, [], {}, "", "x" * 129, "a\0", "\ud800"])
def test_an_account_without_a_usable_id_is_left_out_and_hides_no_other(account_id):
    odd = GOOD | {"account_id": account_id}
    found = records.bank_accounts([odd, GOOD, "x", None, 3])
    assert [account.external_id for account in found] == ["a1"]


@pytest.mark.parametrize("accounts", [None, 5, True, "x", {}])
def test_accounts_that_are_no_list_are_none(accounts):
    assert records.bank_accounts(accounts) == []
    assert records.sync_page(json.dumps(PAGE | {"accounts": accounts}).encode()).accounts == []


def test_a_page_names_only_accounts_that_have_a_name():
    rows = [{"account_id": account_id} for account_id in ("a1", 7, None, [], {})]
    page = records.sync_page(json.dumps(PAGE | {"added": rows, "modified": ["x", 1]}).encode())
    assert page.account_ids == {"a1"}
    assert page.records == 7


@pytest.mark.parametrize("cursor", [None, 7, "a\0b", "\ud800", "x" * 5000])
def test_a_page_without_a_usable_cursor_is_malformed(cursor):
    with pytest.raises(TemporaryError) as caught:
        records.sync_page(json.dumps(PAGE | {"next_cursor": cursor}).encode())
    assert (caught.value.code, caught.value.request_id) == ("provider_malformed", "r1")


@pytest.mark.parametrize(
    "raw", [b"", b"\xff", b"[1]", b"[" * 100_000, b'{"added": NaN}', b'{"request_id": {}}', b"1" * 5000]
)
def test_what_is_no_page_is_malformed(raw):
    with pytest.raises(TemporaryError):
        records.sync_page(raw)


def test_absurd_numbers_do_not_cost_the_page():
    raw = b'{"added":[{"account_id":"a1","amount":1e999999,"x":NaN}],"modified":[],"removed":[],"next_cursor":"","has_more":false,"accounts":[{"account_id":"a1","balances":{"current":1e999999}}]}'
    page = records.sync_page(raw)
    assert records.bank_accounts(page.accounts)[0].balance_current is None


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00+00:00"),
        ("2026-11-22T10:00:00", "2026-11-22T10:00:00+00:00"),
        ("1969-12-31T23:59:59Z", None),
        ("9999-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("2026-02-30T00:00:00Z", None),
        ("soon", None),
        (7, None),
        ([], None),
        (None, None),
    ],
)
def test_a_moment_is_aware_and_within_reason(sent, kept):
    found = records.instant(sent)
    assert (found.isoformat() if found else None) == kept


def test_an_institution_keeps_what_can_be_kept():
    found = records.institution(
        {"institution": {"institution_id": "i" * 65, "name": "B\0ank", "logo": "<svg>", "primary_color": "#" * 40}}
    )
    assert (found.external_id, found.name, found.logo, found.color) == ("", "Bank", "", "#" * 16)
    assert records.institution({"institution": {"logo": "iVBORw0KGgo="}}).logo == "iVBORw0KGgo="


def session(**fields) -> dict:
    return {"link_sessions": [{"link_session_id": "s", "started_at": "t"} | fields]}


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({}, "open"),
        (session(), "open"),
        (session(finished_at="t"), "ended"),
        (session(finished_at="t", results={"item_add_results": []}), "ended"),
        (session(finished_at="t", exit={"error": None}), "exited"),
        (session(finished_at="t", results={"item_add_results": [{"public_token": "p"}]}), "finished"),
        (session(finished_at="t", results={"item_add_results": [{"public_token": 7}]}), "ended"),
    ],
)
def test_a_session_is_finished_only_with_a_result(answer, state):
    assert records.link_results(answer)[1] == state


def test_links_metadata_is_text_whatever_came():
    _, (only,) = (
        "",
        records.link_results(
            session(
                finished_at="t",
                results={
                    "item_add_results": [
                        {"public_token": "p", "institution": "x", "accounts": [7, {"name": ["n"], "mask": 12}]}
                    ]
                },
            )
        )[0],
    )
    assert only[1] == {"institution": {"institution_id": "", "name": ""}, "accounts": [{"name": "", "mask": "12"}]}


@given(anything)
def test_no_value_raises_anything_but_malformed(value):
    for name in (*GOOD, "persistent_account_id"):
        account = records.bank_account(GOOD | {name: value})
        if account:
            for field in fields(account):
                kept = getattr(account, field.name)
                assert kept is None or kept.encode().find(b"\0") < 0
    records.bank_accounts(value)
    records.institution({"institution": value})
    records.institution({"institution": {"name": value, "logo": value, "institution_id": value}})
    records.item_details({"item": value})
    records.item_details({"item": {"item_id": value, "consent_expiration_time": value}})
    records.link_metadata(value)
    records.link_results({"link_sessions": value})
    records.link_results({"link_sessions": [value]})
    records.link_results(session(finished_at=value, results=value, exit=value))
    records.link_results(session(results={"item_add_results": [value]}))
    for name in (*PAGE, "accounts", "transactions_update_status"):
        with contextlib.suppress(TemporaryError):
            records.sync_page(json.dumps(PAGE | {name: value}).encode())
