"""The lock for what a fork must not cut in two."""

from __future__ import annotations

import threading

from masivo._process import hold_in_forks

__all__ = ["build_lock"]

build_lock = threading.RLock()
"""Held while an HTTP client or an SSL context is built, and across a fork: an import or a context
that is half done would block the child for ever."""
hold_in_forks(build_lock)
