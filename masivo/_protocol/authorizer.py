"""Authorization: who asks for a token, when one is fetched and renewed, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .delivery import Failed, Ticket
from .errors import MasivoClosedError, MasivoError, authorization_error
from .flight import Attempt
from .json import NOT_JSON, parse
from .redaction import redacted_body
from .retry import LONGEST_HOLD, REPEATED, full_jitter, retry_after
from .timers import Slot, Timer
from .token import Change, State, Token, lifetime, token_in

if TYPE_CHECKING:
    from .core import Core
    from .outbox import Outbox
    from .values import Clock, RandomSource, Response

__all__ = ["Authorization", "Authorizer"]

_RENEW: Final[Slot] = (Timer.REFRESH, None)
_REPEAT: Final[Slot] = (Timer.REPEAT, None)


class Authorization(Attempt):
    """The fetching of a token."""

    failed = False
    """Whether it failed at least once."""


class Authorizer:
    """The token of one key, the authorization that is out, and the callers that wait for it."""

    def __init__(self, core: Core, wall_clock: Clock, random: RandomSource) -> None:
        self.count: int = 0
        """How many authorizations were sent."""
        self._core = core
        self._wall_clock = wall_clock
        self._random = random
        self._token = Token(random)
        self._authorization: Authorization | None = None
        self._tickets: list[tuple[Outbox, Ticket]] = []

    @property
    def state(self) -> State:
        """What there is of a token."""
        return self._token.state

    @property
    def latest(self) -> str | None:
        """The last token that there was, also when it is dead; None if there was none."""
        return self._token.latest

    @property
    def awaited(self) -> bool:
        """Whether there is no token, and the request for one is out."""
        authorization = self._authorization
        out = authorization is not None and authorization.request_id is not None
        return out and self._token.value is None

    def rest(self) -> None:
        """Forget everything: the last client is gone."""
        self._token = Token(self._random)
        self._authorization = None

    def detach(self, outbox: Outbox) -> None:
        """A client is gone: it waits for no token, and its interval does not count."""
        for _, ticket in self._take_tickets(outbox):
            self._core.answer(ticket, Failed(MasivoClosedError("the client was closed")))
        self.set_renewal()

    def token(self) -> str | None:
        """The token, or None; then one is fetched, and every outbox touched when it is there."""
        if self._token.expired(self._core.now):
            self._revoke("it has expired")
        refusal = self._core.backoff.refuses(self._core.now) or self.refusal()
        if self._token.value is None and refusal is None:
            self._need_token()
        return self._token.value

    def _need_token(self) -> None:
        if self._token.change(Change.NEEDED):
            self._begin_authorization(self._core.backoff.wait())

    def refusal(self) -> MasivoError | None:
        """The definitive refusal with which events fail at once, while it lasts."""
        return self._token.refuses(self._core.now)

    def want(self, outbox: Outbox, ticket: Ticket) -> None:
        """Take in a caller's wish for the token."""
        token = None if outbox.detached else self.token()
        refusal = self.refusal() or self._core.backoff.refuses(self._core.now)
        if token is not None:
            self._core.answer(ticket, token)
        elif outbox.detached:
            self._core.answer(ticket, Failed(MasivoClosedError("the client was closed")))
        elif refusal is not None and not self._token.authorizing:
            self._core.answer(ticket, Failed(refusal))
        else:
            self._tickets.append((outbox, ticket))

    def _take_tickets(self, outbox: Outbox | None) -> list[tuple[Outbox, Ticket]]:
        """Remove and return the tickets of one client, or of all."""
        taken = [entry for entry in self._tickets if outbox in (None, entry[0])]
        self._tickets = [e for e in self._tickets if outbox not in (None, e[0])]
        return taken

    def _begin_authorization(self, wait: float) -> None:
        self._authorization = Authorization()
        self._authorization.not_before = self._core.now + wait

    def renew(self) -> None:
        """It is time for a new token."""
        if self._token.change(Change.DUE):
            self._begin_authorization(self._patience())
        # A client that went in the same poll may have set the timer anew.
        self.set_renewal()

    def _longest_wait(self) -> float:
        return max(self._interval() or LONGEST_HOLD, 1.0)

    def _patience(self) -> float:
        """How long a renewal in the background waits while a ``Retry-After`` lasts, in seconds: to
        its end, which may be the same instant for a whole fleet, and a random part of the interval
        more. 0 if there is none."""
        backoff = self._core.backoff
        held = max(backoff.hold_until, backoff.refused_until) - self._core.now
        return held + self._random.random() * self._longest_wait() if held > 0 else 0.0

    def reject(self, token: str | None) -> None:
        """A request with this token was answered 401: throw it away, but not a newer one."""
        if token == self._token.value:
            self._revoke("a request with it was answered 401")

    def _revoke(self, why: str) -> None:
        if self._core.journal is not None:
            self._core.journal.revoked(why)
        self._token.change(Change.REVOKED)
        self.set_renewal()
        authorization = self._authorization
        if authorization is not None:
            # A renewal in the background is urgent now: it does not wait for its next repeat, and
            # the repeats that it had do not count.
            authorization.begin()
            authorization.not_before = self._core.now
        self._core.touch_all()

    def _interval(self) -> float | None:
        """The shortest ``refresh_interval`` of the clients."""
        intervals = (outbox.settings.refresh_interval for outbox in self._core.outboxes)
        return min((each for each in intervals if each is not None), default=None)

    def set_renewal(self) -> None:
        """Set the timer of the next renewal."""
        self._core.timers.set(_RENEW, self._token.renew_at(self._interval()))

    def _hurries(self) -> bool:
        """Whether a client that closes with a deadline still has events."""
        return any(outbox.hurry and outbox.held for outbox in self._core.outboxes)

    def step(self) -> None:
        """Send the authorization that is wanted, if it is time."""
        authorization = self._authorization
        if authorization is None or authorization.request_id is not None or not self._core.clients:
            return
        refusal = self._core.backoff.refuses(self._core.now)
        if refusal is not None and self._token.state is State.FETCHING:
            self._give_up(refusal)
            return
        if refusal is not None and authorization.not_before < self._core.backoff.refused_until:
            authorization.not_before = self._core.now + self._patience()
        # Nobody waits for a renewal in the background, so a close does not hurry it.
        hurry = self._token.state is State.FETCHING and self._hurries()
        at = self._core.waits_until(authorization, hurry=hurry)
        self._core.timers.set(_REPEAT, at)
        if at is not None:
            return
        self.count += 1
        api = self._core.account.api
        headers: tuple[tuple[str, str], ...] = (("x-api-key", self._core.account.api_key.reveal()),)
        if api.sdk_header is not None:
            headers += (("x-masivo-sdk", api.sdk_header),)
        timeout = max(outbox.settings.timeout for outbox in self._core.outboxes)
        self._core.send(authorization, "GET", api.authorize_path, headers, b"", timeout)

    def answered(self, authorization: Authorization, response: Response) -> None:
        """Take in the answer to an authorization."""
        date = response.headers.get("date")
        self._core.server_clock.observe(date, authorization.sent_at, self._core.now)
        status = response.status
        token = token_in(response.body) if 200 <= status < 300 else None
        if token is not None:
            self._core.backoff.succeeded()
            on_time = self._token.state is State.STALE and not authorization.failed
            life = lifetime(token, date, self._wall_clock())
            self._token.grant(token, life, self._core.now, on_time=on_time)
            self._authorization = None
            self.set_renewal()
            if self._core.journal is not None:
                self._core.journal.granted(life, self._core.timers.get(_RENEW))
            for _, ticket in self._take_tickets(None):
                self._core.answer(ticket, token)
            self._core.touch_all()
            return
        body = redacted_body(response.body, self._core.secrets(None))
        error = authorization_error(status, body, server_key=self._is_server_key(status, body))
        wait = (
            retry_after(response.headers, self._core.server_clock) if status in REPEATED else None
        )
        self.failed(
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
            return bool(self._core.account.api.is_server_key_refusal(status, value))
        except Exception:  # noqa: BLE001 (a caller's function must not stop the machine)
            return False

    def failed(
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
            self._core.backoff.hold(wait, error, self._core.now)
            self._core.touch_all()  # batches that wait fail at once if that is too long
            authorization.retries += 1
            authorization.not_before = self._core.now + (
                self._patience()
                or full_jitter(authorization.retries, self._random, self._longest_wait())
            )
            if self._core.journal is not None:
                self._core.journal.kept(authorization)
            return
        if not definitive:
            self._core.backoff.failed(authorization.known, wait, error, self._core.now)
            patience = (b.settings.max_retries for b in self._core.outboxes if repeatable)
            retries = max(patience, default=0)
            if self._core.backoff.refuses(self._core.now) is None:
                if authorization.last_try:
                    self._end_hurried(authorization, error)
                if self._core.repeat(authorization, retries=retries, hurry=self._hurries()):
                    return
        if definitive:
            self._core.backoff.succeeded()
            self._token.refuse(error, self._core.now)
            if self._core.journal is not None:
                self._core.journal.refused(error, self._token.refused_until)
        for outbox in self._core.outboxes:
            outbox.fail_waiting(error)
        self._give_up(error)

    def _give_up(self, error: MasivoError) -> None:
        """Fetch no token until one is needed again."""
        self._authorization = None
        self._core.timers.set(_REPEAT, None)
        self._token.change(Change.FAILED)
        for _, ticket in self._take_tickets(None):
            self._core.answer(ticket, Failed(error))

    def _end_hurried(self, authorization: Authorization, error: MasivoError) -> None:
        """End what waits of the clients that close; the others, if any waits, still have their
        repeats."""
        for outbox in self._core.outboxes:
            if outbox.hurry:
                outbox.fail_waiting(error)
        others = [outbox for outbox in self._core.outboxes if not outbox.hurry]
        asking = [outbox for outbox, _ in self._tickets]
        if any(outbox.held or outbox in asking for outbox in others):
            authorization.last_try = False
