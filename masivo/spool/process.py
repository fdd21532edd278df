"""The number of this process. Each append compares it, and a system call would be a tenth of that.

Linux can clear memory in the child of a fork, even of one that bypasses Python's hooks
(MADV_WIPEONFORK, madvise(2)). As long as that memory is not clear, the number is right.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["asked_once", "process"]

_WIPE_ON_FORK: Final = 18  # <asm-generic/mman-common.h>


def asked_once() -> Callable[[], int]:
    """Return a function that asks the system once in each process; ``os.getpid``, if the system
    does not clear memory."""
    try:
        memory = mmap.mmap(-1, 1, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(_WIPE_ON_FORK)
    except (AttributeError, OSError):
        return os.getpid
    try:
        memory.madvise(-1)
    except OSError:
        pass
    else:
        return os.getpid  # it takes any advice and follows none, as some emulators do
    number = 0

    def process() -> int:
        nonlocal number
        if not memory[0]:
            number = os.getpid()
            memory[0] = 1
        return number

    return process


process: Final = asked_once()
"""The number of this process. From anywhere, at any time."""
