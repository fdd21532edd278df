"""A fleet of processes: how soon others do what a dead relay did."""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from masivo import Client
from masivo.emulator import Emulator, Fault

from .redis_server import RedisServer
from .storm.relays import RelayProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "the-key-of-the-clients"
CUSTOMERS = 40


@pytest.mark.full
def test_a_dead_relay_is_replaced_within_five_seconds(tmp_path: Path) -> None:
    """What is stored while nobody has its partitions is delivered when others have taken them."""
    with RedisServer(tmp_path) as redis, Emulator() as api, ExitStack() as stack:
        one, two = relays = [
            RelayProcess(redis, api, KEY, tmp_path / f"{n}.log", "--idle-timeout", "0.05")
            for n in range(2)
        ]
        for each in relays:
            each.start()
            stack.callback(each.kill)
        for each in relays:
            each.wait()
        _wait(lambda: sorted(_shares(redis)) == [2, 2])
        with Client(KEY, base_url=one.url, idle_timeout=0.02) as client:
            _send(client, 0)
            api.wait_for(lambda api: api.event_count == CUSTOMERS, 20.0)
            two.kill()
            died = time.monotonic()
            _send(client, 1)
            api.wait_for(lambda api: api.event_count >= 2 * CUSTOMERS, 20.0)
            took = time.monotonic() - died
        print(f"delivered {took:.2f} s after the death of a relay")
        assert took < 5.0
        assert one.stop() == 0
        stack.pop_all()


@pytest.mark.full
def test_a_relay_ends_though_redis_and_the_api_hang(tmp_path: Path) -> None:
    """Within ten seconds of SIGTERM; what it had is delivered by the next."""
    with RedisServer(tmp_path) as redis, Emulator() as api:
        api.fail(Fault(delay=60.0), route="events", times=None)
        relay = RelayProcess(redis, api, KEY, tmp_path / "log", "--idle-timeout", "0.05")
        relay.start()
        try:
            relay.wait()
            with Client(KEY, base_url=relay.url, idle_timeout=0.02) as client:
                _send(client, 0)
            api.wait_for(lambda api: api.event_count > 0, 20.0)
            redis.pause(paused=True)
            began = time.monotonic()
            assert relay.stop() == 0
            assert time.monotonic() - began < 10.0
            redis.pause(paused=False)
            api.heal()
            relay.start()
            relay.wait()
            api.wait_for(lambda api: len({e["customer_id"] for e in api.events}) == CUSTOMERS, 20.0)
        finally:
            redis.pause(paused=False)
            relay.kill()


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_thousand_idle_connections_cost_others_nothing(tmp_path: Path) -> None:
    """And the relay little memory: some say nothing, others the beginning of a request."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with RedisServer(tmp_path) as redis, Emulator() as api, ExitStack() as stack:
        relay = RelayProcess(redis, api, KEY, tmp_path / "log", "--idle-timeout", "0.05")
        relay.start()
        stack.callback(relay.kill)
        relay.wait()
        before = relay.memory
        for number in range(1_000):
            each = stack.enter_context(socket.create_connection(("127.0.0.1", relay.port)))
            if number % 2:
                each.sendall(b"POST /api/storefront/v1/behavior/events/bulk HTTP/1.1\r\n")
        with Client(KEY, base_url=relay.url, idle_timeout=0.02) as client:
            _send(client, 0)
        api.wait_for(lambda api: api.event_count == CUSTOMERS, 20.0)
        assert relay.memory - before < 40_000


def _shares(redis: RedisServer) -> list[int]:
    """How many partitions each relay holds."""
    tokens = [redis.call("GET", f"{{masivo}}:lease:{number}") or b"" for number in range(4)]
    return [*Counter(token.partition(b":")[0] for token in tokens).values()]


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < until, "it does not become true"
        time.sleep(0.02)


def _send(client: Client, number: int) -> None:
    for customer in range(CUSTOMERS):
        name = f"c{customer}"
        event = {"type": "VIEW", "customer_id": name, "brand_id": None, "n": number}
        client.send_analytics_event(event)
    client.flush()
