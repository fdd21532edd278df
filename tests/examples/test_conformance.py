"""Each example driver through the conformance suite, over real sockets and in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masivo.testing.conformance import SCENARIOS as ALL
from masivo.testing.conformance import assert_conforms

from .twisted_adapter import TwistedAdapter
from .urllib_adapter import UrllibAdapter

if TYPE_CHECKING:
    from masivo.testing.conformance import Scenario

SCENARIOS = [pytest.param(each, marks=() if each.needs else pytest.mark.full) for each in ALL]
"""`make test` has those in which the drivers differ most: by their capabilities."""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_the_urllib_driver_conforms(scenario: Scenario) -> None:
    """It does what each scenario says, with a store too. None is left out."""
    report = assert_conforms(scenario, UrllibAdapter)
    assert report.lacked == scenario.needs - {"storage"}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_the_twisted_driver_conforms(scenario: Scenario) -> None:
    """It does what each scenario says, in full."""
    assert assert_conforms(scenario, TwistedAdapter).form == "in full"
