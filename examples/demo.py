"""The main job, on real data: 6,919 purchases through the client to the local emulator.

Run it with ``make demo``. It exits with a status other than 0 if anything differs from what was
sent.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from masivo import Client, MasivoError, MasivoServerKeyError, MasivoValidationError, Stats
from masivo.emulator import Emulator

DATA = Path(__file__).parent / "data" / "cdnow_sample.txt"
BRAND = "cdnow"

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


def send_all(events: list[Event], emulator: Emulator) -> tuple[Stats, float]:
    """Send the events as a shop's process would, with progress while it runs."""
    began = time.perf_counter()
    with Client(emulator.client_key, base_url=emulator.url) as client:
        deliveries = []
        for number, event in enumerate(events, 1):
            deliveries.append(client.send_analytics_event(event))
            if number % 1000 == 0 or number == len(events):
                show_progress(number, client.stats().delivered, len(events))
        client.flush(timeout=20)
        show_progress(len(events), client.stats().delivered, len(events))
        assert all(delivery.result().success for delivery in deliveries)
        stats = client.stats()
    print("\n")
    return stats, time.perf_counter() - began


def show_progress(sent: int, delivered: int, total: int) -> None:
    """How far it is: a line that is written over, or a line each where that cannot be done."""
    bar = "█" * (30 * delivered // total)
    over = "\r" if sys.stdout.isatty() else "\n"
    print(f"{over}  {bar:<30} {sent:>6,} sent {delivered:>6,} delivered", end="", flush=True)


def same(sent: list[Event], received: list[Event]) -> bool:
    """Whether the emulator holds what was sent, in order (but for the stamp of the client)."""
    return sent == [
        {key: value for key, value in event.items() if key != "issued_at"} for event in received
    ]


def deliver_real_data() -> bool:
    """The main job."""
    events = list(purchases())
    customers = len({event["customer_id"] for event in events})
    print(f"{len(events):,} purchases of {customers:,} customers, through masivo.Client:")
    with Emulator() as emulator:
        stats, seconds = send_all(events, emulator)
        good = same(events, list(emulator.events))
        table = {
            "accepted": f"{stats.accepted:,}",
            "delivered": f"{stats.delivered:,}",
            "failed": f"{stats.failed:,}",
            "batches": f"{len(emulator.batches):,}",
            "requests": f"{len(emulator.requests):,}",
            "authorizations": f"{stats.authorizations:,}",
            "seconds": f"{seconds:.2f}",
            "emulator holds exactly these, in order": "yes" if good else "NO",
        }
    for name, value in table.items():
        print(f"  {name:<40} {value:>8}")
    return good and stats.delivered == len(events)


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
        good = same(events[:41] + events[42:], list(emulator.events))
        print(f"  {result.delivered} delivered, {result.failed} failed, in ", end="")
        print(f"{len(emulator.batches)} requests. Event 41 says:")
        print(f"  {type(error).__name__}: {error}")
    return good and (result.delivered, result.failed) == (99, 1)


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
    parts = deliver_real_data, refuse_bad_event, isolate_rejected_event, refuse_server_key
    try:
        results = [part() for part in parts]
    except MasivoError as error:
        print(f"\nThe demo failed: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print("\nAll as it should be." if all(results) else "\nSOMETHING DIFFERS from what it should be.")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
