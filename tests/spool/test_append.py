"""Appending: from any thread, signal handler and finalizer, in the middle of another append, while
segments come and go."""

from __future__ import annotations

import gc
import os
import random
import signal
import socket
import sys
import threading
from itertools import count, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from masivo.protocol import StoreError
from masivo.spool import Spool
from masivo.spool import spool as module
from masivo.spool.disk import Folder
from masivo.spool.tail import CheckedTail, Tail

from .conftest import BOUND, KEY, URL
from .reading import bodies, empty, everything, files, listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from masivo.spool.disk import Disk


@pytest.fixture
def alarm() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Calls a function in a signal handler, again and again, at odd moments."""
    moments = random.Random(1)

    def begin(function: Callable[[], None]) -> None:
        def handle(*_: object) -> None:
            try:
                function()
            finally:
                signal.setitimer(signal.ITIMER_REAL, moments.uniform(0.00001, 0.0004))

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0002)

    former = signal.getsignal(signal.SIGALRM)
    yield begin
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)


def test_threads_append_while_segments_come_and_go(
    folder: Path, make: Callable[..., Spool]
) -> None:
    """Every event is there once, in its thread's order; nothing of a log is left behind that was
    removed. The poll's side reads and removes meanwhile."""
    spool = make(segment=3_000)
    each, threads = 1_500, 6
    done = threading.Event()
    seen: list[bytes] = []

    def send(thread: int) -> None:
        for n in range(each):
            spool.append(b"%d-%06d" % (thread, n), 1.0, True)

    def poll() -> None:
        while True:
            last = done.is_set()
            if spool.due:
                assert spool.tend()
            if spool.own is not None:
                window = spool.own.read(None, 500, 1 << 30)
                seen.extend(stored.event for stored in window.events)
                spool.own.remove([stored.position for stored in window.events])
                if last and window.end:
                    return

    senders = [threading.Thread(target=send, args=(n,)) for n in range(threads)]
    poller = threading.Thread(target=poll)
    for thread in (*senders, poller):
        thread.start()
    for thread in senders:
        thread.join()
    done.set()
    poller.join()
    for n in range(threads):
        mine = [event for event in seen if event.startswith(b"%d-" % n)]
        assert mine == [b"%d-%06d" % (n, m) for m in range(each)]
    spool.tend()
    assert len(files(folder, "log")) <= 2
    spool.release()
    assert listing(folder) == []


def test_a_write_that_comes_too_late_for_its_segment_is_repeated(
    folder: Path, make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment is closed, read to its end and deleted, all between a caller's look at it and the
    return of its write: the event is in the next segment."""
    spool = make(segment=100)
    first = spool.append(b"first", 1.0, True)
    write = Tail.write
    late = [True]

    def slow(tail: Tail, data: bytes) -> None:
        if not late:
            write(tail, data)
            return
        late.clear()
        former = os.dup(tail._fd)
        second = spool.append(b"x" * 100, 1.0, True)
        assert spool.tend()
        assert spool.own is not None
        spool.own.remove([first, second])
        assert spool.tend()
        assert [path.name[-5] for path in files(folder, "log")] == ["2"]
        os.write(former, data)
        os.close(former)

    monkeypatch.setattr(Tail, "write", slow)
    spool.append(b"late", 1.0, True)
    assert b"late" in bodies(spool.own)
    spool.release()
    assert empty(folder)[0].count(b"late") == 1


def test_a_record_in_a_closed_segment_is_written_again(
    folder: Path, make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the write was in time: nobody can tell, and the event counts once."""
    spool = make(segment=10)
    spool.append(b"first", 1.0, True)
    write = Tail.write
    first = [True]

    def early(tail: Tail, data: bytes) -> None:
        write(tail, data)
        if first:
            first.clear()
            assert spool.tend()

    monkeypatch.setattr(Tail, "write", early)
    position = spool.append(b"twice", 1.0, True)
    assert sum(path.read_bytes().count(b"twice") for path in files(folder, "log")) == 2
    assert bodies(spool.own) == [b"first", b"twice"]
    assert spool.own is not None
    spool.own.remove([position])
    assert bodies(spool.own) == [b"first"]


def test_of_several_that_begin_a_log_one_is_kept(folder: Path, make: Callable[..., Spool]) -> None:
    """However many threads append the first event at once: one log, and no other file."""
    for attempt in range(10):
        spool = make()
        start = threading.Barrier(8)

        def send(spool: Spool = spool, start: threading.Barrier = start) -> None:
            start.wait()
            spool.append(threading.current_thread().name.encode(), 1.0, True)

        threads = [threading.Thread(target=send, name=f"{attempt}-{n}") for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(bodies(spool.own)) == 8
        assert len(files(folder, "lock")) == 1
        spool.release()
        assert len(empty(folder)[0]) == 8
        assert listing(folder) == []


def test_a_signal_handler_appends_in_the_middle_of_an_append(
    make: Callable[..., Spool], alarm: Callable[[Callable[[], None]], None]
) -> None:
    """Both events are stored; so they are where the handler's is the very first."""
    spool = make(segment=20_000)
    numbers = count()
    handled: list[bytes] = []

    def handle() -> None:
        event = b"handler-%06d" % next(numbers)
        spool.append(event, 1.0, True)
        handled.append(event)

    alarm(handle)
    sent = 0
    while len(handled) < 200:
        spool.append(b"main-%06d" % sent, 1.0, True)
        sent += 1
        if spool.due:
            spool.tend()
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    found = bodies(spool.own)
    assert [e for e in found if e[:1] == b"m"] == [b"main-%06d" % n for n in range(sent)]
    assert sorted(e for e in found if e[:1] == b"h") == sorted(handled)


def test_a_finalizer_appends_in_the_middle_of_an_append(make: Callable[..., Spool]) -> None:
    """A collection can begin at any allocation."""
    spool = make()

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            spool.append(b"finalizer", 1.0, True)

    former = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(100):
            Cycle()
            spool.append(b"main", 1.0, True)
    finally:
        gc.set_threshold(*former)
    gc.collect()
    found = bodies(spool.own)
    assert found.count(b"main") == found.count(b"finalizer") == 100


def test_an_interrupted_append_costs_nothing(
    folder: Path, make: Callable[..., Spool], alarm: Callable[[Callable[[], None]], None]
) -> None:
    """A handler that raises anywhere in it: events of calls that returned are there, segments that
    hold nothing else are deleted, and nothing is stuck."""
    spool = make(segment=5_000)

    inside: list[bool] = []

    def interrupt() -> None:
        if inside and not swallowing():
            inside.clear()
            raise TimeoutError

    returned: dict[int, bytes] = {}
    interrupted = n = 0
    alarm(interrupt)
    while interrupted < 100 or len(returned) < 500:
        try:
            inside.append(True)
            for _ in range(1_000):
                n += 1
                returned[spool.append(b"%06d" % n, 1.0, True)] = b"%06d" % n
        except TimeoutError:
            interrupted += 1
    inside.clear()  # from here on the handler does nothing
    spool.tend()
    spool.tend()
    log = spool.own
    assert log is not None
    window = everything(log)
    assert set(returned.values()) <= {each.event for each in window.events}
    assert window.damaged == 0
    log.remove([each.position for each in window.events])
    spool.tend()
    spool.release()
    assert empty(folder) == ([], 0)
    assert listing(folder) == []


def test_it_is_known_which_positions_were_taken() -> None:
    """All below a number, and no others; unless somebody is about to take or to make some."""
    positions = module._Positions()
    assert positions.taken() == 0
    for number in range(5_000):
        assert positions.taken() == number
        (position,) = positions.take(1)
        assert position == number
    first = module._Positions()._last
    positions._last, newest = first, positions._last  # by one that was delayed in a refill
    first.following[None] = newest
    assert positions.taken() == 5_000
    positions.appendleft(positions.pop())
    assert positions.taken() is None


def test_positions_are_never_given_out_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to threads nor to signal handlers, nor where a refill was interrupted."""
    monkeypatch.setattr(module, "_BLOCK", 7)
    positions = module._Positions()
    taken: list[list[int]] = [[] for _ in range(6)]

    def take(mine: list[int]) -> None:
        for number in range(75):
            mine += positions.take(number)

    positions._last.following[None] = module._Block(1)  # by one that never came to extend it
    threads = [threading.Thread(target=take, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everyone = [number for mine in taken for number in mine]
    assert len(set(everyone)) == len(everyone) == 6 * 75 * 74 / 2


def swallowing() -> bool:
    """Whether a finalizer or a callback of the garbage collector is running, such as Hypothesis'
    own: Python swallows what a signal handler raises in it."""
    callbacks = [getattr(each, "__code__", None) for each in gc.callbacks]
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "__del__" or frame.f_code in callbacks:
            return True
    return False


# ── Descriptors that others close ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("tail", "stranger"),
    [
        *product((Tail, CheckedTail), ("nobody", "socket", "pipe", "file")),
        (Tail, "same"),  # for ``fstat`` two openings of one file are the same
    ],
)
def test_nothing_is_written_to_a_number_that_became_a_strangers(
    folder: Path,
    make: Callable[..., Spool],
    monkeypatch: pytest.MonkeyPatch,
    tail: type[Tail],
    stranger: str,
) -> None:
    """Somebody closes descriptors, as daemonizers do, and opens others under their numbers: not a
    byte of ours arrives there, at no call. Another log is begun; the former one is there for
    whoever adopts it."""
    monkeypatch.setattr(Folder, "tail", tail)
    spool = make()
    spool.append(b"before", 1.0, True)
    assert spool.tend()
    held: Any = spool._held
    number = held.tail._fd
    path = folder.parent / "theirs"
    path.write_bytes(b"theirs")
    left, right = socket.socketpair()
    out, into = os.pipe()
    opened = os.open(path, os.O_RDWR)
    same = os.open(files(folder, "log")[0], os.O_WRONLY | os.O_APPEND)
    strangers = {"socket": left.fileno(), "pipe": into, "file": opened, "same": same}
    if stranger == "nobody":
        os.close(number)
    else:
        os.dup2(strangers[stranger], number)

    spool.append(b"after", 1.0, True)

    right.setblocking(False)
    os.set_blocking(out, False)
    with pytest.raises(BlockingIOError):
        right.recv(100)
    with pytest.raises(BlockingIOError):
        os.read(out, 100)
    assert path.read_bytes() == b"theirs"
    assert bodies(spool.own) == [b"after"]
    assert not spool.tend()
    assert spool.tend()
    for each in (out, into, opened, same, *(() if stranger == "nobody" else (number,))):
        os.close(each)
    left.close()
    right.close()
    spool.release()
    assert sorted(empty(folder)[0]) == [b"after", b"before"]


def test_the_place_by_which_a_descriptor_is_known_is_far(folder: Path) -> None:
    """No other file is read or written at a random place beyond a gigabyte."""
    tail = Tail(str(folder), "a")
    assert 1 << 30 <= os.lseek(tail._fd, 0, os.SEEK_CUR) < 1 << 31
    tail.close()


@pytest.mark.parametrize("release", [True, False])
def test_a_number_that_became_a_strangers_is_not_closed(folder: Path, release: bool) -> None:
    """Neither at the release nor when the spool is collected."""
    spool = Spool(str(folder), KEY, URL, BOUND)
    spool.append(b"event", 1.0, True)
    held: Any = spool._held
    numbers = [held.tail._fd, held.lock._fd]
    left, right = socket.socketpair()
    for number in numbers:
        os.dup2(left.fileno(), number)
    if release:
        spool.release()
    del held, spool
    gc.collect()
    for number in numbers:
        assert os.write(number, b"x") == 1
        assert right.recv(1) == b"x"
        os.close(number)
    left.close()
    right.close()


def test_descriptors_are_closed_in_the_end(make: Callable[..., Spool], folder: Path) -> None:
    """At the release, or when the spool is collected; then the log can be adopted."""

    def descriptors() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    before = descriptors()
    for release in (True, False):
        spool = Spool(str(folder), "k", "https://x.test", 1 << 20, 100)
        for _ in range(10):
            spool.append(b"event", 1.0, True)
            spool.tend()
        if release:
            spool.release()
        del spool
        gc.collect()
        assert descriptors() == before
    spools = Spool(str(folder), "k", "https://x.test", 1 << 20)
    assert len(list(spools.adopt())) == 2
    spools.release()
    del spools
    gc.collect()
    assert descriptors() == before


def test_release_ends_appends_for_good(folder: Path, make: Callable[..., Spool]) -> None:
    """A call either returned, and its event is on disk, or it failed; it writes nowhere else."""
    for _ in range(20):
        spool = make()
        returned: list[list[bytes]] = [[] for _ in range(3)]
        spool.append(b"first", 1.0, True)

        def send(mine: list[bytes], spool: Spool = spool) -> None:
            n = 0
            while True:
                event = b"%d-%d" % (threading.get_ident(), n)
                try:
                    spool.append(event, 1.0, True)
                except StoreError:
                    return
                mine.append(event)
                n += 1

        threads = [threading.Thread(target=send, args=(mine,)) for mine in returned]
        for thread in threads:
            thread.start()
        while not all(returned):
            pass
        spool.release()
        for thread in threads:
            thread.join()
        kept = set(empty(folder)[0])
        assert {event for mine in returned for event in mine} <= kept


def test_the_disk_is_a_seam(folder: Path, make: Callable[..., Spool]) -> None:
    """The directory's operations are those of the protocol, which a test may replace."""
    disk: Disk = make()._disk
    assert disk.path == str(folder)
    assert disk.process() == os.getpid()
