"""Clients of one key in one loop: one token, one timer, and none minds how the others leave."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

import masivo
from masivo.emulator import Emulator, Fault

from .events import arrived, event
from .loops import error_of, eventually, session_of, until

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from .conftest import AnyClient, Connect

pytestmark = pytest.mark.anyio

STUCK = Fault(delay=60, close=True)


class Stay:
    """A client in a task of its own, which stays until it is told to leave."""

    def __init__(self, client: AnyClient) -> None:
        self.client = client
        self.entered = anyio.Event()
        self.scope = anyio.CancelScope()
        self._leave = anyio.Event()
        self._left = anyio.Event()

    async def run(self) -> None:
        """Enter the client's block and stay in it."""
        with self.scope:
            async with self.client:
                self.entered.set()
                await self._leave.wait()
        self._left.set()

    async def leave(self, *, at_once: bool = False) -> None:
        """Leave the block, normally or by a cancellation, and wait until that is done."""
        if at_once:
            self.scope.cancel()
        self._leave.set()
        await self._left.wait()


async def stays(tasks: TaskGroup, *clients: AnyClient) -> list[Stay]:
    """Enter clients in this order."""
    entered: list[Stay] = []
    for client in clients:
        stay = Stay(client)
        tasks.start_soon(stay.run)
        await stay.entered.wait()
        entered.append(stay)
    return entered


async def test_clients_of_one_key_share_a_token(emulator: Emulator, connect: Connect) -> None:
    """However many clients of a key there are, there is one authorization and one session."""
    async with connect() as one, connect(brand_id="b") as two, connect(batch_size=1) as three:
        assert session_of(one) is session_of(two) is session_of(three)
        for n, client in enumerate((one, two, three)):
            client.send_analytics_event(event(n))
        assert await one.get_token() == await two.get_token()
    assert sorted(arrived(emulator)) == [0, 1, 2]
    assert len(emulator.authorizations) == 1


async def test_what_keeps_clients_apart(emulator: Emulator, connect: Connect) -> None:
    """Clients with another base_url, api or http_client share nothing."""
    other_url = emulator.url.replace("127.0.0.1", "localhost")
    async with httpx.AsyncClient() as http:
        others: list[dict[str, Any]] = [
            {"base_url": other_url},
            {"api": masivo.Api(sdk_header="other")},
            {"http_client": http},
        ]
        async with connect() as client:
            await client.get_token()
            for settings in others:
                async with connect(**settings) as other:
                    assert session_of(other) is not session_of(client)
                    await other.get_token()
    assert len(emulator.authorizations) == 4


@pytest.mark.parametrize("at_once", [False, True], ids=["normally", "by cancellation"])
@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_clients_leave_in_any_order(
    emulator: Emulator, connect: Connect, order: tuple[int, ...], at_once: bool
) -> None:
    """Whichever client leaves, the others go on sending, with the same token."""
    expected: list[int] = []
    async with anyio.create_task_group() as tasks:
        inside = await stays(tasks, *(connect() for _ in range(3)))
        await inside[0].client.get_token()
        for turn, leaver in enumerate(order):
            await inside[leaver].leave(at_once=at_once)
            for stayer in order[turn + 1 :]:
                number = 10 * turn + stayer
                inside[stayer].client.send_analytics_event(event(number))
                assert (await inside[stayer].client.flush(timeout=10)).delivered == 1
                expected.append(number)
    assert arrived(emulator) == expected
    assert len(emulator.authorizations) == 1


@pytest.mark.parametrize("at_once", [False, True], ids=["normally", "by cancellation"])
async def test_a_client_leaves_while_anothers_batch_is_out(
    emulator: Emulator, connect: Connect, at_once: bool
) -> None:
    """A request on its way belongs to the client whose events it carries: it is neither broken
    off nor repeated when another client leaves."""
    emulator.fail(Fault(delay=0.15), route="events")
    async with anyio.create_task_group() as tasks:
        leaver, stayer = await stays(tasks, connect(), connect(batch_size=1, max_retries=0))
        delivery = stayer.client.send_analytics_event(event())
        await until(emulator, lambda emulator: emulator.batches)
        await leaver.leave(at_once=at_once)
        assert (await delivery).success
        await stayer.leave()
    assert len(emulator.batches) == 1


@pytest.mark.parametrize("at_once", [False, True], ids=["normally", "by cancellation"])
@pytest.mark.parametrize("first_leaves", [True, False], ids=["the first", "the second"])
async def test_a_client_leaves_while_the_authorization_is_out(
    emulator: Emulator, connect: Connect, at_once: bool, first_leaves: bool
) -> None:
    """The one authorization that all wait for is no failure to those who stay, whoever leaves:
    they may not even have a retry."""
    emulator.fail(Fault(delay=0.15), route="authorize")
    async with anyio.create_task_group() as tasks:
        both = await stays(tasks, *(connect(batch_size=1, max_retries=0) for _ in range(2)))
        leaver, stayer = both if first_leaves else reversed(both)
        delivery = stayer.client.send_analytics_event(event())
        await until(emulator, lambda emulator: emulator.authorizations)
        await leaver.leave(at_once=at_once)
        assert (await delivery).success
        assert stayer.client.stats().retries == 0
        await stayer.leave()
    assert arrived(emulator) == [0]


async def test_destroying_one_client_leaves_the_other_alone(
    emulator: Emulator, connect: Connect
) -> None:
    """destroy() ends the events of its own client only."""
    emulator.fail(Fault(delay=0.2), route="authorize")
    async with connect(batch_size=1) as one, connect(batch_size=1) as two:
        lost, kept = one.send_analytics_event(event(1)), two.send_analytics_event(event(2))
        await until(emulator, lambda emulator: emulator.authorizations)
        one.destroy()
        assert isinstance(error_of(lost), masivo.MasivoClosedError)
        assert not kept.done()
        assert (await kept).success
    assert arrived(emulator) == [2]


async def test_one_refresh_timer_that_survives_who_began_it(
    emulator: Emulator, connect: Connect
) -> None:
    """The token is renewed for all clients at once, by the shortest interval among them, and
    goes on being renewed when that client's neighbour leaves."""
    async with anyio.create_task_group() as tasks:
        first, second = await stays(
            tasks, connect(refresh_interval=1000), connect(refresh_interval=0.2)
        )
        token = await first.client.get_token()
        await until(emulator, lambda emulator: len(emulator.authorizations) == 2)
        await first.leave()
        seen = len(emulator.authorizations)
        await until(emulator, lambda emulator: len(emulator.authorizations) >= seen + 2)
        assert await second.client.get_token() != token
        await second.leave()
    after = len(emulator.authorizations)
    await anyio.sleep(0.3)
    assert len(emulator.authorizations) == after


async def test_the_next_client_starts_fresh(emulator: Emulator, connect: Connect) -> None:
    """With the last client of a key its token is gone; after a refusal, the key is tried anew."""
    emulator.fail(Fault(status=401), route="authorize")
    async with connect() as client:
        with pytest.raises(masivo.MasivoAuthError):
            await client.get_token()
    for _ in range(2):
        async with connect() as client:
            await client.get_token()
    assert len(emulator.authorizations) == 3


async def test_a_client_made_inside_on_error_of_the_last(
    emulator: Emulator, connect: Connect
) -> None:
    """A callback that makes the next client while the last one closes gets one that works."""
    if connect().__class__ is masivo.TrioClient:
        return  # it can only be entered by a task
    emulator.fail(Fault(status=404), route="events")
    made: list[AnyClient] = []

    def on_error(_: masivo.FailedEvent) -> None:
        made.append(connect())
        made[0].send_analytics_event(event(2))

    async with connect(on_error=on_error) as client:
        client.send_analytics_event(event(1))
    await eventually(lambda: made)
    await made[0].aclose()
    assert arrived(emulator) == [2]
