"""A driver in virtual time: the clock is a number, the network is the test.

``Driver.poll`` checks on every call (``docs/reference/guarantees.md#poll``): a second poll at the
same time is quiet, and ``wake_at`` is None or in the future. Activity must be made for a reader
alone: without one it costs nothing.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any, Unpack

from msgspec import structs

from masivo._protocol.errors import MasivoError
from masivo._protocol.json import encode
from masivo.protocol import (
    Buffer,
    Delivery,
    Engine,
    Failed,
    Failure,
    Json,
    Output,
    Request,
    Response,
    Secret,
    SendEventResult,
    Settings,
    configure,
    unwrap,
)

from .requests import is_authorization, numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from masivo.protocol import Activity, ClientOptions, FailedEvent, StoreWork, Ticket

KEY = "client-key-0123456789"
"""The API key of every test; long enough to be looked for in responses."""

TOKEN = "token-number-"
"""How every token begins that the driver hands out."""

BASE_URL = "https://api.example.test/v1"

START = 1000.0
"""What the monotonic clock reads when a test begins, in seconds."""

WALL = 1_767_225_600.0
"""What the wall clock reads then: 2026-01-01T00:00:00Z."""


def settings(
    *,
    key: str = KEY,
    environ: Mapping[str, str] | None = None,
    **options: Unpack[ClientOptions],
) -> Settings:
    """Checked settings: the constructor's defaults, but for what a test chooses."""
    options.setdefault("base_url", BASE_URL)
    return configure(Secret(key), environ={} if environ is None else environ, **options)


class Dice:
    """A random source: seeded, but for the draws that a test fixes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._fixed: deque[float] = deque()
        self.always: float | None = None
        """What every draw gives that is not fixed one by one."""

    def fix(self, *draws: float) -> None:
        """Let the next draws be these."""
        self._fixed.extend(draws)

    def random(self) -> float:
        """See ``RandomSource``."""
        if self._fixed:
            return self._fixed.popleft()
        return self._random.random() if self.always is None else self.always

    def getrandbits(self, k: int, /) -> int:
        """See ``RandomSource``."""
        return self._random.getrandbits(k)


def event(number: int = 0, customer: str = "c", **more: object) -> dict[str, object]:
    """A small valid event that can be told from others by its ``n``."""
    return {"type": "VIEW", "customer_id": customer, "brand_id": None, "n": number} | more


def result_of(delivery: Delivery) -> SendEventResult:
    """The result of a delivery that must be there, and no failure."""
    outcome = delivery.claim()
    assert isinstance(outcome, SendEventResult), outcome
    return outcome


def error_of(waited: Delivery | Ticket) -> MasivoError:
    """The error of a delivery or ticket that must have failed."""
    outcome = waited.claim()
    assert isinstance(outcome, Failed), outcome
    return outcome.error


def check_empty(output: Output, of: str) -> None:
    """Check that a poll had nothing to do."""
    assert not output.requests, f"{of} asked for requests"
    assert not output.settled, f"{of} settled deliveries"
    assert not output.tickets, f"{of} ended tickets"
    assert not output.warnings, f"{of} warned"


class Driver:
    """Polls an engine, and keeps what comes out of it.

    Attributes:
        now: the monotonic clock; add to it.
        wall: the wall clock at ``now == START``.
        out: the requests that have no result yet, in order.
        sent: every request so far.
        outcomes: how often each delivery was settled.
        held: True: work on a store is kept in ``works``, and not carried out at once.
        works: the work that is held.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        key: str = KEY,
        listening: bool = False,
        **options: Unpack[ClientOptions],
    ) -> None:
        self.now = START
        self.listening = listening
        self.activity: list[Activity] = []
        self.wall = WALL
        self.dice = Dice(seed)
        self.wakes = 0
        self.out: list[Request] = []
        self.sent: list[Request] = []
        self.settled: list[Delivery] = []
        self.tickets: list[Ticket] = []
        self.failed: list[FailedEvent] = []
        self.warnings: list[str] = []
        self.wake_at: float | None = None
        self.closed = False
        self.held = False
        self.works: list[StoreWork] = []
        self._tokens = 0
        self.settings = settings(key=key, **options)
        self.engine = Engine(
            self.settings.account,
            clock=lambda: self.now,
            wall_clock=lambda: self.wall + self.now - START,
            random=self.dice,
            wake=self._wake,
            listening=lambda: self.listening,
        )
        self.buffer = self.attach()
        self.core: Any = self.engine._context
        self.authorizer: Any = self.engine._authorizer
        self.outbox: Any = self.buffer.outbox
        self._report = self.core.report
        vars(self.core)["report"] = self._reported

    def attach(self) -> Buffer:
        """Attach the client."""
        return self.engine.attach(self.settings)

    def _wake(self) -> None:
        self.wakes += 1

    def _reported(self, activity: Activity, client: object = None) -> None:
        assert self.core.listening, f"{activity} was made, and nobody reads it"
        self._report(activity, client)

    def client(self, **options: Unpack[ClientOptions]) -> Buffer:
        """Attach one more client of the same key."""
        return self.engine.attach(structs.replace(self.settings, **options))

    # ── Time ─────────────────────────────────────────────────────────────────────────────────

    def poll(self) -> None:
        """Poll, again as long as the engine asks for it meanwhile, and check what always holds."""
        for _ in range(10):
            wakes = self.wakes
            output = self._poll()
            if wakes == self.wakes:
                break
        else:
            raise AssertionError("every poll asks for the next one")
        again = self._poll()
        check_empty(again, "a second poll at the same time")
        assert not again.activity, "a second poll at the same time reported activity"
        assert again.wake_at == output.wake_at, "a second poll moved the wake-up"
        self._step_again(output)

    def _step_again(self, last: Output) -> None:
        """A step that nothing asks for finds nothing to do, now or before the wake-up."""
        self.core.all_touched = True
        output = self._poll()
        check_empty(output, "a second step")
        assert not output.storage, "a second step asked for work on the store"
        if last.wake_at is not None:  # it may be later: see `Triggers.missing`
            assert output.wake_at is not None, "a second step asked for no wake-up"
            assert output.wake_at >= last.wake_at, "a second step asked for an earlier wake-up"
        else:
            assert output.wake_at is None, "a second step asked for a wake-up"

    def _poll(self) -> Output:
        output = self.engine.poll()
        assert output.wake_at is None or output.wake_at > self.now, "a wake-up in the past"
        self.wake_at = output.wake_at
        self.closed = output.closed
        self.activity.extend(output.activity)
        self.out.extend(output.requests)
        self.sent.extend(output.requests)
        for settled in output.settled:
            for delivery in settled.deliveries:
                assert delivery.outcome is settled.outcome
                self.settled.append(delivery)
        for ticket in output.closes:
            ticket.outcome = True  # as `settle` does
        self.tickets.extend([*output.tickets, *output.closes])
        self.failed.extend(call.failed for call in output.failed_events)
        self.warnings.extend(output.warnings)
        for work in output.storage:
            if self.held:
                self.works.append(work)
            else:
                self.engine.hand_back(work.id, work.run())
                self.wakes += 1
        return output

    def work(self) -> None:
        """Carry out the work that is held, then poll."""
        works, self.works = self.works, []
        for work in works:
            self.engine.hand_back(work.id, work.run())
        self.poll()

    def advance(self, seconds: float) -> None:
        """Let time pass without a poll, then poll."""
        self.now += seconds
        self.poll()

    def sleep(self) -> None:
        """Let time pass until the wake-up that the engine asked for, and poll then."""
        assert self.wake_at is not None, "the engine asked for no wake-up"
        self.now = self.wake_at
        self.poll()

    def sleep_until(self, moment: float) -> None:
        """Wake as often as the engine asks, up to ``moment``, and once more then."""
        self.poll()
        while self.wake_at is not None and self.wake_at < moment:
            self.sleep()
        self.now = moment
        self.poll()

    # ── The network ──────────────────────────────────────────────────────────────────────────

    def only(self) -> Request:
        """The one request that is out."""
        assert len(self.out) == 1, f"{len(self.out)} requests are out"
        return self.out[0]

    def batch(self) -> Request:
        """The one request that is out, which carries events."""
        request = self.only()
        assert not is_authorization(request), "an authorization is out, not a batch"
        return request

    def authorization(self) -> Request:
        """The one request that is out, which asks for a token."""
        request = self.only()
        assert is_authorization(request), "a batch is out, not an authorization"
        return request

    def respond(
        self,
        status: int,
        body: Json | bytes = None,
        *,
        to: Request | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Respond to a request (the one that is out) with a value as JSON, or bytes as they are."""
        request = self.only() if to is None else to
        self.out.remove(request)
        text = body if isinstance(body, bytes) else b"" if body is None else encode(body)
        self.engine.hand_back(request.id, Response(status, dict(headers or {}), text))
        self.poll()

    def accept(self, to: Request | None = None) -> None:
        """Let the API take a batch."""
        self.respond(200, {"ok": True}, to=to)

    def break_off(
        self,
        reason: str = "connection reset",
        *,
        to: Request | None = None,
        sent: bool = True,
        status: int | None = None,
        cause: BaseException | None = None,
    ) -> None:
        """Let a request (the one that is out) end without a complete response."""
        request = self.only() if to is None else to
        self.out.remove(request)
        self.engine.hand_back(request.id, Failure(reason, sent, status, cause))
        self.poll()

    def grant(self, token: str | None = None, *, headers: Mapping[str, str] | None = None) -> str:
        """Respond to the authorization that is out with a new token; the token."""
        (request,) = [each for each in self.out if is_authorization(each)]
        self._tokens += 1
        token = f"{TOKEN}{self._tokens}" if token is None else token
        self.respond(200, {"data": token}, to=request, headers=headers)
        return token

    def sign_in(self, token: str | None = None, *, headers: Mapping[str, str] | None = None) -> str:
        """Have a token fetched, with no event sent; the token."""
        ticket = self.buffer.token()
        self.poll()
        given = self.grant(token, headers=headers)
        assert unwrap(ticket.claim()) == given
        return given

    # ── What callers do ──────────────────────────────────────────────────────────────────────

    def send(self, *events: Mapping[str, object], buffer: Buffer | None = None) -> list[Delivery]:
        """Send events, then poll."""
        deliveries = [(buffer or self.buffer).send(each) for each in events]
        self.poll()
        return deliveries

    def send_numbers(self, *which: int, buffer: Buffer | None = None) -> list[Delivery]:
        """Send small events of these numbers, then poll."""
        return self.send(*(event(number) for number in which), buffer=buffer)

    def flush(self, buffer: Buffer | None = None) -> Ticket:
        """Flush, then poll."""
        ticket = (buffer or self.buffer).flush()
        self.poll()
        return ticket

    def close(self, timeout: float | None = None, buffer: Buffer | None = None) -> Ticket:
        """Close, then poll."""
        ticket = (buffer or self.buffer).close(timeout)
        self.poll()
        return ticket


def in_batch(driver: Driver, *which: int) -> tuple[Request, list[Delivery]]:
    """Have one batch of these events on its way, with a token; its request and deliveries."""
    deliveries = driver.send_numbers(*which)
    driver.flush()
    if is_authorization(driver.only()):
        driver.grant()
    request = driver.batch()
    assert numbers(request) == list(which)
    return request, deliveries


def shown(value: object) -> str:
    """Everything that a value shows of itself to a reader of logs and tracebacks."""
    texts = [repr(value), str(value), f"{value}", f"{[value]}"]
    if isinstance(value, MasivoError):
        texts += [repr(value.args), value.message, repr(value.details)]
    return "\n".join(texts)
