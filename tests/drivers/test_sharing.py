"""Clients of one key: what they share, and what they do not
(``docs/reference/guarantees.md#clients-of-one-key``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo import Api, FlushResult
from masivo.emulator import Fault

from .events import arrived, event

if TYPE_CHECKING:
    from masivo.emulator import Emulator

    from .conftest import Connect
    from .worlds import World


def test_clients_of_one_key_share_a_token(connect: Connect, emulator: Emulator) -> None:
    """Any number of clients of a key: one authorization, one token."""
    clients = [connect(brand_id=f"b-{n}") for n in range(5)]
    for n, client in enumerate(clients):
        client.send_analytics_event(event(n))
    for client in clients:
        assert client.flush(5) == FlushResult(1, 0)
    assert len({client.get_token(5) for client in clients}) == 1
    assert len(emulator.authorizations) == 1
    assert [client.stats().authorizations for client in clients] == [1] * 5


def test_each_client_has_its_own_brand_and_limits(connect: Connect, emulator: Emulator) -> None:
    """The default brand and the buffer belong to the client, not to the key."""
    one, two = connect(brand_id="b-1"), connect(brand_id="b-2", max_queue=1)
    plain = {"type": "X", "customer_id": "c", "platform": "web"}
    emulator.fail(Fault(delay=0.5), route="authorize")  # the buffer of one is still full
    for client in (one, two, one, two):
        client.send_analytics_event(plain)
    assert (one.flush(5).delivered, two.flush(5).delivered) == (2, 1)
    assert sorted(str(each["brand_id"]) for each in emulator.events) == ["b-1", "b-1", "b-2"]
    assert (one.stats().overflowed, two.stats().overflowed) == (0, 1)


def test_other_keys_and_choices_are_apart(
    world: World, connect: Connect, emulator: Emulator
) -> None:
    """Another ``base_url``, ``api`` or ``http_client`` means another token."""
    mine = world.http_client("httpx")
    clients = [
        connect(),
        connect(base_url=emulator.url.replace("127.0.0.1", "localhost")),
        connect(api=Api(stamp_issued_at=False)),
        connect(http_client=mine),
    ]
    tokens = {client.get_token(5) for client in clients}
    assert len(tokens) == len(clients)
    assert len(emulator.authorizations) == len(clients)
    for client in clients:
        client.close()
    world.close_http_client(mine)


def test_equal_choices_share(connect: Connect, emulator: Emulator) -> None:
    """Equal settings are the same, though they are written differently."""
    one = connect(base_url=emulator.url + "/", api=Api())
    two = connect(api=Api(events_key="events"))
    assert one.get_token(5) == two.get_token(5)


def test_closing_one_leaves_the_others(connect: Connect, emulator: Emulator) -> None:
    """A client that closes or is destroyed takes nothing from its siblings."""
    one, two, three = connect(), connect(), connect()
    for n, client in enumerate((one, two, three)):
        client.send_analytics_event(event(n))
    one.close()
    two.destroy()
    three.send_analytics_event(event(3))
    assert three.flush(5) == FlushResult(2, 0)
    assert sorted(arrived(emulator)) == [0, 2, 3]
    assert len(emulator.authorizations) == 1


def test_after_the_last_client_the_next_starts_fresh(connect: Connect, emulator: Emulator) -> None:
    """When the last client of a key is gone, so are its token and its counters."""
    tokens: set[str] = set()
    for round_ in range(1, 6):
        client = connect()
        assert client.stats().authorizations == 0
        tokens.add(client.get_token(5))
        assert client.stats().authorizations == 1
        client.close()
        assert len(emulator.authorizations) == round_
    assert len(tokens) == 5
