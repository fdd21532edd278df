"""Every scenario with every driver, over real sockets and in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masivo.testing.conformance import SCENARIOS, assert_conforms, perform

from .worlds import LACKING, WORLDS

FORMS = {
    "pumped": "pumped",
    "one at a time": "one request at a time",
    "without storage": "work on stores by the suite",
}
"""How reports say it."""

if TYPE_CHECKING:
    from masivo.testing.conformance import Scenario


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_driver_conforms(scenario: Scenario, world: str) -> None:
    """Each driver does what the scenario says, and its transcript is that of the reference."""
    assert assert_conforms(scenario, WORLDS[world]).form == "in full"


@pytest.mark.parametrize(
    ("scenario", "lacking"),
    [
        pytest.param(
            each, name, marks=() if each.needs & lacks.keywords.keys() else pytest.mark.full
        )
        for each in SCENARIOS
        if each.needs
        for name, lacks in LACKING.items()
    ],
    ids=str,
)
def test_a_driver_may_lack_capabilities(scenario: Scenario, lacking: str) -> None:
    """A driver without parallel requests, background work, a store, or several of these runs every
    scenario too; where it needed what the driver lacks, the report says in which form it ran."""
    report = assert_conforms(scenario, LACKING[lacking])
    assert report.lacked == scenario.needs - report.capabilities
    if len(report.capabilities) == 2:
        assert report.form == ("in full" if not report.lacked else FORMS[lacking])


def test_transcripts_are_identical() -> None:
    """What three drivers put on the wire, and what comes of it, is the same, byte for byte."""
    scenario = next(each for each in SCENARIOS if each.name == "order_is_kept_across_retries")
    threads, asyncio, trio = (perform(scenario, make).transcript for make in WORLDS.values())
    assert threads == asyncio == trio
    assert any('"n":4' in line for line in threads)


def test_scenarios_are_documented() -> None:
    """Each scenario names its rule, and has a name of its own."""
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names) >= 70
    for scenario in SCENARIOS:
        assert len(scenario.rule) > 30
