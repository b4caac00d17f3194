"""Access is given in the browser: keys by a shop's approval page, a company by Intuit's consent page, or it is refused."""

import time

import pytest
from django.urls import reverse

from connections.models import Connection
from connections.services.verifying import verifications_run
from tests.connections.intuit import intuit  # noqa: F401 - a fixture
from tests.connections.providers.woocommerce.conftest import open_shop, shop  # noqa: F401 - the fixtures
from tests.e2e.test_console import PHONE, is_wider_than_the_screen, staff  # noqa: F401 - a fixture

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.e2e]


@pytest.fixture
def browser(chromium, process, simulator, settings, staff):  # noqa: F811
    """Somebody of the operations at the console of a web process that knows its own address."""
    settings.QUICKBOOKS_SANDBOX_URL = f"{simulator.url}/quickbooks"
    web = process("web", PUBLIC_URL="http://127.0.0.1:{port}")
    settings.PUBLIC_URL = web.url
    context = chromium.new_context(base_url=web.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.goto("/admin/")
    page.get_by_label("Username").fill("bob")
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/admin/")
    yield page
    context.close()


def draft(page, provider: str, name: str, **fields: str) -> None:
    page.goto(f"{reverse('admin:connections_connection_add')}?provider={provider}")
    page.get_by_label("Owner").fill("alice")
    for label, value in {"Name": name, **fields}.items():
        page.get_by_label(label).fill(value)
    page.get_by_label("Environment").select_option("sandbox")
    page.get_by_role("button", name="Add as a draft").click()
    page.get_by_text("is a draft. Give it access, then activate it.").wait_for()


def verified_and_activated(page, name: str) -> None:
    verifications_run(deadline=time.monotonic() + 20)
    page.get_by_role("link", name=f"Back to {name}").click()
    page.get_by_role("button", name="Activate").click()
    page.get_by_text(f"{name} is active.").wait_for()
    assert Connection.objects.get(name=name).status == "active"


def test_a_shop_is_connected_by_approval_and_a_company_by_consent_after_a_refusal(browser, shop, alice):  # noqa: F811
    draft(browser, "woocommerce", "Corner", **{"Shop address": shop.url})
    browser.get_by_role("button", name="Sign in at the provider").click()
    browser.get_by_role("link", name="Approve").click()
    browser.get_by_role("heading", name="WooCommerce gave access to Corner").wait_for()
    verified_and_activated(browser, "Corner")

    draft(browser, "quickbooks", "Books")
    browser.get_by_role("button", name="Sign in at the provider").click()
    browser.set_viewport_size(PHONE)
    assert not is_wider_than_the_screen(browser)
    browser.get_by_role("button", name="No, thanks").click()
    browser.get_by_role("heading", name="QuickBooks Online: Access not given").wait_for()
    assert not is_wider_than_the_screen(browser)
    browser.get_by_role("link", name="Back to Books").click()
    browser.get_by_role("button", name="Sign in at the provider").click()
    browser.get_by_text("Thistle Lane Trading").click()
    browser.get_by_role("button", name="Connect").click()
    browser.get_by_role("heading", name="QuickBooks Online gave access to Books").wait_for()
    verified_and_activated(browser, "Books")
    assert Connection.objects.get(name="Books").facts["company_name"] == "Thistle Lane Trading"
