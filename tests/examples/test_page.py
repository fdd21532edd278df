"""The page that leads through writing a driver shows the real driver."""

from __future__ import annotations

import re
from pathlib import Path

from masivo import protocol

from .conftest import EXAMPLES
from .test_size import lines_of_code

ROOT = EXAMPLES.parent
PAGE = (ROOT / "docs" / "how-to" / "writing-a-driver.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
DRIVER = (EXAMPLES / "urllib_driver.py").read_text("utf-8")
SOURCES = DRIVER, Path(__file__).with_name("test_conformance.py").read_text("utf-8")

SHOWN = [code for code in BLOCKS if any(code in source for source in SOURCES)]


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


def test_names_exist() -> None:
    """Every method of a buffer or an engine that the page names exists."""
    for owner, kind in (("buffer", protocol.Buffer), ("engine", protocol.Engine)):
        named = re.findall(rf"`{owner}\.(\w+)", PAGE)
        assert named
        assert [name for name in named if not hasattr(kind, name)] == []
