"""Fixtures of the inspector's tests: a real Chromium, and pages that are watched in it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

    from masivo.emulator import Emulator

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Milliseconds after which a wait in a page gives up; on an idle machine nothing comes near.
PATIENCE = 20_000


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    try:
        from playwright.sync_api import expect, sync_playwright
    except ImportError:
        pytest.fail("Playwright is not installed: pip install --group browser", pytrace=False)
    if shutil.which(CHROMIUM) is None:
        pytest.fail(
            f"There is no Chromium at {CHROMIUM}: apt-get install chromium (Debian), or set "
            "CHROMIUM to the path of one",
            pytrace=False,
        )
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Watched:
    """The side effects of a test's pages."""

    # Every requested address.
    urls: list[str] = field(default_factory=list[str])
    # Errors and warnings of the console, and exceptions that nothing caught.
    complaints: list[str] = field(default_factory=list[str])


class OpenPage(Protocol):
    """Opens the inspector of an emulator, and waits until it is live."""

    def __call__(
        self,
        emulator: Emulator,
        *,
        width: int = 1440,
        height: int = 900,
        dark: bool = False,
        reduced_motion: bool = False,
    ) -> Page: ...


@pytest.fixture
def watched() -> Watched:
    """The side effects of the test's pages; a test that expects complaints clears them."""
    return Watched()


@pytest.fixture
def open_page(browser: Browser, watched: Watched) -> Iterator[OpenPage]:
    """Open pages that ask no other host for anything, and complain of nothing."""
    pages: list[Page] = []
    hosts: set[str] = set()

    def console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            watched.complaints.append(message.text)

    def request(request: Request) -> None:
        watched.urls.append(request.url)

    def open_page(
        emulator: Emulator,
        *,
        width: int = 1440,
        height: int = 900,
        dark: bool = False,
        reduced_motion: bool = False,
    ) -> Page:
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce" if reduced_motion else "no-preference",
        )
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.set_default_timeout(PATIENCE)
        page.on("console", console)
        page.on("request", request)
        page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        hosts.add(emulator.inspector_url)
        page.goto(emulator.inspector_url)
        page.locator("#connection[data-state=live]").wait_for()
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.context.close()
    assert watched.complaints == []
    assert watched.urls
    foreign = [url for url in watched.urls if not url.startswith(tuple(hosts))]
    assert foreign == []
