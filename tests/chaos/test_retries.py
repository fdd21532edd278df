"""Repeats in time: found by the storm, held here one by one."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from masivo import Client
from masivo.emulator import Fault

if TYPE_CHECKING:
    from masivo.emulator import Emulator

EVENT: dict[str, object] = {"type": "VIEW", "customer_id": "c", "brand_id": None}


def flush_beside_a_patient_one(emulator: Emulator) -> None:
    """Flush an event of a client, while that of another one waits for its time; close both."""
    with (
        Client(emulator.client_key, base_url=emulator.url, idle_timeout=9.0) as patient,
        Client(emulator.client_key, base_url=emulator.url) as client,
    ):
        patient.send_analytics_event(EVENT)
        client.send_analytics_event(EVENT)
        assert client.flush(8.0).delivered == 1


@pytest.mark.parametrize("status", [503, 429])
def test_a_sleeping_thread_learns_of_an_earlier_repeat(emulator: Emulator, status: int) -> None:
    """While one thread sleeps until another client's batch is due, the repeat of a failed batch
    is sent when its own wait is over."""
    emulator.fail(Fault(status=status), route="events", times=2)
    flush_beside_a_patient_one(emulator)


def test_no_thread_outlives_the_last_client(emulator: Emulator) -> None:
    """When the last client has closed, a thread that sleeps until some timer ends too."""
    flush_beside_a_patient_one(emulator)
    workers = [thread for thread in threading.enumerate() if thread.name == "masivo"]
    closed_at = time.monotonic()
    for thread in workers:
        thread.join(8.0)
    assert time.monotonic() - closed_at < 4.0
