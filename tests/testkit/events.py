"""Events for the tests of the test kit."""

from __future__ import annotations

__all__ = ["event"]


def event(customer: str = "c1", kind: str = "ADD_TO_CART", **fields: object) -> dict[str, object]:
    """An event; ``fields`` come on top."""
    return {"type": kind, "customer_id": customer, "brand_id": None, **fields}
