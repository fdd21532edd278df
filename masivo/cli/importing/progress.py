"""Progress of an import: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from masivo.cli import terminal

__all__ = ["Display", "Sample", "show"]

_WINDOW: Final = 10.0
"""Seconds over which rates are averaged."""
_LIVE_EVERY: Final = 0.1
_PLAIN_EVERY: Final = 5.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The progress of an import at one moment."""

    delivered: int
    rejected: int
    position: int
    """Bytes of the file that have been read."""


class Display(Protocol):
    """A display of samples."""

    due: float
    """The time for the next sample, on the monotonic clock."""

    def update(self, sample: Sample) -> None:
        """Show the progress."""
        ...

    def close(self) -> None:
        """Stop showing progress."""
        ...


class _Rates:
    """Rate and time left, averaged over the last seconds."""

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._samples: deque[tuple[float, Sample]] = deque()

    def add(self, sample: Sample) -> None:
        now = time.monotonic()
        self._samples.append((now, sample))
        while len(self._samples) > 2 and self._samples[1][0] < now - _WINDOW:
            self._samples.popleft()

    def texts(self) -> list[str]:
        """Return share, count, rate, time left and rejections: the most important first."""
        (began, first), (now, last) = self._samples[0], self._samples[-1]
        seconds = max(now - began, 1e-9)
        count = last.delivered + last.rejected
        rate = (count - first.delivered - first.rejected) / seconds
        texts = [] if self._size is None else [f"{self.share(last):.0%}"]
        texts += [terminal.count(count, "event"), f"{rate:,.0f}/s" if now > began else "…/s"]
        speed = (last.position - first.position) / seconds
        if self._size is not None and speed > 0 and rate > 0:
            texts.append(f"{_clock(max(self._size - last.position, 0) / speed)} left")
        if last.rejected:
            texts.append(f"{last.rejected:,} rejected")
        return texts

    def share(self, sample: Sample) -> float:
        return min(sample.position / self._size, 1.0) if self._size else 0.0


class _Bar:
    def __init__(self, rates: _Rates, known: bool) -> None:
        from rich.console import Console  # imported only where a bar is shown
        from rich.progress import BarColumn, Progress, TextColumn

        self.due = 0.0
        self._rates = rates
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            BarColumn(bar_width=None),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            expand=True,
        )
        if self._console.width < 60:
            self._progress.columns = self._progress.columns[1:]
        self._task = self._progress.add_task("", total=1.0 if known else None)
        self._progress.start()

    def update(self, sample: Sample) -> None:
        self.due = time.monotonic() + _LIVE_EVERY
        self._rates.add(sample)
        texts = self._rates.texts()
        while len(texts) > 1 and len("  ".join(texts)) > self._console.width - 1:
            texts.pop()
        self._progress.update(
            self._task, completed=self._rates.share(sample), description="  ".join(texts)
        )
        self._progress.refresh()

    def close(self) -> None:
        self._progress.stop()


class _Plain:
    def __init__(self, rates: _Rates) -> None:
        self.due = time.monotonic() + _PLAIN_EVERY
        self._rates = rates

    def update(self, sample: Sample) -> None:
        self.due = time.monotonic() + _PLAIN_EVERY
        self._rates.add(sample)
        terminal.note(", ".join(self._rates.texts()))

    def close(self) -> None:
        pass


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def show(size: int | None, start: Sample) -> Display:
    """Return a display for an input of this many bytes (None: not known)."""
    rates = _Rates(size)
    rates.add(start)
    return _Bar(rates, size is not None) if terminal.is_live(sys.stderr) else _Plain(rates)
