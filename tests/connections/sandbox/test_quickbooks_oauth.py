"""Consent, tokens and their ends."""

from __future__ import annotations

import time

import pytest

from .quickbooks import AUTH, REDIRECT, Company, QuickBooks, authorize_query, came_back, codes

AST_REALM = "9341450000000001"
PRODUCTION = ("demo-quickbooks-production-id", "demo-quickbooks-production-secret")
INVALID = {"error": "invalid_grant", "error_description": "Incorrect or invalid refresh token"}


@pytest.fixture
def realm(quickbooks: QuickBooks) -> str:
    return quickbooks.control("companies")["realm"]


def refreshed(quickbooks: QuickBooks, token: str) -> dict:
    response = quickbooks.refresh(token)
    assert response.status_code == 200, response.text
    return response.json()


def test_consent_page_offers_the_companies_of_the_environment(quickbooks: QuickBooks):
    page = quickbooks.http.get(f"/oauth2/authorize?{authorize_query()}").text
    assert "Larkspur Outfitters" in page
    assert "Thistle Lane Trading" in page
    assert "9130350000000005" not in page
    assert "<script" not in page


def test_approval_leads_to_tokens_that_open_that_company_only(quickbooks: QuickBooks, realm: str):
    back = came_back(quickbooks.consent(realm))
    assert (back["state"], back["realmId"]) == ("state-1", realm)
    shown = quickbooks.exchange(back["code"]).json()
    assert (shown["token_type"], shown["expires_in"], shown["x_refresh_token_expires_in"]) == ("bearer", 3600, 8726400)
    assert "x_refresh_token_hard_expires_in" not in shown
    company = quickbooks.company()
    company.token = shown["access_token"]
    assert company.get("preferences").status_code == 403
    company.realm = realm
    assert company.get(f"companyinfo/{realm}").json()["CompanyInfo"]["Country"] == "US"


def test_refusal_and_bad_requests_come_back_with_the_state(quickbooks: QuickBooks, realm: str):
    assert came_back(quickbooks.consent(realm, "deny")) == {"error": "access_denied", "state": "state-1"}
    for change, error in (({"scope": "everything"}, "invalid_scope"), ({"response_type": "token"}, "invalid_request")):
        answer = quickbooks.http.get(f"/oauth2/authorize?{authorize_query(**change)}")
        assert came_back(answer)["error"] == error
    for change in ({"client_id": "nobody"}, {"redirect_uri": "http://shop.example/back"}, {"redirect_uri": ""}):
        assert quickbooks.http.get(f"/oauth2/authorize?{authorize_query(**change)}").status_code == 400
    assert quickbooks.consent("1").status_code == 400


def test_registered_redirect_uris_must_match_exactly(quickbooks: QuickBooks):
    app = quickbooks.control("apps", redirect_uris=[REDIRECT])
    for uri, status in ((REDIRECT, 200), (f"{REDIRECT}/", 400), (f"{REDIRECT}?x=1", 400)):
        query = authorize_query(client_id=app["client_id"], redirect_uri=uri)
        assert quickbooks.http.get(f"/oauth2/authorize?{query}").status_code == status


def test_code_works_once_for_its_app_and_its_redirect_uri(quickbooks: QuickBooks, realm: str):
    code = quickbooks.code(realm)
    assert quickbooks.exchange(code).status_code == 200
    assert quickbooks.exchange(code).json()["error"] == "invalid_grant"
    assert quickbooks.exchange(quickbooks.code(realm), REDIRECT + "/").json()["error"] == "invalid_grant"
    assert quickbooks.exchange(quickbooks.code(realm), auth=PRODUCTION).json()["error"] == "invalid_grant"


def test_wrong_keys_are_the_installations_trouble(quickbooks: QuickBooks):
    for auth in ((AUTH[0], "wrong"), ("nobody", AUTH[1])):
        answer = quickbooks.refresh("x", auth=auth)
        assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})
    assert quickbooks.tokens(grant_type="password").json() == {"error": "unsupported_grant_type"}


def test_refresh_keeps_its_value_for_a_day_and_then_the_old_one_dies(quickbooks: QuickBooks):
    company = quickbooks.company()
    first = company.grant["refresh_token"]
    shown = refreshed(quickbooks, first)
    assert shown["refresh_token"] == first
    assert shown["access_token"] != company.token
    quickbooks.control(f"grants/{company.grant['id']}/state", refresh_issued_at=time.time() - 86401)
    second = refreshed(quickbooks, first)["refresh_token"]
    assert second != first
    answer = quickbooks.refresh(first)
    assert (answer.status_code, answer.json()) == (400, INVALID)
    assert refreshed(quickbooks, second)["refresh_token"] == second
    assert company.get("preferences").status_code == 200, "the former access token lives out its hour"


def test_hard_expiry_is_told_on_request_and_ends_everything(quickbooks: QuickBooks):
    company = quickbooks.company()
    token = company.grant["refresh_token"]
    quickbooks.control(f"grants/{company.grant['id']}/state", hard_expires_at=time.time() + 1000)
    shown = quickbooks.refresh(token, headers={"x-include-refresh-token-hard-expires-in": "true"}).json()
    assert 990 <= shown["x_refresh_token_hard_expires_in"] <= 1000
    assert shown["x_refresh_token_expires_in"] == shown["x_refresh_token_hard_expires_in"]
    quickbooks.control(f"grants/{company.grant['id']}/state", hard_expires_at=time.time() - 1)
    assert quickbooks.refresh(token).json()["error"] == "invalid_grant"


def test_revoking_takes_the_whole_grant(quickbooks: QuickBooks):
    company = quickbooks.company()
    token = company.grant["refresh_token"]
    assert quickbooks.http.post("/oauth2/revoke", json={"token": token}).status_code == 401
    assert quickbooks.http.post("/oauth2/revoke", json={"token": token}, auth=AUTH).status_code == 200
    assert quickbooks.refresh(token).json() == INVALID
    assert quickbooks.http.post("/oauth2/revoke", json={"token": token}, auth=AUTH).status_code == 400
    answer = company.get("preferences")
    assert (answer.status_code, codes(answer)) == (401, ["3200"])


def test_dead_access_token_is_a_lower_case_fault(quickbooks: QuickBooks):
    company = quickbooks.company()
    quickbooks.control(f"grants/{company.grant['id']}/state", expire_access=True)
    answer = company.get("preferences")
    assert answer.status_code == 401
    error = answer.json()["fault"]["error"][0]
    assert (error["code"], error["detail"]) == ("3200", "Token expired")
    assert "003200" in error["message"]
    assert answer.headers["intuit_tid"]


def test_tokens_of_one_environment_are_refused_by_the_others_host(quickbooks: QuickBooks):
    company = quickbooks.company()
    answer = company.request("GET", "preferences", host="/production")
    assert (answer.status_code, codes(answer)) == (403, ["3100"])
    assert company.request("GET", "preferences", host="/sandbox").status_code == 200
    production = Company(quickbooks, "9130350000000005")
    assert production.get("preferences").status_code == 403
    assert production.request("GET", "preferences", host="/production").status_code == 200


def test_person_who_lost_the_rights_and_company_that_stopped_paying(quickbooks: QuickBooks):
    company = quickbooks.company()
    quickbooks.control(f"grants/{company.grant['id']}/state", admin=False)
    answer = company.get("preferences")
    assert (answer.status_code, codes(answer)) == (401, ["120"])
    quickbooks.control(f"grants/{company.grant['id']}/state", admin=True)
    company.state(suspended=True)
    assert codes(company.get("preferences")) == ["6190"]


def test_rotation_at_every_refresh_lets_one_of_many_win(quickbooks: QuickBooks):
    """The classic cause of dead connections: each refresh takes the value the others still hold."""
    quickbooks.control("settings", rotate_after_s=0)
    try:
        token = quickbooks.company().grant["refresh_token"]
        assert [quickbooks.refresh(token).status_code for _turn in range(3)] == [200, 400, 400]
    finally:
        quickbooks.control("settings", rotate_after_s=86400)
