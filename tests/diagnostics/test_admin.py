"""The console's home, and errors found by their id."""

import pytest
from django.test import Client
from django.urls import reverse

from connections.services.workspaces import operations_group
from tests.e2e import rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def console(bob) -> Client:
    bob.user.groups.add(operations_group())
    client = Client()
    client.force_login(bob.user)
    return client


def tiles(home):
    return [*home.attention, *(tile for group in home.groups for tile in group.tiles)]


def test_every_number_leads_to_a_list_of_that_many(console, workspace, alice):
    rows.everything(workspace, alice.user, connections=5)
    home = console.get(reverse("admin:index")).context["home"]
    assert len(tiles(home)) >= 10
    for tile in tiles(home):
        listed = console.get(tile.url).context["cl"]
        assert f"{listed.result_count:,}" == tile.count, tile


def test_home_takes_few_queries_however_many_rows(console, workspace, alice, django_assert_max_num_queries):
    rows.everything(workspace, alice.user, connections=6)
    with django_assert_max_num_queries(13):
        console.get(reverse("admin:index"))


def test_home_says_that_all_is_well_or_that_nothing_is_connected(console, workspace, alice):
    assert "Nothing is connected yet" in console.get(reverse("admin:index")).content.decode()
    rows.connection(workspace, alice.user)
    assert "All is well" in console.get(reverse("admin:index")).content.decode()


def test_an_error_is_found_by_the_id_that_a_user_reads_out(console, workspace, alice):
    met = rows.error(rows.connection(workspace, alice.user), alice.user)
    page = console.get(reverse("admin:diagnostics_errorevent_changelist"), {"q": "corr-12345678"})
    assert [error.pk for error in page.context["cl"].result_list] == [met.pk]
    page = console.get(reverse("admin:diagnostics_errorevent_change", args=[met.pk])).content.decode()
    assert "KeyError" in page
    assert "&lt;module&gt;" in page
