"""What is left behind by a test, and a hastened backoff."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Nothing outlives a test: no thread of the package, no connection that nobody closed."""
    yield
    for thread in threading.enumerate():
        if thread.name == "masivo":
            thread.join(15)
            assert not thread.is_alive(), "a thread of the package does not end"
    gc.collect()  # an unclosed socket is a ResourceWarning, and a warning is an error


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat after milliseconds: a hundred times faster than in life."""
    monkeypatch.setattr("masivo._protocol.sending.backoff.FIRST_WAIT", 0.005)
