"""What one call to send costs, counted in instructions and in memory."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
import pytest

from masivo import Client

from .core import Core, event, instructions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PLENTY = {"max_queue": 1_000_000, "max_queue_bytes": 1_000_000_000}


def walk(value: object) -> None:
    """The check for what JSON cannot carry, as one would write it."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return
    if kind is float:
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError
    elif isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            if type(key) is not str:
                raise TypeError
            walk(item)
    elif isinstance(value, list):
        for item in cast("list[object]", value):
            walk(item)
    else:
        raise TypeError


def by_hand(one: Mapping[str, object]) -> Callable[[], None]:
    """A function that walks over an event, encodes it and appends it."""
    encode, kept = msgspec.json.Encoder().encode, list[bytes]()

    def call() -> None:
        walk(one)
        kept.append(encode(one))

    return call


def test_a_call_of_the_core_is_no_longer_than_one_by_hand() -> None:
    """Checked, encoded and accounted for, an event takes hardly more instructions than a walk over
    it that is written without care, and its encoding."""
    core = Core(**PLENTY)
    for more in ({}, {"brand_id": None}, {"note": None}):
        one = event(1) | more
        send = partial(core.buffer.send, one)
        assert instructions(send) <= 1.25 * instructions(by_hand(one))


def test_a_client_adds_little_to_the_core() -> None:
    """The thread client's own part of a call is a twentieth at most."""
    core = Core(**PLENTY)
    client = Client("a-key", base_url="http://127.0.0.1:9", enabled=False)
    one = event(1)
    client.send_analytics_event(one)
    whole = instructions(lambda: client.send_analytics_event(one))
    core.buffer.send(one)
    assert whole <= 1.05 * instructions(lambda: core.buffer.send(one))


def test_a_call_does_not_grow_with_the_queue() -> None:
    """Behind 20,000 events a call takes the same instructions as behind 1,000."""
    core = Core(**PLENTY)
    one = event(1)
    counts: list[int] = []
    for waiting in (1_000, 20_000):
        for _ in range(core.buffer.stats().queued, waiting):
            core.buffer.send(one)
        counts.append(instructions(lambda: core.buffer.send(one)))
    assert counts[0] == counts[1]


def test_waiting_events_are_no_work_for_the_collector() -> None:
    """Nothing that waits is tracked by the garbage collector, and so none of it is walked."""
    core = Core(**PLENTY)
    kept = [core.send(number) for number in range(200)]
    core.poll()
    assert not any(gc.is_tracked(delivery) for delivery in kept)
    gc.collect()
    before = len(gc.get_objects())
    kept += [core.send(number) for number in range(5_000)]
    core.poll()
    assert len(gc.get_objects()) - before < 50


def test_a_waiting_event_takes_little_more_than_its_text() -> None:
    """A waiting event takes 1.3 times the memory of its encoded form in a list, at most."""
    count = 5_000
    encode = msgspec.json.Encoder().encode

    def text() -> object:
        return [encode(event(number)) for number in range(count)]

    def waiting() -> object:
        core = Core(**PLENTY)
        for number in range(count):
            core.send(number)
        core.poll()
        return core

    assert bytes_of(waiting) <= 1.3 * bytes_of(text)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from where Linux tells it")
def test_the_memory_of_the_encoder_is_not_kept() -> None:
    """The encoder returns a text in memory for a kilobyte, of which the process would not get back
    what it does not need: an event takes no more from it than a copy of its text."""
    program = (
        "from tests.performance.test_calls import *; "
        "core, one = Core(**PLENTY), event(1); "
        "stamped = one | {'issued_at': '2026-01-01T00:00:00Z'}; "
        "kept = [core.buffer.send(one) for _ in range(1_000)]; before = resident(); "
        "kept += [core.buffer.send(one) for _ in range(5_000)]; between = resident(); "
        "kept += [core.buffer.send(stamped) for _ in range(5_000)]; "
        "size = 5_000 * len(kept[-1].encoded); "
        "print((between - before) / size, (resident() - between) / size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert all(float(each) <= 2 for each in done.stdout.split())


def resident() -> int:
    """The memory that the process has, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def bytes_of(make: Callable[[], object]) -> int:
    """The memory that is taken by what ``make`` returns."""
    make()  # whatever is made once only
    gc.collect()
    tracemalloc.start()
    try:
        kept = make()
        size, _ = tracemalloc.get_traced_memory()
        del kept
    finally:
        tracemalloc.stop()
    return size
