"""The embedded store: clients of every world, through a relay with a spool, to the emulator."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import stat
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING, Unpack

import pytest
import trio

from masivo import AsyncClient, Client, TrioClient
from masivo.emulator import Emulator, Fault
from masivo.protocol import Secret
from masivo.relay import on_spool
from masivo.relay.metrics import Metrics
from masivo.relay.on_spool import SpoolStore, secret_in
from masivo.relay.store import RelayError
from masivo.spool.survey import Survey

from .relays import KEY, Running, batch, event, running, upstream, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from masivo.protocol import ClientOptions


@contextmanager
def spooled(
    emulator: Emulator,
    place: Path,
    *,
    key: str | None = None,
    replaced_key: bool = False,
    **options: Unpack[ClientOptions],
) -> Generator[Running, None, None]:
    """A relay with a spool, in front of an emulator.

    Args:
        emulator: the upstream.
        place: of the spool.
        key: the upstream's; None: the right one.
        replaced_key: see SpoolStore.
        options: of the client that delivers.
    """
    secret = Secret(key or emulator.client_key)

    def make(metrics: Metrics) -> SpoolStore:
        whole: ClientOptions = {"idle_timeout": 0.05, "base_url": emulator.url, **options}
        whole["on_activity"] = metrics.listen
        return SpoolStore(str(place), secret, metrics, replaced_key=replaced_key, **whole)

    with running(make, upstream(emulator.url)) as relay:
        yield relay


def down(emulator: Emulator) -> None:
    """Have the API take no event from now on."""
    emulator.fail(Fault(status=503), route="events", times=None)


# ── Delivery ─────────────────────────────────────────────────────────────────────────────────


def by_threads(url: str, events: list[dict[str, object]]) -> list[int]:
    with Client(KEY, base_url=url) as client:
        deliveries = [client.send_analytics_event(each) for each in events]
        client.flush()
        return [each.result().status for each in deliveries]


def by_asyncio(url: str, events: list[dict[str, object]]) -> list[int]:
    async def run() -> list[int]:
        async with AsyncClient(KEY, base_url=url) as client:
            deliveries = [client.send_analytics_event(each) for each in events]
            await client.flush()
            return [(await each).status for each in deliveries]

    return asyncio.run(run())


def by_trio(url: str, events: list[dict[str, object]]) -> list[int]:
    async def run() -> list[int]:
        async with TrioClient(KEY, base_url=url) as client:
            deliveries = [client.send_analytics_event(each) for each in events]
            await client.flush()
            return [(await each).status for each in deliveries]

    return trio.run(run)


@pytest.mark.parametrize("send", [by_threads, by_asyncio, by_trio])
def test_a_client_of_any_world_sends_through_it(
    emulator: Emulator,
    tmp_path: Path,
    send: Callable[[str, list[dict[str, object]]], list[int]],
) -> None:
    """By ``base_url`` alone; every event arrives once, in its customer's order, with the time that
    its client gave it."""
    events = [event(n, f"c{n % 5}") for n in range(250)]
    with spooled(emulator, tmp_path) as relay:
        assert send(relay.url, events) == [200] * 250
        wait_for(lambda: relay.numbers()["masivo_relay_delivered_events_total"] == 250)
        assert len(emulator.events) == 250
        for customer in range(5):
            mine = [each["n"] for each in emulator.events if each["customer_id"] == f"c{customer}"]
            assert mine == sorted(mine)
        assert all(each["issued_at"] for each in emulator.events)
        numbers = relay.numbers()
        assert numbers["masivo_relay_accepted_events_total"] == 250
        assert numbers["masivo_relay_waiting_events"] == 0


def test_events_arrive_byte_for_byte(emulator: Emulator, tmp_path: Path) -> None:
    """The spaces in them, their numbers, the order of their keys; a time is added where there is
    none."""
    given = b'{ "n":1.50, "type":"X","customer_id":"a","big":123456789012345678901234567890, '
    given += b'"brand_id":null }'
    with spooled(emulator, tmp_path) as relay:
        assert relay.send(b'{"events":[' + given + b"]}").status == 200
        wait_for(lambda: emulator.events)
        (request,) = emulator.batches
        assert given[1:] in request.body
        assert request.body.count(b"issued_at") == 1


def test_a_client_s_time_comes_from_the_upstream(tmp_path: Path) -> None:
    """Through the relay's ``Date``: with the API's clock an hour behind, no event is of the
    future there."""
    behind = Emulator(clock=lambda: time.time() - 3_600)
    with behind as emulator, spooled(emulator, tmp_path) as relay:
        relay.send(batch(event(0)))
        wait_for(lambda: emulator.events)
        with Client(KEY, base_url=relay.url) as client:
            client.get_token()
            client.send_analytics_event(event(1))
        wait_for(lambda: len(emulator.events) == 2)


def test_it_knows_the_upstream_s_time_before_the_first_event(tmp_path: Path) -> None:
    """So the first batch is not judged by the relay's own clock."""
    behind = Emulator(clock=lambda: time.time() - 3_600)
    with behind as emulator, spooled(emulator, tmp_path) as relay:
        soon = datetime.fromtimestamp(time.time() - 3_500, UTC).isoformat()
        wait_for(lambda: relay.send(batch(event(issued_at=soon))).status == 422)


def test_a_wrong_date_of_an_outage_changes_nothing_for_clients(
    emulator: Emulator, tmp_path: Path
) -> None:
    """Days ahead in a 503, which may be of a proxy before the API: no event of now is too old, and
    the relay's own ``Date`` stays."""
    wrong = {"Date": formatdate(time.time() + 500_000, usegmt=True)}
    emulator.fail(Fault(status=503, headers=wrong), route="events", times=None)
    with spooled(emulator, tmp_path) as relay:
        relay.send(batch(event(0)))
        wait_for(lambda: relay.numbers()["masivo_relay_upstream_up"] == 0.0)
        answer = relay.send(batch(event(issued_at=datetime.now(UTC).isoformat())))
        assert answer.status == 200
        said = parsedate_to_datetime(answer.headers["date"]).timestamp()
        assert abs(said - time.time()) < 60.0


def test_one_token_serves_all(emulator: Emulator, tmp_path: Path) -> None:
    """However many clients there are."""
    with spooled(emulator, tmp_path) as relay:
        for n in range(5):
            assert by_threads(relay.url, [event(n)]) == [200]
        wait_for(lambda: len(emulator.events) == 5)
    assert len([each for each in emulator.requests if each.route == "authorize"]) == 1


def test_what_it_kept_survives_its_end(emulator: Emulator, tmp_path: Path) -> None:
    """Events that were answered 200 are delivered by the next relay; its numbers count them."""
    down(emulator)
    with spooled(emulator, tmp_path) as relay:
        assert relay.send(batch(*(event(n) for n in range(30)))).status == 200
        wait_for(lambda: relay.numbers()["masivo_relay_upstream_up"] == 0)
    assert emulator.events == []
    with spooled(emulator, tmp_path) as relay:
        assert relay.numbers()["masivo_relay_waiting_events"] == 30
        emulator.heal()
        wait_for(lambda: len(emulator.events) == 30)
        wait_for(lambda: relay.numbers()["masivo_relay_waiting_events"] == 0)


def test_a_large_backlog_is_counted_before_it_is_read(emulator: Emulator, tmp_path: Path) -> None:
    """A relay that starts in an outage reads the first of it alone."""
    down(emulator)
    with spooled(emulator, tmp_path) as relay:
        for n in range(5):
            body = batch(*(event(n * 1_000 + m) for m in range(1_000)))
            assert relay.send(body).status == 200
    with spooled(emulator, tmp_path) as relay:
        wait_for(lambda: len(emulator.batches) > 1)
        assert relay.numbers()["masivo_relay_waiting_events"] == 5_000


def test_the_key_of_the_upstream_may_be_replaced(emulator: Emulator, tmp_path: Path) -> None:
    """What came before is delivered under the new one where the relay is told so, and else left."""
    down(emulator)
    with spooled(emulator, tmp_path, key="old-key") as relay:
        relay.send(batch(event(1)))
    emulator.heal()
    with spooled(emulator, tmp_path) as relay:
        relay.send(batch(event(2)))
        wait_for(lambda: emulator.events)
    assert [each["n"] for each in emulator.events] == [2]
    emulator.clear()
    with spooled(emulator, tmp_path, replaced_key=True):
        wait_for(lambda: len(emulator.events) == 1)


# ── Repeats ──────────────────────────────────────────────────────────────────────────────────


def test_a_batch_that_comes_again_is_not_stored_twice(emulator: Emulator, tmp_path: Path) -> None:
    """Under its key; another body under it is a 409, and without a key each counts."""
    with spooled(emulator, tmp_path) as relay:
        key = {"idempotency-key": "k"}
        body = batch(event(1), event(2))
        assert [relay.send(body, headers=key).status for _ in range(3)] == [200] * 3
        assert relay.send(batch(event(3)), headers=key).status == 409
        assert [relay.send(batch(event(4))).status for _ in range(2)] == [200] * 2
        wait_for(lambda: len(emulator.events) == 4)
        assert sorted(each["n"] for each in emulator.events) == [1, 2, 4, 4]
        assert relay.numbers()["masivo_relay_accepted_events_total"] == 4


def test_a_lost_response_costs_no_double(emulator: Emulator, tmp_path: Path) -> None:
    """A client of ours repeats a batch under its key: the relay tells it that it is kept."""
    with spooled(emulator, tmp_path) as relay:
        token = relay.token()
        body = batch(event(1))
        head = (
            f"POST {relay.path}/behavior/events/bulk HTTP/1.1\r\nhost: a\r\n"
            f"authorization: Bearer {token}\r\nidempotency-key: k\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        with relay.connect() as connection:
            connection.sendall(head.encode() + body)
            connection.recv(1)
        assert relay.send(body, token=token, headers={"idempotency-key": "k"}).status == 200
        wait_for(lambda: emulator.events)
        assert len(emulator.events) == 1


# ── Bounds ───────────────────────────────────────────────────────────────────────────────────


def test_a_full_spool_is_a_429_and_not_ready(emulator: Emulator, tmp_path: Path) -> None:
    """What was kept before is delivered, and nothing of the batch that was not; then there is room
    again, and a repeat of the batch stores it."""
    down(emulator)
    with spooled(emulator, tmp_path, spool_max_bytes=60_000) as relay:
        token = relay.token()
        count = 0
        while True:
            body = batch(*(event(10 * count + m, note="x" * 400) for m in range(10)))
            key = {"idempotency-key": f"k{count}"}
            answer = relay.send(body, token=token, headers=key)
            if answer.status != 200:
                break
            count += 1
        assert (answer.status, answer.headers["retry-after"]) == (429, "10")
        assert relay.ask("GET", "/ready", root=True).status == 503
        assert count > 3
        assert relay.numbers()["masivo_relay_waiting_events"] == 10 * count
        for other in (batch(event(-1, note="x" * 9_000)), batch(event(-2, note="x" * 9_000))):
            assert relay.send(other, token=token, headers={"idempotency-key": "x"}).status == 429
        emulator.heal()
        wait_for(lambda: relay.send(body, token=token, headers=key).status == 200)
        wait_for(lambda: len(emulator.events) == 10 * count + 10)
        assert sorted(each["n"] for each in emulator.events) == list(range(10 * count + 10))


def test_memory_bounds_nothing_but_memory(emulator: Emulator, tmp_path: Path) -> None:
    """Past ``max_queue`` events wait on disk alone, and are kept all the same."""
    with spooled(emulator, tmp_path, max_queue=10, batch_size=5) as relay:
        assert relay.send(batch(*(event(n) for n in range(200)))).status == 200
        wait_for(lambda: len(emulator.events) == 200)
        assert [each["n"] for each in emulator.events] == list(range(200))


# ── Outcomes ─────────────────────────────────────────────────────────────────────────────────


def test_rejected_events_are_dead_letters_and_no_noise(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each with its error, in the form that ``masivo import`` takes; no line of log speaks of
    deliveries that nobody holds."""
    emulator.reject = lambda given: "no such brand" if given["n"] % 2 else None
    with caplog.at_level(logging.WARNING), spooled(emulator, tmp_path) as relay:
        relay.send(batch(*(event(n) for n in range(6))))
        wait_for(lambda: relay.numbers()["masivo_relay_dead_letters"] == 3)
        assert relay.numbers()["masivo_relay_rejected_events_total"] == 3
        gc.collect()
    lines = [json.loads(line) for line in Survey(str(tmp_path)).rejected()]
    assert sorted(line["event"]["n"] for line in lines) == [1, 3, 5]
    assert all("no such brand" in line["rejected"]["reason"] for line in lines)
    assert "send_analytics_event" not in caplog.text
    assert sorted(each["n"] for each in emulator.events) == [0, 2, 4]


def test_an_outage_ends_nothing_and_is_no_noise(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Events wait, in order; what the log says is the relay's to say."""
    down(emulator)
    with caplog.at_level(logging.WARNING), spooled(emulator, tmp_path, max_retries=0) as relay:
        assert relay.send(batch(*(event(n) for n in range(20)))).status == 200
        wait_for(lambda: emulator.batches)
        assert relay.numbers()["masivo_relay_waiting_events"] == 20
        emulator.heal()
        wait_for(lambda: len(emulator.events) == 20, 60)
        assert [each["n"] for each in emulator.events] == list(range(20))
    assert caplog.messages == []


def test_a_server_key_delivers_nothing_and_loses_nothing(
    emulator: Emulator, tmp_path: Path
) -> None:
    """The relay takes events while its own key is refused: that can be put right."""
    with spooled(emulator, tmp_path, key=emulator.server_key) as relay:
        assert relay.send(batch(event(1))).status == 200
        wait_for(lambda: relay.numbers()["masivo_relay_upstream_up"] == 0)
        assert relay.numbers()["masivo_relay_waiting_events"] == 1


# ── The secret ───────────────────────────────────────────────────────────────────────────────


def test_the_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    """A token is good after the relay's restart; two relays that start at once agree."""
    secret = secret_in(str(tmp_path))
    assert secret_in(str(tmp_path)) == secret
    assert len(secret) == 32
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Survey(str(tmp_path)).is_spool()


def test_a_relative_directory_is_that_of_the_making(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service may change its own directory before it starts."""
    monkeypatch.chdir(tmp_path)
    options: ClientOptions = {"base_url": emulator.url}
    store = SpoolStore("spool", Secret(emulator.client_key), Metrics(), **options)
    monkeypatch.chdir("/")

    async def main() -> bytes:
        secret = await store.start()
        await store.stop(1.0)
        return secret

    assert asyncio.run(main()) == secret_in(str(tmp_path / "spool"))


def test_a_stop_ends_the_learning_of_the_time(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the API does not respond: no task is left in the loop."""

    async def learn(_: AsyncClient) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(on_spool, "learn_time", learn)
    options: ClientOptions = {"base_url": emulator.url}

    async def main() -> None:
        store = SpoolStore(str(tmp_path), Secret(emulator.client_key), Metrics(), **options)
        await store.start()
        (task,) = (each for each in asyncio.all_tasks() if each.get_name() == "masivo-relay-time")
        await store.stop(1.0)
        await asyncio.wait({task}, timeout=5)
        assert task.cancelled()

    asyncio.run(main())


def test_a_token_is_good_after_a_restart(emulator: Emulator, tmp_path: Path) -> None:
    """As the secret lies in the directory."""
    with spooled(emulator, tmp_path) as relay:
        token = relay.token()
    with spooled(emulator, tmp_path) as relay:
        assert relay.send(batch(event(1)), token=token).status == 200


def test_a_secret_that_is_none_is_refused(emulator: Emulator, tmp_path: Path) -> None:
    """One that others can read, or that is damaged: the message says to delete it, and does not
    show it."""
    file = tmp_path / "relay.secret"
    file.write_bytes(b"short")
    file.chmod(0o600)
    with pytest.raises(RelayError, match="damaged: delete it"), spooled(emulator, tmp_path):
        pass
    file.write_bytes(b"s" * 32)
    file.chmod(0o640)
    with pytest.raises(RelayError, match="read by other users") as caught:
        secret_in(str(tmp_path))
    assert "sss" not in str(caught.value)


def test_its_own_upstream_fault_is_no_error_of_a_client(emulator: Emulator, tmp_path: Path) -> None:
    """A client learns that its events are kept, whatever the API does with them later."""
    emulator.reject = lambda _: "no"
    with spooled(emulator, tmp_path) as relay:
        assert by_threads(relay.url, [event(1)]) == [200]
