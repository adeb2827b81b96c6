"""What the tests of reports share: the sample run and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM_OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, driven by Playwright.

    Not for the whole session: Playwright leaves an event loop running in this thread, in which no other test may be.
    """
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("Chromium not found: install it with apt-get install chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_OPTIONS)
        yield running
        running.close()


@pytest.fixture
def open_page(browser):
    """Open a file in a fresh browser context; any script error or request fails the test."""
    contexts, faults = [], []

    def open_file(file, fragment="", **options):
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options}
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: None if _is_own(request.url, file) else faults.append(request.url))
        page.goto(f"file://{file}{fragment}")
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert faults == []


def _is_own(url, file):
    return url.startswith(("data:", f"file://{file}"))
