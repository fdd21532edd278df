"""JSON as the core reads and writes it: two encoders, one parser, one word for "not JSON"."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, TypeAlias, cast

import msgspec
import orjson

__all__ = ["NOT_JSON", "PLAIN", "Json", "decode_encoded", "encode", "encode_plain", "parse"]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""The value of a JSON text."""


class _NotJson(Enum):
    NOT_JSON = "not JSON"


NOT_JSON: Final = _NotJson.NOT_JSON
"""The result of :func:`parse` for a text that is not JSON."""

encode_plain: Final = orjson.dumps
"""Encodes, with the option ``PLAIN``, what consists of plain types, for a quarter of what a walk
over it costs. It raises TypeError for nearly all else that JSON cannot carry, and for some that it
can; but NaN and infinities become null, and a caller's ``orjson.Fragment`` is written as it is."""

PLAIN: Final = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
"""The option of ``encode_plain``: without it, naive datetimes pass, and dataclasses lose fields."""

encode: Final = msgspec.json.Encoder(decimal_format="number").encode
"""Encodes what ``events`` converted, ints of any size, and a ``Decimal`` as an exact number."""

decode_encoded: Final = msgspec.json.Decoder(float_hook=float).decode
"""The value of what ``encode`` made; a ``Decimal`` beyond all floats becomes infinite."""

_decode: Final = msgspec.json.Decoder().decode


def parse(body: bytes) -> Json | Literal[_NotJson.NOT_JSON]:
    """The value of a JSON text, None for an empty one, NOT_JSON for anything else.

    Nothing in ``body`` makes it raise: not bad UTF-8, not nesting beyond any bound.
    """
    if not body.strip():
        return None
    try:
        return cast("Json", _decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return NOT_JSON
