"""Virtual time: the network, the disk, the steps of a plan, and the end."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

import pytest
from simulation.frame import Violation

from masivo._protocol.batches import backlog
from masivo.protocol import Failure, Response
from spool.memory import Killed, Machine

from .history import MAX_AGE, Event, History
from .ledger import Ledger
from .process import Process
from .server import EPOCH, OUTAGES, Account, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.protocol import Request

    from .plan import Options, Plan, Step

__all__ = ["World"]

LONGEST: Final = 40_000.0
"""The end may take this many seconds."""
MOST_ACTIONS: Final = 200_000
"""A simulation may do this much."""
REMOVAL: Final = 600.0
"""An event is removed so many seconds after its outcome, at the latest."""
MOST: Final = 3
"""Processes at a time."""
_AHEAD: Final = (-400_000.0, -4_000.0, -70.0, 0.0, 0.0, 1.5, 70.0, 4_000.0, 400_000.0)
"""What the wall clock may be set to, against the true time."""


class World:
    """One simulation.

    Args:
        plan: what happens in it.
        note: called with the time and a line for everything that happens, for a trace.
    """

    def __init__(self, plan: Plan, note: Callable[[float, str], None] | None = None) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed + 0.5)
        self.now = 0.0
        self.machine = Machine()
        self.history = History()
        self.server = Server(self.random, self.history, plan.server_ahead)
        self.ledger = Ledger(self.machine, self.history, lambda: self.server.time(self.now))
        self.processes: list[Process] = []
        self.found: Violation | None = None
        """A broken promise that was seen where nothing can be raised."""
        self.calm = False
        """The faults are over."""
        self.wall_ahead = plan.wall_ahead
        """How far the wall clock is ahead of the true time."""
        self.accounts = {
            "shop": Account("shop", "key-of-the-shop", "https://api.example.test"),
            "club": Account("club", "key-of-the-club", "https://club.example.test"),
        }
        for account in self.accounts.values():
            self.server.accounts[account.key] = account
        self._note = note
        self._heap: list[tuple[float, int, Process | None, Callable[[], None]]] = []
        self._order = count()
        self._done = 0
        self._power_failed = False

    # ── Time ─────────────────────────────────────────────────────────────────────────────────

    def wall(self) -> float:
        """The machine's wall clock."""
        return EPOCH + self.now + self.wall_ahead

    def text_of(self, server_time: float) -> str:
        """A time of the server as an ``issued_at``."""
        return datetime.fromtimestamp(server_time, UTC).isoformat()

    def say(self, text: str) -> None:
        """Put a line into the trace."""
        if self._note is not None:
            self._note(self.now, text)

    def at(self, moment: float, process: Process | None, function: Callable[[], None]) -> None:
        """Have something done at a moment, unless the process is dead then."""
        heappush(self._heap, (moment, next(self._order), process, function))

    def later(self, wait: float, process: Process | None, function: Callable[[], None]) -> None:
        """Have something done after a wait, in seconds."""
        self.at(self.now + wait, process, function)

    def _until(self, moment: float, done: Callable[[], bool] | None = None) -> None:
        while self._heap and self._heap[0][0] <= moment:
            if done is not None and done():
                return
            at, _, process, function = heappop(self._heap)
            self.now = max(self.now, at)
            self._done += 1
            if self._done > MOST_ACTIONS:
                raise Violation("no end", f"{self._done} actions, the last of {process}")
            self._do(process, function)
        self.now = max(self.now, moment)

    def _do(self, process: Process | None, function: Callable[[], None]) -> None:
        if process is not None and process.dead:
            return
        try:
            function()
        except Killed:
            self.say(f"{process} was killed")
            self.history.crashes += 1
            if process is not None:
                process.died_at = self.now
        self.ledger.sync()
        if self.found is not None:
            raise self.found

    # ── The network and the disk ─────────────────────────────────────────────────────────────

    def disk_time(self) -> float:
        """How long an operation on the disk takes, in seconds."""
        if self.plan.slow_disk and not self.calm:
            return self.random.random() * 3.0
        return self.random.random() * 0.002

    def request(self, sender: Process, request: Request) -> None:
        """Send a request."""
        if request.method == "POST":
            self._check_request(sender, request)
        fault = self.random.random() < self.plan.faults and not self.calm
        kind = self.random.choice(("before", "unsent", "after", "cut")) if fault else ""
        self.say(f"  {sender} sends {request} {_key(request)[:8]} {kind}")
        there = self.random.random() * 0.1
        if kind in ("before", "unsent"):
            failure = Failure("lost on the way", sent=kind == "before")
            self.later(there, sender, lambda: self._back(sender, request, failure))
            return
        self.later(there, None, lambda: self._arrive(sender, request, kind))

    def _check_request(self, sender: Process, request: Request) -> None:
        key = _key(request)
        entries = self.server.events_of(request.body)
        events = [event for event, _ in entries]
        self.say(f"  with {[event.number for event in events]}")
        for event, fields in entries:
            self._check_stamp(event, sender, str(fields["issued_at"]))
            past = [self.processes[number - 1] for _, number in event.processed]
            if any(each.disk_failed for each in (sender, *past)) and not event.excused:
                event.excused = "the disk was full"
            if sender.number in self.history.misled and not event.excused:
                event.excused = "new stamps go under another key"
            note = self.ledger.note_of(event)
            if (note is None or note.key != key) and not sender.disk_failed:
                raise Violation("noted", f"{event} is sent as {key}, noted as {note}")
            if self.ledger.is_removed(event):
                raise Violation("removed", f"{event} is sent after its removal")
            if event.returned is not None and not event.accepted:
                raise Violation("refused", f"{event} is sent, though it was refused")
            self._check_told(event)
        self.history.sent(key, request.body, events, sender.number)

    def _check_told(self, event: Event) -> None:
        """Whoever knows that an event was accepted removes it, if it lives long enough."""
        for number, since in event.told.items():
            process = self.processes[number - 1]
            if not (event.excused or process.disk_failed or process.died_at < since + REMOVAL):
                raise Violation("twice", f"{event} is sent again: {process} knew its outcome")

    def _check_stamp(self, event: Event, sender: Process, stamp: str) -> None:
        """The ``issued_at`` of an event is the time of its call; one that another customer's
        events have overtaken may have theirs."""
        if event.untimely or event.misdated or sender.number in self.history.misled:
            return
        moment, time = datetime.fromisoformat(stamp).timestamp(), self.server.time(self.now)
        if time - moment > MAX_AGE + 5.0:
            raise Violation("age", f"{event}: {stamp} is too old by {time - moment - MAX_AGE} s")
        own = event.stamped or sender.number == event.process
        latest = time if own else event.issued_at
        if not event.issued_at - 15.0 < moment <= min(latest + 5.0, time):
            raise Violation("stamp", f"{event}: {stamp} is {moment - event.issued_at} s late")

    def _arrive(self, sender: Process, request: Request, kind: str) -> None:
        answer = self.server.handle(request, sender.number, self.now)
        result = answer.result
        if isinstance(result, Response) and kind:
            status = result.status if kind == "cut" else None
            result = Failure("the response was lost", sent=True, status=status)
        wait = request.timeout if answer.silent else self.random.random() * 0.3
        if self.random.random() < 0.05 and not self.calm:
            wait = self.random.random() * request.timeout
        self.say(f"  the API: {answer.result} for {request}; {result} in {wait:.3f} s")
        self.later(wait, sender, lambda: self._back(sender, request, result))

    def _back(self, sender: Process, request: Request, result: Response | Failure) -> None:
        if request.method == "POST" and sender.awaits(request):
            self._note_result(sender, request, result)
        self.say(f"  {sender} gets {result} for {request.id}")
        sender.hand_back(request.id, result)

    def _note_result(self, sender: Process, request: Request, result: Response | Failure) -> None:
        events = [event for event, _ in self.server.events_of(request.body)]
        success = result.status is not None and 200 <= result.status < 300
        if isinstance(result, Response) and not result.body.startswith(b"{"):
            success = False  # it is not JSON
        for event in events:
            if success and isinstance(result, Failure):
                event.cut = True
            elif success and event.processed:
                event.told.setdefault(sender.number, self.now)
            elif isinstance(result, Failure) and not result.sent:
                event.alone = 0
            elif not success and len(events) == 1:
                event.alone += 1

    # ── Steps ────────────────────────────────────────────────────────────────────────────────

    def figures(self) -> dict[str, float]:
        """See the frame."""
        history = self.history
        return {
            "processes": len(self.processes),
            "killed": history.crashes,
            "events": len(history.events),
            "requests": self.server.requests,
            "doubles": history.doubles,
            "doubles under another key": history.keyed_doubles,
            "virtual days": self.now / 86_400,
        }

    def run(self) -> None:
        """Take every step, then come to an end.

        Raises:
            Violation: a promise was broken.
        """
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backlog, "WINDOW", self.plan.window)
            # The names of files, by which logs of one moment are in order.
            patch.setattr(os, "urandom", random.Random(self.plan.seed).randbytes)
            for step in self.plan.steps:
                self._until(self.now + step.gap)
                self.say(f"STEP {step.kind} {step.draws}")
                self._take(step)
            self._end()

    def _take(self, step: Step) -> None:
        live = [process for process in self.processes if process.live]
        there = [process for process in self.processes if not (process.dead or process.over)]
        match step.kind:
            case "start":
                if len(there) < MOST:
                    self._start(step)
            case "fork":
                if live and len(there) < MOST:
                    self._fork(step, step.pick(live))
            case "power failure":
                self._fail()
            case "disk":
                self.machine.full = step.draws[0] < 0.5
            case "outage":
                self.server.outage = step.pick(list(OUTAGES))
            case "heal":
                self.server.outage = None
                for account in self.server.accounts.values():
                    account.refused = False
            case "key":
                self._change_key(step)
            case "clock":
                self._set_clock(step.pick(_AHEAD))
            case "night":
                self._until(self.now + step.draws[0] * (2_000.0 if there else 4 * 86_400.0))
            case "kill" | "kill at an operation":
                if there:
                    self._kill(step, step.pick(there))
            case _:
                if live:
                    process: Process = step.pick(live)
                    self._do(process, lambda: self._call(step, process))

    def _start(self, step: Step) -> None:
        name = "club" if step.draws[0] < 0.2 else "shop"
        process = self.start(self.accounts[name], 2 if step.draws[2] > 0.8 else 1)
        if step.draws[1] < 0.3:
            process.use()

    def start(self, account: Account, clients: int = 1, *, replaced: bool = False) -> Process:
        """Start a process with this many clients."""
        number = len(self.processes) + 1
        options = [self.plan.options(self.random) for _ in range(clients)]
        whole = options[0].isolate_rejected
        options = [replace(each, isolate_rejected=whole) for each in options]
        if self.calm:
            options = [self._with_room(each) for each in options]
        process = Process(self, number, account, options, replaced=replaced)
        self.processes.append(process)
        self.say(f"{process}: {options}")
        return process

    def _with_room(self, options: Options) -> Options:
        """The settings with room for events that the API accepts, beside batches that always fail:
        many of them may fill memory and disk, and stop the others then."""
        self.ledger.sync()
        left = {self.ledger.events[place].number for place in self.ledger.left}
        failing = sum(self.history.events[number].nature == "poison" for number in left)
        memory = max(options.max_queue, 10 * failing) if failing > 2 else options.max_queue
        return replace(options, max_queue=memory, spool_max_bytes=1 << 30)

    def _fork(self, step: Step, parent: Process) -> None:
        announced = step.draws[1] < 0.5
        child = parent.fork(len(self.processes) + 1, announced=announced)
        self.processes.append(child)
        self.say(f"{child} is a child of {parent}, {'' if announced else 'not '}announced")

    def _kill(self, step: Step, process: Process) -> None:
        if step.kind == "kill":
            process.kill()
            self.history.crashes += 1
        else:
            process.kill_at(int(step.draws[1] * 30) + 1, late=step.draws[2] < 0.5)

    def _fail(self) -> None:
        for process in self.processes:
            process.kill()
        self._power_failed = True
        self.machine.fail(self.random)
        self.ledger.clear()
        self.ledger.sync()
        time = self.server.time(self.now)
        for event in self.history.events.values():
            event.excused = "the power failed"
            if not self.ledger.holds(event) and not self.history.is_ended(event, time):
                event.lost = True

    def _set_clock(self, ahead: float) -> None:
        self.wall_ahead = ahead
        for event in self.history.events.values():
            event.untimely = event.untimely or not event.certain
        self.history.misled.update(each.number for each in self.processes)

    def _change_key(self, step: Step) -> None:
        account = self.accounts["shop"]
        if step.draws[0] < 0.6:
            account.refused = True
            return
        account.replaced = True
        fresh = Account(account.name, f"{account.key}-{step.draws[1]}", account.url)
        self.accounts["shop"] = self.server.accounts[fresh.key] = fresh

    def _call(self, step: Step, process: Process) -> None:
        match step.kind:
            case "send":
                for _ in range(int(step.draws[1] * 4) + 1):
                    self.send_one(process)
            case "burst":
                for _ in range(int(step.draws[1] * 40) + 1):
                    self.send_one(process)
            case "close":
                process.close(step.pick((None, 0.0, 2.0, 10.0), 1))
            case call:
                getattr(process, call)()

    def send_one(self, process: Process) -> None:
        """Have a process send an event."""
        draw = self.random.random
        customer = f"c{int(draw() * self.plan.customers)}"
        nature, age = "good", None
        if draw() < self.plan.odd:
            kind = self.random.choice(("bad", "poison", "poison", "old", "aged"))
            if kind in ("bad", "poison"):
                nature = kind
            else:
                age = MAX_AGE + (3_600.0 if kind == "old" else -draw() * 20_000.0)
        if draw() < 0.02 and age is None:
            age = draw() * 100.0
        process.send(customer, nature, age)

    # ── The end ──────────────────────────────────────────────────────────────────────────────

    def _end(self) -> None:
        """Let everything be well, and see that everything is delivered."""
        self.say("THE END")
        self.calm = True
        self.machine.full = False
        self.server.outage = None
        self.server.healed = self.random.random() < 0.3
        for account in self.server.accounts.values():
            account.refused = False
        for process in self.processes:
            if process.dead or process.over:
                continue
            process.spare()
            if self.random.random() < 0.5 or process.account.replaced:
                process.kill()
            elif process.live:
                self._do(process, partial(process.close, None))
        if self.random.random() < 0.5:
            self._wait_for_calls()
        last = [self.start(account, replaced=account.name == "shop") for account in self._last()]
        for process in last:
            self._do(process, process.use)
            self._do(process, process.flush)
        until = self.now + LONGEST
        while self.now < until and self.ledger.left:
            for process in last:  # so that the API accepts something
                self._do(process, partial(process.send, "beacon", "good"))
            self._until(self.now + 40.0, lambda: not self.ledger.left)
        for process in last:
            self._do(process, partial(process.close, None))
        self._wait_for_calls()
        self._check_end()

    def _last(self) -> list[Account]:
        """The accounts that deliver what is left. A power failure can cost what tells that a log is
        of a replaced key; then that key is taken again."""
        if not self._power_failed:
            return [*self.accounts.values()]
        for account in self.server.accounts.values():
            account.replaced = False
        return [*self.server.accounts.values()]

    def _wait_for_calls(self) -> None:
        def waiting() -> bool:
            return any(each.waits and not each.dead for each in self.processes)

        until = self.now + LONGEST
        while waiting() and self._heap and self.now < until:
            self._until(self._heap[0][0])

    def _check_end(self) -> None:
        time = self.server.time(self.now)
        for event in self.history.events.values():
            if event.accepted and not event.lost and not self.history.is_ended(event, time):
                where = "on the disk" if self.ledger.holds(event) else "nowhere"
                raise Violation("delivered", f"{event} ({event.nature}) is {where} in the end")
        for process in self.processes:
            if not (process.dead or process.over):
                raise Violation("no end", f"{process} has not ended, {process.stats()}")
        kept = (".bad", ".rejected.jsonl")
        left = [name for name in self.machine.files if not name.endswith(kept)]
        if left:
            raise Violation("clean", f"left in the directory: {left}")

    # ── A logger, which ``settle`` takes ─────────────────────────────────────────────────────

    def log(self, level: int, msg: str, /) -> None:
        """See Logger."""

    def warning(self, msg: str, /) -> None:
        """See Logger."""

    def error(self, msg: str, /, *, exc_info: bool) -> None:
        """See Logger."""
        self.say(f"  {msg}")


def _key(request: Request) -> str:
    return dict(request.headers).get("idempotency-key", "")
