"""What the tests do in a loop besides using the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import anyio
from anyio.to_thread import run_sync

from masivo.protocol import Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from masivo import MasivoError
    from masivo._async.session import LoopSession, Member
    from masivo.emulator import Emulator
    from masivo.protocol import Delivery

    from .conftest import AnyClient


async def until(emulator: Emulator, predicate: Callable[[Emulator], object]) -> None:
    """Wait until something has arrived at the emulator."""
    await run_sync(emulator.wait_for, predicate, 15.0)


async def eventually(predicate: Callable[[], object]) -> None:
    """Let other tasks run until something is so; for what tells nobody when it is."""
    with anyio.fail_after(15):
        while not predicate():  # noqa: ASYNC110 (nobody would set an event)
            await anyio.sleep(0.002)


def error_of(delivery: Delivery) -> MasivoError | None:
    """The error of an event that has its outcome, without waiting."""
    assert delivery.done()
    outcome = delivery.claim()
    return outcome.error if isinstance(outcome, Failed) else None


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the package has logged in this test."""
    return [record.getMessage() for record in caplog.records if record.name == "masivo"]


def session_of(client: AnyClient) -> LoopSession:
    """The session that a client has joined."""
    assert client._joined is not None
    return cast("Member", client._joined.owner).session
