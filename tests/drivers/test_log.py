"""The log: unclaimed failures, sparingly, without content
(``docs/reference/guarantees.md#unclaimed-failures``)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from masivo import MasivoQueueFullError
from masivo.emulator import Emulator, Fault

from .conftest import join_workers
from .events import event, until
from .programs import run

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Connect

PRIVATE = "private-4711"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged so far, at any level, by any logger."""
    return [record.getMessage() for record in caplog.records]


def test_a_failure_nobody_asks_for_is_logged(
    connect: Connect, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning of the logger ``masivo`` tells how many events, and why; nothing of the events."""
    quote = Fault(status=403, body={"error": PRIVATE, "details": PRIVATE})
    emulator.fail(quote, route="events")
    client = connect()
    for n in range(3):
        client.send_analytics_event(event(n, referral_code=PRIVATE))
    client.flush(5)
    until(lambda: caplog.records)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("masivo", logging.WARNING)
    assert "3 events" in record.getMessage()
    assert "403" in record.getMessage()
    assert PRIVATE not in caplog.text


@pytest.mark.parametrize("how", ["result", "exception"])
def test_a_failure_that_was_asked_for_is_not_logged(
    connect: Connect, emulator: Emulator, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """Whoever asked has been told: nothing is logged, not even when the delivery is gone."""
    emulator.fail(Fault(status=403), route="events")
    client = connect(batch_size=1)
    delivery = client.send_analytics_event(event(1))
    if how == "result":
        with pytest.raises(Exception, match="Forbidden"):
            delivery.result(5)
    else:
        assert delivery.exception(5) is not None
    del delivery
    client.close()
    join_workers()
    assert lines(caplog) == []


def test_looking_is_not_asking(
    connect: Connect, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """``done()`` and ``repr()`` tell nobody why: the failure is still logged in the end."""
    emulator.fail(Fault(status=403), route="events")
    client = connect(batch_size=1)
    delivery = client.send_analytics_event(event(1))
    until(delivery.done)
    repr(delivery)
    assert lines(caplog) == []
    del delivery
    client.close()
    until(lambda: len(lines(caplog)) == 1)


def test_partly_asked_for(
    connect: Connect, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a batch that failed together, those are counted that are unclaimed."""
    emulator.fail(Fault(status=403), route="events")
    client = connect()
    deliveries = [client.send_analytics_event(event(n)) for n in range(5)]
    client.flush(5)
    for _ in range(2):  # twice is once
        assert None not in [delivery.exception(0) for delivery in deliveries[:2]]
    del deliveries
    client.close()
    until(lambda: lines(caplog))
    [line] = lines(caplog)
    assert "3 events" in line


def test_one_cause_is_logged_sparingly(
    connect: Connect, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Within a few seconds a cause is logged once; what was held back is told at the end."""
    emulator.fail(Fault(status=403), route="events", number=range(1, 11))
    emulator.fail(Fault(status=409), route="events", number=11)
    client = connect(batch_size=1)
    for n in range(11):
        client.send_analytics_event(event(n))
        client.flush(5)
    until(lambda: len(lines(caplog)) == 2)
    assert ["403" in line for line in lines(caplog)] == [True, False]
    client.close()
    until(lambda: len(lines(caplog)) == 3)
    assert "9 events" in lines(caplog)[2]


def test_a_full_buffer_is_logged(
    connect: Connect, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Events that were refused for lack of room do not vanish in silence either."""
    emulator.fail(Fault(delay=0.2), route="authorize")
    client = connect(max_queue=1, batch_size=1)
    for n in range(4):
        client.send_analytics_event(event(n))
    client.close()
    until(lambda: any(MasivoQueueFullError.__name__ in line for line in lines(caplog)))
    assert "max_queue" in caplog.text


def test_a_good_run_logs_nothing(
    connect: Connect, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """No line at INFO or above for what goes well, but the HTTP library's."""
    caplog.set_level(logging.INFO)
    client = connect()
    client.send_analytics_event(event(1))
    client.flush(10)
    client.close()
    assert {record.name for record in caplog.records} <= {"httpx"}


def test_a_repeat_is_told_at_info(
    connect: Connect, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """What went wrong and mends itself is told at INFO: the answer, and the wait."""
    caplog.set_level(logging.INFO, "masivo")
    emulator.fail(Fault(status=503), route="events")
    client = connect()
    client.send_analytics_event(event(1))
    client.flush(10)
    client.close()
    answered, repeated = [each for each in caplog.records if each.name == "masivo"]
    assert "response 503" in answered.getMessage()
    assert "retry 1" in repeated.getMessage()
    assert {answered.levelno, repeated.levelno} == {logging.INFO}


def test_no_secret_is_logged_at_any_level(
    connect: Connect, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """With everything at DEBUG, the HTTP library's loggers too, neither key nor token appears."""
    caplog.set_level(logging.DEBUG)
    emulator.fail(Fault(status=401), route="events", number=[1, 2])
    emulator.fail(Fault(reset="after_reading"), route="events", number=3)
    client = connect(batch_size=1)
    token = client.get_token(5)
    for n in range(3):
        client.send_analytics_event(event(n, referral_code=PRIVATE))
        client.flush(10)
    second = client.get_token(5)
    client.close()
    for secret in (emulator.client_key, token, second, PRIVATE):
        assert secret not in caplog.text


STATE = """
import logging
import asyncio, httpcore, httpx, trio

def state():
    loggers = {"": logging.getLogger(), **logging.root.manager.loggerDict}
    return {
        name: (list(each.handlers), each.level, each.propagate, each.disabled)
        for name, each in loggers.items()
        if isinstance(each, logging.Logger) and name != "masivo"
    }

before = state()
"""
"""Goes before a program: notes the state of all loggers but ours."""


def test_importing_the_package_leaves_other_loggers_alone(
    tmp_path: Path, emulator: Emulator
) -> None:
    """What a logger was before the package was imported, it is after its first use."""
    ended = run(
        tmp_path,
        emulator,
        """
        with Client() as client:
            client.send_analytics_event(event())
        masivo.AsyncClient, masivo.TrioClient
        after = state()
        print(sorted(name for name in before if after[name] != before[name]))
        """,
        prelude=STATE,
    )
    assert (ended.code, ended.out, ended.err) == (0, "[]\n", "")


def test_other_loggers_are_left_alone(connect: Connect) -> None:
    """No handler, level or propagation of any other logger is changed by using the package."""

    def state() -> dict[str, tuple[object, ...]]:
        loggers = {"": logging.getLogger(), **logging.root.manager.loggerDict}
        return {
            name: (list(each.handlers), each.level, each.propagate, each.disabled)
            for name, each in loggers.items()
            if isinstance(each, logging.Logger) and name != "masivo"
        }

    before = state()
    client = connect()
    client.send_analytics_event(event(1))
    client.close()
    after = state()
    assert {name: after[name] for name in before} == before
    masivo = logging.getLogger("masivo")
    assert all(isinstance(handler, logging.NullHandler) for handler in masivo.handlers)
    assert (masivo.level, masivo.propagate) == (logging.NOTSET, True)
