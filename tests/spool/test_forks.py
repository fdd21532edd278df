"""Forks: a child begins a log of its own and never touches its parent's, whose lock survives
whatever the child does. All of it runs in processes of their own."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

import pytest

from masivo.spool.process import asked_once

from .programs import run, start
from .reading import empty

if TYPE_CHECKING:
    from pathlib import Path

FORKS = pytest.mark.parametrize("announced", [True, False], ids=["announced", "unannounced"])


@FORKS
def test_a_child_has_a_number_of_its_own(folder: Path, announced: bool) -> None:
    """The number of a process is that of the system in a child, and in a child of the child."""
    run(
        folder,
        f"""
        from masivo.spool.process import process

        def child():
            assert process() == os.getpid() != parent
            if os.getppid() == parent:
                reap(fork(child, {announced}))

        parent = os.getpid()
        assert process() == process() == parent
        reap(fork(child, {announced}))
        assert process() == parent
        """,
    )


def test_a_system_that_does_not_clear_memory_is_asked_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Old systems reject the advice, and some emulators take any: both are found out."""

    class Lenient(mmap.mmap):
        def madvise(self, *_: int) -> None:
            pass

    class Strict(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError

    for other in (Lenient, Strict):
        monkeypatch.setattr(mmap, "mmap", other)
        assert asked_once() is os.getpid
    monkeypatch.delattr(mmap, "MAP_PRIVATE")
    assert asked_once() is os.getpid


@FORKS
def test_a_child_appends_to_a_log_of_its_own(folder: Path, announced: bool) -> None:
    """Beside its parent, at the same time; positions of the parent's mean nothing in it. The fork
    is noticed at its first append where nobody calls ``forked``."""
    run(
        folder,
        f"""
        spool = make(segment=500)
        positions = [spool.append(b"parent-%d" % n, 1.0, True) for n in range(20)]
        spool.tend()
        spool.own.note(Note(positions[:3], "key", b""))
        before = sorted(os.listdir(FOLDER))

        def child():
            if {announced}:
                spool.forked()
            assert spool.own is None
            spool.append(b"child-0", 1.0, True)
            own = spool.own
            own.remove(positions)
            assert [each.event for each in everything(own)] == [b"child-0"]
            for n in range(1, 30):
                spool.append(b"child-%d" % n, 1.0, True)
            spool.tend()
            own.remove([each.position for each in everything(own)][:10])
            spool.release()

        pid = fork(child, {announced})
        for n in range(20, 40):
            spool.append(b"parent-%d" % n, 1.0, True)
        reap(pid)
        assert set(before) < set(os.listdir(FOLDER))
        found = [each.event for each in everything(spool.own)]
        assert found == [b"parent-%d" % n for n in range(40)]
        spool.release()
        """,
    )
    events, damaged = empty(folder)
    assert sorted(events) == sorted(
        [b"parent-%d" % n for n in range(40)] + [b"child-%d" % n for n in range(10, 30)]
    )
    assert damaged == 0


@FORKS
def test_a_child_keeps_what_it_adopted_before_its_first_append(
    folder: Path, announced: bool
) -> None:
    """Its first append drops its parent's logs, and none of its own."""
    run(
        folder,
        f"""
        other = make()
        other.append(b"left", 1.0, True)
        spool = make()

        def child():
            if {announced}:
                spool.forked()
            (log,) = spool.adopt()
            spool.append(b"child", 1.0, True)
            assert log.is_linked
            assert [each.event for each in everything(log)] == [b"left"]
            log.note(Note([0], "key", b""))
            spool.release()

        other.release()
        pid = fork(child, {announced})
        reap(pid)
        (log, _) = spool.adopt()
        assert [each.note.key for each in log.noted()] == ["key"]
        """,
    )


ACTS = (
    "spool.release()",
    "spool.tend(); spool.own; [log.release() for log in spool.adopt()]",
    "own.remove(positions); own.note(Note(positions, 'k', b'')); own.release()",
    "own.read(None, 10, 10); own.noted(); own.left()",
    "globals().pop('spool'); globals().pop('own'); gc.collect()",
    "os.closerange(3, 100)",
    "spool.append(b'x', 1.0, True); os.kill(os.getpid(), signal.SIGSTOP)",
    "pass",
)


@FORKS
def test_the_parents_lock_survives_whatever_the_child_does(folder: Path, announced: bool) -> None:
    """It neither unlocks nor deletes nor changes what is its parent's."""
    run(
        folder,
        f"""
        def parent(act):
            global FOLDER, spool, own, positions
            print(act)
            FOLDER += "/" + str(ACTS.index(act))
            os.mkdir(FOLDER, 0o700)
            spool = make()
            positions = [spool.append(b"parent-%d" % n, 1.0, True) for n in range(20)]
            own = spool.own
            before = {{name: os.stat(FOLDER + "/" + name).st_size for name in os.listdir(FOLDER)}}

            def child():
                if {announced}:
                    spool.forked()
                exec(act, globals())

            pid = fork(child, {announced})
            status = os.waitpid(pid, os.WUNTRACED)[1]
            assert os.WIFSTOPPED(status) or os.waitstatus_to_exitcode(status) == 0
            for name, size in before.items():
                assert os.stat(FOLDER + "/" + name).st_size == size
            other = make()
            found = [log.name for log in other.adopt()]
            assert own.name not in found
            spool.append(b"parent-20", 1.0, True)
            assert len(everything(own)) == 21
            os.kill(pid, signal.SIGKILL) if os.WIFSTOPPED(status) else None

        ACTS = {ACTS}
        for act in ACTS:
            reap(fork(lambda: parent(act)))
        """,
    )
    for n in range(len(ACTS)):
        events, _ = empty(folder / str(n))
        assert [b"parent-%d" % n for n in range(21)] == [e for e in events if e != b"x"]


@FORKS
def test_a_killed_parents_log_is_adopted_while_its_child_lives(
    folder: Path, announced: bool
) -> None:
    """A child keeps no copy of what locks its parent's log, once it has noticed the fork."""
    process = start(
        folder,
        f"""
        spool = make()
        spool.append(b"parent", 1.0, True)
        adopted = make("other")
        left = make("other")
        left.append(b"adopted", 1.0, True)
        left.release()
        logs = [*adopted.adopt(), spool.own]  # the core has them in its hands, too
        assert len(logs) == 2

        def child():
            if {announced}:
                spool.forked()
                adopted.forked()
            spool.append(b"child", 1.0, True)
            adopted.append(b"child", 1.0, True)
            print("ready", os.getpid(), flush=True)
            sys.stdin.read()

        pid = fork(child, {announced})
        signal.pause()
        """,
    )
    try:
        assert process.stdout.readline().startswith(b"ready")
        process.kill()
        process.wait(10)
        assert empty(folder) == ([b"parent"], 0)
        assert empty(folder, "other") == ([b"adopted"], 0)
    finally:
        process.kill()
        process.communicate()  # the child ends with its standard input
    assert empty(folder) == ([b"child"], 0)


def test_forks_of_many_threads(folder: Path) -> None:
    """Children that are forked while other threads append, in the middle of a segment's change:
    each works, and all events are there once."""
    out = run(
        folder,
        """
        spool = make(segment=2_000)
        done = threading.Event()
        sent = [0] * 3

        def send(thread):
            while not done.is_set():
                spool.append(b"p%d-%d" % (thread, sent[thread]), 1.0, True)
                sent[thread] += 1
                time.sleep(0)

        def poll():
            while not done.is_set():
                spool.tend()
                time.sleep(0)

        threads = [threading.Thread(target=send, args=(n,)) for n in range(3)]
        threads.append(threading.Thread(target=poll))
        for thread in threads:
            thread.start()

        def child():
            spool.forked()
            for n in range(50):
                spool.append(b"c%d-%d" % (os.getpid(), n), 1.0, True)
                spool.tend()

        for _ in range(15):
            reap(fork(child))
        done.set()
        for thread in threads:
            thread.join()
        print(sum(sent))
        """,
    )
    events, damaged = empty(folder)
    assert damaged == 0
    assert len(events) == len(set(events)) == int(out) + 15 * 50
