"""The scenarios, by what they prove."""

from typing import Final

from masivo.testing.conformance.scenario import Scenario

from . import authorization, batches, events, failures, sharing, storage, waiting

__all__ = ["SCENARIOS"]

_MODULES: Final = batches, events, authorization, failures, waiting, sharing, storage

SCENARIOS: Final[tuple[Scenario, ...]] = tuple(
    each for module in _MODULES for each in vars(module).values() if isinstance(each, Scenario)
)
"""Every scenario of the suite."""
