"""A store, from its draft to its first record, as a person configures it and a worker verifies it."""

import time

import pytest

from connections.models import Verification
from connections.providers import provider
from connections.providers.base import TargetRecord
from connections.services.access import access_of
from connections.services.activating import connection_activate
from connections.services.configuring import connection_draft
from connections.services.verifying import verification_request, verifications_run
from tests.connections.providers.supabase.conftest import SOURCE

pytestmark = pytest.mark.django_db(transaction=True)


def drafted(person, project, kind: str):
    given = {
        "rest": (
            {"kind": "rest", "project_url": project.supabase.shown["url"]},
            {"secret_key": project.supabase.keys["secret"]},
        ),
        "postgres": ({"kind": "postgres"}, {"dsn": project.dsn(), "ca_pem": project.direct["ca_pem"]}),
    }
    config, credentials = given[kind]
    return connection_draft(
        user=person.user,
        workspace_id=person.workspace.pk,
        provider_key="supabase",
        name="Warehouse",
        environment="production",
        config=config,
        credentials=credentials,
    )


def verified(connection, person) -> Verification:
    asked = verification_request(connection_id=connection.pk, actor=person.user)
    verifications_run(deadline=time.monotonic() + 30)
    asked.refresh_from_db()
    return asked


def test_a_store_is_verified_activated_and_written_to(alice, bare, kind):
    made = drafted(alice, bare, kind)
    first = verified(made, alice)
    assert (first.status, first.failing[0]["name"]) == ("failed", "tables")
    bare.prepare()
    second = verified(made, alice)
    assert second.status == "passed", second.failing
    secrets = (*bare.supabase.keys.values(), bare.direct["password"])
    assert not any(secret in str(first.checks + second.checks) for secret in secrets)
    connection_activate(connection_id=made.pk, actor=alice.user)
    made.refresh_from_db()
    assert made.status == "active"
    record = TargetRecord("customers", "7", {**SOURCE, "name": "Ada"})
    writing = provider("supabase").upserts
    (written,) = writing.upsert(access_of(made, is_good=True), "customers", [record], idempotency_key="k")
    assert written.outcome == "created", written.error
    assert bare.rows("customers")["7"]["name"] == "Ada"
