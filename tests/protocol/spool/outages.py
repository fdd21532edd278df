"""An API that fails for a time, and processes that are killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.requests import is_authorization, numbers
from protocol.spooled import SpoolDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import Request
    from protocol.simulator import Driver


def outage(driver: Driver, seconds: float, status: int = 503) -> None:
    """Let the API fail for a time: whatever is sent gets this status."""
    until = driver.now + seconds
    while driver.now < until:
        for request in list(driver.out):
            if is_authorization(request):
                driver.grant()
            else:
                driver.respond(status, to=request)
        if driver.out:
            continue
        if driver.wake_at is None or driver.wake_at > until:
            driver.now = until
            driver.poll()
        else:
            driver.sleep()


def serve(driver: Driver, seconds: float, handle: Callable[[Request], None]) -> None:
    """Grant tokens for a time, and have every batch handled."""
    until = driver.now + seconds
    while driver.now < until:
        for request in list(driver.out):
            if is_authorization(request):
                driver.grant()
            else:
                handle(request)
        if not driver.out:
            assert driver.wake_at is not None
            driver.sleep_until(min(driver.wake_at, until))


def recover(driver: Driver, seconds: float = 60.0) -> list[Request]:
    """Let the API accept everything for a time; the batches, in order."""
    accepted: list[Request] = []
    until = driver.now + seconds
    driver.poll()
    while True:
        for request in list(driver.out):
            if is_authorization(request):
                driver.grant()
            else:
                accepted.append(request)
                driver.accept(request)
        if driver.out:
            continue
        if driver.wake_at is None or driver.wake_at >= until:
            driver.now = until
            driver.poll()
            return accepted
        driver.sleep()


def killed(driver: SpoolDriver, **options: object) -> SpoolDriver:
    """Kill a process, and begin another on the same disk."""
    driver.process.kill()
    return SpoolDriver(driver.disk, at=driver.now, **options)  # type: ignore[arg-type]  # of a test


def in_flight(driver: SpoolDriver, *which: int) -> Request:
    """Have one batch of these events on its way."""
    driver.send_numbers(*which)
    driver.flush()
    if is_authorization(driver.only()):
        driver.grant()
    return driver.batch()


def delivers_the_rest(driver: SpoolDriver, which: list[int], *, of: int) -> None:
    """Check that these events are delivered in this order, each once, of so many in all."""
    driver.flush()
    assert [n for each in recover(driver) for n in numbers(each)] == which
    stats = driver.buffer.stats()
    assert (stats.accepted, stats.delivered, stats.spooled, stats.queued) == (of, of, 0, 0)
    gate = driver.outbox.gate
    assert (gate.pending, gate.ended_bytes) == (0, gate.count()[2])
