"""Programs that end and fork: every event that was accepted arrives, once."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from masivo.emulator import Fault

from .programs import numbers

if TYPE_CHECKING:
    from masivo.emulator import Emulator

    from .conftest import Run
    from .programs import Program


@pytest.mark.full
def test_exit_with_a_slow_server(run: Run, emulator: Emulator) -> None:
    """A server that takes a second for each answer still gets what five seconds allow."""
    emulator.fail(Fault(delay=1.0), times=None)
    began = time.monotonic()
    run("""
        client = Client()
        for n in range(150):
            client.send_analytics_event(event(n))
    """)
    assert numbers(emulator) == list(range(150))
    assert time.monotonic() - began < 20


@pytest.mark.skipif(
    sys.version_info >= (3, 13),
    reason="CPython 3.13 itself aborts a child whose parent did not announce the fork",
)
def test_a_fork_that_python_learns_of_afterwards(run: Run, emulator: Emulator) -> None:
    """A server in C that forks, and tells Python so in the child alone, as uWSGI does with
    ``py-call-osafterfork``: the child works as after any fork."""
    said = run("""
        import ctypes

        client = Client()
        client.send_analytics_event(event(0))
        client.flush()
        child = ctypes.PyDLL(None).fork()
        if not child:
            ctypes.pythonapi.PyOS_AfterFork_Child()
            client.send_analytics_event(event(1))
            print(client.flush(), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        client.send_analytics_event(event(2))
    """)
    assert said == "FlushResult(delivered=1, failed=0, spooled=0)\n"
    assert numbers(emulator) == [0, 1, 2]
    keys = [dict(each.headers)["idempotency-key"] for each in emulator.batches]
    assert len(set(keys)) == 3


def test_sigterm_in_the_middle_of_sending(run: Run, emulator: Emulator) -> None:
    """With a handler that ends the program in order, what was accepted before arrives."""
    emulator.fail(Fault(delay=0.2), route="events", times=None)

    def terminate(program: Program) -> None:
        emulator.wait_for(lambda emulator: emulator.event_count, 30)
        program.signal(signal.SIGTERM)

    said = run(
        """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        client = Client(batch_size=50)
        n = 0
        atexit.register(lambda: print("accepted", client.stats().accepted, flush=True))
        while True:
            client.drain()
            client.send_analytics_event(event(n))
            n += 1
            if n % 50 == 0:
                time.sleep(0.1)  # a program that has something else to do
        """,
        meanwhile=terminate,
    )
    accepted = int(said.split()[1])
    arrived = numbers(emulator)
    assert arrived == list(range(len(arrived)))
    # The handler's exception may have come out of `send`, when the event was counted already.
    assert accepted - len(arrived) in (0, 1)


def test_sigterm_with_a_handler_that_closes(run: Run, emulator: Emulator) -> None:
    """A handler may close the client itself, whatever the program is doing."""

    def terminate(program: Program) -> None:
        program.says("sending")
        emulator.wait_for(lambda emulator: emulator.event_count, 30)
        program.signal(signal.SIGTERM)

    said = run(
        """
        from masivo import MasivoClosedError

        client = Client(batch_size=10)

        def end(*_):
            client.close()
            print("accepted", client.stats().accepted, flush=True)
            os._exit(0)

        signal.signal(signal.SIGTERM, end)
        print("sending", flush=True)
        n = 0
        while True:
            client.drain()
            client.send_analytics_event(event(n))
            n += 1
        """,
        meanwhile=terminate,
    )
    accepted = int(said.split()[-1])
    assert numbers(emulator) == list(range(accepted))


def test_a_signal_handler_that_sends(run: Run, emulator: Emulator) -> None:
    """A handler may send at any moment, also in the middle of the package."""
    said = run("""
        import itertools

        client = Client(batch_size=100)  # a busy machine must keep up with 1,000 events a second
        numbers = itertools.count()  # the handler may be interrupted by itself

        def send(*_):
            client.send_analytics_event(event(next(numbers)))

        signal.signal(signal.SIGALRM, send)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for _ in range(150):
            client.send_analytics_event(event(-1))
            client.flush()
        signal.setitimer(signal.ITIMER_REAL, 0)
        client.close()
        print(next(numbers), client.stats().accepted)
    """)
    count, accepted = map(int, said.split())
    arrived = numbers(emulator)
    assert [n for n in arrived if n >= 0] == list(range(count))
    assert len(arrived) == accepted


def test_a_finalizer_that_sends(run: Run, emulator: Emulator) -> None:
    """A finalizer may send while the collector runs anywhere in the package, on any thread."""
    said = run("""
        import gc

        client = Client(batch_size=5)
        count = 0
        lock = threading.Lock()

        class Cart:
            def __init__(self):
                self.myself = self  # only the collector ends it

            def __del__(self):
                global count
                client.send_analytics_event(event(0))
                count += 1

        gc.set_threshold(3)
        for _ in range(400):
            Cart()
            client.send_analytics_event(event(1))
            if _ % 50 == 0:
                client.flush()
        gc.collect()
        gc.set_threshold(10_000)
        client.close()
        print(count)
    """)
    assert int(said) == 400
    arrived = numbers(emulator)
    assert (arrived.count(0), arrived.count(1)) == (400, 400)


def test_a_thread_pool_that_shuts_down(run: Run, emulator: Emulator) -> None:
    """Tasks of a thread pool that run when the main thread has ended already can send."""
    run("""
        from concurrent.futures import ThreadPoolExecutor, thread

        client = Client()

        def work(n):
            while not thread._shutdown:  # until the interpreter is about to end
                time.sleep(0.005)
            client.send_analytics_event(event(n))

        pool = ThreadPoolExecutor(4)
        for n in range(20):
            pool.submit(work, n)
    """)
    assert numbers(emulator) == list(range(20))
