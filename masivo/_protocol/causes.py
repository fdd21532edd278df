"""Exceptions of the transport, made fit to be the ``__cause__`` of an error that users see."""

from __future__ import annotations

from types import MemberDescriptorType
from typing import TYPE_CHECKING, cast

from .redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["chain", "stripped"]


def chain(error: BaseException) -> Iterable[BaseException]:
    """An exception and all that it came from."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is not None and not any(each is other for other in seen):
            seen.append(each)
            todo += [each.__cause__, each.__context__]
            if isinstance(each, BaseExceptionGroup):
                todo += cast("BaseExceptionGroup[BaseException]", each).exceptions
    return seen


def _members(error: BaseException) -> Iterable[tuple[str, object]]:
    """What an exception holds apart from its dict and its arguments: an OSError has its message
    there, others their ``__slots__``."""
    for kind in type(error).__mro__:
        for name, member in vars(kind).items():
            if isinstance(member, MemberDescriptorType) and not name.startswith("__"):
                yield name, getattr(error, name, None)


def stripped(error: BaseException, secrets: Sequence[str]) -> BaseException | None:
    """The exception without what leads to a secret: tracebacks, whose frames hold requests; what
    it carries besides texts and numbers (a request, a response); secrets in its texts. Another
    exception that it carries becomes a text. None if it lets nobody do that: a class of a caller's
    transport can be anything.

    Args:
        error: is changed, and so is all that it came from.
        secrets: the key and the token.
    """

    def clean(value: object) -> object:
        if isinstance(value, BaseException):  # of httpcore's it is all that they say
            value = str(value)
        if isinstance(value, str):
            value = redacted(value, secrets)
        return value if isinstance(value, str | int | float) else None

    try:
        for each in reversed(list(chain(error))):  # first what it came from: it may be quoted
            each.__traceback__ = None
            attributes = vars(each)
            attributes.update({name: clean(value) for name, value in attributes.items()})
            if isinstance(each, BaseExceptionGroup):
                continue  # its exceptions have their turn; nothing else of it can be set
            each.args = tuple(map(clean, each.args))
            for name, value in _members(each):
                if clean(value) != value:
                    setattr(each, name, clean(value))
    except Exception:  # noqa: BLE001
        return None
    return error
