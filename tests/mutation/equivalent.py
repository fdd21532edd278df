"""Survivors that no test should kill, each with the reason. They count as survivors."""

from __future__ import annotations

from typing import Final

__all__ = ["EQUIVALENT"]

_BY_REASON: Final[dict[str, list[str]]] = {}

EQUIVALENT: Final = {mutant: why for why, mutants in _BY_REASON.items() for mutant in mutants}
"""By mutant, as the report prints it, the reason."""
