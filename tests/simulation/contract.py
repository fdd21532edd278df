"""An independent model of one key: what must happen next, and when.

The contract is ``docs/reference/guarantees.md``.

The random source gives one number between two steps of a plan, so every wait is known exactly.
What the contract leaves open (which customers share a batch, say) is settled here as the core
does it; what it promises is worked out from its words.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from .calls import Calls
from .expect import (
    CLOSED,
    Delivered,
    Wrong,
    api_error,
    authorization_error,
    broken,
    delivered,
    second_401,
)
from .model import Authorization, Batch, Client
from .server import KEY
from .state import EPSILON

if TYPE_CHECKING:
    from masivo.protocol import Failure

    from .expect import Expected
    from .server import Grant, ServerResponse

__all__ = ["Contract"]

RETRYABLE: Final = frozenset({408, 429, 500, 502, 503, 504})
REJECTED: Final = frozenset({400, 413, 422})


class Contract(Calls):
    """The model of one key: what responses and time make of it."""

    # ── Responses ────────────────────────────────────────────────────────────────────────────

    def responded(self, request_id: int, response: ServerResponse) -> None:
        """A response was handed back."""

        def do() -> None:
            attempt = self.out.pop(request_id, None)
            if attempt is None:
                return
            attempt.out = None
            self.learn(response.date)
            if isinstance(attempt, Batch):
                self._batch_responded(attempt, response)
            else:
                self._authorization_responded(attempt, response)

        self.inbox.append(do)

    def broken(self, request_id: int, failure: Failure) -> None:
        """A failure was handed back."""

        def do() -> None:
            attempt = self.out.pop(request_id, None)
            if attempt is None:
                return
            attempt.out = None
            fatal, status = failure.fatal is not None, failure.status
            wrong = broken(failure, [KEY])
            if isinstance(attempt, Authorization):
                if status is not None and 200 <= status < 300:  # no event was sent
                    wrong = replace(wrong, status=None)
                self._authorization_failed(
                    attempt, wrong, None, retryable=not fatal, definitive=fatal
                )
            elif fatal:
                self.failures = 0
                self._part_ends(attempt, wrong)
            elif status is not None and 200 <= status < 300:
                says = (*wrong.says, "may have been accepted")
                self._part_ends(attempt, replace(wrong, says=says))
            else:
                self._retry_batch(attempt, wrong, None)

        self.inbox.append(do)

    def _batch_responded(self, batch: Batch, response: ServerResponse) -> None:
        status, secrets = response.status, self._secrets(batch.token)
        if status == 401:
            if self.token == batch.token:
                self.revoke()
            self.failures = 0
            if batch.unauthorized is None:
                batch.unauthorized = set(self.granted)
            if batch.token not in batch.unauthorized:  # granted since
                self._rest_key(second_401(response.body, secrets))
            return
        batch.unauthorized = None
        if status in RETRYABLE:
            wrong = api_error(status, response.body, secrets)
            self._retry_batch(batch, wrong, self._retry_after(response))
            return
        self.failures = 0
        if 200 <= status < 300:
            self._part_ends(batch, delivered(status, response.body, secrets))
        elif status in REJECTED and batch.client.plan.isolate_rejected:
            self._rejected(batch, api_error(status, response.body, secrets))
        else:
            self._part_ends(batch, api_error(status, response.body, secrets))

    def _rejected(self, batch: Batch, wrong: Wrong) -> None:
        """An event alone is at fault; of several, it is to be found out which."""
        if len(batch.parts[0].events) > 1:
            batch.parts[0].halve = True
            batch.fresh()
            return
        part, client = batch.parts[0], batch.client
        if not part.renewed and self.renew(part):
            part.renewed = True
            batch.fresh()
            return
        if client.sends_alone and not client.warned:
            client.warned = True
            self.all_rejected += 1
        self._part_ends(batch, wrong, rejected=True)

    def _secrets(self, token: str | None) -> list[str]:
        return [KEY] if token is None else [KEY, token]

    def _retry_after(self, response: ServerResponse) -> float | None:
        """The seconds that a response's ``Retry-After`` asks for, if any."""
        if response.wait_until is None:
            return response.wait
        clock = self.wall_clock() if response.date is None else response.date
        return max(0.0, response.wait_until - clock)

    def _hold(self, wait: float | None, wrong: Wrong) -> None:
        if wait is None:
            return
        if wait <= 300.0:
            self.hold_until = max(self.hold_until, self.now + wait)
        elif self.now + wait > self.long_hold_until:
            self.long_hold_until, self.long_hold_error = self.now + wait, wrong

    def _retry_batch(self, batch: Batch, wrong: Wrong, wait: float | None) -> None:
        batch.unauthorized = None
        self.failures = max(self.failures, batch.known + 1)
        self._hold(wait, wrong)
        client = batch.client
        if self._retry(batch, client.plan.max_retries, hurry=client.hurry):
            client.retries += 1
        else:
            self._part_ends(batch, wrong)

    def _retry(self, attempt: Batch | Authorization, most: int, *, hurry: bool) -> bool:
        if self.long_hold() or attempt.last_try or attempt.retries >= most:
            return False
        attempt.retries += 1
        attempt.last_try = hurry
        attempt.not_before = self.now + (0.0 if hurry else self.jitter())
        return True

    def _part_ends(self, batch: Batch, expected: Expected, *, rejected: bool = False) -> None:
        client = batch.client
        if isinstance(expected, Delivered):
            client.rejected_batches, client.warned = 0, False
        batch.all_rejected = batch.all_rejected and rejected
        for event in batch.parts[0].events:
            self.end(event, expected)
        batch.next_part()
        if batch.parts:
            batch.not_before = self.now + self.jitter()  # a batch like any other
        else:
            client.rejected_batches += batch.all_rejected
            client.batches.remove(batch)

    # ── The token ────────────────────────────────────────────────────────────────────────────

    def _authorization_responded(
        self, authorization: Authorization, response: ServerResponse
    ) -> None:
        if response.grant is not None and 200 <= response.status < 300:
            self._granted(authorization, response, response.grant)
            return
        secrets = self._secrets(self.token)
        wrong = authorization_error(response.status, response.body, secrets, stubborn=self.stubborn)
        retryable = response.status in RETRYABLE
        wait = self._retry_after(response) if retryable else None
        definitive = 400 <= response.status < 500 and not retryable
        self._authorization_failed(
            authorization, wrong, wait, retryable=retryable, definitive=definitive
        )

    def _granted(
        self, authorization: Authorization, response: ServerResponse, grant: Grant
    ) -> None:
        on_time = self.token is not None and not authorization.failed
        self.part = 1.0 if on_time else 0.1 + 0.9 * self.draw
        self.failures = 0
        self.key_refused_until = 0.0
        self.token, self.authorization, self.granted_at = grant.token, None, self.now
        self.granted.add(grant.token)
        self.expires_at = math.inf
        if grant.expires is not None:
            clock = response.date if response.date is not None else grant.issued
            life = grant.expires - (self.wall_clock() if clock is None else clock)
            if life > 0:
                self.expires_at = self.now + life
                self.margin = min(300.0, 0.1 * life) * (1.0 + self.draw)
        for _, ticket in self.token_tickets:
            self.promised[ticket] = grant.token
        self.token_tickets.clear()

    def _authorization_failed(
        self,
        authorization: Authorization,
        wrong: Wrong,
        wait: float | None,
        *,
        retryable: bool,
        definitive: bool,
    ) -> None:
        authorization.failed = True
        if self.token is not None:  # it still works: the next 401 decides
            self._hold(wait, wrong)
            authorization.retries += 1
            retries = authorization.retries
            wait_on = self.spread_hold() or self.backoff(retries, self.longest_renewal_wait())
            authorization.not_before = self.now + wait_on
            return
        if not definitive:
            self.failures = max(self.failures, authorization.known + 1)
            self._hold(wait, wrong)
            most = max((c.plan.max_retries for c in self.clients if retryable), default=0)
            if authorization.last_try and not self.long_hold():
                self._end_hurried(authorization, wrong)
            if self._retry(authorization, most, hurry=self.hurries()):
                return
        if definitive:
            self._rest_key(wrong)
        else:
            self._give_up(wrong)

    def _rest_key(self, wrong: Wrong) -> None:
        """The API refuses the key, or each token that it grants: nothing goes for 30 s."""
        if self.token is not None:
            self.revoke()
        self.failures = 0
        self.key_refused_until, self.key_refusal = self.now + 30.0, wrong
        self._give_up(wrong)

    def _give_up(self, wrong: Wrong) -> None:
        """End what waits for a token, which does not come."""
        if self.authorization is not None and self.authorization.out is not None:
            del self.out[self.authorization.out]
        self.authorization = None
        for client in self.clients:
            self._fail_waiting(client, wrong)
        for _, ticket in self.token_tickets:
            self.promised[ticket] = wrong
        self.token_tickets.clear()

    def _end_hurried(self, authorization: Authorization, wrong: Wrong) -> None:
        """End what waits of those that close, whose last try failed; others still have retries."""
        for client in self.clients:
            if client.hurry:
                self._fail_waiting(client, wrong)
        asking = [client for client, _ in self.token_tickets]
        if any(not c.hurry and (c.pending or c in asking) for c in self.clients):
            authorization.last_try = False

    def _fail_waiting(self, client: Client, wrong: Wrong) -> None:
        """End everything that waits; not what is out."""
        self.fail_batches(client, wrong)
        for event in client.waiting:
            self.end(event, wrong)
        client.waiting = []

    # ── A poll ───────────────────────────────────────────────────────────────────────────────

    def begin_poll(self, now: float) -> None:
        """Work out what must come of a poll at this time."""
        self.now = now
        inbox, self.inbox = self.inbox, []
        for do in inbox:
            do()
        for client in self.clients:
            if client.awaited_at() <= now:
                client.waits = []
                for event in client.waiting:
                    event.due = True
        self.renewing = now >= self.renew_at() - EPSILON
        if self.renewing and max(self.hold_until, self.long_hold_until) > now:
            self.authorization = Authorization(now + self.spread_hold())
        for client in list(self.clients):
            if client.deadline <= now and client.closing is not None:
                self.release(client, client.closing)
        for client in list(self.clients):
            if self.key_refused():
                self.fail_batches(client, self.key_refusal)
            if self.long_hold():
                self.fail_batches(client, self.long_hold_error)
                self._fail_due(client)
            if client.closes and client.pending == len(client.inbox):
                self.end_drains(client)
                self.release(client, CLOSED)

    def expiry_noticed(self) -> None:
        """The core has let go of a token that has expired: when it does is its own affair."""
        if self.token is not None and not self.alive():
            self.revoke()

    def _fail_due(self, client: Client) -> None:
        while client.slot() and client.due_at(free := client.free()) <= self.now:
            events = client.compose(free)
            client.waiting = [event for event in client.waiting if event not in events]
            for event in events:
                self.end(event, self.long_hold_error)

    def settle(self) -> None:
        """Work out what must come of it besides, once the requests of the poll are known."""
        if not self.clients:  # the next client starts fresh
            self.token, self.authorization = None, None
            self.key_refused_until = self.hold_until = self.long_hold_until = 0.0
            self.failures = 0
            self.out.clear()
            return
        if self.long_hold():
            self._hold_authorization()
        elif self.now >= self.renew_at():
            self.authorization = Authorization(self.now)
        if self.token is None and self.authorization is None and self.token_needed():
            self.authorization = Authorization(self.now + self.jitter())
        if self.alive() and not self.long_hold():
            for client in self.clients:
                while self.form_at(client) <= self.now:
                    self.form(client, client.compose(client.free()))
        for client in self.clients:  # last: who waits in a drain has batches sent
            self.end_drains(client)

    def _hold_authorization(self) -> None:
        """Keep authorizations back during a long hold: nothing goes."""
        waiting = self.authorization
        if waiting is None or waiting.out is not None:
            return
        if self.token is not None:  # a renewal comes after it
            if waiting.not_before < self.long_hold_until:
                waiting.not_before = self.now + self.spread_hold()
            return
        self.authorization = None
        for _, ticket in self.token_tickets:
            self.promised[ticket] = self.long_hold_error
        self.token_tickets.clear()

    def next_deadline(self) -> tuple[float, str]:
        """When something must happen at the latest, and what; unpolled events included."""
        dues = [(client.deadline, "the deadline of a close") for client in self.clients]
        waiting = self.authorization
        if waiting is None:
            dues.append((self.renew_at(), "a renewal of the token"))
        elif waiting.out is None and self.clients:
            at = max(waiting.not_before, self.hold_until)
            dues.append((-math.inf if self.hurry() else at, "an authorization"))
        # Without a token nothing goes, unless it has yet to be found out that there is none.
        may_send = self.alive() or waiting is None or (self.token is not None and not waiting.out)
        for client in self.clients:
            self._client_dues(client, dues, may_send=may_send)
        return min(dues, default=(math.inf, ""))

    def _client_dues(
        self, client: Client, dues: list[tuple[float, str]], *, may_send: bool
    ) -> None:
        if client.inbox and self.key_refused():
            dues.append((-math.inf, "the failure of an event, as the key was refused"))
        dues.append((client.awaited_at(unseen=True), "a push for those who wait"))
        first = client.inbox and not client.waiting and not client.batches
        if first and self.token is None and self.authorization is None and not self.long_hold():
            dues.append((-math.inf, "the first authorization"))
        if client.closes and not client.pending:
            dues.append((-math.inf, "the end of a close"))
        if client.drains and client.has_room():
            dues.append((-math.inf, "the end of a drain"))
        if may_send or self.long_hold():
            for batch in client.batches:
                if batch.out is None:
                    dues.append((self.ready_at(batch), "a batch on its way"))
            dues.append((self.form_at(client, unseen=True), "a new batch"))
