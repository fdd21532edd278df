"""Retries, waits, halving and broken responses (``docs/reference/guarantees.md#retries``)."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING

from masivo import MasivoError, MasivoNetworkError
from masivo.emulator import Fault
from masivo.protocol import (
    BatchSent,
    BatchSettled,
    ClientReleased,
    FlushEnded,
    ResponseReceived,
    RetryScheduled,
    TokenGranted,
)
from masivo.testing.conformance.client import event
from masivo.testing.conformance.clock import WALL
from masivo.testing.conformance.scenario import scenario
from masivo.testing.conformance.server import CLIENT_KEY, HELD

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.emulator import Json
    from masivo.protocol import Activity
    from masivo.testing.conformance.run import Run


@scenario("retried-failures")
def retryable_statuses(run: Run) -> None:
    """408, 429, 500, 502, 503 and 504 are retried, with the same ``Idempotency-Key`` and body,
    after a random wait of up to 0.5 s."""
    client = run.client(batch_size=1)
    for number, status in enumerate((408, 429, 500, 502, 503, 504)):
        run.respond(Fault(status=status))
        sent = client.send_numbers(number)
        run.pending(sent)
        run.advance(0.5)
        run.delivered(sent)
        first, second = run.server.batches[-2:]
        run.equal(first.key, second.key, "idempotency key")
        run.equal(first.record.body, second.record.body, "body")
        run.check(first.at < second.at, "retried without a wait")
    run.equal(client.stats().retries, 6, "retries")


@scenario("at-least-once")
def lost_response_is_retried(run: Run) -> None:
    """A batch whose response is lost is sent again with the same ``Idempotency-Key``: at least
    once."""
    client = run.client(batch_size=1)
    run.respond(
        Fault.lost_response(), Fault(close=True), Fault.garbage(), Fault(truncate_headers=10)
    )
    client.send_numbers(1)
    run.advance(0.5 + 1 + 2 + 4)
    run.delivered(client.events)
    run.equal([each.key for each in run.server.batches], [1] * 5, "idempotency keys")
    run.equal(run.server.emulator.event_count, 3, "accepted by the API")


@scenario("retried-failures")
def unreachable_server_is_retried(run: Run) -> None:
    """A connection that fails is retried like a lost response."""
    client = run.client(batch_size=1, max_retries=2)
    client.get_token().result()
    run.server.emulator.stop()
    client.send_numbers(1)
    run.pending(client.events)
    run.advance(0.5)
    run.pending(client.events)
    run.server.emulator.start()
    run.advance(1)
    run.delivered(client.events)
    run.equal(client.stats().retries, 2, "retries")
    run.sent([1])


@scenario("backoff")
def backoff_doubles_up_to_the_last_retry(run: Run) -> None:
    """After ``max_retries`` retries the batch fails with the last error; the bound of each wait is
    twice that of the one before."""
    client = run.client(batch_size=2, max_retries=3)
    run.respond(Fault(status=500), Fault(status=502), Fault(close=True), Fault(status=504))
    client.send_numbers(1, 2)
    run.advance(0.5 + 1 + 2)
    run.failed(client.events, MasivoError, status=504)
    times = [each.at for each in run.server.batches]
    run.equal(len(times), 4, "requests")
    for bound, earlier, later in zip((0.5, 1, 2), times, times[1:], strict=False):
        run.check(0 < later - earlier <= bound, f"a wait not up to {bound} s")
    client.failures_are(1, 2)


@scenario("backoff")
def next_batch_continues_the_backoff(run: Run) -> None:
    """While the last response was a failure, the next batch waits too before it is first sent."""
    client = run.client(batch_size=1, max_retries=0)
    run.respond(Fault(status=503))
    run.failed(client.send_numbers(1), MasivoError, status=503)
    second = client.send_numbers(2)
    run.sent([1])
    run.pending(second)
    run.advance(0.5)
    run.sent([1], [2])
    run.delivered(second)


@scenario("no-retries")
def no_retries_means_none(run: Run) -> None:
    """With ``max_retries=0`` no batch is retried."""
    client = run.client(batch_size=1, max_retries=0)
    run.respond(Fault(status=503), Fault.lost_response())
    run.failed(client.send_numbers(1), MasivoError, status=503)
    second = client.send_numbers(2)
    run.advance(0.5)
    run.failed(second, MasivoNetworkError)
    run.advance(60)
    run.sent([1], [2])


@scenario("timeout-of-a-request")
def request_is_bounded_by_its_timeout(run: Run) -> None:
    """A request without a response within ``timeout`` is a MasivoNetworkError."""
    client = run.client(batch_size=1, max_retries=0, timeout=0.5)
    client.get_token().result()
    run.hold()
    client.send_numbers(1)
    run.time_out()
    run.failed(client.events, MasivoNetworkError)
    run.sent([1])


@scenario("retry-after")
def retry_after_in_seconds(run: Run) -> None:
    """``Retry-After`` holds every request of the key: other batches, other clients."""
    client = run.client(batch_size=1)
    other = run.client(batch_size=1)
    client.get_token().result()
    run.respond(Fault.rate_limited(retry_after=7))
    client.send_numbers(1)
    other.send_numbers(2)
    run.advance(6.5)
    run.sent([1])
    run.advance(1)
    run.sent([1], [1], [2])
    run.equal(run.batch(1).at, 7.0, "sent at")
    run.delivered([*client.events, *other.events])


@scenario("retry-after")
def retry_after_as_a_date(run: Run) -> None:
    """``Retry-After`` may be a date, compared with the server's clock."""
    client = run.client(batch_size=1, refresh_interval=None)
    when = formatdate(WALL + 20, usegmt=True)
    run.respond(Fault(status=503, headers={"Retry-After": when}))
    client.send_numbers(1)
    run.advance(300)
    run.equal([each.at for each in run.server.batches], [0.0, 20.0], "sent at")
    run.delivered(client.events)


@scenario("long-retry-after")
def retry_after_too_long(run: Run) -> None:
    """With a ``Retry-After`` above 300 s, batches fail at once with that error until it has
    passed."""
    client = run.client(batch_size=1, refresh_interval=None)
    run.respond(Fault.unavailable(retry_after=301))
    run.failed(client.send_numbers(1), MasivoError, status=503)
    run.advance(300)
    run.failed(client.send_numbers(2), MasivoError, status=503)
    run.sent([1])
    run.advance(1)
    late = client.send_numbers(3)
    run.advance(0.5)
    run.delivered(late)
    run.sent([1], [3])


@scenario("other-statuses")
def other_statuses_fail_at_once(run: Run) -> None:
    """Any other error status fails the batch at once; the error has what the API said."""
    client = run.client(batch_size=2)
    for number, status in enumerate((403, 404, 409, 418, 501)):
        run.respond(Fault(status=status, body={"error": "No", "details": f"because of {number}"}))
        sent = client.send_numbers(2 * number, 2 * number + 1)
        run.failed(sent, MasivoError, status=status)
        run.equal(sent[0].error().details, f"because of {number}", "details")
    run.equal(len(run.server.batches), 5, "requests")


@scenario("attributes-of-an-error")
def errors_say_what_the_api_said(run: Run) -> None:
    """The message comes from the body's ``error``, else its ``message``, else it is ours; the
    details from its ``details``, else the body, else its text."""
    client = run.client(batch_size=1)
    said: list[tuple[Fault, str | None, object]] = [
        (Fault(status=403, body={"error": "E", "message": "M", "details": "D"}), "E", "D"),
        (Fault(status=403, body={"message": "M", "code": 5}), "M", {"message": "M", "code": 5}),
        (Fault(status=403, body={"code": 5}), None, {"code": 5}),
        (Fault(status=403, body="plain text"), None, "plain text"),
        (Fault(status=403, body=b""), None, None),
    ]
    for number, (fault, message, details) in enumerate(said):
        run.respond(fault)
        (sent,) = client.send_numbers(number)
        error = sent.error()
        run.check(error.message, "an error without a message")
        run.check(message is None or error.message == message, f"message: {error.message!r}")
        run.equal(error.details, details, "details")


@scenario("hidden-secrets")
def secrets_are_not_shown(run: Run) -> None:
    """No error shows the API key or the token, though the API may echo them."""
    client = run.client(batch_size=1)
    token = client.get_token().result()
    echo = {"error": f"bad key {CLIENT_KEY} or token {token}", "details": [token]}
    run.respond(Fault(status=403, body=echo), Fault(status=500, body=echo))
    shown = [client.send_numbers(1)[0].error()]
    client.send_numbers(2)
    client.close(10).result()
    run.respond(Fault(status=401, body={"error": f"bad key {CLIENT_KEY}"}), route="authorize")
    again = run.client()
    shown.append(again.send_numbers(3)[0].error())
    for error in shown:
        text = f"{error!r} {error} {error.details!r}"
        run.check("bad key" in text, "what the API said is lost")
        run.check(CLIENT_KEY not in text, "an error shows the API key")
    run.check(token not in f"{shown[0]!r} {shown[0].details!r}", "an error shows the token")


@scenario("destination-of-secrets")
def redirect_is_not_followed(run: Run) -> None:
    """A redirect is an error; nothing is sent to the address that it names."""
    client = run.client(batch_size=1)
    for number, status in enumerate((301, 302, 307, 308)):
        run.respond(Fault(status=status, headers={"Location": "/elsewhere"}))
        run.failed(client.send_numbers(number), MasivoError, status=status)
    run.sent([0], [1], [2], [3])


@scenario("success-is-final")
def response_without_a_body_is_a_success(run: Run) -> None:
    """A 2xx without a body is a success, with ``data=None``."""
    client = run.client(batch_size=1)
    run.respond(Fault(status=204), Fault(status=201, body={"message": "taken"}))
    run.delivered(client.send_numbers(1), status=204)
    run.delivered(client.send_numbers(2), status=201)
    run.equal([each.result().data for each in client.events], [None, {"message": "taken"}], "data")


@scenario("success-is-final")
def success_that_is_not_json_is_an_error(run: Run) -> None:
    """A complete 2xx that is not JSON is a MasivoError; the batch is not sent again."""
    client = run.client(batch_size=1)
    run.respond(Fault.html())
    run.failed(client.send_numbers(1), MasivoError, status=200)
    run.check("base_url" in client.events[0].error().message, "the message names no cure")
    run.advance(60)
    run.sent([1])


@scenario("success-is-final")
def broken_success_is_not_retried(run: Run) -> None:
    """A 2xx that is cut off, or larger than 1 MiB, is a MasivoNetworkError with the status: the
    batch may have been accepted, and is never sent again."""
    client = run.client(batch_size=1)
    broken = Fault(truncate=5), Fault(size=2**20 + 1), Fault(content_length=1000)
    run.respond(*broken)
    for number in range(len(broken)):
        sent = client.send_numbers(number)
        run.failed(sent, MasivoNetworkError, status=200)
        run.check("may have been accepted" in sent[0].error().message, "no word of doubt")
        run.advance(60)
    run.sent([0], [1], [2])
    run.respond(Fault(size=2**20))
    run.delivered(client.send_numbers(9))


@scenario("size-of-a-response")
def broken_response_is_retried(run: Run) -> None:
    """A malformed response that is no 2xx is a network failure, and is retried."""
    client = run.client(batch_size=1)
    run.respond(Fault(status=400, truncate=3), Fault(status=404, size=2**20 + 1))
    client.send_numbers(1)
    run.advance(0.5 + 1)
    run.delivered(client.events)
    run.equal([each.key for each in run.server.batches], [1, 1, 1], "idempotency keys")


@scenario("rejected-batches")
def rejected_batch_is_halved(run: Run) -> None:
    """A batch rejected with 422 is halved, in order, until only the events at fault fail."""
    client = run.client(batch_size=8)
    run.server.emulator.reject = _bad({3, 6})
    client.send_numbers(*range(8))
    run.sent(
        [0, 1, 2, 3, 4, 5, 6, 7],
        *([0, 1, 2, 3], [0, 1], [2, 3], [2], [3]),
        *([4, 5, 6, 7], [4, 5], [6, 7], [6], [7]),
    )
    run.equal([each.key for each in run.server.batches], list(range(1, 12)), "idempotency keys")
    bad = [each for each in client.events if each.number in (3, 6)]
    run.failed(bad, MasivoError, status=422)
    run.delivered([each for each in client.events if each not in bad])
    client.failures_are(3, 6)


@scenario("rejected-batches")
def halving_follows_400_and_413(run: Run) -> None:
    """A batch rejected with 400 or 413 is halved too; a part that must be retried is retried in its
    turn."""
    client = run.client(batch_size=2)
    run.respond(Fault(status=400), None, Fault(status=413))
    client.send_numbers(1, 2)
    run.sent([1, 2], [1], [2])
    run.failed(client.events[1:], MasivoError, status=413)
    run.delivered(client.events[:1])
    run.respond(Fault(status=413), Fault(status=503))
    client.send_numbers(3, 4)
    run.advance(0.5)
    run.sent([1, 2], [1], [2], [3, 4], [3], [3], [4])
    run.delivered(client.events[2:])


@scenario("rejected-batches")
def no_event_fails_for_anothers_fault(run: Run) -> None:
    """Of 24 bad events and 16 good ones in one batch, the bad ones fail and the good ones arrive,
    with at most 2 n - 1 requests."""
    client = run.client(batch_size=40)
    run.server.emulator.reject = _bad(set(range(24)))
    client.send_numbers(*range(40))
    run.failed(client.events[:24], MasivoError, status=422)
    run.delivered(client.events[24:])
    run.check(len(run.server.batches) <= 79, "more than 2 n - 1 requests")
    client.failures_are(*range(24))


@scenario("rejected-batches", "parallel")
def batches_in_flight_are_halved_beside_each_other(run: Run) -> None:
    """With several batches in flight, each is halved independently, and the order of a customer is
    kept."""
    client = run.client(batch_size=4, max_in_flight=2)
    run.server.emulator.reject = _bad({1, 2, 3, 13})
    run.always(HELD)
    client.send(*(event(n, "a") for n in range(4)), *(event(n, "b") for n in range(10, 14)))
    client.send(*(event(n, "a") for n in range(4, 8)))
    while run.server.held:
        run.release()
    bad = [each for each in client.events if each.number in (1, 2, 3, 13)]
    run.failed(bad, MasivoError, status=422)
    good = [each for each in client.events if each not in bad]
    run.delivered(good)
    arrived = [each.get("n") for each in run.server.emulator.events if each["customer_id"] == "a"]
    run.equal(arrived, [0, 4, 5, 6, 7], "accepted events of one customer")


@scenario("everything-rejected")
def everything_rejected_is_sent_alone(run: Run) -> None:
    """After two batches in a row of which every event was rejected, events are sent alone until one
    is accepted; one warning says that everything is rejected, and to check ``api``."""
    client = run.client(batch_size=4)
    run.server.emulator.reject = _bad(set(range(14)))
    client.send_numbers(*range(8))
    run.equal(len(run.server.batches), 14, "requests of two halved batches")
    client.send_numbers(*range(8, 12))
    run.until(lambda: run.warnings, "no warning")
    client.send_numbers(*range(12, 16))
    client.send_numbers(*range(16, 20))
    run.equal(
        [list(each.numbers) for each in run.server.batches[14:]],
        [[8], [9], [10], [11], [12], [13], [14], [15], [16, 17, 18, 19]],
        "batches",
    )
    run.failed(client.events[:14], MasivoError, status=422)
    run.delivered(client.events[14:])
    run.equal(["check api" in each for each in run.warnings], [True], "warnings")


@scenario("rejected-batches")
def halving_can_be_turned_off(run: Run) -> None:
    """With ``isolate_rejected=False`` the whole batch takes its outcome from the response."""
    client = run.client(batch_size=4, isolate_rejected=False)
    run.server.emulator.reject = _bad({3})
    client.send_numbers(1, 2, 3, 4)
    run.sent([1, 2, 3, 4])
    run.failed(client.events, MasivoError, status=422)


@scenario("on_error")
def on_error_is_called_for_each_failure(run: Run) -> None:
    """``on_error`` is called once for each accepted event that failed, with the event as it was
    sent and the error; what it raises is logged and harms nothing."""
    client = run.client(batch_size=2)
    run.respond(Fault(status=403))
    client.send_numbers(1, 2)
    client.failures_are(1, 2)
    run.equal([each.event for each in client.failures], run.batch(0).events, "events")
    run.delivered(client.send_numbers(3, 4))
    client.failures_are(1, 2)
    for failure in client.failures:
        run.equal((type(failure.error), failure.error.status), (MasivoError, 403), "error")
        run.check(not failure.error.retryable, "a 403 is no reason to send again")

    def raises(_failure: object) -> None:
        raise RuntimeError("of the caller's")

    broken = run.client(batch_size=1, on_error=raises)
    run.respond(Fault(status=403))
    run.failed(broken.send_numbers(5), MasivoError, status=403)
    run.delivered(broken.send_numbers(6))
    run.until(lambda: run.warnings, "what on_error raised is not logged")


@scenario("on_activity")
def on_activity_is_told_what_the_client_does(run: Run) -> None:
    """``on_activity`` is called in order with what the client does; what it raises is logged and
    harms nothing."""
    told: list[Activity] = []

    def on_activity(activity: Activity) -> None:
        told.append(activity)
        if isinstance(activity, RetryScheduled):
            raise ZeroDivisionError

    client = run.client(batch_size=2, on_activity=on_activity)
    run.respond(Fault(status=503))
    client.send_numbers(1, 2)
    run.advance(1)
    run.delivered(client.events)
    client.close().result()
    run.until(lambda: run.warnings, "what on_activity raised is not logged")
    kinds = (BatchSent, ResponseReceived, RetryScheduled, TokenGranted, BatchSettled, FlushEnded)
    seen = [type(each).__name__ for each in told if isinstance(each, (*kinds, ClientReleased))]
    sent = ["BatchSent", "ResponseReceived"]
    granted = ["ResponseReceived", "TokenGranted"]
    ended = ["BatchSettled", "ClientReleased"]
    run.equal(seen, [*granted, *sent, "RetryScheduled", *sent, *ended], "activity")
    times = [each.at for each in told]
    run.check(times == sorted(times), "the activity is out of order")


def _bad(numbers: set[int]) -> Callable[[dict[str, Json]], str | None]:
    return lambda event: "bad" if event.get("n") in numbers else None
