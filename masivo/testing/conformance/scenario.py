"""A scenario: a script, and the guarantee that it proves."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from .adapter import Capability
    from .run import Run

__all__ = ["Scenario", "scenario"]

_GUARANTEES: Final = "docs/reference/guarantees.md"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A script of calls and responses, with the outcomes that must follow."""

    name: str
    anchor: str
    """The anchor of the guarantee that it proves, in ``docs/reference/guarantees.md``."""
    rule: str
    """The rule that it proves, in words."""
    script: Callable[[Run], None]
    needs: frozenset[Capability]
    """The capabilities without which it runs in another form."""

    @property
    def guarantee(self) -> str:
        """The guarantee that it proves, as a link: ``docs/reference/guarantees.md#flush``."""
        return f"{_GUARANTEES}#{self.anchor}"

    def __str__(self) -> str:
        return self.name


def scenario(anchor: str, *needs: Capability) -> Callable[[Callable[[Run], None]], Scenario]:
    """Make a script a scenario; its name and docstring are the scenario's.

    Args:
        anchor: of the guarantee that it proves, in ``docs/reference/guarantees.md``.
        needs: the capabilities without which it runs in another form.
    """

    def make(script: Callable[[Run], None]) -> Scenario:
        rule = " ".join((inspect.getdoc(script) or "").split())
        if not rule:
            raise ValueError(f"the scenario {script.__name__} needs a docstring: its rule")
        return Scenario(script.__name__, anchor, rule, script, frozenset(needs))

    return make
