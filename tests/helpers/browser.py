"""Pages in a headless browser, and what it has to complain about."""

import shutil
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@contextmanager
def start_browser():
    """A headless Chromium that is installed here; skips without one, or without Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install .[test]")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser here; looked for {', '.join(NAMES)}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@contextmanager
def open_page(browser, path, address="", **context):
    """A page of a file; at the end it must have asked for no other one, and have logged nothing."""
    found = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **context})
    found.set_default_timeout(10_000)  # milliseconds
    page = found.new_page()
    complaints = []
    requests = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{path.as_uri()}{address}")
    yield page
    others = [url for url in requests if not url.startswith(("data:", path.as_uri()))]
    found.close()
    assert complaints == [] and others == []
