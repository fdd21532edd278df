"""Records are read as they were written, and reading goes on after whatever is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st

from masivo.spool import records
from masivo.spool.records import CERTAIN, FRAME, MARK, NOTE, Bad, Record, encode, scan, skim

if TYPE_CHECKING:
    import pytest

BODIES = st.lists(
    st.binary(max_size=40) | st.sampled_from([MARK, b"\n", b"", MARK * 20, b"x" * 200]),
    max_size=12,
)


def read(data: bytes, piece: int = 1 << 20, offset: int = 0) -> list[Record | Bad]:
    """Everything in a file that gives this many bytes at a time."""
    return list(scan(lambda at, size: data[at : at + min(size, piece)], offset))


def written(bodies: list[bytes]) -> list[bytes]:
    """The records of some bodies."""
    return [encode(CERTAIN, number, number / 2, body) for number, body in enumerate(bodies)]


@given(bodies=BODIES, piece=st.integers(1, 300))
def test_what_is_written_is_read(bodies: list[bytes], piece: int) -> None:
    """Whatever is in a body, and wherever a read ends."""
    found = read(b"".join(written(bodies)), piece)
    assert [each.body for each in found] == bodies
    assert [(each.position, each.at) for each in found if isinstance(each, Record)] == [
        (number, number / 2) for number in range(len(bodies))
    ]


@given(bodies=BODIES, start=st.integers(0, 12))
def test_reading_begins_at_any_record(bodies: list[bytes], start: int) -> None:
    """At the end of the one before."""
    parts = written(bodies)
    offset = len(b"".join(parts[:start]))
    assert [each.body for each in read(b"".join(parts), offset=offset)] == bodies[start:]


@given(
    bodies=BODIES,
    piece=st.integers(1, 300),
    at=st.integers(0, 1500),
    garbage=st.binary(max_size=60) | st.just(MARK * 3),
    length=st.integers(0, 80),
)
@example(bodies=[b"\n", b""], piece=1, at=FRAME, garbage=b"", length=1)
def test_damage_costs_what_it_covers(
    bodies: list[bytes], piece: int, at: int, garbage: bytes, length: int
) -> None:
    """Bytes that are overwritten, cut out or put in: the records beside them are read, and what is
    left of the others is handed out, byte for byte. Where a record's last byte, a line feed, was
    cut out, the first byte of the next one takes its place: that one is lost."""
    parts = written(bodies)
    data = b"".join(parts)
    at = min(at, len(data))
    damaged = data[:at] + garbage + data[at + length :]
    found = read(damaged, piece)
    assert b"".join(damaged[each.start : each.end] for each in found) == damaged
    end = 0
    whole: list[int] = []
    made_whole = False
    for number, part in enumerate(parts):
        start, end = end, end + len(part)
        if end <= at or start >= at + length:
            whole.append(number)
        else:
            made_whole |= damaged[start:end] == part
    kept = [each.position for each in found if isinstance(each, Record)]
    if not made_whole and not (garbage and length == 0 and at not in {0, len(data)}):
        assert set(whole) <= set(kept)
    assert all(each.body == bodies[each.position] for each in found if isinstance(each, Record))
    for each in found:
        if isinstance(each, Bad):
            assert each.body == damaged[each.start : each.end]
            assert not each.last or each.end == len(damaged)


def test_a_record_that_is_just_being_written_is_the_last_bad_part() -> None:
    """Whatever is there of it."""
    first, second = written([b"one", b"two"])
    for length in range(1, len(second)):
        found = read(first + second[:length])
        assert [type(each) for each in found] == [Record, Bad]
        assert isinstance(found[1], Bad)
        assert found[1].last


def test_a_garbled_length_does_not_make_it_read_everything() -> None:
    """A length past all bounds is damage; records behind it are read."""
    one, two = written([b"one", b"two"])
    garbled = bytearray(one)
    garbled[7:11] = b"\xff\xff\xff\xff"
    asked: list[int] = []
    data = bytes(garbled) + two

    def give(at: int, size: int) -> bytes:
        asked.append(size)
        return data[at : at + size]

    assert [type(each) for each in scan(give, 0)] == [Bad, Record]
    assert max(asked) < 1 << 20


def skimmed(data: bytes) -> list[tuple[int, int, int]]:
    """What skimming finds in a file."""
    return list(skim(lambda at, size: data[at : at + size], 0, lambda: None))


def test_skimming_finds_events_where_reading_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that a piece cuts in two."""
    monkeypatch.setattr(records, "_SKIMMED", 100)
    data = b"".join(written([b"x" * (size % 40) for size in range(60)]))
    events = [each for each in read(data) if isinstance(each, Record)]
    assert skimmed(data) == [(each.start, each.end, each.position) for each in events]


def test_skimming_rests_between_the_pieces_of_a_long_file_alone() -> None:
    """Every 24 KiB, so that a call that waits to append waits for no more than one piece."""
    data, rests, sizes = b"".join(written([b"x" * 100] * 600)), [0], [0]

    def give(at: int, size: int) -> bytes:
        sizes.append(size)
        return data[at : at + size]

    def skim_file() -> int:
        return sum(1 for _ in skim(give, 0, lambda: rests.append(1)))

    assert skim_file() == 600
    assert (sum(rests), max(sizes)) == (len(data) // 24_576, 24_576)
    data, rests = data[:20_000], [0]
    skim_file()
    assert rests == [0]


def test_skimming_ends_before_what_is_no_whole_event() -> None:
    """Whichever byte of it is damaged, and before a record of another kind."""
    first, second, third = written([b"one", b"two", b"three"])
    found = [(0, len(first), 0)]
    for at in range(len(second)):
        damaged = bytearray(second)
        damaged[at] ^= 0xFF
        assert skimmed(first + damaged + third) == found
    assert skimmed(first + second[:-1]) == found
    assert skimmed(first + encode(NOTE, 1, 0.5, b"two") + third) == found


def test_a_garbled_length_past_the_end_costs_its_record() -> None:
    """What a file has behind it is read, up to its last bad part."""
    one, two, three = written([b"one", b"two", b"three"])
    garbled = bytearray(two)
    garbled[7:11] = (500).to_bytes(4, "little")
    parts = [one, bytes(garbled), three, b"rest"]
    found = read(b"".join(parts))
    assert [type(each) for each in found] == [Record, Bad, Record, Bad]
    assert [each.end - each.start for each in found] == [len(part) for part in parts]
    assert [each.start for each in found[1:]] == [each.end for each in found[:-1]]


def test_a_file_of_garbage_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes in parts of bounded size."""
    monkeypatch.setattr(records, "_BAD", 1000)
    monkeypatch.setattr(records, "_PIECE", 100)
    found = read(b"garbage" * 5000)
    assert all(isinstance(each, Bad) and len(each.body) <= 1200 for each in found)
    assert b"".join(each.body for each in found) == b"garbage" * 5000


def test_the_frame_is_small() -> None:
    """An event takes its bytes and at most 40 more."""
    assert len(encode(CERTAIN, 1 << 40, 1.7e9, b"")) == FRAME <= 40
