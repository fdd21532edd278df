"""What is known of one file of events."""

from __future__ import annotations

from .ranges import Ranges

__all__ = ["Segment"]


class Segment:
    """One file of events.

    Attributes:
        present: the positions in the part that was read.
        possible: all positions that can be in it; None: not known.
        read: the offset up to which it was read.
        again: the offsets of records whose position was read before, here or in another segment.
        bad: the offset at which the last bad part ended.
        whole: True if it was read to its end, and nothing can be appended.
        size: its bytes, as far as known.
    """

    __slots__ = ("again", "bad", "possible", "present", "read", "size", "whole")

    def __init__(self, size: int = 0) -> None:
        self.present: Ranges = Ranges()
        self.possible: Ranges | None = None
        self.again: set[int] = set()
        self.read: int = 0
        self.bad: int = -1
        self.whole: bool = False
        self.size: int = size
