"""How the inspector looks: accessible in both schemes and any width; a picture for the docs."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from masivo import Client
from masivo.emulator import Emulator, Fault, Json

from .shop import events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from playwright.sync_api import Page

    from .conftest import OpenPage

pytestmark = pytest.mark.full

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "inspector.png"
# Set to 1, it lets the test renew the picture of the docs.
RENEW = "MASIVO_SCREENSHOTS"
MAX_PICTURE = 300_000

RECALLED = {"sku": "CD-RECALLED", "amount": 1, "value": 14.96}


@pytest.fixture
def shop() -> Iterator[Emulator]:
    """An emulator that a shop has sent to for most of a minute of the emulator's own time."""
    ahead = -56.0

    def clock() -> float:
        return time.time() + ahead

    def send(events: Iterable[dict[str, object]], *, age: float = 0.2) -> None:
        """Let a client send events that are this many seconds old."""
        at = datetime.fromtimestamp(clock() - age, UTC).isoformat(timespec="milliseconds")
        for each in events:
            client.send_analytics_event({**each, "issued_at": at})
        client.flush(20)

    def reject(event: dict[str, Json]) -> str | None:
        return "this product was recalled" if event["product"] == RECALLED else None

    with (
        Emulator(clock=clock, reject=reject) as emulator,
        Client(emulator.client_key, base_url=emulator.url) as client,
    ):
        rest = iter(events(2_000))
        for seconds in range(1, 38):
            ahead += 1
            send(islice(rest, 100 * (seconds % 3 == 0) or seconds * 37 % 11 // 8 * 24))
        ahead += 4
        emulator.fail(Fault.unavailable(), route="events")
        send(islice(rest, 100))
        ahead += 3
        order = list(islice(rest, 8))
        order[5]["product"] = RECALLED
        send(order)
        ahead += 5
        send(islice(rest, 6), age=30.6)
        ahead += 2
        send(islice(rest, 2))
        yield emulator


def fill(page: Page, emulator: Emulator) -> None:
    """Wait until the page shows all, and open an event."""
    page.locator("#total-requests", has_text=str(len(emulator.requests))).wait_for()
    page.locator("#events-grid tbody tr[id]").nth(1).click()
    page.locator("#detail-body", has_text='"issued_at"').wait_for()


def settle(page: Page) -> None:
    """Wait until nothing on the page moves."""
    page.evaluate("Promise.all(document.getAnimations().map((each) => each.finished))")


def problems(page: Page) -> list[str]:
    """Return what axe-core finds wrong with the page as it is now."""
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    page.evaluate(axe)
    results: dict[str, Any] = page.evaluate("axe.run({resultTypes: ['violations']})")
    assert results["passes"], "axe did nothing"
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]}"
        for each in results["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 800, 360])
def test_accessible(shop: Emulator, open_page: OpenPage, width: int, dark: bool) -> None:
    """axe-core finds nothing: empty, with everything open, with a fault on, and with the focus."""
    with Emulator() as empty:
        page = open_page(empty, width=width, dark=dark)
        assert problems(page) == []
        page.close()
    page = open_page(shop, width=width, dark=dark)
    fill(page, shop)
    page.locator("[data-response='429']").click()
    page.locator("#faults.on").wait_for()
    settle(page)
    assert problems(page) == []


@pytest.mark.parametrize("width", [1440, 1000, 800, 640, 360])
def test_nothing_is_cut_off(shop: Emulator, open_page: OpenPage, width: int) -> None:
    """At any width the page needs no scrolling sideways, and every control is within it."""
    page = open_page(shop, width=width)
    fill(page, shop)
    page.locator("[data-response='429']").click()
    page.locator("#faults.on").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for control in page.locator("button, input, select").locator("visible=true").all():
        box = control.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_dark_is_dark(shop: Emulator, open_page: OpenPage) -> None:
    """The page follows the scheme that the user prefers, its controls included."""
    colours = {
        dark: open_page(shop, dark=dark).evaluate(
            """() => ['body', 'header', '#filter-text', '.panel'].map((each) =>
                getComputedStyle(document.querySelector(each)).backgroundColor)"""
        )
        for dark in (False, True)
    }
    for dark, shown in colours.items():
        for colour in shown:
            levels = [int(level) for level in colour.removeprefix("rgb(")[:-1].split(",")]
            assert (max(levels) < 80) if dark else (min(levels) > 200), colour


def test_reduced_motion(shop: Emulator, open_page: OpenPage) -> None:
    """Nothing moves with `prefers-reduced-motion`."""
    moving = "getComputedStyle(document.getElementById('pause')).transitionDuration"
    assert open_page(shop).evaluate(moving) != "0s"
    assert open_page(shop, reduced_motion=True).evaluate(moving) == "0s"


def test_picture(shop: Emulator, open_page: OpenPage, tmp_path: Path) -> None:
    """The docs' picture is made here, of real data; it is small. MASIVO_SCREENSHOTS=1 renews it."""
    page = open_page(shop, width=1280, height=860)
    fill(page, shop)
    page.locator("#events-grid td.bad").first.click()
    page.locator("#detail-facts", has_text="recalled").wait_for()
    page.locator("#latency-seconds").fill("0.5")
    page.locator("#latency").click()
    page.locator("#faults.on").wait_for()
    page.mouse.move(5, 5)
    settle(page)
    path = PICTURE if os.environ.get(RENEW) == "1" else tmp_path / "inspector.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path)
    for picture in (path, PICTURE):
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert 20_000 < picture.stat().st_size < MAX_PICTURE
