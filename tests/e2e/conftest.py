"""A browser, for tests that look at pages as people do."""

import os
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator:
    """Chromium from CHROMIUM_PATH or the system. Skips where there is none, or where E2E=0 says so."""
    path = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium") or shutil.which("chromium-browser")
    if os.environ.get("E2E") == "0" or not path:
        pytest.skip("no Chromium: install it, or set CHROMIUM_PATH to where it is")
    from playwright.sync_api import sync_playwright

    # Playwright's loop runs in this thread, and Django takes that for asynchronous code.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
    else:
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = before


@pytest.fixture
def page(chromium, live_web) -> Iterator:
    """A page on `live_web`. Whatever went wrong in the browser meanwhile is in `page.complaints`."""
    context = chromium.new_context(base_url=live_web.url, viewport={"width": 1280, "height": 900})
    made = context.new_page()
    made.set_default_timeout(10_000)
    complaints: list[str] = []
    made.complaints = complaints
    home = urlsplit(live_web.url).netloc

    def responded(response) -> None:
        if response.status >= 400:
            complaints.append(f"{response.status} {response.url}")

    def requested(request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != home:
            complaints.append(f"foreign host: {request.url}")

    made.on("response", responded)
    made.on("request", requested)
    made.on("requestfailed", lambda request: complaints.append(f"failed: {request.url} {request.failure}"))
    made.on(
        "console",
        lambda message: complaints.append(f"console: {message.text}") if message.type in ("error", "warning") else None,
    )
    made.on("pageerror", lambda error: complaints.append(f"script: {error}"))
    yield made
    context.close()
