"""The main job, on real data: 6,919 purchases to the local emulator, from three worlds.

Run it with ``make demo``. It exits with a status other than 0 if anything differs from what was
sent, or one world's requests from another's.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import trio
from relays import lose_a_relay

from masivo import (
    AsyncClient,
    Client,
    MasivoError,
    MasivoServerKeyError,
    MasivoValidationError,
    Stats,
    TrioClient,
)
from masivo.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DATA = Path(__file__).parent / "data" / "cdnow_sample.txt"
BRAND = "cdnow"
STAMP = re.compile(rb'"issued_at":"[^"]*",')

Event = dict[str, object]


def purchases() -> Iterator[Event]:
    """The purchases as custom events, in the order of the file."""
    with DATA.open(encoding="ascii") as lines:
        for line in lines:
            customer, _, date, amount, value = line.split()
            yield {
                "type": "CD_PURCHASE",
                "customer_id": customer,
                "brand_id": BRAND,
                "product": {"sku": "CD", "amount": int(amount), "value": float(value)},
                # Not in issued_at, which must be recent: this happened in the nineties.
                "metadata": {"purchased_on": f"{date[:4]}-{date[4:6]}-{date[6:]}"},
            }


# ── The same job in three worlds ─────────────────────────────────────────────────────────────


def from_threads(events: list[Event], emulator: Emulator) -> Stats:
    """Send the events as a program with threads would."""
    with Client(emulator.client_key, base_url=emulator.url) as client:
        for number, event in enumerate(events, 1):
            client.send_analytics_event(event)
            if number % 1000 == 0:
                show_progress(number, client.stats(), len(events))
        client.flush(timeout=20)
        show_progress(len(events), client.stats(), len(events))
        return client.stats()


async def from_a_loop(events: list[Event], client: AsyncClient | TrioClient) -> Stats:
    """Send the events as a program with an event loop would."""
    async with client:
        for number, event in enumerate(events, 1):
            client.send_analytics_event(event)
            if number % 1000 == 0:
                show_progress(number, client.stats(), len(events))
        await client.flush(timeout=20)
        show_progress(len(events), client.stats(), len(events))
        return client.stats()


def from_asyncio(events: list[Event], emulator: Emulator) -> Stats:
    """Send the events from asyncio."""
    client = AsyncClient(emulator.client_key, base_url=emulator.url)
    return asyncio.run(from_a_loop(events, client))


def from_trio(events: list[Event], emulator: Emulator) -> Stats:
    """Send the events from trio."""
    client = TrioClient(emulator.client_key, base_url=emulator.url)
    return trio.run(from_a_loop, events, client)


def show_progress(sent: int, stats: Stats, total: int) -> None:
    """How far it is: a line that is written over, or a line each where that cannot be done."""
    bar = "█" * (30 * stats.delivered // total)
    over = "\r" if sys.stdout.isatty() else "\n"
    line = f"  {bar:<30} {sent:>6,} sent {stats.delivered:>6,} delivered"
    print(over + line, end="", flush=True)


@dataclass
class Run:
    """What one world did."""

    stats: Stats
    seconds: float
    batches: int
    exact: bool
    """Return True if the emulator holds exactly what was sent, in order."""
    transcript: list[tuple[str, str, list[str], bytes]]
    """Every request: method, path, names of the headers, body (but for its stamps)."""


def run(send: Callable[[list[Event], Emulator], Stats], events: list[Event]) -> Run:
    """Do the job in one world, with its own emulator."""
    with Emulator() as emulator:
        began = time.perf_counter()
        stats = send(events, emulator)
        seconds = time.perf_counter() - began
        print()
        return Run(
            stats,
            seconds,
            len(emulator.batches),
            unstamped(emulator.events) == events,
            [
                (each.method, each.path, list(each.headers), STAMP.sub(b"", each.body))
                for each in emulator.requests
            ],
        )


def unstamped(events: Sequence[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """The events without the client's stamp, which tells the time and so differs."""
    return [
        {name: value for name, value in event.items() if name != "issued_at"} for event in events
    ]


def deliver_real_data() -> bool:
    """The main job."""
    events = list(purchases())
    customers = len({event["customer_id"] for event in events})
    print(f"{len(events):,} purchases of {customers:,} customers")
    runs: dict[str, Run] = {}
    worlds = {"threads": from_threads, "asyncio": from_asyncio, "trio": from_trio}
    for name, send in worlds.items():
        print(f"\n{name}:", end="")
        runs[name] = run(send, events)

    def row(title: str, cell: Callable[[Run], object]) -> None:
        print(f"  {title:<34}" + "".join(f"{cell(each)!s:>10}" for each in runs.values()))

    first = runs["threads"].transcript
    print("\n" + " " * 36 + "".join(f"{name:>10}" for name in runs))
    row("accepted", lambda r: f"{r.stats.accepted:,}")
    row("delivered", lambda r: f"{r.stats.delivered:,}")
    row("failed", lambda r: r.stats.failed)
    row("batches", lambda r: r.batches)
    row("requests", lambda r: len(r.transcript))
    row("authorizations", lambda r: r.stats.authorizations)
    row("seconds", lambda r: f"{r.seconds:.2f}")
    row("arrived exactly as sent, in order", lambda r: "yes" if r.exact else "NO")
    row("the same requests as from threads", lambda r: "yes" if r.transcript == first else "NO")
    return all(
        r.exact and r.transcript == first and r.stats.delivered == len(events)
        for r in runs.values()
    )


# ── A process that is killed ─────────────────────────────────────────────────────────────────


def send_and_tell(key: str, url: str, spool: str) -> None:
    """Send the purchases with a spool, and tell of each call that has returned: in a process that
    is killed meanwhile."""
    client = Client(key, base_url=url, spool=spool)
    for number, event in enumerate(purchases(), 1):
        client.send_analytics_event(event)
        print(number, flush=True)


def survive_a_kill() -> bool:
    """What a killed process had sent is delivered by the next one."""
    print("\nA process is killed in the middle of its work; the next one delivers the rest:\n")
    events = list(purchases())
    with TemporaryDirectory() as folder, Emulator() as emulator:
        spool = f"{folder}/spool"
        killed = subprocess.Popen(
            [sys.executable, __file__, emulator.client_key, emulator.url, spool],
            stdout=subprocess.PIPE,
            text=True,
        )
        emulator.wait_for(lambda emulator: emulator.event_count >= 500, timeout=20)
        killed.kill()
        said, _ = killed.communicate()
        told = int(said.rpartition("\n")[0].split()[-1])
        before = emulator.event_count
        with Client(emulator.client_key, base_url=emulator.url, spool=spool) as client:
            client.flush(timeout=20)
        arrived = Counter(json.dumps(event) for event in unstamped(emulator.events))
    texts = [json.dumps(event) for event in events]
    missing = sum((Counter(texts[:told]) - arrived).values())
    twice = sum((arrived - Counter(texts)).values())
    print(f"  sent before the kill       {told:>6,}")
    print(f"  delivered before the kill  {before:>6,}")
    print(f"  missing in the end         {missing:>6,}")
    print(f"  delivered twice            {twice:>6,}  (the batch in flight at the kill, at most)")
    return not missing and twice <= 100


def lose_relay() -> bool:
    """What a killed relay had kept is delivered by another one."""
    return lose_a_relay(purchases())


# ── What a user sees when something is wrong ─────────────────────────────────────────────────


def refuse_bad_event() -> bool:
    """An event with a typo never leaves the process."""
    print("\nAn event with a typo is refused at the call:\n")
    with Emulator() as emulator, Client(emulator.client_key, base_url=emulator.url) as client:
        try:
            client.send_analytics_event({"type": "CD_PURCHASE", "custmer_id": "00004"})
        except MasivoValidationError as error:
            print(f"  MasivoValidationError: {error}")
            return not emulator.requests
    return False


def isolate_rejected_event() -> bool:
    """One event that the API rejects does not take its neighbours with it."""
    print("\nOne event of a hundred is rejected by the API; its 99 neighbours arrive:\n")
    events = list(purchases())[:100]
    bad = events[41]["product"] = {"sku": "RECALLED"}
    with Emulator() as emulator:
        emulator.reject = lambda event: (
            "this product was recalled" if event.get("product") == bad else None
        )
        with Client(emulator.client_key, base_url=emulator.url) as client:
            deliveries = [client.send_analytics_event(event) for event in events]
            result = client.flush(timeout=20)
            error = deliveries[41].exception()
        print(f"  {result.delivered} delivered, {result.failed} failed, in ", end="")
        print(f"{len(emulator.batches)} requests. Event 41 says:")
        print(f"  {type(error).__name__}: {error}")
        arrived = unstamped(emulator.events) == events[:41] + events[42:]
    return arrived and (result.delivered, result.failed) == (99, 1)


def refuse_server_key() -> bool:
    """A SERVER key is refused, with the cure."""
    print("\nA SERVER key is refused:\n")
    with Emulator() as emulator, Client(emulator.server_key, base_url=emulator.url) as client:
        delivery = client.send_analytics_event(next(purchases()))
        try:
            delivery.result(timeout=20)
        except MasivoServerKeyError as error:
            print(f"  MasivoServerKeyError: {error}")
            return not emulator.events
    return False


def main() -> int:
    """Run all parts; 0 if each went as it should."""
    parts = (
        deliver_real_data,
        *([survive_a_kill, lose_relay] if sys.platform in ("linux", "darwin") else []),
        refuse_bad_event,
        isolate_rejected_event,
        refuse_server_key,
    )
    try:
        results = [part() for part in parts]
    except (MasivoError, TimeoutError) as error:
        print(f"\nThe demo failed: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe demo was interrupted.", file=sys.stderr)
        return 130  # as a shell tells of SIGINT
    good = all(results)
    print("\nAll is as it should be." if good else "\nSOMETHING DIFFERS from what it should be.")
    return 0 if good else 1


if __name__ == "__main__":
    if sys.argv[1:]:
        send_and_tell(*sys.argv[1:])
    else:
        sys.exit(main())
