"""The lines of ``MASIVO_LOG`` (``docs/how-to/logging.md``)."""

from __future__ import annotations

import base64
import json
import threading
from functools import partial
from typing import TYPE_CHECKING, Unpack

import pytest
from masivo._protocol.reporting.journal import DEBUG, INFO

from masivo._protocol.errors import MasivoConfigError
from masivo._protocol.output import Notes
from masivo.protocol import Api, Failure

from .simulator import BASE_URL, KEY, WALL, Changes, Driver, event, in_batch

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS_URL = f"{BASE_URL}/behavior/events/bulk"


def watched(*, api: Api | None = None, **changes: Unpack[Changes]) -> Driver:
    """A driver that reads every note."""
    return Driver(log_level=DEBUG, api=api, **changes)


def told(driver: Driver, level: int | None = None) -> list[str]:
    """Remove and return what was told, at one level or at all."""
    notes, driver.notes = driver.notes, []
    return [text for at, text in notes if level in (None, at)]


def batch(driver: Driver) -> str:
    """How the batch that is out is named."""
    return f"batch {dict(driver.batch().headers)['idempotency-key'][:8]}"


def jwt(life: float) -> str:
    """A token that lives so many seconds from the start of the wall clock."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": WALL + life}).encode()).decode()
    return f"head.{claims.rstrip('=')}.signature"


def test_nothing_is_told_to_nobody() -> None:
    """Above INFO nothing is told; a change of the level counts from the next poll on."""
    driver = Driver(log_level=30)
    in_batch(driver, 1)
    assert driver.engine.poll().notes is None
    assert driver.core.journal is None
    driver.log_level = DEBUG
    driver.answer(503)
    assert told(driver)
    driver.log_level = 30
    driver.sleep()
    assert told(driver) == []


def test_a_good_run() -> None:
    """From the first event to its outcome: authorization, token, batch, answers with their
    durations, flush, close; nothing of it is INFO."""
    driver = watched(refresh_interval=None)
    driver.send(event(1))
    assert told(driver) == [
        "1 event taken in; 1 without outcome",
        f"authorization: GET {BASE_URL}/auth/authorize (request 1, timeout 10 s)",
        "nothing to do for 30.000 s; then waiting events become due",
    ]
    driver.now += 0.25
    driver.grant(jwt(3600))
    assert told(driver) == [
        "authorization: answered 200 after 0.250 s",
        "token: lives 3600 s; to be renewed in 3259 s",
    ]
    driver.flush()
    request = driver.batch()
    name = batch(driver)
    assert told(driver) == [
        "flush: waits for 1 event",
        (
            f"{name}: 1 event, {len(request.body)} bytes, due by flush: POST {EVENTS_URL} "
            "(request 2, timeout 10 s)"
        ),
        "nothing to do for 3259.441 s; then the token is renewed",
    ]
    driver.now += 0.1
    driver.accept()
    assert told(driver) == [
        f"{name}: answered 200 after 0.100 s",
        "flush: done, 1 delivered, 0 failed",
    ]
    driver.close(1.0)
    assert told(driver) == [
        "close: waits for 0 events",
        "client closed: 1 delivered, 0 failed in all",
        "nothing to do until something is asked for, or answered",
    ]


@pytest.mark.parametrize(
    ("due_by", "settings", "act"),
    [
        ("batch_size", {"batch_size": 2}, Driver.poll),
        ("max_batch_bytes", {"max_batch_bytes": 150, "max_event_bytes": 150}, Driver.poll),
        ("idle_timeout", {}, partial(Driver.advance, seconds=30.0)),
        ("max_wait", {"max_wait": 5.0}, partial(Driver.advance, seconds=5.0)),
        ("flush", {}, Driver.flush),
        ("close", {}, partial(Driver.close, timeout=5.0)),
        ("max_queue", {"max_queue": 2}, Driver.poll),
    ],
)
def test_what_made_a_batch_due_is_told(
    due_by: str, settings: Changes, act: Callable[[Driver], object]
) -> None:
    """Each trigger of a batch is told by the name of its setting, or of the call."""
    driver = watched(**settings)
    driver.sign_in()
    for n in range(2):
        driver.buffer.send(event(n))
    act(driver)
    assert any(f"due by {due_by}:" in line for line in told(driver))


def test_waiting_for_room_is_told() -> None:
    """A drain tells that it waits, and pushes a batch out; an event too many does, too."""
    driver = watched(max_queue=4, batch_size=4, max_in_flight=2)
    driver.sign_in()
    driver.send_numbers(1, 2, 3)
    driver.buffer.drain()
    driver.poll()
    lines = told(driver)
    assert "drain: waits for 3 events" in lines
    assert any("due by drain" in line for line in lines)
    for n in range(2):
        driver.buffer.send(event(n, f"c{n}"))
    driver.poll()
    assert any("due by a full buffer" in line for line in told(driver))


def test_a_repeat_is_told() -> None:
    """A failure that is repeated: status, wait, and that the wait is a ``Retry-After``'s; the
    repeat by its number."""
    driver = watched()
    in_batch(driver, 1)
    name = batch(driver)
    driver.dice.fix(0.5)
    driver.answer(503)
    assert told(driver, INFO) == [
        f"{name}: answered 503 after 0.000 s",
        f"{name}: repeat 1 in 0.250 s",
    ]
    driver.sleep()
    lines = told(driver)
    assert "it is time: something is sent again" in lines
    assert any("(request 3, repeat 1, timeout 10 s)" in line for line in lines)
    driver.answer(429, headers={"retry-after": "7"})
    assert f"{name}: repeat 2 in 7.000 s, as Retry-After says" in told(driver, INFO)
    driver.sleep()
    driver.answer(429, headers={"retry-after": "1000"})
    lines = told(driver, INFO)
    assert "Retry-After says 1000 s: until then batches fail at once" in lines
    assert "1 event failed: MasivoError (HTTP 429); ask the Delivery for the details" in lines


def test_a_repeat_that_a_close_cuts_short_is_told() -> None:
    """The last try of a client that closes is told as such."""
    driver = watched()
    in_batch(driver, 1)
    driver.buffer.close(5.0)
    driver.answer(503)
    assert any(line.endswith("repeat 1 now, a last time") for line in told(driver, INFO))


def test_no_answer_is_told_by_the_kinds_of_errors() -> None:
    """A request without an answer is told by the classes of what was raised, whether it was sent,
    and the status that had arrived: never by the texts, which may quote anything."""
    driver = watched()
    in_batch(driver, 1)
    name = batch(driver)
    cause = OSError(f"private {KEY}")
    cause.__cause__ = ConnectionResetError("private")
    driver.break_off("private", cause=cause, sent=False)
    first, _ = told(driver, INFO)
    assert first == (
        f"{name}: no usable answer after 0.000 s: OSError from ConnectionResetError; "
        "nothing was sent"
    )
    driver.sleep()
    driver.break_off("private", status=200)
    assert told(driver, INFO) == [
        f"{name}: no usable answer after 0.000 s, though its headers said 200",
        "1 event failed: MasivoNetworkError (HTTP 200); ask the Delivery for the details",
    ]
    driver = watched()
    in_batch(driver, 1)
    request = driver.out.pop()
    fatal = MasivoConfigError("private")
    driver.engine.handle_failure(request.id, Failure("private", sent=False, fatal=fatal))
    driver.poll()
    assert "MasivoConfigError; nothing was sent" in told(driver, INFO)[0]


def test_isolation_is_told() -> None:
    """A refused batch is told with its halves, and a half by why it is sent."""
    driver = watched()
    in_batch(driver, 1, 2, 3)
    driver.answer(422)
    lines = told(driver)
    assert "the refused batch is sent as two, of 1 and 2, to find what is at fault" in lines
    assert any("1 event, " in line and "due by halving" in line for line in lines)


def test_a_token_that_is_thrown_away_is_told() -> None:
    """A 401, and a token that has expired, are told with their reason."""
    driver = watched(refresh_interval=None)
    in_batch(driver, 1)
    driver.answer(401)
    assert "token: thrown away, as a request with it was answered 401" in told(driver, INFO)
    driver.grant(jwt(5.0))
    driver.accept()
    driver.now += 6.0
    driver.authorizer._authorization = None  # as if no renewal had come of it
    driver.send(event(2))
    driver.flush()
    assert "token: thrown away, as it has expired" in told(driver, INFO)


def test_a_renewal_that_fails_is_told() -> None:
    """A failed renewal says that the token is still used, and when the next one is tried."""
    driver = watched(refresh_interval=100.0)
    driver.sign_in()
    assert any(line.startswith("token: does not tell its life; to be") for line in told(driver))
    driver.sleep()
    assert "it is time: the token is renewed" in told(driver)
    driver.dice.fix(1.0)
    driver.answer(500)
    assert told(driver, INFO) == [
        "authorization: answered 500 after 0.000 s",
        "token: still used; the renewal is tried again in 0 s",
    ]


def test_a_key_that_is_refused_is_told() -> None:
    """A definitive refusal is told, with the time for which events fail at once."""
    driver = watched()
    driver.send(event(1))
    driver.answer(401, {"error": "private"})
    assert told(driver, INFO) == [
        "authorization: answered 401 after 0.000 s",
        "the key was refused (MasivoAuthError (HTTP 401)): for 30 s events fail at once",
        "1 event failed: MasivoAuthError (HTTP 401); ask the Delivery for the details",
    ]


def test_a_secret_in_an_address_is_redacted() -> None:
    """A key that somebody put into a path is not told with the address."""
    driver = watched(api=Api(authorize_path=f"/auth/{KEY}", events_path=f"/events?key={KEY}"))
    in_batch(driver, 1)
    lines = told(driver)
    assert any("/auth/[redacted]" in line for line in lines)
    assert any("/events?key=[redacted]" in line for line in lines)
    assert not any(KEY in line for line in lines)


# ── Writing ──────────────────────────────────────────────────────────────────────────────────


class Log:
    """A logger that keeps its lines, and does something at each."""

    def __init__(self, act: Callable[[str], object] = lambda _: None) -> None:
        self.lines: list[str] = []
        self._act = act

    def log(self, level: int, msg: str, /) -> None:
        """Keep a line."""
        self.lines.append(msg)
        self._act(msg)

    def warning(self, msg: str, /) -> None:
        """Not called."""
        raise AssertionError

    def error(self, msg: str, /, *, exc_info: bool) -> None:
        """Not called."""
        raise AssertionError


def notes(*lines: str) -> Notes:
    """Notes that wait."""
    waiting = Notes()
    for line in lines:
        waiting.add(DEBUG, line)
    return waiting


def test_what_another_thread_adds_meanwhile_is_written_in_order() -> None:
    """While one thread writes, another neither waits nor writes out of turn: the first one takes
    its lines as well."""
    waiting = notes("first", "second")

    def meanwhile(line: str) -> None:
        if line == "first":
            waiting.add(DEBUG, "third")
            other = threading.Thread(target=waiting.write, args=(log,))
            other.start()
            other.join(10)
            assert not other.is_alive()

    log = Log(meanwhile)
    waiting.write(log)
    assert log.lines == ["first", "second", "third"]
    assert not waiting


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_handler_that_raises_stops_nothing(kind: type[BaseException]) -> None:
    """What a handler raises is dropped; an interrupt comes through, and what is left is written
    the next time."""
    waiting = notes("first", "second")

    def fail(line: str) -> None:
        if line == "first":
            raise kind

    log = Log(fail)
    if issubclass(kind, Exception):
        waiting.write(log)
    else:
        with pytest.raises(kind):
            waiting.write(log)
        waiting.write(log)
    assert log.lines == ["first", "second"]


@pytest.mark.parametrize(("status", "level"), [(299, DEBUG), (300, INFO)])
def test_what_is_no_success_is_told_at_info(status: int, level: int) -> None:
    """An answer below 300 is as it should be."""
    driver = watched()
    in_batch(driver, 1)
    told(driver)
    driver.answer(status)
    assert any(f"answered {status}" in line for line in told(driver, level))


def test_what_comes_in_is_told_with_what_waits() -> None:
    """Events that came in together, and all without an outcome."""
    driver = watched()
    driver.send_numbers(1)
    told(driver)
    driver.send_numbers(2, 3)
    assert "2 events taken in; 3 without outcome" in told(driver)


def test_a_token_that_is_never_renewed_is_told_so() -> None:
    """An opaque token without an interval."""
    driver = watched(refresh_interval=None)
    driver.sign_in()
    assert "token: does not tell its life; to be renewed never" in told(driver)


def test_every_timer_is_told_by_what_it_is_for() -> None:
    """The end of a close, and warnings that were held back."""
    driver = watched(refresh_interval=None, timeout=60.0, max_retries=0)
    driver.sign_in()
    for number in range(2):
        driver.buffer.send(event(number))
        driver.flush()
        driver.answer(418)
        driver.settled.clear()
        driver.poll()
    lines = told(driver)
    assert any(line.endswith("then warnings that were held back are written") for line in lines)
    driver.sleep()
    assert "it is time: warnings that were held back are written" in told(driver)
    in_batch(driver, 5)
    driver.close(5.0)
    assert "nothing to do for 5.000 s; then a close runs out" in told(driver)
    driver.sleep()
    assert "it is time: a close runs out" in told(driver)


def test_a_repeat_that_waits_for_nothing_is_told() -> None:
    """With a draw of 0 there is nothing to wait for; it is not the last one for that."""
    driver = watched()
    in_batch(driver, 1)
    driver.dice.always = 0.0
    driver.answer(503)
    assert any(line.endswith(": repeat 1 in 0.000 s") for line in told(driver, INFO))
