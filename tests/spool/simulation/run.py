"""The simulator of clients with a spool: its plans and worlds in the frame of the other."""

from __future__ import annotations

from typing import Final

from simulation.frame import Simulator

from .plan import make_plan
from .world import World

__all__ = ["SIMULATOR"]

SIMULATOR: Final = Simulator("cd tests; python -m spool.simulation", make_plan, World)
