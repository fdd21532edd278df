"""A fleet in a storm: nothing that was answered 200 is lost, and the order holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masivo._protocol.sending import backoff

from .storm.storm import Storm

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.full
def test_a_fleet_weathers_a_storm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relays and Redis are killed, relays are paused for longer than a lease, the API fails: every
    event that was answered 200 is delivered or a dead letter, in order per customer, and twice only
    if it was on its way when its relay lost the lease, or its response was lost."""
    monkeypatch.setattr(backoff, "FIRST_WAIT", 0.05)
    storm = Storm(20260101, 20.0, tmp_path)
    storm.run()
    print(storm)
    storm.check()
