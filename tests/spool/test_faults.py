"""What the system refuses: space, files of any length, the directory itself."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from masivo.protocol import Note, RejectedEvent, StoreError
from masivo.spool.disk import Folder
from masivo.spool.records import FRAME

from .programs import run
from .reading import bodies, empty, everything, files, listing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from masivo.spool import Spool
    from masivo.spool.tail import Tail


def until_full(spool: Spool, size: int = 300) -> tuple[list[int], str]:
    """Append until that fails; return the positions, and the error."""
    positions: list[int] = []
    while True:
        try:
            positions.append(spool.append(b"x" * size, 1.0, True))
        except StoreError as error:
            return positions, str(error)


def test_a_full_spool_takes_events_again_when_others_have_gone(
    folder: Path, make: Callable[..., Spool]
) -> None:
    """The bound is kept within a few events; what was in it is whole."""
    spool = make(max_bytes=200_000)
    for _ in range(5):
        positions, error = until_full(spool)
        assert "spool_max_bytes=200000" in error
        assert str(folder) in error
        assert len(positions) > 400
        assert sum(path.stat().st_size for path in folder.iterdir()) < 200_000 + 64 * 400
        assert spool.due
        assert spool.tend()
        assert spool.own is not None
        assert len(everything(spool.own).events) == len(positions)
        spool.own.remove(positions)
        assert spool.tend()


def test_a_spool_may_be_filled_to_its_bound(make: Callable[..., Spool]) -> None:
    """The bound is the most bytes, not the first that are too many."""
    spool = make(max_bytes=FRAME + 300)
    assert spool.has_room
    spool.append(b"x" * 300, 1.0, True)
    assert not spool.has_room


def test_events_that_are_stored_together_find_room_or_none_is_stored(
    make: Callable[..., Spool],
) -> None:
    """The bound is for all of them at once."""
    spool = make(max_bytes=2_000)
    kept = spool.append_all([b"x" * 300] * 3, 1.0, True)
    with pytest.raises(StoreError, match="the spool is full"):
        spool.append_all([b"y" * 300] * 4, 1.0, True)
    assert spool.own is not None
    assert [each.position for each in everything(spool.own).events] == kept


def test_the_bytes_of_a_parent_process_do_not_count(make: Callable[..., Spool]) -> None:
    """The child of a fork begins a log of its own, with the whole bound."""
    spool = make(max_bytes=20_000)
    for _ in range(2):  # the first segment is closed in between
        until_full(spool)
        spool.tend()
    spool.forked()
    assert spool.has_room
    spool.append(b"x", 1.0, True)


def test_a_segment_is_small_beside_the_bound(folder: Path, make: Callable[..., Spool]) -> None:
    """So that space comes back bit by bit."""
    spool = make(max_bytes=200_000)
    positions: list[int] = []
    for _ in range(100):
        positions.append(spool.append(b"x" * 1_000, 1.0, True))
        if spool.due:
            spool.tend()
    before = sum(path.stat().st_size for path in folder.iterdir())
    assert spool.own is not None
    spool.own.remove(positions[:50])
    assert spool.due
    spool.tend()
    after = sum(path.stat().st_size for path in folder.iterdir())
    assert after < before - 35_000


def test_what_was_adopted_counts(folder: Path, make: Callable[..., Spool]) -> None:
    """A client's bound is for all of its logs."""
    first = make(max_bytes=1_000_000)
    until_full(first)
    first.release()
    second = make(max_bytes=1_000_000)
    positions, _ = until_full(second, 100)
    assert len(positions) > 5_000
    (log,) = second.adopt()
    with pytest.raises(StoreError, match="full"):
        until_full_at_once(second)
    log.remove([each.position for each in everything(log).events])
    everything(log)
    assert second.own is not None
    second.own.remove(positions)
    second.tend()
    until_full(second)


def until_full_at_once(spool: Spool) -> None:
    """Append as many events as lie between two looks at the bound."""
    for _ in range(65):
        spool.append(b"x", 1.0, True)


def test_a_limit_of_file_size_fails_the_call_alone(folder: Path) -> None:
    """A write that the system cuts short: the event was not accepted, those before it are whole,
    and there is room again in the next segment, though this one is not large. The torn record is no
    damage."""
    out = run(
        folder,
        """
        spool = make()
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
        sent = []
        for n in range(3000):
            event = b"%06d" % n + b"x" * 300
            try:
                spool.append(event, 1.0, True)
            except StoreError as error:
                print(error)
                break
            sent.append(event)
        assert 1_400 < len(sent) < 1_600, len(sent)
        assert spool.due
        assert spool.tend()
        assert not spool.due
        for n in range(100):
            event = b"again-%06d" % n
            spool.append(event, 1.0, True)
            sent.append(event)
        window = spool.own.read(None, EVERYTHING, EVERYTHING)
        assert [each.event for each in window.events] == sent
        assert window.damaged == 0
        spool.own.remove([each.position for each in window.events])
        spool.release()
        assert os.listdir(FOLDER) == [], os.listdir(FOLDER)
        """,
    )
    assert "cannot be written" in out
    assert "No space left on device" in out or "File too large" in out


def call(*command: str) -> int:
    """Run a command that may fail."""
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode


def half(write: Callable[..., int]) -> Callable[..., int]:
    """A write that the system cuts short."""

    def write_half(fd: int, data: bytes, *at: int) -> int:
        return write(fd, data[: len(data) // 2], *at)

    return write_half


def nothing(_write: Callable[..., int]) -> Callable[..., int]:
    """A write of which the system takes nothing."""

    def fail(_fd: int, _data: bytes, *_at: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return fail


@contextmanager
def failing(fault: Callable[[Callable[..., int]], Callable[..., int]]) -> Generator[None]:
    """Have every write fail: ``half`` of it, or ``nothing``, is written."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("pwrite", "write"):
            patch.setattr(os, name, fault(getattr(os, name)))
        yield


def test_a_record_that_was_refused_half_written_is_no_damage(
    folder: Path, make: Callable[..., Spool]
) -> None:
    """Wherever it lies: its call has failed."""
    spool = make()
    for n in range(6):
        spool.append(b"whole-%d" % n, 1.0, True)
        with failing(half), pytest.raises(StoreError, match="No space left on device"):
            spool.append(b"torn-%d" % n, 1.0, True)
    assert spool.own is not None
    window = everything(spool.own)
    assert [each.event for each in window.events] == [b"whole-%d" % n for n in range(6)]
    assert window.damaged == 0
    assert not files(folder, "bad")
    spool.release()
    assert len(empty(folder)[0]) == 6


def test_a_torn_record_that_is_read_later_is_no_damage(
    folder: Path, make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the process had no descriptor left when its segment was closed."""
    spool = make()
    spool.append(b"whole", 1.0, True)
    with failing(half), pytest.raises(StoreError, match="No space left on device"):
        spool.append(b"torn", 1.0, True)
    spool.append(b"after", 1.0, True)

    def starved(_disk: Folder, _name: str, _offset: int, _size: int) -> bytes:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "read", starved)
        spool.tend()
    spool.tend()
    assert spool.own is not None
    window = everything(spool.own)
    assert [each.event for each in window.events] == [b"whole", b"after"]
    assert window.damaged == 0
    assert not files(folder, "bad")


@pytest.mark.parametrize("fault", [half, nothing])
def test_damage_after_a_write_that_failed_is_damage(
    folder: Path,
    make: Callable[..., Spool],
    fault: Callable[[Callable[..., int]], Callable[..., int]],
) -> None:
    """It is counted and kept: only the part that the failed call wrote is no damage."""
    spool = make()
    spool.append(b"before", 1.0, True)
    with failing(fault), pytest.raises(StoreError, match="No space left on device"):
        spool.append(b"failed", 1.0, True)
    spool.tend()
    for n in range(3):
        spool.append(b"after-%d" % n, 1.0, True)
    path = files(folder, "log")[-1]
    path.write_bytes(path.read_bytes().replace(b"after-1", b"after-x"))
    assert spool.own is not None
    window = everything(spool.own)
    assert [each.event for each in window.events] == [b"before", b"after-0", b"after-2"]
    assert window.damaged == 1
    assert len(files(folder, "bad")) == 1


def test_notes_that_were_refused_half_written_are_not_there(make: Callable[..., Spool]) -> None:
    """Those after them are whole; a removal is written later."""
    spool = make()
    positions = [spool.append(b"%d" % n, 1.0, True) for n in range(6)]
    assert spool.own is not None
    with failing(half):
        with pytest.raises(StoreError, match="cannot be written: No space left on device"):
            spool.own.note(Note(positions[:3], "half", b""))
        spool.own.remove(positions[:2])
    assert len(everything(spool.own).events) == 4
    spool.own.note(Note(positions[4:], "whole", b""))
    spool.tend()
    spool.release()
    (log,) = make().adopt()
    assert [each.note.key for each in log.noted()] == ["whole"]
    window = everything(log)
    assert [each.position for each in window.events] == positions[2:]
    assert window.damaged == 0


@pytest.mark.skipif(sys.platform != "linux", reason="it mounts a file system")
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_full_disk_is_left_again_by_what_is_sent(folder: Path) -> None:
    """Every call either stored its event or said that it did not; removing makes room, though
    removals cannot be written; a batch that cannot be noted is an error."""
    mounted = call("mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "none", str(folder)) == 0
    if not mounted:
        pytest.skip("this system does not let the tests mount a file system")
    try:
        out = run(
            folder,
            """
            spool = make(segment=400_000)
            sent = {}
            def fill():
                while True:
                    try:
                        sent[spool.append(b"x" * 300, 1.0, True)] = b"x" * 300
                    except StoreError as error:
                        return str(error)
                    if spool.due:
                        spool.tend()
            print(fill())
            for _ in range(3):
                log = spool.own
                assert {each.position for each in everything(log)} == set(sent)
                batch = list(sent)[:2500]
                try:
                    log.note(Note(batch, "key", b""))
                except StoreError as error:
                    print(error)
                log.remove(batch)
                for position in batch:
                    del sent[position]
                spool.tend()
                before = len(sent)
                fill()
                assert len(sent) > before + 1000, (before, len(sent))
            spool.own.remove(list(sent)[:-5])
            spool.tend()
            spool.release()
            """,
        )
        assert "No space left on device" in out
        events, damaged = empty(folder)
        assert len(events) == 5
        assert damaged <= 1  # a record that was refused half-written
    finally:
        call("umount", str(folder))


def test_a_directory_that_cannot_be_written_fails_the_call(
    folder: Path, make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason; when it can be written, the spool works."""
    spool = make()

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(StoreError, match="cannot be written: Permission denied"):
            spool.append(b"event", 1.0, True)
        assert spool.tend()
        assert list(spool.adopt()) == []
        with pytest.raises(StoreError, match="Permission denied"):
            spool.reject([RejectedEvent(b"{}", "why", 422, 1.0)])
    spool.append(b"event", 1.0, True)
    assert bodies(spool.own) == [b"event"]


def test_a_log_whose_first_segment_cannot_be_made_leaves_nothing(
    folder: Path, make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock was made before it. Each call begins another log: such locks would pile up."""
    spool = make()

    def refuse(*_: object) -> Tail:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "make_tail", refuse)
        with pytest.raises(StoreError, match="cannot be written: No space left"):
            spool.append(b"event", 1.0, True)
        assert listing(folder) == []
    spool.append(b"event", 1.0, True)
    assert bodies(spool.own) == [b"event"]


def test_a_directory_that_is_deleted_is_made_again(
    folder: Path, make: Callable[..., Spool]
) -> None:
    """The loss is noticed at the next look; whoever holds the events may append them again."""
    spool = make()
    position = spool.append(b"before", 1.0, True)
    assert spool.tend()
    shutil.rmtree(folder)
    assert not spool.tend()
    assert spool.tend()
    spool.append(b"after", 1.0, True)
    assert bodies(spool.own) == [b"after"]
    assert spool.own is not None
    spool.own.remove([position])
    spool.own.note(Note([position], "key", b""))
    assert bodies(spool.own) == [b"after"]
    spool.release()
    assert empty(folder)[0] == [b"after"]


def test_files_that_are_deleted_are_noticed(folder: Path, make: Callable[..., Spool]) -> None:
    """The segment alone, or the lock alone: another log is begun, nothing is lost that is there."""
    for kind in ("log", "lock"):
        spool = make()
        spool.append(b"before", 1.0, True)
        assert spool.tend()
        files(folder, kind)[0].unlink()
        assert not spool.tend()
        spool.append(b"after", 1.0, True)
        assert spool.tend()
        assert bodies(spool.own) == [b"after"]
        spool.release()
        left, damaged = empty(folder)
        assert sorted(left) == ([b"after"] if kind == "log" else [b"after", b"before"])
        assert damaged == 0
        assert listing(folder) == []
