"""Every provider call is one line that says all about it except what is secret."""

import json
import logging

import pytest

from connections import calls
from connections.calls import shown_path
from connections.errors import ProviderError, RateLimited
from connections.http import Http
from connections.providers.plaid.client import PlaidClient
from tests.connections.peer import whole

pytestmark = pytest.mark.usefixtures("private_networks_allowed")
SHAPE = {
    *("provider", "connection", "method", "host", "path", "status", "duration_ms", "request_bytes", "response_bytes"),
    *("request_id", "error", "provider_code"),
}


@pytest.fixture
def lines(caplog):
    """The lines of one event, so far."""
    caplog.set_level(logging.INFO, calls.__name__)

    def of(event: str = "provider_call") -> list[dict]:
        found = [record.msg for record in caplog.records if record.name == calls.__name__]
        return [line for line in found if line["event"] == event]

    return of


def test_a_call_is_one_line(peer, lines):
    shop = peer(whole(b'{"a": 1}', b"intuit_tid: 1-abc"))
    http = Http(provider="quickbooks", base_url=shop.origin, connection_id="c-1", request_id_header="intuit_tid")
    http.request("POST", "/v3/company/1/invoice", params={"minorversion": 75}, json={"x": 12})
    (line,) = lines()
    assert set(line) >= SHAPE
    told = {name: line[name] for name in SHAPE - {"duration_ms"}}
    assert told == {
        "provider": "quickbooks",
        "connection": "c-1",
        "method": "POST",
        "host": "127.0.0.1",
        "status": 200,
        "path": "/v3/company/1/invoice?minorversion=75",
        "request_bytes": 8,
        "response_bytes": 8,
        "request_id": "1-abc",
        "error": None,
        "provider_code": None,
    }
    assert line["duration_ms"] >= 0


@pytest.mark.parametrize(
    "url, code",
    [
        ("http://127.0.0.1:1/a", "provider_unavailable"),
        ("http://10.0.0.1@b/a", "address_not_allowed"),
        ("http://[/", "address_not_allowed"),
    ],
)
def test_a_call_that_fails_has_its_line_too(lines, url, code):
    with pytest.raises(ProviderError):
        Http(provider="test", base_url=url).request("GET", "/b")
    assert [(line["status"], line["error"]) for line in lines()] == [(0, code)]


def test_an_error_the_provider_told_is_in_the_line(peer, lines):
    shop = peer(whole(b"{}", status=b"429 No"))
    http = Http(
        provider="test",
        base_url=shop.origin,
        classify=lambda answer: RateLimited(provider="test", provider_code="003001"),
    )
    with pytest.raises(RateLimited):
        http.request("GET", "/")
    assert [(line["status"], line["error"], line["provider_code"]) for line in lines()] == [
        (429, "provider_rate_limited", "003001")
    ]


def test_plaids_line_has_the_same_shape(simulator, servers, lines):
    PlaidClient("sandbox").institution_get("ins_109508")
    with pytest.raises(ProviderError):
        PlaidClient("sandbox").institution_get("ins_nowhere")
    found, missing = lines()
    assert set(found) >= SHAPE
    assert set(missing) >= SHAPE
    assert (found["method"], found["path"], found["status"]) == ("POST", "/plaid/institutions/get_by_id", 200)
    assert all(line["request_bytes"] > 20 and line["response_bytes"] > 20 and line["request_id"] for line in lines())
    assert missing["provider_code"] == "INVALID_INSTITUTION"


@pytest.mark.parametrize(
    "query, shown",
    [
        ("consumer_key=ck_1&consumer_secret=S&page=2", "consumer_key=[hidden]&consumer_secret=[hidden]&page=2"),
        (
            "oauth_signature=S&oauth_nonce=S&oauth_token=S",
            "oauth_signature=[hidden]&oauth_nonce=[hidden]&oauth_token=[hidden]",
        ),
        ("apikey=S&code=S&state=S", "apikey=[hidden]&code=[hidden]&state=[hidden]"),
        ("status=any&per_page=100&decode=1", "status=any&per_page=100&decode=1"),
        ("email=ada%40example.com&password=", "email=[hidden]&password=[hidden]"),
        ("id=in.(1,2)&select=a,b", "id=in.(1,2)&select=a,b"),
    ],
)
def test_values_with_a_secret_name_are_hidden(query, shown):
    assert shown_path(f"https://u:p@shop.example/a%20b?{query}#S") == f"/a%20b?{shown}"


def test_bodies_are_written_at_debug_only_and_without_secrets(peer, lines, caplog):
    shop = peer(whole(json.dumps({"id": 7, "access_token": "S3cr3t", "note": "Bearer S3cr3t"}).encode()))
    http = Http(provider="test", base_url=shop.origin)
    sent = {"client_secret": "S3cr3t", "name": "Ada"}
    http.request("POST", "/", json=sent)
    assert lines("provider_call_bodies") == []
    caplog.set_level(logging.DEBUG, calls.__name__)
    http.request("POST", "/", json=sent)
    http.request("POST", "/", form={"refresh_token": "S3cr3t", "grant_type": "refresh_token"})
    http.request("POST", "/", content=b'{"pad": "' + b"x" * calls.MAX_BODY_SHOWN + b'", "access_token": "S3cr3t"}')
    first, second, third = lines("provider_call_bodies")
    assert first["sent"]["name"] == "Ada"
    assert first["received"]["id"] == 7
    assert "grant_type=refresh_token" in second["sent"]
    assert len(third["sent"]) <= calls.MAX_BODY_SHOWN
    assert "S3cr3t" not in json.dumps([first, second, third])
    assert "S3cr3t" not in caplog.text
