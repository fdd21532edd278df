"""The meaning of a seed: settings, steps of callers and their times, the fate of each request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CALM", "ClientPlan", "Fate", "Plan", "ServerPlan", "Step", "make_plan"]

T = TypeVar("T")

RETRYABLE: Final = (408, 429, 500, 502, 503, 504)
REJECTED: Final = (400, 413, 422)
OTHER: Final = (199, 301, 302, 304, 307, 308, 402, 403, 404, 405, 409, 410, 418, 451, 501, 505, 600)
SUCCESS: Final = (200, 201, 202, 204, 207, 299)


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """One client's settings, and how it ends."""

    brand_id: str | None = None
    batch_size: int = 100
    idle_timeout: float = 30.0
    max_wait: float = 60.0
    await_linger: float | None = 0.05
    refresh_interval: float | None = 300.0
    timeout: float = 10.0
    max_retries: int = 4
    max_in_flight: int = 1
    max_queue: int = 100_000
    max_queue_bytes: int = 67_108_864
    max_event_bytes: int = 262_144
    max_batch_bytes: int = 4_194_304
    isolate_rejected: bool = True
    enabled: bool = True
    on_error: bool = False
    before_send: bool = False
    on_activity: bool = False
    sends_again: bool = False
    """Whether ``on_error`` sends through it."""
    keeps: float = 1.0
    """The share of its deliveries that the caller keeps; the others are dropped at once."""
    ending: str = "close"
    """``close`` (no limit), ``deadline``, ``destroy`` or ``abandon``."""


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """How the server behaves when no fault is in play."""

    token: str = "opaque"
    """The form of its tokens: see ``server.py``."""
    life: float = 3600.0
    """Seconds for which a token works."""
    skew: float = 0.0
    """How far its clock is ahead of the caller's wall clock, in seconds."""
    quota: int = 0
    """Requests that it takes per ``window``; 0 for any number."""
    window: float = 60.0


@dataclass(frozen=True, slots=True)
class Fate:
    """The fate of one request."""

    kind: str = "ok"
    """See ``World._start``."""
    up: float = 0.01
    """Seconds until it reaches the server."""
    down: float = 0.01
    """Seconds until the response is back."""
    status: int = 503
    retry_after: str = ""
    """Its ``Retry-After``: see ``server.py``."""
    body: str = "plain"
    """The form of an error's body: see ``server.py``."""
    date: bool = True
    """Whether the response has a ``Date``."""
    only: str = ""
    """The method of the requests that it befalls; others go well."""
    late: bool = False
    """Whether the response comes all the same, after the driver gave up."""

    def mild(self) -> Fate:
        """The same without the fault; as slow, but for what is slow to a fault."""
        return Fate(up=self.up, down=min(self.down, 2.0), date=self.date)


CALM: Final = Fate()


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a caller, or the world, does at a moment."""

    at: float
    """Seconds after the start."""
    kind: str
    """The method ``Steps._<kind>``."""
    client: int
    x: int
    """Two numbers that the step uses as it likes."""
    y: int

    def __str__(self) -> str:
        return f"{self.kind} client={self.client} x={self.x} y={self.y}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a simulation does."""

    seed: int
    clients: tuple[ClientPlan, ...]
    """The first is there from the start; the others attach by a step, in this order."""
    server: ServerPlan
    steps: tuple[Step, ...]
    fates: tuple[Fate, ...]
    """By the number of the request; later ones are calm."""
    draw: float = 0.5
    """What the random source gives until a step changes it."""
    lag: float = 0.0
    """How late the driver polls, in seconds."""
    events_key: str | None = "events"
    sdk_header: str | None = "client"
    stamps: bool = True
    stubborn: bool = False
    """Whether ``Api.is_server_key_refusal`` raises."""
    listening: bool = False
    """Whether activity is read."""
    gzip: bool = False
    """Whether bodies of batches are compressed."""
    epoch: float = 1_767_225_600.0
    """What the caller's wall clock reads at time 0; the server's too, without skew."""
    settle: float = 0.0
    """Seconds of calm between the last step and the end."""

    def __str__(self) -> str:
        return "\n".join(map(str, (self.server, f"{self.draw=} {self.lag=}", *self.clients)))

    @property
    def parts(self) -> dict[str, Sequence[int]]:
        """See the frame: steps, and fates that are faults."""
        faults = [number for number, fate in enumerate(self.fates) if fate.kind != "ok"]
        return {"steps": range(len(self.steps)), "faults": faults}

    def only(self, parts: Mapping[str, Sequence[int]]) -> Plan:
        """The plan with these steps alone, and all fates calm but these."""
        faults = parts["faults"]
        return replace(
            self,
            steps=tuple(self.steps[number] for number in parts["steps"]),
            fates=tuple(
                fate if number in faults else fate.mild() for number, fate in enumerate(self.fates)
            ),
        )


def make_plan(seed: int) -> Plan:
    """The plan of a seed; the same on every machine."""
    random = Random(seed)
    clients = tuple(_client(random) for _ in range(random.choice((1, 1, 2, 2, 3, 5))))
    return Plan(
        seed,
        clients,
        _server(random),
        _steps(random, len(clients)),
        _fates(random),
        draw=random.choice((0.03, 0.25, 0.5, 0.999, random.random())),
        lag=random.choice((0.0, 0.0, 0.0, 0.003, 0.4)),
        events_key=random.choice(("events", "events", "events", "items", None)),
        sdk_header=random.choice(("client", "client", "client", None)),
        stamps=random.random() < 0.9,
        stubborn=random.random() < 0.1,
        epoch=1_767_225_600.0 + 86_400.0 * random.randrange(3650),
        settle=random.choice((0.0, 0.0, 20.0, 200.0)),
        listening=random.choice((30, 30, 30, 20, 10)) < 30,
        gzip=random.random() < 0.1,
    )


def _client(random: Random) -> ClientPlan:
    def pick(*choices: T) -> T:
        return random.choice(choices)

    max_event_bytes = pick(262_144, 262_144, 400)
    return ClientPlan(
        brand_id=pick(None, "brand-1"),
        batch_size=pick(1, 2, 3, 5, 8, 20, 20, 100),
        idle_timeout=pick(0.5, 2.0, 5.0, 30.0),
        max_wait=pick(1.0, 3.0, 10.0, 60.0),
        refresh_interval=pick(None, 10.0, 60.0, 300.0, 300.0),
        timeout=pick(1.0, 5.0, 10.0),
        max_retries=pick(0, 1, 2, 4, 4, 10),
        max_in_flight=pick(1, 1, 1, 2, 3, 8),
        max_queue=pick(1, 4, 12, 40, 100_000, 100_000),
        max_queue_bytes=pick(500, 2_000, 67_108_864, 67_108_864),
        max_event_bytes=max_event_bytes,
        max_batch_bytes=max(max_event_bytes, pick(400, 700, 1_500, 4_194_304, 4_194_304)),
        isolate_rejected=random.random() < 0.85,
        enabled=random.random() < 0.98,
        on_error=random.random() < 0.5,
        sends_again=random.random() < 0.2,
        keeps=pick(0.0, 0.5, 1.0),
        await_linger=pick(None, 0.05, 0.5, 4.0, 4.0),
        before_send=random.random() < 0.15,
        on_activity=random.random() < 0.2,
        ending=pick("close", "close", "deadline", "deadline", "destroy", "abandon"),
    )


def _server(random: Random) -> ServerPlan:
    return ServerPlan(
        token=random.choice(("opaque", "short", "jwt", "jwt", "jwt", "no-iat", "odd")),
        life=random.choice((15.0, 60.0, 400.0, 3600.0, 3600.0)),
        skew=random.choice((0.0, 0.0, -5000.0, 1.7, 86_400.0)),
        quota=random.choice((0, 0, 0, 4)),
        window=random.choice((10.0, 60.0, 400.0)),
    )


_CALLS: Final = {
    "send": 40,
    "flush": 6,
    "drain": 4,
    "cancel": 1,
    "token": 3,
    "close": 2,
    "destroy": 1,
    "abandon": 0.3,
    "abort": 0.2,
    "attach": 3,
    "wait": 5,
    "give_up": 5,
    "claim": 4,
    "drop": 4,
    "wall": 2,
    "server_clock": 0.5,
    "sleep": 1.5,
    "clock": 1,
    "revoke": 2,
    "grudge": 2,
    "roll": 6,
    "invalid": 3,
    "misuse": 0.5,
    "poll": 2,
    "interrupt": 6,
    "stream": 0.2,
    "exit": 0.5,
    "orphan": 0.5,
    "settings": 1,
    "spoil": 1,
}


def _steps(random: Random, clients: int) -> tuple[Step, ...]:
    kinds, weights = list(_CALLS), list(_CALLS.values())
    at = 0.0
    steps: list[Step] = []
    pace = random.choice(((5, 3, 1, 0), (3, 3, 3, 1), (1, 2, 3, 1)))
    for _ in range(random.choice((8, 20, 35, 50))):
        match random.choices((0, 1, 2, 3), pace)[0]:
            case 0:
                pass
            case 1:
                at += random.choice((0.001, 0.02, random.random()))
            case 2:
                at += random.uniform(0.5, 20.0)
            case _:
                at += random.choice((30.0, 60.0, 300.0, random.uniform(10.0, 1500.0)))
        kind = random.choices(kinds, weights)[0]
        step = Step(
            round(at, 3),
            kind,
            random.randrange(clients),
            random.randrange(1 << 16),
            random.randrange(1 << 16),
        )
        steps.append(step)
    return tuple(steps)


_FAULTS: Final = {
    "unsent": 4,
    "reset_before": 4,
    "reset_after": 4,
    "cut": 1,
    "cut_error": 2,
    "retryable": 10,
    "retryable_after": 2,
    "rejecting": 4,
    "unauthorized": 4,
    "server_key": 2,
    "other": 3,
    "success": 3,
    "not_json": 1,
    "slow": 3,
    "fatal": 0.5,
    "no_token": 1,
}

RETRY_AFTER: Final = {
    "": 14,
    "0": 1,
    "1": 2,
    " 7 ": 2,
    "45": 2,
    "300": 1,
    "301": 1,
    "4000": 1,
    "99999999999999999999": 0.3,
    "-1": 0.3,
    "1.5": 0.3,
    "\u0663": 0.3,
    "soon": 0.3,
    "imf+20": 1,
    "imf-20": 0.5,
    "rfc850+9": 0.7,
    "asctime+9": 0.7,
    "imf+2000": 0.5,
    "imf-broken": 0.3,
    "leap": 0.5,
}

BODIES: Final = (
    *("plain", "plain", "message", "text", "empty", "array", "number", "nested", "both", "blank"),
    *("long", "echo", "escaped", "served", "html", "broken"),
)


def _fates(random: Random) -> tuple[Fate, ...]:
    rate = random.choice((0.0, 0.1, 0.3, 0.5, 0.9))
    sticky = random.choice((0.0, 0.5, 0.9))
    slow = random.choice((0.005, 0.1, 2.0))
    faults = random.sample(list(_FAULTS), random.choice((2, 4, len(_FAULTS))))
    weights = [_FAULTS[kind] for kind in faults]
    fates: list[Fate] = []
    fate = CALM
    cycle = [_fault(random, random.choice(faults)) for _ in range(random.choice((2, 3, 4)))]
    cycles = random.random() < 0.25
    for number in range(random.choice((20, 60, 120))):
        if cycles:
            fate = cycle[number % len(cycle)]
        elif not fates or random.random() >= sticky:
            fate = CALM
            if random.random() < rate:
                fate = _fault(random, random.choices(faults, weights)[0])
        up, down = random.uniform(0.0, slow), random.uniform(0.001, slow)
        if fate.kind == "slow":
            down += random.choice((1.0, 5.0, 12.0))
        fates.append(
            replace(
                fate,
                up=round(up, 4),
                down=round(down, 4),
                date=random.random() < 0.8,
                late=random.random() < 0.5,
            )
        )
    return tuple(fates)


def _fault(random: Random, kind: str) -> Fate:
    status = {
        "retryable": random.choice(RETRYABLE),
        "retryable_after": random.choice(RETRYABLE),
        "rejecting": random.choice(REJECTED),
        "unauthorized": 401,
        "server_key": random.choice((400, 401, 403)),
        "other": random.choice(OTHER),
        "success": random.choice(SUCCESS),
        "cut_error": random.choice((*RETRYABLE, 401, 400, 404)),
    }.get(kind, 200)
    return Fate(
        kind,
        status=status,
        retry_after=random.choices(list(RETRY_AFTER), list(RETRY_AFTER.values()))[0],
        only=random.choice(("", "POST", "POST", "GET")),
        body="served" if kind == "server_key" else random.choice(BODIES),
    )
