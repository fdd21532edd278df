"""The check and the encoding of one event, and the form in which it is kept
(``docs/reference/guarantees.md#sending-and-validation``)."""

from __future__ import annotations

import gc
import inspect
import json
import math
import sys
from collections import OrderedDict, UserDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest

from masivo._protocol.errors import MasivoValidationError
from masivo._protocol.events import encoding
from masivo._protocol.events.encoding import encoder
from masivo._protocol.events.form import BRACE, complete, decode, opening, size
from masivo._protocol.wire.requests import envelope_size
from masivo.protocol import Api
from protocol.simulator import event, settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

UNSTAMPED = Api(stamp_issued_at=False)
STAMP = b"2026-01-01T00:00:00.000Z"


class Colour(Enum):
    """An enumeration of values that JSON has, and of one that is converted."""

    RED = "red"
    ONE = 1
    DAY = date(2026, 1, 2)


class Kind(StrEnum):
    """An enumeration of texts."""

    VIEW = "VIEW"
    PURCHASE = "PURCHASE"
    EMPTY = ""


class Number(IntEnum):
    """An enumeration of numbers."""

    SEVEN = 7


class Text(str):
    """A subclass with a text of its own."""

    __slots__ = ()

    def __str__(self) -> str:
        return "not this"


class Whole(int):
    """A subclass with a text and a conversion of its own."""

    def __repr__(self) -> str:
        return "not this"

    def __int__(self) -> int:
        return -1


class Real(float):
    """A subclass with a text and a conversion of its own."""

    def __repr__(self) -> str:
        return "not this"

    def __float__(self) -> float:
        return -1.0


def member(value: object) -> object:
    """The member of an enumeration that has this value."""
    return next(iter(cast("Any", Enum("Made", {"ONE": value}))))


@dataclass
class Item:
    """A product."""

    sku: str
    price: object


def encoded(given: Mapping[str, object], **changes: Any) -> bytes:
    """An event as it is sent, without a stamp."""
    return encoder(settings(api=UNSTAMPED, **changes))(given)[0]


def stamped(kept: bytes) -> bytes:
    """An event as it is sent, from the form in which it is kept."""
    return kept if kept[0] == BRACE else opening(STAMP) + kept


def sent(given: Mapping[str, object], **changes: Any) -> dict[str, Any]:
    """An event as the server reads it."""
    return cast("dict[str, Any]", json.loads(encoded(given, **changes)))


def refusal(given: object, **changes: Any) -> str:
    """The message with which an event is refused."""
    with pytest.raises(MasivoValidationError) as caught:
        encoded(cast("Any", given), **changes)
    return caught.value.message


# ── What is required ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["type", "customer_id"])
@pytest.mark.parametrize("value", ["", None, 5, b"x", ["x"], Colour.ONE, Kind.EMPTY, Text("")])
def test_type_and_customer_id_are_non_empty_texts(name: str, value: object) -> None:
    """``type`` and ``customer_id`` must be non-empty str; the message names the field."""
    assert name in refusal(event() | {name: value})


@pytest.mark.parametrize("name", ["type", "customer_id", "brand_id"])
def test_a_required_field_that_is_missing_is_named(name: str) -> None:
    """A missing field is named, and so is a likely misspelling of it."""
    given = event()
    del given[name]
    assert f"{name} is missing" in refusal(given)
    misspelt = name.replace("_", "") + "e"
    assert misspelt in refusal(given | {misspelt: "x"})


@pytest.mark.parametrize("value", ["x", "", None, Text("x"), Colour.RED])
def test_brand_id_is_a_text_or_none(value: object) -> None:
    """``brand_id`` is a str, or None, which is sent as null."""
    assert "brand_id" in sent(event(brand_id=value))


@pytest.mark.parametrize("value", [5, [], b"", 1.5, True, Colour.ONE])
def test_another_brand_id_is_refused(value: object) -> None:
    """A ``brand_id`` of another type is refused."""
    assert "brand_id" in refusal(event(brand_id=value))


def test_everything_else_is_passed_through_unchanged() -> None:
    """Fields that the package does not know, one without a name too, and custom types are passed
    through as they are."""
    given = event(type="my-Own type", order={"value": 1.5, "tags": ["a"]}, x=None, y=True, z=[])
    given[""] = "PURCHASE"
    assert sent(given) == given


@pytest.mark.parametrize(
    "given", [None, 5, "text", ["type"], object(), b"{}", {1}, (("type", "x"),)]
)
def test_what_is_no_mapping_is_refused(given: object) -> None:
    """An event must be a mapping."""
    assert "mapping" in refusal(given)


@pytest.mark.parametrize("make", [OrderedDict, UserDict, MappingProxyType])
def test_any_mapping_is_taken(make: Any) -> None:
    """Any mapping is an event, at the top and inside."""
    assert sent(make(event(order=make({"value": 1})))) == event(order={"value": 1})


@pytest.mark.parametrize(
    "kind", ["PURCHASE", "ABANDONED_CART", "BIRTHDAY", "REGISTRATION", "TIER_ADJUSTMENT"]
)
def test_reserved_types_are_refused(kind: str) -> None:
    """The reserved types are refused, with a message that says to send them from a backend with a
    SERVER key through the REST API; also as a subclass or an enumeration's value."""
    for form in (kind, Text(kind), member(kind)):
        message = refusal(event(type=form))
        assert "SERVER key" in message
        assert "REST API" in message
        assert kind in message


@pytest.mark.parametrize("kind", ["purchase", "PURCHASE ", "ADD_TO_CART", "EMPTY_CART", "Custom"])
def test_other_types_are_not_refused(kind: str) -> None:
    """No type is changed, nor matched in another case."""
    assert sent(event(type=kind))["type"] == kind


def test_the_reserved_types_follow_api() -> None:
    """``Api.reserved_types`` replaces the list."""
    api = Api(reserved_types=frozenset({"MINE"}))
    with pytest.raises(MasivoValidationError):
        encoder(settings(api=api))(event(type="MINE"))
    encoder(settings(api=api))(event(type="PURCHASE"))


# ── The default brand ────────────────────────────────────────────────────────────────────────


def without_brand(**more: object) -> dict[str, object]:
    """An event without ``brand_id``."""
    given = event() | more
    del given["brand_id"]
    return given


def test_the_default_brand_fills_events_that_have_a_platform() -> None:
    """An event with a ``platform`` and no ``brand_id`` gets the client's default."""
    given = without_brand(platform="web")
    assert sent(given, brand_id="shop") == given | {"brand_id": "shop"}


def test_the_default_brand_fills_nothing_else() -> None:
    """Without a platform (None is none), or without a default, a missing brand is refused."""
    assert "platform" in refusal(without_brand(), brand_id="shop")
    assert "platform" in refusal(without_brand(platform=None), brand_id="shop")
    assert "brand_id" in refusal(without_brand(platform="web"))


@pytest.mark.parametrize("brand", [None, "mine", ""])
def test_an_explicit_brand_stays(brand: str | None) -> None:
    """An explicit ``brand_id``, None too, is not replaced by the default."""
    assert sent(event(brand_id=brand, platform="web"), brand_id="shop")["brand_id"] == brand


def test_the_default_brand_is_escaped() -> None:
    """A default brand with any characters arrives as it is, stamped or not."""
    brand = 'a"\\\n\u2028é'
    given = without_brand(platform="web")
    assert sent(given, brand_id=brand)["brand_id"] == brand
    kept, _, length = encoder(settings(brand_id=brand))(given)
    assert length == size(kept)
    assert json.loads(stamped(kept))["brand_id"] == brand


# ── What is converted ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), '"2026-01-02T03:04:05.678901+00:00"'),
        (datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-5))), '"2026-01-02T00:00:00-05:00"'),
        (date(2026, 1, 2), '"2026-01-02"'),
        (UUID(int=5), '"00000000-0000-0000-0000-000000000005"'),
        (Decimal("12345678901234567890.1234567890"), "12345678901234567890.1234567890"),
        (Decimal("0.10"), "0.10"),
        (Decimal("1E+300"), "1E+300"),
        (Decimal("0E+400"), "0E+400"),
        (Decimal("1E-400"), "1E-400"),
        (Decimal("-0"), "-0"),
        (Colour.RED, '"red"'),
        (Colour.ONE, "1"),
        (Colour.DAY, '"2026-01-02"'),
        (Kind.VIEW, '"VIEW"'),
        (Number.SEVEN, "7"),
        (Text("this"), '"this"'),
        (Whole(5), "5"),
        (Real(1.5), "1.5"),
        (True, "true"),
        (None, "null"),
        (10**30, str(10**30)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        (0.1 + 0.2, "0.30000000000000004"),
        ((1, (2,)), "[1,[2]]"),
        (Item("s", Decimal("1.0")), '{"sku":"s","price":1.0}'),
        ({"a": Item("s", (Kind.VIEW,))}, '{"a":{"sku":"s","price":["VIEW"]}}'),
        ({Text("k"): 1, Kind.VIEW: 2}, '{"k":1,"VIEW":2}'),
        (MappingProxyType({"a": UserDict({"b": 1})}), '{"a":{"b":1}}'),
        ("\u00e9\U0001f600\x00\u2028", '"\u00e9\U0001f600\\u0000\u2028"'),
    ],
)
def test_these_are_encoded(value: object, text: str) -> None:
    """``datetime`` (aware), ``date``, ``UUID``, ``Decimal`` (exactly), ``Enum`` (its value),
    tuples, dataclasses, nested mappings and subclasses of str, int and float are encoded,
    wherever they stand."""
    plain = b'{"type":"VIEW","customer_id":"c","brand_id":null,"n":0,'
    assert encoded(event(x=value)) == plain + b'"x":' + text.encode() + b"}"
    assert encoded(event(x=[{"y": value}])) == plain + b'"x":[{"y":' + text.encode() + b"}]}"


def test_the_customer_is_told_as_a_plain_text() -> None:
    """The customer by which order is kept is the text that is sent."""
    encode = encoder(settings())
    assert encode(event(customer_id=Kind.VIEW))[1] == "VIEW"
    assert type(encode(event(customer_id=Text("c")))[1]) is str


def test_an_event_is_completed_with_a_stamp_of_its_own_or_of_another_time() -> None:
    """It is JSON then, as an export has it."""
    kept, _, _ = encoder(settings())(event())
    stamped = complete(kept, 1_767_225_600.0)
    assert stamped.startswith(b'{"issued_at":"2026-01-01T00:00:00.000Z","type":')
    assert decode(stamped) == {"issued_at": "2026-01-01T00:00:00.000Z", **event()}
    assert complete(stamped, 0.0) == stamped


def test_an_event_is_taken_as_it_is_at_the_call() -> None:
    """A later change to the caller's mapping, however deep, changes nothing."""
    tags = ["a"]
    given = event(tags=tags)
    kept = encoded(given)
    tags.append("b")
    given["n"] = 5
    assert decode(kept) == event(tags=["a"])


# ── What is refused ──────────────────────────────────────────────────────────────────────────

LOOP: list[object] = []
LOOP.append(LOOP)
RING: dict[str, object] = {}
RING["a"] = [RING]


@pytest.mark.parametrize(
    "value",
    [
        *(math.nan, math.inf, -math.inf, Real("nan"), Decimal("nan"), Decimal("snan")),
        *(Decimal("inf"), Decimal("-inf"), datetime(2026, 1, 2), b"x", bytearray(b"x")),  # noqa: DTZ001
        *(Decimal("1e999"), Decimal("-1.5E+309"), Decimal("9" * 5000)),
        *(memoryview(b"x"), {1}, frozenset({1}), timedelta(1), time(1), {1: 2}, {None: 1}),
        *({b"k": 1}, {(1,): 1}, "\ud800", "a\udfffb", {"\ud800": 1}, Text("\ud800"), LOOP, RING),
        10**5000,
        *(object(), Item, Colour, len, 1j, range(3), iter([]), Exception("x"), ..., NotImplemented),
        *(member(math.nan), Item("s", b"x"), (1, {2}), [[b""]]),
        *(
            [None, math.nan],
            (math.inf,),
            {"a": {"b": None, "c": (0, [math.nan])}},
            [member(math.inf)],
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_carry_is_refused_with_its_place(value: object) -> None:
    """What JSON cannot carry is a MasivoValidationError that names the path."""
    assert refusal(event(x=value)).startswith("x")
    assert refusal(event(x=value, brand_id="b")).startswith("x")
    assert refusal(event(product={"tags": [1, 2, value]})).startswith("product.tags[2]")


def test_the_path_names_the_place_exactly() -> None:
    """The path leads through mappings, lists and dataclasses."""
    given = event(a={"b": [0, Item("s", {"c": (1, math.nan)})]})
    assert refusal(given).startswith("a.b[1].price.c[1]: ")
    assert refusal({"type": "V", "customer_id": "c", "brand_id": None, 5: 1}).startswith(
        "the event"
    )
    assert refusal(event(customer="\ud800") | {"x": "\ud800"}).startswith("customer_id: ")


@pytest.mark.parametrize(
    "value",
    ["null", None, [None, 1.5], {"null": [None, (True, 2)]}, ({}, [None]), [1e308, -1e308, 5e-324]],
)
def test_a_null_is_what_was_given_as_none(value: object) -> None:
    """``None``, and "null" in a text, stay what they are, beside every plain type."""
    assert sent(event(x=value, y=0.5)) == event(x=json.loads(json.dumps(value)), y=0.5)


def test_a_dataclass_is_sent_with_all_its_fields() -> None:
    """Those whose names begin with an underscore are fields, too."""

    @dataclass
    class Hidden:
        _a: int
        b: None

    assert sent(event(x=Hidden(1, None)))["x"] == {"_a": 1, "b": None}


def test_the_cure_is_named() -> None:
    """The message says what to do instead."""
    for value, cure in [
        (b"x", "decode"),
        ({1}, "list"),
        (timedelta(1), "total_seconds"),
        (datetime(2026, 1, 1), "timezone.utc"),  # noqa: DTZ001
        (math.nan, "None"),
    ]:
        assert cure in refusal(event(x=value))


def test_one_object_in_two_places_is_no_cycle() -> None:
    """The same list in two places is not a cycle."""
    shared = [Decimal(1)]
    assert sent(event(a=shared, b=[shared, shared])) == event(a=[1], b=[[1], [1]])


@pytest.mark.parametrize("kind", ["list", "tuple", "dict"])
@pytest.mark.parametrize("inner", [0, Decimal(1)])
def test_an_event_that_is_nested_too_deeply_is_refused(kind: str, inner: object) -> None:
    """Nesting beyond any bound is a MasivoValidationError, never a RecursionError."""
    value: object = inner
    for _ in range(20_000):
        value = {"k": value} if kind == "dict" else (value,) if kind == "tuple" else [value]
    assert "nested too deeply" in refusal(event(x=value))


def test_an_event_is_refused_near_the_end_of_the_stack() -> None:
    """So it is where the nesting is allowed, but there is no room left to look through it."""

    def call(depth: int) -> str:
        return call(depth - 1) if depth else refusal(event(x=value))

    value: object = None
    for _ in range(200):
        value = [value]
    room = sys.getrecursionlimit() - len(inspect.stack(0))
    assert "nested too deeply" in call(room - 100)


class Meddling(Enum):
    """An enumeration whose values change the event while it is encoded, as another thread could
    that runs meanwhile."""

    A = 1

    @property
    def value(self) -> int:
        """The value."""
        GIVEN.update(y=None, z=None)
        gc.collect()
        return 1


GIVEN: dict[str, object] = {}


def test_an_event_is_encoded_as_it_was_at_the_call() -> None:
    """What another thread does to the event meanwhile changes nothing of what is sent."""
    GIVEN.update(event(x=Meddling.A, brand_id="b"), y=["a text"], z=["another"])
    got = sent(GIVEN)
    assert (GIVEN["y"], GIVEN["z"]) == (None, None)
    assert (got["y"], got["z"]) == (["a text"], ["another"])


class Growing(UserDict[str, object]):
    """A mapping that another thread seems to write to: it grows while it is read."""

    def __iter__(self) -> Iterator[str]:
        for name in self.data:
            self.data[name + "more"] = 0
            yield name


@pytest.mark.parametrize("given", [Growing(event()), event(x=Growing(a=1))], ids=["event", "part"])
def test_an_event_that_changes_while_it_is_read_is_refused(given: Mapping[str, object]) -> None:
    """An event, or a mapping in it, that another thread changes meanwhile is a
    MasivoValidationError that says so, not a RuntimeError of its iteration."""
    place = "x" if "x" in given else "the event"
    assert refusal(given) == (
        f"{place}: it could not be read: RuntimeError: dictionary changed size during iteration. "
        "If another thread changes it, send a copy"
    )


class Fickle(UserDict[str, object]):
    """A mapping that cannot be read at first: another thread seems to put it right meanwhile."""

    def __init__(self, error: Exception) -> None:
        super().__init__(a=1)
        self.errors = [error]

    def __iter__(self) -> Iterator[str]:
        if self.errors:
            raise self.errors.pop()
        return super().__iter__()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RecursionError("too deep"), "the event is nested too deeply"),
        (
            RuntimeError("it changed"),
            "x: it could not be read: RuntimeError: it changed",
        ),
        (TypeError("what is it"), "x: it could not be read: TypeError: what is it"),
        (MasivoValidationError("x: not this"), "x: not this"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_gone_at_the_second_look_is_told_all_the_same(error: Exception, said: str) -> None:
    """An event that could not be encoded, and could be when it is looked for why, is refused."""
    assert refusal(event(x=Fickle(error))) == said


def test_a_batch_without_room_for_an_event_is_told_of_in_plain_numbers() -> None:
    """Where ``max_batch_bytes`` has no room but for what stands around the events, every event is
    too long, and the message counts no bytes below 0."""
    encode = encoder(settings(max_event_bytes=1, max_batch_bytes=1))
    with pytest.raises(MasivoValidationError, match="more than the 0 that"):
        encode(event())


def test_an_event_over_max_event_bytes_is_refused() -> None:
    """An event is refused past ``max_event_bytes``, to the byte, its stamp and brand included."""
    given = without_brand(platform="web")
    for api, extra in ((UNSTAMPED, 0), (Api(), len(b'"issued_at":"",') + len(STAMP))):
        length = len(encoded(given, brand_id="shop")) + extra
        fits = encoder(settings(api=api, brand_id="shop", max_event_bytes=length))
        assert size(fits(given)[0]) == length
        assert len(stamped(fits(given)[0])) == length
        tight = encoder(settings(api=api, brand_id="shop", max_event_bytes=length - 1))
        with pytest.raises(MasivoValidationError) as caught:
            tight(given)
        assert str(length) in caught.value.message
        assert "max_event_bytes" in caught.value.message


@pytest.mark.parametrize("events_key", ["events", None, 'a "longer" key'])
def test_an_event_that_fits_no_batch_is_refused(events_key: str | None) -> None:
    """An event must fit a batch with its envelope, too."""
    api = Api(events_key=events_key, stamp_issued_at=False)
    length = len(encoded(event())) + envelope_size(Api(events_key=events_key))
    encoder(settings(api=api, max_batch_bytes=length, max_event_bytes=length))(event())
    with pytest.raises(MasivoValidationError):
        encoder(settings(api=api, max_batch_bytes=length - 1, max_event_bytes=length - 1))(event())


# ── The two forms ────────────────────────────────────────────────────────────────────────────


def test_a_stamp_stands_in_events_without_issued_at() -> None:
    """A stamp goes where there is no ``issued_at``, and only there."""
    encode = encoder(settings())
    kept, _, length = encode(event())
    assert json.loads(stamped(kept)) == event(issued_at=STAMP.decode())
    assert length == size(kept) == len(stamped(kept))
    assert decode(kept) == event()
    for own in (None, "yesterday"):
        kept, _, length = encode(event(issued_at=own))
        assert json.loads(stamped(kept)) == event(issued_at=own)
        assert length == size(kept) == len(kept)
        assert decode(kept) == event(issued_at=own)


def test_a_large_int_is_decoded_again() -> None:
    """What ``on_error`` is given is the event, ints beyond all floats included."""
    assert decode(encoded(event(x=10**4000)))["x"] == 10**4000


def test_what_is_plain_is_not_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of JSON's own types, and of tuples, are encoded as they are, for speed."""

    def convert(*_args: object) -> object:
        raise AssertionError("it was converted")

    monkeypatch.setattr(encoding, "convert", convert)
    values: list[object] = ["s", 1, 1.5, -0.0, True, None, {}, [], {"a": {"b": "c"}}]
    for value in values:
        assert sent(event(x=value, y="s")) == event(x=value, y="s")
        assert sent(event(x=["s", value, "s"])) == event(x=["s", value, "s"])
        assert sent(event(x=["s", [value, value]])) == event(x=["s", [value, value]])
        assert sent(event(x={"a": value, "b": 5})) == event(x={"a": value, "b": 5})
        assert sent(event(x=(value, None))) == event(x=[value, None])


def test_what_is_converted_beside_others_stays_what_it_is() -> None:
    """True, False and None are themselves in an event of which something is converted."""
    event_sent = sent(event(x=Decimal(1), yes=True, no=False, none=None))
    assert (event_sent["yes"], event_sent["no"], event_sent["none"]) == (True, False, None)
    assert event_sent["yes"] is True
    assert event_sent["no"] is False


def test_a_name_that_is_far_from_a_field_is_not_suggested() -> None:
    """Only what is nearly the name of a field is asked about."""
    assert refusal({"typing": "V"}) == "type is missing"
    assert "instead of 'typ'" in refusal({"typ": "V"})


def test_an_event_that_cannot_be_read_is_decoded_as_far_as_it_can() -> None:
    """A log may hold what another process could read, and an event may be nested deeper than the
    stack of the driver's thread allows: decoding never raises, as the event would have no outcome.
    Such a field is the text of its JSON, or all of it is, in ``event``."""
    digits, deep = b"9" * 5000, b"[" * 2_000_000 + b"]" * 2_000_000
    read = decode(b'{"x":' + digits + b',"y":[1]}')
    assert read == {"x": digits.decode(), "y": [1]}
    whole = b'{"x":' + deep + b"}"
    assert decode(whole) == {"event": whole.decode()}
    assert decode(whole[1:]) == {"event": whole.decode()}
