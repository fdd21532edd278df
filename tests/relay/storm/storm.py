"""One storm: what happens when is drawn by lot, and what came of it is counted."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from masivo import AsyncClient, Client, TrioClient
from masivo.emulator import Emulator, Fault
from masivo.relay.letters import dead_letters
from relay.redis_server import RedisServer

from .leases import Leases, partition_of
from .relays import RelayProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from masivo import AsyncDelivery, Delivery
    from masivo.emulator import RecordedRequest
    from masivo.protocol import ClientOptions

    from .leases import Lost

__all__ = ["Storm"]

KEY = "the-key-of-the-clients"
RELAYS = 3
PARTITIONS = 4
BATCH = 20
PAUSES = (4.5, 15.0)
"""For how long a relay is stopped, in seconds: longer than a lease."""
SETTLES_WITHIN = 60.0
"""How long a fleet may take to deliver what is left, in seconds."""
CLIENT: ClientOptions = {
    "batch_size": 10,
    "idle_timeout": 0.05,
    "max_retries": 10_000,
    "timeout": 3.0,
    "max_queue": 100_000,
}


class Storm:
    """A storm.

    Args:
        seed: of the lot.
        seconds: for which it lasts.
        directory: for files.

    Attributes:
        sent: how many events were sent.
        answered: the numbers of the events that were answered 200, by the client that sent them.
        happened: how often each thing was done to the fleet.
        lost: the leases that were lost.
        doubles: the events that the API accepted once more: their numbers, with the reason for
            which that may be; None: there is none.
        late: how many events that were not answered 200 came after later ones, as ``check`` found.
    """

    def __init__(self, seed: int, seconds: float, directory: Path) -> None:
        self.sent = 0
        self.answered: dict[str, list[int]] = {}
        self.happened: dict[str, int] = defaultdict(int)
        self.lost: list[Lost] = []
        self.doubles: list[tuple[int, str | None]] = []
        self.strikes: list[tuple[float, str]] = []
        self.requests: Sequence[RecordedRequest] = []
        self.late = 0
        self.exits: list[int] = []
        self.letters: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.authorizations = 0
        self.starts = 0
        self._seconds = seconds
        self._random = random.Random(seed)
        self._lot = random.Random(seed + 1)  # of the API's faults
        self._lock = threading.Lock()
        self._calm = False
        self._over = threading.Event()
        self._directory = directory

    def run(self) -> None:
        """Let it come and go."""
        with (
            RedisServer(self._directory) as redis,
            Emulator() as api,
        ):
            api.on_request = self._fault
            api.reject = lambda each: "bad" if each["metadata"]["n"] % 41 == 7 else None
            relays = [
                RelayProcess(
                    redis,
                    api,
                    KEY,
                    self._directory / f"relay-{number}.log",
                    *("--batch-size", str(BATCH), "--idle-timeout", "0.1"),
                    *("--partitions", str(PARTITIONS)),
                )
                for number in range(RELAYS)
            ]
            try:
                self._blow(relays, redis, api)
            finally:
                for each in relays:
                    if each.runs:
                        each.signal(signal.SIGCONT)
                        each.kill()

    def _blow(self, relays: list[RelayProcess], redis: RedisServer, api: Emulator) -> None:
        leases = Leases(redis, PARTITIONS)
        leases.start()
        for each in relays:
            each.start()
        for each in relays:
            each.wait()
        clients = [
            threading.Thread(target=function, args=(name, relays[number % RELAYS].url))
            for number, (name, function) in enumerate(self._clients())
        ]
        for client in clients:
            client.start()
        self._storm(relays, redis)
        self._calm = True
        for each in relays:
            each.wait()
        for client in clients:
            client.join(SETTLES_WITHIN)
            assert not client.is_alive(), "a client has not delivered what it had"
        until = time.monotonic() + SETTLES_WITHIN
        while sum(map(int, redis.call("HVALS", "{masivo}:counts"))):
            assert time.monotonic() < until, self._left(redis)
            time.sleep(0.05)
        self.lost = leases.stop()
        self.exits = [each.stop() for each in relays]
        self.letters = [json.loads(line) for line in dead_letters(redis.url, "masivo")]
        self.events = api.events
        self.requests = api.batches
        self.authorizations = len(api.authorizations)
        self.starts = sum(each.starts for each in relays)
        self.doubles = [*self.explained()]

    def _left(self, redis: RedisServer) -> str:
        """What is left, and what the relays say."""
        lines = ["the fleet has not delivered what it had"]
        for name in sorted(redis.call("KEYS", "{masivo}:[cdlms]*")):
            kind = redis.call("TYPE", name)
            if kind == b"stream":
                lines.append(f"{name}: {redis.call('XRANGE', name, '-', '+', 'COUNT', 2)}")
            elif kind == b"hash":
                lines.append(f"{name}: {redis.call('HGETALL', name)}")
            elif b":lease:" in name:
                lines.append(f"{name}: {redis.call('GET', name)}")
        lines += [each.read_text()[-3_000:] for each in self._directory.glob("relay-*.log")]
        return "\n".join(lines)

    # ── What befalls the fleet ───────────────────────────────────────────────────────────────

    def _struck(self, what: str, number: int | None = None) -> None:
        """Note that something befell the fleet."""
        self.happened[what] += 1
        self.strikes.append((time.time(), what if number is None else f"{what}: {number}"))

    def _storm(self, relays: list[RelayProcess], redis: RedisServer) -> None:
        until = time.monotonic() + self._seconds
        later: list[tuple[float, Callable[[], object]]] = []
        busy: set[int] = set()
        while time.monotonic() < until or later:
            for at, undo in [each for each in later if time.monotonic() >= each[0]]:
                later.remove((at, undo))
                undo()
            if time.monotonic() < until and self._random.random() < 0.05:
                free = [n for n in range(len(relays)) if n not in busy]
                what = self._random.choice(["kill", "kill", "pause", "redis"])
                now = time.monotonic()
                if what == "redis" and -1 not in busy:
                    busy.add(-1)
                    redis.kill()
                    self._struck("Redis killed")
                    wait = self._random.uniform(0.0, 1.0)
                    later.append((now + wait, _both(redis.start, busy, -1)))
                elif what != "redis" and len(free) > 1:  # one is left to take over
                    number = self._random.choice(free)
                    relay = relays[number]
                    busy.add(number)
                    if what == "kill":
                        relay.kill()
                        self._struck("relay killed", number)
                        wait = self._random.uniform(0.1, 2.0)
                        undone: Callable[[], object] = relay.start
                    else:
                        relay.signal(signal.SIGSTOP)
                        self._struck("relay paused", number)
                        wait = self._random.choice(PAUSES)
                        undone = _continue(relay)
                    later.append((now + wait, _both(undone, busy, number)))
            time.sleep(0.05)

    def _fault(self, request: RecordedRequest) -> Fault | None:
        with self._lock:
            draw = self._lot.random()
        if self._calm or draw > 0.12:
            return None
        if draw < 0.02:
            return Fault(status=401)
        if draw < 0.04:
            return Fault(status=429, headers={"Retry-After": "1"})
        if draw < 0.06:
            return Fault(status=500)
        if draw < 0.08:
            return Fault(reset="after_reading")
        if draw < 0.09 and request.route == "events":
            with self._lock:
                self.happened["response lost"] += 1
            return Fault(reset="after_processing")
        return Fault(delay=0.3)

    # ── Clients ──────────────────────────────────────────────────────────────────────────────

    def _clients(self) -> list[tuple[str, Callable[[str, str], None]]]:
        clients: list[tuple[str, Callable[[str, str], None]]] = [
            ("thread-0", self._threads),
            ("asyncio-0", self._asyncio),
            ("trio-0", self._trio),
            ("thread-1", self._threads),
            ("asyncio-1", self._asyncio),
            ("trio-1", self._trio),
        ]
        if shutil.which("node") is not None:
            clients.append(("js", self._node))
        return clients

    def _numbers(self) -> Iterator[int]:
        """Numbers of events, while the storm lasts. No two clients have the same."""
        until = time.monotonic() + self._seconds
        while time.monotonic() < until:
            with self._lock:
                self.sent += 1
                number = self.sent
            yield number

    def _threads(self, name: str, url: str) -> None:
        client = Client(KEY, **_options(url))
        sent: list[tuple[int, Delivery]] = []
        for number in self._numbers():
            sent.append((number, client.send_analytics_event(_event(name, number))))
            time.sleep(0.005)
        client.close(SETTLES_WITHIN)
        self.answered[name] = [n for n, each in sent if each.exception() is None]

    def _asyncio(self, name: str, url: str) -> None:
        async def main() -> None:
            client = AsyncClient(KEY, **_options(url))
            sent: list[tuple[int, AsyncDelivery]] = []
            for number in self._numbers():
                sent.append((number, client.send_analytics_event(_event(name, number))))
                await asyncio.sleep(0.005)
            await client.aclose(SETTLES_WITHIN)
            self.answered[name] = [n for n, each in sent if await each.exception() is None]

        asyncio.run(main())

    def _trio(self, name: str, url: str) -> None:
        async def main() -> None:
            async with TrioClient(KEY, **_options(url)) as client:
                sent: list[tuple[int, AsyncDelivery]] = []
                for number in self._numbers():
                    sent.append((number, client.send_analytics_event(_event(name, number))))
                    await trio.sleep(0.005)
                await client.aclose(SETTLES_WITHIN)
                self.answered[name] = [n for n, each in sent if await each.exception() is None]

        trio.run(main)

    def _node(self, name: str, url: str) -> None:
        program = str(Path(__file__).with_name("client.mjs"))
        process = subprocess.Popen(
            ["node", program, url, KEY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        for number in self._numbers():
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
            time.sleep(0.005)
        process.stdin.close()
        lines = process.stdout.read()
        assert process.wait() == 0
        process.stdout.close()
        self.answered[name] = [int(each) for each in lines.split()]

    # ── What came of it ──────────────────────────────────────────────────────────────────────

    def check(self) -> None:
        """Check what a fleet promises."""
        answered = {n for numbers in self.answered.values() for n in numbers}
        delivered = {each["metadata"]["n"] for each in self.events}
        rejected = {each["event"]["metadata"]["n"] for each in self.letters}
        assert answered - delivered - rejected == set(), "answered 200, and lost"
        assert not delivered & rejected
        assert all(n % 41 == 7 for n in rejected), "rejected without a reason"
        assert all(n % 41 != 7 for n in delivered)
        seen: set[int] = set()
        last: dict[str, int] = {}
        for each in self.events:
            number, customer = each["metadata"]["n"], each["customer_id"]
            if number in seen:
                continue
            seen.add(number)
            if number in answered:
                assert number > last.get(customer, 0), f"{customer}: {number} came too late"
                last[customer] = number
            elif number < last.get(customer, 0):
                self.late += 1  # its client had given it up when a paused relay stored it
        unexplained = [number for number, reason in self.doubles if reason is None]
        assert not unexplained, self._histories(unexplained)
        assert self.exits == [0] * RELAYS

    def explained(self) -> Iterator[tuple[int, str | None]]:
        """Each event that came once more, and the reason: its response was lost, or its relay lost
        the lease after it was sent and before it was removed."""
        for number, requests in self._accepted().items():
            partition = self._partition(requests[0], number)
            lost = [each for each in self.lost if each.partition == partition]
            for first, second in pairwise(requests):
                times = first.received_at, second.received_at
                fault = first.fault
                if fault is not None and fault.reset == "after_processing":
                    yield number, "response lost"
                elif any(each.had_in_flight(number, *times) for each in lost):
                    yield number, "lease lost"
                else:
                    yield number, None

    def _partition(self, request: RecordedRequest, number: int) -> int:
        """The partition of an event."""
        (customer,) = {
            each["customer_id"] for each in request.events or () if each["metadata"]["n"] == number
        }
        return partition_of(customer, PARTITIONS)

    def _accepted(self) -> dict[int, list[RecordedRequest]]:
        """For each event, the requests in which the API accepted it."""
        found: dict[int, list[RecordedRequest]] = defaultdict(list)
        for request in sorted(self.requests, key=lambda each: each.received_at):
            if request.accepted:
                for each in request.events or ():
                    found[each["metadata"]["n"]].append(request)
        return found

    def _histories(self, numbers: list[int]) -> str:
        """All that is known of some events."""
        accepted = self._accepted()
        lines = [f"{len(numbers)} events came twice for no reason:"]
        for number in numbers[:5]:
            requests = accepted[number]
            partition = self._partition(requests[0], number)
            lines.append(f"{number}, in partition {partition}")
            lines += [
                f"  {each.received_at:.3f} {each!r}, settled at {each.responded_at}"
                for each in requests
            ]
            lines += [
                f"  {each.since:.3f} to {each.at:.3f} lease lost, {len(each.waiting)} waiting, "
                f"{'' if number in each.waiting else 'not '}this one"
                for each in self.lost
                if each.partition == partition
            ]
        return "\n".join([*lines, *(f"{at:.3f} {what}" for at, what in self.strikes)])

    def __str__(self) -> str:
        happened = ", ".join(f"{what} {times}x" for what, times in sorted(self.happened.items()))
        answered = sum(map(len, self.answered.values()))
        reasons = Counter(reason for _, reason in self.doubles)
        return (
            f"{self.sent} events of {len(self.answered)} clients, {answered} answered 200, "
            f"{len(self.letters)} dead letters, {len(self.doubles)} delivered twice "
            f"({reasons['response lost']} as their response was lost, {reasons['lease lost']} in "
            f"flight at one of {len(self.lost)} lost leases, {reasons[None]} for no reason); "
            f"{happened}; {self.authorizations} authorizations of {self.starts} starts"
        )


def _options(url: str) -> ClientOptions:
    return {**CLIENT, "base_url": url}


def _event(name: str, number: int) -> dict[str, object]:
    customer = f"{name}-{number % 5}"
    return {
        "type": "VIEW",
        "customer_id": customer,
        "brand_id": None,
        "metadata": {"n": number, "from": name},
    }


def _continue(relay: RelayProcess) -> Callable[[], object]:
    return lambda: relay.signal(signal.SIGCONT)


def _both(first: Callable[[], object], busy: set[int], number: int) -> Callable[[], object]:
    def both() -> None:
        first()
        busy.discard(number)

    return both
