"""Objects of the caller that are not what they seem
(``docs/reference/guarantees.md#sending-and-validation``)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

import pytest

from masivo._protocol.errors import MasivoValidationError
from masivo._protocol.events.before_send import replaced
from masivo._protocol.events.encoding import encoder
from masivo._protocol.events.form import decode
from protocol.simulator import event, settings

encode: Any = encoder(settings())


class Proxy:
    """A lazy proxy with no more methods of its own than Django's has."""

    def __init__(self, value: object) -> None:
        object.__setattr__(self, "_value", value)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_value"), name)

    def __str__(self) -> str:
        return str(object.__getattribute__(self, "_value"))

    def __bool__(self) -> bool:
        return bool(object.__getattribute__(self, "_value"))

    def __iter__(self) -> Any:
        return iter(object.__getattribute__(self, "_value"))

    def __getitem__(self, key: Any) -> Any:
        return object.__getattribute__(self, "_value")[key]


def class_of(proxy: object) -> type:
    """The class of a proxy's value."""
    value: object = object.__getattribute__(proxy, "_value")
    return type(value)


def no_class(_: object) -> type:
    """As a proxy raises outside of its context."""
    raise RuntimeError("working outside of request context")


# Proxies as Werkzeug and Django have them: the class of one is its value's, its type is not.
Lazy: Any = type("Lazy", (Proxy,), {"__class__": property(class_of)})
Unbound: Any = type("Unbound", (), {"__class__": property(no_class)})
# Werkzeug's is of its own class where it has no value.
Gone: Any = type("Gone", (), {"_get_current_object": no_class})


class Promise:
    """The base of Django's lazy values."""


class Translation(Promise):
    """A text of Django's that is translated when it is needed: it has no text's class."""

    def __str__(self) -> str:
        return "Zapatos"

    def casefold(self) -> str:
        """As each method of a text."""
        return str(self).casefold()


class Count(Promise):
    """A lazy value of Django's that is no text."""


def of_werkzeug(value: object) -> Any:
    """A proxy of Werkzeug's."""
    local = pytest.importorskip("werkzeug.local", reason="it is in the group `lifecycles`")
    return local.LocalProxy(lambda: value)


def of_django(value: object) -> Any:
    """A lazy object of Django's."""
    functional = pytest.importorskip(
        "django.utils.functional", reason="it is in the group `lifecycles`"
    )
    return functional.SimpleLazyObject(lambda: value)


PROXIES: list[Any] = [Lazy, of_werkzeug, of_django]


class Broken(dict[str, object]):
    """A mapping that raises."""

    def items(self) -> Any:
        raise KeyError("gone")


@dataclass
class Item:
    """A dataclass; ``field`` may have no value."""

    sku: str
    amount: int = field(init=False)


@dataclass
class Slotted:
    """A dataclass of plain fields."""

    sku: str


class Colour(Enum):
    """An Enum whose value is not plain."""

    DAY = date(2026, 1, 2)


class Model:
    """An object with fields, as pydantic's."""

    def model_dump(self) -> dict[str, object]:
        """Its fields."""
        return {}


class Circular(Enum):
    """An Enum that holds itself."""

    SELF = object()


Circular.SELF._value_ = Circular.SELF


def sent(value: object) -> object:
    """The value of a field as it is sent."""
    return decode(encode(event(x=value))[0])["x"]


def refusal(**fields: Any) -> str:
    """The message for an event with these fields."""
    with pytest.raises(MasivoValidationError) as info:
        encode(event(**fields))
    return str(info.value)


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize(
    "value",
    [
        "text",
        7,
        2.5,
        True,
        False,
        None,
        {"a": 1},
        [1, "b"],
        (1, 2),
        Decimal("1.10"),
        date(2026, 1, 2),
        datetime(2026, 1, 2, tzinfo=UTC),
        UUID(int=5),
        Colour.DAY,
        Slotted("a"),
        [Lazy({"a": Lazy(1)})],
    ],
)
def test_a_lazy_proxy_is_taken_by_its_value(value: object, proxy: Any) -> None:
    """A proxy for a value is sent as the value, at any depth."""
    assert sent(proxy(value)) == sent(value)
    assert sent([{"a": proxy(value)}]) == [{"a": sent(value)}]


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "nan has no form in JSON; leave it out or use None"),
        (timedelta(1), "timedelta has no form in JSON; pass its total_seconds()"),
        ({1}, "set has no form in JSON; pass a list (sorted, if order matters)"),
        (b"x", "bytes has no form in JSON; decode it to str"),
        (Model(), "Model has no form in JSON; pass its .model_dump()"),
    ],
)
def test_a_lazy_proxy_is_refused_as_its_value_is(value: object, said: str, proxy: Any) -> None:
    """The message names the value, and its cure, not the proxy."""
    assert refusal(x=proxy(value)) == refusal(x=value) == f"x: {said}"


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_lazy_proxy_serves_as_a_required_field(proxy: Any) -> None:
    """``type``, ``customer_id`` and ``brand_id`` may be proxies, and so may the event."""
    given = event(type=proxy("VIEW"), customer_id=proxy("c1"), brand_id=proxy("b"))
    for each in (given, proxy(given)):
        encoded, customer, _ = encode(each)
        assert customer == "c1"
        assert type(customer) is str
        assert json.loads(b"{" + encoded)["type"] == "VIEW"


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_lazy_proxy_serves_as_a_key(proxy: Any) -> None:
    """Of the event, and of a mapping in it."""
    encoded, _, _ = encode(event() | {proxy("k"): {proxy("l"): 1}})
    assert decode(encoded)["k"] == {"l": 1}
    assert refusal(x={proxy(7): 1}).startswith("x: the key ")


def test_a_translation_is_a_text() -> None:
    """A text that Django translates when it is needed is taken wherever a text is."""
    for text in (Translation(), translated("Zapatos")):
        assert sent(text) == "Zapatos"
        assert sent([{text: text}]) == [{"Zapatos": "Zapatos"}]
        encoded, customer, _ = encode(event(type=text, customer_id=text, brand_id=text))
        assert customer == "Zapatos"
        assert type(customer) is str
        assert [decode(encoded)[name] for name in ("type", "brand_id")] == ["Zapatos"] * 2
    assert refusal(x=Count()).startswith("x: Count has no form in JSON")


def translated(text: str) -> Any:
    """A lazy text of Django's, if that is there."""
    try:
        from django.utils.functional import lazystr
    except ImportError:  # it is in the group `lifecycles`
        return Translation()
    return lazystr(text)


def unbound_of_werkzeug() -> Any:
    """A proxy of Werkzeug's outside of its context."""
    local = pytest.importorskip("werkzeug.local", reason="it is in the group `lifecycles`")
    message = "working outside of request context"
    return local.LocalProxy(local.ContextVar("none"), unbound_message=message)


UNBOUND: list[Any] = [Unbound, Gone, unbound_of_werkzeug]


@pytest.mark.parametrize("unbound", UNBOUND)
@pytest.mark.parametrize("name", ["type", "customer_id", "brand_id", "x"])
def test_a_proxy_that_raises_is_a_validation_error(name: str, unbound: Any) -> None:
    """An unbound proxy is refused with its place and its cause, wherever it is."""
    with pytest.raises(MasivoValidationError) as info:
        encode(event(**cast("Any", {name: unbound()})))
    assert str(info.value) == (
        f"{name}: it could not be read: RuntimeError: working outside of request context"
    )
    assert isinstance(info.value.__cause__, RuntimeError)


@pytest.mark.parametrize("unbound", UNBOUND)
def test_an_event_that_raises_is_a_validation_error(unbound: Any) -> None:
    """So is an event that is such a proxy itself."""
    with pytest.raises(MasivoValidationError, match=r"^the event: it could not be read.*outside"):
        encode(unbound())


class Bitter(str):
    """A text that equals nothing."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise ValueError("not comparable")

    __hash__ = str.__hash__


@pytest.mark.parametrize("name", ["type", "brand_id", "issued_at"])
def test_a_key_that_cannot_be_compared_is_a_validation_error(name: str) -> None:
    """The error of a key that is no text is not the caller's to catch."""
    given = event()
    given.pop(name, None)
    with pytest.raises(
        MasivoValidationError, match=r"^the event: it could not be read: ValueError"
    ):
        encode({**given, Bitter(name): "x"})


def test_what_cannot_be_read_names_its_place() -> None:
    """A dataclass without a value in a field, and a mapping that raises, are named by path."""
    assert refusal(x=[Item("a")]).startswith("x[0].amount: it could not be read: AttributeError")
    assert refusal(x={"y": Broken(a=1)}) == "x.y: it could not be read: KeyError: 'gone'"


def test_an_enum_that_holds_itself_names_its_place() -> None:
    """As any other object that contains itself."""
    assert refusal(x=[Circular.SELF]) == "x[0]: contains itself"


class Markup(str):
    """A text that stays of its class when it is converted, as Django's ``SafeString`` does."""

    def __str__(self) -> str:
        return self


class Moment(datetime):
    """A time that is written in any way."""

    text: object = ""

    def isoformat(self, *_: object, **__: object) -> Any:
        return self.text


class Number(UUID):
    """An identifier that is written in any way."""

    text: str = ""

    def __str__(self) -> str:
        return self.text


class Price(Decimal):
    """A number that is shown with its currency."""

    def __str__(self) -> str:
        return f"{Decimal.__str__(self)} EUR"


class Finite(Decimal):
    """A number that is finite by its own account."""

    def is_finite(self) -> bool:
        return True


def moment(text: object) -> Moment:
    """A time that is written so."""
    made = Moment(2026, 1, 2, tzinfo=UTC)
    made.text = text
    return made


def number(text: str) -> Number:
    """An identifier that is written so."""
    made = Number(int=5)
    object.__setattr__(made, "text", text)
    return made


def test_a_text_of_its_own_class_is_sent_as_a_str() -> None:
    """Whatever an object's ``__str__`` or ``isoformat`` returns, a subclass of str is sent as its
    text: also that of a lazy proxy."""
    for value in (Markup("a"), Lazy(Markup("a")), moment(Markup("a")), number(Markup("a"))):
        assert sent(value) == "a"


def test_a_number_is_sent_as_a_number_however_it_is_shown() -> None:
    """Of a subclass of Decimal the number counts, not its ``__str__``."""
    assert sent([Price("1.10")]) == [1.1]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (moment("\ud800"), "a lone surrogate"),
        (moment(b"2026"), "bytes has no form in JSON"),
        (number("\udc00"), "a lone surrogate"),
        (Finite("NaN"), "Decimal NaN has no form in JSON"),
        (Finite("-Infinity"), "Decimal -Infinity has no form in JSON"),
    ],
)
def test_what_a_subclass_says_of_itself_is_checked(value: object, says: str) -> None:
    """A subclass of datetime, UUID or Decimal is not trusted to be JSON: its place is named."""
    assert refusal(x=[value]).startswith(f"x[0]: {says}")


class Lonely(str):
    """A text that equals no other."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


class Several(Mapping[str, object]):
    """A mapping with several values of a key, as aiohttp's ``MultiDict`` is."""

    def __init__(self, *entries: tuple[str, object]) -> None:
        self.entries = entries

    def __getitem__(self, key: str) -> object:
        return next(value for name, value in self.entries if name == key)

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self.entries])

    def __len__(self) -> int:
        return len(self.entries)

    def items(self) -> Any:
        """Every entry."""
        return list(self.entries)


def test_a_key_that_comes_twice_is_refused() -> None:
    """JSON has a key once: no value of a ``MultiDict`` is lost in silence, and no field that the
    check has seen is replaced by another of its name."""
    several = Several(("tag", "a"), ("tag", "b"))
    assert refusal(x=[several]) == (
        "x[0]: the key 'tag' is there twice; pass it once, with a list of values"
    )
    whole = Several(*event().items(), ("tag", "a"), ("tag", "b"))
    with pytest.raises(MasivoValidationError, match=r"^the event: the key 'tag' is there twice"):
        encode(whole)
    with pytest.raises(MasivoValidationError, match=r"^the event: the key 'type' is there twice"):
        encode({**event(), Lonely("type"): "PURCHASE"})
    with pytest.raises(MasivoValidationError, match=r"^the event: the key 'tag' is there twice"):
        replaced(event(x=several), lambda given: given)


def cure_of(**members: object) -> str:
    """The cure for an object of a class with these members."""
    kind = type("Foreign", (), members)
    return refusal(x=kind()).removeprefix("x: Foreign has no form in JSON")


@pytest.mark.parametrize(
    ("members", "cure"),
    [
        ({"model_dump": None}, "; pass its .model_dump()"),
        ({"__attrs_attrs__": ()}, "; pass attrs.asdict(it)"),
        ({"__struct_fields__": ()}, "; pass msgspec.to_builtins(it)"),
        ({"item": None, "tolist": None, "ndim": 0}, "; pass its .item()"),
        ({"item": None, "tolist": None, "ndim": 1}, "; pass its .tolist()"),
        ({}, "; pass str, int, float, bool, None, a list or a dict"),
    ],
)
def test_a_foreign_object_is_refused_with_its_cure(members: dict[str, object], cure: str) -> None:
    """pydantic, attrs, msgspec, numpy and pandas: the message says how to get plain types."""
    assert cure_of(**members) == cure


def test_a_float_that_is_not_finite_is_found_at_any_depth() -> None:
    """The encoder would write null for it."""
    for value in (float("nan"), float("inf"), -float("inf")):
        assert "no form in JSON" in refusal(x={"y": [(value,)]})
