"""The simulator finds what is wrong: ``make defects`` shows it for every seeded defect."""

from __future__ import annotations

import os

import pytest

from .defects import DEFECTS
from .equivalent import EQUIVALENT
from .mutations import mutants_of
from .patched import Defect, core_file
from .seeded import hunt

SAMPLE = DEFECTS if os.environ.get("MASIVO_ALL_DEFECTS") else DEFECTS[3::16]


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_has_its_place_in_the_core(defect: Defect) -> None:
    """Each defect still says where in the core it belongs, and leaves a module that compiles."""
    text = core_file(defect.file).read_text("utf-8")
    changed = defect.apply(text)
    assert changed != text
    compile(changed, defect.file, "exec")


def test_every_module_of_the_core_has_a_defect() -> None:
    """No module is left out, but for the one that holds the version alone."""
    modules = {path.name for path in core_file("engine.py").parent.glob("*.py")}
    assert {defect.file for defect in DEFECTS} == modules - {"__init__.py"}


@pytest.mark.parametrize("file", sorted({file for file, _ in EQUIVALENT}))
def test_what_is_listed_as_equivalent_is_a_mutant(file: str) -> None:
    """The list of equivalent mutants keeps step with the core."""
    names = {mutant.name for mutant in mutants_of(file)}
    assert [name for of, name in EQUIVALENT if of == file and name not in names] == []


# Hunting takes minutes on a busy machine: `make test-all` and `make defects` do it.
@pytest.mark.full
@pytest.mark.parametrize("defect", SAMPLE, ids=lambda defect: defect.name)
def test_a_defect_is_found(defect: Defect) -> None:
    """The simulator finds it within the seeds that CI runs."""
    assert hunt(defect) is not None
