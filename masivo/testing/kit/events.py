"""The events that the code under test has sent, and assertions about them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast, overload

from masivo._guesses import Advised
from masivo._protocol.wire.schema import problem_with

from . import report
from .isolation import open_clients
from .loops import in_thread
from .matching import fits

if TYPE_CHECKING:
    from masivo._async.client import LoopClient
    from masivo._sync.client import Client
    from masivo.emulator import Emulator

    from .recorder import Recorder, Sent

__all__ = ["MasivoEvents"]

_NOTHING: Final[Mapping[str, object]] = {}


class MasivoEvents(Sequence["dict[str, Any]"], Advised):
    """The events that code under test has sent, in order; the fixture ``masivo_events``.

    An event counts from the call to ``send_analytics_event`` on, whether it is pending or
    delivered. It no longer counts once it has failed. Events delivered by child processes count as
    well. Each is a dict, as it was sent, without an ``issued_at`` that the client adds.

    The fixture is a sequence: ``len(masivo_events)``, ``masivo_events[-1]``, iteration. It equals a
    list of the same events.
    """

    def __init__(self, emulator: Emulator, recorder: Recorder) -> None:
        self._emulator = emulator
        self._recorder = recorder

    @property
    def all(self) -> list[dict[str, Any]]:
        """All events as a list, for comparisons and for pytest's own diffs."""
        return [record.event for record in self._counted()]

    def _counted(self) -> list[Sent]:
        counted = ("pending", "delivered")
        return [record for record in self._recorder.records if record.state in counted]

    def clear(self) -> None:
        """Forget the events so far, such as those of a test's preparation."""
        self._recorder.clear()

    # ── As a sequence ────────────────────────────────────────────────────────────────────────

    def __len__(self) -> int:
        return len(self._counted())

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        return self.all[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.all)

    def __eq__(self, other: object) -> bool:
        return self.all == other if isinstance(other, list) else self is other

    def __repr__(self) -> str:
        return f"<MasivoEvents {self.all!r}>"

    # ── Expectations ─────────────────────────────────────────────────────────────────────────

    @overload
    def expect(
        self,
        like: Mapping[str, object] = ...,
        /,
        *,
        count: None = ...,
        timeout: float = ...,
        **fields: object,
    ) -> dict[str, Any]: ...
    @overload
    def expect(
        self,
        like: Mapping[str, object] = ...,
        /,
        *,
        count: int,
        timeout: float = ...,
        **fields: object,
    ) -> list[dict[str, Any]]: ...
    def expect(
        self,
        like: Mapping[str, object] = _NOTHING,
        /,
        *,
        count: int | None = None,
        timeout: float = 0.0,
        **fields: object,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Fail the test unless an event with these fields was sent.

        Args:
            like: fields as a mapping, for names that are not identifiers, or that are parameters
                here, such as ``count``.
            count: the exact number of events that must match; None: one or more.
            timeout: wait this many seconds, for code that sends from another thread or process.
                Not needed for an event that has been sent, even if its batch still waits.
            fields: their expected values. A nested mapping needs to list only some of the fields;
                classes, predicates and objects such as ``unittest.mock.ANY`` may replace values.

        Returns:
            The first event that matches; with ``count``, the list of all that do.

        Raises:
            AssertionError: no event matches, or not ``count`` events; the message shows the nearest
                one, and what was sent. Also if the API would reject one that matches.
        """
        __tracebackhide__ = True
        wanted = _wanted(like, fields)

        def is_met() -> bool:
            found = sum(fits(wanted, event) for event in self.all)
            return found >= 1 if count is None else found == count

        self._wait(is_met, timeout)
        events = self.all
        matching = [event for event in events if fits(wanted, event)]
        if not matching if count is None else len(matching) != count:
            raise AssertionError(self._unmet(wanted, events, len(matching), count))
        for event in matching:
            now = self._emulator._desk.clock()  # noqa: SLF001
            problem = problem_with(event, now=now, reserved=frozenset())
            if problem is not None:
                call = report.call("expect", wanted, count=count)
                why = problem.removeprefix(".")
                raise AssertionError(
                    f"the event was sent, but the API would reject it: {why}\n  {call}\n"
                    + "\n".join(report.listing("it is:", [event]))
                )
        return matching[0] if count is None else matching

    def expect_none(self, like: Mapping[str, object] = _NOTHING, /, **fields: object) -> None:
        """Fail the test if an event with these fields was sent; without fields, if any event was.

        Raises:
            AssertionError: an event matches; the message shows it.
        """
        __tracebackhide__ = True
        wanted = _wanted(like, fields)
        matching = [event for event in self.all if fits(wanted, event)]
        if matching:
            title = "this was sent, and should not have been:"
            call = report.call("expect_none", wanted)
            raise AssertionError("\n".join([call, *report.listing(title, matching)]))

    def expect_delivered(self, timeout: float = 5.0) -> None:
        """Flush the clients for threads, and fail the test unless the API has accepted all events.

        Args:
            timeout: seconds for all of it.

        Raises:
            AssertionError: an event failed, or has no outcome yet; the message says why.
        """
        __tracebackhide__ = True
        until = time.monotonic() + timeout
        for client in _clients_for_threads():
            with suppress(TimeoutError):  # what is left is reported below
                client.flush(max(0.0, until - time.monotonic()))
        # An unreferenced client may still be closing.
        self._wait(self._recorder.settled_in_threads, until - time.monotonic())
        self._check_delivered()

    async def aexpect_delivered(self, timeout: float = 5.0) -> None:
        """Check like ``expect_delivered``, in a test in asyncio or trio.

        This also flushes the clients of the running loop.
        """
        __tracebackhide__ = True
        until = time.monotonic() + timeout
        for loop_client in _clients_here():
            with suppress(TimeoutError):
                await loop_client.flush(max(0.0, until - time.monotonic()))
        for client in _clients_for_threads():
            with suppress(TimeoutError):
                await in_thread(partial(client.flush, max(0.0, until - time.monotonic())))
        settled = self._recorder.settled_in_threads
        await in_thread(partial(self._wait, settled, until - time.monotonic()))
        self._check_delivered()

    def _check_delivered(self) -> None:
        __tracebackhide__ = True
        records = self._recorder.records
        failed = report.others([each for each in records if each.state == "failed"])
        pending = [each.event for each in records if each.state == "pending"]
        if not failed and not pending:
            return
        lines = ["not all events were delivered", *failed]
        if pending:
            lines += report.listing(f"without an outcome yet ({len(pending)}):", pending)
            lines.append(
                "those of an AsyncClient or a TrioClient are flushed by `await "
                "masivo_events.aexpect_delivered()`, in their loop; under Starlette's TestClient "
                "by `http.portal.call(masivo_events.aexpect_delivered)`"
            )
        raise AssertionError("\n".join(lines))

    def _wait(self, is_met: Callable[[], bool], timeout: float) -> None:
        with suppress(TimeoutError):
            self._emulator.wait_for(lambda _: is_met(), timeout)

    def _unmet(
        self,
        wanted: Mapping[str, object],
        events: list[dict[str, Any]],
        matching: int,
        count: int | None,
    ) -> str:
        if matching:
            are = "1 event matches" if matching == 1 else f"{matching} events match"
            said = f"{are}, not {count}"
        else:
            said = "no event was sent that matches" if events else "no event was sent"
        lines = [said, f"  {report.call('expect', wanted, count=count)}"]
        lines += report.nearest(wanted, events)
        if events:
            lines += report.listing(f"sent ({len(events)}):", events)
        lines += report.others(self._recorder.records)
        return "\n".join(lines)


def _wanted(like: object, fields: Mapping[str, object]) -> dict[str, object]:
    """Return the expected fields."""
    __tracebackhide__ = True
    if not isinstance(like, Mapping):
        raise TypeError(f"name the field that is to be {like!r}: type={like!r}, for example")
    return {**cast("Mapping[str, object]", like), **fields}


def _clients_for_threads() -> list[Client]:
    if "masivo._sync.client" not in sys.modules:
        return []
    from masivo._sync.client import Client

    return [client for client in open_clients() if isinstance(client, Client)]


def _clients_here() -> list[LoopClient]:
    """Return the clients of the running event loop."""
    if "masivo._async.client" not in sys.modules:
        return []
    from masivo._async.client import LoopClient
    from masivo._async.session import session_of

    here: list[LoopClient] = []
    for client in open_clients():
        if isinstance(client, LoopClient):
            buffer = client._joined  # noqa: SLF001
            if buffer is not None and session_of(buffer).here():
                here.append(client)
    return here
