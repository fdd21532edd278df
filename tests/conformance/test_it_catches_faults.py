"""A suite that never fails proves nothing: drivers with deliberate faults, each of them caught.

Every fault is put into one of our three drivers, or into the one that must be pumped, by replacing
one function of it. The scenario that is named beside it must then fail; the tests of the worlds
show that it passes without.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urljoin

import pytest
from msgspec.structs import replace

import masivo._async.session as loop_session
import masivo._sync.client as thread_client
import masivo._sync.session as thread_session
from masivo import AsyncClient, Client, FlushResult, MasivoError
from masivo._async.on_asyncio import AsyncioSession
from masivo._async.on_trio import TrioSession
from masivo._http import exchange
from masivo._http.transport import Transport
from masivo._session import registry
from masivo._sync.session import Session
from masivo.protocol import Engine, Failure, Response, StoreDone
from masivo.testing.conformance import (
    SCENARIOS,
    MemoryLog,
    NonconformityError,
    Report,
    assert_conforms,
)
from masivo.testing.conformance.compare import expected
from masivo.testing.conformance.worlds import threads
from masivo.testing.conformance.worlds.reference import ReferenceAdapter

from .worlds import LACKING, WORLDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from masivo.protocol import Buffer, Note, Output, Request, Settings, StoreWork

LIMIT = 0.5
"""What a broken driver leaves undone is missed after so many seconds."""


# ── Ways to break a driver ───────────────────────────────────────────────────────────────────


Sends: TypeAlias = "Callable[[Request], Awaitable[Response | Failure]]"
"""What sends a request, in every world."""


def change_sending(
    patch: pytest.MonkeyPatch,
    change: Callable[[Sends, Request], Coroutine[Any, Any, Response | Failure]],
) -> None:
    """Let something else be done in place of sending a request, in every driver."""
    send = Transport.send

    async def changed(self: Transport, request: Request) -> Response | Failure:
        return await change(partial(send, self), request)

    patch.setattr(Transport, "send", changed)


def change_requests(patch: pytest.MonkeyPatch, change: Callable[[Request], Request]) -> None:
    """Let each request be changed before it is sent, in every driver."""

    async def changed(send: Sends, request: Request) -> Response | Failure:
        return await send(change(request))

    change_sending(patch, changed)


def change_results(
    patch: pytest.MonkeyPatch, change: Callable[[Response | Failure], Response | Failure]
) -> None:
    """Let what comes of each request be changed before it is handed back, in every driver."""

    async def changed(send: Sends, request: Request) -> Response | Failure:
        return change(await send(request))

    change_sending(patch, changed)


def change_outputs(patch: pytest.MonkeyPatch, change: Callable[[Output], Output]) -> None:
    """Let what is settled be changed, in every driver."""
    for module in (loop_session, thread_session):
        settle: Callable[..., None] = module.settle

        def changed(output: Output, *how: Any, settle: Callable[..., None] = settle) -> None:
            settle(change(output), *how)

        patch.setattr(module, "settle", changed)


def change_work(patch: pytest.MonkeyPatch, change: Callable[[Engine, StoreWork], None]) -> None:
    """Let something else be done in place of work on a store, in every driver."""
    patch.setattr(Engine, "do_work", change)


def repeat_by_itself(patch: pytest.MonkeyPatch, reason: Callable[[object], bool]) -> None:
    """Let a driver send a request again, without being asked to."""

    async def again(send: Sends, request: Request) -> Response | Failure:
        result = await send(request)
        return await send(request) if reason(result) else result

    change_sending(patch, again)


# ── Faults ───────────────────────────────────────────────────────────────────────────────────


def skipped_timer(patch: pytest.MonkeyPatch) -> None:
    """The loop sleeps until something comes in, whatever the core asked for."""
    sleep: Callable[[AsyncioSession, float | None], Awaitable[None]] = AsyncioSession._sleep

    async def forever(self: AsyncioSession, _until: float | None) -> None:
        await sleep(self, None)

    patch.setattr(AsyncioSession, "_sleep", forever)


def late_timer(patch: pytest.MonkeyPatch) -> None:
    """The loop wakes up a second too late."""
    sleep: Callable[[TrioSession, float | None], Awaitable[None]] = TrioSession._sleep

    async def later(self: TrioSession, until: float | None) -> None:
        await sleep(self, None if until is None else until + 1)

    patch.setattr(TrioSession, "_sleep", later)


def swallowed_exception(patch: pytest.MonkeyPatch) -> None:
    """What went wrong with a request is not handed back."""

    def swallow(self: Session, request: Request, _cut_at: float | None = None) -> None:
        result = self._sender.send(request)
        if isinstance(result, Response):
            self.engine.hand_back(request.id, result)
        self._out.discard(request)  # its thread ends all the same

    patch.setattr(Session, "_send", swallow)


def reordered_batch(patch: pytest.MonkeyPatch) -> None:
    """The events of a batch are sent last first."""

    def reverse(request: Request) -> Request:
        if not request.body:
            return request
        events: list[Any] = json.loads(request.body)["events"]
        last_first = json.dumps({"events": events[::-1]}, separators=(",", ":")).encode()
        return replace(request, body=last_first)

    change_requests(patch, reverse)


def repeated_401(patch: pytest.MonkeyPatch) -> None:
    """A driver sends again after a 401, with the same token."""
    repeat_by_itself(patch, lambda result: isinstance(result, Response) and result.status == 401)


def retries_of_its_own(patch: pytest.MonkeyPatch) -> None:
    """A driver sends again when a connection breaks, as many HTTP libraries do."""
    repeat_by_itself(patch, lambda result: isinstance(result, Failure))


def followed_redirect(patch: pytest.MonkeyPatch) -> None:
    """A driver follows redirects."""

    async def follow(send: Sends, request: Request) -> Response | Failure:
        result = await send(request)
        if isinstance(result, Response) and (place := result.headers.get("location")):
            url = urljoin(request.url, place)
            return await send(replace(request, method="GET", url=url, body=b""))
        return result

    change_sending(patch, follow)


def fresh_key_for_each_try(patch: pytest.MonkeyPatch) -> None:
    """Every request carries an idempotency key of its own."""
    counter = iter(range(1000))

    def renew(request: Request) -> Request:
        headers = dict(request.headers)
        if "idempotency-key" in headers:
            headers["idempotency-key"] = f"{next(counter):032x}"
        return replace(request, headers=tuple(headers.items()))

    change_requests(patch, renew)


def key_sent_everywhere(patch: pytest.MonkeyPatch) -> None:
    """The API key goes along with events."""

    def add(request: Request) -> Request:
        key = ("x-api-key", "conformance-client-key")
        return replace(request, headers=(*dict([*request.headers, key]).items(),))

    change_requests(patch, add)


def lost_headers(patch: pytest.MonkeyPatch) -> None:
    """The headers of answers are dropped."""
    change_results(
        patch,
        lambda result: replace(result, headers={}) if isinstance(result, Response) else result,
    )


def lost_status(patch: pytest.MonkeyPatch) -> None:
    """The status of an answer that broke off is dropped."""
    change_results(
        patch,
        lambda result: replace(result, status=None) if isinstance(result, Failure) else result,
    )


def denied_sending(patch: pytest.MonkeyPatch) -> None:
    """A request whose connection broke is said not to have been sent."""
    change_results(
        patch,
        lambda result: replace(result, sent=False) if isinstance(result, Failure) else result,
    )


def unbounded_body(patch: pytest.MonkeyPatch) -> None:
    """Answers are read to their end, however long they are."""
    for bound in ("MAX_BODY", "MAX_RESPONSE"):
        patch.setattr(exchange, bound, 1 << 30)


def forgotten_waiters(patch: pytest.MonkeyPatch) -> None:
    """Who waits is not told."""
    change_outputs(patch, lambda output: replace(output, tickets=[], settled=[]))


def forgotten_on_error(patch: pytest.MonkeyPatch) -> None:
    """``on_error`` is not called."""
    change_outputs(patch, lambda output: replace(output, failed_events=[]))


def lost_wake(patch: pytest.MonkeyPatch) -> None:
    """The core's call for a poll is not heard."""

    def nothing(_self: Session) -> None:
        pass

    patch.setattr(Session, "wake", nothing)


def answer_handed_back_twice(patch: pytest.MonkeyPatch) -> None:
    """An answer is handed to the core two times."""
    carry_out = AsyncioSession.carry_out

    async def twice(self: AsyncioSession, request: Request) -> None:
        await carry_out(self, request)
        self.engine.hand_back(request.id, Response(200, {}, b""))

    patch.setattr(AsyncioSession, "carry_out", twice)


def invented_answer(patch: pytest.MonkeyPatch) -> None:
    """The core gets an answer that it has not asked for."""
    carry_out = AsyncioSession.carry_out

    async def more(self: AsyncioSession, request: Request) -> None:
        await carry_out(self, request)
        self.engine.hand_back(request.id + 1_000, Response(200, {}, b""))

    patch.setattr(AsyncioSession, "carry_out", more)


def timeout_of_another_class(patch: pytest.MonkeyPatch) -> None:
    """A wait that is over raises an error of the package's own."""
    wait = Session.wait

    def other(self: Session, *args: Any, **options: Any) -> None:
        try:
            wait(self, *args, **options)
        except TimeoutError as error:
            raise MasivoError(str(error)) from None

    patch.setattr(Session, "wait", other)


def engine_for_each_client(patch: pytest.MonkeyPatch) -> None:
    """Clients of one key do not share."""
    join = thread_session.join

    def alone(*args: Any, **options: Any) -> Any:
        registry.clear()
        return join(*args, **options)

    patch.setattr(thread_session, "join", alone)


def hasty_flush(patch: pytest.MonkeyPatch) -> None:
    """``flush`` does not wait."""

    def flush(self: Client, _timeout: float | None = None) -> FlushResult:
        self._buffer.flush()
        self._session.wake()
        return FlushResult(0, 0)

    patch.setattr(Client, "flush", flush)


def endless_close(patch: pytest.MonkeyPatch) -> None:
    """``aclose`` forgets its deadline."""
    aclose = AsyncClient.aclose

    def forever(self: AsyncClient, _timeout: float | None = 10.0) -> Any:
        return aclose(self, None)

    patch.setattr(AsyncClient, "aclose", forever)


def ignored_timeout(patch: pytest.MonkeyPatch) -> None:
    """Requests are not bounded."""
    change_requests(patch, lambda request: replace(request, timeout=1000.0))


def unchecked_timeout(patch: pytest.MonkeyPatch) -> None:
    """A call takes any number as its timeout."""

    def unchecked(timeout: float | None) -> float | None:
        return timeout

    patch.setattr(thread_client, "wait_limit", unchecked)


def dropped_storage_work(patch: pytest.MonkeyPatch) -> None:
    """Work on a store is forgotten."""

    def nothing(_session: loop_session.LoopSession, _work: StoreWork) -> None:
        pass

    patch.setattr(loop_session.LoopSession, "_work", nothing)


def storage_work_done_twice(patch: pytest.MonkeyPatch) -> None:
    """Work on a store is done two times."""

    def twice(engine: Engine, work: StoreWork) -> None:
        work.run()
        engine.hand_back(work.id, work.run())

    change_work(patch, twice)


def storage_work_handed_back_twice(patch: pytest.MonkeyPatch) -> None:
    """The result of work on a store is handed back two times."""

    def twice(engine: Engine, work: StoreWork) -> None:
        done = work.run()
        engine.hand_back(work.id, done)
        engine.hand_back(work.id, done)

    change_work(patch, twice)


def request_before_its_note(patch: pytest.MonkeyPatch) -> None:
    """Work on a store is handed back before it is done, so that batches go before their notes."""

    def early(engine: Engine, work: StoreWork) -> None:
        engine.hand_back(work.id, StoreDone([None] * len(work.steps)))
        work.run()

    change_work(patch, early)


def unnoted_batches(patch: pytest.MonkeyPatch) -> None:
    """A store's work is done by halves: no batch is noted."""

    def nothing(_log: MemoryLog, _note: Note) -> None:
        pass

    patch.setattr(MemoryLog, "note", nothing)


def changed_storage_result(patch: pytest.MonkeyPatch) -> None:
    """What work on a store has found is not what is handed back."""

    def empty(engine: Engine, work: StoreWork) -> None:
        work.run()
        engine.hand_back(work.id, work.interrupted)

    change_work(patch, empty)


def forgotten_store(patch: pytest.MonkeyPatch) -> None:
    """The store is not given to the engine."""
    attach = Engine.attach

    def without(
        self: Engine, settings: Settings, delivery_type: Any, owner: object, _store: object
    ) -> Buffer:
        return attach(self, settings, delivery_type, owner)

    patch.setattr(Engine, "attach", without)


def another_clock(patch: pytest.MonkeyPatch) -> None:
    """The engine goes by a clock of the driver's."""

    def monotonic(_: threads._ThreadClock) -> float:
        return time.monotonic()

    patch.setattr(threads._ThreadClock, "monotonic", monotonic)


def logged_headers(patch: pytest.MonkeyPatch) -> None:
    """What is sent is logged, for whoever looks for a fault."""

    async def changed(send: Sends, request: Request) -> Response | Failure:
        logging.getLogger("http").debug("%s", request.headers)
        return await send(request)

    change_sending(patch, changed)


def idle_pump(patch: pytest.MonkeyPatch) -> None:
    """A driver that must be pumped does nothing then."""

    def pump(_: ReferenceAdapter) -> None:
        pass

    patch.setattr(ReferenceAdapter, "pump", pump)


@dataclass(frozen=True)
class Case:
    """A fault in one driver, and the scenario that must catch it."""

    sabotage: Callable[[pytest.MonkeyPatch], None]
    world: str
    scenario: str
    says: str
    """What it is caught by."""

    def __str__(self) -> str:
        return f"{self.sabotage.__name__}-in-{self.world}-caught-by-{self.scenario}"


CASES: Final = (
    Case(skipped_timer, "asyncio", "batch_goes_when_idle", "was to be polled at 30 s, and is not"),
    Case(late_timer, "trio", "batch_goes_after_max_wait", "was to be polled at 30 s, and is not"),
    Case(
        swallowed_exception,
        "threads",
        "lost_response_is_retried",
        r"request 2 \(POST\) is not handed back",
    ),
    Case(reordered_batch, "trio", "batch_goes_at_its_size", "request 2 is another: body"),
    Case(repeated_401, "threads", "stale_token_is_replaced_once", "request 2 had arrived already"),
    Case(repeated_401, "asyncio", "second_401_is_an_error", "request 2 had arrived already"),
    Case(retries_of_its_own, "trio", "no_retries_means_none", "request 3 had arrived already"),
    Case(
        followed_redirect,
        "asyncio",
        "redirect_is_not_followed",
        r"did not ask for: .*/elsewhere.*>\n",  # and compared with none to another path
    ),
    Case(
        fresh_key_for_each_try,
        "threads",
        "lost_response_is_retried",
        "request 2 is another: idempotency-key",
    ),
    Case(
        key_sent_everywhere,
        "trio",
        "flush_sends_what_is_buffered",
        "request 2 is another: x-api-key",
    ),
    Case(lost_headers, "asyncio", "retry_after_in_seconds", "batches: expected"),
    Case(lost_headers, "threads", "events_are_stamped_by_the_servers_clock", "issued_at: expected"),
    Case(lost_status, "trio", "broken_success_is_not_retried", "event 0 does not end"),
    Case(
        denied_sending,
        "threads",
        "lost_response_is_retried",
        "request 2 reached the server, and its Failure says that it was not sent",
    ),
    Case(unbounded_body, "asyncio", "broken_success_is_not_retried", "event 1 did not fail"),
    Case(forgotten_waiters, "threads", "flush_sends_what_is_buffered", "flush does not end"),
    Case(
        forgotten_waiters,
        "trio",
        "outcome_wakes_its_waiters",
        "the wait for event 1 does not end",
    ),
    Case(
        forgotten_on_error,
        "asyncio",
        "on_error_is_called_for_each_failure",
        "on_error is not called",
    ),
    Case(
        lost_wake,
        "threads",
        "first_event_authorizes",
        "something came in, and the engine is not polled",
    ),
    Case(
        answer_handed_back_twice,
        "asyncio",
        "batch_goes_at_its_size",
        "request 1 was handed back twice",
    ),
    Case(
        invented_answer,
        "asyncio",
        "batch_goes_at_its_size",
        r"an unknown request was handed back: 10\d\d",
    ),
    Case(
        timeout_of_another_class,
        "threads",
        "flush_has_a_timeout",
        "flush raised MasivoError.*, not <class 'TimeoutError'>",
    ),
    Case(
        engine_for_each_client,
        "threads",
        "clients_share_a_token",
        "authorizations: expected 1, found 2",
    ),
    Case(hasty_flush, "threads", "flush_waits_for_what_is_in_flight", "flush did not wait"),
    Case(endless_close, "asyncio", "close_ends_at_its_deadline", "event 1 does not end"),
    Case(ignored_timeout, "trio", "request_is_bounded_by_its_timeout", "outlasts its timeout"),
    Case(unchecked_timeout, "threads", "timeout_of_a_call_is_checked", "flush did not raise"),
    Case(
        dropped_storage_work,
        "asyncio",
        "delivered_event_leaves_the_disk",
        r"work \d+ on a store is not done",
    ),
    Case(
        storage_work_done_twice,
        "trio",
        "events_of_a_crashed_client_are_adopted",
        r"work \d+ on a store was done twice",
    ),
    Case(
        storage_work_handed_back_twice,
        "asyncio",
        "delivered_event_leaves_the_disk",
        r"request \d+ was handed back twice",
    ),
    Case(
        request_before_its_note,
        "threads",
        "batch_is_noted_before_it_is_sent",
        r"work \d+ on a store was handed back and is not done",
    ),
    Case(
        unnoted_batches,
        "threads",
        "batch_is_noted_before_it_is_sent",
        "noted at their arrival: expected",
    ),
    Case(
        changed_storage_result,
        "trio",
        "events_of_a_crashed_client_are_adopted",
        r"work \d+ on a store was handed back as something else",
    ),
    Case(forgotten_store, "threads", "event_is_on_disk_when_its_call_returns", "on disk: expected"),
    Case(
        another_clock,
        "threads",
        "flush_waits_for_what_is_in_flight",
        r"an engine's clock is not Adapter\.clock\.monotonic",
    ),
    Case(
        logged_headers,
        "asyncio",
        "no_log_line_holds_a_secret",
        "a log line of http at DEBUG holds a(n API key| token)",
    ),
    Case(idle_pump, "pumped", "first_event_authorizes", "no thread polls"),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fault_is_caught(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver with this fault does not pass the scenario; the failure names the guarantee."""
    scenario = next(each for each in SCENARIOS if each.name == case.scenario)
    expected(scenario)  # the reference is not touched
    case.sabotage(monkeypatch)
    with pytest.raises(NonconformityError, match=case.says) as caught:
        assert_conforms(scenario, WORLDS.get(case.world) or LACKING[case.world], limit=LIMIT)
    assert scenario.guarantee in "\n".join([str(caught.value), *caught.value.__notes__])


def test_a_driver_that_does_less_is_caught_by_its_transcript(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What no check of a scenario looks at is still compared, byte for byte."""
    scenario = next(
        each for each in SCENARIOS if each.name == "response_without_a_body_is_a_success"
    )
    expected(scenario)
    change_results(
        monkeypatch,
        lambda result: (
            replace(result, body=result.body.replace(b"taken", b"token"))
            if isinstance(result, Response)
            else result
        ),
    )
    with pytest.raises(NonconformityError, match="data: expected"):
        assert_conforms(scenario, WORLDS["threads"], limit=LIMIT)


def test_a_transcript_that_differs_is_shown_beside_that_of_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a diff, which names both, below the guarantee."""
    scenario = next(each for each in SCENARIOS if each.name == "flush_waits_for_what_is_in_flight")
    reference = expected(scenario)
    longer = dataclasses.replace(reference, transcript=(*reference.transcript, "and one more"))

    def another(*_: object, **__: object) -> Report:
        return longer

    monkeypatch.setattr("masivo.testing.conformance.compare.expected", another)
    with pytest.raises(NonconformityError) as caught:
        assert_conforms(scenario, WORLDS["threads"], limit=LIMIT)
    said = str(caught.value).splitlines()
    assert said[0] == (
        f"{scenario.name}: threads differs from the reference (see {scenario.guarantee})"
    )
    assert said[1:3] == ["--- reference", "+++ threads"]
    assert said[-1] == "-and one more"
