"""The example drivers are small, and written on public names alone."""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from typing import TYPE_CHECKING

import pytest

import masivo
from masivo import protocol

from .conftest import EXAMPLES

if TYPE_CHECKING:
    from pathlib import Path

DRIVERS = sorted(EXAMPLES.glob("*_driver.py"))

MOST_LINES = 133
"""How many lines of code a driver may have."""

NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def lines_of_code(source: str) -> int:
    """How many lines hold code: not blank, not a comment alone, not of a docstring."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = node.body[0] if ast.get_docstring(node) is not None else None
            if docstring is not None:
                lines -= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return len(lines)


def test_lines_are_counted() -> None:
    """Blank lines, comments and docstrings do not count; each line of a statement does."""
    source = (
        '"""Doc\n\nstring."""\n\n# comment\nx = (\n    1,  # one\n)\n\ndef f():\n    """Doc."""\n'
    )
    assert lines_of_code(source + '    return """a\nb"""\n') == 6


def test_there_are_two_drivers() -> None:
    """The tests below look at the drivers, not at none."""
    assert [driver.stem for driver in DRIVERS] == ["twisted_driver", "urllib_driver"]


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.stem)
def test_a_driver_is_small(driver: Path) -> None:
    """Each has about 130 lines of code."""
    assert lines_of_code(driver.read_text("utf-8")) <= MOST_LINES


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.stem)
def test_a_driver_is_written_on_public_names(driver: Path) -> None:
    """It imports the standard library, ``masivo`` and ``masivo.protocol``, and Twisted where that
    is its world; of masivo it uses public names alone."""
    worlds = {"twisted_driver": {"twisted"}}.get(driver.stem, set())
    public = {"masivo": [*masivo.__all__, "protocol"], "masivo.protocol": protocol.__all__}
    for node in ast.walk(ast.parse(driver.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name.partition(".")[0] in {*sys.stdlib_module_names, *worlds}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            assert node.level == 0
            if module in public:
                assert {alias.name for alias in node.names} <= set(public[module])
            else:
                assert module.partition(".")[0] in {*sys.stdlib_module_names, *worlds}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "protocol":
            assert node.attr in protocol.__all__


def test_the_urllib_driver_has_no_thread() -> None:
    """It imports nothing that could start one."""
    tree = ast.parse((EXAMPLES / "urllib_driver.py").read_text("utf-8"))
    modules = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "urllib" in modules
    assert not modules & {"threading", "_thread", "concurrent", "asyncio", "multiprocessing"}
