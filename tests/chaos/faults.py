"""What can go wrong with a request over a real socket, drawn by lot.

None of these faults lies: where an answer can be taken for a success, the emulator has accepted
the request. So "delivered" must always mean "accepted".
"""

from __future__ import annotations

import gzip
import random
import zlib
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from masivo.emulator import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from masivo.emulator import RecordedRequest

__all__ = ["Storm", "bomb"]

MIB = 1 << 20
GZIP = {"Content-Encoding": "gzip"}

Draw: TypeAlias = "Callable[[random.Random], Fault]"


@cache
def bomb(encoding: str) -> bytes:
    """A few kilobytes that are 32 MiB when they are decoded."""
    return zlib.compress(b"\0" * (32 * MIB), 1, wbits=31 if encoding == "gzip" else 15)


NO_ANSWER: list[Draw] = [
    lambda _: Fault(reset="before_reading"),
    lambda _: Fault(reset="after_reading"),
    lambda _: Fault.lost_response(),
    lambda dice: Fault(close=True, process=dice.random() < 0.5),
    lambda dice: Fault(truncate_headers=dice.randrange(60), process=dice.random() < 0.5),
    lambda _: Fault.garbage(),
    lambda dice: Fault(raw=dice.randbytes(dice.randrange(400))),
    lambda dice: Fault(raw=b"HTTP/1.1 " + dice.randbytes(dice.randrange(1, 80)), process=True),
    lambda _: Fault(raw=b"HTTP/1.1 503 No\r\nContent-Length: -1\r\n\r\n"),
    lambda _: Fault(raw=b"HTTP/1.1 500 No\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\nx"),
    lambda _: Fault(raw=b"HTTP/1.1 502 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nno\r\n"),
    lambda _: Fault(raw=b"HTTP/1.1 503 " + b"x" * 200_000),
]
"""Nothing that could be an answer; a repeat may count twice."""

REPEATED: list[Draw] = [
    lambda dice: Fault(status=dice.choice([408, 429, 500, 502, 503, 504])),
    lambda dice: Fault.rate_limited(dice.choice([0, 0, 0, 0, 1])),
    lambda dice: Fault(
        status=429,
        headers={"Retry-After": dice.choice(["", "soon", "-5", "Wed, 21 Oct 2015 07:28:00 GMT"])},
    ),
    lambda dice: Fault(status=503, truncate=dice.randrange(40)),
    lambda _: Fault(status=503, endless=True),
    lambda _: Fault(status=500, size=MIB + 1),
    lambda dice: Fault(status=502, content_length=dice.randrange(5000)),
    lambda _: Fault(status=500, body=bomb("gzip"), headers=GZIP),
    lambda _: Fault(status=503, body=b"not gzip", headers=GZIP),
    lambda dice: Fault(status=500, body=dice.randbytes(300)),
]
"""Answers that ask for a repeat, or count as none."""

BEGUN_WELL: list[Draw] = [
    lambda dice: Fault(truncate=dice.randrange(30)),
    lambda _: Fault(content_length=4096),
    lambda _: Fault(endless=True),
    lambda _: Fault(size=MIB + 1),
    lambda _: Fault(headers=GZIP),
    lambda _: Fault(headers={"Content-Encoding": "br"}),
    lambda _: Fault(status=200, body=bomb("gzip"), headers=GZIP, process=True),
    lambda _: Fault(
        status=200, body=bomb("deflate"), headers={"Content-Encoding": "deflate"}, process=True
    ),
    lambda dice: Fault(status=200, body=dice.randbytes(100), process=True),
]
"""A success that has begun, and then breaks: never to be sent again."""

WELL: list[Draw] = [
    lambda _: Fault(status=204, body=b"", process=True),
    lambda _: Fault(status=202, body=b'{"message": "later"}', process=True),
    lambda dice: Fault(delay=dice.random() * 0.05),
    lambda _: Fault(size=MIB),
    lambda _: Fault(
        status=201, body=gzip.compress(b'{"data": [1, 2]}'), headers=GZIP, process=True
    ),
]
"""Odd, but a success."""

REFUSED: list[Draw] = [
    lambda _: Fault(status=401),
    lambda _: Fault(status=401),
    lambda _: Fault(status=401),
    lambda _: Fault(status=422),
    lambda _: Fault(status=413),
    lambda dice: Fault(status=dice.choice([403, 404, 405, 409, 418, 501, 599, 999])),
    lambda _: Fault(status=307, headers={"Location": "http://127.0.0.1:9/elsewhere"}),
    lambda dice: Fault.html(dice.choice([200, 404])),
]
"""Answers that end a batch, halve it, or want a fresh token."""

SHARES: list[tuple[float, Sequence[Draw]]] = [
    (0.16, NO_ANSWER),
    (0.12, REPEATED),
    (0.04, BEGUN_WELL),
    (0.06, WELL),
    (0.06, REFUSED),
]
"""How often each kind is met; the rest is answered as it should be."""

STALLS = 0.01
"""How often an answer stalls for longer than the client waits: each costs a whole timeout."""

SPARED = 40
"""The number of requests after a 401 that get none."""


class Storm:
    """Decides on the fault of each request, by the seed and the request's number.

    After a 401 the next requests get none: a second one to the same batch, for a fresh token, would
    have the key rest, and end the storm for half a minute.

    Args:
        seed: of the storm.
        timeout: the clients', in seconds.
        secrets: texts that some answers echo.
    """

    def __init__(self, seed: int, timeout: float, secrets: Sequence[str]) -> None:
        self.seed = seed
        self.timeout = timeout
        self.secrets = secrets
        self._spared = 0  # requests up to this number get no 401

    def __call__(self, record: RecordedRequest) -> Fault | None:
        """The fault of a request; what ``Emulator.on_request`` wants."""
        dice = random.Random(f"{self.seed}/{record.number}")
        authorizing = record.route == "authorize"
        if dice.random() < STALLS:
            return self._stall(dice)
        if dice.random() < 0.02:
            return self._echo(dice, record)
        lot = dice.random()
        for share, kind in SHARES:
            lot -= share
            if lot < 0:
                # A definitive refusal of the key would end the storm for half a minute.
                if authorizing and kind in (REFUSED, BEGUN_WELL, WELL):
                    return None
                return self._spare(dice.choice(kind)(dice), record.number)
        return None

    def _spare(self, fault: Fault, number: int) -> Fault | None:
        if fault.status != 401:
            return fault
        if number <= self._spared:
            return None
        self._spared = number + SPARED
        return fault

    def _stall(self, dice: random.Random) -> Fault:
        late = self.timeout * 1.5
        return dice.choice(
            [
                Fault(delay=late),
                Fault(delay_body=late),
                Fault(drip=late / 60),
                Fault(status=503, delay=late),
                Fault(endless=True, delay_body=late),
            ]
        )

    def _echo(self, dice: random.Random, record: RecordedRequest) -> Fault:
        token = record.headers.get("authorization", "").removeprefix("Bearer ")
        text = " ".join([*self.secrets, token]).strip()
        escaped = "".join(f"\\u{ord(each):04x}" for each in text)
        return dice.choice(
            [
                Fault(status=500, body={"error": text, "details": text}),
                Fault(status=503, body=f'{{"error": "{escaped}"}}'),
                Fault(status=502, body=text, headers={"X-Echo": text, "Content-Type": text}),
                Fault(raw=f"HTTP/1.1 {text}\r\n\r\n".encode()),
                Fault(raw=f"HTTP/1.1 503 No\r\nContent-Length: {text}\r\n\r\n".encode()),
            ]
        )
