"""JSON decoding that keeps numbers exactly as written."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

__all__ = ["decode", "exact"]


def exact(text: str) -> float | Decimal:
    """Return a JSON number as a float if that is exact, else as a Decimal."""
    number = float(text)
    if number - number == 0.0 and (len(text) <= 16 or repr(number) == text):
        return number
    return Decimal(text)


decode: Final = msgspec.json.Decoder(float_hook=exact).decode
