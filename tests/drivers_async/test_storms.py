"""Cancellation storms: waiters, flushes, drains and whole groups, cancelled at random moments."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest
from drivers.events import arrived, event

import masivo
from masivo.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo import AsyncDelivery
    from masivo.emulator import RecordedRequest

    from .conftest import AnyClient, Connect

pytestmark = pytest.mark.anyio

SEEDS = range(2)


def faults(dice: random.Random) -> list[Fault | None]:
    """Answers of all kinds, quick ones."""
    return [
        *[None] * 6,
        Fault(delay=dice.random() * 0.02),
        Fault.unavailable(),
        Fault(reset="after_reading"),
        Fault.lost_response(),
        Fault(status=400),
        Fault(truncate=2),
        Fault.garbage(),
    ]


class Storm:
    """Tasks that use a client at random, and are cancelled at random."""

    def __init__(self, client: AnyClient, dice: random.Random) -> None:
        self.client = client
        self.dice = dice
        self.deliveries: list[AsyncDelivery] = []

    async def act(self) -> None:
        """One task's life: a few calls, each perhaps cut off by a cancellation of its own."""
        for _ in range(self.dice.randrange(1, 8)):
            with anyio.move_on_after(self.dice.choice([0, 0.001, 0.01, 0.1])):
                with suppress(masivo.MasivoError, TimeoutError):
                    await self._call()

    async def _call(self) -> None:
        kind = self.dice.randrange(6)
        if kind <= 2:
            for _ in range(self.dice.randrange(1, 30)):
                customer = f"c-{self.dice.randrange(5)}"
                self.deliveries.append(
                    self.client.send_analytics_event(event(customer_id=customer))
                )
            await anyio.sleep(self.dice.random() * 0.005)
        elif kind == 3:
            await self.client.flush(timeout=self.dice.choice([None, 0, 0.01]))
        elif kind == 4:
            await self.client.drain(timeout=self.dice.choice([None, 0, 0.01]))
        elif self.deliveries:
            await self.dice.choice(self.deliveries)

    async def group(self) -> None:
        """A group of tasks, perhaps cancelled as a whole."""
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(self.act)
            await anyio.sleep(self.dice.random() * 0.05)
            if self.dice.random() < 0.5:
                tasks.cancel_scope.cancel()


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_storm_of_cancellations(emulator: Emulator, connect: Connect, seed: int) -> None:
    """Whatever is cancelled when, no event is touched by it: all get an outcome by the end, and
    those that succeeded have arrived."""
    dice = random.Random(seed)
    kinds = faults(random.Random(seed))
    emulator.on_request = _at_random(kinds, seed)
    async with connect(
        batch_size=10, max_queue=60, max_in_flight=1 + 2 * (seed % 2), idle_timeout=0.01
    ) as client:
        storm = Storm(client, dice)
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(storm.group)
        emulator.heal()
        await client.aclose(timeout=None)
    assert all(delivery.done() for delivery in storm.deliveries)
    stats = client.stats()
    assert stats.accepted == stats.delivered + stats.failed
    assert len(arrived(emulator)) >= stats.delivered


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_storm_around_the_block(emulator: Emulator, connect: Connect, seed: int) -> None:
    """Blocks of clients of one key, each cancelled at a random moment: before its first request,
    while it sends, while it closes. Every delivery has its outcome as soon as its block is left."""
    dice = random.Random(seed)
    emulator.on_request = _at_random(faults(random.Random(seed)), seed)

    async def block() -> None:
        deliveries: list[AsyncDelivery] = []
        with anyio.move_on_after(dice.random() * 0.1):
            async with connect(batch_size=5, idle_timeout=0.01) as client:
                storm = Storm(client, dice)
                deliveries = storm.deliveries
                for _ in range(3):
                    await storm.act()
        assert all(delivery.done() for delivery in deliveries)

    async with anyio.create_task_group() as tasks:
        for _ in range(25):
            tasks.start_soon(block)
            await anyio.sleep(dice.random() * 0.01)


def _at_random(kinds: list[Fault | None], seed: int) -> Callable[[RecordedRequest], Fault | None]:
    def decide(request: RecordedRequest) -> Fault | None:
        return random.Random(f"{seed}-{request.number}").choice(kinds)

    return decide
