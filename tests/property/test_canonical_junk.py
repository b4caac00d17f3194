"""Payloads that are wrong anywhere: either they are understood, or they are refused by the path of a field."""

import copy
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connections.errors import RejectedRecord
from connections.providers.base import SourceRecord
from connections.providers.supabase.contract import DEFAULTS
from connections.providers.supabase.records import row_of
from sync.canonical import content_hash, from_json, to_json
from sync.sources import canonical_of
from sync.targets.supabase import target_record
from tests.sync.sources.test_woocommerce import recorded

D = Decimal
FACTS = {"shop": {"currency": "CAD"}, "preferences": {"home_currency": "USD"}}
DETAIL = {"ItemRef": {"value": "21", "name": "Mug"}, "Qty": D(2), "UnitPrice": D(20), "TaxCodeRef": {"value": "TAX"}}
SALE = {
    "Id": "145",
    "MetaData": {"CreateTime": "2026-11-02T04:15:05-08:00", "LastUpdatedTime": "2026-11-02T04:15:05-08:00"},
    "DocNumber": "WC-1",
    "TxnDate": "2026-11-02",
    "CurrencyRef": {"value": "USD"},
    "CustomerRef": {"value": "58", "name": "Ana"},
    "BillAddr": {"Line1": "1 Main St"},
    "BillEmail": {"Address": "ana@example.com"},
    "Line": [
        {"Id": "1", "Amount": D(40), "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": DETAIL},
        {"Id": "2", "DetailType": "GroupLineDetail", "GroupLineDetail": {"Line": [{"Id": "3", "Amount": D(1)}]}},
        {"Amount": D(4), "DetailType": "DiscountLineDetail", "DiscountLineDetail": {"PercentBased": True, "DiscountPercent": D(10)}},
        {"Amount": D(5), "LinkedTxn": [{"TxnId": "1", "TxnType": "Invoice"}]},
    ],
    "TxnTaxDetail": {"TotalTax": D("2.97"), "TaxLine": [{"Amount": D("2.97"), "TaxLineDetail": {"TaxRateRef": {"value": "1"}, "TaxPercent": D(5)}}]},
    "TotalAmt": D("44.97"),
    "Balance": D(0),
    "PrivateNote": "WC order 1",
}  # fmt: skip
PERSON = {
    "Id": "1",
    "DisplayName": "Ana",
    "PrimaryPhone": {"FreeFormNumber": "+1"},
    "PrimaryEmailAddr": {"Address": "a@x.test"},
    "BillAddr": {"City": "Austin"},
    "Balance": D(1),
    "Active": True,
}
ITEM = {"Id": "1", "Name": "Mug", "Type": "Inventory", "UnitPrice": D(5), "TrackQtyOnHand": True, "QtyOnHand": D(3)}
PAYLOADS: list[tuple[str, str, str, dict]] = [
    ("woocommerce", "orders", "49", recorded("order_guest_coupon_two_taxes")),
    ("woocommerce", "refunds", "50", recorded("refund_created")),
    ("woocommerce", "customers", "2", recorded("customer")),
    ("woocommerce", "products", "48", recorded("product") | {"attributes": [{"name": "Colour", "option": "Red"}]}),
    ("quickbooks", "customers", "1", PERSON),
    ("quickbooks", "vendors", "1", PERSON),
    ("quickbooks", "products", "1", ITEM),
    *(
        ("quickbooks", entity, f"{kind}145", SALE)
        for entity, kind in (
            ("orders", "Invoice:"),
            ("orders", "SalesReceipt:"),
            ("refunds", "RefundReceipt:"),
            ("refunds", "CreditMemo:"),
            ("payments", ""),
            ("bills", ""),
        )
    ),
]
IDS = [f"{provider} {entity} {one}" for provider, entity, one, _payload in PAYLOADS]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**60), 10**60),
    st.floats(),
    st.decimals(),
    st.text(),
    st.sampled_from(("", "0", "-1", "1e5", "1E-30", "NaN", "9" * 40, "0000-00-00T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
                     "\x00", "\ud800", "&#0;", "&#xD800;", "&amp;" * 50, "<" * 99, "2026-13-01", "٣", "true", "CAD ", "1,5")),
)  # fmt: skip
JUNK = st.recursive(
    ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths(value: Any, at: tuple = ()) -> Iterator[tuple]:
    yield at
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths(value[key], (*at, key))


def broken(payload: dict, path: tuple, junk: Any) -> Any:
    made = copy.deepcopy(payload)
    inner: Any = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = junk
    return made


def understood_or_refused(provider: str, entity: str, external_id: str, payload: Any) -> None:
    """Any other exception is the test's failure."""
    try:
        found = canonical_of(provider, SourceRecord(entity, external_id, payload), FACTS)
    except RejectedRecord as error:
        refused_by_path(error)
        return
    if found is None:
        return
    assert from_json(to_json(found)) == found
    assert len(content_hash(found)) == 64
    if hasattr(found, "gap"):
        assert found.gap().is_finite()
    target = target_record(found, connection_id=uuid4(), source_system=provider, raw=payload)
    try:
        key = row_of(DEFAULTS[entity], target).key
    except RejectedRecord as error:
        refused_by_path(error)
        return
    assert key[2] == found.source_id


def refused_by_path(error: RejectedRecord) -> None:
    assert error.fields
    assert all(isinstance(path, str) and path and why for path, why in error.fields.items())


def hold(which: tuple[str, str, str, dict], *, examples: int, is_random: bool = False) -> None:
    provider, entity, external_id, payload = which
    places = [path for path in paths(payload) if path]

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=not is_random,
        suppress_health_check=list(HealthCheck),
    )
    @given(wrong=st.lists(st.tuples(st.sampled_from(places), JUNK), min_size=1, max_size=3), whole=st.none() | JUNK)
    def run(wrong, whole):
        made: Any = payload
        for path, junk in sorted(wrong, key=lambda one: -len(one[0])):
            made = broken(made, path, junk)
        understood_or_refused(provider, entity, external_id, made)
        understood_or_refused(provider, entity, external_id, whole)

    run()


@pytest.mark.parametrize("which", PAYLOADS, ids=IDS)
def test_a_payload_that_is_wrong_anywhere_is_understood_or_refused_by_a_path(which):
    hold(which, examples=40)


@pytest.mark.long
@pytest.mark.parametrize("which", PAYLOADS, ids=IDS)
def test_a_payload_that_is_wrong_anywhere_is_understood_or_refused_by_a_path_at_length(which):
    hold(which, examples=1000, is_random=True)
