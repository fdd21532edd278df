"""Every control of the inspector does what it says, by mouse and by keyboard."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from masivo import Client, MasivoError
from masivo.emulator import Emulator, Fault

from .shop import events

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from .conftest import OpenPage, Watched

pytestmark = pytest.mark.full

CONTROLS = "button, input, select, a[href], [role=grid], [tabindex='0']"


class Hands:
    """Uses controls, and remembers which."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.used: set[str] = set()

    def take(self, selector: str) -> Locator:
        """Return a control, which counts as used."""
        found = self.page.locator(selector)
        self.used.add(found.evaluate("each => each.outerHTML.match(/<[^>]*>/)[0]"))
        self.used.add(_name(found))
        return found

    def press(self, selector: str) -> None:
        """Click a control."""
        self.take(selector).click()

    def unused(self) -> list[str]:
        """Return the controls of the page that were not used."""
        names: list[str] = self.page.eval_on_selector_all(CONTROLS, f"all => all.map({_NAME})")
        return sorted(set(names) - self.used)


_NAME = "each => each.id || each.dataset.response || each.className || each.outerHTML"


def _name(locator: Locator) -> str:
    name: str = locator.evaluate(_NAME)
    return name


def rows(page: Page, grid: str) -> Locator:
    """Return the rows of a grid that are drawn."""
    return page.locator(f"#{grid}-grid tbody tr[id]")


def shows(page: Page, selector: str, text: str | re.Pattern[str]) -> None:
    """Wait until an element shows a text."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_text(text)


def copied(page: Page) -> str:
    """Return what was copied last."""
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def status(page: Page, text: str) -> None:
    """Wait until the line of the faults begins so."""
    shows(page, "#fault-state", re.compile("^" + re.escape(text)))


def send(emulator: Emulator, count: int = 1) -> str:
    """Send events with a client that never retries; return their outcome in a word."""
    with Client(emulator.client_key, base_url=emulator.url, max_retries=0, timeout=5) as client:
        deliveries = [client.send_analytics_event(each) for each in events(count)]
        client.flush(10)
        try:
            deliveries[-1].result(0)
        except MasivoError as error:
            return str(error.status)
    return "delivered"


def test_every_control(emulator: Emulator, open_page: OpenPage) -> None:
    """A tour of all buttons, fields and lists; none is left out."""
    page = open_page(emulator)
    hands = Hands(page)
    hands.press("#setup-copy")
    shows(page, "#setup-copy", "Copied")
    assert copied(page) == f"export MASIVO_BASE_URL={emulator.url}\nexport MASIVO_API_KEY=…"
    emulator.reject = lambda event: "recalled" if event["customer_id"] == "00021" else None
    assert send(emulator, 60) == "delivered"
    rows(page, "events").first.wait_for()
    shows(page, "#total-events", str(emulator.event_count))

    # Faults: each one reaches a client, and is seen; a second press ends it.
    for response, told, became in (
        ("401", "On for batches: 401.", "401"),
        ("500", "On for batches: 500.", "500"),
        ("reset", "On for batches: connection reset.", "None"),
        ("quota", "On for batches: quota used up", "429"),
        ("429", "On for batches: 429 with Retry-After 5 s.", "429"),
    ):
        hands.press(f"[data-response='{response}']")
        status(page, told)
        assert page.locator("#faults.on").count() == 1
        assert page.title().startswith("● Faults on")
        assert page.locator("[data-response][aria-pressed=true]").count() == 1
        assert send(emulator) == became
    hands.take("#retry-after").fill("7")
    hands.take("#retry-after").press("Enter")
    status(page, "On for batches: 429 with Retry-After 7 s.")
    hands.take("#scope").select_option("authorize")
    status(page, "On for authorizations: 429")
    hands.take("#latency-seconds").fill("0.2")
    hands.press("#latency")
    status(page, "On for authorizations: latency 0.2 s, 429")
    hands.press("[data-response='429']")
    status(page, "On for authorizations: latency 0.2 s.")
    assert send(emulator) == "delivered"
    assert emulator.authorizations[-1].fault == Fault(delay=0.2)
    hands.press("#heal")
    status(page, "Off.")
    assert page.title() == "Masivo inspector"
    assert page.locator("[aria-pressed=true]").count() == 0
    hands.press("#revoke")
    page.locator("#tokens td.bad", has_text="revoked").first.wait_for()
    assert send(emulator) == "delivered"

    # Events: every filter, alone and together.
    shows(page, "#total-requests", str(len(emulator.requests)))
    everything = page.locator("#events-count").text_content() or ""
    hands.take("#filter-type").fill("purch")
    shows(page, "#events-count", re.compile(" of "))
    others = rows(page, "events").filter(has_text="ADD_TO_CART")
    others.first.wait_for(state="detached")  # rows are drawn a frame later
    assert set(rows(page, "events").locator("td:nth-child(2)").all_text_contents()) == {
        "CD_PURCHASE"
    }
    hands.take("#filter-customer").fill("00021")
    hands.take("#filter-brand").fill("CDNOW")
    hands.take("#filter-text").fill('"sku":"cd"')
    hands.take("#filter-failures").check()
    page.locator("#events-grid td.bad", has_text="422").first.wait_for()
    hands.take("#filter-text").fill("nowhere")
    page.locator("#events-filtered").wait_for()
    hands.press("#filter-reset")
    shows(page, "#events-count", everything)

    # The whole of an event, and of a request; its events alone.
    hands.take("#events-grid").locator("tbody tr[id]").nth(3).click()
    page.locator("#detail-body", has_text='"customer_id": "').wait_for()
    hands.press("#detail-body")
    hands.press("#detail-copy")
    shows(page, "#detail-copy", "Copied")
    assert json.loads(copied(page))["customer_id"]
    hands.press("#detail-facts .link")
    page.locator("#detail-title", has_text="Request ").wait_for()
    hands.press("#detail-close")
    page.locator("#detail").wait_for(state="hidden")
    hands.take("#requests-failures").check()
    page.locator("#requests-grid td.good").first.wait_for(state="detached")
    hands.take("#requests-grid").locator("tbody tr[id]", has_text="batch").last.click()
    page.locator("#detail-facts", has_text="recalled").wait_for()
    page.locator("#detail-copy", has_text="Copy as curl").click()
    shows(page, "#detail-copy", "Copied")
    assert "curl " in copied(page)
    hands.press("#detail-filter")
    shows(page, "#events-count", re.compile("^60 of "))
    hands.press("#filter-request")
    shows(page, "#events-count", everything)
    hands.take("#requests-failures").uncheck()
    hands.press(".tokens .scroller")

    # Pause and clear.
    hands.press("#pause")
    shows(page, "#connection", "Paused")
    shown = page.locator("#total-events").text_content()
    assert send(emulator) == "delivered"
    hands.press("#clear")
    shows(page, "#events-count", "none yet")
    assert page.locator("#total-events").text_content() == shown
    hands.press("#pause")
    shows(page, "#events-count", "1 arrived")
    shows(page, "#total-events", str(emulator.event_count))

    page.keyboard.press("Home")
    hands.take("a.skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "events-grid"
    assert hands.unused() == []


def test_keyboard_alone(emulator: Emulator, open_page: OpenPage) -> None:
    """Tab reaches every control with a visible focus; arrows and Enter work the lists."""
    assert send(emulator, 250) == "delivered"
    page = open_page(emulator)
    rows(page, "events").first.wait_for()
    reached: list[str] = []
    while len(reached) < 40:
        page.keyboard.press("Tab")
        name = page.evaluate(f"({_NAME})(document.activeElement)")
        if name in reached or page.evaluate("document.activeElement === document.body"):
            break
        reached.append(name)
        style = page.evaluate(
            """() => {
                const here = document.activeElement;
                const outlined = (each) => getComputedStyle(each).outlineStyle !== 'none';
                return here.matches(':focus-visible')
                    && (outlined(here) || outlined(here.parentElement));
            }"""
        )
        assert style, f"{name} does not show that it has the focus"
    visible = page.locator(CONTROLS).locator("visible=true")
    assert sorted(reached) == sorted(_name(each) for each in visible.all())

    grid = page.locator("#events-grid")
    grid.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator("#detail").wait_for()
    second = page.locator("#detail-facts").text_content()
    assert "event 49 of 50" in (second or "")
    page.keyboard.press("ArrowDown")
    page.locator("#detail-facts", has_text="event 48 of 50").wait_for()
    page.keyboard.press("End")
    page.locator("#detail-facts", has_text="event 1 of 100").wait_for()
    assert _selected_is_visible(page)
    page.keyboard.press("PageUp")
    page.keyboard.press("Home")
    page.locator("#detail-facts", has_text="event 50 of 50").wait_for()
    assert _selected_is_visible(page)
    page.keyboard.press("Escape")
    page.locator("#detail").wait_for(state="hidden")
    assert page.evaluate("document.activeElement.id") == "events-grid"

    page.locator("[data-response='500']").focus()
    page.keyboard.press("Space")
    status(page, "On for batches: 500.")
    page.keyboard.press("Enter")
    status(page, "Off.")


def _selected_is_visible(page: Page) -> bool:
    found: bool = page.evaluate(
        """() => new Promise((resolve) => {
            const grid = document.getElementById('events-grid');
            const look = (left) => {
                const row = document.getElementById(grid.getAttribute('aria-activedescendant'));
                const frame = grid.parentElement.getBoundingClientRect();
                const box = row?.getBoundingClientRect();
                const top = frame.top + grid.tHead.getBoundingClientRect().height;
                const good = box && box.top >= top - 1 && box.bottom <= frame.bottom + 1;
                if (good || left === 0) resolve(Boolean(good));
                else requestAnimationFrame(() => look(left - 1));
            };
            look(60);
        })"""
    )
    return found


def test_a_list_stays_where_one_reads(emulator: Emulator, open_page: OpenPage) -> None:
    """Scrolled down, the rows that one reads stay in place while others arrive above."""
    assert send(emulator, 300) == "delivered"
    page = open_page(emulator)
    rows(page, "events").first.wait_for()
    scroller = page.locator("#events-scroller")
    scroller.evaluate("each => { each.scrollTop = 2800; }")
    page.locator("#events-grid tr[aria-rowindex='110']").wait_for()
    text = page.locator("#events-grid tr[aria-rowindex='110']").text_content()
    assert send(emulator, 40) == "delivered"
    page.locator("#events-grid tr[aria-rowindex='150']").wait_for()
    assert page.locator("#events-grid tr[aria-rowindex='150']").text_content() == text
    assert scroller.evaluate("each => each.scrollTop") == 2800 + 40 * 28


def test_it_shows_what_happens(emulator: Emulator, open_page: OpenPage) -> None:
    """A retried batch, a pending one, and one whose response is lost have different outcomes."""
    page = open_page(emulator)
    emulator.fail(Fault(status=503), route="events")
    emulator.fail(Fault.lost_response(), route="events")
    with Client(emulator.client_key, base_url=emulator.url) as client:
        for each in events(100):
            client.send_analytics_event(each)
        client.flush(20)
    shows(page, "#total-requests", "4")
    told = page.locator("#requests-grid tbody tr[id]").all_inner_texts()
    assert len(told) == 4
    assert re.search(r"batch of 100\s+retry\s+200", told[0])
    assert re.search(r"retry\s+reset \(fault\)", told[1])
    assert re.search(r"full\s+503 \(fault\)", told[2])
    assert "authorize, CLIENT key" in told[3]
    rows(page, "requests").first.click()
    page.locator("#detail-facts", has_text="had the same Idempotency-Key").wait_for()
    page.locator("#detail-facts .link", has_text="request 2").click()
    page.locator("#detail-title", has_text="Request 2: batch of 100").wait_for()
    outcomes = page.locator("#events-grid tbody tr[id] td:last-child").first.text_content()
    assert outcomes == "accepted"
    shows(page, "#total-events", "200")
    page.locator("#chart-caption", has_text="at most").wait_for()
    page.locator("#tokens", has_text="59 min left").wait_for()
    emulator.fail(Fault(delay=3600), route="authorize")
    with Client("a-key-of-nobody", base_url=emulator.url) as client:
        client.send_analytics_event(events(1)[0])
        page.locator("#requests-grid td.pending").wait_for()
        client.destroy()


MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>&amp;\u202e\x00"


def test_what_an_app_sends_is_text(emulator: Emulator, open_page: OpenPage) -> None:
    """Markup in any field is shown as it is, and does nothing."""
    page = open_page(emulator)
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))
    with Client(emulator.client_key, base_url=emulator.url) as client:
        client.send_analytics_event(
            {
                "type": MARKUP,
                "customer_id": MARKUP,
                "brand_id": MARKUP,
                "metadata": {MARKUP: MARKUP},
            }
        )
        client.flush(10)
    row = rows(page, "events").first
    row.wait_for()
    assert row.locator("td").nth(1).text_content() == MARKUP
    row.click()
    page.locator("#detail-body", has_text="<img src=x onerror=alert(1)>").wait_for()
    page.locator("#filter-customer").fill("<SCRIPT>")
    assert rows(page, "events").count() == 1
    assert page.locator("img, main script").count() == 0


def test_it_survives_a_restart(open_page: OpenPage, watched: Watched) -> None:
    """While the emulator is gone it says so; when another is there, it begins anew with that."""
    with Emulator() as emulator:
        assert send(emulator, 3) == "delivered"
        page = open_page(emulator)
        shows(page, "#events-count", "3 arrived")
        port = int(emulator.url.split(":")[2].split("/")[0])
    page.locator("#connection[data-state=gone]").wait_for()
    shows(page, "#connection", re.compile("^Gone: the emulator has stopped"))
    assert rows(page, "events").count() == 3, "what it has stays"
    with Emulator(port=port) as emulator:
        page.locator("#connection[data-state=live]").wait_for()
        shows(page, "#events-count", "none yet")
        assert send(emulator, 2) == "delivered"
        shows(page, "#events-count", "2 arrived")
        page.close()
    # Chromium itself logs each request that could not connect.
    assert all("ERR_CONNECTION" in each or "ERR_EMPTY" in each for each in watched.complaints)
    watched.complaints.clear()


def test_several_tabs_and_a_sleeping_one(emulator: Emulator, open_page: OpenPage) -> None:
    """Each page has all; one that slept catches up when it wakes; a switch shows in both."""
    awake, asleep = open_page(emulator), open_page(emulator)
    hide = """(hidden) => {
        Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    asleep.evaluate(hide, True)
    assert send(emulator, 150) == "delivered"
    shows(awake, "#events-count", "150 arrived")
    assert asleep.locator("#events-count").text_content() == "none yet"
    awake.locator("[data-response='500']").click()
    status(awake, "On for batches: 500.")
    asleep.evaluate(hide, False)
    shows(asleep, "#events-count", "150 arrived")
    status(asleep, "On for batches: 500.")


def test_emulator_clear_empties_the_page(emulator: Emulator, open_page: OpenPage) -> None:
    """The page forgets what a test makes the emulator forget."""
    page = open_page(emulator)
    assert send(emulator, 5) == "delivered"
    shows(page, "#events-count", "5 arrived")
    emulator.clear()
    shows(page, "#events-count", "none yet")
    shows(page, "#total-requests", "0")
