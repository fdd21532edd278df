"""The page on events: what it says of a checker's errors, tried with pyright and mypy."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from docs.blocks import ROOT, Page

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.full

PAGE = Page(ROOT / "docs/reference/events.md")


@pytest.mark.parametrize(
    ("checker", "wrong"),
    [("pyright", {"nothing", "number"}), ("mypy", {"nothing", "number", "sized"})],
)
def test_the_page(tmp_path: Path, checker: str, wrong: set[str]) -> None:
    """The lines of the example in which each checker finds an error."""
    if find_spec(checker) is None:
        pytest.skip(f"{checker} is part of the environment for checks alone")
    (code,) = [each.code for each in PAGE.blocks if (each.run_by or "").endswith("::test_the_page")]
    program = tmp_path / "events.py"
    program.write_text(code, "utf-8")
    option = "--pythonpath" if checker == "pyright" else "--python-executable"
    done = subprocess.run(
        [sys.executable, "-m", checker, option, sys.executable, program.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    numbers = set(re.findall(r"events\.py:(\d+):.*error", done.stdout))
    lines = code.splitlines()
    assert {lines[int(number) - 1].partition(":")[0] for number in numbers} == wrong, done.stdout
