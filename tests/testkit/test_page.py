"""The page about testing: its examples run, and say what it says they say."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from masivo.emulator import Emulator

pytest_plugins = "pytester"

PAGE = (Path(__file__).parents[2] / "docs/how-to/testing.md").read_text(encoding="utf-8")
FILES = re.findall(r"^```(?:python|ini)\n# (\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
WITHOUT = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "asyncio", "trio")]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of a test run around this one is seen."""
    for name in list(os.environ):
        if name.startswith(("MASIVO", "PYTEST")):
            monkeypatch.delenv(name)


def test_the_examples_of_the_page_run(pytester: pytest.Pytester) -> None:
    """Written into files of the names that they bear; the one that fails prints what is shown."""
    assert len(FILES) == PAGE.count("```python") + PAGE.count("```ini")
    for name, text in FILES:
        Path(pytester.path / name).write_text(text, encoding="utf-8")
    result = pytester.runpytest_subprocess(*WITHOUT, "-rA")
    result.assert_outcomes(passed=9, failed=1, skipped=1)
    (shown,) = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    said = [line.removeprefix("E").strip() for line in result.outlines if line.startswith("E ")]
    assert said == [line.strip() for line in shown.splitlines()]


def test_the_one_for_an_account(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test that is skipped without an account talks to what the variables of the shell name;
    here it is not skipped, and an emulator stands for the account."""
    Path(pytester.path / "test_live.py").write_text(dict(FILES)["test_live.py"], encoding="utf-8")
    with Emulator() as emulator:
        monkeypatch.setenv("MASIVO_API_KEY", emulator.client_key)
        monkeypatch.setenv("MASIVO_BASE_URL", emulator.url)
        result = pytester.runpytest_subprocess(*WITHOUT, "-pno:skipping")
        result.assert_outcomes(passed=1)
        assert [each.path for each in emulator.requests] == ["/api/storefront/v1/auth/authorize"]
