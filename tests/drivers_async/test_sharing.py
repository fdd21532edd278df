"""Clients of one key in one loop: none minds how and when the others leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from drivers.events import arrived, event

import masivo
from masivo.emulator import Emulator, Fault

from .loops import eventually, until

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


@pytest.mark.parametrize("at_once", [False, True], ids=["normally", "by cancellation"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)], ids=["the first", "the last"])
async def test_clients_leave_in_any_order(
    emulator: Emulator, connect: Connect, order: tuple[int, ...], at_once: bool
) -> None:
    """Whichever client leaves first, the others go on sending, with the same token."""
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
