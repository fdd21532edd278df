"""What a run leaves behind: a table on the screen, a file of results, a page for people.

A full run writes the page and the plots into the documentation; a quick one keeps them to itself.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .runner import Results
    from .targets import Row

__all__ = ["DISTRIBUTIONS", "IMAGES", "PAGE", "as_page", "as_text", "machine", "summary", "write"]

PAGE = Path("docs/explanation/performance.md")
"""The page that holds the results, between two marks."""
IMAGES = Path("docs/images/bench")
"""The folder of the plots."""
_BEGIN, _END = "<!-- `make bench` writes from here -->", "<!-- to here -->"

DISTRIBUTIONS = (
    "masivo",
    "httpx",
    "httpx2",
    "h11",
    "msgspec",
    "trio",
    "persist-queue",
    "litequeue",
    "posthog",
    "segment-analytics-python",
    "amplitude-analytics",
    "mixpanel",
    "rudder-sdk-python",
    "snowplow-tracker",
)


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in DISTRIBUTIONS},
        "commit": _commit(),
    }


def _commit() -> str:
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def summary(results: Results) -> dict[str, Any]:
    """Median and spread of every metric of every contender."""
    return {
        name: {
            contender: {
                metric: {
                    "median": median(values),
                    "low": min(values),
                    "high": max(values),
                    "rounds": len(values),
                }
                for metric in samples[0]
                if (values := [sample[metric] for sample in samples])
            }
            for contender, samples in contenders.items()
            if samples
        }
        for name, contenders in results.items()
    }


def _number(value: float, digits: int = 3) -> str:
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if abs(value) < 100 else f"{value:.0f}"


def _beside(value: float, target: float) -> str:
    """A figure with as many digits as tell it from its target."""
    texts = [_number(value, digits) for digits in range(3, 18)]
    return next((text for text in texts if text != _number(target)), texts[0])


def _cells(row: Row) -> tuple[str, ...]:
    unit = f" {row.unit}" if row.unit else ""
    found = row.figure
    if found is None:
        return row.what, "not measured", "", "", ""
    spread = f"{_number(found.low)} to {_number(found.high)}" if found.low != found.high else ""
    target = f"{row.relation} {_number(row.target)}{unit}" if row.relation else ""
    met = {True: "yes", False: "NO", None: ""}[row.met]
    measured = _beside(found.value, row.target) if row.relation else _number(found.value)
    return row.what, measured + unit, spread, target, met


_HEAD = ("", "measured", "spread", "target", "met")


def as_text(rows: Sequence[Row]) -> str:
    """The table, for a screen."""
    cells = [_cells(row) for row in rows]
    widths = [max(len(line[i]) for line in (_HEAD, *cells)) for i in range(len(_HEAD))]
    lines: list[str] = []
    group = ""
    for row, line in zip(rows, cells, strict=True):
        if row.group != group:
            group = row.group
            lines += ["", _aligned((group, *_HEAD[1:]), [max(widths[0], len(group)), *widths[1:]])]
        lines.append(_aligned(line, widths))
    lines += ["", _tally(rows)]
    return "\n".join(lines)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def as_page(
    rows: Sequence[Row], about: dict[str, Any], plots: Sequence[str], *, images: str = ""
) -> str:
    """The table and the plots, as Markdown.

    Args:
        rows: the table.
        about: what the figures depend on.
        plots: their names.
        images: where the plots are, from the page.
    """
    lines = [
        f"Measured on {about['date']} at commit {about['commit']} with `{about['command']}`, "
        f"in {about['minutes']:.0f} minutes, with Python {about['python']} on {about['system']} "
        f"with {about['cores']} cores, under a load of {about['load']:.1f} in all (the benchmark "
        "alone makes up to about 1.5; a higher load disturbs events per second and longest calls). "
        + ", ".join(f"{name} {number}" for name, number in about["versions"].items())
        + ".",
        "",
    ]
    for plot in plots:
        title = plot.removesuffix(".svg").replace("-", " ")
        lines += [f"![Plot: {title}]({images}{plot})", ""]
    lines.append(f"{_tally(rows)}.")
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            lines += ["", f"### {group}", "", "| | measured | spread | target | met |"]
            lines.append("|---|---|---|---|---|")
        lines.append("| " + " | ".join(_cells(row)) + " |")
    return "\n".join(lines) + "\n"


def _tally(rows: Sequence[Row]) -> str:
    targets = [row for row in rows if row.met is not None]
    return f"{sum(bool(row.met) for row in targets)} of {len(targets)} targets are met"


def write(
    root: Path, results: Results, rows: Sequence[Row], plots: dict[str, str], *, quick: bool
) -> list[Path]:
    """Write the results file, the page and the plots; where they were written to.

    Args:
        root: the repository.
        results: the samples.
        rows: the table.
        plots: by name of the file.
        quick: a quick run's stay in ``benchmarks/results/quick``.
    """
    folder = root / "benchmarks" / "results" / ("quick" if quick else "")
    samples = [s for case in results.values() for each in case.values() for s in each]
    about = machine() | {
        "command": "make bench-quick" if quick else "make bench",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load": median(sample["load"] for sample in samples),
        "minutes": sum(sample["took"] for sample in samples) / 60,
        "argv": sys.argv[1:],
    }
    table = [asdict(row) | {"met": row.met} for row in rows]
    document = {"about": about, "table": table, "figures": summary(results)}
    images = folder if quick else root / IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    images.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    for name, text in plots.items():
        (images / name).write_text(text)
    if quick:
        page = folder / "README.md"
        page.write_text("# Results of a quick run\n\n" + as_page(rows, about, list(plots)))
    else:
        page = root / PAGE
        where = os.path.relpath(images, page.parent) + "/"
        _replace_marked(page, as_page(rows, about, list(plots), images=where))
    return [folder, images, page]


def _replace_marked(page: Path, text: str) -> None:
    """Put ``text`` between the marks of a page."""
    before, _, rest = page.read_text().partition(_BEGIN)
    _, found, after = rest.partition(_END)
    if not found:
        raise SystemExit(f"{page} has lost its marks: {_BEGIN} ... {_END}")
    page.write_text(f"{before}{_BEGIN}\n\n{text}\n{_END}{after}")
