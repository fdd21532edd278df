"""The end of a program: pending events are delivered, or a warning counts them
(``docs/reference/guarantees.md#exit-of-the-interpreter``)."""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from masivo.emulator import Emulator, Fault

from .events import arrived, closed_port
from .programs import run

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Started

LOG = "import logging; logging.basicConfig(format='LOG %(message)s')\n"
"""Goes before a program: logs to the standard error."""

# Shortens the time that the end may take, where that is not the subject.
HASTE = "from masivo import _process; _process.EXIT_TIMEOUT = 1.0\n"

# Goes before a program that sets `began`: prints how long its end took, last of all.
CLOCK = "import atexit, time; atexit.register(lambda: print(time.monotonic() - began))\n"

# Tells of every thread that is started once the interpreter has begun to end.
WATCH = """
ending = []

def watched(thread, start=threading.Thread.start):
    if ending:
        os.write(2, b"A THREAD AT EXIT\\n")
    start(thread)

threading.Thread.start = watched
Client  # whose own exit function is registered now; so this one comes before it
atexit.register(ending.append, 1)
"""


def lost(err: str) -> list[str]:
    """The lines that tell of a loss."""
    return [line for line in err.splitlines() if "event" in line and "not" in line]


ENDS = {
    "by itself": "",
    "sys.exit": "sys.exit(3)",
    "sys.exit in a function": "def f():\n    sys.exit(3)\nf()",
    "an exception": "raise ZeroDivisionError",
    "an interrupt": "raise KeyboardInterrupt",
    "in a with block": "with open(os.devnull):\n    sys.exit(3)",
}


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(end, marks=() if end in ("by itself", "an exception") else pytest.mark.full)
        for end in ENDS
    ],
)
def test_everything_arrives(tmp_path: Path, emulator: Emulator, end: str) -> None:
    """A program that just ends, in whatever way, has its events delivered; no thread is started
    for it, and nothing is printed."""
    ended = run(
        tmp_path,
        emulator,
        WATCH
        + "client = Client()\nfor n in range(250):\n    client.send_analytics_event(event(n))\n"
        + ENDS[end],
        prelude=LOG,
    )
    assert arrived(emulator) == list(range(250))
    assert ended.seconds < 15
    assert "LOG" not in ended.err
    assert "THREAD" not in ended.err
    if end in ("by itself", "sys.exit"):
        assert ended.err == ""
        assert ended.code == (0 if end == "by itself" else 3)


def test_no_thread_is_started_for_several_batches(tmp_path: Path, emulator: Emulator) -> None:
    """Nor is one where batches could be out at the same time."""
    ended = run(
        tmp_path,
        emulator,
        WATCH
        + "client = Client(batch_size=10, max_in_flight=4)\nclient.get_token()\n"
        + "for n in range(9):\n"
        + "    client.send_analytics_event(event(n) | {'customer_id': str(n)})\n"
        + "other = Client(batch_size=10, max_in_flight=4)\n"
        + "for n in range(9, 18):\n"
        + "    other.send_analytics_event(event(n) | {'customer_id': str(n)})\n",
        prelude=LOG,
    )
    assert (ended.code, ended.err) == (0, "")
    assert sorted(arrived(emulator)) == list(range(18))


def test_a_client_that_was_forgotten(tmp_path: Path, emulator: Emulator) -> None:
    """A client that is dropped unclosed delivers its events all the same, without the end of the
    program, and lets go of its thread."""
    ended = run(
        tmp_path,
        emulator,
        """
        import gc

        def use():
            client = Client()
            for n in range(10):
                client.send_analytics_event(event(n))
            client.self = client  # a cycle

        use()
        gc.collect()
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                thread.join(20)
        print(threading.active_count())
        os._exit(0)
        """,
    )
    assert ended.out == "1\n"
    assert arrived(emulator) == list(range(10))


def test_several_keys_share_the_time(tmp_path: Path, emulator: Emulator) -> None:
    """A server that hangs for one key does not cost the events of another."""
    with Emulator() as stuck:
        stuck.fail(Fault(delay=60), times=None)
        ended = run(
            tmp_path,
            emulator,
            f"""
            key, url = {stuck.client_key!r}, {stuck.url!r}
            clients = [
                Client(key, base_url=url),
                Client(),
                Client(key, base_url=url.replace("127.0.0.1", "localhost")),
            ]
            for n, client in enumerate(clients):
                client.send_analytics_event(event(n))
            """,
            prelude=LOG + HASTE,
        )
        assert arrived(emulator) == [1]
        assert ended.code == 0
        assert "2 events" in ended.err or len(lost(ended.err)) == 2


def test_all_keys_are_flushed_at_once(tmp_path: Path, emulator: Emulator) -> None:
    """None begins when those before it are done: together they take no longer than the slowest."""
    with Emulator() as second, Emulator() as third:
        servers = emulator, second, third
        for server in servers:
            server.fail(Fault(delay=1.5), route="events")
        ended = run(
            tmp_path,
            emulator,
            f"""
            servers = {[(server.client_key, server.url) for server in servers]!r}
            clients = [Client(key, base_url=url) for key, url in servers]
            for n, client in enumerate(clients):
                client.send_analytics_event(event(n))
                client.get_token()  # its thread has polled then, and sleeps
            """,
            prelude=LOG + HASTE.replace("1.0", "3.0"),
        )
        assert (ended.code, ended.err) == (0, "")
        assert [arrived(server) for server in servers] == [[0], [1], [2]]


# Waits until a session has the thread that polls, and no helper.
ALONE = "while threading.active_count() > 2: time.sleep(0.01)"

SEVERAL_BATCHES = {
    "of clients of one key": f"""
clients = [Client(brand_id=str(n)) for n in range(4)]
clients[0].get_token()
{ALONE}
for n, client in enumerate(clients):
    client.send_analytics_event(event(n))
""",
    "of one client": """
client = Client(batch_size=1, max_in_flight=4)
client.get_token()
for n in range(4):
    client.send_analytics_event(event(n) | {"customer_id": str(n)})
""",
}


@pytest.mark.parametrize("program", SEVERAL_BATCHES.values(), ids=SEVERAL_BATCHES)
def test_a_request_that_hangs_costs_its_own_events_alone(
    tmp_path: Path, emulator: Emulator, program: str
) -> None:
    """Though the exit starts no thread, what can be delivered beside a request that hangs is: of
    several clients of a key, and of several batches of a client."""
    emulator.fail(Fault(delay=60), route="events", number=1)
    ended = run(tmp_path, emulator, program, prelude=LOG + HASTE.replace("1.0", "2.0"))
    assert ended.code == 0
    assert set(arrived(emulator)) == {0, 1, 2, 3}
    assert [batch.status for batch in emulator.batches].count(200) >= 3


def test_on_error_is_called_at_the_end_of_the_time(tmp_path: Path, emulator: Emulator) -> None:
    """``on_error`` is told of what is not delivered in time, though the client's thread is still
    busy with a request that hangs."""
    emulator.fail(Fault(delay=60), route="events", times=None)
    ended = run(
        tmp_path,
        emulator,
        f"""
        client = Client(on_error=lambda failed: os.write(1, b"told "))
        client.get_token()
        {ALONE}
        for n in range(3):
            client.send_analytics_event(event(n))
        """,
        prelude=HASTE,
    )
    assert (ended.code, ended.out) == (0, "told told told ")


@pytest.mark.parametrize(
    "held",
    [pytest.param(True, marks=pytest.mark.full), False],
    ids=["deliveries kept", "deliveries dropped"],
)
def test_a_server_that_hangs(tmp_path: Path, emulator: Emulator, held: bool) -> None:
    """The end takes at most 5 s, and a warning tells how many events were lost, whether or not
    the program still holds their deliveries."""
    emulator.fail(Fault(delay=60), route="events", times=None)
    ended = run(
        tmp_path,
        emulator,
        f"""
        client = Client()
        deliveries = []
        for n in range(7):
            delivery = client.send_analytics_event(event(n))
            if {held}:
                deliveries.append(delivery)
        began = time.monotonic()
        """,
        prelude=CLOCK + LOG + ("" if held else HASTE),
    )
    assert ended.code == 0
    limit = 5.0 if held else 1.0
    assert limit - 0.5 < float(ended.out) < limit + 1.0
    [line] = lost(ended.err)
    assert "7 events" in line


@pytest.mark.parametrize(
    "held",
    [True, pytest.param(False, marks=pytest.mark.full)],
    ids=["deliveries kept", "deliveries dropped"],
)
def test_a_server_that_is_not_there(tmp_path: Path, emulator: Emulator, held: bool) -> None:
    """With nobody listening the end does not wait for all the repeats, and tells the loss."""
    ended = run(
        tmp_path,
        emulator,
        f"""
        client = Client()
        deliveries = [client.send_analytics_event(event(n)) for n in range(7)]
        if not {held}:
            del deliveries
        """,
        prelude=LOG,
        base_url=f"http://127.0.0.1:{closed_port()}",
    )
    assert ended.code == 0
    assert ended.seconds < 8
    [line] = lost(ended.err)
    assert "7 events" in line


def test_a_failure_before_the_end_is_told(tmp_path: Path, emulator: Emulator) -> None:
    """A failure that happened long ago, whose delivery the program kept and never asked, is told
    at the end: nothing is lost in silence."""
    emulator.fail(Fault(status=403), route="events")
    ended = run(
        tmp_path,
        emulator,
        """
        client = Client()
        delivery = client.send_analytics_event(event(1))
        client.flush(10)
        client.send_analytics_event(event(2))
        """,
        prelude=LOG,
    )
    assert ended.code == 0
    assert arrived(emulator) == [2]
    [line] = lost(ended.err)
    assert "1 event " in line


LOOPS = """
import asyncio, trio

async def in_asyncio():
    client = masivo.AsyncClient()
    kept.append(client.send_analytics_event(event(1)))
    await client.flush(10)

async def closed():
    async with masivo.AsyncClient() as client:
        kept.append(client.send_analytics_event(event(1)))

async def in_trio():
    async with masivo.TrioClient() as client:
        kept.append(client.send_analytics_event(event(1)))

kept = []
asyncio.run(in_asyncio())
asyncio.run(closed())
trio.run(in_trio)
"""


def test_a_failure_in_a_loop_is_told_at_the_end(tmp_path: Path, emulator: Emulator) -> None:
    """So is one of a client whose loop ended long before the program."""
    emulator.fail(Fault(status=403), route="events", times=3)
    ended = run(tmp_path, emulator, LOOPS, prelude=LOG)
    assert ended.code == 0, ended.err
    assert sum(int(n) for n in re.findall(r"(\d+) events? ", "\n".join(lost(ended.err)))) == 3


def test_on_error_may_finish(tmp_path: Path, emulator: Emulator) -> None:
    """A call of ``on_error`` that lasts when the program ends is not cut off."""
    emulator.fail(Fault(status=404), route="events")
    ended = run(
        tmp_path,
        emulator,
        """
        began = threading.Event()

        def on_error(failed):
            began.set()
            time.sleep(0.3)  # longer than the program
            os.write(1, b"told")

        client = Client(batch_size=1, on_error=on_error)
        client.send_analytics_event(event())
        began.wait(10)
        """,
        prelude=LOG,
    )
    assert (ended.code, ended.out) == (0, "told")


def test_without_logging_a_loss_is_still_told(tmp_path: Path, emulator: Emulator) -> None:
    """A program that never configured logging learns of a loss on the standard error."""
    ended = run(
        tmp_path,
        emulator,
        "client = Client()\nclient.send_analytics_event(event())",
        key="a-key-of-nobody",
    )
    assert ended.code == 0
    [line] = lost(ended.err)
    assert "1 event" in line
    assert "a-key-of-nobody" not in ended.err


def test_a_child_of_multiprocessing_tells_its_loss(tmp_path: Path, emulator: Emulator) -> None:
    """Children of ``multiprocessing``, which run no exit functions, tell what they lose too."""
    ended = run(
        tmp_path,
        emulator,
        """
        import multiprocessing
        kept = []

        def work():
            kept.append(Client().send_analytics_event(event()))

        if __name__ == "__main__":
            process = multiprocessing.get_context("spawn").Process(target=work)
            process.start()
            process.join(20)
            print(process.exitcode)
        """,
        key="a-key-of-nobody",
    )
    assert ended.out == "0\n"
    [line] = lost(ended.err)
    assert "1 event" in line


@pytest.mark.parametrize("made", ["before it was registered", "after"])
def test_sending_from_another_exit_function(tmp_path: Path, emulator: Emulator, made: str) -> None:
    """Exit functions that were registered after the package's may send, whenever the client was
    made; what they send arrives."""
    ended = run(
        tmp_path,
        emulator,
        f"""
        def last_words():
            client.send_analytics_event(event(1))
            assert client.flush(10).delivered == 2
            client.send_analytics_event(event(2))

        if {made == "after"}:
            atexit.register(last_words)
        client = Client()
        client.send_analytics_event(event(0))
        if {made != "after"}:
            atexit.register(last_words)
        """,
        prelude=LOG,
    )
    assert (ended.code, ended.err) == (0, "")
    assert arrived(emulator) == [0, 1, 2]


def test_sending_after_the_flush_is_an_error(tmp_path: Path, emulator: Emulator) -> None:
    """An exit function that runs after the flush is told that the client is closed; its own
    ``close`` does no harm."""
    ended = run(
        tmp_path,
        emulator,
        """
        client = Client()
        client.send_analytics_event(event(0))
        """,
        prelude="""
def last_words():
    try:
        client.send_analytics_event(event(1))
    except masivo.MasivoClosedError:
        print("closed")
    client.close()
    client.destroy()
    with Client() as another:
        another.send_analytics_event(event(2))
    print("delivered")

import atexit
atexit.register(last_words)
"""
        + LOG,
    )
    assert (ended.code, ended.out, ended.err) == (0, "closed\ndelivered\n", "")
    assert arrived(emulator) == [0, 2]


LATE_CLIENTS = {
    "local": "client = Client(); client.send_analytics_event(event(1))",
    "in a cycle": "client = Client(); client.me = client; client.send_analytics_event(event(1))",
    "global": "globals().update(other=Client()); other.send_analytics_event(event(1))",
}


@pytest.mark.parametrize(
    ("made", "hangs"),
    [
        ("local", False),
        ("global", False),
        ("local", True),
        pytest.param("global", True, marks=pytest.mark.full),
        pytest.param("in a cycle", False, marks=pytest.mark.full),
    ],
)
def test_a_client_that_an_exit_function_makes_after_the_flush(
    tmp_path: Path, emulator: Emulator, made: str, hangs: bool
) -> None:
    """Its events are delivered when it is let go, at the latest with the program's own objects;
    within the time of the exit, or a warning counts them."""
    if hangs:
        emulator.fail(Fault(delay=60), number=range(3, 99))
    ended = run(
        tmp_path,
        emulator,
        "client = Client()\nclient.send_analytics_event(event(0))\n",
        prelude=f"import atexit\n@atexit.register\ndef late(): {LATE_CLIENTS[made]}\n"
        + (HASTE if hangs else ""),
    )
    assert ended.code == 0
    if hangs:
        assert arrived(emulator) == [0]
        [line] = lost(ended.err)
        assert "1 event" in line
    else:
        assert (arrived(emulator), ended.err) == ([0, 1], "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_client_that_a_finalizer_makes_in_a_child_of_multiprocessing(
    tmp_path: Path, emulator: Emulator
) -> None:
    """Children of ``multiprocessing`` run finalizers in place of exit functions, and let go of
    nothing: what a client sends that one of these made after the flush arrives, too."""
    ended = run(
        tmp_path,
        emulator,
        """
        import multiprocessing
        from multiprocessing import util

        kept = []

        def late():
            kept.append(Client())
            kept[0].send_analytics_event(event(1))

        def work():
            util.Finalize(None, late, exitpriority=-1)
            client.send_analytics_event(event(0))

        client = Client()
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join(20)
        print(process.exitcode)
        """,
    )
    assert (ended.out, ended.err) == ("0\n", "")
    assert arrived(emulator) == [0, 1]


def test_a_late_client_gets_what_is_left_of_the_time(tmp_path: Path, emulator: Emulator) -> None:
    """The time of the exit is for all clients together: one that an exit function makes after the
    flush has none where the flush has used it up."""
    emulator.fail(Fault(delay=60), route="events", times=None)
    ended = run(
        tmp_path,
        emulator,
        "client = Client()\nclient.send_analytics_event(event(0))\n",
        prelude="""
import atexit, time
def use(): Client().send_analytics_event(event(1))
@atexit.register
def late():
    began = time.monotonic()
    use()
    print(time.monotonic() - began)
"""
        + HASTE,
    )
    assert float(ended.out) < 0.5
    assert lost(ended.err) != []


def test_a_thread_that_outlives_main(tmp_path: Path, emulator: Emulator) -> None:
    """What an ordinary thread sends after the main one has ended arrives; a daemon thread that
    sends to the very last moment breaks nothing."""
    ended = run(
        tmp_path,
        emulator,
        """
        client = Client()

        def late():
            threading.main_thread().join()
            for n in range(100):
                client.send_analytics_event(event(n))

        def endless():
            while True:
                try:
                    other.send_analytics_event(event(-1))
                    time.sleep(0.0001)
                except masivo.MasivoClosedError:
                    return

        other = Client(batch_size=5)
        threading.Thread(target=endless, daemon=True).start()
        threading.Thread(target=late).start()
        """,
        prelude=LOG,
    )
    assert (ended.code, ended.err) == (0, "")
    assert [n for n in arrived(emulator) if n >= 0] == list(range(100))


@pytest.mark.parametrize(
    "where",
    [
        *["sending", "flushing"],
        *(
            pytest.param(each, marks=pytest.mark.full)
            for each in ("closing", "waiting", "sleeping")
        ),
    ],
)
def test_ctrl_c(tmp_path: Path, emulator: Emulator, where: str) -> None:
    """Ctrl-C in the middle ends the program as usual; what was accepted still arrives, once."""
    emulator.fail(Fault(delay=0.7), route="events", number=1)

    def interrupt(process: Started) -> None:
        emulator.wait_for(lambda e: len(e.batches) == 1, timeout=20)
        process.send_signal(signal.SIGINT)

    program = {
        "sending": """
while True:
    client.send_analytics_event(event(-1))
    sent += 1
    time.sleep(0.0001)""",
        "flushing": "client.flush()",
        "closing": "client.close(None)",
        "waiting": "delivery.result()",
        "sleeping": "time.sleep(20)",  # as a program that has other things to do
    }[where]
    ended = run(
        tmp_path,
        emulator,
        "client = Client(batch_size=50)\nsent = 0\n"
        "atexit.register(lambda: print(sent))\n"
        "for n in range(120):\n    delivery = client.send_analytics_event(event(n))\n" + program,
        prelude=LOG,
        meanwhile=interrupt,
    )
    assert ended.code in (-signal.SIGINT, 130, 1)
    assert "KeyboardInterrupt" in ended.err
    numbers = arrived(emulator)
    assert [n for n in numbers if n >= 0] == list(range(120))
    # One that was interrupted inside the call may have been taken though it was not counted.
    assert 0 <= numbers.count(-1) - int(ended.out) <= 1


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=lambda sent: sent.name)
def test_a_signal_at_the_end(tmp_path: Path, emulator: Emulator, sent: signal.Signals) -> None:
    """Ctrl-C, or another signal whose handler raises, while the end waits for a server that hangs
    ends the wait: what can be delivered at once is. No traceback shows the package's frames, and
    the usual warning counts what was lost."""
    with Emulator() as stuck:
        stuck.fail(Fault(delay=60), route="events", times=None)
        emulator.fail(Fault(delay=0.2), route="events")

        def interrupt(process: Started) -> None:
            stuck.wait_for(lambda e: len(e.batches) == 1, timeout=20)
            process.send_signal(sent)

        ended = run(
            tmp_path,
            emulator,
            f"""
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
            slow = Client({stuck.client_key!r}, base_url={stuck.url!r})
            client = Client()
            client.get_token()
            slow.send_analytics_event(event(0))
            slow.send_analytics_event(event(1))
            client.send_analytics_event(event(2))
            began = time.monotonic()
            """,
            prelude=CLOCK + LOG,
            meanwhile=interrupt,
        )
    assert "Traceback" not in ended.err
    assert "KeyboardInterrupt" not in ended.err
    assert "SystemExit" not in ended.err
    [line] = lost(ended.err)
    assert "2 events" in line
    assert arrived(emulator) == [2]
    assert float(ended.out) < 4


def test_a_slow_server_leaves_time_to_the_others(tmp_path: Path, emulator: Emulator) -> None:
    """Where no thread can be had, the exit sends by itself, for one client after the other: one
    whose server hangs does not use up the time of those around it."""
    with Emulator() as stuck:
        stuck.fail(Fault(delay=60), times=None)
        ended = run(
            tmp_path,
            emulator,
            f"""
            def refuse(thread, start=threading.Thread.start):
                if thread.name == "masivo":
                    raise RuntimeError("can't start new thread")
                start(thread)

            threading.Thread.start = refuse
            other = {emulator.url.replace("127.0.0.1", "localhost")!r}
            stuck = Client({stuck.client_key!r}, base_url={stuck.url!r})
            clients = [Client(), stuck, Client(base_url=other)]
            for n, client in enumerate(clients):
                client.send_analytics_event(event(n))
            began = time.monotonic()
            """,
            prelude=CLOCK + LOG + HASTE,
        )
    assert float(ended.out) < 3
    assert sorted(arrived(emulator)) == [0, 2]
    [line] = lost(ended.err)
    assert "1 event" in line


def test_a_disabled_client_ends_at_once(tmp_path: Path, emulator: Emulator) -> None:
    """Where nothing is sent, nothing is waited for."""
    ended = run(
        tmp_path,
        emulator,
        """
        client = Client(enabled=False)
        assert not client.send_analytics_event(event(0)).result().success
        print(threading.active_count())
        """,
        prelude=LOG,
    )
    assert (ended.code, ended.out, ended.err) == (0, "1\n", "")
    assert emulator.requests == []


LOOKUPS = """
import httpx, socket

look_up, broken = socket.getaddrinfo, threading.Event()

def hang(*arguments, **options):
    if broken.is_set():
        stuck.set()
        time.sleep(60)  # longer than the program
    return look_up(*arguments, **options)

socket.getaddrinfo, stuck = hang, threading.Event()

def one_shot():
    return httpx.Client(limits=httpx.Limits(max_keepalive_connections=0))

client = Client(max_in_flight=2, batch_size=2, http_client=one_shot)
client.get_token()
broken.set()
for n in range(2):
    client.send_analytics_event(event(n))
stuck.wait()
client.send_analytics_event(event(2) | {"customer_id": "another"})
"""
"""Name resolution hangs, on a worker, with one batch; another event waits."""

HUNG = {
    "exit": ("", 1.0),
    "close": ("client.close(0.5)", 0.5),
    "destroy": ("client.destroy()", 0.0),
}


@pytest.mark.parametrize(
    "end", ["exit", *(pytest.param(each, marks=pytest.mark.full) for each in ("close", "destroy"))]
)
def test_a_name_that_does_not_resolve(tmp_path: Path, emulator: Emulator, end: str) -> None:
    """Nothing bounds the lookup of a name, but ``close`` and the end of the interpreter keep their
    deadlines: no thread that must go on waits for it."""
    how, limit = HUNG[end]
    ended = run(
        tmp_path,
        emulator,
        LOOKUPS + "began = time.monotonic()\n" + how,
        prelude=CLOCK + HASTE,
    )
    assert ended.code == 0
    assert arrived(emulator) == []
    assert lost(ended.err)
    assert float(ended.out) < limit + 1.5
