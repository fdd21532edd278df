"""Events for the tests, a wait for what no event tells of, and a port that is closed."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from masivo.emulator import Emulator, RecordedRequest


def event(n: int = 0, **fields: object) -> dict[str, object]:
    """A good event with a number of its own, with these fields added or replaced."""
    return {
        "type": "ADD_TO_CART",
        "customer_id": "c-1",
        "brand_id": None,
        "metadata": {"n": n},
        **fields,
    }


def number(accepted: object) -> int:
    """The number of an event that arrived."""
    assert isinstance(accepted, dict)
    n: object = accepted["metadata"]["n"]  # pyright: ignore[reportUnknownVariableType]
    assert isinstance(n, int)
    return n


def arrived(emulator: Emulator) -> list[int]:
    """The numbers of the accepted events, in order of arrival."""
    return [number(each) for each in emulator.events]


def sent(request: RecordedRequest) -> list[int]:
    """The numbers of the events in a batch."""
    assert request.events is not None
    return [number(each) for each in request.events]


def statuses(requests: Sequence[RecordedRequest]) -> list[int | None]:
    """What requests were answered."""
    return [request.status for request in requests]


def until(true: Callable[[], object], timeout: float = 10.0) -> None:
    """Wait until something is true that no event tells of; fails after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"not true within {timeout:g} s"
        time.sleep(0.001)


def closed_port() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
