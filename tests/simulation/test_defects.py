"""The simulator finds what is wrong: ``make defects`` shows it for every seeded defect."""

from __future__ import annotations

import pytest

from .defects import DEFECTS, hunt
from .equivalent import EQUIVALENT
from .mutations import mutants_of

EARLY = [name for number, name in enumerate(DEFECTS) if number % 9 == 0]


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_has_its_place_in_the_core(name: str) -> None:
    """Each defect changes what is there."""
    with pytest.MonkeyPatch.context() as patch:
        DEFECTS[name](patch)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.full) for name in DEFECTS])
def test_a_defect_is_found(name: str) -> None:
    """The simulator finds it within the seeds that CI runs."""
    assert hunt(name) is not None


@pytest.mark.parametrize("file", sorted({file for file, _ in EQUIVALENT}))
def test_what_is_listed_as_equivalent_is_a_mutant(file: str) -> None:
    """The list of equivalent mutants keeps step with the core."""
    names = {mutant.name for mutant in mutants_of(file)}
    assert [name for of, name in EQUIVALENT if of == file and name not in names] == []
