"""Authorization and the token's life (``docs/reference/guarantees.md#authorization``)."""

from __future__ import annotations

import pytest

from masivo._protocol.errors import (
    MasivoAuthError,
    MasivoClosedError,
    MasivoConfigError,
    MasivoError,
    MasivoNetworkError,
    MasivoServerKeyError,
)
from masivo._protocol.token.life import State
from masivo.protocol import Api, Failure, FlushResult, Json, Request

from .requests import header, is_authorization, numbers
from .simulator import BASE_URL, KEY, START, Driver, error_of, event, in_batch, result_of

SERVER_KEY_SAID: Json = {"error": "SERVER keys are not allowed here", "details": "use CLIENT"}


def revoke(driver: Driver) -> None:
    """Let the batch that is out get a 401."""
    driver.respond(401, {"error": "expired", "details": ""})


# ── The first token ──────────────────────────────────────────────────────────────────────────


def test_an_authorization_is_a_get_with_the_key() -> None:
    """A token is had by ``GET {base}/auth/authorize`` with ``x-api-key`` and
    ``x-masivo-sdk: client``, under the longest timeout of the clients."""
    driver = Driver(timeout=5.0)
    driver.client(timeout=8.0)
    driver.send_numbers(1)
    request = driver.authorization()
    assert (request.method, request.url) == ("GET", f"{BASE_URL}/auth/authorize")
    assert header(request, "x-api-key") == KEY
    assert header(request, "x-masivo-sdk") == "client"
    assert request.body == b""
    assert request.timeout == 8.0


def test_all_needs_share_one_authorization() -> None:
    """Any number of concurrent needs, of any client of the key, share one authorization."""
    driver = Driver()
    other = driver.client()
    driver.send_numbers(1, 2, 3)
    driver.send_numbers(4, buffer=other)
    tickets = [driver.buffer.token(), other.token()]
    driver.flush()
    driver.poll()
    assert len(driver.sent) == 1
    token = driver.grant()
    assert [ticket.claim() for ticket in tickets] == [token, token]


def test_get_token_authorizes_and_later_responds_at_once() -> None:
    """``get_token`` waits for the first authorization; with a token there is nothing to ask."""
    driver = Driver()
    token = driver.sign_in()
    ticket = driver.buffer.token()
    driver.poll()
    assert ticket.claim() == token
    assert len(driver.sent) == 1


def test_a_disabled_client_has_no_token() -> None:
    """``get_token`` of a disabled client is a MasivoConfigError."""
    driver = Driver(enabled=False)
    with pytest.raises(MasivoConfigError):
        driver.buffer.token()


def test_a_new_client_of_the_key_uses_the_token() -> None:
    """A client that comes later shares the token that there is."""
    driver = Driver()
    driver.sign_in()
    other = driver.client(batch_size=1)
    driver.send_numbers(1, buffer=other)
    assert numbers(driver.batch()) == [1]


def test_no_claim_is_required_of_a_token() -> None:
    """An opaque token works."""
    driver = Driver()
    driver.send_numbers(1)
    driver.flush()
    driver.grant("opaque")
    assert header(driver.batch(), "authorization") == "Bearer opaque"


# ── Refusals ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 410, 422, 451])
def test_a_definitive_refusal_ends_every_buffered_event_at_once(status: int) -> None:
    """A 4xx but 408 and 429 ends every buffered event of every client with a MasivoAuthError, at
    once, not when its batch would have gone."""
    driver = Driver()
    other = driver.client()
    deliveries = driver.send_numbers(1, 2) + driver.send_numbers(3, buffer=other)
    ticket = driver.buffer.token()
    driver.poll()
    driver.respond(status, {"error": "no such key", "details": "d"})
    for error in [*map(error_of, deliveries), error_of(ticket)]:
        assert type(error) is MasivoAuthError
        assert "no such key" in error.message
        assert (error.status, error.details) == (status, "d")
    assert driver.out == []
    assert driver.wake_at is None


def test_new_events_fail_at_once_for_30_seconds_after_a_refusal() -> None:
    """For 30 s after a refusal new events fail at once with the same error, without a request;
    the first event after that tries the key again."""
    driver = Driver()
    (first,) = driver.send_numbers(1)
    driver.respond(401, {"error": "bad key"})
    driver.advance(29.75)
    wakes = driver.wakes
    delivery = driver.buffer.send(event(2))
    assert driver.wakes == wakes + 1
    driver.poll()
    assert error_of(delivery) is error_of(first)
    assert len(driver.sent) == 1
    driver.now = START + 30.0
    (third,) = driver.send_numbers(3)
    assert is_authorization(driver.only())
    assert not third.done()
    driver.grant()
    driver.flush()
    assert numbers(driver.batch()) == [3]


def test_get_token_fails_at_once_while_a_refusal_lasts() -> None:
    """Within the 30 s, ``get_token`` fails with the same error and does not try the key, so that
    events still fail at once after it."""
    driver = Driver()
    driver.send_numbers(1)
    driver.respond(401, {"error": "bad key"})
    driver.advance(5.0)
    ticket = driver.buffer.token()
    driver.poll()
    assert type(error_of(ticket)) is MasivoAuthError
    (delivery,) = driver.send_numbers(2)
    assert type(error_of(delivery)) is MasivoAuthError
    assert len(driver.sent) == 1


def test_a_batch_with_a_401_while_a_refusal_lasts_fails_with_it() -> None:
    """Within the 30 s, a batch that was out and needs a token fails with the refusal: nothing
    tries the key."""
    driver = Driver(batch_size=1, max_in_flight=2)
    driver.sign_in()
    driver.send(event(1, "a"), event(2, "b"))
    first, second = driver.out
    driver.respond(401, to=first)
    driver.respond(403, {"error": "key revoked"}, to=driver.out[1])
    driver.respond(401, to=second)
    assert driver.out == []
    assert [str(error_of(each)) for each in driver.settled] == [
        str(error_of(driver.settled[0]))
    ] * 2
    assert "key revoked" in error_of(driver.settled[1]).message


def test_new_events_fail_at_once_though_a_batch_is_out_while_a_refusal_lasts() -> None:
    """Within the 30 s a new event wakes the driver, and fails, though a batch is still out."""
    driver = Driver(batch_size=1)
    driver.sign_in()
    other = driver.client(batch_size=1)
    driver.send_numbers(1)
    driver.send_numbers(2, buffer=other)
    revoked = driver.out[1]
    driver.respond(401, to=revoked)
    driver.respond(401, {"error": "bad key"}, to=driver.out[1])
    assert numbers(driver.batch()) == [1]
    wakes = driver.wakes
    delivery = driver.buffer.send(event(3))
    assert driver.wakes > wakes
    driver.poll()
    assert type(error_of(delivery)) is MasivoAuthError


def test_a_flush_does_not_wait_for_events_that_fail_at_once() -> None:
    """An event that fails at once belongs to no flush that waits meanwhile: each counts the
    events that were sent before it."""
    driver = Driver(batch_size=1)
    driver.sign_in()
    other = driver.client(batch_size=1)
    driver.send_numbers(1)
    driver.send_numbers(2, buffer=other)
    flush = driver.flush()
    first, revoked = driver.out
    driver.respond(401, to=revoked)
    driver.respond(401, {"error": "bad key"}, to=driver.out[1])
    (refused,) = driver.send_numbers(3)
    assert type(error_of(refused)) is MasivoAuthError
    assert flush.claim() is None
    driver.accept(first)
    assert flush.claim() == FlushResult(delivered=1, failed=0)


def test_get_token_waits_for_an_authorization_that_is_out_while_batches_fail_at_once() -> None:
    """A ``Retry-After`` above 300 s ends nobody's wait for the response to a request that went out
    before it."""
    driver = Driver(batch_size=1, max_in_flight=2)
    driver.sign_in()
    for number in (1, 2):
        driver.send(event(number, f"c{number}"))
    first, second = driver.out
    driver.respond(401, to=first)
    driver.respond(429, to=second, headers={"retry-after": "3600"})
    ticket = driver.buffer.token()
    driver.poll()
    assert ticket.claim() is None
    token = driver.grant()
    assert ticket.claim() == token


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("field", ["error", "message", "details"])
def test_a_server_key_is_named_as_one(status: int, field: str) -> None:
    """400, 401 or 403 with the word "server" in error, message or details is a
    MasivoServerKeyError, which is a MasivoAuthError and says how to fix it."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    driver.respond(status, {field: "a Server key may not do this"})
    error = error_of(delivery)
    assert type(error) is MasivoServerKeyError
    assert isinstance(error, MasivoAuthError)
    assert "CLIENT key" in error.message
    assert error.status == status


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"error": "server"}),
        (401, {"error": "observers only"}),
        (401, {"other": "server"}),
        (401, ["server"]),
    ],
)
def test_other_refusals_are_not_blamed_on_a_server_key(status: int, body: Json) -> None:
    """Other statuses, other words and other fields are an ordinary refusal."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    driver.respond(status, body)
    assert type(error_of(delivery)) is MasivoAuthError


def test_is_server_key_refusal_decides_and_may_raise() -> None:
    """``Api.is_server_key_refusal`` is given status and parsed body; one that raises counts as
    False and stops nothing."""
    seen: list[tuple[int, Json]] = []

    def decide(status: int, body: Json) -> bool:
        seen.append((status, body))
        return status == 418

    driver = Driver(api=Api(is_server_key_refusal=decide))
    (delivery,) = driver.send_numbers(1)
    driver.respond(418, {"code": 9})
    assert type(error_of(delivery)) is MasivoServerKeyError
    assert seen == [(418, {"code": 9})]

    def fail(status: int, body: Json) -> bool:
        raise LookupError((status, body))

    driver = Driver(api=Api(is_server_key_refusal=fail))
    (delivery,) = driver.send_numbers(1)
    driver.respond(401, {"error": "server"})
    assert type(error_of(delivery)) is MasivoAuthError


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (301, b""),
        (302, {"error": "moved"}),
        (307, b""),
        (300, {"data": "a-token"}),
        (200, b"<html></html>"),
        (200, b""),
        (200, {"data": None}),
        (200, {"data": ""}),
        (200, {"data": 5}),
        (200, {"data": "with a blank"}),
        (200, {"data": "line\nbreak"}),
        (200, {"data": "\u00e9"}),
        (200, {"token": "t"}),
        (200, ["t"]),
        (204, b""),
    ],
)
def test_a_redirect_or_a_2xx_without_a_token_says_to_check_base_url(
    status: int, body: Json | bytes
) -> None:
    """A redirect, or a 2xx without a token that a header can carry, is a MasivoAuthError that
    says to check ``base_url``."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    driver.respond(status, body)
    error = error_of(delivery)
    assert type(error) is MasivoAuthError
    assert "base_url" in error.message
    assert error.status == status
    assert driver.authorizer.state is State.ABSENT


@pytest.mark.parametrize(
    ("status", "body"), [(302, b""), (200, b"<html></html>"), (200, {"data": None}), (501, b"")]
)
def test_what_does_not_blame_the_key_opens_no_window(status: int, body: Json | bytes) -> None:
    """A redirect, a 2xx without a token, or a 5xx that asks for no retry ends what waits, at once.
    It says nothing of the key: new events do not fail at once; the next of them authorizes, after
    a wait that doubles, so that a wrong address is not asked once for every event."""
    driver = Driver(refresh_interval=None)
    driver.dice.always = 1.0
    (first,) = driver.send_numbers(1)
    for wait in (0.5, 1.0, 2.0):
        driver.respond(status, body)
        assert driver.out == []
        (second,) = driver.send_numbers(2, 3)[1:]
        assert not second.done()
        assert driver.out == []
        assert driver.wake_at == driver.now + wait
        driver.sleep()
    assert type(error_of(first)) is MasivoAuthError
    driver.grant()
    driver.flush()
    assert numbers(driver.batch()) == [2, 3]


# ── Failures that are retried ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_failed_authorization_is_retried(status: int) -> None:
    """408, 429 and 5xx are retried after exactly the random waits of a request; then the waiting
    events fail with the last error."""
    driver = Driver(max_retries=2)
    (delivery,) = driver.send_numbers(1)
    driver.dice.fix(0.5, 0.5)
    driver.respond(status, {"error": "first"})
    assert driver.wake_at == START + 0.25
    driver.sleep()
    driver.respond(status, {"error": "second"})
    assert driver.wake_at == START + 0.25 + 0.5
    driver.sleep()
    assert not delivery.done()
    driver.respond(status, {"error": "third"})
    error = error_of(delivery)
    assert isinstance(error, MasivoError)
    assert "third" in error.message
    assert error.status == status
    assert len(driver.sent) == 3


def test_no_response_to_an_authorization_is_retried() -> None:
    """No response is retried too, and in the end a MasivoNetworkError with its cause."""
    driver = Driver(max_retries=1)
    driver.dice.always = 0.5
    (delivery,) = driver.send_numbers(1)
    driver.break_off("no route")
    driver.sleep()
    cause = OSError("no route")
    driver.break_off("no route", cause=cause)
    error = error_of(delivery)
    assert type(error) is MasivoNetworkError
    assert error.__cause__ is cause


@pytest.mark.parametrize(("status", "shown"), [(200, None), (299, None), (199, 199), (300, 300)])
def test_a_grant_that_breaks_off_says_nothing_of_the_events(status: int, shown: int | None) -> None:
    """No event was sent without a token: its error is retryable, as after no response, and has no
    status of success."""
    driver = Driver(max_retries=0)
    (delivery,) = driver.send_numbers(1)
    driver.break_off(status=status)
    error = error_of(delivery)
    assert type(error) is MasivoNetworkError
    assert error.retryable
    assert error.status == shown


def test_the_largest_max_retries_of_the_clients_counts() -> None:
    """An authorization is retried as often as the most patient client of the key asks."""
    driver = Driver(max_retries=0)
    driver.client(max_retries=2)
    driver.dice.always = 0.0
    driver.send_numbers(1)
    for _ in range(3):
        driver.respond(500)
    assert len(driver.sent) == 3
    assert driver.out == []


def test_failed_retries_do_not_open_the_refusal_window() -> None:
    """After retries that ran out, a new event tries again (after the wait where they stopped)."""
    driver = Driver(max_retries=0)
    driver.send_numbers(1)
    driver.respond(503)
    driver.dice.fix(0.5)
    (delivery,) = driver.send_numbers(2)
    assert not delivery.done()
    assert driver.wake_at == START + 0.25
    driver.sleep()
    assert is_authorization(driver.only())


def test_no_client_that_works_ends_everything_with_that_error() -> None:
    """Where no request can ever be sent, events fail with the driver's MasivoConfigError."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    fatal = MasivoConfigError("pass a function")
    driver.engine.hand_back(driver.out.pop().id, Failure("none", False, fatal=fatal))
    driver.poll()
    assert type(error_of(delivery)) is MasivoConfigError
    assert error_of(delivery).message == "pass a function"
    assert driver.out == []


# ── A 401 on a batch ─────────────────────────────────────────────────────────────────────────


def test_a_401_is_retried_once_with_a_fresh_token() -> None:
    """A 401 throws the token away, and the same batch goes again, at once, with a fresh one under
    the same ``Idempotency-Key``, with ``max_retries=0`` too."""
    driver = Driver(max_retries=0)
    first, (delivery,) = in_batch(driver, 1)
    revoke(driver)
    token = driver.grant()
    second = driver.batch()
    assert second.body == first.body
    assert header(second, "idempotency-key") == header(first, "idempotency-key")
    assert header(second, "authorization") == f"Bearer {token}"
    driver.accept()
    assert result_of(delivery).success
    assert driver.buffer.stats().retries == 0


def test_a_second_401_in_a_row_rests_the_key() -> None:
    """A 401 to a token that was granted after the batch's first 401: MasivoAuthError for all that
    waits, of every client, and for new events at once, until 30 s have passed; then the next event
    tries the key again."""
    driver = Driver(batch_size=2, refresh_interval=None)
    _, deliveries = in_batch(driver, 1, 2)
    deliveries += driver.send_numbers(3, 4, 5)
    deliveries += driver.send_numbers(6, buffer=driver.client())
    revoke(driver)
    driver.grant()
    driver.respond(401, {"error": "still no", "details": "why"})
    for delivery in deliveries:
        error = error_of(delivery)
        assert type(error) is MasivoAuthError
        assert "still no" in error.message
        assert (error.status, error.details) == (401, "why")
    driver.advance(29.0)
    assert type(error_of(driver.send_numbers(7)[0])) is MasivoAuthError
    ticket = driver.buffer.token()
    driver.poll()
    assert type(error_of(ticket)) is MasivoAuthError
    assert driver.out == []
    driver.advance(1.0)
    (late,) = driver.send_numbers(8)
    driver.flush()
    driver.grant()
    driver.accept()
    assert result_of(late).success


def test_a_server_that_grants_tokens_and_takes_none_is_not_stormed() -> None:
    """An event each second for 15 minutes: two authorizations and two batches in 30 s, no more."""
    driver = Driver(batch_size=1, refresh_interval=None)
    for number in range(900):
        driver.send_numbers(number)
        while driver.out:
            if is_authorization(driver.only()):
                driver.grant()
            else:
                driver.respond(401)
        driver.advance(1.0)
    assert len(driver.sent) == 4 * 900 // 30
    assert driver.buffer.stats().failed == 900


def test_what_is_out_when_the_key_comes_to_rest_takes_its_response() -> None:
    """The request of another batch that is on its way is waited for."""
    driver = Driver(batch_size=1, max_in_flight=2)
    driver.sign_in()
    first, second = driver.send(event(1, "a"), event(2, "b"))
    for request in list(driver.out):
        driver.respond(401, to=request)
    driver.grant()
    driver.respond(401, to=driver.out[0])
    assert type(error_of(first)) is MasivoAuthError
    driver.accept()
    assert result_of(second).success


def test_a_401_to_a_token_that_came_before_the_first_401_is_no_second_one() -> None:
    """A token that replaced the batch's meanwhile was not granted after its first 401: if it gets a
    401 too, a fresh one is fetched. A 401 to that one is the second."""
    driver = Driver(batch_size=1, refresh_interval=10.0)
    driver.dice.always = 0.0
    driver.sign_in()
    (delivery,) = driver.send_numbers(1)
    batch = driver.batch()
    driver.sleep()
    driver.grant()
    driver.respond(401, to=batch)
    revoke(driver)
    driver.grant()
    assert not delivery.done()
    driver.respond(401)
    assert type(error_of(delivery)) is MasivoAuthError
    assert driver.out == []


def renewing_after_a_401() -> tuple[Driver, Request]:
    """A driver whose batch goes with a second token, while a renewal is out; the batch."""
    driver = Driver(batch_size=1, refresh_interval=10.0)
    driver.dice.always = 0.0
    in_batch(driver, 1)
    revoke(driver)
    driver.grant()
    batch = driver.batch()
    driver.sleep()
    return driver, batch


@pytest.mark.parametrize("status", [403, 503])
def test_a_failed_authorization_finds_no_client(status: int) -> None:
    """The last one was released in the same poll, before the response was read."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    driver.buffer.destroy()
    driver.respond(status, to=driver.authorization())
    assert driver.closed
    assert type(error_of(delivery)) is MasivoClosedError
    assert driver.wake_at is None


def test_a_renewal_on_its_way_is_forgotten_when_the_key_comes_to_rest() -> None:
    """The token that it brings is not used, though it may come before the 30 s have passed."""
    driver, batch = renewing_after_a_401()
    driver.respond(401, to=batch)
    driver.grant()
    assert type(error_of(driver.send_numbers(2)[0])) is MasivoAuthError
    assert driver.out == []


def test_a_newer_token_goes_with_the_one_that_got_the_second_401() -> None:
    """If another token came meanwhile, it is not tried before the key has rested either."""
    driver, batch = renewing_after_a_401()
    driver.grant()
    driver.respond(401, to=batch)
    assert type(error_of(driver.send_numbers(2)[0])) is MasivoAuthError
    assert driver.out == []


@pytest.mark.parametrize("broken", [False, True])
def test_a_401_after_another_response_is_a_first_one_again(broken: bool) -> None:
    """Two 401s with another response, or none, between them are not in a row."""
    driver = Driver()
    driver.dice.always = 0.0
    _, (delivery,) = in_batch(driver, 1)
    revoke(driver)
    driver.grant()
    if broken:
        driver.break_off()
    else:
        driver.respond(503)
    revoke(driver)
    driver.grant()
    driver.accept()
    assert result_of(delivery).success


def test_a_batch_that_got_a_401_fails_with_the_authorization() -> None:
    """It waits for a token as other events do, and no longer than the retries last."""
    driver = Driver(max_retries=0)
    _, (delivery,) = in_batch(driver, 1)
    revoke(driver)
    driver.respond(503, to=driver.authorization())
    assert error_of(delivery).status == 503


def test_a_401_for_a_replaced_token_does_not_authorize_anew() -> None:
    """If the token was replaced meanwhile, a 401 for the old one is retried with the current one,
    which survives."""
    driver = Driver(batch_size=1, refresh_interval=10.0)
    driver.dice.always = 0.0
    driver.sign_in()
    driver.send_numbers(1)
    batch = driver.batch()
    driver.sleep()
    token = driver.grant()
    driver.respond(401, to=batch)
    again = driver.batch()
    assert header(again, "authorization") == f"Bearer {token}"
    driver.accept()
    assert driver.buffer.stats().authorizations == 2


def test_two_batches_with_a_401_share_one_fresh_token() -> None:
    """Several batches with a 401 for one token need one authorization."""
    driver = Driver(batch_size=1, max_in_flight=2)
    driver.sign_in()
    driver.send(event(1, "a"), event(2, "b"))
    for request in list(driver.out):
        driver.respond(401, to=request)
    token = driver.grant()
    assert [header(each, "authorization") for each in driver.out] == [f"Bearer {token}"] * 2
    assert driver.buffer.stats().authorizations == 2


def test_a_401_whose_fresh_token_is_refused_fails_with_the_refusal() -> None:
    """When the key is refused after a 401, the batch fails with that refusal."""
    driver = Driver()
    _, (delivery,) = in_batch(driver, 1)
    revoke(driver)
    driver.respond(403, SERVER_KEY_SAID)
    assert type(error_of(delivery)) is MasivoServerKeyError


def test_a_request_of_a_waiting_renewal_becomes_urgent_with_a_401() -> None:
    """A renewal that waits to be retried goes at once when a 401 has thrown the token away, with
    all the retries of a new authorization before it."""
    driver = Driver(refresh_interval=10.0, max_retries=1, batch_size=1)
    driver.dice.always = 0.99
    driver.sign_in()
    driver.sleep()
    for _ in range(5):
        driver.respond(500)
        driver.sleep()
    driver.respond(500)
    driver.dice.always = 0.0
    (delivery,) = driver.send_numbers(1)
    revoke(driver)
    assert is_authorization(driver.only())
    driver.respond(500)
    assert is_authorization(driver.only())
    assert not delivery.done()


def test_a_renewal_that_is_out_gets_all_retries_with_a_401() -> None:
    """The same for a renewal that is out when the 401 comes: its earlier failures in the
    background do not count."""
    driver = Driver(refresh_interval=10.0, max_retries=1, batch_size=1)
    driver.dice.always = 0.0
    driver.sign_in()
    driver.sleep()
    for _ in range(5):
        driver.respond(500)
    (delivery,) = driver.send_numbers(1)
    renewal, batch = driver.out
    driver.respond(401, to=batch)
    driver.respond(500, to=renewal)
    assert is_authorization(driver.only())
    assert not delivery.done()


def test_an_authorization_that_fails_as_the_last_client_goes_harms_nothing() -> None:
    """Its failure may lie behind the end of the last client, in one poll."""
    driver = Driver()
    driver.send_numbers(1)
    request = driver.authorization()
    driver.buffer.destroy()
    driver.engine.hand_back(request.id, Failure("lost", sent=True))
    driver.poll()
    assert driver.closed
    assert driver.wake_at is None


def test_nothing_wakes_the_driver_while_it_waits_for_the_token() -> None:
    """Nothing can go before the token comes, so that senders do not wake the driver."""
    driver = Driver(batch_size=2)
    driver.send_numbers(1)
    driver.authorization()
    wakes = driver.wakes
    for number in range(2, 7):
        driver.buffer.send(event(number))
    assert driver.wakes == wakes
    driver.grant()
    assert numbers(driver.batch()) == [1, 2]


def test_a_token_that_is_thrown_away_is_renewed_no_more() -> None:
    """A 401 ends the timer of its renewal: while the next one is fetched, nothing is to be done."""
    driver = Driver()
    in_batch(driver, 1)
    driver.respond(401)
    driver.authorization()
    assert driver.wake_at is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (199, {}, MasivoServerKeyError),
        (200, {}, MasivoAuthError),
        (299, {}, MasivoAuthError),
        (300, {}, MasivoServerKeyError),
        (403, b"no JSON", MasivoAuthError),
    ],
)
def test_a_success_is_no_refusal_of_a_server_key(
    status: int, body: Json | bytes, kind: type[MasivoAuthError]
) -> None:
    """``Api.is_server_key_refusal`` is asked about refusals with JSON alone."""
    driver = Driver(api=Api(is_server_key_refusal=lambda _status, _body: True), max_retries=0)
    (delivery,) = driver.send_numbers(1)
    driver.respond(status, body)
    assert type(error_of(delivery)) is kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": "a", "message": "server"}, MasivoServerKeyError),
        ({"message": "server", "details": "b"}, MasivoServerKeyError),
        ({"error": "a server"}, MasivoServerKeyError),
        ({"error": "observer", "message": "server-side"}, MasivoServerKeyError),
        ({"error": "observer", "message": "servers"}, MasivoAuthError),
    ],
)
def test_the_word_server_stands_alone(body: Json, kind: type[MasivoAuthError]) -> None:
    """Each of the texts is searched for the word."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    driver.respond(401, body)
    assert type(error_of(delivery)) is kind


def test_a_close_gets_its_last_try_of_an_authorization_that_was_out() -> None:
    """An authorization that fails while a client closes is tried once more, at once."""
    driver = Driver()
    (delivery,) = driver.send_numbers(1)
    driver.close(10.0)
    driver.respond(503)
    assert not delivery.done()
    driver.grant()
    driver.accept()
    assert result_of(delivery).success


def test_nobody_is_waited_for_who_wants_nothing() -> None:
    """After the last try of a close, another client that neither holds events nor asks for the
    token has no authorization retried."""
    driver = Driver()
    driver.client()
    (delivery,) = driver.send_numbers(1)
    driver.close(10.0)
    driver.respond(503)
    driver.respond(503)
    assert error_of(delivery).status == 503
    assert driver.out == []
    assert driver.wake_at is None


def test_what_is_out_goes_on_when_the_key_is_refused() -> None:
    """A refusal of the key ends what waits; a batch that is out takes its own response."""
    driver = Driver(max_in_flight=2, batch_size=1)
    driver.sign_in()
    one, two = (driver.send(event(n, f"c{n}"))[0] for n in (1, 2))
    first, second = driver.out
    driver.respond(401, to=first)
    driver.respond(403, to=next(each for each in driver.out if is_authorization(each)))
    assert error_of(one).status == 403
    assert not two.done()
    driver.accept(to=second)
    assert result_of(two).success


def test_a_last_try_is_the_last_for_who_asks_for_a_token_and_closes() -> None:
    """Retries go on for other clients alone."""
    driver = Driver()
    driver.send_numbers(1)
    ticket = driver.buffer.token()
    driver.close(60.0)
    driver.respond(503, to=driver.authorization())
    driver.respond(503, to=driver.authorization())
    assert error_of(ticket).status == 503
    assert driver.closed
