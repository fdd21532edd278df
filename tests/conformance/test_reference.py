"""The reference, which other drivers are compared with."""

from __future__ import annotations

import pytest

from masivo.testing.conformance.clock import VirtualClock
from masivo.testing.conformance.worlds.reference import ReferenceAdapter


@pytest.mark.parametrize("parallel", [True, False])
def test_no_thread_is_left_when_it_has_stopped(parallel: bool) -> None:
    """Neither the one that polls, nor the one that sends requests in turn."""
    with ReferenceAdapter(VirtualClock(), parallel=parallel) as adapter:
        pass
    assert len(adapter._threads) == (1 if parallel else 2)
    assert not any(thread.is_alive() for thread in adapter._threads)
