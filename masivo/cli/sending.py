"""Sending of what was left in a spool, by a client like any other."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Unpack

from masivo import Client, MasivoError, MasivoNetworkError
from masivo._protocol.settings import one_spelling
from masivo.protocol import BatchSettled, EventsFailed, RequestFailed, ResponseReceived
from masivo.spool import check_place
from masivo.spool.survey import Survey

from .importing.progress import Sample, show

if TYPE_CHECKING:
    from masivo.protocol import Activity, ClientOptions
    from masivo.spool.survey import SurveyedLog

    from .account import Account
    from .importing.progress import Display

__all__ = ["Sent", "send_left"]

_PATIENCE: Final = 0.2
"""Seconds to wait for a token, whose error may explain why nothing could be sent."""
_EVERYTHING: Final = 1 << 62
"""No bound: this client accepts no new events."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The result for the events that were left."""

    delivered: int
    rejected: int
    left: int
    """The number of events that are still in the spool."""
    error: MasivoError | None
    """Why these could not be sent; None if there are none, or if it was interrupted."""
    interrupted: bool


def send_left(
    path: str, account: Account, *, in_flight: int, replaced_key: bool, replaced_url: str | None
) -> Sent:
    """Send what was left in a directory, with progress, until all of it has its outcome or it
    turns out that it cannot be sent now.

    Args:
        path: of the directory.
        account: the account whose events are sent.
        in_flight: concurrent batches.
        replaced_key: True to send events of other keys, too.
        replaced_url: an address whose events are sent, too.

    Raises:
        MasivoConfigError: the directory cannot be used for a spool.
    """
    check_place(path)
    key = account.key.reveal()
    urls = {account.base_url, one_spelling(replaced_url or account.base_url)}

    def is_wanted(log: SurveyedLog) -> bool:
        return one_spelling(log.base_url or "") in urls and (replaced_key or log.is_of(key))

    wanted = [log for log in Survey(path).logs() if not log.held and is_wanted(log)]
    found = sum(log.events for log in wanted)
    watch = _Watch(show(found or None, Sample(0, 0, 0)))
    client = _Sender(
        key,
        wanted,
        base_url=account.base_url,
        spool=path,
        spool_max_bytes=_EVERYTHING,
        max_in_flight=in_flight,
        on_activity=watch,
    )
    interrupted = False
    try:
        client.flush()
    except KeyboardInterrupt:
        interrupted = True
    finally:
        watch.display.close()
    stats = client.stats()
    left = max(
        stats.queued + stats.in_flight + stats.spooled, found - stats.delivered - stats.failed
    )
    error = _why(client, watch.last) if left > 0 and not interrupted else None
    client.destroy()
    return Sent(stats.delivered, stats.failed, left, error, interrupted)


class _Watch:
    """The client's ``on_activity``: shows the progress, and keeps the last result of a batch."""

    def __init__(self, display: Display) -> None:
        self.display = display
        self.last: ResponseReceived | RequestFailed | None = None
        self._delivered = 0
        self._failed = 0

    def __call__(self, activity: Activity) -> None:
        if isinstance(activity, ResponseReceived | RequestFailed) and activity.batch is not None:
            self.last = activity
        elif isinstance(activity, EventsFailed):
            self._failed += activity.events
        elif isinstance(activity, BatchSettled):
            self._delivered += activity.delivered
            if time.monotonic() >= self.display.due:
                done = self._delivered + self._failed
                self.display.update(Sample(self._delivered, self._failed, done))


def _why(client: Client, last: ResponseReceived | RequestFailed | None) -> MasivoError:
    """The error for which events could not be sent."""
    with suppress(TimeoutError):
        try:
            client.get_token(_PATIENCE)
        except MasivoError as error:
            return error
    if isinstance(last, ResponseReceived):
        return MasivoError(f"the API responded with status {last.status}", status=last.status)
    return MasivoNetworkError("the API did not respond")


class _Sender(Client):
    """A client that also adopts certain logs of other accounts."""

    def __init__(
        self, key: str, wanted: list[SurveyedLog], **options: Unpack[ClientOptions]
    ) -> None:
        self._spool_options = {"also": [log.name for log in wanted]}
        super().__init__(key, **options)
        self._buffer.silence(to_the_end=True)  # the command reports what became of the events
