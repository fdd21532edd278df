"""The simulator finds what is wrong: ``make defects`` shows it for every seeded defect."""

from __future__ import annotations

import pytest

from .defects import DEFECTS, hunt
from .equivalent import EQUIVALENT
from .mutations import mutants_of

QUICK = (
    "a stamp is rounded up",
    "the default brand replaces an explicit None",
    "halves are sent in the wrong order",
    "the buffer takes one event too many",
    "every renewal is spread",
    "max_retries is exceeded by one",
    "every loss is a warning of its own",
)
"""Found by one of the first seeds. The others take minutes: `make test-all` hunts for all."""


def test_a_defect_has_its_place_in_the_core() -> None:
    """Each defect changes something that is there."""
    for seed in DEFECTS.values():
        with pytest.MonkeyPatch.context() as patch:
            seed(patch)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.full) for name in DEFECTS],
)
def test_a_defect_is_found(name: str) -> None:
    """The simulator finds each defect."""
    assert hunt(name) is not None


@pytest.mark.parametrize("file", sorted({file for file, _ in EQUIVALENT}))
def test_what_is_listed_as_equivalent_is_a_mutant(file: str) -> None:
    """The list of equivalent mutants keeps step with the core."""
    names = {mutant.name for mutant in mutants_of(file)}
    assert [name for of, name in EQUIVALENT if of == file and name not in names] == []
