"""Files that were cut off, overwritten, emptied, or that a newer version wrote: that costs what was
there and no more; the bad part is kept under another name, and counted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import pytest

from masivo.protocol import Note
from masivo.spool import Spool, records
from masivo.spool.bodies import packed_group

from .reading import empty, everything, files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVENTS = [b'{"n":%06d}' % n + b"x" * 50 for n in range(300)]


@pytest.fixture
def left(folder: Path, make: Callable[..., Spool]) -> Path:
    """A directory in which a log of several segments was left, with a note and a removal."""
    spool = make(segment=8_000)
    positions: list[int] = []
    for event in EVENTS:
        positions.append(spool.append(event, 1.0, True))
        if spool.due:
            spool.tend()
    assert spool.own is not None
    spool.own.note(Note(positions[5:10], "key", b""))
    spool.own.remove(positions[:5])
    spool.release()
    assert len(files(folder, "log")) > 2
    return folder


def missing(found: list[bytes]) -> list[int]:
    """The numbers of events that are not there."""
    there = set(found)
    return [n for n, event in enumerate(EVENTS) if event not in there]


def test_a_torn_record_costs_itself(left: Path) -> None:
    """As a crash in the middle of a write leaves it."""
    last = files(left, "log")[-1]
    data = last.read_bytes()
    last.write_bytes(data + data[:40])
    found, damaged = empty(left)
    assert missing(found) == [0, 1, 2, 3, 4]
    assert damaged == 1
    (bad,) = left.iterdir()
    assert bad.suffix == ".bad"
    assert bad.read_bytes() == data[:40]


def test_a_segment_that_was_cut_off_costs_its_end(left: Path) -> None:
    """The other segments are read."""
    first = files(left, "log")[0]
    data = first.read_bytes()
    first.write_bytes(data[: data.find(EVENTS[50]) + 10])
    found, damaged = empty(left)
    assert damaged == 1
    gone = missing(found)[5:]
    assert gone == list(range(50, gone[-1] + 1))
    assert len(gone) == data.count(b'{"n":') - 50


def test_overwritten_bytes_cost_the_records_that_they_were_in(left: Path) -> None:
    """Zeros, as a power failure leaves them, or anything."""
    first, second = files(left, "log")[:2]
    for path, garbage in ((first, bytes(400)), (second, os.urandom(400))):
        data = bytearray(path.read_bytes())
        data[2_000:2_400] = garbage
        path.write_bytes(data)
    found, damaged = empty(left)
    assert damaged == 2
    assert len(missing(found)) - 5 <= 2 * (400 // (50 + records.FRAME) + 2)
    assert len(found) == len(set(found))


def test_a_segment_of_garbage_costs_itself(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a segment that is gone, too. It counts once, in however many parts it is read."""
    monkeypatch.setattr(records, "_BAD", 1_000)
    monkeypatch.setattr(records, "_PIECE", 100)
    first, second, *_ = files(left, "log")
    first.write_bytes(os.urandom(5_000))
    second.unlink()
    found, damaged = empty(left)
    assert damaged == 1
    assert len(found) + len(missing(found)) == 300
    assert set(EVENTS[200:]) <= set(found)
    assert sum(path.stat().st_size for path in left.iterdir()) == 5_000


def test_damaged_notes_bring_events_back_and_lose_none(left: Path) -> None:
    """A removal that cannot be read did not happen."""
    for path in files(left, "notes"):
        path.write_bytes(os.urandom(path.stat().st_size))
    found, damaged = empty(left)
    assert sorted(found) == sorted(EVENTS)
    assert damaged >= 1


def test_notes_that_were_cut_off_count_up_to_there(left: Path) -> None:
    """As a crash in the middle of a write leaves them."""
    (path,) = files(left, "notes")
    data = path.read_bytes()
    path.write_bytes(data[:-3])
    found, damaged = empty(left)
    assert sorted(found) == sorted(EVENTS)
    assert damaged == 1


def test_a_cut_record_is_not_made_whole_by_the_next(
    folder: Path, make: Callable[..., Spool]
) -> None:
    """A power failure has cut off its last byte, which is the one that each record begins with:
    what an adopter writes is in another file, and is read."""
    first = make()
    positions = [first.append(b"%d" % n, 1.0, True) for n in range(20)]
    assert first.own is not None
    first.own.remove(positions[5:10])
    first.release()
    (notes,) = files(folder, "notes")
    data = notes.read_bytes()
    assert data.endswith(b"\n")
    notes.write_bytes(data[:-1])
    second = make()
    (log,) = second.adopt()
    log.remove(positions[10:15])
    second.release()
    assert empty(folder)[0] == [b"%d" % n for n in (*range(10), *range(15, 20))]


def test_a_noted_batch_of_which_events_are_damaged_is_none(
    left: Path, make: Callable[..., Spool]
) -> None:
    """Its other events are there, and go as any others do."""
    first = files(left, "log")[0]
    data = bytearray(first.read_bytes())
    at = data.find(EVENTS[7])
    data[at : at + 4] = b"!!!!"
    first.write_bytes(data)
    (log,) = make().adopt()
    assert log.noted() == []
    assert missing([each.event for each in everything(log).events]) == [0, 1, 2, 3, 4, 7]


def test_the_notes_of_a_segment_that_is_gone_are_nothing(
    left: Path, make: Callable[..., Spool]
) -> None:
    """A batch whose events are not there cannot be sent."""
    files(left, "log")[0].unlink()
    (log,) = make().adopt()
    assert log.noted() == []


def test_a_segment_that_goes_while_its_log_is_held_is_empty(
    left: Path, make: Callable[..., Spool]
) -> None:
    """Nothing in it is counted as damaged: nothing is there."""
    (log,) = make().adopt()
    for segment in files(left, "log"):
        segment.unlink()
    window = everything(log)
    assert (window.events, window.damaged, window.end) == ([], 0, True)


def test_records_of_a_newer_version_are_kept(left: Path) -> None:
    """In a segment and in the notes: counted, and found again byte for byte in the file of bad
    parts. So are those of a known kind in another form."""
    newer = records.encode(0x7A, 5, 1.0, packed_group([999], [b"of a newer version"]))
    for path in (files(left, "log")[0], files(left, "notes")[0]):
        with path.open("ab") as file:
            file.write(newer)
    with files(left, "notes")[0].open("ab") as file:
        file.write(records.encode(records.NOTE, 0, 0.0, b"no note"))
        odd = msgspec.msgpack.encode(([6, 1, 7], "key", b""))
        file.write(records.encode(records.NOTE, 0, 0.0, odd))
        file.write(records.encode(records.REMOVAL, 0, 0.0, b"no removal"))
    found, damaged = empty(left)
    assert missing(found) == [0, 1, 2, 3, 4]
    assert damaged == 5
    (bad,) = left.iterdir()
    assert bad.read_bytes().count(newer) == 2


def test_an_emptied_lock_file_costs_nothing(left: Path) -> None:
    """A power failure can leave one: the log's name says whose it is."""
    files(left, "lock")[0].write_bytes(b"")
    found, damaged = empty(left)
    assert (len(found), damaged) == (295, 0)


def test_a_lock_file_that_is_gone_costs_nothing(left: Path) -> None:
    """It is made again."""
    files(left, "lock")[0].unlink()
    found, damaged = empty(left)
    assert (len(found), damaged) == (295, 0)
    assert list(left.iterdir()) == []


def test_files_of_others_are_left_alone(left: Path) -> None:
    """Whatever lies in the directory: it is neither read nor deleted."""
    others = {"README": b"hands off", "x.log": b"a log", "v1-0-1.log": b"?", "a.lock": b""}
    for name, data in others.items():
        (left / name).write_bytes(data)
    found, damaged = empty(left)
    assert (len(found), damaged) == (295, 0)
    assert {path.name: path.read_bytes() for path in left.iterdir()} == others


def test_a_segment_that_cannot_be_read_is_left(
    left: Path, make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are; it stays for the next attempt."""
    spool = make()
    broken = files(left, "log")[0]
    read = os.pread

    def pread(fd: int, size: int, offset: int) -> bytes:
        if os.path.samestat(os.fstat(fd), broken.stat()):
            raise OSError(5, "Input/output error")
        return read(fd, size, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", pread)
        (log,) = spool.adopt()
        window = everything(log)
        assert window.damaged == 1
        log.remove([each.position for each in window.events])
        log.release()
    assert files(left, "log") == [broken]
    assert 0 < len(empty(left)[0]) < 200
    assert list(left.iterdir()) == []
