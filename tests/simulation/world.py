"""Virtual time: the driver, the network, and callers who do what the plan says."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final

from masivo._protocol.errors import MasivoConfigError
from masivo.protocol import Account, Api, Engine, Failed, Failure, Response, Secret

from .activity import ActivityCheck
from .callers import Callers
from .contract import Contract
from .expect import FULL, shown
from .frame import Violation
from .invariants import BASE_URL, Checker
from .plan import CALM
from .server import KEY, Server, ServerResponse, http_date
from .steps import Steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from masivo.protocol import Json, Output, Request

    from .plan import Fate, Plan

__all__ = ["World"]

LONGEST: Final = 400_000.0
"""No simulation may need more virtual seconds."""
MOST_POLLS: Final = 20_000
"""No simulation may need more polls."""


class Dice:
    """The core's random source: one number until the plan changes it."""

    def __init__(self, draw: float) -> None:
        self.draw = draw
        self._keys = 0

    def random(self) -> float:
        """See ``RandomSource``."""
        return self.draw

    def getrandbits(self, k: int, /) -> int:
        """See ``RandomSource``."""
        self._keys += 1
        return (self._keys * 0x9E3779B97F4A7C15F39CC0605CEDC835) % (1 << k)


def stubborn(_status: int, _body: Json) -> bool:
    """An ``Api.is_server_key_refusal`` that fails."""
    raise ZeroDivisionError


def lost(request: Request) -> ConnectionError:
    """What a transport raises: with a request in it, and frames that hold one."""
    try:
        try:
            raise OSError(5, f"lost on the way: {dict(request.headers)}")
        finally:
            raise ConnectionError(f"no route for {KEY}", request)
    except ConnectionError as error:
        vars(error)["request"] = (request, dict(request.headers))
        vars(error)["said"] = KEY
        return error


class World:
    """One simulation.

    Args:
        plan: what happens in it.
        note: called with a line for everything that happens, for a trace.
    """

    def __init__(self, plan: Plan, note: Callable[[float, str], None] | None = None) -> None:
        self.plan = plan
        self.note = note
        self.now = 0.0
        self.back = 0.0
        """How far the driver's clock is behind, in this poll."""
        self.next_back = 0.0
        """How far it will be, in the next one alone."""
        self.wall_ahead = 0.0
        """How far the caller's wall clock is off."""
        self.polls = 0
        self.done = 0
        """How many steps were taken."""
        self.dice = Dice(plan.draw)
        self.server = Server(plan)
        self.contract = Contract(self.wall, plan.draw, stubborn=plan.stubborn)
        self.checker = Checker(plan, self.server, self.contract)
        self.callers = Callers(lambda: self.steps.send_inside())
        self.activity = ActivityCheck()
        self.calm = False
        """Whether the faults are over."""
        api = Api(
            events_key=plan.events_key,
            content_encoding="gzip" if plan.gzip else None,
            sdk_header=plan.sdk_header,
            stamp_issued_at=plan.stamps,
        )
        if plan.stubborn:
            api = replace(api, is_server_key_refusal=stubborn)
        self.account = Account(Secret(KEY), BASE_URL, api)
        self.engine = Engine(
            self.account,
            clock=lambda: self.now - self.back,
            wall_clock=self.wall,
            random=self.dice,
            wake=self._woken,
            listening=lambda: plan.listening,
        )
        self._polled_at = 0.0
        self.interrupts = 0
        """How many events a signal handler sends in the middle of the next poll."""
        self.interrupt_after = 0
        """Where that is: after so many calls and returns."""
        self.in_poll = False
        self._wanted = False
        self._poll_at = math.inf
        self._wake_at: float | None = None
        self._network: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._requests = 0
        self._vain = 0
        self._vain_since = 0.0
        self.steps = Steps(self)

    def wall(self) -> float:
        """The caller's wall clock."""
        return self.plan.epoch + self.now + self.wall_ahead

    def say(self, text: str) -> None:
        """Put a line into the trace."""
        if self.note is not None:
            self.note(self.now, text)

    # ── The course of events ─────────────────────────────────────────────────────────────────

    def figures(self) -> dict[str, float]:
        """See the frame."""
        checker = self.checker
        return {
            "steps": self.done,
            "polls": self.polls,
            "events": len(checker.events),
            "requests": len(checker.requests),
            "virtual hours": self.now / 3600,
        }

    def run(self) -> None:
        """Take every step, then come to an end.

        Raises:
            Violation: the core broke the contract.
        """
        self.steps.attach()
        self._settle_inputs()
        for step in self.plan.steps:
            self._until(step.at)
            self.say(f"STEP {step}")
            self.done += 1
            self.steps.take(step)
            self._settle_inputs()
        self.interrupts = 0
        self.calm = True
        self._until(self.now + self.plan.settle)
        self.steps.end()
        self._settle_inputs()
        while self.contract.clients:
            if not self._advance(LONGEST):
                raise Violation("end", "the core never came to an end")
        self._until(self.now + 1.0)
        self.steps.drop_all()
        self._settle_inputs()
        while self._advance(LONGEST):
            pass
        self._check_end()

    def _until(self, moment: float) -> None:
        while self._advance(moment):
            pass
        self.now = max(self.now, moment)

    def pass_time(self, seconds: float) -> None:
        """Poll as the inputs ask for it, and let time go on in the middle of a step."""
        self._settle_inputs()
        self._until(self.now + seconds)

    def _advance(self, limit: float) -> bool:
        """Let the next thing happen that does so up to ``limit``; False if there is none."""
        wake = math.inf if self._wake_at is None else self._wake_at + self.plan.lag
        arrival = self._network[0][0] if self._network else math.inf
        moment = min(wake, arrival, self._poll_at)
        if moment > limit:
            return False
        self.now = max(self.now, moment)
        if moment == arrival:
            self._vain = 0
            heappop(self._network)[2]()
            self._settle_inputs()
        elif moment == self._poll_at:
            self._poll_now()
        else:
            self._worked(vain=not self._poll_now())
        return True

    def _worked(self, *, vain: bool) -> None:
        """The driver was woken by the clock: no more often than there is something to do."""
        if not vain:
            self._vain = 0
        elif self._vain == 0:
            self._vain, self._vain_since = 1, self.now
        else:
            self._vain += 1
            elapsed = self.now - self._vain_since
            due = 5.0
            for client in self.contract.clients:
                due += 2.0 + elapsed / min(client.plan.idle_timeout, client.plan.max_wait)
            if self._vain > due:
                raise Violation("spinning", f"{self._vain} vain polls in {elapsed} s")

    # ── The driver ───────────────────────────────────────────────────────────────────────────

    def _woken(self) -> None:
        self._wanted = True

    def want_poll(self) -> None:
        """An input came that asks for a poll."""
        self._wanted = True

    def _settle_inputs(self) -> None:
        """Poll after inputs, as soon as this driver does; or see that none is needed."""
        self._vain = 0
        if self._wanted:
            self._wanted = False
            self._poll_at = min(self._poll_at, self.now + self.plan.lag)
        if self._poll_at <= self.now:
            self._poll_now()
        elif self._poll_at == math.inf:
            self.checker.wake(self._wake_at)

    def _poll_now(self) -> bool:
        """Poll until no more polls are wanted; whether anything came of it."""
        self._poll_at = math.inf
        self.back, self.next_back = self.next_back, 0.0
        busy = self._poll()
        if self.back:
            self.back, self._wanted = 0.0, True
        while self._wanted:
            self._wanted = False
            busy = self._poll() or busy
        self._quiet()
        self.checker.wake(self._wake_at)
        return busy

    def _poll(self) -> bool:
        """Poll once; whether anything came of it."""
        self.polls += 1
        if self.polls > MOST_POLLS:
            raise Violation("spinning", f"{self.polls} polls")
        self.contract.draw = self.dice.draw
        self._polled_at = max(self._polled_at, self.now - self.back)
        self.contract.begin_poll(self._polled_at)
        self.in_poll = True
        if self.interrupts:
            sys.setprofile(self._interrupter(self.interrupt_after))
        try:
            output = self.engine.poll()
        finally:
            sys.setprofile(None)
        self.in_poll = False
        busy = brings_something(output)
        self._check(output)
        for request in output.requests:
            self._start(request)
        self._wake_at = output.wake_at
        if output.wake_at is not None and output.wake_at <= self._polled_at:
            raise Violation("wake_at", f"{output.wake_at} is not after {self.now}")
        return busy

    def _check(self, output: Output) -> None:
        checker = self.checker
        if re.search("token=(absent|fetching)", repr(self.engine)):
            self.contract.expiry_noticed()
        for request in output.requests:
            if self.note is not None:
                self.say(f"  > {request!r}")
            checker.request(request)
        self.contract.settle()
        if self.note is not None:
            for settled in output.settled:
                self.say(f"  = {self.steps.named(settled)}: {shown(settled.outcome)}")
            for line in output.warnings:
                self.say(f"  ! {line}")
            if output.tickets:
                self.say(f"  = {', '.join(shown(t.outcome) for t in output.tickets)}")
        checker.warnings(output.warnings)
        checker.silence()
        self.steps.settled(output)
        checker.outcomes(output)
        checker.tickets(output)
        checker.state(self.engine, output)
        self.activity.compare(output, self._polled_at, listening=self.plan.listening)
        self.activity.compare_clients(output, checker.everyone, logged=self.plan.listening)
        said = len(output.warnings)
        for failed in self.callers.settle(output):
            self.steps.taken(checker.told[id(failed)])
        checker.told.clear()
        self.steps.bury()
        for line in output.warnings[said:]:
            self.say(f"  ! {line}")
        checker.warnings(output.warnings[said:])

    def _quiet(self) -> None:
        """Polling twice at one time is quiet."""
        if self.contract.inbox:
            return
        again = self.engine.poll()
        if brings_something(again):
            raise Violation("quiet", f"a second poll at one time brought {again}")
        if again.wake_at != self._wake_at:
            raise Violation("quiet", f"a second poll moved wake_at to {again.wake_at}")

    def _interrupter(self, after: int) -> Callable[[FrameType, str, object], None]:
        """A profiler that interrupts the core after so many calls and returns of its main part."""
        left = after
        running = False

        def count(frame: FrameType, event: str, _argument: object) -> None:
            nonlocal left, running
            main = frame.f_code.co_name == "_run"
            running = running or main
            left -= running
            if main and event == "return":
                sys.setprofile(None)  # it was too short
            elif left < 0:
                sys.setprofile(None)
                self._interrupted()

        return count

    def _interrupted(self) -> None:
        if self.in_poll and self.interrupts:
            try:
                self.engine.poll()
            except RuntimeError:
                pass
            else:
                raise Violation("poll", "it may run twice at once")
            number, self.interrupts = self.interrupts, 0
            self.steps.interrupt(number)

    # ── The network ──────────────────────────────────────────────────────────────────────────

    def at(self, moment: float, do: Callable[[], None]) -> None:
        """Have something happen later."""
        heappush(self._network, (moment, next(self._order), do))

    def _start(self, request: Request) -> None:
        """Send a request to its fate."""
        number = self._requests
        self._requests += 1
        fates = self.plan.fates
        fate = CALM if self.calm or number >= len(fates) else fates[number]
        if fate.only not in ("", request.method):
            fate = fate.mild()
        if self.note is not None and fate.kind != "ok":
            self.say(f"    #{request.id} will meet {fate}")
        if fate.kind == "unsent":
            done = self.now + min(fate.up, request.timeout)
            self._fail(
                done, request, Failure(f"no route for {KEY}", sent=False, cause=lost(request))
            )
            return
        if fate.kind == "fatal":
            error = MasivoConfigError("no usable client")
            self._fail(self.now, request, Failure("none", sent=False, fatal=error))
            return
        self.at(self.now + fate.up, lambda: self._arrive(request, fate))
        if fate.up + fate.down > request.timeout:
            cause = TimeoutError() if request.id % 2 else None
            failure = Failure("timed out", sent=True, cause=cause)
            self._fail(self.now + request.timeout, request, failure)
            if fate.late:
                return
            # The response is lost; the request still reaches the server.

    def _arrive(self, request: Request, fate: Fate) -> None:
        """A request reaches the server, or the place where it is lost."""
        back = self.now + fate.down
        gave_up = fate.up + fate.down > request.timeout
        if fate.kind == "reset_before":
            self._fail(back, request, Failure("reset", sent=True))
            return
        if fate.kind == "cut_error":
            self._fail(back, request, Failure("cut off", sent=True, status=fate.status))
            return
        if fate.kind in ("retryable", "rejecting", "unauthorized", "other", "server_key"):
            response = self.server.fault(request, fate, self.now)
        else:
            response = self._served(request, fate)
        if fate.kind == "reset_after":
            self._fail(back, request, Failure("reset", sent=True))
        elif fate.kind == "cut":
            self._fail(back, request, Failure("cut off", sent=True, status=response.status))
        elif not gave_up or fate.late:
            if fate.date:
                response.date = float(math.floor(self.server.time(self.now)))
                response.headers["date"] = http_date(response.date)
            self.at(back, lambda: self._respond(request, response))

    def _served(self, request: Request, fate: Fate) -> ServerResponse:
        """The server's own response, or what a fault makes of it."""
        response = self.server.handle(request, self.now)
        if fate.kind == "retryable_after":
            return self.server.fault(request, fate, self.now)
        if response.status >= 300:
            return response
        if fate.kind == "success":
            response.status = fate.status
            if request.method == "POST" and fate.body not in ("html", "text", "broken"):
                response.body = self.server.fault(request, fate, self.now).body
        elif fate.kind == "not_json" and request.method == "POST":
            response.body = b"<html>hello " + KEY.encode() + b"</html>"
        elif fate.kind == "no_token" and request.method == "GET":
            bodies = (b"", b'{"data":5}', b'{"data":"a b"}', b"<html>", b'{"data":""}', b"[1]")
            response.body, response.grant = bodies[request.id % len(bodies)], None
        return response

    def _respond(self, request: Request, response: ServerResponse) -> None:
        if self.note is not None:
            self.say(
                f"  < #{request.id} {response.status} {response.body[:60]!r} {response.headers}"
            )
        self.contract.responded(request.id, response)
        handed = Response(response.status, response.headers, response.body)
        self.engine.hand_back(request.id, handed)
        self._wanted = True

    def _fail(self, moment: float, request: Request, failure: Failure) -> None:
        def do() -> None:
            if self.note is not None:
                self.say(f"  < #{request.id} {failure}")
            self.contract.broken(request.id, failure)
            self.engine.hand_back(request.id, failure)
            self._wanted = True

        self.at(moment, do)

    # ── The end ──────────────────────────────────────────────────────────────────────────────

    def _check_end(self) -> None:
        """Nothing is left over, and everything is accounted for."""
        for event in self.checker.events.values():
            if not event.ended:
                raise Violation("end", f"event {event.number} has no outcome")
        if self._wake_at is not None:
            raise Violation(
                "end", f"no client is left, and it wants to be woken at {self._wake_at}"
            )
        if unclaimed := sum(self.checker.unclaimed.values()):
            raise Violation("warning", f"{unclaimed} unclaimed failures were not logged")
        self.callers.check_end()
        leaks = {name: len(getattr(self.engine._context, name)) for name in ("_requests", "inbox")}
        if any(leaks.values()):
            raise Violation("leak", f"{leaks}")

    def reject(self, outcome: object) -> None:
        """See that there was no room for an event."""
        if not isinstance(outcome, Failed) or type(outcome.error) is not FULL.kind:
            raise Violation("max_queue", f"{shown(outcome)} instead of a full buffer")


def brings_something(output: Output) -> bool:
    """Whether anything came of a poll."""
    return any((output.requests, output.settled, output.tickets, output.closes, output.warnings))
