"""The diagrams of the documentation, drawn from the code: ``make docs``.

The token's states come from the core's own table. What follows a response, and when batches go
out, is asked of a real engine, in virtual time. A test fails when those in ``docs/images`` are of
another day.

They stand in the page itself, as SVG, and take its colours: no blank lines in them.
"""

from __future__ import annotations

import math
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING

from protocol.requests import is_authorization, numbers
from protocol.simulator import START, Driver

from masivo._protocol.sending.backoff import FIRST_WAIT, LONGEST_HOLD, LONGEST_WAIT, full_jitter
from masivo._protocol.token.life import TRANSITIONS, Change, State
from masivo.protocol import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


__all__ = ["DIAGRAMS", "IMAGES"]

IMAGES = Path(__file__).parent.parent.parent / "docs" / "images"

Point = tuple[float, float]


# ── SVG ──────────────────────────────────────────────────────────────────────────────────────

STYLE = (
    "svg{color:#222;font:13px sans-serif}.name{font-weight:600}.small{font-size:12px;opacity:.85}"
    ".box{fill-opacity:.06}.bar{opacity:.55}.faint{opacity:.5}"
    "@media(prefers-color-scheme:dark){svg{color:#ddd}}"
)
"""A page that shows the drawing as an image passes it neither fonts nor colours, but says whether
the page is dark."""


def picture(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """A whole drawing; ``title`` says in words what it shows."""
    marker = (
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto-start-reverse">'
        '<path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>'
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'fill="currentColor"><title>{title}</title><style>{STYLE}</style>'
    )
    return "\n".join([head, marker, *parts, "</svg>", ""])


def words(at: Point, said: str, anchor: str = "middle", kind: str = "") -> str:
    """A line of text; ``at`` is its baseline's start, middle or end."""
    said = said.replace("&", "&amp;").replace("<", "&lt;")
    return (
        f'<text x="{at[0]:.0f}" y="{at[1]:.0f}" text-anchor="{anchor}" class="{kind}">{said}</text>'
    )


def line(*points: Point, arrow: bool = True, kind: str = "") -> str:
    """A line through points, with an arrow at its end."""
    path = "M" + "L".join(f"{x:.0f} {y:.0f}" for x, y in points)
    end = ' marker-end="url(#arrow)"' if arrow else ""
    return f'<path d="{path}" fill="none" stroke="currentColor" class="{kind}"{end}/>'


def box(middle: Point, width: float, height: float, kind: str = "box") -> str:
    """A rectangle around a point."""
    x, y = middle[0] - width / 2, middle[1] - height / 2
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="6" '
        f'stroke="currentColor" class="{kind}"/>'
    )


# ── The token ────────────────────────────────────────────────────────────────────────────────

PLACES: dict[State, Point] = {
    State.ABSENT: (110, 60),
    State.FETCHING: (520, 60),
    State.FRESH: (110, 250),
    State.STALE: (520, 250),
}
"""Where each state stands; one that is missing here is an error."""

STATE_WIDTH, STATE_HEIGHT = 130, 44


def token() -> str:
    """The states of a token, and what leads from one to another."""
    parts: list[str] = []
    for (state, change), target in TRANSITIONS.items():
        parts += _transition(state, target, change)
    for state in State:
        parts += [
            box(PLACES[state], STATE_WIDTH, STATE_HEIGHT),
            words((PLACES[state][0], PLACES[state][1] + 5), state.value, kind="name"),
        ]
    title = "The states of a token: " + "; ".join(
        f"{state.value}, when {change.name.lower()}: {target.value}"
        for (state, change), target in TRANSITIONS.items()
    )
    return picture(700, 310, title, parts)


def _transition(state: State, target: State, change: Change) -> list[str]:
    (x, y), (to_x, to_y) = PLACES[state], PLACES[target]
    length = math.hypot(to_x - x, to_y - y)
    across = ((to_y - y) / length, (x - to_x) / length)  # to the left of the way
    aside = 12.0 if (target, state) in {(one, to) for (one, _), to in TRANSITIONS.items()} else 0.0
    x, to_x = x + across[0] * aside, to_x + across[0] * aside
    y, to_y = y + across[1] * aside, to_y + across[1] * aside
    begin, end = _edge((x, y), (to_x, to_y)), _edge((to_x, to_y), (x, y))
    middle = ((begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2)
    flat = abs(to_y - y) < abs(to_x - x) / 4
    if flat:
        label = words((middle[0], middle[1] + (-7 if across[1] < 0 else 17)), change.name.lower())
    else:
        below = 20 if abs(to_x - x) > STATE_WIDTH else 4  # clear of a line that is not upright
        label = words((middle[0] + 8, middle[1] + below), change.name.lower(), "start")
    return [line(begin, end), label]


def _edge(inside: Point, towards: Point) -> Point:
    """Where a line out of a state's box leaves it."""
    dx, dy = towards[0] - inside[0], towards[1] - inside[1]
    share = min(
        STATE_WIDTH / 2 / abs(dx) if dx else math.inf,
        STATE_HEIGHT / 2 / abs(dy) if dy else math.inf,
    )
    return inside[0] + dx * share, inside[1] + dy * share


# ── The responses ──────────────────────────────────────────────────────────────────────────────

DELIVERED = "delivered"
FAILED = "failed at once"
RETRIED = "sent again after a wait"
HALVED = "halved, both halves are sent"
AUTHORIZED = "sent again with a fresh token, once"


def fate(answer: Callable[[Driver], None]) -> str:
    """The fate of a batch of two events after this response."""
    driver = Driver()
    deliveries = driver.send_numbers(1, 2)
    driver.flush()
    driver.grant()
    sent = numbers(driver.batch())
    answer(driver)
    outcome = deliveries[0].claim()
    if outcome is not None:
        return FAILED if isinstance(outcome, Failed) else DELIVERED
    if driver.out and is_authorization(driver.out[0]):
        return AUTHORIZED
    if not driver.out:
        driver.sleep()
    return RETRIED if numbers(driver.batch()) == sent else HALVED


def _answering(status: int) -> Callable[[Driver], None]:
    return lambda driver: driver.respond(status, {})


def ranges(statuses: Iterable[int]) -> str:
    """Statuses as text, runs of them as one: ``400, 402 to 407``."""
    runs = groupby(enumerate(statuses), lambda each: each[1] - each[0])
    ends = [[status for _, status in run] for _, run in runs]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in ends)


def answers() -> str:
    """The fate of a batch, for every response that there can be."""
    fates: dict[str, list[int]] = {}
    for status in range(200, 600):
        fates.setdefault(fate(_answering(status)), []).append(status)
    broken = fate(lambda driver: driver.break_off())
    late = fate(lambda driver: driver.break_off(status=200))
    page = fate(lambda driver: driver.respond(200, b"<html>"))
    rows = [(ranges(statuses), each) for each, statuses in fates.items()]
    rows.append(("no response at all", broken))
    rows.append(("a 2xx that breaks off", late))
    rows.append(("a 2xx that is not JSON", page))
    order = [DELIVERED, AUTHORIZED, HALVED, RETRIED, FAILED]
    rows.sort(key=lambda row: order.index(row[1]))
    parts: list[str] = []
    y = 34.0
    for what, group in groupby(rows, lambda row: row[1]):
        lines = list(chain.from_iterable(_wrapped(label) for label, _ in group))
        middle = y + (len(lines) - 1) * 10
        for i, label in enumerate(lines):
            parts.append(words((330, y + i * 20 + 4), label, "end"))
        parts += [
            line((344, middle), (396, middle)),
            words((410, middle + 5), what, "start", "name"),
        ]
        y += len(lines) * 20 + 16
    title = "; ".join(f"{label}: {what}" for label, what in rows)
    return picture(700, round(y), f"What becomes of a batch: {title}", parts)


def _wrapped(text: str, width: int = 44) -> list[str]:
    lines = [""]
    for each in text.split(", "):
        joined = f"{lines[-1]}, {each}" if lines[-1] else each
        if len(joined) <= width:
            lines[-1] = joined
        else:
            lines[-1] += ","
            lines.append(each)
    return lines


# ── The waits ────────────────────────────────────────────────────────────────────────────────


class Highest:
    """A random source that always gives (nearly) the highest number."""

    def random(self) -> float:
        """See ``RandomSource``."""
        return 1.0

    def getrandbits(self, k: int, /) -> int:
        """See ``RandomSource``."""
        return (1 << k) - 1


def waits() -> str:
    """The longest wait before a retry, by the number of failures in a row."""
    longest = [full_jitter(failures, Highest()) for failures in range(1, 10)]
    parts: list[str] = []
    for i, seconds in enumerate(longest):
        x, height = 60 + i * 68, seconds / LONGEST_WAIT * 150
        parts += [
            f'<rect x="{x}" y="{190 - height:.1f}" width="44" height="{height:.1f}" class="bar"/>',
            words((x + 22, 184 - height), f"{seconds:g} s", kind="small"),
            words((x + 22, 208), str(i + 1), kind="small"),
        ]
    parts += [
        line((50, 190), (676, 190), arrow=False),
        words((363, 230), "failures in a row; the wait is random, from 0 to the bar", kind="small"),
    ]
    title = (
        f"The longest wait before a retry doubles from {FIRST_WAIT:g} s to {LONGEST_WAIT:g} s: "
        + ", ".join(f"{each:g} s" for each in longest)
        + f". A Retry-After is obeyed up to {LONGEST_HOLD:g} s."
    )
    return picture(700, 240, title, parts)


# ── The triggers ─────────────────────────────────────────────────────────────────────────────

SHOWN = 130.0
"""Seconds that the picture shows."""

PRODUCERS: dict[str, list[float]] = {
    "230 events in 40 s": [i * 40 / 230 for i in range(230)],
    "4 events, then silence": [0, 4, 9, 15],
    "an event every 12 s": [float(at) for at in range(0, round(SHOWN), 12)],
}
"""When each sends, in seconds."""


def batches(sends: Iterable[float]) -> list[tuple[float, int]]:
    """When an engine with the default settings sends which number of events."""
    driver = Driver()
    driver.sign_in()
    found: list[tuple[float, int]] = []

    def deliver() -> None:
        while driver.out:
            if is_authorization(driver.out[0]):
                driver.grant()
                continue
            found.append((driver.now - START, len(numbers(driver.batch()))))
            driver.accept()

    def until(moment: float) -> None:
        while driver.wake_at is not None and driver.wake_at < moment:
            driver.sleep()
            deliver()
        driver.now = moment
        driver.poll()
        deliver()

    for at in sends:
        until(START + at)
        driver.send_numbers(0)
        deliver()
    until(START + SHOWN)
    return found


def triggers() -> str:
    """Three producers, and when their batches go out."""
    left, width = 30.0, 640.0

    def place(at: float) -> float:
        return left + at / SHOWN * width

    parts: list[str] = []
    said: list[str] = []
    for i, (name, sends) in enumerate(PRODUCERS.items()):
        y = 56.0 + i * 92
        parts += [
            words((left, y - 30), name, "start", "name"),
            line((left, y), (left + width, y), arrow=False, kind="faint"),
        ]
        parts += [line((place(at), y - 8), (place(at), y), arrow=False) for at in sends]
        for at, count in batches(sends):
            x = place(at)
            parts += [
                line((x, y + 4), (x, y + 26)),
                words((x + 6, y + 24), f"{count} at {at:.0f} s", "start", "small"),
            ]
            said.append(f"{name}: {count} go out at {at:.0f} s")
    y = 56.0 + len(PRODUCERS) * 92 - 40
    for second in range(0, round(SHOWN) + 1, 10):
        parts.append(words((place(second), y + 14), f"{second} s", kind="small"))
    return picture(700, round(y + 24), "When batches go out. " + "; ".join(said), parts)


DIAGRAMS: dict[str, Callable[[], str]] = {
    "token.svg": token,
    "answers.svg": answers,
    "waits.svg": waits,
    "triggers.svg": triggers,
}
"""What draws each file of ``docs/images``."""


def main() -> None:
    """Draw them all."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, draw in DIAGRAMS.items():
        (IMAGES / name).write_text(draw(), "utf-8")


if __name__ == "__main__":
    main()
