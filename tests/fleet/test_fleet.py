"""A small fleet, so that each run of the tests sees that processes do not act as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .fleet import Fleet, Plan
from .report import Peaks, measure, plot

if TYPE_CHECKING:
    from .fleet import Outage, Traffic

BUCKET = 60.0
"""A fleet of 200 makes 40 authorizations in so many seconds, as 10,000 do 333 in ten."""


def run(plan: Plan) -> tuple[Traffic, Peaks]:
    """Run a plan; the traffic, and the peaks of its authorizations."""
    traffic = Fleet(plan).run()
    return traffic, measure(plan, traffic.authorizations, BUCKET)


@pytest.mark.parametrize(
    "kind",
    [*(pytest.param(kind, marks=pytest.mark.full) for kind in ("dead", "503")), "retry-after date"],
)
def test_there_is_no_thundering_herd(kind: Outage) -> None:
    """Processes that start together authorize apart: from the second hour on, peaks stay near the
    mean; and after an outage they do not come back as one, not even if the server tells them all
    the same instant."""
    traffic, peaks = run(Plan(200, 9000.0, (6000.0, 6600.0), kind))
    assert 0.6 < peaks.steady < 0.7  # 200 processes every 300 s
    assert peaks.undisturbed <= 1.6  # of 40; of 10,000 processes: 1.5
    assert peaks.after_outage <= 3.0
    waiting = 200  # at most: what is on its way when the time is up
    assert traffic.sent - waiting <= traffic.delivered + traffic.failed <= traffic.sent


def test_a_revoked_token_brings_no_herd() -> None:
    """When the server revokes the tokens of a whole fleet, each process authorizes anew with its
    own next batch, not at once."""
    traffic, peaks = run(Plan(200, 5400.0, (0.0, 0.0), one_key=True, revoked_at=4400.0))
    assert peaks.after_revocation <= 3.0
    assert traffic.failed < traffic.sent / 10


def test_a_run_can_be_repeated() -> None:
    """The same seed gives the same traffic; another one does not."""
    plans = [Plan(20, 1200.0, (600.0, 700.0), seed=seed) for seed in (1, 1, 2)]
    first, second, third = (Fleet(plan).run() for plan in plans)
    assert first == second
    assert first != third


def test_the_plot_is_drawn() -> None:
    """The plot is an SVG with a panel for each fleet."""
    plan = Plan(20, 9000.0, (6000.0, 6600.0))
    drawn = plot([("one", plan, Fleet(plan).run())])
    assert drawn.startswith("<svg ")
    assert drawn.count("<path") == 5
