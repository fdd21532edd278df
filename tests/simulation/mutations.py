"""The small changes that mutation testing makes, all over the files of the core."""

from __future__ import annotations

import ast
import copy
import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import masivo

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CORE", "FILES", "ROOT", "Mutant", "changed", "mutants_of"]

ROOT: Final = Path(__file__).parents[2]
CORE: Final = Path(masivo.__file__).parent / "_protocol"
FILES: Final = sorted(path.relative_to(CORE).as_posix() for path in CORE.rglob("*.py"))
"""The files of the core, such as ``batches/queues.py``."""

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
    ast.Mod: ast.Add,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change."""

    file: str
    name: str
    """Which change it is, without a line number: it outlives changes elsewhere in the file."""
    digest: str
    """Of the function or statement that it is in: once that has changed, so has the mutant."""
    line: int
    span: range | None
    """The lines of the statement that it is in; None if that is run at import."""
    node: int
    """Which node of the file is changed, counted as ``ast.walk`` goes."""
    way: int
    """Which of the ways to change it."""

    @property
    def key(self) -> str:
        """What its result is kept under."""
        return f"{self.file} {self.name} {self.digest}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.name}"


def mutants_of(file: str) -> list[Mutant]:
    """Every mutant of a file of the core."""
    tree = ast.parse((CORE / file).read_text("utf-8"))
    skipped = _skipped(tree)
    places = _places(tree)
    spans = _spans(tree)
    names: Counter[str] = Counter()
    found: list[Mutant] = []
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for way, (what, _) in enumerate(_changes(node)):
            where, digest = places.get(id(node), ("", ""))
            name = " ".join(f"{where}: {what}".split())
            names[name] += 1
            if names[name] > 1:
                name += f" #{names[name]}"
            line, span = getattr(node, "lineno", 0), spans.get(id(node))
            found.append(Mutant(file, name, digest, line, span, number, way))
    return found


def changed(mutant: Mutant) -> ast.Module:
    """The file's syntax tree with the change in it."""
    tree = ast.parse((CORE / mutant.file).read_text("utf-8"))
    node = list(ast.walk(tree))[mutant.node]
    _, new = list(_changes(node))[mutant.way]
    _Exchange(node, ast.copy_location(new, node)).visit(tree)
    return ast.fix_missing_locations(tree)


class _Exchange(ast.NodeTransformer):
    """Puts one node in another's place."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old = old
        self._new = new

    def visit(self, node: ast.AST) -> ast.AST:
        """See ``NodeVisitor``."""
        return self._new if node is self._old else self.generic_visit(node)


def _skipped(tree: ast.Module) -> set[int]:
    """What is not run: docstrings, ``__all__``, annotations, and what type checkers alone see."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        idle: list[ast.AST | None] = []
        match node:
            case ast.Expr(value=ast.Constant()):
                idle = [node]
            case ast.AnnAssign(annotation=ast.Name(id="TypeAlias")):
                idle = [node]
            case ast.arg() | ast.AnnAssign():
                idle = [node.annotation]
            case ast.FunctionDef():
                idle = [node.returns]
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                idle = [node]
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                idle = [node]
            case ast.Call(func=ast.Name(id="cast"), args=[ast.Constant() as kind, _]):
                idle = [kind]
            case _:
                pass
        skipped.update(id(each) for top in idle if top is not None for each in ast.walk(top))
    return skipped


def _places(tree: ast.Module) -> dict[int, tuple[str, str]]:
    """For each node, the function, method or statement that it is in, and a digest of that."""
    places: dict[int, tuple[str, str]] = {}

    def note(body: list[ast.stmt], prefix: str) -> None:
        for statement in body:
            name = prefix + getattr(statement, "name", "").strip()
            match statement:
                case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
                    name += ast.unparse(target)
                case _:
                    pass
            digest = hashlib.sha256(ast.unparse(statement).encode()).hexdigest()[:8]
            places.update((id(node), (name, digest)) for node in ast.walk(statement))
            if isinstance(statement, ast.ClassDef):
                note(statement.body, f"{name}.")

    note(tree.body, "")
    return places


def _spans(tree: ast.Module) -> dict[int, range]:
    """For each node in a function, the lines of its statement; of a compound one, its head."""
    spans: dict[int, range] = {}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in functions:  # inner ones come later, and overwrite
        # What stands before the body, such as the default of a parameter, is run elsewhere.
        for statement in [each for top in function.body for each in ast.walk(top)]:
            if isinstance(statement, ast.stmt):
                body: list[ast.stmt] = getattr(statement, "body", [])
                end = body[0].lineno if body else (statement.end_lineno or 0) + 1
                span = range(statement.lineno, max(end, statement.lineno + 1))
                spans.update((id(node), span) for node in ast.walk(statement))
    return spans


def _with(node: ast.AST, **fields: object) -> ast.AST:
    """A copy of a node with other fields."""
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What can be changed about a node: in words, and what is to stand in its place."""
    match node:
        case ast.Compare(ops=operators):
            for index, operator in enumerate(operators):
                other = _COMPARISONS[type(operator)]
                ops = [*operators[:index], other(), *operators[index + 1 :]]
                words = f"{type(operator).__name__} -> {other.__name__}"
                yield f"{ast.unparse(node)}: {words}", _with(node, ops=ops)
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator) if type(operator) in _OPERATORS:
            swapped = _OPERATORS[type(operator)]
            words = f"{type(operator).__name__} -> {swapped.__name__}"
            yield f"{ast.unparse(node)}: {words}", _with(node, op=swapped())
        case ast.BoolOp(op=junction):
            opposite = ast.Or if isinstance(junction, ast.And) else ast.And
            yield f"{ast.unparse(node)}: and <-> or", _with(node, op=opposite())
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield f"{ast.unparse(node)}: without its sign", operand
        case ast.If(test=test):
            yield f"if {ast.unparse(test)}: never", _with(node, test=ast.Constant(False))
            yield f"if {ast.unparse(test)}: always", _with(node, test=ast.Constant(True))
        case ast.IfExp(body=body, orelse=orelse):
            yield f"{ast.unparse(node)}: always the first", body
            yield f"{ast.unparse(node)}: always the second", orelse
        case ast.comprehension(ifs=[_, *_]):
            yield f"without the if in {ast.unparse(node)}", _with(node, ifs=[])
        case ast.Constant(value=value):
            yield from _constants(value)
        case ast.Expr(value=ast.Call()):
            yield f"without {ast.unparse(node)}", ast.Pass()
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield f"{ast.unparse(node)}: None", _with(node, value=ast.Constant(None))
        case ast.Call():
            yield from _calls(node)
        case ast.Break():
            yield "break -> continue", ast.Continue()
        case ast.Continue():
            yield "continue -> break", ast.Break()
        case _:
            return


def _constants(value: object) -> Iterator[tuple[str, ast.AST]]:
    """A truth value is turned round, a number is one more, a text is gone (or is there)."""
    match value:
        case bool():
            yield f"{value} -> {not value}", ast.Constant(not value)
        case int() | float():
            yield f"{value} + 1", ast.Constant(value + 1)
        case str():
            yield f"{value!r}: another text", ast.Constant("" if value else "x")
        case bytes():
            yield f"{value!r}: other bytes", ast.Constant(b"" if value else b"x")
        case _:
            return


def _calls(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    """A call loses a named argument; two arguments change places."""
    for index, keyword in enumerate(node.keywords):
        others = [*node.keywords[:index], *node.keywords[index + 1 :]]
        yield f"{ast.unparse(node)}: without {keyword.arg}", _with(node, keywords=others)
    function = ast.unparse(node.func)
    if len(node.args) == 2 and function not in ("min", "max", "isinstance"):
        yield f"{ast.unparse(node)}: exchanged", _with(node, args=node.args[::-1])
