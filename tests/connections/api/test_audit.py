"""Every route and command that changes something has decided what it puts on record, and those that do, do."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command, get_commands
from django.test import Client
from django.urls import reverse

from config import correlation
from config.urls import AUDIT_ELSEWHERE
from connections.api.base import ApiView
from connections.api.matrix import API, Rule, routes, rules, view_of
from connections.audit import Action, Audited, NotAudited
from connections.models import AccessToken, Connection, SecurityEvent, Verification, Workspace
from connections.services.workspaces import operations_group
from sync.models import SyncRun
from tests.connections.api.scene import (
    make_account,
    make_bank,
    make_event,
    make_flow,
    make_mapping,
    make_shop,
    make_store,
)
from tests.connections.intuit import Intuit, make_books, make_state
from tests.factories import Person

pytestmark = pytest.mark.django_db

CHANGING = ("POST", "PUT", "PATCH", "DELETE")
PASSWORD = "correct horse battery"


def label(rule: Rule) -> str:
    return f"{rule.method} {rule.path.removeprefix(API)}"


def has_decided(found: Any) -> bool:
    return (isinstance(found, Audited) and bool(found.actions)) or (
        isinstance(found, NotAudited) and bool(found.reason)
    )


def undecided() -> list[str]:
    """Every route, or method of one, that says nothing about the audit."""
    missing = []
    for route, callback in routes():
        view = view_of(callback)
        if isinstance(view, type) and issubclass(view, ApiView):
            changing = [method for method in CHANGING if hasattr(view, method.lower())]
            missing += [f"{method} {route}" for method in changing if not has_decided(view.audit.get(method))]
        elif not has_decided(getattr(callback, "audit", None) or elsewhere(route)):
            missing.append(route)
    return missing


def elsewhere(route: str) -> Any:
    return next(
        (d for known, d in AUDIT_ELSEWHERE.items() if route == known or (route.startswith(known) and known != "/")),
        None,
    )


def test_every_route_that_changes_something_has_decided_what_is_put_on_record():
    assert undecided() == []


def test_a_route_without_a_decision_is_found(monkeypatch):
    from connections.api.views import TokenView

    monkeypatch.setattr(TokenView, "audit", {"POST": Audited(), "DELETE": NotAudited("")})
    monkeypatch.delitem(AUDIT_ELSEWHERE, "/api/docs/")
    assert set(undecided()) == {
        "POST /api/v1/auth/token",
        "POST /api/auth/token",
        "DELETE /api/v1/auth/token",
        "DELETE /api/auth/token",
        "/api/docs/",
    }


def test_no_decision_is_left_over():
    for rule in rules():
        assert set(rule.view.audit) <= {method for method in CHANGING if hasattr(rule.view, method.lower())}, rule.path
    found = [route for route, _ in routes()]
    assert [known for known in AUDIT_ELSEWHERE if not any(route.startswith(known) for route in found)] == []


def commands() -> dict[str, Any]:
    ours = {config.name for config in apps.get_app_configs()} & {
        "config",
        "connections",
        "sync",
        "webhooks",
        "diagnostics",
    }
    return {
        name: import_module(f"{app}.management.commands.{name}").Command
        for name, app in get_commands().items()
        if app in ours
    }


def test_every_command_has_decided_what_is_put_on_record():
    found = commands()
    assert {"bootstrap", "rotate_keys", "verify_audit"} <= set(found)
    assert [name for name, command in found.items() if not has_decided(getattr(command, "audit", None))] == []


# --- and those that say they do, do ---
class Caller:
    """Alice over HTTP, with an address, a program and a correlation id that have to be on the record."""

    def __init__(self, alice: Person, simulator: Any) -> None:
        self.alice, self.simulator = alice, simulator
        self.client = alice.api

    def send(self, method: str, path: str, body: dict | None = None, *, status: int = 200) -> dict:
        asked = {
            "REMOTE_ADDR": "203.0.113.7",
            "HTTP_USER_AGENT": "a-test/1.0",
            "HTTP_X_CORRELATION_ID": "asked-for-this",
        }
        response = getattr(self.client, method.lower())(f"{API}{path}", body or {}, format="json", **asked)
        assert response.status_code == status, response.content
        return response.json() if response.content else {}


def sign_in(caller: Caller) -> None:
    caller.alice.user.set_password(PASSWORD)
    caller.alice.user.save()
    caller.client.credentials()
    caller.send("POST", "auth/token", {"username": "alice", "password": "wrong"}, status=401)
    caller.send("POST", "auth/token", {"username": "alice", "password": PASSWORD})


def link_and_link_again(caller: Caller) -> None:
    made = caller.simulator.control("POST", "items", {"transactions": 1})
    body = {"public_token": made["public_token"], "environment": "sandbox"}
    connection = caller.send("POST", "plaid/exchange-token", body, status=201)
    again = caller.simulator.control("POST", "items", {"transactions": 1})
    body = {"public_token": again["public_token"], "environment": "sandbox", "connection_id": connection["id"]}
    caller.send("POST", "plaid/exchange-token", body, status=201)


def remove_an_account(caller: Caller) -> None:
    """The last one: its connection goes with it."""
    account = make_account(make_bank(caller.alice))
    path = f"connections/{account.connection_id}/accounts/{account.pk}"
    caller.send("DELETE", path, {"confirmed": True}, status=202)


def draft(caller: Caller) -> None:
    body = {"provider": "woocommerce", "environment": "production", "config": {"store_url": "https://shop.example.com"}}
    caller.send("POST", "connections", body, status=201)


def change_all(caller: Caller) -> None:
    shop = make_shop(caller.alice, environment="production")
    change = {"name": "New", "environment": "sandbox", "config": {"store_url": "https://shop.example.com"}}
    caller.send("PATCH", f"connections/{shop.pk}", change)


def activate(caller: Caller) -> None:
    shop = make_shop(caller.alice, status="verified")
    Verification.objects.create(workspace=shop.workspace, connection=shop, config_version=1, status="passed")
    caller.send("POST", f"connections/{shop.pk}/activate")


def authorize(caller: Caller) -> dict:
    return caller.send("POST", f"connections/{make_books(caller.alice).pk}/oauth/authorize")


def come_back(caller: Caller) -> None:
    """From a way there that nobody put on record."""
    intuit, made = Intuit(caller.simulator), make_books(caller.alice)
    caller.send("POST", "oauth/quickbooks/callback", intuit.consent(make_state(made), intuit.company()))


def flow_of(caller: Caller, **fields: Any) -> str:
    return f"flows/{make_flow(make_shop(caller.alice), **fields).pk}"


def make_and_activate_a_flow(caller: Caller) -> None:
    body = {"source_connection_id": make_shop(caller.alice).pk, "target_connection_id": make_store(caller.alice).pk}
    caller.send("POST", "flows", body | {"status": "active"}, status=201)


def change_a_flow(caller: Caller) -> None:
    path = flow_of(caller)
    caller.send("PATCH", path, {"name": "New", "status": "active"})
    caller.send("PATCH", path, {"status": "paused"})


def sync_a_flow(caller: Caller) -> None:
    make_flow(make_shop(caller.alice), status="active")
    caller.send("POST", "sync/orders", status=202)


def cancel_a_run(caller: Caller) -> None:
    flow = make_flow(make_shop(caller.alice), status="active")
    of_it = {"workspace": flow.workspace, "connection": flow.source, "flow": flow, "trigger": "user"}
    run = SyncRun.objects.create(**of_it, entity="orders")
    caller.send("POST", f"sync/status/{run.pk}/cancel", status=202)


# How each of them is called. An audited endpoint that is not here fails the test below.
DRIVERS: dict[str, Callable[[Caller], Any]] = {
    "POST auth/token": sign_in,
    "DELETE auth/token": lambda caller: caller.send("DELETE", "auth/token", status=204),
    "POST connections": draft,
    "PATCH connections/{connection_id}": change_all,
    "POST connections/{connection_id}/verify": lambda caller: caller.send(
        "POST", f"connections/{make_shop(caller.alice).pk}/verify", status=202
    ),
    "POST connections/{connection_id}/activate": activate,
    "POST connections/{connection_id}/pause": lambda caller: caller.send(
        "POST", f"connections/{make_bank(caller.alice).pk}/pause"
    ),
    "POST connections/{connection_id}/resume": lambda caller: caller.send(
        "POST", f"connections/{make_bank(caller.alice, status='paused').pk}/resume"
    ),
    "POST plaid/link-token": lambda caller: caller.send("POST", "plaid/link-token", {"environment": "sandbox"}),
    "POST plaid/exchange-token": link_and_link_again,
    "DELETE connections/{connection_id}": lambda caller: caller.send(
        "DELETE", f"connections/{make_bank(caller.alice).pk}", {"confirmed": True}, status=202
    ),
    "DELETE connections/{connection_id}/accounts/{account_id}": remove_an_account,
    "POST connections/{connection_id}/oauth/authorize": authorize,
    "POST oauth/{provider}/callback": come_back,
    "POST webhook-events/{event_id}/replay": lambda caller: caller.send(
        "POST", f"webhook-events/{make_event(make_bank(caller.alice)).pk}/replay", status=202
    ),
    "PATCH settings/webhooks": lambda caller: caller.send("PATCH", "settings/webhooks", {"enabled": False}),
    "POST flows": make_and_activate_a_flow,
    "PATCH flows/{flow_id}": change_a_flow,
    "DELETE flows/{flow_id}": lambda caller: caller.send("DELETE", flow_of(caller), status=204),
    "POST mappings": lambda caller: caller.send(
        "POST", "mappings", {"entity": "orders", "target": "supabase"}, status=201
    ),
    "PUT mappings/{mapping_id}": lambda caller: caller.send(
        "PUT", f"mappings/{make_mapping(caller.alice).pk}", {"version": 1, "rules": []}
    ),
    "DELETE mappings/{mapping_id}": lambda caller: caller.send(
        "DELETE", f"mappings/{make_mapping(caller.alice).pk}", status=204
    ),
    "POST flows/{flow_id}/activate": lambda caller: caller.send("POST", f"{flow_of(caller)}/activate"),
    "POST flows/{flow_id}/pause": lambda caller: caller.send("POST", f"{flow_of(caller, status='active')}/pause"),
    "POST sync/{entity}": sync_a_flow,
    "POST sync/status/{sync_id}/cancel": cancel_a_run,
    "POST connections/{connection_id}/refresh": lambda caller: caller.send(
        "POST", f"connections/{make_bank(caller.alice).pk}/refresh", status=202
    ),
}
AUDITED = [rule for rule in rules() if isinstance(rule.view.audit.get(rule.method), Audited)]


@pytest.mark.parametrize("rule", AUDITED, ids=label)
def test_what_says_it_is_audited_is_on_record_with_who_from_where_and_why(alice, simulator, rule):
    DRIVERS[label(rule)](Caller(alice, simulator))
    found = list(SecurityEvent.objects.order_by("pk"))
    assert {event.action for event in found} == set(rule.view.audit[rule.method].actions)
    for event in found:
        is_failure = event.action == Action.SIGN_IN_FAILED
        assert event.actor_id == (None if is_failure else alice.user.pk)
        assert (event.workspace_id, event.object_type != "") == (alice.workspace.pk, True)
        assert (event.ip, event.user_agent) == ("203.0.113.7", "a-test/1.0")
        assert event.correlation_id == "asked-for-this"
        assert "access-sandbox" not in str(event.details)
        assert "public-sandbox" not in str(event.details)


def test_a_request_that_is_refused_leaves_nothing_on_record(alice, vera):
    bank = make_bank(alice)
    assert vera.api.post(f"{API}connections/{bank.pk}/refresh").status_code in (403, 404)
    assert alice.api.post(f"{API}plaid/exchange-token", {"public_token": 1}, format="json").status_code == 400
    assert SecurityEvent.objects.count() == 0


def test_a_failed_sign_in_with_a_name_that_nobody_has_keeps_no_name(db):
    body = {"username": "my-password-by-mistake", "password": "x"}
    assert Client().post(f"{API}auth/token", body, "application/json").status_code == 401
    event = SecurityEvent.objects.get()
    assert (event.action, event.actor, event.workspace) == ("sign_in_failed", None, None)
    assert "mistake" not in str(vars(event))


def test_a_sign_in_is_on_record_in_each_of_a_persons_workspaces(alice, charlie):
    charlie.membership.__class__.objects.create(workspace=alice.workspace, user=charlie.user, role="viewer")
    charlie.user.set_password(PASSWORD)
    charlie.user.save()
    Client().post(f"{API}auth/token", {"username": "charlie", "password": PASSWORD}, "application/json")
    assert set(SecurityEvent.objects.values_list("workspace__slug", flat=True)) == {"acme", "globex"}


@pytest.mark.parametrize(
    "peer, forwarded, shown",
    [
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),  # whoever asks could write that
        ("10.1.2.3", "192.0.2.66, 198.51.100.1", "198.51.100.1"),  # as far as our proxy vouches for it
        ("10.1.2.3", "[2001:db8::7]", "2001:db8::7"),
        ("10.1.2.3", "not an address", None),
        ("", "", None),
    ],
)
def test_the_address_on_record_is_the_one_that_trusted_proxies_vouch_for(db, settings, peer, forwarded, shown):
    import ipaddress

    settings.TRUSTED_PROXIES = [ipaddress.ip_network("10.0.0.0/8")]
    asked = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}
    Client().post(f"{API}auth/token", {"username": "a", "password": "b"}, "application/json", **asked)
    assert SecurityEvent.objects.get().ip == shown


def test_a_user_agent_of_any_kind_and_length_is_kept_as_far_as_it_can_be(db):
    agent = "Mozilla\x00\x07/5.0 " + "é" * 400
    Client().post(f"{API}auth/token", {"username": "a", "password": "b"}, "application/json", HTTP_USER_AGENT=agent)
    kept = SecurityEvent.objects.get().user_agent
    assert kept.startswith("Mozilla/5.0 é")
    assert len(kept) == 300


def test_a_token_that_came_as_a_user_agent_is_hidden(db):
    agent = "curl/8 access-sandbox-0b1c Bearer abc.def"
    Client().post(f"{API}auth/token", {"username": "a", "password": "b"}, "application/json", HTTP_USER_AGENT=agent)
    assert SecurityEvent.objects.get().user_agent == "curl/8 [hidden] Bearer [hidden]"


# --- the console ---
@pytest.fixture
def console(bob) -> Client:
    bob.user.groups.add(operations_group())
    bob.user.set_password(PASSWORD)
    bob.user.save()
    client = Client(REMOTE_ADDR="203.0.113.9")
    client.post("/admin/login/", {"username": "bob", "password": "wrong"})
    client.post("/admin/login/", {"username": "bob", "password": PASSWORD})
    return client


def actions(**where: Any) -> list[str]:
    return list(SecurityEvent.objects.filter(**where).order_by("pk").values_list("action", flat=True))


def test_signing_in_and_out_of_the_console_is_on_record(console, bob):
    console.post("/admin/logout/")
    assert actions() == ["sign_in_failed", "signed_in", "signed_out"]
    assert set(SecurityEvent.objects.values_list("ip", flat=True)) == {"203.0.113.9"}
    assert set(SecurityEvent.objects.values_list("workspace_id", flat=True)) == {bob.workspace.pk}


def test_what_is_edited_and_done_in_the_console_is_on_record(console, alice, bob):
    bank = make_bank(alice)
    bank_was = bank.name
    console.post(reverse("admin:connections_connection_change", args=[bank.pk]), {"name": "Renamed"})
    bank.refresh_from_db()
    assert bank.name == "Renamed"
    for verb in ("pause", "resume"):
        console.post(reverse("admin:connections_connection_verb", args=[bank.pk, verb]))
    token = AccessToken.objects.get(user=alice.user)
    console.post(reverse("admin:connections_accesstoken_verb", args=[token.pk, "revoke"]))
    done = actions(actor=bob.user, object_id__in=[str(bank.pk), str(token.pk), str(alice.user.pk)])
    assert done == [
        "connection_renamed",
        "console_changed",
        "connection_paused",
        "console_changed",
        "connection_resumed",
        "console_changed",
        "token_revoked",
        "console_changed",
    ]
    assert SecurityEvent.objects.get(action="connection_renamed").details == {"was": bank_was, "now": "Renamed"}
    edit = SecurityEvent.objects.filter(action="console_changed").earliest("pk")
    assert (edit.workspace_id, edit.object_type) == (alice.workspace.pk, "connection")
    assert edit.details == {"kind": "change", "change": "Changed Name."}


def test_what_superusers_do_to_people_and_schedules_is_on_record(bob, alice):
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    bob.user.is_superuser = True
    bob.user.save()
    client = Client()
    client.force_login(bob.user)
    client.post(reverse("admin:connections_membership_delete", args=[alice.membership.pk]), {"post": "yes"})
    interval = IntervalSchedule.objects.create(every=2, period="seconds")
    tasks = [PeriodicTask.objects.create(name=n, task="sync.tasks.dispatch", interval=interval) for n in ("a", "b")]
    chosen = {"_selected_action": [task.pk for task in tasks]}
    url = reverse("admin:django_celery_beat_periodictask_changelist")
    client.post(url, {"action": "disable_tasks", **chosen})
    client.post(url, {"action": "delete_selected", "post": "yes", **chosen})
    assert not PeriodicTask.objects.exists()
    changes = SecurityEvent.objects.filter(action="console_changed", actor=bob.user)
    assert sorted(changes.values_list("object_type", "details__kind")) == [
        ("membership", "deletion"),
        *[("periodictask", "change")] * 2,
        *[("periodictask", "deletion")] * 2,
    ]


# --- commands ---
def test_commands_are_on_record_as_the_systems(db):
    with correlation.bound("by-hand"):
        call_command("bootstrap", "--username", "eve", "--password", PASSWORD, "--workspace", "acme")
        call_command("rotate_keys")
        call_command("rotate_keys", "--dry-run")
        call_command("replay_webhooks", "--since", "2026-01-01", "--dry-run")
    assert actions(actor=None, ip=None, correlation_id="by-hand") == ["person_bootstrapped", "keys_rotated"]
    made = SecurityEvent.objects.get(action="person_bootstrapped")
    assert (made.workspace, made.details["role"]) == (Workspace.objects.get(slug="acme"), "owner")
    assert PASSWORD not in str(made.details)


def test_a_rolled_back_change_leaves_nothing_on_record(alice):
    from connections.errors import Conflict
    from connections.services.pausing import connection_resume

    bank: Connection = make_bank(alice)
    with pytest.raises(Conflict):
        connection_resume(connection_id=bank.pk, actor=alice.user)
    assert SecurityEvent.objects.count() == 0
