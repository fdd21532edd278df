"""The plots, as SVG: horizontal bars with their spread, on a linear or a logarithmic scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from .figures import Figure, figure
from .plan import OURS, PEERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .runner import Results

__all__ = ["plots"]

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 760, 190, 120, 24, 52
_COLOURS = {"masivo": "#0b6e4f", "peer": "#8d99ae", "limit": "#e0a458"}


@dataclass(frozen=True)
class _Bar:
    label: str
    kind: str
    figure: Figure


def plots(results: Results) -> dict[str, str]:
    """Every plot that this run has figures for, by the name of its file."""
    wanted = {
        "call.svg": ("Cost of one call, µs (less is better)", "call", "median", 1e6),
        "end-to-end.svg": (
            "End to end without latency, thousand events/s (more is better)",
            "end to end",
            "rate",
            1e-3,
        ),
        "cpu.svg": ("CPU seconds per 100,000 events (less is better)", "end to end", "cpu", 1.0),
        "memory.svg": ("Bytes per waiting event (less is better)", "memory, dropped", "bytes", 1.0),
        "stalls.svg": (
            "Longest call with many events waiting, ms (less is better)",
            "collector on, dropped",
            "longest",
            1e3,
        ),
    }
    drawn: dict[str, str] = {}
    for name, (title, case, metric, factor) in wanted.items():
        bars = _bars(results, case, metric, factor)
        if len(bars) > 1:
            drawn[name] = _svg(title, bars)
    return drawn


def _bars(results: Results, case: str, metric: str, factor: float) -> list[_Bar]:
    bars: list[_Bar] = []
    for contender in results.get(case, {}):
        found = figure(results, case, contender, metric)
        if found is None or found.value <= 0:
            continue
        kind = "masivo" if contender in OURS else "peer" if contender in PEERS else "limit"
        scaled = Figure(found.value * factor, found.low * factor, found.high * factor, found.rounds)
        bars.append(_Bar(contender, kind, scaled))
    return sorted(bars, key=lambda bar: bar.figure.value)


def _svg(title: str, bars: Sequence[_Bar]) -> str:
    low = min(bar.figure.low for bar in bars)
    high = max(bar.figure.high for bar in bars)
    logarithmic = high > 12 * low
    start = 10 ** math.floor(math.log10(low)) if logarithmic else 0.0

    def x(value: float) -> float:
        share = (
            math.log(value / start) / math.log(high / start)
            if logarithmic
            else (value - start) / (high - start)
        )
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    height = _TOP + _ROW * len(bars) + 40
    note = "logarithmic scale; " if logarithmic else ""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
    lines = [
        f'{head} font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="26" font-size="16" font-weight="bold">{escape(title)}</text>',
    ]
    for row, bar in enumerate(bars):
        y = _TOP + row * _ROW
        width = max(1.0, x(bar.figure.value) - _LEFT)
        left, right = x(bar.figure.low), x(bar.figure.high)
        fill = f'height="{_ROW - 6}" fill="{_COLOURS[bar.kind]}"'
        value = (
            f"{bar.figure.value:,.0f}" if bar.figure.value >= 1000 else f"{bar.figure.value:.3g}"
        )
        lines += [
            f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" {fill}/>',
            f'<path d="M{left:.1f} {y + 9}H{right:.1f}" stroke="#222222" stroke-width="1.5"/>',
            f'<text x="{right + 6:.1f}" y="{y + 14}">{value}</text>',
        ]
    y = height - 14
    lines.append(f'<text x="12" y="{y}" fill="#555555">{note}line: spread over the rounds</text>')
    for offset, (kind, text) in enumerate(
        {"masivo": "masivo", "peer": "peers", "limit": "written by hand"}.items()
    ):
        left = 420 + offset * 105
        lines.append(
            f'<rect x="{left}" y="{y - 11}" width="12" height="12" fill="{_COLOURS[kind]}"/>'
            f'<text x="{left + 17}" y="{y}">{text}</text>'
        )
    lines.append("</svg>")
    return "\n".join(lines) + "\n"
