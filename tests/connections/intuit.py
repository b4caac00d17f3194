"""Alice's books at the simulated Intuit: connected as a person does it, in a browser, and looked at from its side."""

import hashlib
from contextlib import closing
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from django.conf import settings
from django.utils import timezone

from connections.models import Connection, Credential, OAuthState
from connections.providers.quickbooks.auth import Authorizer
from connections.services.access import access_of
from connections.services.oauth import authorization_begin, authorization_complete
from tests.conftest import Simulator
from tests.factories import Person

__all__ = ["intuit"]

CLIENT_ID = "test-quickbooks-id"


def make_books(person: Person, name: str = "Books", **fields: Any) -> Connection:
    values = {"workspace": person.workspace, "owner": person.user, "provider": "quickbooks", "name": name}
    return Connection.objects.create(**values | {"status": "draft", "environment": "sandbox"} | fields)


def make_state(connection: Connection, state: str = "a-state-that-nobody-guesses") -> str:
    """The row of a sign-in that was begun, and where its person is sent."""
    redirect_uri = f"{settings.PUBLIC_URL}/api/v1/oauth/quickbooks/callback"
    OAuthState.objects.create(
        workspace=connection.workspace,
        connection=connection,
        user=connection.owner,
        provider=connection.provider,
        environment=connection.environment,
        config_version=connection.config_version,
        redirect_uri=redirect_uri,
        digest=hashlib.sha256(state.encode()).hexdigest(),
        expires_at=timezone.now() + timedelta(minutes=10),
    )
    return Authorizer().start(access_of(connection), state=state, redirect_uri=redirect_uri)


class Intuit:
    """The simulator's side of it."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    def control(self, path: str, body: Any = None, *, method: str = "POST") -> Any:
        return self.simulator.control(
            method, f"/quickbooks/_control/{path}", body or ({} if method == "POST" else None)
        )

    def company(self) -> str:
        """A new realm."""
        return self.control("companies")["realm"]

    def consent(self, authorize_url: str, realm: str, decision: str = "approve") -> dict[str, str]:
        """What the person does on Intuit's page; what their browser then brings back."""
        with closing(httpx.Client(timeout=10)) as browser:
            assert browser.get(authorize_url).status_code == 200
            answer = browser.post(authorize_url, data={"realm": realm, "decision": decision})
        assert answer.status_code == 302, answer.text
        query = parse_qs(urlsplit(answer.headers["location"]).query)
        return {name: values[0] for name, values in query.items()}

    def sign_in(self, connection: Connection, person: Person, realm: str) -> Connection:
        begun = authorization_begin(connection_id=connection.pk, actor=person.user)
        return authorization_complete(provider_key="quickbooks", answer=self.consent(begun.authorize_url, realm))

    def connected(self, person: Person, **fields: Any) -> Connection:
        """Books that work."""
        made = self.sign_in(make_books(person), person, self.company())
        good = {"config": {}, "environment": "sandbox", "version": 1, "credentials": []}
        Connection.objects.filter(pk=made.pk).update(**{"status": "active", "good": good} | fields)
        made.refresh_from_db()
        return made

    def grant(self, connection: Connection) -> dict[str, Any]:
        """The newest grant of its realm."""
        realm = connection.facts["realm_id"]
        return [g for g in self.control("grants", method="GET")["grants"] if g["realm"] == realm][-1]

    def change(self, connection: Connection, **state: Any) -> None:
        self.control(f"grants/{self.grant(connection)['id']}/state", state)

    def rotate_always(self) -> None:
        self.control("settings", {"rotate_after_s": 0})

    def fault(self, kind: str, path: str = "tokens", **options: Any) -> None:
        self.control("faults", {"kind": kind, "path": path} | options)

    def asked(self, kind: str = "refresh_token") -> list[dict[str, Any]]:
        """The calls of the token endpoint."""
        rows = self.control("log", method="GET")["requests"]
        return [row for row in rows if row.get("grant_type") == kind]


def back(answer: dict[str, str], mount: str = "/api/v1/") -> str:
    return f"{mount}oauth/quickbooks/callback?{urlencode(answer)}"


def end_access(connection: Connection, *, left_s: float = -1) -> None:
    """Its access token ends, as time passes."""
    rows = Credential.objects.filter(connection=connection, name="access_token")
    rows.update(expires_at=timezone.now() + timedelta(seconds=left_s))


def secret(connection: Connection, name: str = "refresh_token") -> str:
    return Credential.objects.get(connection=connection, name=name, is_superseded=False).reveal()


@pytest.fixture
def intuit(simulator) -> Intuit:
    return Intuit(simulator)
