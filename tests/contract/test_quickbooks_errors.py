"""Every row of QuickBooks' error table over the wire, in each of the shapes in which the service tells it."""

from datetime import UTC, datetime

import pytest

from connections import errors
from connections.providers.quickbooks.errors import TABLE
from tests.contract.quickbooks import PRODUCTION, Company, customer, item, key, line

pytestmark = pytest.mark.usefixtures("servers")

REJECTED, OUTDATED = (errors.RejectedRecord, "record_rejected"), (errors.RejectedRecord, "record_rejected")
# (HTTP status, code) as the service sends it → (class, our code)
ROWS: dict[tuple[int, str], tuple[type[Exception], str]] = {
    (403, "3100"): (errors.Misconfigured, "connection_misconfigured"),
    (403, "003100"): (errors.Misconfigured, "connection_misconfigured"),
    (401, "3201"): (errors.NeedsReauth, "access_refused"),
    (401, "120"): (errors.NeedsReauth, "access_refused"),
    (400, "120"): (errors.NeedsReauth, "access_refused"),
    (429, "3001"): (errors.RateLimited, "provider_rate_limited"),
    (429, "003001"): (errors.RateLimited, "provider_rate_limited"),
    (400, "3001"): (errors.RateLimited, "provider_rate_limited"),
    (400, "500"): REJECTED,
    (400, "610"): OUTDATED,
    **{(400, code): REJECTED for code in ("2010", "2020", "2030", "2050")},
    **{(400, code): OUTDATED for code in ("2090", "2170", "2500")},
    (400, "4000"): (errors.PermanentError, "internal_error"),
    (400, "4001"): (errors.PermanentError, "internal_error"),
    (400, "5010"): (errors.StaleObject, "record_changed"),
    (400, "5020"): (errors.RejectedRecord, "feature_not_enabled"),
    (400, "5030"): (errors.RejectedRecord, "feature_not_enabled"),
    **{(400, code): REJECTED for code in ("6000", "6070", "6080", "6090", "6100", "6430", "6540")},
    (400, "6140"): (errors.DuplicateRecord, "record_exists"),
    (400, "6240"): (errors.DuplicateRecord, "record_exists"),
    (403, "6190"): (errors.PermanentError, "subscription_ended"),
    (400, "6210"): (errors.RejectedRecord, "books_closed"),
    (400, "10000"): (errors.TemporaryError, "provider_unavailable"),
    (500, "10000"): (errors.TemporaryError, "provider_unavailable"),
    (400, "31337"): (errors.ProviderError, "provider_error"),
    (400, "not-a-number"): (errors.ProviderError, "provider_error"),
    **{(status, "31337"): (errors.TemporaryError, "provider_unavailable") for status in (500, 502, 503, 504)},
    (503, "2020"): (errors.TemporaryError, "provider_unavailable"),
}


@pytest.mark.parametrize("form", ["upper", "lower", "xml"])
@pytest.mark.parametrize(("told", "expected"), ROWS.items(), ids=lambda row: str(row[:2]))
def test_each_row_is_one_class_whatever_its_shape(company, told, expected, form):
    status, code = told
    company.fault("customer", kind="error", status=status, code=code, form=form, element="DisplayName")
    with pytest.raises(errors.CausewayError) as found:
        company.client().create("Customer", customer(), request_id=key())
    assert (type(found.value), found.value.code) == expected
    assert found.value.provider_code == code.lstrip("0")
    assert found.value.request_id
    assert found.value.request_id in found.value.operator_detail


def test_every_row_of_the_table_is_tried():
    tried = {code.lstrip("0") for _status, code in ROWS} | {"3200"}  # which is what the token's own tests are about
    assert tried >= set(TABLE)


@pytest.mark.parametrize("code", ["6240", "5010", "10000", "3100"])
def test_a_fault_below_200_is_a_fault(company, code):
    company.fault("customer", kind="error", status=200, code=code)
    with pytest.raises(errors.CausewayError) as found:
        company.client().create("Customer", customer(), request_id=key())
    assert found.value.provider_code == code


def test_of_several_errors_all_are_kept_and_the_gravest_speaks(company):
    company.fault("customer", kind="error", status=400, codes=["2020", "5010", "2050"], element="Line")
    with pytest.raises(errors.StaleObject) as found:
        company.client().create("Customer", customer(), request_id=key())
    assert [one["code"] for one in found.value.extra["errors"]] == ["2020", "5010", "2050"]


def test_a_rejection_says_which_field(company):
    company.fault("customer", kind="error", status=400, code="2050", element="DisplayName", message="Too long")
    with pytest.raises(errors.RejectedRecord) as found:
        company.client().create("Customer", customer(), request_id=key())
    assert list(found.value.fields) == ["DisplayName"]


def test_a_throttle_says_how_long(company):
    company.fault("query", kind="error", status=429, code="3001", form="xml", retry_after=17)
    with pytest.raises(errors.RateLimited) as found:
        company.client().count("Customer")
    assert found.value.retry_after_s == 17
    company.fault("query", kind="error", status=429, code="3001", form="xml")
    with pytest.raises(errors.RateLimited) as found:
        company.client().count("Customer")
    assert found.value.retry_after_s == 60


def test_the_services_own_throttle_is_a_rate_limit(company, intuit):
    intuit("POST", "limits", {"enabled": True, "per_second": 1, "per_minute": None})
    client = company.client()
    with pytest.raises(errors.RateLimited) as found:
        for _ in range(5):
            client.company_info()
    assert found.value.provider_code


def test_the_months_allowance_waits_for_the_next_month(intuit):
    """Only reads are refused then; what is written is not counted."""
    shop = Company(intuit, PRODUCTION, "production")
    intuit("POST", "limits", {"enabled": True, "read_cap": 1, "reads": 1})
    client = shop.client()
    with pytest.raises(errors.RateLimited) as found:
        client.count("Customer")
    assert found.value.code == "provider_credits_exhausted"
    assert 3600 < found.value.retry_after_s <= 31 * 86_400 or datetime.now(UTC).day >= 28
    client.create("Customer", customer(), request_id=key())


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ({"kind": "reset"}, "provider_unavailable"),
        ({"kind": "truncated"}, "provider_unavailable"),
        ({"kind": "malformed"}, "provider_malformed"),
        ({"kind": "error", "status": 200, "body": "<html>Sorry</html>", "content_type": "text/html"}, "provider_malformed"),
        ({"kind": "error", "status": 302, "body": "", "content_type": "text/html"}, "provider_malformed"),
        ({"kind": "error", "status": 503, "body": "<html>Away</html>", "content_type": "text/html"}, "provider_unavailable"),
        ({"kind": "error", "status": 200, "body": "[]"}, "provider_malformed"),
        ({"kind": "error", "status": 200, "body": '{"time": "x"}'}, "provider_malformed"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_temporary(company, kind, code):
    company.fault("customer", **kind)
    with pytest.raises(errors.TemporaryError) as found:
        company.client().read("Customer", "1")
    assert found.value.code == code


# --- the token ---
def test_a_refused_token_is_renewed_once_and_the_request_repeated(company, intuit):
    intuit("POST", f"grants/{company.grant['id']}/state", {"expire_access": True})
    assert company.client().count("Customer") > 0
    assert [bool(refused) for refused in company.tokens] == [False, True]
    assert [entry["status"] for entry in company.log()] == [401, 200]


def test_a_token_that_is_refused_again_needs_a_person(company):
    company.fault("query", kind="error", status=401, code="003200", form="lower", times=2)
    with pytest.raises(errors.NeedsReauth) as found:
        company.client().count("Customer")
    assert (type(found.value), found.value.code) == (errors.NeedsReauth, "access_refused")
    assert found.value.provider_code == "3200"
    assert len(company.log()) == 2


def test_the_same_token_once_more_is_not_tried(company):
    company.fault("query", kind="error", status=401, code="003200", form="lower", times=2)
    client = company.client()
    object.__setattr__(client, "fresh_token", lambda _refused: "the-same")
    with pytest.raises(errors.NeedsReauth):
        client.count("Customer")
    assert len(company.log()) == 1


def test_a_write_is_repeated_under_the_same_request_id_after_a_refused_token(company, intuit):
    intuit("POST", f"grants/{company.grant['id']}/state", {"expire_access": True})
    same = key()
    company.client().create("Customer", customer(), request_id=same)
    assert [(entry["status"], entry["request_id"]) for entry in company.log()] == [(401, None), (200, same)]


def test_an_administrator_who_is_none_any_more_has_to_be_replaced(company, intuit):
    intuit("POST", f"grants/{company.grant['id']}/state", {"admin": False})
    with pytest.raises(errors.NeedsReauth, match="120") as found:
        company.client().count("Customer")
    assert "administrator" in found.value.remediation
    assert len(company.log()) == 1


def test_the_other_environments_company_is_misconfigured(company, intuit):
    stray = company.client()
    object.__setattr__(stray, "environment", "production")
    with pytest.raises(errors.Misconfigured) as found:
        stray.count("Customer")
    assert found.value.provider_code == "3100"


# --- rules of the books, as the service itself tells them ---
def test_rules_that_the_service_enforces_come_back_as_their_class(company):
    books = company.client()
    ana, shirt = books.create("Customer", customer(), request_id=key()), books.create("Item", item(), request_id=key())
    sale = {"CustomerRef": {"value": ana["Id"]}, "Line": [line(shirt["Id"])]}
    cases = [
        (sale | {"CustomerRef": {"value": "999999"}}, {}, errors.RejectedRecord),
        (sale | {"TxnDate": "2024-01-01"}, {"AccountingInfoPrefs": {"BookCloseDate": "2025-12-31"}}, errors.RejectedRecord),
    ]  # fmt: skip
    for values, preferences, expected in cases:
        company.state(preferences=preferences)
        with pytest.raises(expected):
            books.create("SalesReceipt", values, request_id=key())
    company.state(suspended=True)
    with pytest.raises(errors.PermanentError) as found:
        books.count("Customer")
    assert found.value.code == "subscription_ended"
