"""Authorization: when a token is fetched and renewed, and what its result means for clients.

The rules: ``docs/reference/guarantees.md#authorization``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from masivo._protocol.delivery import Failed, Ticket
from masivo._protocol.errors import MasivoClosedError, MasivoError
from masivo._protocol.reporting.activity import (
    AuthorizationSent,
    KeyRefused,
    RenewalFailed,
    TokenGranted,
    TokenRevoked,
)
from masivo._protocol.sending.attempt import Attempt
from masivo._protocol.sending.backoff import LONGEST_HOLD, full_jitter
from masivo._protocol.sending.timers import Slot, Timer
from masivo._protocol.values import Response
from masivo._protocol.wire import requests, responses

from .life import Change, State, Token

if TYPE_CHECKING:
    from masivo._protocol.sending.context import Context
    from masivo._protocol.values import Failure

__all__ = ["Authorizer", "Clients"]

_RENEW: Final[Slot] = (Timer.REFRESH, None)
_RETRY: Final[Slot] = (Timer.RETRY, None)


class _Authorization(Attempt):
    """The fetching of a token."""

    failed = False
    """True once it failed while there was a token."""


class Clients(Protocol):
    """The clients of a key, as its authorizer sees them."""

    def refresh_interval(self) -> float | None:
        """The shortest interval; None if all clients have None."""
        ...

    def timeout(self) -> float:
        """The longest timeout."""
        ...

    def max_retries(self) -> int:
        """The largest number of retries."""
        ...

    def hurry(self) -> bool:
        """Return True if a client that closes with a deadline still has events."""
        ...

    def longest_rest(self) -> float:
        """The longest rest of a refused key, in seconds."""
        ...

    def any_patient(self, asking: list[object]) -> bool:
        """Return True if a client that does not hurry has events, or is in ``asking``."""
        ...

    def fail_waiting(self, error: MasivoError, *, hurried_only: bool) -> None:
        """Fail the waiting events of all clients, or only of those that close with a deadline."""
        ...


class Authorizer:
    """The token of one key, the authorization that is out, and the callers that wait for it."""

    def __init__(self, context: Context, clients: Clients) -> None:
        self.count: int = 0
        """The number of authorizations that were sent."""
        self.grants: int = 0
        """The number of tokens that were granted."""
        self._context = context
        self._clients = clients
        self._token = Token(context.random)
        self._authorization: _Authorization | None = None
        self._tickets: list[tuple[object, Ticket]] = []

    @property
    def state(self) -> State:
        """The state of the token."""
        return self._token.state

    def reset(self) -> None:
        """Drop the state: the last client has detached."""
        self._token = Token(self._context.random)
        self._authorization = None

    def detach(self, client: object) -> None:
        """Forget a client: its callers wait for no token."""
        for _, ticket in self._take_tickets(client):
            self._context.end(ticket, Failed(MasivoClosedError("the client was closed")))

    def token(self) -> str | None:
        """Return the token, or None after starting an authorization, whose token touches every
        client."""
        if self._token.expired(self._context.now):
            self._revoke("it has expired")
        refusal = self._context.backoff.long_hold(self._context.now) or self.refusal()
        if self._token.value is None and refusal is None:
            self._need_token()
        return self._token.value

    def _need_token(self) -> None:
        if self._token.change(Change.NEEDED):
            self._begin_authorization(self._context.backoff.wait())

    def refusal(self) -> MasivoError | None:
        """The error with which events fail at once while the key rests after a refusal."""
        return self._token.refusal_at(self._context.now)

    @property
    def refused_until(self) -> float:
        """The time at which a refused key is tried again."""
        return self._token.refused_until

    def trust(self) -> None:
        """Note that the API accepted a token of the key."""
        self._token.trust()

    def want(self, client: object, ticket: Ticket) -> None:
        """End a caller's ticket with the token, once there is one."""
        token = self.token()
        refusal = self.refusal() or self._context.backoff.long_hold(self._context.now)
        if token is not None:
            self._context.end(ticket, token)
        elif refusal is not None and not self._token.authorizing:
            self._context.end(ticket, Failed(refusal))
        else:
            self._tickets.append((client, ticket))

    def _take_tickets(self, client: object | None) -> list[tuple[object, Ticket]]:
        """Remove and return the tickets of one client, or of all."""
        taken = [entry for entry in self._tickets if client in (None, entry[0])]
        self._tickets = [e for e in self._tickets if client not in (None, e[0])]
        return taken

    def _begin_authorization(self, wait: float) -> None:
        self._authorization = _Authorization()
        self._authorization.not_before = self._context.now + wait

    def renew(self) -> None:
        """Ask for a new token in the background."""
        if self._token.change(Change.DUE):
            self._begin_authorization(self._renewal_delay())

    def _longest_wait(self) -> float:
        return max(self._clients.refresh_interval() or LONGEST_HOLD, 1.0)

    def _renewal_delay(self) -> float:
        """The delay of a background renewal during a hold, in seconds: the rest of the hold plus a
        random part of the interval, so that a fleet does not renew at once. 0 without a hold."""
        backoff = self._context.backoff
        left = max(backoff.hold_until, backoff.long_hold_until) - self._context.now
        return left + self._context.random.random() * self._longest_wait() if left > 0 else 0.0

    def reject(self, token: str | None) -> None:
        """Discard a token that got a 401, but not a newer one."""
        if token == self._token.value:
            self._revoke("a request with it got a 401")

    def rest_key(self, error: MasivoError) -> None:
        """Fail all waiting events, and new ones for a while: the API refuses the key, or every
        token that it grants."""
        context = self._context
        if self._token.value is not None:
            self._revoke("the API takes no token of this key")
        context.backoff.succeeded()
        self._token.refuse(error, context.now, self._clients.longest_rest())
        if context.listening:
            wait = self._token.refused_until - context.now
            context.report(KeyRefused(context.now, type(error).__name__, error.status, wait))
        self._clients.fail_waiting(error, hurried_only=False)
        self._give_up(error)

    def _revoke(self, why: str) -> None:
        if self._context.listening:
            self._context.report(TokenRevoked(self._context.now, why))
        self._token.change(Change.REVOKED)
        self.set_renewal()
        authorization = self._authorization
        if authorization is not None:
            # A background renewal is urgent now: it is sent without waiting for its retry, and its
            # retries so far do not count.
            authorization.begin()
            authorization.not_before = self._context.now
        self._context.all_touched = True

    def set_renewal(self) -> None:
        """Set the timer of the next renewal."""
        self._context.timers.set(_RENEW, self._token.renew_at(self._clients.refresh_interval()))

    def step(self) -> None:
        """Send the authorization that is needed, if it is due."""
        context, authorization = self._context, self._authorization
        if authorization is None or authorization.request_id is not None or not context.attached():
            return
        error = context.backoff.long_hold(context.now)
        if error is not None and self._token.state is State.FETCHING:
            self._give_up(error)
            return
        if error is not None and authorization.not_before < context.backoff.long_hold_until:
            authorization.not_before = context.now + self._renewal_delay()
        # No caller waits for a background renewal, so a close does not hurry it.
        hurry = self._token.state is State.FETCHING and self._clients.hurry()
        at = context.waits_until(authorization, hurry=hurry)
        context.timers.set(_RETRY, at)
        if at is None:
            self._send(authorization)

    def _send(self, authorization: _Authorization) -> None:
        context = self._context
        self.count += 1
        call = requests.authorization(context.account.api, context.account.api_key.reveal())
        done = partial(self._returned, authorization)
        timeout, retries = self._clients.timeout(), self._clients.max_retries()
        request = context.send(authorization, done, call, timeout, retries=retries)
        if context.listening:
            context.report(
                AuthorizationSent(
                    context.now,
                    request.id,
                    context.address(request),
                    authorization.retries,
                    request.timeout,
                )
            )

    def _returned(self, authorization: _Authorization, result: Response | Failure) -> None:
        context = self._context
        if not isinstance(result, Response):
            error = context.error_of(result, None)
            if result.status is not None and 200 <= result.status < 300:
                error.status = None  # of a batch it would mean: the events may be accepted
            if result.fatal is not None:
                self._refused(authorization, error)
            else:
                self._failed(authorization, error, retryable=True)
            return
        verdict = responses.read_authorization(
            result, context.body_of(result, None), context.account.api, context.wall_clock()
        )
        if isinstance(verdict, responses.Granted):
            self._granted(authorization, verdict)
        elif isinstance(verdict, responses.Refused):
            self._refused(authorization, verdict.error)
        elif isinstance(verdict, responses.Retryable):
            self._failed(authorization, verdict.error, retryable=True, wait=verdict.wait)
        else:
            self._failed(authorization, verdict.error, retryable=False)

    def _granted(self, authorization: _Authorization, granted: responses.Granted) -> None:
        context = self._context
        context.backoff.succeeded()
        context.latest_token = granted.token
        self.grants += 1
        on_time = self._token.state is State.STALE and not authorization.failed
        self._token.grant(granted.token, granted.lifetime, context.now, on_time=on_time)
        self._authorization = None
        self.set_renewal()
        if context.listening:
            renew_at = context.timers.get(_RENEW)
            renewal = None if renew_at is None else renew_at - context.now
            context.report(TokenGranted(context.now, granted.lifetime, renewal))
        for _, ticket in self._take_tickets(None):
            context.end(ticket, granted.token)
        context.all_touched = True

    def _refused(self, authorization: _Authorization, error: MasivoError) -> None:
        """Rest the key, unless there is a token that still works."""
        if self._token.state is State.STALE:
            self._renew_later(authorization, error, None)
        else:
            self.rest_key(error)

    def _failed(
        self,
        authorization: _Authorization,
        error: MasivoError,
        *,
        retryable: bool,
        wait: float | None = None,
    ) -> None:
        """Retry a failed authorization, or fail the events and callers that wait for it.

        Args:
            authorization: the attempt.
            error: what went wrong.
            retryable: whether a retry may help.
            wait: the seconds of its ``Retry-After``, if any.
        """
        context = self._context
        if self._token.state is State.STALE:
            self._renew_later(authorization, error, wait)
            return
        context.backoff.failed(authorization, wait, error, context.now)
        retries = self._clients.max_retries() if retryable else 0
        if context.backoff.long_hold(context.now) is None:
            if authorization.last_try:
                self._end_hurried(authorization, error)
            if context.retry(authorization, retries=retries, hurry=self._clients.hurry()):
                return
        self._clients.fail_waiting(error, hurried_only=False)
        self._give_up(error)

    def _renew_later(
        self, authorization: _Authorization, error: MasivoError, wait: float | None
    ) -> None:
        """Keep the token, which still works, and renew it later. A 401 discards it."""
        context = self._context
        authorization.failed = True
        context.backoff.hold(wait, error, context.now)
        context.all_touched = True  # waiting batches fail at once if the hold is too long
        authorization.retries += 1
        authorization.not_before = context.now + (
            self._renewal_delay()
            or full_jitter(authorization.retries, context.random, self._longest_wait())
        )
        if context.listening:
            left = authorization.not_before - context.now
            context.report(RenewalFailed(context.now, left))

    def _give_up(self, error: MasivoError) -> None:
        """Stop the authorization: no token is fetched until one is needed again."""
        if self._authorization is not None:
            self._context.forget(self._authorization)
        self._authorization = None
        self._context.timers.set(_RETRY, None)
        self._token.change(Change.FAILED)
        for _, ticket in self._take_tickets(None):
            self._context.end(ticket, Failed(error))

    def _end_hurried(self, authorization: _Authorization, error: MasivoError) -> None:
        """Fail the waiting events of clients that close with a deadline. If other clients wait,
        retries continue."""
        self._clients.fail_waiting(error, hurried_only=True)
        if self._clients.any_patient([client for client, _ in self._tickets]):
            authorization.last_try = False
