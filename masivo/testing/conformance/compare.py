"""The comparison of a driver with the reference."""

from __future__ import annotations

from difflib import unified_diff
from functools import cache, partial
from typing import TYPE_CHECKING

from .adapter import LIMIT
from .client import NonconformityError
from .perform import Report, perform
from .worlds.reference import ReferenceAdapter

if TYPE_CHECKING:
    from collections.abc import Callable

    from .adapter import Adapter
    from .clock import VirtualClock
    from .scenario import Scenario

__all__ = ["assert_conforms", "expected"]


@cache
def expected(scenario: Scenario, *, parallel: bool = True, background: bool = True) -> Report:
    """The report of the reference, with these capabilities."""
    return perform(scenario, partial(ReferenceAdapter, parallel=parallel, background=background))


def assert_conforms(
    scenario: Scenario,
    make_adapter: Callable[[VirtualClock], Adapter],
    *,
    limit: float = LIMIT,
) -> Report:
    """Run a scenario with a driver, and compare its transcript with the reference's.

    Args:
        scenario: one of ``SCENARIOS``, or your own.
        make_adapter: your Adapter's class, or a function that makes one.
        limit: real seconds after which something counts as missing.

    Raises:
        NonconformityError: the driver does something else; the message says what.
    """
    capabilities: list[tuple[bool, bool]] = []

    def make(clock: VirtualClock) -> Adapter:
        adapter = make_adapter(clock)
        capabilities.append((adapter.parallel, adapter.background))
        return adapter

    report = perform(scenario, make, limit=limit)
    ((parallel, background),) = capabilities
    reference = expected(scenario, parallel=parallel, background=background)
    if report.transcript != reference.transcript:
        lines = unified_diff(
            reference.transcript, report.transcript, "reference", report.driver, lineterm=""
        )
        raise NonconformityError(
            f"{scenario.name}: {report.driver} differs from the reference "
            f"(see {scenario.guarantee})\n" + "\n".join(lines)
        )
    return report
