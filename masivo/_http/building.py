"""The lock for work that a fork must not interrupt."""

from __future__ import annotations

import threading

from masivo._process import hold_in_forks

__all__ = ["build_lock"]

build_lock = threading.RLock()
"""Held while an HTTP client or an SSL context is built, and across a fork: an unfinished import or
context would block the child for ever."""
hold_in_forks(build_lock)
