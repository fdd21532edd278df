"""A fleet of processes, each with the real engine, against one server, in virtual time.

Every process is a driver as ``masivo.protocol`` describes it, cut down to a few lines: time is the
fleet's, and the network is a delay. What is counted is what the server sees.
"""

from __future__ import annotations

import base64
import heapq
import json
import random
import time
from dataclasses import dataclass
from email.utils import formatdate
from itertools import count
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from masivo.protocol import Engine, Failure, Response, Secret, configure

if TYPE_CHECKING:
    from masivo.protocol import Buffer, Request, Settings

__all__ = ["BUCKET", "Fleet", "Plan", "Traffic", "run"]

BUCKET: Final = 10.0
"""Requests are counted in buckets of so many seconds."""

EPOCH: Final = 1_767_225_600.0
"""What the wall clock reads when the fleet starts."""

TOKEN_LIVES: Final = 3600.0
EVENT: Final[dict[str, object]] = {"type": "VIEW", "customer_id": "c", "brand_id": None}

Outage: TypeAlias = Literal["dead", "503", "retry-after date"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated; durations and times are in seconds since the start."""

    processes: int = 10_000
    duration: float = 86_400.0
    outage: tuple[float, float] = (43_200.0, 43_800.0)
    """From when until when no request succeeds."""
    kind: Outage = "dead"
    """How: unreachable (refused, or silent until the timeout), 503, or 503 with the end of the
    outage as a date in ``Retry-After``."""
    one_key: bool = False
    """Whether all processes share a key."""
    revoked_at: float | None = None
    """When the server revokes every token that it has issued."""
    event_every: float = 600.0
    """A process reports an event so often, on average, at random."""
    spread: float = 1.0
    """All processes start within so many seconds."""
    seed: int = 1


@dataclass(slots=True)
class Traffic:
    """What the server saw, by bucket, and what became of the events."""

    authorizations: list[int]
    events: list[int]
    """Requests with events."""
    sent: int = 0
    delivered: int = 0
    failed: int = 0

    @property
    def requests(self) -> list[int]:
        """All requests."""
        return [a + e for a, e in zip(self.authorizations, self.events, strict=True)]


@dataclass(slots=True, eq=False)
class Process:
    """One process: its engine, and when it wants to be polled."""

    engine: Engine
    buffer: Buffer
    wakes_at: float | None = None


Happening: TypeAlias = "tuple[float, int, Process, Request | None, Response | Failure | bool]"
"""Something that happens at a time: of those at one time, the first that was planned. To a process:
the result of a request; or without one, that it sends an event (True), or wants to be polled."""


class Fleet:
    """Runs a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.now = 0.0
        buckets = int(plan.duration / BUCKET) + 1
        self.traffic = Traffic([0] * buckets, [0] * buckets)
        self._dice = random.Random(plan.seed)
        self._heap: list[Happening] = []
        self._numbers = count()
        for number in range(plan.processes):
            self._start(number, self._settings(number))

    def _settings(self, number: int) -> Settings:
        key = "the-one-client-key" if self.plan.one_key else f"client-key-{number:08d}"
        return configure(Secret(key), environ={}, base_url="https://api.example.test/v1")

    def _start(self, number: int, settings: Settings) -> None:
        holder: list[Process] = []
        engine = Engine(
            settings.account,
            clock=self._clock,
            wall_clock=self._wall_clock,
            random=random.Random(f"{self.plan.seed}/{number}"),
            wake=lambda: self._wake(holder[0], self.now),
        )
        process = Process(engine, engine.attach(settings))
        holder.append(process)
        # A first event at once: it authorizes.
        starts_at = self._dice.random() * self.plan.spread
        self._plan(starts_at, process, None, True)

    def _clock(self) -> float:
        return self.now

    def _wall_clock(self) -> float:
        return EPOCH + self.now

    def _plan(
        self,
        at: float,
        process: Process,
        request: Request | None,
        result: Response | Failure | bool,
    ) -> None:
        heapq.heappush(self._heap, (at, next(self._numbers), process, request, result))

    def _wake(self, process: Process, at: float) -> None:
        if process.wakes_at is None or at < process.wakes_at:
            process.wakes_at = at
            self._plan(at, process, None, False)

    def run(self) -> Traffic:
        """Run to the end; what the server saw."""
        heap = self._heap
        while heap and heap[0][0] <= self.plan.duration:
            self.now, _, process, request, result = heapq.heappop(heap)
            if isinstance(result, Response | Failure):
                assert request is not None
                process.engine.hand_back(request.id, result)
            elif result:
                self._send(process)
                continue
            elif process.wakes_at != self.now:
                continue  # it has been woken before
            self._poll(process)
        return self.traffic

    def _send(self, process: Process) -> None:
        self.traffic.sent += 1
        process.buffer.send(EVENT)
        wait = self._dice.expovariate(1.0 / self.plan.event_every)
        self._plan(self.now + wait, process, None, True)

    def _poll(self, process: Process) -> None:
        process.wakes_at = None
        output = process.engine.poll()
        for settled in output.settled:
            if getattr(settled.outcome, "success", False):
                self.traffic.delivered += len(settled.deliveries)
            else:
                self.traffic.failed += len(settled.deliveries)
                for delivery in settled.deliveries:
                    delivery.claim()
        for request in output.requests:
            self._carry(process, request)
        if output.wake_at is not None:
            self._wake(process, output.wake_at)

    def _carry(self, process: Process, request: Request) -> None:
        """Count a request, and plan its answer."""
        bucket = int(self.now / BUCKET)
        counts = self.traffic.events if request.body else self.traffic.authorizations
        counts[bucket] += 1
        begins, ends = self.plan.outage
        if not begins <= self.now < ends:
            takes = 0.02 + 0.2 * self._dice.random()
            result: Response | Failure = self._well(request)
        elif self.plan.kind == "dead":
            silent = self._dice.random() < 0.5
            takes = request.timeout if silent else 0.01
            result = Failure("no answer", sent=silent)
        else:
            takes = 0.02 + 0.1 * self._dice.random()
            headers = {"date": http_date(self.now)}
            if self.plan.kind == "retry-after date":
                headers["retry-after"] = http_date(ends)
            result = Response(503, headers, b"{}")
        self._plan(self.now + takes, process, request, result)

    def _well(self, request: Request) -> Response:
        headers = {"date": http_date(self.now)}
        if not request.body:
            return Response(200, headers, json.dumps({"data": jwt(self.now)}).encode())
        revoked_at = self.plan.revoked_at
        if revoked_at is None or self.now < revoked_at:
            return Response(200, headers, b"{}")
        if issued(dict(request.headers)["authorization"]) < revoked_at:
            return Response(401, headers, b'{"error": "revoked"}')
        return Response(200, headers, b"{}")


def run(plan: Plan) -> tuple[Traffic, float]:
    """Run a plan; the traffic, and the seconds of CPU that it took."""
    began = time.process_time()
    return Fleet(plan).run(), time.process_time() - began


def jwt(now: float) -> str:
    """A token that tells when it was issued, and when it expires."""
    claims = f'{{"iat":{EPOCH + now},"exp":{EPOCH + now + TOKEN_LIVES}}}'
    return f"e30.{base64.urlsafe_b64encode(claims.encode()).decode()}.x"


def issued(authorization: str) -> float:
    """When a request's token was issued, in seconds since the start."""
    claims = json.loads(base64.urlsafe_b64decode(authorization.split(".")[1]))
    return float(claims["iat"]) - EPOCH


def http_date(now: float) -> str:
    """A ``Date`` header, or the date of a ``Retry-After``."""
    seconds = int(EPOCH + now)
    cached = _dates.get(seconds)
    if cached is None:
        _dates.clear()
        cached = _dates[seconds] = formatdate(seconds, usegmt=True)
    return cached


_dates: dict[int, str] = {}
