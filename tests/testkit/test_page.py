"""The page about testing: its examples run, and say what it says they say."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = "pytester"

PAGE = (Path(__file__).parents[2] / "docs/how-to/testing.md").read_text(encoding="utf-8")
FILES = re.findall(r"^```(?:python|ini)\n# (\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_page_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written into files of the names that they bear; the one that fails prints what is shown."""
    for name in list(os.environ):
        if name.startswith(("MASIVO", "PYTEST")):
            monkeypatch.delenv(name)
    assert len(FILES) == PAGE.count("```python") + PAGE.count("```ini")
    for name, text in FILES:
        Path(pytester.path / name).write_text(text, encoding="utf-8")
    without = "cacheprovider", "hypothesispytest", "asyncio", "trio"
    result = pytester.runpytest_subprocess(*(f"-pno:{name}" for name in without), "-rA")
    result.assert_outcomes(passed=8, failed=1, skipped=1)
    (shown,) = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    said = [line.removeprefix("E").strip() for line in result.outlines if line.startswith("E ")]
    assert said == [line.strip() for line in shown.splitlines()]
