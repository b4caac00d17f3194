"""The owner of a store gets the SQL to run: from the connection's page, and from a command."""

import io

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from connections.models import Connection
from connections.services.configuring import connection_draft
from connections.services.workspaces import operations_group
from tests.connections.test_admin_settings import page

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "hunter2secret"


@pytest.fixture
def console(bob) -> Client:
    bob.user.groups.add(operations_group())
    client = Client()
    client.force_login(bob.user)
    return client


def store(person, **given) -> Connection:
    return connection_draft(
        user=person.user, workspace_id=person.workspace.pk, provider_key="supabase", name="", environment="production", **given
    )  # fmt: skip


def direct(person) -> Connection:
    config = {"kind": "postgres", "schema": "hub", "entities": "orders"}
    dsn = f"postgresql://hub_writer.abc:{PASSWORD}@pooler.example.com:6543/postgres"
    return store(person, config=config, credentials={"dsn": dsn})


def printed(**options) -> str:
    out = io.StringIO()
    call_command("supabase_contract", stdout=out, **options)
    return out.getvalue()


def test_the_page_leads_to_the_file_of_that_connection(console, alice):
    made = direct(alice)
    url = reverse("admin:connections_connection_contract", args=[made.pk])
    assert url in page(console, made)
    answer = console.get(url)
    sql = answer.content.decode()
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert 'create table if not exists "hub"."order_lines"' in sql
    assert 'grant select, insert, update, delete on "hub"."orders" to "hub_writer"' in sql
    assert "bills" not in sql
    assert PASSWORD not in sql
    assert printed(connection=made.pk).strip() == sql.strip()


def test_a_shop_has_no_such_file_and_others_may_not_have_it(console, alice):
    shop = connection_draft(
        user=alice.user,
        workspace_id=alice.workspace.pk,
        provider_key="woocommerce",
        name="",
        environment="production",
        config={"store_url": "https://shop.example.com"},
        credentials={},
    )
    url = reverse("admin:connections_connection_contract", args=[shop.pk])
    assert console.get(url).status_code == 404
    stranger = Client()
    stranger.force_login(alice.user)
    assert stranger.get(url).status_code in (302, 403)
    with pytest.raises(CommandError, match="no Supabase connection"):
        printed(connection=shop.pk)


def test_without_a_connection_the_usual_file_is_printed():
    sql = printed()
    assert 'to "service_role"' in sql
    assert 'create table if not exists "public"."payments"' in sql
