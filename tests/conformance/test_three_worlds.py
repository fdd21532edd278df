"""Every scenario with every driver, over real sockets and in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masivo.testing.conformance import SCENARIOS, assert_conforms

from .worlds import LACKING, WORLDS

if TYPE_CHECKING:
    from masivo.testing.conformance import Scenario


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_driver_conforms(scenario: Scenario, world: str) -> None:
    """Each driver does what the scenario says, and its transcript is that of the reference."""
    assert assert_conforms(scenario, WORLDS[world]).form == "in full"


@pytest.mark.parametrize("lacking", LACKING)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_driver_may_lack_capabilities(scenario: Scenario, lacking: str) -> None:
    """A driver with no parallel requests, or no background work, runs every scenario too."""
    report = assert_conforms(scenario, LACKING[lacking])
    assert (report.form != "in full") == bool(
        scenario.needs
        & {"parallel" if "time" in lacking else "", "background" if "pumped" in lacking else ""}
    )
