"""The process: quick to start, quick to stop, nothing forgotten in between."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import jwt

from .conftest import KEYS, REPO, Receiver, Simulator, applied


def facts(simulator: Simulator) -> dict:
    """All Items with all that is true of them."""
    items = simulator.control("items", "GET")["items"]
    rows = {}
    for item in items:
        shown = simulator.control(f"items/{item['item_id']}/truth?limit=10000", "GET")
        rows[item["item_id"]] = (item, shown["transactions"])
    return rows


def test_health_and_unknown_prefixes(simulator: Simulator):
    assert httpx.get(f"{simulator.origin}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{simulator.origin}/mastodon/x").status_code == 404


def test_restart_remembers_everything(own_simulator: Simulator, receiver: Receiver):
    item = own_simulator.item(webhook=receiver.url, transactions=300)
    first = item.page(count=100)
    item.ops(
        {"op": "add", "transaction": {"amount": 0.1, "name": "BEFORE"}},
        {"op": "remove", "transaction_id": first["added"][0]["transaction_id"]},
        {"op": "modify", "transaction_id": first["added"][1]["transaction_id"], "fields": {"amount": 7.77}},
    )
    own_simulator.control(f"items/{item.item_id}/advance", ticks=5)
    item.state(rename_account=item.account_ids[0], consent_expiration_time="2027-01-01T00:00:00Z")
    spare = own_simulator.item()
    pages, cursor = item.drain()
    link = own_simulator.ok(
        "/link/token/create",
        client_name="Causeway",
        language="en",
        country_codes=["US"],
        user={"client_user_id": "alice"},
        products=["transactions"],
        hosted_link={},
    )
    own_simulator.http.post(
        f"{link['hosted_link_url']}/sign-in",
        data={"institution_id": "ins_109508", "username": "user_good", "password": "pass_good"},
    )
    before, keys = facts(own_simulator), own_simulator.control("keys", "GET")
    page = item.page(count=7)

    own_simulator.stop()
    own_simulator.start()

    assert facts(own_simulator) == before
    assert own_simulator.control("keys", "GET") == keys
    assert item.page(count=7)["added"] == page["added"]
    assert item.page(page["next_cursor"], 7)["added"]
    assert item.page(cursor)["added"] == []
    item.ops({"op": "add", "transaction": {"amount": 5}})
    assert set(applied(applied({}, pages), item.drain(cursor)[0])) == set(item.truth())
    own_simulator.ok("/item/public_token/exchange", public_token=spare.public_token)
    step = f"{own_simulator.url}/link/{link['link_token']}"
    own_simulator.http.post(f"{step}/accounts", data={"account": ["0"]})
    assert own_simulator.http.post(f"{step}/connect", follow_redirects=True).status_code == 200
    own_simulator.control(f"items/{item.item_id}/webhook", code="LOGIN_REPAIRED")
    kid = jwt.get_unverified_header(receiver.wait(1)[-1][0]["plaid-verification"])["kid"]
    assert kid == keys["keys"][-1]["kid"]


def test_kill_and_torn_line_lose_only_the_torn_line(own_simulator: Simulator):
    item = own_simulator.item()
    item.ops({"op": "add", "transaction": {"amount": 1}})
    before = facts(own_simulator)
    own_simulator.stop(signal.SIGKILL)
    with (own_simulator.home / "simulators" / "plaid.jsonl").open("ab") as journal:
        journal.write(b'{"e":"ops","item_id":"torn')
    own_simulator.start()
    assert facts(own_simulator) == before
    item.ops({"op": "add", "transaction": {"amount": 2}})
    own_simulator.stop()
    own_simulator.start()
    assert len(item.truth()) == 22


def test_journal_is_private_and_small_for_big_items(own_simulator: Simulator):
    own_simulator.item(transactions=1_000_000, days=730)
    journal = own_simulator.home / "simulators" / "plaid.jsonl"
    assert journal.stat().st_size < 10_000
    assert journal.stat().st_mode & 0o077 == 0


def test_sigterm_stops_within_two_seconds_though_answers_hang(own_simulator: Simulator):
    item = own_simulator.item()
    item.fault("hang", times=4, seconds=60)
    item.fault("latency", path="/item/get", times=4, seconds=60)

    def wait_for_ever(path: str) -> None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(f"{own_simulator.url}{path}", json={"access_token": item.token}, headers=KEYS, timeout=30)

    paths = ["/transactions/sync", "/item/get"] * 4
    threads = [threading.Thread(target=wait_for_ever, args=(path,), daemon=True) for path in paths]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    before = time.monotonic()
    assert own_simulator.stop() == 0
    assert time.monotonic() - before < 2


def test_many_clients_at_once(simulator: Simulator):
    """24 clients that keep their connections, each draining Items of its own and one that all share."""
    shared = simulator.item(transactions=400)

    def client(number: int) -> set[int]:
        with httpx.Client(base_url=simulator.url, headers=KEYS, timeout=30) as http:
            own = http.post("/_control/items", json={"transactions": 100 + number}).json()
            sizes = set()
            for token in (own["access_token"], shared.token):
                rows, cursor = 0, ""
                while True:
                    body = {"access_token": token, "cursor": cursor, "count": 50}
                    page = http.post("/transactions/sync", json=body).json()
                    rows, cursor = rows + len(page["added"]), page["next_cursor"]
                    if not page["has_more"]:
                        break
                sizes.add(rows)
        return sizes

    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(client, range(24)))
    assert found == [{100 + number, 400} for number in range(24)]


def test_life_goes_on_by_itself(tmp_path, receiver: Receiver):
    simulator = Simulator(tmp_path, "--life-interval-s", "0.3")
    try:
        item = simulator.item(webhook=receiver.url, life=True)
        still = simulator.item()
        _pages, cursor = item.drain()
        receiver.wait(2)
        assert item.page(cursor)["added"]
        assert len(still.truth()) == 20
    finally:
        simulator.stop()


def test_management_command_becomes_the_simulators(tmp_path):
    environment = os.environ | {"CAUSEWAY_HOME": str(tmp_path), "SIMULATOR_PORT": "0"}
    command = [sys.executable, "manage.py", "simulators", "--life-interval-s", "0"]
    with subprocess.Popen(command, cwd=REPO, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            origin = process.stdout.readline().split()[-1]
            assert httpx.get(f"{origin}/plaid/_control/seed").json()["client_id"]
            assert (tmp_path / "simulators" / "plaid.jsonl").exists()
        finally:
            process.terminate()
    assert process.returncode == 0


def test_start_needs_no_django_and_imports_nothing_of_ours():
    code = "import connections.sandbox.server, connections.sandbox.plaid, connections.sandbox.supabase, sys; print(*sorted(sys.modules))"
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=REPO, text=True).split()
    ours = {name for name in loaded if name.partition(".")[0] in ("config", "connections", "sync", "webhooks")}
    assert not [name for name in loaded if name.partition(".")[0] in ("django", "plaid", "httpx")]
    assert {name for name in ours if not name.startswith("connections.sandbox")} == {"connections"}
    assert Path(REPO, "connections", "__init__.py").read_bytes() == b""
