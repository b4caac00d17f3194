"""What goes wrong on request, and what is too much."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import httpx
import pytest

from .quickbooks import Company, QuickBooks, codes

NAMESPACE = "{http://schema.intuit.com/finance/v3}"


@pytest.fixture
def books(quickbooks: QuickBooks) -> Company:
    return quickbooks.company()


def test_lost_answer_is_found_again_by_its_request_id(books: Company):
    books.fault("commit_then_drop", path="customer")
    with pytest.raises(httpx.RemoteProtocolError):
        books.post("customer", {"DisplayName": "Once"}, requestid="lost")
    assert books.post("customer", {"DisplayName": "Once"}, requestid="lost").status_code == 200
    assert len(books.ids("SELECT * FROM Customer WHERE DisplayName = 'Once'")) == 1
    replayed = [row for row in books.log(writes=1) if row.get("replayed")]
    assert [row["request_id"] for row in replayed] == ["lost"]
    books.fault("commit_then_drop", path="write")
    with pytest.raises(httpx.RemoteProtocolError):
        books.post("customer", {"DisplayName": "Twice"})
    assert books.refused("Customer", {"DisplayName": "Twice"}) == ["6240"], "without one it is a duplicate"


def test_delay_beyond_the_clients_patience_comes_after_the_commit(books: Company):
    books.fault("commit_then_drop", path="customer", seconds=2)
    with pytest.raises(httpx.ReadTimeout):
        books.request("POST", "customer", json={"DisplayName": "Slow"}, timeout=0.3)
    assert len(books.ids("SELECT * FROM Customer WHERE DisplayName = 'Slow'")) == 1


def test_throttle_is_xml_unless_another_shape_is_wanted(books: Company):
    books.fault("error", code="3001")
    books.fault("error", code="3001", form="lower", retry_after=7)
    first, second = books.get("preferences"), books.get("preferences")
    assert (first.status_code, first.headers["content-type"]) == (429, "application/xml")
    error = ElementTree.fromstring(first.content).find(f"{NAMESPACE}Fault/{NAMESPACE}Error")
    assert error.attrib["code"] == "003001"
    assert (second.status_code, codes(second), second.headers["retry-after"]) == (429, ["3001"], "7")


def test_fault_may_come_as_200_in_any_shape_and_with_several_errors(books: Company):
    books.fault("error", path="query", status=200, codes=["6000", "ABC"], detail="why")
    books.fault("error", path="query", code="10000")
    books.fault("error", path="query", status=401, code="3200", form="upper")
    books.fault("error", path="query", status=503, body="upstream", content_type="text/plain")
    answers = [books.get("query", query="SELECT * FROM Item") for _turn in range(4)]
    assert [one.status_code for one in answers] == [200, 500, 401, 503]
    assert [one["code"] for one in answers[0].json()["Fault"]["Error"]] == ["6000", "ABC"]
    assert answers[1].json()["Fault"]["type"] == "SystemFault"
    assert all(one.headers["intuit_tid"] for one in answers)


def test_answers_can_be_spoilt(books: Company):
    books.fault("malformed")
    with pytest.raises(ValueError, match="char"):
        books.get("preferences").json()
    books.fault("truncated")
    with pytest.raises(httpx.RemoteProtocolError):
        books.get("preferences")
    books.fault("reset")
    with pytest.raises(httpx.ReadError):
        books.get("preferences")
    books.fault("html")
    assert books.get("preferences").status_code == 502
    books.fault("missing_field", field="Preferences.CurrencyPrefs")
    assert "CurrencyPrefs" not in books.get("preferences").json()["Preferences"]
    books.fault("new_enum", field="Preferences.domain", value="MOON")
    assert books.get("preferences").json()["Preferences"]["domain"] == "MOON"
    began = time.monotonic()
    books.fault("latency", seconds=0.3)
    assert books.get("preferences").status_code == 200
    assert time.monotonic() - began >= 0.3


def test_faults_meet_the_token_endpoint_too(quickbooks: QuickBooks, books: Company):
    quickbooks.control("faults", kind="commit_then_drop", path="tokens")
    quickbooks.control(f"grants/{books.grant['id']}/state", refresh_issued_at=0)
    with pytest.raises(httpx.RemoteProtocolError):
        quickbooks.refresh(books.grant["refresh_token"])
    assert quickbooks.refresh(books.grant["refresh_token"]).status_code == 400, "the new value is lost"


def test_fault_means_one_company(quickbooks: QuickBooks, books: Company):
    fault = books.fault("error")
    assert quickbooks.company().get("preferences").status_code == 200
    assert codes(books.get("preferences")) == ["10000"]
    assert quickbooks.control(f"faults?id={fault['id']}", "DELETE") == {"cleared": 1}


def test_clock_of_a_company_may_be_wrong(books: Company):
    books.state(clock_offset_s=-3600)
    then = books.get("preferences").json()["time"]
    assert then < books.provider.company().get("preferences").json()["time"]


# --- throttles ---


@pytest.fixture
def limited(own_simulator):
    provider = QuickBooks(own_simulator.origin)
    yield provider
    provider.http.close()


def test_ten_a_second_and_five_hundred_a_minute(limited: QuickBooks):
    books = limited.company()
    answers = [books.get("preferences").status_code for _turn in range(12)]
    assert answers == [200] * 10 + [429] * 2
    assert [row.get("throttle") for row in books.log()][-1] == "second"
    limited.control("limits", per_second=None, per_minute=3)
    assert [books.get("preferences").status_code for _turn in range(4)] == [200] * 3 + [429]
    assert limited.company().get("preferences").status_code == 200, "each realm has its own"


def test_batches_have_a_limit_of_their_own(limited: QuickBooks):
    books = limited.company()
    limited.control("limits", per_second=None, batches_per_minute=2)
    body = {"BatchItemRequest": [{"bId": "1", "Query": "SELECT COUNT(*) FROM Item"}]}
    assert [books.post("batch", body).status_code for _turn in range(3)] == [200, 200, 429]
    assert books.get("preferences").status_code == 200


def test_only_so_many_at_once(limited: QuickBooks):
    books = limited.company()
    limited.control("limits", per_second=None, concurrent=1)
    statement = "SELECT * FROM Customer WHERE FamilyName LIKE '%x%'"
    big = limited.company(customers=30_000)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _n: big.get("query", query=statement).status_code, range(4)))
    assert 200 in answers
    assert 429 in answers
    assert books.get("preferences").status_code == 200


def test_monthly_cap_stops_reads_and_not_writes(limited: QuickBooks):
    books = limited.company()
    limited.control("limits", enabled=False, meter_sandbox=True, read_cap=2)
    assert [books.get("preferences").status_code for _turn in range(3)] == [200, 200, 429]
    assert books.post("customer", {"DisplayName": "Still written"}).status_code == 200
    assert limited.control("limits")["reads"] == 2
