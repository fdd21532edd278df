"""How an asyncio loop and a client in it can end, and which loop a client belongs to."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
import uvloop
from drivers.events import arrived, event

import masivo
from masivo import AsyncClient, _process
from masivo._async import on_asyncio, session
from masivo._async.on_asyncio import AsyncioSession
from masivo._async.session import LOOP_CLOSED
from masivo.emulator import Emulator, Fault
from masivo.protocol import Engine

from .loops import error_of, eventually, logged, session_of, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from masivo import AsyncDelivery
    from masivo.protocol import Request

STUCK = Fault(delay=60, close=True)
CLOSED = masivo.MasivoClosedError

# A loop that is closed without a word leaves its sockets open; asyncio says so, rightly. (Told as
# an error, that keeps uvloop from closing the loop at all.)
CLOSED_ROUGHLY = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes loops of either kind."""
    make: Callable[[], asyncio.AbstractEventLoop] = request.param
    return make


@pytest.fixture
def run(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Callable[..., Any]:
    """``asyncio.run`` on either kind of loop."""

    def run(main: Coroutine[Any, Any, object]) -> object:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main)

    return run


@pytest.fixture
def client(emulator: Emulator) -> AsyncClient:
    """A client that is made before any loop runs."""
    return AsyncClient(emulator.client_key, base_url=emulator.url, batch_size=2)


def test_a_client_is_made_before_the_loop_runs(
    emulator: Emulator, client: AsyncClient, run: Callable[..., Any]
) -> None:
    """A client made outside of any loop belongs to the one of its first use."""

    async def main() -> None:
        async with client:
            client.send_analytics_event(event())

    with pytest.raises(RuntimeError, match="running event loop"):
        client.send_analytics_event(event())
    run(main())
    assert arrived(emulator) == [0]


def test_use_from_a_second_loop_is_a_clear_error(
    emulator: Emulator, client: AsyncClient, run: Callable[..., Any]
) -> None:
    """A client, and a delivery without an outcome, say to which loop they belong."""
    emulator.fail(STUCK)

    async def elsewhere(delivery: AsyncDelivery) -> None:
        with pytest.raises(RuntimeError, match="event loop of its first use"):
            client.send_analytics_event(event())
        for call in (client.flush, client.drain, client.get_token, client.aclose):
            with pytest.raises(RuntimeError, match="event loop of its first use"):
                await call()
        with pytest.raises(RuntimeError, match="event loop of its first use"):
            await delivery
        assert not delivery.done()

    async def main() -> None:
        delivery = client.send_analytics_event(event())
        await asyncio.to_thread(run, elsewhere(delivery))
        client.send_analytics_event(event())  # what was refused has changed nothing
        client.destroy()
        await client.aclose()

    run(main())


def test_use_from_another_thread_is_a_clear_error(
    emulator: Emulator, client: AsyncClient, run: Callable[..., Any]
) -> None:
    """Sending from a thread that runs no loop says so, and changes nothing."""

    async def main() -> None:
        async with client:
            client.send_analytics_event(event(1))
            with pytest.raises(RuntimeError, match="no event loop is running here"):
                await asyncio.to_thread(client.send_analytics_event, event(2))

    run(main())
    assert arrived(emulator) == [1]


def test_destroy_from_another_thread(
    emulator: Emulator, client: AsyncClient, run: Callable[..., Any]
) -> None:
    """destroy() may be called anywhere: the loop's own thread ends the deliveries."""
    emulator.fail(STUCK)

    async def main() -> None:
        delivery = client.send_analytics_event(event())
        await until(emulator, lambda emulator: emulator.requests)
        await asyncio.to_thread(client.destroy)
        with pytest.raises(CLOSED):
            await delivery

    run(main())


def test_a_loop_that_ends_right_after_destroy(
    emulator: Emulator, client: AsyncClient, run: Callable[..., Any]
) -> None:
    """destroy() as the last call of asyncio.run: connections are closed all the same."""

    async def main() -> None:
        client.send_analytics_event(event())
        await client.flush()
        emulator.fail(STUCK)
        client.send_analytics_event(event())
        flush = asyncio.create_task(client.flush())
        await until(emulator, lambda emulator: len(emulator.batches) == 2)
        client.destroy()
        await flush

    run(main())


def test_a_loop_that_ends_before_its_client(
    emulator: Emulator,
    client: AsyncClient,
    run: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A client left open when asyncio.run ends: each delivery has its outcome, one warning counts
    the events that were not sent, connections are closed, and the client can still be closed."""
    deliveries: list[AsyncDelivery] = []

    async def main() -> None:
        client.send_analytics_event(event())
        await client.flush()  # so that there is a connection
        emulator.fail(STUCK, route="events")
        deliveries.extend(client.send_analytics_event(event(n)) for n in range(5))
        await until(emulator, lambda emulator: len(emulator.batches) == 2)

    async def afterwards() -> None:
        client.destroy()
        await client.aclose()
        for delivery in deliveries:
            with pytest.raises(CLOSED):
                await delivery

    run(main())
    assert [type(error_of(each)) for each in deliveries] == [CLOSED] * 5
    assert logged(caplog) == [f"5 events were not sent: {LOOP_CLOSED}"]
    run(afterwards())
    client.destroy()


@CLOSED_ROUGHLY
@pytest.mark.parametrize(
    "moment", ["before the driver ran", "idle", "with a request out", "with a caller that waits"]
)
def test_a_loop_that_is_closed_with_its_tasks_unfinished(
    emulator: Emulator,
    client: AsyncClient,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    caplog: pytest.LogCaptureFixture,
    moment: str,
) -> None:
    """loop.stop() and loop.close() with no task cancelled: the same, at the moment of close()."""
    emulator.fail(STUCK)
    deliveries: list[AsyncDelivery] = []
    flushes: list[asyncio.Task[object]] = []

    async def main() -> None:
        deliveries.extend(client.send_analytics_event(event(n)) for n in range(3))
        if moment == "with a caller that waits":
            flushes.append(loop.create_task(client.flush()))
            # It is left unfinished here.
            setattr(flushes[0], "_log_destroy_pending", False)  # noqa: B010 (not in its stubs)
        if moment.startswith("with"):
            await until(emulator, lambda emulator: emulator.requests)
        elif moment == "before the driver ran":
            loop.stop()

    loop = new_loop()
    task = loop.create_task(main())
    task.add_done_callback(lambda _: loop.stop())
    loop.run_forever()
    assert not deliveries[0].done()
    loop.close()
    assert [type(error_of(each)) for each in deliveries] == [CLOSED] * 3
    assert logged(caplog) == [f"3 events were not sent: {LOOP_CLOSED}"]
    client.destroy()
    emulator.stop()


@CLOSED_ROUGHLY
def test_a_loop_that_keeps_its_timers(
    emulator: Emulator,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A loop of another make may keep them when it is closed, so that nothing tells of its end: its
    sessions end when something would wake it, such as the end of a client."""

    def unheard() -> Callable[[], None]:
        return lambda: None

    monkeypatch.setattr(on_asyncio, "_LastWord", unheard)
    deliveries: list[AsyncDelivery] = []

    async def main() -> AsyncClient:
        client = AsyncClient(emulator.client_key, base_url=emulator.url)
        deliveries.append(client.send_analytics_event(event()))
        return client

    loop = new_loop()
    client = loop.run_until_complete(main())
    loop.close()
    assert not deliveries[0].done()
    del client
    gc.collect()
    assert isinstance(error_of(deliveries[0]), CLOSED)
    assert logged(caplog) == [f"1 event was not sent: {LOOP_CLOSED}"]


def test_a_loop_that_runs_once_more_at_the_exit(
    client: AsyncClient,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exit ends the sessions of a loop that stands still. If a function of the application
    that is called after that runs the loop again, what had not begun there ends in peace."""
    deliveries: list[AsyncDelivery] = []

    async def main() -> None:
        deliveries.append(client.send_analytics_event(event()))
        loop.stop()

    loop = new_loop()
    task = loop.create_task(main())
    loop.run_forever()
    monkeypatch.setattr(_process, "exiting", False)  # and as it was after the test
    _process._flush()
    monkeypatch.undo()
    assert isinstance(error_of(deliveries[0]), CLOSED)
    loop.run_until_complete(task)
    driving = cast("AsyncioSession", session_of(client)).task
    assert driving is not None
    loop.run_until_complete(driving)
    loop.close()
    assert logged(caplog) == ["1 event was not sent: the interpreter exited"]


def test_a_failure_dropped_after_the_end_of_its_loop_is_logged(
    emulator: Emulator,
    client: AsyncClient,
    run: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A failure that nobody asks about is logged, though its loop is closed by then."""
    emulator.fail(Fault(status=404), route="events", times=None)
    kept: list[AsyncDelivery] = []

    async def main() -> None:
        async with client:
            kept.append(client.send_analytics_event(event()))

    run(main())
    assert not logged(caplog)
    kept.clear()
    assert "1 event was not delivered" in logged(caplog)[0]


@CLOSED_ROUGHLY
def test_a_client_that_outlives_its_closed_loop(
    emulator: Emulator, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A client that is forgotten after its loop was closed goes, and complains of nothing."""

    # Not by a fixture: pytest would hold it, and its sockets, into the next test.
    async def main() -> AsyncClient:
        client = AsyncClient(emulator.client_key, base_url=emulator.url)
        client.send_analytics_event(event())
        await client.flush()
        return client

    loop = new_loop()
    client = loop.run_until_complete(main())
    loop.close()
    with pytest.raises(RuntimeError, match="no event loop is running here"):
        client.send_analytics_event(event())
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None


@CLOSED_ROUGHLY
def test_a_client_between_two_runs_of_its_loop(
    emulator: Emulator,
    client: AsyncClient,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """A loop may be run in parts: what is buffered goes on in the next; destroy works between.
    The calls that wait can be made between them, and run in the next."""

    async def send() -> AsyncDelivery:
        return client.send_analytics_event(event())

    async def wait(delivery: AsyncDelivery) -> None:
        await client.flush()
        assert (await delivery).success

    loop = new_loop()
    try:
        delivery = loop.run_until_complete(send())
        loop.run_until_complete(wait(delivery))
        loop.run_until_complete(client.flush())
        loop.run_until_complete(client.drain())
        late = loop.run_until_complete(send())
        client.destroy()
        assert isinstance(error_of(late), CLOSED)
        loop.run_until_complete(client.aclose())
    finally:
        loop.close()
    assert arrived(emulator) == [0]


def test_a_forgotten_client_delivers(emulator: Emulator, run: Callable[..., Any]) -> None:
    """A client that is collected unclosed in a running loop delivers what it holds, then goes."""

    async def main() -> None:
        client = AsyncClient(emulator.client_key, base_url=emulator.url)
        delivery = client.send_analytics_event(event())
        del client
        gc.collect()
        assert (await delivery).success
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait_for(asyncio.gather(*others), 10)

    run(main())
    assert arrived(emulator) == [0]


def test_a_client_forgotten_in_another_thread_delivers(
    emulator: Emulator, run: Callable[..., Any]
) -> None:
    """The garbage collector may run in any thread: the client's loop does the work."""

    async def main() -> None:
        held = [AsyncClient(emulator.client_key, base_url=emulator.url)]
        delivery = held[0].send_analytics_event(event())
        await until(emulator, lambda emulator: emulator.authorizations)
        await asyncio.to_thread(held.clear)
        assert (await asyncio.wait_for(_result(delivery), 10)).success

    run(main())


async def _result(delivery: AsyncDelivery) -> masivo.SendEventResult:
    return await delivery


def test_finalizers_that_send_during_a_poll(
    emulator: Emulator,
    client: AsyncClient,
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A finalizer that runs in the middle of a poll may send; the event is delivered."""
    step = Engine._run
    sent: list[int] = []

    class Sends:
        def __del__(self) -> None:
            client.send_analytics_event(event(len(sent)))
            sent.append(len(sent))

    def collecting(self: Engine) -> None:
        if len(sent) < 50:
            Sends()
        step(self)

    async def main() -> None:
        async with client:
            client.send_analytics_event(event(1000))
            while len(sent) < 50:
                await client.flush()

    monkeypatch.setattr(Engine, "_run", collecting)
    run(main())
    assert sorted(arrived(emulator)) == [*range(50), 1000]


def test_a_signal_handler_may_send(
    emulator: Emulator, client: AsyncClient, run: Callable[..., Any]
) -> None:
    """A handler in the main thread sends while the loop waits for its sockets: it is woken."""
    deliveries: list[AsyncDelivery] = []

    def on_signal(_number: int, _frame: object) -> None:
        deliveries.extend(client.send_analytics_event(event(n)) for n in range(2))

    async def main() -> None:
        async with client:
            timer = threading.Timer(0.1, signal.pthread_kill, [main_thread, signal.SIGUSR1])
            timer.start()
            await until(emulator, lambda emulator: emulator.event_count == 2)
            timer.join()

    main_thread = threading.main_thread().ident
    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        run(main())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [delivery.done() for delivery in deliveries] == [True] * 2


def test_two_loops_in_two_threads(emulator: Emulator, run: Callable[..., Any]) -> None:
    """Loops in different threads have tokens of their own and do not disturb each other."""
    barrier = threading.Barrier(2)

    async def main(first: int) -> None:
        client = AsyncClient(emulator.client_key, base_url=emulator.url, batch_size=10)
        async with client:
            barrier.wait(10)
            for n in range(first, first + 500):
                client.send_analytics_event(event(n))
                if n % 50 == 0:
                    await client.flush()
        assert client.stats().delivered == 500

    threads = [threading.Thread(target=run, args=[main(first)]) for first in (0, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert sorted(arrived(emulator)) == list(range(1000))
    assert len(emulator.authorizations) == 2


def test_when_every_task_is_cancelled(
    emulator: Emulator, run: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Code that cancels every task of a loop that goes on ends the client, not the loop: its
    deliveries have their outcome, and a new client works."""
    emulator.fail(STUCK, route="events")

    async def main() -> None:
        client = AsyncClient(emulator.client_key, base_url=emulator.url, batch_size=1)
        delivery = client.send_analytics_event(event(1))
        await until(emulator, lambda emulator: emulator.batches)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(CLOSED):
            await delivery
        with pytest.raises(CLOSED):
            client.send_analytics_event(event(2))
        await client.aclose()
        async with AsyncClient(emulator.client_key, base_url=emulator.url) as client:
            client.send_analytics_event(event(3))

    run(main())
    assert arrived(emulator) == [3]
    assert len(logged(caplog)) == 1


def test_a_request_whose_task_is_cancelled(emulator: Emulator, run: Callable[..., Any]) -> None:
    """A stranger who cancels the task of a request, even before it began, cuts off that try only:
    it is repeated."""

    async def main() -> None:
        client = AsyncClient(emulator.client_key, base_url=emulator.url, batch_size=1)
        async with client:
            delivery = client.send_analytics_event(event())
            cancelled = 0
            while cancelled < 2:
                await asyncio.sleep(0)
                for task in asyncio.all_tasks():
                    if task.get_name() == "masivo-request":
                        cancelled += task.cancel()
            assert (await delivery).success

    run(main())
    assert arrived(emulator) == [0]


def test_a_task_that_is_cancelled_with_its_second_request(
    emulator: Emulator, run: Callable[..., Any]
) -> None:
    """One task sends batch after batch: what is repeated is what it was sending."""
    emulator.fail(Fault(delay=0.5), route="events", number=2)

    async def main() -> None:
        client = AsyncClient(emulator.client_key, base_url=emulator.url, batch_size=1)
        async with client:
            first, second = (client.send_analytics_event(event(n)) for n in range(2))
            assert (await first).success
            await until(emulator, lambda emulator: len(emulator.batches) == 2)
            (task,) = (t for t in asyncio.all_tasks() if t.get_name() == "masivo-request")
            task.cancel()
            assert (await second).success

    run(main())
    assert arrived(emulator) == [0, 1, 1]


class Slow(httpx.AsyncBaseTransport):
    """A transport whose requests take several turns of the loop to clean up; notes its steps."""

    def __init__(self) -> None:
        self.out = asyncio.Event()
        self.steps: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx: grants a token, and hangs for anything else."""
        if request.method == "GET":
            return httpx.Response(200, json={"data": "a-token"})
        self.out.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            self.steps.append("cleaned up")
        raise AssertionError

    async def aclose(self) -> None:
        """See httpx."""
        self.steps.append("closed")


@pytest.mark.parametrize("end", ["its last client is gone", "the loop ends"])
def test_an_http_client_is_closed_when_its_requests_are_over(
    run: Callable[..., Any], end: str
) -> None:
    """However a session ends, what is out is broken off once, and has cleaned up before the HTTP
    client that a function made is closed."""
    slow = Slow()

    async def main() -> AsyncClient:
        client = AsyncClient(
            "a-key", http_client=lambda: httpx.AsyncClient(transport=slow), batch_size=1
        )
        client.send_analytics_event(event())
        await slow.out.wait()
        if end != "the loop ends":
            client.destroy()
            await client.aclose()
            assert slow.steps == ["cleaned up", "closed"]
        return client

    run(main())
    assert slow.steps == ["cleaned up", "closed"]


def test_no_task_outlives_the_last_client(run: Callable[..., Any], client: AsyncClient) -> None:
    """The response that ends a close ends the task that drives the client, too, at once."""

    async def main() -> None:
        client.send_analytics_event(event(1))
        await client.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def interrupt(main: Coroutine[Any, Any, None]) -> None:
    """Run what Ctrl-C breaks off, in a loop that does not catch it, and go on until it is still."""
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(main)
    finally:
        loop.run_until_complete(eventually(lambda: len(asyncio.all_tasks(loop)) == 1))
        loop.close()


def test_an_interrupt_while_an_answer_is_looked_at(
    emulator: Emulator, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between an answer and what follows from it, in a loop that does not catch it: every
    delivery has its outcome."""

    def interrupted(output: object, *others: object) -> None:
        settle(output, *others)
        if emulator.batches:
            monkeypatch.undo()
            raise KeyboardInterrupt

    settle = vars(session)["settle"]
    monkeypatch.setattr(session, "settle", interrupted)
    deliveries: list[AsyncDelivery] = []

    async def main() -> None:
        deliveries.extend(client.send_analytics_event(event(n)) for n in range(2))
        await deliveries[-1]

    interrupt(main())
    assert [delivery.done() for delivery in deliveries] == [True, True]


def test_an_interrupt_at_the_start_of_a_request(
    emulator: Emulator, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C when a task has been given its request, and before it began with it: every delivery
    has its outcome all the same."""
    carry_out = AsyncioSession.carry_out

    async def interrupted(self: AsyncioSession, request: Request) -> Request | None:
        if deliveries and deliveries[0].done():
            raise KeyboardInterrupt
        return await carry_out(self, request)

    monkeypatch.setattr(AsyncioSession, "carry_out", interrupted)
    deliveries: list[AsyncDelivery] = []

    async def main() -> None:
        await client.get_token()
        deliveries.extend(client.send_analytics_event(event(n)) for n in range(250))
        await deliveries[-1]

    interrupt(main())
    assert deliveries[0].done()
    assert isinstance(error_of(deliveries[-1]), CLOSED)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
def test_a_hook_of_the_callers_client_in_a_task_that_begins_at_once(emulator: Emulator) -> None:
    """A hook of the caller's ``http_client`` may use the client, where tasks are eager too."""

    async def main() -> None:
        factory: Any = vars(asyncio)["eager_task_factory"]
        asyncio.get_running_loop().set_task_factory(factory)

        async def hook(request: httpx.Request) -> None:
            request.headers["x-length"] = str(len(await own.get_token()))

        async with httpx.AsyncClient() as http:
            own = AsyncClient(
                emulator.client_key,
                base_url=emulator.url,
                http_client=http,
                batch_size=1,
                max_retries=0,
            )
            await own.get_token()
            http.event_hooks = {"request": [hook]}
            async with own:
                assert (await own.send_analytics_event(event())).success

    asyncio.run(main())
    assert arrived(emulator) == [0]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
def test_tasks_that_begin_at_once(emulator: Emulator, client: AsyncClient) -> None:
    """The client works in a loop whose tasks are eager."""

    async def main() -> None:
        factory: Any = vars(asyncio)["eager_task_factory"]
        asyncio.get_running_loop().set_task_factory(factory)
        async with client:
            for n in range(5):
                client.send_analytics_event(event(n))
            await client.flush()
        async with AsyncClient(emulator.client_key, base_url=emulator.url) as other:
            await other.get_token()

    asyncio.run(main())
    assert arrived(emulator) == list(range(5))


def test_keyboard_interrupt_in_asyncio_run(
    emulator: Emulator, client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Ctrl-C leaves the block at once; every delivery has its outcome."""
    emulator.fail(STUCK)
    deliveries: list[AsyncDelivery] = []

    async def main() -> None:
        async with client:
            deliveries.append(client.send_analytics_event(event()))
            await until(emulator, lambda emulator: emulator.requests)
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert isinstance(error_of(deliveries[0]), CLOSED)
    assert len(logged(caplog)) == 1
