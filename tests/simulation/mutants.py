"""Mutation testing of the core: ``python -m tests.simulation.mutants``.

Small changes are made all over ``masivo/_protocol``, one at a time and in memory. Each mutant is
run against the simulator and, if it survives, against the core's own tests; a time-out is counted
apart. The order is random but fixed, so a run that is cut short is a fair sample, and its score
an estimate.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from .patched import core_file, install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Mutant", "mutants_of"]

ROOT: Final = Path(__file__).parents[2]

TIMEOUT: Final = 90.0
"""Seconds for the tests or the seeds of one mutant."""

_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}

_OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change."""

    file: str
    line: int
    what: str
    text: str
    """The whole file, changed."""


def mutants_of(file: str) -> list[Mutant]:
    """Every mutant of a file of the core."""
    tree = ast.parse(core_file(file).read_text("utf-8"))
    found: list[Mutant] = []
    for number, node in enumerate(ast.walk(tree)):
        for what, change in _changes(node):
            changed = copy.deepcopy(tree)
            change(list(ast.walk(changed))[number])
            text = ast.unparse(ast.fix_missing_locations(changed))
            found.append(Mutant(file, getattr(node, "lineno", 0), what, text))
    return found


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.AST], None]]]:
    """What can be changed about a node: in words, and a function that does it to a copy."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _COMPARISONS:
            other = _COMPARISONS[type(operator)]
            words = f"{type(operator).__name__} -> {other.__name__}"
            yield f"{ast.unparse(node)}: {words}", lambda n: setattr(n, "ops", [other()])
        case ast.BinOp(op=operator) if type(operator) in _OPERATORS and not _is_union(node):
            swapped = _OPERATORS[type(operator)]
            words = f"{type(operator).__name__} -> {swapped.__name__}"
            yield f"{ast.unparse(node)}: {words}", lambda n: setattr(n, "op", swapped())
        case ast.AugAssign(op=operator) if type(operator) in _OPERATORS:
            swapped = _OPERATORS[type(operator)]
            yield f"{ast.unparse(node)}: swapped", lambda n: setattr(n, "op", swapped())
        case ast.BoolOp(op=junction):
            opposite = ast.Or if isinstance(junction, ast.And) else ast.And
            yield f"{ast.unparse(node)}: and <-> or", lambda n: setattr(n, "op", opposite())
        case ast.UnaryOp(op=ast.Not()):
            yield f"{ast.unparse(node)}: without not", lambda n: setattr(n, "op", ast.UAdd())
        case ast.If(test=test) if ast.unparse(test) != "TYPE_CHECKING":
            yield f"if {ast.unparse(test)}: never", _set_test(value=False)
            yield f"if {ast.unparse(test)}: always", _set_test(value=True)
        case ast.Constant(value=bool(value)):
            yield f"{value} -> {not value}", lambda n: setattr(n, "value", not value)
        case ast.Constant(value=int() | float()):
            number = node.value
            if isinstance(number, int | float):
                yield f"{number} + 1", lambda n: setattr(n, "value", number + 1)
        case ast.Expr(value=ast.Call()):
            yield f"without {ast.unparse(node)}", _drop
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield f"{ast.unparse(node)}: None", lambda n: setattr(n, "value", ast.Constant(None))
        case ast.Break() | ast.Continue():
            pass
        case _:
            return


def _is_union(node: ast.BinOp) -> bool:
    return isinstance(node.op, ast.BitOr)


def _set_test(*, value: bool) -> Callable[[ast.AST], None]:
    return lambda n: setattr(n, "test", ast.Constant(value))


def _drop(node: ast.AST) -> None:
    """Make a call that stands alone do nothing."""
    if isinstance(node, ast.Expr):
        node.value = ast.Constant(None)


def judge(file: str, text: str, seeds: int) -> str:
    """What becomes of a mutant: ``tests`` or ``simulator`` (which killed it), ``timeout``, or
    ``survived``."""
    for name, command in (
        ("simulator", ["--seeds", str(seeds)]),
        ("tests", ["--pytest"]),
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.simulation.mutants", "--judge", file, *command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.communicate(text.encode(), timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return "timeout"
        if process.returncode:
            return name
    return "survived"


def _judged(file: str, seeds: int | None) -> int:
    """Run the tests, or the seeds, in this interpreter with a mutant in it."""
    install(file, sys.stdin.read())
    if seeds is None:
        import pytest

        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "tests/protocol"]
        return int(pytest.main(options))
    from .run import Totals, run_seeds

    return 0 if run_seeds(range(seeds), Totals()) is None else 1


def main() -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="for how long")
    parser.add_argument("--skip", type=int, default=0, help="so many of them")
    parser.add_argument("--files", nargs="*", help="the files to change; all without")
    parser.add_argument("--seeds", type=int, help="of the simulator, for each (300)")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--judge", help=argparse.SUPPRESS)
    parser.add_argument("--pytest", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.judge:
        return _judged(arguments.judge, None if arguments.pytest else arguments.seeds)
    files = arguments.files or sorted(path.name for path in core_file("x").parent.glob("*.py"))
    mutants = [mutant for file in files for mutant in mutants_of(file)]
    Random(1).shuffle(mutants)
    return _run(
        mutants[arguments.skip :], arguments.seconds, arguments.seeds or 300, arguments.jobs
    )


def _run(mutants: list[Mutant], seconds: float, seeds: int, jobs: int) -> int:
    """Judge as many as there is time for, and say what became of them."""
    until = time.monotonic() + seconds

    def judged(mutant: Mutant) -> str | None:
        if time.monotonic() > until:
            return None
        return judge(mutant.file, mutant.text, seeds)

    counts: dict[str, int] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for mutant, result in zip(mutants, pool.map(judged, mutants), strict=True):
            if result is None:
                continue
            counts[result] = counts.get(result, 0) + 1
            if not sum(counts.values()) % 20:
                print(f"so far: {counts}", flush=True)
            if result in ("survived", "timeout"):
                print(f"{result}: {mutant.file}:{mutant.line}: {mutant.what[:110]}", flush=True)
    killed = counts.get("tests", 0) + counts.get("simulator", 0)
    judged_number = killed + counts.get("survived", 0)
    print(f"{len(mutants)} mutants, {sum(counts.values())} judged: {counts}")
    if judged_number:
        print(f"score, time-outs apart: {100.0 * killed / judged_number:.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
