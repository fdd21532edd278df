"""JSON whose numbers stay as they are written."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

__all__ = ["decode", "exact"]


def exact(text: str) -> float | Decimal:
    """A number of a JSON text as a float where that is exact, else as a Decimal."""
    number = float(text)
    if number - number == 0.0 and (len(text) <= 16 or repr(number) == text):
        return number
    return Decimal(text)


decode: Final = msgspec.json.Decoder(float_hook=exact).decode
