"""Events for the tests of the example drivers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masivo.emulator import Emulator


def event(n: int = 0, **fields: object) -> dict[str, object]:
    """A good event with a number of its own."""
    return {"type": "ADD_TO_CART", "customer_id": "c-1", "brand_id": None, "n": n, **fields}


def arrived(emulator: Emulator) -> list[object]:
    """The numbers of the accepted events, in order of arrival."""
    return [each["n"] for each in emulator.events]
