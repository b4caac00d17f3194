"""manage.py bootstrap: the way in for the first person, for the demo and for tests from outside."""

import json

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from connections.models import AccessToken, Membership, User, Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def bootstrap(capsys):
    def run(*arguments: str, username: str = "erin", password: str = "a-password", workspace: str = "acme") -> dict:
        call_command("bootstrap", "--username", username, "--password", password, "--workspace", workspace, *arguments)
        out, err = capsys.readouterr()
        assert err == ""
        return json.loads(out)

    return run


def test_stdout_is_only_the_json_that_others_read(bootstrap):
    answer = bootstrap()
    assert answer == {"user_id": str(User.objects.get().pk), "workspace": "acme", "token": answer["token"]}
    assert Membership.objects.get().role == "owner"
    assert not User.objects.get().is_staff


def test_token_opens_the_api(bootstrap):
    client = APIClient(headers={"Authorization": f"Bearer {bootstrap()['token']}"})
    assert client.get("/api/v1/me").json()["user"]["username"] == "erin"


def test_again_changes_what_differs_and_gives_a_fresh_token(bootstrap):
    first, second = bootstrap(), bootstrap("--role", "viewer", password="another")
    assert (first["user_id"], first["token"] == second["token"]) == (second["user_id"], False)
    assert (User.objects.count(), Workspace.objects.count(), AccessToken.objects.count()) == (1, 1, 2)
    assert User.objects.get().check_password("another")
    assert Membership.objects.get().role == "viewer"


def test_same_person_can_work_in_two_workspaces(bootstrap):
    bootstrap(), bootstrap("--role", "member", workspace="globex")
    assert set(Membership.objects.values_list("workspace__slug", "role")) == {("acme", "owner"), ("globex", "member")}


def test_staff_may_look_at_everything_and_are_no_superusers(bootstrap):
    bootstrap("--staff", "--role", "operator")
    user = User.objects.get()
    assert (user.is_staff, user.is_superuser) == (True, False)
    views = Permission.objects.filter(codename__startswith="view_")
    assert {
        f"{p.content_type.app_label}.{p.codename}" for p in views.select_related("content_type")
    } <= user.get_all_permissions()
    assert not user.has_perm("connections.delete_connection")


def test_without_staff_an_existing_flag_is_left_alone(bootstrap):
    bootstrap("--staff")
    bootstrap()
    assert User.objects.get().is_staff


def test_blocked_account_works_again(bootstrap):
    bootstrap()
    User.objects.update(is_active=False)
    bootstrap()
    assert User.objects.get().is_active


def test_name_becomes_a_slug(bootstrap):
    assert bootstrap(workspace="Acme Holding Ltd.")["workspace"] == "acme-holding-ltd"
    assert Workspace.objects.get().name == "Acme Holding Ltd."


@pytest.mark.parametrize(
    "wrong",
    [
        {"username": ""},
        {"username": "two words"},
        {"username": "nul\0"},
        {"password": ""},
        {"workspace": "!!"},
        {"workspace": "x" * 201},
    ],
)
def test_what_cannot_be_is_refused_in_words(bootstrap, wrong):
    with pytest.raises(CommandError, match=r"(username|password|workspace)"):
        bootstrap(**wrong)
    assert not User.objects.exists()
