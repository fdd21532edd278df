"""The drivers are thin."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import masivo._async

FOLDER = Path(masivo._async.__file__).parent


def lines_of_code(path: Path) -> int:
    """The lines of a module that hold code: no blank ones, comments or docstrings."""
    text = path.read_text()
    lines = {n for n, line in enumerate(text.splitlines(), 1) if line.strip(" )]}\t")}
    lines -= {n for n, line in enumerate(text.splitlines(), 1) if line.lstrip().startswith("#")}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


@pytest.mark.parametrize("name", ["on_asyncio", "on_trio", "session", "client"])
def test_a_driver_fits_on_three_screens(name: str) -> None:
    """Each part of the drivers has about 150 lines of code."""
    assert lines_of_code(FOLDER / f"{name}.py") <= 160


@pytest.mark.parametrize("name", ["on_asyncio", "on_trio", "session"])
def test_a_driver_knows_no_rule_of_the_protocol(name: str) -> None:
    """No status, retry, token or batch is spoken of in a driver's code."""
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
    }
    rules = {"status", "retries", "batch_size", "retry_after", "authorize", "headers", "body"}
    assert not names & rules
