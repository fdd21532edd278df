"""The steps that callers take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from masivo._protocol.errors import MasivoClosedError, MasivoConfigError, MasivoValidationError
from masivo.protocol import Failed, FlushResult, SendEventResult

from .callers import own_error
from .cases import DROPPED, REFUSED, check_settings, misuse, settings_of
from .expect import FULL, check_outcome, shown
from .frame import Violation
from .invariants import Numbered, numbered
from .model import Client, Event
from .server import KEY
from .traffic import INVALID, make_event, oversized

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from masivo.protocol import Output, Settled, Ticket

    from .invariants import Cause
    from .plan import Step
    from .world import World

__all__ = ["Steps"]


class Group:
    """The failures that share an error, and which of them are unclaimed."""

    def __init__(self, cause: Cause) -> None:
        self.cause = cause
        self.kept: set[int] = set()
        """The events whose deliveries callers still hold."""
        self.dropped = 0
        """How many were dropped unclaimed."""


class Steps:
    """The callers of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._contract = world.contract
        self._checker = world.checker
        self._clients: list[Client] = []
        self._kept: dict[int, Numbered] = {}
        """The deliveries that callers hold, by their event's number."""
        self._claimed: set[int] = set()
        self._groups: dict[int, Group] = {}
        """The failures that callers hold, by their event's number."""
        self._fresh: list[Group] = []
        """Those that the world still holds."""
        self._dropped: dict[int, Group] = {}
        """Those of events whose deliveries nobody held when they failed, as long."""
        self._overflows: dict[int, Group] = {}
        """Overflows that may still be joined by others, by client."""
        self._next = 0
        self._bad = 0
        """Each event of this number that is sent in a row is bad; 0: none."""
        self._given: list[tuple[Client, Ticket]] = []
        """The drains and flushes that may be given up."""

    def take(self, step: Step) -> None:
        """Take a step of the plan."""
        if step.kind == "attach":
            if len(self._clients) < 8:
                self.attach()
            return
        client = self._clients[step.client % len(self._clients)]
        method: Callable[[Client, Step], None] = getattr(self, f"_{step.kind}")
        method(client, step)

    def _poll(self, client: Client, step: Step) -> None:
        self._world.want_poll()

    # ── Clients ──────────────────────────────────────────────────────────────────────────────

    def attach(self) -> None:
        """Attach the next client of the plan."""
        world = self._world
        index = len(self._clients)
        plan = world.plan.clients[index % len(world.plan.clients)]
        settings = settings_of(
            plan, world.account, world.callers.on_error, world.callers.listener(index)
        )
        buffer = world.engine.attach(settings, Numbered, index)
        key = world.plan.events_key
        envelope = 2 if key is None else len(key) + 7
        client = Client(index, plan, buffer, plan.max_batch_bytes - envelope + 1)
        self._clients.append(client)
        self._checker.everyone.append(client)
        self._contract.clients.append(client)

    def end(self) -> None:
        """Let every client end as it will."""
        for client in self._clients:
            match client.plan.ending:
                case "close":
                    self.close(client, None)
                case "deadline":
                    self.close(client, 8.0)
                case "destroy":
                    self._destroy(client)
                case _:
                    self._abandon(client)

    def _close(self, client: Client, step: Step) -> None:
        self.close(client, (None, 0.0, 0.5, 3.0, 10.0, 60.0)[step.x % 6])

    def close(self, client: Client, timeout: float | None) -> None:
        """Close a client."""
        detached = client.buffer.detached
        ticket = client.buffer.close(timeout)
        if detached:
            self._checker.ticket(ticket, promise=True)
        else:
            self._contract.close(client, ticket, timeout, self._world.now)
        self._world.want_poll()

    def _destroy(self, client: Client, _step: Step | None = None) -> None:
        self._contract.cancelled.add(client.buffer.destroy())  # nobody waits for it
        self._contract.destroy(client, "destroyed")
        self._world.want_poll()

    def _abandon(self, client: Client, _step: Step | None = None) -> None:
        why = "the loop was closed"
        client.buffer.abandon(why)
        self._contract.abandon([client], why, self._checker.lost)
        client.closed = True
        self._world.want_poll()

    def _abort(self, _client: Client, _step: Step) -> None:
        why = "the end of the world came"
        self._world.engine.abort(why)
        self._contract.abandon(self._contract.clients, why, self._checker.lost)
        self._world.want_poll()

    # ── Events ───────────────────────────────────────────────────────────────────────────────

    def _send(self, client: Client, step: Step) -> None:
        amount = (1, 1, 2, 3, 5, 9, 14, client.plan.batch_size)[step.y % 8]
        length = (0, 0, 0, 20, 100, 250)[step.y // 8 % 6]
        bad = self._bad or (0, 0, 0, 0, 3, 1)[step.y // 64 % 6]
        for number in range(amount):
            self.send(client, step.x + number * 0x35, length, bad=bool(bad and not number % bad))

    def _spoil(self, _client: Client, step: Step) -> None:
        """Let a share of the events be bad from now on."""
        self._bad = (1, 1, 0, 2, 7)[step.x % 5]

    def send_inside(self) -> None:
        """Send from inside ``on_error``, through the first client that is for this."""
        for client in self._clients:
            if client.plan.sends_again and not client.closed:
                self.send(client, 0x35, inside=True)
                return

    def send(
        self,
        client: Client,
        x: int,
        length: int = 0,
        *,
        bad: bool = False,
        inside: bool = False,
    ) -> None:
        """Send one event."""
        world, plan = self._world, client.plan
        sample = make_event(self._next, x, plan, stamps=world.plan.stamps, length=length, bad=bad)
        if client.closed:
            self._raises(MasivoClosedError, lambda: client.buffer.send(sample.given))
            return
        if plan.before_send and self._next % 7 in (DROPPED, REFUSED):
            self._next += 1
            self._scrub(client, sample.given, drop=(self._next - 1) % 7 == DROPPED)
            return
        envelope = plan.max_batch_bytes + 1 - client.budget
        if sample.size > min(plan.max_event_bytes, plan.max_batch_bytes - envelope):
            self._raises(MasivoValidationError, lambda: client.buffer.send(sample.given))
            return
        delivery = client.buffer.send(sample.given)
        if not isinstance(delivery, Numbered):
            raise Violation("delivery", "it is not of the driver's type")
        number = delivery.number = self._next
        self._next += 1
        if isinstance(sample.given, dict):
            sample.given.clear()  # the event was taken as it was at the call
        if not plan.enabled:
            if delivery.claim() != SendEventResult(success=False, status=0, data=None):
                raise Violation("disabled", shown(delivery.claim()))
            return
        full = (
            client.pending + 1 > plan.max_queue
            or client.pending_bytes + sample.size > plan.max_queue_bytes
        )
        if world.in_poll:  # the core has not yet got as far as the model
            full = delivery.done()
        if full:
            check_outcome(f"event {number}", delivery.peek(), FULL)
            self._overflowed(client, number)
        else:
            if delivery.done():
                raise Violation("max_queue", f"event {number}: {shown(delivery.peek())}")
            event = Event(number, world.now - world.back, sample, client, inside=inside)
            self._checker.events[number] = event
            self._contract.accepted(event)
        if (number * 37 + x) % 100 < plan.keeps * 100:
            self._kept[number] = delivery
            if not full and not inside and number % 3:
                self._wait_for(number)
        elif full:
            self._overflows[client.index].kept.discard(number)
            self._overflows[client.index].dropped += 1

    def _scrub(self, client: Client, given: Mapping[str, object], *, drop: bool) -> None:
        """Send an event that ``before_send`` drops, or refuses."""
        if not drop:
            self._raises(MasivoValidationError, lambda: client.buffer.send(given))
            return
        client.dropped += 1
        outcome = client.buffer.send(given).claim()
        if outcome != SendEventResult(success=False, status=0, data=None):
            raise Violation("before_send", shown(outcome))

    def _overflowed(self, client: Client, number: int) -> None:
        """Note an event for which there was no room."""
        if not client.overflowing:
            earlier = self._overflows.pop(client.index, None)
            if earlier is not None:
                self._fresh.append(earlier)
            plan = client.plan
            bounds = f"max_queue={plan.max_queue} events, max_queue_bytes={plan.max_queue_bytes}"
            self._overflows[client.index] = Group((FULL.kind.__name__, None, bounds))
        self._contract.overflowed(client)
        group = self._groups[number] = self._overflows[client.index]
        group.kept.add(number)

    def _stream(self, client: Client, step: Step) -> None:
        """Events come one by one, each with a poll of its own."""
        for number in range(100):
            self.send(client, step.x + number * 0x35)
            self._world.want_poll()
            self._world.pass_time(0.001)

    def interrupt(self, number: int) -> None:
        """Send in the middle of a poll, through a client that has room."""
        for client in self._clients:
            plan = client.plan
            if not client.closed and plan.max_queue > 1000 and plan.max_queue_bytes > 1_000_000:
                for x in range(number):
                    self.send(client, x * 0x35)
                return

    def _interrupt(self, _client: Client, step: Step) -> None:
        self._world.interrupts = 1 + step.x % 4
        self._world.interrupt_after = step.y % 60

    def _invalid(self, client: Client, step: Step) -> None:
        if client.closed or client.plan.before_send:
            return
        change, names = INVALID[step.x % len(INVALID)]
        event: dict[Any, object] = {"type": "V", "customer_id": "c", "brand_id": None}
        for key, value in change().items():
            event[key] = value
            if value is ...:
                del event[key]
        limit = client.plan.max_event_bytes
        if step.y % 10 == 0:
            event, names = oversized(limit), "max_event_bytes"
        message = self._raises(MasivoValidationError, lambda: client.buffer.send(event))
        if names not in message:
            raise Violation("validation", f"{message!r} does not name {names!r}")

    def _raises(self, kind: type[Exception], call: Callable[[], object]) -> str:
        """The message of the error that a call must raise."""
        try:
            result = call()
        except kind as error:
            if KEY in str(error):
                raise Violation("secret", f"in {error!r}") from None
            return str(error)
        raise Violation("raise", f"{shown(result)} instead of a {kind.__name__}")

    # ── Waiting ──────────────────────────────────────────────────────────────────────────────

    def _flush(self, client: Client, _step: Step) -> None:
        if client.closed:
            self._raises(MasivoClosedError, client.buffer.flush)
            return
        ticket = client.buffer.flush()
        if client.plan.enabled:
            self._contract.flush(client, ticket)
            self._given.append((client, ticket))
            self._world.callers.wait(ticket)
            self._world.want_poll()
        else:
            self._checker.ticket(ticket, FlushResult(0, 0))

    def _drain(self, client: Client, _step: Step) -> None:
        if client.closed:
            self._raises(MasivoClosedError, client.buffer.drain)
            return
        ticket = client.buffer.drain()
        if client.has_room():
            self._checker.ticket(ticket, promise=True)
            return
        if ticket.outcome is not None:
            raise Violation("drain", "it says that there is room")
        self._contract.drain(client, ticket)
        self._given.append((client, ticket))
        self._world.callers.wait(ticket)
        self._world.want_poll()

    def _cancel(self, _client: Client, _step: Step) -> None:
        if self._given:
            client, ticket = self._given.pop()
            client.buffer.cancel(ticket)
            self._world.callers.give_up(ticket)
            self._contract.cancel(client, ticket)
            self._world.want_poll()

    def _token(self, client: Client, _step: Step) -> None:
        if client.closed:
            self._raises(MasivoClosedError, client.buffer.token)
        elif not client.plan.enabled:
            self._raises(MasivoConfigError, client.buffer.token)
        else:
            self._contract.want_token(client, client.buffer.token())
            self._world.want_poll()

    # ── Deliveries ───────────────────────────────────────────────────────────────────────────

    def _some(self, step: Step) -> list[int]:
        numbers = list(self._kept)
        if not numbers:
            return []
        first = step.x % len(numbers)
        return numbers[first : first + 1 + step.y % 8]

    def _wait_for(self, number: int) -> None:
        delivery, event = self._kept[number], self._checker.events[number]
        self._world.callers.wait(delivery)
        if event.client.plan.await_linger is not None:
            self._contract.begin_wait(event, self._world.now - self._world.back)

    def _wait(self, _client: Client, step: Step) -> None:
        for number in self._some(step):
            delivery = self._kept[number]
            if not delivery.done() and not self._world.callers.waits(delivery):
                self._wait_for(number)

    def _give_up(self, _client: Client, step: Step) -> None:
        for number in self._some(step):
            delivery = self._kept[number]
            if not delivery.done() and self._world.callers.waits(delivery):
                self._world.callers.give_up(delivery)
                self._contract.end_wait(self._checker.events[number])

    def _claim(self, _client: Client, step: Step) -> None:
        for number in self._some(step):
            self.claim(number)

    def claim(self, number: int) -> None:
        """Claim a delivery's outcome."""
        delivery = self._kept[number]
        event = self._checker.events.get(number)
        ended = event is None or (event.ended and number not in self._contract.expected)
        if delivery.done() != ended or (delivery.claim() is not None) != ended:
            raise Violation("delivery", f"event {number}: {delivery!r}, ended: {ended}")
        state = repr(delivery)
        if ("pending" in state) == ended or KEY in state:
            raise Violation("delivery", f"event {number}: {state}, ended: {ended}")
        if ended:
            self._claimed.add(number)
            own_error(delivery.claim())

    def _drop(self, _client: Client, step: Step) -> None:
        for number in self._some(step):
            self.drop(number)

    def drop(self, number: int) -> None:
        """Let go of a delivery."""
        del self._kept[number]
        group = self._groups.pop(number, None)
        if group is None:
            return
        group.kept.discard(number)
        if number not in self._claimed:
            group.dropped += 1
        if group not in self._overflows.values() and group not in self._fresh:
            self._lay_down(group)

    def _lay_down(self, group: Group) -> None:
        if not group.kept:
            self._checker.unclaimed[group.cause] += group.dropped

    def _exit(self, _client: Client, _step: Step) -> None:
        """Do what the end of a process does: nothing will be claimed any more."""
        open_ones = [*self._overflows.values(), *self._fresh]
        groups = {id(group): group for group in self._groups.values() if group.kept}
        for group in groups.values():
            outcome = self._kept[min(group.kept)].peek()
            if group in open_ones or not isinstance(outcome, Failed):
                continue
            outcome.report_unclaimed()
            unclaimed = group.kept - self._claimed
            self._checker.unclaimed[group.cause] += len(unclaimed) + group.dropped
            self._claimed |= unclaimed
            group.dropped = 0
            self._world.want_poll()

    def drop_all(self) -> None:
        """Let go of every delivery."""
        for number in list(self._kept):
            self.drop(number)

    def settled(self, output: Output) -> None:
        """Note which failures are whose."""
        for settled in output.settled:
            outcome = settled.outcome
            if not isinstance(outcome, Failed):
                continue
            numbers = [numbered(delivery) for delivery in settled.deliveries]
            if all(self._checker.events[number].quiet for number in numbers):
                continue
            group = Group((type(outcome.error).__name__, outcome.error.status, ""))
            for number in numbers:
                if number in self._kept:
                    group.kept.add(number)
                    self._groups[number] = group
                else:
                    group.dropped += 1
                    self._dropped[number] = group
            self._fresh.append(group)

    def taken(self, number: int) -> None:
        """Note a failure that ``on_error`` has taken: it counts as claimed."""
        group = self._dropped.pop(number, None)
        if group is not None:
            group.dropped -= 1
        self._claimed.add(number)

    def bury(self) -> None:
        """Note failures that will never be claimed: the world has let go of an output."""
        for client in self._clients:
            if not client.overflowing and client.index in self._overflows:
                self._fresh.append(self._overflows.pop(client.index))
        self._dropped.clear()
        fresh, self._fresh = self._fresh, []
        for group in fresh:
            self._lay_down(group)

    def _orphan(self, client: Client, _step: Step) -> None:
        """See pending deliveries as a forked child does."""
        orphaned = Failed(MasivoClosedError("forked away"), 0, None)
        client.buffer.orphaned = orphaned
        for number, delivery in self._kept.items():
            event = self._checker.events.get(number)
            if event is None or event.ended or event.client is not client:
                continue
            if not delivery.done() or delivery.peek() is not orphaned:
                raise Violation("orphaned", f"event {number}: {delivery!r}")
        client.buffer.orphaned = None

    def named(self, settled: Settled) -> str:
        """The numbers of deliveries, for a trace."""
        return f"events {[numbered(delivery) for delivery in settled.deliveries]}"

    # ── The world around ─────────────────────────────────────────────────────────────────────

    def _wall(self, _client: Client, step: Step) -> None:
        self._world.wall_ahead += (-4000.0, -3.0, 3.0, 100_000.0, 1.0)[step.x % 5]

    def _server_clock(self, _client: Client, step: Step) -> None:
        self._world.server.jump((-4000.0, -2.0, 5.0, 900.0)[step.x % 4])

    def _sleep(self, _client: Client, step: Step) -> None:
        """The machine sleeps: the wall clock and the server go on, the driver's clock does not."""
        seconds = (30.0, 90.0, 4_000.0, 288_000.0)[step.x % 4]
        self._world.wall_ahead += seconds
        self._world.server.jump(seconds)

    def _clock(self, _client: Client, step: Step) -> None:
        """The clock of the driver's machine runs backwards for a moment."""
        self._world.server.set_back = True  # by comparison: stamps may lie in its future
        self._world.next_back = (0.001, 2.0, 500.0)[step.x % 3]
        self._world.want_poll()

    def _revoke(self, _client: Client, _step: Step) -> None:
        self._world.server.tokens.clear()

    def _grudge(self, _client: Client, step: Step) -> None:
        """The server takes none of the tokens that it grants, until it does again."""
        self._world.server.grudge = bool(step.x % 3)

    def _roll(self, _client: Client, step: Step) -> None:
        self._world.dice.draw = (0.03, 0.999, 0.5, step.y / 65536)[step.x % 4]

    def _misuse(self, client: Client, _step: Step) -> None:
        misuse(self._world.engine, list(self._kept.values()))

    def _settings(self, _client: Client, step: Step) -> None:
        check_settings(step.x)
