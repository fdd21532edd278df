"""The simulator of the core: its plans and worlds in the frame."""

from __future__ import annotations

from typing import Final

from .callers import Interruption
from .frame import Simulator
from .plan import make_plan
from .world import World

__all__ = ["SIMULATOR"]

SIMULATOR: Final = Simulator(
    "python -m tests.simulation", make_plan, World, (Exception, Interruption)
)
