"""When an event fits an expectation, and which one comes nearest."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from unittest.mock import ANY
from uuid import UUID

import pytest

from masivo.testing.kit.matching import MISSING, compare, fits, nearness

from .events import event


class Size(Enum):
    """A value that is sent as another."""

    LARGE = "l"


ID = UUID(int=7)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def above_ten(value: int) -> bool:
    """A predicate that raises for what it is not made for."""
    return value > 10


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("a", "a"),
        (1, 1.0),
        (None, None),
        (True, True),
        ({"sku": "A"}, {"sku": "A", "amount": 2}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}, "d": 3}),
        ({}, {"anything": 1}),
        ([{"sku": "A"}, "x"], [{"sku": "A", "amount": 2}, "x"]),
        (("a", "b"), ["a", "b"]),
        (ANY, {"sku": "A"}),
        (pytest.approx(0.3), 0.1 + 0.2),
        (str, "a"),
        (int, 3),
        (bool, True),
        (above_ten, 11),
        ({"amount": above_ten}, {"amount": 11}),
        (Decimal("19.99"), 19.99),
        (NOON, NOON.isoformat()),
        (ID, str(ID)),
        (Size.LARGE, "l"),
        ({"sizes": [Size.LARGE]}, {"sizes": ["l"]}),
    ],
)
def test_a_value_fits(expected: object, found: object) -> None:
    """Equal values, parts of mappings, lists item by item, classes, predicates, and values that
    are sent as something else."""
    assert fits({"field": expected}, {"field": found})  # type: ignore[dict-item]  # any object


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("a", "b"),
        (1, True),
        (True, 1),
        (None, "None"),
        (None, 0),
        ({"sku": "A"}, {"amount": 2}),
        ({"sku": "A"}, "A"),
        ({"sku": "A"}, None),
        ({}, []),
        (["a"], ["a", "b"]),
        (["a", "b"], ["b", "a"]),
        ([], ["a"]),
        ("a", ["a"]),
        (int, "3"),
        (int, True),
        (above_ten, 3),
        (above_ten, "text"),
        (Size.LARGE, "LARGE"),
        (object(), "a"),
    ],
)
def test_a_value_does_not_fit(expected: object, found: object) -> None:
    """Anything else does not, and a predicate that raises does not either."""
    assert not fits({"field": expected}, {"field": found})  # type: ignore[dict-item]  # any object


def test_a_field_that_is_missing_fits_nothing() -> None:
    """Not even what is equal to everything; and the name that was perhaps meant is shown."""
    (field,) = compare({"custmer_id": ANY}, event())
    assert not field.fits
    assert field.found is MISSING
    assert "customer_id" in field.note


def test_fields_are_compared_one_by_one() -> None:
    """Nested fields have their own paths; the exception of a predicate is noted."""
    expected = {"product": {"sku": "A", "tags": ["x", above_ten]}}
    fields = compare(expected, {"product": {"sku": "B", "tags": ["x", "y"]}})
    assert [(field.path, field.fits) for field in fields] == [
        ("product.sku", False),
        ("product.tags[0]", True),
        ("product.tags[1]", False),
    ]
    assert "TypeError" in fields[2].note


def test_nearer_is_what_has_more_in_common() -> None:
    """The type weighs most, then more fields that fit, then texts that are alike."""
    expected = event("customer-1", "ADD_TO_CART", sku="A")
    nearest_first = [
        event("customer-1", "ADD_TO_CART", sku="A"),
        event("customer-1", "ADD_TO_CART", sku="B"),
        event("customer-2", "ADD_TO_CART", sku="B"),
        event("nobody", "ADD_TO_CART", sku="B"),
        event("customer-1", "OPENED", sku="B"),
    ]
    scores = [nearness(compare(expected, each)) for each in nearest_first]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)
