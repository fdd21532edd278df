"""Sets of positions behave as sets do."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from masivo.spool.ranges import Ranges

NUMBERS = st.sets(st.integers(0, 60))


@given(numbers=st.lists(st.integers(0, 60)), other=NUMBERS)
def test_it_is_a_set(numbers: list[int], other: set[int]) -> None:
    """In whatever order numbers are added, and however often."""
    ranges, both, theirs = Ranges.of(numbers), set(numbers), Ranges.of(sorted(other))
    assert {n for n in range(-2, 70) if n in ranges} == both
    assert len(ranges) == len(both)
    assert bool(ranges) == bool(both)
    assert ranges.covers(theirs) == (other <= both)
    assert ranges.meets(theirs) == bool(other & both)
    assert list(Ranges(ranges.flat())) == list(ranges)
    ranges.update(theirs)
    assert {n for n in range(-2, 70) if n in ranges} == both | other


def test_no_numbers_are_no_range() -> None:
    """A range that ends where it begins adds nothing."""
    ranges = Ranges([7, 7])
    assert not ranges
    assert ranges.flat() == []


@given(numbers=st.lists(st.integers(0, 60)))
def test_it_is_as_short_as_can_be(numbers: list[int]) -> None:
    """Neighbours are one range."""
    found = list(Ranges.of(numbers))
    assert found == sorted(found)
    assert all(end < start for (_, end), (start, _) in pairwise(found))
