"""Connections, people and tokens in the console: who may do what, and what it does."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse

from connections.models import (
    Connection,
    Membership,
    PlaidTokenRotation,
    RetiredPlaidItem,
    Role,
    SecurityEvent,
    User,
)
from connections.models.connection import Status
from connections.services.disconnecting import connection_disconnect
from connections.services.workspaces import operations_group
from tests.connections.intuit import back
from tests.e2e import rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def bank(workspace, alice) -> Connection:
    return rows.connection(workspace, alice.user)


@pytest.fixture
def console(bob) -> Client:
    bob.user.groups.add(operations_group())
    client = Client()
    client.force_login(bob.user)
    return client


def do(client: Client, row, verb: str, **answer):
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_verb", args=[row.pk, verb])
    return client.post(url, answer, follow=True)


def test_pausing_says_who_did_it_and_resuming_makes_it_active_again(console, bank):
    page = do(console, bank, "pause")
    bank.refresh_from_db()
    assert (bank.status, bank.status_reason.split(" on ")[0]) == (Status.PAUSED, "Paused by bob")
    assert "is paused. Nothing is synced until it is resumed." in page.content.decode()
    assert LogEntry.objects.filter(object_id=str(bank.pk), user__username="bob").count() == 1
    do(console, bank, "resume")
    bank.refresh_from_db()
    assert (bank.status, bank.status_reason) == (Status.ACTIVE, "")


def test_a_refused_verb_shows_why_and_logs_nothing(console, bank):
    page = do(console, bank, "resume")
    bank.refresh_from_db()
    assert bank.status == Status.ACTIVE
    assert "This connection is active." in page.content.decode()
    assert not LogEntry.objects.exists()


def test_several_at_once_each_go_their_own_way(console, bank, workspace, alice):
    gone = rows.connection(workspace, alice.user, number=1, status=Status.DISCONNECTED)
    selected = {"action": "pause", "_selected_action": [bank.pk, gone.pk]}
    page = console.post(reverse("admin:connections_connection_changelist"), selected, follow=True).content.decode()
    bank.refresh_from_db()
    gone.refresh_from_db()
    assert (bank.status, gone.status) == (Status.PAUSED, Status.DISCONNECTED)
    assert "Pause: done for 1 connection." in page
    assert "This connection is disconnected." in page


def test_verbs_are_posted_and_need_the_permission(bob, bank):
    bob.user.user_permissions.add(Permission.objects.get(codename="view_connection"))
    client = Client()
    client.force_login(bob.user)
    url = reverse("admin:connections_connection_verb", args=[bank.pk, "pause"])
    assert client.get(url).status_code == 405
    assert client.post(url).status_code == 403
    assert "Pause" not in client.get(reverse("admin:connections_connection_change", args=[bank.pk])).content.decode()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(bob.user)
    assert strict.post(url).status_code == 403
    bank.refresh_from_db()
    assert bank.status == Status.ACTIVE


def test_renaming_writes_the_name_alone(console, bank):
    url = reverse("admin:connections_connection_change", args=[bank.pk])
    console.get(url)
    Connection.objects.filter(pk=bank.pk).update(failure_count=2)
    response = console.post(url, {"name": "The bank at the corner", "status": "disconnected", "failure_count": "9"})
    assert response.status_code == 302
    bank.refresh_from_db()
    assert (bank.name, bank.status, bank.failure_count) == ("The bank at the corner", Status.ACTIVE, 2)


def test_people_and_roles_are_for_superusers_alone(console, bob, alice, workspace):
    """Whoever may edit users or groups could make themselves a superuser: the permissions are not enough."""
    bob.user.user_permissions.add(*Permission.objects.filter(content_type__app_label__in=("connections", "auth")))
    pages = {
        "user": (alice.user.pk, {"username": "alice", "is_superuser": "on"}),
        "membership": (bob.membership.pk, {"role": Role.OWNER}),
    }
    for model, (pk, forged) in pages.items():
        assert console.post(reverse(f"admin:connections_{model}_change", args=[pk]), forged).status_code == 403
        assert console.get(reverse(f"admin:connections_{model}_add")).status_code == 403
    group = Group.objects.get(name="Operations")
    assert console.post(reverse("admin:auth_group_change", args=[group.pk]), {"name": "Owners"}).status_code == 403
    assert console.post(reverse("admin:auth_user_password_change", args=[alice.user.pk]), {}).status_code == 403
    assert not User.objects.filter(is_superuser=True).exists()


def test_a_superuser_gives_a_role_and_takes_it(workspace, charlie):
    client = Client()
    client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
    form = {"user": charlie.user.pk, "workspace": workspace.pk, "role": Role.VIEWER}
    assert client.post(reverse("admin:connections_membership_add"), form).status_code == 302
    made = Membership.objects.get(user=charlie.user, workspace=workspace)
    client.post(reverse("admin:connections_membership_change", args=[made.pk]), {"role": Role.OPERATOR})
    made.refresh_from_db()
    assert made.role == Role.OPERATOR
    client.post(reverse("admin:connections_membership_delete", args=[made.pk]), {"post": "yes"})
    assert not Membership.objects.filter(pk=made.pk).exists()


def test_a_superuser_makes_a_person_and_edits_them(db):
    client = Client()
    client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
    form = {
        "username": "erin",
        "usable_password": "true",
        "password1": "a long enough one",
        "password2": "a long enough one",
    }
    assert client.post(reverse("admin:connections_user_add"), form).status_code == 302
    erin = User.objects.get(username="erin")
    assert erin.check_password("a long enough one")
    group = operations_group()
    form = {"username": "erin", "is_active": "on", "is_staff": "on", "groups": [group.pk], "email": "erin@example.org"}
    assert client.post(reverse("admin:connections_user_change", args=[erin.pk]), form).status_code == 302
    erin.refresh_from_db()
    assert (erin.is_staff, erin.email, list(erin.groups.all())) == (True, "erin@example.org", [group])
    assert erin.check_password("a long enough one")


def test_a_revoked_token_opens_nothing_any_more(console, alice):
    token = rows.token_of(alice.user)
    assert alice.api.get("/api/v1/me").status_code == 200
    do(console, token, "revoke")
    assert alice.api.get("/api/v1/me").status_code == 401
    assert console.get(reverse("admin:connections_accesstoken_add")).status_code == 403


def test_late_banks_are_told_from_healthy_ones(console, bank, workspace, alice):
    late = rows.connection(workspace, alice.user, number=1, last_sync_at=None)
    Connection.objects.filter(pk=late.pk).update(created_at="2020-01-01T00:00:00Z")
    for freshness, expected in (("late", late), ("fresh", bank)):
        page = console.get(reverse("admin:connections_connection_changelist"), {"freshness": freshness})
        assert [row.pk for row in page.context["cl"].result_list] == [expected.pk]
    assert "It has not been read for longer than its cadence allows." in page_of(console, late)


def page_of(client: Client, row) -> str:
    return client.get(
        reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    ).content.decode()


def test_a_parked_event_is_retried_from_its_page_and_by_operators_only(console, bob, alice, workspace):
    event = rows.event(rows.connection(workspace, alice.user))
    page = console.get(reverse("admin:connections_domainevent_change", args=[event.pk])).content.decode()
    assert "parked after 8 failed: KeyError: &lt;b&gt;" in page
    do(console, event, "retry")
    event.refresh_from_db()
    assert (event.dispatched_at, event.parked_at, event.attempts) == (None, None, 0)
    bob.user.groups.clear()
    assert do(console, event, "retry").status_code == 403


# --- what cannot be undone ---
def verb_url(row, verb: str) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_verb", args=[row.pk, verb])


def test_disconnecting_asks_first_and_says_what_goes_and_what_stays(console, bank):
    page = console.get(verb_url(bank, "disconnect"))
    assert page.status_code == 200
    text = page.content.decode()
    for words in (
        f"Disconnect {bank.name}?",
        "What goes",
        "2 accounts",
        "What stays",
        "transactions",
        "Keep it as it is",
    ):
        assert words in text
    change = console.get(reverse("admin:connections_connection_change", args=[bank.pk])).content.decode()
    assert f'href="{verb_url(bank, "disconnect")}"' in change
    assert f'action="{verb_url(bank, "disconnect")}"' not in change
    bank.refresh_from_db()
    assert bank.status == Status.ACTIVE


@pytest.mark.parametrize("typed", ["", "First", "first platypus bank", "yes"])
def test_anything_but_its_name_disconnects_nothing(console, bank, typed):
    page = console.post(verb_url(bank, "disconnect"), {"answer": typed})
    assert "That is not what has to be typed. Nothing was done." in page.content.decode()
    bank.refresh_from_db()
    assert bank.status == Status.ACTIVE
    assert not LogEntry.objects.exists()


def test_its_name_disconnects_it_once_and_on_record(console, bank, bob):
    page = do(console, bank, "disconnect", answer=f"  {bank.name} ")
    assert "is being disconnected. Its history stays." in page.content.decode()
    bank.refresh_from_db()
    assert (bank.status, bank.status_reason.split(" on ")[0]) == (Status.DISCONNECTING, "Disconnected by bob")
    assert LogEntry.objects.filter(object_id=str(bank.pk), user=bob.user).count() == 1
    assert SecurityEvent.objects.filter(action="connection_removed", actor=bob.user).count() == 1
    assert console.get(verb_url(bank, "disconnect")).status_code == 302  # nothing left to ask
    do(console, bank, "disconnect", answer=bank.name)
    assert RetiredPlaidItem.objects.count() == 1


def test_several_are_not_disconnected_at_once(console, bank):
    page = console.get(reverse("admin:connections_connection_changelist")).content.decode()
    assert 'value="pause"' in page
    assert 'value="disconnect"' not in page
    assert 'value="rotate"' not in page


def test_without_the_permission_nobody_is_even_asked(bob, bank):
    bob.user.user_permissions.add(Permission.objects.get(codename="view_connection"))
    client = Client()
    client.force_login(bob.user)
    for verb in ("disconnect", "rotate"):
        assert client.get(verb_url(bank, verb)).status_code == 403
        assert client.post(verb_url(bank, verb), {"answer": bank.name}).status_code == 403


def test_rotating_is_confirmed_by_the_name_too(console, bank):
    assert "Replace the access token of" in console.get(verb_url(bank, "rotate")).content.decode()
    console.post(verb_url(bank, "rotate"), {"answer": "no"})
    assert not PlaidTokenRotation.objects.exists()


def test_an_item_removed_by_hand_is_settled_with_a_reason(console, bank, bob):
    connection_disconnect(connection_id=bank.pk, reason="")
    retired = RetiredPlaidItem.objects.get()
    do(console, retired, "settle", answer="seen on the dashboard")
    bank.refresh_from_db()
    retired.refresh_from_db()
    assert (bank.status, retired.status) == (Status.DISCONNECTED, "removed")
    assert retired.last_error == "Removed by hand, says bob: seen on the dashboard"
    assert SecurityEvent.objects.filter(action="item_settled", actor=bob.user).count() == 1


def test_reconnect_sends_the_person_to_the_provider_and_the_page_shows_when_the_access_ends(console, alice, intuit):
    books = intuit.connected(alice, status="needs_reauth", error_code="access_refused")
    page = console.get(f"/admin/connections/connection/{books.pk}/change/").content.decode()
    assert "Reconnect" in page
    assert "/api/v1/oauth/quickbooks/callback" in page
    assert books.facts["realm_id"] in page
    answer = console.post(f"/admin/connections/connection/{books.pk}/do/reauthorize/")
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(f"{intuit.simulator.url}/quickbooks/oauth2/authorize?")
    back_at = intuit.consent(answer.headers["Location"], books.facts["realm_id"])
    assert console.get(back(back_at)).status_code == 200
    assert Connection.objects.get(pk=books.pk).status == "active"
