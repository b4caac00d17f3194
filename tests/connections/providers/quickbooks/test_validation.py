"""A record is refused before it is sent where QuickBooks would refuse it, and arrives unchanged where it would not."""

from decimal import ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connections import bodies
from connections.errors import RejectedRecord
from connections.providers.quickbooks.entities import ENTITIES, FLOW_ENTITY_OF, EntityField
from connections.providers.quickbooks.validation import Company, merged, prepared, writable

CUSTOMER, ITEM, INVOICE, RECEIPT, PAYMENT = (
    ENTITIES[name] for name in ("Customer", "Item", "Invoice", "SalesReceipt", "Payment")
)
REF = {"value": "1"}


def line(amount: str = "40.00", **detail) -> dict:
    made = {"ItemRef": REF, "Qty": Decimal(2), "UnitPrice": Decimal(20)} | detail
    return {"Amount": Decimal(amount), "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": made}


def wrong(entity, values, operation="create", **company) -> dict[str, list[str]]:
    with pytest.raises(RejectedRecord) as found:
        prepared(entity, values, operation, Company(**company))
    return found.value.fields


LIMITED = [
    (entity, field) for entity in ENTITIES.values() for field in entity.fields
    if field.is_sent and field.kind in ("text", "phone", "uri", "memo") and field.max_length
]  # fmt: skip
_INNER = {"phone": "FreeFormNumber", "uri": "URI", "memo": "value"}


def holding(field: EntityField, text: str):
    return {_INNER[field.kind]: text} if field.kind in _INNER else text


@given(st.sampled_from(LIMITED), st.integers(0, 3), st.sampled_from("aé漢😀"))
def test_a_text_is_taken_up_to_its_length_and_not_beyond(place, over, char):
    entity, field = place
    path = f"{field.name}.{_INNER[field.kind]}" if field.kind in _INNER else field.name
    whole = holding(field, char * field.max_length)
    assert prepared(entity, {field.name: whole}, "update")[field.name] == whole
    if over:
        assert list(wrong(entity, {field.name: holding(field, char * (field.max_length + over))}, "update")) == [path]


@given(st.decimals(-(10**11), 10**11, places=2))
def test_money_goes_over_the_wire_digit_for_digit(amount):
    made = prepared(PAYMENT, {"CustomerRef": REF, "TotalAmt": amount}, "create")
    sent = bodies.to_json(made)
    assert bodies.from_json(sent)["TotalAmt"] == amount
    assert made["TotalAmt"].as_tuple().exponent == -2


@given(st.decimals(-(10**6), 10**6, places=6).filter(lambda number: number % Decimal("0.01") != 0))
def test_money_with_more_than_cents_is_refused_not_rounded(amount):
    assert "TotalAmt" in wrong(PAYMENT, {"CustomerRef": REF, "TotalAmt": amount})


@given(st.integers(1, 10**6), st.decimals("0.01", 10**6, places=5), st.integers(-3, 3))
@example(qty=50950, price=Decimal("0.50950"), off_by=1)
@example(qty=50950, price=Decimal("0.50950"), off_by=0)
@example(qty=50950, price=Decimal("0.50950"), off_by=-1)
def test_a_lines_amount_is_quantity_times_price_to_the_cent(qty, price, off_by):
    """A product of half a cent is as near to the cent below as to the one above: Intuit does not say which it takes."""
    cent = Decimal("0.01")
    nearest = {(qty * price).quantize(cent, rounding) for rounding in (ROUND_HALF_UP, ROUND_HALF_DOWN)}
    amount = min(nearest) + off_by * cent
    values = {"CustomerRef": REF, "Line": [line(str(amount), Qty=Decimal(qty), UnitPrice=price)]}
    if amount in nearest:
        assert prepared(INVOICE, values, "create")["Line"][0]["Amount"] == amount
    else:
        assert list(wrong(INVOICE, values)) == ["Line[0].Amount"]


@given(st.text(max_size=50))
def test_whatever_text_is_given_can_be_sent(text):
    made = prepared(CUSTOMER, {"DisplayName": "A", "Notes": text}, "create")
    kept = bodies.from_json(bodies.to_json(made))["Notes"]
    assert kept == "".join(c for c in text if c in "\n\r\t" or (ord(c) >= 32 and ord(c) != 127 and c.isascii()) or ord(c) > 127)  # fmt: skip


@pytest.mark.parametrize("number", [1.5, True, "1.00", Decimal("NaN"), Decimal("1E+16"), Decimal(10**15)])
def test_only_exact_numbers_that_fit_are_money(number):
    assert "TotalAmt" in wrong(PAYMENT, {"CustomerRef": REF, "TotalAmt": number})


def test_prices_have_five_decimals():
    made = prepared(ITEM, {"UnitPrice": Decimal("1.234500")}, "update")
    assert str(made["UnitPrice"]) == "1.2345"
    assert "UnitPrice" in wrong(ITEM, {"UnitPrice": Decimal("1.234567")}, "update")
    assert str(prepared(ITEM, {"UnitPrice": Decimal("2E+3")}, "update")["UnitPrice"]) == "2000"


@pytest.mark.parametrize("entity", ENTITIES.values(), ids=lambda entity: entity.name)
def test_what_a_create_needs_is_named(entity):
    found = set(wrong(entity, {}))
    assert {field.name for field in entity.fields if field.presence == "required"} <= found
    assert found


@pytest.mark.parametrize("entity", ENTITIES.values(), ids=lambda entity: entity.name)
def test_what_quickbooks_computes_is_not_given_and_not_sent_back(entity):
    computed = [field.name for field in entity.fields if field.presence == "read_only"]
    assert set(wrong(entity, dict.fromkeys(computed, "1"), "update")) == set(computed)
    assert writable(entity, dict.fromkeys(computed, "1")) == {}


def test_stock_has_its_own_demands():
    stock = {"Name": "Shirt", "Type": "Inventory", "IncomeAccountRef": REF}
    needed = {"ExpenseAccountRef", "AssetAccountRef", "QtyOnHand", "InvStartDate", "TrackQtyOnHand"}
    assert set(wrong(ITEM, stock)) == needed
    assert set(wrong(ITEM, stock | {"Type": "Service", "QtyOnHand": Decimal(1)})) == {"QtyOnHand"}


def test_a_name_is_one_of_several_and_has_no_colon():
    assert prepared(CUSTOMER, {"FamilyName": "Díaz"}, "create") == {"FamilyName": "Díaz"}
    assert list(wrong(CUSTOMER, {"Notes": "x"})) == ["DisplayName"]
    assert list(wrong(CUSTOMER, {"DisplayName": "A:B"})) == ["DisplayName"]
    assert list(wrong(ITEM, {"Name": 'a"b'}, "update")) == ["Name"]


def test_preferences_decide_over_currency_and_numbers():
    values = {"CustomerRef": REF, "Line": [line()], "DocNumber": "WC-1"}
    assert list(wrong(INVOICE, values, is_multicurrency=True)) == ["CurrencyRef"]
    assert list(wrong(INVOICE, values, has_own_numbers=False)) == ["DocNumber"]
    assert prepared(INVOICE, values, "create", Company(is_multicurrency=False, has_own_numbers=True))


def test_a_currency_is_fixed_once_the_customer_is_made():
    assert list(wrong(CUSTOMER, {"CurrencyRef": {"value": "EUR"}}, "update")) == ["CurrencyRef"]


def test_a_mail_to_be_sent_needs_its_address():
    values = {"CustomerRef": REF, "Line": [line()], "EmailStatus": "NeedToSend"}
    assert list(wrong(INVOICE, values)) == ["BillEmail"]
    assert list(wrong(INVOICE, values | {"BillEmail": {"Address": "nobody"}})) == ["BillEmail.Address"]


@pytest.mark.parametrize(
    ("broken", "path"),
    [
        ({"DetailType": "TaxLineDetail"}, "Line[0].DetailType"),
        ({"Amount": None}, "Line[0].Amount"),
        ({"SalesItemLineDetail": None}, "Line[0].SalesItemLineDetail"),
        ({"SalesItemLineDetail": {}}, "Line[0].SalesItemLineDetail.ItemRef"),
        ({"SalesItemLineDetail": {"ItemRef": REF, "UnitPrice": 1.5}}, "Line[0].SalesItemLineDetail.UnitPrice"),
        ({"Description": "x" * 4001}, "Line[0].Description"),
        ({"Description": 5}, "Line[0].Description"),
    ],
)
def test_a_line_says_what_is_wrong_with_it(broken, path):
    assert path in wrong(RECEIPT, {"CustomerRef": REF, "Line": [line() | broken]})


def test_a_form_has_one_discount_and_no_subtotal_of_ours():
    discount = {"Amount": Decimal(1), "DetailType": "DiscountLineDetail", "DiscountLineDetail": {"PercentBased": False}}
    subtotal = {"Amount": Decimal(40), "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}}
    values = {"CustomerRef": REF, "Line": [line(), subtotal, discount]}
    assert [one["DetailType"] for one in prepared(INVOICE, values, "create")["Line"]] == [
        "SalesItemLineDetail",
        "DiscountLineDetail",
    ]
    assert list(wrong(INVOICE, values | {"Line": [line(), discount, discount]})) == ["Line"]
    assert list(wrong(INVOICE, values | {"Line": [subtotal]})) == ["Line"]


def test_addresses_are_held_to_their_parts():
    assert prepared(CUSTOMER, {"BillAddr": {"Line1": "1 Main St", "City": None}}, "update")["BillAddr"] == {
        "Line1": "1 Main St"
    }
    assert list(wrong(CUSTOMER, {"BillAddr": {"Street": "x"}}, "update")) == ["BillAddr.Street"]
    assert list(wrong(CUSTOMER, {"BillAddr": {"PostalCode": "x" * 31}}, "update")) == ["BillAddr.PostalCode"]
    assert list(wrong(CUSTOMER, {"BillAddr": {f"Line{n}": "x" * 500 for n in range(1, 6)}}, "update")) == ["BillAddr"]


@pytest.mark.parametrize("day", ["2026-2-1", "20260201", "2026-02-30", 20260201, "2026-02-01T00:00:00"])
def test_a_day_is_a_day(day):
    assert list(wrong(INVOICE, {"TxnDate": day}, "update")) == ["TxnDate"]


def test_a_whole_update_keeps_what_it_does_not_name_and_drops_the_old_tax_with_the_old_lines():
    memo = ENTITIES["CreditMemo"]
    current = {"Id": "1", "SyncToken": "3", "PrivateNote": "n", "TotalAmt": Decimal(9), "TxnTaxDetail": {"TotalTax": 1},
               "Line": [line(), {"DetailType": "SubTotalLineDetail"}], "MetaData": {}}  # fmt: skip
    assert merged(memo, current, {"PrivateNote": "new"}) == {
        "Id": "1", "SyncToken": "3", "PrivateNote": "new", "TxnTaxDetail": {"TotalTax": 1}, "Line": [line()]
    }  # fmt: skip
    assert "TxnTaxDetail" not in merged(memo, current, {"Line": [line("1.00")]})


def test_every_entity_belongs_to_a_flow():
    assert set(FLOW_ENTITY_OF) == set(ENTITIES)


# --- where QuickBooks is stricter than arithmetic ---
def test_a_quantity_of_any_size_is_an_answer_not_an_exception():
    huge = line("1.00", Qty=Decimal(10**14), UnitPrice=Decimal("99999999998.12345"))
    assert "Line[0].Amount" in wrong(INVOICE, {"CustomerRef": REF, "Line": [huge]})


def test_tax_is_money_and_has_no_fractions_of_cents():
    rate = {"Amount": Decimal("1.005"), "DetailType": "TaxLineDetail", "TaxLineDetail": {"TaxRateRef": REF}}
    values = {"CustomerRef": REF, "Line": [line()], "TxnTaxDetail": {"TotalTax": Decimal("1.005"), "TaxLine": [rate]}}
    assert set(wrong(INVOICE, values)) == {"TxnTaxDetail.TotalTax", "TxnTaxDetail.TaxLine[0].Amount"}
    whole = {"TotalTax": Decimal(1), "TaxLine": [rate | {"Amount": Decimal("1.0")}]}
    assert str(prepared(INVOICE, values | {"TxnTaxDetail": whole}, "create")["TxnTaxDetail"]["TotalTax"]) == "1.00"


@pytest.mark.parametrize(
    "address", ["a;b@example.com", "a@b@example.com", "a@example", "ana@example.com, ben@example.com"]
)
def test_a_customer_has_one_address_of_signs_that_quickbooks_takes(address):
    assert list(wrong(CUSTOMER, {"DisplayName": "A", "PrimaryEmailAddr": {"Address": address}})) == [
        "PrimaryEmailAddr.Address"
    ]


def test_a_form_goes_to_several_addresses():
    values = {"CustomerRef": REF, "Line": [line()], "BillEmail": {"Address": "ana@example.com, ben@example.com"}}
    assert prepared(INVOICE, values, "create")["BillEmail"] == values["BillEmail"]
