"""``masivo.protocol`` is what our own drivers use: no more, and they use nothing beside it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import masivo
from masivo import protocol

PACKAGE = Path(masivo.__file__).parent
DRIVERS = sorted(
    [
        *PACKAGE.glob("_sync/*.py"),
        *PACKAGE.glob("_async/*.py"),
        PACKAGE / "_client.py",
        PACKAGE / "_helpers.py",
        PACKAGE / "_log.py",
        PACKAGE / "_process.py",
        PACKAGE / "_session.py",
        *PACKAGE.glob("_http/*.py"),
    ]
)


def imported(tree: ast.Module) -> set[str]:
    """The modules of the core that a module imports from."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if "_protocol" in name.split(".")}


def test_a_driver_uses_nothing_beside_it() -> None:
    """No part of a driver imports the core but through ``masivo.protocol``."""
    for path in DRIVERS:
        assert imported(ast.parse(path.read_text("utf-8"))) == set(), path.relative_to(PACKAGE)


KINDS = [kind.__name__ for kind in protocol.Activity.__subclasses__()]
"""The kinds of activity: a driver passes them on, whatever they are."""


def test_it_has_nothing_that_no_driver_needs() -> None:
    """A driver or a store uses each name, or it is a type in the signature of what they use."""
    stores = PACKAGE.glob("spool/*.py")
    used = "\n".join(path.read_text("utf-8") for path in [*DRIVERS, *stores])
    record = Path(__file__).parents[1] / "package" / "public_api.txt"
    lines = record.read_text("utf-8").splitlines()
    for name in {*protocol.__all__} - {*KINDS}:
        signatures = [
            line.partition("(" if "(" in line else ":")[2]
            for line in lines
            if line.startswith("masivo.protocol.")
            and not line.startswith(f"masivo.protocol.{name}.")
        ]
        assert re.search(rf"\b{name}\b", "\n".join([used, *signatures])), name
