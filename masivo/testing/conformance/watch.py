"""The watch over a scenario's engines: their requests, and their work on stores.

The suite does not ask a driver if it is at rest: it watches the engines that the driver makes. So
it knows every request of the core and all work on stores, which of them are out, when each engine
wants to be polled, and if inputs wait for a poll.
"""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from masivo.protocol import Buffer, Engine, Failure, RequestAbandoned, StoreWork, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from masivo.protocol import Clock, Output, Request, Store, StoreDone

    from .clock import VirtualClock

__all__ = ["Asked", "Watch"]

_SEED = 20_260_101


@dataclass(eq=False, slots=True)
class Asked:
    """One request that an engine asked for."""

    serial: int
    """Its number among all requests of the scenario, from 1."""
    request: Request
    at: float
    """The time at which it was asked for, in virtual seconds."""
    token: int
    """The number of its token, counted by first use, from 1; 0 for none."""
    key: int
    """The number of its idempotency key, counted by first use, from 1; 0 for none."""
    arrived: bool = False
    """True once it has reached the server."""
    held: bool = False
    """True while the server keeps it waiting."""
    returned: bool = False
    """True once the driver has handed its result back."""
    abandoned: bool = False
    """True once its result no longer matters: its client was released."""


@dataclass(eq=False, slots=True)
class _Work:
    """Work on a store that an engine asked for."""

    work: StoreWork
    begun: bool = False
    ended: bool = False
    done: StoreDone | None = None
    """Its result; None if it was interrupted, or has not ended."""


@dataclass(eq=False, slots=True)
class _Watched:
    """One engine, as it is watched."""

    engine: Engine
    wake: Callable[[], None]
    out: dict[int, Asked] = field(default_factory=dict[int, Asked])
    works: dict[int, _Work] = field(default_factory=dict[int, _Work])
    seen: set[int] = field(default_factory=set[int])
    wake_at: float | None = None
    wanted: bool = False
    """True while a poll is needed: ``wake`` was called, or an input other than an event came."""
    polling: bool = False
    closed: bool = False


class Watch:
    """Watches every engine that is made while it is entered.

    Engines get the suite's random source, so that every driver gets the same jitter. Only one watch
    is active at a time; engines made before it are not watched.
    """

    _turn: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.asked: list[Asked] = []
        """Every request, in the order in which they were asked for."""
        self.faults: list[str] = []
        """The faults of a driver."""
        self.poll_times: list[float] = []
        """The times of polls, in virtual seconds."""
        self.carries_out: bool = False
        """True if work on stores is done here, hidden from the driver."""
        self._engines: dict[Engine, _Watched] = {}
        self._buffers: dict[Buffer, Engine] = {}
        self._works: dict[int, _Work] = {}  # by the identity of each
        self._store: Store | None = None
        self._originals: list[tuple[type[object], str, Callable[..., Any]]] = []
        self._tokens: dict[str, int] = {}
        self._keys: dict[str, int] = {}

    # ── Watching ─────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        self._turn.acquire()
        try:
            self._patch()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        while self._originals:
            kind, name, original = self._originals.pop()
            setattr(kind, name, original)
        self._turn.release()

    def _patch(self) -> None:
        initialise = self._original(Engine, "__init__")
        attach = self._original(Engine, "attach")
        poll = self._original(Engine, "poll")
        run = self._original(StoreWork, "run")

        def watched_init(engine: Engine, *args: Any, **options: Any) -> None:
            self._made(engine, options)
            initialise(engine, *args, **options)

        def watched_attach(engine: Engine, *args: Any, **options: Any) -> Buffer:
            if self._store is not None:
                options["store"], self._store = self._store, None
            buffer: Buffer = attach(engine, *args, **options)
            self._buffers[buffer] = engine
            return buffer

        def watched_poll(engine: Engine) -> Output:
            return self._polled(engine, lambda: poll(engine))

        def watched_run(work: StoreWork) -> StoreDone:
            return self._run(work, lambda: run(work))

        methods: list[tuple[type[object], str, Callable[..., object]]] = [
            (Engine, "__init__", watched_init),
            (Engine, "attach", watched_attach),
            (Engine, "poll", watched_poll),
            (StoreWork, "run", watched_run),
        ]
        for kind, name, method in methods:
            setattr(kind, name, method)
        self._watch_results()
        for name in ("flush", "drain", "token", "close", "destroy", "abandon", "cancel"):
            self._watch_input(name)

    def _original(self, kind: type[object], name: str) -> Callable[..., Any]:
        original: Callable[..., Any] = getattr(kind, name)
        self._originals.append((kind, name, original))
        return original

    def _watch_results(self) -> None:
        """Note when the result of a request, or of work, is handed back."""
        hand_back = self._original(Engine, "hand_back")

        def watched(engine: Engine, request_id: int, result: object) -> None:
            hand_back(engine, request_id, result)
            if engine.pending:
                self._wanted(engine)
            self._returned(engine, request_id, result)

        setattr(Engine, "hand_back", watched)  # noqa: B010 (a method)

    def _watch_input(self, name: str) -> None:
        """Note a caller's input, after which the driver must poll."""
        call = self._original(Buffer, name)

        def watched(buffer: Buffer, *args: Any) -> Any:
            ticket = call(buffer, *args)
            engine = self._buffers.get(buffer)
            ended = isinstance(ticket, Ticket) and ticket.outcome is not None
            # Another thread may be polling: then it has taken the input in already.
            if engine is not None and engine.pending and not ended:
                self._wanted(engine)
            return ticket

        setattr(Buffer, name, watched)

    def _made(self, engine: Engine, options: dict[str, Any]) -> None:
        with self.clock.changed:
            clock: Clock = options["clock"]
            if clock() != self.clock.monotonic():
                self.fault("an engine's clock is not Adapter.clock.monotonic")
            options["random"] = random.Random(_SEED + len(self._engines))
            options["wall_clock"] = self.clock.time
            options["listening"] = lambda: True
            wake: Callable[[], None] = options["wake"]

            def watched_wake() -> None:
                self._wanted(engine)
                wake()

            options["wake"] = watched_wake
            self._engines[engine] = _Watched(engine, watched_wake)

    def _wanted(self, engine: Engine) -> None:
        watched = self._engines.get(engine)
        if watched is not None:
            watched.wanted = True

    def _polled(self, engine: Engine, poll: Callable[[], Output]) -> Output:
        watched = self._engines.get(engine)
        if watched is None:
            return poll()
        now = self.clock.monotonic()
        watched.polling, watched.wanted = True, False
        output = None
        try:
            output = poll()
            return output
        finally:
            with self.clock.changed:
                watched.polling = False
                if output is not None:
                    self._note(watched, output, now)
                self.clock.changed.notify_all()
            if output is not None and self.carries_out:
                self._carry_out(watched, output)

    def _carry_out(self, watched: _Watched, output: Output) -> None:
        works, output.storage = output.storage, []
        for work in works:
            watched.engine.do_work(work)
            watched.wake()

    def _note(self, watched: _Watched, output: Output, now: float) -> None:
        self.poll_times.append(now)
        watched.wake_at, watched.closed = output.wake_at, output.closed
        for request in output.requests:
            headers = dict(request.headers)
            asked = Asked(
                len(self.asked) + 1,
                request,
                now,
                token=_ordinal(self._tokens, headers.get("authorization")),
                key=_ordinal(self._keys, headers.get("idempotency-key")),
            )
            self.asked.append(asked)
            watched.out[request.id] = asked
        for work in output.storage:
            watched.works[work.id] = self._works[id(work)] = _Work(work)
        for activity in output.activity:
            if isinstance(activity, RequestAbandoned) and activity.request in watched.out:
                watched.out[activity.request].abandoned = True

    def _run(self, work: StoreWork, run: Callable[[], StoreDone]) -> StoreDone:
        watched = self._works.get(id(work))
        if watched is None:
            return run()
        if watched.begun:
            self.fault(f"work {work.id} on a store was done twice")
        watched.begun = True
        try:
            watched.done = done = run()
            return done
        finally:
            watched.ended = True

    def _returned(self, engine: Engine, request_id: int, result: object) -> None:
        watched = self._engines.get(engine)
        if watched is None:
            return
        with self.clock.changed:
            asked = watched.out.pop(request_id, None)
            work = watched.works.pop(request_id, None)
            if work is not None:
                if not work.ended:
                    self.fault(f"work {request_id} on a store was handed back and is not done")
                elif work.done is not None and result is not work.done:
                    self.fault(f"work {request_id} on a store was handed back as something else")
            elif request_id in watched.seen:
                self.fault(f"request {request_id} was handed back twice")
            elif asked is None:
                self.fault(f"an unknown request was handed back: {request_id}")
            else:
                asked.returned = True
                if isinstance(result, Failure) and not result.sent and asked.arrived:
                    self.fault(
                        f"request {asked.serial} reached the server, and its Failure says that it "
                        "was not sent"
                    )
            watched.seen.add(request_id)
            self.clock.changed.notify_all()

    def fault(self, what: str) -> None:
        """Note a fault of the driver, which makes the scenario fail."""
        with self.clock.changed:
            self.faults.append(what)
            self.clock.changed.notify_all()

    # ── Looking ──────────────────────────────────────────────────────────────────────────────

    @property
    def out(self) -> Iterator[Asked]:
        """The requests that are out, in the order in which they were asked for."""
        return (asked for asked in self.asked if not asked.returned)

    def next_wake(self) -> float | None:
        """The earliest future time at which an engine wants to be polled."""
        now = self.clock.monotonic()
        times = [each.wake_at for each in self._engines.values() if each.wake_at is not None]
        return min((at for at in times if at > now), default=None)

    @contextmanager
    def gives(self, store: Store | None) -> Generator[None, None, None]:
        """While the block lasts, give a store to the client that attaches, instead of the driver.

        Args:
            store: None: the driver does that itself.
        """
        self._store = store
        try:
            yield
            if self._store is not None:
                self.fault("Adapter.make has attached no client")
        finally:
            self._store = None

    @property
    def holds(self) -> bool:
        """True while the server keeps a request waiting."""
        with self.clock.changed:
            return any(asked.held for asked in self.out)

    def unrest(self, *, parallel: bool) -> str | None:
        """Name the work that a driver still has to do at this time; None when it is at rest.

        Args:
            parallel: True if it sends a request while another is out.
        """
        with self.clock.changed:
            for watched in self._engines.values():
                if watched.polling:
                    return "a poll does not end"
                if watched.closed and not watched.engine.attached:
                    continue  # it has no clients left
                if watched.wanted:
                    return "something came in, and the engine is not polled"
                if watched.wake_at is not None and watched.wake_at <= self.clock.monotonic():
                    return f"the engine was to be polled at {watched.wake_at:g} s, and is not"
                for number, work in watched.works.items():
                    what = "handed back" if work.begun else "done"
                    return f"work {number} on a store is not {what}"
            waits = not parallel and self.holds
            for asked in self.out:
                if not (asked.held or asked.abandoned or waits):
                    what = "is not handed back" if asked.arrived else "is not sent"
                    return f"request {asked.serial} ({asked.request.method}) {what}"
            return None


def _ordinal(known: dict[str, int], text: str | None) -> int:
    return 0 if text is None else known.setdefault(text, len(known) + 1)
