"""The README's tables agree with the code. Its examples are run by ``tests/docs``."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import masivo
from masivo.protocol import ClientOptions

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_there_are_examples_for_all_worlds() -> None:
    """Threads, asyncio, trio and a driver of one's own each have a quick start."""
    for name in ("Client(", "AsyncClient(", "TrioClient(", "Engine("):
        assert any(name in code for code in EXAMPLES)


@pytest.mark.parametrize("client", [masivo.Client, masivo.AsyncClient, masivo.TrioClient])
def test_table_of_settings_is_complete(client: type) -> None:
    """Every argument of the constructors is in the README's table, and no other."""
    table = README.split("## Settings")[1].split("\n\n`flush")[0]
    documented = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    named = [name for name in inspect.signature(client).parameters if name != "options"]
    assert sorted(documented) == sorted([*named, *ClientOptions.__annotations__])


def test_table_of_errors_is_complete() -> None:
    """Every error class is in the README's table."""
    table = README.split("## Errors")[1].split("All derive")[0]
    documented = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(documented) == sorted(
        name for name in masivo.__all__ if name.startswith("Masivo")
    )
