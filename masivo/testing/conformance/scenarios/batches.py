"""The triggers of batches, their limits and their order
(``docs/reference/guarantees.md#batches-and-triggers``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo import FlushResult, MasivoQueueFullError
from masivo.emulator import Fault
from masivo.testing.conformance.client import event
from masivo.testing.conformance.scenario import scenario

if TYPE_CHECKING:
    from masivo.testing.conformance.run import Run


@scenario("triggers")
def batch_goes_at_its_size(run: Run) -> None:
    """A batch is sent at once when ``batch_size`` events are buffered, and not before."""
    client = run.client(batch_size=3)
    client.send_numbers(1, 2)
    run.advance(1)
    run.sent()
    run.pending(client.events)
    client.send_numbers(3, 4)
    run.sent([1, 2, 3])
    run.equal(run.batch(0).at, 1.0, "sent at")
    run.delivered(client.events[:3])
    run.pending(client.events[3:])


@scenario("limits-of-a-batch")
def batch_never_holds_more_than_its_size(run: Run) -> None:
    """Buffered events are sent in batches of at most ``batch_size``, in order."""
    client = run.client(batch_size=3)
    run.hold(route="authorize")
    client.send_numbers(*range(8))
    run.release()
    run.sent([0, 1, 2], [3, 4, 5])
    client.flush()
    run.sent([0, 1, 2], [3, 4, 5], [6, 7])
    run.delivered(client.events)


@scenario("limits-of-a-batch")
def batch_goes_at_its_bytes(run: Run) -> None:
    """A batch is sent when another event would pass ``max_batch_bytes``, without that event."""
    client = run.client(max_event_bytes=1000, max_batch_bytes=1000)
    for number in (1, 2):
        client.send(event(number, tags=["x" * 300]))
    run.sent()
    client.send(event(3, tags=["x" * 300]))
    run.sent([1, 2])
    run.check(len(run.batch(0).record.body) <= 1000, "a batch larger than max_batch_bytes")
    run.pending(client.events[2:])


@scenario("triggers")
def batch_goes_when_idle(run: Run) -> None:
    """A batch is sent when ``idle_timeout`` has passed with no new event."""
    client = run.client(idle_timeout=30.0)
    client.send_numbers(1)
    run.advance(29)
    client.send_numbers(2)
    run.advance(29.5)
    run.sent()
    run.advance(1)
    run.sent([1, 2])
    run.equal(run.batch(0).at, 59.0, "sent at")
    run.delivered(client.events)


@scenario("triggers")
def batch_goes_after_max_wait(run: Run) -> None:
    """A batch is sent when its oldest event has waited ``max_wait``, even if others still come."""
    client = run.client(idle_timeout=30.0, max_wait=60.0)
    for number in range(4):
        client.send_numbers(number)
        run.advance(20)
    run.sent([0, 1, 2])
    run.equal(run.batch(0).at, 60.0, "sent at")
    run.advance(20)
    run.sent([0, 1, 2], [3])
    run.equal(run.batch(1).at, 90.0, "sent at")


@scenario("flush")
def flush_sends_what_is_buffered(run: Run) -> None:
    """``flush`` sends at once, and returns the outcomes of everything accepted before it."""
    client = run.client()
    run.equal(client.flush().result(), FlushResult(0, 0), "flush of nothing")
    run.equal(len(run.server.requests), 0, "requests")
    client.send_numbers(1, 2)
    run.equal(client.flush().result(), FlushResult(2, 0), "flush")
    run.sent([1, 2])
    run.equal(run.batch(0).at, 0.0, "sent at")


@scenario("drain")
def drain_sends_what_is_buffered(run: Run) -> None:
    """While a caller waits in ``drain``, batches are sent; it returns when there is room."""
    client = run.client(max_queue=4, batch_size=10)
    client.send_numbers(1, 2)
    client.drain().result()
    run.sent()
    client.send_numbers(3)
    run.hold()
    drain = client.drain()
    run.sent([1, 2, 3])
    run.check(drain.pending, "drain returned without room")
    run.release()
    drain.result()
    run.delivered(client.events)


@scenario("triggers")
def full_buffer_goes_at_once(run: Run) -> None:
    """A full buffer is sent without waiting for ``batch_size``."""
    client = run.client(max_queue=3, batch_size=100)
    client.send_numbers(1, 2)
    run.sent()
    client.send_numbers(3)
    run.sent([1, 2, 3])
    run.delivered(client.events)


@scenario("bounds-of-the-buffer")
def event_overflows_a_full_buffer(run: Run) -> None:
    """Past ``max_queue``, events in flight included, a delivery has failed when it is made; its
    event was not accepted, so ``on_error`` is not called."""
    client = run.client(max_queue=3)
    run.hold()
    client.send_numbers(1, 2, 3)
    (overflowed,) = client.send_numbers(4)
    run.equal(overflowed.done, True, "failed at once")
    run.failed([overflowed], MasivoQueueFullError)
    run.release()
    run.delivered(client.events[:3])
    client.send_numbers(5)
    run.equal(client.flush().result(), FlushResult(4, 0), "flush")
    run.equal(client.stats().overflowed, 1, "overflowed")
    client.failures_are()


@scenario("bounds-of-the-buffer")
def event_overflows_a_buffer_full_in_bytes(run: Run) -> None:
    """``max_queue_bytes`` bounds the buffer as ``max_queue`` does."""
    client = run.client(max_queue_bytes=1000, max_event_bytes=900, max_batch_bytes=1000)
    run.hold()
    client.send(event(1, tags=["x" * 700]))
    client.flush()
    (overflowed,) = client.send(event(2, tags=["x" * 700]))
    run.failed([overflowed], MasivoQueueFullError)
    run.release()
    run.delivered(client.events[:1])


@scenario("order-of-a-client")
def order_is_kept_across_retries(run: Run) -> None:
    """While a batch waits for a retry, later events wait behind it."""
    client = run.client(batch_size=2)
    run.respond(Fault(status=503), Fault(status=503))
    first = client.send_numbers(1, 2)
    client.send_numbers(3, 4)
    run.sent([1, 2])
    run.pending(first)
    run.advance(2)
    run.sent([1, 2], [1, 2], [1, 2], [3, 4])
    run.equal([each.key for each in run.server.batches], [1, 1, 1, 2], "idempotency keys")
    run.delivered(client.events)


@scenario("order-of-a-customer", "parallel")
def batches_in_flight_keep_order_per_customer(run: Run) -> None:
    """With ``max_in_flight`` above 1, no two batches in flight hold a customer's events."""
    client = run.client(batch_size=2, max_in_flight=2)
    client.get_token().result()
    run.hold(3)
    client.send(event(1, "a"), event(2, "a"), event(3, "b"), event(4, "b"))
    if run.parallel:
        run.sent([1, 2], [3, 4])
    client.send(event(5, "a"), event(6, "b"))
    run.release()
    client.flush()
    run.release()
    run.release()
    run.delivered(client.events)
    for customer in "ab":
        found = [
            each["n"]
            for batch in run.server.batches
            for each in batch.events
            if each["customer_id"] == customer
        ]
        run.equal(found, sorted(found, key=str), f"order of {customer}")


@scenario("order-of-a-customer", "parallel")
def responses_come_in_any_order(run: Run) -> None:
    """A batch that waits for a retry holds back the events of its own customers only."""
    client = run.client(batch_size=1, max_in_flight=2)
    client.get_token().result()
    run.hold(2)
    client.send(event(1, "a"), event(2, "b"))
    if run.parallel:
        run.release(nth=1)
        run.delivered(client.events[1:])
        run.pending(client.events[:1])
        client.send(event(3, "a"), event(4, "b"))
        run.sent([1], [2], [4])
        run.release(Fault(status=503))
    else:
        run.release(Fault(status=503))
        client.send(event(3, "a"), event(4, "b"))
        run.release()
    run.advance(1)
    run.delivered(client.events)
    order = [each.numbers[0] for each in run.server.batches if each.numbers[0] in (1, 3)]
    run.equal(order, [1, 1, 3], "order of a")
