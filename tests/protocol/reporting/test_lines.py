"""The lines of ``MASIVO_LOG``: the level and the text of each kind of activity."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from masivo._protocol.reporting.lines import DEBUG, INFO, line
from masivo._protocol.sending.timers import Timer
from masivo.protocol import (
    Activity,
    AuthorizationSent,
    BatchHalved,
    BatchSent,
    BatchSettled,
    CallWaits,
    ClientReleased,
    EventsAdopted,
    EventsFailed,
    EventsQueued,
    EventsSpooled,
    FlushEnded,
    Idle,
    KeyRefused,
    LongHold,
    RenewalFailed,
    RequestAbandoned,
    RequestFailed,
    ResponseReceived,
    RetryScheduled,
    TimerFired,
    TokenGranted,
    TokenRevoked,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = 100.0

LINES: Sequence[tuple[Activity, int, str]] = [
    (EventsQueued(NOW, 1, 3), DEBUG, "1 event queued; 3 pending"),
    (EventsQueued(NOW, 2, 2), DEBUG, "2 events queued; 2 pending"),
    (
        AuthorizationSent(NOW, 1, "https://a.test/x", 0, 10.0),
        DEBUG,
        "authorization: GET https://a.test/x (request 1, timeout 10 s)",
    ),
    (
        BatchSent(NOW, 3, "https://a.test/y", 1, 0.5, "0a1b", 2, 99, "flush"),
        DEBUG,
        (
            "batch 0a1b: 2 events, 99 bytes, due by flush: POST https://a.test/y "
            "(request 3, retry 1, timeout 0.5 s)"
        ),
    ),
    (
        ResponseReceived(NOW, 1, None, 299, 0.25),
        DEBUG,
        "authorization: response 299 after 0.250 s",
    ),
    (ResponseReceived(NOW, 1, "0a1b", 300, 2.0), INFO, "batch 0a1b: response 300 after 2.000 s"),
    (
        RequestFailed(NOW, 1, "0a1b", None, 1.0, ("OSError", "ConnectionResetError"), False),
        INFO,
        (
            "batch 0a1b: no usable response after 1.000 s: OSError from ConnectionResetError; "
            "nothing was sent"
        ),
    ),
    (
        RequestFailed(NOW, 1, None, 200, 1.0, (), True),
        INFO,
        "authorization: no usable response after 1.000 s (status 200)",
    ),
    (RetryScheduled(NOW, "0a1b", 1, 0.25, "backoff"), INFO, "batch 0a1b: retry 1 in 0.250 s"),
    (
        RetryScheduled(NOW, "0a1b", 2, 7.0, "Retry-After"),
        INFO,
        "batch 0a1b: retry 2 in 7.000 s, as Retry-After says",
    ),
    (
        RetryScheduled(NOW, None, 1, 0.0, "last try"),
        INFO,
        "authorization: retry 1 now, a last time",
    ),
    (LongHold(NOW, 999.6), INFO, "Retry-After says 1000 s: until then batches fail at once"),
    (
        BatchHalved(NOW, "0a1b", 1, 2),
        INFO,
        "the rejected batch is sent as two, of 1 and 2, to find the events at fault",
    ),
    (
        EventsFailed(NOW, 1, "MasivoError", 429),
        INFO,
        "1 event failed: MasivoError (HTTP 429); the Delivery has the details",
    ),
    (
        EventsFailed(NOW, 2, "MasivoNetworkError", None),
        INFO,
        "2 events failed: MasivoNetworkError; the Delivery has the details",
    ),
    (
        TokenGranted(NOW, 3600.0, 3259.4),
        DEBUG,
        "token: lives 3600 s; to be renewed in 3259 s",
    ),
    (
        TokenGranted(NOW, None, None),
        DEBUG,
        "token: has an unknown lifetime; to be renewed never",
    ),
    (TokenRevoked(NOW, "it has expired"), INFO, "token: discarded, as it has expired"),
    (RenewalFailed(NOW, 5.4), INFO, "token: still used; the renewal is tried again in 5 s"),
    (
        KeyRefused(NOW, "MasivoAuthError", 401, 30.0),
        INFO,
        "the key was refused (MasivoAuthError (HTTP 401)): for 30 s events fail at once",
    ),
    (CallWaits(NOW, "drain", 0), DEBUG, "drain: waits for 0 events"),
    (FlushEnded(NOW, 2, 1), DEBUG, "flush: done, 2 delivered, 1 failed"),
    (
        FlushEnded(NOW, 2, 1, 3),
        DEBUG,
        "flush: done, 2 delivered, 1 failed, 3 stay in the spool",
    ),
    (
        EventsSpooled(NOW, 2, "MasivoError", 503),
        INFO,
        "2 events stay in the spool, to be sent later: MasivoError (HTTP 503)",
    ),
    (EventsAdopted(NOW, 1), INFO, "1 event of an earlier process adopted"),
    (ClientReleased(NOW, 2, 1), DEBUG, "client closed: 2 delivered, 1 failed in all"),
    (TimerFired(NOW, "RETRY"), DEBUG, "timer: a request is sent again"),
    (TimerFired(NOW, "REFRESH"), DEBUG, "timer: the token is renewed"),
    (TimerFired(NOW, "LOG"), DEBUG, "timer: suppressed warnings are written"),
    (TimerFired(NOW, "CLOSE"), DEBUG, "timer: a close reaches its deadline"),
    (TimerFired(NOW, "SPOOL"), DEBUG, "timer: the spool is checked"),
    (TimerFired(NOW, "LINGER"), DEBUG, "timer: waiting events become due"),
    (
        Idle(NOW, NOW + 30.0, "LINGER"),
        DEBUG,
        "nothing to do for 30.000 s; then waiting events become due",
    ),
    (Idle(NOW, None, None), DEBUG, "nothing to do until an input or a response"),
]

SILENT: Sequence[Activity] = [BatchSettled(NOW, "0a1b", 1, 0), RequestAbandoned(NOW, 1)]


@pytest.mark.parametrize(("activity", "level", "text"), LINES)
def test_the_line_of_an_activity(activity: Activity, level: int, text: str) -> None:
    """INFO: what went wrong, and what is done about it; DEBUG: all else."""
    assert line(activity) == (level, text)


def test_the_levels_are_those_of_logging() -> None:
    """A driver hands them to a logger as they are."""
    assert (DEBUG, INFO) == (logging.DEBUG, logging.INFO)


@pytest.mark.parametrize("activity", SILENT)
def test_other_lines_say_it_already(activity: Activity) -> None:
    """Activity without a line of its own."""
    assert line(activity) is None


def test_every_kind_of_activity_and_every_timer_has_its_line() -> None:
    """Or is known to have none."""
    assert {type(each) for each, _, _ in LINES} | {type(each) for each in SILENT} == {
        *Activity.__subclasses__()
    }
    assert all(line(TimerFired(NOW, timer.name)) for timer in Timer)
