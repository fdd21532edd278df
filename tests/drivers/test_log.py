"""The log: unclaimed failures, sparingly, without content
(``docs/reference/guarantees.md#unclaimed-failures``)."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from masivo._log import _Unheard, logger
from masivo.emulator import Emulator, Fault

from .conftest import join_workers
from .events import event, until
from .programs import run

if TYPE_CHECKING:
    from collections.abc import Generator
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


def test_other_loggers_are_left_alone(tmp_path: Path, emulator: Emulator) -> None:
    """Every logger but ``masivo`` is, after the package was imported and used, as it was before;
    that one has no handler that prints, no level of its own, and propagates."""
    ended = run(
        tmp_path,
        emulator,
        """
        with Client() as client:
            client.send_analytics_event(event())
        masivo.AsyncClient, masivo.TrioClient
        after = state()
        print(sorted(name for name in before if after[name] != before[name]))
        own = logging.getLogger("masivo")
        silent = all(isinstance(each, logging.NullHandler) for each in own.handlers)
        print(silent, own.level, own.propagate)
        """,
        prelude=STATE,
    )
    assert (ended.code, ended.out, ended.err) == (0, "[]\nTrue 0 True\n", "")


def warning(message: object, level: int = logging.WARNING) -> logging.LogRecord:
    """A record of the package's logger."""
    return logging.makeLogRecord({"msg": message, "levelno": level})


@contextmanager
def unheard() -> Generator[_Unheard]:
    """The package's handler in a program that has no other."""
    handler = _Unheard()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(logger, "handlers", [handler])
        patched.setattr(logging.getLogger(), "handlers", [])
        yield handler


def test_a_warning_without_a_handler_is_printed_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And nothing below a warning. A server may be ended by a signal, and print nothing later."""
    with unheard() as handler:
        handler.handle(warning("an activity", logging.INFO))
        assert capsys.readouterr().err == ""
        for message in "aba":
            handler.handle(warning(message))
            assert capsys.readouterr().err == f"masivo: {message}\n"


def test_what_a_callback_raised_is_printed_too(capsys: pytest.CaptureFixture[str]) -> None:
    """The traceback says which line is at fault."""
    error = KeyError("a line of on_error")
    with unheard() as handler:
        record = logging.makeLogRecord(
            {"msg": "raised", "levelno": logging.ERROR, "exc_info": (KeyError, error, None)}
        )
        handler.handle(record)
    assert capsys.readouterr().err == "masivo: raised\nKeyError: 'a line of on_error'\n"


@pytest.mark.parametrize("name", [None, "masivo"])
def test_a_warning_that_a_handler_receives_is_not_printed_again(
    capsys: pytest.CaptureFixture[str], name: str | None
) -> None:
    """The handler may be the root's or the package's: the application has seen to it."""
    with unheard() as handler:
        logging.getLogger(name).addHandler(logging.NullHandler())
        handler.handle(warning("seen"))
    assert capsys.readouterr().err == ""


def test_a_standard_error_that_is_gone_ends_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be printed is left out."""
    monkeypatch.setattr("sys.stderr", None)
    with unheard() as handler:
        handler.handle(warning("lost"))
