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

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 480, 150, 60, 26, 64
"""Narrow, so that the text can be read on a phone."""
_STYLE = """<style>
svg{font:14px sans-serif;fill:#222}.title{font-size:16px;font-weight:bold}.note{opacity:.75}
.masivo{fill:#0b6e4f}.peer{fill:#8d99ae}.limit{fill:#e0a458}.spread{stroke:#222;stroke-width:1.5}
@media(prefers-color-scheme:dark){svg{fill:#ddd}.masivo{fill:#35b088}.spread{stroke:#ddd}}
</style>"""
"""No background: a plot takes that of the page, in light and dark."""


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

    height = _TOP + _ROW * len(bars) + 60
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="600">'
    name, _, better = title.partition(" (")
    lines = [
        head,
        f"<title>{escape(title)}</title>",
        _STYLE,
        f'<text x="8" y="22" class="title">{escape(name)}</text>',
        f'<text x="8" y="44" class="note">{escape(better.rstrip(")"))}</text>',
    ]
    for row, bar in enumerate(bars):
        y = _TOP + row * _ROW
        width = max(1.0, x(bar.figure.value) - _LEFT)
        left, right = x(bar.figure.low), x(bar.figure.high)
        shape = f'width="{width:.1f}" height="{_ROW - 8}" class="{bar.kind}"'
        value = (
            f"{bar.figure.value:,.0f}" if bar.figure.value >= 1000 else f"{bar.figure.value:.3g}"
        )
        lines += [
            f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{_LEFT}" y="{y}" {shape}/>',
            f'<path d="M{left:.1f} {y + 9}H{right:.1f}" class="spread"/>',
            f'<text x="{right + 6:.1f}" y="{y + 14}">{value}</text>',
        ]
    for offset, (kind, text) in enumerate(
        {"masivo": "masivo", "peer": "peers", "limit": "written by hand"}.items()
    ):
        left, y = 8 + offset * 100, height - 38
        lines.append(
            f'<rect x="{left}" y="{y - 11}" width="12" height="12" class="{kind}"/>'
            f'<text x="{left + 17}" y="{y}">{text}</text>'
        )
    note = "line: spread over the rounds" + ("; logarithmic scale" if logarithmic else "")
    lines.append(f'<text x="8" y="{height - 14}" class="note">{note}</text>')
    lines.append("</svg>")
    return "\n".join(lines) + "\n"
