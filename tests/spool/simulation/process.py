"""One process: an engine with one or two clients, each with a spool, and a driver that does what
they ask for."""

from __future__ import annotations

import math
import random as randomness
from collections import deque
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from simulation.frame import Violation

from masivo._protocol.errors import MasivoClosedError, MasivoQueueFullError
from masivo._protocol.storage.kept import Kept
from masivo.protocol import (
    Account,
    Api,
    Engine,
    Failed,
    Failure,
    Output,
    Response,
    Secret,
    StoreDone,
    Waiters,
    configure,
    settle,
)
from masivo.spool import Spool
from spool.memory import Killed, MemoryTail
from spool.memory import Process as Disk

from . import books

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from masivo.protocol import (
        Delivery,
        FailedEvent,
        Request,
        Stats,
        StoreWork,
        Ticket,
    )

    from .history import Event
    from .plan import Options
    from .server import Account as ApiAccount
    from .world import World

__all__ = ["Process"]

LONGEST: Final = {"flush": 40_000.0, "drain": 900_000.0, "close": 40_000.0}
"""No call may last longer, in seconds."""
SLOW: Final = 60.0
"""A close may last this much longer than its timeout: the disk may be slow."""
MOST_POLLS: Final = 2_000
"""No process may need more polls at one moment."""


class SharedDisk(Disk):
    """The disk, where other threads of the process do something between two operations."""

    def __init__(self, process: Process) -> None:
        super().__init__(process.world.machine)
        self.pid = process.number
        self._of = process

    def kill(self) -> None:
        """See Process of ``memory``: with the disks of its other clients."""
        self._of.world.ledger.sync()  # while the locks tell who wrote what
        super().kill()
        for client in self._of.clients:
            if not client.disk.killed:
                client.disk.kill()

    def kill_at(self, operation: int, *, late: bool) -> None:
        """Have the process killed at an operation, counted from now."""
        self._kill_after, self._late = operation, late

    def step(self, *, writes: bool = False) -> bool:
        """See Process of ``memory``."""
        if not self.killed:
            self._of.meanwhile()
        try:
            return super().step(writes=writes)
        except OSError:
            self._of.disk_failed = True
            raise

    def make_tail(self, name: str) -> MemoryTail:
        """See Disk."""
        killed = self.step(writes=True)
        tail = SharedTail(self, name)
        self.end(killed)
        return tail


class SharedTail(MemoryTail):
    """A tail, where other threads do something after a record was written, too."""

    def write(self, data: bytes, /) -> None:
        """See DiskTail."""
        super().write(data)
        self._process.step()


class Client:
    """One client of a process.

    Args:
        process: it is in.
        options: its settings.
        replaced: see ``Process``.
        parent: that of the process from which this one was forked.
    """

    def __init__(
        self, process: Process, options: Options, *, replaced: bool, parent: Client | None
    ) -> None:
        world, account = process.world, process.account
        self.options = options
        self.accepted = 0
        self.disk = SharedDisk(process)
        clock = lambda: world.wall() + process.number * 0.001  # noqa: E731 (each has its own)
        if parent is None:
            store = Spool(
                self.disk,
                account.key,
                account.url,
                options.spool_max_bytes,
                options.segment,
                clock,
                replaced_key=replaced,
            )
        else:
            store = parent.inherited(self.disk, clock)
        self.store = store
        settings = configure(
            process.secret, base_url=account.url, on_error=process.on_error, **options.client()
        )
        self.buffer = process.engine.attach(settings, store=store)

    def inherited(self, disk: SharedDisk, clock: Callable[[], float]) -> Spool:
        """The store as a forked child has it: its files are open, and its numbers those of now."""
        files = self.disk.machine.files.values()
        store = deepcopy(self.store, {id(self.disk): disk, **{id(each): each for each in files}})
        positions: Any = store._positions
        positions.clear()
        positions.extend(self.store._positions)
        store._next, store._clock = positions.popleft, clock
        return store


class Process:
    """A process with clients of one account.

    Args:
        world: it lives in.
        number: its own.
        account: its clients'.
        options: the settings of each client.
        replaced: its clients adopt the logs of the account's former key.
        parent: the process from which it is forked.
    """

    def __init__(
        self,
        world: World,
        number: int,
        account: ApiAccount,
        options: Sequence[Options],
        *,
        replaced: bool = False,
        parent: Process | None = None,
    ) -> None:
        self.world = world
        self.number = number
        self.account = account
        self.secret = Secret(account.key)
        self.clients: list[Client] = []
        self.disk_failed = False
        """A write failed: the disk was full."""
        self.over = False
        """It has ended by itself."""
        self.closing = False
        self.died_at = math.inf
        self._random = randomness.Random(world.random.random())
        self._began = world.now - self._random.random() * 1e6  # the origin of its clock
        self._pending: dict[int, tuple[Delivery, Event]] = {}
        self._calls: list[tuple[str, Ticket, float]] = []
        self._inside = False
        self._sending = 0
        self._steps: deque[Callable[[], None]] = deque()
        self._at_work = False
        self._poll_at: float | None = None
        self._last: Output = Output()
        self._tally = books.Tally(listens=self._random.random() < 0.3)
        self._polls = (0.0, 0)
        self._waiters = Waiters()
        self._ready: deque[StoreWork] = deque()
        self.engine = Engine(
            Account(self.secret, account.url, Api()),
            clock=lambda: world.now - self._began,
            wall_clock=world.wall,
            random=self._random,
            wake=self._wake,
            listening=lambda: self._tally.listens,
        )
        parents = [None] * len(options) if parent is None else parent.clients
        for each, of in zip(options, parents, strict=True):
            self.clients.append(Client(self, each, replaced=replaced, parent=of))
        if not options[0].isolate_rejected:
            world.server.whole.add(number)

    def __str__(self) -> str:
        return f"process {self.number} ({self.account.name})"

    @property
    def dead(self) -> bool:
        """It was killed."""
        return self.clients[0].disk.killed

    @property
    def live(self) -> bool:
        """It is there, and its client open."""
        return not (self.dead or self.over or self.closing)

    def kill(self) -> None:
        """End it here and now."""
        self.clients[0].disk.kill()
        self.died_at = min(self.died_at, self.world.now)

    def kill_at(self, operation: int, *, late: bool) -> None:
        """Have it killed at an operation on the disk, counted from now."""
        self._any().disk.kill_at(operation, late=late)

    def fork(self, number: int, *, announced: bool) -> Process:
        """A child that sends through what it inherits. Nothing is told to a store of a fork that is
        not announced."""
        options = [client.options for client in self.clients]
        child = Process(self.world, number, self.account, options, parent=self)
        if announced:
            for client in child.clients:
                client.store.forked()
        return child

    def spare(self) -> None:
        """Have it killed no more."""
        for client in self.clients:
            client.disk.kill_at(1 << 60, late=False)

    def _any(self) -> Client:
        return self.clients[0] if len(self.clients) == 1 else self._random.choice(self.clients)

    # ── Calls of the application ─────────────────────────────────────────────────────────────

    def send(self, customer: str, nature: str, age: float | None = None) -> None:
        """Send an event.

        Args:
            customer: its customer.
            nature: see ``Event``.
            age: how old its own ``issued_at`` is, in seconds; None: it has none.
        """
        world = self.world
        time = world.server.time(world.now)
        issued_at = time if age is None else time - age
        client = self._any()
        line = self.number, self.clients.index(client), customer
        event = world.history.begin(self.account.name, line, nature, issued_at)
        event.untimely = self.number in world.history.misled
        fields: dict[str, Any] = {"type": "T", "customer_id": customer, "brand_id": None}
        fields["n"] = event.number
        if age is not None:
            fields["issued_at"] = world.text_of(issued_at)
        if event.number % 7 == 0:
            fields["more"] = "x" * (event.number % 900)
        self._sending += 1
        try:
            delivery = client.buffer.send(fields)
        except Killed:
            event.doubtful = True
            raise
        except MasivoClosedError:
            world.history.end(event, accepted=False)
            return
        finally:
            self._sending -= 1
        self._returned(client, event, delivery)

    def _returned(self, client: Client, event: Event, delivery: Delivery) -> None:
        world, outcome = self.world, delivery.peek()
        refused = isinstance(outcome, Failed) and not outcome.error.spooled
        world.history.end(event, accepted=not refused)
        world.ledger.sync()
        world.say(f"  {event}, {event.line[2]}, {event.nature}: {_shown(outcome)}")
        if refused:
            assert isinstance(outcome, Failed)
            if not isinstance(outcome.error, MasivoQueueFullError):
                raise Violation("refused", f"{event}: {outcome.error!r}")
            if world.ledger.holds(event):
                raise Violation("refused", f"{event} is on the disk, though it was refused")
            return
        client.accepted += 1
        self._check_memory(delivery)
        if not world.ledger.places.get(event.number):
            raise Violation("on disk", f"{event} is not on the disk when its call returns")
        if not self.closing and not world.ledger.is_in_log_of(event, self.number):
            raise Violation("own log", f"{event} is not in a log of its process")
        if outcome is None:
            self._pending[id(delivery)] = delivery, event
            if self._random.random() < 0.1:
                client.buffer.begin_wait(delivery, self)
                self.soon()
        elif not isinstance(outcome, Failed):
            raise Violation("delivery", f"{event} ended with {outcome} in its call")

    def flush(self) -> None:
        """Call ``flush``."""
        self._wait("flush", self._any().buffer.flush())

    def drain(self) -> None:
        """Call ``drain``."""
        self._wait("drain", self._any().buffer.drain())

    def use(self) -> None:
        """Enter the block of each client."""
        for client in self.clients:
            client.buffer.use()
        self.soon()

    def close(self, timeout: float | None) -> None:
        """Call ``close`` of each client."""
        self.closing = True
        for client in self.clients:
            self._wait("close", client.buffer.close(timeout), timeout)

    def destroy(self) -> None:
        """Call ``destroy`` of each client."""
        self.closing = True
        for client in self.clients:
            self._wait("destroy", client.buffer.destroy(), 0.0)

    def _wait(self, call: str, ticket: Ticket, timeout: float | None = None) -> None:
        longest = LONGEST[call] if timeout is None else timeout + SLOW
        until = self.world.now + longest
        self._calls.append((call, ticket, until))
        self.world.at(until + 1.0, self, self.check_calls)
        self.soon()

    @property
    def waits(self) -> bool:
        """True while a call has not returned."""
        return bool(self._calls)

    # ── The driver ───────────────────────────────────────────────────────────────────────────

    def _wake(self) -> None:
        self.soon()

    def soon(self, at: float | None = None) -> None:
        """Poll at this time at the latest; None: now."""
        world = self.world
        at = world.now if at is None else max(at, world.now)
        if self._poll_at is None or at < self._poll_at:
            self._poll_at = at
            world.at(at, self, lambda: self._poll_if(at))

    def _poll_if(self, at: float) -> None:
        if self._poll_at == at:
            self._poll_at = None
            self.poll()

    def poll(self) -> None:
        """Poll the engine, and carry out what it asks for."""
        if self._inside or self.over:
            return
        world = self.world
        moment, polls = self._polls
        self._polls = world.now, polls + 1 if moment == world.now else 0
        if polls > MOST_POLLS:
            raise Violation("no end", f"{self} polls without end")
        self._inside = True
        try:
            output = self.engine.poll()
            self._tally.add(output)
            self._check_outcomes(output)
            for warning in output.warnings:
                world.say(f"  {self} warns: {warning}")
            settle(output, world, self._waiters)
        finally:
            self._inside = False
        if world.found is not None:
            raise world.found
        if self.dead:
            return
        for client in self.clients:
            self._check_numbers(client)
        if not (self._sending or self.engine.pending):
            self._tally.check(self.stats())
        for request in output.requests:
            world.request(self, request)
        for work in output.storage:
            self._work(work, [])
        if output.wake_at is not None:
            at = self._began + output.wake_at
            while at - self._began < output.wake_at:  # it is rounded
                at = math.nextafter(at, math.inf)
            self.soon(at)
        self._last = output
        if self.engine.pending:
            self.soon()
        else:
            self._step_again()
            self._step_before(output)
        self.check_calls()
        if output.closed and not self._calls:
            self._end()

    def _step_before(self, last: Output) -> None:
        """Step once more before the wake-up, unless something happens first: just after something
        may have become possible, or at any time."""
        if last.wake_at is None or self._random.random() < 0.7:
            return
        now, engine = self.world.now - self._began, self.engine
        backoff: Any = engine._context.backoff
        times = [backoff.hold_until, backoff.long_hold_until, engine._authorizer.refused_until]
        for client in self.clients:
            outbox: Any = client.buffer.outbox
            times += [outbox._aside.try_at, outbox._room_at, *outbox.backlog.times()]
        times = [at for at in times if now < at < last.wake_at]
        at = min(times, default=now + (last.wake_at - now) * self._random.random()) + 0.001

        def step() -> None:
            if self._last is last:
                self._step_again()

        self.world.at(self._began + at, self, step)

    def _step_again(self) -> None:
        """See that a step for which nothing asks finds nothing to do."""
        if self.engine.pending or self._inside or self._at_work or self._sending or self.over:
            return
        world, last, context = self.world, self._last, self.engine._context
        for client in self.clients:
            outbox: Any = client.buffer.outbox
            tend = outbox._upkeep._tend_at <= world.now - self._began
            if tend or (client.store.due and not outbox._todo.idle):
                return  # the next step, or the one after the work that is out, tends the store
        if last.wake_at is not None and world.now - self._began >= last.wake_at:
            return
        context.all_touched = True
        output = self.engine.poll()
        done = [output.requests, output.storage, output.settled, output.tickets]
        if any(done):
            raise Violation("step", f"{self} had more to do: {done}")
        late = (last.wake_at or math.inf) - (output.wake_at or math.inf)
        if late > 0.0 and output.wake_at != context.backoff.hold_until:
            raise Violation("wake-up", f"{self}: {late} s too late")

    def _end(self) -> None:
        self.over = True
        if self._pending:
            _, event = next(iter(self._pending.values()))
            raise Violation("delivery", f"{event} has no outcome, and its client is closed")
        for name, file in self.world.machine.files.items():
            if file.owner in [client.disk for client in self.clients]:
                raise Violation("release", f"{self} ended, and holds {name}")

    def _work(self, work: StoreWork, results: list[Any]) -> None:
        """Carry out one step of work on the store after another."""
        world = self.world

        def step() -> None:
            if len(results) == len(work.steps):
                self.hand_back(work.id, StoreDone(results))
                return
            one = type(work)(work.id, [work.steps[len(results)]], work.owner)
            (result,) = one.run().results
            world.ledger.sync()
            self._work(work, [*results, result])

        self._steps.append(step)
        world.later(world.disk_time(), self, self._step)

    def _step(self) -> None:
        """Carry out the next step of work on the store, unless one is being carried out."""
        if self._steps and not self._at_work:
            self._at_work = True
            try:
                self._steps.popleft()()
            finally:
                self._at_work = False

    def awaits(self, request: Request) -> bool:
        """True if the result of a request is of interest: a released client's are not."""
        return request.id in self.engine._context._requests

    def hand_back(self, number: int, result: Response | Failure | StoreDone) -> None:
        """Hand a result back."""
        if not self.over:
            self.engine.hand_back(number, result)
            self.soon()

    def meanwhile(self) -> None:
        """Let other threads do something, in the middle of an operation on the disk."""
        while not self.world.calm and self._random.random() < self.clients[0].options.threads:
            chance = self._random.random()
            if chance < 0.4:
                self.poll()
            elif chance < 0.7:
                self._step()
            elif self.live and self._sending < 3:
                self.world.send_one(self)

    # ── What must come of it ─────────────────────────────────────────────────────────────────

    def on_error(self, failed: FailedEvent) -> None:
        """See ``on_error`` of a client."""
        try:
            self._told(failed)
        except Violation as violation:
            self.world.found = violation  # what on_error raises is logged
            raise

    def _told(self, failed: FailedEvent) -> None:
        world = self.world
        event = world.history.events[failed.event["n"]]
        event.reported += 1
        world.say(f"  on_error: {event}, {failed.error!r}")
        if failed.error.spooled:
            raise Violation("on_error", f"{event}: {failed.error!r}, though it is kept")
        if not world.calm and self.live and self._random.random() < 0.1:
            world.send_one(self)

    def _check_outcomes(self, output: Output) -> None:
        world = self.world
        world.ledger.sync()
        for settled in output.settled:
            for delivery in settled.deliveries:
                outcome = settled.outcome
                if isinstance(delivery, Kept):
                    if isinstance(outcome, Failed) and outcome.error.spooled:
                        raise Violation("delivery", f"{delivery!r} is left, and has no waiter")
                    continue
                entry = self._pending.pop(id(delivery), None)
                if entry is None:
                    if self._sending:
                        continue  # its call has not returned
                    raise Violation("delivery", f"{delivery!r} ended twice")
                self._check_memory(delivery)
                self._check_outcome(entry[1], settled.outcome)

    @staticmethod
    def _check_memory(delivery: Delivery) -> None:
        if delivery.done() and delivery.encoded:
            raise Violation("memory", f"{delivery!r} has ended, and holds its event")

    def _check_outcome(self, event: Event, outcome: object) -> None:
        world = self.world
        world.say(f"  {event} ended: {_shown(outcome)}")
        if not isinstance(outcome, Failed):
            if not event.processed:
                raise Violation("delivery", f"{event} was not delivered: {outcome}")
        elif outcome.error.spooled:
            if not world.ledger.holds(event):
                raise Violation("spooled", f"{event} is not on the disk: {outcome.error!r}")
        elif not world.history.is_ended(event, world.server.time(world.now)):
            raise Violation("rejected", f"{event}: {outcome.error!r}")

    def _check_numbers(self, client: Client) -> None:
        stats, options = client.buffer.stats(), client.options
        here = stats.delivered + stats.failed + stats.queued + stats.in_flight + stats.spooled
        smallest = min(stats.queued, stats.in_flight, stats.spooled, stats.adopted)
        if not (self._sending or self.engine.pending) and (
            stats.accepted + stats.adopted != here
            or smallest < 0
            or stats.accepted != client.accepted
        ):
            raise Violation("stats", f"{self}: {stats}, accepted {client.accepted}")
        pending, bound = client.buffer.outbox.pending, options.max_queue + options.window
        if not (self._sending or self.engine.pending):
            books.check(client.buffer)
        if pending > bound and pending > bound + self.world.ledger.noted_by_others(self.number):
            raise Violation("memory", f"{self}: {pending} of {bound}")

    def stats(self) -> list[Stats]:
        """The counters of its clients."""
        return [client.buffer.stats() for client in self.clients]

    def check_calls(self) -> None:
        """See which calls have returned, and that none lasts too long."""
        now = self.world.now
        for entry in list(self._calls):
            call, ticket, until = entry
            if ticket.outcome is not None:
                self.world.say(f"  {self}: {call} returned {_shown(ticket.outcome)}")
                self._calls.remove(entry)
            elif now > until:
                raise Violation("hangs", f"{self}: {call} has not returned, {self.stats()}")


def _shown(outcome: object) -> str:
    """An outcome for a trace, the same in every run."""
    return repr(outcome.error if isinstance(outcome, Failed) else outcome)
