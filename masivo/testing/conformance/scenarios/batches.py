"""When batches go out, and in which order (contract, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo.emulator import Fault
from masivo.testing.conformance.client import event
from masivo.testing.conformance.scenario import scenario

if TYPE_CHECKING:
    from masivo.testing.conformance.run import Run


@scenario("3")
def batch_goes_at_its_size(run: Run) -> None:
    """A batch goes out at once when ``batch_size`` events wait, and not before."""
    client = run.client(batch_size=3)
    events = client.send_numbers(1, 2)
    run.advance(1)
    run.sent()
    run.pending(events)
    events += client.send_numbers(3)
    run.delivered(events)
    run.sent([1, 2, 3])


@scenario("3")
def batch_goes_when_idle(run: Run) -> None:
    """A batch goes out when ``idle_timeout`` has passed with no new event."""
    client = run.client(idle_timeout=30.0)
    client.send_numbers(1)
    run.advance(29)
    client.send_numbers(2)
    run.advance(29.5)
    run.sent()
    run.advance(1)
    run.sent([1, 2])
    run.equal(run.batch(0).at, 59.0, "sent at")


@scenario("3")
def order_is_kept_across_repeats(run: Run) -> None:
    """While a batch is repeated, later events wait behind it."""
    client = run.client(batch_size=2)
    run.answer(Fault(status=503), Fault(status=503))
    first = client.send_numbers(1, 2)
    client.send_numbers(3, 4)
    run.sent([1, 2])
    run.pending(first)
    run.advance(2)
    run.sent([1, 2], [1, 2], [1, 2], [3, 4])
    run.equal([each.key for each in run.server.batches], [1, 1, 1, 2], "idempotency keys")
    run.delivered(client.events)


@scenario("3", "parallel")
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
