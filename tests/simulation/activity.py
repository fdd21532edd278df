"""The activity that the core reports, compared with what it did."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, cast

from masivo.protocol import (
    AuthorizationSent,
    BatchHalved,
    BatchSent,
    BatchSettled,
    EventsFailed,
    Failed,
    Idle,
    KeyRefused,
    LongHold,
    RenewalFailed,
    RequestAbandoned,
    RequestFailed,
    ResponseReceived,
    RetryScheduled,
    TokenGranted,
    TokenRevoked,
)

from .frame import Violation
from .server import SECRETS

if TYPE_CHECKING:
    from masivo.protocol import Activity, Output

    from .model import Client

__all__ = ["ActivityCheck", "levels_of"]


SILENT: Final = (BatchSettled, RequestAbandoned)
"""Activity that is not logged."""
UNEXPECTED: Final = (
    *(BatchHalved, EventsFailed, KeyRefused, LongHold),
    *(RenewalFailed, RequestFailed, RetryScheduled, TokenRevoked),
)
"""Activity that is logged at level INFO."""


KEY_WIDE: Final = (
    *(AuthorizationSent, Idle, KeyRefused, LongHold),
    *(RenewalFailed, TokenGranted, TokenRevoked),
)
"""Activity that concerns every client of the key."""


def levels_of(activity: list[Activity]) -> list[int]:
    """The levels at which activity is logged, in order."""
    return [
        20
        if isinstance(each, UNEXPECTED)
        or (isinstance(each, ResponseReceived) and each.status >= 300)
        else 10
        for each in activity
        if not isinstance(each, SILENT)
    ]


class ActivityCheck:
    """Compares the activity of each poll with its output."""

    def __init__(self) -> None:
        self._out: set[int] = set()
        """The requests that are out, by what was reported."""
        self._owners: dict[int, int] = {}
        """The clients of requests, by number."""
        self._batches: dict[str, int] = {}
        """The clients of batches, by name."""

    def compare(self, output: Output, now: float, *, listening: bool) -> None:
        """Raise a Violation unless the output's activity is right.

        Args:
            output: of the poll, before it is settled.
            now: the engine's time.
            listening: whether activity was asked for, now and always.
        """
        if not listening:
            if output.activity:
                raise Violation("activity", f"nobody listens: {output.activity}")
            return
        requests = list(output.requests)
        failed: Counter[tuple[str, int | None]] = Counter()
        landed = 0
        for each in output.activity:
            if each.at != now:
                raise Violation("activity", f"{each} at {now}")
            if any(secret in repr(each) for secret in SECRETS):
                raise Violation("secret", f"in {each}")
            if isinstance(each, BatchSent | AuthorizationSent):
                request = requests.pop(0) if requests else None
                expected = request and (request.id, request.url, request.timeout)
                if expected != (each.request, each.url, each.timeout):
                    raise Violation("activity", f"{each} instead of {request}")
                size = each.bytes if isinstance(each, BatchSent) else 0
                if request is not None and size != len(request.body):
                    raise Violation("activity", f"{each}: its body has {len(request.body)} bytes")
                self._out.add(each.request)
            elif isinstance(each, ResponseReceived | RequestFailed | RequestAbandoned):
                self._returned(each)
            elif isinstance(each, EventsFailed):
                failed[each.error, each.status] += each.events
            elif isinstance(each, BatchSettled):
                landed += each.delivered
            elif isinstance(each, Idle) and each.wake_at != output.wake_at:
                raise Violation("activity", f"{each}, but it is {output.wake_at}")
        if requests:
            raise Violation("activity", f"not reported: {requests[0]}")
        for settled in output.settled:
            count = len(settled.deliveries)
            if isinstance(settled.outcome, Failed):
                error = settled.outcome.error
                failed[type(error).__name__, error.status] -= count
            else:
                landed -= count
        if landed or any(failed.values()):
            raise Violation("activity", f"too many or few outcomes reported: {landed}, {failed}")

    def compare_clients(self, output: Output, clients: list[Client], *, logged: bool) -> None:
        """Raise a Violation unless each client that listens is told what concerns it, in order.

        Args:
            output: of the poll.
            clients: all that ever attached.
            logged: whether ``output.activity`` has everything.
        """
        heard: dict[int, list[Activity]] = {}
        for origin, each in output.client_activity:
            heard.setdefault(cast("int", origin.owner), []).append(each)
            if any(secret in repr(each) for secret in SECRETS):
                raise Violation("secret", f"in {each}")
        for request in output.requests:
            if request.owner is not None:
                self._owners[request.id] = cast("int", request.owner)
        for each in output.activity:
            if isinstance(each, BatchSent):
                self._batches[each.batch] = self._owners[each.request]
        for number, told in heard.items():
            client = clients[number]
            if not client.plan.on_activity:
                raise Violation("on_activity", f"client {number} does not listen: {told}")
            failed = sum(each.events for each in told if isinstance(each, EventsFailed))
            ended = (each for each in output.settled if isinstance(each.outcome, Failed))
            own = (d for each in ended for d in each.deliveries if d.buffer is client.buffer)
            if failed != sum(1 for _ in own) and not client.detached:  # then it is told no more
                raise Violation("on_activity", f"client {number}: {failed} failed events")
        for client in clients if logged else ():
            if client.plan.on_activity and not client.detached:
                told = [each for each in heard.get(client.index, ()) if self._owner(each) != -1]
                mine = [
                    each for each in output.activity if self._owner(each) in (None, client.index)
                ]
                if told != mine:
                    raise Violation("on_activity", f"client {client.index}: {told}, not {mine}")

    def _owner(self, each: Activity) -> int | None:
        """The client that an activity concerns; None for all, -1 where it does not say."""
        if isinstance(each, KEY_WIDE):
            return None
        if isinstance(each, BatchSent | ResponseReceived | RequestFailed | RequestAbandoned):
            return self._owners.get(each.request)
        if isinstance(each, RetryScheduled):
            return None if each.batch is None else self._batches[each.batch]
        return self._batches[each.batch] if isinstance(each, BatchHalved) else -1

    def _returned(self, each: ResponseReceived | RequestFailed | RequestAbandoned) -> None:
        if each.request not in self._out:
            raise Violation("activity", f"{each}, but that request is not out")
        self._out.remove(each.request)
