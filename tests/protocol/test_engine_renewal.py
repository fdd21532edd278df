"""The renewal of a token, and a renewal that fails (``docs/reference/guarantees.md#renewal``)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from masivo._protocol.json import encode
from masivo._protocol.sending.timers import Timer

from .requests import header, is_authorization, numbers
from .simulator import START, Driver, error_of, event, in_batch, result_of

if TYPE_CHECKING:
    from masivo.protocol import Json

DATE = {"date": "Thu, 01 Jan 2026 00:00:00 GMT"}
"""The header of a response given at the time where ``WALL`` begins."""

EPOCH = 1_767_225_600
"""The same moment in seconds since the epoch."""


def jwt(**claims: Json) -> str:
    """A token that tells about itself."""
    middle = base64.urlsafe_b64encode(encode(claims)).rstrip(b"=").decode()
    return f"header.{middle}.signature"


# ── The interval ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("draw", "after"), [(0.0, 30.0), (0.5, 165.0), (1.0, 300.0)])
def test_the_first_renewal_comes_after_a_random_part_of_the_interval(
    draw: float, after: float
) -> None:
    """The first renewal comes after a random 10 to 100 % of ``refresh_interval``, so that a fleet
    that starts together renews apart."""
    driver = Driver(refresh_interval=300.0)
    driver.dice.fix(draw)
    driver.sign_in()
    assert driver.wake_at == pytest.approx(START + after)


def test_renewals_on_time_keep_the_interval() -> None:
    """A renewal that was on time is followed by the next after exactly ``refresh_interval``,
    counted from the response; the new token is the one that is used."""
    driver = Driver(refresh_interval=300.0)
    driver.dice.fix(0.5)
    token = driver.sign_in()
    for _ in range(3):
        driver.sleep()
        assert is_authorization(driver.only())
        driver.now += 2.0
        token = driver.grant()
        assert driver.wake_at == driver.now + 300.0
    driver.send_numbers(1)
    driver.flush()
    assert header(driver.batch(), "authorization") == f"Bearer {token}"


def test_after_a_renewal_that_failed_the_next_is_spread_anew() -> None:
    """A renewal that took a retry is followed by one at a random part of the interval: a fleet
    that an outage brought together parts again."""
    driver = Driver(refresh_interval=300.0)
    driver.sign_in()
    driver.sleep()
    driver.dice.fix(0.0, 0.5)
    driver.respond(500)
    driver.grant()
    assert driver.wake_at == pytest.approx(driver.now + 165.0)


def test_after_a_401_the_next_renewal_is_spread_anew() -> None:
    """A token that was needed, not renewed, is followed by a spread renewal."""
    driver = Driver(refresh_interval=300.0)
    in_batch(driver, 1)
    driver.respond(401)
    driver.dice.fix(0.5)
    driver.grant()
    driver.accept()
    assert driver.wake_at == pytest.approx(START + 165.0)


def test_the_shortest_interval_of_the_clients_counts() -> None:
    """The shortest ``refresh_interval`` of the clients of a key counts: from when a client with a
    shorter one attaches, until it detaches."""
    driver = Driver(refresh_interval=300.0)
    driver.dice.fix(1.0)
    driver.sign_in()
    assert driver.wake_at == START + 300.0
    wakes = driver.wakes
    hasty = driver.client(refresh_interval=20.0)
    assert driver.wakes == wakes + 1
    driver.poll()
    assert driver.wake_at == START + 20.0
    driver.client(refresh_interval=None)
    driver.poll()
    assert driver.wake_at == START + 20.0
    hasty.destroy()
    driver.poll()
    assert driver.wake_at == START + 300.0


def test_a_shorter_interval_that_is_over_renews_at_once() -> None:
    """A client whose interval has passed already since the token came renews at once."""
    driver = Driver(refresh_interval=300.0)
    driver.dice.always = 1.0
    driver.sign_in()
    driver.advance(100.0)
    driver.client(refresh_interval=50.0)
    driver.poll()
    assert is_authorization(driver.only())


def test_a_client_may_attach_while_a_poll_reads_the_clients() -> None:
    """``attach`` may come at any moment, that in which a poll looks through the clients included
    (here: while it compares their intervals)."""
    driver = Driver()

    class Sly(float):
        """An interval during whose comparison a client is made, as by a signal handler."""

        __slots__ = ()

        def __lt__(self, other: float) -> bool:
            if len(driver.engine.buffers) < 4:
                driver.client()
            return float(self) < other

    driver.client(refresh_interval=Sly(200.0))
    driver.client()
    driver.dice.fix(1.0)
    driver.sign_in()
    assert driver.wake_at == START + 200.0


def test_batches_go_on_with_the_old_token_during_a_renewal() -> None:
    """While a renewal is out, batches go with the token that still works."""
    driver = Driver(refresh_interval=10.0)
    token = driver.sign_in()
    driver.sleep()
    driver.send_numbers(1)
    driver.flush()
    assert header(driver.out[1], "authorization") == f"Bearer {token}"


# ── A renewal that fails ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 302, 200])
def test_a_failed_renewal_keeps_the_token_and_is_retried(status: int) -> None:
    """A failed background renewal, a refused one too, ends no event, keeps the token, and is
    retried after random waits of up to 0.5 s, doubling, however often."""
    driver = Driver(refresh_interval=300.0, max_retries=0, idle_timeout=9999.0, max_wait=9999.0)
    token = driver.sign_in()
    (delivery,) = driver.send_numbers(1)
    driver.sleep()
    for bound in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0]:
        driver.dice.fix(0.5)
        driver.respond(status, {"error": "server key"})
        assert driver.wake_at == pytest.approx(driver.now + bound / 2)
        driver.sleep()
    assert not delivery.done()
    driver.flush()
    assert header(driver.out[1], "authorization") == f"Bearer {token}"
    driver.accept(driver.out[1])
    assert result_of(delivery).success
    assert driver.failed == []


def test_no_response_to_a_renewal_keeps_the_token() -> None:
    """A renewal without a response keeps the token too."""
    driver = Driver(refresh_interval=300.0)
    token = driver.sign_in()
    driver.sleep()
    driver.dice.fix(0.5)
    driver.break_off()
    assert driver.wake_at == driver.now + 0.25
    ticket = driver.buffer.token()
    driver.poll()
    assert ticket.claim() == token


def test_a_failed_renewal_does_not_slow_batches_down() -> None:
    """A renewal's failure is no failure of the requests with events."""
    driver = Driver(refresh_interval=300.0, batch_size=1)
    driver.sign_in()
    driver.sleep()
    driver.respond(500)
    driver.send_numbers(1)
    assert 1 in [numbers(each)[0] for each in driver.out if not is_authorization(each)]


def test_a_retry_after_of_a_renewal_holds_every_request() -> None:
    """The ``Retry-After`` of a renewal's 429 holds back batches of the key too."""
    driver = Driver(refresh_interval=300.0, batch_size=1, idle_timeout=999.0)
    driver.sign_in()
    driver.sleep()
    driver.dice.fix(0.0)
    driver.respond(429, headers={"retry-after": "7"})
    driver.send_numbers(1)
    assert driver.out == []
    assert driver.wake_at == driver.now + 7.0
    driver.sleep()
    assert len(driver.out) == 2


def test_a_renewal_is_spread_after_its_retry_after() -> None:
    """After a ``Retry-After``, which may name one instant to a whole fleet, a renewal in the
    background waits a random part of the interval more."""
    driver = Driver(refresh_interval=300.0)
    driver.sign_in()
    driver.sleep()
    driver.dice.fix(0.25)
    driver.respond(503, headers={"retry-after": "60"})
    assert driver.wake_at == driver.now + 60.0 + 0.25 * 300.0


def test_a_renewal_that_is_due_during_a_retry_after_is_spread() -> None:
    """So does one that comes due while a batch's ``Retry-After`` holds back every request."""
    driver = Driver(refresh_interval=300.0, batch_size=1)
    driver.dice.always = 1.0
    driver.sign_in()
    due = driver.wake_at
    assert due is not None
    driver.advance(due - driver.now - 20.0)
    driver.send_numbers(1)
    driver.respond(503, headers={"retry-after": "60"})
    driver.advance(20.0)
    driver.dice.always = 0.5
    assert driver.out == []
    driver.sleep()
    assert not any(is_authorization(each) for each in driver.out)


def test_a_renewal_waits_a_random_part_of_the_interval_after_a_retry_after() -> None:
    """A renewal that is due during a ``Retry-After``, for which nobody waits, goes a random part of
    the interval after its end: a whole fleet may have got the same instant."""
    driver = Driver(refresh_interval=100.0, batch_size=1, max_retries=0)
    driver.dice.always = 1.0
    driver.sign_in()
    driver.send_numbers(1)
    driver.respond(503, headers={"retry-after": "250"})
    driver.sleep()
    assert driver.now == START + 100.0
    assert driver.wake_at == START + 350.0
    driver.sleep()
    driver.dice.fix(0.5)
    driver.respond(429, headers={"retry-after": "20"})
    assert driver.wake_at == driver.now + 20.0 + 50.0


def test_no_renewal_goes_while_batches_fail_at_once() -> None:
    """A ``Retry-After`` above 300 s holds back renewals too, one that waits for a retry included:
    each would cost a request of the quota that is exhausted. They go a random part of the interval
    after its end."""
    for failed_before in (False, True):
        driver = Driver(refresh_interval=300.0, batch_size=1, max_retries=0)
        driver.dice.always = 1.0
        driver.sign_in()
        if failed_before:
            driver.sleep()
            driver.respond(503)
        driver.send_numbers(1)
        driver.dice.always = 0.5
        driver.respond(429, headers={"retry-after": "3600"})
        now = driver.now
        driver.sleep_until(now + 3600.0)
        assert driver.out == []
        driver.sleep_until(now + 3600.0 + 149.0)
        assert driver.out == []
        driver.sleep_until(now + 3600.0 + 151.0)
        assert is_authorization(driver.only())


def test_a_longer_retry_after_of_a_renewal_fails_what_waits_for_a_retry() -> None:
    """A ``Retry-After`` above 300 s of a renewal ends, at once, batches that wait for a retry."""
    driver = Driver(refresh_interval=300.0)
    driver.dice.always = 1.0
    driver.sign_in()
    driver.sleep()
    renewal = driver.authorization()
    (delivery,) = driver.send_numbers(1)
    driver.flush()
    driver.respond(503, to=driver.out[1])
    assert not delivery.done()
    driver.respond(429, {"error": "limit"}, to=renewal, headers={"retry-after": "3600"})
    assert error_of(delivery).status == 429


def test_the_random_wait_after_a_longer_retry_after_is_drawn_once() -> None:
    """A draw of 0 counts too: the renewal goes at the very end of the ``Retry-After``."""
    driver = Driver(refresh_interval=300.0)
    driver.dice.always = 1.0
    driver.sign_in()
    driver.sleep()
    driver.dice.fix(0.0)
    driver.respond(429, headers={"retry-after": "3600"})
    assert driver.wake_at == driver.now + 3600.0
    driver.sleep()
    assert is_authorization(driver.only())


def test_a_token_is_not_fetched_while_batches_fail_at_once() -> None:
    """A 401 that throws the token away while a ``Retry-After`` above 300 s lasts fetches no other:
    the batch and those who wait for the token get the error that says how long; after its end a
    token is fetched."""
    driver = Driver(refresh_interval=300.0, batch_size=1, max_in_flight=2, max_retries=4)
    driver.dice.always = 1.0
    driver.sign_in()
    driver.sleep()
    driver.respond(503)
    (first,) = driver.send(event(1, "a"))
    (second,) = driver.send(event(2, "b"))
    early, late = driver.out
    driver.respond(401, to=early)
    assert is_authorization(driver.out[-1])
    driver.respond(503, to=driver.out[-1])
    ticket = driver.buffer.token()
    driver.poll()
    driver.respond(429, {"error": "limit"}, to=late, headers={"retry-after": "3600"})
    assert driver.out == []
    assert [error_of(each).status for each in (first, second, ticket)] == [429] * 3
    assert driver.wake_at is None
    driver.advance(3600.0)
    driver.send_numbers(3)
    driver.sleep()
    assert is_authorization(driver.only())


def test_the_next_401_decides_after_a_refused_renewal() -> None:
    """After a refused renewal the token is used until a 401, and then the key is tried."""
    driver = Driver(refresh_interval=300.0, batch_size=1)
    driver.dice.always = 1.0
    driver.sign_in()
    driver.sleep()
    driver.respond(403)
    (delivery,) = driver.send_numbers(1)
    driver.respond(401)
    assert is_authorization(driver.only())
    driver.respond(403, {"error": "revoked"})
    assert delivery.done()
    assert driver.out == []


def test_closing_does_not_hurry_a_renewal_in_the_background() -> None:
    """A client that closes with a deadline does not hurry a renewal that nobody waits for: it
    keeps its waits, and is not sent again and again."""
    driver = Driver(refresh_interval=300.0)
    driver.dice.always = 0.5
    driver.sign_in()
    driver.sleep()
    driver.respond(500)
    driver.send_numbers(1)
    driver.close(10.0)
    assert numbers(driver.batch()) == [1]
    assert driver.wake_at == driver.now + 0.25
    driver.sleep()
    (renewal,) = filter(is_authorization, driver.out)
    driver.respond(500, to=renewal)
    assert numbers(driver.batch()) == [1]
    assert driver.wake_at == driver.now + 0.5


# ── The token's own expiry ───────────────────────────────────────────────────────────────────


def test_without_an_interval_an_opaque_token_is_not_renewed() -> None:
    """``refresh_interval=None`` and a token that does not tell its expiry: no timer."""
    driver = Driver(refresh_interval=None)
    driver.sign_in()
    assert driver.wake_at is None


@pytest.mark.parametrize(
    ("draw", "life", "before"),
    [(0.0, 3600, 300.0), (0.5, 3600, 450.0), (0.0, 1000, 100.0), (0.5, 100, 15.0)],
)
def test_without_an_interval_a_token_is_renewed_before_it_expires(
    draw: float, life: int, before: float
) -> None:
    """``refresh_interval=None``: a JWT is renewed 300 s to 600 s before its ``exp``, by the
    server's clock, and never more than a tenth to a fifth of its life before."""
    driver = Driver(refresh_interval=None)
    driver.wall = 0.0  # a local clock that is wrong by decades
    driver.dice.fix(draw)
    driver.sign_in(jwt(exp=EPOCH + life), headers=DATE)
    assert driver.wake_at == pytest.approx(START + life - before)
    driver.sleep()
    assert is_authorization(driver.only())


def test_without_a_date_the_claim_iat_serves_then_the_local_clock() -> None:
    """Without a ``Date``, the life counts from ``iat``, and without that from the local clock."""
    driver = Driver(refresh_interval=None)
    driver.dice.always = 0.0
    driver.sign_in(jwt(exp=10_000, iat=9_000))
    assert driver.wake_at == START + 900.0
    driver = Driver(refresh_interval=None)
    driver.dice.always = 0.0
    driver.sign_in(jwt(exp=EPOCH + 1000))
    assert driver.wake_at == START + 900.0


def test_an_expiry_before_the_interval_counts() -> None:
    """With an interval too, a token is renewed before it expires."""
    driver = Driver(refresh_interval=300.0)
    driver.dice.fix(0.0)
    driver.sign_in(jwt(exp=EPOCH + 20), headers=DATE)
    assert driver.wake_at == START + 18.0


def test_an_expired_token_is_not_used() -> None:
    """A token known to be dead, as its renewals failed, is not sent; the renewal is urgent."""
    driver = Driver(refresh_interval=None, batch_size=1)
    driver.dice.always = 0.9
    driver.sign_in(jwt(exp=EPOCH + 10), headers=DATE)
    driver.sleep()
    while driver.now < START + 9.0:
        driver.respond(500)
        driver.sleep()
    driver.respond(500)
    driver.now = START + 10.0
    driver.send_numbers(1)
    assert is_authorization(driver.only())
    token = driver.grant()
    assert header(driver.batch(), "authorization") == f"Bearer {token}"


@pytest.mark.parametrize(
    "token",
    [
        jwt(),
        jwt(exp="soon"),
        jwt(exp=True),
        jwt(exp=None),
        jwt(exp=EPOCH - 5),
        jwt(exp=10**400),
        jwt(exp=-(10**400)),
        jwt(exp=10**400, iat=5),
        jwt(exp=5, iat=10**400),
        jwt(exp=1e308, iat=-1e308),
        "a.b.c",
        "a.!!!!.c",
        "a.e+/.c",
        "..",
        "a.e30.c.d",
        "a.W10.c",
    ],
)
def test_whatever_a_token_claims_it_works(token: str) -> None:
    """Whatever a token says of itself, or does not: it is used, and harms nothing."""
    for headers in (DATE, {}, {"date": "nonsense"}):
        driver = Driver(refresh_interval=300.0)
        driver.dice.fix(1.0)
        driver.sign_in(token, headers=headers)
        assert driver.wake_at == START + 300.0
        driver.send_numbers(1)
        driver.flush()
        assert header(driver.batch(), "authorization") == f"Bearer {token}"


def test_a_renewal_that_comes_as_a_client_goes_leaves_no_timer() -> None:
    """A client whose close runs out in the same poll changes the interval; nothing fires then."""
    driver = Driver(refresh_interval=10.0, timeout=60.0)
    driver.dice.always = 0.99
    driver.client(refresh_interval=300.0)
    driver.sign_in()
    in_batch(driver, 1)
    driver.close(5.0)
    driver.out.clear()
    driver.advance(20.0)
    assert is_authorization(driver.only())
    assert driver.wake_at is None


def test_a_short_interval_still_spreads_a_failed_renewal_over_a_second() -> None:
    """A renewal that failed is tried again within a second at the least, by full jitter."""
    driver = Driver(refresh_interval=0.5)
    driver.dice.always = 0.99
    driver.sign_in()
    for bound in (0.5, 1.0, 1.0, 1.0):
        if not driver.out:
            driver.sleep()
        driver.respond(500, to=driver.authorization())
        assert driver.wake_at == pytest.approx(driver.now + 0.99 * bound)


def test_a_hold_that_has_just_ended_adds_no_wait() -> None:
    """A renewal that is due at the very end of a Retry-After goes at once."""
    driver = Driver(refresh_interval=10.0)
    driver.dice.always = 0.0
    driver.sign_in()
    in_batch(driver, 1)
    assert driver.core.timers.get((Timer.REFRESH, None)) == driver.now + 1.0
    driver.dice.always = 0.5
    driver.respond(503, headers={"retry-after": "1"})
    driver.advance(1.0)
    assert any(is_authorization(each) for each in driver.out)
