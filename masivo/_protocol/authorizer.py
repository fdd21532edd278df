"""Authorization: who asks for a token, when one is fetched and renewed, and what comes of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from .attempt import Attempt
from .delivery import Failed, Ticket
from .errors import MasivoClosedError, MasivoError, authorization_error
from .json import NOT_JSON, parse
from .redaction import redacted_body
from .retry import LONGEST_HOLD, REPEATED, full_jitter, retry_after
from .timers import Slot, Timer
from .token import Change, State, Token, lifetime, token_in
from .values import Response

if TYPE_CHECKING:
    from .context import Context
    from .values import Failure

__all__ = ["Authorization", "Authorizer", "Clients"]

_RENEW: Final[Slot] = (Timer.REFRESH, None)
_REPEAT: Final[Slot] = (Timer.REPEAT, None)


class Authorization(Attempt):
    """The fetching of a token."""

    failed = False
    """Whether it failed at least once."""


class Clients(Protocol):
    """What an authorizer asks of the clients of its key, and what it tells them."""

    def refresh_interval(self) -> float | None:
        """The shortest; None if all leave it to the token's own expiry."""
        ...

    def timeout(self) -> float:
        """The longest."""
        ...

    def max_retries(self) -> int:
        """The most."""
        ...

    def hurry(self) -> bool:
        """Whether one that closes with a deadline still has events."""
        ...

    def any_patient(self, asking: list[object]) -> bool:
        """Whether one that does not hurry has events, or is among those ``asking``."""
        ...

    def fail_waiting(self, error: MasivoError, *, hurried_only: bool) -> None:
        """End what waits: of all, or of those that close with a deadline."""
        ...


class Authorizer:
    """The token of one key, the authorization that is out, and the callers that wait for it."""

    def __init__(self, context: Context, clients: Clients) -> None:
        self.count: int = 0
        """How many authorizations were sent."""
        self._context = context
        self._clients = clients
        self._token = Token(context.random)
        self._authorization: Authorization | None = None
        self._tickets: list[tuple[object, Ticket]] = []

    @property
    def state(self) -> State:
        """What there is of a token."""
        return self._token.state

    @property
    def awaited(self) -> bool:
        """Whether there is no token, and the request for one is out."""
        authorization = self._authorization
        out = authorization is not None and authorization.request_id is not None
        return out and self._token.value is None

    def rest(self) -> None:
        """Forget everything: the last client is gone."""
        self._token = Token(self._context.random)
        self._authorization = None

    def detach(self, client: object) -> None:
        """A client is gone: it waits for no token, and its interval does not count."""
        for _, ticket in self._take_tickets(client):
            self._context.answer(ticket, Failed(MasivoClosedError("the client was closed")))
        self.set_renewal()

    def token(self) -> str | None:
        """The token, or None; then one is fetched, and every client touched when it is there."""
        if self._token.expired(self._context.now):
            self._revoke("it has expired")
        refusal = self._context.backoff.refuses(self._context.now) or self.refusal()
        if self._token.value is None and refusal is None:
            self._need_token()
        return self._token.value

    def _need_token(self) -> None:
        if self._token.change(Change.NEEDED):
            self._begin_authorization(self._context.backoff.wait())

    def refusal(self) -> MasivoError | None:
        """The definitive refusal with which events fail at once, while it lasts."""
        return self._token.refuses(self._context.now)

    def want(self, client: object, ticket: Ticket) -> None:
        """Take in a caller's wish for the token."""
        token = self.token()
        refusal = self.refusal() or self._context.backoff.refuses(self._context.now)
        if token is not None:
            self._context.answer(ticket, token)
        elif refusal is not None and not self._token.authorizing:
            self._context.answer(ticket, Failed(refusal))
        else:
            self._tickets.append((client, ticket))

    def _take_tickets(self, client: object | None) -> list[tuple[object, Ticket]]:
        """Remove and return the tickets of one client, or of all."""
        taken = [entry for entry in self._tickets if client in (None, entry[0])]
        self._tickets = [e for e in self._tickets if client not in (None, e[0])]
        return taken

    def _begin_authorization(self, wait: float) -> None:
        self._authorization = Authorization()
        self._authorization.not_before = self._context.now + wait

    def renew(self) -> None:
        """It is time for a new token."""
        if self._token.change(Change.DUE):
            self._begin_authorization(self._patience())
        # A client that went in the same poll may have set the timer anew.
        self.set_renewal()

    def _longest_wait(self) -> float:
        return max(self._clients.refresh_interval() or LONGEST_HOLD, 1.0)

    def _patience(self) -> float:
        """How long a renewal in the background waits while a ``Retry-After`` lasts, in seconds: to
        its end, which may be the same instant for a whole fleet, and a random part of the interval
        more. 0 if there is none."""
        backoff = self._context.backoff
        held = max(backoff.hold_until, backoff.refused_until) - self._context.now
        return held + self._context.random.random() * self._longest_wait() if held > 0 else 0.0

    def reject(self, token: str | None) -> None:
        """A request with this token was answered 401: throw it away, but not a newer one."""
        if token == self._token.value:
            self._revoke("a request with it was answered 401")

    def _revoke(self, why: str) -> None:
        if self._context.journal is not None:
            self._context.journal.revoked(why)
        self._token.change(Change.REVOKED)
        self.set_renewal()
        authorization = self._authorization
        if authorization is not None:
            # A renewal in the background is urgent now: it does not wait for its next repeat, and
            # the repeats that it had do not count.
            authorization.begin()
            authorization.not_before = self._context.now
        self._context.all_touched = True

    def set_renewal(self) -> None:
        """Set the timer of the next renewal."""
        self._context.timers.set(_RENEW, self._token.renew_at(self._clients.refresh_interval()))

    def step(self) -> None:
        """Send the authorization that is wanted, if it is time."""
        authorization = self._authorization
        if (
            authorization is None
            or authorization.request_id is not None
            or not self._context.attached
        ):
            return
        refusal = self._context.backoff.refuses(self._context.now)
        if refusal is not None and self._token.state is State.FETCHING:
            self._give_up(refusal)
            return
        if refusal is not None and authorization.not_before < self._context.backoff.refused_until:
            authorization.not_before = self._context.now + self._patience()
        # Nobody waits for a renewal in the background, so a close does not hurry it.
        hurry = self._token.state is State.FETCHING and self._clients.hurry()
        at = self._context.waits_until(authorization, hurry=hurry)
        self._context.timers.set(_REPEAT, at)
        if at is not None:
            return
        self.count += 1
        api = self._context.account.api
        headers: tuple[tuple[str, str], ...] = (
            ("x-api-key", self._context.account.api_key.reveal()),
        )
        if api.sdk_header is not None:
            headers += (("x-masivo-sdk", api.sdk_header),)
        done = partial(self._returned, authorization)
        timeout = self._clients.timeout()
        self._context.send(authorization, done, "GET", api.authorize_path, headers, b"", timeout)

    def _returned(self, authorization: Authorization, result: Response | Failure) -> None:
        if isinstance(result, Response):
            self._answered(authorization, result)
            return
        error, fatal = self._context.error_of(result, None), result.fatal is not None
        self._failed(authorization, error, repeatable=not fatal, definitive=fatal, wait=None)

    def _answered(self, authorization: Authorization, response: Response) -> None:
        date = response.headers.get("date")
        self._context.server_clock.observe(date, authorization.sent_at, self._context.now)
        status = response.status
        token = token_in(response.body) if 200 <= status < 300 else None
        if token is not None:
            self._context.backoff.succeeded()
            on_time = self._token.state is State.STALE and not authorization.failed
            life = lifetime(token, date, self._context.wall_clock())
            self._context.latest_token = token
            self._token.grant(token, life, self._context.now, on_time=on_time)
            self._authorization = None
            self.set_renewal()
            if self._context.journal is not None:
                renew_at = self._context.timers.get(_RENEW)
                renew_in = None if renew_at is None else renew_at - self._context.now
                self._context.journal.granted(life, renew_in)
            for _, ticket in self._take_tickets(None):
                self._context.answer(ticket, token)
            self._context.all_touched = True
            return
        body = redacted_body(response.body, self._context.secrets(None))
        error = authorization_error(status, body, server_key=self._is_server_key(status, body))
        wait = (
            retry_after(response.headers, self._context.server_clock)
            if status in REPEATED
            else None
        )
        self._failed(
            authorization,
            error,
            repeatable=status in REPEATED,
            definitive=400 <= status < 500 and status not in REPEATED,
            wait=wait,
        )

    def _is_server_key(self, status: int, body: bytes) -> bool:
        value = parse(body)
        if 200 <= status < 300 or value is NOT_JSON:
            return False
        try:
            return bool(self._context.account.api.is_server_key_refusal(status, value))
        except Exception:  # noqa: BLE001 (a caller's function must not stop the machine)
            return False

    def _failed(
        self,
        authorization: Authorization,
        error: MasivoError,
        *,
        repeatable: bool,
        definitive: bool,
        wait: float | None,
    ) -> None:
        """An authorization failed: repeat it, or end what waits for it.

        Args:
            authorization: the attempt.
            error: what went wrong.
            repeatable: whether a repeat may help.
            definitive: whether the key, and no accident, is the reason: new events will fail too.
            wait: the seconds of its ``Retry-After``, if any.
        """
        authorization.failed = True
        if self._token.state is State.STALE:
            # The token still works: renew it later. The next 401 decides.
            self._context.backoff.hold(wait, error, self._context.now)
            self._context.all_touched = True  # batches that wait fail at once if that is too long
            authorization.retries += 1
            authorization.not_before = self._context.now + (
                self._patience()
                or full_jitter(authorization.retries, self._context.random, self._longest_wait())
            )
            if self._context.journal is not None:
                self._context.journal.kept(authorization.not_before - self._context.now)
            return
        if not definitive:
            self._context.backoff.failed(authorization.known, wait, error, self._context.now)
            retries = self._clients.max_retries() if repeatable else 0
            if self._context.backoff.refuses(self._context.now) is None:
                if authorization.last_try:
                    self._end_hurried(authorization, error)
                if self._context.repeat(
                    authorization, retries=retries, hurry=self._clients.hurry()
                ):
                    return
        if definitive:
            self._context.backoff.succeeded()
            self._token.refuse(error, self._context.now)
            if self._context.journal is not None:
                wait = self._token.refused_until - self._context.now
                self._context.journal.refused(error, wait)
        self._clients.fail_waiting(error, hurried_only=False)
        self._give_up(error)

    def _give_up(self, error: MasivoError) -> None:
        """Fetch no token until one is needed again."""
        self._authorization = None
        self._context.timers.set(_REPEAT, None)
        self._token.change(Change.FAILED)
        for _, ticket in self._take_tickets(None):
            self._context.answer(ticket, Failed(error))

    def _end_hurried(self, authorization: Authorization, error: MasivoError) -> None:
        """End what waits of the clients that close; the others, if any waits, still have their
        repeats."""
        self._clients.fail_waiting(error, hurried_only=True)
        if self._clients.any_patient([client for client, _ in self._tickets]):
            authorization.last_try = False
