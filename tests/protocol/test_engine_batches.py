"""The triggers of batches, and their form
(``docs/reference/guarantees.md#batches-and-triggers``; ``docs/explanation/wire.md#not-public``)."""

from __future__ import annotations

import pytest

from masivo._protocol.errors import MasivoValidationError
from masivo._protocol.events.form import size
from masivo._protocol.wire.requests import envelope_size
from masivo.protocol import Api, FlushResult, SendEventResult

from .requests import header, is_authorization, numbers, parsed, payload
from .simulator import BASE_URL, KEY, START, Driver, event, in_batch, result_of

# ── What is sent ─────────────────────────────────────────────────────────────────────────────


def test_a_batch_is_a_post_of_its_events_under_the_key_events() -> None:
    """A batch is ``POST {base}/behavior/events/bulk`` with the token, ``{"events": […]}``, an
    ``Idempotency-Key`` and the package's ``User-Agent``."""
    driver = Driver(timeout=7.0)
    request, _ = in_batch(driver, 1, 2)
    assert (request.method, request.url) == ("POST", f"{BASE_URL}/behavior/events/bulk")
    assert header(request, "authorization") == "Bearer token-number-1"
    assert header(request, "content-type") == "application/json"
    assert (header(request, "user-agent") or "").startswith("masivo-python/")
    assert len(header(request, "idempotency-key") or "") == 32
    assert request.timeout == 7.0
    body = parsed(request.body)
    assert isinstance(body, dict)
    assert list(body) == ["events"]


def test_the_key_and_the_token_go_to_their_own_places_only() -> None:
    """The API key goes to the authorize endpoint only; the token goes to batches only."""
    driver = Driver()
    in_batch(driver, 1)
    authorization, batch = driver.sent
    assert KEY not in repr(batch.headers) + batch.url + repr(batch.body)
    assert "token-number" not in repr(authorization.headers) + authorization.url


@pytest.mark.parametrize(
    ("events_key", "body"),
    [("events", b'{"events":[%b]}'), ("items", b'{"items":[%b]}'), (None, b"[%b]")],
)
def test_the_body_follows_events_key(events_key: str | None, body: bytes) -> None:
    """``Api.events_key`` names the key of the events; None makes the body the bare array."""
    driver = Driver(api=Api(events_key=events_key, stamp_issued_at=False))
    driver.send_numbers(1)
    driver.flush()
    driver.grant()
    one = b'{"type":"VIEW","customer_id":"c","brand_id":null,"n":1}'
    assert driver.batch().body == body % one


def test_the_paths_and_the_sdk_header_follow_api() -> None:
    """``Api.authorize_path``, ``events_path`` and ``sdk_header`` are used as they are."""
    api = Api(authorize_path="/a", events_path="/e", sdk_header="web")
    driver = Driver(api=api)
    driver.send_numbers(1)
    driver.flush()
    assert driver.authorization().url == f"{BASE_URL}/a"
    assert header(driver.authorization(), "x-masivo-sdk") == "web"
    driver.grant()
    assert driver.batch().url == f"{BASE_URL}/e"


def test_sdk_header_none_sends_no_such_header() -> None:
    """``Api.sdk_header=None``: the authorization carries no ``x-masivo-sdk``."""
    driver = Driver(api=Api(sdk_header=None))
    driver.send_numbers(1)
    assert header(driver.authorization(), "x-masivo-sdk") is None


def test_a_whole_batch_shares_one_result() -> None:
    """Every event of a batch gets success, the status and the whole body, parsed."""
    driver = Driver()
    _, deliveries = in_batch(driver, 1, 2, 3)
    driver.respond(201, {"data": {"id": 5}, "message": "ok"})
    result = SendEventResult(True, 201, {"data": {"id": 5}, "message": "ok"})
    assert [result_of(each) for each in deliveries] == [result] * 3
    assert all(each.done() for each in deliveries)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_without_a_body_is_a_success(status: int) -> None:
    """Any 2xx with an empty body delivers the batch, with ``data=None``."""
    driver = Driver()
    _, (delivery,) = in_batch(driver, 1)
    driver.respond(status, b"")
    assert result_of(delivery) == SendEventResult(True, status, None)


# ── When batches go ──────────────────────────────────────────────────────────────────────────


def test_nothing_is_sent_before_the_first_event() -> None:
    """A client that is only made asks for no request and no wake-up."""
    driver = Driver()
    driver.poll()
    driver.advance(1e6)
    assert driver.sent == []
    assert driver.wake_at is None


def test_a_batch_goes_when_batch_size_events_wait() -> None:
    """``batch_size`` waiting events go at once; one fewer waits."""
    driver = Driver(batch_size=3)
    driver.sign_in()
    driver.send_numbers(1, 2)
    assert driver.out == []
    driver.send_numbers(3)
    assert numbers(driver.batch()) == [1, 2, 3]


def test_a_sender_wakes_the_driver_at_the_first_event_and_at_the_last_of_a_batch() -> None:
    """``send`` calls ``wake`` when a poll is needed: for the first event that waits, and for the
    one that completes a batch; not for those between."""
    driver = Driver(batch_size=4)
    driver.sign_in()
    before = driver.wakes
    driver.buffer.send(event(1))
    assert driver.wakes == before + 1
    driver.poll()
    driver.buffer.send(event(2))
    driver.buffer.send(event(3))
    assert driver.wakes == before + 1
    driver.buffer.send(event(4))
    assert driver.wakes == before + 2


def test_events_go_when_no_new_one_came_for_idle_timeout() -> None:
    """Waiting events go exactly ``idle_timeout`` after the newest of them."""
    driver = Driver(idle_timeout=30.0, max_wait=1000.0, refresh_interval=None)
    driver.sign_in()
    driver.send_numbers(1)
    assert driver.wake_at == START + 30.0
    driver.advance(20.0)
    driver.send_numbers(2)
    assert driver.wake_at == START + 50.0
    driver.advance(29.75)
    assert driver.out == []
    driver.sleep()
    assert driver.now == START + 50.0
    assert numbers(driver.batch()) == [1, 2]


def test_an_event_that_woke_nobody_still_moves_the_idle_timeout() -> None:
    """The idle time counts from the newest event, polled for or not."""
    driver = Driver(idle_timeout=30.0, max_wait=1000.0, refresh_interval=None)
    driver.sign_in()
    driver.send_numbers(1)
    driver.now += 10.0
    driver.buffer.send(event(2))
    driver.now = START + 30.0
    driver.poll()
    assert driver.out == []
    assert driver.wake_at == START + 40.0


def test_events_go_when_the_oldest_has_waited_max_wait() -> None:
    """However many new ones come, the oldest event waits ``max_wait`` and no longer."""
    driver = Driver(idle_timeout=30.0, max_wait=60.0, refresh_interval=None)
    driver.sign_in()
    for number in range(3):
        driver.send_numbers(number)
        driver.advance(20.0)
        if number < 2:
            assert driver.out == []
    assert driver.now == START + 60.0
    assert numbers(driver.batch()) == [0, 1, 2]


def test_max_wait_counts_anew_for_what_came_later() -> None:
    """After a batch has gone, the next event's own age counts."""
    driver = Driver(idle_timeout=5.0, max_wait=5.0, refresh_interval=None)
    driver.sign_in()
    driver.send_numbers(1)
    driver.sleep()
    driver.now += 1.0
    driver.send_numbers(2)
    driver.now += 1.0
    driver.accept()
    assert driver.wake_at == START + 11.0


def _event_of(size: int, number: int = 0) -> dict[str, object]:
    base = event(number, note="")
    return base | {
        "note": "x"
        * (size - len(b'{"type":"VIEW","customer_id":"c","brand_id":null,"n":0,"note":""}'))
    }


def test_a_batch_goes_when_max_batch_bytes_would_be_passed() -> None:
    """A batch goes as soon as one more event does not fit ``max_batch_bytes``; its body is never
    longer, and the sender of that event wakes the driver."""
    envelope = len(b'{"events":[]}')
    size = 1000
    limit = envelope + 10 * size + 9  # ten events and their commas, to the byte
    driver = Driver(
        api=Api(stamp_issued_at=False), max_batch_bytes=limit, max_event_bytes=size, batch_size=99
    )
    driver.sign_in()
    driver.send(*(_event_of(size, number) for number in range(9)))
    driver.send(_event_of(size, 9))
    assert driver.out == []
    wakes = driver.wakes
    driver.buffer.send(_event_of(size, 9))
    assert driver.wakes == wakes + 1
    driver.poll()
    assert len(driver.batch().body) == limit
    assert len(payload(driver.batch())) == 10


@pytest.mark.parametrize(("spare", "together"), [(0, True), (1, True), (-1, False)])
def test_a_batch_fits_max_batch_bytes_to_the_byte(spare: int, together: bool) -> None:
    """Two events go together exactly if their body fits ``max_batch_bytes``."""
    limit = len(b'{"events":[]}') + 2 * 1000 + 1 + spare
    driver = Driver(
        api=Api(stamp_issued_at=False), max_batch_bytes=limit, max_event_bytes=1000, batch_size=2
    )
    driver.sign_in()
    driver.send(_event_of(1000, 1), _event_of(1000, 2))
    assert numbers(driver.batch()) == ([1, 2] if together else [1])


def test_commas_count_for_the_wake_up_at_max_batch_bytes() -> None:
    """Of many small events, the one that no longer fits the batch wakes the driver."""
    size = 100
    limit = len(b'{"events":[]}') + 300 * size + 299
    driver = Driver(
        api=Api(stamp_issued_at=False), max_batch_bytes=limit, max_event_bytes=size, batch_size=999
    )
    driver.sign_in()
    driver.send(_event_of(size))
    wakes = driver.wakes
    for _ in range(299):
        driver.buffer.send(_event_of(size))
    assert driver.wakes == wakes, "these fit"
    driver.buffer.send(_event_of(size))
    assert driver.wakes > wakes
    driver.poll()
    assert len(driver.batch().body) == limit


def test_a_full_buffer_goes_out() -> None:
    """When ``max_queue`` events are held, they go without waiting for anything else."""
    driver = Driver(batch_size=100, max_queue=3)
    driver.sign_in()
    driver.send_numbers(1, 2)
    assert driver.out == []
    wakes = driver.wakes
    driver.buffer.send(event(3))
    assert driver.wakes == wakes + 1
    driver.poll()
    assert numbers(driver.batch()) == [1, 2, 3]


def test_a_buffer_that_overflowed_for_an_events_size_goes_out() -> None:
    """When an event did not fit ``max_queue_bytes``, the buffer is full, and goes out."""
    driver = Driver(api=Api(stamp_issued_at=False), max_queue_bytes=2500)
    driver.sign_in()
    driver.send(_event_of(1000, 1), _event_of(1000, 2))
    assert driver.out == []
    wakes = driver.wakes
    driver.buffer.send(_event_of(1000, 3))
    assert driver.wakes == wakes + 1
    driver.poll()
    assert numbers(driver.batch()) == [1, 2]


def test_order_is_kept_from_batch_to_batch() -> None:
    """Events go in the order of their sending, one batch at a time, by default."""
    driver = Driver(batch_size=2)
    driver.sign_in()
    driver.send_numbers(*range(7))
    driver.flush()
    seen: list[int] = []
    while driver.out:
        seen += numbers(driver.batch())
        driver.accept()
    assert seen == list(range(7))


def test_later_events_wait_for_the_batch_on_its_way() -> None:
    """With ``max_in_flight=1`` a full batch waits for the response to the one before it."""
    driver = Driver(batch_size=2)
    driver.sign_in()
    driver.send_numbers(1, 2, 3, 4)
    assert numbers(driver.batch()) == [1, 2]
    driver.advance(9.0)
    assert numbers(driver.batch()) == [1, 2]
    driver.accept()
    assert numbers(driver.batch()) == [3, 4]


def test_the_batch_size_bounds_every_batch() -> None:
    """No batch holds more than ``batch_size`` events, however many wait."""
    driver = Driver(batch_size=10)
    driver.sign_in()
    driver.send_numbers(*range(95))
    driver.flush()
    sizes: list[int] = []
    while driver.out:
        sizes.append(len(payload(driver.batch())))
        driver.accept()
    assert sizes == [10] * 9 + [5]


def test_each_client_has_its_own_buffer() -> None:
    """Two clients of a key share the token, not the batches, the limits or the counters."""
    driver = Driver(timeout=10.0)
    other = driver.client(batch_size=1, timeout=3.0)
    driver.sign_in()
    driver.send_numbers(1)
    driver.send_numbers(2, buffer=other)
    assert numbers(driver.batch()) == [2]
    assert driver.batch().timeout == 3.0
    assert driver.buffer.stats().queued == 1
    assert other.stats().in_flight == 1


# ── stats ────────────────────────────────────────────────────────────────────────────────────


def test_stats_count_everything() -> None:
    """``stats`` counts accepted, delivered, failed, rejected, retries, requests, authorizations,
    queued and in_flight; what is accepted is always somewhere."""
    driver = Driver(batch_size=2, max_queue=4)
    driver.dice.always = 0.5
    driver.send_numbers(1, 2, 3, 4, 5)
    stats = driver.buffer.stats()
    assert (stats.accepted, stats.overflowed, stats.queued, stats.in_flight) == (4, 1, 4, 0)
    driver.grant()
    stats = driver.buffer.stats()
    assert (stats.queued, stats.in_flight, stats.requests, stats.authorizations) == (2, 2, 1, 1)
    driver.respond(503)
    stats = driver.buffer.stats()
    assert (stats.queued, stats.in_flight, stats.retries) == (2, 2, 1)
    driver.sleep()
    driver.accept()
    driver.respond(403)
    stats = driver.buffer.stats()
    assert (stats.delivered, stats.failed, stats.queued, stats.in_flight) == (2, 2, 0, 0)
    assert (stats.requests, stats.retries, stats.authorizations) == (3, 1, 1)


# ── disabled ─────────────────────────────────────────────────────────────────────────────────


def test_a_disabled_client_sends_nothing_and_ends_each_delivery_at_once() -> None:
    """``enabled=False``: nothing is ever sent; each delivery ends at once, without success."""
    driver = Driver(enabled=False, batch_size=1)
    delivery = driver.buffer.send(event(1))
    assert result_of(delivery) == SendEventResult(success=False, status=0, data=None)
    assert driver.buffer.flush().claim() == FlushResult(0, 0)
    assert driver.buffer.drain().claim() is True
    driver.advance(1e5)
    assert driver.sent == []
    driver.close(10.0)
    assert driver.closed


def test_the_first_event_authorizes_in_the_same_poll() -> None:
    """The first event authorizes at once, before any batch is due."""
    driver = Driver()
    driver.send_numbers(1)
    assert is_authorization(driver.only())
    assert driver.wake_at == START + 30.0


def test_an_invalid_event_is_not_accepted() -> None:
    """A MasivoValidationError comes from the call itself: nothing is counted, sent or fetched."""
    driver = Driver(on_error=lambda failure: None)
    with pytest.raises(MasivoValidationError):
        driver.buffer.send(event(type="PURCHASE"))
    driver.poll()
    assert driver.buffer.stats().accepted == 0
    assert driver.sent == []
    assert driver.failed == []


def test_a_batch_that_is_just_full_waits_for_one_event_more() -> None:
    """Events that fill ``max_batch_bytes`` to the byte are not due, and ask for no poll; the
    next one wakes the driver."""
    length = size(Driver().buffer.send(event(1)).encoded)
    most = 2 * length + 1 + envelope_size(Api())
    driver = Driver(max_batch_bytes=most, max_event_bytes=most)
    driver.sign_in()
    driver.send_numbers(1, 2)
    assert driver.out == []
    wakes = driver.wakes
    driver.send_numbers(3)
    assert driver.wakes > wakes
    assert len(driver.batch().body) == most
    assert numbers(driver.batch()) == [1, 2]


def test_a_sender_wakes_the_driver_by_bytes_exactly_when_a_batch_is_due() -> None:
    """One byte decides, for a sender and for what came in during a poll alike."""
    length = size(Driver().buffer.send(event(1)).encoded)
    for more, due in ((0, False), (1, True)):
        most = 2 * length + 1 + envelope_size(Api())
        driver = Driver(max_batch_bytes=most, max_event_bytes=most)
        driver.sign_in()
        driver.send_numbers(1)
        assert not driver.outbox.wants_poll
        wakes = driver.wakes
        driver.buffer.send(event(2, "c" + "c" * more))
        assert (driver.wakes > wakes) is due
        assert driver.outbox.wants_poll is due
        driver.poll()
        assert len(driver.out) == due
        assert not driver.outbox.wants_poll


def test_few_events_that_come_in_during_a_poll_ask_for_no_other() -> None:
    """What is not due when it comes in during a poll waits for its time."""
    driver = Driver(batch_size=10)
    driver.sign_in()
    driver.send_numbers(1)
    driver.buffer.send(event(2))
    assert driver.buffer.stats().accepted > 1
    assert driver.outbox.wants_poll is False
