"""Mutants that nothing can tell from the core, each with the reason. They count as survivors."""

from __future__ import annotations

from typing import Final

__all__ = ["EQUIVALENT"]

EQUIVALENT: Final[dict[tuple[str, str], str]] = {}
"""By file and name of the mutant. ``mutants.py`` reports one that is killed, or is no more."""
