"""The connection of a driver to the suite: an ``Adapter``, which makes clients, and a
``ClientHandle`` for each client."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future
from typing import (
    TYPE_CHECKING,
    ClassVar,
    Final,
    Literal,
    Protocol,
    Self,
    TypeAlias,
    TypedDict,
    TypeVar,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from masivo.protocol import (
        Api,
        BeforeSend,
        FlushResult,
        OnActivity,
        OnError,
        SendEventResult,
        Stats,
        Store,
    )

    from .clock import VirtualClock

__all__ = [
    "LIMIT",
    "Adapter",
    "Capability",
    "ClientHandle",
    "ClientSettings",
    "SentEvent",
    "call_in_thread",
    "start_thread",
]

T = TypeVar("T")

Capability: TypeAlias = Literal["parallel", "background", "storage"]
"""A capability that a driver may lack: ``parallel``, several requests at once; ``background``, work
between calls; ``storage``, work on a store."""

LIMIT: Final = 10.0
"""Real seconds that the suite waits for anything before it reports that it is missing."""


class ClientSettings(TypedDict, total=False):
    """The settings that a scenario may choose; the others are the constructor's defaults."""

    brand_id: str | None
    batch_size: int
    idle_timeout: float
    max_wait: float
    await_linger: float | None
    refresh_interval: float | None
    timeout: float
    max_retries: int
    max_in_flight: int
    max_queue: int
    max_queue_bytes: int
    max_event_bytes: int
    max_batch_bytes: int
    isolate_rejected: bool
    on_error: OnError | None
    on_activity: OnActivity | None
    before_send: BeforeSend | None
    enabled: bool
    api: Api


class SentEvent(Protocol):
    """The handle of one event."""

    def done(self) -> bool:
        """Return whether the event has its outcome. Never waits."""
        ...

    def outcome(self, timeout: float | None = None) -> Future[SendEventResult]:
        """Begin to wait for the outcome, in the driver's own way: the result, or the MasivoError
        that ended the event; TimeoutError if ``timeout`` runs out. May be called any number of
        times."""
        ...


class ClientHandle(ABC):
    """One client under test.

    No method waits for an outcome. One that returns a Future returns once the call's inputs have
    reached the engine: the call has ended, or waits for something (the server, the clock, another
    call). The Future holds an error of the call. ``send``, ``destroy`` and ``stats`` are plain
    calls, and raise what the driver raises.
    """

    @abstractmethod
    def send(self, event: Mapping[str, object]) -> SentEvent:
        """Send an event."""

    @abstractmethod
    def flush(self, timeout: float | None = None) -> Future[FlushResult]:
        """Begin a flush."""

    @abstractmethod
    def drain(self, timeout: float | None = None) -> Future[None]:
        """Begin to wait for room."""

    @abstractmethod
    def get_token(self, timeout: float | None = None) -> Future[str]:
        """Begin to wait for the token."""

    @abstractmethod
    def close(self, timeout: float | None = 10.0) -> Future[None]:
        """Begin to close."""

    @abstractmethod
    def destroy(self) -> None:
        """Release the client without sending."""

    @abstractmethod
    def stats(self) -> Stats:
        """The counters."""


class Adapter(ABC):
    """A driver under test, and the world that it runs in: one object for each scenario.

    How to connect yours:

    1. Subclass ``Adapter``. Enter and leave your world (for example an event loop in its own
       thread) in ``start`` and ``stop``. Give every engine ``self.clock.monotonic`` as its clock,
       and ``self.clock.time`` as its wall clock.
    2. Make clients in ``make``. The suite calls them from one thread, which is not your loop's.
    3. In ``advanced``, make everything that waits for a time check the clock again. The clock moves
       in jumps, never past a time at which an engine wants to be polled.
    4. Declare the capabilities that your driver lacks: ``parallel``, ``background``, ``storage``.
       Without ``background``, implement ``pump``.

    Requests go over real sockets, to an emulator whose clock is the same. The ``timeout`` of a
    request may count real or virtual seconds, whichever your world uses.

    Args:
        clock: the time of this scenario.
    """

    name: ClassVar[str]
    """The driver's name in reports."""
    parallel: bool = True
    """True if the driver sends several requests at once. If not, scenarios that need it run with
    one request at a time."""
    background: bool = True
    """True if the driver works between calls. If not, the suite calls ``pump`` for it."""
    storage: bool = True
    """True if the driver accepts a store, and does the work on it. If not, the suite does."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The driver's capabilities."""
        can: dict[Capability, bool] = {
            "parallel": self.parallel,
            "background": self.background,
            "storage": self.storage,
        }
        return frozenset(name for name in can if can[name])

    def start(self) -> None:  # noqa: B027 (not every world needs it)
        """Enter the world."""

    def stop(self) -> None:  # noqa: B027
        """Leave the world; every client was closed or destroyed before. Wait for threads and tasks
        to end."""

    @abstractmethod
    def make(
        self, api_key: str, base_url: str, settings: ClientSettings, store: Store | None
    ) -> ClientHandle:
        """Make a client, ready for use.

        Args:
            api_key: its key.
            base_url: the server.
            settings: its other settings.
            store: for ``Engine.attach``; always None if ``storage`` is False.

        Raises:
            MasivoConfigError: a setting is wrong.
        """

    @abstractmethod
    def advanced(self) -> None:
        """Make everything that waits for a time check the clock, which was moved. Need not wait for
        that."""

    def pump(self) -> None:
        """Do what is due now: poll, send, settle, until nothing more is due. It may wait for the
        response to a request. It is called in its own thread, one call at a time.

        The suite calls it only if ``background`` is False.
        """
        raise NotImplementedError("a driver without background work must be pumped")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def call_in_thread(clock: VirtualClock, call: Callable[[], T]) -> Future[T]:
    """Run a blocking call in its own thread.

    Returns:
        A Future of the call, once the call has ended or waits in ``clock.park``.
    """
    future, thread = start_thread(clock, call)
    with clock.changed:
        clock.changed.wait_for(
            lambda: future.done() or clock.is_parked(thread.ident or 0), timeout=LIMIT
        )
    return future


def start_thread(clock: VirtualClock, call: Callable[[], T]) -> tuple[Future[T], threading.Thread]:
    """Run a call in its own thread; return its Future and the thread."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 (it is the caller's)
            future.set_exception(error)
        finally:
            clock.notify()

    thread = threading.Thread(target=run, name="conformance-call", daemon=True)
    thread.start()
    return future, thread
