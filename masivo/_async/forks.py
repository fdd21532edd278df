"""What a fork does to the sessions of event loops, which it finds in their parent's state."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .session import LoopSession

__all__ = ["sessions"]

sessions: weakref.WeakSet[LoopSession] = weakref.WeakSet()
"""Those that are told, in the child of a fork, that they are not its own."""


def _after_fork_in_child() -> None:
    for session in list(sessions):
        session.forked()


os.register_at_fork(after_in_child=_after_fork_in_child)
