"""From samples to figures: medians with their spread, and ratios taken round by round.

The machine is never quiet, and what disturbs it lasts longer than one sample: so the two sides of
a ratio are taken from the same round, and the ratio's median counts. For a longest call it is the
least of the rounds that counts, as a disturbance can only add to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .runner import Results

__all__ = ["Figure", "best", "figure", "ratio"]


@dataclass(frozen=True)
class Figure:
    """A number with its spread over the rounds."""

    value: float
    low: float
    high: float
    rounds: int


def _figure(values: Sequence[float], pick: Callable[[Sequence[float]], float]) -> Figure | None:
    if not values:
        return None
    return Figure(pick(values), min(values), max(values), len(values))


def figure(
    results: Results,
    name: str,
    contender: str,
    metric: str,
    pick: Callable[[Sequence[float]], float] = median,
) -> Figure | None:
    """One metric of one contender; None if it was not measured in this run."""
    samples = results.get(name, {}).get(contender, ())
    return _figure([sample[metric] for sample in samples if metric in sample], pick)


def ratio(
    results: Results,
    above: tuple[str, str, str],
    below: tuple[str, str, str],
    pick: Callable[[Sequence[float]], float] = median,
) -> Figure | None:
    """``above`` over ``below``, each a name, a contender and a metric; None if one is missing.

    With fewer rounds on one side, its last one serves for the others.
    """
    tops = [sample[above[2]] for sample in results.get(above[0], {}).get(above[1], ())]
    bottoms = [sample[below[2]] for sample in results.get(below[0], {}).get(below[1], ())]
    if not tops or not bottoms:
        return None
    pairs = [
        (tops[min(r, len(tops) - 1)], bottoms[min(r, len(bottoms) - 1)])
        for r in range(max(len(tops), len(bottoms)))
    ]
    return _figure([top / bottom for top, bottom in pairs if bottom], pick)


def best(
    results: Results, name: str, contenders: Iterable[str], metric: str, *, most: bool
) -> str | None:
    """The contender with the best median.

    Args:
        results: the samples.
        name: the case.
        contenders: among whom.
        metric: by what.
        most: whether more is better.
    """
    figures = {each: figure(results, name, each, metric) for each in contenders}
    values = {each: found.value for each, found in figures.items() if found is not None}
    if not values:
        return None
    return (max if most else min)(values, key=lambda each: values[each])
