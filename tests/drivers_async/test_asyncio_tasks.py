"""The asyncio client among asyncio's own tools: tasks, groups, timeouts, debug mode."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from drivers.events import arrived, event
from drivers.programs import run

from masivo import AsyncClient, MasivoClosedError
from masivo.emulator import Emulator, Fault

from .loops import until

if TYPE_CHECKING:
    from pathlib import Path

    from masivo import AsyncDelivery, SendEventResult

STUCK = Fault(delay=60, close=True)


def client_of(emulator: Emulator, batch_size: int = 1) -> AsyncClient:
    """A client of the emulator."""
    return AsyncClient(emulator.client_key, base_url=emulator.url, batch_size=batch_size)


def test_deliveries_are_awaitables_like_any_other(emulator: Emulator) -> None:
    """gather, wait_for, shield, ensure_future and as_completed take a delivery."""

    async def main() -> None:
        async with client_of(emulator) as client:

            def send() -> AsyncDelivery:
                return client.send_analytics_event(event())

            results: list[SendEventResult] = [
                *await asyncio.gather(send(), send()),
                await asyncio.wait_for(send(), 10),
                await asyncio.shield(send()),
                await asyncio.ensure_future(send()),
                *[await each for each in asyncio.as_completed([send(), send()])],
            ]
            assert [result.status for result in results] == [200] * 7

    asyncio.run(main())


def test_wait_for_gives_up_the_wait_only(emulator: Emulator) -> None:
    """wait_for on a delivery that takes too long cancels the wait, not the event."""
    emulator.fail(Fault(delay=0.2), route="events")

    async def main() -> None:
        async with client_of(emulator) as client:
            delivery = client.send_analytics_event(event())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(delivery, 0.01)
            assert (await delivery).success

    asyncio.run(main())
    assert arrived(emulator) == [0]


def test_a_waiter_is_cancelled_in_the_instant_of_the_outcome(emulator: Emulator) -> None:
    """The event ends after a waiter was cancelled and before it could run: that harms nobody, and
    the others who wait are told."""
    emulator.fail(STUCK)

    async def main() -> None:
        client = client_of(emulator)
        delivery = client.send_analytics_event(event())
        first, second = (asyncio.ensure_future(delivery) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        client.destroy()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(MasivoClosedError):
            await second

    asyncio.run(main())


def test_a_task_cancelled_twice_while_it_leaves(emulator: Emulator) -> None:
    """An impatient second cancellation, in the grace, leaves nothing behind."""
    emulator.fail(STUCK)

    async def block() -> None:
        async with client_of(emulator) as client:
            client.send_analytics_event(event())
            await client.flush()

    async def main() -> None:
        task = asyncio.create_task(block())
        await until(emulator, lambda emulator: emulator.requests)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_task_cancelled_in_the_grace(emulator: Emulator) -> None:
    """A cancellation that comes when all has been delivered, and connections are being closed, is
    not lost: the task ends as cancelled."""
    closing, cancelled = asyncio.Event(), asyncio.Event()

    class Stubborn(httpx.AsyncHTTPTransport):
        async def aclose(self) -> None:
            closing.set()
            await cancelled.wait()
            await super().aclose()

    async def block() -> None:
        async with AsyncClient(
            emulator.client_key,
            base_url=emulator.url,
            http_client=lambda: httpx.AsyncClient(transport=Stubborn()),
        ) as client:
            client.send_analytics_event(event())

    async def main() -> None:
        task = asyncio.create_task(block())
        await closing.wait()
        task.cancel()
        await asyncio.sleep(0)
        cancelled.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert arrived(emulator) == [0]


def test_a_flush_made_but_not_awaited_does_nothing(emulator: Emulator) -> None:
    """The coroutine of a flush that nobody awaits can be closed; nothing has begun."""

    async def main() -> None:
        async with client_of(emulator, batch_size=10) as client:
            client.send_analytics_event(event())
            client.flush().close()
            await client.get_token()  # so that the driver has looked
            assert client.stats().queued == 1
        assert arrived(emulator) == [0]

    asyncio.run(main())


LOG = "import asyncio, gc, logging; logging.basicConfig(format='%(levelname)s %(message)s')\n"
"""Goes before a program: logs to the standard error."""


def test_debug_mode_finds_nothing_to_complain_about(tmp_path: Path, emulator: Emulator) -> None:
    """In asyncio's debug mode (-X dev), warnings as errors: not a word on the standard error."""
    ended = run(
        tmp_path,
        emulator,
        """
        async def main():
            asyncio.get_running_loop().slow_callback_duration = 60
            client = masivo.AsyncClient(batch_size=10)
            async with client:
                deliveries = [client.send_analytics_event(event(n)) for n in range(100)]
                await client.flush()
                token = await client.get_token(timeout=10)
                await client.drain()
                await asyncio.gather(*deliveries)
                try:
                    await asyncio.wait_for(client.send_analytics_event(event()), 0.001)
                except TimeoutError:
                    pass
            forgotten = masivo.AsyncClient()
            delivery = forgotten.send_analytics_event(event(100))
            del forgotten
            gc.collect()
            assert (await delivery).success
            try:
                async with masivo.AsyncClient() as client:
                    raise KeyError
            except KeyError:
                pass

        asyncio.run(main())
        gc.collect()
        """,
        prelude=LOG,
        options=("-X", "dev", "-W", "error"),
    )
    assert (ended.code, ended.err) == (0, "")
    assert sorted(set(arrived(emulator))) == list(range(101))


def test_a_program_that_leaves_a_client_open(tmp_path: Path, emulator: Emulator) -> None:
    """asyncio.run ends with an open client in a program that set logging up: one line tells how
    many events were lost, and nothing else is said."""
    emulator.fail(STUCK)
    ended = run(
        tmp_path,
        emulator,
        """
        async def main():
            asyncio.get_running_loop().slow_callback_duration = 60
            global client
            client = masivo.AsyncClient(batch_size=2)
            for n in range(5):
                client.send_analytics_event(event(n))
            while not client.stats().authorizations:
                await asyncio.sleep(0)

        asyncio.run(main())
        """,
        prelude=LOG,
        options=("-X", "dev"),
    )
    assert ended.err.splitlines() == [
        (
            "WARNING 5 events were not sent: the event loop was closed, and the client was not "
            "(use 'async with', or await aclose())"
        )
    ]


def test_a_program_that_never_closes_its_loop(tmp_path: Path, emulator: Emulator) -> None:
    """A loop that is neither run to its end nor closed: the lost events are counted at exit."""
    emulator.fail(STUCK)
    ended = run(
        tmp_path,
        emulator,
        """
        client = masivo.AsyncClient(batch_size=2)

        async def main():
            for n in range(5):
                client.send_analytics_event(event(n))
            while not client.stats().authorizations:
                await asyncio.sleep(0)

        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        """,
        prelude=LOG,
    )
    assert "WARNING 5 events were not sent: the interpreter exited" in ended.err


def test_a_forked_child_leaves_the_events_to_its_parent(tmp_path: Path, emulator: Emulator) -> None:
    """After a fork between two runs of a loop the deliveries have ended in the child, and its end
    says nothing and sends nothing, but a client of its own works; the parent delivers."""
    ended = run(
        tmp_path,
        emulator,
        """
        client = masivo.AsyncClient()

        async def begin():
            await client.get_token()
            return client.send_analytics_event(event())

        async def send():
            try:
                await delivery
            except masivo.MasivoClosedError as error:
                assert "forked" in str(error)
            async with masivo.AsyncClient() as own:
                own.send_analytics_event(event(1))

        async def end():
            await client.flush()
            print((await delivery).status)

        loop = asyncio.new_event_loop()
        delivery = loop.run_until_complete(begin())
        if not (child := os.fork()):
            assert delivery.done() and "forked" in repr(delivery)
            client.destroy()
            asyncio.run(send())
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        loop.run_until_complete(end())
        loop.run_until_complete(client.aclose())
        loop.close()
        """,
        prelude=LOG,
    )
    assert ended.out.split() == ["7", "200"]
    assert "not sent" not in ended.err
    assert arrived(emulator) == [1, 0]
