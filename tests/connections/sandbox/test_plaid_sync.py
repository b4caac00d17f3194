"""The change log as /transactions/sync shows it."""

from __future__ import annotations

import json
import random
from decimal import Decimal

import orjson
import pytest

from .conftest import Simulator, applied

MUTATION = "TRANSACTIONS_ERROR/TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION"
CURSOR_ERROR = "INVALID_REQUEST/INVALID_FIELD"


def ids(rows: list[dict]) -> list[str]:
    return [row["transaction_id"] for row in rows]


def test_pages_add_up_to_the_whole_history(simulator: Simulator):
    item = simulator.item(transactions=1203)
    pages, cursor = item.drain(count=500)
    assert [len(page["added"]) for page in pages] == [500, 500, 203]
    assert set(applied({}, pages)) == set(item.truth())
    assert item.page(cursor)["added"] == []
    assert item.page(cursor)["next_cursor"] == cursor
    assert {page["transactions_update_status"] for page in pages} == {"HISTORICAL_UPDATE_COMPLETE"}


def test_page_repeats_while_nothing_changed(simulator: Simulator):
    item = simulator.item()
    first = item.page(count=5)
    again = [item.page(first["next_cursor"], 5) for _turn in range(2)]
    assert again[0]["added"] == again[1]["added"]
    assert again[0]["next_cursor"] == again[1]["next_cursor"]


def test_same_seed_makes_the_same_rows(simulator: Simulator):
    facts = []
    for _turn in range(2):
        rows = simulator.item(seed=99).truth().values()
        facts.append([(row["amount"], row["date"], row["name"]) for row in rows])
    assert facts[0] == facts[1]


def test_count_defaults_to_100_and_stays_within_1_and_500(simulator: Simulator):
    item = simulator.item(transactions=120)
    assert len(simulator.ok("/transactions/sync", access_token=item.token)["added"]) == 100
    assert item.refused(count=0) == CURSOR_ERROR
    assert item.refused(count=501) == CURSOR_ERROR


def test_change_during_pagination_is_a_mutation_until_the_loop_restarts(simulator: Simulator):
    item = simulator.item()
    first = item.page(count=5)
    item.ops({"op": "add", "transaction": {"amount": 1}})
    for _turn in range(2):
        assert item.refused(first["next_cursor"], count=5) == MUTATION
    pages, _cursor = item.drain(count=5)
    assert set(applied({}, pages)) == set(item.truth())


def test_change_after_the_last_page_is_no_mutation(simulator: Simulator):
    item = simulator.item()
    _pages, cursor = item.drain(count=5)
    added = item.ops({"op": "add", "transaction": {"amount": 1}})
    assert ids(item.page(cursor)["added"]) == added


def test_mutation_can_be_forced(simulator: Simulator):
    item = simulator.item()
    item.fault("mutation", skip=1, times=2)
    first = item.page(count=5)
    assert item.refused(first["next_cursor"]) == MUTATION
    assert item.refused(first["next_cursor"]) == MUTATION
    assert item.page(first["next_cursor"])["added"]


def test_changes_since_the_cursor_collapse(simulator: Simulator):
    item = simulator.item()
    pages, cursor = item.drain()
    old, gone = ids(pages[0]["added"])[:2]
    new, brief = item.ops({"op": "add", "transaction": {"amount": 5}}, {"op": "add", "transaction": {"amount": 6}})
    item.ops(
        {"op": "modify", "transaction_id": new, "fields": {"amount": 7}},
        {"op": "modify", "transaction_id": old, "fields": {"name": "NEW NAME"}},
        {"op": "remove", "transaction_id": brief},
        {"op": "remove", "transaction_id": gone},
    )
    page = item.page(cursor)
    assert [(row["transaction_id"], row["amount"]) for row in page["added"]] == [(new, 7)]
    assert [(row["transaction_id"], row["name"]) for row in page["modified"]] == [(old, "NEW NAME")]
    assert ids(page["removed"]) == [gone]


def test_pending_row_leaves_and_posted_row_points_back(simulator: Simulator):
    item = simulator.item()
    pending = item.ops({"op": "add", "transaction": {"amount": 40, "pending": True}})[0]
    _pages, cursor = item.drain()
    posted = item.ops({"op": "post", "pending_transaction_id": pending, "fields": {"amount": 48}})[0]
    first = item.page(cursor, 1)
    second = item.page(first["next_cursor"], 1)
    assert ids(first["removed"]) == [pending]
    assert [(row["transaction_id"], row["pending_transaction_id"], row["amount"]) for row in second["added"]] == [
        (posted, pending, 48)
    ]


def test_posted_row_may_come_before_the_pending_row_leaves(simulator: Simulator):
    item = simulator.item()
    pending = item.ops({"op": "add", "transaction": {"amount": 40, "pending": True}})[0]
    _pages, cursor = item.drain()
    item.ops({"op": "post", "pending_transaction_id": pending, "order": "added_first"})
    assert item.page(cursor, 1)["added"]


def test_bank_without_pendings_never_matches(simulator: Simulator):
    item = simulator.item(institution_id="ins_910001")
    pending = item.ops({"op": "add", "transaction": {"amount": 4, "pending": True}})[0]
    posted = item.ops({"op": "post", "pending_transaction_id": pending})[0]
    assert item.truth()[posted]["pending_transaction_id"] is None
    assert simulator.refused("/transactions/refresh", access_token=item.token) == "ITEM_ERROR/PRODUCTS_NOT_SUPPORTED"


def test_raw_log_shows_rows_that_came_and_went(simulator: Simulator):
    item = simulator.item(raw_log=True)
    _pages, cursor = item.drain()
    pending = item.ops({"op": "add", "transaction": {"amount": 40, "pending": True}})[0]
    posted = item.ops({"op": "post", "pending_transaction_id": pending})[0]
    pages, _cursor = item.drain(cursor, count=1)
    assert [ids(page["added"]) + ids(page["removed"]) for page in pages] == [[pending], [pending], [posted]]


def test_row_that_returns_is_never_shown_leaving_after_it(simulator: Simulator):
    for raw_log in (False, True):
        item = simulator.item(raw_log=raw_log)
        pages, cursor = item.drain()
        back = ids(pages[0]["added"])[0]
        item.ops({"op": "remove", "transaction_id": back}, {"op": "re_add", "transaction_id": back})
        page = item.page(cursor)
        assert page["removed"] == []
        assert ids(page["added"] + page["modified"]) == [back]


def test_empty_cursor_replays_what_is_there_now(simulator: Simulator):
    item = simulator.item()
    first = ids(item.page()["added"])
    item.ops({"op": "remove", "transaction_id": first[3]})
    item.ops({"op": "modify", "transaction_id": first[4], "fields": {"amount": 12.5}})
    page = item.page("")
    assert set(ids(page["added"])) == set(item.truth())
    assert page["modified"] == page["removed"] == []


def test_foreign_and_disowned_cursors_are_refused(simulator: Simulator):
    item, other = simulator.item(), simulator.item()
    _pages, cursor = item.drain()
    answer = simulator.post("/transactions/sync", access_token=other.token, cursor=cursor).json()
    assert (answer["error_code"], "cursor" in answer["error_message"]) == ("INVALID_FIELD", True)
    assert item.refused("bm9uc2Vuc2U=") == CURSOR_ERROR
    item.state(disown_cursors=True)
    assert item.refused(cursor) == CURSOR_ERROR
    assert len(item.page("")["added"]) == 20


def test_account_filter_is_a_stream_of_its_own(simulator: Simulator):
    item = simulator.item(transactions=60)
    account = item.account_ids[1]
    page = item.page(count=5, options={"account_id": account})
    assert {row["account_id"] for row in page["added"]} == {account}
    assert [shown["account_id"] for shown in page["accounts"]] == [account]
    assert item.refused(page["next_cursor"]) == CURSOR_ERROR


def test_accounts_are_those_of_the_rows_in_the_answer(simulator: Simulator):
    item = simulator.item()
    _pages, cursor = item.drain()
    item.ops({"op": "add", "transaction": {"amount": 3, "account_id": item.account_ids[2]}})
    assert [shown["account_id"] for shown in item.page(cursor)["accounts"]] == [item.account_ids[2]]
    assert item.page(item.page(cursor)["next_cursor"])["accounts"] == []


def test_new_item_starts_empty_then_a_month_then_everything(simulator: Simulator):
    item = simulator.item(ready="not_ready", transactions=100, days=100)
    empty = item.page()
    assert (empty["added"], empty["next_cursor"], empty["has_more"]) == ([], "", False)
    assert empty["transactions_update_status"] == "NOT_READY"
    item.state(ready="initial")
    month = item.page()
    assert (len(month["added"]), month["transactions_update_status"]) == (30, "INITIAL_UPDATE_COMPLETE")
    item.state(ready="historical")
    rest = item.page(month["next_cursor"])
    assert (len(rest["added"]), rest["transactions_update_status"]) == (70, "HISTORICAL_UPDATE_COMPLETE")
    assert min(row["date"] for row in month["added"]) > max(row["date"] for row in rest["added"])


@pytest.mark.parametrize(
    "institution_id, places",
    [("ins_109508", 2), ("ins_910002", 2), ("ins_910005", 0), ("ins_910006", 8)],
)
def test_amounts_are_exact_in_their_currency(simulator: Simulator, institution_id: str, places: int):
    item = simulator.item(institution_id=institution_id, transactions=300)
    raw = simulator.http.post("/transactions/sync", json={"access_token": item.token, "count": 500}).content
    rows = json.loads(raw, parse_float=Decimal, parse_int=Decimal)["added"]
    exponents = {-row["amount"].as_tuple().exponent for row in rows}
    assert max(exponents) == places
    assert {bool(row["iso_currency_code"]) != bool(row["unofficial_currency_code"]) for row in rows} == {True}
    truth = item.truth()
    assert all(Decimal(truth[row["transaction_id"]]["amount"]) == row["amount"] for row in rows)


def test_given_amounts_survive_to_the_last_digit(simulator: Simulator):
    item = simulator.item(transactions=0)
    body = (
        b'{"ops":[{"op":"add","transaction":{"amount":12345678901234567.890123456789}},'
        b'{"op":"add","transaction":{"amount":0.10}}]}'
    )
    simulator.http.post(f"/_control/items/{item.item_id}/ops", content=body)
    raw = simulator.http.post("/transactions/sync", json={"access_token": item.token}).content
    assert b'"amount":12345678901234567.890123456789,' in raw
    assert {row["amount"] for row in item.truth().values()} == {"12345678901234567.890123456789", "0.10"}


def test_poison_rows_are_sent_verbatim(simulator: Simulator):
    item = simulator.item(transactions=1)
    item.ops(
        {"op": "add", "transaction": {"amount": 1}, "raw": {"name": '"nul \\u0000 and \\ud800"'}},
        {"op": "add", "transaction": {"amount": 2}, "omit": ["date"]},
        {"op": "raw_fragment", "json": '{"transaction_id":"__TRANSACTION_ID__","amount":1e999,"account_id":7}'},
    )
    raw = simulator.http.post("/transactions/sync", json={"access_token": item.token}).content
    assert b"\\u0000 and \\ud800" in raw
    assert b'"amount":1e999,"account_id":7}' in raw
    assert [bool(row.get("poison")) for row in item.truth().values()].count(True) == 3


def test_life_leaves_tampered_rows_alone(simulator: Simulator):
    item = simulator.item(transactions=0)
    made = item.ops(
        {"op": "raw_fragment", "json": "this is no JSON"},
        {"op": "add", "transaction": {"amount": None, "pending": True, "transaction_id": "mine"}},
        {"op": "add", "transaction": {"amount": 1}, "raw": {"amount": '"ten"'}},
    )
    simulator.control(f"items/{item.item_id}/advance", ticks=20)
    assert set(made) <= set(item.truth())


def test_rows_look_like_the_real_ones(simulator: Simulator):
    item = simulator.item(transactions=400)
    rows = item.page()["added"]
    assert 1400 < sum(len(orjson.dumps(row)) for row in rows) / len(rows) < 1900
    assert len({row["merchant_name"] for row in rows}) > 10
    assert any(row["amount"] < 0 for row in rows)
    assert any(row["pending"] for row in rows)
    assert all(row["original_description"] is None for row in rows)
    described = item.page(options={"include_original_description": True})["added"]
    assert all(row["original_description"] for row in described)


@pytest.mark.parametrize("raw_log", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_reader_that_follows_the_rules_always_ends_with_the_truth(simulator: Simulator, seed: int, raw_log: bool):
    """Random changes, random page sizes, mutations in the middle: the reader restarts and still ends right."""
    rng = random.Random(seed)
    item = simulator.item(seed=seed, raw_log=raw_log, transactions=60)
    copy: dict = {}
    cursor = ""
    for _round in range(6):
        pages, page_cursor = [], cursor
        count = rng.choice([1, 3, 7, 500])
        meddling = rng.random() < 0.5
        while True:
            response = simulator.post(
                "/transactions/sync", access_token=item.token, cursor=page_cursor, count=max(count, len(copy) // 20)
            )
            page = response.json()
            if response.status_code == 400:
                assert page["error_code"] == "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION"
                pages, page_cursor = [], cursor
                continue
            pages.append(page)
            page_cursor = page["next_cursor"]
            if not page["has_more"]:
                break
            if meddling:
                meddling = False
                simulator.control(f"items/{item.item_id}/advance", ticks=2)
        copy, cursor = applied(copy, pages), page_cursor
        truth = item.truth()
        assert {key: str(row["name"]) for key, row in copy.items()} == {key: row["name"] for key, row in truth.items()}
        simulator.control(f"items/{item.item_id}/advance", ticks=rng.randint(1, 4))
    assert any(row["pending_transaction_id"] for row in copy.values())


def test_dynamic_user_changes_on_refresh(simulator: Simulator):
    public = simulator.ok(
        "/sandbox/public_token/create",
        institution_id="ins_109508",
        initial_products=["transactions"],
        options={"override_username": "user_transactions_dynamic", "override_password": "anything"},
    )["public_token"]
    token = simulator.ok("/item/public_token/exchange", public_token=public)["access_token"]
    first = simulator.ok("/transactions/sync", access_token=token, count=500)
    pendings = {row["transaction_id"] for row in first["added"] if row["pending"]}
    simulator.ok("/transactions/refresh", access_token=token)
    page = simulator.ok("/transactions/sync", access_token=token, cursor=first["next_cursor"], count=500)
    before = {row["transaction_id"]: row["amount"] for row in first["added"]}
    assert (len(first["added"]), bool(pendings)) == (50, True)
    assert {row["pending_transaction_id"] for row in page["added"] if not row["pending"]} == pendings
    assert set(ids(page["removed"])) == pendings
    assert sum(row["pending"] for row in page["added"]) == 3
    assert [round(row["amount"] - before[row["transaction_id"]], 2) for row in page["modified"]] == [1.0]


def test_a_hundred_thousand_rows_are_there_at_once(simulator: Simulator):
    item = simulator.item(transactions=100_000, days=730)
    shown = simulator.control(f"items/{item.item_id}/truth?after=99990", "GET")
    assert (shown["total"], len(shown["transactions"])) == (100_000, 9)
    pages = [item.page()]
    for _turn in range(10):
        pages.append(item.page(pages[-1]["next_cursor"]))
    assert len(applied({}, pages)) == 5500


def test_account_churn_moves_rows_to_a_new_account(simulator: Simulator):
    item = simulator.item()
    pages, cursor = item.drain()
    old = item.account_ids[0]
    shown = item.state(rename_account={"account_id": old, "name": "Daily Account"})
    new = [account["account_id"] for account in shown["accounts"] if account["name"] == "Daily Account"]
    assert old not in shown["account_ids"]
    later, _cursor = item.drain(cursor)
    copy = applied(applied({}, pages), later)
    assert set(copy) == set(item.truth())
    assert {row["account_id"] for row in copy.values()} >= set(new)
    assert old not in {row["account_id"] for row in copy.values()}


def test_closed_account_vanishes_and_its_rows_stay(simulator: Simulator):
    item = simulator.item()
    item.state(remove_account=item.account_ids[0])
    shown = simulator.ok("/accounts/get", access_token=item.token)["accounts"]
    assert item.account_ids[0] not in {account["account_id"] for account in shown}
    assert len(item.page()["added"]) == 20


def test_items_share_no_ids(simulator: Simulator):
    one, two = simulator.item(), simulator.item()
    assert not set(one.truth()) & set(two.truth())
    assert not set(one.account_ids) & set(two.account_ids)


@pytest.mark.parametrize("institution_id", ["ins_109508", "ins_910005", "ins_910006"])
def test_long_life_keeps_balances_plausible(simulator: Simulator, institution_id: str):
    item = simulator.item(institution_id=institution_id)
    simulator.control(f"items/{item.item_id}/advance", ticks=150)
    accounts = simulator.ok("/accounts/get", access_token=item.token)["accounts"]
    for balances in (account["balances"] for account in accounts):
        assert balances["current"] > 0
        assert balances["limit"] is None or balances["current"] < balances["limit"]
