"""Random events: taken and arriving as they are, or refused, and nothing else
(``docs/reference/guarantees.md#values``)."""

from __future__ import annotations

import json
import math
from collections import UserDict
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from masivo._protocol.errors import MasivoValidationError
from masivo._protocol.events.encoding import encoder
from masivo._protocol.events.form import decode, size
from protocol.simulator import event, settings

from .test_encoding import (
    LOOP,
    Colour,
    Item,
    Kind,
    Number,
    Text,
    Whole,
    encoded,
    refusal,
    sent,
    stamped,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
plain_values = st.recursive(
    plain_leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
required = st.fixed_dictionaries(
    {"type": st.just("VIEW"), "customer_id": texts.filter(bool), "brand_id": st.none() | texts}
)


@given(st.dictionaries(texts, plain_values, max_size=5), required)
def test_any_event_that_json_can_carry_round_trips(
    more: dict[str, object], needed: dict[str, object]
) -> None:
    """Any event of plain JSON values arrives exactly as it was given, stamped or not, and in the
    same order of keys."""
    given = more | needed
    kept, customer, length = encoder(settings())(given)
    assert length == size(kept)
    arrived = json.loads(stamped(kept))
    arrived.pop("issued_at") if "issued_at" not in given else None
    assert arrived == given
    assert list(arrived) == list(given)
    assert decode(kept) == given
    assert customer == given["customer_id"]


converted = st.one_of(
    plain_leaves,
    st.decimals(allow_nan=False, allow_infinity=False),
    st.uuids(),
    st.dates(),
    st.datetimes(timezones=st.timezones()),
    st.sampled_from([Colour.RED, Kind.VIEW, Number.SEVEN, Colour.DAY]),
    texts.map(Text),
    st.integers().map(Whole),
)
refused = st.one_of(
    st.just(math.nan),
    st.binary(max_size=3),
    st.datetimes(),
    st.timedeltas(),
    st.sets(st.integers(), max_size=2),
    st.complex_numbers(),
    st.sampled_from(["\ud800", Decimal("inf"), object(), {1: 1}, LOOP]),
)


def nested(leaves: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Values with these leaves, in every kind of container."""
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(texts | texts.map(Text), inner, max_size=3)
            | st.dictionaries(texts, inner, max_size=3).map(UserDict)
            | st.builds(Item, texts, inner)
        ),
        max_leaves=8,
    )


@given(nested(converted))
def test_any_event_of_the_types_that_are_promised_is_taken(value: object) -> None:
    """Any nesting of the types that are promised is encoded as valid JSON."""
    assert sent(event(x=value)).keys() == event(x=value).keys()


@given(nested(converted | refused))
def test_any_other_event_is_refused_with_a_validation_error(value: object) -> None:
    """Whatever an event holds: it is either encoded as valid JSON, or refused with a
    MasivoValidationError, and nothing else is raised."""
    try:
        text = encoded(event(x=value))
    except MasivoValidationError:
        assert refusal(event(x=value)).startswith("x")
        return
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@given(st.dictionaries(texts | st.integers() | st.none(), plain_values, max_size=4))
def test_any_mapping_is_either_taken_or_refused(given: dict[Any, object]) -> None:
    """Any mapping is taken, or refused with a MasivoValidationError, and nothing else."""
    assume(not {"type", "customer_id", "brand_id"} <= given.keys())
    with pytest.raises(MasivoValidationError):
        encoded(given)
