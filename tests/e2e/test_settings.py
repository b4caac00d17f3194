"""A connection is added and tested in a real browser: fields that depend on each other, and answers that appear by themselves."""

import pytest
from django.urls import reverse

from connections.models import Connection
from tests.e2e.test_console import DESK, PHONE, is_wider_than_the_screen, staff  # noqa: F401 - a fixture

pytestmark = pytest.mark.e2e
KEY = "sb_secret_0123456789abcdef"


def test_a_store_is_added_and_tested_and_its_page_says_what_fails(page, staff, alice, worker):  # noqa: F811
    page.goto("/admin/")
    page.get_by_label("Username").fill("bob")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Log in").click()
    page.goto(reverse("admin:connections_connection_changelist"))
    page.get_by_role("link", name="Add a connection").click()
    page.get_by_role("link", name="Supabase").click()
    page.get_by_label("Owner").fill("alice")
    page.get_by_label("Name").fill("Warehouse")
    page.get_by_label("Kind").select_option("postgres")
    assert page.get_by_label("Connection string").is_visible()
    assert not page.get_by_label("Secret key").is_visible()
    page.get_by_label("Kind").select_option("rest")
    assert not page.get_by_label("Connection string").is_visible()
    page.get_by_label("Project URL").fill("https://127.0.0.1:9")
    page.get_by_label("Secret key").fill(KEY)
    page.set_viewport_size(PHONE)
    assert not is_wider_than_the_screen(page)
    page.set_viewport_size(DESK)
    page.get_by_role("button", name="Add as a draft").click()
    page.get_by_text("is a draft. Test it, then activate it.").wait_for()
    page.get_by_role("button", name="Test connection").click()
    page.locator(".cw-checks .cw-state", has_text="Failed").first.wait_for()
    assert page.get_by_role("button", name="Activate").count() == 0
    assert KEY not in page.content()
    page.set_viewport_size(PHONE)
    assert not is_wider_than_the_screen(page)
    page.set_viewport_size(DESK)
    page.get_by_role("link", name="Change settings").click()
    page.get_by_text("Leave it empty to keep it").wait_for()
    page.get_by_label("Name").fill("Warehouse 2")
    page.get_by_role("button", name="Change settings").click()
    page.get_by_text("The settings of Warehouse 2 are changed.").wait_for()
    assert Connection.objects.get().config_version == 1
    assert page.complaints == []
