"""JSON as the core reads and writes it: one encoder, one parser, one value for "not JSON"."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, Literal, TypeAlias, cast

import msgspec

__all__ = ["NOT_JSON", "Json", "decode_encoded", "decode_readable", "encode", "paired", "parse"]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""The value of a JSON text."""


class _NotJson(Enum):
    NOT_JSON = "not JSON"


NOT_JSON: Final = _NotJson.NOT_JSON
"""The result of :func:`parse` for a text that is not JSON."""

encode: Final = msgspec.json.Encoder(decimal_format="number").encode
"""Encodes plain JSON types, ints of any size, and a ``Decimal`` as an exact number. It accepts more
than an event may hold (bytes, sets, NaN): see ``events/plain``."""

decode_encoded: Final = msgspec.json.Decoder().decode
"""The value of what ``encode`` made."""


def parse(body: bytes) -> Json | Literal[_NotJson.NOT_JSON]:
    """The value of a JSON text, None for an empty one, NOT_JSON for anything else.

    It never raises, not for invalid UTF-8 nor for deep nesting. NOT_JSON is also a number beyond
    all floats, such as 1e999, or of more digits than Python reads: RFC 8259, section 9, allows a
    reader such bounds, and most have them.
    """
    if not body.strip():
        return None
    try:
        return cast("Json", decode_encoded(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return NOT_JSON


_decode_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def decode_readable(encoded: bytes) -> dict[str, Json]:
    """An object of which Python cannot read all: a number that it cannot hold, or nesting too deep
    for this thread's stack. Each such field is the text of its JSON (of all, in ``event``, if the
    fields cannot be told apart)."""
    try:
        fields = _decode_fields(encoded)
    except RecursionError:
        return {"event": encoded.decode("utf-8", "replace")}
    values: dict[str, Json] = {}
    for name, raw in fields.items():
        try:
            values[name] = cast("Json", decode_encoded(raw))
        except (msgspec.MsgspecError, RecursionError):
            values[name] = bytes(raw).decode("utf-8", "replace")
    return values


_ESCAPE: Final = rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F]..)|.)"


def paired(body: bytes) -> bytes:
    """A JSON text with U+FFFD in place of each escaped lone surrogate.

    RFC 8259, section 8.2, allows these, and servers in JavaScript write them: a text that was cut
    within an emoji. No text in UTF-8 can hold one, so ``parse`` does not accept them.
    """
    return re.sub(_ESCAPE, lambda found: rb"\ufffd" if found[1] else found[0], body)
