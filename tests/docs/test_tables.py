"""The tables of the reference agree with the code, and the README stays short."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields

import pytest

import masivo
from masivo.protocol import ClientOptions

from .blocks import ROOT, Page

REFERENCE = ROOT / "docs" / "reference"
WORLDS = [masivo.Client, masivo.AsyncClient, masivo.TrioClient]


def first_cells(page: str) -> list[str]:
    """The names in the first cells of the tables of a page of the reference."""
    return re.findall(r"^\| `(\w+)` \|", (REFERENCE / page).read_text("utf-8"), re.MULTILINE)


def test_the_readme_is_short() -> None:
    """The README has at most 160 lines, and a quick start for each world."""
    page = Page(ROOT / "README.md")
    assert page.text.count("\n") <= 160
    examples = [block.code for block in page.blocks if block.language == "python"]
    for name in (" Client(", " AsyncClient(", " TrioClient("):
        assert any(name in code for code in examples)


@pytest.mark.parametrize("client", WORLDS)
def test_table_of_settings_is_complete(client: type) -> None:
    """Every argument of the constructors is in the table of settings, and no other."""
    named = [name for name in inspect.signature(client).parameters if name != "options"]
    documented = [name for name in first_cells("settings.md") if name.islower()]
    assert sorted(documented) == sorted([*named, *ClientOptions.__annotations__])


def test_table_of_errors_is_complete() -> None:
    """Every error class is in the table of errors."""
    documented = [name for name in first_cells("errors.md") if not name.islower()]
    assert sorted(documented) == sorted(
        name for name in masivo.__all__ if name.startswith("Masivo")
    )


def test_tables_of_clients_are_complete() -> None:
    """The tables of the clients' page name every method, and every field of a result."""
    tables = (REFERENCE / "clients.md").read_text("utf-8").split("\n::: ")[0]
    methods = {name for world in WORLDS for name in dir(world) if not name.startswith("_")}
    values = (masivo.SendEventResult, masivo.FlushResult, masivo.Stats, masivo.FailedEvent)
    names = methods | {field.name for value in values for field in fields(value)}
    assert names - set(re.findall(r"`(?:await )?(\w+)", tables)) == set()
