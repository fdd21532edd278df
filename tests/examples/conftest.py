"""Makes the examples importable, and limits what could hang."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from masivo.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

EXAMPLES = Path(__file__).parents[2] / "examples"

HARD_LIMIT = 60.0
"""Seconds after which a test is broken off, wherever it hangs."""

sys.path.insert(0, str(EXAMPLES))


@pytest.fixture(autouse=True)
def hard_limit() -> Iterator[None]:
    """Break off a test that hangs: a wait for a lock ends when a signal's handler raises."""

    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"the test hangs: not over within {HARD_LIMIT:g} s")

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, HARD_LIMIT)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A running emulator."""
    with Emulator() as emulator:
        yield emulator
