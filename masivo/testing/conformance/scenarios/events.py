"""Validation and encoding of events
(``docs/reference/guarantees.md#sending-and-validation``)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from email.utils import formatdate
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from masivo import FlushResult, MasivoConfigError, MasivoValidationError, SendEventResult
from masivo.emulator import Fault
from masivo.testing.conformance.client import event
from masivo.testing.conformance.clock import WALL
from masivo.testing.conformance.scenario import scenario

if TYPE_CHECKING:
    from masivo.testing.conformance.run import Run


@scenario("before_send")
def before_send_changes_and_drops_events(run: Run) -> None:
    """The mapping that ``before_send`` returns is sent, None drops the event, and after an
    exception the event is invalid."""

    def before_send(given: dict[str, Any]) -> dict[str, Any] | None:
        given["customer_id"] = "hidden"
        return given if given["n"] // given["n"] == given["n"] else None

    client = run.client(before_send=before_send)
    own = event(1)
    client.send(own, event(2))
    run.equal(own["customer_id"], "c", "the caller's event")
    error = client.raises(MasivoValidationError, event(0))
    run.equal(type(error.__cause__), ZeroDivisionError, "cause")
    (kept, dropped) = client.events
    run.equal(dropped.result(), SendEventResult(False, 0, None), "the dropped event")
    client.flush().result()
    run.delivered([kept])
    run.sent([1])
    run.equal(run.batch(0).events[0]["customer_id"], "hidden", "sent")
    run.equal(client.stats().dropped, 1, "dropped")


@scenario("default-brand")
def default_brand_is_filled_in(run: Run) -> None:
    """The client's ``brand_id`` is filled into events that have a ``platform`` and no ``brand_id``;
    an explicit one, None too, stays; an event with neither is invalid."""
    client = run.client(brand_id="house")
    bare = {"type": "VIEW", "customer_id": "c"}
    client.send(
        bare | {"n": 1, "platform": "web"},
        bare | {"n": 2, "platform": "web", "brand_id": "own"},
        bare | {"n": 3, "platform": "web", "brand_id": None},
        bare | {"n": 4, "brand_id": "own"},
    )
    client.raises(MasivoValidationError, bare | {"n": 5})
    client.flush().result()
    run.equal(
        [each["brand_id"] for each in run.batch(0).events], ["house", "own", None, "own"], "brands"
    )


@scenario("clock-of-the-server")
def events_are_stamped_by_the_servers_clock(run: Run) -> None:
    """An event without ``issued_at`` gets the time of its call by the server's clock, the same in
    every retry; another keeps its own."""
    client = run.client()
    run.respond(Fault(status=503))
    client.get_token().result()
    run.advance(5)
    client.send_numbers(1)
    run.advance(2.5)
    client.send(event(2, issued_at="2025-12-31T23:00:00Z"))
    client.send_numbers(3)
    client.flush()
    run.advance(1)
    run.sent([1, 2, 3], [1, 2, 3])
    run.equal(
        [each["issued_at"] for each in run.batch(1).events],
        ["2026-01-01T00:00:05.000Z", "2025-12-31T23:00:00Z", "2026-01-01T00:00:07.500Z"],
        "issued_at",
    )
    run.equal(run.batch(0).record.body, run.batch(1).record.body, "the retry's body")
    run.delivered(client.events)


@scenario("clock-of-the-server")
def events_are_stamped_without_a_date(run: Run) -> None:
    """Without a ``Date`` from the server, the stamp is the local clock's time less 2 s."""
    client = run.client()
    run.respond(Fault(headers={"Date": None}), route="authorize")
    client.send_numbers(1)
    run.advance(3)
    client.flush().result()
    stamps = [each["issued_at"] for each in run.batch(0).events]
    run.equal(stamps, ["2025-12-31T23:59:58.000Z"], "issued_at")


@scenario("clock-of-the-server")
def every_response_tells_the_time(run: Run) -> None:
    """The server's clock is learned from the ``Date`` of every response: of one more than a minute
    below as well, and then stamps decrease, once."""
    client = run.client(batch_size=1)
    ahead, behind = ({"Date": formatdate(WALL + by, usegmt=True)} for by in (30, -3600))
    run.respond(Fault(headers=ahead), Fault(status=404, headers=behind))
    client.send_numbers(1)
    client.send_numbers(2)
    client.send_numbers(3)
    run.equal(
        [each.events[0]["issued_at"] for each in run.server.batches],
        ["2026-01-01T00:00:00.000Z", "2026-01-01T00:00:30.000Z", "2025-12-31T23:00:00.000Z"],
        "issued_at",
    )


@scenario("sleep")
def machine_that_slept_stamps_by_the_time_after_it(run: Run) -> None:
    """While a machine sleeps, the wall clock and the server's clock advance, and the engine's clock
    does not: events after the sleep have the right time."""
    client = run.client()
    client.send_numbers(1)
    client.flush().result()
    run.suspend(80 * 3600)
    client.send_numbers(2)
    client.flush().result()
    run.delivered(client.events)
    run.sent([1], [2], [2])  # the token has expired, too
    stamps = [each.events[0]["issued_at"] for each in run.server.batches]
    run.equal(stamps[1:], ["2026-01-04T08:00:00.000Z"] * 2, "issued_at")


@scenario("stamps-in-retries")
def retry_has_new_stamps_after_a_sleep(run: Run) -> None:
    """If the server's time has moved by more than a minute since the first try, a retry has new
    stamps under a new ``Idempotency-Key``; an ``issued_at`` of the caller's own is kept."""
    client = run.client()
    run.respond(Fault(status=503), None, Fault(status=503))
    client.send(event(1), event(2, issued_at="2026-01-01T00:00:00Z"))
    client.flush()
    run.suspend(48 * 3600)
    run.advance(2)
    run.delivered(client.events)
    run.equal([each.token for each in run.server.batches], [1, 1, 2, 2], "tokens")
    run.equal([each.key for each in run.server.batches], [1, 2, 2, 2], "idempotency keys")
    first, *others = ([one["issued_at"] for one in each.events] for each in run.server.batches)
    run.equal(first, ["2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00Z"], "issued_at")
    run.equal(others, [["2026-01-03T00:00:00.000Z", "2026-01-01T00:00:00Z"]] * 3, "issued_at")


class _Colour(Enum):
    RED = "red"


@scenario("values")
def values_are_encoded(run: Run) -> None:
    """Dates, decimals, enums and the like are encoded; the event is taken as it is at the call."""
    client = run.client()
    metadata: dict[str, object] = {
        "moment": datetime(2025, 12, 31, 12, tzinfo=UTC),
        "day": date(2025, 12, 31),
        "amount": Decimal("12345678901234567890.10"),
        "id": UUID(int=7),
        "colour": _Colour.RED,
        "pair": (1, "two"),
    }
    sent = event(1, metadata=metadata)
    client.send(sent)
    metadata["day"] = sent["type"] = "changed"
    client.flush().result()
    run.check(
        b'"amount":12345678901234567890.10' in run.batch(0).record.body, "Decimal is not exact"
    )
    run.check(b"changed" not in run.batch(0).record.body, "a later change was sent")


@scenario("invalid-events")
def invalid_events_raise_at_the_call(run: Run) -> None:
    """An invalid event raises MasivoValidationError, which names the place, and is not accepted."""
    client = run.client(max_event_bytes=1000)
    wrong: list[dict[str, object]] = [
        {},
        {"type": "VIEW", "brand_id": None},
        {"type": "", "customer_id": "c", "brand_id": None},
        {"type": "VIEW", "customer_id": 5, "brand_id": None},
        {"type": "VIEW", "customer_id": "c", "brand_id": 5},
        event(1, metadata={"x": float("nan")}),
        event(2, product={"tags": ["a", b"b"]}),
        event(3, metadata={5: "x"}),
        event(4, issued_at=datetime(2026, 1, 1)),  # noqa: DTZ001 (naive on purpose)
        event(5, tags=["x" * 1000]),
        event(6, tags=["\ud800"]),
    ]
    for each in wrong:
        client.raises(MasivoValidationError, each)
    for kind in ("PURCHASE", "ABANDONED_CART", "BIRTHDAY", "REGISTRATION", "TIER_ADJUSTMENT"):
        error = client.raises(MasivoValidationError, event(7) | {"type": kind})
        run.check("SERVER" in error.message, "the message names no cure")
    where = client.raises(MasivoValidationError, event(8, product={"tags": ["a", {1}]}))
    run.check("product.tags[1]" in where.message, "the message names no place")
    run.equal(client.stats().accepted, 0, "accepted")
    run.equal(len(run.server.requests), 0, "requests")


@scenario("disabled-client")
def disabled_client_sends_nothing(run: Run) -> None:
    """With ``enabled=False`` events are validated, and each delivery ends at once."""
    client = run.client(enabled=False, batch_size=1)
    for sent in client.send_numbers(1, 2):
        run.equal(sent.done, True, "done at once")
        result = sent.result()
        run.equal((result.success, result.status, result.data), (False, 0, None), "result")
    client.raises(MasivoValidationError, {})
    run.equal(client.flush().result(), FlushResult(0, 0), "flush")
    client.drain().result()
    client.get_token().raises(MasivoConfigError)
    run.advance(1000)
    client.close().result()
    run.equal(len(run.server.requests), 0, "requests")
