"""The console in a real browser, as a member of staff who is not a superuser meets it."""

import pytest
from django.contrib import admin
from django.urls import reverse

from connections.models import User
from connections.services.workspaces import operations_group
from tests.e2e import rows

pytestmark = pytest.mark.e2e
PASSWORD = "correct horse battery"
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture
def staff(bob) -> User:
    bob.user.set_password(PASSWORD)
    bob.user.save()
    bob.user.groups.add(operations_group())
    return bob.user


def sign_in(page) -> None:
    page.goto("/admin/")
    page.get_by_label("Username").fill("bob")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Something needs a person").wait_for()


def is_wider_than_the_screen(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth > window.innerWidth")


def test_staff_walk_every_list_and_a_page_of_each_on_a_desk_and_on_a_phone(page, staff, workspace, alice):
    rows.everything(workspace, alice.user, connections=5, each=2)
    sign_in(page)
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        row = model._default_manager.order_by("pk").last()
        pages = [reverse(f"admin:{name}_change", args=[row.pk])] if row else []
        for url in [reverse(f"admin:{name}_changelist"), *pages]:
            page.set_viewport_size(DESK)
            response = page.goto(url)
            assert response.status == 200, url
            assert page.locator("#content").is_visible(), url
            assert [secret for secret in (rows.SECRET, rows.LINK_TOKEN) if secret in page.content()] == [], url
            page.set_viewport_size(PHONE)
            assert not is_wider_than_the_screen(page), url
    page.goto("/admin/")
    assert not is_wider_than_the_screen(page)
    assert page.complaints == []


def test_an_operator_pauses_resumes_and_refreshes_a_bank_and_follows_its_run(page, staff, workspace, alice):
    rows.everything(workspace, alice.user, connections=3, each=1)
    bank = rows.connection(workspace, alice.user)
    sign_in(page)
    page.goto(reverse("admin:connections_connection_change", args=[bank.pk]))
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("Nothing is synced until it is resumed").first.wait_for()
    assert page.locator(".cw-sentence .cw-state").inner_text().endswith("Paused")
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Refresh now").click()
    page.get_by_text("has been asked for").wait_for()
    page.locator(".cw-cards").get_by_role("link", name="Runs").click()
    page.locator("#result_list").get_by_text("Waiting").wait_for()

    page.goto(reverse("admin:sync_transaction_changelist"))
    page.keyboard.press("/")
    page.keyboard.type("no such thing")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Nothing matches").wait_for()
    page.get_by_role("link", name="Clear search and filters").click()
    page.locator("#result_list").wait_for()
    assert page.complaints == []
