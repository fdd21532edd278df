"""Events: good ones, with what the server must get for them; and bad ones, with their fault."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .plan import ClientPlan

__all__ = ["INVALID", "Sample", "make_event", "oversized"]

STAMP_BYTES: Final = len('"issued_at":"2026-01-01T00:00:00.000Z",')

EXACT: Final = "0.1000000000000000055511151231257827"
"""A number that no float holds: a Decimal must arrive with all its digits."""


Change: TypeAlias = "Callable[[], dict[object, object]]"
"""Makes what is to be changed in an event."""


class Kind(Enum):
    """An event type as a caller may keep it."""

    LOOK = "VIEW"


class Text(str):
    """A str of the caller's own."""

    __slots__ = ()

    def __str__(self) -> str:
        return "never this"


class Number(int):
    """An int of the caller's own."""

    def __str__(self) -> str:
        return "never this"


@dataclass
class Product:
    """A dataclass as callers have them."""

    sku: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A good event."""

    given: Mapping[str, object]
    """What ``send`` gets."""
    text: str
    """The JSON that stands for it, without a stamp."""
    size: int
    """Its bytes on the wire, the stamp included."""
    customer: str
    stamped: bool
    """Whether it gets a stamp."""

    def value(self) -> dict[str, Any]:
        """What the text says, with exact numbers."""
        value: dict[str, Any] = json.loads(self.text, parse_float=Decimal)
        return value


def make_event(
    number: int, x: int, client: ClientPlan, *, stamps: bool, length: int = 0, bad: bool = False
) -> Sample:
    """A good event, known by its ``n``.

    Args:
        number: its ``n``.
        x: chooses its form and customer.
        client: whose it is: a default brand is filled in.
        stamps: whether the client stamps events.
        length: how much text it carries.
        bad: whether the server is to reject it.
    """
    customer = f"c{(x >> 4) % 5}"
    given: dict[str, object] = {"type": "VIEW", "customer_id": customer, "n": number}
    wire: dict[str, object] = dict(given)
    brand: dict[str, object] = {"brand_id": (None, "br")[x >> 7 & 1]}
    form = x & 15
    if form == 1 and client.brand_id is not None:
        given["platform"] = "web"
        wire["platform"] = "web"
        brand = {"brand_id": client.brand_id}
    else:
        given.update(brand)
    if client.before_send:
        wire["scrubbed"] = True
    if length:
        given["pad"] = wire["pad"] = "p" * length
    if bad:
        given["bad"] = wire["bad"] = True
    if form == 2:
        given["issued_at"] = wire["issued_at"] = "2020-02-02T00:00:00.000Z"
    elif form == 3:
        given["note"] = wire["note"] = 'žluť "\n\\ \U0001f600 \x01'
        given["list"] = wire["list"] = [1, 2.5, None, True, {"k": [[], {}]}, -7, 10**15]
    elif form in (4, 5):
        _exotic(given, wire)
    elif form == 6:
        given["type"], given["customer_id"] = Kind.LOOK, Text(customer)
    wire.update(brand)
    text = json.dumps(wire, separators=(",", ":"), ensure_ascii=False)
    text = text.replace('"@exact@"', EXACT)
    stamped = stamps and "issued_at" not in given
    size = len(text.encode()) + (STAMP_BYTES if stamped else 0)
    passed: Mapping[str, object] = MappingProxyType(given) if form == 7 else given
    return Sample(passed, text, size, customer, stamped)


def _exotic(given: dict[str, object], wire: dict[str, object]) -> None:
    """What JSON does not know, but the contract lets through."""
    given["when"] = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    wire["when"] = "2026-01-02T03:04:05+00:00"
    given["day"], wire["day"] = date(2026, 1, 2), "2026-01-02"
    given["id"] = UUID(int=5)
    wire["id"] = "00000000-0000-0000-0000-000000000005"
    given["price"], wire["price"] = Decimal(EXACT), "@exact@"
    given["kind"], wire["kind"] = Kind.LOOK, "VIEW"
    given["own"], wire["own"] = (Text("t"), Number(3)), ["t", 3]
    given["product"], wire["product"] = (
        Product("s", ("a", "b")),
        {"sku": "s", "tags": ["a", "b"]},
    )
    given["map"], wire["map"] = MappingProxyType({"a": (1.5,)}), {"a": [1.5]}
    shared = (Text("t"),)
    given["twice"], wire["twice"] = [shared, {"a": shared}], [["t"], {"a": ["t"]}]


def _cycle() -> dict[object, object]:
    event: dict[object, object] = {}
    event["self"] = [event]
    return event


def _reserved(kind: str) -> Change:
    return lambda: {"type": kind}


def _deep() -> dict[object, object]:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    return {"deep": value}


INVALID: Final[tuple[tuple[Change, str], ...]] = (
    (lambda: {"type": ""}, "type"),
    (lambda: {"type": None}, "type"),
    (lambda: {"type": 5}, "type"),
    (lambda: {"customer_id": ""}, "customer_id"),
    (lambda: {"customer_id": 7}, "customer_id"),
    (lambda: {"brand_id": 7}, "brand_id"),
    (lambda: {"brand_id": ...}, "brand_id"),
    *(
        (_reserved(kind), "SERVER key")
        for kind in ("PURCHASE", "ABANDONED_CART", "BIRTHDAY", "REGISTRATION", "TIER_ADJUSTMENT")
    ),
    (lambda: {"a": float("nan")}, "a:"),
    (lambda: {"a": [1, float("inf")]}, "a[1]"),
    (lambda: {"a": {"b": Decimal("nan")}}, "a.b"),
    (lambda: {"a": Decimal("-inf")}, "a:"),
    (lambda: {"a": datetime(2026, 1, 1)}, "a:"),  # noqa: DTZ001 (the fault in question)
    (lambda: {"product": {"tags": ["a", "b", b"c"]}}, "product.tags[2]"),
    (lambda: {"a": {1, 2}}, "a:"),
    (lambda: {"a": timedelta(1)}, "a:"),
    (lambda: {5: "a"}, "5"),
    (lambda: {"a": {None: 1}}, "a"),
    (lambda: {"a": "\ud800"}, "a:"),
    (lambda: {"a": object()}, "a:"),
    (_cycle, "self[0]"),
    (_deep, "deep"),
)
"""What to change in a good event (``...``: leave the field out), and what the error must name."""


def oversized(limit: int) -> dict[str, object]:
    """An event of more than ``limit`` bytes, however it is counted."""
    return {"type": "VIEW", "customer_id": "c", "brand_id": None, "pad": "p" * limit}
