"""Clients with a spool under the test's control: time does not pass while their disk is at work."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import pytest
import trio

import masivo
from masivo.emulator import Fault
from masivo.spool.log import Log
from masivo.testing.kit.virtual import VirtualTime

from .events import event

if TYPE_CHECKING:
    from pathlib import Path

    from masivo.emulator import Emulator
    from masivo.protocol import ClientOptions, Note
    from masivo.testing import MasivoClock

WORLDS = "threads", "asyncio", "trio"


def spend(world: str, folder: Path, clock: MasivoClock, *seconds: float) -> None:
    """Send an event through a client with a spool, let time pass, and close the client."""
    options: ClientOptions = {"spool": folder, "idle_timeout": 30.0, "max_retries": 1}

    async def steps(client: masivo.AsyncClient | masivo.TrioClient) -> None:
        client.send_analytics_event(event())
        for each in seconds:
            await clock.aadvance(each)

    async def in_asyncio() -> None:
        async with masivo.AsyncClient(**options) as client:
            await steps(client)

    async def in_trio() -> None:
        async with masivo.TrioClient(**options) as client:
            await steps(client)

    if world == "asyncio":
        asyncio.run(in_asyncio())
    elif world == "trio":
        trio.run(in_trio)
    else:
        with masivo.Client(**options) as client:
            client.send_analytics_event(event())
            for each in seconds:
                clock.advance(each)


@pytest.mark.parametrize("world", WORLDS)
def test_time_stands_still_while_the_disk_is_at_work(
    world: str,
    masivo_clock: MasivoClock,
    masivo_emulator: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch whose note takes long arrives at the time at which it was due, however far the clock
    is moved meanwhile."""
    busy, note = VirtualTime._busy_reason, Log.note
    noting, looked = threading.Event(), threading.Event()

    def looks(self: VirtualTime) -> str | None:
        why = busy(self)
        if noting.is_set():
            looked.set()
        return why

    def slowly(self: Log, what: Note) -> None:
        noting.set()
        assert looked.wait(10)  # the clock may be moved on, if that is not prevented
        note(self, what)

    monkeypatch.setattr(VirtualTime, "_busy_reason", looks)
    monkeypatch.setattr(Log, "note", slowly)
    began = masivo_clock.time()
    spend(world, tmp_path / "spool", masivo_clock, 29.0, 1000.0)
    (batch,) = masivo_emulator.batches
    assert batch.received_at - began == pytest.approx(30.0)
    assert os.listdir(tmp_path / "spool") == []  # noqa: PTH208 (names)


@pytest.mark.parametrize("world", WORLDS)
def test_an_outage_of_hours_takes_no_time(
    world: str, masivo_clock: MasivoClock, masivo_emulator: Emulator, tmp_path: Path
) -> None:
    """What a client has left in an outage is delivered when the clock is moved past its end, by the
    same client or by the next one."""
    masivo_emulator.fail(Fault(status=503), route="events", times=2)
    spend(world, tmp_path / "spool", masivo_clock, 31.0, 3600.0)
    assert masivo_emulator.event_count == 1
    masivo_emulator.fail(Fault(status=503), route="events", times=2)
    spend(world, tmp_path / "spool", masivo_clock)  # its last try fails
    assert masivo_emulator.event_count == 1
    assert os.listdir(tmp_path / "spool")  # noqa: PTH208 (names)
    spend(world, tmp_path / "spool", masivo_clock, 31.0)
    assert masivo_emulator.event_count == 3
    assert os.listdir(tmp_path / "spool") == []  # noqa: PTH208 (names)
