"""Sets of positions, as ranges: consecutive positions take almost no memory."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Ranges", "positions_of", "runs_of"]


class Ranges:
    """A set of whole numbers, 0 or more, that only grows."""

    def __init__(self, flat: Iterable[int] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        numbers = iter(flat)
        for start, end in zip(numbers, numbers, strict=False):
            self.add(start, end)

    @classmethod
    def of(cls, numbers: Iterable[int]) -> Ranges:
        """A set of single numbers."""
        ranges = cls()
        starts, ends = ranges._starts, ranges._ends
        end = -1
        for number in sorted(numbers):
            if number == end:
                end = ends[-1] = number + 1
            elif number > end:
                starts.append(number)
                end = number + 1
                ends.append(end)
        return ranges

    def add(self, start: int, end: int) -> None:
        """Add the numbers from ``start`` to before ``end``."""
        starts, ends = self._starts, self._ends
        if start >= end:
            return
        if ends and start == ends[-1]:  # by far the usual case
            ends[-1] = end
            return
        first = bisect_right(ends, start - 1)  # the first range that ends at ``start`` or later
        last = bisect_right(starts, end)  # behind the last that begins at ``end`` or before
        if first < last:
            start, end = min(start, starts[first]), max(end, ends[last - 1])
        starts[first:last] = [start]
        ends[first:last] = [end]

    def update(self, other: Ranges) -> None:
        """Add all numbers of another set."""
        if not self._starts:
            self._starts, self._ends = other._starts.copy(), other._ends.copy()
            return
        for start, end in other:
            self.add(start, end)

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._starts, number) - 1
        return index >= 0 and number < self._ends[index]

    def covers(self, other: Ranges) -> bool:
        """Return True if every number of another set is in this one."""
        for start, end in other:
            index = bisect_right(self._starts, start) - 1
            if index < 0 or end > self._ends[index]:
                return False
        return True

    def meets(self, other: Ranges) -> bool:
        """Return True if a number of another set is in this one."""
        for start, end in other:
            index = bisect_right(self._starts, end - 1) - 1
            if index >= 0 and self._ends[index] > start:
                return True
        return False

    @property
    def first_missing(self) -> int:
        """The least number that is not in the set."""
        return self._ends[0] if self._starts and not self._starts[0] else 0

    def flat(self) -> list[int]:
        """Start and end of each range, one after the other; the argument of the class."""
        return [number for pair in self for number in pair]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges, each as its start and its end."""
        return zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        """The count of its numbers."""
        return sum(end - start for start, end in self)

    def __bool__(self) -> bool:
        return bool(self._starts)


def runs_of(positions: Sequence[int]) -> list[int]:
    """Positions in order, as pairs: the first of a run, and its length."""
    runs: list[int] = []
    for position in positions:
        if runs and position == runs[-2] + runs[-1]:
            runs[-1] += 1
        else:
            runs += (position, 1)
    return runs


def positions_of(runs: list[int]) -> list[int]:
    """The positions of pairs that ``runs_of`` returned."""
    pairs = zip(runs[::2], runs[1::2], strict=True)
    return [position for first, count in pairs for position in range(first, first + count)]
