"""Defects to seed into the core: over every module of it, its constants and its tables.

``python -m tests.simulation.seeded`` applies each in memory and shows the seed that finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .defects_flow import FLOW
from .defects_outside import OUTSIDE
from .defects_rules import RULES

if TYPE_CHECKING:
    from .patched import Defect

__all__ = ["DEFECTS"]

DEFECTS: Final[tuple[Defect, ...]] = (*FLOW, *RULES, *OUTSIDE)
"""Every one of them is found within ``seeded.SEEDS`` seeds."""
