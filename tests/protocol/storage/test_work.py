"""Steps of work on a store, in order (``masivo/_protocol/storage/work``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masivo._protocol.storage.work import Queued, StoreDone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Started:
    """The steps that were started last, and what takes their results."""

    steps: Sequence[Callable[[], object]] = ()
    then: Callable[[StoreDone], None]

    def __call__(
        self, steps: Sequence[Callable[[], object]], then: Callable[[StoreDone], None]
    ) -> None:
        self.steps, self.then = steps, then

    def end(self) -> None:
        """Carry them out."""
        self.then(StoreDone([step() for step in self.steps]))


def test_what_comes_after_the_steps_waits_for_those_so_far() -> None:
    """Whether they wait or are out; not for later ones."""
    started, seen = Started(), list[str]()
    todo = Queued(started, quick=False)
    todo.after(lambda: seen.append("at once"))
    todo.add(lambda: seen.append("one"))
    todo.after(lambda: seen.append("after one, which waits"))
    todo.begin()
    todo.after(lambda: seen.append("after one, which is out"))
    todo.add(lambda: seen.append("two"))
    todo.after(lambda: seen.append("after two"))
    started.end()
    assert seen == ["at once", "one", "after one, which waits", "after one, which is out"]
    todo.begin()
    started.end()
    assert seen[4:] == ["two", "after two"]
    assert todo.idle


def test_what_comes_after_the_steps_is_called_though_an_earlier_call_fails() -> None:
    """By lack of memory, say: a batch that waited would wait for ever."""
    started, seen = Started(), list[str]()
    todo = Queued(started, quick=False)

    def fails(_: object) -> None:
        raise MemoryError

    todo.add(lambda: None, fails)
    todo.begin()
    todo.after(lambda: seen.append("after"))
    with pytest.raises(MemoryError):
        started.end()
    assert seen == ["after"]


def test_only_a_step_that_has_not_been_started_is_the_last() -> None:
    """Its caller may change it."""
    todo = Queued(Started(), quick=False)
    assert todo.last is None
    todo.add(step := lambda: None)
    assert todo.last is step
    todo.begin()
    assert todo.last is None
