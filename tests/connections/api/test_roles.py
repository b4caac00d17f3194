"""The role matrix, walked over HTTP; and no view without a place in it."""

from collections.abc import Callable
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.urls import URLResolver, get_resolver
from rest_framework.test import APIClient

from config.urls import APP_ROLE_ROUTES
from connections.api import matrix
from connections.api.base import ApiView, WorkspaceView
from connections.api.matrix import ALL, NO, NO_BANKS, NO_OTHERS_BANKS, OWN, YES, Rule, routes, rules, view_of
from connections.management.commands import role_matrix
from connections.models import Account, Connection, Role
from sync.models import Flow, Mapping, SyncRun
from tests.connections.api.scene import assert_problem, make_bank, make_event, make_flow, make_mapping, make_shop
from tests.factories import Person, person
from webhooks.models import WebhookEvent

pytestmark = pytest.mark.django_db

SUBJECTS = ("own bank", "another's bank", "own shop", "another's shop")
IN_REACH = {
    YES: SUBJECTS,
    ALL: SUBJECTS,
    OWN: ("own bank", "own shop"),
    NO_BANKS: ("own shop", "another's shop"),
    NO_OTHERS_BANKS: ("own bank", "own shop", "another's shop"),
}
SEEN = {Role.VIEWER: NO_BANKS, Role.MEMBER: NO_OTHERS_BANKS, Role.OPERATOR: ALL, Role.OWNER: ALL}
# What has to be sent so that nothing but the role decides. An endpoint that needs a body and is not here gets {}.
BODIES: dict[str, Callable[[UUID], dict]] = {
    "POST plaid/link-token": lambda pk: {"connection_id": str(pk)},
    "POST flows": lambda pk: {"source_connection_id": str(pk), "target_connection_id": str(pk)},
    "POST sync/{entity}": lambda pk: {"flow_id": str(Flow.objects.get(source_id=pk).pk)},
    "POST mappings": lambda pk: {"entity": "orders", "flow_id": str(Flow.objects.get(source_id=pk).pk)},
    "PUT mappings/{mapping_id}": lambda _pk: {"version": 1, "rules": []},
    "POST mappings/{mapping_id}/preview": lambda _pk: {"record": {"source_id": "1", "currency": "USD", "total": "1"}},
    "POST plaid/exchange-token": lambda pk: {"public_token": "public-sandbox-x", "connection_id": str(pk)},
}
# Where not even "you may not" is said: another person's accounts.
UNSEEN = {"DELETE connections/{connection_id}/accounts/{account_id}": "another's bank"}
WORKSPACE_RULES = [rule for rule in rules() if rule.cells]


def label(rule: Rule) -> str:
    return f"{rule.method} {rule.path.removeprefix(matrix.API)}"


class Stage:
    """One person, and what there is to see: theirs and another's, a bank and a shop each with a run and a webhook."""

    def __init__(self, caller: Person, other: Person) -> None:
        self.connections: dict[str, Connection] = {}
        self.runs: dict[str, SyncRun] = {}
        self.events: dict[str, WebhookEvent] = {}
        self.accounts: dict[str, Account] = {}
        self.flows: dict[str, Flow] = {}
        self.mappings: dict[str, Mapping] = {}
        for whose, owner in (("own", caller), ("another's", other)):
            for kind, make in (("bank", make_bank), ("shop", make_shop)):
                made = make(owner)
                self.connections[f"{whose} {kind}"] = made
                run = SyncRun.objects.create(
                    workspace=owner.workspace, connection=made, trigger="user", status="succeeded"
                )
                self.runs[f"{whose} {kind}"] = run
                self.events[f"{whose} {kind}"] = make_event(made)
                account = Account.objects.create(workspace=owner.workspace, connection=made, name="Checking")
                self.accounts[f"{whose} {kind}"] = account
                self.flows[f"{whose} {kind}"] = make_flow(made, made)
                self.mappings[f"{whose} {kind}"] = make_mapping(owner)

    def ask(self, client: APIClient, rule: Rule, subject: str, mount: str = matrix.API):
        pk = self.connections[subject].pk
        rows = {"connection_id": self.connections, "sync_id": self.runs}
        rows |= {
            "event_id": self.events,
            "account_id": self.accounts,
            "flow_id": self.flows,
            "mapping_id": self.mappings,
        }
        ids = {name: found[subject].pk for name, found in rows.items()}
        path = rule.path.format(**ids, entity="orders").replace(matrix.API, mount, 1)
        body = BODIES.get(label(rule), lambda _pk: {})(pk)
        return (
            client.generic(rule.method, path)
            if rule.method == "GET"
            else getattr(client, rule.method.lower())(path, body, format="json")
        )

    def named(self, response) -> set[str]:
        """Which subjects a list holds."""
        found = {row.get("sync_id") or row["id"] for row in response.json()["results"]}
        listed = (self.connections, self.runs, self.events, self.flows, self.mappings)
        pks = {str(row.pk): subject for rows in listed for subject, row in rows.items()}
        return {pks[pk] for pk in found}


def is_list(rule: Rule) -> bool:
    return rule.method == "GET" and "{" not in rule.path and bool(rule.view.reach)


@pytest.fixture
def other(workspace) -> Person:
    return person("oscar", workspace, Role.OWNER)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("rule", WORKSPACE_RULES, ids=label)
def test_every_role_gets_what_the_page_says(workspace, other, rule, role):
    caller = person("carol", workspace, role)
    stage, cell = Stage(caller, other), (rule.cells or {})[role]
    if cell == NO:
        for subject in SUBJECTS:
            assert_problem(stage.ask(caller.api, rule, subject), 403, "permission_denied")
    elif is_list(rule):
        assert stage.named(stage.ask(caller.api, rule, "own bank")) == set(IN_REACH[cell])
    else:
        for subject in SUBJECTS:
            status = stage.ask(caller.api, rule, subject).status_code
            if subject in IN_REACH[cell]:
                assert status not in (401, 403, 404, 405, 500), (subject, status)
            else:
                is_seen = subject in IN_REACH[SEEN[role]] and label(rule) not in BODIES and rule.method != "GET"
                is_seen = is_seen and subject != UNSEEN.get(label(rule))
                assert status == (403 if is_seen else 404), (subject, status)


@pytest.mark.parametrize("rule", WORKSPACE_RULES, ids=label)
def test_ids_of_another_workspace_are_404_and_lists_hold_none(alice, other, charlie, rule):
    stage = Stage(alice, other)
    for subject in SUBJECTS:
        response = stage.ask(charlie.api, rule, subject)
        if is_list(rule):
            assert response.json()["results"] == []
        elif "{" in rule.path or label(rule) in BODIES:
            assert_problem(response, 404, "not_found")
        else:  # about no rows: gone, or the caller's own workspace's settings
            assert response.status_code in (200, 400, 410)


@pytest.mark.parametrize("mount", ["/api/v1/", "/api/"])
@pytest.mark.parametrize("rule", WORKSPACE_RULES, ids=label)
def test_without_a_token_everything_in_a_workspace_is_401(alice, other, rule, mount):
    assert_problem(Stage(alice, other).ask(APIClient(), rule, "own shop", mount), 401, "not_authenticated")


def test_session_endpoints_are_as_the_page_says(alice):
    found = {label(rule): rule.method in rule.view.anonymous_methods for rule in rules() if not rule.cells}
    jobs = {f"POST jobs/plaid/{job}": True for job in ("process", "safety-net", "cleanup")}  # a secret, no person
    oauth = {f"{method} oauth/{{provider}}/callback": True for method in ("GET", "POST")}  # the state, no person
    assert found == {"POST auth/token": True, "DELETE auth/token": False, "GET me": False} | jobs | oauth


def test_staff_see_no_more_than_their_role(workspace, other):
    caller = person("sam", workspace, Role.VIEWER, is_staff=True)
    stage = Stage(caller, other)
    response = stage.ask(
        caller.api, next(rule for rule in WORKSPACE_RULES if label(rule) == "GET connections"), "own bank"
    )
    assert stage.named(response) == set(IN_REACH[NO_BANKS])


# --- the URL table ---
def is_listed(route: str) -> bool:
    return any(route == known or (known.endswith("/") and route.startswith(known)) for known in APP_ROLE_ROUTES)


def test_every_view_is_a_workspace_view_or_listed_as_one_that_is_not():
    views = [(route, view_of(callback)) for route, callback in routes()]
    assert len(views) > 20
    neither = [
        r for r, view in views if not (isinstance(view, type) and issubclass(view, WorkspaceView)) and not is_listed(r)
    ]
    assert neither == ["/"]  # a redirect, which reads nothing
    both = [r for r, view in views if isinstance(view, type) and issubclass(view, WorkspaceView) and is_listed(r)]
    assert both == []


def test_every_workspace_view_says_which_role_each_of_its_methods_needs():
    for route, callback in routes():
        view = view_of(callback)
        if isinstance(view, type) and issubclass(view, WorkspaceView):
            handled = {method for method in matrix.METHODS if hasattr(view, method.lower())}
            assert handled == set(view.roles), route
            if "{" in route or "<" in route:
                assert view.reach, f"{route} does not say which rows it is about"


def test_every_api_view_but_the_schema_builds_on_ours():
    others = {
        r for r, callback in routes() if r.startswith("/api/") and not issubclass(view_of(callback) or object, ApiView)
    }
    assert others == {"/api/schema/", "/api/docs/"}


def test_both_mounts_answer_the_same_routes():
    found = {r for r, _ in routes()}
    current = {r.removeprefix("/api/v1/") for r in found if r.startswith("/api/v1/")}
    assert current == {
        r.removeprefix("/api/") for r in found if r.startswith("/api/") and not r.startswith("/api/v1/")
    } - {"schema/", "docs/"}


def test_no_api_route_ends_in_a_slash():
    assert not [r for r, _ in routes() if r.startswith("/api/v1/") and r.endswith("/")]


def test_resolver_reaches_every_route_of_the_table():
    assert any(isinstance(pattern, URLResolver) for pattern in get_resolver().url_patterns)


# --- the page ---
def test_page_is_current():
    call_command("role_matrix", "--check")


def test_outdated_page_is_refused_and_written_anew(monkeypatch, tmp_path):
    monkeypatch.setattr(role_matrix, "PATH", tmp_path / "reference" / "roles.md")
    with pytest.raises(CommandError, match="role_matrix"):
        call_command("role_matrix", "--check")
    call_command("role_matrix")
    call_command("role_matrix", "--check")
    role_matrix.PATH.write_text("other")
    with pytest.raises(CommandError):
        call_command("role_matrix", "--check")
