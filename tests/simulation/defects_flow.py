"""Defects in what moves: the parts of the core that events and requests go through."""

from __future__ import annotations

from typing import Final

from .patched import Defect

__all__ = ["FLOW"]

FLOW: Final[tuple[Defect, ...]] = (
    # ── authorizer.py ────────────────────────────────────────────────────────────────────────
    Defect(
        "the API key is tried again within 30 s of a refusal",
        "authorizer.py",
        "refusal = self._core.backoff.refuses(self._core.now) or self.refusal()\n",
        "refusal = self._core.backoff.refuses(self._core.now)\n",
    ),
    Defect(
        "an expired token is used",
        "authorizer.py",
        "if self._token.expired(self._core.now):",
        "if False:",
    ),
    Defect(
        "a 401 to an old token throws the new one away",
        "authorizer.py",
        "if token == self._token.value:",
        "if token is not None:",
    ),
    Defect(
        "the longest refresh_interval counts",
        "authorizer.py",
        "return min((each for each in intervals if each is not None), default=None)",
        "return max((each for each in intervals if each is not None), default=None)",
    ),
    Defect(
        "a Retry-After does not hold authorizations back",
        "authorizer.py",
        "at = self._core.waits_until(authorization, hurry=hurry)",
        "at = authorization.not_before if authorization.not_before > self._core.now else None",
    ),
    Defect(
        "the failure of a background refresh throws the token away",
        "authorizer.py",
        "if self._token.state is State.STALE:\n            # The token",
        "if False:\n            # The token",
    ),
    Defect(
        "a refusal does not end the events of other clients",
        "authorizer.py",
        "        for outbox in self._core.outboxes:\n            outbox.fail_waiting(error)\n"
        "        self._give_up",
        "        for outbox in self._core.outboxes[:1]:\n            outbox.fail_waiting(error)\n"
        "        self._give_up",
    ),
    Defect(
        "the timeout of the quickest client bounds an authorization",
        "authorizer.py",
        "timeout = max(outbox",
        "timeout = min(outbox",
    ),
    Defect(
        "a 403 to an authorization is repeated",
        "authorizer.py",
        "            repeatable=status in REPEATED,\n"
        "            definitive=400 <= status < 500 and ",
        "            repeatable=status in (*REPEATED, 403),\n"
        "            definitive=400 <= status < 500 and status != 403 and ",
    ),
    # ── outbox.py ────────────────────────────────────────────────────────────────────────────
    Defect(
        "max_wait does not count",
        "outbox.py",
        "return min(self._last_at + self.settings.idle_timeout,",
        "return max(self._last_at + self.settings.idle_timeout,",
    ),
    Defect(
        "a full buffer does not push",
        "outbox.py",
        'return "max_queue" if self._held() >= self.settings.max_queue else None',
        "return None",
    ),
    Defect(
        "a flush does not push",
        "outbox.py",
        'self._due_below, self._due_by = self._queue.arrived, "flush"\n',
        'self._due_below, self._due_by = self._due_below, "flush"\n',
    ),
    Defect(
        "one batch too many is on its way",
        "outbox.py",
        "if len(self._flights) >= self.settings.max_in_flight or not self._queue.ready:",
        "if len(self._flights) > self.settings.max_in_flight or not self._queue.ready:",
    ),
    Defect(
        "a batch may be a byte too long",
        "outbox.py",
        "envelope_size(settings.account.api.events_key) + 1",
        "envelope_size(settings.account.api.events_key) + 2",
    ),
    Defect(
        "a close with a deadline waits for repeats",
        "outbox.py",
        "            self.hurry = True\n",
        "",
    ),
    Defect(
        "a later close moves the deadline",
        "outbox.py",
        "if earlier is None or deadline < earlier:",
        "if earlier is None or deadline > earlier:",
    ),
    Defect(
        "what is released is not counted as landed",
        "outbox.py",
        "        for part in flight.remaining():\n            self._in_flight -= "
        "len(part.deliveries)\n",
        "        for part in flight.remaining():\n",
    ),
    Defect(
        "customers of a failed flight stay busy",
        "outbox.py",
        "        self._core.forget(flight)\n        self._queue.release(flight.customers)\n",
        "        self._core.forget(flight)\n",
    ),
    Defect(
        "stamps may go back",
        "outbox.py",
        "            if at > moment:\n                moment = at\n",
        "            moment = at\n",
    ),
    Defect(
        "a drain is answered while there is no room",
        "outbox.py",
        "if self._drains and self._has_room():",
        "if self._drains:",
    ),
    Defect(
        "the next batch after a failure does not wait",
        "outbox.py",
        "flight.not_before = now + core.backoff.wait()",
        "flight.not_before = now",
    ),
    Defect(
        "a driver with customers in flight oversleeps a full batch",
        "outbox.py",
        "more = 1 if self._drains else min(self.settings.batch_size, room)",
        "more = math.inf",
    ),
    # ── core.py, engine.py ───────────────────────────────────────────────────────────────────
    Defect(
        "another Idempotency-Key for each repeat",
        "core.py",
        'part.key = part.key or f"{self._random.getrandbits(128):032x}"',
        'part.key = f"{self._random.getrandbits(128):032x}"',
    ),
    Defect(
        "a 2xx that is cut off is sent again",
        "core.py",
        "accepted = failure.status is not None and 200 <= failure.status < 300",
        "accepted = failure.status is not None and 200 < failure.status < 200",
    ),
    Defect(
        "the last try of a close is not the last",
        "core.py",
        "        attempt.last_try = hurry\n",
        "",
    ),
    Defect(
        "max_retries is exceeded by one",
        "core.py",
        "if attempt.retries >= retries or attempt.last_try:",
        "if attempt.retries > retries or attempt.last_try:",
    ),
    Defect(
        "a third 401 is needed",
        "core.py",
        "                flight.unauthorized = True\n",
        "                flight.unauthorized = self.backoff.failures > 0\n",
    ),
    Defect(
        "a 401 before a lost answer still counts",
        "core.py",
        "        if repeatable:\n            flight.unauthorized = False\n",
        "        if repeatable:\n",
    ),
    Defect(
        "an echoed token is shown",
        "core.py",
        "secrets = self.account.api_key.reveal(), token, self.authorizer.latest\n",
        "secrets = self.account.api_key.reveal(), None\n",
    ),
    Defect(
        "on_error gets the error that waiters get",
        "core.py",
        "FailedEvent(decode(delivery.encoded), error.copy())",
        "FailedEvent(decode(delivery.encoded), error)",
    ),
    Defect(
        "events that came in during a poll wait for the next one",
        "engine.py",
        "if any(outbox.wants_poll for outbox in stepped):",
        "if False:",
    ),
    Defect(
        "a 200 alone is a success",
        "core.py",
        "        if 200 <= status < 300:\n            self.backoff.succeeded()",
        "        if status in (200, 201):\n            self.backoff.succeeded()",
    ),
    Defect(
        "an abandoned client's loss is not told",
        "core.py",
        "        if lost:\n",
        "        if lost > 1:\n",
    ),
    # ── flight.py ────────────────────────────────────────────────────────────────────────────
    Defect(
        "halving stops after 9 refusals",
        "flight.py",
        "LONE_REFUSALS: Final = 8",
        "LONE_REFUSALS: Final = 9",
    ),
    Defect(
        "the halves in the wrong order",
        "flight.py",
        "self.parts.extendleft(reversed(self.parts.popleft().halves()))",
        "self.parts.extendleft(self.parts.popleft().halves())",
    ),
    Defect(
        "an accepted part does not break a row of refusals",
        "flight.py",
        "            self._refused_alone = 0\n        elif",
        "            pass\n        elif",
    ),
    Defect(
        "a part has only the retries that are left",
        "flight.py",
        "        self.begin()\n        self.unauthorized = False",
        "        self.unauthorized = False",
    ),
    # ── buffer.py ────────────────────────────────────────────────────────────────────────────
    Defect(
        "the buffer holds one event too many",
        "buffer.py",
        "accepted - self._ended > self._max_queue\n",
        "accepted - self._ended > self._max_queue + 1\n",
    ),
    Defect(
        "the buffer's bytes are not bounded",
        "buffer.py",
        "or accepted_bytes - self._ended_bytes > self._max_queue_bytes",
        "or accepted_bytes < 0",
    ),
    Defect(
        "a sender wakes the driver one event late",
        "buffer.py",
        "if accepted >= self._wake_count or self._accepted_bytes + accepted > self._wake_bytes:",
        "if accepted > self._wake_count or self._accepted_bytes + accepted > self._wake_bytes:",
    ),
    Defect(
        "rejected events are not counted",
        "buffer.py",
        "        self._rejected += 1\n",
        "        self._rejected = 1\n",
    ),
    # ── queues.py ────────────────────────────────────────────────────────────────────────────
    Defect(
        "a batch is never cut for its bytes",
        "queues.py",
        "while total > budget and len(taken) > 1:",
        "while total > budget + 100_000 and len(taken) > 1:",
    ),
    Defect(
        "events put back are in the wrong place",
        "queues.py",
        "waiting.appendleft(taken.pop())",
        "waiting.append(taken.pop())",
    ),
    Defect(
        "customers in flight are not busy",
        "queues.py",
        "            self._busy.add(customer)\n",
        "",
    ),
    Defect(
        "who has a whole batch waiting does not go first",
        "queues.py",
        "leader = self._first(self._long) if self._leader is None else None",
        "leader = None",
    ),
    Defect(
        "two go first at once for having a whole batch waiting",
        "queues.py",
        "            self._leader = leader\n",
        "            self._leader = None\n",
    ),
    Defect(
        "held-back events are not counted when they come free",
        "queues.py",
        "                self._ready += len(line.entries)\n                self.ready_bytes",
        "                self.ready_bytes",
    ),
    # ── settle.py ────────────────────────────────────────────────────────────────────────────
    Defect(
        "who waits for a ticket is not woken",
        "settle.py",
        "        for ticket in output.tickets:\n",
        "        for ticket in output.tickets[:0]:\n",
    ),
    Defect(
        "what on_error raises stops the driver",
        "settle.py",
        "except BaseException:",
        "except ZeroDivisionError:",
    ),
    # ── tally.py ─────────────────────────────────────────────────────────────────────────────
    Defect(
        "a flush waits for one event that came after it",
        "tally.py",
        "ended = sum([number < ticket.mark for number in numbers])",
        "ended = sum([number < ticket.mark - 1 for number in numbers])",
    ),
    Defect(
        "a flush tells again what an earlier one told",
        "tally.py",
        "                max(self._told[0], delivered + ticket.delivered),\n",
        "                self._told[0],\n",
    ),
    # ── timers.py ────────────────────────────────────────────────────────────────────────────
    Defect(
        "a timer fires a moment late",
        "timers.py",
        "while (at := self.next()) is not None and at <= now:",
        "while (at := self.next()) is not None and at < now:",
    ),
    Defect(
        "an emptied slot still fires",
        "timers.py",
        "            del self._at[slot]\n        else:",
        "            pass\n        else:",
    ),
    Defect(
        "a timer that is moved fires at its old time",
        "timers.py",
        "while heap and self._at.get(heap[0][2]) != heap[0][0]:",
        "while heap and heap[0][2] not in self._at:",
    ),
)
