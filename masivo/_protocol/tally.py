"""The rule for data that threads share, and a number that any of them may raise.

Callers, signal handlers, finalizers and polls meet without a lock, on interpreters with a global
lock and on free-threaded ones. So data that two of them touch is changed in one of three ways:

- by one step that is atomic on every interpreter: ``append``, ``pop``, ``remove`` and a slice of a
  list, ``append``, ``pop`` and ``popleft`` of a deque, ``setdefault``, ``pop`` and an item of a
  dict, ``add`` and ``discard`` of a set, ``put`` and ``get`` of a SimpleQueue, an assignment to an
  attribute;
- by one side alone, such as polls, of which there are never two at a time;
- by the holder of a turn, which is taken and given back in one such step each.

Not by ``x += 1``, whose new value may overwrite another's, and not by a check of a container
followed by a change that depends on it. Before a container is walked it is copied, by a slice, by
``list()`` or by its ``copy``. A number that several threads raise is a Tally, or the length of a
list.
"""

from __future__ import annotations

__all__ = ["Tally"]


class Tally:
    """A number that any thread may raise, at any time."""

    __slots__ = ("_parts",)

    def __init__(self, value: int = 0) -> None:
        self._parts = [value]

    def add(self) -> None:
        """Raise it by one."""
        self._parts.append(1)

    @property
    def value(self) -> int:
        """The number now."""
        return sum(self._parts[:])

    @property
    def is_long(self) -> bool:
        """True once ``fold`` is worthwhile."""
        return len(self._parts) > 1000

    def fold(self) -> None:
        """Shrink to the memory of a new one. By one thread at a time."""
        parts = self._parts[:]
        self._parts[: len(parts)] = [sum(parts)]
