"""The events that ``masivo_events`` counts as sent, and its messages about others."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

import masivo
from masivo.emulator import Fault

from .events import event

if TYPE_CHECKING:
    from masivo.emulator import Emulator
    from masivo.testing import MasivoEvents


def above_one(amount: int) -> bool:
    """A predicate."""
    return amount > 1


def message(caught: pytest.ExceptionInfo[AssertionError]) -> list[str]:
    """The lines of a failure, without leading blanks."""
    return [line.strip() for line in str(caught.value).splitlines()]


def test_an_event_counts_from_the_call_on(
    masivo_events: MasivoEvents, masivo_emulator: Emulator
) -> None:
    """In threads, though its batch has not gone out: nothing is sent for an expectation."""
    client = masivo.Client(brand_id="b")
    client.send_analytics_event({"type": "SEEN", "customer_id": "c1", "platform": "web"})
    client.send_analytics_event(event("c2", product={"sku": "A", "amount": 2}))
    found = masivo_events.expect(type="SEEN")
    assert found == {"type": "SEEN", "customer_id": "c1", "platform": "web", "brand_id": "b"}
    masivo_events.expect(customer_id="c2", product={"sku": "A", "amount": above_one})
    masivo_events.expect({"customer_id": "c2"}, type=str)
    assert len(masivo_events.expect(customer_id=str, count=2)) == 2
    masivo_events.expect_none(customer_id="c3")
    assert [each["type"] for each in masivo_events] == ["SEEN", "ADD_TO_CART"]
    assert len(masivo_events) == 2
    assert masivo_events[-1] == masivo_events.all[1]
    assert masivo_events[:1] == [found]
    assert masivo_events == masivo_events.all
    assert masivo_events != [found]
    assert masivo_emulator.batches == []
    masivo_events.clear()
    assert not masivo_events.all


def test_what_before_send_makes_of_an_event_counts(masivo_events: MasivoEvents) -> None:
    """In its place; an event that it drops was not sent, and is nothing to wait for."""

    def before_send(each: dict[str, object]) -> dict[str, object] | None:
        return None if each["customer_id"] == "dropped" else {**each, "customer_id": "changed"}

    client = masivo.Client(before_send=before_send)
    for customer in ("dropped", "sent"):
        client.send_analytics_event(event(customer))
    assert [each["customer_id"] for each in masivo_events] == ["changed"]
    masivo_events.expect_delivered()


def test_an_event_counts_in_asyncio_and_in_trio(masivo_events: MasivoEvents) -> None:
    """At once, from inside the loop."""

    async def in_asyncio() -> None:
        async with masivo.AsyncClient() as client:
            client.send_analytics_event(event("a"))
            masivo_events.expect(customer_id="a", count=1)
            await masivo_events.aexpect_delivered()

    async def in_trio() -> None:
        async with masivo.TrioClient() as client:
            client.send_analytics_event(event("t"))
            masivo_events.expect(customer_id="t", count=1)
            await masivo_events.aexpect_delivered()

    asyncio.run(in_asyncio())
    trio.run(in_trio)
    masivo_events.expect(count=2)


def test_an_event_of_another_process_counts_when_it_has_arrived(
    masivo_events: MasivoEvents,
) -> None:
    """A child inherits key and base URL; its events are not mixed up with those of its parent."""
    masivo.Client().send_analytics_event(event("parent"))
    program = (
        "import masivo\n"
        "with masivo.Client() as client:\n"
        "    client.send_analytics_event({'type': 'X', 'customer_id': 'child', 'brand_id': None})\n"
    )
    masivo_events.expect_delivered()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
    masivo_events.expect(customer_id="child", count=1)
    assert [each["customer_id"] for each in masivo_events] == ["parent", "child"]
    masivo_events.clear()
    masivo_events.expect_none()


def test_an_event_of_another_thread_can_be_waited_for(masivo_events: MasivoEvents) -> None:
    """``timeout`` waits for the event itself."""
    client = masivo.Client()
    go = threading.Event()

    def send() -> None:
        go.wait(10)
        client.send_analytics_event(event("late"))

    thread = threading.Thread(target=send)
    thread.start()
    masivo_events.expect_none(customer_id="late")
    go.set()
    masivo_events.expect(customer_id="late", timeout=10)
    thread.join()
    with pytest.raises(AssertionError, match="no event was sent that matches"):
        masivo_events.expect(customer_id="never", timeout=0.01)


def test_a_number_of_events_of_another_thread_can_be_waited_for(
    masivo_events: MasivoEvents,
) -> None:
    """With ``count`` it waits for all of them, not for the first."""
    client = masivo.Client()
    client.send_analytics_event(event("early"))
    go = threading.Event()

    def is_looked_for(_: object) -> bool:
        go.set()
        return True

    def send() -> None:
        assert go.wait(20)
        client.send_analytics_event(event("late"))

    thread = threading.Thread(target=send)
    thread.start()
    found = masivo_events.expect(customer_id=is_looked_for, count=2, timeout=20)
    assert [each["customer_id"] for each in found] == ["early", "late"]
    thread.join()


def test_the_nearest_miss_is_shown_field_by_field(masivo_events: MasivoEvents) -> None:
    """With what was expected where it differs, a name that was perhaps meant, and all events."""
    client = masivo.Client()
    client.send_analytics_event(event("c1", "EMPTY_CART"))
    client.send_analytics_event(event("c2", product={"sku": "A", "amount": 1}))
    with pytest.raises(AssertionError) as caught:
        masivo_events.expect(
            type="ADD_TO_CART", customer_id="c1", product={"sku": "A", "amuont": int}
        )
    asked = "type='ADD_TO_CART', customer_id='c1', product={'sku': 'A', 'amuont': int}"
    assert message(caught) == [
        "no event was sent that matches",
        f"masivo_events.expect({asked})",
        "the nearest is number 2:",
        "type            'ADD_TO_CART'",
        "!= customer_id     'c2', expected 'c1'",
        "product.sku     'A'",
        "!= product.amuont  missing, expected int (did you mean 'amount'?)",
        "sent (2):",
        "1. type='EMPTY_CART', customer_id='c1', brand_id=None",
        "2. type='ADD_TO_CART', customer_id='c2', brand_id=None, product={'amount': 1, 'sku': 'A'}",
    ]


def test_a_wrong_number_is_an_error(masivo_events: MasivoEvents) -> None:
    """How many match, and the nearest of the others."""
    with pytest.raises(AssertionError, match="no event was sent\n"):
        masivo_events.expect(type="ADD_TO_CART")
    client = masivo.Client()
    for customer in ("c1", "c1", "c2"):
        client.send_analytics_event(event(customer))
    with pytest.raises(AssertionError) as caught:
        masivo_events.expect(customer_id="c1", count=3)
    assert message(caught)[:4] == [
        "2 events match, not 3",
        "masivo_events.expect(customer_id='c1', count=3)",
        "the nearest is number 3:",
        "!= customer_id  'c2', expected 'c1'",
    ]
    with pytest.raises(AssertionError) as caught:
        masivo_events.expect_none(customer_id="c2")
    assert message(caught) == [
        "masivo_events.expect_none(customer_id='c2')",
        "this was sent, and should not have been:",
        "1. type='ADD_TO_CART', customer_id='c2', brand_id=None",
    ]
    for number in range(20):
        client.send_analytics_event(event(f"other-{number}"))
    with pytest.raises(AssertionError) as caught:
        masivo_events.expect(customer_id="nobody")
    assert "(13 before)" in message(caught)


def test_a_key_of_the_app(masivo_events: MasivoEvents) -> None:
    """An app with a key of its own is told, once, which key the emulator accepts."""
    client = masivo.Client("of-the-app")
    for name in ("c1", "c2"):
        client.send_analytics_event(event(name))
    with pytest.raises(AssertionError) as caught:
        masivo_events.expect_delivered()
    lines = message(caught)
    assert lines[-1].startswith("the emulator accepts the key in MASIVO_API_KEY, which Client()")
    assert sum("the emulator accepts" in line for line in lines) == 1


@pytest.mark.masivo_emulator(client_key="of-the-app")
def test_the_emulator_accepts_a_key_of_the_app(masivo_events: MasivoEvents) -> None:
    """With the marker that the advice names."""
    masivo.Client("of-the-app").send_analytics_event(event("c1"))
    masivo_events.expect_delivered()


@pytest.mark.parametrize("name", ["product__sku", "product.sku"])
def test_a_nested_field_in_one_word(masivo_events: MasivoEvents, name: str) -> None:
    """The message says how to write it."""
    masivo.Client().send_analytics_event(event("c1", product={"sku": "A"}))
    with pytest.raises(AssertionError) as caught:
        masivo_events.expect({name: "A"})
    assert f"!= {name}  missing, expected 'A' (write product={{'sku': …}})" in message(caught)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("times", "for the number of events write count=…"),
        ("event", "did you mean 'type'?"),
        ("user_id", "did you mean 'customer_id'?"),
    ],
)
def test_a_name_of_another_package(masivo_events: MasivoEvents, name: str, note: str) -> None:
    """The message says which one is meant."""
    masivo.Client().send_analytics_event(event("c1"))
    with pytest.raises(AssertionError) as caught:
        masivo_events.expect({name: 1})
    assert f"!= {name}  missing, expected 1 ({note})" in message(caught)


def test_what_failed_or_was_never_sent_does_not_count(
    masivo_events: MasivoEvents, masivo_emulator: Emulator
) -> None:
    """It is listed, with the reason, when an expectation fails."""
    client, tiny = masivo.Client(), masivo.Client(max_queue_bytes=1)
    masivo.Client(enabled=False).send_analytics_event(event("disabled"))
    masivo_emulator.fail(Fault(status=400, body={"error": "no such brand", "details": ""}))
    client.send_analytics_event(event("refused"))
    tiny.send_analytics_event(event("too many"))
    with pytest.raises(AssertionError) as caught:
        masivo_events.expect_delivered()
    assert any("no such brand" in line for line in message(caught))
    with pytest.raises(AssertionError) as caught:
        masivo_events.expect(type="ADD_TO_CART")
    assert [line.partition(":")[0] for line in message(caught)[2:]] == [
        "passed to a disabled client, and so not sent",
        "failed, and so not counted",
        "failed, and so not counted",
    ]
    assert "MasivoQueueFullError" in str(caught.value)
    assert not masivo_events.all


def test_an_event_that_the_api_would_reject_fails_an_expectation(
    masivo_events: MasivoEvents,
) -> None:
    """The message says what is wrong with it."""
    client = masivo.Client()  # one that nobody holds would send at once
    client.send_analytics_event(event("c1", product={"sku": 5}))
    with pytest.raises(AssertionError, match=r"the API would reject it: product\.sku"):
        masivo_events.expect(customer_id="c1")


def test_what_has_no_outcome_is_not_delivered(
    masivo_events: MasivoEvents, masivo_emulator: Emulator
) -> None:
    """Events of a loop's client cannot be flushed from outside; the message says who can."""

    async def main() -> None:
        async with masivo.AsyncClient() as client:
            client.send_analytics_event(event("c1"))
            with pytest.raises(AssertionError, match="aexpect_delivered"):
                masivo_events.expect_delivered()
            await masivo_events.aexpect_delivered()
            masivo_emulator.fail(Fault(delay=30), route="events")
            client.send_analytics_event(event("c2"))
            with pytest.raises(AssertionError, match=r"without an outcome yet \(1\)"):
                await masivo_events.aexpect_delivered(timeout=0.05)
            client.destroy()

    asyncio.run(main())


def test_what_a_closed_loop_left_does_not_count(masivo_events: MasivoEvents) -> None:
    """Starlette's TestClient closes a loop for each request; the message says how to share one."""
    client = masivo.AsyncClient()

    async def request() -> None:
        client.send_analytics_event(event("c1"))

    asyncio.run(request())
    with pytest.raises(AssertionError) as caught:
        masivo_events.expect(customer_id="c1")
    assert "the event loop was closed" in message(caught)[-2]
    assert "`with TestClient(app) as http:`" in message(caught)[-1]


def test_the_environment_leads_to_the_emulator(
    masivo_events: MasivoEvents, masivo_emulator: Emulator
) -> None:
    """Key and base URL are those of the test's emulator."""
    assert os.environ["MASIVO_API_KEY"] == masivo_emulator.client_key
    assert os.environ["MASIVO_BASE_URL"] == masivo_emulator.url
    assert masivo_emulator.url in repr(masivo.Client())
    assert "[]" in repr(masivo_events)


@pytest.mark.masivo_emulator(daily_quota=2, client_key="my-key")
def test_the_emulator_takes_options(masivo_emulator: Emulator) -> None:
    """By its marker."""
    assert masivo_emulator.client_key == "my-key"
    with masivo.Client(max_retries=0) as client:
        first = client.send_analytics_event(event())
        client.flush()
        second = client.send_analytics_event(event())
        client.flush()
        assert first.result().success
        error = second.exception()
    assert error is not None
    assert error.status == 429


def test_a_type_alone_is_no_expectation(masivo_events: MasivoEvents) -> None:
    """The error says how the field is named."""
    with pytest.raises(TypeError, match="type='VISIT', for example"):
        masivo_events.expect(cast("Any", "VISIT"))
    with pytest.raises(TypeError, match="type='VISIT', for example"):
        masivo_events.expect_none(cast("Any", "VISIT"))
