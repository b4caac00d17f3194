"""The cast: alice owns, bob operates, dave is a member, vera only looks, charlie is a stranger with a workspace of his own."""

from dataclasses import dataclass

import pytest
from rest_framework.test import APIClient

from connections.models import Membership, Role, User, Workspace
from connections.services.tokens import token_issue

__all__ = ["Person", "alice", "bob", "charlie", "dave", "vera", "workspace"]


@dataclass(frozen=True)
class Person:
    """Somebody with a role in one workspace, a token, and an API client that uses it."""

    user: User
    membership: Membership
    token: str

    @property
    def workspace(self) -> Workspace:
        return self.membership.workspace

    @property
    def api(self) -> APIClient:
        client = APIClient(raise_request_exception=False)
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {self.token}")
        return client


def person(name: str, workspace: Workspace, role: Role, *, is_staff: bool = False) -> Person:
    user = User.objects.create(username=name, is_staff=is_staff)
    membership = Membership.objects.create(workspace=workspace, user=user, role=role)
    return Person(user, membership, token_issue(user=user)[0])


@pytest.fixture
def workspace(db) -> Workspace:
    return Workspace.objects.create(slug="acme", name="Acme")


@pytest.fixture
def alice(workspace) -> Person:
    return person("alice", workspace, Role.OWNER)


@pytest.fixture
def bob(workspace) -> Person:
    return person("bob", workspace, Role.OPERATOR, is_staff=True)


@pytest.fixture
def dave(workspace) -> Person:
    return person("dave", workspace, Role.MEMBER)


@pytest.fixture
def vera(workspace) -> Person:
    return person("vera", workspace, Role.VIEWER)


@pytest.fixture
def charlie(db) -> Person:
    return person("charlie", Workspace.objects.create(slug="globex", name="Globex"), Role.OWNER)
