"""Events for the tests, and what of them arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masivo.emulator import Emulator


def event(n: int = 0, **fields: object) -> dict[str, object]:
    """A good event with a number of its own, with these fields added or replaced."""
    return {
        "type": "ADD_TO_CART",
        "customer_id": "c-1",
        "brand_id": None,
        "metadata": {"n": n},
        **fields,
    }


def number(accepted: object) -> int:
    """The number of an event that arrived."""
    assert isinstance(accepted, dict)
    n: object = accepted["metadata"]["n"]  # pyright: ignore[reportUnknownVariableType]
    assert isinstance(n, int)
    return n


def arrived(emulator: Emulator) -> list[int]:
    """The numbers of the accepted events, in order of arrival."""
    return [number(each) for each in emulator.events]
