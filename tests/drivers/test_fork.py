"""Forks: the parent sends its events, once; the child works, with an engine of its own
(``docs/reference/guarantees.md#forks``).

All of it runs in processes of its own: the test's has threads of the emulator, which must not be
forked. From Python 3.12 on, a fork beside threads is a DeprecationWarning; the package is made for
it, so the programs switch that one off.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from masivo.emulator import Emulator, Fault

from .events import arrived
from .programs import Ended, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")

FORK = """
import warnings
warnings.filterwarnings("ignore", "This process", DeprecationWarning)

def fork(child):
    pid = os.fork()
    if not pid:
        code = 1
        try:
            child()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return pid

def reap(pid):
    deadline = time.monotonic() + 20
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0, status
            return
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGABRT)  # faulthandler shows where it hangs
            os.waitpid(pid, 0)
            raise SystemExit("the child hangs")
        time.sleep(0.002)

"""


def fork(folder: Path, emulator: Emulator, program: str) -> Ended:
    """Run a program that forks; it must end well and say nothing on the standard error."""
    # The program is indented as it stands in the test; FORK is not.
    ended = run(folder, emulator, program, prelude=FORK)
    assert ended.code == 0, ended.err
    return ended


def test_each_event_arrives_once(tmp_path: Path, emulator: Emulator) -> None:
    """The parent's buffered events are the parent's to send, the child's are the child's."""
    fork(
        tmp_path,
        emulator,
        """
        client = Client()
        for n in range(10):
            client.send_analytics_event(event(n))

        def child():
            assert client.stats().accepted == 0
            for n in range(100, 110):
                client.send_analytics_event(event(n))
            assert client.flush(10).delivered == 10

        pid = fork(child)
        reap(pid)
        client.send_analytics_event(event(10))
        assert client.flush(10).delivered == 11
        """,
    )
    assert sorted(arrived(emulator)) == [*range(11), *range(100, 110)]
    assert len(emulator.authorizations) == 2


def test_a_fork_in_every_state(tmp_path: Path, emulator: Emulator) -> None:
    """Before any event, with a worker asleep, in the middle of a request, between repeats, after
    the close: the child works, and nothing of the parent's is lost or sent twice."""
    fork(
        tmp_path,
        emulator,
        """
        client = Client(batch_size=5)
        sent = 0

        def child():
            client.send_analytics_event(event(-1))
            assert client.flush(10).delivered == 1

        def send(count):
            global sent
            for _ in range(count):
                client.send_analytics_event(event(sent))
                sent += 1

        reap(fork(child))       # nothing yet
        send(1)
        reap(fork(child))       # authorizing
        client.flush(10)
        reap(fork(child))       # asleep
        send(7)
        reap(fork(child))       # sending, and a rest in the buffer
        client.flush(10)
        client.close()

        def refused():
            try:
                client.send_analytics_event(event())
            except masivo.MasivoClosedError:
                client.close()
                client.destroy()
                child_client = Client()
                child_client.send_analytics_event(event(-1))
                assert child_client.flush(10).delivered == 1
                return
            raise AssertionError("a closed client is closed in the child too")

        reap(fork(refused))
        print(sent)
        """,
    )
    numbers = arrived(emulator)
    assert sorted(n for n in numbers if n >= 0) == list(range(8))
    assert numbers.count(-1) == 5


def test_inherited_deliveries_end_in_the_child(tmp_path: Path, emulator: Emulator) -> None:
    """What is unfinished at the fork ends with MasivoClosedError in the child, at once, for who
    waits and who looks; what is finished stays; the parent's own are not touched."""
    fork(
        tmp_path,
        emulator,
        """
        client = Client()
        done = client.send_analytics_event(event(0))
        client.flush(10)
        pending = client.send_analytics_event(event(1))

        def child():
            assert done.result(0).success
            assert pending.done()
            for _ in range(2):
                assert isinstance(pending.exception(0), masivo.MasivoClosedError)
                try:
                    pending.result()
                except masivo.MasivoClosedError as error:
                    assert "fork" in error.message
                else:
                    raise AssertionError
            assert "fork" in repr(pending)

        reap(fork(child))
        assert not pending.done()
        client.flush(10)
        assert pending.result(0).success
        """,
    )
    assert arrived(emulator) == [0, 1]


def test_a_client_that_was_closing_is_closed_in_the_child(
    tmp_path: Path, emulator: Emulator
) -> None:
    """A fork while another thread is inside ``close``: in the child the client is closed, its
    deliveries have ended, and closing it once more neither waits nor sends."""
    emulator.fail(Fault(delay=1), route="events")
    fork(
        tmp_path,
        emulator,
        """
        client = Client(batch_size=1)
        client.get_token(10)
        pending = client.send_analytics_event(event(1))
        closer = threading.Thread(target=client.close)
        closer.start()
        while not repr(client).endswith("closed>"):
            time.sleep(0.001)

        def child():
            began = time.monotonic()
            client.close()
            client.destroy()
            assert isinstance(pending.exception(5), masivo.MasivoClosedError)
            assert time.monotonic() - began < 0.5

        reap(fork(child))
        closer.join(10)
        assert pending.result(0).success
        """,
    )
    assert arrived(emulator) == [1]


def test_a_child_of_a_child(tmp_path: Path, emulator: Emulator) -> None:
    """Generations of forks work like one."""
    fork(
        tmp_path,
        emulator,
        """
        client = Client()
        client.send_analytics_event(event(0))

        def generation(n):
            client.send_analytics_event(event(n))
            if n < 4:
                reap(fork(lambda: generation(n + 1)))
            assert client.flush(10).delivered == 1

        reap(fork(lambda: generation(1)))
        assert client.flush(10).delivered == 1
        """,
    )
    assert sorted(arrived(emulator)) == [0, 1, 2, 3, 4]


def test_an_http_client_cannot_be_inherited(tmp_path: Path, emulator: Emulator) -> None:
    """An ``http_client`` object holds the parent's sockets: in the child events fail with a
    MasivoConfigError that says to pass a function. The parent goes on."""
    fork(
        tmp_path,
        emulator,
        """
        import httpx
        mine = httpx.Client()
        client = Client(http_client=mine)
        client.send_analytics_event(event(0))
        client.flush(10)

        def child():
            error = client.send_analytics_event(event(9)).exception(10)
            assert isinstance(error, masivo.MasivoConfigError), error
            assert "pass a function that makes one" in error.message
            assert "httpx.Client(...)" in error.message
            with Client(http_client=lambda: httpx.Client()) as other:
                other.send_analytics_event(event(2))
                assert other.flush(10).delivered == 1

        reap(fork(child))
        client.send_analytics_event(event(1))
        assert client.flush(10).delivered == 1
        client.close()
        mine.close()
        """,
    )
    assert sorted(arrived(emulator)) == [0, 1, 2]


def test_a_function_makes_one_in_each_process(tmp_path: Path, emulator: Emulator) -> None:
    """With a function, each process has an HTTP client of its own."""
    fork(
        tmp_path,
        emulator,
        """
        import httpx
        made = []

        def make():
            made.append(os.getpid())
            return httpx.Client(headers={"x-process": str(os.getpid())})

        client = Client(http_client=make)
        client.send_analytics_event(event(0))
        client.flush(10)

        def child():
            client.send_analytics_event(event(1))
            assert client.flush(10).delivered == 1
            assert made == [os.getppid(), os.getpid()]

        reap(fork(child))
        client.close()
        """,
    )
    assert arrived(emulator) == [0, 1]
    assert len({request.headers["x-process"] for request in emulator.requests}) == 2


def test_no_fork_cuts_the_making_of_an_http_client_in_two(
    tmp_path: Path, emulator: Emulator
) -> None:
    """A fork waits until a client that another thread makes is whole: half of it, such as an import
    under way, would block the child for ever."""
    fork(
        tmp_path,
        emulator,
        """
        import httpx
        making, forking, forked = threading.Event(), threading.Event(), threading.Event()
        half = []

        def make():
            half.append(1)
            making.set()
            assert forking.wait(20)
            # Whatever does not wait for this is done long before.
            forked.wait(0.5)
            half.clear()
            return httpx.Client()

        # Registered later than the package's own, and so called before it.
        os.register_at_fork(before=forking.set, after_in_parent=forked.set)
        client = Client(http_client=make)
        client.send_analytics_event(event(1))
        sending = threading.Thread(target=client.flush, args=(20,))
        sending.start()
        assert making.wait(20)

        def child():
            assert half == []

        reap(fork(child))
        sending.join()
        client.close()
        """,
    )
    assert arrived(emulator) == [1]


def test_forks_while_threads_are_sending(tmp_path: Path, emulator: Emulator) -> None:
    """Fifty forks beside eight senders and a few that make and close clients: no deadlock in
    parent or child, and every event arrives once."""
    ended = fork(
        tmp_path,
        emulator,
        """
        client = Client(batch_size=20)
        stop = threading.Event()
        counts = [0] * 8

        def send(index):
            while not stop.is_set() and counts[index] < 5000:
                client.send_analytics_event(event(index * 10_000 + counts[index]))
                counts[index] += 1
                if counts[index] % 50 == 0:
                    client.drain(20)
                    client.flush(20)

        def churn():
            while not stop.is_set():
                with Client(batch_size=2) as other:
                    other.send_analytics_event(event(900_000))

        def child():
            client.send_analytics_event(event(-1))
            assert client.flush(20).delivered == 1
            client.close()

        threads = [threading.Thread(target=send, args=(index,)) for index in range(8)]
        threads.append(threading.Thread(target=churn))
        for thread in threads:
            thread.start()
        pids = []
        for n in range(50):
            pids.append(fork(child if n % 10 == 0 else lambda: client.destroy()))
            if len(pids) == 5:
                reap(pids.pop(0))
        for pid in pids:
            reap(pid)
        stop.set()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        client.flush(20)
        client.close()
        print(*counts)
        """,
    )
    counts = [int(count) for count in ended.out.split()]
    numbers = arrived(emulator)
    expected = [index * 10_000 + n for index, count in enumerate(counts) for n in range(count)]
    assert sorted(n for n in numbers if 0 <= n < 900_000) == expected
    assert numbers.count(-1) == 5


@pytest.mark.parametrize(
    "method",
    ["fork", *(pytest.param(each, marks=pytest.mark.full) for each in ("forkserver", "spawn"))],
)
def test_children_of_multiprocessing_flush_at_exit(
    tmp_path: Path, emulator: Emulator, method: str
) -> None:
    """A process of ``multiprocessing`` that just returns has its events delivered, whether it
    uses an inherited client or makes one."""
    fork(
        tmp_path,
        emulator,
        f"""
        import multiprocessing
        client = None

        def work(n):
            mine = client if client is not None else Client()
            for each in range(5):
                mine.send_analytics_event(event(n * 10 + each))

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            client = Client()
            client.send_analytics_event(event(0))
            processes = [context.Process(target=work, args=(n,)) for n in (1, 2)]
            for process in processes:
                process.start()
            for process in processes:
                process.join(20)
                assert process.exitcode == 0, process.exitcode
            assert client.flush(10).delivered == 1
        """,
    )
    assert sorted(arrived(emulator)) == [0, *range(10, 15), *range(20, 25)]


def test_a_child_of_multiprocessing_says_what_it_lost(tmp_path: Path, emulator: Emulator) -> None:
    """Where no logging is set up, the warning is printed at the end of the child, as at that of any
    other process. Its clients are closed once, however many there are."""
    emulator.fail(Fault(status=403), route="events", times=None)
    ended = fork(
        tmp_path,
        emulator,
        """
        import multiprocessing
        from masivo import _process

        def deliver(clients, close=_process.deliver):
            if clients:
                print("clients:", len(clients))
            close(clients)

        clients = []

        def work():
            _process.deliver = deliver
            clients.append(Client(base_url=f"{os.environ['MASIVO_BASE_URL']}/other"))
            clients.append(Client())
            for n, client in enumerate(clients):
                client.send_analytics_event(event(n))

        if __name__ == "__main__":
            process = multiprocessing.get_context("fork").Process(target=work)
            process.start()
            process.join(20)
            assert process.exitcode == 0, process.exitcode
        """,
    )
    assert ended.err.count("masivo: 1 event was not delivered (MasivoError, HTTP 403") == 1
    assert ended.out == "clients: 2\n"


def test_a_pool_of_processes(tmp_path: Path, emulator: Emulator) -> None:
    """Workers of a process pool send as they like; what they flush or leave at the end arrives."""
    fork(
        tmp_path,
        emulator,
        """
        from concurrent.futures import ProcessPoolExecutor
        import multiprocessing
        client = Client()

        def work(n):
            client.send_analytics_event(event(n))
            return n

        if __name__ == "__main__":
            client.send_analytics_event(event(1000))
            context = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(3, mp_context=context) as pool:
                assert sorted(pool.map(work, range(30), timeout=20)) == list(range(30))
        """,
    )
    assert sorted(arrived(emulator)) == [*range(30), 1000]


def test_a_fork_inside_on_error(tmp_path: Path, emulator: Emulator) -> None:
    """A fork on the worker's own thread: the child sends nothing of its parent's, and works."""
    emulator.fail(Fault(status=403), route="events", number=1)
    fork(
        tmp_path,
        emulator,
        """
        pids = []

        def child():
            client.send_analytics_event(event(-1))
            assert client.flush(10).delivered == 1

        def on_error(failed):
            pids.append(fork(child))

        client = Client(batch_size=1, on_error=on_error)
        for n in range(5):
            client.send_analytics_event(event(n))
        client.flush(10)
        while not pids:
            time.sleep(0.001)
        reap(pids[0])
        """,
    )
    assert sorted(arrived(emulator)) == [-1, 1, 2, 3, 4]


def test_a_fork_inside_a_signal_handler(tmp_path: Path, emulator: Emulator) -> None:
    """A fork in a handler that interrupts a send, a flush or a close, in a child that goes on:
    it sends its own, and nothing of its parent's."""
    fork(
        tmp_path,
        emulator,
        """
        client = Client(batch_size=3)
        pids = []
        parent = os.getpid()

        def on_alarm(number, frame):
            signal.setitimer(signal.ITIMER_REAL, 0)  # no fork within a fork
            if os.getpid() == parent and len(pids) < 20:
                pids.append(fork(child))
                signal.setitimer(signal.ITIMER_REAL, 0.002)

        def child():
            client.send_analytics_event(event(-1))
            assert client.flush(10).delivered == 1

        signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        n = 0
        while len(pids) < 20:
            client.send_analytics_event(event(n))
            n += 1
            if n % 5 == 0:
                client.flush(10)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for pid in pids:
            reap(pid)
        client.close()
        print(n)
        """,
    )
    numbers = arrived(emulator)
    assert numbers.count(-1) == 20
    own = sorted(n for n in numbers if n >= 0)
    assert own == list(range(len(own)))


def test_a_wait_that_a_fork_interrupts_ends_in_the_child(
    tmp_path: Path, emulator: Emulator
) -> None:
    """A child that comes out of a signal handler into its parent's ``flush`` does not hang there:
    a MasivoClosedError says whose events they are. The parent's flush goes on."""
    emulator.fail(Fault(delay=0.7), route="events")
    fork(
        tmp_path,
        emulator,
        """
        parent = os.getpid()
        pids = []
        signal.signal(signal.SIGALRM, lambda *_: pids.append(os.fork()))
        client = Client(batch_size=1)
        client.send_analytics_event(event(0))
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            delivered = client.flush().delivered
        except masivo.MasivoClosedError as error:
            os._exit(0 if os.getpid() != parent and "forked" in str(error) else 1)
        except BaseException:
            os._exit(1)
        assert os.getpid() == parent
        assert delivered == 1
        reap(pids[0])
        """,
    )
    assert arrived(emulator) == [0]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="CPython forks no more at its end")
def test_a_fork_after_the_flush_at_exit(tmp_path: Path, emulator: Emulator) -> None:
    """A child of a fork in an exit function that comes after the flush is a process like any: its
    events go out in the background."""
    ended = run(
        tmp_path,
        emulator,
        """
        def child():
            client = Client(batch_size=1)  # not let go, which would deliver
            delivery = client.send_analytics_event(event(1))
            deadline = time.monotonic() + 10
            while not delivery.done():
                assert time.monotonic() < deadline
                time.sleep(0.001)

        def last():
            reap(fork(child))

        Client().send_analytics_event(event(0))
        """,
        prelude=FORK + "import atexit\natexit.register(lambda: last())\n",
    )
    assert (ended.code, ended.err) == (0, "")
    assert arrived(emulator) == [0, 1]


UNTOLD = """
import ctypes, os, sys

def untold_fork():
    sys.setswitchinterval(1e6)
    pid = ctypes.PyDLL(None).fork()
    sys.setswitchinterval(0.005)
    return pid

os.fork = untold_fork
"""
"""Goes before a program: its forks are the C library's, of which Python is not told.

The forking thread keeps the interpreter's lock, and nobody asks for it meanwhile: else the child
may wait for ever for a thread that only its parent has.
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is found otherwise elsewhere")
@pytest.mark.parametrize(
    "child",
    [
        "assert client.send_analytics_event(event(1)).result(10).success",
        "client.send_analytics_event(event(1)); assert client.flush(10).delivered == 1",
        "client.get_token(10); client.send_analytics_event(event(1)); client.close()",
        "batch.send_analytics_event(event(1)).result(10); assert client.flush(10).delivered == 0",
        "new = Client(); new.send_analytics_event(event(1)); new.close()",
    ],
    ids=["result", "flush", "token", "batch", "new client"],
)
def test_a_fork_that_python_is_not_told_of(tmp_path: Path, emulator: Emulator, child: str) -> None:
    """The child begins anew as soon as a batch is due, somebody waits, or a client is made, and
    sends its own events, the one by which it has noticed included."""
    ended = run(
        tmp_path,
        emulator,
        f"""
        client, batch = Client(), Client(batch_size=1)
        client.send_analytics_event(event(0))
        client.flush(10)

        def child():
            {child}

        reap(fork(child))
        client.send_analytics_event(event(2))
        assert client.flush(10).delivered == 1
        """,
        prelude=UNTOLD + FORK,
    )
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert arrived(emulator) == [0, 1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is found otherwise elsewhere")
def test_events_that_cannot_be_told_from_the_parents(tmp_path: Path, emulator: Emulator) -> None:
    """Where events of the parent wait, those that the child sends before it notices are not sent,
    and a warning counts them. The parent's are sent by the parent alone, and their deliveries end
    in the child with an error. The child's exit sends none of them either."""
    ended = run(
        tmp_path,
        emulator,
        """
        client = Client()
        client.get_token()
        inherited = client.send_analytics_event(event(0))
        while client._buffer.outbox.unread:
            time.sleep(0.001)

        pid = os.fork()
        if not pid:
            client.send_analytics_event(event(1))
            assert client.flush(10).delivered == 0
            assert "forked" in str(inherited.exception(0))
            client.send_analytics_event(event(2))
            sys.exit()
        reap(pid)
        """,
        prelude=UNTOLD + FORK,
    )
    assert ended.code == 0, ended.err
    assert "masivo: 1 event not sent: this process was forked" in ended.err
    assert sorted(arrived(emulator)) == [0, 2]
