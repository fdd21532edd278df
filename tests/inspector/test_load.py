"""The inspector under load: 10,000 events at once, and more than it keeps."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from masivo import Client
from masivo.emulator.inspector.feed import MAX_EVENTS

from .shop import events

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from masivo.emulator import Emulator

    from .conftest import OpenPage

pytestmark = pytest.mark.full

# The bounds are generous, as the machine may be busy; on an idle one with 2 cores the longest
# task takes some 60 ms, and an interaction some 30 ms.
LONGEST_TASK = 500
LONGEST_FRAME = 800
LONGEST_INTERACTION = 600

_MEASURE = """() => {
    window.tasks = [];
    window.frames = [];
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) window.tasks.push(entry.duration);
    }).observe({type: 'longtask'});
    let last = performance.now();
    const frame = (now) => {
        window.frames.push(now - last);
        last = now;
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
}"""

# Does something, and waits until what it changes has been drawn.
_INTERACT = """async (act) => {
    const began = performance.now();
    await new Function('return (async () => {' + act + '})()')();
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    return performance.now() - began;
}"""

_SET = """
    const each = document.getElementById('{0}');
    each.{1};
    each.dispatchEvent(new Event('input', {{bubbles: true}}));
"""


# Resets the filter and goes to the last event before either is drawn.
_RESET_AND_END = """() => {
    const type = document.getElementById('filter-type');
    type.value = '';
    type.dispatchEvent(new Event('input', {bubbles: true}));
    const key = new KeyboardEvent('keydown', {key: 'End', bubbles: true});
    document.getElementById('events-grid').dispatchEvent(key);
}"""


def send(emulator: Emulator, count: int, *, batch_size: int = 100) -> None:
    """Send events as fast as a client can."""
    with Client(emulator.client_key, base_url=emulator.url, batch_size=batch_size) as client:
        for each in events(count):
            client.send_analytics_event(each)
        assert client.flush(60).delivered == count


def interact(page: Page, act: str) -> float:
    """Return how many milliseconds something takes until it is drawn."""
    took: float = page.evaluate(_INTERACT, act)
    return took


def report(page: Page, interactions: dict[str, float]) -> tuple[float, float, float]:
    """Return the longest task, frame and interaction in milliseconds, and print them all."""
    tasks: list[float] = page.evaluate("window.tasks")
    frames: list[float] = page.evaluate("window.frames")
    longest = max(tasks, default=0.0), max(frames), max(interactions.values())
    print(
        f"long tasks: {len(tasks)}, the longest {longest[0]:.0f} ms; "
        f"frames: {len(frames)}, the longest {longest[1]:.0f} ms; interactions: "
        + ", ".join(f"{name} {took:.0f} ms" for name, took in interactions.items())
    )
    return longest


@pytest.mark.parametrize("batch_size", [100, 10_000])
def test_10_000_events(emulator: Emulator, open_page: OpenPage, batch_size: int) -> None:
    """While they arrive and after, no task is long, no frame late, and every control quick."""
    page = open_page(emulator)
    page.evaluate(_MEASURE)
    send(emulator, 10_000, batch_size=batch_size)
    page.locator("#events-count", has_text="10,000 arrived").wait_for()
    took = {
        "scroll": interact(page, "document.getElementById('events-scroller').scrollTop = 140000;"),
        "type": interact(page, _SET.format("filter-type", "value = 'PURCH'")),
        "text": interact(page, _SET.format("filter-text", "value = '1998-0'")),
        "failures": interact(page, _SET.format("filter-failures", "checked = true")),
        "reset": interact(
            page, "document.getElementById('filters').reset(); await new Promise(setTimeout);"
        ),
        "open": interact(page, "document.querySelector('#events-grid tr[id]').click();"),
        "pause": interact(page, "document.getElementById('pause').click();"),
        "clear": interact(page, "document.getElementById('clear').click();"),
    }
    task, frame, interaction = report(page, took)
    assert task < LONGEST_TASK
    assert frame < LONGEST_FRAME
    assert interaction < LONGEST_INTERACTION


def test_the_table_draws_only_what_is_seen(emulator: Emulator, open_page: OpenPage) -> None:
    """However many events there are, the document holds some dozens of rows."""
    send(emulator, 10_000)
    page = open_page(emulator)
    page.locator("#events-count", has_text="10,000 arrived").wait_for()
    assert page.locator("#events-grid tbody tr").count() < 80
    assert page.locator("#events-grid").get_attribute("aria-rowcount") == "10001"


def test_the_page_keeps_a_bounded_number(emulator: Emulator, open_page: OpenPage) -> None:
    """Of more events than it keeps, the newest stay; the filters go with them. A key that is
    pressed before the next frame moves among them, too."""
    page = open_page(emulator)
    page.locator("#filter-type").fill("CD_")
    send(emulator, MAX_EVENTS + 5_000, batch_size=500)
    newest = str(events(MAX_EVENTS + 5_000)[-1]["customer_id"])
    page.locator("#events-grid tr[aria-rowindex='2'] td:nth-child(3)", has_text=newest).wait_for()
    page.locator("#events-count", has_text=f"{MAX_EVENTS // 2:,} of {MAX_EVENTS:,}").wait_for()
    page.evaluate(_RESET_AND_END)
    page.locator("#events-count", has_text=f"the newest {MAX_EVENTS:,}").wait_for()
    oldest = str(events(5_001)[-1]["customer_id"])
    page.locator("#events-grid tr[aria-selected=true] td:nth-child(3)", has_text=oldest).wait_for()


def test_requests_go_on_while_pages_ask(emulator: Emulator, open_page: OpenPage) -> None:
    """Three pages do not keep a client waiting."""
    for _ in range(3):
        open_page(emulator)
    began = time.monotonic()
    send(emulator, 5_000)
    assert time.monotonic() - began < 10
    assert all(each.settled and json.loads(each.body) for each in emulator.batches)
