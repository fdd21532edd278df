"""The lock of a log, where an interrupt cuts off what makes it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from masivo.spool import lock as module
from masivo.spool.disk import Folder
from masivo.spool.lock import Lock, is_locked

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType


def test_a_lock_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    """Neither a draft nor an open file: it is tried again at every event."""
    path = tmp_path / "a.lock"
    path.mkdir()
    os.close(before := os.dup(0))
    with pytest.raises(OSError, match="directory"):
        Lock.make(str(path), b"")
    os.close(after := os.dup(0))
    assert [each.name for each in tmp_path.iterdir()] == ["a.lock"]
    assert after == before


def test_the_first_lock_makes_the_directory(tmp_path: Path) -> None:
    """At the first try: no other name is needed."""
    lock = Folder(str(tmp_path / "spool")).make_lock("a.lock", b"")
    assert lock is not None
    assert lock.is_held


def test_an_interrupt_of_the_making_of_a_lock_is_what_is_raised(tmp_path: Path) -> None:
    """Wherever it comes: it is no error of the disk's, and no lock is left without an owner."""
    lines = 0

    def interrupted(number: int) -> bool:
        left = number

        def trace(frame: FrameType, event: str, _: object) -> object:
            nonlocal left
            if frame.f_code.co_filename != module.__file__:
                return None
            if event in ("line", "return"):
                left -= 1
                if left == 0:
                    raise TimeoutError
            return trace

        sys.settrace(trace)  # type: ignore[arg-type]  # it returns itself
        try:
            made = Lock.make(str(tmp_path / str(number)), b"")
        except TimeoutError as error:
            assert error.errno is None  # noqa: PT017 (an error of the disk's has a number)
            return True
        finally:
            sys.settrace(None)
        assert made is not None
        made.delete()
        return False

    while interrupted(lines + 1):
        lines += 1
        assert not any(is_locked(str(path)) for path in tmp_path.iterdir())
    assert lines > 10
