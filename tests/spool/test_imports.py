"""The store knows no HTTP and no event loop."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import masivo.spool
heavy = {"asyncio", "trio", "h11", "httpx", "ssl", "socket", "masivo._sync"}
print(sorted(heavy.intersection(sys.modules)))
"""


def test_the_store_imports_none_of_them() -> None:
    """Nor does anything that it imports."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "[]\n"
