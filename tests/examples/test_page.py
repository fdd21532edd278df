"""The page that leads through writing a driver shows the real driver."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from masivo import protocol

from .conftest import EXAMPLES
from .test_size import lines_of_code

ROOT = EXAMPLES.parent
PAGE = (ROOT / "docs" / "writing-a-driver.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
DRIVER = (EXAMPLES / "urllib_driver.py").read_text("utf-8")
SOURCES = DRIVER, Path(__file__).with_name("test_conformance.py").read_text("utf-8")

SHOWN = [code for _, code in BLOCKS if any(code in source for source in SOURCES)]
PROGRAMS = [code for _, code in BLOCKS if code not in SHOWN]


def test_every_block_is_python() -> None:
    """No block escapes the tests below by being of another language."""
    assert {language for language, _ in BLOCKS} == {"python"}


@pytest.mark.parametrize("program", PROGRAMS, ids=range(1, len(PROGRAMS) + 1))
def test_what_is_not_of_the_driver_runs(program: str) -> None:
    """A block that is no piece of the driver, or of its test, is a program that runs."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYTHONPATH": str(EXAMPLES)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "FlushResult(delivered=1, failed=0)" in done.stdout


def test_the_whole_driver_is_shown() -> None:
    """Nothing of it but its docstring and its headings is missing on the page."""
    left = DRIVER.split('"""', 2)[2]
    for code in SHOWN:
        left = left.replace(code, "")
    lines = [line.strip() for line in left.splitlines()]
    assert [line for line in lines if line and not line.startswith("# ")] == []


def test_the_loop_comes_first() -> None:
    """The numbered loop stands before any code, with the seven steps of ``masivo.protocol``."""
    before = PAGE[: PAGE.index("```")]
    steps = re.findall(r"^(\d)\. ", before, re.MULTILINE)
    assert steps == re.findall(r"^(\d)\. ", protocol.__doc__ or "", re.MULTILINE)
    assert len(steps) == 7


def test_its_length_is_as_said() -> None:
    """The page says how many lines the driver has."""
    assert f"{lines_of_code(DRIVER)} lines of code" in PAGE.replace("\n", " ")


def test_links_lead_somewhere() -> None:
    """Every file that the page links to exists."""
    links = re.findall(r"\]\((?!http)([^)#]+)\)", PAGE)
    assert links
    for link in links:
        assert (ROOT / "docs" / link).resolve().is_file(), link


def test_names_exist() -> None:
    """Every method of a buffer or an engine that the page names exists."""
    for owner, kind in (("buffer", protocol.Buffer), ("engine", protocol.Engine)):
        named = re.findall(rf"`{owner}\.(\w+)", PAGE)
        assert named
        assert [name for name in named if not hasattr(kind, name)] == []
