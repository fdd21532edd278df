"""A log: what is appended is read until it is removed, in segments that come and go."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from masivo.protocol import Note, Place, StoreError
from masivo.spool.bodies import packed_group
from masivo.spool.records import CERTAIN, GROUP_CERTAIN, encode

from .conftest import KEY, URL
from .reading import EVERYTHING, bodies, empty, everything, files, in_windows, listing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from masivo.protocol import StoredLog
    from masivo.spool import Spool
    from masivo.spool.log import Log


def fill(spool: Spool, count: int, start: int = 0) -> list[int]:
    """Append events; return their positions."""
    return [
        spool.append(b"event %d" % n, float(n), n % 2 == 0) for n in range(start, start + count)
    ]


def own(spool: Spool) -> Log:
    """The log of one's own."""
    assert spool.own is not None
    return spool.own


def adopted(make: Callable[..., Spool]) -> StoredLog:
    """The one log that is left."""
    (log,) = make().adopt()
    return log


# ── Reading ──────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_made_before_the_first_event(folder: Path, spool: Spool) -> None:
    """No file; the poll's side finds nothing."""
    assert spool.own is None
    assert not spool.due
    assert spool.tend()
    assert listing(folder) == []
    spool.release()
    assert listing(folder) == []


def test_events_that_were_stored_together_are_read_as_others_are(
    spool: Spool, make: Callable[..., Spool]
) -> None:
    """In windows that end in the middle of them, too, until they are removed: by their positions,
    in a segment of their own or with others, by an adopter."""
    positions = fill(spool, 3)
    positions += spool.append_all([b"together %d" % n for n in range(20)], 5.0, True)
    positions += fill(spool, 2)
    positions += spool.append_all([b"again"], 6.0, False)
    for size in (1, 7, 100):
        stored = in_windows(own(spool), size)
        assert [each.position for each in stored] == positions
        assert [each.at for each in stored[3:23]] == [5.0] * 20
        assert (stored[22].event, stored[22].certain) == (b"together 19", True)
        assert (stored[-1].event, stored[-1].certain) == (b"again", False)
    own(spool).remove(positions[1:10])
    assert own(spool).left()[0] == len(positions) - 9
    spool.release()
    log = adopted(make)
    assert [each.position for each in in_windows(log, 4)] == [positions[0], *positions[10:]]
    log.remove(positions)
    log.release()
    assert spool.strangers == 0


@pytest.mark.parametrize("body", [b"another form", packed_group([7, 8], [b"one"])])
def test_a_group_of_another_form_is_kept_as_damaged(
    folder: Path, spool: Spool, body: bytes
) -> None:
    """A newer version may have written it."""
    fill(spool, 1)
    (file,) = files(folder, "log")
    with file.open("ab") as end:
        end.write(encode(GROUP_CERTAIN, 7, 1.0, body))
    fill(spool, 1)
    window = own(spool).read(None, 10, 1_000)
    assert (len(window.events), window.damaged) == (2, 1)
    assert len(files(folder, "bad")) == 1


def test_events_are_read_as_they_were_appended(spool: Spool) -> None:
    """With time and position, in order, in windows of any size."""
    positions = fill(spool, 50)
    stored = in_windows(own(spool), 7)
    assert [each.position for each in stored] == positions
    assert [each.event for each in stored] == [b"event %d" % n for n in range(50)]
    assert [each.at for each in stored] == [float(n) for n in range(50)]
    assert [each.certain for each in stored] == [n % 2 == 0 for n in range(50)]


def test_a_window_is_bounded_by_bytes(spool: Spool) -> None:
    """But holds one event at least."""
    fill(spool, 3)
    log = own(spool)
    size = len(b"event 0")
    assert len(log.read(None, 10, 2 * size).events) == 2
    assert len(log.read(None, 10, 2 * size - 1).events) == 1
    assert len(log.read(None, 10, 1).events) == 1


def test_reading_goes_on_where_it_ended(spool: Spool) -> None:
    """Also where more was appended meanwhile, and another segment was begun."""
    fill(spool, 3)
    log = own(spool)
    window = log.read(None, EVERYTHING, EVERYTHING)
    assert window.end
    assert log.read(window.after, 9, EVERYTHING).events == []
    fill(spool, 2, start=3)
    log.tend(1)
    fill(spool, 2, start=5)
    window = log.read(window.after, 9, EVERYTHING)
    assert [each.event for each in window.events] == [b"event %d" % n for n in (3, 4, 5, 6)]


def test_removed_events_are_not_read(spool: Spool) -> None:
    """In whatever order they are removed; unknown positions are nothing."""
    positions = fill(spool, 10)
    log = own(spool)
    log.remove([positions[7], positions[2], 10**12])
    log.remove(positions[4:6])
    log.remove([])
    assert bodies(log) == [b"event %d" % n for n in (0, 1, 3, 6, 8, 9)]
    assert log.left() == (6, 6 * len(b"event 0"), 0.0)


def test_a_long_event_is_stored(spool: Spool) -> None:
    """Longer than what is read at once."""
    event = os.urandom(300_000)
    spool.append(event, 1.0, True)
    fill(spool, 1)
    assert bodies(spool.own) == [event, b"event 0"]


def test_an_event_past_all_bounds_is_not_stored(spool: Spool) -> None:
    """A reader would take it for damage."""
    with pytest.raises(StoreError, match="too large"):
        spool.append(b"x" * (64 << 20), 1.0, True)
    fill(spool, 1)
    assert bodies(spool.own) == [b"event 0"]


# ── Segments ─────────────────────────────────────────────────────────────────────────────────


def test_segments_are_deleted_when_nothing_is_left_of_them(
    folder: Path, make: Callable[..., Spool]
) -> None:
    """Whichever is empty first; their notes, when no earlier segment needs them. The next upkeep
    does it, as a removal takes no longer than a write."""
    spool = make(segment=500)
    positions: list[list[int]] = []
    for n in range(4):
        positions.append(fill(spool, 20, start=20 * n))
        assert spool.due
        assert spool.tend()
    log = own(spool)
    assert len(files(folder, "log")) == 5
    assert not spool.due
    log.remove(positions[2])
    assert len(files(folder, "log")) == 5
    assert spool.due
    assert spool.tend()
    assert not spool.due
    assert [path.name[-10:-4] for path in files(folder, "log")] == [
        "000001",
        "000002",
        "000004",
        "000005",
    ]
    log.remove(positions[0] + positions[1][:-1])
    assert spool.tend()
    assert [path.name[-10:-4] for path in files(folder, "log")] == ["000002", "000004", "000005"]
    assert bodies(log) == [b"event 39", *(b"event %d" % n for n in range(60, 80))]
    log.remove([positions[1][-1], *positions[3]])
    assert spool.tend()
    assert [path.name[-10:-4] for path in files(folder, "log")] == ["000005"]
    fill(spool, 20, start=80)
    spool.tend()
    assert [path.name[-12:-6] for path in files(folder, "notes")] == ["000005"]
    spool.release()
    assert empty(folder)[0] == [b"event %d" % n for n in range(80, 100)]
    assert listing(folder) == []


def test_one_segment_at_most_is_left_in_the_end(folder: Path, make: Callable[..., Spool]) -> None:
    """After any number of events that were removed, however they were read."""
    spool = make(segment=2_000)
    total = 0
    for n in range(30):
        positions = fill(spool, 37, start=37 * n)
        spool.tend()
        own(spool).remove(positions)
        total += len(positions)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2 * 2_000
    assert own(spool).left() == (0, 0, None)


def test_a_segment_keeps_what_was_appended_and_never_heard_of(
    folder: Path, make: Callable[..., Spool]
) -> None:
    """A call that was interrupted between the write and its return leaves an event that nobody
    removes: the segment stays, and it is read."""
    spool = make(segment=500)
    positions = fill(spool, 30)
    spool.tend()
    own(spool).remove(positions[:10] + positions[11:])
    assert bodies(spool.own) == [b"event 10"]
    own(spool).remove([positions[10]])
    spool.tend()
    assert len(files(folder, "log")) == 1


def reads_of(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read from now on, in order."""
    reads: list[str] = []
    read = spool._disk.read

    def watched(name: str, offset: int, length: int) -> bytes:
        reads.append(name)
        return read(name, offset, length)

    monkeypatch.setattr(spool._disk, "read", watched)
    return reads


def test_a_segment_whose_events_leave_in_order_is_never_read(
    folder: Path, make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is deleted once all events of that time were removed; at the end, too."""
    spool = make(segment=500)
    reads = reads_of(spool, monkeypatch)
    left: list[int] = []
    for n in range(20):
        left += fill(spool, 22, start=22 * n)
        own(spool).remove(left[:-5])
        del left[:-5]
        assert spool.tend()
        assert len(files(folder, "log")) <= 3
    own(spool).remove(left)
    spool.release()
    assert reads == []
    assert listing(folder) == []


@pytest.mark.parametrize("in_polls", [True, False])
def test_callers_in_other_threads_get_their_turn(
    make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch, *, in_polls: bool
) -> None:
    """After each write of a poll that runs beside them, there is a rest."""
    spool = make()
    spool.quick = in_polls
    positions = fill(spool, 3)
    rests: list[None] = []
    monkeypatch.setattr(spool._disk, "rest", lambda: rests.append(None))
    own(spool).note(Note(positions, "key", b""))
    assert len(rests) == in_polls
    own(spool).remove(positions)
    assert len(rests) == 2 * in_polls


def test_segments_are_read_when_the_oldest_event_does_not_leave(
    folder: Path, make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a reader knows in which of them it is: the others are deleted."""
    spool = make(segment=500)
    first, *others = fill(spool, 30)
    assert spool.tend()
    for n in range(3):
        own(spool).remove(others)
        others = fill(spool, 30, start=30 * n)
        assert spool.tend()
    own(spool).remove(others)
    assert spool.tend()
    assert [path.name[-10:-4] for path in files(folder, "log")] == ["000001", "000005"]
    assert bodies(spool.own) == [b"event 0"]
    reads = reads_of(spool, monkeypatch)
    own(spool).remove([first])
    assert spool.tend()
    assert [path.name[-10:-4] for path in files(folder, "log")] == ["000005"]
    assert reads == []


def test_no_more_than_a_few_segments_are_left_unread(
    folder: Path, make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However steadily the oldest events leave: the room of others is given back."""
    spool = make(segment=500)
    slow = fill(spool, 30)
    for n in range(20):
        fast = fill(spool, 30, start=30 * n)
        assert spool.tend()
        own(spool).remove([slow.pop(0), *fast])
    assert spool.tend()
    assert len(files(folder, "log")) <= 2 + 3


def test_segments_are_read_when_room_is_short(make: Callable[..., Spool]) -> None:
    """However steadily the oldest events leave: no event is refused for segments that are empty."""
    former = make(max_bytes=20_000)
    fill(former, 380)
    former.tend()
    former.release()
    spool = make(max_bytes=20_000)
    assert [*spool.adopt()]
    slow = fill(spool, 60)
    for _ in range(50):
        fast = fill(spool, 15)
        own(spool).remove([slow.pop(0), *fast])
        assert spool.tend()


def test_damage_in_a_segment_is_no_failed_write_of_later(
    folder: Path, make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that was closed before a write failed, and is read after it: its damage is
    reported."""
    spool = make(segment=500)
    slow = fill(spool, 22)
    assert spool.tend()
    own(spool).remove([slow.pop(0)])
    fill(spool, 22)
    assert spool.tend()
    (_, closed, _) = files(folder, "log")
    data = bytearray(closed.read_bytes())
    data[60] ^= 1
    closed.write_bytes(data)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(StoreError):
            spool.append(b"x", 0.0, True)
    for _ in range(3):
        assert spool.tend()
    assert everything(own(spool)).damaged == 1
    assert len(files(folder, "bad")) == 1


def test_a_segment_that_callers_can_still_write_to_is_not_deleted_unread(
    folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no descriptor is left to stop them with: what is appended meanwhile is kept."""
    own_positions = fill(spool, 3)
    own(spool).remove(own_positions)
    real = os.open

    def no_more(path: str, flags: int, *mode: int) -> int:
        if flags & os.O_WRONLY:
            return real(path, flags, *mode)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_more)
        spool.release()
    spool.append(b"late", 0.0, True)
    assert empty(folder)[0] == [b"late"]


@pytest.mark.parametrize("written", [False, True])
def test_a_position_that_was_taken_keeps_segments_from_being_deleted_unread(
    folder: Path, make: Callable[..., Spool], *, written: bool
) -> None:
    """Its event may be in any of them: its call may be anywhere between the two."""
    spool = make(segment=500)
    positions = fill(spool, 10)
    late = spool._next()
    if written:
        spool._append(encode(CERTAIN, late, 0.0, b"late"), late)
    positions += fill(spool, 20)
    own(spool).remove(positions)
    assert spool.tend()
    assert len(files(folder, "log")) == 2
    positions = fill(spool, 20)
    if not written:
        spool._append(encode(CERTAIN, late, 0.0, b"late"), late)
    own(spool).remove(positions)
    for _ in range(3):
        assert spool.tend()
    assert bodies(spool.own) == [b"late"]
    spool.release()
    assert empty(folder)[0] == [b"late"]


def test_what_is_left_of_a_log_survives_its_release(
    folder: Path, make: Callable[..., Spool]
) -> None:
    """Whoever comes next reads the rest, in order; then nothing is left in the directory."""
    spool = make(segment=500)
    positions = fill(spool, 60)
    spool.tend()
    positions += fill(spool, 60, start=60)
    own(spool).remove(positions[::2])
    spool.release()
    log = adopted(make)
    stored = in_windows(log, 9)
    assert [each.event for each in stored] == [b"event %d" % n for n in range(1, 120, 2)]
    log.remove([each.position for each in stored])
    log.release()
    assert listing(folder) == []


def test_a_log_that_is_empty_is_deleted_at_its_release(folder: Path, spool: Spool) -> None:
    """Nothing of it is left in the directory, and no event can be appended any more."""
    own_positions = fill(spool, 5)
    own(spool).note(Note(own_positions, "key", b""))
    own(spool).remove(own_positions)
    spool.release()
    assert listing(folder) == []
    with pytest.raises(StoreError, match="released"):
        fill(spool, 1)
    assert listing(folder) == []


def test_an_adopted_log_goes_on_being_removed_segment_by_segment(
    folder: Path, make: Callable[..., Spool]
) -> None:
    """Space comes back before all of it is sent."""
    spool = make(segment=500)
    for n in range(3):
        fill(spool, 20, start=20 * n)
        spool.tend()
    spool.release()
    log = adopted(make)
    size = log.size
    for count in (20, 20, 20):
        window = log.read(None, count, EVERYTHING)
        log.remove([each.position for each in window.events])
    everything(log)
    assert len(files(folder, "log")) <= 1
    assert log.size < size / 2


def test_a_record_that_was_written_twice_is_one_event(
    folder: Path, make: Callable[..., Spool]
) -> None:
    """A caller that may have been too late for a segment writes its record to the next one, too."""
    spool = make(segment=500)
    positions = fill(spool, 30)
    spool.tend()
    first, second = files(folder, "log")
    data = first.read_bytes()
    with second.open("ab") as file:
        file.write(data[: data.find(b"\n\xff", 5)])
    fill(spool, 1, start=30)
    assert bodies(spool.own) == [b"event %d" % n for n in range(31)]
    own(spool).remove(positions[:1])
    assert bodies(spool.own) == [b"event %d" % n for n in range(1, 31)]
    spool.release()
    assert empty(folder)[0] == [b"event %d" % n for n in range(1, 31)]
    assert listing(folder) == []


# ── Notes ────────────────────────────────────────────────────────────────────────────────────


def test_a_noted_batch_comes_back_as_it_was(make: Callable[..., Spool], folder: Path) -> None:
    """Its events in its own order, its key, its stamps; what was never noted is not among them."""
    spool = make(segment=300)
    positions = fill(spool, 12)
    spool.tend()
    positions += fill(spool, 12, start=12)
    batch = [positions[20], positions[3], positions[4], positions[5]]
    own(spool).note(Note(batch, "key-1", b"\x00stamps\xff"))
    own(spool).note(Note(positions[6:8], "key-2", b""))
    spool.release()
    log = adopted(make)
    first, second = log.noted()
    assert first.note == Note(batch, "key-1", b"\x00stamps\xff")
    assert [each.event for each in first.events] == [b"event %d" % n for n in (20, 3, 4, 5)]
    assert second.note == Note(positions[6:8], "key-2", b"")
    assert len(everything(log).events) == 24


def test_a_later_note_replaces_an_earlier_one(make: Callable[..., Spool]) -> None:
    """Also where it holds only a part of the events, as that of half a batch does: the rest of the
    earlier batch was noted, but is no batch any more."""
    spool = make()
    positions = fill(spool, 8)
    log = own(spool)
    log.note(Note(positions[:4], "whole", b""))
    log.note(Note(positions[4:6], "other", b""))
    log.note(Note(positions[:2], "half", b""))
    spool.release()
    assert [each.note.key for each in adopted(make).noted()] == ["other", "half"]


def test_a_later_note_replaces_an_earlier_one_across_segments(make: Callable[..., Spool]) -> None:
    """The notes are read in the order in which they were written."""
    spool = make(segment=100)
    positions = fill(spool, 8)
    own(spool).note(Note(positions, "first", b""))
    spool.tend()
    own(spool).note(Note(positions[::-1], "second", b""))
    spool.release()
    (noted,) = adopted(make).noted()
    assert noted.note.key == "second"
    assert [each.position for each in noted.events] == positions[::-1]


def test_a_batch_of_which_a_part_was_removed_is_no_batch_any_more(
    make: Callable[..., Spool],
) -> None:
    """It cannot be sent as the same bytes."""
    spool = make()
    positions = fill(spool, 8)
    own(spool).note(Note(positions[:4], "key", b""))
    own(spool).remove(positions[:1])
    spool.release()
    log = adopted(make)
    assert log.noted() == []
    assert len(everything(log).events) == 7


def test_an_adopter_notes_and_removes_in_the_adopted_log(make: Callable[..., Spool]) -> None:
    """So it may be killed, too: the next one finds the same."""
    spool = make(segment=300)
    positions = fill(spool, 30)
    spool.tend()
    positions += fill(spool, 30, start=30)
    own(spool).note(Note(positions[:5], "old", b""))
    spool.release()
    second = make()
    (log,) = second.adopt()
    log.remove(positions[5:40])
    log.note(Note(positions[40:43], "new", b""))
    second.release()
    third = adopted(make)
    assert [each.note.key for each in third.noted()] == ["old", "new"]
    assert [each.position for each in everything(third).events] == positions[:5] + positions[40:]


# ── Modes ────────────────────────────────────────────────────────────────────────────────────


def test_files_are_for_their_user_alone(folder: Path, make: Callable[..., Spool]) -> None:
    """Whatever the umask says: mode 0600."""
    former = os.umask(0)
    try:
        spool = make(segment=100)
        positions = fill(spool, 10)
        spool.tend()
        own(spool).note(Note(positions[:5], "key", b""))
        own(spool).remove(positions[:5])
        assert len(list(folder.iterdir())) == 4
        for path in folder.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    finally:
        os.umask(former)


def test_the_key_is_nowhere(folder: Path, spool: Spool) -> None:
    """Neither in a file nor in a name nor in a repr."""
    fill(spool, 1)
    assert KEY not in repr(spool)
    for path in folder.iterdir():
        assert KEY not in path.name
        assert KEY.encode() not in path.read_bytes()
    (lock,) = files(folder, "lock")
    assert URL in lock.read_text()


def test_a_place_is_behind_an_event() -> None:
    """It orders as the log does."""
    assert Place(1, 900) < Place(2, 0) < Place(2, 1)
