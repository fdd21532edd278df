"""Repeats in time: found by the storm, held here one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masivo import Client
from masivo.emulator import Fault

if TYPE_CHECKING:
    from masivo.emulator import Emulator

EVENT: dict[str, object] = {"type": "VIEW", "customer_id": "c", "brand_id": None}


@pytest.mark.parametrize("status", [503, 429])
def test_a_sleeping_thread_learns_of_an_earlier_repeat(emulator: Emulator, status: int) -> None:
    """While one thread sleeps until another client's batch is due, the repeat of a failed batch
    is sent when its own wait is over."""
    emulator.fail(Fault(status=status), route="events")
    with (
        Client(emulator.client_key, base_url=emulator.url, idle_timeout=9.0) as patient,
        Client(emulator.client_key, base_url=emulator.url) as client,
    ):
        patient.send_analytics_event(EVENT)
        client.send_analytics_event(EVENT)
        assert client.flush(7.0).delivered == 1
