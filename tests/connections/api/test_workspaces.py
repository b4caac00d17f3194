"""Which workspace a request is about."""

import pytest

from connections.models import Membership, Role, User
from connections.services.tokens import token_issue
from tests.connections.api.scene import assert_problem, make_shop
from tests.factories import Person, person

pytestmark = pytest.mark.django_db


@pytest.fixture
def both(alice, charlie) -> Person:
    """Frank works for both: a member here, the owner there."""
    frank = person("frank", alice.workspace, Role.MEMBER)
    Membership.objects.create(workspace=charlie.workspace, user=frank.user, role=Role.OWNER)
    return frank


def names(response) -> list[str]:
    assert response.status_code == 200, response.content
    return [row["name"] for row in response.json()["results"]]


def test_the_only_workspace_needs_no_naming(alice, shop):
    assert names(alice.api.get("/api/v1/connections")) == ["Shop"]


def test_one_of_several_has_to_be_named(both):
    body = assert_problem(both.api.get("/api/v1/connections"), 400, "workspace_required")
    assert "X-Workspace" in body["remediation"]


@pytest.mark.parametrize("by", ["slug", "id"])
def test_slug_or_id_chooses_the_workspace(both, alice, charlie, by):
    make_shop(alice, "hers"), make_shop(charlie, "his")
    for workspace, expected in ((alice.workspace, "hers"), (charlie.workspace, "his")):
        wanted = str(getattr(workspace, "pk" if by == "id" else by))
        for written in (wanted, wanted.upper(), f" {wanted} "):
            assert names(both.api.get("/api/v1/connections", headers={"X-Workspace": written})) == [expected]


@pytest.mark.parametrize(
    "wanted", ["globex", "nowhere", "019a2f6e-7c1d-7b52-9a4e-3f1c5d7e9b20", "nul\0", "%00", "x" * 5000]
)
def test_foreign_and_unknown_workspaces_are_404(alice, charlie, wanted):
    assert_problem(alice.api.get("/api/v1/connections", headers={"X-Workspace": wanted}), 404, "not_found")


def test_without_any_membership_it_is_403_in_clear_words(db):
    from rest_framework.test import APIClient

    token, _ = token_issue(user=User.objects.create(username="grace"))
    client = APIClient(headers={"Authorization": f"Bearer {token}"})
    body = assert_problem(client.get("/api/v1/connections"), 403, "permission_denied")
    assert body["detail"] == "You do not belong to any workspace yet."


def test_role_is_the_one_of_the_chosen_workspace(both):
    response = both.api.post("/api/v1/plaid/sync", headers={"X-Workspace": "acme"})
    assert_problem(response, 410, "gone")
    Membership.objects.filter(user=both.user, workspace__slug="acme").update(role="viewer")
    response = both.api.post("/api/v1/plaid/link-token", {}, format="json", headers={"X-Workspace": "acme"})
    assert "viewer" in assert_problem(response, 403, "permission_denied")["detail"]
