"""Sums of canonical records: what adds up, and what of a total nothing explains."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.canonical import (
    Application,
    Bill,
    Line,
    Order,
    Payment,
    Refund,
    apportioned,
    exponent_of,
    is_currency,
    rounded,
)

D = Decimal


def order(*lines: Line, **more) -> Order:
    return Order(**{"source_id": "1", "currency": "CAD", "total": D("31.84"), "lines": lines} | more)


GOODS = Line(line_id="1", subtotal=D("9.99"), total=D("8.99"), tax_total=D("1.10"))
FEE = Line(line_id="2", kind="fee", subtotal=D("14.70"), total=D("14.70"), tax_total=D("1.81"))
SHIPPING = Line(line_id="3", kind="shipping", subtotal=D("4.99"), total=D("4.99"), tax_total=D("0.25"))
SUMS = {
    "tax_total": D("3.16"),
    "discount_total": D("1.00"),
    "shipping_total": D("4.99"),
    "fee_total": D("14.70"),
}


@pytest.mark.parametrize(
    "code, exponent", [("CAD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("XYZ", 2), ("ISK", 0), ("HUF", 2)]
)
def test_a_currency_has_the_decimals_of_iso_4217_and_two_where_it_says_nothing(code, exponent):
    assert exponent_of(code) == exponent


@pytest.mark.parametrize("text", ["", "cad", "CA", "CADX", "C4D", "ÄÖÜ", "CAD\n"])
def test_what_is_not_three_capital_letters_is_no_currency(text):
    assert not is_currency(text)


def test_an_order_whose_parts_come_to_its_total_has_no_gap():
    whole = order(GOODS, FEE, SHIPPING, **SUMS)
    assert (whole.gap(), whole.gaps()) == (D(0), {})


@pytest.mark.parametrize(
    "name, value",
    [("total", D("31.85")), ("discount_total", D("0.99")), ("shipping_total", D("5.00")), ("fee_total", D(14))],
)
def test_each_sum_that_its_lines_do_not_come_to_is_named_with_what_is_missing(name, value):
    told = SUMS | {"total": D("31.84")}
    assert order(GOODS, FEE, SHIPPING, **told | {name: value}).gaps() == {name: value - told[name]}


def test_tax_that_no_line_tells_is_a_gap_of_the_tax_and_not_of_the_total():
    whole = order(GOODS, FEE, SHIPPING, **SUMS | {"tax_total": D("3.17"), "total": D("31.85")})
    assert (whole.gap(), whole.gaps()) == (D(0), {"tax_total": D("0.01")})


def test_a_discount_line_counts_against_the_total_and_into_the_discount():
    off = Line(line_id="4", kind="discount", total=D("-2.00"))
    whole = order(GOODS, FEE, SHIPPING, off, **SUMS | {"discount_total": D("3.00"), "total": D("29.84")})
    assert whole.gaps() == {}


def test_a_shop_that_counts_finer_than_its_currency_is_checked_to_its_own_last_decimal():
    yen = order(Line(line_id="1", total=D("1000")), currency="JPY", total=D("1082.50"), tax_total=D("82.10"))
    assert (yen.places, yen.gap()) == (1, D("0.4"))


def test_fractions_below_the_last_decimal_of_the_total_are_no_gap():
    thirds = [Line(line_id=str(number), total=D("8.333333")) for number in range(3)]
    assert order(*thirds, total=D("25.00")).gap() == 0


def test_fractions_of_the_tax_do_not_make_its_document_count_finer():
    back = Refund(
        source_id="1",
        currency="EUR",
        total=D("10.00"),
        tax_total=D("0.501725"),
        lines=(Line(line_id="1", total=D("9.50")),),
    )
    assert (back.places, back.gap()) == (2, 0)


def test_a_three_decimal_currency_shows_a_gap_in_its_third():
    assert order(Line(line_id="1", total=D("1.234")), currency="KWD", total=D("1.235")).gap() == D("0.001")


def test_no_amount_makes_a_gap_raise():
    odd = order(Line(line_id="1", total=D("1E+390")), Line(line_id="2", total=D("NaN")), total=D("0.01"))
    assert odd.gap().is_nan()


def test_what_a_refund_gives_for_nothing_in_particular_is_told():
    lines = (Line(line_id="1", total=D(3)), Line(line_id="unallocated", kind="unallocated", total=D(2)))
    back = Refund(source_id="1", currency="EUR", total=D(5), lines=lines)
    assert (back.unallocated, back.gap()) == (D(2), D(0))


def test_a_payment_comes_to_what_it_is_applied_to_with_its_credits_and_what_is_left():
    parts = (
        Application(document_id="Invoice:1", amount=D("70.00")),
        Application(document_id="CreditMemo:2", amount=D("10.00"), is_credit=True),
    )
    paid = Payment(source_id="1", currency="USD", total=D("80.00"), applications=parts, unapplied=D("20.00"))
    assert paid.gap() == 0
    assert Payment(source_id="1", currency="USD", total=D("80.01"), applications=parts).gap() == D("20.01")


def test_a_bill_adds_up_as_orders_do():
    line = Line(line_id="1", total=D(10))
    assert Bill(source_id="1", currency="USD", total=D("11.50"), tax_total=D(1), lines=(line,)).gap() == D("0.50")


# --- rounding ---
def test_half_a_unit_goes_away_from_zero_and_nothing_is_minus_nothing():
    assert [str(rounded(D(text), 2)) for text in ("0.005", "-0.005", "-0.004")] == ["0.01", "-0.01", "0.00"]


def test_the_unit_that_rounding_loses_goes_to_those_that_lose_most():
    assert apportioned([D("0.333"), D("0.333"), D("0.334")], 2) == [D("0.33"), D("0.33"), D("0.34")]
    assert apportioned([D("-1.005"), D("1.005"), D("2.50")], 2) == [D("-1.00"), D("1.00"), D("2.50")]


AMOUNT = st.decimals(-10_000, 10_000, places=6)


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(amounts=st.lists(AMOUNT, max_size=12), places=st.integers(0, 4))
def test_apportioned_amounts_come_to_the_rounded_sum_and_move_by_less_than_a_unit(amounts, places):
    shares = apportioned(amounts, places)
    assert sum(shares, D(0)) == rounded(sum(amounts, D(0)), places)
    assert all(abs(share - amount) < D(1).scaleb(-places) for share, amount in zip(shares, amounts, strict=True))
