"""Python programs as users write them, run in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masivo.emulator import Emulator

LIMIT = 30.0
"""Seconds after which a program is killed, and its test fails."""

PRELUDE = """
import asyncio, gc, logging, sys
import masivo

def event(n=0):
    return {"type": "ADD_TO_CART", "customer_id": "c-1", "brand_id": None, "metadata": {"n": n}}

"""


def run(
    program: str,
    emulator: Emulator | None = None,
    *,
    options: tuple[str, ...] = (),
    prelude: str = PRELUDE,
    **variables: str,
) -> tuple[str, str]:
    """Run a program; what it wrote to its standard output and error.

    Args:
        program: its text; indented as it stands in a test.
        emulator: whose key and address it finds in its environment.
        options: of the interpreter.
        prelude: what goes before the text.
        variables: of its environment.
    """
    environment = {**os.environ, **variables}
    if emulator is not None:
        environment |= {"MASIVO_API_KEY": emulator.client_key, "MASIVO_BASE_URL": emulator.url}
    ended = subprocess.run(
        [sys.executable, *options, "-c", prelude + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=LIMIT,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, ended.stderr
