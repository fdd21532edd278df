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
    from .buffer import Buffer
    from .engine import Engine
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

    def __init__(self, engine: Engine, wall_clock: Clock, random: RandomSource) -> None:
        self.count: int = 0
        """How many authorizations were sent."""
        self._engine = engine
        self._wall_clock = wall_clock
        self._random = random
        self._token = Token(random)
        self._authorization: Authorization | None = None
        self._tickets: list[tuple[Buffer, Ticket]] = []

    @property
    def state(self) -> State:
        """What there is of a token."""
        return self._token.state

    @property
    def value(self) -> str | None:
        """The token as it is, without the asking; None if there is none."""
        return self._token.value

    @property
    def latest(self) -> str | None:
        """The last token that there was, also when it is dead; None if there was none."""
        return self._token.latest

    def rest(self) -> None:
        """Forget everything: the last client is gone."""
        self._token = Token(self._random)
        self._authorization = None

    def detach(self, buffer: Buffer) -> None:
        """A client is gone: it waits for no token, and its interval does not count."""
        for _, ticket in self._take_tickets(buffer):
            self._engine.answer(ticket, Failed(MasivoClosedError("the client was closed")))
        self.set_renewal()

    def token(self) -> str | None:
        """The token, or None; then one is fetched, and every buffer touched when it is there."""
        if self._token.expired(self._engine.now):
            self._revoke("it has expired")
        refusal = self._engine.backoff.refuses(self._engine.now) or self.refusal()
        if self._token.value is None and refusal is None:
            self._need_token()
        return self._token.value

    def _need_token(self) -> None:
        if self._token.change(Change.NEEDED):
            self._begin_authorization(self._engine.backoff.wait())

    def refusal(self) -> MasivoError | None:
        """The definitive refusal with which events fail at once, while it lasts."""
        return self._token.refuses(self._engine.now)

    def want(self, buffer: Buffer, ticket: Ticket) -> None:
        """Take in a caller's wish for the token."""
        token = None if buffer.detached else self.token()
        refusal = self.refusal() or self._engine.backoff.refuses(self._engine.now)
        if token is not None:
            self._engine.answer(ticket, token)
        elif buffer.detached:
            self._engine.answer(ticket, Failed(MasivoClosedError("the client was closed")))
        elif refusal is not None and not self._token.authorizing:
            self._engine.answer(ticket, Failed(refusal))
        else:
            self._tickets.append((buffer, ticket))

    def _take_tickets(self, buffer: Buffer | None) -> list[tuple[Buffer, Ticket]]:
        """Remove and return the tickets of one client, or of all."""
        taken = [entry for entry in self._tickets if buffer in (None, entry[0])]
        self._tickets = [e for e in self._tickets if buffer not in (None, e[0])]
        return taken

    def _begin_authorization(self, wait: float) -> None:
        self._authorization = Authorization()
        self._authorization.not_before = self._engine.now + wait

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
        backoff = self._engine.backoff
        held = max(backoff.hold_until, backoff.refused_until) - self._engine.now
        return held + self._random.random() * self._longest_wait() if held > 0 else 0.0

    def reject(self, token: str | None) -> None:
        """A request with this token was answered 401: throw it away, but not a newer one."""
        if token == self._token.value:
            self._revoke("a request with it was answered 401")

    def _revoke(self, why: str) -> None:
        if self._engine.journal is not None:
            self._engine.journal.revoked(why)
        self._token.change(Change.REVOKED)
        self.set_renewal()
        authorization = self._authorization
        if authorization is not None:
            # A renewal in the background is urgent now: it does not wait for its next repeat, and
            # the repeats that it had do not count.
            authorization.begin()
            if authorization.request_id is None:
                authorization.not_before = self._engine.now
        self._engine.touch_all()

    def _interval(self) -> float | None:
        """The shortest ``refresh_interval`` of the clients."""
        intervals = (buffer.settings.refresh_interval for buffer in self._engine.buffers)
        return min((each for each in intervals if each is not None), default=None)

    def set_renewal(self) -> None:
        """Set the timer of the next renewal."""
        self._engine.timers.set(_RENEW, self._token.renew_at(self._interval()))

    def _hurries(self) -> bool:
        """Whether a client that closes with a deadline still has events."""
        return any(buffer.hurry and buffer.held for buffer in self._engine.buffers)

    def step(self) -> None:
        """Send the authorization that is wanted, if it is time."""
        authorization = self._authorization
        if (
            authorization is None
            or authorization.request_id is not None
            or not self._engine.attached
        ):
            return
        refusal = self._engine.backoff.refuses(self._engine.now)
        if refusal is not None and self._token.state is State.FETCHING:
            self._give_up(refusal)
            return
        if refusal is not None and authorization.not_before < self._engine.backoff.refused_until:
            authorization.not_before = self._engine.now + self._patience()
        # Nobody waits for a renewal in the background, so a close does not hurry it.
        hurry = self._token.state is State.FETCHING and self._hurries()
        at = self._engine.waits_until(authorization, hurry=hurry)
        self._engine.timers.set(_REPEAT, at)
        if at is not None:
            return
        self.count += 1
        api = self._engine.account.api
        headers: tuple[tuple[str, str], ...] = (
            ("x-api-key", self._engine.account.api_key.reveal()),
        )
        if api.sdk_header is not None:
            headers += (("x-masivo-sdk", api.sdk_header),)
        timeout = max(buffer.settings.timeout for buffer in self._engine.buffers)
        self._engine.send(authorization, "GET", api.authorize_path, headers, b"", timeout)

    def answered(self, authorization: Authorization, response: Response) -> None:
        """Take in the answer to an authorization."""
        date = response.headers.get("date")
        self._engine.server_clock.observe(date, authorization.sent_at, self._engine.now)
        status = response.status
        token = token_in(response.body) if 200 <= status < 300 else None
        if token is not None:
            self._engine.backoff.succeeded()
            on_time = self._token.state is State.STALE and not authorization.failed
            life = lifetime(token, date, self._wall_clock())
            self._token.grant(token, life, self._engine.now, on_time=on_time)
            self._authorization = None
            self.set_renewal()
            if self._engine.journal is not None:
                self._engine.journal.granted(life, self._engine.timers.get(_RENEW))
            for _, ticket in self._take_tickets(None):
                self._engine.answer(ticket, token)
            self._engine.touch_all()
            return
        body = redacted_body(response.body, self._engine.secrets(None))
        error = authorization_error(status, body, server_key=self._is_server_key(status, body))
        wait = (
            retry_after(response.headers, self._engine.server_clock) if status in REPEATED else None
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
            return bool(self._engine.account.api.is_server_key_refusal(status, value))
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
            self._engine.backoff.hold(wait, error, self._engine.now)
            self._engine.touch_all()  # batches that wait fail at once if that is too long
            authorization.retries += 1
            authorization.not_before = self._engine.now + (
                self._patience()
                or full_jitter(authorization.retries, self._random, self._longest_wait())
            )
            if self._engine.journal is not None:
                self._engine.journal.kept(authorization)
            return
        if not definitive:
            self._engine.backoff.failed(authorization.known, wait, error, self._engine.now)
            patience = (b.settings.max_retries for b in self._engine.buffers if repeatable)
            retries = max(patience, default=0)
            if self._engine.backoff.refuses(self._engine.now) is None:
                if authorization.last_try:
                    self._end_hurried(authorization, error)
                if self._engine.repeat(authorization, retries=retries, hurry=self._hurries()):
                    return
        if definitive:
            self._engine.backoff.succeeded()
            self._token.refuse(error, self._engine.now)
            if self._engine.journal is not None:
                self._engine.journal.refused(error, self._token.refused_until)
        for buffer in self._engine.buffers:
            buffer.fail_waiting(error)
        self._give_up(error)

    def _give_up(self, error: MasivoError) -> None:
        """Fetch no token until one is needed again."""
        self._authorization = None
        self._engine.timers.set(_REPEAT, None)
        self._token.change(Change.FAILED)
        for _, ticket in self._take_tickets(None):
            self._engine.answer(ticket, Failed(error))

    def _end_hurried(self, authorization: Authorization, error: MasivoError) -> None:
        """End what waits of the clients that close; the others, if any waits, still have their
        repeats."""
        for buffer in self._engine.buffers:
            if buffer.hurry:
                buffer.fail_waiting(error)
        others = [buffer for buffer in self._engine.buffers if not buffer.hurry]
        asking = [buffer for buffer, _ in self._tickets]
        if any(buffer.held or buffer in asking for buffer in others):
            authorization.last_try = False
