"""Many threads of callers, and the number of the package's own
(``docs/reference/guarantees.md#threads``)."""

from __future__ import annotations

import gc
import random
import socket
import sys
import threading
import time
import weakref
from functools import partial
from math import inf
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from masivo import (
    Client,
    FlushResult,
    MasivoClosedError,
    MasivoError,
    MasivoNetworkError,
    MasivoQueueFullError,
)
from masivo._helpers import Helpers
from masivo._overdue import PATIENCE, Outstanding
from masivo._session import registry
from masivo._sync.clock import Clock
from masivo._sync.session import sessions
from masivo.emulator import Emulator, Fault
from masivo.protocol import Engine, Request

from .conftest import workers
from .events import arrived, event, number, sent, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from masivo import Delivery
    from masivo.emulator import RecordedRequest
    from masivo.protocol import Buffer, FailedEvent, Output

    from .conftest import Connect


@pytest.fixture
def nervous() -> Iterator[None]:
    """Have the interpreter switch threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(count: int, work: Callable[[int], object], timeout: float = 30.0) -> None:
    """Run ``work`` in so many threads that begin together; raises what one of them raised."""
    barrier = threading.Barrier(count)
    raised: list[BaseException] = []

    def run(index: int) -> None:
        try:
            barrier.wait(timeout)
            work(index)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(count)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        assert not thread.is_alive(), "a caller hangs"
    if raised:
        raise raised[0]


def send_one(client: Client, base: int, index: int) -> None:
    """Send one event."""
    client.send_analytics_event(event(base + index))


def has_arrived(emulator: Emulator, count: int) -> bool:
    """Whether so many events have arrived."""
    return emulator.event_count == count


def customer(accepted: object) -> str:
    """Whose an event is."""
    assert isinstance(accepted, dict)
    found: object = accepted["customer_id"]  # pyright: ignore[reportUnknownVariableType]
    assert isinstance(found, str)
    return found


# ── How many threads ─────────────────────────────────────────────────────────────────────────


def test_no_thread_before_the_first_event(connect: Connect, emulator: Emulator) -> None:
    """Making a client, asking it, refusing an event, closing it: no thread."""
    client = connect()
    client.stats()
    client.flush(1)
    client.drain(1)
    with pytest.raises(MasivoError):
        client.send_analytics_event({})
    assert workers() == []
    client.close()
    connect().destroy()
    assert workers() == []


def test_no_thread_for_a_client_that_is_forgotten_unused(
    monkeypatch: pytest.MonkeyPatch, emulator: Emulator
) -> None:
    """One that is dropped without an event leaves its session at once, and starts no thread."""
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", started.append)
    client = Client(emulator.client_key, base_url=emulator.url)
    left = weakref.ref(client)
    before = sessions()
    del client
    gc.collect()
    assert left() is None
    assert started == []
    assert len(before) == 1
    assert sessions() == []


def test_one_thread_for_one_client(connect: Connect, emulator: Emulator) -> None:
    """One thread polls, and while there is traffic another sends; at rest the first is left."""
    most: list[int] = []
    emulator.on_request = lambda _: most.append(len(workers()))
    client = connect(batch_size=10)
    for n in range(200):
        client.send_analytics_event(event(n))
        if n % 50 == 49:
            client.flush(10)
    assert len(emulator.batches) >= 20
    assert set(most) == {2}
    until(lambda: len(workers()) == 1)
    client.close()


def test_one_thread_sends_one_request_after_another(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that has sent a request waits for the next: none is started for each."""
    monkeypatch.setattr("masivo._helpers.LINGER", 10.0)
    senders: set[threading.Thread] = set()

    def note(_request: httpx.Request) -> httpx.Response:
        senders.add(threading.current_thread())
        return httpx.Response(200, json={"data": "a-token"})

    with httpx.Client(transport=httpx.MockTransport(note)) as http:
        client = connect(http_client=http, batch_size=1)
        client.get_token(10)
        for n in range(5):
            until(lambda: client._session._helpers._idle)  # the outcome comes a moment before
            client.send_analytics_event(event(n)).result(10)
        client.close()
    assert len(senders) == 1


def test_the_threads_of_the_application_may_wait_whatever_ended_before_them(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that gets the identity of one that the package had, as the system reuses them, is
    the application's: it may wait."""
    monkeypatch.setattr("masivo._helpers.LINGER", 0.0)
    client = connect(batch_size=1)
    for n in range(10):
        client.send_analytics_event(event(n)).result(10)
        until(lambda: len(workers()) == 1)
        in_threads(2, lambda _: client.flush(10))


def test_one_thread_for_many_clients(connect: Connect, emulator: Emulator) -> None:
    """Clients of one key share the thread that polls, and the one that sends while their requests
    do not overlap."""
    clients = [connect() for _ in range(10)]
    for n, client in enumerate(clients):
        client.send_analytics_event(event(n))
        client.flush(5)
        assert len(workers()) <= 2
    until(lambda: len(workers()) == 1)
    for client in clients:
        client.close()


def test_a_thread_for_each_request_at_most(connect: Connect, emulator: Emulator) -> None:
    """With several batches out, there are as many threads, and the one that polls; when they are
    back, the others end."""
    emulator.fail(Fault(delay=0.3), route="events", times=4)
    client = connect(batch_size=1, max_in_flight=4)
    client.get_token(5)
    for n in range(4):
        client.send_analytics_event(event(n, customer_id=f"c-{n}"))
    emulator.wait_for(lambda e: len(e.batches) == 4)
    assert len(workers()) == 5
    assert client.flush(10).delivered == 4
    until(lambda: len(workers()) == 1)
    client.close()


def test_a_response_is_handed_to_no_other_thread(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that has a response polls, and sends the next batch, itself."""
    senders, pollers = list[int](), list[int]()
    go = threading.Event()

    def accept(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            senders.append(threading.get_ident())
            go.wait(10)
        return httpx.Response(200, json={"data": "a-token"})

    with httpx.Client(transport=httpx.MockTransport(accept)) as http:
        client = connect(http_client=http, batch_size=1)
        for n in range(20):
            client.send_analytics_event(event(n))
        session = client._session
        poll = session.engine.poll
        until(lambda: bool(senders) and not session._wanted and not session._poller)

        def noted() -> Output:
            pollers.append(threading.get_ident())
            return poll()

        monkeypatch.setattr(session.engine, "poll", noted)
        go.set()
        until(lambda: client.stats().delivered == 20)
    assert len(senders) == len(pollers) == 20
    assert len({*senders, *pollers}) == 1


def test_a_poll_is_not_left_to_a_helper_that_has_a_request(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helper polls and finds its next request; the poll that another thread wanted meanwhile is
    done by the polling thread."""
    posts: list[threading.Event] = []

    def respond(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            posts.append(threading.Event())
            posts[-1].wait(10)
        return httpx.Response(200, json={"data": "a-token"})

    with httpx.Client(transport=httpx.MockTransport(respond)) as http:
        client = connect(http_client=http, batch_size=1, max_in_flight=1)
        client.get_token(10)
        session, add = client._session, client._session._out.add

        def poll_meanwhile(request: Request, until: float) -> None:
            other = threading.Thread(target=session._poll)
            other.start()
            other.join()
            assert session._wanted
            add(request, until)

        for n in (1, 2):
            client.send_analytics_event(event(n))
        until(lambda: len(posts) == 1)
        monkeypatch.setattr(session._out, "add", poll_meanwhile)
        posts[0].set()
        until(lambda: len(posts) == 2 and not session._wanted)
        posts[1].set()
        assert client.flush(10).delivered == 2


def test_a_second_helper_that_cannot_be_started(
    connect: Connect, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one helper is all that can be had, the polling thread does what is left, also what the
    helper's own poll has found: requests, and calls of ``on_error``."""
    start, started = threading.Thread.start, list[threading.Thread]()

    def few(self: threading.Thread) -> None:
        if self.name == "masivo":
            started.append(self)
            if len(started) > 2:
                raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", few)
    emulator.on_request = lambda request: Fault(status=400) if request.number % 3 == 0 else None
    told: list[FailedEvent] = []
    client = connect(batch_size=1, max_in_flight=4, on_error=told.append)
    for n in range(20):
        client.send_analytics_event(event(n, customer_id=f"c-{n}"))
    result = client.flush(20)
    client.close()
    assert result.delivered + result.failed == 20
    assert len(told) == result.failed > 0
    assert len(started) > 2


def test_a_job_that_no_helper_takes_is_none_of_theirs() -> None:
    """Its caller does it: the helpers are not busy with it."""
    helpers = Helpers(set(), lambda: False)
    assert not helpers.take(print)
    assert not helpers.busy


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_helper_that_ends_in_a_poll_is_replaced(
    connect: Connect, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends a helper that polls, such as an exception that a library raises in every
    thread of the process: the polling thread continues."""
    client = connect(batch_size=1)
    session = client._session
    poll = session.engine.poll
    ended: list[threading.Thread] = []

    def once() -> Output:
        this = threading.current_thread()
        if this is not session._thread and not ended:
            ended.append(this)
            sys.exit()
        return poll()

    monkeypatch.setattr(session.engine, "poll", once)
    assert client.send_analytics_event(event(1)).result(5).success
    assert ended
    assert arrived(emulator) == [1]


@pytest.mark.usefixtures("no_threads")
def test_without_threads_who_waits_does_the_work(connect: Connect, emulator: Emulator) -> None:
    """Where no thread can be had, sending raises nothing, and a call that waits sends by itself,
    at the time of a repeat too."""
    began = time.monotonic()
    emulator.fail(Fault(status=503), route="events")
    client = connect(batch_size=2)
    for n in range(3):
        client.send_analytics_event(event(n))
    assert client.flush(20).delivered == 3
    assert time.monotonic() - began < 10
    assert arrived(emulator) == [0, 1, 2]
    assert client.stats().retries == 1
    client.send_analytics_event(event(3))
    client.close(20)
    assert arrived(emulator) == [0, 1, 2, 3]


@pytest.mark.usefixtures("no_threads")
def test_without_threads_a_close_still_meets_its_deadline(
    connect: Connect, emulator: Emulator
) -> None:
    """Where no thread can be had, the closing thread sends by itself, and cuts off a request whose
    server hangs (``docs/reference/guarantees.md#deadline-of-a-close``)."""
    emulator.fail(Fault(delay=60), route="events", times=None)
    client = connect(timeout=15)
    client.get_token(10)
    delivery = client.send_analytics_event(event())
    began = time.monotonic()
    client.close(1.0)
    assert 0.9 < time.monotonic() - began < 4
    assert delivery.done()
    emulator.stop()


@pytest.mark.usefixtures("no_threads")
def test_without_threads_nothing_begins_after_the_deadline_of_a_close(connect: Connect) -> None:
    """A batch whose turn comes when the time of the close is over is not sent at all: it could
    only be cut off (``docs/reference/guarantees.md#deadline-of-a-close``)."""
    sent: list[httpx.Request] = []
    over = 0.0

    def slow(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            sent.append(request)
            until(lambda: time.monotonic() > over)
        return httpx.Response(200, json={"data": "a-token"})

    with httpx.Client(transport=httpx.MockTransport(slow)) as http:
        client = connect(http_client=http, batch_size=1, max_in_flight=2)
        client.get_token(10)
        deliveries = [client.send_analytics_event(event(customer_id=each)) for each in "ab"]
        over = time.monotonic() + 0.2
        client.close(0.2)
    assert len(sent) == 1
    assert isinstance(deliveries[1].exception(0), MasivoClosedError)


@pytest.mark.usefixtures("no_threads")
def test_an_interrupt_in_the_callers_own_request(connect: Connect) -> None:
    """Ctrl-C while the caller's thread sends: that batch may have been sent, the one after it goes
    out when somebody waits again, and each has its outcome."""
    interrupts = [KeyboardInterrupt()]

    def interrupt(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and interrupts:
            raise interrupts.pop()
        return httpx.Response(200, json={"data": "a-token"})

    with httpx.Client(transport=httpx.MockTransport(interrupt)) as http:
        client = connect(http_client=http, batch_size=1, max_in_flight=2, max_retries=0)
        client.get_token(10)
        first = client.send_analytics_event(event(customer_id="a"))
        second = client.send_analytics_event(event(customer_id="b"))
        with pytest.raises(KeyboardInterrupt):
            client.flush(10)
        assert str(first.exception(10)) == "the request was interrupted"
        assert second.result(10).success


def test_an_interrupted_poll_is_done_by_another_thread(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the caller's thread polls: a thread of the package polls in its place, so that
    here the session ends with its client."""
    client = connect()
    session, poll = client._session, client._session._poll

    def interrupt() -> None:
        monkeypatch.setattr(session, "_poll", poll)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "_poll", interrupt)
    with pytest.raises(KeyboardInterrupt):
        client.destroy()
    until(lambda: session not in sessions())


def test_an_interrupt_of_a_flush_loses_no_event(connect: Connect, emulator: Emulator) -> None:
    """Whatever call of the package a signal's handler interrupts by an exception, while the main
    thread waits for a flush and the worker for an answer: every event that was taken arrives."""
    free = threading.Event()
    asked = threading.Event()

    def hold(request: RecordedRequest) -> None:
        if request.method == "POST":
            asked.set()
            free.wait(10)

    class Interrupt(BaseException):
        pass

    def interrupted(client: Client, call: int) -> bool:
        """Whether there were so many calls."""
        left = call

        def count(frame: FrameType, kind: str, _argument: object) -> None:
            nonlocal left
            ours = "/masivo/" in frame.f_code.co_filename.replace("\\", "/")
            if ours and kind in ("call", "c_return"):  # where the interpreter looks for signals
                left -= 1
                if left == 0:
                    sys.setprofile(None)
                    raise Interrupt

        try:
            sys.setprofile(count)
            client.flush(0.01)
        except TimeoutError:
            return False
        except Interrupt:
            return True
        finally:
            sys.setprofile(None)
        return False

    emulator.on_request = hold
    count = call = 0
    more = True
    while more:
        call += 1
        free.clear()
        asked.clear()
        client = connect(batch_size=1)
        client.send_analytics_event(event(count))
        assert asked.wait(10)
        deliveries = [client.send_analytics_event(event(count + n)) for n in (1, 2)]
        more = interrupted(client, call)
        free.set()
        client.close(10)
        assert [each.done() and each.result().success for each in deliveries] == [True, True], call
        count += 3
    assert call > 20
    assert sorted(arrived(emulator)) == list(range(count))


def test_a_handler_that_closes_the_client_that_is_waited_for(connect: Connect) -> None:
    """Whatever call of a flush a signal's handler interrupts, be it one of the library that waits:
    the handler may close the client, and neither waits for the other."""

    def handled(client: Client, call: int) -> bool:
        """Whether there were so many calls."""
        left = call

        def count(frame: FrameType, kind: str, _argument: object) -> None:
            nonlocal left
            file = frame.f_code.co_filename.replace("\\", "/")
            ours = "/masivo/_sync/" in file or file.endswith(("/threading.py", "/queue.py"))
            if ours and kind in ("call", "c_return"):
                left -= 1
                if left == 0:
                    sys.setprofile(None)
                    began = time.monotonic()
                    client.close(4)
                    assert time.monotonic() - began < 3.0, (file, frame.f_lineno)

        sys.setprofile(count)
        try:
            client.flush(8)
        except MasivoClosedError:
            pass  # the handler came first
        finally:
            sys.setprofile(None)
        return left <= 0

    call, more = 0, True
    while more:
        call += 1
        client = connect()
        delivery = client.send_analytics_event(event(call))
        more = handled(client, call)
        client.close()
        assert delivery.result(5).success
    assert call > 20


def test_a_finalizer_inside_the_package_may_use_it(
    connect: Connect, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the garbage collector, or a signal's handler, runs on a thread that is in the middle of
    a poll or of making a client may send, and make clients."""
    client = connect()
    made: list[Client] = []
    poll, attach = Engine.poll, Engine.attach

    def polling(self: Engine) -> Output:
        if client.stats().accepted == 0:
            client.send_analytics_event(event(1))
        return poll(self)

    def attaching(self: Engine, *args: Any) -> Buffer:
        if not made:
            made.append(client)
            made.append(connect(api_key=emulator.server_key))
        return attach(self, *args)

    monkeypatch.setattr(Engine, "poll", polling)
    client.flush(10)  # with no worker yet, it is this thread that polls
    assert client.flush(10).delivered <= 1
    monkeypatch.setattr(Engine, "attach", attaching)
    connect(brand_id="b").close(10)
    assert len(made) == 2
    client.close(10)
    assert arrived(emulator) == [1]


def test_waits_that_were_replaced_after_the_import(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where gevent puts waits of its own in place of those that the package has taken, the first
    call that needs a thread says what to do (``docs/reference/guarantees.md#gevent``)."""
    client = connect()
    with monkeypatch.context() as patched:
        patched.setattr("queue.SimpleQueue", object)
        with pytest.raises(RuntimeError, match=r"patch_all\(\) first"):
            client.send_analytics_event(event())
    assert client.flush(10).delivered == 1


def test_a_call_without_time_sees_what_a_poll_is_about_to_end(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``flush(0)`` returns where nothing is pending, also while another thread is in a poll: that
    poll, or the next, ends it (``docs/reference/guarantees.md#flush``)."""
    client = connect()
    client.send_analytics_event(event(1))
    client.flush(10)
    in_poll, go = threading.Event(), threading.Event()
    session = client._session
    poll = session.engine.poll

    def slow() -> Output:
        if not go.is_set():
            in_poll.set()
            go.wait(10)
        return poll()

    monkeypatch.setattr(session.engine, "poll", slow)
    session.wake()
    assert in_poll.wait(10)
    threading.Timer(0.02, go.set).start()
    assert client.flush(0) == FlushResult(0, 0)
    assert client.get_token(0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_polling_thread_that_ends_is_replaced(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends the polling thread, such as an exception that a library raises in every thread
    of the process: the next event, or the next call that waits, starts another. A thread of the
    application that gets its identity, as the system reuses them, may wait."""
    client = connect(batch_size=1)
    client.send_analytics_event(event(1)).result(10)
    session = client._session
    polling = session._thread
    assert polling is not None
    with monkeypatch.context() as patched:
        patched.setattr(session, "_hush", sys.exit)
        session.wake()
        polling.join(10)
        assert not polling.is_alive()
    in_threads(8, lambda _: client.flush(10))
    assert client.send_analytics_event(event(2)).result(10).success
    assert session._thread is not polling


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_polling_thread_that_ends_during_a_wait_is_replaced(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends the polling thread while a call waits for it: the call notices within a second
    or so, and starts another."""
    client = connect()
    client.get_token(10)
    client.send_analytics_event(event(1))
    session = client._session
    hush, wait_for, waiting = session._hush, session.clock.wait_for, threading.Event()

    def once() -> None:
        monkeypatch.setattr(session, "_hush", hush)
        waiting.wait(10)
        sys.exit()

    def noted(bell: SimpleQueue[None], until: float) -> None:
        waiting.set()
        wait_for(bell, until)

    monkeypatch.setattr(session, "_hush", once)
    monkeypatch.setattr(session.clock, "wait_for", noted)
    assert client.flush(8).delivered == 1


def test_a_ring_while_the_polling_thread_ends_is_heard(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The polling thread finds nothing left to do, and somebody rings before it is gone: another
    thread polls."""
    client = connect()
    client.get_token(10)
    session = client._session

    class Bell(SimpleQueue[None]):
        rung = False

        def empty(self) -> bool:
            """As ever; then, once, somebody rings."""
            found = super().empty()
            if threading.current_thread() is polling and not (self.rung or session.engine.attached):
                self.rung = True
                session.wake()
            return found

    polling, former, bell = session._thread, session._bell, Bell()
    monkeypatch.setattr(session, "_bell", bell)
    former.put(None)
    client.close()
    until(lambda: bell.rung and not workers())
    assert not session._wanted


def test_a_session_that_ends_late_leaves_the_next_one_alone(connect: Connect) -> None:
    """A request may outlive the last client of its session; when it is over, the session that the
    key has by then stays the one that new clients join."""
    out, go = threading.Event(), threading.Event()

    def hang(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            out.set()
            go.wait(10)
        return httpx.Response(200, json={"data": "a-token"})

    with httpx.Client(transport=httpx.MockTransport(hang)) as http:
        first = connect(http_client=http, batch_size=1)
        old = first._session
        first.send_analytics_event(event())
        assert out.wait(10)
        first.destroy()
        new = connect(http_client=http)._session
        assert new is not old
        go.set()
        until(lambda: old._thread is None and not old.is_busy)
        assert connect(http_client=http)._session is new


def test_a_new_client_does_not_join_a_session_that_is_over(connect: Connect) -> None:
    """A client that is made after the last one has detached, and before their session has left the
    registry, has a session of its own: it must not get the other's token and counters."""
    first = connect()
    old = first._session
    first.close()
    registry[old._key] = old  # as in that moment
    assert connect()._session is not old
    assert old not in sessions()


def test_threads_do_not_pile_up(connect: Connect, emulator: Emulator) -> None:
    """Dozens of clients, made and closed, with failures among them, leave no thread behind."""
    emulator.on_request = lambda request: Fault(status=403) if request.number % 5 == 0 else None
    for n in range(50):
        with connect() as client:
            client.send_analytics_event(event(n))
        assert len(workers()) <= 6  # three at most for a client, and for the one before it
    until(lambda: not workers())


# ── Sending from many threads ────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("nervous")
def test_every_event_arrives_exactly_once(connect: Connect, emulator: Emulator) -> None:
    """32 threads, 250 events each, at the highest rate of switches: 8,000 arrive, once each, in
    each thread's order, after one authorization; the counters add up."""
    client = connect()
    deliveries: list[list[Delivery]] = [[] for _ in range(32)]

    def work(index: int) -> None:
        for n in range(250):
            deliveries[index].append(client.send_analytics_event(event(index * 250 + n)))

    in_threads(32, work)
    told = client.flush(60)
    assert (told.delivered, told.failed) == (8_000, 0)
    numbers = arrived(emulator)
    assert sorted(numbers) == list(range(8_000))
    for index in range(32):
        own = [n for n in numbers if n // 250 == index]
        assert own == sorted(own)
    assert all(each.result(0).success for own in deliveries for each in own)
    stats = client.stats()
    counts = stats.accepted, stats.delivered, stats.failed, stats.overflowed
    assert counts == (8_000, 8_000, 0, 0)
    assert (stats.queued, stats.in_flight, stats.authorizations) == (0, 0, 1)
    assert len(emulator.authorizations) == 1
    client.close()


@pytest.mark.usefixtures("nervous")
def test_several_clients_of_one_key(connect: Connect, emulator: Emulator) -> None:
    """Clients made, used and closed by threads of their own share one authorization while one of
    them lives; none loses an event."""
    keeper = connect()
    keeper.get_token(5)

    def work(index: int) -> None:
        for round_ in range(5):
            with connect(batch_size=7) as client:
                for n in range(20):
                    client.send_analytics_event(event(index * 100 + round_ * 20 + n))

    in_threads(8, work)
    assert sorted(arrived(emulator)) == list(range(800))
    assert len(emulator.authorizations) == 1
    keeper.close()


@pytest.mark.usefixtures("nervous")
def test_the_last_batch_does_not_wait(connect: Connect, emulator: Emulator) -> None:
    """However sends fall together, the one that fills a batch sees to it that it goes."""
    client = connect(batch_size=8)
    client.get_token(5)
    for base in range(0, 480, 8):
        in_threads(8, partial(send_one, client, base))
        until(partial(has_arrived, emulator, base + 8))
    client.close()


def test_order_per_customer_with_several_in_flight(connect: Connect, emulator: Emulator) -> None:
    """``max_in_flight=8``: no customer's events overtake one another, faults or not, and no two
    batches that are out at once hold the same customer."""
    out: dict[int, set[str]] = {}
    clashes: set[str] = set()
    lock = threading.Lock()
    chance = random.Random(4711)

    def on_request(request: RecordedRequest) -> Fault | None:
        customers = {customer(each) for each in request.events or ()}
        with lock:
            for others in out.values():
                clashes.update(customers & others)
            out[request.number] = customers
            draw = chance.random()
        if draw < 0.1:
            return Fault(status=503)
        return Fault(delay=0.02) if draw < 0.5 else None

    def on_response(request: RecordedRequest) -> None:
        with lock:
            out.pop(request.number, None)

    emulator.on_request, emulator.on_response = on_request, on_response
    client = connect(max_in_flight=8, batch_size=5, max_retries=20)
    for n in range(1000):
        client.send_analytics_event(event(n, customer_id=f"c-{n % 37}"))
    assert client.flush(40).delivered == 1000
    assert not clashes
    orders: dict[str, list[int]] = {}
    for each in emulator.events:
        orders.setdefault(customer(each), []).append(number(each))
    assert sum(map(len, orders.values())) == 1000
    assert all(order == sorted(order) for order in orders.values())
    client.close()


def test_bounds_hold_for_many_threads(connect: Connect, emulator: Emulator) -> None:
    """The buffer's bound is passed by one event per concurrent caller at most; what is refused
    says so, what is accepted arrives."""
    emulator.fail(Fault(delay=0.5), route="authorize")
    client = connect(max_queue=100)
    outcomes: list[bool] = []

    def work(index: int) -> None:
        for n in range(50):
            delivery = client.send_analytics_event(event(index * 50 + n))
            refused = delivery.done()
            if refused:
                assert isinstance(delivery.exception(0), MasivoQueueFullError)
            outcomes.append(refused)

    in_threads(16, work)
    stats = client.stats()
    assert 100 <= stats.accepted <= 116
    assert stats.overflowed == outcomes.count(True) == 800 - stats.accepted
    assert client.flush(10).delivered == stats.accepted
    client.close()


@pytest.mark.usefixtures("nervous")
def test_many_producers_that_drain(connect: Connect, emulator: Emulator) -> None:
    """Producers that call ``drain`` before each event share a small buffer without a refusal
    beyond what threads can race for."""
    client = connect(max_queue=64, batch_size=16)

    def work(index: int) -> None:
        for n in range(60):
            while True:
                client.drain(20)
                delivery = client.send_analytics_event(event(index * 60 + n))
                if not (delivery.done() and delivery.exception(0)):
                    break

    in_threads(8, work)
    client.flush(20)
    assert sorted(arrived(emulator)) == list(range(480))
    client.close()


# ── A server that hangs, and the end ─────────────────────────────────────────────────────────


def test_what_falls_due_meanwhile_goes_out(connect: Connect, emulator: Emulator) -> None:
    """While the only worker's request hangs, a sibling's events go when their time has come."""
    patient = connect(idle_timeout=0.3)
    patient.get_token(5)
    patient.send_analytics_event(event(1))
    emulator.fail(Fault(delay=60, process=True), route="events")
    stuck = connect(batch_size=1, timeout=60)
    stuck.send_analytics_event(event(2))
    emulator.wait_for(lambda e: arrived(e) == [2, 1], 10)
    stuck.destroy()


def test_one_stuck_client_does_not_hold_up_its_siblings(
    connect: Connect, emulator: Emulator
) -> None:
    """While a client's request hangs, others of the key authorize, send, flush and close."""
    stuck = connect(batch_size=1)
    stuck.get_token(5)
    emulator.fail(Fault(delay=30), route="events")
    lost = stuck.send_analytics_event(event(0))
    emulator.wait_for(lambda e: len(e.batches) == 1)
    with connect() as other:
        for n in range(1, 4):
            other.send_analytics_event(event(n))
            assert other.flush(5).delivered == 1
    stuck.close(timeout=0.1)
    assert isinstance(lost.exception(0), MasivoClosedError)
    assert arrived(emulator)[:3] == [1, 2, 3] or arrived(emulator)[1:] == [1, 2, 3]
    emulator.stop()


@pytest.mark.usefixtures("nervous")
@pytest.mark.parametrize("how", ["close", "destroy", "both"])
def test_every_delivery_ends_whoever_closes(connect: Connect, emulator: Emulator, how: str) -> None:
    """Threads that send, wait, flush and close at once: every delivery ends, nobody hangs."""
    for round_ in range(15):
        client = connect(batch_size=3)
        deliveries: list[Delivery] = []

        def work(index: int, client: Client = client, own: list[Delivery] = deliveries) -> None:
            if index == 0:
                client.close(5)
            elif index == 1:
                client.close(5) if how == "close" else client.destroy()
            elif index == 2 and how == "destroy":
                client.destroy()
            else:
                try:
                    for n in range(30):
                        own.append(client.send_analytics_event(event(n)))
                        if n % 10 == index:
                            client.flush(10)
                            client.drain(10)
                            client.get_token(10)
                except MasivoClosedError:
                    pass

        in_threads(6, work)
        ends = [delivery.exception(10) for delivery in deliveries]
        assert {type(end) for end in ends} <= {type(None), MasivoClosedError}, round_
        stats = client.stats()
        assert stats.delivered + stats.failed == stats.accepted
        assert stats.delivered == ends.count(None)


def test_closed_in_the_middle_of_a_stuck_request(connect: Connect, emulator: Emulator) -> None:
    """Closers, destroyers and waiters meet a stuck request: all return, all deliveries end."""
    emulator.fail(Fault(delay=30), route="events", times=None)
    client = connect(batch_size=2, max_in_flight=3)
    deliveries = [
        client.send_analytics_event(event(n, customer_id=f"c-{n % 5}")) for n in range(20)
    ]
    emulator.wait_for(lambda e: len(e.batches) == 3)
    waits: list[Callable[[], object]] = [
        lambda: client.close(0.3),
        lambda: client.close(None),
        lambda: deliveries[0].exception(10),
        lambda: deliveries[-1].exception(10),
        client.destroy,
    ]
    in_threads(5, lambda index: waits[index]())
    assert all(isinstance(each.exception(0), MasivoClosedError) for each in deliveries)
    emulator.stop()


def test_a_batch_is_never_sent_twice_at_the_end(connect: Connect, emulator: Emulator) -> None:
    """Closing again and again, from many threads, sends what waits once."""
    client = connect()
    for n in range(50):
        client.send_analytics_event(event(n))
    in_threads(8, lambda _: client.close())
    assert [sent(batch) for batch in emulator.batches] == [list(range(50))]


def test_a_far_time_can_be_waited_for() -> None:
    """A time beyond what the system's waits can count is no error: they end early instead."""
    clock = Clock()
    bell: SimpleQueue[None] = SimpleQueue()
    bell.put(None)
    clock.sleep(bell, clock.monotonic() + 1e15)
    assert bell.empty()
    bell.put(None)
    clock.wait_for(bell, clock.monotonic() + 1e15)


def test_a_request_that_is_overdue_is_looked_at_twice() -> None:
    """A request is given up only if somebody has looked after its time, and again later: after a
    freeze of the process its response may be there, for its own thread to read."""
    out = Outstanding()
    first, second = (Request(number, "GET", "http://127.0.0.1", (), b"", 1.0) for number in (1, 2))
    assert not out
    assert out.next() == inf
    out.add(first, until=10.0)
    out.add(second, until=20.0)
    assert out.next() == out.next(15.0) == 10.0 + PATIENCE
    assert out.next(5.0) == 5.0
    assert out.overdue(10.0) == []
    assert out.overdue(500.0) == []
    assert out.next() == 500.0 + PATIENCE
    out.discard(second)
    assert out.overdue(500.0) == []
    assert out.overdue(500.0 + PATIENCE) == [first]
    assert not out
    out.discard(first)


def test_a_test_that_forbids_sleeping_is_not_in_the_way(
    connect: Connect, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it puts in the place of ``time.sleep`` is not called by a wait whose time is over."""

    def forbidden(_seconds: float) -> None:
        raise AssertionError("a sleep")

    monkeypatch.setattr(time, "sleep", forbidden)
    emulator.fail(Fault(delay=0.5), route="events", times=None)
    client = connect()
    client.send_analytics_event(event())
    for _ in range(20):
        with pytest.raises(TimeoutError):
            client.flush(0.001)


def test_a_name_that_is_looked_up_for_ever_is_given_up(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system bounds how long a name is looked up; a request is not waited for beyond its
    timeout (``docs/reference/guarantees.md#timeout-of-a-request``)."""
    over = threading.Event()

    def look_up(*_: Any, flags: int = 0, **__: Any) -> Any:
        if not flags:
            over.wait(20)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    client = connect(base_url="https://slow.invalid/v1", timeout=0.2, max_retries=0)
    began = time.monotonic()
    with pytest.raises(MasivoNetworkError, match=r"within 0\.2 s"):
        client.get_token(20)
    assert time.monotonic() - began < 5
    over.set()
