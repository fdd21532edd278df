"""Adoption: a log that nobody holds is taken over once, whoever else tries; a live one never."""

from __future__ import annotations

import fcntl
import shutil
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from masivo.spool import Spool

from .conftest import BOUND, KEY, URL
from .programs import LIMIT, run, start
from .reading import bodies, empty, everything, files, listing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from processes import Process


def test_a_live_log_is_not_adopted(folder: Path, make: Callable[..., Spool]) -> None:
    """Neither by another client of the process nor by its own: however its files are opened, copied
    and closed meanwhile."""
    spool = make()
    spool.append(b"event", 1.0, True)
    other = make()
    for path in folder.iterdir():
        path.open("rb").close()
        shutil.copy(path, folder.parent / path.name)
    assert list(other.adopt()) == []
    assert list(spool.adopt()) == []
    spool.release()
    (log,) = other.adopt()
    assert list(other.adopt()) == []
    assert list(make().adopt()) == []
    assert bodies(log) == [b"event"]


def test_logs_are_adopted_oldest_first_as_they_are_asked_for(make: Callable[..., Spool]) -> None:
    """The iterator holds those that it has given out, and no others."""
    for n in range(3):
        spool = make()
        spool.append(b"%d" % n, 1.0, True)
        threading.Event().wait(0.002)  # the names of logs hold milliseconds
        spool.release()
    one, two = make(), make()
    logs = one.adopt()
    assert bodies(next(logs)) == [b"0"]
    assert [bodies(log) for log in two.adopt()] == [[b"1"], [b"2"]]
    assert list(logs) == []


def test_other_accounts_are_left_alone_and_counted(
    folder: Path, make: Callable[..., Spool]
) -> None:
    """Another key, another ``base_url``, another version of the format: only where nobody holds
    them."""
    for key, url in (("other", URL), (KEY, "https://other.test"), ("live", URL)):
        spool = make(key, url=url)
        spool.append(b"theirs", 1.0, True)
        if key != "live":
            spool.release()
    (folder / "v2-00-1.lock").write_bytes(b"")
    (folder / "v2-00-1.000001.log").write_bytes(b"")
    before = listing(folder)
    spool = make()
    for _ in range(2):
        assert list(spool.adopt()) == []
        assert spool.strangers == 3
    assert listing(folder) == before
    assert empty(folder, "other") == ([b"theirs"], 0)
    assert list(spool.adopt()) == []
    assert spool.strangers == 2


def test_logs_of_a_replaced_key_are_adopted_on_demand(
    folder: Path, make: Callable[..., Spool]
) -> None:
    """Those of the same ``base_url``, and no others; live ones never, nor what says nothing of
    itself."""
    (folder / "v1-00-1.lock").write_bytes(b"damaged")
    for key, url in (("former", URL), (KEY, "https://other.test"), ("live", URL)):
        spool = make(key, url=url)
        spool.append(key.encode(), 1.0, True)
        if key != "live":
            spool.release()
    (log,) = make(replaced_key=True).adopt()
    assert bodies(log) == [b"former"]
    log.release()
    assert empty(folder, "former") == ([b"former"], 0)


def test_what_a_crash_left_before_it_came_to_a_log_is_deleted(
    folder: Path, make: Callable[..., Spool]
) -> None:
    """A draft of a lock, a lock without a segment, a log without events."""
    spool = make()
    spool.append(b"event", 1.0, True)
    (lock,) = files(folder, "lock")
    (folder / f".{lock.stem}8.lock").write_bytes(b"")
    lock.with_name(f"{lock.stem}9.lock").write_bytes(b"")
    assert spool.own is not None
    assert empty(folder) == ([], 0)
    assert len(list(folder.iterdir())) == 2


def test_of_two_processes_exactly_one_adopts(folder: Path) -> None:
    """They race for one log that is left, twenty times: at the first attempt of both."""
    program = """
    for line in sys.stdin:
        spool = make()
        deadline = float(line)
        while time.time() < deadline:
            pass
        events = [each.event for log in spool.adopt() for each in everything(log)]
        print(b",".join(events).decode(), flush=True)
        sys.stdin.readline()
        spool.release()
        print("released", flush=True)
    """
    processes = [start(folder, program) for _ in range(2)]
    try:
        for n in range(20):
            spool = Spool(str(folder), KEY, URL, BOUND)
            spool.append(b"%d" % n, 1.0, True)
            spool.release()
            deadline = b"%f\n" % (time.time() + 0.05)
            assert sorted(ask(processes, deadline)) == [b"", b"%d" % n]
            assert ask(processes, b"\n") == [b"released"] * 2
            assert empty(folder) == ([b"%d" % n], 0)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def ask(processes: list[Process], line: bytes) -> list[bytes]:
    """Write a line to each process, and return the line that each writes then."""
    for process in processes:
        process.stdin.write(line)
    return [process.stdout.readline().strip() for process in processes]


@pytest.mark.parametrize("again", [False, True], ids=["gone", "another"])
def test_a_log_that_was_finished_before_its_lock_was_had_is_not_adopted(
    folder: Path, make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """An adopter that has opened the lock file when another one deletes it: what it locks then is
    no log, though a file of the same name may be there again."""
    spool = make()
    spool.append(b"event", 1.0, True)
    spool.release()
    (path,) = files(folder, "lock")
    flock = fcntl.flock

    def late(fd: int, operation: int) -> None:
        monkeypatch.undo()
        assert empty(folder) == ([b"event"], 0)
        if again:
            path.write_bytes(b"")
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert list(make().adopt()) == []


def test_owners_come_and_go_under_adopters(folder: Path) -> None:
    """Several processes make logs, are done with them, and adopt, all at once: each event is ended
    once, and nothing is left."""
    program = """
    sent, ended = [], []
    for n in range(60):
        spool = make(segment=300)
        for m in range(20):
            event = b"%d-%d-%d" % (os.getpid(), n, m)
            spool.append(event, 1.0, True)
            sent.append(event)
        if n % 3 == 0:
            spool.tend()
        if n % 3 == 1:
            own = spool.own
            ended += [each.event for each in everything(own)[:7]]
            own.remove([each.position for each in everything(own)[:7]])
        for log in spool.adopt():
            stored = everything(log)
            ended += [each.event for each in stored]
            log.remove([each.position for each in stored])
            log.release()
        if n % 2:
            spool.release()
        del spool
    print(len(sent), flush=True)
    print(b" ".join(ended).decode(), flush=True)
    """
    processes = [start(folder, program) for _ in range(4)]
    ended: Counter[bytes] = Counter()
    sent = 0
    for process in processes:
        out, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 0
        first, second = out.splitlines()
        sent += int(first)
        ended.update(second.split())
    left, damaged = empty(folder)
    ended.update(left)
    assert damaged == 0
    assert [event for event, count in ended.items() if count > 1] == []
    assert len(ended) == sent
    assert listing(folder) == []


def test_a_log_in_the_hands_of_a_stopped_process_is_not_taken(folder: Path) -> None:
    """It lives: only its end frees its log."""
    process = start(
        folder,
        """
        spool = make()
        spool.append(b"event", 1.0, True)
        print("ready", flush=True)
        sys.stdin.read()
        """,
    )
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(19)
    try:
        assert empty(folder) == ([], 0)
    finally:
        process.kill()
        process.communicate()
    assert empty(folder) == ([b"event"], 0)


def test_a_backlog_is_read_in_little_memory(folder: Path) -> None:
    """The first window of a large backlog is there without a look at the rest, and reading it all
    takes no more memory than a few windows."""
    out = run(
        folder,
        """
        import tracemalloc
        spool = make(segment=1_000_000)
        for n in range(24_000):
            spool.append(b"x" * 340, 1.0, True)
            if not n % 1000 and spool.due:
                spool.tend()
        spool.release()
        tracemalloc.start()
        reads = []
        read = os.pread
        os.pread = lambda *arguments: reads.append(1) or read(*arguments)
        (log,) = make().adopt()
        window = log.read(None, 100, EVERYTHING)
        print(len(reads))
        count, after, end = 0, None, False
        while not end:
            window = log.read(after, 1000, EVERYTHING)
            after, end = window.after, window.end
            count += len(window.events)
            log.remove([each.position for each in window.events])
        assert count == 24_000
        print(tracemalloc.get_traced_memory()[1])
        log.release()
        assert os.listdir(FOLDER) == []
        """,
    )
    reads, memory = map(int, out.split())
    assert reads < 5
    assert memory < 4_000_000


def test_everything_of_an_adopted_log_is_there_for_its_window(
    folder: Path, make: Callable[..., Spool]
) -> None:
    """Whatever the windows are; nothing comes twice."""
    spool = make(segment=1_000)
    for n in range(200):
        spool.append(b"%d" % n, 1.0, True)
        spool.tend()
    spool.release()
    (log,) = make().adopt()
    assert [each.event for each in everything(log).events] == [b"%d" % n for n in range(200)]
    assert len(files(folder, "log")) > 4
