"""Events that outlive their client (``docs/reference/guarantees.md#events-on-disk``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo import (
    Api,
    FlushResult,
    MasivoAuthError,
    MasivoClosedError,
    MasivoError,
    MasivoQueueFullError,
)
from masivo.emulator import Fault
from masivo.testing.conformance.client import event
from masivo.testing.conformance.scenario import scenario

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from masivo.testing.conformance.adapter import ClientSettings
    from masivo.testing.conformance.client import Client, Event
    from masivo.testing.conformance.run import Run


def _left(run: Run, events: Sequence[Event], *, status: int | None = None) -> None:
    """The deliveries of these have ended, and the events stay on disk."""
    for each in events:
        error = each.error()
        found = error.status, error.spooled, error.retryable
        run.equal(found, (status, True, False), f"event {each.number}: status, spooled, retryable")
    missing = [each.number for each in events if each.number not in run.disk.numbers]
    run.equal(missing, [], "events that are not on disk")


def _first(run: Run, **settings: Unpack[ClientSettings]) -> Client:
    """A client whose events others will adopt. It knows the server's clock from the start, so that
    it makes no difference when their calls come."""
    client = run.client_with_store(**settings)
    client.get_token().result()
    return client


# ── On disk, and off it ──────────────────────────────────────────────────────────────────────


@scenario("on-disk-before-the-call-returns", "storage")
def event_is_on_disk_when_its_call_returns(run: Run) -> None:
    """An accepted event is in the store when the call to send returns, and stays there while it
    has no outcome."""
    client = run.client_with_store()
    run.hold(route="authorize")
    for number in range(3):
        client.handle.send(event(number))
        run.equal(run.disk.numbers, [*range(number + 1)], "on disk")
    flush = client.flush()
    run.hold()
    run.release()
    run.equal(run.disk.numbers, [0, 1, 2], "on disk while they are in flight")
    run.release()
    run.equal(flush.result(), FlushResult(3, 0), "flush")


@scenario("outcome-of-an-event", "storage")
def delivered_event_leaves_the_disk(run: Run) -> None:
    """An event that the API accepted is removed; a flush ends after that."""
    client = run.client_with_store(batch_size=2)
    client.send_numbers(1, 2, 3)
    run.delivered(client.events[:2])
    run.equal(client.flush().result(), FlushResult(3, 0), "flush")
    run.equal(run.disk.numbers, [], "on disk")
    client.close().result()
    run.equal(run.disk.logs, [], "logs")


@scenario("outcome-of-an-event", "storage")
def response_that_broke_off_ends_the_event(run: Run) -> None:
    """A 2xx that broke off after its headers ends the event: it may have been accepted."""
    client = run.client_with_store(batch_size=1)
    run.respond(Fault(truncate=3))
    (sent,) = client.send_numbers(1)
    run.check(not sent.error().spooled, "the error says that the event is kept")
    run.equal(run.disk.numbers, [], "on disk")
    client.failures_are(1)


@scenario("rejected-events-on-disk", "storage")
def rejected_event_is_kept(run: Run) -> None:
    """An event that the API rejects leaves the log, and is kept with its error; ``on_error`` is
    called for it."""
    client = run.client_with_store(batch_size=3)
    response = Fault(status=422, body={"error": "no such brand"})
    run.respond(response, response, None)
    client.send_numbers(1, 2, 3)
    run.sent([1, 2, 3], [1], [2, 3])
    run.failed(client.events[:1], MasivoError, status=422)
    run.delivered(client.events[1:])
    client.failures_are(1)
    run.equal(client.flush().result(), FlushResult(2, 1), "flush")
    run.equal(run.disk.rejected_numbers, [1], "rejected events on disk")
    (kept,) = run.disk.rejected
    run.equal((kept.reason, kept.status), ("no such brand", 422), "error on disk")
    run.equal(run.disk.numbers, [], "on disk")


# ── Notes ────────────────────────────────────────────────────────────────────────────────────


@scenario("notes", "storage")
def batch_is_noted_before_it_is_sent(run: Run) -> None:
    """Each batch is noted before its request is sent, and so is each part of a halved batch."""
    client = run.client_with_store(batch_size=4)
    run.respond(Fault(status=422), None, Fault(status=422), None, None)
    client.send_numbers(1, 2, 3, 4)
    run.delivered(client.events)
    run.sent([1, 2, 3, 4], [1, 2], [3, 4], [3], [4])
    run.equal([each.key for each in run.server.batches], [1, 2, 3, 4, 5], "idempotency keys")
    run.equal([each.noted for each in run.server.batches], [True] * 5, "noted at their arrival")


@scenario("notes", "storage")
def noted_batch_goes_again_as_it_was(run: Run) -> None:
    """A client that adopts a noted batch sends the same bytes under the same ``Idempotency-Key``,
    whatever its own limits are and however much later."""
    first = _first(run, batch_size=3)
    run.hold()
    first.send_numbers(1, 2, 3, 4)
    run.crash(first)
    run.release(Fault.lost_response())
    run.failed(first.events, MasivoClosedError)
    run.advance(3600)
    second = run.client_with_store(batch_size=1)
    run.equal(second.flush().result(), FlushResult(4, 0), "flush")
    run.sent([1, 2, 3], [1, 2, 3], [4])
    once, again, _ = run.server.batches
    run.equal(again.key, once.key, "idempotency key")
    run.equal(again.record.body, once.record.body, "body")
    run.equal(run.disk.numbers, [], "on disk")


# ── Two ends ─────────────────────────────────────────────────────────────────────────────────


@scenario("two-ends", "storage")
def delivery_ends_before_its_event(run: Run) -> None:
    """When its retries have run out a delivery ends, and the error says that the event is kept.
    The event is sent later, without a delivery; ``on_error`` is not called."""
    client = run.client_with_store(batch_size=2, max_retries=1)
    run.respond(Fault(status=503), Fault(status=503))
    client.send_numbers(1, 2)
    run.advance(0.5)
    _left(run, client.events, status=503)
    run.equal(client.stats().failed, 0, "failed")
    run.advance(30)
    run.sent([1, 2], [1, 2], [1, 2])
    run.equal(run.disk.numbers, [], "on disk")
    run.equal(client.stats().delivered, 2, "delivered")
    client.failures_are()
    run.equal(len([line for line in run.warnings if "kept in the spool" in line]), 1, "warnings")


@scenario("two-ends", "storage")
def flush_counts_what_stays(run: Run) -> None:
    """A flush ends in an outage as it would without a store; it counts the events that stay."""
    client = run.client_with_store(max_retries=0)
    run.always(Fault(status=503))
    client.send(event(1, "a"), event(2, "b"))
    run.equal(client.flush().result(), FlushResult(0, 0, 2), "flush")
    _left(run, client.events, status=503)
    run.equal(client.stats().spooled + client.stats().in_flight, 2, "spooled")
    run.equal(client.flush().result(), FlushResult(0, 0, 2), "flush")
    run.always(None)
    run.advance(60)
    run.equal(client.flush().result(), FlushResult(2, 0), "flush")
    client.failures_are()


@scenario("outcome-of-an-event", "storage")
def what_speaks_of_key_or_address_ends_no_event(run: Run) -> None:
    """403, 404, a redirect and a 2xx that is not JSON end deliveries; the events are sent later."""
    client = run.client_with_store(max_retries=0, batch_size=1)
    for number, response in enumerate(
        (
            Fault(status=403),
            Fault(status=404),
            Fault(status=302, headers={"Location": "/elsewhere"}),
            Fault(status=200, body=b"<html>"),
        )
    ):
        run.respond(response)
        sent = client.send_numbers(number)
        _left(run, sent, status=response.status)
        run.advance(60)
        run.equal(run.disk.numbers, [], "on disk")
    run.equal(client.stats().delivered, 4, "delivered")
    client.failures_are()


@scenario("events-under-a-refused-key", "storage")
def events_are_accepted_under_a_refused_key(run: Run) -> None:
    """While the key is refused events are accepted, and their deliveries end at once. The key is
    tried again after 30 s, then after 60 s; then they go."""
    client = run.client_with_store(batch_size=1)
    run.respond(Fault(status=403), Fault(status=403), route="authorize")
    _left(run, client.send_numbers(1), status=403)
    run.failed(client.events, MasivoAuthError, status=403)
    _left(run, client.send_numbers(2), status=403)
    run.equal(client.flush().result(), FlushResult(0, 0, 2), "flush")
    run.advance(30)
    run.authorizations(2)
    run.advance(59)
    run.authorizations(2)
    run.advance(1)
    run.authorizations(3)
    run.sent([1], [2])
    run.equal(run.disk.numbers, [], "on disk")
    client.failures_are()


@scenario("step-aside", "storage")
def batch_steps_aside_for_other_customers(run: Run) -> None:
    """A batch that still fails after ``max_retries`` retries waits, and one without its customers
    is tried; each customer's order is kept."""
    client = run.client_with_store(batch_size=2, max_retries=1)
    run.respond(Fault(status=500), Fault(status=500))
    client.send(event(1, "a"), event(2, "a"), event(3, "a"), event(4, "b"), event(5, "b"))
    run.advance(60)
    first, *later = [each.numbers for each in run.server.batches]
    run.equal(first, (1, 2), "first batch")
    run.check((4, 5) in later, "the other customer's events are not sent together")
    run.check(later.index((4, 5)) < later.index((3,)), "a customer's event overtook its batch")
    run.equal(run.disk.numbers, [], "on disk")
    run.equal(client.stats().delivered, 5, "delivered")


@scenario("step-aside", "storage")
def customer_whose_batches_fail_stops_nobody(run: Run) -> None:
    """The batch of a customer fails whose events fill the memory and more: other customers' events
    behind them on disk are read and sent; its later ones are read once the batch has ended."""
    client = run.client_with_store(max_retries=0, max_queue=100, batch_size=100)
    run.hold(route="authorize")
    client.send(*(event(number, "a") for number in range(1_200)), event(1_200, "b"))
    run.failed(client.events[-1:], MasivoQueueFullError)
    run.respond(Fault(status=500))
    run.release()
    run.advance(60)
    run.failed(client.events[:1], MasivoError, status=500)
    first, other, *later = [list(each.numbers) for each in run.server.batches]
    run.equal((first, other), ([*range(100)], [1_200]), "the first batches")
    run.equal([number for each in later for number in each], [*range(1_200)], "order")
    run.equal(run.disk.numbers, [], "on disk")
    client.failures_are()


# ── Adoption ─────────────────────────────────────────────────────────────────────────────────


@scenario("adoption", "storage")
def events_of_a_crashed_client_are_adopted(run: Run) -> None:
    """From its first use on, a client adopts the events that another has left, in order, and counts
    them."""
    first = _first(run)
    first.send(*(event(number, f"c{number % 3}") for number in range(9)))
    run.crash(first)
    run.sent()
    second = run.client_with_store()
    run.equal(second.flush().result(), FlushResult(9, 0), "flush")
    for customer in range(3):
        mine = [each["n"] for each in run.batch(0).events if each["customer_id"] == f"c{customer}"]
        run.equal(mine, [*range(customer, 9, 3)], "a customer's order")
    stats = second.stats()
    run.equal((stats.accepted, stats.adopted, stats.delivered), (0, 9, 9), "counters")
    second.close().result()
    run.equal(run.disk.logs, [], "logs")


@scenario("adoption", "storage")
def adopter_may_crash_too(run: Run) -> None:
    """Events that an adopter had delivered are not sent again; the others are adopted once more."""
    first = _first(run)
    first.send_numbers(*range(6))
    run.crash(first)
    run.respond(None)
    run.hold()
    second = run.client_with_store(batch_size=2)
    flush = second.flush()
    run.check(flush.pending, "flush did not wait")
    run.crash(second)
    run.release(Fault.lost_response())
    run.equal(flush.result(), FlushResult(2, 0, 4), "flush")
    third = run.client_with_store(batch_size=2)
    run.equal(third.flush().result(), FlushResult(4, 0), "flush")
    run.sent([0, 1], [2, 3], [2, 3], [4, 5])
    run.equal([each.key for each in run.server.batches], [1, 2, 2, 3], "idempotency keys")
    run.equal(run.disk.numbers, [], "on disk")


@scenario("adoption", "storage")
def log_that_is_held_is_left_alone(run: Run) -> None:
    """Clients of one key send their own events; one adopts what the other leaves within 30 s."""
    one, two = run.client_with_store(), run.client_with_store()
    one.send_numbers(1)
    two.send_numbers(2)
    run.equal(two.flush().result(), FlushResult(1, 0), "flush")
    run.sent([2])
    run.crash(one)
    run.advance(30)
    run.equal(two.flush().result(), FlushResult(1, 0), "flush")
    run.sent([2], [1])
    run.equal(two.stats().adopted, 1, "adopted")


@scenario("adoption", "storage")
def failures_of_adopted_events_are_reported(run: Run) -> None:
    """``on_error`` is called for an adopted event that the API rejects."""
    first = _first(run)
    first.send_numbers(1)
    run.crash(first)
    run.respond(Fault(status=422))
    second = run.client_with_store()
    run.equal(second.flush().result(), FlushResult(0, 1), "flush")
    second.failures_are(1)
    first.failures_are()
    run.equal(run.disk.rejected_numbers, [1], "rejected events on disk")


@scenario("account-of-a-log", "storage")
def log_of_another_key_is_left_alone(run: Run) -> None:
    """Events under another key are not sent; one warning names the command that shows them."""
    run.respond(Fault(status=503), route="authorize")
    first = run.client_with_store("another-key", max_retries=0)
    first.send_numbers(1)
    first.close().result()
    second = run.client_with_store(batch_size=1)
    second.send_numbers(2)
    run.advance(100)
    run.sent([2])
    run.equal(run.disk.numbers, [1], "on disk")
    said = [line for line in run.warnings if "another key or address" in line]
    run.equal(len(said), 1, "warnings")


# ── Bounds ───────────────────────────────────────────────────────────────────────────────────


@scenario("events-beyond-memory", "storage")
def events_beyond_memory_wait_on_disk(run: Run) -> None:
    """An event for which memory has no room is accepted on disk alone: its delivery has ended, and
    the event is sent in its place."""
    client = run.client_with_store(max_queue=3, batch_size=2)
    run.hold(route="authorize")
    for number in range(8):
        client.send_numbers(number)
    run.pending(client.events[:3])
    run.failed(client.events[3:], MasivoQueueFullError)
    _left(run, client.events[3:])
    run.equal(run.disk.numbers, [*range(8)], "on disk")
    run.release()
    run.equal(client.flush().result(), FlushResult(8, 0), "flush")
    sent = [number for batch in run.server.batches for number in batch.numbers]
    run.equal(sent, [*range(8)], "order")
    run.equal(run.disk.numbers, [], "on disk")
    client.failures_are()


@scenario("bounds-of-the-spool", "storage")
def full_disk_takes_no_event(run: Run) -> None:
    """An event that cannot be stored is not accepted; when space returns, the next one is, and a
    ``drain`` ends."""
    client = run.client_with_store()
    client.send_numbers(1)
    run.disk.full = True
    (overflowed,) = client.send_numbers(2)
    error = overflowed.error()
    run.equal((type(error), error.spooled), (MasivoQueueFullError, False), "error")
    run.check("the disk is full" in error.message, f"the error does not say why: {error}")
    drain = client.drain()
    run.check(drain.pending, "drain did not wait")
    run.disk.full = False
    run.advance(1)
    drain.result()
    client.send_numbers(3)
    run.equal(client.flush().result(), FlushResult(2, 0), "flush")
    run.equal(client.stats().overflowed, 1, "overflowed")


@scenario("age-of-an-event", "storage")
def old_event_is_not_sent(run: Run) -> None:
    """An event that is older than ``Api.max_age`` counts as rejected, with that reason."""
    client = run.client_with_store(batch_size=1, max_retries=0, api=Api(max_age=600.0))
    run.respond(Fault(status=503, headers={"Retry-After": "3000"}))
    _left(run, client.send_numbers(1), status=503)
    run.advance(3000)
    run.sent([1])
    client.failures_are(1)
    run.equal(run.disk.rejected_numbers, [1], "rejected events on disk")
    run.equal(run.disk.numbers, [], "on disk")


# ── The end of a client ──────────────────────────────────────────────────────────────────────


@scenario("end-of-a-client-with-a-spool", "storage")
def close_in_an_outage_leaves_events(run: Run) -> None:
    """A close ends when the first of its last tries fails; its events stay on disk, one log line
    counts them, and the next client of the key sends them."""
    first = _first(run, batch_size=1)
    run.always(Fault(status=503))
    first.send(event(1, "a"), event(2, "b"))
    first.close().result()
    _left(run, first.events[:1], status=503)
    _left(run, first.events[1:])
    run.failed(first.events[1:], MasivoClosedError)
    said = [each for each in run.warnings if "2 events of this client stay" in each]
    run.equal(len(said), 1, "warnings")
    run.always(None)
    second = run.client_with_store(batch_size=1)
    run.equal(second.flush().result(), FlushResult(2, 0), "flush")
    run.equal(second.stats().adopted, 2, "adopted")
    run.equal(run.disk.numbers, [], "on disk")


@scenario("end-of-a-client-with-a-spool", "storage")
def destroy_leaves_events(run: Run) -> None:
    """A client that is destroyed sends nothing more; its log is released at once, and the next
    client of the key sends its events."""
    first = _first(run)
    first.send_numbers(1, 2)
    first.destroy()
    run.failed(first.events, MasivoClosedError)
    _left(run, first.events)
    second = run.client_with_store()
    run.equal(second.flush().result(), FlushResult(2, 0), "flush")
    run.sent([1, 2])
    first.failures_are()


@scenario("disabled-spool", "storage")
def disabled_client_stores_nothing(run: Run) -> None:
    """With ``enabled=False`` nothing is stored, and nothing is adopted."""
    first = _first(run)
    first.send_numbers(1)
    first.destroy()
    off = run.client_with_store(enabled=False)
    off.send_numbers(2)
    run.equal(off.flush().result(), FlushResult(0, 0), "flush")
    run.equal(run.disk.numbers, [1], "on disk")
    run.sent()
