"""A client, an event and a call, as a scenario's script sees them: plain calls that block."""

from __future__ import annotations

from concurrent.futures import TimeoutError as TooLateError
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from masivo import MasivoError, MasivoNetworkError, MasivoQueueFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from masivo.protocol import FailedEvent, FlushResult, SendEventResult, Stats

    from .adapter import ClientHandle, SentEvent
    from .clock import VirtualClock
    from .disk import MemoryStore

__all__ = ["Call", "Client", "Event", "NonconformityError", "Steps", "describe", "event"]

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


class Steps(Protocol):
    """A run, as its clients see it; ``Run`` documents each."""

    limit: float

    def log(self, line: str) -> None: ...

    def rest(self) -> None: ...

    def until(self, condition: Callable[[], object], what: str) -> None: ...

    def check(self, condition: object, what: str) -> None: ...

    def equal(self, found: object, wanted: object, what: str) -> None: ...


class NonconformityError(AssertionError):
    """A driver does not do what a scenario says."""


def event(number: int, customer: str = "c", **more: object) -> dict[str, object]:
    """A small valid event identified by its ``n``."""
    return {"type": "VIEW", "customer_id": customer, "brand_id": None, "n": number, **more}


def describe(error: BaseException) -> str:
    """An error in the form in which drivers are compared.

    The text of a network error is the HTTP library's own; any other text is the core's.
    """
    if not isinstance(error, MasivoError):
        return type(error).__name__
    said = "" if isinstance(error, MasivoNetworkError) else f" {error.message!r} {error.details!r}"
    kept = " spooled" if error.spooled else ""
    return f"{type(error).__name__} status={error.status}{kept}{said}"


def _wait(future: Future[T], what: str, limit: float) -> T:
    """The result of a future, which must be done at this time."""
    try:
        return future.result(limit)
    except TooLateError as error:
        if future.done():
            raise
        raise NonconformityError(f"{what} does not end") from error


class Event:
    """One event that was sent."""

    def __init__(self, run: Steps, number: int, sent: SentEvent) -> None:
        self.number = number
        self._run = run
        self._sent = sent
        self._outcome: Future[SendEventResult] | None = None

    @property
    def done(self) -> bool:
        """True once it has its outcome."""
        return self._sent.done()

    def wait(self, timeout: float | None = None) -> Call[SendEventResult]:
        """Begin to wait for the outcome, for at most ``timeout`` seconds."""
        outcome = self._sent.outcome(timeout)
        self._run.rest()
        return Call(self._run, f"the wait for event {self.number}", outcome)

    @property
    def accepted(self) -> bool:
        """False if the buffer, or the store, was full, or its client is disabled. The event must
        have its outcome."""
        try:
            return self.result().status != 0
        except MasivoQueueFullError as error:
            return error.spooled
        except MasivoError:
            return True

    def result(self) -> SendEventResult:
        """The result, which the event must have at this time.

        Raises:
            MasivoError: the event failed.
        """
        if self._outcome is None:
            self._outcome = self._sent.outcome()
        return _wait(self._outcome, f"event {self.number}", self._run.limit)

    def error(self) -> MasivoError:
        """The error, which the event must have at this time."""
        try:
            result = self.result()
        except MasivoError as error:
            return error
        raise NonconformityError(f"event {self.number} did not fail: {repr(result)[:200]}")


class Call(Generic[T]):
    """A call that waits for something."""

    def __init__(self, run: Steps, what: str, future: Future[T]) -> None:
        self._run = run
        self._what: Final = what
        self._future = future

    @property
    def pending(self) -> bool:
        """True while it still waits."""
        return not self._future.done()

    def result(self) -> T:
        """The result of the call, which must end at this time. Raises what the call raises."""
        return _wait(self._future, self._what, self._run.limit)

    def raises(self, kind: type[E]) -> E:
        """The error that it ends with, of exactly this class."""
        try:
            result = self.result()
        except NonconformityError:
            raise
        except Exception as error:
            if type(error) is kind:
                return error
            raise NonconformityError(f"{self._what} raised {error!r}, not {kind}") from error
        raise NonconformityError(f"{self._what} did not raise {kind}: {result!r}")


class Client:
    """One client of the driver under test. After each call the driver is brought to rest."""

    handle: ClientHandle

    def __init__(
        self, run: Steps, name: str, clock: VirtualClock, store: MemoryStore | None = None
    ) -> None:
        self.events: list[Event] = []
        """Every event that was sent."""
        self.failures: list[FailedEvent] = []
        """The arguments of the calls of ``on_error``."""
        self.store: MemoryStore | None = store
        """Its store, or None."""
        self._run = run
        self._name = name
        self._clock = clock

    def send(self, *events: Mapping[str, object]) -> list[Event]:
        """Send events, one after another.

        Raises:
            MasivoError: what the driver raises at the call.
        """
        sent: list[Event] = []
        for each in events:
            number = each.get("n")
            number = number if isinstance(number, int) else -1
            sent.append(Event(self._run, number, self.handle.send(each)))
        self._run.log(f"{self._name}: send {[each.number for each in sent]}")
        self.events += sent
        self._run.rest()
        return sent

    def send_numbers(self, *numbers: int) -> list[Event]:
        """Send small events of these numbers."""
        return self.send(*(event(number) for number in numbers))

    def send_and_forget(self, *numbers: int) -> None:
        """Send small events, and drop their deliveries."""
        self._run.log(f"{self._name}: send and forget {numbers}")
        for number in numbers:
            self.handle.send(event(number))
        self._run.rest()

    def raises(self, kind: type[E], sent: Mapping[str, object]) -> E:
        """Send an event; the call must raise exactly this class of error, which is returned."""
        try:
            self.handle.send(sent)
        except Exception as error:
            if type(error) is kind:
                self._run.log(f"{self._name}: raised: {describe(error)}")
                return error
            raise
        raise NonconformityError(f"the call did not raise {kind.__name__}: {sent!r}")

    def flush(self, timeout: float | None = None) -> Call[FlushResult]:
        """Begin a flush."""
        return self._begun("flush", self.handle.flush(timeout))

    def drain(self, timeout: float | None = None) -> Call[None]:
        """Begin to wait for room."""
        return self._begun("drain", self.handle.drain(timeout))

    def get_token(self, timeout: float | None = None) -> Call[str]:
        """Begin to wait for the token."""
        return self._begun("get_token", self.handle.get_token(timeout))

    def close(self, timeout: float | None = 10.0) -> Call[None]:
        """Begin to close."""
        return self._begun("close", self.handle.close(timeout))

    def _begun(self, what: str, future: Future[T]) -> Call[T]:
        self._run.log(f"{self._name}: {what}")
        self._run.rest()
        return Call(self._run, f"{self._name}: {what}", future)

    def destroy(self) -> None:
        """Release the client without sending."""
        self._run.log(f"{self._name}: destroy")
        self.handle.destroy()
        self._run.rest()

    def stats(self) -> Stats:
        """The counters."""
        return self.handle.stats()

    def note_failure(self, failure: FailedEvent) -> None:
        """Note a failure; the client's ``on_error``."""
        self.failures.append(failure)
        self._clock.notify()

    def failures_are(self, *numbers: int) -> None:
        """Check that ``on_error`` was called once for each of these events, and for no other."""
        self._run.until(lambda: len(self.failures) >= len(numbers), "on_error is not called")
        found = sorted(str(each.event.get("n")) for each in self.failures)
        self._run.equal(found, sorted(map(str, numbers)), f"{self._name}: on_error")

    def finish(self) -> None:
        """Check that each event has exactly one outcome, and that none is left."""
        for each in self.events:
            try:
                self._run.log(f"event {each.number}: {each.result()!r}")
            except MasivoError as error:
                self._run.log(f"event {each.number}: {describe(error)}")
        stats = self.stats()
        self._run.log(f"{self._name}: {stats!r}")
        self._run.check(
            self.store is not None or stats.accepted == stats.delivered + stats.failed,
            f"accepted events without an outcome: {stats!r}",
        )
        self._run.check(not stats.queued and not stats.in_flight, f"events are left: {stats!r}")
