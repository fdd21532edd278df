"""The scenarios, by what they prove."""

from typing import Final

from masivo.testing.conformance.scenario import Scenario

from . import batches

__all__ = ["SCENARIOS"]

SCENARIOS: Final[tuple[Scenario, ...]] = tuple(
    each for module in (batches,) for each in vars(module).values() if isinstance(each, Scenario)
)
"""Every scenario of the suite."""
