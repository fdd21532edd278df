"""A set of the objects of one kind that are still referenced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Living"]

T = TypeVar("T")


class Living(Generic[T]):
    """The objects that were added and are still referenced.

    Any thread may add one while another walks them, which a ``WeakSet`` does not allow.
    """

    def __init__(self) -> None:
        self._objects: WeakValueDictionary[int, T] = WeakValueDictionary()

    def add(self, each: T) -> None:
        """Add an object."""
        self._objects[id(each)] = each

    def __iter__(self) -> Iterator[T]:
        references = self._objects.valuerefs()
        return iter([each for reference in references if (each := reference()) is not None])

    def clear(self) -> None:
        """Forget them all."""
        self._objects.clear()
