"""The changes that mutants are made of: those of mutmut, and four that find missing tests here.

Where most functions act, and few calculate, the mutants that tell most leave a call out, or take
an ``if`` for decided. A text is changed in one way, not in three, and prose not at all (it can be
left out, though): no rule is about the exact words of a message. What ``cast`` is told, type
checkers alone read.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import libcst as cst
from mutmut.mutation import file_mutation, mutators

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["install"]


def _text(node: cst.BaseString) -> Iterable[cst.BaseString]:
    prose = isinstance(node, cst.SimpleString) and " " in node.raw_value
    return islice(mutators.operator_string(node), 0 if prose else 1)


def _without_call(node: cst.Expr) -> Iterable[cst.Pass]:
    """Leave a call out whose result is not used."""
    value = node.value.expression if isinstance(node.value, cst.Await) else node.value
    if isinstance(value, cst.Call):
        yield cst.Pass()


def _decided(node: cst.If) -> Iterable[cst.If]:
    """Take a condition for true, or for false."""
    for value in ("True", "False"):
        yield node.with_changes(
            test=cst.Name(value), whitespace_before_test=cst.SimpleWhitespace(" ")
        )


def _nothing(node: cst.Return) -> Iterable[cst.Return]:
    """Return None."""
    if isinstance(node.value, (cst.Call, cst.Attribute, cst.Await, cst.Tuple, cst.BaseString)):
        yield node.with_changes(value=cst.Name("None"))


def _unlocked(node: cst.With) -> Iterable[cst.If]:
    """Run the body of a ``with`` alone, such as what is done under a lock."""
    if node.asynchronous is None and all(item.asname is None for item in node.items):
        yield cst.If(test=cst.Name("True"), body=node.body, leading_lines=node.leading_lines)


_OWN: Final[list[tuple[type, Callable[[Any], Iterable[cst.CSTNode]]]]] = [
    (cst.BaseString, _text),
    (cst.Expr, _without_call),
    (cst.If, _decided),
    (cst.Return, _nothing),
    (cst.With, _unlocked),
]


def install() -> None:
    """Have mutmut make these changes."""
    known = mutators.mutation_operators
    if not isinstance(known, list):
        raise TypeError(
            "mutmut keeps its operators in another way than the list that is changed here"
        )
    known[:] = [entry for entry in known if entry[1] is not mutators.operator_string]
    known.extend(_OWN)
    file_mutation.NEVER_MUTATE_FUNCTION_CALLS.add("cast")
