"""Programs that end and fork: every event that was accepted arrives, once."""

from __future__ import annotations

import signal
import socket
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


def test_exit_with_a_healthy_server(run: Run, emulator: Emulator) -> None:
    """What is buffered when the interpreter ends is delivered."""
    said = run("""
        client = Client()
        for n in range(250):
            client.send_analytics_event(event(n))
    """)
    assert said == ""
    assert numbers(emulator) == list(range(250))


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
    assert said == "FlushResult(delivered=1, failed=0)\n"
    assert numbers(emulator) == [0, 1, 2]
    keys = [dict(each.headers)["idempotency-key"] for each in emulator.batches]
    assert len(set(keys)) == 3


@pytest.mark.full
@pytest.mark.parametrize("way", ["silent", "closed", "503"])
def test_exit_with_a_dead_server(run: Run, emulator: Emulator, way: str) -> None:
    """With a server that is dead the interpreter ends after some five seconds, and says how many
    events were lost."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        base_url = f"http://127.0.0.1:{port}/v1"
        if way == "closed":
            listener.close()
        if way == "503":
            base_url = emulator.url
            emulator.fail(Fault.unavailable(), times=None)
        said = run(
            """
            import logging
            logging.basicConfig()
            began = time.monotonic()
            atexit.register(lambda: print("seconds", time.monotonic() - began))
            client = Client()
            began = time.monotonic()
            client.send_analytics_event(event())
            """,
            base_url=base_url,
        )
    assert emulator.event_count == 0
    assert "1 event" in said


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


SLOW = [pytest.param(method, marks=pytest.mark.full) for method in ("forkserver", "spawn")]


@pytest.mark.parametrize("method", ["fork", *SLOW])
def test_multiprocessing(run: Run, emulator: Emulator, method: str) -> None:
    """Children of every kind deliver what they sent when they end; the parent what is its."""
    run(f"""
        import multiprocessing

        client = Client()

        def work(n):
            client.send_analytics_event(event(n))

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            client.send_analytics_event(event(100))
            children = [context.Process(target=work, args=(n,)) for n in range(4)]
            for child in children:
                child.start()
            for child in children:
                child.join(40)
                assert child.exitcode == 0, child
    """)
    assert numbers(emulator) == [0, 1, 2, 3, 100]


@pytest.mark.parametrize("method", ["fork", SLOW[1]])
def test_a_pool_of_processes(run: Run, emulator: Emulator, method: str) -> None:
    """The workers of a ``ProcessPoolExecutor`` deliver at the end."""
    run(f"""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        client = Client()

        def work(n):
            client.send_analytics_event(event(n))

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                list(pool.map(work, range(20)))
    """)
    assert numbers(emulator) == list(range(20))


@pytest.mark.parametrize("forks", [10, pytest.param(100, marks=pytest.mark.full)])
def test_fork_while_threads_send(run: Run, emulator: Emulator, forks: int) -> None:
    """Forks while eight threads send: no child deadlocks, none loses its event, and none sends
    its parent's."""
    said = run(f"""
        import warnings
        warnings.simplefilter("ignore")  # 3.12 warns of forks beside threads

        client = Client(batch_size=20)
        going = True

        def produce():
            while going:
                client.drain()
                client.send_analytics_event(event(-1))
                time.sleep(0.001)

        threads = [threading.Thread(target=produce) for _ in range(8)]
        for thread in threads:
            thread.start()
        for n in range({forks}):
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)  # a child that hangs is killed, and counted
                client.send_analytics_event(event(n))
                assert client.flush(15).delivered == 1
                os._exit(0)
            _, status = os.waitpid(pid, 0)
            assert status == 0, (n, status)
        going = False
        for thread in threads:
            thread.join()
        client.close(40)  # a busy machine has thousands of events left
        print(client.stats().delivered)
    """)
    arrived = numbers(emulator)
    assert [n for n in arrived if n >= 0] == list(range(forks))
    assert arrived.count(-1) == int(said)


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


def test_threads_that_are_daemons(run: Run, emulator: Emulator) -> None:
    """A daemon thread that sends until the end does not break the end."""
    run("""
        client = Client(batch_size=10)
        started = threading.Event()

        def produce():
            n = 0
            while True:
                client.send_analytics_event(event(n))
                n += 1
                started.set()
                time.sleep(0.0005)

        threading.Thread(target=produce, daemon=True).start()
        started.wait()
    """)
    arrived = numbers(emulator)
    assert arrived
    assert arrived == list(range(len(arrived)))
