"""A person links a bank on the hosted page, in a browser, and finds their transactions in the API. Every part is real."""

import httpx
import pytest

from config.processes import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.e2e]


def test_a_bank_linked_in_the_browser_has_its_transactions(chromium, simulator, alice, process):
    process("beat")
    process("worker")
    web = process("web", THROTTLE_LOGIN="0")
    headers = {"Authorization": f"Bearer {alice.token}"}
    with httpx.Client(base_url=f"{web.url}/api/v1", headers=headers, timeout=10) as api:
        asked = api.post("plaid/link-token", json={"hosted_link": True, "environment": "sandbox"})
        assert asked.status_code == 200, asked.text
        page = chromium.new_page(viewport={"width": 390, "height": 844})
        page.goto(asked.json()["hosted_link_url"])
        page.get_by_role("link", name="First Platypus Bank").click()
        page.get_by_label("User name").fill("user_good")
        page.get_by_label("Password").fill("pass_good")
        page.get_by_role("button", name="Sign in to First Platypus Bank").click()
        page.get_by_role("button", name="Continue with these accounts").click()
        page.get_by_role("button", name="Connect 4 accounts").click()
        page.get_by_text("You’re connected").wait_for()
        page.close()

        def connections() -> list[dict]:
            return api.get("connections").json()["results"]

        def runs() -> list[dict]:
            return api.get("sync/status", params={"page_size": 100}).json()["results"]

        assert wait_until(lambda: bool(connections()), 30)
        connection = connections()[0]
        assert (connection["status"], connection["institution"]["name"]) == ("active", "First Platypus Bank")
        path = f"connections/{connection['id']}"
        assert wait_until(lambda: bool(api.get(f"{path}/transactions").json()["results"]), 30)
        accounts = {account["id"] for account in api.get(f"{path}/accounts").json()["results"]}
        transactions = api.get(f"{path}/transactions", params={"page_size": 500}).json()["results"]
        assert {transaction["account_id"] for transaction in transactions} <= accounts
        refreshed = api.post(f"{path}/refresh")
        assert refreshed.status_code == 202
        assert wait_until(lambda: runs()[0]["status"] == "succeeded", 20)
        assert all(run["ledger_balanced"] for run in runs())
