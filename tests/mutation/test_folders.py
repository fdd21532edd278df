"""The table of folders, which mutation testing alone reads."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from .folders import FOLDERS

ROOT: Final = Path(__file__).parents[2]

ELSEWHERE: Final = ("masivo/_protocol/*", "masivo/__init__.py", "masivo/__main__.py")
"""The core has a tool of its own; these, and its public face, only import."""


def test_every_test_is_there() -> None:
    """A test that has moved kills nothing, and its folder could not be judged."""
    named = {test.partition("::")[0] for folder in FOLDERS.values() for test in folder.tests}
    assert [test for test in sorted(named) if not (ROOT / test).exists()] == []


def test_every_file_belongs_to_a_folder() -> None:
    """What ships is judged, once."""
    patterns = [pattern for folder in FOLDERS.values() for pattern in folder.changed]
    patterns += [*ELSEWHERE, "masivo/protocol.py"]
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "masivo").rglob("*.py")]
    places = {file: sum(fnmatch(file, pattern) for pattern in patterns) for file in files}
    assert {file: count for file, count in places.items() if count != 1} == {}
