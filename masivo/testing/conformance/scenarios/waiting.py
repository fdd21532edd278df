"""What callers wait for, and how clients end (contract, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo import FlushResult, MasivoClosedError, MasivoError, MasivoNetworkError
from masivo.emulator import Fault
from masivo.testing.conformance.client import event
from masivo.testing.conformance.scenario import scenario

if TYPE_CHECKING:
    from masivo.testing.conformance.run import Run


@scenario("3")
def outcome_wakes_those_who_wait(run: Run) -> None:
    """Any number may wait for a delivery, before and after its outcome; each gets an error of its
    own."""
    client = run.client(batch_size=2)
    run.answer(Fault(status=403))
    (first,) = client.send_numbers(1)
    waits = [first.wait(), first.wait()]
    run.check(all(wait.pending for wait in waits), "a wait ended without an outcome")
    client.send_numbers(2)
    errors = [wait.raises(MasivoError) for wait in [*waits, first.wait()]]
    run.equal([error.status for error in errors], [403, 403, 403], "statuses")
    run.equal(len({id(error) for error in errors}), 3, "errors")


@scenario("3")
def flush_waits_for_what_is_in_flight(run: Run) -> None:
    """``flush`` waits for batches on their way too, and failures do not raise."""
    client = run.client(batch_size=2)
    run.hold()
    client.send_numbers(1, 2, 3)
    flush = client.flush()
    client.send_numbers(4)
    run.check(flush.pending, "flush did not wait")
    run.answer(Fault(status=403))
    run.release()
    run.equal(flush.result(), FlushResult(2, 1), "flush")
    run.equal(client.flush().result(), FlushResult(0, 1), "the next flush")


@scenario("3")
def flush_has_a_timeout(run: Run) -> None:
    """A flush that runs out of time raises TimeoutError; the events stay on their way, and
    the next flush tells of them."""
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


@scenario("6")
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


@scenario("6")
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


@scenario("3", "background")
def token_is_given_while_a_batch_is_out(run: Run) -> None:
    """``get_token`` gives the token that is there at once, whatever is in flight."""
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


@scenario("3", "background")
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


@scenario("3")
def close_delivers_what_waits(run: Run) -> None:
    """``close`` flushes; afterwards every use is a MasivoClosedError, and closing does nothing."""
    client = run.client()
    client.send_numbers(1, 2)
    client.close().result()
    run.delivered(client.events)
    run.sent([1, 2])
    run.equal(run.batch(0).at, 0.0, "sent at")
    client.refuses(MasivoClosedError, event(3))
    client.flush().raises(MasivoClosedError)
    client.drain().raises(MasivoClosedError)
    client.get_token().raises(MasivoClosedError)
    client.close().result()
    client.destroy()
    run.advance(1000)
    run.authorizations(1)


@scenario("3", "background")
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


@scenario("3")
def close_cuts_a_retry_after_short(run: Run) -> None:
    """A ``close`` with a deadline does not sit out a ``Retry-After``: there is one last try."""
    client = run.client(batch_size=1)
    run.answer(Fault.unavailable(retry_after=60))
    client.send_numbers(1)
    run.advance(1)
    client.close(10).result()
    run.delivered(client.events)
    run.equal([each.at for each in run.server.batches], [0.0, 1.0], "sent at")


@scenario("3")
def last_try_is_the_last(run: Run) -> None:
    """The last try of a ``close`` is not repeated, though there is time and retries are left."""
    client = run.client(batch_size=1)
    run.answer(Fault.unavailable(retry_after=60), Fault(status=502))
    client.send_numbers(1)
    client.close(10).result()
    run.failed(client.events, MasivoError, status=502)
    run.sent([1], [1])
    client.failures_are(1)


@scenario("3")
def close_without_a_limit_waits(run: Run) -> None:
    """``close(None)`` waits as long as the repeats take, a ``Retry-After`` included."""
    client = run.client(batch_size=1, refresh_interval=None)
    run.answer(Fault.unavailable(retry_after=200), Fault(status=500))
    client.send_numbers(1)
    call = client.close(None)
    run.advance(199)
    run.check(call.pending, "the close did not wait")
    run.advance(3)
    call.result()
    run.delivered(client.events)
    run.sent([1], [1], [1])


@scenario("3", "background")
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


@scenario("3")
def close_with_no_time_ends_at_once(run: Run) -> None:
    """``close(0)`` waits for nothing; no event is left without an outcome."""
    client = run.client()
    client.send_numbers(1)
    client.close(0).result()
    run.failed(client.events, MasivoClosedError)
    run.sent()


@scenario("3")
def destroy_sends_nothing(run: Run) -> None:
    """``destroy`` ends what waits with MasivoClosedError, at once."""
    client = run.client()
    client.get_token().result()
    client.send_numbers(1, 2)
    flush_free = client.stats().queued
    run.equal(flush_free, 2, "queued")
    client.destroy()
    run.failed(client.events, MasivoClosedError)
    client.refuses(MasivoClosedError, event(3))
    client.close().result()
    run.advance(1000)
    run.sent()
    run.authorizations(1)
    client.failures_are(1, 2)


@scenario("3", "background")
def destroy_ends_what_is_in_flight(run: Run) -> None:
    """An event whose request is out ends with ``destroy`` too; the answer comes too late."""
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


@scenario("3")
def destroy_ends_calls(run: Run) -> None:
    """Whoever waits in ``get_token`` learns that the client was destroyed."""
    client = run.client(max_retries=1000)
    run.always(Fault(status=503), route="authorize")
    call = client.get_token()
    run.check(call.pending, "a token without an authorization")
    client.destroy()
    call.raises(MasivoClosedError)


@scenario("3")
def counters_tell_where_events_are(run: Run) -> None:
    """``stats`` tells what waits and what is in flight, between repeats too."""
    client = run.client(batch_size=2)
    run.answer(Fault(status=503))
    client.send_numbers(1, 2, 3)
    stats = client.stats()
    run.equal((stats.accepted, stats.queued, stats.in_flight), (3, 1, 2), "between repeats")
    run.advance(0.5)
    stats = client.stats()
    run.equal((stats.delivered, stats.queued, stats.in_flight), (2, 1, 0), "afterwards")
    run.equal((stats.requests, stats.retries, stats.authorizations), (2, 1, 1), "requests")


@scenario("3")
def failure_that_nobody_asks_for_is_logged(run: Run) -> None:
    """A failure that nobody asks for is logged as one warning, with no event content."""
    client = run.client(batch_size=3)
    run.answer(Fault(status=403, body={"error": "the event of customer c is bad"}))
    client.send_and_forget(1, 2, 3)
    run.advance(600)
    run.until(lambda: run.warnings, "no warning")
    run.equal(len(run.warnings), 1, "warnings")
    run.check("3 events" in run.warnings[0] and "403" in run.warnings[0], "the warning")
    run.check("customer c" not in run.warnings[0], "the warning shows what the API said")
    client.failures_are(1, 2, 3)


@scenario("6")
def network_failure_at_close(run: Run) -> None:
    """A close that finds no network ends in time, with an outcome for every event."""
    client = run.client(max_retries=1)
    client.get_token().result()
    run.server.emulator.stop()
    client.send_numbers(1, 2)
    call = client.close(10)
    run.advance(10)
    call.result()
    run.failed(client.events, MasivoNetworkError)
