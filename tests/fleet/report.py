"""What a fleet's traffic looked like: peaks over the steady mean, and a plot."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import mean
from typing import TYPE_CHECKING

from .fleet import BUCKET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .fleet import Plan, Traffic

__all__ = ["Peaks", "measure", "plot"]

WARM_UP = 3600.0
"""The first hour does not count."""
RECOVERY = 1800.0
"""For so many seconds after a disturbance, its own bound counts."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """The steady mean of a series, per second, and its peaks as multiples of it."""

    steady: float
    undisturbed: float
    """From the second hour on, but for the disturbances and half an hour after each."""
    during: float
    """While the outage lasts: what the server would have to refuse."""
    after_outage: float
    after_revocation: float
    """0 if no token was revoked."""

    def __str__(self) -> str:
        revoked = f", after the revocation {self.after_revocation:.2f}"
        return (
            f"mean {self.steady:.1f}/s; peaks over it: undisturbed {self.undisturbed:.2f}, "
            f"in the outage {self.during:.2f}, after it {self.after_outage:.2f}"
            + (revoked if self.after_revocation else "")
        )


def measure(plan: Plan, series: Sequence[int], bucket: float = BUCKET) -> Peaks:
    """The peaks of a series, in buckets of so many seconds."""
    step = round(bucket / BUCKET)
    whole = int(plan.duration / bucket)
    counts = [sum(series[i * step : (i + 1) * step]) for i in range(whole)]
    begins, ends = plan.outage
    disturbed = [(begins, ends + RECOVERY)]
    if plan.revoked_at is not None:
        disturbed.append((plan.revoked_at, plan.revoked_at + RECOVERY))

    def between(first: float, last: float) -> list[int]:
        return counts[int(first / bucket) : max(int(last / bucket), int(first / bucket) + 1)]

    quiet = [
        each
        for i, each in enumerate(counts)
        if i * bucket >= WARM_UP
        and not any(first - bucket <= i * bucket < last for first, last in disturbed)
    ]
    steady = mean(quiet)
    revoked = plan.revoked_at
    return Peaks(
        steady / bucket,
        max(quiet) / steady,
        max(between(begins, ends)) / steady,
        max(between(ends, ends + RECOVERY)) / steady,
        0.0 if revoked is None else max(between(revoked, revoked + RECOVERY)) / steady,
    )


# ── The plot ─────────────────────────────────────────────────────────────────────────────────

WIDTH, HEIGHT, LEFT, TOP, GAP = 960, 150, 60, 46, 54
COLOURS = {"authorizations": "#1f6feb", "all requests": "#8c959f"}


def plot(panels: Sequence[tuple[str, Plan, Traffic]]) -> str:
    """An SVG with a panel for each fleet: requests per second over the day, in 10 s buckets; a
    column of pixels shows the largest bucket in it."""
    rows = [
        _panel(title, plan, traffic, TOP + i * (HEIGHT + GAP))
        for i, (title, plan, traffic) in enumerate(panels)
    ]
    height = TOP + len(panels) * (HEIGHT + GAP)
    legend = "".join(
        f'<rect x="{LEFT + i * 150}" y="8" width="14" height="10" fill="{colour}"/>'
        f'<text x="{LEFT + 20 + i * 150}" y="17">{name}</text>'
        for i, (name, colour) in enumerate(COLOURS.items())
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {height}" '
        'font-family="sans-serif" font-size="12" fill="#57606a">\n'
        '<rect width="100%" height="100%" fill="#ffffff"/>'
    )
    return "\n".join([head, legend, *rows, "</svg>\n"])


def _panel(title: str, plan: Plan, traffic: Traffic, top: int) -> str:
    series = {"all requests": traffic.requests, "authorizations": traffic.authorizations}
    columns = {name: _columns(counts) for name, counts in series.items()}
    most = max(max(column) for column in columns.values())
    bottom = top + HEIGHT
    parts = [f'<text x="{LEFT}" y="{top - 8}" fill="#24292f">{title}</text>']
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * HEIGHT
        parts.append(
            f'<path d="M{LEFT} {y:.0f}h{WIDTH}" stroke="#d8dee4"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{share * most:.0f}/s</text>'
        )
    for hour in range(0, int(plan.duration / 3600) + 1, 3):
        x = LEFT + hour * 3600 / plan.duration * WIDTH
        parts.append(f'<text x="{x:.0f}" y="{bottom + 16}" text-anchor="middle">{hour} h</text>')
    begins, ends = (LEFT + each / plan.duration * WIDTH for each in plan.outage)
    parts.append(
        f'<rect x="{begins:.1f}" y="{top}" width="{max(ends - begins, 1):.1f}" height="{HEIGHT}" '
        'fill="#ff8182" opacity="0.4"/>'
    )
    if plan.revoked_at is not None:
        x = LEFT + plan.revoked_at / plan.duration * WIDTH
        parts.append(f'<path d="M{x:.1f} {top}v{HEIGHT}" stroke="#bf8700" stroke-dasharray="3"/>')
    for name, column in columns.items():
        points = "".join(
            f"{'M' if x == 0 else 'L'}{LEFT + x} {bottom - rate / most * HEIGHT:.1f}"
            for x, rate in enumerate(column)
        )
        parts.append(f'<path d="{points}" fill="none" stroke="{COLOURS[name]}"/>')
    return "\n".join(parts)


def _columns(counts: Sequence[int]) -> list[float]:
    """The largest rate of each column of pixels, per second."""
    edges = [round(x * (len(counts) - 1) / WIDTH) for x in range(WIDTH + 1)]
    return [max(counts[first : max(last, first + 1)]) / BUCKET for first, last in pairwise(edges)]
