"""A running installation, given secrets at every place where one can come in."""

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from collections import defaultdict
from typing import Any

import httpx
from django.utils import timezone

from config.celery import app
from config.processes import wait_until
from connections.models import Connection, Credential, OAuthGrant, PlaidItem, RetiredPlaidItem
from diagnostics.models import AlertDelivery, ErrorEvent
from sync.models import SyncRun
from tests import plugin
from tests.conftest import Process
from tests.connections.intuit import Intuit
from tests.security.canaries import Canaries
from webhooks.models import WebhookEvent, WebhookRefusal

LIMIT_S = 40


class Installation:
    """Its processes, what is planted in them, and in `said` what came out, by way out.

    The marker is the one planted text that may be seen, and has to be, at every way out.
    """

    def __init__(self, process: Any, simulator: Any, person: Any, staff: Any) -> None:
        self.canaries, self.simulator, self.person, self.staff = Canaries(), simulator, person, staff
        self.marker = self.canaries.plant("marker", "a-marker-that-must-be-found-{}")
        self.said: defaultdict[str, list[str]] = defaultdict(list)
        self.environment = self._settings()
        self.processes = {
            (name, form): process(name, LOG_FORMAT=form, LOG_LEVEL="DEBUG", **self.environment)
            for name, form in (("web", "json"), ("web", "text"), ("worker", "json"), ("beat", "text"))
        }
        self.urls = [self.processes["web", form].url for form in ("json", "text")]
        self.commands = self._start_commands()
        self.api = httpx.Client(base_url=self.urls[0], timeout=20)

    def _settings(self) -> dict[str, str]:
        plant = self.canaries.plant
        new, old = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
        for name, key in (("newest key", new), ("older key", old)):
            self.canaries.watch(name, key)
            self.canaries.watch(f"{name}, unpacked", base64.b64decode(key).hex())
        self.canaries.watch("PLAID_SECRET", os.environ["PLAID_SECRET"])
        hook = f"ops:{plant('password of ALERT_URLS')}@127.0.0.1:9/{plant('path of ALERT_URLS')}"
        hook += f"?+X-Key={plant('header of ALERT_URLS')}&-q={plant('query of ALERT_URLS')}"
        return {
            "SECRET_KEY": plant("SECRET_KEY", "{}-of-at-least-fifty-characters-in-all-0123456789"),
            "ENCRYPTION_KEYS": f"new:{new},old:{old}",
            "JOBS_SECRET": plant("JOBS_SECRET"),
            "METRICS_TOKEN": plant("METRICS_TOKEN"),
            "PLAID_WEBHOOK_SECRET": plant("PLAID_WEBHOOK_SECRET"),
            "QUICKBOOKS_CLIENT_SECRET": plant("QUICKBOOKS_CLIENT_SECRET"),
            "QUICKBOOKS_WEBHOOK_VERIFIER": plant("QUICKBOOKS_WEBHOOK_VERIFIER"),
            "ALERT_URLS": f"json://{hook} ntfy://{plant('token of ALERT_URLS')}@127.0.0.1:9/topic",
            "SIMULATOR_DATABASE_URL": f"postgres://sim:{plant('password of SIMULATOR_DATABASE_URL')}@127.0.0.1:9/x",
            "HOUSEKEEPING_S": "1",
        }

    def _start_commands(self) -> list[tuple[Process, bool]]:
        """Those that cannot start or go on, with addresses that carry passwords; True: it never ends."""
        plant = self.canaries.plant
        url = "postgres://causeway:{}@127.0.0.1:9/none"
        away = {
            "DATABASE_URL": url.format(plant("password of DATABASE_URL")),
            "DATABASE_OWNER_URL": url.format(plant("password of DATABASE_OWNER_URL")),
        }
        broker = {"REDIS_URL": f"redis://:{plant('password of REDIS_URL')}@127.0.0.1:9/0"}
        malformed = {
            "ENCRYPTION_KEYS": plant("malformed ENCRYPTION_KEYS", "a:{}"),
            "REDIS_URL": plant("malformed REDIS_URL", "redis//:{}"),
            "ALERT_URLS": plant("malformed ALERT_URLS", "slack://{}"),
        }
        rotate, beat = ["manage", "rotate_keys"], ["celery", "-A", "config.celery", "beat"]
        started = []
        for number, (command, more) in enumerate(((rotate, away), (rotate, malformed), (beat, broker))):
            log = plugin.HOME / "logs" / f"canaries-{time.monotonic_ns()}-{number}.log"
            started.append((Process("command", command, log, self.environment | more), command is beat))
        return started

    def end_commands(self) -> None:
        """Each has said what it has to say; what does not end is ended."""
        try:
            for made, is_endless in self.commands:
                if is_endless:
                    assert wait_until(lambda: "Connection refused" in made.output(), LIMIT_S), made.output()  # noqa: B023
                else:
                    made.wait(LIMIT_S)
        finally:
            for made, _ in self.commands:
                if made.is_running:
                    made.kill()
        away, malformed, _beat = (made.output() for made, _ in self.commands)
        assert "127.0.0.1" in away, away
        assert all(name in malformed for name in ("ENCRYPTION_KEYS", "REDIS_URL", "ALERT_URLS")), malformed

    # --- asking ---
    def ask(
        self, method: str, path: str, *, kept: bool = True, everywhere: bool = False, **given: Any
    ) -> httpx.Response:
        """One request. kept: its answer may hold no secret; not where handing one out is what it is for."""
        if everywhere:
            self._keep(httpx.request(method, self.urls[1] + path, timeout=20, **given))
        answer = self.api.request(method, path, **given)
        if kept:
            self._keep(answer)
        return answer

    def _keep(self, answer: httpx.Response) -> None:
        self.said["error bodies" if answer.is_error else "API answers"].append(f"{answer.headers} {answer.text}")

    def refused(self, method: str, path: str, **given: Any) -> None:
        answer = self.ask(method, path, everywhere=True, **given)
        assert 400 <= answer.status_code < 500, (method, path, answer.status_code, answer.text)

    def taken(self, method: str, path: str, **given: Any) -> httpx.Response:
        answer = self.ask(method, path, **given)
        assert answer.is_success, (method, path, answer.status_code, answer.text)
        return answer

    # --- ways in ---
    def plant_everywhere(self) -> None:
        self.people()
        self.requests()
        self.machines()
        self.banks()
        self.provider_fails()
        self.webhooks()
        self.tasks()
        self.disconnects()
        self.drafts()
        self.books()
        self.end_commands()

    def people(self) -> None:
        """Sign-ins that work and fail, and tokens good and forged."""
        plant = self.canaries.plant
        password = plant("password of the API", '{}"é /+&')
        self.person.user.set_password(password)
        self.person.user.save()
        name = self.person.user.username
        self.api.headers["User-Agent"] = plant("program of a person", "access-sandbox-{}")
        answer = self.ask("POST", "/api/v1/auth/token", json={"username": name, "password": password}, kept=False)
        self.token = self.canaries.watch("API token", answer.json()["token"])
        for body in (
            {"username": name, "password": plant("wrong password")},
            {"username": plant("password typed as a name"), "password": "x"},
            {"username": [plant("password in a list")], "password": {"a": plant("password in an object")}},
        ):
            self.refused("POST", "/api/v1/auth/token", json=body)
        for number, header in enumerate(
            ("Bearer {}", "Bearer cwt_{}", "Basic {}", "Token {}", "{}", "Bearer a {}", "Bearer eyJhbGciOi.{}.c2ln")
        ):
            self.refused("GET", "/api/v1/me", headers={"Authorization": plant(f"authorization {number}", header)})
        self.mine = {"Authorization": f"Bearer {self.token}"}
        self.api.headers.update(self.mine)

    def requests(self) -> None:
        """Secrets where none belongs: paths, queries, headers, fields, broken bodies."""
        plant, mine = self.canaries.plant, self.mine
        exchange = "/api/v1/plaid/exchange-token"
        for path in (
            f"/api/v1/connections/{plant('path of the API', 'access-sandbox-{}')}",
            f"/nowhere/{plant('path of nothing', 'cwt_{}')}",
            f"/api/v1/connections?page_size={plant('query value', 'access-production-{}')}",
            f"/api/v1/connections?access_token={plant('query value of an unknown name')}",
            f"/api/v1/connections?{plant('query name', 'public-sandbox-{}')}=1",
            f"/api/v1/sync/status?status={plant('query choice')}",
            f"/api/v1/{self.marker}",
        ):
            self.refused("GET", path, headers=mine)
        for name in ("X-Workspace", "X-Api-Key", "Cookie"):
            self.refused("GET", "/api/v1/nowhere", headers=mine | {name: plant(f"header {name}")})
        for correlation_id in (plant("correlation id", "access-sandbox-{}"), self.marker):
            self.refused("GET", "/api/v1/nowhere", headers=mine | {"X-Correlation-ID": correlation_id})
        for body in (
            {"public_token": {"a": plant("field of another type")}},
            {"public_token": "public-sandbox-x", "environment": plant("choice")},
            {"public_token": "x", "connection_id": plant("id")},
            {plant("field name", "access-sandbox-{}"): 1},
            {"public_token": plant("token of the other environment", "public-production-{}"), "environment": "sandbox"},
            {"public_token": plant("unknown public token", "public-sandbox-{}"), "environment": "sandbox"},
            {"public_token": "x", "environment": "sandbox", "idempotency_key": f"{plant('malformed key')} "},
        ):
            self.refused("POST", exchange, json=body, headers=mine)
        for name, media in (("broken JSON", "application/json"), ("another media type", "text/plain")):
            broken = f'{{"secret": "{plant(name)}'
            self.refused("POST", exchange, content=broken, headers=mine | {"Content-Type": media})

    def machines(self) -> None:
        """The clock's jobs and the figures: with the right secret, a wrong one, and the right one in a wrong place."""
        plant = self.canaries.plant
        jobs, token = self.environment["JOBS_SECRET"], self.environment["METRICS_TOKEN"]
        process = "/api/v1/jobs/plaid/process"
        for job in ("process", "safety-net", "cleanup"):
            self.taken("POST", f"/api/v1/jobs/plaid/{job}", headers={"X-Jobs-Secret": jobs})
        for given in (f"{jobs}x", plant("wrong X-Jobs-Secret")):
            self.refused("POST", process, headers={"X-Jobs-Secret": given})
        self.refused("POST", f"{process}?given={jobs}")
        self.refused("POST", f"{process}/{jobs}", json={"given": jobs})
        found = self.taken("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})
        assert "causeway_alerts_open" in found.text
        for header in (f"Bearer {token}x", f"Basic {token}", token, plant("wrong METRICS_TOKEN", "Bearer {}")):
            self.refused("GET", "/metrics", headers={"Authorization": header})
        self.refused("GET", f"/metrics?given={token}")

    def banks(self) -> None:
        """Items linked, re-linked and hosted, some of it asked for twice under one key."""
        plant = self.canaries.plant
        first, second, self.broken = (self._item(name) for name in ("first", "second", "third"))
        self.bank = self._exchange(first)
        self._exchange(second, connection_id=self.bank)
        key = {"Idempotency-Key": plant("idempotency key of an exchange")}
        self.failing = self._exchange(self.broken, headers=key)
        assert self._exchange(self.broken, headers=key) == self.failing
        self.refused("POST", "/api/v1/plaid/exchange-token", json={"public_token": "x"}, headers=self.mine | key)
        for hosted in (False, True):
            body = {"environment": "sandbox", "hosted_link": hosted}
            key = {"Idempotency-Key": plant(f"idempotency key, hosted {hosted}")}
            tokens = {self._link_token(body, key) for _ in range(2)}  # the second time from the answer that was kept
            assert len(tokens) == 1
            self.link_token = self.canaries.watch(f"link token, hosted {hosted}", tokens.pop())
        app.send_task("sync.tasks.dispatch")
        synced = PlaidItem.objects.filter(last_synced_at__isnull=False)
        assert wait_until(lambda: synced.count() == 2, LIMIT_S)
        Connection.objects.filter(pk=self.bank).update(name=self.marker)
        assert self.marker in self.taken("GET", "/api/v1/connections").text

    def _link_token(self, body: dict[str, Any], key: dict[str, str]) -> str:
        answer = self.ask("POST", "/api/v1/plaid/link-token", json=body, headers=key, kept=False)
        return answer.json()["link_token"]

    def _item(self, name: str) -> dict[str, str]:
        made = self.simulator.control("POST", "items", {"transactions": 3, "accounts": 1, "life": False})
        for kind in ("access_token", "public_token"):
            self.canaries.watch(f"{kind} of the {name} Item", made[kind])
        return made

    def _exchange(self, item: dict[str, str], *, headers: dict[str, str] | None = None, **more: str) -> str:
        body = {"public_token": item["public_token"], "environment": "sandbox", "allow_duplicate": True} | more
        return self.taken("POST", "/api/v1/plaid/exchange-token", json=body, headers=headers).json()["id"]

    def provider_fails(self) -> None:
        """Each way to fail, each quoting something secret, in syncs, for a person who waits, and to the alert channels."""
        plant, item = self.canaries.plant, self.broken
        quoting = f"{item['access_token']} and {os.environ['PLAID_SECRET']} {self.marker}"
        quoting += f" secret={plant('quoted by name')} {plant('quoted', 'processor-sandbox-{}')}"
        code, self.quoting = plant("error code", "access-sandbox-{}"), quoting
        faults = [
            self._error("ITEM_LOCKED", quoting),
            {"kind": "error", "error_code": code, "error_type": code, "error_message": quoting, "status": 400},
            {"kind": "html", "body": f"<html>{item['access_token']} {plant('HTML page', 'access-sandbox-{}')}</html>"},
            {"kind": "error", "status": 200, "body": f'{{"access_token": "{plant("malformed answer")}", {quoting}'},
            {"kind": "error", "status": 400, "body": f'{{"error_code": 5, "secret": "{plant("wrong types")}"}}'},
        ]
        for fault in faults:
            self._arm("/transactions/sync", fault, times=2, item_id=item["item_id"])
            runs = SyncRun.objects.filter(connection=self.failing, status="failed")
            before = runs.count()
            PlaidItem.objects.filter(item_id=item["item_id"]).update(dirty_seq=5)
            Connection.objects.filter(pk=self.failing).update(next_attempt_at=None, status="active", wait_reason="")
            app.send_task("sync.tasks.dispatch")
            assert wait_until(lambda: runs.count() > before, LIMIT_S), fault  # noqa: B023
        self._arm("/link/token/create", faults[0])
        answer = self.ask("POST", "/api/v1/plaid/link-token", json={"connection_id": self.failing})
        assert answer.is_error
        refused = AlertDelivery.objects.exclude(last_error="")
        assert wait_until(lambda: len({delivery.channel for delivery in refused.all()}) == 2, LIMIT_S)

    def _error(self, code: str, message: str) -> dict[str, Any]:
        return {"kind": "error", "error_code": code, "error_type": "ITEM_ERROR", "error_message": message}

    def _arm(self, path: str, fault: dict[str, Any], **more: Any) -> None:
        self.simulator.control("DELETE", "faults")
        self.simulator.control("POST", "faults", {"path": path, **fault, **more})

    def webhooks(self) -> None:
        """Verified ones with tokens in them, and ones that are refused."""
        plant, item = self.canaries.plant, PlaidItem.objects.get(connection=self.bank).item_id
        bodies = [
            {"webhook_type": "LINK", "webhook_code": "SESSION_FINISHED", "link_token": self.link_token},
            {"webhook_type": "LINK", "webhook_code": "EVENTS", "public_tokens": [plant("webhook", "public-sandbox-{}")]},
            {"webhook_type": "ITEM", "webhook_code": "NEW", "item_id": item, "access_token": plant("webhook's field")},
            {"webhook_type": "ITEM", "webhook_code": "ERROR", "item_id": item, "error": {
                "error_type": "ITEM_ERROR", "error_code": "NO_ACCOUNTS",
                "error_message": f"{self.marker} {plant('webhook error', 'access-sandbox-{}')}"}},
        ]  # fmt: skip
        for body in bodies:
            raw = json.dumps(body).encode()
            secret = self.environment["PLAID_WEBHOOK_SECRET"].encode()
            signature = hmac.new(secret, raw, hashlib.sha256).hexdigest()
            self.taken("POST", "/webhook/plaid", content=raw, headers={"X-Plaid-Signature": signature})
        body = f'{{"secret": "{plant("unverified webhook")}"}}'
        for headers in (
            {"X-Plaid-Signature": plant("signature")},
            {"Plaid-Verification": plant("verification", "eyJhbGciOiJFUzI1NiJ9.{}.c2ln")},
            {},
        ):
            self.refused("POST", "/webhook/plaid", content=body, headers=headers)
        assert WebhookRefusal.objects.exists()
        assert wait_until(lambda: not WebhookEvent.objects.filter(status="received").exists(), LIMIT_S)

    def tasks(self) -> None:
        """Messages that nobody understands, and one whose failure quotes its argument."""
        plant = self.canaries.plant
        app.send_task("sync.tasks.execute", args=[[plant("task argument", "access-sandbox-{}")]])
        unknown, words = [plant("unknown task", "access-sandbox-{}")], {"password": plant("kwarg")}
        app.send_task("no.such.task", args=unknown, kwargs=words)
        assert wait_until(lambda: ErrorEvent.objects.filter(path="sync.tasks.execute").exists(), LIMIT_S)
        assert wait_until(lambda: "no.such.task" in self.processes["worker", "json"].output(), LIMIT_S)

    def disconnects(self) -> None:
        """A connection's end, which the provider refuses at first and quotes why."""
        fault = {**self._error("INTERNAL_SERVER_ERROR", self.quoting), "status": 500}
        self._arm("/item/remove", fault, times=1000, item_id=self.broken["item_id"])
        answer = self.ask("DELETE", f"/api/v1/connections/{self.failing}", json={"confirmed": True})
        assert answer.status_code == 202, answer.text
        refused = RetiredPlaidItem.objects.filter(connection=self.failing).exclude(last_error="")
        assert wait_until(refused.exists, LIMIT_S)
        self.said["database"] += refused.values_list("last_error", flat=True)  # forgotten as soon as it goes through
        self.taken("GET", f"/api/v1/connections/{self.failing}")
        self.simulator.control("DELETE", "faults")
        gone = Connection.objects.filter(pk=self.failing, status="disconnected")
        assert wait_until(gone.exists, LIMIT_S)
        assert wait_until(lambda: not RetiredPlaidItem.objects.exclude(status="removed").exists(), LIMIT_S)
        assert Credential.objects.count() == 1

    def drafts(self) -> None:
        """Secrets of other providers, good ones and ones that are refused, also where none belongs."""
        plant = self.canaries.plant
        hexadecimal = secrets.token_hex
        key, secret = (self.canaries.watch(name, f"{name}_{hexadecimal(20)}") for name in ("ck", "cs"))
        shop = {"provider": "woocommerce", "config": {"store_url": "https://shop.example.com"}}
        dsn = f"postgresql://postgres:{plant('password of a dsn')}@db.example.com:5432/postgres"
        for body in (
            shop | {"credentials": {"consumer_key": key, "consumer_secret": secret}},
            {
                "provider": "supabase",
                "config": {"kind": "rest", "project_url": "https://abcdefghijklmnopqrst.supabase.co"},
                "credentials": {"secret_key": plant("secret_key", "sb_secret_{}")},
            },
            {"provider": "supabase", "config": {"kind": "postgres"}, "credentials": {"dsn": dsn}},
        ):
            made = self.taken("POST", "/api/v1/connections", json=body, headers=self.mine).json()
            change = {"credentials": {name: plant(f"malformed {name}", "not a {}") for name in body["credentials"]}}
            self.refused("PATCH", f"/api/v1/connections/{made['id']}", json=change, headers=self.mine)
            self.taken("GET", f"/api/v1/connections/{made['id']}")
        self.refused("POST", "/api/v1/connections", json=shop | {"config": {"store_url": plant("misplaced", "cs_{}")}})
        self.refused("POST", "/api/v1/oauth/woocommerce/callback", json={"user_id": plant("forged hand-over")})

    def books(self) -> None:
        """A sign-in at Intuit with everything that can go wrong on the way, renewals that work and fail, and the end."""
        plant, watch, intuit = self.canaries.plant, self.canaries.watch, Intuit(self.simulator)
        app_secret = self.environment["QUICKBOOKS_CLIENT_SECRET"]
        intuit.control("apps/test-quickbooks-id", {"secret": app_secret})
        made = self.taken(
            "POST", "/api/v1/connections", json={"provider": "quickbooks", "environment": "sandbox"}
        ).json()
        path, realm = f"/api/v1/connections/{made['id']}/oauth/authorize", intuit.company()
        for number in range(2):  # the second one is the one that works
            begun = self.ask("POST", path, kept=False).json()
            back = intuit.consent(begun["authorize_url"], realm)
            watch(f"state {number}", back["state"])
            watch(f"code {number}", back["code"])
            for accept in ("text/html", "application/json"):
                wrong = back | {"state": plant(f"forged state {number} {accept}")}
                self.refused("GET", self.CALLBACK, params=wrong, headers={"Accept": accept})
            if not number:
                told = {"error": "invalid_grant", "error_description": f"{back['code']} {app_secret} {self.marker}"}
                intuit.fault("error", status=400, body=json.dumps(told))
                self.refused("GET", self.CALLBACK, params=back)
        self.taken("GET", self.CALLBACK, params=back, headers={"Accept": "text/html"})
        self.refused("GET", self.CALLBACK, params=back)
        connection = Connection.objects.get(pk=made["id"])
        intuit.rotate_always()
        for number in range(3):
            self._watch_tokens(intuit, connection, number)
            if number == 1:
                told = {"error": f"{intuit.grant(connection)['refresh_token']}", "error_description": app_secret}
                intuit.fault("error", status=400, body=json.dumps(told))
            self._renewed(connection)
        self.taken("GET", f"/api/v1/connections/{connection.pk}")
        self.taken("DELETE", f"/api/v1/connections/{connection.pk}", json={"confirmed": True})
        gone = Connection.objects.filter(pk=connection.pk, status="disconnected")
        app.send_task("connections.tasks.errands")
        assert wait_until(gone.exists, LIMIT_S)

    CALLBACK = "/api/v1/oauth/quickbooks/callback"

    def _watch_tokens(self, intuit: Intuit, connection: Connection, number: int) -> None:
        """Those that are new since the last time."""
        grant = intuit.grant(connection)
        for position, token in enumerate([grant["refresh_token"], *grant["access"]]):
            if token not in self.canaries.planted.values():
                self.canaries.watch(f"token of Intuit {number}.{position}", token)

    def _renewed(self, connection: Connection) -> None:
        """By a worker, whatever comes of it."""
        before = OAuthGrant.objects.values_list("refreshes", "failure_count").get(connection=connection)
        Credential.objects.filter(connection=connection, name="access_token").update(expires_at=timezone.now())
        OAuthGrant.objects.update(next_attempt_at=None)
        Connection.objects.filter(pk=connection.pk).update(status="active")
        app.send_task("connections.tasks.tokens_refresh")
        now = OAuthGrant.objects.filter(connection=connection).values_list("refreshes", "failure_count")
        assert wait_until(lambda: now.get() != before, LIMIT_S)
