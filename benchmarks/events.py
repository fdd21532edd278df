"""The event that everything is measured with: about 320 bytes, as a shop would send it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["CUSTOMERS", "MARK", "Event", "customer_of", "events", "in_order", "make"]

Event: TypeAlias = dict[str, Any]

MARK = b"bench-"
"""Occurs once in every event, whatever a library makes of it: the sink counts it."""

CUSTOMERS = 997
"""How many customers there are (a prime, so that they spread over batches)."""


def make(number: int, *, skewed: bool = False) -> Event:
    """The event of this number.

    Args:
        number: from 0 up; it is part of the event, so that the sink knows it again.
        skewed: whether every fifth event is of one customer.
    """
    return {
        "type": "ADD_TO_CART",
        "customer_id": customer_of(number, skewed=skewed),
        "brand_id": "brand-main",
        "platform": "web",
        "product": {
            "sku": "85123A",
            "amount": 6,
            "value": 15.3,
            "discounted_value": 12.75,
            "tags": ["home", "kitchen"],
            "metadata": {"colour": "white", "country": "United Kingdom"},
        },
        "metadata": {"session": "f3b1c2d4e5", "page": "/p/85123A", "n": f"bench-{number:08d}"},
    }


def customer_of(number: int, *, skewed: bool = False) -> str:
    """The customer of the event of this number."""
    return f"customer-{0 if skewed and number % 5 == 0 else number % CUSTOMERS:06d}"


def events(count: int, *, skewed: bool = False) -> list[Event]:
    """The events of the numbers from 0."""
    return [make(number, skewed=skewed) for number in range(count)]


def in_order(numbers: Iterable[int], *, skewed: bool = False) -> bool:
    """Whether each customer's events arrived in the order of their numbers.

    Args:
        numbers: as they arrived.
        skewed: as they were made.
    """
    last: dict[str, int] = {}
    for customer, number in _with_customers(numbers, skewed):
        if number <= last.get(customer, -1):
            return False
        last[customer] = number
    return True


def _with_customers(numbers: Iterable[int], skewed: bool) -> Iterator[tuple[str, int]]:
    return ((customer_of(number, skewed=skewed), number) for number in numbers)
