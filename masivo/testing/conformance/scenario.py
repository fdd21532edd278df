"""What a scenario is."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from .run import Run

__all__ = ["Capability", "Scenario", "scenario"]

Capability: TypeAlias = Literal["parallel", "background"]
"""What a driver may lack: ``parallel``, several requests under way at once; ``background``, work
while nobody calls it."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A script of calls and server answers, with what must come of it."""

    name: str
    section: str
    """The section of the contract that it proves."""
    rule: str
    """The rule that it proves, in words."""
    script: Callable[[Run], None]
    needs: frozenset[Capability]
    """The capabilities without which it runs in another form."""

    def __str__(self) -> str:
        return self.name


def scenario(section: str, *needs: Capability) -> Callable[[Callable[[Run], None]], Scenario]:
    """Make a script a scenario; its name and docstring are the scenario's.

    Args:
        section: of the contract.
        needs: the capabilities without which it runs in another form.
    """

    def make(script: Callable[[Run], None]) -> Scenario:
        rule = " ".join((inspect.getdoc(script) or "").split())
        if not rule:
            raise ValueError(f"the scenario {script.__name__} needs a docstring: its rule")
        return Scenario(script.__name__, section, rule, script, frozenset(needs))

    return make
