"""The lines of ``MASIVO_LOG``: activity, worded for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .activity import (
    AuthorizationSent,
    BatchHalved,
    BatchSent,
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
    RequestFailed,
    ResponseReceived,
    RetryScheduled,
    TimerFired,
    TokenGranted,
    TokenRevoked,
)

if TYPE_CHECKING:
    from .activity import Activity

__all__ = ["DEBUG", "INFO", "count_of", "line"]

DEBUG: Final = 10
"""The level of normal work (``logging.DEBUG``)."""
INFO: Final = 20
"""The level of problems that the engine handles (``logging.INFO``)."""

_TIMERS: Final = {
    "LINGER": "waiting events become due",
    "RETRY": "a request is sent again",
    "CLOSE": "a close reaches its deadline",
    "REFRESH": "the token is renewed",
    "SPOOL": "the spool is checked",
    "LOG": "suppressed warnings are written",
}


def line(activity: Activity) -> tuple[int, str] | None:
    """The level and the text of a line; None for activity that has none."""
    match activity:
        case BatchSent():
            text = (
                f"batch {activity.batch}: {count_of(activity.events)}, {activity.bytes} bytes, "
                f"due by {activity.trigger}: POST {_request(activity)}"
            )
        case AuthorizationSent():
            text = f"authorization: GET {_request(activity)}"
        case ResponseReceived(status=status, seconds=seconds):
            level = DEBUG if status < 300 else INFO
            return level, f"{_name(activity.batch)}: response {status} after {seconds:.3f} s"
        case RequestFailed():
            return INFO, _failed(activity)
        case RetryScheduled(retries=retries, wait=wait, why=why):
            reason = ", as Retry-After says" if why == "Retry-After" else ""
            when = "now, a last time" if why == "last try" else f"in {wait:.3f} s{reason}"
            return INFO, f"{_name(activity.batch)}: retry {retries} {when}"
        case LongHold(wait=wait):
            return INFO, f"Retry-After says {wait:.0f} s: until then batches fail at once"
        case BatchHalved(first=first, second=second):
            return INFO, (
                f"the rejected batch is sent as two, of {first} and {second}, to find the events "
                "at fault"
            )
        case EventsFailed(events=events):
            kind = _kind(activity.error, activity.status)
            return INFO, f"{count_of(events)} failed: {kind}; the Delivery has the details"
        case EventsSpooled(events=events):
            kind = _kind(activity.error, activity.status)
            return INFO, f"{count_of(events)} stay in the spool, to be sent later: {kind}"
        case EventsAdopted(events=events):
            return INFO, f"{count_of(events)} of an earlier process adopted"
        case TokenRevoked(why=why):
            return INFO, f"token: discarded, as {why}"
        case RenewalFailed(wait=wait):
            return INFO, f"token: still used; the renewal is tried again in {wait:.0f} s"
        case KeyRefused(wait=wait):
            kind = _kind(activity.error, activity.status)
            return INFO, f"the key was refused ({kind}): for {wait:.0f} s events fail at once"
        case TokenGranted(lifetime=lifetime, renewal=renewal):
            lives = "has an unknown lifetime" if lifetime is None else f"lives {lifetime:.0f} s"
            renewed = "never" if renewal is None else f"in {renewal:.0f} s"
            text = f"token: {lives}; to be renewed {renewed}"
        case EventsQueued(events=events, pending=pending):
            text = f"{count_of(events)} queued; {pending} pending"
        case CallWaits(call=call, pending=pending):
            text = f"{call}: waits for {count_of(pending)}"
        case FlushEnded(delivered=delivered, failed=failed, spooled=spooled):
            kept = f", {spooled} stay in the spool" if spooled else ""
            text = f"flush: done, {delivered} delivered, {failed} failed{kept}"
        case ClientReleased(delivered=delivered, failed=failed):
            text = f"client closed: {delivered} delivered, {failed} failed in all"
        case TimerFired(timer=timer):
            text = f"timer: {_TIMERS[timer]}"
        case Idle(wake_at=wake_at, timer=timer):
            if wake_at is None or timer is None:
                text = "nothing to do until an input or a response"
            else:
                text = f"nothing to do for {wake_at - activity.at:.3f} s; then {_TIMERS[timer]}"
        case _:  # of no interest to people
            return None
    return DEBUG, text


def _request(sent: BatchSent | AuthorizationSent) -> str:
    retry = f", retry {sent.retries}" if sent.retries else ""
    return f"{sent.url} (request {sent.request}{retry}, timeout {sent.timeout:g} s)"


def _failed(failed: RequestFailed) -> str:
    why = ": " + " from ".join(failed.causes) if failed.causes else ""
    status = "" if failed.status is None else f" (status {failed.status})"
    sent = "" if failed.sent else "; nothing was sent"
    name = _name(failed.batch)
    return f"{name}: no usable response after {failed.seconds:.3f} s{status}{why}{sent}"


def _name(batch: str | None) -> str:
    return "authorization" if batch is None else f"batch {batch}"


def _kind(error: str, status: int | None) -> str:
    return error if status is None else f"{error} (HTTP {status})"


def count_of(events: int) -> str:
    """A number of events, in words."""
    return "1 event" if events == 1 else f"{events} events"
