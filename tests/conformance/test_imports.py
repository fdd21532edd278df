"""The suite is part of the package: a third party can use it without our test tools."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from masivo.testing.conformance import SCENARIOS, Adapter, assert_conforms

found = {"pytest", "trio", "asyncio", "httpx", "httpx2"} & set(sys.modules)
assert not found, found
assert SCENARIOS
"""


def test_the_suite_imports_no_world() -> None:
    """Neither pytest, nor a world's library, nor an HTTP library is imported before it is used."""
    subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], check=True, timeout=60)
