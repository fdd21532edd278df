"""Redaction: texts and exceptions from outside, without the key and the token.

The rules: ``docs/reference/guarantees.md#hidden-secrets``.
"""

from __future__ import annotations

import re
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Final, cast

from masivo._protocol.json import NOT_JSON, Json, encode, paired, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["causes_of", "chain", "redacted", "redacted_body", "stripped"]

_REDACTED: Final = "[redacted]"

_SHORT: Final = 8
"""Secrets shorter than this are redacted as whole words only: responses must stay readable."""


def redacted(text: str, secrets: Sequence[str]) -> str:
    """A text without the secrets, as they are or as JSON writes them."""
    for secret in (*(encode(each)[1:-1].decode() for each in secrets), *secrets):
        if len(secret) >= _SHORT:
            text = text.replace(secret, _REDACTED)
        else:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _REDACTED, text)
    return text


def redacted_body(body: bytes, secrets: Sequence[str]) -> bytes:
    """A response's body without the secrets that it might echo, escaped or not. JSON stays JSON, of
    the kind that ``parse`` accepts."""
    if b"\\" not in body and not any(secret.encode() in body for secret in secrets):
        return body
    body = paired(body)
    value = parse(body)
    if value is not NOT_JSON:
        try:
            return encode(_redacted_value(value, secrets))
        except RecursionError:  # nested too deeply: redact it as a text
            body = encode(value)
    text = redacted(body.decode("utf-8", "surrogateescape"), secrets)
    return text.encode("utf-8", "surrogateescape")


def _redacted_value(value: Json, secrets: Sequence[str]) -> Json:
    if isinstance(value, str):
        return redacted(value, secrets)
    if isinstance(value, list):
        return [_redacted_value(item, secrets) for item in value]
    if isinstance(value, dict):
        return {
            redacted(key, secrets): _redacted_value(item, secrets) for key, item in value.items()
        }
    if isinstance(value, int | float) and str(value) in secrets:
        return _REDACTED
    return value


# ── Exceptions ───────────────────────────────────────────────────────────────────────────────


def causes_of(error: BaseException | None) -> tuple[str, ...]:
    """The names of the classes of an exception and of all that it came from, each once."""
    return tuple(dict.fromkeys(type(each).__name__ for each in chain(error)))


def chain(error: BaseException | None) -> Iterable[BaseException]:
    """An exception and all that it came from; nothing for None."""
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
    """The members of an exception apart from its dict and its arguments: an OSError has its message
    there, others their ``__slots__``."""
    for kind in type(error).__mro__:
        for name, member in vars(kind).items():
            if isinstance(member, MemberDescriptorType) and not name.startswith("__"):
                yield name, getattr(error, name, None)


def stripped(error: BaseException, secrets: Sequence[str]) -> BaseException | None:
    """Remove from an exception everything that leads to a secret: tracebacks, whose frames hold
    requests; attributes other than texts and numbers (a request, a response); secrets in its texts.
    An attribute that is an exception becomes a text. Return None if that is not possible: an
    exception of a caller's transport can be anything.

    Args:
        error: the exception; it is changed, and so are all that it came from.
        secrets: the key and the token.
    """

    def clean(value: object) -> object:
        if isinstance(value, BaseException):  # httpcore's carry their message there
            value = str(value)
        if isinstance(value, str):
            value = redacted(value, secrets)
        return value if isinstance(value, str | int | float) else None

    try:
        for each in reversed(list(chain(error))):  # causes first: their text may be quoted
            each.__traceback__ = None
            attributes = vars(each)
            attributes.update({name: clean(value) for name, value in attributes.items()})
            if isinstance(each, BaseExceptionGroup):  # nothing in it can be set
                if redacted(each.message, secrets) != each.message:
                    return None
                continue  # its exceptions are in the chain
            each.args = tuple(map(clean, each.args))
            for name, value in _members(each):
                if clean(value) != value:
                    setattr(each, name, clean(value))
    except Exception:  # noqa: BLE001
        return None
    return error
