"""Which events the API takes."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from masivo._protocol.wire.api import RESERVED_TYPES
from masivo._protocol.wire.schema import problem_with
from masivo.emulator.responses import Json

NOW = datetime(2026, 3, 25, 10, tzinfo=UTC)

GOOD: dict[str, Json] = {"customer_id": "c", "type": "ADD_TO_CART", "brand_id": "b"}


def problem(event: Json) -> str | None:
    return problem_with(event, now=NOW.timestamp(), reserved=RESERVED_TYPES)


def stamp(age: timedelta) -> str:
    return (NOW - age).isoformat()


def full() -> dict[str, Json]:
    """An event with every field that the vendor describes."""
    redeem: list[Json] = [{"id": "r", "amount": 1}]
    priced: dict[str, Json] = {
        "value": 20.95,
        "discounted_value": 10,
        "redeem": redeem,
        "tags": {"colour": "red"},
        "metadata": {"any": [None]},
    }
    product: dict[str, Json] = {"sku": "s", "amount": 2, **priced}
    order: dict[str, Json] = {
        "purchase_id": "p",
        "value": 1,
        "discounted_value": 0.5,
        "products": [product],
        "payment_method": "CREDIT",
        "channel_id": "web",
        "store_id": "s",
        "shipping": priced,
        "redeem": redeem,
        "metadata": {},
    }
    return {
        **GOOD,
        "platform": "ios",
        "order": order,
        "product": product,
        "fulfilled": True,
        "reserve": 1,
        "redeem": redeem,
        "tags": ["new"],
        "referral_code": "x",
        "metadata": {"n": 1},
        "issued_at": "2026-03-25T09:59:59.999Z",
    }


def test_a_full_event_is_good() -> None:
    """An event with every field that the vendor describes is accepted."""
    assert problem(full()) is None


def fields(value: Json, path: str = "") -> Iterator[tuple[str, dict[str, Json], str]]:
    """The fields of an event that the vendor describes: path, object and name of each."""
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield from fields(each, f"{path}[{number}]")
    elif isinstance(value, dict):
        for name, each in value.items():
            yield f"{path}.{name}", value, name
            if name not in ("tags", "metadata"):
                yield from fields(each, f"{path}.{name}")


def test_no_field_of_a_full_event_may_be_null() -> None:
    """Each has a type, at every depth; of those that the vendor describes only the brand may be
    null."""
    event = json.loads(json.dumps(full()))  # without parts in common
    found = list(fields(event))
    assert len(found) > 50
    for path, holder, name in found:
        value, holder[name] = holder[name], None
        said = problem(event)
        holder[name] = value
        assert name == "brand_id" or (said or "").startswith(f"{path} "), path


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"customer_id": ""}, ".customer_id"),
        ({"customer_id": 7}, ".customer_id"),
        ({"type": None}, ".type"),
        ({"type": ""}, ".type"),
        ({"brand_id": 1}, ".brand_id"),
        ({"platform": None}, ".platform"),
        ({"order": []}, ".order"),
        ({"order": {"products": {}}}, ".order.products"),
        ({"order": {"products": [{}, {"sku": 1}]}}, ".order.products[1].sku"),
        ({"order": {"products": ["s"]}}, ".order.products[0]"),
        ({"order": {"value": "1"}}, ".order.value"),
        ({"order": {"shipping": {"value": True}}}, ".order.shipping.value"),
        ({"product": {"redeem": [{"amount": "1"}]}}, ".product.redeem[0].amount"),
        ({"fulfilled": 1}, ".fulfilled"),
        ({"reserve": True}, ".reserve"),
        ({"redeem": {}}, ".redeem"),
        ({"tags": "a"}, ".tags"),
        ({"referral_code": 1}, ".referral_code"),
        ({"metadata": []}, ".metadata"),
        ({"issued_at": None}, ".issued_at"),
        ({"issued_at": 1_774_000_000}, ".issued_at"),
        ({"issued_at": "yesterday"}, ".issued_at"),
        ({"issued_at": "2026-13-01T00:00:00Z"}, ".issued_at"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, Json], named: str) -> None:
    """The text on a bad event begins with the path of the field at fault."""
    text = problem({**GOOD, **change})
    assert text is not None
    assert text.startswith(f"{named} ")


@pytest.mark.parametrize("name", ["customer_id", "type", "brand_id"])
def test_a_required_field_is_missed(name: str) -> None:
    """Each of the three required fields must be there."""
    text = problem({key: value for key, value in GOOD.items() if key != name})
    assert text is not None
    assert text.startswith(f".{name} ")


def test_an_event_is_an_object() -> None:
    """Anything but an object is rejected."""
    assert problem(["customer_id"]) == " must be an object"


def test_brand_may_be_null_and_unknown_fields_pass() -> None:
    """A null brand and fields that the vendor does not know are fine."""
    assert problem({**GOOD, "brand_id": None, "colour": {"r": 1}}) is None


@pytest.mark.parametrize("name", sorted(RESERVED_TYPES))
def test_reserved_types(name: str) -> None:
    """A reserved type is rejected for keys to which it is reserved, and only for them."""
    event: dict[str, Json] = {**GOOD, "type": name}
    text = problem(event)
    assert text is not None
    assert "SERVER key" in text
    assert problem_with(event, now=NOW.timestamp(), reserved=frozenset()) is None


def test_types_are_taken_literally() -> None:
    """Only the exact upper-case names are reserved."""
    assert problem({**GOOD, "type": "purchase"}) is None


def test_issued_at_is_bounded_by_the_servers_time() -> None:
    """`issued_at` may be now or 72 hours ago, and nothing beyond either end."""
    limit = timedelta(hours=72)
    moment = timedelta(milliseconds=1)
    assert problem({**GOOD, "issued_at": stamp(timedelta(0))}) is None
    assert problem({**GOOD, "issued_at": stamp(limit)}) is None
    assert problem({**GOOD, "issued_at": stamp(-moment)}) == ".issued_at is 0.001 s in the future"
    assert problem({**GOOD, "issued_at": stamp(limit + moment)}) == (
        ".issued_at is more than 72 hours old"
    )


@pytest.mark.parametrize("zone", ["UTC", "America/Bogota", "Asia/Tokyo"])
def test_issued_at_with_an_offset_or_none(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets count; a time without one is UTC, wherever the machine is."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        _check_offsets()
    finally:
        monkeypatch.undo()
        time.tzset()


def _check_offsets() -> None:
    assert problem({**GOOD, "issued_at": "2026-03-25T12:00:00+02:00"}) is None
    assert problem({**GOOD, "issued_at": "2026-03-25T12:00:00"}) is not None
    assert problem({**GOOD, "issued_at": "2026-03-25T10:00:00"}) is None
