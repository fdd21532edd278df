"""Waiting callers, and the end of a client
(``docs/reference/guarantees.md#closing-and-exit``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo import (
    FlushResult,
    MasivoClosedError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
)
from masivo.emulator import Fault
from masivo.testing.conformance.client import event
from masivo.testing.conformance.scenario import scenario

if TYPE_CHECKING:
    from masivo import FailedEvent
    from masivo.testing.conformance.run import Run


@scenario("deliveries")
def outcome_wakes_its_waiters(run: Run) -> None:
    """Any number of callers may wait for a delivery, before and after its outcome; each gets an
    error of its own."""
    client = run.client(batch_size=2)
    run.respond(Fault(status=403))
    (first,) = client.send_numbers(1)
    waits = [first.wait(), first.wait()]
    run.check(all(wait.pending for wait in waits), "a wait ended without an outcome")
    client.send_numbers(2)
    errors = [wait.raises(MasivoError) for wait in [*waits, first.wait()]]
    run.equal([error.status for error in errors], [403, 403, 403], "statuses")
    run.equal(len({id(error) for error in errors}), 3, "errors")


@scenario("checked-settings")
def timeout_of_a_call_is_checked(run: Run) -> None:
    """A call with a ``timeout`` below 0 raises a MasivoConfigError, and the client works on."""
    client = run.client(batch_size=1)
    run.delivered(client.send_numbers(1))
    for call in (client.flush, client.drain, client.get_token, client.close):
        call(-1).raises(MasivoConfigError)
    run.delivered(client.send_numbers(2))


@scenario("awaited-outcomes")
def waiting_sends_what_is_buffered(run: Run) -> None:
    """``await_linger`` seconds after a caller began to wait for a buffered event, everything in the
    buffer is sent, later events included; events after that wait for their own trigger."""
    client = run.client(await_linger=0.25)
    client.send_numbers(1, 2)
    run.advance(5)
    wait = client.events[0].wait()
    client.send_numbers(3)
    run.advance(0.125)
    run.check(wait.pending, "a wait ended too early")
    run.sent()
    run.advance(0.125)
    run.equal(wait.result().status, 200, "the awaited event")
    client.send_numbers(4)
    run.advance(29)
    run.sent([1, 2, 3])
    run.equal(run.batch(0).at, 5.25, "sent at")


@scenario("awaited-outcomes")
def those_that_wait_share_a_batch(run: Run) -> None:
    """Several waits share a batch, which is sent at the time of the first."""
    client = run.client(await_linger=0.25)
    client.send_numbers(1, 2, 3)
    waits = [client.events[2].wait()]
    run.advance(0.125)
    waits += [client.events[0].wait(), client.events[1].wait(), client.events[1].wait()]
    run.advance(0.125)
    for wait in waits:
        wait.result()
    run.advance(29)
    run.sent([1, 2, 3])
    run.equal(run.batch(0).at, 0.25, "sent at")


@scenario("awaited-outcomes")
def caller_that_gave_up_changes_nothing(run: Run) -> None:
    """A caller that gives up within ``await_linger`` sends nothing; a caller that began to wait
    later then counts."""
    client = run.client(await_linger=0.25)
    client.send_numbers(1, 2)
    hasty = client.events[0].wait(0.125)
    run.advance(0.0625)
    patient = client.events[0].wait()
    run.advance(0.0625)
    hasty.raises(TimeoutError)
    run.advance(0.125)
    run.sent()
    run.advance(0.0625)
    patient.result()
    run.sent([1, 2])
    run.equal(run.batch(0).at, 0.3125, "sent at")
    client.send_numbers(3)
    client.events[2].wait(0).raises(TimeoutError)
    run.advance(29)
    run.sent([1, 2])


@scenario("awaited-outcomes")
def wait_for_an_event_in_flight_sends_nothing(run: Run) -> None:
    """A caller that waits for an event in flight sends nothing else."""
    client = run.client(batch_size=2, await_linger=0.25)
    run.respond(Fault.unavailable(retry_after=5))
    client.send_numbers(1, 2, 3)
    wait = client.events[0].wait()
    run.advance(6)
    wait.result()
    run.sent([1, 2], [1, 2])
    run.pending(client.events[2:])


@scenario("awaited-outcomes")
def without_await_linger_waiting_changes_nothing(run: Run) -> None:
    """With ``await_linger=None`` waiting triggers nothing; the other triggers apply."""
    client = run.client(await_linger=None)
    client.send_numbers(1)
    wait = client.events[0].wait()
    run.advance(29)
    run.check(wait.pending, "a wait ended too early")
    run.sent()
    run.advance(1)
    wait.result()
    run.equal(run.batch(0).at, 30.0, "sent at")


@scenario("flush")
def flush_waits_for_what_is_in_flight(run: Run) -> None:
    """``flush`` waits for batches in flight too, and does not raise for failures."""
    client = run.client(batch_size=2)
    run.hold()
    client.send_numbers(1, 2, 3)
    flush = client.flush()
    client.send_numbers(4)
    run.check(flush.pending, "flush did not wait")
    run.respond(Fault(status=403))
    run.release()
    run.equal(flush.result(), FlushResult(2, 1), "flush")
    run.equal(client.flush().result(), FlushResult(0, 1), "the next flush")


@scenario("flush")
def flush_has_a_timeout(run: Run) -> None:
    """A flush that runs out of time raises TimeoutError; the events stay pending, and the next
    flush counts them."""
    client = run.client()
    run.hold()
    client.send_numbers(1)
    flush = client.flush(5)
    run.advance(4.5)
    run.check(flush.pending, "the flush ended too early")
    run.advance(0.5)
    flush.raises(TimeoutError)
    run.pending(client.events)
    run.release()
    run.delivered(client.events)
    run.equal(client.flush().result(), FlushResult(1, 0), "the next flush")


@scenario("drain")
def drain_has_a_timeout(run: Run) -> None:
    """A drain without room in time raises TimeoutError."""
    client = run.client(max_queue=2)
    run.hold()
    client.send_numbers(1, 2)
    drain = client.drain(5)
    run.advance(5)
    drain.raises(TimeoutError)
    run.release()
    client.drain(5).result()
    run.delivered(client.events)


@scenario("drain")
def drain_that_gave_up_sends_nothing(run: Run) -> None:
    """After a drain has run out of time, only the other triggers apply to buffered events."""
    client = run.client(max_queue=4, batch_size=4)
    run.hold()
    client.send_numbers(1)
    flush = client.flush()
    client.send_numbers(2, 3, 4)
    drain = client.drain(5)
    run.advance(5)
    drain.raises(TimeoutError)
    run.release()
    flush.result()
    run.sent([1])
    run.advance(30)
    run.sent([1], [2, 3, 4])


@scenario("drain")
def producer_that_drains_loses_nothing(run: Run) -> None:
    """With ``drain`` before each event a small buffer takes any number of them, in order."""
    client = run.client(max_queue=4, batch_size=2)
    for number in range(20):
        client.drain().result()
        client.send_numbers(number)
    client.flush().result()
    run.delivered(client.events)
    sent = [number for each in run.server.batches for number in each.numbers]
    run.equal(sent, list(range(20)), "order")


@scenario("token-for-callers", "background")
def token_is_returned_while_a_batch_is_in_flight(run: Run) -> None:
    """``get_token`` returns the current token at once, whatever is in flight."""
    client = run.client(batch_size=1)
    token = client.get_token().result()
    run.hold()
    client.send_numbers(1)
    call = client.get_token()
    if run.background:
        run.equal(call.result() == token, True, "the same token")
    run.release()
    run.equal(call.result() == token, True, "the same token")
    run.authorizations(1)


@scenario("token-for-callers", "background")
def get_token_has_a_timeout(run: Run) -> None:
    """``get_token`` without a token in time raises TimeoutError, and the next one gets it."""
    client = run.client()
    run.hold(route="authorize")
    call = client.get_token(5)
    run.advance(5)
    if run.background:
        call.raises(TimeoutError)
    run.release()
    client.get_token().result()
    run.authorizations(1)


@scenario("close")
def close_delivers_what_is_buffered(run: Run) -> None:
    """``close`` flushes; afterwards every use is a MasivoClosedError, and closing does nothing."""
    client = run.client()
    client.send_numbers(1, 2)
    client.close().result()
    run.delivered(client.events)
    run.sent([1, 2])
    run.equal(run.batch(0).at, 0.0, "sent at")
    client.raises(MasivoClosedError, event(3))
    client.flush().raises(MasivoClosedError)
    client.drain().raises(MasivoClosedError)
    client.get_token().raises(MasivoClosedError)
    client.close().result()
    client.destroy()
    run.advance(1000)
    run.authorizations(1)


@scenario("deadline-of-a-close", "background")
def close_ends_at_its_deadline(run: Run) -> None:
    """The deadline of ``close`` counts a stuck request: its events end with MasivoClosedError."""
    client = run.client(batch_size=1)
    run.hold()
    client.send_numbers(1, 2)
    call = client.close(5)
    run.advance(4.5)
    run.pending(client.events)
    run.check(call.pending, "the close ended too early")
    run.advance(0.5)
    if run.background:
        run.failed(client.events, MasivoClosedError)
        call.result()
    run.release(Fault(close=True))
    run.failed(client.events, MasivoClosedError)
    call.result()
    run.sent([1])
    client.failures_are(1, 2)


@scenario("last-try")
def close_cuts_a_hold_short(run: Run) -> None:
    """A ``close`` with a deadline does not wait for a hold: there is one last try."""
    client = run.client(batch_size=1)
    run.respond(Fault.unavailable(retry_after=60))
    client.send_numbers(1)
    run.advance(1)
    client.close(10).result()
    run.delivered(client.events)
    run.equal([each.at for each in run.server.batches], [0.0, 1.0], "sent at")


@scenario("last-try")
def last_try_is_the_last(run: Run) -> None:
    """The last try of a ``close`` is not retried, though there is time and retries are left."""
    client = run.client(batch_size=1)
    run.respond(Fault.unavailable(retry_after=60), Fault(status=502))
    client.send_numbers(1)
    client.close(10).result()
    run.failed(client.events, MasivoError, status=502)
    run.sent([1], [1])
    client.failures_are(1)


@scenario("deadline-of-a-close")
def close_without_a_limit_waits(run: Run) -> None:
    """``close(None)`` waits as long as the retries take, a hold included."""
    client = run.client(batch_size=1, refresh_interval=None)
    run.respond(Fault.unavailable(retry_after=200), Fault(status=500))
    client.send_numbers(1)
    call = client.close(None)
    run.advance(199)
    run.check(call.pending, "the close did not wait")
    run.advance(3)
    call.result()
    run.delivered(client.events)
    run.sent([1], [1], [1])


@scenario("deadline-of-a-close", "background")
def earliest_deadline_of_a_close_counts(run: Run) -> None:
    """A second ``close`` with an earlier deadline ends both."""
    client = run.client(batch_size=1)
    run.hold()
    client.send_numbers(1)
    patient = client.close(None)
    run.advance(1)
    hasty = client.close(2)
    run.advance(1.5)
    run.check(patient.pending and hasty.pending, "a close ended too early")
    run.advance(0.5)
    if run.background:
        hasty.result()
        patient.result()
    run.release(Fault(close=True))
    hasty.result()
    patient.result()
    run.failed(client.events, MasivoClosedError)


@scenario("deadline-of-a-close")
def close_with_no_time_ends_at_once(run: Run) -> None:
    """``close(0)`` waits for nothing; no event is left without an outcome."""
    client = run.client()
    client.send_numbers(1)
    client.close(0).result()
    run.failed(client.events, MasivoClosedError)
    run.sent()


@scenario("destroy")
def destroy_sends_nothing(run: Run) -> None:
    """``destroy`` fails buffered events with MasivoClosedError, at once."""
    client = run.client()
    client.get_token().result()
    client.send_numbers(1, 2)
    run.equal(client.stats().queued, 2, "queued")
    client.destroy()
    run.failed(client.events, MasivoClosedError)
    client.raises(MasivoClosedError, event(3))
    client.close().result()
    run.advance(1000)
    run.sent()
    run.authorizations(1)
    client.failures_are(1, 2)


@scenario("destroy", "background")
def destroy_ends_what_is_in_flight(run: Run) -> None:
    """``destroy`` fails an event in flight too; the response comes too late."""
    client = run.client(batch_size=1)
    run.hold()
    client.send_numbers(1, 2)
    flush = client.flush()
    client.destroy()
    if run.background:
        run.failed(client.events, MasivoClosedError)
        run.equal(flush.result(), FlushResult(0, 2), "flush")
    run.release(Fault(close=True))
    run.failed(client.events, MasivoClosedError)
    run.sent([1])


@scenario("destroy")
def destroy_ends_calls(run: Run) -> None:
    """A caller that waits in ``get_token`` gets an error when the client is destroyed."""
    client = run.client(max_retries=1000)
    run.always(Fault(status=503), route="authorize")
    call = client.get_token()
    run.check(call.pending, "a token without an authorization")
    client.destroy()
    call.raises(MasivoClosedError)


@scenario("counters")
def counters_show_where_events_are(run: Run) -> None:
    """``stats`` counts what is buffered and what is in flight, between retries too."""
    client = run.client(batch_size=2)
    run.respond(Fault(status=503))
    client.send_numbers(1, 2, 3)
    stats = client.stats()
    run.equal((stats.accepted, stats.queued, stats.in_flight), (3, 1, 2), "between retries")
    run.advance(0.5)
    stats = client.stats()
    run.equal((stats.delivered, stats.queued, stats.in_flight), (2, 1, 0), "afterwards")
    run.equal((stats.requests, stats.retries, stats.authorizations), (2, 1, 1), "requests")


@scenario("unclaimed-failures")
def unclaimed_failure_is_logged(run: Run) -> None:
    """Unclaimed failures are logged as one warning, with no event content."""
    client = run.client(batch_size=3, on_error=None)
    run.respond(Fault(status=403, body={"error": "the event of customer c is bad"}))
    client.send_and_forget(1, 2, 3)
    run.advance(600)
    run.until(lambda: run.warnings, "no warning")
    run.equal(len(run.warnings), 1, "warnings")
    run.check("3 events" in run.warnings[0] and "403" in run.warnings[0], "the warning")
    run.check("customer c" not in run.warnings[0], "the warning shows what the API said")


@scenario("unclaimed-failures")
def failure_that_on_error_took_is_claimed(run: Run) -> None:
    """A failure that ``on_error`` handled is not logged; one for which it raised is."""
    client = run.client(batch_size=3)
    run.respond(Fault(status=403))
    client.send_and_forget(1, 2, 3)
    client.failures_are(1, 2, 3)
    run.advance(600)
    run.equal(run.warnings, [], "warnings")

    def raises(failure: FailedEvent) -> None:
        if failure.event["n"] == 5:
            raise RuntimeError("of the caller's")

    broken = run.client(batch_size=3, on_error=raises)
    run.respond(Fault(status=403))
    broken.send_and_forget(4, 5, 6)
    run.advance(600)
    run.until(lambda: len(run.warnings) >= 2, "no warning")
    counted = [line for line in run.warnings if "1 event was not delivered" in line]
    run.equal((len(run.warnings), len(counted)), (2, 1), "warnings")


@scenario("deadline-of-a-close")
def close_without_a_network_ends_in_time(run: Run) -> None:
    """A close without a network ends in time, with an outcome for every event."""
    client = run.client(max_retries=1)
    client.get_token().result()
    run.server.emulator.stop()
    client.send_numbers(1, 2)
    call = client.close(10)
    run.advance(10)
    call.result()
    run.failed(client.events, MasivoNetworkError)
